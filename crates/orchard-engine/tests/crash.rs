//! A scripted workload with rotation, checkpoints and merges, and the power failing at every one of its I/O calls.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::changes::{ChangesError, FeedCursor};
use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::{CommitError, OpenError, StorageError};
use orchard_engine::read::BatchRequest;
use orchard_engine::verify::verify_directory;
use orchard_engine::wal::log::LogOptions;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan, Latency};
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{
    Commit, Durability, DurationMs, Expiry, Key, NumberOp, Operation, SpaceId, UnixMillis, Value,
    Versionstamp,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

type State = BTreeMap<Vec<u8>, Vec<u8>>;

const MERGE_STEP: usize = 40;
/// Where a manifest's body begins. Of its header a byte is the format's version, and a flip there is a newer format.
const HEADER_SIZE_BYTES: u64 = 64;

fn options(durability: Durability) -> EngineOptions {
    EngineOptions {
        durability,
        log: LogOptions {
            file_size_bytes_max: 8 << 10,
            prefill_bytes_min: 4 << 10,
            prefill_bytes_max: 4 << 10,
            prefills: true,
            reserve_bytes: 4 << 10,
            // One level recycles its log files, the other removes them.
            spare_files_max: usize::from(durability == Durability::Fsync),
        },
        // What a checkpoint retires is used again or removed at once.
        log_retention_ms: 0,
        log_retention_bytes: 0,
        reserve_indexes: 16,
        open_threads: 1,
        compaction: PlanOptions { fan_out: 2, segments_max: 3, small_size_bytes: 1, ..PlanOptions::BUSY },
        group_delay_ns_max: 0,
        ..EngineOptions::default()
    }
}

fn env(disk: &FaultDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(3)),
    }
}

fn open(disk: &FaultDisk, durability: Durability) -> Result<Engine, OpenError> {
    Engine::open(env(disk), options(durability))
}

/// Everything that the engine shows.
fn state_of(engine: &Engine) -> State {
    let snapshot = engine.snapshot();
    let (lower, upper) = orchard_engine::apply::flat_bounds(SpaceId::DEFAULT, b"", None);
    let upper = upper.expect("a space has a next one");
    let mut state = State::new();
    let mut resume: Option<Vec<u8>> = None;
    loop {
        let lower = resume.as_deref().map_or(Bound::Included(lower.as_slice()), Bound::Excluded);
        let request = BatchRequest {
            lower,
            upper: Bound::Excluded(&upper),
            reverse: false,
            keys_only: false,
            entries_max: 100,
            bytes_max: 1 << 20,
        };
        let batch = engine.batch(&snapshot, request).expect("readable");
        state.extend(batch.entries.into_iter().map(|entry| (entry.key.to_vec(), entry.value.data.to_vec())));
        resume = batch.resume;
        if resume.is_none() {
            return state;
        }
    }
}

/// What a run of the workload has done so far.
#[derive(Default)]
struct Run {
    /// The state after each submitted commit; the first is the empty one.
    states: Vec<State>,
    /// How many of them were acknowledged.
    acknowledged: usize,
    /// The newest stamp that was given out.
    newest: Versionstamp,
}

impl Run {
    fn submit(&mut self, engine: &Engine, changes: &[(Vec<u8>, Option<Vec<u8>>)]) -> Result<(), CommitError> {
        let mut commit = Commit::new();
        let mut state = self.states.last().cloned().unwrap_or_default();
        for (key, value) in changes {
            let name = Key::new(key.clone()).expect("short");
            match value {
                Some(value) => {
                    commit = commit.set(SpaceId::DEFAULT, name, value.clone());
                    state.insert(key.clone(), value.clone());
                }
                None => {
                    commit = commit.delete(SpaceId::DEFAULT, name);
                    state.remove(key);
                }
            }
        }
        let placed = engine.submit(&commit).outcome?;
        assert!(placed.versionstamp > self.newest, "a versionstamp was given out twice");
        self.newest = placed.versionstamp;
        self.states.push(state);
        Ok(())
    }
}

