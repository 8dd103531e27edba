//! An open segment: its index and filter in memory, its blocks on disk.

use super::block::{self, BlockCursor, CHECKSUM_SIZE_BYTES};
use super::filter::{self, Filter};
use super::footer::{FOOTER_SIZE_BYTES, Footer, Part};
use super::index::Index;
use super::iter::{ScanOptions, SegmentIter};
use super::{EntryKind, EntryVersion, SegmentMeta, path};
use crate::error::{Corruption, StorageError};
use crate::format::{self, DatabaseId, FileHeader, FileKind, read_u64};
use bytes::Bytes;
use orchard_env::{Disk, DiskFile, OpenMode};
use std::cell::RefCell;
use std::io;
use std::ops::Bound;
use std::sync::Arc;

/// Largest block buffer that a thread keeps between point reads.
const SCRATCH_SIZE_BYTES_MAX: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    buffer: Vec<u8>,
    cursor: BlockCursor,
}

/// An open segment. Reads are `&self` and run side by side.
pub struct Segment {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: String,
    database: DatabaseId,
    meta: SegmentMeta,
    index: Index,
    filter: Filter,
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("path", &self.path).field("meta", &self.meta).finish_non_exhaustive()
    }
}

impl Segment {
    /// Opens the segment that the manifest describes as `meta`: reads header, footer, index and filter, no block.
    ///
    /// # Errors
    /// What the disk says, damage, a file other than the one `meta` describes, or a newer format.
    pub fn open(
        disk: &Arc<dyn Disk>,
        database: DatabaseId,
        meta: &SegmentMeta,
    ) -> Result<Arc<Segment>, StorageError> {
        Segment::open_with(disk, database, meta, None)
    }

