//! Values as the Redis protocol shows and makes them.
//!
//! A Redis string is `text` if it is valid UTF-8, else `bytes`. Every other scalar type reads as a string: numbers in
//! decimal, truths as `true` and `false`, `null` as `null`, JSON as its text, JavaScript values as their JSON. Collections
//! are collections.

use super::error::RedisError;
use bytes::Bytes;
use orchard_wire::resp::number::integer_text;
use orcharddb::{Value, ValueType};

/// The string that a value reads as.
pub(crate) fn text_of(value: &Value) -> Result<Bytes, RedisError> {
    Ok(match value.value_type {
        ValueType::Bytes | ValueType::Text | ValueType::Json => value.data.clone(),
        ValueType::Int => {
            let number = value.as_int().unwrap_or_default();
            Bytes::copy_from_slice(integer_text(number, &mut [0; 20]))
        }
        ValueType::Float => Bytes::from(float_text(value.as_float().unwrap_or_default())),
        ValueType::U64 => Bytes::from(value.as_u64().unwrap_or_default().to_string()),
        ValueType::Bool => Bytes::from_static(if value.as_bool() == Some(true) { b"true" } else { b"false" }),
        ValueType::Null => Bytes::from_static(b"null"),
        ValueType::V8 => {
            let mut json = Vec::new();
            orchard_wire::v8::to_json(&mut json, &value.data);
            Bytes::from(json)
        }
        _ => return Err(RedisError::WRONG_TYPE),
    })
}

/// The shortest decimal text of a `float`.
fn float_text(number: f64) -> String {
    const PLAIN_BELOW: f64 = 1e21;
    if number.abs() < PLAIN_BELOW || !number.is_finite() { number.to_string() } else { format!("{number:e}") }
}

/// The value of a Redis string.
pub(crate) fn string(text: Bytes) -> Value {
    Value { value_type: ValueType::of_string(&text), data: text }
}

/// What `TYPE` says.
pub(crate) fn type_name(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::List => "list",
        ValueType::Hash => "hash",
        ValueType::Set => "set",
        ValueType::ZSet => "zset",
        ValueType::Stream => "stream",
        _ => "string",
    }
}
