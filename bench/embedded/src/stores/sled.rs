//! sled: Bw-tree over a log.

use crate::data::{Key, Record};
use crate::store::{CACHE_BYTES, Level, Reader, Result, Store};
use sled::{Batch, Db};
use std::path::Path;

pub struct Sled {
    database: Db,
    durable: bool,
}

impl Store for Sled {
    const NAME: &'static str = "sled";
    type Reader<'a> = &'a Sled;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some(
                "flush() after each write, which is sync_file_range: weaker than fsync, the drive's cache is not flushed",
            ),
            Level::Os => None,
            Level::None => Some("its default: flushed every 500 ms"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<Sled> {
        let database = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).open()?;
        Ok(Sled { database, durable: level == Level::Fsync })
    }

    fn reader(&self) -> Result<&Sled> {
        Ok(self)
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = self.database.get(key)?;
        Ok(use_value(value.as_deref()))
    }

    fn scan(&self, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
        for entry in self.database.range(start..).take(limit) {
            let (key, value) = entry?;
            each(&key, &value);
        }
        Ok(())
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.database.insert(key, value)?;
        if self.durable {
            self.database.flush()?;
        }
        Ok(())
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        let mut batch = Batch::default();
        for record in records {
            batch.insert(record.key.as_slice(), record.value());
        }
        self.database.apply_batch(batch)?;
        if self.durable {
            self.database.flush()?;
        }
        Ok(())
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        for record in records {
            self.database.insert(record.key, record.value())?;
        }
        self.database.flush()?;
        Ok(())
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        for key in keys {
            self.database.remove(key)?;
        }
        self.database.flush()?;
        Ok(())
    }

    fn compact(_dir: &Path) -> Result<bool> {
        Ok(false)
    }

    fn close(self) -> Result {
        self.database.flush()?;
        Ok(())
    }
}

impl Reader for &Sled {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        Store::get(*self, key, use_value)
    }

    fn scan(&mut self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        Store::scan(*self, start, limit, each)
    }
}
