//! Counters over the whole map, kept by the writer and readable by everyone.

// Plain counters: they order nothing, so loom need not explore them.
use std::sync::atomic::{AtomicU64, Ordering};

use crate::record::Version;

/// What the map holds. Taken while the writer works, the numbers may be of slightly different
/// moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MapStats {
    /// Keys with at least one version.
    pub entries: u64,
    /// Entries whose newest version is not a tombstone.
    pub live: u64,
    /// Entries whose newest version is a tombstone.
    pub tombstones: u64,
    /// Versions in memory, chained older ones included.
    pub versions: u64,
    /// Key bytes, once per entry.
    pub key_bytes: u64,
    /// Value bytes in memory, of all versions.
    pub value_bytes: u64,
    /// Value bytes of versions whose value is not in memory.
    pub nonresident_bytes: u64,
    /// Bytes of the record blocks handed out, rounded to their classes; retired ones included.
    pub allocated_bytes: u64,
    /// Bytes of hash tables, directory and ordered index; retired nodes included.
    pub index_bytes: u64,
    /// Bytes that wait for readers to finish before they are freed.
    pub retired_bytes: u64,
    /// Bytes held for all of it, the gaps in chunks included: what the process pays.
    pub held_bytes: u64,
}

/// Written by the writer alone, hence without a read-modify-write.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn add(&self, change: i64) {
        self.set(self.get().wrapping_add_signed(change));
    }
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) entries: Counter,
    pub(crate) tombstones: Counter,
    pub(crate) versions: Counter,
    pub(crate) key_bytes: Counter,
    pub(crate) value_bytes: Counter,
    pub(crate) nonresident_bytes: Counter,
    pub(crate) allocated_bytes: Counter,
    pub(crate) index_bytes: Counter,
    pub(crate) retired_bytes: Counter,
    pub(crate) held_bytes: Counter,
}

impl Counters {
    pub(crate) fn read(&self) -> MapStats {
        let (entries, tombstones) = (self.entries.get(), self.tombstones.get());
        MapStats {
            entries,
            live: entries.saturating_sub(tombstones),
            tombstones,
            versions: self.versions.get(),
            key_bytes: self.key_bytes.get(),
            value_bytes: self.value_bytes.get(),
            nonresident_bytes: self.nonresident_bytes.get(),
            allocated_bytes: self.allocated_bytes.get(),
            index_bytes: self.index_bytes.get(),
            retired_bytes: self.retired_bytes.get(),
            held_bytes: self.held_bytes.get(),
        }
    }

    /// Adds what was counted of keys and versions elsewhere.
    pub(crate) fn absorb(&self, other: &Counters) {
        for (counter, other) in [
            (&self.entries, &other.entries),
            (&self.tombstones, &other.tombstones),
            (&self.versions, &other.versions),
            (&self.key_bytes, &other.key_bytes),
            (&self.value_bytes, &other.value_bytes),
            (&self.nonresident_bytes, &other.nonresident_bytes),
        ] {
            counter.set(counter.get() + other.get());
        }
    }

    /// A version enters (`sign` 1) or leaves (-1) the map's chains.
    pub(crate) fn version(&self, version: Version<'_>, sign: i64) {
        self.versions.add(sign);
        let value_len = i64::from(version.value_len());
        if version.is_resident() {
            self.value_bytes.add(sign * value_len);
        } else {
            self.nonresident_bytes.add(sign * value_len);
        }
    }

    /// An entry with this newest version appears (`sign` 1) or disappears (-1).
    pub(crate) fn entry(&self, newest: Version<'_>, sign: i64) {
        self.entries.add(sign);
        self.key_bytes.add(sign * newest.key().len() as i64);
        self.newest(newest, sign);
    }

    /// An entry's newest version becomes (`sign` 1) or stops being (-1) this one.
    pub(crate) fn newest(&self, newest: Version<'_>, sign: i64) {
        if newest.is_tombstone() {
            self.tombstones.add(sign);
        }
    }
}
