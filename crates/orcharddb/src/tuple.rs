//! Keys as tuples of parts, in the order-preserving encoding that FoundationDB and Deno share:
//! bytes < string < integer < number < false < true, and a tuple before every longer one it begins.
//!
//! The codec is `denokv_proto`'s; this module adds the forms people type. The engine never looks inside a key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
pub use denokv_proto::KeyPart;
use num_bigint::BigInt;
use orchard_types::{Key, LimitError};
use serde_json::Value as Json;
use std::fmt;

/// The text or JSON is not a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// The key is too long.
    Limit(LimitError),
    /// The JSON has a form that no part has.
    Form(String),
}

impl From<LimitError> for KeyError {
    fn from(error: LimitError) -> Self {
        KeyError::Limit(error)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyError::Limit(error) => error.fmt(f),
            KeyError::Form(detail) => write!(f, "not a key: {detail}"),
        }
    }
}

impl std::error::Error for KeyError {}

/// Whether a key is a name: one string or one bytes part. Those are the keys that Redis commands can name.
pub fn is_name(key: &[u8]) -> bool {
    const BYTES_OR_STRING: std::ops::RangeInclusive<u8> = 1..=2;
    let Some((_, rest)) = key.split_first().filter(|(kind, _)| BYTES_OR_STRING.contains(*kind)) else {
        return false;
    };
    let Some((&0, inside)) = rest.split_last() else { return false };
    if is_plain(inside) {
        return true;
    }
    // A zero inside is followed by 0xff; any other ends the part.
    let mut rest = inside;
    while let Some(zero) = rest.iter().position(|byte| *byte == 0) {
        match rest.get(zero + 1..) {
            Some([0xff, behind @ ..]) => rest = behind,
            _ => return false,
        }
    }
    true
}

/// What can be used as a key: a name (`"apple"`, one string part), bytes (one bytes part, or one string part if valid
/// UTF-8), a [`Key`] as it is, or a slice of [`KeyPart`]s.
pub trait IntoKey {
    /// # Errors
    /// [`KeyError`] if the key is too long.
    fn into_key(self) -> Result<Key, KeyError>;
}

impl IntoKey for Key {
    fn into_key(self) -> Result<Key, KeyError> {
        Ok(self)
    }
}

impl IntoKey for &Key {
    fn into_key(self) -> Result<Key, KeyError> {
        Ok(self.clone())
    }
}

impl IntoKey for &str {
    fn into_key(self) -> Result<Key, KeyError> {
        name(self.as_bytes())
    }
}

impl IntoKey for &String {
    fn into_key(self) -> Result<Key, KeyError> {
        name(self.as_bytes())
    }
}

impl IntoKey for String {
    fn into_key(self) -> Result<Key, KeyError> {
        name(self.as_bytes())
    }
}

impl IntoKey for &[u8] {
    fn into_key(self) -> Result<Key, KeyError> {
        name(self)
    }
}

impl<const N: usize> IntoKey for &[u8; N] {
    fn into_key(self) -> Result<Key, KeyError> {
        name(self)
    }
}

impl IntoKey for &[KeyPart] {
    fn into_key(self) -> Result<Key, KeyError> {
        encode(self)
    }
}

impl<const N: usize> IntoKey for [KeyPart; N] {
    fn into_key(self) -> Result<Key, KeyError> {
        encode(&self)
    }
}

impl IntoKey for Vec<KeyPart> {
    fn into_key(self) -> Result<Key, KeyError> {
        encode(&self)
    }
}

/// The one-part key of a bare name: a string part if valid UTF-8, else a bytes part.
///
/// # Errors
/// [`KeyError::Limit`] if it is too long.
pub fn name(name: &[u8]) -> Result<Key, KeyError> {
    // Exactly as much as is needed: more would be copied once more.
    let zeros = if is_plain(name) { 0 } else { name.iter().filter(|byte| **byte == 0).count() };
    let mut encoded = Vec::with_capacity(name.len() + zeros + 2);
    push_name(&mut encoded, name);
    Ok(Key::new(encoded)?)
}

/// Whether a name is ASCII without zeros, as most are; looks at many bytes at a time.
#[inline]
fn is_plain(name: &[u8]) -> bool {
    const WORD: usize = 8;
    let is_plain = |byte: &u8| (1..=0x7f).contains(byte);
    let (words, rest) = name.as_chunks::<WORD>();
    // The last word overlaps the one before it.
    let last = name.last_chunk::<WORD>();
    let Some(last) = last else { return rest.iter().fold(true, |plain, byte| plain & is_plain(byte)) };
    // A byte is plain if taking one from it borrows from nothing and leaves its top bit clear.
    let high = |word: &[u8; WORD]| {
        let word = u64::from_ne_bytes(*word);
        (word | word.wrapping_sub(u64::from_ne_bytes([1; WORD]))) & u64::from_ne_bytes([0x80; WORD])
    };
    words.iter().fold(high(last), |all, word| all | high(word)) == 0
}

