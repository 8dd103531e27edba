//! Queues by name: at least once, and never after an ack.
//!
//! - Everything a queue holds is entries of [`SpaceId::QUEUES`], and everything that happens to it is a commit, so a crash
//!   leaves each step whole or not done. An enqueue is plain mutations ([`enqueue`]) that ride in any commit.
//! - Who leases a message has it until the lease ends; then it is delivered again. That happens when somebody leases next,
//!   not by a timer: only a lease can tell the difference, and a queue that nobody asks writes nothing. What is due can be
//!   asked for ([`Queue::next_due`]), so that a consumer knows how long to sleep.
//! - When the last lease of a message ends it is a dead letter though nobody leases: the background sees to that.
//! - A lease, ack or nack is decided under the commit lock and may be told once it is as durable as the database
//!   promises: an acknowledged ack is never taken back.
//! - Messages come in the order of their ready times, and those of one time in the order of their commits; about so, when
//!   thousands wait that no lease has looked at.

mod alarm;
mod dead;
mod hints;
mod layout;
mod look;
mod steps;
mod wake;

pub(crate) use alarm::LastLease;
pub(crate) use hints::AllHints;

use crate::db::{Db, Pending};
use crate::error::Error;
use layout::{FAR, Id, Layout, Message, Wishes};
use orchard_engine::error::{CommitError, ReadError};
use orchard_types::{
    DurationMs, Expiry, Key, LimitError, Mutation, Operation, SpaceId, UnixMillis, Value, limits,
};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

pub use dead::DeadLetter;

/// The queue that Deno's `enqueue` fills.
pub const KV_CONNECT: &str = "kv-connect";

/// Waits between the attempts of a message that does not say otherwise.
pub const BACKOFF_DEFAULT: [DurationMs; 5] =
    [DurationMs(100), DurationMs(1_000), DurationMs(5_000), DurationMs(30_000), DurationMs(60_000)];

/// What is asked of a queue cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum QueueError {
    /// The name is empty. Give one.
    EmptyName,
    /// The name holds a control character. Leave it out.
    ControlCharacter,
    /// A lease of no messages, or for no time.
    Nothing,
    /// Something is larger than it may be.
    Limit(LimitError),
}

impl fmt::Display for QueueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueueError::EmptyName => f.write_str("the name of a queue is empty"),
            QueueError::ControlCharacter => f.write_str("the name of a queue holds a control character"),
            QueueError::Nothing => f.write_str("a lease is for at least one message and 1 ms"),
            QueueError::Limit(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for QueueError {}

impl From<LimitError> for QueueError {
    fn from(error: LimitError) -> Self {
        QueueError::Limit(error)
    }
}

fn check_ms(name: &'static str, limit: u64, actual: u64) -> Result<(), QueueError> {
    if actual > limit { Err(LimitError { name, limit, actual }.into()) } else { Ok(()) }
}

fn check_count(messages: usize) -> Result<(), QueueError> {
    Ok(LimitError::check("queue_messages", limits::QUEUE_MESSAGES_MAX, messages)?)
}

/// Whether a text can name a queue.
///
/// # Errors
/// [`QueueError`]
pub fn check_queue_name(name: &str) -> Result<(), QueueError> {
    layout(name).map(drop)
}

fn layout(queue: &str) -> Result<Layout, QueueError> {
    if queue.is_empty() {
        return Err(QueueError::EmptyName);
    }
    if queue.chars().any(char::is_control) {
        return Err(QueueError::ControlCharacter);
    }
    LimitError::check("queue_name_size_bytes", limits::QUEUE_NAME_SIZE_BYTES_MAX, queue.len())?;
    // Without control characters nothing is escaped, so it is as short as it was.
    Ok(Layout::new(crate::tuple::name(queue.as_bytes()).map(Key::into_bytes).unwrap_or_default()))
}

/// When a message is ready.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ready {
    /// At once.
    #[default]
    Now,
    /// So long after its commit's log time.
    After(DurationMs),
    /// At a moment; at once if that is past.
    At(UnixMillis),
}

