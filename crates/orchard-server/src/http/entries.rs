//! One entry: `GET|HEAD|PUT|DELETE|PATCH|POST /v1/kv/{part}/{part}..`, or `/v1/kv?key=[..]`.

use crate::http::body::{Incoming, work};
use crate::http::documents::Target;
use crate::http::{Body, Session, at, collections, documents, operate, reply};
use hyper::header::{
    CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, LOCATION, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use orchard_wire::etag::{self, Tags};
use orchard_wire::query::Parameters;
use orchard_wire::{Kind, Problem, commit_json, duration, entry_json, key_path, media, rfc3339, value_json};
use orcharddb::{
    Check, Commit, CommitError, Committed, Durability, DurationMs, Expiry, Key, Mutation, Operation, SpaceId,
    Value, ValueType, Versionstamp, limits,
};

/// How often a write whose condition needs a look at the entry is tried again because somebody else came between.
pub(super) const TRIES: usize = 100;
/// The type of the stored value.
const ORCHARD_TYPE: HeaderName = HeaderName::from_static("orchard-type");
/// When the entry expires.
const ORCHARD_EXPIRES_AT: HeaderName = HeaderName::from_static("orchard-expires-at");
/// How long from now that is, in the form of `ttl`.
const ORCHARD_EXPIRES_IN: HeaderName = HeaderName::from_static("orchard-expires-in");

/// `key` is the one of the path; without it the parameter `key` names one.
pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let key = reply::key(key, &mut parameters)?;
    match parts.method {
        Method::PUT => put(session, parts, parameters, &key, body).await,
        Method::DELETE => delete(session, parts, parameters, &key).await,
        Method::PATCH => patch(session, parts, parameters, &key, body).await,
        Method::POST => operate::handle(session, parts, parameters, &key, body).await,
        _ => get(session, parts, parameters, &key).await,
    }
}

pub(super) fn not_found() -> Problem {
    Problem::new(Kind::KeyNotFound, "there is no entry under this key")
}

/// What `If-Match` and `If-None-Match` ask for.
#[derive(Default)]
pub(super) struct Conditions {
    if_match: Option<Tags>,
    if_none_match: Option<Tags>,
}

impl Conditions {
    pub(super) fn read(parts: &Parts) -> Result<Conditions, Problem> {
        let tags = |name| Tags::parse(parts.headers.get_all(name).iter().map(HeaderValue::as_bytes));
        Ok(Conditions { if_match: tags(IF_MATCH)?, if_none_match: tags(IF_NONE_MATCH)? })
    }

    fn is_none(&self) -> bool {
        self.if_match.is_none() && self.if_none_match.is_none()
    }

    /// The version that the entry must have (`Some(None)`: be absent), if the conditions name just one.
    fn only_version(&self) -> Option<Option<Versionstamp>> {
        match (&self.if_match, &self.if_none_match) {
            (Some(tags), None) => tags.single().map(Some),
            (None, Some(tags)) if tags.is_any() => Some(None),
            _ => None,
        }
    }

    /// # Errors
    /// [`Kind::PreconditionFailed`] with the version found.
    pub(super) fn check(&self, version: Option<Versionstamp>) -> Result<(), Problem> {
        let matches = self.if_match.as_ref().is_none_or(|tags| tags.name(version, false));
        let differs = self.if_none_match.as_ref().is_none_or(|tags| !tags.name(version, true));
        if matches && differs { Ok(()) } else { Err(precondition_failed(version)) }
    }
}

fn precondition_failed(found: Option<Versionstamp>) -> Problem {
    Problem::new(Kind::PreconditionFailed, "the entry is not the one that If-Match or If-None-Match asks for")
        .with("found", found.map(|found| found.to_string()))
}

