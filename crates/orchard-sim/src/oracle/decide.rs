//! What a commit comes to: its checks, then its mutations one after the other.

use super::*;

/// What a token stands for: the changes, not the conditions on which they were made.
pub(super) fn content(commit: &Commit) -> Commit {
    Commit { token: None, checks: Vec::new(), ..commit.clone() }
}

impl Oracle {
    /// What applying `commit` now would come to, and what it would change.
    pub(super) fn decide(
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
