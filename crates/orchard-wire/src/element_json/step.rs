//! The bodies of changes, and what they answer.

use super::{Pairs, Verb, bad, parse_name, parse_score, write_name, write_score};
use crate::commit_json::{self, Items};
use crate::json_text::{self, Object};
use crate::problem::Problem;
use crate::value_json::Form;
use crate::{entry_json, value_json};
use bytes::Bytes;
use orcharddb::collection::{Step, Stepped};
use orcharddb::{Expiry, LimitError, Value, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a change says beside its key. `fields` is `[name, ..]`, `{name: value}` or
/// `[{"field", "value", "type"?, "ttl"? or "expires_at"?}]`; `members` is `[name, ..]`, `{name: score}` or
/// `[{"member", "score"?, "ttl"? or "expires_at"?}]`. Which of them it has to say is a matter of its verb.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parts<'a> {
    #[serde(borrow)]
    pub(crate) fields: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) members: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) field: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) member: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) by: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "crate::commit_json::present")]
    pub(crate) value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    pub(crate) value_type: Option<String>,
    #[serde(default)]
    pub(crate) ttl: Option<String>,
    #[serde(default)]
    pub(crate) expires_at: Option<String>,
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
    match verb {
        Verb::Append | Verb::Prepend => Ok(step_of_value(verb == Verb::Append, value_json::parse(body)?)),
        _ if verb.is_pop() => parse_parts(verb, &Parts::default()),
        _ => parse_parts(verb, &read::<Parts<'_>>(body)?),
    }
}

/// The change of a verb and what is said beside it.
///
/// # Errors
/// As [`parse_step`].
pub(crate) fn parse_parts(verb: Verb, parts: &Parts<'_>) -> Result<Step, Problem> {
    let allowed: &[&str] = match verb {
        Verb::Append | Verb::Prepend => &["value", "type"],
        Verb::PopFirst | Verb::PopLast | Verb::PopLowest | Verb::PopHighest => &[],
        Verb::SetFields | Verb::DeleteFields => &["fields"],
        Verb::SumField => &["field", "by", "type"],
        Verb::ExpireFields => &["fields", "ttl", "expires_at"],
        Verb::AddMembers | Verb::RemoveMembers | Verb::AddScored | Verb::RemoveScored => &["members"],
        Verb::SumScore => &["member", "by"],
        Verb::ExpireMembers | Verb::ExpireScored => &["members", "ttl", "expires_at"],
    };
    for (given, name) in [
        (parts.fields.is_some(), "fields"),
        (parts.members.is_some(), "members"),
        (parts.field.is_some(), "field"),
        (parts.member.is_some(), "member"),
        (parts.by.is_some(), "by"),
        (parts.value.is_some(), "value"),
        (parts.value_type.is_some(), "type"),
        (parts.ttl.is_some(), "ttl"),
        (parts.expires_at.is_some(), "expires_at"),
    ] {
        if given && !allowed.contains(&name) {
            return Err(bad(format!("not such a change: {} has no {name}", verb.op())));
        }
    }
    let needed = |what: &str| bad(format!("not such a change: {} needs {what}", verb.op()));
    let needed_fields = || parts.fields.ok_or_else(|| needed("fields"));
    let needed_members = || parts.members.ok_or_else(|| needed("members"));
    let expiry = || commit_json::parse_expiry(parts.ttl.as_deref(), parts.expires_at.as_deref());
    Ok(match verb {
        Verb::Append | Verb::Prepend => {
            let raw = parts.value.ok_or_else(|| needed("a value"))?;
            step_of_value(verb == Verb::Append, value(raw, parts.value_type.as_deref())?)
        }
        Verb::PopFirst => Step::PopFirst(1),
        Verb::PopLast => Step::PopLast(1),
        Verb::PopLowest => Step::PopLowest(1),
        Verb::PopHighest => Step::PopHighest(1),
        Verb::SetFields => Step::SetFields(fields(needed_fields()?)?),
        Verb::DeleteFields => Step::DeleteFields(names("fields", needed_fields()?)?),
        Verb::ExpireFields => Step::ExpireFields(names("fields", needed_fields()?)?, expiry()?),
        Verb::SumField => {
            let by = parts.by.map(|by| value(by, parts.value_type.as_deref())).transpose()?;
            let field = parse_name(parts.field.ok_or_else(|| needed("a field"))?)?;
            Step::SumField(field, by.unwrap_or_else(|| Value::from(1_i64)))
        }
        Verb::AddMembers => Step::AddMembers(members(needed_members()?)?),
        Verb::RemoveMembers => Step::RemoveMembers(names("members", needed_members()?)?),
        Verb::ExpireMembers => Step::ExpireMembers(names("members", needed_members()?)?, expiry()?),
        Verb::AddScored => Step::AddScored(scored(needed_members()?)?),
        Verb::RemoveScored => Step::RemoveScored(names("members", needed_members()?)?),
        Verb::ExpireScored => Step::ExpireScored(names("members", needed_members()?)?, expiry()?),
        Verb::SumScore => {
            let by = parts.by.map(parse_score).transpose()?;
            Step::SumScore(parse_name(parts.member.ok_or_else(|| needed("a member"))?)?, by.unwrap_or(1.0))
        }
    })
}

