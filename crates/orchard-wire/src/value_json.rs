//! Values as JSON, in both directions, and as the raw body of a GET.
//!
//! | type | JSON |
//! |---|---|
//! | text | `"text"` |
//! | int | `42` |
//! | float | `1.5`, `42.0`, `1e300`; `{"$number": "NaN" \| "Infinity" \| "-Infinity"}` |
//! | bool, null | `true`, `null` |
//! | json | the document, as it was sent |
//! | bytes | `{"$bytes": "base64"}` |
//! | u64 | `{"$u64": "5"}` |
//! | v8 | `{"$v8": rendering}`, see [`crate::v8`] |
//! | list, set, hash, zset | an array, an array, an object, an array of `[member, score]`: if whoever reads them has put that text in place of the stored bytes, which never begin as JSON does |
//!
//! Without a type beside it, JSON is read the other way round: a number without fraction and exponent that fits i64 is an
//! int, any other number a float, an object whose only member is one of the `$` names above is what that says, any other
//! object and every array is a `json` document, its text kept. A `json` document that looks like something else (a scalar,
//! or `{"$bytes": ..}`) is told apart by the `type` that every entry carries.

use crate::json_text;
use crate::problem::{Kind, Problem};
use crate::v8;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use orcharddb::{Value, ValueType};

/// A shorter text is written as it is, whatever is in it.
const ESCAPED_TEXT_BYTES_MIN: usize = 1_024;

/// Appends the JSON form of `value`, on one line.
pub fn write(out: &mut Vec<u8>, value: &Value) {
    if !write_known(out, value) {
        write_tag(out, "$bytes", &BASE64.encode(&value.data));
    }
}

/// As [`write`], but JavaScript values as their own bytes, which a rendering as JSON may not give back, and so is a text that
/// escapes would make more than twice as long: with the type beside it, [`parse_as`] reads the very value.
pub fn write_own(out: &mut Vec<u8>, value: &Value) {
    match value.value_type {
        ValueType::V8 => write_tag(out, "$bytes", &BASE64.encode(&value.data)),
        ValueType::Text if is_mostly_escapes(&value.data) => {
            write_tag(out, "$bytes", &BASE64.encode(&value.data));
        }
        _ => write(out, value),
    }
}

/// Whether a long text is more than twice as long as a JSON string. Bodies and lines that hold the largest value have room for
/// twice its bytes, not for six times (`\u0000`).
fn is_mostly_escapes(text: &[u8]) -> bool {
    let added = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() >= ESCAPED_TEXT_BYTES_MIN && text.iter().map(added).sum::<usize>() > text.len()
}

/// In which form values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// As [`write`] does: for people.
    #[default]
    Shown,
    /// As [`write_own`] does: for programs that want the very value.
    Own,
}

impl Form {
    /// Appends the JSON of `value`.
    pub fn write(self, out: &mut Vec<u8>, value: &Value) {
        match self {
            Form::Shown => write(out, value),
            Form::Own => write_own(out, value),
        }
    }
}

/// The JSON form of `value` as a tree; `null` if it has a document that no tree can hold.
pub fn to_json(value: &Value) -> serde_json::Value {
    let mut text = Vec::new();
    write(&mut text, value);
    serde_json::from_slice(&text).unwrap_or_default()
}

fn write_tag(out: &mut Vec<u8>, tag: &str, text: &str) {
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(tag.as_bytes());
    out.extend_from_slice(b"\":\"");
    out.extend_from_slice(text.as_bytes());
    out.extend_from_slice(b"\"}");
}

/// False if the type has no form of its own, or the bytes do not fit it.
fn write_known(out: &mut Vec<u8>, value: &Value) -> bool {
    match value.value_type {
        ValueType::Text => match value.as_text() {
            Some(text) => json_text::write_string(out, text),
            None => return false,
        },
        ValueType::Json => match value.as_text() {
            Some(text) => json_text::write_line(out, text.as_bytes()),
            None => return false,
        },
        ValueType::Float => match value.as_float() {
            Some(number) if !number.is_finite() => write_tag(out, "$number", non_finite(number)),
            Some(number) => out.extend_from_slice(format!("{number:?}").as_bytes()),
            None => return false,
        },
        ValueType::U64 => match value.as_u64() {
            Some(number) => write_tag(out, "$u64", &number.to_string()),
            None => return false,
        },
        ValueType::V8 => {
            out.extend_from_slice(b"{\"$v8\":");
            v8::to_json(out, &value.data);
            out.push(b'}');
        }
        _ if is_shown_collection(value) => out.extend_from_slice(&value.data),
        _ => match scalar_text(value) {
            Some(text) => out.extend_from_slice(text.as_bytes()),
            None => return false,
        },
    }
    true
}

