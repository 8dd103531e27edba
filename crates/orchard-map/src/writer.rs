//! Writing: the one handle that changes the map.
//!
//! Between two calls: each entry's newest record is in exactly one hash slot and one leaf slot, both
//! lead to the same record, and `counters` agree with what is linked.

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use crate::hint::{Hint, Spot};
use crate::history::History;
use crate::reader::MapReader;
use crate::record::{self, Content, NewVersion, Version};
use crate::reshape::{Change, TreeWriter};
use crate::shared::Shared;
use crate::stats::MapStats;
use crate::store::Store;
use crate::sync::Ordering;
use crate::table::{Directory, TableState};
use crate::tree::Window;
use crate::way::Way;

/// What belongs to the writer alone.
pub(crate) struct WriterState {
    pub(crate) store: Store,
    pub(crate) tables: TableState,
    pub(crate) tree: TreeWriter,
    pub(crate) history: History,
    /// The partition that the clock sweep looks at next.
    pub(crate) clock_hand: usize,
}

impl WriterState {
    pub(crate) fn new() -> Self {
        Self {
            store: Store::new(),
            tables: TableState::new(),
            tree: TreeWriter::default(),
            history: History::default(),
            clock_hand: 0,
        }
    }
}

/// Changes the map. There is one per map; put it behind the lock that orders changes.
pub struct MapWriter {
    /// A reader's handle; that `MapWriter` is not `Clone` is what makes it the only writer.
    pub(crate) reader: MapReader,
}

/// What a call of [`MapWriter::reclaim`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Older versions taken out of their chains.
    pub pruned_versions: u64,
    /// Bytes freed, of records and of nodes.
    pub freed_bytes: u64,
    /// The horizon in effect: of versions up to it only the newest of a key is kept.
    pub horizon: u64,
    /// Whether overwritten versions are still queued, for now or for a later horizon.
    pub more: bool,
}

/// An empty map: its one writer, and a reader to clone. Its hashes are the same each time; see [`create_seeded`] for
/// keys that somebody else chooses.
pub fn create() -> (MapWriter, MapReader) {
    create_seeded(0)
}

/// An empty map whose hashes `seed` decides. With a secret seed nobody can choose keys that collide.
pub fn create_seeded(seed: u64) -> (MapWriter, MapReader) {
    let reader = MapReader { shared: Arc::new(Shared::new(seed)) };
    (MapWriter { reader: reader.clone() }, reader)
}

impl fmt::Debug for MapWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapWriter").field("stats", &self.stats()).finish()
    }
}

/// Reading the newest state, without pinning: while the writer is borrowed nothing is freed.
impl MapWriter {
    /// A handle for reading.
    pub fn reader(&self) -> MapReader {
        self.reader.clone()
    }

    /// What the map holds.
    pub fn stats(&self) -> MapStats {
        self.reader.stats()
    }

    /// The newest version of `key`, a tombstone included.
    #[inline]
    pub fn newest(&self, key: &[u8]) -> Option<Version<'_>> {
        self.newest_of(self.shared().directory.hash_of(key), key)
    }

    #[inline]
    pub(crate) fn newest_of(&self, hash: u64, key: &[u8]) -> Option<Version<'_>> {
        // SAFETY: only `&mut self` retires, and the result borrows `self`.
        let (_, newest) = unsafe { self.shared().directory.find(hash, key) }?;
        Some(newest)
    }

    /// Visits the newest version of each key within the bounds; see [`Guard::scan`](crate::Guard::scan).
    pub fn scan<'w>(
        &'w self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        visit: impl FnMut(Version<'w>) -> ControlFlow<()>,
    ) {
        let window = Window { since: None, at: u64::MAX };
        // SAFETY: only `&mut self` retires, and what is visited borrows `self`.
        unsafe { self.shared().scan(lower, upper, reverse, window, visit) }
    }

    /// Visits the newest version of each key within the bounds whose stamp is above `since`.
    pub fn scan_changed<'w>(
        &'w self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        since: u64,
        visit: impl FnMut(Version<'w>) -> ControlFlow<()>,
    ) {
        let window = Window { since: Some(since), at: u64::MAX };
        // SAFETY: only `&mut self` retires, and what is visited borrows `self`.
        unsafe { self.shared().scan(lower, upper, false, window, visit) }
    }

    /// The newest stamp of any key within the bounds, tombstones included; 0 without a key.
    pub fn range_max_stamp(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        // SAFETY: only `&mut self` retires.
        let root = unsafe { self.shared().tree.root() };
        root.map_or(0, |root| root.newest_stamp(lower, upper, 0))
    }

    /// The number of keys within the bounds whose newest version is not a tombstone.
    pub fn count(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        // SAFETY: only `&mut self` retires.
        let root = unsafe { self.shared().tree.root() };
        root.map_or(0, |root| root.count(lower, upper))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.reader.shared
    }
}

