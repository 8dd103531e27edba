//! A point in the database's past: a versionstamp, an RFC 3339 time, or an age such as `10m`.

use crate::{duration, query, rfc3339};
use orcharddb::{DurationMs, UnixMillis, Versionstamp};

/// What `at`, `since`, `until` and `from` name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// A version.
    Version(Versionstamp),
    /// A time.
    Time(UnixMillis),
    /// So long before now.
    Ago(DurationMs),
}

/// 20 hex digits are a versionstamp, what has a `T` is a time, anything else must be an age.
///
/// # Errors
/// A text for people.
///
/// ```
/// use orchard_wire::moment::{Moment, parse};
/// use orcharddb::{DurationMs, UnixMillis, Versionstamp};
/// assert_eq!(parse("00000000000000070002"), Ok(Moment::Version(Versionstamp::new(7, 2))));
/// assert_eq!(parse("1970-01-01T00:00:01Z"), Ok(Moment::Time(UnixMillis(1_000))));
/// assert_eq!(parse("10m"), Ok(Moment::Ago(DurationMs(600_000))));
/// assert!(parse("yesterday").is_err());
/// ```
pub fn parse(text: &str) -> Result<Moment, String> {
    if let Ok(version) = text.parse() {
        return Ok(Moment::Version(version));
    }
    if text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("{text} is no versionstamp: the index, its first 16 digits, is over 48 bits"));
    }
    if text.contains(['T', 't']) {
        return rfc3339::parse(text).map(Moment::Time);
    }
    duration::parse(text).map(Moment::Ago).map_err(|_| {
        let shown = query::shown(text.as_bytes());
        format!(
            "{shown} is neither a versionstamp (20 hex digits) nor an RFC 3339 time nor an age such as 10m"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in ["", "0000000000000007000", "2024-01-01", "10", "-10m", "2024-13-01T00:00:00Z"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_versionstamp_over_its_bound_is_told_so() {
        let error = parse("ffffffffffffffffffff").expect_err("over 48 bits");
        assert!(error.contains("over 48 bits"), "{error}");
    }
}
