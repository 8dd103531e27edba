//! Hints: where a key is, looked for without the writer, for the writer to check.
//!
//! - Looking for a key is most of the work of putting it: some cache misses in the hash part and in the ordered index. All
//!   that needs a reader's rights only, so that whoever is about to put a key does it before he has the writer.
//! - A hint is never believed. The slot must lead to the same record in the same table, and each node of the way down the
//!   ordered index must still have its place (`is_replaced`); else the writer looks for itself. Where that holds
//!   the rest holds too: a node's keys and their order never change.
//! - While a hint lives it is pinned, so that no other table, node or record comes to lie where those were that it knows.

use std::fmt;

use crate::reader::{Guard, MapReader};
use crate::record::Version;
use crate::shared::Shared;
use crate::sync::AtomicU64;
use crate::way::Way;

/// Where a key is, or would be, in both structures.
pub(crate) struct Spot<'a> {
    pub(crate) hash: u64,
    /// The directory's entry for the table that was looked at.
    table: u64,
    pub(crate) found: Option<(&'a AtomicU64, Version<'a>)>,
    pub(crate) way: Way<'a>,
    /// The key's index in the leaf, most likely.
    pub(crate) index: Option<usize>,
}

impl<'a> Spot<'a> {
    /// Looks for a key in both structures, so that their cache misses overlap.
    ///
    /// # Safety
    /// For `'a` nothing that is retired from now on is freed: the caller is pinned, or is the writer within one call.
    #[inline(always)]
    pub(crate) unsafe fn of(shared: &Shared, hash: u64, key: &[u8]) -> Spot<'a> {
        let directory = &shared.directory;
        let mut spot = Spot { hash, table: 0, found: None, way: Way::NONE, index: None };
        directory.prefetch_line(hash);
        // SAFETY: the caller's promise.
        if let Some(root) = unsafe { shared.tree.root() } {
            spot.way.go_down(root, key);
        }
        // SAFETY: as above.
        let guess = unsafe { directory.guess(hash) };
        if let (Some(leaf), Some(version)) = (spot.way.leaf(), guess.version()) {
            spot.index = leaf.find(key, version.word());
        }
        spot.table = guess.entry;
        spot.found = guess.confirm(hash, key);
        spot
    }

    /// Whether the slot that was found leads to the same record still. Writer only.
    fn is_found_still(&self, shared: &Shared) -> bool {
        self.found
            .is_some_and(|(slot, version)| shared.directory.still_leads(self.hash, self.table, slot, version))
    }
}

/// Where a key was seen, for [`MapWriter::upsert_hinted`](crate::MapWriter::upsert_hinted). Like a
/// [`Guard`](crate::Guard) it is meant to be short.
pub struct Hint<'r, 'k> {
    guard: Guard<'r>,
    key: &'k [u8],
    spot: Spot<'r>,
}

impl<'r, 'k> Hint<'r, 'k> {
    /// The key.
    pub fn key(&self) -> &'k [u8] {
        self.key
    }

    pub(crate) fn is_of(&self, shared: &Shared) -> bool {
        std::ptr::eq(self.guard.shared, shared)
    }

    /// The spot as it is now, and what keeps its memory. Writer only.
    ///
    /// # Safety
    /// The caller is the writer, and the spot is used within one call of it.
    #[inline(always)]
    pub(crate) unsafe fn checked(mut self) -> (Spot<'r>, Guard<'r>) {
        let shared = self.guard.shared;
        if !self.spot.is_found_still(shared) {
            // SAFETY: the caller's promise.
            self.spot.found = unsafe { shared.directory.find(self.spot.hash, self.key) };
        }
        if !self.spot.way.is_current() {
            // SAFETY: as above.
            self.spot.way = unsafe { shared.tree.way(self.key) };
            self.spot.index = None;
        }
        (self.spot, self.guard)
    }
}

impl fmt::Debug for Hint<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hint").field("key", &self.key).finish_non_exhaustive()
    }
}

impl MapReader {
    /// Looks where `key` is, for a writer that will put it. Changes nothing.
    #[inline]
    pub fn hint<'r, 'k>(&'r self, key: &'k [u8]) -> Hint<'r, 'k> {
        let guard = self.pin();
        // SAFETY: the guard is pinned, and goes with the spot.
        let spot = unsafe { Spot::of(&self.shared, self.shared.directory.hash_of(key), key) };
        Hint { guard, key, spot }
    }
}
