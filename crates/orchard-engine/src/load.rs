//! From segments into an empty map: ranges of keys side by side on several threads, joined in key order.

use crate::count::Apart;
use crate::engine::EngineOptions;
use crate::error::StorageError;
use crate::expiry::ExpiryIndex;
use crate::history::OldVersions;
use crate::segment::{EntryKind, MergeIter, ScanOptions, Segment, split_keys};
use crate::state::may_be_header;
use crate::totals::Counts;
use orchard_map::{BulkRun, Content, MapWriter, NewVersion};
use std::collections::VecDeque;
use std::num::NonZero;
use std::ops::Bound;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

/// Threads at most, where the options leave it open.
const THREADS_MAX: u64 = 8;
/// And each has at least so many bytes of segments to read.
const THREAD_SEGMENT_BYTES_MIN: u64 = 4 << 20;
/// A thread that has to wait for its core shall not make the others wait long.
const RANGES_PER_THREAD: usize = 4;
/// After so many bytes of values a thread tells the others.
const VALUE_BYTES_TOLD: u64 = 64 << 10;

/// What was loaded, beside the map.
pub(crate) struct Loaded {
    pub(crate) counts: Counts,
    pub(crate) expiry: ExpiryIndex,
    /// Tombstones to leave memory.
    pub(crate) purge: VecDeque<(Vec<u8>, u64)>,
}

/// What all threads look at.
struct Source<'a> {
    options: &'a EngineOptions,
    segments: &'a [Arc<Segment>],
    history_floor: u64,
    apart: &'a Apart,
    /// Bytes of values that all threads told of.
    value_bytes: AtomicU64,
}

/// The entries of one range of keys.
struct Part {
    run: BulkRun,
    counts: Counts,
    expiry: ExpiryIndex,
    old_versions: OldVersions,
}

fn threads(options: &EngineOptions, segments: &[Arc<Segment>]) -> usize {
    let wanted = match options.open_threads {
        0 => {
            let cores = thread::available_parallelism().map_or(1, NonZero::get) as u64;
            let size_bytes: u64 = segments.iter().map(|segment| segment.meta().file_size_bytes).sum();
            cores.min(THREADS_MAX).min(size_bytes / THREAD_SEGMENT_BYTES_MIN)
        }
        wanted => u64::from(wanted),
    };
    wanted.max(1) as usize
}

