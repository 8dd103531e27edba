//! Collections as JSON: lists and sets are arrays, hashes objects, sorted sets arrays of `[member, score]`.

use orchard_wire::{Problem, value_json};
use orcharddb::collection;
use orcharddb::{Db, Entry, Snapshot, SpaceId, Value};

pub(super) use orcharddb::collection::is_collection;

/// The entry with a collection's JSON as its bytes; anything else as it is.
///
/// # Errors
/// `limit_exceeded` if the collection is too large to be shown whole.
pub(super) fn shown(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Problem> {
    Ok(collection::shown(snapshot, space, entry, value_json::to_json)?)
}

/// As [`shown`], for a list of entries: of a larger collection only `{"$count": n}`.
pub(super) fn shown_in_list(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Problem> {
    Ok(collection::shown_in_list(snapshot, space, entry, value_json::to_json)?)
}

/// The entry of a key as [`shown_in_list`] shows it.
pub(super) fn read_shown(db: &Db, space: SpaceId, key: &[u8]) -> Result<Option<Entry>, Problem> {
    let entry = db.get_in(space, key)?;
    if !entry.as_ref().is_some_and(|entry| is_collection(&entry.value)) {
        return Ok(entry);
    }
    // Header and elements are read from one snapshot.
    let snapshot = db.snapshot();
    snapshot.get_in(space, key)?.map(|entry| shown_in_list(&snapshot, space, entry)).transpose()
}

/// What a commit wrote, as a feed or a history shows it.
pub(super) fn shown_written(value: Value) -> Result<Value, Problem> {
    Ok(collection::shown_written(value, value_json::to_json)?)
}
