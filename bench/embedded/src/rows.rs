//! The rows of the table: what is done, what is measured, and how the answers are verified.

use crate::data::{self, KEY_LEN, Key, Rng, Shape, VALUE_LEN, Zipfian};
use crate::machine::{self, Memory};
use crate::store::{Level, Reader, Result, Store};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Which way a measure is better.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Better {
    Higher,
    Lower,
}

/// One line of the table.
pub struct Metric {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: &'static str,
    pub better: Better,
}

/// One child process: a workload and the lines it fills.
pub struct Row {
    pub id: &'static str,
    pub level: Level,
    work: Work,
    pub metrics: &'static [Metric],
}

enum Work {
    Load,
    PutFor { threads: usize },
    PutTasksFor { tasks: usize },
    BatchFor,
    PutMany,
    Get { threads: usize },
    Range,
    Remove,
    Size,
    Reopen { cold: bool, killed: bool },
    Memory,
    MemoryLoaded,
    Ycsb { workload: Ycsb, threads: usize },
    Disk,
}

#[derive(Clone, Copy)]
struct Ycsb {
    read: u64,
    update: u64,
    insert: u64,
    scan: u64,
    modify: u64,
    latest: bool,
}

const fn ycsb(read: u64, update: u64, insert: u64, scan: u64, modify: u64, latest: bool) -> Ycsb {
    Ycsb { read, update, insert, scan, modify, latest }
}

const A: Ycsb = ycsb(50, 50, 0, 0, 0, false);
const B: Ycsb = ycsb(95, 5, 0, 0, 0, false);
const C: Ycsb = ycsb(100, 0, 0, 0, 0, false);
const D: Ycsb = ycsb(95, 0, 5, 0, 0, true);
const E: Ycsb = ycsb(0, 0, 5, 95, 0, false);
const F: Ycsb = ycsb(50, 0, 0, 0, 50, false);

/// The store that is no store: the disk itself.
pub const DISK: &str = "disk";

macro_rules! metrics {
    ($($id:literal, $title:literal, $unit:literal, $better:ident;)*) => {
        &[$(Metric { id: $id, title: $title, unit: $unit, better: Better::$better },)*]
    };
}

