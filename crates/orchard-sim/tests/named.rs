//! Failures that the simulator found, each as small as it could be made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use orchard_engine::changes::ChangesError;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::CommitError;
use orchard_env::fault::{CrashStyle, Failure, FaultDisk, FaultPlan};
use orchard_env::{Clock, Env, ManualClock};
use orchard_sim::oracle::key;
use orchard_sim::subject::{small_options, world};
use orchard_types::{Commit, Durability, DurationMs, Expiry, Operation, SpaceId, UnixMillis, Versionstamp};
use std::convert::Infallible;
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;

fn open(disk: &FaultDisk, options: &EngineOptions) -> Engine {
    Engine::open(world(disk, 1), options.clone()).expect("what a crash left opens")
}

fn set(name: &str) -> Commit {
    Commit::new().set(SPACE, key(name.as_bytes()), "value")
}

/// Commits until durable.
fn put(engine: &Engine, name: &str) -> Versionstamp {
    engine.commit(&set(name), Some(Durability::Fsync)).expect("commits").versionstamp
}

fn has(engine: &Engine, name: &str) -> bool {
    engine.get(SPACE, name.as_bytes()).expect("reads").is_some()
}

/// Found by seed 57: an index that was given out, but whose group a crash had lost, was given out again when a clean
/// stop without a write came in between.
#[test]
fn an_index_lost_in_a_crash_stays_lost_over_a_clean_stop() {
    let options = small_options();
    let disk = FaultDisk::new(1);
    let engine = open(&disk, &options);
    put(&engine, "a");
    let lost = engine.submit(&set("b")).outcome.expect("applies").versionstamp;
    let disk = disk.crash(CrashStyle::LoseAll);
    let engine = open(&disk, &options);
    engine.close().expect("closes");
    drop(engine);
    let engine = open(&disk, &options);
    assert!(put(&engine, "c").index() > lost.index());
}

/// Found by seed 176: after a failed fsync the kernel marks pages clean; another fsync by the next process succeeds
/// and does nothing. What recovery had read from the cache was then taken for durable.
#[test]
fn a_failed_fsync_is_not_believed_by_the_next_process() {
    let options = small_options();
    for seed in 0..100 {
        let disk = FaultDisk::new(seed);
        let engine = open(&disk, &options);
        put(&engine, "a");
        engine.submit(&set("b")).outcome.expect("applies");
        disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
        assert!(matches!(engine.log_step(), Err(CommitError::Poisoned(_))));
        let disk = disk.kill();
        let engine = open(&disk, &options);
        let had_b = has(&engine, "b");
        put(&engine, "c");
        let engine = open(&disk.crash(CrashStyle::LoseAll), &options);
        assert!(has(&engine, "a") && has(&engine, "c"), "seed {seed}");
        assert_eq!(has(&engine, "b"), had_b, "seed {seed}: what a reader saw is gone");
    }
}

/// Found by seed 100089: a rotation that failed on a full disk left a file with a whole header, removed but not for
/// good; the log grew on before it, and after a crash that growth was called damage.
#[test]
fn a_rotation_that_failed_is_forgotten_for_good() {
    let options = small_options();
    for (call, seed) in (1..30).flat_map(|call| (0..4).map(move |seed| (call, seed))) {
        let disk = FaultDisk::new(seed);
        let engine = open(&disk, &options);
        put(&engine, "a");
        let failing = Some((disk.calls() + call, Failure::Full));
        disk.set_plan(FaultPlan { fail_call: failing, ..FaultPlan::default() });
        let _ = engine.checkpoint();
        disk.set_plan(FaultPlan::default());
        if engine.poisoned().is_some() {
            continue;
        }
        engine.idle_step().expect("there is space again");
        put(&engine, "b");
        for image in 0..20 {
            let engine = open(&disk.image(CrashStyle::Random, image), &options);
            assert!(has(&engine, "a") && has(&engine, "b"), "call {call}, seed {seed}, image {image}");
        }
    }
}

/// Found by seed 570: at the memory limit each try of a commit loaded the value that it needed, and the next one threw
/// it out again before it looked, for ever.
#[test]
fn a_value_that_a_commit_needs_stays_until_it_is_decided() {
    let mut options = EngineOptions { evictable_value_bytes_min: 1, ..small_options() };
    let disk = FaultDisk::new(1);
    let engine = open(&disk, &options);
    put(&engine, "a");
    options.memory_limit_bytes = engine.memory_bytes() + 100_000;
    let large = Commit::new().set(SPACE, key(b"large"), vec![7; 150_000]);
    engine.commit(&large, None).expect("commits");
    engine.checkpoint().expect("writes");
    engine.close().expect("closes");
    drop(engine);
    let engine = open(&disk, &options);
    let touch = Operation::Touch { expiry: Expiry::Never };
    let submitted = engine.submit(&Commit::new().mutate(SPACE, key(b"large"), touch));
    submitted.outcome.expect("applies");
}

