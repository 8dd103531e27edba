//! The error of the embedded API.

use crate::databases::DatabaseError;
use crate::queue::QueueError;
use crate::tuple::KeyError;
use orchard_engine::error::{CommitError, OpenError, ReadError};
use orchard_types::LimitError;
use std::fmt;

/// What can go wrong; each variant's own type tells what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The database could not be opened.
    Open(OpenError),
    /// The key is none.
    Key(KeyError),
    /// A read failed.
    Read(ReadError),
    /// A commit did not happen.
    Commit(CommitError),
    /// The database is none, or there are too many.
    Database(DatabaseError),
    /// What is asked of a queue cannot be.
    Queue(QueueError),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Open(error) => error.fmt(f),
            Error::Key(error) => error.fmt(f),
            Error::Read(error) => error.fmt(f),
            Error::Commit(error) => error.fmt(f),
            Error::Database(error) => error.fmt(f),
            Error::Queue(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        Error::Open(error)
    }
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Error::Key(error)
    }
}

impl From<LimitError> for Error {
    fn from(error: LimitError) -> Self {
        Error::Key(KeyError::Limit(error))
    }
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        Error::Read(error)
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        Error::Commit(error)
    }
}

impl From<DatabaseError> for Error {
    fn from(error: DatabaseError) -> Self {
        Error::Database(error)
    }
}

impl From<QueueError> for Error {
    fn from(error: QueueError) -> Self {
        Error::Queue(error)
    }
}
