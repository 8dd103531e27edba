//! The commit path: decide under the commit lock. `steps` writes in groups and makes visible when durable.
//!
//! - `Core` is the state behind the commit lock; nobody holds that lock while the disk works.
//! - Commits apply in the order of their stamps; a group is taken from the front of `sealed`, or is `open`.
//! - A group joins the log only after the one before it; lock order is log, then core.

use crate::apply::{self, Effects, Place, Refusal};
use crate::collections::OrphansDue;
use crate::engine::Engine;
use crate::error::CommitError;
use crate::format::push_flat_key;
use crate::mutants::{self, Mutant};
use crate::ranges::{Erased, Ranges};
use crate::read::with_flat_key;
use crate::snapshot::SnapshotPin;
use crate::state::Entries;
use crate::totals::Counts;
use crate::wal::{Group, record};
use orchard_map::{Hint, MapWriter};
use orchard_types::{Commit, Durability, Mutation, SpaceId, UnixMillis, Versionstamp, limits};
use std::collections::{HashSet, VecDeque};
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::Ordering;

/// The outcome of a commit at its place in the order. It may be told to its client once the watermark of the wanted
/// durability has passed `depends_on`.
#[derive(Debug)]
pub struct Submitted {
    /// Stamp, time, and whether the token was known.
    pub outcome: Result<Placed, CommitError>,
    /// The newest stamp that the outcome rests on.
    pub depends_on: Versionstamp,
}

/// Where a commit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Its stamp.
    pub versionstamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// The token was known: this is the place of the first try.
    pub repeated: bool,
}

/// The state behind the commit lock.
pub struct Core {
    pub(crate) map: MapWriter,
    pub(crate) ranges: Ranges,
    /// Index of the next group.
    pub(crate) next_index: u64,
    /// No index at or above this may be given out before a newer manifest is durable.
    pub(crate) reserved_index: u64,
    pub(crate) open: Option<Group>,
    pub(crate) sealed: VecDeque<Group>,
    pub(crate) orphans: OrphansDue,
    /// Deletes at or before this may be forgotten.
    pub(crate) floor: Versionstamp,
    /// Tombstones that segments hold, to leave memory: flat key, stamp.
    pub(crate) purge: VecDeque<(Vec<u8>, u64)>,
    pub(crate) is_closed: bool,
    pub(crate) spare_buffers: Vec<Vec<u8>>,
    /// The log was called to write what is sealed.
    pub(crate) has_called_log: bool,
}

/// Groups that wait to be written may hold this many bytes before committers have to help.
const SEALED_GROUPS_MAX: usize = 64;
/// Where nobody waits for groups, so many of them are worth a call of the log: what they hold can be used again then.
const SEALED_GROUPS_DUE: usize = 2;
/// A group that begins with a record this large takes its memory instead of a copy.
const MOVED_SIZE_BYTES_MIN: usize = 16 << 10;
/// Keys that a commit looks at to erase, when it has to help.
const ERASE_BATCH: usize = 1_024;

impl Core {
    /// Whether the open group can take `bytes` more; seals it if not.
    pub(crate) fn make_room(&mut self, engine: &Engine, bytes: usize) {
        let Some(open) = &self.open else { return };
        let is_full = open.count as usize >= limits::GROUP_COMMITS_MAX
            || (open.count > 0 && open.payload.len() + bytes > limits::GROUP_SIZE_BYTES_MAX)
            || !engine.log_clock.may_join(open.log_time);
        if is_full && let Some(group) = self.open.take() {
            self.sealed.push_back(group);
            engine.company.end();
        }
    }

    /// Whether too many groups wait to be written.
    pub(crate) fn must_write_first(&self) -> bool {
        self.sealed.len() >= SEALED_GROUPS_MAX
    }

    /// Whether the log is to be called now, once the lock is free, because groups lie about that nobody waits for.
    pub(crate) fn must_call_log(&mut self, engine: &Engine) -> bool {
        let is_due = self.sealed.len() >= SEALED_GROUPS_DUE
            && !self.has_called_log
            && engine.progress.durability() == Durability::None;
        self.has_called_log |= is_due;
        is_due
    }

