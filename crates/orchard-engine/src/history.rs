//! Looking back: versions that newer ones have replaced, as long as they are kept.
//!
//! - Within the configured retention, and as long as old versions take no more memory than they may, no version goes that
//!   a snapshot within it would show.
//! - Every version above the manifest's history floor, and the newest of each key at or below it, is in the segments or in
//!   the log; an open within the retention loads them all.

use crate::engine::Engine;
use crate::error::{ReadError, StorageError};
use crate::format::push_flat_key;
use crate::segment::{EntryKind, Segment, SegmentEntry};
use bytes::Bytes;
use orchard_map::{Content, MapWriter, NewVersion};
use orchard_types::{SpaceId, UnixMillis, Value, ValueType, Versionstamp};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Versions of one key that one look returns at most.
pub const HISTORY_VERSIONS_MAX: usize = 10_000;

/// Times that a manifest keeps, about.
const TIMES_MAX: usize = 512;

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// Its place in the order.
    pub versionstamp: Versionstamp,
    /// Its log time, or an earlier one by less than a second.
    pub log_time: UnixMillis,
    /// The value and when it expires; `None`: it was deleted.
    pub value: Option<KeptValue>,
}

/// A value, and when it expires.
pub type KeptValue = (Value, Option<UnixMillis>);

impl Engine {
    /// The kept versions of a key, the newest visible one first, at most `limit` of them. The last is what the oldest
    /// snapshot that can still be taken shows, unless `limit` cuts it off.
    ///
    /// # Errors
    /// [`ReadError::Storage`] if a value is on disk and cannot be read.
    pub fn history(&self, space: SpaceId, key: &[u8], limit: usize) -> Result<Vec<KeptVersion>, ReadError> {
        let mut flat = Vec::new();
        push_flat_key(&mut flat, space, key);
        let limit = limit.min(HISTORY_VERSIONS_MAX);
        let mut found: Vec<(u64, Option<KeptValue>)> = Vec::new();
        let mut on_disk = Vec::new();
        {
            let guard = self.reader.pin();
            let at = self.progress.visible();
            let oldest = self.stats.pruned_to.load(Ordering::SeqCst).min(at);
            let ranges = self.ranges.load();
            let mut next = guard.get(&flat, at);
            while let Some(version) = next.filter(|_| found.len() < limit) {
                let stamp = version.stamp();
                if version.is_tombstone() {
                    found.push((stamp, None));
                } else {
                    if let Some(deleted_at) = ranges.deleted_at(&version, at)
                        && found.last().is_none_or(|(newer, _)| *newer > deleted_at)
                    {
                        found.push((deleted_at, None));
                        if deleted_at <= oldest {
                            break;
                        }
                    }
                    let value_type = ValueType::from_number(version.type_tag()).unwrap_or_default();
                    let data = version.value().map(Bytes::copy_from_slice).unwrap_or_else(|| {
                        on_disk.push((found.len(), stamp));
                        Bytes::new()
                    });
                    let expires_at = version.expires_at_ms().map(UnixMillis);
                    found.push((stamp, Some((Value { value_type, data }, expires_at))));
                }
                next = version.older().filter(|_| stamp > oldest);
            }
            found.truncate(limit);
        }
        for (position, stamp) in on_disk {
            if let Some((_, Some((value, _)))) = found.get_mut(position) {
                value.data = self.load(&flat, stamp)?;
            }
        }
        let kept = found.into_iter().map(|(stamp, value)| {
            let versionstamp = Versionstamp::from_raw(stamp);
            KeptVersion { versionstamp, log_time: self.times.time_of(versionstamp), value }
        });
        Ok(kept.collect())
    }

    /// Memory that old versions may take beside what snapshots hold.
    pub(crate) fn history_bytes(&self) -> u64 {
        match self.options.history_retention_ms {
            0 => 0,
            _ => self.options.history_bytes_max.min(self.options.memory_limit_bytes / 4),
        }
    }

    /// Moves the beginning of history on with time, and further if it takes too much memory.
    pub(crate) fn advance_history(&self, is_too_large: bool) {
        let retention_ms = self.options.history_retention_ms;
        if retention_ms == 0 {
            return;
        }
        let from = self.history_from.load(Ordering::SeqCst);
        let visible = self.progress.visible();
        let (_, now) = self.read_point();
        let begin = UnixMillis(now.0.saturating_sub(retention_ms));
        let by_time = self.times.version_before(begin);
        let by_time = by_time.map_or(from, |version| version.raw().min(visible));
        let by_size = if is_too_large { from + visible.saturating_sub(from) / 2 } else { from };
        self.history_from.fetch_max(by_time.max(by_size), Ordering::SeqCst);
    }

    /// History floor and times for the manifest of a checkpoint of `stamp` whose segment is written.
    pub(crate) fn history_of_checkpoint(&self, stamp: u64) -> (u64, Vec<(u64, u64)>) {
        if self.options.history_retention_ms == 0 {
            return (stamp, Vec::new());
        }
        // 0 says that nothing is known.
        let floor = self.history_from.load(Ordering::SeqCst).min(stamp).max(1);
        let times = self.times.since(Versionstamp::from_raw(floor), TIMES_MAX);
        (floor, times)
    }

