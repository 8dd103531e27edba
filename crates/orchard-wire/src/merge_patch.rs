//! JSON Merge Patch (RFC 7396) on the text of documents: members that the patch does not name stay as they were sent.

use crate::json_pointer::{PointerError, each, is_json, is_object};
use crate::json_text;
use std::collections::HashMap;

/// `target` (`None`: there was none) changed as `patch` says.
///
/// # Errors
/// [`PointerError::NotJson`]
///
/// ```
/// use orchard_wire::merge_patch;
/// let merged = merge_patch::apply(Some(r#"{"a": 1.50, "b": {"c": 2}}"#), r#"{"b": {"c": null, "d": 3}}"#);
/// assert_eq!(merged.as_deref(), Ok(r#"{"a":1.50,"b":{"d":3}}"#));
/// ```
pub fn apply(target: Option<&str>, patch: &str) -> Result<String, PointerError> {
    if !is_json(patch) || target.is_some_and(|target| !is_json(target)) {
        return Err(PointerError::NotJson);
    }
    let mut out = Vec::new();
    merge(&mut out, target, patch)?;
    String::from_utf8(out).map_err(|_| PointerError::NotJson)
}

/// Recursion is bounded by the depth that a JSON document may have.
fn merge(out: &mut Vec<u8>, target: Option<&str>, patch: &str) -> Result<(), PointerError> {
    if !is_object(patch) {
        out.extend_from_slice(patch.trim_ascii().as_bytes());
        return Ok(());
    }
    // Of a name that repeats the last counts.
    let mut order: Vec<String> = Vec::new();
    let mut members: HashMap<String, (&str, bool)> = HashMap::new();
    each(patch, |name, value| {
        let name = name.unwrap_or_default();
        if members.insert(name.to_owned(), (value, false)).is_none() {
            order.push(name.to_owned());
        }
    })?;
    out.push(b'{');
    let first = out.len();
    let begin = |out: &mut Vec<u8>, name: &str| {
        if out.len() > first {
            out.push(b',');
        }
        json_text::write_string(out, name);
        out.push(b':');
    };
    if let Some(target) = target.filter(|target| is_object(target)) {
        let mut merged = Ok(());
        each(target, |name, value| {
            let name = name.unwrap_or_default();
            match members.get_mut(name) {
                None => {
                    begin(out, name);
                    out.extend_from_slice(value.as_bytes());
                }
                Some((patch, is_done)) => {
                    if !std::mem::replace(is_done, true) && *patch != "null" && merged.is_ok() {
                        begin(out, name);
                        merged = merge(out, Some(value), patch);
                    }
                }
            }
        })?;
        merged?;
    }
    for name in &order {
        if let Some((patch, false)) = members.get(name)
            && *patch != "null"
        {
            begin(out, name);
            merge(out, None, patch)?;
        }
    }
    out.push(b'}');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value as Json, json};

    /// The pseudocode of RFC 7396, section 2.
    fn model(target: &mut Json, patch: &Json) {
        let Json::Object(patch) = patch else {
            *target = patch.clone();
            return;
        };
        if !target.is_object() {
            *target = json!({});
        }
        let members = target.as_object_mut().expect("an object");
        for (name, value) in patch {
            if value.is_null() {
                members.remove(name);
            } else {
                model(members.entry(name.clone()).or_insert(Json::Null), value);
            }
        }
    }

    #[test]
    fn the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
            (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
            (r#"{"a":"foo"}"#, "null", "null"),
            (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            (r#"[1,2]"#, r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            assert_eq!(apply(Some(target), patch).as_deref(), Ok(result), "{target} {patch}");
        }
        assert_eq!(apply(None, r#"{"a":null,"b":[null]}"#).as_deref(), Ok(r#"{"b":[null]}"#));
        assert_eq!(apply(Some("{}"), "{"), Err(PointerError::NotJson));
    }

    fn document() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![Just(json!(null)), any::<i32>().prop_map(Json::from), Just(json!([1, null]))];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop::collection::btree_map("[a-c]{1}", inner, 0..4)
                .prop_map(|members| Json::Object(members.into_iter().collect()))
        })
    }

    proptest! {
        #[test]
        fn merging_is_what_the_rfc_says(target in document(), patch in document()) {
            let merged = apply(Some(&serde_json::to_string_pretty(&target).expect("JSON")), &patch.to_string());
            let merged: Json = serde_json::from_str(&merged.expect("merged")).expect("JSON");
            let mut expected = target;
            model(&mut expected, &patch);
            prop_assert_eq!(merged, expected);
        }

        #[test]
        fn no_text_panics(target in "\\PC{0,20}", patch in "\\PC{0,20}") {
            let _ = apply(Some(&target), &patch);
        }
    }
}
