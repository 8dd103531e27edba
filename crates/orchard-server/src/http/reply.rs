//! Replies, and the pieces of requests that several routes read alike.

use crate::http::Body;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use orchard_wire::query::Parameters;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem, key_path, media};
use orcharddb::{Durability, Key};

/// A reply with a body.
pub(crate) fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A reply of 200 with JSON.
pub(crate) fn json(body: impl Into<Bytes>) -> Response<Body> {
    new(StatusCode::OK, media::JSON, body)
}

/// Sets a header whose value is ours and ASCII.
pub(super) fn set(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// The reply that says what went wrong.
pub(super) fn problem(problem: &Problem) -> Response<Body> {
    log(problem);
    let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = new(status, media::PROBLEM, problem.to_json());
    if problem.kind == Kind::Unauthorized {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// What went wrong on our side is for the log, too.
pub(crate) fn log(problem: &Problem) {
    if problem.kind.status() >= 500 && problem.kind != Kind::NotAvailable {
        tracing::error!(code = problem.kind.code(), "{}", problem.detail.escape_debug());
    }
}

/// The parameters of a request.
pub(super) fn parameters(parts: &Parts) -> Result<Parameters, Problem> {
    Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

/// The only value of a header.
pub(crate) fn header(parts: &Parts, name: HeaderName) -> Result<Option<&str>, Problem> {
    let mut values = parts.headers.get_all(&name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value
            .to_str()
            .map(Some)
            .map_err(|_| Problem::new(Kind::BadRequest, format!("the header {name} is not ASCII"))),
        (Some(_), Some(_)) => {
            Err(Problem::new(Kind::BadRequest, format!("the header {name} is given twice")))
        }
    }
}

/// Whether the request accepts a media type by name.
pub(super) fn accepts(parts: &Parts, media_type: &str) -> bool {
    let accept = parts.headers.get_all(hyper::header::ACCEPT).iter();
    accept.filter_map(|accept| accept.to_str().ok()).any(|accept| media::accepts(accept, media_type))
}

/// In which form the client wants values within JSON.
pub(super) fn form(parts: &Parts) -> Form {
    let accept = parts.headers.get_all(hyper::header::ACCEPT).iter();
    let form = |accept: &hyper::header::HeaderValue| accept.to_str().map(media::form).unwrap_or_default();
    accept.map(form).find(|form| *form == Form::Own).unwrap_or_default()
}

/// Takes `db`, the name of a database; see `Session::space_for_read` and `space_for_write`.
pub(super) fn take_db(parameters: &mut Parameters) -> Result<Option<String>, Problem> {
    let name = parameters.take_text("db")?;
    if let Some(name) = &name {
        orcharddb::check_database_name(name)?;
    }
    Ok(name)
}

/// The key of the path; without one the parameter `key` names it.
pub(super) fn key(path: Option<Key>, parameters: &mut Parameters) -> Result<Key, Problem> {
    if let Some(key) = path {
        return Ok(key);
    }
    match parameters.take("key")? {
        Some(text) => Ok(Key::new(key_path::parse_parameter(&text)?.encode()?)?),
        None => Err(Problem::new(Kind::BadKey, "the parameter key is missing")),
    }
}

/// Takes `limit`, a positive number.
pub(crate) fn take_limit(parameters: &mut Parameters) -> Result<Option<usize>, Problem> {
    parameters.take_with("limit", |text| match text.parse() {
        Ok(limit) if limit > 0 => Ok(limit),
        _ => Err("not a positive number".to_owned()),
    })
}

/// Takes `durability`.
pub(super) fn take_durability(parameters: &mut Parameters) -> Result<Option<Durability>, Problem> {
    parameters.take_with("durability", orchard_wire::commit_json::parse_durability)
}

/// Takes `consistency`: on one machine `eventual` reads are as strong as `strong` ones.
pub(super) fn take_consistency(parameters: &mut Parameters) -> Result<(), Problem> {
    parameters.take_with("consistency", |text| match text {
        "strong" | "eventual" => Ok(()),
        _ => Err("neither strong nor eventual".to_owned()),
    })?;
    Ok(())
}
