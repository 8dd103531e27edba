//! The hash part: 4096 partitions by the top bits of the hash, each an open-addressed table.
//!
//! - A directory entry holds a table's pointer and, above its 48 bits, its capacity in lines of
//!   eight slots: a lookup touches the directory (cached), one line, and the record.
//! - A slot is 0 (empty), [`MARKER`] (was removed), or a record's pointer with 16 bits of its hash.
//! - An entry lies in its home line or, with that line full, in one of the next lines. A line that
//!   once was full never gets an empty slot again, so a lookup may stop at the first empty slot.
//! - Within a table an entry never moves; growing or cleaning builds another table, and the
//!   directory entry is swapped. Readers of the old table find what it held at that time.
//! - The home line rises with the hash, so the order partition, home line, hash is the order of the
//!   hash: `scan_from` can resume at a hash across any change of capacity.

use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::epoch::Epochs;
use crate::hash::{Halves, KeyHasher, same_key};
use crate::record::Version;
use crate::slab::Slab;
use crate::store::Store;
use crate::sync::{AtomicU64, Ordering, POINTER_BITS, pointer_in, prefetch, word_of};

#[cfg(not(loom))]
const PARTITION_BITS: u32 = 12;
#[cfg(loom)]
const PARTITION_BITS: u32 = 1;
pub(crate) const PARTITIONS: usize = 1 << PARTITION_BITS;
#[cfg(not(loom))]
const LINE_SLOTS: usize = 8;
#[cfg(loom)]
const LINE_SLOTS: usize = 2;
const LINES_MAX: usize = u16::MAX as usize;
const MARKER: u64 = 2;
/// A table is rebuilt when more than this share of its slots would be used.
const LOAD_MAX_PERCENT: usize = 85;
/// It grows by half when more than this share holds entries, and else only loses its markers.
const LOAD_GROW_PERCENT: usize = 60;
/// It shrinks when less than this share holds entries.
const LOAD_SHRINK_PERCENT: usize = 20;

#[inline(always)]
fn tag_of(hash: u64) -> u64 {
    (hash & 0xffff) | 1
}

#[inline(always)]
fn partition_of(hash: u64) -> usize {
    (hash >> (64 - PARTITION_BITS)) as usize
}

/// Bits from one slot's answer to the next one's.
const MATCH_STEP: u32 = 2;

/// The slots of a line whose tag is `tag`, a bit each from the lowest up, [`MATCH_STEP`] bits apart. Without a branch:
/// which slot it is cannot be predicted.
#[cfg(all(target_arch = "x86_64", not(any(loom, miri))))]
#[inline(always)]
fn matching_slots(line: &[AtomicU64; LINE_SLOTS], tag: u64) -> u32 {
    use core::arch::x86_64::*;
    // SAFETY: every x86-64 has SSE2, and only the line is read. It lies in one line of the cache, so that such a load takes each
    // of its two words whole, as two relaxed loads would (which the compiler does not join).
    unsafe {
        let (words_0, words_2, words_4, words_6): (__m128, __m128, __m128, __m128);
        core::arch::asm!(
            "movups {words_0}, [{line}]",
            "movups {words_2}, [{line} + 16]",
            "movups {words_4}, [{line} + 32]",
            "movups {words_6}, [{line} + 48]",
            line = in(reg) line.as_ptr(),
            words_0 = out(xmm_reg) words_0,
            words_2 = out(xmm_reg) words_2,
            words_4 = out(xmm_reg) words_4,
            words_6 = out(xmm_reg) words_6,
            options(pure, readonly, nostack, preserves_flags)
        );
        // The upper halves of four words, each with its tag on top; then all eight tags in one register.
        let upper =
            |one, other| _mm_srai_epi32::<16>(_mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(one, other)));
        let tags = _mm_packs_epi32(upper(words_0, words_2), upper(words_4, words_6));
        let equal = _mm_cmpeq_epi16(tags, _mm_set1_epi16((tag as u16).cast_signed()));
        _mm_movemask_epi8(equal).cast_unsigned() & 0x5555
    }
}

