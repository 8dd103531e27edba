//! The inner node of the ordered index: up to 64 children and the separators between them.
//!
//! - Child `i` holds exactly the keys from separator `i - 1` (inclusive) to separator `i`
//!   (exclusive). The separators, and with them each child's range of keys, never change: a split
//!   or a merge builds another node. A child is swapped in place only for one of the same range.
//! - Per child: the number of its live keys, and an upper bound of its newest stamp, which is exact
//!   until a version is popped or a key removed. The writer changes both in place.
//! - Separators are as short as they can be, lose the prefix that all of them share, and keep the
//!   next eight bytes in an array that is searched first.
//!
//! In memory, so that a search begins at the first line and goes on in the next few:
//!
//! ```text
//! header | prefix, to a multiple of 8 | heads | children's words, each with its maximum stamp | live counts | ends | suffixes
//! ```
//!
//! Who goes down to change something below needs a child's word and its maximum stamp, so they lie in one line.

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::ops::Bound;
use std::ptr::NonNull;

use crate::hash::cmp_prefix;
use crate::leaf::{common_prefix, copy_atomics};
use crate::slab::Slab;
use crate::sync::{AtomicU8, AtomicU64, Ordering, pointer_in, word_of};

/// Children of an inner node at most.
pub(crate) const CHILDREN_MAX: usize = if cfg!(loom) { 3 } else { 64 };

#[repr(C)]
struct Header {
    children: u8,
    /// Whether another node has taken this one's place; for the writer.
    is_replaced: AtomicU8,
    prefix_len: u16,
    bytes_len: u32,
}

const _: () = assert!(CHILDREN_MAX <= u8::MAX as usize);

/// A child as the writer handles it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Child {
    pub(crate) word: u64,
    pub(crate) live: u64,
    pub(crate) max_stamp: u64,
}

/// What is told of a child on the way down to it.
#[repr(C)]
struct Pair {
    word: AtomicU64,
    max_stamp: AtomicU64,
}

impl Pair {
    fn of(child: &Child) -> Self {
        Self { word: AtomicU64::new(child.word), max_stamp: AtomicU64::new(child.max_stamp) }
    }
}

/// # Safety
/// As for `copy_atomics`.
unsafe fn copy_pairs(pairs: &[Pair], to: NonNull<Pair>) {
    // SAFETY: a pair is two atomics, one behind the other; and the caller's promise.
    unsafe {
        let atomics = std::slice::from_raw_parts(pairs.as_ptr().cast::<AtomicU64>(), 2 * pairs.len());
        copy_atomics(atomics, to.cast());
    }
}

/// An inner node, borrowed from a guard or from the writer.
#[derive(Clone, Copy)]
pub(crate) struct Inner<'a> {
    header: NonNull<Header>,
    lives: PhantomData<&'a Header>,
}

