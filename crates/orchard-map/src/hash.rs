//! The hash of a key: foldhash under a secret of each map, so that nobody can choose keys that collide.
//!
//! foldhash takes bytes beyond the 16th in a call that is not inlined, and most keys are a little longer than that. Up to 32
//! bytes go in as two numbers of 16 instead, which overlap where the length is less; as for its own bytes the seed is turned
//! by the length, so that keys of two lengths have nothing to do with one another. (foldhash's `fast`
//! leaves the finish out; then the tags of keys that differ in their last digits take a fifth fewer values, as the test below
//! shows.)

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use std::cmp::Ordering as Order;
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
        if let Some(halves) = Halves::of(key) {
            return self.hash_halves(halves);
        }
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        hasher.finish()
    }

    #[inline(always)]
    pub(crate) fn hash_halves(&self, key: Halves<'_>) -> u64 {
        let seed = self.seed.rotate_right(key.len as u32);
        let mut hasher = FoldHasher::with_seed(seed, &self.shared);
        hasher.write_u128(u128::from_le_bytes(*key.first));
        hasher.write_u128(u128::from_le_bytes(*key.last));
        hasher.finish()
    }
}

const HALF: usize = size_of::<u128>();

/// A key of 16 to 32 bytes, as its first and its last 16, which overlap where it is shorter.
#[derive(Clone, Copy)]
pub(crate) struct Halves<'k> {
    pub(crate) len: usize,
    first: &'k [u8; HALF],
    last: &'k [u8; HALF],
}

impl<'k> Halves<'k> {
    #[inline(always)]
    pub(crate) fn of(key: &'k [u8]) -> Option<Halves<'k>> {
        let (first, last) = (key.first_chunk()?, key.last_chunk()?);
        (key.len() <= 2 * HALF).then_some(Halves { len: key.len(), first, last })
    }

    /// Whether this is `key`.
    #[inline(always)]
    pub(crate) fn is(self, key: &[u8]) -> bool {
        if key.len() != self.len {
            return false;
        }
        let (Some(first), Some(last)) = (key.first_chunk(), key.last_chunk()) else { return false };
        same_16_twice((self.first, first), (self.last, last))
    }
}

type Pair<'a> = (&'a [u8; HALF], &'a [u8; HALF]);

#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
fn same_16_twice(one: Pair<'_>, other: Pair<'_>) -> bool {
    use core::arch::x86_64::*;
    // SAFETY: every x86-64 has SSE2, and 16 bytes are read from each array.
    unsafe {
        let load = |bytes: &[u8; HALF]| _mm_loadu_si128(bytes.as_ptr().cast());
        let one = _mm_cmpeq_epi8(load(one.0), load(one.1));
        let other = _mm_cmpeq_epi8(load(other.0), load(other.1));
        _mm_movemask_epi8(_mm_and_si128(one, other)) == 0xffff
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
#[inline(always)]
fn same_16_twice(one: Pair<'_>, other: Pair<'_>) -> bool {
    (one.0 == one.1) & (other.0 == other.1)
}

/// Whether two keys, or parts of them, are the same. Most are short, so that a call of `memcmp` costs more than its work: up
/// to 32 bytes take at most four words, which overlap where the length is no multiple.
#[inline(always)]
pub(crate) fn same_key(left: &[u8], right: &[u8]) -> bool {
    const WORD: usize = size_of::<u64>();
    let len = left.len();
    if len != right.len() {
        return false;
    }
    if len > 4 * WORD {
        return left == right;
    }
    let differ = |at| word_at::<WORD>(left, at) != word_at::<WORD>(right, at);
    let differ_half = |at| word_at::<{ WORD / 2 }>(left, at) != word_at::<{ WORD / 2 }>(right, at);
    if len > 2 * WORD {
        return !(differ(0) | differ(WORD) | differ(len - 2 * WORD) | differ(len - WORD));
    }
    if len >= WORD {
        return !(differ(0) | differ(len - WORD));
    }
    if len >= WORD / 2 {
        return !(differ_half(0) | differ_half(len - WORD / 2));
    }
    left.iter().zip(right).all(|(left, right)| left == right)
}

#[inline(always)]
fn word_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// How a key stands to all keys that start with `prefix`: before them, among them, or behind them.
#[inline(always)]
pub(crate) fn cmp_prefix(key: &[u8], prefix: &[u8]) -> Order {
    match key.get(..prefix.len()) {
        Some(start) if same_key(start, prefix) => Order::Equal,
        _ if key < prefix => Order::Less,
        _ => Order::Greater,
    }
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

        #[test]
        fn a_key_stands_to_a_prefix_as_to_the_keys_that_start_with_it(
            key in prop::collection::vec(0..3u8, 0..12),
            prefix in prop::collection::vec(0..3u8, 0..12),
        ) {
            let among = key.starts_with(&prefix);
            let expected = if among { Order::Equal } else { key.cmp(&prefix) };
            prop_assert_eq!(cmp_prefix(&key, &prefix), expected);
            prop_assert_eq!(cmp_prefix(&[&prefix[..], &key[..]].concat(), &prefix), Order::Equal);
        }

        #[test]
        fn keys_of_16_to_32_bytes_are_told_apart_by_their_halves(
            key in prop::collection::vec(any::<u8>(), 0..40),
            place in any::<prop::sample::Index>(),
            bit in 0..8u32,
        ) {
            let halves = Halves::of(&key);
            prop_assert_eq!(halves.is_some(), (16..=32).contains(&key.len()));
            if let Some(halves) = halves {
                prop_assert!(halves.is(&key.clone()));
                prop_assert!(!halves.is(&key[1..]));
                let mut other = key.clone();
                let at = place.index(other.len());
                other[at] ^= 1 << bit;
                prop_assert!(!halves.is(&other));
                let hasher = KeyHasher::new(5);
                prop_assert_eq!(hasher.hash_halves(halves), hasher.hash(&key));
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
