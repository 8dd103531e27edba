//! Where the writer's memory comes from, and where it waits until no reader can see it.
//!
//! - A block is retired after it was unlinked, exactly once, and freed when every reader pinned at
//!   that time is gone (see `epoch`).
//! - The queue's epochs never decrease, so freeing only looks at its front.

use std::collections::VecDeque;
use std::ptr::NonNull;

use crate::epoch::Epochs;
use crate::record::Version;
use crate::slab::Slab;

/// After this many retired blocks a mutation frees what it can.
const RETIRED_BETWEEN_COLLECTS: usize = if cfg!(loom) { 1 } else { 256 };

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
    /// Hash tables, leaves and inner nodes.
    pub(crate) nodes: Slab,
    retired: VecDeque<Retired>,
    retired_bytes: u64,
    since_collect: usize,
}

// SAFETY: the queue owns its blocks; nothing in it is tied to a thread.
unsafe impl Send for Store {}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            records: Slab::new(),
            nodes: Slab::new(),
            retired: VecDeque::new(),
            retired_bytes: 0,
            since_collect: 0,
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
        self.since_collect += 1;
        self.retired.push_back(Retired { epoch: epochs.current(), block, bytes, kind });
    }

    /// Frees retired blocks now and then; called at the end of each mutation.
    #[inline]
    pub(crate) fn collect_sometimes(&mut self, epochs: &Epochs) {
        if self.since_collect >= RETIRED_BETWEEN_COLLECTS {
            self.collect(epochs, 2 * RETIRED_BETWEEN_COLLECTS);
        }
    }

    /// Frees at most `budget` retired blocks that no reader can see any more; returns their bytes.
    pub(crate) fn collect(&mut self, epochs: &Epochs, budget: usize) -> u64 {
        self.since_collect = 0;
        if self.retired.is_empty() {
            return 0;
        }
        epochs.advance();
        let oldest = epochs.oldest_pinned();
        let before = self.retired_bytes;
        for _ in 0..budget {
            let Some(Retired { block, bytes, kind, .. }) =
                self.retired.pop_front_if(|retired| retired.epoch < oldest)
            else {
                break;
            };
            self.retired_bytes -= Slab::block_bytes(bytes) as u64;
            let slab = match kind {
                Kind::Record => {
                    // SAFETY: it is freed below, not before.
                    unsafe { Version::from_word(crate::sync::word_of(block.as_ptr())) }.end();
                    &mut self.records
                }
                Kind::Node => &mut self.nodes,
            };
            // SAFETY: the block came from this slab with this size, was retired once, was unlinked
            // before that, and each reader pinned then has unpinned (`epoch < oldest`).
            unsafe { slab.free(block, bytes) };
        }
        before - self.retired_bytes
    }
}
