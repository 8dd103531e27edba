//! Looking at entries where they lie: nothing is copied, nothing allocated.

use crate::db::Db;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::tuple::IntoKey;
use orchard_engine::apply::flat_bounds;
use orchard_engine::error::ReadError;
use orchard_engine::visit::EntryRef;
use orchard_types::{KeyRange, SpaceId};
use std::ops::{Bound, ControlFlow};

impl Db {
    /// Shows the newest entry of a key where it lies. `visit` runs while a part of the database's memory is held: it should
    /// be short, and must not use the database.
    ///
    /// ```
    /// let db = orcharddb::Db::memory()?;
    /// db.put("apple", "red")?;
    /// let length = db.get_with("apple", |entry| entry.map(|entry| entry.value.len()))?;
    /// assert_eq!(length, Some(3));
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Read`]
    pub fn get_with<T>(
        &self,
        key: impl IntoKey,
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, Error> {
        Ok(self.get_with_in(SpaceId::DEFAULT, &key.into_key()?, visit)?)
    }

    /// As [`Db::get_with`], in any space.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_with_in<T>(
        &self,
        space: SpaceId,
        key: &[u8],
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, ReadError> {
        self.engine().get_newest_with(space, key, visit)
    }

    /// Shows the entries of a range where they lie, from one snapshot: see [`Snapshot::for_each`].
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn for_each(
        &self,
        range: &KeyRange,
        visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.snapshot().for_each(range, visit)
    }
}

impl Snapshot {
    /// Shows an entry where it lies. `visit` is as for [`Db::get_with`]; what it was shown counts only if this returns `Ok`.
    ///
    /// # Errors
    /// [`Error::Key`], or [`Error::Read`] if the snapshot is too old.
    pub fn get_with<T>(
        &self,
        key: impl IntoKey,
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, Error> {
        Ok(self.get_with_in(SpaceId::DEFAULT, &key.into_key()?, visit)?)
    }

    /// As [`Snapshot::get_with`], in any space.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_with_in<T>(
        &self,
        space: SpaceId,
        key: &[u8],
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, ReadError> {
        self.shared.engine.get_with(&self.pin, space, key, visit)
    }

    /// Shows the entries of a range where they lie, in key order, until `visit` breaks off. `visit` is as for
    /// [`Db::get_with`]; what it was shown counts only if this returns `Ok`.
    ///
    /// ```
    /// use orcharddb::{Db, KeyRange};
    /// use std::ops::ControlFlow;
    /// let db = Db::memory()?;
    /// db.put("apple", 3_i64)?;
    /// db.put("pear", 4_i64)?;
    /// let mut bytes = 0;
    /// db.snapshot().for_each(&KeyRange::all(), |entry| {
    ///     bytes += entry.value.len();
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(bytes, 16);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn for_each(
        &self,
        range: &KeyRange,
        visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.for_each_in(SpaceId::DEFAULT, range, false, visit)
    }

    /// As [`Snapshot::for_each`], in any space, and from the last key down if `reverse`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn for_each_in(
        &self,
        space: SpaceId,
        range: &KeyRange,
        reverse: bool,
        visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        if range.is_empty() {
            return Ok(());
        }
        let (lower, upper) = flat_bounds(space, &range.start, range.end.as_deref());
        let upper = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.shared.engine.visit(&self.pin, Bound::Included(&lower), upper, reverse, visit)
    }
}
