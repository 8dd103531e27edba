//! Commits, their outcomes, and the answers that wait for the log.

use super::*;

impl Simulation {
    pub(super) fn submit(&mut self) -> Step {
        if self.waiting.len() >= self.weather.clients {
            return self.log_step();
        }
        let now = self.clock.now();
        let commit = if self.random.below(100) < self.workload.style.collections_percent {
            let new_id = self.engine().engine().new_collection_id();
            self.workload.collection_commit(&self.random, &self.truth, now, new_id)
        } else {
            self.workload.commit(&self.random, &self.truth, now)
        };
        self.submit_commit(&commit)
    }

    pub(super) fn submit_commit(&mut self, commit: &Commit) -> Step {
        let started = self.clock.now();
        let submitted = self.engine().submit(commit);
        tell!(self, "at {:?} {commit:?} -> {submitted:?}", self.clock.now());
        self.decided(commit, submitted, started)
    }

    /// Holds the outcome of a commit against the truth.
    pub(super) fn decided(&mut self, commit: &Commit, submitted: Submitted, started: UnixMillis) -> Step {
        self.look_for_rollback();
        self.settled(commit, submitted, started)
    }

    /// The same once it is known that nothing was taken back since the commit was made.
    pub(super) fn settled(&mut self, commit: &Commit, submitted: Submitted, started: UnixMillis) -> Step {
        self.summary.submitted += 1;
        match &submitted.outcome {
            Ok(placed) if placed.repeated => {
                let stamp = Versionstamp::new(self.index_max + 1, 0);
                let outcome = Outcome::Repeated(placed.versionstamp, placed.log_time);
                let times = self.possible_times();
                let agrees = times.iter().any(|time| self.truth.outcome(commit, stamp, *time) == outcome);
                ensure!(agrees, "a token gave {outcome:?} for {commit:?}");
            }
            Ok(placed) => {
                let (stamp, log_time) = (placed.versionstamp, placed.log_time);
                ensure!(stamp > self.truth.last(), "stamp {stamp:?} after {:?}", self.truth.last());
                self.saw_group(stamp, log_time, started)?;
                let expected = self.truth.apply(commit, stamp, log_time);
                ensure!(
                    expected == Outcome::Committed,
                    "{stamp:?} was committed, expected {expected:?}: {commit:?}"
                );
                ensure!(submitted.depends_on >= stamp, "a commit depends on itself");
            }
            Err(error) => self.refused(commit, error, submitted.depends_on)?,
        }
        match &submitted.outcome {
            Err(CommitError::MemoryFull { .. }) => self.summary.memory_full += 1,
            Err(CommitError::TooOld { .. }) => self.summary.too_old += 1,
            _ => {}
        }
        let is_commit = submitted.outcome.is_ok();
        self.summary.refused += u64::from(!is_commit);
        self.waiting.push(Waiting { depends_on: submitted.depends_on, is_commit });
        self.deliver();
        Ok(())
    }

    pub(super) fn saw_group(
        &mut self,
        stamp: Versionstamp,
        log_time: UnixMillis,
        started: UnixMillis,
    ) -> Step {
        let (index, time) = self.group;
        if stamp.index() == index {
            ensure!(log_time == time, "one group has two times: {time:?}, {log_time:?}");
            return Ok(());
        }
        ensure!(
            stamp.index() > self.index_max,
            "index {} is used again after {}",
            stamp.index(),
            self.index_max
        );
        ensure!(log_time >= time, "log time goes back: {time:?}, {log_time:?}");
        ensure!(
            log_time >= self.read_time,
            "a group's time {log_time:?} lies before a reader's {:?}",
            self.read_time
        );
        let latest = self.clock_max.max(self.clock.now());
        ensure!(log_time <= latest.max(time), "log time {log_time:?} is ahead of the clock {latest:?}");
        if !self.jumped {
            ensure!(log_time >= started, "log time {log_time:?} is behind the clock {started:?}");
        }
        self.index_max = stamp.index();
        self.group = (stamp.index(), log_time);
        Ok(())
    }

