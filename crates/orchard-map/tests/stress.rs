//! Readers at fixed stamps check what they see while the writer overwrites, deletes and reclaims.
#![cfg(not(loom))]

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, Mutex};

use orchard_map::{Content, HashPosition, MapReader, MapWriter, NewVersion};

const KEYS: u64 = 300;
const ROUNDS: u64 = if cfg!(orchard_plain_alloc) { 1_500 } else { 6_000 };
const READERS: usize = 3;
/// How many accounts one commit touches.
const TOUCHED: u64 = 4;
const TOTAL: u64 = KEYS * 1_000;

/// Stamps that readers hold: 0 is none. The writer's horizon stays at or below them.
struct Snapshots([AtomicU64; READERS]);

impl Snapshots {
    fn oldest(&self, visible: u64) -> u64 {
        let held = self.0.iter().map(|snapshot| snapshot.load(Ordering::SeqCst));
        held.filter(|&stamp| stamp != 0).min().unwrap_or(visible).min(visible)
    }
}

fn key(n: u64) -> Vec<u8> {
    format!("account:{n:05}").into_bytes()
}

/// Accounts of zero are tombstones, or are gone altogether.
fn put(writer: &mut MapWriter, n: u64, stamp: u64, balance: u64) {
    let bytes = balance.to_le_bytes().repeat(1 + (n % 3) as usize);
    let content = if balance == 0 { Content::Tombstone } else { Content::Value(&bytes) };
    writer.upsert(&key(n), NewVersion { stamp, type_tag: 3, expires_at_ms: None, content });
}

fn balance(version: orchard_map::Version<'_>) -> u64 {
    let Some(value) = version.value() else { return 0 };
    let (chunks, rest) = value.as_chunks::<8>();
    assert!(rest.is_empty() && chunks.iter().all(|chunk| *chunk == chunks[0]), "a torn value");
    u64::from_le_bytes(chunks[0])
}

/// Money is moved, never made: whatever way it is counted, the total at a stamp is the same.
fn check_total(reader: &MapReader, at: u64, way: u64) {
    let mut sum = 0;
    match way % 4 {
        0 | 1 => {
            let reverse = way % 4 == 1;
            let guard = reader.pin();
            let mut last: Option<Vec<u8>> = None;
            guard.scan(Bound::Unbounded, Bound::Unbounded, reverse, at, |version| {
                if let Some(last) = &last {
                    assert_eq!(last.as_slice() > version.key(), reverse);
                }
                last = Some(version.key().to_vec());
                assert!(version.stamp() <= at);
                sum += balance(version);
                ControlFlow::Continue(())
            });
        }
        2 => {
            let keys: Vec<Vec<u8>> = (0..KEYS).map(key).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            let guard = reader.pin();
            guard.get_many(&keys, at, |_, version| sum += version.map_or(0, balance));
        }
        // In batches, pinned anew for each: the snapshot is held by the horizon alone.
        _ => {
            let mut position = HashPosition::default();
            while {
                let guard = reader.pin();
                guard.scan_hash(&mut position, 17, at, |version| sum += balance(version))
            } {}
        }
    }
    assert_eq!(sum, TOTAL, "at {at}, way {}", way % 4);
}

