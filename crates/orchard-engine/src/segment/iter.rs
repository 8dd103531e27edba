//! Walking a segment in key order, forward or backward.

use super::block::{BlockCursor, DecodedBlock};
use super::{Segment, SegmentEntry};
use crate::error::StorageError;
use std::ops::{Bound, Range};
use std::sync::Arc;

/// Most bytes that a walk reads at once, unless one block is larger.
const READ_AHEAD_SIZE_BYTES_MAX: usize = 512 * 1024;
/// By how much each read of a walk is larger than the one before.
const READ_AHEAD_GROWTH: usize = 4;

/// How to walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ScanOptions {
    /// Keys descending. The versions of one key come newest first in both directions.
    pub reverse: bool,
    /// Only versions with a larger stamp; blocks without one are not read.
    pub newer_than: Option<u64>,
}

/// Walks the versions of a range of keys: (key ascending, stamp descending), or (key descending, stamp descending).
///
/// After an error the walk is over.
pub struct SegmentIter {
    segment: Arc<Segment>,
    walk: Walk,
    /// Whether there is a current entry.
    valid: bool,
}

enum Walk {
    Forward(Box<Forward>),
    Reverse(Box<Reverse>),
}

impl SegmentIter {
    pub(super) fn new(
        segment: Arc<Segment>,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        options: ScanOptions,
    ) -> SegmentIter {
        let walk = if options.reverse {
            Walk::Reverse(Box::new(Reverse::new(&segment, lower, upper, options.newer_than)))
        } else {
            Walk::Forward(Box::new(Forward::new(&segment, lower, upper, options.newer_than)))
        };
        SegmentIter { segment, walk, valid: false }
    }

    /// Goes to the next version; `false` behind the last one.
    ///
    /// # Errors
    /// What the disk says, or damage.
    #[inline]
    pub fn advance(&mut self) -> Result<bool, StorageError> {
        self.valid = false;
        let advanced = match &mut self.walk {
            Walk::Forward(walk) => walk.advance(&self.segment),
            Walk::Reverse(walk) => walk.advance(&self.segment),
        };
        match advanced {
            Ok(valid) => self.valid = valid,
            Err(error) => {
                self.walk = Walk::Forward(Box::new(Forward::over(0..0)));
                return Err(error);
            }
        }
        Ok(self.valid)
    }

    /// The version that [`SegmentIter::advance`] went to.
    #[inline]
    pub fn entry(&self) -> Option<SegmentEntry<'_>> {
        if !self.valid {
            return None;
        }
        match &self.walk {
            Walk::Forward(walk) => Some(walk.entry()),
            Walk::Reverse(walk) => walk.entry(),
        }
    }

    /// Goes to the next version and lends it.
    ///
    /// # Errors
    /// What the disk says, or damage.
    #[expect(clippy::should_implement_trait, reason = "lends from a buffer, which `Iterator` cannot express")]
    #[inline]
    pub fn next(&mut self) -> Result<Option<SegmentEntry<'_>>, StorageError> {
        Ok(if self.advance()? { self.entry() } else { None })
    }

    /// As [`SegmentIter::next`], with the number of the block. Forward only.
    pub(super) fn next_with_block(&mut self) -> Result<Option<(usize, SegmentEntry<'_>)>, StorageError> {
        if !self.advance()? {
            return Ok(None);
        }
        match &self.walk {
            Walk::Forward(walk) => Ok(Some((walk.block, walk.entry()))),
            Walk::Reverse(_) => Ok(None),
        }
    }

    /// Whether keys descend.
    pub(super) fn is_reverse(&self) -> bool {
        matches!(self.walk, Walk::Reverse(_))
    }

    /// The segment that is walked.
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }
}

/// Some neighbouring blocks of a segment, read at once.
#[derive(Default)]
struct Chunk {
    buffer: Vec<u8>,
    start_bytes: u64,
    blocks: Range<usize>,
    /// Bytes to read at once, next time.
    read_ahead_bytes: usize,
}

