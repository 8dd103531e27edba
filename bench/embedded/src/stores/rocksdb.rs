//! RocksDB: log-structured merge tree in C++.

use crate::data::{Key, Record};
use crate::store::{CACHE_BYTES, LOAD_BATCH, Level, Reader, Result, Store};
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, DBRawIteratorWithThreadMode, Options, ReadOptions,
    SnapshotWithThreadMode, WaitForCompactOptions, WriteBatch, WriteOptions,
};
use std::path::Path;

pub struct RocksDb {
    database: DB,
    level: Level,
}

impl RocksDb {
    fn write_options(&self) -> WriteOptions {
        let mut options = WriteOptions::new();
        options.set_sync(self.level == Level::Fsync);
        options.disable_wal(self.level == Level::None);
        options
    }

    /// In batches without sync, then one sync of the log.
    fn write_many<T>(&self, mut items: impl Iterator<Item = T>, add: impl Fn(&mut WriteBatch, T)) -> Result {
        let mut options = WriteOptions::new();
        options.disable_wal(self.level == Level::None);
        loop {
            let mut batch = WriteBatch::default();
            for item in items.by_ref().take(LOAD_BATCH) {
                add(&mut batch, item);
            }
            if batch.is_empty() {
                break;
            }
            self.database.write_opt(batch, &options)?;
        }
        if self.level == Level::Fsync {
            self.database.flush_wal(true)?;
        }
        Ok(())
    }
}

fn scan_from<'a>(
    iterator: &mut DBRawIteratorWithThreadMode<'a, DB>,
    start: &[u8],
    limit: usize,
    mut each: impl FnMut(&[u8], &[u8]),
) -> Result {
    iterator.seek(start);
    for _ in 0..limit {
        let Some((key, value)) = iterator.item() else { break };
        each(key, value);
        iterator.next();
    }
    Ok(iterator.status()?)
}

impl Store for RocksDb {
    const NAME: &'static str = "rocksdb";
    type Reader<'a> = RocksDbReader<'a>;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("sync = true"),
            Level::Os => Some("sync = false (its default)"),
            Level::None => Some("disableWAL"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<RocksDb> {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES as usize));
        table.set_bloom_filter(10.0, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&table);
        options.set_compression_type(DBCompressionType::None);
        options.increase_parallelism(std::thread::available_parallelism()?.get() as i32);
        Ok(RocksDb { database: DB::open(&options, dir)?, level })
    }

    fn reader(&self) -> Result<RocksDbReader<'_>> {
        let snapshot = self.database.snapshot();
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        let iterator = self.database.raw_iterator_opt(options);
        let mut options = ReadOptions::default();
        options.set_snapshot(&snapshot);
        Ok(RocksDbReader { iterator, options, database: &self.database, _snapshot: snapshot })
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = self.database.get_pinned(key)?;
        Ok(use_value(value.as_deref()))
    }

    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        scan_from(&mut self.database.raw_iterator(), start, limit, each)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        Ok(self.database.put_opt(key, value, &self.write_options())?)
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        let mut batch = WriteBatch::default();
        for record in records {
            batch.put(record.key, record.value());
        }
        Ok(self.database.write_opt(batch, &self.write_options())?)
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        self.write_many(records, |batch, record| batch.put(record.key, record.value()))
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        self.write_many(keys, |batch, key| batch.delete(key))
    }

    fn settle(&self) -> Result {
        Ok(self.database.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn compact(dir: &Path) -> Result<bool> {
        let rocksdb = RocksDb::open(dir, Level::Fsync)?;
        rocksdb.database.compact_range::<&[u8], &[u8]>(None, None);
        rocksdb.settle()?;
        rocksdb.close()?;
        Ok(true)
    }

    fn close(self) -> Result {
        self.database.cancel_all_background_work(true);
        Ok(())
    }
}

pub struct RocksDbReader<'a> {
    // Both read the snapshot, so they are dropped before it.
    iterator: DBRawIteratorWithThreadMode<'a, DB>,
    options: ReadOptions,
    database: &'a DB,
    _snapshot: SnapshotWithThreadMode<'a, DB>,
}

impl Reader for RocksDbReader<'_> {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = self.database.get_pinned_opt(key, &self.options)?;
        Ok(use_value(value.as_deref()))
    }

    fn scan(&mut self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        scan_from(&mut self.iterator, start, limit, each)
    }
}
