//! The feed of a database: its commits in order, from any version that the log still holds.
//!
//! - Every commit behind the start that touches what is asked for comes once, in order, when it is visible; or a gap is
//!   told, and then the feed goes on behind that.
//! - Only the space asked for is shown. Elements of collections are no entries: their changes show as changes of the
//!   collection's key.
//! - A slow reader holds back nobody and fills no memory: beyond a short queue it reads the log by itself. If it is
//!   slower than the log's retention it is told a gap.

use crate::db::{Db, Shared};
use crate::watch::hub::{FeedState, Listener, Registration};
use crate::watch::park;
use crate::watch::routes::{Routes, WatchTarget, touched};
use bytes::Bytes;
use orchard_engine::changes::{ChangesError, FeedCursor};
use orchard_engine::error::ReadError;
use orchard_types::{Expiry, Key, KeyRange, Mutation, Operation, SpaceId, UnixMillis, Value, Versionstamp};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// Bytes of the log that are read at once.
const BATCH_BYTES: usize = 256 << 10;

/// What a feed shows.
#[derive(Clone, Debug, Default)]
pub struct FeedFilter {
    /// The database.
    pub space: SpaceId,
    /// Ranges of its keys; none: all of them.
    pub ranges: Vec<KeyRange>,
}

/// Where a feed begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FeedStart {
    /// With what becomes visible from now on.
    Now,
    /// Behind a version that its reader has seen: to go on where another feed ended.
    After(Versionstamp),
    /// With the first commit that may lie behind a moment, in steps of a second.
    Since(UnixMillis),
    /// With the oldest commit that the log still holds.
    Oldest,
}

impl From<Versionstamp> for FeedStart {
    fn from(version: Versionstamp) -> Self {
        FeedStart::After(version)
    }
}

/// A commit as the feed shows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FeedCommit {
    /// Its place.
    pub versionstamp: Versionstamp,
    /// The time of its group.
    pub log_time: UnixMillis,
    /// What it did to what the feed shows, in order: `Set`, `Delete`, `DeleteRange`, `Number` or `Touch`, with the
    /// keys and the moments of expiry as they came to be. A delete may be of a key that was absent. What expired is
    /// deleted once it is swept.
    pub changes: Vec<Mutation>,
}

impl FeedCommit {
    /// Memory, about.
    pub(crate) fn size_bytes(&self) -> usize {
        let data = |mutation: &Mutation| match &mutation.operation {
            Operation::Set { value, .. } => value.data.len(),
            _ => 0,
        };
        let changes = self.changes.iter();
        changes.map(|mutation| size_of::<Mutation>() + mutation.key.len() + data(mutation)).sum::<usize>()
            + 64
    }
}

/// What a feed tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FeedEvent {
    /// A commit.
    Commit(FeedCommit),
    /// Commits are missing: the log does not reach back that far, or a crash has taken the version back. Read anew what
    /// you need, from a snapshot at or behind `restart_at`; the feed goes on behind `restart_at`.
    Gap {
        /// The newest visible version.
        restart_at: Versionstamp,
    },
}

/// The mutation with the key that it came to write.
pub(crate) fn with_its_key(mutation: Mutation, versionstamp: Versionstamp) -> Mutation {
    let Mutation { space, key, operation } = mutation;
    match operation {
        Operation::SetWithVersionstampSuffix { value, expiry } => {
            let mut bytes = key.to_vec();
            bytes.extend_from_slice(&versionstamp.key_suffix());
            // A commit whose key would have been too long was refused.
            let key = Key::new(bytes).unwrap_or(key);
            Mutation { space, key, operation: Operation::Set { value, expiry } }
        }
        Operation::DeleteIfStamp(_) => Mutation { space, key, operation: Operation::Delete },
        operation => Mutation { space, key, operation },
    }
}

