//! The bodies of changes, and what they answer.

use super::{Pairs, Shape, Verb, bad, parse_name, parse_score, write_name, write_score};
use crate::commit_json::{self, Items};
use crate::json_text::{self, Object};
use crate::problem::Problem;
use crate::{entry_json, value_json};
use bytes::Bytes;
use orcharddb::collection::{Step, Stepped};
use orcharddb::{Expiry, LimitError, Value, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// `{"fields": [name, ..]}`, `{"fields": {name: value}}` or `{"fields": [{"field", "value", "type"?, "ttl"? or "expires_at"?}]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldsJson<'a> {
    #[serde(borrow)]
    fields: &'a RawValue,
}

/// `{"members": [name, ..]}`, `{"members": {name: score}}` or `{"members": [{"member", "score"?, "ttl"? or "expires_at"?}]}`
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MembersJson<'a> {
    #[serde(borrow)]
    members: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldJson<'a> {
    #[serde(borrow)]
    field: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MemberJson<'a> {
    #[serde(borrow)]
    member: &'a RawValue,
    #[serde(borrow)]
    score: &'a RawValue,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

/// A member of a set that says when it expires.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetMemberJson<'a> {
    #[serde(borrow)]
    member: &'a RawValue,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

/// Which elements are to expire when; with neither time they stay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpireJson<'a> {
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
    #[serde(borrow)]
    members: Option<&'a RawValue>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

impl ExpireJson<'_> {
    fn parse(self, shape: Shape) -> Result<(Vec<Bytes>, Expiry), Problem> {
        let expiry = commit_json::parse_expiry(self.ttl.as_deref(), self.expires_at.as_deref())?;
        let (what, wanted, other) = match shape {
            Shape::Hash => ("fields", self.fields, self.members),
            _ => ("members", self.members, self.fields),
        };
        match (wanted, other) {
            (Some(raw), None) => Ok((names(what, raw)?, expiry)),
            _ => Err(bad(format!("not such a change: it names {what}"))),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SumFieldJson<'a> {
    #[serde(borrow)]
    field: &'a RawValue,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SumScoreJson<'a> {
    #[serde(borrow)]
    member: &'a RawValue,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
}

fn read<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, Problem> {
    let Object(read): Object<T> =
        serde_json::from_slice(text).map_err(|error| bad(format!("not such a change: {error}")))?;
    Ok(read)
}

fn items<'a, T: Deserialize<'a>>(what: &str, raw: &'a RawValue) -> Result<Vec<T>, Problem> {
    let items: Items<T> = serde_json::from_str(raw.get()).map_err(|error| bad(format!("{what}: {error}")))?;
    LimitError::check("collection_step_elements", limits::COMMIT_OPERATIONS_MAX, items.count)?;
    Ok(items.items)
}

fn pairs<'a>(what: &str, raw: &'a RawValue) -> Result<Vec<(String, &'a RawValue)>, Problem> {
    let pairs: Pairs<'_> =
        serde_json::from_str(raw.get()).map_err(|error| bad(format!("{what}: {error}")))?;
    LimitError::check("collection_step_elements", limits::COMMIT_OPERATIONS_MAX, pairs.count)?;
    Ok(pairs.pairs)
}

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

fn value(raw: &RawValue, value_type: Option<&str>) -> Result<Value, Problem> {
    let value_type = value_type.map(entry_json::value_type).transpose()?;
    let value = value_json::parse_as(raw.get().as_bytes(), value_type)?;
    LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?;
    Ok(value)
}

fn names(what: &str, raw: &RawValue) -> Result<Vec<Bytes>, Problem> {
    let names = items::<&RawValue>(what, raw)?.into_iter().enumerate();
    names.map(|(n, raw)| parse_name(raw).map_err(|problem| problem.at(format_args!("{what}[{n}]")))).collect()
}

fn fields(raw: &RawValue) -> Result<Vec<(Bytes, Value, Expiry)>, Problem> {
    if is_object(raw) {
        let fields = pairs("fields", raw)?.into_iter().map(|(name, raw)| {
            let value = value(raw, None).map_err(|problem| problem.at(format_args!("fields, {name:?}")))?;
            Ok((Bytes::from(name), value, Expiry::Never))
        });
        return fields.collect();
    }
    let fields = items::<Object<FieldJson<'_>>>("fields", raw)?.into_iter().enumerate();
    let field = |Object(json): Object<FieldJson<'_>>| {
        let expiry = commit_json::parse_expiry(json.ttl.as_deref(), json.expires_at.as_deref())?;
        Ok((parse_name(json.field)?, value(json.value, json.value_type.as_deref())?, expiry))
    };
    fields
        .map(|(n, json)| field(json).map_err(|problem: Problem| problem.at(format_args!("fields[{n}]"))))
        .collect()
}

