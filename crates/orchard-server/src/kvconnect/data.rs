//! Reads and writes: each one message in, one commit or one snapshot, one message out.

use super::collections::{is_collection, shown};
use super::{PROTOBUF, refused};
use crate::http::body::Incoming;
use crate::http::{Body, Session, reply};
use hyper::{Response, StatusCode};
use orchard_wire::kvconnect::{
    Enqueue, READ_BODY_SIZE_BYTES_MAX, ReadRequest, Refused, WRITE_BODY_SIZE_BYTES_MAX, decode_read,
    decode_write, encode_check_failure, encode_read, encode_success, entry_size_bytes, refusal,
};
use orchard_wire::{Kind, Problem};
use orcharddb::queue::{self, EnqueueOptions, Ready};
use orcharddb::{CommitError, DurationMs, Entry, Mutation, ScanOptions, Snapshot, SpaceId};

/// Most bytes of one answer. The protocol's own values fit twice; larger ones were written by others.
const ANSWER_SIZE_BYTES_MAX: usize = 128 * 1024 * 1024;

fn message(body: Vec<u8>) -> Response<Body> {
    reply::new(StatusCode::OK, PROTOBUF, body)
}

pub(super) async fn snapshot_read(
    session: &Session,
    database: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body.read(session, "body_size_bytes", READ_BODY_SIZE_BYTES_MAX).await?;
    let requests = decode_read(&body.bytes).map_err(|error| refused(&error))?;
    session.settle().await?;
    let space = session.space_for_read(Some(database))?;
    let db = &session.server().db;
    if let [request] = requests.as_slice()
        && let Some(key) = request.first_key()
    {
        let found = db.get_in(space, key)?;
        // One entry needs no snapshot, unless it is a collection.
        if found.as_ref().map_or(request.is_single_key(), |entry| !is_collection(entry)) {
            return Ok(message(encode_read(&[found.into_iter().collect()])));
        }
    }
    let snapshot = db.snapshot();
    // A look at single keys is done here, ranges where blocking is allowed.
    if requests.iter().all(|request| request.first_key().is_some()) {
        return Ok(message(answer(&snapshot, space, &requests)?));
    }
    let read = tokio::task::spawn_blocking(move || answer(&snapshot, space, &requests)).await;
    Ok(message(read.map_err(|_| Problem::new(Kind::Internal, "reading the ranges failed"))??))
}

fn answer(snapshot: &Snapshot, space: SpaceId, requests: &[ReadRequest]) -> Result<Vec<u8>, Problem> {
    let mut size = 0usize;
    let mut ranges = Vec::with_capacity(requests.len());
    for request in requests {
        let entries = read_range(snapshot, space, request, &mut size)?;
        ranges.push(entries);
    }
    Ok(encode_read(&ranges))
}

fn read_range(
    snapshot: &Snapshot,
    space: SpaceId,
    request: &ReadRequest,
    size: &mut usize,
) -> Result<Vec<Entry>, Problem> {
    if let Some(key) = request.first_key() {
        let found = snapshot.get_in(space, key)?;
        if found.is_some() || request.is_single_key() {
            return found.into_iter().map(|entry| shown(snapshot, space, entry)).collect();
        }
    }
    let options = ScanOptions {
        reverse: request.reverse,
        keys_only: false,
        limit: Some(request.limit),
        ..ScanOptions::default()
    };
    let mut entries = Vec::new();
    for entry in snapshot.scan_in(space, request.range.clone(), options) {
        let entry = shown(snapshot, space, entry?)?;
        *size = size.saturating_add(entry_size_bytes(&entry));
        if *size > ANSWER_SIZE_BYTES_MAX {
            return Err(refused(&Refused::Limit {
                text: "The entries of the read are too large together; ask for fewer.",
                limit: ANSWER_SIZE_BYTES_MAX as u64,
                actual: *size as u64,
            }));
        }
        entries.push(entry);
    }
    Ok(entries)
}

pub(super) async fn atomic_write(
    session: &Session,
    database: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body.read(session, "body_size_bytes", WRITE_BODY_SIZE_BYTES_MAX).await.map_err(too_large)?;
    let now = || session.server().db.snapshot().time();
    let write = decode_write(&body.bytes, SpaceId::DEFAULT, now).map_err(|error| refused(&error))?;
    let space = session.space_for_write(Some(database))?;
    let mut commit = write.commit.in_database(space);
    for (n, message) in write.enqueues.into_iter().enumerate() {
        commit.mutations.extend(enqueue(message, space, n)?);
    }
    match session.commit(&commit, None).await {
        Ok(committed) => Ok(message(encode_success(committed.versionstamp))),
        Err(CommitError::CheckFailed(failures)) => Ok(message(encode_check_failure(&failures))),
        Err(CommitError::Mutation { index, error }) => {
            Err(refused(&refusal(commit.mutations.get(index), &error)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The mutations behind an enqueued message. All databases share the queue.
fn enqueue(message: Enqueue, space: SpaceId, n: usize) -> Result<Vec<Mutation>, Problem> {
    let milliseconds = |backoff: Vec<u32>| backoff.into_iter().map(|ms| DurationMs(u64::from(ms))).collect();
    let options = EnqueueOptions {
        ready: Ready::At(message.ready_at),
        backoff: message.backoff_ms.map(milliseconds),
        keys_if_undelivered: message.keys_if_undelivered.into_iter().map(|key| (space, key)).collect(),
    };
    let mutations = queue::enqueue(queue::KV_CONNECT, message.payload, &options, n);
    mutations.map_err(|error| Problem::new(Kind::BadRequest, error.to_string()))
}

/// A body over its limit is a write over its limit, in the words of the protocol.
fn too_large(mut problem: Problem) -> Problem {
    if problem.kind == Kind::LimitExceeded {
        problem.detail = format!("The total size of the atomic write is too large. {}", problem.detail);
    }
    problem
}
