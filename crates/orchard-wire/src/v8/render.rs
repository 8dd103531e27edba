//! V8 to JSON, in one pass over the bytes.

use super::read::{Reader, Text, Token, View};
use super::{DEPTH_MAX, RENDERING_SIZE_BYTES_FREE, RENDERING_SIZE_FACTOR_MAX};
use crate::{json_text, rfc3339};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use num_bigint::{BigInt, Sign};
use orcharddb::UnixMillis;
use std::ops::Range;

/// Bigints over this many bytes are shown in hexadecimal: decimal digits take quadratic time.
const DECIMAL_BYTES_MAX: u64 = 1_024;
/// The last millisecond of the year 9999.
const DATE_MS_MAX: f64 = 253_402_300_799_999.0;

/// What an object of V8's numbering is in the rendering.
#[derive(Clone, Copy)]
enum Seen<'a> {
    /// This one of the rendered objects.
    Shown(usize),
    /// A buffer that only its views show so far.
    Hidden(&'a [u8]),
}

struct Renderer<'a, 'o> {
    reader: Reader<'a>,
    out: &'o mut Vec<u8>,
    size_max: usize,
    seen: Vec<Seen<'a>>,
    /// Objects rendered so far.
    shown: usize,
}

/// Appends the rendering; `None` if the value cannot be shown, with some of it left in `out`.
pub(super) fn render(out: &mut Vec<u8>, v8: &[u8]) -> Option<()> {
    let size_max = out.len() + RENDERING_SIZE_BYTES_FREE + v8.len().saturating_mul(RENDERING_SIZE_FACTOR_MAX);
    let mut renderer = Renderer { reader: Reader::new(v8)?, out, size_max, seen: Vec::new(), shown: 0 };
    renderer.value(0)?;
    renderer.reader.is_at_end().then_some(())
}

