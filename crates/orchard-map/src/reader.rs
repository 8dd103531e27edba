//! Reading: handles that pin, and guards that read while pinned.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::epoch::{Epochs, Slot};
use crate::record::Version;
use crate::shared::Shared;
use crate::stats::MapStats;
use crate::tree::Window;

/// Keys whose cache misses `get_many` overlaps.
const BATCH: usize = 16;

/// Reads the map. Cheap to clone; any number of threads may read, through one or many.
#[derive(Clone)]
pub struct MapReader {
    pub(crate) shared: Arc<Shared>,
}

impl MapReader {
    /// Keeps everything that can be reached now in memory until the guard is dropped.
    ///
    /// Pin first, then choose the stamp to read at: [`MapWriter::reclaim`](crate::MapWriter::reclaim)
    /// relies on it. A guard is meant to be short: while it lives, nothing that is retired is freed.
    #[inline]
    pub fn pin(&self) -> Guard<'_> {
        Guard { slot: self.shared.epochs.pin(), shared: &self.shared }
    }

    /// What the map holds.
    pub fn stats(&self) -> MapStats {
        self.shared.counters.read()
    }
}

impl fmt::Debug for MapReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapReader").field("stats", &self.stats()).finish()
    }
}

/// A pinned reader. What it returns stays readable as long as it lives.
pub struct Guard<'r> {
    pub(crate) shared: &'r Shared,
    slot: &'r Slot,
}

impl Drop for Guard<'_> {
    #[inline]
    fn drop(&mut self) {
        Epochs::unpin(self.slot);
    }
}

impl fmt::Debug for Guard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("slot", &self.slot).finish()
    }
}

impl Guard<'_> {
    /// The newest version of `key` with a stamp of at most `at`, a tombstone included.
    #[inline]
    pub fn get(&self, key: &[u8], at: u64) -> Option<Version<'_>> {
        // SAFETY: this guard is pinned, and the result borrows it.
        unsafe { self.shared.directory.newest(key) }?.at(at)
    }

    /// `get` for many keys, several cache misses at a time; `found` gets each key's place.
    pub fn get_many<'g>(
        &'g self,
        keys: &[&[u8]],
        at: u64,
        mut found: impl FnMut(usize, Option<Version<'g>>),
    ) {
        let directory = &self.shared.directory;
        let mut hashes = [0; BATCH];
        for (batch, keys) in keys.chunks(BATCH).enumerate() {
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = directory.hash_of(key);
                directory.prefetch_line(*hash);
            }
            for &hash in &hashes[..keys.len()] {
                // SAFETY: this guard is pinned.
                unsafe { directory.prefetch_record(hash) };
            }
            for (place, (&hash, key)) in hashes.iter().zip(keys).enumerate() {
                // SAFETY: this guard is pinned, and the result borrows it.
                let newest: Option<(_, Version<'g>)> = unsafe { directory.find(hash, key) };
                found(batch * BATCH + place, newest.and_then(|(_, newest)| newest.at(at)));
            }
        }
    }

    /// Brings in what a writer will look at in the ordered index to put these keys, several cache misses at a time.
    /// Changes nothing else.
    pub fn warm_order(&self, keys: &[&[u8]]) {
        // SAFETY: this guard is pinned.
        let Some(root) = (unsafe { self.shared.tree.root() }) else { return };
        for keys in keys.chunks(BATCH) {
            root.warm::<BATCH>(keys);
        }
    }

    /// Visits the newest version with a stamp of at most `at` of each key within the bounds, in
    /// key order (or its reverse), tombstones included.
    pub fn scan<'g>(
        &'g self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        at: u64,
        visit: impl FnMut(Version<'g>) -> ControlFlow<()>,
    ) {
        // SAFETY: this guard is pinned, and what is visited borrows it.
        unsafe { self.shared.scan(lower, upper, reverse, Window { since: None, at }, visit) }
    }

    /// As a forward `scan`, for the keys with a version of a stamp above `since` and at most `at`.
    /// Looks into the leaves only that have a stamp above `since`.
    pub fn scan_changed<'g>(
        &'g self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        since: u64,
        at: u64,
        visit: impl FnMut(Version<'g>) -> ControlFlow<()>,
    ) {
        // SAFETY: this guard is pinned, and what is visited borrows it.
        unsafe { self.shared.scan(lower, upper, false, Window { since: Some(since), at }, visit) }
    }

    /// As `scan_changed`, in key order or its reverse.
    pub fn scan_changed_in<'g>(
        &'g self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        since: u64,
        at: u64,
        visit: impl FnMut(Version<'g>) -> ControlFlow<()>,
    ) {
        // SAFETY: this guard is pinned, and what is visited borrows it.
        unsafe { self.shared.scan(lower, upper, reverse, Window { since: Some(since), at }, visit) }
    }

    /// The newest stamp of any key within the bounds, tombstones included; 0 without a key.
    /// It is of the newest applied state, and exact.
    pub fn range_max_stamp(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        // SAFETY: this guard is pinned.
        let root = unsafe { self.shared.tree.root() };
        root.map_or(0, |root| root.newest_stamp(lower, upper, 0))
    }

    /// The number of keys within the bounds whose newest version is not a tombstone, without
    /// visiting each. It is of the newest applied state; while the writer works, each subtree is
    /// counted at some moment of the call.
    pub fn count(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        // SAFETY: this guard is pinned.
        let root = unsafe { self.shared.tree.root() };
        root.map_or(0, |root| root.count(lower, upper))
    }

    /// Visits entries in the order of their hashes, from `position` on: about `limit` of them
    /// (all with the same hash together), and of each the newest version with a stamp of at most
    /// `at`, if there is one. Returns whether there may be more.
    ///
    /// The order never changes, whatever grows or shrinks between two calls, so that an entry that
    /// is there from the first call to the last is seen exactly once.
    pub fn scan_hash<'g>(
        &'g self,
        position: &mut HashPosition,
        limit: usize,
        at: u64,
        mut visit: impl FnMut(Version<'g>),
    ) -> bool {
        let visit = |newest: Version<'g>| {
            if let Some(version) = newest.at(at) {
                visit(version);
            }
        };
        // SAFETY: this guard is pinned, and what is visited borrows it.
        let next = unsafe { self.shared.directory.scan_from(position.0, limit.max(1), visit) };
        position.0 = next.unwrap_or(0);
        next.is_some()
    }
}

/// Where a hash-order scan goes on: a hash. 0 is the start (and what the end leaves behind).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashPosition(pub u64);
