//! The arithmetic of `INCRBYFLOAT`: numbers of 64 binary digits, as C's `long double` has them on x86-64, so that results
//! look as Redis writes them.

use num_bigint::BigUint;
use std::cmp::Ordering;

/// Binary digits of a number.
const DIGITS: u64 = 64;
/// Largest binary exponent of the number's highest digit.
const EXPONENT_MAX: i64 = 16_383;
/// Longest text that is taken as a number; Redis has a buffer of this order, too.
const TEXT_SIZE_BYTES_MAX: usize = 5_000;
/// Digits behind the point that are written.
const DECIMALS: u32 = 17;

/// A finite number: `mantissa * 2^exponent`, of at most 64 binary digits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LongDouble {
    is_negative: bool,
    mantissa: BigUint,
    exponent: i64,
}

/// Why a text is no finite number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseError {
    /// It is none at all.
    Invalid,
    /// It is infinite.
    Infinite,
}

impl LongDouble {
    /// The number nearest to `numerator / denominator`, ties to even; `None` if it is too large.
    fn nearest(is_negative: bool, numerator: &BigUint, denominator: &BigUint) -> Option<LongDouble> {
        if *numerator == BigUint::ZERO {
            return Some(LongDouble { is_negative, mantissa: BigUint::ZERO, exponent: 0 });
        }
        // So many digits that the quotient has one more than are kept, at least.
        let excess = i64::try_from(numerator.bits()).ok()? - i64::try_from(denominator.bits()).ok()?;
        let shift = i64::try_from(DIGITS).ok()? + 2 - excess;
        let (mut numerator, mut denominator) = (numerator.clone(), denominator.clone());
        if shift >= 0 {
            numerator <<= shift.unsigned_abs();
        } else {
            denominator <<= shift.unsigned_abs();
        }
        let quotient = &numerator / &denominator;
        let is_exact = &quotient * &denominator == numerator;
        let dropped = quotient.bits().saturating_sub(DIGITS);
        let mut mantissa = &quotient >> dropped;
        if dropped > 0 {
            let rest = &quotient - (&mantissa << dropped);
            let half = BigUint::from(1_u8) << (dropped - 1);
            let rounds_up = match rest.cmp(&half) {
                Ordering::Less => false,
                Ordering::Greater => true,
                Ordering::Equal => !is_exact || mantissa.bit(0),
            };
            if rounds_up {
                mantissa += 1_u8;
            }
        }
        let exponent = i64::try_from(dropped).ok()? - shift;
        if i64::try_from(mantissa.bits()).ok()? + exponent - 1 > EXPONENT_MAX {
            return None;
        }
        Some(LongDouble { is_negative, mantissa, exponent })
    }

    /// Reads a decimal number. One that is too large is none, as it is not to C's parser.
    ///
    /// # Errors
    /// [`ParseError`]
    pub fn parse(text: &[u8]) -> Result<LongDouble, ParseError> {
        let (is_negative, digits) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if digits.eq_ignore_ascii_case(b"inf") || digits.eq_ignore_ascii_case(b"infinity") {
            return Err(ParseError::Infinite);
        }
        if digits.len() > TEXT_SIZE_BYTES_MAX {
            return Err(ParseError::Invalid);
        }
        let (digits, exponent) = match digits.iter().position(|byte| byte.eq_ignore_ascii_case(&b'e')) {
            Some(at) => {
                let (digits, exponent) = digits.split_at(at);
                let exponent = exponent.get(1..).unwrap_or_default();
                let exponent = std::str::from_utf8(exponent).ok().and_then(|text| text.parse::<i64>().ok());
                (digits, exponent.ok_or(ParseError::Invalid)?)
            }
            None => (digits, 0),
        };
        let mut all = BigUint::ZERO;
        let mut decimals = None;
        let mut has_digits = false;
        let mut plain = Vec::with_capacity(digits.len());
        for byte in digits {
            match byte {
                b'0'..=b'9' => {
                    has_digits = true;
                    plain.push(byte - b'0');
                    decimals = decimals.map(|decimals: i64| decimals + 1);
                }
                b'.' if decimals.is_none() => decimals = Some(0),
                _ => return Err(ParseError::Invalid),
            }
        }
        if !has_digits {
            return Err(ParseError::Invalid);
        }
        if let Some(number) = BigUint::from_radix_be(&plain, 10) {
            all = number;
        }
        let power = exponent.saturating_sub(decimals.unwrap_or(0));
        if all == BigUint::ZERO {
            return Ok(LongDouble { is_negative, mantissa: BigUint::ZERO, exponent: 0 });
        }
        if !(-2 * EXPONENT_MAX..=EXPONENT_MAX).contains(&power) {
            return Err(ParseError::Invalid);
        }
        let ten = BigUint::from(10_u8).pow(u32::try_from(power.unsigned_abs()).unwrap_or(u32::MAX));
        let (numerator, denominator) = if power < 0 { (all, ten) } else { (all * ten, BigUint::from(1_u8)) };
        // What is so small that it becomes zero is refused, as what is too large.
        LongDouble::nearest(is_negative, &numerator, &denominator)
            .filter(|number| !number.vanishes())
            .ok_or(ParseError::Invalid)
    }

