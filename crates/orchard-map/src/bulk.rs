//! Loading an empty map from keys in order: full leaves, tables of their final size. Runs of keys may be made side by
//! side on several threads, and are joined in key order.

use std::sync::Arc;

use crate::reader::MapReader;
use crate::record::{self, NewVersion, Version};
use crate::reshape::Change;
use crate::slab::Slab;
use crate::stats::Counters;
use crate::table::Directory;
use crate::writer::{MapWriter, WriterState, publish};

/// Records in key order, in a slab that is somebody else's.
#[derive(Default)]
struct Run {
    /// Words of the records, in key order.
    records: Vec<u64>,
    /// Hash and word of each.
    hashes: Vec<(u64, u64)>,
}

impl Run {
    /// # Safety
    /// The run's records are in `slab`, none was freed.
    unsafe fn push(
        &mut self,
        (slab, counters): (&mut Slab, &Counters),
        directory: &Directory,
        key: &[u8],
        new: &NewVersion<'_>,
    ) {
        if let Some(&last) = self.records.last() {
            // SAFETY: the caller's promise.
            let last = unsafe { Version::from_word(last) };
            assert!(last.key() < key, "keys are loaded in ascending order");
        }
        let word = record::allocate(slab, key, new, None);
        // SAFETY: the record was just allocated.
        let record = unsafe { Version::from_word(word) };
        counters.version(record, 1);
        counters.entry(record, 1);
        self.records.push(word);
        self.hashes.push((directory.hash_of(key), word));
    }
}

/// Ascending keys for one [`BulkLoader`], made on any thread.
pub struct BulkRun {
    /// Whose hashes they have.
    reader: MapReader,
    slab: Slab,
    counters: Counters,
    run: Run,
}

impl BulkRun {
    /// Adds a key with its version.
    ///
    /// # Panics
    /// If the key is not greater than the last one.
    pub fn push(&mut self, key: &[u8], new: NewVersion<'_>) {
        let to = (&mut self.slab, &self.counters);
        // SAFETY: the run's records are in its own slab, which frees nothing while the run lives.
        unsafe { self.run.push(to, &self.reader.shared.directory, key, &new) }
    }
}

/// Fills an empty map with ascending keys. Nothing is visible before `finish`.
pub struct BulkLoader<'w> {
    writer: &'w mut MapWriter,
    /// The records so far.
    run: Run,
    /// Hashes of the runs that were appended.
    hashes: Vec<Vec<(u64, u64)>>,
}

impl MapWriter {
    /// Starts loading ascending keys into this map.
    ///
    /// # Panics
    /// If the map is not empty.
    pub fn bulk_loader(&mut self) -> BulkLoader<'_> {
        assert_eq!(self.stats().entries, 0, "only an empty map is loaded in bulk");
        BulkLoader { writer: self, run: Run::default(), hashes: Vec::new() }
    }
}

impl BulkLoader<'_> {
    /// Adds a key with its version.
    ///
    /// # Panics
    /// If the key is not greater than the last one.
    pub fn push(&mut self, key: &[u8], new: NewVersion<'_>) {
        let (shared, state) = self.writer.parts();
        let to = (&mut state.store.records, &shared.counters);
        // SAFETY: the loader's records are in the map's slab, and are freed only when the loader is dropped.
        unsafe { self.run.push(to, &shared.directory, key, &new) }
    }

    /// An empty run for this loader, to be filled on any thread.
    pub fn run(&self) -> BulkRun {
        BulkRun {
            reader: self.writer.reader(),
            slab: Slab::new(),
            counters: Counters::default(),
            run: Run::default(),
        }
    }

    /// Adds the keys of a run. The memory they lie in becomes the map's.
    ///
    /// # Panics
    /// If its first key is not greater than the last one, or the run is another map's.
    pub fn append(&mut self, run: BulkRun) {
        let (shared, state) = self.writer.parts();
        assert!(
            std::ptr::eq(shared, Arc::as_ptr(&run.reader.shared)),
            "a run is for the map it was made for"
        );
        if let (Some(&last), Some(&first)) = (self.run.records.last(), run.run.records.first()) {
            // SAFETY: neither the loader's records nor the run's are freed before this.
            let (last, first) = unsafe { (Version::from_word(last), Version::from_word(first)) };
            assert!(last.key() < first.key(), "keys are loaded in ascending order");
        }
        state.store.records.absorb(run.slab);
        shared.counters.absorb(&run.counters);
        if self.run.records.is_empty() {
            self.run.records = run.run.records;
        } else {
            self.run.records.extend_from_slice(&run.run.records);
        }
        self.hashes.push(run.run.hashes);
    }

    /// Builds both structures, side by side if runs were, and publishes everything.
    pub fn finish(mut self) {
        let Run { records, hashes } = std::mem::take(&mut self.run);
        let mut runs = std::mem::take(&mut self.hashes);
        let is_parallel = runs.len() > 1;
        runs.push(hashes);
        let (shared, state) = self.writer.parts();
        let WriterState { store, tables, tree, .. } = state;
        shared.directory.make_tables(tables, store, runs.iter().flatten().map(|(hash, _)| *hash));
        let fill_tables = || runs.iter().for_each(|run| shared.directory.fill_tables(run));
        let mut fill_tree =
            || tree.fill(&mut Change { tree: &shared.tree, epochs: &shared.epochs, store }, &records);
        if is_parallel {
            std::thread::scope(|scope| {
                // Without a thread to be had it is done here.
                let other = std::thread::Builder::new().spawn_scoped(scope, fill_tables);
                fill_tree();
                if other.is_err() {
                    fill_tables();
                }
            });
        } else {
            fill_tables();
            fill_tree();
        }
        publish(shared, state);
    }
}

impl Drop for BulkLoader<'_> {
    /// Gives up what was not finished.
    fn drop(&mut self) {
        let records = std::mem::take(&mut self.run.records);
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
