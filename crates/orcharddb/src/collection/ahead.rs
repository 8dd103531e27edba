//! Keys of the elements that writes in a row will need, made before the commit lock is taken, so that their places are
//! fetched from memory together rather than one after another.
//!
//! - All of it is a hint: a collection may be another one by the time that it is written. A write takes a key from here only
//!   if it is the one that it would have made.

use super::direct::{HEAD_AT, TAIL_AT, word_at};
use super::layout::{self, BY_NAME};
use super::list::STRIDE;
use crate::db::Db;
use orchard_engine::direct::Hashed;
use orchard_engine::look::WarmKeys;
use orchard_types::collection::COLLECTION_ID_SIZE_BYTES;
use orchard_types::{CollectionId, SpaceId, ValueType};
use std::ops::Range;

/// What stands before an element's name in its flat key: the space of elements, which takes one byte, id and family.
const BEFORE_NAME: usize = 1 + COLLECTION_ID_SIZE_BYTES + 1;

/// See the module's text; kept by the caller, so that it allocates nothing.
#[derive(Default)]
pub struct ElementsAhead {
    keys: WarmKeys,
    /// The collection of the last request.
    last: Option<Collection>,
    last_key: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Collection {
    id: CollectionId,
    /// Of a list: the positions of its first and its last element.
    head: i64,
    tail: i64,
}

impl ElementsAhead {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.last_key.clear();
        self.last = None;
    }

    /// The elements that follow are those of another request, which writes the collection of this flat key.
    pub fn begin_request(&mut self, db: &Db, flat: &[u8]) {
        self.keys.begin_request();
        if self.last_key == flat {
            return;
        }
        self.last_key.clear();
        self.last_key.extend_from_slice(flat);
        let see = |value_type, data: &[u8]| {
            let id = CollectionId::of_value(value_type, data)?;
            let position = |at| if value_type == ValueType::List { word_at(data, at) as i64 } else { 0 };
            Some(Collection { id, head: position(HEAD_AT), tail: position(TAIL_AT) })
        };
        self.last = db.engine().hint(flat, see).flatten();
    }

    /// An element with a name.
    pub fn push_name(&mut self, name: &[u8]) {
        if let Some(Collection { id, .. }) = self.last
            && !layout::is_long(name)
        {
            self.keys.push_with(SpaceId::ELEMENTS, |flat| {
                flat.extend_from_slice(id.as_ref());
                flat.push(BY_NAME);
                flat.extend_from_slice(name);
            });
        }
    }

    /// The next element at the front or at the back of a list.
    pub fn push_end(&mut self, front: bool) {
        let Some(Collection { id, head, tail }) = &mut self.last else { return };
        let (end, stride) = if front { (head, -STRIDE) } else { (tail, STRIDE) };
        *end = end.wrapping_add(stride);
        let position = layout::position_bytes(*end);
        self.keys.push_with(SpaceId::ELEMENTS, |flat| {
            flat.extend_from_slice(id.as_ref());
            flat.extend_from_slice(&position);
        });
    }

    /// Elements so far.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Fetches their places. `in_order`: in the ordered index, too, where new ones at an end of a list lie together.
    pub fn fetch(&mut self, db: &Db, in_order: bool) {
        if in_order {
            db.engine().warm(&mut self.keys, true);
        } else {
            db.engine().warm_hashed(&mut self.keys);
        }
    }

    /// Those of a request, by its number.
    pub fn of_request(&self, request: usize) -> MadeAhead<'_> {
        MadeAhead { keys: Some(&self.keys), range: self.keys.of_request(request) }
    }
}

/// The elements made ahead for one write; none by default.
#[derive(Clone, Default)]
pub struct MadeAhead<'k> {
    keys: Option<&'k WarmKeys>,
    range: Range<usize>,
}

impl<'k> MadeAhead<'k> {
    /// The key at a place, whatever it is.
    #[inline]
    pub(super) fn at(&self, place: usize) -> Option<Hashed<'k>> {
        let number = self.range.start + place;
        self.keys?.get(number).filter(|_| number < self.range.end)
    }

    /// The key at a place, if it is that of the element of this name.
    #[inline]
    pub(super) fn named(&self, place: usize, id: CollectionId, name: &[u8]) -> Option<Hashed<'k>> {
        let key = self.at(place)?;
        let (before, rest) = key.key().split_first_chunk::<BEFORE_NAME>()?;
        let [_, of @ .., family] = before;
        (*of == id.0 && *family == BY_NAME && rest == name).then_some(key)
    }

    /// The key at a place, if it is that of the element at this position of a list.
    #[inline]
    pub(super) fn positioned(&self, place: usize, id: CollectionId, position: [u8; 8]) -> Option<Hashed<'k>> {
        let key = self.at(place)?;
        let (of, at) = key.key().get(1..)?.split_first_chunk()?;
        (*of == id.0 && at == position).then_some(key)
    }
}