/// The script. Stops at the first error; every third step is a group of three commits.
fn work(engine: &Engine, run: &mut Run) -> Result<(), CommitError> {
    let random = SeededRandom::new(11);
    for step in 0..60u64 {
        for _ in 0..if step % 3 == 0 { 3 } else { 1 } {
            let mut changes = Vec::new();
            for _ in 0..=random.below(2) {
                let key = format!("key {:02}", random.below(40)).into_bytes();
                let value = vec![step as u8; random.below(400) as usize];
                changes.push((key, (random.below(4) > 0).then_some(value)));
            }
            run.submit(engine, &changes)?;
        }
        engine.log_step()?;
        run.acknowledged = run.states.len() - 1;
        if step % 9 == 8 {
            // One more that is not written yet: a checkpoint has to see to that.
            run.submit(engine, &[(b"pending".to_vec(), Some(vec![step as u8; 9]))])?;
            engine.checkpoint()?;
            run.acknowledged = run.states.len() - 1;
        }
        if step % 4 == 3 {
            let plan = engine.options().compaction;
            engine.merge_step(MERGE_STEP, &plan)?;
        }
        if step % 10 == 9 {
            engine.idle_step()?;
        }
        if step % 13 == 12 {
            engine.retain_less()?;
            engine.release_spare_logs();
        }
    }
    let stats = engine.stats();
    assert!(stats.checkpoints > 3 && stats.merges > 1, "the script has everything in it: {stats:?}");
    engine.close()
}

fn run_on(disk: &FaultDisk, durability: Durability) -> Run {
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    if let Ok(engine) = open(disk, durability) {
        // The power fails somewhere in it.
        let _ = work(&engine, &mut run);
    }
    run
}

/// Opens what a crash left and holds it against the run: a prefix, with everything that must be there.
fn check(image: &FaultDisk, durability: Durability, run: &Run, at_least: usize, what: &str) {
    let engine = open(image, durability).unwrap_or_else(|error| panic!("{what}: does not open: {error}"));
    let state = state_of(&engine);
    let found = run.states.iter().skip(at_least).position(|candidate| *candidate == state);
    assert!(
        found.is_some(),
        "{what}: the state is none after {at_least} of {} commits",
        run.states.len() - 1
    );
    let stats = engine.stats();
    assert_eq!(stats.entries, state.len() as u64, "{what}: the count of entries");
    // And it goes on: one more commit survives one more crash.
    let mut after = Run { states: vec![state.clone()], acknowledged: 0, newest: run.newest };
    after.submit(&engine, &[(b"after".to_vec(), Some(what.into()))]).expect("the disk is whole again");
    engine.log_step().expect("written");
    engine.sync_step().expect("synced");
    drop(engine);
    let again = open(&image.crash(CrashStyle::LoseAll), durability)
        .unwrap_or_else(|error| panic!("{what}: does not open again: {error}"));
    assert_eq!(Some(&state_of(&again)), after.states.last(), "{what}: after one more crash");
}

fn crash_everywhere(durability: Durability) {
    let whole = FaultDisk::new(5);
    let run = run_on(&whole, durability);
    let changes = whole.changes();
    assert_eq!(run.acknowledged, run.states.len() - 1, "the script runs without faults");
    assert!(changes > 200, "{changes} calls are too few for a script with everything in it");
    for at in 1..=changes {
        let disk = FaultDisk::new(5);
        disk.set_plan(FaultPlan { crash_at_change: Some(at), ..FaultPlan::default() });
        let run = run_on(&disk, durability);
        let at_least = if durability == Durability::Fsync { run.acknowledged } else { 0 };
        for (style, seed) in [
            (CrashStyle::LoseAll, 0),
            (CrashStyle::KeepAll, 0),
            (CrashStyle::Random, at),
            (CrashStyle::Random, at + 1_000_000),
        ] {
            let what = format!("crash at change {at} of {changes}, {style:?} {seed}");
            check(&disk.image(style, seed), durability, &run, at_least, &what);
        }
        // The manifest rots besides: its second copy is as good.
        let image = disk.image(CrashStyle::Random, at);
        if image.flip("MANIFEST", at % 300, 1 << (at % 8)) && at % 300 >= HEADER_SIZE_BYTES {
            let what = format!("crash at change {at} of {changes}, and a bit of the manifest flips");
            check(&image, durability, &run, at_least, &what);
        }
        if durability == Durability::Os {
            let what = format!("process killed at change {at} of {changes}");
            check(&disk.kill(), durability, &run, run.acknowledged, &what);
        }
    }
}

