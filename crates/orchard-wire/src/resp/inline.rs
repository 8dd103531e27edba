//! Splitting an inline command into arguments, with Redis's quoting rules.
//!
//! - `"..."` knows `\n \r \t \b \a \\ \" \xHH`; `'...'` knows `\'` alone; quotes may begin anywhere in a word.
//! - A closing quote must be followed by a space or the end.

/// The quotes do not match up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnbalancedQuotes;

/// `isspace` of C.
pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}

/// Splits `line` in place: arguments never grow, so each is written over the line itself. `found` gets the start and end
/// of each.
///
/// # Errors
/// [`UnbalancedQuotes`]
///
/// ```
/// use orchard_wire::resp::inline::split_in_place;
/// let mut line = br#"SET "a b" 'c' d\x41"#.to_vec();
/// let mut words = Vec::new();
/// split_in_place(&mut line, |start, end| words.push((start, end))).expect("balanced");
/// let words: Vec<_> = words.into_iter().map(|(start, end)| &line[start..end]).collect();
/// assert_eq!(words, [&b"SET"[..], b"a b", b"c", br"d\x41"]);
/// ```
pub fn split_in_place(line: &mut [u8], mut found: impl FnMut(usize, usize)) -> Result<(), UnbalancedQuotes> {
    // Invariant: out <= at, so a write never overtakes what is still to be read.
    let (mut at, mut out) = (0, 0);
    loop {
        while line.get(at).is_some_and(|byte| is_space(*byte)) {
            at += 1;
        }
        if at >= line.len() {
            return Ok(());
        }
        let start = out;
        let mut quote = None;
        while let Some(byte) = line.get(at).copied() {
            let next = line.get(at + 1).copied();
            let mut put = None;
            match (quote, byte) {
                (Some(b'"'), b'\\') => {
                    let digits = (next == Some(b'x'))
                        .then(|| Some((hex(*line.get(at + 2)?)?, hex(*line.get(at + 3)?)?)))
                        .flatten();
                    match (digits, next) {
                        (Some((high, low)), _) => {
                            put = Some(high << 4 | low);
                            at += 3;
                        }
                        (None, Some(escaped)) => {
                            put = Some(match escaped {
                                b'n' => b'\n',
                                b'r' => b'\r',
                                b't' => b'\t',
                                b'b' => 0x08,
                                b'a' => 0x07,
                                other => other,
                            });
                            at += 1;
                        }
                        (None, None) => put = Some(byte),
                    }
                }
                (Some(b'\''), b'\\') if next == Some(b'\'') => {
                    put = Some(b'\'');
                    at += 1;
                }
                (Some(open), byte) if open == byte => {
                    if next.is_some_and(|next| !is_space(next)) {
                        return Err(UnbalancedQuotes);
                    }
                    quote = None;
                    at += 1;
                    break;
                }
                (None, b'"' | b'\'') => quote = Some(byte),
                (None, byte) if is_space(byte) || byte == 0 => {
                    // A NUL ends a word, and the line with it, as in C.
                    if byte == 0 {
                        at = line.len();
                    }
                    break;
                }
                (_, byte) => put = Some(byte),
            }
            at += 1;
            if let Some(put) = put
                && let Some(slot) = line.get_mut(out)
            {
                *slot = put;
                out += 1;
            }
        }
        if quote.is_some() {
            return Err(UnbalancedQuotes);
        }
        found(start, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, UnbalancedQuotes> {
        let mut line = line.to_vec();
        let mut words = Vec::new();
        split_in_place(&mut line, |start, end| words.push((start, end)))?;
        Ok(words.into_iter().map(|(start, end)| line[start..end].to_vec()).collect())
    }

    #[test]
    fn quotes_are_those_of_redis() {
        let words = |line: &[u8]| split(line).expect("balanced");
        assert_eq!(words(b"  a  b\tc "), [b"a", b"b", b"c"]);
        assert_eq!(words(br#""\x41\n\q\"" 'it\'s' "" ''"#), [&b"A\nq\""[..], b"it's", b"", b""]);
        assert_eq!(words(br#"a"b c""#), [b"ab c"]);
        assert_eq!(words(br#""\xZZ" '\n'"#), [&b"xZZ"[..], b"\\n"]);
        assert!(words(b"   ").is_empty());
        for line in [&br#""a"#[..], b"'a", br#""a"b"#, br"'a'b", br#""a\"#] {
            assert_eq!(split(line), Err(UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn quoted_bytes_come_back(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..8), 1..5)) {
            let mut line = Vec::new();
            for word in &words {
                line.extend_from_slice(b" \"");
                for byte in word {
                    line.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
                }
                line.push(b'"');
            }
            prop_assert_eq!(split(&line), Ok(words));
        }

        #[test]
        fn any_line_is_safe(line in prop::collection::vec(prop_oneof![Just(b'"'), Just(b'\''), Just(b'\\'), Just(b'x'), Just(b' '), any::<u8>()], 0..40)) {
            let _ = split(&line);
        }
    }
}
