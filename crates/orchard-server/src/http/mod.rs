//! HTTP/1.1 and HTTP/2: which route a request takes, and what every reply has in common.

mod body;
mod commit;
mod entries;
mod guard;
mod list;
mod plain;
mod reply;
mod session;
mod status;

pub(crate) use body::Body;
pub(crate) use session::Session;

use body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use orchard_wire::{Kind, Problem, key_path};
use std::convert::Infallible;

/// Answers one request.
pub(crate) async fn handle(
    session: &Session,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    let candidate = guard::Candidate { uri: &parts.uri, version: parts.version, headers: &parts.headers };
    let token = session.server().options.access_token.current();
    let response = match guard::check(&candidate, token.as_deref()) {
        Ok(()) => route(session, &parts, Incoming::new(body, &parts)).await,
        Err(problem) => Err(problem),
    };
    let mut response = response.unwrap_or_else(|problem| reply::problem(&problem));
    // The path only: a query string may hold values.
    tracing::debug!(method = %parts.method, path = ?parts.uri.path(), status = response.status().as_u16(), "answered");
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if parts.method == Method::HEAD {
        let length = hyper::body::Body::size_hint(response.body()).exact();
        if let Some(length) = length {
            response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        *response.body_mut() = Body::empty();
    }
    session.server().metrics.replied(response.status());
    Ok(response)
}

/// What a path leads to.
enum Route<'a> {
    PlainPut,
    PlainGet(&'a str),
    PlainDelete(&'a str),
    Entry(&'a str),
    Range,
    Commit,
    Livez,
    Readyz,
    Version,
    Limits,
    Metrics,
}

impl Route<'_> {
    fn find(path: &str) -> Option<Route<'_>> {
        Some(match path {
            "/put" => Route::PlainPut,
            "/v1/kv" | "/v1/kv/" => Route::Range,
            "/v1/commit" => Route::Commit,
            "/livez" => Route::Livez,
            "/readyz" => Route::Readyz,
            "/version" => Route::Version,
            "/limits" => Route::Limits,
            "/metrics" => Route::Metrics,
            _ => {
                if let Some(key) = path.strip_prefix("/v1/kv/") {
                    Route::Entry(key)
                } else if let Some(name) = path.strip_prefix("/get/") {
                    Route::PlainGet(name)
                } else {
                    Route::PlainDelete(path.strip_prefix("/delete/")?)
                }
            }
        })
    }

    /// The methods, as the Allow header names them. The plain routes know no HEAD: a HEAD that writes would be worse
    /// than a GET that does.
    const fn methods(&self) -> &'static str {
        match self {
            Route::PlainPut | Route::PlainGet(_) | Route::PlainDelete(_) => "GET",
            Route::Entry(_) | Route::Range => "GET, HEAD, PUT, DELETE",
            Route::Commit => "POST",
            Route::Livez | Route::Readyz | Route::Version | Route::Limits | Route::Metrics => "GET, HEAD",
        }
    }
}

/// Routes that are promised and not there yet.
const LATER: [&str; 9] = [
    "/v1/batch",
    "/v1/read",
    "/v1/changes",
    "/v1/watch",
    "/v1/queues",
    "/v1/history",
    "/openapi.json",
    "/console",
    "/kv-connect",
];

async fn route(session: &Session, parts: &Parts, body: Incoming) -> Result<Response<Body>, Problem> {
    let path = parts.uri.path();
    let Some(route) = Route::find(path) else {
        let is_later = |later: &&&str| {
            path.strip_prefix(**later).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        return Err(match LATER.iter().find(is_later) {
            Some(later) => {
                Problem::new(Kind::NotAvailable, format!("{later} is not available in this version"))
            }
            None => Problem::new(Kind::NoSuchRoute, "there is no such route; the keys are below /v1/kv/"),
        });
    };
    let method = parts.method.as_str();
    if !route.methods().split(", ").any(|allowed| allowed == method) {
        let problem = Problem::new(Kind::MethodNotAllowed, format!("this route knows {}", route.methods()));
        let mut response = reply::problem(&problem);
        response.headers_mut().insert(ALLOW, HeaderValue::from_static(route.methods()));
        return Ok(response);
    }
    match route {
        Route::PlainPut => Ok(plain::put(session, parts).await),
        Route::PlainGet(name) => Ok(plain::get(session, parts, name).await),
        Route::PlainDelete(name) => Ok(plain::delete(session, parts, name).await),
        Route::Entry(path) => {
            entries::handle(session, parts, Some(key_path::parse_key(path.as_bytes())?), body).await
        }
        Route::Range => {
            let names_a_key = reply::parameters(parts)?.has("key");
            match parts.method {
                _ if names_a_key => entries::handle(session, parts, None, body).await,
                Method::GET | Method::HEAD => list::handle(session, parts).await,
                Method::DELETE => Err(Problem::new(
                    Kind::NotAvailable,
                    "DELETE of a range is not available in this version; POST /v1/commit has delete_range",
                )),
                _ => Err(Problem::new(Kind::BadKey, "PUT needs a key: /v1/kv/{part}/.. or ?key=[..]")),
            }
        }
        Route::Commit => commit::handle(session, parts, body).await,
        Route::Livez => status::livez(parts),
        Route::Readyz => status::readyz(session, parts),
        Route::Version => status::version(session, parts),
        Route::Limits => status::limits(parts),
        Route::Metrics => status::metrics(session, parts),
    }
}
