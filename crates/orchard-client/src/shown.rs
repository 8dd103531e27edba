//! Entries of a database in this process as a server shows them: the JSON of a collection in place of its bytes.

use crate::error::ClientError;
use orchard_wire::{Kind, Problem, value_json};
use orcharddb::collection::{self, is_collection};
use orcharddb::{Db, Entry, Error, Operation, Snapshot, SpaceId, Value};

/// The entry of a key, a collection whole.
pub(crate) fn get(db: &Db, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, ClientError> {
    let entry = db.get_in(space, key)?;
    if !entry.as_ref().is_some_and(|entry| is_collection(&entry.value)) {
        return Ok(entry);
    }
    // Header and elements are read from one snapshot.
    get_at(&db.snapshot(), space, key)
}

/// As [`get`], from a snapshot.
pub(crate) fn get_at(snapshot: &Snapshot, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, ClientError> {
    let Some(entry) = snapshot.get_in(space, key)? else { return Ok(None) };
    Ok(Some(collection::shown(snapshot, space, entry, value_json::to_json)?))
}

/// As [`get`], of a large collection only the number of its elements.
pub(crate) fn get_in_list(db: &Db, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, Error> {
    let entry = db.get_in(space, key)?;
    if !entry.as_ref().is_some_and(|entry| is_collection(&entry.value)) {
        return Ok(entry);
    }
    let snapshot = db.snapshot();
    snapshot.get_in(space, key)?.map(|entry| in_list(&snapshot, space, entry)).transpose()
}

/// An entry as one of many.
pub(crate) fn in_list(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Error> {
    collection::shown_in_list(snapshot, space, entry, value_json::to_json)
}

/// A value as a commit wrote it.
pub(crate) fn written(value: Value) -> Result<Value, Error> {
    collection::shown_written(value, value_json::to_json)
}

/// Values of collections are made of their elements: what is shown of one is nothing to be stored.
pub(crate) fn check_stored(operation: &Operation) -> Result<(), Problem> {
    match operation {
        Operation::Set { value, .. } | Operation::SetWithVersionstampSuffix { value, .. }
            if value.value_type.is_collection() =>
        {
            let detail = format!("a {} is written element by element", value.value_type);
            Err(Problem::new(Kind::BadValue, detail))
        }
        _ => Ok(()),
    }
}
