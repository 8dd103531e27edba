//! Writing what only the log holds into a segment, so that the log before it can go; and merging segments.
//!
//! - A checkpoint takes only versions at or below a stamp that is durable before the segment is written.
//! - Everything at or below that stamp is in log files before the rotation, everything later behind it.
//! - Ranges deleted at or below that stamp are erased before the map is read: no file holds a range tombstone.
//! - The manifest that names the segment is durable before a log file goes; the segment is durable, and has been read
//!   back, before the manifest names it.

use crate::commit::Core;
use crate::compaction::{self, Merge, MergePlan, PlanOptions, Progress as MergeProgress};
use crate::engine::Engine;
use crate::error::{CommitError, StorageError};
use crate::manifest::Manifest;
use crate::mutants::{self, Mutant};
use crate::retention;
use crate::segment::{EntryKind, Segment, SegmentEntry, SegmentMeta, SegmentWriter};
use crate::snapshot::SnapshotPin;
use crate::wal::log::{FileLog, LogError, OldLogFile};
use orchard_map::Version;
use orchard_types::{Durability, UnixMillis, Versionstamp};
use std::io;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Key and value bytes copied out of the map before they are written.
const BATCH_SIZE_BYTES: usize = 1 << 20;

/// Keys looked at to erase under one hold of the commit lock.
const ERASE_BATCH: usize = 1_024;

/// Between two checkpoints for the sake of space alone, in nanoseconds.
const SPACE_CHECKPOINT_NS: u64 = 10_000_000_000;
/// Tombstones in memory that no segment has, from which on a checkpoint is due for the sake of memory.
const TOMBSTONES_MAX: u64 = 65_536;
/// Tombstones that leave memory under one hold of the commit lock.
const PURGE_BATCH: usize = 1_024;

/// A merge under way.
pub(crate) struct Merging {
    merge: Merge,
    plan: MergePlan,
    number: u64,
    horizon: u64,
}

/// Copies of versions on their way to a segment.
#[derive(Default)]
struct Copies {
    bytes: Vec<u8>,
    versions: Vec<Copied>,
}

struct Copied {
    key_end: usize,
    value_end: usize,
    stamp: u64,
    kind: EntryKind,
    type_tag: u8,
    expires_at_ms: Option<u64>,
}

impl Copies {
    fn push(&mut self, version: &Version<'_>, value: &[u8]) {
        self.bytes.extend_from_slice(version.key());
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let kind = if version.is_tombstone() { EntryKind::Tombstone } else { EntryKind::Value };
        self.versions.push(Copied {
            key_end,
            value_end: self.bytes.len(),
            stamp: version.stamp(),
            kind,
            type_tag: version.type_tag(),
            expires_at_ms: version.expires_at_ms(),
        });
    }

    fn write(&mut self, writer: &mut SegmentWriter) -> Result<(), StorageError> {
        let mut from = 0;
        for copied in &self.versions {
            writer.push(&SegmentEntry {
                key: self.bytes.get(from..copied.key_end).unwrap_or_default(),
                stamp: copied.stamp,
                kind: copied.kind,
                type_tag: copied.type_tag,
                expires_at_ms: copied.expires_at_ms,
                value: self.bytes.get(copied.key_end..copied.value_end).unwrap_or_default(),
            })?;
            from = copied.value_end;
        }
        self.bytes.clear();
        self.versions.clear();
        Ok(())
    }
}

/// What it holds, the first log file that is needed after it, and the files before that.
type BegunCheckpoint = (SnapshotPin, u64, Vec<OldLogFile>);

fn commit_error(error: StorageError) -> CommitError {
    match &error {
        StorageError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            CommitError::DiskFull
        }
        _ => error.into(),
    }
}

impl Engine {
    /// Whether a checkpoint is due: the log has grown much, memory or the disk is tight, or memory or segments hold much that
    /// was deleted since.
    pub fn wants_checkpoint(&self) -> bool {
        let used = self.stats.log_used_bytes.load(Ordering::Relaxed);
        let live = self.counts.load().bytes();
        let purged = self.core.lock().purge.len() as u64;
        // More than a part of the memory that cannot leave it makes commits wait.
        let memory = self.options.memory_limit_bytes / 4;
        let enough = match self.progress.durability() {
            // Nobody counts on the log: a longer one saves half of the writing, and costs time at an open only.
            Durability::None => self.options.checkpoint_log_bytes.saturating_mul(2).max(live),
            _ => self.options.checkpoint_log_bytes.max(live / 2),
        };
        used > enough.min(memory)
            || self.memory_is_tight()
            || self.frees_memory(purged)
            || self.frees_disk(live)
            || self.wants_checkpoint_for_room(used)
    }

