//! Databases by number: where the names that `SELECT` knows meet the spaces.
//!
//! `SELECT n` means the database named `n` in the one name table, which `/kv-connect/n` and `?db=n` mean, too. It is created
//! by the first write; until then it reads as empty.

use super::DATABASES;
use super::error::RedisError;
use super::notify::Touched;
use orchard_wire::resp::number::parse_integer;
use orcharddb::{Db, Key, SpaceId, Transaction};

/// The name of a database.
pub(crate) fn name(database: u32) -> String {
    database.to_string()
}

/// Makes sure that a database exists before a transaction writes to it.
pub(crate) fn create(db: &Db, database: u32) -> Result<(), RedisError> {
    if database != 0 {
        // Whoever writes to it right behind waits for both.
        db.database_for_write(&name(database))?;
    }
    Ok(())
}

/// The space of a database as a transaction sees it; one that is always empty if there is none.
pub(crate) fn space_in(tx: &mut Transaction<'_>, database: u32) -> Result<SpaceId, RedisError> {
    let key = if database == 0 { Key::new(&b"0"[..]) } else { Key::new(name(database)) }?;
    let entry = tx.entry_in(SpaceId::NAMES, &key)?;
    let named = entry.and_then(|entry| entry.value.as_int()).and_then(|number| u32::try_from(number).ok());
    Ok(match named {
        Some(space) => SpaceId(space),
        None if database == 0 => SpaceId::DEFAULT,
        None => SpaceId::NOWHERE,
    })
}

/// The number that a client names, if it is one of a database.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    parse_integer(text).and_then(|number| u32::try_from(number).ok()).filter(|number| *number < DATABASES)
}

/// The keys that a transaction wrote, by database, each as it is at last, in the order of their first write.
pub(crate) fn touched(
    tx: &mut Transaction<'_>,
    selected: u32,
    journal: Vec<(SpaceId, Key, bool)>,
) -> Vec<Touched> {
    let mut known: Vec<(SpaceId, Option<u32>)> = Vec::new();
    let mut touched: Vec<Touched> = Vec::new();
    for (space, key, is_there) in journal {
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
            None => touched.push(Touched { database, key, is_there }),
        }
    }
    touched
}
