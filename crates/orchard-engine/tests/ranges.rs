//! Deleting ranges: seen at once, erased behind it, and neither a crash nor a full disk takes it back.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::CommitError;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{
    Check, Commit, DurationMs, Expiry, Key, KeyRange, Operation, SpaceId, UnixMillis, Value, Versionstamp,
};
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;
const KEYS: u64 = 2_000;

fn env(disk: &FaultDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(1)),
    }
}

fn open(disk: &FaultDisk) -> Engine {
    Engine::open(env(disk), EngineOptions::default()).expect("opens")
}

fn key(number: u64) -> Key {
    Key::new(format!("k{number:06}")).expect("short")
}

fn commit(engine: &Engine, commit: &Commit) -> Versionstamp {
    engine.commit(commit, None).expect("commits").versionstamp
}

/// Keys 0 to `KEYS`, each with its number; every tenth expires some day.
fn fill(engine: &Engine) -> Versionstamp {
    let mut filling = Commit::new();
    for number in 0..KEYS {
        let expiry = if number % 10 == 0 { Expiry::After(DurationMs(1_000_000)) } else { Expiry::Never };
        let value = Value::from(number as i64);
        filling = filling.mutate(SPACE, key(number), Operation::Set { value, expiry });
    }
    commit(engine, &filling)
}

fn delete(from: u64, to: u64) -> Commit {
    let end = Some(key(to).into_bytes());
    Commit::new().mutate(SPACE, key(from), Operation::DeleteRange { end })
}

fn count(engine: &Engine) -> u64 {
    engine.count(SPACE, b"", None)
}

fn has(engine: &Engine, number: u64) -> bool {
    engine.get(SPACE, &key(number)).expect("reads").is_some()
}

fn unchanged(from: u64, to: u64, since: Versionstamp) -> Commit {
    let range = KeyRange { start: key(from).into_bytes(), end: Some(key(to).into_bytes()) };
    Commit { checks: vec![Check::Range { space: SPACE, range, unchanged_since: since }], ..Commit::new() }
}

#[test]
fn a_deleted_range_is_gone_at_once_and_its_memory_later() {
    for engine in [
        open(&FaultDisk::new(1)),
        Engine::memory(env(&FaultDisk::new(1)), EngineOptions::default()).expect("opens"),
    ] {
        fill(&engine);
        let before = engine.snapshot();
        commit(&engine, &delete(500, 1_500));
        let stats = engine.stats();
        assert_eq!(
            (stats.deleted_ranges, stats.entries, stats.versions),
            (1, KEYS - 1_000, KEYS),
            "nothing is visited"
        );
        assert_eq!(count(&engine), KEYS - 1_000);
        assert_eq!(engine.count(SPACE, &key(400), Some(&key(600))), 100);
        assert!(has(&engine, 499) && !has(&engine, 500) && !has(&engine, 1_499) && has(&engine, 1_500));
        commit(&engine, &Commit::new().set(SPACE, key(700), "again"));
        assert_eq!(count(&engine), KEYS - 999);
        while engine.erase_step(100) {
            assert!(!has(&engine, 600) && !has(&engine, 1_400) && has(&engine, 700));
            assert_eq!(count(&engine), KEYS - 999);
        }
        for number in [499, 500, 700, 1_499] {
            let entry = engine.get_at(&before, SPACE, &key(number)).expect("reads").expect("was there then");
            assert_eq!(entry.value, Value::from(number as i64));
        }
        drop(before);
        engine.expire_snapshots();
        let stats = engine.stats();
        assert_eq!((stats.deleted_ranges, stats.entries, stats.expiring), (0, KEYS - 999, 100));
        // Old versions are gone; the tombstones go once a segment has them, or at once where there are no segments.
        engine.checkpoint().expect("writes");
        engine.expire_snapshots();
        commit(&engine, &Commit::new().delete(SPACE, key(1)));
        engine.expire_snapshots();
        assert!(engine.stats().versions <= KEYS, "{:?}", engine.stats());
    }
}

