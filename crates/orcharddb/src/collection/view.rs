//! What collections are read through: a snapshot, or a transaction that sees its own writes.

use crate::error::Error;
use crate::scan::ScanOptions;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use orchard_types::{Entry, Key, KeyRange, SpaceId, UnixMillis};

/// Reads of one state of the database.
pub trait View {
    /// The entry of a key.
    ///
    /// # Errors
    /// [`Error::Read`]
    fn entry(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error>;

    /// Whether a key has an entry.
    ///
    /// # Errors
    /// [`Error::Read`]
    fn has(&mut self, space: SpaceId, key: &Key) -> Result<bool, Error> {
        Ok(self.entry(space, key)?.is_some())
    }

    /// Entries of a range in key order.
    ///
    /// # Errors
    /// [`Error::Read`]
    fn entries(&mut self, space: SpaceId, range: KeyRange, options: ScanOptions)
    -> Result<Vec<Entry>, Error>;

    /// The time at which it reads.
    fn time(&self) -> UnixMillis;
}

impl View for Snapshot {
    fn entry(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error> {
        Ok(self.get_in(space, key)?)
    }

    fn entries(
        &mut self,
        space: SpaceId,
        range: KeyRange,
        options: ScanOptions,
    ) -> Result<Vec<Entry>, Error> {
        Ok(self.scan_in(space, range, options).collect::<Result<_, _>>()?)
    }

    fn time(&self) -> UnixMillis {
        Snapshot::time(self)
    }
}

impl View for Transaction<'_> {
    fn entry(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error> {
        self.entry_in(space, key)
    }

    fn has(&mut self, space: SpaceId, key: &Key) -> Result<bool, Error> {
        self.has_in(space, key)
    }

    fn entries(
        &mut self,
        space: SpaceId,
        range: KeyRange,
        options: ScanOptions,
    ) -> Result<Vec<Entry>, Error> {
        self.scan_in(space, range, options)
    }

    fn time(&self) -> UnixMillis {
        self.now()
    }
}

impl<V: View + ?Sized> View for &mut V {
    fn entry(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error> {
        (**self).entry(space, key)
    }

    fn has(&mut self, space: SpaceId, key: &Key) -> Result<bool, Error> {
        (**self).has(space, key)
    }

    fn entries(
        &mut self,
        space: SpaceId,
        range: KeyRange,
        options: ScanOptions,
    ) -> Result<Vec<Entry>, Error> {
        (**self).entries(space, range, options)
    }

    fn time(&self) -> UnixMillis {
        (**self).time()
    }
}
