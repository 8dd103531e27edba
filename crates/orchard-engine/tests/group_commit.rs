//! How many commits share one sync, in virtual time: a slow disk bounds groups, not commits.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::CommitError;
use orchard_env::fault::{FaultDisk, FaultPlan, Latency};
use orchard_env::{Clock, Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Durability, Key, SpaceId, UnixMillis, Versionstamp};
use std::sync::Arc;
use std::task::Waker;

const SYNC_NS: u64 = 12_000_000;
/// The longest that a group waits for those just answered: 5 % of the sync.
const COMPANY_NS: u64 = SYNC_NS / 20;
const ROUNDS: u64 = 200;

/// Commits a second of writers that each commit again once they are answered, every group having waited for company as
/// long as it may.
fn commits_per_second(writers: u64) -> u64 {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let disk = FaultDisk::new(1);
    let random = Arc::new(SeededRandom::new(1));
    let env = Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random };
    let engine = Engine::open(env, EngineOptions::default()).expect("opens");
    let latency = Latency { read_ns: 10_000, write_ns: 50_000, kibibyte_ns: 1_000, sync_ns: SYNC_NS };
    disk.set_latency(latency, Arc::clone(&clock));
    let started_ns = clock.monotonic_ns();
    for round in 0..ROUNDS {
        clock.advance_ns(COMPANY_NS);
        let submit = |writer: u64| -> Versionstamp {
            let key = Key::new(format!("{writer}-{round}")).expect("short");
            let submitted = engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, vec![7; 100]));
            submitted.outcome.expect("applies").versionstamp
        };
        let stamps: Vec<Versionstamp> = (0..writers).map(submit).collect();
        let answer = |stamp: &Versionstamp| engine.poll_wait(*stamp, Durability::Fsync, Waker::noop());
        assert!(stamps.iter().all(|stamp| answer(stamp).is_none()), "nobody is answered before the sync");
        engine.log_step().expect("writes");
        assert!(stamps.iter().all(|stamp| matches!(answer(stamp), Some(Ok(())))), "one sync serves all");
    }
    writers * ROUNDS * 1_000_000_000 / (clock.monotonic_ns() - started_ns)
}

#[test]
fn a_sync_of_12_ms_serves_all_who_wait() {
    assert!((60..=83).contains(&commits_per_second(1)), "a lone writer has the disk's rate");
    let (few, many) = (commits_per_second(32), commits_per_second(300));
    assert!(few >= 2_000, "32 writers: {few} commits/s");
    assert!(many >= 18_000, "300 writers: {many} commits/s");
}

fn open(disk: &FaultDisk) -> Engine {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env { disk: Arc::new(disk.clone()), clock, random: Arc::new(SeededRandom::new(1)) };
    Engine::open(env, EngineOptions::default()).expect("opens")
}

/// Threads that each commit `each` entries, one after the other, and what became of each commit.
fn commit_with_threads(engine: &Engine, threads: u64, each: u64) -> Vec<Result<(), CommitError>> {
    let writer = |thread: u64| {
        let commit = move |number: u64| {
            let key = Key::new(format!("{thread}-{number}")).expect("short");
            engine.commit(&Commit::new().set(SpaceId::DEFAULT, key, vec![7; 10]), None).map(|_| ())
        };
        (0..each).map(commit).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..threads).map(|thread| scope.spawn(move || writer(thread))).collect();
        writers.into_iter().flat_map(|writer| writer.join().expect("does not panic")).collect()
    })
}

#[test]
fn threads_drive_the_log_among_themselves() {
    let engine = open(&FaultDisk::new(1));
    let outcomes = commit_with_threads(&engine, 8, 200);
    assert!(outcomes.iter().all(Result::is_ok));
    let stats = engine.stats();
    assert_eq!(stats.entries, 1_600);
    assert!(stats.groups <= 1_600);
}

