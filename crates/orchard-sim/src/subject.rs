//! The engine as the simulator sees it: the one file that knows the names of its steps.

use crate::oracle::{Found, Live};
use bytes::Bytes;
use orchard_engine::commit::Submitted;
use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::{CommitError, OpenError, ReadError};
use orchard_engine::format::push_flat_key;
use orchard_engine::read::{Batch, BatchRequest, Window};
use orchard_engine::snapshot::SnapshotPin;
use orchard_env::fault::FaultDisk;
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Durability, Entry, KeyRange, SpaceId, UnixMillis, Versionstamp};
use std::ops::Bound;
use std::sync::Arc;

/// A background job that the simulator drives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    Checkpoint,
    /// So many versions of a merge.
    Merge(usize),
    Sync,
    Idle,
    ReserveAhead,
    /// Look at so many keys of a deleted range.
    Erase(usize),
}

/// Two segments are enough for a merge, so that short runs have some.
pub const MERGE_OFTEN: PlanOptions =
    PlanOptions { fan_out: 2, segments_max: 3, small_size_bytes: 4_096, space_percent_max: 180 };

/// A world of which the disk is given and the rest follows from `seed`.
pub fn world(disk: &FaultDisk, seed: u64) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(seed)),
    }
}

/// Options under which a few commits lead to rotation, checkpoints and merges.
pub fn small_options() -> EngineOptions {
    let mut options = EngineOptions {
        reserve_indexes: 8,
        open_threads: 1,
        checkpoint_log_bytes: 0,
        group_delay_ns_max: 0,
        ..EngineOptions::default()
    };
    options.log.file_size_bytes_max = 1_024;
    options.log.prefill_bytes_min = 512;
    options.log.prefill_bytes_max = 4_096;
    options.log.spare_files_max = 1;
    options
}

/// The engine under test.
pub struct Subject {
    engine: Engine,
}

/// How a range is read.
#[derive(Clone, Copy, Debug)]
pub struct Scan {
    pub reverse: bool,
    pub entries_max: usize,
    pub bytes_max: usize,
}

pub fn found(entry: Entry) -> (Bytes, Found) {
    let live = Live { value: entry.value, expires_at: entry.expires_at };
    (entry.key.into_bytes(), Found { stamp: entry.versionstamp, live })
}

impl Subject {
    pub fn open(env: Env, options: EngineOptions) -> Result<Subject, OpenError> {
        Engine::open(env, options).map(|engine| Subject { engine })
    }

    pub fn submit(&self, commit: &Commit) -> Submitted {
        self.engine.submit(commit)
    }

    pub fn log_step(&self) -> Result<bool, CommitError> {
        self.engine.log_step()
    }

    pub fn run(&self, job: Job) -> Result<(), CommitError> {
        match job {
            Job::Checkpoint => self.engine.checkpoint().map(drop)?,
            Job::Merge(entries) => self.engine.merge_step(entries, &MERGE_OFTEN).map(drop)?,
            Job::Sync => self.engine.sync_step()?,
            Job::Idle => self.engine.idle_step().map(drop)?,
            Job::ReserveAhead => {
                self.engine.reserve_ahead()?;
                self.engine.retain_step().map(drop)?;
            }
            Job::Erase(keys) => drop(self.engine.erase_step(keys)),
        }
        Ok(())
    }

    pub fn visible(&self) -> Versionstamp {
        self.engine.visible()
    }

    pub fn durable(&self) -> Versionstamp {
        self.engine.watermark(Durability::Fsync)
    }

    pub fn written(&self) -> Versionstamp {
        self.engine.watermark(Durability::Os)
    }

    pub fn is_poisoned(&self) -> bool {
        self.engine.poisoned().is_some()
    }

    pub fn rollbacks(&self) -> u64 {
        self.engine.stats().rollbacks
    }

    pub fn snapshot(&self) -> SnapshotPin {
        self.engine.snapshot()
    }

    pub fn get(&self, at: &SnapshotPin, space: SpaceId, key: &[u8]) -> Result<Option<Found>, ReadError> {
        Ok(self.engine.get_at(at, space, key)?.map(|entry| found(entry).1))
    }

    /// The newest visible entry, as a client without a snapshot sees it.
    pub fn get_now(&self, space: SpaceId, key: &[u8]) -> Result<Option<Found>, ReadError> {
        Ok(self.engine.get(space, key)?.map(|entry| found(entry).1))
    }

    /// A whole range, batch by batch.
    pub fn range(
        &self,
        at: &SnapshotPin,
        space: SpaceId,
        range: &KeyRange,
        scan: Scan,
    ) -> Result<Vec<(Bytes, Found)>, ReadError> {
        let all = self.changed(at, space, range, scan, Window::default())?;
        Ok(all.entries.into_iter().map(found).collect())
    }

    /// What of a range was last changed in a window, batch by batch.
    pub fn changed(
        &self,
        at: &SnapshotPin,
        space: SpaceId,
        range: &KeyRange,
        scan: Scan,
        window: Window,
    ) -> Result<Batch, ReadError> {
        let mut all = Batch::default();
        if range.is_empty() {
            return Ok(all);
        }
        let (mut lower, mut upper) = (Vec::new(), Vec::new());
        push_flat_key(&mut lower, space, &range.start);
        match &range.end {
            Some(end) => push_flat_key(&mut upper, space, end),
            None => push_flat_key(&mut upper, SpaceId(space.0 + 1), b""),
        }
        let mut from = Bound::Included(lower);
        let mut to = Bound::Excluded(upper);
        loop {
            let request = BatchRequest {
                lower: from.as_ref().map(Vec::as_slice),
                upper: to.as_ref().map(Vec::as_slice),
                reverse: scan.reverse,
                keys_only: false,
                entries_max: scan.entries_max,
                bytes_max: scan.bytes_max,
            };
            let batch = self.engine.batch_in(at, request, window)?;
            all.entries.extend(batch.entries);
            all.deleted.extend(batch.deleted);
            match batch.resume {
                Some(last) if scan.reverse => to = Bound::Excluded(last),
                Some(last) => from = Bound::Excluded(last),
                None => return Ok(all),
            }
        }
    }

    pub fn close(&self) -> Result<(), CommitError> {
        self.engine.close()
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }
}
