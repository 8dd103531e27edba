//! `CLIENT TRACKING`: which client may hold which key in a cache of its own, and telling it when the key changes.
//!
//! - Changes come from the database's own order of commits, not from commands: whatever protocol wrote, and whatever the
//!   background swept, is told of.
//! - An entry (key, client, `at`) says: the client knows the key as of version `at`. Every later change is told to it once,
//!   and ends the entry. `told` is how far changes have come in here; whoever knows something older than that when it
//!   is remembered is told at once that it may have changed. So news may come early or for nothing, and none is missed.
//! - Keys are remembered by name alone, whatever their database, as in Redis.
//! - The table is bounded in keys and bytes: a key that has to go is told as if it had changed.

use super::clients::Client;
use super::invalidation::Invalidation;
use bytes::Bytes;
use orcharddb::{
    Db, Key, KeyRange, Mutation, Observation, Observer, Operation, SpaceId, Versionstamp, tuple,
};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Keys that the table holds at most, unless `CONFIG SET tracking-table-max-keys` says otherwise.
const KEYS_MAX_DEFAULT: u64 = 1_000_000;
/// Bytes that the table holds at most, about.
const TABLE_SIZE_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What a key, and each client that knows it, take next to the key's bytes, roughly.
const KEY_OVERHEAD_BYTES: usize = 100;
const ITEM_SIZE_BYTES: usize = 16;

/// A client that knows a key as of a version.
struct Knows {
    client: u64,
    at: Versionstamp,
}

struct Tracker {
    client: Arc<Client>,
    /// The prefixes it wants all changes of; `None`: it is told of what it has read.
    prefixes: Option<BTreeSet<Bytes>>,
}

#[derive(Default)]
struct Table {
    /// By the key as the database has it, so that ranges find their keys.
    keys: BTreeMap<Bytes, Vec<Knows>>,
    items: usize,
    size_bytes: usize,
    trackers: HashMap<u64, Tracker>,
    /// Who wants all changes of names that begin so.
    prefixes: HashMap<Bytes, BTreeSet<u64>>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    /// Changes have come in up to this version.
    told: Versionstamp,
    /// The key that went last for want of room.
    evicted: Bytes,
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Tracking {
    table: Arc<Shared>,
    /// While anybody tracks. Never locked by what the database calls.
    observation: Mutex<Option<Observation>>,
    keys_max: KeysMax,
}

struct KeysMax(AtomicU64);

impl Default for KeysMax {
    fn default() -> KeysMax {
        KeysMax(AtomicU64::new(KEYS_MAX_DEFAULT))
    }
}

#[derive(Default)]
struct Shared(Mutex<Table>);

/// What `INFO` tells.
pub(crate) struct Counts {
    pub(crate) clients: usize,
    pub(crate) keys: usize,
    pub(crate) items: usize,
    pub(crate) prefixes: usize,
}

impl Tracking {
    /// The client tracks from now on. With `prefixes` it is told of all changes of such names, else of what it reads.
    pub(crate) fn enable(&self, db: &Db, client: &Arc<Client>, prefixes: Option<&BTreeSet<Bytes>>) {
        let mut observation = self.observation.lock();
        {
            let mut table = self.table.0.lock();
            table.forget_tracker(client.id);
            for prefix in prefixes.into_iter().flatten() {
                table.add_prefix(client.id, prefix);
            }
            let tracker = Tracker { client: client.clone(), prefixes: prefixes.cloned() };
            table.trackers.insert(client.id, tracker);
        }
        if observation.is_none() {
            *observation = Some(db.observe(self.table.clone()));
        }
    }

    /// The client tracks no more.
    pub(crate) fn disable(&self, client: u64) {
        let mut observation = self.observation.lock();
        let is_last = {
            let mut table = self.table.0.lock();
            table.forget_tracker(client);
            let is_last = table.trackers.is_empty();
            if is_last {
                let told = table.told;
                *table = Table { told, ..Table::default() };
            }
            is_last
        };
        if is_last {
            *observation = None;
        }
    }

