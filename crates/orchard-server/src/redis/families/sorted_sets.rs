//! Sorted sets: members, scores and ranks. Ranges are in [`super::sorted_ranges`], combinations in
//! [`super::sorted_combine`].

use super::common::{
    below, choose, cursor, exact_double, integer_between, positive, repeated, scan_page, scan_reply,
};
use super::sorted_combine as combine;
use super::sorted_ranges as ranges;
use crate::redis::blocking::{self, Operation, PopKind};
use crate::redis::command::{BLOCKING, DENYOOM, FAST, Family, MOVABLEKEYS, NONE, NOSCRIPT, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use orchard_wire::resp::number::double_text;
use orchard_wire::resp::{Args, Reply, RespVersion};
use orcharddb::Transaction;
use orcharddb::collection::{Scored, ZSet};

const ONE: (i32, i32, i32) = (1, 1, 1);
const TWO: (i32, i32, i32) = (1, 2, 1);
const NOWHERE: (i32, i32, i32) = (0, 0, 0);

pub(super) static FAMILY: Family = Family {
    group: "sorted-set",
    commands: &[
        write("zadd", -4, DENYOOM.and(FAST), ONE, zadd),
        write("zincrby", 4, DENYOOM.and(FAST), ONE, zincrby),
        write("zrem", -3, FAST, ONE, zrem),
        read("zscore", 3, FAST, ONE, zscore),
        read("zmscore", -3, FAST, ONE, zmscore),
        read("zcard", 2, FAST, ONE, zcard),
        read("zrank", 3, FAST, ONE, zrank),
        read("zrevrank", 3, FAST, ONE, zrevrank),
        read("zcount", 4, FAST, ONE, ranges::zcount),
        read("zlexcount", 4, FAST, ONE, ranges::zlexcount),
        read("zrange", -4, NONE, ONE, ranges::zrange),
        read("zrevrange", -4, NONE, ONE, ranges::zrevrange),
        read("zrangebyscore", -4, NONE, ONE, ranges::zrangebyscore),
        read("zrevrangebyscore", -4, NONE, ONE, ranges::zrevrangebyscore),
        read("zrangebylex", -4, NONE, ONE, ranges::zrangebylex),
        read("zrevrangebylex", -4, NONE, ONE, ranges::zrevrangebylex),
        write("zrangestore", -5, DENYOOM, TWO, ranges::zrangestore),
        write("zremrangebyrank", 4, NONE, ONE, ranges::zremrangebyrank),
        write("zremrangebyscore", 4, NONE, ONE, ranges::zremrangebyscore),
        write("zremrangebylex", 4, NONE, ONE, ranges::zremrangebylex),
        write("zpopmin", -2, FAST, ONE, zpopmin),
        write("zpopmax", -2, FAST, ONE, zpopmax),
        write("zmpop", -4, MOVABLEKEYS, NOWHERE, zmpop),
        write("bzpopmin", -3, BLOCKING.and(FAST).and(NOSCRIPT), (1, -2, 1), bzpopmin),
        write("bzpopmax", -3, BLOCKING.and(FAST).and(NOSCRIPT), (1, -2, 1), bzpopmax),
        write("bzmpop", -5, BLOCKING.and(MOVABLEKEYS), NOWHERE, bzmpop),
        read("zunion", -3, MOVABLEKEYS, NOWHERE, combine::zunion),
        read("zinter", -3, MOVABLEKEYS, NOWHERE, combine::zinter),
        read("zdiff", -3, MOVABLEKEYS, NOWHERE, combine::zdiff),
        read("zintercard", -3, MOVABLEKEYS, NOWHERE, combine::zintercard),
        write("zunionstore", -4, DENYOOM.and(MOVABLEKEYS), ONE, combine::zunionstore),
        write("zinterstore", -4, DENYOOM.and(MOVABLEKEYS), ONE, combine::zinterstore),
        write("zdiffstore", -4, DENYOOM.and(MOVABLEKEYS), ONE, combine::zdiffstore),
        read("zrandmember", -2, NONE, ONE, zrandmember),
        read("zscan", -3, NONE, ONE, zscan),
    ],
};

/// The sorted set of a name.
pub(super) fn zset<'c, 't>(
    cx: &'c mut Context<'_, 't>,
    name: &[u8],
) -> Result<ZSet<&'c mut Transaction<'t>>, RedisError> {
    let key = cx.key(name)?;
    cx.zset(key)
}

/// Members, with their scores if asked for: one flat array in version 2, pairs in version 3.
pub(crate) fn members_reply(members: Vec<Scored>, with_scores: bool, version: RespVersion) -> Reply {
    let mut items = Vec::with_capacity(members.len() * (1 + usize::from(with_scores)));
    for (name, score) in members {
        match (with_scores, version) {
            (false, _) => items.push(Reply::Bulk(name)),
            (true, RespVersion::Two) => items.extend([Reply::Bulk(name), Reply::Double(score)]),
            (true, RespVersion::Three) => {
                items.push(Reply::Array(vec![Reply::Bulk(name), Reply::Double(score)]));
            }
        }
    }
    Reply::Array(items)
}

fn score(text: &[u8]) -> Result<f64, RedisError> {
    exact_double(text).ok_or(RedisError::NOT_FLOAT)
}

/// What `ZADD` is told.
#[derive(Default)]
struct AddOptions {
    only_new: bool,
    only_known: bool,
    only_greater: bool,
    only_less: bool,
    counts_changed: bool,
    increments: bool,
}

fn zadd(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut options = AddOptions::default();
    let mut at = 2;
    while let Some(option) = args.get(at) {
        match option.to_ascii_lowercase().as_slice() {
            b"nx" => options.only_new = true,
            b"xx" => options.only_known = true,
            b"gt" => options.only_greater = true,
            b"lt" => options.only_less = true,
            b"ch" => options.counts_changed = true,
            b"incr" => options.increments = true,
            _ => break,
        }
        at += 1;
    }
    let left = args.len() - at;
    if left == 0 || left % 2 == 1 {
        return Err(RedisError::SYNTAX);
    }
    if options.only_new && options.only_known {
        return Err(RedisError::err("XX and NX options at the same time are not compatible"));
    }
    if (options.only_new && (options.only_greater || options.only_less))
        || (options.only_greater && options.only_less)
    {
        return Err(RedisError::err("GT, LT, and/or NX options at the same time are not compatible"));
    }
    if options.increments && left > 2 {
        return Err(RedisError::err("INCR option supports a single increment-element pair"));
    }
    add(cx, args, at, &options)
}

fn zincrby(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    add(cx, args, 2, &AddOptions { increments: true, ..AddOptions::default() })
}

/// Adds the pairs of score and member from `first` on.
fn add(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    first: usize,
    options: &AddOptions,
) -> Result<Reply, RedisError> {
    let places = (first..args.len()).step_by(2);
    let scores = places.clone().map(|at| score(args.at(at))).collect::<Result<Vec<_>, _>>()?;
    let mut zset = zset(cx, args.at(1))?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    let mut writes = Vec::with_capacity(scores.len());
    // A member may stand several times: each is decided behind the one before.
    let mut seen = std::collections::HashMap::new();
    let is_one = scores.len() == 1;
    for (at, given) in places.zip(scores) {
        let name = args.shared(at + 1);
        let before = match seen.get(&name) {
            Some(before) => *before,
            None => zset.score(&name)?,
        };
        let after = match before {
            Some(_) if options.only_new => continue,
            None if options.only_known => continue,
            Some(before) if options.increments => {
                let sum = before + given;
                if sum.is_nan() {
                    return Err(RedisError::err("resulting score is not a number (NaN)"));
                }
                sum
            }
            _ => given,
        };
        if let Some(before) = before
            && ((options.only_less && after >= before) || (options.only_greater && after <= before))
        {
            continue;
        }
        added += i64::from(before.is_none());
        changed += i64::from(before.is_some_and(|before| before != after));
        last = Some(after);
        if !is_one {
            seen.insert(name.clone(), Some(after));
        }
        if before != Some(after) {
            writes.push((name, before, after));
        }
    }
    if !writes.is_empty() {
        zset.replace_found(writes)?;
    }
    if options.increments {
        return Ok(last.map_or(Reply::Null, Reply::Double));
    }
    Ok(Reply::Integer(if options.counts_changed { added + changed } else { added }))
}

fn zrem(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut zset = zset(cx, args.at(1))?;
    let mut removed = 0;
    for name in args.iter().skip(2) {
        removed += i64::from(zset.remove(name)?.is_some());
    }
    Ok(Reply::Integer(removed))
}

fn zscore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(zset(cx, args.at(1))?.score(args.at(2))?.map_or(Reply::Null, Reply::Double))
}

