//! How a command fails: a sentence for people and an exit code for scripts.

use orchard_client::ClientError;
use orcharddb::{CommitError, Error, KeyError, OpenError, ReadError, StorageError};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The exit codes, fixed: scripts depend on them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It failed, or the key is not there.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Config = 3,
    /// Another process has the data directory open.
    Locked = 4,
    /// A file is damaged.
    Corruption = 5,
    /// A file was written by a newer version.
    NewerFormat = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Debug)]
pub struct CliError {
    /// What the process returns.
    pub exit: Exit,
    /// What the user reads. Empty: the output was cut off by its reader, which is no failure.
    pub message: String,
}

/// What a command gives.
pub type Result<T, E = CliError> = std::result::Result<T, E>;

impl CliError {
    /// With a code of its own.
    pub fn new(exit: Exit, message: impl Into<String>) -> CliError {
        CliError { exit, message: message.into() }
    }

    /// Exit code 1.
    pub fn failure(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Failure, message)
    }

    /// Exit code 2.
    pub fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, message)
    }

    /// Exit code 3.
    pub fn config(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Config, message)
    }

    /// What the process returns: nothing went wrong if all that happened is that nobody reads the output any more.
    pub fn exit_code(&self) -> ExitCode {
        if self.message.is_empty() { ExitCode::SUCCESS } else { self.exit.into() }
    }

    /// Exit code 1: something could not be done to `what`.
    pub fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> CliError {
        move |error| CliError::failure(format!("{what}: {error}"))
    }
}

/// Standard output could not be written. A closed pipe (`orchard scan | head`) is no failure: the command ends quietly.
pub fn stdout(error: io::Error) -> CliError {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return CliError::failure("");
    }
    CliError::failure(format!("standard output: {error}"))
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

fn storage_exit(error: &StorageError) -> Exit {
    match error {
        StorageError::Corrupt(_) => Exit::Corruption,
        StorageError::NewerFormat { .. } => Exit::NewerFormat,
        _ => Exit::Failure,
    }
}

impl From<OpenError> for CliError {
    fn from(error: OpenError) -> CliError {
        let exit = match &error {
            OpenError::Locked { .. } => Exit::Locked,
            OpenError::Storage(storage) => storage_exit(storage),
            _ => Exit::Failure,
        };
        CliError::new(exit, error.to_string())
    }
}

/// Why a directory was not opened. An engine names its files only.
pub fn opening(directory: &Path) -> impl FnOnce(OpenError) -> CliError {
    move |error| match error {
        OpenError::Storage(storage) => {
            CliError::new(storage_exit(&storage), format!("{}: {storage}", directory.display()))
        }
        other => other.into(),
    }
}

impl From<StorageError> for CliError {
    fn from(error: StorageError) -> CliError {
        CliError::new(storage_exit(&error), error.to_string())
    }
}

impl From<ReadError> for CliError {
    fn from(error: ReadError) -> CliError {
        let exit = match &error {
            ReadError::Storage(storage) => storage_exit(storage),
            _ => Exit::Failure,
        };
        CliError::new(exit, error.to_string())
    }
}

impl From<CommitError> for CliError {
    fn from(error: CommitError) -> CliError {
        let exit = match &error {
            CommitError::Storage(storage) => storage_exit(storage),
            _ => Exit::Failure,
        };
        CliError::new(exit, error.to_string())
    }
}

impl From<KeyError> for CliError {
    fn from(error: KeyError) -> CliError {
        CliError::usage(error.to_string())
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> CliError {
        match error {
            Error::Open(error) => error.into(),
            Error::Read(error) => error.into(),
            Error::Commit(error) => error.into(),
            Error::Key(error) => error.into(),
            error @ (Error::Database(_) | Error::Queue(_)) => CliError::usage(error.to_string()),
            other => CliError::failure(other.to_string()),
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> CliError {
        match error {
            ClientError::Open(error) => error.into(),
            ClientError::Database(error) => error.into(),
            ClientError::Address(text) => CliError::usage(text),
            other => CliError::failure(other.to_string()),
        }
    }
}