/// Found by seed 3: below `fsync` a reader of the feed may have seen a commit that a crash then took back; going on
/// behind it would hide that.
#[test]
fn the_feed_does_not_go_on_behind_a_commit_that_a_crash_took_back() {
    let options = EngineOptions { durability: Durability::Os, ..small_options() };
    let disk = FaultDisk::new(1);
    let engine = open(&disk, &options);
    let kept = put(&engine, "a");
    let lost = engine.commit(&set("b"), None).expect("commits").versionstamp;
    let engine = open(&disk.crash(CrashStyle::LoseAll), &options);
    let next = put(&engine, "c");
    assert!(matches!(engine.changes(lost, 10), Err(ChangesError::Gap { .. })));
    let behind: Vec<_> =
        engine.changes(kept, 10).expect("whole").iter().map(|change| change.versionstamp).collect();
    assert_eq!(behind, [next]);
}

/// Found by seed 2632: a full disk refused commits before they could reserve log indexes, and the idle probe gave up
/// when none were left.
#[test]
fn a_disk_with_space_again_is_noticed_when_no_index_is_reserved() {
    let options = EngineOptions { reserve_indexes: 2, ..small_options() };
    for commits in 0..12 {
        let disk = FaultDisk::new(commits);
        let engine = open(&disk, &options);
        for number in 0..commits {
            put(&engine, &format!("k{number}"));
        }
        let capacity_bytes = Some(disk.used_bytes());
        disk.set_plan(FaultPlan { capacity_bytes, ..FaultPlan::default() });
        let large = Commit::new().set(SPACE, key(b"large"), vec![7; 60_000]);
        for _ in 0..3 {
            let _ = engine.commit(&large, None);
        }
        disk.set_plan(FaultPlan::default());
        engine.drain_log().expect("there is space again");
        engine.idle_step().expect("there is space again");
        put(&engine, "again");
    }
}

/// Found by seed 4378: a transaction read at the time of a group that it could no longer join, saw an entry that had
/// expired by the time of its own group, and gave it a new life without end.
#[test]
fn a_transaction_reads_at_the_time_of_its_own_group() {
    let options = EngineOptions { durability: Durability::None, ..small_options() };
    let disk = FaultDisk::new(1);
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env { clock: clock.clone(), ..world(&disk, 1) };
    let engine = Engine::open(env, options).expect("opens");
    let brief = Operation::Set { value: "brief".into(), expiry: Expiry::After(DurationMs(10)) };
    engine.submit(&Commit::new().mutate(SPACE, key(b"a"), brief)).outcome.expect("applies");
    clock.advance_ms(20);
    assert!(!has(&engine, "a"), "a reader has moved the log's clock");
    let submitted = engine.submit_exclusive(|pin| {
        assert!(pin.time() >= clock.now());
        assert_eq!(engine.get_at(pin, SPACE, b"a").expect("reads"), None);
        Ok::<_, Infallible>(set("b"))
    });
    let Ok(submitted) = submitted;
    assert_eq!(submitted.outcome.expect("applies").log_time, clock.now());
}

/// Found by seed 18: log files that no manifest needed came back with crashes and were kept for ever, and each unclean
/// end of an unchanged database added one more.
#[test]
fn log_files_do_not_pile_up_over_crashes() {
    let options = EngineOptions { log_retention_bytes: 0, ..small_options() };
    let mut disk = FaultDisk::new(1);
    for round in 0..40 {
        let engine = open(&disk, &options);
        if round < 20 {
            put(&engine, "a");
            engine.checkpoint().expect("writes");
        }
        disk = disk.crash(CrashStyle::LoseAll);
        let logs = disk.files().iter().filter(|(path, _)| path.ends_with(".log")).count();
        assert!(logs <= 4, "round {round}: {:?}", disk.files());
    }
}

/// Found by seed 900398: a group that did not fit on the disk was refused, and unmade by a write that nothing made
/// durable; a crash kept the group and lost that write.
#[test]
fn a_group_refused_for_want_of_space_does_not_come_back_in_a_crash() {
    for seed in 1..=50 {
        let options = small_options();
        let disk = FaultDisk::new(seed);
        let engine = open(&disk, &options);
        put(&engine, "a");
        assert!(engine.submit(&set("b")).outcome.is_ok());
        let failing = Some((disk.calls() + 1, Failure::Full));
        disk.set_plan(FaultPlan { fail_call: failing, ..FaultPlan::default() });
        assert!(matches!(engine.log_step(), Err(CommitError::DiskFull)));
        drop(engine);
        let engine = open(&disk.crash(CrashStyle::Random), &options);
        assert!(has(&engine, "a") && !has(&engine, "b"), "seed {seed}");
    }
}
