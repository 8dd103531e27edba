//! Reading a log that is in use: groups in order from a place on, for the feed.
//!
//! The caller knows that groups up to the index it asks for are whole, so anything else that is found on the way is
//! damage, or a file that was let go and is written again: never an end.

use crate::error::StorageError;
use crate::format::{DatabaseId, HEADER_SIZE_BYTES};
use crate::wal::Group;
use crate::wal::frame::FrameError;
use crate::wal::log::{LOG_DIR, log_number, log_path};
use crate::wal::replay::FrameReader;
use orchard_env::Disk;
use std::ops::ControlFlow;

/// A place before a frame, or at the end of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPlace {
    /// Number of the file.
    number: u64,
    /// Offset in it; 0: at its header.
    offset_bytes: u64,
    /// Checksum of the frame before, if known.
    chain: Option<u64>,
}

/// Numbers of the log files from `first` on, in order.
///
/// # Errors
/// What the disk says.
pub fn list_numbers(disk: &dyn Disk, first: u64) -> Result<Vec<u64>, StorageError> {
    let names = disk.list(LOG_DIR).map_err(StorageError::io(LOG_DIR))?;
    let mut numbers: Vec<u64> =
        names.iter().filter_map(|name| log_number(name)).filter(|number| *number >= first).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The index of the first frame of a file; `None` if there is none. A file that was written before may hold frames of
/// its earlier number.
fn first_index(disk: &dyn Disk, database: DatabaseId, number: u64) -> Result<Option<u64>, StorageError> {
    let (mut reader, header) = FrameReader::open(disk, database, number)?;
    header?;
    Ok(reader.frame_at(HEADER_SIZE_BYTES as u64)?.ok().map(|frame| frame.group.index))
}

/// The start of the last file, from `first` on, that may hold index `index`.
///
/// # Errors
/// What the disk says.
pub fn find(disk: &dyn Disk, database: DatabaseId, first: u64, index: u64) -> Result<LogPlace, StorageError> {
    let mut found = first;
    for number in list_numbers(disk, first)? {
        match first_index(disk, database, number)? {
            Some(begins) if begins > index => break,
            Some(_) => found = number,
            None => {}
        }
    }
    Ok(LogPlace { number: found, offset_bytes: 0, chain: None })
}

/// Hands groups from `start` on up to index `last_index` to `visit`, until it breaks; returns the place behind the last
/// one that it was given.
///
/// # Errors
/// What the disk says, or damage; a file that is gone.
pub fn read_groups(
    disk: &dyn Disk,
    database: DatabaseId,
    start: LogPlace,
    last_index: u64,
    mut visit: impl FnMut(Group) -> ControlFlow<()>,
) -> Result<LogPlace, StorageError> {
    let mut place = start;
    loop {
        let (mut reader, header) = FrameReader::open(disk, database, place.number)?;
        let header = header?;
        let path = log_path(place.number);
        if place.offset_bytes == 0 {
            if place.chain.is_some_and(|chain| chain != header.link) {
                return Err(StorageError::corrupt(path, 0, "the file does not continue the log before it"));
            }
            place = LogPlace {
                number: place.number,
                offset_bytes: HEADER_SIZE_BYTES as u64,
                chain: Some(header.link),
            };
        }
        let found = loop {
            match reader.frame_at(place.offset_bytes)? {
                Ok(frame) if Some(frame.previous_checksum) == place.chain => {
                    let index = frame.group.index;
                    if index > last_index {
                        return Ok(place);
                    }
                    place.offset_bytes += frame.padded_size_bytes as u64;
                    place.chain = Some(frame.checksum);
                    if visit(frame.group).is_break() || index == last_index {
                        return Ok(place);
                    }
                }
                Ok(_) => break "a frame of another chain".to_owned(),
                Err(FrameError::Newer(detail)) => return Err(StorageError::newer(path, detail)),
                Err(FrameError::Damaged(detail)) => break detail,
                Err(FrameError::NoMagic) => break "no frame".to_owned(),
            }
        };
        // The file's end, if another one follows that continues it.
        let next = list_numbers(disk, place.number + 1)?.first().copied();
        let Some(number) = next else {
            return Err(StorageError::corrupt(
                path,
                place.offset_bytes,
                format!("the log ends here: {found}"),
            ));
        };
        place = LogPlace { number, offset_bytes: 0, chain: place.chain };
    }
}
