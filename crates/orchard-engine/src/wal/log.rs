//! The log as files: the `CommitLog` of one machine.

use crate::error::StorageError;
use crate::format::{DatabaseId, FileHeader, FileKind, HEADER_SIZE_BYTES};
use crate::mutants::{self, Mutant};
use crate::space::files_for;
use crate::wal::Group;
use crate::wal::frame::{self, FramePlace};
use orchard_env::{Disk, DiskFile, OpenMode};
use orchard_types::Versionstamp;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

/// Directory of the log files.
pub const LOG_DIR: &str = "wal";
/// The file that is given up when the disk is full.
pub const RESERVE_PATH: &str = "wal/reserve";

/// A log decides the order of groups and makes them durable. On one machine it is a file; a replicated log would decide
/// by consensus and hand the groups back in order.
pub trait CommitLog: Send {
    /// Writes `group` behind all before it. It may vanish in a crash until [`CommitLog::sync`] returns.
    ///
    /// # Errors
    /// [`LogError::NoSpace`]: nothing was written, the group may be given again. [`LogError::Failed`]: unknown.
    fn append(&mut self, group: &Group) -> Result<(), LogError>;

    /// Makes all appended groups durable.
    ///
    /// # Errors
    /// [`LogError::Failed`]: what is durable is unknown; never retried.
    fn sync(&mut self) -> Result<(), LogError>;

    /// [`CommitLog::append`] and [`CommitLog::sync`] in one, which may be sooner done.
    ///
    /// # Errors
    /// As for the two of them.
    fn append_durably(&mut self, group: &Group) -> Result<(), LogError> {
        self.append(group)?;
        self.sync()
    }
}

/// Why the log could not take a group.
#[derive(Debug)]
pub enum LogError {
    /// The disk is full. Nothing was written.
    NoSpace,
    /// The write or the fsync failed. Nothing is known about the outcome.
    Failed(StorageError),
}

/// Name of log file `number`.
pub fn log_path(number: u64) -> String {
    format!("{LOG_DIR}/{number:08}.log")
}

/// The number in the name of a log file.
pub fn log_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() < 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// How the log uses its files.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions {
    /// A file is left for the next one when a frame would end behind this.
    pub file_size_bytes_max: u64,
    /// How many bytes a new file is written ahead with zeros; later steps double it up to `prefill_bytes_max`.
    pub prefill_bytes_min: u64,
    /// Largest step.
    pub prefill_bytes_max: u64,
    /// Whether it is written at all. Where a sync is rare, or never comes, the zeros cost as much as what is written over
    /// them and bring nothing: then a step only makes the file longer.
    pub prefills: bool,
    /// Size of a file that is given up when the disk is full, so that deletes go on.
    pub reserve_bytes: u64,
    /// How many files that are no longer needed are kept to be written again: writing into written blocks is 2 to 7
    /// times faster than into new ones, since no file system metadata changes.
    pub spare_files_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            file_size_bytes_max: 64 << 20,
            prefill_bytes_min: 32 << 10,
            prefill_bytes_max: 4 << 20,
            prefills: true,
            reserve_bytes: 64 << 10,
            spare_files_max: 2,
        }
    }
}

impl LogOptions {
    /// Whether a file that is no longer needed is long enough to be written again.
    fn is_worth_keeping(&self, file: OldLogFile) -> bool {
        file.size_bytes >= self.prefill_bytes_max.min(self.file_size_bytes_max)
    }
}

/// A place between two frames.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LogPosition {
    /// Number of the file.
    pub number: u64,
    /// Offset in it.
    pub offset_bytes: u64,
    /// Checksum of the frame before it.
    pub previous_checksum: u64,
}

/// A log file that is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OldLogFile {
    /// Its number.
    pub number: u64,
    /// Its length.
    pub size_bytes: u64,
    /// What it ends with.
    pub end: LogFileEnd,
}

/// What a log file, and all before it, end with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LogFileEnd {
    /// Raw stamp of the last commit.
    pub last_commit: u64,
    /// Raw stamp of the last group, which may be an idle one behind that commit.
    pub last_stamp: u64,
    /// Time of the last group, in Unix milliseconds.
    pub last_time_ms: u64,
}

impl LogFileEnd {
    /// A group was written behind it.
    pub fn note(&mut self, group: &Group) {
        let last = Versionstamp::new(group.index, group.count.saturating_sub(1) as u16).raw();
        if group.count > 0 {
            self.last_commit = last;
        }
        self.last_stamp = last;
        self.last_time_ms = group.log_time.0;
    }
}

