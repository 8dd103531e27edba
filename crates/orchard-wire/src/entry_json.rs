//! Entries as JSON: `{"key", "value", "type", "versionstamp", "expires_at"?}`, one line each, as lists, exports and
//! imports have them.

use crate::element_json::{self, Shape};
use crate::json_text::Object;
use crate::problem::{Kind, Problem};
use crate::value_json::Form;
use crate::{json_text, rfc3339, value_json};
use orcharddb::collection::{Elements, Exported};
use orcharddb::tuple;
use orcharddb::{
    Entry, Expiry, KeptVersion, Key, Mutation, Operation, SpaceId, Value, ValueType, Versionstamp,
};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The longest JSON text that a key can have: more is an attack, not a key.
pub const KEY_JSON_SIZE_BYTES_MAX: usize = 64 * 1024;

/// Appends `entry` on one line, without the line's end; without its value if only keys were asked for.
pub fn write(out: &mut Vec<u8>, entry: &Entry, keys_only: bool) {
    write_as(out, entry, keys_only, Form::Shown);
}

/// As [`write`], its value in a form.
pub fn write_as(out: &mut Vec<u8>, entry: &Entry, keys_only: bool, form: Form) {
    out.extend_from_slice(b"{\"key\":");
    write_key(out, &entry.key);
    if !keys_only {
        out.extend_from_slice(b",\"value\":");
        form.write(out, &entry.value);
    }
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(entry.value.value_type.name().as_bytes());
    out.extend_from_slice(b"\",\"versionstamp\":\"");
    out.extend_from_slice(entry.versionstamp.to_string().as_bytes());
    out.push(b'"');
    if let Some(expires_at) = entry.expires_at {
        out.extend_from_slice(b",\"expires_at\":\"");
        out.extend_from_slice(rfc3339::render(expires_at).as_bytes());
        out.push(b'"');
    }
    out.push(b'}');
}

/// Appends one version of a key, without the key: its value, or that it was deleted.
pub fn write_version(out: &mut Vec<u8>, version: &KeptVersion) {
    let (stamp, time) = (version.versionstamp, rfc3339::render(version.log_time));
    out.extend_from_slice(format!("{{\"versionstamp\":\"{stamp}\",\"log_time\":\"{time}\"").as_bytes());
    match &version.value {
        None => out.extend_from_slice(b",\"deleted\":true"),
        Some((value, expires_at)) => {
            out.extend_from_slice(b",\"value\":");
            value_json::write(out, value);
            out.extend_from_slice(format!(",\"type\":\"{}\"", value.value_type.name()).as_bytes());
            if let Some(expires_at) = expires_at {
                let expires_at = rfc3339::render(*expires_at);
                out.extend_from_slice(format!(",\"expires_at\":\"{expires_at}\"").as_bytes());
            }
        }
    }
    out.push(b'}');
}

/// Appends the JSON form of a key.
pub fn write_key(out: &mut Vec<u8>, key: &[u8]) {
    match tuple::decode_name(key) {
        // The common case, without building JSON in between.
        Some(name) if key.first() == Some(&0x02) => {
            out.push(b'[');
            json_text::write_string(out, &String::from_utf8_lossy(&name));
            out.push(b']');
        }
        _ => out.extend_from_slice(tuple::key_to_json(key).to_string().as_bytes()),
    }
}

/// The type with this name.
///
/// # Errors
/// [`Kind::BadValue`]
pub fn value_type(name: &str) -> Result<ValueType, Problem> {
    ValueType::ALL.into_iter().find(|value_type| value_type.name() == name).ok_or_else(|| {
        let names: Vec<&str> = ValueType::ALL.iter().map(|value_type| value_type.name()).collect();
        let shown = crate::query::shown(name.as_bytes());
        Problem::new(Kind::BadValue, format!("{shown} is no type; the types are {}", names.join(", ")))
    })
}

/// The bytes of the key or bound that a piece of JSON describes.
///
/// # Errors
/// [`Kind::BadKey`]
pub(crate) fn parse_bound(raw: &RawValue) -> Result<bytes::Bytes, Problem> {
    if raw.get().len() > KEY_JSON_SIZE_BYTES_MAX {
        return Err(orcharddb::LimitError {
            name: "key_json_size_bytes",
            limit: KEY_JSON_SIZE_BYTES_MAX as u64,
            actual: raw.get().len() as u64,
        }
        .into());
    }
    let json: serde_json::Value = serde_json::from_str(raw.get())
        .map_err(|error| Problem::new(Kind::BadKey, format!("the key is not JSON: {error}")))?;
    Ok(tuple::bound_from_json(&json)?)
}

