//! Many transactions one after another under one hold of the commit lock, and reads that see a client's own commits
//! before others do.
//!
//! - Each transaction is a commit of its own; they lie in one log group where they fit.
//! - The lock is let go every 256 transactions or 1 MiB, and whenever something has to be fetched from the disk first.
//! - A read above *visible* is right as long as the log takes what it rests on: whoever answers it waits for its stamp.

use crate::commit::{Attempt, Core, Placed, Submitted, only_deletes};
use crate::direct::{Direct, Run};
use crate::engine::Engine;
use crate::error::CommitError;
use crate::snapshot::SnapshotPin;
use crate::wal::record;
use orchard_types::{Commit, Durability, UnixMillis, Versionstamp, limits};
use std::ops::ControlFlow;

/// Transactions that one hold of the commit lock runs at most, and bytes after which it ends.
const HOLD_MAX: usize = 256;
const HOLD_SIZE_BYTES_MAX: usize = limits::GROUP_SIZE_BYTES_MAX;

/// Versions written over that are worth a look for what may go.
const RECLAIM_MIN: usize = 64;

/// Transactions that are run one after another.
pub trait Pipeline {
    /// Reads the newest applied state and fills an empty commit with what comes of it, while no other commit can come
    /// between. It is called again for the same number if something had to be loaded first, and must not call the engine
    /// but for reads of its snapshot. An empty commit is not written; its outcome rests on what may have been read.
    fn build(&mut self, number: usize, snapshot: &SnapshotPin, commit: &mut Commit);

    /// Makes the commit of one that is no more than a few writes, without building it. `false`, and nothing written: it
    /// has to be built.
    fn direct(&mut self, number: usize, direct: &mut Direct<'_>) -> bool {
        let _ = (number, direct);
        false
    }

    /// The outcome of a transaction; `Break` leaves the rest out.
    fn done(&mut self, number: usize, submitted: Submitted) -> ControlFlow<()>;
}

/// What one transaction after the other is built in. It is kept for the next pipeline, so that a short one allocates
/// nothing.
#[derive(Default)]
pub(crate) struct Room {
    bytes: Vec<u8>,
    commit: Commit,
    /// What was made without being built, and is yet to be told.
    run: Run,
}

impl Room {
    /// Whether it is worth keeping, after all was told.
    fn is_small(&self) -> bool {
        const KEPT_MUTATIONS_MAX: usize = 256;
        const KEPT_SIZE_BYTES_MAX: usize = 64 << 10;
        self.bytes.capacity() <= KEPT_SIZE_BYTES_MAX
            && self.commit.mutations.capacity() <= KEPT_MUTATIONS_MAX
            && self.commit.checks.is_empty()
    }
}

/// How a hold of the commit lock ended.
enum Held {
    /// It was long enough, or everything is done.
    Over,
    /// Something is missing.
    Missing(Attempt),
    /// The rest is left out.
    Broken,
}

impl Engine {
    /// Runs the transactions 0 to `count`.
    pub fn submit_pipeline(&self, count: usize, pipeline: &mut impl Pipeline) {
        let mut room = self.spare_room.lock().take().unwrap_or_default();
        self.submit_pipeline_in(&mut room, count, pipeline);
        room.commit.clear();
        if room.is_small() {
            *self.spare_room.lock() = Some(room);
        }
    }

    fn submit_pipeline_in(&self, room: &mut Room, count: usize, pipeline: &mut impl Pipeline) {
        let refused = |error| Submitted { outcome: Err(error), depends_on: Versionstamp::ZERO };
        let mut next = 0;
        // What an attempt has loaded must not leave again before the next one.
        let mut has_memory = false;
        while next < count {
            let missing = if let Some(why) = self.progress.poisoned() {
                Err(CommitError::Poisoned(why))
            } else {
                let memory =
                    if std::mem::replace(&mut has_memory, false) { Ok(()) } else { self.make_memory() };
                let mut core = self.core.lock();
                let held = self.hold(&mut core, &mut next, count, &memory, room, pipeline);
                room.run.flush(&mut core, self);
                self.close_if_idle(&mut core);
                self.reclaim_behind(&mut core);
                let must_call_log = core.must_call_log(self);
                drop(core);
                if must_call_log {
                    self.progress.notify_work();
                }
                self.company.look();
                self.progress.wake_followers();
                match held {
                    Held::Over => Ok(()),
                    Held::Broken => return,
                    Held::Missing(attempt) => {
                        has_memory = true;
                        self.prepare_again(attempt)
                    }
                }
            };
            if let Err(error) = missing {
                if pipeline.done(next, refused(error)).is_break() {
                    return;
                }
                next += 1;
            }
        }
    }

