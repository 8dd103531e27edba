//! Collections as JavaScript values: lists and sets are arrays, hashes objects, sorted sets arrays of `[member, score]`.

use orchard_wire::{Kind, Problem, v8};
use orcharddb::collection::{JsonLimits, to_json};
use orcharddb::{Entry, Snapshot, SpaceId, Value, ValueType};
use serde_json::{Map, Value as Json, json};

/// Whether the entry is shown as another value than it is.
pub(super) fn is_collection(entry: &Entry) -> bool {
    matches!(entry.value.value_type, ValueType::List | ValueType::Hash | ValueType::Set | ValueType::ZSet)
}

/// The entry as this protocol shows it: a collection as the value that stands for it, anything else as it is.
///
/// # Errors
/// [`Kind::LimitExceeded`] if a collection is too large to be shown whole.
pub(super) fn shown(snapshot: &Snapshot, space: SpaceId, entry: Entry) -> Result<Entry, Problem> {
    if !is_collection(&entry) {
        return Ok(entry);
    }
    let json = to_json(snapshot.clone(), space, &entry, JsonLimits::default(), element)?;
    let data = v8::from_json(with_plain_names(json).to_string().as_bytes())
        .map_err(|error| Problem::new(Kind::Internal, format!("a collection became no value: {error}")))?;
    Ok(Entry { value: Value::new(ValueType::V8, data), ..entry })
}

/// An element's value in the forms of [`v8`].
fn element(value: &Value) -> Json {
    match value.value_type {
        ValueType::U64 => json!({ "$bigint": value.as_u64().unwrap_or_default().to_string() }),
        _ => {
            let mut rendered = Vec::new();
            match v8::of_value(value) {
                Some(bytes) => v8::to_json(&mut rendered, &bytes),
                None => orchard_wire::value_json::write(&mut rendered, &Value::bytes(value.data.clone())),
            }
            serde_json::from_slice(&rendered).unwrap_or_default()
        }
    }
}

/// Fields of a hash may begin with `$` and are no forms for that.
fn with_plain_names(json: Json) -> Json {
    match json {
        Json::Object(fields) if fields.keys().any(|name| name.starts_with('$')) => {
            let plain = |(name, value): (String, Json)| {
                (if name.starts_with('$') { format!("${name}") } else { name }, value)
            };
            Json::Object(fields.into_iter().map(plain).collect::<Map<_, _>>())
        }
        other => other,
    }
}
