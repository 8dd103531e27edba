//! ETags: the versionstamp in quotes, and the lists of them in `If-Match` and `If-None-Match` (RFC 9110, 8.8.3).

use crate::problem::{Kind, Problem};
use orcharddb::Versionstamp;

/// The ETag of an entry.
pub fn render(stamp: Versionstamp) -> String {
    format!("\"{stamp}\"")
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Tag {
    weak: bool,
    text: Vec<u8>,
}

/// What `If-Match` or `If-None-Match` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags(Option<Vec<Tag>>);

impl Tags {
    /// Reads the values of all headers of that name.
    ///
    /// # Errors
    /// [`Kind::BadRequest`] if they are no list of ETags.
    pub fn parse<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Result<Option<Tags>, Problem> {
        let joined = values.into_iter().map(<[u8]>::trim_ascii).collect::<Vec<_>>();
        if joined.is_empty() {
            return Ok(None);
        }
        let list = joined.join(&b","[..]);
        parse_list(&list).map(Some).ok_or_else(|| {
            let shown = crate::query::shown(&list);
            Problem::new(Kind::BadRequest, format!("{shown} is neither * nor a list of quoted ETags"))
        })
    }

    /// Whether `*` was given: any version.
    pub fn is_any(&self) -> bool {
        self.0.is_none()
    }

    /// The only strong tag, if there is just one and it is a versionstamp.
    pub fn single(&self) -> Option<Versionstamp> {
        match self.0.as_deref() {
            Some([Tag { weak: false, text }]) => std::str::from_utf8(text).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Whether an entry of this version (`None`: absent) is named; weak tags count if `weak`.
    pub fn name(&self, version: Option<Versionstamp>, weak: bool) -> bool {
        let Some(version) = version else { return false };
        let text = version.to_string();
        match &self.0 {
            None => true,
            Some(tags) => tags.iter().any(|tag| (weak || !tag.weak) && tag.text == text.as_bytes()),
        }
    }
}

fn parse_list(list: &[u8]) -> Option<Tags> {
    if list == b"*" {
        return Some(Tags(None));
    }
    let mut tags = Vec::new();
    let mut rest = list.trim_ascii();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after.trim_ascii_start();
            continue;
        }
        let (weak, quoted) = match rest.strip_prefix(b"W/") {
            Some(quoted) => (true, quoted),
            None => (false, rest),
        };
        let inside = quoted.strip_prefix(b"\"")?;
        let end = inside.iter().position(|byte| *byte == b'"')?;
        let (text, after) = inside.split_at_checked(end)?;
        if text.iter().any(|byte| *byte <= b' ' || *byte == 0x7f) {
            return None;
        }
        tags.push(Tag { weak, text: text.to_vec() });
        rest = after.get(1..)?.trim_ascii_start();
        if !rest.is_empty() && !rest.starts_with(b",") {
            return None;
        }
    }
    (!tags.is_empty()).then_some(Tags(Some(tags)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tags(value: &str) -> Option<Tags> {
        Tags::parse([value.as_bytes()]).ok().flatten()
    }

    #[test]
    fn lists_are_read() {
        let (one, two) = (Versionstamp::new(1, 0), Versionstamp::new(2, 0));
        let single = tags("\"00000000000000010000\"").expect("a tag");
        assert_eq!((single.single(), single.is_any()), (Some(one), false));
        assert!(single.name(Some(one), false) && !single.name(Some(two), false) && !single.name(None, false));
        let list = tags("\"other\", W/\"00000000000000010000\" ,\"00000000000000020000\"").expect("tags");
        assert_eq!(list.single(), None);
        assert!(!list.name(Some(one), false) && list.name(Some(one), true) && list.name(Some(two), false));
        let any = tags(" * ").expect("any");
        assert!(any.is_any() && any.name(Some(one), false) && !any.name(None, false));
        assert_eq!(Tags::parse(Vec::<&[u8]>::new()), Ok(None));
        let two_headers =
            Tags::parse([&b"\"a\""[..], b"\"00000000000000020000\""]).expect("tags").expect("given");
        assert!(two_headers.name(Some(two), false));
        assert_eq!(render(one), "\"00000000000000010000\"");
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for value in ["", ",", "a", "\"a", "\"a\" \"b\"", "*, \"a\"", "\"a b\"", "w/\"a\"", "W/*"] {
            assert_eq!(tags(value), None, "{value}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = Tags::parse([bytes.as_slice()]);
        }
    }
}
