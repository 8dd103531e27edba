//! How collections lie in entries.
//!
//! ```text
//! packed value   0, then the elements: list   type, length, bytes
//!                                      hash   length, name, type, length, bytes
//!                                      set    length, name                          in order of the names
//!                                      zset   score (8 bytes LE), length, name      in order of (score, name)
//! header         1, id (10 bytes), count (8 bytes LE); list: + head, tail (8 bytes LE each), 1 if evenly spaced;
//!                others: + what `expiring` keeps, if elements expire of their own
//! element key    id, then: list   position (8 bytes BE, sign flipped)
//!                          hash   0, name
//!                          set    0, name
//!                          zset   0, name -> score;  1, score (8 bytes, order-preserving), name -> nothing
//! ```
//!
//! Lengths are LEB128. A name longer than [`NAME_SIZE_BYTES_MAX`] is keyed by its beginning and the XXH3-128 of the whole
//! (Collet); the whole name then stands in front of the element's value, and is compared. Keys therefore order long
//! names by their beginning only.

use crate::error::{CollectionError, Error};
use bytes::Bytes;
use orchard_types::collection::{COLLECTION_ID_SIZE_BYTES, LAYOUT_ELEMENTS, LAYOUT_PACKED};
use orchard_types::{CollectionId, Entry, Key, KeyRange, Value, ValueType, limits};
use std::borrow::Cow;
use xxhash_rust::xxh3::xxh3_128;

/// Longest name of an element that is its key as it is.
pub(super) const NAME_SIZE_BYTES_MAX: usize = 2_000;
const HASH_SIZE_BYTES: usize = 16;

/// The family of elements keyed by name.
pub(super) const BY_NAME: u8 = 0;
/// The family of elements keyed by score and name.
pub(super) const BY_SCORE: u8 = 1;

const _: () = assert!(
    COLLECTION_ID_SIZE_BYTES + 1 + 8 + NAME_SIZE_BYTES_MAX + HASH_SIZE_BYTES <= limits::KEY_SIZE_BYTES_MAX
);

fn damaged(detail: &str) -> Error {
    CollectionError::Damaged(detail.to_owned()).into()
}

/// Appends `number` as LEB128.
pub(super) fn push_length(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    push_length(out, name.len());
    out.extend_from_slice(name);
}

pub(super) fn push_value(out: &mut Vec<u8>, value: &Value) {
    out.push(value.value_type as u8);
    push_name(out, &value.data);
}

/// Takes a packed value or a header apart.
pub(super) struct Reader {
    rest: Bytes,
}

impl Reader {
    pub(super) fn new(rest: Bytes) -> Reader {
        Reader { rest }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn rest(self) -> Bytes {
        self.rest
    }

    fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        if length > self.rest.len() {
            return Err(damaged("it ends in the middle of an element"));
        }
        Ok(self.rest.split_to(length))
    }

    pub(super) fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    pub(super) fn word(&mut self) -> Result<[u8; 8], Error> {
        self.take(8)?.as_ref().try_into().map_err(|_| damaged("it ends in the middle of a number"))
    }

    pub(super) fn name(&mut self) -> Result<Bytes, Error> {
        let mut length = 0usize;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return self.take(length);
            }
        }
        Err(damaged("an element's length has more than 35 bits"))
    }

    pub(super) fn value(&mut self) -> Result<Value, Error> {
        let value_type = ValueType::from_number(self.byte()?)
            .ok_or_else(|| damaged("an element's type is of a newer format"))?;
        Ok(Value { value_type, data: self.name()? })
    }
}

/// What the value of a collection begins with.
pub(super) enum Layout {
    /// The elements.
    Packed(Reader),
    /// Id, count, and what the type keeps beside them.
    Elements(CollectionId, u64, Reader),
}

