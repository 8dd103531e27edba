//! A line of the repl as words.

/// What is wrong with a line.
pub type WordsError = &'static str;

/// The words of a line. Spaces part them, except inside `".."` (a JSON string), `'..'` (as it is) and the brackets of a
/// JSON array or object, which stays as it is.
///
/// # Errors
/// What is not closed.
pub fn split(line: &str) -> Result<Vec<String>, WordsError> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            '"' => json_string(rest)?,
            '\'' => single_quoted(rest)?,
            '[' | '{' => (rest.get(..balanced(rest)?).unwrap_or(rest).to_owned(), balanced(rest)?),
            _ => {
                let length = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest.get(..length).unwrap_or(rest).to_owned(), length)
            }
        };
        rest = rest.get(length..).unwrap_or_default();
        if rest.chars().next().is_some_and(|next| !next.is_whitespace()) {
            return Err("put a space behind a quote or bracket that closes a word");
        }
        rest = rest.trim_start();
        words.push(word);
    }
    Ok(words)
}

fn json_string(text: &str) -> Result<(String, usize), WordsError> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    match strings.next() {
        Some(Ok(word)) => Ok((word, strings.byte_offset())),
        _ => Err("a double quote is not closed, or the text in it is no JSON string"),
    }
}

fn single_quoted(text: &str) -> Result<(String, usize), WordsError> {
    let inside = text.get(1..).unwrap_or_default();
    let end = inside.find('\'').ok_or("a single quote is not closed")?;
    Ok((inside.get(..end).unwrap_or_default().to_owned(), end + 2))
}

/// Length of the array or object at the start of `text`.
fn balanced(text: &str) -> Result<usize, WordsError> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (offset, byte) in text.bytes().enumerate() {
        match (in_string, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (true, b'"') => in_string = false,
            (true, _) => {}
            (false, b'"') => in_string = true,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Ok(offset + 1);
                }
            }
            _ => {}
        }
    }
    Err("a bracket is not closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, words: &[&str]) {
        assert_eq!(
            split(line).as_deref().map(|found| found.iter().map(String::as_str).collect()),
            Ok(words.to_vec()),
            "{line}"
        );
    }

    #[test]
    fn words_are_parted_at_spaces_outside_of_quotes_and_brackets() {
        check("", &[]);
        check("  get\tapple ", &["get", "apple"]);
        check(r#"put "a \"b\" \u00e9" 'c "d'"#, &["put", "a \"b\" é", "c \"d"]);
        check(r#"get ["users", "a ] b", 42] --json"#, &["get", r#"["users", "a ] b", 42]"#, "--json"]);
        check(r#"put k {"a": [1, {"b": "\"}"}]}"#, &["put", "k", r#"{"a": [1, {"b": "\"}"}]}"#]);
        check("put it's 'two words'", &["put", "it's", "two words"]);
    }

    #[test]
    fn what_is_not_closed_is_refused() {
        for line in ["get \"a", "get 'a", "get [1", "get {", "get \"a\"b", "get [1]2"] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