/// Whether a change has a form on the wire: a list's puts in or takes out one element, as every pop does.
///
/// # Errors
/// [`LimitError`]
pub fn check_single(step: &Step) -> Result<(), LimitError> {
    let number = match step {
        Step::Append(_) | Step::Prepend(_) => step.elements(),
        Step::PopFirst(number)
        | Step::PopLast(number)
        | Step::PopLowest(number)
        | Step::PopHighest(number) => usize::try_from(*number).unwrap_or(usize::MAX),
        _ => 1,
    };
    LimitError::check("list_step_elements", 1, number)
}

/// Appends a change as a commit or batch has it: `{"op", "key", ..}`.
pub(crate) fn write_op(out: &mut Vec<u8>, key: &[u8], step: &Step) {
    let (verb, body) = render_step(step);
    out.extend_from_slice(format!("{{\"op\":\"{}\",\"key\":", verb.op()).as_bytes());
    entry_json::write_key(out, key);
    match step {
        Step::Append(values) | Step::Prepend(values) => {
            out.extend_from_slice(b",\"value\":");
            out.extend_from_slice(&body);
            values.first().into_iter().for_each(|value| write_type(out, value));
            out.push(b'}');
        }
        _ if verb.is_pop() => out.push(b'}'),
        _ => {
            out.push(b',');
            out.extend_from_slice(body.get(1..).unwrap_or_default());
        }
    }
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
        values.first().into_iter().for_each(|value| value_json::write_own(out, value));
    };
    let name = |out: &mut Vec<u8>, name: &Bytes| write_name(out, name);
    match step {
        Step::Append(values) | Step::Prepend(values) => one(&mut out, values),
        Step::PopFirst(_) | Step::PopLast(_) | Step::PopLowest(_) | Step::PopHighest(_) => {}
        Step::SetFields(fields) => {
            array(&mut out, "fields", fields, |out, (name, value, expiry)| {
                write_field(out, name, value, *expiry, value_json::write_own);
            });
        }
        Step::DeleteFields(names) => array(&mut out, "fields", names, name),
        Step::SumField(field, by) => {
            out.extend_from_slice(b"{\"field\":");
            write_name(&mut out, field);
            out.extend_from_slice(b",\"by\":");
            value_json::write_own(&mut out, by);
            write_type(&mut out, by);
            out.push(b'}');
        }
        Step::ExpireFields(names, expiry) => expire(&mut out, "fields", names, *expiry),
        Step::ExpireMembers(names, expiry) | Step::ExpireScored(names, expiry) => {
            expire(&mut out, "members", names, *expiry);
        }
        Step::AddMembers(members) => {
            array(&mut out, "members", members, |out, (name, expiry)| write_member(out, name, *expiry));
        }
        Step::RemoveMembers(names) | Step::RemoveScored(names) => array(&mut out, "members", names, name),
        Step::AddScored(members) => {
            array(&mut out, "members", members, |out, (name, score, expiry)| {
                write_scored(out, name, *score, *expiry);
            });
        }
        Step::SumScore(member, by) => {
            out.extend_from_slice(b"{\"member\":");
            write_name(&mut out, member);
            out.extend_from_slice(b",\"by\":");
            write_score(&mut out, *by);
            out.push(b'}');
        }
    }
    (Verb::of(step), out)
}

/// Appends the members of a reply that say what a change did, each with a comma before it.
pub fn write_stepped(out: &mut Vec<u8>, verb: Verb, stepped: &Stepped, form: Form) {
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
        form.write(out, value);
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
