//! OrchardDB itself.

use crate::data::{Key, Record};
use crate::store::{LOAD_BATCH, Level, Reader, Result, Store, put_in_tasks};
use orcharddb::{Commit, Db, Durability, KeyRange, Options, Snapshot, SpaceId, Value};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Builder;

const SPACE: SpaceId = SpaceId::DEFAULT;

pub struct OrchardDb(Db);

fn key_of(bytes: &[u8]) -> Result<orcharddb::Key> {
    Ok(orcharddb::Key::new(bytes.to_vec())?)
}

impl OrchardDb {
    /// Commits of many, none waited for but the last: what the log holds before it is then durable too.
    fn write_many<T>(
        &self,
        items: impl Iterator<Item = T>,
        add: impl Fn(Commit, T) -> Result<Commit>,
    ) -> Result {
        let mut items = items.peekable();
        while items.peek().is_some() {
            let commit = items.by_ref().take(LOAD_BATCH).try_fold(Commit::new(), &add)?;
            let durability = if items.peek().is_some() { Some(Durability::None) } else { None };
            self.0.submit(&commit, durability).wait()?;
        }
        Ok(())
    }
}

impl Store for OrchardDb {
    const NAME: &'static str = "orcharddb";
    type Reader<'a> = Snapshot;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("Durability::Fsync (its default)"),
            Level::Os => Some("Durability::Os"),
            Level::None => Some("Durability::None"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<OrchardDb> {
        let durability = match level {
            Level::Fsync => Durability::Fsync,
            Level::Os => Durability::Os,
            Level::None => Durability::None,
        };
        Ok(OrchardDb(Options { durability, ..Options::default() }.open(dir)?))
    }

    fn reader(&self) -> Result<Snapshot> {
        Ok(self.0.snapshot())
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        Ok(self.0.get_with_in(SPACE, key, |entry| use_value(entry.map(|entry| entry.value)))?)
    }

    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        each_of(&self.0.snapshot(), start, limit, each)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.0.put(key_of(key)?, Value::bytes(value.to_vec()))?;
        Ok(())
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        let commit = records.iter().try_fold(Commit::new(), |commit, record| {
            Result::Ok(commit.set(SPACE, key_of(&record.key)?, record.value()))
        })?;
        self.0.commit(&commit)?;
        Ok(())
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        self.write_many(records, |commit, record| Ok(commit.set(SPACE, key_of(&record.key)?, record.value())))
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        self.write_many(keys, |commit, key| Ok(commit.delete(SPACE, key_of(&key)?)))
    }

    fn compact(dir: &Path) -> Result<bool> {
        let store = OrchardDb::open(dir, Level::Fsync)?;
        store.0.compact()?;
        store.close()?;
        Ok(true)
    }

    fn close(self) -> Result {
        Ok(self.0.close()?)
    }

    fn put_tasks<R>(&self, writers: usize, until: Instant, record: R) -> Option<Result<Vec<u64>>>
    where
        R: Fn(usize, u64) -> Record + Clone + Send + Sync + 'static,
    {
        let database = self.0.clone();
        let put = move |record: Record| {
            let database = database.clone();
            async move {
                let commit = Commit::new().set(SPACE, key_of(&record.key)?, record.value());
                database.submit(&commit, None).await?;
                Ok(())
            }
        };
        let runtime = Builder::new_multi_thread().build().map_err(Into::into);
        Some(runtime.and_then(|runtime| put_in_tasks(&runtime, writers, until, record, put)))
    }
}

impl Reader for Snapshot {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        Ok(self.get_with_in(SPACE, key, |entry| use_value(entry.map(|entry| entry.value)))?)
    }

    fn scan(&mut self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        each_of(self, start, limit, each)
    }
}

/// Entries where they lie, as LMDB shows them.
fn each_of(view: &Snapshot, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
    let mut left = limit;
    let range = KeyRange::new(start.to_vec(), None)?;
    Ok(view.for_each_in(SPACE, &range, false, |entry| {
        each(entry.key, entry.value);
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?)
}
