//! Writing: the body of a commit as a client sends it, and the replies to one.

use super::{CommitRequest, KEEP_OR, durability_name};
use crate::commit_steps::StepAt;
use crate::problem::{Kind, Problem};
use crate::{duration, element_json, entry_json, json_text, queue_json, rfc3339, value_json};
use bytes::Bytes;
use orcharddb::{
    Check, CheckFailure, Commit, Committed, Entry, Expiry, KeyRange, Mutation, NumberOp, Operation, Value,
    Versionstamp,
};

/// Appends one member, with a comma before it unless it is the first.
fn member(out: &mut Vec<u8>, name: &str) {
    if !out.ends_with(b"{") {
        out.push(b',');
    }
    json_text::write_string(out, name);
    out.push(b':');
}

fn text_member(out: &mut Vec<u8>, name: &str, text: &str) {
    member(out, name);
    json_text::write_string(out, text);
}

fn write_range(out: &mut Vec<u8>, range: &KeyRange) {
    member(out, "range");
    out.push(b'{');
    member(out, "start");
    entry_json::write_key(out, &range.start);
    if let Some(end) = &range.end {
        member(out, "end");
        entry_json::write_key(out, end);
    }
    out.push(b'}');
}

fn write_value(out: &mut Vec<u8>, name: &str, value: &Value) {
    member(out, name);
    value_json::write(out, value);
}

pub(crate) fn write_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    match expiry {
        Expiry::Never => {}
        Expiry::Keep => text_member(out, "ttl", "keep"),
        Expiry::KeepOr(absent) => text_member(out, "ttl", &format!("{KEEP_OR}{}", duration::render(absent))),
        Expiry::After(after) => text_member(out, "ttl", &duration::render(after)),
        Expiry::At(moment) => text_member(out, "expires_at", &rfc3339::render(moment)),
    }
}

fn write_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    let op = match &mutation.operation {
        Operation::Set { .. } => "set",
        Operation::SetWithVersionstampSuffix { .. } => "set_suffix_versionstamp",
        Operation::DeleteRange { .. } => "delete_range",
        Operation::Number { op: NumberOp::Sum, .. } => "sum",
        Operation::Number { op: NumberOp::Min, .. } => "min",
        Operation::Number { op: NumberOp::Max, .. } => "max",
        Operation::Touch { .. } => "touch",
        // The sweeper's delete is no client's; without its stamp it would be another thing, so it is a delete.
        Operation::Delete | Operation::DeleteIfStamp(_) => "delete",
    };
    out.push(b'{');
    text_member(out, "op", op);
    if let Operation::DeleteRange { end } = &mutation.operation {
        write_range(out, &KeyRange { start: Bytes::copy_from_slice(&mutation.key), end: end.clone() });
    } else {
        member(out, "key");
        entry_json::write_key(out, &mutation.key);
    }
    match &mutation.operation {
        Operation::Set { value, expiry } | Operation::SetWithVersionstampSuffix { value, expiry } => {
            member(out, "value");
            value_json::write_own(out, value);
            text_member(out, "type", value.value_type.name());
            write_expiry(out, *expiry);
        }
        Operation::Number { operand, at_least, at_most, clamp, expiry, .. } => {
            write_value(out, "value", operand);
            for (name, bound) in [("at_least", at_least), ("at_most", at_most)] {
                if let Some(bound) = bound {
                    write_value(out, name, bound);
                }
            }
            if *clamp {
                member(out, "clamp");
                out.extend_from_slice(b"true");
            }
            write_expiry(out, *expiry);
        }
        Operation::Touch { expiry } => write_expiry(out, *expiry),
        Operation::Delete | Operation::DeleteIfStamp(_) | Operation::DeleteRange { .. } => {}
    }
    out.push(b'}');
}

fn write_check(out: &mut Vec<u8>, check: &Check) {
    out.push(b'{');
    match check {
        Check::Key { key, expected, .. } => {
            member(out, "key");
            entry_json::write_key(out, key);
            member(out, "versionstamp");
            match expected {
                Some(stamp) => json_text::write_string(out, &stamp.to_string()),
                None => out.extend_from_slice(b"null"),
            }
        }
        Check::Range { range, unchanged_since, .. } => {
            write_range(out, range);
            text_member(out, "unchanged_since", &unchanged_since.to_string());
        }
    }
    out.push(b'}');
}

