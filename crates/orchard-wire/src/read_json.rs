//! `POST /v1/read`: several ranges, all as one version shows them.

use crate::commit_json::{Items, RangeJson};
use crate::cursor::Cursor;
use crate::json_text::Object;
use crate::moment::{self, Moment};
use crate::problem::{Kind, Problem};
use crate::{entry_json, range};
use orcharddb::{KeyRange, LimitError, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What a client wants to read.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ReadRequest {
    /// The ranges, in the order of their answers.
    pub ranges: Vec<RangeRequest>,
    /// The version to read at; the newest if not said.
    pub at: Option<Moment>,
}

/// One range.
#[derive(Debug, Clone, PartialEq)]
pub struct RangeRequest {
    /// The range, a cursor not taken into account.
    pub range: KeyRange,
    /// Most entries.
    pub limit: usize,
    /// From the last key down.
    pub reverse: bool,
    /// Without values.
    pub keys_only: bool,
    /// Their number instead of the entries.
    pub count: bool,
    /// Only entries last changed behind this moment.
    pub since: Option<Moment>,
    /// Only entries last changed at or before this moment.
    pub until: Option<Moment>,
    /// Where an earlier answer ended.
    pub cursor: Option<Cursor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadJson<'a> {
    #[serde(borrow)]
    ranges: Items<Object<OneJson<'a>>>,
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    consistency: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OneJson<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    prefix: Option<&'a RawValue>,
    #[serde(borrow)]
    start: Option<&'a RawValue>,
    #[serde(borrow)]
    end: Option<&'a RawValue>,
    #[serde(default)]
    limit: Option<u64>,
    #[serde(default)]
    reverse: bool,
    #[serde(default)]
    keys_only: bool,
    #[serde(default)]
    count: bool,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    until: Option<String>,
    #[serde(default)]
    cursor: Option<String>,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadJson, detail)
}

impl OneJson<'_> {
    fn parse(self) -> Result<RangeRequest, Problem> {
        let bounds = RangeJson { prefix: self.prefix, start: self.start, end: self.end };
        let range = match self.key {
            Some(_) if self.prefix.is_some() || self.start.is_some() || self.end.is_some() => {
                return Err(bad("key excludes prefix, start and end"));
            }
            Some(key) => range::one(&entry_json::parse_key(key)?),
            None => bounds.parse()?,
        };
        let limit = match self.limit {
            None => limits::RANGE_LIMIT_DEFAULT,
            Some(0) => return Err(bad("limit: at least 1")),
            Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        };
        LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, limit)?;
        let cursor =
            self.cursor.map(|text| Cursor::decode(text.as_bytes(), &range, self.reverse)).transpose()?;
        let (reverse, keys_only, count) = (self.reverse, self.keys_only, self.count);
        let moment = |name: &str, text: Option<String>| {
            text.map(|text| moment::parse(&text).map_err(|why| bad(format!("{name}: {why}")))).transpose()
        };
        let (since, until) = (moment("since", self.since)?, moment("until", self.until)?);
        Ok(RangeRequest { range, limit, reverse, keys_only, count, since, until, cursor })
    }
}

/// Reads the body of `POST /v1/read`.
///
/// # Errors
/// Each names the range that it is about.
///
/// ```
/// use orchard_wire::read_json;
/// let body = br#"{"ranges": [{"prefix": ["users"], "limit": 10}, {"key": ["users", "ada"]}]}"#;
/// assert_eq!(read_json::parse(body)?.ranges.len(), 2);
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse(body: &[u8]) -> Result<ReadRequest, Problem> {
    let Object(json): Object<ReadJson<'_>> =
        serde_json::from_slice(body).map_err(|error| bad(format!("not a read: {error}")))?;
    LimitError::check("read_ranges", limits::READ_RANGES_MAX, json.ranges.count)?;
    let ranges = json.ranges.items.into_iter().enumerate();
    let ranges = ranges.map(|(index, Object(range))| {
        range.parse().map_err(|problem| problem.at(format_args!("ranges[{index}]")))
    });
    let ranges = ranges.collect::<Result<Vec<_>, _>>()?;
    let at = json.at.as_deref().map(moment::parse).transpose().map_err(|why| bad(format!("at: {why}")))?;
    match json.consistency.as_deref() {
        None | Some("strong" | "eventual") => Ok(ReadRequest { ranges, at }),
        Some(_) => Err(bad("consistency: neither strong nor eventual")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::IntoKey;
    use proptest::prelude::*;

    fn kind(body: &str) -> Kind {
        parse(body.as_bytes()).expect_err(body).kind
    }

    #[test]
    fn a_read_is_read() {
        let body = r#"{"ranges": [{"prefix": ["users"], "limit": 5, "reverse": true, "keys_only": true},
            {"key": ["a"]}, {"start": ["b"], "count": true}], "at": "10m", "consistency": "eventual"}"#;
        let read = parse(body.as_bytes()).expect("a read");
        assert!(matches!(read.at, Some(Moment::Ago(_))));
        let [users, a, b] = read.ranges.as_slice() else { panic!("three ranges") };
        assert_eq!((users.limit, users.reverse, users.keys_only, users.count), (5, true, true, false));
        let key = "a".into_key().expect("short");
        assert!(a.range.contains(&key) && !a.range.contains(&[key.as_ref(), &[0]].concat()));
        assert_eq!((a.limit, b.count), (limits::RANGE_LIMIT_DEFAULT, true));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (body, expected) in [
            ("{}", Kind::BadJson),
            (r#"{"ranges": [{"key": ["a"], "prefix": ["b"]}]}"#, Kind::BadJson),
            (r#"{"ranges": [{"limit": 0}]}"#, Kind::BadJson),
            (r#"{"ranges": [{"limit": 10001}]}"#, Kind::LimitExceeded),
            (r#"{"ranges": [{"prefix": [null]}]}"#, Kind::BadKey),
            (r#"{"ranges": [{"cursor": "x"}]}"#, Kind::BadCursor),
            (r#"{"ranges": [], "at": "x"}"#, Kind::BadJson),
            (r#"{"ranges": [], "consistency": "none"}"#, Kind::BadJson),
        ] {
            assert_eq!(kind(body), expected, "{body}");
        }
        let many = vec!["{}"; limits::READ_RANGES_MAX + 1].join(",");
        assert_eq!(kind(&format!("{{\"ranges\":[{many}]}}")), Kind::LimitExceeded);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
