//! Durable single puts of many threads, counted rather than timed, for a machine that others use too:
//! `cargo run --release -p orcharddb --example durable -- DIR [PUTS [SYNC_US [THREADS...]]]`.
//!
//! With SYNC_US above 0 a sync takes that long and no disk is asked, which is for a directory in memory: the same each
//! time, whatever else the machine writes.
//!
//! Each line: threads, puts a second, puts to a group, voluntary and other context switches a put, CPU microseconds a
//! put, and how long a sync took. The first line is the disk alone: 4 KiB into written blocks, then fdatasync.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a program for looking")]

use orchard_env::{Disk, DiskFile, DiskLock, Env, LockError, OpenMode, RealDisk, SystemClock, SystemRandom};
use orcharddb::{Db, Options};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A disk whose syncs take a while and do nothing.
struct Slow(RealDisk, Duration);

struct SlowFile(Arc<dyn DiskFile>, Duration);

impl DiskFile for SlowFile {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset_bytes, buffer)
    }

    fn write_all_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset_bytes, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(self.1);
        Ok(())
    }

    fn len_bytes(&self) -> io::Result<u64> {
        self.0.len_bytes()
    }

    fn set_len_bytes(&self, length_bytes: u64) -> io::Result<()> {
        self.0.set_len_bytes(length_bytes)
    }
}

impl Disk for Slow {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.open(path, mode)?, self.1)))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn available_bytes(&self) -> io::Result<u64> {
        self.0.available_bytes()
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, LockError> {
        self.0.lock(path)
    }

    fn lock_existing(&self, path: &str) -> Result<Option<Box<dyn DiskLock>>, LockError> {
        self.0.lock_existing(path)
    }

    fn location(&self) -> String {
        self.0.location()
    }
}

/// How many syncs a second the disk alone does: 4 KiB into written blocks each time.
fn syncs_per_second(path: &str) -> f64 {
    let file = File::create(path).unwrap();
    let block = vec![1u8; 4096];
    (0..1_000u64).for_each(|place| file.write_all_at(&block, place * 4096).unwrap());
    file.sync_all().unwrap();
    let start = Instant::now();
    for place in 0..1_000u64 {
        file.write_all_at(&block, place * 4096).unwrap();
        file.sync_data().unwrap();
    }
    fs::remove_file(path).unwrap();
    1_000.0 / start.elapsed().as_secs_f64()
}

/// User and system time of this process, in clock ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// Voluntary and other context switches of one thread, or of all that live.
fn switches(of: &str) -> (u64, u64) {
    let status = fs::read_to_string(of).unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
    };
    (number("voluntary_ctxt"), number("nonvoluntary_ctxt"))
}

fn all_switches() -> (u64, u64) {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let each = tasks.map(|task| switches(task.unwrap().path().join("status").to_str().unwrap()));
    each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let dir = arguments.first().cloned().unwrap_or_else(|| "target/durable".into());
    let puts: u64 = arguments.get(1).map_or(200_000, |count| count.parse().unwrap());
    let sync_us: u64 = arguments.get(2).map_or(0, |time| time.parse().unwrap());
    let threads: Vec<u64> = arguments.iter().skip(3).map(|count| count.parse().unwrap()).collect();
    let threads = if threads.is_empty() { vec![1, 4, 16, 64, 256] } else { threads };
    fs::create_dir_all(&dir).unwrap();
    let db_dir = format!("{dir}/db");
    let db = if sync_us == 0 {
        println!("disk: {:.0} fdatasync/s", syncs_per_second(&format!("{dir}/disk")));
        Db::open(&db_dir).unwrap()
    } else {
        let disk =
            Slow(RealDisk::open(std::path::Path::new(&db_dir)).unwrap(), Duration::from_micros(sync_us));
        let (clock, random) = (Arc::new(SystemClock::new()), Arc::new(SystemRandom));
        let options = Options { memory_limit_bytes: Some(4 << 30), ..Options::default() };
        options.open_env(Env { disk: Arc::new(disk), clock, random }).unwrap()
    };
    for threads in threads {
        let each = if threads == 1 { puts / 20 } else { puts / threads };
        let (before, ticks, idle) = (db.stats(), cpu_ticks(), all_switches());
        let start = Instant::now();
        let mut switched = (0, 0);
        std::thread::scope(|scope| {
            let writers: Vec<_> = (0..threads)
                .map(|thread| {
                    let db = &db;
                    scope.spawn(move || {
                        for number in 0..each {
                            let key = format!(
                                "{:022}",
                                (thread << 32 | number).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                            );
                            db.put(key, vec![7u8; 100]).unwrap();
                        }
                        switches("/proc/thread-self/status")
                    })
                })
                .collect();
            for writer in writers {
                let one = writer.join().unwrap();
                switched = (switched.0 + one.0, switched.1 + one.1);
            }
        });
        let seconds = start.elapsed().as_secs_f64();
        let (after, busy) = (db.stats(), all_switches());
        let commits = (after.commits - before.commits) as f64;
        println!(
            "{threads:4} threads: {:>8.0} /s  {:5.1} to a group  {:5.2} + {:4.2} switches  {:5.1} us CPU  sync {} us",
            commits / seconds,
            commits / (after.groups - before.groups) as f64,
            (switched.0 + busy.0 - idle.0) as f64 / commits,
            (switched.1 + busy.1 - idle.1) as f64 / commits,
            (cpu_ticks() - ticks) as f64 * 10_000.0 / commits,
            after.recent_sync_ns / 1_000,
        );
    }
    drop(db);
    fs::remove_dir_all(db_dir).unwrap();
}