fn zmscore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut zset = zset(cx, args.at(1))?;
    let scores = args.iter().skip(2).map(|name| Ok(zset.score(name)?.map_or(Reply::Null, Reply::Double)));
    Ok(Reply::Array(scores.collect::<Result<_, RedisError>>()?))
}

fn zcard(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(zset(cx, args.at(1))?.len()? as i64))
}

fn zrank(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let rank = zset(cx, args.at(1))?.rank(args.at(2))?;
    Ok(rank.map_or(Reply::Null, |rank| Reply::Integer(rank as i64)))
}

fn zrevrank(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut zset = zset(cx, args.at(1))?;
    let rank = zset.rank(args.at(2))?;
    let length = zset.len()?;
    Ok(rank.map_or(Reply::Null, |rank| Reply::Integer((length - 1 - rank) as i64)))
}

fn zpop(cx: &mut Context<'_, '_>, args: Args<'_>, max: bool) -> Result<Reply, RedisError> {
    if args.len() > 3 {
        return Err(RedisError::SYNTAX);
    }
    let count = args.get(2).map(positive).transpose()?;
    let is_nested = cx.session.version == RespVersion::Three && count.is_some();
    let popped = zset(cx, args.at(1))?.pop(count.unwrap_or(1) as u64, max)?;
    let version = if is_nested { RespVersion::Three } else { RespVersion::Two };
    Ok(members_reply(popped, true, version))
}

