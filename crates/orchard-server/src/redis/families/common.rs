//! What the families of collections share: numbers in arguments, cursors, randomness.

use crate::redis::context::Context;
use crate::redis::error::RedisError;
use bytes::Bytes;
use orchard_wire::glob;
use orchard_wire::resp::number::{parse_double, parse_integer};
use orchard_wire::resp::{Args, Reply};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A whole number.
pub(super) fn integer(text: &[u8]) -> Result<i64, RedisError> {
    parse_integer(text).ok_or(RedisError::NOT_INTEGER)
}

/// A whole number within bounds.
pub(super) fn integer_between(text: &[u8], least: i64, most: i64) -> Result<i64, RedisError> {
    let number = integer(text)?;
    if !(least..=most).contains(&number) {
        return Err(RedisError::err(format_args!(
            "value is out of range, value must between {least} and {most}"
        )));
    }
    Ok(number)
}

/// A number that is not negative.
pub(super) fn positive(text: &[u8]) -> Result<usize, RedisError> {
    let number = parse_integer(text).and_then(|number| usize::try_from(number).ok());
    number.ok_or_else(|| RedisError::err("value is out of range, must be positive"))
}

/// `numkeys` and the keys behind it; returns the keys and the place of what follows. `why_none`: the error for a number
/// that is none or not positive.
pub(super) fn counted_keys<'a>(
    args: Args<'a>,
    at: usize,
    why_none: &'static str,
) -> Result<(Vec<&'a [u8]>, usize), RedisError> {
    let count = parse_integer(args.at(at)).filter(|count| *count > 0);
    let count = count.ok_or_else(|| RedisError::err(why_none))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > args.len() - at - 1 {
        return Err(RedisError::err("Number of keys can't be greater than number of args"));
    }
    Ok((args.iter().skip(at + 1).take(count).collect(), at + 1 + count))
}

/// 64 random bits.
pub(super) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A random number below `end`.
pub(super) fn below(end: usize) -> usize {
    ((u128::from(random()) * end as u128) >> 64) as usize
}

/// Most elements that a random choice with repetition returns.
const REPEATED_MAX: u64 = 1 << 22;

/// The number of elements of a choice with repetition.
pub(super) fn repeated(count: i64) -> Result<usize, RedisError> {
    let count = count.unsigned_abs();
    if count > REPEATED_MAX {
        return Err(RedisError::err("value is out of range"));
    }
    Ok(count as usize)
}

/// `count` different ones of `all`, in random order.
pub(super) fn choose<T>(mut all: Vec<T>, count: usize) -> Vec<T> {
    let count = count.min(all.len());
    for at in 0..count {
        let other = at + below(all.len() - at);
        all.swap(at, other);
    }
    all.truncate(count);
    all
}

/// What a page of a scan is asked for.
pub(super) struct ScanPage<'a> {
    pub(super) after: Option<Bytes>,
    pub(super) count: usize,
    pattern: Option<&'a [u8]>,
}

impl ScanPage<'_> {
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

/// The cursor of `HSCAN key cursor` and the like, as C reads one: up to a zero byte, and nothing is 0.
pub(super) fn cursor(text: &[u8]) -> Result<u64, RedisError> {
    let digits = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let digits = digits.strip_prefix(b"+").unwrap_or(digits);
    if digits.is_empty() {
        return Ok(0);
    }
    let cursor = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
    cursor.ok_or_else(|| RedisError::err("invalid cursor"))
}

/// A number as C reads one: behind spaces, and hexadecimal, too.
pub(super) fn double(text: &[u8]) -> Option<f64> {
    let text = text.trim_ascii_start();
    parse_double(text).or_else(|| hexadecimal(text))
}

