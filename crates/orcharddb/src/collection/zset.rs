//! Sorted sets: names with a number each, in order of (number, name).
//!
//! - Elements lie twice: by name, with the score as value, and by score and name, so that ranges by score, by name among
//!   equal scores and by rank are ranges of keys.
//! - Of a member that expires of its own the element by score is an entry that expires then.
//! - Finding a rank costs the way from the nearer end; a range by rank costs that and what it returns.

mod ranges;
mod write;

use self::ranges::{
    above, behind, below, by_score, is_behind, name_above, name_below, names, pick, run_by_name, scores,
};
use super::layout::{self, BY_SCORE};
use super::list::clamp;
use super::look::ZPage;
use super::named::Named;
use super::state::State;
use super::view::View;
use crate::error::{CollectionError, Error};
use crate::scan::ScanOptions;
use bytes::Bytes;
use orchard_types::{Entry, Key, KeyRange, SpaceId, UnixMillis, Value, ValueType};
use std::cmp::Ordering;
use std::ops::Bound;

/// A name and its score.
pub type Scored = (Bytes, f64);

/// A member of a sorted set.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredMember {
    /// Its name.
    pub name: Bytes,
    /// Its score.
    pub score: f64,
    /// When it expires, if it does so of its own.
    pub expires_at: Option<UnixMillis>,
}

impl From<Scored> for ScoredMember {
    fn from((name, score): Scored) -> ScoredMember {
        ScoredMember { name, score, expires_at: None }
    }
}

impl From<ScoredMember> for Scored {
    fn from(member: ScoredMember) -> Scored {
        (member.name, member.score)
    }
}

fn members(scored: Vec<Scored>) -> Vec<ScoredMember> {
    scored.into_iter().map(ScoredMember::from).collect()
}

fn without_expiry(members: Vec<ScoredMember>) -> Vec<Scored> {
    members.into_iter().map(Scored::from).collect()
}

/// What adding a member did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is new.
    New,
    /// It was there with another score.
    Moved,
    /// It was there with this score.
    Same,
}

/// Which members of a sorted set, and in which direction.
#[derive(Debug, Clone, Default)]
pub struct ZRange {
    /// From the last one down.
    pub reverse: bool,
    /// Members passed over first.
    pub skip: usize,
    /// Most members; `None`: all.
    pub limit: Option<usize>,
}

/// A sorted set, read through a snapshot or a transaction. It is absent exactly if it is empty.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// db.transact(|tx| {
///     let mut scores = tx.zset("scores")?;
///     scores.insert("ada", 12.0)?;
///     scores.insert("bob", 7.5)?;
///     assert_eq!(scores.rank("ada")?, Some(1));
///     Ok(())
/// })?;
/// assert_eq!(db.zset("scores").range(0, -1)?, [("bob".into(), 7.5), ("ada".into(), 12.0)]);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct ZSet<V> {
    view: V,
    space: SpaceId,
    key: Key,
    state: State<Scored>,
}

fn order(a: &Scored, b: &Scored) -> Ordering {
    (a.1 + 0.0).total_cmp(&(b.1 + 0.0)).then_with(|| a.0.cmp(&b.0))
}

fn damaged(detail: &str) -> Error {
    CollectionError::Damaged(detail.to_owned()).into()
}

fn score_of_value(value: &Value) -> Result<f64, Error> {
    let bytes = value.data.as_ref().try_into().map_err(|_| damaged("a score is not 8 bytes"))?;
    Ok(f64::from_le_bytes(bytes))
}

/// The member of an element of the family by score.
fn scored(entry: Entry) -> Result<ScoredMember, Error> {
    let behind = layout::behind_family(&entry.key);
    let score = behind.get(..8).and_then(|bytes| bytes.try_into().ok());
    let score = layout::score_of(score.ok_or_else(|| damaged("an element's key has no score"))?);
    let (name, _) = layout::split_element(behind.slice(8..), entry.value)?;
    Ok(ScoredMember { name, score, expires_at: entry.expires_at })
}

impl<V: View> ZSet<V> {
    pub(super) fn open(mut view: V, space: SpaceId, key: Key) -> Result<ZSet<V>, Error> {
        let state = State::open(&mut view, space, &key, ValueType::ZSet, |reader| {
            let score = f64::from_le_bytes(reader.word()?);
            Ok((reader.name()?, score))
        })?;
        Ok(ZSet { view, space, key, state })
    }

