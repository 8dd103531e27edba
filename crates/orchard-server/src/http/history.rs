//! `GET /v1/history/{key}`: the versions of a key that are kept, the newest first.

use crate::http::{Body, Session, collections, reply};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, entry_json};
use orcharddb::{Key, LimitError, limits};

/// Versions shown if the request does not say how many.
const LIMIT_DEFAULT: usize = 100;

/// `key` is the one of the path; without it the parameter `key` names one.
pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let key = reply::key(key, &mut parameters)?;
    let limit = reply::take_limit(&mut parameters)?.unwrap_or(LIMIT_DEFAULT);
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, limit)?;
    session.settle().await?;
    let space = session.space_for_read(db.as_deref())?;
    let database = session.server().db.clone();
    let read = move || {
        let floor = database.history_floor();
        Ok::<_, Problem>((database.history_in(space, &key, limit)?, floor))
    };
    let read = tokio::task::spawn_blocking(read).await;
    let (mut versions, floor) =
        read.map_err(|_| Problem::new(Kind::Internal, "reading the history failed"))??;
    for (value, _) in versions.iter_mut().filter_map(|version| version.value.as_mut()) {
        *value = collections::shown_written(std::mem::take(value))?;
    }
    let mut body = b"{\"versions\":[".to_vec();
    for (index, version) in versions.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        entry_json::write_version(&mut body, version);
    }
    body.extend_from_slice(format!("],\"floor\":\"{floor}\"}}").as_bytes());
    let mut response = reply::json(body);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
