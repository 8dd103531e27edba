//! Keys and values as people type them.

use crate::args::{NumberArg, RangeArgs, TypeArg};
use crate::error::{CliError, Result};
use orchard_wire::json_text;
use orcharddb::{Key, KeyRange, Value, tuple};
use serde_json::Value as Json;

fn json_form(text: &str) -> Result<Option<Json>> {
    if !text.starts_with('[') && !text.starts_with("{\"$raw\"") {
        return Ok(None);
    }
    let not_json = |error| CliError::usage(format!("the key {text} is no JSON: {error}"));
    serde_json::from_str(text).map(Some).map_err(not_json)
}

/// The key that `text` names: a JSON array of parts if it starts with `[`, else a name (one string part).
///
/// # Errors
/// Exit code 2.
pub fn parse(text: &str) -> Result<Key> {
    Ok(match json_form(text)? {
        Some(json) => tuple::key_from_json(&json)?,
        None => tuple::name(text.as_bytes())?,
    })
}

/// As [`parse`], for the bounds of ranges.
fn parse_bound(text: &str) -> Result<bytes::Bytes> {
    match json_form(text)? {
        Some(json) => Ok(tuple::bound_from_json(&json)?),
        None => Ok(tuple::name(text.as_bytes())?.into_bytes()),
    }
}

/// How [`parse`] would read the key: the name alone if it is one that can be typed as it is, else JSON.
pub fn show(key: &[u8]) -> String {
    let name = tuple::decode_name(key).and_then(|name| String::from_utf8(name).ok());
    match name {
        Some(name) if is_plain(&name) && parse(&name).is_ok_and(|back| back.as_ref() == key) => name,
        _ => tuple::key_to_json(key).to_string(),
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['"', '\'', '-', '{'])
        && !name.contains(|c: char| c.is_control() || c.is_whitespace())
}

/// The range that the flags name.
///
/// # Errors
/// Exit code 2.
pub fn range(args: &RangeArgs) -> Result<KeyRange> {
    let bound = |text: &Option<String>| text.as_deref().map(parse_bound).transpose();
    let range = orchard_wire::range::build(bound(&args.prefix)?, bound(&args.start)?, bound(&args.end)?);
    range.map_err(|problem| CliError::usage(problem.to_string()))
}

/// The number that `text` writes.
///
/// # Errors
/// Exit code 2.
pub fn number(text: &str, number_type: NumberArg) -> Result<Value> {
    let value_type = match number_type {
        NumberArg::Int => TypeArg::Int,
        NumberArg::Float => TypeArg::Float,
        NumberArg::U64 => TypeArg::U64,
    };
    value(text.as_bytes(), value_type)
}

