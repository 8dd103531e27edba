//! Hashes: fields with values, which may expire one by one.

use super::layout;
use super::named::{Held, Named, is_kept, moment};
use super::state::{Element, State};
use super::view::View;
use crate::error::Error;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{Expiry, Key, SpaceId, UnixMillis, Value, ValueType, limits};

/// A field of a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: Bytes,
    /// Its value.
    pub value: Value,
    /// When it expires, if it does so of its own.
    pub expires_at: Option<UnixMillis>,
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
    state: State<(Bytes, Value)>,
}

impl<V: View> Hash<V> {
    pub(super) fn open(mut view: V, space: SpaceId, key: Key) -> Result<Hash<V>, Error> {
        let state = State::open(&mut view, space, &key, ValueType::Hash, |reader| {
            Ok((reader.name()?, reader.value()?))
        })?;
        Ok(Hash { view, space, key, state })
    }

    /// Number of fields. It costs the number of those that have expired and are not taken away yet.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn len(&mut self) -> Result<u64, Error> {
        self.state.len(&mut self.view)
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        self.state.is_empty(&mut self.view)
    }

    /// Whether nothing is at its key; a collection that has lost its last element is not there either.
    pub fn is_absent(&self) -> bool {
        self.state.is_absent()
    }

    /// Whether the hash is one value.
    pub fn is_packed(&self) -> bool {
        self.state.is_packed()
    }

    /// The value of a field.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get(&mut self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        Ok(self.get_expiring(field)?.map(|(value, _)| value))
    }

    /// The value of a field, and when the field expires, if it does so of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get_expiring(
        &mut self,
        field: impl AsRef<[u8]>,
    ) -> Result<Option<(Value, Option<UnixMillis>)>, Error> {
        let field = field.as_ref();
        match &self.state {
            State::Packed(fields) => {
                let found = fields.iter().find(|(name, _)| name.as_ref() == field);
                Ok(found.map(|(_, value)| (value.clone(), None)))
            }
            State::Elements(named) => {
                let now = self.view.time();
                Ok(named.held(&mut self.view, field)?.and_then(|held| held.at(now)))
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
        let fields = self.page_expiring(after, limit)?;
        Ok(fields.into_iter().map(|field| (field.name, field.value)).collect())
    }

    /// As [`Hash::page`], with the time at which each field expires of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page_expiring(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Field>, Error> {
        match &self.state {
            State::Packed(fields) => {
                let first = after.map_or(0, |after| {
                    let at = fields.iter().position(|(name, _)| name.as_ref() == after);
                    at.map_or(fields.len(), |at| at + 1)
                });
                let page = fields.iter().skip(first).take(limit).cloned();
                Ok(page.map(|(name, value)| Field { name, value, expires_at: None }).collect())
            }
            State::Elements(named) => {
                let page = named.page(&mut self.view, after, limit)?.into_iter();
                Ok(page.map(|(name, value, expires_at)| Field { name, value, expires_at }).collect())
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
            State::Elements(named) => named.random(&mut self.view, below),
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

    /// Writes fields; how many are new. They expire with the hash alone, also those that had an expiry of their own.
    ///
    /// # Errors
    /// As [`Hash::set`].
    pub fn extend(&mut self, fields: impl IntoIterator<Item = (Bytes, Value)>) -> Result<u64, Error> {
        let (mut added, mut changed) = (0, false);
        for (field, value) in fields {
            layout::check_value(&value)?;
            changed = true;
            match &mut self.state {
                State::Packed(fields) => {
                    match fields.iter_mut().find(|(name, _)| *name == field) {
                        Some((_, found)) => *found = value,
                        None => {
                            fields.push((field, value));
                            added += 1;
                        }
                    }
                    if fields.len() > limits::COLLECTION_PACKED_ELEMENTS_MAX {
                        self.save()?;
                    }
                }
                State::Elements(named) => {
                    if named.stays(&mut self.view, &field)? {
                        named.overwrite(self.view, &field, &value);
                        continue;
                    }
                    match named.held(&mut self.view, &field)? {
                        None => {
                            named.put(self.view, &field, &value, None);
                            added += 1;
                        }
                        Some(Held::Stays(_)) => named.overwrite(self.view, &field, &value),
                        Some(held) => {
                            named.remove(self.view, &field, &held);
                            named.put(self.view, &field, &value, None);
                            added += u64::from(held.at(self.view.now()).is_none());
                        }
                    }
                }
            }
        }
        if changed {
            self.save()?;
        }
        Ok(added)
    }

    /// Writes a field that expires of its own; whether it is new. [`Expiry::Keep`] keeps the expiry that the field has,
    /// [`Expiry::Never`] is [`Hash::set`]; one that has come already removes the field.
    ///
    /// A hash of which a field expires keeps its fields as entries of their own, however few they are.
    ///
    /// # Errors
    /// As [`Hash::set`].
    pub fn set_expiring(
        &mut self,
        field: impl Into<Bytes>,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<bool, Error> {
        let (field, value, now) = (field.into(), value.into(), self.view.now());
        layout::check_value(&value)?;
        let before = self.get_expiring(&field)?;
        let is_new = before.is_none();
        let at = moment(expiry, now, before.map(|(_, at)| at));
        let Some(at) = at else { return self.set(field, value) };
        if at <= now {
            self.remove(&field)?;
            return Ok(is_new);
        }
        let mut named = self.state.spread(self.view);
        if let Some(held) = named.held(&mut self.view, &field)? {
            named.remove(self.view, &field, &held);
        }
        named.put(self.view, &field, &value, Some(at));
        self.state = State::Elements(named);
        self.save()?;
        Ok(is_new)
    }

    /// Gives a field that is there an expiry of its own, or takes it away ([`Expiry::Never`]); whether it is there.
    ///
    /// ```
    /// use orcharddb::{Db, DurationMs, Expiry};
    /// let db = Db::memory()?;
    /// let session = db.hash("session:7");
    /// session.set("user", "ada")?;
    /// session.set("code", "1234")?;
    /// session.update(|session| session.expire("code", Expiry::After(DurationMs(60_000))))?;
    /// assert!(session.snapshot()?.get_expiring("code")?.is_some_and(|(_, expires_at)| expires_at.is_some()));
    /// session.update(|session| session.expire("code", Expiry::At(orcharddb::UnixMillis(1))))?;
    /// assert_eq!(session.get("code")?, None, "that was long ago");
    /// assert_eq!(session.len()?, 1);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn expire(&mut self, field: impl Into<Bytes>, expiry: Expiry) -> Result<bool, Error> {
        let field = field.into();
        let Some((value, at)) = self.get_expiring(&field)? else { return Ok(false) };
        if !is_kept(expiry, at) {
            self.set_expiring(field, value, expiry)?;
        }
        Ok(true)
    }

    /// Takes at most `limit` fields away that have expired; how many.
    pub(super) fn remove_expired(&mut self, limit: usize) -> Result<u64, Error> {
        self.state.remove_expired(self.view, (self.space, &self.key), limit)
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        self.state.save(self.view, (self.space, &self.key))
    }

    /// Removes a field and returns its value.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove(&mut self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        let field = field.as_ref();
        if let State::Packed(fields) = &mut self.state {
            let Some(at) = fields.iter().position(|(name, _)| name.as_ref() == field) else {
                return Ok(None);
            };
            let (_, value) = fields.remove(at);
            self.save()?;
            return Ok(Some(value));
        }
        let State::Elements(named) = &mut self.state else { return Ok(None) };
        let Some(held) = named.held(&mut self.view, field)? else { return Ok(None) };
        if !held.is_there(self.view.now()) {
            return Ok(None);
        }
        named.remove(self.view, field, &held);
        self.save()?;
        Ok(Some(held.value().clone()))
    }
}

impl Element for (Bytes, Value) {
    const COLLECTION: ValueType = ValueType::Hash;

    fn push(&self, packed: &mut Vec<u8>) {
        layout::push_name(packed, &self.0);
        layout::push_value(packed, &self.1);
    }

    fn put(&self, named: &mut Named, tx: &mut Transaction<'_>) {
        named.put(tx, &self.0, &self.1, None);
    }
}
