//! One thread that follows `visible` for all watchers and feeds.
//!
//! - It reads each group once, from the engine's tail, and gives each change to those whom it concerns.
//! - `cursor` is how far it has come: whoever is registered then is told of everything behind it.
//! - It never waits for a listener. A feed whose queue is full is left behind and reads the log by itself until it has
//!   caught up.
//! - Without listeners it rests; commits then cost nothing here.

use super::observe::Observer;
use super::park::Parker;
use super::routes::{Routes, WatchTarget, touched};
use crate::feed::{self, FeedCommit};
use orchard_engine::changes::{Change, FeedCursor, FeedGroup};
use orchard_engine::engine::Engine;
use orchard_types::{Durability, Mutation, Versionstamp};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::thread::{Builder, JoinHandle, ThreadId};
use std::time::Duration;

/// Bytes of groups that are read before the registry is locked for their routes.
const BATCH_BYTES: usize = 256 << 10;
/// Commits that wait for one feed.
const QUEUE_COMMITS_MAX: usize = 256;
/// Their bytes.
const QUEUE_BYTES_MAX: usize = 1 << 20;
/// When visible commits cannot be written (a full disk), it looks again after this long.
const STUCK: Duration = Duration::from_millis(100);

/// What a watcher shares with the hub.
#[derive(Default)]
pub(crate) struct WatchState {
    /// The newest change, as a raw stamp.
    pub(super) changed: AtomicU64,
    pub(super) waker: Mutex<Option<Waker>>,
}

/// What a feed shares with the hub.
#[derive(Default)]
pub(crate) struct FeedState {
    pub(crate) queued: Mutex<Queued>,
}

/// The commits that wait for a feed.
#[derive(Default)]
pub(crate) struct Queued {
    commits: VecDeque<FeedCommit>,
    bytes: usize,
    /// The hub adds what comes. Else the feed reads the log.
    pub(crate) is_live: bool,
    pub(crate) waker: Option<Waker>,
}

impl Queued {
    /// The next commit.
    pub(crate) fn pop(&mut self) -> Option<FeedCommit> {
        let commit = self.commits.pop_front()?;
        self.bytes -= commit.size_bytes();
        Some(commit)
    }

    fn push(&mut self, commit: FeedCommit) {
        let bytes = self.bytes + commit.size_bytes();
        if self.commits.len() >= QUEUE_COMMITS_MAX || (bytes > QUEUE_BYTES_MAX && !self.commits.is_empty()) {
            self.is_live = false;
            return;
        }
        self.bytes = bytes;
        self.commits.push_back(commit);
    }
}

/// Somebody who is told.
#[derive(Clone)]
pub(crate) enum Listener {
    Watcher(Arc<WatchState>),
    Feed(Arc<FeedState>),
}

/// Names a registration.
#[derive(Debug)]
pub(crate) struct Registration {
    first: u64,
    targets: Vec<WatchTarget>,
    /// `visible` when it was made: what comes later is told.
    pub(crate) since: Versionstamp,
}

#[derive(Default)]
struct Registry {
    routes: Routes,
    /// By the id of the route; a listener has one for each of its targets.
    listeners: HashMap<u64, Listener>,
    /// Told of everything.
    observers: Vec<(u64, Arc<dyn Observer>)>,
    next_id: u64,
    /// How far changes were told; `None` while nobody listens.
    cursor: Option<FeedCursor>,
    /// Grows when listening begins anew.
    epoch: u64,
    is_stopped: bool,
}

