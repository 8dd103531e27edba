//! Which values stay in memory: the clock of `orchard-map` beside S3-FIFO (Yang, Zhang, Qiu, Yue, Vigfusson: "FIFO queues
//! are all you need for cache eviction", SOSP 2023) and LRU, by the share of reads that hit, on the same traces.
//!
//! The clock is modelled as the engine uses it: entries lie in the order of their hashes, a mark says that one was
//! read since the hand passed, a value that is read from disk comes back if there is room, and at the limit a 32nd of it
//! is freed at once. It has variants: whether a value comes back marked, or unmarked, so that it must be read once more before
//! the hand comes; and whether marks count to 3, the hand taking one at a time. All values have one size, so a cache is a number of entries.
//!
//! `cargo run --release [-- entries [reads]]` prints a Markdown table.

use std::collections::VecDeque;

/// What a value takes in memory, and what S3-FIFO would take for each: a place of 8 bytes in a queue, and 0.9 of one in the
/// ghost queue. The clock's mark is a bit that is there anyway.
const VALUE_BYTES: usize = 100;
const QUEUE_BYTES: usize = 15;

/// xorshift64*: the same trace each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks by Gray et al., "Quickly generating billion-record synthetic databases" (as YCSB has it).
struct Zipf {
    count: u64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    fn new(count: u64, theta: f64) -> Zipf {
        let zeta = (1..=count).map(|rank| (rank as f64).powf(-theta)).sum();
        let zeta_two = 1.0 + 0.5f64.powf(theta);
        let eta = (1.0 - (2.0 / count as f64).powf(1.0 - theta)) / (1.0 - zeta_two / zeta);
        Zipf { count, theta, zeta, alpha: 1.0 / (1.0 - theta), eta }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let rank = (self.count as f64 * (self.eta * unit - self.eta + 1.0).powf(self.alpha)) as u64;
        rank.min(self.count - 1)
    }
}

/// Entries read, in order. Ids are scattered, so that neither popularity nor key order is hash order.
struct Trace {
    name: &'static str,
    reads: Vec<u32>,
}

fn traces(entries: u64, reads: usize) -> Vec<Trace> {
    let zipf = Zipf::new(entries, 0.99);
    let scatter = |number: u64| {
        // A permutation of 0..entries: Feistel would do too; multiply by an odd number prime to it.
        ((u128::from(number) * 0x9e37_79b1) % u128::from(entries)) as u32
    };
    let zipfian = || {
        let mut random = Random(1);
        (0..reads).map(move |_| scatter(zipf.rank(&mut random))).collect::<Vec<_>>()
    };
    let base = zipfian();
    // Every tenth of the reads a scan over a part of the keys begins, a quarter of all reads belong to scans.
    let mut with_scans = Vec::with_capacity(reads);
    let mut random = Random(2);
    let scan_len = (entries / 20).max(1);
    let mut place = 0;
    while with_scans.len() < reads {
        let between = 3 * scan_len as usize;
        with_scans.extend(base.iter().cycle().skip(place).take(between));
        place = (place + between) % base.len();
        let start = random.below(entries);
        with_scans.extend((start..start + scan_len).map(|key| (key % entries) as u32));
    }
    with_scans.truncate(reads);
    // The same with whole passes: a backup or an export, once every 4 times as many reads as there are entries.
    let mut with_passes = Vec::with_capacity(reads);
    let mut place = 0;
    while with_passes.len() < reads {
        let between = 4 * entries as usize;
        with_passes.extend(base.iter().cycle().skip(place).take(between));
        place = (place + between) % base.len();
        with_passes.extend((0..entries).map(|key| key as u32));
    }
    with_passes.truncate(reads);
    // What is popular moves: every 50th of the trace the ranks go to other entries.
    let shift_every = (reads / 50).max(1);
    let moving = base
        .iter()
        .enumerate()
        .map(|(at, key)| ((u64::from(*key) + (at / shift_every) as u64 * (entries / 50)) % entries) as u32)
        .collect();
    let mut random = Random(3);
    let uniform = (0..reads).map(|_| random.below(entries) as u32).collect();
    vec![
        Trace { name: "zipfian 0.99", reads: base },
        Trace { name: "zipfian, a quarter in scans", reads: with_scans },
        Trace { name: "zipfian, whole passes", reads: with_passes },
        Trace { name: "zipfian, what is popular moves", reads: moving },
        Trace { name: "uniform", reads: uniform },
    ]
}

trait Cache {
    /// Reads an entry; whether it was there.
    fn read(&mut self, key: u32) -> bool;
}

/// The clock over entries in hash order, as the engine sweeps it.
struct Clock {
    resident: Vec<bool>,
    /// Reads since the hand passed, up to `marks_max`.
    marks: Vec<u8>,
    hand: usize,
    count: usize,
    limit: usize,
    /// What a value has when it comes back.
    marks_back: u8,
    marks_max: u8,
}

impl Clock {
    fn new(entries: usize, limit: usize, marks_back: u8, marks_max: u8) -> Clock {
        let (resident, marks) = (vec![false; entries], vec![0; entries]);
        Clock { resident, marks, hand: 0, count: 0, limit, marks_back, marks_max }
    }

    fn evict(&mut self, wanted: usize) {
        let until = self.count - wanted.min(self.count);
        while self.count > until {
            let key = self.hand;
            self.hand = (self.hand + 1) % self.resident.len();
            if self.resident[key] {
                if self.marks[key] == 0 {
                    self.resident[key] = false;
                    self.count -= 1;
                } else {
                    self.marks[key] -= 1;
                }
            }
        }
    }
}