    /// Whether memory holds many tombstones that could leave it once a segment has them; `purged`: those that one has.
    fn frees_memory(&self, purged: u64) -> bool {
        let map = self.reader.stats();
        map.tombstones.saturating_sub(purged) > TOMBSTONES_MAX.max(map.live / 4)
            && self.may_checkpoint_for_space()
    }

    /// Whether segments hold so many dead bytes that a merge is due, which has to know first of what was deleted since the
    /// last checkpoint. Not again and again: a snapshot may be what keeps them.
    fn frees_disk(&self, live_bytes: u64) -> bool {
        let plan = &self.options.compaction;
        let segments = self.live_segments();
        let bytes: u64 = segments.iter().map(|segment| segment.meta().data_bytes()).sum();
        let allowed = live_bytes.saturating_mul(plan.space_percent_max) / 100;
        bytes > allowed.saturating_add(plan.small_size_bytes) && self.may_checkpoint_for_space()
    }

    /// Whether the last checkpoint is some time ago and there was a commit since.
    fn may_checkpoint_for_space(&self) -> bool {
        let at_ns = self.stats.checkpointed_at_ns.load(Ordering::Relaxed);
        self.env.clock.monotonic_ns().saturating_sub(at_ns) > SPACE_CHECKPOINT_NS
            && self.stats.checkpointed_commits.load(Ordering::Relaxed) < self.commits()
    }

    /// Writes every version that only the log holds into a segment and lets the log before it go. `false` if there was
    /// nothing to write.
    ///
    /// # Errors
    /// What the disk says; the database is as it was, and goes on.
    pub fn checkpoint(&self) -> Result<bool, CommitError> {
        let done = self.checkpoint_alone();
        self.checkpoint_ends.tell(matches!(done, Ok(true)));
        done
    }

    fn checkpoint_alone(&self) -> Result<bool, CommitError> {
        let _alone = self.checkpointing.lock();
        self.stats.checkpoint_tried_at_ns.store(self.env.clock.monotonic_ns(), Ordering::Relaxed);
        let before = self.manifest.lock().checkpoint_stamp;
        // Most of it before a snapshot keeps what is erased in memory.
        self.erase_all_through(self.progress.watermark(Durability::None));
        let Some((pin, first_log, old_files)) = self.begin_checkpoint(before)? else { return Ok(false) };
        let stamp = pin.stamp();
        let commits = self.commits();
        self.erase_all_through(stamp);
        self.list_orphans()?;
        let number = self.take_segment_number();
        let has_older = !self.live_segments().is_empty();
        let keys = self.reader.stats().entries;
        let mut writer =
            SegmentWriter::create(&self.env.disk, self.database, number, keys).map_err(commit_error)?;
        let mut tombstones = Vec::new();
        if let Err(error) = self.write_versions(&mut writer, before, stamp, has_older, &mut tombstones) {
            let _ = writer.abandon();
            return Err(commit_error(error));
        }
        let segment = if writer.entries() == 0 {
            writer.abandon().map_err(commit_error)?;
            None
        } else {
            let meta = writer.finish().map_err(commit_error)?;
            Some(self.read_back(&meta)?)
        };
        if mutants::enabled(Mutant::LogRetiredEarly) {
            self.retire_log(first_log, &[]);
        }
        let retained = {
            let mut manifest = self.manifest.lock();
            let mut next = manifest.clone();
            next.segments.extend(segment.iter().map(|segment| segment.meta().clone()));
            next.first_log = first_log;
            next.next_log = next.next_log.max(first_log + 1);
            next.checkpoint_stamp = stamp;
            (next.history_floor, next.times) = self.history_of_checkpoint(stamp);
            next.checkpoint_log_time_ms = pin.time().0.max(next.checkpoint_log_time_ms);
            let known = next.retained.last().map_or(0, |file| file.number);
            next.retained.extend(old_files.into_iter().filter(|file| file.number > known));
            retention::trim(&mut next, &self.retention(), self.read_point().1.0);
            self.store_manifest(&mut manifest, next).map_err(commit_error)?;
            let mut segments = self.segments.write();
            *segments = Arc::new(segments.iter().cloned().chain(segment).collect());
            manifest.retained.clone()
        };
        self.retire_log(first_log, &retained);
        self.keep_merge_room();
        if self.is_space_scarce() {
            self.release_spare_logs();
        }
        self.purge_all(tombstones);
        self.stats.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.stats.checkpointed_commits.store(commits, Ordering::Relaxed);
        self.stats.checkpointed_at_ns.store(self.env.clock.monotonic_ns(), Ordering::Relaxed);
        Ok(true)
    }

