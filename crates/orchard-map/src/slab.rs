//! The slab allocator: blocks of a few size classes in 64 KiB chunks.
//!
//! - One thread allocates and frees (`&mut self`), so there is no synchronization at all.
//! - A block is 8-aligned, and 64-aligned when its size is a multiple of 64: a chunk's blocks start
//!   64 bytes into it and classes above 1 KiB are multiples of 64.
//! - A chunk belongs to one class while it has a live block. With its last block gone it returns to
//!   its region and may serve any class; a region without live chunks returns to the system, but
//!   for one kept against thrashing.
//! - Blocks above [`BLOCK_BYTES_MAX`] come from the global allocator, chained in a list, so that
//!   dropping the slab frees every block, live or not.
//!
//! Built with `--cfg orchard_plain_alloc` (sanitizer runs) or under loom each block takes the
//! large route, so that a sanitizer sees every allocation by itself.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

const CHUNK_BYTES: usize = 64 << 10;
const CHUNK_HEADER_BYTES: usize = 64;
const REGION_CHUNKS: usize = 32;
const REGION_BYTES: usize = CHUNK_BYTES * REGION_CHUNKS;
/// The first regions of a slab live in small pages, so that a small map stays small.
const SMALL_REGIONS: usize = 1;
const FINE_BYTES_MAX: usize = 1024;
const FINE_CLASSES: usize = FINE_BYTES_MAX / 8 + 1;
/// Chunk fractions that make the coarse classes: a chunk holds 63, 62, .. 8 of their blocks.
const COARSE_CLASSES: usize = 56;
const CLASSES: usize = FINE_CLASSES + COARSE_CLASSES;
/// The largest block that lives in a chunk.
pub(crate) const BLOCK_BYTES_MAX: usize = coarse_size(COARSE_CLASSES - 1);
const PLAIN: bool = cfg!(any(loom, miri, orchard_plain_alloc));

const _: () = assert!(size_of::<Chunk>() <= CHUNK_HEADER_BYTES);
const _: () = assert!(size_of::<usize>() == 8, "pointers are packed into 48 bits of a u64");

const fn coarse_size(class: usize) -> usize {
    ((CHUNK_BYTES - CHUNK_HEADER_BYTES) / (63 - class)) & !63
}

/// For a size in units of 64 bytes: the first coarse class that holds it.
const COARSE_OF: [u8; BLOCK_BYTES_MAX / 64 + 1] = {
    let mut table = [0u8; BLOCK_BYTES_MAX / 64 + 1];
    let mut units = 0;
    while units < table.len() {
        let mut class = 0;
        while coarse_size(class) < units * 64 {
            class += 1;
        }
        table[units] = class as u8;
        units += 1;
    }
    table
};

#[repr(C)]
struct Chunk {
    next: *mut Chunk,
    previous: *mut Chunk,
    free: *mut FreeBlock,
    untouched_from: u32,
    live: u32,
    class: u32,
    region: u32,
}

struct FreeBlock {
    next: *mut FreeBlock,
}

#[repr(C, align(64))]
struct LargeHeader {
    next: *mut LargeHeader,
    previous: *mut LargeHeader,
    bytes: usize,
}

struct Region {
    base: NonNull<u8>,
    free_chunks: u32,
}

/// Allocates and frees the blocks of one map: see the module for what holds.
pub(crate) struct Slab {
    /// Per class: the chunks that have a free block.
    open: Box<[*mut Chunk]>,
    regions: Vec<Option<Region>>,
    /// Indexes of regions that may have free chunks; checked when popped.
    roomy: Vec<u32>,
    regions_wholly_free: usize,
    large: *mut LargeHeader,
    allocated_bytes: u64,
    held_bytes: u64,
}

// SAFETY: the raw pointers are owned by the slab; nothing in it is tied to a thread.
unsafe impl Send for Slab {}

impl Slab {
    pub(crate) fn new() -> Self {
        Self {
            open: vec![ptr::null_mut(); CLASSES].into_boxed_slice(),
            regions: Vec::new(),
            roomy: Vec::new(),
            regions_wholly_free: 0,
            large: ptr::null_mut(),
            allocated_bytes: 0,
            held_bytes: 0,
        }
    }

    /// Bytes of the blocks handed out, each rounded up to its class.
    pub(crate) fn allocated_bytes(&self) -> u64 {
        self.allocated_bytes
    }

