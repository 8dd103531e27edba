//! What a read asks for and what it answers.

use crate::key::{Key, KeyRange, SpaceId};
use crate::time::UnixMillis;
use crate::value::Value;
use crate::versionstamp::Versionstamp;

/// One entry as a read returns it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value; without bytes when only keys were asked for.
    pub value: Value,
    /// The commit that wrote it.
    pub versionstamp: Versionstamp,
    /// When it stops being visible.
    pub expires_at: Option<UnixMillis>,
}

/// One range of a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRead {
    /// Space of the range.
    pub space: SpaceId,
    /// The range.
    pub range: KeyRange,
    /// Most entries to return.
    pub limit: usize,
    /// From the last key down.
    pub reverse: bool,
    /// Leave the value bytes out.
    pub keys_only: bool,
}
