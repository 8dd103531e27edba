//! The workloads of YCSB: what each thread does is decided before the clock starts, and checked after it has stopped.

use crate::data::{self, KEY_LEN, Key, Rng, Shape, Zipfian};
use crate::measure::{Bench, in_threads};
use crate::store::{Level, Reader, Result, Store};
use crate::verify::{verify, verify_value};
use std::time::Duration;

/// Percentages of the operations; `latest`: what was written last is read most, else a zipfian choice.
#[derive(Clone, Copy)]
pub struct Ycsb {
    read: u64,
    update: u64,
    insert: u64,
    pub scan: u64,
    modify: u64,
    latest: bool,
}

const fn ycsb(read: u64, update: u64, insert: u64, scan: u64, modify: u64, latest: bool) -> Ycsb {
    Ycsb { read, update, insert, scan, modify, latest }
}

pub const A: Ycsb = ycsb(50, 50, 0, 0, 0, false);
pub const B: Ycsb = ycsb(95, 5, 0, 0, 0, false);
pub const C: Ycsb = ycsb(100, 0, 0, 0, 0, false);
pub const D: Ycsb = ycsb(95, 0, 5, 0, 0, true);
pub const E: Ycsb = ycsb(0, 0, 5, 95, 0, false);
pub const F: Ycsb = ycsb(50, 0, 0, 0, 50, false);

impl Bench {
    pub(crate) fn ycsb<S: Store>(
        &self,
        level: Level,
        workload: Ycsb,
        threads: usize,
    ) -> Result<(u64, Duration)> {
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
