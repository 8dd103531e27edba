//! Strings. A number that `INCR` wrote is an `int`, everything else `text` or `bytes`; all of them read as strings.

use super::lcs;
use super::numbers;
use crate::redis::command::{DENYOOM, FAST, Family, NONE, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::expiry::{may_follow, moment, time_unit};
use crate::redis::value;
use bytes::{Bytes, BytesMut};
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Expiry, limits};

const ONE: (i32, i32, i32) = (1, 1, 1);

pub(super) static FAMILY: Family = Family {
    group: "string",
    commands: &[
        write("append", 3, DENYOOM.and(FAST), ONE, append),
        write("decr", 2, DENYOOM.and(FAST), ONE, numbers::decr),
        write("decrby", 3, DENYOOM.and(FAST), ONE, numbers::decrby),
        read("get", 2, FAST, ONE, get),
        write("getdel", 2, FAST, ONE, getdel),
        write("getex", -2, FAST, ONE, getex),
        read("getrange", 4, NONE, ONE, getrange),
        write("getset", 3, DENYOOM.and(FAST), ONE, getset),
        write("incr", 2, DENYOOM.and(FAST), ONE, numbers::incr),
        write("incrby", 3, DENYOOM.and(FAST), ONE, numbers::incrby),
        write("incrbyfloat", 3, DENYOOM.and(FAST), ONE, numbers::incrbyfloat),
        read("lcs", -3, NONE, (1, 2, 1), lcs::lcs),
        read("mget", -2, FAST, (1, -1, 1), mget),
        write("mset", -3, DENYOOM, (1, -1, 2), mset),
        write("msetnx", -3, DENYOOM, (1, -1, 2), msetnx),
        write("psetex", 4, DENYOOM, ONE, psetex),
        write("set", -3, DENYOOM, ONE, set),
        write("setex", 4, DENYOOM, ONE, setex),
        write("setnx", 3, DENYOOM.and(FAST), ONE, setnx),
        write("setrange", 4, DENYOOM, ONE, setrange),
        read("strlen", 2, FAST, ONE, strlen),
        read("substr", 4, NONE, ONE, getrange),
    ],
};

/// A string, nil if there is none.
fn string_reply(string: Option<Bytes>) -> Reply {
    string.map_or(Reply::Null, Reply::Bulk)
}

fn get(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    Ok(string_reply(cx.string(&key)?))
}

fn set(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    if args.len() == 3 {
        cx.put(key, value::string(args.shared(2)), Expiry::Never);
        return Ok(Reply::Ok);
    }
    let (mut only_absent, mut only_present, mut wants_old) = (false, false, false);
    let mut expiry = Expiry::Never;
    let mut time = None;
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        match option.to_ascii_lowercase().as_slice() {
            b"nx" if !only_present => only_absent = true,
            b"xx" if !only_absent => only_present = true,
            b"get" => wants_old = true,
            b"keepttl" if time.is_none() => expiry = Expiry::Keep,
            _ => match (time_unit(option), args.get(at)) {
                (Some(unit), Some(text)) if may_follow(unit, time) && expiry == Expiry::Never => {
                    time = Some((unit, text));
                    at += 1;
                }
                _ => return Err(RedisError::SYNTAX),
            },
        }
    }
    if let Some((unit, text)) = time {
        expiry = Expiry::At(moment(text, unit, cx.now(), "set")?);
    }
    if !(only_absent || only_present || wants_old) {
        cx.put(key, value::string(args.shared(2)), expiry);
        return Ok(Reply::Ok);
    }
    let entry = cx.entry(&key)?;
    let is_present = entry.is_some();
    let old = if wants_old { entry.map(|entry| value::text_of(&entry.value)).transpose()? } else { None };
    let is_written = if only_absent { !is_present } else { !only_present || is_present };
    if is_written {
        cx.put(key, value::string(args.shared(2)), expiry);
    }
    Ok(match (wants_old, is_written) {
        (true, _) => string_reply(old),
        (false, true) => Reply::Ok,
        (false, false) => Reply::Null,
    })
}

fn setnx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let is_absent = cx.entry(&key)?.is_none();
    if is_absent {
        cx.put(key, value::string(args.shared(2)), Expiry::Never);
    }
    Ok(Reply::truth(is_absent))
}

fn set_with(cx: &mut Context<'_, '_>, args: Args<'_>, unit: &[u8], name: &str) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let unit = time_unit(unit).ok_or(RedisError::SYNTAX)?;
    let at = moment(args.at(2), unit, cx.now(), name)?;
    cx.put(key, value::string(args.shared(3)), Expiry::At(at));
    Ok(Reply::Ok)
}

fn setex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_with(cx, args, b"ex", "setex")
}

fn psetex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_with(cx, args, b"px", "psetex")
}

