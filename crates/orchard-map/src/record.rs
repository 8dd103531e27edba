//! The record: one version of one entry, in one block of memory.
//!
//! ```text
//! stamp u64 | value_len u32 | key_len u16 | meta u16 | [prev u64] | [expires_at_ms u64] | key | [value]
//! ```
//!
//! - Immutable once published, but for two atomics: the `referenced` bit of `meta`, and `prev`,
//!   which only ever goes from a record to null (pruning).
//! - `prev` leads to strictly older versions of the same key.
//! - A tombstone and a non-resident record hold no value bytes; a non-resident one keeps the length.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::magazine::Blocks;
use crate::sync::{Access, AtomicU16, AtomicU64, Ordering, pointer_in, prefetch, word_of};

const HAS_PREV: u16 = 1;
const HAS_EXPIRY: u16 = 1 << 1;
const TOMBSTONE: u16 = 1 << 2;
/// Bytes between header and key, as they are: words for the link and the expiry.
const BETWEEN: u16 = 0b11 << 3;
const NONRESIDENT: u16 = 1 << 5;
const REFERENCED: u16 = 1 << 6;
const TYPE_TAG_SHIFT: u32 = 8;
/// Type tags are below this.
pub const TYPE_TAGS: u8 = 32;

#[repr(C)]
pub(crate) struct Record {
    stamp: u64,
    value_len: u32,
    key_len: u16,
    meta: AtomicU16,
    access: Access,
}

/// What a version holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// The value's bytes, at most 4 GiB.
    Value(&'a [u8]),
    /// The key is deleted.
    Tombstone,
    /// The value is elsewhere (on disk); only its length is known here.
    NonResident {
        /// Length of the value in bytes.
        value_len: u32,
    },
}

/// A version to put into the map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewVersion<'a> {
    /// The MVCC version; strictly increasing per key.
    pub stamp: u64,
    /// An opaque type, below [`TYPE_TAGS`].
    pub type_tag: u8,
    /// When the version expires, for the caller to interpret.
    pub expires_at_ms: Option<u64>,
    /// The value, or why there is none.
    pub content: Content<'a>,
}

/// One version of one entry, read in place.
///
/// It borrows from the [`Guard`](crate::Guard) (or the writer) that it was read through.
#[derive(Clone, Copy)]
pub struct Version<'g> {
    record: NonNull<Record>,
    lives: PhantomData<&'g Record>,
}

// SAFETY: a version is a shared reference to a record, whose mutable parts are atomics; `'g` keeps
// it alive wherever it is used.
unsafe impl Send for Version<'_> {}
// SAFETY: as above.
unsafe impl Sync for Version<'_> {}

impl<'g> Version<'g> {
    /// # Safety
    /// `word` holds a pointer to a published record that stays allocated, with everything its
    /// `prev` leads to at any time, for `'g`.
    #[inline(always)]
    pub(crate) unsafe fn from_word(word: u64) -> Self {
        debug_assert!(!pointer_in::<Record>(word).is_null());
        // SAFETY: a pointer to a record is not null.
        let record = unsafe { NonNull::new_unchecked(pointer_in::<Record>(word)) };
        Self { record, lives: PhantomData }
    }

    /// The word (pointer without tag) of this record.
    #[inline(always)]
    pub(crate) fn word(self) -> u64 {
        word_of(self.record.as_ptr())
    }