/// Reads the beginning of a collection of type `expected`.
pub(super) fn open(entry: &Entry, expected: ValueType) -> Result<Layout, Error> {
    if entry.value.value_type != expected {
        return Err(CollectionError::WrongType { expected, found: entry.value.value_type }.into());
    }
    let mut reader = Reader::new(entry.value.data.clone());
    match reader.byte()? {
        LAYOUT_PACKED => Ok(Layout::Packed(reader)),
        LAYOUT_ELEMENTS => {
            let id = CollectionId::from_slice(&reader.take(COLLECTION_ID_SIZE_BYTES)?);
            let count = u64::from_le_bytes(reader.word()?);
            Ok(Layout::Elements(id.ok_or_else(|| damaged("it has no id"))?, count, reader))
        }
        other => Err(damaged(&format!("layout {other} is of a newer format"))),
    }
}

/// The beginning of a packed value.
pub(super) fn packed() -> Vec<u8> {
    vec![LAYOUT_PACKED]
}

/// The beginning of a header.
pub(super) fn header(id: CollectionId, count: u64) -> Vec<u8> {
    let mut header = Vec::with_capacity(40);
    header.push(LAYOUT_ELEMENTS);
    header.extend_from_slice(id.as_ref());
    header.extend_from_slice(&count.to_le_bytes());
    header
}

/// Whether so many elements in so many bytes are one value.
pub(super) fn fits(count: usize, packed: &[u8]) -> bool {
    count <= limits::COLLECTION_PACKED_ELEMENTS_MAX
        && packed.len() <= limits::COLLECTION_PACKED_SIZE_BYTES_MAX
}

/// Refuses elements that are collections, or too large to be entries.
pub(super) fn check_value(value: &Value) -> Result<(), Error> {
    if value.value_type.is_collection() {
        return Err(CollectionError::Nested(value.value_type).into());
    }
    Ok(orchard_types::LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?)
}

/// The key of an element, given the id and the parts behind it. Parts are short by construction.
pub(super) fn key(id: CollectionId, parts: &[&[u8]]) -> Key {
    let mut key =
        Vec::with_capacity(COLLECTION_ID_SIZE_BYTES + parts.iter().map(|part| part.len()).sum::<usize>());
    key.extend_from_slice(id.as_ref());
    parts.iter().for_each(|part| key.extend_from_slice(part));
    Key::new(key).unwrap_or_default()
}

/// What of a name stands in its key: all of it, or its beginning and a hash.
pub(super) fn name_in_key(name: &[u8]) -> Cow<'_, [u8]> {
    match name.get(..NAME_SIZE_BYTES_MAX) {
        Some(beginning) if name.len() > NAME_SIZE_BYTES_MAX => {
            Cow::Owned([beginning, &xxh3_128(name).to_be_bytes()].concat())
        }
        _ => Cow::Borrowed(name),
    }
}

/// Whether a name is too long to stand in its key, as is told from either.
pub(super) fn is_long(name: &[u8]) -> bool {
    name.len() > NAME_SIZE_BYTES_MAX
}

/// The value of an element: the whole name in front, if it is long.
pub(super) fn element(name: &[u8], value_type: ValueType, data: &[u8]) -> Value {
    if !is_long(name) {
        return Value::new(value_type, data.to_vec());
    }
    let mut bytes = Vec::with_capacity(name.len() + data.len() + 5);
    push_name(&mut bytes, name);
    bytes.extend_from_slice(data);
    Value::new(value_type, bytes)
}

/// Name and value of an element whose key ends in `name_in_key`.
pub(super) fn split_element(name_in_key: Bytes, value: Value) -> Result<(Bytes, Value), Error> {
    if !is_long(&name_in_key) {
        return Ok((name_in_key, value));
    }
    let mut reader = Reader::new(value.data);
    let name = reader.name()?;
    Ok((name, Value { value_type: value.value_type, data: reader.rest() }))
}

/// The value of the element found under a name's key; refuses another name with the same hash.
pub(super) fn found(name: &[u8], value: Value) -> Result<Value, Error> {
    if !is_long(name) {
        // The key is the name.
        return Ok(value);
    }
    let (found, value) = split_element(Bytes::from(name_in_key(name).into_owned()), value)?;
    if found != name {
        return Err(CollectionError::NameCollision.into());
    }
    Ok(value)
}

