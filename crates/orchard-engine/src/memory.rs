//! The memory limit, and the sweep of expired entries.
//!
//! At the limit values leave that segments hold. If what fills it is in the log alone, commits wait for the checkpoint that is
//! under way, a moment and not for ever; then they are refused, but for deletes.

use crate::commit::{Core, Submitted};
use crate::engine::Engine;
use crate::error::CommitError;
use crate::format::split_flat_key;
use crate::ranges::Ranges;
use crate::state::may_be_header;
use bytes::Bytes;
use orchard_map::{CLOCK_PARTITIONS, SweepLimits, Swept, Version};
use orchard_types::{Commit, Key, Mutation, Operation, Versionstamp};
use parking_lot::{Condvar, Mutex};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Submitted commits between two looks at the memory in use.
const LOOK_EVERY: u64 = 32;
/// A share of the limit (1/n) that is freed at once when it is reached.
const FREED_SHARE: u64 = 32;
/// How long a commit waits for a checkpoint after which values can leave memory, at most.
const MEMORY_WAIT_NS: u64 = 2_000_000_000;
/// Entries that an eviction looks at under one hold of the commit lock.
const EVICT_STEP: usize = 4_096;
/// Entries that a reader looks at to find room for a value that it brings back.
const PROMOTE_LOOK: usize = 256;

/// Runs what it is given, which blocks its thread for up to two seconds, where that keeps nobody else waiting.
pub type LongWait = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// How checkpoints ended.
#[derive(Default)]
pub(crate) struct CheckpointEnds {
    state: Mutex<Ends>,
    told: Condvar,
    long_wait: OnceLock<LongWait>,
}

#[derive(Default)]
struct Ends {
    count: u64,
    /// Whether the last one wrote something.
    was_good: bool,
    is_kept_up: bool,
}

impl CheckpointEnds {
    pub(crate) fn tell(&self, was_good: bool) {
        let mut state = self.state.lock();
        state.count += 1;
        state.was_good = was_good;
        self.told.notify_all();
    }

    pub(crate) fn set_long_wait(&self, long_wait: LongWait) {
        // Who came first serves as well.
        let _ = self.long_wait.set(long_wait);
    }

    pub(crate) fn set_kept_up(&self, is_kept_up: bool) {
        self.state.lock().is_kept_up = is_kept_up;
        self.told.notify_all();
    }

    fn count(&self) -> u64 {
        self.state.lock().count
    }

    /// Waits for one more than `count` to end. `false`: none did, or not well, or nobody makes any.
    fn wait(&self, count: u64, longest: Duration) -> bool {
        let mut is_better = false;
        let mut wait = || {
            let mut state = self.state.lock();
            self.told.wait_while_for(&mut state, |state| state.is_kept_up && state.count == count, longest);
            is_better = state.is_kept_up && state.count != count && state.was_good;
        };
        match self.long_wait.get() {
            Some(long_wait) => long_wait(&mut wait),
            None => wait(),
        }
        is_better
    }
}

impl Engine {
    /// Memory in use by entries, indexes, filters and queues.
    pub fn memory_bytes(&self) -> u64 {
        let map = self.reader.stats();
        let segments: usize = self.live_segments().iter().map(|segment| segment.memory_bytes()).sum();
        map.allocated_bytes + map.index_bytes + (segments + self.tail.memory_bytes()) as u64
    }

    fn look_at_memory(&self) -> u64 {
        let used = self.memory_bytes();
        self.memory_used.store(used, Ordering::Relaxed);
        used
    }

