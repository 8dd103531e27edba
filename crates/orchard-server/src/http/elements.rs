//! `/v1/lists/{key}..`: elements of a list appended, prepended, taken out and read. Each is one commit.

use crate::http::body::{Incoming, work};
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, commit_json, etag, media, value_json};
use orcharddb::{Key, LimitError, Value, limits};

/// What is done to a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Append,
    Prepend,
    PopFirst,
    PopLast,
}

/// `POST /v1/lists/{key}/append|prepend|pop_first|pop_last`
pub(super) async fn change(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
    step: Step,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let key = reply::key(key, &mut parameters)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    let element = match step {
        Step::Append | Step::Prepend => Some(element(session, parts, body).await?),
        Step::PopFirst | Step::PopLast => None,
    };
    let space = session.space_for_write(db.as_deref())?;
    session.settle().await?;
    let (outcome, pending) = session.server().db.exclusive(|tx| {
        let mut change = || {
            let mut list = tx.list_in(space, key.clone())?;
            let taken = match (step, &element) {
                (Step::Append, Some(element)) => list.push_back(element.clone()).map(|()| None)?,
                (Step::Prepend, Some(element)) => list.push_front(element.clone()).map(|()| None)?,
                (Step::PopFirst, _) => list.pop_front()?,
                _ => list.pop_back()?,
            };
            Ok::<_, orcharddb::Error>((taken, list.len()))
        };
        let outcome = change();
        if outcome.is_err() {
            tx.clear();
        }
        // A refusal, too, waits until what it rests on may be told.
        Ok::<_, orcharddb::Error>(outcome)
    })?;
    let has_changed = matches!(&outcome, Ok((taken, _)) if element.is_some() || taken.is_some());
    let pending = if has_changed { pending.with_durability(durability) } else { pending };
    let committed = session.acknowledged(pending).await?;
    let (taken, length) = outcome?;
    if element.is_none() && taken.is_none() {
        return Err(Problem::new(Kind::KeyNotFound, "there is no list under this key"));
    }
    let mut out = commit_json::render_reply(&committed);
    out.pop();
    if let Some(taken) = &taken {
        out.extend_from_slice(b",\"value\":");
        value_json::write(&mut out, taken);
        out.extend_from_slice(format!(",\"type\":\"{}\"", taken.value_type.name()).as_bytes());
    }
    out.extend_from_slice(format!(",\"length\":{length}}}").as_bytes());
    let mut response = reply::json(out);
    reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
    Ok(response)
}

/// The element that the body is, its type by Content-Type as for an entry.
async fn element(session: &Session, parts: &Parts, body: Incoming) -> Result<Value, Problem> {
    let content_type = reply::header(parts, CONTENT_TYPE)?.map(str::to_owned);
    let body = body.read(session, "body_size_bytes", 2 * limits::VALUE_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    work(bytes.len(), move || media::value(content_type.as_deref(), bytes)).await
}

/// `GET /v1/lists/{key}?start=&stop=`
pub(super) async fn get(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let key = reply::key(key, &mut parameters)?;
    let position = |text: &str| text.parse::<i64>().map_err(|_| "not a whole number".to_owned());
    let start = parameters.take_with("start", position)?.unwrap_or(0);
    let stop = parameters.take_with("stop", position)?.unwrap_or(-1);
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    let space = session.space_for_read(db.as_deref())?;
    session.settle().await?;
    let snapshot = session.server().db.snapshot();
    let read = tokio::task::spawn_blocking(move || {
        let mut list = snapshot.list_in(space, key)?;
        let length = list.len();
        let at = |position: i64| match position {
            ..0 => length.saturating_sub(position.unsigned_abs()),
            _ => position.unsigned_abs(),
        };
        let end =
            if stop < 0 && stop.unsigned_abs() > length { 0 } else { at(stop).saturating_add(1).min(length) };
        let wanted = usize::try_from(end.saturating_sub(at(start))).unwrap_or(usize::MAX);
        LimitError::check("range_limit", limits::RANGE_LIMIT_MAX, wanted)?;
        let values = list.range(start, stop)?;
        let mut out = b"{\"values\":[".to_vec();
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            value_json::write(&mut out, value);
        }
        let versionstamp = snapshot.versionstamp();
        out.extend_from_slice(
            format!("],\"length\":{length},\"versionstamp\":\"{versionstamp}\"}}").as_bytes(),
        );
        Ok::<_, Problem>(out)
    });
    let out = read.await.map_err(|_| Problem::new(Kind::Internal, "reading the list failed"))??;
    let mut response = reply::json(out);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