/// See the module's text.
pub(crate) struct Hub {
    engine: Arc<Engine>,
    registry: Mutex<Registry>,
    somebody: Condvar,
    parker: Arc<Parker>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hub {
    /// Starts the thread.
    pub(crate) fn start(engine: &Arc<Engine>) -> io::Result<Arc<Hub>> {
        let hub = Arc::new(Hub {
            engine: engine.clone(),
            registry: Mutex::default(),
            somebody: Condvar::new(),
            parker: Arc::new(Parker::default()),
            thread: Mutex::new(None),
        });
        let runs = hub.clone();
        *hub.thread.lock() = Some(Builder::new().name("orchard-watch".into()).spawn(move || runs.run())?);
        Ok(hub)
    }

    /// Stops the thread. Feeds end.
    pub(crate) fn stop(&self) {
        {
            let mut registry = self.registry.lock();
            registry.is_stopped = true;
            self.somebody.notify_all();
        }
        Waker::from(self.parker.clone()).wake();
        if let Some(thread) = self.thread.lock().take() {
            let own: ThreadId = std::thread::current().id();
            // The last handle of a database may go on the hub's own thread, with a waker that held it.
            if thread.thread().id() != own {
                let _ = thread.join();
            }
        }
    }

    /// From now on `listener` is told of what touches its targets.
    pub(crate) fn register(&self, targets: Vec<WatchTarget>, listener: &Listener) -> Registration {
        let mut guard = self.registry.lock();
        let registry = &mut *guard;
        let first = registry.next_id;
        for target in &targets {
            registry.routes.insert(target, registry.next_id);
            registry.listeners.insert(registry.next_id, listener.clone());
            registry.next_id += 1;
        }
        if !registry.listeners.is_empty() {
            self.begin(registry);
        }
        Registration { first, targets, since: self.engine.visible() }
    }

    /// Follows `visible` from here, if nobody had it do so before.
    fn begin(&self, registry: &mut Registry) {
        if registry.cursor.is_none() {
            self.engine.follow_feed();
            registry.cursor = Some(self.here());
            registry.epoch += 1;
            self.somebody.notify_all();
        }
    }

    /// From now on `observer` is told of everything.
    pub(super) fn observe(&self, observer: Arc<dyn Observer>) -> u64 {
        let mut registry = self.registry.lock();
        let id = registry.next_id;
        registry.next_id += 1;
        registry.observers.push((id, observer));
        self.begin(&mut registry);
        id
    }

    /// The observer is told no more.
    pub(super) fn end_observation(&self, id: u64) {
        let mut registry = self.registry.lock();
        let at = registry.observers.iter().position(|(other, _)| *other == id);
        let gone = at.map(|at| registry.observers.remove(at));
        registry.rest_if_alone();
        drop(registry);
        // What it holds is dropped without the lock.
        drop(gone);
    }

    /// Ends a registration.
    pub(crate) fn unregister(&self, registration: &Registration) {
        let mut gone = Vec::with_capacity(registration.targets.len());
        let mut guard = self.registry.lock();
        let registry = &mut *guard;
        for (id, target) in (registration.first..).zip(&registration.targets) {
            registry.routes.remove(target, id);
            gone.extend(registry.listeners.remove(&id));
        }
        registry.rest_if_alone();
        // What listeners hold is dropped without the lock.
        drop(guard);
    }

    /// Lets the hub fill a feed's queue again, if the feed has read up to `position` and the hub is not further.
    pub(crate) fn go_live(&self, feed: &FeedState, position: Versionstamp) -> bool {
        let registry = self.registry.lock();
        let reached = registry.cursor.as_ref().is_some_and(|cursor| cursor.position() <= position);
        if reached {
            feed.queued.lock().is_live = true;
        }
        reached
    }

    fn run(&self) {
        let waker = Waker::from(self.parker.clone());
        loop {
            let (mut cursor, epoch) = {
                let mut registry = self.registry.lock();
                loop {
                    if registry.is_stopped {
                        return;
                    }
                    if let Some(cursor) = &registry.cursor {
                        break (cursor.clone(), registry.epoch);
                    }
                    self.somebody.wait(&mut registry);
                }
            };
            if self.engine.poll_visible_after(cursor.position(), &waker).is_none() {
                self.parker.park();
                continue;
            }
            let after = cursor.position();
            match self.engine.read_feed(&mut cursor, BATCH_BYTES) {
                Ok(groups) if groups.is_empty() => {
                    self.parker.park_for(STUCK);
                }
                Ok(groups) => self.tell(&groups, after, cursor, epoch),
                // What is missing here each feed finds missing, or damaged, when it reads the log itself.
                Err(_) => self.tell_all(epoch),
            }
        }
    }

    /// Gives changes to those whom they concern.
    fn tell(&self, groups: &[FeedGroup], after: Versionstamp, cursor: FeedCursor, epoch: u64) {
        let mut wakers = Vec::new();
        {
            let mut registry = self.registry.lock();
            if registry.epoch != epoch || registry.cursor.is_none() {
                return;
            }
            let mut is_whole = true;
            for commit in groups.iter().flat_map(|group| group.commits(after)) {
                match commit {
                    Ok(commit) => registry.route(commit, &mut wakers),
                    Err(_) => is_whole = false,
                }
            }
            registry.cursor = Some(cursor);
            if !is_whole {
                drop(registry);
                self.tell_all(epoch);
            }
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Something may have changed: watchers are told so, feeds look for themselves.
    fn tell_all(&self, epoch: u64) {
        let mut wakers = Vec::new();
        {
            let mut registry = self.registry.lock();
            if registry.epoch != epoch || registry.cursor.is_none() {
                return;
            }
            let visible = self.engine.visible();
            registry.observers.iter().for_each(|(_, observer)| observer.lost(visible));
            for listener in registry.listeners.values() {
                match listener {
                    Listener::Watcher(watch) => wakers.extend(watch.tell(visible)),
                    Listener::Feed(feed) => {
                        let mut queued = feed.queued.lock();
                        queued.is_live = false;
                        wakers.extend(queued.waker.take());
                    }
                }
            }
            registry.cursor = Some(self.here());
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Wakes all feeds: the database takes no more commits.
    pub(crate) fn wake_feeds(&self) {
        let registry = self.registry.lock();
        let wakers: Vec<Waker> = registry
            .listeners
            .values()
            .filter_map(|listener| match listener {
                Listener::Watcher(_) => None,
                Listener::Feed(feed) => feed.queued.lock().waker.take(),
            })
            .collect();
        drop(registry);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// How far a feed has been told everything, if nothing waits for it.
    pub(crate) fn told(&self, feed: &FeedState) -> Option<Versionstamp> {
        let registry = self.registry.lock();
        let queued = feed.queued.lock();
        let is_whole = queued.is_live && queued.commits.is_empty();
        registry.cursor.as_ref().filter(|_| is_whole).map(FeedCursor::position)
    }

    /// Where the hub goes on when it has told nobody what came before.
    fn here(&self) -> FeedCursor {
        FeedCursor::behind(self.engine.visible().min(self.engine.watermark(Durability::Os)))
    }
}

impl WatchState {
    fn tell(&self, stamp: Versionstamp) -> Option<Waker> {
        self.changed.fetch_max(stamp.raw(), Ordering::SeqCst);
        self.waker.lock().take()
    }
}

/// The mutations of one commit that concern one feed.
type Concerned = HashMap<*const FeedState, (Arc<FeedState>, Vec<usize>)>;

impl Registry {
    /// Nobody listens: commits cost nothing here.
    fn rest_if_alone(&mut self) {
        if self.listeners.is_empty() && self.observers.is_empty() {
            self.cursor = None;
        }
    }

    fn route(&self, change: Change, wakers: &mut Vec<Waker>) {
        let Change { versionstamp, log_time, mutations } = change;
        let mutations: Vec<Mutation> =
            mutations.into_iter().map(|mutation| feed::with_its_key(mutation, versionstamp)).collect();
        self.observers.iter().for_each(|(_, observer)| observer.committed(versionstamp, &mutations));
        let mut feeds = Concerned::new();
        for (at, mutation) in mutations.iter().enumerate() {
            self.routes.concerned(mutation.space, &touched(mutation), |id| match self.listeners.get(&id) {
                Some(Listener::Watcher(watch)) => wakers.extend(watch.tell(versionstamp)),
                Some(Listener::Feed(feed)) => {
                    let (_, all) =
                        feeds.entry(Arc::as_ptr(feed)).or_insert_with(|| (feed.clone(), Vec::new()));
                    if all.last() != Some(&at) {
                        all.push(at);
                    }
                }
                None => {}
            });
        }
        // Feeds that show the same mutation share one copy of it, and no feed keeps the group's bytes in memory.
        let mut copies: Vec<Option<Mutation>> =
            vec![None; if feeds.is_empty() { 0 } else { mutations.len() }];
        for (feed, concerned) in feeds.into_values() {
            let mut queued = feed.queued.lock();
            if !queued.is_live {
                continue;
            }
            let changes = concerned
                .iter()
                .filter_map(|at| {
                    let copy = copies.get_mut(*at)?;
                    let mutation = mutations.get(*at)?;
                    Some(copy.get_or_insert_with(|| feed::detached(mutation, log_time)).clone())
                })
                .collect();
            queued.push(FeedCommit { versionstamp, log_time, changes });
            wakers.extend(queued.waker.take());
        }
    }
}