    pub(crate) fn open_group(&mut self, engine: &Engine) -> (u64, UnixMillis, u32) {
        if let Some(open) = &self.open {
            return (open.index, open.log_time, open.count);
        }
        let group = Group {
            index: self.next_index,
            log_time: engine.log_clock.open_group(),
            count: 0,
            payload: self.spare_buffers.pop().unwrap_or_default(),
        };
        self.next_index += 1;
        engine.times.note(group.log_time, Versionstamp::new(group.index, 0));
        let place = (group.index, group.log_time, 0);
        self.open = Some(group);
        place
    }

    /// Counts entries out that became point tombstones.
    pub(crate) fn settle(&mut self, engine: &Engine, erased: Vec<Erased>) {
        if erased.is_empty() {
            return;
        }
        let (mut counts, mut expiry) = (Counts::default(), engine.expiry.lock());
        for erased in erased {
            erased.settle(&mut counts, &mut expiry, &mut self.orphans);
            if !engine.keeps_log() {
                self.purge.push_back((erased.key, erased.stamp));
            }
        }
        engine.counts.add(&counts);
    }

    /// Takes back everything behind `visible`: the log could not take it.
    pub(crate) fn roll_back(&mut self, engine: &Engine) {
        let visible = engine.progress.visible();
        self.ranges.take_back(visible);
        self.orphans.roll_back(visible);
        let mut undone = Vec::new();
        self.map.scan_changed(Bound::Unbounded, Bound::Unbounded, visible, |version| {
            let kept = std::iter::successors(Some(version), |version| version.older())
                .find(|version| version.stamp() <= visible)
                .filter(|version| !version.is_tombstone());
            let live = |version: &orchard_map::Version<'_>| {
                (u64::from(version.value_len()), version.expires_at_ms())
            };
            let newest = Some(version).filter(|version| !version.is_tombstone());
            undone.push((version.key().to_vec(), newest.as_ref().map(live), kept.as_ref().map(live)));
            ControlFlow::Continue(())
        });
        let (mut counts, mut expiry) = (Counts::default(), engine.expiry.lock());
        for (key, newest, kept) in undone {
            self.map.rollback(&key, visible);
            let entries = i64::from(kept.is_some()) - i64::from(newest.is_some());
            counts.entries += entries;
            counts.key_bytes += entries * key.len() as i64;
            counts.value_bytes +=
                kept.map_or(0, |(len, _)| len as i64) - newest.map_or(0, |(len, _)| len as i64);
            expiry.change(key, newest.and_then(|(_, at)| at), kept.and_then(|(_, at)| at));
        }
        drop(expiry);
        engine.counts.add(&counts);
        self.open = None;
        self.sealed.clear();
        engine.progress.take_back_applied(visible, Versionstamp::new(self.next_index - 1, u16::MAX).raw());
        engine.log_clock.nothing_in_flight();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.open.is_none() && self.sealed.is_empty()
    }
}

/// Whether a commit only takes away; such commits go on when memory or disk is full.
pub(crate) fn only_deletes(commit: &Commit) -> bool {
    use orchard_types::Operation;
    commit.token.is_none()
        && commit.mutations.iter().all(|mutation| {
            matches!(
                mutation.operation,
                Operation::Delete | Operation::DeleteIfStamp(_) | Operation::DeleteRange { .. }
            ) || mutation.space == SpaceId::ORPHANS
        })
}

fn deleted_ranges(commit: &Commit) -> usize {
    use orchard_types::Operation;
    let is_range = |operation: &Operation| matches!(operation, Operation::DeleteRange { .. });
    commit.mutations.iter().filter(|mutation| is_range(&mutation.operation)).count()
}

/// The record without the conditional deletes that found another version, so that log and feed show only deletes that
/// happened. `None`: all did.
fn happened(commit: &Commit, effects: &Effects, token_hash: Option<u64>) -> Option<Vec<u8>> {
    use orchard_types::Operation;
    let is_conditional = |mutation: &Mutation| matches!(mutation.operation, Operation::DeleteIfStamp(_));
    let conditional = commit.mutations.iter().filter(|mutation| is_conditional(mutation)).count();
    // Each of them deletes one key or none, so a sweep that deleted as many keys deleted all.
    if conditional == 0 || (conditional == commit.mutations.len() && effects.deleted.len() == conditional) {
        return None;
    }
    let deleted: HashSet<&[u8]> = effects.deleted.iter().map(Vec::as_slice).collect();
    let mut flat = Vec::new();
    let kept: Vec<Mutation> = commit
        .mutations
        .iter()
        .filter(|mutation| {
            flat.clear();
            push_flat_key(&mut flat, mutation.space, &mutation.key);
            !is_conditional(mutation) || deleted.contains(flat.as_slice())
        })
        .cloned()
        .collect();
    if kept.len() == commit.mutations.len() {
        return None;
    }
    let mut bytes = Vec::new();
    let token = commit.token.as_ref().map(|token| (token, token_hash));
    record::encode_hashed(token, &kept, &mut bytes);
    Some(bytes)
}

