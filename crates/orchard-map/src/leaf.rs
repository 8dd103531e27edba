//! The leaf of the ordered index: up to 64 keys in order, as words that lead to their records.
//!
//! - Keys, their number and their order never change: inserting or removing one builds another
//!   leaf. Only the record of a key changes in place (`swap`), when a version is put or popped.
//! - A slot is a record's pointer, 16 bits of key above it (from the bytes after the leaf's prefix: `heads`),
//!   and in bit 0 whether the record is a tombstone: a search mostly needs no record, counting none.
//! - `prefix` is common to all keys of the leaf (not always the longest such). It lies before the slots, mostly in the
//!   header's line, for every search needs it.
//! - `max_stamp` is at least the newest stamp, `min_stamp` at most the oldest stamp in the leaf,
//!   tombstones included. Both are exact until a version is popped or a key removed.

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::ops::Bound;
use std::ptr::NonNull;

use crate::hash::cmp_prefix;
use crate::heads::Heads;
use crate::record::Version;
use crate::slab::Slab;
use crate::sync::{AtomicU8, AtomicU64, Ordering, POINTER_BITS, pointer_in, prefetch, word_of};

/// Keys in a leaf at most.
pub(crate) const LEAF_KEYS_MAX: usize = if cfg!(loom) { 2 } else { 64 };
/// Marks a slot whose record is a tombstone.
pub(crate) const DEAD: u64 = 1;

#[repr(C)]
struct Header {
    max_stamp: AtomicU64,
    min_stamp: u64,
    len: u8,
    /// Whether another leaf has taken this one's place; for the writer.
    is_replaced: AtomicU8,
    prefix_len: u16,
    heads: Heads,
}

const _: () = assert!(LEAF_KEYS_MAX <= u8::MAX as usize);

/// A leaf, borrowed from a guard or from the writer.
#[derive(Clone, Copy)]
pub(crate) struct Leaf<'a> {
    header: NonNull<Header>,
    lives: PhantomData<&'a Header>,
}

