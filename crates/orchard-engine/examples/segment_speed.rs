//! How fast segments are written and read: `cargo run --release -p orchard-engine --example segment_speed -- DIR`.
//! Prints, for several block sizes, the median of several runs in CPU time of the one thread that works, so that other
//! work on the machine counts less; everything is in the page cache. Linux only.

use orchard_engine::error::StorageError;
use orchard_engine::format::DatabaseId;
use orchard_engine::segment::{
    DIRECTORY, EntryKind, MergeIter, ScanOptions, Segment, SegmentEntry, SegmentMeta, SegmentWriter,
};
use orchard_env::{Disk, RealDisk, SeededRandom};
use std::ops::Bound;
use std::sync::Arc;

const ENTRIES: u64 = 1_000_000;
const VALUE_SIZE_BYTES: usize = 100;
const RUNS: usize = 5;
const DATABASE: DatabaseId = DatabaseId([1; 16]);

/// 24 bytes behind one byte of space: spread by a multiplication, so that neighbours share what random keys share.
fn key(number: u64) -> Vec<u8> {
    format!("\0user:{:019}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2).into_bytes()
}

fn write(
    disk: &Arc<dyn Disk>,
    number: u64,
    keys: &[(Vec<u8>, u64)],
    block: usize,
) -> Result<SegmentMeta, StorageError> {
    let mut writer = SegmentWriter::create(disk, DATABASE, number, keys.len() as u64)?.with_block_size(block);
    let value = [0x55; VALUE_SIZE_BYTES];
    for (key, stamp) in keys {
        let kind = EntryKind::Value;
        writer.push(&SegmentEntry {
            key,
            stamp: *stamp,
            kind,
            type_tag: 1,
            expires_at_ms: None,
            value: &value,
        })?;
    }
    writer.finish()
}

/// CPU time of this thread.
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or_default()
}

/// Median over the runs, in nanoseconds for each of `count`.
fn median(count: u64, mut work: impl FnMut() -> Result<(), StorageError>) -> Result<f64, StorageError> {
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let start = cpu_ns();
        work()?;
        times.push(cpu_ns() - start);
    }
    times.sort_unstable();
    Ok(times.get(RUNS / 2).copied().unwrap_or_default() as f64 / count as f64)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let directory = std::env::args().nth(1).ok_or("usage: segment_speed DIR")?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(directory)?);
    disk.create_dir(DIRECTORY)?;
    let random = SeededRandom::new(1);
    // Written in groups of a hundred commits, in random order of keys.
    let mut keys: Vec<(Vec<u8>, u64)> =
        (0..ENTRIES).map(|n| (key(n), ((n / 100) << 16) | (n % 100))).collect();
    keys.sort();
    let mut number = 0;
    println!("ns per entry; {ENTRIES} entries of {} + {VALUE_SIZE_BYTES} bytes", key(0).len());
    println!(
        "block  write  walk  back  merge of 4  get  absent  10 from a key  overhead bytes  memory bytes  open us"
    );
    for block in [2, 4, 8, 16].map(|kib| kib * 1024) {
        number += 10;
        let mut meta = None;
        let mut next = number * 1_000;
        let writing = median(ENTRIES, || {
            next += 1;
            meta = Some(write(&disk, next, &keys, block)?);
            Ok(())
        })?;
        let meta = meta.ok_or("no run")?;
        let segment = Segment::open(&disk, DATABASE, &meta)?;
        let opening = median(1, || Segment::open(&disk, DATABASE, &meta).map(drop))?;
        let mut sum = 0_u64;
        let mut walk = |reverse| {
            median(ENTRIES, || {
                let mut iter = segment.iter(
                    Bound::Unbounded,
                    Bound::Unbounded,
                    ScanOptions { reverse, newer_than: None },
                );
                while let Some(entry) = iter.next()? {
                    sum = sum.wrapping_add(entry.stamp + entry.key.len() as u64 + u64::from(entry.value[7]));
                }
                Ok(())
            })
        };
        let (forward, backward) = (walk(false)?, walk(true)?);
        let mut parts = Vec::new();
        for part in 0..4 {
            let some: Vec<_> = keys.iter().filter(|(_, stamp)| (stamp >> 16) % 4 == part).cloned().collect();
            parts.push(Segment::open(
                &disk,
                DATABASE,
                &write(&disk, number * 1_000 + 500 + part, &some, block)?,
            )?);
        }
        let merging = median(ENTRIES, || {
            let mut iter = MergeIter::new(parts.iter().map(Segment::iter_all).collect());
            while let Some(entry) = iter.next()? {
                sum = sum.wrapping_add(entry.stamp);
            }
            Ok(())
        })?;
        const GETS: u64 = 200_000;
        let getting = median(GETS, || {
            for _ in 0..GETS {
                let found = segment.get(&key(random.next_u64() % ENTRIES), u64::MAX)?;
                sum = sum.wrapping_add(found.map_or(0, |found| found.stamp));
            }
            Ok(())
        })?;
        let absent = median(GETS, || {
            for _ in 0..GETS {
                sum +=
                    u64::from(segment.get(&key(ENTRIES + random.next_u64() % ENTRIES), u64::MAX)?.is_some());
            }
            Ok(())
        })?;
        let scanning = median(GETS, || {
            for _ in 0..GETS {
                let lower = key(random.next_u64() % ENTRIES);
                let mut iter =
                    segment.iter(Bound::Included(&lower), Bound::Unbounded, ScanOptions::default());
                for _ in 0..10 {
                    sum += iter.next()?.map_or(0, |entry| entry.stamp);
                }
            }
            Ok(())
        })?;
        let overhead = (meta.file_size_bytes as f64 - meta.data_bytes() as f64) / ENTRIES as f64;
        let memory = segment.memory_bytes() as f64 / ENTRIES as f64;
        println!(
            "{block:5}  {writing:5.0}  {forward:4.1}  {backward:4.1}  {merging:10.1}  {getting:4.0}  {absent:5.0}  {scanning:13.0}  {overhead:14.2}  {memory:12.2}  {:7.0}   ({})",
            opening / 1e3,
            sum % 10
        );
        segment.mark_obsolete()?;
        for part in &parts {
            part.mark_obsolete()?;
        }
        for name in disk.list(DIRECTORY)? {
            disk.remove(&format!("{DIRECTORY}/{name}"))?;
        }
    }
    Ok(())
}
