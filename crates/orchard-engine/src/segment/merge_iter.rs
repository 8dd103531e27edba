//! Walking several segments as one.

use super::{SegmentEntry, SegmentIter};
use crate::error::StorageError;
use std::cmp::Ordering;

/// Merges walks over several segments, all in one direction: (key ascending or descending, stamp descending).
///
/// Should two segments hold the same version of the same key, both come, in the order of the inputs.
/// After an error the walk is over.
pub struct MergeIter {
    inputs: Vec<SegmentIter>,
    /// Inputs that have a current entry, the one to give next last.
    order: Vec<usize>,
    reverse: bool,
    started: bool,
}

impl MergeIter {
    /// Merges `inputs`.
    ///
    /// # Panics
    /// If some walk forward and some backward.
    pub fn new(inputs: Vec<SegmentIter>) -> MergeIter {
        let reverse = inputs.first().is_some_and(SegmentIter::is_reverse);
        assert!(inputs.iter().all(|input| input.is_reverse() == reverse), "walks in different directions");
        MergeIter { order: Vec::with_capacity(inputs.len()), inputs, reverse, started: false }
    }

    fn entry_of(&self, input: usize) -> Option<SegmentEntry<'_>> {
        self.inputs.get(input).and_then(SegmentIter::entry)
    }

    /// Whether input `a` comes before input `b`.
    fn precedes(&self, a: usize, b: usize) -> bool {
        let (Some(entry_a), Some(entry_b)) = (self.entry_of(a), self.entry_of(b)) else { return false };
        let keys = entry_a.key.cmp(entry_b.key);
        let keys = if self.reverse { keys.reverse() } else { keys };
        keys.then_with(|| entry_b.stamp.cmp(&entry_a.stamp)).then(a.cmp(&b)) == Ordering::Less
    }

    /// Advances an input that is not in `order`, and puts it there.
    fn pull(&mut self, input: usize) -> Result<(), StorageError> {
        let advanced = match self.inputs.get_mut(input) {
            Some(iter) => iter.advance()?,
            None => false,
        };
        if advanced {
            // Most often the input that was first stays first.
            let place = match self.order.last() {
                Some(last) if self.precedes(*last, input) => {
                    self.order.partition_point(|other| !self.precedes(*other, input))
                }
                _ => self.order.len(),
            };
            self.order.insert(place, input);
        }
        Ok(())
    }

    /// Goes to the next version; `false` behind the last one.
    ///
    /// # Errors
    /// What the disk says, or damage.
    pub fn advance(&mut self) -> Result<bool, StorageError> {
        let pulled = if self.started {
            match self.order.pop() {
                Some(input) => self.pull(input),
                None => Ok(()),
            }
        } else {
            self.started = true;
            (0..self.inputs.len()).try_for_each(|input| self.pull(input))
        };
        if pulled.is_err() {
            self.order.clear();
        }
        pulled.map(|()| !self.order.is_empty())
    }

    /// The version that [`MergeIter::advance`] went to.
    #[inline]
    pub fn entry(&self) -> Option<SegmentEntry<'_>> {
        if self.started { self.entry_of(*self.order.last()?) } else { None }
    }

    /// Goes to the next version and lends it.
    ///
    /// # Errors
    /// What the disk says, or damage.
    #[expect(clippy::should_implement_trait, reason = "lends from a buffer, which `Iterator` cannot express")]
    pub fn next(&mut self) -> Result<Option<SegmentEntry<'_>>, StorageError> {
        Ok(if self.advance()? { self.entry() } else { None })
    }
}
