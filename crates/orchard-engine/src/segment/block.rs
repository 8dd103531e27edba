//! Blocks: a few KiB of entries under one checksum, the unit that is read.
//!
//! ```text
//! codec 1 | flags 1 | key id 2 | entries 4 | payload length 4 | min stamp 8 | max stamp 8 | payload | checksum 8
//! ```
//!
//! An entry of the payload shares a prefix with the key before it, and its stamp is taken apart into log index
//! (relative to that of the block's minimum stamp) and place:
//!
//! ```text
//! kind and flags 1 | type 1? | shared | suffix length | index delta | place | expires at? | value length? |
//! suffix | value?
//! ```
//!
//! Type and value are absent from a tombstone; lengths and numbers are varints. A block of more than one entry has
//! at most [`SHARED_PAYLOAD_SIZE_BYTES_MAX`] bytes of payload; a large value stands in a block of its own.

use super::varint;
use super::{Damage, EntryKind, SegmentEntry, common_prefix};
use crate::format::{SPACE_PREFIX_SIZE_BYTES_MAX, read_u32, read_u64};
use orchard_types::limits::KEY_SIZE_BYTES_MAX;
use std::ops::Range;

/// Bytes before a block's payload.
pub const HEADER_SIZE_BYTES: usize = 28;
/// Bytes behind a block's payload.
pub const CHECKSUM_SIZE_BYTES: usize = 8;
/// Longest flat key.
pub const FLAT_KEY_SIZE_BYTES_MAX: usize = KEY_SIZE_BYTES_MAX + SPACE_PREFIX_SIZE_BYTES_MAX;
/// Largest payload of a block with more than one entry: bounds what [`decode`] allocates.
pub const SHARED_PAYLOAD_SIZE_BYTES_MAX: usize = 64 * 1024;
/// Payload at which the writer closes a block. A point read copies, checks and decodes half a block more than it
/// needs with every doubling, an index takes half the memory; `examples/segment_speed.rs` measures both.
pub const TARGET_PAYLOAD_SIZE_BYTES: usize = 8 * 1024;
/// Largest payload at which the writer can be told to close a block.
const TARGET_PAYLOAD_SIZE_BYTES_MAX: usize = 16 * 1024;
/// What the writer reckons for an entry beyond its key's suffix and its value.
const ENTRY_OVERHEAD_BYTES: usize = 8;
/// Most that it can be: kind, type, shared 2, suffix length 2, index delta 7, place 3, expiry 10, value length 5.
const ENTRY_OVERHEAD_BYTES_MAX: usize = 31;
const _: () = assert!(
    TARGET_PAYLOAD_SIZE_BYTES / ENTRY_OVERHEAD_BYTES * ENTRY_OVERHEAD_BYTES_MAX
        <= SHARED_PAYLOAD_SIZE_BYTES_MAX
);

const CODEC_NONE: u8 = 0;
const KIND_MASK: u8 = 0x0f;
const FLAG_EXPIRES: u8 = 0x10;
const FLAGS_UNKNOWN: u8 = 0xe0;
/// Bits of a stamp that are the place in the group.
const PLACE_BITS: u32 = 16;

/// The head of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BlockHeader {
    /// Entries in the block.
    pub entries: u32,
    /// Smallest stamp in it.
    pub min_stamp: u64,
    /// Largest stamp in it.
    pub max_stamp: u64,
}

/// Reads the head of `block` (header and payload, without the checksum).
///
/// # Errors
/// [`Damage`] with offsets relative to the block.
pub fn decode_header(block: &[u8]) -> Result<BlockHeader, Damage> {
    let head = block.get(..HEADER_SIZE_BYTES).ok_or(Damage::corrupt(0, "a block shorter than its header"))?;
    let (codec, flags) = (head[0], head[1]);
    if codec != CODEC_NONE || flags != 0 || head[2..4] != [0, 0] {
        let key_id = u16::from_le_bytes([head[2], head[3]]);
        return Err(Damage::Newer(format!("block with codec {codec}, flags {flags:#x}, key id {key_id}")));
    }
    let header = BlockHeader {
        entries: read_u32(&head[4..]).unwrap_or_default(),
        min_stamp: read_u64(&head[12..]).unwrap_or_default(),
        max_stamp: read_u64(&head[20..]).unwrap_or_default(),
    };
    let payload = read_u32(&head[8..]).unwrap_or_default() as usize;
    if payload != block.len() - HEADER_SIZE_BYTES {
        return Err(Damage::corrupt(8, "a block's payload length disagrees with the block's"));
    }
    if header.entries == 0 || header.min_stamp > header.max_stamp {
        return Err(Damage::corrupt(4, "an empty block, or stamp bounds out of order"));
    }
    if header.entries > 1 && payload > SHARED_PAYLOAD_SIZE_BYTES_MAX {
        return Err(Damage::corrupt(8, "a block of several entries over the largest payload"));
    }
    Ok(header)
}

