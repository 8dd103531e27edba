//! Deno's KV Connect: the metadata exchange, and the endpoints that it announces.
//!
//! - `POST /` is the default database, `POST /kv-connect/{database}` any. The endpoint is `/kv-connect/{database}`, with
//!   `/snapshot_read`, `/atomic_write` and `/watch` below it.
//! - Clients repeat a request that got a 5xx for ever, so whatever cannot succeed by waiting is a 4xx, as plain text.
//! - The token of the metadata is the one that the client showed: it keeps its value through a restart, ends when the
//!   access token is replaced, and there is nothing to remember. A second secret would travel the same way to the same
//!   client, and protect nothing more.
//! - The database's id guards against a client that goes on with the metadata of another directory on the same port.

mod collections;
mod data;
mod metadata;
mod watch;

use crate::http::body::Incoming;
use crate::http::{Body, Session, reply};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use orchard_wire::kvconnect::{Refused, database_uuid};
use orchard_wire::{Kind, Problem, media, percent};
use std::sync::Arc;

/// The messages' Content-Type; clients compare it exactly.
const PROTOBUF: &str = "application/x-protobuf";
/// The default database.
const DEFAULT_DATABASE: &str = "0";
/// Where all but the default exchange is.
pub(crate) const PREFIX: &str = "/kv-connect/";
/// The id of the database, as versions 2 and 3 send it, and as version 1 does.
const DATABASE_ID: [HeaderName; 2] =
    [HeaderName::from_static("x-denokv-database-id"), HeaderName::from_static("x-transaction-domain-id")];
const VERSION: HeaderName = HeaderName::from_static("x-denokv-version");

/// Whether errors of a request go to a client of this protocol.
pub(crate) fn is_spoken(parts: &Parts) -> bool {
    let path = parts.uri.path();
    path.starts_with(PREFIX) || (path == "/" && parts.method == hyper::Method::POST)
}

/// Whether a reply is a message of this protocol.
pub(crate) fn is_message(response: &Response<Body>) -> bool {
    response.headers().get(CONTENT_TYPE).is_some_and(|content_type| content_type == PROTOBUF)
}

/// What is asked of a database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Metadata,
    SnapshotRead,
    AtomicWrite,
    Watch,
}

/// The database that a path names and what is asked of it.
fn target(path: &str) -> Result<(String, Action), Problem> {
    let Some(rest) = path.strip_prefix(PREFIX) else {
        return Ok((DEFAULT_DATABASE.to_owned(), Action::Metadata));
    };
    let (name, action) = match rest.split_once('/') {
        None | Some((_, "")) => (rest.trim_end_matches('/'), Action::Metadata),
        Some((name, "snapshot_read")) => (name, Action::SnapshotRead),
        Some((name, "atomic_write")) => (name, Action::AtomicWrite),
        Some((name, "watch")) => (name, Action::Watch),
        Some(_) => return Err(Problem::new(Kind::NoSuchRoute, "Resource not found.")),
    };
    let not_a_name = || Problem::new(Kind::BadRequest, "The path holds no name of a database.");
    let name = percent::decode(name.as_bytes()).map_err(|_| not_a_name())?;
    let name = String::from_utf8(name).map_err(|_| not_a_name())?;
    orcharddb::check_database_name(&name)
        .map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))?;
    Ok((name, action))
}

/// Answers a request.
pub(crate) async fn handle(
    session: &Arc<Session>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let (database, action) = target(parts.uri.path())?;
    let id = database_uuid(&session.server().db.engine().database_id().0, &database);
    if action != Action::Metadata {
        check_headers(parts, &id)?;
    }
    match action {
        Action::Metadata => metadata::handle(session, parts, &database, &id, body).await,
        Action::SnapshotRead => data::snapshot_read(session, &database, body).await,
        Action::AtomicWrite => data::atomic_write(session, &database, body).await,
        Action::Watch => watch::handle(session, &database, body).await,
    }
}

/// A request must name the version that it speaks and the database that it means.
fn check_headers(parts: &Parts, id: &str) -> Result<(), Problem> {
    let version = reply::header(parts, VERSION)?;
    if !matches!(version, None | Some("1" | "2" | "3")) {
        return Err(Problem::new(Kind::BadRequest, "Expected protocol version 1, 2 or 3."));
    }
    let [current, first] = DATABASE_ID;
    let name = if matches!(version, None | Some("1")) { first } else { current };
    if reply::header(parts, name)? != Some(id) {
        let detail = "Invalid database id. Another database was served here when the metadata was fetched; open it again.";
        return Err(Problem::new(Kind::BadRequest, detail));
    }
    Ok(())
}

fn refused(refused: &Refused) -> Problem {
    let kind = match refused {
        Refused::Limit { .. } => Kind::LimitExceeded,
        _ => Kind::BadRequest,
    };
    Problem::new(kind, refused.to_string())
}

/// The reply that says what went wrong, to people.
pub(crate) fn problem(problem: &Problem) -> Response<Body> {
    reply::log(problem);
    let status = StatusCode::from_u16(problem.kind.kv_connect_status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = reply::new(status, media::TEXT, problem.detail.clone());
    if problem.kind == Kind::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_a_database_and_an_action() {
        let ok = |path: &str| target(path).ok();
        let some = |name: &str, action| Some((name.to_owned(), action));
        assert_eq!(ok("/"), some("0", Action::Metadata));
        assert_eq!(ok("/kv-connect/fruit"), some("fruit", Action::Metadata));
        assert_eq!(ok("/kv-connect/fruit/"), some("fruit", Action::Metadata));
        assert_eq!(ok("/kv-connect/a%2Fb%20c/atomic_write"), some("a/b c", Action::AtomicWrite));
        assert_eq!(ok("/kv-connect/0/snapshot_read"), some("0", Action::SnapshotRead));
        for rest in ["", "/", "/atomic_write", "a/b", "a/atomic_write/", "%", "%ff", "%00"] {
            assert_eq!(ok(&format!("/kv-connect/{rest}")), None, "{rest}");
        }
    }
}
