//! What feeds tell: commits and gaps of `/v1/changes`, changes of `/v1/watch`, as server-sent events (WHATWG HTML, 9.2).

use crate::{commit_json, entry_json, json_text, rfc3339, value_json};
use orcharddb::{Entry, FeedCommit, KeyRange, Mutation, NumberOp, Operation, Versionstamp};

/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Appends an event. `data` must be one line; with `id` a client that comes back says how far it got.
pub fn write_event(out: &mut Vec<u8>, id: Option<Versionstamp>, event: &str, data: &[u8]) {
    if let Some(id) = id {
        out.extend_from_slice(format!("id: {id}\n").as_bytes());
    }
    out.extend_from_slice(format!("event: {event}\ndata: ").as_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"\n\n");
}

/// Appends a sign of life: no event, but how far the feed has got.
pub fn write_heartbeat(out: &mut Vec<u8>, position: Versionstamp) {
    out.extend_from_slice(format!(": still here\nid: {position}\n\n").as_bytes());
}

/// Appends a gap: commits are missing before `restart_at`.
pub fn write_gap(out: &mut Vec<u8>, restart_at: Versionstamp) {
    let data = format!("{{\"restart_at\":\"{restart_at}\"}}");
    write_event(out, Some(restart_at), "gap", data.as_bytes());
}

/// Appends a commit: `{"versionstamp", "log_time", "changes": [{"op", "key", "value"?, "type"?, "expires_at"?}]}`.
///
/// ```
/// use orchard_wire::feed_json;
/// use orcharddb::{FeedCommit, UnixMillis, Versionstamp};
/// let commit = FeedCommit { versionstamp: Versionstamp::new(7, 0), log_time: UnixMillis(0), changes: vec![] };
/// let mut out = Vec::new();
/// feed_json::write_commit(&mut out, &commit, true);
/// assert!(out.starts_with(b"id: 00000000000000070000\nevent: commit\ndata: {\"versionstamp\":"));
/// ```
pub fn write_commit(out: &mut Vec<u8>, commit: &FeedCommit, values: bool) {
    let (stamp, time) = (commit.versionstamp, rfc3339::render(commit.log_time));
    let mut data =
        format!("{{\"versionstamp\":\"{stamp}\",\"log_time\":\"{time}\",\"changes\":[").into_bytes();
    for (index, change) in commit.changes.iter().enumerate() {
        if index > 0 {
            data.push(b',');
        }
        write_mutation(&mut data, change, values);
    }
    data.extend_from_slice(b"]}");
    write_event(out, Some(stamp), "commit", &data);
}

fn write_mutation(out: &mut Vec<u8>, mutation: &Mutation, values: bool) {
    let op = match &mutation.operation {
        Operation::Set { .. } | Operation::SetWithVersionstampSuffix { .. } => "set",
        Operation::Delete | Operation::DeleteIfStamp(_) => "delete",
        Operation::DeleteRange { .. } => "delete_range",
        Operation::Touch { .. } => "touch",
        Operation::Number { op: NumberOp::Sum, .. } => "sum",
        Operation::Number { op: NumberOp::Min, .. } => "min",
        Operation::Number { op: NumberOp::Max, .. } => "max",
    };
    if let Operation::DeleteRange { end } = &mutation.operation {
        let start = bytes::Bytes::copy_from_slice(&mutation.key);
        return write_deleted_range(out, &KeyRange { start, end: end.clone() });
    }
    out.extend_from_slice(format!("{{\"op\":\"{op}\",\"key\":").as_bytes());
    entry_json::write_key(out, &mutation.key);
    let (value, expiry) = match &mutation.operation {
        Operation::Set { value, expiry } | Operation::SetWithVersionstampSuffix { value, expiry } => {
            (Some(value), Some(expiry))
        }
        Operation::Number { operand, expiry, .. } => (Some(operand), Some(expiry)),
        Operation::Touch { expiry } => (None, Some(expiry)),
        _ => (None, None),
    };
    if let Some(value) = value {
        if values {
            out.extend_from_slice(b",\"value\":");
            value_json::write(out, value);
        }
        out.extend_from_slice(b",\"type\":");
        json_text::write_string(out, value.value_type.name());
    }
    if let Some(expiry) = expiry {
        commit_json::write_expiry(out, *expiry);
    }
    out.push(b'}');
}

