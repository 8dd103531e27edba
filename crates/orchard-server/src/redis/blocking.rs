//! Commands that wait for an element: what they take, and who of those that wait is next.
//!
//! - A command that finds nothing leaves a [`Wait`] on its session; the connection stops there and tries again whenever
//!   something in the keys changed.
//! - Whoever came first is served first: a connection takes from a key only while it is the first in that key's queue, and
//!   wakes the next one when it leaves.

use super::command::Command;
use super::context::Context;
use super::error::RedisError;
use super::families::{list_end, texts_reply};
use crate::Server;
use orchard_wire::resp::number::parse_double;
use orchard_wire::resp::{Args, OwnedArgs, Reply, RespVersion};
use orcharddb::collection::Scored;
use orcharddb::{CollectionError, Key, SpaceId, WatchTarget, Watcher};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// From what is popped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PopKind {
    List,
    ZSet,
}

/// What is taken, and how it is told.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// One element of the first key that has one: `BLPOP`, `BZPOPMIN` and the like.
    Pop { kind: PopKind, keys: Vec<Vec<u8>>, last: bool },
    /// Several elements of the first key that has one: `LMPOP`, `ZMPOP`.
    PopMany { kind: PopKind, keys: Vec<Vec<u8>>, last: bool, count: u64 },
    /// From one list to another.
    Move { from: Vec<u8>, to: Vec<u8>, from_back: bool, to_back: bool },
}

impl Operation {
    fn kind(&self) -> PopKind {
        match self {
            Operation::Pop { kind, .. } | Operation::PopMany { kind, .. } => *kind,
            Operation::Move { .. } => PopKind::List,
        }
    }

    fn names(&self) -> &[Vec<u8>] {
        match self {
            Operation::Pop { keys, .. } | Operation::PopMany { keys, .. } => keys,
            Operation::Move { from, .. } => std::slice::from_ref(from),
        }
    }

    /// The reply when there is nothing, and none is waited for.
    pub(crate) fn nothing(&self) -> Reply {
        match self {
            Operation::Pop { .. } | Operation::PopMany { .. } => Reply::NullArray,
            Operation::Move { .. } => Reply::Null,
        }
    }
}