#[test]
fn snapshots_never_change_under_a_busy_writer() {
    let (mut writer, reader) = orchard_map::create();
    let mut balances = [1_000; KEYS as usize];
    for n in 0..KEYS {
        put(&mut writer, n, 1, 1_000);
    }
    let visible = AtomicU64::new(1);
    let snapshots = Snapshots([const { AtomicU64::new(0) }; READERS]);
    let done = AtomicBool::new(false);
    let start = Barrier::new(READERS + 1);
    std::thread::scope(|scope| {
        for index in 0..READERS {
            let (reader, visible, snapshots, done, start) =
                (reader.clone(), &visible, &snapshots, &done, &start);
            scope.spawn(move || {
                start.wait();
                let mut way = index as u64;
                while !done.load(Ordering::Relaxed) {
                    // Pinned while it is taken, so that the horizon cannot pass it in between.
                    let guard = reader.pin();
                    let at = visible.load(Ordering::SeqCst);
                    snapshots.0[index].store(at, Ordering::SeqCst);
                    drop(guard);
                    for _ in 0..4 {
                        way += 1;
                        check_total(&reader, at, way);
                    }
                    snapshots.0[index].store(0, Ordering::SeqCst);
                    // And without a snapshot, under one guard: the pin alone protects it.
                    let guard = reader.pin();
                    let at = visible.load(Ordering::SeqCst);
                    let mut sum = 0;
                    for n in 0..KEYS {
                        sum += guard.get(&key(n), at).map_or(0, balance);
                    }
                    assert_eq!(sum, TOTAL, "under one guard at {at}");
                }
            });
        }
        start.wait();
        let mut random = 1u64;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut gone: Vec<(u64, u64)> = Vec::new();
        for round in 0..ROUNDS {
            let stamp = round + 2;
            let mut touched = [0; TOUCHED as usize].map(|_| next(KEYS));
            touched.sort_unstable();
            for pair in touched.chunks(2).filter(|pair| pair[0] != pair[1]) {
                let [from, to] = [pair[0] as usize, pair[1] as usize];
                // One pair may meet an account that the other has just changed.
                if writer.newest(&key(pair[0])).is_some_and(|newest| newest.stamp() == stamp)
                    || writer.newest(&key(pair[1])).is_some_and(|newest| newest.stamp() == stamp)
                {
                    continue;
                }
                let amount = if next(4) == 0 { balances[from] } else { next(balances[from] + 1) };
                balances[from] -= amount;
                balances[to] += amount;
                for account in [from, to] {
                    put(&mut writer, account as u64, stamp, balances[account]);
                    if balances[account] == 0 {
                        gone.push((account as u64, stamp));
                    }
                }
            }
            if next(8) == 0 {
                // A commit that does not come to be: invisible, then rolled back.
                let account = next(KEYS);
                if writer.newest(&key(account)).is_none_or(|newest| newest.stamp() < stamp) {
                    put(&mut writer, account, stamp + 1, 77);
                    writer.rollback(&key(account), stamp);
                }
            }
            visible.store(stamp, Ordering::SeqCst);
            // Dead entries leave altogether once nothing older is chained to them.
            gone.retain(|&(account, stamp)| {
                let is_newest = writer.newest(&key(account)).is_some_and(|newest| newest.stamp() == stamp);
                is_newest && !writer.remove(&key(account), stamp)
            });
            if round % 8 == 0 {
                writer.reclaim(snapshots.oldest(stamp), 64);
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    check_total(&reader, ROUNDS + 1, 0);
    // With the readers gone everything but the newest versions can go.
    while writer.reclaim(ROUNDS + 1, 1_000).more {}
    while writer.reclaim(ROUNDS + 1, 1_000).freed_bytes > 0 {}
    let stats = writer.stats();
    assert_eq!((stats.versions, stats.retired_bytes), (stats.entries, 0));
    // Readers may outlive the writer.
    drop(writer);
    check_total(&reader, ROUNDS + 1, 1);
}

/// Growing, shrinking and splitting while readers look for keys that are always there.
#[test]
fn keys_that_stay_are_always_found() {
    let (mut writer, reader) = orchard_map::create();
    let stays = |n: u64| format!("stays:{n:04}").into_bytes();
    for n in 0..500 {
        let content = Content::Value(b"here");
        writer.upsert(&stays(n), NewVersion { stamp: 1, type_tag: 0, expires_at_ms: None, content });
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for index in 0..2 {
            let (reader, done) = (reader.clone(), &done);
            scope.spawn(move || {
                let mut n = index;
                while !done.load(Ordering::Relaxed) {
                    n = (n + 1) % 500;
                    let guard = reader.pin();
                    assert!(guard.get(&stays(n), 1).is_some());
                    if n % 50 == 0 {
                        let mut seen = 0;
                        let (lower, upper) = (stays(0), stays(499));
                        let bounds = (Bound::Included(lower.as_slice()), Bound::Included(upper.as_slice()));
                        guard.scan(bounds.0, bounds.1, n % 100 == 0, 1, |_| {
                            seen += 1;
                            ControlFlow::Continue(())
                        });
                        assert_eq!(seen, 500);
                        let mut position = HashPosition::default();
                        let mut seen = 0;
                        while guard.scan_hash(&mut position, 100, 1, |_| seen += 1) {}
                        assert_eq!(seen, 500);
                    }
                }
            });
        }
        let others = if cfg!(orchard_plain_alloc) { 4_000u64 } else { 20_000 };
        let other = |n: u64| format!("stays:{:04}:{n}", n % 499).into_bytes();
        for round in 0..2 {
            for n in 0..others {
                let content = Content::Value(b"comes and goes");
                let stamp = 2 + round;
                writer.upsert(&other(n), NewVersion { stamp, type_tag: 0, expires_at_ms: None, content });
            }
            for n in 0..others {
                assert!(writer.remove(&other(n), 2 + round));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(writer.stats().entries, 500);
}

/// Threads that look for their keys before they have the writer, while others add, overwrite and remove around them.
#[test]
fn what_was_seen_ahead_is_checked() {
    const WRITERS: u64 = 3;
    const NAMES: u64 = 400;
    let rounds = if cfg!(orchard_plain_alloc) { 4_000u64 } else { 30_000 };
    let (writer, reader) = orchard_map::create();
    // With the writer the newest stamp of each key, as it must be.
    let writer = Mutex::new((writer, 0u64, BTreeMap::new()));
    std::thread::scope(|scope| {
        for index in 0..WRITERS {
            let (reader, writer) = (reader.clone(), &writer);
            scope.spawn(move || {
                let mut random = index;
                for _ in 0..rounds {
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    // Some names are overwritten again and again, others come and go: leaves split and are joined.
                    let name = format!("name:{:03}:{}", (random >> 33) % NAMES, (random >> 50) % 7);
                    let hint = reader.hint(name.as_bytes());
                    let (writer, stamp, newest) = &mut *writer.lock().unwrap();
                    *stamp += 1;
                    let seen = newest.get(&name).copied();
                    match seen {
                        Some(seen) if random >> 60 == 0 => {
                            // The only version it has, and so it goes.
                            drop(hint);
                            if writer.remove(name.as_bytes(), seen) {
                                newest.remove(&name);
                            }
                        }
                        _ => {
                            let bytes = stamp.to_le_bytes();
                            let (stamp, content) = (*stamp, Content::Value(&bytes));
                            let is_put = writer.upsert_hinted(hint, |found| {
                                assert_eq!(found.map(|found| found.stamp()), seen);
                                Some(NewVersion { stamp, type_tag: 0, expires_at_ms: None, content })
                            });
                            assert!(is_put);
                            newest.insert(name, stamp);
                        }
                    }
                    writer.reclaim_lazily(*stamp, 8);
                }
            });
        }
    });
    let (writer, stamp, newest) = writer.into_inner().unwrap();
    let mut found = Vec::new();
    reader.pin().scan(Bound::Unbounded, Bound::Unbounded, false, stamp, |version| {
        found.push((String::from_utf8_lossy(version.key()).into_owned(), version.stamp()));
        ControlFlow::Continue(())
    });
    assert_eq!(found, newest.into_iter().collect::<Vec<_>>());
    assert_eq!(writer.stats().entries, found.len() as u64);
}
