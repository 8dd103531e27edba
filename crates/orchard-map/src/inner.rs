//! The inner node of the ordered index: up to 64 children and the separators between them.
//!
//! - Child `i` holds exactly the keys from separator `i - 1` (inclusive) to separator `i`
//!   (exclusive). The separators, and with them each child's range of keys, never change: a split
//!   or a merge builds another node. A child is swapped in place only for one of the same range.
//! - Per child: the number of its live keys, and an upper bound of its newest stamp, which is exact
//!   until a version is popped or a key removed. The writer changes both in place.
//! - Separators are as short as they can be, lose the prefix that all of them share, and keep the
//!   next eight bytes in an array that is searched first (and comes first, to be prefetched).

use std::cmp::Ordering as Order;
use std::marker::PhantomData;
use std::ops::Bound;
use std::ptr::NonNull;

use crate::leaf::common_prefix;
use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering, pointer_in, word_of};

/// Children of an inner node at most.
pub(crate) const CHILDREN_MAX: usize = if cfg!(loom) { 3 } else { 64 };

#[repr(C)]
struct Header {
    children: u16,
    prefix_len: u16,
    bytes_len: u32,
}

/// A child as the writer handles it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Child {
    pub(crate) word: u64,
    pub(crate) live: u64,
    pub(crate) max_stamp: u64,
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

    pub(crate) fn block_bytes(self) -> usize {
        let header = self.header();
        let prefix_len = header.prefix_len as usize;
        block_bytes(self.len(), prefix_len + header.bytes_len as usize)
    }

    /// Number of children; there is one separator fewer.
    #[inline(always)]
    pub(crate) fn len(self) -> usize {
        self.header().children as usize
    }

    /// The arrays of the node: words, live counts, maximum stamps.
    #[inline(always)]
    fn column(self, column: usize) -> &'a [AtomicU64] {
        let len = self.len();
        // SAFETY: three columns of `len` initialized atomics follow the heads; callers ask for 0..3.
        unsafe {
            let first = self.header.add(1).cast::<u64>().add(len - 1).cast::<AtomicU64>();
            std::slice::from_raw_parts(first.add(column * len).as_ptr(), len)
        }
    }

    #[inline(always)]
    fn heads(self) -> &'a [u64] {
        let len = self.len();
        // SAFETY: `len - 1` heads follow the header.
        unsafe { std::slice::from_raw_parts(self.header.add(1).cast::<u64>().as_ptr(), len - 1) }
    }

    #[inline(always)]
    fn ends(self) -> &'a [u32] {
        let columns = self.column(2).as_ptr_range().end;
        // SAFETY: `len - 1` ends follow the columns.
        unsafe { std::slice::from_raw_parts(columns.cast::<u32>(), self.len() - 1) }
    }

    #[inline(always)]
    fn prefix(self) -> &'a [u8] {
        let ends = self.ends().as_ptr_range().end.cast::<u8>();
        // SAFETY: the prefix follows the ends.
        unsafe { std::slice::from_raw_parts(ends, self.header().prefix_len as usize) }
    }

    /// Separator `index` without the prefix.
    #[inline(always)]
    fn suffix(self, index: usize) -> &'a [u8] {
        let ends = self.ends();
        let from = if index == 0 { 0 } else { ends[index - 1] as usize };
        let first = self.prefix().as_ptr_range().end;
        // SAFETY: the separators follow the prefix, one after the other.
        unsafe { std::slice::from_raw_parts(first.add(from), ends[index] as usize - from) }
    }

    #[inline(always)]
    pub(crate) fn child_word(self, index: usize) -> u64 {
        self.column(0)[index].load(Ordering::Acquire)
    }

    pub(crate) fn live(self, index: usize) -> u64 {
        self.column(1)[index].load(Ordering::Relaxed)
    }

    pub(crate) fn max_stamp(self, index: usize) -> u64 {
        self.column(2)[index].load(Ordering::Acquire)
    }

    pub(crate) fn child(self, index: usize) -> Child {
        Child { word: self.child_word(index), live: self.live(index), max_stamp: self.max_stamp(index) }
    }

    /// Swaps a child for one of the same range of keys. Writer only.
    pub(crate) fn set_child(self, index: usize, word: u64) {
        self.column(0)[index].store(word, Ordering::Release);
    }

    /// Counts live keys in or out. Writer only.
    pub(crate) fn add_live(self, index: usize, change: i64) {
        if change != 0 {
            let live = self.live(index).wrapping_add_signed(change);
            self.column(1)[index].store(live, Ordering::Relaxed);
        }
    }

    /// Writer only.
    pub(crate) fn raise_max_stamp(self, index: usize, stamp: u64) {
        if self.max_stamp(index) < stamp {
            self.column(2)[index].store(stamp, Ordering::Release);
        }
    }

    /// The child whose range holds `key`: as many separators are at most `key`.
    #[inline]
    pub(crate) fn find(self, key: &[u8]) -> usize {
        let prefix = self.prefix();
        let shared = prefix.len().min(key.len());
        match key[..shared].cmp(&prefix[..shared]) {
            Order::Less => return 0,
            Order::Greater => return self.len() - 1,
            Order::Equal if shared < prefix.len() => return 0,
            Order::Equal => {}
        }
        let rest = &key[shared..];
        let head = head_of(rest);
        let heads = self.heads();
        let mut index = heads.partition_point(|&separator| separator < head);
        while index < heads.len() && heads[index] == head && self.suffix(index) <= rest {
            index += 1;
        }
        index
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
        let block = slab.allocate(block_bytes(len, prefix_len + bytes_len));
        // SAFETY: the fresh block has room for header, heads, columns, ends, prefix and separators
        // in this order, as `block_bytes` counts them.
        unsafe {
            let header = block.cast::<Header>();
            header.write(Header {
                children: len as u16,
                prefix_len: prefix_len as u16,
                bytes_len: bytes_len as u32,
            });
            let heads = header.add(1).cast::<u64>();
            let column = heads.add(len - 1).cast::<AtomicU64>();
            for (index, child) in children.iter().enumerate() {
                column.add(index).write(AtomicU64::new(child.word));
                column.add(len + index).write(AtomicU64::new(child.live));
                column.add(2 * len + index).write(AtomicU64::new(child.max_stamp));
            }
            let ends = column.add(3 * len).cast::<u32>();
            let prefix = ends.add(len - 1).cast::<u8>();
            if let Some(first) = separators.clone().next() {
                let source = NonNull::from(self.separator(first)).cast();
                prefix.copy_from_nonoverlapping(source, prefix_len);
            }
            for (place, index) in separators.enumerate() {
                let suffix = &self.separator(index)[prefix_len..];
                let to = prefix.add(prefix_len + end);
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

fn block_bytes(children: usize, bytes: usize) -> usize {
    size_of::<Header>()
        + children * 3 * size_of::<AtomicU64>()
        + (children - 1) * (size_of::<u64>() + size_of::<u32>())
        + bytes
}
