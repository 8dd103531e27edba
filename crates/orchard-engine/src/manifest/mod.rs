//! The manifest: one small file that says which files make up the database.
//!
//! Invariants:
//! - It is replaced whole: written beside, synced, renamed, the directory synced. A crash leaves the old one or the
//!   new one.
//! - It names no file that is not durable: a [`SegmentMeta`] comes out of [`SegmentWriter::finish`], and the caller
//!   has synced the first live log.
//! - Opening it reads only `MANIFEST`; a `MANIFEST.new` that a crash left is ignored and overwritten by the next one.
//!
//! [`SegmentWriter::finish`]: crate::segment::SegmentWriter::finish

mod codec;

#[cfg(test)]
mod tests;

pub use codec::decode;

use crate::error::StorageError;
use crate::format::DatabaseId;
use crate::segment::SegmentMeta;
use crate::wal::log::{LogFileEnd, OldLogFile};
use orchard_env::{Disk, OpenMode};
use orchard_types::SpaceId;
use std::collections::BTreeMap;
use std::io;

/// Path of the manifest inside the data directory.
pub const PATH: &str = "MANIFEST";
/// Where the next manifest is written before it takes the place of the last.
pub const PATH_NEW: &str = "MANIFEST.new";
/// Largest manifest that is read: some ten times what a million databases need.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 30;

/// Where the log ended when the engine was stopped in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CleanEnd {
    /// Number of the last log file.
    pub log_number: u64,
    /// Length of its content.
    pub offset_bytes: u64,
    /// Checksum of the last frame.
    pub frame_checksum: u64,
    /// Time of the last group, in Unix milliseconds.
    pub log_time_ms: u64,
}

/// What the manifest says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Manifest {
    /// Id of the database.
    pub database: DatabaseId,
    /// Larger than that of the manifest before.
    pub sequence: u64,
    /// The segments in age order, the oldest first.
    pub segments: Vec<SegmentMeta>,
    /// The first log file that holds something no segment holds. Later ones have consecutive numbers.
    pub first_log: u64,
    /// Where the log ended, if the engine was stopped in order and nothing was written since.
    pub clean_end: Option<CleanEnd>,
    /// No log index at or above it may be given out before a newer manifest is durable.
    pub reserved_index: u64,
    /// Every version at or below this stamp is in the segments.
    pub checkpoint_stamp: u64,
    /// Checks below this stamp fail as too old: tombstones may be missing there.
    pub tombstone_floor: u64,
    /// Snapshots below this stamp fail as too old: versions may be missing there.
    pub history_floor: u64,
    /// No segment file has had this number or a larger one.
    pub next_segment: u64,
    /// No log file had this number or a larger one when the manifest was written; there may be some by now.
    pub next_log: u64,
    /// Time of the newest group in the segments, in Unix milliseconds: no later group has an earlier one.
    pub checkpoint_log_time_ms: u64,
    /// The newest `apply_version` that wrote into the log.
    pub apply_version: u32,
    /// The databases by name.
    pub spaces: BTreeMap<String, SpaceId>,
    /// No database has had this space or a larger one.
    pub next_space: u32,
    /// When versions were that history still shows: pairs of log time (Unix milliseconds) and first stamp, both increasing.
    pub times: Vec<(u64, u64)>,
    /// Log files before `first_log` that stay for the feed, oldest first. Recovery does not read them.
    pub retained: Vec<OldLogFile>,
    /// What the log before the oldest file that stays ended with: the feed is whole behind it.
    pub feed_floor: LogFileEnd,
}

impl Manifest {
    /// The feed's floor of a manifest that names no files for it: the checkpoint.
    fn checkpoint_end(&self) -> LogFileEnd {
        LogFileEnd {
            last_commit: self.checkpoint_stamp,
            last_stamp: self.checkpoint_stamp,
            last_time_ms: self.checkpoint_log_time_ms,
        }
    }

    /// The first log file that the feed can read.
    pub fn first_feed_log(&self) -> u64 {
        self.retained.first().map_or(self.first_log, |file| file.number)
    }

    /// Reads the manifest; `None` if there is none.
    ///
    /// # Errors
    /// What the disk says, damage, or a newer format.
    pub fn load(disk: &dyn Disk) -> Result<Option<Manifest>, StorageError> {
        match read(disk, PATH)? {
            Some(bytes) => decode(&bytes).map(Some),
            None => Ok(None),
        }
    }

    /// Makes `self` the manifest. It is durable on return; after an error either it or the one before is there.
    ///
    /// # Errors
    /// What the disk says.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let bytes = codec::encode(self);
        write_durable(disk, PATH_NEW, &bytes)?;
        disk.rename(PATH_NEW, PATH).map_err(StorageError::io(PATH_NEW))?;
        disk.sync_dir("").map_err(StorageError::io(PATH))
    }
}

fn write_durable(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let file = disk.open(path, OpenMode::Create).map_err(StorageError::io(path))?;
    file.write_all_at(0, bytes).map_err(StorageError::io(path))?;
    file.sync_data().map_err(StorageError::io(path))
}

fn read(disk: &dyn Disk, path: &str) -> Result<Option<Vec<u8>>, StorageError> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(StorageError::Io { file: path.into(), source }),
    };
    let size_bytes = file.len_bytes().map_err(StorageError::io(path))?;
    if size_bytes > FILE_SIZE_BYTES_MAX {
        return Err(StorageError::corrupt(
            path,
            FILE_SIZE_BYTES_MAX,
            "the manifest is longer than any can be",
        ));
    }
    let mut bytes = vec![0; usize::try_from(size_bytes).unwrap_or_default()];
    file.read_exact_at(0, &mut bytes).map_err(StorageError::io(path))?;
    Ok(Some(bytes))
}