impl<'a> Leaf<'a> {
    /// # Safety
    /// `word` holds a pointer to a leaf that stays allocated, with its records, for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        // SAFETY: a pointer to a leaf is not null.
        Self { header: unsafe { NonNull::new_unchecked(pointer_in(word)) }, lives: PhantomData }
    }

    #[inline(always)]
    fn header(self) -> &'a Header {
        // SAFETY: the leaf is initialized and allocated for `'a`.
        unsafe { self.header.as_ref() }
    }

    pub(crate) fn block(self) -> NonNull<u8> {
        self.header.cast()
    }

    /// Writer only.
    pub(crate) fn set_replaced(self) {
        self.header().is_replaced.store(1, Ordering::Relaxed);
    }

    /// Whether another leaf has taken this one's place. Writer only, for others are told nothing by it.
    #[inline(always)]
    pub(crate) fn is_replaced(self) -> bool {
        self.header().is_replaced.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn block_bytes(self) -> usize {
        block_bytes(self.len(), self.header().prefix_len as usize)
    }

    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.header().len as usize
    }

    pub(crate) fn max_stamp(self) -> u64 {
        self.header().max_stamp.load(Ordering::Acquire)
    }

    pub(crate) fn min_stamp(self) -> u64 {
        self.header().min_stamp
    }

    /// Writer only: there is no other one to race with.
    pub(crate) fn raise_max_stamp(self, stamp: u64) {
        if self.max_stamp() < stamp {
            self.header().max_stamp.store(stamp, Ordering::Release);
        }
    }

    #[inline(always)]
    pub(crate) fn slots(self) -> &'a [AtomicU64] {
        // SAFETY: `len` initialized slots follow the prefix.
        unsafe {
            let prefix = self.header.add(1).cast::<AtomicU64>();
            let first = prefix.byte_add(prefix_bytes(self.header().prefix_len as usize));
            std::slice::from_raw_parts(first.as_ptr(), self.len())
        }
    }

    #[inline(always)]
    pub(crate) fn prefix(self) -> &'a [u8] {
        // SAFETY: `prefix_len` bytes follow the header.
        unsafe {
            let bytes = self.header.add(1).cast::<u8>();
            std::slice::from_raw_parts(bytes.as_ptr(), self.header().prefix_len as usize)
        }
    }

    #[inline(always)]
    pub(crate) fn heads(self) -> Heads {
        self.header().heads
    }

    /// The newest version of the key at `index`.
    #[inline(always)]
    pub(crate) fn version(self, index: usize) -> Version<'a> {
        // SAFETY: a slot holds a published record, which lives as the leaf does.
        unsafe { Version::from_word(self.slots()[index].load(Ordering::Acquire)) }
    }

    /// Starts bringing in the record at `index`, if there is one.
    #[inline(always)]
    pub(crate) fn prefetch(self, index: usize) {
        if let Some(slot) = self.slots().get(index) {
            let word = slot.load(Ordering::Relaxed);
            prefetch(pointer_in::<u8>(word));
            Version::prefetch_behind(word);
        }
    }

    /// Keys in `range` whose newest version is not a tombstone.
    pub(crate) fn count_live(self, range: std::ops::Range<usize>) -> u64 {
        let slots = &self.slots()[range];
        slots.iter().map(|slot| u64::from(slot.load(Ordering::Relaxed) & DEAD == 0)).sum()
    }

    /// The slots whose key's head is that of `key`; empty at the place where they would be.
    #[inline]
    fn candidates(self, key: &[u8]) -> (usize, usize) {
        let prefix = self.prefix();
        match cmp_prefix(key, prefix) {
            Order::Less => return (0, 0),
            Order::Greater => return (self.len(), self.len()),
            Order::Equal => {}
        }
        let head = self.heads().head_of(&key[prefix.len()..]);
        let slots = self.slots();
        let from = slots.partition_point(|slot| slot.load(Ordering::Relaxed) >> POINTER_BITS < head);
        let mut to = from;
        while to < slots.len() && slots[to].load(Ordering::Relaxed) >> POINTER_BITS == head {
            to += 1;
        }
        (from, to)
    }

    /// The index of the first key that is not less than `key`, and whether it is `key`.
    pub(crate) fn search(self, key: &[u8]) -> (usize, bool) {
        let (mut from, mut to) = self.candidates(key);
        let skip = self.header().prefix_len as usize;
        while from < to {
            let middle = from + (to - from) / 2;
            match self.version(middle).key()[skip..].cmp(&key[skip..]) {
                Order::Less => from = middle + 1,
                Order::Equal => return (middle, true),
                Order::Greater => to = middle,
            }
        }
        (from, false)
    }

    /// The index of `key`, if the word of its newest record is `record`: found without its record.
    pub(crate) fn find(self, key: &[u8], record: u64) -> Option<usize> {
        let (from, to) = self.candidates(key);
        (from..to).find(|&index| self.leads_to(index, record))
    }

    /// Whether the newest record of the key at `index` is `record`.
    #[inline(always)]
    pub(crate) fn leads_to(self, index: usize, record: u64) -> bool {
        let slot = self.slots().get(index);
        slot.is_some_and(|slot| pointer_in::<u8>(slot.load(Ordering::Relaxed)) == pointer_in::<u8>(record))
    }

    /// Makes the key at `index` lead to another of its records. Writer only.
    pub(crate) fn swap(self, index: usize, record: Version<'_>) {
        let slot = &self.slots()[index];
        let head = slot.load(Ordering::Relaxed) >> POINTER_BITS << POINTER_BITS;
        slot.store(head | slot_word(record), Ordering::Release);
    }

    /// The indexes of the keys within the bounds.
    pub(crate) fn range(self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> (usize, usize) {
        let from = match lower {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.search(key).0,
            Bound::Excluded(key) => {
                let (index, found) = self.search(key);
                index + usize::from(found)
            }
        };
        let to = match upper {
            Bound::Unbounded => self.len(),
            Bound::Excluded(key) => self.search(key).0,
            Bound::Included(key) => {
                let (index, found) = self.search(key);
                index + usize::from(found)
            }
        };
        (from, to.max(from))
    }

    /// Copies the slots into `slots`.
    pub(crate) fn copy_slots(self, slots: &mut Vec<u64>) {
        slots.extend(self.slots().iter().map(|slot| slot.load(Ordering::Relaxed)));
    }
}

/// A slot without its head.
pub(crate) fn slot_word(record: Version<'_>) -> u64 {
    record.word() | if record.is_tombstone() { DEAD } else { 0 }
}

/// The head of a key whose prefix was cut off, in its place in a slot.
#[inline(always)]
pub(crate) fn head_bits(heads: Heads, rest: &[u8]) -> u64 {
    heads.head_of(rest) << POINTER_BITS
}

