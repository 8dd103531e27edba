//! What changes a sorted set.

use super::ranges::by_score;
use super::{Added, Scored, ZRange, ZSet, order, score_of_value};
use crate::collection::layout;
use crate::collection::named::{Named, is_kept, moment};
use crate::collection::state::{Element, State};
use crate::error::{CollectionError, Error};
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::{CollectionId, Expiry, SpaceId, UnixMillis, Value, ValueType, limits};
use std::cmp::Ordering;
use std::ops::Bound;

impl ZSet<&mut Transaction<'_>> {
    /// Adds a member, or gives it another score. It expires with the sorted set alone, also if it had an expiry of its own.
    ///
    /// # Errors
    /// [`Error::Collection`] if the score is not a number, [`Error::Read`]
    pub fn insert(&mut self, name: impl Into<Bytes>, score: f64) -> Result<Added, Error> {
        self.insert_expiring(name, score, Expiry::Never)
    }

    /// Adds members, or gives them other scores; how many are new.
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn extend(&mut self, members: impl IntoIterator<Item = Scored>) -> Result<u64, Error> {
        let mut added = 0;
        for (name, score) in members {
            let before = self.found(&name)?;
            added += u64::from(before.is_none());
            self.replace_unsaved(name, before, score, None)?;
        }
        self.save()?;
        Ok(added)
    }

    /// As [`ZSet::insert`] with an expiry of the member's own. [`Expiry::Keep`] keeps the one that it has; one that has come
    /// already removes the member.
    ///
    /// A sorted set of which a member expires keeps its members as entries of their own, however few they are.
    ///
    /// ```
    /// use orcharddb::{Db, DurationMs, Expiry};
    /// let db = Db::memory()?;
    /// let scores = db.zset("scores");
    /// scores.update(|scores| scores.insert_expiring("ada", 1.5, Expiry::After(DurationMs(60_000))))?;
    /// assert_eq!(scores.score("ada")?, Some(1.5));
    /// scores.update(|scores| scores.expire("ada", Expiry::At(orcharddb::UnixMillis(1))))?;
    /// assert_eq!(scores.score("ada")?, None, "that was long ago");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn insert_expiring(
        &mut self,
        name: impl Into<Bytes>,
        score: f64,
        expiry: Expiry,
    ) -> Result<Added, Error> {
        let (name, now) = (name.into(), self.view.now());
        let before = self.found(&name)?;
        let at = moment(expiry, now, before.map(|(_, at)| at));
        let added = match before {
            None => Added::New,
            Some((before, _)) if before == score => Added::Same,
            Some(_) => Added::Moved,
        };
        if at.is_some_and(|at| at <= now) {
            self.remove(&name)?;
        } else if self.replace_unsaved(name, before, score, at)? {
            self.save()?;
        }
        Ok(added)
    }

    /// Gives a member an expiry of its own, or takes it away ([`Expiry::Never`]); whether it is one.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn expire(&mut self, name: impl Into<Bytes>, expiry: Expiry) -> Result<bool, Error> {
        let name = name.into();
        let Some((score, at)) = self.found(&name)? else { return Ok(false) };
        if !is_kept(expiry, at) {
            self.insert_expiring(name, score, expiry)?;
        }
        Ok(true)
    }

    /// As [`ZSet::extend`], for members whose scores before are known: found by this transaction, or `None` for a new one.
    ///
    /// # Errors
    /// As [`ZSet::insert`].
    pub fn replace_found(
        &mut self,
        members: impl IntoIterator<Item = (Bytes, Option<f64>, f64)>,
    ) -> Result<(), Error> {
        for (name, before, score) in members {
            let before = match &self.state {
                State::Elements(named) if named.any_expires() => self.found(&name)?,
                _ => before.map(|before| (before, None)),
            };
            self.replace_unsaved(name, before, score, None)?;
        }
        self.save()
    }

    /// Writes a member in place of what was found under its name; whether that changes anything.
    fn replace_unsaved(
        &mut self,
        name: Bytes,
        before: Option<(f64, Option<UnixMillis>)>,
        score: f64,
        at: Option<UnixMillis>,
    ) -> Result<bool, Error> {
        if score.is_nan() {
            return Err(CollectionError::NotANumber.into());
        }
        // Both zeros are one.
        let score = score + 0.0;
        if before == Some((score, at)) {
            return Ok(false);
        }
        if at.is_some() {
            self.state.spread(self.view);
        }
        match &mut self.state {
            State::Packed(members) => {
                if before.is_some() {
                    members.retain(|(member, _)| *member != name);
                }
                let member = (name, score);
                let place = members.partition_point(|found| order(found, &member) == Ordering::Less);
                members.insert(place, member);
                if members.len() > limits::COLLECTION_PACKED_ELEMENTS_MAX {
                    self.save()?;
                }
            }
            State::Elements(named) => {
                let value = Value::new(ValueType::Float, score.to_le_bytes().to_vec());
                match before {
                    Some((before, None)) => {
                        if before != score {
                            self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, &name, before));
                        }
                        match at {
                            None => named.overwrite(self.view, &name, &value),
                            Some(_) => {
                                named.remove_staying(self.view, &name);
                                named.put(self.view, &name, &value, at);
                            }
                        }
                    }
                    _ => {
                        // One that has expired may be in the way.
                        let held =
                            if named.any_expires() { named.held(&mut self.view, &name)? } else { None };
                        if let Some(held) = held {
                            let before = score_of_value(held.value())?;
                            self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, &name, before));
                            named.remove(self.view, &name, &held);
                        }
                        named.put(self.view, &name, &value, at);
                    }
                }
                put_score(self.view, named.id, &name, score, at);
            }
        }
        Ok(true)
    }

    /// Removes a member and returns its score.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove(&mut self, name: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        let name = name.as_ref();
        let Some(score) = self.score(name)? else { return Ok(None) };
        self.remove_found(&[(Bytes::copy_from_slice(name), score)])?;
        Ok(Some(score))
    }

    /// Removes members that a read of this transaction has found.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove_found(&mut self, members: &[Scored]) -> Result<(), Error> {
        if members.is_empty() {
            return Ok(());
        }
        match &mut self.state {
            State::Packed(all) => {
                all.retain(|(name, _)| !members.iter().any(|(gone, _)| gone == name));
            }
            State::Elements(named) => {
                for (name, score) in members {
                    self.view.delete_in(SpaceId::ELEMENTS, by_score(named.id, name, *score));
                    if !named.any_expires() {
                        named.remove_staying(self.view, name);
                    } else if let Some(held) = named.held(&mut self.view, name)? {
                        named.remove(self.view, name, &held);
                    }
                }
            }
        }
        self.save()
    }

    /// Removes the `number` members with the lowest scores, or with `last` the highest, and returns them in that order.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pop(&mut self, number: u64, last: bool) -> Result<Vec<Scored>, Error> {
        let limit = usize::try_from(number).unwrap_or(usize::MAX);
        let which = ZRange { reverse: last, skip: 0, limit: Some(limit) };
        let found = self.range_by_score(Bound::Unbounded, Bound::Unbounded, &which)?;
        self.remove_found(&found)?;
        Ok(found)
    }

    /// Takes at most `limit` members away that have expired; how many. Their elements by score are entries that expire.
    pub(in crate::collection) fn remove_expired(&mut self, limit: usize) -> Result<u64, Error> {
        self.state.remove_expired(self.view, (self.space, &self.key), limit)
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        self.state.save(self.view, (self.space, &self.key))
    }
}

impl Element for Scored {
    const COLLECTION: ValueType = ValueType::ZSet;

    fn push(&self, packed: &mut Vec<u8>) {
        packed.extend_from_slice(&self.1.to_le_bytes());
        layout::push_name(packed, &self.0);
    }

    fn put(&self, named: &mut Named, tx: &mut Transaction<'_>) {
        let (name, score) = self;
        let value = Value::new(ValueType::Float, score.to_le_bytes().to_vec());
        named.put(tx, name, &value, None);
        put_score(tx, named.id, name, *score, None);
    }
}

/// Writes the element by score of a member.
fn put_score(tx: &mut Transaction<'_>, id: CollectionId, name: &[u8], score: f64, at: Option<UnixMillis>) {
    let value = layout::element(name, ValueType::Null, &[]);
    let expiry = at.map_or(Expiry::Never, Expiry::At);
    tx.put_in(SpaceId::ELEMENTS, by_score(id, name, score), value, expiry);
}