    pub(super) fn refused(&self, commit: &Commit, error: &CommitError, depends_on: Versionstamp) -> Step {
        let expected = self.refusals(&self.truth, commit);
        let agrees = self.agrees(&self.truth, commit, error);
        ensure!(agrees, "refused with {error:?}, expected one of {expected:?}: {commit:?}");
        // The output rule: nobody is told a refusal before what it rests on is as durable as a commit would be.
        if depends_on < self.truth.last() {
            let mut durable = self.truth.clone();
            durable.truncate(depends_on);
            let agrees = self.agrees(&durable, commit, error);
            ensure!(
                agrees,
                "{error:?} may be told once {depends_on:?} is durable, but rests on more: {commit:?}"
            );
        }
        Ok(())
    }

    /// A transaction: it reads under the commit lock and writes what follows from that.
    pub(super) fn submit_exclusive(&mut self) -> Step {
        if self.waiting.len() >= self.weather.clients {
            return self.log_step();
        }
        let (space, key) = (self.workload.style.space(&self.random), self.workload.style.key(&self.random));
        let place = (space, key.clone().into_bytes());
        let started = self.clock.now();
        let mut read = Ok(None);
        let submitted = self.engine().engine().submit_exclusive(|pin| {
            read = self.engine().get(pin, space, &place.1);
            let value = match read.as_ref() {
                Ok(Some(found)) => Value::from(found.live.value.data.len() as i64),
                _ => Value::from("first"),
            };
            let set = Operation::Set { value, expiry: Expiry::Keep };
            Ok::<_, Infallible>(Commit::new().mutate(space, key.clone(), set))
        });
        let Ok(submitted) = submitted;
        tell!(self, "read {read:?} and wrote behind it {submitted:?}");
        let read = match read {
            Ok(read) => read,
            Err(error) => return self.read_error(&error),
        };
        let Ok(placed) = &submitted.outcome else {
            let value = Value::null();
            let set = Operation::Set { value, expiry: Expiry::Keep };
            return self.decided(&Commit::new().mutate(space, key, set), submitted, started);
        };
        let expected = self.truth.get(&place, Versionstamp::MAX, placed.log_time);
        self.same(&place, expected.as_ref(), read.as_ref())
            .map_err(|what| format!("a transaction at {placed:?} read what it does not follow on: {what}"))?;
        let value = match &read {
            Some(found) => Value::from(found.live.value.data.len() as i64),
            None => Value::from("first"),
        };
        let set = Operation::Set { value, expiry: Expiry::Keep };
        self.decided(&Commit::new().mutate(space, key, set), submitted, started)
    }

    /// Somebody wants more than the database's own durability and gets it with the next groups.
    pub(super) fn want_durable(&mut self) -> Step {
        let last = self.truth.last();
        let waker = Waker::noop();
        match self.engine().engine().poll_wait(last, Durability::Fsync, waker) {
            Some(Ok(())) => {
                let durable = self.engine().durable();
                ensure!(durable >= last, "{last:?} is called durable, {durable:?} is");
                Ok(())
            }
            Some(Err(CommitError::Poisoned(_) | CommitError::DiskFull)) if self.faults || self.was_full => {
                Ok(())
            }
            Some(Err(error)) => Err(format!("waiting for {last:?}: {error}")),
            None => {
                loop {
                    let stepped = self.engine().log_step();
                    tell!(self, "log step for {last:?}: {stepped:?}");
                    self.look_for_rollback();
                    match stepped {
                        Ok(true) => self.was_full = false,
                        Ok(false) => break,
                        Err(CommitError::DiskFull) if self.faults => {
                            self.was_full = true;
                            return Ok(());
                        }
                        Err(CommitError::Poisoned(_)) if self.faults => {
                            self.sync_failed = true;
                            return Ok(());
                        }
                        Err(error) => return Err(format!("the log failed without a reason: {error}")),
                    }
                }
                self.deliver();
                let durable = self.engine().durable();
                ensure!(durable >= last, "somebody waits for {last:?} to be durable, {durable:?} is");
                Ok(())
            }
        }
    }

