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
    /// Commits that went straight into the open group.
    pub direct: u64,
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
    /// Bits of one copy of the manifest that flipped between an end and a beginning.
    pub rotten_manifests: u64,
}

impl std::ops::AddAssign<&Summary> for Summary {
    fn add_assign(&mut self, other: &Summary) {
        self.trace_hash = self.trace_hash.rotate_left(7) ^ other.trace_hash;
        self.submitted += other.submitted;
        self.direct += other.direct;
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
        self.rotten_manifests += other.rotten_manifests;
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

mod commits;
mod crashes;
mod directs;
mod jobs;
mod reads;

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
            // An empty map takes 64 KiB.
            options.memory_limit_bytes = pick(&random, &[72 << 10, 80 << 10, 96 << 10, 256 << 10]);
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
                self.tell_calls();
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
            3..=27 => self.submit(),
            28..=36 => self.submit_run(),
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
}

fn is_io(error: &StorageError) -> bool {
    matches!(error, StorageError::Io { .. })
}