fn write_array<T>(out: &mut Vec<u8>, name: &str, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    member(out, name);
    out.push(b'[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

/// Appends mutations, and steps between them.
fn write_changes(out: &mut Vec<u8>, mutations: &[Mutation], steps: &[StepAt]) {
    member(out, "mutations");
    out.push(b'[');
    let mut steps = steps.iter().peekable();
    let mut is_first = true;
    let mut next = |out: &mut Vec<u8>| {
        if !std::mem::replace(&mut is_first, false) {
            out.push(b',');
        }
    };
    for (index, mutation) in mutations.iter().enumerate() {
        while let Some(step) = steps.next_if(|step| step.before <= index) {
            next(out);
            element_json::write_op(out, &step.key, &step.step);
        }
        next(out);
        write_mutation(out, mutation);
    }
    for step in steps {
        next(out);
        element_json::write_op(out, &step.key, &step.step);
    }
    out.push(b']');
}

/// The body that [`parse`] reads back: what a client sends.
///
/// Ids of tokens are text on the wire; bytes that are not UTF-8 are replaced.
pub fn render(request: &CommitRequest) -> Vec<u8> {
    let mut out = vec![b'{'];
    write_array(&mut out, "checks", &request.commit.checks, write_check);
    write_changes(&mut out, &request.commit.mutations, &request.steps);
    if !request.enqueues.is_empty() {
        write_array(&mut out, "enqueues", &request.enqueues, queue_json::write_enqueue);
    }
    if let Some(token) = &request.commit.token {
        text_member(&mut out, "token", &String::from_utf8_lossy(&token.id));
        text_member(&mut out, "deadline", &rfc3339::render(token.deadline));
    }
    if let Some(durability) = request.durability {
        text_member(&mut out, "durability", durability_name(durability));
    }
    if request.return_values {
        member(&mut out, "return_values");
        out.extend_from_slice(b"true");
    }
    out.push(b'}');
    out
}

/// The reply to a commit: `{"versionstamp", "log_time", "durability"}`, and `"repeated": true` if its token was known.
pub fn render_reply(committed: &Committed) -> Vec<u8> {
    let mut out = vec![b'{'];
    text_member(&mut out, "versionstamp", &committed.versionstamp.to_string());
    text_member(&mut out, "log_time", &rfc3339::render(committed.log_time));
    text_member(&mut out, "durability", durability_name(committed.durability));
    if committed.repeated {
        member(&mut out, "repeated");
        out.extend_from_slice(b"true");
    }
    out.push(b'}');
    out
}

/// The problem of a commit whose checks did not hold, each one listed. `found` has, by the number of its check, the entry
/// as it is by now of keys whose values are shown, too.
pub fn check_failed(commit: &Commit, failures: &[CheckFailure], found: &[(usize, Entry)]) -> Problem {
    let mut out = vec![b'['];
    for failure in failures {
        if out.len() > 1 {
            out.push(b',');
        }
        let entry = found.iter().find(|(index, _)| *index == failure.index).map(|(_, entry)| entry);
        out.extend_from_slice(format!("{{\"index\":{}", failure.index).as_bytes());
        match commit.checks.get(failure.index) {
            Some(Check::Key { key, expected, .. }) => {
                member(&mut out, "key");
                entry_json::write_key(&mut out, key);
                stamp_member(&mut out, "expected", *expected);
            }
            Some(Check::Range { unchanged_since, .. }) => {
                text_member(&mut out, "unchanged_since", &unchanged_since.to_string());
            }
            None => {}
        }
        stamp_member(&mut out, "found", entry.map(|entry| entry.versionstamp).or(failure.found));
        if let Some(entry) = entry {
            write_value(&mut out, "value", &entry.value);
            text_member(&mut out, "type", entry.value.value_type.name());
        }
        out.push(b'}');
    }
    out.push(b']');
    let detail = format!("{} of the commit's checks did not hold", failures.len());
    Problem::new(Kind::CheckFailed, detail).with_text("failed_checks", String::from_utf8_lossy(&out))
}

fn stamp_member(out: &mut Vec<u8>, name: &str, stamp: Option<Versionstamp>) {
    match stamp {
        Some(stamp) => text_member(out, name, &stamp.to_string()),
        None => {
            member(out, name);
            out.extend_from_slice(b"null");
        }
    }
}
