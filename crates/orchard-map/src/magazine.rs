//! Magazines: a few free blocks at hand, in front of the slab (after Bonwick and Adams, "Magazines and Vmem", 2001).
//!
//! - What an overwrite frees is mostly of the size that the next one asks for. A block that goes through a magazine
//!   touches neither its chunk's header, which with blocks all over the map is a cache miss, nor the block itself.
//! - Each magazine holds blocks of one class at a time. Classes that meet in one go past it, as long as it is in use.
//! - To the slab a block in a magazine is allocated still: so long it keeps its chunk.

use std::ptr::NonNull;

use crate::slab::{Slab, class_bytes};

const BLOCKS: usize = 30;
const MAGAZINES: usize = 16;

struct Magazine {
    class: usize,
    len: usize,
    blocks: [NonNull<u8>; BLOCKS],
}

/// A map's magazines.
pub(crate) struct Magazines {
    list: Box<[Magazine; MAGAZINES]>,
    held_bytes: u64,
}

// SAFETY: the blocks are owned; nothing in here is tied to a thread.
unsafe impl Send for Magazines {}

impl Default for Magazines {
    fn default() -> Self {
        let empty = || Magazine { class: 0, len: 0, blocks: [NonNull::dangling(); BLOCKS] };
        Self { list: Box::new(std::array::from_fn(|_| empty())), held_bytes: 0 }
    }
}

impl Magazines {
    /// Bytes of the blocks in here.
    #[inline]
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// A block of at least `bytes`, if there is one.
    #[inline]
    pub(crate) fn take(&mut self, bytes: usize) -> Option<NonNull<u8>> {
        let class = Slab::class_of(bytes)?;
        let magazine = &mut self.list[class % MAGAZINES];
        if magazine.class != class {
            return None;
        }
        magazine.len = magazine.len.checked_sub(1)?;
        self.held_bytes -= class_bytes(class) as u64;
        magazine.blocks.get(magazine.len).copied()
    }

    /// As [`Slab::free`].
    ///
    /// # Safety
    /// `block` came from `slab.allocate(bytes)` or from `take(bytes)`, is not used again, and is freed once.
    #[inline]
    pub(crate) unsafe fn free(&mut self, slab: &mut Slab, block: NonNull<u8>, bytes: usize) {
        let magazine = Slab::class_of(bytes).map(|class| (class, &mut self.list[class % MAGAZINES]));
        let Some((class, magazine)) = magazine.filter(|(class, held)| held.class == *class || held.len == 0)
        else {
            // SAFETY: the caller's promise.
            return unsafe { slab.free(block, bytes) };
        };
        magazine.class = class;
        if magazine.len == BLOCKS {
            // The ones that came first: those that came last are more likely in the cache.
            let given_back = BLOCKS / 2;
            for block in &magazine.blocks[..given_back] {
                // SAFETY: as above, for a block of this class.
                unsafe { slab.free(*block, class_bytes(class)) };
            }
            magazine.blocks.copy_within(given_back.., 0);
            magazine.len -= given_back;
            self.held_bytes -= (given_back * class_bytes(class)) as u64;
        }
        magazine.blocks[magazine.len] = block;
        magazine.len += 1;
        self.held_bytes += class_bytes(class) as u64;
    }

    /// Gives all blocks back to the slab they are from.
    pub(crate) fn empty(&mut self, slab: &mut Slab) {
        if self.held_bytes == 0 {
            return;
        }
        for magazine in self.list.iter_mut() {
            for block in &magazine.blocks[..magazine.len] {
                // SAFETY: the block was freed here with this class, and only once.
                unsafe { slab.free(*block, class_bytes(magazine.class)) };
            }
            magazine.len = 0;
        }
        self.held_bytes = 0;
    }
}

/// Where blocks come from.
pub(crate) trait Blocks {
    /// As [`Slab::allocate`].
    fn allocate(&mut self, bytes: usize) -> NonNull<u8>;
}

impl Blocks for Slab {
    #[inline]
    fn allocate(&mut self, bytes: usize) -> NonNull<u8> {
        self.allocate(bytes)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn blocks_are_nobody_elses_and_all_come_back(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 1usize..700, 0u8..5), 0..800),
        ) {
            let (mut slab, mut magazines) = (Slab::new(), Magazines::default());
            let mut held: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
            for (number, (which, bytes, kind)) in steps.into_iter().enumerate() {
                if kind < 3 || held.is_empty() {
                    // Few sizes, so that blocks go round.
                    let bytes = if kind == 0 { bytes } else { 8 + bytes % 3 * 128 };
                    let taken = magazines.take(bytes);
                    let (block, mark) = (taken.unwrap_or_else(|| slab.allocate(bytes)), number as u8);
                    // SAFETY: the block has so many bytes.
                    unsafe { block.write_bytes(mark, bytes) };
                    held.push((block, bytes, mark));
                } else {
                    let (block, bytes, mark) = held.swap_remove(which.index(held.len()));
                    // SAFETY: it was written when it was allocated, and is freed once.
                    unsafe {
                        prop_assert!(std::slice::from_raw_parts(block.as_ptr(), bytes).iter().all(|byte| *byte == mark));
                        magazines.free(&mut slab, block, bytes);
                    }
                }
                let out: usize = held.iter().map(|(_, bytes, _)| Slab::block_bytes(*bytes)).sum();
                prop_assert_eq!(slab.allocated_bytes() - magazines.held_bytes(), out as u64);
            }
            for (block, bytes, _) in held {
                // SAFETY: as above.
                unsafe { magazines.free(&mut slab, block, bytes) };
            }
            magazines.empty(&mut slab);
            prop_assert_eq!((slab.allocated_bytes(), slab.held_bytes()), (0, 0));
        }
    }
}
