//! Transactions in rows, for clients that send many at once, and views that show a client's own commits early.

use super::Transaction;
use crate::databases::{DEFAULT_NAME, space_of_value};
use crate::db::{Db, Shared};
use orchard_engine::commit::Submitted;
use orchard_engine::direct::{Direct, Seen};
use orchard_engine::engine::Engine;
use orchard_engine::error::{CommitError, ReadError};
use orchard_engine::snapshot::SnapshotPin;
use orchard_engine::visit::EntryRef;
use orchard_types::{Commit, SpaceId, UnixMillis, ValueType, Versionstamp};
use std::ops::{ControlFlow, Deref, DerefMut};
use std::sync::Arc;
use std::task::{Poll, Waker};

/// Transactions in a row; see [`Db::pipeline`].
pub trait Pipeline {
    /// Runs one of them, under the commit lock: it must not use the database but through `tx`, nor take long. It may be
    /// called again for the same number.
    fn run(&mut self, number: usize, tx: &mut Transaction<'_>);

    /// Makes the commit of one that is no more than a few writes, without a transaction. `false`, and nothing written: it
    /// has to be run.
    fn direct(&mut self, number: usize, applied: Applied<'_, '_>) -> bool {
        let _ = (number, applied);
        false
    }

    /// Its outcome. Nobody may be told of it, of a refusal neither, before `depends_on` is visible. `Break` leaves the
    /// rest out.
    fn done(&mut self, number: usize, submitted: Submitted) -> ControlFlow<()>;
}

/// The newest applied state, while no commit can come between, and one commit that is made of it.
pub struct Applied<'a, 'h>(&'a mut Direct<'h>);

impl<'h> Deref for Applied<'_, 'h> {
    type Target = Direct<'h>;

    fn deref(&self) -> &Direct<'h> {
        self.0
    }
}

impl DerefMut for Applied<'_, '_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0
    }
}

impl Applied<'_, '_> {
    /// The space of a database, if there is one of this name.
    pub fn database(&self, name: &str) -> Option<SpaceId> {
        match self.look_in(SpaceId::NAMES, name.as_bytes()) {
            Seen::Here(value_type, value) => space_of_value(value_type, value),
            Seen::Absent => (name == DEFAULT_NAME).then_some(SpaceId::DEFAULT),
            Seen::Elsewhere => None,
        }
    }
}

struct Rows<'a, P> {
    engine: &'a Engine,
    pipeline: &'a mut P,
}

impl<P: Pipeline> orchard_engine::pipeline::Pipeline for Rows<'_, P> {
    fn build(&mut self, number: usize, snapshot: &SnapshotPin, commit: &mut Commit) {
        let mut transaction = Transaction::new(self.engine, snapshot, true);
        self.pipeline.run(number, &mut transaction);
        transaction.fill(commit);
    }

    fn direct(&mut self, number: usize, direct: &mut Direct<'_>) -> bool {
        self.pipeline.direct(number, Applied(direct))
    }

    fn done(&mut self, number: usize, submitted: Submitted) -> ControlFlow<()> {
        self.pipeline.done(number, submitted)
    }
}

/// One version, to be read by transactions that write nothing.
///
/// ```
/// use orcharddb::{Db, UnixMillis, Versionstamp};
/// let db = Db::memory()?;
/// db.put("apple", "red")?;
/// let view = db.view_not_before(Versionstamp::ZERO, UnixMillis(0));
/// assert_eq!(view.transaction().get("apple")?, Some("red".into()));
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct View {
    shared: Arc<Shared>,
    pin: SnapshotPin,
}