/// A copy that shares no bytes, with moments instead of durations.
pub(crate) fn detached(mutation: &Mutation, log_time: UnixMillis) -> Mutation {
    let bytes = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    let value = |value: &Value| Value { value_type: value.value_type, data: bytes(&value.data) };
    let moment = |expiry: Expiry| match expiry {
        Expiry::After(duration) => Expiry::At(log_time.saturating_add(duration)),
        other => other,
    };
    let operation = match &mutation.operation {
        Operation::Set { value: set, expiry } => {
            Operation::Set { value: value(set), expiry: moment(*expiry) }
        }
        Operation::SetWithVersionstampSuffix { value: set, expiry } => {
            Operation::SetWithVersionstampSuffix { value: value(set), expiry: moment(*expiry) }
        }
        Operation::Number { op, operand, at_least, at_most, clamp, expiry } => Operation::Number {
            op: *op,
            operand: value(operand),
            at_least: at_least.as_ref().map(value),
            at_most: at_most.as_ref().map(value),
            clamp: *clamp,
            expiry: moment(*expiry),
        },
        Operation::DeleteRange { end } => Operation::DeleteRange { end: end.as_ref().map(bytes) },
        Operation::Touch { expiry } => Operation::Touch { expiry: moment(*expiry) },
        Operation::Delete => Operation::Delete,
        Operation::DeleteIfStamp(stamp) => Operation::DeleteIfStamp(*stamp),
    };
    let key = Key::new(Bytes::copy_from_slice(&mutation.key)).unwrap_or_default();
    Mutation { space: mutation.space, key, operation }
}

/// The commits of a database in order. See the module's text.
///
/// ```
/// use orcharddb::{Db, FeedEvent, FeedFilter, FeedStart};
/// let db = Db::memory()?;
/// let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
/// let committed = db.put("apple", "red")?;
/// let Some(Ok(FeedEvent::Commit(commit))) = feed.next_blocking() else { panic!("a commit") };
/// assert_eq!(commit.versionstamp, committed.versionstamp);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct ChangesStream {
    shared: Arc<Shared>,
    state: Arc<FeedState>,
    registration: Registration,
    filter: Routes,
    /// Everything up to here was told.
    position: Versionstamp,
    cursor: FeedCursor,
    /// Read from the log, not told yet.
    read: VecDeque<FeedCommit>,
    has_failed: bool,
}

impl ChangesStream {
    /// The next event; `None` when the database is being closed and all was told, or after an error.
    ///
    /// A feed that is behind reads the log within this call, a quarter of a megabyte at a time.
    pub async fn next(&mut self) -> Option<Result<FeedEvent, ReadError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Blocks until the next event.
    pub fn next_blocking(&mut self) -> Option<Result<FeedEvent, ReadError>> {
        park::block_on(self.next())
    }

