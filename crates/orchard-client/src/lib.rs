//! One interface, three places: a database in memory, in a directory, or behind a server. A program moves from its tests
//! to its own process to a server by changing a string.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), orchard_client::ClientError> {
//! let db = orchard_client::connect("memory:").await?; // or "./data", or "http://127.0.0.1:4206"
//! db.put("apple", "red").await?;
//! assert_eq!(db.get("apple").await?.map(|entry| entry.value), Some("red".into()));
//! let visits = db
//!     .transact(async |tx| {
//!         let visits = tx.get("visits").await?.and_then(|value| value.as_int()).unwrap_or(0) + 1;
//!         tx.put("visits", visits)?;
//!         Ok(visits)
//!     })
//!     .await?;
//! assert_eq!(visits, 1);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! - Every verb means the same in all three places, in results and in errors (`tests/three_places.rs`).
//! - Nothing but `remote` knows of HTTP, and only `orchard-wire` knows its shapes.
//! - Everything is async, on a tokio runtime. A database in this process reads where it is asked: from memory as a rule.

mod collections;
mod databases;
mod entries;
mod error;
mod export;
mod feed;
mod look_back;
mod queue;
mod remote;
mod shown;
mod transaction;
mod watch;

pub use collections::{ClientHash, ClientList, ClientSet, ClientZSet};
pub use entries::Entries;
pub use error::ClientError;
pub use export::Export;
pub use feed::{Feed, FeedKeys};
pub use look_back::{ClientView, History};
pub use orchard_wire::batch_json::BatchOperation;
pub use orchard_wire::commit_steps::StepAt;
pub use orchard_wire::entry_json::Piece;
pub use orchard_wire::moment::Moment;
pub use orchard_wire::queue_json::Enqueue;
pub use orcharddb::collection;
pub use queue::ClientQueue;
pub use transaction::Transaction;
pub use watch::{Watch, WatchEvent, Watched};

use orchard_wire::commit_json::CommitRequest;
use orchard_wire::element_json::{self, Verb};
use orchard_wire::{Problem, batch_json};
use orcharddb::collection::{Step, Stepped};
use orcharddb::{
    Commit, Committed, Db, Durability, Entry, Expiry, IntoKey, Key, KeyRange, Mutation, Operation, Pending,
    ScanOptions, SpaceId, Value, Versionstamp, limits,
};
use remote::Remote;
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// Opens what an address names: `memory:`, `http://host:4206`, or else a directory.
///
/// # Errors
/// [`ClientError::Address`] or [`ClientError::Open`]. A server is not asked yet.
pub async fn connect(address: &str) -> Result<Client, ClientError> {
    ConnectOptions::default().connect(address).await
}

/// How an address is opened. Every field has a default.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// What a server demands.
    pub access_token: Option<String>,
    /// How a database of this process is opened.
    pub open: orcharddb::Options,
}

impl ConnectOptions {
    /// As [`connect`].
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(self, address: &str) -> Result<Client, ClientError> {
        if address.starts_with("http://") || address.starts_with("https://") {
            let remote = Remote::new(address, self.access_token.as_deref())?;
            return Ok(Client { backend: Backend::Remote(remote), database: None });
        }
        let address = address.to_owned();
        let opened = tokio::task::spawn_blocking(move || match address.as_str() {
            "memory:" => self.open.memory(),
            path => self.open.open(path),
        });
        let opened = opened.await.map_err(|error| ClientError::Unreachable(error.to_string()))?;
        Ok(Client::from(opened.map_err(ClientError::Open)?))
    }
}

/// A database. Cloning shares it.
#[derive(Clone)]
pub struct Client {
    backend: Backend,
    database: Option<Arc<str>>,
}

#[derive(Clone)]
enum Backend {
    Local(Db),
    Remote(Remote),
}

impl From<Db> for Client {
    fn from(db: Db) -> Client {
        Client { backend: Backend::Local(db), database: None }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Local(_) => f.write_str("Client(in this process)"),
            Backend::Remote(remote) => write!(f, "Client({})", remote.http),
        }
    }
}

/// What a commit asks for beside its checks and mutations.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct CommitOptions {
    /// What the answer waits for; the database's own level if not said.
    pub durability: Option<Durability>,
    /// Messages that are enqueued if the commit happens.
    pub enqueues: Vec<Enqueue>,
}

