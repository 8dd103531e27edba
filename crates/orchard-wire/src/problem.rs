//! The one table of errors: each kind with its HTTP status, its stable code and its RESP prefix.
//!
//! Over HTTP a problem is `application/problem+json` (RFC 9457); `code` is what programs compare.

use crate::json_text;
use orcharddb::queue::QueueError;
use orcharddb::{CommitError, DatabaseError, KeyError, LimitError, ReadError, TokenError};
use serde_json::{Map, Value as Json};
use std::fmt;

/// What went wrong, as programs see it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// The request is malformed in a way that no other kind names.
    BadRequest,
    /// The query string is malformed, or a parameter's value is.
    BadQuery,
    /// The route does not know a parameter.
    UnknownParameter,
    /// What should be a key is none.
    BadKey,
    /// What should be a value is none, or not of the type it claims.
    BadValue,
    /// The body is not the JSON that the route takes.
    BadJson,
    /// The cursor is damaged or belongs to another range.
    BadCursor,
    /// The access token is missing or wrong.
    Unauthorized,
    /// A web page of another origin sent the request.
    OriginRefused,
    /// The request names a host that is not this machine's loopback, and no access token is set.
    HostRefused,
    /// There is no such route.
    NoSuchRoute,
    /// The key is absent.
    KeyNotFound,
    /// There is no database of this name.
    DatabaseNotFound,
    /// The JSON document has nothing where the pointer points.
    PointerNotFound,
    /// The route does not know the method.
    MethodNotAllowed,
    /// The client was too slow.
    RequestTimeout,
    /// Checks of a commit did not hold. Read again, then retry.
    CheckFailed,
    /// A retry token was used with other content, or its deadline is no good.
    BadToken,
    /// The number found, or given, is not of the type that the operation needs.
    WrongType,
    /// A result does not fit the number's type.
    Overflow,
    /// A result lies outside the bounds that the mutation gave.
    OutOfBounds,
    /// A transaction gave up.
    Aborted,
    /// The snapshot or version is no longer kept. Read anew.
    SnapshotTooOld,
    /// An `If-Match` or `If-None-Match` did not hold.
    PreconditionFailed,
    /// Something is over its limit; `limit` and `actual` say how much.
    LimitExceeded,
    /// The request line is too long.
    UriTooLong,
    /// The route does not take this Content-Type.
    UnsupportedMediaType,
    /// A later version will do it.
    NotAvailable,
    /// Damage or an I/O error below the engine.
    Storage,
    /// A mistake of ours.
    Internal,
    /// The log could not be written; commits are refused until the database is opened again.
    Poisoned,
    /// The database is closed, or closing.
    Closed,
    /// There are as many connections as may be. Try again, or close some.
    TooManyConnections,
    /// The memory limit is reached.
    MemoryFull,
    /// The disk is full.
    DiskFull,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 35] = [
        Kind::BadRequest,
        Kind::BadQuery,
        Kind::UnknownParameter,
        Kind::BadKey,
        Kind::BadValue,
        Kind::BadJson,
        Kind::BadCursor,
        Kind::Unauthorized,
        Kind::OriginRefused,
        Kind::HostRefused,
        Kind::NoSuchRoute,
        Kind::KeyNotFound,
        Kind::DatabaseNotFound,
        Kind::PointerNotFound,
        Kind::MethodNotAllowed,
        Kind::RequestTimeout,
        Kind::CheckFailed,
        Kind::BadToken,
        Kind::WrongType,
        Kind::Overflow,
        Kind::OutOfBounds,
        Kind::Aborted,
        Kind::SnapshotTooOld,
        Kind::PreconditionFailed,
        Kind::LimitExceeded,
        Kind::UriTooLong,
        Kind::UnsupportedMediaType,
        Kind::NotAvailable,
        Kind::Storage,
        Kind::Internal,
        Kind::Poisoned,
        Kind::Closed,
        Kind::TooManyConnections,
        Kind::MemoryFull,
        Kind::DiskFull,
    ];

    /// The table: HTTP status, stable code, RESP prefix.
    const fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Kind::BadRequest => (400, "bad_request", "ERR"),
            Kind::BadQuery => (400, "bad_query", "ERR"),
            Kind::UnknownParameter => (400, "unknown_parameter", "ERR"),
            Kind::BadKey => (400, "bad_key", "ERR"),
            Kind::BadValue => (400, "bad_value", "ERR"),
            Kind::BadJson => (400, "bad_json", "ERR"),
            Kind::BadCursor => (400, "bad_cursor", "ERR"),
            Kind::Unauthorized => (401, "unauthorized", "NOAUTH"),
            Kind::OriginRefused => (403, "origin_refused", "ERR"),
            Kind::HostRefused => (403, "host_refused", "ERR"),
            Kind::NoSuchRoute => (404, "no_such_route", "ERR"),
            Kind::KeyNotFound => (404, "key_not_found", "ERR"),
            Kind::DatabaseNotFound => (404, "database_not_found", "ERR"),
            Kind::PointerNotFound => (404, "pointer_not_found", "ERR"),
            Kind::MethodNotAllowed => (405, "method_not_allowed", "ERR"),
            Kind::RequestTimeout => (408, "request_timeout", "ERR"),
            Kind::CheckFailed => (409, "check_failed", "EXECABORT"),
            Kind::BadToken => (409, "bad_token", "ERR"),
            Kind::WrongType => (409, "wrong_type", "WRONGTYPE"),
            Kind::Overflow => (409, "overflow", "ERR"),
            Kind::OutOfBounds => (409, "out_of_bounds", "ERR"),
            Kind::Aborted => (409, "aborted", "EXECABORT"),
            Kind::SnapshotTooOld => (410, "snapshot_too_old", "ERR"),
            Kind::PreconditionFailed => (412, "precondition_failed", "ERR"),
            Kind::LimitExceeded => (413, "limit_exceeded", "ERR"),
            Kind::UriTooLong => (414, "uri_too_long", "ERR"),
            Kind::UnsupportedMediaType => (415, "unsupported_media_type", "ERR"),
            Kind::NotAvailable => (501, "not_available", "ERR"),
            Kind::Storage => (500, "storage", "ERR"),
            Kind::Internal => (500, "internal", "ERR"),
            Kind::Poisoned => (503, "poisoned", "MISCONF"),
            Kind::Closed => (503, "closed", "LOADING"),
            Kind::TooManyConnections => (503, "too_many_connections", "ERR"),
            Kind::MemoryFull => (507, "memory_full", "OOM"),
            Kind::DiskFull => (507, "disk_full", "MISCONF"),
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        self.row().0
    }

    /// The stable code.
    pub const fn code(self) -> &'static str {
        self.row().1
    }

    /// The prefix of the error reply in the Redis protocol.
    pub const fn resp_prefix(self) -> &'static str {
        self.row().2
    }

    /// The HTTP status over KV Connect, whose clients repeat a request that got a 5xx for ever: 503 if waiting may help,
    /// a 4xx if not.
    pub const fn kv_connect_status(self) -> u16 {
        match self {
            Kind::Poisoned | Kind::Closed | Kind::TooManyConnections => 503,
            Kind::MemoryFull | Kind::DiskFull | Kind::SnapshotTooOld => 503,
            kind if kind.status() < 500 => kind.status(),
            _ => 422,
        }
    }

    /// The kind with this code.
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// One error, ready to be sent.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    /// What went wrong.
    pub kind: Kind,
    /// The same for people, with what they can do.
    pub detail: String,
    /// Further members of the JSON body, such as `limit` and `actual`.
    pub extra: Map<String, Json>,
    /// One more member, already in JSON: values are shown as they are stored.
    text: Option<(&'static str, String)>,
}

