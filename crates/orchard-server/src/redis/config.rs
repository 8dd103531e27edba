//! `CONFIG`: Redis's parameters, as far as they mean something here.
//!
//! What Redis tunes by them (encodings, forks, replicas) does not exist: those parameters show Redis's defaults, because
//! clients read some of them, and cannot be set to anything else.

use super::DATABASES;
use super::command::shown;
use super::error::RedisError;
use super::notify::Classes;
use super::output_limits::{self, Class, Limit};
use crate::{Server, connections_possible};
use orchard_wire::resp::number::parse_integer;
use orcharddb::Durability;
use orcharddb::limits::VALUE_SIZE_BYTES_MAX;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// Parameters that `CONFIG SET` changes, next to those of the listener, of the slow log, of tracking and of clients' output.
pub(crate) struct Config {
    notify: AtomicU32,
    /// Seconds after which an idle client is disconnected; 0: never.
    timeout_s: AtomicU64,
    /// Told when that has changed.
    pub(crate) timeout_changed: Notify,
    /// Seconds after which the kernel asks whether a silent client is still there; 0: never.
    keepalive_s: AtomicU64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            notify: AtomicU32::new(0),
            timeout_s: AtomicU64::new(0),
            timeout_changed: Notify::new(),
            keepalive_s: AtomicU64::new(KEEPALIVE_S_DEFAULT),
        }
    }
}

impl Config {
    /// How long a client may be idle.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        seconds(self.timeout_s.load(Ordering::Relaxed))
    }

    /// After which silence a client is asked whether it is still there.
    pub(crate) fn keepalive(&self) -> Option<Duration> {
        seconds(self.keepalive_s.load(Ordering::Relaxed))
    }

    /// Which keyspace notifications are sent.
    pub(crate) fn notify(&self) -> Classes {
        Classes::from_bits(self.notify.load(Ordering::Relaxed))
    }
}

fn seconds(number: u64) -> Option<Duration> {
    (number > 0).then(|| Duration::from_secs(number))
}

/// Most seconds that a parameter takes.
const SECONDS_MAX: u64 = i32::MAX as u64;
/// Redis's own.
const KEEPALIVE_S_DEFAULT: u64 = 300;

/// Parameters with Redis's default, which have no effect here.
const WITHOUT_EFFECT: &[(&str, &str)] = &[
    ("activedefrag", "no"),
    ("active-expire-effort", "1"),
    ("activerehashing", "yes"),
    ("appenddirname", "appendonlydir"),
    ("appendfilename", "appendonly.aof"),
    ("auto-aof-rewrite-min-size", "67108864"),
    ("auto-aof-rewrite-percentage", "100"),
    ("busy-reply-threshold", "5000"),
    ("client-query-buffer-limit", "1073741824"),
    ("cluster-enabled", "no"),
    ("daemonize", "no"),
    ("dbfilename", "dump.rdb"),
    ("dynamic-hz", "yes"),
    ("hash-max-listpack-entries", "512"),
    ("hash-max-listpack-value", "64"),
    ("hash-max-ziplist-entries", "512"),
    ("hash-max-ziplist-value", "64"),
    ("hz", "10"),
    ("io-threads", "1"),
    ("latency-monitor-threshold", "0"),
    ("latency-tracking", "yes"),
    ("latency-tracking-info-percentiles", "50 99 99.9"),
    ("lazyfree-lazy-user-del", "no"),
    ("lazyfree-lazy-user-flush", "no"),
    ("list-compress-depth", "0"),
    ("list-max-listpack-size", "-2"),
    ("list-max-ziplist-size", "-2"),
    ("loglevel", "notice"),
    ("lua-time-limit", "5000"),
    ("maxmemory-policy", "noeviction"),
    ("maxmemory-samples", "5"),
    ("min-replicas-to-write", "0"),
    ("protected-mode", "yes"),
    ("replicaof", ""),
    ("replica-read-only", "yes"),
    ("save", ""),
    ("set-max-intset-entries", "512"),
    ("slave-read-only", "yes"),
    ("stop-writes-on-bgsave-error", "yes"),
    ("stream-node-max-bytes", "4096"),
    ("stream-node-max-entries", "100"),
    ("supervised", "no"),
    ("tcp-backlog", "511"),
    ("unixsocket", ""),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("zset-max-ziplist-entries", "128"),
    ("zset-max-ziplist-value", "64"),
];

/// Parameters that tell of this server.
const OWN: &[&str] = &[
    "appendfsync",
    "appendonly",
    "bind",
    "client-output-buffer-limit",
    "databases",
    "maxclients",
    "maxmemory",
    "notify-keyspace-events",
    "port",
    "proto-max-bulk-len",
    "requirepass",
    "slowlog-log-slower-than",
    "slowlog-max-len",
    "tcp-keepalive",
    "timeout",
    "tracking-table-max-keys",
];