    /// What a commit may come to on a state, at one of the times that are possible.
    pub(super) fn refusals(&self, truth: &Oracle, commit: &Commit) -> Vec<Outcome> {
        let stamp = Versionstamp::new(self.index_max + 1, 0);
        let mut expected: Vec<Outcome> =
            self.possible_times().into_iter().map(|time| truth.outcome(commit, stamp, time)).collect();
        expected.dedup();
        expected
    }

    /// Whether a refusal is right on a state.
    pub(super) fn agrees(&self, truth: &Oracle, commit: &Commit, error: &CommitError) -> bool {
        let expects = |outcome: Outcome| self.refusals(truth, commit).contains(&outcome);
        match error {
            CommitError::CheckFailed(failures) => {
                self.possible_times().iter().any(|time| truth.may_fail(commit, failures, *time))
            }
            CommitError::Mutation { index, error } => expects(Outcome::Mutation(*index, error.clone())),
            CommitError::Token(TokenError::OtherContent) => expects(Outcome::OtherContent),
            CommitError::Token(TokenError::DeadlinePassed) => expects(Outcome::DeadlinePassed),
            CommitError::Token(TokenError::DeadlineTooFar) => expects(Outcome::DeadlineTooFar),
            CommitError::TooOld { floor } => commit.checks.iter().any(
                |check| matches!(check, Check::Range { unchanged_since, .. } if unchanged_since < floor),
            ),
            CommitError::MemoryFull { .. } => self.weather.small_memory,
            CommitError::DiskFull => self.faults || self.was_full,
            CommitError::Poisoned(_) => self.faults,
            CommitError::Storage(error) => self.faults && is_io(error),
            _ => false,
        }
    }

    /// At which times a refused commit may have been decided: a refusal does not say, and a group opened for it alone
    /// leaves no trace. Between two expiries all times are alike.
    pub(super) fn possible_times(&self) -> Vec<UnixMillis> {
        let now = self.clock.now();
        let earliest = self.group.1.max(self.read_time);
        if !self.jumped {
            return vec![earliest, now.max(earliest)];
        }
        let latest = self.clock_max.max(now).max(earliest);
        let mut times: Vec<UnixMillis> =
            self.truth.expiries().filter(|time| *time > earliest && *time <= latest).collect();
        times.extend([earliest, latest]);
        times.extend(
            times
                .clone()
                .iter()
                .map(|time| UnixMillis(time.0.saturating_sub(1)))
                .filter(|time| *time > earliest),
        );
        times.sort_unstable();
        times.dedup();
        times
    }

    pub(super) fn log_step(&mut self) -> Step {
        let stepped = self.engine().log_step();
        tell!(self, "log step {stepped:?}, visible {:?}", self.engine().visible());
        self.look_for_rollback();
        match stepped {
            Ok(wrote) => self.was_full &= !wrote,
            Err(CommitError::DiskFull) if self.faults => self.was_full = true,
            Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
            Err(error) => return Err(format!("the log failed without a reason: {error}")),
        }
        self.deliver();
        Ok(())
    }

    /// Whether the disk was full: then, under `fsync`, everything not yet visible was taken back.
    pub(super) fn look_for_rollback(&mut self) {
        let rollbacks = self.engine().rollbacks();
        if rollbacks > self.rollbacks {
            self.summary.full += 1;
            self.rollbacks = rollbacks;
            let visible = self.engine().visible();
            tell!(self, "rolled back to {visible:?}");
            self.truth.truncate(visible);
            self.waiting.retain(|waiting| waiting.depends_on <= visible);
        }
    }

    /// Gives clients the answers that may leave.
    pub(super) fn deliver(&mut self) {
        if self.engine().is_poisoned() {
            self.waiting.clear();
            return;
        }
        let visible = self.engine().visible();
        for waiting in self.waiting.extract_if(.., |waiting| waiting.depends_on <= visible) {
            self.observed = self.observed.max(waiting.depends_on);
            self.summary.acknowledged += u64::from(waiting.is_commit);
        }
    }

    pub(super) fn drain(&mut self) -> Step {
        while self.engine().log_step().map_err(|error| format!("draining: {error}"))? {}
        self.deliver();
        ensure!(self.waiting.is_empty(), "answers wait for something that does not come");
        Ok(())
    }

    // ---- background ----
}