/// As [`double`], but without spaces, and nothing that is too large or too small for one.
pub(crate) fn exact_double(text: &[u8]) -> Option<f64> {
    if text.trim_ascii_start().len() != text.len() {
        return None;
    }
    let number = double(text)?;
    let has_digits = text.iter().any(|byte| matches!(byte, b'1'..=b'9'));
    let is_infinity = text.iter().any(|byte| matches!(byte, b'n' | b'N'));
    let is_out_of_range =
        (number.is_infinite() && !is_infinity) || (number == 0.0 && has_digits && !is_zero(text));
    (!is_out_of_range).then_some(number)
}

/// Whether the digits before the exponent are zeros.
fn is_zero(text: &[u8]) -> bool {
    let digits = text.split(|byte| matches!(byte, b'e' | b'E' | b'p' | b'P')).next().unwrap_or_default();
    !digits.iter().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// `0x1.8p3`
fn hexadecimal(text: &[u8]) -> Option<f64> {
    const DIGITS_MAX: usize = 64;
    let text = std::str::from_utf8(text).ok()?.to_ascii_lowercase();
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    let text = text.strip_prefix("0x")?;
    let (digits, exponent) = match text.split_once('p') {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.len() + fraction.len() > DIGITS_MAX || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let mut number = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        number = number * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(sign * number * 2.0_f64.powi(exponent.checked_sub(places)?))
}

/// The options behind the cursor.
pub(super) fn scan_page<'a>(
    cx: &Context<'_, '_>,
    args: Args<'a>,
    cursor: u64,
) -> Result<ScanPage<'a>, RedisError> {
    const COUNT_DEFAULT: usize = 10;
    const COUNT_MAX: i64 = 100_000;
    let mut page = ScanPage { after: None, count: COUNT_DEFAULT, pattern: None };
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let Some(value) = args.get(at + 1) else { return Err(RedisError::SYNTAX) };
        if option.eq_ignore_ascii_case(b"count") {
            let count = integer(value)?;
            if count < 1 {
                return Err(RedisError::SYNTAX);
            }
            page.count = count.min(COUNT_MAX) as usize;
        } else if option.eq_ignore_ascii_case(b"match") {
            // This one is no pattern to Redis: it matches what is empty, too.
            page.pattern = Some(value).filter(|pattern| *pattern != b"*");
        } else {
            return Err(RedisError::SYNTAX);
        }
        at += 2;
    }
    if cursor != 0 {
        page.after = cx.server.redis.cursors.name(cursor);
    }
    Ok(page)
}

/// The reply of a scan; `next`: the last name of the page, if more may follow.
pub(super) fn scan_reply(cx: &Context<'_, '_>, next: Option<Bytes>, items: Vec<Reply>) -> Reply {
    let cursor = next.map_or(0, |name| cx.server.redis.cursors.give(name));
    Reply::Array(vec![Reply::bulk(cursor.to_string()), Reply::Array(items)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, number) in
            [("0x10", 16.0), ("-0x1p3", -8.0), ("0x.8", 0.5), ("1e3", 1e3), ("inf", f64::INFINITY)]
        {
            assert_eq!(double(text.as_bytes()), Some(number), "{text}");
            assert_eq!(exact_double(text.as_bytes()), Some(number), "{text}");
        }
        for text in ["0x", "0xg", "", "1x", "0x1p"] {
            assert_eq!(double(text.as_bytes()), None, "{text}");
        }
        assert_eq!(exact_double(b"1e400"), None);
        assert_eq!(exact_double(b"1e-400"), None);
        assert_eq!(exact_double(b"0e5"), Some(0.0));
        assert_eq!((double(b" 1"), exact_double(b" 1")), (Some(1.0), None));
    }

    #[test]
    fn cursors_are_read_as_c_reads_them() {
        assert_eq!(cursor(b"12"), Ok(12));
        assert_eq!(cursor(b"\0\xff"), Ok(0));
        assert!(cursor(b"junk").is_err());
    }

    #[test]
    fn a_choice_takes_each_once() {
        let mut chosen = choose((0..100).collect(), 100);
        chosen.sort_unstable();
        assert!(chosen.into_iter().eq(0..100));
        assert_eq!(choose(vec![1, 2, 3], 2).len(), 2);
    }
}
