//! redb: copy-on-write B+tree in one file.

use crate::data::{Key, Record};
use crate::store::{CACHE_BYTES, Level, Reader, Result, Store};
use redb::{Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition};
use std::path::Path;

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("bench");
const FILE: &str = "data.redb";

pub struct Redb {
    database: Database,
    durability: Durability,
}

impl Redb {
    fn write(
        &self,
        durability: Durability,
        write: impl FnOnce(&mut Table<'_, &'static [u8], &'static [u8]>) -> Result,
    ) -> Result {
        let mut transaction = self.database.begin_write()?;
        transaction.set_durability(durability)?;
        write(&mut transaction.open_table(TABLE)?)?;
        Ok(transaction.commit()?)
    }
}

impl Store for Redb {
    const NAME: &'static str = "redb";
    type Reader<'a> = RedbReader;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("Durability::Immediate"),
            Level::Os => None,
            Level::None => Some("Durability::None"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<Redb> {
        let database = Database::builder().set_cache_size(CACHE_BYTES as usize).create(dir.join(FILE))?;
        let durability = if level == Level::Fsync { Durability::Immediate } else { Durability::None };
        let redb = Redb { database, durability };
        // So that readers find the table; no write when it is there.
        if redb.database.begin_read()?.open_table(TABLE).is_err() {
            redb.write(Durability::Immediate, |_| Ok(()))?;
        }
        Ok(redb)
    }

    fn reader(&self) -> Result<RedbReader> {
        Ok(RedbReader(self.database.begin_read()?.open_table(TABLE)?))
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        self.reader()?.get(key, use_value)
    }

    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        self.reader()?.scan(start, limit, each)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.write(self.durability, |table| {
            table.insert(key, value)?;
            Ok(())
        })
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        self.write(self.durability, |table| {
            for record in records {
                table.insert(record.key.as_slice(), record.value())?;
            }
            Ok(())
        })
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        self.write(Durability::Immediate, |table| {
            for record in records {
                table.insert(record.key.as_slice(), record.value())?;
            }
            Ok(())
        })
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        self.write(Durability::Immediate, |table| {
            for key in keys {
                table.remove(key.as_slice())?;
            }
            Ok(())
        })
    }

    fn compact(dir: &Path) -> Result<bool> {
        Database::open(dir.join(FILE))?.compact()?;
        Ok(true)
    }

    fn close(self) -> Result {
        drop(self);
        Ok(())
    }
}

pub struct RedbReader(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Reader for RedbReader {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = ReadableTable::get(&self.0, key)?;
        Ok(use_value(value.as_ref().map(|value| value.value())))
    }

    fn scan(&mut self, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
        for entry in ReadableTable::range(&self.0, start..)?.take(limit) {
            let (key, value) = entry?;
            each(key.value(), value.value());
        }
        Ok(())
    }
}