impl Chunk {
    /// Reads `blocks`, of which there is at least one.
    fn read(&mut self, segment: &Segment, blocks: Range<usize>) -> Result<(), StorageError> {
        self.blocks = 0..0;
        let handles = segment.index().blocks().get(blocks.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (handles.first(), handles.last()) else { return Ok(()) };
        let length = usize::try_from(last.end_bytes() - first.offset_bytes).unwrap_or(usize::MAX);
        if self.buffer.len() > 2 * READ_AHEAD_SIZE_BYTES_MAX {
            // One large value shall not hold its memory for the rest of the walk.
            self.buffer = Vec::new();
        }
        self.buffer.resize(length, 0);
        segment.read(first.offset_bytes, &mut self.buffer)?;
        self.start_bytes = first.offset_bytes;
        self.blocks = blocks;
        self.read_ahead_bytes = self.read_ahead_bytes.max(length).saturating_mul(READ_AHEAD_GROWTH);
        Ok(())
    }

    /// Bytes to read at once now.
    fn read_ahead_bytes(&self) -> u64 {
        self.read_ahead_bytes.min(READ_AHEAD_SIZE_BYTES_MAX) as u64
    }

    /// Where block `number` stands in the buffer, with its checksum.
    fn place(&self, segment: &Segment, number: usize) -> Range<usize> {
        match segment.index().blocks().get(number) {
            Some(handle) if self.blocks.contains(&number) => {
                let start = usize::try_from(handle.offset_bytes - self.start_bytes).unwrap_or(usize::MAX);
                start..start.saturating_add(handle.length_bytes as usize)
            }
            _ => 0..0,
        }
    }
}

fn owned(bound: Bound<&[u8]>) -> Bound<Vec<u8>> {
    bound.map(<[u8]>::to_vec)
}

/// Whether `key` lies above a lower bound.
fn above(lower: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match lower {
        Bound::Included(lower) => key >= lower.as_slice(),
        Bound::Excluded(lower) => key > lower.as_slice(),
        Bound::Unbounded => true,
    }
}

/// Whether `key` lies below an upper bound.
fn below(upper: &Bound<Vec<u8>>, key: &[u8]) -> bool {
    match upper {
        Bound::Included(upper) => key <= upper.as_slice(),
        Bound::Excluded(upper) => key < upper.as_slice(),
        Bound::Unbounded => true,
    }
}

struct Forward {
    chunk: Chunk,
    cursor: BlockCursor,
    /// Where the current block's header and payload stand in the chunk.
    place: Range<usize>,
    /// The current block.
    block: usize,
    /// Blocks that are still to be entered.
    ahead: Range<usize>,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    newer_than: Option<u64>,
}

impl Forward {
    /// Walks whole blocks.
    fn over(blocks: Range<usize>) -> Forward {
        Forward {
            chunk: Chunk::default(),
            cursor: BlockCursor::default(),
            place: 0..0,
            block: 0,
            ahead: blocks,
            lower: Bound::Unbounded,
            upper: Bound::Unbounded,
            newer_than: None,
        }
    }

    fn new(segment: &Segment, lower: Bound<&[u8]>, upper: Bound<&[u8]>, newer_than: Option<u64>) -> Forward {
        let index = segment.index();
        let mut walk = Forward::over(index.first_block(lower)..index.end_block(upper));
        if lower == Bound::Unbounded && upper == Bound::Unbounded {
            walk.chunk.read_ahead_bytes = READ_AHEAD_SIZE_BYTES_MAX;
        }
        walk.lower = owned(lower);
        walk.upper = owned(upper);
        walk.newer_than = newer_than;
        walk
    }

    #[inline]
    fn block_bytes(&self) -> &[u8] {
        self.chunk.buffer.get(self.place.clone()).unwrap_or_default()
    }

    fn entry(&self) -> SegmentEntry<'_> {
        self.cursor.entry(self.block_bytes())
    }

    #[inline]
    fn advance(&mut self, segment: &Segment) -> Result<bool, StorageError> {
        loop {
            let block = self.chunk.buffer.get(self.place.clone()).unwrap_or_default();
            if !self.cursor.advance(block).map_err(|damage| segment.damage(self.block, damage))? {
                if !self.next_block(segment)? {
                    return Ok(false);
                }
                continue;
            }
            if self.lower != Bound::Unbounded {
                if !above(&self.lower, self.cursor.key()) {
                    continue;
                }
                // Keys ascend: once above, always above.
                self.lower = Bound::Unbounded;
            }
            if self.upper != Bound::Unbounded && !below(&self.upper, self.cursor.key()) {
                *self = Forward::over(0..0);
                return Ok(false);
            }
            if self.newer_than.is_some_and(|stamp| self.cursor.stamp() <= stamp) {
                continue;
            }
            return Ok(true);
        }
    }

    /// Enters the next block that is not skipped; `false` if there is none.
    #[cold]
    fn next_block(&mut self, segment: &Segment) -> Result<bool, StorageError> {
        let handles = segment.index().blocks();
        let wanted = |number: usize| {
            self.newer_than
                .is_none_or(|stamp| handles.get(number).is_some_and(|block| block.max_stamp > stamp))
        };
        let Some(number) = self.ahead.clone().find(|number| wanted(*number)) else {
            *self = Forward::over(0..0);
            return Ok(false);
        };
        if !self.chunk.blocks.contains(&number) {
            let start_bytes = handles.get(number).map_or(0, |block| block.offset_bytes);
            let limit_bytes = start_bytes + self.chunk.read_ahead_bytes();
            let end = (number + 1..self.ahead.end)
                .take_while(|next| {
                    wanted(*next) && handles.get(*next).is_some_and(|block| block.end_bytes() <= limit_bytes)
                })
                .last()
                .map_or(number + 1, |last| last + 1);
            self.chunk.read(segment, number..end)?;
        }
        self.block = number;
        self.ahead.start = number + 1;
        let place = self.chunk.place(segment, number);
        let bytes = self.chunk.buffer.get(place.clone()).unwrap_or_default();
        let block = segment.checked(number, bytes)?;
        self.place = place.start..place.start + block.len();
        segment.enter(number, block, &mut self.cursor)?;
        Ok(true)
    }
}

