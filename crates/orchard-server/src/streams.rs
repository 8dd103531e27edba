//! The requests of one HTTP/2 connection, worked on within the connection's own task.
//!
//! - What becomes ready together is answered together: the streams that were woken are polled first, then the connection,
//!   which writes their replies at once. As tasks of their own each would wake the connection, and the client, for itself.
//! - Of many the first replies are sent early: the client then works on them while the others are made. If it got all at
//!   once, it and the server would only ever work in turn.
//! - A wake from outside costs the runtime one wake for the whole connection, whatever number of streams it is for.
//! - A connection gives the thread back after so many rounds, or when its share of the runtime's budget is used up.
//! - There are as many streams as HTTP/2 lets the client open; they end with the connection.
//!
//! What takes long must not run here: it would hold up its neighbours. See `http::is_brief`.

use hyper::rt::Executor;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use tokio::task::coop::has_budget_remaining;

/// Rounds of streams and connection before the thread is given back.
const ROUNDS_MAX: usize = 16;

/// Streams that end before the first replies to new requests are sent. Every further share is twice as large.
const FIRST_SHARE: usize = 1;
/// Polls of streams in one round, so that one which always goes on does not keep the connection.
const POLLS_MAX: usize = 256;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the streams that a connection opens, for its [`Streams`].
#[derive(Clone, Default)]
pub(crate) struct Opener(Arc<Mutex<Vec<Stream>>>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Opener {
    fn execute(&self, stream: F) {
        self.0.lock().push(Box::pin(stream));
    }
}

/// The streams of one connection.
pub(crate) struct Streams {
    opened: Opener,
    slots: Vec<Slot>,
    free: Vec<usize>,
    /// Slots to poll, taken from `woken`.
    due: VecDeque<usize>,
    woken: Arc<Mutex<Woken>>,
    connection: Arc<Awaited>,
    connection_waker: Waker,
}

struct Slot {
    stream: Option<Stream>,
    awaited: Arc<Awaited>,
    waker: Waker,
}

/// What was woken and not polled yet.
struct Woken {
    slots: Vec<usize>,
    connection: bool,
    /// The task, unless it is running: then it looks here before it rests.
    resting: Option<Waker>,
}

/// What one waker stands for: a slot, or the connection itself.
struct Awaited {
    slot: Option<usize>,
    is_woken: AtomicBool,
    woken: Arc<Mutex<Woken>>,
}

impl Awaited {
    fn new(slot: Option<usize>, woken: &Arc<Mutex<Woken>>) -> Arc<Awaited> {
        Arc::new(Awaited { slot, is_woken: AtomicBool::new(false), woken: woken.clone() })
    }
}

impl Wake for Awaited {
    fn wake(self: Arc<Awaited>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Awaited>) {
        if self.is_woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut woken = self.woken.lock();
        match self.slot {
            Some(slot) => woken.slots.push(slot),
            None => woken.connection = true,
        }
        let resting = woken.resting.take();
        drop(woken);
        if let Some(task) = resting {
            task.wake();
        }
    }
}

impl Streams {
    pub(crate) fn new() -> Streams {
        // The first poll is of the connection.
        let woken = Arc::new(Mutex::new(Woken { slots: Vec::new(), connection: true, resting: None }));
        let connection = Awaited::new(None, &woken);
        Streams {
            opened: Opener::default(),
            slots: Vec::new(),
            free: Vec::new(),
            due: VecDeque::new(),
            woken,
            connection_waker: Waker::from(connection.clone()),
            connection,
        }
    }

    /// Where the connection is to put its streams.
    pub(crate) fn opener(&self) -> Opener {
        self.opened.clone()
    }

    /// Polls the streams, and then the connection, as long as one of them goes on.
    pub(crate) fn poll<C: Future>(
        &mut self,
        mut connection: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<C::Output> {
        let mut share = FIRST_SHARE;
        for _ in 0..ROUNDS_MAX {
            self.poll_streams(share);
            share *= 2;
            self.note_connection_polled();
            let polled = connection.as_mut().poll(&mut Context::from_waker(&self.connection_waker));
            if polled.is_ready() {
                return polled;
            }
            if self.take_opened() {
                share = FIRST_SHARE;
            }
            if self.rest(cx) {
                return Poll::Pending;
            }
            if !has_budget_remaining() {
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// What happens from here on is news to the connection.
    fn note_connection_polled(&self) {
        let mut woken = self.woken.lock();
        woken.connection = false;
        // Under the lock, so that whoever sets it after this can still say so.
        self.connection.is_woken.store(false, Ordering::Release);
    }

    /// Whether there is nothing to do: then the task is woken when there is.
    fn rest(&mut self, cx: &Context<'_>) -> bool {
        if !self.due.is_empty() {
            return false;
        }
        let mut woken = self.woken.lock();
        if woken.connection || !woken.slots.is_empty() {
            return false;
        }
        woken.resting = Some(cx.waker().clone());
        true
    }

    /// Polls what is woken, until `share` streams have ended.
    fn poll_streams(&mut self, share: usize) {
        let mut ended = 0;
        for _ in 0..POLLS_MAX {
            if self.due.is_empty() {
                self.due.extend(self.woken.lock().slots.drain(..));
            }
            let Some(at) = self.due.pop_front() else { return };
            if self.poll_stream(at) {
                ended += 1;
                if ended == share {
                    return;
                }
            }
        }
    }

    /// Whether the stream has ended.
    fn poll_stream(&mut self, at: usize) -> bool {
        let Some(slot) = self.slots.get_mut(at) else { return false };
        slot.awaited.is_woken.store(false, Ordering::Release);
        let Some(stream) = &mut slot.stream else { return false };
        let has_ended = stream.as_mut().poll(&mut Context::from_waker(&slot.waker)).is_ready();
        if has_ended {
            slot.stream = None;
            self.free.push(at);
        }
        has_ended
    }

    /// Gives the streams that the connection has opened their slots; whether there were any.
    fn take_opened(&mut self) -> bool {
        let mut opened = self.opened.0.lock();
        let has_opened = !opened.is_empty();
        for stream in opened.drain(..) {
            let at = match self.free.pop() {
                Some(at) => at,
                None => {
                    let awaited = Awaited::new(Some(self.slots.len()), &self.woken);
                    self.slots.push(Slot { stream: None, waker: Waker::from(awaited.clone()), awaited });
                    self.slots.len() - 1
                }
            };
            if let Some(slot) = self.slots.get_mut(at) {
                slot.stream = Some(stream);
                slot.waker.wake_by_ref();
            }
        }
        has_opened
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        // A stream holds an opener, which would hold the stream.
        let opened = std::mem::take(&mut *self.opened.0.lock());
        drop(opened);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;
    use tokio::sync::oneshot;

    /// What a connection sees: how many streams had ended at each of its polls.
    #[derive(Default)]
    struct Seen {
        ended: Arc<AtomicUsize>,
        at_polls: Vec<usize>,
    }

    impl Seen {
        /// Polls once, as a connection that never ends.
        fn poll(&mut self, streams: &mut Streams) -> Poll<()> {
            self.poll_with(streams, &Waker::from(Arc::new(Task::default())))
        }

        fn poll_with(&mut self, streams: &mut Streams, task: &Waker) -> Poll<()> {
            let connection = std::future::poll_fn(|_| {
                self.at_polls.push(self.ended.load(Ordering::SeqCst));
                Poll::<()>::Pending
            });
            streams.poll(std::pin::pin!(connection), &mut Context::from_waker(task))
        }

        /// Opens a stream that ends when the sender is used.
        fn open(&self, streams: &Streams) -> oneshot::Sender<()> {
            let (sender, receiver) = oneshot::channel();
            let ended = self.ended.clone();
            streams.opener().execute(async move {
                let _ = receiver.await;
                ended.fetch_add(1, Ordering::SeqCst);
            });
            sender
        }
    }

    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Task>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn of_many_replies_the_first_are_sent_early_and_the_others_together() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        let senders: Vec<_> = (0..12).map(|_| seen.open(&streams)).collect();
        assert!(seen.poll(&mut streams).is_pending());
        seen.at_polls.clear();
        senders.into_iter().for_each(drop);
        assert!(seen.poll(&mut streams).is_pending());
        assert_eq!(seen.at_polls, [1, 3, 7, 12]);
    }

    #[test]
    fn new_requests_get_their_first_reply_early() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        let opened: Vec<_> = (0..12).map(|_| seen.open(&streams)).collect();
        opened.into_iter().for_each(drop);
        assert!(seen.poll(&mut streams).is_pending());
        assert_eq!(seen.at_polls, [0, 1, 3, 7, 12]);
    }

    #[test]
    fn many_wakes_wake_the_task_once() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        let senders: Vec<_> = (0..12).map(|_| seen.open(&streams)).collect();
        let task = Arc::new(Task::default());
        assert!(seen.poll_with(&mut streams, &Waker::from(task.clone())).is_pending());
        assert_eq!(task.0.load(Ordering::SeqCst), 0);
        senders.into_iter().for_each(drop);
        assert_eq!(task.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_stream_that_always_goes_on_gives_the_thread_back() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        streams.opener().execute(std::future::poll_fn(|cx| {
            cx.waker().wake_by_ref();
            Poll::Pending
        }));
        let other = seen.open(&streams);
        drop(other);
        let task = Arc::new(Task::default());
        assert!(seen.poll_with(&mut streams, &Waker::from(task.clone())).is_pending());
        assert_eq!(seen.ended.load(Ordering::SeqCst), 1, "its neighbour was polled");
        assert_eq!(task.0.load(Ordering::SeqCst), 1, "and it goes on later");
    }

    #[test]
    fn slots_are_used_again() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        for _ in 0..100 {
            drop(seen.open(&streams));
            assert!(seen.poll(&mut streams).is_pending());
        }
        assert_eq!((seen.ended.load(Ordering::SeqCst), streams.slots.len()), (100, 1));
    }

    #[test]
    fn streams_end_with_the_connection() {
        let (mut streams, mut seen) = (Streams::new(), Seen::default());
        let polled = seen.open(&streams);
        assert!(seen.poll(&mut streams).is_pending());
        let opener = streams.opener();
        let (opened, receiver) = oneshot::channel::<()>();
        streams.opener().execute(async move {
            let _ = receiver.await;
            drop(opener);
        });
        drop(streams);
        assert!(polled.is_closed() && opened.is_closed());
    }

    #[test]
    fn wakes_from_other_threads_are_not_lost() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build();
        let mut streams = Streams::new();
        let ended = runtime.expect("a runtime").block_on(async move {
            let seen = Seen::default();
            let (ended, opener) = (seen.ended.clone(), streams.opener());
            let rounds = tokio::spawn(async move {
                // A connection that opens a stream after the other and ends with the last one.
                let mut left = 10_000;
                let mut running: Option<oneshot::Receiver<()>> = None;
                let connection = std::future::poll_fn(|cx| {
                    loop {
                        if let Some(receiver) = &mut running {
                            if Pin::new(receiver).poll(cx).is_pending() {
                                return Poll::Pending;
                            }
                            if left == 0 {
                                return Poll::Ready(());
                            }
                        }
                        left -= 1;
                        let (sender, receiver) = oneshot::channel();
                        running = Some(receiver);
                        let ended = seen.ended.clone();
                        opener.execute(async move {
                            let elsewhere = tokio::spawn(async {});
                            let _ = elsewhere.await;
                            ended.fetch_add(1, Ordering::SeqCst);
                            let _ = sender.send(());
                        });
                    }
                });
                let mut connection = std::pin::pin!(connection);
                std::future::poll_fn(|cx| streams.poll(connection.as_mut(), cx)).await;
            });
            rounds.await.expect("it ends");
            ended
        });
        assert_eq!(ended.load(Ordering::SeqCst), 10_000);
    }
}