#[cfg(not(all(target_arch = "x86_64", not(any(loom, miri)))))]
#[inline(always)]
fn matching_slots(line: &[AtomicU64; LINE_SLOTS], tag: u64) -> u32 {
    let tagged = tag << POINTER_BITS;
    let matches = |slot: &AtomicU64| u32::from((slot.load(Ordering::Relaxed) ^ tagged) < 1 << POINTER_BITS);
    // From the last slot down: compares and carries, two instructions a slot.
    line.iter().rev().fold(0, |matching, slot| (matching << MATCH_STEP) + matches(slot))
}

/// One partition's table, borrowed from a guard or from the writer.
#[derive(Clone, Copy)]
struct Table<'a> {
    /// Null with no lines.
    first: *const AtomicU64,
    lines: usize,
    lives: PhantomData<&'a [AtomicU64]>,
}

impl<'a> Table<'a> {
    /// # Safety
    /// `entry` is a directory entry whose table stays allocated for `'a`.
    #[inline(always)]
    unsafe fn from_entry(entry: u64) -> Self {
        let lines = (entry >> POINTER_BITS) as usize;
        Self { first: pointer_in(entry), lines, lives: PhantomData }
    }

    #[inline(always)]
    fn lines(self) -> usize {
        self.lines
    }

    #[inline(always)]
    fn is_empty(self) -> bool {
        self.lines == 0
    }

    #[inline(always)]
    fn slots(self) -> &'a [AtomicU64] {
        if self.is_empty() {
            return &[];
        }
        // SAFETY: a table has `lines * LINE_SLOTS` initialized slots and outlives `'a` (`from_entry`).
        unsafe { std::slice::from_raw_parts(self.first, self.lines * LINE_SLOTS) }
    }

    #[inline(always)]
    fn home(self, hash: u64) -> usize {
        let position = (hash << PARTITION_BITS) >> 32;
        ((position * self.lines() as u64) >> 32) as usize
    }

    #[inline(always)]
    fn line(self, line: usize) -> &'a [AtomicU64; LINE_SLOTS] {
        debug_assert!(line < self.lines());
        // SAFETY: `home` is below `lines()` for a table that is not empty, and probing wraps there.
        unsafe { &*self.first.add(line * LINE_SLOTS).cast() }
    }

    fn next_line(self, line: usize) -> usize {
        if line + 1 == self.lines() { 0 } else { line + 1 }
    }

    /// The first match in the home line of a table that is not empty, whatever its key. Nearly every hit is that, so it alone
    /// stands where a look-up is called: the fewer instructions lie between two look-ups, the more of the next one's
    /// cache misses overlap with this one's.
    #[inline(always)]
    fn first_match(self, hash: u64) -> Option<(&'a AtomicU64, Version<'a>)> {
        let line = self.line(self.home(hash));
        let matching = matching_slots(line, tag_of(hash));
        if matching == 0 {
            return None;
        }
        // SAFETY: `matching` has bits only for the line's slots.
        let slot = unsafe { line.get_unchecked((matching.trailing_zeros() / MATCH_STEP) as usize) };
        Some((slot, Self::tagged(slot, hash)?))
    }

    /// The version in a slot, if it has the tag of this hash.
    #[inline(always)]
    fn tagged(slot: &'a AtomicU64, hash: u64) -> Option<Version<'a>> {
        // Once more after the first look, and now with what the record's writer wrote before it.
        let word = slot.load(Ordering::Acquire);
        if word >> POINTER_BITS != tag_of(hash) {
            return None;
        }
        Version::prefetch_behind(word);
        // SAFETY: a tagged slot holds a published record; it lives as the table does.
        Some(unsafe { Version::from_word(word) })
    }

    /// Looks line by line.
    #[inline(never)]
    fn search(self, hash: u64, key: &[u8]) -> Option<(&'a AtomicU64, Version<'a>)> {
        let mut home = self.home(hash);
        loop {
            let line = self.line(home);
            let mut matching = matching_slots(line, tag_of(hash));
            while matching != 0 {
                let slot = line.get((matching.trailing_zeros() / MATCH_STEP) as usize)?;
                matching &= matching - 1;
                if let Some(version) = Self::tagged(slot, hash)
                    && same_key(version.key(), key)
                {
                    return Some((slot, version));
                }
            }
            // Looked at only now, because a hit needs no answer. What has become empty or full since the
            // first look does not matter: a line that was ever full has no empty slot again.
            if line.iter().any(|slot| slot.load(Ordering::Relaxed) == 0) {
                return None;
            }
            home = self.next_line(home);
        }
    }

    /// Puts a word for an absent key into the first free slot; whether that slot was empty.
    fn place(self, hash: u64, word: u64) -> bool {
        let mut line = self.home(hash);
        loop {
            for slot in self.line(line) {
                let old = slot.load(Ordering::Relaxed);
                if old == 0 || old == MARKER {
                    slot.store(word | tag_of(hash) << POINTER_BITS, Ordering::Release);
                    return old == 0;
                }
            }
            line = self.next_line(line);
        }
    }
}

