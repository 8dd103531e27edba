//! An open database: the engine, the threads that drive it, and the names by which programs use it.

use crate::drive::Drivers;
use crate::error::Error;
use crate::expired::ExpiryListener;
use crate::scan::{Scan, ScanOptions};
use crate::snapshot::Snapshot;
use crate::transaction::{self, Transaction};
use crate::tuple::{self, IntoKey};
use crate::watch::hub::Hub;
use orchard_engine::commit::{Placed, Submitted};
use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Committed, Engine, EngineOptions};
use orchard_engine::error::{CommitError, OpenError, ReadError, StorageError};
use orchard_engine::lead::LogLead;
use orchard_engine::stats::EngineStats;
use orchard_env::{Env, RealDisk, SystemClock, SystemRandom};
use orchard_types::{Commit, Durability, Entry, Key, KeyRange, SpaceId, UnixMillis, Value, Versionstamp};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

/// Numbers about a database.
pub type Stats = EngineStats;

/// How a database is opened. Every field has a default.
///
/// ```
/// use orcharddb::{Durability, Options};
/// let options = Options { durability: Durability::Os, ..Options::default() };
/// let db = options.memory()?;
/// # Ok::<(), orcharddb::OpenError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Options {
    /// What an acknowledged commit survives, unless it asks for something else. Default: fsync.
    pub durability: Durability,
    /// Bytes of memory for index, values, caches and buffers together. Default: half of the machine's or cgroup's.
    pub memory_limit_bytes: Option<u64>,
    /// Everything else, for those who know the engine.
    pub engine: EngineOptions,
}

impl Default for Options {
    fn default() -> Self {
        Options { durability: Durability::Fsync, memory_limit_bytes: None, engine: EngineOptions::default() }
    }
}

impl Options {
    pub(crate) fn engine_options(&self, env: &Env) -> EngineOptions {
        let memory_limit_bytes =
            self.memory_limit_bytes.unwrap_or_else(|| env.disk.machine_memory_bytes() / 2);
        EngineOptions {
            durability: self.durability,
            memory_limit_bytes,
            tells_apart: |key| !tuple::is_name(key),
            ..self.engine.clone()
        }
    }

    /// Opens (or creates) a directory.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(&self, path: impl AsRef<Path>) -> Result<Db, OpenError> {
        let path = path.as_ref();
        let disk = RealDisk::open(path).map_err(StorageError::io(path.display().to_string()))?;
        self.open_env(Env {
            disk: Arc::new(disk),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
        })
    }

    /// A database in memory alone: gone when the last clone is.
    ///
    /// # Errors
    /// [`OpenError`] if the operating system has no randomness.
    pub fn memory(&self) -> Result<Db, OpenError> {
        let env = Env {
            disk: Arc::new(orchard_env::NoDisk),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
        };
        let options = self.engine_options(&env);
        Db::start(Engine::memory(env, options)?)
    }

    /// Opens the database of any environment.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open_env(&self, env: Env) -> Result<Db, OpenError> {
        let options = self.engine_options(&env);
        Db::start(Engine::open(env, options)?)
    }
}

/// An open database. Cloning shares it; the last clone closes it cleanly.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// db.put("apple", "red")?;
/// db.put("pear", "green")?;
/// assert_eq!(db.get("apple")?.map(|entry| entry.value), Some("red".into()));
/// assert_eq!(db.iter().count(), 2);
/// db.delete("apple")?;
/// assert_eq!(db.get("apple")?, None);
/// # Ok::<(), orcharddb::Error>(())
/// ```
#[derive(Clone)]
pub struct Db {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) engine: Arc<Engine>,
    pub(crate) queue_hints: Arc<crate::queue::AllHints>,
    drivers: Drivers,
    pub(crate) hub: Arc<Hub>,
    is_closed: AtomicBool,
}

impl Shared {
    pub(crate) fn expiry_listener(&self) -> &ExpiryListener {
        &self.drivers.expiry_listener
    }

    /// Whether it takes no more commits.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.drivers.stop();
        self.hub.stop();
        // An end that cannot be written is one more crash: the next open recovers.
        let _ = self.engine.close();
    }
}

/// A commit on its way to the disk: await it, or [`Pending::wait`] for it.
pub struct Pending {
    shared: Arc<Shared>,
    outcome: Option<Result<Placed, CommitError>>,
    depends_on: Versionstamp,
    level: Durability,
}

