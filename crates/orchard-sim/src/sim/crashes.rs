//! Ends by power, kill and failure, and what the next open must find.

use super::*;
use orchard_engine::format::HEADER_SIZE_BYTES;
use orchard_engine::manifest;

impl Simulation {
    /// Everything, against the truth.
    pub(super) fn verify(&mut self) -> Step {
        let pin = self.pin()?;
        let internal = [SpaceId::ELEMENTS, SpaceId::ORPHANS];
        for space in self.workload.style.spaces.iter().copied().chain(internal).collect::<Vec<_>>() {
            for reverse in [false, true] {
                let scan = Scan { reverse, entries_max: 50, bytes_max: 1 << 20 };
                self.same_range(&pin, space, &KeyRange::all(), scan)?;
            }
            self.same_count(space, &KeyRange::all())?;
        }
        // Tokens are entries, too, and are not counted here.
        if self.workload.style.token_percent == 0 && self.truth.last() <= self.engine().visible() {
            let stats = self.engine().engine().stats();
            let mut found = (stats.entries, stats.key_bytes, stats.value_bytes, stats.expiring);
            let expected = self.truth.totals();
            if stats.deleted_ranges > 0 {
                // Bytes and expiries count until they are erased.
                found = (found.0, expected.1, expected.2, expected.3);
            }
            ensure!(
                found == expected,
                "entries, key bytes, value bytes, expiring: {found:?}, expected {expected:?}"
            );
        }
        let places: Vec<Place> = self.truth.places().cloned().collect();
        for place in places {
            let expected = self.truth.get(&place, Versionstamp::from_raw(pin.stamp()), pin.time());
            match self.engine().get(&pin, place.0, &place.1) {
                Ok(found) => self.same(&place, expected.as_ref(), found.as_ref())?,
                Err(error) => self.read_error(&error)?,
            }
        }
        Ok(())
    }

    // ---- ends and beginnings ----

    /// The engine refuses commits, but it answers reads; then its process is ended.
    pub(super) fn poisoned(&mut self) -> Step {
        self.summary.poisoned += 1;
        ensure!(self.faults, "poisoned without a reason");
        self.waiting.clear();
        let commit = self.workload.commit(&self.random, &self.truth, self.clock.now());
        let submitted = self.engine().submit(&commit);
        let refused = matches!(&submitted.outcome, Err(CommitError::Poisoned(_) | CommitError::Limit(_)));
        ensure!(refused, "a poisoned engine answered {submitted:?}");
        self.read()?;
        if self.random.below(2) == 0 { self.kill() } else { self.power_failure() }
    }

    pub(super) fn restart(&mut self) -> Step {
        tell!(self, "restart");
        if self.faults {
            return self.kill();
        }
        self.summary.restarts += 1;
        self.held.clear();
        let closed = self.engine().close();
        ensure!(closed.is_ok(), "closing failed: {closed:?}");
        self.deliver();
        ensure!(self.waiting.is_empty(), "close left answers waiting");
        let last = self.truth.last();
        self.count_work();
        self.seen = self.engine().visible();
        self.subject = None;
        self.rollbacks = 0;
        self.recover(last, true)
    }

    pub(super) fn tell_calls(&self) {
        for call in self.disk.traced_calls() {
            tell!(
                self,
                "  {:?} {} at {}, {} bytes",
                call.kind,
                call.path,
                call.offset_bytes,
                call.length_bytes
            );
        }
    }

    pub(super) fn kill(&mut self) -> Step {
        tell!(self, "kill");
        self.summary.kills += 1;
        let engine = self.engine();
        let floor = match self.options.durability {
            _ if self.sync_failed || engine.is_poisoned() => engine.durable(),
            Durability::Fsync => self.observed,
            _ => engine.written(),
        };
        self.held.clear();
        let disk = self.disk.kill();
        self.end(disk);
        self.recover(floor, false)
    }

    pub(super) fn power_failure(&mut self) -> Step {
        tell!(self, "power failure");
        self.summary.crashes += 1;
        let floor = match self.options.durability {
            Durability::Fsync => self.observed,
            _ => self.engine().durable(),
        };
        self.held.clear();
        let style = pick(
            &self.random,
            &[CrashStyle::Random, CrashStyle::Random, CrashStyle::LoseAll, CrashStyle::KeepAll],
        );
        let disk = self.disk.crash(style);
        self.end(disk);
        self.recover(floor, true)
    }

    pub(super) fn count_work(&mut self) {
        let stats = self.engine().engine().stats();
        self.summary.checkpoints += stats.checkpoints;
        self.summary.merges += stats.merges;
        self.summary.evictions += stats.evictions;
        self.summary.loads += stats.loads;
    }

    pub(super) fn end(&mut self, disk: FaultDisk) {
        self.count_work();
        self.seen = self.engine().visible();
        self.subject = None;
        self.waiting.clear();
        self.tell_calls();
        self.disk = disk;
        self.faults = self.disk.plan() != FaultPlan::default();
        self.sync_failed = false;
        self.was_full = false;
        self.rollbacks = 0;
    }

