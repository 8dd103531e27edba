//! Keys in a path: `users/ada` is `["users", "ada"]`.
//!
//! Every `/` parts, so `a//b` has an empty part in the middle and `a/` one at its end; a part is percent-decoded and is
//! a string part if the bytes are UTF-8, else a bytes part. Nothing is normalized here, but clients fold `.` and `..`
//! away before they send a path, so keys with such parts travel as `?key=[..]` ([`render`] knows).

use crate::percent;
use crate::problem::{Kind, Problem};
use orcharddb::tuple;
use orcharddb::{Key, KeyPart};
use serde_json::Value as Json;

/// The parts that `path` (without the leading `/v1/kv/`) names. An empty path names none.
///
/// # Errors
/// [`Kind::BadKey`]
pub fn parse(path: &[u8]) -> Result<Vec<KeyPart>, Problem> {
    if path.is_empty() {
        return Err(Problem::new(Kind::BadKey, "the path names no key; the empty name is ?key=[\"\"]"));
    }
    path.split(|byte| *byte == b'/').map(part).collect()
}

fn part(encoded: &[u8]) -> Result<KeyPart, Problem> {
    let decoded = percent::decode(encoded)
        .map_err(|error| Problem::new(Kind::BadKey, format!("bad path part: {error}")))?;
    Ok(match String::from_utf8(decoded) {
        Ok(text) => KeyPart::String(text),
        Err(error) => KeyPart::Bytes(error.into_bytes()),
    })
}

/// The key that `path` names.
///
/// # Errors
/// [`Kind::BadKey`], or [`Kind::LimitExceeded`] if it is too long.
pub fn parse_key(path: &[u8]) -> Result<Key, Problem> {
    Ok(tuple::encode(&parse(path)?)?)
}

/// The parts that a parameter names: JSON if it starts with `[`, else a bare path (not percent-encoded again).
///
/// # Errors
/// [`Kind::BadKey`]
pub fn parse_parameter(text: &[u8]) -> Result<Named, Problem> {
    if text.starts_with(b"[") || text.starts_with(b"{\"$raw\"") {
        let json: Json = serde_json::from_slice(text)
            .map_err(|error| Problem::new(Kind::BadKey, format!("the key is not JSON: {error}")))?;
        return match &json {
            Json::Array(_) => Ok(Named::Parts(tuple::parts_from_json(&json)?)),
            other => Ok(Named::Raw(tuple::bound_from_json(other)?)),
        };
    }
    let parts = text.split(|byte| *byte == b'/').map(|part| match std::str::from_utf8(part) {
        Ok(text) => KeyPart::String(text.to_owned()),
        Err(_) => KeyPart::Bytes(part.to_vec()),
    });
    Ok(Named::Parts(parts.collect()))
}

/// What a parameter names.
#[derive(Debug, Clone, PartialEq)]
pub enum Named {
    /// The parts of a tuple.
    Parts(Vec<KeyPart>),
    /// Bytes that are no tuple.
    Raw(bytes::Bytes),
}

impl Named {
    /// The bytes, as a key or a bound of a range.
    ///
    /// # Errors
    /// [`Kind::BadKey`]
    pub fn encode(&self) -> Result<bytes::Bytes, Problem> {
        match self {
            Named::Parts(parts) => Ok(tuple::encode_bound(parts)?),
            Named::Raw(bytes) => Ok(bytes.clone()),
        }
    }
}

/// What follows `/v1/kv` to name `key`: a path if it can, else `?key=` with JSON.
///
/// ```
/// use orchard_wire::key_path;
/// use orcharddb::IntoKey;
/// let key = "a b".into_key()?;
/// assert_eq!(key_path::render(&key), "/a%20b");
/// assert_eq!(key_path::render(&"..".into_key()?), "?key=%5B%22..%22%5D");
/// # Ok::<(), orcharddb::KeyError>(())
/// ```
pub fn render(key: &[u8]) -> String {
    match render_path(key) {
        Some(path) => format!("/{path}"),
        None => format!("?key={}", percent::encode(tuple::key_to_json(key).to_string().as_bytes())),
    }
}

