//! What moves an engine on: writing groups, syncing, closing the log's end, erasing. Whoever drives it calls these, in any
//! order; none of them changes what a commit has come to, but for those that a full disk takes back.

use crate::commit::Core;
use crate::engine::Engine;
use crate::error::CommitError;
use crate::wal::Group;
use crate::wal::log::{CommitLog, FileLog, LogError};
use orchard_types::{Durability, Versionstamp, limits};
use std::sync::atomic::Ordering;

/// Versions pruned for every group, at least.
const RECLAIM_BUDGET_MIN: usize = 1_024;

/// What a step did.
pub(crate) enum Stepped {
    Nothing,
    Synced,
    Wrote(Group),
}

impl Engine {
    /// Writes the next group and, as the database's durability or a waiter asks, makes it durable. `false` if there was
    /// nothing to do.
    ///
    /// # Errors
    /// [`CommitError::DiskFull`] if the group was taken back, [`CommitError::Poisoned`] if the log failed.
    pub fn log_step(&self) -> Result<bool, CommitError> {
        Ok(self.clear_up(self.with_log(|log| self.log_step_locked(log))?))
    }

    /// As [`Engine::log_step`], but for what comes behind a group: [`Engine::clear_up`], for which the log may be free again.
    pub(crate) fn log_step_locked(&self, log: &mut Option<FileLog>) -> Result<Stepped, CommitError> {
        let Some(log) = log.as_mut() else { return Ok(Stepped::Nothing) };
        if let Some(why) = self.progress.poisoned() {
            return Err(CommitError::Poisoned(why));
        }
        let durable = self.progress.durability() == Durability::Fsync;
        let group = {
            let mut core = self.core.lock();
            let group = core.sealed.pop_front().or_else(|| core.open.take());
            core.has_called_log &= !core.sealed.is_empty();
            self.company.note_open(core.open.as_ref().map_or(0, |open| open.count.into()));
            group
        };
        let Some(group) = group else {
            if !durable && self.progress.wants_sync() {
                self.sync_log(log)?;
                return Ok(Stepped::Synced);
            }
            return Ok(Stepped::Nothing);
        };
        let last = Versionstamp::new(group.index, group.count.saturating_sub(1) as u16).raw();
        // Who asked for less than that is answered between the two.
        let at_once = durable && !self.progress.wants_written();
        let started_ns = if at_once { self.env.clock.monotonic_ns() } else { 0 };
        let appended = if at_once { log.append_durably(&group) } else { log.append(&group) };
        match appended {
            Ok(()) => {}
            Err(LogError::NoSpace) if durable => {
                log.release_reserve();
                let mut core = self.core.lock();
                core.roll_back(self);
                self.is_disk_full.store(true, Ordering::SeqCst);
                // Under the lock: who reads the state behind it knows that it was taken back.
                self.stats.rollbacks.fetch_add(1, Ordering::SeqCst);
                drop(core);
                self.progress.wake();
                return Err(CommitError::DiskFull);
            }
            Err(LogError::NoSpace) => {
                // Others have seen these commits: they wait for space.
                log.release_reserve();
                let mut core = self.core.lock();
                core.sealed.push_front(group);
                self.is_disk_full.store(true, Ordering::SeqCst);
                return Err(CommitError::DiskFull);
            }
            Err(LogError::Failed(error)) => return Err(self.poison(&error.to_string())),
        }
        if self.tail.is_followed() {
            self.tail.push(&group);
        } else {
            // Who asks for it later reads the file.
            self.tail.leave_out(Versionstamp::from_raw(last));
        }
        self.stats.groups.fetch_add(1, Ordering::Relaxed);
        self.progress.advance(Durability::Os, last, group.log_time.0);
        self.written_time_ms.store(group.log_time.0, Ordering::Relaxed);
        if at_once {
            self.note_synced(started_ns);
        } else if durable || self.progress.wants_sync() {
            self.sync_log(log)?;
        }
        self.company.note_done(u64::from(group.count));
        self.stats.log_bytes.store(log.size_bytes(), Ordering::Relaxed);
        self.stats.log_used_bytes.store(log.used_bytes(), Ordering::Relaxed);
        if self.is_disk_full() {
            let had_space = log.restore_reserve();
            let _core = self.core.lock();
            self.is_disk_full.store(!had_space, Ordering::SeqCst);
        }
        Ok(Stepped::Wrote(group))
    }

