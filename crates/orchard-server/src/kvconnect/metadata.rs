//! The metadata exchange.

use crate::http::body::Incoming;
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{AUTHORIZATION, HOST, HeaderName};
use hyper::http::request::Parts;
use orchard_wire::kvconnect::{Metadata, negotiate};
use orchard_wire::{Problem, percent};
use orcharddb::DurationMs;

/// Longest body.
const BODY_SIZE_BYTES_MAX: usize = 16 * 1024;
/// How long metadata may be used.
const LIFETIME: DurationMs = DurationMs(60 * 60 * 1_000);
/// The token of clients that showed none; they must get one, and it is not looked at.
const NO_TOKEN: &str = "none";
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    database: &str,
    id: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let version = negotiate(&body.bytes).map_err(|refused| super::refused(&refused))?;
    let endpoint = match version {
        1 => absolute_endpoint(parts, database)?,
        _ => relative_endpoint(parts.uri.path(), database),
    };
    let metadata = Metadata {
        version,
        database_id: id,
        endpoint: &endpoint,
        token: shown_token(parts),
        expires_at: session.server().db.snapshot().time().saturating_add(LIFETIME),
    };
    Ok(reply::json(metadata.to_json()))
}

/// The bearer token of a request that has passed the guard.
fn shown_token(parts: &Parts) -> &str {
    let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
    });
    token.filter(|token| !token.is_empty()).unwrap_or(NO_TOKEN)
}

/// Relative to where the client asked, and thereby right behind any proxy.
fn relative_endpoint(path: &str, database: &str) -> String {
    let name = percent::encode(database.as_bytes());
    match path {
        "/" => format!("./kv-connect/{name}"),
        path if path.ends_with('/') => format!("../{name}"),
        _ => format!("./{name}"),
    }
}

/// Version 1 knows no relative ones: on the host and by the scheme that the client used.
fn absolute_endpoint(parts: &Parts, database: &str) -> Result<String, Problem> {
    let scheme = match reply::header(parts, FORWARDED_PROTO)? {
        Some("https") => "https",
        Some("http") => "http",
        _ => parts.uri.scheme_str().unwrap_or("http"),
    };
    let host = match parts.uri.authority() {
        Some(authority) => authority.as_str(),
        // The guard has seen to it that there is one.
        None => reply::header(parts, HOST)?.unwrap_or("localhost"),
    };
    Ok(format!("{scheme}://{host}{}{}", super::PREFIX, percent::encode(database.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_resolve_to_the_database() {
        assert_eq!(relative_endpoint("/", "0"), "./kv-connect/0");
        assert_eq!(relative_endpoint("/kv-connect/a", "a"), "./a");
        assert_eq!(relative_endpoint("/kv-connect/a/", "a"), "../a");
        assert_eq!(relative_endpoint("/kv-connect/a%2Fb", "a/b"), "./a%2Fb");
    }
}