/// Every row, in the order of the table.
pub const ROWS: &[Row] = &[
    Row {
        id: "disk",
        level: Level::Fsync,
        work: Work::Disk,
        metrics: metrics! {
            "disk_append", "disk: 256 B appended + fdatasync", "syncs/s", Higher;
            "disk_rewrite", "disk: 256 B into written space + fdatasync", "syncs/s", Higher;
            "disk_append_64", "disk: 64 x 256 B appended + fdatasync", "records/s", Higher;
            "disk_rewrite_64", "disk: 64 x 256 B into written space + fdatasync", "records/s", Higher;
        },
    },
    Row {
        id: "load",
        level: Level::Fsync,
        work: Work::Load,
        metrics: metrics! { "load", "bulk load in random order, durable at the end", "keys/s", Higher; },
    },
    Row {
        id: "durable_1",
        level: Level::Fsync,
        work: Work::PutFor { threads: 1 },
        metrics: metrics! { "durable_1", "durable single writes, 1 thread", "keys/s", Higher; },
    },
    Row {
        id: "durable_64",
        level: Level::Fsync,
        work: Work::PutFor { threads: 64 },
        metrics: metrics! { "durable_64", "durable single writes, 64 threads", "keys/s", Higher; },
    },
    Row {
        id: "durable_64_tasks",
        level: Level::Fsync,
        work: Work::PutTasksFor { tasks: 64 },
        metrics: metrics! { "durable_64_tasks", "durable single writes, 64 async tasks", "keys/s", Higher; },
    },
    Row {
        id: "durable_batch",
        level: Level::Fsync,
        work: Work::BatchFor,
        metrics: metrics! { "durable_batch", "durable batches of 1,000", "keys/s", Higher; },
    },
    Row {
        id: "write_os",
        level: Level::Os,
        work: Work::PutMany,
        metrics: metrics! { "write_os", "single writes handed to the kernel, no fsync", "keys/s", Higher; },
    },
    Row {
        id: "write_none",
        level: Level::None,
        work: Work::PutMany,
        metrics: metrics! { "write_none", "single writes, nothing promised", "keys/s", Higher; },
    },
    Row {
        id: "remove",
        level: Level::Fsync,
        work: Work::Remove,
        metrics: metrics! { "remove", "removal of half the keys, durable at the end", "keys/s", Higher; },
    },
    Row {
        id: "get_1",
        level: Level::Fsync,
        work: Work::Get { threads: 1 },
        metrics: metrics! { "get_1", "random reads, 1 thread", "reads/s", Higher; },
    },
    Row {
        id: "get_2",
        level: Level::Fsync,
        work: Work::Get { threads: 2 },
        metrics: metrics! { "get_2", "random reads, 2 threads", "reads/s", Higher; },
    },
    Row {
        id: "get_4",
        level: Level::Fsync,
        work: Work::Get { threads: 4 },
        metrics: metrics! { "get_4", "random reads, 4 threads", "reads/s", Higher; },
    },
    Row {
        id: "get_8",
        level: Level::Fsync,
        work: Work::Get { threads: 8 },
        metrics: metrics! { "get_8", "random reads, 8 threads", "reads/s", Higher; },
    },
    Row {
        id: "range",
        level: Level::Fsync,
        work: Work::Range,
        metrics: metrics! { "range", "random range reads of 10", "ranges/s", Higher; },
    },
    Row {
        id: "ycsb_a_1",
        level: Level::Os,
        work: Work::Ycsb { workload: A, threads: 1 },
        metrics: metrics! { "ycsb_a_1", "YCSB A (50 % updates), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_a_2",
        level: Level::Os,
        work: Work::Ycsb { workload: A, threads: 2 },
        metrics: metrics! { "ycsb_a_2", "YCSB A (50 % updates), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_b_1",
        level: Level::Os,
        work: Work::Ycsb { workload: B, threads: 1 },
        metrics: metrics! { "ycsb_b_1", "YCSB B (5 % updates), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_b_2",
        level: Level::Os,
        work: Work::Ycsb { workload: B, threads: 2 },
        metrics: metrics! { "ycsb_b_2", "YCSB B (5 % updates), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_c_1",
        level: Level::Os,
        work: Work::Ycsb { workload: C, threads: 1 },
        metrics: metrics! { "ycsb_c_1", "YCSB C (zipfian reads), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_c_2",
        level: Level::Os,
        work: Work::Ycsb { workload: C, threads: 2 },
        metrics: metrics! { "ycsb_c_2", "YCSB C (zipfian reads), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_d_1",
        level: Level::Os,
        work: Work::Ycsb { workload: D, threads: 1 },
        metrics: metrics! { "ycsb_d_1", "YCSB D (latest, 5 % inserts), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_d_2",
        level: Level::Os,
        work: Work::Ycsb { workload: D, threads: 2 },
        metrics: metrics! { "ycsb_d_2", "YCSB D (latest, 5 % inserts), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_e_1",
        level: Level::Os,
        work: Work::Ycsb { workload: E, threads: 1 },
        metrics: metrics! { "ycsb_e_1", "YCSB E (scans of 1 to 100, 5 % inserts), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_e_2",
        level: Level::Os,
        work: Work::Ycsb { workload: E, threads: 2 },
        metrics: metrics! { "ycsb_e_2", "YCSB E (scans of 1 to 100, 5 % inserts), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_f_1",
        level: Level::Os,
        work: Work::Ycsb { workload: F, threads: 1 },
        metrics: metrics! { "ycsb_f_1", "YCSB F (50 % read-modify-write), 1 thread", "ops/s", Higher; },
    },
    Row {
        id: "ycsb_f_2",
        level: Level::Os,
        work: Work::Ycsb { workload: F, threads: 2 },
        metrics: metrics! { "ycsb_f_2", "YCSB F (50 % read-modify-write), 2 threads", "ops/s", Higher; },
    },
    Row {
        id: "size",
        level: Level::Fsync,
        work: Work::Size,
        metrics: metrics! {
            "size_before", "disk after load + overwrite of half, closed", "x live bytes", Lower;
            "size_after", "disk after compaction, closed", "x live bytes", Lower;
            "compact_s", "compaction, open and close included", "s", Lower;
        },
    },
    Row {
        id: "reopen",
        level: Level::Fsync,
        work: Work::Reopen { cold: false, killed: false },
        metrics: metrics! {
            "reopen", "reopen + first read, clean, in page cache", "ms", Lower;
            "reopen_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "reopen_cold",
        level: Level::Fsync,
        work: Work::Reopen { cold: true, killed: false },
        metrics: metrics! {
            "reopen_cold", "reopen + first read, clean, page cache dropped", "ms", Lower;
            "reopen_cold_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "reopen_killed",
        level: Level::Fsync,
        work: Work::Reopen { cold: false, killed: true },
        metrics: metrics! {
            "reopen_killed", "reopen + first read after SIGKILL", "ms", Lower;
            "reopen_killed_all", "the same + every key read once", "ms", Lower;
        },
    },
    Row {
        id: "memory",
        level: Level::Fsync,
        work: Work::Memory,
        metrics: metrics! {
            "memory_anon", "private memory per entry, reopened, all read", "B", Lower;
            "memory_rss", "RSS per entry (mapped files too), reopened, all read", "B", Lower;
        },
    },
    Row {
        id: "memory_loaded",
        level: Level::Fsync,
        work: Work::MemoryLoaded,
        metrics: metrics! { "memory_loaded", "private memory per entry, just loaded", "B", Lower; },
    },
];

pub fn row(id: &str) -> Option<&'static Row> {
    ROWS.iter().find(|row| row.id == id)
}

/// How much of everything.
#[derive(Clone)]
pub struct Size {
    /// 1: a million records.
    pub scale: f64,
    /// Length of the rows that run for a time.
    pub seconds: f64,
}

impl Size {
    fn of(&self, full: u64) -> u64 {
        ((full as f64 * self.scale) as u64).max(1_000)
    }

    fn records(&self) -> u64 {
        self.of(1_000_000)
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

type Measures = Vec<(&'static str, f64)>;

/// A wrong answer: the process ends with its own exit code, and the whole benchmark with it.
pub const WRONG_ANSWER: i32 = 3;

#[derive(Debug)]
pub struct WrongAnswer(String);

impl WrongAnswer {
    pub fn of(what: String) -> WrongAnswer {
        WrongAnswer(what)
    }
}

impl std::fmt::Display for WrongAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "wrong answer: {}", self.0)
    }
}

impl std::error::Error for WrongAnswer {}

fn verify(right: bool, what: impl FnOnce() -> String) -> Result {
    if right { Ok(()) } else { Err(Box::new(WrongAnswer(what()))) }
}

fn verify_value(key: &[u8], value: Option<&[u8]>) -> Result {
    verify(value.is_some_and(|value| data::check(key, value)), || match value {
        Some(value) => format!("key {} has {}", key.escape_ascii(), value.escape_ascii()),
        None => format!("key {} is missing", key.escape_ascii()),
    })
}

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
    fn loaded<S: Store>(&self, level: Level, shape: Shape) -> Result<S> {
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

    fn ycsb<S: Store>(&self, level: Level, workload: Ycsb, threads: usize) -> Result<(u64, Duration)> {
        // A store without this level runs at the next lower one; the table says so.
        let level = if S::level(level).is_some() { level } else { Level::None };
        let store: S = self.loaded(level, Shape::Ycsb)?;
        let records = self.size.records();
        let operations = self.size.of(if workload.scan > 0 { 200_000 } else { 1_000_000 }) / threads as u64;
        let streams: Vec<Vec<Operation>> =
            (0..threads).map(|thread| operations_of(workload, records, operations, thread)).collect();
        let full_scans_below = if workload.scan > 0 { last_scan_start(records) } else { [0; KEY_LEN] };

        let (time, _) = in_threads(threads, |thread, _| {
            for (number, operation) in streams[thread].iter().enumerate() {
                let nonce = nonce_of(thread, number);
                let key = &operation.key;
                match operation.kind {
                    Kind::Read => store.get(key, |value| verify_value(key, value))??,
                    Kind::Update | Kind::Insert => put_value(&store, key, nonce)?,
                    Kind::Modify => {
                        store.get(key, |value| verify_value(key, value))??;
                        put_value(&store, key, nonce)?;
                    }
                    Kind::Scan(limit) => {
                        let limit = usize::from(limit);
                        let (mut count, mut right, mut last) = (0, true, *key);
                        store.scan(key, limit, |key, value| {
                            right &= data::check(key, value) && (key > last.as_slice() || count == 0);
                            last.copy_from_slice(key);
                            count += 1;
                        })?;
                        let enough = count == limit || *key >= full_scans_below;
                        verify(right && enough, || {
                            format!("scan of {limit} from {} gave {count}", key.escape_ascii())
                        })?;
                    }
                }
            }
            Ok(())
        })?;
        verify_ycsb(&store, records, &streams)?;
        store.close()?;
        Ok((operations * threads as u64, time))
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

const KILLED_BATCHES: u64 = 10;

/// The index of a record that is not among the loaded ones.
fn fresh(thread: usize, number: u64) -> u64 {
    (thread as u64 + 1) << 40 | number
}

fn verify_fresh<S: Store>(store: &S, written: &[u64]) -> Result {
    for (thread, written) in written.iter().enumerate() {
        read_all(store, Shape::Random, fresh(thread, 0)..fresh(thread, *written))?;
    }
    Ok(())
}

fn read_all<S: Store>(store: &S, shape: Shape, indexes: std::ops::Range<u64>) -> Result {
    let mut reader = store.reader()?;
    for index in indexes {
        let key = shape.key(index);
        reader.get(&key, |value| verify_value(&key, value))??;
    }
    Ok(())
}

/// Runs `work(thread, start)` in so many threads at once; the time from the first start to the last end.
fn in_threads<T: Send>(
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

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Read,
    Update,
    Insert,
    Modify,
    Scan(u8),
}

/// One operation, decided before the clock starts.
struct Operation {
    key: Key,
    kind: Kind,
    index: u32,
}

fn operations_of(workload: Ycsb, records: u64, operations: u64, thread: usize) -> Vec<Operation> {
    let zipfian = Zipfian::new(records, 0.99);
    let mut rng = Rng::new(300 + thread as u64);
    let mut inserted = 0;
    let make = |kind, index: u64| Operation { key: Shape::Ycsb.key(index), kind, index: index as u32 };
    // Inserted records of all threads follow the loaded ones.
    let inserted_index = |number: u64| records + number * 2 + thread as u64;
    (0..operations)
        .map(|_| {
            let choice = rng.below(100);
            if choice < workload.insert {
                inserted += 1;
                return make(Kind::Insert, inserted_index(inserted - 1));
            }
            let rank = zipfian.rank(&mut rng);
            // The hot keys are spread over the order of loading; 7919 is prime.
            let index = match workload.latest {
                false => rank * 7_919 % records,
                true if rank < inserted => inserted_index(inserted - 1 - rank),
                true => records - 1 - (rank - inserted),
            };
            let choice = choice - workload.insert;
            let kind = if choice < workload.read {
                Kind::Read
            } else if choice < workload.read + workload.update {
                Kind::Update
            } else if choice < workload.read + workload.update + workload.modify {
                Kind::Modify
            } else {
                debug_assert!(workload.scan > 0);
                Kind::Scan(1 + rng.below(100) as u8)
            };
            make(kind, index)
        })
        .collect()
}

/// Scans of up to 100 that start below this key find enough.
fn last_scan_start(records: u64) -> Key {
    let mut keys: Vec<Key> = (0..records).map(|index| Shape::Ycsb.key(index)).collect();
    keys.sort_unstable();
    keys[keys.len().saturating_sub(100)]
}

fn nonce_of(thread: usize, number: usize) -> u64 {
    (thread as u64 + 1) << 32 | number as u64
}

fn put_value<S: Store>(store: &S, key: &Key, nonce: u64) -> Result {
    let mut value = [0; data::YCSB_VALUE_LEN];
    data::fill(key, nonce, &mut value);
    store.put(key, &value)
}

/// Every record is there, and holds the last value that one of the threads wrote to it.
fn verify_ycsb<S: Store>(store: &S, records: u64, streams: &[Vec<Operation>]) -> Result {
    let end = streams
        .iter()
        .flatten()
        .map(|operation| u64::from(operation.index) + 1)
        .max()
        .unwrap_or(0)
        .max(records);
    // For each thread: the last nonce of each record, 0 if it never wrote it.
    let mut last = vec![vec![0; end as usize]; streams.len()];
    for (thread, operations) in streams.iter().enumerate() {
        for (number, operation) in operations.iter().enumerate() {
            if matches!(operation.kind, Kind::Update | Kind::Insert | Kind::Modify) {
                last[thread][operation.index as usize] = nonce_of(thread, number);
            }
        }
    }
    let mut reader = store.reader()?;
    for index in 0..end {
        let possible: Vec<u64> =
            last.iter().map(|last| last[index as usize]).filter(|nonce| *nonce != 0).collect();
        if index >= records && possible.is_empty() {
            continue;
        }
        let key = Shape::Ycsb.key(index);
        reader.get(&key, |value| {
            verify_value(&key, value)?;
            let nonce = value.map_or(0, data::nonce);
            let right = if possible.is_empty() { nonce == 0 } else { possible.contains(&nonce) };
            verify(right, || format!("key {} lost an update", key.escape_ascii()))
        })??;
    }
    Ok(())
}

/// The directory that a child process measures in.
pub fn fresh_dir(base: &Path) -> Result<PathBuf> {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_nanos();
    let dir = base.join(format!("orchard-bench-{}-{nanos}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    Ok(dir)
}