/// The log of one machine.
pub struct FileLog {
    disk: Arc<dyn Disk>,
    database: DatabaseId,
    options: LogOptions,
    file: Arc<dyn DiskFile>,
    path: String,
    position: LogPosition,
    /// Up to here the file's blocks are written, or the file is as long if it is not written ahead.
    written_ahead_bytes: u64,
    last_appended_index: u64,
    synced_through: u64,
    /// Files before the current one: live ones, and before them those that stay for the feed.
    old: VecDeque<OldLogFile>,
    /// Recovery needs no file before this one.
    first_live: u64,
    end: LogFileEnd,
    /// Files whose number lies before the first live one, by path and length.
    spares: Vec<(String, u64)>,
    /// The disk is full: what is kept free otherwise may be used.
    is_reserve_released: bool,
    /// What stays free beside a checkpoint's room.
    kept_free_bytes: u64,
    buffer: Vec<u8>,
    syncs: u64,
}

impl FileLog {
    /// Begins file `number`, which continues the chain after a frame with checksum `link` and index `last_index`, both
    /// durable. `old`: the live files before it; `spares`: numbers and lengths of files that are not needed any more.
    ///
    /// # Errors
    /// What the disk says.
    pub fn begin(
        disk: Arc<dyn Disk>,
        database: DatabaseId,
        options: LogOptions,
        number: u64,
        (link, last_index): (u64, u64),
        old: VecDeque<OldLogFile>,
        spares: Vec<OldLogFile>,
    ) -> Result<FileLog, StorageError> {
        let mut spares = keep_spares(disk.as_ref(), options, spares);
        let (file, written_ahead_bytes) =
            new_file(disk.as_ref(), database, options, number, link, &mut spares)?;
        Ok(FileLog {
            disk,
            database,
            options,
            file,
            path: log_path(number),
            position: LogPosition { number, offset_bytes: HEADER_SIZE_BYTES as u64, previous_checksum: link },
            written_ahead_bytes,
            last_appended_index: last_index,
            synced_through: last_index,
            old,
            first_live: 0,
            end: LogFileEnd::default(),
            spares,
            is_reserve_released: false,
            kept_free_bytes: 0,
            buffer: Vec::new(),
            syncs: 0,
        })
    }

    /// Goes on at the end of an existing file.
    ///
    /// # Errors
    /// What the disk says.
    pub fn resume(
        disk: Arc<dyn Disk>,
        database: DatabaseId,
        options: LogOptions,
        position: LogPosition,
        last_index: u64,
        old: VecDeque<OldLogFile>,
        spares: Vec<OldLogFile>,
    ) -> Result<FileLog, StorageError> {
        let path = log_path(position.number);
        let file = disk.open(&path, OpenMode::ReadWrite).map_err(StorageError::io(&path))?;
        let written_ahead_bytes = file.len_bytes().map_err(StorageError::io(&path))?;
        let spares = keep_spares(disk.as_ref(), options, spares);
        Ok(FileLog {
            disk,
            database,
            options,
            file,
            path,
            position,
            written_ahead_bytes,
            last_appended_index: last_index,
            synced_through: last_index,
            old,
            first_live: 0,
            end: LogFileEnd::default(),
            spares,
            is_reserve_released: false,
            kept_free_bytes: 0,
            buffer: Vec::new(),
            syncs: 0,
        })
    }

    /// The end of the log.
    pub fn position(&self) -> LogPosition {
        self.position
    }

    /// Number of syncs so far.
    pub fn syncs(&self) -> u64 {
        self.syncs
    }

    /// Bytes of all live files.
    pub fn size_bytes(&self) -> u64 {
        self.written_ahead_bytes + self.old_bytes()
    }

    /// Bytes of live files before the current one.
    fn old_bytes(&self) -> u64 {
        let live = self.old.iter().filter(|file| file.number >= self.first_live);
        live.map(|file| file.size_bytes).sum()
    }

    /// Bytes of files that stay for the feed.
    pub fn retained_bytes(&self) -> u64 {
        let retained = self.old.iter().filter(|file| file.number < self.first_live);
        retained.map(|file| file.size_bytes).sum()
    }

    /// Files before the current one, oldest first.
    pub fn old_files(&self) -> Vec<OldLogFile> {
        self.old.iter().copied().collect()
    }

