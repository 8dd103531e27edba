//! What a commit does to the state: a pure function of (state, commit, stamp, log time).
//!
//! - It reads no clock, no random number and no disk: the same log gives the same state on every machine.
//! - All or nothing: a refused commit leaves nothing behind, even if some of its mutations were applied already.
//! - An entry whose expiry lies at or before the log time is absent.
//! - When the last header of a collection goes, its id is written into [`SpaceId::ORPHANS`] by the same commit; a header
//!   that moves to another key within one commit (a rename) keeps its elements. What a deleted range takes along is not
//!   written there but told in the [`Effects`], because the range may have been erased or not: the background writes it.

use crate::error::{CommitError, TokenError};
use crate::format::push_flat_key;
use crate::mutants::{self, Mutant};
use crate::read::with_flat_key;
use bytes::Bytes;
use orchard_types::arithmetic::{self, Bounds};
use orchard_types::{
    Check, CheckFailure, CollectionId, Expiry, LimitError, Mutation, MutationError, Operation, SpaceId,
    Token, UnixMillis, Value, ValueType, Versionstamp, limits,
};
use std::ops::Bound;

/// The newest version of a key, as the state has it.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// Its versionstamp, raw.
    pub stamp: u64,
    /// The number of its value type.
    pub type_tag: u8,
    /// When it expires, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// It means "deleted".
    pub is_tombstone: bool,
    /// Its bytes; `None` if they are on disk only.
    pub value: Option<&'a [u8]>,
    /// Their number.
    pub value_len: u64,
}

/// What a write replaced.
#[derive(Clone, Copy, Debug)]
pub struct Replaced {
    /// Its versionstamp, raw.
    pub stamp: u64,
    /// The collection whose header it was.
    pub collection: Option<CollectionId>,
    /// A range that this very commit deleted lay over it.
    pub was_covered: bool,
    /// Length of the value.
    pub value_len: u64,
    /// When it would have expired.
    pub expires_at_ms: Option<u64>,
}

/// What a write did.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    /// What it replaced, unless that was a tombstone.
    pub replaced: Option<Replaced>,
    /// When what was written expires.
    pub expires_at_ms: Option<u64>,
}

