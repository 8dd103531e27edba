//! The index of a segment: where each block stands and which keys and stamps it can hold.
//!
//! ```text
//! for each block: flags 1 | shared | suffix length | suffix | length | entries | min stamp delta | stamp spread
//! then: last key length | last key
//! ```
//!
//! Numbers are varints. The key of a block is a *separator*: above every key of the block before it, at or below its
//! own first key, and as short as that allows; the first block's is its whole first key. A block that goes on with
//! the key that the block before it ended with says so by a flag, and its separator is that key. `length` counts the
//! block with its checksum; the first block stands behind the header, each other one behind its predecessor.

use super::block::{BlockHeader, CHECKSUM_SIZE_BYTES, FLAT_KEY_SIZE_BYTES_MAX, HEADER_SIZE_BYTES};
use super::{Damage, common_prefix, varint};
use crate::format;
use std::cmp::Ordering;
use std::ops::{Bound, Range};

const FLAG_CONTINUES: u8 = 0x01;

/// Where one block stands and what it can hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockHandle {
    /// Where it begins in the file.
    pub offset_bytes: u64,
    /// Its length with the checksum.
    pub length_bytes: u32,
    /// Entries in it.
    pub entries: u32,
    /// Smallest stamp in it.
    pub min_stamp: u64,
    /// Largest stamp in it.
    pub max_stamp: u64,
    /// Whether its first entry has the key of the last entry before it.
    pub continues: bool,
    separator_start: usize,
    /// At most [`FLAT_KEY_SIZE_BYTES_MAX`].
    separator_length: u16,
}

const _: () = assert!(FLAT_KEY_SIZE_BYTES_MAX <= u16::MAX as usize);

impl BlockHandle {
    /// Just behind the block in the file.
    pub fn end_bytes(&self) -> u64 {
        self.offset_bytes + u64::from(self.length_bytes)
    }

    fn separator_range(&self) -> Range<usize> {
        self.separator_start..self.separator_start + usize::from(self.separator_length)
    }
}

/// The index of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Index {
    separators: Vec<u8>,
    blocks: Vec<BlockHandle>,
    last_key: Vec<u8>,
    /// Length of the longest prefix that all separators share.
    shared: usize,
    /// The [`head`] of each separator behind that prefix: a search reads these, which stand side by side, and only
    /// where they are equal the separators themselves. It makes a search over 14,000 blocks some five times faster.
    heads: Vec<u64>,
}