    /// Whether a step did something; what it leaves behind can be used again.
    pub(crate) fn clear_up(&self, stepped: Stepped) -> bool {
        let group = match stepped {
            Stepped::Nothing => return false,
            Stepped::Synced => return true,
            Stepped::Wrote(group) => group,
        };
        let mut core = self.core.lock();
        let mut payload = group.payload;
        if payload.capacity() <= 2 * limits::GROUP_SIZE_BYTES_MAX && core.spare_buffers.len() < 4 {
            payload.clear();
            core.spare_buffers.push(payload);
        }
        // Another group may be in the log by now.
        if core.is_idle() && self.progress.visible() == self.progress.watermark(Durability::None) {
            self.log_clock.nothing_in_flight();
        }
        let budget = RECLAIM_BUDGET_MIN.max(group.count as usize * 2);
        core.map.reclaim_lazily(self.horizon(), budget);
        self.purge(&mut core, budget);
        true
    }

    fn sync_log(&self, log: &mut FileLog) -> Result<(), CommitError> {
        let started_ns = self.env.clock.monotonic_ns();
        if let Err(error) = log.sync() {
            let detail = match error {
                LogError::Failed(error) => error.to_string(),
                LogError::NoSpace => "no space left".to_owned(),
            };
            return Err(self.poison(&detail));
        }
        self.note_synced(started_ns);
        Ok(())
    }

    /// All that was written is durable, by a sync that began at `started_ns`. The caller holds the log.
    fn note_synced(&self, started_ns: u64) {
        self.stats.note_sync(self.env.clock.monotonic_ns().saturating_sub(started_ns));
        let written = self.progress.watermark(Durability::Os);
        self.progress.advance(Durability::Fsync, written, self.written_time_ms.load(Ordering::Relaxed));
    }

    /// Makes everything written durable, below `fsync` too; for the second that `os` promises.
    ///
    /// # Errors
    /// [`CommitError::Poisoned`]
    pub fn sync_step(&self) -> Result<(), CommitError> {
        self.with_log(|log| match log.as_mut() {
            Some(log) if self.progress.poisoned().is_none() => self.sync_log(log),
            _ => Ok(()),
        })
    }

    /// Writes an empty group behind the last one, so that damage to that one is not mistaken for a torn tail.
    ///
    /// # Errors
    /// As [`Engine::log_step`].
    pub fn idle_step(&self) -> Result<bool, CommitError> {
        if self.is_disk_full() {
            // Commits are refused, so none of them will.
            self.reserve_indexes()?;
            // What only the feed needs makes room; if there is none even for a manifest without it, it stays.
            let _ = self.retain_step();
        }
        {
            let mut core = self.core.lock();
            let written = Versionstamp::from_raw(self.progress.watermark(Durability::Os));
            let has_sealed_end = self.stats.idle_group_index.load(Ordering::Relaxed) >= written.index();
            // On a full disk the empty group is the question whether there is space again.
            if !core.is_idle()
                || !self.keeps_log()
                || core.is_closed
                || (has_sealed_end && !self.is_disk_full())
                || core.next_index + 1 >= core.reserved_index
            {
                return Ok(false);
            }
            let (index, log_time, _) = core.open_group(self);
            self.progress.advance(Durability::None, Versionstamp::new(index, 0).raw(), log_time.0);
            self.stats.idle_group_index.store(index, Ordering::Relaxed);
        }
        self.log_step()
    }

    /// Looks at up to `limit` keys of the oldest deleted range and erases them. `false` if no range waits to be erased. It
    /// changes nothing that anybody can see, and is not logged.
    pub fn erase_step(&self, limit: usize) -> bool {
        self.erase_through(u64::MAX, limit)
    }

    /// [`Engine::erase_step`], if the oldest deleted range is at or below `stamp`.
    pub(crate) fn erase_through(&self, stamp: u64, limit: usize) -> bool {
        let mut core = self.core.lock();
        if !core.ranges.any_through(stamp) {
            return false;
        }
        let Core { map, ranges, .. } = &mut *core;
        let erased = ranges.erase(map, limit);
        core.settle(self, erased);
        core.map.reclaim(self.horizon(), limit.saturating_mul(2));
        if !self.keeps_log() {
            self.purge(&mut core, limit);
        }
        true
    }

    /// Stops everything: what is on disk is unknown.
    pub(crate) fn poison(&self, why: &str) -> CommitError {
        self.progress.poison(why);
        CommitError::Poisoned(why.into())
    }

    /// Takes tombstones out of memory that segments hold and nobody needs.
    pub(crate) fn purge(&self, core: &mut Core, budget: usize) {
        for _ in 0..budget.min(core.purge.len()) {
            let Some((key, stamp)) = core.purge.pop_front() else { break };
            // A commit may write again what it deleted, at the same stamp.
            let is_newest =
                |version: orchard_map::Version<'_>| version.stamp() == stamp && version.is_tombstone();
            if !core.map.newest(&key).is_some_and(is_newest) {
                continue;
            }
            if core.map.remove(&key, stamp) {
                core.floor = core.floor.max(Versionstamp::from_raw(stamp));
            } else {
                // An older version is still chained to it: later.
                core.purge.push_back((key, stamp));
            }
        }
    }
}
