//! Hashes: fields with values, which may expire one by one.

use super::expiring::{BY_NAME_EXPIRING, Element, Expiring};
use super::layout::{self, BY_NAME, Layout};
use super::random;
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{CollectionId, Expiry, Key, SpaceId, UnixMillis, Value, ValueType, limits};

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

#[derive(Debug, Clone)]
enum State {
    /// In the order in which the fields came.
    Packed(Vec<(Bytes, Value)>),
    /// The count includes fields that have expired and are not taken away yet.
    Elements(CollectionId, u64, Expiring),
}

/// What an elements layout holds of a field.
enum Held {
    Stays(Value),
    /// It may have expired.
    Expires(Element),
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
                Layout::Elements(id, count, mut rest) => {
                    State::Elements(id, count, Expiring::read(&mut rest)?)
                }
            },
        };
        Ok(Hash { view, space, key, state })
    }

    /// Number of fields. It costs the number of those that have expired and are not taken away yet.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn len(&mut self) -> Result<u64, Error> {
        match &self.state {
            State::Packed(fields) => Ok(fields.len() as u64),
            State::Elements(id, count, expiring) => {
                Ok(count.saturating_sub(expiring.expired(&mut self.view, *id)?))
            }
        }
    }

    /// Whether there are none.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn is_empty(&mut self) -> Result<bool, Error> {
        match &self.state {
            State::Packed(fields) => Ok(fields.is_empty()),
            State::Elements(id, count, expiring) => {
                Ok(*count <= expiring.count && !expiring.is_any_there(&mut self.view, *id)?)
            }
        }
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
        if let State::Packed(fields) = &self.state {
            let found = fields.iter().find(|(name, _)| name.as_ref() == field);
            return Ok(found.map(|(_, value)| (value.clone(), None)));
        }
        let now = self.view.time();
        Ok(match self.held(field)? {
            None => None,
            Some(Held::Stays(value)) => Some((value, None)),
            Some(Held::Expires(element)) => {
                Some((element.value, Some(element.at))).filter(|_| element.at > now)
            }
        })
    }

    /// What is stored under a field's name in the elements layout.
    fn held(&mut self, field: &[u8]) -> Result<Option<Held>, Error> {
        let State::Elements(id, _, expiring) = &self.state else { return Ok(None) };
        let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(field)]);
        match self.view.entry(SpaceId::ELEMENTS, &key)? {
            Some(entry) => Ok(Some(Held::Stays(layout::found(field, entry.value)?))),
            None => Ok(expiring.get(&mut self.view, *id, field)?.map(Held::Expires)),
        }
    }

    /// Whether a field is one that stays, as far as that can be told without looking at its value.
    fn stays(&mut self, id: CollectionId, field: &[u8]) -> Result<bool, Error> {
        let key = layout::key(id, &[&[BY_NAME], &layout::name_in_key(field)]);
        Ok(!layout::is_long(field) && self.view.has(SpaceId::ELEMENTS, &key)?)
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
            State::Elements(id, _, expiring) => {
                let after = after.map(layout::name_in_key);
                let range = match &after {
                    None => layout::family(*id, BY_NAME),
                    Some(name_in_key) => layout::family_behind(*id, BY_NAME, name_in_key),
                };
                let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
                let entries = self.view.entries(SpaceId::ELEMENTS, range, options)?;
                let stays =
                    entries.into_iter().map(|entry| (layout::behind_family(&entry.key), entry.value, None));
                let mut found: Vec<(Bytes, Value, Option<UnixMillis>)> = stays.collect();
                if expiring.count > 0 {
                    let expires = expiring.page(&mut self.view, *id, after.as_deref(), limit)?;
                    found.extend(
                        expires.into_iter().map(|(name, element)| (name, element.value, Some(element.at))),
                    );
                    found.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
                    found.truncate(limit);
                }
                let split = found.into_iter().map(|(name, value, expires_at)| {
                    let (name, value) = layout::split_element(name, value)?;
                    Ok(Field { name, value, expires_at })
                });
                split.collect()
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
            State::Elements(id, count, expiring) => {
                const TRIES: usize = 8;
                let (id, now) = (*id, self.view.time());
                let all = usize::try_from(*count).unwrap_or(usize::MAX);
                let stay = usize::try_from(count.saturating_sub(expiring.count)).unwrap_or(usize::MAX);
                if stay == all || below(all.max(1)) < stay {
                    let found = random::element(&mut self.view, id, BY_NAME, below)?;
                    let split = found
                        .map(|entry| layout::split_element(layout::behind_family(&entry.key), entry.value));
                    return split.transpose();
                }
                for _ in 0..TRIES {
                    let found = random::element(&mut self.view, id, BY_NAME_EXPIRING, &mut below)?;
                    let Some(entry) = found else { break };
                    let element = Element::of(entry.value)?;
                    if element.is_there(now) {
                        return layout::split_element(layout::behind_family(&entry.key), element.value)
                            .map(Some);
                    }
                }
                Ok(self.page(None, 1)?.pop())
            }
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
                State::Elements(id, ..) => {
                    let id = *id;
                    if self.stays(id, &field)? {
                        self.put_field(id, &field, &value);
                        continue;
                    }
                    let (is_new, is_more) = match self.held(&field)? {
                        None => (true, true),
                        Some(Held::Stays(_)) => (false, false),
                        Some(Held::Expires(element)) => {
                            self.drop_expiring(&field, element.at);
                            (!element.is_there(self.view.now()), true)
                        }
                    };
                    if let State::Elements(_, count, _) = &mut self.state {
                        *count += u64::from(is_more);
                    }
                    added += u64::from(is_new);
                    self.put_field(id, &field, &value);
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
        let at = match expiry {
            Expiry::Never => None,
            Expiry::At(at) => Some(at),
            Expiry::After(duration) => Some(now.saturating_add(duration)),
            Expiry::Keep => before.and_then(|(_, at)| at),
            Expiry::KeepOr(duration) => before.map_or(Some(now.saturating_add(duration)), |(_, at)| at),
        };
        let Some(at) = at else { return self.set(field, value) };
        if at <= now {
            self.remove(&field)?;
            return Ok(is_new);
        }
        let id = self.elements();
        match self.held(&field)? {
            None => {}
            Some(Held::Stays(_)) => self.drop_staying(&field),
            Some(Held::Expires(element)) => self.drop_expiring(&field, element.at),
        }
        if let State::Elements(_, count, expiring) = &mut self.state {
            *count += 1;
            expiring.put(self.view, id, &field, &value, at);
        }
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
        let stays_so =
            matches!(expiry, Expiry::Keep | Expiry::KeepOr(_)) || (expiry == Expiry::Never && at.is_none());
        if !stays_so {
            self.set_expiring(field, value, expiry)?;
        }
        Ok(true)
    }

    /// Takes at most `limit` fields away that have expired; how many.
    pub(super) fn remove_expired(&mut self, limit: usize) -> Result<u64, Error> {
        let State::Elements(id, count, expiring) = &mut self.state else { return Ok(0) };
        let removed = expiring.remove_expired(self.view, *id, limit)?;
        *count = count.saturating_sub(removed);
        self.save()?;
        Ok(removed)
    }

    /// The id of its elements layout, which it takes on if it has another.
    fn elements(&mut self) -> CollectionId {
        let fields = match &mut self.state {
            State::Elements(id, ..) => return *id,
            State::Packed(fields) => std::mem::take(fields),
        };
        let id = self.view.new_collection_id();
        fields.iter().for_each(|(name, value)| self.put_field(id, name, value));
        self.state = State::Elements(id, fields.len() as u64, Expiring::default());
        id
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

    /// Removes the element of a field that stays.
    fn drop_staying(&mut self, field: &[u8]) {
        if let State::Elements(id, count, _) = &mut self.state {
            *count = count.saturating_sub(1);
            let key = layout::key(*id, &[&[BY_NAME], &layout::name_in_key(field)]);
            self.view.delete_in(SpaceId::ELEMENTS, key);
        }
    }

    /// Removes the element of a field that expires at `at`, or has.
    fn drop_expiring(&mut self, field: &[u8], at: UnixMillis) {
        if let State::Elements(id, count, expiring) = &mut self.state {
            *count = count.saturating_sub(1);
            expiring.remove(self.view, *id, field, at);
        }
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
        let value = match self.held(field)? {
            Some(Held::Stays(value)) => {
                self.drop_staying(field);
                value
            }
            Some(Held::Expires(element)) if element.is_there(self.view.now()) => {
                self.drop_expiring(field, element.at);
                element.value
            }
            _ => return Ok(None),
        };
        self.save()?;
        Ok(Some(value))
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        if self.is_empty()? {
            if let State::Elements(id, _, expiring) = &mut self.state {
                expiring.forget_alarm(self.view, *id);
            }
            self.state = State::Packed(Vec::new());
            self.view.delete_in(self.space, self.key.clone());
            return Ok(());
        }
        if let State::Packed(fields) = &self.state {
            let mut bytes = layout::packed();
            for (name, value) in fields {
                layout::push_name(&mut bytes, name);
                layout::push_value(&mut bytes, value);
            }
            if layout::fits(fields.len(), &bytes) {
                self.put(bytes);
                return Ok(());
            }
            self.elements();
        }
        if let State::Elements(id, count, expiring) = &mut self.state {
            expiring.set_alarm(self.view, *id, (self.space, &self.key));
            let mut header = layout::header(*id, *count);
            expiring.push(&mut header);
            self.put(header);
        }
        Ok(())
    }

    fn put(&mut self, data: Vec<u8>) {
        let value = Value::new(ValueType::Hash, data);
        self.view.put_in(self.space, self.key.clone(), value, Expiry::Keep);
    }
}
