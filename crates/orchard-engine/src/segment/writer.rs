//! Writing a segment.

use super::block::{BlockBuilder, CHECKSUM_SIZE_BYTES, FLAT_KEY_SIZE_BYTES_MAX};
use super::filter::{self, Filter};
use super::footer::{FOOTER_SIZE_BYTES, Footer, Part};
use super::index::Index;
use super::{DIRECTORY, EntryKind, SegmentEntry, SegmentMeta, path};
use crate::error::StorageError;
use crate::format::{self, DatabaseId, FileHeader, FileKind};
use crate::mutants::{self, Mutant};
use orchard_env::{Disk, DiskFile, OpenMode};
use std::sync::Arc;

/// Bytes that are gathered before they are written.
const WRITE_SIZE_BYTES: usize = 1024 * 1024;
/// Bytes after which the file is synced while it grows, so that the last sync is short and the log's syncs do not
/// queue behind a whole segment.
const SYNC_EVERY_BYTES: u64 = 32 * 1024 * 1024;

/// Writes one segment. Dropped before [`SegmentWriter::finish`], it removes what it has written.
pub struct SegmentWriter {
    disk: Arc<dyn Disk>,
    file: Arc<dyn DiskFile>,
    path: String,
    database: DatabaseId,
    /// Bytes not yet written; they belong at `written_bytes` of the file.
    out: Vec<u8>,
    written_bytes: u64,
    synced_bytes: u64,
    block: BlockBuilder,
    block_first_key: Vec<u8>,
    index: Index,
    filter: Filter,
    last_key: Vec<u8>,
    last_stamp: u64,
    meta: SegmentMeta,
    finished: bool,
}

impl SegmentWriter {
    /// Creates `segments/NNNNNNNN.seg`; no file of that name may exist. `expected_keys` sizes the filter: too many
    /// cost memory while writing, too few cost false positives.
    ///
    /// # Errors
    /// What the disk says.
    pub fn create(
        disk: &Arc<dyn Disk>,
        database: DatabaseId,
        number: u64,
        expected_keys: u64,
    ) -> Result<SegmentWriter, StorageError> {
        let path = path(number);
        let file = disk.open(&path, OpenMode::CreateNew).map_err(StorageError::io(&path))?;
        let header = FileHeader { kind: FileKind::Segment, database, number, link: 0 };
        let mut out = Vec::with_capacity(WRITE_SIZE_BYTES + WRITE_SIZE_BYTES / 8);
        out.extend_from_slice(&header.encode());
        Ok(SegmentWriter {
            disk: Arc::clone(disk),
            file,
            path,
            database,
            out,
            written_bytes: 0,
            synced_bytes: 0,
            block: BlockBuilder::default(),
            block_first_key: Vec::new(),
            index: Index::default(),
            filter: Filter::with_keys(expected_keys),
            last_key: Vec::new(),
            last_stamp: 0,
            meta: SegmentMeta { number, min_stamp: u64::MAX, ..SegmentMeta::default() },
            finished: false,
        })
    }

    /// Closes blocks at another size than the default: smaller ones make point reads cheaper and the index larger, and
    /// tests reach the edges of blocks sooner. Over 16 KiB is taken as that.
    #[must_use]
    pub fn with_block_size(mut self, payload_bytes: usize) -> SegmentWriter {
        self.block.set_target_bytes(payload_bytes);
        self
    }

    /// Number of the file.
    pub fn number(&self) -> u64 {
        self.meta.number
    }

    /// Versions so far.
    pub fn entries(&self) -> u64 {
        self.meta.entries
    }

    /// Adds a version.
    ///
    /// # Errors
    /// What the disk says; nothing more can be added then.
    ///
    /// # Panics
    /// If the entry is not behind the last one in (key ascending, stamp descending) order, or its key is longer than
    /// the format allows.
    pub fn push(&mut self, entry: &SegmentEntry<'_>) -> Result<(), StorageError> {
        assert!(entry.key.len() <= FLAT_KEY_SIZE_BYTES_MAX, "a key over the longest key");
        assert!(entry.kind == EntryKind::Value || entry.value.is_empty(), "a tombstone with a value");
        let new_key = self.meta.entries == 0 || entry.key != self.last_key;
        if self.meta.entries > 0 {
            let ordered = if new_key { *entry.key > *self.last_key } else { entry.stamp < self.last_stamp };
            assert!(ordered, "segment entries out of order");
        }
        if !self.block.fits(entry) {
            self.finish_block()?;
        }
        if self.block.is_empty() {
            self.block_first_key.clear();
            self.block_first_key.extend_from_slice(entry.key);
        }
        self.block.push(entry);
        if new_key {
            self.last_key.clear();
            self.last_key.extend_from_slice(entry.key);
            self.filter.insert(filter::hash(entry.key));
            self.meta.keys += 1;
        }
        self.last_stamp = entry.stamp;
        self.meta.entries += 1;
        self.meta.tombstones += u64::from(entry.kind == EntryKind::Tombstone);
        self.meta.key_bytes += entry.key.len() as u64;
        self.meta.value_bytes += entry.value.len() as u64;
        self.meta.min_stamp = self.meta.min_stamp.min(entry.stamp);
        self.meta.max_stamp = self.meta.max_stamp.max(entry.stamp);
        if let Some(expires_at_ms) = entry.expires_at_ms {
            let first = self.meta.expiring == 0;
            let earliest = if first { expires_at_ms } else { self.meta.min_expires_at_ms.min(expires_at_ms) };
            self.meta.min_expires_at_ms = earliest;
            self.meta.max_expires_at_ms = self.meta.max_expires_at_ms.max(expires_at_ms);
            self.meta.expiring += 1;
        }
        Ok(())
    }