    /// Files before the live ones that stay for the feed, oldest first, as an open found them.
    pub fn retain_for_feed(&mut self, files: impl DoubleEndedIterator<Item = OldLogFile>) {
        files.rev().for_each(|file| self.old.push_front(file));
    }

    /// What the log ends with, as an open found it.
    pub fn set_end(&mut self, end: LogFileEnd) {
        self.end = end;
    }

    /// Bytes of frames in the current file and lengths of the live files before it.
    pub fn used_bytes(&self) -> u64 {
        self.position.offset_bytes + self.old_bytes()
    }

    /// Leaves the current file for a new one. All that was appended is durable afterwards.
    ///
    /// # Errors
    /// [`LogError::NoSpace`]: the current file stays in use.
    pub fn rotate(&mut self) -> Result<(), LogError> {
        self.sync()?;
        let number = self.position.number + 1;
        let link = self.position.previous_checksum;
        let (file, written_ahead_bytes) =
            match new_file(self.disk.as_ref(), self.database, self.options, number, link, &mut self.spares) {
                Ok(new) => new,
                Err(error) => {
                    // The name may exist, its header whole. The current file grows on, so the name must be gone for
                    // good before that: else recovery believes that header, and what grew is damage.
                    self.forget_file(number).map_err(LogError::Failed)?;
                    return Err(no_space_or_failed(error));
                }
            };
        self.old.push_back(OldLogFile {
            number: self.position.number,
            size_bytes: self.written_ahead_bytes,
            end: self.end,
        });
        self.file = file;
        self.path = log_path(number);
        self.position =
            LogPosition { number, offset_bytes: HEADER_SIZE_BYTES as u64, previous_checksum: link };
        self.written_ahead_bytes = written_ahead_bytes;
        Ok(())
    }

    /// Removes a file that was never in use; it does not come back after a crash.
    fn forget_file(&self, number: u64) -> Result<(), StorageError> {
        let path = log_path(number);
        match self.disk.remove(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(StorageError::io(&path))?,
        }
        self.disk.sync_dir(LOG_DIR).map_err(StorageError::io(LOG_DIR))
    }