/// What `apply` changes. Keys are flat (see [`crate::format`]).
pub trait State {
    /// These mutations come next: brings in what they will look at, if that helps. Changes nothing.
    fn ahead(&self, _mutations: &[Mutation]) {}
    /// The newest version of a key, tombstones and expired ones included.
    fn newest(&self, key: &[u8]) -> Option<Stored<'_>>;
    /// Visits the newest version of every key of a range in order.
    fn each(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, visit: &mut dyn FnMut(&[u8], Stored<'_>));
    /// The newest stamp of an entry in a range whose expiry lies behind `after` and not behind `until`; 0 if there is none.
    fn newest_expired_in(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        after: UnixMillis,
        until: UnixMillis,
    ) -> u64;
    /// The newest stamp in a range, tombstones included; 0 if there is none.
    fn newest_stamp_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64;
    /// Adds a version (`None`: a tombstone). `expires` decides when it expires, shown the newest version as [`State::newest`]
    /// tells of it. A version of the same stamp is replaced.
    fn write(
        &mut self,
        key: &[u8],
        stamp: u64,
        content: Option<(u8, &[u8])>,
        expires: impl FnOnce(Option<&Stored<'_>>) -> Option<u64>,
    ) -> Written;
    /// Takes back the versions of a key behind `to_stamp`.
    fn undo(&mut self, key: &[u8], to_stamp: u64);
    /// The keys of a range that are not deleted, if they are few. Whether they are may depend on more than what readers
    /// see: deleting each of them and [`State::cover`] must come to the same for every reader and check.
    fn small_range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Option<Vec<Vec<u8>>>;
    /// Deletes every version of a range with a stamp below `stamp` at once; `false` if there is no room for that.
    fn cover(&mut self, lower: &[u8], upper: Option<&[u8]>, stamp: u64) -> bool;
    /// Takes back what [`State::cover`] did behind `to_stamp`.
    fn uncover(&mut self, to_stamp: u64);
}

/// Where a commit stands.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The stamp it gets if it happens.
    pub stamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// Deletes before this are forgotten: a range check may not look behind it.
    pub floor: Versionstamp,
    /// The log time of a version, or an earlier one where it is not known exactly.
    pub time_of: &'a dyn Fn(Versionstamp) -> UnixMillis,
}

/// What a commit changed, for those who count.
#[derive(Default, Debug)]
pub struct Effects {
    /// Change of the number of entries.
    pub entries: i64,
    /// Change of the key bytes of entries.
    pub key_bytes: i64,
    /// Change of the value bytes of entries.
    pub value_bytes: i64,
    /// Entries whose expiry changed: flat key, before, after.
    pub expiries: Vec<(Vec<u8>, Option<u64>, Option<u64>)>,
    /// Flat keys that are tombstones now.
    pub deleted: Vec<Vec<u8>>,
    /// Collections whose headers a deleted range took along, as far as they were looked at.
    pub orphans: Vec<CollectionId>,
    /// Collections that this commit holds a header of, if it deleted a range that is yet to be looked at: a header that
    /// this range took along was moved.
    pub moved: Vec<CollectionId>,
    /// The first commit of this token, if it was known: nothing was changed.
    pub repeated: Option<(Versionstamp, UnixMillis)>,
}

/// Why a commit did not happen.
#[derive(Debug)]
pub enum Refusal {
    /// It cannot happen on this state.
    Error(CommitError),
    /// A value that it needs is on disk only: load it and try again.
    NotResident {
        /// Flat key.
        key: Vec<u8>,
        /// The version.
        stamp: u64,
    },
}

impl From<CommitError> for Refusal {
    fn from(error: CommitError) -> Self {
        Refusal::Error(error)
    }
}

pub(crate) fn is_live(stored: &Stored<'_>, log_time: UnixMillis) -> bool {
    !stored.is_tombstone && stored.expires_at_ms.is_none_or(|expires| expires > log_time.0)
}

/// The bounds of a range of one space, flat.
pub fn flat_bounds(space: SpaceId, start: &[u8], end: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut lower = Vec::with_capacity(start.len() + 5);
    push_flat_key(&mut lower, space, start);
    let mut upper = Vec::new();
    match end {
        Some(end) => push_flat_key(&mut upper, space, end),
        None => match space.0.checked_add(1) {
            Some(next) => push_flat_key(&mut upper, SpaceId(next), b""),
            None => return (lower, None),
        },
    }
    (lower, Some(upper))
}

/// `Some(upper)` as an exclusive bound.
pub fn upper_bound(upper: Option<&[u8]>) -> Bound<&[u8]> {
    upper.map_or(Bound::Unbounded, Bound::Excluded)
}

/// Which of the checks do not hold.
fn failed_checks<S: State>(
    state: &S,
    checks: &[Check],
    place: Place<'_>,
) -> Result<Vec<CheckFailure>, CommitError> {
    let mut failures = Vec::new();
    let mut flat = Vec::new();
    for (index, check) in checks.iter().enumerate() {
        match check {
            Check::Key { space, key, expected } => {
                flat.clear();
                push_flat_key(&mut flat, *space, key);
                let found = state
                    .newest(&flat)
                    .filter(|stored| {
                        is_live(stored, place.log_time)
                            || (!stored.is_tombstone && mutants::enabled(Mutant::ExpiredSeenByCheck))
                    })
                    .map(|stored| Versionstamp::from_raw(stored.stamp));
                if found != *expected {
                    failures.push(CheckFailure { index, found });
                }
            }
            Check::Range { space, range, unchanged_since } => {
                if range.is_empty() {
                    continue;
                }
                if *unchanged_since < place.floor {
                    return Err(CommitError::TooOld { floor: place.floor });
                }
                let (lower, upper) = flat_bounds(*space, &range.start, range.end.as_deref());
                let (lower, upper) = (Bound::Included(lower.as_slice()), upper_bound(upper.as_deref()));
                let newest = Versionstamp::from_raw(state.newest_stamp_in(lower, upper));
                if newest > *unchanged_since {
                    failures.push(CheckFailure { index, found: Some(newest) });
                    continue;
                }
                // An expiry between then and now is a change, too.
                let since = (place.time_of)(*unchanged_since);
                let expired = state.newest_expired_in(lower, upper, since, place.log_time);
                if expired != 0 {
                    failures.push(CheckFailure { index, found: Some(Versionstamp::from_raw(expired)) });
                }
            }
        }
    }
    Ok(failures)
}

/// When what is written over `stored` expires.
pub(crate) fn expires_at(expiry: Expiry, stored: Option<&Stored<'_>>, log_time: UnixMillis) -> Option<u64> {
    let after = |duration| Some(log_time.saturating_add(duration).0);
    let live = || stored.filter(|stored| is_live(stored, log_time));
    match expiry {
        Expiry::Never => None,
        Expiry::At(time) => Some(time.0),
        Expiry::After(duration) => after(duration),
        Expiry::Keep => live()?.expires_at_ms,
        Expiry::KeepOr(duration) => live().map_or(after(duration), |stored| stored.expires_at_ms),
    }
}

struct Writer<'s, 'p, S> {
    state: &'s mut S,
    place: Place<'p>,
    mutations: &'p [Mutation],
    tally: Tally,
    /// Flat keys that deleted ranges have taken along one by one.
    keys_of_ranges: Vec<Vec<u8>>,
}

/// What is known of a commit while it is applied.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) effects: Effects,
    headers: Headers,
}

impl Tally {
    /// Counts what the write of a version changed; `in_range`: as part of a deleted range.
    #[inline]
    pub(crate) fn count(
        &mut self,
        key: &[u8],
        stamp: u64,
        content: Option<(u8, &[u8])>,
        written: Written,
        in_range: bool,
    ) {
        let Written { replaced: before, expires_at_ms } = written;
        let id = content.and_then(|(type_tag, value)| {
            CollectionId::of_value(ValueType::from_number(type_tag).unwrap_or_default(), value)
        });
        if id.is_some() || before.as_ref().is_some_and(|before| before.collection.is_some()) {
            self.headers.count(stamp, before.as_ref(), id, in_range);
        }
        let old_expiry = before.and_then(|before| before.expires_at_ms);
        if old_expiry.is_some() || expires_at_ms.is_some() {
            self.effects.expiries.push((key.to_vec(), old_expiry, expires_at_ms));
        }
        let entries = i64::from(content.is_some()) - i64::from(before.is_some());
        self.effects.entries += entries;
        self.effects.key_bytes += entries * key.len() as i64;
        self.effects.value_bytes += content.map_or(0, |(_, value)| value.len() as i64)
            - before.map_or(0, |before| before.value_len as i64);
        if content.is_none() {
            self.effects.deleted.push(key.to_vec());
        }
    }

