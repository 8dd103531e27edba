//! Elements with names, as entries of their own: those that stay, and those that expire one by one.
//!
//! The count includes what has expired and is not taken away yet; every look judges by the time of its view.

use super::expiring::{BY_NAME_EXPIRING, Element, Expiring};
use super::layout::{self, BY_NAME, Reader};
use super::random;
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{CollectionId, Expiry, Key, SpaceId, UnixMillis, Value};

/// Where the elements of a collection stand, and how many they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Named {
    pub(super) id: CollectionId,
    count: u64,
    expiring: Expiring,
}

/// An element that a view shows: its name, what it holds, and when it expires if it does so of its own.
pub(super) type Shown = (Bytes, Value, Option<UnixMillis>);

/// What is stored under a name.
pub(super) enum Held {
    Stays(Value),
    /// It may have expired.
    Expires(Element),
}

impl Held {
    /// Whether it is there at a time.
    pub(super) fn is_there(&self, now: UnixMillis) -> bool {
        match self {
            Held::Stays(_) => true,
            Held::Expires(element) => element.is_there(now),
        }
    }

    /// What it holds, though it may have expired.
    pub(super) fn value(&self) -> &Value {
        match self {
            Held::Stays(value) => value,
            Held::Expires(element) => &element.value,
        }
    }

    /// What of it is there at a time.
    pub(super) fn at(self, now: UnixMillis) -> Option<(Value, Option<UnixMillis>)> {
        match self {
            Held::Stays(value) => Some((value, None)),
            Held::Expires(element) => element.is_there(now).then_some((element.value, Some(element.at))),
        }
    }
}

impl Named {
    /// None yet.
    pub(super) fn new(id: CollectionId) -> Named {
        Named { id, count: 0, expiring: Expiring::default() }
    }

    /// As a header has it.
    pub(super) fn read(id: CollectionId, count: u64, mut rest: Reader) -> Result<Named, Error> {
        Ok(Named { id, count, expiring: Expiring::read(&mut rest)? })
    }

    /// Number of those that are there. It costs the number of those that have expired and are not taken away yet.
    pub(super) fn len(&self, view: &mut impl View) -> Result<u64, Error> {
        Ok(self.count.saturating_sub(self.expiring.expired(view, self.id)?))
    }

    /// Whether none is there.
    pub(super) fn is_empty(&self, view: &mut impl View) -> Result<bool, Error> {
        Ok(self.count <= self.expiring.count && !self.expiring.is_any_there(view, self.id)?)
    }

    /// Whether any element expires of its own.
    pub(super) fn any_expires(&self) -> bool {
        self.expiring.count > 0
    }

    fn staying_key(&self, name: &[u8]) -> Key {
        layout::key(self.id, &[&[BY_NAME], &layout::name_in_key(name)])
    }

    /// What is stored under a name.
    pub(super) fn held(&self, view: &mut impl View, name: &[u8]) -> Result<Option<Held>, Error> {
        match view.entry(SpaceId::ELEMENTS, &self.staying_key(name))? {
            Some(entry) => Ok(Some(Held::Stays(layout::found(name, entry.value)?))),
            None => Ok(self.expiring.get(view, self.id, name)?.map(Held::Expires)),
        }
    }

    /// As [`Named::held`], without the value of one that stays if that need not be read.
    pub(super) fn held_name(&self, view: &mut impl View, name: &[u8]) -> Result<Option<Held>, Error> {
        if layout::is_long(name) {
            return self.held(view, name);
        }
        if view.has(SpaceId::ELEMENTS, &self.staying_key(name))? {
            return Ok(Some(Held::Stays(Value::null())));
        }
        Ok(self.expiring.get(view, self.id, name)?.map(Held::Expires))
    }

    /// Whether a name is one that stays, as far as that can be told without looking at its value.
    pub(super) fn stays(&self, view: &mut impl View, name: &[u8]) -> Result<bool, Error> {
        Ok(!layout::is_long(name) && view.has(SpaceId::ELEMENTS, &self.staying_key(name))?)
    }

