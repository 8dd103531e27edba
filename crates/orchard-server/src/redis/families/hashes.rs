//! Hashes.

use super::common::{
    below, choose, cursor, exact_double, integer, integer_between, repeated, scan_page, scan_reply,
};
use crate::redis::command::{DENYOOM, FAST, Family, NONE, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value::{string, text_of};
use bytes::Bytes;
use orchard_wire::resp::long_double::{LongDouble, ParseError};
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply, RespVersion};
use orcharddb::collection::Hash;
use orcharddb::{Expiry, Transaction, Value, ValueType};

const ONE: (i32, i32, i32) = (1, 1, 1);

pub(super) static FAMILY: Family = Family {
    group: "hash",
    commands: &[
        write("hset", -4, DENYOOM.and(FAST), ONE, hset),
        write("hmset", -4, DENYOOM.and(FAST), ONE, hmset),
        write("hsetnx", 4, DENYOOM.and(FAST), ONE, hsetnx),
        read("hget", 3, FAST, ONE, hget),
        read("hmget", -3, FAST, ONE, hmget),
        read("hgetall", 2, NONE, ONE, hgetall),
        read("hkeys", 2, NONE, ONE, hkeys),
        read("hvals", 2, NONE, ONE, hvals),
        read("hlen", 2, FAST, ONE, hlen),
        write("hdel", -3, FAST, ONE, hdel),
        read("hexists", 3, FAST, ONE, hexists),
        read("hstrlen", 3, FAST, ONE, hstrlen),
        write("hincrby", 4, DENYOOM.and(FAST), ONE, hincrby),
        write("hincrbyfloat", 4, DENYOOM.and(FAST), ONE, hincrbyfloat),
        read("hrandfield", -2, NONE, ONE, hrandfield),
        read("hscan", -3, NONE, ONE, hscan),
    ],
};

/// The hash at the first argument.
pub(super) fn hash<'c, 't>(
    cx: &'c mut Context<'_, 't>,
    args: Args<'_>,
) -> Result<Hash<&'c mut Transaction<'t>>, RedisError> {
    let key = cx.key(args.at(1))?;
    cx.hash(key)
}

fn nil_or_text(value: Option<&Value>) -> Result<Reply, RedisError> {
    value.map_or(Ok(Reply::Null), |value| Ok(Reply::Bulk(text_of(value)?)))
}

/// Writes the pairs from the third argument on; how many fields are new.
fn set_pairs(cx: &mut Context<'_, '_>, args: Args<'_>, name: &str) -> Result<u64, RedisError> {
    if args.len() % 2 == 1 {
        return Err(RedisError::wrong_arity(name));
    }
    let pairs = (2..args.len()).step_by(2);
    let pairs = pairs.map(|at| (args.shared(at), string(args.shared(at + 1))));
    Ok(hash(cx, args)?.extend(pairs)?)
}

fn hset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(set_pairs(cx, args, "hset")? as i64))
}

fn hmset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_pairs(cx, args, "hmset").map(|_| Reply::Ok)
}

fn hsetnx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut hash = hash(cx, args)?;
    if hash.contains(args.at(2))? {
        return Ok(Reply::Integer(0));
    }
    hash.set(args.shared(2), string(args.shared(3)))?;
    Ok(Reply::Integer(1))
}

fn hget(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    nil_or_text(hash(cx, args)?.get(args.at(2))?.as_ref())
}

fn hmget(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut hash = hash(cx, args)?;
    let values = args.iter().skip(2).map(|field| nil_or_text(hash.get(field)?.as_ref()));
    Ok(Reply::Array(values.collect::<Result<_, _>>()?))
}

fn hgetall(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let fields = hash(cx, args)?.fields()?;
    let pairs =
        fields.into_iter().map(|(name, value)| Ok((Reply::Bulk(name), Reply::Bulk(text_of(&value)?))));
    Ok(Reply::Map(pairs.collect::<Result<_, RedisError>>()?))
}

fn hkeys(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let fields = hash(cx, args)?.fields()?;
    Ok(Reply::Array(fields.into_iter().map(|(name, _)| Reply::Bulk(name)).collect()))
}

fn hvals(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let fields = hash(cx, args)?.fields()?;
    let values = fields.into_iter().map(|(_, value)| Ok(Reply::Bulk(text_of(&value)?)));
    Ok(Reply::Array(values.collect::<Result<_, RedisError>>()?))
}

fn hlen(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(hash(cx, args)?.len()? as i64))
}

fn hdel(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut hash = hash(cx, args)?;
    let mut removed = 0;
    for field in args.iter().skip(2) {
        removed += i64::from(hash.remove(field)?.is_some());
    }
    Ok(Reply::Integer(removed))
}

fn hexists(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::truth(hash(cx, args)?.contains(args.at(2))?))
}

fn hstrlen(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    match hash(cx, args)?.get(args.at(2))? {
        None => Ok(Reply::Integer(0)),
        Some(value) => Ok(Reply::count(text_of(&value)?.len())),
    }
}

