//! What a set or a sorted set has in memory while it is open.

use super::layout::{self, Layout, Reader};
use super::view::View;
use crate::error::Error;
use orchard_types::{CollectionId, Key, SpaceId, ValueType};

/// The members of one value, or where those that are entries of their own stand and how many they are.
#[derive(Debug, Clone)]
pub(super) enum State<T> {
    /// In the order of the type.
    Packed(Vec<T>),
    Elements(CollectionId, u64),
}

impl<T> State<T> {
    /// Reads the collection under a key; `member` reads a member of a packed one.
    pub(super) fn open(
        view: &mut impl View,
        space: SpaceId,
        key: &Key,
        expected: ValueType,
        member: impl Fn(&mut Reader) -> Result<T, Error>,
    ) -> Result<State<T>, Error> {
        let Some(entry) = view.entry(space, key)? else { return Ok(State::Packed(Vec::new())) };
        match layout::open(&entry, expected)? {
            Layout::Packed(mut reader) => {
                let mut members = Vec::new();
                while !reader.is_empty() {
                    members.push(member(&mut reader)?);
                }
                Ok(State::Packed(members))
            }
            Layout::Elements(id, count, _) => Ok(State::Elements(id, count)),
        }
    }

    /// Number of members.
    pub(super) fn len(&self) -> u64 {
        match self {
            State::Packed(members) => members.len() as u64,
            State::Elements(_, count) => *count,
        }
    }

    /// Whether it is one value.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, State::Packed(_))
    }
}
