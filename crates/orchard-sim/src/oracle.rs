//! The truth: what a log means, in a plain `BTreeMap`, written without a look at the engine's code.
//!
//! Invariants:
//! - [`Oracle::apply`] is a function of the commits applied before, the commit, its stamp and its log time.
//! - Every version ever written is kept, so any snapshot can be read again and any tail can be taken back.

use bytes::Bytes;
use orchard_types::{
    Check, CheckFailure, CollectionId, Commit, DurationMs, Expiry, Key, KeyRange, LimitError, MutationError,
    NumberOp, Operation, SpaceId, UnixMillis, Value, Versionstamp, arithmetic, limits,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// A key in its space.
pub type Place = (SpaceId, Bytes);

/// A value and when it expires.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Live {
    pub value: Value,
    pub expires_at: Option<UnixMillis>,
}

/// One version of a key; without `live` it is a tombstone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Version {
    pub stamp: Versionstamp,
    pub live: Option<Live>,
}

/// What a read finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    pub stamp: Versionstamp,
    pub live: Live,
}

/// What was changed: entries, and keys deleted.
pub type Changed = (Vec<(Bytes, Found)>, Vec<(Bytes, Versionstamp)>);

/// What a commit comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It happened.
    Committed,
    /// Its token is known: it had happened before, then and there.
    Repeated(Versionstamp, UnixMillis),
    CheckFailed(Vec<CheckFailure>),
    Mutation(usize, MutationError),
    /// The token was used by a commit with other content.
    OtherContent,
    DeadlinePassed,
    DeadlineTooFar,
}

/// A commit that happened.
#[derive(Clone, Debug)]
pub struct Logged {
    pub stamp: Versionstamp,
    pub log_time: UnixMillis,
    pub commit: Commit,
    /// The keys that got a new version, with what they hold now, in order of the keys.
    pub changes: BTreeMap<Place, Option<Live>>,
}

#[derive(Clone, Debug)]
struct Remembered {
    stamp: Versionstamp,
    log_time: UnixMillis,
    deadline: UnixMillis,
    content: Commit,
}

/// The state that a log leads to.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    keys: BTreeMap<Place, Vec<Version>>,
    tokens: BTreeMap<Bytes, Vec<Remembered>>,
    log: Vec<Logged>,
}

fn collection(live: &Option<Live>) -> Option<CollectionId> {
    let value = &live.as_ref()?.value;
    CollectionId::of_value(value.value_type, &value.data)
}

fn is_live(live: &Live, time: UnixMillis) -> bool {
    live.expires_at.is_none_or(|at| at > time)
}

/// What a token stands for: the changes, not the conditions on which they were made.
fn content(commit: &Commit) -> Commit {
    Commit { token: None, checks: Vec::new(), ..commit.clone() }
}

/// The key that [`Operation::SetWithVersionstampSuffix`] writes: the stamp's 20 hex digits as a string part behind it.
pub fn suffixed(key: &[u8], stamp: Versionstamp) -> Bytes {
    let mut long = key.to_vec();
    long.push(0x02);
    long.extend_from_slice(stamp.to_string().as_bytes());
    long.push(0x00);
    Bytes::from(long)
}

impl Oracle {
    /// The commits that happened, in order.
    pub fn log(&self) -> &[Logged] {
        &self.log
    }

    /// The stamp of the last commit that happened.
    pub fn last(&self) -> Versionstamp {
        self.log.last().map_or(Versionstamp::ZERO, |logged| logged.stamp)
    }

    /// The log time of the last group at or before `stamp`: the earliest time that a snapshot of it may have.
    pub fn time_of(&self, stamp: Versionstamp) -> UnixMillis {
        let count = self.log.partition_point(|logged| logged.stamp <= stamp);
        let last = count.checked_sub(1).and_then(|last| self.log.get(last));
        last.map_or(UnixMillis(0), |logged| logged.log_time)
    }