    /// Whether most memory is in use, and a checkpoint would let values leave.
    pub(crate) fn memory_is_tight(&self) -> bool {
        let used = self.look_at_memory();
        used > self.options.memory_limit_bytes / 8 * 7
            && self.manifest.lock().checkpoint_stamp < self.progress.visible()
    }

    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.memory_used.load(Ordering::Relaxed) + (bytes as u64) < self.options.memory_limit_bytes / 16 * 15
    }

    /// Makes sure that there is memory for one more commit.
    pub(crate) fn make_memory(&self) -> Result<(), CommitError> {
        let commits = self.stats.commits.load(Ordering::Relaxed);
        let limit_bytes = self.options.memory_limit_bytes;
        // Commits may come many at a time, so their number need not pass any particular one.
        let looked_at = self.stats.memory_looked_at.load(Ordering::Relaxed);
        if commits.saturating_sub(looked_at) < LOOK_EVERY
            && self.memory_used.load(Ordering::Relaxed) < limit_bytes
        {
            return Ok(());
        }
        self.stats.memory_looked_at.store(commits, Ordering::Relaxed);
        let used = self.look_at_memory();
        if used < limit_bytes {
            return Ok(());
        }
        let give_up_at_ns = self.env.clock.monotonic_ns().saturating_add(MEMORY_WAIT_NS);
        loop {
            let ended = self.checkpoint_ends.count();
            let evicting = self.evicting.lock();
            // Another one may have made room in the meantime.
            let used = self.look_at_memory();
            let excess = used.saturating_sub(limit_bytes);
            let left = match used < limit_bytes {
                true => 0,
                false => self.evict(excess + limit_bytes / FREED_SHARE),
            };
            drop(evicting);
            let used_bytes = self.look_at_memory();
            if used_bytes < limit_bytes {
                return Ok(());
            }
            self.progress.notify_work();
            let left_ns = give_up_at_ns.saturating_sub(self.env.clock.monotonic_ns());
            if left > 0 && left_ns > 0 {
                // Values left, but the pieces of memory that they lay in hold others as well: more of them.
                continue;
            }
            let waits = self.checkpoint_would_free() && left_ns > 0;
            if !waits || !self.checkpoint_ends.wait(ended, Duration::from_nanos(left_ns)) {
                return Err(CommitError::MemoryFull { limit_bytes, used_bytes });
            }
        }
    }

    /// Whether there is something that only the log holds, so that its values can leave once a segment has them.
    fn checkpoint_would_free(&self) -> bool {
        self.stats.checkpointed_commits.load(Ordering::Relaxed) < self.commits()
    }

    /// Lets values leave memory that segments hold, those not read lately first, in steps between which others may write.
    /// Returns the bytes that left.
    pub fn evict(&self, bytes_wanted: u64) -> u64 {
        if !self.keeps_log() {
            return 0;
        }
        let clean_up_to_stamp = self.manifest.lock().checkpoint_stamp;
        let mut all = Swept::default();
        // Twice round: the first round may do no more than take marks away.
        while all.bytes < bytes_wanted && all.partitions < 2 * CLOCK_PARTITIONS {
            let mut core = self.core.lock();
            core.map.reclaim(self.horizon(), EVICT_STEP);
            let bytes = bytes_wanted - all.bytes;
            let swept =
                self.sweep_values(&mut core, SweepLimits { bytes, entries: EVICT_STEP, clean_up_to_stamp });
            core.map.reclaim(self.horizon(), EVICT_STEP);
            drop(core);
            all.bytes += swept.bytes;
            all.partitions += swept.partitions;
            std::thread::yield_now();
        }
        all.bytes
    }

    fn sweep_values(&self, core: &mut Core, limits: SweepLimits) -> Swept {
        let mut left = 0;
        let may_leave = |version: Version<'_>| {
            version.value_len() >= self.options.evictable_value_bytes_min
                && !may_be_header(version.type_tag(), u64::from(version.value_len()))
        };
        let swept = core.map.sweep_clock(limits, may_leave, |_, _| left += 1);
        self.stats.evictions.fetch_add(left, Ordering::Relaxed);
        swept
    }

    /// Brings a value back into memory, if nobody is writing. Where there is no room, others leave for it that were not
    /// read lately, if a short look finds any.
    pub(crate) fn promote(&self, flat: &[u8], stamp: u64, value: &[u8]) {
        let bytes = value.len() as u64;
        // Not while a manifest is written: a reader does not wait for the disk here.
        let full_at = match self.has_room_for(value.len()) {
            true => None,
            false => match self.manifest.try_lock() {
                Some(manifest) => Some(manifest.checkpoint_stamp),
                None => return,
            },
        };
        let Some(mut core) = self.core.try_lock() else { return };
        if let Some(clean_up_to_stamp) = full_at {
            // Twice as much leaves as comes back, so that soon there is room without a look.
            let limits = SweepLimits { bytes: 2 * bytes, entries: PROMOTE_LOOK, clean_up_to_stamp };
            let gone = self.sweep_values(&mut core, limits).bytes;
            self.guess_memory(|used| used.saturating_sub(gone));
            // What left makes room for the next one.
            if gone < bytes {
                return;
            }
        }
        if core.map.make_resident(flat, stamp, value) {
            self.guess_memory(|used| used.saturating_add(bytes));
        }
    }

    /// Between two looks: how much is in use now.
    fn guess_memory(&self, change: impl Fn(u64) -> u64) {
        let changed = |used| Some(change(used));
        let _ = self.memory_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    /// Submits the deletion of entries that have expired, at most `limit` of them. `None` if there are none.
    pub fn sweep_expired(&self, limit: usize) -> Option<Submitted> {
        self.sweep_commit(limit).map(|commit| self.submit(&commit))
    }

    /// The commit that deletes entries that have expired, at most `limit` of them. `None` if there are none.
    pub fn sweep_commit(&self, limit: usize) -> Option<Commit> {
        let (_, now) = self.read_point();
        let mut commit = Commit::new();
        let due: Vec<(u64, Vec<u8>)> = {
            let expiry = self.expiry.lock();
            expiry.due(now.0).take(limit).map(|(at, flat)| (at, flat.to_vec())).collect()
        };
        // Where they stand comes into the cache before the lock is taken, many at a time; what has changed until then is
        // noticed below.
        let keys: Vec<&[u8]> = due.iter().map(|(_, flat)| flat.as_slice()).collect();
        self.reader.pin().get_many(&keys, u64::MAX, |_, found| {
            std::hint::black_box(found);
        });
        {
            let mut core = self.core.lock();
            let core = &mut *core;
            let mut erased = Vec::new();
            let mut expiry = self.expiry.lock();
            for (expires_at_ms, flat) in due {
                let newest = core.map.newest(&flat).filter(|version| !version.is_tombstone());
                let stamp = newest
                    .filter(|version| version.expires_at_ms() == Some(expires_at_ms))
                    .map(|version| version.stamp());
                let Some((stamp, (space, key))) = stamp.zip(split_flat_key(&flat)) else {
                    // The index is behind: so that it does not come again and again.
                    expiry.change(flat, Some(expires_at_ms), None);
                    continue;
                };
                if let Some(deleted_at) = core.ranges.first_above(&flat, stamp) {
                    erased.extend(Ranges::erase_one(&mut core.map, &flat, deleted_at));
                    continue;
                }
                let Ok(key) = Key::new(Bytes::copy_from_slice(key)) else { continue };
                let operation = Operation::DeleteIfStamp(Versionstamp::from_raw(stamp));
                commit.mutations.push(Mutation { space, key, operation });
            }
            drop(expiry);
            core.settle(self, erased);
        }
        (!commit.mutations.is_empty()).then_some(commit)
    }
}
