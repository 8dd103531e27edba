//! Bodies that go out, whole or in pieces. A piece is made when the client has taken the ones before, so that a slow
//! client costs what two pieces cost; one that is gone ends the work.

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use orchard_wire::{Kind, Problem};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

/// The body of a reply.
pub(crate) enum Body {
    /// All of it.
    Full(Option<Bytes>),
    /// All of it, whose length HTTP/2 does not announce: its frames tell it.
    Message(Option<Bytes>),
    /// What reads from the database and nothing else.
    Pieces(Box<Pieces>),
    /// What waits for things to happen.
    Produced(Box<Produced>),
}

impl Body {
    pub(crate) fn empty() -> Body {
        Body::Full(None)
    }

    pub(crate) fn full(bytes: Bytes) -> Body {
        Body::Full((!bytes.is_empty()).then_some(bytes))
    }

    /// The same, as a reply on HTTP/2 that says nothing of its length.
    pub(crate) fn without_length(self) -> Body {
        match self {
            Body::Full(bytes) => Body::Message(bytes),
            other => other,
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = match self.get_mut() {
            Body::Full(bytes) | Body::Message(bytes) => Poll::Ready(bytes.take().map(Ok)),
            Body::Pieces(pieces) => pieces.poll_piece(cx),
            Body::Produced(produced) => produced.poll_piece(cx),
        };
        polled.map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Full(None) | Body::Message(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Body::Message(_) | Body::Pieces(_) | Body::Produced(_) => SizeHint::default(),
        }
    }
}

/// An error in the middle ends the reply without its end, which clients take as the failure that it is.
fn cut_off(problem: &Problem) -> io::Error {
    tracing::warn!(code = problem.kind.code(), detail = ?problem.detail, "a streamed reply was cut off");
    io::Error::other(problem.detail.clone())
}

/// Appends the next part of a body; false at its end. Runs where blocking is allowed.
type Fill = Box<dyn FnMut(&mut Vec<u8>) -> Result<bool, Problem> + Send>;

struct Piece {
    bytes: Vec<u8>,
    rest: Option<Fill>,
}

fn next(mut fill: Fill) -> Result<Piece, Problem> {
    let mut bytes = Vec::with_capacity(Pieces::SIZE_BYTES);
    let has_more = fill(&mut bytes)?;
    Ok(Piece { bytes, rest: has_more.then_some(fill) })
}

/// A body that is read from the database: one piece is being read while the one before is sent. No thread is held in
/// between.
pub(crate) struct Pieces {
    first: Option<Bytes>,
    reading: Option<JoinHandle<Result<Piece, Problem>>>,
}

impl Pieces {
    /// About the size of a piece: `fill` goes on until it has so much.
    pub(super) const SIZE_BYTES: usize = 256 * 1024;

    /// Begins to read. What fits one piece is returned whole, and an error in it is still the reply's.
    pub(super) async fn body(
        fill: impl FnMut(&mut Vec<u8>) -> Result<bool, Problem> + Send + 'static,
    ) -> Result<Body, Problem> {
        let fill: Fill = Box::new(fill);
        let piece = spawn_blocking(move || next(fill)).await;
        let piece = piece.map_err(|_| Problem::new(Kind::Internal, "reading the range failed"))??;
        let first = Bytes::from(piece.bytes);
        let Some(rest) = piece.rest else { return Ok(Body::full(first)) };
        let reading = Some(spawn_blocking(move || next(rest)));
        Ok(Body::Pieces(Box::new(Pieces { first: Some(first), reading })))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        loop {
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let Poll::Ready(read) = Pin::new(reading).poll(cx) else { return Poll::Pending };
            self.reading = None;
            let piece = match read {
                Ok(Ok(piece)) => piece,
                Ok(Err(problem)) => return Poll::Ready(Some(Err(cut_off(&problem)))),
                Err(error) => return Poll::Ready(Some(Err(io::Error::other(error)))),
            };
            self.reading = piece.rest.map(|rest| spawn_blocking(move || next(rest)));
            if !piece.bytes.is_empty() {
                return Poll::Ready(Some(Ok(Bytes::from(piece.bytes))));
            }
        }
    }
}

/// Where the work behind a [`Produced`] body puts its pieces.
pub(crate) struct PieceSender(mpsc::Sender<Bytes>);

impl PieceSender {
    /// Waits until the client has room for it.
    pub(crate) async fn send(&self, piece: Vec<u8>) -> Result<(), Problem> {
        let sent = self.0.send(Bytes::from(piece)).await;
        sent.map_err(|_| Problem::new(Kind::Closed, "the client is gone"))
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// A body whose work runs as part of sending it: it ends with the connection.
pub(crate) struct Produced {
    first: Option<Bytes>,
    work: Option<Work>,
    pieces: mpsc::Receiver<Bytes>,
}

impl Produced {
    pub(crate) fn new<F>(work: impl FnOnce(PieceSender) -> F) -> Produced
    where
        F: Future<Output = Result<(), Problem>> + Send + 'static,
    {
        let (sender, pieces) = mpsc::channel(1);
        Produced { first: None, work: Some(Box::pin(work(PieceSender(sender)))), pieces }
    }

    pub(crate) fn into_body(self) -> Body {
        Body::Produced(Box::new(self))
    }

    /// Works until there is one piece. If that is all, the body is whole; an error in it is still the reply's.
    pub(super) async fn begin(mut self) -> Result<Body, Problem> {
        let first = std::future::poll_fn(|cx| self.poll_next(cx)).await.transpose()?;
        let Some(first) = first else { return Ok(Body::empty()) };
        let second = std::future::poll_fn(|cx| {
            // Only what is there at once: a client may wait for the first piece before it goes on.
            Poll::Ready(match self.poll_next(cx) {
                Poll::Ready(next) => Some(next.transpose()),
                Poll::Pending => None,
            })
        });
        match second.await {
            Some(Ok(None)) => Ok(Body::full(first)),
            Some(Err(problem)) => Err(problem),
            Some(Ok(Some(second))) => {
                self.first = Some([first, second].concat().into());
                Ok(self.into_body())
            }
            None => {
                self.first = Some(first);
                Ok(self.into_body())
            }
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Problem>>> {
        loop {
            if let Poll::Ready(Some(piece)) = self.pieces.poll_recv(cx) {
                return Poll::Ready(Some(Ok(piece)));
            }
            let Some(work) = &mut self.work else { return Poll::Ready(None) };
            match work.as_mut().poll(cx) {
                Poll::Ready(done) => {
                    self.work = None;
                    if let Err(problem) = done {
                        return Poll::Ready(Some(Err(problem)));
                    }
                }
                Poll::Pending => match self.pieces.poll_recv(cx) {
                    Poll::Ready(Some(piece)) => return Poll::Ready(Some(Ok(piece))),
                    _ => return Poll::Pending,
                },
            }
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(first)));
        }
        self.poll_next(cx).map(|next| next.map(|piece| piece.map_err(|problem| cut_off(&problem))))
    }
}