    /// As [`Segment::open`]; with `lost`, a damaged filter is told there and does not matter: walks need none.
    pub(super) fn open_with(
        disk: &Arc<dyn Disk>,
        database: DatabaseId,
        meta: &SegmentMeta,
        lost: Option<&mut Vec<Corruption>>,
    ) -> Result<Arc<Segment>, StorageError> {
        let path = path(meta.number);
        let file = match disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StorageError::corrupt(
                    path,
                    0,
                    "the manifest names this file, but it is missing",
                ));
            }
            Err(source) => return Err(StorageError::Io { file: path, source }),
        };
        let size_bytes = file.len_bytes().map_err(StorageError::io(&path))?;
        let least = (format::HEADER_SIZE_BYTES + FOOTER_SIZE_BYTES) as u64;
        if size_bytes != meta.file_size_bytes || size_bytes < least {
            let detail =
                format!("the file has {size_bytes} bytes, the manifest says {}", meta.file_size_bytes);
            return Err(StorageError::corrupt(path, size_bytes.min(meta.file_size_bytes), detail));
        }
        let mut segment = Segment {
            disk: Arc::clone(disk),
            file,
            path,
            database,
            meta: meta.clone(),
            index: Index::default(),
            filter: Filter::with_keys(0),
        };
        let mut head = [0; format::HEADER_SIZE_BYTES];
        segment.read(0, &mut head)?;
        FileHeader::decode(&segment.path, &head, FileKind::Segment, Some(database), meta.number)?;
        (segment.index, segment.filter) = segment.read_tables(lost)?;
        Ok(Arc::new(segment))
    }

    /// Reads footer, index and filter. The parts are no longer than the file, which is as long as the manifest says.
    fn read_tables(&self, lost: Option<&mut Vec<Corruption>>) -> Result<(Index, Filter), StorageError> {
        let offset_bytes = self.meta.file_size_bytes - FOOTER_SIZE_BYTES as u64;
        let mut bytes = vec![0; FOOTER_SIZE_BYTES];
        self.read(offset_bytes, &mut bytes)?;
        let footer = Footer::decode(&bytes, self.database, &self.meta)
            .map_err(|damage| damage.in_file(&self.path, offset_bytes))?;

        let bytes = self.read_part(footer.index, "index")?;
        let Footer { blocks, index, .. } = footer;
        let index = Index::decode(&bytes, blocks, self.meta.min_stamp, index.offset_bytes)
            .map_err(|damage| damage.in_file(&self.path, index.offset_bytes))?;
        let entries = index.blocks().iter().map(|block| u64::from(block.entries)).sum::<u64>();
        let min_stamp = index.blocks().iter().map(|block| block.min_stamp).min().unwrap_or_default();
        let max_stamp = index.blocks().iter().map(|block| block.max_stamp).max().unwrap_or_default();
        if (entries, min_stamp, max_stamp) != (self.meta.entries, self.meta.min_stamp, self.meta.max_stamp) {
            let detail = "the index disagrees with the footer on entries or stamps";
            return Err(StorageError::corrupt(&self.path, footer.index.offset_bytes, detail));
        }
        let filter = self.read_part(footer.filter, "filter").and_then(|bytes| {
            Filter::decode(&bytes).ok_or_else(|| {
                StorageError::corrupt(
                    &self.path,
                    footer.filter.offset_bytes,
                    "the filter is not whole blocks",
                )
            })
        });
        match (filter, lost) {
            (Ok(filter), _) => Ok((index, filter)),
            (Err(StorageError::Corrupt(damage)), Some(lost)) => {
                lost.push(damage);
                Ok((index, Filter::with_keys(0)))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn read_part(&self, part: Part, name: &str) -> Result<Vec<u8>, StorageError> {
        let length = usize::try_from(part.length_bytes).map_err(|_| {
            StorageError::corrupt(&self.path, part.offset_bytes, format!("{name} over the address space"))
        })?;
        let mut bytes = vec![0; length];
        self.read(part.offset_bytes, &mut bytes)?;
        let computed = format::checksum(self.database, self.meta.number, part.offset_bytes, &bytes);
        if computed == part.checksum {
            return Ok(bytes);
        }
        let detail = format!("{name} checksum {:016x}, computed {computed:016x}", part.checksum);
        Err(StorageError::corrupt(&self.path, part.offset_bytes, detail))
    }

    /// Fills `buffer` from the file.
    pub(super) fn read(&self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), StorageError> {
        self.file.read_exact_at(offset_bytes, buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StorageError::corrupt(&self.path, offset_bytes, "the file has become shorter than it was")
            }
            _ => StorageError::Io { file: self.path.clone(), source: error },
        })
    }

    /// Checks the checksum of block `number`, whose bytes as read from the file are `bytes`, and gives header and
    /// payload.
    pub(super) fn checked<'a>(&self, number: usize, bytes: &'a [u8]) -> Result<&'a [u8], StorageError> {
        let offset_bytes = self.index.blocks().get(number).map_or(0, |block| block.offset_bytes);
        let (block, sum) =
            bytes.split_at_checked(bytes.len().saturating_sub(CHECKSUM_SIZE_BYTES)).unwrap_or_default();
        let sum = read_u64(sum).unwrap_or_default();
        let computed = format::checksum(self.database, self.meta.number, offset_bytes, block);
        if sum == computed {
            return Ok(block);
        }
        let detail = format!("block checksum {sum:016x}, computed {computed:016x}");
        Err(StorageError::corrupt(&self.path, offset_bytes, detail))
    }

    /// Moves `cursor` before the first entry of block `number` and checks that the block is the one that the index
    /// describes.
    pub(super) fn enter(
        &self,
        number: usize,
        block: &[u8],
        cursor: &mut BlockCursor,
    ) -> Result<(), StorageError> {
        let header = cursor.reset(block).map_err(|damage| self.damage(number, damage))?;
        self.check_header(number, header)
    }

    pub(super) fn check_header(&self, number: usize, header: block::BlockHeader) -> Result<(), StorageError> {
        let described = self.index.blocks().get(number).is_some_and(|handle| {
            (handle.entries, handle.min_stamp, handle.max_stamp)
                == (header.entries, header.min_stamp, header.max_stamp)
        });
        if described {
            return Ok(());
        }
        Err(self
            .damage(number, super::Damage::corrupt(0, "a block other than the one that the index describes")))
    }

    /// The error for damage found in block `number`.
    pub(super) fn damage(&self, number: usize, damage: super::Damage) -> StorageError {
        damage.in_file(&self.path, self.index.blocks().get(number).map_or(0, |block| block.offset_bytes))
    }

    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// What the manifest says of the segment.
    pub fn meta(&self) -> &SegmentMeta {
        &self.meta
    }

    /// Path of the file inside the data directory.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Smallest and largest flat key; `None` if there is no entry.
    pub fn key_bounds(&self) -> Option<(&[u8], &[u8])> {
        (self.meta.entries > 0).then(|| (self.index.separator(0), self.index.last_key()))
    }

    /// Memory that index and filter take.
    pub fn memory_bytes(&self) -> usize {
        self.index.size_bytes() + self.filter.size_bytes()
    }

    /// `false` if no version of `key` is in the segment; costs one cache miss and no I/O.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        self.filter.may_contain(filter::hash(key))
    }

    /// The newest version of `key` with a stamp at or below `at`: one block read, none if the filter knows better.
    ///
    /// # Errors
    /// What the disk says, or damage.
    pub fn get(&self, key: &[u8], at: u64) -> Result<Option<EntryVersion>, StorageError> {
        if at < self.meta.min_stamp || self.meta.entries == 0 || !self.may_contain(key) {
            return Ok(None);
        }
        // Taken out, not borrowed: a disk may be anything, and could read a segment itself.
        let mut scratch = SCRATCH.take();
        let found = self.get_with(key, at, &mut scratch);
        if scratch.buffer.len() <= SCRATCH_SIZE_BYTES_MAX {
            SCRATCH.set(scratch);
        }
        found
    }

    fn get_with(
        &self,
        key: &[u8],
        at: u64,
        scratch: &mut Scratch,
    ) -> Result<Option<EntryVersion>, StorageError> {
        let first = self.index.first_block_of(key);
        for (number, handle) in self.index.blocks().iter().enumerate().skip(first) {
            if number > first && !(handle.continues && self.index.separator(number) == key) {
                break;
            }
            let length = handle.length_bytes as usize;
            if scratch.buffer.len() < length {
                scratch.buffer.resize(length, 0);
            }
            let bytes = scratch.buffer.get_mut(..length).unwrap_or_default();
            self.read(handle.offset_bytes, bytes)?;
            let block = self.checked(number, bytes)?;
            let cursor = &mut scratch.cursor;
            self.enter(number, block, cursor)?;
            while cursor.advance(block).map_err(|damage| self.damage(number, damage))? {
                match cursor.key().cmp(key) {
                    std::cmp::Ordering::Less => {}
                    std::cmp::Ordering::Equal if cursor.stamp() > at => {}
                    std::cmp::Ordering::Equal => {
                        let mut version = cursor.entry(&[]).to_version();
                        let value = cursor.value_range();
                        version.value = if value.len() > SCRATCH_SIZE_BYTES_MAX {
                            // A large value stands alone in its block: it takes the buffer along.
                            Bytes::from(std::mem::take(&mut scratch.buffer)).slice(value)
                        } else {
                            Bytes::copy_from_slice(block.get(value).unwrap_or_default())
                        };
                        return Ok(Some(version));
                    }
                    std::cmp::Ordering::Greater => return Ok(None),
                }
            }
        }
        Ok(None)
    }

    /// Walks the versions of the keys between two bounds.
    pub fn iter(
        self: &Arc<Self>,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        options: ScanOptions,
    ) -> SegmentIter {
        SegmentIter::new(Arc::clone(self), lower, upper, options)
    }

    /// Walks everything in key order.
    pub fn iter_all(self: &Arc<Self>) -> SegmentIter {
        self.iter(Bound::Unbounded, Bound::Unbounded, ScanOptions::default())
    }

    /// Reads the whole file again and checks every checksum, the order of the entries, and that header, index,
    /// filter and footer agree with them.
    ///
    /// # Errors
    /// What the disk says, or the first damage.
    pub fn verify(self: &Arc<Self>) -> Result<(), StorageError> {
        // Checks header, footer, index and filter as they are now.
        let fresh = Segment::open(&self.disk, self.database, &self.meta)?;
        let mut totals = SegmentMeta { min_stamp: u64::MAX, ..SegmentMeta::default() };
        let mut last: Option<(Vec<u8>, u64)> = None;
        let mut iter = fresh.iter_all();
        while let Some((number, entry)) = iter.next_with_block()? {
            let place = |detail| Err(fresh.damage(number, super::Damage::corrupt(0, detail)));
            let separator = fresh.index.separator(number);
            if entry.key < separator {
                return place("a key below its block's separator");
            }
            let next = fresh.index.blocks().get(number + 1);
            let next_separator = fresh.index.separator(number + 1);
            if next.is_some_and(|next| {
                entry.key > next_separator || entry.key == next_separator && !next.continues
            }) {
                return place("a key behind the next block's separator");
            }
            let same_key = last.as_ref().is_some_and(|(key, _)| key == entry.key);
            if last.as_ref().is_some_and(|(key, stamp)| {
                if same_key { entry.stamp >= *stamp } else { entry.key < key.as_slice() }
            }) {
                return place("entries out of order");
            }
            if !same_key {
                if !fresh.may_contain(entry.key) {
                    return place("the filter does not know a key");
                }
                totals.keys += 1;
            }
            totals.entries += 1;
            totals.tombstones += u64::from(entry.kind == EntryKind::Tombstone);
            totals.key_bytes += entry.key.len() as u64;
            totals.value_bytes += entry.value.len() as u64;
            if let Some(expires_at_ms) = entry.expires_at_ms {
                let first = totals.expiring == 0;
                totals.min_expires_at_ms =
                    if first { expires_at_ms } else { totals.min_expires_at_ms.min(expires_at_ms) };
                totals.max_expires_at_ms = totals.max_expires_at_ms.max(expires_at_ms);
                totals.expiring += 1;
            }
            match &mut last {
                Some((key, stamp)) => {
                    if !same_key {
                        key.clear();
                        key.extend_from_slice(entry.key);
                    }
                    *stamp = entry.stamp;
                }
                None => last = Some((entry.key.to_vec(), entry.stamp)),
            }
        }
        // The rest was compared with the footer when the file was opened.
        let counted = SegmentMeta {
            number: self.meta.number,
            file_size_bytes: self.meta.file_size_bytes,
            min_stamp: self.meta.min_stamp,
            max_stamp: self.meta.max_stamp,
            footer_checksum: self.meta.footer_checksum,
            ..totals
        };
        let last_key = last.map(|(key, _)| key).unwrap_or_default();
        if counted != self.meta || last_key != fresh.index.last_key() {
            let footer_at = self.meta.file_size_bytes - FOOTER_SIZE_BYTES as u64;
            return Err(StorageError::corrupt(
                &self.path,
                footer_at,
                "the footer disagrees with the entries",
            ));
        }
        Ok(())
    }

    /// Removes the file's name, at once. This handle and all iterators go on reading; the space comes back when the
    /// last of them goes. The directory is not synced: a name that a crash brings back is named by no manifest, and
    /// the next open removes it.
    ///
    /// # Errors
    /// What the disk says; a file that is gone already is fine.
    pub fn mark_obsolete(&self) -> Result<(), StorageError> {
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(StorageError::io(&self.path)),
        }
    }
}

/// At most `parts - 1` ascending keys that part the entries of `segments` into ranges of about equal size, for
/// walking them on several threads: the first range ends before the first key, the next begins with it.
pub fn split_keys(segments: &[Arc<Segment>], parts: usize) -> Vec<Vec<u8>> {
    let mut blocks: Vec<(&[u8], u64)> = segments
        .iter()
        .flat_map(|segment| {
            let index = &segment.index;
            index
                .blocks()
                .iter()
                .enumerate()
                .map(|(n, block)| (index.separator(n), u64::from(block.length_bytes)))
        })
        .collect();
    blocks.sort_unstable();
    let total: u64 = blocks.iter().map(|(_, length)| length).sum();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut before = 0_u64;
    for (separator, length) in blocks {
        let wanted = total.saturating_mul(keys.len() as u64 + 1) / parts.max(1) as u64;
        if before > 0
            && before >= wanted
            && keys.len() + 1 < parts
            && keys.last().is_none_or(|key| key.as_slice() < separator)
        {
            keys.push(separator.to_vec());
        }
        before += length;
    }
    keys
}
