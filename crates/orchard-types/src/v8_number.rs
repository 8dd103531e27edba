//! JavaScript numbers and bigints as V8's structured clone writes them. Frozen: a log is replayed with it.
//!
//! Only what [`crate::arithmetic`] needs: a value that is one number or one bigint. Every other V8 value is opaque here.
//! What is written has format version 15, which every client in use reads; what is read may have any later version, since
//! V8 never changed these four tags.

use num_bigint::{BigInt, Sign};

const VERSION_TAG: u8 = 0xff;
/// The format version of what is written.
const VERSION: u8 = 15;
const PADDING: u8 = 0;
const INT32: u8 = b'I';
const UINT32: u8 = b'U';
const DOUBLE: u8 = b'N';
const BIGINT: u8 = b'Z';
/// V8 keeps a bigint in digits of this many bytes.
const DIGIT_BYTES: usize = 8;
/// NaN has one form, so that every machine stores the same bytes.
const NAN_BITS: u64 = 0x7ff8_0000_0000_0000;

/// One JavaScript number or bigint.
#[derive(Clone, Debug, PartialEq)]
pub enum V8Number {
    /// A `number`.
    Number(f64),
    /// A `bigint`.
    BigInt(BigInt),
}

/// The bytes are no V8 number or bigint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotANumber;

impl std::fmt::Display for NotANumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("not a number or bigint of V8's structured clone")
    }
}

impl std::error::Error for NotANumber {}

/// A varint of at most 32 bits and what follows it.
fn varint(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut number = 0u32;
    let mut rest = bytes;
    for shift in (0..35).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        rest = behind;
        let bits = u32::from(byte & 0x7f);
        if shift == 28 && bits > 0x0f {
            return None;
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((number, rest));
        }
    }
    None
}

fn push_varint(out: &mut Vec<u8>, mut number: u32) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

impl V8Number {
    /// Reads a whole value.
    ///
    /// # Errors
    /// [`NotANumber`]; any bytes are safe to give.
    ///
    /// ```
    /// use orchard_types::v8_number::V8Number;
    /// assert_eq!(V8Number::decode(&[0xff, 15, b'I', 84]), Ok(V8Number::Number(42.0)));
    /// ```
    pub fn decode(bytes: &[u8]) -> Result<V8Number, NotANumber> {
        V8Number::read(bytes).ok_or(NotANumber)
    }

    fn read(bytes: &[u8]) -> Option<V8Number> {
        let (_version, mut rest) = varint(bytes.strip_prefix(&[VERSION_TAG])?)?;
        while let Some(behind) = rest.strip_prefix(&[PADDING]) {
            rest = behind;
        }
        let (tag, rest) = rest.split_first()?;
        match *tag {
            INT32 => {
                let (zigzag, rest) = varint(rest)?;
                let number = (zigzag >> 1) as i32 ^ -((zigzag & 1) as i32);
                rest.is_empty().then_some(V8Number::Number(f64::from(number)))
            }
            UINT32 => {
                let (number, rest) = varint(rest)?;
                rest.is_empty().then_some(V8Number::Number(f64::from(number)))
            }
            DOUBLE => Some(V8Number::Number(f64::from_le_bytes(rest.try_into().ok()?))),
            BIGINT => {
                let (bits, digits) = varint(rest)?;
                if (bits >> 1) as usize != digits.len() {
                    return None;
                }
                let sign = if bits & 1 == 0 { Sign::Plus } else { Sign::Minus };
                Some(V8Number::BigInt(BigInt::from_bytes_le(sign, digits)))
            }
            _ => None,
        }
    }

    /// The bytes, as V8 itself would write them.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION_TAG, VERSION];
        match self {
            V8Number::Number(number) => push_number(&mut out, *number),
            V8Number::BigInt(number) => push_bigint(&mut out, number),
        }
        out
    }

    /// The word that clients know.
    pub const fn name(&self) -> &'static str {
        match self {
            V8Number::Number(_) => "Number",
            V8Number::BigInt(_) => "BigInt",
        }
    }
}

/// Appends a `number` with its tag.
pub fn push_number(out: &mut Vec<u8>, number: f64) {
    let whole = number as i32;
    if f64::from(whole).to_bits() == number.to_bits() {
        out.push(INT32);
        push_varint(out, ((whole << 1) ^ (whole >> 31)) as u32);
    } else {
        let bits = if number.is_nan() { NAN_BITS } else { number.to_bits() };
        out.push(DOUBLE);
        out.extend_from_slice(&bits.to_le_bytes());
    }
}

