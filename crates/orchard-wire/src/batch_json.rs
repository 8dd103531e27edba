//! `POST /v1/batch`: many independent gets, puts and deletes, and a result for each, in order. As one JSON body, or an
//! operation and a result a line.

use crate::element_json::{self, Parts, Verb};
use crate::json_text::Object;
use crate::problem::{Kind, Problem};
use crate::value_json::Form;
use crate::{commit_json, entry_json, json_text, rfc3339, value_json};
use bytes::Bytes;
use orcharddb::collection::{Step, Stepped};
use orcharddb::{Entry, Expiry, Key, LimitError, Operation, Versionstamp, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One operation of a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum BatchOperation {
    /// Read the newest entry.
    Get(Bytes),
    /// Write or delete one.
    Write(Key, Operation),
    /// Change a collection.
    Step(Key, Step),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OperationJson<'a> {
    op: String,
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "crate::commit_json::present")]
    value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
    #[serde(borrow)]
    members: Option<&'a RawValue>,
    #[serde(borrow)]
    field: Option<&'a RawValue>,
    #[serde(borrow)]
    member: Option<&'a RawValue>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchJson<'a> {
    #[serde(borrow)]
    operations: commit_json::Items<&'a RawValue>,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadJson, detail)
}

impl OperationJson<'_> {
    fn parse(self) -> Result<BatchOperation, Problem> {
        if let Some(verb) = Verb::of_op(&self.op) {
            let parts = Parts {
                fields: self.fields,
                members: self.members,
                field: self.field,
                member: self.member,
                by: self.by,
                value: self.value,
                value_type: self.value_type,
                ttl: self.ttl,
                expires_at: self.expires_at,
            };
            let step = element_json::parse_parts(verb, &parts)?;
            return Ok(BatchOperation::Step(entry_json::parse_key(self.key)?, step));
        }
        if [self.fields, self.members, self.field, self.member, self.by].iter().any(Option::is_some) {
            return Err(bad(
                "only ops of collections, as hash_set, have fields, members, field, member or by",
            ));
        }
        let expiry = commit_json::parse_expiry(self.ttl.as_deref(), self.expires_at.as_deref())?;
        let value_type = self.value_type.as_deref().map(entry_json::value_type).transpose()?;
        if self.op != "put" && (self.value.is_some() || value_type.is_some() || expiry != Expiry::Never) {
            return Err(bad("only op put has value, type, ttl or expires_at"));
        }
        match self.op.as_str() {
            "get" => {
                let key = entry_json::parse_bound(self.key)?;
                LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, key.len())?;
                Ok(BatchOperation::Get(key))
            }
            "delete" => Ok(BatchOperation::Write(entry_json::parse_key(self.key)?, Operation::Delete)),
            "put" => {
                let key = entry_json::parse_key(self.key)?;
                let raw = self.value.ok_or_else(|| bad("op put needs a value"))?;
                let value = value_json::parse_as(raw.get().as_bytes(), value_type)?;
                LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?;
                Ok(BatchOperation::Write(key, Operation::Set { value, expiry }))
            }
            other => {
                let shown = crate::query::shown(other.as_bytes());
                Err(bad(format!(
                    "{shown} is no op; the ops are get, put, delete, and those of collections as hash_set"
                )))
            }
        }
    }
}

/// Reads one operation: a line of a stream, or an item of a body.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadKey`], [`Kind::BadValue`], [`Kind::LimitExceeded`]
///
/// ```
/// use orchard_wire::batch_json::{self, BatchOperation};
/// let operation = batch_json::parse_operation(br#"{"op": "put", "key": ["a"], "value": 1}"#)?;
/// assert!(matches!(operation, BatchOperation::Write(..)));
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse_operation(text: &[u8]) -> Result<BatchOperation, Problem> {
    let Object(json): Object<OperationJson<'_>> =
        serde_json::from_slice(text).map_err(|error| bad(format!("not an operation: {error}")))?;
    json.parse()
}