impl<'a> Renderer<'a, '_> {
    fn put(&mut self, text: &str) -> Option<()> {
        self.out.extend_from_slice(text.as_bytes());
        (self.out.len() <= self.size_max).then_some(())
    }

    fn base64(&mut self, bytes: &[u8]) -> Option<()> {
        if self.out.len() + bytes.len() > self.size_max {
            return None;
        }
        self.put(&BASE64.encode(bytes))
    }

    /// Notes an object that begins here, for V8 and for the rendering.
    fn begin(&mut self) {
        self.seen.push(Seen::Shown(self.shown));
        self.shown += 1;
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        let token = self.reader.token()?;
        self.show(token, depth)
    }

    fn show(&mut self, token: Token<'a>, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        match token {
            Token::Undefined => self.put("{\"$undefined\":true}"),
            Token::Null => self.put("null"),
            Token::Bool(truth) => self.put(if truth { "true" } else { "false" }),
            Token::Number(number) => self.number(number),
            Token::BigInt(number) => self.bigint(&number),
            Token::Text(text) => self.text(text),
            Token::Object => {
                self.begin();
                self.properties(b'{', depth)?;
                Some(())
            }
            Token::Dense(length) => self.dense(length, depth),
            Token::Sparse(length) => {
                self.begin();
                self.put(&format!("{{\"$sparse\":{length},\"entries\":"))?;
                self.properties(b'@', depth + 1)?;
                (self.reader.varint()? == length).then_some(())?;
                self.put("}")
            }
            Token::Map => self.map(depth),
            Token::Set => self.set(depth),
            Token::Date(time) => {
                self.begin();
                if time.fract() == 0.0 && (0.0..=DATE_MS_MAX).contains(&time) {
                    let time = rfc3339::render(UnixMillis(time as u64));
                    return self.put(&format!("{{\"$date\":\"{time}\"}}"));
                }
                self.tagged("$date", |renderer| renderer.number(time))
            }
            Token::BoxedBool(truth) => self.boxed(Token::Bool(truth), depth),
            Token::BoxedNumber(number) => self.boxed(Token::Number(number), depth),
            Token::BoxedBigInt(number) => self.boxed(Token::BigInt(number), depth),
            Token::BoxedText(text) => self.boxed(Token::Text(text), depth),
            Token::RegExp(pattern, flags) => {
                self.begin();
                self.put("{\"$regexp\":")?;
                self.text(pattern)?;
                let flags = regexp_flags(flags)?;
                self.put(&format!(",\"flags\":\"{flags}\"}}"))
            }
            Token::Error => self.error(depth),
            Token::Buffer { bytes, max } => match self.reader.view(bytes.len())? {
                Some((view, offset, length)) => {
                    self.seen.push(Seen::Hidden(bytes));
                    self.view(view, bytes.get(offset..offset + length)?)
                }
                None => {
                    self.begin();
                    self.buffer(bytes, max)
                }
            },
            Token::NodeView(view, bytes) => self.view(view, bytes),
            Token::Reference(number) => self.reference(number),
            Token::Hole => None,
        }
    }

    fn tagged(&mut self, tag: &str, content: impl FnOnce(&mut Self) -> Option<()>) -> Option<()> {
        self.put("{\"")?;
        self.put(tag)?;
        self.put("\":")?;
        content(self)?;
        self.put("}")
    }

    fn number(&mut self, number: f64) -> Option<()> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if !number.is_finite() {
            let name = match (number.is_nan(), number > 0.0) {
                (true, _) => "NaN",
                (false, true) => "Infinity",
                (false, false) => "-Infinity",
            };
            return self.put(&format!("{{\"$number\":\"{name}\"}}"));
        }
        let is_whole =
            number.fract() == 0.0 && number.abs() < EXACT && !(number == 0.0 && number.is_sign_negative());
        if is_whole { self.put(&(number as i64).to_string()) } else { self.put(&format!("{number:?}")) }
    }

    fn bigint(&mut self, number: &BigInt) -> Option<()> {
        if number.bits() <= DECIMAL_BYTES_MAX * 8 {
            return self.put(&format!("{{\"$bigint\":\"{number}\"}}"));
        }
        let sign = if number.sign() == Sign::Minus { "-" } else { "" };
        let digits = number.magnitude().to_str_radix(16);
        self.put(&format!("{{\"$bigint\":\"{sign}0x{digits}\"}}"))
    }

    fn text(&mut self, text: Text<'_>) -> Option<()> {
        match decode(text) {
            Ok(text) => {
                json_text::write_string(self.out, &text);
                self.put("")
            }
            Err(units) => {
                self.put("{\"$utf16\":\"")?;
                self.base64(&units)?;
                self.put("\"}")
            }
        }
    }

    /// A property's name.
    fn key(&mut self, depth: usize) -> Option<()> {
        let text = match self.reader.token()? {
            Token::Text(text) => match decode(text) {
                Ok(text) if text.starts_with('$') => format!("${text}"),
                Ok(text) => text,
                Err(units) => format!("$utf16:{}", BASE64.encode(units)),
            },
            Token::Number(number) if number.is_finite() => number.to_string(),
            _ => return None,
        };
        if depth > DEPTH_MAX {
            return None;
        }
        json_text::write_string(self.out, &text);
        self.put(":")
    }

    /// Properties up to the tag that ends them, in braces.
    fn properties(&mut self, end: u8, depth: usize) -> Option<u64> {
        self.put("{")?;
        let mut names = Vec::new();
        while !self.reader.ends(end) {
            if !names.is_empty() {
                self.put(",")?;
            }
            let start = self.out.len();
            self.key(depth + 1)?;
            names.push(start..self.out.len());
            self.value(depth + 1)?;
        }
        self.put("}")?;
        let count = names.len() as u64;
        (self.are_distinct(names) && self.reader.varint()? == count).then_some(count)
    }

    /// Whether no two of these parts of the output are the same text: V8 writes no property twice.
    fn are_distinct(&self, mut parts: Vec<Range<usize>>) -> bool {
        let text = |part: &Range<usize>| self.out.get(part.clone());
        parts.sort_unstable_by(|left, right| text(left).cmp(&text(right)));
        parts.iter().zip(parts.iter().skip(1)).all(|(left, right)| text(left) != text(right))
    }

    fn dense(&mut self, length: u64, depth: usize) -> Option<()> {
        // Each element takes a byte at least.
        if length > self.reader.left() as u64 {
            return None;
        }
        self.begin();
        let start = self.out.len();
        self.put("[")?;
        for index in 0..length {
            if index > 0 {
                self.put(",")?;
            }
            match self.reader.token()? {
                Token::Hole => self.put("{\"$hole\":true}")?,
                token => self.show(token, depth + 1)?,
            }
        }
        self.put("]")?;
        let entries = self.out.len();
        self.put(",\"entries\":")?;
        if self.properties(b'$', depth + 1)? > 0 {
            self.put("}")?;
            self.out.splice(start..start, *b"{\"$array\":");
        } else {
            self.out.truncate(entries);
        }
        (self.reader.varint()? == length).then_some(())
    }

    fn map(&mut self, depth: usize) -> Option<()> {
        self.begin();
        self.put("{\"$map\":[")?;
        let mut count = 0;
        while !self.reader.ends(b':') {
            self.put(if count > 0 { ",[" } else { "[" })?;
            self.value(depth + 3)?;
            self.put(",")?;
            self.value(depth + 3)?;
            self.put("]")?;
            count += 2;
        }
        self.put("]}")?;
        (self.reader.varint()? == count).then_some(())
    }

    fn set(&mut self, depth: usize) -> Option<()> {
        self.begin();
        self.put("{\"$set\":[")?;
        let mut count = 0;
        while !self.reader.ends(b',') {
            if count > 0 {
                self.put(",")?;
            }
            self.value(depth + 2)?;
            count += 1;
        }
        self.put("]}")?;
        (self.reader.varint()? == count).then_some(())
    }

    fn boxed(&mut self, content: Token<'a>, depth: usize) -> Option<()> {
        self.begin();
        self.tagged("$boxed", |renderer| renderer.show(content, depth + 1))
    }

    fn error(&mut self, depth: usize) -> Option<()> {
        self.begin();
        self.put("{\"$error\":{")?;
        let (mut named, mut parts) = (false, Vec::new());
        loop {
            let tag = self.reader.error_tag()?;
            if tag == b'.' {
                break;
            }
            if parts.contains(&tag) {
                return None;
            }
            if !parts.is_empty() {
                self.put(",")?;
            }
            parts.push(tag);
            match tag {
                b'm' | b's' => {
                    self.put(if tag == b'm' { "\"message\":" } else { "\"stack\":" })?;
                    let text = self.reader.text()?;
                    self.text(text)?;
                }
                b'c' => {
                    self.put("\"cause\":")?;
                    self.value(depth + 2)?;
                }
                _ => {
                    let (_, name) = ERROR_NAMES.into_iter().find(|(letter, _)| *letter == tag)?;
                    self.put(&format!("\"name\":\"{name}\""))?;
                    if named {
                        return None;
                    }
                    named = true;
                }
            }
        }
        if !named {
            self.put(if parts.is_empty() { "\"name\":\"Error\"" } else { ",\"name\":\"Error\"" })?;
        }
        self.put("}}")
    }

    fn view(&mut self, view: View, bytes: &[u8]) -> Option<()> {
        self.begin();
        if view.name == "Uint8Array" {
            self.put("{\"$bytes\":\"")?;
        } else {
            self.put(&format!("{{\"$typed\":\"{}\",\"bytes\":\"", view.name))?;
        }
        self.base64(bytes)?;
        self.put("\"}")
    }

    fn buffer(&mut self, bytes: &[u8], max: Option<u64>) -> Option<()> {
        self.put("{\"$buffer\":\"")?;
        self.base64(bytes)?;
        match max {
            None => self.put("\"}"),
            Some(max) => self.put(&format!("\",\"max_byte_length\":{max}}}")),
        }
    }

    fn reference(&mut self, number: u64) -> Option<()> {
        let at = usize::try_from(number).ok()?;
        let seen = self.seen.get(at).copied()?;
        match seen {
            Seen::Hidden(bytes) => match self.reader.view(bytes.len())? {
                // Another view of the same buffer: shown with bytes of its own.
                Some((view, offset, length)) => self.view(view, bytes.get(offset..offset + length)?),
                None => {
                    *self.seen.get_mut(at)? = Seen::Shown(self.shown);
                    self.shown += 1;
                    self.buffer(bytes, None)
                }
            },
            Seen::Shown(shown) => self.put(&format!("{{\"$ref\":{shown}}}")),
        }
    }
}