/// The value of a parameter.
pub(crate) fn get(server: &Server, name: &str) -> Option<String> {
    let stats = || server.db.stats();
    Some(match name {
        "appendfsync" => match server.db.durability() {
            Durability::Fsync => "always",
            Durability::Os => "everysec",
            _ => "no",
        }
        .to_owned(),
        // What is acknowledged at these levels is kept.
        "appendonly" => if server.db.durability() == Durability::None { "no" } else { "yes" }.to_owned(),
        "bind" => server.options.listen.ip().to_string(),
        "client-output-buffer-limit" => server.redis.clients.limits.text(),
        "databases" => DATABASES.to_string(),
        "maxclients" => server.connections_max.load(Ordering::Relaxed).to_string(),
        "maxmemory" => stats().memory_limit_bytes.to_string(),
        "notify-keyspace-events" => server.redis.config.notify().text(),
        "port" => server.options.listen.port().to_string(),
        "proto-max-bulk-len" => VALUE_SIZE_BYTES_MAX.to_string(),
        // Never the secret.
        "requirepass" => String::new(),
        "slowlog-log-slower-than" => server.redis.slowlog.threshold_us().to_string(),
        "slowlog-max-len" => server.redis.slowlog.length_max().to_string(),
        "tcp-keepalive" => server.redis.config.keepalive_s.load(Ordering::Relaxed).to_string(),
        "timeout" => server.redis.config.timeout_s.load(Ordering::Relaxed).to_string(),
        "tracking-table-max-keys" => server.redis.tracking.keys_max().to_string(),
        _ => WITHOUT_EFFECT.iter().find(|(known, _)| *known == name)?.1.to_owned(),
    })
}

/// The names of all parameters.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    OWN.iter().copied().chain(WITHOUT_EFFECT.iter().map(|(name, _)| *name))
}

/// A change that has been looked at and not made yet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Nothing,
    Notify(Classes),
    SlowerThan(i64),
    SlowLength(usize),
    TrackedKeys(u64),
    OutputLimits(Vec<(Class, Limit)>),
    Clients(usize),
    Keepalive(u64),
    Timeout(u64),
}

/// What setting a parameter means.
pub(crate) fn check(server: &Server, name: &[u8], value: &[u8]) -> Result<Change, RedisError> {
    let told = shown(name, 4_096);
    let name = told.to_ascii_lowercase();
    let failed = |why: &str| {
        RedisError::err(format_args!("CONFIG SET failed (possibly related to argument '{name}') - {why}"))
    };
    let number = |least: i64, most: u64| {
        let number =
            parse_integer(value).ok_or_else(|| failed("argument couldn't be parsed into an integer"))?;
        if number < least || u64::try_from(number).is_ok_and(|number| number > most) {
            return Err(failed(&format!("argument must be between {least} and {most} inclusive")));
        }
        Ok(number)
    };
    match name.as_str() {
        "client-output-buffer-limit" => output_limits::parse(value).map(Change::OutputLimits).map_err(failed),
        "notify-keyspace-events" => Classes::parse(value)
            .map(Change::Notify)
            .ok_or_else(|| failed("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")),
        "maxclients" => {
            let wanted = usize::try_from(number(1, u64::from(u32::MAX))?).unwrap_or(usize::MAX);
            match connections_possible(wanted) {
                possible if possible < wanted => Err(failed(&format!(
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                ))),
                _ => Ok(Change::Clients(wanted)),
            }
        }
        "slowlog-log-slower-than" => Ok(Change::SlowerThan(number(-1, i64::MAX as u64)?)),
        "slowlog-max-len" => {
            Ok(Change::SlowLength(usize::try_from(number(0, i64::MAX as u64)?).unwrap_or(usize::MAX)))
        }
        "tcp-keepalive" => Ok(Change::Keepalive(number(0, SECONDS_MAX)?.unsigned_abs())),
        "timeout" => Ok(Change::Timeout(number(0, SECONDS_MAX)?.unsigned_abs())),
        "tracking-table-max-keys" => Ok(Change::TrackedKeys(number(0, u64::MAX)?.unsigned_abs())),
        _ => match get(server, &name) {
            // To what it is: tools do so on connect.
            Some(is) if is.as_bytes() == value && name != "requirepass" => Ok(Change::Nothing),
            Some(_) => Err(failed("can't set immutable config")),
            None => Err(RedisError::err(format_args!(
                "Unknown option or number of arguments for CONFIG SET - '{told}'"
            ))),
        },
    }
}

/// Makes a change.
pub(crate) fn apply(server: &Server, change: Change) {
    match change {
        Change::Nothing => {}
        Change::Notify(classes) => server.redis.config.notify.store(classes.bits(), Ordering::Relaxed),
        Change::SlowerThan(threshold_us) => server.redis.slowlog.set_threshold_us(threshold_us),
        Change::TrackedKeys(keys_max) => server.redis.tracking.set_keys_max(keys_max),
        Change::OutputLimits(limits) => server.redis.clients.limits.set(&limits),
        Change::Clients(count) => server.connections_max.store(count, Ordering::Relaxed),
        Change::Keepalive(seconds) => server.redis.config.keepalive_s.store(seconds, Ordering::Relaxed),
        Change::Timeout(seconds) => {
            server.redis.config.timeout_s.store(seconds, Ordering::Relaxed);
            server.redis.config.timeout_changed.notify_waiters();
        }
        Change::SlowLength(length) => server.redis.slowlog.set_length_max(length),
    }
}
