//! The database that a client command works on: a server, or a directory of this machine. `orchard-client` is the one
//! interface to both; here it is made to wait, since a command does one thing after the other.

use crate::args::TargetFlags;
use crate::error::{CliError, Result, opening};
use crate::settings::{client_token, process_environment};
use orchard_client::{Client, ClientError, CommitOptions, ConnectOptions, Piece, Window};
use orcharddb::collection::Exported;
use orcharddb::{Commit, Db, Durability, Entry, Key, KeyRange, ScanOptions, Versionstamp};
use serde_json::Value as Json;
use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// The server that is asked when none is named.
const URL_DEFAULT: &str = "http://127.0.0.1:4206";
/// What a data directory holds. With any of them it is one, damaged perhaps.
const PARTS: [&str; 3] = ["MANIFEST", "wal", "segments"];

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
    /// When they were last changed.
    pub window: Window,
}

impl ScanRequest {
    fn options(&self) -> ScanOptions {
        ScanOptions {
            reverse: self.reverse,
            keys_only: self.keys_only,
            limit: self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            ..ScanOptions::default()
        }
    }
}

/// A database. Cloning shares it.
#[derive(Clone)]
pub struct Target {
    client: Client,
    runtime: Arc<Runtime>,
    name: String,
}

/// A commit on its way.
pub struct Ticket {
    runtime: Arc<Runtime>,
    reply: JoinHandle<Result<(), ClientError>>,
}

impl Ticket {
    /// Waits until the commit is on disk.
    ///
    /// # Errors
    /// Why it is not, or why that is unknown.
    pub fn wait(self) -> Result<()> {
        match self.runtime.block_on(self.reply) {
            Ok(done) => Ok(done?),
            Err(_) => Err(CliError::failure("the request was given up")),
        }
    }
}

/// Opens the database of a directory. Without `create` it must hold one already, so that a mistyped name is not a new
/// one.
///
/// # Errors
/// Why it could not be opened, with the exit code of that.
pub fn open_directory(path: &Path, create: bool) -> Result<Db> {
    check_directory(path, create)?;
    Db::open(path).map_err(opening(path))
}

/// Refuses what is no directory and, without `create`, one that holds no database.
///
/// # Errors
/// Exit code 1.
pub fn check_directory(path: &Path, create: bool) -> Result<()> {
    if path.exists() && !path.is_dir() {
        return Err(CliError::failure(format!("{} is not a directory", path.display())));
    }
    if !create && !PARTS.iter().any(|part| path.join(part).exists()) {
        return Err(CliError::failure(format!("{} holds no database", path.display())));
    }
    Ok(())
}

