//! Elements as they are shown: a page as one JSON object, or an element a line.

use super::step::{write_field, write_member, write_scored};
use super::{Shape, bad, parse_name, parse_score};
use crate::commit_json::Items;
use crate::json_text::{self, Object};
use crate::problem::{Kind, Problem};
use crate::value_json::Form;
use crate::{entry_json, rfc3339, value_json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use orcharddb::collection::{Elements, Field, Found, Member, Scored, ScoredMember};
use orcharddb::{Expiry, LimitError, UnixMillis, Value, Versionstamp, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The first byte of a cursor of names.
const NAME: u8 = 1;
/// The first byte of a cursor of members with scores.
const SCORED: u8 = 2;

fn damaged() -> Problem {
    Problem::new(Kind::BadCursor, "the cursor is damaged, or of another route")
}

/// Where a page goes on that ended with this name.
pub(super) fn name_cursor(name: &[u8]) -> String {
    BASE64URL.encode([&[NAME], name].concat())
}

pub(super) fn parse_name_cursor(text: &[u8]) -> Result<Bytes, Problem> {
    let bytes = BASE64URL.decode(text).map_err(|_| damaged())?;
    let name = bytes.strip_prefix(&[NAME]).ok_or_else(damaged)?;
    Ok(Bytes::copy_from_slice(name))
}

/// Where a page goes on that ended with this member.
pub(super) fn scored_cursor((name, score): &Scored) -> String {
    BASE64URL.encode([&[SCORED], &score.to_le_bytes()[..], name].concat())
}

pub(super) fn parse_scored_cursor(text: &[u8]) -> Result<Scored, Problem> {
    let bytes = BASE64URL.decode(text).map_err(|_| damaged())?;
    let rest = bytes.strip_prefix(&[SCORED]).ok_or_else(damaged)?;
    let (score, name) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
    let score = f64::from_le_bytes(*score);
    if score.is_nan() {
        return Err(damaged());
    }
    Ok((Bytes::copy_from_slice(name), score))
}

/// Appends each element of `elements` by itself, `between` between two: `{"value", "type"}`, `{"field", "value", "type"}`,
/// a name (of one that expires of its own an object) or `{"member", "score"}`.
pub fn write_elements(out: &mut Vec<u8>, elements: &Elements, between: &[u8], form: Form) {
    write_each(out, elements, between, |out, value| form.write(out, value));
}

/// The same with commas, as an export has them.
pub(crate) fn write_own_elements(out: &mut Vec<u8>, elements: &Elements) {
    write_each(out, elements, b",", value_json::write_own);
}

fn write_each(
    out: &mut Vec<u8>,
    elements: &Elements,
    between: &[u8],
    write: impl Fn(&mut Vec<u8>, &Value) + Copy,
) {
    fn each<T>(out: &mut Vec<u8>, items: &[T], between: &[u8], write: impl Fn(&mut Vec<u8>, &T)) {
        for (n, item) in items.iter().enumerate() {
            if n > 0 {
                out.extend_from_slice(between);
            }
            write(out, item);
        }
    }
    match elements {
        Elements::Values(values) => each(out, values, between, |out, value| {
            out.extend_from_slice(b"{\"value\":");
            write(out, value);
            out.extend_from_slice(format!(",\"type\":\"{}\"}}", value.value_type.name()).as_bytes());
        }),
        Elements::Fields(fields) => {
            each(out, fields, between, |out, field| {
                let expiry = field.expires_at.map_or(Expiry::Never, Expiry::At);
                write_field(out, &field.name, &field.value, expiry, write);
            });
        }
        Elements::Members(members) => each(out, members, between, |out, member| {
            write_member(out, &member.name, member.expires_at.map_or(Expiry::Never, Expiry::At));
        }),
        Elements::Scored(members) => each(out, members, between, |out, member| {
            let expiry = member.expires_at.map_or(Expiry::Never, Expiry::At);
            write_scored(out, &member.name, member.score, expiry);
        }),
    }
}

/// Reads what [`write_own_elements`] wrote, within brackets.
pub(crate) fn parse_elements(shape: Shape, raw: &RawValue) -> Result<Elements, Problem> {
    fn items<'a, T: Deserialize<'a>, R>(
        raw: &'a RawValue,
        read: impl Fn(T) -> Result<R, Problem>,
    ) -> Result<Vec<R>, Problem> {
        let items: Items<T> =
            serde_json::from_str(raw.get()).map_err(|error| bad(format!("elements: {error}")))?;
        LimitError::check("collection_step_elements", limits::COMMIT_OPERATIONS_MAX, items.count)?;
        let read = |(n, item)| read(item).map_err(|problem| problem.at(format_args!("elements[{n}]")));
        items.items.into_iter().enumerate().map(read).collect()
    }
    Ok(match shape {
        Shape::List => Elements::Values(items(raw, |Object(json): Object<ValueJson<'_>>| {
            typed(json.value, &json.value_type)
        })?),
        Shape::Hash => Elements::Fields(items(raw, |Object(json): Object<FieldJson<'_>>| json.parse())?),
        Shape::Set => Elements::Members(items(raw, parse_member)?),
        Shape::ZSet => Elements::Scored(items(raw, |Object(json): Object<ScoredJson<'_>>| json.parse())?),
    })
}

/// The reply of a look, as one version shows it.
pub fn write_page(found: &Found, versionstamp: Versionstamp, form: Form) -> Vec<u8> {
    let mut out = Vec::new();
    match &found.elements {
        // As the plain values that they are, for people; their types beside them.
        Elements::Values(values) => {
            out.extend_from_slice(b"{\"values\":[");
            for (n, value) in values.iter().enumerate() {
                if n > 0 {
                    out.push(b',');
                }
                form.write(&mut out, value);
            }
        }
        Elements::Fields(_) => out.extend_from_slice(b"{\"fields\":["),
        Elements::Members(_) | Elements::Scored(_) => out.extend_from_slice(b"{\"members\":["),
    }
    if !matches!(found.elements, Elements::Values(_)) {
        write_elements(&mut out, &found.elements, b",", form);
    }
    out.extend_from_slice(format!("],\"length\":{}", found.length).as_bytes());
    if let Elements::Values(values) = &found.elements {
        out.extend_from_slice(b",\"types\":[");
        for (n, value) in values.iter().enumerate() {
            if n > 0 {
                out.push(b',');
            }
            json_text::write_string(&mut out, value.value_type.name());
        }
        out.push(b']');
    }
    if found.has_more {
        let cursor = match &found.elements {
            Elements::Values(_) => None,
            Elements::Fields(fields) => fields.last().map(|field| name_cursor(&field.name)),
            Elements::Members(members) => members.last().map(|member| name_cursor(&member.name)),
            Elements::Scored(members) => members.last().map(|member| scored_cursor(&member.clone().into())),
        };
        if let Some(cursor) = cursor {
            out.extend_from_slice(format!(",\"cursor\":\"{cursor}\"").as_bytes());
        }
    }
    out.extend_from_slice(format!(",\"versionstamp\":\"{versionstamp}\"}}").as_bytes());
    out
}

/// What a reply shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The elements.
    pub found: Found,
    /// The version that it shows.
    pub versionstamp: Versionstamp,
}

#[derive(Deserialize)]
struct PageJson<'a> {
    #[serde(borrow, default)]
    values: Vec<&'a RawValue>,
    #[serde(default)]
    types: Vec<String>,
    #[serde(borrow, default)]
    fields: Vec<Object<FieldJson<'a>>>,
    #[serde(borrow, default)]
    members: Vec<&'a RawValue>,
    length: u64,
    #[serde(default)]
    cursor: Option<String>,
    versionstamp: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValueJson<'a> {
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(rename = "type")]
    value_type: String,
}

#[derive(Deserialize)]
struct FieldJson<'a> {
    #[serde(borrow)]
    field: &'a RawValue,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(rename = "type")]
    value_type: String,
    #[serde(default)]
    expires_at: Option<String>,
}

impl FieldJson<'_> {
    fn parse(&self) -> Result<Field, Problem> {
        Ok(Field {
            name: parse_name(self.field)?,
            value: typed(self.value, &self.value_type)?,
            expires_at: moment(self.expires_at.as_deref())?,
        })
    }
}

