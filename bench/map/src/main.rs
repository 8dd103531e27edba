//! orchard-map against dashmap, papaya, scc and a locked `HashMap`: point reads and overwrites.
//!
//! Every map holds 1 M byte-string keys (24 bytes) with byte-string values (100 bytes), as
//! `Box<[u8]>` in the peers, and hashes keys as fast as it can (foldhash for the peers). Each read
//! sums the value's bytes in place; each write makes a value of its own. orchard-map looks
//! for the key before it takes a mutex and writes, as the engine does, keeps its ordered index up to date, and prunes what
//! it overwrote.
//!
//! `cargo run --release [-- runs [operations per run]]` prints a Markdown table.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::Instant;

use foldhash::fast::RandomState;
use orchard_map::{Content, MapReader, MapWriter, NewVersion};
use parking_lot::{Mutex, MutexGuard, RwLock};

const KEYS: u64 = 1_000_000;
const VALUE_BYTES: usize = 100;

type Key = Box<[u8]>;
type Bytes = Box<[u8]>;

trait Map: Send + Sync {
    /// Sums the value's bytes.
    fn read(&self, key: &[u8]) -> u64;
    fn write(&self, key: &[u8], value: &[u8]);
}

struct Orchard {
    writer: Mutex<(MapWriter, u64)>,
    reader: MapReader,
    visible: AtomicU64,
}

impl Orchard {
    fn new() -> Self {
        let (writer, reader) = orchard_map::create();
        Self { writer: Mutex::new((writer, 0)), reader, visible: AtomicU64::new(0) }
    }
}

impl Map for Orchard {
    fn read(&self, key: &[u8]) -> u64 {
        let guard = self.reader.pin();
        let at = self.visible.load(Ordering::Acquire);
        guard.get(key, at).and_then(|version| version.value()).map_or(0, sum)
    }

    fn write(&self, key: &[u8], value: &[u8]) {
        let hint = self.reader.hint(key);
        let (writer, stamp) = &mut *lock_soon(&self.writer);
        *stamp += 1;
        let content = Content::Value(value);
        let new = NewVersion { stamp: *stamp, type_tag: 0, expires_at_ms: None, content };
        writer.upsert_hinted(hint, |_| Some(new));
        self.visible.store(*stamp, Ordering::Release);
        writer.reclaim_lazily(*stamp, 8);
    }
}

/// As the engine takes its commit lock.
fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    for _ in 0..100 {
        if let Some(guard) = mutex.try_lock() {
            return guard;
        }
        std::hint::spin_loop();
    }
    mutex.lock()
}

struct Dash(dashmap::DashMap<Key, Bytes, RandomState>);

impl Map for Dash {
    fn read(&self, key: &[u8]) -> u64 {
        self.0.get(key).map_or(0, |value| sum(&value))
    }

    fn write(&self, key: &[u8], value: &[u8]) {
        match self.0.get_mut(key) {
            Some(mut held) => *held = value.into(),
            None => _ = self.0.insert(key.into(), value.into()),
        }
    }
}

struct Papaya(papaya::HashMap<Key, Bytes, RandomState>);

impl Map for Papaya {
    fn read(&self, key: &[u8]) -> u64 {
        self.0.pin().get(key).map_or(0, |value| sum(value))
    }

    fn write(&self, key: &[u8], value: &[u8]) {
        self.0.pin().insert(key.into(), value.into());
    }
}

struct Scc(scc::HashMap<Key, Bytes, RandomState>);

impl Map for Scc {
    fn read(&self, key: &[u8]) -> u64 {
        self.0.read_sync(key, |_, value| sum(value)).unwrap_or(0)
    }

    fn write(&self, key: &[u8], value: &[u8]) {
        if self.0.update_sync(key, |_, held| *held = value.into()).is_none() {
            self.0.upsert_sync(key.into(), value.into());
        }
    }
}

struct Locked(RwLock<HashMap<Key, Bytes, RandomState>>);

impl Map for Locked {
    fn read(&self, key: &[u8]) -> u64 {
        self.0.read().get(key).map_or(0, |value| sum(value))
    }

    fn write(&self, key: &[u8], value: &[u8]) {
        let mut map = self.0.write();
        match map.get_mut(key) {
            Some(held) => *held = value.into(),
            None => _ = map.insert(key.into(), value.into()),
        }
    }
}

#[inline(always)]
fn sum(value: &[u8]) -> u64 {
    value
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()))
        .fold(0, u64::wrapping_add)
}

