//! HTTP/1.1 and HTTP/2: which route a request takes, and what every reply has in common.

mod at;
mod batch;
pub(crate) mod body;
mod bulk;
mod collections;
mod commit;
mod databases;
mod documents;
mod elements;
mod entries;
mod feeds;
mod guard;
mod history;
mod list;
mod openapi;
mod operate;
mod plain;
mod queues;
mod range_delete;
mod read;
pub(crate) mod reply;
mod routes;
mod session;
mod status;
mod stream;
#[cfg(test)]
mod tests;

pub(crate) use session::Session;
pub(crate) use stream::{Body, Produced};

use crate::kvconnect;
use body::Incoming;
use hyper::body::Body as _;
use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Version};
use orchard_wire::{Kind, Problem, key_path};
use orcharddb::Key;
use routes::{Found, Name};
use std::convert::Infallible;
use std::sync::Arc;

/// Bodies of brief requests are at most so large.
const BRIEF_BODY_BYTES_MAX: u64 = 16 * 1024;

/// Whether a request is answered in about the time that a task of its own would cost: those of one HTTP/2 connection are
/// then worked on one after the other.
pub(crate) fn is_brief(request: &Request<hyper::body::Incoming>) -> bool {
    let path = request.uri().path();
    let is_point = path.starts_with(kvconnect::PREFIX)
        || path.starts_with("/v1/kv/")
            && matches!(*request.method(), Method::GET | Method::HEAD | Method::PUT | Method::DELETE);
    let body = request.body();
    is_point
        && (body.is_end_stream()
            || body.size_hint().upper().is_some_and(|bytes| bytes <= BRIEF_BODY_BYTES_MAX))
}

/// Answers one request.
pub(crate) async fn handle(
    session: &Arc<Session>,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let candidate = guard::Candidate { uri: &parts.uri, version: parts.version, headers: &parts.headers };
    let token = session.server().options.access_token.current();
    let response = match guard::check(&candidate, token.as_deref()) {
        Ok(()) => route(session, &parts, Incoming::new(body, &parts)).await,
        Err(problem) => Err(problem),
    };
    let mut response = response.unwrap_or_else(|problem| {
        if kvconnect::is_spoken(&parts) { kvconnect::problem(&problem) } else { reply::problem(&problem) }
    });
    // The path only: a query string may hold values.
    tracing::debug!(method = %parts.method, path = ?parts.uri.path(), status = response.status().as_u16(), "answered");
    if parts.version == Version::HTTP_2 && kvconnect::is_message(&response) {
        // No browser gets such a reply, and its reader pays for each header.
        response = response.map(Body::without_length);
    } else {
        response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    if parts.method == Method::HEAD {
        let length = response.body().size_hint().exact();
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    session.server().metrics.replied(response.status());
    Ok(response)
}

async fn route(session: &Arc<Session>, parts: &Parts, body: Incoming) -> Result<Response<Body>, Problem> {
    let (route, rest) = match routes::find(&parts.method, parts.uri.path()) {
        Found::Route(route, rest) => (route, rest),
        Found::OtherMethods(methods) => {
            let allow = methods.join(", ");
            let problem = Problem::new(Kind::MethodNotAllowed, format!("this route knows {allow}"));
            let mut response = reply::problem(&problem);
            reply::set(&mut response, ALLOW, &allow);
            return Ok(response);
        }
        Found::Later(later) => {
            return Err(Problem::new(
                Kind::NotAvailable,
                format!("{later} is not available in this version"),
            ));
        }
        Found::Nothing => {
            let detail = "there is no such route; the keys are below /v1/kv/";
            return Err(Problem::new(Kind::NoSuchRoute, detail));
        }
    };
    match route.name {
        Name::PlainPut => Ok(plain::put(session, parts).await),
        Name::PlainGet => Ok(plain::get(session, parts, rest).await),
        Name::PlainDelete => Ok(plain::delete(session, parts, rest).await),
        Name::Entry => {
            entries::handle(session, parts, Some(key_path::parse_key(rest.as_bytes())?), body).await
        }
        Name::Ranges => {
            let names_a_key = reply::parameters(parts)?.has("key");
            match parts.method {
                _ if names_a_key => entries::handle(session, parts, None, body).await,
                Method::GET | Method::HEAD => list::handle(session, parts).await,
                Method::DELETE => range_delete::handle(session, parts).await,
                Method::PUT => bulk::handle(session, parts, body).await,
                _ => Err(Problem::new(Kind::BadKey, "this needs a key: /v1/kv/{part}/.. or ?key=[..]")),
            }
        }
        Name::Commit => commit::handle(session, parts, body).await,
        Name::Batch => batch::handle(session, parts, body).await,
        Name::Read => read::handle(session, parts, body).await,
        Name::KvConnect => kvconnect::handle(session, parts, body).await,
        Name::Changes => feeds::changes(session, parts).await,
        Name::Watch => feeds::watch(session, parts).await,
        Name::History => history::handle(session, parts, path_key(rest)?).await,
        Name::Elements(shape) => elements::get(session, parts, path_key(rest)?, shape).await,
        Name::Change(verb) => elements::change(session, parts, path_key(rest)?, verb, body).await,
        Name::Databases => databases::list(session, parts).await,
        Name::SwapDatabases => databases::swap(session, parts, body).await,
        Name::Database if parts.method == Method::DELETE => databases::drop(session, parts, rest).await,
        Name::Database => databases::create(session, parts, rest).await,
        Name::Queues => queues::list(session, parts).await,
        Name::Queue if parts.method == Method::DELETE => queues::clear(session, parts, rest).await,
        Name::Queue => queues::enqueue(session, parts, rest, body).await,
        Name::Lease => queues::lease(session, parts, rest, body).await,
        Name::Ack => queues::ack(session, parts, rest, body).await,
        Name::Nack => queues::nack(session, parts, rest, body).await,
        Name::QueueStats => queues::stats(session, parts, rest).await,
        Name::Peek => queues::peek(session, parts, rest).await,
        Name::Dead if parts.method == Method::POST => queues::bury(session, parts, rest, body).await,
        Name::Dead => queues::dead(session, parts, rest).await,
        Name::Livez => status::livez(parts),
        Name::Readyz => status::readyz(session, parts),
        Name::Version => status::version(session, parts),
        Name::Limits => status::limits(parts),
        Name::Openapi => openapi::handle(parts),
        Name::Metrics => status::metrics(session, parts),
    }
}

/// The key that a path names; `None` if it names none, so that the parameter `key` may.
fn path_key(path: &str) -> Result<Option<Key>, Problem> {
    if path.is_empty() { Ok(None) } else { key_path::parse_key(path.as_bytes()).map(Some) }
}
