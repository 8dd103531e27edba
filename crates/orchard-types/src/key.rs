//! Keys: opaque ordered byte strings in numbered spaces.

use crate::error::LimitError;
use crate::limits;
use bytes::Bytes;
use std::fmt;
use std::ops::Deref;

/// A numbered part of the key space: a database, the collection elements, or the system's own entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct SpaceId(pub u32);

impl SpaceId {
    /// Database 0, the default.
    pub const DEFAULT: SpaceId = SpaceId(0);
    /// The elements of collections.
    pub const ELEMENTS: SpaceId = SpaceId(0xef);
    /// No database and no part of the system: always empty. What is read of a database that does not exist.
    pub const NOWHERE: SpaceId = SpaceId(0xffff_feff);
    /// Retry tokens.
    pub const TOKENS: SpaceId = SpaceId(0xffff_ff00);
    /// The names of databases.
    pub const NAMES: SpaceId = SpaceId(0xffff_ff01);
    /// Ids of collections whose header went.
    pub const ORPHANS: SpaceId = SpaceId(0xffff_ff02);
    /// Queues.
    pub const QUEUES: SpaceId = SpaceId(0xffff_ff03);
    /// Users.
    pub const USERS: SpaceId = SpaceId(0xffff_ff04);
    /// When elements of collections expire.
    pub const ALARMS: SpaceId = SpaceId(0xffff_ff05);

    /// Whether it is a user's database, rather than the system's.
    pub const fn is_database(self) -> bool {
        self.0 != SpaceId::ELEMENTS.0 && self.0 < SpaceId::NOWHERE.0
    }
}

/// An opaque ordered byte string of at most [`limits::KEY_SIZE_BYTES_MAX`] bytes.
///
/// ```
/// use orchard_types::Key;
/// let key = Key::new("apple")?;
/// assert_eq!(key.as_ref(), b"apple");
/// assert!(Key::new(vec![0; 2_049]).is_err());
/// # Ok::<(), orchard_types::LimitError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Bytes);

impl Key {
    /// # Errors
    /// [`LimitError`] if `bytes` is longer than [`limits::KEY_SIZE_BYTES_MAX`].
    pub fn new(bytes: impl Into<Bytes>) -> Result<Key, LimitError> {
        let bytes = bytes.into();
        LimitError::check("key_size_bytes", limits::KEY_SIZE_BYTES_MAX, bytes.len())?;
        Ok(Key(bytes))
    }

    /// The bytes of the key, shared.
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Key {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key(\"{}\")", self.0.escape_ascii())
    }
}

/// A half-open range of keys: `start <= key < end`; no `end` means to the end of the space.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct KeyRange {
    /// First key of the range.
    pub start: Bytes,
    /// First key behind the range, or none.
    pub end: Option<Bytes>,
}

impl KeyRange {
    /// Every key of a space.
    pub fn all() -> KeyRange {
        KeyRange::default()
    }

    /// From `start` up to but not including `end`.
    ///
    /// # Errors
    /// [`LimitError`] if a bound is longer than [`limits::READ_KEY_SIZE_BYTES_MAX`].
    pub fn new(start: impl Into<Bytes>, end: Option<Bytes>) -> Result<KeyRange, LimitError> {
        let range = KeyRange { start: start.into(), end };
        LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, range.start.len())?;
        if let Some(end) = &range.end {
            LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, end.len())?;
        }
        Ok(range)
    }

    /// Every key that starts with the bytes of `prefix`, itself included.
    ///
    /// ```
    /// use orchard_types::KeyRange;
    /// let range = KeyRange::prefix(b"ab");
    /// assert!(range.contains(b"ab") && range.contains(b"abc") && !range.contains(b"ac"));
    /// ```
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { start: Bytes::copy_from_slice(prefix), end: prefix_end(prefix) }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key >= self.start.as_ref() && self.end.as_ref().is_none_or(|end| key < end.as_ref())
    }

    /// Whether no key can lie in the range.
    pub fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
    }
}

/// The first byte string behind all that start with `prefix`; `None` if there is none (all bytes are 0xff).
pub fn prefix_end(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte != 0xff)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte += 1;
    }
    Some(Bytes::from(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn prefix_range_is_exactly_the_keys_with_the_prefix(
            prefix in prop::collection::vec(prop_oneof![Just(0xffu8), Just(0u8), any::<u8>()], 0..4),
            key in prop::collection::vec(prop_oneof![Just(0xffu8), Just(0u8), any::<u8>()], 0..6),
        ) {
            prop_assert_eq!(KeyRange::prefix(&prefix).contains(&key), key.starts_with(&prefix));
        }
    }

    #[test]
    fn long_keys_are_refused_with_limit_and_actual() {
        let error = Key::new(vec![0; 3_000]).expect_err("too long");
        assert_eq!((error.limit, error.actual), (2_048, 3_000));
        assert_eq!(error.to_string(), "key_size_bytes is 3000, over the limit of 2048");
    }
}
