//! Running a transaction: optimistically with checks, or alone under the commit lock.

use super::Transaction;
use crate::db::{Db, Pending};
use crate::error::Error;
use orchard_engine::commit::Submitted;
use orchard_engine::engine::Engine;
use orchard_engine::error::{CommitError, ReadError};
use orchard_types::Versionstamp;

/// Tries without the commit lock.
const OPTIMISTIC_TRIES: usize = 3;

/// See [`Db::transact`].
pub(crate) fn transact<T>(
    db: &Db,
    mut run: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let engine = db.engine();
    for _ in 0..OPTIMISTIC_TRIES {
        let snapshot = engine.snapshot();
        let mut transaction = Transaction::new(engine, &snapshot, false);
        let result = match run(&mut transaction) {
            Err(Error::Read(ReadError::SnapshotTooOld)) => continue,
            result => result?,
        };
        let commit = transaction.into_commit();
        if commit.mutations.is_empty() {
            // One snapshot was read and nothing written: it stands where the snapshot stands.
            return Ok(result);
        }
        match engine.commit(&commit, None) {
            Ok(_) => return Ok(result),
            Err(CommitError::CheckFailed(_) | CommitError::TooOld { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let (result, pending) = db.exclusive(run)?;
    pending.wait()?;
    Ok(result)
}

/// Runs once under the commit lock, and submits what `run` wrote.
pub(crate) fn exclusive(
    engine: &Engine,
    mut run: impl FnMut(&mut Transaction<'_>) -> Result<(), Error>,
) -> Result<Submitted, Error> {
    engine.submit_exclusive(|snapshot| {
        let mut transaction = Transaction::new(engine, snapshot, true);
        run(&mut transaction)?;
        Ok(transaction.into_commit())
    })
}

impl Db {
    /// Reads, decides and writes under the commit lock: nothing can come between, so `run` is not repeated for a
    /// conflict (only if a value had to be loaded first). Returns without waiting; nobody may be told of the result before
    /// the [`Pending`] is over, and if its outcome is an error then nothing was written. A closure that only reads gets
    /// a `Pending` that is over once what it read is as durable as the database promises.
    ///
    /// All writers wait while `run` runs: it must not use the database but through its transaction, nor take long. An
    /// error out of `run` writes nothing, and returns only once what it may rest on is durable; where that wait matters,
    /// [`Transaction::clear`] and answer with `Ok`.
    ///
    /// ```
    /// use orcharddb::{Db, Error};
    /// let db = Db::memory()?;
    /// let (visits, pending) = db.exclusive(|tx| {
    ///     let visits = tx.get("visits")?.and_then(|value| value.as_int()).unwrap_or(0) + 1;
    ///     tx.put("visits", visits)?;
    ///     Ok::<_, Error>(visits)
    /// })?;
    /// pending.wait()?;
    /// assert_eq!(visits, 1);
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// What `run` says, or [`Error::Commit`] if it could not be run.
    pub fn exclusive<T, E: From<Error>>(
        &self,
        mut run: impl FnMut(&mut Transaction<'_>) -> Result<T, E>,
    ) -> Result<(T, Pending), E> {
        let engine = self.engine();
        let mut result = None;
        let mut read_at = Versionstamp::ZERO;
        let submitted = engine.submit_exclusive(|snapshot| {
            read_at = Versionstamp::from_raw(snapshot.stamp());
            let mut transaction = Transaction::new(engine, snapshot, true);
            result = Some(run(&mut transaction)?);
            Ok(transaction.into_commit())
        });
        let submitted = match submitted {
            Ok(submitted) => submitted,
            Err(error) => {
                let wait = engine.wait(read_at, self.durability()).map_err(Error::from);
                return Err(wait.err().map_or(error, E::from));
            }
        };
        match (result, submitted.outcome.as_ref()) {
            (Some(result), _) => Ok((result, Pending::new(self.shared.clone(), submitted, None))),
            (None, _) => Err(Error::Commit(submitted.outcome.err().unwrap_or(CommitError::Closed)).into()),
        }
    }
}
