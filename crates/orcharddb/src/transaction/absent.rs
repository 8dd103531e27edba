//! Whether a key that was absent has been absent ever since.

use super::Transaction;
use crate::error::Error;
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{Key, SpaceId, Versionstamp};

/// Keeps what happens to keys from a version on, deletes included, until it is dropped; like a snapshot it ends with age.
pub struct Kept(SnapshotPin);

impl Transaction<'_> {
    /// Keeps what happens behind [`Transaction::read_version`].
    ///
    /// # Errors
    /// [`Error::Read`] if what the transaction reads is too old.
    pub fn keep(&self) -> Result<Kept, Error> {
        Ok(Kept(self.engine.snapshot_of(self.snapshot)?))
    }

    /// Whether a stored key was written or deleted behind `since`, the transaction's own writes not seen. If `kept` began
    /// behind `since` or has ended, the answer is yes, since nobody knows.
    ///
    /// ```
    /// use orcharddb::{Db, IntoKey, SpaceId};
    /// let db = Db::memory()?;
    /// let key = "apple".into_key()?;
    /// let ((kept, since), _) = db.exclusive(|tx| Ok::<_, orcharddb::Error>((tx.keep()?, tx.read_version())))?;
    /// db.put("apple", "red")?;
    /// db.delete("apple")?;
    /// let (changed, _) = db.exclusive(|tx| tx.is_changed_since(SpaceId::DEFAULT, &key, since, &kept))?;
    /// assert!(changed, "it is absent as it was, but it was there");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn is_changed_since(
        &self,
        space: SpaceId,
        key: &Key,
        since: Versionstamp,
        kept: &Kept,
    ) -> Result<bool, Error> {
        let newest = self.engine.newest_stamp_at(self.snapshot, space, key)?;
        let is_known = kept.0.stamp() <= since.raw() && !kept.0.is_expired();
        Ok(!is_known || newest.is_some_and(|newest| newest > since))
    }
}
