//! Looking back: versions that newer ones have replaced, as long as they are kept.
//!
//! - Within the configured retention, and as long as old versions take no more memory than they may, no version goes that
//!   a snapshot within it would show.
//! - Old versions are in memory alone: when a database is opened, the newest of each key is all there is.

use crate::engine::Engine;
use crate::error::ReadError;
use crate::format::push_flat_key;
use crate::times::STEP_MS;
use bytes::Bytes;
use orchard_types::{SpaceId, UnixMillis, Value, ValueType, Versionstamp};
use std::sync::atomic::Ordering;

/// Versions of one key that one look returns at most.
pub const HISTORY_VERSIONS_MAX: usize = 10_000;

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
        let core = self.core.lock();
        let kept = found.into_iter().map(|(stamp, value)| {
            let versionstamp = Versionstamp::from_raw(stamp);
            KeptVersion { versionstamp, log_time: core.times.time_of(versionstamp), value }
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
        // A version is looked up by time in steps, which may be later than the time asked for.
        let begin = UnixMillis(now.0.saturating_sub(retention_ms).saturating_sub(STEP_MS));
        let by_time = self.version_at(begin).map_or(from, |version| version.raw().min(visible));
        let by_size = if is_too_large { from + visible.saturating_sub(from) / 2 } else { from };
        self.history_from.fetch_max(by_time.max(by_size), Ordering::SeqCst);
    }

    /// The oldest version of which a snapshot can surely be taken now.
    pub fn history_floor(&self) -> Versionstamp {
        Versionstamp::from_raw(self.stats.pruned_to.load(Ordering::SeqCst).min(self.progress.visible()))
    }
}
