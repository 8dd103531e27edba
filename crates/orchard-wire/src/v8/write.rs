//! JSON to V8: renderings back, and what Deno gets of values of other types.

use super::read::{VIEWS, View};
use super::render::{ERROR_NAMES, REGEXP_FLAGS};
use crate::rfc3339;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use num_bigint::BigInt;
use num_bigint::Sign;
use orcharddb::v8_number::{push_bigint, push_bigint_digits, push_number};
use orcharddb::{Value, ValueType};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;
use std::collections::HashSet;
use std::fmt;

/// The header of what is written: version 15 is read by every client in use.
const HEADER: [u8; 2] = [0xff, 15];
/// Longest decimal bigint that is read; longer ones are hexadecimal.
const DECIMAL_DIGITS_MAX: usize = 4_000;

/// The JSON is no rendering of a JavaScript value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotV8Json(String);

impl fmt::Display for NotV8Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotV8Json {}

/// The V8 value that a rendering describes.
///
/// # Errors
/// [`NotV8Json`] saying what is wrong and where.
///
/// ```
/// use orchard_wire::v8;
/// let bytes = v8::from_json(br#"{"$map":[["a",{"$bigint":"5"}]]}"#)?;
/// let mut json = Vec::new();
/// v8::to_json(&mut json, &bytes);
/// assert_eq!(json, br#"{"$map":[["a",{"$bigint":"5"}]]}"#);
/// # Ok::<(), v8::NotV8Json>(())
/// ```
pub fn from_json(json: &[u8]) -> Result<Vec<u8>, NotV8Json> {
    write(json, true)
}

fn write(json: &[u8], tagged: bool) -> Result<Vec<u8>, NotV8Json> {
    let mut writer = Writer { out: HEADER.to_vec(), objects: Vec::new(), next_id: 0, raw: None, tagged };
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let place = Place::Root;
    Seed { writer: &mut writer, place }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| NotV8Json(error.to_string()))?;
    Ok(writer.raw.unwrap_or(writer.out))
}

/// What a V8 reader gets of a value of another type: text as string, `int` as bigint, `float` as number, a document as
/// what it describes. `None` for types that are no scalar, for `bytes`, `u64` and `v8`, and for damaged values.
pub fn of_value(value: &Value) -> Option<Vec<u8>> {
    let mut out = HEADER.to_vec();
    match value.value_type {
        ValueType::Text => push_aligned_text(&mut out, value.as_text()?),
        ValueType::Int => push_bigint(&mut out, &BigInt::from(value.as_int()?)),
        ValueType::Float => push_number(&mut out, value.as_float()?),
        ValueType::Bool => out.push(if value.as_bool()? { b'T' } else { b'F' }),
        ValueType::Null => out.push(b'0'),
        ValueType::Json => {
            let text = value.as_text()?;
            return write(text.as_bytes(), false).ok().or_else(|| {
                // A member given twice: the last one counts, as JavaScript has it.
                let json: Json = serde_json::from_str(text).ok()?;
                write(json.to_string().as_bytes(), false).ok()
            });
        }
        _ => return None,
    }
    Some(out)
}

fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn push_tagged_bytes(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn latin1(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|char| u8::try_from(char).ok()).collect()
}

fn push_text(out: &mut Vec<u8>, text: &str) {
    match latin1(text) {
        Some(bytes) => push_tagged_bytes(out, b'"', &bytes),
        None => push_tagged_bytes(out, b'S', text.as_bytes()),
    }
}

/// A string as V8 itself writes it, UTF-16 at an even position: simple clients know nothing else.
fn push_aligned_text(out: &mut Vec<u8>, text: &str) {
    if let Some(bytes) = latin1(text) {
        return push_tagged_bytes(out, b'"', &bytes);
    }
    let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut length = Vec::new();
    push_varint(&mut length, units.len() as u64);
    if !(out.len() + 1 + length.len()).is_multiple_of(2) {
        out.push(0);
    }
    push_tagged_bytes(out, b'c', &units);
}