impl Cache for Clock {
    fn read(&mut self, key: u32) -> bool {
        let key = key as usize;
        if self.resident[key] {
            self.marks[key] = (self.marks[key] + 1).min(self.marks_max);
            return true;
        }
        if self.count >= self.limit {
            self.evict((self.limit / 32).max(1));
        }
        self.resident[key] = true;
        self.marks[key] = self.marks_back;
        self.count += 1;
        false
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Queue {
    Out,
    Small,
    Main,
}

/// S3-FIFO: a small queue of a tenth, a main queue, and a ghost queue as long as the main one.
struct S3Fifo {
    queue: Vec<Queue>,
    frequency: Vec<u8>,
    /// When the entry entered the ghost queue last: it is in there while fewer than `main_limit` came after it.
    ghost: Vec<u64>,
    ghosts: u64,
    small: VecDeque<u32>,
    main: VecDeque<u32>,
    small_limit: usize,
    limit: usize,
}

impl S3Fifo {
    fn new(entries: usize, limit: usize) -> S3Fifo {
        S3Fifo {
            queue: vec![Queue::Out; entries],
            frequency: vec![0; entries],
            ghost: vec![0; entries],
            ghosts: 0,
            small: VecDeque::new(),
            main: VecDeque::new(),
            small_limit: (limit / 10).max(1),
            limit,
        }
    }

    fn evict(&mut self) {
        if self.small.len() >= self.small_limit || self.main.is_empty() {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        while let Some(key) = self.small.pop_front() {
            let place = key as usize;
            if self.frequency[place] > 1 {
                self.frequency[place] = 0;
                self.queue[place] = Queue::Main;
                self.main.push_back(key);
                if self.main.len() > self.limit - self.small_limit {
                    return self.evict_main();
                }
            } else {
                self.ghosts += 1;
                self.ghost[place] = self.ghosts;
                self.queue[place] = Queue::Out;
                return;
            }
        }
    }

    fn evict_main(&mut self) {
        while let Some(key) = self.main.pop_front() {
            let place = key as usize;
            if self.frequency[place] > 0 {
                self.frequency[place] -= 1;
                self.main.push_back(key);
            } else {
                self.queue[place] = Queue::Out;
                return;
            }
        }
    }
}

impl Cache for S3Fifo {
    fn read(&mut self, key: u32) -> bool {
        let place = key as usize;
        if self.queue[place] != Queue::Out {
            self.frequency[place] = (self.frequency[place] + 1).min(3);
            return true;
        }
        while self.small.len() + self.main.len() >= self.limit {
            self.evict();
        }
        self.frequency[place] = 0;
        let main_limit = (self.limit - self.small_limit) as u64;
        let is_ghost = self.ghost[place] != 0 && self.ghosts - self.ghost[place] < main_limit;
        if is_ghost {
            self.ghost[place] = 0;
            self.queue[place] = Queue::Main;
            self.main.push_back(key);
        } else {
            self.queue[place] = Queue::Small;
            self.small.push_back(key);
        }
        false
    }
}

/// Least recently used: a queue of reads, the stale ones skipped.
struct Lru {
    last: Vec<u64>,
    reads: VecDeque<(u32, u64)>,
    clock: u64,
    count: usize,
    limit: usize,
}

impl Lru {
    fn new(entries: usize, limit: usize) -> Lru {
        Lru { last: vec![0; entries], reads: VecDeque::new(), clock: 0, count: 0, limit }
    }
}

impl Cache for Lru {
    fn read(&mut self, key: u32) -> bool {
        self.clock += 1;
        let hit = std::mem::replace(&mut self.last[key as usize], self.clock) != 0;
        self.reads.push_back((key, self.clock));
        if !hit {
            self.count += 1;
            while self.count > self.limit {
                let Some((key, at)) = self.reads.pop_front() else { break };
                if self.last[key as usize] == at {
                    self.last[key as usize] = 0;
                    self.count -= 1;
                }
            }
        }
        hit
    }
}

/// The share of hits in percent, the first half of the trace being for warming up.
fn hit_rate(cache: &mut dyn Cache, trace: &Trace) -> f64 {
    let (warm, measured) = trace.reads.split_at(trace.reads.len() / 2);
    for key in warm {
        cache.read(*key);
    }
    let hits = measured.iter().filter(|key| cache.read(**key)).count();
    hits as f64 * 100.0 / measured.len() as f64
}

fn main() {
    let numbers: Vec<usize> =
        std::env::args().skip(1).map(|number| number.parse().expect("a number")).collect();
    let entries = numbers.first().copied().unwrap_or(500_000);
    let reads = numbers.get(1).copied().unwrap_or(20 * entries);
    println!(
        "| reads | in memory | clock, back marked | clock | clock, marks to 3 | S3-FIFO | S3-FIFO, queues paid | LRU |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for trace in traces(entries as u64, reads) {
        for percent in [10, 50] {
            let limit = entries * percent / 100;
            let rates = [
                hit_rate(&mut Clock::new(entries, limit, 1, 1), &trace),
                hit_rate(&mut Clock::new(entries, limit, 0, 1), &trace),
                hit_rate(&mut Clock::new(entries, limit, 0, 3), &trace),
                hit_rate(&mut S3Fifo::new(entries, limit), &trace),
                hit_rate(
                    &mut S3Fifo::new(entries, limit * VALUE_BYTES / (VALUE_BYTES + QUEUE_BYTES)),
                    &trace,
                ),
                hit_rate(&mut Lru::new(entries, limit), &trace),
            ];
            let rates: Vec<String> = rates.iter().map(|rate| format!("{rate:.1} %")).collect();
            println!("| {} | {percent} % | {} |", trace.name, rates.join(" | "));
        }
    }
}
