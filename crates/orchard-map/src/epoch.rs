//! Epochs: when memory that readers can no longer reach may be freed.
//!
//! - A reader pins by writing the current epoch into a free slot and unpins by clearing it; it
//!   needs no registration, and a pinned reader never waits for the writer.
//! - The writer unlinks a block first, and then retires it under the current epoch. Every reader
//!   that may have seen the block is pinned at that epoch or an older one.
//! - So a block may be freed once `oldest_pinned` is greater than its epoch: a pin that the scan did
//!   not see comes after the scan, and such a reader finds the block unlinked already.

use crate::sync::{AtomicU64, AtomicUsize, Ordering, Padded, fence, fence_after_pin};

#[cfg(not(loom))]
const SLOTS: usize = 256;
#[cfg(loom)]
const SLOTS: usize = 2;

/// Where a reader is pinned: its epoch, or 0.
pub(crate) type Slot = Padded<AtomicU64>;

/// The current epoch and the slots of the pinned readers.
pub(crate) struct Epochs {
    current: Padded<AtomicU64>,
    /// Slots from here on were never used, so the writer need not look at them.
    used: Padded<AtomicUsize>,
    slots: Box<[Slot; SLOTS]>,
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            current: Padded(AtomicU64::new(1)),
            used: Padded(AtomicUsize::new(0)),
            slots: Box::new(std::array::from_fn(|_| Padded(AtomicU64::new(0)))),
        }
    }

    /// Pins the caller at the current epoch; returns the slot, for `unpin`.
    ///
    /// With every slot taken it waits for one: a pin is meant to be short.
    #[inline]
    pub(crate) fn pin(&self) -> &Slot {
        let mut tries = 0;
        let mut slot = thread_hint();
        loop {
            slot %= SLOTS;
            if slot >= self.used.0.load(Ordering::Relaxed) {
                // Before the swap below: a scan that misses the slot's pin by reading an old
                // `used` comes before this pin.
                self.used.0.fetch_max(slot + 1, Ordering::SeqCst);
            }
            let epoch = self.current.0.load(Ordering::Acquire);
            let taken = self.slots[slot].0.compare_exchange(0, epoch, Ordering::SeqCst, Ordering::Relaxed);
            if taken.is_ok() {
                fence_after_pin();
                return &self.slots[slot];
            }
            slot += 1;
            tries += 1;
            if tries % SLOTS == 0 {
                yield_now();
            }
        }
    }

    /// Ends the pin that took `slot`.
    #[inline]
    pub(crate) fn unpin(slot: &Slot) {
        slot.0.store(0, Ordering::Release);
    }

    /// The epoch that blocks are retired under now.
    #[inline]
    pub(crate) fn current(&self) -> u64 {
        self.current.0.load(Ordering::Relaxed)
    }

    /// Starts the next epoch. Called by the one writer only.
    pub(crate) fn advance(&self) {
        self.current.0.store(self.current() + 1, Ordering::Release);
    }

    /// The oldest epoch that some reader is pinned at, `u64::MAX` with no reader pinned.
    pub(crate) fn oldest_pinned(&self) -> u64 {
        fence(Ordering::SeqCst);
        let used = self.used.0.load(Ordering::SeqCst);
        let mut oldest = u64::MAX;
        for slot in self.slots.iter().take(used) {
            let epoch = slot.0.load(Ordering::Acquire);
            if epoch != 0 {
                oldest = oldest.min(epoch);
            }
        }
        oldest
    }
}

#[cfg(not(loom))]
fn thread_hint() -> usize {
    use std::cell::Cell;
    use std::sync::atomic::AtomicUsize;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static HINT: Cell<usize> = const { Cell::new(usize::MAX) });
    HINT.with(|hint| {
        if hint.get() == usize::MAX {
            hint.set(NEXT.fetch_add(1, Ordering::Relaxed) % SLOTS);
        }
        hint.get()
    })
}

#[cfg(loom)]
fn thread_hint() -> usize {
    0
}

#[cfg(not(loom))]
fn yield_now() {
    std::thread::yield_now();
}

#[cfg(loom)]
fn yield_now() {
    loom::thread::yield_now();
}