    /// Lets the files before `first_live` go but for those `retained`: some are kept to be written again, the others
    /// removed. The manifest that no longer needs them must be durable.
    pub fn retire_before(&mut self, first_live: u64, retained: &[OldLogFile]) {
        self.first_live = first_live;
        let stays = |file: &OldLogFile| {
            file.number >= first_live || retained.iter().any(|other| other.number == file.number)
        };
        let (stay, go): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.old).into_iter().partition(stays);
        self.old = stay;
        for file in go {
            let path = log_path(file.number);
            if self.spares.len() < self.options.spare_files_max && self.options.is_worth_keeping(file) {
                self.spares.push((path, file.size_bytes));
            } else if self.disk.remove(&path).is_err() {
                // It is found again, and removed, when the directory is opened next.
            }
        }
    }

    /// Removes the files that are kept only to be written again.
    pub fn release_spares(&mut self) {
        for (path, _) in self.spares.drain(..) {
            // One that stays is found again when the directory is opened next.
            let _ = self.disk.remove(&path);
        }
    }

    /// Cuts off what the current file was given ahead of its frames, if that is more than a new file gets: a file that is
    /// written again has its old length from the beginning.
    pub fn release_ahead(&mut self) {
        let kept = self.position.offset_bytes.next_multiple_of(4096) + self.options.prefill_bytes_min;
        // If it cannot be, or a crash undoes it, nothing is different: what lies behind the frames means nothing.
        if kept < self.written_ahead_bytes && self.file.set_len_bytes(kept).is_ok() {
            self.written_ahead_bytes = kept;
        }
    }

    /// How much of the disk stays free beside what a checkpoint needs.
    pub fn keep_free(&mut self, bytes: u64) {
        self.kept_free_bytes = bytes;
    }

    /// Gives up all space that is not needed now: the disk is full.
    pub fn release_reserve(&mut self) {
        self.is_reserve_released = true;
        self.release_spares();
        let _ = self.disk.remove(RESERVE_PATH);
    }

    /// Whether the space for deletes on a full disk is there, or could be taken now; a checkpoint's room is left free.
    pub fn restore_reserve(&mut self) -> bool {
        if !self.leaves_room(self.options.reserve_bytes, self.position.offset_bytes) {
            return false;
        }
        match self.disk.open(RESERVE_PATH, OpenMode::Read).and_then(|file| file.len_bytes()) {
            Ok(length) if length >= self.options.reserve_bytes => {
                self.is_reserve_released = false;
                return true;
            }
            _ => {}
        }
        let zeros = vec![0; usize::try_from(self.options.reserve_bytes).unwrap_or(0)];
        let taken = self
            .disk
            .open(RESERVE_PATH, OpenMode::Create)
            .and_then(|file| file.write_all_at(0, &zeros).and_then(|()| file.sync_data()));
        if taken.is_err() {
            let _ = self.disk.remove(RESERVE_PATH);
        }
        self.is_reserve_released = taken.is_err();
        taken.is_ok()
    }

    /// Whether a checkpoint of all that the log can hold still fits when so many bytes more are taken and the current file is
    /// full up to `end`: a checkpoint is what lets the log go, on a disk that is nearly full.
    fn leaves_room(&self, bytes: u64, end: u64) -> bool {
        let available = self.disk.available_bytes().unwrap_or(u64::MAX);
        let room = files_for(self.old_bytes().saturating_add(end)).saturating_add(self.kept_free_bytes);
        available >= room.saturating_add(bytes)
    }

    /// Makes sure that `length` bytes from the current offset are written blocks.
    fn write_ahead(&mut self, length: u64) -> Result<(), StorageError> {
        let wanted = self.position.offset_bytes + length;
        if wanted <= self.written_ahead_bytes {
            return Ok(());
        }
        let step =
            self.written_ahead_bytes.clamp(self.options.prefill_bytes_min, self.options.prefill_bytes_max);
        // On a full disk nothing is taken ahead.
        let end = if self.is_reserve_released { wanted } else { wanted.max(self.written_ahead_bytes + step) };
        let ahead = if self.may_grow_to(end) { self.write_zeros(end) } else { self.no_room() };
        match ahead {
            // No space for a whole step: what is wanted now may still fit.
            Err(_) if wanted > self.written_ahead_bytes => {
                if self.may_grow_to(wanted) {
                    self.write_zeros(wanted)
                } else {
                    self.no_room()
                }
            }
            _ => Ok(()),
        }
    }

    /// No frame begins at the end of the log any more, whatever was written there.
    fn unmake_frame(&mut self) -> bool {
        let end = self.position.offset_bytes;
        if self.file.write_all_at(end, &[0; 8]).is_ok() {
            return true;
        }
        // Where the file was not written ahead not even these may find a block. What is cut off needs none.
        let is_cut = self.file.set_len_bytes(end).is_ok();
        if is_cut {
            self.written_ahead_bytes = end;
        }
        is_cut
    }

    /// Deletes on a full disk may take what is kept free otherwise.
    fn may_grow_to(&self, end: u64) -> bool {
        self.is_reserve_released || self.leaves_room(end.saturating_sub(self.written_ahead_bytes), end)
    }

    fn no_room(&self) -> Result<(), StorageError> {
        Err(StorageError::Io { file: self.path.clone(), source: io::ErrorKind::StorageFull.into() })
    }

    fn write_zeros(&mut self, end: u64) -> Result<(), StorageError> {
        const CHUNK_BYTES: u64 = 256 << 10;
        let end = end.next_multiple_of(4096);
        if !self.options.prefills {
            self.file.set_len_bytes(end).map_err(StorageError::io(&self.path))?;
            self.written_ahead_bytes = end;
            return Ok(());
        }
        let zeros = vec![0; CHUNK_BYTES.min(end - self.written_ahead_bytes) as usize];
        while self.written_ahead_bytes < end {
            let count = (end - self.written_ahead_bytes).min(zeros.len() as u64);
            self.file
                .write_all_at(self.written_ahead_bytes, zeros.get(..count as usize).unwrap_or(&zeros))
                .map_err(StorageError::io(&self.path))?;
            self.written_ahead_bytes += count;
        }
        Ok(())
    }
}

/// Of the files that an open found before the first live one, those worth keeping; the others go. Removing is not made
/// durable, so a crash brings some back: without this they would pile up.
fn keep_spares(disk: &dyn Disk, options: LogOptions, found: Vec<OldLogFile>) -> Vec<(String, u64)> {
    let mut kept = Vec::new();
    for file in found {
        let path = log_path(file.number);
        if kept.len() < options.spare_files_max && options.is_worth_keeping(file) {
            kept.push((path, file.size_bytes));
        } else if disk.remove(&path).is_err() {
            // It is found again by the next open.
        }
    }
    kept
}

fn no_space_or_failed(error: StorageError) -> LogError {
    match &error {
        StorageError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            LogError::NoSpace
        }
        _ => LogError::Failed(error),
    }
}

