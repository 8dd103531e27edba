//! What the requests of one connection share: they read at least what they wrote themselves.

use crate::Server;
use orchard_wire::Problem;
use orcharddb::{Commit, CommitError, Committed, Durability, Operation, Pending, SpaceId, Versionstamp};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use tokio::sync::watch;

/// Whether an operation only frees memory: it is not kept waiting for any.
pub(crate) fn frees(operation: &Operation) -> bool {
    matches!(operation, Operation::Delete | Operation::DeleteRange { .. })
}

/// One connection.
pub(crate) struct Session {
    server: Arc<Server>,
    /// The newest stamp that was acknowledged here before the database would have made it visible.
    early: AtomicU64,
    stopped: watch::Receiver<bool>,
}

impl Session {
    pub(crate) fn new(server: Arc<Server>, stopped: watch::Receiver<bool>) -> Session {
        Session { server, early: AtomicU64::new(0), stopped }
    }

    pub(crate) fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// Whether the server is stopping: what waits for things to happen ends.
    pub(crate) fn is_stopping(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Becomes true when the server stops.
    pub(crate) fn stopped(&self) -> watch::Receiver<bool> {
        self.stopped.clone()
    }

    /// Ready when the server stops.
    pub(crate) async fn stopping(&self) {
        // A sender that is gone has stopped, too.
        let _ = self.stopped().wait_for(|stopped| *stopped).await;
    }

    /// The database that a read names; an empty one if there is none of this name.
    pub(crate) fn space_for_read(&self, database: Option<&str>) -> Result<SpaceId, Problem> {
        match database {
            None => Ok(self.server.db.database("0")?.unwrap_or_default()),
            Some(name) => Ok(self.server.db.database(name)?.unwrap_or(SpaceId::NOWHERE)),
        }
    }

    /// The database that a write names, created if there is none. The commit that follows waits for that, too.
    pub(crate) fn space_for_write(&self, database: Option<&str>) -> Result<SpaceId, Problem> {
        Ok(self.server.db.database_for_write(database.unwrap_or("0"))?)
    }

    /// Commits and waits for the acknowledgement.
    pub(crate) async fn commit(
        &self,
        commit: &Commit,
        durability: Option<Durability>,
    ) -> Result<Committed, CommitError> {
        if !commit.mutations.iter().all(|mutation| frees(&mutation.operation)) {
            self.room().await;
        }
        self.acknowledged(self.server.db.submit(commit, durability)).await
    }

    /// Whether a commit waits for memory now.
    pub(crate) fn lacks_room(&self) -> bool {
        self.server.aside.is_waiting()
    }

    /// Ready once no commit waits for memory. Whoever writes next waits here, as a task: to wait as that commit does takes
    /// a thread. What [`frees`] some goes on.
    pub(crate) async fn room(&self) {
        if self.lacks_room() {
            self.server.aside.over().await;
        }
    }

    /// Waits for the acknowledgement of a commit that was submitted before.
    pub(crate) async fn acknowledged(&self, pending: Pending) -> Result<Committed, CommitError> {
        let committed = pending.await?;
        if committed.durability < self.server.db.durability() {
            self.early.fetch_max(committed.versionstamp.raw(), Ordering::AcqRel);
        }
        Ok(committed)
    }

    /// Waits until everything acknowledged on this connection is visible.
    pub(crate) async fn settle(&self) -> Result<(), CommitError> {
        let db = &self.server.db;
        let early = Versionstamp::from_raw(self.early.load(Ordering::Acquire));
        if early <= db.visible() {
            return Ok(());
        }
        poll_fn(|context| match db.engine().poll_wait(early, db.durability(), context.waker()) {
            // It was taken back: there is nothing to wait for.
            Some(Err(CommitError::DiskFull)) => Poll::Ready(Ok(())),
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        })
        .await
    }
}
