//! How far the log has come, and who waits for it.
//!
//! - `synced <= written <= applied`, and none of them ever moves backwards.
//! - *visible* is the one of them that the database's durability names.
//! - Whoever waits is answered when the watermark of its level has passed its stamp, or when that can never happen.

use crate::error::CommitError;
use crate::parking::Parking;
use orchard_types::Durability;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;

/// The watermarks of one engine, as raw versionstamps.
pub struct Progress {
    durability: Durability,
    applied: AtomicU64,
    written: AtomicU64,
    synced: AtomicU64,
    /// Log time of the newest visible group, in milliseconds.
    visible_time_ms: AtomicU64,
    /// Somebody waits for more than the database's own durability up to this stamp.
    sync_wanted: AtomicU64,
    /// Somebody waits for no more than that this stamp is written, where the database's own durability is more.
    written_wanted: AtomicU64,
    is_poisoned: AtomicBool,
    has_rolled_back: AtomicBool,
    waiting: Mutex<Waiting>,
    has_followers: AtomicBool,
    /// Those who follow `visible`: woken once it lies behind the stamp.
    followers: Mutex<Vec<(u64, Waker)>>,
    parking: Parking,
    /// Some who wait will never be answered with what they wait for: all are to look.
    has_news_for_all: AtomicBool,
    work: Condvar,
}

#[derive(Default)]
struct Waiting {
    wakers: Vec<(u64, Durability, Waker)>,
    /// Stamps that were taken back: (first, last).
    rolled_back: Vec<(u64, u64)>,
    poisoned: Option<Arc<str>>,
    has_work: bool,
    /// The thread that drives the log waits for long: a group written by another thread is news to it.
    driver_rests: bool,
    stopped: bool,
    lead: Lead,
}

/// The task that drives the log for waiting tasks, in the place of the thread.
#[derive(Default)]
enum Lead {
    /// There is none: the thread does it.
    #[default]
    Absent,
    /// It looks for waiting tasks before it rests.
    Busy,
    /// It is to be woken for the first one.
    Resting(Waker),
}

/// A driver that rests this long, in milliseconds, is woken by groups that others write.
const LONG_REST_MS: u64 = 1_000;

impl Progress {
    /// Everything up to `stamp` is durable.
    pub fn new(durability: Durability, stamp: u64, time_ms: u64) -> Progress {
        Progress {
            durability,
            applied: AtomicU64::new(stamp),
            written: AtomicU64::new(stamp),
            synced: AtomicU64::new(stamp),
            visible_time_ms: AtomicU64::new(time_ms),
            sync_wanted: AtomicU64::new(0),
            written_wanted: AtomicU64::new(0),
            is_poisoned: AtomicBool::new(false),
            has_rolled_back: AtomicBool::new(false),
            waiting: Mutex::new(Waiting::default()),
            has_followers: AtomicBool::new(false),
            followers: Mutex::default(),
            parking: Parking::new(stamp),
            has_news_for_all: AtomicBool::new(false),
            work: Condvar::new(),
        }
    }

    /// The database's own durability.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// The watermark of a level.
    pub fn watermark(&self, level: Durability) -> u64 {
        match level {
            Durability::None => self.applied.load(Ordering::SeqCst),
            Durability::Os => self.written.load(Ordering::SeqCst),
            Durability::Fsync => self.synced.load(Ordering::SeqCst),
        }
    }

    /// The newest stamp that readers may see.
    pub fn visible(&self) -> u64 {
        self.watermark(self.durability)
    }

    /// Log time of a group at or before the newest visible one. Load it before [`Progress::visible`].
    pub fn visible_time_ms(&self) -> u64 {
        self.visible_time_ms.load(Ordering::SeqCst)
    }