/// Appends the bytes of the key of a bare name, whatever its length; see [`name`].
pub fn push_name(encoded: &mut Vec<u8>, name: &[u8]) {
    const BYTES_PART: u8 = 0x01;
    const STRING_PART: u8 = 0x02;
    encoded.reserve(name.len() + 2);
    if is_plain(name) {
        encoded.push(STRING_PART);
        encoded.extend_from_slice(name);
    } else {
        encoded.push(if std::str::from_utf8(name).is_ok() { STRING_PART } else { BYTES_PART });
        for byte in name {
            encoded.push(*byte);
            if *byte == 0 {
                encoded.push(0xff);
            }
        }
    }
    encoded.push(0);
}

/// The key of these parts.
///
/// # Errors
/// [`KeyError`] if it is too long, or an integer part has more than 255 bytes.
pub fn encode(parts: &[KeyPart]) -> Result<Key, KeyError> {
    Ok(Key::new(encode_bound(parts)?)?)
}

/// The bytes of these parts, as a bound of a range: not held against the limit of a key.
///
/// # Errors
/// [`KeyError::Form`] if an integer part has more than 255 bytes.
pub fn encode_bound(parts: &[KeyPart]) -> Result<Bytes, KeyError> {
    let encoded = denokv_proto::encode_key(&denokv_proto::Key(parts.to_vec()));
    encoded.map(Bytes::from).map_err(|error| KeyError::Form(error.to_string()))
}

/// The parts of a key, `None` if it is not a tuple.
pub fn decode(key: &[u8]) -> Option<Vec<KeyPart>> {
    denokv_proto::decode_key(key).ok().map(|key| key.0)
}

/// The name of a one-part string or bytes key, `None` for any other key.
pub fn decode_name(key: &[u8]) -> Option<Vec<u8>> {
    let mut parts = decode(key)?.into_iter();
    match (parts.next()?, parts.next()) {
        (KeyPart::String(text), None) => Some(text.into_bytes()),
        (KeyPart::Bytes(bytes), None) => Some(bytes),
        _ => None,
    }
}

fn form(json: &Json) -> KeyError {
    KeyError::Form(format!(
        "{json} is none of \"text\", 1.5, true, {{\"$int\": \"42\"}}, {{\"$bytes\": \"base64\"}}"
    ))
}

fn part_from_json(json: &Json) -> Result<KeyPart, KeyError> {
    match json {
        Json::String(text) => Ok(KeyPart::String(text.clone())),
        Json::Bool(false) => Ok(KeyPart::False),
        Json::Bool(true) => Ok(KeyPart::True),
        Json::Number(number) => number.as_f64().map(KeyPart::Float).ok_or_else(|| form(json)),
        Json::Object(object) if object.len() == 1 => match object.iter().next() {
            Some((tag, Json::String(text))) => match tag.as_str() {
                "$int" if text.len() <= 700 => {
                    text.parse::<BigInt>().map(KeyPart::Int).map_err(|_| form(json))
                }
                "$bytes" => BASE64.decode(text).map(KeyPart::Bytes).map_err(|_| form(json)),
                "$number" => match text.as_str() {
                    "NaN" => Ok(KeyPart::Float(f64::NAN)),
                    "-NaN" => Ok(KeyPart::Float(-f64::NAN)),
                    "Infinity" => Ok(KeyPart::Float(f64::INFINITY)),
                    "-Infinity" => Ok(KeyPart::Float(f64::NEG_INFINITY)),
                    _ => Err(form(json)),
                },
                _ => Err(form(json)),
            },
            _ => Err(form(json)),
        },
        _ => Err(form(json)),
    }
}

/// The parts that a JSON array describes: `["users", 42, true, {"$int": "42"}, {"$bytes": "AAE="}]`. A bare JSON string
/// is a name. Numbers that JSON has no form for are `{"$number": "NaN" | "-NaN" | "Infinity" | "-Infinity"}`, bytes that
/// are no tuple at all `{"$raw": "base64"}` (see [`key_from_json`]).
///
/// # Errors
/// [`KeyError::Form`] naming the part that is none.
pub fn parts_from_json(json: &Json) -> Result<Vec<KeyPart>, KeyError> {
    match json {
        Json::Array(parts) => parts.iter().map(part_from_json).collect(),
        Json::String(text) => Ok(vec![KeyPart::String(text.clone())]),
        other => Err(KeyError::Form(format!("{other} is not an array of parts"))),
    }
}

