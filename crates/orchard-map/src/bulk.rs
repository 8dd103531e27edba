//! Loading an empty map from keys in order: full leaves, tables of their final size.

use crate::record::{self, NewVersion, Version};
use crate::tree::Change;
use crate::writer::{MapWriter, publish};

/// Fills an empty map with ascending keys. Nothing is visible before `finish`.
pub struct BulkLoader<'w> {
    writer: &'w mut MapWriter,
    /// Words of the records so far, in key order.
    records: Vec<u64>,
    /// Hash and word of each.
    hashes: Vec<(u64, u64)>,
}

impl MapWriter {
    /// Starts loading ascending keys into this map.
    ///
    /// # Panics
    /// If the map is not empty.
    pub fn bulk_loader(&mut self) -> BulkLoader<'_> {
        assert_eq!(self.stats().entries, 0, "only an empty map is loaded in bulk");
        BulkLoader { writer: self, records: Vec::new(), hashes: Vec::new() }
    }
}

impl BulkLoader<'_> {
    /// Adds a key with its version.
    ///
    /// # Panics
    /// If the key is not greater than the last one.
    pub fn push(&mut self, key: &[u8], new: NewVersion<'_>) {
        if let Some(&last) = self.records.last() {
            // SAFETY: the loader's records are freed only when it is dropped.
            let last = unsafe { Version::from_word(last) };
            assert!(last.key() < key, "keys are loaded in ascending order");
        }
        let (shared, state) = self.writer.parts();
        let word = record::allocate(&mut state.store.records, key, &new, None);
        // SAFETY: as above.
        let record = unsafe { Version::from_word(word) };
        shared.counters.version(record, 1);
        shared.counters.entry(record, 1);
        self.records.push(word);
        self.hashes.push((shared.directory.hash_of(key), word));
    }

    /// Builds both structures and publishes everything.
    pub fn finish(mut self) {
        let (records, hashes) = (std::mem::take(&mut self.records), std::mem::take(&mut self.hashes));
        let (shared, state) = self.writer.parts();
        let (epochs, store) = (&shared.epochs, &mut state.store);
        shared.directory.fill(&mut state.tables, store, &hashes);
        state.tree.fill(&mut Change { tree: &shared.tree, epochs, store }, &records);
        publish(shared, state);
    }
}

impl Drop for BulkLoader<'_> {
    /// Gives up what was not finished.
    fn drop(&mut self) {
        let records = std::mem::take(&mut self.records);
        let (shared, state) = self.writer.parts();
        for word in records {
            // SAFETY: the record was never published, and is freed only after it was retired.
            let record = unsafe { Version::from_word(word) };
            shared.counters.version(record, -1);
            shared.counters.entry(record, -1);
            state.store.retire_record(&shared.epochs, record);
        }
    }
}
