//! Property test: random operations, a `BTreeMap` of versions as the truth.
#![cfg(not(loom))]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use orchard_map::{
    CLOCK_PARTITIONS, Content, HashPosition, MapReader, MapWriter, NewVersion, SweepLimits, Version,
};
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Held {
    Value(Vec<u8>),
    Tombstone,
    NonResident(u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Put {
    stamp: u64,
    type_tag: u8,
    expires_at_ms: Option<u64>,
    held: Held,
}

impl Put {
    fn new_version(&self) -> NewVersion<'_> {
        let content = match &self.held {
            Held::Value(value) => Content::Value(value),
            Held::Tombstone => Content::Tombstone,
            Held::NonResident(value_len) => Content::NonResident { value_len: *value_len },
        };
        let Put { stamp, type_tag, expires_at_ms, .. } = *self;
        NewVersion { stamp, type_tag, expires_at_ms, content }
    }

    fn of(version: Version<'_>) -> Self {
        let held = if version.is_tombstone() {
            Held::Tombstone
        } else if version.is_resident() {
            Held::Value(version.value().expect("a resident value").to_vec())
        } else {
            assert_eq!(version.value(), None);
            Held::NonResident(version.value_len())
        };
        Put {
            stamp: version.stamp(),
            type_tag: version.type_tag(),
            expires_at_ms: version.expires_at_ms(),
            held,
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Upsert(Index, Held, u8, bool),
    /// Puts what was looked for before the others were done.
    UpsertHinted(Index, Held, Vec<Op>),
    InsertIfAbsent(Index, Held),
    Remove(Index),
    RemoveMany(Index, u8),
    Rollback(Index, u8),
    MakeNonResident(Index),
    MakeResident(Index),
    Reclaim(u8, u8),
    Sweep(u16),
    Snapshot,
    DropSnapshot(Index),
    CheckScan(Index, Index, u8, bool),
    CheckEverything,
}

/// Chains oldest first.
type Model = BTreeMap<Vec<u8>, Vec<Put>>;

fn held() -> impl Strategy<Value = Held> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Held::Value),
        1 => (500usize..9000).prop_map(|len| Held::Value(vec![7; len])),
        2 => Just(Held::Tombstone),
        1 => (0u32..100).prop_map(Held::NonResident),
    ]
}

/// Operations that may be done while somebody is pinned.
fn op_under_pins() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        6 => (index(), held(), 0u8..32, any::<bool>()).prop_map(|(k, h, t, e)| Op::Upsert(k, h, t, e)),
        3 => (index(), held()).prop_map(|(k, h)| Op::InsertIfAbsent(k, h)),
        3 => index().prop_map(Op::Remove),
        1 => (index(), any::<u8>()).prop_map(|(k, n)| Op::RemoveMany(k, n)),
        2 => (index(), 0u8..20).prop_map(|(k, n)| Op::Rollback(k, n)),
        1 => index().prop_map(Op::MakeNonResident),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    prop_oneof![
        20 => (index(), held(), prop::collection::vec(op_under_pins(), 0..4))
            .prop_map(|(k, h, between)| Op::UpsertHinted(k, h, between)),
        40 => (index(), held(), 0u8..32, any::<bool>()).prop_map(|(k, h, t, e)| Op::Upsert(k, h, t, e)),
        10 => (index(), held()).prop_map(|(k, h)| Op::InsertIfAbsent(k, h)),
        10 => index().prop_map(Op::Remove),
        1 => (index(), any::<u8>()).prop_map(|(k, n)| Op::RemoveMany(k, n)),
        5 => (index(), 0u8..20).prop_map(|(k, n)| Op::Rollback(k, n)),
        3 => index().prop_map(Op::MakeNonResident),
        3 => index().prop_map(Op::MakeResident),
        5 => (any::<u8>(), any::<u8>()).prop_map(|(c, b)| Op::Reclaim(c, b)),
        1 => any::<u16>().prop_map(Op::Sweep),
        2 => Just(Op::Snapshot),
        2 => index().prop_map(Op::DropSnapshot),
        8 => (index(), index(), any::<u8>(), any::<bool>()).prop_map(|(a, b, s, r)| Op::CheckScan(a, b, s, r)),
        1 => Just(Op::CheckEverything),
    ]
}

