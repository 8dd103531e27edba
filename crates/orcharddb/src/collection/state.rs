//! What a hash, a set or a sorted set has in memory while it is open.

use super::layout::{self, Layout, Reader};
use super::named::Named;
use super::view::View;
use crate::error::Error;
use crate::transaction::Transaction;
use orchard_types::{Expiry, Key, SpaceId, Value, ValueType};

/// The elements of one value, or where those that are entries of their own stand.
#[derive(Debug, Clone)]
pub(super) enum State<T> {
    /// In the order of the type. None of them expires of its own.
    Packed(Vec<T>),
    Elements(Named),
}

/// What hashes, sets and sorted sets write each in their own way.
pub(super) trait Element {
    /// The type of a collection of such elements.
    const COLLECTION: ValueType;

    /// Appends it to a packed collection.
    fn push(&self, packed: &mut Vec<u8>);

    /// Writes it as an entry of its own.
    fn put(&self, named: &mut Named, tx: &mut Transaction<'_>);
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

impl<T: Element> State<T> {
    /// Its elements layout, which it takes on if it has another.
    pub(super) fn spread(&mut self, tx: &mut Transaction<'_>) -> Named {
        let elements = match self {
            State::Elements(named) => return *named,
            State::Packed(elements) => std::mem::take(elements),
        };
        let mut named = Named::new(tx.new_collection_id());
        elements.iter().for_each(|element| element.put(&mut named, tx));
        *self = State::Elements(named);
        named
    }

    /// Takes at most `limit` elements away that have expired; how many.
    pub(super) fn remove_expired(
        &mut self,
        tx: &mut Transaction<'_>,
        place: (SpaceId, &Key),
        limit: usize,
    ) -> Result<u64, Error> {
        let State::Elements(named) = self else { return Ok(0) };
        let removed = named.remove_expired(tx, limit)?;
        self.save(tx, place)?;
        Ok(removed)
    }

    /// Writes value or header, whichever layout fits; the expiry stays. Without elements nothing is left.
    pub(super) fn save(
        &mut self,
        mut tx: &mut Transaction<'_>,
        (space, key): (SpaceId, &Key),
    ) -> Result<(), Error> {
        if self.is_empty(&mut tx)? {
            if let State::Elements(named) = self {
                named.forget(tx);
            }
            *self = State::Packed(Vec::new());
            tx.delete_in(space, key.clone());
            return Ok(());
        }
        let packed = match self {
            State::Packed(elements) => {
                let mut bytes = layout::packed();
                elements.iter().for_each(|element| element.push(&mut bytes));
                layout::fits(elements.len(), &bytes).then_some(bytes)
            }
            State::Elements(_) => None,
        };
        let data = match packed {
            Some(bytes) => bytes,
            None => {
                self.spread(tx);
                let State::Elements(named) = self else { return Ok(()) };
                named.header(tx, (space, key))
            }
        };
        tx.put_in(space, key.clone(), Value::new(T::COLLECTION, data), Expiry::Keep);
        Ok(())
    }
}
