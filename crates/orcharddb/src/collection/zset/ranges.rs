//! Which members, and which keys, lie between two bounds.

use super::{Scored, ZPage, ZRange, order};
use crate::collection::layout::{self, BY_SCORE};
use bytes::Bytes;
use orchard_types::key::prefix_end;
use orchard_types::{CollectionId, Key, KeyRange};
use std::cmp::Ordering;
use std::ops::Bound;

pub(super) fn below(score: f64, max: &Bound<f64>) -> bool {
    match max {
        Bound::Included(max) => score <= *max,
        Bound::Excluded(max) => score < *max,
        Bound::Unbounded => true,
    }
}

pub(super) fn above(score: f64, min: &Bound<f64>) -> bool {
    match min {
        Bound::Included(min) => score >= *min,
        Bound::Excluded(min) => score > *min,
        Bound::Unbounded => true,
    }
}

pub(super) fn name_below(name: &[u8], max: &Bound<Bytes>) -> bool {
    match max {
        Bound::Included(max) => name <= max.as_ref(),
        Bound::Excluded(max) => name < max.as_ref(),
        Bound::Unbounded => true,
    }
}

pub(super) fn name_above(name: &[u8], min: &Bound<Bytes>) -> bool {
    match min {
        Bound::Included(min) => name >= min.as_ref(),
        Bound::Excluded(min) => name > min.as_ref(),
        Bound::Unbounded => true,
    }
}

/// The keys of the scores between two bounds.
pub(super) fn scores(id: CollectionId, min: Bound<f64>, max: Bound<f64>) -> KeyRange {
    let family = layout::family(id, BY_SCORE);
    let prefix = |score: f64| [id.as_ref(), &[BY_SCORE], &layout::score_bytes(score)].concat();
    let start = match min {
        Bound::Included(min) => prefix(min).into(),
        Bound::Excluded(min) => prefix_end(&prefix(min)).unwrap_or_default(),
        Bound::Unbounded => family.start,
    };
    let end = match max {
        Bound::Included(max) => prefix_end(&prefix(max)),
        Bound::Excluded(max) => Some(prefix(max).into()),
        Bound::Unbounded => family.end,
    };
    KeyRange { start, end }
}

/// The keys of the names between two bounds, at one score. Bounds that are too long for a key have to be looked at element
/// by element, too.
pub(super) fn names(id: CollectionId, score: f64, min: &Bound<Bytes>, max: &Bound<Bytes>) -> KeyRange {
    let prefix = [id.as_ref(), &[BY_SCORE], &layout::score_bytes(score)].concat();
    let bound = |name: &Bytes| [&prefix[..], &layout::name_in_key(name)].concat();
    let family = layout::family(id, BY_SCORE);
    let start = match min {
        Bound::Included(name) | Bound::Excluded(name) => bound(name).into(),
        Bound::Unbounded => family.start,
    };
    let end = match max {
        Bound::Included(name) | Bound::Excluded(name) => prefix_end(&bound(name)),
        Bound::Unbounded => family.end,
    };
    KeyRange { start, end }
}

/// Whether a member lies behind the one that the page goes on behind.
pub(super) fn is_behind<T>(member: &Scored, page: &ZPage<T>) -> bool {
    let wanted = if page.reverse { Ordering::Less } else { Ordering::Greater };
    page.after.as_ref().is_none_or(|after| order(member, after) == wanted)
}

/// What of a range of keys lies behind the member that the page goes on behind.
pub(super) fn behind<T>(id: CollectionId, mut range: KeyRange, page: &ZPage<T>) -> KeyRange {
    let Some((name, score)) = &page.after else { return range };
    let key = by_score(id, name, *score);
    if page.reverse {
        let end = key.into_bytes();
        range.end = Some(range.end.map_or(end.clone(), |found| found.min(end)));
    } else {
        range.start = range.start.max([key.as_ref(), &[0][..]].concat().into());
    }
    range
}

/// The run of members between two names, as Redis walks it: from the first that is not below `min` (from the end: not above
/// `max`), passing over what is to be skipped, up to the first behind the other bound.
pub(super) fn run_by_name(
    members: &[Scored],
    min: &Bound<Bytes>,
    max: &Bound<Bytes>,
    which: &ZRange,
) -> Vec<Scored> {
    let is_empty = match (min, max) {
        (Bound::Included(min), Bound::Included(max)) => min > max,
        (Bound::Included(min) | Bound::Excluded(min), Bound::Included(max) | Bound::Excluded(max)) => {
            min >= max
        }
        _ => false,
    };
    let reaches = members.last().is_some_and(|(name, _)| name_above(name, min))
        && members.first().is_some_and(|(name, _)| name_below(name, max));
    if is_empty || !reaches {
        return Vec::new();
    }
    fn walk<'a>(
        members: impl Iterator<Item = &'a Scored>,
        begins: impl Fn(&[u8]) -> bool,
        goes_on: impl Fn(&[u8]) -> bool,
        which: &ZRange,
    ) -> Vec<Scored> {
        let mut run = members.skip_while(|(name, _)| !begins(name)).peekable();
        if !run.peek().is_some_and(|(name, _)| goes_on(name)) {
            return Vec::new();
        }
        let run = run.skip(which.skip).take_while(|(name, _)| goes_on(name));
        run.take(which.limit.unwrap_or(usize::MAX)).cloned().collect()
    }
    let (above, below) = (|name: &[u8]| name_above(name, min), |name: &[u8]| name_below(name, max));
    match which.reverse {
        false => walk(members.iter(), above, below, which),
        true => walk(members.iter().rev(), below, above, which),
    }
}

/// The members that `which` asks for.
pub(super) fn pick<'a>(inside: impl DoubleEndedIterator<Item = &'a Scored>, which: &ZRange) -> Vec<Scored> {
    let limit = which.limit.unwrap_or(usize::MAX);
    if which.reverse {
        inside.rev().skip(which.skip).take(limit).cloned().collect()
    } else {
        inside.skip(which.skip).take(limit).cloned().collect()
    }
}

/// The key of a member's element by score.
pub(super) fn by_score(id: CollectionId, name: &[u8], score: f64) -> Key {
    layout::key(id, &[&[BY_SCORE], &layout::score_bytes(score), &layout::name_in_key(name)])
}
