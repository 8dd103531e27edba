//! What a transaction has written so far, as its own reads see it.
//!
//! - A delete of a range takes the writes inside it away; a write after it stands behind it. So the ranges go first into
//!   the commit, and then the writes, each key once.

use super::writes::Writes;
use bytes::Bytes;
use orchard_types::key::prefix_end;
use orchard_types::{
    CollectionId, Expiry, Key, KeyRange, Mutation, Operation, SpaceId, UnixMillis, Value, limits,
};
use std::collections::BTreeSet;
use std::ops::Bound;

/// The last thing that a transaction did to a key.
#[derive(Clone, Debug)]
pub(super) enum Write {
    Set {
        value: Value,
        expiry: Expiry,
    },
    /// The stored value stays, if there is one.
    Touch {
        expiry: Expiry,
    },
    Delete,
}

/// What the overlay knows of a key.
pub(super) enum Seen<'a> {
    /// This was written.
    Write(&'a Write),
    /// It lies in a deleted range.
    Deleted,
    /// Nothing: ask the database.
    Unknown,
}

/// Pending writes of several spaces.
#[derive(Default)]
pub(super) struct Overlay {
    writes: Writes,
    ranges: Vec<(SpaceId, KeyRange)>,
    /// Mutations that reads do not see, in their order.
    appended: Vec<Mutation>,
}

impl Overlay {
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.ranges.is_empty() && self.appended.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Overlay::default();
    }

    /// Whether reads have to look here at all.
    pub(super) fn is_seen_by_reads(&self) -> bool {
        !self.writes.is_empty() || !self.ranges.is_empty()
    }

    /// `now`: what has expired by then has no expiry to keep.
    pub(super) fn set(
        &mut self,
        space: SpaceId,
        key: Key,
        value: Value,
        mut expiry: Expiry,
        now: UnixMillis,
    ) {
        let if_absent = match expiry {
            Expiry::Keep => Some(Expiry::Never),
            Expiry::KeepOr(duration) => Some(Expiry::After(duration)),
            _ => None,
        };
        if let Some(if_absent) = if_absent {
            match self.see(space, &key) {
                Seen::Write(
                    Write::Set { expiry: Expiry::At(time), .. } | Write::Touch { expiry: Expiry::At(time) },
                ) if *time <= now => {
                    expiry = if_absent;
                }
                Seen::Write(Write::Set { expiry: own, .. } | Write::Touch { expiry: own }) => expiry = *own,
                Seen::Write(Write::Delete) | Seen::Deleted => expiry = if_absent,
                Seen::Unknown => {}
            }
        }
        self.writes.insert(space, key, Write::Set { value, expiry });
    }

    /// Changes the expiry of an entry that is there; a value that was written here stays, too.
    pub(super) fn touch(&mut self, space: SpaceId, key: Key, expiry: Expiry, now: UnixMillis) {
        match self.see(space, &key) {
            Seen::Write(Write::Delete) | Seen::Deleted => {}
            Seen::Write(Write::Set { value, .. }) => {
                let value = value.clone();
                self.set(space, key, value, expiry, now);
            }
            Seen::Write(Write::Touch { .. }) | Seen::Unknown
                if matches!(expiry, Expiry::Keep | Expiry::KeepOr(_)) => {}
            Seen::Write(Write::Touch { .. }) | Seen::Unknown => {
                self.writes.insert(space, key, Write::Touch { expiry });
            }
        }
    }

    pub(super) fn delete(&mut self, space: SpaceId, key: Key) {
        self.writes.insert(space, key, Write::Delete);
    }

    pub(super) fn delete_range(&mut self, space: SpaceId, mut range: KeyRange) {
        if range.start.len() > limits::KEY_SIZE_BYTES_MAX {
            // No key is that long, so the first one behind the bound is the first behind all that begin as it does.
            let Some(next) = prefix_end(&range.start.slice(..limits::KEY_SIZE_BYTES_MAX)) else { return };
            range.start = next;
        }
        if range.is_empty() {
            return;
        }
        let inside: Vec<_> = self.writes_in(space, &range).map(|(key, _)| key.clone()).collect();
        for key in inside {
            self.writes.remove(space, &key);
        }
        self.ranges.push((space, range));
    }

    pub(super) fn append(&mut self, mutation: Mutation) {
        self.appended.push(mutation);
    }

    pub(super) fn see(&self, space: SpaceId, key: &Key) -> Seen<'_> {
        if let Some(write) = self.writes.get(space, key) {
            return Seen::Write(write);
        }
        if self.is_in_deleted_range(space, key) { Seen::Deleted } else { Seen::Unknown }
    }

    pub(super) fn is_in_deleted_range(&self, space: SpaceId, key: &[u8]) -> bool {
        self.ranges.iter().any(|(in_space, range)| *in_space == space && range.contains(key))
    }

    /// Writes of a range in key order. The range is not empty.
    pub(super) fn writes_in(
        &self,
        space: SpaceId,
        range: &KeyRange,
    ) -> impl DoubleEndedIterator<Item = (&Key, &Write)> {
        // A bound may be one byte longer than a key; then no key is equal to it, and the key before it is the same bound.
        let bound = |bytes: &Bytes| {
            let length = bytes.len().min(limits::KEY_SIZE_BYTES_MAX);
            (Key::new(bytes.slice(..length)).unwrap_or_default(), length == bytes.len())
        };
        let lower = match bound(&range.start) {
            (key, true) => Bound::Included((space, key)),
            (key, false) => Bound::Excluded((space, key)),
        };
        let upper = match range.end.as_ref().map(bound) {
            Some((key, true)) => Bound::Excluded((space, key)),
            Some((key, false)) => Bound::Included((space, key)),
            None => match space.0.checked_add(1) {
                Some(next) => Bound::Excluded((SpaceId(next), Key::default())),
                None => Bound::Unbounded,
            },
        };
        self.writes.range(lower, upper)
    }

    /// Takes the elements of new collections away that came and went: no header names them.
    pub(super) fn forget_unheld(&mut self, new: &[CollectionId]) {
        if new.is_empty() {
            return;
        }
        let headers = self.writes.values().filter_map(|write| match write {
            Write::Set { value, .. } => CollectionId::of_value(value.value_type, &value.data),
            Write::Touch { .. } | Write::Delete => None,
        });
        let held: BTreeSet<CollectionId> = headers.collect();
        for id in new.iter().filter(|id| !held.contains(id)) {
            let range = KeyRange::prefix(id.as_ref());
            let gone: Vec<Key> =
                self.writes_in(SpaceId::ELEMENTS, &range).map(|(key, _)| key.clone()).collect();
            for key in gone {
                self.writes.remove(SpaceId::ELEMENTS, &key);
            }
        }
    }

    /// Adds what it holds to the mutations of a commit.
    pub(super) fn fill(self, mutations: &mut Vec<Mutation>) {
        mutations.reserve(self.ranges.len() + self.writes.len() + self.appended.len());
        mutations.extend(self.ranges.into_iter().map(|(space, range)| Mutation {
            space,
            // `delete_range` has made the bound as short as a key.
            key: Key::new(range.start).unwrap_or_default(),
            operation: Operation::DeleteRange { end: range.end },
        }));
        mutations.extend(self.writes.into_iter().map(|((space, key), write)| Mutation {
            space,
            key,
            operation: match write {
                Write::Set { value, expiry } => Operation::Set { value, expiry },
                Write::Touch { expiry } => Operation::Touch { expiry },
                Write::Delete => Operation::Delete,
            },
        }));
        mutations.extend(self.appended);
    }
}