    /// Keys that were ever written.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.keys.keys()
    }

    /// What applying `commit` now would come to, and what it would change.
    fn decide(
        &self,
        commit: &Commit,
        stamp: Versionstamp,
        log_time: UnixMillis,
    ) -> (Outcome, BTreeMap<Place, Option<Live>>) {
        let nothing = BTreeMap::new();
        if let Some(token) = &commit.token {
            if let Some(first) = self.tokens.get(&token.id).and_then(|all| all.last())
                && first.deadline > log_time
            {
                let outcome = if first.content == content(commit) {
                    Outcome::Repeated(first.stamp, first.log_time)
                } else {
                    Outcome::OtherContent
                };
                return (outcome, nothing);
            }
            if token.deadline <= log_time {
                return (Outcome::DeadlinePassed, nothing);
            }
            if token.deadline > log_time.saturating_add(DurationMs(limits::TOKEN_DEADLINE_AHEAD_MS_MAX)) {
                return (Outcome::DeadlineTooFar, nothing);
            }
        }
        let failures: Vec<CheckFailure> = commit
            .checks
            .iter()
            .enumerate()
            .filter_map(|(index, check)| {
                let found = self.broken(check, log_time)?;
                Some(CheckFailure { index, found })
            })
            .collect();
        if !failures.is_empty() {
            return (Outcome::CheckFailed(failures), nothing);
        }
        let mut staged = BTreeMap::new();
        let mut dropped = BTreeMap::new();
        for (index, mutation) in commit.mutations.iter().enumerate() {
            let place = (mutation.space, mutation.key.clone().into_bytes());
            let before = staged.clone();
            if let Err(error) = self.stage(&mut staged, &place, &mutation.operation, stamp, log_time) {
                return (Outcome::Mutation(index, error), nothing);
            }
            let in_range = matches!(mutation.operation, Operation::DeleteRange { .. });
            self.note_dropped(&before, &staged, in_range, &mut dropped);
        }
        let held: BTreeSet<CollectionId> = staged.values().filter_map(collection).collect();
        for (id, in_range) in dropped {
            // What a deleted range takes along is listed later, by another commit.
            if !held.contains(&id) && !in_range {
                let listed = Live { value: Value::null(), expires_at: None };
                staged.insert((SpaceId::ORPHANS, Bytes::copy_from_slice(id.as_ref())), Some(listed));
            }
        }
        (Outcome::Committed, staged)
    }

    /// The collections whose header a mutation has written over, and whether a deleted range did.
    fn note_dropped(
        &self,
        before: &BTreeMap<Place, Option<Live>>,
        after: &BTreeMap<Place, Option<Live>>,
        in_range: bool,
        dropped: &mut BTreeMap<CollectionId, bool>,
    ) {
        for (place, live) in after {
            let old = match before.get(place) {
                Some(old) if old == live => continue,
                Some(old) => collection(old),
                None => self.version(place, Versionstamp::MAX).and_then(|version| collection(&version.live)),
            };
            if let Some(id) = old {
                *dropped.entry(id).or_default() |= in_range;
            }
        }
    }

    /// The collections whose headers are somewhere, expired but unswept ones included, and what they say.
    pub fn headers(&self) -> BTreeMap<CollectionId, Value> {
        let newest = self.keys.values().filter_map(|versions| versions.last());
        let headers = newest
            .filter_map(|version| Some((collection(&version.live)?, version.live.as_ref()?.value.clone())));
        headers.collect()
    }

    /// What applying `commit` now would come to.
    pub fn outcome(&self, commit: &Commit, stamp: Versionstamp, log_time: UnixMillis) -> Outcome {
        self.decide(commit, stamp, log_time).0
    }

    /// Applies a commit at `stamp` and `log_time`.
    pub fn apply(&mut self, commit: &Commit, stamp: Versionstamp, log_time: UnixMillis) -> Outcome {
        let (outcome, changes) = self.decide(commit, stamp, log_time);
        if outcome != Outcome::Committed {
            return outcome;
        }
        assert!(stamp > self.last(), "stamps increase: {stamp:?} after {:?}", self.last());
        for (place, live) in &changes {
            self.keys.entry(place.clone()).or_default().push(Version { stamp, live: live.clone() });
        }
        if let Some(token) = &commit.token {
            let deadline = token.deadline;
            let remembered = Remembered { stamp, log_time, deadline, content: content(commit) };
            self.tokens.entry(token.id.clone()).or_default().push(remembered);
        }
        self.log.push(Logged { stamp, log_time, commit: commit.clone(), changes });
        outcome
    }

    /// Takes back everything after `stamp`, as a crash does with what was not acknowledged.
    pub fn truncate(&mut self, stamp: Versionstamp) {
        self.log.retain(|logged| logged.stamp <= stamp);
        self.keys.retain(|_, versions| {
            versions.retain(|version| version.stamp <= stamp);
            !versions.is_empty()
        });
        self.tokens.retain(|_, all| {
            all.retain(|remembered| remembered.stamp <= stamp);
            !all.is_empty()
        });
    }

    /// The newest version of a key at or below `at`, tombstones included.
    pub fn version(&self, place: &Place, at: Versionstamp) -> Option<&Version> {
        self.keys.get(place)?.iter().rev().find(|version| version.stamp <= at)
    }

    /// What a read of one key finds at a snapshot.
    pub fn get(&self, place: &Place, at: Versionstamp, time: UnixMillis) -> Option<Found> {
        let version = self.version(place, at)?;
        let live = version.live.clone().filter(|live| is_live(live, time))?;
        Some(Found { stamp: version.stamp, live })
    }

    /// What a read of a range finds at a snapshot, in order of the keys.
    pub fn range(
        &self,
        space: SpaceId,
        range: &KeyRange,
        at: Versionstamp,
        time: UnixMillis,
    ) -> Vec<(Bytes, Found)> {
        let places = self.places_in(space, range);
        places.filter_map(|place| Some((place.1.clone(), self.get(place, at, time)?))).collect()
    }

    /// The versions of a key at or below `at`, the newest first.
    pub fn versions(&self, place: &Place, at: Versionstamp) -> impl Iterator<Item = &Version> {
        let versions = self.keys.get(place).into_iter().flatten().rev();
        versions.filter(move |version| version.stamp <= at)
    }

    /// What of a range was last changed behind `since` and at or before `until`, at a snapshot: entries and deleted keys.
    pub fn changed(
        &self,
        space: SpaceId,
        range: &KeyRange,
        (since, until): (Versionstamp, Versionstamp),
        (at, time): (Versionstamp, UnixMillis),
    ) -> Changed {
        let mut entries = self.range(space, range, at, time);
        entries.retain(|(_, found)| found.stamp > since && found.stamp <= until);
        let newest = self.places_in(space, range).filter_map(|place| Some((place, self.version(place, at)?)));
        let deleted = newest
            .filter(|(_, version)| version.live.is_none() && version.stamp > since && version.stamp <= until);
        (entries, deleted.map(|(place, version)| (place.1.clone(), version.stamp)).collect())
    }

    fn places_in<'a>(&'a self, space: SpaceId, range: &'a KeyRange) -> impl Iterator<Item = &'a Place> {
        let start = Bound::Included((space, range.start.clone()));
        let places = self.keys.range((start, Bound::Unbounded)).map(|(place, _)| place);
        places.take_while(move |place| place.0 == space && range.contains(&place.1))
    }

    /// What a check found if it certainly does not hold. When an entry expired is known only up to the next group: groups
    /// without commits have times, too.
    fn broken(&self, check: &Check, now: UnixMillis) -> Option<Option<Versionstamp>> {
        match check {
            Check::Key { space, key, expected } => {
                let found = self.get(&(*space, key.clone()), Versionstamp::MAX, now).map(|found| found.stamp);
                (found != *expected).then_some(found)
            }
            Check::Range { space, range, unchanged_since } => {
                let since = *unchanged_since;
                let behind = self.log.partition_point(|logged| logged.stamp.index() <= since.index());
                let read_at = self.log.get(behind).map_or(now, |logged| logged.log_time);
                let newest =
                    self.places_in(*space, range).filter_map(|place| self.version(place, Versionstamp::MAX));
                let changed = newest.filter(|version| {
                    let expires_at = version.live.as_ref().and_then(|live| live.expires_at);
                    version.stamp > since || expires_at.is_some_and(|at| at > read_at && at <= now)
                });
                changed.map(|version| version.stamp).max().map(Some)
            }
        }
    }

    /// Whether there is something to delete, for the next mutation of a commit. What has expired and was not swept yet
    /// counts: deleting it does the sweeper's work.
    fn deletable(&self, staged: &BTreeMap<Place, Option<Live>>, place: &Place) -> bool {
        match staged.get(place) {
            Some(live) => live.is_some(),
            None => self.version(place, Versionstamp::MAX).is_some_and(|version| version.live.is_some()),
        }
    }

    /// What a key holds for the next mutation of a commit.
    fn current(
        &self,
        staged: &BTreeMap<Place, Option<Live>>,
        place: &Place,
        now: UnixMillis,
    ) -> Option<Live> {
        match staged.get(place) {
            Some(live) => live.clone().filter(|live| is_live(live, now)),
            None => self.get(place, Versionstamp::MAX, now).map(|found| found.live),
        }
    }

    /// Every time at which an entry or a token expires.
    pub fn expiries(&self) -> impl Iterator<Item = UnixMillis> {
        let newest = self.keys.values().filter_map(|versions| versions.last()?.live.as_ref()?.expires_at);
        newest.chain(self.tokens.values().filter_map(|all| Some(all.last()?.deadline)))
    }

    /// The ends of the groups, in order: where a crash may cut.
    pub fn group_ends(&self) -> Vec<Versionstamp> {
        let mut ends: Vec<Versionstamp> = Vec::new();
        for logged in &self.log {
            match ends.last_mut() {
                Some(end) if end.index() == logged.stamp.index() => *end = logged.stamp,
                _ => ends.push(logged.stamp),
            }
        }
        ends
    }

    /// Everything that a reader sees at a snapshot.
    pub fn state(&self, at: Versionstamp, time: UnixMillis) -> BTreeMap<Place, Found> {
        self.keys.keys().filter_map(|place| Some((place.clone(), self.get(place, at, time)?))).collect()
    }

    /// The tokens remembered at a snapshot, and which commits they belong to.
    pub fn tokens(&self, at: Versionstamp, time: UnixMillis) -> BTreeMap<Bytes, Versionstamp> {
        let newest =
            |all: &Vec<Remembered>| all.iter().rev().find(|remembered| remembered.stamp <= at).cloned();
        let live = self.tokens.iter().filter_map(|(id, all)| Some((id, newest(all)?)));
        let live = live.filter(|(_, remembered)| remembered.deadline > time);
        live.map(|(id, remembered)| (id.clone(), remembered.stamp)).collect()
    }

    /// Number of entries of a range, expired but unswept ones included.
    pub fn count(&self, space: SpaceId, range: &KeyRange) -> u64 {
        let newest = self.places_in(space, range).filter_map(|place| self.version(place, Versionstamp::MAX));
        newest.filter(|version| version.live.is_some()).count() as u64
    }

    /// Entries, their key and value bytes, and how many of them expire; expired but unswept ones included. A key counts
    /// with the prefix that its space takes in the engine: one byte, or five from space 240 on.
    pub fn totals(&self) -> (u64, u64, u64, u64) {
        let newest =
            self.keys.iter().filter_map(|(place, versions)| Some((place, versions.last()?.live.as_ref()?)));
        newest.fold((0, 0, 0, 0), |(entries, key_bytes, value_bytes, expiring), (place, live)| {
            let prefix = if place.0.0 < 240 { 1 } else { 5 };
            (
                entries + 1,
                key_bytes + place.1.len() as u64 + prefix,
                value_bytes + live.value.data.len() as u64,
                expiring + u64::from(live.expires_at.is_some()),
            )
        })
    }

    /// Whether `failures` may be the answer to a commit's checks at `now`: all checks that fail for certain are among them, and
    /// each is possible. An engine knows the time of an old version only roughly, and when in doubt it says that an
    /// entry has expired since.
    pub fn may_fail(&self, commit: &Commit, failures: &[CheckFailure], now: UnixMillis) -> bool {
        let failed = |index| failures.iter().find(|failure| failure.index == index);
        !failures.is_empty()
            && commit.checks.iter().enumerate().all(|(index, check)| match (failed(index), check) {
                (None, _) => self.broken(check, now).is_none(),
                (Some(failure), Check::Range { space, range, unchanged_since }) => {
                    let places = self.places_in(*space, range);
                    let newest = places.filter_map(|place| self.version(place, Versionstamp::MAX));
                    let doubtful = newest.filter(|version| {
                        let expires_at = version.live.as_ref().and_then(|live| live.expires_at);
                        version.stamp > *unchanged_since || expires_at.is_some_and(|at| at <= now)
                    });
                    let certain = self.broken(check, now).flatten();
                    let possible = |version: &Version| Some(version.stamp) == failure.found;
                    failure.found >= certain && doubtful.into_iter().any(possible)
                }
                (Some(failure), Check::Key { .. }) => self.broken(check, now) == Some(failure.found),
            })
    }

    fn stage(
        &self,
        staged: &mut BTreeMap<Place, Option<Live>>,
        place: &Place,
        operation: &Operation,
        stamp: Versionstamp,
        now: UnixMillis,
    ) -> Result<(), MutationError> {
        let current = self.current(staged, place, now);
        let resolve = |expiry: &Expiry| match expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(*at),
            Expiry::After(duration) => Some(now.saturating_add(*duration)),
            Expiry::Keep => current.as_ref().and_then(|live| live.expires_at),
            Expiry::KeepOr(duration) => {
                current.as_ref().map_or(Some(now.saturating_add(*duration)), |live| live.expires_at)
            }
        };
        match operation {
            Operation::Set { value, expiry } => {
                let live = Live { value: value.clone(), expires_at: resolve(expiry) };
                staged.insert(place.clone(), Some(live));
            }
            Operation::Delete => {
                if self.deletable(staged, place) {
                    staged.insert(place.clone(), None);
                }
            }
            Operation::DeleteIfStamp(expected) => {
                let newest = match staged.get(place) {
                    Some(_) => Some(stamp),
                    None => self.version(place, Versionstamp::MAX).map(|version| version.stamp),
                };
                if newest == Some(*expected) && self.deletable(staged, place) {
                    staged.insert(place.clone(), None);
                }
            }
            Operation::DeleteRange { end } => {
                let range = KeyRange { start: place.1.clone(), end: end.clone() };
                let mut inside: BTreeSet<Place> = self.places_in(place.0, &range).cloned().collect();
                let staged_inside =
                    staged.keys().filter(|other| other.0 == place.0 && range.contains(&other.1));
                inside.extend(staged_inside.cloned());
                for other in inside {
                    if self.deletable(staged, &other) {
                        staged.insert(other, None);
                    }
                }
            }
            Operation::Number { op, operand, at_least, at_most, clamp, expiry } => {
                let bounds = arithmetic::Bounds {
                    at_least: at_least.as_ref(),
                    at_most: at_most.as_ref(),
                    clamp: *clamp,
                };
                let stored = current.as_ref().map(|live| &live.value);
                let value = number(*op, stored, operand, bounds)?;
                staged.insert(place.clone(), Some(Live { value, expires_at: resolve(expiry) }));
            }
            Operation::SetWithVersionstampSuffix { value, expiry } => {
                let key = suffixed(&place.1, stamp);
                LimitError::check("key_size_bytes", limits::KEY_SIZE_BYTES_MAX, key.len())
                    .map_err(MutationError::KeyTooLong)?;
                // Keeping an expiry means that of the key written, which is new.
                let expires_at = match expiry {
                    Expiry::Keep => None,
                    Expiry::KeepOr(duration) => Some(now.saturating_add(*duration)),
                    other => resolve(other),
                };
                staged.insert((place.0, key), Some(Live { value: value.clone(), expires_at }));
            }
            Operation::Touch { expiry } => {
                if let Some(live) = &current {
                    let live = Live { value: live.value.clone(), expires_at: resolve(expiry) };
                    staged.insert(place.clone(), Some(live));
                }
            }
        }
        Ok(())
    }
}