#[test]
fn what_a_check_sees_does_not_depend_on_how_much_is_erased() {
    for erased in [1, 700, usize::MAX] {
        let engine = open(&FaultDisk::new(1));
        let filled = fill(&engine);
        let first = commit(&engine, &delete(500, 1_000));
        let second = commit(&engine, &delete(0, 1_500));
        engine.erase_step(erased);
        engine.erase_step(erased);
        let failed = |check: Commit| match engine.submit(&check).outcome {
            Err(CommitError::CheckFailed(failures)) => failures.first().expect("one").found,
            Ok(_) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(failed(unchanged(0, 100, filled)), Some(second));
        assert_eq!(failed(unchanged(600, 700, filled)), Some(first), "the second found nothing there");
        assert_eq!(failed(unchanged(600, 700, first)), None);
        assert_eq!(failed(unchanged(400, 700, first)), Some(second));
        assert_eq!(failed(unchanged(1_600, 1_700, filled)), None);
        assert_eq!(failed(Commit::new().check_absent(SPACE, key(600))), None);
    }
}

#[test]
fn a_checkpoint_holds_what_was_deleted() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk);
    fill(&engine);
    engine.checkpoint().expect("writes");
    commit(&engine, &delete(100, 1_900));
    engine.checkpoint().expect("writes");
    drop(engine);
    let engine = open(&disk.crash(CrashStyle::LoseAll));
    assert_eq!((count(&engine), engine.stats().entries), (200, 200));
    // And so does the log.
    commit(&engine, &delete(0, 99));
    let engine = open(&disk.crash(CrashStyle::LoseAll));
    assert!(engine.stats().entries <= 200 && !has(&engine, 100));
}

#[test]
fn a_full_list_lets_deletes_erase_first() {
    let options = EngineOptions { range_tombstones_max: 2, ..EngineOptions::default() };
    let engine = Engine::open(env(&FaultDisk::new(1)), options).expect("opens");
    fill(&engine);
    for part in 0..10 {
        commit(&engine, &delete(part * 200, part * 200 + 100));
        assert!(engine.stats().deleted_ranges <= 2);
        assert_eq!(count(&engine), KEYS - (part + 1) * 100);
    }
    let many = (0..10).fold(Commit::new(), |commit, part| {
        let end = Some(key(part * 200 + 199).into_bytes());
        commit.mutate(SPACE, key(part * 200 + 100), Operation::DeleteRange { end })
    });
    commit(&engine, &many);
    assert_eq!(count(&engine), 10);
}

#[test]
fn a_range_can_be_deleted_on_a_full_disk_and_is_back_if_the_log_could_not_take_it() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk);
    fill(&engine);
    engine.submit(&delete(0, 1_000)).outcome.expect("applies");
    engine.erase_step(500);
    disk.set_plan(FaultPlan { capacity_bytes: Some(1), ..FaultPlan::default() });
    let large = Commit::new().set(SPACE, key(0), vec![7; 16 << 20]);
    engine.submit(&large).outcome.expect("applies");
    while engine.log_step().is_ok_and(|more| more) {}
    let is_full = engine.is_disk_full();
    assert!(is_full, "the large one does not fit");
    let deleted = engine.stats().entries;
    assert!(deleted == KEYS - 1_000 || deleted == KEYS, "{deleted}");
    commit(&engine, &delete(0, 2_000));
    assert_eq!((count(&engine), engine.stats().entries), (0, 0));
}

#[test]
fn many_tombstones_in_memory_make_a_checkpoint_due() {
    const MANY: u64 = 70_000;
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env { clock: clock.clone(), ..env(&FaultDisk::new(1)) };
    let engine = Engine::open(env, EngineOptions::default()).expect("opens");
    for first in (0..MANY).step_by(10_000) {
        let put = |all: Commit, number| all.set(SPACE, key(number), "value");
        commit(&engine, &(first..first + 10_000).fold(Commit::new(), put));
    }
    clock.advance_ms(11_000);
    assert!(!engine.wants_checkpoint(), "nothing is deleted");
    commit(&engine, &delete(0, MANY - 10));
    while engine.erase_step(10_000) {}
    assert!(engine.wants_checkpoint());
    engine.checkpoint().expect("writes");
    engine.expire_snapshots();
    commit(&engine, &Commit::new().delete(SPACE, key(MANY - 1)));
    clock.advance_ms(11_000);
    assert!(!engine.wants_checkpoint(), "{:?}", engine.stats());
    assert!(engine.stats().versions < 100, "{:?}", engine.stats());
}
