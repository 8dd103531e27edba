//! Which entries expire when, so that a sweep finds them without looking at the others.

use std::collections::BTreeSet;

/// Entries by the time of their expiry. Holds exactly the entries in memory that have one.
#[derive(Default)]
pub struct ExpiryIndex {
    due: BTreeSet<(u64, Box<[u8]>)>,
    key_bytes: usize,
}

/// Memory of one item beside its key: the tuple, the tree's share and the allocation's.
const ITEM_OVERHEAD_BYTES: usize = 48;

impl ExpiryIndex {
    /// An entry's expiry changed.
    pub fn change(&mut self, key: Vec<u8>, before: Option<u64>, after: Option<u64>) {
        if before == after {
            return;
        }
        let mut item = (before.unwrap_or_default(), key.into_boxed_slice());
        if before.is_some() && self.due.remove(&item) {
            self.key_bytes -= item.1.len();
        }
        if let Some(after) = after {
            item.0 = after;
            self.key_bytes += item.1.len();
            self.due.insert(item);
        }
    }

    /// Up to `limit` entries that expire at or before `now_ms`, soonest first.
    pub fn due(&self, now_ms: u64, limit: usize) -> Vec<Vec<u8>> {
        self.due
            .iter()
            .take_while(|(expires_at_ms, _)| *expires_at_ms <= now_ms)
            .take(limit)
            .map(|(_, key)| key.to_vec())
            .collect()
    }

    /// Takes out whatever stands for a key that has no expiry any more; for a sweep that found the index behind.
    pub fn forget(&mut self, key: &[u8]) {
        let stale: Vec<_> = self.due.iter().filter(|(_, due)| due.as_ref() == key).cloned().collect();
        for item in stale {
            self.key_bytes -= item.1.len();
            self.due.remove(&item);
        }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Memory in bytes, about.
    pub fn memory_bytes(&self) -> usize {
        self.key_bytes + self.due.len() * ITEM_OVERHEAD_BYTES
    }
}
