//! Databases by name: one table from names to spaces, as ordinary entries of [`SpaceId::NAMES`].
//!
//! - Key: the bytes of the name. Value: the number of its space, an `int`. Under the empty key, which is no name, stands
//!   the next number to give out; it only grows, so that a dropped database's space is never another's.
//! - The name `0` is space 0 as long as nobody swapped it: the default database always exists, and dropping it empties it.
//! - The table is read each time, which costs one look at the map: there is no copy of it that could be behind. Whoever
//!   keeps a space for longer than a request may write to a database that was dropped or swapped away meanwhile.
//! - Changes are decided under the commit lock, on the applied state: two creators of one name get the same space.

use crate::db::Db;
use crate::error::Error;
use orchard_engine::commit::Submitted;
use orchard_engine::engine::Engine;
use orchard_engine::error::CommitError;
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{
    Commit, Entry, Key, KeyRange, LimitError, Operation, SpaceId, Value, ValueType, Versionstamp, limits,
};
use std::fmt;

/// The name of the default database.
pub(crate) const DEFAULT_NAME: &str = "0";
/// Under which the next number stands.
pub(crate) const NEXT_KEY: &[u8] = b"";

/// The text is no name of a database, or one more database is too many.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatabaseError {
    /// The name is empty. Give one.
    Empty,
    /// The name holds a control character. Leave it out.
    ControlCharacter,
    /// The name is too long, or there are as many databases as there may be: drop one.
    Limit(LimitError),
}

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DatabaseError::Empty => f.write_str("the name of a database is empty"),
            DatabaseError::ControlCharacter => {
                f.write_str("the name of a database holds a control character")
            }
            DatabaseError::Limit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for DatabaseError {}

impl From<LimitError> for DatabaseError {
    fn from(error: LimitError) -> Self {
        DatabaseError::Limit(error)
    }
}

/// Whether a text can name a database.
///
/// # Errors
/// [`DatabaseError`]
pub fn check_database_name(name: &str) -> Result<(), DatabaseError> {
    if name.is_empty() {
        return Err(DatabaseError::Empty);
    }
    if name.chars().any(char::is_control) {
        return Err(DatabaseError::ControlCharacter);
    }
    Ok(LimitError::check("database_name_size_bytes", limits::DATABASE_NAME_SIZE_BYTES_MAX, name.len())?)
}

pub(crate) fn space_of(entry: &Entry) -> Option<SpaceId> {
    space_of_value(entry.value.value_type, &entry.value.data)
}

pub(crate) fn space_of_value(value_type: ValueType, data: &[u8]) -> Option<SpaceId> {
    let number = data.try_into().ok().filter(|_| value_type == ValueType::Int).map(i64::from_le_bytes);
    number.and_then(|number| u32::try_from(number).ok()).map(SpaceId)
}

pub(crate) fn number(space: SpaceId) -> Value {
    Value::from(i64::from(space.0))
}

pub(crate) fn name_key(name: &str) -> Result<Key, Error> {
    Ok(Key::new(name.as_bytes().to_vec())?)
}

/// The first space from `next` on that may be a database.
pub(crate) fn valid_space(next: u32) -> Result<SpaceId, DatabaseError> {
    let space = SpaceId(if next == SpaceId::ELEMENTS.0 { next + 1 } else { next });
    if !space.is_database() {
        let all = u64::from(SpaceId::NOWHERE.0);
        return Err(DatabaseError::Limit(LimitError { name: "spaces", limit: all, actual: all }));
    }
    Ok(space)
}

/// The table at one moment under the commit lock, and what is to change in it.
struct Table<'a> {
    engine: &'a Engine,
    pin: &'a SnapshotPin,
    next: Option<u32>,
    commit: Commit,
    /// The newest entry that was read.
    seen: Versionstamp,
}

impl Table<'_> {
    fn get(&mut self, key: &[u8]) -> Result<Option<SpaceId>, Error> {
        let entry = self.engine.get_at(self.pin, SpaceId::NAMES, key)?;
        if let Some(entry) = &entry {
            self.seen = self.seen.max(entry.versionstamp);
        }
        Ok(entry.as_ref().and_then(space_of))
    }

    fn find(&mut self, name: &str) -> Result<Option<SpaceId>, Error> {
        let found = self.get(name.as_bytes())?;
        Ok(found.or_else(|| (name == DEFAULT_NAME).then_some(SpaceId::DEFAULT)))
    }

    fn set(&mut self, name: &str, space: SpaceId) -> Result<(), Error> {
        let commit = std::mem::take(&mut self.commit);
        self.commit = commit.set(SpaceId::NAMES, name_key(name)?, number(space));
        Ok(())
    }

    /// The space of a name; a new one if it has none.
    fn find_or_create(&mut self, name: &str) -> Result<SpaceId, Error> {
        if let Some(space) = self.find(name)? {
            return Ok(space);
        }
        let next = match self.next {
            Some(next) => next,
            None => self.get(NEXT_KEY)?.map_or(1, |next| next.0),
        };
        let space = valid_space(next)?;
        self.next = Some(space.0 + 1);
        self.set(name, space)?;
        Ok(space)
    }

    fn into_commit(self) -> Commit {
        match self.next {
            Some(next) => self.commit.set(SpaceId::NAMES, Key::default(), Value::from(i64::from(next))),
            None => self.commit,
        }
    }
}

/// How a look at the table ended without a commit.
enum Stop<T> {
    /// There was nothing to change.
    Found(T, Versionstamp),
    Failed(Error),
}

impl<T> From<Error> for Stop<T> {
    fn from(error: Error) -> Self {
        Stop::Failed(error)
    }
}

