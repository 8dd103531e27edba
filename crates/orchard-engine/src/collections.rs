//! Collections: their ids, and erasing the elements of those whose header went.
//!
//! - An id is given out once: 6 bytes of the first log index that could be given out when it was drawn, then 4 of a
//!   counter. Log indexes are never used again, so neither are ids.
//! - An orphan stays listed until none of its elements is left; both go by ordinary commits.
//! - What a deleted range takes along is found when the range is erased, which is not logged: it is listed by a commit of
//!   the background, and no checkpoint forgets the range before that commit is durable.

use crate::apply::{Effects, flat_bounds, upper_bound};
use crate::commit::{Core, Submitted};
use crate::engine::Engine;
use crate::error::CommitError;
use crate::format::{push_flat_key, split_flat_key};
use bytes::Bytes;
use orchard_types::{
    CollectionId, Commit, Durability, Expiry, Key, KeyRange, Mutation, Operation, SpaceId, Value,
    Versionstamp,
};
use std::ops::{Bound, ControlFlow};

/// Draws collection ids.
pub(crate) struct CollectionIds {
    index: u64,
    next: u32,
}

impl CollectionIds {
    pub(crate) fn starting_at(index: u64) -> CollectionIds {
        CollectionIds { index, next: 0 }
    }

    /// `applied`: the index of a group that commits have joined since the last id was drawn.
    fn draw(&mut self, applied: u64) -> CollectionId {
        let mut id = [0; 10];
        let (head, tail) = id.split_at_mut(6);
        head.copy_from_slice(self.index.to_be_bytes().get(2..).unwrap_or(&[0; 6]));
        tail.copy_from_slice(&self.next.to_be_bytes());
        match self.next.checked_add(1) {
            Some(next) => self.next = next,
            // Four billion collections need more groups than one.
            None => *self = CollectionIds::starting_at(self.index.max(applied) + 1),
        }
        CollectionId(id)
    }
}

/// Collections whose headers deleted ranges took along, until they are durably listed in [`SpaceId::ORPHANS`].
#[derive(Default)]
pub(crate) struct OrphansDue {
    /// Id, and the stamp at which its header was deleted.
    due: Vec<(CollectionId, u64)>,
    /// Headers that the commit of a deleted range holds, and its stamp: what the range took along was moved.
    moved: Vec<(CollectionId, u64)>,
}

impl OrphansDue {
    /// Erasing a range that was deleted at `stamp` found a header.
    pub(crate) fn found(&mut self, id: CollectionId, stamp: u64) {
        if !self.moved.contains(&(id, stamp)) {
            self.due.push((id, stamp));
        }
    }

    /// A commit happened.
    pub(crate) fn add(&mut self, effects: &Effects, stamp: u64) {
        self.due.extend(effects.orphans.iter().map(|id| (*id, stamp)));
        self.moved.extend(effects.moved.iter().map(|id| (*id, stamp)));
    }

    /// Takes back what happened behind `visible`.
    pub(crate) fn roll_back(&mut self, visible: u64) {
        self.due.retain(|(_, stamp)| *stamp <= visible);
        self.moved.retain(|(_, stamp)| *stamp <= visible);
    }

    /// Every deleted range is erased.
    pub(crate) fn all_erased(&mut self) {
        self.moved.clear();
    }
}

impl Engine {
    /// An id for a new collection.
    pub fn new_collection_id(&self) -> CollectionId {
        let applied = Versionstamp::from_raw(self.progress.watermark(Durability::None)).index();
        self.collection_ids.lock().draw(applied)
    }

    /// Submits the erasure of at most `limit` elements of collections that are gone. `None` if there are none.
    pub fn erase_orphans(&self, limit: usize) -> Option<Submitted> {
        self.erase_commit(limit).map(|commit| self.submit(&commit))
    }

