//! Segments: immutable sorted files of versions, written whole by a checkpoint or by compaction.
//!
//! ```text
//! header 64 | block, block, ... | index | filter | footer 160
//! ```
//!
//! Invariants:
//! - Entries stand in the order (flat key ascending, stamp descending); [`SegmentWriter::push`] asserts it and
//!   [`Segment::verify`] checks it.
//! - Every byte is covered by exactly one checksum, and the manifest names the footer's: what is read is what was
//!   written, or a typed error names file and offset.
//! - [`SegmentWriter::finish`] returns after the file and its directory are durable, and it is the only source of a
//!   new [`SegmentMeta`]: so a manifest cannot name a file that could vanish.
//! - Blocks follow one another without gaps, so the lengths in the index say where each stands; no allocation
//!   exceeds a length that the index records and the file really has.
//! - An entry kind, flag, codec or key id that this version does not know is `NewerFormat`, never skipped.

pub mod block;
mod filter;
mod footer;
mod index;
mod iter;
mod merge_iter;
mod reader;
mod salvage;
mod varint;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use footer::SegmentMeta;
pub use iter::{ScanOptions, SegmentIter};
pub use merge_iter::MergeIter;
pub use reader::{Segment, split_keys};
pub use writer::SegmentWriter;

use crate::error::StorageError;
use bytes::Bytes;

/// Directory of the segment files inside the data directory.
pub const DIRECTORY: &str = "segments";

/// Path of segment `number` inside the data directory.
pub fn path(number: u64) -> String {
    format!("{DIRECTORY}/{}", file_name(number))
}

/// Name of segment `number` inside [`DIRECTORY`].
pub fn file_name(number: u64) -> String {
    format!("{number:08}.seg")
}

/// The number of the segment with this file name; `None` for any other file.
pub fn parse_file_name(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".seg")?.parse().ok()?;
    (file_name(number) == name).then_some(number)
}

/// What a version says about its key. The numbers are part of the file format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum EntryKind {
    /// The key has this value.
    Value = 1,
    /// The key is deleted.
    Tombstone = 4,
}

/// Kinds that the format reserves and this version neither writes nor reads.
const RESERVED_KINDS: [(u8, &str); 4] =
    [(2, "packed collection"), (3, "blob reference"), (5, "range tombstone"), (6, "collection header")];

impl EntryKind {
    fn from_number(number: u8) -> Result<EntryKind, Damage> {
        match number {
            1 => Ok(EntryKind::Value),
            4 => Ok(EntryKind::Tombstone),
            other => {
                let name = RESERVED_KINDS
                    .iter()
                    .find(|(number, _)| *number == other)
                    .map_or("unknown", |kind| kind.1);
                Err(Damage::Newer(format!("entry kind {other} ({name})")))
            }
        }
    }
}

/// One version of one key, lent out of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentEntry<'a> {
    /// Flat key: see [`crate::format::push_flat_key`].
    pub key: &'a [u8],
    /// Versionstamp in its raw form.
    pub stamp: u64,
    /// Value or tombstone.
    pub kind: EntryKind,
    /// Number of the value's type; 0 for a tombstone.
    pub type_tag: u8,
    /// When the entry stops being visible, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// The value's bytes; empty for a tombstone.
    pub value: &'a [u8],
}

/// One version, with bytes of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryVersion {
    /// Versionstamp in its raw form.
    pub stamp: u64,
    /// Value or tombstone.
    pub kind: EntryKind,
    /// Number of the value's type; 0 for a tombstone.
    pub type_tag: u8,
    /// When the entry stops being visible, in Unix milliseconds.
    pub expires_at_ms: Option<u64>,
    /// The value's bytes; empty for a tombstone.
    pub value: Bytes,
}

impl SegmentEntry<'_> {
    /// A copy of everything but the key.
    pub fn to_version(&self) -> EntryVersion {
        EntryVersion {
            stamp: self.stamp,
            kind: self.kind,
            type_tag: self.type_tag,
            expires_at_ms: self.expires_at_ms,
            value: Bytes::copy_from_slice(self.value),
        }
    }
}

/// What a pure decoder found wrong; the caller adds the file's name and the place of the decoded bytes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// Bytes that no version of this program wrote.
    Corrupt {
        /// Where in the decoded bytes.
        offset_bytes: usize,
        /// What was expected and what was found.
        detail: &'static str,
    },
    /// Something that only a newer version knows.
    Newer(String),
}

impl Damage {
    const fn corrupt(offset_bytes: usize, detail: &'static str) -> Damage {
        Damage::Corrupt { offset_bytes, detail }
    }

    /// The error for bytes that stand at `base_bytes` of `file`.
    pub fn in_file(self, file: &str, base_bytes: u64) -> StorageError {
        match self {
            Damage::Corrupt { offset_bytes, detail } => {
                StorageError::corrupt(file, base_bytes.saturating_add(offset_bytes as u64), detail)
            }
            Damage::Newer(detail) => StorageError::newer(file, format!("{detail}, at byte {base_bytes}")),
        }
    }
}

/// Length of the longest common prefix.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut shared = 0;
    for (a, b) in a.chunks_exact(8).zip(b.chunks_exact(8)) {
        if a != b {
            break;
        }
        shared += 8;
    }
    let rest = |bytes| <[u8]>::get(bytes, shared..).unwrap_or_default().iter();
    shared + rest(a).zip(rest(b)).take_while(|(a, b)| a == b).count()
}