impl View {
    /// A transaction that reads the view; what it writes is dropped with it.
    pub fn transaction(&self) -> Transaction<'_> {
        Transaction::new(&self.shared.engine, &self.pin, true)
    }

    /// Shows the value of a key where it lies, `None` if there is none. What `visit` was shown counts only if this returns
    /// `Ok`.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn look(
        &self,
        space: SpaceId,
        key: &[u8],
        visit: impl FnOnce(Option<(ValueType, &[u8])>),
    ) -> Result<(), ReadError> {
        let show = |found: Option<EntryRef<'_>>| visit(found.map(|entry| (entry.value_type, entry.value)));
        self.shared.engine.get_with(&self.pin, space, key, show)
    }

    /// What is read here may be told once `visible` has passed this.
    pub fn versionstamp(&self) -> Versionstamp {
        Versionstamp::from_raw(self.pin.stamp())
    }

    /// The time at which expiry is judged.
    pub fn time(&self) -> UnixMillis {
        self.pin.time()
    }
}

impl Db {
    /// Runs transactions 0 to `count` one after another, each a commit of its own, under as few holds of the commit lock
    /// as it can, without waiting for any of them.
    pub fn pipeline(&self, count: usize, pipeline: &mut impl Pipeline) {
        let engine = self.engine();
        engine.submit_pipeline(count, &mut Rows { engine, pipeline });
    }

    /// Whether everything up to `stamp` is as durable as the database promises, so that readers see it; an error if it
    /// never will be. If it is pending, `waker` is woken when that changes.
    pub fn poll_durable(&self, stamp: Versionstamp, waker: &Waker) -> Poll<Result<(), CommitError>> {
        let outcome = self.engine().poll_wait(stamp, self.durability(), waker);
        outcome.map_or(Poll::Pending, Poll::Ready)
    }

    /// As [`Db::poll_durable`], without a wish to be woken.
    pub fn durable(&self, stamp: Versionstamp) -> Poll<Result<(), CommitError>> {
        self.engine().outcome(stamp, self.durability()).map_or(Poll::Pending, Poll::Ready)
    }

    /// A view of now that also shows the caller's own commits up to `own`, whose log time is `own_time`, though others
    /// may not see them yet. What is read there may be told once `visible` has passed the view's versionstamp.
    pub fn view_not_before(&self, own: Versionstamp, own_time: UnixMillis) -> View {
        View { shared: self.shared.clone(), pin: self.engine().snapshot_not_before(own, own_time) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Options;
    use crate::error::Error;
    use orchard_types::{Expiry, Key};

    /// Sets of one value each, to keys never used before.
    struct Sets {
        next: u32,
        value: Vec<u8>,
        refused: usize,
        leaves_out: bool,
    }

    impl Pipeline for Sets {
        fn run(&mut self, number: usize, tx: &mut Transaction<'_>) {
            let place = self.next + u32::try_from(number).expect("few");
            let key = Key::new(place.to_be_bytes().to_vec()).expect("short");
            tx.put_in(SpaceId::DEFAULT, key, self.value.clone(), Expiry::Never);
        }

        fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
            self.refused += usize::from(matches!(submitted.outcome, Err(CommitError::MemoryFull { .. })));
            if self.leaves_out { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }

    fn sets(size_bytes: usize) -> Sets {
        Sets { next: 0, value: vec![7; size_bytes], refused: 0, leaves_out: false }
    }

    #[test]
    fn rows_keep_to_the_memory_limit() -> Result<(), Error> {
        const LIMIT_BYTES: u64 = 16 << 20;
        let db = Options { memory_limit_bytes: Some(LIMIT_BYTES), ..Options::default() }.memory()?;
        let mut pipeline = sets(10_000);
        // Odd rows, so that the number of commits passes no round number at their start.
        db.put("first", 1_i64)?;
        for _ in 0..200 {
            db.pipeline(64, &mut pipeline);
            pipeline.next += 64;
        }
        assert!(pipeline.refused > 0, "128 MB were written");
        assert!(db.stats().memory_bytes < LIMIT_BYTES + (4 << 20));
        Ok(())
    }

    #[test]
    fn each_of_a_row_is_a_commit_and_a_row_can_be_left() -> Result<(), Error> {
        let db = Db::memory()?;
        let before = db.stats().commits;
        db.pipeline(300, &mut sets(1));
        assert_eq!(db.stats().commits - before, 300);
        db.pipeline(300, &mut Sets { leaves_out: true, ..sets(1) });
        assert_eq!(db.stats().commits - before, 301);
        Ok(())
    }
}
