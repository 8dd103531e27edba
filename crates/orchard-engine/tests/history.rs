//! History: within its retention it survives checkpoints, merges and the end of the process; beyond it goes.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::ReadError;
use orchard_env::fault::{CrashStyle, FaultDisk};
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Key, SpaceId, UnixMillis, Value, Versionstamp};
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;
const MERGE: PlanOptions =
    PlanOptions { fan_out: 2, segments_max: 1, small_size_bytes: 1, space_percent_max: 100 };

struct World {
    disk: FaultDisk,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> World {
        World { disk: FaultDisk::new(1), clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))) }
    }

    fn open(&self, retention_ms: u64) -> Engine {
        let env = Env {
            disk: Arc::new(self.disk.clone()),
            clock: self.clock.clone(),
            random: Arc::new(SeededRandom::new(1)),
        };
        let options = EngineOptions { history_retention_ms: retention_ms, ..EngineOptions::default() };
        Engine::open(env, options).expect("opens")
    }
}

fn key(name: &str) -> Key {
    Key::new(name.to_owned()).expect("short")
}

fn put(engine: &Engine, name: &str, value: i64) -> Versionstamp {
    engine.commit(&Commit::new().set(SPACE, key(name), value), None).expect("commits").versionstamp
}

/// The values of a key, the newest first.
fn values(engine: &Engine, name: &str) -> Vec<Option<i64>> {
    let history = engine.history(SPACE, name.as_bytes(), 1_000).expect("reads");
    history.into_iter().map(|kept| kept.value.and_then(|(value, _)| value.as_int())).collect()
}

fn at(engine: &Engine, version: Versionstamp, name: &str) -> Option<Value> {
    let snapshot = engine.snapshot_at(version).expect("kept");
    engine.get_at(&snapshot, SPACE, name.as_bytes()).expect("reads").map(|entry| entry.value)
}

#[test]
fn history_survives_checkpoints_merges_and_crashes() {
    let mut world = World::new();
    let engine = world.open(3_600_000);
    let mut stamps = Vec::new();
    for round in 0..6 {
        stamps.push(put(&engine, "a", round));
        world.clock.advance_ms(1_000);
        if round % 2 == 1 {
            engine.checkpoint().expect("writes");
        }
    }
    let deleted = engine.commit(&Commit::new().delete(SPACE, key("a")), None).expect("commits");
    put(&engine, "b", 1);
    let expected = [None, Some(5), Some(4), Some(3), Some(2), Some(1), Some(0)];
    assert_eq!(values(&engine, "a"), expected);
    engine.checkpoint().expect("writes");
    while engine.merge_step(1_000, &MERGE).expect("merges") {}
    drop(engine);
    world.disk = world.disk.crash(CrashStyle::LoseAll);
    let engine = world.open(3_600_000);
    assert_eq!(values(&engine, "a"), expected);
    assert_eq!(engine.count(SPACE, b"", None), 1);
    assert_eq!(engine.stats().entries, 1);
    for (round, stamp) in (0..).zip(&stamps) {
        assert_eq!(at(&engine, *stamp, "a"), Some(Value::from(round)));
    }
    assert_eq!(at(&engine, deleted.versionstamp, "a"), None);
    let second = engine.version_at(UnixMillis(1_700_000_001_500)).expect("known");
    assert_eq!(at(&engine, second, "a"), Some(Value::from(1i64)));
    world.clock.advance_ms(2_000);
    put(&engine, "a", 7);
    assert_eq!(values(&engine, "a").first(), Some(&Some(7)));
    // An hour later it is gone, from memory and with the next merge from disk.
    world.clock.advance_ms(3_700_000);
    engine.expire_snapshots();
    put(&engine, "b", 2);
    engine.expire_snapshots();
    assert_eq!(values(&engine, "a"), [Some(7)]);
    assert!(matches!(engine.snapshot_at(stamps[5]), Err(ReadError::SnapshotTooOld)));
    engine.checkpoint().expect("writes");
    while engine.merge_step(1_000, &MERGE).expect("merges") {}
    let entries: u64 = engine.manifest().segments.iter().map(|segment| segment.entries).sum();
    assert!(entries <= 4, "{entries} versions are left");
}

#[test]
fn a_database_opened_without_retention_forgets_its_past() {
    let world = World::new();
    let engine = world.open(3_600_000);
    let first = put(&engine, "a", 1);
    put(&engine, "a", 2);
    engine.checkpoint().expect("writes");
    engine.close().expect("closes");
    drop(engine);
    let engine = world.open(0);
    assert_eq!(values(&engine, "a"), [Some(2)]);
    assert!(matches!(engine.snapshot_at(first), Err(ReadError::SnapshotTooOld)));
    put(&engine, "a", 3);
    engine.checkpoint().expect("writes");
    engine.close().expect("closes");
    drop(engine);
    let engine = world.open(3_600_000);
    assert_eq!(values(&engine, "a"), [Some(3)]);
    assert!(matches!(engine.snapshot_at(first), Err(ReadError::SnapshotTooOld)));
}
