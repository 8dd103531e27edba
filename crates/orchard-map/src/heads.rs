//! The 16 bits of a key that a leaf's slot keeps, so that a search need not look at the record, which is a cache miss.
//!
//! - Heads never fall where keys rise; equal heads decide nothing. That alone is what a search relies on.
//! - Bytes of keys rarely take many values: digits take ten. A leaf keeps the bytes after its prefix in as few bits each as
//!   its own keys need, counted from a base, and so more of them: four digits instead of two.
//! - A byte outside of the window, in a key that came later, ends the head: with zeros if it is below, with ones if above.

/// Bits of a head.
const HEAD_BITS: u32 = 16;
const HEAD_MAX: u64 = (1 << HEAD_BITS) - 1;
/// Bits a byte may take, with the bytes that are then looked at: as many as fill a head.
const WIDTHS: [(u8, usize); 4] = [(4, 4), (5, 4), (6, 3), (7, 3)];

/// How the heads of one leaf are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heads {
    /// The lowest byte that has a value of its own.
    base: u8,
    /// Bits that each byte takes.
    width: u8,
}

impl Heads {
    /// Two bytes as they are.
    pub(crate) const PLAIN: Heads = Heads { base: 0, width: 8 };

    /// The heads that tell these keys, without their prefix, apart best.
    pub(crate) fn for_keys<'k>(rests: impl Iterator<Item = &'k [u8]>) -> Heads {
        let (mut lowest, mut highest) = ([u8::MAX; 4], [0; 4]);
        for rest in rests {
            if let Some(bytes) = rest.first_chunk::<4>() {
                lowest = std::array::from_fn(|at| bytes[at].min(lowest[at]));
                highest = std::array::from_fn(|at| bytes[at].max(highest[at]));
                continue;
            }
            for ((&byte, lowest), highest) in rest.iter().zip(&mut lowest).zip(&mut highest) {
                *lowest = byte.min(*lowest);
                *highest = byte.max(*highest);
            }
        }
        for (width, bytes) in WIDTHS {
            let low = lowest[..bytes].iter().fold(u8::MAX, |low, &byte| low.min(byte));
            let high = highest[..bytes].iter().fold(0, |high, &byte| high.max(byte));
            let values = 1u8 << width;
            // At a multiple, if that will do: keys that come later have other bytes of the same kind.
            let base =
                [low & !(values - 1), low].into_iter().find(|&base| low <= high && high - base < values);
            if let Some(base) = base {
                return Heads { base, width };
            }
        }
        Self::PLAIN
    }

    /// The head of a key, without the leaf's prefix.
    #[inline(always)]
    pub(crate) fn head_of(self, rest: &[u8]) -> u64 {
        if self == Self::PLAIN {
            let byte = |at| rest.get(at).copied().map_or(0, u64::from);
            return byte(0) << 8 | byte(1);
        }
        self.packed_at_once(rest).unwrap_or_else(|| self.packed(rest))
    }

    /// As `packed`, for four bytes that are all in the window.
    #[inline(always)]
    fn packed_at_once(self, rest: &[u8]) -> Option<u64> {
        const EACH: u32 = 0x0101_0101;
        const TOPS: u32 = 0x80 * EACH;
        const EVERY_OTHER: u32 = 0x00ff_00ff;
        let bytes = u32::from_be_bytes(*rest.first_chunk()?);
        let (width, bases) = (u32::from(self.width), u32::from(self.base) * EACH);
        // Each byte less the base, without a carry into its neighbour (Warren, Hacker's Delight, 2-18).
        let values = ((bytes | TOPS) - (bases & !TOPS)) ^ ((bytes ^ !bases) & TOPS);
        if values & (EACH * (0xff << width & 0xff)) != 0 {
            return None;
        }
        let pairs = (values >> 8 & EVERY_OTHER) << width | values & EVERY_OTHER;
        let all = (pairs >> 16) << (2 * width) | pairs & 0xffff;
        Some(u64::from(all >> (4 * width - HEAD_BITS)))
    }

    #[inline(never)]
    fn packed(self, rest: &[u8]) -> u64 {
        let (width, mut left) = (u32::from(self.width), HEAD_BITS);
        let mut head = 0;
        for &byte in rest {
            let Some(value) = byte.checked_sub(self.base) else { break };
            if value >> self.width != 0 {
                return head | (HEAD_MAX >> (HEAD_BITS - left));
            }
            if left <= width {
                return head | u64::from(value) >> (width - left);
            }
            left -= width;
            head |= u64::from(value) << left;
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn heads_never_fall_where_keys_rise(
            bases in prop::collection::vec(any::<u8>(), 1..3),
            leaf in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), 0..70u8), 0..7), 0..20),
            later in prop::collection::vec(prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..7), 0..20),
        ) {
            let key = |bytes: &Vec<(prop::sample::Index, u8)>| -> Vec<u8> {
                bytes.iter().map(|(base, more)| base.get(&bases).wrapping_add(*more)).collect()
            };
            let mut keys: Vec<Vec<u8>> = leaf.iter().map(key).collect();
            let heads = Heads::for_keys(keys.iter().map(Vec::as_slice));
            keys.extend(later.iter().map(key));
            keys.sort();
            let made: Vec<u64> = keys.iter().map(|key| heads.head_of(key)).collect();
            prop_assert!(made.is_sorted(), "{heads:?} {keys:?} {made:?}");
            prop_assert!(made.iter().all(|&head| head <= HEAD_MAX));
            if heads != Heads::PLAIN {
                prop_assert!(keys.iter().zip(made).all(|(key, head)| heads.packed(key) == head));
            }
        }
    }

    fn distinct(keys: &[String], leaf: usize) -> usize {
        let heads = Heads::for_keys(keys.iter().take(leaf).map(|key| key.as_bytes()));
        let mut made: Vec<u64> = keys.iter().map(|key| heads.head_of(key.as_bytes())).collect();
        made.sort_unstable();
        made.dedup();
        made.len()
    }

    #[test]
    fn bytes_of_few_values_leave_room_for_more_of_them() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let digits: Vec<String> = (0..10_000).map(|n| format!("{n:04}")).collect();
        assert_eq!(distinct(&digits, 10_000), 10_000, "four digits");
        let some: Vec<String> = (0..50).map(|n| format!("{:04}", spread(n) % 10_000)).collect();
        assert_eq!(Heads::for_keys(some.iter().map(|key| key.as_bytes())), Heads { base: b'0', width: 4 });
        let hexadecimal: Vec<String> = (0..4096).map(|n| format!("{n:03x}")).collect();
        assert!(distinct(&hexadecimal, 4096) > 1000, "two hexadecimal digits and a part of the third");
        let letters: Vec<String> = (0..17_576u32)
            .map(|n| [n / 676, n / 26 % 26, n % 26].map(|at| char::from(b'a' + at as u8)).iter().collect())
            .collect();
        assert_eq!(distinct(&letters, 17_576), 17_576, "three letters");
    }

    #[test]
    fn a_leaf_without_more_bytes_has_plain_heads() {
        assert_eq!(Heads::for_keys([&b""[..]].into_iter()), Heads::PLAIN);
        assert_eq!(Heads::PLAIN.head_of(b""), 0);
        assert_eq!(Heads::for_keys([&b"\x00"[..], &b"\xff"[..]].into_iter()), Heads::PLAIN);
    }
}
