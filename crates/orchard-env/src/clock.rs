//! Time as a trait.

use orchard_types::UnixMillis;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Wall time for people, monotonic time for durations.
pub trait Clock: Send + Sync {
    /// Wall time; may jump.
    fn now(&self) -> UnixMillis;

    /// Nanoseconds since some fixed moment; never goes back.
    fn monotonic_ns(&self) -> u64;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// The machine's clocks.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    pub fn new() -> SystemClock {
        SystemClock { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the machine's clock")]
    fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that a test moves by hand.
#[derive(Debug, Default)]
pub struct ManualClock {
    monotonic_ns: AtomicU64,
    /// What to add to the monotonic time to get wall time.
    offset_ms: AtomicU64,
}

const NS_PER_MS: u64 = 1_000_000;

impl ManualClock {
    /// A clock at `now`, its monotonic time at zero.
    pub fn at(now: UnixMillis) -> ManualClock {
        ManualClock { monotonic_ns: AtomicU64::new(0), offset_ms: AtomicU64::new(now.0) }
    }

    /// Moves both times forward.
    pub fn advance_ms(&self, duration_ms: u64) {
        self.advance_ns(duration_ms * NS_PER_MS);
    }

    /// Moves both times forward; wall time shows whole milliseconds of it.
    pub fn advance_ns(&self, duration_ns: u64) {
        self.monotonic_ns.fetch_add(duration_ns, Ordering::SeqCst);
    }

    /// Sets the wall time alone, as a step of the machine's clock would.
    pub fn jump_to(&self, now: UnixMillis) {
        self.offset_ms.store(now.0.wrapping_sub(self.monotonic_ns() / NS_PER_MS), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.offset_ms.load(Ordering::SeqCst).wrapping_add(self.monotonic_ns() / NS_PER_MS))
    }

    fn monotonic_ns(&self) -> u64 {
        self.monotonic_ns.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_counts_parts_of_a_millisecond_and_jumps_alone() {
        let clock = ManualClock::at(UnixMillis(1_000));
        clock.advance_ns(600_000);
        clock.advance_ns(600_000);
        assert_eq!((clock.now(), clock.monotonic_ns()), (UnixMillis(1_001), 1_200_000));
        clock.jump_to(UnixMillis(5));
        clock.advance_ms(2);
        assert_eq!((clock.now(), clock.monotonic_ns()), (UnixMillis(7), 3_200_000));
    }
}
