//! Commits with steps: changes of collections in one atomic change with checks, mutations and a token.
//!
//! - What a step does depends on what is there, so such a commit runs as a transaction under the commit lock. Its checks
//!   and its token are decided with what it wrote, as those of any commit.
//! - A token remembers what was asked for, not what that came to: a repetition is told from another commit though it would
//!   come to something else by now. It does nothing, and says nothing of what the steps did the first time.

use super::Transaction;
use crate::collection::{Step, Stepped};
use crate::db::{Db, Pending};
use crate::error::Error;
use orchard_engine::error::CommitError;
use orchard_types::arithmetic::{self, Bounds};
use orchard_types::{Check, Commit, Key, Mutation, Operation, SpaceId, Token};

/// One change of a [`SteppedCommit`].
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A mutation, as commits have them.
    Mutation(Mutation),
    /// A step of the collection at a key.
    Step(SpaceId, Key, Step),
}

/// A commit whose changes are not mutations only.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct SteppedCommit {
    /// All must hold.
    pub checks: Vec<Check>,
    /// Done in order; each sees those before it.
    pub changes: Vec<Change>,
    /// Makes a retry exactly-once.
    pub token: Option<Token>,
}

impl SteppedCommit {
    /// Tells it from others with the same token.
    fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{:?}", self.changes).as_bytes())
    }
}

impl Transaction<'_> {
    /// Does what a mutation of a commit does.
    fn mutate(&mut self, mutation: &Mutation) -> Result<(), Error> {
        let (space, key) = (mutation.space, mutation.key.clone());
        match &mutation.operation {
            Operation::Set { value, expiry } => self.put_in(space, key, value.clone(), *expiry),
            Operation::Delete => self.delete_in(space, key),
            Operation::DeleteRange { end } => {
                let range = orchard_types::KeyRange { start: key.into_bytes(), end: end.clone() };
                self.delete_range_in(space, range);
            }
            Operation::Touch { expiry } => {
                self.touch_in(space, key, *expiry)?;
            }
            Operation::Number { op, operand, at_least, at_most, clamp, expiry } => {
                let stored = self.entry_in(space, &key)?.map(|entry| entry.value);
                let bounds = Bounds { at_least: at_least.as_ref(), at_most: at_most.as_ref(), clamp: *clamp };
                let result = arithmetic::apply(*op, stored.as_ref(), operand, bounds);
                let result = result.map_err(|error| CommitError::Mutation { index: 0, error })?;
                self.put_in(space, key, result, *expiry);
            }
            // Nobody knows the key before it is committed.
            Operation::SetWithVersionstampSuffix { .. } | Operation::DeleteIfStamp(_) => {
                self.append(mutation.clone());
            }
        }
        Ok(())
    }

    fn change(&mut self, changes: &[Change]) -> Result<Vec<Stepped>, (usize, Error)> {
        let mut stepped = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            let done = match change {
                Change::Mutation(mutation) => self.mutate(mutation),
                Change::Step(space, key, step) => {
                    self.step_in(*space, key.clone(), step).map(|done| stepped.push(done))
                }
            };
            done.map_err(|error| match error {
                Error::Commit(CommitError::Mutation { error, .. }) => {
                    (index, CommitError::Mutation { index, error }.into())
                }
                error => (index, error),
            })?;
        }
        Ok(stepped)
    }
}

/// What became of the changes of a [`SteppedCommit`]: what each step did, or which change could not be done and why.
pub type Outcomes = Result<Vec<Stepped>, (usize, Error)>;

impl Db {
    /// Commits checks, mutations and steps together or not at all. Returns without waiting; nobody may be told of any of
    /// it before the [`Pending`] is over. A check that did not hold is its error, before what a change could not do. If it
    /// is [repeated](crate::Committed), nothing is known of the steps.
    ///
    /// ```
    /// use orcharddb::collection::Step;
    /// use orcharddb::{Change, Db, Error, SpaceId, SteppedCommit};
    /// let db = Db::memory()?;
    /// let fruit = Db::key("fruit")?;
    /// let step = |step| Change::Step(SpaceId::DEFAULT, fruit.clone(), step);
    /// let changes = vec![step(Step::Append(vec!["apple".into(), "pear".into()])), step(Step::PopFirst(1))];
    /// let (stepped, pending) = db.commit_stepped(&SteppedCommit { changes, ..SteppedCommit::default() })?;
    /// pending.wait()?;
    /// assert_eq!(stepped.map_err(|(_, error)| error)?[1].values, ["apple".into()]);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn commit_stepped(&self, commit: &SteppedCommit) -> Result<(Outcomes, Pending), Error> {
        let engine = self.engine();
        let hash = commit.token.as_ref().map(|_| commit.hash());
        let mut changed: Outcomes = Ok(Vec::new());
        let submitted = engine.submit_exclusive_as(hash, |snapshot| {
            let mut tx = Transaction::new(engine, snapshot, true);
            let token = commit.token.clone();
            if let Some(token) = &token
                && let Ok(key) = Key::new(token.id.clone())
                && tx.has_in(SpaceId::TOKENS, &key)?
            {
                // It was done, or is another's: the engine tells.
                changed = Ok(Vec::new());
                return Ok(Commit { token: Some(token.clone()), ..Commit::new() });
            }
            changed = match tx.change(&commit.changes) {
                // A value has to be loaded first, or cannot be read at all.
                Err((_, error @ Error::Read(_))) => return Err(error),
                changed => changed,
            };
            if changed.is_err() {
                // Whether the checks hold is still to be told.
                return Ok(Commit { checks: commit.checks.clone(), ..Commit::new() });
            }
            let mut all = tx.into_commit();
            all.checks.clone_from(&commit.checks);
            all.token = token;
            Ok(all)
        })?;
        Ok((changed, Pending::new(self.shared.clone(), submitted, None)))
    }
}