#[test]
fn a_crash_at_every_call_loses_nothing_acknowledged() {
    crash_everywhere(Durability::Fsync);
}

#[test]
fn below_fsync_a_crash_leaves_a_prefix_and_a_kill_loses_nothing() {
    crash_everywhere(Durability::Os);
}

/// A checkpoint with one write gone wrong, any of them: what it was to replace stays, or what is damaged is a log file,
/// and it is named.
fn checkpoint_with_spoilt_write(number: u64) -> bool {
    let disk = FaultDisk::new(5);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    let many: Vec<_> = (0..40u8).map(|number| (vec![b'k', number], Some(vec![number; 400]))).collect();
    run.submit(&engine, &many).expect("taken");
    engine.log_step().expect("durable");
    disk.set_plan(FaultPlan { spoil_write: Some(disk.calls() + number), ..FaultPlan::default() });
    let before = disk.calls();
    match engine.checkpoint() {
        Ok(_) => {}
        Err(CommitError::Storage(error)) if matches!(*error, StorageError::Corrupt(_)) => {}
        Err(error) => panic!("spoilt call {number}: {error}"),
    }
    let is_within = disk.calls() - before >= number;
    disk.set_plan(FaultPlan::default());
    drop(engine);
    match open(&disk.crash(CrashStyle::LoseAll), Durability::Fsync) {
        Ok(engine) => assert_eq!(Some(&state_of(&engine)), run.states.last(), "spoilt call {number}"),
        Err(OpenError::Storage(StorageError::Corrupt(damage))) => {
            assert!(damage.file.starts_with("wal/"), "spoilt call {number}: {damage}");
        }
        Err(error) => panic!("spoilt call {number}: {error}"),
    }
    is_within
}

#[test]
fn a_spoilt_write_of_a_checkpoint_replaces_nothing_good() {
    let calls = (1..).take_while(|number| checkpoint_with_spoilt_write(*number)).count();
    assert!(calls > 10, "a checkpoint has more than {calls} calls");
}

#[test]
fn what_a_recycled_file_held_is_no_torn_tail() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    for number in 0..6u8 {
        run.submit(&engine, &[(vec![number], Some(vec![number; 400]))]).expect("taken");
        // The log goes on in a file that was in use before.
        engine.checkpoint().expect("written");
    }
    engine.close().expect("closed");
    drop(engine);
    let report = verify_directory(&env(&disk.kill()), &options(Durability::Fsync)).expect("whole");
    assert_eq!((report.torn_tail, report.entries), (None, 6));
}

#[test]
fn a_failed_sync_poisons_and_reads_go_on() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    run.submit(&engine, &[(b"a".to_vec(), Some(b"1".to_vec()))]).expect("taken");
    engine.log_step().expect("durable");
    disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
    run.submit(&engine, &[(b"b".to_vec(), Some(b"2".to_vec()))]).expect("taken");
    assert!(matches!(engine.log_step(), Err(CommitError::Poisoned(_))));
    disk.set_plan(FaultPlan::default());
    assert!(
        matches!(engine.submit(&Commit::new()).outcome, Err(CommitError::Poisoned(_))),
        "it never recovers"
    );
    assert_eq!(state_of(&engine), run.states[1], "what was not durable is not visible");
    drop(engine);
    check(&disk.crash(CrashStyle::Random), Durability::Fsync, &run, 1, "after poison");
}

