//! Keys, values and the streams of operations: all from fixed seeds, every value checkable on its own.
//!
//! - The key of record `i` is a function of `i`.
//! - A value holds its nonce in the first 8 bytes, and the sum of its 8-byte words is a function of its key, whatever
//!   the nonce. So a reader that adds up the words has touched every byte and knows whether they belong to the key.

/// Length of every key.
pub const KEY_LEN: usize = 24;
/// Values of redb's table.
pub const VALUE_LEN: usize = 150;
/// Values of YCSB.
pub const YCSB_VALUE_LEN: usize = 100;
const VALUE_LEN_MAX: usize = 150;

pub type Key = [u8; KEY_LEN];

const SEED: u64 = 0x6f72_6368_6172_6431;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of splitmix64: a bijection that looks random.
pub fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The generator splitmix64.
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(mix(seed ^ SEED))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Ranks 0, 1, 2, ... with probability falling as 1 / rank^theta (Gray et al., as YCSB does it).
pub struct Zipfian {
    items: f64,
    theta: f64,
    alpha: f64,
    zeta: f64,
    eta: f64,
}

impl Zipfian {
    pub fn new(items: u64, theta: f64) -> Zipfian {
        let zeta_of = |n: u64| (1..=n).map(|rank| (rank as f64).powf(-theta)).sum::<f64>();
        let zeta = zeta_of(items);
        let eta = (1.0 - (2.0 / items as f64).powf(1.0 - theta)) / (1.0 - zeta_of(2) / zeta);
        Zipfian { items: items as f64, theta, alpha: 1.0 / (1.0 - theta), zeta, eta }
    }

    pub fn rank(&self, rng: &mut Rng) -> u64 {
        let u = rng.unit();
        let uz = u * self.zeta;
        if uz < 1.0 {
            return 0;
        }
        if uz < 1.0 + 0.5f64.powf(self.theta) {
            return 1;
        }
        let rank = self.items * (self.eta * u - self.eta + 1.0).powf(self.alpha);
        (rank as u64).min(self.items as u64 - 1)
    }
}

/// Which keys and values a row uses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// redb's table: random 24-byte keys, 150-byte values.
    Random,
    /// YCSB: `user` and 20 digits, 100-byte values.
    Ycsb,
}

impl Shape {
    pub fn value_len(self) -> usize {
        match self {
            Shape::Random => VALUE_LEN,
            Shape::Ycsb => YCSB_VALUE_LEN,
        }
    }

    pub fn key(self, index: u64) -> Key {
        let mut key = [0; KEY_LEN];
        match self {
            Shape::Random => {
                for (word, bytes) in key.chunks_exact_mut(8).enumerate() {
                    let word = index.wrapping_mul(3).wrapping_add(word as u64);
                    bytes.copy_from_slice(&mix(word.wrapping_mul(STEP) ^ SEED).to_be_bytes());
                }
            }
            Shape::Ycsb => {
                key[..4].copy_from_slice(b"user");
                let mut number = mix(index.wrapping_mul(STEP) ^ SEED);
                for digit in key[4..].iter_mut().rev() {
                    *digit = b'0' + (number % 10) as u8;
                    number /= 10;
                }
            }
        }
        key
    }

    pub fn record(self, index: u64, nonce: u64) -> Record {
        let key = self.key(index);
        let mut record = Record { key, len: self.value_len(), bytes: [0; VALUE_LEN_MAX] };
        fill(&record.key, nonce, &mut record.bytes[..record.len]);
        record
    }
}

/// A key and its value.
#[derive(Clone)]
pub struct Record {
    pub key: Key,
    len: usize,
    bytes: [u8; VALUE_LEN_MAX],
}

impl Record {
    pub fn value(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

/// What the words of every value of `key` add up to.
fn target(key: &[u8]) -> u64 {
    key.chunks(8).fold(0, |sum: u64, bytes| mix(sum.wrapping_add(word(bytes))))
}

fn sum(value: &[u8]) -> u64 {
    let words = value.chunks_exact(8);
    let tail = word(words.remainder());
    words.fold(tail, |sum, bytes| sum.wrapping_add(word(bytes)))
}

/// Writes the value of `key` with this nonce; the value must be longer than 16 bytes.
pub fn fill(key: &[u8], nonce: u64, value: &mut [u8]) {
    let target = target(key);
    let mut rng = Rng(target ^ nonce.wrapping_mul(STEP));
    value[..8].copy_from_slice(&nonce.to_le_bytes());
    for bytes in value[8..].chunks_mut(8) {
        let word = rng.next().to_le_bytes();
        bytes.copy_from_slice(&word[..bytes.len()]);
    }
    let last = value.len() / 8 * 8 - 8;
    value[last..last + 8].fill(0);
    let rest = target.wrapping_sub(sum(value));
    value[last..last + 8].copy_from_slice(&rest.to_le_bytes());
}

/// Whether `value` is whole and belongs to `key`; touches every byte.
pub fn check(key: &[u8], value: &[u8]) -> bool {
    value.len() > 16 && sum(value) == target(key)
}

/// The nonce that a value was written with.
pub fn nonce(value: &[u8]) -> u64 {
    word(&value[..8])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_fits_its_key_alone() {
        for shape in [Shape::Random, Shape::Ycsb] {
            for index in 0..1_000 {
                let record = shape.record(index, index * 7);
                assert_eq!(nonce(record.value()), index * 7);
                assert!(check(&record.key, record.value()));
                assert!(!check(&shape.key(index + 1), record.value()));
                let mut torn = record.value().to_vec();
                torn[(index % 100) as usize] ^= 1;
                assert!(!check(&record.key, &torn));
            }
        }
    }

    #[test]
    fn zipfian_is_skewed_as_promised() {
        let (zipfian, mut rng) = (Zipfian::new(1_000_000, 0.99), Rng::new(1));
        let mut first = 0;
        let mut hundred = 0;
        for _ in 0..100_000 {
            let rank = zipfian.rank(&mut rng);
            assert!(rank < 1_000_000);
            first += u32::from(rank == 0);
            hundred += u32::from(rank < 100);
        }
        assert!((6_000..7_500).contains(&first), "{first}");
        assert!((33_000..36_500).contains(&hundred), "{hundred}");
    }
}