fn hincrby(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let increment = integer(args.at(3))?;
    let mut hash = hash(cx, args)?;
    let before = match hash.get(args.at(2))? {
        None => 0,
        Some(value) => {
            parse_integer(&text_of(&value)?).ok_or_else(|| RedisError::err("hash value is not an integer"))?
        }
    };
    let after = before
        .checked_add(increment)
        .ok_or_else(|| RedisError::err("increment or decrement would overflow"))?;
    hash.set_expiring(args.shared(2), after, Expiry::Keep)?;
    Ok(Reply::Integer(after))
}

fn hincrbyfloat(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let not_finite = || RedisError::err("increment would produce NaN or Infinity");
    let parse = |text: &[u8], invalid: RedisError, infinite: RedisError| match LongDouble::parse(text) {
        Ok(number) => Ok(number),
        Err(ParseError::Infinite) => Err(infinite),
        // C reads hexadecimal numbers, too.
        Err(ParseError::Invalid) => {
            let number = exact_double(text).filter(|number| number.is_finite());
            let number = number.and_then(|number| LongDouble::parse(number.to_string().as_bytes()).ok());
            number.ok_or(invalid)
        }
    };
    let increment = parse(args.at(3), RedisError::NOT_FLOAT, RedisError::err("value is NaN or Infinity"))?;
    let mut hash = hash(cx, args)?;
    let before = hash.get(args.at(2))?;
    let text = before.as_ref().map(text_of).transpose()?;
    let not_float = RedisError::err("hash value is not a float");
    let stored = parse(text.as_deref().unwrap_or(b"0"), not_float, not_finite())?;
    let text = stored.add(&increment).ok_or_else(not_finite)?.to_text();
    let is_float = before.is_some_and(|before| before.value_type == ValueType::Float);
    let written = match text.parse::<f64>() {
        // A float stays one.
        Ok(number) if is_float => Value::from(number),
        _ => Value::from(text.as_str()),
    };
    hash.set_expiring(args.shared(2), written, Expiry::Keep)?;
    Ok(Reply::Bulk(Bytes::from(text)))
}

/// Fields with their values up to so many of which a random choice reads all.
const SAMPLED_WHOLE_MAX: u64 = 512;

fn hrandfield(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let Some(count) = args.get(2) else {
        let mut hash = hash(cx, args)?;
        return Ok(random_field(&mut hash)?.map_or(Reply::Null, |(name, _)| Reply::Bulk(name)));
    };
    let count = integer_between(count, -i64::MAX, i64::MAX)?;
    let with_values = match args.get(3) {
        None => false,
        Some(option) if args.len() == 4 && option.eq_ignore_ascii_case(b"withvalues") => true,
        Some(_) => return Err(RedisError::SYNTAX),
    };
    if with_values && count.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(RedisError::err("value is out of range"));
    }
    let is_three = cx.session.version == RespVersion::Three;
    let mut hash = hash(cx, args)?;
    let mut chosen = Vec::new();
    if count >= 0 {
        chosen = choose(if count == 0 { Vec::new() } else { hash.fields()? }, count.min(1 << 30) as usize);
    } else if !hash.is_empty()? {
        let repeated = repeated(count)?;
        let all =
            if hash.len()? <= SAMPLED_WHOLE_MAX.max(repeated as u64) { Some(hash.fields()?) } else { None };
        for _ in 0..repeated {
            let field = match &all {
                Some(all) => all.get(below(all.len())).cloned(),
                None => random_field(&mut hash)?,
            };
            chosen.extend(field);
        }
    }
    let mut items = Vec::with_capacity(chosen.len());
    for (name, value) in chosen {
        match (with_values, is_three) {
            (false, _) => items.push(Reply::Bulk(name)),
            (true, false) => items.extend([Reply::Bulk(name), Reply::Bulk(text_of(&value)?)]),
            (true, true) => items.push(Reply::Array(vec![Reply::Bulk(name), Reply::Bulk(text_of(&value)?)])),
        }
    }
    Ok(Reply::Array(items))
}

fn random_field(hash: &mut Hash<&mut Transaction<'_>>) -> Result<Option<(Bytes, Value)>, RedisError> {
    if hash.len()? <= SAMPLED_WHOLE_MAX {
        return Ok(choose(hash.fields()?, 1).pop());
    }
    Ok(hash.random(below)?)
}

fn hscan(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let cursor = cursor(args.at(2))?;
    if hash(cx, args)?.is_empty()? {
        return Ok(scan_reply(cx, None, Vec::new()));
    }
    let page = scan_page(cx, args, cursor)?;
    let mut hash = hash(cx, args)?;
    let limit = if hash.is_packed() { usize::MAX } else { page.count };
    let fields = hash.page(page.after.as_deref(), limit)?;
    let next = if fields.len() < limit { None } else { fields.last().map(|(name, _)| name.clone()) };
    let mut items = Vec::new();
    for (name, value) in fields {
        if page.matches(&name) {
            items.extend([Reply::Bulk(name), Reply::Bulk(text_of(&value)?)]);
        }
    }
    Ok(scan_reply(cx, next, items))
}
