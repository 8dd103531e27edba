//! Unions, intersections and differences of sorted sets; a set counts as one whose scores are all 1.

use super::common::{exact_double, integer, positive};
use super::sorted_ranges::store;
use super::sorted_sets::{members_reply, zset};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::ValueType;
use orcharddb::collection::Scored;
use std::collections::HashMap;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Combine {
    Union,
    Inter,
    Diff,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // The sum of both infinities is 0 to Redis.
            Aggregate::Sum => Some(a + b).filter(|sum| !sum.is_nan()).unwrap_or(0.0),
            Aggregate::Min => a.min(b),
            Aggregate::Max => a.max(b),
        }
    }
}

/// One of the sets combined.
struct Source<'a> {
    name: &'a [u8],
    is_set: bool,
    len: u64,
    weight: f64,
}

impl Source<'_> {
    fn weighted(&self, score: f64) -> f64 {
        Some(score * self.weight).filter(|score| !score.is_nan()).unwrap_or(0.0)
    }

    /// Members with weighted scores, in their order.
    fn members(&self, cx: &mut Context<'_, '_>) -> Result<Vec<Scored>, RedisError> {
        let members = if self.is_set {
            let key = cx.key(self.name)?;
            let names = cx.tx.set_in(cx.space, key)?.members()?;
            names.into_iter().map(|name| (name, 1.0)).collect()
        } else {
            zset(cx, self.name)?.range(0, -1)?
        };
        Ok(members.into_iter().map(|(name, score)| (name, self.weighted(score))).collect())
    }

    fn score(&self, cx: &mut Context<'_, '_>, name: &[u8]) -> Result<Option<f64>, RedisError> {
        let score = if self.is_set {
            let key = cx.key(self.name)?;
            cx.tx.set_in(cx.space, key)?.contains(name)?.then_some(1.0)
        } else {
            zset(cx, self.name)?.score(name)?
        };
        Ok(score.map(|score| self.weighted(score)))
    }
}

struct Request<'a> {
    sources: Vec<Source<'a>>,
    aggregate: Aggregate,
    with_scores: bool,
    limit: usize,
}

fn parse<'a>(
    cx: &mut Context<'_, '_>,
    args: Args<'a>,
    at: usize,
    how: Combine,
    counts_only: bool,
) -> Result<Request<'a>, RedisError> {
    let count = integer(args.at(at))?;
    if count < 1 {
        let command = String::from_utf8_lossy(args.at(0)).to_ascii_lowercase();
        return Err(RedisError::err(format_args!("at least 1 input key is needed for '{command}' command")));
    }
    let stores = at == 2;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > args.len() - at - 1 {
        return Err(RedisError::SYNTAX);
    }
    let mut sources = Vec::with_capacity(count);
    for name in args.iter().skip(at + 1).take(count) {
        let key = cx.key(name)?;
        let value = cx.entry(&key)?.map(|entry| entry.value);
        let is_set = value.as_ref().is_some_and(|value| value.value_type == ValueType::Set);
        let len = match &value {
            Some(value) if !matches!(value.value_type, ValueType::Set | ValueType::ZSet) => {
                return Err(RedisError::WRONG_TYPE);
            }
            Some(value) => orcharddb::collection::count(value.value_type, &value.data).unwrap_or(0),
            None => 0,
        };
        sources.push(Source { name, is_set, len, weight: 1.0 });
    }
    let mut request = Request { sources, aggregate: Aggregate::Sum, with_scores: false, limit: usize::MAX };
    let weighs = how != Combine::Diff && !counts_only;
    let mut next = at + 1 + count;
    while let Some(option) = args.get(next) {
        let left = args.len() - next;
        match option.to_ascii_lowercase().as_slice() {
            b"weights" if weighs && left > count => {
                for (source, text) in request.sources.iter_mut().zip(args.iter().skip(next + 1)) {
                    let weight = exact_double(text);
                    source.weight = weight.ok_or_else(|| RedisError::err("weight value is not a float"))?;
                }
                next += count + 1;
            }
            b"aggregate" if weighs && left >= 2 => {
                request.aggregate = match args.at(next + 1).to_ascii_lowercase().as_slice() {
                    b"sum" => Aggregate::Sum,
                    b"min" => Aggregate::Min,
                    b"max" => Aggregate::Max,
                    _ => return Err(RedisError::SYNTAX),
                };
                next += 2;
            }
            b"withscores" if !stores && !counts_only => {
                request.with_scores = true;
                next += 1;
            }
            b"limit" if counts_only && left >= 2 => {
                let limit = positive(args.at(next + 1));
                let limit = limit.map_err(|_| RedisError::err("LIMIT can't be negative"))?;
                request.limit = if limit == 0 { usize::MAX } else { limit };
                next += 2;
            }
            _ => return Err(RedisError::SYNTAX),
        }
    }
    Ok(request)
}