    /// Blocks until the next event; `Err` if there was none for so long.
    ///
    /// # Errors
    /// Nothing happened.
    pub fn next_for(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Result<FeedEvent, ReadError>>, FeedTimeout> {
        park::block_on_for(self.next(), timeout).ok_or(FeedTimeout)
    }

    /// Everything up to here was told, or does not concern this feed: a later one may begin behind it.
    pub fn position(&self) -> Versionstamp {
        let told = self.shared.hub.told(&self.state).filter(|_| self.read.is_empty());
        told.map_or(self.position, |told| told.max(self.position))
    }

    /// As [`ChangesStream::next`], for those who poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<FeedEvent, ReadError>>> {
        if self.has_failed {
            return Poll::Ready(None);
        }
        loop {
            if let Some(commit) = self.read.pop_front() {
                return self.tell(commit);
            }
            {
                let mut queued = self.state.queued.lock();
                if let Some(commit) = queued.pop() {
                    drop(queued);
                    if commit.versionstamp <= self.position {
                        continue;
                    }
                    self.cursor = FeedCursor::behind(commit.versionstamp);
                    return self.tell(commit);
                }
                if queued.is_live {
                    queued.waker = Some(context.waker().clone());
                    if !self.shared.is_closed() {
                        return Poll::Pending;
                    }
                }
            }
            let after = self.cursor.position();
            match self.shared.engine.read_feed(&mut self.cursor, BATCH_BYTES) {
                Ok(groups) if groups.is_empty() => {
                    self.position = self.position.max(after);
                    if self.shared.is_closed() {
                        return Poll::Ready(None);
                    }
                    self.shared.hub.go_live(&self.state, after);
                }
                Ok(groups) => {
                    for change in groups.iter().flat_map(|group| group.commits(after)) {
                        match change {
                            Ok(change) => {
                                let changes: Vec<Mutation> = change
                                    .mutations
                                    .into_iter()
                                    .map(|mutation| with_its_key(mutation, change.versionstamp))
                                    .filter(|mutation| self.shows(mutation))
                                    .map(|mutation| detached(&mutation, change.log_time))
                                    .collect();
                                if !changes.is_empty() {
                                    let (versionstamp, log_time) = (change.versionstamp, change.log_time);
                                    self.read.push_back(FeedCommit { versionstamp, log_time, changes });
                                }
                            }
                            Err(error) => return self.fail(error.into()),
                        }
                    }
                    if self.read.is_empty() {
                        self.position = self.cursor.position();
                        // Others may have their turn before the next piece.
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Err(ChangesError::Gap { .. }) => {
                    let restart_at = self.shared.engine.visible();
                    self.cursor = FeedCursor::behind(restart_at);
                    self.position = restart_at;
                    return Poll::Ready(Some(Ok(FeedEvent::Gap { restart_at })));
                }
                Err(ChangesError::Poisoned(why)) => return self.fail(ReadError::Poisoned(why)),
                Err(ChangesError::Storage(error)) => return self.fail(error.into()),
            }
        }
    }

    fn tell(&mut self, commit: FeedCommit) -> Poll<Option<Result<FeedEvent, ReadError>>> {
        self.position = commit.versionstamp;
        Poll::Ready(Some(Ok(FeedEvent::Commit(commit))))
    }

    fn fail(&mut self, error: ReadError) -> Poll<Option<Result<FeedEvent, ReadError>>> {
        self.has_failed = true;
        Poll::Ready(Some(Err(error)))
    }

    fn shows(&self, mutation: &Mutation) -> bool {
        let mut shows = false;
        self.filter.concerned(mutation.space, &touched(mutation), |_| shows = true);
        shows
    }
}

/// Nothing happened for the time given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeedTimeout;

impl std::fmt::Display for FeedTimeout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no change happened in time")
    }
}

impl std::error::Error for FeedTimeout {}

impl Drop for ChangesStream {
    fn drop(&mut self) {
        self.shared.hub.unregister(&self.registration);
    }
}

impl Db {
    /// The commits of one database in order, from `start` on. Any number of ranges and of feeds.
    pub fn changes(&self, start: impl Into<FeedStart>, filter: FeedFilter) -> ChangesStream {
        let FeedFilter { space, ranges } = filter;
        let targets: Vec<WatchTarget> = if ranges.is_empty() {
            vec![WatchTarget::space(space)]
        } else {
            ranges.into_iter().map(|range| WatchTarget { space, range }).collect()
        };
        let mut filter = Routes::default();
        for (id, target) in (0..).zip(&targets) {
            filter.insert(target, id);
        }
        let state = Arc::new(FeedState::default());
        let registration = self.shared.hub.register(targets, &Listener::Feed(state.clone()));
        let engine = self.engine();
        let cursor = match start.into() {
            FeedStart::Now => FeedCursor::behind(registration.since),
            FeedStart::After(version) => FeedCursor::after(version),
            FeedStart::Since(time) => {
                FeedCursor::behind(engine.version_at(time).unwrap_or(Versionstamp::ZERO))
            }
            FeedStart::Oldest => FeedCursor::behind(engine.feed_floor()),
        };
        let position = cursor.position();
        let (shared, read) = (self.shared.clone(), VecDeque::new());
        ChangesStream { shared, state, registration, filter, position, cursor, read, has_failed: false }
    }
}
