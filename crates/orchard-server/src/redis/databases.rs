//! Databases by number: where the names that `SELECT` knows meet the spaces.
//!
//! `SELECT n` means the database named `n` in the one name table, which `/kv-connect/n` and `?db=n` mean, too. It is created
//! by the first write; until then it reads as empty.

use super::DATABASES;
use super::error::RedisError;
use super::notify::Touched;
use orchard_wire::resp::number::parse_integer;
use orcharddb::{Applied, Noted, SpaceId, Transaction};
use std::borrow::Cow;

/// The name of a database.
pub(crate) fn name(database: u32) -> Cow<'static, str> {
    if database == 0 { Cow::Borrowed("0") } else { Cow::Owned(database.to_string()) }
}

/// The space of a database as a transaction sees it; one that is always empty if there is none.
pub(crate) fn space_in(tx: &mut Transaction<'_>, database: u32) -> Result<SpaceId, RedisError> {
    Ok(tx.database(&name(database))?.unwrap_or(SpaceId::NOWHERE))
}

/// The space of a database as it is now, if there is one.
pub(crate) fn find(applied: &Applied<'_, '_>, database: u32) -> Option<SpaceId> {
    applied.database(&name(database))
}

/// The space of a database, which the transaction creates if there is none.
pub(crate) fn create_in(tx: &mut Transaction<'_>, database: u32) -> Result<SpaceId, RedisError> {
    Ok(tx.create_database(&name(database))?)
}

/// The number that a client names, if it is one of a database.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    parse_integer(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number < DATABASES)
}

/// The database that a client names.
pub(crate) fn named(text: &[u8]) -> Result<u32, RedisError> {
    let whole = parse_integer(text).ok_or(RedisError::NOT_INTEGER)?;
    if i32::try_from(whole).is_err() {
        return Err(RedisError::err("value is out of range, value must between -2147483648 and 2147483647"));
    }
    number(text).ok_or(RedisError::DB_OUT_OF_RANGE)
}

/// The keys that a transaction wrote, by database, each as it is at last, in the order of their first write.
pub(crate) fn touched(tx: &mut Transaction<'_>, selected: u32, journal: Vec<Noted>) -> Vec<Touched> {
    let mut known: Vec<(SpaceId, Option<u32>)> = Vec::new();
    let mut touched: Vec<Touched> = Vec::new();
    for Noted { space, key, was_there, is_there } in journal {
        let database = match known.iter().find(|(known, _)| *known == space) {
            Some((_, database)) => *database,
            None => {
                let mut candidates = std::iter::once(selected).chain(0..DATABASES);
                let database = candidates.find(|database| space_in(tx, *database).ok() == Some(space));
                known.push((space, database));
                database
            }
        };
        let Some(database) = database else { continue };
        match touched.iter_mut().find(|touched| touched.database == database && touched.key == key) {
            Some(touched) => touched.is_there = is_there,
            None => {
                let is_expired = is_there && tx.entry_in(space, &key).is_ok_and(|entry| entry.is_none());
                let is_new = !was_there;
                touched.push(Touched { database, key, is_new, is_there, is_expired, now: tx.now() });
            }
        }
    }
    touched
}
