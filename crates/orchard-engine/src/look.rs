//! Reads that need no value: whether a key is there and of what version, and bringing keys into the processor's cache.

use crate::apply::AHEAD;
use crate::commit::Core;
use crate::engine::Engine;
use crate::error::ReadError;
use crate::format::{SPACE_PREFIX_SIZE_BYTES_MAX, push_flat_key};
use crate::read::{is_visible, with_flat_key};
use crate::snapshot::SnapshotPin;
use orchard_map::{Guard, Hashed, KeyHash};
use orchard_types::{Mutation, SpaceId, ValueType, Versionstamp};
use parking_lot::MutexGuard;
use std::ops::Range;

/// The keys of what will be done next, with their hashes once [`Engine::warm`] has seen them; kept by the caller, so that
/// it allocates nothing.
#[derive(Default)]
pub struct WarmKeys {
    bytes: Vec<u8>,
    /// Where each key lies, in the order in which they were added.
    keys: Vec<(usize, usize)>,
    /// Where the keys of each request begin.
    requests: Vec<usize>,
    hashes: Vec<KeyHash>,
    distinct: usize,
}

impl WarmKeys {
    /// Adds a key of a space.
    pub fn push(&mut self, space: SpaceId, key: &[u8]) {
        self.push_with(space, |flat| flat.extend_from_slice(key));
    }

    /// Adds the key of a space that `write` appends.
    pub fn push_with(&mut self, space: SpaceId, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        push_flat_key(&mut self.bytes, space, b"");
        write(&mut self.bytes);
        self.keys.push((start, self.bytes.len()));
        self.distinct += 1;
    }

    /// Adds the last key once more.
    pub fn push_again(&mut self) {
        self.keys.extend(self.keys.last().copied());
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that are added from now on are those of another request.
    pub fn begin_request(&mut self) {
        self.requests.push(self.keys.len());
    }

    /// Number of requests.
    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    /// The numbers of the keys of a request, by its number.
    #[inline]
    pub fn of_request(&self, request: usize) -> Range<usize> {
        let Some(start) = self.requests.get(request).copied() else { return 0..0 };
        start..self.requests.get(request + 1).copied().unwrap_or(self.keys.len())
    }

    /// A key by its number, with its hash, if that is known.
    #[inline]
    pub fn get(&self, number: usize) -> Option<Hashed<'_>> {
        Some(Hashed::new(self.flat(number)?, *self.hashes.get(number)?))
    }

    fn flat(&self, number: usize) -> Option<&[u8]> {
        let (start, end) = *self.keys.get(number)?;
        self.bytes.get(start..end)
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
        self.requests.clear();
        self.hashes.clear();
        self.distinct = 0;
    }
}

/// How often somebody looks whether the commit lock is free before he sleeps: for some microseconds.
const LOOKS_BEFORE_SLEEP: u32 = 100;
/// Keys whose places are fetched together.
const WARM_AT_ONCE: usize = AHEAD;

/// Runs `look` with the flat keys of the first [`AHEAD`] of these mutations.
pub(crate) fn with_flat_keys<T>(mutations: &[Mutation], look: impl FnOnce(&[&[u8]]) -> T) -> T {
    if let [mutation] = mutations {
        return with_flat_key(mutation.space, &mutation.key, |key| look(&[key]));
    }
    let mut ends = [0; AHEAD];
    let sizes = mutations.iter().map(|mutation| mutation.key.len() + SPACE_PREFIX_SIZE_BYTES_MAX);
    let mut bytes = Vec::with_capacity(sizes.take(AHEAD).sum());
    for (end, mutation) in ends.iter_mut().zip(mutations) {
        push_flat_key(&mut bytes, mutation.space, &mutation.key);
        *end = bytes.len();
    }
    let (mut keys, mut start): ([&[u8]; AHEAD], _) = ([&[]; AHEAD], 0);
    for (key, end) in keys.iter_mut().zip(ends) {
        *key = bytes.get(start..end).unwrap_or_default();
        start = end;
    }
    look(keys.get(..mutations.len()).unwrap_or(&keys))
}

