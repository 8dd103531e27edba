//! The engine: one database, all its parts, and the names by which the house calls them.
//!
//! - It starts no thread and never sleeps: [`Engine::log_step`], [`Engine::checkpoint`], [`Engine::merge_step`] and the
//!   other steps are called by whoever drives it, so that a simulation can own the order of everything.
//! - It never reads the wall clock but through [`LogClock`], and does not know that a cluster exists.
//! - Lock order: manifest, log, core. Nobody holds `core` while the disk works.

use crate::checkpoint::Merging;
use crate::collections::{CollectionIds, EraseAt};
use crate::commit::Core;
use crate::compaction::PlanOptions;
use crate::company::Company;
use crate::count::Apart;
use crate::default_expiry::DefaultExpiry;
use crate::error::{CommitError, OpenError, ReadError, StorageError};
use crate::expiry::ExpiryIndex;
use crate::format::DatabaseId;
use crate::log_clock::LogClock;
use crate::manifest::{CleanEnd, Manifest};
use crate::memory::CheckpointEnds;
pub use crate::memory::LongWait;
use crate::pipeline::Room;
use crate::progress::Progress;
use crate::ranges::{RANGE_TOMBSTONES_MAX, SMALL_RANGE_ENTRIES_MAX, SharedRanges};
use crate::segment::Segment;
use crate::snapshot::{SnapshotPin, Snapshots};
use crate::stats::{EngineStats, Stats};
use crate::tail::Tail;
use crate::times::TimeIndex;
use crate::totals::SharedCounts;
use crate::wal::log::{FileLog, LogOptions};
use orchard_env::{DiskLock, Env};
use orchard_map::MapReader;
use orchard_types::{Commit, Durability, UnixMillis, Versionstamp};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

/// Old versions freed in one round of upkeep, and under one hold of the commit lock.
const RECLAIM_BUDGET: usize = 1 << 16;
const RECLAIM_BATCH: usize = 1 << 11;
/// Looks, each after others could run, before a thread sleeps until a group is written that nobody syncs.
const LOOKS_BEFORE_SLEEP: usize = 32;
/// The same for a group that is synced: where many threads wait, so many rounds of all of them take as long as a sync does, and
/// a look costs a third of being put to sleep and woken.
const LOOKS_BEFORE_SYNC_SLEEP: usize = 8;
/// Looks at a group that nobody syncs before others may run.
const QUICK_LOOKS: usize = 16;

/// An acknowledged commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committed {
    /// Its place in the one total order.
    pub versionstamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// What it survives now.
    pub durability: Durability,
    /// The token was known: this is the outcome of the first try.
    pub repeated: bool,
}

/// How an engine is run.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// What an acknowledged commit survives, unless it asks for something else.
    pub durability: Durability,
    /// Memory that index, values, caches and buffers may take together, in bytes.
    pub memory_limit_bytes: u64,
    /// Values at least this long may leave memory, in bytes.
    pub evictable_value_bytes_min: u32,
    /// Log files.
    pub log: LogOptions,
    /// A checkpoint is due when the live log files hold more bytes than this, or than half of the live data if that is
    /// more; twice as many where durability is `none`.
    pub checkpoint_log_bytes: u64,
    /// How many log indexes a manifest reserves ahead.
    pub reserve_indexes: u64,
    /// Merging of segments.
    pub compaction: PlanOptions,
    /// A snapshot is ended at this age, in milliseconds.
    pub snapshot_age_ms_max: u64,
    /// The oldest snapshot is ended when old versions hold more value bytes than this.
    pub snapshot_pinned_bytes_max: u64,
    /// After a sync that served several committers, how long the next group waits for those just answered at most, in
    /// nanoseconds; 0: not at all.
    pub group_delay_ns_max: u64,
    /// What writes that name no expiry get.
    pub default_expiry: DefaultExpiry,
    /// Deleted ranges whose entries are not erased yet, at most; the next delete of a range helps to erase first.
    pub range_tombstones_max: usize,
    /// Replaced and deleted versions are kept for so long, in milliseconds, for [`Engine::snapshot_at`] and
    /// [`Engine::history`]; 0: only as long as a snapshot needs them.
    pub history_retention_ms: u64,
    /// When the values of old versions take more memory than this, in bytes, older ones go before their time.
    pub history_bytes_max: u64,
    /// A range with at most so many entries is deleted entry by entry at once.
    pub small_range_entries_max: usize,
    /// How long log files stay for the feed after a checkpoint, in milliseconds since their last commit.
    pub log_retention_ms: u64,
    /// How many bytes of them stay at most.
    pub log_retention_bytes: u64,
    /// Bytes of recent groups kept in memory for the feed.
    pub feed_tail_bytes: u64,
    /// Threads that read segments while a database is opened; 0: as many as there are cores and the size is worth, at
    /// most 8. Which values stay on disk, if not all fit, is the same each time with 1 only.
    pub open_threads: u32,
    /// Which keys a user of the engine wants to tell from others; see [`Engine::may_hold_apart`].
    pub tells_apart: fn(&[u8]) -> bool,
}

