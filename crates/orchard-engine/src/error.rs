//! What can go wrong with the files of a data directory.

use orchard_types::{CheckFailure, LimitError, MutationError, Versionstamp};
use std::fmt;
use std::io;
use std::sync::Arc;

/// A file holds something that was never written there. Restore a backup, or run `orchard repair`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Corruption {
    /// Path inside the data directory.
    pub file: String,
    /// Where in the file the damaged unit begins.
    pub offset_bytes: u64,
    /// What was expected and what was found.
    pub detail: String,
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file, self.offset_bytes, self.detail)
    }
}

/// What can go wrong below the engine.
#[derive(Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused. The path tells where, the source why.
    Io {
        /// Path inside the data directory.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A file is damaged.
    Corrupt(Corruption),
    /// A file was written by a newer OrchardDB. Use that one.
    NewerFormat {
        /// Path inside the data directory.
        file: String,
        /// What is unknown: a version, flag or kind, with its number.
        detail: String,
    },
}

impl StorageError {
    /// An I/O error of `file`.
    pub fn io(file: impl Into<String>) -> impl FnOnce(io::Error) -> StorageError {
        let file = file.into();
        move |source| StorageError::Io { file, source }
    }

    /// Damage in `file` at `offset_bytes`.
    pub fn corrupt(file: impl Into<String>, offset_bytes: u64, detail: impl Into<String>) -> StorageError {
        StorageError::Corrupt(Corruption { file: file.into(), offset_bytes, detail: detail.into() })
    }

    /// Something in `file` that only a newer OrchardDB knows.
    pub fn newer(file: impl Into<String>, detail: impl Into<String>) -> StorageError {
        StorageError::NewerFormat { file: file.into(), detail: detail.into() }
    }
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Io { file, source } => write!(f, "{file}: {source}"),
            StorageError::Corrupt(corruption) => corruption.fmt(f),
            StorageError::NewerFormat { file, detail } => {
                write!(f, "{file} was written by a newer OrchardDB: {detail}")
            }
        }
    }
}

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StorageError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Why a data directory could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open. Stop that one, or use its port.
    Locked {
        /// The data directory.
        location: String,
        /// The other process, if its lock file tells.
        pid: Option<u32>,
    },
    /// A file could not be read, is damaged, or is of a newer format.
    Storage(StorageError),
}

impl From<StorageError> for OpenError {
    fn from(error: StorageError) -> Self {
        OpenError::Storage(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { location, pid: Some(pid) } => {
                write!(f, "{location} is in use by process {pid}")
            }
            OpenError::Locked { location, pid: None } => write!(f, "{location} is in use by another process"),
            OpenError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// Why a commit did not happen. Unless the variant says otherwise nothing of it was written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum CommitError {
    /// Checks did not hold: all of them are listed. Read again, then retry.
    CheckFailed(Vec<CheckFailure>),
    /// A mutation does not fit what it found. Retrying will not help.
    Mutation {
        /// Position of the mutation in the commit.
        index: usize,
        /// Why.
        error: MutationError,
    },
    /// Something in the commit is over its limit.
    Limit(LimitError),
    /// A range check names a version older than the engine remembers deletes for. Read again, then retry.
    TooOld {
        /// The oldest version that a check may name.
        floor: Versionstamp,
    },
    /// The retry token was used by another commit, or its deadline has passed or lies too far ahead.
    Token(TokenError),
    /// The memory limit is reached and nothing can leave. Delete something, or raise `--memory-limit`.
    MemoryFull {
        /// The limit in bytes.
        limit_bytes: u64,
        /// What is used, in bytes.
        used_bytes: u64,
    },
    /// There is no room for the log. Deletes still work; writes do again when there is space.
    DiskFull,
    /// A log write or fsync failed. Whether this commit is on disk is unknown; the engine accepts no further commit
    /// until it is opened again.
    Poisoned(Arc<str>),
    /// The engine is closed, or closing.
    Closed,
    /// Reading what the commit needs failed.
    Storage(Arc<StorageError>),
    /// The closure of a transaction gave up.
    Aborted(Arc<str>),
}

/// Why a retry token was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenError {
    /// The token belongs to a commit with other content.
    OtherContent,
    /// The deadline has passed.
    DeadlinePassed,
    /// The deadline lies further ahead than allowed.
    DeadlineTooFar,
}

impl From<LimitError> for CommitError {
    fn from(error: LimitError) -> Self {
        CommitError::Limit(error)
    }
}

impl From<StorageError> for CommitError {
    fn from(error: StorageError) -> Self {
        CommitError::Storage(Arc::new(error))
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CommitError::CheckFailed(failures) => {
                write!(f, "{} of the commit's checks did not hold", failures.len())
            }
            CommitError::Mutation { index, error } => write!(f, "mutation {index}: {error}"),
            CommitError::Limit(error) => error.fmt(f),
            CommitError::TooOld { floor } => {
                write!(f, "a range check names a version before {floor}, the oldest that is remembered")
            }
            CommitError::Token(TokenError::OtherContent) => {
                f.write_str("the retry token belongs to a commit with other content")
            }
            CommitError::Token(TokenError::DeadlinePassed) => {
                f.write_str("the deadline of the retry token has passed")
            }
            CommitError::Token(TokenError::DeadlineTooFar) => {
                f.write_str("the deadline of the retry token is more than 24 hours ahead")
            }
            CommitError::MemoryFull { limit_bytes, used_bytes } => {
                write!(f, "memory is full: {used_bytes} bytes used of {limit_bytes}")
            }
            CommitError::DiskFull => f.write_str("the disk is full"),
            CommitError::Poisoned(why) => {
                write!(f, "the log could not be written and the engine refuses commits: {why}")
            }
            CommitError::Closed => f.write_str("the database is closed"),
            CommitError::Storage(error) => error.fmt(f),
            CommitError::Aborted(why) => write!(f, "the transaction gave up: {why}"),
        }
    }
}

impl std::error::Error for CommitError {}

/// Why a read failed.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReadError {
    /// The snapshot outlived the allowed age or pinned too many bytes. Take a new one.
    SnapshotTooOld,
    /// Something in the read is over its limit.
    Limit(LimitError),
    /// A log write or fsync failed, and what the feed is to show next is no longer in the log's files. The feed goes on once
    /// the engine is opened again.
    Poisoned(Arc<str>),
    /// A segment or the log could not be read.
    Storage(Arc<StorageError>),
}

impl From<StorageError> for ReadError {
    fn from(error: StorageError) -> Self {
        ReadError::Storage(Arc::new(error))
    }
}

impl From<LimitError> for ReadError {
    fn from(error: LimitError) -> Self {
        ReadError::Limit(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::SnapshotTooOld => f.write_str("the snapshot is too old"),
            ReadError::Limit(error) => error.fmt(f),
            ReadError::Poisoned(why) => write!(f, "the log could not be written and ends here: {why}"),
            ReadError::Storage(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReadError {}