/// How many bytes the two have in common at their starts.
pub(crate) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Gives each slot its head after the longest prefix of the (sorted) keys; returns that prefix, and how heads are made.
///
/// # Safety
/// The slots hold published records that live for `'k`.
pub(crate) unsafe fn set_heads<'k>(slots: &mut [u64]) -> (&'k [u8], Heads) {
    /// Records whose cache misses overlap.
    const AHEAD: usize = 8;
    let (Some(&first), Some(&last)) = (slots.first(), slots.last()) else { return (&[], Heads::PLAIN) };
    // SAFETY: the caller's promise.
    let version = |word: u64| unsafe { Version::<'k>::from_word(word & ((1 << POINTER_BITS) - 1)) };
    let prefix = &version(first).key()[..common_prefix(version(first).key(), version(last).key())];
    let rest = |word: u64| &version(word).key()[prefix.len()..];
    let ahead = |index: usize| slots.get(index + AHEAD).map(|&ahead| prefetch(pointer_in::<u8>(ahead)));
    let heads = Heads::for_keys(slots.iter().enumerate().map(|(index, &word)| {
        ahead(index);
        rest(word)
    }));
    for slot in slots {
        *slot = *slot & ((1 << POINTER_BITS) - 1) | head_bits(heads, rest(*slot));
    }
    (prefix, heads)
}

/// Builds a leaf of sorted slots with their heads set; its word is returned.
pub(crate) fn build(
    slab: &mut Slab,
    slots: &[u64],
    (prefix, heads): (&[u8], Heads),
    min_stamp: u64,
    max_stamp: u64,
) -> u64 {
    debug_assert!(!slots.is_empty() && slots.len() <= LEAF_KEYS_MAX);
    let block = slab.allocate(block_bytes(slots.len(), prefix.len()));
    // SAFETY: the fresh block has room for header, prefix and slots, in this order.
    unsafe {
        let header = block.cast::<Header>();
        header.write(Header {
            max_stamp: AtomicU64::new(max_stamp),
            min_stamp,
            len: slots.len() as u8,
            is_replaced: AtomicU8::new(0),
            prefix_len: prefix.len() as u16,
            heads,
        });
        let first = write_prefix(header, prefix);
        for (index, &slot) in slots.iter().enumerate() {
            first.add(index).write(AtomicU64::new(slot));
        }
        word_of(header.as_ptr())
    }
}

/// Builds the leaf that `leaf` is with one more slot, whose head is set, at `place`.
pub(crate) fn build_with(
    slab: &mut Slab,
    leaf: Leaf<'_>,
    (place, slot): (usize, u64),
    min_stamp: u64,
    max_stamp: u64,
) -> u64 {
    let (len, prefix) = (leaf.len() + 1, leaf.prefix());
    assert!(place < len && len <= LEAF_KEYS_MAX, "a leaf has room for one more");
    let block = slab.allocate(block_bytes(len, prefix.len()));
    let (before, behind) = leaf.slots().split_at(place);
    // SAFETY: the fresh block has room for header, prefix and slots, in this order.
    unsafe {
        let header = block.cast::<Header>();
        header.write(Header {
            max_stamp: AtomicU64::new(max_stamp),
            min_stamp,
            len: len as u8,
            is_replaced: AtomicU8::new(0),
            prefix_len: prefix.len() as u16,
            heads: leaf.heads(),
        });
        let first = write_prefix(header, prefix);
        copy_atomics(before, first);
        first.add(place).write(AtomicU64::new(slot));
        copy_atomics(behind, first.add(place + 1));
        word_of(header.as_ptr())
    }
}

/// # Safety
/// The caller is the writer, so that nobody stores into `slots`; there is fresh room for as many at `to`.
pub(crate) unsafe fn copy_atomics(slots: &[AtomicU64], to: NonNull<AtomicU64>) {
    if cfg!(loom) {
        for (index, slot) in slots.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.add(index).write(AtomicU64::new(slot.load(Ordering::Relaxed))) };
        }
        return;
    }
    // SAFETY: the caller's promise; others only load from `slots`, and an atomic is its number.
    unsafe { to.copy_from_nonoverlapping(NonNull::from(slots).cast(), slots.len()) };
}

/// Where to split slots with their heads set: in the middle; but if they have hardly more than one head, where that
/// changes. Each half then has a longer prefix, and heads that tell its keys apart.
pub(crate) fn middle(slots: &[u64]) -> usize {
    const CHANGES_MAX: usize = 2;
    let middle = slots.len() / 2;
    let changes =
        || (1..slots.len()).filter(|at| slots[at - 1] >> POINTER_BITS != slots[*at] >> POINTER_BITS);
    match changes().nth(CHANGES_MAX) {
        Some(_) => middle,
        None => changes().min_by_key(|at| at.abs_diff(middle)).unwrap_or(middle),
    }
}

/// Writes a leaf's prefix; returns where its slots begin.
///
/// # Safety
/// There is fresh room for the prefix behind the header.
unsafe fn write_prefix(header: NonNull<Header>, prefix: &[u8]) -> NonNull<AtomicU64> {
    // SAFETY: the caller's promise.
    unsafe {
        let to = header.add(1).cast::<u8>();
        to.copy_from_nonoverlapping(NonNull::from(prefix).cast(), prefix.len());
        to.add(prefix_bytes(prefix.len())).cast()
    }
}

/// Bytes that a prefix takes: the slots behind it are aligned.
#[inline(always)]
fn prefix_bytes(prefix_len: usize) -> usize {
    prefix_len.next_multiple_of(align_of::<AtomicU64>())
}

fn block_bytes(len: usize, prefix_len: usize) -> usize {
    size_of::<Header>() + prefix_bytes(prefix_len) + len * size_of::<AtomicU64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_split_where_keys_of_another_kind_begin() {
        let slots = |heads: &[(u64, usize)]| -> Vec<u64> {
            heads.iter().flat_map(|&(head, count)| vec![head << POINTER_BITS | 8; count]).collect()
        };
        assert_eq!(middle(&slots(&[(1, 1), (2, 64)])), 1, "one key before all the others");
        assert_eq!(middle(&slots(&[(1, 20), (2, 40), (3, 5)])), 20, "the nearer change");
        assert_eq!(middle(&slots(&[(1, 65)])), 32, "all alike");
        assert_eq!(middle(&slots(&[(1, 1), (2, 1), (3, 60), (4, 3)])), 32, "heads that tell keys apart");
    }
}
