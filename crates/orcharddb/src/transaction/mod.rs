//! Interactive transactions: read, decide, write, serializable.
//!
//! - Every read becomes a check, so a commit that changed what was read makes the transaction run again; under the commit
//!   lock nothing can come between and there is nothing to check.
//! - A transaction sees its own writes, in every space.

mod absent;
mod names;
mod overlay;
mod pipeline;
mod run;
mod stepped;
mod writes;

use crate::error::Error;
use crate::scan::{Cursor, ScanOptions};
use crate::tuple::IntoKey;
pub use absent::Kept;
use bytes::{BufMut, Bytes, BytesMut};
use orchard_engine::engine::Engine;
use orchard_engine::error::{CommitError, ReadError};
use orchard_engine::snapshot::SnapshotPin;
use orchard_types::{
    Check, CollectionId, Commit, Entry, Expiry, Key, KeyRange, Mutation, SpaceId, UnixMillis, Value,
    ValueType, Versionstamp,
};
use overlay::{Overlay, Seen, Write};
pub use pipeline::{Applied, Pipeline, View};
pub(crate) use run::{exclusive, transact};
use std::cmp::Ordering;
use std::collections::BTreeMap;
pub use stepped::{Change, Outcomes, SteppedCommit};

/// Reads and writes of one try of a transaction.
///
/// ```
/// use orcharddb::{Db, ScanOptions, KeyRange, SpaceId};
/// let db = Db::memory()?;
/// db.put("apple", "red")?;
/// db.transact(|tx| {
///     tx.put("pear", "green")?;
///     tx.delete("apple")?;
///     let fruit = tx.scan_in(SpaceId::DEFAULT, KeyRange::all(), ScanOptions::default())?;
///     assert_eq!(fruit.len(), 1, "it sees its own writes");
///     Ok(())
/// })?;
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct Transaction<'a> {
    engine: &'a Engine,
    snapshot: &'a SnapshotPin,
    /// Under the commit lock: nothing that was read can change.
    is_exclusive: bool,
    keys_read: BTreeMap<(SpaceId, Key), Option<Versionstamp>>,
    ranges_read: Vec<(SpaceId, KeyRange)>,
    overlay: Overlay,
    /// The keys written, in order; while somebody wants to know.
    journal: Option<Vec<Noted>>,
    /// Ids drawn by this try.
    new_collections: Vec<CollectionId>,
}

/// A write that a transaction has noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// Where.
    pub space: SpaceId,
    /// The key.
    pub key: Key,
    /// Whether it was there before.
    pub was_there: bool,
    /// Whether it was set rather than removed.
    pub is_there: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(engine: &'a Engine, snapshot: &'a SnapshotPin, is_exclusive: bool) -> Transaction<'a> {
        Transaction {
            engine,
            snapshot,
            is_exclusive,
            keys_read: BTreeMap::new(),
            ranges_read: Vec::new(),
            overlay: Overlay::default(),
            journal: None,
            new_collections: Vec::new(),
        }
    }
}

