//! A task that drives the log for the tasks that wait for it, in the place of the driving thread.
//!
//! - Threads that wait for their commits write the log themselves. Tasks cannot: a thread does it for them, which is woken for
//!   each group and wakes their runtime again. Where a sync takes a tenth of a millisecond those two switches cost as much as
//!   the sync does, and the thread comes too early: with what one task has committed, while others are about to.
//! - A task that leads runs when its runtime has nothing else to run, writes what has come together until then, and wakes the
//!   others on the spot.
//! - It blocks one of the runtime's threads for a write and a sync, so it does so only where these are short; else it leaves
//!   the log to the thread.
//! - There is one lead at most, and the log never waits for it: whoever drops it gives the log back.

use crate::engine::Engine;
use orchard_types::Durability;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

/// A sync of late up to this long, in nanoseconds, may hold up the tasks of one thread.
const QUICK_SYNC_NS_MAX: u64 = 400_000;

/// See the module's text. It leads while [`LogLead::due`] is awaited and from then on, until [`LogLead::step_aside`] or its
/// end.
pub struct LogLead {
    engine: Arc<Engine>,
}

impl std::fmt::Debug for LogLead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogLead").field("commits", &self.commits()).finish_non_exhaustive()
    }
}

impl LogLead {
    /// The lead of an engine's log, unless somebody has it.
    pub fn new(engine: Arc<Engine>) -> Option<LogLead> {
        let is_free = !engine.has_lead.swap(true, Ordering::AcqRel);
        is_free.then(|| LogLead { engine })
    }

    /// Waits until a task waits for the log.
    pub async fn due(&self) {
        let is_due = |due| if due { Poll::Ready(()) } else { Poll::Pending };
        poll_fn(|cx| is_due(self.engine.progress.poll_lead(cx.waker()))).await;
    }

    /// Whether [`LogLead::step`] is as short as syncs were of late.
    pub fn is_quick(&self) -> bool {
        let progress = &self.engine.progress;
        let syncs = progress.durability() == Durability::Fsync || progress.wants_sync();
        !syncs || self.engine.stats.recent_sync_ns.load(Ordering::Relaxed) <= QUICK_SYNC_NS_MAX
    }

    /// Commits so far: who waits a moment sees whether there are more.
    pub fn commits(&self) -> u64 {
        self.engine.commits()
    }

    /// Writes the open group, makes it durable as far as somebody asks for it, and wakes who waits for it. `false` if that
    /// helped nobody, because the log failed or the disk is full: then [`LogLead::step_aside`].
    pub fn step(&self) -> bool {
        match self.engine.log_step() {
            Ok(true) => true,
            Ok(false) => !self.engine.progress.has_wakers(),
            Err(_) => false,
        }
    }

    /// Leaves the log to the thread until [`LogLead::due`] is awaited again.
    pub fn step_aside(&self) {
        self.engine.progress.end_lead();
    }
}

impl Drop for LogLead {
    fn drop(&mut self) {
        self.step_aside();
        self.engine.has_lead.store(false, Ordering::Release);
    }
}
