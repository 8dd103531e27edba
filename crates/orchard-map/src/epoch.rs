//! Epochs: when memory that readers can no longer reach may be freed.
//!
//! - A reader pins by writing the current epoch into a slot and unpins by clearing it; it needs no
//!   registration, and a pinned reader never waits for the writer.
//! - The slot is the thread's own, or, for a second pin at a time and for threads without a number (`threads`), any that
//!   is free among those that all share. Only its thread writes an epoch into an own slot, and only while the slot is 0;
//!   whoever drops the guard, in whichever thread, writes the 0.
//! - The writer unlinks a block first, and then retires it under the current epoch. Every reader
//!   that may have seen the block is pinned at that epoch or an older one.
//! - So a block may be freed once `scan` has returned more than its epoch: a pin that the scan did
//!   not see comes after the scan, and such a reader finds the block unlinked already. (`fences` says why that holds though an
//!   own slot is written by a plain store.)

use crate::fences::fence_every_thread;
use crate::sync::{AtomicU64, AtomicUsize, Ordering, Padded, fence_after_pin};
use crate::threads;

#[cfg(not(loom))]
const SHARED_SLOTS: usize = 128;
#[cfg(loom)]
const SHARED_SLOTS: usize = 2;
/// Under loom every pin takes a shared slot: it knows no fence that one thread makes another one pass.
const OWN_SLOTS: usize = if cfg!(loom) { 0 } else { threads::THREADS_MAX };

/// Where a reader is pinned: its epoch, or 0.
pub(crate) type Slot = Padded<AtomicU64>;

/// The current epoch and the slots of the pinned readers.
pub(crate) struct Epochs {
    current: Padded<AtomicU64>,
    /// Shared slots from here on were never used, so the writer need not look at them.
    used: Padded<AtomicUsize>,
    /// By the thread's number.
    own: [Slot; OWN_SLOTS],
    shared: [Slot; SHARED_SLOTS],
}

fn free_slots<const N: usize>() -> [Slot; N] {
    std::array::from_fn(|_| Padded(AtomicU64::new(0)))
}

impl Epochs {
    pub(crate) fn new() -> Self {
        Self {
            current: Padded(AtomicU64::new(1)),
            used: Padded(AtomicUsize::new(0)),
            own: free_slots(),
            shared: free_slots(),
        }
    }

    /// Pins the caller at the current epoch; returns the slot, for `unpin`.
    #[inline(always)]
    pub(crate) fn pin(&self) -> &Slot {
        self.pin_own().unwrap_or_else(|| self.pin_shared())
    }

    #[inline(always)]
    fn pin_own(&self) -> Option<&Slot> {
        let own = self.own.get(threads::number())?;
        // Acquire and release hand on what another thread did that dropped a guard of this one: no reader of the
        // slot's next epoch may miss it.
        if own.0.load(Ordering::Acquire) != 0 {
            return None;
        }
        own.0.store(self.current.0.load(Ordering::Acquire), Ordering::Release);
        // The processor's half is the writer's: `scan`.
        std::sync::atomic::compiler_fence(Ordering::SeqCst);
        Some(own)
    }

    /// With every slot taken it waits for one: a pin is meant to be short.
    #[cold]
    #[inline(never)]
    fn pin_shared(&self) -> &Slot {
        if threads::ask_for_number()
            && let Some(own) = self.pin_own()
        {
            return own;
        }
        let mut tries = 0;
        let mut slot = thread_hint();
        loop {
            slot %= SHARED_SLOTS;
            if slot >= self.used.0.load(Ordering::Relaxed) {
                // Before the swap below: a scan that misses the slot's pin by reading an old
                // `used` comes before this pin.
                self.used.0.fetch_max(slot + 1, Ordering::SeqCst);
            }
            let epoch = self.current.0.load(Ordering::Acquire);
            let taken = self.shared[slot].0.compare_exchange(0, epoch, Ordering::SeqCst, Ordering::Relaxed);
            if taken.is_ok() {
                fence_after_pin();
                return &self.shared[slot];
            }
            slot += 1;
            tries += 1;
            if tries % SHARED_SLOTS == 0 {
                yield_now();
            }
        }
    }

    /// Ends the pin that took `slot`.
    #[inline(always)]
    pub(crate) fn unpin(slot: &Slot) {
        slot.0.store(0, Ordering::Release);
    }

    /// The epoch that blocks are retired under now.
    #[inline]
    pub(crate) fn current(&self) -> u64 {
        self.current.0.load(Ordering::Relaxed)
    }

    /// Starts the next epoch, and returns the oldest one that a reader may still be pinned at: whoever was pinned at an
    /// older one is gone. Called by the one writer only; it may interrupt every processor, so it is for many blocks at a
    /// time.
    pub(crate) fn scan(&self) -> u64 {
        let next = self.current() + 1;
        self.current.0.store(next, Ordering::Release);
        if !fence_every_thread() {
            return 0;
        }
        let shared = self.shared.iter().take(self.used.0.load(Ordering::SeqCst));
        let own = self.own.iter().take(threads::ever_taken());
        own.chain(shared)
            .map(|slot| slot.0.load(Ordering::Acquire))
            .filter(|&epoch| epoch != 0)
            .fold(next, u64::min)
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
            hint.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARED_SLOTS);
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
