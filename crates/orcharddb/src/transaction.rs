//! Interactive transactions: read, decide, write, serializable.
//!
//! - Every read becomes a check, so a commit that changed what was read makes the transaction run again.
//! - A transaction sees its own writes.

use crate::db::Db;
use crate::error::Error;
use crate::tuple::IntoKey;
use orchard_engine::apply::flat_bounds;
use orchard_engine::engine::Engine;
use orchard_engine::error::{CommitError, ReadError};
use orchard_engine::read::BatchRequest;
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{
    Check, Commit, Expiry, Key, KeyRange, Mutation, Operation, SpaceId, Value, Versionstamp, limits,
};
use std::collections::BTreeMap;
use std::ops::Bound;

/// Tries without the commit lock.
const OPTIMISTIC_TRIES: usize = 3;
/// Entries fetched at once.
const BATCH_ENTRIES: usize = 256;

/// Reads and writes of one try of a transaction.
pub struct Transaction<'a> {
    engine: &'a Engine,
    snapshot: &'a SnapshotPin,
    checks: Vec<Check>,
    writes: BTreeMap<Key, Option<(Value, Expiry)>>,
}

impl Transaction<'_> {
    fn new<'a>(engine: &'a Engine, snapshot: &'a SnapshotPin) -> Transaction<'a> {
        Transaction { engine, snapshot, checks: Vec::new(), writes: BTreeMap::new() }
    }

    /// Reads a value, the transaction's own write if there is one.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Read`]
    pub fn get(&mut self, key: impl IntoKey) -> Result<Option<Value>, Error> {
        let key = key.into_key()?;
        if let Some(write) = self.writes.get(&key) {
            return Ok(write.as_ref().map(|(value, _)| value.clone()));
        }
        let entry = self.engine.get_at(self.snapshot, SpaceId::DEFAULT, &key)?;
        let expected = entry.as_ref().map(|entry| entry.versionstamp);
        self.checks.push(Check::Key { space: SpaceId::DEFAULT, key: key.into_bytes(), expected });
        Ok(entry.map(|entry| entry.value))
    }

    /// Reads a range, the transaction's own writes included, in key order.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn scan(&mut self, range: KeyRange) -> Result<Vec<(Key, Value)>, Error> {
        let mut found = BTreeMap::new();
        let (lower, upper) = flat_bounds(SpaceId::DEFAULT, &range.start, range.end.as_deref());
        let end = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut resume: Option<Vec<u8>> = None;
        while !range.is_empty() {
            let lower = resume.as_deref().map_or(Bound::Included(lower.as_slice()), Bound::Excluded);
            let request = BatchRequest {
                lower,
                upper: end,
                reverse: false,
                keys_only: false,
                entries_max: BATCH_ENTRIES,
                bytes_max: limits::COMMIT_SIZE_BYTES_MAX,
            };
            let batch = self.engine.batch(self.snapshot, request)?;
            found.extend(batch.entries.into_iter().map(|entry| (entry.key, entry.value)));
            resume = batch.resume;
            if resume.is_none() {
                break;
            }
        }
        let unchanged_since = Versionstamp::from_raw(self.snapshot.stamp());
        self.checks.push(Check::Range { space: SpaceId::DEFAULT, range: range.clone(), unchanged_since });
        for (key, write) in self.writes.iter().filter(|(key, _)| range.contains(key)) {
            match write {
                Some((value, _)) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        Ok(found.into_iter().collect())
    }

    /// Writes a value without expiry.
    ///
    /// # Errors
    /// [`Error::Key`]
    pub fn put(&mut self, key: impl IntoKey, value: impl Into<Value>) -> Result<(), Error> {
        self.put_expiring(key, value, Expiry::Never)
    }

    /// Writes a value with an expiry.
    ///
    /// # Errors
    /// [`Error::Key`]
    pub fn put_expiring(
        &mut self,
        key: impl IntoKey,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<(), Error> {
        self.writes.insert(key.into_key()?, Some((value.into(), expiry)));
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`Error::Key`]
    pub fn delete(&mut self, key: impl IntoKey) -> Result<(), Error> {
        self.writes.insert(key.into_key()?, None);
        Ok(())
    }

    /// Gives the transaction up: nothing is written, and [`Db::transact`] returns the reason.
    pub fn abort(&self, why: &str) -> Error {
        Error::Commit(CommitError::Aborted(why.into()))
    }

    fn into_commit(self) -> Commit {
        let mutations = self
            .writes
            .into_iter()
            .map(|(key, write)| Mutation {
                space: SpaceId::DEFAULT,
                key,
                operation: match write {
                    Some((value, expiry)) => Operation::Set { value, expiry },
                    None => Operation::Delete,
                },
            })
            .collect();
        Commit { checks: self.checks, mutations, token: None }
    }
}

/// See [`Db::transact`].
pub(crate) fn transact<T>(
    db: &Db,
    mut run: impl FnMut(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    let engine = db.engine();
    for _ in 0..OPTIMISTIC_TRIES {
        let snapshot = engine.snapshot();
        let mut transaction = Transaction::new(engine, &snapshot);
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
    let mut result = None;
    let submitted = engine.submit_exclusive(|snapshot| {
        let mut transaction = Transaction::new(engine, snapshot);
        result = Some(run(&mut transaction)?);
        // Nothing can come between, so there is nothing to check.
        Ok::<_, Error>(Commit { checks: Vec::new(), ..transaction.into_commit() })
    })?;
    engine.wait(submitted.depends_on, db.durability())?;
    submitted.outcome?;
    result.ok_or(Error::Commit(CommitError::Closed))
}