fn key(n: u64) -> [u8; 24] {
    let mut key = *b"user:0000000000000000000";
    let mut rest = scramble(n);
    for digit in key[5..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn scramble(n: u64) -> u64 {
    let mut x = n.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        scramble(self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Gray et al., as in YCSB; ranks are spread over the keys.
struct Zipf {
    zeta: f64,
    eta: f64,
    alpha: f64,
}

impl Zipf {
    const THETA: f64 = 0.99;

    fn new() -> Self {
        let zeta = (1..=KEYS).map(|rank| 1.0 / (rank as f64).powf(Self::THETA)).sum::<f64>();
        let zeta2 = 1.0 + 0.5f64.powf(Self::THETA);
        let eta = (1.0 - (2.0 / KEYS as f64).powf(1.0 - Self::THETA)) / (1.0 - zeta2 / zeta);
        Self { zeta, eta, alpha: 1.0 / (1.0 - Self::THETA) }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let u = random.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            0
        } else if uz < 1.0 + 0.5f64.powf(Self::THETA) {
            1
        } else {
            let rank = (KEYS as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64;
            rank.min(KEYS - 1)
        }
    }
}

/// The operations of one thread, made before the clock runs: key number, bit 63 set for a write.
fn plan(seed: u64, operations: usize, zipf: Option<&Zipf>, reads_percent: u64) -> Vec<u64> {
    let mut random = Random(seed << 32);
    (0..operations)
        .map(|_| {
            let n = match zipf {
                Some(zipf) => scramble(zipf.rank(&mut random)) % KEYS,
                None => random.next() % KEYS,
            };
            let write = random.next() % 100 >= reads_percent;
            n | u64::from(write) << 63
        })
        .collect()
}

/// Seconds of processor time that this thread has used.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Million operations a second: of processor time for one thread, which never waits, so that
/// neighbours on the machine count less; of elapsed time for more.
fn run(map: &Arc<dyn Map>, keys: &Arc<Vec<[u8; 24]>>, plans: &[Arc<Vec<u64>>]) -> f64 {
    let barrier = Arc::new(Barrier::new(plans.len() + 1));
    let threads: Vec<_> = plans
        .iter()
        .map(|plan| {
            let (map, keys, plan, barrier) = (map.clone(), keys.clone(), plan.clone(), barrier.clone());
            std::thread::spawn(move || {
                let mut value = [1u8; VALUE_BYTES];
                let mut total = 0u64;
                barrier.wait();
                let start = thread_seconds();
                for &step in plan.iter() {
                    let key = &keys[(step & !(1 << 63)) as usize];
                    if step >> 63 == 0 {
                        total = total.wrapping_add(map.read(key));
                    } else {
                        value[0] = value[0].wrapping_add(1);
                        map.write(key, &value);
                    }
                }
                black_box(total);
                thread_seconds() - start
            })
        })
        .collect();
    barrier.wait();
    let start = Instant::now();
    let used: Vec<f64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    let seconds = if used.len() == 1 { used[0] } else { start.elapsed().as_secs_f64() };
    let operations: usize = plans.iter().map(|plan| plan.len()).sum();
    operations as f64 / seconds / 1e6
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let runs = arguments.next().unwrap_or(5);
    let operations = arguments.next().unwrap_or(2_000_000);
    let only = std::env::var("ONLY").ok();
    // `ROWS=uniform/100/1`: one row, for a profiler.
    let rows = std::env::var("ROWS").ok();

    let keys: Arc<Vec<[u8; 24]>> = Arc::new((0..KEYS).map(key).collect());
    let maps: Vec<(&str, Arc<dyn Map>)> = [
        ("orchard-map", Arc::new(Orchard::new()) as Arc<dyn Map>),
        ("dashmap", Arc::new(Dash(Default::default()))),
        ("papaya", Arc::new(Papaya(Default::default()))),
        ("scc", Arc::new(Scc(Default::default()))),
        ("RwLock<HashMap>", Arc::new(Locked(Default::default()))),
    ]
    .into_iter()
    .filter(|(name, _)| only.as_ref().is_none_or(|only| only.split(',').any(|part| name.contains(part))))
    .collect();
    for (name, map) in &maps {
        let start = Instant::now();
        for key in keys.iter() {
            map.write(key, &[1; VALUE_BYTES]);
        }
        eprintln!("{name}: loaded, {:.2} M/s", KEYS as f64 / start.elapsed().as_secs_f64() / 1e6);
    }

    let zipf = Zipf::new();
    let names: Vec<&str> = maps.iter().map(|(name, _)| *name).collect();
    println!("Million operations a second, median of {runs} runs of {operations} operations a thread.\n");
    println!("| keys | reads | threads | {} | orchard-map / best peer |", names.join(" | "));
    println!("|---|---|---|{}---|", "---|".repeat(names.len()));
    for (distribution, zipf) in [("uniform", None), ("zipfian 0.99", Some(&zipf))] {
        for reads_percent in [100, 95, 50] {
            for threads in [1, 2] {
                let row = format!("{distribution}/{reads_percent}/{threads}");
                if rows.as_ref().is_some_and(|rows| !row.contains(rows.as_str())) {
                    continue;
                }
                let plans: Vec<Arc<Vec<u64>>> = (0..threads)
                    .map(|thread| Arc::new(plan(thread + 1, operations, zipf, reads_percent)))
                    .collect();
                let mut rates = vec![Vec::new(); maps.len()];
                for _ in 0..runs {
                    for (rates, (_, map)) in rates.iter_mut().zip(&maps) {
                        rates.push(run(map, &keys, &plans));
                    }
                }
                let medians: Vec<f64> = rates.into_iter().map(median).collect();
                let best = medians.iter().skip(1).copied().fold(0.0, f64::max);
                let cells: Vec<String> = medians.iter().map(|rate| format!("{rate:.2}")).collect();
                let ratio = medians[0] / best;
                println!(
                    "| {distribution} | {reads_percent} % | {threads} | {} | {ratio:.2} |",
                    cells.join(" | ")
                );
            }
        }
    }
}