/// Where a key most likely is.
#[derive(Clone, Copy)]
pub(crate) struct Guess<'a> {
    table: Table<'a>,
    /// The directory's entry for the table.
    pub(crate) entry: u64,
    first: Option<(&'a AtomicU64, Version<'a>)>,
}

impl<'a> Guess<'a> {
    /// The version there, whatever its key.
    #[inline(always)]
    pub(crate) fn version(&self) -> Option<Version<'a>> {
        Some(self.first?.1)
    }

    /// The second half of `find`: the slot and the newest version of the key.
    #[inline(always)]
    pub(crate) fn confirm(&self, hash: u64, key: &[u8]) -> Option<(&'a AtomicU64, Version<'a>)> {
        match self.first {
            Some((slot, version)) if same_key(version.key(), key) => Some((slot, version)),
            _ if self.table.is_empty() => None,
            _ => self.table.search(hash, key),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Usage {
    entries: u32,
    /// Entries and markers.
    used: u32,
}

/// What the writer knows about the partitions.
pub(crate) struct TableState {
    usage: Box<[Usage]>,
}

impl TableState {
    pub(crate) fn new() -> Self {
        Self { usage: vec![Usage::default(); PARTITIONS].into_boxed_slice() }
    }
}

/// The partitions, as readers see them.
pub(crate) struct Directory {
    hasher: KeyHasher,
    entries: Box<[AtomicU64]>,
}

impl Directory {
    pub(crate) fn new(seed: u64) -> Self {
        Self { hasher: KeyHasher::new(seed), entries: (0..PARTITIONS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// The hash of a key that everything in this map uses.
    #[inline(always)]
    pub(crate) fn hash_of(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.entries) + PARTITIONS * size_of::<Usage>()
    }

    #[inline(always)]
    fn entry(&self, hash: u64) -> &AtomicU64 {
        // SAFETY: the top `PARTITION_BITS` bits are below `PARTITIONS`, the directory's length.
        unsafe { self.entries.get_unchecked(partition_of(hash)) }
    }

    /// Finds the slot and the newest version of a key.
    ///
    /// # Safety
    /// For `'a` no table or record that is retired from now on is freed: the caller is pinned, or
    /// is the writer and does not retire.
    #[inline(always)]
    pub(crate) unsafe fn find<'a>(&self, hash: u64, key: &[u8]) -> Option<(&'a AtomicU64, Version<'a>)> {
        // SAFETY: the caller's promise.
        unsafe { self.guess(hash) }.confirm(hash, key)
    }

    /// The first half of `find`: where the key most likely is. Begins to bring in the record there.
    ///
    /// # Safety
    /// As for `find`.
    #[inline(always)]
    pub(crate) unsafe fn guess<'a>(&self, hash: u64) -> Guess<'a> {
        let entry = self.entry(hash).load(Ordering::Acquire);
        // SAFETY: the table was linked a moment ago, and the caller keeps it allocated.
        let table = unsafe { Table::from_entry(entry) };
        let first = if table.is_empty() { None } else { table.first_match(hash) };
        if let Some((_, version)) = first {
            version.prefetch();
        }
        Guess { table, entry, first }
    }

    /// Whether the slot of a version that was found in the table `entry` leads to it still.
    #[inline(always)]
    pub(crate) fn still_leads(&self, hash: u64, entry: u64, slot: &AtomicU64, version: Version<'_>) -> bool {
        self.entry(hash).load(Ordering::Relaxed) == entry
            && slot.load(Ordering::Relaxed) == Self::slot_word(hash, version.word())
    }

    /// Finds the newest version of a key, without its slot: `find` for readers, with the code for keys of 16 to 32 bytes where
    /// it is called and all else behind a call.
    ///
    /// # Safety
    /// As for `find`.
    #[inline(always)]
    pub(crate) unsafe fn newest<'a>(&self, key: &[u8]) -> Option<Version<'a>> {
        let Some(halves) = Halves::of(key) else {
            // SAFETY: the caller's promise.
            return unsafe { self.newest_other(key) };
        };
        let hash = self.hasher.hash_halves(halves);
        let entry = self.entry(hash).load(Ordering::Acquire);
        // SAFETY: as in `guess`.
        let table: Table<'a> = unsafe { Table::from_entry(entry) };
        if table.is_empty() {
            return None;
        }
        if let Some((_, version)) = table.first_match(hash)
            && halves.is(version.key())
        {
            return Some(version);
        }
        Some(table.search(hash, key)?.1)
    }

    #[inline(never)]
    unsafe fn newest_other<'a>(&self, key: &[u8]) -> Option<Version<'a>> {
        // SAFETY: the caller's promise.
        Some(unsafe { self.find(self.hash_of(key), key) }?.1)
    }

    /// Starts bringing in the line that `find` will look at.
    #[inline(always)]
    pub(crate) fn prefetch_line(&self, hash: u64) {
        let entry = self.entry(hash).load(Ordering::Acquire);
        let position = (hash << PARTITION_BITS) >> 32;
        let line = (position * (entry >> POINTER_BITS)) >> 32;
        prefetch(pointer_in::<AtomicU64>(entry).wrapping_add(line as usize * LINE_SLOTS));
    }

    /// Starts bringing in the record that `find` will most likely return.
    ///
    /// # Safety
    /// As for `find`.
    #[inline(always)]
    pub(crate) unsafe fn prefetch_record(&self, hash: u64) {
        let entry = self.entry(hash).load(Ordering::Acquire);
        // SAFETY: as in `guess`.
        let table = unsafe { Table::from_entry(entry) };
        if table.is_empty() {
            return;
        }
        for slot in table.line(table.home(hash)) {
            let word = slot.load(Ordering::Relaxed);
            if word >> POINTER_BITS == tag_of(hash) {
                Version::prefetch_word(word);
                return;
            }
        }
    }

    /// The word to store into a found slot so that it leads to another record of the same key.
    #[inline(always)]
    pub(crate) fn slot_word(hash: u64, record: u64) -> u64 {
        record | tag_of(hash) << POINTER_BITS
    }

    /// Puts the record of an absent key in.
    pub(crate) fn insert(
        &self,
        state: &mut TableState,
        store: &mut Store,
        epochs: &Epochs,
        hash: u64,
        record: u64,
    ) {
        let partition = partition_of(hash);
        let capacity = (self.entry(hash).load(Ordering::Relaxed) >> POINTER_BITS) as usize * LINE_SLOTS;
        let Usage { entries, used } = state.usage[partition];
        if (used as usize + 1) * 100 > capacity * LOAD_MAX_PERCENT {
            let lines = if (entries as usize + 1) * 100 > capacity * LOAD_GROW_PERCENT {
                grown_lines(capacity / LINE_SLOTS)
            } else {
                capacity / LINE_SLOTS
            };
            self.rebuild(state, store, epochs, partition, lines);
        }
        // SAFETY: the writer's own table is not retired before the next rebuild.
        let table = unsafe { Table::from_entry(self.entry(hash).load(Ordering::Relaxed)) };
        let usage = &mut state.usage[partition];
        usage.entries += 1;
        usage.used += u32::from(table.place(hash, record));
    }

    /// Takes the entry in `slot` (found by `find`) out.
    pub(crate) fn remove(
        &self,
        state: &mut TableState,
        store: &mut Store,
        epochs: &Epochs,
        hash: u64,
        slot: &AtomicU64,
    ) {
        let partition = partition_of(hash);
        // SAFETY: the writer's own table is not retired before the next rebuild.
        let table = unsafe { Table::from_entry(self.entry(hash).load(Ordering::Relaxed)) };
        let index = (std::ptr::from_ref(slot).addr() - table.first.addr()) / size_of::<AtomicU64>();
        let line = table.line(index / LINE_SLOTS);
        // No search went past a line that still has an empty slot, so one more does no harm.
        let open = line.iter().any(|slot| slot.load(Ordering::Relaxed) == 0);
        slot.store(if open { 0 } else { MARKER }, Ordering::Release);
        let usage = &mut state.usage[partition];
        usage.entries -= 1;
        usage.used -= u32::from(open);
        let (entries, capacity) = (usage.entries as usize, table.slots().len());
        if entries == 0 {
            self.swap_table(store, epochs, partition, 0);
            state.usage[partition] = Usage::default();
        } else if table.lines() > 1 && entries * 100 < capacity * LOAD_SHRINK_PERCENT {
            let lines = (entries * 100).div_ceil(LINE_SLOTS * LOAD_GROW_PERCENT);
            self.rebuild(state, store, epochs, partition, lines);
        }
    }

    fn rebuild(
        &self,
        state: &mut TableState,
        store: &mut Store,
        epochs: &Epochs,
        partition: usize,
        lines: usize,
    ) {
        // SAFETY: the old table is retired below, after its last use.
        let old = unsafe { Table::from_entry(self.entries[partition].load(Ordering::Relaxed)) };
        let (entry, table) = Self::allocate(store, lines);
        let mut entries = 0;
        for (index, slot) in old.slots().iter().enumerate() {
            if let Some(ahead) = old.slots().get(index + 12) {
                Version::prefetch_word(ahead.load(Ordering::Relaxed));
            }
            let word = slot.load(Ordering::Relaxed);
            if word > MARKER {
                // SAFETY: a tagged slot of the current table holds a published record.
                let version = unsafe { Version::from_word(word) };
                table.place(self.hash_of(version.key()), version.word());
                entries += 1;
            }
        }
        debug_assert_eq!(entries, state.usage[partition].entries);
        state.usage[partition].used = entries;
        self.swap_table(store, epochs, partition, entry);
    }

    fn swap_table(&self, store: &mut Store, epochs: &Epochs, partition: usize, entry: u64) {
        let old = self.entries[partition].load(Ordering::Relaxed);
        self.entries[partition].store(entry, Ordering::Release);
        if let Some(block) = NonNull::new(pointer_in::<u8>(old)) {
            store.retire_node(epochs, block, table_bytes((old >> POINTER_BITS) as usize));
        }
    }

    /// An empty table of at least `lines` lines (as many as its block has room for).
    fn allocate<'a>(store: &mut Store, lines: usize) -> (u64, Table<'a>) {
        assert!(lines <= LINES_MAX, "a partition is full");
        let lines = if cfg!(loom) { lines } else { Slab::block_bytes(table_bytes(lines)) / 64 };
        let lines = lines.min(LINES_MAX);
        let block = store.nodes.allocate(table_bytes(lines)).cast::<AtomicU64>();
        for index in 0..lines * LINE_SLOTS {
            // SAFETY: the fresh block has room for this many slots.
            unsafe { block.add(index).write(AtomicU64::new(0)) };
        }
        let entry = word_of(block.as_ptr()) | (lines as u64) << POINTER_BITS;
        // SAFETY: all slots were just initialized.
        (entry, unsafe { Table::from_entry(entry) })
    }

    /// Makes the tables of an empty directory for keys with these hashes, each once, with its final size.
    pub(crate) fn make_tables(
        &self,
        state: &mut TableState,
        store: &mut Store,
        hashes: impl Iterator<Item = u64>,
    ) {
        for hash in hashes {
            state.usage[partition_of(hash)].entries += 1;
        }
        for (partition, usage) in state.usage.iter_mut().enumerate() {
            debug_assert_eq!(self.entries[partition].load(Ordering::Relaxed), 0);
            usage.used = usage.entries;
            if usage.entries > 0 {
                let lines = ((usage.entries as usize + 1) * 100).div_ceil(LOAD_MAX_PERCENT * LINE_SLOTS);
                let (entry, _) = Self::allocate(store, lines);
                self.entries[partition].store(entry, Ordering::Release);
            }
        }
    }

    /// Puts absent keys, each a hash and a record's word, into tables that were made for them.
    pub(crate) fn fill_tables(&self, records: &[(u64, u64)]) {
        for (index, &(hash, record)) in records.iter().enumerate() {
            if let Some(&(ahead, _)) = records.get(index + 16) {
                self.prefetch_line(ahead);
            }
            // SAFETY: the table was made by `make_tables`.
            let table = unsafe { Table::from_entry(self.entry(hash).load(Ordering::Relaxed)) };
            table.place(hash, record);
        }
    }

    /// Calls `visit` with the newest versions of one partition.
    ///
    /// # Safety
    /// As for `find`.
    pub(crate) unsafe fn each_in_partition<'a>(&self, partition: usize, mut visit: impl FnMut(Version<'a>)) {
        // SAFETY: the caller keeps the table allocated.
        let table = unsafe { Table::from_entry(self.entries[partition].load(Ordering::Acquire)) };
        for (index, slot) in table.slots().iter().enumerate() {
            if let Some(ahead) = table.slots().get(index + 8) {
                prefetch(pointer_in::<u8>(ahead.load(Ordering::Relaxed)));
            }
            let word = slot.load(Ordering::Acquire);
            if word > MARKER {
                // SAFETY: a tagged slot holds a published record.
                visit(unsafe { Version::from_word(word) });
            }
        }
    }

    /// Visits newest versions in the order of their hashes, from `from` on, until at least `limit`
    /// were visited; returns the hash to go on from, `None` at the end.
    ///
    /// # Safety
    /// As for `find`.
    pub(crate) unsafe fn scan_from<'a>(
        &self,
        from: u64,
        limit: usize,
        mut visit: impl FnMut(Version<'a>),
    ) -> Option<u64> {
        let mut visited = 0;
        let mut found: Vec<(u64, Version<'a>)> = Vec::new();
        for partition in partition_of(from)..PARTITIONS {
            // SAFETY: the caller keeps the table allocated.
            let table: Table<'a> =
                unsafe { Table::from_entry(self.entries[partition].load(Ordering::Acquire)) };
            if table.is_empty() {
                continue;
            }
            let first = if partition == partition_of(from) { table.home(from) } else { 0 };
            for home in first..table.lines() {
                // Entries of one home line lie in it and in the lines up to the first open one.
                found.clear();
                let mut line = home;
                loop {
                    let mut open = false;
                    for slot in table.line(line) {
                        let word = slot.load(Ordering::Acquire);
                        open |= word == 0;
                        if word > MARKER {
                            // SAFETY: a tagged slot holds a published record.
                            let version = unsafe { Version::from_word(word) };
                            let hash = self.hash_of(version.key());
                            if hash >= from && table.home(hash) == home {
                                found.push((hash, version));
                            }
                        }
                    }
                    line = table.next_line(line);
                    if open || line == home {
                        break;
                    }
                }
                found.sort_unstable_by_key(|&(hash, version)| (hash, version.key()));
                found.dedup_by_key(|&mut (hash, version)| (hash, version.key()));
                let mut last = None;
                for &(hash, version) in &found {
                    if visited >= limit && last != Some(hash) {
                        return Some(hash);
                    }
                    visit(version);
                    visited += 1;
                    last = Some(hash);
                }
            }
        }
        None
    }
}

fn grown_lines(lines: usize) -> usize {
    (lines + lines / 2).max(lines + 1)
}

fn table_bytes(lines: usize) -> usize {
    lines * LINE_SLOTS * size_of::<AtomicU64>()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[repr(align(64))]
    struct Line([AtomicU64; LINE_SLOTS]);

    proptest! {
        #[test]
        fn a_slot_matches_when_its_tag_does(
            words in prop::array::uniform8((any::<u64>(), 0..4u64)),
            few in 0..4u64,
            any_tag in any::<u64>(),
        ) {
            // Few tags, so that they meet, with the sign bit and without; some words are empty or markers.
            let tag_from = |few: u64| (any_tag & 0x8000) | (2 * few + 1);
            let line = Line(words.map(|(word, few)| AtomicU64::new(match word % 8 {
                0 => 0,
                1 => MARKER,
                2 => word,
                _ => (word >> 16) | tag_from(few) << POINTER_BITS,
            })));
            let tag = tag_from(few);
            let mut expected = 0;
            for (at, slot) in line.0.iter().enumerate() {
                let is_match = slot.load(Ordering::Relaxed) >> POINTER_BITS == tag;
                expected |= u32::from(is_match) << (at as u32 * MATCH_STEP);
            }
            prop_assert_eq!(matching_slots(&line.0, tag), expected);
        }
    }
}
