//! `POST /v1/batch`: many independent operations, a result each, in order.
//!
//! - Writes are submitted one behind the other without waiting, so that many share one fsync; each result is written once
//!   its own commit may be told.
//! - A get sees the writes that stand before it in its batch.
//! - Operations are read, and results written, in constant memory: what is in flight is bounded in number and bytes.
//! - While commits wait for memory nothing more is read of the body.

use crate::http::body::{Incoming, Line, LineReader, work};
use crate::http::commit::BODY_SIZE_BYTES_MAX;
use crate::http::session::frees;
use crate::http::stream::{PieceSender, Produced};
use crate::http::{Body, Session, collections, reply};
use bytes::Bytes;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue, VARY};
use hyper::http::request::Parts;
use orchard_wire::batch_json::{self, BatchOperation};
use orchard_wire::element_json::Verb;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem, media};
use orcharddb::collection::{Step, Stepped};
use orcharddb::{Commit, Durability, Entry, Key, Mutation, Operation, Pending};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Results that wait for their commits, or for the ones before them.
const IN_FLIGHT_MAX: usize = 2_048;
/// Bytes of values and results in flight.
const IN_FLIGHT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Results are sent in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;
/// Operations between two moments at which other requests get their turn.
const TURN_OPERATIONS: usize = 128;

/// What holds for all operations of a batch.
struct Batch {
    session: Arc<Session>,
    db: Option<String>,
    durability: Option<Durability>,
    /// One result a line, or one JSON object.
    lines: bool,
    form: Form,
}

