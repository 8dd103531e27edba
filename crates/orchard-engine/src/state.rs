//! The map, and the ranges deleted in it, as the state that `apply` changes.

use crate::apply::{Replaced, State, Stored, Written};
use crate::count::Apart;
use crate::expiry::ExpiryIndex;
use crate::look::with_flat_keys;
use crate::ranges::{Erased, Ranges};
use orchard_map::{Content, Hashed, Hint, MapWriter, NewVersion, Version};
use orchard_types::collection::HEADER_SIZE_BYTES_MAX;
use orchard_types::{CollectionId, Mutation, UnixMillis, ValueType};
use parking_lot::Mutex;
use std::ops::{Bound, ControlFlow, RangeBounds};

impl<'a> From<Version<'a>> for Stored<'a> {
    fn from(version: Version<'a>) -> Self {
        Stored {
            stamp: version.stamp(),
            type_tag: version.type_tag(),
            expires_at_ms: version.expires_at_ms(),
            is_tombstone: version.is_tombstone(),
            value: version.value(),
            value_len: u64::from(version.value_len()),
        }
    }
}

/// The collection whose header a version is. Headers never leave memory.
pub(crate) fn collection_of(version: &Version<'_>) -> Option<CollectionId> {
    let value_type = ValueType::from_number(version.type_tag()).unwrap_or_default();
    CollectionId::of_value(value_type, version.value()?)
}

/// Whether a value may be the header of a collection; such a one stays in memory.
pub(crate) fn may_be_header(type_tag: u8, value_len: u64) -> bool {
    let value_type = ValueType::from_number(type_tag).unwrap_or_default();
    value_type.is_collection() && value_len < HEADER_SIZE_BYTES_MAX as u64
}

/// The state behind the commit lock.
pub(crate) struct Entries<'a> {
    map: &'a mut MapWriter,
    ranges: &'a mut Ranges,
    /// As it stood before the commit.
    expiry: &'a Mutex<ExpiryIndex>,
    apart: &'a Apart,
    /// Where the key of the commit's only mutation was seen, before the commit lock was taken.
    hint: Option<Hint<'a, 'a>>,
    /// Entries that became point tombstones because they were written over; to be settled whatever comes of the commit.
    erased: Vec<Erased>,
}

impl<'a> Entries<'a> {
    pub(crate) fn new(
        map: &'a mut MapWriter,
        ranges: &'a mut Ranges,
        expiry: &'a Mutex<ExpiryIndex>,
        apart: &'a Apart,
    ) -> Entries<'a> {
        Entries { map, ranges, expiry, apart, hint: None, erased: Vec::new() }
    }

    /// What is to be settled.
    pub(crate) fn into_erased(self) -> Vec<Erased> {
        self.erased
    }

    /// With what is known of where the key of the only mutation is.
    pub(crate) fn with_hint(self, hint: Option<Hint<'a, 'a>>) -> Entries<'a> {
        Entries { hint, ..self }
    }

    fn stored<'v>(&self, version: Version<'v>) -> Stored<'v> {
        stored(self.ranges, version)
    }

    /// As [`State::write`], of a key whose hash is known.
    pub(crate) fn write_hashed(
        &mut self,
        key: Hashed<'_>,
        stamp: u64,
        content: Option<(u8, &[u8])>,
        expires: impl FnOnce(Option<&Stored<'_>>) -> Option<u64>,
    ) -> Written {
        let (type_tag, content) = match content {
            Some((type_tag, value)) => (type_tag, Content::Value(value)),
            None => (0, Content::Tombstone),
        };
        let mut new = NewVersion { stamp, type_tag, expires_at_ms: None, content };
        let mut newest_stamp = None;
        let mut replaced = None;
        let (ranges, apart) = (&*self.ranges, self.apart);
        let make = |newest: Option<Version<'_>>| {
            new.expires_at_ms = expires(newest.map(|version| stored(ranges, version)).as_ref());
            newest_stamp = newest.map(|version| version.stamp());
            if newest.is_none() {
                apart.note(key.key());
            }
            replaced = newest.filter(|version| !version.is_tombstone()).map(|version| Replaced {
                stamp: version.stamp(),
                collection: collection_of(&version),
                was_covered: false,
                value_len: u64::from(version.value_len()),
                expires_at_ms: version.expires_at_ms(),
            });
            let is_plain = newest_stamp != Some(stamp) && (replaced.is_none() || ranges.is_empty());
            is_plain.then_some(new)
        };
        let is_put = match self.hint.take_if(|hint| hint.key() == key.key()) {
            Some(hint) => self.map.upsert_hinted(hint, make),
            None => self.map.upsert_hashed(key, make),
        };
        let expires_at_ms = new.expires_at_ms;
        if is_put {
            return Written { replaced, expires_at_ms };
        }
        if newest_stamp == Some(stamp) {
            self.map.rollback(key.key(), stamp - 1);
        }
        if let Some(newest_stamp) = newest_stamp
            && replaced.is_some()
            && let Some(deleted_at) = self.ranges.first_above(key.key(), newest_stamp)
        {
            if deleted_at < stamp {
                self.erased.extend(Ranges::erase_one(self.map, key.key(), deleted_at));
                replaced = None;
            } else if let Some(replaced) = &mut replaced {
                // A range of this very commit needs no tombstone: no reader can stand between it and what comes now.
                replaced.was_covered = newest_stamp < stamp;
            }
        }
        self.map.upsert_hashed(key, |_| Some(new));
        Written { replaced, expires_at_ms }
    }
}

