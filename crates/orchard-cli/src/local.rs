//! A data directory, opened by this process.

use crate::error::{CliError, Result};
use crate::target::{Entries, ScanRequest};
use orcharddb::{Commit, CommitError, Db, Durability, Entry, Key, Pending, ScanOptions, Versionstamp};
use serde_json::Value as Json;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a data directory holds. With any of them it is one, damaged perhaps.
const PARTS: [&str; 3] = ["MANIFEST", "wal", "segments"];

/// An open data directory.
pub struct Local {
    db: Db,
    path: PathBuf,
}

/// A commit on its way to the disk.
pub struct Ticket(Pending);

impl Ticket {
    /// Waits until the commit is on disk.
    ///
    /// # Errors
    /// Why it is not.
    pub fn wait(self) -> Result<Versionstamp> {
        Ok(self.0.wait()?.versionstamp)
    }
}

impl Local {
    /// Opens `path`. Without `create` it must hold a database already, so that a mistyped name is not a new one.
    ///
    /// # Errors
    /// Why it could not be opened, with the exit code of that.
    pub fn open(path: &Path, create: bool) -> Result<Local> {
        if !create && !PARTS.iter().any(|part| path.join(part).exists()) {
            return Err(CliError::failure(format!("{} holds no database", path.display())));
        }
        Ok(Local { db: Db::open(path)?, path: path.to_owned() })
    }

    /// The newest entry of a key.
    ///
    /// # Errors
    /// The read failed.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        Ok(self.db.get(key)?)
    }

    /// Commits and waits; `None`: its checks did not hold.
    ///
    /// # Errors
    /// The commit did not happen.
    pub fn commit(&self, commit: &Commit) -> Result<Option<Versionstamp>> {
        match self.db.commit(commit) {
            Ok(committed) => Ok(Some(committed.versionstamp)),
            Err(CommitError::CheckFailed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits without waiting.
    pub fn submit(&self, commit: &Commit) -> Ticket {
        Ticket(self.db.submit(commit, Some(Durability::Fsync)))
    }

    /// Entries of a range.
    ///
    /// # Errors
    /// Never; reads fail at the entry.
    pub fn scan(&self, request: &ScanRequest) -> Result<Entries> {
        let options = ScanOptions {
            reverse: request.reverse,
            keys_only: request.keys_only,
            limit: request.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            ..ScanOptions::default()
        };
        let scan = self.db.scan(request.range.clone(), options);
        Ok(Box::new(scan.map(|entry| entry.map_err(CliError::from))))
    }

    /// Numbers about the database.
    pub fn stats(&self) -> Json {
        let stats = self.db.stats();
        serde_json::json!({
            "entries": stats.entries,
            "key_bytes": stats.key_bytes,
            "value_bytes": stats.value_bytes,
            "memory_bytes": stats.memory_bytes,
            "memory_limit_bytes": stats.memory_limit_bytes,
            "log_bytes": stats.log_bytes,
            "segment_bytes": stats.segment_bytes,
            "segments": stats.segments,
            "commits": stats.commits,
            "groups": stats.groups,
            "log_syncs": stats.syncs,
            "poisoned": u64::from(stats.poisoned.is_some()),
        })
    }

    /// Reads every file back and verifies it.
    ///
    /// # Errors
    /// The first damage.
    pub fn verify(&self) -> Result<()> {
        Ok(self.db.verify()?)
    }

    /// Writes what is open and records the clean end.
    ///
    /// # Errors
    /// It could not be written.
    pub fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }
}

impl fmt::Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}
