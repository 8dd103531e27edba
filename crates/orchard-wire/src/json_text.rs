//! JSON as text: documents are stored and shown as they were sent, so they are checked and copied, never rebuilt.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a `Vec` cannot fail, and every `str` has a JSON form.
    let written = serde_json::to_writer(out, text);
    debug_assert!(written.is_ok(), "a string became no JSON");
}

/// Visits a whole document and builds nothing: what it accepts every other reader can read, too.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Sound, D::Error> {
        deserializer.deserialize_any(Sound)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_unit<E>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sound, A::Error> {
        while seq.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sound, A::Error> {
        while map.next_entry::<Sound, Sound>()?.is_some() {}
        Ok(Sound)
    }
}

/// Whether `text` is one whole JSON document: valid UTF-8, at most 127 levels deep, no lone surrogates, no number beyond
/// the range of a double.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(text: &[u8]) -> Result<(), String> {
    std::str::from_utf8(text).map_err(|error| format!("not UTF-8 from byte {}", error.valid_up_to()))?;
    serde_json::from_slice::<Sound>(text).map(|_| ()).map_err(|error| error.to_string())
}

/// A struct that is a JSON object: by itself serde takes an array of its members, too.
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Object<T>, D::Error> {
        struct ObjectVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(ObjectVisitor(PhantomData))
    }
}

/// Appends a document that [`check`] accepts on one line: as it is if it has no line break, else without the spaces
/// between its tokens.
pub fn write_line(out: &mut Vec<u8>, text: &[u8]) {
    if !text.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(text);
        return;
    }
    let (mut in_string, mut escaped) = (false, false);
    for byte in text {
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        if in_string || !space {
            out.push(*byte);
        }
        if in_string && *byte == b'"' && !escaped {
            in_string = false;
        } else if !in_string && *byte == b'"' {
            in_string = true;
        }
        escaped = in_string && *byte == b'\\' && !escaped;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unsound_documents_are_refused() {
        let deep = "[".repeat(128) + &"]".repeat(128);
        for text in
            ["", "{", "[1,]", "\"\\ud800\"", "1e999", "[1] 2", "nul", "'a'", "\u{feff}1", deep.as_str()]
        {
            assert!(check(text.as_bytes()).is_err(), "{text}");
        }
        assert!(check(b"\"\xff\"").is_err());
        let deep = "[".repeat(127) + &"]".repeat(127);
        for text in
            ["1", " {\"a\": [1, 2.5e3, null, true, \"\\u00e9\"]} ", "{\"a\":1,\"a\":2}", deep.as_str()]
        {
            assert_eq!(check(text.as_bytes()), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_document_stays_as_it_is_on_one_line() {
        let line = |text: &str| {
            let mut out = Vec::new();
            write_line(&mut out, text.as_bytes());
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(line("{\"a\": 1.50}"), "{\"a\": 1.50}");
        assert_eq!(line("{\n \"a \\\" \\\\\": [1,\r\n\t2]\n}"), "{\"a \\\" \\\\\":[1,2]}");
    }

    proptest! {
        #[test]
        fn a_line_is_the_same_document(text in "[\\[\\]{}:,\" \n\\\\a1]{0,30}") {
            let mut line = Vec::new();
            write_line(&mut line, text.as_bytes());
            if check(text.as_bytes()).is_ok() {
                prop_assert!(!line.contains(&b'\n'));
                let before: serde_json::Value = serde_json::from_str(&text).expect("checked");
                prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&line).expect("JSON"), before);
            }
        }
    }
}