    #[inline(always)]
    fn header(self) -> &'g Record {
        // SAFETY: the record is published and allocated for `'g` (`from_word`).
        let record = unsafe { self.record.as_ref() };
        record.access.read();
        record
    }

    #[inline(always)]
    fn meta(self) -> u16 {
        self.header().meta.load(Ordering::Relaxed)
    }

    #[inline(always)]
    fn slice(self, offset: usize, len: usize) -> &'g [u8] {
        // SAFETY: callers stay within the block that `Layout` describes for this record.
        unsafe { std::slice::from_raw_parts(self.record.cast::<u8>().as_ptr().add(offset), len) }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &'g [u8] {
        self.slice(key_offset(self.meta()), self.header().key_len as usize)
    }

    /// The MVCC version.
    #[inline]
    pub fn stamp(&self) -> u64 {
        self.header().stamp
    }

    /// The type given when the version was put.
    #[inline]
    pub fn type_tag(&self) -> u8 {
        (self.meta() >> TYPE_TAG_SHIFT) as u8
    }

    /// The expiry given when the version was put.
    #[inline]
    pub fn expires_at_ms(&self) -> Option<u64> {
        let meta = self.meta();
        (meta & HAS_EXPIRY != 0).then(|| {
            let bytes = self.slice(key_offset(meta) - 8, 8);
            u64::from_ne_bytes(bytes.try_into().unwrap_or_else(|_| unreachable!()))
        })
    }

    /// Whether this version deletes the key.
    #[inline]
    pub fn is_tombstone(&self) -> bool {
        self.meta() & TOMBSTONE != 0
    }

    /// Whether the value's bytes are here. A tombstone counts as resident: nothing is missing.
    #[inline]
    pub fn is_resident(&self) -> bool {
        self.meta() & NONRESIDENT == 0
    }

    /// The value's bytes; `None` for a tombstone and for a non-resident value.
    #[inline]
    pub fn value(&self) -> Option<&'g [u8]> {
        let (meta, header) = (self.meta(), self.header());
        debug_assert!(
            usize::from(meta & BETWEEN) / 8 == (meta & (HAS_PREV | HAS_EXPIRY)).count_ones() as usize
        );
        (meta & (TOMBSTONE | NONRESIDENT) == 0)
            .then(|| self.slice(key_offset(meta) + header.key_len as usize, header.value_len as usize))
    }

    /// The value's length, known for non-resident values too; 0 for a tombstone.
    #[inline]
    pub fn value_len(&self) -> u32 {
        self.header().value_len
    }

    /// The next older version that is still in memory.
    #[inline]
    pub fn older(&self) -> Option<Version<'g>> {
        let word = self.prev()?.load(Ordering::Acquire);
        // SAFETY: what `prev` leads to stays allocated for `'g` too (`from_word`).
        (word != 0).then(|| unsafe { Version::from_word(word) })
    }

    /// Marks the version as used, for the clock sweep. Writes only when the mark is not yet set.
    #[inline]
    pub fn touch(&self) {
        if self.meta() & REFERENCED == 0 {
            self.header().meta.fetch_or(REFERENCED, Ordering::Relaxed);
        }
    }

    /// Clears the mark of `touch`; whether it was set.
    pub(crate) fn clear_referenced(self) -> bool {
        let set = self.meta() & REFERENCED != 0;
        if set {
            self.header().meta.fetch_and(!REFERENCED, Ordering::Relaxed);
        }
        set
    }

    /// The newest of this and its older versions with a stamp of at most `at`.
    #[inline(always)]
    pub(crate) fn at(self, at: u64) -> Option<Version<'g>> {
        let mut version = self;
        while version.stamp() > at {
            version = version.older()?;
        }
        Some(version)
    }

    /// The link to the older version, if this record has room for one.
    #[inline]
    pub(crate) fn prev(self) -> Option<&'g AtomicU64> {
        (self.meta() & HAS_PREV != 0).then(|| {
            // SAFETY: with HAS_PREV the link follows the header.
            unsafe { self.record.add(1).cast::<AtomicU64>().as_ref() }
        })
    }

    /// Nobody reads the record any more: it is about to be freed.
    pub(crate) fn end(self) {
        // SAFETY: it is allocated still (`from_word`).
        unsafe { self.record.as_ref() }.access.write();
    }

    /// Bytes of the record's block.
    pub(crate) fn block_bytes(self) -> usize {
        let value_len = self.value().map_or(0, <[u8]>::len);
        key_offset(self.meta()) + self.header().key_len as usize + value_len
    }

    /// The same version with other content, to be allocated anew.
    pub(crate) fn with_content<'a>(self, content: Content<'a>) -> NewVersion<'a> {
        NewVersion {
            stamp: self.stamp(),
            type_tag: self.type_tag(),
            expires_at_ms: self.expires_at_ms(),
            content,
        }
    }

    /// Brings in the lines behind the record's first one. Where key and value lie is told by the first line, so that without
    /// this the value's cache miss would begin when the header's has ended.
    #[inline(always)]
    pub(crate) fn prefetch_behind(word: u64) {
        let record = pointer_in::<u8>(word);
        prefetch(record.wrapping_add(64));
        prefetch(record.wrapping_add(128));
    }

    /// Brings in the record's first line.
    #[inline(always)]
    pub(crate) fn prefetch(self) {
        prefetch(self.record.as_ptr());
    }

    /// Brings the record's first cache lines in, ahead of `key`, `stamp` and `value`.
    #[inline(always)]
    pub(crate) fn prefetch_word(word: u64) {
        let record = pointer_in::<u8>(word);
        prefetch(record);
        prefetch(record.wrapping_add(64));
    }
}