pub(super) async fn handle(
    session: &Arc<Session>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    let content_type = reply::header(parts, CONTENT_TYPE)?;
    let lines_in = content_type.is_some_and(media::is_ndjson);
    if !lines_in && !content_type.is_none_or(media::is_json) {
        let detail = "a batch is application/json, or application/x-ndjson with an operation a line";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let lines = reply::accepts(parts, media::NDJSON) || lines_in && !reply::accepts(parts, media::JSON);
    let batch = Batch { session: session.clone(), db, durability, lines, form: reply::form(parts) };
    let body = if lines_in {
        let reader = LineReader::new(body);
        Produced::new(move |sender| async move { batch.run_lines(reader, sender).await }).into_body()
    } else {
        let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
        let bytes = body.bytes.clone();
        let operations = work(bytes.len(), move || batch_json::parse(&bytes)).await?;
        Produced::new(move |sender| async move {
            // What the body takes of the budget it takes until its last operation is done.
            let _body = body;
            batch.run_all(operations, sender).await
        })
        .begin()
        .await?
    };
    let mut response = Response::new(body);
    let content_type = if lines { media::NDJSON } else { media::JSON };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// A result, or what it waits for.
enum Slot {
    Done(Vec<u8>),
    Written(Pending, Bytes, usize),
    Stepped(Pending, Bytes, Verb, Stepped),
}

/// The operations between those that are read and those whose results are written.
struct Flight<'a> {
    batch: &'a Batch,
    sender: PieceSender,
    slots: VecDeque<Slot>,
    /// Keys that the slots write, and how often.
    keys: HashMap<Bytes, usize>,
    bytes: usize,
    piece: Vec<u8>,
    results: usize,
}

impl Batch {
    async fn get(&self, key: &[u8]) -> Result<Option<Entry>, Problem> {
        self.session.settle().await?;
        let space = self.session.space_for_read(self.db.as_deref())?;
        collections::read_shown(&self.session.server().db, space, key)
    }

    /// Puts a write into the log's order, and tells about how much memory it holds until it is acknowledged.
    fn submit(&self, key: Key, operation: Operation) -> Result<(Pending, usize), Problem> {
        let space = self.session.space_for_write(self.db.as_deref())?;
        let commit = Commit { mutations: vec![Mutation { space, key, operation }], ..Commit::new() };
        Ok((self.session.server().db.submit(&commit, self.durability), commit.size_bytes()))
    }

    /// Changes a collection in the log's order.
    async fn step(&self, key: Key, step: Step) -> Result<(Pending, Verb, Stepped), Problem> {
        let space = self.session.space_for_write(self.db.as_deref())?;
        let (db, durability) = (self.session.server().db.clone(), self.durability);
        let verb = Verb::of(&step);
        let elements = step.elements();
        let run = move || {
            let ((outcome, is_read_only), pending) = db.exclusive(|tx| {
                let outcome = tx.step_in(space, key.clone(), &step);
                if outcome.is_err() {
                    tx.clear();
                }
                Ok::<_, orcharddb::Error>((outcome, tx.is_read_only()))
            })?;
            // What has changed nothing rests on what others wrote.
            let pending = if is_read_only { pending } else { pending.with_durability(durability) };
            Ok((pending, outcome))
        };
        let (pending, outcome) = work(if elements > TURN_OPERATIONS { usize::MAX } else { 0 }, run).await?;
        match outcome {
            Ok(stepped) => Ok((pending, verb, stepped)),
            Err(error) => {
                self.session.acknowledged(pending).await?;
                Err(error.into())
            }
        }
    }

    async fn run_all(
        &self,
        operations: Vec<Result<BatchOperation, Problem>>,
        sender: PieceSender,
    ) -> Result<(), Problem> {
        let mut flight = Flight::new(self, sender);
        for operation in operations {
            flight.take(operation).await?;
        }
        flight.end().await
    }

    async fn run_lines(&self, mut reader: LineReader, sender: PieceSender) -> Result<(), Problem> {
        let mut flight = Flight::new(self, sender);
        loop {
            match reader.buffered() {
                Some(Line::Whole(text)) => {
                    let operation = work(text.len(), move || batch_json::parse_operation(&text)).await;
                    flight.take(operation).await?;
                }
                Some(Line::Refused(problem)) => flight.take(Err(problem)).await?,
                // The client may be waiting for the results of what it sent so far.
                None => {
                    if !flight.flush_unless(reader.more(&self.session)).await? {
                        return flight.end().await;
                    }
                }
            }
        }
    }
}

impl<'a> Flight<'a> {
    fn new(batch: &'a Batch, sender: PieceSender) -> Flight<'a> {
        let piece = if batch.lines { Vec::new() } else { b"{\"results\":[".to_vec() };
        Flight { batch, sender, slots: VecDeque::new(), keys: HashMap::new(), bytes: 0, piece, results: 0 }
    }

    /// Begins an operation, or notes that it is none.
    async fn take(&mut self, operation: Result<BatchOperation, Problem>) -> Result<(), Problem> {
        let slot = match operation {
            Err(problem) => done(|out| batch_json::write_problem(out, &problem)),
            Ok(BatchOperation::Get(key)) => {
                if self.keys.contains_key(&key) {
                    self.settle(0).await?;
                }
                let (found, form) = (self.batch.get(&key).await, self.batch.form);
                done(|out| match &found {
                    Ok(entry) => batch_json::write_found(out, entry.as_ref(), form),
                    Err(problem) => batch_json::write_problem(out, problem),
                })
            }
            Ok(BatchOperation::Write(key, operation)) => {
                if !frees(&operation) {
                    self.room().await?;
                }
                match self.batch.submit(key.clone(), operation) {
                    Ok((pending, bytes)) => {
                        let key = key.into_bytes();
                        *self.keys.entry(key.clone()).or_default() += 1;
                        Slot::Written(pending, key, bytes)
                    }
                    Err(problem) => done(|out| batch_json::write_problem(out, &problem)),
                }
            }
            Ok(BatchOperation::Step(key, step)) => {
                self.room().await?;
                match self.batch.step(key.clone(), step).await {
                    Ok((pending, verb, stepped)) => {
                        let key = key.into_bytes();
                        *self.keys.entry(key.clone()).or_default() += 1;
                        Slot::Stepped(pending, key, verb, stepped)
                    }
                    Err(problem) => done(|out| batch_json::write_problem(out, &problem)),
                }
            }
        };
        self.bytes += slot.bytes();
        self.slots.push_back(slot);
        if self.slots.len() >= IN_FLIGHT_MAX || self.bytes >= IN_FLIGHT_BYTES_MAX {
            self.settle(IN_FLIGHT_MAX / 2).await?;
        } else if self.slots.len().is_multiple_of(TURN_OPERATIONS) {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits until no commit waits for memory, with nothing in flight: what is there of results the client gets before.
    async fn room(&mut self) -> Result<(), Problem> {
        let batch = self.batch;
        if batch.session.lacks_room() {
            self.settle(0).await?;
            if batch.lines {
                self.send().await?;
            }
            batch.session.room().await;
        }
        Ok(())
    }

    /// Writes results until at most `left` wait, and few bytes with them.
    async fn settle(&mut self, left: usize) -> Result<(), Problem> {
        while self.slots.len() > left || self.bytes > IN_FLIGHT_BYTES_MAX / 2 {
            let Some(slot) = self.slots.pop_front() else { break };
            self.bytes -= slot.bytes();
            if self.results > 0 && !self.batch.lines {
                self.piece.push(b',');
            }
            match slot {
                Slot::Done(result) => self.piece.extend_from_slice(&result),
                Slot::Written(pending, key, _) => {
                    match self.batch.session.acknowledged(pending).await {
                        Ok(done) => batch_json::write_written(&mut self.piece, done.versionstamp),
                        Err(error) => batch_json::write_problem(&mut self.piece, &error.into()),
                    }
                    self.forget(&key);
                }
                Slot::Stepped(pending, key, verb, stepped) => {
                    match self.batch.session.acknowledged(pending).await {
                        Ok(done) => {
                            let form = self.batch.form;
                            batch_json::write_stepped(
                                &mut self.piece,
                                done.versionstamp,
                                verb,
                                &stepped,
                                form,
                            );
                        }
                        Err(error) => batch_json::write_problem(&mut self.piece, &error.into()),
                    }
                    self.forget(&key);
                }
            }
            self.results += 1;
            if self.batch.lines {
                self.piece.push(b'\n');
            }
            if self.piece.len() >= PIECE_BYTES {
                self.send().await?;
            }
        }
        Ok(())
    }

    /// One of the slots that write a key is done.
    fn forget(&mut self, key: &Bytes) {
        if let Some(times) = self.keys.get_mut(key) {
            *times -= 1;
            if *times == 0 {
                self.keys.remove(key);
            }
        }
    }

    async fn send(&mut self) -> Result<(), Problem> {
        if self.piece.is_empty() {
            return Ok(());
        }
        self.sender.send(std::mem::take(&mut self.piece)).await
    }

    /// Awaits `more`; when it does not come at once, all results so far are sent first.
    async fn flush_unless(
        &mut self,
        more: impl Future<Output = Result<bool, Problem>>,
    ) -> Result<bool, Problem> {
        let mut more = std::pin::pin!(more);
        let now = std::future::poll_fn(|context| {
            std::task::Poll::Ready(match more.as_mut().poll(context) {
                std::task::Poll::Ready(more) => Some(more),
                std::task::Poll::Pending => None,
            })
        });
        if let Some(more) = now.await {
            return more;
        }
        self.settle(0).await?;
        self.send().await?;
        more.await
    }

    async fn end(mut self) -> Result<(), Problem> {
        self.settle(0).await?;
        if !self.batch.lines {
            self.piece.extend_from_slice(b"]}");
        }
        self.send().await
    }
}

impl Slot {
    fn bytes(&self) -> usize {
        match self {
            Slot::Done(result) => result.len(),
            Slot::Written(_, _, bytes) => *bytes,
            Slot::Stepped(_, key, _, stepped) => {
                let values = stepped.values.iter().map(|value| value.data.len());
                key.len() + values.sum::<usize>() + std::mem::size_of::<Slot>()
            }
        }
    }
}

fn done(write: impl FnOnce(&mut Vec<u8>)) -> Slot {
    let mut result = Vec::new();
    write(&mut result);
    Slot::Done(result)
}
