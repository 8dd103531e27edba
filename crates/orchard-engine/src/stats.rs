//! Numbers about an engine.

use crate::engine::Engine;
use orchard_types::Versionstamp;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that the engine keeps as it goes.
#[derive(Default)]
pub struct Stats {
    pub(crate) commits: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) rollbacks: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) evictions: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) merges: AtomicU64,
    /// Commits when the last checkpoint began.
    pub(crate) checkpointed_commits: AtomicU64,
    /// When the last checkpoint was done, on the monotonic clock.
    pub(crate) checkpointed_at_ns: AtomicU64,
    /// When the last one was begun.
    pub(crate) checkpoint_tried_at_ns: AtomicU64,
    pub(crate) recent_sync_ns: AtomicU64,
    /// Commits when the memory in use was last looked at.
    pub(crate) memory_looked_at: AtomicU64,
    /// Index of the newest empty group that follows an idle moment.
    pub(crate) idle_group_index: AtomicU64,
    /// Versions below this may be gone.
    pub(crate) pruned_to: AtomicU64,
    /// Bytes of live log files, and bytes used in them, when they were last looked at.
    pub(crate) log_bytes: AtomicU64,
    pub(crate) log_used_bytes: AtomicU64,
}

impl Stats {
    pub(crate) fn note_sync(&self, took_ns: u64) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        let before = self.recent_sync_ns.load(Ordering::Relaxed);
        self.recent_sync_ns.store(before - before / 8 + took_ns / 8, Ordering::Relaxed);
    }

    pub(crate) fn note_load(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }
}

/// A look at an engine's numbers.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// Entries that are not deleted; expired but unswept ones are counted.
    pub entries: u64,
    /// Their key bytes, the space's prefix included; those of deleted ranges count until they are erased, as the next two.
    pub key_bytes: u64,
    /// Their value bytes, in memory or not.
    pub value_bytes: u64,
    /// Value bytes in memory.
    pub resident_value_bytes: u64,
    /// Memory in use: entries, index, segment filters, expiry index.
    pub memory_bytes: u64,
    /// The memory limit.
    pub memory_limit_bytes: u64,
    /// Bytes of live log files.
    pub log_bytes: u64,
    /// Bytes of segments.
    pub segment_bytes: u64,
    /// Number of segments.
    pub segments: u64,
    /// Newest version that readers see.
    pub visible: Versionstamp,
    /// Commits since it was opened.
    pub commits: u64,
    /// Groups since it was opened.
    pub groups: u64,
    /// Log syncs since it was opened.
    pub syncs: u64,
    /// Groups that were taken back because the disk was full.
    pub rollbacks: u64,
    /// Values read from segments since it was opened.
    pub loads: u64,
    /// Values that left memory since it was opened.
    pub evictions: u64,
    /// Checkpoints since it was opened.
    pub checkpoints: u64,
    /// Merges since it was opened.
    pub merges: u64,
    /// Registered snapshots.
    pub snapshots: u64,
    /// Versions in memory, old ones included.
    pub versions: u64,
    /// Deleted ranges whose entries are not erased yet.
    pub deleted_ranges: u64,
    /// Entries with an expiry.
    pub expiring: u64,
    /// Recent time of a log sync in nanoseconds.
    pub recent_sync_ns: u64,
    /// Why commits are refused, if they are.
    pub poisoned: Option<String>,
    /// Writes are refused because the disk is full.
    pub disk_full: bool,
}

/// Entries whose range was deleted and that are not erased yet; while commits go on, about so many.
fn covered(engine: &Engine) -> u64 {
    let guard = engine.reader.pin();
    let ranges = engine.ranges.load();
    if ranges.is_empty() {
        return 0;
    }
    guard.count(Bound::Unbounded, Bound::Unbounded).saturating_sub(ranges.count(&guard, b"", None))
}

pub(crate) fn collect(engine: &Engine) -> EngineStats {
    let map = engine.reader.stats();
    let segments = engine.live_segments();
    // Not under the commit lock: a command of `EXEC`, which runs under it, may ask.
    let counts = engine.counts.load();
    let covered = covered(engine);
    let expiring = engine.expiry.lock().len();
    let stats = &engine.stats;
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    EngineStats {
        entries: u64::try_from(counts.entries).unwrap_or(0).saturating_sub(covered),
        key_bytes: u64::try_from(counts.key_bytes).unwrap_or(0),
        value_bytes: u64::try_from(counts.value_bytes).unwrap_or(0),
        resident_value_bytes: map.value_bytes,
        memory_bytes: engine.memory_bytes(),
        memory_limit_bytes: engine.options.memory_limit_bytes,
        log_bytes: load(&stats.log_bytes),
        segment_bytes: segments.iter().map(|segment| segment.meta().file_size_bytes).sum(),
        segments: segments.len() as u64,
        visible: engine.visible(),
        commits: load(&stats.commits),
        groups: load(&stats.groups),
        syncs: load(&stats.syncs),
        rollbacks: load(&stats.rollbacks),
        loads: load(&stats.loads),
        evictions: load(&stats.evictions),
        checkpoints: load(&stats.checkpoints),
        merges: load(&stats.merges),
        snapshots: engine.snapshots.count() as u64,
        versions: map.versions,
        deleted_ranges: engine.ranges.len() as u64,
        expiring: expiring as u64,
        recent_sync_ns: load(&stats.recent_sync_ns),
        poisoned: engine.poisoned().map(|why| why.to_string()),
        disk_full: engine.is_disk_full(),
    }
}
