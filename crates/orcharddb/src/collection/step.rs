//! One change of a collection as data, so that every way to ask for it means the same.

use super::{Added, Scored};
use crate::error::Error;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_engine::error::CommitError;
use orchard_types::arithmetic::{self, Bounds};
use orchard_types::{Expiry, Key, NumberOp, SpaceId, Value};

/// One change of the collection at a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Elements behind the last of a list.
    Append(Vec<Value>),
    /// Elements before the first of a list, one after the other.
    Prepend(Vec<Value>),
    /// At most so many elements out of a list, from the front.
    PopFirst(u64),
    /// At most so many elements out of a list, from the end.
    PopLast(u64),
    /// Fields of a hash, each with an expiry of its own.
    SetFields(Vec<(Bytes, Value, Expiry)>),
    /// Fields out of a hash.
    DeleteFields(Vec<Bytes>),
    /// A number added to that of a field; an absent field is one of zero.
    SumField(Bytes, Value),
    /// Other expiries for fields that are there; they stay as they are otherwise.
    ExpireFields(Vec<Bytes>, Expiry),
    /// Members into a set, each with an expiry of its own.
    AddMembers(Vec<(Bytes, Expiry)>),
    /// Members out of a set.
    RemoveMembers(Vec<Bytes>),
    /// Other expiries for members that are there.
    ExpireMembers(Vec<Bytes>, Expiry),
    /// Members of a sorted set, or other scores for them, each with an expiry of its own.
    AddScored(Vec<(Bytes, f64, Expiry)>),
    /// Members out of a sorted set.
    RemoveScored(Vec<Bytes>),
    /// Other expiries for members of a sorted set that are there.
    ExpireScored(Vec<Bytes>, Expiry),
    /// A number added to the score of a member; an absent member has zero.
    SumScore(Bytes, f64),
    /// At most so many members out of a sorted set, from the lowest score up.
    PopLowest(u64),
    /// At most so many members out of a sorted set, from the highest score down.
    PopHighest(u64),
}

impl Step {
    /// Elements that it names, or takes out at most; at least one.
    pub fn elements(&self) -> usize {
        let number = match self {
            Step::Append(values) | Step::Prepend(values) => values.len(),
            Step::PopFirst(number)
            | Step::PopLast(number)
            | Step::PopLowest(number)
            | Step::PopHighest(number) => usize::try_from(*number).unwrap_or(usize::MAX),
            Step::SetFields(fields) => fields.len(),
            Step::AddMembers(members) => members.len(),
            Step::AddScored(members) => members.len(),
            Step::DeleteFields(names)
            | Step::RemoveMembers(names)
            | Step::RemoveScored(names)
            | Step::ExpireFields(names, _)
            | Step::ExpireMembers(names, _)
            | Step::ExpireScored(names, _) => names.len(),
            Step::SumField(..) | Step::SumScore(..) => 1,
        };
        number.max(1)
    }
}

/// What a [`Step`] did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stepped {
    /// Elements that are new, or gone, or have another expiry.
    pub changed: u64,
    /// Elements that there are now.
    pub length: u64,
    /// The values that were taken out, or the one that a number came to.
    pub values: Vec<Value>,
    /// The members that were taken out, or the one whose score changed.
    pub members: Vec<Scored>,
}

