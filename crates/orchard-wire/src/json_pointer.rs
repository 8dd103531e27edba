//! Parts of JSON documents by RFC 6901 pointers (`/users/0/name`), found and replaced in the text: what a pointer does not
//! name stays as it was sent, byte for byte.

use crate::json_text;
use crate::problem::{Kind, Problem};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The unescaped steps of a pointer; none name the whole document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a document could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PointerError {
    /// What the pointer names, or what should hold it, is not there.
    Missing,
    /// The text is no JSON document.
    NotJson,
}

impl From<PointerError> for Problem {
    fn from(error: PointerError) -> Problem {
        match error {
            PointerError::Missing => {
                Problem::new(Kind::PointerNotFound, "the document has nothing where the pointer points")
            }
            PointerError::NotJson => Problem::new(Kind::BadValue, "the value is not a JSON document"),
        }
    }
}

impl Pointer {
    /// # Errors
    /// A text for people.
    ///
    /// ```
    /// use orchard_wire::json_pointer::Pointer;
    /// assert!(Pointer::parse("/users/0/a~1b").is_ok());
    /// assert!(Pointer::parse("users").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Pointer, String> {
        let Some(steps) = text.strip_prefix('/') else {
            return match text {
                "" => Ok(Pointer(Vec::new())),
                _ => Err("a JSON pointer is empty or begins with /".to_owned()),
            };
        };
        let mut rest = text;
        while let Some(tilde) = rest.find('~') {
            rest = rest.get(tilde + 1..).unwrap_or_default();
            if !rest.starts_with(['0', '1']) {
                return Err("in a JSON pointer ~ is written ~0 and / is written ~1".to_owned());
            }
        }
        Ok(Pointer(steps.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect()))
    }

    /// Whether it names the whole document.
    pub fn is_whole(&self) -> bool {
        self.0.is_empty()
    }

    /// The part of `document` that it names.
    ///
    /// # Errors
    /// [`PointerError`]
    pub fn find<'a>(&self, document: &'a str) -> Result<&'a str, PointerError> {
        walk(document, &self.0)
    }

    /// `document` with `value` where it points: replaced, added to the object that is there, or appended to the array
    /// (`-`, or the index behind the last).
    ///
    /// # Errors
    /// [`PointerError`]
    pub fn set(&self, document: &str, value: &str) -> Result<String, PointerError> {
        let Some((last, parents)) = self.0.split_last() else { return Ok(value.to_owned()) };
        let parent = walk(document, parents)?;
        let (found, can_add) = step(parent, last)?;
        if let Some(found) = found {
            return Ok(spliced(document, found, value));
        }
        if !can_add {
            return Err(PointerError::Missing);
        }
        let body = parent.trim_end();
        let (inside, end) = body.split_at_checked(body.len() - 1).ok_or(PointerError::NotJson)?;
        let mut added = inside.trim_end().as_bytes().to_vec();
        if !matches!(inside.trim_ascii(), "{" | "[") {
            added.push(b',');
        }
        if end == "}" {
            json_text::write_string(&mut added, last);
            added.push(b':');
        }
        added.extend_from_slice(value.as_bytes());
        added.extend_from_slice(end.as_bytes());
        let added = String::from_utf8(added).map_err(|_| PointerError::NotJson)?;
        Ok(spliced(document, parent, &added))
    }

    /// `document` without the part that it names; the elements behind one of an array move up.
    ///
    /// # Errors
    /// [`PointerError`], also for the whole document.
    pub fn remove(&self, document: &str) -> Result<String, PointerError> {
        let (last, parents) = self.0.split_last().ok_or(PointerError::Missing)?;
        let parent = walk(document, parents)?;
        step(parent, last)?.0.ok_or(PointerError::Missing)?;
        let is_object = parent.trim_start().starts_with('{');
        let mut out = vec![if is_object { b'{' } else { b'[' }];
        let (mut position, skipped) = (0, index(last));
        each(parent, |name, value| {
            let is_it = name.map_or(Some(position) == skipped, |name| name == last);
            position += 1;
            if is_it {
                return;
            }
            if out.len() > 1 {
                out.push(b',');
            }
            if let Some(name) = name {
                json_text::write_string(&mut out, name);
                out.push(b':');
            }
            out.extend_from_slice(value.as_bytes());
        })?;
        out.push(if is_object { b'}' } else { b']' });
        let rest = String::from_utf8(out).map_err(|_| PointerError::NotJson)?;
        Ok(spliced(document, parent, &rest))
    }
}

/// `document` with `part`, a piece of it, replaced.
fn spliced(document: &str, part: &str, by: &str) -> String {
    let start = part.as_ptr() as usize - document.as_ptr() as usize;
    let (before, rest) = document.split_at_checked(start).unwrap_or((document, ""));
    let behind = rest.get(part.len()..).unwrap_or_default();
    [before, by, behind].concat()
}

fn walk<'a>(document: &'a str, steps: &[String]) -> Result<&'a str, PointerError> {
    steps.iter().try_fold(document, |part, name| step(part, name)?.0.ok_or(PointerError::Missing))
}

/// The index that a step of a pointer is: no sign and no leading zeros.
fn index(step: &str) -> Option<usize> {
    let canonical = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    if canonical { step.parse().ok() } else { None }
}

