//! How often something took how long, in buckets that are the wider the longer it took.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets of one power of two: a time is known to an eighth.
const PARTS: usize = 8;
const PARTS_LOG: u32 = PARTS.ilog2();
/// Times from here on are not told apart, in nanoseconds: about a second, as in Redis.
const NANOS_MAX: u64 = 1 << 30;
const BUCKETS: usize = bucket(NANOS_MAX - 1) + 1;

/// Counts by time. It takes room only once something is counted.
#[derive(Default)]
pub(crate) struct Histogram(OnceLock<Box<[AtomicU64; BUCKETS]>>);

impl Histogram {
    /// So many more took so long each.
    pub(crate) fn add(&self, nanos: u64, count: u64) {
        let buckets = self.0.get_or_init(|| Box::new([const { AtomicU64::new(0) }; BUCKETS]));
        if let Some(counter) = buckets.get(bucket(nanos.min(NANOS_MAX - 1))) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts from nothing again.
    pub(crate) fn reset(&self) {
        for counter in self.0.get().into_iter().flat_map(|buckets| buckets.iter()) {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// What is counted: the longest time of a bucket in nanoseconds, and how many took that long or less, in order.
    fn sums(&self) -> Vec<(u64, u64)> {
        let counters = self.0.get().into_iter().flat_map(|buckets| buckets.iter().enumerate());
        let mut sum = 0;
        counters
            .map(|(bucket, counter)| {
                sum += counter.load(Ordering::Relaxed);
                (last_of(bucket), sum)
            })
            .collect()
    }

    /// The times in nanoseconds that so many of a thousand did not exceed; none if nothing was counted.
    pub(crate) fn at_per_mille<const N: usize>(&self, shares: [u64; N]) -> Option<[u64; N]> {
        let sums = self.sums();
        let all = sums.last().map(|(_, all)| *all).filter(|all| *all > 0)?;
        let at = |share: u64| {
            let wanted = (u128::from(all) * u128::from(share)).div_ceil(1_000).max(1);
            let found = sums.iter().find(|(_, sum)| u128::from(*sum) >= wanted);
            found.map_or(NANOS_MAX, |(nanos, _)| *nanos)
        };
        Some(shares.map(at))
    }

    /// How many took no longer than a power of two of nanoseconds, from 1,024 on, where that are more than before.
    pub(crate) fn by_powers(&self) -> Vec<(u64, u64)> {
        let sums = self.sums();
        let mut steps = Vec::new();
        let mut before = 0;
        for power in 10..=NANOS_MAX.ilog2() {
            let end = 1 << power;
            let sum = sums.iter().take_while(|(nanos, _)| *nanos < end).last().map_or(0, |(_, sum)| *sum);
            if sum > before {
                steps.push((end, sum));
            }
            before = sum;
        }
        steps
    }
}

/// Where a time is counted.
const fn bucket(nanos: u64) -> usize {
    if nanos < PARTS as u64 {
        return nanos as usize;
    }
    let power = nanos.ilog2();
    let part = (nanos >> (power - PARTS_LOG)) as usize % PARTS;
    (power - PARTS_LOG + 1) as usize * PARTS + part
}

/// The longest time of a bucket.
const fn last_of(bucket: usize) -> u64 {
    if bucket < PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    (((PARTS + bucket % PARTS + 1) as u64) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_the_bucket_that_ends_with_it_or_later() {
        assert_eq!(last_of(BUCKETS - 1), NANOS_MAX - 1);
        for bucket_before in 0..BUCKETS - 1 {
            let last = last_of(bucket_before);
            assert_eq!((bucket(last), bucket(last + 1)), (bucket_before, bucket_before + 1));
        }
    }

    #[test]
    fn shares_and_powers() {
        let histogram = Histogram::default();
        assert_eq!((histogram.at_per_mille([500]), histogram.by_powers()), (None, Vec::new()));
        histogram.add(1_500, 900);
        histogram.add(40_000, 99);
        histogram.add(u64::MAX, 1);
        let [half, most, all] = histogram.at_per_mille([500, 990, 1_000]).expect("counted");
        assert_eq!((half, all), (1_535, NANOS_MAX - 1));
        assert!((40_000..45_000).contains(&most), "{most}");
        assert_eq!(histogram.by_powers(), [(2_048, 900), (65_536, 999), (NANOS_MAX, 1_000)]);
        histogram.reset();
        assert_eq!(histogram.at_per_mille([500]), None);
    }
}
