//! The threads that drive an engine: one for the log, one for upkeep.

use crate::collection::clean_expired;
use crate::expired::ExpiryListener;
use crate::queue::AllHints;
use orchard_engine::commit::Submitted;
use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::Engine;
use orchard_engine::error::CommitError;
use orchard_types::Durability;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// After this long without a commit an empty group closes the log's end, in milliseconds.
const IDLE_MS: u64 = 10;
/// How long the log's driver rests when there is nothing to do, in milliseconds.
const REST_MS: u64 = 60_000;
/// Between two rounds of upkeep, in milliseconds.
const UPKEEP_MS: u64 = 100;
/// Rounds of upkeep between two syncs below `fsync`.
const ROUNDS_PER_SYNC: u64 = 9;
/// Expired entries deleted by one commit; its time under the commit lock is what others wait for.
const SWEEP_BATCH: usize = 500;
/// Sweeping commits on their way to the disk at once: more would stand in the way of everybody else's.
const SWEEPS_IN_FLIGHT: usize = 4;
/// Keys of a deleted range that are looked at under one hold of the commit lock, and how often before something else.
const ERASE_BATCH: usize = 1_024;
const ERASE_STEPS: usize = 32;
/// While ranges are erased, so many rounds of that to one of everything else.
const ERASE_ROUNDS: u64 = 4;
/// Elements of collections that are gone erased by one commit.
const ORPHAN_BATCH: usize = 500;
/// Versions merged between two looks at what else is due.
const MERGE_STEP: usize = 20_000;
/// Rounds without a commit after which merging strives for the settled bounds.
const SETTLED_ROUNDS: u64 = 20;

/// The running threads.
pub(crate) struct Drivers {
    engine: Arc<Engine>,
    upkeep_stop: Arc<(Mutex<bool>, Condvar)>,
    pub(crate) expiry_listener: Arc<ExpiryListener>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Drivers {
    /// Starts the threads.
    pub(crate) fn start(engine: &Arc<Engine>, queue_hints: &Arc<AllHints>) -> io::Result<Drivers> {
        let upkeep_stop = Arc::new((Mutex::new(false), Condvar::new()));
        let expiry_listener = Arc::new(ExpiryListener::default());
        let drivers = Drivers {
            engine: engine.clone(),
            upkeep_stop: upkeep_stop.clone(),
            expiry_listener: expiry_listener.clone(),
            threads: Mutex::default(),
        };
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| Builder::new().name(name.into()).spawn(run);
        let log_engine = engine.clone();
        let log = spawn("orchard-log", Box::new(move || drive_log(&log_engine)))?;
        drivers.threads.lock().push(log);
        let upkeep_engine = engine.clone();
        let queue_hints = queue_hints.clone();
        let run = move || keep_up(&upkeep_engine, &queue_hints, &upkeep_stop, &expiry_listener);
        let upkeep = spawn("orchard-upkeep", Box::new(run))?;
        drivers.threads.lock().push(upkeep);
        engine.set_kept_up(true);
        Ok(drivers)
    }

    /// Stops the threads and waits for their end.
    pub(crate) fn stop(&self) {
        self.engine.stop_driver();
        self.engine.set_kept_up(false);
        *self.upkeep_stop.0.lock() = true;
        self.upkeep_stop.1.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            // A thread that panicked has said so; nothing more can be done for it here.
            let _ = thread.join();
        }
    }
}

fn drive_log(engine: &Engine) {
    // Below `os` nobody waits for the log: it is written in large pieces when upkeep says so, not group by group.
    let is_lazy = engine.options().durability == Durability::None;
    let mut timeout_ms = if is_lazy { REST_MS } else { IDLE_MS };
    loop {
        let groups = engine.groups_written();
        let Some(is_wanted) = engine.wait_for_work(timeout_ms) else { return };
        // Threads that wait for their commits drive the log themselves, one after the other; a thread more between them
        // would only have to be switched to.
        if is_wanted || engine.groups_written() == groups {
            let mut had_backlog = engine.has_backlog();
            // Errors reach those who wait for the commits.
            while let Ok(true) = engine.step_with_company() {
                let has_backlog = engine.has_backlog();
                if !(has_backlog || !is_lazy && (had_backlog || engine.has_waiting_tasks())) {
                    break;
                }
                had_backlog = has_backlog;
            }
        }
        timeout_ms = if engine.groups_written() != groups && !is_lazy {
            IDLE_MS
        } else {
            if engine.groups_written() == groups {
                let _ = engine.idle_step();
            }
            REST_MS
        };
    }
}