/// Whether the JSON of a collection stands in place of its bytes.
fn is_shown_collection(value: &Value) -> bool {
    value.value_type.is_collection()
        && matches!(value.data.first(), Some(b'[' | b'{'))
        && std::str::from_utf8(&value.data).is_ok()
}

fn non_finite(number: f64) -> &'static str {
    match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "Infinity",
        (false, false) => "-Infinity",
    }
}

/// The plain text of a number, bool or null; `None` for other types, and bytes that do not fit.
fn scalar_text(value: &Value) -> Option<String> {
    match value.value_type {
        ValueType::Int => value.as_int().map(|number| number.to_string()),
        ValueType::U64 => value.as_u64().map(|number| number.to_string()),
        ValueType::Float => value.as_float().map(|number| {
            if number.is_finite() { format!("{number:?}") } else { non_finite(number).to_owned() }
        }),
        ValueType::Bool => value.as_bool().map(|truth| truth.to_string()),
        ValueType::Null => value.data.is_empty().then(|| "null".to_owned()),
        _ => None,
    }
}

/// The raw body of a value: numbers, bools and null as plain text, JavaScript values as JSON, everything else as its bytes.
pub fn raw(value: &Value) -> Bytes {
    if value.value_type == ValueType::V8 {
        let mut out = Vec::new();
        v8::to_json(&mut out, &value.data);
        return Bytes::from(out);
    }
    scalar_text(value).map_or_else(|| value.data.clone(), Bytes::from)
}

/// Whether [`raw`] of the value is JSON text, too (a float may be `NaN`).
pub fn raw_is_json(value: &Value) -> bool {
    match value.value_type {
        ValueType::Json | ValueType::Int | ValueType::U64 | ValueType::Bool | ValueType::Null => {
            value.is_well_formed()
        }
        ValueType::V8 => true,
        ValueType::Float => value.as_float().is_some_and(f64::is_finite),
        _ => is_shown_collection(value),
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadValue, detail)
}

/// The value that a body of `application/json` describes, the whole text kept if it is a document.
///
/// # Errors
/// [`Kind::BadJson`] if it is not JSON, [`Kind::BadValue`] if a `$` form or number is none.
///
/// ```
/// use orchard_wire::value_json;
/// use orcharddb::Value;
/// assert_eq!(value_json::parse(b"42"), Ok(Value::from(42_i64)));
/// assert_eq!(value_json::parse(b"42.0"), Ok(Value::from(42.0_f64)));
/// assert_eq!(value_json::parse(b"{\"a\": 1}"), Ok(Value::json("{\"a\": 1}")));
/// assert_eq!(value_json::parse(b"{\"$u64\": \"5\"}"), Ok(Value::u64(5)));
/// ```
pub fn parse(text: &[u8]) -> Result<Value, Problem> {
    parse_as(text, None)
}

/// As [`parse`], with the type that an entry carries: the text must be a form of that type.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`]
pub fn parse_as(text: &[u8], value_type: Option<ValueType>) -> Result<Value, Problem> {
    json_text::check(text)
        .map_err(|why| Problem::new(Kind::BadJson, format!("the value is not JSON: {why}")))?;
    if value_type == Some(ValueType::Json) {
        return Ok(Value::new(ValueType::Json, text.to_vec()));
    }
    let value = parse_checked(text)?;
    let Some(wanted) = value_type else { return Ok(value) };
    let found = value.value_type;
    let converted = match wanted {
        _ if wanted == found => Some(value),
        ValueType::Float => value.as_int().map(|number| Value::from(number as f64)),
        ValueType::U64 => value.as_int().and_then(|number| u64::try_from(number).ok()).map(Value::u64),
        // What has no short form of its own travels as its bytes.
        ValueType::V8 if found == ValueType::Bytes => Some(Value::new(ValueType::V8, value.data)),
        ValueType::Text if found == ValueType::Bytes && std::str::from_utf8(&value.data).is_ok() => {
            Some(Value::new(ValueType::Text, value.data))
        }
        _ => None,
    };
    converted.ok_or_else(|| bad(format!("the value is {found}, its type says {wanted}")))
}

/// As [`parse_as`], for what clients are shown: the JSON of a collection stands in place of its bytes, as [`write`] gave it.
/// Such a value is not to be stored.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`]
pub fn parse_shown(text: &[u8], value_type: ValueType) -> Result<Value, Problem> {
    if !value_type.is_collection() {
        return parse_as(text, Some(value_type));
    }
    json_text::check(text)
        .map_err(|why| Problem::new(Kind::BadJson, format!("the value is not JSON: {why}")))?;
    Ok(Value::new(value_type, text.trim_ascii().to_vec()))
}

