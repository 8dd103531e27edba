//! Collections of a database, each operation a commit of its own.

use super::{Added, Hash, List, Scored, Set, ZSet};
use crate::db::Db;
use crate::error::Error;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use crate::tuple::{IntoKey, KeyError};
use bytes::Bytes;
use orchard_types::{Key, SpaceId, Value};

macro_rules! handle {
    ($handle:ident, $type:ident, $name:ident, $name_in:ident, $what:literal, $count:expr) => {
        #[doc = concat!("A ", $what, " of a database; each operation is a commit of its own. See [`", stringify!($type), "`].")]
        pub struct $handle {
            db: Db,
            key: Result<Key, KeyError>,
        }

        impl Db {
            #[doc = concat!("The ", $what, " at a key. Use a transaction for several operations at once.")]
            pub fn $name(&self, key: impl IntoKey) -> $handle {
                $handle { db: self.clone(), key: key.into_key() }
            }
        }

        impl $handle {
            /// A view of now, for several reads of one state.
            ///
            /// # Errors
            /// [`Error::Collection`] if the key holds something else.
            pub fn snapshot(&self) -> Result<$type<Snapshot>, Error> {
                self.db.snapshot().$name_in(SpaceId::DEFAULT, self.key.clone()?)
            }

            /// Number of elements.
            ///
            /// # Errors
            /// As [`Self::snapshot`].
            pub fn len(&self) -> Result<u64, Error> {
                $count(&mut self.snapshot()?)
            }

            /// Whether there are none.
            ///
            /// # Errors
            /// As [`Self::snapshot`].
            pub fn is_empty(&self) -> Result<bool, Error> {
                Ok(self.len()? == 0)
            }

            /// Changes it, and blocks until that is as durable as the database promises. `change` runs under the commit
            /// lock: it must not take long, nor use the database.
            ///
            /// # Errors
            /// What `change` says; [`Error::Collection`] if the key holds something else; [`Error::Commit`].
            pub fn update<T>(
                &self,
                mut change: impl FnMut(&mut $type<&mut Transaction<'_>>) -> Result<T, Error>,
            ) -> Result<T, Error> {
                let key = self.key.clone()?;
                let (result, pending) = self
                    .db
                    .exclusive(|tx| change(&mut tx.$name_in(SpaceId::DEFAULT, key.clone())?))?;
                pending.wait()?;
                Ok(result)
            }
        }
    };
}

handle!(DbList, List, list, list_in, "list", |list: &mut List<_>| Ok(list.len()));
handle!(DbHash, Hash, hash, hash_in, "hash", |hash: &mut Hash<_>| hash.len());
handle!(DbSet, Set, set, set_in, "set", |set: &mut Set<_>| set.len());
handle!(DbZSet, ZSet, zset, zset_in, "sorted set", |zset: &mut ZSet<_>| zset.len());

impl DbList {
    /// Appends an element.
    ///
    /// # Errors
    /// As [`DbList::update`].
    pub fn push_back(&self, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        self.update(|list| list.push_back(value.clone()))
    }

    /// Prepends an element.
    ///
    /// # Errors
    /// As [`DbList::update`].
    pub fn push_front(&self, value: impl Into<Value>) -> Result<(), Error> {
        let value = value.into();
        self.update(|list| list.push_front(value.clone()))
    }

    /// Takes the first element out.
    ///
    /// # Errors
    /// As [`DbList::update`].
    pub fn pop_front(&self) -> Result<Option<Value>, Error> {
        self.update(|list| list.pop_front())
    }

    /// Takes the last element out.
    ///
    /// # Errors
    /// As [`DbList::update`].
    pub fn pop_back(&self) -> Result<Option<Value>, Error> {
        self.update(|list| list.pop_back())
    }

    /// The element at `index`; negative ones count from the end.
    ///
    /// # Errors
    /// As [`DbList::snapshot`].
    pub fn get(&self, index: i64) -> Result<Option<Value>, Error> {
        self.snapshot()?.get(index)
    }

    /// The elements `start..=stop`; negative positions count from the end.
    ///
    /// # Errors
    /// As [`DbList::snapshot`].
    pub fn range(&self, start: i64, stop: i64) -> Result<Vec<Value>, Error> {
        self.snapshot()?.range(start, stop)
    }
}

impl DbHash {
    /// Writes a field; whether it is new.
    ///
    /// # Errors
    /// As [`DbHash::update`].
    pub fn set(&self, field: impl Into<Bytes>, value: impl Into<Value>) -> Result<bool, Error> {
        let (field, value) = (field.into(), value.into());
        self.update(|hash| hash.set(field.clone(), value.clone()))
    }

    /// The value of a field.
    ///
    /// # Errors
    /// As [`DbHash::snapshot`].
    pub fn get(&self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        self.snapshot()?.get(field)
    }

    /// Removes a field and returns its value.
    ///
    /// # Errors
    /// As [`DbHash::update`].
    pub fn remove(&self, field: impl AsRef<[u8]>) -> Result<Option<Value>, Error> {
        self.update(|hash| hash.remove(field.as_ref()))
    }

    /// All fields with their values.
    ///
    /// # Errors
    /// As [`DbHash::snapshot`].
    pub fn fields(&self) -> Result<Vec<(Bytes, Value)>, Error> {
        self.snapshot()?.fields()
    }
}

impl DbSet {
    /// Adds a member; whether it was not one.
    ///
    /// # Errors
    /// As [`DbSet::update`].
    pub fn insert(&self, name: impl Into<Bytes>) -> Result<bool, Error> {
        let name = name.into();
        self.update(|set| set.insert(name.clone()))
    }

    /// Removes a member; whether it was one.
    ///
    /// # Errors
    /// As [`DbSet::update`].
    pub fn remove(&self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.update(|set| set.remove(name.as_ref()))
    }

    /// Whether `name` is a member.
    ///
    /// # Errors
    /// As [`DbSet::snapshot`].
    pub fn contains(&self, name: impl AsRef<[u8]>) -> Result<bool, Error> {
        self.snapshot()?.contains(name)
    }

    /// All members.
    ///
    /// # Errors
    /// As [`DbSet::snapshot`].
    pub fn members(&self) -> Result<Vec<Bytes>, Error> {
        self.snapshot()?.members()
    }
}

impl DbZSet {
    /// Adds a member, or gives it another score.
    ///
    /// # Errors
    /// As [`DbZSet::update`].
    pub fn insert(&self, name: impl Into<Bytes>, score: f64) -> Result<Added, Error> {
        let name = name.into();
        self.update(|zset| zset.insert(name.clone(), score))
    }

    /// Removes a member and returns its score.
    ///
    /// # Errors
    /// As [`DbZSet::update`].
    pub fn remove(&self, name: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        self.update(|zset| zset.remove(name.as_ref()))
    }

    /// The score of a member.
    ///
    /// # Errors
    /// As [`DbZSet::snapshot`].
    pub fn score(&self, name: impl AsRef<[u8]>) -> Result<Option<f64>, Error> {
        self.snapshot()?.score(name)
    }

    /// The members at ranks `start..=stop`; negative ranks count from the end.
    ///
    /// # Errors
    /// As [`DbZSet::snapshot`].
    pub fn range(&self, start: i64, stop: i64) -> Result<Vec<Scored>, Error> {
        self.snapshot()?.range(start, stop)
    }
}
