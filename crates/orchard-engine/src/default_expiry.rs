//! Expiry for writes that name none, by the prefix of their key.
//!
//! Resolved before a commit is encoded, so that the log says what happens and `apply` knows of no rules. Only writes to
//! databases are meant; a touch says what it wants.

use bytes::Bytes;
use orchard_types::{Commit, DurationMs, Expiry, Mutation, Operation, SpaceId};
use std::borrow::Cow;

/// The rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefaultExpiry {
    /// Longest prefix first.
    rules: Vec<(Bytes, DurationMs)>,
}

impl DefaultExpiry {
    /// Of two rules that fit a key the longer prefix counts.
    pub fn new(mut rules: Vec<(Bytes, DurationMs)>) -> DefaultExpiry {
        rules.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        DefaultExpiry { rules }
    }

    /// The expiry that the rules give a mutation instead of its own.
    fn of(&self, mutation: &Mutation) -> Option<Expiry> {
        let expiry = match &mutation.operation {
            Operation::Set { expiry, .. }
            | Operation::SetWithVersionstampSuffix { expiry, .. }
            | Operation::Number { expiry, .. } => *expiry,
            _ => return None,
        };
        self.given(mutation.space, &mutation.key, expiry)
    }

    /// The expiry that the rules give a write instead of its own.
    #[inline]
    pub(crate) fn given(&self, space: SpaceId, key: &[u8], expiry: Expiry) -> Option<Expiry> {
        let is_left_open = matches!(expiry, Expiry::Never | Expiry::Keep);
        if self.rules.is_empty() || !is_left_open || !space.is_database() {
            return None;
        }
        // A prefix means keys that go on behind it, not the key that it is itself.
        let fits = |prefix: &[u8]| key.len() > prefix.len() && key.starts_with(prefix);
        let (_, ttl) = self.rules.iter().find(|(prefix, _)| fits(prefix))?;
        Some(if expiry == Expiry::Keep { Expiry::KeepOr(*ttl) } else { Expiry::After(*ttl) })
    }

    /// The commit with every expiry that it leaves to the rules.
    pub fn resolve<'c>(&self, commit: &'c Commit) -> Cow<'c, Commit> {
        if self.rules.is_empty() || !commit.mutations.iter().any(|mutation| self.of(mutation).is_some()) {
            return Cow::Borrowed(commit);
        }
        let mut commit = commit.clone();
        self.resolve_in(&mut commit);
        Cow::Owned(commit)
    }

    /// As [`DefaultExpiry::resolve`], for a commit that is ours.
    pub fn resolve_in(&self, commit: &mut Commit) {
        if self.rules.is_empty() {
            return;
        }
        for mutation in &mut commit.mutations {
            let Some(given) = self.of(mutation) else { continue };
            match &mut mutation.operation {
                Operation::Set { expiry, .. }
                | Operation::SetWithVersionstampSuffix { expiry, .. }
                | Operation::Number { expiry, .. } => *expiry = given,
                _ => {}
            }
        }
    }
}