/// What came of one operation of a batch.
#[derive(Clone, PartialEq, Debug)]
pub enum BatchResult {
    /// A get found this.
    Found(Entry),
    /// A get found nothing.
    Absent,
    /// A write happened here.
    Written(Versionstamp),
    /// A collection was changed, or found as it should be.
    Stepped(Versionstamp, Stepped),
}

/// When entries were last changed. What is not said is not bounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// Behind this moment.
    pub since: Option<Moment>,
    /// At or before this moment.
    pub until: Option<Moment>,
}

/// A number of entries, and when there were so many.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Count {
    /// How many.
    pub entries: u64,
    /// At which version.
    pub versionstamp: Versionstamp,
}

impl Client {
    /// The same place, another database of it; it is created by the first write.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the text is no name.
    pub fn database(&self, name: &str) -> Result<Client, ClientError> {
        orcharddb::check_database_name(name).map_err(orcharddb::Error::from)?;
        let backend = match &self.backend {
            Backend::Local(db) => Backend::Local(db.clone()),
            Backend::Remote(remote) => Backend::Remote(remote.with_database(name)),
        };
        Ok(Client { backend, database: Some(name.into()) })
    }

    /// The database of this process, if it is one.
    pub fn local(&self) -> Option<&Db> {
        match &self.backend {
            Backend::Local(db) => Some(db),
            Backend::Remote(_) => None,
        }
    }

    fn name(&self) -> &str {
        self.database.as_deref().unwrap_or("0")
    }

    fn space_for_read(&self, db: &Db) -> Result<SpaceId, ClientError> {
        Ok(db.database(self.name())?.unwrap_or(SpaceId::NOWHERE))
    }

    fn space_for_write(&self, db: &Db) -> Result<SpaceId, ClientError> {
        Ok(db.database_for_write(self.name())?)
    }

    /// The newest entry of a key. The value of a collection is its JSON, to be read and not to be written; see
    /// [`Client::list`], [`Client::hash`], [`Client::set`] and [`Client::zset`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get(&self, key: impl IntoKey) -> Result<Option<Entry>, ClientError> {
        let key = key.into_key()?;
        match &self.backend {
            Backend::Local(db) => shown::get(db, self.space_for_read(db)?, &key),
            Backend::Remote(remote) => remote.get(&key, None).await,
        }
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn put(&self, key: impl IntoKey, value: impl Into<Value>) -> Result<Committed, ClientError> {
        self.put_expiring(key, value, Expiry::Never).await
    }

    /// Writes a value that expires.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn put_expiring(
        &self,
        key: impl IntoKey,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<Committed, ClientError> {
        let operation = Operation::Set { value: value.into(), expiry };
        self.commit(&Commit::new().mutate(SpaceId::DEFAULT, key.into_key()?, operation)).await
    }

