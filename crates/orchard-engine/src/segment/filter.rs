//! The filter of a segment: tells in one cache line that a key is not in it.
//!
//! A split-block Bloom filter: a key sets one bit in each of the eight words of one 32-byte block (Putze, Sanders,
//! Singler, "Cache-, Hash- and Space-Efficient Bloom Filters", 2007; block layout and constants as in Apache
//! Parquet's `BloomFilter.md`). The hash is XXH3-64 of the flat key with seed 0.

use xxhash_rust::xxh3::xxh3_64;

/// Bits that the filter spends on a key; about 1.2 % of absent keys pass.
const BITS_PER_KEY: u64 = 10;
/// Bytes of one filter block.
pub const BLOCK_SIZE_BYTES: usize = 32;
/// Odd constants, one for each word, from the Parquet specification.
const SALT: [u32; 8] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];

/// The filter of a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    blocks: Vec<[u32; 8]>,
}

/// The hash of a flat key.
pub fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

fn mask(hash: u64) -> [u32; 8] {
    SALT.map(|salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

impl Filter {
    /// Filter blocks that `keys` keys need.
    fn wanted_blocks(keys: u64) -> u64 {
        keys.saturating_mul(BITS_PER_KEY).div_ceil(8 * BLOCK_SIZE_BYTES as u64).max(1)
    }

    /// An empty filter for about `keys` keys.
    pub fn with_keys(keys: u64) -> Filter {
        // Rounded up to six significant bits (3 % at most), so that `shrink` can halve it again and again.
        let wanted = Filter::wanted_blocks(keys);
        let step = 1_u64 << (u64::BITS - wanted.leading_zeros()).saturating_sub(6);
        let blocks = wanted.div_ceil(step).saturating_mul(step);
        Filter { blocks: vec![[0; 8]; usize::try_from(blocks).unwrap_or(usize::MAX)] }
    }

    fn block_of(&self, hash: u64) -> usize {
        (((hash >> 32) * self.blocks.len() as u64) >> 32) as usize
    }

    /// Adds a key by its hash.
    pub fn insert(&mut self, hash: u64) {
        let block = self.block_of(hash);
        if let Some(block) = self.blocks.get_mut(block) {
            for (word, bit) in block.iter_mut().zip(mask(hash)) {
                *word |= bit;
            }
        }
    }

    /// `false` if no key with this hash was added.
    pub fn may_contain(&self, hash: u64) -> bool {
        let block = self.blocks.get(self.block_of(hash));
        block.is_none_or(|block| block.iter().zip(mask(hash)).all(|(word, bit)| word & bit != 0))
    }

    /// Halves the filter while it is at least twice as large as `keys` keys need. Neighbouring blocks are united: as
    /// a block's number is the hash scaled to the number of blocks, that is the filter of half the size.
    pub fn shrink(&mut self, keys: u64) {
        let wanted = Filter::wanted_blocks(keys);
        while self.blocks.len() as u64 >= wanted.saturating_mul(2) && self.blocks.len().is_multiple_of(2) {
            for half in 0..self.blocks.len() / 2 {
                let united = match self.blocks.get(2 * half..2 * half + 2) {
                    Some([a, b]) => std::array::from_fn(|word| a[word] | b[word]),
                    _ => break,
                };
                if let Some(block) = self.blocks.get_mut(half) {
                    *block = united;
                }
            }
            self.blocks.truncate(self.blocks.len() / 2);
        }
    }

    /// Appends the filter's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.blocks.len() * BLOCK_SIZE_BYTES);
        for word in self.blocks.iter().flatten() {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// The filter with these bytes; `None` if they are not whole blocks.
    pub fn decode(bytes: &[u8]) -> Option<Filter> {
        let (blocks, rest) = bytes.as_chunks::<BLOCK_SIZE_BYTES>();
        let word = |word: &[u8; 4]| u32::from_le_bytes(*word);
        let block = |block: &[u8; BLOCK_SIZE_BYTES]| {
            let mut words = [0; 8];
            for (to, from) in words.iter_mut().zip(block.as_chunks::<4>().0) {
                *to = word(from);
            }
            words
        };
        (rest.is_empty() && !blocks.is_empty()).then(|| Filter { blocks: blocks.iter().map(block).collect() })
    }

    /// Bytes of memory.
    pub fn size_bytes(&self) -> usize {
        self.blocks.len() * BLOCK_SIZE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(range: std::ops::Range<u32>) -> impl Iterator<Item = u64> {
        range.map(|number| hash(&number.to_be_bytes()))
    }

    #[test]
    fn added_keys_pass_and_few_others_do() {
        let mut filter = Filter::with_keys(10_000);
        hashes(0..10_000).for_each(|hash| filter.insert(hash));
        assert!(hashes(0..10_000).all(|hash| filter.may_contain(hash)));
        let false_positives = hashes(10_000..110_000).filter(|hash| filter.may_contain(*hash)).count();
        assert!(false_positives < 2_000, "{false_positives} of 100,000 absent keys pass");
    }

    #[test]
    fn a_filter_that_was_planned_too_large_shrinks_to_the_same_answers() {
        let mut filter = Filter::with_keys(100_000);
        hashes(0..5_000).for_each(|hash| filter.insert(hash));
        filter.shrink(5_000);
        assert!(filter.size_bytes() < 2 * Filter::with_keys(5_000).size_bytes() + BLOCK_SIZE_BYTES);
        assert!(hashes(0..5_000).all(|hash| filter.may_contain(hash)));
        let false_positives = hashes(10_000..110_000).filter(|hash| filter.may_contain(*hash)).count();
        assert!(false_positives < 2_000, "{false_positives} of 100,000 absent keys pass");
    }

    #[test]
    fn the_bytes_round_trip() {
        let mut filter = Filter::with_keys(100);
        hashes(0..100).for_each(|hash| filter.insert(hash));
        let mut bytes = Vec::new();
        filter.encode(&mut bytes);
        assert_eq!(Filter::decode(&bytes), Some(filter));
        assert_eq!(Filter::decode(&bytes[1..]), None);
        assert_eq!(Filter::decode(&[]), None);
    }
}
