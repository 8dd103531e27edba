//! The query strings of looks at collections.

use super::{Shape, found, score};
use crate::percent;
use crate::problem::{Kind, Problem};
use crate::query::Parameters;
use bytes::Bytes;
use orcharddb::collection::{Look, ZPage};
use orcharddb::{LimitError, limits};
use std::ops::Bound;

/// A lower and an upper bound.
type Bounds<T> = (Bound<T>, Bound<T>);

/// The bounds that four parameters name; `None` without any of them.
fn bounds<T>(
    parameters: &mut Parameters,
    names: [&'static str; 4],
    mut take: impl FnMut(&mut Parameters, &'static str) -> Result<Option<T>, Problem>,
) -> Result<Option<Bounds<T>>, Problem> {
    let [least, above, most, below] = names;
    let mut one = |inclusive, exclusive| {
        Ok(match (take(parameters, inclusive)?, take(parameters, exclusive)?) {
            (None, None) => None,
            (Some(bound), None) => Some(Bound::Included(bound)),
            (None, Some(bound)) => Some(Bound::Excluded(bound)),
            (Some(_), Some(_)) => {
                let detail = format!("{inclusive} and {exclusive} exclude each other");
                return Err(Problem::new(Kind::BadQuery, detail));
            }
        })
    };
    let (min, max) = (one(least, above)?, one(most, below)?);
    if min.is_none() && max.is_none() {
        return Ok(None);
    }
    Ok(Some((min.unwrap_or(Bound::Unbounded), max.unwrap_or(Bound::Unbounded))))
}

const SCORE_BOUNDS: [&str; 4] = ["min_score", "above_score", "max_score", "below_score"];
const MEMBER_BOUNDS: [&str; 4] = ["min_member", "above_member", "max_member", "below_member"];

fn position(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "not a whole number".to_owned())
}

fn names(parameters: &mut Parameters, name: &'static str) -> Result<Vec<Bytes>, Problem> {
    Ok(parameters.take_all(name)?.into_iter().map(Bytes::from).collect())
}

fn alone(what: &str) -> Problem {
    Problem::new(Kind::BadQuery, format!("{what} goes with no other choice of elements"))
}

/// Takes the parameters that choose elements, `limit` and `cursor` included. `field` and `member` may repeat.
///
/// # Errors
/// [`Kind::BadQuery`], [`Kind::BadCursor`], [`Kind::LimitExceeded`]
pub fn take_look(shape: Shape, parameters: &mut Parameters) -> Result<Look, Problem> {
    if shape == Shape::List {
        let start = parameters.take_with("start", position)?.unwrap_or(0);
        let stop = parameters.take_with("stop", position)?.unwrap_or(-1);
        return Ok(Look::Indexes(start, stop));
    }
    let limit = parameters.take_with("limit", |text| match text.parse::<usize>() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("not a positive number".to_owned()),
    })?;
    if let Some(limit) = limit {
        LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, limit)?;
    }
    let cursor = parameters.take("cursor")?;
    let pages = limit.is_some() || cursor.is_some();
    let limit = limit.unwrap_or(limits::RANGE_LIMIT_DEFAULT);
    let after = |cursor: Option<Vec<u8>>| cursor.map(|text| found::parse_name_cursor(&text)).transpose();
    match shape {
        Shape::List => Ok(Look::Indexes(0, -1)),
        Shape::Hash => {
            let names = names(parameters, "field")?;
            match names.is_empty() {
                true => Ok(Look::FieldsAfter(after(cursor)?, limit)),
                false if pages => Err(alone("field")),
                false => Ok(Look::Fields(names)),
            }
        }
        Shape::Set => {
            let names = names(parameters, "member")?;
            match names.is_empty() {
                true => Ok(Look::MembersAfter(after(cursor)?, limit)),
                false if pages => Err(alone("member")),
                false => Ok(Look::Members(names)),
            }
        }
        Shape::ZSet => {
            let names = names(parameters, "member")?;
            let reverse = parameters.take_flag("reverse")?;
            let start = parameters.take_with("start", position)?;
            let stop = parameters.take_with("stop", position)?;
            let by_score =
                bounds(parameters, SCORE_BOUNDS, |parameters, name| parameters.take_with(name, score))?;
            let by_name = bounds(parameters, MEMBER_BOUNDS, |parameters, name| {
                Ok(parameters.take(name)?.map(Bytes::from))
            })?;
            let by_rank = start.is_some() || stop.is_some();
            let ranges =
                usize::from(by_rank) + usize::from(by_score.is_some()) + usize::from(by_name.is_some());
            if !names.is_empty() {
                let others = pages || reverse || ranges > 0;
                return if others { Err(alone("member")) } else { Ok(Look::Scores(names)) };
            }
            if ranges > 1 {
                return Err(alone("a range of ranks, scores or members"));
            }
            if by_rank {
                if pages || reverse {
                    return Err(Problem::new(
                        Kind::BadQuery,
                        "start and stop go without limit, cursor and reverse",
                    ));
                }
                return Ok(Look::Ranks(start.unwrap_or(0), stop.unwrap_or(-1)));
            }
            let after = cursor.map(|text| found::parse_scored_cursor(&text)).transpose()?;
            Ok(match by_name {
                Some((min, max)) => Look::ByName(ZPage { min, max, reverse, after, limit }),
                None => {
                    let (min, max) = by_score.unwrap_or((Bound::Unbounded, Bound::Unbounded));
                    Look::ByScore(ZPage { min, max, reverse, after, limit })
                }
            })
        }
    }
}

