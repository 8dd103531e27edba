//! Snapshots: stable while they live, ended by age or by what they hold.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::ReadError;
use orchard_env::fault::FaultDisk;
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Key, SpaceId, UnixMillis, Value};
use std::sync::Arc;

fn engine(clock: &Arc<ManualClock>) -> Engine {
    let env = Env {
        disk: Arc::new(FaultDisk::new(1)),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
    };
    let options = EngineOptions {
        snapshot_age_ms_max: 60_000,
        snapshot_pinned_bytes_max: 64 << 10,
        ..EngineOptions::default()
    };
    Engine::open(env, options).expect("an empty disk opens")
}

fn put(engine: &Engine, value: &[u8]) {
    let key = Key::new("key").expect("short");
    engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, value)).outcome.expect("taken");
    engine.log_step().expect("durable");
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)))
}

#[test]
fn a_snapshot_ends_at_its_age() {
    let clock = clock();
    let engine = engine(&clock);
    put(&engine, b"old");
    let snapshot = engine.snapshot();
    clock.advance_ms(59_000);
    put(&engine, b"new");
    engine.expire_snapshots();
    let entry = engine.get_at(&snapshot, SpaceId::DEFAULT, b"key").expect("not too old").expect("there");
    assert_eq!(entry.value, Value::from(&b"old"[..]));
    clock.advance_ms(2_000);
    engine.expire_snapshots();
    let read = engine.get_at(&snapshot, SpaceId::DEFAULT, b"key");
    assert!(matches!(read, Err(ReadError::SnapshotTooOld)), "{read:?}");
}

#[test]
fn the_oldest_snapshot_ends_when_old_versions_take_too_much() {
    let engine = engine(&clock());
    put(&engine, &[1; 40 << 10]);
    let first = engine.snapshot();
    put(&engine, &[2; 40 << 10]);
    let second = engine.snapshot();
    engine.expire_snapshots();
    assert!(!first.is_expired(), "one old version is within the bound");
    put(&engine, &[3; 40 << 10]);
    engine.expire_snapshots();
    assert!(first.is_expired());
    let read = engine.get_at(&first, SpaceId::DEFAULT, b"key");
    assert!(matches!(read, Err(ReadError::SnapshotTooOld)), "{read:?}");
    let entry = engine.get_at(&second, SpaceId::DEFAULT, b"key").expect("not too old").expect("there");
    assert_eq!(entry.value, Value::from(&[2; 40 << 10][..]));
    engine.expire_snapshots();
    assert!(!second.is_expired(), "one old version is left");
}