impl Transaction<'_> {
    /// The time it reads at; expiry is judged at it.
    pub fn now(&self) -> UnixMillis {
        self.snapshot.time()
    }

    /// The newest version that it reads.
    pub fn read_version(&self) -> Versionstamp {
        Versionstamp::from_raw(self.snapshot.stamp())
    }

    /// Reads a value, the transaction's own write if there is one.
    ///
    /// # Errors
    /// [`Error::Key`] or [`Error::Read`]
    pub fn get(&mut self, key: impl IntoKey) -> Result<Option<Value>, Error> {
        Ok(self.entry_in(SpaceId::DEFAULT, &key.into_key()?)?.map(|entry| entry.value))
    }

    /// Reads an entry of any space. The transaction's own write has the versionstamp [`Versionstamp::MAX`], and if its
    /// expiry is relative, one that counts from [`Transaction::now`].
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn entry_in(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error> {
        if self.overlay.is_seen_by_reads() {
            match self.overlay.see(space, key) {
                Seen::Write(Write::Delete) | Seen::Deleted => return Ok(None),
                Seen::Write(Write::Set { value, expiry }) => {
                    let (value, expiry) = (value.clone(), *expiry);
                    return self.own_entry(space, key.clone(), value, expiry);
                }
                Seen::Write(Write::Touch { expiry }) => {
                    let expiry = *expiry;
                    return self.touched_entry(space, key.clone(), expiry);
                }
                Seen::Unknown => {}
            }
        }
        self.stored_entry(space, key)
    }

    /// Whether a key of any space has an entry; costs less than [`Transaction::entry_in`].
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn has_in(&mut self, space: SpaceId, key: &Key) -> Result<bool, Error> {
        let is_stored_alone =
            !self.overlay.is_seen_by_reads() || matches!(self.overlay.see(space, key), Seen::Unknown);
        if self.is_exclusive && is_stored_alone {
            return Ok(self.engine.has(self.snapshot, space, key)?);
        }
        Ok(self.entry_in(space, key)?.is_some())
    }

    fn stored_entry(&mut self, space: SpaceId, key: &Key) -> Result<Option<Entry>, Error> {
        let entry = self.engine.get_at(self.snapshot, space, key)?;
        if !self.is_exclusive {
            let versionstamp = entry.as_ref().map(|entry| entry.versionstamp);
            self.keys_read.insert((space, key.clone()), versionstamp);
        }
        Ok(entry)
    }

    /// The entry that a pending write will be; absent if it will have expired.
    fn own_entry(
        &mut self,
        space: SpaceId,
        key: Key,
        value: Value,
        expiry: Expiry,
    ) -> Result<Option<Entry>, Error> {
        let now = self.now();
        let expires_at = match expiry {
            Expiry::Never => None,
            Expiry::At(time) => Some(time),
            Expiry::After(duration) => Some(now.saturating_add(duration)),
            Expiry::Keep => self.stored_entry(space, &key)?.and_then(|entry| entry.expires_at),
            Expiry::KeepOr(duration) => match self.stored_entry(space, &key)? {
                Some(entry) => entry.expires_at,
                None => Some(now.saturating_add(duration)),
            },
        };
        let entry = Entry { key, value, versionstamp: Versionstamp::MAX, expires_at };
        Ok(Some(entry).filter(|_| expires_at.is_none_or(|expires| expires > now)))
    }

    /// The stored entry as it will be when its expiry is changed.
    fn touched_entry(&mut self, space: SpaceId, key: Key, expiry: Expiry) -> Result<Option<Entry>, Error> {
        let Some(entry) = self.stored_entry(space, &key)? else { return Ok(None) };
        self.own_entry(space, key, entry.value, expiry)
    }

    /// Reads a range, the transaction's own writes included, in key order.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn scan(&mut self, range: KeyRange) -> Result<Vec<(Key, Value)>, Error> {
        let entries = self.scan_in(SpaceId::DEFAULT, range, ScanOptions::default())?;
        Ok(entries.into_iter().map(|entry| (entry.key, entry.value)).collect())
    }

    /// Reads a range of any space, the transaction's own writes included; see [`Transaction::entry_in`] for how those
    /// look. Costs what it returns, and what it passes over of keys that the transaction has deleted.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn scan_in(
        &mut self,
        space: SpaceId,
        range: KeyRange,
        options: ScanOptions,
    ) -> Result<Vec<Entry>, Error> {
        let limit = options.limit.unwrap_or(usize::MAX);
        if range.is_empty() || limit == 0 {
            return Ok(Vec::new());
        }
        // Stored entries may be hidden by own writes, so the limit is not theirs.
        let cursor_options = ScanOptions { limit: None, ..options };
        let mut cursor = Cursor::new(space, &range, cursor_options, limit);
        let mut stored = cursor.next(self.engine, self.snapshot).transpose()?;
        let mut found = Vec::new();
        if !self.overlay.is_seen_by_reads() {
            while let Some(entry) = stored {
                found.push(entry);
                if found.len() >= limit {
                    break;
                }
                stored = cursor.next(self.engine, self.snapshot).transpose()?;
            }
        } else {
            // Own writes whose expiry is kept have to be looked up, so they leave the overlay first, a few at a time.
            let mut own = self.own_writes(space, &range, options.reverse, limit);
            let mut next_own = own.next();
            while found.len() < limit {
                let order = match (&stored, &next_own) {
                    (None, None) => break,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(_), None) => Ordering::Less,
                    (Some(entry), Some((key, _))) if options.reverse => key.cmp(&entry.key),
                    (Some(entry), Some((key, _))) => entry.key.cmp(key),
                };
                if order != Ordering::Greater {
                    let hidden = order == Ordering::Equal
                        || stored
                            .as_ref()
                            .is_some_and(|entry| self.overlay.is_in_deleted_range(space, &entry.key));
                    found.extend(stored.take().filter(|_| !hidden));
                    stored = cursor.next(self.engine, self.snapshot).transpose()?;
                }
                if order != Ordering::Less
                    && let Some((key, write)) = next_own.take()
                {
                    let rest = match options.reverse {
                        false => KeyRange { start: behind(&key), end: range.end.clone() },
                        true => KeyRange { start: range.start.clone(), end: Some(key.clone().into_bytes()) },
                    };
                    let entry = match write {
                        Write::Set { value, expiry } => self.own_entry(space, key, value, expiry)?,
                        Write::Touch { expiry } => self.touched_entry(space, key, expiry)?,
                        Write::Delete => None,
                    };
                    found.extend(entry.map(|mut entry| {
                        if options.keys_only {
                            entry.value.data = Bytes::new();
                        }
                        entry
                    }));
                    next_own = own.next();
                    if next_own.is_none() {
                        own = self.own_writes(space, &rest, options.reverse, limit);
                        next_own = own.next();
                    }
                }
            }
        }
        if !self.is_exclusive {
            // What lies behind the last entry was not read, so it may change.
            let read = match found.last() {
                Some(last) if found.len() >= limit && options.reverse => {
                    KeyRange { start: last.key.clone().into_bytes(), end: range.end }
                }
                Some(last) if found.len() >= limit => {
                    KeyRange { start: range.start, end: Some(behind(&last.key)) }
                }
                _ => range,
            };
            self.ranges_read.push((space, read));
        }
        Ok(found)
    }

    /// The first own writes of a range, in the order of the scan.
    fn own_writes(
        &self,
        space: SpaceId,
        range: &KeyRange,
        reverse: bool,
        limit: usize,
    ) -> std::vec::IntoIter<(Key, Write)> {
        const OWN_WRITES_AT_ONCE: usize = 256;
        if range.is_empty() {
            return Vec::new().into_iter();
        }
        let at_once = limit.min(OWN_WRITES_AT_ONCE);
        let copy = |(key, write): (&Key, &Write)| (key.clone(), write.clone());
        let writes = self.overlay.writes_in(space, range);
        let writes: Vec<_> = if reverse {
            writes.rev().take(at_once).map(copy).collect()
        } else {
            writes.take(at_once).map(copy).collect()
        };
        writes.into_iter()
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
        self.put_in(SpaceId::DEFAULT, key.into_key()?, value, expiry);
        Ok(())
    }

    /// Writes a value into any space.
    pub fn put_in(&mut self, space: SpaceId, key: Key, value: impl Into<Value>, expiry: Expiry) {
        let now = self.now();
        self.note(space, &key, true);
        self.overlay.set(space, key, value.into(), expiry, now);
    }

    /// Changes the expiry of an entry of any space; its value stays, and is not written again. Whether it is there.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn touch_in(&mut self, space: SpaceId, key: Key, expiry: Expiry) -> Result<bool, Error> {
        if self.entry_in(space, &key)?.is_none() {
            return Ok(false);
        }
        let now = self.now();
        self.note(space, &key, true);
        self.overlay.touch(space, key, expiry, now);
        Ok(true)
    }

    /// Removes a key.
    ///
    /// # Errors
    /// [`Error::Key`]
    pub fn delete(&mut self, key: impl IntoKey) -> Result<(), Error> {
        self.delete_in(SpaceId::DEFAULT, key.into_key()?);
        Ok(())
    }

    /// Removes a key of any space.
    pub fn delete_in(&mut self, space: SpaceId, key: Key) {
        self.note(space, &key, false);
        self.overlay.delete(space, key);
    }

    /// Notes a key as if it were written or removed now, if keys are noted. What was not there is not removed.
    pub fn note(&mut self, space: SpaceId, key: &Key, is_there: bool) {
        if self.journal.is_none() {
            return;
        }
        let was_there = self.entry_in(space, key).is_ok_and(|entry| entry.is_some());
        if let Some(journal) = self.journal.as_mut().filter(|_| is_there || was_there) {
            journal.push(Noted { space, key: key.clone(), was_there, is_there });
        }
    }

    /// Removes every entry of a range of any space, the transaction's own writes included; what is written after it stays.
    pub fn delete_range_in(&mut self, space: SpaceId, range: KeyRange) {
        self.overlay.delete_range(space, range);
    }

    /// Adds a mutation behind all writes of the transaction, as it is. Reads of this transaction do not see it.
    pub fn append(&mut self, mutation: Mutation) {
        self.overlay.append(mutation);
    }

    /// An id for a new collection.
    pub(crate) fn new_collection_id(&mut self) -> CollectionId {
        let id = self.engine.new_collection_id();
        self.new_collections.push(id);
        id
    }

    /// Notes the keys that are written from now on, each time they are; deletes of ranges are not noted.
    pub fn start_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// What was noted.
    pub fn take_journal(&mut self) -> Vec<Noted> {
        self.journal.take().unwrap_or_default()
    }

    /// Visits stored keys of a space in the order of their hashes, the transaction's own writes not seen; see
    /// [`Engine::keys_by_hash`].
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn keys_by_hash(
        &self,
        space: SpaceId,
        position: u64,
        look_at: usize,
        visit: impl FnMut(&[u8], ValueType),
    ) -> Result<u64, Error> {
        Ok(self.engine.keys_by_hash(self.snapshot, space, position, look_at, visit)?)
    }

    /// Number of stored entries of a range; `None` if own writes have to be seen.
    pub(crate) fn count_stored(
        &mut self,
        space: SpaceId,
        range: &KeyRange,
    ) -> Option<Result<u64, ReadError>> {
        let (start, end) = (&range.start, range.end.as_deref());
        if self.overlay.is_seen_by_reads() {
            return None;
        }
        if self.is_exclusive {
            return Some(Ok(self.engine.count_exclusive(self.snapshot, space, start, end)));
        }
        self.ranges_read.push((space, range.clone()));
        Some(self.engine.count_at(self.snapshot, space, start, end))
    }

    /// Whether all keys that a space has held are names; see [`crate::Db::holds_names_only`].
    pub fn holds_names_only(&self, space: SpaceId) -> bool {
        !self.engine.may_hold_apart(space)
    }

    /// Whether nothing would be written.
    pub fn is_read_only(&self) -> bool {
        self.overlay.is_empty()
    }

    /// Forgets everything that was written so far; what was read stays checked.
    pub fn clear(&mut self) {
        self.overlay.clear();
    }

    /// Gives the transaction up: nothing is written, and [`crate::Db::transact`] returns the reason.
    pub fn abort(&self, why: &str) -> Error {
        Error::Commit(CommitError::Aborted(why.into()))
    }

    fn into_commit(self) -> Commit {
        let mut commit = Commit::new();
        self.fill(&mut commit);
        commit
    }

    /// Adds its checks and mutations to a commit.
    fn fill(mut self, commit: &mut Commit) {
        self.overlay.forget_unheld(&self.new_collections);
        self.overlay.fill(&mut commit.mutations);
        let keys = self.keys_read.into_iter();
        commit.checks.extend(keys.map(|((space, key), expected)| Check::Key {
            space,
            key: key.into_bytes(),
            expected,
        }));
        let unchanged_since = Versionstamp::from_raw(self.snapshot.stamp());
        let ranges = self.ranges_read.into_iter();
        commit.checks.extend(ranges.map(|(space, range)| Check::Range { space, range, unchanged_since }));
    }
}

/// The first byte string behind `key`.
fn behind(key: &Key) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.put_slice(key);
    next.put_u8(0);
    next.freeze()
}
