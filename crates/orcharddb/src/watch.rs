//! Watching keys: to be told that something changed, without being told what.
//!
//! A watcher is told of every commit that becomes visible after it was made and touches one of its targets. Several are
//! told as one. It may be told of a commit that changed nothing, such as the delete of an absent key.

pub(crate) mod hub;
mod intervals;
mod observe;
pub(crate) mod park;
pub(crate) mod routes;

pub use observe::{Observation, Observer};
pub use routes::WatchTarget;

use crate::db::{Db, Shared};
use hub::{Listener, Registration, WatchState};
use orchard_types::Versionstamp;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

/// Tells that something in its targets changed.
///
/// ```
/// use orcharddb::{Db, SpaceId, WatchTarget};
/// let db = Db::memory()?;
/// let key = Db::key("apple")?;
/// let mut watcher = db.watch(vec![WatchTarget::key(SpaceId::DEFAULT, &key)]);
/// let committed = db.put("apple", "red")?;
/// assert_eq!(watcher.wait(), committed.versionstamp);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct Watcher {
    shared: Arc<Shared>,
    state: Arc<WatchState>,
    registration: Registration,
    told: Versionstamp,
}

impl Watcher {
    /// `visible` when the watcher was made: what commits later is told. Read what is watched after making the watcher,
    /// and nothing is missed.
    pub fn since(&self) -> Versionstamp {
        self.registration.since
    }

    /// Waits until something changed behind what was told last. The answer is the newest change known; everything up
    /// to it is visible.
    pub async fn changed(&mut self) -> Versionstamp {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// As [`Watcher::changed`], for those who poll.
    pub fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Versionstamp> {
        if let Some(stamp) = self.try_changed() {
            return Poll::Ready(stamp);
        }
        *self.state.waker.lock() = Some(context.waker().clone());
        // Once more: what comes after this finds the waker.
        self.try_changed().map_or(Poll::Pending, Poll::Ready)
    }

    /// The newest change behind what was told last, if there is one.
    pub fn try_changed(&mut self) -> Option<Versionstamp> {
        let changed = Versionstamp::from_raw(self.state.changed.load(Ordering::SeqCst));
        if changed <= self.told {
            return None;
        }
        self.told = changed;
        Some(changed)
    }

    /// Blocks until something changed.
    pub fn wait(&mut self) -> Versionstamp {
        park::block_on(self.changed())
    }

    /// Blocks until something changed; `None` if nothing did for so long.
    pub fn wait_for(&mut self, timeout: Duration) -> Option<Versionstamp> {
        park::block_on_for(self.changed(), timeout)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.shared.hub.unregister(&self.registration);
    }
}

impl Db {
    /// Watches ranges of keys, any number of them. What a commit costs depends on the watchers that it concerns, not on
    /// their number.
    pub fn watch(&self, targets: Vec<WatchTarget>) -> Watcher {
        let state = Arc::new(WatchState::default());
        let registration = self.shared.hub.register(targets, &Listener::Watcher(state.clone()));
        let told = registration.since;
        Watcher { shared: self.shared.clone(), state, registration, told }
    }

    /// Waits until `visible` lies behind `stamp`: until another commit can be seen. The answer is the new `visible`.
    pub async fn wait_visible_after(&self, stamp: Versionstamp) -> Versionstamp {
        poll_fn(|context| {
            self.engine().poll_visible_after(stamp, context.waker()).map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}
