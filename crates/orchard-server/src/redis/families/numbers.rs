//! Counting on strings.

use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value;
use bytes::Bytes;
use orchard_wire::resp::long_double::{LongDouble, ParseError};
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Expiry, Value, ValueType};

/// Adds to a number. A counter of the type `u64` stays one as long as it can.
fn add(cx: &mut Context<'_, '_>, name: &[u8], change: i64) -> Result<Reply, RedisError> {
    let key = cx.key(name)?;
    let entry = cx.entry(&key)?;
    let (stored, is_u64) = match &entry {
        None => (0, false),
        Some(entry) => {
            let number = match entry.value.as_int() {
                Some(number) => number,
                None => parse_integer(&value::text_of(&entry.value)?).ok_or(RedisError::NOT_INTEGER)?,
            };
            (number, entry.value.value_type == ValueType::U64)
        }
    };
    let result =
        stored.checked_add(change).ok_or_else(|| RedisError::err("increment or decrement would overflow"))?;
    let written = match u64::try_from(result) {
        Ok(counter) if is_u64 => Value::u64(counter),
        _ => Value::from(result),
    };
    cx.put(key, written, Expiry::Keep);
    Ok(Reply::Integer(result))
}

pub(super) fn incr(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    add(cx, args.at(1), 1)
}

pub(super) fn decr(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    add(cx, args.at(1), -1)
}

pub(super) fn incrby(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    add(cx, args.at(1), parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?)
}

pub(super) fn decrby(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let change = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    let change = change.checked_neg().ok_or_else(|| RedisError::err("decrement would overflow"))?;
    add(cx, args.at(1), change)
}

pub(super) fn incrbyfloat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let not_finite = || RedisError::err("increment would produce NaN or Infinity");
    let key = cx.key(args.at(1))?;
    let entry = cx.entry(&key)?;
    let stored = entry.as_ref().map(|entry| value::text_of(&entry.value)).transpose()?;
    let result = match (LongDouble::parse(stored.as_deref().unwrap_or(b"0")), LongDouble::parse(args.at(2))) {
        (Err(ParseError::Invalid), _) | (_, Err(ParseError::Invalid)) => return Err(RedisError::NOT_FLOAT),
        (Ok(stored), Ok(increment)) => stored.add(&increment).ok_or_else(not_finite)?,
        _ => return Err(not_finite()),
    };
    let text = result.to_text();
    let is_float = entry.is_some_and(|entry| entry.value.value_type == ValueType::Float);
    let written = match text.parse::<f64>() {
        // A float stays one.
        Ok(number) if is_float => Value::from(number),
        _ => Value::from(text.as_str()),
    };
    cx.put(key, written, Expiry::Keep);
    Ok(Reply::Bulk(Bytes::from(text)))
}
