//! Replies, and their bytes in either version of the protocol.

use super::number::{double_text, integer_text};
use bytes::Bytes;
use std::borrow::Cow;

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RespVersion {
    /// The one that every client starts with.
    #[default]
    Two,
    /// With maps, sets, doubles and more; chosen by `HELLO 3`.
    Three,
}

/// One reply. What version 2 has no type for is written there as Redis does: a map as a flat array, a double as text.
///
/// ```
/// use orchard_wire::resp::{Reply, RespVersion};
/// let reply = Reply::Array(vec![Reply::Integer(1), Reply::Null]);
/// let mut bytes = Vec::new();
/// reply.encode(RespVersion::Two, &mut bytes);
/// assert_eq!(bytes, b"*2\r\n:1\r\n$-1\r\n");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Nothing is sent.
    None,
    /// `+OK`
    Ok,
    /// A short text without line ends.
    Simple(Cow<'static, str>),
    /// An error: prefix and text.
    Error(Cow<'static, str>),
    /// A whole number.
    Integer(i64),
    /// Nothing there: a null bulk string in version 2.
    Null,
    /// Nothing there: a null array in version 2.
    NullArray,
    /// Bytes.
    Bulk(Bytes),
    /// Bytes that are part of the program.
    Static(&'static str),
    /// A floating-point number; text in version 2.
    Double(f64),
    /// A truth; 0 or 1 in version 2.
    Boolean(bool),
    /// Decimal digits of any number; text in version 2.
    BigNumber(String),
    /// Text with its format, three letters; text alone in version 2.
    Verbatim([u8; 3], Bytes),
    /// Replies in order.
    Array(Vec<Reply>),
    /// Replies without order; an array in version 2.
    Set(Vec<Reply>),
    /// Pairs; a flat array in version 2.
    Map(Vec<(Reply, Reply)>),
    /// What was not asked for; an array in version 2.
    Push(Vec<Reply>),
    /// Several replies to one request, as `SUBSCRIBE a b` has.
    Several(Vec<Reply>),
    /// Encoded already, for the version that the connection speaks.
    Raw(Bytes),
}

impl Reply {
    /// Bytes, copied.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Reply {
        Reply::Bulk(Bytes::copy_from_slice(bytes.as_ref()))
    }

    /// A count. Counts of things in memory fit.
    pub fn count(count: usize) -> Reply {
        Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX))
    }

    /// An error.
    pub fn error(text: impl Into<Cow<'static, str>>) -> Reply {
        Reply::Error(text.into())
    }

    /// 1 or 0.
    pub fn truth(truth: bool) -> Reply {
        Reply::Integer(i64::from(truth))
    }

    /// Appends the bytes of the reply.
    pub fn encode(&self, version: RespVersion, out: &mut Vec<u8>) {
        let is_three = version == RespVersion::Three;
        match self {
            Reply::None => {}
            Reply::Ok => out.extend_from_slice(b"+OK\r\n"),
            Reply::Simple(text) => line(b'+', text.as_bytes(), out),
            Reply::Error(text) => line(b'-', text.as_bytes(), out),
            Reply::Integer(number) => integer(b':', *number, out),
            Reply::Null if is_three => out.extend_from_slice(b"_\r\n"),
            Reply::Null => out.extend_from_slice(b"$-1\r\n"),
            Reply::NullArray if is_three => out.extend_from_slice(b"_\r\n"),
            Reply::NullArray => out.extend_from_slice(b"*-1\r\n"),
            Reply::Bulk(bytes) => bulk(bytes, out),
            Reply::Static(text) => bulk(text.as_bytes(), out),
            Reply::Double(number) if is_three => line(b',', double_text(*number).as_bytes(), out),
            Reply::Double(number) => bulk(double_text(*number).as_bytes(), out),
            Reply::Boolean(truth) if is_three => {
                out.extend_from_slice(if *truth { b"#t\r\n" } else { b"#f\r\n" });
            }
            Reply::Boolean(truth) => integer(b':', i64::from(*truth), out),
            Reply::BigNumber(digits) if is_three => line(b'(', digits.as_bytes(), out),
            Reply::BigNumber(digits) => bulk(digits.as_bytes(), out),
            Reply::Verbatim(format, text) if is_three => {
                length(b'=', text.len() + 4, out);
                out.extend_from_slice(format);
                out.push(b':');
                out.extend_from_slice(text);
                out.extend_from_slice(b"\r\n");
            }
            Reply::Verbatim(_, text) => bulk(text, out),
            Reply::Array(items) => list(b'*', items, version, out),
            Reply::Set(items) => list(if is_three { b'~' } else { b'*' }, items, version, out),
            Reply::Push(items) => list(if is_three { b'>' } else { b'*' }, items, version, out),
            Reply::Map(pairs) => {
                if is_three {
                    length(b'%', pairs.len(), out);
                } else {
                    length(b'*', pairs.len() * 2, out);
                }
                for (key, value) in pairs {
                    key.encode(version, out);
                    value.encode(version, out);
                }
            }
            Reply::Several(replies) => replies.iter().for_each(|reply| reply.encode(version, out)),
            Reply::Raw(bytes) => out.extend_from_slice(bytes),
        }
    }
}

