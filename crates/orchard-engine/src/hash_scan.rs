//! Keys of a space in the order of their hashes: for clients that go through all keys with nothing but a number to
//! remember where they are.

use crate::engine::Engine;
use crate::error::ReadError;
use crate::format::split_flat_key;
use crate::read::is_visible;
use crate::snapshot::SnapshotPin;
use orchard_map::HashPosition;
use orchard_types::{SpaceId, ValueType};

/// Entries looked at before the map is let go.
const LOOKED_AT_ONCE: usize = 512;

impl Engine {
    /// Visits visible keys of a space from `position` on, about `look_at` entries of all spaces, and returns where to go
    /// on; 0 is the start, and what is returned at the end. The order never changes: a key that is there from the first
    /// call to the last is visited exactly once.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn keys_by_hash(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        position: u64,
        look_at: usize,
        mut visit: impl FnMut(&[u8], ValueType),
    ) -> Result<u64, ReadError> {
        let mut position = HashPosition(position);
        let mut left = look_at.max(1);
        while left > 0 {
            let at_once = left.min(LOOKED_AT_ONCE);
            left -= at_once;
            let guard = self.reader.pin();
            let ranges = self.ranges.load();
            let more = guard.scan_hash(&mut position, at_once, snapshot.stamp(), |version| {
                if !is_visible(&version, snapshot.time()) || ranges.hides(&version, snapshot.stamp()) {
                    return;
                }
                if let Some((of, key)) = split_flat_key(version.key())
                    && of == space
                {
                    visit(key, ValueType::from_number(version.type_tag()).unwrap_or_default());
                }
            });
            if !more {
                break;
            }
        }
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(position.0) }
    }
}
