//! Variable-length numbers: seven bits a byte, lowest first (LEB128), as in Protocol Buffers.

/// Most bytes that a number takes.
pub const VARINT_SIZE_BYTES_MAX: usize = 10;

/// Appends `number`.
pub fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front of `bytes`; `None` if it is cut off or over 64 bits.
#[inline]
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        *bytes = rest;
        return Some(u64::from(*first));
    }
    take_long(bytes)
}

fn take_long(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().take(VARINT_SIZE_BYTES_MAX).enumerate() {
        let bits = u64::from(byte & 0x7f);
        if place == VARINT_SIZE_BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * place);
        if *byte < 0x80 {
            *bytes = bytes.get(place + 1..)?;
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(number in prop_oneof![any::<u64>(), 0u64..300, (0u32..64).prop_map(|bit| 1 << bit)]) {
            let mut bytes = Vec::new();
            push(&mut bytes, number);
            prop_assert!(bytes.len() <= VARINT_SIZE_BYTES_MAX);
            for cut in 0..bytes.len() {
                prop_assert_eq!(take(&mut &bytes[..cut]), None);
            }
            bytes.push(7);
            let mut rest = bytes.as_slice();
            prop_assert_eq!(take(&mut rest), Some(number));
            prop_assert_eq!(rest, [7]);
        }
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        assert_eq!(take(&mut [0xff; 11].as_slice()), None);
        assert_eq!(
            take(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1].as_slice()),
            Some(u64::MAX)
        );
        assert_eq!(take(&mut [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2].as_slice()), None);
    }
}
