//! Transactions from a distance: read at one version, commit with checks on everything that was read, again if one failed.
//!
//! - The first read fixes the version. If the database no longer has it, later reads are of the newest; the checks of the
//!   commit then still refuse what did not happen at one moment, and what `run` has said is not believed before that.
//! - A transaction sees its own writes.

use crate::error::ClientError;
use crate::{Backend, Client, Moment, Window};
use orchard_wire::{Kind, Problem};
use orcharddb::{
    Check, Commit, CommitError, Entry, Expiry, IntoKey, Key, KeyRange, Mutation, Operation, ScanOptions,
    Snapshot, SpaceId, Value, Versionstamp,
};
use std::collections::BTreeMap;

/// Tries of one transaction.
const TRIES_MAX: usize = 100;

/// One try of a transaction.
pub struct Transaction {
    client: Client,
    snapshot: Option<Snapshot>,
    version: Option<Versionstamp>,
    keys_read: BTreeMap<Key, Option<Versionstamp>>,
    ranges_read: Vec<(KeyRange, Versionstamp)>,
    writes: BTreeMap<Key, Option<(Value, Expiry)>>,
}

impl Transaction {
    fn new(client: &Client) -> Transaction {
        let snapshot = client.local().map(orcharddb::Db::snapshot);
        Transaction {
            client: client.clone(),
            version: None,
            snapshot,
            keys_read: BTreeMap::new(),
            ranges_read: Vec::new(),
            writes: BTreeMap::new(),
        }
    }

    /// Entries of a range as they are stored, and the version of that.
    async fn read(
        &mut self,
        range: &KeyRange,
        options: ScanOptions,
    ) -> Result<(Vec<Entry>, Versionstamp), ClientError> {
        if let (Backend::Local(db), Some(snapshot)) = (&self.client.backend, &self.snapshot) {
            let space = self.client.space_for_read(db)?;
            let entries = crate::Entries::local(snapshot, space, range.clone(), options).collect().await?;
            return Ok((entries, snapshot.versionstamp()));
        }
        let Backend::Remote(remote) = &self.client.backend else {
            return Ok((Vec::new(), Versionstamp::ZERO));
        };
        let (lines, version) =
            match remote.scan(range, &options, &Window::default(), self.version.map(Moment::Version)).await {
                Err(ClientError::Refused(problem))
                    if problem.kind == Kind::SnapshotTooOld && self.version.is_some() =>
                {
                    remote.scan(range, &options, &Window::default(), None).await?
                }
                other => other?,
            };
        self.version.get_or_insert(version);
        Ok((crate::Entries::remote(lines, version).collect().await?, version))
    }

    /// Reads a value, the transaction's own write if there is one.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn get(&mut self, key: impl IntoKey) -> Result<Option<Value>, ClientError> {
        let key = key.into_key()?;
        if let Some(write) = self.writes.get(&key) {
            return Ok(write.as_ref().map(|(value, _)| value.clone()));
        }
        let behind = [key.as_ref(), &[0]].concat();
        let range = KeyRange { start: key.clone().into_bytes(), end: Some(behind.into()) };
        let options = ScanOptions { limit: Some(1), ..ScanOptions::default() };
        let entry = self.read(&range, options).await?.0.pop();
        // Read twice, at two versions perhaps: the first is the one to be checked.
        self.keys_read.entry(key).or_insert(entry.as_ref().map(|entry| entry.versionstamp));
        Ok(entry.map(|entry| entry.value))
    }

    /// Reads a range, the transaction's own writes included, in key order.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn scan(&mut self, range: KeyRange) -> Result<Vec<(Key, Value)>, ClientError> {
        let (entries, version) = self.read(&range, ScanOptions::default()).await?;
        let mut found: BTreeMap<_, _> = entries.into_iter().map(|entry| (entry.key, entry.value)).collect();
        for (key, write) in self.writes.iter().filter(|(key, _)| range.contains(key)) {
            match write {
                Some((value, _)) => found.insert(key.clone(), value.clone()),
                None => found.remove(key),
            };
        }
        self.ranges_read.push((range, version));
        Ok(found.into_iter().collect())
    }

    /// Writes a value.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn put(&mut self, key: impl IntoKey, value: impl Into<Value>) -> Result<(), ClientError> {
        self.put_expiring(key, value, Expiry::Never)
    }

    /// Writes a value that expires.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn put_expiring(
        &mut self,
        key: impl IntoKey,
        value: impl Into<Value>,
        expiry: Expiry,
    ) -> Result<(), ClientError> {
        self.writes.insert(key.into_key()?, Some((value.into(), expiry)));
        Ok(())
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the key is none.
    pub fn delete(&mut self, key: impl IntoKey) -> Result<(), ClientError> {
        self.writes.insert(key.into_key()?, None);
        Ok(())
    }

    /// The error that gives the transaction up: nothing is written.
    pub fn abort(&self, why: &str) -> ClientError {
        ClientError::from(CommitError::Aborted(why.into()))
    }

    /// Whether all was read at one version for sure.
    fn is_one_view(&self) -> bool {
        self.snapshot.is_some() || self.keys_read.len() + self.ranges_read.len() <= 1
    }

    fn into_commit(self, with_writes: bool) -> Commit {
        let space = SpaceId::DEFAULT;
        let keys = self.keys_read.into_iter();
        let keys = keys.map(|(key, expected)| Check::Key { space, key: key.into_bytes(), expected });
        let ranges = self.ranges_read.into_iter();
        let ranges = ranges.map(|(range, unchanged_since)| Check::Range { space, range, unchanged_since });
        let writes = self.writes.into_iter().filter(|_| with_writes);
        let mutations = writes.map(|(key, write)| Mutation {
            space,
            key,
            operation: match write {
                Some((value, expiry)) => Operation::Set { value, expiry },
                None => Operation::Delete,
            },
        });
        Commit { checks: keys.chain(ranges).collect(), mutations: mutations.collect(), token: None }
    }
}

/// See [`Client::transact`].
pub(crate) async fn transact<T>(
    client: &Client,
    mut run: impl AsyncFnMut(&mut Transaction) -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    for _ in 0..TRIES_MAX {
        let mut transaction = Transaction::new(client);
        let result = run(&mut transaction).await;
        if matches!(&result, Err(error) if error.kind() == Some(Kind::SnapshotTooOld)) {
            continue;
        }
        let writes = result.is_ok() && !transaction.writes.is_empty();
        if !writes && transaction.is_one_view() {
            return result;
        }
        match client.commit(&transaction.into_commit(writes)).await {
            Ok(_) => return result,
            Err(ClientError::CheckFailed(_)) => {}
            Err(error) if error.kind() == Some(Kind::SnapshotTooOld) => {}
            Err(error) => return Err(error),
        }
    }
    let detail = format!("others came between {TRIES_MAX} times in a row");
    Err(ClientError::Refused(Problem::new(Kind::Aborted, detail)))
}
