//! SurrealKV: log-structured merge tree with an asynchronous commit pipeline.

use crate::data::{Key, Record};
use crate::store::{CACHE_BYTES, LOAD_BATCH, Level, Reader, Result, Store, put_in_tasks};
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{Thread, current, park};
use std::time::Instant;
use surrealkv::{
    CompactRangeOptions, Durability, LSMIterator, Mode, Options, Transaction, Tree, TreeBuilder,
};
use tokio::runtime::{Builder, Runtime};

pub struct SurrealKv {
    // Shared, not cloned: a dropped clone of a tree closes it for all.
    tree: Arc<Tree>,
    runtime: Runtime,
    durability: Durability,
}

impl SurrealKv {
    fn write(
        &self,
        durability: Durability,
        mut write: impl FnMut(&mut Transaction) -> surrealkv::Result<()>,
    ) -> Result {
        loop {
            let mut transaction = self.tree.begin_with_mode(Mode::WriteOnly)?.with_durability(durability);
            write(&mut transaction)?;
            let _inside = self.runtime.enter();
            match block_on(transaction.commit()) {
                // Two blind writes of one key at once: the loser tries again, as an application would.
                Err(surrealkv::Error::TransactionWriteConflict) => continue,
                outcome => return Ok(outcome?),
            }
        }
    }

    fn write_many<T>(
        &self,
        items: impl Iterator<Item = T>,
        write: impl Fn(&mut Transaction, T) -> surrealkv::Result<()>,
    ) -> Result {
        let mut items = items.peekable();
        while items.peek().is_some() {
            // One writer alone: nothing to conflict with, so nothing is tried twice.
            self.write(Durability::Eventual, |transaction| {
                items.by_ref().take(LOAD_BATCH).try_for_each(|item| write(transaction, item))
            })?;
        }
        Ok(self.tree.flush_wal(true)?)
    }
}

impl Store for SurrealKv {
    const NAME: &'static str = "surrealkv";
    type Reader<'a> = SurrealKvReader;

    fn level(level: Level) -> Option<&'static str> {
        match level {
            Level::Fsync => Some("Durability::Immediate, preallocated log"),
            Level::Os | Level::None => Some("Durability::Eventual (its default)"),
        }
    }

    fn open(dir: &Path, level: Level) -> Result<SurrealKv> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let options = Options::default().with_path(dir.to_path_buf()).with_wal_preallocation(true);
        let tree = runtime.block_on(async {
            TreeBuilder::with_options(options)
                .with_block_cache_capacity(CACHE_BYTES)
                .without_compression()
                .build()
        })?;
        let durability = if level == Level::Fsync { Durability::Immediate } else { Durability::Eventual };
        Ok(SurrealKv { tree: Arc::new(tree), runtime, durability })
    }

    fn reader(&self) -> Result<SurrealKvReader> {
        Ok(SurrealKvReader(self.tree.begin_with_mode(Mode::ReadOnly)?))
    }

    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        self.reader()?.get(key, use_value)
    }

    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result {
        self.reader()?.scan(start, limit, each)
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result {
        self.write(self.durability, |transaction| transaction.set(key, value))
    }

    fn put_batch(&self, records: &[Record]) -> Result {
        self.write(self.durability, |transaction| {
            records.iter().try_for_each(|record| transaction.set(record.key.as_slice(), record.value()))
        })
    }

    fn load(&self, records: impl Iterator<Item = Record>) -> Result {
        self.write_many(records, |transaction, record| transaction.set(record.key.as_slice(), record.value()))
    }

    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result {
        self.write_many(keys, |transaction, key| transaction.delete(key.as_slice()))
    }

    fn settle(&self) -> Result {
        // It has no call to wait for its background work.
        std::thread::sleep(std::time::Duration::from_secs(1));
        Ok(())
    }

    fn compact(dir: &Path) -> Result<bool> {
        let store = SurrealKv::open(dir, Level::Fsync)?;
        store.tree.compact_range(None, None, &CompactRangeOptions::default())?;
        store.close()?;
        Ok(true)
    }

    fn close(self) -> Result {
        Ok(self.runtime.block_on(self.tree.close())?)
    }

    fn put_tasks<R>(&self, writers: usize, until: Instant, record: R) -> Option<Result<Vec<u64>>>
    where
        R: Fn(usize, u64) -> Record + Clone + Send + Sync + 'static,
    {
        let (tree, durability) = (Arc::clone(&self.tree), self.durability);
        let put = move |record: Record| {
            let tree = Arc::clone(&tree);
            async move {
                let mut transaction = tree.begin_with_mode(Mode::WriteOnly)?.with_durability(durability);
                transaction.set(record.key.as_slice(), record.value())?;
                Ok(transaction.commit().await?)
            }
        };
        Some(put_in_tasks(&self.runtime, writers, until, record, put))
    }
}

pub struct SurrealKvReader(Transaction);

impl Reader for SurrealKvReader {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T> {
        let value = self.0.get(key)?;
        Ok(use_value(value.as_deref()))
    }

    fn scan(&mut self, start: &[u8], limit: usize, mut each: impl FnMut(&[u8], &[u8])) -> Result {
        let mut entries = self.0.scan(start..)?;
        let mut valid = entries.seek_first()?;
        for _ in 0..limit {
            if !valid {
                break;
            }
            each(entries.key().user_key(), &entries.value_ref()?);
            valid = entries.next()?;
        }
        Ok(())
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

thread_local! {
    static UNPARK: Waker = Waker::from(Arc::new(Unpark(current())));
}

/// Waits for a future in this thread, at the least cost.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    UNPARK.with(|waker| {
        loop {
            match future.as_mut().poll(&mut Context::from_waker(waker)) {
                Poll::Ready(output) => return output,
                Poll::Pending => park(),
            }
        }
    })
}