/// How a message is delivered. Every field has a default.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct EnqueueOptions {
    /// When it is ready.
    pub ready: Ready,
    /// Waits behind each attempt that ended in a nack; there is one attempt more than waits. Default:
    /// [`BACKOFF_DEFAULT`].
    pub backoff: Option<Vec<DurationMs>>,
    /// Where the payload is written when all attempts are used up, in addition to the dead letters.
    pub keys_if_undelivered: Vec<(SpaceId, Key)>,
}

impl EnqueueOptions {
    fn validate(&self) -> Result<(), QueueError> {
        if let Ready::After(delay) = self.ready {
            check_ms("queue_delay_ms", limits::QUEUE_DELAY_MS_MAX, delay.0)?;
        }
        let steps = self.backoff.as_deref().unwrap_or_default();
        LimitError::check("queue_backoff_steps", limits::QUEUE_BACKOFF_STEPS_MAX, steps.len())?;
        for step in steps {
            check_ms("queue_delay_ms", limits::QUEUE_DELAY_MS_MAX, step.0)?;
        }
        let keys = self.keys_if_undelivered.len();
        Ok(LimitError::check("queue_undelivered_keys", limits::QUEUE_UNDELIVERED_KEYS_MAX, keys)?)
    }
}

/// The mutations that put a message into a queue, for any commit. `n`: a number that no other message for the same queue
/// has in that commit.
///
/// ```
/// use orcharddb::queue::{self, EnqueueOptions};
/// use orcharddb::{Commit, Db, SpaceId};
/// let db = Db::memory()?;
/// let mut commit = Commit::new().set(SpaceId::DEFAULT, Db::key("order")?, "apples");
/// commit.mutations.extend(queue::enqueue("mail", "confirm".into(), &EnqueueOptions::default(), 0)?);
/// db.commit(&commit)?;
/// let mail = db.queue("mail")?;
/// let messages = mail.lease(10, orcharddb::DurationMs(30_000))?.wait()?;
/// assert_eq!(messages[0].payload, "confirm".into());
/// mail.ack(&[messages[0].id])?.wait()?;
/// assert_eq!(mail.stats()?.leased, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`QueueError`]
pub fn enqueue(
    queue: &str,
    payload: Value,
    options: &EnqueueOptions,
    n: usize,
) -> Result<Vec<Mutation>, QueueError> {
    let layout = layout(queue)?;
    options.validate()?;
    let size = payload.data.len();
    LimitError::check("queue_payload_size_bytes", limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX, size)?;
    LimitError::check("commit_operations", limits::COMMIT_OPERATIONS_MAX, n)?;
    let n = u16::try_from(n).unwrap_or(u16::MAX);
    let write = |area, value, expiry| Mutation {
        space: SpaceId::QUEUES,
        key: layout.unstamped(area, n),
        operation: Operation::SetWithVersionstampSuffix { value, expiry },
    };
    let expiry = match options.ready {
        Ready::Now => Expiry::After(FAR),
        Ready::After(delay) => Expiry::After(DurationMs(FAR.0 + delay.0)),
        Ready::At(time) => Expiry::At(time.saturating_add(FAR)),
    };
    let attempts = options.backoff.as_ref().map_or(BACKOFF_DEFAULT.len(), Vec::len) + 1;
    let incoming = layout::incoming_value(attempts as u16, size as u32);
    let mut mutations =
        vec![write(layout::INCOMING, incoming, expiry), write(layout::PAYLOAD, payload, Expiry::Never)];
    if options.backoff.is_some() || !options.keys_if_undelivered.is_empty() {
        let wishes = Wishes {
            backoff: options.backoff.clone(),
            keys_if_undelivered: options.keys_if_undelivered.clone(),
        };
        mutations.push(write(layout::OPTIONS, wishes.to_value(), Expiry::Never));
    }
    Ok(mutations)
}

/// Names a message, and which delivery of it.
///
/// As text 24 hex digits, and behind a `-` how often the message was leased: `000000000000000700020000-1`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MessageId {
    id: Id,
    attempt: u16,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04x}-{}", self.id.stamp, self.id.n, self.attempt)
    }
}

/// The text names no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParseMessageIdError;