/// What came of trying a commit under the commit lock.
pub(crate) enum Attempt {
    Done(Submitted),
    /// More log indexes have to be reserved.
    ReserveFirst,
    /// Too many groups wait to be written.
    WriteFirst,
    /// Too many deleted ranges wait to be erased.
    EraseFirst,
    /// A value is on disk only.
    LoadFirst {
        key: Vec<u8>,
        stamp: u64,
    },
}

impl Engine {
    /// Puts a commit into the order and applies it. Readers see it once `visible` has passed it.
    pub fn submit(&self, commit: &Commit) -> Submitted {
        let refuse = |error| Submitted { outcome: Err(error), depends_on: Versionstamp::ZERO };
        if let Err(error) = commit.validate() {
            return refuse(error.into());
        }
        let commit: &Commit = &self.options.default_expiry.resolve(commit);
        let mut bytes = Vec::new();
        record::encode(commit.token.as_ref(), &commit.mutations, &mut bytes);
        let deletes = only_deletes(commit);
        let mut has_memory = deletes;
        loop {
            if let Some(why) = self.progress.poisoned() {
                return refuse(CommitError::Poisoned(why));
            }
            // Once only: what an attempt has loaded must not leave again before the next one.
            if !std::mem::replace(&mut has_memory, true)
                && let Err(error) = self.make_memory()
            {
                return refuse(error);
            }
            match self.lock_and_attempt(commit, &mut bytes, deletes) {
                Attempt::Done(submitted) => {
                    self.company.look();
                    self.progress.wake_followers();
                    return submitted;
                }
                again => {
                    if let Err(error) = self.prepare_again(again) {
                        return refuse(error);
                    }
                }
            }
        }
    }

    /// One attempt under the commit lock, which is taken only when what can be looked for without it has been.
    fn lock_and_attempt(&self, commit: &Commit, bytes: &mut Vec<u8>, deletes: bool) -> Attempt {
        let [mutation] = commit.mutations.as_slice() else {
            return self.attempt(&mut self.lock_to_commit(&commit.mutations), commit, bytes, deletes, None);
        };
        with_flat_key(mutation.space, &mutation.key, |key| {
            let hint = self.reader.hint(key);
            self.attempt(&mut self.lock_soon(), commit, bytes, deletes, Some(hint))
        })
    }

    /// Lets `build` read the newest applied state and make a commit of it while no other commit can come between; it is
    /// run again if something had to be loaded first. `build` must not call the engine but for reads of its snapshot. An
    /// empty commit is not written: its outcome depends on what `build` may have read.
    ///
    /// # Errors
    /// What `build` says.
    pub fn submit_exclusive<E>(
        &self,
        build: impl FnMut(&SnapshotPin) -> Result<Commit, E>,
    ) -> Result<Submitted, E> {
        self.submit_exclusive_as(None, build)
    }