    /// Removes a key; fine if it is absent.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn delete(&self, key: impl IntoKey) -> Result<Committed, ClientError> {
        self.commit(&Commit::new().delete(SpaceId::DEFAULT, key.into_key()?)).await
    }

    /// Changes the expiry of an entry that exists; nothing happens if it is absent.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn touch(&self, key: impl IntoKey, expiry: Expiry) -> Result<Committed, ClientError> {
        let operation = Operation::Touch { expiry };
        self.commit(&Commit::new().mutate(SpaceId::DEFAULT, key.into_key()?, operation)).await
    }

    /// Commits checks and mutations, which are of the default space and mean this client's database.
    ///
    /// # Errors
    /// [`ClientError::CheckFailed`] with every check that did not hold, or another [`ClientError`].
    pub async fn commit(&self, commit: &Commit) -> Result<Committed, ClientError> {
        self.commit_with(commit, &CommitOptions::default()).await
    }

    /// As [`Client::commit`], with options.
    ///
    /// # Errors
    /// As [`Client::commit`].
    pub async fn commit_with(
        &self,
        commit: &Commit,
        options: &CommitOptions,
    ) -> Result<Committed, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_write(db)?;
                for mutation in &commit.mutations {
                    shown::check_stored(&mutation.operation).map_err(ClientError::Refused)?;
                }
                let mut commit = commit.clone().in_database(space);
                let messages = queue::mutations(&options.enqueues, space);
                commit.mutations.extend(messages.map_err(ClientError::Refused)?);
                Ok(db.submit(&commit, options.durability).await?)
            }
            Backend::Remote(remote) => remote.commit(commit, options).await,
        }
    }

    /// Entries of a range in key order, from one snapshot, as they are asked for. Of a collection over 1,000 elements or
    /// 64 KiB the number of its elements is shown.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn scan(&self, range: KeyRange, options: ScanOptions) -> Result<Entries, ClientError> {
        self.scan_window(range, options, Window::default()).await
    }

    /// As [`Client::scan`], only entries that were last changed in a window.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`SnapshotTooOld`](orchard_wire::Kind::SnapshotTooOld) if the database does not know what it was at such a time.
    pub async fn scan_window(
        &self,
        range: KeyRange,
        options: ScanOptions,
        window: Window,
    ) -> Result<Entries, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_read(db)?;
                let options = within(db, options, window)?;
                Ok(Entries::local(&db.snapshot(), space, range, options))
            }
            Backend::Remote(remote) => {
                let (lines, version) = remote.scan(&range, &options, &window, None).await?;
                Ok(Entries::remote(lines, version))
            }
        }
    }

    /// How many entries a range has.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn count(&self, range: &KeyRange) -> Result<Count, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let (entries, versionstamp) = db.count_in(self.space_for_read(db)?, range);
                Ok(Count { entries, versionstamp })
            }
            Backend::Remote(remote) => remote.count(range).await,
        }
    }

    /// Independent operations at once: a result for each, in order; a get sees the writes before it.
    ///
    /// # Errors
    /// [`ClientError`] if the batch as a whole could not be done; what became of its writes is unknown then.
    pub async fn batch(
        &self,
        operations: &[BatchOperation],
    ) -> Result<Vec<Result<BatchResult, Problem>>, ClientError> {
        orcharddb::LimitError::check("batch_operations", limits::BATCH_OPERATIONS_MAX, operations.len())
            .map_err(orcharddb::Error::from)?;
        match &self.backend {
            Backend::Local(db) => self.local_batch(db, operations).await,
            Backend::Remote(remote) => remote.batch(operations).await,
        }
    }

    async fn local_batch(
        &self,
        db: &Db,
        operations: &[BatchOperation],
    ) -> Result<Vec<Result<BatchResult, Problem>>, ClientError> {
        async fn settle(pending: &mut Vec<Pending>, results: &mut Vec<Result<BatchResult, Problem>>) {
            for pending in pending.drain(..) {
                let written = pending.await.map(|committed| BatchResult::Written(committed.versionstamp));
                results.push(written.map_err(Problem::from));
            }
        }
        let (mut results, mut pending) = (Vec::with_capacity(operations.len()), Vec::new());
        for operation in operations {
            match operation {
                BatchOperation::Write(_, operation) if shown::check_stored(operation).is_err() => {
                    settle(&mut pending, &mut results).await;
                    results.push(shown::check_stored(operation).map(|()| BatchResult::Absent));
                }
                BatchOperation::Write(key, operation) => {
                    let space = self.space_for_write(db)?;
                    let mutation = Mutation { space, key: key.clone(), operation: operation.clone() };
                    let commit = Commit { mutations: vec![mutation], ..Commit::new() };
                    pending.push(db.submit(&commit, None));
                }
                BatchOperation::Step(key, step) => {
                    settle(&mut pending, &mut results).await;
                    results.push(self.local_step(db, key, step).await?);
                }
                BatchOperation::Get(key) => {
                    settle(&mut pending, &mut results).await;
                    let found = shown::get_in_list(db, self.space_for_read(db)?, key);
                    let found = found.map(|entry| entry.map_or(BatchResult::Absent, BatchResult::Found));
                    results.push(found.map_err(Problem::from));
                }
            }
        }
        settle(&mut pending, &mut results).await;
        Ok(results)
    }

    async fn local_step(
        &self,
        db: &Db,
        key: &Key,
        step: &Step,
    ) -> Result<Result<BatchResult, Problem>, ClientError> {
        if let Err(error) = element_json::check_single(step) {
            return Ok(Err(error.into()));
        }
        let space = self.space_for_write(db)?;
        let (outcome, pending) = db.exclusive(|tx| {
            let outcome = tx.step_in(space, key.clone(), step);
            if outcome.is_err() {
                tx.clear();
            }
            Ok::<_, orcharddb::Error>(outcome)
        })?;
        let committed = match pending.await {
            Ok(committed) => committed,
            Err(error) => return Ok(Err(error.into())),
        };
        Ok(match outcome {
            Ok(stepped) if Verb::of(step).is_pop() && stepped.changed == 0 => {
                Err(batch_json::nothing_to_pop())
            }
            Ok(stepped) => Ok(BatchResult::Stepped(committed.versionstamp, stepped)),
            Err(error) => Err(error.into()),
        })
    }

    /// As [`Client::commit_with`], with changes of collections between the mutations, and what each of them did. Of a
    /// commit that is repeated (its token was known) that is not known: there is nothing in its place.
    ///
    /// # Errors
    /// As [`Client::commit`], and what a step says, as if it were asked for alone.
    pub async fn commit_stepped(
        &self,
        commit: &Commit,
        steps: &[StepAt],
        options: &CommitOptions,
    ) -> Result<(Committed, Vec<Stepped>), ClientError> {
        for at in steps {
            element_json::check_single(&at.step).map_err(orcharddb::Error::from)?;
        }
        let request = CommitRequest {
            commit: commit.clone(),
            steps: steps.to_vec(),
            enqueues: options.enqueues.clone(),
            durability: options.durability,
            ..CommitRequest::default()
        };
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_write(db)?;
                for mutation in &commit.mutations {
                    shown::check_stored(&mutation.operation).map_err(ClientError::Refused)?;
                }
                let commit = request.stepped_in(space).map_err(ClientError::Refused)?;
                let (outcome, pending) = db.commit_stepped(&commit)?;
                let durability = options.durability.filter(|_| outcome.is_ok());
                let committed = pending.with_durability(durability).await?;
                Ok((committed, outcome.map_err(|(_, error)| error)?))
            }
            Backend::Remote(remote) => remote.commit_stepped(&request).await,
        }
    }

    /// Reads, decides and writes, again and again until nothing that was read has changed: serializable. Reads are at one
    /// version as long as the database still has it.
    ///
    /// # Errors
    /// What `run` says, or [`ClientError`].
    pub async fn transact<T>(
        &self,
        run: impl AsyncFnMut(&mut Transaction) -> Result<T, ClientError>,
    ) -> Result<T, ClientError> {
        transaction::transact(self, run).await
    }

    /// Numbers about the place, by their names.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn stats(&self) -> Result<Json, ClientError> {
        match &self.backend {
            Backend::Local(db) => Ok(local_stats(db)),
            Backend::Remote(remote) => remote.stats().await,
        }
    }

    /// Lets go of the database. One of this process records its clean end, and takes no more commits from anybody.
    ///
    /// # Errors
    /// [`ClientError`] if what is open could not be written.
    pub async fn close(self) -> Result<(), ClientError> {
        let Backend::Local(db) = self.backend else { return Ok(()) };
        let closed = tokio::task::spawn_blocking(move || db.close()).await;
        Ok(closed.map_err(|error| ClientError::Unreachable(error.to_string()))??)
    }
}

/// The newest version at or before a moment.
fn version_of(db: &Db, moment: Moment) -> Result<Versionstamp, ClientError> {
    let time = match moment {
        Moment::Version(version) => return Ok(version),
        Moment::Time(time) => time,
        Moment::Ago(age) => orcharddb::UnixMillis(db.snapshot().time().0.saturating_sub(age.0)),
    };
    let too_old = || orcharddb::Error::Read(orcharddb::ReadError::SnapshotTooOld);
    Ok(db.version_at(time).ok_or_else(too_old)?)
}

/// What of a scan lies in a window of time or versions.
fn within(db: &Db, mut options: ScanOptions, window: Window) -> Result<ScanOptions, ClientError> {
    if let Some(since) = window.since {
        options.since = Some(version_of(db, since)?);
    }
    if let Some(until) = window.until {
        options.until = Some(version_of(db, until)?);
    }
    Ok(options)
}

fn local_stats(db: &Db) -> Json {
    let stats = db.stats();
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
