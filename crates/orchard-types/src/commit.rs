//! A commit: checks and mutations that take effect together or not at all.

use crate::error::LimitError;
use crate::key::{Key, KeyRange, SpaceId};
use crate::limits;
use crate::time::{DurationMs, UnixMillis};
use crate::value::Value;
use crate::versionstamp::Versionstamp;
use bytes::Bytes;

/// What an acknowledged commit survives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Durability {
    /// Nothing is promised beyond the life of the process.
    None,
    /// Handed to the kernel: survives the process, fsynced at least every second.
    Os,
    /// On disk: survives a power failure.
    #[default]
    Fsync,
}

/// A condition that must hold for the commit to happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Check {
    /// The key's newest version is exactly `expected`; `None`: the key is absent.
    Key {
        /// Space of the key.
        space: SpaceId,
        /// The key.
        key: Bytes,
        /// The versionstamp seen, `None` for absence.
        expected: Option<Versionstamp>,
    },
    /// Nothing in the range was written, deleted or expired after `unchanged_since`.
    Range {
        /// Space of the range.
        space: SpaceId,
        /// The range.
        range: KeyRange,
        /// The versionstamp at which the range was read.
        unchanged_since: Versionstamp,
    },
}

/// When a written entry stops being visible.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Expiry {
    /// Never.
    #[default]
    Never,
    /// At a moment.
    At(UnixMillis),
    /// So long after the commit's log time.
    After(DurationMs),
    /// As the entry had it; never, if it was absent.
    Keep,
    /// As the entry had it; so long after the commit's log time, if it was absent.
    KeepOr(DurationMs),
}

/// Arithmetic on a stored number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum NumberOp {
    /// Add the operand; an absent entry counts as zero.
    Sum = 0,
    /// Keep the smaller; an absent entry takes the operand.
    Min = 1,
    /// Keep the larger; an absent entry takes the operand.
    Max = 2,
}

/// What to do with one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Write a value.
    Set {
        /// The value.
        value: Value,
        /// When it expires.
        expiry: Expiry,
    },
    /// Remove the entry; nothing happens if it is absent.
    Delete,
    /// Remove the entry if its newest version is exactly this one (the sweeper's delete).
    DeleteIfStamp(Versionstamp),
    /// Remove every entry from the key up to `end` (`None`: to the end of the space).
    DeleteRange {
        /// First key behind the range.
        end: Option<Bytes>,
    },
    /// Arithmetic on an `int`, `float` or `u64` entry, or a sum on a `v8` number or bigint.
    Number {
        /// The operation.
        op: NumberOp,
        /// The operand; its type decides the type of a new entry.
        operand: Value,
        /// Lower bound of the result, of the operand's type.
        at_least: Option<Value>,
        /// Upper bound of the result, of the operand's type.
        at_most: Option<Value>,
        /// At a bound or on overflow: take the bound instead of refusing the commit.
        clamp: bool,
        /// When the result expires.
        expiry: Expiry,
    },
    /// Write a value under the key with the commit's versionstamp (20 hex digits as a string part) appended.
    SetWithVersionstampSuffix {
        /// The value.
        value: Value,
        /// When it expires.
        expiry: Expiry,
    },
    /// Change the expiry of an entry that exists; the value stays.
    Touch {
        /// The new expiry.
        expiry: Expiry,
    },
}

/// One operation on one key of one space.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mutation {
    /// Space of the key.
    pub space: SpaceId,
    /// The key.
    pub key: Key,
    /// What to do.
    pub operation: Operation,
}

/// Makes a retried commit exactly-once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Client-chosen id, at most [`limits::TOKEN_SIZE_BYTES_MAX`] bytes, scoped to the identity by the caller.
    pub id: Bytes,
    /// Until when the outcome is remembered.
    pub deadline: UnixMillis,
}

/// One atomic change.
///
/// ```
/// use orchard_types::{Commit, Key, SpaceId};
/// let commit = Commit::new()
///     .check_absent(SpaceId::DEFAULT, Key::new("apple")?)
///     .set(SpaceId::DEFAULT, Key::new("apple")?, "red");
/// commit.validate()?;
/// # Ok::<(), orchard_types::LimitError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Commit {
    /// Conditions, all of which must hold.
    pub checks: Vec<Check>,
    /// Changes, resolved in order.
    pub mutations: Vec<Mutation>,
    /// Makes a retry exactly-once.
    pub token: Option<Token>,
}

impl Commit {
    /// An empty commit.
    pub fn new() -> Commit {
        Commit::default()
    }

    /// Adds "the newest version of `key` is `expected`".
    #[must_use]
    pub fn check(mut self, space: SpaceId, key: Key, expected: Option<Versionstamp>) -> Commit {
        self.checks.push(Check::Key { space, key: key.into_bytes(), expected });
        self
    }

    /// Adds "`key` is absent".
    #[must_use]
    pub fn check_absent(self, space: SpaceId, key: Key) -> Commit {
        self.check(space, key, None)
    }

    /// Adds a mutation.
    #[must_use]
    pub fn mutate(mut self, space: SpaceId, key: Key, operation: Operation) -> Commit {
        self.mutations.push(Mutation { space, key, operation });
        self
    }