/// Names, or objects that say more of them.
fn members(raw: &RawValue) -> Result<Vec<(Bytes, Expiry)>, Problem> {
    let member = |raw: &RawValue| match serde_json::from_str(raw.get()) {
        Ok(Object::<SetMemberJson<'_>>(json)) => {
            let expiry = commit_json::parse_expiry(json.ttl.as_deref(), json.expires_at.as_deref())?;
            Ok((parse_name(json.member)?, expiry))
        }
        Err(_) => Ok((parse_name(raw)?, Expiry::Never)),
    };
    let members = items::<&RawValue>("members", raw)?.into_iter().enumerate();
    members
        .map(|(n, raw)| member(raw).map_err(|problem: Problem| problem.at(format_args!("members[{n}]"))))
        .collect()
}

fn scored(raw: &RawValue) -> Result<Vec<(Bytes, f64, Expiry)>, Problem> {
    if is_object(raw) {
        let members = pairs("members", raw)?.into_iter().map(|(name, raw)| {
            let score = parse_score(raw).map_err(|problem| problem.at(format_args!("members, {name:?}")))?;
            Ok((Bytes::from(name), score, Expiry::Never))
        });
        return members.collect();
    }
    let members = items::<Object<MemberJson<'_>>>("members", raw)?.into_iter().enumerate();
    let member = |Object(json): Object<MemberJson<'_>>| {
        let expiry = commit_json::parse_expiry(json.ttl.as_deref(), json.expires_at.as_deref())?;
        Ok((parse_name(json.member)?, parse_score(json.score)?, expiry))
    };
    members
        .map(|(n, json)| member(json).map_err(|problem: Problem| problem.at(format_args!("members[{n}]"))))
        .collect()
}

/// The change that puts one value into a list.
pub fn step_of_value(at_end: bool, value: Value) -> Step {
    if at_end { Step::Append(vec![value]) } else { Step::Prepend(vec![value]) }
}

