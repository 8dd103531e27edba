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
    /// Keys that were looked for to read them, and were there or not.
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    commands_rate: Mutex<Rate>,
    input_rate: Mutex<Rate>,
    output_rate: Mutex<Rate>,
}

#[derive(Default)]
struct Rate {
    at: Option<Instant>,
    count: u64,
    per_second: u64,
}

impl Rate {
    fn step(&mut self, count: u64, started_at: Instant, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.at.unwrap_or(started_at));
        if passed >= RATE_WINDOW_MIN {
            let more = count.saturating_sub(self.count);
            let per_second = u128::from(more) * 1_000_000 / passed.as_micros().max(1);
            let per_second = u64::try_from(per_second).unwrap_or(u64::MAX);
            *self = Rate { at: Some(now), count, per_second };
        }
        self.per_second
    }
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

    /// So many keys were looked for.
    pub(crate) fn looked(&self, hits: u64, misses: u64) {
        for (counter, count) in [(&self.hits, hits), (&self.misses, misses)] {
            if count > 0 {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    }

    /// Of `commands` run until `now`, of bytes read and of bytes written: how many in a second since somebody last asked;
    /// the first time since `started_at`.
    pub(crate) fn rates(&self, commands: u64, started_at: Instant, now: Instant) -> [u64; 3] {
        [
            (&self.commands_rate, commands),
            (&self.input_rate, self.input_bytes.load(Ordering::Relaxed)),
            (&self.output_rate, self.output_bytes.load(Ordering::Relaxed)),
        ]
        .map(|(rate, count)| rate.lock().step(count, started_at, now))
    }

    /// Counts from nothing again.
    pub(crate) fn reset(&self) {
        let Traffic { input_bytes, output_bytes, expired_keys, hits, misses, .. } = self;
        for counter in [input_bytes, output_bytes, expired_keys, hits, misses] {
            counter.store(0, Ordering::Relaxed);
        }
        for rate in [&self.commands_rate, &self.input_rate, &self.output_rate] {
            *rate.lock() = Rate { at: Some(Instant::now()), ..Rate::default() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_time_since_it_was_last_taken() {
        let mut rate = Rate::default();
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        assert_eq!(rate.step(5_000, start, after(2_000)), 2_500);
        assert_eq!(rate.step(9_999, start, after(2_050)), 2_500, "too soon");
        assert_eq!(rate.step(5_500, start, after(2_500)), 1_000);
        assert_eq!(rate.step(0, start, after(3_000)), 0, "counted from nothing again");
    }
}