/// What one step leads to, and whether something may be added there.
fn step<'a>(part: &'a str, name: &str) -> Result<(Option<&'a str>, bool), PointerError> {
    match part.trim_start().as_bytes().first() {
        Some(b'{') => {
            let mut found = None;
            each(part, |member, value| {
                if member == Some(name) {
                    // Of a name that repeats every reader takes the last.
                    found = Some(value);
                }
            })?;
            Ok((found, true))
        }
        Some(b'[') => {
            let (mut found, mut length) = (None, 0);
            let wanted = index(name);
            each(part, |_, value| {
                if wanted == Some(length) {
                    found = Some(value);
                }
                length += 1;
            })?;
            Ok((found, name == "-" || wanted == Some(length)))
        }
        _ => Ok((None, false)),
    }
}

/// Calls `see` with each member of an object and its name, or each element of an array.
pub(crate) fn each<'a>(part: &'a str, see: impl FnMut(Option<&str>, &'a str)) -> Result<(), PointerError> {
    struct Each<F>(F);
    impl<'de, F: FnMut(Option<&str>, &'de str)> Visitor<'de> for Each<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object or an array")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(name) = map.next_key::<String>()? {
                let value: &'de RawValue = map.next_value()?;
                (self.0)(Some(&name), value.get());
            }
            Ok(())
        }

        fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
            while let Some(value) = seq.next_element::<&'de RawValue>()? {
                (self.0)(None, value.get());
            }
            Ok(())
        }
    }
    impl<'de, F: FnMut(Option<&str>, &'de str)> DeserializeSeed<'de> for Each<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_any(self)
        }
    }
    let mut deserializer = serde_json::Deserializer::from_str(part);
    Each(see).deserialize(&mut deserializer).map_err(|_| PointerError::NotJson)
}

/// Whether `text` is an object, once it is known to be JSON.
pub(crate) fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

/// Whether `text` is one whole JSON document.
pub(crate) fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).expect("a pointer")
    }

    #[test]
    fn the_examples_of_the_rfc() {
        let document = r#"{"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, "k\"l": 6, " ": 7, "m~n": 8}"#;
        for (text, found) in [
            ("", document),
            ("/foo", r#"["bar", "baz"]"#),
            ("/foo/0", "\"bar\""),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(pointer(text).find(document), Ok(found), "{text}");
        }
        for text in ["/bar", "/foo/2", "/foo/-", "/foo/00", "/foo/+1", "/foo/0/x"] {
            assert_eq!(pointer(text).find(document), Err(PointerError::Missing), "{text}");
        }
        for text in ["a", "/~", "/~2", "/a~"] {
            assert!(Pointer::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_rest_of_a_document_stays_as_it_was_sent() {
        let document = "{ \"n\": 1.50,\n  \"list\": [1, 2 ], \"none\": {} }";
        for (text, value, expected) in [
            ("/n", "2", "{ \"n\": 2,\n  \"list\": [1, 2 ], \"none\": {} }"),
            ("/list/1", "3", "{ \"n\": 1.50,\n  \"list\": [1, 3 ], \"none\": {} }"),
            ("/list/-", "3", "{ \"n\": 1.50,\n  \"list\": [1, 2,3], \"none\": {} }"),
            ("/list/2", "3", "{ \"n\": 1.50,\n  \"list\": [1, 2,3], \"none\": {} }"),
            ("/none/a\"", "{}", "{ \"n\": 1.50,\n  \"list\": [1, 2 ], \"none\": {\"a\\\"\":{}} }"),
            ("/new", "0", "{ \"n\": 1.50,\n  \"list\": [1, 2 ], \"none\": {},\"new\":0}"),
            ("", "5", "5"),
        ] {
            assert_eq!(pointer(text).set(document, value).as_deref(), Ok(expected), "{text}");
        }
        for text in ["/no/thing", "/list/3", "/list/x", "/n/x"] {
            assert_eq!(pointer(text).set(document, "1"), Err(PointerError::Missing), "{text}");
        }
        for (text, expected) in [
            ("/list/0", "{ \"n\": 1.50,\n  \"list\": [2], \"none\": {} }"),
            ("/n", "{\"list\":[1, 2 ],\"none\":{}}"),
        ] {
            assert_eq!(pointer(text).remove(document).as_deref(), Ok(expected), "{text}");
        }
        for text in ["", "/no", "/list/2", "/list/-"] {
            assert_eq!(pointer(text).remove(document), Err(PointerError::Missing), "{text}");
        }
    }

    fn document() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(json!(null)),
            any::<i32>().prop_map(Json::from),
            "[a~/\"]{0,2}".prop_map(Json::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-c~/]{0,2}", inner, 0..4)
                    .prop_map(|members| Json::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn finding_is_what_serde_json_finds(document in document(), text in "(/([a-c0-3]|~0|~1|-){0,2}){0,3}") {
            let Ok(pointer) = Pointer::parse(&text) else { return Ok(()) };
            let sent = serde_json::to_string_pretty(&document).expect("JSON");
            let found = pointer.find(&sent).ok().map(|found| serde_json::from_str::<Json>(found).expect("JSON"));
            prop_assert_eq!(found.as_ref(), document.pointer(&text));
            if let Ok(changed) = pointer.set(&sent, "\"new\"") {
                let changed: Json = serde_json::from_str(&changed).expect("JSON");
                if !text.ends_with("/-") {
                    prop_assert_eq!(changed.pointer(&text), Some(&json!("new")));
                }
            }
            if let Ok(changed) = pointer.remove(&sent) {
                serde_json::from_str::<Json>(&changed).expect("JSON");
            }
        }

        #[test]
        fn no_text_panics(document in "\\PC{0,20}", text in "\\PC{0,8}") {
            if let Ok(pointer) = Pointer::parse(&text) {
                let _ = (pointer.find(&document), pointer.set(&document, "1"), pointer.remove(&document));
            }
        }
    }
}