impl Transaction<'_> {
    /// Changes the collection at a key.
    ///
    /// ```
    /// use orcharddb::{Db, Error, SpaceId, collection::Step};
    /// let db = Db::memory()?;
    /// let step = Step::SumField("visits".into(), 1_i64.into());
    /// let (stepped, pending) =
    ///     db.exclusive(|tx| tx.step_in(SpaceId::DEFAULT, Db::key("page")?, &step))?;
    /// pending.wait()?;
    /// assert_eq!((stepped.changed, stepped.values), (1, vec![1_i64.into()]));
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Collection`] if the key holds something else, or the elements cannot be some of it;
    /// [`Error::Commit`] if numbers cannot be added; [`Error::Read`]
    pub fn step_in(&mut self, space: SpaceId, key: Key, step: &Step) -> Result<Stepped, Error> {
        match step {
            Step::Append(values) => {
                let mut list = self.list_in(space, key)?;
                list.extend(values.iter().cloned(), false)?;
                Ok(Stepped { changed: values.len() as u64, length: list.len(), ..Stepped::default() })
            }
            Step::Prepend(values) => {
                let mut list = self.list_in(space, key)?;
                list.extend(values.iter().cloned(), true)?;
                Ok(Stepped { changed: values.len() as u64, length: list.len(), ..Stepped::default() })
            }
            Step::PopFirst(number) | Step::PopLast(number) => {
                let mut list = self.list_in(space, key)?;
                let values = list.pop(*number, matches!(step, Step::PopLast(_)))?;
                Ok(Stepped { changed: values.len() as u64, length: list.len(), values, ..Stepped::default() })
            }
            Step::SetFields(fields) => {
                let mut hash = self.hash_in(space, key)?;
                let mut changed = 0;
                if fields.iter().all(|(_, _, expiry)| *expiry == Expiry::Never) {
                    let fields = fields.iter().map(|(name, value, _)| (name.clone(), value.clone()));
                    changed = hash.extend(fields)?;
                } else {
                    for (name, value, expiry) in fields {
                        changed += u64::from(hash.set_expiring(name.clone(), value.clone(), *expiry)?);
                    }
                }
                Ok(Stepped { changed, length: hash.len()?, ..Stepped::default() })
            }
            Step::DeleteFields(names) => {
                let mut hash = self.hash_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(hash.remove(name)?.is_some());
                }
                Ok(Stepped { changed, length: hash.len()?, ..Stepped::default() })
            }
            Step::SumField(name, by) => {
                let mut hash = self.hash_in(space, key)?;
                let stored = hash.get(name)?;
                let sum = arithmetic::apply(NumberOp::Sum, stored.as_ref(), by, Bounds::default());
                let sum = sum.map_err(|error| CommitError::Mutation { index: 0, error })?;
                let changed = u64::from(hash.set_expiring(name.clone(), sum.clone(), Expiry::Keep)?);
                Ok(Stepped { changed, length: hash.len()?, values: vec![sum], ..Stepped::default() })
            }
            Step::ExpireFields(names, expiry) => {
                let mut hash = self.hash_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(hash.expire(name.clone(), *expiry)?);
                }
                Ok(Stepped { changed, length: hash.len()?, ..Stepped::default() })
            }
            Step::AddMembers(members) => {
                let mut set = self.set_in(space, key)?;
                let mut changed = 0;
                if members.iter().all(|(_, expiry)| *expiry == Expiry::Never) {
                    changed = set.extend(members.iter().map(|(name, _)| name.clone()))?;
                } else {
                    for (name, expiry) in members {
                        changed += u64::from(set.insert_expiring(name.clone(), *expiry)?);
                    }
                }
                Ok(Stepped { changed, length: set.len()?, ..Stepped::default() })
            }
            Step::ExpireMembers(names, expiry) => {
                let mut set = self.set_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(set.expire(name.clone(), *expiry)?);
                }
                Ok(Stepped { changed, length: set.len()?, ..Stepped::default() })
            }
            Step::RemoveMembers(names) => {
                let mut set = self.set_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(set.remove(name)?);
                }
                Ok(Stepped { changed, length: set.len()?, ..Stepped::default() })
            }
            Step::AddScored(members) => {
                let mut zset = self.zset_in(space, key)?;
                let mut changed = 0;
                if members.iter().all(|(.., expiry)| *expiry == Expiry::Never) {
                    changed = zset.extend(members.iter().map(|(name, score, _)| (name.clone(), *score)))?;
                } else {
                    for (name, score, expiry) in members {
                        let added = zset.insert_expiring(name.clone(), *score, *expiry)?;
                        changed += u64::from(added == Added::New);
                    }
                }
                Ok(Stepped { changed, length: zset.len()?, ..Stepped::default() })
            }
            Step::ExpireScored(names, expiry) => {
                let mut zset = self.zset_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(zset.expire(name.clone(), *expiry)?);
                }
                Ok(Stepped { changed, length: zset.len()?, ..Stepped::default() })
            }
            Step::RemoveScored(names) => {
                let mut zset = self.zset_in(space, key)?;
                let mut changed = 0;
                for name in names {
                    changed += u64::from(zset.remove(name)?.is_some());
                }
                Ok(Stepped { changed, length: zset.len()?, ..Stepped::default() })
            }
            Step::SumScore(name, by) => {
                let mut zset = self.zset_in(space, key)?;
                let score = zset.score(name)?.unwrap_or(0.0) + by;
                let added = zset.insert_expiring(name.clone(), score, Expiry::Keep)?;
                Ok(Stepped {
                    changed: u64::from(added == Added::New),
                    length: zset.len()?,
                    members: vec![(name.clone(), score + 0.0)],
                    ..Stepped::default()
                })
            }
            Step::PopLowest(number) | Step::PopHighest(number) => {
                let mut zset = self.zset_in(space, key)?;
                let members = zset.pop(*number, matches!(step, Step::PopHighest(_)))?;
                Ok(Stepped {
                    changed: members.len() as u64,
                    length: zset.len()?,
                    members,
                    ..Stepped::default()
                })
            }
        }
    }
}
