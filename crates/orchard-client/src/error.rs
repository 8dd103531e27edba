//! How a request fails, wherever the database is.

use orchard_wire::{Kind, Problem};
use orcharddb::queue::QueueError;
use orcharddb::{
    CheckFailure, CollectionError, CommitError, DatabaseError, KeyError, MutationError, OpenError, ReadError,
};
use std::fmt;

/// What can go wrong.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClientError {
    /// The address names no database. It is `memory:`, a directory, or `http://host:4206`.
    Address(String),
    /// The directory could not be opened.
    Open(OpenError),
    /// Checks of a commit did not hold; nothing was written. Read again, then retry.
    CheckFailed(Vec<CheckFailure>),
    /// The database in this process refused, or failed.
    Database(orcharddb::Error),
    /// What was asked for was refused, or the server failed.
    Refused(Problem),
    /// The server could not be asked, or did not answer. What became of a commit is unknown: retry it with a token.
    Unreachable(String),
}

impl ClientError {
    /// What went wrong, the same for a server and for a database in this process; `None` if no database was reached.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            ClientError::CheckFailed(_) => Some(Kind::CheckFailed),
            ClientError::Refused(problem) => Some(problem.kind),
            ClientError::Database(error) => Some(match error {
                orcharddb::Error::Queue(QueueError::Limit(_))
                | orcharddb::Error::Database(DatabaseError::Limit(_))
                | orcharddb::Error::Key(KeyError::Limit(_)) => Kind::LimitExceeded,
                orcharddb::Error::Key(_) => Kind::BadKey,
                orcharddb::Error::Read(ReadError::SnapshotTooOld) => Kind::SnapshotTooOld,
                orcharddb::Error::Read(ReadError::Limit(_)) => Kind::LimitExceeded,
                orcharddb::Error::Read(ReadError::Poisoned(_)) => Kind::Poisoned,
                orcharddb::Error::Commit(CommitError::Aborted(_)) => Kind::Aborted,
                orcharddb::Error::Commit(CommitError::TooOld { .. }) => Kind::SnapshotTooOld,
                orcharddb::Error::Commit(CommitError::Limit(_)) => Kind::LimitExceeded,
                orcharddb::Error::Commit(CommitError::Mutation { error, .. }) => match error {
                    MutationError::Overflow => Kind::Overflow,
                    MutationError::OutOfBounds => Kind::OutOfBounds,
                    MutationError::KeyTooLong(_) => Kind::LimitExceeded,
                    _ => Kind::WrongType,
                },
                orcharddb::Error::Collection(CollectionError::WrongType { .. }) => Kind::WrongType,
                orcharddb::Error::Collection(CollectionError::Damaged(_)) => Kind::Storage,
                orcharddb::Error::Collection(_) => Kind::BadValue,
                orcharddb::Error::Commit(CommitError::Poisoned(_)) => Kind::Poisoned,
                orcharddb::Error::Commit(CommitError::DiskFull) => Kind::DiskFull,
                orcharddb::Error::Commit(CommitError::Closed) => Kind::Closed,
                _ => return None,
            }),
            ClientError::Address(_) | ClientError::Open(_) | ClientError::Unreachable(_) => None,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Address(text) | ClientError::Unreachable(text) => f.write_str(text),
            ClientError::Open(error) => error.fmt(f),
            ClientError::CheckFailed(failures) => {
                write!(f, "{} of the checks did not hold", failures.len())
            }
            ClientError::Database(error) => error.fmt(f),
            ClientError::Refused(problem) => write!(f, "{problem} ({})", problem.kind.code()),
        }
    }
}

impl std::error::Error for ClientError {}

impl From<orcharddb::Error> for ClientError {
    fn from(error: orcharddb::Error) -> ClientError {
        match error {
            orcharddb::Error::Commit(CommitError::CheckFailed(failures)) => {
                ClientError::CheckFailed(failures)
            }
            other => ClientError::Database(other),
        }
    }
}

impl From<KeyError> for ClientError {
    fn from(error: KeyError) -> ClientError {
        ClientError::Database(error.into())
    }
}

impl From<ReadError> for ClientError {
    fn from(error: ReadError) -> ClientError {
        ClientError::Database(error.into())
    }
}

impl From<CommitError> for ClientError {
    fn from(error: CommitError) -> ClientError {
        orcharddb::Error::from(error).into()
    }
}
