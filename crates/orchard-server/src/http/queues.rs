//! `/v1/queues/{name}..`: enqueue, lease with a long poll, ack, nack, peek, stats and dead letters.

use crate::http::body::{Incoming, work};
use crate::http::commit::must_be_json;
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::http::request::Parts;
use orchard_wire::queue_json::{self, DeadRequest};
use orchard_wire::{Kind, Problem, commit_json, percent};
use orcharddb::queue::Queue;
use orcharddb::{Commit, DurationMs, KeyRange, LimitError, SpaceId, WatchTarget, limits, tuple};
use std::time::Duration;
use tokio::time::Instant;

/// Longest body: the largest payload in base64 or escapes, and room for its JSON; or the most ids.
const BODY_SIZE_BYTES_MAX: usize = 2 * limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX + 64 * 1024;
/// Queues, messages or letters shown if the request does not say how many.
const LIMIT_DEFAULT: usize = 100;
/// How long a lease without a message waits at least between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

fn name(encoded: &str) -> Result<String, Problem> {
    let bad = |why: String| Problem::new(Kind::BadRequest, format!("bad name of a queue: {why}"));
    let name = percent::decode(encoded.as_bytes()).map_err(|error| bad(error.to_string()))?;
    String::from_utf8(name).map_err(|_| bad("not UTF-8".to_owned()))
}

fn queue(session: &Session, encoded: &str) -> Result<Queue, Problem> {
    Ok(session.server().db.queue(&name(encoded)?)?)
}

/// The body of a request that has no parameters.
async fn body_of(session: &Session, parts: &Parts, body: Incoming, what: &str) -> Result<Vec<u8>, Problem> {
    reply::parameters(parts)?.finish()?;
    must_be_json(parts, what)?;
    Ok(body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?.bytes.to_vec())
}

/// `POST /v1/queues/{queue}`
pub(super) async fn enqueue(
    session: &Session,
    parts: &Parts,
    encoded: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    must_be_json(parts, "a message")?;
    let queue = name(encoded)?;
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let message = work(bytes.len(), move || queue_json::parse_enqueue(&bytes, &queue)).await?;
    // Only keys for undelivered messages belong to a database.
    let space = match message.keys_if_undelivered.is_empty() {
        true => SpaceId::DEFAULT,
        false => session.space_for_write(db.as_deref())?,
    };
    let commit = Commit { mutations: message.mutations(space, 0)?, ..Commit::new() };
    commit.validate()?;
    let committed = session.commit(&commit, durability).await?;
    Ok(reply::json(commit_json::render_reply(&committed)))
}

/// `POST /v1/queues/{queue}/lease`
pub(super) async fn lease(
    session: &Session,
    parts: &Parts,
    encoded: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body_of(session, parts, body, "a lease").await?;
    let request = queue_json::parse_lease(&body)?;
    let queue = queue(session, encoded)?;
    session.settle().await?;
    let end = Instant::now() + Duration::from_millis(request.wait.0);
    let all = KeyRange::prefix(&tuple::name(queue.name().as_bytes())?);
    let mut watcher = None;
    loop {
        session.room().await;
        let messages = queue.lease(request.max, request.visibility)?.await?;
        let now = Instant::now();
        if !messages.is_empty() || now >= end || session.is_stopping() {
            return Ok(reply::json(queue_json::render_messages(&messages, "leased_until")));
        }
        // From the first look on nothing may be missed, so one more look follows.
        let Some(watcher) = &mut watcher else {
            let target = WatchTarget { space: SpaceId::QUEUES, range: all.clone() };
            watcher = Some(session.server().db.watch(vec![target]));
            continue;
        };
        let due = queue.next_due()?.map_or(end, |due| {
            let left = due.0.saturating_sub(session.server().db.snapshot().time().0);
            now + Duration::from_millis(left).max(LOOK_AGAIN)
        });
        tokio::select! {
            _ = watcher.changed() => {}
            () = tokio::time::sleep_until(due.min(end)) => {}
            () = session.stopping() => {}
        }
    }
}