    /// Runs transactions from `next` on under the commit lock. A group that it opened may be left empty.
    fn hold(
        &self,
        core: &mut Core,
        next: &mut usize,
        count: usize,
        memory: &Result<(), CommitError>,
        room: &mut Room,
        pipeline: &mut impl Pipeline,
    ) -> Held {
        let Room { bytes, commit, run } = room;
        let until = count.min(*next + HOLD_MAX);
        let mut held_bytes = 0;
        while *next < until && held_bytes <= HOLD_SIZE_BYTES_MAX {
            core.make_room(self, 0);
            if core.open.is_none() && core.next_index + 1 >= core.reserved_index {
                return Held::Missing(Attempt::ReserveFirst);
            }
            if memory.is_ok()
                && let Some(mut direct) = Direct::new(self, core, run)
            {
                if pipeline.direct(*next, &mut direct) {
                    let (submitted, size_bytes) = direct.finish();
                    held_bytes += size_bytes;
                    if pipeline.done(*next, submitted).is_break() {
                        return Held::Broken;
                    }
                    *next += 1;
                    continue;
                }
                assert!(direct.is_untouched(), "a commit is made whole or not at all");
                run.flush(core, self);
            }
            // The group comes first, so that what is read is read at the time that the commit will have.
            let (_, log_time, _) = core.open_group(self);
            let applied = self.progress.watermark(Durability::None);
            commit.clear();
            pipeline.build(*next, &SnapshotPin::under_lock(applied, log_time), commit);
            self.options.default_expiry.resolve_in(commit);
            let submitted = if commit.is_empty() {
                let depends_on = Versionstamp::from_raw(applied);
                let placed = Placed { versionstamp: depends_on, log_time, repeated: false };
                Submitted { outcome: Ok(placed), depends_on }
            } else {
                let deletes = only_deletes(commit);
                let valid = match memory {
                    // Taking away goes on when memory is full.
                    Err(CommitError::MemoryFull { limit_bytes, used_bytes }) if !deletes => {
                        Err(CommitError::MemoryFull { limit_bytes: *limit_bytes, used_bytes: *used_bytes })
                    }
                    _ => commit.validate().map_err(CommitError::from),
                };
                match valid {
                    Err(error) => Submitted { outcome: Err(error), depends_on: Versionstamp::ZERO },
                    Ok(size_bytes) => {
                        bytes.clear();
                        if self.keeps_log() || self.tail.is_followed() || commit.token.is_some() {
                            record::encode(commit.token.as_ref(), &commit.mutations, bytes);
                        }
                        held_bytes += size_bytes;
                        core.make_room(self, bytes.len());
                        if core.open.is_none() {
                            // It did not fit: once more, at the time of the next group.
                            continue;
                        }
                        match self.attempt(core, commit, bytes, deletes, None) {
                            Attempt::Done(submitted) => submitted,
                            missing => return Held::Missing(missing),
                        }
                    }
                }
            };
            if pipeline.done(*next, submitted).is_break() {
                return Held::Broken;
            }
            *next += 1;
        }
        Held::Over
    }

    /// Where everything applied is visible at once, the versions that a hold wrote over go at its end: the next ones lie
    /// where they lay, in memory that the processor has just seen.
    fn reclaim_behind(&self, core: &mut Core) {
        if self.progress.durability() == Durability::None && core.map.overwrites() >= RECLAIM_MIN {
            core.map.reclaim_lazily(self.horizon(), 2 * HOLD_MAX);
        }
    }

    /// Whether waiting for `stamp` is over, without waiting.
    pub fn outcome(&self, stamp: Versionstamp, level: Durability) -> Option<Result<(), CommitError>> {
        self.progress.outcome(stamp.raw(), level)
    }

    /// A view of now that also shows the caller's own commits up to `own`, whose log time is `own_time`: its stamp is the
    /// newer of *visible* and `own`. What is read there may be told once *visible* has passed that stamp. Commits that were
    /// taken back, because the disk was full, are not waited for.
    pub fn snapshot_not_before(&self, own: Versionstamp, own_time: UnixMillis) -> SnapshotPin {
        let outcome = self.progress.outcome(own.raw(), self.progress.durability());
        let own = if matches!(outcome, Some(Err(CommitError::DiskFull))) { Versionstamp::ZERO } else { own };
        self.snapshots.register(self.env.clock.monotonic_ns(), true, || {
            let (visible, time) = self.read_point();
            (visible.max(own.raw()), time.max(own_time))
        })
    }
}