    /// Adds a write without expiry.
    #[must_use]
    pub fn set(self, space: SpaceId, key: Key, value: impl Into<Value>) -> Commit {
        self.mutate(space, key, Operation::Set { value: value.into(), expiry: Expiry::Never })
    }

    /// Adds a delete.
    #[must_use]
    pub fn delete(self, space: SpaceId, key: Key) -> Commit {
        self.mutate(space, key, Operation::Delete)
    }

    /// The same commit in another database: whatever it names in the default database is meant there.
    #[must_use]
    pub fn in_database(mut self, space: SpaceId) -> Commit {
        let there = |of: &mut SpaceId| {
            if *of == SpaceId::DEFAULT {
                *of = space;
            }
        };
        for check in &mut self.checks {
            match check {
                Check::Key { space, .. } | Check::Range { space, .. } => there(space),
            }
        }
        self.mutations.iter_mut().for_each(|mutation| there(&mut mutation.space));
        self
    }

    /// Makes it an empty commit again, which keeps its room.
    pub fn clear(&mut self) {
        self.checks.clear();
        self.mutations.clear();
        self.token = None;
    }

    /// Whether it neither checks nor changes anything.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty() && self.mutations.is_empty() && self.token.is_none()
    }

    /// Key and value bytes that the commit carries.
    pub fn size_bytes(&self) -> usize {
        let checks = self.checks.iter().map(|check| match check {
            Check::Key { key, .. } => key.len(),
            Check::Range { range, .. } => range.start.len() + range.end.as_ref().map_or(0, Bytes::len),
        });
        let mutations = self.mutations.iter().map(|mutation| {
            mutation.key.len()
                + match &mutation.operation {
                    Operation::Set { value, .. } | Operation::SetWithVersionstampSuffix { value, .. } => {
                        value.data.len()
                    }
                    Operation::DeleteRange { end } => end.as_ref().map_or(0, Bytes::len),
                    Operation::Number { operand, at_least, at_most, .. } => {
                        let bounds = [at_least, at_most].into_iter().flatten();
                        operand.data.len() + bounds.map(|bound| bound.data.len()).sum::<usize>()
                    }
                    Operation::Delete | Operation::DeleteIfStamp(_) | Operation::Touch { .. } => 0,
                }
        });
        checks.chain(mutations).fold(0, usize::saturating_add)
    }

    /// Its [`Commit::size_bytes`], if it keeps to every limit.
    ///
    /// # Errors
    /// [`LimitError`] naming the first limit of [`limits`] that the commit breaks.
    pub fn validate(&self) -> Result<usize, LimitError> {
        self.validate_within("commit_operations", limits::COMMIT_OPERATIONS_MAX)
    }

    /// As [`Commit::validate`], for a transaction that runs under the commit lock.
    ///
    /// # Errors
    /// [`LimitError`]
    pub fn validate_transaction(&self) -> Result<usize, LimitError> {
        self.validate_within("transaction_operations", limits::TRANSACTION_OPERATIONS_MAX)
    }

    fn validate_within(&self, name: &'static str, operations_max: usize) -> Result<usize, LimitError> {
        LimitError::check(name, operations_max, self.checks.len() + self.mutations.len())?;
        let size_bytes = self.size_bytes();
        LimitError::check("commit_size_bytes", limits::COMMIT_SIZE_BYTES_MAX, size_bytes)?;
        if let Some(token) = &self.token {
            LimitError::check("token_size_bytes", limits::TOKEN_SIZE_BYTES_MAX, token.id.len())?;
        }
        for check in &self.checks {
            let longest = match check {
                Check::Key { key, .. } => key.len(),
                Check::Range { range, .. } => range.start.len().max(range.end.as_ref().map_or(0, Bytes::len)),
            };
            LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, longest)?;
        }
        for mutation in &self.mutations {
            match &mutation.operation {
                Operation::Set { value, .. } | Operation::SetWithVersionstampSuffix { value, .. } => {
                    LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?;
                }
                Operation::Number { operand, at_least, at_most, .. } => {
                    for value in [Some(operand), at_least.as_ref(), at_most.as_ref()].into_iter().flatten() {
                        LimitError::check(
                            "value_size_bytes",
                            limits::VALUE_SIZE_BYTES_MAX,
                            value.data.len(),
                        )?;
                    }
                }
                Operation::DeleteRange { end: Some(end) } => {
                    LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, end.len())?;
                }
                _ => {}
            }
        }
        Ok(size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_on_every_part() -> Result<(), LimitError> {
        let key = Key::new("k")?;
        let many = (0..=limits::COMMIT_OPERATIONS_MAX)
            .fold(Commit::new(), |commit, _| commit.delete(SpaceId::DEFAULT, key.clone()));
        assert_eq!(many.validate().expect_err("too many").name, "commit_operations");
        let large =
            Commit::new().set(SpaceId::DEFAULT, key.clone(), vec![0; limits::VALUE_SIZE_BYTES_MAX + 1]);
        assert_eq!(large.validate().expect_err("too large").name, "value_size_bytes");
        let token = Token { id: Bytes::from(vec![0; 65]), deadline: UnixMillis(0) };
        let commit = Commit { token: Some(token), ..Commit::new() };
        assert_eq!(commit.validate().expect_err("token too long").actual, 65);
        Commit::new().set(SpaceId::DEFAULT, key, "v").validate()?;
        Ok(())
    }
}
