//! One run: virtual clients against the engine on a faulty disk, every answer held against the truth.
//!
//! Invariants that each step checks (DESIGN section 3):
//! - The outcome of a commit is the oracle's; so is every read, at `visible` and at every snapshot held.
//! - Stamps increase, and an index is never given out again, not even after a crash.
//! - After a crash the state is that of a prefix of the log, at a group's end, that holds every commit acknowledged and
//!   everything that any delivered answer depended on.

use crate::oracle::{Found, Live, Logged, Oracle, Outcome, Place, Version};
use crate::subject::{Job, MERGE_OFTEN, Scan, Subject, found};
use crate::workload::{Style, Workload, elements_in, show};
use bytes::Bytes;
use orchard_engine::changes::ChangesError;
use orchard_engine::commit::Submitted;
use orchard_engine::engine::EngineOptions;
use orchard_engine::error::{CommitError, OpenError, ReadError, StorageError, TokenError};
use orchard_engine::read::Window;
use orchard_engine::snapshot::SnapshotPin;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan, Latency};
use orchard_env::{Clock, Env, ManualClock, SeededRandom};
use orchard_types::{
    Check, CollectionId, Commit, Durability, Expiry, KeyRange, Mutation, Operation, SpaceId, UnixMillis,
    Value, Versionstamp,
};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::Waker;

/// Something the engine may not do.
#[derive(Debug, Clone)]
pub struct Failure {
    pub seed: u64,
    pub step: u64,
    pub what: String,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "seed {}, step {}: {}", self.seed, self.step, self.what)
    }
}

/// What a run did; the same seed gives the same summary.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    pub trace_hash: u64,
    pub submitted: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub reads: u64,
    pub crashes: u64,
    pub kills: u64,
    pub restarts: u64,
    pub poisoned: u64,
    pub full: u64,
    pub memory_full: u64,
    pub too_old: u64,
    pub gaps: u64,
    pub checkpoints: u64,
    pub merges: u64,
    pub evictions: u64,
    pub loads: u64,
}

impl std::ops::AddAssign<&Summary> for Summary {
    fn add_assign(&mut self, other: &Summary) {
        self.trace_hash = self.trace_hash.rotate_left(7) ^ other.trace_hash;
        self.submitted += other.submitted;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.kills += other.kills;
        self.restarts += other.restarts;
        self.poisoned += other.poisoned;
        self.full += other.full;
        self.memory_full += other.memory_full;
        self.too_old += other.too_old;
        self.gaps += other.gaps;
        self.checkpoints += other.checkpoints;
        self.merges += other.merges;
        self.evictions += other.evictions;
        self.loads += other.loads;
    }
}

/// Tells what happens, if asked to.
macro_rules! tell {
    ($sim:expr, $($message:tt)+) => {
        if $sim.tells {
            println!("  step {}: {}", $sim.step, format!($($message)+));
        }
    };
}

type Step<T = ()> = Result<T, String>;

macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}

/// What a run has to live with; drawn from its seed.
#[derive(Clone, Debug)]
struct Weather {
    crashes: bool,
    io_errors: bool,
    full_disk: bool,
    clock_jumps: bool,
    small_memory: bool,
    clients: usize,
    /// Out of so many steps one is a background job.
    job_every: u64,
}

/// An answer that its client has not got yet.
struct Waiting {
    depends_on: Versionstamp,
    is_commit: bool,
}

struct Held {
    pin: SnapshotPin,
    taken_at_ns: u64,
    expired: bool,
}

/// One run.
pub struct Simulation {
    seed: u64,
    step: u64,
    random: Arc<SeededRandom>,
    clock: Arc<ManualClock>,
    disk: FaultDisk,
    options: EngineOptions,
    weather: Weather,
    subject: Option<Subject>,
    truth: Oracle,
    workload: Workload,
    waiting: Vec<Waiting>,
    held: Vec<Held>,
    /// The newest stamp that an answer given to a client depends on.
    observed: Versionstamp,
    /// The largest log index seen.
    index_max: u64,
    /// Index and log time of the newest group seen.
    group: (u64, UnixMillis),
    /// The latest time that a reader was given since the engine was opened.
    read_time: UnixMillis,
    /// The latest time that the machine's clock has shown.
    clock_max: UnixMillis,
    jumped: bool,
    faults: bool,
    /// The disk was full and the engine has not written since.
    was_full: bool,
    rollbacks: u64,
    /// Stamps that readers saw and a crash took back, as `os` and `none` allow.
    lost: Vec<Versionstamp>,
    /// What was visible at the last end.
    seen: Versionstamp,
    sync_failed: bool,
    summary: Summary,
    /// Print every step.
    pub tells: bool,
}