/// Keys that are hard on prefixes, heads and separators.
fn adversarial_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let shared = (prop::sample::select(vec![1usize, 2, 3, 8, 9, 100, 2040, 2048]), any::<u8>());
    let key = (
        prop::option::of(Just(())),
        prop::collection::vec(prop::sample::select(vec![0u8, 1, 0x61, 0xfe, 0xff]), 0..5),
        prop::collection::vec(any::<u8>(), 0..4),
    );
    (shared, prop::collection::vec(key, 1..300)).prop_map(|((len, byte), keys)| {
        let mut keys: Vec<Vec<u8>> = keys
            .into_iter()
            .map(|(prefixed, mut middle, end)| {
                let mut key = if prefixed.is_some() { vec![byte; len] } else { Vec::new() };
                key.append(&mut middle);
                key.extend(end);
                key
            })
            .collect();
        keys.push(Vec::new());
        // Each a prefix of the next.
        keys.extend((0..20).map(|len| vec![0xff; len]));
        keys.extend((0..10).map(|len| vec![0; len]));
        keys
    })
}

fn numbered_keys() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (1usize..2000, any::<bool>()).prop_map(|(count, decimal)| {
        let number = |n: usize| if decimal { n } else { n.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
        (0..count).map(|n| format!("user:{:020}", number(n)).into_bytes()).collect()
    })
}

struct Check {
    writer: MapWriter,
    reader: MapReader,
    model: Model,
    stamp: u64,
    horizon: u64,
    /// Stamps that must stay readable.
    snapshots: Vec<u64>,
}

impl Check {
    fn new() -> Self {
        let (writer, reader) = orchard_map::create();
        Self { writer, reader, model: Model::new(), stamp: 0, horizon: 0, snapshots: Vec::new() }
    }

    fn next_stamp(&mut self) -> u64 {
        self.stamp += 1;
        self.stamp
    }