/// Reads the body of a change; that of an append or prepend is a value and nothing else, in the form of its type.
///
/// # Errors
/// [`Kind::BadJson`](crate::Kind::BadJson), `BadValue`, `LimitExceeded`
///
/// ```
/// use orchard_wire::element_json::{Verb, parse_step};
/// use orcharddb::collection::Step;
/// let step = parse_step(Verb::AddScored, br#"{"members": {"ada": 12}}"#)?;
/// assert_eq!(step, Step::AddScored(vec![("ada".into(), 12.0, orcharddb::Expiry::Never)]));
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse_step(verb: Verb, body: &[u8]) -> Result<Step, Problem> {
    Ok(match verb {
        Verb::Append | Verb::Prepend => step_of_value(verb == Verb::Append, value_json::parse(body)?),
        Verb::PopFirst => Step::PopFirst(1),
        Verb::PopLast => Step::PopLast(1),
        Verb::PopLowest => Step::PopLowest(1),
        Verb::PopHighest => Step::PopHighest(1),
        Verb::SetFields => Step::SetFields(fields(read::<FieldsJson<'_>>(body)?.fields)?),
        Verb::DeleteFields => Step::DeleteFields(names("fields", read::<FieldsJson<'_>>(body)?.fields)?),
        Verb::SumField => {
            let json = read::<SumFieldJson<'_>>(body)?;
            let by = json.by.map(|by| value(by, json.value_type.as_deref())).transpose()?;
            Step::SumField(parse_name(json.field)?, by.unwrap_or_else(|| Value::from(1_i64)))
        }
        Verb::AddMembers => Step::AddMembers(members(read::<MembersJson<'_>>(body)?.members)?),
        Verb::RemoveMembers => Step::RemoveMembers(names("members", read::<MembersJson<'_>>(body)?.members)?),
        Verb::AddScored => Step::AddScored(scored(read::<MembersJson<'_>>(body)?.members)?),
        Verb::RemoveScored => Step::RemoveScored(names("members", read::<MembersJson<'_>>(body)?.members)?),
        Verb::ExpireFields => {
            let (names, expiry) = read::<ExpireJson<'_>>(body)?.parse(Shape::Hash)?;
            Step::ExpireFields(names, expiry)
        }
        Verb::ExpireMembers => {
            let (names, expiry) = read::<ExpireJson<'_>>(body)?.parse(Shape::Set)?;
            Step::ExpireMembers(names, expiry)
        }
        Verb::ExpireScored => {
            let (names, expiry) = read::<ExpireJson<'_>>(body)?.parse(Shape::ZSet)?;
            Step::ExpireScored(names, expiry)
        }
        Verb::SumScore => {
            let json = read::<SumScoreJson<'_>>(body)?;
            let by = json.by.map(parse_score).transpose()?;
            Step::SumScore(parse_name(json.member)?, by.unwrap_or(1.0))
        }
    })
}

fn array<T>(out: &mut Vec<u8>, name: &str, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.extend_from_slice(format!("{{\"{name}\":[").as_bytes());
    for (n, item) in items.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.extend_from_slice(b"]}");
}

fn write_type(out: &mut Vec<u8>, value: &Value) {
    out.extend_from_slice(b",\"type\":");
    json_text::write_string(out, value.value_type.name());
}

/// Appends `{"field", "value", "type", "expires_at"?}`.
pub(super) fn write_field(
    out: &mut Vec<u8>,
    name: &[u8],
    value: &Value,
    expiry: Expiry,
    write: impl Fn(&mut Vec<u8>, &Value),
) {
    out.extend_from_slice(b"{\"field\":");
    write_name(out, name);
    out.extend_from_slice(b",\"value\":");
    write(out, value);
    write_type(out, value);
    commit_json::write_expiry(out, expiry);
    out.push(b'}');
}

/// Appends a name, or `{"member", "ttl"? or "expires_at"?}`.
pub(super) fn write_member(out: &mut Vec<u8>, name: &[u8], expiry: Expiry) {
    if expiry == Expiry::Never {
        return write_name(out, name);
    }
    out.extend_from_slice(b"{\"member\":");
    write_name(out, name);
    commit_json::write_expiry(out, expiry);
    out.push(b'}');
}

/// Appends `{"member", "score", "ttl"? or "expires_at"?}`.
pub(super) fn write_scored(out: &mut Vec<u8>, name: &[u8], score: f64, expiry: Expiry) {
    out.extend_from_slice(b"{\"member\":");
    write_name(out, name);
    out.extend_from_slice(b",\"score\":");
    write_score(out, score);
    commit_json::write_expiry(out, expiry);
    out.push(b'}');
}

fn expire(out: &mut Vec<u8>, what: &str, names: &[Bytes], expiry: Expiry) {
    array(out, what, names, |out, name| write_name(out, name));
    out.pop();
    commit_json::write_expiry(out, expiry);
    out.push(b'}');
}

/// The verb and body that [`parse_step`] reads back, for clients. A list's step has one element; the type of it is to be
/// said beside its body.
pub fn render_step(step: &Step) -> (Verb, Vec<u8>) {
    let mut out = Vec::new();
    let one = |out: &mut Vec<u8>, values: &[Value]| {
        values.first().into_iter().for_each(|value| value_json::write(out, value));
    };
    let name = |out: &mut Vec<u8>, name: &Bytes| write_name(out, name);
    let verb = match step {
        Step::Append(values) => {
            one(&mut out, values);
            Verb::Append
        }
        Step::Prepend(values) => {
            one(&mut out, values);
            Verb::Prepend
        }
        Step::PopFirst(_) => Verb::PopFirst,
        Step::PopLast(_) => Verb::PopLast,
        Step::PopLowest(_) => Verb::PopLowest,
        Step::PopHighest(_) => Verb::PopHighest,
        Step::SetFields(fields) => {
            array(&mut out, "fields", fields, |out, (name, value, expiry)| {
                write_field(out, name, value, *expiry, value_json::write_own);
            });
            Verb::SetFields
        }
        Step::DeleteFields(names) => {
            array(&mut out, "fields", names, name);
            Verb::DeleteFields
        }
        Step::SumField(field, by) => {
            out.extend_from_slice(b"{\"field\":");
            write_name(&mut out, field);
            out.extend_from_slice(b",\"by\":");
            value_json::write(&mut out, by);
            write_type(&mut out, by);
            out.push(b'}');
            Verb::SumField
        }
        Step::ExpireFields(names, expiry) => {
            expire(&mut out, "fields", names, *expiry);
            Verb::ExpireFields
        }
        Step::ExpireMembers(names, expiry) => {
            expire(&mut out, "members", names, *expiry);
            Verb::ExpireMembers
        }
        Step::ExpireScored(names, expiry) => {
            expire(&mut out, "members", names, *expiry);
            Verb::ExpireScored
        }
        Step::AddMembers(members) => {
            array(&mut out, "members", members, |out, (name, expiry)| write_member(out, name, *expiry));
            Verb::AddMembers
        }
        Step::RemoveMembers(names) => {
            array(&mut out, "members", names, name);
            Verb::RemoveMembers
        }
        Step::AddScored(members) => {
            array(&mut out, "members", members, |out, (name, score, expiry)| {
                write_scored(out, name, *score, *expiry);
            });
            Verb::AddScored
        }
        Step::RemoveScored(names) => {
            array(&mut out, "members", names, name);
            Verb::RemoveScored
        }
        Step::SumScore(member, by) => {
            out.extend_from_slice(b"{\"member\":");
            write_name(&mut out, member);
            out.extend_from_slice(b",\"by\":");
            write_score(&mut out, *by);
            out.push(b'}');
            Verb::SumScore
        }
    };
    (verb, out)
}

/// Appends the members of a reply that say what a change did, each with a comma before it.
pub fn write_stepped(out: &mut Vec<u8>, verb: Verb, stepped: &Stepped) {
    match verb {
        Verb::SetFields | Verb::AddMembers | Verb::AddScored => {
            out.extend_from_slice(format!(",\"added\":{}", stepped.changed).as_bytes());
        }
        Verb::DeleteFields | Verb::RemoveMembers | Verb::RemoveScored => {
            out.extend_from_slice(format!(",\"removed\":{}", stepped.changed).as_bytes());
        }
        Verb::ExpireFields | Verb::ExpireMembers | Verb::ExpireScored => {
            out.extend_from_slice(format!(",\"found\":{}", stepped.changed).as_bytes());
        }
        _ => {}
    }
    if let Some(value) = stepped.values.first() {
        out.extend_from_slice(b",\"value\":");
        value_json::write(out, value);
        write_type(out, value);
    }
    if let Some((name, score)) = stepped.members.first() {
        out.extend_from_slice(b",\"member\":");
        write_name(out, name);
        out.extend_from_slice(b",\"score\":");
        write_score(out, *score);
    }
    out.extend_from_slice(format!(",\"length\":{}", stepped.length).as_bytes());
}

#[derive(Deserialize)]
struct SteppedJson<'a> {
    #[serde(default)]
    added: Option<u64>,
    #[serde(default)]
    removed: Option<u64>,
    #[serde(default)]
    found: Option<u64>,
    #[serde(borrow, default, deserialize_with = "crate::commit_json::present")]
    value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(borrow)]
    member: Option<&'a RawValue>,
    #[serde(borrow)]
    score: Option<&'a RawValue>,
    length: u64,
}

/// What a reply says that a change did, for clients.
///
/// # Errors
/// [`Kind::BadJson`](crate::Kind::BadJson), `BadValue`
pub fn parse_stepped(body: &[u8]) -> Result<Stepped, Problem> {
    let json = read::<SteppedJson<'_>>(body)?;
    let value = json.value.map(|raw| value(raw, json.value_type.as_deref())).transpose()?;
    let member = match (json.member, json.score) {
        (Some(member), Some(score)) => Some((parse_name(member)?, parse_score(score)?)),
        _ => None,
    };
    Ok(Stepped {
        changed: json.added.or(json.removed).or(json.found).unwrap_or_default(),
        length: json.length,
        values: value.into_iter().collect(),
        members: member.into_iter().collect(),
    })
}