impl Problem {
    /// A problem without further members.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Problem {
        Problem { kind, detail: detail.into(), extra: Map::new(), text: None }
    }

    /// Adds a member to the JSON body.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Json>) -> Problem {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a member that is JSON text already.
    #[must_use]
    pub(crate) fn with_text(mut self, name: &'static str, json: impl Into<String>) -> Problem {
        self.text = Some((name, json.into()));
        self
    }

    /// Says where in the request it is: `mutations[3]: ..`.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Problem {
        self.detail = format!("{place}: {}", self.detail);
        self
    }

    /// The `application/problem+json` body.
    ///
    /// ```
    /// use orchard_wire::{Kind, Problem};
    /// let body = Problem::new(Kind::KeyNotFound, "no entry").to_json();
    /// assert_eq!(body, r#"{"code":"key_not_found","status":404,"detail":"no entry"}"#);
    /// ```
    pub fn to_json(&self) -> String {
        let mut body = Vec::new();
        body.extend_from_slice(b"{\"code\":");
        json_text::write_string(&mut body, self.kind.code());
        body.extend_from_slice(format!(",\"status\":{},\"detail\":", self.kind.status()).as_bytes());
        json_text::write_string(&mut body, &self.detail);
        for (name, value) in &self.extra {
            body.push(b',');
            json_text::write_string(&mut body, name);
            body.push(b':');
            body.extend_from_slice(value.to_string().as_bytes());
        }
        if let Some((name, json)) = &self.text {
            body.push(b',');
            json_text::write_string(&mut body, name);
            body.push(b':');
            body.extend_from_slice(json.as_bytes());
        }
        body.push(b'}');
        String::from_utf8_lossy(&body).into_owned()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

impl From<LimitError> for Problem {
    fn from(error: LimitError) -> Problem {
        Problem::new(Kind::LimitExceeded, error.to_string())
            .with("limit_name", error.name)
            .with("limit", error.limit)
            .with("actual", error.actual)
    }
}

impl From<KeyError> for Problem {
    fn from(error: KeyError) -> Problem {
        match error {
            KeyError::Limit(error) => error.into(),
            KeyError::Form(_) => Problem::new(Kind::BadKey, error.to_string()),
        }
    }
}

impl From<DatabaseError> for Problem {
    fn from(error: DatabaseError) -> Problem {
        match error {
            DatabaseError::Limit(error) => error.into(),
            _ => Problem::new(Kind::BadQuery, error.to_string()),
        }
    }
}

impl From<QueueError> for Problem {
    fn from(error: QueueError) -> Problem {
        match error {
            QueueError::Limit(error) => error.into(),
            _ => Problem::new(Kind::BadValue, error.to_string()),
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Problem {
        let detail = error.to_string();
        match error {
            ReadError::SnapshotTooOld => Problem::new(Kind::SnapshotTooOld, detail),
            ReadError::Limit(error) => error.into(),
            ReadError::Poisoned(_) => Problem::new(Kind::Poisoned, detail),
            _ => Problem::new(Kind::Storage, detail),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Problem {
        use orcharddb::MutationError;
        let detail = error.to_string();
        match error {
            CommitError::CheckFailed(_) => Problem::new(Kind::CheckFailed, detail),
            CommitError::Mutation { index, error } => match error {
                MutationError::KeyTooLong(error) => {
                    Problem::from(error).at(format_args!("mutations[{index}]"))
                }
                MutationError::Overflow => Problem::new(Kind::Overflow, detail),
                MutationError::OutOfBounds => Problem::new(Kind::OutOfBounds, detail),
                _ => Problem::new(Kind::WrongType, detail),
            }
            .with("mutation", index),
            CommitError::Limit(error) => error.into(),
            CommitError::TooOld { floor } => {
                Problem::new(Kind::SnapshotTooOld, detail).with("floor", floor.to_string())
            }
            CommitError::Token(error) => Problem::new(Kind::BadToken, detail).with(
                "reason",
                match error {
                    TokenError::OtherContent => "other_content",
                    TokenError::DeadlinePassed => "deadline_passed",
                    TokenError::DeadlineTooFar => "deadline_too_far",
                },
            ),
            CommitError::MemoryFull { limit_bytes, used_bytes } => {
                Problem::new(Kind::MemoryFull, detail).with("limit", limit_bytes).with("actual", used_bytes)
            }
            CommitError::DiskFull => Problem::new(Kind::DiskFull, detail),
            CommitError::Poisoned(_) => Problem::new(Kind::Poisoned, detail),
            CommitError::Closed => Problem::new(Kind::Closed, detail),
            CommitError::Aborted(_) => Problem::new(Kind::Aborted, detail),
            _ => Problem::new(Kind::Storage, detail),
        }
    }
}

impl From<orcharddb::Error> for Problem {
    fn from(error: orcharddb::Error) -> Problem {
        let detail = error.to_string();
        match error {
            orcharddb::Error::Key(error) => error.into(),
            orcharddb::Error::Read(error) => error.into(),
            orcharddb::Error::Commit(error) => error.into(),
            orcharddb::Error::Database(error) => error.into(),
            orcharddb::Error::Queue(error) => error.into(),
            orcharddb::Error::Collection(orcharddb::CollectionError::WrongType { .. }) => {
                Problem::new(Kind::WrongType, detail)
            }
            orcharddb::Error::Collection(orcharddb::CollectionError::Damaged(_)) => {
                Problem::new(Kind::Storage, detail)
            }
            orcharddb::Error::Collection(_) => Problem::new(Kind::BadValue, detail),
            _ => Problem::new(Kind::Storage, detail),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_found_again() {
        for (position, kind) in Kind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, position, "{kind:?} is out of place in ALL");
            assert_eq!(Kind::from_code(kind.code()), Some(kind));
            assert!((400..600).contains(&kind.status()));
            let over_kv_connect = kind.kv_connect_status();
            assert!(over_kv_connect == 503 || (400..500).contains(&over_kv_connect), "{kind:?}");
        }
        assert_eq!(Kind::from_code("nonsense"), None);
    }

    #[test]
    fn a_limit_says_limit_and_actual() {
        let error = LimitError { name: "key_size_bytes", limit: 2_048, actual: 3_000 };
        let json: Json = serde_json::from_str(&Problem::from(error).to_json()).expect("JSON");
        assert_eq!(json["code"], "limit_exceeded");
        assert_eq!((json["limit"].as_u64(), json["actual"].as_u64()), (Some(2_048), Some(3_000)));
        assert_eq!(json["limit_name"], "key_size_bytes");
    }
}
