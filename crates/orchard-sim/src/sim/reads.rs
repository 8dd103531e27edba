//! Reads: at a snapshot, by windows of versions, of histories, and the feed.

use super::*;

impl Simulation {
    pub(super) fn pin(&mut self) -> Step<SnapshotPin> {
        let pin = self.engine().snapshot();
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        tell!(self, "read at {stamp:?} {time:?}");
        ensure!(stamp == self.engine().visible(), "a snapshot is of now");
        ensure!(time >= self.truth.time_of(stamp), "a reader's time {time:?} lies before what it sees");
        ensure!(time >= self.read_time, "a reader's time goes back from {:?} to {time:?}", self.read_time);
        let latest = self.clock_max.max(self.clock.now()).max(self.group.1);
        ensure!(time <= latest, "a reader's time {time:?} is ahead of the clock {latest:?}");
        if !self.jumped
            && !self.was_full
            && !self.engine().is_poisoned()
            && self.truth.last() <= stamp.min(self.engine().written())
        {
            let now = self.clock.now();
            ensure!(time >= now, "nothing is in flight and a reader's time {time:?} is behind {now:?}");
        }
        self.read_time = time;
        Ok(pin)
    }

    pub(super) fn read(&mut self) -> Step {
        if self.random.below(4) == 0 {
            let (space, range) =
                (self.workload.style.space(&self.random), self.workload.style.range(&self.random));
            return self.same_count(space, &range);
        }
        let pin = self.pin()?;
        self.read_at(&pin)?;
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.into_bytes());
        let expected = self.truth.get(&place, Versionstamp::from_raw(pin.stamp()), pin.time());
        match self.engine().get_now(space, &place.1) {
            Ok(found) => self.same(&place, expected.as_ref(), found.as_ref()),
            Err(error) => self.read_error(&error),
        }
    }

    /// One key or range at a snapshot.
    pub(super) fn read_at(&mut self, pin: &SnapshotPin) -> Step {
        self.summary.reads += 1;
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let space = self.workload.style.space(&self.random);
        if self.random.below(2) == 0 {
            let place = (space, self.workload.style.key(&self.random).into_bytes());
            let expected = self.truth.get(&place, stamp, time);
            return match self.engine().get(pin, space, &place.1) {
                Ok(found) => self.same(&place, expected.as_ref(), found.as_ref()),
                Err(error) => self.read_error(&error),
            };
        }
        let range = self.workload.style.range(&self.random);
        let scan = Scan {
            reverse: self.random.below(2) == 0,
            entries_max: pick(&self.random, &[1, 3, 100]),
            bytes_max: pick(&self.random, &[1, 1_000, 1 << 20]),
        };
        if self.random.below(3) == 0 {
            return self.same_window(pin, space, &range, scan);
        }
        self.same_range(pin, space, &range, scan)
    }

    /// What was last changed in a window of versions.
    pub(super) fn same_window(
        &self,
        pin: &SnapshotPin,
        space: SpaceId,
        range: &KeyRange,
        scan: Scan,
    ) -> Step {
        let (at, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let log = self.truth.log();
        let back = |most: u64| {
            let back = 1 + self.random.below(most) as usize;
            log.len().checked_sub(back).map_or(Versionstamp::ZERO, |position| log[position].stamp)
        };
        let until = if self.random.below(2) == 0 { None } else { Some(back(10)) };
        let window = Window {
            since: if self.random.below(8) == 0 { None } else { Some(back(20)) },
            until,
            include_deleted: self.random.below(2) == 0,
        };
        let bounds = (window.since.unwrap_or_default(), until.unwrap_or(Versionstamp::MAX));
        let (mut entries, mut deleted) = self.truth.changed(space, range, bounds, (at, time));
        if !window.include_deleted {
            deleted.clear();
        }
        if scan.reverse {
            entries.reverse();
            deleted.reverse();
        }
        let batch = match self.engine().changed(pin, space, range, scan, window) {
            Ok(batch) => batch,
            Err(ReadError::SnapshotTooOld) if window.include_deleted => return Ok(()),
            Err(error) => return self.read_error(&error),
        };
        let found: Vec<_> = batch.entries.into_iter().map(found).collect();
        ensure!(found == entries, "{window:?} of {range:?} has {found:?}, expected {entries:?}");
        let gone: Vec<_> =
            batch.deleted.into_iter().map(|gone| (gone.key.into_bytes(), gone.versionstamp)).collect();
        ensure!(gone == deleted, "{window:?} of {range:?} deleted {gone:?}, expected {deleted:?}");
        Ok(())
    }

    /// The versions of a key that are kept.
    pub(super) fn read_history(&mut self) -> Step {
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.into_bytes());
        let limit = pick(&self.random, &[1, 3, 100]);
        let (floor, visible) = (self.engine().engine().history_floor(), self.engine().visible());
        let found = match self.engine().engine().history(space, &place.1, limit) {
            Ok(found) => found,
            Err(error) => return self.read_error(&error),
        };
        let found: Vec<Version> = found
            .into_iter()
            .map(|kept| Version {
                stamp: kept.versionstamp,
                live: kept.value.map(|(value, expires_at)| Live { value, expires_at }),
            })
            .collect();
        let mut expected: Vec<Version> = Vec::new();
        for version in self.truth.versions(&place, visible).take(limit) {
            expected.push(version.clone());
            if version.stamp <= floor {
                break;
            }
        }
        // Deletions with nothing before them may be forgotten.
        while found.len() < expected.len() && expected.pop_if(|oldest| oldest.live.is_none()).is_some() {}
        ensure!(found == expected, "{place:?} has the history {found:?}, expected {expected:?}");
        Ok(())
    }

    pub(super) fn same_range(&self, pin: &SnapshotPin, space: SpaceId, range: &KeyRange, scan: Scan) -> Step {
        let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
        let mut expected = self.truth.range(space, range, stamp, time);
        self.same_count_at(pin, space, range, expected.len() as u64)?;
        if scan.reverse {
            expected.reverse();
        }
        let found = match self.engine().range(pin, space, range, scan) {
            Ok(found) => found,
            Err(error) => return self.read_error(&error),
        };
        for ((key, expected), (found_key, found)) in expected.iter().zip(&found) {
            ensure!(key == found_key, "range {range:?} of {space:?}: {key:?} expected, {found_key:?} found");
            self.same(&(space, key.clone()), Some(expected), Some(found))?;
        }
        let (have, want) = (found.len(), expected.len());
        ensure!(
            have == want,
            "range {range:?} of {space:?} at {stamp:?}: {have} entries of {want}, {scan:?}"
        );
        Ok(())
    }

    pub(super) fn same_count(&self, space: SpaceId, range: &KeyRange) -> Step {
        let entries = self.engine().engine().count(space, &range.start, range.end.as_deref());
        let expected = self.truth.count(space, range);
        ensure!(entries == expected, "{range:?} of {space:?} counts {entries} entries, expected {expected}");
        Ok(())
    }

    fn same_count_at(&self, pin: &SnapshotPin, space: SpaceId, range: &KeyRange, expected: u64) -> Step {
        match self.engine().engine().count_at(pin, space, &range.start, range.end.as_deref()) {
            Ok(entries) => {
                let (stamp, time) = (Versionstamp::from_raw(pin.stamp()), pin.time());
                ensure!(
                    entries == expected,
                    "{range:?} of {space:?} counts {entries} entries at {stamp:?} {time:?}, expected {expected}"
                );
                Ok(())
            }
            Err(error) => self.read_error(&error),
        }
    }

    pub(super) fn same(&self, place: &Place, expected: Option<&Found>, found: Option<&Found>) -> Step {
        if expected == found {
            return Ok(());
        }
        let text = |found: Option<&Found>| {
            format!("{:?} {}", found.map(|found| found.stamp), show(found.map(|found| &found.live)))
        };
        Err(format!("{place:?} holds {}, expected {}", text(found), text(expected)))
    }

    pub(super) fn read_error(&self, error: &ReadError) -> Step {
        match error {
            ReadError::Storage(error) if self.faults && is_io(error) => Ok(()),
            error => Err(format!("a read failed: {error}")),
        }
    }

    pub(super) fn take_snapshot(&mut self) -> Step {
        let pin = self.pin()?;
        if self.held.len() >= 6 {
            let oldest = self.random.below(6) as usize;
            self.held.swap_remove(oldest);
        }
        self.held.push(Held { pin, taken_at_ns: self.clock.monotonic_ns(), expired: false });
        Ok(())
    }

    /// Old snapshots end, and history moves on.
    pub(super) fn expire(&mut self) {
        let age_ns = self.options.snapshot_age_ms_max * 1_000_000;
        let before_ns = self.clock.monotonic_ns().saturating_sub(age_ns);
        self.engine().engine().expire_snapshots();
        for held in &mut self.held {
            held.expired |= held.taken_at_ns < before_ns;
        }
        tell!(self, "history begins at {:?}", self.engine().engine().history_floor());
    }

    pub(super) fn read_snapshot(&mut self) -> Step {
        if self.held.is_empty() {
            return Ok(());
        }
        let held = self.held.swap_remove(self.random.below(self.held.len() as u64) as usize);
        if held.expired {
            let answer = self.engine().get(&held.pin, SpaceId::DEFAULT, b"k1");
            ensure!(
                matches!(answer, Err(ReadError::SnapshotTooOld)),
                "a snapshot outlived its age: {answer:?}"
            );
            return Ok(());
        }
        self.read_at(&held.pin)?;
        if self.random.below(3) > 0 {
            self.held.push(held);
        }
        Ok(())
    }

    /// A read at an old version, if it is still there.
    pub(super) fn look_back(&mut self) -> Step {
        let log = self.truth.log();
        if log.is_empty() {
            return Ok(());
        }
        let back = self.random.below(log.len().min(30) as u64) as usize;
        let at = log[log.len() - 1 - back].stamp;
        match self.engine().engine().snapshot_at(at) {
            Ok(pin) => {
                let visible = self.engine().visible();
                ensure!(pin.stamp() == at.min(visible).raw(), "a snapshot at {at:?} is of {}", pin.stamp());
                self.read_at(&pin)
            }
            Err(ReadError::SnapshotTooOld) => {
                let kept_until = self.truth.time_of(at).0.saturating_add(self.options.history_retention_ms);
                // In little memory the oldest go before their time.
                let is_kept = self.options.history_retention_ms > 0
                    && !self.weather.small_memory
                    && kept_until > self.clock_max.max(self.clock.now()).0;
                ensure!(!is_kept, "{at:?} is within the retention and its snapshot is too old");
                Ok(())
            }
            Err(error) => self.read_error(&error),
        }
    }

    /// The feed from some position on is the log, whole and in order, or says that it has a gap.
    pub(super) fn read_feed(&mut self) -> Step {
        let visible = self.engine().visible();
        let limit = pick(&self.random, &[1, 5, 1_000]);
        if let Some(lost) = self.lost.last()
            && *lost < visible.min(self.engine().written())
        {
            let answer = self.engine().engine().changes(*lost, limit);
            let gap = match &answer {
                Err(ChangesError::Gap { .. }) => true,
                Err(ChangesError::Storage(error)) => self.faults && is_io(error),
                Err(ChangesError::Poisoned(_)) => self.faults,
                Ok(_) => false,
            };
            ensure!(gap, "the feed goes on behind {lost:?}, which a crash has taken back: {answer:?}");
        }
        let log = self.truth.log();
        let back = self.random.below(40) as usize;
        let from = log.len().checked_sub(1 + back).map_or(Versionstamp::ZERO, |at| log[at].stamp);
        let changes = match self.engine().engine().changes(from, limit) {
            Ok(changes) => changes,
            Err(ChangesError::Gap { restart_at }) => {
                self.summary.gaps += 1;
                let behind = restart_at > from || from > visible;
                ensure!(behind, "the feed has a gap behind {from:?} and begins at {restart_at:?}");
                let checkpoint = self.engine().engine().checkpoint_stamp();
                ensure!(
                    restart_at <= checkpoint,
                    "the log reaches back to {checkpoint:?}, the feed to {restart_at:?}"
                );
                let options = self.engine().engine().options();
                let all_stay = options.log_retention_ms.min(options.log_retention_bytes) == u64::MAX;
                // A full disk takes them, and their number is bounded.
                let may_go = self.weather.full_disk
                    || self.weather.io_errors
                    || self.engine().engine().manifest().retained.len() >= 64;
                ensure!(
                    !all_stay || may_go || from > visible,
                    "all log files stay, but the feed begins at {restart_at:?}, not at {from:?}"
                );
                return Ok(());
            }
            Err(ChangesError::Storage(error)) if self.faults && is_io(&error) => return Ok(()),
            // A failed fsync may have dropped what was written: the files are no longer what the engine wrote.
            Err(ChangesError::Poisoned(_)) if self.faults && self.engine().is_poisoned() => return Ok(()),
            Err(error) => return Err(format!("the feed failed: {error:?}")),
        };
        let visible = visible.min(self.engine().written());
        let expected = log.iter().filter(|logged| logged.stamp > from && logged.stamp <= visible).take(limit);
        let mut count = 0;
        for (found, expected) in changes.iter().zip(expected.clone()) {
            let same = (found.versionstamp, found.log_time) == (expected.stamp, expected.log_time)
                && same_mutations(&found.mutations, expected);
            ensure!(same, "the feed behind {from:?} has {found:?}, expected {expected:?}");
            count += 1;
        }
        let expected = expected.count();
        ensure!(
            count == expected && changes.len() == expected,
            "the feed behind {from:?} has {count} of {expected}"
        );
        Ok(())
    }
}

/// Whether the feed shows what a commit did: all its mutations, but conditional deletes only where they deleted.
fn same_mutations(found: &[Mutation], logged: &Logged) -> bool {
    let place = |mutation: &Mutation| (mutation.space, mutation.key.clone().into_bytes());
    // The truth keeps tokens apart from keys.
    let is_conditional = |mutation: &&Mutation| {
        mutation.space != SpaceId::TOKENS && matches!(mutation.operation, Operation::DeleteIfStamp(_))
    };
    let asked = &logged.commit.mutations;
    let (shown, others): (Vec<_>, Vec<_>) = found.iter().partition(is_conditional);
    let honest =
        shown.iter().all(|shown| asked.contains(shown) && logged.changes.contains_key(&place(shown)));
    // What nothing else in the commit can have deleted, a conditional delete did.
    let is_sweep = asked.iter().all(|mutation| is_conditional(&mutation));
    // That a collection lost its header is nothing that a user did.
    let mut seen = logged.changes.keys().filter(|key| key.0 != SpaceId::ORPHANS);
    let whole = !is_sweep || seen.all(|key| shown.iter().any(|shown| place(shown) == *key));
    honest && whole && others.into_iter().eq(asked.iter().filter(|mutation| !is_conditional(mutation)))
}