fn moment(text: Option<&str>) -> Result<Option<UnixMillis>, Problem> {
    text.map(rfc3339::parse).transpose().map_err(|why| bad(format!("expires_at: {why}")))
}

#[derive(Deserialize)]
struct MemberJson<'a> {
    #[serde(borrow)]
    member: &'a RawValue,
    expires_at: String,
}

/// A name, or an object with the time at which it expires.
fn parse_member(raw: &RawValue) -> Result<Member, Problem> {
    match serde_json::from_str(raw.get()) {
        Ok(Object::<MemberJson<'_>>(json)) => {
            Ok(Member { name: parse_name(json.member)?, expires_at: moment(Some(&json.expires_at))? })
        }
        Err(_) => Ok(Member { name: parse_name(raw)?, expires_at: None }),
    }
}

#[derive(Deserialize)]
struct ScoredJson<'a> {
    #[serde(borrow)]
    member: &'a RawValue,
    #[serde(borrow)]
    score: &'a RawValue,
    #[serde(default)]
    expires_at: Option<String>,
}

impl ScoredJson<'_> {
    fn parse(&self) -> Result<ScoredMember, Problem> {
        let (name, score) = (parse_name(self.member)?, parse_score(self.score)?);
        Ok(ScoredMember { name, score, expires_at: moment(self.expires_at.as_deref())? })
    }
}

fn typed(raw: &RawValue, value_type: &str) -> Result<Value, Problem> {
    let value = value_json::parse_as(raw.get().as_bytes(), Some(entry_json::value_type(value_type)?))?;
    LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?;
    Ok(value)
}

/// Reads what [`write_page`] wrote, for clients.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`]
pub fn parse_page(shape: Shape, body: &[u8]) -> Result<Page, Problem> {
    let json: PageJson<'_> = serde_json::from_slice(body).map_err(|error| bad(error.to_string()))?;
    let elements = match shape {
        Shape::List => {
            let values = json.values.iter().zip(&json.types);
            Elements::Values(
                values.map(|(raw, value_type)| typed(raw, value_type)).collect::<Result<_, _>>()?,
            )
        }
        Shape::Hash => {
            let field = |Object(json): &Object<FieldJson<'_>>| json.parse();
            Elements::Fields(json.fields.iter().map(field).collect::<Result<_, Problem>>()?)
        }
        Shape::Set => {
            Elements::Members(json.members.iter().map(|raw| parse_member(raw)).collect::<Result<_, _>>()?)
        }
        Shape::ZSet => {
            let member = |raw: &&RawValue| {
                let Object(json): Object<ScoredJson<'_>> =
                    serde_json::from_str(raw.get()).map_err(|error| bad(error.to_string()))?;
                json.parse()
            };
            Elements::Scored(json.members.iter().map(member).collect::<Result<_, Problem>>()?)
        }
    };
    let versionstamp = json.versionstamp.parse();
    Ok(Page {
        found: Found { elements, length: json.length, has_more: json.cursor.is_some() },
        versionstamp: versionstamp.map_err(|_| bad("versionstamp: none"))?,
    })
}