impl EngineOptions {
    /// How the log uses its files: zeros are written ahead where every group is synced.
    pub(crate) fn log_options(&self) -> LogOptions {
        LogOptions { prefills: self.log.prefills && self.durability == Durability::Fsync, ..self.log }
    }
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            durability: Durability::Fsync,
            memory_limit_bytes: 1 << 30,
            evictable_value_bytes_min: 64,
            log: LogOptions::default(),
            checkpoint_log_bytes: 128 << 20,
            reserve_indexes: 1 << 24,
            compaction: PlanOptions::BUSY,
            snapshot_age_ms_max: 10 * 60 * 1_000,
            snapshot_pinned_bytes_max: 256 << 20,
            group_delay_ns_max: 200_000,
            default_expiry: DefaultExpiry::default(),
            history_retention_ms: 0,
            history_bytes_max: 256 << 20,
            range_tombstones_max: RANGE_TOMBSTONES_MAX,
            small_range_entries_max: SMALL_RANGE_ENTRIES_MAX,
            log_retention_ms: 60 * 60 * 1_000,
            log_retention_bytes: 64 << 20,
            feed_tail_bytes: 8 << 20,
            open_threads: 0,
            tells_apart: |_| false,
        }
    }
}

/// One open database.
pub struct Engine {
    pub(crate) env: Env,
    pub(crate) options: EngineOptions,
    pub(crate) database: DatabaseId,
    pub(crate) reader: MapReader,
    /// Live range tombstones.
    pub(crate) ranges: Arc<SharedRanges>,
    /// Changed under the commit lock.
    pub(crate) expiry: Mutex<ExpiryIndex>,
    pub(crate) apart: Apart,
    pub(crate) log_clock: LogClock,
    pub(crate) progress: Progress,
    pub(crate) tail: Tail,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Live segments, oldest first.
    pub(crate) segments: RwLock<Arc<Vec<Arc<Segment>>>>,
    pub(crate) manifest: Mutex<Manifest>,
    /// `None`: a database in memory alone.
    pub(crate) log: Mutex<Option<FileLog>>,
    pub(crate) core: Mutex<Core>,
    pub(crate) stats: Stats,
    pub(crate) company: Company,
    pub(crate) times: TimeIndex,
    /// Changed under the commit lock, read by anybody. Locked before `expiry`.
    pub(crate) counts: SharedCounts,
    /// The log has no space; only deletes are taken. Changed under the commit lock.
    pub(crate) is_disk_full: AtomicBool,
    /// Whether a [`LogLead`](crate::lead::LogLead) exists.
    pub(crate) has_lead: AtomicBool,
    /// What the last pipeline was built in.
    pub(crate) spare_room: Mutex<Option<Box<Room>>>,
    pub(crate) written_time_ms: AtomicU64,
    /// History begins here; `u64::MAX`: with the oldest snapshot.
    pub(crate) history_from: AtomicU64,
    /// Memory in use when it was last looked at.
    pub(crate) memory_used: AtomicU64,
    /// Held by the one committer that makes room for all.
    pub(crate) evicting: Mutex<()>,
    pub(crate) merging: Mutex<Option<Merging>>,
    pub(crate) checkpointing: Mutex<()>,
    /// How checkpoints ended, for those who wait for one.
    pub(crate) checkpoint_ends: CheckpointEnds,
    pub(crate) collection_ids: Mutex<CollectionIds>,
    pub(crate) erase_resume: Mutex<Option<EraseAt>>,
    pub(crate) has_log: bool,
    pub(crate) manifest_damage: Option<String>,
    pub(crate) _lock: Option<Box<dyn DiskLock>>,
}

impl Engine {
    /// Opens the data directory of `env`, creating a database if there is none.
    ///
    /// # Errors
    /// [`OpenError`]: locked, damaged, of a newer format, or not readable.
    pub fn open(env: Env, options: EngineOptions) -> Result<Engine, OpenError> {
        let engine = crate::recovery::open(env, options)?;
        engine.keep_merge_room();
        Ok(engine)
    }

