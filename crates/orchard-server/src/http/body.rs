//! Bodies that come in, bounded in bytes and time: whole, or line by line.

use crate::http::Session;
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::Version;
use hyper::header::{CONTENT_LENGTH, EXPECT};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem};
use orcharddb::{LimitError, limits};
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::error::Elapsed;
use tokio::time::{sleep, timeout};

/// Bodies up to this size take no part of the shared memory budget.
const SMALL_BODY_BYTES: usize = 64 * 1024;
/// How much of a refused body is read behind the reply, so that the client gets to see that.
const DISCARD_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How long that goes on once the server stops, at most.
const DISCARD_AT_STOP: Duration = Duration::from_secs(1);
/// Longest line of a streamed body: the largest value in base64 or escapes, and its key.
pub(super) const LINE_SIZE_BYTES_MAX: usize = 2 * limits::VALUE_SIZE_BYTES_MAX + 128 * 1024;

/// The body of a request, not read yet.
pub(crate) struct Incoming {
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
pub(crate) struct Whole {
    pub(crate) bytes: Bytes,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Incoming {
    pub(super) fn new(body: hyper::body::Incoming, parts: &Parts) -> Incoming {
        let length = parts.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let is_on_its_way = parts.version < Version::HTTP_2 && !parts.headers.contains_key(EXPECT);
        Incoming { body, length, is_on_its_way }
    }

    /// Reads it all, if it is not over the limit.
    pub(crate) async fn read(
        mut self,
        session: &Session,
        name: &'static str,
        limit: usize,
    ) -> Result<Whole, Problem> {
        let options = &session.server().options;
        let read = self.read_within(session, name, limit);
        match within(options.body_timeout, read).await {
            Ok(Ok(whole)) => Ok(whole),
            Ok(Err(problem)) => {
                if problem.kind == Kind::LimitExceeded {
                    self.discard(session);
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
        while let Some(piece) = self.piece(session.server().options.stall_timeout).await? {
            LimitError::check(name, limit, bytes.len().saturating_add(piece.len()))?;
            if permit.is_none() && bytes.len() + piece.len() > SMALL_BODY_BYTES {
                permit = budget(session, limit).await;
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Whole { bytes: Bytes::from(bytes), _permit: permit })
    }

    /// The next piece, `None` at the end.
    async fn piece(&mut self, stall_timeout: Duration) -> Result<Option<Bytes>, Problem> {
        loop {
            let frame = within(stall_timeout, self.body.frame()).await;
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

    /// Reads the rest and forgets it, behind the reply that is given meanwhile: a connection that is closed under a client
    /// that still sends takes the reply back. A client that sends all that it announced may go on with its connection.
    fn discard(mut self, session: &Session) {
        if !self.is_on_its_way {
            return;
        }
        let options = &session.server().options;
        let (stall_timeout, body_timeout) = (options.stall_timeout, options.body_timeout);
        let mut stopped = session.stopped();
        // Ends with its connection, too: then there are no more pieces.
        tokio::spawn(async move {
            let rest = async {
                let mut left = DISCARD_BYTES_MAX;
                while let Ok(Some(piece)) = self.piece(stall_timeout).await {
                    match left.checked_sub(piece.len()) {
                        Some(less) => left = less,
                        None => return,
                    }
                }
            };
            let stop = async {
                // A sender that is gone has stopped, too.
                let _ = stopped.wait_for(|stopped| *stopped).await;
                sleep(DISCARD_AT_STOP).await;
            };
            tokio::select! {
                _ = timeout(body_timeout, rest) => {}
                () = stop => {}
            }
        });
    }
}

/// What comes of `future` within a time. Mostly it is there at once, and then no clock is asked.
async fn within<F: Future>(limit: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    match poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await {
        Poll::Ready(outcome) => Ok(outcome),
        Poll::Pending => timeout(limit, future).await,
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

/// One line of a streamed body.
pub(super) enum Line {
    /// Without its end.
    Whole(Bytes),
    /// It was too long, and left out.
    Refused(Problem),
}

/// A body read line by line, in memory for one line.
pub(super) struct LineReader {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no line's end.
    scanned: usize,
    /// Bytes of a line that is too long, left out so far.
    skipped: usize,
    has_ended: bool,
    lines: u64,
    permit: Option<OwnedSemaphorePermit>,
}

impl LineReader {
    pub(super) fn new(body: Incoming) -> LineReader {
        let buffer = BytesMut::new();
        LineReader { body, buffer, scanned: 0, skipped: 0, has_ended: false, lines: 0, permit: None }
    }

    /// How many lines were read, empty ones included.
    pub(super) fn lines(&self) -> u64 {
        self.lines
    }

    /// The next line, if it is here. Empty lines are passed over.
    pub(super) fn buffered(&mut self) -> Option<Line> {
        loop {
            let unseen = self.buffer.get(self.scanned..).unwrap_or_default();
            let line = match unseen.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    let line = self.buffer.split_to(self.scanned + end);
                    self.buffer.advance(1);
                    line
                }
                None if self.has_ended && (!self.buffer.is_empty() || self.skipped > 0) => {
                    self.buffer.split()
                }
                None => {
                    self.scanned = self.buffer.len();
                    return None;
                }
            };
            self.scanned = 0;
            self.lines += 1;
            let length = line.len().saturating_add(std::mem::take(&mut self.skipped));
            if let Err(error) = LimitError::check("line_size_bytes", LINE_SIZE_BYTES_MAX, length) {
                return Some(Line::Refused(error.into()));
            }
            if !line.trim_ascii().is_empty() {
                return Some(Line::Whole(line.freeze()));
            }
        }
    }

    /// Waits for more of the body; false at its end.
    ///
    /// # Errors
    /// [`Kind::RequestTimeout`], [`Kind::BadRequest`]
    pub(super) async fn more(&mut self, session: &Session) -> Result<bool, Problem> {
        if self.has_ended {
            return Ok(false);
        }
        if self.buffer.len() > LINE_SIZE_BYTES_MAX || self.skipped > 0 {
            self.skipped = self.skipped.saturating_add(self.buffer.len());
            self.buffer.clear();
            self.scanned = 0;
        }
        match self.body.piece(session.server().options.stall_timeout).await? {
            Some(piece) => {
                if self.permit.is_none() && self.buffer.len() + piece.len() > SMALL_BODY_BYTES {
                    self.permit = budget(session, LINE_SIZE_BYTES_MAX).await;
                }
                self.buffer.extend_from_slice(&piece);
            }
            None => self.has_ended = true,
        }
        Ok(true)
    }

    /// Reads what is left and forgets it, behind a reply that comes early.
    pub(super) fn discard(self, session: &Session) {
        if !self.has_ended {
            self.body.discard(session);
        }
    }
}