impl Db {
    /// Changes the table under the commit lock. The result may be told once the stamp is visible.
    fn change_databases<T: Copy>(
        &self,
        change: impl Fn(&mut Table<'_>) -> Result<T, Error>,
    ) -> Result<(T, Versionstamp), Error> {
        let engine = self.engine();
        let mut result = None;
        let submitted = engine.submit_exclusive(|pin| {
            let mut table =
                Table { engine, pin, next: None, commit: Commit::new(), seen: Versionstamp::ZERO };
            let changed = change(&mut table)?;
            result = Some(changed);
            let seen = table.seen;
            let commit = table.into_commit();
            if commit.mutations.is_empty() { Err(Stop::Found(changed, seen)) } else { Ok(commit) }
        });
        match submitted {
            Ok(Submitted { outcome, depends_on }) => {
                outcome?;
                Ok((result.ok_or(CommitError::Closed)?, depends_on))
            }
            Err(Stop::Found(found, seen)) => Ok((found, seen)),
            Err(Stop::Failed(error)) => Err(error),
        }
    }

    /// [`Db::change_databases`], and blocks until the result may be told.
    fn change_databases_and_wait<T: Copy>(
        &self,
        change: impl Fn(&mut Table<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (result, depends_on) = self.change_databases(change)?;
        self.engine().wait(depends_on, self.durability())?;
        Ok(result)
    }

    /// Whether there may be one more. Racing creators may go over by as many as they are.
    fn check_room_for_database(&self) -> Result<(), Error> {
        // The default database has no entry of its own, the next number has one.
        let count = self.engine().count(SpaceId::NAMES, NEXT_KEY, None).max(1);
        let databases = usize::try_from(count).unwrap_or(usize::MAX).saturating_add(1);
        Ok(LimitError::check("databases", limits::DATABASES_MAX, databases).map_err(DatabaseError::from)?)
    }

    /// The space of a database, `None` if there is none of this name.
    ///
    /// ```
    /// use orcharddb::{Commit, Db, SpaceId};
    /// let db = Db::memory()?;
    /// assert_eq!(db.database("0")?, Some(SpaceId::DEFAULT));
    /// assert_eq!(db.database("plums")?, None);
    /// let plums = db.create_database("plums")?;
    /// db.commit(&Commit::new().set(plums, Db::key("damson")?, "blue"))?;
    /// assert!(db.get_in(plums, &Db::key("damson")?)?.is_some());
    /// assert!(db.get("damson")?.is_none(), "it is in another database");
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Database`] or [`Error::Read`]
    pub fn database(&self, name: &str) -> Result<Option<SpaceId>, Error> {
        check_database_name(name)?;
        let entry = self.get_in(SpaceId::NAMES, name.as_bytes())?;
        let found = entry.as_ref().and_then(space_of);
        Ok(found.or_else(|| (name == DEFAULT_NAME).then_some(SpaceId::DEFAULT)))
    }

    /// The space of a database, which is created if there is none, and blocks until that is durable.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Read`] or [`Error::Commit`]
    pub fn create_database(&self, name: &str) -> Result<SpaceId, Error> {
        match self.database(name)? {
            Some(space) => Ok(space),
            None => {
                self.check_room_for_database()?;
                self.change_databases_and_wait(|table| table.find_or_create(name))
            }
        }
    }

    /// As [`Db::create_database`], without waiting: for a commit to that space right behind, which waits for both.
    ///
    /// # Errors
    /// As [`Db::create_database`].
    pub fn database_for_write(&self, name: &str) -> Result<SpaceId, Error> {
        match self.database(name)? {
            Some(space) => Ok(space),
            None => {
                self.check_room_for_database()?;
                Ok(self.change_databases(|table| table.find_or_create(name))?.0)
            }
        }
    }

    /// Every database, in the order of the bytes of their names.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn databases(&self) -> Result<Vec<(String, SpaceId)>, Error> {
        let mut found = Vec::new();
        for entry in self.snapshot().scan_in(SpaceId::NAMES, KeyRange::all(), crate::ScanOptions::default()) {
            let entry = entry?;
            let name = String::from_utf8_lossy(&entry.key).into_owned();
            found.extend(space_of(&entry).filter(|_| !name.is_empty()).map(|space| (name, space)));
        }
        if let Err(place) = found.binary_search_by(|(name, _)| name.as_str().cmp(DEFAULT_NAME)) {
            found.insert(place, (DEFAULT_NAME.to_owned(), SpaceId::DEFAULT));
        }
        Ok(found)
    }

    /// Lets each of two names mean what the other meant; a name without a database gets a new one first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Read`] or [`Error::Commit`]
    pub fn swap_databases(&self, one: &str, other: &str) -> Result<(), Error> {
        check_database_name(one)?;
        check_database_name(other)?;
        if one == other {
            return Ok(());
        }
        if self.database(one)?.is_none() || self.database(other)?.is_none() {
            self.check_room_for_database()?;
        }
        self.change_databases_and_wait(|table| {
            let (space, other_space) = (table.find_or_create(one)?, table.find_or_create(other)?);
            table.set(one, other_space)?;
            table.set(other, space)
        })
    }

    /// Removes a database with everything in it, in one commit; the default database is emptied and stays. `false`:
    /// there was none of this name.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Read`] or [`Error::Commit`]
    pub fn drop_database(&self, name: &str) -> Result<bool, Error> {
        check_database_name(name)?;
        self.change_databases_and_wait(|table| {
            let Some(space) = table.find(name)? else { return Ok(false) };
            let commit = std::mem::take(&mut table.commit);
            table.commit = commit.mutate(space, Key::default(), Operation::DeleteRange { end: None });
            if name != DEFAULT_NAME {
                let commit = std::mem::take(&mut table.commit);
                table.commit = commit.delete(SpaceId::NAMES, name_key(name)?);
            }
            Ok(true)
        })
    }
}
