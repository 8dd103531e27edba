//! The ordered index: a B+tree over the newest record of each entry.
//!
//! - All leaves are at one depth. A child's word has bit 0 set when it is an inner node.
//! - Each node that readers reach covers exactly its range of keys, also one that was replaced while
//!   they look at it: it then holds what it held at that moment. What a reader at `at` needs was
//!   applied before it chose `at`, hence before it loaded the root.
//! - A walk holds no state that a change could invalidate: it is a recursion over immutable ranges.

use std::ops::{Bound, ControlFlow, Range};

use crate::inner::Inner;
use crate::leaf::Leaf;
use crate::sync::{AtomicU64, Ordering, pointer_in, prefetch};
use crate::way::Way;

/// Marks the word of an inner node.
pub(crate) const INNER: u64 = 1;

#[derive(Clone, Copy)]
pub(crate) enum Node<'a> {
    Leaf(Leaf<'a>),
    Inner(Inner<'a>),
}

impl<'a> Node<'a> {
    /// # Safety
    /// `word` was loaded from the root or from an inner node, is not 0, and its subtree stays
    /// allocated for `'a`.
    #[inline(always)]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        // SAFETY: bit 0 tells the kind, and the caller promises the rest.
        unsafe {
            if word & INNER == 0 {
                Node::Leaf(Leaf::from_word(word))
            } else {
                Node::Inner(Inner::from_word(word))
            }
        }
    }

    #[inline(always)]
    pub(crate) fn child(inner: Inner<'a>, index: usize) -> Self {
        // SAFETY: an inner node's children live as it does.
        unsafe { Self::from_word(inner.child_word(index)) }
    }
}

/// Which leaves a walk may leave out.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    /// Leaves without a stamp above this are left out, if given.
    pub(crate) since: Option<u64>,
    /// Leaves without a stamp of at most this are left out.
    pub(crate) at: u64,
}

impl Window {
    fn too_old(self, max_stamp: u64) -> bool {
        self.since.is_some_and(|since| max_stamp <= since)
    }
}

/// The tree as readers see it.
pub(crate) struct Tree {
    root: AtomicU64,
}

