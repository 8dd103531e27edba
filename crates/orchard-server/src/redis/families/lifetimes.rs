//! When keys expire.

use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::expiry::{TimeUnit, any_moment};
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Expiry, UnixMillis};

/// `NX`, `XX`, `GT`, `LT`.
#[derive(Clone, Copy, Default)]
pub(super) struct Conditions {
    only_without: bool,
    only_with: bool,
    only_later: bool,
    only_sooner: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Conditions, RedisError> {
        let mut conditions = Conditions::default();
        for option in args.iter().skip(3) {
            let Some(one) = Conditions::of_one(option) else {
                let option = crate::redis::command::shown(option, 128);
                return Err(RedisError::err(format_args!("Unsupported option {option}")));
            };
            conditions.only_without |= one.only_without;
            conditions.only_with |= one.only_with;
            conditions.only_later |= one.only_later;
            conditions.only_sooner |= one.only_sooner;
        }
        if conditions.only_without
            && (conditions.only_with || conditions.only_later || conditions.only_sooner)
        {
            return Err(RedisError::err("NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.only_later && conditions.only_sooner {
            return Err(RedisError::err("GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// The condition that a word names, if it does.
    pub(super) fn of_one(word: &[u8]) -> Option<Conditions> {
        let mut conditions = Conditions::default();
        match word.to_ascii_lowercase().as_slice() {
            b"nx" => conditions.only_without = true,
            b"xx" => conditions.only_with = true,
            b"gt" => conditions.only_later = true,
            b"lt" => conditions.only_sooner = true,
            _ => return None,
        }
        Some(conditions)
    }

    /// Whether a key that expires at `current` may expire at `wanted`. What never expires is later than everything.
    pub(super) fn allow(self, current: Option<i64>, wanted: i64) -> bool {
        !(self.only_without && current.is_some()
            || self.only_with && current.is_none()
            || self.only_later && current.is_none_or(|current| wanted <= current)
            || self.only_sooner && current.is_some_and(|current| wanted >= current))
    }
}

fn set_expiry(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    unit: TimeUnit,
    name: &str,
) -> Result<Reply, RedisError> {
    let conditions = Conditions::parse(args)?;
    let time = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    let wanted = any_moment(time, unit, cx.now(), name)?;
    let key = cx.key(args.at(1))?;
    let Some(entry) = cx.entry(&key)? else { return Ok(Reply::Integer(0)) };
    let current = entry.expires_at.map(|at| i64::try_from(at.0).unwrap_or(i64::MAX));
    if !conditions.allow(current, wanted) {
        return Ok(Reply::Integer(0));
    }
    match u64::try_from(wanted) {
        Ok(at) if at > cx.now().0 => cx.touch(key, Expiry::At(UnixMillis(at)))?,
        // It has expired already.
        _ => cx.delete(key),
    }
    Ok(Reply::Integer(1))
}

pub(super) fn expire(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_expiry(cx, args, TimeUnit { scale_ms: 1_000, is_moment: false }, "expire")
}

pub(super) fn pexpire(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_expiry(cx, args, TimeUnit { scale_ms: 1, is_moment: false }, "pexpire")
}

pub(super) fn expireat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_expiry(cx, args, TimeUnit { scale_ms: 1_000, is_moment: true }, "expireat")
}

pub(super) fn pexpireat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_expiry(cx, args, TimeUnit { scale_ms: 1, is_moment: true }, "pexpireat")
}

/// -2 without a key, -1 without an expiry, else what `show` makes of now and then.
fn tell(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    show: impl FnOnce(u64, u64) -> u64,
) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let now = cx.now().0;
    let number = match cx.entry(&key)? {
        None => -2,
        Some(entry) => entry.expires_at.map_or(-1, |at| i64::try_from(show(now, at.0)).unwrap_or(i64::MAX)),
    };
    Ok(Reply::Integer(number))
}

/// Milliseconds as seconds, to the nearest.
const fn seconds(ms: u64) -> u64 {
    ms.saturating_add(500) / 1_000
}

pub(super) fn ttl(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |now, at| seconds(at.saturating_sub(now)))
}

pub(super) fn pttl(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |now, at| at.saturating_sub(now))
}

pub(super) fn expiretime(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |_, at| seconds(at))
}

pub(super) fn pexpiretime(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    tell(cx, args, |_, at| at)
}

pub(super) fn persist(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    match cx.entry(&key)? {
        Some(entry) if entry.expires_at.is_some() => {
            cx.touch(key, Expiry::Never)?;
            Ok(Reply::Integer(1))
        }
        _ => Ok(Reply::Integer(0)),
    }
}