fn pick<T: Copy>(random: &SeededRandom, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

impl Simulation {
    pub fn new(seed: u64) -> Simulation {
        let random = Arc::new(SeededRandom::new(seed));
        let percent = |chance: u64| random.below(100) < chance;
        let weather = Weather {
            crashes: percent(70),
            io_errors: percent(30),
            full_disk: percent(20),
            clock_jumps: percent(20),
            small_memory: percent(25),
            clients: pick(&random, &[1, 3, 10, 40]),
            job_every: pick(&random, &[6, 12, 40]),
        };
        let mut options = EngineOptions {
            durability: pick(
                &random,
                &[Durability::Fsync, Durability::Fsync, Durability::Fsync, Durability::Os, Durability::None],
            ),
            reserve_indexes: pick(&random, &[2, 10, 1_000]),
            snapshot_age_ms_max: 60_000,
            open_threads: 1,
            group_delay_ns_max: 0,
            checkpoint_log_bytes: 0,
            evictable_value_bytes_min: pick(&random, &[1, 64]),
            history_retention_ms: pick(&random, &[0, 0, 500, 10_000]),
            range_tombstones_max: pick(&random, &[1, 3, 64]),
            small_range_entries_max: pick(&random, &[0, 0, 2, 64]),
            // Mostly from log files, or from memory.
            log_retention_ms: pick(&random, &[0, 5_000, u64::MAX, u64::MAX]),
            log_retention_bytes: pick(&random, &[20_000, u64::MAX]),
            feed_tail_bytes: pick(&random, &[0, 2_000, 8 << 20]),
            ..EngineOptions::default()
        };
        options.log.file_size_bytes_max = pick(&random, &[2_048, 16_384, 200_000]);
        options.log.prefill_bytes_min = pick(&random, &[512, 4_096]);
        options.log.prefill_bytes_max = pick(&random, &[4_096, 16_384]);
        options.log.spare_files_max = pick(&random, &[0, 1, 2]);
        if weather.small_memory {
            options.memory_limit_bytes = pick(&random, &[256 << 10, 1 << 20]);
        }
        let style = Style::draw(&random);
        let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
        let disk = FaultDisk::new(random.next_u64());
        let latency = Latency { read_ns: 1_000, write_ns: 10_000, kibibyte_ns: 500, sync_ns: 1_000_000 };
        disk.set_latency(latency, Arc::clone(&clock));
        Simulation {
            seed,
            step: 0,
            clock,
            disk,
            options,
            weather,
            subject: None,
            truth: Oracle::default(),
            workload: Workload::new(style),
            waiting: Vec::new(),
            held: Vec::new(),
            observed: Versionstamp::ZERO,
            index_max: 0,
            group: (0, UnixMillis(0)),
            read_time: UnixMillis(0),
            clock_max: UnixMillis(0),
            jumped: false,
            faults: false,
            was_full: false,
            rollbacks: 0,
            lost: Vec::new(),
            seen: Versionstamp::ZERO,
            sync_failed: false,
            summary: Summary::default(),
            tells: false,
            random,
        }
    }

    /// Runs so many steps, then crashes, heals everything and looks once more.
    ///
    /// # Errors
    /// What the engine may not do.
    pub fn run(mut self, steps: u64) -> Result<Summary, Failure> {
        match self.steps(steps) {
            Ok(()) => Ok(self.summary),
            Err(what) => {
                let what =
                    format!("{what}\n  {:?}, {:?}, {:?}", self.weather, self.options, self.workload.style);
                Err(Failure { seed: self.seed, step: self.step, what })
            }
        }
    }

    fn steps(&mut self, steps: u64) -> Step {
        if self.tells {
            self.disk.trace_calls();
        }
        self.open()?;
        while self.step < steps {
            self.step += 1;
            self.clock_max = self.clock_max.max(self.clock.now());
            self.step()?;
        }
        self.heal();
        self.power_failure()?;
        self.drain()?;
        self.tidy()?;
        self.restart()?;
        self.summary.trace_hash ^= self.disk.trace_hash();
        Ok(())
    }

    /// Nothing goes wrong any more: expired entries, dead versions and old files go.
    fn tidy(&mut self) -> Step {
        self.held.clear();
        while self.engine().engine().erase_step(10) {}
        self.verify()?;
        while let Some(commit) = self.engine().engine().sweep_commit(100) {
            self.submit_commit(&commit)?;
            self.drain()?;
        }
        let pin = self.pin()?;
        let at = Versionstamp::from_raw(pin.stamp());
        for space in self.workload.style.spaces.clone() {
            let visible = self.truth.range(space, &KeyRange::all(), at, pin.time()).len() as u64;
            let counted = self.engine().engine().count(space, b"", None);
            ensure!(
                counted <= visible,
                "{space:?} has {counted} entries after a sweep, {visible} are visible"
            );
        }
        if self.has_collections() {
            self.verify_collections()?;
        }
        self.engine().run(Job::Checkpoint).map_err(|error| format!("the last checkpoint: {error}"))?;
        for round in 0.. {
            let more = self.engine().engine().merge_step(100_000, &MERGE_OFTEN);
            let more = more.map_err(|error| format!("the last merge: {error}"))?;
            ensure!(round < 100, "merging does not come to an end");
            if !more {
                break;
            }
        }
        let stats = self.engine().engine().stats();
        let segments = MERGE_OFTEN.segments_max as u64;
        ensure!(stats.segments <= segments, "{} segments are left, {segments} are allowed", stats.segments);
        let files = self.disk.files();
        let count = |dir: &str, end: &str| {
            files.iter().filter(|(path, _)| path.starts_with(dir) && path.ends_with(end)).count() as u64
        };
        let (named, found) = (stats.segments, count("segments/", ".seg"));
        ensure!(named == found, "{named} segments are named, {found} files are there");
        let (logs, allowed) = (count("wal/", ".log"), 2 + self.options.log.spare_files_max as u64);
        let manifest = self.engine().engine().manifest();
        let (first, allowed) = (manifest.first_log, allowed + manifest.retained.len() as u64);
        let what = "log files are left after a checkpoint";
        ensure!(
            logs <= allowed,
            "{logs} {what}, {allowed} are allowed, the first live one is {first}: {files:?}"
        );
        Ok(())
    }

    fn engine(&self) -> &Subject {
        self.subject.as_ref().expect("it is open between steps")
    }

    fn step(&mut self) -> Step {
        if self.disk.is_dead() {
            return self.power_failure();
        }
        if self.engine().is_poisoned() {
            return self.poisoned();
        }
        if self.random.below(self.weather.job_every) == 0 {
            return self.job();
        }
        match self.random.below(100) {
            0..=2 => self.erase(),
            3..=36 => self.submit(),
            37..=39 => self.submit_exclusive(),
            40..=57 => self.log_step(),
            58..=59 => self.want_durable(),
            60..=74 => self.read(),
            75..=77 => self.take_snapshot(),
            78..=82 => self.read_snapshot(),
            83 => {
                self.look_back()?;
                self.read_history()
            }
            84 => self.read_feed(),
            85..=91 => {
                self.clock.advance_ms(pick(&self.random, &[1, 1, 10, 400, 2_000]));
                Ok(())
            }
            92 if self.weather.clock_jumps => {
                let now = self.clock.now().0;
                let back = now.saturating_sub(self.random.below(100_000));
                self.clock.jump_to(UnixMillis(pick(&self.random, &[back, now + 3_000, now + 1_000_000])));
                self.jumped = true;
                Ok(())
            }
            93..=94 if self.weather.io_errors => {
                self.break_something();
                Ok(())
            }
            95 if self.weather.full_disk => {
                let capacity_bytes = match self.disk.plan().capacity_bytes {
                    Some(_) => None,
                    None => Some(self.disk.used_bytes() + self.random.below(40_000)),
                };
                self.disk.set_plan(FaultPlan { capacity_bytes, ..self.disk.plan() });
                self.faults = self.disk.plan() != FaultPlan::default();
                if self.faults { Ok(()) } else { self.space_returns() }
            }
            96 => self.restart(),
            97 if self.weather.crashes => self.kill(),
            98 if self.weather.crashes => self.power_failure(),
            99 if self.weather.crashes => {
                let change = self.disk.changes() + 1 + self.random.below(12);
                self.disk.set_plan(FaultPlan { crash_at_change: Some(change), ..self.disk.plan() });
                self.faults = true;
                Ok(())
            }
            _ => self.log_step(),
        }
    }

    /// All comes back by itself when space returns: an idle moment is enough.
    fn space_returns(&mut self) -> Step {
        tell!(self, "space returns");
        self.drain()?;
        let idle = self.engine().run(Job::Idle);
        ensure!(idle.is_ok(), "an idle moment after space came back: {idle:?}");
        self.was_full = false;
        Ok(())
    }

    fn break_something(&mut self) {
        let plan = self.disk.plan();
        let plan = match self.random.below(5) {
            0 => FaultPlan { fail_sync: Some(self.disk.syncs() + 1 + self.random.below(4)), ..plan },
            1 => {
                let failure = orchard_env::fault::Failure::Io;
                FaultPlan {
                    fail_call: Some((self.disk.calls() + 1 + self.random.below(10), failure)),
                    ..plan
                }
            }
            2 => FaultPlan { io_error_per_million: 20_000, ..plan },
            3 => FaultPlan { full_per_million: 50_000, ..plan },
            _ => FaultPlan { short_read_per_million: 300_000, ..plan },
        };
        tell!(self, "{plan:?}");
        self.disk.set_plan(plan);
        self.faults = true;
    }

    fn heal(&mut self) {
        self.disk.set_plan(FaultPlan::default());
        self.faults = false;
    }

    // ---- commits ----

    fn submit(&mut self) -> Step {
        if self.waiting.len() >= self.weather.clients {
            return self.log_step();
        }
        let now = self.clock.now();
        let commit = if self.random.below(100) < self.workload.style.collections_percent {
            let new_id = self.engine().engine().new_collection_id();
            self.workload.collection_commit(&self.random, &self.truth, now, new_id)
        } else {
            self.workload.commit(&self.random, &self.truth, now)
        };
        self.submit_commit(&commit)
    }

    fn submit_commit(&mut self, commit: &Commit) -> Step {
        let started = self.clock.now();
        let submitted = self.engine().submit(commit);
        tell!(self, "at {:?} {commit:?} -> {submitted:?}", self.clock.now());
        self.decided(commit, submitted, started)
    }

    /// Holds the outcome of a commit against the truth.
    fn decided(&mut self, commit: &Commit, submitted: Submitted, started: UnixMillis) -> Step {
        self.summary.submitted += 1;
        self.look_for_rollback();
        match &submitted.outcome {
            Ok(placed) if placed.repeated => {
                let stamp = Versionstamp::new(self.index_max + 1, 0);
                let outcome = Outcome::Repeated(placed.versionstamp, placed.log_time);
                let times = self.possible_times();
                let agrees = times.iter().any(|time| self.truth.outcome(commit, stamp, *time) == outcome);
                ensure!(agrees, "a token gave {outcome:?} for {commit:?}");
            }
            Ok(placed) => {
                let (stamp, log_time) = (placed.versionstamp, placed.log_time);
                ensure!(stamp > self.truth.last(), "stamp {stamp:?} after {:?}", self.truth.last());
                self.saw_group(stamp, log_time, started)?;
                let expected = self.truth.apply(commit, stamp, log_time);
                ensure!(
                    expected == Outcome::Committed,
                    "{stamp:?} was committed, expected {expected:?}: {commit:?}"
                );
                ensure!(submitted.depends_on >= stamp, "a commit depends on itself");
            }
            Err(error) => self.refused(commit, error, submitted.depends_on)?,
        }
        match &submitted.outcome {
            Err(CommitError::MemoryFull { .. }) => self.summary.memory_full += 1,
            Err(CommitError::TooOld { .. }) => self.summary.too_old += 1,
            _ => {}
        }
        let is_commit = submitted.outcome.is_ok();
        self.summary.refused += u64::from(!is_commit);
        self.waiting.push(Waiting { depends_on: submitted.depends_on, is_commit });
        self.deliver();
        Ok(())
    }

    fn saw_group(&mut self, stamp: Versionstamp, log_time: UnixMillis, started: UnixMillis) -> Step {
        let (index, time) = self.group;
        if stamp.index() == index {
            ensure!(log_time == time, "one group has two times: {time:?}, {log_time:?}");
            return Ok(());
        }
        ensure!(
            stamp.index() > self.index_max,
            "index {} is used again after {}",
            stamp.index(),
            self.index_max
        );
        ensure!(log_time >= time, "log time goes back: {time:?}, {log_time:?}");
        ensure!(
            log_time >= self.read_time,
            "a group's time {log_time:?} lies before a reader's {:?}",
            self.read_time
        );
        let latest = self.clock_max.max(self.clock.now());
        ensure!(log_time <= latest.max(time), "log time {log_time:?} is ahead of the clock {latest:?}");
        if !self.jumped {
            ensure!(log_time >= started, "log time {log_time:?} is behind the clock {started:?}");
        }
        self.index_max = stamp.index();
        self.group = (stamp.index(), log_time);
        Ok(())
    }

    fn refused(&self, commit: &Commit, error: &CommitError, depends_on: Versionstamp) -> Step {
        let expected = self.refusals(&self.truth, commit);
        let agrees = self.agrees(&self.truth, commit, error);
        ensure!(agrees, "refused with {error:?}, expected one of {expected:?}: {commit:?}");
        // The output rule: nobody is told a refusal before what it rests on is as durable as a commit would be.
        if depends_on < self.truth.last() {
            let mut durable = self.truth.clone();
            durable.truncate(depends_on);
            let agrees = self.agrees(&durable, commit, error);
            ensure!(
                agrees,
                "{error:?} may be told once {depends_on:?} is durable, but rests on more: {commit:?}"
            );
        }
        Ok(())
    }

    /// A transaction: it reads under the commit lock and writes what follows from that.
    fn submit_exclusive(&mut self) -> Step {
        if self.waiting.len() >= self.weather.clients {
            return self.log_step();
        }
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.clone().into_bytes());
        let started = self.clock.now();
        let mut read = Ok(None);
        let submitted = self.engine().engine().submit_exclusive(|pin| {
            read = self.engine().get(pin, space, &place.1);
            let value = match read.as_ref() {
                Ok(Some(found)) => Value::from(found.live.value.data.len() as i64),
                _ => Value::from("first"),
            };
            let set = Operation::Set { value, expiry: Expiry::Keep };
            Ok::<_, Infallible>(Commit::new().mutate(space, key.clone(), set))
        });
        let Ok(submitted) = submitted;
        tell!(self, "read {read:?} and wrote behind it {submitted:?}");
        let read = match read {
            Ok(read) => read,
            Err(error) => return self.read_error(&error),
        };
        let Ok(placed) = &submitted.outcome else {
            let value = Value::null();
            let set = Operation::Set { value, expiry: Expiry::Keep };
            return self.decided(&Commit::new().mutate(space, key, set), submitted, started);
        };
        let expected = self.truth.get(&place, Versionstamp::MAX, placed.log_time);
        self.same(&place, expected.as_ref(), read.as_ref())
            .map_err(|what| format!("a transaction at {placed:?} read what it does not follow on: {what}"))?;
        let value = match &read {
            Some(found) => Value::from(found.live.value.data.len() as i64),
            None => Value::from("first"),
        };
        let set = Operation::Set { value, expiry: Expiry::Keep };
        self.decided(&Commit::new().mutate(space, key, set), submitted, started)
    }

    /// Somebody wants more than the database's own durability and gets it with the next groups.
    fn want_durable(&mut self) -> Step {
        let last = self.truth.last();
        let waker = Waker::noop();
        match self.engine().engine().poll_wait(last, Durability::Fsync, waker) {
            Some(Ok(())) => {
                let durable = self.engine().durable();
                ensure!(durable >= last, "{last:?} is called durable, {durable:?} is");
                Ok(())
            }
            Some(Err(CommitError::Poisoned(_) | CommitError::DiskFull)) if self.faults || self.was_full => {
                Ok(())
            }
            Some(Err(error)) => Err(format!("waiting for {last:?}: {error}")),
            None => {
                loop {
                    let stepped = self.engine().log_step();
                    tell!(self, "log step for {last:?}: {stepped:?}");
                    self.look_for_rollback();
                    match stepped {
                        Ok(true) => self.was_full = false,
                        Ok(false) => break,
                        Err(CommitError::DiskFull) if self.faults => {
                            self.was_full = true;
                            return Ok(());
                        }
                        Err(CommitError::Poisoned(_)) if self.faults => {
                            self.sync_failed = true;
                            return Ok(());
                        }
                        Err(error) => return Err(format!("the log failed without a reason: {error}")),
                    }
                }
                self.deliver();
                let durable = self.engine().durable();
                ensure!(durable >= last, "somebody waits for {last:?} to be durable, {durable:?} is");
                Ok(())
            }
        }
    }

    /// What a commit may come to on a state, at one of the times that are possible.
    fn refusals(&self, truth: &Oracle, commit: &Commit) -> Vec<Outcome> {
        let stamp = Versionstamp::new(self.index_max + 1, 0);
        let mut expected: Vec<Outcome> =
            self.possible_times().into_iter().map(|time| truth.outcome(commit, stamp, time)).collect();
        expected.dedup();
        expected
    }

    /// Whether a refusal is right on a state.
    fn agrees(&self, truth: &Oracle, commit: &Commit, error: &CommitError) -> bool {
        let expects = |outcome: Outcome| self.refusals(truth, commit).contains(&outcome);
        match error {
            CommitError::CheckFailed(failures) => {
                self.possible_times().iter().any(|time| truth.may_fail(commit, failures, *time))
            }
            CommitError::Mutation { index, error } => expects(Outcome::Mutation(*index, error.clone())),
            CommitError::Token(TokenError::OtherContent) => expects(Outcome::OtherContent),
            CommitError::Token(TokenError::DeadlinePassed) => expects(Outcome::DeadlinePassed),
            CommitError::Token(TokenError::DeadlineTooFar) => expects(Outcome::DeadlineTooFar),
            CommitError::TooOld { floor } => commit.checks.iter().any(
                |check| matches!(check, Check::Range { unchanged_since, .. } if unchanged_since < floor),
            ),
            CommitError::MemoryFull { .. } => self.weather.small_memory,
            CommitError::DiskFull => self.faults || self.was_full,
            CommitError::Poisoned(_) => self.faults,
            CommitError::Storage(error) => self.faults && is_io(error),
            _ => false,
        }
    }

    /// At which times a refused commit may have been decided: a refusal does not say, and a group opened for it alone
    /// leaves no trace. Between two expiries all times are alike.
    fn possible_times(&self) -> Vec<UnixMillis> {
        let now = self.clock.now();
        let earliest = self.group.1.max(self.read_time);
        if !self.jumped {
            return vec![earliest, now.max(earliest)];
        }
        let latest = self.clock_max.max(now).max(earliest);
        let mut times: Vec<UnixMillis> =
            self.truth.expiries().filter(|time| *time > earliest && *time <= latest).collect();
        times.extend([earliest, latest]);
        times.extend(
            times
                .clone()
                .iter()
                .map(|time| UnixMillis(time.0.saturating_sub(1)))
                .filter(|time| *time > earliest),
        );
        times.sort_unstable();
        times.dedup();
        times
    }

    fn log_step(&mut self) -> Step {
        let stepped = self.engine().log_step();
        tell!(self, "log step {stepped:?}, visible {:?}", self.engine().visible());
        self.look_for_rollback();
        match stepped {
            Ok(wrote) => self.was_full &= !wrote,
            Err(CommitError::DiskFull) if self.faults => self.was_full = true,
            Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
            Err(error) => return Err(format!("the log failed without a reason: {error}")),
        }
        self.deliver();
        Ok(())
    }

    /// Whether the disk was full: then, under `fsync`, everything not yet visible was taken back.
    fn look_for_rollback(&mut self) {
        let rollbacks = self.engine().rollbacks();
        if rollbacks > self.rollbacks {
            self.summary.full += 1;
            self.rollbacks = rollbacks;
            let visible = self.engine().visible();
            tell!(self, "rolled back to {visible:?}");
            self.truth.truncate(visible);
            self.waiting.retain(|waiting| waiting.depends_on <= visible);
        }
    }

    /// Gives clients the answers that may leave.
    fn deliver(&mut self) {
        if self.engine().is_poisoned() {
            self.waiting.clear();
            return;
        }
        let visible = self.engine().visible();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.depends_on <= visible) {
            self.observed = self.observed.max(waiting.depends_on);
            self.summary.acknowledged += u64::from(waiting.is_commit);
        }
    }

    fn drain(&mut self) -> Step {
        while self.engine().log_step().map_err(|error| format!("draining: {error}"))? {}
        self.deliver();
        ensure!(self.waiting.is_empty(), "answers wait for something that does not come");
        Ok(())
    }

    // ---- background ----

    fn job(&mut self) -> Step {
        let jobs = [
            Job::Checkpoint,
            Job::Checkpoint,
            Job::Merge(3),
            Job::Merge(100_000),
            Job::Sync,
            Job::Idle,
            Job::ReserveAhead,
            Job::Erase(1_000),
        ];
        let job = pick(&self.random, &jobs);
        match self.random.below(8) {
            0 | 3 => self.expire(),
            1..=2 => return self.sweep(),
            _ => {}
        }
        if self.has_collections() {
            if self.random.below(3) == 0 {
                return self.erase_orphans().map(drop);
            }
            if matches!(job, Job::Checkpoint) && !self.list_orphans()? {
                return Ok(());
            }
        }
        let ran = self.engine().run(job);
        tell!(self, "{job:?} {ran:?}, visible {:?}", self.engine().visible());
        self.look_for_rollback();
        match ran {
            Ok(()) => {}
            Err(CommitError::DiskFull) if self.faults => self.was_full = true,
            Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
            Err(CommitError::Storage(error)) if self.faults && is_io(&error) => {}
            Err(error) => return Err(format!("{job:?} failed: {error}")),
        }
        self.deliver();
        Ok(())
    }

    /// A piece of a deleted range is erased, which nobody sees.
    fn erase(&mut self) -> Step {
        let keys = pick(&self.random, &[1, 1, 3, 20]);
        let ran = self.engine().run(Job::Erase(keys));
        tell!(self, "erase {keys}, {} ranges left", self.engine().engine().stats().deleted_ranges);
        ran.map_err(|error| format!("erasing failed: {error}"))
    }

    /// Sweeps commit like anybody else.
    fn sweep(&mut self) -> Step {
        let Some(commit) = self.engine().engine().sweep_commit(1 + self.random.below(20) as usize) else {
            return Ok(());
        };
        self.submit_commit(&commit)
    }

    fn has_collections(&self) -> bool {
        self.workload.style.collections_percent > 0
    }

    /// The elements of collections that are gone go by commits like any other. `false` if there was nothing to do.
    fn erase_orphans(&mut self) -> Step<bool> {
        let limit = 1 + self.random.below(8) as usize;
        let Some(commit) = self.engine().engine().erase_commit(limit) else { return Ok(false) };
        let headers = self.truth.headers();
        for mutation in &commit.mutations {
            let id = mutation.key.get(..10).and_then(CollectionId::from_slice);
            ensure!(
                id.is_some_and(|id| !headers.contains_key(&id)),
                "{mutation:?} takes an element of a collection whose header is there"
            );
        }
        self.submit_commit(&commit)?;
        Ok(true)
    }

    /// What a checkpoint would do by itself, in sight of the truth: ranges are erased, and what they took along is listed
    /// durably. `false` if the disk does not let it.
    fn list_orphans(&mut self) -> Step<bool> {
        while self.engine().engine().erase_step(1_000) {}
        for _ in 0..20 {
            if !self.engine().engine().has_due_orphans() {
                return Ok(true);
            }
            if let Some(commit) = self.engine().engine().orphans_commit(100) {
                self.submit_commit(&commit)?;
            }
            self.log_step()?;
            match self.engine().run(Job::Sync) {
                Ok(()) => {}
                Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
                Err(error) => return Err(format!("a sync failed: {error}")),
            }
            self.deliver();
            if self.engine().is_poisoned() {
                return Ok(false);
            }
        }
        ensure!(self.faults || self.was_full, "what deleted ranges took along is not listed");
        Ok(false)
    }

    /// Every element belongs to a header that counts it, and nothing else is left.
    fn verify_collections(&mut self) -> Step {
        ensure!(self.list_orphans()?, "nothing goes wrong any more");
        while self.erase_orphans()? {
            self.drain()?;
            self.engine().run(Job::Sync).map_err(|error| format!("a sync failed: {error}"))?;
        }
        let mut found: BTreeMap<CollectionId, u64> = BTreeMap::new();
        let at = self.truth.last();
        for (key, _) in self.truth.range(SpaceId::ELEMENTS, &KeyRange::all(), at, UnixMillis(0)) {
            let id = key.get(..10).and_then(CollectionId::from_slice);
            *found.entry(id.ok_or("an element without an id")?).or_default() += 1;
        }
        let headers = self.truth.headers();
        let counted: BTreeMap<CollectionId, u64> =
            headers.iter().map(|(id, header)| (*id, elements_in(&header.data))).collect();
        ensure!(found == counted, "elements there are {found:?}, headers count {counted:?}");
        let listed = self.truth.range(SpaceId::ORPHANS, &KeyRange::all(), at, UnixMillis(0));
        ensure!(listed.is_empty(), "{} orphans are still listed", listed.len());
        self.verify()
    }

    // ---- reads ----

    fn pin(&mut self) -> Step<SnapshotPin> {
        let pin = self.engine().snapshot();
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        tell!(self, "read at {stamp:?} {time:?}");
        ensure!(stamp == self.engine().visible(), "a snapshot is of now");
        ensure!(time >= self.truth.time_of(stamp), "a reader's time {time:?} lies before what it sees");
        ensure!(time >= self.read_time, "a reader's time goes back from {:?} to {time:?}", self.read_time);
        let latest = self.clock_max.max(self.clock.now()).max(self.group.1);
        ensure!(time <= latest, "a reader's time {time:?} is ahead of the clock {latest:?}");
        if !self.jumped
            && !self.was_full
            && !self.engine().is_poisoned()
            && self.truth.last() <= stamp.min(self.engine().written())
        {
            let now = self.clock.now();
            ensure!(time >= now, "nothing is in flight and a reader's time {time:?} is behind {now:?}");
        }
        self.read_time = time;
        Ok(pin)
    }

    fn read(&mut self) -> Step {
        if self.random.below(4) == 0 {
            let (space, range) =
                (self.workload.style.space(&self.random), self.workload.style.range(&self.random));
            return self.same_count(space, &range);
        }
        let pin = self.pin()?;
        self.read_at(&pin)?;
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.into_bytes());
        let expected = self.truth.get(&place, Versionstamp::from_raw(pin.stamp()), pin.time());
        match self.engine().get_now(space, &place.1) {
            Ok(found) => self.same(&place, expected.as_ref(), found.as_ref()),
            Err(error) => self.read_error(&error),
        }
    }

    /// One key or range at a snapshot.
    fn read_at(&mut self, pin: &SnapshotPin) -> Step {
        self.summary.reads += 1;
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let space = self.workload.style.space(&self.random);
        if self.random.below(2) == 0 {
            let place = (space, self.workload.style.key(&self.random).into_bytes());
            let expected = self.truth.get(&place, stamp, time);
            return match self.engine().get(pin, space, &place.1) {
                Ok(found) => self.same(&place, expected.as_ref(), found.as_ref()),
                Err(error) => self.read_error(&error),
            };
        }
        let range = self.workload.style.range(&self.random);
        let scan = Scan {
            reverse: self.random.below(2) == 0,
            entries_max: pick(&self.random, &[1, 3, 100]),
            bytes_max: pick(&self.random, &[1, 1_000, 1 << 20]),
        };
        if self.random.below(3) == 0 {
            return self.same_window(pin, space, &range, scan);
        }
        self.same_range(pin, space, &range, scan)
    }

    /// What was last changed in a window of versions.
    fn same_window(&self, pin: &SnapshotPin, space: SpaceId, range: &KeyRange, scan: Scan) -> Step {
        let (at, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let log = self.truth.log();
        let back = |most: u64| {
            let back = 1 + self.random.below(most) as usize;
            log.len().checked_sub(back).map_or(Versionstamp::ZERO, |position| log[position].stamp)
        };
        let until = if self.random.below(2) == 0 { None } else { Some(back(10)) };
        let window = Window {
            since: if self.random.below(8) == 0 { None } else { Some(back(20)) },
            until,
            include_deleted: self.random.below(2) == 0,
        };
        let bounds = (window.since.unwrap_or_default(), until.unwrap_or(Versionstamp::MAX));
        let (mut entries, mut deleted) = self.truth.changed(space, range, bounds, (at, time));
        if !window.include_deleted {
            deleted.clear();
        }
        if scan.reverse {
            entries.reverse();
            deleted.reverse();
        }
        let batch = match self.engine().changed(pin, space, range, scan, window) {
            Ok(batch) => batch,
            Err(ReadError::SnapshotTooOld) if window.include_deleted => return Ok(()),
            Err(error) => return self.read_error(&error),
        };
        let found: Vec<_> = batch.entries.into_iter().map(found).collect();
        ensure!(found == entries, "{window:?} of {range:?} has {found:?}, expected {entries:?}");
        let gone: Vec<_> =
            batch.deleted.into_iter().map(|gone| (gone.key.into_bytes(), gone.versionstamp)).collect();
        ensure!(gone == deleted, "{window:?} of {range:?} deleted {gone:?}, expected {deleted:?}");
        Ok(())
    }

    /// The versions of a key that are kept.
    fn read_history(&mut self) -> Step {
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.into_bytes());
        let limit = pick(&self.random, &[1, 3, 100]);
        let (floor, visible) = (self.engine().engine().history_floor(), self.engine().visible());
        let found = match self.engine().engine().history(space, &place.1, limit) {
            Ok(found) => found,
            Err(error) => return self.read_error(&error),
        };
        let found: Vec<Version> = found
            .into_iter()
            .map(|kept| Version {
                stamp: kept.versionstamp,
                live: kept.value.map(|(value, expires_at)| Live { value, expires_at }),
            })
            .collect();
        let mut expected: Vec<Version> = Vec::new();
        for version in self.truth.versions(&place, visible).take(limit) {
            expected.push(version.clone());
            if version.stamp <= floor {
                break;
            }
        }
        // Deletions with nothing before them may be forgotten.
        while found.len() < expected.len() && expected.pop_if(|oldest| oldest.live.is_none()).is_some() {}
        ensure!(found == expected, "{place:?} has the history {found:?}, expected {expected:?}");
        Ok(())
    }

    fn same_range(&self, pin: &SnapshotPin, space: SpaceId, range: &KeyRange, scan: Scan) -> Step {
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let mut expected = self.truth.range(space, range, stamp, time);
        if scan.reverse {
            expected.reverse();
        }
        let found = match self.engine().range(pin, space, range, scan) {
            Ok(found) => found,
            Err(error) => return self.read_error(&error),
        };
        for ((key, expected), (found_key, found)) in expected.iter().zip(&found) {
            ensure!(key == found_key, "range {range:?} of {space:?}: {key:?} expected, {found_key:?} found");
            self.same(&(space, key.clone()), Some(expected), Some(found))?;
        }
        let (have, want) = (found.len(), expected.len());
        ensure!(
            have == want,
            "range {range:?} of {space:?} at {stamp:?}: {have} entries of {want}, {scan:?}"
        );
        Ok(())
    }

    fn same_count(&self, space: SpaceId, range: &KeyRange) -> Step {
        let entries = self.engine().engine().count(space, &range.start, range.end.as_deref());
        let expected = self.truth.count(space, range);
        ensure!(entries == expected, "{range:?} of {space:?} counts {entries} entries, expected {expected}");
        Ok(())
    }

    fn same(&self, place: &Place, expected: Option<&Found>, found: Option<&Found>) -> Step {
        if expected == found {
            return Ok(());
        }
        let text = |found: Option<&Found>| {
            format!("{:?} {}", found.map(|found| found.stamp), show(found.map(|found| &found.live)))
        };
        Err(format!("{place:?} holds {}, expected {}", text(found), text(expected)))
    }

    fn read_error(&self, error: &ReadError) -> Step {
        match error {
            ReadError::Storage(error) if self.faults && is_io(error) => Ok(()),
            error => Err(format!("a read failed: {error}")),
        }
    }

    fn take_snapshot(&mut self) -> Step {
        let pin = self.pin()?;
        if self.held.len() >= 6 {
            let oldest = self.random.below(6) as usize;
            self.held.swap_remove(oldest);
        }
        self.held.push(Held { pin, taken_at_ns: self.clock.monotonic_ns(), expired: false });
        Ok(())
    }

    /// Old snapshots end, and history moves on.
    fn expire(&mut self) {
        let age_ns = self.options.snapshot_age_ms_max * 1_000_000;
        let before_ns = self.clock.monotonic_ns().saturating_sub(age_ns);
        self.engine().engine().expire_snapshots();
        for held in &mut self.held {
            held.expired |= held.taken_at_ns < before_ns;
        }
        tell!(self, "history begins at {:?}", self.engine().engine().history_floor());
    }

    fn read_snapshot(&mut self) -> Step {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = self.held.swap_remove(self.random.below(self.held.len() as u64) as usize);
        if held.expired {
            let answer = self.engine().get(&held.pin, SpaceId::DEFAULT, b"k1");
            ensure!(
                matches!(answer, Err(ReadError::SnapshotTooOld)),
                "a snapshot outlived its age: {answer:?}"
            );
            return Ok(());
        }
        self.read_at(&held.pin)?;
        if self.random.below(3) > 0 {
            self.held.push(held);
        }
        Ok(())
    }

    /// A read at an old version, if it is still there.
    fn look_back(&mut self) -> Step {
        let log = self.truth.log();
        if log.is_empty() {
            return Ok(());
        }
        let back = self.random.below(log.len().min(30) as u64) as usize;
        let at = log[log.len() - 1 - back].stamp;
        match self.engine().engine().snapshot_at(at) {
            Ok(pin) => {
                let visible = self.engine().visible();
                ensure!(pin.stamp() == at.min(visible).raw(), "a snapshot at {at:?} is of {}", pin.stamp());
                self.read_at(&pin)
            }
            Err(ReadError::SnapshotTooOld) => {
                let kept_until = self.truth.time_of(at).0.saturating_add(self.options.history_retention_ms);
                // In little memory the oldest go before their time.
                let is_kept = self.options.history_retention_ms > 0
                    && !self.weather.small_memory
                    && kept_until > self.clock_max.max(self.clock.now()).0;
                ensure!(!is_kept, "{at:?} is within the retention and its snapshot is too old");
                Ok(())
            }
            Err(error) => self.read_error(&error),
        }
    }

    /// The feed from some position on is the log, whole and in order, or says that it has a gap.
    fn read_feed(&mut self) -> Step {
        let visible = self.engine().visible();
        let limit = pick(&self.random, &[1, 5, 1_000]);
        if let Some(lost) = self.lost.last()
            && *lost < visible.min(self.engine().written())
        {
            let answer = self.engine().engine().changes(*lost, limit);
            let storage = matches!(answer, Err(ChangesError::Storage(_)));
            let gap = matches!(answer, Err(ChangesError::Gap { .. })) || (storage && self.faults);
            ensure!(gap, "the feed goes on behind {lost:?}, which a crash has taken back: {answer:?}");
        }
        let log = self.truth.log();
        let back = self.random.below(40) as usize;
        let from = log.len().checked_sub(1 + back).map_or(Versionstamp::ZERO, |at| log[at].stamp);
        let changes = match self.engine().engine().changes(from, limit) {
            Ok(changes) => changes,
            Err(ChangesError::Gap { restart_at }) => {
                self.summary.gaps += 1;
                let behind = restart_at > from || from > visible;
                ensure!(behind, "the feed has a gap behind {from:?} and begins at {restart_at:?}");
                let checkpoint = self.engine().engine().checkpoint_stamp();
                ensure!(
                    restart_at <= checkpoint,
                    "the log reaches back to {checkpoint:?}, the feed to {restart_at:?}"
                );
                let options = self.engine().engine().options();
                let all_stay = options.log_retention_ms.min(options.log_retention_bytes) == u64::MAX;
                // A full disk takes them, and their number is bounded.
                let may_go = self.weather.full_disk
                    || self.weather.io_errors
                    || self.engine().engine().manifest().retained.len() >= 64;
                ensure!(
                    !all_stay || may_go || from > visible,
                    "all log files stay, but the feed begins at {restart_at:?}, not at {from:?}"
                );
                return Ok(());
            }
            Err(ChangesError::Storage(error)) if self.faults && is_io(&error) => return Ok(()),
            Err(error) => return Err(format!("the feed failed: {error:?}")),
        };
        let visible = visible.min(self.engine().written());
        let expected = log.iter().filter(|logged| logged.stamp > from && logged.stamp <= visible).take(limit);
        let mut count = 0;
        for (found, expected) in changes.iter().zip(expected.clone()) {
            let same = (found.versionstamp, found.log_time) == (expected.stamp, expected.log_time)
                && same_mutations(&found.mutations, expected);
            ensure!(same, "the feed behind {from:?} has {found:?}, expected {expected:?}");
            count += 1;
        }
        let expected = expected.count();
        ensure!(
            count == expected && changes.len() == expected,
            "the feed behind {from:?} has {count} of {expected}"
        );
        Ok(())
    }

    /// Everything, against the truth.
    fn verify(&mut self) -> Step {
        let pin = self.pin()?;
        let internal = [SpaceId::ELEMENTS, SpaceId::ORPHANS];
        for space in self.workload.style.spaces.iter().copied().chain(internal).collect::<Vec<_>>() {
            for reverse in [false, true] {
                let scan = Scan { reverse, entries_max: 50, bytes_max: 1 << 20 };
                self.same_range(&pin, space, &KeyRange::all(), scan)?;
            }
            self.same_count(space, &KeyRange::all())?;
        }
        // Tokens are entries, too, and are not counted here.
        if self.workload.style.token_percent == 0 && self.truth.last() <= self.engine().visible() {
            let stats = self.engine().engine().stats();
            let mut found = (stats.entries, stats.key_bytes, stats.value_bytes, stats.expiring);
            let expected = self.truth.totals();
            if stats.deleted_ranges > 0 {
                // Bytes and expiries count until they are erased.
                found = (found.0, expected.1, expected.2, expected.3);
            }
            ensure!(
                found == expected,
                "entries, key bytes, value bytes, expiring: {found:?}, expected {expected:?}"
            );
        }
        let places: Vec<Place> = self.truth.places().cloned().collect();
        for place in places {
            let expected = self.truth.get(&place, Versionstamp::from_raw(pin.stamp()), pin.time());
            match self.engine().get(&pin, place.0, &place.1) {
                Ok(found) => self.same(&place, expected.as_ref(), found.as_ref())?,
                Err(error) => self.read_error(&error)?,
            }
        }
        Ok(())
    }

    // ---- ends and beginnings ----

    /// The engine refuses commits, but it answers reads; then its process is ended.
    fn poisoned(&mut self) -> Step {
        self.summary.poisoned += 1;
        ensure!(self.faults, "poisoned without a reason");
        self.waiting.clear();
        let commit = self.workload.commit(&self.random, &self.truth, self.clock.now());
        let submitted = self.engine().submit(&commit);
        let refused = matches!(&submitted.outcome, Err(CommitError::Poisoned(_) | CommitError::Limit(_)));
        ensure!(refused, "a poisoned engine answered {submitted:?}");
        self.read()?;
        if self.random.below(2) == 0 { self.kill() } else { self.power_failure() }
    }

    fn restart(&mut self) -> Step {
        tell!(self, "restart");
        if self.faults {
            return self.kill();
        }
        self.summary.restarts += 1;
        self.held.clear();
        let closed = self.engine().close();
        ensure!(closed.is_ok(), "closing failed: {closed:?}");
        self.deliver();
        ensure!(self.waiting.is_empty(), "close left answers waiting");
        let last = self.truth.last();
        self.count_work();
        self.seen = self.engine().visible();
        self.subject = None;
        self.rollbacks = 0;
        self.recover(last, true)
    }

    fn tell_calls(&self) {
        for call in self.disk.traced_calls() {
            tell!(
                self,
                "  {:?} {} at {}, {} bytes",
                call.kind,
                call.path,
                call.offset_bytes,
                call.length_bytes
            );
        }
    }

    fn kill(&mut self) -> Step {
        tell!(self, "kill");
        self.summary.kills += 1;
        let engine = self.engine();
        let floor = match self.options.durability {
            _ if self.sync_failed => engine.durable(),
            Durability::Fsync => self.observed,
            _ => engine.written(),
        };
        self.held.clear();
        let disk = self.disk.kill();
        self.end(disk);
        self.recover(floor, false)
    }

    fn power_failure(&mut self) -> Step {
        tell!(self, "power failure");
        self.summary.crashes += 1;
        let floor = match self.options.durability {
            Durability::Fsync => self.observed,
            _ => self.engine().durable(),
        };
        self.held.clear();
        let style = pick(
            &self.random,
            &[CrashStyle::Random, CrashStyle::Random, CrashStyle::LoseAll, CrashStyle::KeepAll],
        );
        let disk = self.disk.crash(style);
        self.end(disk);
        self.recover(floor, true)
    }

    fn count_work(&mut self) {
        let stats = self.engine().engine().stats();
        self.summary.checkpoints += stats.checkpoints;
        self.summary.merges += stats.merges;
        self.summary.evictions += stats.evictions;
        self.summary.loads += stats.loads;
    }

    fn end(&mut self, disk: FaultDisk) {
        self.count_work();
        self.seen = self.engine().visible();
        self.subject = None;
        self.waiting.clear();
        self.tell_calls();
        self.disk = disk;
        self.faults = self.disk.plan() != FaultPlan::default();
        self.sync_failed = false;
        self.was_full = false;
        self.rollbacks = 0;
    }

    /// Opens what the end before has left, perhaps with more mishaps on the way, and finds out what is there: it must be
    /// a prefix of the log that reaches at least to `floor`.
    fn recover(&mut self, floor: Versionstamp, by_power: bool) -> Step {
        let mut tries = 0;
        while self.weather.crashes && tries < 3 && self.random.below(4) == 0 {
            tries += 1;
            let change = self.disk.changes() + 1 + self.random.below(15);
            self.disk.set_plan(FaultPlan { crash_at_change: Some(change), ..self.disk.plan() });
            match self.try_open() {
                Ok(subject) => drop(subject),
                Err(OpenError::Storage(StorageError::Io { .. })) => {}
                Err(error) => return Err(format!("opening, a crash in the middle of it: {error}")),
            }
            self.tell_calls();
            self.disk = if by_power { self.disk.crash(CrashStyle::Random) } else { self.disk.kill() };
        }
        self.heal();
        self.open()?;
        let last = self.matching_prefix(floor)?;
        tell!(
            self,
            "opened, floor {floor:?}, last {last:?} of {:?}, visible {:?}",
            self.truth.last(),
            self.engine().visible()
        );
        let gone = self.truth.log().iter().map(|logged| logged.stamp).filter(|stamp| *stamp > last);
        self.lost.extend(gone.filter(|stamp| *stamp <= self.seen));
        self.truth.truncate(last);
        self.group = (self.index_max, self.truth.time_of(last));
        self.verify()
    }

    /// Which prefix of the log the engine has.
    fn matching_prefix(&mut self, floor: Versionstamp) -> Step<Versionstamp> {
        let pin = self.pin_after_crash();
        let mut found: BTreeMap<Place, Found> = BTreeMap::new();
        let scan = Scan { reverse: false, entries_max: 1_000, bytes_max: 1 << 24 };
        for space in self.workload.style.spaces.iter().copied().chain([
            SpaceId::ELEMENTS,
            SpaceId::ORPHANS,
            SpaceId::TOKENS,
        ]) {
            let entries = self.engine().range(&pin, space, &KeyRange::all(), scan);
            let entries = entries.map_err(|error| format!("reading after the crash: {error}"))?;
            found.extend(entries.into_iter().map(|(key, found)| ((space, key), found)));
        }
        let tokens: BTreeMap<Bytes, Versionstamp> = found
            .extract_if(.., |place, _| place.0 == SpaceId::TOKENS)
            .map(|((_, id), found)| (id, found.stamp))
            .collect();
        // The engine says where its log ends; whether that is true shows in what it holds.
        let visible = self.engine().visible();
        let ends = self.truth.group_ends();
        let end = ends.iter().rev().find(|end| **end <= visible).copied().unwrap_or_default();
        // The floor may be a group without commits: then the end before it will do.
        let needed = ends.iter().rev().find(|end| **end <= floor).copied().unwrap_or_default();
        let last = self.truth.last();
        ensure!(
            end >= needed,
            "the log ends at {visible:?}, but {floor:?} was acknowledged (last: {last:?})"
        );
        let expected = self.truth.state(end, pin.time());
        for (place, expected) in &expected {
            self.same(place, Some(expected), found.get(place))
                .map_err(|what| format!("after a crash: {what}"))?;
        }
        let extra = found.keys().find(|place| !expected.contains_key(*place));
        ensure!(extra.is_none(), "after a crash {extra:?} is there, which {end:?} does not have");
        let expected = self.truth.tokens(end, pin.time());
        ensure!(expected == tokens, "after a crash the tokens are {tokens:?}, expected {expected:?}");
        Ok(end)
    }

    fn pin_after_crash(&mut self) -> SnapshotPin {
        self.read_time = UnixMillis(0);
        self.engine().snapshot()
    }

    fn try_open(&self) -> Result<Subject, OpenError> {
        let env = Env {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::clone(&self.random) as Arc<dyn orchard_env::Random>,
        };
        Subject::open(env, self.options.clone())
    }

    fn open(&mut self) -> Step {
        // Opening trusts the machine's clock once more.
        self.jumped = self.clock.now() < self.clock_max.max(self.group.1);
        self.read_time = UnixMillis(0);
        match self.try_open() {
            Ok(subject) => {
                self.subject = Some(subject);
                Ok(())
            }
            Err(error) => Err(format!("opening failed: {error}")),
        }
    }
}

