//! `PUT /v1/kv` with `application/x-ndjson`: many entries, one a line, as a list or an export gives them.
//!
//! Written in commits of many lines, one behind the other without waiting: fast, and not one atomic change. The reply
//! says how many lines were written; after an error, how many before it. While commits wait for memory no more is read.

use crate::http::body::{Incoming, Line, LineReader, work};
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use orchard_wire::entry_json::{self, ExportLine, Piece};
use orchard_wire::{Kind, Problem, commit_json, media, rfc3339};
use orcharddb::{Commit, Committed, Durability, Mutation, Pending, SpaceId, limits};
use serde_json::json;
use std::collections::VecDeque;

/// Lines in one commit.
const COMMIT_LINES_MAX: usize = 1_000;
/// A commit ends when it has this many bytes.
const COMMIT_BYTES_MAX: usize = 1024 * 1024;
/// Commits that are submitted and not acknowledged.
const IN_FLIGHT_MAX: usize = 8;

struct Bulk<'a> {
    session: &'a Session,
    space: SpaceId,
    durability: Option<Durability>,
    commit: Commit,
    commit_bytes: usize,
    in_flight: VecDeque<(Pending, u64)>,
    written: u64,
    last: Option<Committed>,
}

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    if !reply::header(parts, CONTENT_TYPE)?.is_some_and(media::is_ndjson) {
        let detail = "PUT needs a key: /v1/kv/{part}/.. or ?key=[..]; or Content-Type: application/x-ndjson and an entry a line";
        return Err(Problem::new(Kind::BadKey, detail));
    }
    let space = session.space_for_write(db.as_deref())?;
    let mut bulk = Bulk {
        session,
        space,
        durability,
        commit: Commit::new(),
        commit_bytes: 0,
        in_flight: VecDeque::new(),
        written: 0,
        last: None,
    };
    let mut reader = LineReader::new(body);
    let mut outcome = bulk.run(&mut reader).await;
    // What came before an error is written, and its number must be true.
    if let Err(problem) = bulk.finish().await
        && outcome.is_ok()
    {
        outcome = Err(problem);
    }
    if let Err(problem) = outcome {
        let line = reader.lines();
        reader.discard(session);
        return Err(problem.with("written", bulk.written).with("line", line));
    }
    let mut body = json!({ "written": bulk.written });
    if let (Some(last), Some(body)) = (bulk.last, body.as_object_mut()) {
        body.insert("versionstamp".into(), last.versionstamp.to_string().into());
        body.insert("log_time".into(), rfc3339::render(last.log_time).into());
        body.insert("durability".into(), commit_json::durability_name(last.durability).into());
    }
    Ok(reply::json(body.to_string()))
}

impl Bulk<'_> {
    async fn run(&mut self, reader: &mut LineReader) -> Result<(), Problem> {
        loop {
            match reader.buffered() {
                Some(Line::Whole(text)) => {
                    let space = self.space;
                    match work(text.len(), move || entry_json::parse_exported(&text)).await? {
                        ExportLine::Entry(record) => {
                            self.push(Mutation { space, ..record.into_mutation()? }).await?;
                        }
                        ExportLine::Piece(piece) => self.put_piece(piece).await?,
                    }
                }
                Some(Line::Refused(problem)) => return Err(problem),
                None => {
                    if !reader.more(self.session).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn push(&mut self, mutation: Mutation) -> Result<(), Problem> {
        let single = Commit { mutations: vec![mutation], ..Commit::new() };
        single.validate()?;
        self.commit_bytes += single.size_bytes();
        self.commit.mutations.extend(single.mutations);
        if self.commit.mutations.len() >= COMMIT_LINES_MAX || self.commit_bytes >= COMMIT_BYTES_MAX {
            self.submit().await;
        }
        while self.in_flight.len() > IN_FLIGHT_MAX {
            self.settle_one().await?;
        }
        Ok(())
    }

    /// Writes a piece of a collection, in a commit of its own behind what came before.
    async fn put_piece(&mut self, piece: Piece) -> Result<(), Problem> {
        self.submit().await;
        self.session.room().await;
        let (space, db, durability) = (self.space, self.session.server().db.clone(), self.durability);
        let Piece { key, offset, elements, expiry, .. } = piece;
        let write = move || {
            Ok(db.exclusive(|tx| {
                let outcome = tx.put_chunk_in(space, key.clone(), offset, &elements, expiry);
                if outcome.is_err() {
                    tx.clear();
                }
                Ok::<_, orcharddb::Error>(outcome)
            })?)
        };
        // Many elements: not where other requests wait.
        let (outcome, pending) = work(usize::MAX, write).await?;
        let pending = if outcome.is_ok() { pending.with_durability(durability) } else { pending };
        self.in_flight.push_back((pending, u64::from(outcome.is_ok())));
        outcome?;
        while self.in_flight.len() > IN_FLIGHT_MAX {
            self.settle_one().await?;
        }
        Ok(())
    }

    async fn submit(&mut self) {
        let commit = std::mem::take(&mut self.commit);
        self.commit_bytes = 0;
        let lines = commit.mutations.len() as u64;
        if lines > 0 {
            self.session.room().await;
            let pending = self.session.server().db.submit(&commit, self.durability);
            self.in_flight.push_back((pending, lines));
        }
    }

    async fn settle_one(&mut self) -> Result<(), Problem> {
        if let Some((pending, lines)) = self.in_flight.pop_front() {
            let committed = self.session.acknowledged(pending).await?;
            self.written += lines;
            self.last = Some(committed);
        }
        Ok(())
    }

    /// Writes what is left and waits for all of it. Lines behind a commit that failed may be written, too; those that
    /// are counted are.
    async fn finish(&mut self) -> Result<(), Problem> {
        self.submit().await;
        while !self.in_flight.is_empty() {
            self.settle_one().await?;
        }
        Ok(())
    }
}

// A line that fits is a commit that fits, and so is one more of them.
const _: () = assert!(COMMIT_LINES_MAX <= limits::COMMIT_OPERATIONS_MAX);
const _: () = assert!(
    COMMIT_BYTES_MAX + limits::VALUE_SIZE_BYTES_MAX + limits::KEY_SIZE_BYTES_MAX
        <= limits::COMMIT_SIZE_BYTES_MAX
);
