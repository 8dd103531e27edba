//! Hashes: fields with values.

use super::layout::{self, BY_NAME, Layout};
use super::random;
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{CollectionId, Expiry, Key, SpaceId, Value, ValueType, limits};

#[derive(Debug, Clone)]
enum State {
    /// In the order in which the fields came.
    Packed(Vec<(Bytes, Value)>),
    Elements(CollectionId, u64),
}

/// A hash, read through a snapshot or a transaction. It is absent exactly if it is empty.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// db.transact(|tx| {
///     let mut ada = tx.hash("user:ada")?;
///     ada.set("name", "Ada")?;
///     ada.set("born", 1815_i64)?;
///     Ok(())
/// })?;
/// assert_eq!(db.hash("user:ada").get("born")?, Some(1815_i64.into()));
/// assert_eq!(db.hash("user:ada").len()?, 2);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct Hash<V> {
    view: V,
    space: SpaceId,
    key: Key,
    state: State,
}

impl<V: View> Hash<V> {
    pub(super) fn open(mut view: V, space: SpaceId, key: Key) -> Result<Hash<V>, Error> {
        let state = match view.entry(space, &key)? {
            None => State::Packed(Vec::new()),
            Some(entry) => match layout::open(&entry, ValueType::Hash)? {
                Layout::Packed(mut reader) => {
                    let mut fields = Vec::new();
                    while !reader.is_empty() {
                        fields.push((reader.name()?, reader.value()?));
                    }
                    State::Packed(fields)
                }
                Layout::Elements(id, count, _) => State::Elements(id, count),
            },
        };
        Ok(Hash { view, space, key, state })
    }

    /// Number of fields.
    pub fn len(&self) -> u64 {
        match &self.state {
            State::Packed(fields) => fields.len() as u64,
            State::Elements(_, count) => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the hash is one value.
    pub fn is_packed(&self) -> bool {
        matches!(self.state, State::Packed(_))
    }

    /// The value of a field.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get(&mut self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let field = field.as_ref();
        match &self.state {
            State::Packed(fields) => {
                let found = fields.iter().find(|(name, _)| name.as_ref() == field);
                Ok(found.map(|(_, value)| value.clone()))
            }
            State::Elements(id, _) => {
                let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(field)]);
                let entry = self.view.entry(SpaceId::ELEMENTS, &key)?;
                entry.map(|entry| layout::found(field, entry.value)).transpose()
            }
        }
    }

    /// Whether a field is there.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn contains(&mut self, field: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.get(field)?.is_some())
    }

    /// At most `limit` fields behind the field `after`, in an order that does not change (once the hash is no longer one
    /// value, that of their names' bytes, long ones apart). Going on behind the last one of a page visits every field
    /// that stays exactly once. A hash of one value is one page.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<(Bytes, Value)>, Error> {
        match &self.state {
            State::Packed(fields) => {
                let first = after.map_or(0, |after| {
                    let at = fields.iter().position(|(name, _)| name.as_ref() == after);
                    at.map_or(fields.len(), |at| at + 1)
                });
                Ok(fields.iter().skip(first).take(limit).cloned().collect())
            }
            State::Elements(id, _) => {
                let range = match after {
                    None => layout::family(*id, BY_NAME),
                    Some(name) => layout::family_behind(*id, BY_NAME, &layout::name_in_key(name)),
                };
                let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
                let entries = self.view.entries(SpaceId::ELEMENTS, range, options)?;
                let split = |entry: orchard_types::Entry| {
                    layout::split_element(layout::behind_family(&entry.key), entry.value)
                };
                entries.into_iter().map(split).collect()
            }
        }
    }

    /// A random field; `below(n)` gives a random number below n. Of a hash with elements of its own it reads a few dozen, and
    /// chooses evenly where the names are numbered evenly.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn random(&mut self, mut below: impl FnMut(usize) -> usize) -> Result<Option<(Bytes, Value)>, Error> {
        match &self.state {
            State::Packed(fields) if fields.is_empty() => Ok(None),
            State::Packed(fields) => Ok(fields.get(below(fields.len())).cloned()),
            State::Elements(id, _) => random::element(&mut self.view, *id, BY_NAME, below)?
                .map(|entry| layout::split_element(layout::behind_family(&entry.key), entry.value))
                .transpose(),
        }
    }

    /// All fields with their values.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn fields(&mut self) -> Result<Vec<(Bytes, Value)>, Error> {
        self.page(None, usize::MAX)
    }
}

