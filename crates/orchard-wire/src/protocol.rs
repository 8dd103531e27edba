//! Which protocol a connection speaks, by its first bytes. The choice is final.

/// Longest first line in bytes, its end included.
pub const FIRST_LINE_SIZE_BYTES_MAX: usize = 8 * 1024;

/// What the bytes so far say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// Nothing yet: read on.
    Undecided,
    /// A TLS record. Decide again inside.
    Tls,
    /// A frame of the Redis protocol.
    Resp,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
    /// A line that is no HTTP: an inline Redis command, or anything.
    Line,
    /// A first line that begins like a request of HTTP and is over [`FIRST_LINE_SIZE_BYTES_MAX`].
    LongRequestLine,
    /// Any other first line over [`FIRST_LINE_SIZE_BYTES_MAX`].
    LongLine,
}

/// Decides by the bytes that a connection began with.
///
/// ```
/// use orchard_wire::protocol::{Detected, detect};
/// assert_eq!(detect(b"GET / HT"), Detected::Undecided);
/// assert_eq!(detect(b"GET / HTTP/1.1\r\n"), Detected::Http1);
/// assert_eq!(detect(b"PRI * HTTP/2.0\r\n"), Detected::Http2);
/// assert_eq!(detect(b"*1\r\n$4\r\nPING\r\n"), Detected::Resp);
/// ```
pub fn detect(bytes: &[u8]) -> Detected {
    match bytes.first() {
        None => return Detected::Undecided,
        Some(0x16) => return Detected::Tls,
        Some(b'*') => return Detected::Resp,
        Some(_) => {}
    }
    let head = bytes.get(..FIRST_LINE_SIZE_BYTES_MAX).unwrap_or(bytes);
    let Some(end) = head.iter().position(|byte| *byte == b'\n') else {
        return match (bytes.len() < FIRST_LINE_SIZE_BYTES_MAX, looks_like_request(head)) {
            (true, _) => Detected::Undecided,
            (false, true) => Detected::LongRequestLine,
            (false, false) => Detected::LongLine,
        };
    };
    let line = head.get(..end).unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line == b"PRI * HTTP/2.0" {
        return Detected::Http2;
    }
    let version = line.len().checked_sub(9).and_then(|start| line.get(start..));
    match version {
        Some([b' ', b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9']) => Detected::Http1,
        _ => Detected::Line,
    }
}

/// A method's capital letters, a space and the beginning of a target.
fn looks_like_request(head: &[u8]) -> bool {
    let method = head.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    (1..=16).contains(&method) && matches!(head.get(method..method + 2), Some([b' ', b'/' | b'h' | b'*']))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn first_bytes_decide() {
        for (bytes, detected) in [
            (&b""[..], Detected::Undecided),
            (b"\x16", Detected::Tls),
            (b"*", Detected::Resp),
            (b"PRI * HTTP/2.0\r", Detected::Undecided),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Detected::Http2),
            (b"GET / HTTP/1.0\n", Detected::Http1),
            (b"GET / HTTP/2.0\r\n", Detected::Line),
            (b"GET /\r\n", Detected::Line),
            (b"SET key HTTP/1.1\r\n", Detected::Http1),
            (b"GET key\r\n", Detected::Line),
            (b"\r\n", Detected::Line),
            (b"HTTP/1.1\r\n", Detected::Line),
        ] {
            assert_eq!(detect(bytes), detected, "{}", bytes.escape_ascii());
        }
        let mut long = b"GET /".to_vec();
        long.resize(FIRST_LINE_SIZE_BYTES_MAX - 1, b'a');
        assert_eq!(detect(&long), Detected::Undecided);
        long.push(b'a');
        assert_eq!(detect(&long), Detected::LongRequestLine);
        long.extend_from_slice(b" HTTP/1.1\r\n");
        assert_eq!(detect(&long), Detected::LongRequestLine, "a later line end does not help");
        assert_eq!(detect(&[b'a'; FIRST_LINE_SIZE_BYTES_MAX]), Detected::LongLine);
    }

    proptest! {
        #[test]
        fn a_choice_is_final(bytes in "[*A-Z /.0-9a-b\r\n]{0,40}", more in prop::collection::vec(any::<u8>(), 0..20)) {
            let early = detect(bytes.as_bytes());
            let later = detect(&[bytes.as_bytes(), &more].concat());
            prop_assert!(early == Detected::Undecided || early == later);
        }
    }
}
