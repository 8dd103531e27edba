//! Where the writer's memory comes from, and where it waits until no reader can see it.
//!
//! - A block is retired after it was unlinked, exactly once, and freed when every reader pinned at
//!   that time is gone (see `epoch`).
//! - The queue's epochs never decrease, so freeing only looks at its front.
//! - What is retired in a call of the writer is freed after that call at the earliest: it is retired under the current epoch, and
//!   only a scan at a call's end or in between two of them lets that be freed.
//! - A record's block is freed when another record needs one, into a magazine, from which that record gets it: what is
//!   overwritten makes room for what is put. Only a surplus goes back to the slab.

use std::collections::VecDeque;
use std::ptr::NonNull;

use crate::epoch::Epochs;
use crate::magazine::{Blocks, Magazines};
use crate::record::Version;
use crate::slab::Slab;

/// Blocks that a mutation frees at most: more than it retires.
const FREED_MAX: usize = 8;
/// Blocks that are freed at a time when a record needs one.
const FETCHED: usize = 16;
/// Retired blocks that may wait for a record that needs them.
const KEPT_COUNT_MAX: usize = if cfg!(loom) { 0 } else { 1024 };
const KEPT_BYTES_MAX: u64 = 1 << 20;

/// What waits until readers are gone, since the last look.
#[derive(Clone, Copy, Default)]
pub(crate) struct Waiting {
    count: usize,
    bytes: u64,
}

impl Waiting {
    /// So much is worth a look which readers are gone.
    const COUNT_MAX: usize = if cfg!(loom) { 1 } else { 512 };
    const BYTES_MAX: u64 = 1 << 20;

    #[inline]
    pub(crate) fn note(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn with(self, other: Waiting) -> Waiting {
        Waiting { count: self.count + other.count, bytes: self.bytes + other.bytes }
    }

    #[inline]
    pub(crate) fn is_worth_a_look(self) -> bool {
        self.count >= Self::COUNT_MAX || self.bytes >= Self::BYTES_MAX
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Record,
    Node,
}

struct Retired {
    epoch: u64,
    block: NonNull<u8>,
    bytes: usize,
    kind: Kind,
}

/// The writer's allocators and its queue of retired blocks.
pub(crate) struct Store {
    pub(crate) records: Slab,
    magazines: Magazines,
    /// Hash tables, leaves and inner nodes.
    pub(crate) nodes: Slab,
    retired: VecDeque<Retired>,
    retired_bytes: u64,
    waiting: Waiting,
    /// What the last scan returned: blocks retired under an older epoch may be freed.
    oldest: u64,
}

// SAFETY: the queue owns its blocks; nothing in it is tied to a thread.
unsafe impl Send for Store {}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            records: Slab::new(),
            magazines: Magazines::default(),
            nodes: Slab::new(),
            retired: VecDeque::new(),
            retired_bytes: 0,
            waiting: Waiting::default(),
            oldest: 0,
        }
    }

    pub(crate) fn retired_bytes(&self) -> u64 {
        self.retired_bytes
    }

    /// Retires a record that was just unlinked from everything a new reader can reach.
    pub(crate) fn retire_record(&mut self, epochs: &Epochs, record: Version<'_>) {
        let block = NonNull::new(crate::sync::pointer_in(record.word()));
        let Some(block) = block else { unreachable!("a record's word holds its pointer") };
        self.retire(epochs, block, record.block_bytes(), Kind::Record);
    }

    /// Retires a node or table that was just unlinked.
    pub(crate) fn retire_node(&mut self, epochs: &Epochs, block: NonNull<u8>, bytes: usize) {
        self.retire(epochs, block, bytes, Kind::Node);
    }

    fn retire(&mut self, epochs: &Epochs, block: NonNull<u8>, bytes: usize, kind: Kind) {
        self.retired_bytes += Slab::block_bytes(bytes) as u64;
        self.waiting.note(bytes);
        self.retired.push_back(Retired { epoch: epochs.current(), block, bytes, kind });
    }

    /// The retired blocks that no scan has looked at yet.
    #[inline]
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Looks which readers are gone; returns the epoch before, and the oldest that a reader may be pinned at.
    pub(crate) fn scan(&mut self, epochs: &Epochs) -> (u64, u64) {
        let before = epochs.current();
        self.oldest = epochs.scan();
        self.waiting = Waiting::default();
        (before, self.oldest)
    }

    /// Frees some retired blocks; called at the end of each mutation.
    #[inline]
    pub(crate) fn collect_sometimes(&mut self, epochs: &Epochs) {
        if self.waiting.is_worth_a_look() {
            self.scan(epochs);
        }
        self.collect_surplus(FREED_MAX);
    }

    /// As `collect`, of what is more than records are likely to need.
    #[inline]
    pub(crate) fn collect_surplus(&mut self, budget: usize) -> u64 {
        if self.retired.len() > KEPT_COUNT_MAX || self.retired_bytes > KEPT_BYTES_MAX {
            self.collect(budget)
        } else {
            0
        }
    }

    /// Bytes of the records' blocks handed out, each rounded up to its class.
    #[inline]
    pub(crate) fn record_bytes(&self) -> u64 {
        self.records.allocated_bytes() - self.magazines.held_bytes()
    }

    /// A block for a record for which there is none at hand.
    #[inline(never)]
    fn allocate_behind(&mut self, bytes: usize) -> NonNull<u8> {
        self.collect(FETCHED);
        self.magazines.take(bytes).unwrap_or_else(|| self.records.allocate(bytes))
    }

    /// Gives the free blocks at hand back to the slab.
    pub(crate) fn empty_magazines(&mut self) {
        self.magazines.empty(&mut self.records);
    }

    /// Frees at most `budget` retired blocks that no reader could see any more at the last scan; returns their bytes.
    pub(crate) fn collect(&mut self, budget: usize) -> u64 {
        let oldest = self.oldest;
        let before = self.retired_bytes;
        for _ in 0..budget {
            let Some(Retired { block, bytes, kind, .. }) =
                self.retired.pop_front_if(|retired| retired.epoch < oldest)
            else {
                break;
            };
            self.retired_bytes -= Slab::block_bytes(bytes) as u64;
            // SAFETY: the block came from this slab with this size, was retired once, was unlinked
            // before that, and each reader pinned then has unpinned (`epoch < oldest`).
            unsafe {
                match kind {
                    Kind::Record => {
                        Version::from_word(crate::sync::word_of(block.as_ptr())).end();
                        self.magazines.free(&mut self.records, block, bytes);
                    }
                    Kind::Node => self.nodes.free(block, bytes),
                }
            }
        }
        before - self.retired_bytes
    }
}

impl Blocks for Store {
    /// A block for a record.
    #[inline]
    fn allocate(&mut self, bytes: usize) -> NonNull<u8> {
        self.magazines.take(bytes).unwrap_or_else(|| self.allocate_behind(bytes))
    }
}
