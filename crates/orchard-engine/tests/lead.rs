//! A task that drives the log for those that wait, in the place of the thread.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::CommitError;
use orchard_engine::lead::LogLead;
use orchard_env::fault::{FaultDisk, FaultPlan, Latency};
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Durability, Key, SpaceId, UnixMillis, Versionstamp};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn open(disk: &FaultDisk, clock: &Arc<ManualClock>) -> Arc<Engine> {
    let random = Arc::new(SeededRandom::new(1));
    let env = Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random };
    Arc::new(Engine::open(env, EngineOptions::default()).expect("opens"))
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)))
}

fn submit(engine: &Engine, key: &'static str) -> Versionstamp {
    let key = Key::new(key).expect("short");
    let submitted = engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, vec![7; 100]));
    submitted.outcome.expect("applies").versionstamp
}

fn answer(engine: &Engine, stamp: Versionstamp) -> Option<Result<(), CommitError>> {
    engine.poll_wait(stamp, Durability::Fsync, Waker::noop())
}

fn is_due(lead: &LogLead, waker: &Waker) -> bool {
    pin!(lead.due()).poll(&mut Context::from_waker(waker)) == Poll::Ready(())
}

#[test]
fn those_who_wait_call_the_lead_and_not_the_thread() {
    let engine = open(&FaultDisk::new(1), &clock());
    let lead = LogLead::new(engine.clone()).expect("nobody else leads");
    assert!(LogLead::new(engine.clone()).is_none(), "there is one at most");
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    for round in 1..=3 {
        assert!(!is_due(&lead, &waker), "nobody waits");
        let stamps = ["a", "b", "c"].map(|key| submit(&engine, key));
        assert!(stamps.iter().all(|stamp| answer(&engine, *stamp).is_none()), "not before the sync");
        assert_eq!(wakes.0.load(Ordering::SeqCst), round, "the first one calls it");
        assert_eq!(engine.wait_for_work(0), Some(false), "the thread is not called");
        assert!(!engine.has_waiting_tasks(), "and has nothing to do for tasks");
        assert!(is_due(&lead, &waker) && lead.step());
        assert!(
            stamps.iter().all(|stamp| matches!(answer(&engine, *stamp), Some(Ok(())))),
            "one sync for all"
        );
        assert_eq!(engine.groups_written(), round as u64);
    }
}

#[test]
fn a_lead_that_steps_aside_or_ends_leaves_those_who_wait_to_the_thread() {
    let engine = open(&FaultDisk::new(1), &clock());
    let lead = LogLead::new(engine.clone()).expect("nobody else leads");
    assert!(!is_due(&lead, Waker::noop()));
    let stamp = submit(&engine, "a");
    assert!(answer(&engine, stamp).is_none());
    lead.step_aside();
    assert_eq!(engine.wait_for_work(0), Some(true), "the thread is called for who waits already");
    let later = submit(&engine, "b");
    assert!(answer(&engine, later).is_none());
    assert_eq!(engine.wait_for_work(0), Some(true), "and for who comes later");
    assert!(is_due(&lead, Waker::noop()), "until the lead is back");
    assert_eq!(engine.wait_for_work(0), Some(false));
    drop(lead);
    assert_eq!(engine.wait_for_work(0), Some(true));
    assert!(LogLead::new(engine.clone()).is_some(), "another may lead now");
}

#[test]
fn a_lead_is_quick_as_long_as_syncs_are() {
    let (clock, disk) = (clock(), FaultDisk::new(1));
    let engine = open(&disk, &clock);
    let lead = LogLead::new(engine.clone()).expect("nobody else leads");
    let step_with_sync_of = |sync_ns: u64| {
        let latency = Latency { sync_ns, ..Latency::default() };
        disk.set_latency(latency, Arc::clone(&clock));
        let stamp = submit(&engine, "a");
        assert!(answer(&engine, stamp).is_none());
        assert!(lead.step());
        lead.is_quick()
    };
    assert!(step_with_sync_of(100_000));
    assert!(!step_with_sync_of(12_000_000), "one long sync is enough");
    assert!((0..100).any(|_| step_with_sync_of(100_000)), "and short ones make it quick again");
}

#[test]
fn a_failed_log_is_told_to_all_who_wait() {
    let disk = FaultDisk::new(1);
    let engine = open(&disk, &clock());
    let lead = LogLead::new(engine.clone()).expect("nobody else leads");
    disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
    let stamp = submit(&engine, "a");
    assert!(answer(&engine, stamp).is_none());
    assert!(is_due(&lead, Waker::noop()) && !lead.step());
    assert!(matches!(answer(&engine, stamp), Some(Err(CommitError::Poisoned(_)))));
    assert!(!is_due(&lead, Waker::noop()), "nobody waits any more");
}
