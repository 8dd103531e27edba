//! A stable view.

use crate::db::Shared;
use crate::error::Error;
use crate::scan::{Scan, ScanOptions};
use crate::tuple::IntoKey;
use orchard_engine::error::ReadError;
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{Entry, KeyRange, SpaceId, UnixMillis, Versionstamp};
use std::sync::Arc;

/// A stable view at one version and time. Cloning shares it.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// let before = db.snapshot();
/// db.put("apple", "red")?;
/// assert_eq!(before.get("apple")?, None); // a snapshot never sees later commits
/// # Ok::<(), orcharddb::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pin: Arc<SnapshotPin>,
}

impl Snapshot {
    pub(crate) fn new(shared: Arc<Shared>, pin: SnapshotPin) -> Snapshot {
        Snapshot { shared, pin: Arc::new(pin) }
    }

    /// The version it shows.
    pub fn versionstamp(&self) -> Versionstamp {
        Versionstamp::from_raw(self.pin.stamp())
    }

    /// The time it shows; expiry is judged at it.
    pub fn time(&self) -> UnixMillis {
        self.pin.time()
    }

    /// One entry.
    ///
    /// # Errors
    /// [`Error::Key`], or [`Error::Read`] if the snapshot is too old.
    pub fn get(&self, key: impl IntoKey) -> Result<Option<Entry>, Error> {
        Ok(self.get_in(SpaceId::DEFAULT, &key.into_key()?)?)
    }

    /// One entry of any space.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_in(&self, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        self.shared.engine.get_at(&self.pin, space, key)
    }

    /// Entries of a range in key order.
    pub fn scan(&self, range: KeyRange, options: ScanOptions) -> Scan {
        self.scan_in(SpaceId::DEFAULT, range, options)
    }

    /// Entries of a range of any space in key order.
    pub fn scan_in(&self, space: SpaceId, range: KeyRange, options: ScanOptions) -> Scan {
        Scan::new(self.shared.clone(), self.pin.clone(), space, &range, options)
    }
}
