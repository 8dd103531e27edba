//! What can be wrong with a request, as data.

use crate::versionstamp::Versionstamp;
use std::fmt;

/// Something was larger than its limit. Make it smaller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitError {
    /// The name of the limit, as in `/limits`.
    pub name: &'static str,
    /// The largest value allowed.
    pub limit: u64,
    /// What the request had.
    pub actual: u64,
}

impl LimitError {
    /// # Errors
    /// [`LimitError`] if `actual` is over `limit`.
    pub fn check(name: &'static str, limit: usize, actual: usize) -> Result<(), LimitError> {
        if actual > limit {
            return Err(LimitError { name, limit: limit as u64, actual: actual as u64 });
        }
        Ok(())
    }
}

impl fmt::Display for LimitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, over the limit of {}", self.name, self.actual, self.limit)
    }
}

impl std::error::Error for LimitError {}

/// One check of a commit that did not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFailure {
    /// Position of the check in the commit.
    pub index: usize,
    /// The versionstamp found: of the key, or the newest in the range. `None` if the key is absent.
    pub found: Option<Versionstamp>,
}

/// A mutation that cannot be applied to what it found. The whole commit is refused and leaves nothing behind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum MutationError {
    /// The number found, or given, is not of the type that the operation needs.
    WrongType {
        /// What the operation needs.
        expected: &'static str,
        /// What it found.
        found: &'static str,
    },
    /// The number found and the number given are of kinds that JavaScript does not add.
    CannotSum {
        /// What is stored: `BigInt`, `Number` or `KvU64`.
        stored: &'static str,
        /// What was to be added.
        operand: &'static str,
    },
    /// The result does not fit the number's type.
    Overflow,
    /// The result lies outside the bounds that the mutation gave.
    OutOfBounds,
    /// The key with its appended versionstamp is longer than a key may be.
    KeyTooLong(LimitError),
}

impl fmt::Display for MutationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MutationError::WrongType { expected, found } => {
                write!(f, "the operation needs a value of type {expected}, found {found}")
            }
            MutationError::CannotSum { stored, operand } => write!(f, "Cannot sum {stored} with {operand}"),
            MutationError::Overflow => f.write_str("the result does not fit the number's type"),
            MutationError::OutOfBounds => f.write_str("the result lies outside the given bounds"),
            MutationError::KeyTooLong(limit) => limit.fmt(f),
        }
    }
}

impl std::error::Error for MutationError {}
