//! `POST /v1/commit`: checks and mutations that take effect together or not at all.

use crate::http::body::{Incoming, work};
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, commit_json, etag, media};
use orcharddb::CommitError;

/// Longest body: a commit of the largest size in base64, and room for its JSON.
pub(super) const BODY_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    if let Some(content_type) = reply::header(parts, CONTENT_TYPE)?
        && !media::is_json(content_type)
    {
        let detail = "a commit is Content-Type: application/json (curl --json)";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let request = work(bytes.len(), move || commit_json::parse(&bytes)).await?;
    let commit = request.commit.in_database(session.space_for_write(db.as_deref())?);
    match session.commit(&commit, request.durability).await {
        Ok(committed) => {
            let mut response = reply::json(commit_json::render_reply(&committed));
            reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
            Ok(response)
        }
        Err(CommitError::CheckFailed(failures)) => Err(commit_json::check_failed(&commit, &failures)),
        Err(error) => Err(error.into()),
    }
}