#[test]
fn behind_a_failed_sync_a_feed_shows_what_is_durable_and_then_says_why_it_ends() {
    let mut ended = 0;
    for seed in 0..20 {
        let disk = FaultDisk::new(seed);
        let engine = open(&disk, Durability::Os).expect("an empty disk opens");
        let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
        let mut write = |number: u8| {
            run.submit(&engine, &[(vec![number], Some(vec![number; 400]))]).expect("taken");
            engine.log_step().expect("written");
        };
        (0..3).for_each(&mut write);
        engine.sync_step().expect("durable");
        (3..9).for_each(&mut write);
        disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
        assert!(matches!(engine.sync_step(), Err(CommitError::Poisoned(_))));
        disk.set_plan(FaultPlan::default());
        // Nobody followed it, so the files are all that it has.
        let mut cursor = FeedCursor::behind(Versionstamp::ZERO);
        let mut shown = 0;
        loop {
            match engine.read_feed(&mut cursor, usize::MAX) {
                Ok(groups) if groups.is_empty() => break,
                Ok(groups) => {
                    shown +=
                        groups.iter().filter(|group| group.commits(Versionstamp::ZERO).count() > 0).count()
                }
                Err(ChangesError::Poisoned(why)) => {
                    assert!(!why.is_empty());
                    ended += 1;
                    break;
                }
                Err(error) => panic!("seed {seed}: {error:?}"),
            }
        }
        assert!((3..=9).contains(&shown), "seed {seed}: {shown} commits shown, 3 are durable");
    }
    assert!(ended > 0, "the disk kept everything");
}

#[test]
fn a_full_disk_refuses_writes_takes_deletes_and_recovers() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    run.submit(&engine, &[(b"a".to_vec(), Some(b"1".to_vec()))]).expect("taken");
    engine.log_step().expect("durable");
    disk.set_plan(FaultPlan { capacity_bytes: Some(disk.used_bytes()), ..FaultPlan::default() });
    let mut refused = false;
    for number in 0..100u32 {
        let before = run.states.len();
        let large = vec![(format!("large {number}").into_bytes(), Some(vec![1; 2_000]))];
        let outcome = run.submit(&engine, &large).and_then(|()| engine.log_step());
        if let Err(error) = outcome {
            assert!(matches!(error, CommitError::DiskFull), "{error}");
            run.states.truncate(before);
            refused = true;
            break;
        }
    }
    assert!(refused, "the disk was never full");
    assert_eq!(Some(&state_of(&engine)), run.states.last(), "what was refused left nothing behind");
    run.submit(&engine, &[(b"a".to_vec(), None)]).expect("deletes go on");
    engine.log_step().expect("deletes go on");
    assert_eq!(Some(&state_of(&engine)), run.states.last());
    disk.set_plan(FaultPlan::default());
    engine.idle_step().expect("there is space again");
    run.submit(&engine, &[(b"b".to_vec(), Some(b"2".to_vec()))]).expect("writes are taken again");
    engine.log_step().expect("durable");
    drop(engine);
    check(
        &disk.crash(CrashStyle::LoseAll),
        Durability::Fsync,
        &run,
        run.states.len() - 1,
        "after a full disk",
    );
}

#[test]
fn a_refusal_waits_for_what_it_rests_on() {
    let engine = open(&FaultDisk::new(1), Durability::Fsync).expect("an empty disk opens");
    let key = || Key::new("a").expect("short");
    let first = engine.submit(&Commit::new().set(SpaceId::DEFAULT, key(), "1"));
    let stamp = first.outcome.expect("taken").versionstamp;
    let second = engine.submit(&Commit::new().check_absent(SpaceId::DEFAULT, key()));
    assert!(matches!(second.outcome, Err(CommitError::CheckFailed(_))));
    assert!(second.depends_on >= stamp, "the refusal could be told before the commit it saw is durable");
    assert!(engine.visible() < second.depends_on);
    engine.log_step().expect("durable");
    assert!(engine.visible() >= second.depends_on);
}

