//! Collections: lists, hashes, sets and sorted sets as values of keys.
//!
//! - A collection of at most 128 elements and 4 KiB is one value. Past that its elements are entries of their own, and the
//!   key holds a short header with their count: an operation costs what it touches, not the collection.
//! - Whatever changes an element writes the header in the same commit, so versionstamp, expiry and checks of the key are
//!   the collection's.
//! - A collection that becomes empty is deleted. A deleted or replaced header leaves its elements to a background step;
//!   nobody sees them any more.
//! - It stays in entries of their own when it shrinks.

mod ahead;
mod chunks;
mod clean;
mod direct;
mod expiring;
mod export;
mod handle;
mod hash;
mod json;
mod layout;
mod list;
mod look;
mod named;
mod random;
mod set;
mod shown;
mod state;
mod step;
mod view;
mod zset;

pub use ahead::{ElementsAhead, MadeAhead};
pub use chunks::Chunks;
pub(crate) use clean::clean_expired;
pub use direct::{Place, Room};
pub use export::{Export, Exported};
pub use handle::{DbHash, DbList, DbSet, DbZSet};
pub use hash::{Field, Hash};
pub use json::{JsonLimits, to_json};
pub use list::{List, ListPages};
pub use look::{Elements, Found, Look, ZPage};
pub use set::{Member, Set};
pub use shown::{is_collection, shown, shown_in_list, shown_written};
pub use step::{Step, Stepped};
pub use view::View;
pub use zset::{Added, Scored, ScoredMember, ZRange, ZSet};

use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::tuple::IntoKey;
use orchard_types::{Key, SpaceId, UnixMillis, ValueType};

/// Generates the ways to a collection.
macro_rules! ways {
    ($(($name:ident, $name_in:ident, $type:ident)),*) => {
        impl<'a> Transaction<'a> {
            $(
                /// The collection of this type at a key of the default space.
                ///
                /// # Errors
                /// [`Error::Collection`] if the key holds something else.
                pub fn $name(&mut self, key: impl IntoKey) -> Result<$type<&mut Transaction<'a>>, Error> {
                    self.$name_in(SpaceId::DEFAULT, key.into_key()?)
                }

                /// The collection of this type at a key of any space.
                ///
                /// # Errors
                /// [`Error::Collection`] if the key holds something else.
                pub fn $name_in(
                    &mut self,
                    space: SpaceId,
                    key: Key,
                ) -> Result<$type<&mut Transaction<'a>>, Error> {
                    $type::open(self, space, key)
                }
            )*
        }

        impl Snapshot {
            $(
                /// The collection of this type at a key of the default space, as the snapshot shows it.
                ///
                /// # Errors
                /// [`Error::Collection`] if the key holds something else.
                pub fn $name(&self, key: impl IntoKey) -> Result<$type<Snapshot>, Error> {
                    self.$name_in(SpaceId::DEFAULT, key.into_key()?)
                }

                /// The collection of this type at a key of any space, as the snapshot shows it.
                ///
                /// # Errors
                /// [`Error::Collection`] if the key holds something else.
                pub fn $name_in(&self, space: SpaceId, key: Key) -> Result<$type<Snapshot>, Error> {
                    $type::open(self.clone(), space, key)
                }
            )*
        }
    };
}

ways!((list, list_in, List), (hash, hash_in, Hash), (set, set_in, Set), (zset, zset_in, ZSet));

impl Transaction<'_> {
    /// Copies whatever `from` holds, a collection with all of its elements, to `to`, with this expiry. `false` if `from` is
    /// absent. Costs what it copies.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Collection`]
    pub fn copy_in(
        &mut self,
        from: (SpaceId, &Key),
        to: (SpaceId, Key),
        expires_at: Option<UnixMillis>,
    ) -> Result<bool, Error> {
        let Some(entry) = self.entry_in(from.0, from.1)? else { return Ok(false) };
        let expiry = expires_at.map_or(orchard_types::Expiry::Never, orchard_types::Expiry::At);
        let mut value = entry.value;
        if let Some(id) = orchard_types::CollectionId::of_value(value.value_type, &value.data) {
            let new = self.new_collection_id();
            let range = orchard_types::KeyRange::prefix(id.as_ref());
            for element in self.scan_in(SpaceId::ELEMENTS, range, Default::default())? {
                let behind = element.key.get(id.as_ref().len()..).unwrap_or_default();
                let key = layout::key(new, &[behind]);
                let expiry =
                    element.expires_at.map_or(orchard_types::Expiry::Never, orchard_types::Expiry::At);
                self.put_in(SpaceId::ELEMENTS, key, element.value, expiry);
            }
            let mut header = value.data.to_vec();
            if let Some(place) = header.get_mut(1..=id.as_ref().len()) {
                place.copy_from_slice(new.as_ref());
            }
            value.data = header.into();
        }
        expiring::header_moved(self, &value, (to.0, &to.1))?;
        self.put_in(to.0, to.1, value, expiry);
        Ok(true)
    }

    /// Gives whatever `from` holds another key, with its expiry; what `to` held is replaced. `false` if `from` is absent.
    /// Of a collection the header moves, its elements stay where they are.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Collection`]
    pub fn move_in(&mut self, from: (SpaceId, Key), to: (SpaceId, Key)) -> Result<bool, Error> {
        let Some(entry) = self.entry_in(from.0, &from.1)? else { return Ok(false) };
        if from == to {
            return Ok(true);
        }
        let expiry = entry.expires_at.map_or(orchard_types::Expiry::Never, orchard_types::Expiry::At);
        expiring::header_moved(self, &entry.value, (to.0, &to.1))?;
        self.delete_in(from.0, from.1);
        self.put_in(to.0, to.1, entry.value, expiry);
        Ok(true)
    }
}

/// Whether an entry that a view has shown is a collection all of whose elements have expired: the background is about to
/// delete it.
///
/// # Errors
/// [`Error::Read`], [`Error::Collection`]
pub fn is_expired<V: View>(view: V, space: SpaceId, entry: &orchard_types::Entry) -> Result<bool, Error> {
    if !expiring::may_be_expired(&entry.value) {
        return Ok(false);
    }
    let key = entry.key.clone();
    match entry.value.value_type {
        ValueType::Set => Set::open(view, space, key)?.is_empty(),
        ValueType::ZSet => ZSet::open(view, space, key)?.is_empty(),
        _ => Hash::open(view, space, key)?.is_empty(),
    }
}

/// Number of elements of a value of a collection type, without reading them; `None` for other values.
pub fn count(value_type: ValueType, data: &bytes::Bytes) -> Option<u64> {
    if !value_type.is_collection() {
        return None;
    }
    let entry = orchard_types::Entry {
        key: Key::default(),
        value: orchard_types::Value { value_type, data: data.clone() },
        versionstamp: Default::default(),
        expires_at: None,
    };
    match layout::open(&entry, value_type).ok()? {
        layout::Layout::Elements(_, count, _) => Some(count),
        layout::Layout::Packed(mut reader) => {
            let mut count = 0;
            while !reader.is_empty() {
                match value_type {
                    ValueType::List => drop(reader.value().ok()?),
                    ValueType::Hash => drop((reader.name().ok()?, reader.value().ok()?)),
                    ValueType::Set => drop(reader.name().ok()?),
                    ValueType::ZSet => drop((reader.word().ok()?, reader.name().ok()?)),
                    _ => return None,
                }
                count += 1;
            }
            Some(count)
        }
    }
}
