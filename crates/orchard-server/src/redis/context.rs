//! What a handler works on.

use super::databases;
use super::error::RedisError;
use super::session::Session;
use super::value;
use crate::Server;
use bytes::Bytes;
use orcharddb::collection::is_expired;
use orcharddb::{Entry, Expiry, Key, SpaceId, Transaction, UnixMillis, Value, tuple};

/// For a command that needs no keys.
pub(crate) struct SessionContext<'a> {
    pub(crate) server: &'a Server,
    pub(crate) session: &'a mut Session,
}

/// For a command on keys.
pub(crate) struct Context<'a, 't> {
    pub(crate) server: &'a Server,
    pub(crate) session: &'a mut Session,
    /// Reads and writes go through it; see the module's text for what it is.
    pub(crate) tx: &'a mut Transaction<'t>,
    /// The database selected.
    pub(crate) space: SpaceId,
}

impl Context<'_, '_> {
    /// The time by which expiry is judged and set.
    pub(crate) fn now(&self) -> UnixMillis {
        self.tx.now()
    }

    /// The key that a client names.
    pub(crate) fn key(&self, name: &[u8]) -> Result<Key, RedisError> {
        Ok(tuple::name(name)?)
    }

    /// The live entry of a key in the database selected.
    pub(crate) fn entry(&mut self, key: &Key) -> Result<Option<Entry>, RedisError> {
        match self.tx.entry_in(self.space, key)? {
            Some(entry) if is_expired(&mut *self.tx, self.space, &entry)? => Ok(None),
            found => Ok(found),
        }
    }

    /// Writes a key in the database selected.
    pub(crate) fn put(&mut self, key: Key, value: impl Into<Value>, expiry: Expiry) {
        self.tx.put_in(self.space, key, value, expiry);
    }

    /// Changes the expiry of a key in the database selected; its value is not written again.
    pub(crate) fn touch(&mut self, key: Key, expiry: Expiry) -> Result<(), RedisError> {
        self.tx.touch_in(self.space, key, expiry)?;
        Ok(())
    }

    /// Removes a key from the database selected.
    pub(crate) fn delete(&mut self, key: Key) {
        self.tx.delete_in(self.space, key);
    }

    /// The space of a database by its number, to write to.
    pub(crate) fn space_to_write(&mut self, database: u32) -> Result<SpaceId, RedisError> {
        databases::create_in(self.tx, database)
    }

    /// The string at a key, if there is one.
    pub(crate) fn string(&mut self, key: &Key) -> Result<Option<Bytes>, RedisError> {
        self.entry(key)?.map(|entry| value::text_of(&entry.value)).transpose()
    }
}
