//! Databases by name inside a transaction: the same table as [`crate::Db::database`] reads.

use super::Transaction;
use crate::databases::{
    DEFAULT_NAME, NEXT_KEY, check_database_name, name_key, number, space_of, space_of_value, valid_space,
};
use crate::error::Error;
use orchard_engine::engine::Engine;
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{Expiry, Key, SpaceId};

/// The space of a database as a snapshot has it, without a copy of anything.
pub(super) fn database_at(
    engine: &Engine,
    snapshot: &SnapshotPin,
    name: &str,
) -> Result<Option<SpaceId>, Error> {
    let found = engine.get_with(snapshot, SpaceId::NAMES, name.as_bytes(), |entry| {
        entry.and_then(|entry| space_of_value(entry.value_type, entry.value))
    })?;
    Ok(found.or_else(|| (name == DEFAULT_NAME).then_some(SpaceId::DEFAULT)))
}

impl Transaction<'_> {
    /// The space of a database, `None` if there is none of this name.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Read`]
    pub fn database(&mut self, name: &str) -> Result<Option<SpaceId>, Error> {
        check_database_name(name)?;
        if self.is_exclusive && !self.overlay.is_seen_by_reads() {
            return database_at(self.engine, self.snapshot, name);
        }
        let entry = self.entry_in(SpaceId::NAMES, &name_key(name)?)?;
        let found = entry.as_ref().and_then(space_of);
        Ok(found.or_else(|| (name == DEFAULT_NAME).then_some(SpaceId::DEFAULT)))
    }

    /// The space of a database, which the transaction creates if there is none.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Read`]
    pub fn create_database(&mut self, name: &str) -> Result<SpaceId, Error> {
        if let Some(space) = self.database(name)? {
            return Ok(space);
        }
        let next_key = Key::new(NEXT_KEY)?;
        let next = self.entry_in(SpaceId::NAMES, &next_key)?;
        let space = valid_space(next.as_ref().and_then(space_of).map_or(1, |next| next.0))?;
        self.put_in(SpaceId::NAMES, name_key(name)?, number(space), Expiry::Never);
        self.put_in(SpaceId::NAMES, next_key, number(SpaceId(space.0 + 1)), Expiry::Never);
        Ok(space)
    }

    /// Lets each of two names mean what the other meant; a name without a database gets a new one first.
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Read`]
    pub fn swap_databases(&mut self, one: &str, other: &str) -> Result<(), Error> {
        let (one_space, other_space) = (self.create_database(one)?, self.create_database(other)?);
        if one_space != other_space {
            self.put_in(SpaceId::NAMES, name_key(one)?, number(other_space), Expiry::Never);
            self.put_in(SpaceId::NAMES, name_key(other)?, number(one_space), Expiry::Never);
        }
        Ok(())
    }
}