    /// Number of members. It costs the number of those that have expired and are not taken away yet.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn len(&mut self) -> Result<u64, Error> {
        self.state.len(&mut self.view)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        self.state.is_empty(&mut self.view)
    }

    /// Whether nothing is at its key; a collection that has lost its last element is not there either.
    pub fn is_absent(&self) -> bool {
        self.state.is_absent()
    }

    /// Whether the sorted set is one value.
    pub fn is_packed(&self) -> bool {
        self.state.is_packed()
    }

    /// The score of a member.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn score(&mut self, name: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        Ok(self.found(name.as_ref())?.map(|(score, _)| score))
    }

    /// The member of this name, with its score and the time at which it expires of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get_expiring(&mut self, name: impl AsRef<[u8]>) -> Result<Option<ScoredMember>, Error> {
        let name = name.as_ref();
        Ok(self.found(name)?.map(|(score, expires_at)| ScoredMember {
            name: Bytes::copy_from_slice(name),
            score,
            expires_at,
        }))
    }

    /// Score and time of expiry of a member.
    fn found(&mut self, name: &[u8]) -> Result<Option<(f64, Option<UnixMillis>)>, Error> {
        match &self.state {
            State::Packed(members) => {
                let found = members.iter().find(|(member, _)| member.as_ref() == name);
                Ok(found.map(|(_, score)| (*score, None)))
            }
            State::Elements(named) => {
                let now = self.view.time();
                let held = named.held(&mut self.view, name)?.and_then(|held| held.at(now));
                held.map(|(value, at)| Ok((score_of_value(&value)?, at))).transpose()
            }
        }
    }

    /// How many members stand before `name`; `None` if it is none. Costs as many steps.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn rank(&mut self, name: impl AsRef<[u8]>) -> Result<Option<u64>, Error> {
        let name = name.as_ref();
        let Some(score) = self.score(name)? else { return Ok(None) };
        match &self.state {
            State::Packed(members) => {
                Ok(members.iter().position(|(member, _)| member.as_ref() == name).map(|rank| rank as u64))
            }
            State::Elements(Named { id, .. }) => {
                let end = by_score(*id, name, score).into_bytes();
                let range = KeyRange { start: layout::family(*id, BY_SCORE).start, end: Some(end) };
                Ok(Some(self.count_keys(range)?))
            }
        }
    }

    fn count_keys(&mut self, mut range: KeyRange) -> Result<u64, Error> {
        const PAGE: usize = 4_096;
        let mut count = 0;
        loop {
            let options = ScanOptions { keys_only: true, limit: Some(PAGE), ..ScanOptions::default() };
            let page = self.view.entries(SpaceId::ELEMENTS, range.clone(), options)?;
            count += page.len() as u64;
            match page.last() {
                Some(last) if page.len() == PAGE => range.start = [&last.key, &[0][..]].concat().into(),
                _ => return Ok(count),
            }
        }
    }

    /// The members at ranks `start..=stop`; negative ranks count from the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn range(&mut self, start: i64, stop: i64) -> Result<Vec<Scored>, Error> {
        Ok(without_expiry(self.range_expiring(start, stop)?))
    }

    /// As [`ZSet::range`], with the time at which each member expires of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn range_expiring(&mut self, start: i64, stop: i64) -> Result<Vec<ScoredMember>, Error> {
        let length = self.len()?;
        let (first, number) = clamp(start, stop, length);
        let (skip, limit) = (first as usize, usize::try_from(number).unwrap_or(usize::MAX));
        if number == 0 {
            return Ok(Vec::new());
        }
        let behind = (length - first - number) as usize;
        let reverse = behind < skip;
        let skip = skip.min(behind);
        let which = ZRange { reverse, skip, limit: Some(limit) };
        let mut found = self.members_by_score(Bound::Unbounded, Bound::Unbounded, &which)?;
        if reverse {
            found.reverse();
        }
        Ok(found)
    }

    /// The members with scores between two bounds.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn range_by_score(
        &mut self,
        min: Bound<f64>,
        max: Bound<f64>,
        which: &ZRange,
    ) -> Result<Vec<Scored>, Error> {
        Ok(without_expiry(self.members_by_score(min, max, which)?))
    }

    fn members_by_score(
        &mut self,
        min: Bound<f64>,
        max: Bound<f64>,
        which: &ZRange,
    ) -> Result<Vec<ScoredMember>, Error> {
        match &self.state {
            State::Packed(all) => {
                let inside = all.iter().filter(|(_, score)| above(*score, &min) && below(*score, &max));
                Ok(members(pick(inside, which)))
            }
            State::Elements(Named { id, .. }) => {
                let range = scores(*id, min, max);
                self.pick_elements(range, which, |_| true)
            }
        }
    }

    /// Number of members with scores between two bounds. Costs as many steps.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn count_by_score(&mut self, min: Bound<f64>, max: Bound<f64>) -> Result<u64, Error> {
        match &self.state {
            State::Packed(members) => {
                let inside = members.iter().filter(|(_, score)| above(*score, &min) && below(*score, &max));
                Ok(inside.count() as u64)
            }
            State::Elements(Named { id, .. }) => {
                let range = scores(*id, min, max);
                if range.is_empty() { Ok(0) } else { self.count_keys(range) }
            }
        }
    }

    /// The members with names between two bounds, all members having the same score; else it is the run of members, in
    /// order of (score, name), from the first that is not below `min` up to the first that is above `max`.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn range_by_name(
        &mut self,
        min: &Bound<Bytes>,
        max: &Bound<Bytes>,
        which: &ZRange,
    ) -> Result<Vec<Scored>, Error> {
        match &self.state {
            State::Packed(members) => Ok(run_by_name(members, min, max, which)),
            State::Elements(Named { id, .. }) => {
                let id = *id;
                let Some((_, score)) = self.range(0, 0)?.pop() else { return Ok(Vec::new()) };
                let range = names(id, score, min, max);
                let (min, max) = (min.clone(), max.clone());
                let is_inside = move |member: &ScoredMember| {
                    member.score != score
                        || (name_above(&member.name, &min) && name_below(&member.name, &max))
                };
                Ok(without_expiry(self.pick_elements(range, which, is_inside)?))
            }
        }
    }

    /// A page of [`ZSet::range_by_score`], and one member more if there is one. However far into the range it is, it
    /// costs what it returns.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page_by_score(&mut self, page: &ZPage<f64>) -> Result<Vec<ScoredMember>, Error> {
        let which = ZRange { reverse: page.reverse, skip: 0, limit: Some(page.limit.saturating_add(1)) };
        match &self.state {
            State::Packed(all) => {
                let inside =
                    all.iter().filter(|(_, score)| above(*score, &page.min) && below(*score, &page.max));
                Ok(members(pick(inside.filter(|member| is_behind(member, page)), &which)))
            }
            State::Elements(Named { id, .. }) => {
                let range = behind(*id, scores(*id, page.min, page.max), page);
                self.pick_elements(range, &which, |_| true)
            }
        }
    }

    /// A page of [`ZSet::range_by_name`], and one member more if there is one. However far into the range it is, it
    /// costs what it returns.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page_by_name(&mut self, page: &ZPage<Bytes>) -> Result<Vec<ScoredMember>, Error> {
        let which = ZRange { reverse: page.reverse, skip: 0, limit: Some(page.limit.saturating_add(1)) };
        match &self.state {
            State::Packed(all) => {
                let rest: Vec<Scored> =
                    all.iter().filter(|member| is_behind(member, page)).cloned().collect();
                Ok(members(run_by_name(&rest, &page.min, &page.max, &which)))
            }
            State::Elements(Named { id, .. }) => {
                let id = *id;
                let Some((_, score)) = self.range(0, 0)?.pop() else { return Ok(Vec::new()) };
                let range = behind(id, names(id, score, &page.min, &page.max), page);
                let (min, max) = (page.min.clone(), page.max.clone());
                let is_inside = move |member: &ScoredMember| {
                    member.score != score
                        || (name_above(&member.name, &min) && name_below(&member.name, &max))
                };
                self.pick_elements(range, &which, is_inside)
            }
        }
    }

    /// Elements of the family by score within a range of keys.
    fn pick_elements(
        &mut self,
        mut range: KeyRange,
        which: &ZRange,
        is_inside: impl Fn(&ScoredMember) -> bool,
    ) -> Result<Vec<ScoredMember>, Error> {
        const PAGE: usize = 1_024;
        let (mut skip, limit) = (which.skip, which.limit.unwrap_or(usize::MAX));
        let mut found = Vec::new();
        while !range.is_empty() && found.len() < limit {
            let wanted = skip.saturating_add(limit - found.len()).min(PAGE);
            let options =
                ScanOptions { reverse: which.reverse, limit: Some(wanted), ..ScanOptions::default() };
            let page = self.view.entries(SpaceId::ELEMENTS, range.clone(), options)?;
            let is_last = page.len() < wanted;
            if let Some(last) = page.last() {
                if which.reverse {
                    range.end = Some(last.key.clone().into_bytes());
                } else {
                    range.start = [&last.key, &[0][..]].concat().into();
                }
            }
            for entry in page {
                let member = scored(entry)?;
                if !is_inside(&member) {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if found.len() < limit {
                    found.push(member);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(found)
    }

    /// A random member; `below(n)` gives a random number below n. Of a sorted set with elements of its own it reads a few
    /// dozen, and chooses evenly where the names are numbered evenly.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn random(&mut self, mut below: impl FnMut(usize) -> usize) -> Result<Option<Scored>, Error> {
        match &self.state {
            State::Packed(members) if members.is_empty() => Ok(None),
            State::Packed(members) => Ok(members.get(below(members.len())).cloned()),
            State::Elements(named) => {
                let found = named.random(&mut self.view, below)?;
                found.map(|(name, score)| Ok((name, score_of_value(&score)?))).transpose()
            }
        }
    }

    /// At most `limit` members behind `after`, in an order that does not change (that of their names' bytes, long ones
    /// apart). Going on behind the last one of a page visits every member that stays exactly once.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Scored>, Error> {
        match &self.state {
            State::Packed(members) => {
                let mut members: Vec<&Scored> = members
                    .iter()
                    .filter(|(name, _)| after.is_none_or(|after| name.as_ref() > after))
                    .collect();
                members.sort_unstable_by(|a, b| a.0.cmp(&b.0));
                Ok(members.into_iter().take(limit).cloned().collect())
            }
            State::Elements(named) => {
                let page = named.page(&mut self.view, after, limit)?.into_iter();
                page.map(|(name, score, _)| Ok((name, score_of_value(&score)?))).collect()
            }
        }
    }
}
