//! Collections as JSON: lists and sets are arrays, hashes objects, sorted sets arrays of `[member, score]`.

use orchard_wire::{Problem, value_json};
use orcharddb::collection::{JsonLimits, View, count, to_json};
use orcharddb::{
    CollectionId, Db, Entry, Key, KeyRange, ScanOptions, Snapshot, SpaceId, UnixMillis, Value, ValueType,
    Versionstamp,
};
use serde_json::{Value as Json, json};

/// Elements and bytes up to which a collection is shown in a list of entries.
const IN_LIST: JsonLimits = JsonLimits { elements_max: 1_000, bytes_max: 64 * 1024 };

/// Whether a value has to be read as a collection.
pub(super) fn is_collection(value: &Value) -> bool {
    matches!(value.value_type, ValueType::List | ValueType::Hash | ValueType::Set | ValueType::ZSet)
}

fn element(value: &Value) -> Json {
    let mut text = Vec::new();
    value_json::write(&mut text, value);
    serde_json::from_slice(&text).unwrap_or_default()
}

/// What is shown of a collection in place of its elements.
fn count_alone(value: &Value) -> Json {
    json!({ "$count": count(value.value_type, &value.data).unwrap_or_default() })
}

fn with_json(entry: Entry, json: &Json) -> Entry {
    let value = Value::new(entry.value.value_type, json.to_string());
    Entry { value, ..entry }
}

/// The entry with a collection's JSON as its bytes; anything else as it is.
///
/// # Errors
/// `limit_exceeded` if the collection is too large to be shown whole.
pub(super) fn shown(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Problem> {
    if !is_collection(&entry.value) {
        return Ok(entry);
    }
    let json = to_json(snapshot.clone(), space, &entry, JsonLimits::default(), element)?;
    Ok(with_json(entry, &json))
}

/// As [`shown`], for a list of entries: of a larger collection only `{"$count": n}`.
pub(super) fn shown_in_list(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Problem> {
    if !is_collection(&entry.value) || entry.value.data.is_empty() {
        return Ok(entry);
    }
    let json = match to_json(snapshot.clone(), space, &entry, IN_LIST, element) {
        Err(orcharddb::Error::Key(_)) => count_alone(&entry.value),
        json => json?,
    };
    Ok(with_json(entry, &json))
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

/// One value, as a commit once wrote it, and nothing beside it.
struct Written(Entry);

impl View for Written {
    fn entry(&mut self, _: SpaceId, _: &Key) -> Result<Option<Entry>, orcharddb::Error> {
        Ok(Some(self.0.clone()))
    }

    fn entries(&mut self, _: SpaceId, _: KeyRange, _: ScanOptions) -> Result<Vec<Entry>, orcharddb::Error> {
        Ok(Vec::new())
    }

    fn time(&self) -> UnixMillis {
        UnixMillis(0)
    }
}

/// What a commit wrote, as a feed shows it: a collection that is one value whole, of a larger one its count as it was then,
/// since its elements may be others by now.
pub(super) fn shown_written(value: Value) -> Result<Value, Problem> {
    if !is_collection(&value) {
        return Ok(value);
    }
    let json = if CollectionId::of_value(value.value_type, &value.data).is_some() {
        count_alone(&value)
    } else {
        let key = Key::default();
        let entry = Entry { key, value: value.clone(), versionstamp: Versionstamp::ZERO, expires_at: None };
        to_json(Written(entry.clone()), SpaceId::DEFAULT, &entry, JsonLimits::default(), element)?
    };
    Ok(Value::new(value.value_type, json.to_string()))
}
