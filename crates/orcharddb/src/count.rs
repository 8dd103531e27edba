//! How many entries a range has: exact, and mostly without a look at each.

use crate::db::Db;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_engine::error::ReadError;
use orchard_types::{KeyRange, SpaceId, Versionstamp};

/// Keys that a transaction with own writes looks at at once.
const PAGE: usize = 1_024;

impl Db {
    /// Number of entries of a range at the newest visible version. Exact, in microseconds: beside a walk down the index it
    /// looks only at what is not durable yet and at what has expired and is not swept yet.
    ///
    /// ```
    /// use orcharddb::{Db, KeyRange};
    /// let db = Db::memory()?;
    /// db.put("apple", "red")?;
    /// db.put("pear", "green")?;
    /// assert_eq!(db.count(&KeyRange::all()), 2);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.count_in(SpaceId::DEFAULT, range).0
    }

    /// [`Db::count`] of a range of any space, and the version that it is of.
    pub fn count_in(&self, space: SpaceId, range: &KeyRange) -> (u64, Versionstamp) {
        self.engine().count_visible(space, &range.start, range.end.as_deref())
    }

    /// Whether all keys that a space has held since the database was opened are names ([`crate::tuple::is_name`]).
    pub fn holds_names_only(&self, space: SpaceId) -> bool {
        !self.engine().may_hold_apart(space)
    }
}

impl Snapshot {
    /// Number of entries of a range as this snapshot shows it. Beside what [`Db::count`] looks at, it looks at each key of
    /// the range that was changed since.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn count(&self, range: &KeyRange) -> Result<u64, ReadError> {
        self.count_in(SpaceId::DEFAULT, range)
    }

    /// [`Snapshot::count`] of a range of any space.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn count_in(&self, space: SpaceId, range: &KeyRange) -> Result<u64, ReadError> {
        self.shared.engine.count_at(&self.pin, space, &range.start, range.end.as_deref())
    }
}

impl Transaction<'_> {
    /// Number of entries of a range of any space, own writes included; with own writes each key of the range is looked at.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn count_in(&mut self, space: SpaceId, range: &KeyRange) -> Result<u64, Error> {
        if let Some(counted) = self.count_stored(space, range) {
            return Ok(counted?);
        }
        let (mut entries, mut rest) = (0, range.clone());
        loop {
            let options = ScanOptions { keys_only: true, limit: Some(PAGE), ..ScanOptions::default() };
            let page = self.scan_in(space, rest.clone(), options)?;
            entries += page.len() as u64;
            let Some(last) = page.last().filter(|_| page.len() == PAGE) else { return Ok(entries) };
            rest.start = Bytes::from([&last.key[..], &[0]].concat());
        }
    }
}
