//! Keys, whatever they hold: existence, names, databases. Expiry is in `expiry`, going through all keys in `walk`.

use super::{lifetimes, walk};
use crate::redis::DATABASES;
use crate::redis::command::{
    Command, DENYOOM, FAST, Family, KeyPositions, LOADING, NONE, NOSCRIPT, container, read, session, write,
};
use crate::redis::context::{Context, SessionContext};
use crate::redis::databases;
use crate::redis::error::RedisError;
use crate::redis::value;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{CollectionId, Entry, KeyRange, ValueType, Versionstamp};

const ONE: KeyPositions = (1, 1, 1);
const ALL_KEYS: KeyPositions = (1, -1, 1);
const NO_KEYS: KeyPositions = (0, 0, 0);

pub(super) static FAMILY: Family = Family {
    group: "generic",
    commands: &[
        write("copy", -3, DENYOOM, (1, 2, 1), copy),
        write("del", -2, NONE, ALL_KEYS, del),
        read("exists", -2, FAST, ALL_KEYS, exists),
        write("expire", -3, FAST, ONE, lifetimes::expire),
        write("expireat", -3, FAST, ONE, lifetimes::expireat),
        read("expiretime", 2, FAST, ONE, lifetimes::expiretime),
        read("keys", 2, NONE, NO_KEYS, walk::keys),
        write("move", 3, FAST, ONE, move_key),
        container("object", OBJECT_COMMANDS),
        write("persist", 2, FAST, ONE, lifetimes::persist),
        write("pexpire", -3, FAST, ONE, lifetimes::pexpire),
        write("pexpireat", -3, FAST, ONE, lifetimes::pexpireat),
        read("pexpiretime", 2, FAST, ONE, lifetimes::pexpiretime),
        read("pttl", 2, FAST, ONE, lifetimes::pttl),
        read("randomkey", 1, NONE, NO_KEYS, walk::randomkey),
        write("rename", 3, NONE, (1, 2, 1), rename),
        write("renamenx", 3, FAST, (1, 2, 1), renamenx),
        read("scan", -2, NONE, NO_KEYS, walk::scan),
        read("touch", -2, FAST, ALL_KEYS, exists),
        read("ttl", 2, FAST, ONE, lifetimes::ttl),
        read("type", 2, FAST, ONE, type_of),
        write("unlink", -2, FAST, ALL_KEYS, del),
        session("wait", 3, NOSCRIPT, wait),
    ],
};

/// What `COMMAND DOCS` calls the server's: whole databases.
pub(super) static DATABASES_FAMILY: Family = Family {
    group: "server",
    commands: &[
        read("dbsize", 1, FAST, NO_KEYS, walk::dbsize),
        write("flushall", -1, NONE, NO_KEYS, flushall),
        write("flushdb", -1, NONE, NO_KEYS, flushdb),
        write("swapdb", 3, FAST, NO_KEYS, swapdb),
    ],
};

static OBJECT_COMMANDS: &[Command] = &[
    read("object|encoding", 3, NONE, (2, 2, 1), object_encoding),
    read("object|freq", 3, NONE, (2, 2, 1), object_freq),
    session("object|help", 2, LOADING, object_help),
    read("object|idletime", 3, NONE, (2, 2, 1), object_idletime),
    read("object|refcount", 3, NONE, (2, 2, 1), object_refcount),
];

fn del(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let keys: Result<Vec<_>, _> = args.iter().skip(1).map(|name| cx.key(name)).collect();
    let mut deleted = 0;
    for key in keys? {
        if cx.entry(&key)?.is_some() {
            cx.delete(key);
            deleted += 1;
        }
    }
    Ok(Reply::count(deleted))
}

fn exists(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut found = 0;
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        found += usize::from(cx.entry(&key)?.is_some());
    }
    Ok(Reply::count(found))
}

fn type_of(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let name = cx.entry(&key)?.map_or("none", |entry| value::type_name(entry.value.value_type));
    Ok(Reply::Simple(name.into()))
}

