//! Ranges of sorted sets: by rank, by score, by name.

use super::common::{double, integer};
use super::sorted_sets::{members_reply, zset};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::collection::{Scored, ZRange};
use std::ops::Bound;

/// Which members.
enum Range {
    Rank(i64, i64),
    Score(Bound<f64>, Bound<f64>),
    /// `None`: no name lies in it.
    Name(Option<(Bound<Bytes>, Bound<Bytes>)>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

fn score_bound(text: &[u8]) -> Result<Bound<f64>, RedisError> {
    let (digits, is_excluded) = match text.strip_prefix(b"(") {
        Some(digits) => (digits, true),
        None => (text, false),
    };
    // C reads nothing as zero.
    let score = if digits.is_empty() { Some(0.0) } else { double(digits) };
    let score = score.ok_or_else(|| RedisError::err("min or max is not a float"))?;
    Ok(if is_excluded { Bound::Excluded(score) } else { Bound::Included(score) })
}

fn score_range(min: &[u8], max: &[u8]) -> Result<Range, RedisError> {
    Ok(Range::Score(score_bound(min)?, score_bound(max)?))
}

/// `None`: behind all names as a lower bound, before all as an upper.
fn name_bound(text: &[u8], open: &[u8], shut: &[u8]) -> Result<Option<Bound<Bytes>>, RedisError> {
    match text.split_first() {
        _ if text == open => Ok(Some(Bound::Unbounded)),
        _ if text == shut => Ok(None),
        Some((b'(', name)) => Ok(Some(Bound::Excluded(Bytes::copy_from_slice(name)))),
        Some((b'[', name)) => Ok(Some(Bound::Included(Bytes::copy_from_slice(name)))),
        _ => Err(RedisError::err("min or max not valid string range item")),
    }
}

fn name_range(min: &[u8], max: &[u8]) -> Result<Range, RedisError> {
    let (min, max) = (name_bound(min, b"-", b"+")?, name_bound(max, b"+", b"-")?);
    Ok(Range::Name(min.zip(max)))
}

/// The members of a range.
fn find(
    cx: &mut Context<'_, '_>,
    name: &[u8],
    range: &Range,
    which: &ZRange,
) -> Result<Vec<Scored>, RedisError> {
    let mut zset = zset(cx, name)?;
    Ok(match range {
        Range::Rank(start, stop) if which.reverse => {
            // Ranks from the other end.
            let length = zset.len()? as i64;
            let from_end = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
            let (first, last) = (from_end(*start).max(0), from_end(*stop).min(length - 1));
            if first > last {
                Vec::new()
            } else {
                let mut found = zset.range(length - 1 - last, length - 1 - first)?;
                found.reverse();
                found
            }
        }
        Range::Rank(start, stop) => zset.range(*start, *stop)?,
        Range::Score(min, max) => zset.range_by_score(*min, *max, which)?,
        Range::Name(None) => Vec::new(),
        Range::Name(Some((min, max))) => zset.range_by_name(min, max, which)?,
    })
}

pub(super) fn zcount(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (min, max) = (score_bound(args.at(2))?, score_bound(args.at(3))?);
    Ok(Reply::Integer(zset(cx, args.at(1))?.count_by_score(min, max)? as i64))
}

pub(super) fn zlexcount(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let range = name_range(args.at(2), args.at(3))?;
    Ok(Reply::count(find(cx, args.at(1), &range, &ZRange::default())?.len()))
}

/// Parses a range and its options, the key standing at `at`; `by` and `reverse` if the command's name says them.
fn select(
    args: Args<'_>,
    at: usize,
    mut by: Option<By>,
    mut reverse: Option<bool>,
    stores: bool,
) -> Result<(Range, ZRange, bool), RedisError> {
    let mut with_scores = false;
    let (mut offset, mut limit) = (0, -1);
    let mut next = at + 3;
    while let Some(option) = args.get(next) {
        match option.to_ascii_lowercase().as_slice() {
            b"withscores" if !stores => with_scores = true,
            b"limit" if next + 2 < args.len() => {
                (offset, limit) = (integer(args.at(next + 1))?, integer(args.at(next + 2))?);
                next += 2;
            }
            b"rev" if reverse.is_none() => reverse = Some(true),
            b"bylex" if by.is_none() => by = Some(By::Name),
            b"byscore" if by.is_none() => by = Some(By::Score),
            _ => return Err(RedisError::SYNTAX),
        }
        next += 1;
    }
    let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
    if limit != -1 && by == By::Rank {
        return Err(RedisError::err(
            "syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        ));
    }
    if with_scores && by == By::Name {
        return Err(RedisError::err("syntax error, WITHSCORES not supported in combination with BYLEX"));
    }
    let (mut min, mut max) = (args.at(at + 1), args.at(at + 2));
    if reverse && by != By::Rank {
        std::mem::swap(&mut min, &mut max);
    }
    let range = match by {
        By::Rank => Range::Rank(integer(min)?, integer(max)?),
        By::Score => score_range(min, max)?,
        By::Name => name_range(min, max)?,
    };
    let which = ZRange {
        reverse,
        // A negative offset passes over everything, a negative limit is none.
        skip: usize::try_from(offset).unwrap_or(usize::MAX),
        limit: usize::try_from(limit).ok(),
    };
    Ok((range, which, with_scores))
}

fn range_reply(
    cx: &mut Context<'_, '_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Result<Reply, RedisError> {
    let (range, which, with_scores) = select(args, 1, by, reverse, false)?;
    let found = find(cx, args.at(1), &range, &which)?;
    Ok(members_reply(found, with_scores, cx.session.version))
}

pub(super) fn zrange(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, None, None)
}

pub(super) fn zrevrange(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, Some(By::Rank), Some(true))
}

pub(super) fn zrangebyscore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, Some(By::Score), Some(false))
}

pub(super) fn zrevrangebyscore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, Some(By::Score), Some(true))
}

pub(super) fn zrangebylex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, Some(By::Name), Some(false))
}

pub(super) fn zrevrangebylex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    range_reply(cx, args, Some(By::Name), Some(true))
}

pub(super) fn zrangestore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (range, which, _) = select(args, 2, None, None, true)?;
    let found = find(cx, args.at(2), &range, &which)?;
    store(cx, args.at(1), found)
}

/// Replaces whatever a key holds by these members; their number.
pub(super) fn store(
    cx: &mut Context<'_, '_>,
    name: &[u8],
    members: Vec<Scored>,
) -> Result<Reply, RedisError> {
    let key = cx.key(name)?;
    cx.delete(key);
    if members.is_empty() {
        return Ok(Reply::Integer(0));
    }
    let count = zset(cx, name)?.extend(members)?;
    Ok(Reply::Integer(count as i64))
}

fn remove(cx: &mut Context<'_, '_>, args: Args<'_>, range: &Range) -> Result<Reply, RedisError> {
    let found = find(cx, args.at(1), range, &ZRange::default())?;
    zset(cx, args.at(1))?.remove_found(&found)?;
    Ok(Reply::count(found.len()))
}

pub(super) fn zremrangebyrank(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let range = Range::Rank(integer(args.at(2))?, integer(args.at(3))?);
    remove(cx, args, &range)
}

pub(super) fn zremrangebyscore(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let range = score_range(args.at(2), args.at(3))?;
    remove(cx, args, &range)
}

pub(super) fn zremrangebylex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let range = name_range(args.at(2), args.at(3))?;
    remove(cx, args, &range)
}
