//! The server about itself: `CONFIG`, `SLOWLOG`, `MONITOR`, `MEMORY`, saving, time. `INFO` and `COMMAND` have files of
//! their own.

use super::introspection::COMMAND_COMMANDS;
use crate::redis::command::{
    ADMIN, ALLOW_BUSY, Command, FAST, Family, Flags, Handler, LOADING, NO_MULTI, NONE, NOSCRIPT, READONLY,
    STALE, container, read, session, shown,
};
use crate::redis::config;
use crate::redis::context::{Context, SessionContext};
use crate::redis::error::RedisError;
use crate::redis::histogram::Histogram;
use crate::redis::info;
use orchard_wire::glob;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::Db;
use std::sync::atomic::Ordering;
use tracing::warn;

const ALWAYS: Flags = LOADING.and(STALE);
const ADMINISTRATION: Flags = ADMIN.and(NOSCRIPT);

pub(super) static FAMILY: Family = Family {
    group: "server",
    commands: &[
        session("bgrewriteaof", 1, ADMINISTRATION, bgrewriteaof),
        session("bgsave", -1, ADMINISTRATION, bgsave),
        Command {
            name: "command",
            arity: -1,
            flags: ALWAYS,
            keys: (0, 0, 0),
            handler: Handler::Container(COMMAND_COMMANDS),
        },
        container("config", CONFIG_COMMANDS),
        Command {
            name: "info",
            arity: -1,
            flags: ALWAYS,
            keys: (0, 0, 0),
            handler: Handler::Read(info_command),
        },
        session("lastsave", 1, ALWAYS.and(FAST), lastsave),
        container("latency", LATENCY_COMMANDS),
        session("lolwut", -1, READONLY.and(FAST), lolwut),
        container("memory", MEMORY_COMMANDS),
        session("monitor", 1, ADMINISTRATION.and(ALWAYS), monitor),
        session("role", 1, NOSCRIPT.and(ALWAYS).and(FAST), role),
        session("save", 1, ADMINISTRATION.and(NO_MULTI), save),
        session("shutdown", -1, ADMINISTRATION.and(ALWAYS).and(NO_MULTI).and(ALLOW_BUSY), shutdown),
        container("slowlog", SLOWLOG_COMMANDS),
        session("time", 1, ALWAYS.and(FAST), time),
    ],
};

static CONFIG_COMMANDS: &[Command] = &[
    session("config|get", -3, ADMINISTRATION.and(ALWAYS), config_get),
    session("config|help", 2, ALWAYS, config_help),
    session("config|resetstat", 2, ADMINISTRATION.and(ALWAYS), config_resetstat),
    session("config|rewrite", 2, ADMINISTRATION.and(ALWAYS), config_rewrite),
    session("config|set", -4, ADMINISTRATION.and(ALWAYS), config_set),
];

static LATENCY_COMMANDS: &[Command] = &[
    session("latency|doctor", 2, ADMINISTRATION.and(ALWAYS), latency_doctor),
    session("latency|help", 2, ALWAYS, latency_help),
    session("latency|histogram", -2, ADMINISTRATION.and(ALWAYS), latency_histogram),
    session("latency|history", 3, ADMINISTRATION.and(ALWAYS), nothing_measured),
    session("latency|latest", 2, ADMINISTRATION.and(ALWAYS), nothing_measured),
    session("latency|reset", -2, ADMINISTRATION.and(ALWAYS), latency_reset),
];

static MEMORY_COMMANDS: &[Command] = &[
    session("memory|doctor", 2, NONE, memory_doctor),
    session("memory|help", 2, ALWAYS, memory_help),
    session("memory|purge", 2, NONE, memory_purge),
    session("memory|stats", 2, NONE, memory_stats),
    read("memory|usage", -3, NONE, (2, 2, 1), memory_usage),
];

static SLOWLOG_COMMANDS: &[Command] = &[
    session("slowlog|get", -2, ADMIN.and(ALWAYS), slowlog_get),
    session("slowlog|help", 2, ALWAYS, slowlog_help),
    session("slowlog|len", 2, ADMIN.and(ALWAYS), slowlog_len),
    session("slowlog|reset", 2, ADMIN.and(ALWAYS), slowlog_reset),
];

