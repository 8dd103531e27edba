//! Looking back: what changed since when, and what a key held before.

use crate::db::{Db, Shared};
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::tuple::IntoKey;
use orchard_engine::apply::flat_bounds;
use orchard_engine::error::ReadError;
use orchard_engine::read::{BatchRequest, Deleted, Window};
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{Entry, Key, KeyRange, SpaceId, Versionstamp};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;
use std::vec::IntoIter;

pub use orchard_engine::history::KeptVersion;

/// Keys fetched at once.
const BATCH_ENTRIES: usize = 256;
/// Value bytes after which a batch ends.
const BATCH_SIZE_BYTES: usize = 1 << 20;

/// The newest change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// It was written.
    Written(Entry),
    /// It was deleted.
    Deleted {
        /// The key.
        key: Key,
        /// When.
        versionstamp: Versionstamp,
    },
}

impl Changed {
    /// The key.
    pub fn key(&self) -> &Key {
        match self {
            Changed::Written(entry) => &entry.key,
            Changed::Deleted { key, .. } => key,
        }
    }

    /// When it was last changed.
    pub fn versionstamp(&self) -> Versionstamp {
        match self {
            Changed::Written(entry) => entry.versionstamp,
            Changed::Deleted { versionstamp, .. } => *versionstamp,
        }
    }
}

/// What of a range was changed behind a version, deleted keys included, in key order, fetched in batches from one
/// snapshot.
pub struct ChangedScan {
    shared: Arc<Shared>,
    snapshot: Arc<SnapshotPin>,
    window: Window,
    lower: Vec<u8>,
    upper: Option<Vec<u8>>,
    written: Peekable<IntoIter<Entry>>,
    deleted: Peekable<IntoIter<Deleted>>,
    resume: Option<Vec<u8>>,
    is_done: bool,
}

impl ChangedScan {
    fn fetch(&mut self) -> Result<(), ReadError> {
        let lower = self.resume.as_deref().map_or(Bound::Included(self.lower.as_slice()), Bound::Excluded);
        let request = BatchRequest {
            lower,
            upper: self.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded),
            reverse: false,
            keys_only: false,
            entries_max: BATCH_ENTRIES,
            bytes_max: BATCH_SIZE_BYTES,
        };
        let batch = self.shared.engine.batch_in(&self.snapshot, request, self.window)?;
        self.is_done = batch.resume.is_none();
        self.resume = batch.resume;
        self.written = batch.entries.into_iter().peekable();
        self.deleted = batch.deleted.into_iter().peekable();
        Ok(())
    }

    fn next_in_batch(&mut self) -> Option<Changed> {
        let written_first = match (self.written.peek(), self.deleted.peek()) {
            (Some(written), Some(deleted)) => written.key < deleted.key,
            (written, _) => written.is_some(),
        };
        if written_first {
            return self.written.next().map(Changed::Written);
        }
        let Deleted { key, versionstamp } = self.deleted.next()?;
        Some(Changed::Deleted { key, versionstamp })
    }
}

impl Iterator for ChangedScan {
    type Item = Result<Changed, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(changed) = self.next_in_batch() {
                return Some(Ok(changed));
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

impl Snapshot {
    /// The keys of a range whose newest change lies behind `since`, with what they hold now or that they were deleted. It
    /// costs in proportion to what changed.
    ///
    /// ```
    /// use orcharddb::{Changed, Db, KeyRange};
    /// let db = Db::memory()?;
    /// db.put("apple", "red")?;
    /// let since = db.visible();
    /// db.put("pear", "green")?;
    /// let changed = db.snapshot().changed(KeyRange::all(), since).collect::<Result<Vec<_>, _>>()?;
    /// assert_eq!(changed.len(), 1);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// The items are [`ReadError::SnapshotTooOld`] if deletes behind `since` may be forgotten.
    pub fn changed(&self, range: KeyRange, since: Versionstamp) -> ChangedScan {
        self.changed_in(SpaceId::DEFAULT, range, since)
    }

    /// [`Snapshot::changed`] in any space.
    pub fn changed_in(&self, space: SpaceId, range: KeyRange, since: Versionstamp) -> ChangedScan {
        let (lower, upper) = flat_bounds(space, &range.start, range.end.as_deref());
        ChangedScan {
            shared: self.shared.clone(),
            snapshot: self.pin.clone(),
            window: Window { since: Some(since), until: None, include_deleted: true },
            lower,
            upper,
            written: Vec::new().into_iter().peekable(),
            deleted: Vec::new().into_iter().peekable(),
            resume: None,
            is_done: range.is_empty(),
        }
    }
}

impl Db {
    /// The versions of a key that are kept, the newest first, at most `limit`: those within
    /// [`EngineOptions::history_retention_ms`](crate::EngineOptions).
    ///
    /// ```
    /// use orcharddb::{Db, EngineOptions, Options};
    /// let engine = EngineOptions { history_retention_ms: 60_000, ..EngineOptions::default() };
    /// let db = Options { engine, ..Options::default() }.memory()?;
    /// let first = db.put("apple", "green")?.versionstamp;
    /// db.put("apple", "red")?;
    /// let history = db.history("apple", 10)?;
    /// assert_eq!(history.len(), 2);
    /// assert_eq!(history[1].versionstamp, first);
    /// assert_eq!(db.snapshot_at(first)?.get("apple")?.map(|entry| entry.value), Some("green".into()));
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Read`]
    pub fn history(&self, key: impl IntoKey, limit: usize) -> Result<Vec<KeptVersion>, Error> {
        Ok(self.history_in(SpaceId::DEFAULT, &key.into_key()?, limit)?)
    }

    /// [`Db::history`] of a key of any space.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn history_in(
        &self,
        space: SpaceId,
        key: &[u8],
        limit: usize,
    ) -> Result<Vec<KeptVersion>, ReadError> {
        self.engine().history(space, key, limit)
    }

    /// The oldest version of which a snapshot can be taken now; it moves on.
    pub fn history_floor(&self) -> Versionstamp {
        self.engine().history_floor()
    }
}