fn render_path(key: &[u8]) -> Option<String> {
    let parts = tuple::decode(key)?;
    let mut path = String::new();
    for (index, part) in parts.iter().enumerate() {
        let bytes = match part {
            KeyPart::String(text) if text == "." || text == ".." => return None,
            KeyPart::String(text) => text.as_bytes(),
            KeyPart::Bytes(bytes) if std::str::from_utf8(bytes).is_err() => bytes,
            _ => return None,
        };
        if index > 0 {
            path.push('/');
        }
        path.push_str(&percent::encode(bytes));
    }
    let same = !path.is_empty() && tuple::encode_bound(&parts).is_ok_and(|encoded| encoded == key);
    same.then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(parts: &[&str]) -> Vec<KeyPart> {
        parts.iter().map(|part| KeyPart::String((*part).to_owned())).collect()
    }

    #[test]
    fn each_slash_parts() {
        for (path, parts) in [
            ("users/ada", &["users", "ada"][..]),
            ("a%2Fb", &["a/b"]),
            ("a//b", &["a", "", "b"]),
            ("a/", &["a", ""]),
            ("a+b", &["a+b"]),
            ("42", &["42"]),
            ("gr%C3%BCn", &["grün"]),
        ] {
            assert_eq!(parse(path.as_bytes()), Ok(text(parts)), "{path}");
        }
        assert_eq!(parse(b"a/%ff"), Ok(vec![KeyPart::String("a".into()), KeyPart::Bytes(vec![0xff])]));
        assert_eq!(parse(b"").map_err(|problem| problem.kind), Err(Kind::BadKey));
        assert_eq!(parse(b"a/%f").map_err(|problem| problem.kind), Err(Kind::BadKey));
    }

    #[test]
    fn parameters_are_json_or_bare_paths() {
        assert_eq!(parse_parameter(b"users/ada"), Ok(Named::Parts(text(&["users", "ada"]))));
        assert_eq!(parse_parameter(b"a%2Fb"), Ok(Named::Parts(text(&["a%2Fb"]))));
        let parts = vec![KeyPart::String("users".into()), KeyPart::Float(42.0)];
        assert_eq!(parse_parameter(b"[\"users\", 42]"), Ok(Named::Parts(parts)));
        assert_eq!(
            parse_parameter(b"{\"$raw\":\"AAE=\"}"),
            Ok(Named::Raw(bytes::Bytes::from_static(&[0, 1])))
        );
        assert_eq!(parse_parameter(b"{tag}"), Ok(Named::Parts(text(&["{tag}"]))));
        assert_eq!(parse_parameter(b"[1,").map_err(|problem| problem.kind), Err(Kind::BadKey));
        assert_eq!(parse_parameter(b"[null]").map_err(|problem| problem.kind), Err(Kind::BadKey));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_key(&bytes);
            let _ = parse_parameter(&bytes);
            let _ = render(&bytes);
        }

        #[test]
        fn a_rendered_key_is_parsed_back(parts in prop::collection::vec("[./a-z é]{0,4}", 0..4)) {
            let parts: Vec<KeyPart> = parts.into_iter().map(KeyPart::String).collect();
            let key = tuple::encode(&parts).expect("short");
            let rendered = render(&key);
            let parsed = match rendered.strip_prefix("?key=") {
                Some(query) => {
                    let json = percent::decode_query(query.as_bytes()).expect("encoded");
                    parse_parameter(&json).expect("JSON").encode().expect("a key")
                }
                None => parse_key(&rendered.as_bytes()[1..]).expect("a path").into_bytes(),
            };
            prop_assert_eq!(parsed, key.into_bytes(), "{}", rendered);
        }
    }
}