/// The key that a piece of JSON describes.
///
/// # Errors
/// [`Kind::BadKey`], [`Kind::LimitExceeded`]
pub(crate) fn parse_key(raw: &RawValue) -> Result<Key, Problem> {
    Ok(Key::new(parse_bound(raw)?)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    key: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "crate::commit_json::present")]
    value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    versionstamp: Option<String>,
    #[serde(default)]
    log_time: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    offset: Option<u64>,
    #[serde(borrow)]
    elements: Option<&'a RawValue>,
}

/// Reads one version of a key, as [`write_version`] wrote it, for clients.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`]
pub fn parse_version(text: &[u8]) -> Result<KeptVersion, Problem> {
    let bad = |why: String| Problem::new(Kind::BadJson, why);
    let Object(version): Object<Version<'_>> =
        serde_json::from_slice(text).map_err(|error| bad(format!("not a version: {error}")))?;
    let time = |text: &str| rfc3339::parse(text).map_err(|why| bad(why.to_string()));
    let value = match (version.value, version.value_type) {
        (Some(raw), Some(name)) => {
            let value = value_json::parse_shown(raw.get().as_bytes(), value_type(&name)?)?;
            Some((value, version.expires_at.as_deref().map(time).transpose()?))
        }
        _ => None,
    };
    let versionstamp = version.versionstamp.parse();
    Ok(KeptVersion {
        versionstamp: versionstamp.map_err(|error| bad(format!("versionstamp: {error}")))?,
        log_time: time(&version.log_time)?,
        value,
    })
}

#[derive(Deserialize)]
struct Version<'a> {
    versionstamp: String,
    log_time: String,
    #[serde(borrow, default, deserialize_with = "crate::commit_json::present")]
    value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
}

/// What one line of an export, or one entry of a list, says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The key.
    pub key: Key,
    /// The value, `None` if only keys were asked for.
    pub value: Option<Value>,
    /// The commit that wrote it, where it came from.
    pub versionstamp: Option<Versionstamp>,
    /// When it expires, as [`Expiry::At`] or [`Expiry::After`].
    pub expiry: Expiry,
}

impl Record {
    /// The write that repeats the record in the default space.
    ///
    /// # Errors
    /// [`Kind::BadValue`] if it has no value.
    pub fn into_mutation(self) -> Result<Mutation, Problem> {
        let value = self.value.ok_or_else(|| Problem::new(Kind::BadValue, "the entry has no value"))?;
        let operation = Operation::Set { value, expiry: self.expiry };
        Ok(Mutation { space: SpaceId::DEFAULT, key: self.key, operation })
    }
}

/// Reads one entry: `key` is needed, `value`, `type`, `versionstamp`, `log_time`, `expires_at` and `ttl` are known,
/// anything else is an error.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadKey`], [`Kind::BadValue`], [`Kind::LimitExceeded`]
///
/// ```
/// use orchard_wire::entry_json;
/// use orcharddb::Value;
/// let record = entry_json::parse(br#"{"key": ["debian", "apt"], "value": {"Version": "2.9"}}"#)?;
/// assert_eq!(record.value, Some(Value::json(r#"{"Version": "2.9"}"#)));
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse(line: &[u8]) -> Result<Record, Problem> {
    parse_with(line, value_json::parse_as)
}

/// As [`parse`], for entries that are shown to clients: see [`value_json::parse_shown`].
///
/// # Errors
/// As [`parse`].
pub fn parse_shown(line: &[u8]) -> Result<Record, Problem> {
    parse_with(line, |text, value_type| match value_type {
        Some(value_type) => value_json::parse_shown(text, value_type),
        None => value_json::parse(text),
    })
}

fn read(line: &[u8]) -> Result<Line<'_>, Problem> {
    let Object(line): Object<Line<'_>> = serde_json::from_slice(line)
        .map_err(|error| Problem::new(Kind::BadJson, format!("not an entry: {error}")))?;
    Ok(line)
}

fn parse_with(
    line: &[u8],
    parse_value: impl Fn(&[u8], Option<ValueType>) -> Result<Value, Problem>,
) -> Result<Record, Problem> {
    record(read(line)?, parse_value)
}