/// Appends what a watched key holds: `{"op": "set", "key", "value"?, "type", "versionstamp", "expires_at"?}`, or
/// `{"op": "delete", "key"}` if it is absent.
pub fn write_state(out: &mut Vec<u8>, key: &[u8], entry: Option<&Entry>, values: bool) {
    match entry {
        Some(entry) => {
            let mut members = Vec::new();
            entry_json::write(&mut members, entry, !values);
            // The members go on where the object of the entry would begin.
            out.extend_from_slice(b"{\"op\":\"set\",");
            out.extend_from_slice(members.get(1..).unwrap_or_default());
        }
        None => {
            out.extend_from_slice(b"{\"op\":\"delete\",\"key\":");
            entry_json::write_key(out, key);
            out.push(b'}');
        }
    }
}

/// Appends that a range was deleted: `{"op": "delete_range", "range": {"start", "end"?}}`.
pub fn write_deleted_range(out: &mut Vec<u8>, range: &KeyRange) {
    out.extend_from_slice(b"{\"op\":\"delete_range\",\"range\":{\"start\":");
    entry_json::write_key(out, &range.start);
    if let Some(end) = &range.end {
        out.extend_from_slice(b",\"end\":");
        entry_json::write_key(out, end);
    }
    out.extend_from_slice(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::{Expiry, IntoKey, SpaceId, UnixMillis, Value};

    #[test]
    fn a_commit_is_one_event() {
        let key = |name: &str| name.into_key().expect("short");
        let change = |name, operation| Mutation { space: SpaceId::DEFAULT, key: key(name), operation };
        let set =
            Operation::Set { value: Value::json("{\n\"a\": 1}"), expiry: Expiry::At(UnixMillis(1_000)) };
        let commit = FeedCommit {
            versionstamp: Versionstamp::new(7, 2),
            log_time: UnixMillis(0),
            changes: vec![
                change("a", set),
                change("b", Operation::Delete),
                change("c", Operation::DeleteRange { end: Some(key("d").into_bytes()) }),
                change("e", Operation::Touch { expiry: Expiry::Never }),
            ],
        };
        let text = |values| {
            let mut out = Vec::new();
            write_commit(&mut out, &commit, values);
            String::from_utf8(out).expect("UTF-8")
        };
        let (with, without) = (text(true), text(false));
        let lines: Vec<&str> = with.split('\n').collect();
        let [id, event, data, "", ""] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((*id, *event), ("id: 00000000000000070002", "event: commit"));
        let data: serde_json::Value = serde_json::from_str(data.trim_start_matches("data: ")).expect("JSON");
        assert_eq!(
            data["changes"],
            serde_json::json!([
                {"op": "set", "key": ["a"], "value": {"a": 1}, "type": "json", "expires_at": "1970-01-01T00:00:01.000Z"},
                {"op": "delete", "key": ["b"]},
                {"op": "delete_range", "range": {"start": ["c"], "end": ["d"]}},
                {"op": "touch", "key": ["e"]},
            ])
        );
        assert!(!without.contains("\"value\""), "{without}");
    }

    #[test]
    fn a_watched_key_is_an_entry_or_gone() {
        let entry = Entry {
            key: "a".into_key().expect("short"),
            value: Value::from(1_i64),
            versionstamp: Versionstamp::new(7, 2),
            expires_at: None,
        };
        let mut out = Vec::new();
        write_state(&mut out, &entry.key, Some(&entry), true);
        out.push(b',');
        write_state(&mut out, &"b".into_key().expect("short"), None, true);
        assert_eq!(
            String::from_utf8(out).expect("UTF-8"),
            r#"{"op":"set","key":["a"],"value":1,"type":"int","versionstamp":"00000000000000070002"},{"op":"delete","key":["b"]}"#
        );
    }
}