    /// Turns every deleted range at or below `stamp` into point tombstones, which the checkpoint then writes.
    fn erase_all_through(&self, stamp: u64) {
        if mutants::enabled(Mutant::RangeTombstoneNotPersisted) {
            return;
        }
        while self.erase_through(stamp, ERASE_BATCH) {
            std::thread::yield_now();
        }
    }

    /// Takes tombstones out of memory that a segment holds now, few under one hold of the commit lock; those whose older
    /// versions somebody needs go later.
    fn purge_all(&self, mut tombstones: Vec<(Vec<u8>, u64)>) {
        while !tombstones.is_empty() {
            let rest = tombstones.len().saturating_sub(PURGE_BATCH);
            let mut core = self.core.lock();
            core.purge.extend(tombstones.drain(rest..));
            let horizon = self.horizon();
            core.map.reclaim(horizon, PURGE_BATCH);
            self.purge(&mut core, 2 * PURGE_BATCH);
            drop(core);
            std::thread::yield_now();
        }
    }

    /// Gives the space of log files back that are kept only to be written again, and what the current one has ahead.
    pub fn release_spare_logs(&self) {
        self.with_log(|log| {
            if let Some(log) = log {
                log.release_spares();
                log.release_ahead();
                self.stats.log_bytes.store(log.size_bytes(), Ordering::Relaxed);
            }
        });
    }

    pub(crate) fn retire_log(&self, first_log: u64, retained: &[OldLogFile]) {
        self.with_log(|log| {
            if let Some(log) = log {
                log.retire_before(first_log, retained);
                self.stats.log_bytes.store(log.size_bytes(), Ordering::Relaxed);
                self.stats.log_used_bytes.store(log.used_bytes(), Ordering::Relaxed);
            }
        });
    }

    /// Fixes the stamp of a checkpoint, makes it durable and rotates the log behind it.
    fn begin_checkpoint(&self, before: u64) -> Result<Option<BegunCheckpoint>, CommitError> {
        self.with_log(|log| self.begin_checkpoint_locked(log, before))
    }

    fn begin_checkpoint_locked(
        &self,
        log: &mut Option<FileLog>,
        before: u64,
    ) -> Result<Option<BegunCheckpoint>, CommitError> {
        if log.is_none() {
            return Ok(None);
        }
        let pin = {
            let mut core = self.core.lock();
            let applied = self.progress.watermark(Durability::None);
            if applied <= before {
                return Ok(None);
            }
            seal(&mut core);
            let time = UnixMillis(
                core.sealed
                    .back()
                    .map_or_else(|| self.written_time_ms.load(Ordering::Relaxed), |group| group.log_time.0),
            );
            // Nothing later is applied yet, so nothing that the checkpoint needs can have been pruned.
            self.snapshots.register(self.env.clock.monotonic_ns(), false, || (applied, time))
        };
        while self.progress.watermark(Durability::Os) < pin.stamp()
            && !mutants::enabled(Mutant::CheckpointAboveVisible)
        {
            let stepped = self.log_step_locked(log)?;
            self.clear_up(stepped);
        }
        let Some(log) = log.as_mut() else { return Ok(None) };
        let written = self.progress.watermark(Durability::Os);
        match log.rotate() {
            Ok(()) => {}
            Err(LogError::NoSpace) => return Err(CommitError::DiskFull),
            Err(LogError::Failed(error)) => return Err(self.poison(&error.to_string())),
        }
        self.progress.advance(Durability::Fsync, written, self.written_time_ms.load(Ordering::Relaxed));
        Ok(Some((pin, log.position().number, log.old_files())))
    }

    fn write_versions(
        &self,
        writer: &mut SegmentWriter,
        since: u64,
        at: u64,
        has_older: bool,
        tombstones: &mut Vec<(Vec<u8>, u64)>,
    ) -> Result<(), StorageError> {
        let keeps_old = self.options.history_retention_ms > 0;
        let mut copies = Copies::default();
        let mut resume: Option<Vec<u8>> = None;
        loop {
            let mut next = None;
            {
                let guard = self.reader.pin();
                let lower = resume.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                guard.scan_changed(lower, Bound::Unbounded, since, at, |version| {
                    if version.is_tombstone() {
                        tombstones.push((version.key().to_vec(), version.stamp()));
                    }
                    let mut next_version = Some(version);
                    while let Some(version) = next_version {
                        let older = version.older().filter(|older| keeps_old && older.stamp() > since);
                        if !version.is_tombstone() {
                            // A value that is not here is in a segment already.
                            if let Some(value) = version.value() {
                                copies.push(&version, value);
                            }
                        } else if has_older || older.is_some() {
                            copies.push(&version, &[]);
                        }
                        next_version = older;
                    }
                    if copies.bytes.len() >= BATCH_SIZE_BYTES {
                        next = Some(version.key().to_vec());
                        return ControlFlow::Break(());
                    }
                    ControlFlow::Continue(())
                });
            }
            copies.write(writer)?;
            if next.is_none() {
                return Ok(());
            }
            resume = next;
        }
    }