    /// Moves the watermark of a level; `time_ms` is its group's log time.
    pub fn advance(&self, level: Durability, stamp: u64, time_ms: u64) {
        let watermark = match level {
            Durability::None => &self.applied,
            Durability::Os => &self.written,
            Durability::Fsync => &self.synced,
        };
        let before = watermark.swap(stamp, Ordering::SeqCst);
        assert!(before <= stamp, "a watermark moved backwards");
        // Mostly the group has told its time already.
        if level == self.durability && self.visible_time_ms.load(Ordering::SeqCst) < time_ms {
            // Behind the stamp, so that a reader who loads the time first never gets one that is ahead.
            self.visible_time_ms.fetch_max(time_ms, Ordering::SeqCst);
        }
    }

    /// Takes the applied watermark back after a rollback.
    pub fn take_back_applied(&self, to: u64, last: u64) {
        self.applied.store(to, Ordering::SeqCst);
        if last > to {
            let mut waiting = self.waiting.lock();
            if waiting.rolled_back.len() >= 1_024 {
                waiting.rolled_back.remove(0);
            }
            waiting.rolled_back.push((to + 1, last));
            self.has_rolled_back.store(true, Ordering::SeqCst);
            self.has_news_for_all.store(true, Ordering::SeqCst);
        }
    }

    /// Whether the log is to be synced though the database's durability does not ask for it.
    pub fn wants_sync(&self) -> bool {
        self.sync_wanted.load(Ordering::SeqCst) > self.watermark(Durability::Fsync)
    }

    /// Makes known that somebody waits for `level` up to `stamp`.
    pub fn want(&self, level: Durability, stamp: u64) {
        if level > self.durability && level == Durability::Fsync {
            self.sync_wanted.fetch_max(stamp, Ordering::SeqCst);
        }
        if level < self.durability && level == Durability::Os {
            self.written_wanted.fetch_max(stamp, Ordering::SeqCst);
        }
    }

    /// Whether somebody is to be answered once the log is written and before it is synced.
    pub(crate) fn wants_written(&self) -> bool {
        self.written_wanted.load(Ordering::SeqCst) > self.watermark(Durability::Os)
    }

