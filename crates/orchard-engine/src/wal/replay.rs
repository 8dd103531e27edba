//! Reading the log back: every whole group in order, and where the log ends.

use crate::error::StorageError;
use crate::format::{DatabaseId, FileHeader, FileKind, HEADER_SIZE_BYTES};
use crate::mutants::{self, Mutant};
use crate::wal::Group;
use crate::wal::frame::{self, Frame, FrameError, FramePlace};
use crate::wal::log::{LOG_DIR, LogFileEnd, LogPosition, OldLogFile, log_number, log_path};
use orchard_env::{Disk, DiskFile, OpenMode};
use orchard_types::UnixMillis;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

/// Where a log ends, and what files it has.
#[derive(Debug)]
pub struct LogEnd {
    /// Behind the last whole group.
    pub position: LogPosition,
    /// Index of the last whole group.
    pub last_index: Option<u64>,
    /// Its time.
    pub last_log_time: UnixMillis,
    /// Its stamp, and that of the last commit; zero where the live log has none.
    pub file_end: LogFileEnd,
    /// Bytes behind the end were written, but are no whole group.
    pub torn: bool,
    /// Live files before the last one.
    pub old: VecDeque<OldLogFile>,
    /// Files before the first live one.
    pub spares: Vec<OldLogFile>,
    /// A file that a rotation left half made.
    pub unfinished: Option<u64>,
    /// Up to here a later group proves that the last file is on disk. What lies behind may be in the kernel alone, even
    /// marked clean by an fsync that failed.
    pub proven_bytes: u64,
}