/// `POST /v1/queues/{queue}/ack`
pub(super) async fn ack(
    session: &Session,
    parts: &Parts,
    encoded: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body_of(session, parts, body, "an ack").await?;
    let request = queue_json::parse_ids(&body)?;
    session.room().await;
    match request {
        (ids, None) => done(queue(session, encoded)?.ack(&ids)?.await?),
        (_, Some(DurationMs(_))) => Err(Problem::new(Kind::BadJson, "an ack has no delay")),
    }
}

/// `POST /v1/queues/{queue}/nack`
pub(super) async fn nack(
    session: &Session,
    parts: &Parts,
    encoded: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body_of(session, parts, body, "a nack").await?;
    let (ids, delay) = queue_json::parse_ids(&body)?;
    session.room().await;
    done(queue(session, encoded)?.nack(&ids, delay)?.await?)
}

#[expect(clippy::unnecessary_wraps, reason = "the last line of handlers")]
fn done(done: Vec<bool>) -> Result<Response<Body>, Problem> {
    Ok(reply::json(queue_json::render_done(&done)))
}

/// `GET /v1/queues/{queue}/stats`
pub(super) async fn stats(
    session: &Session,
    parts: &Parts,
    encoded: &str,
) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    session.settle().await?;
    Ok(reply::json(queue_json::render_stats(queue(session, encoded)?.stats()?)))
}

/// `GET /v1/queues/{queue}/peek`
pub(super) async fn peek(session: &Session, parts: &Parts, encoded: &str) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let limit = reply::take_limit(&mut parameters)?.unwrap_or(LIMIT_DEFAULT);
    parameters.finish()?;
    session.settle().await?;
    let messages = queue(session, encoded)?.peek(limit)?;
    Ok(reply::json(queue_json::render_messages(&messages, "ready_at")))
}

/// `GET /v1/queues/{queue}/dead`
pub(super) async fn dead(session: &Session, parts: &Parts, encoded: &str) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let limit = reply::take_limit(&mut parameters)?.unwrap_or(LIMIT_DEFAULT);
    let after = parameters.take_with("after", queue_json::parse_id)?;
    parameters.finish()?;
    session.settle().await?;
    let queue = queue(session, encoded)?;
    // It first moves what died unseen, which waits for the disk.
    let letters = tokio::task::spawn_blocking(move || queue.dead(after, limit)).await;
    let letters = letters.map_err(|_| Problem::new(Kind::Internal, "reading the dead letters failed"))??;
    Ok(reply::json(queue_json::render_dead(&letters)))
}

/// `POST /v1/queues/{queue}/dead`
pub(super) async fn bury(
    session: &Session,
    parts: &Parts,
    encoded: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body_of(session, parts, body, "a list of ids").await?;
    let queue = queue(session, encoded)?;
    let request = queue_json::parse_dead(&body)?;
    session.room().await;
    match request {
        DeadRequest::Requeue(ids) => done(queue.requeue(&ids)?.await?),
        DeadRequest::Purge(ids) => done(queue.purge(&ids)?.await?),
    }
}

/// `DELETE /v1/queues/{queue}`
pub(super) async fn clear(
    session: &Session,
    parts: &Parts,
    encoded: &str,
) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let queue = queue(session, encoded)?;
    let cleared = tokio::task::spawn_blocking(move || queue.clear()).await;
    cleared.map_err(|_| Problem::new(Kind::Internal, "clearing the queue failed"))??;
    Ok(reply::json("{}"))
}

/// `GET /v1/queues`
pub(super) async fn list(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let limit = reply::take_limit(&mut parameters)?.unwrap_or(LIMIT_DEFAULT);
    LimitError::check("queue_messages", limits::QUEUE_MESSAGES_MAX, limit)?;
    let after = parameters.take_text("after")?;
    parameters.finish()?;
    session.settle().await?;
    let names = session.server().db.queues(after.as_deref(), limit)?;
    Ok(reply::json(queue_json::render_names(&names)))
}
