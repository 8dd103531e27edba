//! Reading what is left of a damaged log, for `orchard repair`.
//!
//! - A frame that verifies was written at its place in its file, whatever stands before it: reading goes on behind damage.
//! - Each frame and each file names the checksum before it: what is missing is noticed even where nothing is damaged.
//! - Bytes behind the end of a file that the next file does not go on from were cut off by an open: they stay out.

use crate::error::{Corruption, StorageError};
use crate::format::{DatabaseId, HEADER_SIZE_BYTES};
use crate::wal::Group;
use crate::wal::frame::FrameError;
use crate::wal::log::{LogPosition, log_path};
use crate::wal::replay::{FrameReader, list_files};
use orchard_env::Disk;
use orchard_types::UnixMillis;

/// Where reading ended.
#[derive(Debug, Default)]
pub struct SalvageEnd {
    /// Index of the last group.
    pub last_index: u64,
    /// Its time.
    pub last_log_time: UnixMillis,
    /// Where a torn tail begins: file and offset.
    pub torn: Option<(String, u64)>,
}

/// What of the log to read.
#[derive(Clone, Copy, Debug)]
pub struct SalvageFrom {
    /// The first file; `None` if that is not known: all files.
    pub first_log: Option<u64>,
    /// Segments hold the groups up to this one.
    pub after_index: u64,
    /// Where a clean stop says that the log ended.
    pub clean_end: Option<LogPosition>,
}

fn corruption(number: u64, offset_bytes: u64, detail: impl Into<String>) -> Corruption {
    Corruption { file: log_path(number), offset_bytes, detail: detail.into() }
}

/// Hands every group that verifies and that no segment holds to `visit`, in order, and puts into `lost` what is missing
/// between them.
///
/// # Errors
/// What the disk or `visit` says, or a newer format.
pub fn salvage(
    disk: &dyn Disk,
    database: DatabaseId,
    from: SalvageFrom,
    lost: &mut Vec<Corruption>,
    mut visit: impl FnMut(&Group, &str, u64, &mut Vec<Corruption>) -> Result<(), StorageError>,
) -> Result<SalvageEnd, StorageError> {
    let files = list_files(disk)?.into_keys();
    let files: Vec<u64> =
        files.filter(|number| from.first_log.is_none_or(|first| *number >= first)).collect();
    let mut end = SalvageEnd { last_index: 0, ..SalvageEnd::default() };
    let mut expected = from.first_log;
    if files.is_empty() {
        lost.push(corruption(expected.unwrap_or(1), 0, "the log file is missing"));
    }
    // Checksum of the last frame, and where it ended.
    let mut chain: Option<(u64, u64, u64)> = None;
    for (position, number) in files.iter().copied().enumerate() {
        let is_last = position + 1 == files.len();
        if let Some(missing) = expected.filter(|expected| *expected != number) {
            lost.push(corruption(missing, 0, "the log file is missing"));
            chain = None;
        }
        expected = Some(number + 1);
        let (mut reader, header) = FrameReader::open(disk, database, number)?;
        let mut offset = HEADER_SIZE_BYTES as u64;
        match header {
            Ok(header) => {
                if let Some((sum, file, end_bytes)) = chain
                    && sum != header.link
                {
                    lost.push(corruption(
                        file,
                        end_bytes,
                        "the next file goes on from a frame that is not here",
                    ));
                }
                chain = Some((header.link, number, offset));
            }
            Err(StorageError::Corrupt(damage)) => {
                if is_last && position > 0 && reader.find_frame(offset - 8, |_| true)?.is_none() {
                    // A rotation left it half made.
                    end.torn = Some((damage.file, 0));
                    break;
                }
                lost.push(damage);
            }
            Err(error) => return Err(error),
        }
        let next_link = match files.get(position + 1) {
            Some(next) if *next == number + 1 => {
                FrameReader::open(disk, database, *next)?.1.ok().map(|header| header.link)
            }
            _ => None,
        };
        loop {
            let found = match reader.frame_at(offset)? {
                Ok(frame) if frame.group.index > end.last_index => {
                    if chain.is_some_and(|(sum, ..)| sum != frame.previous_checksum) {
                        lost.push(corruption(number, offset, "frames before this one are missing"));
                    }
                    end.last_index = frame.group.index;
                    end.last_log_time = frame.group.log_time.max(end.last_log_time);
                    if frame.group.index > from.after_index {
                        visit(&frame.group, &log_path(number), offset, lost)?;
                    }
                    offset += frame.padded_size_bytes as u64;
                    chain = Some((frame.checksum, number, offset));
                    continue;
                }
                Ok(frame) => format!("log index {} after {}", frame.group.index, end.last_index),
                Err(FrameError::Newer(detail)) => return Err(StorageError::newer(log_path(number), detail)),
                Err(FrameError::Damaged(detail)) => detail,
                Err(FrameError::NoMagic) => "no frame".to_owned(),
            };
            if next_link.is_some() && next_link == chain.map(|(sum, ..)| sum) {
                break;
            }
            let was_longer =
                from.clean_end.is_some_and(|clean| (clean.number, clean.offset_bytes) > (number, offset));
            if is_last && !was_longer && reader.proof_of_damage(offset, end.last_index)?.is_none() {
                end.torn = (found != "no frame").then(|| (log_path(number), offset));
                break;
            }
            let last_index = end.last_index;
            let Some(at) = reader.find_frame(offset, |frame| frame.group.index > last_index)? else {
                // Where a file follows, its link tells whether something is missing here.
                if is_last {
                    lost.push(corruption(number, offset, format!("{found}; the rest of the log is lost")));
                }
                break;
            };
            lost.push(corruption(number, offset, format!("{found}; the log up to byte {at} is lost")));
            offset = at;
            chain = None;
        }
    }
    Ok(end)
}
