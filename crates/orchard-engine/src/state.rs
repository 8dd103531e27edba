//! The map as the state that `apply` changes.

use crate::apply::{Replaced, State, Stored};
use orchard_map::{Content, MapWriter, NewVersion, Version};
use std::ops::{Bound, ControlFlow};

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

impl State for MapWriter {
    fn newest(&self, key: &[u8]) -> Option<Stored<'_>> {
        MapWriter::newest(self, key).map(Stored::from)
    }

    fn each(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>, visit: &mut dyn FnMut(&[u8], Stored<'_>)) {
        self.scan(lower, upper, false, |version| {
            visit(version.key(), version.into());
            ControlFlow::Continue(())
        });
    }

    fn newest_stamp_in(&self, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        self.range_max_stamp(lower, upper)
    }

    fn write(
        &mut self,
        key: &[u8],
        stamp: u64,
        content: Option<(u8, &[u8])>,
        expires_at_ms: Option<u64>,
    ) -> Option<Replaced> {
        let newest = MapWriter::newest(self, key);
        let replaced = newest.filter(|version| !version.is_tombstone()).map(|version| Replaced {
            value_len: u64::from(version.value_len()),
            expires_at_ms: version.expires_at_ms(),
        });
        if newest.is_some_and(|version| version.stamp() == stamp) {
            self.rollback(key, stamp - 1);
        }
        let (type_tag, content) = match content {
            Some((type_tag, value)) => (type_tag, Content::Value(value)),
            None => (0, Content::Tombstone),
        };
        self.upsert(key, NewVersion { stamp, type_tag, expires_at_ms, content });
        replaced
    }

    fn undo(&mut self, key: &[u8], to_stamp: u64) {
        self.rollback(key, to_stamp);
    }
}