fn getset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let old = cx.string(&key)?;
    cx.put(key, value::string(args.shared(2)), Expiry::Never);
    Ok(string_reply(old))
}

fn getdel(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let old = cx.string(&key)?;
    if old.is_some() {
        cx.delete(key);
    }
    Ok(string_reply(old))
}

fn getex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let (mut persists, mut time) = (false, None);
    let mut at = 2;
    while let Some(option) = args.get(at) {
        at += 1;
        if option.eq_ignore_ascii_case(b"persist") && time.is_none() {
            persists = true;
            continue;
        }
        match (time_unit(option), args.get(at)) {
            (Some(unit), Some(text)) if may_follow(unit, time) && !persists => time = Some((unit, text)),
            _ => return Err(RedisError::SYNTAX),
        }
        at += 1;
    }
    let Some(entry) = cx.entry(&key)? else { return Ok(Reply::Null) };
    let text = value::text_of(&entry.value)?;
    if let Some((unit, time)) = time {
        let at = moment(time, unit, cx.now(), "getex")?;
        cx.touch(key, Expiry::At(at))?;
    } else if persists && entry.expires_at.is_some() {
        cx.touch(key, Expiry::Never)?;
    }
    Ok(Reply::Bulk(text))
}

fn mget(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut replies = Vec::with_capacity(args.len());
    for name in args.iter().skip(1) {
        let key = cx.key(name)?;
        let entry = cx.entry(&key)?;
        // What is no string is nil here.
        replies.push(string_reply(entry.and_then(|entry| value::text_of(&entry.value).ok())));
    }
    Ok(Reply::Array(replies))
}

/// Keys and values of `MSET` are pairs.
fn check_pairs(args: Args<'_>, command: &str) -> Result<(), RedisError> {
    if args.len().is_multiple_of(2) { Err(RedisError::wrong_arity(command)) } else { Ok(()) }
}

fn put_pairs(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<(), RedisError> {
    let keys: Result<Vec<_>, _> = args.iter().skip(1).step_by(2).map(|name| cx.key(name)).collect();
    for (place, key) in keys?.into_iter().enumerate() {
        cx.put(key, value::string(args.shared(2 * place + 2)), Expiry::Never);
    }
    Ok(())
}

fn mset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    check_pairs(args, "mset")?;
    put_pairs(cx, args)?;
    Ok(Reply::Ok)
}

fn msetnx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    check_pairs(args, "msetnx")?;
    for name in args.iter().skip(1).step_by(2) {
        let key = cx.key(name)?;
        if cx.entry(&key)?.is_some() {
            return Ok(Reply::Integer(0));
        }
    }
    put_pairs(cx, args)?;
    Ok(Reply::Integer(1))
}

fn append(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let old = cx.string(&key)?.unwrap_or_default();
    let length = old.len() + args.at(2).len();
    if length > limits::VALUE_SIZE_BYTES_MAX {
        return Err(RedisError::STRING_TOO_LONG);
    }
    let mut text = BytesMut::with_capacity(length);
    text.extend_from_slice(&old);
    text.extend_from_slice(args.at(2));
    cx.put(key, value::string(text.freeze()), Expiry::Keep);
    Ok(Reply::count(length))
}

fn strlen(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    Ok(Reply::count(cx.string(&key)?.map_or(0, |text| text.len())))
}

fn setrange(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let offset = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    let offset = usize::try_from(offset).map_err(|_| RedisError::err("offset is out of range"))?;
    let piece = args.at(3);
    let old = cx.string(&key)?;
    let length = old.as_ref().map_or(0, Bytes::len);
    if piece.is_empty() {
        return Ok(Reply::count(length));
    }
    let end = offset.saturating_add(piece.len());
    if end > limits::VALUE_SIZE_BYTES_MAX {
        return Err(RedisError::STRING_TOO_LONG);
    }
    let mut text = Vec::with_capacity(length.max(end));
    text.extend_from_slice(&old.unwrap_or_default());
    text.resize(length.max(end), 0);
    if let Some(place) = text.get_mut(offset..end) {
        place.copy_from_slice(piece);
    }
    let length = text.len();
    cx.put(key, value::string(Bytes::from(text)), Expiry::Keep);
    Ok(Reply::count(length))
}

fn getrange(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let start = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    let end = parse_integer(args.at(3)).ok_or(RedisError::NOT_INTEGER)?;
    let key = cx.key(args.at(1))?;
    let text = cx.string(&key)?.unwrap_or_default();
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::Static(""));
    }
    let from_end = |index: i64| if index < 0 { index.saturating_add(length).max(0) } else { index };
    let (start, end) = (from_end(start), from_end(end).min(length - 1));
    if start > end {
        return Ok(Reply::Static(""));
    }
    let range = usize::try_from(start).unwrap_or(0)..usize::try_from(end).unwrap_or(0) + 1;
    Ok(Reply::Bulk(text.slice(range)))
}