fn record(
    line: Line<'_>,
    parse_value: impl Fn(&[u8], Option<ValueType>) -> Result<Value, Problem>,
) -> Result<Record, Problem> {
    if line.elements.is_some() || line.offset.is_some() {
        return Err(Problem::new(Kind::BadJson, "elements and offset are for exports and imports"));
    }
    let value_type = line.value_type.as_deref().map(value_type).transpose()?;
    let value = line.value.map(|raw| parse_value(raw.get().as_bytes(), value_type)).transpose()?;
    Ok(Record {
        key: parse_key(line.key)?,
        value,
        versionstamp: line.stamp()?,
        expiry: crate::commit_json::parse_expiry(line.ttl.as_deref(), line.expires_at.as_deref())?,
    })
}

impl Line<'_> {
    /// The commit that wrote it; its time only has to be one.
    fn stamp(&self) -> Result<Option<Versionstamp>, Problem> {
        if let Some(log_time) = &self.log_time {
            rfc3339::parse(log_time)
                .map_err(|why| Problem::new(Kind::BadJson, format!("log_time: {why}")))?;
        }
        let stamp = |text: &String| {
            text.parse().map_err(|error| Problem::new(Kind::BadJson, format!("versionstamp: {error}")))
        };
        self.versionstamp.as_ref().map(stamp).transpose()
    }
}

/// A piece of a collection, as a line of an export has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// The key.
    pub key: Key,
    /// How many elements come before.
    pub offset: u64,
    /// The elements.
    pub elements: Elements,
    /// The commit that wrote the collection last, where it came from.
    pub versionstamp: Option<Versionstamp>,
    /// When all of it expires.
    pub expiry: Expiry,
}

/// One line of an export.
#[derive(Debug, Clone, PartialEq)]
pub enum ExportLine {
    /// An entry.
    Entry(Record),
    /// A piece of a collection.
    Piece(Piece),
}

/// Reads one line of an export: an entry as [`parse`] reads it, or `key`, `type`, `offset`? and `elements` of a collection.
///
/// # Errors
/// As [`parse`].
pub fn parse_exported(line: &[u8]) -> Result<ExportLine, Problem> {
    let line = read(line)?;
    let Some(elements) = line.elements else {
        return record(line, value_json::parse_as).map(ExportLine::Entry);
    };
    let value_type = line.value_type.as_deref().map(value_type).transpose()?;
    let shape = value_type
        .and_then(Shape::of)
        .ok_or_else(|| Problem::new(Kind::BadValue, "elements are of type list, hash, set or zset"))?;
    if line.value.is_some() {
        return Err(Problem::new(Kind::BadJson, "an entry has a value or elements"));
    }
    Ok(ExportLine::Piece(Piece {
        key: parse_key(line.key)?,
        offset: line.offset.unwrap_or_default(),
        elements: element_json::parse_elements(shape, elements)?,
        versionstamp: line.stamp()?,
        expiry: crate::commit_json::parse_expiry(line.ttl.as_deref(), line.expires_at.as_deref())?,
    }))
}

/// Appends the line of a piece, as [`parse_exported`] reads it, with its end.
pub fn write_piece(out: &mut Vec<u8>, piece: &Piece) {
    let value_type = match &piece.elements {
        Elements::Values(_) => ValueType::List,
        Elements::Fields(_) => ValueType::Hash,
        Elements::Members(_) => ValueType::Set,
        Elements::Scored(_) => ValueType::ZSet,
    };
    out.extend_from_slice(b"{\"key\":");
    write_key(out, &piece.key);
    let (offset, name) = (piece.offset, value_type.name());
    out.extend_from_slice(format!(",\"type\":\"{name}\",\"offset\":{offset},\"elements\":[").as_bytes());
    element_json::write_own_elements(out, &piece.elements);
    out.push(b']');
    crate::commit_json::write_expiry(out, piece.expiry);
    out.extend_from_slice(b"}\n");
}