/// Deletes what has expired, entries and elements, and buries messages whose last lease has ended, a few commits ahead of
/// the disk.
fn sweep(engine: &Engine, queue_hints: &AllHints, listener: &ExpiryListener) {
    run_ahead(engine, || {
        let commit = engine.sweep_commit(SWEEP_BATCH)?;
        let submitted = engine.submit(&commit);
        if submitted.outcome.is_ok() {
            listener.tell_swept(&commit, submitted.depends_on);
        }
        Some(submitted)
    });
    run_ahead(engine, || {
        let (submitted, expired) = clean_expired(engine, queue_hints, SWEEP_BATCH)?;
        if submitted.outcome.is_ok() {
            listener.tell(&expired, submitted.depends_on);
        }
        Some(submitted)
    });
}

/// Submits until there is nothing more to do, a few commits ahead of the disk.
fn run_ahead(engine: &Engine, mut submit: impl FnMut() -> Option<Submitted>) {
    let level = engine.options().durability;
    let mut in_flight = VecDeque::new();
    while let Some(submitted) = submit() {
        if submitted.outcome.is_err() {
            break;
        }
        engine.notify_work();
        in_flight.push_back(submitted.depends_on);
        if in_flight.len() >= SWEEPS_IN_FLIGHT
            && let Some(oldest) = in_flight.pop_front()
            && engine.wait(oldest, level).is_err()
        {
            break;
        }
    }
}

/// Erases deleted ranges for a while; whether there is more to do.
fn erase(engine: &Engine) -> bool {
    for _ in 0..ERASE_STEPS {
        if !engine.erase_step(ERASE_BATCH) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

fn keep_up(
    engine: &Engine,
    queue_hints: &AllHints,
    stop: &(Mutex<bool>, Condvar),
    listener: &ExpiryListener,
) {
    let mut round = 0u64;
    let mut commits = engine.commits();
    let mut quiet_rounds = 0u64;
    let mut erase_rounds = 0u64;
    loop {
        {
            let mut stopped = stop.0.lock();
            if !*stopped {
                let rest_ms = if erase_rounds == 0 { UPKEEP_MS } else { 1 };
                stop.1.wait_for(&mut stopped, Duration::from_millis(rest_ms));
            }
            if *stopped {
                return;
            }
        }
        erase_rounds = if erase(engine) { erase_rounds + 1 } else { 0 };
        if !erase_rounds.is_multiple_of(ERASE_ROUNDS) {
            continue;
        }
        round += 1;
        quiet_rounds = if engine.commits() == commits { quiet_rounds + 1 } else { 0 };
        commits = engine.commits();
        let settled = quiet_rounds >= SETTLED_ROUNDS;
        if engine.poisoned().is_some() {
            continue;
        }
        sweep(engine, queue_hints, listener);
        while let Some(submitted) = engine.erase_orphans(ORPHAN_BATCH) {
            engine.notify_work();
            // What goes on in the background does not fill the queue before the commits of others.
            if submitted.outcome.is_err()
                || engine.wait(submitted.depends_on, engine.options().durability).is_err()
            {
                break;
            }
        }
        if engine.options().durability == Durability::None {
            engine.notify_work();
        }
        if engine.options().durability != Durability::Fsync && round.is_multiple_of(ROUNDS_PER_SYNC) {
            let _ = engine.sync_step();
        }
        engine.expire_snapshots();
        let _ = engine.reserve_ahead();
        let _ = engine.retain_step();
        if engine.wants_checkpoint() {
            // A checkpoint that fails leaves the database as it was; the next round tries again.
            let _ = engine.checkpoint();
        }
        let plan = if settled { PlanOptions::SETTLED } else { engine.options().compaction };
        while let Ok(true) = engine.merge_step(MERGE_STEP, &plan) {
            if *stop.0.lock() || engine.wants_checkpoint() {
                break;
            }
        }
        if engine.is_disk_full() && round.is_multiple_of(ROUNDS_PER_SYNC) {
            // Ask whether there is space again.
            if matches!(engine.idle_step(), Err(CommitError::Poisoned(_))) {
                continue;
            }
        }
    }
}