/// The newest version of every key, and the older ones above `history_floor`, into an empty map.
pub(crate) fn load(
    map: &mut MapWriter,
    options: &EngineOptions,
    segments: &[Arc<Segment>],
    history_floor: u64,
    apart: &Apart,
) -> Result<Loaded, StorageError> {
    let source = Source { options, segments, history_floor, apart, value_bytes: AtomicU64::new(0) };
    let threads = threads(options, segments);
    let splits = split_keys(segments, if threads == 1 { 1 } else { threads * RANGES_PER_THREAD });
    let mut loader = map.bulk_loader();
    let next_range = AtomicUsize::new(0);
    let work = || {
        let mut parts = Vec::new();
        loop {
            let range = next_range.fetch_add(1, Ordering::Relaxed);
            if range > splits.len() {
                return Ok(parts);
            }
            let lower = range.checked_sub(1).and_then(|before| splits.get(before));
            let lower = lower.map_or(Bound::Unbounded, |key| Bound::Included(key.as_slice()));
            let upper = splits.get(range).map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
            match source.load(loader.run(), lower, upper) {
                Ok(part) => parts.push((range, part)),
                Err(error) => {
                    // The others need not begin another.
                    next_range.store(splits.len() + 1, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    };
    let worked: Result<Vec<Vec<(usize, Part)>>, StorageError> = thread::scope(|scope| {
        // What a thread that could not be had would do, the others do.
        let others: Vec<_> = (1..threads)
            .filter_map(|_| thread::Builder::new().name("orchard-open".into()).spawn_scoped(scope, work).ok())
            .collect();
        let here = work();
        let joined =
            others.into_iter().map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)));
        std::iter::once(here).chain(joined).collect()
    });
    let mut parts: Vec<(usize, Part)> = worked?.into_iter().flatten().collect();
    parts.sort_unstable_by_key(|(range, _)| *range);
    let mut loaded =
        Loaded { counts: Counts::default(), expiry: ExpiryIndex::default(), purge: VecDeque::new() };
    let mut old_versions = OldVersions::above(history_floor);
    for (_, part) in parts {
        let Part { run, counts, expiry, old_versions: old } = part;
        loader.append(run);
        loaded.counts.add(counts);
        loaded.expiry.absorb(expiry);
        old_versions.absorb(old);
    }
    loader.finish();
    loaded.purge = old_versions.finish(map, segments)?.into();
    Ok(loaded)
}

impl Source<'_> {
    fn load(&self, mut run: BulkRun, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Result<Part, StorageError> {
        let inputs = self.segments.iter().map(|segment| segment.iter(lower, upper, ScanOptions::default()));
        let mut merged = MergeIter::new(inputs.collect());
        let mut counts = Counts::default();
        let mut expiry = ExpiryIndex::default();
        let mut last_key: Option<Vec<u8>> = None;
        let mut old_versions = OldVersions::above(self.history_floor);
        // Values stay on disk once half of the memory is full; the index always fits, or the open fails.
        let value_budget = self.options.memory_limit_bytes / 2;
        // What all threads had when this one told of its own last, and its own since.
        let (mut seen_bytes, mut untold_bytes) = (self.value_bytes.load(Ordering::Relaxed), 0);
        while let Some(entry) = merged.next()? {
            if last_key.as_deref() == Some(entry.key) {
                old_versions.older(&entry);
                continue;
            }
            old_versions.newest(&entry);
            let key = last_key.get_or_insert_default();
            key.clear();
            key.extend_from_slice(entry.key);
            if entry.kind == EntryKind::Tombstone {
                continue;
            }
            let long = entry.value.len() >= self.options.evictable_value_bytes_min as usize
                && !may_be_header(entry.type_tag, entry.value.len() as u64);
            let content = if long && seen_bytes + untold_bytes > value_budget {
                Content::NonResident { value_len: entry.value.len() as u32 }
            } else {
                Content::Value(entry.value)
            };
            if let Some(expires) = entry.expires_at_ms {
                expiry.change(entry.key.to_vec(), None, Some(expires));
            }
            self.apart.note(entry.key);
            counts.entries += 1;
            counts.key_bytes += entry.key.len() as i64;
            counts.value_bytes += entry.value.len() as i64;
            untold_bytes += entry.value.len() as u64;
            if untold_bytes >= VALUE_BYTES_TOLD {
                seen_bytes = self.value_bytes.fetch_add(untold_bytes, Ordering::Relaxed) + untold_bytes;
                untold_bytes = 0;
            }
            run.push(
                entry.key,
                NewVersion {
                    stamp: entry.stamp,
                    type_tag: entry.type_tag,
                    expires_at_ms: entry.expires_at_ms,
                    content,
                },
            );
        }
        self.value_bytes.fetch_add(untold_bytes, Ordering::Relaxed);
        Ok(Part { run, counts, expiry, old_versions })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Engine;
    use orchard_env::fault::FaultDisk;
    use orchard_env::{Env, ManualClock, SeededRandom};
    use orchard_types::{Commit, DurationMs, Expiry, Key, Operation, SpaceId, UnixMillis, Value};
    use std::collections::BTreeMap;
    use std::ops::ControlFlow;

    const SPACE: SpaceId = SpaceId::DEFAULT;
    const KEYS: u64 = 2_000;

    fn key(number: u64) -> Key {
        Key::new(format!("{number:06}")).unwrap()
    }

    fn open(disk: &FaultDisk, options: &EngineOptions) -> Engine {
        let env = Env {
            disk: Arc::new(disk.clone()),
            clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
            random: Arc::new(SeededRandom::new(1)),
        };
        Engine::open(env, options.clone()).unwrap()
    }

    /// Four segments with keys in common, deleted ones and some that expire.
    fn database(seed: u64) -> FaultDisk {
        let (disk, random) = (FaultDisk::new(seed), SeededRandom::new(seed));
        let options = EngineOptions { history_retention_ms: u64::MAX / 4, ..EngineOptions::default() };
        let engine = open(&disk, &options);
        for _ in 0..4 {
            for _ in 0..40 {
                let mut commit = Commit::new();
                let mut numbers: Vec<u64> = (0..40).map(|_| random.below(KEYS)).collect();
                numbers.sort_unstable();
                numbers.dedup();
                for number in numbers {
                    let value = Value::from(vec![number as u8; random.below(600) as usize]);
                    let operation = match random.below(10) {
                        0 | 1 => Operation::Delete,
                        2 | 3 => {
                            let expiry = Expiry::After(DurationMs(1_000_000 + random.below(1_000)));
                            Operation::Set { value, expiry }
                        }
                        _ => Operation::Set { value, expiry: Expiry::Never },
                    };
                    commit = commit.mutate(SPACE, key(number), operation);
                }
                engine.commit(&commit, None).unwrap();
            }
            engine.checkpoint().unwrap();
        }
        disk
    }

    /// Stamp, type, expiry, value if there is one here, and its length.
    type Loaded = (u64, u8, Option<u64>, Option<Vec<u8>>, u32);

    /// Every version in memory by the ordered index; each key is found by its hash, too.
    fn versions(engine: &Engine) -> BTreeMap<Vec<u8>, Vec<Loaded>> {
        let guard = engine.reader.pin();
        let mut all = BTreeMap::new();
        guard.scan(Bound::Unbounded, Bound::Unbounded, false, u64::MAX, |newest| {
            let found = guard.get(newest.key(), u64::MAX).unwrap();
            assert_eq!(found.stamp(), newest.stamp());
            let chain = std::iter::successors(Some(newest), |version| version.older());
            let chain = chain.map(|version| {
                let value = version.value().map(<[u8]>::to_vec);
                let (tag, expires) = (version.type_tag(), version.expires_at_ms());
                (version.stamp(), tag, expires, value, version.value_len())
            });
            assert!(all.insert(newest.key().to_vec(), chain.collect()).is_none());
            ControlFlow::Continue(())
        });
        all
    }

    #[test]
    fn several_threads_load_what_one_loads() {
        for seed in 0..4 {
            let disk = database(seed);
            for history_retention_ms in [0, u64::MAX / 4] {
                let [one, three] = [1, 3].map(|open_threads| {
                    let options =
                        EngineOptions { open_threads, history_retention_ms, ..EngineOptions::default() };
                    let engine = open(&disk, &options);
                    let segments = engine.segments.read().clone();
                    assert_eq!(segments.len(), 4);
                    assert_eq!(split_keys(&segments, 12).len(), 11, "the threads have something to do");
                    let core = engine.core.lock();
                    let index = engine.expiry.lock();
                    let stats = core.map.stats();
                    let numbers = (stats.entries, stats.live, stats.versions, stats.key_bytes);
                    let bytes = (stats.value_bytes, stats.nonresident_bytes, stats.allocated_bytes);
                    let expiry = (
                        index.due(u64::MAX).map(|(at, key)| (at, key.to_vec())).collect::<Vec<_>>(),
                        index.memory_bytes(),
                    );
                    assert!(engine.counts.load().entries > 500 && expiry.0.len() > 100);
                    assert_eq!(stats.versions > stats.entries, history_retention_ms > 0);
                    assert_eq!(core.purge.is_empty(), history_retention_ms == 0);
                    (versions(&engine), engine.counts.load(), numbers, bytes, expiry, core.purge.clone())
                });
                assert!(one == three, "seed {seed}, retention {history_retention_ms}");
            }
        }
    }

    #[test]
    fn as_many_values_stay_on_disk() {
        let disk = database(9);
        let limit = EngineOptions { memory_limit_bytes: 400 << 10, ..EngineOptions::default() };
        let everything =
            versions(&open(&disk, &EngineOptions { open_threads: 1, ..EngineOptions::default() }));
        for open_threads in [1, 3] {
            let engine = open(&disk, &EngineOptions { open_threads, ..limit.clone() });
            let stats = engine.core.lock().map.stats();
            assert_eq!(engine.counts.load().value_bytes as u64, stats.value_bytes + stats.nonresident_bytes);
            assert!(stats.nonresident_bytes > 0);
            // Short values are never left out.
            let short: usize =
                everything.values().flatten().map(|version| version.4 as usize).filter(|len| *len < 64).sum();
            let untold = u64::from(open_threads) * VALUE_BYTES_TOLD;
            assert!(stats.value_bytes <= (200 << 10) + untold + short as u64 + 1_000);
            assert!(stats.value_bytes >= 200 << 10);
            for (flat, kept) in &everything {
                let found = engine.get(SPACE, &flat[flat.len() - 6..]).unwrap().unwrap();
                assert_eq!(Some(found.value.data.to_vec()), kept[0].3);
            }
        }
    }
}