/// Appends one line of an export, with its end: as [`write`], but JavaScript values in their own bytes, which a rendering as
/// JSON may not give back, and collections with their elements. Without versionstamps equal entries give equal lines.
pub fn write_exported(out: &mut Vec<u8>, exported: &Exported, keys_only: bool, versionstamps: bool) {
    out.extend_from_slice(b"{\"key\":");
    let entry = match exported {
        Exported::Entry(entry) => {
            write_key(out, &entry.key);
            if !keys_only {
                out.extend_from_slice(b",\"value\":");
                value_json::write_own(out, &entry.value);
            }
            entry
        }
        Exported::Piece { entry, .. } => {
            write_key(out, &entry.key);
            entry
        }
    };
    out.extend_from_slice(format!(",\"type\":\"{}\"", entry.value.value_type).as_bytes());
    if let Exported::Piece { offset, elements, .. } = exported {
        if *offset > 0 {
            out.extend_from_slice(format!(",\"offset\":{offset}").as_bytes());
        }
        out.extend_from_slice(b",\"elements\":[");
        element_json::write_own_elements(out, elements);
        out.push(b']');
    }
    if versionstamps {
        out.extend_from_slice(format!(",\"versionstamp\":\"{}\"", entry.versionstamp).as_bytes());
    }
    if let Some(expires_at) = entry.expires_at {
        out.extend_from_slice(format!(",\"expires_at\":\"{}\"", rfc3339::render(expires_at)).as_bytes());
    }
    out.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::{DurationMs, UnixMillis};
    use proptest::prelude::*;

    #[test]
    fn an_entry_has_the_documented_shape() {
        let entry = Entry {
            key: tuple::name(b"k").expect("short"),
            value: Value::from("v"),
            versionstamp: Versionstamp::new(7, 2),
            expires_at: Some(UnixMillis(1_000)),
        };
        let mut out = Vec::new();
        write(&mut out, &entry, false);
        let whole = r#"{"key":["k"],"value":"v","type":"text","versionstamp":"00000000000000070002","expires_at":"1970-01-01T00:00:01.000Z"}"#;
        assert_eq!(String::from_utf8_lossy(&out), whole);
        let record = parse(&out).expect("an entry");
        assert_eq!(
            (record.versionstamp, record.expiry),
            (Some(entry.versionstamp), Expiry::At(UnixMillis(1_000)))
        );
        out.clear();
        write(&mut out, &entry, true);
        assert!(!String::from_utf8_lossy(&out).contains("value\""));
        assert_eq!(parse(&out).expect("an entry").value, None);
    }

    #[test]
    fn a_line_may_be_short_but_not_strange() {
        let kind = |line: &str| parse(line.as_bytes()).map_err(|problem| problem.kind);
        let record = kind(r#"{"key":"k","value":1,"ttl":"30s"}"#).expect("an entry");
        assert_eq!(record.expiry, Expiry::After(DurationMs(30_000)));
        assert_eq!(kind(r#"{"key":["k"],"valu":1}"#), Err(Kind::BadJson));
        assert_eq!(kind(r#"{"value":1}"#), Err(Kind::BadJson));
        assert_eq!(kind(r#"["k",1]"#), Err(Kind::BadJson));
        assert_eq!(kind(r#"{"key":[null],"value":1}"#), Err(Kind::BadKey));
        assert_eq!(kind(r#"{"key":["k"],"value":1,"type":"text"}"#), Err(Kind::BadValue));
        assert_eq!(kind(r#"{"key":["k"],"value":1,"type":"number"}"#), Err(Kind::BadValue));
        assert_eq!(kind(r#"{"key":["k"],"value":{"$bytes":"?"}}"#), Err(Kind::BadValue));
        let long = format!("{{\"key\":[{}\"\"]}}", " ".repeat(KEY_JSON_SIZE_BYTES_MAX));
        assert_eq!(kind(&long), Err(Kind::LimitExceeded));
        let long = format!("{{\"key\":[\"{}\"]}}", "k".repeat(3_000));
        assert_eq!(kind(&long), Err(Kind::LimitExceeded));
    }

    proptest! {
        #[test]
        fn entries_come_back(
            key in prop::collection::vec(any::<u8>(), 0..30), data in prop::collection::vec(any::<u8>(), 0..30),
            raw in any::<u64>(), expires_at in prop::option::of(0..253_402_300_799_999_u64),
        ) {
            let stamp = Versionstamp::from_raw(raw);
            let entry = Entry {
                key: Key::new(key).expect("short"),
                value: Value::from(data),
                versionstamp: stamp,
                expires_at: expires_at.map(UnixMillis),
            };
            let mut out = Vec::new();
            write(&mut out, &entry, false);
            let record = parse(&out).expect("an entry");
            prop_assert_eq!(record.key, entry.key);
            prop_assert_eq!(record.value, Some(entry.value));
            prop_assert_eq!(record.versionstamp, Some(stamp));
            prop_assert_eq!(record.expiry, entry.expires_at.map_or(Expiry::Never, Expiry::At));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