    /// The oldest version of which a snapshot can surely be taken now.
    pub fn history_floor(&self) -> Versionstamp {
        Versionstamp::from_raw(self.stats.pruned_to.load(Ordering::SeqCst).min(self.progress.visible()))
    }
}

/// A version with bytes of its own.
struct OldVersion {
    key: Vec<u8>,
    stamp: u64,
    type_tag: u8,
    expires_at_ms: Option<u64>,
    /// `None`: a tombstone.
    value: Option<Bytes>,
}

/// Loads the versions that newer ones have replaced. The newest of each key is in the map already, unless it is a
/// tombstone; a key with older ones is put there anew, the oldest first.
pub(crate) struct OldVersions {
    /// `u64::MAX`: no history is wanted.
    floor: u64,
    /// Of the key that is read now: the newest version, the last one read, and whether there is none to come that counts.
    newest: (u64, bool),
    last: u64,
    is_settled: bool,
    has_older: bool,
    versions: Vec<OldVersion>,
    /// Keys whose newest version is in the map, and its stamp.
    covered: Vec<(Vec<u8>, u64)>,
}

impl OldVersions {
    pub(crate) fn above(floor: u64) -> OldVersions {
        OldVersions {
            floor,
            newest: (0, false),
            last: 0,
            is_settled: true,
            has_older: false,
            versions: Vec::new(),
            covered: Vec::new(),
        }
    }

    /// The newest version of the next key.
    pub(crate) fn newest(&mut self, entry: &SegmentEntry<'_>) {
        self.newest = (entry.stamp, entry.kind == EntryKind::Tombstone);
        self.last = entry.stamp;
        self.is_settled = entry.stamp <= self.floor;
        self.has_older = false;
    }

    /// An older version of the same key.
    pub(crate) fn older(&mut self, entry: &SegmentEntry<'_>) {
        if self.is_settled || entry.stamp == self.last {
            return;
        }
        self.last = entry.stamp;
        self.is_settled = entry.stamp <= self.floor;
        let is_tombstone = entry.kind == EntryKind::Tombstone;
        if self.is_settled && is_tombstone {
            return;
        }
        let key = entry.key.to_vec();
        if !std::mem::replace(&mut self.has_older, true) {
            let (stamp, is_deleted) = self.newest;
            if is_deleted {
                let key = key.clone();
                self.versions.push(OldVersion { key, stamp, type_tag: 0, expires_at_ms: None, value: None });
            } else {
                self.covered.push((key.clone(), stamp));
            }
        }
        self.versions.push(OldVersion {
            key,
            stamp: entry.stamp,
            type_tag: entry.type_tag,
            expires_at_ms: entry.expires_at_ms,
            value: (!is_tombstone).then(|| Bytes::copy_from_slice(entry.value)),
        });
    }

    /// Takes over what was read of later keys.
    pub(crate) fn absorb(&mut self, mut other: OldVersions) {
        self.versions.append(&mut other.versions);
        self.covered.append(&mut other.covered);
    }

    /// Puts them into the map; returns the tombstones that are the newest of their keys, to leave memory some day.
    pub(crate) fn finish(
        mut self,
        map: &mut MapWriter,
        segments: &[Arc<Segment>],
    ) -> Result<Vec<(Vec<u8>, u64)>, StorageError> {
        for (key, stamp) in self.covered {
            let Some(version) = map.newest(&key) else { continue };
            let value = match version.value() {
                Some(value) => Bytes::copy_from_slice(value),
                None => value_in(segments, &key, stamp)?,
            };
            let (type_tag, expires_at_ms) = (version.type_tag(), version.expires_at_ms());
            map.remove(&key, stamp);
            self.versions.push(OldVersion { key, stamp, type_tag, expires_at_ms, value: Some(value) });
        }
        self.versions.sort_by_key(|version| version.stamp);
        for version in &self.versions {
            let content = version.value.as_deref().map_or(Content::Tombstone, Content::Value);
            let OldVersion { stamp, type_tag, expires_at_ms, .. } = *version;
            map.upsert(&version.key, NewVersion { stamp, type_tag, expires_at_ms, content });
        }
        let is_newest = |version: &OldVersion| {
            map.newest(&version.key).is_some_and(|newest| newest.stamp() == version.stamp)
        };
        let gone = self.versions.iter().filter(|version| version.value.is_none() && is_newest(version));
        Ok(gone.map(|version| (version.key.clone(), version.stamp)).collect())
    }
}

/// The value of one version.
pub(crate) fn value_in(segments: &[Arc<Segment>], key: &[u8], stamp: u64) -> Result<Bytes, StorageError> {
    for segment in segments.iter().rev() {
        if let Some(version) = segment.get(key, stamp)?
            && version.stamp == stamp
        {
            return Ok(version.value);
        }
    }
    Err(StorageError::corrupt("segments", 0, "a value is in no segment"))
}