impl Hash<&mut Transaction<'_>> {
    /// Writes a field; whether it is new.
    ///
    /// # Errors
    /// [`Error::Collection`] if the value is a collection itself, [`Error::Read`]
    pub fn set(&mut self, field: impl Into<Bytes>, value: impl Into<Value>) -> Result<bool, Error> {
        Ok(self.extend([(field.into(), value.into())])? == 1)
    }

    /// Writes fields; how many are new.
    ///
    /// # Errors
    /// As [`Hash::set`].
    pub fn extend(&mut self, fields: impl IntoIterator<Item = (Bytes, Value)>) -> Result<u64, Error> {
        let before = self.len();
        let mut changed = false;
        for (field, value) in fields {
            layout::check_value(&value)?;
            changed = true;
            match &mut self.state {
                State::Packed(fields) => {
                    match fields.iter_mut().find(|(name, _)| *name == field) {
                        Some((_, found)) => *found = value,
                        None => fields.push((field, value)),
                    }
                    if fields.len() > limits::COLLECTION_PACKED_ELEMENTS_MAX {
                        self.save();
                    }
                }
                State::Elements(id, _) => {
                    let id = *id;
                    let is_new = self.get(&field)?.is_none();
                    if let State::Elements(_, count) = &mut self.state {
                        *count += u64::from(is_new);
                    }
                    self.put_field(id, &field, &value);
                }
            }
        }
        if changed {
            self.save();
        }
        Ok(self.len() - before)
    }

    fn put_field(&mut self, id: CollectionId, field: &Bytes, value: &Value) {
        let key = layout::key(id, &[&[BY_NAME], &layout::name_in_key(field)]);
        let value = if field.len() > layout::NAME_SIZE_BYTES_MAX {
            layout::element(field, value.value_type, &value.data)
        } else {
            value.clone()
        };
        self.view.put_in(SpaceId::ELEMENTS, key, value, Expiry::Never);
    }

    /// Removes a field and returns its value.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove(&mut self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let field = field.as_ref();
        let found = self.get(field)?;
        if found.is_none() {
            return Ok(None);
        }
        match &mut self.state {
            State::Packed(fields) => fields.retain(|(name, _)| name.as_ref() != field),
            State::Elements(id, count) => {
                *count -= 1;
                let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(field)]);
                self.view.delete_in(SpaceId::ELEMENTS, key);
            }
        }
        self.save();
        Ok(found)
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) {
        if self.is_empty() {
            self.state = State::Packed(Vec::new());
            self.view.delete_in(self.space, self.key.clone());
            return;
        }
        if let State::Packed(fields) = &self.state {
            let mut bytes = layout::packed();
            for (name, value) in fields {
                layout::push_name(&mut bytes, name);
                layout::push_value(&mut bytes, value);
            }
            if layout::fits(fields.len(), &bytes) {
                return self.put(bytes);
            }
            let (id, fields) = (self.view.new_collection_id(), fields.clone());
            fields.iter().for_each(|(name, value)| self.put_field(id, name, value));
            self.state = State::Elements(id, fields.len() as u64);
        }
        if let State::Elements(id, count) = &self.state {
            self.put(layout::header(*id, *count));
        }
    }

    fn put(&mut self, data: Vec<u8>) {
        let value = Value::new(ValueType::Hash, data);
        self.view.put_in(self.space, self.key.clone(), value, Expiry::Keep);
    }
}
