//! Query strings: `name=value` pairs, percent-decoded, `+` a space. Strict: an unknown or repeated name is an error that
//! says which names there are.

use crate::percent;
use crate::problem::{Kind, Problem};

/// One `name=value` of a query string, decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// What stands before the first `=`.
    pub name: Vec<u8>,
    /// What stands behind it, `None` without a `=`.
    pub value: Option<Vec<u8>>,
}

/// The pairs of a query string, in order. Empty pieces (`a=1&&b=2`) are left out.
///
/// # Errors
/// [`Kind::BadQuery`]
pub fn pairs(query: &[u8]) -> Result<Vec<Pair>, Problem> {
    let decode = |text: &[u8]| {
        percent::decode_query(text)
            .map_err(|error| Problem::new(Kind::BadQuery, format!("bad query string: {error}")))
    };
    let pieces = query.split(|byte| *byte == b'&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let mut halves = piece.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            Ok(Pair { name, value: halves.next().map(decode).transpose()? })
        })
        .collect()
}

/// The parameters of one request. Take each that the route knows, then [`Parameters::finish`].
#[derive(Debug)]
pub struct Parameters {
    pairs: Vec<Pair>,
    known: Vec<&'static str>,
}

impl Parameters {
    /// # Errors
    /// [`Kind::BadQuery`] if the text is malformed or a name repeats.
    pub fn parse(query: &[u8]) -> Result<Parameters, Problem> {
        Parameters::parse_repeating(query, &[])
    }

    /// As [`Parameters::parse`], but names in `repeating` may come more than once; see [`Parameters::take_all`].
    ///
    /// # Errors
    /// [`Kind::BadQuery`] if the text is malformed or another name repeats.
    pub fn parse_repeating(query: &[u8], repeating: &[&str]) -> Result<Parameters, Problem> {
        let pairs = pairs(query)?;
        for (index, pair) in pairs.iter().enumerate() {
            let may_repeat = repeating.iter().any(|name| name.as_bytes() == pair.name);
            if !may_repeat && pairs.iter().take(index).any(|earlier| earlier.name == pair.name) {
                return Err(Problem::new(Kind::BadQuery, format!("{} is given twice", shown(&pair.name))));
            }
        }
        Ok(Parameters { pairs, known: Vec::new() })
    }

    /// Whether the parameter was given. Does not take it.
    pub fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| pair.name == name.as_bytes())
    }

    /// Whether the parameter was given with a value that is not empty. Does not take it.
    pub fn is_given(&self, name: &str) -> bool {
        self.pairs.iter().any(|pair| {
            pair.name == name.as_bytes() && pair.value.as_ref().is_some_and(|value| !value.is_empty())
        })
    }

    /// The bytes of a parameter.
    ///
    /// # Errors
    /// [`Kind::BadQuery`] if it has no `=`.
    pub fn take(&mut self, name: &'static str) -> Result<Option<Vec<u8>>, Problem> {
        self.known.push(name);
        let Some(position) = self.pairs.iter().position(|pair| pair.name == name.as_bytes()) else {
            return Ok(None);
        };
        match self.pairs.remove(position).value {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::new(Kind::BadQuery, format!("{name} has no value: write {name}=.."))),
        }
    }

    /// All values of a parameter that may repeat, in order.
    ///
    /// # Errors
    /// [`Kind::BadQuery`] if one has no `=`.
    pub fn take_all(&mut self, name: &'static str) -> Result<Vec<Vec<u8>>, Problem> {
        let mut values = Vec::new();
        while let Some(value) = self.take(name)? {
            values.push(value);
        }
        self.known.dedup();
        Ok(values)
    }

    /// The text of a parameter.
    ///
    /// # Errors
    /// [`Kind::BadQuery`] if it is not UTF-8.
    pub fn take_text(&mut self, name: &'static str) -> Result<Option<String>, Problem> {
        let Some(value) = self.take(name)? else { return Ok(None) };
        String::from_utf8(value)
            .map(Some)
            .map_err(|_| Problem::new(Kind::BadQuery, format!("{name} is not UTF-8")))
    }

    /// A parameter in a form of its own.
    ///
    /// # Errors
    /// [`Kind::BadQuery`] saying what `parse` says.
    pub fn take_with<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.take_text(name)? else { return Ok(None) };
        parse(&text).map(Some).map_err(|why| Problem::new(Kind::BadQuery, format!("{name}: {why}")))
    }

    /// A parameter that is `true` or `false`; absent is false.
    ///
    /// # Errors
    /// [`Kind::BadQuery`]
    pub fn take_flag(&mut self, name: &'static str) -> Result<bool, Problem> {
        let flag = self.take_with(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(format!("{} is neither true nor false", shown(other.as_bytes()))),
        })?;
        Ok(flag.unwrap_or(false))
    }

    /// # Errors
    /// [`Kind::UnknownParameter`] if something was not taken.
    pub fn finish(self) -> Result<(), Problem> {
        let Some(pair) = self.pairs.first() else { return Ok(()) };
        let known = if self.known.is_empty() { "none".to_owned() } else { self.known.join(", ") };
        let detail = format!("unknown parameter {}; this route knows: {known}", shown(&pair.name));
        Err(Problem::new(Kind::UnknownParameter, detail))
    }
}

/// Foreign bytes for an error text: escaped, and not longer than 64 bytes.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let short = bytes.get(..64).unwrap_or(bytes);
    let dots = if short.len() < bytes.len() { ".." } else { "" };
    format!("\"{}{dots}\"", String::from_utf8_lossy(short).escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn pairs_keep_their_order() {
        let pair = |name: &str, value: Option<&str>| Pair {
            name: name.as_bytes().to_vec(),
            value: value.map(|value| value.as_bytes().to_vec()),
        };
        assert_eq!(
            pairs(b"b=1&a=x+y%26&c&d=&=e&&f=g=h"),
            Ok(vec![
                pair("b", Some("1")),
                pair("a", Some("x y&")),
                pair("c", None),
                pair("d", Some("")),
                pair("", Some("e")),
                pair("f", Some("g=h")),
            ])
        );
    }

    #[test]
    fn unknown_and_repeated_names_are_errors() {
        let mut parameters = Parameters::parse(b"limit=5&revers=true").expect("well-formed");
        assert_eq!(parameters.take("limit"), Ok(Some(b"5".to_vec())));
        assert_eq!(parameters.take_flag("reverse"), Ok(false));
        let problem = parameters.finish().expect_err("one is left");
        assert_eq!(problem.kind, Kind::UnknownParameter);
        assert_eq!(problem.detail, "unknown parameter \"revers\"; this route knows: limit, reverse");
        let mut parameters = Parameters::parse_repeating(b"a=1&b=2&a=3", &["a"]).expect("well-formed");
        assert_eq!(parameters.take_all("a"), Ok(vec![b"1".to_vec(), b"3".to_vec()]));
        assert_eq!(
            Parameters::parse(b"a=1&a=2").map(|_| ()).map_err(|problem| problem.kind),
            Err(Kind::BadQuery)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Parameters::parse(&bytes).map(Parameters::finish);
        }
    }
}