/// Reads frames of one file one behind the other.
pub struct FrameReader {
    file: Arc<dyn DiskFile>,
    path: String,
    length_bytes: u64,
    database: DatabaseId,
    number: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl FrameReader {
    const READ_AHEAD_BYTES: usize = 1 << 20;

    pub(super) fn open(
        disk: &dyn Disk,
        database: DatabaseId,
        number: u64,
    ) -> Result<(FrameReader, Result<FileHeader, StorageError>), StorageError> {
        let path = log_path(number);
        let file = disk.open(&path, OpenMode::Read).map_err(StorageError::io(&path))?;
        let length_bytes = file.len_bytes().map_err(StorageError::io(&path))?;
        let mut reader =
            FrameReader { file, path, length_bytes, database, number, buffer: Vec::new(), buffer_at: 0 };
        let head = reader.window(0, HEADER_SIZE_BYTES)?;
        let header = FileHeader::decode(&log_path(number), head, FileKind::Log, Some(database), number);
        Ok((reader, header))
    }

    /// At least `wanted` bytes from `offset`, fewer only at the end of the file.
    fn window(&mut self, offset: u64, wanted: usize) -> Result<&[u8], StorageError> {
        let have_from = self.buffer_at;
        let have_to = have_from + self.buffer.len() as u64;
        let end = (offset + wanted as u64).min(self.length_bytes);
        if offset < have_from || end > have_to {
            // A reader that goes on reads ahead; one that looks at the beginning does not.
            let ahead = if offset == 0 { 4_096 } else { Self::READ_AHEAD_BYTES };
            let count = wanted.max(ahead) as u64;
            let count = count.min(self.length_bytes.saturating_sub(offset));
            self.buffer.clear();
            self.buffer.resize(usize::try_from(count).unwrap_or(0), 0);
            self.file.read_exact_at(offset, &mut self.buffer).map_err(StorageError::io(&self.path))?;
            self.buffer_at = offset;
        }
        let from = usize::try_from(offset - self.buffer_at).unwrap_or(usize::MAX);
        Ok(self.buffer.get(from..).unwrap_or_default())
    }

    pub(super) fn frame_at(&mut self, offset_bytes: u64) -> Result<Result<Frame, FrameError>, StorageError> {
        let claimed = match frame::claimed_length(self.window(offset_bytes, frame::FRAME_HEAD_SIZE_BYTES)?) {
            Ok(claimed) => claimed,
            Err(error) => return Ok(Err(error)),
        };
        let place = FramePlace { database: self.database, file_number: self.number, offset_bytes };
        let bytes = self.window(offset_bytes, claimed)?;
        Ok(frame::decode(bytes, place))
    }

    /// Any whole frame behind `offset` that knows more than `last_index` to be durable: then the damage at `offset` was
    /// durable too, and is no torn tail.
    pub(super) fn proof_of_damage(
        &mut self,
        offset: u64,
        last_index: u64,
    ) -> Result<Option<u64>, StorageError> {
        self.find_frame(offset, |frame| frame.synced_through > last_index)
    }

    /// The first whole frame behind `offset` that is `wanted`.
    pub(super) fn find_frame(
        &mut self,
        offset: u64,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<Option<u64>, StorageError> {
        const STEP: u64 = 8;
        let mut at = offset + STEP;
        while at + (frame::FRAME_OVERHEAD_BYTES as u64) <= self.length_bytes {
            let window = self.window(at, frame::FRAME_HEAD_SIZE_BYTES)?;
            let magic = frame::FRAME_MAGIC.to_le_bytes();
            let Some(step) = window.chunks(STEP as usize).position(|chunk| chunk.starts_with(&magic)) else {
                at += (window.len() as u64 / STEP).max(1) * STEP;
                continue;
            };
            at += step as u64 * STEP;
            if let Ok(frame) = self.frame_at(at)?
                && wanted(&frame)
            {
                return Ok(Some(at));
            }
            at += STEP;
        }
        Ok(None)
    }
}

/// Names of the files in a directory; none if it does not exist.
///
/// # Errors
/// What the disk says.
pub(crate) fn list_names(disk: &dyn Disk, directory: &str) -> Result<Vec<String>, StorageError> {
    match disk.list(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        names => names.map_err(StorageError::io(directory)),
    }
}

/// The log files of a directory: number -> length.
///
/// # Errors
/// What the disk says.
pub fn list_files(disk: &dyn Disk) -> Result<BTreeMap<u64, u64>, StorageError> {
    let mut files = BTreeMap::new();
    for name in list_names(disk, LOG_DIR)? {
        if let Some(number) = log_number(&name) {
            let path = log_path(number);
            let file = disk.open(&path, OpenMode::Read).map_err(StorageError::io(&path))?;
            files.insert(number, file.len_bytes().map_err(StorageError::io(&path))?);
        }
    }
    Ok(files)
}

/// Reads the log from file `first_live` on and hands every whole group to `visit`. `after_index`: the last index that
/// segments hold; every group must lie behind it. `clean_end`: where a clean stop says that the log ended.
///
/// # Errors
/// Damage that is no torn tail, naming file and offset; what `visit` or the disk says.
pub fn replay(
    disk: &dyn Disk,
    database: DatabaseId,
    first_live: u64,
    after_index: u64,
    clean_end: Option<LogPosition>,
    mut visit: impl FnMut(&Group, &str, u64) -> Result<(), StorageError>,
) -> Result<LogEnd, StorageError> {
    let files = list_files(disk)?;
    let spares = files
        .range(..first_live)
        .map(|(number, size_bytes)| OldLogFile {
            number: *number,
            size_bytes: *size_bytes,
            end: LogFileEnd::default(),
        })
        .collect();
    let live: Vec<(u64, u64)> =
        files.range(first_live..).map(|(number, size_bytes)| (*number, *size_bytes)).collect();
    for ((number, _), expected) in live.iter().zip(first_live..) {
        if *number != expected {
            return Err(StorageError::corrupt(log_path(expected), 0, "the log file is missing"));
        }
    }
    if live.is_empty() {
        return Err(StorageError::corrupt(log_path(first_live), 0, "the log file is missing"));
    }
    let mut end = LogEnd {
        position: LogPosition { number: first_live, offset_bytes: 0, previous_checksum: 0 },
        last_index: None,
        last_log_time: UnixMillis(0),
        file_end: LogFileEnd::default(),
        torn: false,
        old: VecDeque::new(),
        spares,
        unfinished: None,
        proven_bytes: 0,
    };
    let mut last_index = after_index;
    // Groups of the current file that no later one has proven yet: index, and where they end.
    let mut unproven: VecDeque<(u64, u64)> = VecDeque::new();
    for (position_in_list, (number, _)) in live.iter().enumerate() {
        let (mut reader, header) = FrameReader::open(disk, database, *number)?;
        let header = match header {
            Ok(header) => header,
            Err(error @ StorageError::NewerFormat { .. }) => return Err(error),
            Err(error) => {
                let is_last = position_in_list + 1 == live.len();
                let may_be_unfinished = is_last && *number != first_live;
                if may_be_unfinished
                    && reader.proof_of_damage(HEADER_SIZE_BYTES as u64 - 8, 0)?.is_none()
                    && !holds_any_frame(&mut reader)?
                {
                    end.unfinished = Some(*number);
                    break;
                }
                return Err(error);
            }
        };
        if position_in_list == 0 {
            end.position.previous_checksum = header.link;
        } else {
            if header.link != end.position.previous_checksum {
                return Err(StorageError::corrupt(
                    log_path(end.position.number),
                    end.position.offset_bytes,
                    "the log goes on in the next file, but this frame is damaged",
                ));
            }
            end.torn = false;
            end.old.push_back(OldLogFile {
                number: number - 1,
                size_bytes: live.get(position_in_list - 1).map_or(0, |file| file.1),
                end: end.file_end,
            });
        }
        end.position.number = *number;
        end.position.offset_bytes = HEADER_SIZE_BYTES as u64;
        end.proven_bytes = 0;
        unproven.clear();
        loop {
            let offset = end.position.offset_bytes;
            let frame = match reader.frame_at(offset)? {
                Ok(frame)
                    if frame.previous_checksum == end.position.previous_checksum
                        || mutants::enabled(Mutant::StaleFrameAccepted) =>
                {
                    frame
                }
                Err(FrameError::Newer(detail)) => return Err(StorageError::newer(&reader.path, detail)),
                other => {
                    let is_last = position_in_list + 1 == live.len();
                    let beyond =
                        clean_end.is_some_and(|clean| (clean.number, clean.offset_bytes) > (*number, offset));
                    let found = match other {
                        Ok(_) => "a frame of another chain".to_owned(),
                        Err(FrameError::Damaged(detail)) => detail,
                        Err(FrameError::NoMagic | FrameError::Newer(_)) => "no frame".to_owned(),
                    };
                    if is_last && beyond {
                        return Err(StorageError::corrupt(
                            &reader.path,
                            offset,
                            format!("the log was longer at its clean end; found {found}"),
                        ));
                    }
                    let clean = clean_end == Some(end.position);
                    if is_last
                        && !clean
                        && let Some(proof) = reader.proof_of_damage(offset, last_index)?
                    {
                        return Err(StorageError::corrupt(
                            &reader.path,
                            offset,
                            format!("{found}, but the log goes on at byte {proof}"),
                        ));
                    }
                    end.torn = found != "no frame";
                    break;
                }
            };
            if frame.group.index <= last_index {
                return Err(StorageError::corrupt(
                    &reader.path,
                    offset,
                    format!("log index {} after {last_index}", frame.group.index),
                ));
            }
            if frame.group.log_time < end.last_log_time {
                return Err(StorageError::corrupt(&reader.path, offset, "log time goes back"));
            }
            visit(&frame.group, &reader.path, offset)?;
            last_index = frame.group.index;
            end.last_index = Some(last_index);
            end.last_log_time = frame.group.log_time;
            end.file_end.note(&frame.group);
            end.position.offset_bytes = offset + frame.padded_size_bytes as u64;
            end.position.previous_checksum = frame.checksum;
            while let Some((_, ends_at)) = unproven.pop_front_if(|(index, _)| *index <= frame.synced_through)
            {
                end.proven_bytes = ends_at;
            }
            unproven.push_back((last_index, end.position.offset_bytes));
        }
    }
    if let Some(clean) = clean_end
        && (clean.number, clean.offset_bytes) > (end.position.number, end.position.offset_bytes)
    {
        return Err(StorageError::corrupt(
            log_path(end.position.number),
            end.position.offset_bytes,
            "the log was longer at its clean end",
        ));
    }
    Ok(end)
}

fn holds_any_frame(reader: &mut FrameReader) -> Result<bool, StorageError> {
    Ok(reader.frame_at(HEADER_SIZE_BYTES as u64)?.is_ok())
}

/// Whether a log file of an unknown database may hold frames: it is longer than a new one's header and its first frame
/// begins like one.
///
/// # Errors
/// What the disk says.
pub fn may_hold_frames(disk: &dyn Disk, number: u64, size_bytes: u64) -> Result<bool, StorageError> {
    let path = log_path(number);
    let offset = HEADER_SIZE_BYTES as u64;
    if size_bytes < offset + frame::FRAME_OVERHEAD_BYTES as u64 {
        return Ok(false);
    }
    let file = disk.open(&path, OpenMode::Read).map_err(StorageError::io(&path))?;
    let mut magic = [0; 4];
    file.read_exact_at(offset, &mut magic).map_err(StorageError::io(&path))?;
    Ok(u32::from_le_bytes(magic) == frame::FRAME_MAGIC)
}