/// Makes log file `number`, from a spare if there is one; its header and its name are durable on return.
fn new_file(
    disk: &dyn Disk,
    database: DatabaseId,
    options: LogOptions,
    number: u64,
    link: u64,
    spares: &mut Vec<(String, u64)>,
) -> Result<(Arc<dyn DiskFile>, u64), StorageError> {
    let path = log_path(number);
    let header = FileHeader { kind: FileKind::Log, database, number, link }.encode();
    let (file, length) = match spares.pop() {
        Some((spare, length)) => {
            let file = disk.open(&spare, OpenMode::ReadWrite).map_err(StorageError::io(&spare))?;
            file.write_all_at(0, &header).map_err(StorageError::io(&spare))?;
            file.sync_data().map_err(StorageError::io(&spare))?;
            disk.rename(&spare, &path).map_err(StorageError::io(&path))?;
            (file, length)
        }
        None => {
            let file = disk.open(&path, OpenMode::Create).map_err(StorageError::io(&path))?;
            let length = options.prefill_bytes_min.max(4096);
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(4096)];
            if let Some(head) = bytes.get_mut(..HEADER_SIZE_BYTES) {
                head.copy_from_slice(&header);
            }
            file.write_all_at(0, &bytes).map_err(StorageError::io(&path))?;
            file.sync_data().map_err(StorageError::io(&path))?;
            (file, length)
        }
    };
    if !mutants::enabled(Mutant::LogDirectoryNotSynced) {
        disk.sync_dir(LOG_DIR).map_err(StorageError::io(LOG_DIR))?;
    }
    Ok((file, length))
}

impl FileLog {
    /// `durably`: and makes it durable, with all before it.
    fn write_frame(&mut self, group: &Group, durably: bool) -> Result<(), LogError> {
        assert!(group.index > self.last_appended_index, "log indexes only grow");
        let length = frame::padded(frame::FRAME_OVERHEAD_BYTES + group.payload.len()) as u64;
        let is_first = self.position.offset_bytes == HEADER_SIZE_BYTES as u64;
        if self.position.offset_bytes + length > self.options.file_size_bytes_max && !is_first {
            self.rotate()?;
        }
        self.write_ahead(length).map_err(no_space_or_failed)?;
        let place = FramePlace {
            database: self.database,
            file_number: self.position.number,
            offset_bytes: self.position.offset_bytes,
        };
        self.buffer.clear();
        let sum = frame::encode(
            group,
            place,
            self.position.previous_checksum,
            self.synced_through,
            &mut self.buffer,
        );
        let written = if durably && !mutants::enabled(Mutant::LogNotSynced) {
            self.file.write_durably_at(self.position.offset_bytes, &self.buffer)
        } else {
            self.file.write_all_at(self.position.offset_bytes, &self.buffer)
        };
        if let Err(source) = written {
            let error = no_space_or_failed(StorageError::Io { file: self.path.clone(), source });
            // What was written may be the whole frame: unmake it for good, or the caller's "nothing was written" is a lie
            // after a crash that keeps the one write and not the other.
            let unmade =
                matches!(error, LogError::NoSpace) && self.unmake_frame() && self.file.sync_data().is_ok();
            return Err(match error {
                LogError::NoSpace if !unmade => LogError::Failed(StorageError::Io {
                    file: self.path.clone(),
                    source: io::ErrorKind::StorageFull.into(),
                }),
                other => other,
            });
        }
        if self.buffer.capacity() > 4 << 20 {
            self.buffer = Vec::new();
        }
        self.position.offset_bytes += length;
        self.position.previous_checksum = sum;
        self.last_appended_index = group.index;
        self.end.note(group);
        if durably {
            self.syncs += 1;
            self.synced_through = group.index;
        }
        Ok(())
    }
}

impl CommitLog for FileLog {
    fn append(&mut self, group: &Group) -> Result<(), LogError> {
        self.write_frame(group, false)
    }

    fn append_durably(&mut self, group: &Group) -> Result<(), LogError> {
        self.write_frame(group, true)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        if self.synced_through == self.last_appended_index {
            return Ok(());
        }
        if !mutants::enabled(Mutant::LogNotSynced) {
            self.file
                .sync_data()
                .map_err(|source| LogError::Failed(StorageError::Io { file: self.path.clone(), source }))?;
        }
        self.syncs += 1;
        self.synced_through = self.last_appended_index;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