    /// Opens what the end before has left, perhaps with more mishaps on the way, and finds out what is there: it must be
    /// a prefix of the log that reaches at least to `floor`.
    pub(super) fn recover(&mut self, floor: Versionstamp, by_power: bool) -> Step {
        self.let_manifest_rot();
        let mut tries = 0;
        while self.weather.crashes && tries < 3 && self.random.below(4) == 0 {
            tries += 1;
            let change = self.disk.changes() + 1 + self.random.below(15);
            self.disk.set_plan(FaultPlan { crash_at_change: Some(change), ..self.disk.plan() });
            match self.try_open() {
                Ok(subject) => drop(subject),
                Err(OpenError::Storage(StorageError::Io { .. })) => {}
                Err(error) => return Err(format!("opening, a crash in the middle of it: {error}")),
            }
            self.tell_calls();
            self.disk = if by_power { self.disk.crash(CrashStyle::Random) } else { self.disk.kill() };
        }
        self.heal();
        self.open()?;
        let last = self.matching_prefix(floor)?;
        tell!(
            self,
            "opened, floor {floor:?}, last {last:?} of {:?}, visible {:?}",
            self.truth.last(),
            self.engine().visible()
        );
        let gone = self.truth.log().iter().map(|logged| logged.stamp).filter(|stamp| *stamp > last);
        self.lost.extend(gone.filter(|stamp| *stamp <= self.seen));
        self.truth.truncate(last);
        self.group = (self.index_max, self.truth.time_of(last));
        self.verify()
    }

    /// A bit of one copy of the manifest flips: the other one must be as good.
    fn let_manifest_rot(&mut self) {
        if self.random.below(4) > 0 {
            return;
        }
        let path = pick(&self.random, &[manifest::PATH, manifest::PATH, manifest::PATH_COPY]);
        let others = [manifest::PATH, manifest::PATH_COPY].into_iter().filter(|other| *other != path);
        if others.into_iter().any(|other| self.disk.read_file(other).is_none()) {
            // A crash while the database was made left one name.
            return;
        }
        let Some(length) = self.disk.read_file(path).map(|bytes| bytes.len() as u64) else { return };
        // A flip in the format's version would make it a newer one.
        let offset = HEADER_SIZE_BYTES as u64 + self.random.below(length - HEADER_SIZE_BYTES as u64);
        let mask = 1 << self.random.below(8);
        self.disk.flip(path, offset, mask);
        tell!(self, "{path} rots at byte {offset}");
        self.summary.rotten_manifests += 1;
    }

    /// Which prefix of the log the engine has.
    pub(super) fn matching_prefix(&mut self, floor: Versionstamp) -> Step<Versionstamp> {
        let pin = self.pin_after_crash();
        let mut found: BTreeMap<Place, Found> = BTreeMap::new();
        let scan = Scan { reverse: false, entries_max: 1_000, bytes_max: 1 << 24 };
        for space in self.workload.style.spaces.iter().copied().chain([
            SpaceId::ELEMENTS,
            SpaceId::ORPHANS,
            SpaceId::TOKENS,
        ]) {
            let entries = self.engine().range(&pin, space, &KeyRange::all(), scan);
            let entries = entries.map_err(|error| format!("reading after the crash: {error}"))?;
            found.extend(entries.into_iter().map(|(key, found)| ((space, key), found)));
        }
        let tokens: BTreeMap<Bytes, Versionstamp> = found
            .extract_if(.., |place, _| place.0 == SpaceId::TOKENS)
            .map(|((_, id), found)| (id, found.stamp))
            .collect();
        // The engine says where its log ends; whether that is true shows in what it holds.
        let visible = self.engine().visible();
        let ends = self.truth.group_ends();
        let end = ends.iter().rev().find(|end| **end <= visible).copied().unwrap_or_default();
        // The floor may be a group without commits: then the end before it will do.
        let needed = ends.iter().rev().find(|end| **end <= floor).copied().unwrap_or_default();
        let last = self.truth.last();
        ensure!(
            end >= needed,
            "the log ends at {visible:?}, but {floor:?} was acknowledged (last: {last:?})"
        );
        let expected = self.truth.state(end, pin.time());
        for (place, expected) in &expected {
            self.same(place, Some(expected), found.get(place))
                .map_err(|what| format!("after a crash: {what}"))?;
        }
        let extra = found.keys().find(|place| !expected.contains_key(*place));
        ensure!(extra.is_none(), "after a crash {extra:?} is there, which {end:?} does not have");
        let expected = self.truth.tokens(end, pin.time());
        ensure!(expected == tokens, "after a crash the tokens are {tokens:?}, expected {expected:?}");
        Ok(end)
    }

    pub(super) fn pin_after_crash(&mut self) -> SnapshotPin {
        self.read_time = UnixMillis(0);
        self.engine().snapshot()
    }

    pub(super) fn try_open(&self) -> Result<Subject, OpenError> {
        let env = Env {
            disk: Arc::new(self.disk.clone()),
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            random: Arc::clone(&self.random) as Arc<dyn orchard_env::Random>,
        };
        Subject::open(env, self.options.clone())
    }

    pub(super) fn open(&mut self) -> Step {
        // Opening trusts the machine's clock once more.
        self.jumped = self.clock.now() < self.clock_max.max(self.group.1);
        self.read_time = UnixMillis(0);
        match self.try_open() {
            Ok(subject) => {
                self.subject = Some(subject);
                Ok(())
            }
            Err(error) => Err(format!("opening failed: {error}")),
        }
    }
}