/// Arithmetic is frozen in `orchard-types` and tested there; both sides use it.
fn number(
    op: NumberOp,
    stored: Option<&Value>,
    operand: &Value,
    bounds: arithmetic::Bounds<'_>,
) -> Result<Value, MutationError> {
    arithmetic::apply(op, stored, operand, bounds)
}

/// A key from its bytes.
///
/// # Panics
/// If it is too long.
pub fn key(bytes: &[u8]) -> Key {
    Key::new(bytes.to_vec()).expect("a key of the workload is short enough")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: SpaceId = SpaceId::DEFAULT;

    fn stamp(index: u64) -> Versionstamp {
        Versionstamp::new(index, 0)
    }

    fn apply(oracle: &mut Oracle, index: u64, commit: Commit) -> Outcome {
        oracle.apply(&commit, stamp(index), UnixMillis(index))
    }

    fn text(oracle: &Oracle, name: &str, at: u64) -> Option<String> {
        let found = oracle.get(&(SPACE, Bytes::from(name.to_owned())), stamp(at), UnixMillis(at))?;
        found.live.value.as_text().map(str::to_owned)
    }

    #[test]
    fn mutations_resolve_in_order_and_versions_stay() {
        let mut oracle = Oracle::default();
        let commit = Commit::new()
            .set(SPACE, key(b"a"), "1")
            .set(SPACE, key(b"b"), "1")
            .mutate(SPACE, key(b"a"), Operation::DeleteRange { end: None })
            .set(SPACE, key(b"b"), "2");
        assert_eq!(apply(&mut oracle, 1, commit), Outcome::Committed);
        assert_eq!((text(&oracle, "a", 1), text(&oracle, "b", 1)), (None, Some("2".into())));
        apply(&mut oracle, 2, Commit::new().set(SPACE, key(b"b"), "3"));
        assert_eq!((text(&oracle, "b", 1), text(&oracle, "b", 2)), (Some("2".into()), Some("3".into())));
        oracle.truncate(stamp(1));
        assert_eq!(text(&oracle, "b", 9), Some("2".into()));
        assert_eq!(oracle.log().len(), 1);
    }

    #[test]
    fn an_expired_entry_is_absent_and_a_change_of_its_range() {
        let mut oracle = Oracle::default();
        let set = Operation::Set { value: "v".into(), expiry: Expiry::After(DurationMs(3)) };
        apply(&mut oracle, 1, Commit::new().mutate(SPACE, key(b"a"), set));
        assert_eq!((text(&oracle, "a", 3), text(&oracle, "a", 4)), (Some("v".into()), None));
        let unchanged = |since| Commit {
            checks: vec![Check::Range {
                space: SPACE,
                range: KeyRange::all(),
                unchanged_since: stamp(since),
            }],
            ..Commit::new()
        };
        assert_eq!(apply(&mut oracle, 3, unchanged(1)), Outcome::Committed);
        let failures = vec![CheckFailure { index: 0, found: Some(stamp(1)) }];
        let failed = Outcome::CheckFailed(failures.clone());
        assert_eq!(apply(&mut oracle, 4, unchanged(2)), failed, "it expired behind the group at 3");
        assert!(oracle.may_fail(&unchanged(3), &failures, UnixMillis(5)), "it is not known when 3 was read");
        assert_eq!(apply(&mut oracle, 6, unchanged(4)), Outcome::Committed, "it had expired before");
        let absent = Commit::new().check_absent(SPACE, key(b"a"));
        assert_eq!(apply(&mut oracle, 7, absent), Outcome::Committed);
    }

    #[test]
    fn every_failed_check_is_listed_and_nothing_is_written() {
        let mut oracle = Oracle::default();
        apply(&mut oracle, 1, Commit::new().set(SPACE, key(b"a"), "1"));
        let commit = Commit::new()
            .check_absent(SPACE, key(b"a"))
            .check(SPACE, key(b"a"), Some(stamp(1)))
            .check(SPACE, key(b"b"), Some(stamp(1)))
            .set(SPACE, key(b"c"), "1");
        let failures =
            vec![CheckFailure { index: 0, found: Some(stamp(1)) }, CheckFailure { index: 2, found: None }];
        assert_eq!(apply(&mut oracle, 2, commit), Outcome::CheckFailed(failures));
        assert_eq!(text(&oracle, "c", 9), None);
    }

    #[test]
    fn a_token_gives_the_first_outcome_until_its_deadline() {
        let mut oracle = Oracle::default();
        let token = orchard_types::Token { id: Bytes::from_static(b"t"), deadline: UnixMillis(10) };
        let commit = Commit { token: Some(token.clone()), ..Commit::new().set(SPACE, key(b"a"), "1") };
        assert_eq!(apply(&mut oracle, 1, commit.clone()), Outcome::Committed);
        assert_eq!(apply(&mut oracle, 5, commit.clone()), Outcome::Repeated(stamp(1), UnixMillis(1)));
        let other = Commit { token: Some(token), ..Commit::new().set(SPACE, key(b"a"), "2") };
        assert_eq!(apply(&mut oracle, 5, other), Outcome::OtherContent);
        assert_eq!(apply(&mut oracle, 10, commit), Outcome::DeadlinePassed);
    }
}