fn list(mark: u8, items: &[Reply], version: RespVersion, out: &mut Vec<u8>) {
    length(mark, items.len(), out);
    items.iter().for_each(|item| item.encode(version, out));
}

/// A line must stay one line, whatever a client made part of it.
fn line(mark: u8, text: &[u8], out: &mut Vec<u8>) {
    out.push(mark);
    out.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    out.extend_from_slice(b"\r\n");
}

/// A number behind its mark.
pub fn integer(mark: u8, number: i64, out: &mut Vec<u8>) {
    out.reserve(24);
    out.push(mark);
    if let small @ 0..=9 = number {
        out.push(b'0' + small as u8);
    } else {
        out.extend_from_slice(integer_text(number, &mut [0; 20]));
    }
    out.extend_from_slice(b"\r\n");
}

/// The head of a reply that has a length.
pub fn length(mark: u8, length: usize, out: &mut Vec<u8>) {
    integer(mark, i64::try_from(length).unwrap_or(i64::MAX), out);
}

/// Appends a bulk string.
pub fn bulk(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + 16);
    length(b'$', bytes.len(), out);
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(reply: &Reply) -> (String, String) {
        let text = |version| {
            let mut out = Vec::new();
            reply.encode(version, &mut out);
            String::from_utf8(out).expect("ASCII").replace("\r\n", "|")
        };
        (text(RespVersion::Two), text(RespVersion::Three))
    }

    #[test]
    fn every_type_in_both_versions() {
        for (reply, two, three) in [
            (Reply::None, "", ""),
            (Reply::Ok, "+OK|", "+OK|"),
            (Reply::Simple("PONG".into()), "+PONG|", "+PONG|"),
            (Reply::error("ERR no\r\n+OK"), "-ERR no  +OK|", "-ERR no  +OK|"),
            (Reply::Integer(-12), ":-12|", ":-12|"),
            (Reply::Integer(7), ":7|", ":7|"),
            (Reply::Null, "$-1|", "_|"),
            (Reply::NullArray, "*-1|", "_|"),
            (Reply::bulk("hi"), "$2|hi|", "$2|hi|"),
            (Reply::bulk(""), "$0||", "$0||"),
            (Reply::Static("x"), "$1|x|", "$1|x|"),
            (Reply::Double(1.5), "$3|1.5|", ",1.5|"),
            (Reply::Double(f64::INFINITY), "$3|inf|", ",inf|"),
            (Reply::Boolean(true), ":1|", "#t|"),
            (Reply::BigNumber("123".into()), "$3|123|", "(123|"),
            (Reply::Verbatim(*b"txt", "a".into()), "$1|a|", "=5|txt:a|"),
            (Reply::Array(vec![Reply::Ok, Reply::Null]), "*2|+OK|$-1|", "*2|+OK|_|"),
            (Reply::Set(vec![Reply::Integer(1)]), "*1|:1|", "~1|:1|"),
            (Reply::Map(vec![(Reply::Static("a"), Reply::Integer(1))]), "*2|$1|a|:1|", "%1|$1|a|:1|"),
            (Reply::Push(vec![Reply::Integer(1)]), "*1|:1|", ">1|:1|"),
            (Reply::Several(vec![Reply::Ok, Reply::Ok]), "+OK|+OK|", "+OK|+OK|"),
            (Reply::Raw("+x\r\n".into()), "+x|", "+x|"),
        ] {
            assert_eq!(both(&reply), (two.to_owned(), three.to_owned()), "{reply:?}");
        }
    }
}