/// A property's name; array indexes are numbers, as V8 has them.
fn push_key(out: &mut Vec<u8>, key: &str) {
    match key.parse::<u32>() {
        Ok(index) if index < u32::MAX && index.to_string() == key => push_number(out, f64::from(index)),
        _ => push_text(out, key),
    }
}

struct Writer {
    out: Vec<u8>,
    /// V8's number of each object of the rendering.
    objects: Vec<u64>,
    next_id: u64,
    /// The bytes of a `$raw`, instead of all else.
    raw: Option<Vec<u8>>,
    /// Whether `$` forms are forms.
    tagged: bool,
}

impl Writer {
    /// Numbers an object that begins here.
    fn begin(&mut self) {
        self.objects.push(self.next_id);
        self.next_id += 1;
    }

    fn view(&mut self, view: View, bytes: &[u8]) {
        // The buffer below it has a number of its own.
        self.next_id += 1;
        self.begin();
        push_tagged_bytes(&mut self.out, b'B', bytes);
        self.out.extend_from_slice(&[b'V', view.tag, 0]);
        push_varint(&mut self.out, bytes.len() as u64);
        self.out.push(0);
    }
}

/// Where a value stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Element,
    Inside,
}

struct Seed<'w> {
    writer: &'w mut Writer,
    place: Place,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JavaScript value")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<(), E> {
        self.writer.out.push(if truth { b'T' } else { b'F' });
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        push_number(&mut self.writer.out, number);
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        push_text(&mut self.writer.out, text);
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.writer.out.push(b'0');
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.writer.begin();
        let length = elements(self.writer, seq)?;
        self.writer.out.push(b'$');
        push_varint(&mut self.writer.out, 0);
        push_varint(&mut self.writer.out, length);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first: Option<String> = map.next_key()?;
        let is_form =
            |key: &str| key.starts_with('$') && !key.starts_with("$$") && !key.starts_with("$utf16:");
        match first {
            Some(key) if self.writer.tagged && is_form(&key) => form(self.writer, self.place, &key, map),
            first => {
                self.writer.begin();
                self.writer.out.push(b'o');
                properties(self.writer, first, map, b'{')?;
                Ok(())
            }
        }
    }
}

/// Writes the elements of a dense array behind its header.
fn elements<'de, A: SeqAccess<'de>>(writer: &mut Writer, mut seq: A) -> Result<u64, A::Error> {
    let start = writer.out.len();
    let mut length = 0;
    while seq.next_element_seed(Seed { writer, place: Place::Element })?.is_some() {
        length += 1;
    }
    let mut header = vec![b'A'];
    push_varint(&mut header, length);
    writer.out.splice(start..start, header);
    Ok(length)
}

/// Writes properties, the tag that ends them, and their number.
fn properties<'de, A: MapAccess<'de>>(
    writer: &mut Writer,
    first: Option<String>,
    mut map: A,
    end: u8,
) -> Result<(), A::Error> {
    let mut names = HashSet::new();
    let mut next = first;
    let mut count = 0;
    while let Some(key) = next {
        match key.strip_prefix('$').filter(|_| writer.tagged) {
            None => push_key(&mut writer.out, &key),
            Some(rest) => match rest.strip_prefix("utf16:") {
                Some(units) => {
                    let units = BASE64.decode(units).map_err(A::Error::custom)?;
                    push_utf16(&mut writer.out, &units).map_err(A::Error::custom)?;
                }
                None if rest.starts_with('$') => push_key(&mut writer.out, rest),
                None => {
                    return Err(A::Error::custom(format!(
                        "the key {key:?} needs a second $, or to come first"
                    )));
                }
            },
        }
        if !names.insert(key) {
            return Err(A::Error::custom("a key is given twice"));
        }
        map.next_value_seed(Seed { writer, place: Place::Inside })?;
        count += 1;
        next = map.next_key()?;
    }
    writer.out.push(end);
    push_varint(&mut writer.out, count);
    Ok(())
}

fn push_utf16(out: &mut Vec<u8>, units: &[u8]) -> Result<(), &'static str> {
    if !units.len().is_multiple_of(2) {
        return Err("$utf16 has half a code unit");
    }
    push_tagged_bytes(out, b'c', units);
    Ok(())
}

