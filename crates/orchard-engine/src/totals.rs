//! How many entries there are, and their bytes.

use crate::apply::Effects;
use std::sync::atomic::{AtomicI64, Ordering};

/// Numbers of entries and bytes, live ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries whose newest version is not a tombstone.
    pub entries: i64,
    /// Their key bytes, flat.
    pub key_bytes: i64,
    /// Their value bytes.
    pub value_bytes: i64,
}

impl Counts {
    /// What a commit changed.
    pub fn of(effects: &Effects) -> Counts {
        Counts { entries: effects.entries, key_bytes: effects.key_bytes, value_bytes: effects.value_bytes }
    }

    /// Adds a change.
    pub fn add(&mut self, change: Counts) {
        self.entries += change.entries;
        self.key_bytes += change.key_bytes;
        self.value_bytes += change.value_bytes;
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        u64::try_from(self.key_bytes + self.value_bytes).unwrap_or(0)
    }
}

/// [`Counts`] that are changed under the commit lock and read without it.
#[derive(Default)]
pub(crate) struct SharedCounts {
    entries: AtomicI64,
    key_bytes: AtomicI64,
    value_bytes: AtomicI64,
}

impl SharedCounts {
    pub(crate) fn new(counts: Counts) -> SharedCounts {
        let shared = SharedCounts::default();
        shared.add(&counts);
        shared
    }

    /// Adds a change. Under the commit lock, so that there is one who adds.
    pub(crate) fn add(&self, change: &Counts) {
        let add = |count: &AtomicI64, change: i64| {
            if change != 0 {
                count.store(count.load(Ordering::Relaxed) + change, Ordering::Relaxed);
            }
        };
        add(&self.entries, change.entries);
        add(&self.key_bytes, change.key_bytes);
        add(&self.value_bytes, change.value_bytes);
    }

    pub(crate) fn load(&self) -> Counts {
        Counts {
            entries: self.entries.load(Ordering::Relaxed),
            key_bytes: self.key_bytes.load(Ordering::Relaxed),
            value_bytes: self.value_bytes.load(Ordering::Relaxed),
        }
    }
}