/// Everything of an entry but its key; the value as a place in the block.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Fields {
    stamp: u64,
    kind: EntryKind,
    type_tag: u8,
    expires_at_ms: Option<u64>,
    value: Range<usize>,
}

impl Fields {
    #[inline]
    fn entry<'a>(&self, key: &'a [u8], block: &'a [u8]) -> SegmentEntry<'a> {
        SegmentEntry {
            key,
            stamp: self.stamp,
            kind: self.kind,
            type_tag: self.type_tag,
            expires_at_ms: self.expires_at_ms,
            value: block.get(self.value.clone()).unwrap_or_default(),
        }
    }
}

/// Walks the entries of one block forward. It holds no borrow of the block, which is handed to every call.
#[derive(Debug)]
pub(crate) struct BlockCursor {
    position: usize,
    remaining: u32,
    header: BlockHeader,
    key: Vec<u8>,
    fields: Fields,
}

impl Default for BlockCursor {
    fn default() -> BlockCursor {
        BlockCursor {
            position: 0,
            remaining: 0,
            header: BlockHeader::default(),
            key: Vec::new(),
            fields: Fields {
                stamp: 0,
                kind: EntryKind::Tombstone,
                type_tag: 0,
                expires_at_ms: None,
                value: 0..0,
            },
        }
    }
}

impl BlockCursor {
    /// Goes before the first entry of `block` (header and payload).
    pub fn reset(&mut self, block: &[u8]) -> Result<BlockHeader, Damage> {
        self.header = decode_header(block)?;
        self.position = HEADER_SIZE_BYTES;
        self.remaining = self.header.entries;
        self.key.clear();
        Ok(self.header)
    }

    /// Goes to the next entry; `false` behind the last one.
    #[inline]
    pub fn advance(&mut self, block: &[u8]) -> Result<bool, Damage> {
        if self.remaining == 0 {
            return if self.position == block.len() {
                Ok(false)
            } else {
                Err(Damage::corrupt(self.position, "bytes behind a block's last entry"))
            };
        }
        let rest = block.get(self.position..).unwrap_or_default();
        let Some(consumed) = self.parse(rest)? else {
            return Err(Damage::corrupt(self.position, "a block ends within an entry"));
        };
        self.position += consumed;
        self.remaining -= 1;
        Ok(true)
    }

    /// Parses the entry at the front of `bytes` and returns its length, `None` if it is cut off.
    #[inline]
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Damage> {
        macro_rules! some {
            ($taken:expr) => {
                match $taken {
                    Some(taken) => taken,
                    None => return Ok(None),
                }
            };
        }
        let mut rest = bytes;
        let (tag, tail) = some!(rest.split_first());
        rest = tail;
        if tag & FLAGS_UNKNOWN != 0 {
            return Err(Damage::Newer(format!("entry flags {tag:#04x}")));
        }
        self.fields.kind = EntryKind::from_number(tag & KIND_MASK)?;
        self.fields.type_tag = 0;
        if self.fields.kind == EntryKind::Value {
            let (type_tag, tail) = some!(rest.split_first());
            self.fields.type_tag = *type_tag;
            rest = tail;
        }
        let shared = some!(varint::take(&mut rest));
        let suffix = some!(varint::take(&mut rest));
        let index_delta = some!(varint::take(&mut rest));
        let place = some!(varint::take(&mut rest));
        self.fields.expires_at_ms =
            if tag & FLAG_EXPIRES != 0 { Some(some!(varint::take(&mut rest))) } else { None };
        let value = if self.fields.kind == EntryKind::Value { some!(varint::take(&mut rest)) } else { 0 };

        let shared = usize::try_from(shared).unwrap_or(usize::MAX);
        if shared > self.key.len() {
            return Err(Damage::corrupt(self.position, "an entry shares more than the key before it has"));
        }
        let (suffix, tail) = some!(rest.split_at_checked(usize::try_from(suffix).unwrap_or(usize::MAX)));
        if shared + suffix.len() > FLAT_KEY_SIZE_BYTES_MAX {
            return Err(Damage::corrupt(self.position, "a key over the longest key"));
        }
        self.key.truncate(shared);
        self.key.extend_from_slice(suffix);

        let index = (self.header.min_stamp >> PLACE_BITS).checked_add(index_delta);
        let stamp = match index.filter(|index| index >> (u64::BITS - PLACE_BITS) == 0) {
            Some(index) if place >> PLACE_BITS == 0 => index << PLACE_BITS | place,
            _ => return Err(Damage::corrupt(self.position, "a stamp over 64 bits")),
        };
        if stamp < self.header.min_stamp || stamp > self.header.max_stamp {
            return Err(Damage::corrupt(self.position, "a stamp outside the block's bounds"));
        }
        self.fields.stamp = stamp;

        let (_, behind) = some!(tail.split_at_checked(usize::try_from(value).unwrap_or(usize::MAX)));
        let value_start = self.position + (bytes.len() - tail.len());
        self.fields.value = value_start..value_start + (tail.len() - behind.len());
        Ok(Some(bytes.len() - behind.len()))
    }

