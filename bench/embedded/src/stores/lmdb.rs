//! LMDB through heed: memory-mapped copy-on-write B+tree.

use crate::data::{Key, Record};
use crate::store::{Level, Reader, Result, Store};
use heed::types::Bytes;
use heed::{CommitOrAbort, CompactionOption, Env, EnvFlags, EnvOpenOptions, RoTxn, WithTls};
use std::ops::Bound;
use std::path::Path;

const MAP_BYTES: usize = 64 * 1024 * 1024 * 1024;

type Database = heed::Database<'static, Bytes, Bytes>;

pub struct Lmdb {
    env: Env,
    database: Database,
}

fn open_env(dir: &Path, flags: EnvFlags) -> Result<Env> {
    // SAFETY: the directory is the benchmark's own; no other process touches the file while it is mapped, and losing
    // it after a crash of the machine (NO_SYNC) is accepted.
    Ok(unsafe { EnvOpenOptions::new().map_size(MAP_BYTES).max_readers(256).flags(flags).open(dir)? })
}

impl Store for Lmdb {
    const NAME: &'static str = "lmdb";
    type Reader<'a> = LmdbReader<'a>;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("its default: fdatasync and an O_DSYNC write for each commit"),
            Level::Os | Level::None => Some("MDB_NOSYNC"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<Lmdb> {
        let env = open_env(dir, if level == Level::Fsync { EnvFlags::empty() } else { EnvFlags::NO_SYNC })?;
        let transaction = env.write_txn()?;
        let database = env
            .create_databases_and_commit(transaction, |opener, transaction| {
                let database = opener.create_database::<Bytes, Bytes>(transaction, None)?;
                heed::Result::Ok(CommitOrAbort::<_, ()>::Commit(database))
            })?
            .unwrap_commit();
        Ok(Lmdb { env, database })
    }

    fn reader(&self) -> Result<LmdbReader<'_>> {
        Ok(LmdbReader { transaction: self.env.read_txn()?, database: self.database })
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        self.reader()?.get(key, use_value)
    }

    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        self.reader()?.scan(start, limit, each)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        let mut transaction = self.env.write_txn()?;
        self.database.put(&mut transaction, key, value)?;
        Ok(transaction.commit()?)
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        self.load(records.iter().cloned())
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        let mut transaction = self.env.write_txn()?;
        for record in records {
            self.database.put(&mut transaction, &record.key, record.value())?;
        }
        Ok(transaction.commit()?)
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        let mut transaction = self.env.write_txn()?;
        for key in keys {
            self.database.delete(&mut transaction, &key)?;
        }
        Ok(transaction.commit()?)
    }

    fn compact(dir: &Path) -> Result<bool> {
        let env = open_env(dir, EnvFlags::empty())?;
        let copy = dir.join("copy.mdb");
        env.copy_to_path(&copy, CompactionOption::Enabled)?.sync_all()?;
        env.prepare_for_closing().wait();
        std::fs::rename(copy, dir.join("data.mdb"))?;
        Ok(true)
    }

    fn close(self) -> Result {
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

pub struct LmdbReader<'a> {
    transaction: RoTxn<'a, WithTls>,
    database: Database,
}

impl Reader for LmdbReader<'_> {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        Ok(use_value(self.database.get(&self.transaction, key)?))
    }

    fn scan(&mut self, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
        let range = (Bound::Included(start), Bound::Unbounded);
        for entry in self.database.range(&self.transaction, &range)?.take(limit) {
            let (key, value) = entry?;
            each(key, value);
        }
        Ok(())
    }
}