    fn position_bytes(&self) -> u64 {
        self.written_bytes + self.out.len() as u64
    }

    fn checksum_from(&self, start: usize) -> u64 {
        let bytes = self.out.get(start..).unwrap_or_default();
        format::checksum(self.database, self.meta.number, self.written_bytes + start as u64, bytes)
    }

    fn finish_block(&mut self) -> Result<(), StorageError> {
        if self.block.is_empty() {
            return Ok(());
        }
        let start = self.out.len();
        let header = self.block.finish(&mut self.out);
        let sum = self.checksum_from(start);
        self.out.extend_from_slice(&sum.to_le_bytes());
        debug_assert_eq!(CHECKSUM_SIZE_BYTES, size_of_val(&sum));
        let length_bytes = u32::try_from(self.out.len() - start).unwrap_or(u32::MAX);
        assert!(length_bytes < u32::MAX, "a block over 4 GiB");
        self.index.push(header, length_bytes, &self.block_first_key, &self.last_key);
        if self.out.len() >= WRITE_SIZE_BYTES {
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<(), StorageError> {
        self.file.write_all_at(self.written_bytes, &self.out).map_err(StorageError::io(&self.path))?;
        self.written_bytes += self.out.len() as u64;
        self.out.clear();
        self.out.shrink_to(2 * WRITE_SIZE_BYTES);
        if self.written_bytes - self.synced_bytes >= SYNC_EVERY_BYTES {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        if mutants::enabled(Mutant::SegmentNotSynced) {
            return Ok(());
        }
        self.file.sync_data().map_err(StorageError::io(&self.path))?;
        self.synced_bytes = self.written_bytes;
        Ok(())
    }

    /// Appends what `encode` appends and says where it stands.
    fn push_part(&mut self, encode: impl FnOnce(&SegmentWriter, &mut Vec<u8>)) -> Part {
        let mut out = std::mem::take(&mut self.out);
        let start = out.len();
        encode(self, &mut out);
        self.out = out;
        Part {
            offset_bytes: self.written_bytes + start as u64,
            length_bytes: (self.out.len() - start) as u64,
            checksum: self.checksum_from(start),
        }
    }

    /// Writes the rest and makes the file and its name durable.
    ///
    /// # Errors
    /// What the disk says; the file is removed then.
    pub fn finish(mut self) -> Result<SegmentMeta, StorageError> {
        self.finish_block()?;
        if self.meta.entries == 0 {
            self.meta.min_stamp = 0;
        }
        self.filter.shrink(self.meta.keys);
        let index = self.push_part(|writer, out| writer.index.encode(writer.meta.min_stamp, out));
        let filter = self.push_part(|writer, out| writer.filter.encode(out));
        self.meta.file_size_bytes = self.position_bytes() + FOOTER_SIZE_BYTES as u64;
        let blocks = self.index.blocks().len() as u64;
        let (footer, sum) = Footer { blocks, index, filter, meta: self.meta.clone() }.encode(self.database);
        self.out.extend_from_slice(&footer);
        self.meta.footer_checksum = sum;
        self.write_out()?;
        self.sync()?;
        self.disk.sync_dir(DIRECTORY).map_err(StorageError::io(DIRECTORY))?;
        self.finished = true;
        Ok(self.meta.clone())
    }

    /// Gives up and removes the file.
    ///
    /// # Errors
    /// What the disk says. A file that stays is named by no manifest; the next open removes it.
    pub fn abandon(mut self) -> Result<(), StorageError> {
        self.finished = true;
        self.disk.remove(&self.path).map_err(StorageError::io(&self.path))
    }
}

impl Drop for SegmentWriter {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: a file that stays is named by no manifest, and the next open removes it.
            let _ = self.disk.remove(&self.path);
        }
    }
}
