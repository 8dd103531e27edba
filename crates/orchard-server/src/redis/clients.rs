//! Who is connected: what `CLIENT LIST` shows, and how one connection reaches another.

use super::invalidation::Invalidation;
use super::output_limits::{Class, Limit, OutputLimits, SMALL_OUTPUT_SIZE_BYTES};
use bytes::Bytes;
use orchard_wire::resp::Reply;
use orcharddb::Versionstamp;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use tokio::time::Instant;

/// What others see of a client, as of its last batch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) name: Bytes,
    pub(crate) library_name: Bytes,
    pub(crate) library_version: Bytes,
    pub(crate) database: u32,
    pub(crate) version: u8,
    pub(crate) command: &'static str,
    /// Commands queued; `None` outside of `MULTI`.
    pub(crate) queued: Option<usize>,
    pub(crate) watched: usize,
    pub(crate) input_bytes: usize,
    pub(crate) output_bytes: usize,
    pub(crate) active_at: Option<Instant>,
    /// Channels, patterns and shard channels that it listens to.
    pub(crate) subscriptions: [usize; 3],
    pub(crate) is_monitor: bool,
    /// How it tracks, if it does.
    pub(crate) tracking: Option<super::session::Tracks>,
    /// It waits for keys: `CLIENT UNBLOCK` may end that.
    pub(crate) is_blocked: bool,
    /// It waits for the end of `CLIENT PAUSE`.
    pub(crate) is_paused: bool,
}

/// What others left for a client.
pub(crate) enum Message {
    /// A reply that nobody may see before the versionstamp is visible.
    Reply { reply: Reply, depends_on: Versionstamp, size_bytes: usize },
    /// What it knows is no longer true.
    Invalidation(Invalidation),
}

/// Bytes of invalidations that a client may leave lying; more become one that says that everything may have changed.
const INVALIDATIONS_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What a message takes next to its bytes.
const MESSAGE_OVERHEAD_BYTES: usize = 200;

#[derive(Default)]
struct Inbox {
    messages: VecDeque<Message>,
    /// Those of replies.
    size_bytes: usize,
    invalidation_bytes: usize,
    /// Since when the replies are over the soft limit.
    over_since: Option<Instant>,
    waker: Option<Waker>,
}

impl Inbox {
    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        match &message {
            Message::Reply { size_bytes, .. } => self.size_bytes -= size_bytes,
            Message::Invalidation(news) => self.invalidation_bytes -= news.size_bytes(),
        }
        Some(message)
    }

    fn invalidate(&mut self, mut news: Invalidation) {
        if self.invalidation_bytes + news.size_bytes() > INVALIDATIONS_SIZE_BYTES_MAX {
            self.messages.retain(|message| matches!(message, Message::Reply { .. }));
            self.invalidation_bytes = 0;
            news.keys = None;
        }
        let news = match self.messages.back_mut() {
            Some(Message::Invalidation(last)) => {
                let before = last.size_bytes();
                let rest = last.absorb(news);
                self.invalidation_bytes = self.invalidation_bytes + last.size_bytes() - before;
                rest
            }
            _ => Some(news),
        };
        if let Some(news) = news {
            self.invalidation_bytes += news.size_bytes();
            self.messages.push_back(Message::Invalidation(news));
        }
    }
}

/// One connection, as others see it.
pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) local_address: Option<SocketAddr>,
    pub(crate) connected_at: Instant,
    pub(crate) seen: Mutex<Seen>,
    is_killed: AtomicBool,
    /// Another client ends its waiting; with an error.
    unblock: Mutex<Option<bool>>,
    inbox: Mutex<Inbox>,
    limits: Arc<OutputLimits>,
}

impl Client {
    /// What it may leave lying.
    pub(crate) fn output_limit(&self) -> Limit {
        self.limits.get(if self.listens() { Class::Pubsub } else { Class::Normal })
    }

    /// Ends its waiting for an element, as if the time was over or `with_error`; whether it waits.
    pub(crate) fn unblock(&self, with_error: bool) -> bool {
        if !self.seen.lock().is_blocked {
            return false;
        }
        *self.unblock.lock() = Some(with_error);
        if let Some(waker) = self.inbox.lock().waker.take() {
            waker.wake();
        }
        true
    }