impl<'a> Inner<'a> {
    /// # Safety
    /// `word` holds a pointer to an inner node that stays allocated, with its subtree, for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        // SAFETY: a pointer to a node is not null.
        Self { header: unsafe { NonNull::new_unchecked(pointer_in(word)) }, lives: PhantomData }
    }

    #[inline(always)]
    fn header(self) -> &'a Header {
        // SAFETY: the node is initialized and allocated for `'a`.
        unsafe { self.header.as_ref() }
    }

    pub(crate) fn block(self) -> NonNull<u8> {
        self.header.cast()
    }

    /// Writer only.
    pub(crate) fn set_replaced(self) {
        self.header().is_replaced.store(1, Ordering::Relaxed);
    }

    /// Whether another node has taken this one's place. Writer only, for others are told nothing by it.
    #[inline(always)]
    pub(crate) fn is_replaced(self) -> bool {
        self.header().is_replaced.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn block_bytes(self) -> usize {
        let header = self.header();
        let prefix_len = header.prefix_len as usize;
        block_bytes(self.len(), prefix_len, header.bytes_len as usize)
    }

    /// Number of children; there is one separator fewer.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.header().children as usize
    }

    #[inline(always)]
    fn prefix(self) -> &'a [u8] {
        // SAFETY: the prefix follows the header.
        unsafe {
            let prefix = self.header.add(1).cast::<u8>();
            std::slice::from_raw_parts(prefix.as_ptr(), self.header().prefix_len as usize)
        }
    }

    #[inline(always)]
    fn heads(self) -> &'a [u64] {
        let len = self.len();
        // SAFETY: `len - 1` heads follow the prefix.
        unsafe {
            let first = self.header.add(1).cast::<u64>().add(prefix_words(self.header().prefix_len as usize));
            std::slice::from_raw_parts(first.as_ptr(), len - 1)
        }
    }

    /// Words and maximum stamps.
    #[inline(always)]
    fn pairs(self) -> &'a [Pair] {
        // SAFETY: `len` initialized pairs follow the heads.
        unsafe { std::slice::from_raw_parts(self.heads().as_ptr_range().end.cast(), self.len()) }
    }

    #[inline(always)]
    fn live_counts(self) -> &'a [AtomicU64] {
        // SAFETY: `len` initialized counts follow the pairs.
        unsafe { std::slice::from_raw_parts(self.pairs().as_ptr_range().end.cast(), self.len()) }
    }

    #[inline(always)]
    fn ends(self) -> &'a [u32] {
        let counts = self.live_counts().as_ptr_range().end;
        // SAFETY: `len - 1` ends follow the counts.
        unsafe { std::slice::from_raw_parts(counts.cast::<u32>(), self.len() - 1) }
    }

    /// Separator `index` without the prefix.
    #[inline(always)]
    fn suffix(self, index: usize) -> &'a [u8] {
        let ends = self.ends();
        let from = if index == 0 { 0 } else { ends[index - 1] as usize };
        let first = ends.as_ptr_range().end.cast::<u8>();
        // SAFETY: the separators follow the ends, one after the other.
        unsafe { std::slice::from_raw_parts(first.add(from), ends[index] as usize - from) }
    }

    #[inline(always)]
    pub(crate) fn child_word(self, index: usize) -> u64 {
        self.pairs()[index].word.load(Ordering::Acquire)
    }

    pub(crate) fn live(self, index: usize) -> u64 {
        self.live_counts()[index].load(Ordering::Relaxed)
    }

    pub(crate) fn max_stamp(self, index: usize) -> u64 {
        self.pairs()[index].max_stamp.load(Ordering::Acquire)
    }

    pub(crate) fn child(self, index: usize) -> Child {
        Child { word: self.child_word(index), live: self.live(index), max_stamp: self.max_stamp(index) }
    }

    /// Swaps a child for one of the same range of keys. Writer only.
    pub(crate) fn set_child(self, index: usize, word: u64) {
        self.pairs()[index].word.store(word, Ordering::Release);
    }

    /// Counts live keys in or out. Writer only.
    pub(crate) fn add_live(self, index: usize, change: i64) {
        if change != 0 {
            let live = self.live(index).wrapping_add_signed(change);
            self.live_counts()[index].store(live, Ordering::Relaxed);
        }
    }

    /// Writer only.
    pub(crate) fn raise_max_stamp(self, index: usize, stamp: u64) {
        if self.max_stamp(index) < stamp {
            self.pairs()[index].max_stamp.store(stamp, Ordering::Release);
        }
    }

    /// The child whose range holds `key`: as many separators are at most `key`.
    #[inline]
    pub(crate) fn find(self, key: &[u8]) -> usize {
        let prefix = self.prefix();
        match cmp_prefix(key, prefix) {
            Order::Less => return 0,
            Order::Greater => return self.len() - 1,
            Order::Equal => {}
        }
        let rest = &key[prefix.len()..];
        let head = head_of(rest);
        let heads = self.heads();
        let mut index = heads.partition_point(|&separator| separator < head);
        while index < heads.len() && heads[index] == head && self.suffix(index) <= rest {
            index += 1;
        }
        index
    }

    /// Builds the node that this one is with child `index` split into two around `separator`; not if it is full, or if
    /// the separator does not start with the prefix.
    pub(crate) fn with_split(
        self,
        slab: &mut Slab,
        index: usize,
        halves: &[Child; 2],
        separator: &[u8],
    ) -> Option<u64> {
        let (len, prefix) = (self.len(), self.prefix());
        let suffix = separator.strip_prefix(prefix).filter(|_| len < CHILDREN_MAX)?;
        let (ends, old_bytes) = (self.ends(), self.header().bytes_len);
        let added = suffix.len() as u32;
        let at = if index == 0 { 0 } else { ends[index - 1] };
        let bytes_len = old_bytes + added;
        let block = slab.allocate(block_bytes(len + 1, prefix.len(), bytes_len as usize));
        // SAFETY: the fresh block has room for a node of one child more, part by part; this is the writer, so that nobody
        // stores into the pairs and counts.
        unsafe {
            let header = block.cast::<Header>();
            header.write(Header {
                children: len as u8 + 1,
                is_replaced: AtomicU8::new(0),
                prefix_len: prefix.len() as u16,
                bytes_len,
            });
            let to = header.add(1).cast::<u64>();
            to.cast::<u8>().copy_from_nonoverlapping(NonNull::from(prefix).cast(), prefix.len());
            let heads = to.add(prefix_words(prefix.len()));
            let (before, behind) = self.heads().split_at(index);
            heads.copy_from_nonoverlapping(NonNull::from(before).cast(), index);
            heads.add(index).write(head_of(suffix));
            heads.add(index + 1).copy_from_nonoverlapping(NonNull::from(behind).cast(), behind.len());
            let pairs = heads.add(len).cast::<Pair>();
            let counts = pairs.add(len + 1).cast::<AtomicU64>();
            let (old_pairs, old_counts) = (self.pairs(), self.live_counts());
            copy_pairs(&old_pairs[..index], pairs);
            copy_atomics(&old_counts[..index], counts);
            for (place, half) in halves.iter().enumerate() {
                pairs.add(index + place).write(Pair::of(half));
                counts.add(index + place).write(AtomicU64::new(half.live));
            }
            copy_pairs(&old_pairs[index + 1..], pairs.add(index + 2));
            copy_atomics(&old_counts[index + 1..], counts.add(index + 2));
            let new_ends = counts.add(len + 1).cast::<u32>();
            new_ends.copy_from_nonoverlapping(NonNull::from(&ends[..index]).cast(), index);
            new_ends.add(index).write(at + added);
            for (place, &end) in ends.iter().enumerate().skip(index) {
                new_ends.add(place + 1).write(end + added);
            }
            let suffixes = new_ends.add(len).cast::<u8>();
            let old = NonNull::from(ends).cast::<u32>().add(len - 1).cast::<u8>();
            suffixes.copy_from_nonoverlapping(old, at as usize);
            suffixes.add(at as usize).copy_from_nonoverlapping(NonNull::from(suffix).cast(), suffix.len());
            suffixes
                .add((at + added) as usize)
                .copy_from_nonoverlapping(old.add(at as usize), (old_bytes - at) as usize);
            Some(word_of(header.as_ptr()))
        }
    }

    /// The first and the last child that may hold keys within the bounds.
    pub(crate) fn range(self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> (usize, usize) {
        let first = match lower {
            Bound::Unbounded => 0,
            Bound::Included(key) | Bound::Excluded(key) => self.find(key),
        };
        let last = match upper {
            Bound::Unbounded => self.len() - 1,
            Bound::Included(key) | Bound::Excluded(key) => self.find(key),
        };
        (first, last)
    }
}