fn lines(lines: &[&'static str]) -> Result<Reply, RedisError> {
    Ok(Reply::Array(lines.iter().map(|line| Reply::Simple((*line).into())).collect()))
}

// --- CONFIG ---

fn config_get(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut found = std::collections::BTreeMap::new();
    for pattern in args.iter().skip(2) {
        let pattern = pattern.to_ascii_lowercase();
        for name in config::names().filter(|name| glob::matches(&pattern, name.as_bytes())) {
            if let Some(value) = config::get(cx.server, name) {
                found.insert(name, value);
            }
        }
    }
    Ok(Reply::Map(found.into_iter().map(|(name, value)| (Reply::Static(name), Reply::bulk(value))).collect()))
}

fn config_set(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if !args.len().is_multiple_of(2) {
        return Err(RedisError::SYNTAX);
    }
    let mut changes = Vec::new();
    let mut names = std::collections::BTreeSet::new();
    for at in (2..args.len()).step_by(2) {
        let name = args.at(at).to_ascii_lowercase();
        changes.push(config::check(cx.server, args.at(at), args.at(at + 1))?);
        if !names.insert(name.clone()) {
            let name = shown(&name, 128);
            let text = format_args!(
                "CONFIG SET failed (possibly related to argument '{name}') - duplicate parameter"
            );
            return Err(RedisError::err(text));
        }
    }
    changes.into_iter().for_each(|change| config::apply(cx.server, change));
    Ok(Reply::Ok)
}

fn config_resetstat(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    cx.server.redis.commands_run.store(0, Ordering::Relaxed);
    cx.server.redis.calls.reset();
    cx.server.redis.traffic.reset();
    Ok(Reply::Ok)
}

fn config_rewrite(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Err(RedisError::err("The server is running without a config file"))
}

fn config_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    lines(&[
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Print this help.",
    ])
}

// --- SLOWLOG ---

fn slowlog_get(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    const SHOWN_DEFAULT: usize = 10;
    let count = match args.get(2) {
        None => SHOWN_DEFAULT,
        Some(_) if args.len() > 3 => {
            let given = shown(args.at(1), 128);
            return Err(RedisError::err(format_args!(
                "unknown subcommand or wrong number of arguments for '{given}'. Try SLOWLOG HELP."
            )));
        }
        Some(text) => match parse_integer(text) {
            Some(-1) => usize::MAX,
            count => count
                .and_then(|count| usize::try_from(count).ok())
                .ok_or_else(|| RedisError::err("count should be greater than or equal to -1"))?,
        },
    };
    Ok(cx.server.redis.slowlog.newest(count))
}

fn slowlog_len(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::count(cx.server.redis.slowlog.len()))
}

fn slowlog_reset(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    cx.server.redis.slowlog.reset();
    Ok(Reply::Ok)
}

fn slowlog_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    lines(&[
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        "HELP",
        "    Print this help.",
    ])
}

// --- LATENCY: how long commands take is counted; single events are not, and it cannot be asked for ---

/// Of each command with runs: how many, and how many took no longer than so many microseconds.
fn latency_histogram(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let wanted: Vec<_> =
        args.iter().skip(2).map(|name| String::from_utf8_lossy(name).to_ascii_lowercase()).collect();
    let is_wanted = |name: &str| {
        let group = name.split('|').next().unwrap_or(name);
        wanted.is_empty() || wanted.iter().any(|word| word == name || word == group)
    };
    let told = cx.server.redis.calls.times().into_iter().filter(|(name, _)| is_wanted(name));
    let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let of = |(name, times): (&'static str, &Histogram)| {
        let steps = times.by_powers();
        let calls = steps.last().map_or(0, |(_, calls)| *calls);
        let steps = steps.into_iter().map(|(nanos, sum)| (number(nanos / 1_000), number(sum))).collect();
        let facts = vec![
            (Reply::Static("calls"), number(calls)),
            (Reply::Static("histogram_usec"), Reply::Map(steps)),
        ];
        (Reply::Static(name), Reply::Map(facts))
    };
    Ok(Reply::Map(told.map(of).collect()))
}

fn nothing_measured(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(Vec::new()))
}

fn latency_reset(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(0))
}

fn latency_doctor(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let text = "Latency events are not recorded. SLOWLOG shows slow commands; /metrics and `orchard stats` show the log.\n";
    Ok(Reply::Verbatim(*b"txt", text.into()))
}

fn latency_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    lines(&[
        "LATENCY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return a human readable latency analysis report.",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the specified command names.",
        "    If no commands are specified then all histograms are replied.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "HELP",
        "    Print this help.",
    ])
}

// --- MEMORY ---

/// What an entry costs next to its bytes: its place in the map, in the index, and its version, roughly.
const ENTRY_OVERHEAD_BYTES: usize = 64;

