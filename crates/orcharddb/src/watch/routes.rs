//! Which watchers a change concerns: single keys by hash, ranges by their order. What a change costs depends on the
//! watchers that it concerns, not on those that there are.

use super::intervals::Intervals;
use bytes::Bytes;
use orchard_types::{KeyRange, Mutation, Operation, SpaceId};
use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

/// What somebody watches: a range of keys of one space. A single key is a range of one.
///
/// ```
/// use orcharddb::{KeyRange, SpaceId, WatchTarget};
/// let one = WatchTarget::key(SpaceId::DEFAULT, b"apple");
/// let many = WatchTarget { space: SpaceId::DEFAULT, range: KeyRange::prefix(b"app") };
/// assert!(one.range.contains(b"apple") && !one.range.contains(b"apple pie"));
/// assert!(many.range.contains(b"apple pie"));
/// ```
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchTarget {
    /// The space.
    pub space: SpaceId,
    /// The keys.
    pub range: KeyRange,
}

impl WatchTarget {
    /// One key.
    pub fn key(space: SpaceId, key: &[u8]) -> WatchTarget {
        let mut end = Vec::with_capacity(key.len() + 1);
        end.extend_from_slice(key);
        end.push(0);
        let all = Bytes::from(end);
        let range = KeyRange { start: all.slice(..key.len()), end: Some(all) };
        WatchTarget { space, range }
    }

    /// All keys of a space.
    pub fn space(space: SpaceId) -> WatchTarget {
        WatchTarget { space, range: KeyRange::all() }
    }

    /// The key, if it is a single one.
    fn single(&self) -> Option<&Bytes> {
        let end = self.range.end.as_ref()?;
        let is_single = end.strip_prefix(self.range.start.as_ref()) == Some(&[0]);
        is_single.then_some(&self.range.start)
    }
}

/// The keys that a change touches.
pub(crate) enum Touched<'a> {
    Key(&'a [u8]),
    Range(KeyRange),
}

/// What a mutation touches, as it stands in the log.
pub(crate) fn touched(mutation: &Mutation) -> Touched<'_> {
    match &mutation.operation {
        Operation::DeleteRange { end } => {
            Touched::Range(KeyRange { start: mutation.key.clone().into_bytes(), end: end.clone() })
        }
        _ => Touched::Key(&mutation.key),
    }
}

/// The routes of one space.
#[derive(Default)]
struct Space {
    keys: HashMap<Bytes, Vec<u64>>,
    /// The same keys in order, for deletes of whole ranges.
    ordered: BTreeSet<Bytes>,
    ranges: Intervals,
}

/// The routes of all spaces, by id of the watcher. A watcher may have several targets, but none twice.
#[derive(Default)]
pub(crate) struct Routes {
    spaces: HashMap<SpaceId, Space>,
}

impl Routes {
    /// Adds a target of watcher `id`.
    pub(crate) fn insert(&mut self, target: &WatchTarget, id: u64) {
        if target.range.is_empty() {
            return;
        }
        let space = self.spaces.entry(target.space).or_default();
        match target.single() {
            Some(key) => {
                let ids = space.keys.entry(key.clone()).or_default();
                if ids.is_empty() {
                    space.ordered.insert(key.clone());
                }
                ids.push(id);
            }
            None => space.ranges.insert(target.range.clone(), id),
        }
    }

    /// Takes a target of watcher `id` out.
    pub(crate) fn remove(&mut self, target: &WatchTarget, id: u64) {
        if target.range.is_empty() {
            return;
        }
        let Some(space) = self.spaces.get_mut(&target.space) else { return };
        match target.single() {
            Some(key) => {
                if let Some(ids) = space.keys.get_mut(key) {
                    if let Some(at) = ids.iter().position(|other| *other == id) {
                        ids.swap_remove(at);
                    }
                    if ids.is_empty() {
                        space.keys.remove(key);
                        space.ordered.remove(key);
                    }
                }
            }
            None => space.ranges.remove(&target.range.start, id),
        }
        if space.keys.is_empty() && space.ranges.is_empty() {
            self.spaces.remove(&target.space);
        }
    }

    /// The watchers that a change concerns; one may come more than once.
    pub(crate) fn concerned(&self, space: SpaceId, touched: &Touched<'_>, mut found: impl FnMut(u64)) {
        let Some(space) = self.spaces.get(&space) else { return };
        match touched {
            Touched::Key(key) => {
                space.keys.get(*key).into_iter().flatten().for_each(|id| found(*id));
                space.ranges.holding(key, found);
            }
            Touched::Range(range) => {
                let upper = range.end.as_ref().map_or(Bound::Unbounded, |end| Bound::Excluded(end.clone()));
                if !range.is_empty() {
                    for key in space.ordered.range((Bound::Included(range.start.clone()), upper)) {
                        space.keys.get(key).into_iter().flatten().for_each(|id| found(*id));
                    }
                }
                space.ranges.overlapping(range, found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn concerned(routes: &Routes, space: u32, touched: &Touched<'_>) -> Vec<u64> {
        let mut found = Vec::new();
        routes.concerned(SpaceId(space), touched, |id| found.push(id));
        found.sort_unstable();
        found
    }

    #[test]
    fn keys_and_ranges_find_their_watchers() {
        let mut routes = Routes::default();
        let key = WatchTarget::key(SpaceId(0), b"ab");
        let prefix = WatchTarget { space: SpaceId(0), range: KeyRange::prefix(b"a") };
        routes.insert(&key, 1);
        routes.insert(&prefix, 2);
        routes.insert(&WatchTarget::key(SpaceId(1), b"ab"), 3);
        routes.insert(&WatchTarget::key(SpaceId(0), b"ab"), 4);
        assert_eq!(concerned(&routes, 0, &Touched::Key(b"ab")), [1, 2, 4]);
        assert_eq!(concerned(&routes, 0, &Touched::Key(b"ab\0")), [2]);
        assert_eq!(concerned(&routes, 1, &Touched::Key(b"ab")), [3]);
        assert_eq!(concerned(&routes, 2, &Touched::Key(b"ab")), [0u64; 0]);
        let from_b = KeyRange { start: Bytes::from_static(b"b"), end: None };
        assert_eq!(concerned(&routes, 0, &Touched::Range(from_b)), [0u64; 0]);
        assert_eq!(concerned(&routes, 0, &Touched::Range(KeyRange::all())), [1, 2, 4]);
        routes.remove(&key, 1);
        routes.remove(&prefix, 2);
        assert_eq!(concerned(&routes, 0, &Touched::Range(KeyRange::all())), [4]);
        routes.remove(&key, 4);
        routes.remove(&key, 3);
        assert_eq!(routes.spaces.len(), 1, "empty spaces go");
    }
}