    /// Refuses everything from now on.
    pub fn poison(&self, why: &str) {
        self.is_poisoned.store(true, Ordering::SeqCst);
        self.waiting.lock().poisoned.get_or_insert_with(|| why.into());
        self.has_news_for_all.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Why commits are refused, if they are.
    pub fn poisoned(&self) -> Option<Arc<str>> {
        if !self.is_poisoned.load(Ordering::SeqCst) {
            return None;
        }
        self.waiting.lock().poisoned.clone()
    }

    /// Whether waiting is over: `Some(Ok)` if the stamp is reached, `Some(Err)` if it never will be.
    pub fn outcome(&self, stamp: u64, level: Durability) -> Option<Result<(), CommitError>> {
        if self.watermark(level) >= stamp {
            // A stamp that was taken back may lie below a watermark that has moved on since.
            if !self.has_rolled_back.load(Ordering::SeqCst) {
                return Some(Ok(()));
            }
            let waiting = self.waiting.lock();
            if waiting.rolled_back.iter().any(|(first, last)| (*first..=*last).contains(&stamp)) {
                return Some(Err(CommitError::DiskFull));
            }
            return Some(Ok(()));
        }
        if !self.is_poisoned.load(Ordering::SeqCst) && !self.has_rolled_back.load(Ordering::SeqCst) {
            return None;
        }
        self.failure(&self.waiting.lock(), stamp).map(Err)
    }

    fn failure(&self, waiting: &Waiting, stamp: u64) -> Option<CommitError> {
        if waiting.rolled_back.iter().any(|(first, last)| (*first..=*last).contains(&stamp)) {
            return Some(CommitError::DiskFull);
        }
        waiting.poisoned.clone().map(CommitError::Poisoned)
    }

    /// Registers a task that waits; or tells the outcome, if it is known.
    pub fn register(&self, stamp: u64, level: Durability, waker: &Waker) -> Option<Result<(), CommitError>> {
        if let Some(outcome) = self.outcome(stamp, level) {
            return Some(outcome);
        }
        self.want(level, stamp);
        let mut waiting = self.waiting.lock();
        // Once more under the lock: a watermark that moves after this finds the waker.
        if self.watermark(level) >= stamp {
            return Some(self.failure(&waiting, stamp).map_or(Ok(()), Err));
        }
        if let Some(error) = self.failure(&waiting, stamp) {
            return Some(Err(error));
        }
        waiting.wakers.push((stamp, level, waker.clone()));
        match std::mem::replace(&mut waiting.lead, Lead::Busy) {
            Lead::Busy => {}
            Lead::Resting(lead) => {
                drop(waiting);
                lead.wake();
            }
            Lead::Absent => {
                waiting.lead = Lead::Absent;
                waiting.has_work = true;
                drop(waiting);
                self.work.notify_one();
            }
        }
        None
    }

    /// Whether tasks wait for the log, for the task that leads it; else `waker` is woken once one does. From now on the
    /// thread is not called for them.
    pub(crate) fn poll_lead(&self, waker: &Waker) -> bool {
        let mut waiting = self.waiting.lock();
        let is_due = !waiting.wakers.is_empty();
        waiting.lead = if is_due { Lead::Busy } else { Lead::Resting(waker.clone()) };
        is_due
    }

    /// The thread drives the log for tasks too, until [`Progress::poll_lead`] is called again.
    pub(crate) fn end_lead(&self) {
        let mut waiting = self.waiting.lock();
        waiting.lead = Lead::Absent;
        if !waiting.wakers.is_empty() {
            waiting.has_work = true;
            self.work.notify_one();
        }
    }

    /// `visible`, if it lies behind `after`; else `waker` is woken once it does.
    pub fn follow(&self, after: u64, waker: &Waker) -> Option<u64> {
        let moved = || Some(self.visible()).filter(|visible| *visible > after);
        if let Some(visible) = moved() {
            return Some(visible);
        }
        let mut followers = self.followers.lock();
        self.has_followers.store(true, Ordering::SeqCst);
        // Once more: who moves it after this finds the waker.
        if let Some(visible) = moved() {
            return Some(visible);
        }
        if !followers.iter().any(|(stamp, known)| *stamp == after && known.will_wake(waker)) {
            followers.push((after, waker.clone()));
        }
        None
    }

    /// Wakes those who follow `visible` and for whom it has moved. Not under the commit lock.
    pub fn wake_followers(&self) {
        if !self.has_followers.load(Ordering::SeqCst) {
            return;
        }
        let mut due = Vec::new();
        {
            let mut followers = self.followers.lock();
            let visible = self.visible();
            followers.retain(|(after, waker)| {
                let waits = *after >= visible;
                if !waits {
                    due.push(waker.clone());
                }
                waits
            });
            self.has_followers.store(!followers.is_empty(), Ordering::SeqCst);
        }
        due.into_iter().for_each(Waker::wake);
    }

    /// Blocks until waiting for `stamp` may be over, or until nobody drives the log: while `is_driven` says that somebody
    /// does, who will call [`Progress::wake`].
    pub fn park(&self, stamp: u64, level: Durability, is_driven: impl Fn() -> bool) {
        self.parking.park(stamp, || self.outcome(stamp, level).is_none() && is_driven());
    }

    /// Answers those whose waiting is over. Call it after the log's lock is free, so that a waiter can take it.
    pub fn wake(&self) {
        let mut waiting = self.waiting.lock();
        let mut due = Vec::new();
        if !waiting.wakers.is_empty() {
            let wakers = std::mem::take(&mut waiting.wakers);
            for (stamp, level, waker) in wakers {
                if self.watermark(level) >= stamp || self.failure(&waiting, stamp).is_some() {
                    due.push(waker);
                } else {
                    waiting.wakers.push((stamp, level, waker));
                }
            }
        }
        if std::mem::take(&mut waiting.driver_rests) {
            self.work.notify_one();
        }
        drop(waiting);
        if self.has_news_for_all.swap(false, Ordering::SeqCst) {
            self.parking.wake_all();
        }
        self.parking.wake(self.watermark(Durability::Os), self.watermark(Durability::Fsync));
        due.into_iter().for_each(Waker::wake);
        self.wake_followers();
    }

    /// Tells the thread that drives the log that there is something to do.
    pub fn notify_work(&self) {
        self.waiting.lock().has_work = true;
        self.work.notify_one();
    }

    /// Blocks until there is work (`Some(true)`), until `timeout_ms` have passed or a group was written after a long rest
    /// (`Some(false)`), or until [`Progress::stop`] (`None`).
    pub fn wait_for_work(&self, timeout_ms: u64) -> Option<bool> {
        let mut waiting = self.waiting.lock();
        if !waiting.has_work && !waiting.stopped {
            waiting.driver_rests = timeout_ms >= LONG_REST_MS;
            self.work.wait_for(&mut waiting, std::time::Duration::from_millis(timeout_ms));
            waiting.driver_rests = false;
        }
        let has_work = std::mem::take(&mut waiting.has_work);
        (!waiting.stopped).then_some(has_work)
    }

    /// Whether a task waits for the log.
    pub(crate) fn has_wakers(&self) -> bool {
        !self.waiting.lock().wakers.is_empty()
    }

    /// Whether a task waits for the log that the thread is to drive for it.
    pub fn has_wakers_for_thread(&self) -> bool {
        let waiting = self.waiting.lock();
        matches!(waiting.lead, Lead::Absent) && !waiting.wakers.is_empty()
    }

    /// Ends [`Progress::wait_for_work`] for good.
    pub fn stop(&self) {
        self.waiting.lock().stopped = true;
        self.work.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Threads that wait for stamps of two groups while somebody drives the log, and what they hear after `event`.
    fn heard(event: impl FnOnce(&Progress)) -> Vec<Option<Result<(), CommitError>>> {
        let progress = Progress::new(Durability::Fsync, 0, 0);
        let stamps = [1 << 16, 1 << 16 | 1, 2 << 16, 2 << 16 | 1];
        let wait = |stamp| {
            progress.park(stamp, Durability::Fsync, || true);
            progress.outcome(stamp, Durability::Fsync)
        };
        let wait = &wait;
        std::thread::scope(|scope| {
            let threads = stamps.map(|stamp| scope.spawn(move || wait(stamp)));
            while progress.parking.parked() < stamps.len() {
                std::thread::yield_now();
            }
            event(&progress);
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    #[test]
    fn everybody_hears_of_poison() {
        let heard = heard(|progress| progress.poison("a test"));
        assert!(heard.iter().all(|outcome| matches!(outcome, Some(Err(CommitError::Poisoned(_))))));
    }

    #[test]
    fn everybody_hears_of_a_rollback() {
        let heard = heard(|progress| {
            progress.take_back_applied(0, 3 << 16);
            progress.wake();
        });
        assert!(heard.iter().all(|outcome| matches!(outcome, Some(Err(CommitError::DiskFull)))));
    }

    #[test]
    fn a_group_that_is_done_wakes_its_threads_and_one_to_lead_the_next() {
        let heard = heard(|progress| {
            for level in [Durability::Os, Durability::Fsync] {
                progress.advance(level, 1 << 16 | 1, 0);
            }
            progress.wake();
            while progress.parking.parked() > 1 {
                std::thread::yield_now();
            }
            // The one that was not called waits on.
            progress.wake();
        });
        let done = |outcome: &&Option<_>| matches!(outcome, Some(Ok(())));
        assert_eq!(heard.iter().filter(done).count(), 2, "the others lead, one after the other");
        assert_eq!(heard.iter().filter(|outcome| outcome.is_none()).count(), 2);
    }
}