/// Changing the map.
impl MapWriter {
    /// Puts a version over whatever the key has.
    ///
    /// # Panics
    /// If the stamp is not above the key's newest.
    pub fn upsert(&mut self, key: &[u8], new: NewVersion<'_>) {
        self.upsert_with(key, |_| Some(new));
    }

    /// Puts the version over whatever the key has that `make` makes, shown the newest version that it has; whether it
    /// made one.
    ///
    /// # Panics
    /// If the stamp of the version made is not above the key's newest.
    pub fn upsert_with<'v>(
        &mut self,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> Option<NewVersion<'v>>,
    ) -> bool {
        self.upsert_at(self.shared().directory.hash_of(key), key, make)
    }

    pub(crate) fn upsert_at<'v>(
        &mut self,
        hash: u64,
        key: &[u8],
        make: impl FnOnce(Option<Version<'_>>) -> Option<NewVersion<'v>>,
    ) -> bool {
        let (shared, state) = self.parts();
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        let spot = unsafe { Spot::of(shared, hash, key) };
        let is_put = upsert(shared, state, &spot, key, make);
        if is_put {
            finish(shared, state);
        }
        is_put
    }

    /// As [`MapWriter::upsert_with`], of a key that was looked for before: with a hint from
    /// [`MapReader::hint`](crate::MapReader::hint) little is left to be done, so that others wait less for the writer. What
    /// has changed since the hint was given is looked for again.
    ///
    /// # Panics
    /// If the stamp of the version made is not above the key's newest, or the hint is another map's.
    #[inline]
    pub fn upsert_hinted<'v>(
        &mut self,
        hint: Hint<'_, '_>,
        make: impl FnOnce(Option<Version<'_>>) -> Option<NewVersion<'v>>,
    ) -> bool {
        assert!(hint.is_of(self.shared()), "a hint is for the map it was given for");
        let key = hint.key();
        let (shared, state) = self.parts();
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        let (spot, guard) = unsafe { hint.checked() };
        let is_put = upsert(shared, state, &spot, key, make);
        // Before the look which readers are gone.
        drop(guard);
        if is_put {
            finish(shared, state);
        }
        is_put
    }

    /// Puts the version of a key that is not in the map; whether it was not.
    pub fn insert_if_absent(&mut self, key: &[u8], new: NewVersion<'_>) -> bool {
        let (shared, state) = self.parts();
        let hash = shared.directory.hash_of(key);
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        if unsafe { shared.directory.find(hash, key) }.is_some() {
            return false;
        }
        // SAFETY: as above.
        let way = unsafe { shared.tree.way(key) };
        insert(shared, state, (hash, key), &way, &new);
        finish(shared, state);
        true
    }

    /// Takes an entry out if its only version has exactly this stamp; whether it was so.
    pub fn remove(&mut self, key: &[u8], stamp: u64) -> bool {
        let (shared, state) = self.parts();
        let hash = shared.directory.hash_of(key);
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        let Some((slot, old)) = (unsafe { shared.directory.find(hash, key) }) else { return false };
        if old.stamp() != stamp || old.older().is_some() {
            return false;
        }
        remove(shared, state, hash, slot, old);
        shared.counters.version(old, -1);
        state.store.retire_record(&shared.epochs, old);
        finish(shared, state);
        true
    }

    /// Pops the versions of a key with stamps above `to_stamp`, and the entry if none is left.
    pub fn rollback(&mut self, key: &[u8], to_stamp: u64) {
        let (shared, state) = self.parts();
        let hash = shared.directory.hash_of(key);
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        let Some((slot, newest)) = (unsafe { shared.directory.find(hash, key) }) else { return };
        if newest.stamp() <= to_stamp {
            return;
        }
        let kept = newest.at(to_stamp);
        match kept {
            Some(kept) => {
                // SAFETY: as above.
                let way = unsafe { shared.tree.way(key) };
                TreeWriter::swap(&way, key, (newest, kept), None);
                slot.store(Directory::slot_word(hash, kept.word()), Ordering::Release);
                shared.counters.newest(newest, -1);
                shared.counters.newest(kept, 1);
            }
            None => remove(shared, state, hash, slot, newest),
        }
        let mut popped = Some(newest);
        while let Some(version) = popped.filter(|version| version.stamp() > to_stamp) {
            popped = version.older();
            if version.prev().is_some() {
                state.history.forget(version);
            }
            shared.counters.version(version, -1);
            state.store.retire_record(&shared.epochs, version);
        }
        finish(shared, state);
    }

    /// Drops the value bytes of an entry whose only version has this stamp; whether it was so.
    pub fn make_nonresident(&mut self, key: &[u8], stamp: u64) -> bool {
        self.replace(key, stamp, |old| {
            let resident = old.is_resident() && !old.is_tombstone();
            resident.then(|| Content::NonResident { value_len: old.value_len() })
        })
    }

    /// Brings the value bytes of an entry back whose only version has this stamp; whether it was so.
    pub fn make_resident(&mut self, key: &[u8], stamp: u64, value: &[u8]) -> bool {
        self.replace(key, stamp, |old| {
            let missing = !old.is_resident() && old.value_len() as usize == value.len();
            missing.then_some(Content::Value(value))
        })
    }

    /// Replaces an entry's only version by one that differs in its content only.
    pub(crate) fn replace<'v>(
        &mut self,
        key: &[u8],
        stamp: u64,
        content: impl FnOnce(Version<'_>) -> Option<Content<'v>>,
    ) -> bool {
        let (shared, state) = self.parts();
        let hash = shared.directory.hash_of(key);
        // SAFETY: this is the writer, and nothing that is linked now is freed before the call ends.
        let Some((slot, old)) = (unsafe { shared.directory.find(hash, key) }) else { return false };
        if old.stamp() != stamp || old.older().is_some() {
            return false;
        }
        let Some(content) = content(old) else { return false };
        let word = record::allocate(&mut state.store, key, &old.with_content(content), None);
        // SAFETY: the record was just allocated; as above.
        let record = unsafe { Version::from_word(word) };
        // SAFETY: as above.
        let way = unsafe { shared.tree.way(key) };
        TreeWriter::swap(&way, key, (old, record), None);
        slot.store(Directory::slot_word(hash, word), Ordering::Release);
        shared.counters.version(old, -1);
        shared.counters.version(record, 1);
        state.store.retire_record(&shared.epochs, old);
        finish(shared, state);
        true
    }

    /// Prunes versions that nobody can read any more and frees what readers have left behind:
    /// at most about `budget` of each.
    ///
    /// The caller promises that whoever pins after this call reads at `horizon_candidate` or above.
    /// Readers pinned before it may read at anything that was readable when they pinned: the
    /// candidate takes effect when they are gone, so mostly with a later call. A longer snapshot is
    /// protected by passing candidates of at most its stamp.
    pub fn reclaim(&mut self, horizon_candidate: u64, budget: usize) -> Reclaimed {
        let (shared, state) = self.parts();
        let (before, oldest) = state.store.scan(&shared.epochs);
        state.history.advance(horizon_candidate, before, oldest);
        let mut reclaimed = self.prune(budget);
        let (shared, state) = self.parts();
        if reclaimed.pruned_versions > 0 {
            // What was pruned was retired after that look.
            state.store.scan(&shared.epochs);
        }
        reclaimed.freed_bytes += state.store.collect(budget);
        state.store.empty_magazines();
        publish(shared, state);
        reclaimed
    }

    /// As [`MapWriter::reclaim`], for whoever calls it after each of many small changes: it looks for the
    /// readers, and takes a candidate, only when much has come together; in between it goes on with what it knows.
    pub fn reclaim_lazily(&mut self, horizon_candidate: u64, budget: usize) -> Reclaimed {
        let (shared, state) = self.parts();
        if state.store.waiting().with(state.history.waiting()).is_worth_a_look() {
            let (before, oldest) = state.store.scan(&shared.epochs);
            state.history.advance(horizon_candidate, before, oldest);
        }
        self.prune(budget)
    }

    fn prune(&mut self, budget: usize) -> Reclaimed {
        let (shared, state) = self.parts();
        let mut pruned_versions = 0;
        while pruned_versions < budget as u64 {
            let Some(word) = state.history.next_prunable() else { break };
            // SAFETY: a queued record is linked, hence allocated.
            let record = unsafe { Version::from_word(word) };
            let mut pruned = record.older();
            if let Some(prev) = record.prev() {
                prev.store(0, Ordering::Release);
            }
            while let Some(version) = pruned {
                pruned = version.older();
                shared.counters.version(version, -1);
                state.store.retire_record(&shared.epochs, version);
                pruned_versions += 1;
            }
        }
        let freed_bytes = state.store.collect_surplus(budget);
        publish(shared, state);
        Reclaimed {
            pruned_versions,
            freed_bytes,
            horizon: state.history.horizon(),
            more: !state.history.is_empty(),
        }
    }

    /// Number of puts over other versions that [`MapWriter::reclaim`] has not pruned behind yet.
    pub fn overwrites(&mut self) -> usize {
        let (_, state) = self.parts();
        state.history.len()
    }

    pub(crate) fn parts(&mut self) -> (&Shared, &mut WriterState) {
        let shared = &*self.reader.shared;
        // SAFETY: this is the only writer and it is borrowed mutably, so nobody else has `state`.
        (shared, unsafe { &mut *shared.state.get() })
    }
}

