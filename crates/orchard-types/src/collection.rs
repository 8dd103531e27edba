//! What every layer has to know of a collection: its two layouts, and the id that ties elements to their header.
//!
//! - The first byte of a collection's value is its layout: packed (the elements follow) or a header (the id follows, then
//!   what the type keeps: count and the like). A header is shorter than [`HEADER_SIZE_BYTES_MAX`].
//! - Elements live in [`crate::SpaceId::ELEMENTS`] under the id followed by the element's own key.
//! - At most one key holds a header with a given id; when none does any more, the id is an orphan and its elements go.

use crate::value::ValueType;
use std::fmt;

/// Layout byte: all elements are in the value itself.
pub const LAYOUT_PACKED: u8 = 0;
/// Layout byte: the value is a header, the elements are entries of their own.
pub const LAYOUT_ELEMENTS: u8 = 1;
/// Length of a collection's id.
pub const COLLECTION_ID_SIZE_BYTES: usize = 10;
/// A header is shorter than this.
pub const HEADER_SIZE_BYTES_MAX: usize = 64;

/// Ties the elements of a collection to its header. Never given out twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CollectionId(pub [u8; COLLECTION_ID_SIZE_BYTES]);

impl CollectionId {
    /// The id that these bytes are; `None` if they have another length.
    pub fn from_slice(bytes: &[u8]) -> Option<CollectionId> {
        bytes.try_into().ok().map(CollectionId)
    }

    /// The id in the header that a value of type `value_type` is; `None` for every other value.
    pub fn of_value(value_type: ValueType, data: &[u8]) -> Option<CollectionId> {
        if !value_type.is_collection() || data.len() >= HEADER_SIZE_BYTES_MAX {
            return None;
        }
        match data.split_first() {
            Some((&LAYOUT_ELEMENTS, rest)) => CollectionId::from_slice(rest.get(..COLLECTION_ID_SIZE_BYTES)?),
            _ => None,
        }
    }
}

impl AsRef<[u8]> for CollectionId {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CollectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_header_has_an_id() {
        let header = [&[LAYOUT_ELEMENTS][..], &[7; 10], &[0; 8]].concat();
        assert_eq!(CollectionId::of_value(ValueType::Hash, &header), Some(CollectionId([7; 10])));
        assert_eq!(CollectionId::of_value(ValueType::Bytes, &header), None);
        assert_eq!(CollectionId::of_value(ValueType::Hash, &header[..10]), None);
        assert_eq!(CollectionId::of_value(ValueType::Hash, &[&header[..], &[0; 60]].concat()), None);
        assert_eq!(CollectionId::of_value(ValueType::Hash, &[&[LAYOUT_PACKED][..], &header].concat()), None);
    }
}