impl fmt::Display for ParseMessageIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message id is 24 hex digits, a - and a number")
    }
}

impl std::error::Error for ParseMessageIdError {}

impl FromStr for MessageId {
    type Err = ParseMessageIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (id, attempt) = text.split_once('-')?;
            let (stamp, n) = id.split_at_checked(20)?;
            let digits = |text: &str, of: fn(&u8) -> bool| text.bytes().all(|byte| of(&byte));
            if n.len() != 4 || !digits(n, u8::is_ascii_hexdigit) || !digits(attempt, u8::is_ascii_digit) {
                return None;
            }
            let id = Id { stamp: stamp.parse().ok()?, n: u16::from_str_radix(n, 16).ok()? };
            Some(MessageId { id, attempt: attempt.parse().ok()? })
        };
        parse().ok_or(ParseMessageIdError)
    }
}

/// A message as a lease or a peek shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// For ack and nack.
    pub id: MessageId,
    /// As it was given.
    pub payload: Value,
    /// The first delivery is 1; 0 if it was never leased.
    pub attempt: u16,
    /// A lease's end; when a peeked message is ready.
    pub until: UnixMillis,
}

/// How many messages are where.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct QueueStats {
    /// Ready to be leased.
    pub ready: u64,
    /// Ready later.
    pub delayed: u64,
    /// With a consumer.
    pub leased: u64,
    /// Dead letters.
    pub dead: u64,
}

/// A result that may be told once what it rests on is durable: await it, or [`Gated::wait`] for it.
pub struct Gated<T> {
    value: Option<T>,
    pending: Pending,
}

impl<T> Gated<T> {
    fn new((value, pending): (T, Pending)) -> Gated<T> {
        Gated { value: Some(value), pending }
    }

    /// Blocks until the result may be told.
    ///
    /// # Errors
    /// [`CommitError`]
    pub fn wait(self) -> Result<T, CommitError> {
        self.pending.wait()?;
        self.value.ok_or(CommitError::Closed)
    }
}

impl<T: Unpin> Future for Gated<T> {
    type Output = Result<T, CommitError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.pending).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(_)) => Poll::Ready(self.value.take().ok_or(CommitError::Closed)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }
}

/// A lease on its way: await it, or [`Leasing::wait`] for it.
pub struct Leasing {
    queue: Queue,
    leased: Gated<Vec<(Id, Message)>>,
}

impl Leasing {
    /// Blocks until the messages may be worked on.
    ///
    /// # Errors
    /// [`Error::Commit`] or [`Error::Read`]
    pub fn wait(self) -> Result<Vec<Delivery>, Error> {
        let leased = self.leased.wait()?;
        Ok(self.queue.deliveries(leased)?)
    }
}

impl Future for Leasing {
    type Output = Result<Vec<Delivery>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.leased).poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(leased) => {
                Poll::Ready(leased.map_err(Error::from).and_then(|leased| Ok(self.queue.deliveries(leased)?)))
            }
        }
    }
}

/// One queue of a database.
#[derive(Clone)]
pub struct Queue {
    db: Db,
    name: String,
    layout: Layout,
}

impl Db {
    /// The queue of this name. It exists as long as there is something in it.
    ///
    /// # Errors
    /// [`Error::Queue`] if the text is no name.
    pub fn queue(&self, name: &str) -> Result<Queue, Error> {
        Ok(Queue { db: self.clone(), name: name.to_owned(), layout: layout(name)? })
    }

    /// The names of queues that hold something, behind `after`, in order. Costs a few looks for each.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, Error> {
        use crate::scan::ScanOptions;
        use orchard_types::KeyRange;
        let mut names = Vec::new();
        let snapshot = self.snapshot();
        let mut start = match after {
            Some(after) => layout(after)?.all().end.unwrap_or_default(),
            None => bytes::Bytes::new(),
        };
        while names.len() < limit {
            let range = KeyRange { start, end: None };
            let options = ScanOptions { keys_only: true, limit: Some(1), ..ScanOptions::default() };
            let Some(entry) = snapshot.scan_in(SpaceId::QUEUES, range, options).next().transpose()? else {
                break;
            };
            // Without control characters in it the name ends at the first zero.
            let end = entry.key.iter().position(|byte| *byte == 0).map_or(entry.key.len(), |end| end + 1);
            let prefix = entry.key.get(..end).unwrap_or_default();
            names.extend(crate::tuple::decode_name(prefix).and_then(|name| String::from_utf8(name).ok()));
            let Some(next) = KeyRange::prefix(prefix).end else { break };
            start = next;
        }
        Ok(names)
    }
}

