//! What a row needs of a database. One adapter for each is in `stores/`.

use crate::data::{Key, Record};
use std::error::Error;
use std::path::Path;
use std::time::Instant;
use tokio::runtime::Runtime;

pub type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What an acknowledged write survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// A power failure: on disk.
    Fsync,
    /// The end of the process: handed to the kernel.
    Os,
    /// Nothing is promised.
    None,
}

/// Bytes of cache for every store that has one of its own.
pub const CACHE_BYTES: u64 = 1024 * 1024 * 1024;
/// Records in one write batch while loading, for stores that should not take a million at once.
pub const LOAD_BATCH: usize = 10_000;

/// An open database.
pub trait Store: Send + Sync + Sized {
    /// Name in the table.
    const NAME: &'static str;

    /// How writes reach `level`, `None` if the store has no such level.
    fn level(level: Level) -> Option<&'static str>;

    /// Opens or creates the database; writes are acknowledged at `level`.
    fn open(dir: &Path, level: Level) -> Result<Self>;

    /// One view for many reads.
    type Reader<'a>: Reader
    where
        Self: 'a;
    fn reader(&self) -> Result<Self::Reader<'_>>;

    /// A point read of the newest state, complete in itself.
    fn get<T>(&self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T>;

    /// At most `limit` records from `start` up, of the newest state, complete in itself.
    fn scan(&self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result;

    /// One write.
    fn put(&self, key: &[u8], value: &[u8]) -> Result;

    /// Some writes, all or nothing.
    fn put_batch(&self, records: &[Record]) -> Result;

    /// Many writes, durable at the end (unless opened below [`Level::Fsync`]), in the way the store likes best.
    fn load(&self, records: impl Iterator<Item = Record>) -> Result;

    /// Many removals, durable at the end.
    fn remove(&self, keys: impl Iterator<Item = Key>) -> Result;

    /// Waits until background work has come to rest.
    fn settle(&self) -> Result {
        Ok(())
    }

    /// Gives dead space back; false: the store has no such thing.
    fn compact(dir: &Path) -> Result<bool>;

    /// Closes cleanly.
    fn close(self) -> Result;

    /// `writers` tasks of an asynchronous runtime, each putting one record after another until `until`; how many each
    /// wrote. `None` if the store has no asynchronous writes.
    fn put_tasks<R>(
        &self,
        _writers: usize,
        _until: std::time::Instant,
        _record: R,
    ) -> Option<Result<Vec<u64>>>
    where
        R: Fn(usize, u64) -> Record + Clone + Send + Sync + 'static,
    {
        None
    }
}

/// One view.
pub trait Reader {
    fn get<T>(&mut self, key: &[u8], use_value: impl FnOnce(Option<&[u8]>) -> T) -> Result<T>;
    fn scan(&mut self, start: &[u8], limit: usize, each: impl FnMut(&[u8], &[u8])) -> Result;
}

/// [`Store::put_tasks`] on a runtime, with an asynchronous `put`.
pub fn put_in_tasks<R, P, F>(
    runtime: &Runtime,
    writers: usize,
    until: Instant,
    record: R,
    put: P,
) -> Result<Vec<u64>>
where
    R: Fn(usize, u64) -> Record + Clone + Send + Sync + 'static,
    P: Fn(Record) -> F + Clone + Send + 'static,
    F: Future<Output = Result> + Send,
{
    let tasks: Vec<_> = (0..writers)
        .map(|writer| {
            let (record, put) = (record.clone(), put.clone());
            runtime.spawn(async move {
                let mut written = 0;
                while Instant::now() < until {
                    put(record(writer, written)).await?;
                    written += 1;
                }
                Result::Ok(written)
            })
        })
        .collect();
    runtime.block_on(async {
        let mut written = Vec::new();
        for task in tasks {
            written.push(task.await??);
        }
        Ok(written)
    })
}