fn rename_to(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    may_replace: bool,
) -> Result<Option<bool>, RedisError> {
    let (from, to) = (cx.key(args.at(1))?, cx.key(args.at(2))?);
    if cx.entry(&from)?.is_none() {
        return Err(RedisError::NO_SUCH_KEY);
    }
    if from == to {
        return Ok(None);
    }
    if !may_replace && cx.entry(&to)?.is_some() {
        return Ok(Some(false));
    }
    cx.tx.move_in((cx.space, from), (cx.space, to))?;
    Ok(Some(true))
}

fn rename(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    rename_to(cx, args, true).map(|_| Reply::Ok)
}

fn renamenx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::truth(rename_to(cx, args, false)?.unwrap_or(false)))
}

fn copy(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (mut database, mut replaces) = (cx.session.database, false);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        match (option.to_ascii_lowercase().as_slice(), args.get(at)) {
            (b"replace", _) => replaces = true,
            (b"db", Some(text)) => {
                database = databases::named(text)?;
                at += 1;
            }
            _ => return Err(RedisError::SYNTAX),
        }
    }
    let (from, to) = (cx.key(args.at(1))?, cx.key(args.at(2))?);
    if from == to && database == cx.session.database {
        return Err(RedisError::err("source and destination objects are the same"));
    }
    let Some(entry) = cx.entry(&from)? else { return Ok(Reply::Integer(0)) };
    let target = cx.space_to_write(database)?;
    if !replaces && cx.tx.entry_in(target, &to)?.is_some() {
        return Ok(Reply::Integer(0));
    }
    Ok(Reply::truth(cx.tx.copy_in((cx.space, &from), (target, to), entry.expires_at)?))
}

fn move_key(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let database = databases::named(args.at(2))?;
    if database == cx.session.database {
        return Err(RedisError::err("source and destination objects are the same"));
    }
    let key = cx.key(args.at(1))?;
    if cx.entry(&key)?.is_none() {
        return Ok(Reply::Integer(0));
    }
    let target = cx.space_to_write(database)?;
    if cx.tx.entry_in(target, &key)?.is_some() {
        return Ok(Reply::Integer(0));
    }
    Ok(Reply::truth(cx.tx.move_in((cx.space, key.clone()), (target, key))?))
}

/// `ASYNC` and `SYNC` are the same: what is deleted is gone at once and swept behind it.
fn check_flush(args: Args<'_>) -> Result<(), RedisError> {
    match args.get(1) {
        None => Ok(()),
        Some(option)
            if args.len() == 2
                && (option.eq_ignore_ascii_case(b"async") || option.eq_ignore_ascii_case(b"sync")) =>
        {
            Ok(())
        }
        Some(_) => Err(RedisError::SYNTAX),
    }
}

fn flushdb(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    check_flush(args)?;
    cx.tx.delete_range_in(cx.space, KeyRange::all());
    Ok(Reply::Ok)
}

/// The databases that have numbers; those with other names are none of Redis's.
fn flushall(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    check_flush(args)?;
    for database in 0..DATABASES {
        if let Some(space) = cx.tx.database(&databases::name(database))? {
            cx.tx.delete_range_in(space, KeyRange::all());
        }
    }
    Ok(Reply::Ok)
}

fn swapdb(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let number = |text: &[u8], which: &str| {
        parse_integer(text)
            .and_then(|number| i32::try_from(number).ok())
            .ok_or_else(|| RedisError::err(format_args!("invalid {which} DB index")))
    };
    number(args.at(1), "first")?;
    number(args.at(2), "second")?;
    let one = databases::number(args.at(1)).ok_or(RedisError::DB_OUT_OF_RANGE)?;
    let other = databases::number(args.at(2)).ok_or(RedisError::DB_OUT_OF_RANGE)?;
    cx.tx.swap_databases(&databases::name(one), &databases::name(other))?;
    Ok(Reply::Ok)
}

