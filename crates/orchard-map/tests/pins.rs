//! Pins that nest, that outlive their thread, that are dropped by another one, and that are more than there are slots, while
//! the writer frees and uses again whatever it may: a reader that was not seen would find a torn value.
#![cfg(not(loom))]

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};

use orchard_map::{Content, Guard, MapReader, MapWriter, NewVersion};

const KEYS: u64 = 64;
const ROUNDS: u64 = if cfg!(orchard_plain_alloc) { 20_000 } else { 100_000 };

fn put(writer: &mut MapWriter, n: u64, stamp: u64) {
    let value = stamp.to_le_bytes().repeat(1 + (n % 7) as usize);
    let content = Content::Value(&value);
    writer.upsert(&n.to_be_bytes(), NewVersion { stamp, type_tag: 0, expires_at_ms: None, content });
}

/// What the guard's reader finds: whole, and of its own time.
fn check(guard: &Guard<'_>, n: u64, at: u64) -> u64 {
    let version = guard.get(&n.to_be_bytes(), at).expect("each key is there from the beginning");
    assert!(version.stamp() <= at);
    let value = version.value().expect("a value");
    let (words, rest) = value.as_chunks::<8>();
    assert!(rest.is_empty());
    assert!(words.iter().all(|word| u64::from_le_bytes(*word) == version.stamp()), "torn: {words:?}");
    version.stamp()
}

struct World<'a> {
    reader: &'a MapReader,
    visible: AtomicU64,
    done: AtomicBool,
}

impl<'a> World<'a> {
    fn pin(&self) -> (Guard<'a>, u64) {
        let guard = self.reader.pin();
        (guard, self.visible.load(Ordering::Acquire))
    }

    /// Pins within pins, dropped in both orders.
    fn nest(&self, mut n: u64) {
        while !self.done.load(Ordering::Relaxed) {
            n = (n + 7) % KEYS;
            let (outer, at) = self.pin();
            let seen = check(&outer, n, at);
            let (inner, later) = self.pin();
            check(&inner, n, later);
            if n.is_multiple_of(2) {
                drop(outer);
                check(&inner, n, later);
            } else {
                drop(inner);
                assert_eq!(check(&outer, n, at), seen);
            }
        }
    }

    /// Keeps guards of other threads for a while, and drops them.
    fn receive(&self, guards: &Receiver<(Guard<'a>, u64, u64, u64)>) {
        let mut kept = std::collections::VecDeque::new();
        let drop_one = |(guard, n, at, seen): (Guard<'a>, u64, u64, u64)| {
            assert_eq!(check(&guard, n, at), seen);
        };
        for sent in guards {
            kept.push_back(sent);
            if kept.len() > 5 {
                kept.pop_front().into_iter().for_each(drop_one);
            }
        }
        kept.into_iter().for_each(drop_one);
    }
}

#[test]
fn a_pin_is_seen_wherever_it_was_made_and_ends() {
    let (mut writer, reader) = orchard_map::create();
    for n in 0..KEYS {
        put(&mut writer, n, n + 1);
    }
    let world = World { reader: &reader, visible: AtomicU64::new(KEYS), done: AtomicBool::new(false) };
    let world = &world;
    std::thread::scope(|scope| {
        let (sender, receiver) = sync_channel(4);
        scope.spawn(move || world.receive(&receiver));
        scope.spawn(|| world.nest(1));
        let mortal = sender.clone();
        scope.spawn(move || {
            // Threads that end before their guards do; the next one gets their number.
            while !world.done.load(Ordering::Relaxed) {
                let mortal = mortal.clone();
                let send = scope.spawn(move || {
                    for n in 0..3 {
                        let (guard, at) = world.pin();
                        let seen = check(&guard, n, at);
                        let _ = mortal.send((guard, n, at, seen));
                    }
                });
                let _ = send.join();
            }
        });
        scope.spawn(move || {
            let mut n = 0;
            while !world.done.load(Ordering::Relaxed) {
                n = (n + 1) % KEYS;
                let (guard, at) = world.pin();
                let seen = check(&guard, n, at);
                if sender.send((guard, n, at, seen)).is_err() {
                    return;
                }
            }
        });
        for stamp in KEYS + 1..KEYS + ROUNDS {
            put(&mut writer, stamp % KEYS, stamp);
            world.visible.store(stamp, Ordering::Release);
            if stamp % 16 == 0 {
                writer.reclaim(stamp, 64);
            } else {
                writer.reclaim_lazily(stamp, 64);
            }
        }
        world.done.store(true, Ordering::Relaxed);
    });
    while writer.reclaim(KEYS + ROUNDS, usize::MAX).pruned_versions > 0 {}
    assert_eq!((writer.stats().versions, writer.stats().retired_bytes), (KEYS, 0));
}

#[test]
fn more_threads_than_slots_pin_at_the_same_time() {
    const THREADS: usize = 200;
    let (mut writer, reader) = orchard_map::create();
    put(&mut writer, 0, 1);
    let barrier = Barrier::new(THREADS + 1);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let guard = reader.pin();
                barrier.wait();
                barrier.wait();
                check(&guard, 0, 1);
                drop(guard);
                barrier.wait();
                assert!(check(&reader.pin(), 0, u64::MAX) > 1);
            });
        }
        barrier.wait();
        for stamp in 2..2_000 {
            put(&mut writer, 0, stamp);
            writer.reclaim(stamp, 64);
        }
        assert_eq!(writer.stats().versions, 1_999, "all are pinned at the first stamp");
        barrier.wait();
        barrier.wait();
        writer.reclaim(2_000, usize::MAX);
        assert_eq!(writer.stats().versions, 1);
    });
}
