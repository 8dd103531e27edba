//! The committed changes in order, read back from the log files.

use crate::engine::Engine;
use crate::error::StorageError;
use crate::wal::record::{self, Record};
use crate::wal::replay;
use orchard_types::{Durability, Mutation, UnixMillis, Versionstamp};

/// One commit as the feed shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place.
    pub versionstamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// What it did, as it was asked for.
    pub mutations: Vec<Mutation>,
}

/// Why there is no feed from that version on.
#[derive(Debug)]
pub enum ChangesError {
    /// Commits behind the asked version are no longer (or never were) in the log: start again from a snapshot at or
    /// behind `restart_at`.
    Gap {
        /// The first version from which the feed is whole.
        restart_at: Versionstamp,
    },
    /// The log could not be read.
    Storage(StorageError),
}

impl Engine {
    /// Every commit behind `from` up to `visible`, in order and without gaps; at most `limit` of them.
    ///
    /// # Errors
    /// [`ChangesError::Gap`] if the log does not reach back that far, if `from` lies behind its end, or if a crash has
    /// taken `from` back: below `fsync` a reader may have seen it.
    pub fn changes(&self, from: Versionstamp, limit: usize) -> Result<Vec<Change>, ChangesError> {
        let visible = self.visible().min(self.watermark(Durability::Os));
        let (first_log, floor) = {
            let manifest = self.manifest.lock();
            (manifest.first_log, Versionstamp::from_raw(manifest.checkpoint_stamp))
        };
        if from < floor || from > self.visible() {
            return Err(ChangesError::Gap { restart_at: floor });
        }
        if from >= visible {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        let mut is_in_log = from == floor;
        replay::read_groups(self.env.disk.as_ref(), self.database, first_log, visible.index(), |group| {
            is_in_log |= group.index == from.index() && u32::from(from.place()) < group.count.max(1);
            if group.index > from.index() && !is_in_log {
                return false;
            }
            let mut rest = group.payload.as_slice();
            for place in 0..group.count {
                let Ok((Record { mutations, .. }, behind)) = record::decode(rest) else { return false };
                rest = behind;
                let versionstamp = Versionstamp::new(group.index, place as u16);
                if versionstamp > from && versionstamp <= visible {
                    changes.push(Change { versionstamp, log_time: group.log_time, mutations });
                }
                if changes.len() >= limit {
                    return false;
                }
            }
            true
        })
        .map_err(ChangesError::Storage)?;
        if is_in_log { Ok(changes) } else { Err(ChangesError::Gap { restart_at: floor }) }
    }
}
