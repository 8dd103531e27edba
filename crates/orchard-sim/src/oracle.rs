//! The truth: what a log means, in a plain `BTreeMap`, written without a look at the engine's code.
//!
//! Invariants:
//! - [`Oracle::apply`] is a function of the commits applied before, the commit, its stamp and its log time.
//! - Every version ever written is kept, so any snapshot can be read again and any tail can be taken back.

mod decide;

use bytes::Bytes;
use decide::content;
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
}

/// A key from its bytes.
///
/// # Panics
/// If it is too long.
pub fn key(bytes: &[u8]) -> Key {
    Key::new(bytes.to_vec()).expect("a key of the workload is short enough")
}

#[cfg(test)]
mod tests;
