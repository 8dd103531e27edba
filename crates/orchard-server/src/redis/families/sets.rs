//! Sets.

use super::common::{
    below, choose, counted_keys, cursor, integer_between, positive, repeated, scan_page, scan_reply,
};
use crate::redis::command::{DENYOOM, FAST, Family, MOVABLEKEYS, NONE, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::Transaction;
use orcharddb::collection::Set;
use std::collections::BTreeSet;

const ONE: (i32, i32, i32) = (1, 1, 1);
const ALL: (i32, i32, i32) = (1, -1, 1);

pub(super) static FAMILY: Family = Family {
    group: "set",
    commands: &[
        write("sadd", -3, DENYOOM.and(FAST), ONE, sadd),
        write("srem", -3, FAST, ONE, srem),
        read("sismember", 3, FAST, ONE, sismember),
        read("smismember", -3, FAST, ONE, smismember),
        read("smembers", 2, NONE, ONE, smembers),
        read("scard", 2, FAST, ONE, scard),
        write("smove", 4, FAST, (1, 2, 1), smove),
        read("sinter", -2, NONE, ALL, sinter),
        read("sunion", -2, NONE, ALL, sunion),
        read("sdiff", -2, NONE, ALL, sdiff),
        write("sinterstore", -3, DENYOOM, ALL, sinterstore),
        write("sunionstore", -3, DENYOOM, ALL, sunionstore),
        write("sdiffstore", -3, DENYOOM, ALL, sdiffstore),
        read("sintercard", -3, MOVABLEKEYS, (0, 0, 0), sintercard),
        write("spop", -2, FAST, ONE, spop),
        read("srandmember", -2, NONE, ONE, srandmember),
        read("sscan", -3, NONE, ONE, sscan),
    ],
};

fn set<'c, 't>(cx: &'c mut Context<'_, 't>, name: &[u8]) -> Result<Set<&'c mut Transaction<'t>>, RedisError> {
    let key = cx.key(name)?;
    cx.set(key)
}

fn sadd(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let added = set(cx, args.at(1))?.extend((2..args.len()).map(|at| args.shared(at)))?;
    Ok(Reply::Integer(added as i64))
}

fn srem(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut set = set(cx, args.at(1))?;
    let mut removed = 0;
    for name in args.iter().skip(2) {
        removed += i64::from(set.remove(name)?);
    }
    Ok(Reply::Integer(removed))
}

fn sismember(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::truth(set(cx, args.at(1))?.contains(args.at(2))?))
}

fn smismember(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut set = set(cx, args.at(1))?;
    let found = args.iter().skip(2).map(|name| Ok(Reply::truth(set.contains(name)?)));
    Ok(Reply::Array(found.collect::<Result<_, RedisError>>()?))
}

fn smembers(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(members_reply(set(cx, args.at(1))?.members()?))
}

fn scard(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(set(cx, args.at(1))?.len()? as i64))
}

fn members_reply(members: impl IntoIterator<Item = Bytes>) -> Reply {
    Reply::Set(members.into_iter().map(Reply::Bulk).collect())
}

fn smove(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (from, to) = (args.at(1), args.at(2));
    if set(cx, from)?.is_empty()? {
        return Ok(Reply::Integer(0));
    }
    // Both types are looked at before anything is written.
    set(cx, to)?;
    let member = args.at(3);
    if from == to {
        return Ok(Reply::truth(set(cx, from)?.contains(member)?));
    }
    if !set(cx, from)?.remove(member)? {
        return Ok(Reply::Integer(0));
    }
    set(cx, to)?.insert(args.shared(3))?;
    Ok(Reply::Integer(1))
}

/// What several sets come to.
#[derive(Clone, Copy)]
enum Combine {
    Inter,
    Union,
    Diff,
}

/// The members of a combination, at most `limit`.
fn combined(
    cx: &mut Context<'_, '_>,
    names: &[&[u8]],
    how: Combine,
    limit: usize,
) -> Result<BTreeSet<Bytes>, RedisError> {
    // Every key is a set or absent, whatever the others are.
    let mut sizes = Vec::with_capacity(names.len());
    for name in names {
        sizes.push(set(cx, name)?.len()?);
    }
    match how {
        Combine::Union => {
            let mut all = BTreeSet::new();
            for name in names {
                all.extend(set(cx, name)?.members()?);
            }
            Ok(all)
        }
        Combine::Diff => {
            let Some((first, others)) = names.split_first() else { return Ok(BTreeSet::new()) };
            let mut left: BTreeSet<Bytes> = set(cx, first)?.members()?.into_iter().collect();
            for (name, size) in others.iter().zip(sizes.iter().skip(1)) {
                if left.is_empty() {
                    break;
                }
                let mut other = set(cx, name)?;
                if *size < left.len() as u64 {
                    for member in other.members()? {
                        left.remove(&member);
                    }
                } else {
                    let mut kept = BTreeSet::new();
                    for member in left {
                        if !other.contains(&member)? {
                            kept.insert(member);
                        }
                    }
                    left = kept;
                }
            }
            Ok(left)
        }
        Combine::Inter => {
            let smallest = sizes.iter().enumerate().min_by_key(|(_, size)| **size).map(|(at, _)| at);
            let Some(smallest) = smallest else { return Ok(BTreeSet::new()) };
            let mut left = match names.get(smallest) {
                Some(name) => set(cx, name)?.members()?,
                None => Vec::new(),
            };
            for (at, name) in names.iter().enumerate().filter(|(at, _)| *at != smallest) {
                if left.is_empty() {
                    break;
                }
                let mut other = set(cx, name)?;
                let is_last = at == names.len() - 1 || (smallest == names.len() - 1 && at == names.len() - 2);
                let mut kept = Vec::new();
                for member in left {
                    if is_last && kept.len() >= limit {
                        break;
                    }
                    if other.contains(&member)? {
                        kept.push(member);
                    }
                }
                left = kept;
            }
            Ok(left.into_iter().take(limit).collect())
        }
    }
}