    /// At most `limit` elements behind the name `after`, in the order of their names in keys.
    pub(super) fn page(
        &self,
        view: &mut impl View,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Shown>, Error> {
        let after = after.map(layout::name_in_key);
        let range = match &after {
            None => layout::family(self.id, BY_NAME),
            Some(name_in_key) => layout::family_behind(self.id, BY_NAME, name_in_key),
        };
        let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
        let entries = view.entries(SpaceId::ELEMENTS, range, options)?;
        let stays = entries.into_iter().map(|entry| (layout::behind_family(&entry.key), entry.value, None));
        let mut found: Vec<Shown> = stays.collect();
        if self.any_expires() {
            let expires = self.expiring.page(view, self.id, after.as_deref(), limit)?;
            found.extend(expires.into_iter().map(|(name, element)| (name, element.value, Some(element.at))));
            found.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
            found.truncate(limit);
        }
        let split = found.into_iter().map(|(name, value, expires_at)| {
            let (name, value) = layout::split_element(name, value)?;
            Ok((name, value, expires_at))
        });
        split.collect()
    }

    /// A random element; `below(n)` gives a random number below n. It reads a few dozen, and chooses evenly where the names
    /// are numbered evenly.
    pub(super) fn random(
        &self,
        view: &mut impl View,
        mut below: impl FnMut(usize) -> usize,
    ) -> Result<Option<(Bytes, Value)>, Error> {
        const TRIES: usize = 8;
        let now = view.time();
        let all = usize::try_from(self.count).unwrap_or(usize::MAX);
        let stay = usize::try_from(self.count.saturating_sub(self.expiring.count)).unwrap_or(usize::MAX);
        if stay == all || below(all.max(1)) < stay {
            let found = random::element(view, self.id, BY_NAME, below)?;
            let split =
                found.map(|entry| layout::split_element(layout::behind_family(&entry.key), entry.value));
            return split.transpose();
        }
        for _ in 0..TRIES {
            let found = random::element(view, self.id, BY_NAME_EXPIRING, &mut below)?;
            let Some(entry) = found else { break };
            let element = Element::of(entry.value)?;
            if element.is_there(now) {
                return layout::split_element(layout::behind_family(&entry.key), element.value).map(Some);
            }
        }
        Ok(self.page(view, None, 1)?.pop().map(|(name, value, _)| (name, value)))
    }

    /// Writes an element whose name is not held.
    pub(super) fn put(
        &mut self,
        tx: &mut Transaction<'_>,
        name: &[u8],
        value: &Value,
        at: Option<UnixMillis>,
    ) {
        self.count += 1;
        match at {
            None => self.overwrite(tx, name, value),
            Some(at) => self.expiring.put(tx, self.id, name, value, at),
        }
    }

    /// Writes an element in place of one that stays.
    pub(super) fn overwrite(&self, tx: &mut Transaction<'_>, name: &[u8], value: &Value) {
        let value = match layout::is_long(name) {
            true => layout::element(name, value.value_type, &value.data),
            false => value.clone(),
        };
        tx.put_in(SpaceId::ELEMENTS, self.staying_key(name), value, Expiry::Never);
    }

    /// Removes what is held under a name.
    pub(super) fn remove(&mut self, tx: &mut Transaction<'_>, name: &[u8], held: &Held) {
        match held {
            Held::Stays(_) => self.remove_staying(tx, name),
            Held::Expires(element) => {
                self.count = self.count.saturating_sub(1);
                self.expiring.remove(tx, self.id, name, element.at);
            }
        }
    }

    /// Removes an element that stays.
    pub(super) fn remove_staying(&mut self, tx: &mut Transaction<'_>, name: &[u8]) {
        self.count = self.count.saturating_sub(1);
        tx.delete_in(SpaceId::ELEMENTS, self.staying_key(name));
    }

    /// Takes at most `limit` elements away that have expired; how many.
    pub(super) fn remove_expired(&mut self, tx: &mut Transaction<'_>, limit: usize) -> Result<u64, Error> {
        let removed = self.expiring.remove_expired(tx, self.id, limit)?;
        self.count = self.count.saturating_sub(removed);
        Ok(removed)
    }

    /// The header, which is about to be written under `place`.
    pub(super) fn header(&mut self, tx: &mut Transaction<'_>, place: (SpaceId, &Key)) -> Vec<u8> {
        self.expiring.set_alarm(tx, self.id, place);
        let mut header = layout::header(self.id, self.count);
        self.expiring.push(&mut header);
        header
    }

    /// The collection is deleted.
    pub(super) fn forget(&mut self, tx: &mut Transaction<'_>) {
        self.expiring.forget_alarm(tx, self.id);
    }
}

/// When an element expires of its own that is written with `expiry` and had `before`; `None`: with its collection.
pub(super) fn moment(
    expiry: Expiry,
    now: UnixMillis,
    before: Option<Option<UnixMillis>>,
) -> Option<UnixMillis> {
    match expiry {
        Expiry::Never => None,
        Expiry::At(at) => Some(at),
        Expiry::After(duration) => Some(now.saturating_add(duration)),
        Expiry::Keep => before.flatten(),
        Expiry::KeepOr(duration) => before.unwrap_or(Some(now.saturating_add(duration))),
    }
}

/// Whether an element that expires at `before` does so with `expiry`, too, whenever that is.
pub(super) fn is_kept(expiry: Expiry, before: Option<UnixMillis>) -> bool {
    matches!(expiry, Expiry::Keep | Expiry::KeepOr(_)) || (expiry == Expiry::Never && before.is_none())
}