/// Puts the version that `make` makes over whatever the key has, which is at `spot`; whether it made one.
#[inline(always)]
fn upsert<'v>(
    shared: &Shared,
    state: &mut WriterState,
    spot: &Spot<'_>,
    key: &[u8],
    make: impl FnOnce(Option<Version<'_>>) -> Option<NewVersion<'v>>,
) -> bool {
    let Some(new) = make(spot.found.map(|(_, newest)| newest)) else { return false };
    let Some((slot, old)) = spot.found else {
        insert(shared, state, (spot.hash, key), &spot.way, &new);
        return true;
    };
    assert!(new.stamp > old.stamp(), "stamp {} is not above {}", new.stamp, old.stamp());
    let word = record::allocate(&mut state.store, key, &new, Some(old));
    // SAFETY: the record was just allocated, and is freed only after it was retired.
    let record = unsafe { Version::from_word(word) };
    TreeWriter::swap(&spot.way, key, (old, record), spot.index);
    slot.store(Directory::slot_word(spot.hash, word), Ordering::Release);
    state.history.push(record, old);
    shared.counters.version(record, 1);
    shared.counters.newest(old, -1);
    shared.counters.newest(record, 1);
    true
}

/// Puts the first version of a key, whose way is given.
fn insert(
    shared: &Shared,
    state: &mut WriterState,
    (hash, key): (u64, &[u8]),
    way: &Way<'_>,
    new: &NewVersion<'_>,
) {
    let word = record::allocate(&mut state.store, key, new, None);
    // SAFETY: the record was just allocated, and is freed only after it was retired.
    let record = unsafe { Version::from_word(word) };
    let (epochs, store) = (&shared.epochs, &mut state.store);
    state.tree.insert(&mut Change { tree: &shared.tree, epochs, store }, way, record);
    shared.directory.insert(&mut state.tables, store, epochs, hash, word);
    shared.counters.version(record, 1);
    shared.counters.entry(record, 1);
}

