//! A whole collection in pieces of bounded size, from one snapshot, and a collection written piece by piece.

use super::list::ListPages;
use super::{Elements, Field, Hash, Scored, Set, ZPage, ZSet};
use crate::error::{CollectionError, Error};
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{Expiry, Key, SpaceId, Value, ValueType};
use std::collections::VecDeque;
use std::ops::Bound;

/// Elements of one piece.
const ELEMENTS: usize = 1_000;
/// A piece ends when it has so many bytes of values.
const VALUES_SIZE_BYTES: usize = 1024 * 1024;
/// Values read at once: few at first, since they may be large, and after large ones.
const READ_VALUES: (usize, usize) = (1, 64);

/// Elements with values that were read and not returned.
struct Ahead<T> {
    elements: VecDeque<T>,
    bytes: usize,
    pace: usize,
}

impl<T> Ahead<T> {
    fn new() -> Ahead<T> {
        Ahead { elements: VecDeque::new(), bytes: 0, pace: READ_VALUES.0 }
    }

    /// The next piece. `read` gives so many elements more, none at the end.
    fn piece(
        &mut self,
        size_bytes: impl Fn(&T) -> usize,
        mut read: impl FnMut(usize) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        while self.elements.len() < ELEMENTS && self.bytes < VALUES_SIZE_BYTES {
            let more = read(self.pace)?;
            if more.is_empty() {
                break;
            }
            let bytes: usize = more.iter().map(&size_bytes).sum();
            let is_large = bytes > VALUES_SIZE_BYTES / 8;
            self.pace = if is_large { READ_VALUES.0 } else { (self.pace * 2).min(READ_VALUES.1) };
            self.bytes += bytes;
            self.elements.extend(more);
        }
        let (mut piece, mut bytes) = (Vec::new(), 0);
        while piece.len() < ELEMENTS
            && bytes < VALUES_SIZE_BYTES
            && let Some(element) = self.elements.pop_front()
        {
            bytes += size_bytes(&element);
            piece.push(element);
        }
        self.bytes -= bytes;
        Ok(piece)
    }
}

enum State {
    List(ListPages<Snapshot>, Ahead<Value>),
    Hash(Hash<Snapshot>, Option<Bytes>, Ahead<Field>),
    Set(Set<Snapshot>, Option<Bytes>),
    ZSet(ZSet<Snapshot>, ZPage<f64>),
}

/// The elements of a collection in its order, piece by piece: a list by index, a sorted set by score, a hash and a set by
/// name (a hash of one value in the order in which its fields came).
pub struct Chunks {
    state: State,
    length: u64,
    read: u64,
}

impl Snapshot {
    /// The collection of this type at a key, piece by piece.
    ///
    /// # Errors
    /// [`Error::Collection`] if the key holds something else, or the type is no collection's; [`Error::Read`]
    pub fn chunks_in(&self, space: SpaceId, key: Key, value_type: ValueType) -> Result<Chunks, Error> {
        let (state, length) = match value_type {
            ValueType::List => {
                let pages = self.list_in(space, key)?.pages(0)?;
                let length = pages.length();
                (State::List(pages, Ahead::new()), length)
            }
            ValueType::Hash => {
                let mut hash = self.hash_in(space, key)?;
                let length = hash.len()?;
                (State::Hash(hash, None, Ahead::new()), length)
            }
            ValueType::Set => {
                let mut set = self.set_in(space, key)?;
                let length = set.len()?;
                (State::Set(set, None), length)
            }
            ValueType::ZSet => {
                let mut zset = self.zset_in(space, key)?;
                let (length, unbounded) = (zset.len()?, Bound::Unbounded);
                // A page reads one member more than its limit.
                let limit = ELEMENTS - 1;
                let page = ZPage { min: unbounded, max: unbounded, reverse: false, after: None, limit };
                (State::ZSet(zset, page), length)
            }
            found => return Err(CollectionError::WrongType { expected: ValueType::List, found }.into()),
        };
        Ok(Chunks { state, length, read: 0 })
    }
}