    /// Bytes of the chunks and large blocks in use: what `allocated_bytes` costs with its gaps.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// The class of blocks of at least `bytes`; without one they come from the global allocator.
    #[inline(always)]
    pub(crate) fn class_of(bytes: usize) -> Option<usize> {
        (!PLAIN && bytes <= BLOCK_BYTES_MAX).then(|| class_of(bytes))
    }

    /// The size of the block that a request for `bytes` gets.
    pub(crate) fn block_bytes(bytes: usize) -> usize {
        match Self::class_of(bytes) {
            Some(class) => class_bytes(class),
            None => size_of::<LargeHeader>() + bytes.next_multiple_of(8),
        }
    }

    /// A block of at least `bytes`, with undefined content.
    #[inline]
    pub(crate) fn allocate(&mut self, bytes: usize) -> NonNull<u8> {
        let Some(class) = Self::class_of(bytes) else { return self.allocate_large(bytes) };
        let mut chunk = self.open[class];
        if chunk.is_null() {
            chunk = self.open_chunk(class);
        }
        let size = class_bytes(class);
        self.allocated_bytes += size as u64;
        // SAFETY: chunks in `open` are initialized, owned by this slab and have a free block: one
        // in their free list, or untouched space for one more at `untouched_from`.
        unsafe {
            let header = &mut *chunk;
            header.live += 1;
            let block = if header.free.is_null() {
                let offset = header.untouched_from as usize;
                header.untouched_from += size as u32;
                chunk.cast::<u8>().add(offset)
            } else {
                let block = header.free;
                header.free = (*block).next;
                block.cast::<u8>()
            };
            if header.free.is_null() && header.untouched_from as usize + size > CHUNK_BYTES {
                self.unlink(chunk);
            }
            NonNull::new_unchecked(block)
        }
    }

    /// Takes back a block.
    ///
    /// # Safety
    /// `block` came from `allocate(bytes)` of this slab, is not used again, and is freed once.
    #[inline]
    pub(crate) unsafe fn free(&mut self, block: NonNull<u8>, bytes: usize) {
        if Self::class_of(bytes).is_none() {
            // SAFETY: the caller's promise, and such blocks came from `allocate_large`.
            return unsafe { self.free_large(block) };
        }
        let block = block.as_ptr();
        let chunk = block.map_addr(|address| address & !(CHUNK_BYTES - 1)).cast::<Chunk>();
        // SAFETY: chunks are aligned to their size, so the block's chunk starts at the address
        // rounded down; it is initialized as long as one of its blocks is live, and this one is.
        unsafe {
            let header = &mut *chunk;
            let class = header.class as usize;
            let size = class_bytes(class);
            debug_assert_eq!(class, class_of(bytes), "a block is freed with its own size");
            self.allocated_bytes -= size as u64;
            let was_full = header.free.is_null() && header.untouched_from as usize + size > CHUNK_BYTES;
            let freed = block.cast::<FreeBlock>();
            freed.write(FreeBlock { next: header.free });
            header.free = freed;
            header.live -= 1;
            if header.live == 0 {
                if !was_full {
                    self.unlink(chunk);
                }
                self.close_chunk(chunk);
            } else if was_full {
                self.link(chunk);
            }
        }
    }

