//! One connection of the Redis protocol: bytes in, batches through the dispatcher, bytes out.
//!
//! - One task; it waits for whatever comes first: the log opens the gate, the client takes bytes, another connection left
//!   a message, the client sends bytes, the server stops.
//! - Requests run while replies wait for the log, as long as those are few; a client that takes no replies is not read.
//! - One write for all replies of a batch. A half request holds memory only as long as it makes progress.

use super::blocking::{Blocked, Told};
use super::clients::Message;
use super::dispatch::{Dispatcher, Stopped};
use super::invalidation::Invalidation;
use super::output::Output;
use super::output_limits::SMALL_OUTPUT_SIZE_BYTES;
use super::pubsub::Kind;
use super::retry;
use super::session::Session;
use crate::Server;
use bytes::BytesMut;
use orchard_wire::resp::{Batch, Reply, RequestDecoder, RequestLimits, RespVersion};
use orcharddb::Versionstamp;
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::{debug, warn};

/// Bytes that one read takes at least room for.
const READ_SIZE_BYTES: usize = 16 * 1024;
/// Requests longer than this take part of the memory that large requests share, in bytes.
const SMALL_REQUEST_SIZE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of replies, and replies waiting for the log, above which no more requests run.
const BACKLOG_SIZE_BYTES_MAX: usize = 1024 * 1024;
const BACKLOG_REPLIES_MAX: usize = 100_000;
/// Bytes of replies above which the client is disconnected.
const OUTPUT_SIZE_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// How long a client that is told of a protocol error gets to read it.
const LINGER: Duration = Duration::from_secs(1);

