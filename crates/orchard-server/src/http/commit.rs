//! `POST /v1/commit`: checks and mutations that take effect together or not at all.

use crate::http::body::{Incoming, work};
use crate::http::{Body, Session, collections, reply};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, commit_json, etag, media};
use orcharddb::{Check, CheckFailure, Commit, CommitError, Entry};

/// Longest body: a commit of the largest size in base64, and room for its JSON.
pub(super) const BODY_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// # Errors
/// [`Kind::UnsupportedMediaType`] if a body has another Content-Type than JSON.
pub(super) fn must_be_json(parts: &Parts, what: &str) -> Result<(), Problem> {
    match reply::header(parts, CONTENT_TYPE)? {
        Some(content_type) if !media::is_json(content_type) => {
            let detail = format!("{what} is Content-Type: application/json (curl --json)");
            Err(Problem::new(Kind::UnsupportedMediaType, detail))
        }
        _ => Ok(()),
    }
}

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    must_be_json(parts, "a commit")?;
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let request = work(bytes.len(), move || commit_json::parse(&bytes)).await?;
    let (durability, return_values) = (request.durability, request.return_values);
    let commit = request.in_database(session.space_for_write(db.as_deref())?)?;
    match session.commit(&commit, durability).await {
        Ok(committed) => {
            let mut response = reply::json(commit_json::render_reply(&committed));
            reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
            Ok(response)
        }
        Err(CommitError::CheckFailed(failures)) => {
            let found = if return_values { values(session, &commit, &failures)? } else { Vec::new() };
            Err(commit_json::check_failed(&commit, &failures, &found))
        }
        Err(error) => Err(error.into()),
    }
}

/// Values of a refusal have this many bytes together; the ones behind are left out.
const RETURNED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The entries as they are now of the keys whose checks did not hold.
fn values(
    session: &Session,
    commit: &Commit,
    failures: &[CheckFailure],
) -> Result<Vec<(usize, Entry)>, Problem> {
    let mut found = Vec::new();
    let mut bytes = 0;
    for failure in failures {
        let Some(Check::Key { space, key, .. }) = commit.checks.get(failure.index) else { continue };
        let Some(entry) = collections::read_shown(&session.server().db, *space, key)? else { continue };
        bytes += entry.value.data.len();
        if bytes > RETURNED_BYTES_MAX {
            break;
        }
        found.push((failure.index, entry));
    }
    Ok(found)
}