/// The members of a combination, in order of (score, name).
fn combined(
    cx: &mut Context<'_, '_>,
    request: &mut Request<'_>,
    how: Combine,
) -> Result<Vec<Scored>, RedisError> {
    if how != Combine::Diff {
        // The smallest first, as Redis adds them up.
        request.sources.sort_by_key(|source| source.len);
    }
    let aggregate = request.aggregate;
    let Some((first, others)) = request.sources.split_first() else { return Ok(Vec::new()) };
    let mut found: HashMap<Bytes, f64> = HashMap::new();
    match how {
        Combine::Union => {
            for source in &request.sources {
                for (name, score) in source.members(cx)? {
                    found
                        .entry(name)
                        .and_modify(|before| *before = aggregate.of(*before, score))
                        .or_insert(score);
                }
            }
        }
        Combine::Inter => {
            'members: for (name, mut score) in first.members(cx)? {
                for other in others {
                    match other.score(cx, &name)? {
                        Some(more) => score = aggregate.of(score, more),
                        None => continue 'members,
                    }
                }
                found.insert(name, score);
                if found.len() >= request.limit {
                    break;
                }
            }
        }
        Combine::Diff => {
            'members: for (name, score) in first.members(cx)? {
                for other in others {
                    if other.score(cx, &name)?.is_some() {
                        continue 'members;
                    }
                }
                found.insert(name, score);
            }
        }
    }
    let mut found: Vec<Scored> = found.into_iter().collect();
    found.sort_unstable_by(|a, b| (a.1 + 0.0).total_cmp(&(b.1 + 0.0)).then_with(|| a.0.cmp(&b.0)));
    Ok(found)
}

fn reply(cx: &mut Context<'_, '_>, args: Args<'_>, how: Combine) -> Result<Reply, RedisError> {
    let mut request = parse(cx, args, 1, how, false)?;
    let found = combined(cx, &mut request, how)?;
    Ok(members_reply(found, request.with_scores, cx.session.version))
}

fn reply_stored(cx: &mut Context<'_, '_>, args: Args<'_>, how: Combine) -> Result<Reply, RedisError> {
    let mut request = parse(cx, args, 2, how, false)?;
    let found = combined(cx, &mut request, how)?;
    store(cx, args.at(1), found)
}

pub(super) fn zunion(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply(cx, args, Combine::Union)
}

pub(super) fn zinter(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply(cx, args, Combine::Inter)
}

pub(super) fn zdiff(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply(cx, args, Combine::Diff)
}

pub(super) fn zintercard(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut request = parse(cx, args, 1, Combine::Inter, true)?;
    Ok(Reply::count(combined(cx, &mut request, Combine::Inter)?.len()))
}

pub(super) fn zunionstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply_stored(cx, args, Combine::Union)
}

pub(super) fn zinterstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply_stored(cx, args, Combine::Inter)
}

pub(super) fn zdiffstore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    reply_stored(cx, args, Combine::Diff)
}