    /// Whether 80 bits would hold nothing of it.
    fn vanishes(&self) -> bool {
        /// Half of the least number above zero is `2^-16446`.
        const BITS_MIN: i64 = -16_446;
        let bits = i64::try_from(self.mantissa.bits()).unwrap_or(i64::MAX);
        bits.saturating_add(self.exponent) <= BITS_MIN
    }

    /// The sum, rounded; `None` if it is too large.
    pub fn add(&self, other: &LongDouble) -> Option<LongDouble> {
        let exponent = self.exponent.min(other.exponent);
        let scaled = |number: &LongDouble| &number.mantissa << (number.exponent - exponent).unsigned_abs();
        let (one, two) = (scaled(self), scaled(other));
        let (is_negative, sum) = if self.is_negative == other.is_negative {
            (self.is_negative, one + two)
        } else if one >= two {
            (self.is_negative, one - two)
        } else {
            (other.is_negative, two - one)
        };
        let scale = BigUint::from(1_u8) << exponent.unsigned_abs();
        if exponent >= 0 {
            LongDouble::nearest(is_negative, &(sum * scale), &BigUint::from(1_u8))
        } else {
            LongDouble::nearest(is_negative, &sum, &scale)
        }
    }

    /// The decimal text with at most 17 digits behind the point, without zeros at its end.
    ///
    /// ```
    /// use orchard_wire::resp::long_double::LongDouble;
    /// let number = |text: &str| LongDouble::parse(text.as_bytes()).expect("a number");
    /// let sum = number("0.1").add(&number("0.2")).expect("finite");
    /// assert_eq!(sum.to_text(), "0.3");
    /// ```
    pub fn to_text(&self) -> String {
        let scaled = &self.mantissa * BigUint::from(10_u8).pow(DECIMALS);
        let shift = self.exponent.unsigned_abs();
        let rounded = if self.exponent >= 0 {
            scaled << shift
        } else {
            let down = &scaled >> shift;
            let rest = &scaled - (&down << shift);
            let half = BigUint::from(1_u8) << (shift - 1);
            match rest.cmp(&half) {
                Ordering::Greater => down + 1_u8,
                Ordering::Equal if down.bit(0) => down + 1_u8,
                _ => down,
            }
        };
        let digits = format!("{rounded:0>width$}", width = DECIMALS as usize + 1);
        let (whole, decimals) = digits.split_at(digits.len() - DECIMALS as usize);
        let decimals = decimals.trim_end_matches('0');
        let point = if decimals.is_empty() { "" } else { "." };
        let text = format!("{whole}{point}{decimals}");
        if self.is_negative && text != "0" { format!("-{text}") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sum(one: &str, two: &str) -> String {
        let number = |text: &str| LongDouble::parse(text.as_bytes()).expect("a number");
        number(one).add(&number(two)).expect("finite").to_text()
    }

    #[test]
    fn sums_look_as_redis_writes_them() {
        // As Redis 7.0.15 answered on x86-64.
        for (one, two, text) in [
            ("10.5", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("0.1", "-0.3", "-0.2"),
            ("1", "-1", "0"),
            ("-1", "1", "0"),
            ("3", "0.00000000000000001", "3.00000000000000001"),
            ("12345678901.1", "0.1", "12345678901.19999999925494194"),
            ("1e17", "1.5", "100000000000000001.5"),
            ("1e22", "1", "10000000000000000000000"),
            ("+1.", ".5", "1.5"),
        ] {
            assert_eq!(sum(one, two), text, "{one} + {two}");
        }
        for text in [
            "",
            "-",
            ".",
            "1e",
            "e1",
            "1.2.3",
            " 1",
            "1 ",
            "0x10",
            "nan",
            "1e5000x",
            "1e5000",
            "1e999999999999",
        ] {
            assert_eq!(LongDouble::parse(text.as_bytes()), Err(ParseError::Invalid), "{text}");
        }
        for text in ["inf", "-Infinity"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), Err(ParseError::Infinite), "{text}");
        }
        for text in ["1e-4960", "1e-5000", "1e-999999999999"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), Err(ParseError::Invalid), "{text}");
        }
        for text in ["1e-4940", "0e-5000", "0e-999999999999"] {
            assert_eq!(LongDouble::parse(text.as_bytes()).expect("a number").to_text(), "0");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_are_exact(one: i32, two: i32) {
            prop_assert_eq!(sum(&one.to_string(), &two.to_string()), (i64::from(one) + i64::from(two)).to_string());
        }

        #[test]
        fn any_text_is_safe(text in prop::collection::vec(prop_oneof![Just(b'1'), Just(b'.'), Just(b'e'), Just(b'-'), any::<u8>()], 0..20)) {
            if let Ok(number) = LongDouble::parse(&text) {
                let _ = number.add(&number).map(|sum| sum.to_text());
            }
        }
    }
}
