//! Percent-encoding of paths and query strings (RFC 3986), strict: a `%` without two hex digits is an error.

use std::fmt;

/// A `%` is not followed by two hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PercentError {
    /// Where the `%` stands.
    pub offset: usize,
}

impl fmt::Display for PercentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the % at byte {} is not followed by two hex digits", self.offset)
    }
}

impl std::error::Error for PercentError {}

fn hex(digit: Option<&u8>) -> Option<u8> {
    char::from(*digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn decode_with(text: &[u8], plus_is_space: bool) -> Result<Vec<u8>, PercentError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter().enumerate();
    while let Some((offset, byte)) = bytes.next() {
        match byte {
            b'%' => {
                let (high, low) = (hex(text.get(offset + 1)), hex(text.get(offset + 2)));
                let (Some(high), Some(low)) = (high, low) else { return Err(PercentError { offset }) };
                decoded.push(high << 4 | low);
                bytes.nth(1);
            }
            b'+' if plus_is_space => decoded.push(b' '),
            other => decoded.push(*other),
        }
    }
    Ok(decoded)
}

/// Decodes a part of a path; `+` stands for itself.
///
/// # Errors
/// [`PercentError`]
pub fn decode(text: &[u8]) -> Result<Vec<u8>, PercentError> {
    decode_with(text, false)
}

/// Decodes a name or value of a query string; `+` is a space.
///
/// # Errors
/// [`PercentError`]
pub fn decode_query(text: &[u8]) -> Result<Vec<u8>, PercentError> {
    decode_with(text, true)
}

/// Encodes everything but the unreserved characters, for paths and query strings alike.
///
/// ```
/// use orchard_wire::percent;
/// assert_eq!(percent::encode(b"a b/\xff"), "a%20b%2F%FF");
/// assert_eq!(percent::decode(b"a%20b%2F%FF").as_deref(), Ok(&b"a b/\xff"[..]));
/// ```
pub fn encode(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut encoded = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(*byte))
            }
            _ => {
                encoded.push('%');
                for nibble in [byte >> 4, byte & 0xf] {
                    encoded.push(DIGITS.get(usize::from(nibble)).copied().unwrap_or('0'));
                }
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let encoded = encode(&bytes);
            prop_assert_eq!(decode(encoded.as_bytes()), Ok(bytes.clone()));
            prop_assert_eq!(decode_query(encoded.as_bytes()), Ok(bytes));
        }
    }

    #[test]
    fn a_lone_percent_is_refused() {
        for (text, offset) in [("%", 0), ("a%2", 1), ("a%zz", 1), ("%41%+1", 3), ("%é", 0)] {
            assert_eq!(decode(text.as_bytes()), Err(PercentError { offset }), "{text}");
        }
        assert_eq!(decode(b"a+b").as_deref(), Ok(&b"a+b"[..]));
        assert_eq!(decode_query(b"a+b").as_deref(), Ok(&b"a b"[..]));
    }
}