    /// The commit that erases at most `limit` elements of collections that are gone. `None` if there are none. It goes on
    /// where the last one ended, so that nobody walks over the tombstones of what is erased again and again; before it
    /// calls an orphan done it looks at all of its range once more.
    pub fn erase_commit(&self, limit: usize) -> Option<Commit> {
        let mut resume = self.erase_resume.lock();
        if let Some(commit) = self.orphans_commit(limit) {
            return Some(commit);
        }
        let waiting: Vec<_> = self.core.lock().orphans.due.iter().map(|(id, _)| *id).collect();
        let mut commit = Commit::new();
        loop {
            let started_at = std::mem::take(&mut *resume);
            let from = started_at.as_ref().map_or(Bytes::new(), |at| at.orphan.clone());
            for orphan in self.live_keys(SpaceId::ORPHANS, KeyRange { start: from, end: None }, limit) {
                if waiting.iter().any(|id| *id.as_ref() == *orphan) {
                    continue;
                }
                let mut range = KeyRange::prefix(&orphan);
                let begun = started_at.as_ref().filter(|at| at.orphan == orphan);
                if let Some(at) = begun {
                    range.start = at.element.clone();
                }
                let room = limit - commit.mutations.len();
                let elements = self.live_keys(SpaceId::ELEMENTS, range, room);
                let element = elements.last().cloned();
                commit.mutations.extend(elements.into_iter().map(|key| delete(SpaceId::ELEMENTS, key)));
                if commit.mutations.len() >= limit {
                    *resume = Some(EraseAt { element: element.unwrap_or_else(|| orphan.clone()), orphan });
                    return Some(commit);
                }
                if begun.is_none() {
                    commit.mutations.push(delete(SpaceId::ORPHANS, orphan));
                }
            }
            if started_at.is_none() || !commit.mutations.is_empty() {
                return (!commit.mutations.is_empty()).then_some(commit);
            }
        }
    }

    /// The commit that lists at most `limit` collections whose headers deleted ranges took along. `None` if all are
    /// listed, durably or about to be.
    pub fn orphans_commit(&self, limit: usize) -> Option<Commit> {
        let synced = self.progress.watermark(Durability::Fsync);
        let mut commit = Commit::new();
        let mut core = self.core.lock();
        let Core { map, orphans, ranges, .. } = &mut *core;
        if ranges.is_empty() {
            orphans.all_erased();
        }
        let mut flat = Vec::new();
        orphans.due.retain(|(id, _)| {
            flat.clear();
            push_flat_key(&mut flat, SpaceId::ORPHANS, id.as_ref());
            let listed = map.newest(&flat).filter(|version| !version.is_tombstone());
            if listed.is_none() && commit.mutations.len() < limit {
                let key = Key::new(Bytes::copy_from_slice(id.as_ref())).unwrap_or_default();
                let operation = Operation::Set { value: Value::null(), expiry: Expiry::Never };
                commit.mutations.push(Mutation { space: SpaceId::ORPHANS, key, operation });
            }
            listed.is_none_or(|listed| listed.stamp() > synced)
        });
        drop(core);
        (!commit.mutations.is_empty()).then_some(commit)
    }

    /// Whether collections wait to be listed durably whose headers deleted ranges took along.
    pub fn has_due_orphans(&self) -> bool {
        !self.core.lock().orphans.due.is_empty()
    }

    /// Lists them durably: behind a checkpoint nobody finds them again.
    pub(crate) fn list_orphans(&self) -> Result<(), CommitError> {
        const BATCH: usize = 1_000;
        while self.has_due_orphans() {
            let stamp = match self.orphans_commit(BATCH) {
                Some(commit) => {
                    let submitted = self.submit(&commit);
                    submitted.outcome?;
                    submitted.depends_on
                }
                None => Versionstamp::from_raw(self.progress.watermark(Durability::None)),
            };
            self.wait(stamp, Durability::Fsync)?;
        }
        Ok(())
    }

    /// At most `limit` keys of a range whose newest applied version is there.
    fn live_keys(&self, space: SpaceId, range: KeyRange, limit: usize) -> Vec<Bytes> {
        let mut keys = Vec::new();
        if limit == 0 {
            return keys;
        }
        let (lower, upper) = flat_bounds(space, &range.start, range.end.as_deref());
        let (lower, upper) = (Bound::Included(lower.as_slice()), upper_bound(upper.as_deref()));
        let guard = self.reader.pin();
        let applied = self.progress.watermark(Durability::None);
        guard.scan(lower, upper, false, applied, |version| {
            if !version.is_tombstone() {
                keys.extend(split_flat_key(version.key()).map(|(_, key)| Bytes::copy_from_slice(key)));
            }
            if keys.len() >= limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        keys
    }
}

/// How far erasing has come.
pub(crate) struct EraseAt {
    orphan: Bytes,
    element: Bytes,
}

fn delete(space: SpaceId, key: Bytes) -> Mutation {
    let key = Key::new(key).unwrap_or_default();
    Mutation { space, key, operation: Operation::Delete }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_on_behind_the_last_counter() {
        let mut ids = CollectionIds { index: 7, next: u32::MAX - 1 };
        let drawn: Vec<_> = (0..4).map(|_| ids.draw(9)).collect();
        assert_eq!(drawn[0].0, [0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(drawn[1].0, [0, 0, 0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(drawn[2].0, [0, 0, 0, 0, 0, 10, 0, 0, 0, 0]);
        assert_eq!(drawn[3].0, [0, 0, 0, 0, 0, 10, 0, 0, 0, 1]);
    }
}