/// Reads the body `{"operations": [..]}`. An operation that is none is a result of its own, not the end of the rest.
///
/// # Errors
/// [`Kind::BadJson`] if the body is no such object, [`Kind::LimitExceeded`]
pub fn parse(body: &[u8]) -> Result<Vec<Result<BatchOperation, Problem>>, Problem> {
    let Object(json): Object<BatchJson<'_>> =
        serde_json::from_slice(body).map_err(|error| bad(format!("not a batch: {error}")))?;
    LimitError::check("batch_operations", limits::BATCH_OPERATIONS_MAX, json.operations.count)?;
    Ok(json.operations.items.into_iter().map(|raw| parse_operation(raw.get().as_bytes())).collect())
}

/// Appends the result of a get.
pub fn write_found(out: &mut Vec<u8>, entry: Option<&Entry>, form: Form) {
    let Some(entry) = entry else {
        return write_problem(out, &Problem::new(Kind::KeyNotFound, "there is no entry under this key"));
    };
    out.extend_from_slice(b"{\"status\":200,\"versionstamp\":\"");
    out.extend_from_slice(entry.versionstamp.to_string().as_bytes());
    out.extend_from_slice(b"\",\"value\":");
    form.write(out, &entry.value);
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(entry.value.value_type.name().as_bytes());
    out.push(b'"');
    if let Some(expires_at) = entry.expires_at {
        out.extend_from_slice(b",\"expires_at\":\"");
        out.extend_from_slice(rfc3339::render(expires_at).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// Appends the result of a write.
pub fn write_written(out: &mut Vec<u8>, versionstamp: Versionstamp) {
    out.extend_from_slice(format!("{{\"status\":200,\"versionstamp\":\"{versionstamp}\"}}").as_bytes());
}

/// Appends the result of a change of a collection. A pop that finds nothing is a problem.
pub fn write_stepped(
    out: &mut Vec<u8>,
    versionstamp: Versionstamp,
    verb: Verb,
    stepped: &Stepped,
    form: Form,
) {
    if verb.is_pop() && stepped.changed == 0 {
        return write_problem(out, &nothing_to_pop());
    }
    out.extend_from_slice(format!("{{\"status\":200,\"versionstamp\":\"{versionstamp}\"").as_bytes());
    element_json::write_stepped(out, verb, stepped, form);
    out.push(b'}');
}

/// What a pop says that finds nothing.
pub fn nothing_to_pop() -> Problem {
    Problem::new(Kind::KeyNotFound, "there is no element under this key")
}

/// Appends the result of an operation that failed: the members of its problem.
pub fn write_problem(out: &mut Vec<u8>, problem: &Problem) {
    out.extend_from_slice(problem.to_json().as_bytes());
}

/// The body that [`parse`] reads back, for clients. Operations other than set and delete have no form here.
pub fn render(operations: &[BatchOperation]) -> Vec<u8> {
    let mut out = b"{\"operations\":[".to_vec();
    for (index, operation) in operations.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_operation(&mut out, operation);
    }
    out.extend_from_slice(b"]}");
    out
}

/// Appends one operation, as [`parse_operation`] reads it.
pub fn write_operation(out: &mut Vec<u8>, operation: &BatchOperation) {
    let (op, key) = match operation {
        BatchOperation::Get(key) => ("get", key.as_ref()),
        BatchOperation::Write(key, Operation::Set { .. }) => ("put", key.as_ref()),
        BatchOperation::Write(key, _) => ("delete", key.as_ref()),
        BatchOperation::Step(key, step) => return element_json::write_op(out, key, step),
    };
    out.extend_from_slice(format!("{{\"op\":\"{op}\",\"key\":").as_bytes());
    entry_json::write_key(out, key);
    if let BatchOperation::Write(_, Operation::Set { value, expiry }) = operation {
        out.extend_from_slice(b",\"value\":");
        value_json::write_own(out, value);
        out.extend_from_slice(b",\"type\":");
        json_text::write_string(out, value.value_type.name());
        commit_json::write_expiry(out, *expiry);
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::{DurationMs, IntoKey, UnixMillis, Value};
    use proptest::prelude::*;

    #[test]
    fn a_bad_operation_is_a_result_of_its_own() {
        let body = br#"{"operations": [{"op": "get", "key": ["a"]}, {"op": "sum", "key": ["a"]},
            {"op": "put", "key": [null], "value": 1}, {"op": "put", "key": ["a"]},
            {"op": "delete", "key": "a", "ttl": "1s"}, {"op": "get", "key": "a", "by": 1}, {"op": "hash_set", "key": "a"}, [1], {"op": "delete", "key": "a"}]}"#;
        let kinds: Vec<Option<Kind>> = parse(body)
            .expect("a batch")
            .into_iter()
            .map(|operation| operation.err().map(|problem| problem.kind))
            .collect();
        let (json, key) = (Some(Kind::BadJson), Some(Kind::BadKey));
        assert_eq!(kinds, [None, json, key, json, json, json, json, json, None]);
        for body in ["{}", "[]", r#"{"operations": 1}"#, r#"{"operations": [], "more": 1}"#, ""] {
            assert_eq!(
                parse(body.as_bytes()).map(|_| ()).map_err(|problem| problem.kind),
                Err(Kind::BadJson)
            );
        }
        let many = vec!["1"; limits::BATCH_OPERATIONS_MAX + 1].join(",");
        let problem = parse(format!("{{\"operations\":[{many}]}}").as_bytes()).expect_err("too many");
        assert_eq!(problem.kind, Kind::LimitExceeded);
    }

    #[test]
    fn results_say_what_happened() {
        let text = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut out = Vec::new();
            write(&mut out);
            String::from_utf8(out).expect("UTF-8")
        };
        let versionstamp = Versionstamp::new(7, 2);
        let entry = Entry {
            key: "a".into_key().expect("short"),
            value: Value::from(1_i64),
            versionstamp,
            expires_at: Some(UnixMillis(1_000)),
        };
        assert_eq!(
            text(&|out| write_found(out, Some(&entry), Form::Shown)),
            r#"{"status":200,"versionstamp":"00000000000000070002","value":1,"type":"int","expires_at":"1970-01-01T00:00:01.000Z"}"#
        );
        assert!(
            text(&|out| write_found(out, None, Form::Shown))
                .starts_with(r#"{"code":"key_not_found","status":404,"#)
        );
        assert_eq!(
            text(&|out| write_written(out, versionstamp)),
            r#"{"status":200,"versionstamp":"00000000000000070002"}"#
        );
    }

    fn operation() -> impl Strategy<Value = BatchOperation> {
        let key = prop::collection::vec(any::<u8>(), 0..9);
        let expiry = prop_oneof![
            Just(Expiry::Never),
            Just(Expiry::Keep),
            (1..u64::MAX).prop_map(|after| Expiry::After(DurationMs(after))),
        ];
        let set = prop_oneof![".{0,9}".prop_map(Value::from), any::<i64>().prop_map(Value::from)];
        let write = prop_oneof![
            Just(Operation::Delete),
            (set, expiry).prop_map(|(value, expiry)| Operation::Set { value, expiry }),
        ];
        prop_oneof![
            key.clone().prop_map(|key| BatchOperation::Get(Bytes::from(key))),
            (key.clone(), write)
                .prop_map(|(key, write)| BatchOperation::Write(Key::new(key).expect("short"), write)),
            (key, crate::element_json::tests::step())
                .prop_map(|(key, step)| BatchOperation::Step(Key::new(key).expect("short"), step)),
        ]
    }

    proptest! {
        #[test]
        fn operations_come_back(operations in prop::collection::vec(operation(), 0..6)) {
            let parsed: Result<Vec<_>, _> = parse(&render(&operations)).expect("a batch").into_iter().collect();
            prop_assert_eq!(parsed.expect("each is one"), operations);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
            let _ = parse_operation(&bytes);
        }
    }
}
