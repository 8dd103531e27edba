//! Sets: names, each once, which may expire one by one.

use super::layout;
use super::named::{Held, Named, is_kept, moment};
use super::state::{Element, State};
use super::view::View;
use crate::error::Error;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{Expiry, Key, SpaceId, UnixMillis, Value, ValueType, limits};

/// A member of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The member itself.
    pub name: Bytes,
    /// When it expires, if it does so of its own.
    pub expires_at: Option<UnixMillis>,
}

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

    /// Number of members. It costs the number of those that have expired and are not taken away yet.
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

    /// Whether the set is one value.
    pub fn is_packed(&self) -> bool {
        self.state.is_packed()
    }

    /// Whether `name` is a member.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn contains(&mut self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        Ok(self.lifetime(name.as_ref())?.is_some())
    }

    /// The member of this name, with the time at which it expires of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get_expiring(&mut self, name: impl AsRef<[u8]>) -> Result<Option<Member>, Error> {
        let name = name.as_ref();
        let found = self.lifetime(name)?;
        Ok(found.map(|expires_at| Member { name: Bytes::copy_from_slice(name), expires_at }))
    }

    /// When a member expires of its own; `None` if it is none.
    fn lifetime(&mut self, name: &[u8]) -> Result<Option<Option<UnixMillis>>, Error> {
        match &self.state {
            State::Packed(names) => {
                Ok(names.binary_search_by(|found| found.as_ref().cmp(name)).is_ok().then_some(None))
            }
            State::Elements(named) => {
                let now = self.view.time();
                let held = named.held_name(&mut self.view, name)?;
                Ok(held.and_then(|held| held.at(now)).map(|(_, at)| at))
            }
        }
    }

    /// At most `limit` members behind `after`, in an order that does not change (that of their bytes, long ones apart).
    /// Going on behind the last one of a page visits every member that stays exactly once.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Bytes>, Error> {
        Ok(self.page_expiring(after, limit)?.into_iter().map(|member| member.name).collect())
    }

    /// As [`Set::page`], with the time at which each member expires of its own.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn page_expiring(&mut self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Member>, Error> {
        match &self.state {
            State::Packed(names) => {
                let first = after.map_or(0, |after| names.partition_point(|name| name.as_ref() <= after));
                let page = names.iter().skip(first).take(limit).cloned();
                Ok(page.map(|name| Member { name, expires_at: None }).collect())
            }
            State::Elements(named) => {
                let page = named.page(&mut self.view, after, limit)?.into_iter();
                Ok(page.map(|(name, _, expires_at)| Member { name, expires_at }).collect())
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
            State::Elements(named) => Ok(named.random(&mut self.view, below)?.map(|(name, _)| name)),
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

    /// Adds members; how many were none. They expire with the set alone, also those that had an expiry of their own.
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn extend(&mut self, names: impl IntoIterator<Item = Bytes>) -> Result<u64, Error> {
        let (mut added, mut changed) = (0, false);
        for name in names {
            match &mut self.state {
                State::Packed(members) => {
                    let Err(at) = members.binary_search(&name) else { continue };
                    members.insert(at, name);
                    added += 1;
                    if members.len() > limits::COLLECTION_PACKED_ELEMENTS_MAX {
                        self.save()?;
                    }
                }
                State::Elements(named) => {
                    let now = self.view.now();
                    match named.held_name(&mut self.view, &name)? {
                        None => added += 1,
                        Some(Held::Stays(_)) => continue,
                        Some(held) => {
                            named.remove(self.view, &name, &held);
                            added += u64::from(held.at(now).is_none());
                        }
                    }
                    named.put(self.view, &name, &Value::null(), None);
                }
            }
            changed = true;
        }
        if changed {
            self.save()?;
        }
        Ok(added)
    }

    /// Adds a member that expires of its own, or changes when it does; whether it was none. [`Expiry::Keep`] keeps the
    /// expiry that the member has, [`Expiry::Never`] is [`Set::insert`]; one that has come already removes the member.
    ///
    /// A set of which a member expires keeps its members as entries of their own, however few they are.
    ///
    /// ```
    /// use orcharddb::{Db, DurationMs, Expiry};
    /// let db = Db::memory()?;
    /// let online = db.set("online");
    /// online.update(|online| online.insert_expiring("ada", Expiry::After(DurationMs(60_000))))?;
    /// assert!(online.contains("ada")?);
    /// online.update(|online| online.expire("ada", Expiry::At(orcharddb::UnixMillis(1))))?;
    /// assert!(!online.contains("ada")?, "that was long ago");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn insert_expiring(&mut self, name: impl Into<Bytes>, expiry: Expiry) -> Result<bool, Error> {
        let (name, now) = (name.into(), self.view.now());
        let before = self.lifetime(&name)?;
        let Some(at) = moment(expiry, now, before) else { return self.insert(name) };
        if at <= now {
            self.remove(&name)?;
            return Ok(before.is_none());
        }
        let mut named = self.state.spread(self.view);
        if let Some(held) = named.held_name(&mut self.view, &name)? {
            named.remove(self.view, &name, &held);
        }
        named.put(self.view, &name, &Value::null(), Some(at));
        self.state = State::Elements(named);
        self.save()?;
        Ok(before.is_none())
    }

    /// Gives a member an expiry of its own, or takes it away ([`Expiry::Never`]); whether it is one.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn expire(&mut self, name: impl Into<Bytes>, expiry: Expiry) -> Result<bool, Error> {
        let name = name.into();
        let Some(at) = self.lifetime(&name)? else { return Ok(false) };
        if !is_kept(expiry, at) {
            self.insert_expiring(name, expiry)?;
        }
        Ok(true)
    }

    /// Removes a member; whether it was one.
    ///
    /// # Errors
    /// As [`Set::insert`].
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        let name = name.as_ref();
        match &mut self.state {
            State::Packed(names) => {
                let Ok(at) = names.binary_search_by(|found| found.as_ref().cmp(name)) else {
                    return Ok(false);
                };
                names.remove(at);
            }
            State::Elements(named) => {
                let now = self.view.now();
                let Some(held) = named.held_name(&mut self.view, name)? else { return Ok(false) };
                if !held.is_there(now) {
                    return Ok(false);
                }
                named.remove(self.view, name, &held);
            }
        }
        self.save()?;
        Ok(true)
    }

    /// Takes at most `limit` members away that have expired; how many.
    pub(super) fn remove_expired(&mut self, limit: usize) -> Result<u64, Error> {
        self.state.remove_expired(self.view, (self.space, &self.key), limit)
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        self.state.save(self.view, (self.space, &self.key))
    }
}

impl Element for Bytes {
    const COLLECTION: ValueType = ValueType::Set;

    fn push(&self, packed: &mut Vec<u8>) {
        layout::push_name(packed, self);
    }

    fn put(&self, named: &mut Named, tx: &mut Transaction<'_>) {
        named.put(tx, self, &Value::null(), None);
    }
}
