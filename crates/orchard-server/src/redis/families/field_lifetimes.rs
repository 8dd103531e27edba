//! Hash fields that expire, as in Redis 7.4 and 8.0.

use super::hashes::hash;
use crate::redis::command::{DENYOOM, FAST, Family, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::expiry::{TimeUnit, moment, time_unit};
use crate::redis::families::lifetimes::Conditions;
use crate::redis::value::{string, text_of};
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Expiry, UnixMillis};

const ONE: (i32, i32, i32) = (1, 1, 1);

pub(super) static FAMILY: Family = Family {
    group: "hash",
    commands: &[
        write("hexpire", -6, DENYOOM.and(FAST), ONE, hexpire),
        write("hpexpire", -6, DENYOOM.and(FAST), ONE, hpexpire),
        write("hexpireat", -6, DENYOOM.and(FAST), ONE, hexpireat),
        write("hpexpireat", -6, DENYOOM.and(FAST), ONE, hpexpireat),
        read("httl", -5, FAST, ONE, httl),
        read("hpttl", -5, FAST, ONE, hpttl),
        read("hexpiretime", -5, FAST, ONE, hexpiretime),
        read("hpexpiretime", -5, FAST, ONE, hpexpiretime),
        write("hpersist", -5, FAST, ONE, hpersist),
        write("hgetdel", -5, FAST, ONE, hgetdel),
        write("hgetex", -5, FAST, ONE, hgetex),
        write("hsetex", -6, DENYOOM.and(FAST), ONE, hsetex),
    ],
};

/// A field's time is at most so many milliseconds after 1970, as in Redis.
const MOMENT_MS_MAX: i64 = ((1 << 48) - 2) >> 2;

/// Replies for one field.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const CONDITION_NOT_MET: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

/// The place of the first field behind `FIELDS n`, which stands at `at`; `width` arguments belong to each.
fn fields_at(args: Args<'_>, at: usize, width: usize, why_none: &'static str) -> Result<usize, RedisError> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"fields")) {
        return Err(RedisError::err("Mandatory argument FIELDS is missing or not at the right position"));
    }
    let count = parse_integer(args.get(at + 1).unwrap_or_default()).filter(|count| *count > 0);
    let count =
        count.and_then(|count| usize::try_from(count).ok()).ok_or_else(|| RedisError::err(why_none))?;
    if count.checked_mul(width) != args.len().checked_sub(at + 2) {
        return Err(RedisError::err("The `numfields` parameter must match the number of arguments"));
    }
    Ok(at + 2)
}

const NOT_POSITIVE: &str = "Number of fields must be a positive integer";

/// What `each` answers for each field.
fn for_fields(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    first: usize,
    mut each: impl FnMut(&mut Context<'_, '_>, usize) -> Result<Reply, RedisError>,
) -> Result<Reply, RedisError> {
    let replies: Result<_, _> = (first..args.len()).map(|at| each(cx, at)).collect();
    Ok(Reply::Array(replies?))
}

fn expire_fields(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    unit: TimeUnit,
    name: &str,
) -> Result<Reply, RedisError> {
    // Of another type is the first thing that is said.
    hash(cx, args)?;
    let now = cx.now();
    let time = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    if time < 0 {
        return Err(RedisError::err("invalid expire time, must be >= 0"));
    }
    let base = if unit.is_moment { 0 } else { i64::try_from(now.0).unwrap_or(i64::MAX) };
    let wanted = time.checked_mul(unit.scale_ms).and_then(|time| time.checked_add(base));
    let wanted = wanted.filter(|wanted| *wanted <= MOMENT_MS_MAX);
    let wanted = wanted.ok_or_else(|| RedisError::invalid_expire(name))?;
    let conditions = Conditions::of_one(args.at(3));
    let at = if conditions.is_some() { 4 } else { 3 };
    let first = fields_at(args, at, 1, "Parameter `numFields` should be greater than 0")?;
    let conditions = conditions.unwrap_or_default();
    let moment = UnixMillis(u64::try_from(wanted).unwrap_or(0));
    for_fields(cx, args, first, |cx, at| {
        let mut hash = hash(cx, args)?;
        let Some((value, current)) = hash.get_expiring(args.at(at))? else {
            return Ok(Reply::Integer(NO_FIELD));
        };
        let current = current.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
        if !conditions.allow(current, wanted) {
            return Ok(Reply::Integer(CONDITION_NOT_MET));
        }
        hash.set_expiring(args.shared(at), value, Expiry::At(moment))?;
        Ok(Reply::Integer(if moment > now { DONE } else { DELETED }))
    })
}

fn hexpire(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    expire_fields(cx, args, TimeUnit { scale_ms: 1_000, is_moment: false }, "hexpire")
}

fn hpexpire(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    expire_fields(cx, args, TimeUnit { scale_ms: 1, is_moment: false }, "hpexpire")
}

fn hexpireat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    expire_fields(cx, args, TimeUnit { scale_ms: 1_000, is_moment: true }, "hexpireat")
}

