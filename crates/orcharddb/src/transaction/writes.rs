//! The pending writes of a transaction by key: a few in a row, many in a tree.
//!
//! - Most transactions write one key or two, and for those a row costs one small piece of memory and no search.
//! - At most one of the two holds something; a row that would grow past [`ROW_MAX`] becomes a tree.

use super::overlay::Write;
use orchard_types::{Key, SpaceId};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Writes in a row at most; more would be moved too often.
const ROW_MAX: usize = 16;
/// Room that a row begins with.
const ROW_MIN: usize = 3;

type Place = (SpaceId, Key);

/// See the module's text.
#[derive(Default)]
pub(super) struct Writes {
    /// In order.
    row: Vec<(Place, Write)>,
    tree: BTreeMap<Place, Write>,
}

impl Writes {
    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty() && self.tree.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.row.len() + self.tree.len()
    }

    /// Where a key stands in the row, or where it would.
    fn find(&self, space: SpaceId, key: &Key) -> Result<usize, usize> {
        // From the end: elements of one collection come after its header, and mostly in order.
        for (at, (place, _)) in self.row.iter().enumerate().rev() {
            match (place.0, &place.1).cmp(&(space, key)) {
                std::cmp::Ordering::Less => return Err(at + 1),
                std::cmp::Ordering::Equal => return Ok(at),
                std::cmp::Ordering::Greater => {}
            }
        }
        Err(0)
    }

    pub(super) fn get(&self, space: SpaceId, key: &Key) -> Option<&Write> {
        if self.tree.is_empty() {
            let at = self.find(space, key).ok()?;
            return self.row.get(at).map(|(_, write)| write);
        }
        self.tree.get(&(space, key.clone()))
    }

    pub(super) fn insert(&mut self, space: SpaceId, key: Key, write: Write) {
        if !self.tree.is_empty() {
            self.tree.insert((space, key), write);
            return;
        }
        match self.find(space, &key) {
            Ok(at) => {
                if let Some((_, old)) = self.row.get_mut(at) {
                    *old = write;
                }
            }
            Err(_) if self.row.len() == ROW_MAX => {
                self.tree.extend(self.row.drain(..));
                self.tree.insert((space, key), write);
            }
            Err(at) => {
                if self.row.is_empty() {
                    self.row.reserve_exact(ROW_MIN);
                }
                self.row.insert(at, ((space, key), write));
            }
        }
    }

    pub(super) fn remove(&mut self, space: SpaceId, key: &Key) {
        match self.find(space, key) {
            Ok(at) => drop(self.row.remove(at)),
            Err(_) => drop(self.tree.remove(&(space, key.clone()))),
        }
    }

    /// Every write.
    pub(super) fn values(&self) -> impl Iterator<Item = &Write> {
        self.row.iter().map(|(_, write)| write).chain(self.tree.values())
    }

    /// The writes between two bounds, in order. The range is not empty.
    pub(super) fn range(
        &self,
        lower: Bound<Place>,
        upper: Bound<Place>,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Write)> {
        let start = match &lower {
            Bound::Included(lower) => self.row.partition_point(|(place, _)| place < lower),
            Bound::Excluded(lower) => self.row.partition_point(|(place, _)| place <= lower),
            Bound::Unbounded => 0,
        };
        let end = match &upper {
            Bound::Included(upper) => self.row.partition_point(|(place, _)| place <= upper),
            Bound::Excluded(upper) => self.row.partition_point(|(place, _)| place < upper),
            Bound::Unbounded => self.row.len(),
        };
        let few = self.row.get(start..end).unwrap_or_default().iter();
        let few = few.map(|((_, key), write)| (key, write));
        few.chain(self.tree.range((lower, upper)).map(|((_, key), write)| (key, write)))
    }
}

impl IntoIterator for Writes {
    type Item = (Place, Write);
    type IntoIter = std::iter::Chain<
        std::vec::IntoIter<(Place, Write)>,
        std::collections::btree_map::IntoIter<Place, Write>,
    >;

    /// In order.
    fn into_iter(self) -> Self::IntoIter {
        self.row.into_iter().chain(self.tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place((space, key): (u32, u8)) -> Place {
        (SpaceId(space), Key::new(vec![key]).expect("short"))
    }

    fn is_delete(write: &Write) -> bool {
        matches!(write, Write::Delete)
    }

    proptest! {
        #[test]
        fn a_row_and_a_tree_are_one_map(
            steps in prop::collection::vec((0..2_u32, 0..40_u8, any::<bool>()), 0..60),
            from in (0..2_u32, 0..40_u8),
            to in (0..2_u32, 0..40_u8),
        ) {
            let mut writes = Writes::default();
            let mut model = BTreeMap::new();
            for (space, key, is_insert) in steps {
                let (space, key) = place((space, key));
                if is_insert {
                    writes.insert(space, key.clone(), Write::Delete);
                    model.insert((space, key.clone()), ());
                } else {
                    writes.remove(space, &key);
                    model.remove(&(space, key.clone()));
                }
                prop_assert_eq!(writes.get(space, &key).is_some_and(is_delete), is_insert);
                prop_assert_eq!((writes.len(), writes.is_empty()), (model.len(), model.is_empty()));
            }
            let (from, to) = (place(from), place(to));
            if from < to {
                let inside = (Bound::Excluded(from.clone()), Bound::Included(to.clone()));
                let expected: Vec<&Key> = model.range(inside).map(|((_, key), ())| key).collect();
                let mut found: Vec<&Key> =
                    writes.range(Bound::Excluded(from), Bound::Included(to)).map(|(key, _)| key).rev().collect();
                found.reverse();
                prop_assert_eq!(found, expected);
            }
            prop_assert_eq!(writes.values().count(), model.len());
            prop_assert!(writes.into_iter().map(|(place, _)| place).eq(model.into_keys()));
        }
    }
}
