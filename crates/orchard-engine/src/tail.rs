//! The newest groups of the log, kept in memory for the feed: live readers never read the disk, and a database in memory
//! alone has a feed, too.
//!
//! - Groups stand in the order of the log, without gaps: everything behind `floor` that was written is here.
//! - Its bytes are bounded. The newest group stays, whatever its size.
//! - Until somebody follows it for the first time, commits may be left out: `floor` then lies behind them, and where there is
//!   a log they are read there.
//! - A group is here before `visible` moves past it; readers look at `visible` first, then here.

use crate::changes::FeedGroup;
use crate::wal::Group;
use bytes::Bytes;
use orchard_types::Versionstamp;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// Memory of a group beside its payload, about.
const GROUP_OVERHEAD_BYTES: usize = 96;

/// See the module's text.
pub(crate) struct Tail {
    recent: Mutex<Recent>,
    limit_bytes: usize,
    is_followed: AtomicBool,
}

struct Recent {
    groups: VecDeque<FeedGroup>,
    bytes: usize,
    floor: Versionstamp,
}

/// What the tail knows about a position.
pub(crate) enum TailRead {
    /// The position lies before all that is kept.
    Before(Versionstamp),
    /// Groups that hold something behind the position.
    Groups {
        groups: Vec<FeedGroup>,
        /// There was a commit (or an idle group) at the position.
        is_known: bool,
    },
}

impl Tail {
    /// An empty tail behind `floor`.
    pub fn new(floor: Versionstamp, limit_bytes: u64) -> Tail {
        let recent = Recent { groups: VecDeque::new(), bytes: 0, floor };
        let limit_bytes = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
        Tail { recent: Mutex::new(recent), limit_bytes, is_followed: AtomicBool::new(false) }
    }

    /// Somebody wants to know of commits: from now on none is left out.
    pub fn follow(&self) {
        self.is_followed.store(true, Ordering::SeqCst);
    }

    /// Whether anybody has ever followed it.
    pub fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::SeqCst)
    }

    /// A commit is left out, and with it all before.
    pub fn leave_out(&self, stamp: Versionstamp) {
        let mut recent = self.recent.lock();
        recent.groups.clear();
        recent.bytes = 0;
        recent.floor = stamp;
    }

    /// A group was written.
    pub fn push(&self, group: &Group) {
        let group = FeedGroup {
            index: group.index,
            log_time: group.log_time,
            count: group.count,
            payload: Bytes::copy_from_slice(&group.payload),
        };
        let mut recent = self.recent.lock();
        recent.bytes += group.payload.len() + GROUP_OVERHEAD_BYTES;
        recent.groups.push_back(group);
        while recent.bytes > self.limit_bytes && recent.groups.len() > 1 {
            let Some(oldest) = recent.groups.pop_front() else { break };
            recent.bytes -= oldest.payload.len() + GROUP_OVERHEAD_BYTES;
            recent.floor = oldest.last_stamp();
        }
    }

    /// Groups behind `after` up to `visible`, of about `bytes_max` bytes, at least one.
    pub fn read(&self, after: Versionstamp, visible: Versionstamp, bytes_max: usize) -> TailRead {
        let recent = self.recent.lock();
        if after < recent.floor {
            return TailRead::Before(recent.floor);
        }
        let at = recent.groups.partition_point(|group| group.last_stamp() < after);
        let mut is_known = after == recent.floor;
        let mut bytes = 0;
        let mut groups = Vec::new();
        for group in recent.groups.range(at..) {
            is_known |= group.holds(after);
            if group.last_stamp() > visible || bytes >= bytes_max {
                break;
            }
            if group.last_stamp() > after {
                bytes += group.payload.len() + GROUP_OVERHEAD_BYTES;
                groups.push(group.clone());
            }
        }
        TailRead::Groups { groups, is_known }
    }

    /// Everything behind this is kept.
    pub fn floor(&self) -> Versionstamp {
        self.recent.lock().floor
    }

    /// Memory in bytes, about.
    pub fn memory_bytes(&self) -> usize {
        self.recent.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orchard_types::UnixMillis;

    fn group(index: u64, count: u32, bytes: usize) -> Group {
        Group { index, log_time: UnixMillis(index), count, payload: vec![0; bytes] }
    }

    fn indexes(read: TailRead) -> Vec<u64> {
        match read {
            TailRead::Groups { groups, .. } => groups.iter().map(|group| group.index).collect(),
            TailRead::Before(floor) => panic!("before {floor:?}"),
        }
    }

    #[test]
    fn its_bytes_are_bounded_and_it_says_what_went() {
        let tail = Tail::new(Versionstamp::ZERO, 10_000);
        for index in 1..100 {
            tail.push(&group(index, 2, 900));
            assert!(tail.memory_bytes() <= 10_000);
        }
        let floor = tail.floor();
        assert_eq!(floor, Versionstamp::new(89, 1));
        assert!(matches!(tail.read(Versionstamp::new(89, 0), Versionstamp::MAX, 1), TailRead::Before(_)));
        assert_eq!(indexes(tail.read(floor, Versionstamp::MAX, usize::MAX)), Vec::from_iter(90..100));
        assert_eq!(indexes(tail.read(floor, Versionstamp::MAX, 1)), [90], "at least one");
        assert_eq!(indexes(tail.read(floor, Versionstamp::new(91, 1), usize::MAX)), [90, 91], "visible ones");
        assert_eq!(indexes(tail.read(Versionstamp::new(98, 0), Versionstamp::MAX, usize::MAX)), [98, 99]);
        assert_eq!(indexes(tail.read(Versionstamp::new(98, 1), Versionstamp::MAX, usize::MAX)), [99]);
        tail.push(&group(200, 1, 50_000));
        assert_eq!(indexes(tail.read(Versionstamp::new(99, 1), Versionstamp::MAX, usize::MAX)), [200]);
    }

    #[test]
    fn a_position_that_never_was_is_not_known() {
        let tail = Tail::new(Versionstamp::new(5, 0), 10_000);
        tail.push(&group(100, 1, 10));
        tail.push(&group(101, 0, 0));
        tail.push(&group(102, 1, 10));
        for (position, known) in [
            ((5, 0), true),
            ((5, 1), false),
            ((50, 0), false),
            ((100, 0), true),
            ((100, 1), false),
            ((101, 0), true),
        ] {
            let after = Versionstamp::new(position.0, position.1);
            let TailRead::Groups { is_known, .. } = tail.read(after, Versionstamp::MAX, 1_000) else {
                panic!("{after:?} is not before the tail");
            };
            assert_eq!(is_known, known, "{after:?}");
        }
    }
}
