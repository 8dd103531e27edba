//! Collections as JSON: lists and sets are arrays, hashes objects, sorted sets arrays of `[member, score]`.

use orchard_wire::{Problem, value_json};
use orcharddb::collection::{JsonLimits, count, to_json};
use orcharddb::{Entry, Snapshot, SpaceId, Value, ValueType};
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
        Err(orcharddb::Error::Key(_)) => {
            json!({ "$count": count(entry.value.value_type, &entry.value.data).unwrap_or_default() })
        }
        json => json?,
    };
    Ok(with_json(entry, &json))
}