    /// A client that tracks has read these keys at a version.
    pub(crate) fn remember(&self, client: &Client, names: &[&[u8]], at: Versionstamp) {
        let mut table = self.table.0.lock();
        if table.trackers.get(&client.id).is_none_or(|tracker| tracker.prefixes.is_some()) {
            return;
        }
        for name in names {
            let Ok(key) = tuple::name(name) else { continue };
            if at < table.told {
                client.invalidate(Invalidation::key(Bytes::copy_from_slice(name), Versionstamp::MAX, false));
            } else {
                table.know(key, client.id, at);
            }
        }
        table.shrink(self.keys_max());
    }

    /// Keys that the table holds at most; 0: as many as there is room for.
    pub(crate) fn keys_max(&self) -> u64 {
        self.keys_max.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set_keys_max(&self, keys_max: u64) {
        self.keys_max.0.store(keys_max, Ordering::Relaxed);
        self.table.0.lock().shrink(keys_max);
    }

    pub(crate) fn counts(&self) -> Counts {
        let table = self.table.0.lock();
        Counts {
            clients: table.trackers.len(),
            keys: table.keys.len(),
            items: table.items,
            prefixes: table.prefixes.len(),
        }
    }
}

impl Table {
    fn add_prefix(&mut self, client: u64, prefix: &Bytes) {
        let clients = self.prefixes.entry(prefix.clone()).or_default();
        if clients.is_empty() {
            *self.lengths.entry(prefix.len()).or_default() += 1;
        }
        clients.insert(client);
    }

    /// Its entries for keys stay until the keys change, and then tell nobody.
    fn forget_tracker(&mut self, client: u64) {
        let Some(tracker) = self.trackers.remove(&client) else { return };
        for prefix in tracker.prefixes.into_iter().flatten() {
            let Some(clients) = self.prefixes.get_mut(&prefix) else { continue };
            clients.remove(&client);
            if clients.is_empty() {
                self.prefixes.remove(&prefix);
                if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                    *count -= 1;
                    if *count == 0 {
                        self.lengths.remove(&prefix.len());
                    }
                }
            }
        }
    }

    fn know(&mut self, key: Key, client: u64, at: Versionstamp) {
        let key = key.into_bytes();
        let key_bytes = key.len() + KEY_OVERHEAD_BYTES;
        let clients = self.keys.entry(key).or_default();
        if clients.is_empty() {
            self.size_bytes += key_bytes;
        }
        match clients.iter_mut().find(|knows| knows.client == client) {
            Some(knows) => knows.at = knows.at.max(at),
            None => {
                clients.push(Knows { client, at });
                self.items += 1;
                self.size_bytes += ITEM_SIZE_BYTES;
            }
        }
    }

    /// Tells all who know a key that it changed at `stamp`.
    fn change(&mut self, key: &[u8], stamp: Versionstamp) {
        let Some(clients) = self.keys.get_mut(key) else { return };
        let before = clients.len();
        let mut told = Vec::new();
        clients.retain(|knows| {
            // Who has read what this change made knows already.
            let is_known = knows.at >= stamp;
            if !is_known {
                told.push(knows.client);
            }
            is_known
        });
        let (gone, is_empty) = (before - clients.len(), clients.is_empty());
        self.items -= gone;
        self.size_bytes -= gone * ITEM_SIZE_BYTES;
        if is_empty {
            self.keys.remove(key);
            self.size_bytes -= key.len() + KEY_OVERHEAD_BYTES;
        }
        if told.is_empty() {
            return;
        }
        let Some(name) = tuple::decode_name(key) else { return };
        let name = Bytes::from(name);
        for client in told {
            if let Some(Tracker { client, prefixes: None }) = self.trackers.get(&client) {
                client.invalidate(Invalidation::key(name.clone(), stamp, false));
            }
        }
    }