#[test]
fn an_expired_entry_is_absent_for_checks_and_refused_commits_leave_nothing() {
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env { clock: clock.clone(), ..env(&FaultDisk::new(1)) };
    let engine = Engine::open(env, options(Durability::Fsync)).expect("an empty disk opens");
    let key = |name: &'static str| Key::new(name).expect("short");
    let soon = Operation::Set { value: "soon gone".into(), expiry: Expiry::After(DurationMs(100)) };
    engine.submit(&Commit::new().mutate(SpaceId::DEFAULT, key("a"), soon)).outcome.expect("taken");
    engine.log_step().expect("durable");
    assert!(engine.get(SpaceId::DEFAULT, b"a").expect("readable").is_some());
    clock.advance_ms(100);
    assert!(engine.get(SpaceId::DEFAULT, b"a").expect("readable").is_none(), "never late");
    let create =
        Commit::new().check_absent(SpaceId::DEFAULT, key("a")).set(SpaceId::DEFAULT, key("a"), "text");
    engine.submit(&create).outcome.expect("an expired entry is absent");
    let sum = Operation::Number {
        op: NumberOp::Sum,
        operand: Value::from(1_i64),
        at_least: None,
        at_most: None,
        clamp: false,
        expiry: Expiry::Never,
    };
    let refused = Commit::new().set(SpaceId::DEFAULT, key("b"), "x").mutate(SpaceId::DEFAULT, key("a"), sum);
    assert!(matches!(engine.submit(&refused).outcome, Err(CommitError::Mutation { index: 1, .. })));
    engine.submit(&Commit::new().set(SpaceId::DEFAULT, key("c"), "x")).outcome.expect("taken");
    engine.log_step().expect("durable");
    assert!(engine.get(SpaceId::DEFAULT, b"b").expect("readable").is_none(), "all or nothing");
}

#[test]
fn a_merge_of_new_segments_keeps_the_tombstones_that_older_ones_need() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    let large: Vec<_> = (0..40u8).map(|number| (vec![b'k', number], Some(vec![number; 400]))).collect();
    run.submit(&engine, &large).expect("taken");
    engine.checkpoint().expect("written");
    for number in 0..2u8 {
        run.submit(&engine, &[(vec![b'k', number], None), (vec![b'z', number], Some(vec![1]))])
            .expect("taken");
        engine.checkpoint().expect("written");
    }
    let plan = engine.options().compaction;
    while engine.merge_step(MERGE_STEP, &plan).expect("merged") {}
    assert_eq!(engine.stats().segments, 2, "the large old segment stays out of it");
    engine.close().expect("closed");
    drop(engine);
    check(&disk.kill(), Durability::Fsync, &run, run.states.len() - 1, "after a partial merge");
}

#[test]
fn a_deleted_range_stays_deleted_behind_a_checkpoint() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    // More than are deleted one by one.
    let many: Vec<_> = (0..200u8).map(|number| (vec![b'k', number], Some(vec![number]))).collect();
    run.submit(&engine, &many).expect("taken");
    engine.checkpoint().expect("written");
    let range = Operation::DeleteRange { end: None };
    engine
        .submit(&Commit::new().mutate(SpaceId::DEFAULT, Key::new("k").expect("short"), range))
        .outcome
        .expect("taken");
    engine.checkpoint().expect("written");
    assert_eq!(state_of(&engine), State::new());
    engine.close().expect("closed");
    drop(engine);
    let engine = open(&disk.kill(), Durability::Fsync).expect("opens");
    assert_eq!(state_of(&engine), State::new(), "what the range hid has come back");
}

/// Brings each known bug back and shows that the tests above notice. Only in a build with the feature `mutants`.
#[cfg(feature = "mutants")]
#[test]
fn each_known_bug_is_caught() {
    use orchard_engine::mutants::{self, Mutant};
    let checks: [(&str, fn()); 7] = [
        ("a spoilt write", a_spoilt_write_of_a_checkpoint_replaces_nothing_good),
        ("partial merge", a_merge_of_new_segments_keeps_the_tombstones_that_older_ones_need),
        ("a deleted range", a_deleted_range_stays_deleted_behind_a_checkpoint),
        ("a refusal waits", a_refusal_waits_for_what_it_rests_on),
        ("expiry and refusal", an_expired_entry_is_absent_for_checks_and_refused_commits_leave_nothing),
        ("crash everywhere", || crash_everywhere(Durability::Fsync)),
        ("crash everywhere, os", || crash_everywhere(Durability::Os)),
    ];
    std::panic::set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        mutants::enable(Some(mutant));
        let caught = checks.iter().find(|(_, check)| std::panic::catch_unwind(check).is_err());
        mutants::enable(None);
        match caught {
            Some((name, _)) => println!("{mutant:?}: caught by {name}"),
            None => missed.push(mutant),
        }
    }
    let _ = std::panic::take_hook();
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// A small directory with two segments and a log; closed cleanly or not.
fn small_directory(clean: bool) -> (FaultDisk, State) {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, Durability::Fsync).expect("an empty disk opens");
    let mut run = Run { states: vec![State::new()], acknowledged: 0, newest: Versionstamp::ZERO };
    for number in 0..24u8 {
        let key = vec![b'k', number % 10];
        run.submit(&engine, &[(key, (number % 7 != 3).then(|| vec![number; 20]))]).expect("taken");
        engine.log_step().expect("durable");
        if matches!(number, 8 | 16) {
            engine.checkpoint().expect("written");
        }
    }
    if clean {
        engine.close().expect("clean");
    } else {
        engine.idle_step().expect("written");
    }
    drop(engine);
    (disk.crash(CrashStyle::KeepAll), run.states.pop().unwrap_or_default())
}

