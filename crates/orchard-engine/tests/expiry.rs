//! Sweeping what has expired: an ordinary commit that the feed tells of, and memory and disk come back.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_env::fault::FaultDisk;
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{
    Commit, DurationMs, Expiry, Key, Mutation, Operation, SpaceId, UnixMillis, Value, Versionstamp,
};
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;
const KEYS: u64 = 20_000;
const BATCH: usize = 500;
const LIMIT_BYTES: u64 = 16 << 20;

fn key(number: u64) -> Key {
    Key::new(format!("k{number:06}")).expect("short")
}

fn set(number: u64, size_bytes: usize, expiry: Expiry) -> Mutation {
    let value = Value::from(vec![number as u8; size_bytes]);
    Mutation { space: SPACE, key: key(number), operation: Operation::Set { value, expiry } }
}

fn put(engine: &Engine, mutations: Vec<Mutation>) {
    engine.commit(&Commit { mutations, ..Commit::new() }, None).expect("commits");
}

#[test]
fn what_expired_is_swept_in_small_commits_and_its_memory_and_disk_come_back() {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env {
        disk: Arc::new(FaultDisk::new(1)),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
    };
    let options =
        EngineOptions { memory_limit_bytes: LIMIT_BYTES, feed_tail_bytes: 0, ..EngineOptions::default() };
    let engine = Engine::open(env, options).expect("opens");
    let empty_bytes = engine.memory_bytes();
    for first in (0..KEYS).step_by(BATCH) {
        let all = first..first + BATCH as u64;
        put(&engine, all.map(|number| set(number, 100, Expiry::After(DurationMs(1_000)))).collect());
    }
    // Some live longer, and some for ever.
    put(&engine, (0..100).map(|number| set(number, 10, Expiry::After(DurationMs(100_000)))).collect());
    put(&engine, (100..200).map(|number| set(number, 10, Expiry::Never)).collect());
    engine.checkpoint().expect("writes");
    let full = engine.stats();
    assert_eq!((full.entries, full.expiring), (KEYS, KEYS - 100));
    assert!(engine.sweep_commit(BATCH).is_none(), "nothing has expired");
    clock.advance_ms(2_000);
    let (mut last, mut commits) = (Versionstamp::ZERO, 0);
    let feed_from = engine.visible();
    while let Some(commit) = engine.sweep_commit(BATCH) {
        assert!(commit.mutations.len() <= BATCH);
        last = engine.commit(&commit, None).expect("commits").versionstamp;
        commits += 1;
        // Writers come in between.
        put(&engine, vec![set(KEYS + commits, 10, Expiry::Never)]);
    }
    assert_eq!(commits, (KEYS - 200).div_ceil(BATCH as u64));
    let changes = engine.changes(feed_from, 10_000).expect("whole");
    let deletes = changes.iter().flat_map(|change| &change.mutations);
    let deletes = deletes.filter(|mutation| matches!(mutation.operation, Operation::DeleteIfStamp(_)));
    assert_eq!(deletes.count() as u64, KEYS - 200, "the feed tells of each");
    assert!(changes.iter().any(|change| change.versionstamp == last));
    let stats = engine.stats();
    assert_eq!((stats.entries, stats.expiring), (200 + commits, 100));
    assert!(!engine.wants_checkpoint(), "the last one was a moment ago");
    clock.advance_ms(11_000);
    assert!(engine.wants_checkpoint(), "segments hold what was deleted");
    engine.checkpoint().expect("writes");
    while engine.merge_step(100_000, &PlanOptions::SETTLED).expect("merges") {}
    engine.expire_snapshots();
    let stats = engine.stats();
    assert_eq!(stats.versions, stats.entries, "neither old versions nor tombstones are left");
    assert!(
        stats.segment_bytes * 20 < full.segment_bytes,
        "{} of {}",
        stats.segment_bytes,
        full.segment_bytes
    );
    // Beside it there is the newest part of the log, for the feed.
    let (used, was) = (engine.memory_bytes() - empty_bytes, full.memory_bytes - empty_bytes);
    assert!(used < was / 20 + LIMIT_BYTES / 32, "{used} of {was}");
}
