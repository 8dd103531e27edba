//! How long a group waits for company: after a sync that served several committers, those just answered are likely to
//! come back at once.
//!
//! - Only where groups are synced; a write alone takes microseconds.
//! - Never for a lone committer: the group waits for as many commits as were under way when the last one was done.
//! - Never for longer than a sync pays for: on a fast disk, where all take longer to come back than a sync takes, it is
//!   better that one half's commits are made while the other half's are written.
//! - Who completes the company says so; until then the waiting thread sleeps.

use crate::engine::Engine;
use orchard_types::Durability;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Looks, each after others could run, before the waiting thread sleeps.
const LOOKS: usize = 4;

/// See the module's text.
#[derive(Default)]
pub(crate) struct Company {
    /// Commits that were under way when the last group was done: answered then, or in the open group already.
    expected: AtomicU64,
    /// Commits in the open group.
    open: AtomicU64,
    /// The open group is to have so many commits; 0: nobody waits for it.
    wanted: AtomicU64,
    /// How long it takes until all are back, of late, in nanoseconds.
    comeback_ns: AtomicU64,
    waiting: Mutex<()>,
    complete: Condvar,
}

impl Company {
    /// The open group has `count` commits.
    pub(crate) fn note_open(&self, count: u64) {
        self.open.store(count, Ordering::SeqCst);
    }

    /// A group with `answered` commits is done.
    pub(crate) fn note_done(&self, answered: u64) {
        self.expected.store(answered + self.open.load(Ordering::SeqCst), Ordering::Relaxed);
    }

    /// Ends the waiting if the company is complete. Not under the commit lock.
    pub(crate) fn look(&self) {
        let wanted = self.wanted.load(Ordering::SeqCst);
        if wanted != 0 && self.open.load(Ordering::SeqCst) >= wanted {
            self.end();
        }
    }

    /// Ends the waiting: the group takes no more.
    pub(crate) fn end(&self) {
        if self.wanted.load(Ordering::SeqCst) != 0 {
            let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            self.wanted.store(0, Ordering::SeqCst);
            drop(waiting);
            self.complete.notify_one();
        }
    }

    /// Waits for the company, at most `most_ns`; whether it came. The caller holds the log, so that it is alone.
    fn wait(&self, expected: u64, most_ns: u64) -> bool {
        let is_complete = || self.open.load(Ordering::SeqCst) >= expected;
        for _ in 0..LOOKS {
            std::thread::yield_now();
            if is_complete() {
                return true;
            }
        }
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        self.wanted.store(expected, Ordering::SeqCst);
        if is_complete() {
            self.wanted.store(0, Ordering::SeqCst);
            return true;
        }
        let goes_on = |_: &mut ()| self.wanted.load(Ordering::SeqCst) != 0;
        let most = Duration::from_nanos(most_ns);
        let waited = self.complete.wait_timeout_while(waiting, most, goes_on);
        let (waiting, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        self.wanted.store(0, Ordering::SeqCst);
        drop(waiting);
        !timeout.timed_out()
    }
}

impl Engine {
    /// Gives those who were just answered a moment to join the next group. The caller holds the log.
    pub(crate) fn wait_for_company(&self) {
        let (company, delay_ns) = (&self.company, self.options.group_delay_ns_max);
        let expected = company.expected.load(Ordering::Relaxed);
        let open = company.open.load(Ordering::SeqCst);
        if delay_ns == 0
            || expected <= 1
            || open == 0
            || open >= expected
            || self.options.durability != Durability::Fsync
        {
            return;
        }
        let sync_ns = self.stats.recent_sync_ns.load(Ordering::Relaxed);
        let comeback_ns = company.comeback_ns.load(Ordering::Relaxed);
        if comeback_ns > sync_ns {
            // Once in a while it is worth another try.
            company.comeback_ns.store(comeback_ns - comeback_ns / 64, Ordering::Relaxed);
            return;
        }
        if self.has_backlog() {
            return;
        }
        let most_ns = delay_ns.max(sync_ns / 20);
        let started_ns = self.env.clock.monotonic_ns();
        let took_ns = if company.wait(expected, most_ns) {
            self.env.clock.monotonic_ns().saturating_sub(started_ns)
        } else {
            2 * most_ns
        };
        company.comeback_ns.store(comeback_ns - comeback_ns / 8 + took_ns / 8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const MINUTE_NS: u64 = 60_000_000_000;

    #[test]
    fn the_last_one_to_come_ends_the_waiting() {
        let company = Arc::new(Company::default());
        company.note_open(1);
        let waiting = {
            let company = company.clone();
            std::thread::spawn(move || company.wait(3, MINUTE_NS))
        };
        for count in [2, 3] {
            company.note_open(count);
            company.look();
        }
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn a_full_group_ends_the_waiting() {
        let company = Arc::new(Company::default());
        let waiting = {
            let company = company.clone();
            std::thread::spawn(move || company.wait(3, MINUTE_NS))
        };
        while company.wanted.load(Ordering::SeqCst) == 0 {
            std::thread::yield_now();
        }
        company.end();
        assert!(waiting.join().unwrap());
    }

    #[test]
    fn who_does_not_come_is_not_waited_for_for_ever() {
        let company = Company::default();
        assert!(!company.wait(2, 1));
        assert_eq!(company.wanted.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn those_under_way_are_those_answered_and_those_in_the_open_group() {
        let company = Company::default();
        company.note_open(32);
        company.note_done(31);
        assert_eq!(company.expected.load(Ordering::SeqCst), 63);
    }
}
