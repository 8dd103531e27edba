//! Changing the ordered index: leaves and inner nodes are built anew where keys come and go, and joined or split where that
//! makes them too small or too large.

use std::ops::Range;

use crate::epoch::Epochs;
use crate::heads::Heads;
use crate::inner::{CHILDREN_MAX, Child, Inner, Parts};
use crate::leaf::{self, LEAF_KEYS_MAX, Leaf, common_prefix, set_heads, slot_word};
use crate::record::Version;
use crate::store::Store;
use crate::tree::{INNER, Node, Tree};
use crate::way::Way;

/// A node with fewer keys or children joins a neighbour, if both fit in [`NODE_JOINED_MAX`].
const NODE_MIN: usize = LEAF_KEYS_MAX / 4;
const NODE_JOINED_MAX: usize = LEAF_KEYS_MAX * 3 / 4;

/// The writer's scratch space.
#[derive(Default)]
pub(crate) struct TreeWriter {
    slots: Vec<u64>,
    /// Taken by each level of a change for its own time.
    spare: Vec<Parts>,
}

/// What a change of the tree works on.
pub(crate) struct Change<'c> {
    pub(crate) tree: &'c Tree,
    pub(crate) epochs: &'c Epochs,
    pub(crate) store: &'c mut Store,
}

impl Change<'_> {
    fn retire_leaf(&mut self, leaf: Leaf<'_>) {
        leaf.set_replaced();
        self.store.retire_node(self.epochs, leaf.block(), leaf.block_bytes());
    }

    fn retire_inner(&mut self, inner: Inner<'_>) {
        inner.set_replaced();
        self.store.retire_node(self.epochs, inner.block(), inner.block_bytes());
    }
}

impl TreeWriter {
    fn index_of(leaf: Leaf<'_>, key: &[u8], newest: Version<'_>) -> usize {
        let Some(index) = leaf.find(key, newest.word()) else {
            unreachable!("the index holds each entry's newest record")
        };
        index
    }

    #[inline(always)]
    fn account(way: &Way<'_>, live: i64, stamp: u64) {
        for (inner, index) in way.steps() {
            inner.add_live(index, live);
            inner.raise_max_stamp(index, stamp);
        }
    }

    /// Makes a key lead from record `old` to record `new`. Its index in the leaf is probably `index`.
    #[inline(always)]
    pub(crate) fn swap(
        way: &Way<'_>,
        key: &[u8],
        (old, new): (Version<'_>, Version<'_>),
        index: Option<usize>,
    ) {
        let Some(leaf) = way.leaf() else { unreachable!("a key that is in the map has a leaf") };
        let index = index.filter(|&index| leaf.leads_to(index, old.word()));
        let index = index.unwrap_or_else(|| Self::index_of(leaf, key, old));
        // The bounds first: who sees the new record must not skip its leaf.
        leaf.raise_max_stamp(new.stamp());
        Self::account(way, i64::from(old.is_tombstone()) - i64::from(new.is_tombstone()), new.stamp());
        leaf.swap(index, new);
    }

    /// Inserts the record of a key that is not in the tree.
    pub(crate) fn insert(&mut self, change: &mut Change<'_>, way: &Way<'_>, record: Version<'_>) {
        let (key, stamp) = (record.key(), record.stamp());
        let live = i64::from(!record.is_tombstone());
        let Some(leaf) = way.leaf() else {
            let slots = [slot_word(record)];
            let word = leaf::build(&mut change.store.nodes, &slots, (key, Heads::PLAIN), stamp, stamp);
            return change.tree.set_root(word);
        };
        Self::account(way, live, stamp);
        let (place, found) = leaf.search(key);
        debug_assert!(!found, "the key is in the tree already");
        let (min_stamp, max_stamp) = (leaf.min_stamp().min(stamp), leaf.max_stamp().max(stamp));
        let prefix = leaf.prefix();
        let slot = match key.strip_prefix(prefix) {
            Some(rest) if leaf.len() < LEAF_KEYS_MAX => {
                let slot = slot_word(record) | leaf::head_bits(leaf.heads(), rest);
                let word =
                    leaf::build_with(&mut change.store.nodes, leaf, (place, slot), min_stamp, max_stamp);
                Self::replace_leaf(change, way, word);
                return change.retire_leaf(leaf);
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
            // SAFETY: the writer builds leaves from its published records, and none of them is freed before they are built.
            let start = unsafe { set_heads(&mut slots) };
            let word = leaf::build(nodes, &slots, start, min_stamp, max_stamp);
            Self::replace_leaf(change, way, word);
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
                // SAFETY: the writer builds leaves from its published records, and none of them is freed before they are built.
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
            match way.parent() {
                None => self.set_root(change, &halves, separator),
                Some((_, index)) => {
                    let place = (way.depth() - 1, index..index + 1);
                    self.replace_children(change, way, place, &halves, separator);
                }
            }
        }
        self.slots = slots;
        change.retire_leaf(leaf);
    }

    /// Takes out the key whose newest record is `old`.
    pub(crate) fn remove(&mut self, change: &mut Change<'_>, way: &Way<'_>, old: Version<'_>) {
        let Some(leaf) = way.leaf() else { unreachable!("a key that is in the map has a leaf") };
        let place = Self::index_of(leaf, old.key(), old);
        Self::account(way, -i64::from(!old.is_tombstone()), 0);
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        leaf.copy_slots(&mut slots);
        slots.remove(place);
        let parent = way.parent();
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
            // SAFETY: the writer builds leaves from its published records, and none of them is freed before they are built.
            let start = unsafe { set_heads(&mut slots) };
            let (min_stamp, max_stamp) =
                (leaf.min_stamp().min(other.min_stamp()), leaf.max_stamp().max(other.max_stamp()));
            let nodes = &mut change.store.nodes;
            let joined = Child {
                word: leaf::build(nodes, &slots, start, min_stamp, max_stamp),
                live: parent.live(first) + parent.live(first + 1),
                max_stamp,
            };
            self.replace_children(change, way, (way.depth() - 1, first..first + 2), &[joined], &[]);
            change.retire_leaf(other);
        } else if !slots.is_empty() {
            let nodes = &mut change.store.nodes;
            let start = (leaf.prefix(), leaf.heads());
            let word = leaf::build(nodes, &slots, start, leaf.min_stamp(), leaf.max_stamp());
            Self::replace_leaf(change, way, word);
        } else {
            match parent {
                None => change.tree.set_root(0),
                Some((_, index)) => {
                    self.replace_children(change, way, (way.depth() - 1, index..index + 1), &[], &[]);
                }
            }
        }
        self.slots = slots;
        change.retire_leaf(leaf);
    }

