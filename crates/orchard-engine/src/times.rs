//! When was which version: a stamp-to-time index in steps of one second.
//!
//! It has a lock of its own, so that who asks needs no commit lock, and may hold it. Nothing else is locked within.

use orchard_types::{UnixMillis, Versionstamp};
use parking_lot::RwLock;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

/// Length of a step.
pub const STEP_MS: u64 = 1_000;
/// Steps kept: a day. Older ones are thinned to every second one, so times get coarser with age but never wrong.
const STEPS_MAX: usize = 86_400;

/// Pairs of (log time, stamp), both increasing.
#[derive(Default)]
pub struct TimeIndex {
    /// The next step begins at this time or later, in milliseconds: most groups lie before it, and look no further.
    next_ms: AtomicU64,
    steps: RwLock<VecDeque<(UnixMillis, Versionstamp)>>,
}

impl TimeIndex {
    /// A group of `time` begins with `stamp`.
    pub fn note(&self, time: UnixMillis, stamp: Versionstamp) {
        if time.0 < self.next_ms.load(Ordering::Relaxed) {
            return;
        }
        let mut steps = self.steps.write();
        let next_ms = steps.back().map_or(0, |(last, _)| last.0.saturating_add(STEP_MS));
        if time.0 < next_ms {
            return;
        }
        self.next_ms.store(time.0.saturating_add(STEP_MS), Ordering::Relaxed);
        if steps.len() >= STEPS_MAX {
            let mut keep = false;
            let half = STEPS_MAX / 2;
            let mut position = 0;
            steps.retain(|_| {
                position += 1;
                keep = !keep;
                keep || position > half
            });
        }
        steps.push_back((time, stamp));
    }

    /// The log time of `stamp`, or an earlier one by less than a step where steps are whole; zero before the first step.
    pub fn time_of(&self, stamp: Versionstamp) -> UnixMillis {
        let steps = self.steps.read();
        let behind = steps.partition_point(|(_, first)| *first <= stamp);
        behind.checked_sub(1).and_then(|at| steps.get(at)).map_or(UnixMillis(0), |(time, _)| *time)
    }

    /// The newest version that lies before every commit of a time after `time`, as far as steps tell; `None` before the
    /// first step.
    pub fn version_at(&self, time: UnixMillis) -> Option<Versionstamp> {
        let steps = self.steps.read();
        let behind = steps.partition_point(|(first, _)| *first <= time);
        if behind == 0 {
            return None;
        }
        match steps.get(behind) {
            Some((_, next)) => Some(Versionstamp::from_raw(next.raw() - 1)),
            None => Some(Versionstamp::MAX),
        }
    }
}

impl TimeIndex {
    /// A version that is not newer than any commit of a time after `time`: at most a step older than it need be; `None`
    /// before the first step.
    pub fn version_before(&self, time: UnixMillis) -> Option<Versionstamp> {
        let steps = self.steps.read();
        let behind = steps.partition_point(|(first, _)| *first <= time);
        behind.checked_sub(1).and_then(|at| steps.get(at)).map(|(_, stamp)| *stamp)
    }

    /// The steps from the one that `from` lies in, thinned to about `steps_max`.
    pub fn since(&self, from: Versionstamp, steps_max: usize) -> Vec<(u64, u64)> {
        let steps = self.steps.read();
        let first = steps.partition_point(|(_, stamp)| *stamp <= from).saturating_sub(1);
        let kept = steps.len() - first;
        let every = kept.div_ceil(steps_max.max(1)).max(1);
        steps.iter().skip(first).step_by(every).map(|(time, stamp)| (time.0, stamp.raw())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_versions_answer_each_other() {
        let index = TimeIndex::default();
        assert_eq!(index.version_at(UnixMillis(5)), None);
        for second in 1..200_000u64 {
            index.note(UnixMillis(second * 1_000), Versionstamp::new(second * 10, 0));
            index.note(UnixMillis(second * 1_000 + 500), Versionstamp::new(second * 10 + 5, 0));
        }
        assert!(index.steps.read().len() <= STEPS_MAX);
        let stamp = Versionstamp::new(1_999_980, 0);
        assert_eq!(index.time_of(stamp), UnixMillis(199_998_000));
        assert_eq!(index.time_of(Versionstamp::new(1_999_985, 3)), UnixMillis(199_998_000));
        assert!(index.version_at(UnixMillis(199_998_400)).expect("known") >= Versionstamp::new(1_999_985, 0));
        assert_eq!(index.time_of(Versionstamp::ZERO), UnixMillis(0));
        assert_eq!(index.version_before(UnixMillis(199_998_400)), Some(stamp));
        let thinned = index.since(stamp, 1);
        assert_eq!(thinned, [(199_998_000, stamp.raw())]);
        assert!(index.since(Versionstamp::ZERO, 100).len() <= 100);
    }
}
