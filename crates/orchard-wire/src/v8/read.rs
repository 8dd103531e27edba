//! Reads V8's format piece by piece; builds nothing.

use num_bigint::{BigInt, Sign};

/// The oldest format version that is read: since then strings are as they are now.
const VERSION_MIN: u64 = 12;
/// From this version on views carry flags.
const VERSION_WITH_VIEW_FLAGS: u64 = 14;

/// What stands at a position: a scalar whole, a container by its beginning.
#[derive(Debug, PartialEq)]
pub(super) enum Token<'a> {
    Undefined,
    Null,
    Bool(bool),
    Number(f64),
    BigInt(BigInt),
    Text(Text<'a>),
    Object,
    /// A dense array of so many elements.
    Dense(u64),
    /// A sparse array of this length.
    Sparse(u64),
    Map,
    Set,
    Date(f64),
    BoxedBool(bool),
    BoxedNumber(f64),
    BoxedBigInt(BigInt),
    BoxedText(Text<'a>),
    RegExp(Text<'a>, u64),
    Error,
    Buffer {
        bytes: &'a [u8],
        max: Option<u64>,
    },
    /// Node's own form of a view: its kind and bytes.
    NodeView(View, &'a [u8]),
    Reference(u64),
    Hole,
}

/// A string in one of its three encodings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Text<'a> {
    Latin1(&'a [u8]),
    Utf16(&'a [u8]),
    Utf8(&'a [u8]),
}

/// The kinds of views.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) name: &'static str,
    pub(super) tag: u8,
    pub(super) element_bytes: usize,
}

/// Every kind, with its tag.
pub(super) const VIEWS: [View; 13] = [
    View { name: "Int8Array", tag: b'b', element_bytes: 1 },
    View { name: "Uint8Array", tag: b'B', element_bytes: 1 },
    View { name: "Uint8ClampedArray", tag: b'C', element_bytes: 1 },
    View { name: "Int16Array", tag: b'w', element_bytes: 2 },
    View { name: "Uint16Array", tag: b'W', element_bytes: 2 },
    View { name: "Int32Array", tag: b'd', element_bytes: 4 },
    View { name: "Uint32Array", tag: b'D', element_bytes: 4 },
    View { name: "Float16Array", tag: b'h', element_bytes: 2 },
    View { name: "Float32Array", tag: b'f', element_bytes: 4 },
    View { name: "Float64Array", tag: b'F', element_bytes: 8 },
    View { name: "BigInt64Array", tag: b'q', element_bytes: 8 },
    View { name: "BigUint64Array", tag: b'Q', element_bytes: 8 },
    View { name: "DataView", tag: b'?', element_bytes: 1 },
];

/// The tags of Node's views in the order of its own numbers; a Buffer is a Uint8Array.
const NODE_VIEWS: [u8; 13] = *b"bBCwWdDfF?BqQ";

fn view(tag: u8) -> Option<View> {
    VIEWS.into_iter().find(|view| view.tag == tag)
}

/// A position in the bytes of one value. Every method is `None` at bytes that are no V8.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    version: u64,
}

impl<'a> Reader<'a> {
    /// Reads the header.
    pub(super) fn new(bytes: &'a [u8]) -> Option<Reader<'a>> {
        let mut reader = Reader { bytes, at: 0, version: 0 };
        if reader.byte()? != 0xff {
            return None;
        }
        reader.version = reader.varint()?;
        (reader.version >= VERSION_MIN).then_some(reader)
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_padding();
        self.at == self.bytes.len()
    }

    /// Bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn byte(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        Some(byte)
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.at.checked_add(usize::try_from(length).ok()?)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn skip_padding(&mut self) {
        while self.bytes.get(self.at) == Some(&0) {
            self.at += 1;
        }
    }

    /// Whether `tag` comes next; reads it if so.
    pub(super) fn ends(&mut self, tag: u8) -> bool {
        self.skip_padding();
        let ends = self.bytes.get(self.at) == Some(&tag);
        if ends {
            self.at += 1;
        }
        ends
    }

    fn double(&mut self) -> Option<f64> {
        Some(f64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn bigint(&mut self) -> Option<BigInt> {
        let bits = self.varint()?;
        let digits = self.take(bits >> 1)?;
        let sign = if bits & 1 == 0 { Sign::Plus } else { Sign::Minus };
        Some(BigInt::from_bytes_le(sign, digits))
    }

    fn tag(&mut self) -> Option<u8> {
        loop {
            self.skip_padding();
            match self.byte()? {
                // A count that V8 itself ignores.
                b'?' => self.varint()?,
                tag => return Some(tag),
            };
        }
    }

    fn text_of(&mut self, tag: u8) -> Option<Text<'a>> {
        let length = self.varint()?;
        match tag {
            b'"' => self.take(length).map(Text::Latin1),
            b'S' => self.take(length).map(Text::Utf8),
            b'c' if length % 2 == 0 => self.take(length).map(Text::Utf16),
            _ => None,
        }
    }

    /// A string.
    pub(super) fn text(&mut self) -> Option<Text<'a>> {
        let tag = self.tag()?;
        self.text_of(tag)
    }

    /// The tag of the next part of an error.
    pub(super) fn error_tag(&mut self) -> Option<u8> {
        u8::try_from(self.varint()?).ok()
    }

    /// The view that follows a buffer of `length` bytes, if one does: its kind, offset and length.
    pub(super) fn view(&mut self, length: usize) -> Option<Option<(View, usize, usize)>> {
        if !self.ends(b'V') {
            return Some(None);
        }
        let kind = view(u8::try_from(self.varint()?).ok()?)?;
        let offset = usize::try_from(self.varint()?).ok()?;
        let mut bytes = usize::try_from(self.varint()?).ok()?;
        let flags = if self.version >= VERSION_WITH_VIEW_FLAGS { self.varint()? } else { 0 };
        if flags & 1 != 0 {
            // It follows the length of its buffer.
            bytes = length.checked_sub(offset)? / kind.element_bytes * kind.element_bytes;
        }
        let fits = offset.checked_add(bytes)? <= length;
        (fits && bytes % kind.element_bytes == 0).then_some(Some((kind, offset, bytes)))
    }

    /// What comes next.
    pub(super) fn token(&mut self) -> Option<Token<'a>> {
        let tag = self.tag()?;
        Some(match tag {
            b'_' => Token::Undefined,
            b'0' => Token::Null,
            b'T' => Token::Bool(true),
            b'F' => Token::Bool(false),
            b'-' => Token::Hole,
            b'I' => {
                let zigzag = self.varint()? as u32;
                Token::Number(f64::from((zigzag >> 1) as i32 ^ -((zigzag & 1) as i32)))
            }
            b'U' => Token::Number(f64::from(u32::try_from(self.varint()?).ok()?)),
            b'N' => Token::Number(self.double()?),
            b'Z' => Token::BigInt(self.bigint()?),
            b'"' | b'S' | b'c' => Token::Text(self.text_of(tag)?),
            b'o' => Token::Object,
            b'A' => Token::Dense(self.varint()?),
            b'a' => Token::Sparse(self.varint()?),
            b';' => Token::Map,
            b'\'' => Token::Set,
            b'D' => Token::Date(self.double()?),
            b'y' => Token::BoxedBool(true),
            b'x' => Token::BoxedBool(false),
            b'n' => Token::BoxedNumber(self.double()?),
            b'z' => Token::BoxedBigInt(self.bigint()?),
            b's' => Token::BoxedText(self.text()?),
            b'R' => {
                let pattern = self.text()?;
                Token::RegExp(pattern, self.varint()?)
            }
            b'r' => Token::Error,
            b'B' => {
                let length = self.varint()?;
                Token::Buffer { bytes: self.take(length)?, max: None }
            }
            b'~' => {
                let (length, max) = (self.varint()?, self.varint()?);
                Token::Buffer { bytes: self.take(length)?, max: (max >= length).then_some(Some(max))? }
            }
            b'\\' => {
                let number = usize::try_from(self.varint()?).ok()?;
                let kind = view(*NODE_VIEWS.get(number)?)?;
                let length = self.varint()?;
                let bytes = self.take(length)?;
                (bytes.len() % kind.element_bytes == 0).then_some(Token::NodeView(kind, bytes))?
            }
            b'^' => Token::Reference(self.varint()?),
            _ => return None,
        })
    }
}