fn score_text(score: f64) -> String {
    format!("{score:?}")
}

/// The query string that [`take_look`] reads back, for clients.
pub fn render_look(look: &Look) -> Vec<String> {
    let mut query = Vec::new();
    let mut add = |name: &str, value: &[u8]| query.push(format!("{name}={}", percent::encode(value)));
    match look {
        Look::Indexes(start, stop) | Look::Ranks(start, stop) => {
            add("start", start.to_string().as_bytes());
            add("stop", stop.to_string().as_bytes());
        }
        Look::Fields(names) => names.iter().for_each(|name| add("field", name)),
        Look::Members(names) | Look::Scores(names) => names.iter().for_each(|name| add("member", name)),
        Look::FieldsAfter(after, limit) | Look::MembersAfter(after, limit) => {
            add("limit", limit.to_string().as_bytes());
            if let Some(after) = after {
                add("cursor", found::name_cursor(after).as_bytes());
            }
        }
        Look::ByScore(ZPage { min, max, reverse, after, limit }) => {
            let [least, above, most, below] = SCORE_BOUNDS;
            for (inclusive, exclusive, bound) in [(least, above, min), (most, below, max)] {
                match bound {
                    Bound::Included(bound) => add(inclusive, score_text(*bound).as_bytes()),
                    Bound::Excluded(bound) => add(exclusive, score_text(*bound).as_bytes()),
                    Bound::Unbounded => {}
                }
            }
            add("reverse", reverse.to_string().as_bytes());
            add("limit", limit.to_string().as_bytes());
            if let Some(after) = after {
                add("cursor", found::scored_cursor(after).as_bytes());
            }
        }
        Look::ByName(ZPage { min, max, reverse, after, limit }) => {
            let [least, above, most, below] = MEMBER_BOUNDS;
            // Without a bound it would be a range of scores.
            let min = if matches!((min, max), (Bound::Unbounded, Bound::Unbounded)) {
                &Bound::Included(Bytes::new())
            } else {
                min
            };
            for (inclusive, exclusive, bound) in [(least, above, min), (most, below, max)] {
                match bound {
                    Bound::Included(bound) => add(inclusive, bound),
                    Bound::Excluded(bound) => add(exclusive, bound),
                    Bound::Unbounded => {}
                }
            }
            add("reverse", reverse.to_string().as_bytes());
            add("limit", limit.to_string().as_bytes());
            if let Some(after) = after {
                add("cursor", found::scored_cursor(after).as_bytes());
            }
        }
    }
    query
}