/// A version as it stands: with a tombstone over it if its range was deleted.
pub(crate) fn stored<'v>(ranges: &Ranges, version: Version<'v>) -> Stored<'v> {
    let stored = Stored::from(version);
    if stored.is_tombstone || ranges.is_empty() {
        return stored;
    }
    match ranges.first_above(version.key(), version.stamp()) {
        Some(stamp) => {
            Stored { stamp, type_tag: 0, expires_at_ms: None, is_tombstone: true, value: None, value_len: 0 }
        }
        None => stored,
    }
}

impl State for Entries<'_> {
    fn ahead(&self, mutations: &[Mutation]) {
        with_flat_keys(mutations, |keys| self.map.prefetch(keys));
    }

    fn newest(&self, key: &[u8]) -> Option<Stored<'_>> {
        self.map.newest(key).map(|version| self.stored(version))
    }

    fn each(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, visit: &mut dyn FnMut(&[u8], Stored<'_>)) {
        self.map.scan(lower, upper, false, |version| {
            visit(version.key(), self.stored(version));
            ControlFlow::Continue(())
        });
    }

    fn newest_expired_in(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        after: UnixMillis,
        until: UnixMillis,
    ) -> u64 {
        // What expired was swept, but for the last moment's, so this looks at few however large the range is.
        self.expiry
            .lock()
            .between(after.0, until.0)
            .filter(|key| RangeBounds::<[u8]>::contains(&(lower, upper), *key))
            .filter_map(|key| self.newest(key))
            .filter(|stored| {
                let expires = stored.expires_at_ms;
                !stored.is_tombstone && expires.is_some_and(|at| at > after.0 && at <= until.0)
            })
            .map(|stored| stored.stamp)
            .max()
            .unwrap_or(0)
    }

    fn newest_stamp_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        self.ranges.newest_stamp_in(self.map, lower, upper)
    }

    fn small_range(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> Option<Vec<Vec<u8>>> {
        self.ranges.small_range(self.map, lower, upper)
    }

    fn cover(&mut self, lower: &[u8], upper: Option<&[u8]>, stamp: u64) -> bool {
        self.ranges.add(lower, upper, stamp)
    }

    fn uncover(&mut self, to_stamp: u64) {
        self.ranges.take_back(to_stamp);
    }

    fn write(
        &mut self,
        key: &[u8],
        stamp: u64,
        content: Option<(u8, &[u8])>,
        expires: impl FnOnce(Option<&Stored<'_>>) -> Option<u64>,
    ) -> Written {
        self.write_hashed(self.map.hashed(key), stamp, content, expires)
    }

    fn undo(&mut self, key: &[u8], to_stamp: u64) {
        self.map.rollback(key, to_stamp);
    }
}
