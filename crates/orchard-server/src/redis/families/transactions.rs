//! `MULTI`, `EXEC` and what belongs to them. `EXEC` itself is the dispatcher's.

use crate::redis::command::{
    ALLOW_BUSY, Command, FAST, Family, Flags, Handler, LOADING, NOSCRIPT, NOT_QUEUED, SKIP_SLOWLOG, STALE,
    session,
};
use crate::redis::context::{Context, SessionContext};
use crate::redis::error::RedisError;
use crate::redis::session::{Multi, Watched};
use orchard_wire::resp::{Args, Reply};

const ALWAYS: Flags = NOSCRIPT.and(LOADING).and(STALE).and(ALLOW_BUSY).and(NOT_QUEUED);

/// Keys that one connection watches at most.
const WATCHED_MAX: usize = 10_000;

pub(super) static FAMILY: Family = Family {
    group: "transactions",
    commands: &[
        session("multi", 1, ALWAYS.and(FAST), multi),
        Command {
            name: "exec",
            arity: 1,
            flags: NOSCRIPT.and(LOADING).and(STALE).and(NOT_QUEUED).and(SKIP_SLOWLOG),
            keys: (0, 0, 0),
            handler: Handler::Exec,
        },
        session("discard", 1, ALWAYS.and(FAST), discard),
        Command {
            name: "watch",
            arity: -2,
            flags: ALWAYS.and(FAST),
            keys: (1, -1, 1),
            handler: Handler::Read(watch),
        },
        session("unwatch", 1, NOSCRIPT.and(LOADING).and(STALE).and(ALLOW_BUSY).and(FAST), unwatch),
    ],
};

fn multi(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    if cx.session.multi.is_some() {
        return Err(RedisError::err("MULTI calls can not be nested"));
    }
    cx.session.multi = Some(Multi::default());
    Ok(Reply::Ok)
}

fn discard(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    if cx.session.multi.is_none() {
        return Err(RedisError::err("DISCARD without MULTI"));
    }
    cx.session.discard();
    Ok(Reply::Ok)
}

fn watch(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if cx.session.multi.is_some() {
        return Err(RedisError::err("WATCH inside MULTI is not allowed"));
    }
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        let database = cx.session.database;
        if cx.session.watched.iter().any(|watched| watched.database == database && watched.key == key) {
            continue;
        }
        if cx.session.watched.len() >= WATCHED_MAX {
            return Err(RedisError::err(format_args!("more than {WATCHED_MAX} watched keys")));
        }
        let versionstamp = cx.entry(&key)?.map(|entry| entry.versionstamp);
        if versionstamp.is_none() && cx.session.kept.is_none() {
            cx.session.kept = Some(cx.tx.keep()?);
        }
        let seen_at = cx.tx.read_version();
        cx.session.watched.push(Watched { database, key, versionstamp, seen_at });
    }
    Ok(Reply::Ok)
}

fn unwatch(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    cx.session.unwatch();
    Ok(Reply::Ok)
}