/// Appends a `bigint` with its tag.
pub fn push_bigint(out: &mut Vec<u8>, number: &BigInt) {
    out.push(BIGINT);
    push_bigint_digits(out, number);
}

/// Appends the length, sign and digits of a `bigint`, as they follow either of its tags.
pub fn push_bigint_digits(out: &mut Vec<u8>, number: &BigInt) {
    let (sign, mut digits) = number.to_bytes_le();
    if sign == Sign::NoSign {
        digits.clear();
    }
    digits.resize(digits.len().next_multiple_of(DIGIT_BYTES), 0);
    push_varint(out, (digits.len() as u32) << 1 | u32::from(sign == Sign::Minus));
    out.extend_from_slice(&digits);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
        (0..text.len()).step_by(2).map(digit).collect()
    }

    /// What `v8.serialize` of Node 20 wrote.
    fn written_by_v8() -> Vec<(&'static str, V8Number)> {
        let big = |text: &str| V8Number::BigInt(text.parse().expect("digits"));
        vec![
            ("ff0f4900", V8Number::Number(0.0)),
            ("ff0f4902", V8Number::Number(1.0)),
            ("ff0f4901", V8Number::Number(-1.0)),
            ("ff0f4e0000000000000080", V8Number::Number(-0.0)),
            ("ff0f49feffffff0f", V8Number::Number(2_147_483_647.0)),
            ("ff0f49ffffffff0f", V8Number::Number(-2_147_483_648.0)),
            ("ff0f4e000000000000e041", V8Number::Number(2_147_483_648.0)),
            ("ff0f4e000000000000f83f", V8Number::Number(1.5)),
            ("ff0f4e000000000000f07f", V8Number::Number(f64::INFINITY)),
            ("ff0f4effffffffffff3f43", V8Number::Number(9_007_199_254_740_991.0)),
            ("ff0f5a00", big("0")),
            ("ff0f5a100100000000000000", big("1")),
            ("ff0f5a110100000000000000", big("-1")),
            ("ff0f5a2000000000000000000100000000000000", big("18446744073709551616")),
            ("ff0f5a2100000000000000000100000000000000", big("-18446744073709551616")),
            ("ff0f5a20d20a3f4eeee073c3f60fe98e01000000", big("123456789012345678901234567890")),
        ]
    }

    #[test]
    fn bytes_of_v8_are_frozen() {
        for (text, number) in written_by_v8() {
            assert_eq!(V8Number::decode(&hex(text)), Ok(number.clone()), "{text}");
            assert_eq!(number.encode(), hex(text), "{number:?}");
        }
        let nan = V8Number::Number(-f64::NAN).encode();
        assert_eq!(nan, hex("ff0f4e000000000000f87f"), "one form of NaN");
    }

    #[test]
    fn newer_versions_and_padding_are_read() {
        for text in ["ff104902", "ff0d4902", "ff0f00004902", "ff0f5501"] {
            assert_eq!(V8Number::decode(&hex(text)), Ok(V8Number::Number(1.0)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_no_number() {
        for text in [
            "",
            "ff",
            "ff0f",
            "ff0f49",
            "ff0f4980",
            "ff0f4902ff",
            "ff0f4effff",
            "ff0f5a10",
            "ff0f5a1001",
            "ff0f54",
            "ff0f2201e9",
            "ff0f6e0000000000000840",
            "0f4902",
            "ff0f49ffffffff1f",
            "ff0f49ffffffffff01",
        ] {
            assert_eq!(V8Number::decode(&hex(text)), Err(NotANumber), "{text}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(number in any::<f64>(), whole in any::<i32>()) {
            for number in [number, f64::from(whole)] {
                let again = V8Number::decode(&V8Number::Number(number).encode()).expect("a number");
                let V8Number::Number(again) = again else { panic!("{again:?}") };
                prop_assert!(again.to_bits() == number.to_bits() || (again.is_nan() && number.is_nan()));
            }
        }

        #[test]
        fn bigints_come_back(digits in prop::collection::vec(any::<u8>(), 0..40), minus in any::<bool>()) {
            let sign = if minus { Sign::Minus } else { Sign::Plus };
            let number = V8Number::BigInt(BigInt::from_bytes_le(sign, &digits));
            prop_assert_eq!(V8Number::decode(&number.encode()), Ok(number));
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = V8Number::decode(&bytes);
            let _ = V8Number::decode(&[&[0xff, 15][..], &bytes].concat());
        }
    }
}