    /// Opens a segment that was just written and reads all of it: what it replaces may go only if it is good.
    fn read_back(&self, meta: &SegmentMeta) -> Result<Arc<Segment>, CommitError> {
        let segment = Segment::open(&self.env.disk, self.database, meta).map_err(commit_error)?;
        if !mutants::enabled(Mutant::SegmentNotReadBack) {
            segment.verify().map_err(commit_error)?;
        }
        Ok(segment)
    }

    fn take_segment_number(&self) -> u64 {
        let mut manifest = self.manifest.lock();
        let number = manifest.next_segment;
        manifest.next_segment += 1;
        number
    }

    /// Does a piece of the merge that is due most, at most `entries` versions long. `false` if none is due.
    ///
    /// # Errors
    /// What the disk says; the merge is given up and planned anew.
    pub fn merge_step(&self, entries: usize, plan: &PlanOptions) -> Result<bool, CommitError> {
        let mut merging = self.merging.lock();
        if merging.is_none() {
            let segments = self.live_segments();
            let metas: Vec<_> = segments.iter().map(|segment| segment.meta().clone()).collect();
            let live = self.counts.load().bytes();
            let horizon = self.horizon();
            let Some(plan) = compaction::plan(&metas, live, horizon, plan) else { return Ok(false) };
            let inputs = segments.get(plan.range.clone()).unwrap_or_default();
            if !self.may_merge(inputs, inputs.len() == segments.len(), live) {
                return Ok(false);
            }
            let number = self.take_segment_number();
            let keys = inputs.iter().map(|segment| segment.meta().keys).sum();
            let writer =
                SegmentWriter::create(&self.env.disk, self.database, number, keys).map_err(commit_error)?;
            let drop_tombstones = plan.drop_tombstones || mutants::enabled(Mutant::TombstoneDroppedEarly);
            *merging = Some(Merging {
                merge: Merge::new(inputs, horizon, drop_tombstones, writer),
                plan,
                number,
                horizon,
            });
        }
        let Some(running) = merging.as_mut() else { return Ok(false) };
        let outcome = match running.merge.step(entries) {
            Ok(MergeProgress::Running) if self.has_checkpoint_room() => return Ok(true),
            // Others have taken the space, or more is live than was thought.
            Ok(MergeProgress::Running) => {
                *merging = None;
                return Err(CommitError::DiskFull);
            }
            Ok(MergeProgress::Done(outcome)) => outcome,
            Err(error) => {
                *merging = None;
                return Err(commit_error(error));
            }
        };
        let range = running.plan.range.clone();
        let (number, horizon) = (running.number, running.horizon);
        *merging = None;
        let segment = match &outcome.segment {
            Some(meta) => {
                debug_assert_eq!(meta.number, number);
                Some(self.read_back(meta)?)
            }
            None => None,
        };
        let mut manifest = self.manifest.lock();
        let mut next = manifest.clone();
        next.segments.splice(range.clone(), segment.iter().map(|segment| segment.meta().clone()));
        let floor = outcome.dropped_tombstone_stamp_max.unwrap_or(0);
        next.tombstone_floor = next.tombstone_floor.max(floor);
        next.history_floor = next.history_floor.max(horizon);
        self.store_manifest(&mut manifest, next).map_err(commit_error)?;
        let gone: Vec<_> = {
            let mut segments = self.segments.write();
            let mut list: Vec<_> = segments.as_ref().clone();
            let gone = list.splice(range, segment).collect();
            *segments = Arc::new(list);
            gone
        };
        drop(manifest);
        for segment in gone {
            // A file that stays is a stray: the next open removes it.
            let _ = segment.mark_obsolete();
        }
        self.keep_merge_room();
        self.stats.merges.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    /// Checks every file of the database: reads all segments back.
    ///
    /// # Errors
    /// The first damage.
    pub fn verify(&self) -> Result<(), StorageError> {
        for segment in self.live_segments().iter() {
            segment.verify()?;
        }
        Ok(())
    }
}

/// Closes the open group, so that later commits get a later one.
fn seal(core: &mut Core) {
    if let Some(open) = core.open.take() {
        core.sealed.push_back(open);
    }
}

/// The manifest as it stands, for those who look.
impl Engine {
    /// The newest stamp that segments hold.
    pub fn checkpoint_stamp(&self) -> Versionstamp {
        Versionstamp::from_raw(self.manifest.lock().checkpoint_stamp)
    }

    /// A copy of the manifest.
    pub fn manifest(&self) -> Manifest {
        self.manifest.lock().clone()
    }
}