fn parse_checked(text: &[u8]) -> Result<Value, Problem> {
    let trimmed = text.trim_ascii();
    let document = || Value::new(ValueType::Json, text.to_vec());
    match trimmed.first() {
        Some(b'"') => Ok(Value::from(string(trimmed)?)),
        Some(b't') => Ok(Value::from(true)),
        Some(b'f') => Ok(Value::from(false)),
        Some(b'n') => Ok(Value::null()),
        Some(b'[') => Ok(document()),
        Some(b'{') => Ok(tagged(trimmed)?.unwrap_or_else(document)),
        _ => number(trimmed),
    }
}

fn string(text: &[u8]) -> Result<String, Problem> {
    serde_json::from_slice(text).map_err(|error| bad(error.to_string()))
}

fn number(text: &[u8]) -> Result<Value, Problem> {
    let text = std::str::from_utf8(text).map_err(|error| bad(error.to_string()))?;
    if let Ok(number) = text.parse::<i64>() {
        return Ok(Value::from(number));
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::from(number)),
        _ => Err(bad(format!("{} is not a number that fits", crate::query::shown(text.as_bytes())))),
    }
}

/// One of the `$` forms; `None` for any other object.
fn tagged(text: &[u8]) -> Result<Option<Value>, Problem> {
    // Looking at the beginning first keeps documents from being parsed a second time.
    let inside = text.get(1..).unwrap_or_default().trim_ascii_start();
    let starts = |tag: &str| inside.strip_prefix(b"\"").is_some_and(|rest| rest.starts_with(tag.as_bytes()));
    let Some(tag) = ["$bytes\"", "$u64\"", "$number\"", "$v8\""].into_iter().find(|tag| starts(tag)) else {
        return Ok(None);
    };
    let object: std::collections::BTreeMap<String, &serde_json::value::RawValue> =
        serde_json::from_slice(text).map_err(|error| bad(error.to_string()))?;
    let mut members = object.into_iter();
    let (Some((_, content)), None) = (members.next(), members.next()) else { return Ok(None) };
    let tag = tag.trim_end_matches('"');
    if tag == "$v8" {
        let bytes = v8::from_json(content.get().as_bytes()).map_err(|error| bad(error.to_string()))?;
        return Ok(Some(Value::new(ValueType::V8, bytes)));
    }
    let wrong = |form: &str| bad(format!("{{\"{tag}\": ..}} needs {form}"));
    let content = string(content.get().as_bytes()).map_err(|_| wrong("a string"))?;
    match tag {
        "$bytes" => BASE64.decode(content).map(Value::from).map_err(|_| wrong("base64")),
        "$u64" => match content.parse::<u64>() {
            Ok(number) if content.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Value::u64(number)),
            _ => Err(wrong("the digits of a 64-bit unsigned number")),
        },
        _ => match content.as_str() {
            "NaN" => Ok(Value::from(f64::NAN)),
            "Infinity" => Ok(Value::from(f64::INFINITY)),
            "-Infinity" => Ok(Value::from(f64::NEG_INFINITY)),
            _ => Err(wrong("NaN, Infinity or -Infinity")),
        },
    }
    .map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn json(value: &Value) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn each_type_has_its_form() {
        for (value, text) in [
            (Value::from("a\"\n"), r#""a\"\n""#),
            (Value::from(-42_i64), "-42"),
            (Value::from(42.0_f64), "42.0"),
            (Value::from(-0.0_f64), "-0.0"),
            (Value::from(1e300_f64), "1e300"),
            (Value::from(f64::NAN), r#"{"$number":"NaN"}"#),
            (Value::from(true), "true"),
            (Value::null(), "null"),
            (Value::json("[1, 2]"), "[1, 2]"),
            (Value::bytes(vec![0, 255]), r#"{"$bytes":"AP8="}"#),
            (Value::u64(u64::MAX), r#"{"$u64":"18446744073709551615"}"#),
            (Value::new(ValueType::V8, vec![0xff, 15, b'\'', b'I', 2, b',', 1]), r#"{"$v8":{"$set":[1]}}"#),
            (Value::new(ValueType::V8, vec![1]), r#"{"$v8":{"$raw":"AQ=="}}"#),
        ] {
            assert_eq!(json(&value), text);
            assert_eq!(parse(text.as_bytes()), Ok(value), "{text}");
        }
        assert_eq!(
            json(&Value::new(ValueType::Int, vec![1])),
            r#"{"$bytes":"AQ=="}"#,
            "damaged values still show"
        );
        assert_eq!(
            json(&Value::new(ValueType::List, vec![b'[', 0x80])),
            r#"{"$bytes":"W4A="}"#,
            "so do bytes that only begin as the JSON of a collection does"
        );
    }

    #[test]
    fn numbers_are_ints_if_they_fit() {
        assert_eq!(parse(b"9223372036854775807"), Ok(Value::from(i64::MAX)));
        assert_eq!(parse(b"9223372036854775808"), Ok(Value::from(9_223_372_036_854_775_808_f64)));
        assert_eq!(parse(b"1e3"), Ok(Value::from(1_000.0_f64)));
        assert_eq!(parse(b" 7\n"), Ok(Value::from(7_i64)));
    }

    #[test]
    fn a_type_decides_between_forms() {
        let as_type = |text: &str, value_type| parse_as(text.as_bytes(), Some(value_type)).ok();
        assert_eq!(as_type("5", ValueType::Json), Some(Value::json("5")));
        assert_eq!(as_type(r#"{"$bytes":"!"}"#, ValueType::Json), Some(Value::json(r#"{"$bytes":"!"}"#)));
        assert_eq!(as_type("5", ValueType::Float), Some(Value::from(5.0_f64)));
        assert_eq!(as_type("5", ValueType::U64), Some(Value::u64(5)));
        assert_eq!(as_type("-5", ValueType::U64), None);
        assert_eq!(as_type("5.0", ValueType::Int), None);
        assert_eq!(as_type("\"5\"", ValueType::Int), None);
        assert_eq!(
            as_type(r#"{"$bytes":"/w8="}"#, ValueType::V8),
            Some(Value::new(ValueType::V8, vec![255, 15]))
        );
    }

    #[test]
    fn a_long_text_of_escapes_travels_as_its_bytes() {
        let own = |value: &Value| {
            let mut out = Vec::new();
            write_own(&mut out, value);
            out
        };
        for text in ["\0".repeat(100_000), "\u{1b}é\n".repeat(50_000), "\"\\".repeat(50_000)] {
            let value = Value::from(text);
            let written = own(&value);
            assert!(written.len() <= 2 * value.data.len() + 64, "{} bytes", written.len());
            assert_eq!(parse_as(&written, Some(ValueType::Text)), Ok(value));
        }
        assert_eq!(own(&Value::from("\0")), br#""\u0000""#);
        assert!(parse_as(br#"{"$bytes":"/w=="}"#, Some(ValueType::Text)).is_err(), "not UTF-8");
    }

    #[test]
    fn bad_forms_are_refused() {
        for text in [
            r#"{"$bytes":"?"}"#,
            r#"{"$bytes":5}"#,
            r#"{"$u64":"+5"}"#,
            r#"{"$u64":"-5"}"#,
            r#"{"$number":"1"}"#,
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|problem| problem.kind), Err(Kind::BadValue), "{text}");
        }
        for text in ["", "{", "undefined", "NaN"] {
            assert_eq!(parse(text.as_bytes()).map_err(|problem| problem.kind), Err(Kind::BadJson), "{text}");
        }
        for text in [r#"{"$bytes":"AA==","more":1}"#, r#"{"$other":1}"#, r#"{"a":{"$bytes":5}}"#, "{}"] {
            assert_eq!(parse(text.as_bytes()), Ok(Value::json(text)), "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter("one NaN", |number| !number.is_nan()).prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::null()),
            prop::sample::select(vec!["5", "{\"$map\":[[1,{\"$ref\":0}]]}", "[\"a\",{\"$bytes\":\"AA==\"}]"])
                .prop_map(|json| Value::new(ValueType::V8, v8::from_json(json.as_bytes()).expect("a form"))),
            any::<u64>().prop_map(Value::u64),
            prop::sample::select(vec!["5", "\"a\"", "{\"$bytes\":\"AA==\"}", "[1, {\"b\": 2.50}]"])
                .prop_map(Value::json),
        ]
    }

    proptest! {
        #[test]
        fn values_come_back_with_their_type(value in value()) {
            let text = json(&value);
            prop_assert_eq!(parse_as(text.as_bytes(), Some(value.value_type)), Ok(value), "{}", text);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40), number in 0..14u8) {
            let _ = parse(&bytes);
            let value = Value::new(ValueType::from_number(number).expect("known"), bytes);
            let _ = (json(&value), raw(&value), raw_is_json(&value));
        }
    }
}
