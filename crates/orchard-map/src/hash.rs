//! The hash of a key: foldhash under a secret of each map, so that nobody can choose keys that collide.

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

    #[test]
    fn a_seed_decides_the_hashes() {
        let (one, again, other) = (KeyHasher::new(1), KeyHasher::new(1), KeyHasher::new(2));
        for length in [0, 3, 8, 16, 17, 24, 64, 300] {
            let key = vec![7; length];
            assert_eq!(one.hash(&key), again.hash(&key));
            assert_ne!(one.hash(&key), other.hash(&key));
        }
    }
}
