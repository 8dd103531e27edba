//! Where the live entries of a queue begin.
//!
//! What was taken from the front of a queue leaves tombstones there until a checkpoint lets them go; without a hint each
//! lease would walk over all of them. A hint for an area says: nothing before this key is there. It is set and lowered
//! under the commit lock only, by those who read and write the areas; enqueuing commits write behind everything older.
//! Hints are in memory alone. When the log takes commits back (a full disk), all are forgotten.

use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashMap;

/// Areas that are remembered. Beyond that all are forgotten and learnt again.
const HINTS_MAX: usize = 100_000;

/// The hints of all queues of a database.
#[derive(Default)]
pub(crate) struct AllHints(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// How often commits had been taken back.
    rollbacks: u64,
    /// By the first key of an area.
    first: HashMap<Bytes, Bytes>,
    /// By queue: no incoming message ever had this n or a larger one.
    lanes: HashMap<Bytes, u32>,
}

impl Known {
    fn forget_what_was_taken_back(&mut self, rollbacks: u64) {
        if self.rollbacks != rollbacks || self.lanes.len() >= HINTS_MAX {
            *self = Known { rollbacks, ..Known::default() };
        }
    }
}

impl AllHints {
    /// From where on to read an area that begins at `area`.
    pub(super) fn start(&self, area: &Bytes, rollbacks: u64) -> Bytes {
        let mut known = self.0.lock();
        known.forget_what_was_taken_back(rollbacks);
        known.first.get(area).unwrap_or(area).clone()
    }

    /// Nothing stands before `first`.
    pub(super) fn set(&self, area: Bytes, first: Bytes) {
        let mut known = self.0.lock();
        if known.first.len() >= HINTS_MAX {
            known.first.clear();
        }
        known.first.insert(area, first);
    }

    /// How many lanes a queue is known to have.
    pub(super) fn lanes(&self, queue: &Bytes, rollbacks: u64) -> u32 {
        let mut known = self.0.lock();
        known.forget_what_was_taken_back(rollbacks);
        known.lanes.get(queue).copied().unwrap_or_default()
    }

    /// A queue has so many lanes.
    pub(super) fn set_lanes(&self, queue: Bytes, lanes: u32) {
        self.0.lock().lanes.insert(queue, lanes);
    }

    /// Something will stand at `key`.
    pub(super) fn lower(&self, area: &Bytes, key: &[u8]) {
        let mut known = self.0.lock();
        if let Some(first) = known.first.get_mut(area)
            && first.as_ref() > key
        {
            *first = Bytes::copy_from_slice(key);
        }
    }
}