    /// Takes over all memory of `other`: its live blocks are freed here from now on.
    pub(crate) fn absorb(&mut self, mut other: Slab) {
        let first = self.regions.len() as u32;
        for (index, place) in other.regions.iter_mut().enumerate() {
            let Some(region) = place else { continue };
            if region.free_chunks == u32::MAX {
                // SAFETY: the region came from `alloc` with this layout and none of its chunks is open.
                unsafe { dealloc(region.base.as_ptr(), region_layout()) };
                *place = None;
                continue;
            }
            for chunk in (0..REGION_CHUNKS).filter(|chunk| region.free_chunks & (1 << chunk) == 0) {
                // SAFETY: a chunk that is not free is initialized, and `other` is the only one to have it.
                unsafe {
                    let chunk = region.base.as_ptr().add(chunk * CHUNK_BYTES).cast::<Chunk>();
                    (*chunk).region = first + index as u32;
                }
            }
        }
        self.regions.append(&mut other.regions);
        self.roomy.extend(other.roomy.drain(..).map(|index| first + index));
        for (here, there) in self.open.iter_mut().zip(&other.open) {
            let (head, mut tail) = (*there, *there);
            if head.is_null() {
                continue;
            }
            // SAFETY: chunks in the lists are initialized; both lists belong to us.
            unsafe {
                while !(*tail).next.is_null() {
                    tail = (*tail).next;
                }
                (*tail).next = *here;
                if !here.is_null() {
                    (**here).previous = tail;
                }
            }
            *here = head;
        }
        let (head, mut tail) = (other.large, other.large);
        if !head.is_null() {
            // SAFETY: the lists hold live large blocks only; both belong to us.
            unsafe {
                while !(*tail).next.is_null() {
                    tail = (*tail).next;
                }
                (*tail).next = self.large;
                if !self.large.is_null() {
                    (*self.large).previous = tail;
                }
            }
            self.large = head;
            other.large = ptr::null_mut();
        }
        self.allocated_bytes += other.allocated_bytes;
        self.held_bytes += other.held_bytes;
    }

    /// # Safety
    /// `chunk` is initialized, owned by this slab and in no list.
    unsafe fn link(&mut self, chunk: *mut Chunk) {
        // SAFETY: the caller's promise; the list's head is such a chunk too.
        unsafe {
            let head = self.open[(*chunk).class as usize];
            (*chunk).next = head;
            (*chunk).previous = ptr::null_mut();
            if !head.is_null() {
                (*head).previous = chunk;
            }
            self.open[(*chunk).class as usize] = chunk;
        }
    }

