//! One connection: which protocol it speaks, and then that protocol until it ends.

use crate::Server;
use crate::http::{self, Session};
use crate::redis;
use crate::streams::Streams;
use bytes::{Buf, Bytes, BytesMut};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use orchard_wire::protocol::{Detected, FIRST_LINE_SIZE_BYTES_MAX, detect};
use orchard_wire::{Kind, Problem, media};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Sleep, sleep, timeout};
use tracing::{debug, info};

/// Bytes of one HTTP/1 header, and of one HTTP/2 header list.
const HEADER_SIZE_BYTES_MAX: usize = 32 * 1024;
/// Requests in flight on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a refused client gets to read why.
const LINGER: Duration = Duration::from_secs(1);

const LONG_LINE: &[u8] = b"-ERR Protocol error: too big inline request\r\n";

/// Serves one connection to its end.
pub(crate) async fn run(server: &Arc<Server>, mut stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    // Replies are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    let mut head = BytesMut::with_capacity(FIRST_LINE_SIZE_BYTES_MAX);
    let detected = tokio::select! {
        biased;
        detected = timeout(server.options.first_line_timeout, first_line(&mut stream, &mut head)) => detected,
        () = stop(&mut stopped) => return,
    };
    let detected = match detected {
        Ok(Ok(detected)) => detected,
        Ok(Err(error)) => return debug!(%error, "a connection ended before it said anything whole"),
        Err(_) => return debug!("a connection sent no whole first line in time"),
    };
    let why = match detected {
        Detected::Http1 | Detected::Http2 => {
            let io = ClientIo::new(head.freeze(), stream, server.options.stall_timeout);
            return match detected {
                Detected::Http1 => serve_http1(server, io, stopped).await,
                _ => serve_http2(server, io, stopped).await,
            };
        }
        Detected::Undecided => return,
        Detected::Tls => {
            info!("closed a TLS connection: this port speaks plain HTTP, write http:// instead of https://");
            return;
        }
        Detected::Resp | Detected::Line => return redis::run(server, stream, head, stopped).await,
        Detected::LongLine => LONG_LINE.to_vec(),
        Detected::LongRequestLine => long_request_line(),
    };
    debug!(?detected, "refused a connection");
    // The client may be gone already.
    let _ = timeout(LINGER, refuse(stream, &why)).await;
}

/// Ready when the server stops.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Reads until the protocol is known, or the client ends.
async fn first_line(stream: &mut TcpStream, head: &mut BytesMut) -> io::Result<Detected> {
    loop {
        let detected = detect(head);
        if detected != Detected::Undecided || stream.read_buf(head).await? == 0 {
            return Ok(detected);
        }
    }
}

/// Says why, and reads on for a while: closing with unread bytes would take the words back.
async fn refuse(mut stream: TcpStream, why: &[u8]) -> io::Result<()> {
    stream.write_all(why).await?;
    stream.shutdown().await?;
    let mut ignored = [0; 1024];
    while stream.read(&mut ignored).await? > 0 {}
    Ok(())
}

fn long_request_line() -> Vec<u8> {
    let detail = format!("the request line is over {FIRST_LINE_SIZE_BYTES_MAX} bytes");
    let problem = Problem::new(Kind::UriTooLong, detail).with("limit", FIRST_LINE_SIZE_BYTES_MAX);
    let body = problem.to_json();
    let (content_type, length) = (media::PROBLEM, body.len());
    let head = "HTTP/1.1 414 URI Too Long\r\nconnection: close\r\nx-content-type-options: nosniff";
    format!("{head}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

async fn serve_http1(server: &Arc<Server>, io: ClientIo, mut stopped: watch::Receiver<bool>) {
    let session = Arc::new(Session::new(server.clone(), stopped.clone()));
    let service = service_fn(|request| http::handle(&session, request));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(server.options.header_timeout)
        // Header lines are bounded by hyper's own 100, which it keeps on the stack.
        .max_header_size(HEADER_SIZE_BYTES_MAX)
        // A client may end its side after its last request and still read the replies.
        .half_close(true);
    // Not `pipeline_flush`: with it hyper keeps back the 400 for a request that it cannot parse.
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP/1 connection ended early");
    }
}

async fn serve_http2(server: &Arc<Server>, io: ClientIo, mut stopped: watch::Receiver<bool>) {
    let session = Arc::new(Session::new(server.clone(), stopped.clone()));
    let service = service_fn(move |request| {
        let session = session.clone();
        async move {
            let answered = if http::is_brief(&request) {
                // On the heap: what hyper wraps around it is moved about.
                Box::pin(http::handle(&session, request)).await
            } else {
                Apart(tokio::spawn(async move { http::handle(&session, request).await })).await?
            };
            Ok::<_, JoinError>(answered.unwrap_or_else(|never| match never {}))
        }
    });
    let mut streams = Streams::new();
    let mut builder = http2::Builder::new(streams.opener());
    builder
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_SIZE_BYTES_MAX as u32)
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(server.options.stall_timeout);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let ended = tokio::select! {
        biased;
        ended = poll_fn(|cx| streams.poll(connection.as_mut(), cx)) => ended,
        () = stop(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            poll_fn(|cx| streams.poll(connection.as_mut(), cx)).await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "an HTTP/2 connection ended early");
    }
}

/// A request that is worked on in a task of its own, and ends with whoever waits for it.
struct Apart<T>(JoinHandle<T>);

impl<T> Future for Apart<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for Apart<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A client's socket with the bytes that were already read in front, and a bound on how long it may refuse ours.
struct ClientIo {
    head: Bytes,
    stream: TcpStream,
    stall_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl ClientIo {
    fn new(head: Bytes, stream: TcpStream, stall_timeout: Duration) -> ClientIo {
        ClientIo { head, stream, stall_timeout, stalled: None }
    }

    /// Passes progress on; gives up on a client that took nothing for too long.
    fn progress<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.stalled = None;
            return polled;
        }
        let stall_timeout = self.stall_timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_timeout)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client reads nothing")))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncRead for ClientIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.has_remaining() {
            let length = self.head.len().min(buffer.remaining());
            let head = self.head.split_to(length);
            buffer.put_slice(&head);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ClientIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.progress(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.progress(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
