//! Ranges of keys: `prefix`, `start` and `end`, alone or together.

use crate::key_path::{self, Named};
use crate::problem::Problem;
use crate::query::Parameters;
use bytes::Bytes;
use orcharddb::{KeyPart, KeyRange};

/// The keys that begin with the encoded parts `prefix` and have more: the prefix itself is not among them.
pub fn tuple_prefix(prefix: &[u8]) -> KeyRange {
    let with = |byte: u8| Bytes::from([prefix, &[byte]].concat());
    KeyRange { start: with(0x00), end: Some(with(0xff)) }
}

/// Where all of the given bounds overlap: `prefix` as in [`tuple_prefix`], `start` is the first key, `end` the first
/// behind the last. None given is every key.
///
/// # Errors
/// [`crate::Kind::LimitExceeded`]
pub fn build(prefix: Option<Bytes>, start: Option<Bytes>, end: Option<Bytes>) -> Result<KeyRange, Problem> {
    let within = prefix.map_or_else(KeyRange::all, |prefix| tuple_prefix(&prefix));
    let range = intersect(&within, &KeyRange { start: start.unwrap_or_default(), end });
    Ok(KeyRange::new(range.start, range.end)?)
}

/// The range of one key.
pub fn one(key: &[u8]) -> KeyRange {
    KeyRange { start: Bytes::copy_from_slice(key), end: Some(Bytes::from([key, &[0]].concat())) }
}

/// The keys that lie in both ranges.
pub fn intersect(a: &KeyRange, b: &KeyRange) -> KeyRange {
    let end = match (&a.end, &b.end) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.as_ref().or(b.as_ref()),
    };
    KeyRange { start: a.start.clone().max(b.start.clone()), end: end.cloned() }
}

/// Takes `prefix`, `start` and `end` from a query string. One `/` at the end of a bare `prefix` is ignored, so that
/// `prefix=users/` means what it looks like.
///
/// # Errors
/// [`crate::Kind::BadKey`], [`crate::Kind::LimitExceeded`]
pub fn take(parameters: &mut Parameters) -> Result<KeyRange, Problem> {
    let prefix = parameters.take("prefix")?.map(|text| parse_prefix(&text)).transpose()?;
    let mut bound = |name| {
        let text = parameters.take(name)?;
        text.map(|text| key_path::parse_parameter(&text).and_then(|named| named.encode())).transpose()
    };
    let (start, end) = (bound("start")?, bound("end")?);
    build(prefix, start, end)
}

/// The keys that have a prefix, given as a parameter has it.
///
/// # Errors
/// [`crate::Kind::BadKey`], [`crate::Kind::LimitExceeded`]
pub fn of_prefix(text: &[u8]) -> Result<KeyRange, Problem> {
    build(Some(parse_prefix(text)?), None, None)
}

fn parse_prefix(text: &[u8]) -> Result<Bytes, Problem> {
    if text.is_empty() {
        return Ok(Bytes::new());
    }
    match key_path::parse_parameter(text)? {
        Named::Parts(mut parts) => {
            let empty_end = parts.last() == Some(&KeyPart::String(String::new()));
            if empty_end && parts.len() > 1 && !text.starts_with(b"[") {
                parts.pop();
            }
            Named::Parts(parts).encode()
        }
        named => named.encode(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::tuple;
    use proptest::prelude::*;

    fn range(query: &str) -> KeyRange {
        let mut parameters = Parameters::parse(query.as_bytes()).expect("well-formed");
        let range = take(&mut parameters).expect("a range");
        parameters.finish().expect("nothing else");
        range
    }

    fn key(json: &str) -> Bytes {
        tuple::bound_from_json(&serde_json::from_str(json).expect("JSON")).expect("a key")
    }

    #[test]
    fn a_prefix_has_the_longer_keys_only() {
        for query in ["prefix=users", "prefix=users/", "prefix=%5B%22users%22%5D"] {
            let range = range(query);
            for (json, inside) in [
                (r#"["users"]"#, false),
                (r#"["users", "ada"]"#, true),
                (r#"["users", {"$bytes": ""}]"#, true),
                (r#"["users", true]"#, true),
                (r#"["users2"]"#, false),
                (r#"["users\u0000"]"#, false),
            ] {
                assert_eq!(range.contains(&key(json)), inside, "{query} {json}");
            }
        }
    }

    #[test]
    fn bounds_overlap() {
        assert_eq!(range(""), KeyRange::all());
        assert_eq!(range("start=b").start, key("[\"b\"]"));
        let both = range("prefix=users&start=users/b&end=users/d");
        for (json, inside) in [("a", false), ("b", true), ("c", true), ("d", false)] {
            assert_eq!(both.contains(&key(&format!("[\"users\", \"{json}\"]"))), inside, "{json}");
        }
        assert!(range("prefix=users&start=z").is_empty());
    }

    proptest! {
        #[test]
        fn an_intersection_has_what_both_have(
            a in prop::collection::vec(0..4u8, 0..3), b in prop::option::of(prop::collection::vec(0..4u8, 0..3)),
            c in prop::collection::vec(0..4u8, 0..3), d in prop::option::of(prop::collection::vec(0..4u8, 0..3)),
            key in prop::collection::vec(0..4u8, 0..4),
        ) {
            let x = KeyRange { start: Bytes::from(a), end: b.map(Bytes::from) };
            let y = KeyRange { start: Bytes::from(c), end: d.map(Bytes::from) };
            prop_assert_eq!(intersect(&x, &y).contains(&key), x.contains(&key) && y.contains(&key));
        }
    }
}
