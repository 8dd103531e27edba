//! Strings as rows of bits: bit 0 is the highest bit of the first byte.

/// The bits `from..=to`, as Redis's commands name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BitRange {
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// The bit, 0 behind the end.
pub(crate) fn get(bytes: &[u8], at: u64) -> bool {
    let byte = usize::try_from(at >> 3).ok().and_then(|at| bytes.get(at));
    byte.is_some_and(|byte| byte & (0x80 >> (at & 7)) != 0)
}

/// Sets the bit, which must be there.
pub(crate) fn set(bytes: &mut [u8], at: u64, bit: bool) {
    let byte = usize::try_from(at >> 3).ok().and_then(|at| bytes.get_mut(at));
    if let Some(byte) = byte {
        let mask = 0x80 >> (at & 7);
        *byte = if bit { *byte | mask } else { *byte & !mask };
    }
}

/// The byte with the bits outside of the range taken as `outside`.
fn masked(bytes: &[u8], at: u64, range: BitRange, outside: bool) -> u8 {
    let byte = usize::try_from(at).ok().and_then(|at| bytes.get(at)).copied().unwrap_or(0);
    let mut keep = 0xff_u8;
    if at == range.from >> 3 {
        keep &= 0xff >> (range.from & 7);
    }
    if at == range.to >> 3 {
        keep &= 0xff << (7 - (range.to & 7));
    }
    if outside { byte | !keep } else { byte & keep }
}

/// Bits that are set in the range, which lies in `bytes`.
pub(crate) fn count(bytes: &[u8], range: BitRange) -> u64 {
    let (first, last) = (range.from >> 3, range.to >> 3);
    let mut count = u64::from(masked(bytes, first, range, false).count_ones());
    if last > first {
        count += u64::from(masked(bytes, last, range, false).count_ones());
        count += ones(inner(bytes, first, last));
    }
    count
}

/// The whole bytes between the first and the last.
fn inner(bytes: &[u8], first: u64, last: u64) -> &[u8] {
    let at = |place: u64| usize::try_from(place).unwrap_or(usize::MAX);
    bytes.get(at(first).saturating_add(1)..at(last)).unwrap_or_default()
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// The first bit of the range, which lies in `bytes`, that is `bit`.
pub(crate) fn position(bytes: &[u8], range: BitRange, bit: bool) -> Option<u64> {
    let (first, last) = (range.from >> 3, range.to >> 3);
    let wanted = |byte: u8| if bit { byte } else { !byte };
    let in_byte =
        |at: u64, byte: u8| (wanted(byte) != 0).then(|| at * 8 + u64::from(wanted(byte).leading_zeros()));
    if let Some(found) = in_byte(first, masked(bytes, first, range, !bit)) {
        return Some(found);
    }
    if last == first {
        return None;
    }
    let between = inner(bytes, first, last);
    if let Some(place) = between.iter().position(|byte| wanted(*byte) != 0) {
        let place = first + 1 + u64::try_from(place).unwrap_or(0);
        return in_byte(
            place,
            between.get(usize::try_from(place - first - 1).unwrap_or(0)).copied().unwrap_or(0),
        );
    }
    in_byte(last, masked(bytes, last, range, !bit))
}

/// What `BITOP` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    And,
    Or,
    Xor,
    Not,
}

/// The sources combined, each as if zeros followed it up to the longest.
pub(crate) fn combine(operation: Operation, sources: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let length = sources.iter().map(|source| source.as_ref().len()).max().unwrap_or(0);
    let mut sources = sources.iter().map(AsRef::as_ref);
    let mut result = sources.next().unwrap_or_default().to_vec();
    result.resize(length, 0);
    if operation == Operation::Not {
        result.iter_mut().for_each(|byte| *byte = !*byte);
    }
    for source in sources {
        let (head, tail) = result.split_at_mut(source.len());
        let pairs = head.iter_mut().zip(source);
        match operation {
            Operation::And => {
                pairs.for_each(|(byte, other)| *byte &= other);
                tail.fill(0);
            }
            Operation::Or => pairs.for_each(|(byte, other)| *byte |= other),
            Operation::Xor => pairs.for_each(|(byte, other)| *byte ^= other),
            Operation::Not => {}
        }
    }
    result
}

/// A number in a row of bits: `u8`, `i16`; at most 64 bits, 63 without a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FieldType {
    pub(crate) is_signed: bool,
    pub(crate) bits: u32,
}

