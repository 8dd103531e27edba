//! Ranges of keys by what they contain: a treap in order of the starts, each node with the furthest end below it.
//!
//! Finding the ranges that hold a key costs O(log n) and the matches, however the ranges overlap.

use bytes::Bytes;
use orchard_types::KeyRange;

/// Ranges with the ids of those who watch them.
#[derive(Default)]
pub(super) struct Intervals {
    root: Link,
    len: usize,
}

type Link = Option<Box<Node>>;

struct Node {
    range: KeyRange,
    id: u64,
    priority: u64,
    /// The furthest end of this node and all below it; `None`: no end.
    furthest: Option<Bytes>,
    left: Link,
    right: Link,
}

/// Whether something that ends at `end` reaches over `key`.
fn reaches(end: Option<&Bytes>, key: &[u8]) -> bool {
    end.is_none_or(|end| end.as_ref() > key)
}

impl Node {
    fn order(&self) -> (&[u8], u64) {
        (&self.range.start, self.id)
    }

    fn refresh(&mut self) {
        let mut furthest = self.range.end.clone();
        for child in [&self.left, &self.right].into_iter().flatten() {
            furthest = match (furthest, &child.furthest) {
                (Some(mine), Some(below)) => Some(mine.max(below.clone())),
                _ => None,
            };
        }
        self.furthest = furthest;
    }
}

/// What lies before `order` in `link`, and the rest.
fn split(link: Link, order: (&[u8], u64)) -> (Link, Link) {
    let Some(mut node) = link else { return (None, None) };
    if node.order() < order {
        let (left, right) = split(node.right.take(), order);
        node.right = left;
        node.refresh();
        (Some(node), right)
    } else {
        let (left, right) = split(node.left.take(), order);
        node.left = right;
        node.refresh();
        (left, Some(node))
    }
}

/// One tree of two, the first of which lies before the second.
fn join(left: Link, right: Link) -> Link {
    match (left, right) {
        (None, other) | (other, None) => other,
        (Some(mut left), Some(mut right)) => Some(if left.priority >= right.priority {
            left.right = join(left.right.take(), Some(right));
            left.refresh();
            left
        } else {
            right.left = join(Some(left), right.left.take());
            right.refresh();
            right
        }),
    }
}

fn remove(link: &mut Link, order: (&[u8], u64)) -> bool {
    let Some(node) = link else { return false };
    let found = match order.cmp(&node.order()) {
        std::cmp::Ordering::Less => remove(&mut node.left, order),
        std::cmp::Ordering::Greater => remove(&mut node.right, order),
        std::cmp::Ordering::Equal => {
            *link = join(node.left.take(), node.right.take());
            return true;
        }
    };
    node.refresh();
    found
}

fn visit(link: &Link, first: &[u8], last: Last<'_>, found: &mut impl FnMut(u64)) {
    let Some(node) = link else { return };
    if !reaches(node.furthest.as_ref(), first) {
        return;
    }
    visit(&node.left, first, last, found);
    let begins = match last {
        Last::Included(key) => node.range.start.as_ref() <= key,
        Last::Excluded(key) => node.range.start.as_ref() < key,
        Last::Unbounded => true,
    };
    if begins {
        if reaches(node.range.end.as_ref(), first) {
            found(node.id);
        }
        visit(&node.right, first, last, found);
    }
}

#[derive(Clone, Copy)]
enum Last<'a> {
    Included(&'a [u8]),
    Excluded(&'a [u8]),
    Unbounded,
}

impl Intervals {
    /// Adds a range; the pair of its start and `id` is new.
    pub fn insert(&mut self, range: KeyRange, id: u64) {
        // Priorities need only be spread, and the same for the same id.
        let priority = (id ^ id >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(31);
        let priority = priority.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let furthest = range.end.clone();
        let node = Node { range, id, priority, furthest, left: None, right: None };
        let (before, behind) = split(self.root.take(), node.order());
        self.root = join(join(before, Some(Box::new(node))), behind);
        self.len += 1;
    }

    /// Takes a range out.
    pub fn remove(&mut self, start: &[u8], id: u64) {
        if remove(&mut self.root, (start, id)) {
            self.len -= 1;
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ids of the ranges that hold `key`.
    pub fn holding(&self, key: &[u8], mut found: impl FnMut(u64)) {
        visit(&self.root, key, Last::Included(key), &mut found);
    }

    /// The ids of the ranges that have a key in common with `range`.
    pub fn overlapping(&self, range: &KeyRange, mut found: impl FnMut(u64)) {
        if !range.is_empty() {
            let last = range.end.as_ref().map_or(Last::Unbounded, |end| Last::Excluded(end));
            visit(&self.root, &range.start, last, &mut found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0u8..4, 0..3)
    }

    fn depth(link: &Link) -> usize {
        link.as_ref().map_or(0, |node| 1 + depth(&node.left).max(depth(&node.right)))
    }

    proptest! {
        #[test]
        fn finds_what_a_list_finds(
            steps in prop::collection::vec((key(), prop::option::of(key()), any::<bool>()), 0..60),
            asked in prop::collection::vec((key(), prop::option::of(key())), 1..20),
        ) {
            let mut intervals = Intervals::default();
            let mut list: BTreeMap<u64, KeyRange> = BTreeMap::new();
            for (id, (start, end, removes)) in (0u64..).zip(steps) {
                if removes && let Some((id, range)) = list.pop_first() {
                    intervals.remove(&range.start, id);
                } else {
                    let range = KeyRange { start: start.into(), end: end.map(Bytes::from) };
                    if !range.is_empty() {
                        intervals.insert(range.clone(), id);
                        list.insert(id, range);
                    }
                }
            }
            prop_assert_eq!(intervals.is_empty(), list.is_empty());
            for (key, end) in asked {
                let mut found = Vec::new();
                intervals.holding(&key, |id| found.push(id));
                found.sort_unstable();
                let expected: Vec<u64> =
                    list.iter().filter(|(_, range)| range.contains(&key)).map(|(id, _)| *id).collect();
                prop_assert_eq!(found, expected);
                let asked = KeyRange { start: key.into(), end: end.map(Bytes::from) };
                let mut found = Vec::new();
                intervals.overlapping(&asked, |id| found.push(id));
                found.sort_unstable();
                let common = |range: &KeyRange| {
                    let ends = |end: &Option<Bytes>, start: &Bytes| end.as_ref().is_none_or(|end| end > start);
                    !asked.is_empty() && ends(&range.end, &asked.start) && ends(&asked.end, &range.start)
                };
                let expected: Vec<u64> =
                    list.iter().filter(|(_, range)| common(range)).map(|(id, _)| *id).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }

    #[test]
    fn many_ranges_in_order_stay_shallow() {
        let mut intervals = Intervals::default();
        for id in 0..20_000u64 {
            intervals.insert(KeyRange::prefix(&id.to_be_bytes()), id);
        }
        assert!(depth(&intervals.root) < 60, "{}", depth(&intervals.root));
        let mut found = Vec::new();
        intervals.holding(&[0, 0, 0, 0, 0, 0, 1, 0, 9], |id| found.push(id));
        assert_eq!(found, [256]);
    }
}