fn is_io(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { .. })
}

/// Whether the feed shows what a commit did: all its mutations, but conditional deletes only where they deleted.
fn same_mutations(found: &[Mutation], logged: &Logged) -> bool {
    let place = |mutation: &Mutation| (mutation.space, mutation.key.clone().into_bytes());
    // The truth keeps tokens apart from keys.
    let is_conditional = |mutation: &&Mutation| {
        mutation.space != SpaceId::TOKENS && matches!(mutation.operation, Operation::DeleteIfStamp(_))
    };
    let asked = &logged.commit.mutations;
    let (shown, others): (Vec<_>, Vec<_>) = found.iter().partition(is_conditional);
    let honest =
        shown.iter().all(|shown| asked.contains(shown) && logged.changes.contains_key(&place(shown)));
    // What nothing else in the commit can have deleted, a conditional delete did.
    let is_sweep = asked.iter().all(|mutation| is_conditional(&mutation));
    // That a collection lost its header is nothing that a user did.
    let mut seen = logged.changes.keys().filter(|key| key.0 != SpaceId::ORPHANS);
    let whole = !is_sweep || seen.all(|key| shown.iter().any(|shown| place(shown) == *key));
    honest && whole && others.into_iter().eq(asked.iter().filter(|mutation| !is_conditional(mutation)))
}