#[inline(always)]
fn head_of(rest: &[u8]) -> u64 {
    if let Some(bytes) = rest.first_chunk::<8>() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    bytes[..rest.len()].copy_from_slice(rest);
    u64::from_be_bytes(bytes)
}

/// What an inner node is built from: children, and the separator before each but the first.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) children: Vec<Child>,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Parts {
    pub(crate) fn clear(&mut self) {
        self.children.clear();
        self.bytes.clear();
        self.ends.clear();
    }

    /// Adds a child; its separator must have been added, unless it is the first.
    pub(crate) fn push(&mut self, child: Child) {
        debug_assert_eq!(self.ends.len(), self.children.len());
        self.children.push(child);
    }

    pub(crate) fn push_separator(&mut self, separator: &[u8]) {
        self.bytes.extend_from_slice(separator);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn push_separator_of(&mut self, inner: Inner<'_>, index: usize) {
        self.bytes.extend_from_slice(inner.prefix());
        self.push_separator(inner.suffix(index));
    }

    /// Adds children `range` of `inner`, each with the separator before it, but for the first of
    /// all parts and the first of the range if `separator_added`.
    pub(crate) fn push_children(
        &mut self,
        inner: Inner<'_>,
        range: std::ops::Range<usize>,
        separator_added: bool,
    ) {
        let first = range.start;
        for index in range {
            if !(self.children.is_empty() || separator_added && index == first) {
                self.push_separator_of(inner, index - 1);
            }
            self.push(inner.child(index));
        }
    }

    pub(crate) fn separator(&self, index: usize) -> &[u8] {
        let from = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[from..self.ends[index]]
    }

    /// Builds a node of the children in `range` and the separators between them.
    pub(crate) fn build(&self, slab: &mut Slab, range: std::ops::Range<usize>) -> Child {
        let children = &self.children[range.clone()];
        debug_assert!(!children.is_empty() && children.len() <= CHILDREN_MAX);
        let separators = range.start..range.end - 1;
        let prefix_len = match separators.len() {
            0 => 0,
            _ => common_prefix(self.separator(separators.start), self.separator(separators.end - 1)),
        };
        let bytes_len: usize = separators.clone().map(|index| self.separator(index).len() - prefix_len).sum();
        let (len, mut end) = (children.len(), 0);
        let block = slab.allocate(block_bytes(len, prefix_len, bytes_len));
        // SAFETY: the fresh block has room for header, prefix, heads, pairs, counts, ends and separators
        // in this order, as `block_bytes` counts them.
        unsafe {
            let header = block.cast::<Header>();
            header.write(Header {
                children: len as u8,
                is_replaced: AtomicU8::new(0),
                prefix_len: prefix_len as u16,
                bytes_len: bytes_len as u32,
            });
            let prefix = header.add(1).cast::<u64>();
            let heads = prefix.add(prefix_words(prefix_len));
            let pairs = heads.add(len - 1).cast::<Pair>();
            let counts = pairs.add(len).cast::<AtomicU64>();
            for (index, child) in children.iter().enumerate() {
                pairs.add(index).write(Pair::of(child));
                counts.add(index).write(AtomicU64::new(child.live));
            }
            let ends = counts.add(len).cast::<u32>();
            let suffixes = ends.add(len - 1).cast::<u8>();
            if let Some(first) = separators.clone().next() {
                let source = NonNull::from(self.separator(first)).cast();
                prefix.cast::<u8>().copy_from_nonoverlapping(source, prefix_len);
            }
            for (place, index) in separators.enumerate() {
                let suffix = &self.separator(index)[prefix_len..];
                let to = suffixes.add(end);
                to.copy_from_nonoverlapping(NonNull::from(suffix).cast(), suffix.len());
                end += suffix.len();
                heads.add(place).write(head_of(suffix));
                ends.add(place).write(end as u32);
            }
            Child {
                word: word_of(header.as_ptr()),
                live: children.iter().map(|child| child.live).sum(),
                max_stamp: children.iter().map(|child| child.max_stamp).max().unwrap_or(0),
            }
        }
    }
}

