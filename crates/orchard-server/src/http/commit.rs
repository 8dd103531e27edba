//! `POST /v1/commit`: checks and mutations that take effect together or not at all.

use crate::http::body::{Incoming, work};
use crate::http::{Body, Session, collections, reply};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::http::request::Parts;
use orchard_wire::commit_json::CommitRequest;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem, commit_json, commit_steps, etag, media};
use orcharddb::{Check, CheckFailure, Commit, CommitError, Entry, SpaceId};
use std::sync::Arc;

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
    let space = session.space_for_write(db.as_deref())?;
    if !request.steps.is_empty() {
        return stepped(session, request, space, reply::form(parts)).await;
    }
    let commit = request.in_database(space)?;
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

/// A commit with changes of collections: a transaction under the commit lock.
async fn stepped(
    session: &Session,
    request: CommitRequest,
    space: SpaceId,
    form: Form,
) -> Result<Response<Body>, Problem> {
    let (durability, return_values) = (request.durability, request.return_values);
    let expected = commit_steps::expected(&request.steps);
    let commit = Arc::new(request.stepped_in(space)?);
    session.settle().await?;
    session.room().await;
    let database = session.server().db.clone();
    let run = {
        let commit = commit.clone();
        move || Ok(database.commit_stepped(&commit)?)
    };
    let elements = commit.changes.len();
    let (outcome, pending) = work(if elements > STEPS_HERE_MAX { usize::MAX } else { 0 }, run).await?;
    // What was refused rests on what others wrote.
    let pending = if outcome.is_ok() { pending.with_durability(durability) } else { pending };
    let committed = match session.acknowledged(pending).await {
        Ok(committed) => committed,
        Err(CommitError::CheckFailed(failures)) => {
            let commit = Commit { checks: commit.checks.clone(), ..Commit::new() };
            let found = if return_values { values(session, &commit, &failures)? } else { Vec::new() };
            return Err(commit_json::check_failed(&commit, &failures, &found));
        }
        Err(error) => return Err(error.into()),
    };
    let stepped =
        outcome.map_err(|(index, error)| Problem::from(error).at(format_args!("mutations[{index}]")))?;
    let mut response = reply::json(commit_steps::render_stepped(&committed, &expected, &stepped, form));
    reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
    Ok(response)
}

/// Changes that are done right away; more of them where blocking is allowed.
const STEPS_HERE_MAX: usize = 100;

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
