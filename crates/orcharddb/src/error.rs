//! The error of the embedded API.

use crate::databases::DatabaseError;
use crate::queue::QueueError;
use crate::tuple::KeyError;
use orchard_engine::error::{CommitError, OpenError, ReadError};
use orchard_types::{LimitError, ValueType};
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
    /// An operation on a collection cannot be done.
    Collection(CollectionError),
}

/// Why an operation on a collection cannot be done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CollectionError {
    /// The key holds something else. Delete it first, or use another key.
    WrongType {
        /// The type of the operation.
        expected: ValueType,
        /// What the key holds.
        found: ValueType,
    },
    /// An element of a collection is no collection.
    Nested(ValueType),
    /// A score has to be a number.
    NotANumber,
    /// Two long names with the same hash: the second is refused.
    NameCollision,
    /// The positions of a list are used up where the element belongs. Write the list anew.
    ListFull,
    /// A piece of a collection was to be written and the ones before it are not there. Write it from its beginning.
    Incomplete(String),
    /// The stored bytes are not a collection: they were written by something else.
    Damaged(String),
}

impl fmt::Display for CollectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CollectionError::WrongType { expected, found } => {
                write!(f, "the operation needs a {expected}, the key holds a value of type {found}")
            }
            CollectionError::Nested(found) => write!(f, "an element of a collection cannot be a {found}"),
            CollectionError::NotANumber => f.write_str("a score has to be a number"),
            CollectionError::NameCollision => f.write_str("another long name has the same hash"),
            CollectionError::ListFull => {
                f.write_str("the list has no position left where the element belongs")
            }
            CollectionError::Incomplete(detail) => write!(f, "the collection is not whole: {detail}"),
            CollectionError::Damaged(detail) => write!(f, "not a collection: {detail}"),
        }
    }
}

impl std::error::Error for CollectionError {}

impl From<CollectionError> for Error {
    fn from(error: CollectionError) -> Self {
        Error::Collection(error)
    }
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
            Error::Collection(error) => error.fmt(f),
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