impl Target {
    /// Opens what the flags name. `create`: a directory that does not exist yet is fine.
    ///
    /// # Errors
    /// The directory cannot be opened, or the URL is none.
    pub fn open(flags: &TargetFlags, create: bool) -> Result<Target> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = Arc::new(runtime.map_err(CliError::io("the async runtime"))?);
        let (client, mut name) = if let Some(data) = &flags.data {
            (Client::from(open_directory(data, create)?), data.display().to_string())
        } else {
            let url = match &flags.url {
                Some(url) => Some(url.clone()),
                None => process_environment("ORCHARD_URL")?,
            };
            let url = url.unwrap_or_else(|| URL_DEFAULT.to_owned());
            if !url.starts_with("http://") && !url.starts_with("https://") {
                return Err(CliError::usage(format!("{url}: the URL begins with http://")));
            }
            let access_token = client_token(flags.access_token_file.as_deref(), &process_environment)?;
            let options = ConnectOptions { access_token, ..ConnectOptions::default() };
            (runtime.block_on(options.connect(&url))?, url.trim_end_matches('/').to_owned())
        };
        let client = match &flags.db {
            Some(db) => {
                name = format!("{name} (database {db})");
                client.database(db)?
            }
            None => client,
        };
        Ok(Target { client, runtime, name })
    }

    /// The client, for what has no verb of its own here.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the client runs on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Waits for what the client does.
    ///
    /// # Errors
    /// Those of what is waited for.
    pub fn wait<T>(&self, of: impl Future<Output = Result<T, ClientError>>) -> Result<T> {
        Ok(self.runtime.block_on(of)?)
    }

    /// The newest entry of a key.
    ///
    /// # Errors
    /// The read failed.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.wait(self.client.get(key))
    }

    /// Commits and waits until it is acknowledged; `None`: its checks did not hold.
    ///
    /// # Errors
    /// The commit did not happen, or whether it did is unknown.
    pub fn commit(&self, commit: &Commit) -> Result<Option<Versionstamp>> {
        match self.runtime.block_on(self.client.commit(commit)) {
            Ok(committed) => Ok(Some(committed.versionstamp)),
            Err(ClientError::CheckFailed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Commits without waiting; the acknowledgement will mean "on disk", whatever the database's own level is.
    ///
    /// Two commits on their way at the same time may happen in any order.
    pub fn submit(&self, commit: Commit) -> Ticket {
        let client = self.client.clone();
        let options = CommitOptions { durability: Some(Durability::Fsync), ..CommitOptions::default() };
        let reply = self.runtime.spawn(async move { client.commit_with(&commit, &options).await.map(drop) });
        Ticket { runtime: Arc::clone(&self.runtime), reply }
    }

    /// Entries of a range in key order, from one snapshot, fetched as they are asked for.
    ///
    /// # Errors
    /// The read failed.
    pub fn scan(&self, request: &ScanRequest) -> Result<Entries> {
        let entries = self.client.scan_window(request.range.clone(), request.options(), request.window);
        let entries = self.wait(entries)?;
        Ok(Entries { runtime: Arc::clone(&self.runtime), entries })
    }

    /// How many entries a range has.
    ///
    /// # Errors
    /// They could not be counted.
    pub fn count(&self, range: &KeyRange) -> Result<u64> {
        Ok(self.wait(self.client.count(range))?.entries)
    }

    /// Entries of a range with all that belongs to them, as [`Target::scan`].
    ///
    /// # Errors
    /// The read failed.
    pub fn export(&self, request: &ScanRequest) -> Result<Export> {
        let export = self.client.export(request.range.clone(), request.options(), request.window);
        Ok(Export { runtime: Arc::clone(&self.runtime), export: self.wait(export)? })
    }

    /// Writes a piece of a collection without waiting, as [`Target::submit`].
    pub fn submit_piece(&self, piece: Piece) -> Ticket {
        let client = self.client.clone();
        let options = CommitOptions { durability: Some(Durability::Fsync), ..CommitOptions::default() };
        let reply = self.runtime.spawn(async move { client.put_piece(&piece, &options).await });
        Ticket { runtime: Arc::clone(&self.runtime), reply }
    }

    /// Numbers about the database.
    ///
    /// # Errors
    /// They could not be read.
    pub fn stats(&self) -> Result<Json> {
        self.wait(self.client.stats())
    }

    /// Lets go of the database; a directory gets its clean end.
    ///
    /// # Errors
    /// What is open could not be written.
    pub fn close(self) -> Result<()> {
        Ok(self.runtime.block_on(self.client.close())?)
    }
}

/// Entries as they come.
pub struct Entries {
    runtime: Arc<Runtime>,
    entries: orchard_client::Entries,
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.runtime.block_on(self.entries.next()).map_err(CliError::from).transpose()
    }
}

/// The parts of an export as they come.
pub struct Export {
    runtime: Arc<Runtime>,
    export: orchard_client::Export,
}

impl Iterator for Export {
    type Item = Result<Exported>;

    fn next(&mut self) -> Option<Result<Exported>> {
        self.runtime.block_on(self.export.next()).map_err(CliError::from).transpose()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
