//! Sets: names, each once.

use super::layout::{self, BY_NAME};
use super::random;
use super::state::State;
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{CollectionId, Expiry, Key, SpaceId, Value, ValueType};

/// A set, read through a snapshot or a transaction. It is absent exactly if it is empty.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// let fruit = db.set("fruit");
/// assert!(fruit.insert("apple")?);
/// assert!(!fruit.insert("apple")?, "it was there");
/// assert!(fruit.contains("apple")?);
/// assert_eq!(fruit.len()?, 1);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct Set<V> {
    view: V,
    space: SpaceId,
    key: Key,
    state: State<Bytes>,
}

impl<V: View> Set<V> {
    pub(super) fn open(mut view: V, space: SpaceId, key: Key) -> Result<Set<V>, Error> {
        let state = State::open(&mut view, space, &key, ValueType::Set, |reader| reader.name())?;
        Ok(Set { view, space, key, state })
    }

    /// Number of members.
    pub fn len(&self) -> u64 {
        self.state.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the set is one value.
    pub fn is_packed(&self) -> bool {
        self.state.is_packed()
    }

    /// Whether `name` is a member.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn contains(&mut self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        let name = name.as_ref();
        match &self.state {
            State::Packed(names) => Ok(names.binary_search_by(|found| found.as_ref().cmp(name)).is_ok()),
            State::Elements(id, _) => {
                let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(name)]);
                if !layout::is_long(name) {
                    return self.view.has(SpaceId::ELEMENTS, &key);
                }
                match self.view.entry(SpaceId::ELEMENTS, &key)? {
                    None => Ok(false),
                    Some(entry) => layout::found(name, entry.value).map(|_| true),
                }
            }
        }
    }

    /// At most `limit` members behind `after`, in an order that does not change (that of their bytes, long ones apart).
    /// Going on behind the last one of a page visits every member that stays exactly once.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Bytes>, Error> {
        match &self.state {
            State::Packed(names) => {
                let first = after.map_or(0, |after| names.partition_point(|name| name.as_ref() <= after));
                Ok(names.iter().skip(first).take(limit).cloned().collect())
            }
            State::Elements(id, _) => {
                let range = match after {
                    None => layout::family(*id, BY_NAME),
                    Some(name) => layout::family_behind(*id, BY_NAME, &layout::name_in_key(name)),
                };
                let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
                let entries = self.view.entries(SpaceId::ELEMENTS, range, options)?;
                let names = entries.into_iter().map(|entry| {
                    Ok(layout::split_element(layout::behind_family(&entry.key), entry.value)?.0)
                });
                names.collect()
            }
        }
    }

    /// A random member; `below(n)` gives a random number below n. Of a set with elements of its own it reads a few dozen, and
    /// chooses evenly where the names are numbered evenly.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn random(&mut self, mut below: impl FnMut(usize) -> usize) -> Result<Option<Bytes>, Error> {
        match &self.state {
            State::Packed(names) if names.is_empty() => Ok(None),
            State::Packed(names) => Ok(names.get(below(names.len())).cloned()),
            State::Elements(id, _) => random::element(&mut self.view, *id, BY_NAME, below)?
                .map(|entry| layout::split_element(layout::behind_family(&entry.key), entry.value))
                .transpose()
                .map(|found| found.map(|(name, _)| name)),
        }
    }

    /// All members.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn members(&mut self) -> Result<Vec<Bytes>, Error> {
        self.page(None, usize::MAX)
    }
}

impl Set<&mut Transaction<'_>> {
    /// Adds a member; whether it was not one.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Collection`]
    pub fn insert(&mut self, name: impl Into<Bytes>) -> Result<bool, Error> {
        Ok(self.extend([name.into()])? == 1)
    }

    /// Adds members; how many were none.
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn extend(&mut self, names: impl IntoIterator<Item = Bytes>) -> Result<u64, Error> {
        let before = self.len();
        for name in names {
            if self.contains(&name)? {
                continue;
            }
            match &mut self.state {
                State::Packed(members) => {
                    members.insert(members.partition_point(|member| *member < name), name);
                    if members.len() > orchard_types::limits::COLLECTION_PACKED_ELEMENTS_MAX {
                        self.save();
                    }
                }
                State::Elements(id, count) => {
                    *count += 1;
                    let id = *id;
                    self.put_member(id, &name);
                }
            }
        }
        let added = self.len() - before;
        if added > 0 {
            self.save();
        }
        Ok(added)
    }

    fn put_member(&mut self, id: CollectionId, name: &Bytes) {
        let key = layout::key(id, &[&[BY_NAME], &layout::name_in_key(name)]);
        let value = layout::element(name, ValueType::Null, &[]);
        self.view.put_in(SpaceId::ELEMENTS, key, value, Expiry::Never);
    }

    /// Removes a member; whether it was one.
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        let name = name.as_ref();
        if !self.contains(name)? {
            return Ok(false);
        }
        match &mut self.state {
            State::Packed(names) => names.retain(|member| member.as_ref() != name),
            State::Elements(id, count) => {
                *count -= 1;
                let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(name)]);
                self.view.delete_in(SpaceId::ELEMENTS, key);
            }
        }
        self.save();
        Ok(true)
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) {
        if self.is_empty() {
            self.state = State::Packed(Vec::new());
            self.view.delete_in(self.space, self.key.clone());
            return;
        }
        if let State::Packed(names) = &self.state {
            let mut bytes = layout::packed();
            names.iter().for_each(|name| layout::push_name(&mut bytes, name));
            if layout::fits(names.len(), &bytes) {
                return self.put(bytes);
            }
            let (id, names) = (self.view.new_collection_id(), names.clone());
            names.iter().for_each(|name| self.put_member(id, name));
            self.state = State::Elements(id, names.len() as u64);
        }
        if let State::Elements(id, count) = &self.state {
            self.put(layout::header(*id, *count));
        }
    }

    fn put(&mut self, data: Vec<u8>) {
        let value = Value::new(ValueType::Set, data);
        self.view.put_in(self.space, self.key.clone(), value, Expiry::Keep);
    }
}