/// What happens to a number that does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl FieldType {
    /// The number at a bit; bits behind the end are 0.
    pub(crate) fn get(self, bytes: &[u8], at: u64) -> i64 {
        let mut number = 0_u64;
        for bit in 0..u64::from(self.bits) {
            number = number << 1 | u64::from(get(bytes, at + bit));
        }
        self.narrow(number)
    }

    /// Writes the lowest bits of a number; all of them must be there.
    pub(crate) fn set(self, bytes: &mut [u8], at: u64, number: i64) {
        for bit in 0..u64::from(self.bits) {
            set(bytes, at + bit, number >> (u64::from(self.bits) - 1 - bit) & 1 == 1);
        }
    }

    /// The lowest bits as a number of this type.
    fn narrow(self, number: u64) -> i64 {
        let unused = 64 - self.bits;
        let shifted = number << unused;
        // The bits are the same in both types; a number without a sign has at most 63.
        if self.is_signed { shifted.cast_signed() >> unused } else { (shifted >> unused).cast_signed() }
    }

    fn bounds(self) -> (i128, i128) {
        if self.is_signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// A number put into this type; `None` where that must fail. For a type without a sign a negative number is a very
    /// large one.
    pub(crate) fn put(self, number: i64, overflow: Overflow) -> Option<i64> {
        let exact = if self.is_signed { i128::from(number) } else { i128::from(number.cast_unsigned()) };
        self.fit(exact, overflow)
    }

    /// A number of this type with another added.
    pub(crate) fn add(self, number: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        self.fit(i128::from(number) + i128::from(increment), overflow)
    }

    fn fit(self, exact: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.bounds();
        if (min..=max).contains(&exact) {
            return i64::try_from(exact).ok();
        }
        match overflow {
            Overflow::Fail => None,
            Overflow::Saturate => i64::try_from(exact.clamp(min, max)).ok(),
            Overflow::Wrap => {
                let low = u64::try_from(exact & i128::from(u64::MAX)).unwrap_or(0);
                Some(self.narrow(low))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bits(bytes: &[u8]) -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> (7 - bit) & 1 == 1)).collect()
    }

    proptest! {
        #[test]
        fn count_and_position_agree_with_bit_by_bit(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(0xff), any::<u8>()], 1..40),
            one in 0_u64..320,
            other in 0_u64..320,
            wanted: bool,
        ) {
            let end = bytes.len() as u64 * 8 - 1;
            let (from, to) = (one.min(other).min(end), one.max(other).min(end));
            let row = bits(&bytes);
            let inside = &row[from as usize..=to as usize];
            let range = BitRange { from, to };
            prop_assert_eq!(count(&bytes, range), inside.iter().filter(|bit| **bit).count() as u64);
            let place = inside.iter().position(|bit| *bit == wanted).map(|place| from + place as u64);
            prop_assert_eq!(position(&bytes, range, wanted), place);
        }

        #[test]
        fn a_field_reads_back(
            bytes in prop::collection::vec(any::<u8>(), 16..20),
            is_signed: bool,
            width in 1_u32..=64,
            at in 0_u64..60,
            number: i64,
        ) {
            let field = FieldType { is_signed, bits: if is_signed { width } else { width.min(63) } };
            let mut changed = bytes.clone();
            let stored = field.put(number, Overflow::Wrap).expect("it wraps");
            field.set(&mut changed, at, stored);
            prop_assert_eq!(field.get(&changed, at), stored);
            for (place, (was, is)) in bits(&bytes).into_iter().zip(bits(&changed)).enumerate() {
                if !(at..at + u64::from(field.bits)).contains(&(place as u64)) {
                    prop_assert_eq!(was, is, "bit {} is outside of the field", place);
                }
            }
        }
    }

    #[test]
    fn overflow() {
        let (two, eight, whole) = (
            FieldType { is_signed: false, bits: 2 },
            FieldType { is_signed: true, bits: 8 },
            FieldType { is_signed: true, bits: 64 },
        );
        assert_eq!(two.add(3, 1, Overflow::Wrap), Some(0));
        assert_eq!(two.add(3, 1, Overflow::Saturate), Some(3));
        assert_eq!(two.add(0, -1, Overflow::Saturate), Some(0));
        assert_eq!(two.add(3, 1, Overflow::Fail), None);
        assert_eq!(two.put(-1, Overflow::Saturate), Some(3), "no sign: a very large number");
        assert_eq!(eight.add(127, 1, Overflow::Wrap), Some(-128));
        assert_eq!(eight.add(-128, -1, Overflow::Saturate), Some(-128));
        assert_eq!(whole.add(i64::MAX, 1, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(whole.add(i64::MIN, i64::MIN, Overflow::Saturate), Some(i64::MIN));
    }

    #[test]
    fn shorter_sources_end_in_zeros() {
        assert_eq!(combine(Operation::And, &[&b"\xff\xff"[..], b"\x0f"]), b"\x0f\x00");
        assert_eq!(combine(Operation::Or, &[&b"\x01"[..], b"\x10\x10"]), b"\x11\x10");
        assert_eq!(combine(Operation::Xor, &[&b"\xff"[..], b"\x0f\xaa"]), b"\xf0\xaa");
        assert_eq!(combine(Operation::Not, &[b"\x0f"]), b"\xf0");
        assert_eq!(combine(Operation::And, &[&b""[..], b""]), b"");
    }
}
