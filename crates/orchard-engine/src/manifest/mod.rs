//! The manifest: one small file that says which files make up the database.
//!
//! Invariants:
//! - It is replaced whole: written beside, synced, read back, renamed, the directory synced. A crash leaves the old one or
//!   the new one.
//! - It is there twice, and both copies are replaced before a file goes that only the old one names. So each copy that is
//!   whole, the other one's next or not, opens to the same commits; and damage to one costs nothing.
//! - It names no file that is not durable: a [`SegmentMeta`] comes out of [`SegmentWriter::finish`], and the caller
//!   has synced the first live log.
//! - Opening it reads `MANIFEST`, and `MANIFEST.copy` only if that is damaged or gone; what a crash left of the next one is
//!   ignored and overwritten.
//!
//! [`SegmentWriter::finish`]: crate::segment::SegmentWriter::finish

mod codec;

#[cfg(test)]
mod tests;

pub use codec::decode;

use crate::error::StorageError;
use crate::format::DatabaseId;
use crate::mutants::{self, Mutant};
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
/// The same bytes once more.
pub const PATH_COPY: &str = "MANIFEST.copy";
/// Where the next copy is written.
pub const PATH_COPY_NEW: &str = "MANIFEST.copy.new";
/// Largest manifest that is read: some ten times what a million databases need.
const FILE_SIZE_BYTES_MAX: u64 = 1 << 30;
/// What a manifest that can no longer be read may have reserved beyond its copy. They are the same unless a disk lost a
/// write that it had confirmed, or a version without a copy was here in between.
const RESERVED_AHEAD: u64 = 1 << 20;

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

/// A manifest as it was found.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub manifest: Manifest,
    /// Why the second copy had to serve: what is wrong with the first.
    pub damage: Option<StorageError>,
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

    /// Reads the manifest, from its second copy if the first is damaged, cannot be read or is gone; `None` if there is
    /// neither.
    ///
    /// # Errors
    /// What is wrong with the first copy if the second does not serve either; a newer format.
    pub fn load(disk: &dyn Disk) -> Result<Option<Loaded>, StorageError> {
        let damage = match load_copy(disk, PATH) {
            Ok(Some(manifest)) => return Ok(Some(Loaded { manifest, damage: None })),
            Err(error @ StorageError::NewerFormat { .. }) => return Err(error),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        match (load_copy(disk, PATH_COPY), damage) {
            (Ok(Some(manifest)), damage) => {
                // The first one there is may be cut off by a crash between its two names.
                let is_first = manifest.sequence <= 1;
                let missing = || StorageError::corrupt(PATH, 0, "missing");
                let damage = damage.or_else(|| (!is_first).then(missing));
                let reserved_index = manifest.reserved_index.saturating_add(RESERVED_AHEAD);
                let manifest = match &damage {
                    Some(_) => Manifest { reserved_index, ..manifest },
                    None => manifest,
                };
                Ok(Some(Loaded { manifest, damage }))
            }
            (Ok(None), None) => Ok(None),
            (Err(error), None) | (Ok(None), Some(error)) => Err(error),
            (Err(second), Some(StorageError::Corrupt(mut first))) => {
                first.detail.push_str(&format!("; and {second}"));
                Err(StorageError::Corrupt(first))
            }
            (Err(_), Some(first)) => Err(first),
        }
    }

    /// Makes `self` the manifest. It is durable on return; after an error either it or the one before is there.
    ///
    /// # Errors
    /// What the disk says, or that it holds other bytes than it was given.
    pub fn store(&self, disk: &dyn Disk) -> Result<(), StorageError> {
        let bytes = codec::encode(self);
        write_durable(disk, PATH_NEW, &bytes)?;
        if !mutants::enabled(Mutant::ManifestCopyStale) || self.sequence <= 1 {
            write_durable(disk, PATH_COPY_NEW, &bytes)?;
            disk.rename(PATH_COPY_NEW, PATH_COPY).map_err(StorageError::io(PATH_COPY_NEW))?;
        }
        disk.rename(PATH_NEW, PATH).map_err(StorageError::io(PATH_NEW))?;
        disk.sync_dir("").map_err(StorageError::io(PATH))
    }
}

/// The difference of one copy from the manifest in use; `None` if it is the same.
///
/// # Errors
/// What the disk says.
pub(crate) fn damage_of_copy(disk: &dyn Disk) -> Result<Option<StorageError>, StorageError> {
    match load_copy(disk, PATH_COPY) {
        // Another one than the first: a crash fell between the two. None: of a version that kept none.
        Ok(_) => Ok(None),
        Err(error @ (StorageError::Corrupt(_) | StorageError::NewerFormat { .. })) => Ok(Some(error)),
        Err(error) => Err(error),
    }
}

fn load_copy(disk: &dyn Disk, path: &str) -> Result<Option<Manifest>, StorageError> {
    match read(disk, path)? {
        Some(bytes) => codec::decode_at(path, &bytes).map(Some),
        None => Ok(None),
    }
}

/// Writes a file and reads it back: what takes an old manifest's place must be known to be good.
fn write_durable(disk: &dyn Disk, path: &str, bytes: &[u8]) -> Result<(), StorageError> {
    let file = disk.open(path, OpenMode::Create).map_err(StorageError::io(path))?;
    file.write_all_at(0, bytes).map_err(StorageError::io(path))?;
    file.sync_data().map_err(StorageError::io(path))?;
    let found = read(disk, path)?.unwrap_or_default();
    if found == bytes {
        return Ok(());
    }
    let same = found.iter().zip(bytes).take_while(|(found, written)| found == written).count();
    Err(StorageError::corrupt(path, same as u64, "the disk gives back other bytes than were written"))
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
