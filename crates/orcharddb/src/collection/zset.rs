//! Sorted sets: names with a number each, in order of (number, name).
//!
//! - Elements lie twice: by name, with the score as value, and by score and name, so that ranges by score, by name among
//!   equal scores and by rank are ranges of keys.
//! - Of a member that expires of its own the element by score is an entry that expires then.
//! - Finding a rank costs the way from the nearer end; a range by rank costs that and what it returns.

use super::layout::{self, BY_SCORE};
use super::list::clamp;
use super::look::ZPage;
use super::named::{Named, is_kept, moment};
use super::state::State;
use super::view::View;
use crate::error::{CollectionError, Error};
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::key::prefix_end;
use orchard_types::{
    CollectionId, Entry, Expiry, Key, KeyRange, SpaceId, UnixMillis, Value, ValueType, limits,
};
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

fn below(score: f64, max: &Bound<f64>) -> bool {
    match max {
        Bound::Included(max) => score <= *max,
        Bound::Excluded(max) => score < *max,
        Bound::Unbounded => true,
    }
}

fn above(score: f64, min: &Bound<f64>) -> bool {
    match min {
        Bound::Included(min) => score >= *min,
        Bound::Excluded(min) => score > *min,
        Bound::Unbounded => true,
    }
}

fn name_below(name: &[u8], max: &Bound<Bytes>) -> bool {
    match max {
        Bound::Included(max) => name <= max.as_ref(),
        Bound::Excluded(max) => name < max.as_ref(),
        Bound::Unbounded => true,
    }
}

fn name_above(name: &[u8], min: &Bound<Bytes>) -> bool {
    match min {
        Bound::Included(min) => name >= min.as_ref(),
        Bound::Excluded(min) => name > min.as_ref(),
        Bound::Unbounded => true,
    }
}