impl Pending {
    pub(crate) fn new(shared: Arc<Shared>, submitted: Submitted, durability: Option<Durability>) -> Pending {
        let own = shared.engine.options().durability;
        // A refusal may rest on commits that are not visible yet, whatever durability its own commit asked for.
        let level = if submitted.outcome.is_ok() { durability.unwrap_or(own) } else { own };
        Pending { shared, outcome: Some(submitted.outcome), depends_on: submitted.depends_on, level }
    }

    /// The same for another durability than the database's own. Only for a commit that changed something: what merely
    /// read must not be told before it is visible.
    #[must_use]
    pub fn with_durability(mut self, durability: Option<Durability>) -> Pending {
        if let (Some(durability), Some(Ok(_))) = (durability, &self.outcome) {
            self.level = durability;
        }
        self
    }

    /// The newest stamp that the outcome rests on. Nobody may be told of it before the wait is over.
    pub fn versionstamp(&self) -> Versionstamp {
        self.depends_on
    }

    fn finish(&mut self) -> Result<Committed, CommitError> {
        let placed = self.outcome.take().unwrap_or(Err(CommitError::Closed))?;
        Ok(Committed {
            versionstamp: placed.versionstamp,
            log_time: placed.log_time,
            durability: self.level,
            repeated: placed.repeated,
        })
    }

    /// Blocks until the outcome may be told.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn wait(mut self) -> Result<Committed, CommitError> {
        self.shared.engine.wait(self.depends_on, self.level)?;
        self.finish()
    }
}

impl Future for Pending {
    type Output = Result<Committed, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.shared.engine.poll_wait(self.depends_on, self.level, context.waker()) {
            None => Poll::Pending,
            Some(Ok(())) => Poll::Ready(self.finish()),
            Some(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

impl Db {
    fn start(engine: Engine) -> Result<Db, OpenError> {
        let engine = Arc::new(engine);
        let queue_hints = Arc::default();
        let drivers = Drivers::start(&engine, &queue_hints).map_err(StorageError::io("threads"))?;
        let hub = Hub::start(&engine).map_err(StorageError::io("threads"))?;
        let is_closed = AtomicBool::new(false);
        Ok(Db { shared: Arc::new(Shared { engine, queue_hints, drivers, hub, is_closed }) })
    }

    /// Opens (or creates) a directory with default options.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(path: impl AsRef<Path>) -> Result<Db, OpenError> {
        Options::default().open(path)
    }

    /// A database in memory alone: gone when the last clone is.
    ///
    /// # Errors
    /// [`OpenError`] if the operating system has no randomness.
    pub fn memory() -> Result<Db, OpenError> {
        Options::default().memory()
    }

    /// The engine below, for the layers above.
    pub fn engine(&self) -> &Engine {
        &self.shared.engine
    }

    /// The right to drive the log from a task, for the runtime of a server; `None` while another has it.
    pub fn lead_log(&self) -> Option<LogLead> {
        LogLead::new(self.shared.engine.clone())
    }

    /// What an acknowledged commit survives, unless it asks for something else.
    pub fn durability(&self) -> Durability {
        self.engine().options().durability
    }

    /// The newest entry of a key; expired and deleted ones are absent.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Read`]
    pub fn get(&self, key: impl IntoKey) -> Result<Option<Entry>, Error> {
        Ok(self.get_in(SpaceId::DEFAULT, &key.into_key()?)?)
    }

    /// The newest entry of a key of any space.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_in(&self, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        self.engine().get(space, key)
    }

    /// Writes a value, and blocks until it is as durable as the database promises.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Commit`]
    pub fn put(&self, key: impl IntoKey, value: impl Into<Value>) -> Result<Committed, Error> {
        Ok(self.commit(&Commit::new().set(SpaceId::DEFAULT, key.into_key()?, value))?)
    }

    /// Removes a key; fine if it is absent.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Commit`]
    pub fn delete(&self, key: impl IntoKey) -> Result<Committed, Error> {
        Ok(self.commit(&Commit::new().delete(SpaceId::DEFAULT, key.into_key()?))?)
    }

    /// Commits, and blocks until the outcome may be told.
    ///
    /// ```
    /// use orcharddb::{Commit, Db, Key, SpaceId};
    /// let db = Db::memory()?;
    /// let create = Commit::new()
    ///     .check_absent(SpaceId::DEFAULT, Key::new("apple")?)
    ///     .set(SpaceId::DEFAULT, Key::new("apple")?, "red");
    /// db.commit(&create)?;
    /// assert!(db.commit(&create).is_err(), "it is there now");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn commit(&self, commit: &Commit) -> Result<Committed, CommitError> {
        self.engine().commit(commit, None)
    }

