//! The shared clock of log and readers: log times never decrease, and no reader's time lies behind a later group's.
//!
//! - A group's `log_time` is fixed when the group opens; it is at least every time a reader was given before.
//! - A reader moves the clock only while no group is in flight; otherwise it reads at the time of the newest visible
//!   group, or at the latest time that readers were given before the one in flight opened. So an entry that a reader
//!   saw expired is expired for every later commit and every later reader.
//! - A forward jump of the machine's clock is clamped: elapsed monotonic time plus one second a group.

use orchard_env::Clock;
use orchard_types::UnixMillis;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// How much a group may move ahead of elapsed monotonic time.
const JUMP_PER_GROUP_MS: i64 = 1_000;
const NS_PER_MS: u64 = 1_000_000;

/// See the module's text.
pub struct LogClock {
    clock: Arc<dyn Clock>,
    /// Milliseconds shifted left by one; the lowest bit tells that a group is in flight.
    word: AtomicU64,
    /// The latest time that readers may have been given when the group in flight opened.
    readers_ms: AtomicU64,
    /// Log time minus monotonic time, in milliseconds, when the last group opened.
    anchor_ms: AtomicI64,
}

impl LogClock {
    /// A clock that goes on from `last`, the newest log time of the log. Opening trusts the machine's clock once.
    pub fn new(clock: Arc<dyn Clock>, last: UnixMillis) -> LogClock {
        let start = clock.now().max(last);
        let log_clock = LogClock {
            clock,
            word: AtomicU64::new(start.0 << 1),
            readers_ms: AtomicU64::new(0),
            anchor_ms: AtomicI64::new(0),
        };
        log_clock.anchor(start.0, log_clock.monotonic_ms());
        log_clock
    }

    fn monotonic_ms(&self) -> i64 {
        i64::try_from(self.clock.monotonic_ns() / NS_PER_MS).unwrap_or(i64::MAX)
    }

    fn anchor(&self, time_ms: u64, monotonic_ms: i64) {
        let time_ms = i64::try_from(time_ms).unwrap_or(i64::MAX);
        self.anchor_ms.store(time_ms.saturating_sub(monotonic_ms), Ordering::Relaxed);
    }

    /// The machine's time, clamped; `monotonic_ms` is now.
    fn clamped_now(&self, monotonic_ms: i64) -> u64 {
        let wall = i64::try_from(self.clock.now().0).unwrap_or(i64::MAX);
        let anchor_ms = self.anchor_ms.load(Ordering::Relaxed);
        let latest = anchor_ms.saturating_add(monotonic_ms).saturating_add(JUMP_PER_GROUP_MS);
        u64::try_from(wall.min(latest)).unwrap_or(0)
    }

    /// The time of a new group. The caller holds the commit lock.
    pub fn open_group(&self) -> UnixMillis {
        let monotonic_ms = self.monotonic_ms();
        let now = self.clamped_now(monotonic_ms);
        let mut word = self.word.load(Ordering::SeqCst);
        loop {
            let time = now.max(word >> 1);
            self.note_readers(word);
            match self.word.compare_exchange(word, time << 1 | 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => {
                    self.anchor(time, monotonic_ms);
                    return UnixMillis(time);
                }
                Err(found) => word = found,
            }
        }
    }

    /// Whether a group of `log_time` may still take commits: no reader was given a later time.
    pub fn may_join(&self, log_time: UnixMillis) -> bool {
        let word = self.word.load(Ordering::SeqCst);
        self.note_readers(word);
        word >> 1 == log_time.0
            && (word & 1 == 1
                || self.word.compare_exchange(word, word | 1, Ordering::SeqCst, Ordering::SeqCst).is_ok())
    }

    /// Before a group is in flight: keeps the time that readers have reached without one.
    fn note_readers(&self, word: u64) {
        if word & 1 == 0 {
            self.readers_ms.store(word >> 1, Ordering::SeqCst);
        }
    }

    /// Everything applied is visible. The caller holds the commit lock.
    pub fn nothing_in_flight(&self) {
        self.word.fetch_and(!1, Ordering::SeqCst);
    }

    /// The time of a read; `visible_time` is the log time of the newest visible group.
    pub fn read_time(&self, visible_time: UnixMillis) -> UnixMillis {
        let in_flight = || visible_time.max(UnixMillis(self.readers_ms.load(Ordering::SeqCst)));
        let mut word = self.word.load(Ordering::SeqCst);
        if word & 1 == 1 {
            return in_flight();
        }
        let now = self.clamped_now(self.monotonic_ms());
        loop {
            if word & 1 == 1 {
                return in_flight();
            }
            if now <= word >> 1 {
                return UnixMillis(word >> 1);
            }
            match self.word.compare_exchange(word, now << 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return UnixMillis(now),
                Err(found) => word = found,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchard_env::ManualClock;

    #[test]
    fn log_time_is_monotonic_and_clamped() {
        let machine = Arc::new(ManualClock::at(UnixMillis(10_000)));
        let clock = LogClock::new(machine.clone(), UnixMillis(0));
        assert_eq!(clock.open_group(), UnixMillis(10_000));
        machine.jump_to(UnixMillis(5_000));
        assert_eq!(clock.open_group(), UnixMillis(10_000), "never back");
        machine.jump_to(UnixMillis(1_000_000));
        assert_eq!(clock.open_group(), UnixMillis(11_000), "a jump moves it by one second a group");
        assert_eq!(clock.open_group(), UnixMillis(12_000));
        machine.advance_ms(50);
        assert_eq!(clock.open_group(), UnixMillis(13_050));
    }

    #[test]
    fn readers_move_the_clock_only_when_nothing_is_in_flight() {
        let machine = Arc::new(ManualClock::at(UnixMillis(10_000)));
        let clock = LogClock::new(machine.clone(), UnixMillis(0));
        let opened = clock.open_group();
        machine.advance_ms(500);
        assert_eq!(clock.read_time(UnixMillis(9_000)), UnixMillis(10_000), "in flight: as before the group");
        assert_eq!(clock.read_time(UnixMillis(10_400)), UnixMillis(10_400), "or the visible group's time");
        assert!(clock.may_join(opened));
        clock.nothing_in_flight();
        assert_eq!(clock.read_time(opened), UnixMillis(10_500));
        assert!(!clock.may_join(opened), "a reader was given a later time");
        assert_eq!(clock.open_group(), UnixMillis(10_500));
    }

    #[test]
    fn a_group_in_flight_does_not_take_readers_back() {
        let machine = Arc::new(ManualClock::at(UnixMillis(10_000)));
        let clock = LogClock::new(machine.clone(), UnixMillis(0));
        machine.advance_ms(500);
        assert_eq!(clock.read_time(UnixMillis(9_000)), UnixMillis(10_500));
        machine.advance_ms(500);
        assert_eq!(clock.open_group(), UnixMillis(11_000));
        assert_eq!(clock.read_time(UnixMillis(9_000)), UnixMillis(10_500), "what was expired stays expired");
    }
}