fn memory_usage(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let samples =
            args.get(at + 1).filter(|_| option.eq_ignore_ascii_case(b"samples")).ok_or(RedisError::SYNTAX)?;
        if parse_integer(samples).ok_or(RedisError::NOT_INTEGER)? < 0 {
            return Err(RedisError::SYNTAX);
        }
        at += 2;
    }
    let key = cx.key(args.at(2))?;
    let Some(entry) = cx.entry(&key)? else { return Ok(Reply::Null) };
    Ok(Reply::count(ENTRY_OVERHEAD_BYTES + key.len() + entry.value.data.len()))
}

fn memory_doctor(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let stats = cx.server.db.stats();
    let used = stats.memory_bytes.saturating_mul(100) / stats.memory_limit_bytes.max(1);
    let text = match used {
        0..90 => format!("{used} % of the memory limit are used. I can't find any memory issue.\n"),
        _ => format!(
            "{used} % of the memory limit are used: values leave memory, and at 100 % new keys are refused.\n"
        ),
    };
    Ok(Reply::Verbatim(*b"txt", text.into()))
}

fn memory_purge(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    // Freed memory goes back by itself.
    Ok(Reply::Ok)
}

fn memory_stats(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let stats = cx.server.db.stats();
    let number = |number: u64| Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let per_key = (stats.key_bytes + stats.resident_value_bytes) / stats.entries.max(1);
    Ok(Reply::Map(vec![
        (Reply::Static("total.allocated"), number(stats.memory_bytes)),
        (Reply::Static("keys.count"), number(stats.entries)),
        (Reply::Static("keys.bytes-per-key"), number(per_key)),
        (Reply::Static("dataset.bytes"), number(stats.key_bytes + stats.resident_value_bytes)),
    ]))
}

fn memory_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    lines(&[
        "MEMORY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "DOCTOR",
        "    Return memory problems reports.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
        "HELP",
        "    Print this help.",
    ])
}

// --- saving: every acknowledged write is in the log already; a checkpoint makes the next start faster ---

/// Writes a checkpoint, not on this thread.
fn checkpoint_behind(db: &Db) {
    let db = db.clone();
    tokio::task::spawn_blocking(move || match db.checkpoint() {
        Ok(()) => tracing::info!("a client asked for a checkpoint; it is written"),
        Err(error) => warn!(%error, "the checkpoint that a client asked for failed"),
    });
}

fn save(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    tokio::task::block_in_place(|| cx.server.db.checkpoint())?;
    cx.server.redis.note_saved(&cx.server.db);
    Ok(Reply::Ok)
}

fn bgsave(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    match args.get(1) {
        None => {}
        Some(word) if args.len() == 2 && word.eq_ignore_ascii_case(b"schedule") => {}
        Some(_) => return Err(RedisError::SYNTAX),
    }
    checkpoint_behind(&cx.server.db);
    cx.server.redis.note_saved(&cx.server.db);
    Ok(Reply::Simple("Background saving started".into()))
}

fn bgrewriteaof(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    checkpoint_behind(&cx.server.db);
    Ok(Reply::Simple("Background append only file rewriting started".into()))
}

fn lastsave(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(cx.server.redis.last_save_seconds()))
}

/// A client does not end the server that others use: its operator does, with SIGTERM.
fn shutdown(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    const WORDS: [&[u8]; 5] = [b"nosave", b"save", b"now", b"force", b"abort"];
    let is_known = |arg: &[u8]| WORDS.iter().any(|word| arg.eq_ignore_ascii_case(word));
    if !args.iter().skip(1).all(is_known) {
        return Err(RedisError::SYNTAX);
    }
    Err(RedisError::err(
        "SHUTDOWN is not available: stop the server with SIGTERM, which flushes everything first",
    ))
}

// --- the rest ---

fn info_command(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let sections: Vec<_> =
        args.iter().skip(1).map(|section| String::from_utf8_lossy(section).to_ascii_lowercase()).collect();
    Ok(Reply::Verbatim(*b"txt", info::render(cx.server, cx.tx, &sections).into()))
}

fn lolwut(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let tree = "    .-.\n   (o o)   OrchardDB\n  ( o o )\n   `-|-'\n     |\n";
    Ok(Reply::Verbatim(*b"txt", tree.into()))
}

fn monitor(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    if cx.session.effects.is_some() {
        return Err(RedisError::err("MONITOR isn't allowed for DENY BLOCKING client"));
    }
    cx.server.redis.monitors.add(&cx.session.client);
    cx.session.is_monitor = true;
    Ok(Reply::Ok)
}

fn role(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(vec![Reply::Static("master"), Reply::Integer(0), Reply::Array(Vec::new())]))
}

fn time(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let now_ms = cx.server.db.clock_now().0;
    Ok(Reply::Array(vec![
        Reply::bulk((now_ms / 1_000).to_string()),
        Reply::bulk((now_ms % 1_000 * 1_000).to_string()),
    ]))
}