/// A string where nothing else may stand: JSON's own, or the form for lone surrogates.
fn push_string(out: &mut Vec<u8>, json: &Json) -> Option<()> {
    match json {
        Json::String(text) => push_text(out, text),
        other => push_utf16(out, &BASE64.decode(single(other, "$utf16")?).ok()?).ok()?,
    }
    Some(())
}

/// Properties as the content of `entries`.
struct Entries<'w> {
    writer: &'w mut Writer,
    end: u8,
}

impl<'de> DeserializeSeed<'de> for Entries<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entries<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of properties")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let first = map.next_key()?;
        properties(self.writer, first, map, self.end)
    }
}

/// A list whose items are values, or pairs of values.
struct Items<'w> {
    writer: &'w mut Writer,
    pairs: bool,
    /// Pairs only: this is the inside of one.
    is_pair: bool,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.pairs || self.is_pair { "pairs [key, value]" } else { "a list" })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<u64, A::Error> {
        let mut count = 0;
        loop {
            let writer = &mut *self.writer;
            let more = if self.pairs {
                match seq.next_element_seed(Items { writer, pairs: false, is_pair: true })? {
                    Some(2) => true,
                    Some(_) => return Err(A::Error::custom("a pair [key, value] has two values")),
                    None => false,
                }
            } else {
                seq.next_element_seed(Seed { writer, place: Place::Inside })?.is_some()
            };
            if !more {
                return Ok(count);
            }
            count += 1;
        }
    }
}

fn bigint(text: &str) -> Option<BigInt> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (Sign::Minus, digits),
        None => (Sign::Plus, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    let fits = radix == 16 || digits.len() <= DECIMAL_DIGITS_MAX;
    if !fits || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    BigInt::parse_bytes(digits.as_bytes(), radix)
        .map(|number| if sign == Sign::Minus { -number } else { number })
}

fn special_number(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The only member of an object, if it is a string.
fn single<'a>(json: &'a Json, tag: &str) -> Option<&'a str> {
    json.as_object().filter(|object| object.len() == 1)?.get(tag)?.as_str()
}