/// The value that `bytes` write.
///
/// # Errors
/// Exit code 2.
pub fn value(bytes: &[u8], value_type: TypeArg) -> Result<Value> {
    let shown = || String::from_utf8_lossy(bytes.get(..64).unwrap_or(bytes)).into_owned();
    let wrong = |expected: &str| CliError::usage(format!("{:?} is not {expected}", shown()));
    let text = || {
        std::str::from_utf8(bytes).map_err(|_| CliError::usage("the value is not UTF-8; use --type bytes"))
    };
    // A pipe ends its number with a line end.
    let word = || text().map(str::trim);
    Ok(match value_type {
        TypeArg::Text => Value::from(text()?),
        TypeArg::Bytes => Value::from(bytes),
        TypeArg::Int => Value::from(word()?.parse::<i64>().map_err(|_| wrong("an integer of 64 bits"))?),
        TypeArg::Float => Value::from(word()?.parse::<f64>().map_err(|_| wrong("a number"))?),
        TypeArg::U64 => {
            Value::u64(word()?.parse::<u64>().map_err(|_| wrong("an unsigned integer of 64 bits"))?)
        }
        TypeArg::Bool => Value::from(word()?.parse::<bool>().map_err(|_| wrong("true or false"))?),
        TypeArg::Null if word()?.is_empty() || word()? == "null" => Value::null(),
        TypeArg::Null => return Err(wrong("null")),
        TypeArg::Json => {
            let text = text()?;
            let text = text.trim();
            let not_json = |error| CliError::usage(format!("the value is no JSON: {error}"));
            json_text::check(text.as_bytes()).map_err(not_json)?;
            Value::json(text)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::ValueType;

    #[test]
    fn a_key_is_a_name_or_an_array() {
        assert_eq!(parse("users").expect("a name"), tuple::name(b"users").expect("short"));
        assert_eq!(parse("users/ada").expect("a name"), tuple::name(b"users/ada").expect("short"));
        assert_eq!(parse("[\"users\"]").expect("an array"), tuple::name(b"users").expect("short"));
        let parts = tuple::decode(&parse("[\"users\", 42]").expect("an array")).expect("a tuple");
        assert_eq!(parts.len(), 2);
        for text in ["[", "[null]", "[\"a\"] x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_typed() {
        for text in ["users", "users/ada", "é", "", "a b", "[", "\"a\"", "-x", "a\nb", "{\"$raw\""] {
            let key = tuple::name(text.as_bytes()).expect("short");
            assert_eq!(parse(&show(&key)).expect("typed"), key, "{text}");
        }
        assert_eq!(show(&parse("[\"users\",42]").expect("a key")), "[\"users\",42]");
        assert_eq!(show(b"\xfe"), "{\"$raw\":\"/g==\"}");
        assert_eq!(parse(&show(b"\xfe")).expect("raw").as_ref(), b"\xfe");
    }

    #[test]
    fn a_prefix_begins_longer_keys() {
        let args = |prefix: Option<&str>, start: Option<&str>, end: Option<&str>| RangeArgs {
            prefix: prefix.map(str::to_owned),
            start: start.map(str::to_owned),
            end: end.map(str::to_owned),
            ..RangeArgs::default()
        };
        let key = |text| parse(text).expect("a key");
        let users = range(&args(Some("users"), None, None)).expect("a range");
        assert!(users.contains(&key("[\"users\",\"ada\"]")) && users.contains(&key("[\"users\",1,2]")));
        assert!(!users.contains(&key("users")) && !users.contains(&key("usersx")));
        let part = range(&args(Some("users"), Some("[\"users\",\"b\"]"), Some("[\"users\",\"c\"]")))
            .expect("a range");
        assert!(part.contains(&key("[\"users\",\"bea\"]")));
        assert!(!part.contains(&key("[\"users\",\"ada\"]")) && !part.contains(&key("[\"users\",\"c\"]")));
        assert!(range(&args(None, None, None)).expect("a range").contains(b"\xff\xff"));
    }

    #[test]
    fn values_are_what_their_type_says() {
        assert_eq!(value(b"-5", TypeArg::Int).expect("int").as_int(), Some(-5));
        assert_eq!(value(b"42\n", TypeArg::U64).expect("u64").as_u64(), Some(42));
        assert_eq!(value(b"1e3", TypeArg::Float).expect("float").as_float(), Some(1_000.0));
        assert_eq!(value(b"a\n", TypeArg::Text).expect("text").as_text(), Some("a\n"));
        assert_eq!(value(b"\xff", TypeArg::Bytes).expect("bytes").value_type, ValueType::Bytes);
        assert_eq!(value(b" {\"a\": 1.0} \n", TypeArg::Json).expect("json").as_text(), Some("{\"a\": 1.0}"));
        assert_eq!(value(b"", TypeArg::Null).expect("null"), Value::null());
        for (bytes, value_type) in [
            (&b"x"[..], TypeArg::Int),
            (b"9223372036854775808", TypeArg::Int),
            (b"-1", TypeArg::U64),
            (b"yes", TypeArg::Bool),
            (b"{", TypeArg::Json),
            (b"1 2", TypeArg::Json),
            (b"\xff", TypeArg::Text),
            (b"0", TypeArg::Null),
        ] {
            assert!(value(bytes, value_type).is_err(), "{bytes:?} {value_type:?}");
        }
    }
}
