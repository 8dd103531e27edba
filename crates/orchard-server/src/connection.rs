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
use rustix::net::sockopt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::{debug, info};

/// Bytes of one HTTP/1 header, and of one HTTP/2 header list.
const HEADER_SIZE_BYTES_MAX: usize = 32 * 1024;
/// Requests in flight on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// How often an HTTP/2 client is asked whether it is still there.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a refused client gets to read why.
const LINGER: Duration = Duration::from_secs(1);

/// How often a silent client is asked whether it is still there.
const KEEPALIVE_PROBES: u32 = 3;
/// Bytes of a first line that a client over the bound may send before it is told so.
const TURNED_AWAY_HEAD_SIZE_BYTES: usize = 1024;

/// What Redis says.
const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";
/// The same in HTTP/2: empty SETTINGS, and a GOAWAY that no stream was looked at, for ENHANCE_YOUR_CALM.
const GO_AWAY: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b";
const LONG_LINE: &[u8] = b"-ERR Protocol error: too big inline request\r\n";

/// Serves one connection to its end.
pub(crate) async fn run(server: &Arc<Server>, mut stream: TcpStream, mut stopped: watch::Receiver<bool>) {
    // Replies are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    if let Some(silence) = server.redis.config.keepalive() {
        // A connection is a connection without this, too.
        let _ = ask_the_silent(&stream, silence);
    }
    tokio::select! {
        biased;
        speaks = first_byte(server, &stream) => if !speaks {
            return debug!("closed a connection that said nothing");
        },
        () = stop(&mut stopped) => return,
    }
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

/// Has the kernel ask a client that was silent for so long whether it is still there: three times, within as long again.
fn ask_the_silent(stream: &TcpStream, silence: Duration) -> rustix::io::Result<()> {
    sockopt::set_tcp_keepidle(stream, silence)?;
    sockopt::set_tcp_keepintvl(stream, (silence / KEEPALIVE_PROBES).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    sockopt::set_socket_keepalive(stream, true)
}

/// Tells a client, in its own language, that there are as many connections as may be. It holds nothing but its socket, for
/// at most some two seconds.
pub(crate) async fn turn_away(server: &Server, mut stream: TcpStream) {
    let mut head = BytesMut::with_capacity(TURNED_AWAY_HEAD_SIZE_BYTES);
    let why = match timeout(LINGER, first_line(&mut stream, &mut head)).await {
        Ok(Ok(Detected::Http1 | Detected::LongRequestLine)) => {
            let limit = server.connections_max.load(Ordering::Relaxed);
            let detail = format!("there are {limit} connections, as many as may be at a time");
            let problem = Problem::new(Kind::TooManyConnections, detail).with("limit", limit);
            last_words("503 Service Unavailable", &problem)
        }
        Ok(Ok(Detected::Http2)) => GO_AWAY.to_vec(),
        Ok(Ok(Detected::Tls) | Err(_)) => return,
        // Who says nothing is told what Redis says at once.
        Ok(Ok(_)) | Err(_) => TOO_MANY.to_vec(),
    };
    // The client may be gone already.
    let _ = timeout(LINGER, refuse(stream, &why)).await;
}

/// Ready when the server stops.
async fn stop(stopped: &mut watch::Receiver<bool>) {
    // A sender that is gone has stopped, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// Waits until a client says something: as long as it likes, as Redis does, unless `timeout` is set. Pools connect ahead.
/// It holds nothing but its socket. `false`: it said nothing in time.
async fn first_byte(server: &Server, stream: &TcpStream) -> bool {
    let config = &server.redis.config;
    let (since, mut first) = (Instant::now(), [0]);
    loop {
        let changed = config.timeout_changed.notified();
        let is_over = async {
            match config.timeout() {
                Some(limit) => sleep_until(since + limit).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            looked = stream.peek(&mut first) => return looked.is_ok(),
            () = changed => {}
            () = is_over => return false,
        }
    }
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
    last_words("414 URI Too Long", &problem)
}

/// A whole HTTP/1 reply behind which the connection ends.
fn last_words(status: &str, problem: &Problem) -> Vec<u8> {
    let body = problem.to_json();
    let (content_type, length) = (media::PROBLEM, body.len());
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\nx-content-type-options: nosniff");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silent_are_asked() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it has one");
        let _client = TcpStream::connect(address).await.expect("it listens");
        let (stream, _) = listener.accept().await.expect("a client");
        assert_eq!(sockopt::socket_keepalive(&stream), Ok(false));
        ask_the_silent(&stream, Duration::from_secs(240)).expect("TCP");
        assert_eq!(sockopt::socket_keepalive(&stream), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&stream), Ok(Duration::from_secs(240)));
        assert_eq!(sockopt::tcp_keepintvl(&stream), Ok(Duration::from_secs(80)));
    }
}
