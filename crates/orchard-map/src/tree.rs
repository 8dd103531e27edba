//! The ordered index: a B+tree over the newest record of each entry.
//!
//! - All leaves are at one depth. A child's word has bit 0 set when it is an inner node.
//! - Each node that readers reach covers exactly its range of keys, also one that was replaced while
//!   they look at it: it then holds what it held at that moment. What a reader at `at` needs was
//!   applied before it chose `at`, hence before it loaded the root.
//! - A walk holds no state that a change could invalidate: it is a recursion over immutable ranges.

use std::ops::{Bound, ControlFlow, Range};

use crate::epoch::Epochs;
use crate::heads::Heads;
use crate::inner::{CHILDREN_MAX, Child, Inner, Parts};
use crate::leaf::{self, LEAF_KEYS_MAX, Leaf, common_prefix, set_heads, slot_word};
use crate::record::Version;
use crate::store::Store;
use crate::sync::{AtomicU64, Ordering, pointer_in, prefetch};

const INNER: u64 = 1;
/// A node with fewer keys or children joins a neighbour, if both fit in [`NODE_JOINED_MAX`].
const NODE_MIN: usize = LEAF_KEYS_MAX / 4;
const NODE_JOINED_MAX: usize = LEAF_KEYS_MAX * 3 / 4;

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
    unsafe fn from_word(word: u64) -> Self {
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
    fn child(inner: Inner<'a>, index: usize) -> Self {
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
}

/// Brings in what a binary search of a node will look at, at once rather than step by step.
#[inline(always)]
fn prefetch_node(word: u64) {
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

/// The writer's way down to one leaf, and its scratch space.
///
/// The borrowed nodes are the writer's own: they are used only between `descend` and the change of
/// the tree that follows it, and what that change retires is freed later.
#[derive(Default)]
pub(crate) struct TreeWriter {
    path: Vec<(Inner<'static>, usize)>,
    leaf: Option<Leaf<'static>>,
    slots: Vec<u64>,
    /// Taken by each level of a change for its own time.
    spare: Vec<Parts>,
}

// SAFETY: the nodes in `path` belong to the same writer; nothing is tied to a thread.
unsafe impl Send for TreeWriter {}

/// What a change of the tree works on.
pub(crate) struct Change<'c> {
    pub(crate) tree: &'c Tree,
    pub(crate) epochs: &'c Epochs,
    pub(crate) store: &'c mut Store,
}

impl TreeWriter {
    /// Goes down to the leaf whose range holds `key`.
    ///
    /// # Safety
    /// The caller is the writer of `tree`, and does not collect before the change that follows.
    pub(crate) unsafe fn descend(&mut self, tree: &Tree, key: &[u8]) {
        self.path.clear();
        self.leaf = None;
        // SAFETY: the writer's nodes are not freed before it collects.
        let mut node: Option<Node<'static>> = unsafe { tree.root() };
        while let Some(here) = node {
            node = match here {
                Node::Leaf(leaf) => {
                    self.leaf = Some(leaf);
                    None
                }
                Node::Inner(inner) => {
                    let index = inner.find(key);
                    self.path.push((inner, index));
                    let child = inner.child_word(index);
                    prefetch_node(child);
                    // SAFETY: an inner node's children live as it does.
                    Some(unsafe { Node::from_word(child) })
                }
            };
        }
    }

    fn leaf(&self) -> Leaf<'static> {
        let Some(leaf) = self.leaf else { unreachable!("a key that is in the map has a leaf") };
        leaf
    }

    fn account(&self, live: i64, stamp: u64) {
        for &(inner, index) in &self.path {
            inner.add_live(index, live);
            inner.raise_max_stamp(index, stamp);
        }
    }

    /// Makes the key of a descent lead from record `old` to record `new`.
    pub(crate) fn swap(&mut self, key: &[u8], old: Version<'_>, new: Version<'_>) {
        let leaf = self.leaf();
        let index = leaf.index_of(key, old.word());
        // The bounds first: who sees the new record must not skip its leaf.
        leaf.raise_max_stamp(new.stamp());
        self.account(i64::from(old.is_tombstone()) - i64::from(new.is_tombstone()), new.stamp());
        leaf.swap(index, new);
    }

    /// Inserts the record of a key that is not in the tree, after a descent to it.
    pub(crate) fn insert(&mut self, change: &mut Change<'_>, record: Version<'_>) {
        let (key, stamp) = (record.key(), record.stamp());
        let live = i64::from(!record.is_tombstone());
        self.account(live, stamp);
        let Some(leaf) = self.leaf else {
            let slots = [slot_word(record)];
            let word = leaf::build(&mut change.store.nodes, &slots, (key, Heads::PLAIN), stamp, stamp);
            return change.tree.root.store(word, Ordering::Release);
        };
        let (place, found) = leaf.search(key);
        debug_assert!(!found, "the key is in the tree already");
        let (min_stamp, max_stamp) = (leaf.min_stamp().min(stamp), leaf.max_stamp().max(stamp));
        let prefix = leaf.prefix();
        let slot = match key.strip_prefix(prefix) {
            Some(rest) if leaf.len() < LEAF_KEYS_MAX => {
                let slot = slot_word(record) | leaf::head_bits(leaf.heads(), rest);
                let word =
                    leaf::build_with(&mut change.store.nodes, leaf, (place, slot), min_stamp, max_stamp);
                self.replace_leaf(change, word);
                return change.store.retire_node(change.epochs, leaf.block(), leaf.block_bytes());
            }
            Some(rest) => slot_word(record) | leaf::head_bits(leaf.heads(), rest),
            None => slot_word(record),
        };
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        leaf.copy_slots(&mut slots);
        slots.insert(place, slot);
        let nodes = &mut change.store.nodes;
        if slots.len() <= LEAF_KEYS_MAX {
            // SAFETY: the writer builds leaves from its published records, and collects none before they are built.
            let start = unsafe { set_heads(&mut slots) };
            let word = leaf::build(nodes, &slots, start, min_stamp, max_stamp);
            self.replace_leaf(change, word);
        } else {
            // At an end keys probably come in order: then leave a full leaf behind.
            let middle = match place {
                0 => 1,
                _ if place == slots.len() - 1 => place,
                _ if key.starts_with(prefix) => leaf::middle(&slots),
                _ => slots.len() / 2,
            };
            let (left, right) = slots.split_at_mut(middle);
            let halves = [left, right].map(|half| {
                // SAFETY: the writer builds leaves from its published records, and collects none before they are built.
                let start = unsafe { set_heads(half) };
                Child {
                    word: leaf::build(nodes, half, start, min_stamp, max_stamp),
                    live: half.iter().map(|slot| u64::from(slot & leaf::DEAD == 0)).sum(),
                    max_stamp,
                }
            });
            // SAFETY: a leaf's slots hold published records of the writer.
            let (last, first) =
                unsafe { (Version::from_word(slots[middle - 1]), Version::from_word(slots[middle])) };
            let separator = separator(last.key(), first.key());
            match self.path.len() {
                0 => self.set_root(change, &halves, separator),
                depth => {
                    let index = self.path[depth - 1].1;
                    self.replace_children(change, depth - 1, index..index + 1, &halves, separator);
                }
            }
        }
        self.slots = slots;
        change.store.retire_node(change.epochs, leaf.block(), leaf.block_bytes());
    }

    /// Takes out the key of a descent, whose newest record is `old`.
    pub(crate) fn remove(&mut self, change: &mut Change<'_>, old: Version<'_>) {
        let leaf = self.leaf();
        let place = leaf.index_of(old.key(), old.word());
        self.account(-i64::from(!old.is_tombstone()), 0);
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        leaf.copy_slots(&mut slots);
        slots.remove(place);
        let parent = self.path.last().copied();
        let neighbour = parent.and_then(|(parent, index)| {
            (slots.len() < NODE_MIN).then_some(())?;
            let on_right = index + 1 < parent.len();
            let at = if on_right { index + 1 } else { index.checked_sub(1)? };
            let Node::Leaf(other) = Node::child(parent, at) else { return None };
            (other.len() + slots.len() <= NODE_JOINED_MAX).then_some((other, on_right, at.min(index)))
        });
        if let Some((other, on_right, first)) = neighbour {
            let (parent, _) = parent.unwrap_or_else(|| unreachable!());
            if on_right {
                other.copy_slots(&mut slots);
            } else {
                let mut all = Vec::with_capacity(LEAF_KEYS_MAX);
                other.copy_slots(&mut all);
                all.append(&mut slots);
                slots = all;
            }
            // SAFETY: the writer builds leaves from its published records, and collects none before they are built.
            let start = unsafe { set_heads(&mut slots) };
            let (min_stamp, max_stamp) =
                (leaf.min_stamp().min(other.min_stamp()), leaf.max_stamp().max(other.max_stamp()));
            let nodes = &mut change.store.nodes;
            let joined = Child {
                word: leaf::build(nodes, &slots, start, min_stamp, max_stamp),
                live: parent.live(first) + parent.live(first + 1),
                max_stamp,
            };
            let depth = self.path.len();
            self.replace_children(change, depth - 1, first..first + 2, &[joined], &[]);
            change.store.retire_node(change.epochs, other.block(), other.block_bytes());
        } else if !slots.is_empty() {
            let nodes = &mut change.store.nodes;
            let start = (leaf.prefix(), leaf.heads());
            let word = leaf::build(nodes, &slots, start, leaf.min_stamp(), leaf.max_stamp());
            self.replace_leaf(change, word);
        } else {
            match self.path.len() {
                0 => change.tree.root.store(0, Ordering::Release),
                depth => {
                    let index = self.path[depth - 1].1;
                    self.replace_children(change, depth - 1, index..index + 1, &[], &[]);
                }
            }
        }
        self.slots = slots;
        change.store.retire_node(change.epochs, leaf.block(), leaf.block_bytes());
    }

    fn replace_leaf(&mut self, change: &mut Change<'_>, word: u64) {
        match self.path.last() {
            Some(&(parent, index)) => parent.set_child(index, word),
            None => change.tree.root.store(word, Ordering::Release),
        }
    }

    /// Makes a new root above two nodes.
    fn set_root(&mut self, change: &mut Change<'_>, children: &[Child; 2], separator: &[u8]) {
        let mut parts = self.spare.pop().unwrap_or_default();
        parts.clear();
        parts.push(children[0]);
        parts.push_separator(separator);
        parts.push(children[1]);
        let root = parts.build(&mut change.store.nodes, 0..2);
        change.tree.root.store(root.word | INNER, Ordering::Release);
        self.spare.push(parts);
    }

    /// Puts `new` (none, one, or two around `separator`) in the place of children `range` of the
    /// node at `level` of the path, and does whatever that makes necessary above.
    fn replace_children(
        &mut self,
        change: &mut Change<'_>,
        level: usize,
        range: Range<usize>,
        new: &[Child],
        separator: &[u8],
    ) {
        let (inner, _) = self.path[level];
        if let (&[left, right], 1) = (new, range.len())
            && let Some(word) =
                inner.with_split(&mut change.store.nodes, range.start, &[left, right], separator)
        {
            match level.checked_sub(1).map(|above| self.path[above]) {
                Some((parent, index)) => parent.set_child(index, word | INNER),
                None => change.tree.root.store(word | INNER, Ordering::Release),
            }
            return change.store.retire_node(change.epochs, inner.block(), inner.block_bytes());
        }
        let mut parts = self.spare.pop().unwrap_or_default();
        parts.clear();
        parts.push_children(inner, 0..range.start, false);
        for (place, &child) in new.iter().enumerate() {
            if place > 0 {
                parts.push_separator(separator);
            } else if range.start > 0 {
                parts.push_separator_of(inner, range.start - 1);
            }
            parts.push(child);
        }
        parts.push_children(inner, range.end..inner.len(), false);
        self.put_inner(change, level, &mut parts);
        self.spare.push(parts);
        change.store.retire_node(change.epochs, inner.block(), inner.block_bytes());
    }

    /// Puts the node of `parts` in the place of the node at `level` of the path.
    fn put_inner(&mut self, change: &mut Change<'_>, level: usize, parts: &mut Parts) {
        let len = parts.children.len();
        if len > CHILDREN_MAX {
            let middle = if parts.children.len() > 2 { len / 2 } else { 1 };
            let nodes = &mut change.store.nodes;
            let halves = [0..middle, middle..len].map(|range| {
                let half = parts.build(nodes, range);
                Child { word: half.word | INNER, ..half }
            });
            let separator = parts.separator(middle - 1);
            if level == 0 {
                return self.set_root(change, &halves, separator);
            }
            let index = self.path[level - 1].1;
            return self.replace_children(change, level - 1, index..index + 1, &halves, separator);
        }
        if level == 0 {
            let root = match len {
                0 => 0,
                1 => parts.children[0].word,
                _ => parts.build(&mut change.store.nodes, 0..len).word | INNER,
            };
            return change.tree.root.store(root, Ordering::Release);
        }
        let (parent, index) = self.path[level - 1];
        if len == 0 {
            return self.replace_children(change, level - 1, index..index + 1, &[], &[]);
        }
        if len < NODE_MIN && parent.len() > 1 {
            let on_right = index + 1 < parent.len();
            let (first, at) = if on_right { (index, index + 1) } else { (index - 1, index - 1) };
            if let Node::Inner(other) = Node::child(parent, at)
                && other.len() + len <= NODE_JOINED_MAX.min(CHILDREN_MAX)
            {
                if on_right {
                    parts.push_separator_of(parent, index);
                    parts.push_children(other, 0..other.len(), true);
                } else {
                    let mut all = Parts::default();
                    all.push_children(other, 0..other.len(), false);
                    all.push_separator_of(parent, first);
                    for (place, &child) in parts.children.iter().enumerate() {
                        if place > 0 {
                            all.push_separator(parts.separator(place - 1));
                        }
                        all.push(child);
                    }
                    *parts = all;
                }
                let joined = parts.build(&mut change.store.nodes, 0..parts.children.len());
                let joined = Child { word: joined.word | INNER, ..joined };
                self.replace_children(change, level - 1, first..first + 2, &[joined], &[]);
                change.store.retire_node(change.epochs, other.block(), other.block_bytes());
                return;
            }
        }
        let node = parts.build(&mut change.store.nodes, 0..len);
        parent.set_child(index, node.word | INNER);
    }

    /// Builds the tree of sorted records, whose words are given, in full nodes. The tree is empty.
    pub(crate) fn fill(&mut self, change: &mut Change<'_>, records: &[u64]) {
        debug_assert_eq!(change.tree.root.load(Ordering::Relaxed), 0);
        // SAFETY: the words are of published records of the writer.
        let version = |word: u64| unsafe { Version::from_word(word) };
        let mut level: Vec<Child> = Vec::with_capacity(records.len().div_ceil(LEAF_KEYS_MAX));
        // The separator before each node of the level but the first.
        let mut separators: Vec<Box<[u8]>> = Vec::new();
        let mut before: Option<Version<'_>> = None;
        for records in records.chunks(LEAF_KEYS_MAX) {
            self.slots.clear();
            let (mut min_stamp, mut max_stamp, mut live) = (u64::MAX, 0, 0);
            for &word in records {
                let record = version(word);
                self.slots.push(slot_word(record));
                min_stamp = min_stamp.min(record.stamp());
                max_stamp = max_stamp.max(record.stamp());
                live += u64::from(!record.is_tombstone());
            }
            // SAFETY: the writer builds leaves from its published records, and collects none before they are built.
            let start = unsafe { set_heads(&mut self.slots) };
            let (first, last) = (version(records[0]), version(records[records.len() - 1]));
            let word = leaf::build(&mut change.store.nodes, &self.slots, start, min_stamp, max_stamp);
            if let Some(before) = before {
                separators.push(separator(before.key(), first.key()).into());
            }
            before = Some(last);
            level.push(Child { word, live, max_stamp });
        }
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len().div_ceil(CHILDREN_MAX));
            let mut separators_above = Vec::new();
            for (group, children) in level.chunks(CHILDREN_MAX).enumerate() {
                let mut parts = Parts::default();
                for (place, &child) in children.iter().enumerate() {
                    let index = group * CHILDREN_MAX + place;
                    if place > 0 {
                        parts.push_separator(&separators[index - 1]);
                    } else if index > 0 {
                        separators_above.push(std::mem::take(&mut separators[index - 1]));
                    }
                    parts.push(child);
                }
                let node = parts.build(&mut change.store.nodes, 0..children.len());
                above.push(Child { word: node.word | INNER, ..node });
            }
            level = above;
            separators = separators_above;
        }
        if let Some(root) = level.first() {
            change.tree.root.store(root.word, Ordering::Release);
        }
    }
}

/// The shortest start of `right` that is greater than `left`, its predecessor.
fn separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    &right[..common_prefix(left, right) + 1]
}