    fn load(&mut self, keys: &[Vec<u8>]) {
        for key in keys {
            let stamp = self.next_stamp();
            let put = Put { stamp, type_tag: 1, expires_at_ms: None, held: Held::Value(key.clone()) };
            self.model.insert(key.clone(), vec![put]);
        }
        let mut loader = self.writer.bulk_loader();
        // The first keys one by one, the others in runs made on threads of their own.
        let all: Vec<_> = self.model.iter().collect();
        let mut chunks = all.chunks(keys.len() / 4 + 1);
        for (key, chain) in chunks.next().unwrap_or_default() {
            loader.push(key, chain[0].new_version());
        }
        let runs: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = chunks
                .map(|chunk| {
                    let mut run = loader.run();
                    scope.spawn(move || {
                        chunk.iter().for_each(|(key, chain)| run.push(key, chain[0].new_version()));
                        run
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        runs.into_iter().for_each(|run| loader.append(run));
        loader.finish();
    }

    fn apply(&mut self, keys: &[Vec<u8>], op: &Op) {
        match op {
            Op::Upsert(key, held, type_tag, expires) => {
                let key = key.get(keys);
                let stamp = self.next_stamp();
                let expires_at_ms = expires.then_some(stamp * 1000);
                let put = Put { stamp, type_tag: *type_tag, expires_at_ms, held: held.clone() };
                self.writer.upsert(key, put.new_version());
                self.model.entry(key.clone()).or_default().push(put);
            }
            Op::UpsertHinted(key, held, between) => {
                let key = key.get(keys);
                let reader = self.reader.clone();
                let hint = reader.hint(key);
                between.iter().for_each(|op| self.apply(keys, op));
                let stamp = self.next_stamp();
                let put = Put { stamp, type_tag: 0, expires_at_ms: None, held: held.clone() };
                let chain = self.model.entry(key.clone()).or_default();
                let is_put = self.writer.upsert_hinted(hint, |newest| {
                    assert_eq!(newest.map(Put::of).as_ref(), chain.last());
                    Some(put.new_version())
                });
                assert!(is_put);
                chain.push(put);
            }
            Op::InsertIfAbsent(key, held) => {
                let key = key.get(keys);
                let stamp = self.next_stamp();
                let put = Put { stamp, type_tag: 0, expires_at_ms: None, held: held.clone() };
                let absent = self.writer.insert_if_absent(key, put.new_version());
                assert_eq!(absent, !self.model.contains_key(key));
                if absent {
                    self.model.insert(key.clone(), vec![put]);
                }
            }
            Op::Remove(key) => self.remove(&keys[key.index(keys.len())]),
            Op::RemoveMany(key, count) => {
                let from = key.index(keys.len());
                for key in &keys[from..keys.len().min(from + *count as usize * 4)] {
                    let stamp = self.next_stamp();
                    self.writer.rollback(key, 0);
                    self.model.remove(key);
                    assert!(!self.writer.remove(key, stamp));
                }
            }
            Op::Rollback(key, back) => {
                let key = key.get(keys);
                let to = self.stamp.saturating_sub(*back as u64).max(self.horizon);
                self.writer.rollback(key, to);
                if let Some(chain) = self.model.get_mut(key) {
                    chain.retain(|put| put.stamp <= to);
                    if chain.is_empty() {
                        self.model.remove(key);
                    }
                }
            }
            Op::MakeNonResident(key) => {
                let key = key.get(keys);
                let Some(newest) = self.model.get(key).and_then(|chain| chain.last()) else { return };
                let stamp = newest.stamp;
                assert!(!self.writer.make_nonresident(key, stamp + 1));
                if self.writer.make_nonresident(key, stamp) {
                    let newest = self.sole(key);
                    let Held::Value(value) = &newest.held else { panic!("it held {newest:?}") };
                    newest.held = Held::NonResident(value.len() as u32);
                }
            }
            Op::MakeResident(key) => {
                let key = key.get(keys);
                let Some(newest) = self.model.get(key).and_then(|chain| chain.last()) else { return };
                let value = match newest.held {
                    Held::NonResident(len) => vec![3; len as usize],
                    _ => Vec::new(),
                };
                if self.writer.make_resident(key, newest.stamp, &value) {
                    let newest = self.sole(key);
                    assert!(matches!(newest.held, Held::NonResident(_)));
                    newest.held = Held::Value(value);
                }
            }
            Op::Reclaim(back, budget) => {
                let oldest = self.snapshots.iter().copied().min().unwrap_or(u64::MAX);
                let candidate = self.stamp.saturating_sub(*back as u64).min(oldest);
                let done = self.writer.reclaim(candidate, *budget as usize);
                // No reader is pinned, so a candidate is in effect at once.
                self.horizon = self.horizon.max(candidate);
                assert_eq!(done.horizon, self.horizon);
            }
            Op::Sweep(bytes) => {
                let mut gone = Vec::new();
                let clean = self.stamp / 2;
                let limits =
                    SweepLimits { bytes: *bytes as u64, entries: usize::MAX, clean_up_to_stamp: clean };
                let swept = self.writer.sweep_clock(
                    limits,
                    |version| version.value_len() >= 2,
                    |key, stamp| gone.push((key.to_vec(), stamp)),
                );
                assert!(swept.bytes >= limits.bytes || swept.partitions == CLOCK_PARTITIONS);
                for (key, stamp) in gone {
                    let newest = self.sole(&key);
                    assert_eq!(newest.stamp, stamp);
                    assert!(stamp <= clean);
                    let Held::Value(value) = &newest.held else { panic!("it held {newest:?}") };
                    newest.held = Held::NonResident(value.len() as u32);
                }
            }
            Op::Snapshot => self.snapshots.push(self.stamp),
            Op::DropSnapshot(index) => {
                if !self.snapshots.is_empty() {
                    self.snapshots.swap_remove(index.index(self.snapshots.len()));
                }
            }
            Op::CheckScan(a, b, back, reverse) => {
                let at = self.stamp.saturating_sub(*back as u64).max(self.horizon);
                let bound = |index: &Index| match index.index(7) {
                    0 => Bound::Unbounded,
                    1..4 => Bound::Included(index.get(keys).as_slice()),
                    _ => Bound::Excluded(index.get(keys).as_slice()),
                };
                self.check_range(bound(a), bound(b), *reverse, at);
            }
            Op::CheckEverything => self.check_everything(keys),
        }
    }

    fn remove(&mut self, key: &[u8]) {
        let Some(chain) = self.model.get(key) else {
            return assert!(!self.writer.remove(key, self.stamp));
        };
        let newest = chain[chain.len() - 1].stamp;
        assert!(!self.writer.remove(key, newest + 1));
        let chained = self.writer.newest(key).expect("an entry").older().is_some();
        assert_eq!(self.writer.remove(key, newest), !chained);
        if !chained {
            self.model.remove(key);
        }
    }

    /// The newest version of a key that has no older one any more.
    fn sole(&mut self, key: &[u8]) -> &mut Put {
        let chain = self.model.get_mut(key).expect("an entry");
        let newest = chain.pop().expect("a version");
        // What was pruned does not matter from the horizon on; the model may keep it until now.
        assert!(chain.is_empty() || newest.stamp <= self.horizon);
        *chain = vec![newest];
        &mut chain[0]
    }

    fn model_at(&self, key: &[u8], at: u64) -> Option<&Put> {
        self.model.get(key)?.iter().rev().find(|put| put.stamp <= at)
    }

    fn check_range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, reverse: bool, at: u64) {
        let within = |key: &[u8]| {
            (match lower {
                Bound::Unbounded => true,
                Bound::Included(lower) => key >= lower,
                Bound::Excluded(lower) => key > lower,
            }) && match upper {
                Bound::Unbounded => true,
                Bound::Included(upper) => key <= upper,
                Bound::Excluded(upper) => key < upper,
            }
        };
        let keys: Vec<&Vec<u8>> = self.model.keys().filter(|key| within(key)).collect();
        let mut expected: Vec<(&[u8], &Put)> =
            keys.iter().filter_map(|key| Some((key.as_slice(), self.model_at(key, at)?))).collect();
        let guard = self.reader.pin();

        let since = at.saturating_sub(20);
        let mut changed = Vec::new();
        guard.scan_changed(lower, upper, since, at, |version| {
            changed.push((version.key(), Put::of(version)));
            ControlFlow::Continue(())
        });
        let newer = expected.iter().filter(|(_, put)| put.stamp > since);
        assert!(changed.iter().map(|(key, put)| (*key, put)).eq(newer.copied()), "changed since {since}");

        if reverse {
            expected.reverse();
        }
        for limit in [usize::MAX, 3] {
            let mut found = Vec::new();
            guard.scan(lower, upper, reverse, at, |version| {
                found.push((version.key(), Put::of(version)));
                if found.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            let expected = expected.iter().copied().take(limit);
            assert!(found.iter().map(|(key, put)| (*key, put)).eq(expected), "scan at {at}");
        }

        let newest = keys.iter().map(|key| self.model[*key].last().expect("a version"));
        let newest_stamp = newest.clone().map(|put| put.stamp).max().unwrap_or(0);
        assert_eq!(guard.range_max_stamp(lower, upper), newest_stamp);
        assert_eq!(self.writer.range_max_stamp(lower, upper), newest_stamp);
        let live = newest.filter(|put| put.held != Held::Tombstone).count() as u64;
        assert_eq!(guard.count(lower, upper), live);
        assert_eq!(self.writer.count(lower, upper), live);
    }

    fn check_everything(&self, keys: &[Vec<u8>]) {
        self.check_range(Bound::Unbounded, Bound::Unbounded, false, self.stamp);
        let guard = self.reader.pin();
        let readable = self.snapshots.iter().copied().chain([self.stamp, self.horizon]);
        for at in readable.filter(|&at| at >= self.horizon) {
            for key in keys {
                assert_eq!(guard.get(key, at).map(Put::of).as_ref(), self.model_at(key, at), "at {at}");
            }
            let wanted: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let mut places = Vec::new();
            guard.get_many(&wanted, at, |place, version| {
                places.push(place);
                assert_eq!(version.map(Put::of).as_ref(), self.model_at(&keys[place], at));
            });
            assert!(places.into_iter().eq(0..keys.len()));
        }
        for limit in [1, 7, usize::MAX] {
            let mut found = BTreeMap::new();
            let mut position = HashPosition::default();
            loop {
                let more = guard.scan_hash(&mut position, limit, u64::MAX, |version| {
                    let again = found.insert(version.key().to_vec(), Put::of(version));
                    assert_eq!(again, None);
                });
                if !more {
                    break;
                }
            }
            assert!(found.iter().eq(self.model.iter().map(|(k, c)| (k, c.last().expect("a version")))));
        }
        let stats = self.writer.stats();
        assert_eq!(stats.entries, self.model.len() as u64);
        assert_eq!(stats.key_bytes, self.model.keys().map(|key| key.len() as u64).sum::<u64>());
        assert_eq!(stats.live, guard.count(Bound::Unbounded, Bound::Unbounded));
        let (mut versions, mut value_bytes, mut nonresident_bytes) = (0, 0, 0);
        for key in self.model.keys() {
            let mut version = self.writer.newest(key);
            while let Some(here) = version {
                versions += 1;
                let bytes = if here.is_resident() { &mut value_bytes } else { &mut nonresident_bytes };
                *bytes += here.value_len() as u64;
                version = here.older();
            }
        }
        assert_eq!(stats.versions, versions);
        assert_eq!((stats.value_bytes, stats.nonresident_bytes), (value_bytes, nonresident_bytes));
    }

    fn finish(mut self, keys: &[Vec<u8>]) {
        self.check_everything(keys);
        // With everything gone all memory is back but the directory's.
        for key in keys {
            self.writer.rollback(key, 0);
        }
        self.model.clear();
        while self.writer.reclaim(u64::MAX, 100).freed_bytes > 0 {}
        let stats = self.writer.stats();
        assert_eq!(stats.allocated_bytes, 0);
        assert_eq!(stats.held_bytes, stats.index_bytes);
        let (writer, _reader) = orchard_map::create();
        assert_eq!(stats, { writer.stats() }.with_index_of(stats));
    }
}

trait WithIndexOf {
    fn with_index_of(self, other: Self) -> Self;
}

impl WithIndexOf for orchard_map::MapStats {
    fn with_index_of(self, other: Self) -> Self {
        Self { index_bytes: other.index_bytes, held_bytes: other.held_bytes, ..self }
    }
}

fn check(keys: &[Vec<u8>], load: bool, ops: &[Op]) {
    let mut check = Check::new();
    if load {
        check.load(&keys[..keys.len() / 2]);
        check.check_everything(keys);
    }
    for op in ops {
        check.apply(keys, op);
    }
    check.finish(keys);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_model_on_adversarial_keys(
        keys in adversarial_keys(), load: bool, ops in prop::collection::vec(op(), 0..600),
    ) {
        check(&keys, load, &ops);
    }

    #[test]
    fn agrees_with_the_model_on_many_keys(
        keys in numbered_keys(), load: bool, ops in prop::collection::vec(op(), 0..2500),
    ) {
        check(&keys, load, &ops);
    }
}

/// Grows to three levels and shrinks back to nothing, in several orders.
#[test]
fn grows_and_shrinks_in_any_order() {
    let count = 30_000u64;
    let key = |n: u64| format!("k{n:08}").into_bytes();
    let shuffled = |n: u64, factor: u64| n * factor % 30_011 % count;
    for factor in [1, 30_010, 7_919] {
        let mut check = Check::new();
        let mut order: Vec<u64> = (0..30_011).map(|n| shuffled(n, factor)).collect();
        for &n in &order {
            let stamp = check.next_stamp();
            let put = Put { stamp, type_tag: 0, expires_at_ms: None, held: Held::Value(vec![1; 10]) };
            if check.writer.insert_if_absent(&key(n), put.new_version()) {
                check.model.insert(key(n), vec![put]);
            }
        }
        check.check_range(Bound::Unbounded, Bound::Unbounded, true, u64::MAX);
        order.reverse();
        for (done, &n) in order.iter().enumerate() {
            check.remove(&key(n));
            if done % 6_000 == 0 {
                check.check_range(Bound::Unbounded, Bound::Included(&key(n)), false, u64::MAX);
            }
        }
        check.finish(&[]);
    }
}