async fn get(
    session: &Session,
    parts: &Parts,
    mut parameters: Parameters,
    key: &Key,
) -> Result<Response<Body>, Problem> {
    let db = reply::take_db(&mut parameters)?;
    let at = at::take(&mut parameters, "at")?;
    let pointer = documents::take_pointer(&mut parameters)?;
    reply::take_consistency(&mut parameters)?;
    parameters.finish()?;
    let conditions = Conditions::read(parts)?;
    session.settle().await?;
    let space = session.space_for_read(db.as_deref())?;
    let database = &session.server().db;
    let mut entry = match at {
        None => database.get_in(space, key)?,
        Some(_) => at::snapshot(session, at)?.get_in(space, key)?,
    };
    if entry.as_ref().is_some_and(|entry| collections::is_collection(&entry.value)) {
        // Header and elements are read from one snapshot.
        let (snapshot, key) = (at::snapshot(session, at)?, key.clone());
        let shown = tokio::task::spawn_blocking(move || match snapshot.get_in(space, &key)? {
            Some(entry) => collections::shown(&snapshot, space, entry).map(Some),
            None => Ok(None),
        });
        entry = shown.await.map_err(|_| Problem::new(Kind::Internal, "reading the collection failed"))??;
    }
    let version = entry.as_ref().map(|entry| entry.versionstamp);
    if conditions.if_match.as_ref().is_some_and(|tags| !tags.name(version, false)) {
        return Err(precondition_failed(version));
    }
    let entry = entry.ok_or_else(not_found)?;
    let mut response = if conditions.if_none_match.is_some_and(|tags| tags.name(version, true)) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else if let Some(pointer) = pointer {
        let looked_at = entry.clone();
        let part = work(entry.value.data.len(), move || documents::part(&looked_at, &pointer)).await?;
        reply::json(part)
    } else if reply::accepts(parts, media::JSON) {
        let mut body = Vec::new();
        entry_json::write_as(&mut body, &entry, false, reply::form(parts));
        reply::json(body)
    } else {
        raw(&entry.value, reply::accepts(parts, "text/plain"))
    };
    reply::set(&mut response, ETAG, &etag::render(entry.versionstamp));
    reply::set(&mut response, ORCHARD_TYPE, entry.value.value_type.name());
    if let Some(expires_at) = entry.expires_at {
        reply::set(&mut response, ORCHARD_EXPIRES_AT, &rfc3339::render(expires_at));
        let left = expires_at.0.saturating_sub(database.snapshot().time().0);
        if at.is_none() && left > 0 {
            reply::set(&mut response, ORCHARD_EXPIRES_IN, &duration::render(DurationMs(left)));
        }
    }
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if !headers.contains_key(CONTENT_TYPE) {
        headers.remove(VARY);
    }
    Ok(response)
}

/// The reply that is a value, raw.
pub(super) fn raw(value: &Value, prefers_text: bool) -> Response<Body> {
    let mut response = reply::new(StatusCode::OK, content_type(value, prefers_text), value_json::raw(value));
    reply::set(&mut response, ORCHARD_TYPE, value.value_type.name());
    response
}

/// The Content-Type of a raw value. Never one that a browser would run.
fn content_type(value: &Value, prefers_text: bool) -> &'static str {
    match value.value_type {
        ValueType::Text => media::TEXT,
        ValueType::Json | ValueType::V8 => media::JSON,
        ValueType::Int | ValueType::Float | ValueType::Bool | ValueType::Null | ValueType::U64 => {
            if prefers_text || !value_json::raw_is_json(value) {
                media::TEXT
            } else {
                media::JSON
            }
        }
        _ if value_json::raw_is_json(value) => media::JSON,
        _ => media::OCTET_STREAM,
    }
}

