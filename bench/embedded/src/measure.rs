//! What each row does and what is measured of it.

use crate::data::{self, KEY_LEN, Key, Rng, Shape, VALUE_LEN};
use crate::machine::{self, Memory};
use crate::rows::{Row, Work};
use crate::store::{Level, Reader, Result, Store};
use crate::verify::{fresh, read_all, verify, verify_fresh, verify_value};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// How much of everything.
#[derive(Clone)]
pub struct Size {
    /// 1: a million records.
    pub scale: f64,
    /// Length of the rows that run for a time.
    pub seconds: f64,
}

impl Size {
    pub(crate) fn of(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1_000)
    }

    pub(crate) fn records(&self) -> u64 {
        self.of(1_000_000)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

type Measures = Vec<(&'static str, f64)>;

/// Batches that are written before the process kills itself.
const KILLED_BATCHES: u64 = 10;

/// What a row did, without the store.
pub struct Bench {
    /// Empty, on the disk to be measured.
    pub dir: PathBuf,
    pub size: Size,
    /// How to run this program again on the same directory to prepare the data: see `prepare`.
    pub prepare: Box<dyn Fn() -> Result>,
}

impl Bench {
    fn database_dir(&self) -> Result<PathBuf> {
        let dir = self.dir.join("data");
        std::fs::create_dir_all(&dir)?;
        Ok(dir)
    }

    /// The measures of one run of `row`.
    pub fn run<S: Store>(&self, row: &'static Row) -> Result<Measures> {
        let first = row.metrics[0].id;
        let rate = |(count, time): (u64, Duration)| Ok(vec![(first, count as f64 / time.as_secs_f64())]);
        match row.work {
            Work::Load => rate(self.load::<S>()?),
            Work::PutFor { threads } => rate(self.put_for::<S>(threads)?),
            Work::PutTasksFor { tasks } => match self.put_tasks_for::<S>(tasks)? {
                Some(measure) => rate(measure),
                None => Ok(Vec::new()),
            },
            Work::BatchFor => rate(self.batch_for::<S>()?),
            Work::PutMany => rate(self.put_many::<S>(row.level)?),
            Work::Get { threads } => rate(self.get::<S>(threads)?),
            Work::Range => rate(self.range::<S>()?),
            Work::Remove => rate(self.remove::<S>()?),
            Work::Size => self.size::<S>(),
            Work::Reopen { cold, .. } => self.reopen::<S>(row, cold),
            Work::Memory => self.memory::<S>(),
            Work::MemoryLoaded => self.memory_loaded::<S>(),
            Work::Ycsb { workload, threads } => rate(self.ycsb::<S>(row.level, workload, threads)?),
            Work::Disk => Err("the disk is no store".into()),
        }
    }

    /// The store with all records in it, at rest, each read once.
    pub(crate) fn loaded<S: Store>(&self, level: Level, shape: Shape) -> Result<S> {
        let store = S::open(&self.database_dir()?, level)?;
        let records = self.size.records();
        store.load((0..records).map(|index| shape.record(index, 0)))?;
        store.settle()?;
        read_all(&store, shape, 0..records)?;
        machine::sync_disks();
        Ok(store)
    }

    fn load<S: Store>(&self) -> Result<(u64, Duration)> {
        let store = S::open(&self.database_dir()?, Level::Fsync)?;
        let records = self.size.records();
        let start = Instant::now();
        store.load((0..records).map(|index| Shape::Random.record(index, 0)))?;
        let time = start.elapsed();
        read_all(&store, Shape::Random, 0..records)?;
        store.close()?;
        Ok((records, time))
    }

    fn put_for<S: Store>(&self, threads: usize) -> Result<(u64, Duration)> {
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let length = self.size.time();
        let (time, written) = in_threads(threads, |thread, start| {
            let mut written = 0;
            while start.elapsed() < length {
                let record = Shape::Random.record(fresh(thread, written), 0);
                store.put(&record.key, record.value())?;
                written += 1;
            }
            Ok(written)
        })?;
        verify_fresh(&store, &written)?;
        store.close()?;
        Ok((written.iter().sum(), time))
    }

    fn put_tasks_for<S: Store>(&self, tasks: usize) -> Result<Option<(u64, Duration)>> {
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let start = Instant::now();
        let record = |task, written| Shape::Random.record(fresh(task, written), 0);
        let Some(written) = store.put_tasks(tasks, start + self.size.time(), record) else {
            return Ok(None);
        };
        let (written, time) = (written?, start.elapsed());
        verify_fresh(&store, &written)?;
        store.close()?;
        Ok(Some((written.iter().sum(), time)))
    }

    fn batch_for<S: Store>(&self) -> Result<(u64, Duration)> {
        const BATCH: u64 = 1_000;
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let mut written = 0;
        let start = Instant::now();
        while start.elapsed() < self.size.time() {
            let batch: Vec<_> =
                (written..written + BATCH).map(|index| Shape::Random.record(fresh(0, index), 0)).collect();
            store.put_batch(&batch)?;
            written += BATCH;
        }
        let time = start.elapsed();
        verify_fresh(&store, &[written])?;
        store.close()?;
        Ok((written, time))
    }

    fn put_many<S: Store>(&self, level: Level) -> Result<(u64, Duration)> {
        let store: S = self.loaded(level, Shape::Random)?;
        let writes = self.size.of(200_000);
        let start = Instant::now();
        for index in 0..writes {
            let record = Shape::Random.record(fresh(0, index), 0);
            store.put(&record.key, record.value())?;
        }
        let time = start.elapsed();
        verify_fresh(&store, &[writes])?;
        store.close()?;
        Ok((writes, time))
    }

    fn get<S: Store>(&self, threads: usize) -> Result<(u64, Duration)> {
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let reads = self.size.of(2_000_000) / threads as u64;
        let keys: Vec<Vec<Key>> = (0..threads)
            .map(|thread| {
                let mut rng = Rng::new(100 + thread as u64);
                (0..reads).map(|_| Shape::Random.key(rng.below(self.size.records()))).collect()
            })
            .collect();
        let (time, _) = in_threads(threads, |thread, _| {
            let mut reader = store.reader()?;
            for key in &keys[thread] {
                reader.get(key, |value| verify_value(key, value))??;
            }
            Ok(())
        })?;
        store.close()?;
        Ok((reads * threads as u64, time))
    }

    fn range<S: Store>(&self) -> Result<(u64, Duration)> {
        const LIMIT: usize = 10;
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let records = self.size.records();
        let mut sorted: Vec<Key> = (0..records).map(|index| Shape::Random.key(index)).collect();
        sorted.sort_unstable();
        let mut rng = Rng::new(200);
        let positions: Vec<usize> = (0..self.size.of(500_000)).map(|_| rng.below(records) as usize).collect();
        let starts: Vec<Key> = positions.iter().map(|position| sorted[*position]).collect();

        let order = |sum: u64, key: &[u8]| {
            (sum ^ u64::from_be_bytes(key[..8].try_into().unwrap_or_default())).wrapping_mul(0x9e37_79b9)
        };
        let mut read = 0;
        let mut wrong = None;
        let mut reader = store.reader()?;
        let start = Instant::now();
        for key in &starts {
            reader.scan(key, LIMIT, |key, value| {
                read = order(read, key);
                if !data::check(key, value) {
                    wrong = Some(verify_value(key, Some(value)));
                }
            })?;
        }
        let time = start.elapsed();
        drop(reader);
        wrong.unwrap_or(Ok(()))?;
        let expected = positions
            .iter()
            .flat_map(|position| sorted[*position..].iter().take(LIMIT))
            .fold(0, |sum, key| order(sum, key));
        verify(read == expected, || "the ranges held other keys than were written".into())?;
        store.close()?;
        Ok((starts.len() as u64, time))
    }

    fn remove<S: Store>(&self) -> Result<(u64, Duration)> {
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let removed = self.size.records() / 2;
        let start = Instant::now();
        store.remove((0..removed).map(|index| Shape::Random.key(index * 2)))?;
        let time = start.elapsed();
        let mut reader = store.reader()?;
        for index in 0..removed * 2 {
            let key = Shape::Random.key(index);
            reader.get(&key, |value| {
                if index % 2 == 1 {
                    verify_value(&key, value)
                } else {
                    verify(value.is_none(), || format!("removed key {} is there", key.escape_ascii()))
                }
            })??;
        }
        drop(reader);
        store.close()?;
        Ok((removed, time))
    }

    fn size<S: Store>(&self) -> Result<Measures> {
        let dir = self.database_dir()?;
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let records = self.size.records();
        store.load((0..records / 2).map(|index| Shape::Random.record(index * 2, 1)))?;
        store.settle()?;
        store.close()?;
        let live = (records * (KEY_LEN + VALUE_LEN) as u64) as f64;
        let mut measures = vec![("size_before", machine::allocated_bytes(&dir)? as f64 / live)];
        let start = Instant::now();
        if S::compact(&dir)? {
            let time = start.elapsed();
            measures.push(("size_after", machine::allocated_bytes(&dir)? as f64 / live));
            measures.push(("compact_s", time.as_secs_f64()));
        }
        let store = S::open(&dir, Level::Fsync)?;
        read_all(&store, Shape::Random, 0..records)?;
        store.close()?;
        Ok(measures)
    }

    /// Writes what `reopen` and `memory` read, in a process of its own, and closes it or dies.
    pub fn prepare<S: Store>(&self, row: &Row) -> Result {
        let store = S::open(&self.database_dir()?, Level::Fsync)?;
        let records = self.size.records();
        store.load((0..records).map(|index| Shape::Random.record(index, 0)))?;
        store.settle()?;
        if matches!(row.work, Work::Reopen { killed: true, .. }) {
            for batch in 0..KILLED_BATCHES {
                let indexes = batch * 1_000..(batch + 1) * 1_000;
                let batch: Vec<_> = indexes.map(|index| Shape::Random.record(fresh(0, index), 0)).collect();
                store.put_batch(&batch)?;
            }
            machine::kill_this_process();
        }
        store.close()
    }

    fn reopen<S: Store>(&self, row: &'static Row, cold: bool) -> Result<Measures> {
        (self.prepare)()?;
        let dir = self.database_dir()?;
        machine::sync_disks();
        if cold {
            machine::drop_page_cache(&dir)?;
        }
        let start = Instant::now();
        let store = S::open(&dir, Level::Fsync)?;
        let key = Shape::Random.key(0);
        store.get(&key, |value| verify_value(&key, value))??;
        let first = start.elapsed();
        read_all(&store, Shape::Random, 0..self.size.records())?;
        let all = start.elapsed();
        if matches!(row.work, Work::Reopen { killed: true, .. }) {
            verify_fresh(&store, &[KILLED_BATCHES * 1_000])?;
        }
        store.close()?;
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        Ok(vec![(row.metrics[0].id, ms(first)), (row.metrics[1].id, ms(all))])
    }

    fn memory<S: Store>(&self) -> Result<Measures> {
        (self.prepare)()?;
        let dir = self.database_dir()?;
        let records = self.size.records();
        let before = Memory::of_this_process()?;
        let store = S::open(&dir, Level::Fsync)?;
        read_all(&store, Shape::Random, 0..records)?;
        let after = Memory::of_this_process()?;
        store.close()?;
        let per_entry = |before: u64, after: u64| after.saturating_sub(before) as f64 / records as f64;
        Ok(vec![
            ("memory_anon", per_entry(before.anon_bytes, after.anon_bytes)),
            ("memory_rss", per_entry(before.rss_bytes, after.rss_bytes)),
        ])
    }

    fn memory_loaded<S: Store>(&self) -> Result<Measures> {
        let before = Memory::of_this_process()?;
        let store: S = self.loaded(Level::Fsync, Shape::Random)?;
        let after = Memory::of_this_process()?;
        store.close()?;
        let bytes = after.anon_bytes.saturating_sub(before.anon_bytes);
        Ok(vec![("memory_loaded", bytes as f64 / self.size.records() as f64)])
    }

    /// The rates of the disk itself.
    pub fn disk(&self) -> Result<Measures> {
        let rate =
            |written: bool, bytes: usize| machine::sync_rate(&self.dir, written, bytes, self.size.time());
        Ok(vec![
            ("disk_append", rate(false, 256)?),
            ("disk_rewrite", rate(true, 256)?),
            ("disk_append_64", rate(false, 64 * 256)? * 64.0),
            ("disk_rewrite_64", rate(true, 64 * 256)? * 64.0),
        ])
    }
}

/// Runs `work(thread, start)` in so many threads at once; the time from the first start to the last end.
pub(crate) fn in_threads<T: Send>(
    threads: usize,
    work: impl Fn(usize, Instant) -> Result<T> + Sync,
) -> Result<(Duration, Vec<T>)> {
    let barrier = Barrier::new(threads);
    let (work, barrier) = (&work, &barrier);
    let outcomes: Vec<(Instant, Instant, Result<T>)> = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    barrier.wait();
                    let start = Instant::now();
                    let outcome = work(thread, start);
                    (start, Instant::now(), outcome)
                })
            })
            .collect();
        handles
            .into_iter()
            .map(|handle| handle.join().map_err(|_| "a thread panicked"))
            .collect::<std::result::Result<_, _>>()
    })?;
    let first = outcomes.iter().map(|(start, ..)| *start).min();
    let last = outcomes.iter().map(|(_, end, _)| *end).max();
    let time = first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first);
    let values = outcomes.into_iter().map(|(_, _, outcome)| outcome).collect::<Result<_>>()?;
    Ok((time, values))
}

/// The directory that a child process measures in.
pub fn fresh_dir(base: &Path) -> Result<PathBuf> {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let dir = base.join(format!("orchard-bench-{}-{nanos}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