/// All elements of a family.
pub(super) fn family(id: CollectionId, family: u8) -> KeyRange {
    KeyRange::prefix(&[id.as_ref(), &[family]].concat())
}

/// The elements of a family behind the one with this key part.
pub(super) fn family_behind(id: CollectionId, of: u8, name_in_key: &[u8]) -> KeyRange {
    let start = [id.as_ref(), &[of], name_in_key, &[0]].concat();
    KeyRange { start: start.into(), end: family(id, of).end }
}

/// What stands behind id and family in an element's key.
pub(super) fn behind_family(key: &Key) -> Bytes {
    let bytes = key.clone().into_bytes();
    bytes.slice((COLLECTION_ID_SIZE_BYTES + 1).min(bytes.len())..)
}

/// 8 bytes that order as the numbers do; both zeros are one.
pub(super) fn score_bytes(score: f64) -> [u8; 8] {
    let bits = (score + 0.0).to_bits();
    let ordered = if bits >> 63 == 1 { !bits } else { bits | 1 << 63 };
    ordered.to_be_bytes()
}

/// The number that [`score_bytes`] gave.
pub(super) fn score_of(bytes: [u8; 8]) -> f64 {
    let ordered = u64::from_be_bytes(bytes);
    f64::from_bits(if ordered >> 63 == 1 { ordered & !(1 << 63) } else { !ordered })
}

/// 8 bytes that order as the positions do.
pub(super) fn position_bytes(position: i64) -> [u8; 8] {
    (position as u64 ^ 1 << 63).to_be_bytes()
}

/// The position that an element's key of a list holds.
pub(super) fn position_of(key: &Key) -> Result<i64, Error> {
    let bytes = key.get(COLLECTION_ID_SIZE_BYTES..).and_then(|bytes| bytes.try_into().ok());
    let bytes: [u8; 8] = bytes.ok_or_else(|| damaged("an element's key is no position"))?;
    Ok((u64::from_be_bytes(bytes) ^ 1 << 63) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn scores_and_positions_keep_their_order(a in any::<f64>(), b in any::<f64>(), p in any::<i64>(), q in any::<i64>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            let (a, b) = (a + 0.0, b + 0.0);
            prop_assert_eq!(a.total_cmp(&b), score_bytes(a).cmp(&score_bytes(b)));
            prop_assert_eq!(score_of(score_bytes(a)).to_bits(), a.to_bits());
            prop_assert_eq!(p.cmp(&q), position_bytes(p).cmp(&position_bytes(q)));
        }

        #[test]
        fn any_bytes_are_safe_to_read(data in prop::collection::vec(any::<u8>(), 0..80)) {
            let value = Value::new(ValueType::Hash, data);
            let entry = Entry {
                key: Key::default(), value, versionstamp: Default::default(), expires_at: None,
            };
            if let Ok(Layout::Packed(mut reader)) = open(&entry, ValueType::Hash) {
                while !reader.is_empty() && reader.name().is_ok() && reader.value().is_ok() {}
            }
        }
    }

    #[test]
    fn the_zeros_are_one_score() {
        assert_eq!(score_bytes(-0.0), score_bytes(0.0));
        assert!(score_bytes(f64::NEG_INFINITY) < score_bytes(f64::MIN));
    }

    #[test]
    fn long_names_are_kept_whole() -> Result<(), Error> {
        let name = vec![b'n'; 3_000];
        let value = element(&name, ValueType::Text, b"value");
        assert_eq!(found(&name, value.clone())?, Value::from("value"));
        let other = [&name[..], b"!"].concat();
        assert!(found(&other, value).is_err(), "it is another name");
        assert_eq!(name_in_key(&name).len(), NAME_SIZE_BYTES_MAX + HASH_SIZE_BYTES);
        Ok(())
    }
}