    /// A database in memory alone.
    ///
    /// # Errors
    /// If there is no randomness for its id.
    pub fn memory(env: Env, options: EngineOptions) -> Result<Engine, OpenError> {
        crate::recovery::memory(env, options)
    }

    pub(crate) fn keeps_log(&self) -> bool {
        self.has_log
    }

    /// Runs `work` under the log's lock. Whoever found that lock taken waits for a change, so there must be one after.
    pub(crate) fn with_log<T>(&self, work: impl FnOnce(&mut Option<FileLog>) -> T) -> T {
        let mut log = self.log.lock();
        let result = work(&mut log);
        drop(log);
        self.progress.wake();
        result
    }

    /// What was wrong with the manifest, if the open had to read its second copy. Both are written anew since.
    pub fn manifest_damage(&self) -> Option<&str> {
        self.manifest_damage.as_deref()
    }

    /// Says whether somebody looks every moment whether a checkpoint is due, and makes it: then a commit for which there is
    /// no memory waits for that.
    pub fn set_kept_up(&self, is_kept_up: bool) {
        self.checkpoint_ends.set_kept_up(is_kept_up);
    }

    /// Says how a commit is to wait for a checkpoint when memory is full: a server's thread first gives away what else it
    /// has to do. Only the first call counts.
    pub fn set_long_wait(&self, long_wait: LongWait) {
        self.checkpoint_ends.set_long_wait(long_wait);
    }

    /// The wall time of the machine.
    pub fn clock_now(&self) -> UnixMillis {
        self.env.clock.now()
    }

    /// The id that every file of this database carries.
    pub fn database_id(&self) -> DatabaseId {
        self.database
    }

    /// How it is run.
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// The newest version that readers see.
    pub fn visible(&self) -> Versionstamp {
        Versionstamp::from_raw(self.progress.visible())
    }

    /// The newest version of a level: applied (`None`), written (`Os`), durable (`Fsync`).
    pub fn watermark(&self, level: Durability) -> Versionstamp {
        Versionstamp::from_raw(self.progress.watermark(level))
    }

