//! Patterns as `KEYS`, `SCAN` and `PSUBSCRIBE` take them: `*`, `?`, `[a-z]`, `[^a]`, `\x`.
//!
//! As in Redis, byte for byte, its corners too: an empty text is matched by the empty pattern alone (not even by `*`, which
//! `KEYS` and `SCAN` take for "no pattern"), a class that does not end ends with the pattern, and `[]` matches nothing.
//! The time is at most pattern times text: behind a `*` only the last one is ever tried again.

/// Whether the pattern matches the whole text.
///
/// ```
/// use orchard_wire::glob::matches;
/// assert!(matches(b"user:*:name", b"user:7:name"));
/// assert!(matches(b"h[a-e]llo", b"hello") && !matches(b"h[^a-e]llo", b"hello"));
/// assert!(matches(b"a\\*", b"a*") && !matches(b"a\\*", b"ab"));
/// ```
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut at, mut here) = (0, 0);
    // Behind the last star, and the text it was tried on.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let is_past_star = pattern.get(at) == Some(&b'*');
        if is_past_star {
            while pattern.get(at) == Some(&b'*') {
                at += 1;
            }
            if at == pattern.len() {
                return true;
            }
            retry = Some((at, here));
        }
        match (text.get(here), at < pattern.len()) {
            (None, false) => return true,
            (Some(byte), true) => {
                if let Some(next) = one(pattern, at, *byte) {
                    at = next;
                    here += 1;
                    continue;
                }
            }
            // Nothing but stars can match nothing, and those were passed over.
            (None, true) => return false,
            (Some(_), false) => {}
        }
        let Some((behind_star, tried)) = retry else { return false };
        retry = Some((behind_star, tried + 1));
        (at, here) = (behind_star, tried + 1);
    }
}

/// The pattern behind its part at `at`, if that part matches the byte.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'[' => class(pattern, at + 1, byte),
        b'\\' if at + 1 < pattern.len() => (pattern.get(at + 1) == Some(&byte)).then_some(at + 2),
        literal => (*literal == byte).then_some(at + 1),
    }
}

/// A class whose content begins at `at`.
fn class(pattern: &[u8], mut at: usize, byte: u8) -> Option<usize> {
    let is_negated = pattern.get(at) == Some(&b'^');
    at += usize::from(is_negated);
    let mut is_in = false;
    let end = loop {
        match *pattern.get(at..).unwrap_or_default() {
            [] => break at,
            [b'\\', escaped, ..] => {
                is_in |= escaped == byte;
                at += 2;
            }
            [b']', ..] => break at + 1,
            [first, b'-', last, ..] => {
                is_in |= (first.min(last)..=first.max(last)).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                is_in |= literal == byte;
                at += 1;
            }
        }
    };
    (is_in != is_negated).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn corners() {
        let yes: [(&[u8], &[u8]); 18] = [
            (b"*", b"a"),
            (b"", b""),
            (b"**a**", b"a"),
            (b"a*b*c", b"aXbXbc"),
            (b"h[12]", b"h2"),
            (b"[z-a]", b"m"),
            (b"[a", b"a"),
            (b"[^]", b"x"),
            (b"[^", b"x"),
            (b"[\\]]", b"]"),
            (b"\\", b"\\"),
            (b"a\\", b"a\\"),
            (b"\\a", b"a"),
            (b"[a-", b"-"),
            (b"[a-]x]", b"_"),
            (b"*\\*", b"ab*"),
            (b"??", b"ab"),
            (b"\xff[\x80-\xff]", b"\xff\xfe"),
        ];
        for (pattern, text) in yes {
            assert!(matches(pattern, text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
        let no: [(&[u8], &[u8]); 10] = [
            (b"*", b""),
            (b"?", b""),
            (b"", b"a"),
            (b"[]", b"a"),
            (b"[", b"["),
            (b"[]a]", b"a"),
            (b"a?", b"a"),
            (b"a*b", b"abc"),
            (b"[^a]", b"a"),
            (b"abc", b"ab"),
        ];
        for (pattern, text) in no {
            assert!(!matches(pattern, text), "{} {}", pattern.escape_ascii(), text.escape_ascii());
        }
    }

    /// The same, by trying everything.
    fn plainly(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|skip| plainly(rest, &text[skip..])),
            ([], _) | (_, []) => false,
            (_, [first, rest @ ..]) => {
                one(pattern, 0, *first).is_some_and(|next| plainly(&pattern[next..], rest))
            }
        }
    }

    proptest! {
        #[test]
        fn trying_only_the_last_star_again_is_enough(
            pattern in "[ab*?\\[\\]^\\\\-]{0,10}",
            text in "[ab*\\]\\\\-]{1,10}",
        ) {
            let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
            prop_assert_eq!(matches(pattern, text), plainly(pattern, text));
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = [b"*a".repeat(60), b"b".to_vec()].concat();
        assert!(!matches(&pattern, &b"a".repeat(20_000)));
    }
}
