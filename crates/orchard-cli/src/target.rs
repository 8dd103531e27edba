//! The database that a client command works on: a server, or a directory of this machine.

use crate::args::TargetFlags;
use crate::error::{CliError, Result};
use crate::local::{self, Local};
use crate::remote::{self, Remote};
use crate::settings::{client_token, process_environment};
use orcharddb::{Commit, Entry, Key, KeyRange, Versionstamp};
use serde_json::Value as Json;
use std::fmt;

/// The server that is asked when none is named.
const URL_DEFAULT: &str = "http://127.0.0.1:4206";

/// Entries of a range to read.
#[derive(Clone, Debug, Default)]
pub struct ScanRequest {
    /// The range.
    pub range: KeyRange,
    /// Most entries to return; `None`: all.
    pub limit: Option<u64>,
    /// From the last key down.
    pub reverse: bool,
    /// Leave the values out.
    pub keys_only: bool,
}

/// Entries in key order from one snapshot, fetched as they are asked for.
pub type Entries = Box<dyn Iterator<Item = Result<Entry>>>;

/// A database.
pub enum Target {
    /// A directory that this process opened.
    Local(Local),
    /// A server.
    Remote(Remote),
}

/// A commit on its way.
pub enum Ticket {
    /// In this process.
    Local(local::Ticket),
    /// On a connection.
    Remote(remote::Ticket),
}

impl Ticket {
    /// Waits until the commit is on disk.
    ///
    /// # Errors
    /// Why it is not, or why that is unknown.
    pub fn wait(self) -> Result<Versionstamp> {
        match self {
            Ticket::Local(ticket) => ticket.wait(),
            Ticket::Remote(ticket) => ticket.wait(),
        }
    }
}

impl Target {
    /// Opens what the flags name. `create`: a directory that does not exist yet is fine.
    ///
    /// # Errors
    /// The directory cannot be opened, or the URL is none.
    pub fn open(flags: &TargetFlags, create: bool) -> Result<Target> {
        if let Some(data) = &flags.data {
            return Local::open(data, create).map(Target::Local);
        }
        let url = flags.url.clone().or_else(|| process_environment("ORCHARD_URL"));
        let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
        let token = client_token(flags.access_token_file.as_deref(), &process_environment)?;
        Remote::new(&url, token).map(Target::Remote)
    }

    /// The newest entry of a key.
    ///
    /// # Errors
    /// The read failed.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        match self {
            Target::Local(local) => local.get(key),
            Target::Remote(remote) => remote.get(key),
        }
    }

    /// Commits and waits until it is acknowledged; `None`: its checks did not hold.
    ///
    /// # Errors
    /// The commit did not happen, or whether it did is unknown.
    pub fn commit(&self, commit: &Commit) -> Result<Option<Versionstamp>> {
        match self {
            Target::Local(local) => local.commit(commit),
            Target::Remote(remote) => remote.commit(commit),
        }
    }

    /// Commits without waiting; the acknowledgement will mean "on disk", whatever the database's own level is.
    ///
    /// Two commits on their way at the same time may happen in any order.
    ///
    /// # Errors
    /// It could not even be sent.
    pub fn submit(&self, commit: &Commit) -> Result<Ticket> {
        match self {
            Target::Local(local) => Ok(Ticket::Local(local.submit(commit))),
            Target::Remote(remote) => Ok(Ticket::Remote(remote.submit(commit))),
        }
    }

    /// Entries of a range.
    ///
    /// # Errors
    /// The read failed.
    pub fn scan(&self, request: &ScanRequest) -> Result<Entries> {
        match self {
            Target::Local(local) => local.scan(request),
            Target::Remote(remote) => remote.scan(request),
        }
    }

    /// Numbers about the database.
    ///
    /// # Errors
    /// They could not be read.
    pub fn stats(&self) -> Result<Json> {
        match self {
            Target::Local(local) => Ok(local.stats()),
            Target::Remote(remote) => remote.stats(),
        }
    }

    /// Lets go of the database; a directory gets its clean end.
    ///
    /// # Errors
    /// What is open could not be written.
    pub fn close(self) -> Result<()> {
        match self {
            Target::Local(local) => local.close(),
            Target::Remote(_) => Ok(()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Local(local) => local.fmt(f),
            Target::Remote(remote) => remote.fmt(f),
        }
    }
}

impl From<orchard_wire::Problem> for CliError {
    fn from(problem: orchard_wire::Problem) -> CliError {
        CliError::failure(problem.to_string())
    }
}
