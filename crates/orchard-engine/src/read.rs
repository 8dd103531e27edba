//! Reads: one key or a range, at one version and time.
//!
//! - A read pins the map first and chooses its version then, so that nothing it needs is pruned in between; a read of
//!   several batches holds a [`SnapshotPin`] instead.
//! - No lock is held while bytes are copied or the disk is read.

use crate::apply::upper_bound;
use crate::engine::Engine;
use crate::error::{CommitError, ReadError, StorageError};
use crate::format::{SPACE_PREFIX_SIZE_BYTES_MAX, push_flat_key, split_flat_key};
use crate::segment::Segment;
use crate::snapshot::SnapshotPin;
use bytes::Bytes;
use orchard_map::Version;
use orchard_types::{Entry, Key, SpaceId, UnixMillis, Value, ValueType, Versionstamp};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Keys up to this length are looked up without an allocation.
const STACK_KEY_SIZE_BYTES: usize = 256;

/// Runs `look` with the flat form of a key.
pub(crate) fn with_flat_key<T>(space: SpaceId, key: &[u8], look: impl FnOnce(&[u8]) -> T) -> T {
    if key.len() + SPACE_PREFIX_SIZE_BYTES_MAX <= STACK_KEY_SIZE_BYTES && space.0 < 0xf0 {
        let mut flat = [0; STACK_KEY_SIZE_BYTES];
        flat[0] = space.0 as u8;
        flat[1..=key.len()].copy_from_slice(key);
        return look(&flat[..=key.len()]);
    }
    let mut flat = Vec::with_capacity(key.len() + SPACE_PREFIX_SIZE_BYTES_MAX);
    push_flat_key(&mut flat, space, key);
    look(&flat)
}

pub(crate) fn is_visible(version: &Version<'_>, time: UnixMillis) -> bool {
    !version.is_tombstone() && version.expires_at_ms().is_none_or(|expires| expires > time.0)
}

/// What a look at the map tells about a key.
enum Found {
    Here(Entry),
    OnDisk { entry: Entry, stamp: u64 },
}

fn entry_of(key: &[u8], version: &Version<'_>, keys_only: bool) -> Found {
    let value_type = ValueType::from_number(version.type_tag()).unwrap_or_default();
    let entry = |data| Entry {
        key: Key::new(Bytes::copy_from_slice(key)).unwrap_or_default(),
        value: Value { value_type, data },
        versionstamp: Versionstamp::from_raw(version.stamp()),
        expires_at: version.expires_at_ms().map(UnixMillis),
    };
    match version.value() {
        _ if keys_only => Found::Here(entry(Bytes::new())),
        Some(value) => Found::Here(entry(Bytes::copy_from_slice(value))),
        None => Found::OnDisk { entry: entry(Bytes::new()), stamp: version.stamp() },
    }
}

/// One batch of a range.
#[derive(Debug, Default)]
pub struct Batch {
    /// The entries, in the order asked for.
    pub entries: Vec<Entry>,
    /// The keys deleted within the window, in the order asked for; only if asked for.
    pub deleted: Vec<Deleted>,
    /// The last key looked at, flat; go on behind it. `None`: the range is done.
    pub resume: Option<Vec<u8>>,
}

/// What of a range to read next.
#[derive(Debug, Clone, Copy)]
pub struct BatchRequest<'a> {
    /// First flat key.
    pub lower: Bound<&'a [u8]>,
    /// Flat key behind the last.
    pub upper: Bound<&'a [u8]>,
    /// From the last key down.
    pub reverse: bool,
    /// Leave the value bytes out.
    pub keys_only: bool,
    /// Most entries.
    pub entries_max: usize,
    /// Stop after so many value bytes.
    pub bytes_max: usize,
}

/// A key whose newest change deleted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deleted {
    /// The key.
    pub key: Key,
    /// When.
    pub versionstamp: Versionstamp,
}

/// Only what was last changed in a window of versions. "Last" is as the snapshot that is read shows it: what was changed
/// again behind `until` is not in the window, whatever it was before; to see it, read at a snapshot of `until`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    /// Changed behind this version. The cost is in proportion to what was: parts of the index without a newer version
    /// are left out.
    pub since: Option<Versionstamp>,
    /// Changed at or before this version.
    pub until: Option<Versionstamp>,
    /// Tell of keys that are deleted, too. A read that looks back further than deletes are remembered fails; and as long
    /// as a range deleted in the window is not erased, everything is looked at.
    pub include_deleted: bool,
}

/// Keys, deleted ones included, that one batch looks at before it lets go of the map.
const LOOKED_AT_MAX: usize = 4_096;

impl Engine {
    /// The newest visible entry of a key.
    ///
    /// # Errors
    /// [`ReadError::Storage`] if its value is on disk and cannot be read.
    pub fn get(&self, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, ReadError> {
        self.get_newest_with(space, key, |found| found.map(|entry| entry.to_entry()))
    }

    /// The entry of a key as a snapshot shows it.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_at(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        key: &[u8],
    ) -> Result<Option<Entry>, ReadError> {
        self.get_with(snapshot, space, key, |found| found.map(|entry| entry.to_entry()))
    }