/// The first eight bytes as a number, so that the order of numbers follows that of keys.
fn head(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

impl Index {
    /// The blocks in order.
    pub fn blocks(&self) -> &[BlockHandle] {
        &self.blocks
    }

    /// The separator of a block.
    pub fn separator(&self, block: usize) -> &[u8] {
        self.blocks.get(block).map(|block| self.separator_of(block)).unwrap_or_default()
    }

    fn separator_of(&self, block: &BlockHandle) -> &[u8] {
        self.separators.get(block.separator_range()).unwrap_or_default()
    }

    /// Largest key of the segment.
    pub fn last_key(&self) -> &[u8] {
        &self.last_key
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.separators.capacity()
            + self.blocks.capacity() * size_of::<BlockHandle>()
            + self.last_key.capacity()
    }

    /// The first block that can hold `key`: a forward search begins there.
    pub fn first_block_of(&self, key: &[u8]) -> usize {
        let mut block = self.last_block_of(key);
        while block > 0
            && self.blocks.get(block).is_some_and(|block| block.continues)
            && self.separator(block) == key
        {
            block -= 1;
        }
        block
    }

    /// The last block that can hold `key`.
    pub fn last_block_of(&self, key: &[u8]) -> usize {
        self.blocks_up_to(key, true).saturating_sub(1)
    }

    /// Number of blocks whose separator is below `key`, or at it if `or_at`.
    fn blocks_up_to(&self, key: &[u8], or_at: bool) -> usize {
        let shared = self.separator(0).get(..self.shared).unwrap_or_default();
        let (front, rest) = key.split_at_checked(self.shared).unwrap_or((key, &[]));
        match front.cmp(shared) {
            Ordering::Less => return 0,
            Ordering::Greater => return self.blocks.len(),
            Ordering::Equal => {}
        }
        let head = head(rest);
        let start = self.heads.partition_point(|other| *other < head);
        let end = self.heads.partition_point(|other| *other <= head);
        let same = self.blocks.get(start..end).unwrap_or_default();
        start
            + same.partition_point(|block| {
                let separator = self.separator_of(block);
                separator < key || or_at && separator == key
            })
    }

    /// The block where a forward walk from `lower` begins.
    pub fn first_block(&self, lower: Bound<&[u8]>) -> usize {
        match lower {
            Bound::Included(key) => self.first_block_of(key),
            Bound::Excluded(key) => self.last_block_of(key),
            Bound::Unbounded => 0,
        }
    }

    /// Just behind the last block that a walk up to `upper` visits.
    pub fn end_block(&self, upper: Bound<&[u8]>) -> usize {
        match upper {
            Bound::Included(key) => self.blocks_up_to(key, true),
            Bound::Excluded(key) => self.blocks_up_to(key, false),
            Bound::Unbounded => self.blocks.len(),
        }
    }

    fn prepare_search(&mut self) {
        let last = self.blocks.len().saturating_sub(1);
        self.shared = common_prefix(self.separator(0), self.separator(last));
        let behind = |block| head(self.separator_of(block).get(self.shared..).unwrap_or_default());
        self.heads = self.blocks.iter().map(behind).collect();
    }

    /// Adds a block that follows the others; `first_key` is its first key, `last_key` its last.
    pub fn push(&mut self, header: BlockHeader, length_bytes: u32, first_key: &[u8], last_key: &[u8]) {
        let continues = !self.blocks.is_empty() && self.last_key == first_key;
        let separator_length = if self.blocks.is_empty() || continues {
            first_key.len()
        } else {
            (common_prefix(&self.last_key, first_key) + 1).min(first_key.len())
        };
        let separator_start = self.separators.len();
        self.separators.extend_from_slice(first_key.get(..separator_length).unwrap_or_default());
        let offset_bytes =
            self.blocks.last().map_or(format::HEADER_SIZE_BYTES as u64, BlockHandle::end_bytes);
        self.blocks.push(BlockHandle {
            offset_bytes,
            length_bytes,
            entries: header.entries,
            min_stamp: header.min_stamp,
            max_stamp: header.max_stamp,
            continues,
            separator_start,
            separator_length: u16::try_from(separator_length).unwrap_or(u16::MAX),
        });
        self.last_key.clear();
        self.last_key.extend_from_slice(last_key);
    }

    /// Appends the index's bytes. `min_stamp` is the segment's.
    pub fn encode(&self, min_stamp: u64, out: &mut Vec<u8>) {
        let mut previous: &[u8] = &[];
        for block in &self.blocks {
            let separator = self.separator_of(block);
            let shared = common_prefix(previous, separator);
            let suffix = separator.get(shared..).unwrap_or_default();
            out.push(if block.continues { FLAG_CONTINUES } else { 0 });
            varint::push(out, shared as u64);
            varint::push(out, suffix.len() as u64);
            out.extend_from_slice(suffix);
            varint::push(out, u64::from(block.length_bytes));
            varint::push(out, u64::from(block.entries));
            varint::push(out, block.min_stamp - min_stamp);
            varint::push(out, block.max_stamp - block.min_stamp);
            previous = separator;
        }
        varint::push(out, self.last_key.len() as u64);
        out.extend_from_slice(&self.last_key);
    }

    /// Decodes an index of `blocks` blocks that stand between the file's header and `end_bytes`; `min_stamp` is the
    /// segment's. Pure, for any bytes.
    pub fn decode(bytes: &[u8], blocks: u64, min_stamp: u64, end_bytes: u64) -> Result<Index, Damage> {
        let mut decoder = Decoder { bytes, rest: bytes };
        let mut index = Index::default();
        let mut offset_bytes = format::HEADER_SIZE_BYTES as u64;
        for number in 0..blocks {
            let flags = decoder.byte()?;
            if flags & !FLAG_CONTINUES != 0 {
                return Err(Damage::Newer(format!("index flags {flags:#04x}")));
            }
            let continues = flags & FLAG_CONTINUES != 0;
            let shared = decoder.length()?;
            let suffix = decoder.length()?;
            let suffix = decoder.take(suffix)?;
            let previous = index.blocks.last().map_or(0..0, BlockHandle::separator_range);
            if shared > previous.len() || shared + suffix.len() > FLAT_KEY_SIZE_BYTES_MAX {
                return Err(decoder.corrupt("a separator shares too much or is too long"));
            }
            let separator_start = index.separators.len();
            index.separators.extend_from_within(previous.start..previous.start + shared);
            index.separators.extend_from_slice(suffix);
            let separator_length = u16::try_from(shared + suffix.len()).unwrap_or(u16::MAX);

            let length = decoder.number()?;
            let entries = decoder.number()?;
            let min = min_stamp.checked_add(decoder.number()?);
            let spread = decoder.number()?;
            let bounds = min.and_then(|min| Some((min, min.checked_add(spread)?)));
            let least = (HEADER_SIZE_BYTES + CHECKSUM_SIZE_BYTES) as u64;
            let (Some((min_stamp, max_stamp)), Ok(length_bytes), Ok(entries)) =
                (bounds, u32::try_from(length), u32::try_from(entries))
            else {
                return Err(decoder.corrupt("a number in the index is too large"));
            };
            let block = BlockHandle {
                offset_bytes,
                length_bytes,
                entries,
                min_stamp,
                max_stamp,
                continues,
                separator_start,
                separator_length,
            };
            if length < least || entries == 0 || block.end_bytes() > end_bytes {
                return Err(decoder.corrupt("a block of the index is empty or passes the end"));
            }
            offset_bytes = block.end_bytes();
            index.blocks.push(block);
            let position = index.blocks.len() - 1;
            let ordered = match position.checked_sub(1) {
                None => !continues,
                // Two blocks that go on with one key have the same separator.
                Some(before) => {
                    let (before, separator) = (index.separator(before), index.separator(position));
                    if continues { before <= separator } else { before < separator }
                }
            };
            if !ordered {
                return Err(decoder.corrupt(if number == 0 {
                    "the first block goes on with a key"
                } else {
                    "separators out of order"
                }));
            }
        }
        let length = decoder.length()?;
        let last_key = decoder.take(length)?;
        if length > FLAT_KEY_SIZE_BYTES_MAX
            || index.blocks.last().is_some_and(|last| index.separator_of(last) > last_key)
        {
            return Err(decoder.corrupt("the last key is too long or below the last separator"));
        }
        index.last_key = last_key.to_vec();
        if !decoder.rest.is_empty() || offset_bytes != end_bytes {
            return Err(decoder.corrupt("the index disagrees with its length or with the blocks'"));
        }
        index.separators.shrink_to_fit();
        index.blocks.shrink_to_fit();
        index.prepare_search();
        Ok(index)
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    fn corrupt(&self, detail: &'static str) -> Damage {
        Damage::corrupt(self.bytes.len() - self.rest.len(), detail)
    }

    fn byte(&mut self) -> Result<u8, Damage> {
        let (byte, rest) = self.rest.split_first().ok_or_else(|| self.corrupt("the index ends early"))?;
        self.rest = rest;
        Ok(*byte)
    }

    fn number(&mut self) -> Result<u64, Damage> {
        varint::take(&mut self.rest).ok_or_else(|| self.corrupt("the index ends within a number"))
    }

    fn length(&mut self) -> Result<usize, Damage> {
        usize::try_from(self.number()?).map_err(|_| self.corrupt("a length over the address space"))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Damage> {
        let (taken, rest) =
            self.rest.split_at_checked(length).ok_or_else(|| self.corrupt("the index ends within a key"))?;
        self.rest = rest;
        Ok(taken)
    }
}