/// The names of errors and their letters.
pub(super) const ERROR_NAMES: [(u8, &str); 6] = [
    (b'E', "EvalError"),
    (b'R', "RangeError"),
    (b'F', "ReferenceError"),
    (b'S', "SyntaxError"),
    (b'T', "TypeError"),
    (b'U', "URIError"),
];

/// The flags of a RegExp and their bits.
pub(super) const REGEXP_FLAGS: [(u64, char); 8] =
    [(1, 'g'), (2, 'i'), (4, 'm'), (8, 'y'), (16, 'u'), (32, 's'), (128, 'd'), (256, 'v')];

fn regexp_flags(bits: u64) -> Option<String> {
    let known: u64 = REGEXP_FLAGS.iter().map(|(bit, _)| bit).sum();
    if bits & !known != 0 {
        return None;
    }
    Some(REGEXP_FLAGS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, flag)| flag).collect())
}

/// The text, or its UTF-16 code units as bytes if it has lone surrogates.
fn decode(text: Text<'_>) -> Result<String, Vec<u8>> {
    match text {
        Text::Latin1(bytes) => Ok(bytes.iter().map(|byte| char::from(*byte)).collect()),
        // V8 never writes lone surrogates in UTF-8; whatever is none is shown as such.
        Text::Utf8(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Text::Utf16(bytes) => {
            let units = bytes.chunks_exact(2).map(|pair| match pair {
                [low, high] => u16::from_le_bytes([*low, *high]),
                _ => 0,
            });
            char::decode_utf16(units).collect::<Result<String, _>>().map_err(|_| bytes.to_vec())
        }
    }
}