struct Reverse {
    chunk: Chunk,
    cursor: BlockCursor,
    decoded: DecodedBlock,
    /// Where the current block's header and payload stand in the chunk.
    place: Range<usize>,
    /// The current block.
    block: usize,
    /// Blocks that are still to be entered, the last one first.
    ahead: Range<usize>,
    /// Entries of the current block that are still to be visited, the last one first.
    before: usize,
    /// Entries of one key that are still to be given, newest first.
    group: Range<usize>,
    /// The entry that was given last.
    current: usize,
    /// Walks the versions of a key that began in an earlier block; then the walk goes on before that key.
    chain: Option<Box<Forward>>,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    newer_than: Option<u64>,
}

impl Reverse {
    fn new(segment: &Segment, lower: Bound<&[u8]>, upper: Bound<&[u8]>, newer_than: Option<u64>) -> Reverse {
        let index = segment.index();
        let mut chunk = Chunk::default();
        if lower == Bound::Unbounded && upper == Bound::Unbounded {
            chunk.read_ahead_bytes = READ_AHEAD_SIZE_BYTES_MAX;
        }
        Reverse {
            chunk,
            cursor: BlockCursor::default(),
            decoded: DecodedBlock::default(),
            place: 0..0,
            block: 0,
            ahead: index.first_block(lower)..index.end_block(upper),
            before: 0,
            group: 0..0,
            current: 0,
            chain: None,
            lower: owned(lower),
            upper: owned(upper),
            newer_than,
        }
    }

    fn entry(&self) -> Option<SegmentEntry<'_>> {
        match &self.chain {
            Some(chain) => Some(chain.entry()),
            None => self
                .decoded
                .entry(self.current, self.chunk.buffer.get(self.place.clone()).unwrap_or_default()),
        }
    }

    fn advance(&mut self, segment: &Segment) -> Result<bool, StorageError> {
        loop {
            if let Some(chain) = &mut self.chain {
                if chain.advance(segment)? {
                    return Ok(true);
                }
                self.chain = None;
            }
            if let Some(next) = self.group.next() {
                self.current = next;
                let stamp = self.decoded.stamp(next).unwrap_or_default();
                if self.newer_than.is_some_and(|newer_than| stamp <= newer_than) {
                    // Stamps descend within a key.
                    self.group = 0..0;
                    continue;
                }
                return Ok(true);
            }
            if self.before == 0 {
                if !self.previous_block(segment)? {
                    return Ok(false);
                }
                continue;
            }
            self.previous_key(segment);
        }
    }

    /// Makes the versions of the last key that is still to be visited the group.
    fn previous_key(&mut self, segment: &Segment) {
        let end = self.before;
        let Some(key) = self.decoded.key(end - 1) else {
            self.before = 0;
            return;
        };
        let mut start = end - 1;
        while start > 0 && self.decoded.key(start - 1) == Some(key) {
            start -= 1;
        }
        self.before = start;
        if !below(&self.upper, key) {
            return;
        }
        if !above(&self.lower, key) {
            self.before = 0;
            self.ahead = 0..0;
            return;
        }
        let continues = segment.index().blocks().get(self.block).is_some_and(|block| block.continues);
        if start == 0 && continues {
            let bound = Bound::Included(key);
            let chain = Forward::new(segment, bound, bound, self.newer_than);
            self.ahead.end = self.ahead.end.min(chain.ahead.start + 1);
            self.upper = Bound::Excluded(key.to_vec());
            self.chain = Some(Box::new(chain));
            return;
        }
        // Below the first key that was below, all are.
        self.upper = Bound::Unbounded;
        self.group = start..end;
    }

    /// Takes the block before apart; `false` if there is none.
    #[cold]
    fn previous_block(&mut self, segment: &Segment) -> Result<bool, StorageError> {
        let handles = segment.index().blocks();
        let wanted = |number: usize| {
            self.newer_than
                .is_none_or(|stamp| handles.get(number).is_some_and(|block| block.max_stamp > stamp))
        };
        let Some(number) = self.ahead.clone().rev().find(|number| wanted(*number)) else {
            self.ahead = 0..0;
            return Ok(false);
        };
        if !self.chunk.blocks.contains(&number) {
            let end_bytes = handles.get(number).map_or(0, |block| block.end_bytes());
            let limit_bytes = end_bytes.saturating_sub(self.chunk.read_ahead_bytes());
            let start = (self.ahead.start..number)
                .rev()
                .take_while(|next| {
                    wanted(*next) && handles.get(*next).is_some_and(|block| block.offset_bytes >= limit_bytes)
                })
                .last()
                .unwrap_or(number);
            self.chunk.read(segment, start..number + 1)?;
        }
        self.block = number;
        self.ahead.end = number;
        let place = self.chunk.place(segment, number);
        let bytes = self.chunk.buffer.get(place.clone()).unwrap_or_default();
        let block = segment.checked(number, bytes)?;
        self.place = place.start..place.start + block.len();
        let header =
            self.decoded.fill(block, &mut self.cursor).map_err(|damage| segment.damage(number, damage))?;
        segment.check_header(number, header)?;
        self.before = self.decoded.len();
        self.group = 0..0;
        Ok(true)
    }
}
