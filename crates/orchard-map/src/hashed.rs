//! Keys with their hashes, for callers that look for the same key more than once.

use crate::reader::{Guard, MapReader};
use crate::record::{NewVersion, Version};
use crate::writer::MapWriter;

/// The hash that one map gives a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyHash(pub(crate) u64);

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Hashed<'k> {
    key: &'k [u8],
    hash: KeyHash,
}

impl<'k> Hashed<'k> {
    /// `key`, whose hash was `hash`. With the hash of another key, or of another map, the key is not found.
    pub fn new(key: &'k [u8], hash: KeyHash) -> Hashed<'k> {
        Hashed { key, hash }
    }

    /// The key.
    pub fn key(&self) -> &'k [u8] {
        self.key
    }

    /// Its hash.
    pub fn hash(&self) -> KeyHash {
        self.hash
    }
}

impl MapReader {
    /// The hash of a key.
    #[inline]
    pub fn hash_of(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.shared.directory.hash_of(key))
    }
}

impl Guard<'_> {
    /// Brings in what a writer will look at to put these keys, several cache misses at a time. Changes nothing else.
    pub fn warm(&self, keys: &[&[u8]]) {
        const BATCH: usize = 16;
        for keys in keys.chunks(BATCH) {
            let mut hashes = [KeyHash::default(); BATCH];
            for (hash, key) in hashes.iter_mut().zip(keys) {
                *hash = KeyHash(self.shared.directory.hash_of(key));
            }
            self.prefetch(&hashes[..keys.len()], keys);
        }
    }

    /// As [`Guard::warm`] for keys whose hashes are given.
    pub fn prefetch(&self, hashes: &[KeyHash], keys: &[&[u8]]) {
        let directory = &self.shared.directory;
        hashes.iter().for_each(|hash| directory.prefetch_line(hash.0));
        self.warm_order(keys);
        for hash in hashes {
            // SAFETY: this guard is pinned.
            unsafe { directory.prefetch_record(hash.0) };
        }
    }
}

impl MapWriter {
    /// As [`Guard::warm`].
    pub fn prefetch(&self, keys: &[&[u8]]) {
        self.reader.pin().warm(keys);
    }

    /// `key` with its hash.
    #[inline]
    pub fn hashed<'k>(&self, key: &'k [u8]) -> Hashed<'k> {
        Hashed { key, hash: KeyHash(self.shared().directory.hash_of(key)) }
    }

    /// As [`MapWriter::newest`].
    #[inline]
    pub fn newest_hashed(&self, key: Hashed<'_>) -> Option<Version<'_>> {
        self.newest_of(key.hash.0, key.key)
    }

    /// As [`MapWriter::upsert_with`].
    ///
    /// # Panics
    /// If the stamp of the version made is not above the key's newest, or in debug builds if the hash is not the key's.
    #[inline]
    pub fn upsert_hashed<'v>(
        &mut self,
        key: Hashed<'_>,
        make: impl FnOnce(Option<Version<'_>>) -> Option<NewVersion<'v>>,
    ) -> bool {
        debug_assert_eq!(key.hash.0, self.shared().directory.hash_of(key.key), "the hash of another key");
        self.upsert_at(key.hash.0, key.key, make)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Content, NewVersion, create};

    #[test]
    fn a_key_is_found_and_put_by_its_hash() {
        let (mut writer, reader) = create();
        let version =
            |stamp| NewVersion { stamp, type_tag: 1, expires_at_ms: None, content: Content::Value(b"red") };
        let key = super::Hashed::new(b"apple", reader.hash_of(b"apple"));
        assert!(writer.newest_hashed(key).is_none());
        assert!(writer.upsert_hashed(key, |newest| newest.is_none().then_some(version(1))));
        assert!(
            !writer.upsert_hashed(writer.hashed(b"apple"), |newest| newest.is_none().then_some(version(2)))
        );
        assert_eq!(writer.newest_hashed(key).map(|newest| newest.stamp()), Some(1));
        assert_eq!(reader.pin().get(b"apple", 1).map(|newest| newest.key()), Some(&b"apple"[..]));
    }
}