fn hpexpireat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    expire_fields(cx, args, TimeUnit { scale_ms: 1, is_moment: true }, "hpexpireat")
}

/// What `show` makes of now and of when each field expires.
fn tell(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    show: impl Fn(u64, u64) -> u64,
) -> Result<Reply, RedisError> {
    hash(cx, args)?;
    let first = fields_at(args, 2, 1, NOT_POSITIVE)?;
    for_fields(cx, args, first, |cx, at| {
        let now = cx.now().0;
        Ok(Reply::Integer(match hash(cx, args)?.get_expiring(args.at(at))? {
            None => NO_FIELD,
            Some((_, None)) => NO_EXPIRY,
            Some((_, Some(at))) => i64::try_from(show(now, at.0)).unwrap_or(i64::MAX),
        }))
    })
}

fn httl(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |now, at| at.saturating_sub(now).div_ceil(1_000))
}

fn hpttl(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |now, at| at.saturating_sub(now))
}

fn hexpiretime(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |_, at| at.div_ceil(1_000))
}

fn hpexpiretime(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |_, at| at)
}

fn hpersist(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    hash(cx, args)?;
    let first = fields_at(args, 2, 1, NOT_POSITIVE)?;
    for_fields(cx, args, first, |cx, at| {
        let mut hash = hash(cx, args)?;
        Ok(Reply::Integer(match hash.get_expiring(args.at(at))? {
            None => NO_FIELD,
            Some((_, None)) => NO_EXPIRY,
            Some((value, Some(_))) => {
                hash.set(args.shared(at), value)?;
                DONE
            }
        }))
    })
}

fn hgetdel(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    hash(cx, args)?;
    let first = fields_at(args, 2, 1, NOT_POSITIVE)?;
    for_fields(cx, args, first, |cx, at| match hash(cx, args)?.remove(args.at(at))? {
        None => Ok(Reply::Null),
        Some(value) => Ok(Reply::Bulk(text_of(&value)?)),
    })
}

/// What `HGETEX` and `HSETEX` say of the fields' expiry, and where `FIELDS` stands.
fn options(
    cx: &Context<'_, '_>,
    args: Args<'_>,
    mut at: usize,
    name: &str,
    keep: &[u8],
    expiry_of_keep: Expiry,
) -> Result<(Option<Expiry>, usize), RedisError> {
    let mut expiry = None;
    while let Some(word) = args.get(at).filter(|word| !word.eq_ignore_ascii_case(b"fields")) {
        let given = if word.eq_ignore_ascii_case(keep) {
            expiry_of_keep
        } else if let Some(unit) = time_unit(word) {
            at += 1;
            let moment = moment(args.get(at).ok_or(RedisError::SYNTAX)?, unit, cx.now(), name)?;
            if moment.0 > MOMENT_MS_MAX as u64 {
                return Err(RedisError::invalid_expire(name));
            }
            Expiry::At(moment)
        } else {
            return Err(RedisError::err(format_args!(
                "unknown argument: {}",
                crate::redis::command::shown(word, 128)
            )));
        };
        if expiry.replace(given).is_some() {
            let all = if keep == b"persist" { "PERSIST" } else { "KEEPTTL" };
            return Err(RedisError::err(format_args!(
                "Only one of EX, PX, EXAT, PXAT or {all} arguments can be specified"
            )));
        }
        at += 1;
    }
    Ok((expiry, at))
}

fn hgetex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    hash(cx, args)?;
    let (expiry, at) = options(cx, args, 2, "hgetex", b"persist", Expiry::Never)?;
    let first = fields_at(args, at, 1, NOT_POSITIVE)?;
    for_fields(cx, args, first, |cx, at| {
        let mut hash = hash(cx, args)?;
        let Some((value, current)) = hash.get_expiring(args.at(at))? else { return Ok(Reply::Null) };
        let reply = Reply::Bulk(text_of(&value)?);
        match expiry {
            None => {}
            Some(Expiry::Never) if current.is_none() => {}
            Some(expiry) => drop(hash.set_expiring(args.shared(at), value, expiry)?),
        }
        Ok(reply)
    })
}

fn hsetex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    hash(cx, args)?;
    let is_there = match args.at(2).to_ascii_lowercase().as_slice() {
        b"fnx" => Some(false),
        b"fxx" => Some(true),
        _ => None,
    };
    let from = if is_there.is_some() { 3 } else { 2 };
    let (expiry, at) = options(cx, args, from, "hsetex", b"keepttl", Expiry::Keep)?;
    let first = fields_at(args, at, 2, NOT_POSITIVE)?;
    let pairs = || (first..args.len()).step_by(2);
    let mut hash = hash(cx, args)?;
    if let Some(is_there) = is_there {
        for at in pairs() {
            if hash.contains(args.at(at))? != is_there {
                return Ok(Reply::Integer(0));
            }
        }
    }
    for at in pairs() {
        hash.set_expiring(args.shared(at), string(args.shared(at + 1)), expiry.unwrap_or(Expiry::Never))?;
    }
    Ok(Reply::Integer(1))
}
