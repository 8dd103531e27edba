//! One look at the elements of a collection as data: some by name, or a page of them in order. It costs what it returns.

use super::{Field, Hash, Member, Scored, ScoredMember, ZSet};
use crate::error::Error;
use crate::snapshot::Snapshot;
use bytes::Bytes;
use orchard_types::{Key, LimitError, SpaceId, Value, limits};
use std::ops::Bound;

/// A page of a hash ends when it has so many bytes of names and values; fields asked for by name have no more.
const PAGE_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Fields read at once: few at first, since their size is not known.
const STEP_FIELDS: (usize, usize) = (8, 128);

/// Which elements of a collection.
#[derive(Debug, Clone, PartialEq)]
pub enum Look {
    /// Elements of a list from one index to another; negative ones count from the end.
    Indexes(i64, i64),
    /// Fields of a hash, by name.
    Fields(Vec<Bytes>),
    /// Fields of a hash behind one, in the order of their names' bytes (long names apart).
    FieldsAfter(Option<Bytes>, usize),
    /// Those of these names that are members of a set.
    Members(Vec<Bytes>),
    /// Members of a set behind one, in the order of their bytes (long names apart).
    MembersAfter(Option<Bytes>, usize),
    /// Members of a sorted set, by name.
    Scores(Vec<Bytes>),
    /// Members of a sorted set from one rank to another; negative ones count from the end.
    Ranks(i64, i64),
    /// Members of a sorted set with scores between two bounds.
    ByScore(ZPage<f64>),
    /// Members of a sorted set with names between two bounds, all members having one score.
    ByName(ZPage<Bytes>),
}

/// A page of a sorted set.
#[derive(Debug, Clone, PartialEq)]
pub struct ZPage<T> {
    /// Lower bound.
    pub min: Bound<T>,
    /// Upper bound.
    pub max: Bound<T>,
    /// From the last one down.
    pub reverse: bool,
    /// Behind this member, in the direction of the page.
    pub after: Option<Scored>,
    /// Most members.
    pub limit: usize,
}

/// The elements that a [`Look`] found.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Of a list.
    Values(Vec<Value>),
    /// Of a hash.
    Fields(Vec<Field>),
    /// Of a set.
    Members(Vec<Member>),
    /// Of a sorted set.
    Scored(Vec<ScoredMember>),
}

/// What a [`Look`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The elements.
    pub elements: Elements,
    /// How many the collection has.
    pub length: u64,
    /// Whether there are more behind them.
    pub has_more: bool,
}

/// Cuts what was read one over the limit.
fn cut<T>(mut found: Vec<T>, limit: usize) -> (Vec<T>, bool) {
    let has_more = found.len() > limit;
    found.truncate(limit);
    (found, has_more)
}

fn fields_after(
    hash: &mut Hash<Snapshot>,
    after: Option<&Bytes>,
    limit: usize,
) -> Result<(Vec<Field>, bool), Error> {
    if hash.is_packed() {
        let mut fields = hash.page_expiring(None, usize::MAX)?;
        fields.retain(|field| after.is_none_or(|after| field.name > after));
        fields.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        return Ok(cut(fields, limit));
    }
    let (mut step, step_max) = STEP_FIELDS;
    let (mut found, mut bytes): (Vec<Field>, usize) = (Vec::new(), 0);
    loop {
        let wanted = step.min(limit.saturating_sub(found.len()).saturating_add(1));
        let last = found.last().map(|field| field.name.clone()).or_else(|| after.cloned());
        let page = hash.page_expiring(last.as_deref(), wanted)?;
        let is_last = page.len() < wanted;
        for field in page {
            if found.len() >= limit || bytes >= PAGE_SIZE_BYTES_MAX {
                return Ok((found, true));
            }
            bytes += field.name.len() + field.value.data.len();
            found.push(field);
        }
        if is_last {
            return Ok((found, false));
        }
        step = (step * 2).min(step_max);
    }
}

fn fields(hash: &mut Hash<Snapshot>, names: &[Bytes]) -> Result<Vec<Field>, Error> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for name in names {
        let Some((value, expires_at)) = hash.get_expiring(name)? else { continue };
        bytes += name.len() + value.data.len();
        if !found.is_empty() {
            LimitError::check("fields_size_bytes", PAGE_SIZE_BYTES_MAX, bytes)?;
        }
        found.push(Field { name: name.clone(), value, expires_at });
    }
    Ok(found)
}

