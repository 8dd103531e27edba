//! Values: typed bytes, kept exactly as written.

use bytes::Bytes;
use std::fmt;

/// What the bytes of a value mean. The number of a type is part of the file format and never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[repr(u8)]
#[non_exhaustive]
pub enum ValueType {
    /// Any bytes.
    #[default]
    Bytes = 0,
    /// UTF-8 text.
    Text = 1,
    /// A signed 64-bit integer, 8 bytes little-endian.
    Int = 2,
    /// A 64-bit IEEE 754 number, 8 bytes little-endian.
    Float = 3,
    /// One byte, 0 or 1.
    Bool = 4,
    /// No bytes.
    Null = 5,
    /// A JSON document as UTF-8 text, kept as sent.
    Json = 6,
    /// An unsigned 64-bit counter, 8 bytes little-endian (Deno's `KvU64`).
    U64 = 7,
    /// A JavaScript value in V8's structured-clone format, kept as sent.
    V8 = 8,
    /// A list collection.
    List = 9,
    /// A hash collection.
    Hash = 10,
    /// A set collection.
    Set = 11,
    /// A sorted-set collection.
    ZSet = 12,
    /// A stream collection.
    Stream = 13,
}

/// Whether bytes are ASCII, as most texts are; 32 of them at a time.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<32>();
    let high = |bytes: &[u8]| bytes.iter().fold(0, |high, byte| high | byte) & 0x80;
    chunks.iter().fold(0, |all, chunk| all | high(chunk)) | high(rest) == 0
}

impl ValueType {
    /// Every type, in the order of their numbers.
    pub const ALL: [ValueType; 14] = [
        ValueType::Bytes,
        ValueType::Text,
        ValueType::Int,
        ValueType::Float,
        ValueType::Bool,
        ValueType::Null,
        ValueType::Json,
        ValueType::U64,
        ValueType::V8,
        ValueType::List,
        ValueType::Hash,
        ValueType::Set,
        ValueType::ZSet,
        ValueType::Stream,
    ];

    /// The type with this number, `None` for a number of a newer format.
    pub fn from_number(number: u8) -> Option<ValueType> {
        ValueType::ALL.get(usize::from(number)).copied()
    }

    /// The type of a string that says no more: text if it is UTF-8, else bytes.
    #[inline]
    pub fn of_string(bytes: &[u8]) -> ValueType {
        if is_ascii(bytes) || std::str::from_utf8(bytes).is_ok() { ValueType::Text } else { ValueType::Bytes }
    }

    /// Whether a value of this type has elements.
    pub const fn is_collection(self) -> bool {
        matches!(
            self,
            ValueType::List | ValueType::Hash | ValueType::Set | ValueType::ZSet | ValueType::Stream
        )
    }

    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            ValueType::Bytes => "bytes",
            ValueType::Text => "text",
            ValueType::Int => "int",
            ValueType::Float => "float",
            ValueType::Bool => "bool",
            ValueType::Null => "null",
            ValueType::Json => "json",
            ValueType::U64 => "u64",
            ValueType::V8 => "v8",
            ValueType::List => "list",
            ValueType::Hash => "hash",
            ValueType::Set => "set",
            ValueType::ZSet => "zset",
            ValueType::Stream => "stream",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A typed value. Cloning shares the bytes.
///
/// ```
/// use orchard_types::{Value, ValueType};
/// assert_eq!(Value::from("red").value_type, ValueType::Text);
/// assert_eq!(Value::from(42_i64).as_int(), Some(42));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Value {
    /// What the bytes mean.
    pub value_type: ValueType,
    /// The bytes, as written.
    pub data: Bytes,
}

impl Value {
    /// A value of `value_type` with these bytes. The bytes are trusted to fit the type; see [`Value::is_well_formed`].
    pub fn new(value_type: ValueType, data: impl Into<Bytes>) -> Value {
        Value { value_type, data: data.into() }
    }

    /// Any bytes.
    pub fn bytes(data: impl Into<Bytes>) -> Value {
        Value::new(ValueType::Bytes, data)
    }

