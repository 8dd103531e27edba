//! What a handler works on.

use super::databases;
use super::error::RedisError;
use super::looked::Looked;
use super::session::Session;
use super::value;
use crate::Server;
use bytes::Bytes;
use orcharddb::collection::{Hash, List, Set, ZSet, is_expired};
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
    /// Which keys it found.
    pub(crate) looked: Looked,
}

impl<'t> Context<'_, 't> {
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
        let found = match self.tx.entry_in(self.space, key)? {
            Some(entry) if is_expired(&mut *self.tx, self.space, &entry)? => None,
            found => found,
        };
        self.looked.note(found.is_some());
        Ok(found)
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

    /// The list at a key.
    pub(crate) fn list(&mut self, key: Key) -> Result<List<&mut Transaction<'t>>, RedisError> {
        let opened = self.tx.list_in(self.space, key);
        self.looked.note_opened(&opened, List::is_absent);
        Ok(opened?)
    }

    /// The hash at a key.
    pub(crate) fn hash(&mut self, key: Key) -> Result<Hash<&mut Transaction<'t>>, RedisError> {
        let opened = self.tx.hash_in(self.space, key);
        self.looked.note_opened(&opened, Hash::is_absent);
        Ok(opened?)
    }

    /// The set at a key.
    pub(crate) fn set(&mut self, key: Key) -> Result<Set<&mut Transaction<'t>>, RedisError> {
        let opened = self.tx.set_in(self.space, key);
        self.looked.note_opened(&opened, Set::is_absent);
        Ok(opened?)
    }

    /// The sorted set at a key.
    pub(crate) fn zset(&mut self, key: Key) -> Result<ZSet<&mut Transaction<'t>>, RedisError> {
        let opened = self.tx.zset_in(self.space, key);
        self.looked.note_opened(&opened, ZSet::is_absent);
        Ok(opened?)
    }

    /// The string at a key, if there is one.
    pub(crate) fn string(&mut self, key: &Key) -> Result<Option<Bytes>, RedisError> {
        self.entry(key)?.map(|entry| value::text_of(&entry.value)).transpose()
    }
}
