//! Elements of collections: what the routes below `/v1/lists`, `/v1/hashes`, `/v1/sets` and `/v1/zsets` take and answer.
//!
//! - A name (of a field or member) is a JSON string if it is UTF-8, else `{"$bytes": "base64"}`; in a query string it is its
//!   bytes, percent-encoded.
//! - A score is a number, `"inf"` or `"-inf"`.

mod found;
mod look;
mod step;

pub use found::{Page, parse_page, write_elements, write_page};
pub(crate) use found::{parse_elements, write_own_elements};
pub use look::{render_look, take_look};
pub(crate) use step::{Parts, parse_parts, write_op};
pub use step::{check_single, parse_step, parse_stepped, render_step, step_of_value, write_stepped};

use crate::json_text;
use crate::problem::{Kind, Problem};
use crate::value_json;
use bytes::Bytes;
use orcharddb::collection::Step;
use orcharddb::{Value, ValueType};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The kinds of collections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A list.
    List,
    /// A hash.
    Hash,
    /// A set.
    Set,
    /// A sorted set.
    ZSet,
}

impl Shape {
    /// What stands in the path behind `/v1/`.
    pub const fn route(self) -> &'static str {
        match self {
            Shape::List => "lists",
            Shape::Hash => "hashes",
            Shape::Set => "sets",
            Shape::ZSet => "zsets",
        }
    }

    /// The type of its values.
    pub const fn value_type(self) -> ValueType {
        match self {
            Shape::List => ValueType::List,
            Shape::Hash => ValueType::Hash,
            Shape::Set => ValueType::Set,
            Shape::ZSet => ValueType::ZSet,
        }
    }

    /// The kind of a value's type, if it is a collection's.
    pub const fn of(value_type: ValueType) -> Option<Shape> {
        match value_type {
            ValueType::List => Some(Shape::List),
            ValueType::Hash => Some(Shape::Hash),
            ValueType::Set => Some(Shape::Set),
            ValueType::ZSet => Some(Shape::ZSet),
            _ => None,
        }
    }
}

/// What can be done to a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// An element behind the last.
    Append,
    /// An element before the first.
    Prepend,
    /// The first element out.
    PopFirst,
    /// The last element out.
    PopLast,
    /// Fields written.
    SetFields,
    /// Fields removed.
    DeleteFields,
    /// A number added to a field.
    SumField,
    /// Fields given other expiries.
    ExpireFields,
    /// Members added to a set.
    AddMembers,
    /// Members removed from a set.
    RemoveMembers,
    /// Members of a set given other expiries.
    ExpireMembers,
    /// Members with scores added to a sorted set.
    AddScored,
    /// Members removed from a sorted set.
    RemoveScored,
    /// Members of a sorted set given other expiries.
    ExpireScored,
    /// A number added to a score.
    SumScore,
    /// The member with the lowest score out.
    PopLowest,
    /// The member with the highest score out.
    PopHighest,
}

impl Verb {
    /// What it is done to.
    pub const fn shape(self) -> Shape {
        match self {
            Verb::Append | Verb::Prepend | Verb::PopFirst | Verb::PopLast => Shape::List,
            Verb::SetFields | Verb::DeleteFields | Verb::SumField | Verb::ExpireFields => Shape::Hash,
            Verb::AddMembers | Verb::RemoveMembers | Verb::ExpireMembers => Shape::Set,
            Verb::AddScored
            | Verb::RemoveScored
            | Verb::ExpireScored
            | Verb::SumScore
            | Verb::PopLowest
            | Verb::PopHighest => Shape::ZSet,
        }
    }

