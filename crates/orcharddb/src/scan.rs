//! Iterating over a range.

use crate::db::Shared;
use orchard_engine::apply::flat_bounds;
use orchard_engine::engine::Engine;
use orchard_engine::error::ReadError;
use orchard_engine::read::{BatchRequest, Window};
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{Entry, KeyRange, SpaceId, UnixMillis, Versionstamp};
use std::ops::Bound;
use std::sync::Arc;

/// Entries fetched at once.
const BATCH_ENTRIES: usize = 256;
/// Value bytes after which a batch ends.
const BATCH_SIZE_BYTES: usize = 1 << 20;

/// How to read a range.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScanOptions {
    /// From the last key down.
    pub reverse: bool,
    /// Leave value bytes out.
    pub keys_only: bool,
    /// Most entries; `None`: all.
    pub limit: Option<usize>,
    /// Only entries last changed behind this version. It costs in proportion to what was changed since.
    pub since: Option<Versionstamp>,
    /// Only entries last changed at or before this version; of those changed again later nothing is shown, not even what
    /// they held then (a snapshot at that version shows it).
    pub until: Option<Versionstamp>,
}

/// Where a range read stands: fetches batches from a snapshot that its owner holds.
pub(crate) struct Cursor {
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    options: ScanOptions,
    left: usize,
    batch_entries: usize,
    batch: std::vec::IntoIter<Entry>,
    resume: Option<Vec<u8>>,
    is_done: bool,
}

impl Cursor {
    /// A cursor before the first entry. `batch_entries`: most entries to fetch at once.
    pub(crate) fn new(
        space: SpaceId,
        range: &KeyRange,
        options: ScanOptions,
        batch_entries: usize,
    ) -> Cursor {
        let (lower, upper) = flat_bounds(space, &range.start, range.end.as_deref());
        let left = options.limit.unwrap_or(usize::MAX);
        let is_done = range.is_empty() || left == 0;
        let batch_entries = batch_entries.clamp(1, BATCH_ENTRIES);
        Cursor {
            lower,
            upper,
            options,
            left,
            batch_entries,
            batch: Vec::new().into_iter(),
            resume: None,
            is_done,
        }
    }

    fn fetch(&mut self, engine: &Engine, snapshot: &SnapshotPin) -> Result<(), ReadError> {
        let end = self.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let (lower, upper) = match (&self.resume, self.options.reverse) {
            (None, _) => (Bound::Included(self.lower.as_slice()), end),
            (Some(last), false) => (Bound::Excluded(last.as_slice()), end),
            (Some(last), true) => (Bound::Included(self.lower.as_slice()), Bound::Excluded(last.as_slice())),
        };
        let request = BatchRequest {
            lower,
            upper,
            reverse: self.options.reverse,
            keys_only: self.options.keys_only,
            entries_max: self.left.min(self.batch_entries),
            bytes_max: BATCH_SIZE_BYTES,
        };
        let ScanOptions { since, until, .. } = self.options;
        let batch = engine.batch_in(snapshot, request, Window { since, until, include_deleted: false })?;
        self.left = self.left.saturating_sub(batch.entries.len());
        self.is_done = batch.resume.is_none() || self.left == 0;
        self.resume = batch.resume;
        self.batch = batch.entries.into_iter();
        // Whoever goes on reads more at once.
        self.batch_entries = BATCH_ENTRIES;
        Ok(())
    }

    /// The next entry.
    pub(crate) fn next(
        &mut self,
        engine: &Engine,
        snapshot: &SnapshotPin,
    ) -> Option<Result<Entry, ReadError>> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(Ok(entry));
            }
            if self.is_done {
                return None;
            }
            if let Err(error) = self.fetch(engine, snapshot) {
                self.is_done = true;
                return Some(Err(error));
            }
        }
    }
}

/// Entries in key order, fetched in batches from one snapshot; no lock is held in between.
pub struct Scan {
    shared: Arc<Shared>,
    snapshot: Arc<SnapshotPin>,
    cursor: Cursor,
}

impl Scan {
    pub(crate) fn new(
        shared: Arc<Shared>,
        snapshot: Arc<SnapshotPin>,
        space: SpaceId,
        range: &KeyRange,
        options: ScanOptions,
    ) -> Scan {
        Scan { shared, snapshot, cursor: Cursor::new(space, range, options, BATCH_ENTRIES) }
    }

    /// The version that the scan shows.
    pub fn versionstamp(&self) -> Versionstamp {
        Versionstamp::from_raw(self.snapshot.stamp())
    }

    /// The time that the scan shows.
    pub fn time(&self) -> UnixMillis {
        self.snapshot.time()
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.cursor.next(&self.shared.engine, &self.snapshot)
    }
}
