//! Strings.

use crate::redis::command::{DENYOOM, FAST, Family, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Entry, Expiry, UnixMillis};

const ONE: (i32, i32, i32) = (1, 1, 1);

pub(super) static FAMILY: Family = Family {
    group: "string",
    commands: &[read("get", 2, FAST, ONE, get), write("set", -3, DENYOOM, ONE, set)],
};

/// The string of an entry, nil if there is none.
fn string_reply(entry: Option<&Entry>) -> Result<Reply, RedisError> {
    entry.map_or(Ok(Reply::Null), |entry| Ok(Reply::Bulk(value::text_of(&entry.value)?)))
}

fn get(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    string_reply(cx.entry(&key)?.as_ref())
}

/// How an expiry is given.
#[derive(Clone, Copy)]
pub(super) struct TimeUnit {
    /// Milliseconds of one.
    pub(super) scale_ms: i64,
    /// A moment rather than a length.
    pub(super) is_moment: bool,
}

/// The moment that a time of a unit means; `command` names whoever has to be told that it is none.
pub(super) fn moment(
    text: &[u8],
    unit: TimeUnit,
    now: UnixMillis,
    command: &str,
) -> Result<UnixMillis, RedisError> {
    let invalid = || RedisError::invalid_expire(command);
    let time = parse_integer(text).ok_or(RedisError::NOT_INTEGER)?;
    if time <= 0 {
        return Err(invalid());
    }
    let time_ms = time.checked_mul(unit.scale_ms).ok_or_else(invalid)?;
    let now_ms = if unit.is_moment { 0 } else { i64::try_from(now.0).unwrap_or(i64::MAX) };
    let at_ms = time_ms.checked_add(now_ms).ok_or_else(invalid)?;
    Ok(UnixMillis(u64::try_from(at_ms).unwrap_or(0)))
}

/// `EX`, `PX`, `EXAT`, `PXAT`.
pub(super) fn time_unit(option: &[u8]) -> Option<TimeUnit> {
    Some(match option.to_ascii_lowercase().as_slice() {
        b"ex" => TimeUnit { scale_ms: 1_000, is_moment: false },
        b"px" => TimeUnit { scale_ms: 1, is_moment: false },
        b"exat" => TimeUnit { scale_ms: 1_000, is_moment: true },
        b"pxat" => TimeUnit { scale_ms: 1, is_moment: true },
        _ => return None,
    })
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
                (Some(unit), Some(text)) if time.is_none() && expiry == Expiry::Never => {
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
    let old = if wants_old { Some(string_reply(entry.as_ref())?) } else { None };
    let is_written = if only_absent { entry.is_none() } else { !only_present || entry.is_some() };
    if is_written {
        cx.put(key, value::string(args.shared(2)), expiry);
    }
    Ok(old.unwrap_or(if is_written { Reply::Ok } else { Reply::Null }))
}