    fn replace_leaf(change: &mut Change<'_>, way: &Way<'_>, word: u64) {
        Self::replace_node(change, way.parent(), word);
    }

    /// Puts another node of the same range in the place of a child, or of the root.
    fn replace_node(change: &mut Change<'_>, parent: Option<(Inner<'_>, usize)>, word: u64) {
        match parent {
            Some((parent, index)) => parent.set_child(index, word),
            None => change.tree.set_root(word),
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
        change.tree.set_root(root.word | INNER);
        self.spare.push(parts);
    }

    /// Puts `new` (none, one, or two around `separator`) in the place of some children of the
    /// node at a level of the way, and does whatever that makes necessary above.
    fn replace_children(
        &mut self,
        change: &mut Change<'_>,
        way: &Way<'_>,
        (level, range): (usize, Range<usize>),
        new: &[Child],
        separator: &[u8],
    ) {
        let Some((inner, _)) = way.step(level) else { unreachable!("the way has so many levels") };
        if let (&[left, right], 1) = (new, range.len())
            && let Some(word) =
                inner.with_split(&mut change.store.nodes, range.start, &[left, right], separator)
        {
            Self::replace_node(change, level.checked_sub(1).and_then(|above| way.step(above)), word | INNER);
            return change.retire_inner(inner);
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
        self.put_inner(change, way, level, &mut parts);
        self.spare.push(parts);
        change.retire_inner(inner);
    }

    /// Puts the node of `parts` in the place of the node at `level` of the way.
    fn put_inner(&mut self, change: &mut Change<'_>, way: &Way<'_>, level: usize, parts: &mut Parts) {
        let len = parts.children.len();
        let above = level.checked_sub(1).and_then(|above| Some((above, way.step(above)?)));
        if len > CHILDREN_MAX {
            let middle = if parts.children.len() > 2 { len / 2 } else { 1 };
            let nodes = &mut change.store.nodes;
            let halves = [0..middle, middle..len].map(|range| {
                let half = parts.build(nodes, range);
                Child { word: half.word | INNER, ..half }
            });
            let separator = parts.separator(middle - 1);
            let Some((above, (_, index))) = above else {
                return self.set_root(change, &halves, separator);
            };
            return self.replace_children(change, way, (above, index..index + 1), &halves, separator);
        }
        let Some((above, (parent, index))) = above else {
            let root = match len {
                0 => 0,
                1 => parts.children[0].word,
                _ => parts.build(&mut change.store.nodes, 0..len).word | INNER,
            };
            return change.tree.set_root(root);
        };
        if len == 0 {
            return self.replace_children(change, way, (above, index..index + 1), &[], &[]);
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
                self.replace_children(change, way, (above, first..first + 2), &[joined], &[]);
                change.retire_inner(other);
                return;
            }
        }
        let node = parts.build(&mut change.store.nodes, 0..len);
        parent.set_child(index, node.word | INNER);
    }

    /// Builds the tree of sorted records, whose words are given, in full nodes. The tree is empty.
    pub(crate) fn fill(&mut self, change: &mut Change<'_>, records: &[u64]) {
        // SAFETY: only looked at.
        debug_assert!(unsafe { change.tree.root() }.is_none());
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
            // SAFETY: the writer builds leaves from its published records, and none of them is freed before they are built.
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
            change.tree.set_root(root.word);
        }
    }
}

/// The shortest start of `right` that is greater than `left`, its predecessor.
fn separator<'k>(left: &[u8], right: &'k [u8]) -> &'k [u8] {
    &right[..common_prefix(left, right) + 1]
}