    /// The same, where the token of the commit remembers this hash: of what was asked for, when the mutations say what
    /// that came to.
    ///
    /// # Errors
    /// What `build` says.
    pub fn submit_exclusive_as<E>(
        &self,
        token_hash: Option<u64>,
        mut build: impl FnMut(&SnapshotPin) -> Result<Commit, E>,
    ) -> Result<Submitted, E> {
        let refuse = |error| Ok(Submitted { outcome: Err(error), depends_on: Versionstamp::ZERO });
        let mut has_memory = false;
        loop {
            if let Some(why) = self.progress.poisoned() {
                return refuse(CommitError::Poisoned(why));
            }
            if !std::mem::replace(&mut has_memory, true)
                && let Err(error) = self.make_memory()
            {
                return refuse(error);
            }
            let attempt = {
                let mut core = self.core.lock();
                core.make_room(self, 0);
                if core.open.is_none() && core.next_index + 1 >= core.reserved_index {
                    Attempt::ReserveFirst
                } else {
                    // The group comes first, so that what is read is read at the time that the commit will have.
                    let (_, log_time, _) = core.open_group(self);
                    let pin = self.snapshots.register(self.env.clock.monotonic_ns(), false, || {
                        (self.progress.watermark(Durability::None), log_time)
                    });
                    let built = build(&pin).map(|mut commit| {
                        let valid = commit.validate_transaction().map_err(CommitError::from);
                        valid.map(|_| {
                            self.options.default_expiry.resolve_in(&mut commit);
                            let mut bytes = Vec::new();
                            let token = commit.token.as_ref().map(|token| (token, token_hash));
                            record::encode_hashed(token, &commit.mutations, &mut bytes);
                            (commit, bytes)
                        })
                    });
                    let attempt = match built {
                        Ok(Ok((commit, _))) if commit.is_empty() => {
                            // It only read: what it says stands where the newest applied commit stands.
                            let versionstamp = Versionstamp::from_raw(pin.stamp());
                            let outcome = Ok(Placed { versionstamp, log_time, repeated: false });
                            Some(Attempt::Done(Submitted { outcome, depends_on: versionstamp }))
                        }
                        Ok(Ok((commit, mut bytes))) => {
                            core.make_room(self, bytes.len());
                            let fits = core.open.is_some();
                            fits.then(|| self.attempt(&mut core, &commit, &mut bytes, false, None))
                        }
                        Ok(Err(error)) => {
                            self.close_if_idle(&mut core);
                            return refuse(error);
                        }
                        Err(error) => {
                            self.close_if_idle(&mut core);
                            return Err(error);
                        }
                    };
                    self.close_if_idle(&mut core);
                    // It did not fit: once more, in the next group.
                    let Some(attempt) = attempt else { continue };
                    attempt
                }
            };
            match attempt {
                Attempt::Done(submitted) => {
                    self.company.look();
                    self.progress.wake_followers();
                    return Ok(submitted);
                }
                again => {
                    if let Err(error) = self.prepare_again(again) {
                        return refuse(error);
                    }
                }
            }
        }
    }

    /// Does what an attempt was missing.
    pub(crate) fn prepare_again(&self, attempt: Attempt) -> Result<(), CommitError> {
        match attempt {
            Attempt::Done(_) => Ok(()),
            Attempt::ReserveFirst => self.reserve_indexes(),
            Attempt::WriteFirst => self.log_step().map(|_| ()),
            Attempt::EraseFirst => {
                self.erase_step(ERASE_BATCH);
                Ok(())
            }
            Attempt::LoadFirst { key, stamp } => self.load_resident(&key, stamp),
        }
    }

    /// Decides and applies one commit under the commit lock. `bytes`: its record, whose memory goes to the group if the commit
    /// happens and is large. `hint`: where the key of its only mutation was seen.
    pub(crate) fn attempt(
        &self,
        core: &mut Core,
        commit: &Commit,
        bytes: &mut Vec<u8>,
        deletes: bool,
        hint: Option<Hint<'_, '_>>,
    ) -> Attempt {
        let refuse = |error| Attempt::Done(Submitted { outcome: Err(error), depends_on: Versionstamp::ZERO });
        if core.is_closed {
            return refuse(CommitError::Closed);
        }
        if self.is_disk_full() && !deletes {
            return refuse(CommitError::DiskFull);
        }
        core.make_room(self, bytes.len());
        if core.open.is_none() && core.next_index + 1 >= core.reserved_index {
            return Attempt::ReserveFirst;
        }
        if core.must_write_first() {
            return Attempt::WriteFirst;
        }
        if !core.ranges.is_empty() && !core.ranges.has_room_for(deleted_ranges(commit)) {
            return Attempt::EraseFirst;
        }
        let (index, log_time, count) = core.open_group(self);
        let stamp = Versionstamp::new(index, count as u16);
        let place = Place { stamp, log_time, floor: core.floor, time_of: &|stamp| self.times.time_of(stamp) };
        let applied = Versionstamp::from_raw(self.progress.watermark(Durability::None));
        let token = commit.token.as_ref().map(|token| (token, record::token_hash(bytes)));
        let entries = Entries::new(&mut core.map, &mut core.ranges, &self.expiry, &self.apart);
        let mut entries = entries.with_hint(hint);
        let applied_now = apply::apply(&mut entries, token, &commit.checks, &commit.mutations, place);
        let erased = entries.into_erased();
        core.settle(self, erased);
        match applied_now {
            Ok(effects) => {
                if let Some((versionstamp, log_time)) = effects.repeated {
                    let outcome = Ok(Placed { versionstamp, log_time, repeated: true });
                    self.close_if_idle(core);
                    return Attempt::Done(Submitted { outcome, depends_on: versionstamp });
                }
                let mut without_idle = happened(commit, &effects, token.map(|(_, hash)| hash));
                let bytes = without_idle.as_mut().unwrap_or(bytes);
                self.finish_applied(core, effects, bytes, stamp, log_time);
                let outcome = Ok(Placed { versionstamp: stamp, log_time, repeated: false });
                Attempt::Done(Submitted { outcome, depends_on: stamp })
            }
            Err(Refusal::Error(error)) => {
                self.close_if_idle(core);
                let hasty = mutants::enabled(Mutant::ConflictBeforeDurable);
                let depends_on = if hasty { Versionstamp::ZERO } else { applied };
                Attempt::Done(Submitted { outcome: Err(error), depends_on })
            }
            Err(Refusal::NotResident { key, stamp }) => {
                self.close_if_idle(core);
                Attempt::LoadFirst { key, stamp }
            }
        }
    }