/// The keys of the scores between two bounds.
fn scores(id: CollectionId, min: Bound<f64>, max: Bound<f64>) -> KeyRange {
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
fn names(id: CollectionId, score: f64, min: &Bound<Bytes>, max: &Bound<Bytes>) -> KeyRange {
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
fn is_behind<T>(member: &Scored, page: &ZPage<T>) -> bool {
    let wanted = if page.reverse { Ordering::Less } else { Ordering::Greater };
    page.after.as_ref().is_none_or(|after| order(member, after) == wanted)
}

/// What of a range of keys lies behind the member that the page goes on behind.
fn behind<T>(id: CollectionId, mut range: KeyRange, page: &ZPage<T>) -> KeyRange {
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

/// The run of members between two names, as Redis walks it: from the first that is not below `min` (from the end: not above
/// `max`), passing over what is to be skipped, up to the first behind the other bound.
fn run_by_name(members: &[Scored], min: &Bound<Bytes>, max: &Bound<Bytes>, which: &ZRange) -> Vec<Scored> {
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
fn pick<'a>(inside: impl DoubleEndedIterator<Item = &'a Scored>, which: &ZRange) -> Vec<Scored> {
    let limit = which.limit.unwrap_or(usize::MAX);
    if which.reverse {
        inside.rev().skip(which.skip).take(limit).cloned().collect()
    } else {
        inside.skip(which.skip).take(limit).cloned().collect()
    }
}

impl ZSet<&mut Transaction<'_>> {
    /// Adds a member, or gives it another score. It expires with the sorted set alone, also if it had an expiry of its own.
    ///
    /// # Errors
    /// [`Error::Collection`] if the score is not a number, [`Error::Read`]
    pub fn insert(&mut self, name: impl Into<Bytes>, score: f64) -> Result<Added, Error> {
        self.insert_expiring(name, score, Expiry::Never)
    }

    /// Adds members, or gives them other scores; how many are new.
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn extend(&mut self, members: impl IntoIterator<Item = Scored>) -> Result<u64, Error> {
        let mut added = 0;
        for (name, score) in members {
            let before = self.found(&name)?;
            added += u64::from(before.is_none());
            self.replace_unsaved(name, before, score, None)?;
        }
        self.save()?;
        Ok(added)
    }

    /// As [`ZSet::insert`] with an expiry of the member's own. [`Expiry::Keep`] keeps the one that it has; one that has come
    /// already removes the member.
    ///
    /// A sorted set of which a member expires keeps its members as entries of their own, however few they are.
    ///
    /// ```
    /// use orcharddb::{Db, DurationMs, Expiry};
    /// let db = Db::memory()?;
    /// let scores = db.zset("scores");
    /// scores.update(|scores| scores.insert_expiring("ada", 1.5, Expiry::After(DurationMs(60_000))))?;
    /// assert_eq!(scores.score("ada")?, Some(1.5));
    /// scores.update(|scores| scores.expire("ada", Expiry::At(orcharddb::UnixMillis(1))))?;
    /// assert_eq!(scores.score("ada")?, None, "that was long ago");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn insert_expiring(
        &mut self,
        name: impl Into<Bytes>,
        score: f64,
        expiry: Expiry,
    ) -> Result<Added, Error> {
        let (name, now) = (name.into(), self.view.now());
        let before = self.found(&name)?;
        let at = moment(expiry, now, before.map(|(_, at)| at));
        let added = match before {
            None => Added::New,
            Some((before, _)) if before == score => Added::Same,
            Some(_) => Added::Moved,
        };
        if at.is_some_and(|at| at <= now) {
            self.remove(&name)?;
        } else if self.replace_unsaved(name, before, score, at)? {
            self.save()?;
        }
        Ok(added)
    }

    /// Gives a member an expiry of its own, or takes it away ([`Expiry::Never`]); whether it is one.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn expire(&mut self, name: impl Into<Bytes>, expiry: Expiry) -> Result<bool, Error> {
        let name = name.into();
        let Some((score, at)) = self.found(&name)? else { return Ok(false) };
        if !is_kept(expiry, at) {
            self.insert_expiring(name, score, expiry)?;
        }
        Ok(true)
    }

    /// As [`ZSet::extend`], for members whose scores before are known: found by this transaction, or `None` for a new one.
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn replace_found(
        &mut self,
        members: impl IntoIterator<Item = (Bytes, Option<f64>, f64)>,
    ) -> Result<(), Error> {
        for (name, before, score) in members {
            let before = match &self.state {
                State::Elements(named) if named.any_expires() => self.found(&name)?,
                _ => before.map(|before| (before, None)),
            };
            self.replace_unsaved(name, before, score, None)?;
        }
        self.save()
    }

    /// Writes a member in place of what was found under its name; whether that changes anything.
    fn replace_unsaved(
        &mut self,
        name: Bytes,
        before: Option<(f64, Option<UnixMillis>)>,
        score: f64,
        at: Option<UnixMillis>,
    ) -> Result<bool, Error> {
        if score.is_nan() {
            return Err(CollectionError::NotANumber.into());
        }
        // Both zeros are one.
        let score = score + 0.0;
        if before == Some((score, at)) {
            return Ok(false);
        }
        if at.is_some() {
            self.elements();
        }
        match &mut self.state {
            State::Packed(members) => {
                if before.is_some() {
                    members.retain(|(member, _)| *member != name);
                }
                let member = (name, score);
                let place = members.partition_point(|found| order(found, &member) == Ordering::Less);
                members.insert(place, member);
                if members.len() > limits::COLLECTION_PACKED_ELEMENTS_MAX {
                    self.save()?;
                }
            }
            State::Elements(named) => {
                let value = Value::new(ValueType::Float, score.to_le_bytes().to_vec());
                match before {
                    Some((before, None)) => {
                        if before != score {
                            self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, &name, before));
                        }
                        match at {
                            None => named.overwrite(self.view, &name, &value),
                            Some(_) => {
                                named.remove_staying(self.view, &name);
                                named.put(self.view, &name, &value, at);
                            }
                        }
                    }
                    _ => {
                        // One that has expired may be in the way.
                        let held =
                            if named.any_expires() { named.held(&mut self.view, &name)? } else { None };
                        if let Some(held) = held {
                            let before = score_of_value(held.value())?;
                            self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, &name, before));
                            named.remove(self.view, &name, &held);
                        }
                        named.put(self.view, &name, &value, at);
                    }
                }
                put_score(self.view, named.id, &name, score, at);
            }
        }
        Ok(true)
    }

    /// Removes a member and returns its score.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        let name = name.as_ref();
        let Some(score) = self.score(name)? else { return Ok(None) };
        self.remove_found(&[(Bytes::copy_from_slice(name), score)])?;
        Ok(Some(score))
    }

    /// Removes members that a read of this transaction has found.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove_found(&mut self, members: &[Scored]) -> Result<(), Error> {
        if members.is_empty() {
            return Ok(());
        }
        match &mut self.state {
            State::Packed(all) => {
                all.retain(|(name, _)| !members.iter().any(|(gone, _)| gone == name));
            }
            State::Elements(named) => {
                for (name, score) in members {
                    self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, name, *score));
                    if !named.any_expires() {
                        named.remove_staying(self.view, name);
                    } else if let Some(held) = named.held(&mut self.view, name)? {
                        named.remove(self.view, name, &held);
                    }
                }
            }
        }
        self.save()
    }

    /// Removes the `number` members with the lowest scores, or with `last` the highest, and returns them in that order.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pop(&mut self, number: u64, last: bool) -> Result<Vec<Scored>, Error> {
        let limit = usize::try_from(number).unwrap_or(usize::MAX);
        let which = ZRange { reverse: last, skip: 0, limit: Some(limit) };
        let found = self.range_by_score(Bound::Unbounded, Bound::Unbounded, &which)?;
        self.remove_found(&found)?;
        Ok(found)
    }

    /// Takes at most `limit` members away that have expired; how many. Their elements by score are entries that expire.
    pub(super) fn remove_expired(&mut self, limit: usize) -> Result<u64, Error> {
        let State::Elements(named) = &mut self.state else { return Ok(0) };
        let removed = named.remove_expired(self.view, limit)?;
        self.save()?;
        Ok(removed)
    }

    /// Takes on the elements layout, if it has another.
    fn elements(&mut self) {
        let State::Packed(members) = &mut self.state else { return };
        let members = std::mem::take(members);
        let mut named = Named::new(self.view.new_collection_id());
        for (name, score) in &members {
            let value = Value::new(ValueType::Float, score.to_le_bytes().to_vec());
            named.put(self.view, name, &value, None);
            put_score(self.view, named.id, name, *score, None);
        }
        self.state = State::Elements(named);
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        if self.is_empty()? {
            if let State::Elements(named) = &mut self.state {
                named.forget(self.view);
            }
            self.state = State::Packed(Vec::new());
            self.view.delete_in(self.space, self.key.clone());
            return Ok(());
        }
        if let State::Packed(members) = &self.state {
            let mut bytes = layout::packed();
            for (name, score) in members {
                bytes.extend_from_slice(&score.to_le_bytes());
                layout::push_name(&mut bytes, name);
            }
            if layout::fits(members.len(), &bytes) {
                self.put(bytes);
                return Ok(());
            }
            self.elements();
        }
        if let State::Elements(named) = &mut self.state {
            let header = named.header(self.view, (self.space, &self.key));
            self.put(header);
        }
        Ok(())
    }

    fn put(&mut self, data: Vec<u8>) {
        let value = Value::new(ValueType::ZSet, data);
        self.view.put_in(self.space, self.key.clone(), value, Expiry::Keep);
    }
}

fn by_score(id: CollectionId, name: &[u8], score: f64) -> Key {
    layout::key(id, &[&[BY_SCORE], &layout::score_bytes(score), &layout::name_in_key(name)])
}

/// Writes the element by score of a member.
fn put_score(tx: &mut Transaction<'_>, id: CollectionId, name: &[u8], score: f64, at: Option<UnixMillis>) {
    let value = layout::element(name, ValueType::Null, &[]);
    let expiry = at.map_or(Expiry::Never, Expiry::At);
    tx.put_in(SpaceId::ELEMENTS, by_score(id, name, score), value, expiry);
}