fn combine(cx: &mut Context<'_, '_>, args: Args<'_>, how: Combine) -> Result<Reply, RedisError> {
    let names: Vec<_> = args.iter().skip(1).collect();
    Ok(members_reply(combined(cx, &names, how, usize::MAX)?))
}

fn combine_store(cx: &mut Context<'_, '_>, args: Args<'_>, how: Combine) -> Result<Reply, RedisError> {
    let names: Vec<_> = args.iter().skip(2).collect();
    let members = combined(cx, &names, how, usize::MAX)?;
    let key = cx.key(args.at(1))?;
    cx.delete(key);
    let count = set(cx, args.at(1))?.extend(members)?;
    Ok(Reply::Integer(count as i64))
}

fn sinter(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine(cx, args, Combine::Inter)
}

fn sunion(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine(cx, args, Combine::Union)
}

fn sdiff(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine(cx, args, Combine::Diff)
}

fn sinterstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine_store(cx, args, Combine::Inter)
}

fn sunionstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine_store(cx, args, Combine::Union)
}

fn sdiffstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    combine_store(cx, args, Combine::Diff)
}

fn sintercard(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (names, at) = counted_keys(args, 1, "numkeys should be greater than 0")?;
    let limit = intercard_limit(args, at)?;
    Ok(Reply::count(combined(cx, &names, Combine::Inter, limit)?.len()))
}

/// `LIMIT n`; 0 is none.
pub(super) fn intercard_limit(args: Args<'_>, mut at: usize) -> Result<usize, RedisError> {
    let mut limit = usize::MAX;
    while let Some(option) = args.get(at) {
        match args.get(at + 1) {
            Some(value) if option.eq_ignore_ascii_case(b"limit") => {
                let number = positive(value).map_err(|_| RedisError::err("LIMIT can't be negative"))?;
                limit = if number == 0 { usize::MAX } else { number };
            }
            _ => return Err(RedisError::SYNTAX),
        }
        at += 2;
    }
    Ok(limit)
}

/// Members up to so many of which a random choice reads all.
const SAMPLED_WHOLE_MAX: u64 = 512;

fn random_member(set: &mut Set<&mut Transaction<'_>>) -> Result<Option<Bytes>, RedisError> {
    if set.len()? <= SAMPLED_WHOLE_MAX {
        return Ok(choose(set.members()?, 1).pop());
    }
    Ok(set.random(below)?)
}

fn spop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if args.len() > 3 {
        return Err(RedisError::SYNTAX);
    }
    let Some(count) = args.get(2) else {
        let mut set = set(cx, args.at(1))?;
        let Some(member) = random_member(&mut set)? else { return Ok(Reply::Null) };
        set.remove(&member)?;
        return Ok(Reply::Bulk(member));
    };
    let count = positive(count)?;
    let mut set = set(cx, args.at(1))?;
    let mut popped = Vec::new();
    let length = set.len()?;
    if length > SAMPLED_WHOLE_MAX && (count as u64) < length / 8 {
        for _ in 0..count {
            let Some(member) = random_member(&mut set)? else { break };
            set.remove(&member)?;
            popped.push(member);
        }
    } else {
        popped = choose(if count == 0 { Vec::new() } else { set.members()? }, count);
        for member in &popped {
            set.remove(member)?;
        }
    }
    Ok(members_reply(popped))
}

fn srandmember(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if args.len() > 3 {
        return Err(RedisError::SYNTAX);
    }
    let Some(count) = args.get(2) else {
        let mut set = set(cx, args.at(1))?;
        return Ok(random_member(&mut set)?.map_or(Reply::Null, Reply::Bulk));
    };
    let count = integer_between(count, -i64::MAX, i64::MAX)?;
    let mut set = set(cx, args.at(1))?;
    let mut chosen = Vec::new();
    if count >= 0 {
        chosen = choose(if count == 0 { Vec::new() } else { set.members()? }, count.min(1 << 30) as usize);
    } else if !set.is_empty()? {
        let repeated = repeated(count)?;
        let all =
            if set.len()? <= SAMPLED_WHOLE_MAX.max(repeated as u64) { Some(set.members()?) } else { None };
        for _ in 0..repeated {
            let member = match &all {
                Some(all) => all.get(below(all.len())).cloned(),
                None => random_member(&mut set)?,
            };
            chosen.extend(member);
        }
    }
    Ok(Reply::Array(chosen.into_iter().map(Reply::Bulk).collect()))
}

fn sscan(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let cursor = cursor(args.at(2))?;
    if set(cx, args.at(1))?.is_empty()? {
        return Ok(scan_reply(cx, None, Vec::new()));
    }
    let page = scan_page(cx, args, cursor)?;
    let mut set = set(cx, args.at(1))?;
    let limit = if set.is_packed() { usize::MAX } else { page.count };
    let members = set.page(page.after.as_deref(), limit)?;
    let next = if members.len() < limit { None } else { members.last().cloned() };
    let items = members.into_iter().filter(|name| page.matches(name)).map(Reply::Bulk).collect();
    Ok(scan_reply(cx, next, items))
}