impl Engine {
    /// The commit lock, for a commit of these mutations. Whoever has to wait for it brings in what they will look at
    /// meanwhile, so that others wait less for them.
    pub(crate) fn lock_to_commit(&self, mutations: &[Mutation]) -> MutexGuard<'_, Core> {
        self.core.try_lock().unwrap_or_else(|| {
            with_flat_keys(mutations, |keys| self.reader.pin().warm(keys));
            self.lock_soon()
        })
    }

    /// The commit lock, for whoever will hold it as briefly as most: most of the time it is free again before a sleep could
    /// have begun. (The mutex itself gives the processor away after a fifth of a microsecond.)
    pub(crate) fn lock_soon(&self) -> MutexGuard<'_, Core> {
        for _ in 0..LOOKS_BEFORE_SLEEP {
            if let Some(core) = self.core.try_lock() {
                return core;
            }
            std::hint::spin_loop();
        }
        self.core.lock()
    }

    /// Brings the places of keys that will be read or written next into the processor's cache, several at a time, and
    /// notes their hashes. Changes nothing else. `to_write`: their places in the ordered index, too.
    pub fn warm(&self, keys: &mut WarmKeys, to_write: bool) {
        self.warm_with(keys, |guard, hashes, flat| {
            if to_write {
                guard.prefetch(hashes, flat);
            } else {
                guard.get_many(flat, u64::MAX, |_, found| {
                    std::hint::black_box(
                        found.and_then(|version| version.value().and_then(<[u8]>::first).copied()),
                    );
                });
            }
        });
    }

    /// As [`Engine::warm`], for keys that will be written where the ordered index is warm already.
    pub fn warm_hashed(&self, keys: &mut WarmKeys) {
        self.warm_with(keys, |guard, hashes, _| guard.prefetch(hashes, &[]));
    }

    #[inline(always)]
    fn warm_with(&self, keys: &mut WarmKeys, fetch: impl Fn(&Guard<'_>, &[KeyHash], &[&[u8]])) {
        keys.hashes.clear();
        if keys.distinct <= 1 {
            // One that all of them are about is in the cache soon.
            let hash = keys.flat(0).map(|flat| self.reader.hash_of(flat));
            keys.hashes.resize(keys.len(), hash.unwrap_or_default());
            return;
        }
        let guard = self.reader.pin();
        let mut next = 0;
        while next < keys.len() {
            let mut flat: [&[u8]; WARM_AT_ONCE] = [b""; WARM_AT_ONCE];
            let mut hashes = [KeyHash::default(); WARM_AT_ONCE];
            let count = WARM_AT_ONCE.min(keys.len() - next);
            for (place, (slot, hash)) in flat.iter_mut().zip(&mut hashes).take(count).enumerate() {
                *slot = keys.flat(next + place).unwrap_or_default();
                *hash = self.reader.hash_of(slot);
            }
            let (flat, hashes) =
                (flat.get(..count).unwrap_or_default(), hashes.get(..count).unwrap_or_default());
            fetch(&guard, hashes, flat);
            keys.hashes.extend_from_slice(hashes);
            next += count;
        }
    }

    /// Shows the newest applied value of a flat key, if it is in memory, whether or not it has expired or was deleted with a
    /// range: a hint at what a write is about to find, and no read.
    pub fn hint<T>(&self, flat: &[u8], see: impl FnOnce(ValueType, &[u8]) -> T) -> Option<T> {
        let guard = self.reader.pin();
        let newest = guard.get(flat, u64::MAX)?;
        Some(see(ValueType::from_number(newest.type_tag())?, newest.value()?))
    }

    /// Whether a snapshot has an entry of this key; its value is not looked at.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn has(&self, snapshot: &SnapshotPin, space: SpaceId, key: &[u8]) -> Result<bool, ReadError> {
        with_flat_key(space, key, |flat| {
            let at = snapshot.stamp();
            let has = {
                let guard = self.reader.pin();
                let ranges = self.ranges.load();
                guard.get(flat, at).is_some_and(|version| {
                    is_visible(&version, snapshot.time()) && !ranges.hides(&version, at)
                })
            };
            if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(has) }
        })
    }

    /// The stamp of the newest version of a key as a snapshot has it, whether it was written or deleted by it, expired or
    /// not; `None` if there is none. Deletes behind the oldest snapshot are remembered, older ones may be forgotten.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn newest_stamp_at(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        key: &[u8],
    ) -> Result<Option<Versionstamp>, ReadError> {
        with_flat_key(space, key, |flat| {
            let newest = self.reader.pin().get(flat, snapshot.stamp()).map(|version| version.stamp());
            if snapshot.is_expired() {
                return Err(ReadError::SnapshotTooOld);
            }
            Ok(newest.map(Versionstamp::from_raw))
        })
    }

    /// A snapshot of what `snapshot` shows, for longer.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`] if `snapshot` has ended.
    pub fn snapshot_of(&self, snapshot: &SnapshotPin) -> Result<SnapshotPin, ReadError> {
        let at = || (snapshot.stamp(), snapshot.time());
        let pin = self.snapshots.register(self.env.clock.monotonic_ns(), true, at);
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(pin) }
    }
}