/// There are no replicas to wait for; what was acknowledged is as durable as the database promises.
fn wait(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    parse_integer(args.at(1)).ok_or(RedisError::NOT_INTEGER)?;
    let timeout = parse_integer(args.at(2));
    let timeout = timeout.ok_or_else(|| RedisError::err("timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(RedisError::err("timeout is negative"));
    }
    Ok(Reply::Integer(0))
}

/// Longest string that Redis keeps in one piece with its header.
const EMBEDDED_SIZE_BYTES_MAX: usize = 44;

/// Most members of a set of numbers that Redis keeps in one piece.
const INTSET_MEMBERS_MAX: u64 = 512;

/// Whether the set at a key is small, and of whole numbers only.
fn is_intset(cx: &mut Context<'_, '_>, entry: &Entry) -> Result<bool, RedisError> {
    let mut set = cx.tx.set_in(cx.space, entry.key.clone())?;
    Ok(set.len()? <= INTSET_MEMBERS_MAX
        && set.members()?.iter().all(|member| parse_integer(member).is_some()))
}

/// How Redis would keep the value, as far as that can be said.
fn encoding(entry: &Entry) -> Result<&'static str, RedisError> {
    let value = &entry.value;
    let is_packed = CollectionId::of_value(value.value_type, &value.data).is_none();
    Ok(match value.value_type {
        ValueType::List => "quicklist",
        ValueType::Hash if is_packed => "listpack",
        ValueType::ZSet if is_packed => "listpack",
        ValueType::ZSet => "skiplist",
        ValueType::Hash | ValueType::Set => "hashtable",
        ValueType::Stream => "stream",
        _ => {
            let text = value::text_of(value)?;
            match text.len() {
                _ if parse_integer(&text).is_some() => "int",
                0..=EMBEDDED_SIZE_BYTES_MAX => "embstr",
                _ => "raw",
            }
        }
    })
}

fn object_encoding(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(2))?;
    match cx.entry(&key)? {
        Some(entry) if entry.value.value_type == ValueType::Set && is_intset(cx, &entry)? => {
            Ok(Reply::Static("intset"))
        }
        Some(entry) => Ok(Reply::Static(encoding(&entry)?)),
        None => Ok(Reply::Null),
    }
}

fn object_refcount(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(2))?;
    let Some(entry) = cx.entry(&key)? else { return Ok(Reply::Null) };
    let is_string = value::type_name(entry.value.value_type) == "string";
    let number = if is_string { parse_integer(&value::text_of(&entry.value)?) } else { None };
    // Redis has small numbers once, for all who need them.
    let is_shared = number.is_some_and(|number| (0..10_000).contains(&number));
    Ok(Reply::Integer(if is_shared { i64::from(i32::MAX) } else { 1 }))
}

fn object_idletime(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(2))?;
    let Some(entry) = cx.entry(&key)? else { return Ok(Reply::Null) };
    // When it was read last is not kept; no later than its last write it was in use.
    let written_at = cx.server.db.time_of(entry.versionstamp);
    let idle_ms =
        if entry.versionstamp == Versionstamp::MAX { 0 } else { cx.now().0.saturating_sub(written_at.0) };
    Ok(Reply::Integer(i64::try_from(idle_ms / 1_000).unwrap_or(i64::MAX)))
}

fn object_freq(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(2))?;
    match cx.entry(&key)? {
        None => Ok(Reply::Null),
        Some(_) => Err(RedisError::err(
            "An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    }
}

const OBJECT_HELP: &[&str] = &[
    "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "ENCODING <key>",
    "    Return the kind of internal representation used in order to store the value",
    "    associated with a <key>.",
    "FREQ <key>",
    "    Return the access frequency index of the <key>. The returned integer is",
    "    proportional to the logarithm of the recent access frequency of the key.",
    "IDLETIME <key>",
    "    Return the idle time of the <key>, that is the approximated number of",
    "    seconds elapsed since the last access to the key.",
    "REFCOUNT <key>",
    "    Return the number of references of the value associated with the specified",
    "    <key>.",
    "HELP",
    "    Print this help.",
];

fn object_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(OBJECT_HELP.iter().map(|line| Reply::Simple((*line).into())).collect()))
}
