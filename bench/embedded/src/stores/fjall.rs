//! fjall: log-structured merge tree.

use crate::data::{Key, Record};
use crate::store::{CACHE_BYTES, LOAD_BATCH, Level, Reader, Result, Store};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

pub struct Fjall {
    database: Database,
    keyspace: Keyspace,
    durable: bool,
}

impl Store for Fjall {
    const NAME: &'static str = "fjall";
    type Reader<'a> = &'a Fjall;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("PersistMode::SyncData after each write"),
            Level::Os => Some("PersistMode::Buffer after each write (its default)"),
            Level::None => Some("manual_journal_persist"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<Fjall> {
        // A durable write persists by itself, so the flush to the kernel in between would only cost.
        let manual = level != Level::Os;
        let database =
            Database::builder(dir).cache_size(CACHE_BYTES).manual_journal_persist(manual).open()?;
        let options = || KeyspaceCreateOptions::default().manual_journal_persist(manual);
        let keyspace = database.keyspace("bench", options)?;
        Ok(Fjall { database, keyspace, durable: level == Level::Fsync })
    }

    fn reader(&self) -> Result<&Fjall> {
        Ok(self)
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = self.keyspace.get(key)?;
        Ok(use_value(value.as_deref()))
    }

    fn scan(&self, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
        for entry in self.keyspace.range(start..).take(limit) {
            let (key, value) = entry.into_inner()?;
            each(&key, &value);
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.keyspace.insert(key, value)?;
        if self.durable {
            self.database.persist(PersistMode::SyncData)?;
        }
        Ok(())
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        let mut batch = self.database.batch();
        if self.durable {
            batch = batch.durability(Some(PersistMode::SyncData));
        }
        for record in records {
            batch.insert(&self.keyspace, record.key.as_slice(), record.value());
        }
        Ok(batch.commit()?)
    }

    fn load(&self, mut records: impl Iterator<Item = Record>) -> Result {
        loop {
            let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), LOAD_BATCH);
            for record in records.by_ref().take(LOAD_BATCH) {
                batch.insert(&self.keyspace, record.key.as_slice(), record.value());
            }
            if batch.is_empty() {
                return Ok(self.database.persist(PersistMode::SyncData)?);
            }
            batch.commit()?;
        }
    }

    fn remove(&self, mut keys: impl Iterator<Item = Key>) -> Result {
        loop {
            let mut batch = fjall::OwnedWriteBatch::with_capacity(self.database.clone(), LOAD_BATCH);
            for key in keys.by_ref().take(LOAD_BATCH) {
                batch.remove(&self.keyspace, key.as_slice());
            }
            if batch.is_empty() {
                return Ok(self.database.persist(PersistMode::SyncData)?);
            }
            batch.commit()?;
        }
    }

    fn settle(&self) -> Result {
        let mut quiet = 0;
        while quiet < 10 {
            sleep(Duration::from_millis(50));
            let busy = self.database.outstanding_flushes() > 0 || self.database.active_compactions() > 0;
            quiet = if busy { 0 } else { quiet + 1 };
        }
        Ok(())
    }

    fn compact(dir: &Path) -> Result<bool> {
        let fjall = Fjall::open(dir, Level::Fsync)?;
        fjall.keyspace.rotate_memtable_and_wait()?;
        fjall.keyspace.major_compact()?;
        fjall.settle()?;
        fjall.close()?;
        Ok(true)
    }

    fn close(self) -> Result {
        drop(self);
        Ok(())
    }
}

impl Reader for &Fjall {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        Store::get(*self, key, use_value)
    }

    fn scan(&mut self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        Store::scan(*self, start, limit, each)
    }
}