#[test]
fn every_thread_that_waits_hears_of_a_failed_sync() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk);
    disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 20), ..FaultPlan::default() });
    let outcomes = commit_with_threads(&engine, 8, 200);
    let failed = |outcome: &&Result<(), CommitError>| matches!(outcome, Err(CommitError::Poisoned(_)));
    assert!(outcomes.iter().filter(failed).count() >= 8, "each thread comes to a commit that fails");
    assert!(outcomes.iter().all(|outcome| outcome.is_ok() || failed(&outcome)));
}

#[test]
fn groups_stay_in_memory_once_somebody_follows_and_are_read_from_files_before() {
    const VALUE_BYTES: usize = 100_000;
    let env = Env {
        disk: Arc::new(FaultDisk::new(1)),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(1)),
    };
    let options = EngineOptions { durability: Durability::Os, ..EngineOptions::default() };
    let engine = Engine::open(env, options).expect("opens");
    let start = engine.visible();
    let put = |number: u64| {
        let key = Key::new(number.to_be_bytes().to_vec()).expect("short");
        engine
            .submit(&Commit::new().set(SpaceId::DEFAULT, key, vec![7; VALUE_BYTES]))
            .outcome
            .expect("applies");
        while engine.log_step().expect("it writes") {}
        engine.stats().memory_bytes as usize
    };
    let memory = (0..8).map(put).last().expect("some");
    assert!(memory < 12 * VALUE_BYTES, "values are in memory once: {memory}");
    assert_eq!(engine.changes(start, usize::MAX).expect("the log is whole").len(), 8);
    let memory = (8..16).map(put).last().expect("some");
    assert!(memory > 20 * VALUE_BYTES, "with their groups: {memory}");
    assert_eq!(engine.changes(start, usize::MAX).expect("the log is whole").len(), 16);
}

/// A record that is large gives its memory to the group that it begins; what comes behind it joins as ever.
#[test]
fn large_and_small_records_lie_in_a_group_in_their_order() {
    const SMALL: usize = 10;
    const LARGE: usize = 40_000;
    for sizes in [[LARGE, SMALL, LARGE, SMALL], [SMALL, LARGE, SMALL, LARGE]] {
        let disk = FaultDisk::new(1);
        let value = |number: usize, size: usize| vec![number as u8; size];
        {
            let engine = open(&disk);
            for (number, size) in sizes.into_iter().enumerate() {
                let key = |name: String| Key::new(name).expect("short");
                let commit = Commit::new()
                    .set(SpaceId::DEFAULT, key("last".into()), value(number, size))
                    .set(SpaceId::DEFAULT, key(number.to_string()), value(number, size));
                engine.submit(&commit).outcome.expect("applies");
            }
            engine.drain_log().expect("writes");
            assert_eq!(engine.groups_written(), 1, "they share a group");
        }
        let engine = open(&disk);
        let read = |key: &[u8]| {
            let entry = engine.get(SpaceId::DEFAULT, key).expect("reads").expect("is there");
            entry.value.data.to_vec()
        };
        for (number, size) in sizes.into_iter().enumerate() {
            assert_eq!(read(number.to_string().as_bytes()), value(number, size));
        }
        assert_eq!(read(b"last"), value(3, sizes[3]));
    }
}

/// Write and sync may be one call, but not for who asked for the write alone.
#[test]
fn who_waits_for_the_write_alone_hears_of_it_before_the_sync() {
    for asks in [true, false] {
        let disk = FaultDisk::new(1);
        let engine = open(&disk);
        let commit = Commit::new().set(SpaceId::DEFAULT, Key::new("key").expect("short"), "value");
        let stamp = engine.submit(&commit).outcome.expect("applies").versionstamp;
        let answer = |level| engine.poll_wait(stamp, level, Waker::noop());
        if asks {
            assert!(answer(Durability::Os).is_none());
        }
        disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
        assert!(matches!(engine.log_step(), Err(CommitError::Poisoned(_))));
        assert!(matches!(answer(Durability::Fsync), Some(Err(CommitError::Poisoned(_)))));
        assert_eq!(
            matches!(answer(Durability::Os), Some(Ok(()))),
            asks,
            "it was written, as far as is known"
        );
    }
}