    /// Why commits are refused, if they are.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        self.progress.poisoned()
    }

    /// Takes a stable view of now. It keeps the versions it needs in memory until it is dropped or too old.
    pub fn snapshot(&self) -> SnapshotPin {
        self.snapshots.register(self.env.clock.monotonic_ns(), true, || self.read_point())
    }

    /// A view at an older version: right as long as a snapshot at or before it, or the configured history, keeps what
    /// it needs; else [`ReadError::SnapshotTooOld`].
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn snapshot_at(&self, at: Versionstamp) -> Result<SnapshotPin, ReadError> {
        let core = self.core.lock();
        let pin = self.snapshots.register(self.env.clock.monotonic_ns(), true, || {
            (at.raw().min(self.progress.visible()), self.times.time_of(at))
        });
        drop(core);
        if pin.stamp() < self.progress.visible() && pin.stamp() < self.stats.pruned_to.load(Ordering::SeqCst)
        {
            return Err(ReadError::SnapshotTooOld);
        }
        Ok(pin)
    }

    /// The newest version at or before `time`, in steps of a second.
    pub fn version_at(&self, time: UnixMillis) -> Option<Versionstamp> {
        self.times.version_at(time).map(|stamp| stamp.min(self.visible()))
    }

    /// Stamp and time of a read now. The caller has pinned the map, or holds the snapshot registry.
    pub(crate) fn read_point(&self) -> (u64, UnixMillis) {
        let visible_time = UnixMillis(self.progress.visible_time_ms());
        let time = self.log_clock.read_time(visible_time);
        (self.progress.visible(), time)
    }

    pub(crate) fn horizon(&self) -> u64 {
        let horizon = self.snapshots.horizon(|| self.progress.visible());
        let horizon = horizon.min(self.history_from.load(Ordering::SeqCst));
        self.stats.pruned_to.fetch_max(horizon, Ordering::SeqCst);
        horizon
    }

    /// Blocks until `stamp` is as durable as `level` says, helping to write the log.
    ///
    /// # Errors
    /// If it never will be.
    pub fn wait(&self, stamp: Versionstamp, level: Durability) -> Result<(), CommitError> {
        let stamp = stamp.raw();
        self.progress.want(level, stamp);
        loop {
            if let Some(outcome) = self.progress.outcome(stamp, level) {
                return outcome;
            }
            if let Some(mut log) = self.log.try_lock() {
                if let Some(outcome) = self.progress.outcome(stamp, level) {
                    drop(log);
                    self.progress.wake();
                    return outcome;
                }
                self.wait_for_company();
                let result = self.log_step_locked(&mut log);
                drop(log);
                // After the lock is free, so that a waiter can take it.
                self.progress.wake();
                match result {
                    Ok(stepped) => _ = self.clear_up(stepped),
                    Err(error @ CommitError::Poisoned(_)) => return Err(error),
                    Err(_) => {}
                }
            } else if !self.is_soon_over(stamp, level) {
                self.progress.park(stamp, level, || self.log.is_locked());
            }
        }
    }

    /// Whether who holds the log let it go, or finished `stamp`, within a few looks: a group that nobody syncs is written
    /// sooner than a thread can be put to sleep and woken.
    fn is_soon_over(&self, stamp: u64, level: Durability) -> bool {
        let is_over = || !self.log.is_locked() || self.progress.outcome(stamp, level).is_some();
        let (quick_looks, looks) = match level {
            Durability::Fsync => (0, LOOKS_BEFORE_SYNC_SLEEP),
            _ => (QUICK_LOOKS, LOOKS_BEFORE_SLEEP),
        };
        let looks_quickly = |_| {
            std::hint::spin_loop();
            is_over()
        };
        let lets_others_run = |_| {
            std::thread::yield_now();
            is_over()
        };
        (0..quick_looks).any(looks_quickly) || (0..looks).any(lets_others_run)
    }

    /// Whether waiting for `stamp` is over; else `waker` is woken when it is.
    pub fn poll_wait(
        &self,
        stamp: Versionstamp,
        level: Durability,
        waker: &Waker,
    ) -> Option<Result<(), CommitError>> {
        self.progress.register(stamp.raw(), level, waker)
    }

    /// Commits and blocks until the outcome may be told.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn commit(&self, commit: &Commit, durability: Option<Durability>) -> Result<Committed, CommitError> {
        let level = durability.unwrap_or(self.options.durability);
        let submitted = self.submit(commit);
        match submitted.outcome {
            Ok(placed) => {
                self.wait(submitted.depends_on, level)?;
                Ok(Committed {
                    versionstamp: placed.versionstamp,
                    log_time: placed.log_time,
                    durability: level,
                    repeated: placed.repeated,
                })
            }
            Err(error) => {
                // The refusal may rest on commits that are not durable yet.
                self.wait(submitted.depends_on, self.options.durability)?;
                Err(error)
            }
        }
    }

    /// Blocks the calling thread until a waiting task needs the log driven (`Some(true)`) or the time is over
    /// (`Some(false)`); `None` after [`Engine::stop_driver`].
    pub fn wait_for_work(&self, timeout_ms: u64) -> Option<bool> {
        self.progress.wait_for_work(timeout_ms)
    }

    /// Whether tasks wait for commits that nobody but the driving thread writes: tasks cannot do it themselves, unless one
    /// of them leads the log ([`LogLead`](crate::lead::LogLead)).
    pub fn has_waiting_tasks(&self) -> bool {
        self.progress.has_wakers_for_thread()
    }

    /// Makes [`Engine::wait_for_work`] return for good.
    pub fn stop_driver(&self) {
        self.progress.stop();
    }

    /// Wakes the thread in [`Engine::wait_for_work`].
    pub fn notify_work(&self) {
        self.progress.notify_work();
    }

    /// [`Engine::log_step`] after a moment for those just answered to come back.
    ///
    /// # Errors
    /// As [`Engine::log_step`].
    pub fn step_with_company(&self) -> Result<bool, CommitError> {
        let stepped = self.with_log(|log| {
            self.wait_for_company();
            self.log_step_locked(log)
        })?;
        Ok(self.clear_up(stepped))
    }

    /// Whether whole groups wait to be written.
    pub fn has_backlog(&self) -> bool {
        !self.core.lock().sealed.is_empty()
    }

    /// The log time of a version, or an earlier one by less than a second where it is not known exactly.
    pub fn time_of(&self, stamp: Versionstamp) -> UnixMillis {
        self.times.time_of(stamp)
    }

    /// Groups written since it was opened.
    pub fn groups_written(&self) -> u64 {
        self.stats.groups.load(Ordering::Relaxed)
    }

    /// Commits since it was opened.
    pub fn commits(&self) -> u64 {
        self.stats.commits.load(Ordering::Relaxed)
    }

    /// How often commits were taken back because the log could not take them.
    pub fn rollbacks(&self) -> u64 {
        self.stats.rollbacks.load(Ordering::SeqCst)
    }

    /// Whether writes are refused because the disk is full.
    pub fn is_disk_full(&self) -> bool {
        self.is_disk_full.load(Ordering::SeqCst)
    }

    /// Writes all groups that wait.
    ///
    /// # Errors
    /// As [`Engine::log_step`].
    pub fn drain_log(&self) -> Result<(), CommitError> {
        while self.log_step()? {}
        Ok(())
    }

    /// Takes no more commits, makes everything durable and records a clean end. The engine answers reads until it is
    /// dropped.
    ///
    /// # Errors
    /// [`CommitError::Poisoned`] if the end could not be written; then the next open recovers as after a crash.
    pub fn close(&self) -> Result<(), CommitError> {
        if std::mem::replace(&mut self.core.lock().is_closed, true) {
            return Ok(());
        }
        self.drain_log()?;
        self.sync_step()?;
        self.record_clean_end()
    }

    fn record_clean_end(&self) -> Result<(), CommitError> {
        let mut manifest = self.manifest.lock();
        let Some(position) = self.with_log(|log| log.as_ref().map(FileLog::position)) else {
            return Ok(());
        };
        let end = CleanEnd {
            // Readers may have been given a later time than the last group has.
            log_time_ms: self.read_point().1.0,
            ..position.into()
        };
        // An index may have been given out and not be in the log: the next open goes on behind it.
        let reserved_index = self.core.lock().next_index;
        let next = Manifest { clean_end: Some(end), reserved_index, ..manifest.clone() };
        self.store_manifest(&mut manifest, next)?;
        Ok(())
    }

    /// Makes a manifest durable, then the current one.
    pub(crate) fn store_manifest(
        &self,
        current: &mut Manifest,
        mut next: Manifest,
    ) -> Result<(), StorageError> {
        next.sequence = current.sequence + 1;
        next.store(self.env.disk.as_ref())?;
        *current = next;
        Ok(())
    }

    /// Reserves more log indexes.
    pub(crate) fn reserve_indexes(&self) -> Result<(), CommitError> {
        let mut manifest = self.manifest.lock();
        let (next_index, reserved) = {
            let core = self.core.lock();
            (core.next_index, core.reserved_index)
        };
        if next_index + 1 < reserved {
            return Ok(());
        }
        let reserved_index = next_index + self.options.reserve_indexes.max(2);
        if self.keeps_log() {
            let next = Manifest { reserved_index, ..manifest.clone() };
            self.store_manifest(&mut manifest, next)?;
        }
        self.core.lock().reserved_index = reserved_index;
        Ok(())
    }

    /// Whether half of the reserved indexes are used up; then [`Engine::reserve_ahead`] is due.
    pub fn reserve_ahead(&self) -> Result<(), CommitError> {
        let low = {
            let core = self.core.lock();
            core.reserved_index.saturating_sub(core.next_index) < self.options.reserve_indexes / 2
        };
        if !low || !self.keeps_log() {
            return Ok(());
        }
        let mut manifest = self.manifest.lock();
        let reserved_index = self.core.lock().next_index + self.options.reserve_indexes.max(2);
        let next = Manifest { reserved_index, ..manifest.clone() };
        self.store_manifest(&mut manifest, next)?;
        self.core.lock().reserved_index = reserved_index;
        Ok(())
    }

    /// Ends snapshots that are too old, and the oldest one if old versions take too much memory.
    pub fn expire_snapshots(&self) {
        let age_ns = self.options.snapshot_age_ms_max.saturating_mul(1_000_000);
        if let Some(before) = self.env.clock.monotonic_ns().checked_sub(age_ns) {
            self.snapshots.expire(before);
        }
        // What nobody needs any more is no reason to end a snapshot.
        let reclaims_all = |_| {
            let mut core = self.core.lock();
            let horizon = self.horizon();
            core.map.reclaim(horizon, RECLAIM_BATCH).pruned_versions < RECLAIM_BATCH as u64
        };
        let has_more = !(0..RECLAIM_BUDGET / RECLAIM_BATCH).any(reclaims_all);
        let (all, newest) = {
            let core = self.core.lock();
            let map = core.map.stats();
            (
                map.value_bytes + map.nonresident_bytes,
                u64::try_from(self.counts.load().value_bytes).unwrap_or(0),
            )
        };
        let old_bytes = all.saturating_sub(newest);
        let history_bytes = self.history_bytes();
        if old_bytes > self.options.snapshot_pinned_bytes_max.saturating_add(history_bytes) {
            self.snapshots.expire_oldest();
        }
        self.advance_history(old_bytes > history_bytes && !has_more);
    }

    /// Numbers.
    pub fn stats(&self) -> EngineStats {
        crate::stats::collect(self)
    }
}