/// One of the `$` forms.
fn form<'de, A: MapAccess<'de>>(
    writer: &mut Writer,
    place: Place,
    tag: &str,
    mut map: A,
) -> Result<(), A::Error> {
    let wrong = |needs: &str| A::Error::custom(format!("{tag} needs {needs}"));
    let decoded = |text: String| BASE64.decode(text).map_err(|_| wrong("base64"));
    match tag {
        "$undefined" | "$hole" => {
            if !map.next_value::<bool>()? {
                return Err(wrong("true"));
            }
            match (tag, place) {
                ("$undefined", _) => writer.out.push(b'_'),
                (_, Place::Element) => writer.out.push(b'-'),
                _ => return Err(A::Error::custom("$hole is for elements of arrays")),
            }
        }
        "$number" => {
            let number = special_number(&map.next_value::<String>()?);
            push_number(&mut writer.out, number.ok_or_else(|| wrong("NaN, Infinity or -Infinity"))?);
        }
        "$bigint" => {
            let number = bigint(&map.next_value::<String>()?);
            push_bigint(&mut writer.out, &number.ok_or_else(|| wrong("digits, many of them as 0x.."))?);
        }
        "$utf16" => {
            let units = decoded(map.next_value()?)?;
            push_utf16(&mut writer.out, &units).map_err(A::Error::custom)?;
        }
        "$array" | "$sparse" => return array(writer, tag == "$sparse", map),
        "$map" => {
            writer.begin();
            writer.out.push(b';');
            let pairs = map.next_value_seed(Items { writer, pairs: true, is_pair: false })?;
            writer.out.push(b':');
            push_varint(&mut writer.out, pairs * 2);
        }
        "$set" => {
            writer.begin();
            writer.out.push(b'\'');
            let count = map.next_value_seed(Items { writer, pairs: false, is_pair: false })?;
            writer.out.push(b',');
            push_varint(&mut writer.out, count);
        }
        "$date" => {
            writer.begin();
            let time = match map.next_value::<Json>()? {
                Json::String(text) => Some(rfc3339::parse(&text).map_err(A::Error::custom)?.0 as f64),
                Json::Number(number) => number.as_f64(),
                other => single(&other, "$number").and_then(special_number),
            };
            writer.out.push(b'D');
            let time = time.ok_or_else(|| wrong("an RFC 3339 time or milliseconds"))?;
            writer.out.extend_from_slice(&time.to_le_bytes());
        }
        "$boxed" => boxed(writer, &map.next_value::<Json>()?).ok_or_else(|| wrong("a scalar"))?,
        "$error" => {
            writer.begin();
            let parts: ErrorParts<'_> = ErrorParts { writer };
            map.next_value_seed(parts)?;
        }
        "$regexp" => {
            writer.begin();
            writer.out.push(b'R');
            let pattern = map.next_value::<Json>()?;
            push_string(&mut writer.out, &pattern).ok_or_else(|| wrong("a string, or its $utf16"))?;
            let flags: String = rest(&mut map, "flags")?.unwrap_or_default();
            let mut bits = 0;
            for flag in flags.chars() {
                let (bit, _) = REGEXP_FLAGS
                    .into_iter()
                    .find(|(_, known)| *known == flag)
                    .ok_or_else(|| A::Error::custom(format!("there is no RegExp flag {flag:?}")))?;
                bits |= bit;
            }
            push_varint(&mut writer.out, bits);
            return Ok(());
        }
        "$bytes" => {
            let bytes = decoded(map.next_value()?)?;
            writer.view(VIEWS[1], &bytes);
        }
        "$typed" => {
            let name: String = map.next_value()?;
            let view = VIEWS.into_iter().find(|view| view.name == name);
            let view = view.ok_or_else(|| wrong("the name of a typed array"))?;
            let bytes = rest::<String, A>(&mut map, "bytes")?.ok_or_else(|| wrong("bytes beside it"))?;
            let bytes = decoded(bytes)?;
            if !bytes.len().is_multiple_of(view.element_bytes) {
                return Err(wrong("whole elements"));
            }
            writer.view(view, &bytes);
            return Ok(());
        }
        "$buffer" => {
            let bytes = decoded(map.next_value()?)?;
            writer.begin();
            match rest::<u64, A>(&mut map, "max_byte_length")? {
                None => push_tagged_bytes(&mut writer.out, b'B', &bytes),
                Some(max) if max >= bytes.len() as u64 => {
                    writer.out.push(b'~');
                    push_varint(&mut writer.out, bytes.len() as u64);
                    push_varint(&mut writer.out, max);
                    writer.out.extend_from_slice(&bytes);
                }
                Some(_) => return Err(wrong("a max_byte_length that is not below its length")),
            }
            return Ok(());
        }
        "$ref" => {
            let number: u64 = map.next_value()?;
            let id = usize::try_from(number).ok().and_then(|number| writer.objects.get(number));
            let id = *id.ok_or_else(|| wrong("the number of an object that began before"))?;
            writer.out.push(b'^');
            push_varint(&mut writer.out, id);
        }
        "$raw" if place == Place::Root => writer.raw = Some(decoded(map.next_value()?)?),
        _ => return Err(A::Error::custom(format!("{tag} is no form of a JavaScript value"))),
    }
    match map.next_key::<String>()? {
        None => Ok(()),
        Some(key) => Err(A::Error::custom(format!("{key:?} beside {tag}"))),
    }
}

/// The member `name` that may follow a form; nothing else may.
fn rest<'de, T: serde::Deserialize<'de>, A: MapAccess<'de>>(
    map: &mut A,
    name: &str,
) -> Result<Option<T>, A::Error> {
    let Some(key) = map.next_key::<String>()? else { return Ok(None) };
    if key != name {
        return Err(A::Error::custom(format!("{key:?} where only {name:?} may stand")));
    }
    let value = map.next_value()?;
    match map.next_key::<String>()? {
        None => Ok(Some(value)),
        Some(key) => Err(A::Error::custom(format!("{key:?} behind {name:?}"))),
    }
}

