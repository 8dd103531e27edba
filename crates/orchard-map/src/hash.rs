//! The hash of a key: foldhash under a secret of each map, so that nobody can choose keys that collide.
//!
//! foldhash takes bytes beyond the 16th in a call that is not inlined, and most keys are a little longer than that. Up to 32
//! bytes go in as two numbers of 16 instead, which overlap where the length is less; as for its own bytes the seed is turned
//! by the length, so that keys of two lengths have nothing to do with one another. (foldhash's `fast`
//! leaves the finish out; then the tags of keys that differ in their last digits take a fifth fewer values, as the test below
//! shows.)

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::hash::Hasher;

/// Hashes the keys of one map. The same seed gives the same hashes.
pub(crate) struct KeyHasher {
    seed: u64,
    shared: SharedSeed,
}

impl KeyHasher {
    pub(crate) fn new(seed: u64) -> KeyHasher {
        KeyHasher { seed, shared: SharedSeed::from_u64(seed.rotate_left(32)) }
    }

    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        if let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk())
            && key.len() <= 2 * size_of::<u128>()
        {
            let seed = self.seed.rotate_right(key.len() as u32);
            let mut hasher = FoldHasher::with_seed(seed, &self.shared);
            hasher.write_u128(u128::from_le_bytes(*first));
            hasher.write_u128(u128::from_le_bytes(*last));
            return hasher.finish();
        }
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }
}

/// Whether two keys are the same. Most keys are short, so that a call of `memcmp` costs more than its work: up to 32 bytes
/// take two or four words, which overlap where the length is no multiple.
#[inline(always)]
pub(crate) fn same_key(left: &[u8], right: &[u8]) -> bool {
    const WORD: usize = 8;
    if left.len() != right.len() {
        return false;
    }
    if left.len() < WORD || left.len() > 4 * WORD {
        return left == right;
    }
    let differ = |at: usize| {
        let word = |bytes: &[u8]| {
            bytes.get(at..at + WORD).and_then(|word| word.try_into().ok()).map(u64::from_ne_bytes)
        };
        word(left) != word(right)
    };
    let last = left.len() - WORD;
    if left.len() <= 2 * WORD {
        return !(differ(0) | differ(last));
    }
    !(differ(0) | differ(WORD) | differ(last - WORD) | differ(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_are_the_same_when_their_bytes_are(
            key in prop::collection::vec(any::<u8>(), 0..100),
            place in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            prop_assert!(same_key(&key, &key.clone()));
            let mut longer = key.clone();
            longer.push(0);
            prop_assert!(!same_key(&key, &longer));
            if !key.is_empty() {
                let mut other = key.clone();
                let at = place.index(other.len());
                other[at] ^= 1 << bit;
                prop_assert!(!same_key(&key, &other));
            }
        }
    }

    /// Keys that differ little must differ in the bits that choose a partition, a line and a tag.
    #[test]
    fn keys_that_are_alike_spread_as_well_as_random_ones() {
        const KEYS: u64 = 1 << 16;
        for length in [8, 9, 12, 15, 16, 17, 18, 20, 23, 24, 25, 28, 31, 32, 33, 40] {
            for at in [0, (length - 8) / 2, length - 8] {
                let hasher = KeyHasher::new(7);
                let hashes: Vec<u64> = (0..KEYS)
                    .map(|n| {
                        let mut key = vec![b'0'; length];
                        key[at..at + 8].copy_from_slice(format!("{n:08}").as_bytes());
                        hasher.hash(&key)
                    })
                    .collect();
                for shift in [0, 16, 32, 48] {
                    let mut seen = vec![false; KEYS as usize];
                    hashes.iter().for_each(|hash| seen[(hash >> shift & (KEYS - 1)) as usize] = true);
                    let share = seen.iter().filter(|&&seen| seen).count() as f64 / KEYS as f64;
                    // Random numbers fill 1 - 1/e of the places, with a deviation of 0.0012; more is better still.
                    assert!(share > 0.622, "{length} bytes, at {at}, bits from {shift}: {share}");
                }
            }
        }
    }

    #[test]
    fn a_seed_decides_the_hashes() {
        let (one, again, other) = (KeyHasher::new(1), KeyHasher::new(1), KeyHasher::new(2));
        for length in [0, 3, 8, 15, 16, 17, 24, 32, 33, 64, 300] {
            let key = vec![7; length];
            assert_ne!(one.hash(&key), one.hash(&vec![7; length + 1]));
            assert_eq!(one.hash(&key), again.hash(&key));
            assert_ne!(one.hash(&key), other.hash(&key));
        }
    }
}