/// A command that waits.
pub(crate) struct Wait {
    pub(crate) operation: Operation,
    pub(crate) space: SpaceId,
    pub(crate) keys: Vec<Key>,
    /// `None`: for ever.
    pub(crate) timeout: Option<Duration>,
    /// The command, for those who are told of it.
    pub(crate) command: Option<(&'static Command, OwnedArgs)>,
}

/// How long a command waits; `None`: for ever.
pub(crate) fn timeout(text: &[u8]) -> Result<Option<Duration>, RedisError> {
    let seconds =
        parse_double(text).ok_or_else(|| RedisError::err("timeout is not a float or out of range"))?;
    if seconds < 0.0 {
        return Err(RedisError::err("timeout is negative"));
    }
    if seconds * 1_000.0 > i64::MAX as f64 {
        return Err(RedisError::err("timeout is out of range"));
    }
    const SECONDS_MAX: f64 = 1e9;
    // Redis counts in more digits: what is not zero is some time, however short.
    let digits = text.split(|byte| byte.eq_ignore_ascii_case(&b'e')).next().unwrap_or(text);
    let is_some = digits.iter().any(|byte| (b'1'..=b'9').contains(byte));
    Ok(is_some.then(|| Duration::from_secs_f64(seconds.min(SECONDS_MAX)).max(Duration::from_millis(1))))
}

/// `numkeys key [key ...] LEFT|RIGHT|MIN|MAX [COUNT n]`
pub(crate) fn parse_many(args: Args<'_>, at: usize, kind: PopKind) -> Result<Operation, RedisError> {
    use orchard_wire::resp::number::parse_integer;
    let positive = |text: &[u8]| parse_integer(text).filter(|number| *number > 0);
    let count = positive(args.at(at)).ok_or_else(|| RedisError::err("numkeys should be greater than 0"))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let next = at.saturating_add(count).saturating_add(1);
    let Some(word) = args.get(next) else { return Err(RedisError::SYNTAX) };
    let last = match kind {
        PopKind::List => list_end(word)?,
        PopKind::ZSet if word.eq_ignore_ascii_case(b"min") => false,
        PopKind::ZSet if word.eq_ignore_ascii_case(b"max") => true,
        PopKind::ZSet => return Err(RedisError::SYNTAX),
    };
    let keys = args.iter().skip(at + 1).take(count).map(<[u8]>::to_vec).collect();
    let count = match (args.get(next + 1), args.get(next + 2)) {
        (None, _) => 1,
        (Some(option), Some(text)) if option.eq_ignore_ascii_case(b"count") => {
            let count = positive(text);
            let count = count.ok_or_else(|| RedisError::err("count should be greater than 0"))?;
            if args.len() > next + 3 {
                return Err(RedisError::SYNTAX);
            }
            count.unsigned_abs()
        }
        _ => return Err(RedisError::SYNTAX),
    };
    Ok(Operation::PopMany { kind, keys, last, count })
}

/// Does it if it can be done; the reply says so if not.
pub(crate) fn attempt_now(cx: &mut Context<'_, '_>, operation: &Operation) -> Result<Reply, RedisError> {
    let reply = attempt(cx, operation, false, |_| true)?;
    Ok(reply.unwrap_or_else(|| operation.nothing()))
}

/// Does it, or lets the connection wait until it can be done; inside `MULTI` nobody waits.
pub(crate) fn run(
    cx: &mut Context<'_, '_>,
    operation: Operation,
    timeout: Option<Duration>,
) -> Result<Reply, RedisError> {
    let names = operation.names();
    let keys = names.iter().map(|name| cx.key(name)).collect::<Result<Vec<_>, _>>()?;
    let space = cx.space;
    let server = cx.server;
    let may_wait = cx.session.may_wait;
    // Those who wait already come first.
    let is_free = |at: usize| {
        !may_wait || keys.get(at).is_none_or(|key| !server.redis.waiting.is_waited_for(space, key))
    };
    if let Some(reply) = attempt(cx, &operation, false, is_free)? {
        return Ok(reply);
    }
    if !may_wait {
        return Ok(operation.nothing());
    }
    cx.session.wait = Some(Wait { operation, space, keys, timeout, command: None });
    Ok(Reply::None)
}

/// A key of another type is as good as absent to those who wait.
fn unless_waiting<T>(result: Result<T, orcharddb::Error>, is_waiting: bool) -> Result<Option<T>, RedisError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(orcharddb::Error::Collection(CollectionError::WrongType { .. })) if is_waiting => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Does it with the keys that `is_free` names by their place. `None`: there is nothing to take.
pub(crate) fn attempt(
    cx: &mut Context<'_, '_>,
    operation: &Operation,
    is_waiting: bool,
    is_free: impl Fn(usize) -> bool,
) -> Result<Option<Reply>, RedisError> {
    match operation {
        Operation::Pop { kind, keys, last } => {
            let Some((name, popped)) = pop_first(cx, *kind, keys, *last, 1, is_waiting, is_free)? else {
                return Ok(None);
            };
            let mut items = vec![Reply::bulk(name)];
            match popped {
                Popped::Values(values) => items.extend(values),
                Popped::Scored(members) => {
                    let members = members.into_iter();
                    items.extend(members.flat_map(|(name, score)| [Reply::Bulk(name), Reply::Double(score)]));
                }
            }
            Ok(Some(Reply::Array(items)))
        }
        Operation::PopMany { kind, keys, last, count } => {
            let Some((name, popped)) = pop_first(cx, *kind, keys, *last, *count, is_waiting, is_free)? else {
                return Ok(None);
            };
            let items = match popped {
                Popped::Values(values) => Reply::Array(values),
                Popped::Scored(members) => super::families::scored_reply(members, true, RespVersion::Three),
            };
            Ok(Some(Reply::Array(vec![Reply::bulk(name), items])))
        }
        Operation::Move { from, to, from_back, to_back } => {
            let (from, to) = (cx.key(from)?, cx.key(to)?);
            let source = unless_waiting(cx.tx.list_in(cx.space, from.clone()), is_waiting)?;
            if !is_free(0) || source.is_none_or(|source| source.is_empty()) {
                return Ok(None);
            }
            // Both types are looked at before anything is written.
            cx.tx.list_in(cx.space, to.clone())?;
            if from == to {
                // Never empty in between, which would end its time to live.
                let mut list = cx.tx.list_in(cx.space, from)?;
                let Some(value) = list.get(if *from_back { -1 } else { 0 })? else { return Ok(None) };
                let reply = Reply::Bulk(super::value::text_of(&value)?);
                list.extend([value], !*to_back)?;
                list.pop(1, *from_back)?;
                return Ok(Some(reply));
            }
            let popped = cx.tx.list_in(cx.space, from)?.pop(1, *from_back)?.pop();
            let Some(value) = popped else { return Ok(None) };
            let reply = Reply::Bulk(super::value::text_of(&value)?);
            cx.tx.list_in(cx.space, to)?.extend([value], !*to_back)?;
            Ok(Some(reply))
        }
    }
}

enum Popped {
    Values(Vec<Reply>),
    Scored(Vec<Scored>),
}

fn pop_first<'k>(
    cx: &mut Context<'_, '_>,
    kind: PopKind,
    keys: &'k [Vec<u8>],
    last: bool,
    count: u64,
    is_waiting: bool,
    is_free: impl Fn(usize) -> bool,
) -> Result<Option<(&'k [u8], Popped)>, RedisError> {
    for (at, name) in keys.iter().enumerate() {
        let key = cx.key(name)?;
        match kind {
            PopKind::List => {
                let list = unless_waiting(cx.tx.list_in(cx.space, key), is_waiting)?;
                let Some(mut list) = list else { continue };
                if !list.is_empty() && is_free(at) {
                    let values = list.pop(count, last)?;
                    let Reply::Array(values) = texts_reply(&values)? else { return Ok(None) };
                    return Ok(Some((name, Popped::Values(values))));
                }
            }
            PopKind::ZSet => {
                let zset = unless_waiting(cx.tx.zset_in(cx.space, key), is_waiting)?;
                let Some(mut zset) = zset else { continue };
                if !zset.is_empty()? && is_free(at) {
                    return Ok(Some((name, Popped::Scored(zset.pop(count, last)?))));
                }
            }
        }
    }
    Ok(None)
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Waiter {
    number: u64,
    space: SpaceId,
    keys: Vec<Key>,
    /// Those of the other kind do not stand in its way.
    kind: PopKind,
    is_woken: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// Keys that were written since it looked, in their order.
    written: Mutex<Vec<Key>>,
}

/// Keys that one waiter is told of between two looks; of more it looks through its own in their order.
const WRITTEN_MAX: usize = 64;

impl Waiter {
    /// This key is being written.
    fn note(&self, key: &Key) {
        let mut written = self.written.lock();
        if written.len() < WRITTEN_MAX && !written.contains(key) {
            written.push(key.clone());
        }
    }

    /// The keys that were written since the last call, in their order.
    pub(crate) fn take_written(&self) -> Vec<Key> {
        std::mem::take(&mut *self.written.lock())
    }

    /// It may be this one's turn.
    fn wake(&self) {
        self.is_woken.store(true, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().take() {
            waker.wake();
        }
    }

    fn poll_turn(&self, cx: &mut std::task::Context<'_>) -> Poll<()> {
        if self.is_woken.swap(false, Ordering::SeqCst) {
            return Poll::Ready(());
        }
        *self.waker.lock() = Some(cx.waker().clone());
        // Once more: whoever wakes after this finds the waker.
        if self.is_woken.swap(false, Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// A connection that waits; it leaves the queues when this goes.
pub(crate) struct Blocked<'a> {
    server: &'a Server,
    pub(crate) wait: Wait,
    pub(crate) waiter: Arc<Waiter>,
    /// Tells of what others than Redis clients write.
    watcher: Watcher,
    deadline: Option<Pin<Box<Sleep>>>,
}

/// What a waiting connection is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// Try again.
    Turn,
    /// The time is over, or another client ended it.
    TimedOut,
    /// Another client ended it with an error.
    Ended,
}

impl<'a> Blocked<'a> {
    pub(crate) fn new(server: &'a Server, wait: Wait) -> Blocked<'a> {
        let waiter = server.redis.waiting.join(wait.space, &wait.keys, wait.operation.kind());
        let targets = wait.keys.iter().map(|key| WatchTarget::key(wait.space, key)).collect();
        let watcher = server.db.watch(targets);
        // Something may have come before the queue was joined.
        waiter.wake();
        let deadline = wait.timeout.map(|timeout| Box::pin(sleep_until(Instant::now() + timeout)));
        Blocked { server, wait, waiter, watcher, deadline }
    }

    pub(crate) fn poll(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Told> {
        if self.waiter.poll_turn(cx).is_ready() || self.watcher.poll_changed(cx).is_ready() {
            return Poll::Ready(Told::Turn);
        }
        match &mut self.deadline {
            Some(deadline) => deadline.as_mut().poll(cx).map(|()| Told::TimedOut),
            None => Poll::Pending,
        }
    }
}

impl Drop for Blocked<'_> {
    fn drop(&mut self) {
        self.server.redis.waiting.leave(&self.waiter);
    }
}

#[derive(Default)]
struct Queues {
    last: u64,
    by_key: BTreeMap<(SpaceId, Key), VecDeque<Arc<Waiter>>>,
}

/// Who waits for which key, in the order of their coming.
#[derive(Default)]
pub(crate) struct Waiting {
    queues: Mutex<Queues>,
}

impl Waiting {
    fn is_waited_for(&self, space: SpaceId, key: &Key) -> bool {
        let queues = self.queues.lock();
        !queues.by_key.is_empty() && queues.by_key.contains_key(&(space, key.clone()))
    }

    /// Joins the queues of these keys.
    pub(crate) fn join(&self, space: SpaceId, keys: &[Key], kind: PopKind) -> Arc<Waiter> {
        let mut queues = self.queues.lock();
        queues.last += 1;
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        let waiter = Arc::new(Waiter {
            number: queues.last,
            space,
            keys,
            kind,
            is_woken: AtomicBool::new(false),
            waker: Mutex::default(),
            written: Mutex::default(),
        });
        for key in &waiter.keys {
            queues.by_key.entry((space, key.clone())).or_default().push_back(waiter.clone());
        }
        waiter
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.queues.lock().by_key.is_empty()
    }

    /// A key is being written, under the commit lock; whoever is first in its queue looks at it first.
    pub(crate) fn note(&self, space: SpaceId, key: &Key) {
        let queues = self.queues.lock();
        if let Some(queue) = queues.by_key.get(&(space, key.clone())) {
            firsts(queue).for_each(|waiter| waiter.note(key));
        }
    }

    /// Something was written to a key: whoever is first in its queue tries again.
    pub(crate) fn wake(&self, space: SpaceId, key: &Key) {
        let queues = self.queues.lock();
        if let Some(queue) = queues.by_key.get(&(space, key.clone())) {
            firsts(queue).for_each(|waiter| waiter.wake());
        }
    }

    /// Something was written somewhere: the first of every queue tries again.
    pub(crate) fn wake_all(&self) {
        self.queues.lock().by_key.values().flat_map(firsts).for_each(|waiter| waiter.wake());
    }

    /// Whether it is the first of its kind in the queue of a key.
    pub(crate) fn is_first(&self, waiter: &Waiter, key: &Key) -> bool {
        let queues = self.queues.lock();
        let queue = queues.by_key.get(&(waiter.space, key.clone()));
        let first = queue.and_then(|queue| queue.iter().find(|other| other.kind == waiter.kind));
        first.is_some_and(|first| first.number == waiter.number)
    }

    /// Leaves all queues, and wakes those who are first now.
    pub(crate) fn leave(&self, waiter: &Waiter) {
        let mut queues = self.queues.lock();
        for key in &waiter.keys {
            let place = (waiter.space, key.clone());
            let Some(queue) = queues.by_key.get_mut(&place) else { continue };
            queue.retain(|other| other.number != waiter.number);
            firsts(queue).for_each(|waiter| waiter.wake());
            if queue.is_empty() {
                queues.by_key.remove(&place);
            }
        }
    }
}

/// The first of each kind, who may try.
fn firsts(queue: &VecDeque<Arc<Waiter>>) -> impl Iterator<Item = &Arc<Waiter>> {
    let kinds = [PopKind::List, PopKind::ZSet].into_iter();
    kinds.filter_map(|kind| queue.iter().find(move |waiter| waiter.kind == kind))
}