impl Chunks {
    /// Number of elements of the collection.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Number of elements that were returned.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The next elements; `None` at the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    #[expect(clippy::should_implement_trait, reason = "an iterator would go on behind an error")]
    pub fn next(&mut self) -> Result<Option<Elements>, Error> {
        let (elements, number) = match &mut self.state {
            State::List(pages, ahead) => {
                let values = ahead.piece(|value| value.data.len(), |number| pages.next(number))?;
                let number = values.len();
                (Elements::Values(values), number)
            }
            State::Hash(hash, after, ahead) => {
                let size_bytes = |field: &Field| field.name.len() + field.value.data.len();
                let fields = ahead.piece(size_bytes, |number| {
                    // A hash of one value is one page.
                    let limit = if hash.is_packed() { usize::MAX } else { number };
                    let read = hash.page_expiring(after.as_deref(), limit)?;
                    if let Some(last) = read.last() {
                        *after = Some(last.name.clone());
                    }
                    Ok(read)
                })?;
                let number = fields.len();
                (Elements::Fields(fields), number)
            }
            State::Set(set, after) => {
                let members = set.page_expiring(after.as_deref(), ELEMENTS)?;
                *after = members.last().map(|member| member.name.clone());
                let number = members.len();
                (Elements::Members(members), number)
            }
            State::ZSet(zset, page) => {
                let members = zset.page_by_score(page)?;
                page.after = members.last().cloned().map(Scored::from);
                let number = members.len();
                (Elements::Scored(members), number)
            }
        };
        self.read += number as u64;
        Ok((number > 0).then_some(elements))
    }
}

impl Transaction<'_> {
    /// Writes a piece of a collection as [`Chunks`] reads it, the `offset`th element first: at 0 it takes the place of
    /// whatever the key held. A piece written twice is there once. The expiry is that of the whole; what has expired by now
    /// is left out, so that of elements with names nobody can tell whether the pieces before it are there.
    ///
    /// # Errors
    /// [`Error::Collection`] if the pieces before it of a list are not there, or the elements are none; [`Error::Read`]
    pub fn put_chunk_in(
        &mut self,
        space: SpaceId,
        key: Key,
        offset: u64,
        elements: &Elements,
        expiry: Expiry,
    ) -> Result<u64, Error> {
        if offset == 0 {
            self.delete_in(space, key.clone());
        }
        if matches!(expiry, Expiry::At(moment) if moment <= self.now()) {
            return Ok(0);
        }
        // The pieces before may have expired meanwhile.
        let is_new = self.entry_in(space, &key)?.is_none();
        let length = self.extend_chunk(space, key.clone(), offset, elements)?;
        if is_new
            && expiry != Expiry::Never
            && let Some(entry) = self.entry_in(space, &key)?
        {
            self.put_in(space, key, entry.value, expiry);
        }
        Ok(length)
    }

    fn extend_chunk(
        &mut self,
        space: SpaceId,
        key: Key,
        offset: u64,
        elements: &Elements,
    ) -> Result<u64, Error> {
        match elements {
            Elements::Values(values) => {
                let mut list = self.list_in(space, key)?;
                if list.len() < offset {
                    let length = list.len();
                    let detail = format!("its element {offset} is to be written, and it has {length}");
                    return Err(CollectionError::Incomplete(detail).into());
                }
                if list.len() > offset {
                    list.trim(0, i64::try_from(offset).unwrap_or(i64::MAX) - 1)?;
                }
                list.extend(values.iter().cloned(), false)?;
                Ok(list.len())
            }
            Elements::Fields(fields) => {
                let mut hash = self.hash_in(space, key)?;
                let stay = fields.iter().filter(|field| field.expires_at.is_none());
                hash.extend(stay.map(|field| (field.name.clone(), field.value.clone())))?;
                for field in fields {
                    if let Some(at) = field.expires_at {
                        hash.set_expiring(field.name.clone(), field.value.clone(), Expiry::At(at))?;
                    }
                }
                hash.len()
            }
            Elements::Members(members) => {
                let mut set = self.set_in(space, key)?;
                let stay = members.iter().filter(|member| member.expires_at.is_none());
                set.extend(stay.map(|member| member.name.clone()))?;
                for member in members {
                    if let Some(at) = member.expires_at {
                        set.insert_expiring(member.name.clone(), Expiry::At(at))?;
                    }
                }
                set.len()
            }
            Elements::Scored(members) => {
                let mut zset = self.zset_in(space, key)?;
                let stay = members.iter().filter(|member| member.expires_at.is_none());
                zset.extend(stay.cloned().map(Scored::from))?;
                for member in members {
                    if let Some(at) = member.expires_at {
                        zset.insert_expiring(member.name.clone(), member.score, Expiry::At(at))?;
                    }
                }
                zset.len()
            }
        }
    }
}