    /// The key of the current entry.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The stamp of the current entry.
    #[inline]
    pub fn stamp(&self) -> u64 {
        self.fields.stamp
    }

    /// The current entry; `block` is the one that [`BlockCursor::advance`] was given.
    #[inline]
    pub fn entry<'a>(&'a self, block: &'a [u8]) -> SegmentEntry<'a> {
        self.fields.entry(&self.key, block)
    }

    /// Where the current entry's value stands in the block.
    pub fn value_range(&self) -> Range<usize> {
        self.fields.value.clone()
    }
}

/// A block taken apart, for walking it backward. Values stay in the block's bytes.
#[derive(Debug, Default)]
pub struct DecodedBlock {
    keys: Vec<u8>,
    entries: Vec<(Range<usize>, Fields)>,
}

impl DecodedBlock {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none; a block that was decoded has at least one.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The key of entry `position`.
    pub fn key(&self, position: usize) -> Option<&[u8]> {
        self.keys.get(self.entries.get(position)?.0.clone())
    }

    /// The stamp of entry `position`.
    pub fn stamp(&self, position: usize) -> Option<u64> {
        Some(self.entries.get(position)?.1.stamp)
    }

    /// Entry `position`; `block` is what was decoded.
    pub fn entry<'a>(&'a self, position: usize, block: &'a [u8]) -> Option<SegmentEntry<'a>> {
        let (key, fields) = self.entries.get(position)?;
        Some(fields.entry(self.keys.get(key.clone())?, block))
    }

    /// Replaces the content by that of `block`, with `cursor` as a scratch.
    pub(crate) fn fill(&mut self, block: &[u8], cursor: &mut BlockCursor) -> Result<BlockHeader, Damage> {
        self.keys.clear();
        self.entries.clear();
        let header = cursor.reset(block)?;
        while cursor.advance(block)? {
            // Versions of one key share its bytes.
            let key = match self.entries.last() {
                Some((last, _)) if self.keys.get(last.clone()) == Some(cursor.key()) => last.clone(),
                _ => {
                    let start = self.keys.len();
                    self.keys.extend_from_slice(cursor.key());
                    start..self.keys.len()
                }
            };
            self.entries.push((key, cursor.fields.clone()));
        }
        Ok(header)
    }
}

/// Decodes `block` (header and payload, without the checksum): pure, for any bytes.
///
/// # Errors
/// [`Damage`] with offsets relative to the block.
pub fn decode(block: &[u8]) -> Result<DecodedBlock, Damage> {
    let mut decoded = DecodedBlock::default();
    decoded.fill(block, &mut BlockCursor::default())?;
    Ok(decoded)
}

/// Collects the entries of one block.
#[derive(Debug)]
pub struct BlockBuilder {
    target_bytes: usize,
    /// Suffixes and values of the entries, one after the other.
    bytes: Vec<u8>,
    pending: Vec<Pending>,
    last_key: Vec<u8>,
    /// About what the payload will take.
    size_bytes: usize,
}

#[derive(Debug)]
struct Pending {
    shared: usize,
    suffix: usize,
    value: usize,
    stamp: u64,
    kind: EntryKind,
    type_tag: u8,
    expires_at_ms: Option<u64>,
}