/// Unlinks an entry from both structures.
fn remove(
    shared: &Shared,
    state: &mut WriterState,
    hash: u64,
    slot: &crate::sync::AtomicU64,
    newest: Version<'_>,
) {
    let (epochs, store) = (&shared.epochs, &mut state.store);
    // SAFETY: only the writer comes here, and nothing that is linked now is freed before its call ends.
    let way = unsafe { shared.tree.way(newest.key()) };
    state.tree.remove(&mut Change { tree: &shared.tree, epochs, store }, &way, newest);
    shared.directory.remove(&mut state.tables, store, epochs, hash, slot);
    shared.counters.entry(newest, -1);
}

fn finish(shared: &Shared, state: &mut WriterState) {
    state.store.collect_sometimes(&shared.epochs);
    publish(shared, state);
}

/// Shows the allocators' numbers to readers.
pub(crate) fn publish(shared: &Shared, state: &WriterState) {
    let (store, counters) = (&state.store, &shared.counters);
    let directory_bytes = shared.directory.bytes() as u64;
    counters.allocated_bytes.set(store.record_bytes());
    counters.index_bytes.set(store.nodes.allocated_bytes() + directory_bytes);
    counters.held_bytes.set(store.records.held_bytes() + store.nodes.held_bytes() + directory_bytes);
    counters.retired_bytes.set(store.retired_bytes());
}