thread_local! {
    /// Room to read into, for connections that hold none while they wait.
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// What the task waited for.
enum Event {
    /// More bytes to decode.
    Read,
    /// The client has ended its side.
    End,
    /// Replies were opened or sent.
    Progress,
    /// Another connection left this.
    Message(Message),
    /// What it waits for may have come, or did not come in time.
    Told(Told),
    /// `CLIENT PAUSE` is over.
    Resumed,
    /// The server stops.
    Stop,
    /// Somebody ended the connection, or the client keeps nobody waiting any longer.
    Close,
}

struct Connection<'a> {
    server: &'a Server,
    stream: TcpStream,
    decoder: RequestDecoder,
    input: BytesMut,
    output: Output,
    /// Since when `output` is over the soft limit.
    over_since: Option<Instant>,
    session: Session,
    batch: Batch,
    /// The next request of the batch.
    next: usize,
    /// The memory that a large request may use.
    large: Option<OwnedSemaphorePermit>,
    /// When a client that makes no progress is given up.
    deadline: Option<Pin<Box<Sleep>>>,
    is_stopping: bool,
    /// The client sends no more.
    has_ended: bool,
    /// What it waits for, before any other request runs.
    blocked: Option<Blocked<'a>>,
    /// Ready when `CLIENT PAUSE` is over.
    paused: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Serves a connection whose first bytes are `head`.
pub(crate) async fn run(
    server: &Server,
    stream: TcpStream,
    head: BytesMut,
    mut stopped: watch::Receiver<bool>,
) {
    let client = server.redis.clients.open(stream.peer_addr().ok(), stream.local_addr().ok());
    let id = client.id;
    let is_authenticated = server.options.access_token.current().is_none();
    let mut connection = Connection {
        server,
        stream,
        decoder: RequestDecoder::default(),
        input: head,
        output: Output::default(),
        over_since: None,
        session: Session::new(client, is_authenticated),
        batch: Batch::default(),
        next: 0,
        large: None,
        deadline: None,
        is_stopping: false,
        has_ended: false,
        blocked: None,
        paused: None,
    };
    if let Err(error) = connection.serve(&mut stopped).await {
        debug!(%error, "a Redis connection ended early");
    }
    let Session { client, subscriptions, .. } = &mut connection.session;
    server.redis.pubsub.unsubscribe_all(client, subscriptions);
    server.redis.monitors.remove(id);
    if connection.session.tracking.is_some() {
        server.redis.tracking.disable(id);
    }
    server.redis.clients.close(id);
}

impl Connection<'_> {
    async fn serve(&mut self, stopped: &mut watch::Receiver<bool>) -> io::Result<()> {
        let mut stop = pin!(async move {
            // A sender that is gone has stopped, too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        });
        self.work();
        loop {
            if (self.session.is_closing || self.is_stopping) && self.output.is_empty() {
                return self.linger().await;
            }
            match poll_fn(|cx| self.poll_event(stop.as_mut(), cx)).await? {
                Event::Read => {
                    self.claim_memory().await?;
                    // What was published before the client sent this comes before the replies.
                    self.take_messages();
                    self.work();
                }
                Event::Progress => {
                    // What waited for room goes on.
                    if self.next < self.batch.len() || self.batch.error.is_some() {
                        self.work();
                    }
                }
                Event::Message(message) => {
                    self.take(message);
                    self.take_messages();
                }
                Event::Resumed => {
                    self.paused = None;
                    self.work();
                }
                Event::Told(told) => {
                    if self.is_answered(told) {
                        self.blocked = None;
                        self.work();
                    }
                }
                Event::End => {
                    self.blocked = None;
                    self.paused = None;
                    self.has_ended = true;
                    self.session.is_closing = true;
                }
                Event::Stop => {
                    self.blocked = None;
                    self.paused = None;
                    self.is_stopping = true;
                }
                Event::Close => return Ok(()),
            }
            if self.leaves_too_much() {
                warn!(
                    peer = ?self.session.client.address,
                    bytes = self.output.waiting_bytes(),
                    "closed a client whose replies are over its output limit"
                );
                return Ok(());
            }
        }
    }

    /// Whether the replies that the client does not take are over its limit.
    fn leaves_too_much(&mut self) -> bool {
        let bytes = self.output.waiting_bytes();
        if bytes <= SMALL_OUTPUT_SIZE_BYTES && self.over_since.is_none() {
            return false;
        }
        let limit = self.session.client.output_limit();
        bytes > OUTPUT_SIZE_BYTES_MAX || limit.is_over(bytes, Instant::now(), &mut self.over_since)
    }

    /// What others left goes out, as long as there is room.
    fn take_messages(&mut self) {
        while self.output.waiting_bytes() <= BACKLOG_SIZE_BYTES_MAX
            && let Some(message) = self.session.client.take_message()
        {
            self.take(message);
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Reply { reply, depends_on, .. } => {
                self.output.push(&reply, self.session.version, depends_on);
            }
            Message::Invalidation(news) => self.take_invalidation(news),
        }
    }

    /// Tells the client, or another one in its place, that what it knows has changed.
    fn take_invalidation(&mut self, mut news: Invalidation) {
        if news.is_redirected {
            return self.tell_invalidation(&news);
        }
        let Some(tracking) = &mut self.session.tracking else { return };
        if tracking.how.no_loop
            && let Some(keys) = &mut news.keys
        {
            tracking.without_own(keys);
            if keys.is_empty() {
                return;
            }
        }
        match tracking.how.redirect {
            0 => self.tell_invalidation(&news),
            id => match self.server.redis.clients.get(id) {
                Some(other) => other.invalidate(Invalidation { is_redirected: true, ..news }),
                None => {
                    tracking.how.is_broken = true;
                    if self.session.version == RespVersion::Three {
                        let id = Reply::Integer(i64::try_from(id).unwrap_or(i64::MAX));
                        let broken = Reply::Push(vec![Reply::Static("tracking-redir-broken"), id]);
                        self.output.push(&broken, self.session.version, Versionstamp::ZERO);
                    }
                }
            },
        }
    }

    fn tell_invalidation(&mut self, news: &Invalidation) {
        let version = self.session.version;
        for message in news.messages(version, self.session.subscriptions.is_any()) {
            // What is told of can be seen.
            self.output.push(&message, version, Versionstamp::ZERO);
        }
    }

    /// Whether what it waits for has been answered.
    fn is_answered(&mut self, told: Told) -> bool {
        let Some(blocked) = &self.blocked else { return false };
        match told {
            Told::Turn => retry::try_again(self.server, &mut self.session, &mut self.output, blocked),
            Told::TimedOut | Told::Ended => {
                retry::give_up(&mut self.session, &mut self.output, told == Told::Ended);
                true
            }
        }
    }

    /// Whether more may be read; while it waits for an element only as much as shows that the client is there.
    fn may_read(&self) -> bool {
        match self.blocked {
            Some(_) => self.input.len() < READ_SIZE_BYTES,
            None if self.paused.is_some() => self.input.len() < READ_SIZE_BYTES,
            None => self.has_room(),
        }
    }

    /// Whether requests may run now.
    fn has_room(&self) -> bool {
        self.blocked.is_none()
            && self.paused.is_none()
            && !self.session.is_closing
            && !self.is_stopping
            && self.output.waiting_bytes() <= BACKLOG_SIZE_BYTES_MAX
            && self.output.gated() <= BACKLOG_REPLIES_MAX
    }

    /// Decodes and runs what there is, as long as the replies have room.
    fn work(&mut self) {
        let ran_before = self.session.ran_at;
        while self.has_room() {
            if self.next >= self.batch.len() {
                if let Some(error) = self.batch.error {
                    debug!(%error, "a client broke the Redis protocol");
                    let reply = Reply::error(format!("ERR {error}"));
                    self.output.push(&reply, self.session.version, Versionstamp::ZERO);
                    self.session.is_closing = true;
                    break;
                }
                if self.input.is_empty() {
                    break;
                }
                let is_stranger = !self.session.is_authenticated;
                // What a stranger may send changes with the request that tells who it is.
                let requests_max = if is_stranger { 1 } else { usize::MAX };
                let limits = RequestLimits { is_stranger, requests_max, ..RequestLimits::default() };
                self.decoder.recycle(std::mem::take(&mut self.batch));
                self.batch = self.decoder.decode(&mut self.input, &limits);
                self.next = 0;
                if self.batch.is_empty() && self.batch.error.is_none() {
                    break;
                }
                if self.large.is_some() && self.input.len() <= SMALL_REQUEST_SIZE_BYTES_MAX {
                    self.large = None;
                }
                continue;
            }
            let mut dispatcher = Dispatcher::new(self.server, &mut self.session, &mut self.output);
            match dispatcher.run(&self.batch, self.next) {
                Stopped::Done => self.next = self.batch.len(),
                Stopped::Full(next) => self.next = next,
                Stopped::Paused(next) => {
                    self.next = next;
                    let (pause, aside) = (self.server.redis.pause.over(), self.server.aside.clone());
                    self.paused = Some(Box::pin(async move {
                        pause.await;
                        aside.over().await;
                    }));
                }
                Stopped::Blocked(next) => {
                    self.next = next;
                    self.session.client.take_unblock();
                    self.blocked = self.session.wait.take().map(|wait| Blocked::new(self.server, wait));
                }
                Stopped::Closing => {
                    self.next = self.batch.len();
                    self.input.clear();
                }
            }
        }
        if self.session.ran_at == ran_before {
            // Nothing ran, but the client is there: it sent a part of a request, or waits no longer.
            self.session.ran_at = Instant::now();
        }
        self.note_seen();
        if self.next >= self.batch.len() && self.batch.error.is_none() {
            self.decoder.recycle(std::mem::take(&mut self.batch));
        }
        self.give_room_back();
    }

    /// What `CLIENT LIST` shows.
    fn note_seen(&mut self) {
        let mut seen = self.session.client.seen.lock();
        seen.database = self.session.database;
        seen.queued = self.session.multi.as_ref().map(|multi| multi.queue.len());
        seen.watched = self.session.watched.len();
        seen.subscriptions =
            [Kind::Channel, Kind::Pattern, Kind::Shard].map(|kind| self.session.subscriptions.of(kind).len());
        seen.is_monitor = self.session.is_monitor;
        seen.tracking = self.session.tracking.as_ref().map(|tracking| tracking.how);
        seen.is_blocked = self.blocked.is_some();
        seen.is_paused = self.paused.is_some();
        seen.input_bytes = self.input.len();
        seen.output_bytes = self.output.waiting_bytes();
        seen.active_at = Some(self.session.ran_at);
    }

    /// Idle connections hold no room to read into.
    fn give_room_back(&mut self) {
        if !self.input.is_empty() {
            return;
        }
        let mut room = std::mem::take(&mut self.input);
        SPARE.with_borrow_mut(|spare| {
            // The batch is gone, so the room can be used again from its start.
            if spare.is_empty() && room.try_reclaim(READ_SIZE_BYTES) {
                spare.push(room);
            }
        });
    }

    fn make_room(&mut self) {
        let wanted = self.decoder.wanted_bytes(self.input.len()).clamp(READ_SIZE_BYTES, 1 << 20);
        if self.input.is_empty()
            && let Some(room) = SPARE.with_borrow_mut(Vec::pop)
        {
            self.input = room;
        }
        if self.input.capacity() - self.input.len() < READ_SIZE_BYTES / 4 {
            self.input.reserve(wanted);
        }
    }

    /// A request that outgrows what is small waits for its part of the memory that such requests share.
    async fn claim_memory(&mut self) -> io::Result<()> {
        if self.input.len() + self.decoder.wanted_bytes(self.input.len()) <= SMALL_REQUEST_SIZE_BYTES_MAX
            || self.large.is_some()
        {
            return Ok(());
        }
        let all_kib = self.server.options.body_memory_bytes / 1024;
        let wanted_kib = (RequestLimits::default().bulk_size_bytes_max / 1024).min(all_kib).max(1);
        let semaphore = self.server.body_memory_kib.clone();
        let claimed = semaphore.acquire_many_owned(u32::try_from(wanted_kib).unwrap_or(u32::MAX));
        match timeout(self.server.options.stall_timeout, claimed).await {
            Ok(permit) => {
                self.large = permit.ok();
                Ok(())
            }
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no memory for a large request")),
        }
    }

    fn poll_event(
        &mut self,
        stop: Pin<&mut impl Future<Output = ()>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Event>> {
        if self.output.gated() > 0 && self.output.poll_gates(&self.server.db, cx).is_ready() {
            return Poll::Ready(Ok(Event::Progress));
        }
        let mut is_stalled = false;
        if !self.output.open_bytes().is_empty() {
            match Pin::new(&mut self.stream).poll_write(cx, self.output.open_bytes()) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(sent)) => {
                    self.deadline = None;
                    self.server.redis.traffic.wrote(sent);
                    self.output.advance(sent);
                    if !self.output.open_bytes().is_empty() {
                        // It takes a long reply piece by piece: it is not idle.
                        self.session.client.seen.lock().active_at = Some(Instant::now());
                    }
                    return Poll::Ready(Ok(Event::Progress));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => is_stalled = true,
            }
        }
        let is_full = self.output.waiting_bytes() > BACKLOG_SIZE_BYTES_MAX;
        match self.session.client.poll_inbox(is_full, cx) {
            Poll::Ready(Some(message)) => return Poll::Ready(Ok(Event::Message(message))),
            Poll::Ready(None) => return Poll::Ready(Ok(Event::Close)),
            Poll::Pending => {}
        }
        if let Some(blocked) = &mut self.blocked {
            // The inbox, looked at before, wakes the task for this, too.
            if let Some(with_error) = self.session.client.take_unblock() {
                return Poll::Ready(Ok(Event::Told(if with_error { Told::Ended } else { Told::TimedOut })));
            }
            if let Poll::Ready(told) = blocked.poll(cx) {
                return Poll::Ready(Ok(Event::Told(told)));
            }
        }
        if let Some(paused) = &mut self.paused
            && paused.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Ok(Event::Resumed));
        }
        if self.may_read() {
            self.make_room();
            match self.poll_read(cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Event::End)),
                Poll::Ready(Ok(read)) => {
                    self.deadline = None;
                    self.server.redis.traffic.read(read);
                    return Poll::Ready(Ok(Event::Read));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    // Nobody waits for the rest of a small request.
                    is_stalled |= self.large.is_some();
                    self.give_room_back();
                }
            }
        }
        if !self.is_stopping && stop.poll(cx).is_ready() {
            return Poll::Ready(Ok(Event::Stop));
        }
        if !is_stalled {
            self.deadline = None;
            return Poll::Pending;
        }
        let until = Instant::now() + self.server.options.stall_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if deadline.as_mut().poll(cx).is_ready() {
            debug!("closed a Redis client that neither sends nor takes what it began");
            return Poll::Ready(Ok(Event::Close));
        }
        Poll::Pending
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        pin!(self.stream.read_buf(&mut self.input)).poll(cx)
    }

    /// Ends the connection so that the client gets the last reply though it sent more than was read.
    async fn linger(&mut self) -> io::Result<()> {
        let patience = if self.is_stopping { Duration::ZERO } else { LINGER };
        let ended = async {
            self.stream.shutdown().await?;
            let mut ignored = [0; 1024];
            while !self.has_ended && self.stream.read(&mut ignored).await? > 0 {}
            Ok(())
        };
        tokio::select! {
            ended = ended => ended,
            () = sleep(patience) => Ok(()),
        }
    }
}