fn scores(zset: &mut ZSet<Snapshot>, names: &[Bytes]) -> Result<Vec<ScoredMember>, Error> {
    names.iter().filter_map(|name| zset.get_expiring(name).transpose()).collect()
}

/// Number of positions from `start` to `stop`.
fn number(start: i64, stop: i64, length: u64) -> usize {
    let at = |position: i64| match position {
        ..0 => length.saturating_sub(position.unsigned_abs()),
        _ => position.unsigned_abs(),
    };
    let end =
        if stop < 0 && stop.unsigned_abs() > length { 0 } else { at(stop).saturating_add(1).min(length) };
    usize::try_from(end.saturating_sub(at(start))).unwrap_or(usize::MAX)
}

fn check_number(start: i64, stop: i64, length: u64) -> Result<(), Error> {
    Ok(LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, number(start, stop, length))?)
}

impl Snapshot {
    /// Looks at elements of the collection at a key; an absent one has none.
    ///
    /// ```
    /// use orcharddb::{Db, Error, SpaceId, collection::{Elements, Look, Member}};
    /// let db = Db::memory()?;
    /// db.set("colours").insert("red")?;
    /// let look = Look::MembersAfter(None, 10);
    /// let found = db.snapshot().look_in(SpaceId::DEFAULT, Db::key("colours")?, &look)?;
    /// assert_eq!(found.elements, Elements::Members(vec![Member { name: "red".into(), expires_at: None }]));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Collection`] if the key holds something else; [`Error::Key`] with the limit if that is too much at once;
    /// [`Error::Read`]
    pub fn look_in(&self, space: SpaceId, key: Key, look: &Look) -> Result<Found, Error> {
        let found = |elements, length, has_more| Found { elements, length, has_more };
        Ok(match look {
            Look::Indexes(start, stop) => {
                let mut list = self.list_in(space, key)?;
                check_number(*start, *stop, list.len())?;
                found(Elements::Values(list.range(*start, *stop)?), list.len(), false)
            }
            Look::Fields(names) => {
                let mut hash = self.hash_in(space, key)?;
                found(Elements::Fields(fields(&mut hash, names)?), hash.len()?, false)
            }
            Look::FieldsAfter(after, limit) => {
                let mut hash = self.hash_in(space, key)?;
                let (fields, has_more) = fields_after(&mut hash, after.as_ref(), *limit)?;
                found(Elements::Fields(fields), hash.len()?, has_more)
            }
            Look::Members(names) => {
                let mut set = self.set_in(space, key)?;
                let members = names.iter().filter_map(|name| set.get_expiring(name).transpose());
                let members = members.collect::<Result<Vec<Member>, Error>>()?;
                found(Elements::Members(members), set.len()?, false)
            }
            Look::MembersAfter(after, limit) => {
                let mut set = self.set_in(space, key)?;
                let (members, has_more) =
                    cut(set.page_expiring(after.as_deref(), limit.saturating_add(1))?, *limit);
                found(Elements::Members(members), set.len()?, has_more)
            }
            Look::Scores(names) => {
                let mut zset = self.zset_in(space, key)?;
                found(Elements::Scored(scores(&mut zset, names)?), zset.len()?, false)
            }
            Look::Ranks(start, stop) => {
                let mut zset = self.zset_in(space, key)?;
                check_number(*start, *stop, zset.len()?)?;
                found(Elements::Scored(zset.range_expiring(*start, *stop)?), zset.len()?, false)
            }
            Look::ByScore(page) => {
                let mut zset = self.zset_in(space, key)?;
                let (members, has_more) = cut(zset.page_by_score(page)?, page.limit);
                found(Elements::Scored(members), zset.len()?, has_more)
            }
            Look::ByName(page) => {
                let mut zset = self.zset_in(space, key)?;
                let (members, has_more) = cut(zset.page_by_name(page)?, page.limit);
                found(Elements::Scored(members), zset.len()?, has_more)
            }
        })
    }
}
