//! The atomics this crate uses: the real ones, or loom's under `cfg(loom)`.
//!
//! Loom's atomics are larger than the real ones, so no layout in this crate may assume that an
//! `AtomicU64` has 8 bytes: blocks are sized and walked with `size_of`.

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence};

/// Tells loom of plain reads and writes of a block, so that it fails where nothing orders them; loom sees atomics by
/// itself, but runs everything else in program order. Nothing without loom.
pub(crate) struct Access {
    #[cfg(loom)]
    cell: loom::cell::UnsafeCell<()>,
}

impl Access {
    /// For a block that the caller has just written.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        let access = Self {
            #[cfg(loom)]
            cell: loom::cell::UnsafeCell::new(()),
        };
        access.write();
        access
    }

    /// The block is being read.
    #[inline(always)]
    pub(crate) fn read(&self) {
        #[cfg(loom)]
        self.cell.with(|_| ());
    }

    /// The block is being written, or freed.
    #[inline(always)]
    pub(crate) fn write(&self) {
        #[cfg(loom)]
        self.cell.with_mut(|_| ());
    }
}

/// Orders a pin's compare-and-swap before every later load of the pinning thread.
///
/// On x86 the locked instruction of the swap is itself a full barrier, so only the compiler has to
/// be held back (crossbeam-epoch does the same).
#[inline(always)]
pub(crate) fn fence_after_pin() {
    #[cfg(all(target_arch = "x86_64", not(loom), not(miri)))]
    std::sync::atomic::compiler_fence(Ordering::SeqCst);
    #[cfg(not(all(target_arch = "x86_64", not(loom), not(miri))))]
    fence(Ordering::SeqCst);
}

/// Asks the processor to bring in the cache line of `address`; never faults.
#[inline(always)]
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch is a hint; it neither reads the value nor faults on a bad address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Keeps two neighbours off one cache line (and off the pair that is fetched together).
#[repr(align(128))]
#[derive(Debug)]
pub(crate) struct Padded<T>(pub(crate) T);

/// The 48 bits of a word that hold a pointer; the 16 above are a tag.
pub(crate) const POINTER_BITS: u32 = 48;
const POINTER_MASK: u64 = (1 << POINTER_BITS) - 8;

/// The pointer packed in `word`, without its tag and its three low mark bits.
#[inline(always)]
pub(crate) fn pointer_in<T>(word: u64) -> *mut T {
    std::ptr::with_exposed_provenance_mut((word & POINTER_MASK) as usize)
}

/// A word that holds `pointer` and nothing else. Blocks are 8-aligned and below 2^48.
#[inline(always)]
pub(crate) fn word_of<T>(pointer: *mut T) -> u64 {
    let address = pointer.expose_provenance() as u64;
    debug_assert_eq!(address & !POINTER_MASK, 0, "a block is 8-aligned and below 2^48");
    address
}
