//! Media types: what a body's Content-Type makes of it, and what an Accept header names.

use crate::problem::{Kind, Problem};
use crate::value_json::{self, Form};
use bytes::Bytes;
use orcharddb::{Value, ValueType};

/// Any bytes.
pub const OCTET_STREAM: &str = "application/octet-stream";
/// UTF-8 text.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// JSON.
pub const JSON: &str = "application/json";
/// JSON in which JavaScript values are their own bytes, `{"$bytes": "base64"}`, and not a rendering.
pub const JSON_V8_BYTES: &str = "application/json;v8=bytes";
/// The same a line.
pub const NDJSON_V8_BYTES: &str = "application/x-ndjson;v8=bytes";
/// One JSON text a line.
pub const NDJSON: &str = "application/x-ndjson";
/// A change of a JSON document (RFC 7396).
pub const MERGE_PATCH: &str = "application/merge-patch+json";
/// What curl sends with `--data` unasked.
pub const FORM: &str = "application/x-www-form-urlencoded";
/// An error.
pub const PROBLEM: &str = "application/problem+json";

/// The lower-case type of a Content-Type and its charset.
fn split(content_type: &str) -> (String, Option<String>) {
    let mut pieces = content_type.split(';');
    let essence = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
    let charset = pieces.find_map(|piece| {
        let (name, value) = piece.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("charset")
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    });
    (essence, charset)
}

/// Whether `content_type` is this media type, whatever its parameters.
pub fn is(content_type: &str, media_type: &str) -> bool {
    split(content_type).0 == media_type
}

/// Whether `content_type` says JSON.
pub fn is_json(content_type: &str) -> bool {
    let (essence, charset) = split(content_type);
    essence == JSON && charset.is_none_or(|charset| charset == "utf-8")
}

/// Whether `content_type` says one JSON text a line.
pub fn is_ndjson(content_type: &str) -> bool {
    let (essence, charset) = split(content_type);
    matches!(essence.as_str(), NDJSON | "application/jsonl")
        && charset.is_none_or(|charset| charset == "utf-8")
}

/// The value that a request's body is: `application/octet-stream` is bytes, `text/plain` text, `application/json` what
/// [`value_json::parse`] says. Without a type, or with the form type that curl sends unasked, it is text if it is UTF-8,
/// else bytes.
///
/// # Errors
/// [`Kind::UnsupportedMediaType`], [`Kind::BadValue`] if text is not UTF-8, and those of [`value_json::parse`]
pub fn value(content_type: Option<&str>, body: Bytes) -> Result<Value, Problem> {
    let text = |body: Bytes| match std::str::from_utf8(&body) {
        Ok(_) => Ok(Value::new(ValueType::Text, body)),
        Err(_) => Err(body),
    };
    let (essence, charset) = split(content_type.unwrap_or_default());
    if let Some(charset) = charset
        && essence != OCTET_STREAM
        && !matches!(charset.as_str(), "utf-8" | "utf8" | "us-ascii")
    {
        let detail = format!("charset {} is not utf-8", crate::query::shown(charset.as_bytes()));
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    match essence.as_str() {
        "" | FORM => Ok(text(body).unwrap_or_else(Value::bytes)),
        OCTET_STREAM => Ok(Value::bytes(body)),
        "text/plain" => text(body).map_err(|_| {
            Problem::new(
                Kind::BadValue,
                "the body is text/plain and not UTF-8; send bytes as application/octet-stream",
            )
        }),
        JSON => {
            let value = value_json::parse(&body)?;
            // A document keeps the very bytes of the body, without a copy.
            Ok(if value.value_type == ValueType::Json { Value::new(ValueType::Json, body) } else { value })
        }
        other => {
            let detail = format!(
                "{} is not stored with a value; send text/plain, application/json or application/octet-stream",
                crate::query::shown(other.as_bytes())
            );
            Err(Problem::new(Kind::UnsupportedMediaType, detail))
        }
    }
}

/// Whether an Accept header names `media_type` itself (no wildcard) with a weight over 0.
pub fn accepts(accept: &str, media_type: &str) -> bool {
    accept.split(',').any(|range| {
        let mut pieces = range.split(';').map(str::trim);
        let named = pieces.next().is_some_and(|named| named.eq_ignore_ascii_case(media_type));
        let refused = pieces.any(|piece| {
            piece.split_once('=').is_some_and(|(name, weight)| {
                name.trim().eq_ignore_ascii_case("q")
                    && weight.trim().parse::<f32>().is_ok_and(|weight| weight <= 0.0)
            })
        });
        named && !refused
    })
}

/// In which form values go to somebody who sends this Accept header: JavaScript values as their own bytes with the parameter
/// `v8=bytes`.
pub fn form(accept: &str) -> Form {
    let names_bytes = |piece: &str| piece.trim().eq_ignore_ascii_case("v8=bytes");
    if accept.split([',', ';']).any(names_bytes) { Form::Own } else { Form::Shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_makes_the_value() {
        let make = |content_type, body: &'static [u8]| {
            value(content_type, Bytes::from_static(body)).map_err(|problem| problem.kind)
        };
        assert_eq!(make(Some("text/plain"), b"hi"), Ok(Value::from("hi")));
        assert_eq!(make(Some("Text/Plain; Charset=\"UTF-8\""), b"hi"), Ok(Value::from("hi")));
        assert_eq!(make(Some("text/plain"), b"\xff"), Err(Kind::BadValue));
        assert_eq!(make(Some("text/plain; charset=latin1"), b"hi"), Err(Kind::UnsupportedMediaType));
        assert_eq!(make(Some("application/octet-stream"), b"hi"), Ok(Value::bytes(&b"hi"[..])));
        assert_eq!(make(Some("application/json"), b"42"), Ok(Value::from(42_i64)));
        assert_eq!(make(Some("application/json"), b"\"hi\""), Ok(Value::from("hi")));
        assert_eq!(make(Some("application/json"), b" {\"a\": 1}\n"), Ok(Value::json(" {\"a\": 1}\n")));
        assert_eq!(make(Some("application/json"), b"{"), Err(Kind::BadJson));
        assert_eq!(make(Some("application/x-www-form-urlencoded"), b"hi"), Ok(Value::from("hi")));
        assert_eq!(make(None, b"hi"), Ok(Value::from("hi")));
        assert_eq!(make(None, b"\xff"), Ok(Value::bytes(&b"\xff"[..])));
        assert_eq!(make(Some("image/png"), b"hi"), Err(Kind::UnsupportedMediaType));
    }

    #[test]
    fn accept_names_types() {
        assert!(accepts("application/json", JSON));
        assert!(accepts("text/html, Application/JSON;q=0.5", JSON));
        assert!(!accepts("application/json;q=0", JSON));
        assert!(!accepts("*/*", JSON));
        assert!(!accepts("application/json-seq", JSON));
        assert!(accepts("application/x-ndjson", NDJSON));
        assert!(accepts(JSON_V8_BYTES, JSON) && accepts(NDJSON_V8_BYTES, NDJSON));
        assert_eq!(
            [form(JSON_V8_BYTES), form(JSON), form("a/b, c/d; V8=bytes;q=1")],
            [Form::Own, Form::Shown, Form::Own]
        );
    }
}
