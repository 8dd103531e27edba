//! Durable writes that go past the page cache: one system call that is a write and a sync, and a fifth sooner done than the two.
//!
//! - Such a write covers whole blocks, so the block that it begins in is written once more: with the bytes that are there,
//!   which are kept from the last write or read.
//! - It is a hint at a faster way and no promise: a file system that does not take it is told by its error, before
//!   anything is written, and then the file is written and synced as any other.

#![expect(clippy::disallowed_types, reason = "a part of the one place that opens the machine's files")]

use crate::disk::DURABLE_BLOCK_BYTES;
use rustix::io::{Errno, ReadWriteFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

/// More than this is not written so: it would be copied and kept in memory, and its sync takes long anyway.
pub(crate) const DIRECT_SIZE_BYTES_MAX: usize = 512 << 10;

/// A second handle of a file; see the module's text.
pub(crate) struct DirectFile {
    file: File,
    /// Holds what is written, from a multiple of the block size on.
    buffer: Vec<u8>,
    /// What lies before the end of the last write, in its block, and where that end is.
    head: Vec<u8>,
    end_bytes: Option<u64>,
}

fn block_start(offset_bytes: u64) -> u64 {
    offset_bytes - offset_bytes % DURABLE_BLOCK_BYTES as u64
}

impl DirectFile {
    /// Opens a file once more, whatever its name is by now, if its file system takes such writes.
    pub(crate) fn open(written: &File) -> Option<DirectFile> {
        let flags = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).ok()?;
        let handle = format!("/proc/self/fd/{}", written.as_raw_fd());
        let file = OpenOptions::new().write(true).custom_flags(flags).open(handle).ok()?;
        let (this, other) = (file.metadata().ok()?, written.metadata().ok()?);
        let is_same = (this.dev(), this.ino()) == (other.dev(), other.ino());
        is_same.then(|| DirectFile { file, buffer: Vec::new(), head: Vec::new(), end_bytes: None })
    }

    /// The file was written in another way.
    pub(crate) fn forget(&mut self) {
        self.end_bytes = None;
    }

    /// Writes `bytes` durably; `read` is another handle of the same file, through which nothing is written that is not
    /// synced. `false`: this file system does not take it, and nothing was written.
    pub(crate) fn write(&mut self, read: &File, offset_bytes: u64, bytes: &[u8]) -> io::Result<bool> {
        match self.write_blocks(read, offset_bytes, bytes) {
            Ok(()) => Ok(true),
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn write_blocks(&mut self, read: &File, offset_bytes: u64, bytes: &[u8]) -> Result<(), Errno> {
        let start_bytes = block_start(offset_bytes);
        let head_bytes = (offset_bytes - start_bytes) as usize;
        if self.end_bytes.take() != Some(offset_bytes) {
            self.head.resize(head_bytes, 0);
            read.read_exact_at(&mut self.head, start_bytes).map_err(|_| Errno::IO)?;
        }
        let length = (head_bytes + bytes.len()).next_multiple_of(DURABLE_BLOCK_BYTES);
        let begin = self.begin(length);
        let all = self.buffer.get_mut(begin..begin + length).ok_or(Errno::INVAL)?;
        let (head, rest) = all.split_at_mut(head_bytes);
        head.copy_from_slice(&self.head);
        let (middle, behind) = rest.split_at_mut(bytes.len());
        middle.copy_from_slice(bytes);
        behind.fill(0);
        let mut written = 0;
        while written < length {
            let left = [IoSlice::new(all.get(written..).unwrap_or_default())];
            match rustix::io::pwritev2(&self.file, &left, start_bytes + written as u64, ReadWriteFlags::DSYNC)
            {
                // Behind a part that is no whole number of blocks it cannot go on.
                Ok(0) => return Err(Errno::IO),
                Ok(count) => written += count,
                Err(Errno::INTR) => {}
                Err(_) if written > 0 => return Err(Errno::IO),
                Err(error) => return Err(error),
            }
        }
        let end_bytes = offset_bytes + bytes.len() as u64;
        let kept = (end_bytes - block_start(end_bytes)) as usize;
        let end = head_bytes + bytes.len();
        self.head.clear();
        self.head.extend_from_slice(all.get(end - kept..end).unwrap_or_default());
        self.end_bytes = Some(end_bytes);
        Ok(())
    }

    /// Makes room for `length` bytes; where in the buffer they begin so that their address is a block's.
    fn begin(&mut self, length: usize) -> usize {
        if self.buffer.len() < length + DURABLE_BLOCK_BYTES {
            self.buffer = vec![0; length + DURABLE_BLOCK_BYTES];
        }
        match self.buffer.as_ptr().align_offset(DURABLE_BLOCK_BYTES) {
            begin if begin < DURABLE_BLOCK_BYTES => begin,
            _ => 0,
        }
    }
}
