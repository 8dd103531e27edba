//! What passes through, counted for `INFO stats`.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// A rate is taken over at least so long.
const RATE_WINDOW_MIN: Duration = Duration::from_millis(100);

/// Since the start, or since `CONFIG RESETSTAT`.
#[derive(Default)]
pub(crate) struct Traffic {
    pub(crate) input_bytes: AtomicU64,
    pub(crate) output_bytes: AtomicU64,
    /// Whole keys that were taken away because their time had come.
    pub(crate) expired_keys: AtomicU64,
    rate: Mutex<Rate>,
}

#[derive(Default)]
struct Rate {
    at: Option<Instant>,
    commands: u64,
    per_second: u64,
}

impl Traffic {
    /// So many bytes of requests were read.
    pub(crate) fn read(&self, size_bytes: usize) {
        self.input_bytes.fetch_add(u64::try_from(size_bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// So many bytes of replies were written.
    pub(crate) fn wrote(&self, size_bytes: usize) {
        self.output_bytes.fetch_add(u64::try_from(size_bytes).unwrap_or(0), Ordering::Relaxed);
    }

    /// Commands per second since somebody last asked, of `commands` until `now`; the first time since `started_at`.
    pub(crate) fn rate(&self, commands: u64, started_at: Instant, now: Instant) -> u64 {
        let mut rate = self.rate.lock();
        let passed = now.saturating_duration_since(rate.at.unwrap_or(started_at));
        if passed >= RATE_WINDOW_MIN {
            let more = commands.saturating_sub(rate.commands);
            let per_second = u128::from(more) * 1_000_000 / passed.as_micros().max(1);
            *rate =
                Rate { at: Some(now), commands, per_second: u64::try_from(per_second).unwrap_or(u64::MAX) };
        }
        rate.per_second
    }

    /// Counts from nothing again.
    pub(crate) fn reset(&self) {
        for counter in [&self.input_bytes, &self.output_bytes, &self.expired_keys] {
            counter.store(0, Ordering::Relaxed);
        }
        *self.rate.lock() = Rate { at: Some(Instant::now()), ..Rate::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_time_since_it_was_last_taken() {
        let traffic = Traffic::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(traffic.rate(5_000, start, after(2_000)), 2_500);
        assert_eq!(traffic.rate(9_999, start, after(2_050)), 2_500, "too soon");
        assert_eq!(traffic.rate(5_500, start, after(2_500)), 1_000);
        assert_eq!(traffic.rate(0, start, after(3_000)), 0, "counted from nothing again");
    }
}