fn flip_every_byte(clean: bool) {
    let (disk, expected) = small_directory(clean);
    let (mut errors, mut right) = (0, 0);
    for (path, length) in disk.files() {
        for offset in 0..length {
            let masks: &[u8] =
                if offset < 64 { &[1, 2, 4, 8, 16, 32, 64, 128] } else { &[1 << (offset % 8)] };
            for mask in masks {
                let image = disk.image(CrashStyle::KeepAll, 0);
                assert!(image.flip(&path, offset, *mask));
                let changes = image.changes();
                let verified = verify_directory(&env(&image), &options(Durability::Fsync));
                assert_eq!(image.changes(), changes, "{path} byte {offset}: verifying wrote");
                match open(&image, Durability::Fsync) {
                    Ok(engine) => {
                        assert_eq!(state_of(&engine), expected, "{path} byte {offset}: a wrong answer");
                        let report = verified.expect("what opens verifies");
                        assert_eq!(report.entries, expected.len() as u64, "{path} byte {offset}");
                        right += 1;
                    }
                    Err(OpenError::Storage(StorageError::Corrupt(damage))) => {
                        assert!(!damage.file.is_empty());
                        match verified {
                            Err(OpenError::Storage(StorageError::Corrupt(found))) => {
                                assert_eq!(found.file, damage.file, "{path} byte {offset}");
                            }
                            other => panic!("{path} byte {offset}: {other:?}, but it does not open"),
                        }
                        errors += 1;
                    }
                    Err(OpenError::Storage(StorageError::NewerFormat { .. })) => errors += 1,
                    Err(error) => panic!("{path} byte {offset}: {error}"),
                }
            }
        }
    }
    assert!(errors > 1_000, "{errors} errors, {right} right answers");
}

#[test]
fn every_flipped_byte_of_a_closed_directory_is_an_error_or_harmless() {
    flip_every_byte(true);
}

#[test]
fn every_flipped_byte_of_a_crashed_directory_is_an_error_or_harmless() {
    flip_every_byte(false);
}

/// Commits per second of virtual time: `writers` who each submit again as soon as they are answered.
fn virtual_rate(writers: u64) -> u64 {
    const SYNC_MS: u64 = 12;
    const ROUNDS: u64 = 50;
    let disk = FaultDisk::new(1);
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let latency = Latency { sync_ns: SYNC_MS * 1_000_000, write_ns: 20_000, ..Latency::default() };
    let env =
        Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random: Arc::new(SeededRandom::new(1)) };
    let engine = Engine::open(env, EngineOptions { group_delay_ns_max: 0, ..EngineOptions::default() });
    let engine = engine.expect("an empty disk opens");
    disk.set_latency(latency, clock.clone());
    let started_ns = orchard_env::Clock::monotonic_ns(clock.as_ref());
    for round in 0..ROUNDS {
        for writer in 0..writers {
            let key = Key::new(format!("{writer}/{round}")).expect("short");
            engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, "value")).outcome.expect("taken");
        }
        engine.drain_log().expect("written");
    }
    let took_ns = orchard_env::Clock::monotonic_ns(clock.as_ref()) - started_ns;
    writers * ROUNDS * 1_000_000_000 / took_ns
}

#[test]
fn many_commits_share_one_sync() {
    let (few, many) = (virtual_rate(32), virtual_rate(300));
    assert!(few >= 2_000, "32 writers: {few} commits/s on a disk that syncs in 12 ms");
    assert!(many >= 18_000, "300 writers: {many} commits/s on a disk that syncs in 12 ms");
}