    /// What stands at the end of the path.
    pub const fn name(self) -> &'static str {
        match self {
            Verb::Append => "append",
            Verb::Prepend => "prepend",
            Verb::PopFirst => "pop_first",
            Verb::PopLast => "pop_last",
            Verb::SetFields => "set",
            Verb::DeleteFields => "delete",
            Verb::SumField | Verb::SumScore => "sum",
            Verb::AddMembers | Verb::AddScored => "add",
            Verb::RemoveMembers | Verb::RemoveScored => "remove",
            Verb::ExpireFields | Verb::ExpireMembers | Verb::ExpireScored => "expire",
            Verb::PopLowest => "pop_lowest",
            Verb::PopHighest => "pop_highest",
        }
    }

    /// What a step does.
    pub const fn of(step: &Step) -> Verb {
        match step {
            Step::Append(_) => Verb::Append,
            Step::Prepend(_) => Verb::Prepend,
            Step::PopFirst(_) => Verb::PopFirst,
            Step::PopLast(_) => Verb::PopLast,
            Step::SetFields(_) => Verb::SetFields,
            Step::DeleteFields(_) => Verb::DeleteFields,
            Step::SumField(..) => Verb::SumField,
            Step::ExpireFields(..) => Verb::ExpireFields,
            Step::AddMembers(_) => Verb::AddMembers,
            Step::RemoveMembers(_) => Verb::RemoveMembers,
            Step::ExpireMembers(..) => Verb::ExpireMembers,
            Step::AddScored(_) => Verb::AddScored,
            Step::RemoveScored(_) => Verb::RemoveScored,
            Step::ExpireScored(..) => Verb::ExpireScored,
            Step::SumScore(..) => Verb::SumScore,
            Step::PopLowest(_) => Verb::PopLowest,
            Step::PopHighest(_) => Verb::PopHighest,
        }
    }

    /// All of them.
    pub const ALL: [Verb; 17] = [
        Verb::Append,
        Verb::Prepend,
        Verb::PopFirst,
        Verb::PopLast,
        Verb::SetFields,
        Verb::DeleteFields,
        Verb::SumField,
        Verb::ExpireFields,
        Verb::AddMembers,
        Verb::RemoveMembers,
        Verb::ExpireMembers,
        Verb::AddScored,
        Verb::RemoveScored,
        Verb::ExpireScored,
        Verb::SumScore,
        Verb::PopLowest,
        Verb::PopHighest,
    ];

    /// Its name as the `op` of a commit or batch: `hash_set`.
    pub fn op(self) -> String {
        format!("{}_{}", self.shape().value_type().name(), self.name())
    }

    /// The verb of an `op`.
    pub fn of_op(op: &str) -> Option<Verb> {
        let (shape, name) = op.split_once('_')?;
        Verb::ALL.into_iter().find(|verb| verb.name() == name && verb.shape().value_type().name() == shape)
    }

    /// Whether it takes an element out, so that there has to be one.
    pub const fn is_pop(self) -> bool {
        matches!(self, Verb::PopFirst | Verb::PopLast | Verb::PopLowest | Verb::PopHighest)
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadJson, detail)
}

/// Appends the name of a field or member.
fn write_name(out: &mut Vec<u8>, name: &[u8]) {
    match std::str::from_utf8(name) {
        Ok(text) => json_text::write_string(out, text),
        Err(_) => value_json::write(out, &Value::bytes(Bytes::copy_from_slice(name))),
    }
}

/// # Errors
/// [`Kind::BadValue`]
fn parse_name(raw: &RawValue) -> Result<Bytes, Problem> {
    let value = value_json::parse(raw.get().as_bytes())?;
    match value.value_type {
        ValueType::Text | ValueType::Bytes => Ok(value.data),
        other => {
            let detail = format!("a name is a string or {{\"$bytes\": \"base64\"}}, not {other}");
            Err(Problem::new(Kind::BadValue, detail))
        }
    }
}

/// Appends a score.
fn write_score(out: &mut Vec<u8>, score: f64) {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let text = match score {
        f64::INFINITY => "\"inf\"".to_owned(),
        f64::NEG_INFINITY => "\"-inf\"".to_owned(),
        _ if score.fract() == 0.0 && score.abs() <= EXACT => (score as i64).to_string(),
        _ => format!("{score:?}"),
    };
    out.extend_from_slice(text.as_bytes());
}

/// The number that a text writes, infinities included.
fn score(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(score) if !score.is_nan() => Ok(score + 0.0),
        _ => Err(format!("{} is no number, inf or -inf", crate::query::shown(text.as_bytes()))),
    }
}

/// # Errors
/// [`Kind::BadValue`]
fn parse_score(raw: &RawValue) -> Result<f64, Problem> {
    let text = raw.get();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    score(text).map_err(|why| Problem::new(Kind::BadValue, why))
}

/// Members of an object in their order, at most so many as one commit has operations; more are counted but not kept.
struct Pairs<'a> {
    pairs: Vec<(String, &'a RawValue)>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pairs<'a>, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while pairs.len() < orcharddb::limits::COMMIT_OPERATIONS_MAX {
                    match map.next_entry()? {
                        Some(pair) => pairs.push(pair),
                        None => return Ok(Pairs { count: pairs.len(), pairs }),
                    }
                }
                let mut count = pairs.len();
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Pairs { pairs, count })
            }
        }
        deserializer.deserialize_map(PairsVisitor)
    }
}

#[cfg(test)]
pub(crate) mod tests;