/// Words that a prefix takes.
#[inline(always)]
fn prefix_words(prefix_len: usize) -> usize {
    prefix_len.div_ceil(size_of::<u64>())
}

fn block_bytes(children: usize, prefix_len: usize, suffix_bytes: usize) -> usize {
    size_of::<Header>()
        + prefix_words(prefix_len) * size_of::<u64>()
        + (children - 1) * size_of::<u64>()
        + children * (size_of::<Pair>() + size_of::<AtomicU64>())
        + (children - 1) * size_of::<u32>()
        + suffix_bytes
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node_of(slab: &mut Slab, separators: &[Vec<u8>]) -> Child {
        let mut parts = Parts::default();
        for number in 0..=separators.len() as u64 {
            if number > 0 {
                parts.push_separator(&separators[number as usize - 1]);
            }
            parts.push(Child { word: 8 * (number + 1), live: 100 + number, max_stamp: 200 + number });
        }
        parts.build(slab, 0..separators.len() + 1)
    }

    proptest! {
        #[test]
        fn a_child_split_in_place_gives_the_node_that_its_parts_give(
            separators in prop::collection::btree_set(prop::collection::vec(0..3u8, 0..12), 1..CHILDREN_MAX),
            index in any::<prop::sample::Index>(),
            start in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let separators: Vec<Vec<u8>> =
                separators.into_iter().map(|end| [&start[..], &end[..]].concat()).collect();
            let at = index.index(separators.len());
            let mut fewer = separators.clone();
            let separator = fewer.remove(at);
            let mut slab = Slab::new();
            let whole = node_of(&mut slab, &separators);
            let part = node_of(&mut slab, &fewer);
            // SAFETY: built just now, in a slab that lives on.
            let (whole, part) = unsafe { (Inner::from_word(whole.word), Inner::from_word(part.word)) };
            let halves = [whole.child(at), whole.child(at + 1)];
            let split = part.with_split(&mut slab, at, &halves, &separator);
            prop_assert_eq!(split.is_some(), separator.starts_with(part.prefix()));
            let Some(split) = split else { return Ok(()) };
            // SAFETY: as above.
            let split = unsafe { Inner::from_word(split) };
            prop_assert_eq!(split.len(), whole.len());
            for index in 0..whole.len() {
                let word = if index > at + 1 { whole.child_word(index - 1) } else { whole.child_word(index) };
                prop_assert_eq!(split.child_word(index), word);
            }
            for (index, separator) in separators.iter().enumerate() {
                prop_assert_eq!(&[split.prefix(), split.suffix(index)].concat(), separator);
                prop_assert_eq!(split.find(separator), index + 1);
                prop_assert_eq!(split.heads()[index], head_of(split.suffix(index)));
            }
            let bytes = split.block_bytes();
            slab_frees_what_it_gave(&mut slab, split.block(), bytes);
        }
    }

    /// The node's own idea of its size is what was asked for: the slab checks it.
    fn slab_frees_what_it_gave(slab: &mut Slab, block: NonNull<u8>, bytes: usize) {
        let before = slab.allocated_bytes();
        // SAFETY: allocated by the test, and freed once.
        unsafe { slab.free(block, bytes) };
        assert_eq!(before - slab.allocated_bytes(), Slab::block_bytes(bytes) as u64);
    }
}
