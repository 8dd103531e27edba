//! Iterating over a range.

use crate::db::Shared;
use orchard_engine::apply::flat_bounds;
use orchard_engine::error::ReadError;
use orchard_engine::read::BatchRequest;
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
}

/// Entries in key order, fetched in batches from one snapshot; no lock is held in between.
pub struct Scan {
    shared: Arc<Shared>,
    snapshot: Arc<SnapshotPin>,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    options: ScanOptions,
    left: usize,
    batch: std::vec::IntoIter<Entry>,
    resume: Option<Vec<u8>>,
    is_done: bool,
}

impl Scan {
    pub(crate) fn new(
        shared: Arc<Shared>,
        snapshot: Arc<SnapshotPin>,
        space: SpaceId,
        range: &KeyRange,
        options: ScanOptions,
    ) -> Scan {
        let (lower, upper) = flat_bounds(space, &range.start, range.end.as_deref());
        let left = options.limit.unwrap_or(usize::MAX);
        let is_done = range.is_empty() || left == 0;
        Scan {
            shared,
            snapshot,
            lower,
            upper,
            options,
            left,
            batch: Vec::new().into_iter(),
            resume: None,
            is_done,
        }
    }

    /// The version that the scan shows.
    pub fn versionstamp(&self) -> Versionstamp {
        Versionstamp::from_raw(self.snapshot.stamp())
    }

    /// The time that the scan shows.
    pub fn time(&self) -> UnixMillis {
        self.snapshot.time()
    }

    fn fetch(&mut self) -> Result<(), ReadError> {
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
            entries_max: self.left.min(BATCH_ENTRIES),
            bytes_max: BATCH_SIZE_BYTES,
        };
        let batch = self.shared.engine.batch(&self.snapshot, request)?;
        self.left = self.left.saturating_sub(batch.entries.len());
        self.is_done = batch.resume.is_none() || self.left == 0;
        self.resume = batch.resume;
        self.batch = batch.entries.into_iter();
        Ok(())
    }
}

impl Iterator for Scan {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.batch.next() {
                return Some(Ok(entry));
            }
            if self.is_done {
                return None;
            }
            if let Err(error) = self.fetch() {
                self.is_done = true;
                return Some(Err(error));
            }
        }
    }
}