/// The key that `json` describes; see [`parts_from_json`].
///
/// # Errors
/// [`KeyError`]
pub fn key_from_json(json: &Json) -> Result<Key, KeyError> {
    Ok(Key::new(bound_from_json(json)?)?)
}

/// As [`key_from_json`], but not held against the limit of a key: for the bounds of ranges.
///
/// # Errors
/// [`KeyError::Form`]
pub fn bound_from_json(json: &Json) -> Result<Bytes, KeyError> {
    if let Json::Object(object) = json
        && object.len() == 1
        && let Some(Json::String(text)) = object.get("$raw")
    {
        return BASE64.decode(text).map(Bytes::from).map_err(|_| form(json));
    }
    encode_bound(&parts_from_json(json)?)
}

/// The JSON form of a key: an array of parts, or `{"$raw": "base64"}` for bytes that are no canonical tuple.
pub fn key_to_json(key: &[u8]) -> Json {
    let parts = decode(key).filter(|parts| encode_bound(parts).is_ok_and(|encoded| encoded == key));
    match parts {
        Some(parts) => Json::Array(parts.iter().map(part_to_json).collect()),
        None => raw_key_to_json(key),
    }
}

/// The JSON form `{"$raw": "base64"}` of any key: shorter where an array of its parts would be mostly escapes.
pub fn raw_key_to_json(key: &[u8]) -> Json {
    serde_json::json!({ "$raw": BASE64.encode(key) })
}

fn part_to_json(part: &KeyPart) -> Json {
    match part {
        KeyPart::Bytes(bytes) => serde_json::json!({ "$bytes": BASE64.encode(bytes) }),
        KeyPart::String(text) => Json::String(text.clone()),
        KeyPart::Int(int) => serde_json::json!({ "$int": int.to_string() }),
        KeyPart::Float(number) if number.is_finite() => float_to_json(*number),
        KeyPart::Float(number) => {
            let name = match (number.is_nan(), number.is_sign_negative()) {
                (true, false) => "NaN",
                (true, true) => "-NaN",
                (false, false) => "Infinity",
                (false, true) => "-Infinity",
            };
            serde_json::json!({ "$number": name })
        }
        KeyPart::False => Json::Bool(false),
        KeyPart::True => Json::Bool(true),
    }
}

/// A finite number as JSON; whole ones without a fraction (`42`, not `42.0`), except -0.
pub(crate) fn float_to_json(number: f64) -> Json {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT && !(number == 0.0 && number.is_sign_negative()) {
        Json::from(number as i64)
    } else {
        serde_json::Number::from_f64(number).map_or(Json::Null, Json::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = KeyPart> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..6).prop_map(KeyPart::Bytes),
            ".{0,6}".prop_map(KeyPart::String),
            any::<i128>().prop_map(|int| KeyPart::Int(BigInt::from(int))),
            any::<f64>().prop_map(KeyPart::Float),
            Just(KeyPart::False),
            Just(KeyPart::True),
        ]
    }

    proptest! {
        #[test]
        fn names_are_plain_byte_by_byte(mut name in prop::collection::vec(1..=0x7f_u8, 0..40), odd: u8, at: prop::sample::Index) {
            prop_assert!(is_plain(&name));
            if !name.is_empty() {
                let at = at.index(name.len());
                name[at] = odd;
                prop_assert_eq!(is_plain(&name), (1..=0x7f).contains(&odd));
            }
        }

        #[test]
        fn keys_survive_json(parts in prop::collection::vec(part(), 0..4)) {
            let key = encode(&parts).expect("short");
            let text = key_to_json(&key).to_string();
            let json = serde_json::from_str(&text).expect("it is JSON");
            prop_assert_eq!(key_from_json(&json).expect("a key"), key, "{}", text);
        }

        #[test]
        fn any_bytes_survive_json(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            prop_assert_eq!(bound_from_json(&key_to_json(&bytes)).expect("a key"), bytes);
        }

        #[test]
        fn order_of_bytes_is_order_of_parts(
            a in prop::collection::vec(part(), 0..3), b in prop::collection::vec(part(), 0..3),
        ) {
            let (key_a, key_b) = (encode(&a).expect("short"), encode(&b).expect("short"));
            prop_assert_eq!(key_a.cmp(&key_b), denokv_proto::Key(a).cmp(&denokv_proto::Key(b)));
        }

        #[test]
        fn a_name_is_a_one_part_key(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let key = name(&bytes).expect("short");
            let part = match String::from_utf8(bytes.clone()) {
                Ok(text) => KeyPart::String(text),
                Err(_) => KeyPart::Bytes(bytes.clone()),
            };
            prop_assert_eq!(encode(&[part]).expect("short"), key.clone());
            prop_assert_eq!(decode_name(&key), Some(bytes));
        }
    }
}