    /// A JSON document, given as its UTF-8 text.
    pub fn json(text: impl Into<String>) -> Value {
        Value::new(ValueType::Json, text.into())
    }

    /// The null value.
    pub fn null() -> Value {
        Value::new(ValueType::Null, Bytes::new())
    }

    /// An unsigned counter.
    pub fn u64(number: u64) -> Value {
        Value::new(ValueType::U64, number.to_le_bytes().to_vec())
    }

    fn eight(&self, value_type: ValueType) -> Option<[u8; 8]> {
        if self.value_type == value_type { self.data.as_ref().try_into().ok() } else { None }
    }

    /// The number of an `int` value.
    pub fn as_int(&self) -> Option<i64> {
        self.eight(ValueType::Int).map(i64::from_le_bytes)
    }

    /// The number of a `float` value.
    pub fn as_float(&self) -> Option<f64> {
        self.eight(ValueType::Float).map(f64::from_le_bytes)
    }

    /// The number of a `u64` value.
    pub fn as_u64(&self) -> Option<u64> {
        self.eight(ValueType::U64).map(u64::from_le_bytes)
    }

    /// The truth of a `bool` value.
    pub fn as_bool(&self) -> Option<bool> {
        match (self.value_type, self.data.as_ref()) {
            (ValueType::Bool, [0]) => Some(false),
            (ValueType::Bool, [1]) => Some(true),
            _ => None,
        }
    }

    /// The text of a `text` or `json` value.
    pub fn as_text(&self) -> Option<&str> {
        match self.value_type {
            ValueType::Text | ValueType::Json => std::str::from_utf8(&self.data).ok(),
            _ => None,
        }
    }

    /// Whether the bytes have the shape their scalar type promises (length and UTF-8; JSON syntax is the edge's check).
    pub fn is_well_formed(&self) -> bool {
        match self.value_type {
            ValueType::Int | ValueType::Float | ValueType::U64 => self.data.len() == 8,
            ValueType::Bool => self.as_bool().is_some(),
            ValueType::Null => self.data.is_empty(),
            ValueType::Text | ValueType::Json => self.as_text().is_some(),
            _ => true,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::new(ValueType::Text, text.as_bytes().to_vec())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::new(ValueType::Text, text)
    }
}

impl From<&[u8]> for Value {
    fn from(data: &[u8]) -> Value {
        Value::bytes(data.to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(data: Vec<u8>) -> Value {
        Value::bytes(data)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::new(ValueType::Int, number.to_le_bytes().to_vec())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::new(ValueType::Float, number.to_le_bytes().to_vec())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Value {
        Value::new(ValueType::Bool, vec![u8::from(truth)])
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.data.get(..64).unwrap_or(&self.data);
        write!(f, "{}(\"{}\"", self.value_type, shown.escape_ascii())?;
        if shown.len() < self.data.len() {
            write!(f, "... {} bytes)", self.data.len())
        } else {
            f.write_str(")")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_ascii_is_seen_anywhere() {
        for length in 0..100 {
            let mut bytes = vec![0x7f; length];
            assert!(is_ascii(&bytes), "{length}");
            for place in 0..length {
                bytes[place] = 0x80;
                assert!(!is_ascii(&bytes), "{place} of {length}");
                bytes[place] = 0;
            }
        }
    }

    #[test]
    fn numbers_of_types_are_frozen() {
        for (number, value_type) in ValueType::ALL.into_iter().enumerate() {
            assert_eq!(value_type as usize, number);
            assert_eq!(ValueType::from_number(number as u8), Some(value_type));
        }
        assert_eq!(ValueType::from_number(14), None);
    }

    #[test]
    fn a_value_knows_whether_its_bytes_fit() {
        assert!(Value::from(1_i64).is_well_formed());
        assert!(!Value::new(ValueType::Int, vec![1]).is_well_formed());
        assert!(!Value::new(ValueType::Text, vec![0xff]).is_well_formed());
        assert!(!Value::new(ValueType::Bool, vec![2]).is_well_formed());
    }
}