impl Queue {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a message into the queue, in a commit of its own, and blocks until it is as durable as the database promises.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn enqueue(&self, payload: impl Into<Value>, options: &EnqueueOptions) -> Result<MessageId, Error> {
        let mutations = enqueue(&self.name, payload.into(), options, 0)?;
        let committed = self.db.commit(&orchard_types::Commit { mutations, ..Default::default() })?;
        Ok(MessageId { id: Id { stamp: committed.versionstamp, n: 0 }, attempt: 0 })
    }

    /// Takes up to `max` ready messages; nobody else gets them until `visibility` has passed, and after that they are
    /// delivered again, unless they were acked.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn lease(&self, max: usize, visibility: DurationMs) -> Result<Leasing, Error> {
        if max == 0 || visibility.0 == 0 {
            return Err(QueueError::Nothing.into());
        }
        check_count(max)?;
        check_ms("queue_visibility_ms", limits::QUEUE_VISIBILITY_MS_MAX, visibility.0)?;
        let leased = self.db.exclusive(|tx| steps::lease(&self.steps(), tx, max, visibility))?;
        Ok(Leasing { queue: self.clone(), leased: Gated::new(leased) })
    }

    /// Ends messages for good. `false` for those that are gone: acked already, or among the dead letters. An ack that
    /// comes after its lease has ended counts, too, if the message is still there: its work was done.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn ack(&self, ids: &[MessageId]) -> Result<Gated<Vec<bool>>, Error> {
        check_count(ids.len())?;
        Ok(Gated::new(self.db.exclusive(|tx| steps::ack(&self.steps(), tx, ids))?))
    }

    /// Gives messages back: ready again after `delay`, or after what their backoff schedule says; a dead letter if all
    /// attempts are used up. `false` for those that are not leased as `ids` say: acked, or leased again since.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn nack(&self, ids: &[MessageId], delay: Option<DurationMs>) -> Result<Gated<Vec<bool>>, Error> {
        check_ms("queue_delay_ms", limits::QUEUE_DELAY_MS_MAX, delay.unwrap_or_default().0)?;
        check_count(ids.len())?;
        Ok(Gated::new(self.db.exclusive(|tx| steps::nack(&self.steps(), tx, ids, delay))?))
    }

    /// Removes everything from the queue, dead letters included.
    ///
    /// # Errors
    /// [`Error::Commit`]
    pub fn clear(&self) -> Result<(), Error> {
        let (_, pending) = self.db.exclusive(|tx| {
            tx.delete_range_in(SpaceId::QUEUES, self.layout.all());
            Ok::<_, Error>(())
        })?;
        pending.wait()?;
        Ok(())
    }

    fn steps(&self) -> steps::Steps<'_> {
        steps::Steps { layout: &self.layout, hints: &self.db.shared.queue_hints, engine: self.db.engine() }
    }

    /// Adds their payloads. What was acked meanwhile is left out.
    fn deliveries(&self, messages: Vec<(Id, Message)>) -> Result<Vec<Delivery>, ReadError> {
        let mut deliveries = Vec::with_capacity(messages.len());
        for (id, message) in messages {
            let entry = self.db.get_in(SpaceId::QUEUES, &self.layout.stamped(layout::PAYLOAD, id))?;
            let Some(entry) = entry else { continue };
            deliveries.push(Delivery {
                id: MessageId { id, attempt: message.attempt },
                payload: entry.value,
                attempt: message.attempt,
                until: match message.state {
                    layout::State::Scheduled(time) | layout::State::Leased(time) => time,
                    layout::State::Dead => UnixMillis(0),
                },
            });
        }
        Ok(deliveries)
    }
}