    /// A commit happened: it joins the open group.
    fn finish_applied(
        &self,
        core: &mut Core,
        effects: Effects,
        bytes: &mut Vec<u8>,
        stamp: Versionstamp,
        log_time: UnixMillis,
    ) {
        self.counts.add(&Counts::of(&effects));
        core.orphans.add(&effects, stamp.raw());
        if !effects.expiries.is_empty() {
            let mut expiry = self.expiry.lock();
            for (key, before, after) in effects.expiries {
                expiry.change(key, before, after);
            }
        }
        if let Some(open) = &mut core.open {
            open.count += 1;
            if open.payload.is_empty() && bytes.len() >= MOVED_SIZE_BYTES_MIN {
                std::mem::swap(&mut open.payload, bytes);
            } else {
                open.payload.extend_from_slice(bytes);
            }
            if self.progress.durability() == Durability::Fsync {
                self.company.note_open(u64::from(open.count));
            }
        }
        self.count_commits(1);
        if !self.keeps_log() {
            self.end_group_in_memory(core, stamp);
        }
        self.progress.advance(Durability::None, stamp.raw(), log_time.0);
        if !self.keeps_log() {
            self.finish_in_memory(core, effects.deleted, stamp, log_time);
        } else if self.progress.durability() == Durability::None {
            self.log_clock.nothing_in_flight();
        }
    }

    /// Under the commit lock alone.
    pub(crate) fn count_commits(&self, count: u64) {
        self.stats.commits.store(self.stats.commits.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }

    /// Without a log each commit is a group of its own.
    pub(crate) fn end_group_in_memory(&self, core: &mut Core, stamp: Versionstamp) {
        let Some(mut group) = core.open.take() else { return };
        match group.payload.is_empty() {
            true => self.tail.leave_out(stamp),
            false => self.tail.push(&group),
        }
        group.payload.clear();
        core.spare_buffers.push(group.payload);
    }

    /// A group that was opened for a commit that did not happen is no group.
    pub(crate) fn close_if_idle(&self, core: &mut Core) {
        if core.open.as_ref().is_some_and(|open| open.count == 0)
            && let Some(open) = core.open.take()
        {
            core.spare_buffers.push(open.payload);
            if core.sealed.is_empty() && self.progress.visible() == self.progress.watermark(Durability::None)
            {
                self.log_clock.nothing_in_flight();
            }
        }
    }

    /// Without a log a commit is as durable as it will ever be.
    pub(crate) fn finish_in_memory(
        &self,
        core: &mut Core,
        deleted: Vec<Vec<u8>>,
        stamp: Versionstamp,
        log_time: UnixMillis,
    ) {
        core.purge.extend(deleted.into_iter().map(|key| (key, stamp.raw())));
        self.progress.advance(Durability::Os, stamp.raw(), log_time.0);
        self.progress.advance(Durability::Fsync, stamp.raw(), log_time.0);
        self.log_clock.nothing_in_flight();
        core.map.reclaim_lazily(self.horizon(), 8);
        self.purge(core, 8);
    }
}