    /// What [`Client::unblock`] left.
    pub(crate) fn take_unblock(&self) -> Option<bool> {
        self.unblock.lock().take()
    }

    /// Leaves a message of about so many bytes for the client; it is sent between two of its replies. A client that has
    /// left too much lying is disconnected.
    pub(crate) fn push(&self, reply: Reply, size_bytes: usize, depends_on: Versionstamp) {
        let size_bytes = size_bytes + MESSAGE_OVERHEAD_BYTES;
        let mut inbox = self.inbox.lock();
        let inbox = &mut *inbox;
        inbox.size_bytes += size_bytes;
        let is_over = |over_since: &mut Option<Instant>, bytes| {
            self.output_limit().of_what_is_left().is_over(bytes, Instant::now(), over_since)
        };
        let is_worth_a_look = inbox.size_bytes > SMALL_OUTPUT_SIZE_BYTES || inbox.over_since.is_some();
        if is_worth_a_look && is_over(&mut inbox.over_since, inbox.size_bytes) {
            self.is_killed.store(true, Ordering::SeqCst);
            inbox.messages.clear();
        } else {
            inbox.messages.push_back(Message::Reply { reply, depends_on, size_bytes });
        }
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// Leaves the news that what it knows has changed. However much that is, it takes little room.
    pub(crate) fn invalidate(&self, news: Invalidation) {
        let mut inbox = self.inbox.lock();
        inbox.invalidate(news);
        if let Some(waker) = inbox.waker.take() {
            waker.wake();
        }
    }

    /// Ends the connection.
    pub(crate) fn kill(&self) {
        self.is_killed.store(true, Ordering::SeqCst);
        if let Some(waker) = self.inbox.lock().waker.take() {
            waker.wake();
        }
    }

    /// Whether it listens to anything.
    pub(crate) fn listens(&self) -> bool {
        self.seen.lock().subscriptions != [0, 0, 0]
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed.load(Ordering::SeqCst)
    }

    /// The next message, if there is one.
    pub(crate) fn take_message(&self) -> Option<Message> {
        self.inbox.lock().pop()
    }

    /// The next message, none while the client `is_full`; ready with `None` when the client is to end.
    pub(crate) fn poll_inbox(&self, is_full: bool, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        if self.is_killed() {
            return Poll::Ready(None);
        }
        let mut inbox = self.inbox.lock();
        if !is_full && let Some(message) = inbox.pop() {
            return Poll::Ready(Some(message));
        }
        if self.is_killed() {
            return Poll::Ready(None);
        }
        if !inbox.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inbox.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Every connection of the Redis protocol.
#[derive(Default)]
pub(crate) struct Clients {
    last_id: AtomicU64,
    open: Mutex<BTreeMap<u64, Arc<Client>>>,
    pub(crate) limits: Arc<OutputLimits>,
}

impl Clients {
    /// A new connection.
    pub(crate) fn open(&self, address: Option<SocketAddr>, local_address: Option<SocketAddr>) -> Arc<Client> {
        let client = Arc::new(Client {
            id: self.last_id.fetch_add(1, Ordering::Relaxed) + 1,
            address,
            local_address,
            connected_at: Instant::now(),
            seen: Mutex::new(Seen { version: 2, ..Seen::default() }),
            is_killed: AtomicBool::new(false),
            unblock: Mutex::new(None),
            inbox: Mutex::default(),
            limits: self.limits.clone(),
        });
        self.open.lock().insert(client.id, client.clone());
        client
    }

    /// A connection has ended.
    pub(crate) fn close(&self, id: u64) {
        self.open.lock().remove(&id);
    }

    /// All of them, by id.
    pub(crate) fn all(&self) -> Vec<Arc<Client>> {
        self.open.lock().values().cloned().collect()
    }

    /// The one with this id.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<Client>> {
        self.open.lock().get(&id).cloned()
    }

    /// How many there have been.
    pub(crate) fn opened(&self) -> u64 {
        self.last_id.load(Ordering::Relaxed)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.open.lock().len()
    }
}