fn array<'de, A: MapAccess<'de>>(writer: &mut Writer, is_sparse: bool, mut map: A) -> Result<(), A::Error> {
    struct Elements<'w>(&'w mut Writer);
    impl<'de> DeserializeSeed<'de> for Elements<'_> {
        type Value = u64;
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
            deserializer.deserialize_seq(self)
        }
    }
    impl<'de> Visitor<'de> for Elements<'_> {
        type Value = u64;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<u64, A::Error> {
            elements(self.0, seq)
        }
    }
    writer.begin();
    let (length, end) = if is_sparse {
        let length = u64::from(map.next_value::<u32>()?);
        writer.out.push(b'a');
        push_varint(&mut writer.out, length);
        (length, b'@')
    } else {
        (map.next_value_seed(Elements(writer))?, b'$')
    };
    match map.next_key::<String>()?.as_deref() {
        Some("entries") => map.next_value_seed(Entries { writer, end })?,
        None => writer.out.extend_from_slice(&[end, 0]),
        Some(key) => return Err(A::Error::custom(format!("{key:?} where only \"entries\" may stand"))),
    }
    push_varint(&mut writer.out, length);
    match map.next_key::<String>()? {
        None => Ok(()),
        Some(key) => Err(A::Error::custom(format!("{key:?} behind \"entries\""))),
    }
}

fn boxed(writer: &mut Writer, json: &Json) -> Option<()> {
    writer.begin();
    let number = |out: &mut Vec<u8>, number: f64| {
        out.push(b'n');
        out.extend_from_slice(&number.to_le_bytes());
    };
    match json {
        Json::Bool(truth) => writer.out.push(if *truth { b'y' } else { b'x' }),
        Json::Number(content) => number(&mut writer.out, content.as_f64()?),
        Json::String(_) => {
            writer.out.push(b's');
            push_string(&mut writer.out, json)?;
        }
        other => {
            if let Some(text) = single(other, "$bigint") {
                writer.out.push(b'z');
                push_bigint_digits(&mut writer.out, &bigint(text)?);
            } else if single(other, "$utf16").is_some() {
                writer.out.push(b's');
                push_string(&mut writer.out, other)?;
            } else {
                number(&mut writer.out, special_number(single(other, "$number")?)?);
            }
        }
    }
    Some(())
}

/// The content of `$error`.
struct ErrorParts<'w> {
    writer: &'w mut Writer,
}

impl<'de> DeserializeSeed<'de> for ErrorParts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ErrorParts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of name, message, stack and cause")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let writer = self.writer;
        let mut name = "Error".to_owned();
        let (mut message, mut stack, mut cause) = (None::<Json>, None::<Json>, None::<Vec<u8>>);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "name" => name = map.next_value()?,
                "message" => message = Some(map.next_value()?),
                "stack" => stack = Some(map.next_value()?),
                "cause" => {
                    let start = writer.out.len();
                    map.next_value_seed(Seed { writer: &mut *writer, place: Place::Inside })?;
                    cause = Some(writer.out.split_off(start));
                }
                _ => return Err(A::Error::custom(format!("an error has no {key:?}"))),
            }
        }
        writer.out.push(b'r');
        if name != "Error" {
            let letter = ERROR_NAMES.into_iter().find(|(_, known)| *known == name).map(|(letter, _)| letter);
            let unknown = || A::Error::custom(format!("{name:?} is no error that V8 keeps by name"));
            writer.out.push(letter.ok_or_else(unknown)?);
        }
        for (tag, text) in [(b'm', message), (b's', stack)] {
            let Some(text) = text else { continue };
            writer.out.push(tag);
            push_string(&mut writer.out, &text)
                .ok_or_else(|| A::Error::custom("message and stack are strings, or their $utf16"))?;
        }
        if let Some(cause) = cause {
            writer.out.push(b'c');
            writer.out.extend_from_slice(&cause);
        }
        writer.out.push(b'.');
        Ok(())
    }
}