    /// The next batch of a range, as a snapshot shows it.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn batch(&self, snapshot: &SnapshotPin, request: BatchRequest<'_>) -> Result<Batch, ReadError> {
        self.batch_in(snapshot, request, Window::default())
    }

    /// The next batch of what was last changed in a window of versions, as a snapshot shows it.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::SnapshotTooOld`] also if deletes of the window are forgotten.
    pub fn batch_in(
        &self,
        snapshot: &SnapshotPin,
        request: BatchRequest<'_>,
        window: Window,
    ) -> Result<Batch, ReadError> {
        let at = snapshot.stamp();
        let since = window.since.map_or(0, Versionstamp::raw);
        let until = window.until.map_or(u64::MAX, Versionstamp::raw);
        let mut batch = Batch::default();
        let mut on_disk: Vec<(usize, Vec<u8>, u64)> = Vec::new();
        let (mut looked_at, mut bytes) = (0, 0);
        {
            let guard = self.reader.pin();
            let (lower, upper) = (request.lower, request.upper);
            let ranges = self.ranges.load();
            let visit = |version: Version<'_>| {
                looked_at += 1;
                let flat = version.key();
                let key = split_flat_key(flat).map_or(flat, |(_, key)| key);
                let deleted_at = if version.is_tombstone() {
                    Some(version.stamp())
                } else {
                    ranges.deleted_at(&version, at)
                };
                let changed_at = deleted_at.unwrap_or(version.stamp());
                if changed_at <= since || changed_at > until {
                    // Outside the window.
                } else if let Some(stamp) = deleted_at {
                    if window.include_deleted {
                        let key = Key::new(Bytes::copy_from_slice(key)).unwrap_or_default();
                        let versionstamp = Versionstamp::from_raw(stamp);
                        batch.deleted.push(Deleted { key, versionstamp });
                    }
                } else if is_visible(&version, snapshot.time()) {
                    match entry_of(key, &version, request.keys_only) {
                        Found::Here(entry) => {
                            bytes += entry.value.data.len();
                            batch.entries.push(entry);
                        }
                        Found::OnDisk { entry, stamp } => {
                            bytes += version.value_len() as usize;
                            on_disk.push((batch.entries.len(), flat.to_vec(), stamp));
                            batch.entries.push(entry);
                        }
                    }
                }
                let is_full = batch.entries.len() + batch.deleted.len() >= request.entries_max
                    || bytes >= request.bytes_max
                    || looked_at >= LOOKED_AT_MAX;
                if is_full {
                    batch.resume = Some(version.key().to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            };
            if window.since.is_none() || (window.include_deleted && ranges.any_within(since, at)) {
                guard.scan(lower, upper, request.reverse, at, visit);
            } else {
                guard.scan_changed_in(lower, upper, request.reverse, since, at, visit);
            }
        }
        if window.include_deleted && since < self.core.lock().floor.raw() {
            return Err(ReadError::SnapshotTooOld);
        }
        for (position, flat, stamp) in on_disk {
            let data = self.load(&flat, stamp)?;
            if let Some(entry) = batch.entries.get_mut(position) {
                entry.value.data = data;
            }
        }
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(batch) }
    }

    /// Number of entries in a range at the newest applied state, without looking at each: only what was written in a
    /// deleted range that is not erased yet is visited. Expired entries that are not swept yet are counted.
    pub fn count(&self, space: SpaceId, start: &[u8], end: Option<&[u8]>) -> u64 {
        let (lower, upper) = crate::apply::flat_bounds(space, start, end);
        let guard = self.reader.pin();
        let ranges = self.ranges.load();
        if ranges.is_empty() {
            return guard.count(Bound::Included(&lower), upper_bound(upper.as_deref()));
        }
        ranges.count(&guard, &lower, upper.as_deref())
    }

    pub(crate) fn live_segments(&self) -> Arc<Vec<Arc<Segment>>> {
        self.segments.read().clone()
    }

    /// The value bytes of one version, from the segment that holds it.
    pub(crate) fn load(&self, flat: &[u8], stamp: u64) -> Result<Bytes, ReadError> {
        self.stats.note_load();
        for segment in self.live_segments().iter().rev() {
            let meta = segment.meta();
            if (meta.min_stamp..=meta.max_stamp).contains(&stamp)
                && let Some(version) = segment.get(flat, stamp)?
                && version.stamp == stamp
            {
                return Ok(version.value);
            }
        }
        let stamp = Versionstamp::from_raw(stamp);
        Err(StorageError::corrupt("segments", 0, format!("no segment holds version {stamp} of a key")).into())
    }

    /// Brings a value that a commit needs back into memory.
    pub(crate) fn load_resident(&self, flat: &[u8], stamp: u64) -> Result<(), CommitError> {
        let value = self.load(flat, stamp).map_err(|error| match error {
            ReadError::Storage(error) => CommitError::Storage(error),
            other => StorageError::corrupt("segments", 0, other.to_string()).into(),
        })?;
        let mut core = self.core.lock();
        core.map.make_resident(flat, stamp, &value);
        // So that it is still here when the commit is tried again.
        if let Some(version) = core.map.newest(flat) {
            version.touch();
        }
        Ok(())
    }
}
