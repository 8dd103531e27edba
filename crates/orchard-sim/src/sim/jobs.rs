//! What the engine does in the background: erasing, sweeping, checkpoints, merges, and what becomes of collections.

use super::*;

impl Simulation {
    pub(super) fn job(&mut self) -> Step {
        let jobs = [
            Job::Checkpoint,
            Job::Checkpoint,
            Job::Merge(3),
            Job::Merge(100_000),
            Job::Sync,
            Job::Idle,
            Job::ReserveAhead,
            Job::Erase(1_000),
        ];
        let job = pick(&self.random, &jobs);
        match self.random.below(8) {
            0 | 3 => self.expire(),
            1..=2 => return self.sweep(),
            _ => {}
        }
        if self.has_collections() {
            if self.random.below(3) == 0 {
                return self.erase_orphans().map(drop);
            }
            if matches!(job, Job::Checkpoint) && !self.list_orphans()? {
                return Ok(());
            }
        }
        let ran = self.engine().run(job);
        tell!(self, "{job:?} {ran:?}, visible {:?}", self.engine().visible());
        self.look_for_rollback();
        match ran {
            Ok(()) => {}
            Err(CommitError::DiskFull) if self.faults => self.was_full = true,
            Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
            Err(CommitError::Storage(error)) if self.faults && is_io(&error) => {}
            Err(error) => return Err(format!("{job:?} failed: {error}")),
        }
        self.deliver();
        Ok(())
    }

    /// A piece of a deleted range is erased, which nobody sees.
    pub(super) fn erase(&mut self) -> Step {
        let keys = pick(&self.random, &[1, 1, 3, 20]);
        let ran = self.engine().run(Job::Erase(keys));
        tell!(self, "erase {keys}, {} ranges left", self.engine().engine().stats().deleted_ranges);
        ran.map_err(|error| format!("erasing failed: {error}"))
    }

    /// Sweeps commit like anybody else.
    pub(super) fn sweep(&mut self) -> Step {
        let Some(commit) = self.engine().engine().sweep_commit(1 + self.random.below(20) as usize) else {
            return Ok(());
        };
        self.submit_commit(&commit)
    }

    pub(super) fn has_collections(&self) -> bool {
        self.workload.style.collections_percent > 0
    }

    /// The elements of collections that are gone go by commits like any other. `false` if there was nothing to do.
    pub(super) fn erase_orphans(&mut self) -> Step<bool> {
        let limit = 1 + self.random.below(8) as usize;
        let Some(commit) = self.engine().engine().erase_commit(limit) else { return Ok(false) };
        let headers = self.truth.headers();
        for mutation in &commit.mutations {
            let id = mutation.key.get(..10).and_then(CollectionId::from_slice);
            ensure!(
                id.is_some_and(|id| !headers.contains_key(&id)),
                "{mutation:?} takes an element of a collection whose header is there"
            );
        }
        self.submit_commit(&commit)?;
        Ok(true)
    }

    /// What a checkpoint would do by itself, in sight of the truth: ranges are erased, and what they took along is listed
    /// durably. `false` if the disk does not let it.
    pub(super) fn list_orphans(&mut self) -> Step<bool> {
        while self.engine().engine().erase_step(1_000) {}
        for _ in 0..20 {
            if !self.engine().engine().has_due_orphans() {
                return Ok(true);
            }
            if let Some(commit) = self.engine().engine().orphans_commit(100) {
                self.submit_commit(&commit)?;
            }
            self.log_step()?;
            match self.engine().run(Job::Sync) {
                Ok(()) => {}
                Err(CommitError::Poisoned(_)) if self.faults => self.sync_failed = true,
                Err(error) => return Err(format!("a sync failed: {error}")),
            }
            self.deliver();
            if self.engine().is_poisoned() {
                return Ok(false);
            }
        }
        ensure!(self.faults || self.was_full, "what deleted ranges took along is not listed");
        Ok(false)
    }

    /// Every element belongs to a header that counts it, and nothing else is left.
    pub(super) fn verify_collections(&mut self) -> Step {
        ensure!(self.list_orphans()?, "nothing goes wrong any more");
        while self.erase_orphans()? {
            self.drain()?;
            self.engine().run(Job::Sync).map_err(|error| format!("a sync failed: {error}"))?;
        }
        let mut found: BTreeMap<CollectionId, u64> = BTreeMap::new();
        let at = self.truth.last();
        for (key, _) in self.truth.range(SpaceId::ELEMENTS, &KeyRange::all(), at, UnixMillis(0)) {
            let id = key.get(..10).and_then(CollectionId::from_slice);
            *found.entry(id.ok_or("an element without an id")?).or_default() += 1;
        }
        let headers = self.truth.headers();
        let counted: BTreeMap<CollectionId, u64> =
            headers.iter().map(|(id, header)| (*id, elements_in(&header.data))).collect();
        ensure!(found == counted, "elements there are {found:?}, headers count {counted:?}");
        let listed = self.truth.range(SpaceId::ORPHANS, &KeyRange::all(), at, UnixMillis(0));
        ensure!(listed.is_empty(), "{} orphans are still listed", listed.len());
        self.verify()
    }

    // ---- reads ----
}
