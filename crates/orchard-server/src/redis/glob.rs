//! Patterns as `KEYS`, `SCAN` and `PSUBSCRIBE` have them: `*`, `?`, `[abc]`, `[^a-c]`, `\` before what is meant as it is.
//! Takes time in proportion to pattern and text together with one `*`, to their product at worst.

/// One step of a pattern: how many bytes it takes, and whether it matches a byte.
fn step(pattern: &[u8], byte: u8) -> (usize, bool) {
    match pattern {
        [b'?', ..] => (1, true),
        [b'\\', escaped, ..] => (2, *escaped == byte),
        [b'[', class @ ..] => {
            let (is_negated, mut at) = if class.first() == Some(&b'^') { (true, 1) } else { (false, 0) };
            let mut is_in = false;
            loop {
                match class.get(at..).unwrap_or_default() {
                    [] => break,
                    [b']', ..] => {
                        at += 1;
                        break;
                    }
                    [b'\\', escaped, ..] => {
                        is_in |= *escaped == byte;
                        at += 2;
                    }
                    [from, b'-', to, ..] => {
                        is_in |= (*from.min(to)..=*from.max(to)).contains(&byte);
                        at += 3;
                    }
                    [one, ..] => {
                        is_in |= *one == byte;
                        at += 1;
                    }
                }
            }
            (at + 1, is_in != is_negated)
        }
        [literal, ..] => (1, *literal == byte),
        [] => (0, false),
    }
}

/// Whether the whole text matches.
pub(crate) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut place) = (0, 0);
    // Behind the last `*`, and how much of the text it has taken so far.
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = text.get(place) {
        let rest = pattern.get(at..).unwrap_or_default();
        if rest.first() == Some(&b'*') {
            at += 1;
            star = Some((at, place));
            continue;
        }
        let (length, is_match) = step(rest, *byte);
        if is_match {
            at += length;
            place += 1;
        } else if let Some((behind, taken)) = &mut star {
            *taken += 1;
            (at, place) = (*behind, *taken);
        } else {
            return false;
        }
    }
    pattern.get(at..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// What every matching text begins with.
pub(crate) fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern.iter().position(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\'));
    pattern.get(..end.unwrap_or(pattern.len())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_redis() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*", "abc", true),
            ("", "", true),
            ("", "a", false),
            ("a*c", "abbbc", true),
            ("a*c", "abbbd", false),
            ("*a*b*", "xxaxxbxx", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]x", "bx", true),
            ("[^ab]x", "bx", false),
            ("[a-c]x", "bx", true),
            ("[c-a]x", "bx", true),
            ("[a\\]]x", "]x", true),
            ("[ab", "a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("user:*:name", "user:1:name", true),
            ("user:*:name", "user:1:names", false),
            ("**", "a", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
        let long = [b"a*".repeat(50), b"b".to_vec()].concat();
        assert!(!matches(&long, &[b'a'; 3_000]), "no exponential time");
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"[a]"), b"");
    }
}
