//! Bodies: those that come in, bounded in bytes and time, and those that go out, whole or streamed.

use crate::http::Session;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::Version;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, entry_json};
use orcharddb::{LimitError, ReadError, Scan};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Bodies up to this size take no part of the shared memory budget.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// How much of a refused body is read so that the client gets to see the reply.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A streamed list is sent in pieces of about this size.
const PIECE_BYTES: usize = 256 * 1024;

/// The body of a request, not read yet.
pub(super) struct Incoming {
    body: hyper::body::Incoming,
    length: Option<u64>,
    /// The client sends the body whatever we reply, so that closing early could take the reply back.
    is_on_its_way: bool,
}

/// Work on a body above this size is done where blocking is allowed.
const WORK_HERE_BYTES_MAX: usize = 256 * 1024;

/// Runs what takes time in proportion to a body of `bytes`.
pub(super) async fn work<T: Send + 'static>(
    bytes: usize,
    run: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if bytes <= WORK_HERE_BYTES_MAX {
        return run();
    }
    let done = tokio::task::spawn_blocking(run).await;
    done.map_err(|_| Problem::new(Kind::Internal, "reading the body failed"))?
}

/// The body of a request, and its part of the memory budget.
pub(super) struct Whole {
    pub(super) bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming, parts: &Parts) -> Incoming {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_on_its_way = parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT);
        Incoming { body, length, is_on_its_way }
    }

    /// Reads it all, if it is not over the limit.
    pub(super) async fn read(
        mut self,
        session: &Session,
        name: &'static str,
        limit: usize,
    ) -> Result<Whole, Problem> {
        let options = &session.server().options;
        let read = self.read_within(session, name, limit);
        match timeout(options.body_timeout, read).await {
            Ok(Ok(whole)) => Ok(whole),
            Ok(Err(problem)) => {
                if problem.kind == Kind::LimitExceeded && self.is_on_its_way {
                    let _ = timeout(options.body_timeout, self.discard(session)).await;
                }
                Err(problem)
            }
            Err(_) => Err(too_slow()),
        }
    }

    async fn read_within(
        &mut self,
        session: &Session,
        name: &'static str,
        limit: usize,
    ) -> Result<Whole, Problem> {
        let expected = self.length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        if let Some(expected) = expected {
            LimitError::check(name, limit, expected)?;
        }
        let mut permit = match expected {
            Some(expected) if expected > SMALL_BODY_BYTES => budget(session, expected).await,
            _ => None,
        };
        let mut bytes = Vec::with_capacity(expected.unwrap_or(0));
        while let Some(piece) = self.piece(session).await? {
            LimitError::check(name, limit, bytes.len().saturating_add(piece.len()))?;
            if permit.is_none() && bytes.len() + piece.len() > SMALL_BODY_BYTES {
                permit = budget(session, limit).await;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes: Bytes::from(bytes), _permit: permit })
    }

    /// The next piece, `None` at the end.
    async fn piece(&mut self, session: &Session) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = timeout(session.server().options.stall_timeout, self.body.frame()).await;
            match frame.map_err(|_| too_slow())? {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
                Some(Err(error)) => {
                    return Err(Problem::new(
                        Kind::BadRequest,
                        format!("the body did not arrive whole: {error}"),
                    ));
                }
            }
        }
    }

    /// Reads the rest and forgets it.
    async fn discard(&mut self, session: &Session) {
        let mut left = DISCARD_BYTES_MAX;
        while let Ok(Some(piece)) = self.piece(session).await {
            match left.checked_sub(piece.len()) {
                Some(less) => left = less,
                None => return,
            }
        }
    }
}

fn too_slow() -> Problem {
    Problem::new(Kind::RequestTimeout, "the body did not arrive in time")
}

/// Waits for a part of the memory budget: one acquisition for the whole body, so that no two requests can wait for each
/// other.
async fn budget(session: &Session, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let server = session.server();
    let whole = server.options.body_memory_bytes / 1024;
    let kib = bytes.div_ceil(1024).clamp(1, whole.clamp(1, u32::MAX as usize / 2));
    // The semaphore is never closed.
    server.body_memory_kib.clone().acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX)).await.ok()
}

/// The body of a reply.
pub(crate) enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// Entries, one JSON text a line, in constant memory.
    Lines(Box<Lines>),
}

impl Body {
    pub(crate) fn empty() -> Body {
        Body::Full(None)
    }

    pub(crate) fn full(bytes: Bytes) -> Body {
        Body::Full((!bytes.is_empty()).then_some(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Body::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Lines(lines) => lines.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Body::Lines(_) => SizeHint::default(),
        }
    }
}

/// A piece of a list and what is left of it.
struct Piece {
    bytes: Bytes,
    rest: Option<Scan>,
}

/// Reads on until a piece is full. Runs where blocking is allowed.
fn fill(mut scan: Scan, keys_only: bool) -> Result<Piece, ReadError> {
    let mut bytes = Vec::with_capacity(PIECE_BYTES);
    while bytes.len() < PIECE_BYTES {
        match scan.next() {
            None => return Ok(Piece { bytes: Bytes::from(bytes), rest: None }),
            Some(entry) => {
                entry_json::write(&mut bytes, &entry?, keys_only);
                bytes.push(b'\n');
            }
        }
    }
    Ok(Piece { bytes: Bytes::from(bytes), rest: Some(scan) })
}

/// A list on its way: one piece is being read while the one before is sent, and none is read for a client that does not
/// take them. No thread is held in between.
pub(crate) struct Lines {
    first: Option<Bytes>,
    reading: Option<JoinHandle<Result<Piece, ReadError>>>,
    keys_only: bool,
}

impl Lines {
    /// Begins to read. What fits one piece is returned whole.
    pub(super) async fn body(scan: Scan, keys_only: bool) -> Result<Body, Problem> {
        let piece = tokio::task::spawn_blocking(move || fill(scan, keys_only)).await;
        let piece = piece.map_err(|_| Problem::new(Kind::Internal, "reading the range failed"))??;
        let Some(rest) = piece.rest else { return Ok(Body::full(piece.bytes)) };
        let reading = Some(tokio::task::spawn_blocking(move || fill(rest, keys_only)));
        Ok(Body::Lines(Box::new(Lines { first: Some(piece.bytes), reading, keys_only })))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
        let Poll::Ready(read) = Pin::new(reading).poll(cx) else { return Poll::Pending };
        self.reading = None;
        // An error here ends the reply without its end, which clients take as the failure that it is.
        let piece = match read {
            Ok(Ok(piece)) => piece,
            Ok(Err(error)) => {
                tracing::warn!(%error, "a streamed list was cut off");
                return Poll::Ready(Some(Err(io::Error::other(error))));
            }
            Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
        };
        let keys_only = self.keys_only;
        self.reading = piece.rest.map(|rest| tokio::task::spawn_blocking(move || fill(rest, keys_only)));
        Poll::Ready((!piece.bytes.is_empty()).then_some(Ok(piece.bytes)))
    }
}
