//! The Redis protocol: commands over the same entries that HTTP serves.
//!
//! # How a command runs
//! [`connection`] reads what has arrived, decodes every whole request of it at once, and gives the batch to
//! [`dispatch`], which finds each command in the one table ([`command`]), checks arity and access, and runs it:
//!
//! - a command that needs no keys (`session(..)` in a table) at once, on the connection's [`session::Session`];
//! - a command that reads (`read(..)`) on a view at the newer of *visible* and the connection's own last commit, one view
//!   for a run of reads; it never takes the commit lock;
//! - a command that writes (`write(..)`) in a transaction of its own under the commit lock; a run of writes shares one
//!   hold of the lock and one log group.
//!
//! `MULTI` queues; `EXEC` runs the same handlers in one transaction, which is one commit (or one view, if all only read).
//!
//! Replies are collected in [`output::Output`], each with the versionstamp it depends on, and leave in order once *visible*
//! has passed it. So a pipeline runs ahead of the disk while its answers wait, and no reply tells of what a crash may
//! take back.
//!
//! # Adding a command
//! Write the handler in the family's file under `families/`, and a line into the family's table:
//!
//! ```text
//! write("hset", -4, DENYOOM | FAST, (1, 1, 1), hset),
//!
//! fn hset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
//!     let key = cx.key(args.at(1))?;
//!     let Some(entry) = cx.entry(&key)? else { .. };
//!     cx.put(key, value, Expiry::Keep);
//!     Ok(Reply::Integer(1))
//! }
//! ```
//!
//! - `GET k` and `SET k v` alone have a shorter way ([`direct`]), which does what their handlers do.
//! - `args.at(0)` is the command's name; the table has checked the arity, so arguments up to it are there.
//! - `cx.tx` is the transaction, `cx.space` the database selected; `cx.now()` is the time to judge and set expiry by.
//! - An `Err` comes before the handler's first write, so that inside `EXEC` the others go on; on its own it writes nothing.
//! - A handler may run twice (a value had to be loaded from disk first), so it changes nothing but through `cx.tx`; inside
//!   `EXEC` that holds for session handlers, too: what they do to the session must be the same done twice.
//! - A new family is one file with a `pub(super) static FAMILY` and one line in `families/mod.rs`.
//! - A command with subcommands is a `container(..)` with a table of its own; each subcommand's name is the second word.

mod admit;
mod bits;
mod blocking;
mod calls;
mod clients;
mod command;
mod command_docs;
mod config;
mod connection;
mod context;
mod cursors;
mod databases;
mod direct;
mod dispatch;
mod effects;
mod error;
mod exec;
mod expired;
mod expiry;
mod families;
mod histogram;
mod housekeeping;
mod info;
mod invalidation;
mod looked;
mod misses;
mod monitor;
mod notify;
mod observers;
mod output;
mod output_limits;
mod pause;
mod pubsub;
#[cfg(test)]
mod reference;
mod retry;
mod room;
mod secrets;
mod session;
mod slowlog;
mod tracking;
mod traffic;
mod value;
mod writes;

pub(crate) use connection::run;
pub(crate) use expired::tell_expired;
pub(crate) use housekeeping::keep_house;

use clients::Clients;
use config::Config;
use monitor::Monitors;
use orchard_env::{Random, SystemRandom};
use orcharddb::Db;
use pubsub::PubSub;
use slowlog::SlowLog;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use tokio::time::Instant;

/// The version of Redis whose behaviour this is.
pub(crate) const REDIS_VERSION: &str = "7.0.15";
/// Databases that `SELECT` knows by number.
pub(crate) const DATABASES: u32 = 16;

/// What all connections of the Redis protocol share.
pub(crate) struct RedisShared {
    /// Who is connected.
    pub(crate) clients: Clients,
    /// Where scans of collections stand.
    pub(crate) cursors: cursors::Cursors,
    /// Who waits for an element.
    pub(crate) waiting: blocking::Waiting,
    /// Who listens to what.
    pub(crate) pubsub: PubSub,
    /// Who knows which keys.
    pub(crate) tracking: tracking::Tracking,
    pub(crate) monitors: Monitors,
    pub(crate) pause: pause::Pause,
    pub(crate) calls: calls::Calls,
    pub(crate) slowlog: SlowLog,
    pub(crate) config: Config,
    /// Commands since the start, or since `CONFIG RESETSTAT`.
    pub(crate) commands_run: AtomicU64,
    pub(crate) traffic: traffic::Traffic,
    pub(crate) started_at: Instant,
    /// 40 hexadecimal digits, others at each start.
    pub(crate) run_id: String,
    /// Most memory seen in use, in bytes.
    memory_peak_bytes: AtomicU64,
    /// Unix time of the last checkpoint that a client asked for, at first of the start.
    last_save_seconds: AtomicI64,
    /// Commits at that time.
    last_save_commits: AtomicU64,
}

impl RedisShared {
    pub(crate) fn new(db: &Db) -> RedisShared {
        let shared = RedisShared {
            clients: Clients::default(),
            cursors: cursors::Cursors::default(),
            waiting: blocking::Waiting::default(),
            pubsub: PubSub::default(),
            tracking: tracking::Tracking::default(),
            monitors: Monitors::default(),
            pause: pause::Pause::default(),
            calls: calls::Calls::default(),
            slowlog: SlowLog::default(),
            config: Config::default(),
            commands_run: AtomicU64::new(0),
            traffic: traffic::Traffic::default(),
            started_at: Instant::now(),
            run_id: run_id(),
            memory_peak_bytes: AtomicU64::new(0),
            last_save_seconds: AtomicI64::new(0),
            last_save_commits: AtomicU64::new(0),
        };
        shared.note_saved(db);
        shared
    }

    /// A checkpoint was asked for.
    pub(crate) fn note_saved(&self, db: &Db) {
        let seconds = i64::try_from(db.clock_now().0 / 1_000).unwrap_or(i64::MAX);
        self.last_save_seconds.store(seconds, Ordering::Relaxed);
        self.last_save_commits.store(db.stats().commits, Ordering::Relaxed);
    }

    /// How many of `commits` came since then.
    pub(crate) fn commits_since_saved(&self, commits: u64) -> u64 {
        commits.saturating_sub(self.last_save_commits.load(Ordering::Relaxed))
    }

    /// So much memory is in use; the most that was seen, in bytes.
    pub(crate) fn note_memory(&self, bytes: u64) -> u64 {
        self.memory_peak_bytes.fetch_max(bytes, Ordering::Relaxed).max(bytes)
    }

    pub(crate) fn last_save_seconds(&self) -> i64 {
        self.last_save_seconds.load(Ordering::Relaxed)
    }
}

fn run_id() -> String {
    let mut bytes = [0; 20];
    // Without randomness it is zero, which harms nobody.
    let _ = SystemRandom.fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
