//! Entries as they are shown: a collection's JSON in place of its bytes, or the number of its elements if it is large.
//!
//! Such a value has a collection's type and JSON as its bytes, which no stored collection has; it is for people and
//! protocols to read, never to be written.

use super::{JsonLimits, View, count, to_json};
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::snapshot::Snapshot;
use orchard_types::{
    CollectionId, Entry, Key, KeyRange, SpaceId, UnixMillis, Value, ValueType, Versionstamp,
};
use serde_json::{Value as Json, json};

/// Elements and bytes up to which a collection is shown in a list of entries.
const IN_LIST: JsonLimits = JsonLimits { elements_max: 1_000, bytes_max: 64 * 1024 };

/// Whether a value has to be read as a collection to be shown.
pub fn is_collection(value: &Value) -> bool {
    matches!(value.value_type, ValueType::List | ValueType::Hash | ValueType::Set | ValueType::ZSet)
}

/// What is shown of a collection in place of its elements.
fn count_alone(value: &Value) -> Json {
    json!({ "$count": count(value.value_type, &value.data).unwrap_or_default() })
}

fn with_json(entry: Entry, json: &Json) -> Entry {
    let value = Value::new(entry.value.value_type, json.to_string());
    Entry { value, ..entry }
}

/// The entry with a collection's JSON as its bytes; anything else as it is. `render` gives the JSON of an element's value.
///
/// # Errors
/// [`Error::Key`] with the limit if the collection is too large to be shown whole; [`Error::Collection`], [`Error::Read`]
pub fn shown(
    snapshot: &Snapshot,
    space: SpaceId,
    entry: Entry,
    render: impl FnMut(&Value) -> Json,
) -> Result<Entry, Error> {
    if !is_collection(&entry.value) {
        return Ok(entry);
    }
    let json = to_json(snapshot.clone(), space, &entry, JsonLimits::default(), render)?;
    Ok(with_json(entry, &json))
}

/// As [`shown`], for a list of entries: of a larger collection only `{"$count": n}`.
///
/// # Errors
/// [`Error::Collection`], [`Error::Read`]
pub fn shown_in_list(
    snapshot: &Snapshot,
    space: SpaceId,
    entry: Entry,
    render: impl FnMut(&Value) -> Json,
) -> Result<Entry, Error> {
    if !is_collection(&entry.value) || entry.value.data.is_empty() {
        return Ok(entry);
    }
    let json = match to_json(snapshot.clone(), space, &entry, IN_LIST, render) {
        Err(Error::Key(_)) => count_alone(&entry.value),
        json => json?,
    };
    Ok(with_json(entry, &json))
}

/// One value, as a commit once wrote it, and nothing beside it.
struct Written(Entry);

impl View for Written {
    fn entry(&mut self, _: SpaceId, _: &Key) -> Result<Option<Entry>, Error> {
        Ok(Some(self.0.clone()))
    }

    fn entries(&mut self, _: SpaceId, _: KeyRange, _: ScanOptions) -> Result<Vec<Entry>, Error> {
        Ok(Vec::new())
    }

    fn time(&self) -> UnixMillis {
        UnixMillis(0)
    }
}

/// What a commit wrote, as feeds and histories show it: a collection that is one value whole, of a larger one its count as
/// it was then, since its elements may be others by now.
///
/// # Errors
/// [`Error::Collection`] if the bytes are no collection
pub fn shown_written(value: Value, render: impl FnMut(&Value) -> Json) -> Result<Value, Error> {
    if !is_collection(&value) {
        return Ok(value);
    }
    let json = if CollectionId::of_value(value.value_type, &value.data).is_some() {
        count_alone(&value)
    } else {
        let key = Key::default();
        let entry = Entry { key, value: value.clone(), versionstamp: Versionstamp::ZERO, expires_at: None };
        to_json(Written(entry.clone()), SpaceId::DEFAULT, &entry, JsonLimits::default(), render)?
    };
    Ok(Value::new(value.value_type, json.to_string()))
}
