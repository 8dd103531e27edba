//! Reads that need no value: whether a key is there and of what version, and bringing keys into the processor's cache.

use crate::engine::Engine;
use crate::error::ReadError;
use crate::format::push_flat_key;
use crate::read::{is_visible, with_flat_key};
use crate::snapshot::SnapshotPin;
use orchard_types::{SpaceId, Versionstamp};

/// Keys on their way through [`Engine::warm`]; kept by the caller, so that it allocates nothing.
#[derive(Default)]
pub struct WarmKeys {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl WarmKeys {
    /// Adds a key of a space.
    pub fn push(&mut self, space: SpaceId, key: &[u8]) {
        self.push_with(space, |flat| flat.extend_from_slice(key));
    }

    /// Adds the key of a space that `write` appends.
    pub fn push_with(&mut self, space: SpaceId, write: impl FnOnce(&mut Vec<u8>)) {
        push_flat_key(&mut self.bytes, space, b"");
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Keys whose places are fetched together.
const WARM_AT_ONCE: usize = 16;

impl Engine {
    /// Brings the places of keys that will be read or written next into the processor's cache, several at a time, and
    /// forgets the keys. Changes nothing else. `to_write`: their places in the ordered index, too.
    pub fn warm(&self, keys: &mut WarmKeys, to_write: bool) {
        let guard = self.reader.pin();
        let mut start = 0;
        for ends in keys.ends.chunks(WARM_AT_ONCE) {
            let mut flat: [&[u8]; WARM_AT_ONCE] = [b""; WARM_AT_ONCE];
            for (slot, end) in flat.iter_mut().zip(ends) {
                *slot = keys.bytes.get(start..*end).unwrap_or_default();
                start = *end;
            }
            let flat = flat.get(..ends.len()).unwrap_or_default();
            if to_write {
                guard.warm_order(flat);
            }
            guard.get_many(flat, u64::MAX, |_, found| {
                std::hint::black_box(
                    found.and_then(|version| version.value().and_then(<[u8]>::first).copied()),
                );
            });
        }
        keys.clear();
    }

    /// Whether a snapshot has an entry of this key; its value is not looked at.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn has(&self, snapshot: &SnapshotPin, space: SpaceId, key: &[u8]) -> Result<bool, ReadError> {
        with_flat_key(space, key, |flat| {
            let at = snapshot.stamp();
            let has = {
                let guard = self.reader.pin();
                let ranges = self.ranges.load();
                guard.get(flat, at).is_some_and(|version| {
                    is_visible(&version, snapshot.time()) && !ranges.hides(&version, at)
                })
            };
            if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(has) }
        })
    }

    /// The stamp of the newest version of a key as a snapshot has it, whether it was written or deleted by it, expired or
    /// not; `None` if there is none. Deletes behind the oldest snapshot are remembered, older ones may be forgotten.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest_stamp_at(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        key: &[u8],
    ) -> Result<Option<Versionstamp>, ReadError> {
        with_flat_key(space, key, |flat| {
            let newest = self.reader.pin().get(flat, snapshot.stamp()).map(|version| version.stamp());
            if snapshot.is_expired() {
                return Err(ReadError::SnapshotTooOld);
            }
            Ok(newest.map(Versionstamp::from_raw))
        })
    }

    /// A snapshot of what `snapshot` shows, for longer.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`] if `snapshot` has ended.
    pub fn snapshot_of(&self, snapshot: &SnapshotPin) -> Result<SnapshotPin, ReadError> {
        let at = || (snapshot.stamp(), snapshot.time());
        let pin = self.snapshots.register(self.env.clock.monotonic_ns(), true, at);
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(pin) }
    }
}