    /// Tells those who want all changes of such names.
    fn broadcast(&self, key: &Key, stamp: Versionstamp) {
        if self.prefixes.is_empty() {
            return;
        }
        let Some(name) = tuple::decode_name(key) else { return };
        let name = Bytes::from(name);
        for length in self.lengths.keys() {
            let Some(clients) = name.get(..*length).and_then(|prefix| self.prefixes.get(prefix)) else {
                continue;
            };
            for client in clients.iter().filter_map(|id| self.trackers.get(id)) {
                client.client.invalidate(Invalidation::key(name.clone(), stamp, true));
            }
        }
    }

    /// Everything may have changed.
    fn change_all(&mut self) {
        self.keys.clear();
        (self.items, self.size_bytes) = (0, 0);
        for tracker in self.trackers.values() {
            tracker.client.invalidate(Invalidation::all(tracker.prefixes.is_some()));
        }
    }

    /// Keys of a range may have changed. What was there is not known, so those who want all changes of a prefix are told
    /// that everything may have.
    fn change_range(&mut self, range: &KeyRange, stamp: Versionstamp) {
        let upper = range.end.clone().map_or(Bound::Unbounded, Bound::Excluded);
        if range.is_empty() {
            return;
        }
        let bounds = (Bound::Included(range.start.clone()), upper);
        let keys: Vec<Bytes> = self.keys.range(bounds).map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.change(key, stamp));
        for tracker in self.trackers.values().filter(|tracker| tracker.prefixes.is_some()) {
            tracker.client.invalidate(Invalidation::all(true));
        }
    }

    /// Lets keys go until there is room, each as if it had changed.
    fn shrink(&mut self, keys_max: u64) {
        let is_over = |table: &Table| {
            let keys = u64::try_from(table.keys.len()).unwrap_or(u64::MAX);
            (keys_max > 0 && keys > keys_max) || table.size_bytes > TABLE_SIZE_BYTES_MAX
        };
        while is_over(self) {
            let behind = (Bound::Excluded(self.evicted.clone()), Bound::Unbounded);
            let next = self.keys.range(behind).next().or_else(|| self.keys.first_key_value());
            let Some(key) = next.map(|(key, _)| key.clone()) else { return };
            self.change(&key, Versionstamp::MAX);
            self.evicted = key;
        }
    }
}

impl Observer for Shared {
    fn committed(&self, versionstamp: Versionstamp, mutations: &[Mutation]) {
        let mut table = self.0.lock();
        table.told = table.told.max(versionstamp);
        if renames_databases(mutations) {
            return table.change_all();
        }
        for Mutation { key, operation, .. } in mutations.iter().filter(|one| one.space.is_database()) {
            match operation {
                Operation::DeleteRange { end } if key.is_empty() && end.is_none() => table.change_all(),
                Operation::DeleteRange { end } => {
                    let range = KeyRange { start: key.clone().into_bytes(), end: end.clone() };
                    table.change_range(&range, versionstamp);
                }
                _ => {
                    table.change(key, versionstamp);
                    table.broadcast(key, versionstamp);
                }
            }
        }
    }

    fn lost(&self, up_to: Versionstamp) {
        let mut table = self.0.lock();
        table.told = table.told.max(up_to);
        table.change_all();
    }
}

/// Whether a commit makes a number mean another database: a name that goes, or several that are set, in the table of
/// names. (One that is new was empty before, and what is written to it is told by itself.)
fn renames_databases(mutations: &[Mutation]) -> bool {
    let names = mutations.iter().filter(|one| one.space == SpaceId::NAMES && !one.key.is_empty());
    let mut count = 0;
    for name in names {
        count += 1;
        if count > 1 || !matches!(name.operation, Operation::Set { .. }) {
            return true;
        }
    }
    false
}