    /// # Safety
    /// `chunk` is in the open list of its class.
    unsafe fn unlink(&mut self, chunk: *mut Chunk) {
        // SAFETY: neighbours of a chunk in the list are initialized chunks of this slab.
        unsafe {
            let Chunk { next, previous, class, .. } = *chunk;
            if previous.is_null() {
                self.open[class as usize] = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
        }
    }

    #[cold]
    fn open_chunk(&mut self, class: usize) -> *mut Chunk {
        let (index, base, place) = loop {
            let Some(&index) = self.roomy.last() else {
                self.add_region();
                continue;
            };
            match &mut self.regions[index as usize] {
                Some(region) if region.free_chunks != 0 => {
                    if region.free_chunks == u32::MAX {
                        self.regions_wholly_free -= 1;
                    }
                    let place = region.free_chunks.trailing_zeros();
                    region.free_chunks &= !(1 << place);
                    break (index, region.base, place);
                }
                _ => _ = self.roomy.pop(),
            }
        };
        self.held_bytes += CHUNK_BYTES as u64;
        // SAFETY: the region has `REGION_CHUNKS` chunks and this one was marked free.
        unsafe {
            let chunk = base.as_ptr().add(place as usize * CHUNK_BYTES).cast::<Chunk>();
            chunk.write(Chunk {
                next: ptr::null_mut(),
                previous: ptr::null_mut(),
                free: ptr::null_mut(),
                untouched_from: CHUNK_HEADER_BYTES as u32,
                live: 0,
                class: class as u32,
                region: index,
            });
            self.link(chunk);
            chunk
        }
    }

    /// # Safety
    /// `chunk` has no live block and is in no list.
    #[cold]
    unsafe fn close_chunk(&mut self, chunk: *mut Chunk) {
        // SAFETY: the header stays initialized until the chunk is opened again.
        let index = unsafe { (*chunk).region };
        self.held_bytes -= CHUNK_BYTES as u64;
        let Some(region) = &mut self.regions[index as usize] else {
            unreachable!("a chunk's region is held as long as one of its chunks is open")
        };
        let place = (chunk.addr() - region.base.as_ptr().addr()) / CHUNK_BYTES;
        if region.free_chunks == 0 {
            self.roomy.push(index);
        }
        region.free_chunks |= 1 << place;
        if region.free_chunks != u32::MAX {
            return;
        }
        self.regions_wholly_free += 1;
        if self.regions_wholly_free > 1 {
            self.regions_wholly_free -= 1;
            let base = region.base;
            self.regions[index as usize] = None;
            // SAFETY: the region came from `alloc` with this layout and none of its chunks is open.
            unsafe { dealloc(base.as_ptr(), region_layout()) };
        }
    }

    #[cold]
    fn add_region(&mut self) {
        let layout = region_layout();
        // SAFETY: the layout is not empty.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        check_address(base);
        if self.regions.len() >= SMALL_REGIONS {
            ask_for_huge_pages(base);
        }
        let region = Some(Region { base, free_chunks: u32::MAX });
        let index = match self.regions.iter().position(Option::is_none) {
            Some(index) => {
                self.regions[index] = region;
                index
            }
            None => {
                self.regions.push(region);
                self.regions.len() - 1
            }
        };
        self.regions_wholly_free += 1;
        self.roomy.push(index as u32);
    }

    #[cold]
    fn allocate_large(&mut self, bytes: usize) -> NonNull<u8> {
        let layout = large_layout(Self::block_bytes(bytes));
        // SAFETY: the layout is not empty: it includes the header.
        let Some(base) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        check_address(base);
        self.allocated_bytes += layout.size() as u64;
        self.held_bytes += layout.size() as u64;
        let header = base.cast::<LargeHeader>().as_ptr();
        // SAFETY: the block is ours and holds the header; the list's head is a live large block.
        unsafe {
            header.write(LargeHeader { next: self.large, previous: ptr::null_mut(), bytes: layout.size() });
            if !self.large.is_null() {
                (*self.large).previous = header;
            }
            self.large = header;
            base.add(size_of::<LargeHeader>())
        }
    }

    /// # Safety
    /// `block` came from `allocate_large` and is freed once.
    #[cold]
    unsafe fn free_large(&mut self, block: NonNull<u8>) {
        // SAFETY: the header lies before the block, and its neighbours are live large blocks.
        unsafe {
            let header = block.sub(size_of::<LargeHeader>()).cast::<LargeHeader>().as_ptr();
            let LargeHeader { next, previous, bytes } = header.read();
            if previous.is_null() {
                self.large = next;
            } else {
                (*previous).next = next;
            }
            if !next.is_null() {
                (*next).previous = previous;
            }
            self.allocated_bytes -= bytes as u64;
            self.held_bytes -= bytes as u64;
            if cfg!(loom) {
                // A reader that still looks at the block must be caught, not read stale bytes.
                block.write_bytes(0xdd, bytes - size_of::<LargeHeader>());
                return;
            }
            dealloc(header.cast(), large_layout(bytes));
        }
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        for region in self.regions.drain(..).flatten() {
            // SAFETY: the region came from `alloc` with this layout; the owner of the slab promises
            // that no block is used after it.
            unsafe { dealloc(region.base.as_ptr(), region_layout()) };
        }
        while let Some(header) = NonNull::new(self.large) {
            // SAFETY: the list holds live large blocks only; each leaves it before it is freed.
            unsafe {
                let LargeHeader { next, bytes, .. } = header.read();
                self.large = next;
                dealloc(header.as_ptr().cast(), large_layout(bytes));
            }
        }
    }
}

#[inline]
fn class_of(bytes: usize) -> usize {
    if bytes <= FINE_BYTES_MAX {
        bytes.div_ceil(8).max(1)
    } else {
        FINE_CLASSES + COARSE_OF[bytes.div_ceil(64)] as usize
    }
}

/// The size of a class's blocks.
#[inline]
pub(crate) fn class_bytes(class: usize) -> usize {
    if class < FINE_CLASSES { class * 8 } else { coarse_size(class - FINE_CLASSES) }
}

fn region_layout() -> Layout {
    // A region is aligned to its size, so that the system can back it with one huge page.
    const { assert!(REGION_BYTES.is_power_of_two()) };
    Layout::from_size_align(REGION_BYTES, REGION_BYTES).unwrap_or_else(|_| unreachable!())
}

fn large_layout(bytes: usize) -> Layout {
    Layout::from_size_align(bytes, align_of::<LargeHeader>()).unwrap_or_else(|_| unreachable!())
}

/// A random read of a large map spends part of its time on translating addresses. Seen once, on a busy
/// machine: uniform reads of 1 M entries at 0.55 of a locked `HashMap`'s rate before, 0.8 to 1.0 after.
fn ask_for_huge_pages(base: NonNull<u8>) {
    #[cfg(all(target_os = "linux", not(miri)))]
    {
        use std::ffi::{c_int, c_void};
        unsafe extern "C" {
            fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        }
        const MADV_HUGEPAGE: c_int = 14;
        // SAFETY: the region is ours, whole pages of it; the advice changes no content. A refusal
        // changes nothing at all.
        unsafe { madvise(base.as_ptr().cast(), REGION_BYTES, MADV_HUGEPAGE) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = base;
}

fn check_address(base: NonNull<u8>) {
    assert!(base.as_ptr().addr() >> 47 == 0, "an address does not fit in 48 bits");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_a_class_that_holds_it_closely() {
        for bytes in 1..=BLOCK_BYTES_MAX {
            let size = class_bytes(class_of(bytes));
            assert!(size >= bytes, "{bytes} bytes in a block of {size}");
            assert!(size - bytes <= 8.max(bytes / 8), "{bytes} bytes in a block of {size}");
            assert!(
                !bytes.is_multiple_of(64) || size.is_multiple_of(64),
                "{bytes} bytes in a block of {size}"
            );
        }
    }

    #[test]
    fn blocks_do_not_overlap_and_free_chunks_go_back() {
        let mut slab = Slab::new();
        let mut blocks = Vec::new();
        for round in 0..30_000usize {
            let bytes = 1 + (round * 7919) % 10_000 % (1 + round % 9_000);
            let block = slab.allocate(bytes);
            // SAFETY: the block has `bytes` bytes.
            unsafe { block.write_bytes(round as u8, bytes) };
            blocks.push((block, bytes, round as u8));
            if round % 3 == 0 {
                let (block, bytes, fill) = blocks.swap_remove(round * 31 % blocks.len());
                // SAFETY: the block is live, was filled, and is freed once.
                unsafe {
                    let content = std::slice::from_raw_parts(block.as_ptr(), bytes);
                    assert!(content.iter().all(|&byte| byte == fill));
                    slab.free(block, bytes);
                }
            }
        }
        let expected: usize = blocks.iter().map(|b| Slab::block_bytes(b.1)).sum();
        assert_eq!(slab.allocated_bytes(), expected as u64);
        for (block, bytes, fill) in blocks {
            // SAFETY: as above.
            unsafe {
                let content = std::slice::from_raw_parts(block.as_ptr(), bytes);
                assert!(content.iter().all(|&byte| byte == fill));
                slab.free(block, bytes);
            }
        }
        assert_eq!((slab.allocated_bytes(), slab.held_bytes()), (0, 0));
        assert!(slab.regions.iter().flatten().count() <= 1, "one region is kept, not more");
    }

    #[test]
    fn what_was_absorbed_is_freed_as_its_own() {
        let mut slab = Slab::new();
        let mut blocks = Vec::new();
        let fill = |slab: &mut Slab, count: usize, blocks: &mut Vec<(NonNull<u8>, usize, u8)>| {
            for round in 0..count {
                let bytes = 1 + (round * 7919) % 10_000 % (1 + round % 9_000);
                let block = slab.allocate(bytes);
                // SAFETY: the block has `bytes` bytes.
                unsafe { block.write_bytes(round as u8, bytes) };
                blocks.push((block, bytes, round as u8));
            }
        };
        for count in [0, 1, 3_000, 9_000] {
            let mut other = Slab::new();
            fill(&mut other, count, &mut blocks);
            // Some free blocks and chunks come along, in one of the rounds a whole region.
            for _ in 0..count / 3 {
                let Some((block, bytes, _)) = blocks.pop() else { break };
                // SAFETY: the block is live, of this slab, and is freed once.
                unsafe { other.free(block, bytes) };
            }
            slab.absorb(other);
            fill(&mut slab, 500, &mut blocks);
        }
        let expected: usize = blocks.iter().map(|b| Slab::block_bytes(b.1)).sum();
        assert_eq!(slab.allocated_bytes(), expected as u64);
        for (block, bytes, fill) in blocks {
            // SAFETY: the block is live, was filled, and is freed once.
            unsafe {
                let content = std::slice::from_raw_parts(block.as_ptr(), bytes);
                assert!(content.iter().all(|&byte| byte == fill));
                slab.free(block, bytes);
            }
        }
        assert_eq!((slab.allocated_bytes(), slab.held_bytes()), (0, 0));
        assert!(slab.regions.iter().flatten().count() <= 1, "one region is kept, not more");
    }
}