impl fmt::Debug for Version<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Version")
            .field("key", &self.key())
            .field("stamp", &self.stamp())
            .field("type_tag", &self.type_tag())
            .field("expires_at_ms", &self.expires_at_ms())
            .field("tombstone", &self.is_tombstone())
            .field("resident", &self.is_resident())
            .field("value_len", &self.value_len())
            .finish_non_exhaustive()
    }
}

/// Where the key starts in a record with this `meta`.
#[cfg(not(loom))]
#[inline(always)]
fn key_offset(meta: u16) -> usize {
    size_of::<Record>() + usize::from(meta & BETWEEN)
}

/// The same with loom's atomics, which have another size.
#[cfg(loom)]
fn key_offset(meta: u16) -> usize {
    let link = usize::from(meta & HAS_PREV != 0) * size_of::<AtomicU64>();
    size_of::<Record>() + link + usize::from(meta & HAS_EXPIRY != 0) * 8
}

/// Writes a record for `new` into a fresh block. It is not published yet; its word is returned.
pub(crate) fn allocate(
    blocks: &mut impl Blocks,
    key: &[u8],
    new: &NewVersion<'_>,
    older: Option<Version<'_>>,
) -> u64 {
    assert!(new.type_tag < TYPE_TAGS, "type tag {} is out of range", new.type_tag);
    let Ok(key_len) = u16::try_from(key.len()) else { panic!("a key of {} bytes is too long", key.len()) };
    let (flag, value_len, bytes): (u16, usize, &[u8]) = match new.content {
        Content::Value(value) => (0, value.len(), value),
        Content::Tombstone => (TOMBSTONE, 0, &[]),
        Content::NonResident { value_len } => (NONRESIDENT, value_len as usize, &[]),
    };
    let Ok(value_len) = u32::try_from(value_len) else { panic!("a value of {value_len} bytes is too long") };
    let has_prev = if older.is_some() { HAS_PREV } else { 0 };
    let has_expiry = if new.expires_at_ms.is_some() { HAS_EXPIRY } else { 0 };
    let between = 8 * (u16::from(older.is_some()) + u16::from(new.expires_at_ms.is_some()));
    let meta = flag | has_prev | has_expiry | between | (u16::from(new.type_tag) << TYPE_TAG_SHIFT);
    let key_at = key_offset(meta);
    let block = blocks.allocate(key_at + key.len() + bytes.len());
    // SAFETY: the block is fresh, 8-aligned, and holds header, options, key and value in this
    // order; nobody else knows it yet.
    unsafe {
        let record = block.cast::<Record>();
        let (meta, access) = (AtomicU16::new(meta), Access::new());
        record.write(Record { stamp: new.stamp, value_len, key_len, meta, access });
        if let Some(older) = older {
            record.add(1).cast::<AtomicU64>().write(AtomicU64::new(older.word()));
        }
        if let Some(expires_at_ms) = new.expires_at_ms {
            block.add(key_at - 8).cast::<u64>().write(expires_at_ms);
        }
        block.add(key_at).copy_from_nonoverlapping(NonNull::from(key).cast(), key.len());
        block.add(key_at + key.len()).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len());
        word_of(record.as_ptr())
    }
}