    /// Commits without blocking: await the outcome, or wait for it. Refusals come out of the future too, once what they
    /// rest on is visible. `durability`: instead of the database's own.
    pub fn submit(&self, commit: &Commit, durability: Option<Durability>) -> Pending {
        Pending::new(self.shared.clone(), self.engine().submit(commit), durability)
    }

    /// Reads, decides and writes, again and again until no other commit came between: serializable. After three
    /// conflicts `run` is called under the commit lock, which is why it must not use the database but through its
    /// transaction, nor take long.
    ///
    /// ```
    /// use orcharddb::Db;
    /// let db = Db::memory()?;
    /// let visits = db.transact(|tx| {
    ///     let visits = tx.get("visits")?.and_then(|value| value.as_int()).unwrap_or(0) + 1;
    ///     tx.put("visits", visits)?;
    ///     Ok(visits)
    /// })?;
    /// assert_eq!(visits, 1);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `run` says, or [`Error::Commit`].
    pub fn transact<T>(&self, run: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        transaction::transact(self, run)
    }

    /// A stable view of now. Costs nothing to take; holds old versions in memory while it lives.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.shared.clone(), self.engine().snapshot())
    }

    /// A view at an older version, as long as what it needs is still kept.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn snapshot_at(&self, version: Versionstamp) -> Result<Snapshot, ReadError> {
        Ok(Snapshot::new(self.shared.clone(), self.engine().snapshot_at(version)?))
    }

    /// The log time of a version, or an earlier one by less than a second where it is not known exactly.
    pub fn time_of(&self, version: Versionstamp) -> UnixMillis {
        self.engine().time_of(version)
    }

    /// Entries of a range in key order, from one snapshot.
    pub fn scan(&self, range: KeyRange, options: ScanOptions) -> Scan {
        self.snapshot().scan(range, options)
    }

    /// All entries in key order, from one snapshot.
    pub fn iter(&self) -> Scan {
        self.scan(KeyRange::all(), ScanOptions::default())
    }

    /// Numbers.
    pub fn stats(&self) -> Stats {
        self.engine().stats()
    }

    /// The machine's wall time. It may jump, and says nothing about what is stored: see [`Db::time_of`].
    pub fn clock_now(&self) -> UnixMillis {
        self.engine().clock_now()
    }

    /// The newest version that readers see.
    pub fn visible(&self) -> Versionstamp {
        self.engine().visible()
    }

    /// The newest version at or before a moment, in steps of a second; `None` before all that is known.
    pub fn version_at(&self, time: UnixMillis) -> Option<Versionstamp> {
        self.engine().version_at(time)
    }

    /// Writes what only the log holds into a segment; later opens are faster. Happens by itself, too.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn checkpoint(&self) -> Result<(), CommitError> {
        self.engine().checkpoint().map(|_| ())
    }

    /// Writes a checkpoint and merges segments until dead bytes are few, which happens by itself, too, and gives back log
    /// files: those that were kept to be written again, and those kept for feeds but for an eighth of what the segments take.
    /// A feed from further back begins with a gap.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn compact(&self) -> Result<(), CommitError> {
        const STEP: usize = 10_000;
        self.engine().checkpoint()?;
        let plan = PlanOptions { space_percent_max: 101, ..PlanOptions::SETTLED };
        while self.engine().merge_step(STEP, &plan)? {}
        self.engine().retain_less()?;
        self.engine().release_spare_logs();
        Ok(())
    }

    /// Reads every segment back and checks it.
    ///
    /// # Errors
    /// The first damage.
    pub fn verify(&self) -> Result<(), StorageError> {
        self.engine().verify()
    }

    /// Takes no more commits, makes everything durable and records a clean end. Feeds end when they have told all; reads
    /// go on until the last clone is dropped.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn close(&self) -> Result<(), CommitError> {
        let closed = self.engine().close();
        self.shared.is_closed.store(true, Ordering::SeqCst);
        self.shared.hub.wake_feeds();
        closed
    }

    /// Turns a name, tuple or raw key into a key.
    ///
    /// # Errors
    /// [`Error::Key`]
    pub fn key(key: impl IntoKey) -> Result<Key, Error> {
        Ok(key.into_key()?)
    }
}
