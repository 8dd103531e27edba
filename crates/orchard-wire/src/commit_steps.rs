//! Changes of collections in a commit, and what it answers for them.

use crate::commit_json::{CommitRequest, render_reply};
use crate::element_json::{self, Verb};
use crate::problem::{Kind, Problem};
use crate::value_json::Form;
use orcharddb::collection::{Step, Stepped};
use orcharddb::{Change, Committed, Key, SpaceId, SteppedCommit};
use serde::Deserialize;
use serde_json::value::RawValue;

/// A change of a collection in a commit.
#[derive(Debug, Clone, PartialEq)]
pub struct StepAt {
    /// How many of the commit's mutations are done before it.
    pub before: usize,
    /// The key of the collection, in the default space.
    pub key: Key,
    /// The change.
    pub step: Step,
}

impl CommitRequest {
    /// The whole change with its steps, for a database.
    ///
    /// # Errors
    /// As [`CommitRequest::in_database`].
    pub fn stepped_in(mut self, database: SpaceId) -> Result<SteppedCommit, Problem> {
        let mut steps = std::mem::take(&mut self.steps).into_iter().peekable();
        let commit = self.in_database(database)?;
        let mut changes = Vec::with_capacity(commit.mutations.len() + steps.len());
        for (index, mutation) in commit.mutations.into_iter().enumerate() {
            while let Some(StepAt { key, step, .. }) = steps.next_if(|step| step.before <= index) {
                changes.push(Change::Step(database, key, step));
            }
            changes.push(Change::Mutation(mutation));
        }
        changes.extend(steps.map(|StepAt { key, step, .. }| Change::Step(database, key, step)));
        Ok(SteppedCommit { checks: commit.checks, changes, token: commit.token })
    }
}

/// What is known of a step before it is done: the place of its result in the reply, and its form.
pub type Expected = (usize, Verb);

/// For each step where it stands among the mutations, and what it is.
pub fn expected(steps: &[StepAt]) -> Vec<Expected> {
    let place = |(n, at): (usize, &StepAt)| (at.before + n, Verb::of(&at.step));
    steps.iter().enumerate().map(place).collect()
}

/// The reply to a commit with steps: as [`render_reply`], and `"results": [{"index", ..}]`, one for each step. None if the
/// token was known.
pub fn render_stepped(
    committed: &Committed,
    expected: &[Expected],
    stepped: &[Stepped],
    form: Form,
) -> Vec<u8> {
    let mut out = render_reply(committed);
    if committed.repeated {
        return out;
    }
    out.pop();
    out.extend_from_slice(b",\"results\":[");
    for (n, ((index, verb), stepped)) in expected.iter().zip(stepped).enumerate() {
        if n > 0 {
            out.push(b',');
        }
        out.extend_from_slice(format!("{{\"index\":{index}").as_bytes());
        element_json::write_stepped(&mut out, *verb, stepped, form);
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    out
}

#[derive(Deserialize)]
struct ResultsJson<'a> {
    #[serde(borrow, default)]
    results: Vec<&'a RawValue>,
}

/// What the steps of a commit did, as [`render_stepped`] wrote it, for clients.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`]
pub fn parse_results(reply: &[u8]) -> Result<Vec<Stepped>, Problem> {
    let json: ResultsJson<'_> = serde_json::from_slice(reply)
        .map_err(|error| Problem::new(Kind::BadJson, format!("not a reply: {error}")))?;
    json.results.into_iter().map(|raw| element_json::parse_stepped(raw.get().as_bytes())).collect()
}