type Visit<'v, 'a> = dyn FnMut(Leaf<'a>, Range<usize>) -> ControlFlow<()> + 'v;

impl Tree {
    pub(crate) fn new() -> Self {
        Self { root: AtomicU64::new(0) }
    }

    /// The tree as it is now.
    ///
    /// # Safety
    /// For `'a` no node or record that is retired from now on is freed: the caller is pinned, or
    /// is the writer and does not retire.
    pub(crate) unsafe fn root<'a>(&self) -> Option<Node<'a>> {
        let word = self.root.load(Ordering::Acquire);
        // SAFETY: the root's word is the tree's, and the caller keeps the tree allocated.
        (word != 0).then(|| unsafe { Node::from_word(word) })
    }

    /// The way to the leaf whose range holds `key`.
    ///
    /// # Safety
    /// As for `root`.
    #[inline(always)]
    pub(crate) unsafe fn way<'a>(&self, key: &[u8]) -> Way<'a> {
        let mut way = Way::NONE;
        // SAFETY: the caller's promise.
        if let Some(root) = unsafe { self.root() } {
            way.go_down(root, key);
        }
        way
    }

    /// Puts another root in the place of this one. Writer only.
    pub(crate) fn set_root(&self, word: u64) {
        self.root.store(word, Ordering::Release);
    }
}

/// Brings in what a binary search of a node will look at, at once rather than step by step.
#[inline(always)]
pub(crate) fn prefetch_node(word: u64) {
    for line in 0..9 {
        prefetch(pointer_in::<u8>(word).wrapping_add(line * 64));
    }
}

impl<'a> Node<'a> {
    /// Brings in the ways down to the leaves of some keys, one level for all of them at a time: a key's next cache miss
    /// does not wait for its last one while others can be waited for.
    pub(crate) fn warm<const N: usize>(self, keys: &[&[u8]]) {
        debug_assert!(keys.len() <= N);
        let Node::Inner(root) = self else { return };
        let mut at = [root; N];
        // All leaves are at one depth, but for a tree that changes meanwhile.
        let mut is_inner = true;
        while std::mem::take(&mut is_inner) {
            for (inner, key) in at.iter_mut().zip(keys) {
                let child = inner.child_word(inner.find(key));
                prefetch_node(child);
                if child & INNER != 0 {
                    // SAFETY: an inner node's children live as it does.
                    *inner = unsafe { Inner::from_word(child) };
                    is_inner = true;
                }
            }
        }
    }

    /// Calls `visit` for each leaf with the part of it that is within the bounds, in order.
    pub(crate) fn walk(
        self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        window: Window,
        visit: &mut Visit<'_, 'a>,
    ) -> ControlFlow<()> {
        let inner = match self {
            Node::Leaf(leaf) => {
                if window.too_old(leaf.max_stamp()) || leaf.min_stamp() > window.at {
                    return ControlFlow::Continue(());
                }
                let (from, to) = leaf.range(lower, upper);
                return if from < to { visit(leaf, from..to) } else { ControlFlow::Continue(()) };
            }
            Node::Inner(inner) => inner,
        };
        let (first, last) = inner.range(lower, upper);
        for step in 0..(last + 1).saturating_sub(first) {
            let index = if reverse { last - step } else { first + step };
            if window.too_old(inner.max_stamp(index)) {
                continue;
            }
            let ahead = if reverse { index.wrapping_sub(1) } else { index + 1 };
            if (first..=last).contains(&ahead) {
                prefetch(pointer_in::<u8>(inner.child_word(ahead)));
            }
            let lower = if index == first { lower } else { Bound::Unbounded };
            let upper = if index == last { upper } else { Bound::Unbounded };
            Node::child(inner, index).walk(lower, upper, reverse, window, visit)?;
        }
        ControlFlow::Continue(())
    }

    /// Live keys within the bounds; looks inside the two leaves at the edges only.
    pub(crate) fn count(self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        let inner = match self {
            Node::Leaf(leaf) => {
                let (from, to) = leaf.range(lower, upper);
                return leaf.count_live(from..to);
            }
            Node::Inner(inner) => inner,
        };
        let (first, last) = inner.range(lower, upper);
        let mut live = 0;
        for index in first..last + 1 {
            let lower = if index == first { lower } else { Bound::Unbounded };
            let upper = if index == last { upper } else { Bound::Unbounded };
            live += match (lower, upper) {
                (Bound::Unbounded, Bound::Unbounded) => inner.live(index),
                _ => Node::child(inner, index).count(lower, upper),
            };
        }
        live
    }

    /// The newest stamp within the bounds if it is above `best`, else `best`.
    pub(crate) fn newest_stamp(self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, best: u64) -> u64 {
        let inner = match self {
            Node::Leaf(leaf) => {
                if leaf.max_stamp() <= best {
                    return best;
                }
                let (from, to) = leaf.range(lower, upper);
                (from..to).for_each(|index| leaf.prefetch(index));
                return (from..to).fold(best, |best, index| best.max(leaf.version(index).stamp()));
            }
            Node::Inner(inner) => inner,
        };
        let (first, last) = inner.range(lower, upper);
        let mut best = best;
        let look = |index: usize, best: u64| {
            let lower = if index == first { lower } else { Bound::Unbounded };
            let upper = if index == last { upper } else { Bound::Unbounded };
            Node::child(inner, index).newest_stamp(lower, upper, best)
        };
        // The most promising child first: mostly it makes looking into the others needless.
        let Some(promising) = (first..last + 1).max_by_key(|&index| inner.max_stamp(index)) else {
            return best;
        };
        if inner.max_stamp(promising) > best {
            best = look(promising, best);
        }
        for index in first..last + 1 {
            if index != promising && inner.max_stamp(index) > best {
                best = look(index, best);
            }
        }
        best
    }
}