async fn put(
    session: &Session,
    parts: &Parts,
    mut parameters: Parameters,
    key: &Key,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let expiry = take_expiry(&mut parameters)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    let pointer = documents::take_pointer(&mut parameters)?;
    parameters.finish()?;
    let conditions = Conditions::read(parts)?;
    if let Some(pointer) = pointer {
        let space = session.space_for_write(db.as_deref())?;
        let expiry = expiry.unwrap_or(Expiry::Keep);
        let target = Target { session, space, key, conditions, durability, expiry };
        return documents::put_part(target, parts, pointer, body).await;
    }
    let content_type = reply::header(parts, CONTENT_TYPE)?;
    // Base64 and escapes make JSON longer than the value it describes.
    let (name, limit) = match content_type {
        Some(content_type) if media::is_json(content_type) => {
            ("body_size_bytes", 2 * limits::VALUE_SIZE_BYTES_MAX)
        }
        _ => ("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX),
    };
    let body = body.read(session, name, limit).await?;
    let (bytes, content_type) = (body.bytes.clone(), content_type.map(str::to_owned));
    let value = work(bytes.len(), move || media::value(content_type.as_deref(), bytes)).await?;
    let operation = Operation::Set { value, expiry: expiry.unwrap_or_default() };
    let created = conditions.only_version() == Some(None);
    let space = session.space_for_write(db.as_deref())?;
    let committed = commit_if(session, space, key, &conditions, operation, durability).await?;
    let mut response = reply::json(commit_json::render_reply(&committed));
    reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
    if created {
        *response.status_mut() = StatusCode::CREATED;
        reply::set(&mut response, LOCATION, &format!("/v1/kv{}", key_path::render(key)));
    }
    Ok(response)
}

async fn patch(
    session: &Session,
    parts: &Parts,
    mut parameters: Parameters,
    key: &Key,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let expiry = take_expiry(&mut parameters)?.unwrap_or(Expiry::Keep);
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    let conditions = Conditions::read(parts)?;
    let space = session.space_for_write(db.as_deref())?;
    documents::patch(Target { session, space, key, conditions, durability, expiry }, parts, body).await
}

/// Takes `ttl` and `expires_at`.
pub(super) fn take_expiry(parameters: &mut Parameters) -> Result<Option<Expiry>, Problem> {
    let ttl = parameters.take_text("ttl")?;
    let expires_at = parameters.take_text("expires_at")?;
    if ttl.is_none() && expires_at.is_none() {
        return Ok(None);
    }
    commit_json::parse_expiry(ttl.as_deref(), expires_at.as_deref())
        .map(Some)
        .map_err(|problem| Problem::new(Kind::BadQuery, problem.detail))
}

async fn delete(
    session: &Session,
    parts: &Parts,
    mut parameters: Parameters,
    key: &Key,
) -> Result<Response<Body>, Problem> {
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    let pointer = documents::take_pointer(&mut parameters)?;
    parameters.finish()?;
    let conditions = Conditions::read(parts)?;
    let space = session.space_for_read(db.as_deref())?;
    if let Some(pointer) = pointer {
        let target = Target { session, space, key, conditions, durability, expiry: Expiry::Keep };
        return documents::delete_part(target, pointer).await;
    }
    let committed = delete_existing(session, space, key, &conditions, durability).await?;
    Ok(reply::json(commit_json::render_reply(&committed)))
}

pub(super) fn commit_of(
    space: SpaceId,
    key: &Key,
    operation: Operation,
    expected: Option<Option<Versionstamp>>,
) -> Commit {
    let mutation = Mutation { space, key: key.clone(), operation };
    let mut commit = Commit { mutations: vec![mutation], ..Commit::new() };
    if let Some(expected) = expected {
        commit.checks.push(Check::Key { space, key: key.clone().into_bytes(), expected });
    }
    commit
}

/// Writes if the conditions hold at that very commit.
async fn commit_if(
    session: &Session,
    space: SpaceId,
    key: &Key,
    conditions: &Conditions,
    operation: Operation,
    durability: Option<Durability>,
) -> Result<Committed, Problem> {
    if conditions.is_none() {
        return Ok(session.commit(&commit_of(space, key, operation, None), durability).await?);
    }
    if let Some(expected) = conditions.only_version() {
        return match session.commit(&commit_of(space, key, operation, Some(expected)), durability).await {
            Err(CommitError::CheckFailed(failures)) => {
                Err(precondition_failed(failures.first().and_then(|failure| failure.found)))
            }
            other => Ok(other?),
        };
    }
    write_seen(session, space, key, operation, durability, |version| conditions.check(version)).await
}

/// Deletes the entry; refuses if there is none, so that a reply of 200 means that this request deleted it.
pub(super) async fn delete_existing(
    session: &Session,
    space: SpaceId,
    key: &Key,
    conditions: &Conditions,
    durability: Option<Durability>,
) -> Result<Committed, Problem> {
    write_seen(session, space, key, Operation::Delete, durability, |version| {
        conditions.check(version)?;
        if version.is_some() { Ok(()) } else { Err(not_found()) }
    })
    .await
}

/// Looks at the entry's version, decides, and writes if it still has that version; again if it does not.
async fn write_seen(
    session: &Session,
    space: SpaceId,
    key: &Key,
    operation: Operation,
    durability: Option<Durability>,
    decide: impl Fn(Option<Versionstamp>) -> Result<(), Problem>,
) -> Result<Committed, Problem> {
    session.settle().await?;
    for _ in 0..TRIES {
        let version = session.server().db.get_in(space, key)?.map(|entry| entry.versionstamp);
        decide(version)?;
        match session.commit(&commit_of(space, key, operation.clone(), Some(version)), durability).await {
            Err(CommitError::CheckFailed(_)) => {}
            other => return Ok(other?),
        }
    }
    Err(Problem::new(Kind::Aborted, "others kept changing the entry; try again"))
}
