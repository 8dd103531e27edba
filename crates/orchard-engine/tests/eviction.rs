//! At the memory limit: values leave, those that are read come back, and every answer stays right.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_env::fault::FaultDisk;
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Key, SpaceId, UnixMillis};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const LIMIT_BYTES: u64 = 8 << 20;
const ENTRIES: u64 = 16_000;
/// All that is read fits twice into what is left for values.
const HOT: u64 = 2_000;
const VALUE_BYTES: usize = 1_000;

fn key(number: u64) -> Key {
    Key::new(format!("{number:016x}")).expect("short")
}

fn value(number: u64) -> Vec<u8> {
    let mut value = number.to_be_bytes().to_vec();
    value.resize(VALUE_BYTES, 7);
    value
}

fn new_engine() -> Engine {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env { disk: Arc::new(FaultDisk::new(1)), clock, random: Arc::new(SeededRandom::new(1)) };
    let options =
        EngineOptions { memory_limit_bytes: LIMIT_BYTES, feed_tail_bytes: 0, ..EngineOptions::default() };
    Engine::open(env, options).expect("opens")
}

/// An engine at its memory limit, everything in segments.
fn full_engine() -> Engine {
    let engine = new_engine();
    for batch in 0..ENTRIES / 20 {
        let mut commit = Commit::new();
        for number in batch * 20..(batch + 1) * 20 {
            commit = commit.set(SpaceId::DEFAULT, key(number), value(number));
        }
        engine.submit(&commit).outcome.expect("there is memory");
        engine.drain_log().expect("writes");
        if batch % 50 == 49 {
            engine.checkpoint().expect("writes");
        }
    }
    engine.checkpoint().expect("writes");
    // As upkeep asks again and again; it looks at the memory in use.
    engine.wants_checkpoint();
    engine
}

fn read(engine: &Engine, number: u64) {
    let entry = engine.get(SpaceId::DEFAULT, &key(number)).expect("reads");
    assert_eq!(entry.expect("is there").value.data, value(number));
}

#[test]
fn what_is_read_comes_back_though_nobody_writes() {
    let engine = full_engine();
    assert!(engine.stats().evictions > 0, "values had to leave");
    let mut loads = engine.stats().loads;
    let mut loads_of_round = Vec::new();
    for _ in 0..6 {
        (0..HOT).for_each(|number| read(&engine, number));
        let now = engine.stats().loads;
        loads_of_round.push(now - loads);
        loads = now;
    }
    assert!(loads_of_round[0] > HOT / 2, "most had left: {loads_of_round:?}");
    assert!(loads_of_round[5] < HOT / 20, "they are back: {loads_of_round:?}");
    assert!(engine.memory_bytes() <= LIMIT_BYTES);
}

#[test]
fn reading_everything_again_and_again_stays_within_the_limit() {
    let engine = full_engine();
    for _ in 0..2 {
        (0..ENTRIES).for_each(|number| read(&engine, number));
        assert!(engine.memory_bytes() <= LIMIT_BYTES, "{} bytes", engine.memory_bytes());
    }
}

#[test]
fn an_eviction_ends_when_there_is_nothing_left_to_evict() {
    let engine = full_engine();
    let gone = engine.evict(u64::MAX);
    assert!(gone > 0);
    assert_eq!(engine.stats().resident_value_bytes, 0);
    assert_eq!(engine.evict(u64::MAX), 0);
    (0..ENTRIES).for_each(|number| read(&engine, number));
}

#[test]
fn a_visit_shows_what_is_on_disk_in_its_place() {
    let engine = full_engine();
    assert!(engine.stats().evictions > 0, "values had to leave");
    for reverse in [false, true] {
        let before = engine.stats().loads;
        let mut expected: Box<dyn Iterator<Item = u64>> =
            if reverse { Box::new((0..ENTRIES).rev()) } else { Box::new(0..ENTRIES) };
        let all = (Bound::Unbounded, Bound::Unbounded);
        let visited = engine.visit(&engine.snapshot(), all.0, all.1, reverse, |entry| {
            let number = expected.next().expect("no more than were written");
            assert_eq!((entry.key, entry.value), (&*key(number), &*value(number)));
            ControlFlow::Continue(())
        });
        visited.expect("reads");
        assert_eq!(expected.next(), None, "all were shown");
        assert!(engine.stats().loads > before, "some came from the disk");
    }
}

static WAITS: AtomicBool = AtomicBool::new(false);

#[test]
fn a_commit_waits_for_a_checkpoint_where_it_was_told_to() {
    let engine = new_engine();
    engine.set_kept_up(true);
    engine.set_long_wait(Box::new(|wait| {
        WAITS.store(true, Ordering::SeqCst);
        wait();
    }));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for number in 0..ENTRIES {
                let commit = Commit::new().set(SpaceId::DEFAULT, key(number), value(number));
                engine.submit(&commit).outcome.expect("a checkpoint comes");
                engine.drain_log().expect("writes");
            }
        });
        while !writer.is_finished() {
            if WAITS.swap(false, Ordering::SeqCst) {
                engine.checkpoint().expect("writes");
            }
            std::thread::yield_now();
        }
    });
    let stats = engine.stats();
    assert!(stats.checkpoints > 0, "nobody waited: {stats:?}");
    read(&engine, 0);
    read(&engine, ENTRIES - 1);
}