    /// The collections that no header holds any more and that have to be listed, each once.
    pub(crate) fn take_orphans(&mut self) -> Vec<CollectionId> {
        let headers = std::mem::take(&mut self.headers);
        let mut listed = Vec::new();
        for (id, header) in headers.first.into_iter().chain(headers.others) {
            if header.held > 0 {
                if headers.has_covered {
                    self.effects.moved.push(id);
                }
            } else if header.was_in_range {
                self.effects.orphans.push(id);
            } else if header.was_replaced {
                listed.push(id);
            }
        }
        listed
    }

    /// Whether it has seen a header of a collection.
    pub(crate) fn has_headers(&self) -> bool {
        self.headers.first.is_some()
    }
}

/// The flat key under which a collection without a header is listed, and what stands there.
pub(crate) fn orphan_entry(id: CollectionId) -> (Vec<u8>, (u8, &'static [u8])) {
    let mut flat = Vec::new();
    push_flat_key(&mut flat, SpaceId::ORPHANS, id.as_ref());
    (flat, (ValueType::Null as u8, &[]))
}

/// What a commit did to the headers of collections.
#[derive(Default)]
struct Headers {
    /// Most commits have one, if any.
    first: Option<(CollectionId, Header)>,
    others: Vec<(CollectionId, Header)>,
    has_covered: bool,
}

#[derive(Clone, Copy, Default)]
struct Header {
    /// How many keys this commit has put it under.
    held: i32,
    was_replaced: bool,
    was_in_range: bool,
}

impl Headers {
    fn of(&mut self, id: CollectionId) -> &mut Header {
        let (first, header) = self.first.get_or_insert_with(|| (id, Header::default()));
        if *first == id {
            return header;
        }
        let at = self.others.iter().position(|(seen, _)| *seen == id).unwrap_or_else(|| {
            self.others.push((id, Header::default()));
            self.others.len() - 1
        });
        &mut self.others[at].1
    }

    fn count(
        &mut self,
        stamp: u64,
        before: Option<&Replaced>,
        written: Option<CollectionId>,
        in_range: bool,
    ) {
        if let Some(before) = before
            && let Some(id) = before.collection
        {
            let header = self.of(id);
            header.held -= i32::from(before.stamp == stamp);
            if in_range || before.was_covered {
                header.was_in_range = true;
            } else {
                header.was_replaced = true;
            }
        }
        if let Some(id) = written {
            self.of(id).held += 1;
        }
    }
}

impl<S: State> Writer<'_, '_, S> {
    /// Lists the collections that no header holds any more.
    fn list_orphans(&mut self) {
        for id in self.tally.take_orphans() {
            let (flat, content) = orphan_entry(id);
            self.write(&flat, Some(content), Expiry::Never);
        }
    }

    /// Adds a version, and counts what it changes.
    fn write(&mut self, key: &[u8], content: Option<(u8, &[u8])>, expiry: Expiry) {
        self.write_in(key, content, expiry, false);
    }

    /// `in_range`: as part of a deleted range.
    fn write_in(&mut self, key: &[u8], content: Option<(u8, &[u8])>, expiry: Expiry, in_range: bool) {
        let (stamp, log_time) = (self.place.stamp.raw(), self.place.log_time);
        let expires = |stored: Option<&Stored<'_>>| expires_at(expiry, stored, log_time);
        let written = self.state.write(key, stamp, content, expires);
        self.tally.count(key, stamp, content, written, in_range);
        if in_range {
            self.keys_of_ranges.push(key.to_vec());
        }
    }

    fn delete(&mut self, key: &[u8], in_range: bool) {
        // Deleting what is absent writes nothing; deleting what is expired but not yet swept does the sweeper's work.
        if self.state.newest(key).is_some_and(|stored| !stored.is_tombstone) {
            self.write_in(key, None, Expiry::Never, in_range);
        }
    }

    /// The flat keys that the first `count` mutations may have written.
    fn keys_before(&self, count: usize) -> impl Iterator<Item = Vec<u8>> {
        let suffix = self.place.stamp.key_suffix();
        let done = self.mutations.iter().take(count).filter_map(move |mutation| {
            let mut flat = Vec::new();
            push_flat_key(&mut flat, mutation.space, &mutation.key);
            match mutation.operation {
                Operation::DeleteRange { .. } => return None,
                Operation::SetWithVersionstampSuffix { .. } => flat.extend_from_slice(&suffix),
                _ => {}
            }
            Some(flat)
        });
        done.chain(self.keys_of_ranges.iter().cloned())
    }

    fn delete_range(&mut self, index: usize, lower: &[u8], upper: Option<&[u8]>) {
        let stamp = self.place.stamp.raw();
        let (from, to) = (Bound::Included(lower), upper_bound(upper));
        let keys = match self.state.small_range(from, to) {
            Some(keys) => keys,
            None if self.state.cover(lower, upper, stamp) => {
                self.tally.headers.has_covered = true;
                // What this commit wrote before has the same stamp, so it is not covered.
                let inside = |key: &Vec<u8>| {
                    lower <= key.as_slice() && upper.is_none_or(|upper| key.as_slice() < upper)
                };
                self.keys_before(index).filter(inside).collect()
            }
            None => {
                let mut keys = Vec::new();
                self.state.each(from, to, &mut |key, stored| {
                    if !stored.is_tombstone {
                        keys.push(key.to_vec());
                    }
                });
                keys
            }
        };
        for key in keys {
            self.delete(&key, true);
        }
    }

    /// The live value of a key.
    fn live_value(&self, key: &[u8]) -> Result<Option<Value>, Refusal> {
        let Some(stored) = self.state.newest(key).filter(|stored| is_live(stored, self.place.log_time))
        else {
            return Ok(None);
        };
        let Some(value) = stored.value else {
            return Err(Refusal::NotResident { key: key.to_vec(), stamp: stored.stamp });
        };
        let value_type = ValueType::from_number(stored.type_tag).unwrap_or_default();
        Ok(Some(Value::new(value_type, Bytes::copy_from_slice(value))))
    }

    fn mutate(&mut self, index: usize, mutation: &Mutation) -> Result<(), Refusal> {
        with_flat_key(mutation.space, &mutation.key, |flat| self.mutate_at(index, mutation, flat))
    }

    fn mutate_at(&mut self, index: usize, mutation: &Mutation, flat: &[u8]) -> Result<(), Refusal> {
        let refused = |error| Refusal::Error(CommitError::Mutation { index, error });
        match &mutation.operation {
            Operation::Set { value, expiry } => {
                self.write(flat, Some((value.value_type as u8, &value.data)), *expiry);
            }
            Operation::Delete => self.delete(flat, false),
            Operation::DeleteIfStamp(stamp) => {
                if self.state.newest(flat).is_some_and(|stored| stored.stamp == stamp.raw()) {
                    self.delete(flat, false);
                }
            }
            Operation::DeleteRange { end } => {
                let (lower, upper) = flat_bounds(mutation.space, &mutation.key, end.as_deref());
                if upper.as_ref().is_some_and(|upper| *upper <= lower) {
                    return Ok(());
                }
                self.delete_range(index, &lower, upper.as_deref());
            }
            Operation::Number { op, operand, at_least, at_most, clamp, expiry } => {
                let stored = self.live_value(flat)?;
                let bounds = Bounds { at_least: at_least.as_ref(), at_most: at_most.as_ref(), clamp: *clamp };
                let result = arithmetic::apply(*op, stored.as_ref(), operand, bounds).map_err(refused)?;
                self.write(flat, Some((result.value_type as u8, &result.data)), *expiry);
            }
            Operation::SetWithVersionstampSuffix { value, expiry } => {
                let flat = [flat, &self.place.stamp.key_suffix()].concat();
                let length = mutation.key.len() + 22;
                LimitError::check("key_size_bytes", limits::KEY_SIZE_BYTES_MAX, length)
                    .map_err(|error| refused(MutationError::KeyTooLong(error)))?;
                // Whatever the key held is not what is meant to be kept.
                let expiry = match *expiry {
                    Expiry::Keep => Expiry::Never,
                    Expiry::KeepOr(duration) => Expiry::After(duration),
                    given => given,
                };
                self.write(&flat, Some((value.value_type as u8, &value.data)), expiry);
            }
            Operation::Touch { expiry } => {
                if let Some(value) = self.live_value(flat)? {
                    self.write(flat, Some((value.value_type as u8, &value.data)), *expiry);
                }
            }
        }
        Ok(())
    }
}

/// What a token remembers: raw stamp, log time in ms, hash; 8 bytes little-endian each.
fn remembered(value: &[u8]) -> Option<(u64, u64, u64)> {
    let word = |at: usize| value.get(at..).and_then(crate::format::read_u64);
    Some((word(0)?, word(8)?, word(16)?))
}

/// The flat key under which a token is remembered.
pub fn token_key(id: &[u8]) -> Vec<u8> {
    let mut flat = Vec::with_capacity(id.len() + 5);
    push_flat_key(&mut flat, SpaceId::TOKENS, id);
    flat
}

/// Mutations whose cache misses overlap.
pub(crate) const AHEAD: usize = 16;

/// Decides a commit and, if it happens, changes the state.
///
/// # Errors
/// [`Refusal`]; the state is as it was.
pub fn apply<S: State>(
    state: &mut S,
    token: Option<(&Token, u64)>,
    checks: &[Check],
    mutations: &[Mutation],
    place: Place<'_>,
) -> Result<Effects, Refusal> {
    let token = token.map(|(token, hash)| (token_key(&token.id), token.deadline, hash));
    if let Some((key, deadline, hash)) = &token {
        if let Some(stored) = state.newest(key).filter(|stored| is_live(stored, place.log_time)) {
            let Some(value) = stored.value else {
                return Err(Refusal::NotResident { key: key.clone(), stamp: stored.stamp });
            };
            return match remembered(value) {
                Some((stamp, log_time, found)) if found == *hash => Ok(Effects {
                    repeated: Some((Versionstamp::from_raw(stamp), UnixMillis(log_time))),
                    ..Effects::default()
                }),
                _ => Err(CommitError::Token(TokenError::OtherContent).into()),
            };
        }
        if *deadline <= place.log_time {
            return Err(CommitError::Token(TokenError::DeadlinePassed).into());
        }
        if deadline.0 - place.log_time.0 > limits::TOKEN_DEADLINE_AHEAD_MS_MAX {
            return Err(CommitError::Token(TokenError::DeadlineTooFar).into());
        }
    }
    let failures = failed_checks(state, checks, place)?;
    if !failures.is_empty() {
        return Err(CommitError::CheckFailed(failures).into());
    }
    let mut writer = Writer { state, place, mutations, tally: Tally::default(), keys_of_ranges: Vec::new() };
    for (index, mutation) in mutations.iter().enumerate() {
        if index % AHEAD == 0 && mutations.len() > 1 {
            writer.state.ahead(&mutations[index..mutations.len().min(index + AHEAD)]);
        }
        if let Err(refusal) = writer.mutate(index, mutation) {
            if !mutants::enabled(Mutant::PartialCommitKept) {
                let before = place.stamp.raw() - 1;
                let keys: Vec<_> = writer.keys_before(index).collect();
                for key in keys {
                    writer.state.undo(&key, before);
                }
                writer.state.uncover(before);
            }
            return Err(refusal);
        }
    }
    writer.list_orphans();
    if let Some((key, deadline, hash)) = token {
        let words = [place.stamp.raw(), place.log_time.0, hash];
        let value: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        writer.write(&key, Some((ValueType::Bytes as u8, &value)), Expiry::At(deadline));
    }
    Ok(writer.tally.effects)
}
