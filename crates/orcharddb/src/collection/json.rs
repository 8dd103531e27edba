//! Collections as JSON.
//!
//! A list and a set are arrays, a hash is an object, a sorted set an array of `[member, score]`. Names and values that are
//! not text are `{"$bytes": "base64"}`; a field whose name is not text is `"$bytes:base64"`. Scores that JSON has no
//! number for are `"inf"` and `"-inf"`.

use super::{Hash, List, Set, View, ZSet};
use crate::error::{CollectionError, Error};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use orchard_types::{Entry, SpaceId, Value, ValueType};
use serde_json::{Map, Value as Json, json};

/// How large a collection is rendered whole.
#[derive(Debug, Clone, Copy)]
pub struct JsonLimits {
    /// Most elements.
    pub elements_max: u64,
    /// Most bytes of names and values, about.
    pub bytes_max: usize,
}

impl Default for JsonLimits {
    fn default() -> Self {
        JsonLimits { elements_max: 100_000, bytes_max: orchard_types::limits::VALUE_SIZE_BYTES_MAX }
    }
}

/// Elements read at once.
const PAGE: usize = 1_000;

fn name(bytes: &[u8]) -> Json {
    match std::str::from_utf8(bytes) {
        Ok(text) => Json::from(text),
        Err(_) => json!({ "$bytes": BASE64.encode(bytes) }),
    }
}

fn field(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("$bytes:{}", BASE64.encode(bytes)),
    }
}

fn score(score: f64) -> Json {
    if score == f64::INFINITY {
        Json::from("inf")
    } else if score == f64::NEG_INFINITY {
        Json::from("-inf")
    } else {
        crate::tuple::float_to_json(score)
    }
}

/// Counts what was rendered against the limits.
struct Meter {
    limits: JsonLimits,
    bytes: usize,
}

impl Meter {
    fn take(&mut self, bytes: usize) -> Result<(), Error> {
        self.bytes += bytes;
        Ok(orchard_types::LimitError::check("collection_json_size_bytes", self.limits.bytes_max, self.bytes)?)
    }
}

/// The collection whose entry a view has shown, as JSON. `render` gives the JSON of an element's value.
///
/// # Errors
/// [`Error::Collection`] if the entry is no collection; [`Error::Key`] with the limit if it is too large to be rendered
/// whole; [`Error::Read`].
pub fn to_json<V: View>(
    view: V,
    space: SpaceId,
    entry: &Entry,
    limits: JsonLimits,
    mut render: impl FnMut(&Value) -> Json,
) -> Result<Json, Error> {
    let mut meter = Meter { limits, bytes: 0 };
    let check = |count: u64| {
        let actual = usize::try_from(count).unwrap_or(usize::MAX);
        let limit = usize::try_from(limits.elements_max).unwrap_or(usize::MAX);
        orchard_types::LimitError::check("collection_json_elements", limit, actual)
    };
    let key = entry.key.clone();
    match entry.value.value_type {
        ValueType::List => {
            let mut list = List::open(view, space, key)?;
            check(list.len())?;
            let mut all = Vec::new();
            let mut over = Ok(());
            list.visit(false, |_, value| {
                over = meter.take(value.data.len());
                if over.is_ok() {
                    all.push(render(value));
                }
                over.is_ok()
            })?;
            over.map(|()| Json::Array(all))
        }
        ValueType::Hash => {
            let mut hash = Hash::open(view, space, key)?;
            check(hash.len()?)?;
            let mut all = Map::new();
            let mut after: Option<bytes::Bytes> = None;
            loop {
                let page = hash.page(after.as_deref(), PAGE)?;
                let is_last = page.len() < PAGE;
                after = page.last().map(|(name, _)| name.clone());
                for (name, value) in page {
                    meter.take(name.len() + value.data.len())?;
                    all.insert(field(&name), render(&value));
                }
                if is_last {
                    return Ok(Json::Object(all));
                }
            }
        }
        ValueType::Set => {
            let mut set = Set::open(view, space, key)?;
            check(set.len()?)?;
            let mut all = Vec::new();
            let mut after: Option<bytes::Bytes> = None;
            loop {
                let page = set.page(after.as_deref(), PAGE)?;
                let is_last = page.len() < PAGE;
                after = page.last().cloned();
                for member in page {
                    meter.take(member.len())?;
                    all.push(name(&member));
                }
                if is_last {
                    return Ok(Json::Array(all));
                }
            }
        }
        ValueType::ZSet => {
            let mut zset = ZSet::open(view, space, key)?;
            check(zset.len()?)?;
            let mut all = Vec::new();
            for (member, at) in zset.range(0, -1)? {
                meter.take(member.len() + 8)?;
                all.push(json!([name(&member), score(at)]));
            }
            Ok(Json::Array(all))
        }
        found => Err(CollectionError::WrongType { expected: ValueType::Hash, found }.into()),
    }
}