fn zpopmin(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    zpop(cx, args, false)
}

fn zpopmax(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    zpop(cx, args, true)
}

fn zmpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = blocking::parse_many(args, 1, PopKind::ZSet)?;
    blocking::attempt_now(cx, &operation)
}

fn bzpop(cx: &mut Context<'_, '_>, args: Args<'_>, max: bool) -> Result<Reply, RedisError> {
    let timeout = blocking::timeout(args.at(args.len() - 1))?;
    let keys = args.iter().skip(1).take(args.len() - 2).map(<[u8]>::to_vec).collect();
    blocking::run(cx, Operation::Pop { kind: PopKind::ZSet, keys, last: max }, timeout)
}

fn bzpopmin(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    bzpop(cx, args, false)
}

fn bzpopmax(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    bzpop(cx, args, true)
}

fn bzmpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = blocking::parse_many(args, 2, PopKind::ZSet)?;
    let timeout = blocking::timeout(args.at(1))?;
    blocking::run(cx, operation, timeout)
}

/// Members up to so many of which a random choice reads all.
const SAMPLED_WHOLE_MAX: u64 = 512;

fn random_member(zset: &mut ZSet<&mut Transaction<'_>>) -> Result<Option<Scored>, RedisError> {
    if zset.len()? <= SAMPLED_WHOLE_MAX {
        return Ok(choose(zset.range(0, -1)?, 1).pop());
    }
    Ok(zset.random(below)?)
}

fn zrandmember(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let Some(count) = args.get(2) else {
        let mut zset = zset(cx, args.at(1))?;
        return Ok(random_member(&mut zset)?.map_or(Reply::Null, |(name, _)| Reply::Bulk(name)));
    };
    let count = integer_between(count, -i64::MAX, i64::MAX)?;
    let with_scores = match args.get(3) {
        None => false,
        Some(option) if args.len() == 4 && option.eq_ignore_ascii_case(b"withscores") => true,
        Some(_) => return Err(RedisError::SYNTAX),
    };
    if with_scores && count.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(RedisError::err("value is out of range"));
    }
    let version = cx.session.version;
    let mut zset = zset(cx, args.at(1))?;
    let mut chosen = Vec::new();
    if count >= 0 {
        let all = if count == 0 { Vec::new() } else { zset.range(0, -1)? };
        chosen = choose(all, count.min(1 << 30) as usize);
    } else if !zset.is_empty()? {
        let repeated = repeated(count)?;
        let reads_all = zset.len()? <= SAMPLED_WHOLE_MAX.max(repeated as u64);
        let all = if reads_all { Some(zset.range(0, -1)?) } else { None };
        for _ in 0..repeated {
            let member = match &all {
                Some(all) => all.get(below(all.len())).cloned(),
                None => random_member(&mut zset)?,
            };
            chosen.extend(member);
        }
    }
    Ok(members_reply(chosen, with_scores, version))
}

/// Members of a small sorted set have at most this many bytes in Redis.
const SMALL_MEMBER_SIZE_BYTES_MAX: usize = 64;

/// A score as `ZSCAN` of Redis 7.0 shows it: of a small sorted set, whole numbers are stored and shown as such.
fn scanned_score(score: f64, is_small: bool) -> String {
    const WHOLE_MAX: f64 = (i64::MAX / 2) as f64;
    if is_small && score.abs() <= WHOLE_MAX && score.trunc() == score {
        (score as i64).to_string()
    } else {
        double_text(score)
    }
}

fn zscan(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let cursor = cursor(args.at(2))?;
    if zset(cx, args.at(1))?.is_empty()? {
        return Ok(scan_reply(cx, None, Vec::new()));
    }
    let page = scan_page(cx, args, cursor)?;
    let mut zset = zset(cx, args.at(1))?;
    let limit = if zset.is_packed() { usize::MAX } else { page.count };
    let mut members = zset.page(page.after.as_deref(), limit)?;
    let next = if members.len() < limit { None } else { members.last().map(|(name, _)| name.clone()) };
    let is_small =
        zset.is_packed() && members.iter().all(|(name, _)| name.len() <= SMALL_MEMBER_SIZE_BYTES_MAX);
    if is_small {
        // All of it, so that there is no cursor to keep in step: in the order of scores, as Redis keeps small ones.
        members.sort_by(|left, right| left.1.total_cmp(&right.1).then_with(|| left.0.cmp(&right.0)));
    }
    let mut items = Vec::new();
    for (name, score) in members {
        if page.matches(&name) {
            items.extend([Reply::Bulk(name), Reply::bulk(scanned_score(score, is_small))]);
        }
    }
    Ok(scan_reply(cx, next, items))
}