impl Default for BlockBuilder {
    fn default() -> BlockBuilder {
        BlockBuilder {
            target_bytes: TARGET_PAYLOAD_SIZE_BYTES,
            bytes: Vec::new(),
            pending: Vec::new(),
            last_key: Vec::new(),
            size_bytes: 0,
        }
    }
}

impl BlockBuilder {
    /// Closes blocks at another payload than [`TARGET_PAYLOAD_SIZE_BYTES`]; over 16 KiB is taken as that.
    pub fn set_target_bytes(&mut self, target_bytes: usize) {
        self.target_bytes = target_bytes.min(TARGET_PAYLOAD_SIZE_BYTES_MAX);
    }

    /// Whether `entry` may join those that are here. The first entry always may.
    pub fn fits(&self, entry: &SegmentEntry<'_>) -> bool {
        let suffix = entry.key.len() - common_prefix(&self.last_key, entry.key);
        let size_bytes = self.size_bytes + suffix + entry.value.len() + ENTRY_OVERHEAD_BYTES;
        self.pending.is_empty() || size_bytes <= self.target_bytes
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Adds an entry; the caller keeps the order.
    pub fn push(&mut self, entry: &SegmentEntry<'_>) {
        let shared = common_prefix(&self.last_key, entry.key);
        let suffix = entry.key.get(shared..).unwrap_or_default();
        self.bytes.extend_from_slice(suffix);
        self.bytes.extend_from_slice(entry.value);
        self.pending.push(Pending {
            shared,
            suffix: suffix.len(),
            value: entry.value.len(),
            stamp: entry.stamp,
            kind: entry.kind,
            type_tag: entry.type_tag,
            expires_at_ms: entry.expires_at_ms,
        });
        self.size_bytes += suffix.len() + entry.value.len() + ENTRY_OVERHEAD_BYTES;
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
    }

    /// Appends the block (header and payload, without the checksum) to `out` and starts the next one.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> BlockHeader {
        let header = BlockHeader {
            entries: u32::try_from(self.pending.len()).unwrap_or(u32::MAX),
            min_stamp: self.pending.iter().map(|entry| entry.stamp).min().unwrap_or_default(),
            max_stamp: self.pending.iter().map(|entry| entry.stamp).max().unwrap_or_default(),
        };
        let start = out.len();
        out.extend_from_slice(&[CODEC_NONE, 0, 0, 0]);
        out.extend_from_slice(&header.entries.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&header.min_stamp.to_le_bytes());
        out.extend_from_slice(&header.max_stamp.to_le_bytes());
        let payload_start = out.len();
        let mut bytes = self.bytes.as_slice();
        for entry in &self.pending {
            let is_value = entry.kind == EntryKind::Value;
            let flags = if entry.expires_at_ms.is_some() { FLAG_EXPIRES } else { 0 };
            out.push(entry.kind as u8 | flags);
            if is_value {
                out.push(entry.type_tag);
            }
            varint::push(out, entry.shared as u64);
            varint::push(out, entry.suffix as u64);
            varint::push(out, (entry.stamp >> PLACE_BITS) - (header.min_stamp >> PLACE_BITS));
            varint::push(out, entry.stamp & ((1 << PLACE_BITS) - 1));
            if let Some(expires_at_ms) = entry.expires_at_ms {
                varint::push(out, expires_at_ms);
            }
            if is_value {
                varint::push(out, entry.value as u64);
            }
            let (own, rest) = bytes.split_at_checked(entry.suffix + entry.value).unwrap_or_default();
            out.extend_from_slice(own);
            bytes = rest;
        }
        let payload = out.len() - payload_start;
        assert!(
            self.pending.len() == 1 || payload <= SHARED_PAYLOAD_SIZE_BYTES_MAX,
            "a block of several entries over the largest payload"
        );
        let payload = u32::try_from(payload).unwrap_or(u32::MAX);
        assert!(payload < u32::MAX, "a block over 4 GiB");
        if let Some(place) = out.get_mut(start + 8..start + 12) {
            place.copy_from_slice(&payload.to_le_bytes());
        }
        self.bytes.clear();
        self.bytes.shrink_to(2 * SHARED_PAYLOAD_SIZE_BYTES_MAX);
        self.pending.clear();
        self.last_key.clear();
        self.size_bytes = 0;
        header
    }
}
