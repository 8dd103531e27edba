//! What a hash, a set or a sorted set has in memory while it is open.

use super::layout::{self, Layout, Reader};
use super::named::Named;
use super::view::View;
use crate::error::Error;
use orchard_types::{Key, SpaceId, ValueType};

/// The elements of one value, or where those that are entries of their own stand.
#[derive(Debug, Clone)]
pub(super) enum State<T> {
    /// In the order of the type. None of them expires of its own.
    Packed(Vec<T>),
    Elements(Named),
}

impl<T> State<T> {
    /// Reads the collection under a key; `element` reads an element of a packed one.
    pub(super) fn open(
        view: &mut impl View,
        space: SpaceId,
        key: &Key,
        expected: ValueType,
        element: impl Fn(&mut Reader) -> Result<T, Error>,
    ) -> Result<State<T>, Error> {
        let Some(entry) = view.entry(space, key)? else { return Ok(State::Packed(Vec::new())) };
        match layout::open(&entry, expected)? {
            Layout::Packed(mut reader) => {
                let mut elements = Vec::new();
                while !reader.is_empty() {
                    elements.push(element(&mut reader)?);
                }
                Ok(State::Packed(elements))
            }
            Layout::Elements(id, count, rest) => Ok(State::Elements(Named::read(id, count, rest)?)),
        }
    }

    /// Number of elements that are there.
    pub(super) fn len(&self, view: &mut impl View) -> Result<u64, Error> {
        match self {
            State::Packed(elements) => Ok(elements.len() as u64),
            State::Elements(named) => named.len(view),
        }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self, view: &mut impl View) -> Result<bool, Error> {
        match self {
            State::Packed(elements) => Ok(elements.is_empty()),
            State::Elements(named) => named.is_empty(view),
        }
    }

    /// Whether nothing is at its key.
    pub(super) fn is_absent(&self) -> bool {
        matches!(self, State::Packed(elements) if elements.is_empty())
    }

    /// Whether it is one value.
    pub(super) fn is_packed(&self) -> bool {
        matches!(self, State::Packed(_))
    }
}
