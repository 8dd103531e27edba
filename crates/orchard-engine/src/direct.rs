//! Commits of plain writes that are not built first: each write goes straight into the newest state and into the record of
//! the open group, under the commit lock.
//!
//! - What is written is what the same mutations in a commit would have written, to the byte of the log.
//! - Such a commit cannot be refused once its first write is in: what it needs (memory, room in the group) is there
//!   before, and whoever makes it has looked at everything that it rests on.
//! - Of a header that many of them write only the last version comes into the map ([`Direct::set_behind`]); the log has all.
//! - Watermark, counts and clock move once for a run of them, before anything else is done under the same hold of the lock.

use crate::apply::{self, Stored, Tally, expires_at, is_live};
use crate::commit::{Core, Placed, Submitted};
use crate::engine::Engine;
use crate::format::{push_flat_key, split_flat_key};
use crate::look::WarmKeys;
use crate::state::{self, Entries};
use crate::totals::Counts;
use crate::wal::record::RecordWriter;
use orchard_types::{Durability, Expiry, SpaceId, UnixMillis, ValueType, Versionstamp, limits};
use std::sync::atomic::Ordering;

pub use orchard_map::{Hashed, KeyHash};

/// What a look at a key finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen<'a> {
    /// No entry.
    Absent,
    /// An entry.
    Here(ValueType, &'a [u8]),
    /// An entry whose value is on disk only.
    Elsewhere,
}

/// What a run of such commits has changed and not yet told.
#[derive(Default)]
pub(crate) struct Run {
    tally: Tally,
    counts: Counts,
    commits: u64,
    last: Option<(Versionstamp, UnixMillis)>,
    behind: Behind,
    /// Whether a write may stand behind, once asked.
    may_stand_behind: Option<bool>,
}

/// A write that stands in the log and not yet in the map: see [`Direct::set_behind`].
#[derive(Default)]
struct Behind {
    flat: Vec<u8>,
    hash: KeyHash,
    value_type: ValueType,
    data: Vec<u8>,
    /// Of the newest such write; `None` if there is none.
    at: Option<(Versionstamp, UnixMillis)>,
    has_replaced: bool,
}

impl Behind {
    fn is_of(&self, key: Hashed<'_>) -> bool {
        self.at.is_some() && self.flat == key.key()
    }
}

impl Run {
    /// The newest applied stamp.
    pub(crate) fn applied(&self, engine: &Engine) -> u64 {
        self.last.map_or_else(|| engine.progress.watermark(Durability::None), |(stamp, _)| stamp.raw())
    }

    /// Tells what it has not yet told.
    pub(crate) fn flush(&mut self, core: &mut Core, engine: &Engine) {
        self.may_stand_behind = None;
        let Some((stamp, log_time)) = self.last.take() else { return };
        self.catch_up(core, engine);
        engine.counts.add(&std::mem::take(&mut self.counts));
        engine.count_commits(std::mem::take(&mut self.commits));
        if engine.progress.durability() == Durability::Fsync {
            engine.company.note_open(core.open.as_ref().map_or(0, |open| open.count.into()));
        }
        engine.progress.advance(Durability::None, stamp.raw(), log_time.0);
        if engine.progress.durability() == Durability::None {
            engine.log_clock.nothing_in_flight();
        }
    }

    /// Puts what stands behind into the map.
    fn catch_up(&mut self, core: &mut Core, engine: &Engine) {
        let Some((stamp, log_time)) = self.behind.at.take() else { return };
        if std::mem::take(&mut self.behind.has_replaced) {
            // Nobody can read at the stamps of those that it took the place of.
            engine.stats.pruned_to.fetch_max(stamp.raw(), Ordering::SeqCst);
        }
        let behind = std::mem::take(&mut self.behind);
        let key = Hashed::new(&behind.flat, behind.hash);
        let content = Some((behind.value_type as u8, behind.data.as_slice()));
        // A commit that has begun goes on behind this.
        let begun = std::mem::take(&mut self.tally);
        self.write(core, engine, (stamp, log_time), key, content, Expiry::Keep);
        self.settle(engine);
        let orphans = std::mem::replace(&mut self.tally, begun).take_orphans();
        debug_assert!(orphans.is_empty(), "a header takes the place of itself");
        self.behind = behind;
    }

    fn write(
        &mut self,
        core: &mut Core,
        engine: &Engine,
        (stamp, log_time): (Versionstamp, UnixMillis),
        key: Hashed<'_>,
        content: Option<(u8, &[u8])>,
        expiry: Expiry,
    ) {
        let stamp = stamp.raw();
        let mut entries = Entries::new(&mut core.map, &mut core.ranges, &engine.expiry, &engine.apart);
        let expires = |stored: Option<&Stored<'_>>| expires_at(expiry, stored, log_time);
        let written = entries.write_hashed(key, stamp, content, expires);
        let erased = entries.into_erased();
        self.tally.count(key.key(), stamp, content, written, false);
        if !erased.is_empty() {
            core.settle(engine, erased);
        }
    }

    /// Counts what was written, but for what was deleted.
    fn settle(&mut self, engine: &Engine) {
        let effects = &mut self.tally.effects;
        self.counts.add(Counts::of(effects));
        (effects.entries, effects.key_bytes, effects.value_bytes) = (0, 0, 0);
        if !effects.expiries.is_empty() {
            let mut expiry = engine.expiry.lock();
            for (key, before, after) in effects.expiries.drain(..) {
                expiry.change(key, before, after);
            }
        }
    }
}

/// One commit that is being made. See the module's text.
pub struct Direct<'h> {
    engine: &'h Engine,
    core: &'h mut Core,
    run: &'h mut Run,
    stamp: Versionstamp,
    log_time: UnixMillis,
    record: Option<RecordWriter>,
    writes: usize,
    has_begun: bool,
}

impl<'h> Direct<'h> {
    /// The next commit of the open group; `None` if such a one cannot be made now.
    pub(crate) fn new(engine: &'h Engine, core: &'h mut Core, run: &'h mut Run) -> Option<Direct<'h>> {
        if core.is_closed || core.must_write_first() || engine.is_disk_full() {
            return None;
        }
        let (index, log_time, count) = core.open_group(engine);
        let stamp = Versionstamp::new(index, count as u16);
        if run.behind.at.is_some_and(|(behind, _)| behind.index() != index) {
            // Another group has another time.
            run.catch_up(core, engine);
        }
        Some(Direct { engine, core, run, stamp, log_time, record: None, writes: 0, has_begun: false })
    }

    /// A key with its hash.
    pub fn hashed<'k>(&self, flat: &'k [u8]) -> Hashed<'k> {
        self.core.map.hashed(flat)
    }

    /// The hash of a flat key.
    pub fn hash_of(&self, flat: &[u8]) -> KeyHash {
        self.engine.reader.hash_of(flat)
    }

    /// Notes the hashes of keys that will be written.
    pub fn note_hashes(&self, keys: &mut WarmKeys) {
        self.engine.warm(keys, true);
    }

    /// What the newest state has under a flat key.
    pub fn look(&self, key: Hashed<'_>) -> Seen<'_> {
        if self.run.behind.is_of(key) {
            return Seen::Here(self.run.behind.value_type, &self.run.behind.data);
        }
        let newest = self.core.map.newest_hashed(key);
        let stored = newest.map(|version| state::stored(&self.core.ranges, version));
        match stored.filter(|stored| is_live(stored, self.log_time)) {
            None => Seen::Absent,
            Some(Stored { type_tag, value: Some(value), .. }) => {
                Seen::Here(ValueType::from_number(type_tag).unwrap_or_default(), value)
            }
            Some(_) => Seen::Elsewhere,
        }
    }

    /// [`Direct::look`] at a key of any space.
    pub fn look_in(&self, space: SpaceId, key: &[u8]) -> Seen<'_> {
        let mut flat = Vec::new();
        push_flat_key(&mut flat, space, key);
        self.look(self.hashed(&flat))
    }

    /// Whether `writes` writes with keys and values of `size_bytes` together can be made; to be asked once, before the
    /// first of them.
    pub fn begin(&mut self, writes: usize, size_bytes: usize) -> bool {
        let bound = RecordWriter::size_bytes_max(writes, size_bytes);
        let open = self.core.open.as_ref();
        let fits = |payload: usize| payload.saturating_add(bound) <= limits::GROUP_SIZE_BYTES_MAX;
        self.has_begun =
            writes <= limits::COMMIT_OPERATIONS_MAX && open.is_some_and(|open| fits(open.payload.len()));
        self.has_begun
    }

    /// Writes a value under a flat key.
    pub fn set(&mut self, key: Hashed<'_>, value_type: ValueType, data: &[u8], expiry: Expiry) {
        let Some((space, bare)) = split_flat_key(key.key()) else { return };
        let expiry = self.engine.options.default_expiry.given(space, bare, expiry).unwrap_or(expiry);
        if let Some((record, payload)) = self.record() {
            record.set(payload, (space, bare), expiry, (value_type, data));
        }
        self.write(key, Some((value_type as u8, data)), expiry);
    }

    /// As [`Direct::set`] with the expiry that the entry has, for an entry of which [`Direct::look`] has just shown that it
    /// is the same collection's header. Many commits of a run may write it, and only the last one's comes into the map, at
    /// its stamp, before anybody can see the others: as long as no snapshot and no history want them all. It is the last
    /// write of its commit.
    pub fn set_behind(&mut self, key: Hashed<'_>, value_type: ValueType, data: &[u8]) {
        let Some((space, bare)) = split_flat_key(key.key()) else { return };
        let engine = self.engine;
        let may_stand_behind = self.run.may_stand_behind.get_or_insert_with(|| {
            engine.keeps_log() && engine.options.history_retention_ms == 0 && engine.snapshots.count() == 0
        });
        // What else the commit does to headers is counted with this.
        let is_alone = !self.run.tally.has_headers();
        if !*may_stand_behind
            || !is_alone
            || engine.options.default_expiry.given(space, bare, Expiry::Keep).is_some()
        {
            return self.set(key, value_type, data, Expiry::Keep);
        }
        if let Some((record, payload)) = self.record() {
            record.set(payload, (space, bare), Expiry::Keep, (value_type, data));
        }
        if self.run.behind.is_of(key) {
            self.run.behind.has_replaced = true;
        } else {
            self.run.catch_up(self.core, engine);
            self.run.behind.flat.clear();
            self.run.behind.flat.extend_from_slice(key.key());
            self.run.behind.hash = key.hash();
        }
        let behind = &mut self.run.behind;
        behind.value_type = value_type;
        behind.data.clear();
        behind.data.extend_from_slice(data);
        behind.at = Some((self.stamp, self.log_time));
    }

    /// Deletes what a flat key has, if anything.
    pub fn delete(&mut self, key: Hashed<'_>) {
        let Some((space, bare)) = split_flat_key(key.key()) else { return };
        if let Some((record, payload)) = self.record() {
            record.delete(payload, (space, bare));
        }
        if self.run.behind.is_of(key) {
            self.run.catch_up(self.core, self.engine);
        }
        let newest = self.core.map.newest_hashed(key);
        let stored = newest.map(|version| state::stored(&self.core.ranges, version));
        if stored.is_some_and(|stored| !stored.is_tombstone) {
            self.write(key, None, Expiry::Never);
        }
    }

    /// The record, begun if this is the first write; `None` if nobody will read it.
    fn record(&mut self) -> Option<(&mut RecordWriter, &mut Vec<u8>)> {
        debug_assert!(self.has_begun, "a write without `begin`");
        debug_assert!(
            self.run.behind.at.is_none_or(|(stamp, _)| stamp < self.stamp),
            "a write behind the last"
        );
        self.writes += 1;
        if !self.engine.keeps_log() && !self.engine.tail.is_followed() {
            return None;
        }
        let payload = &mut self.core.open.as_mut()?.payload;
        Some((self.record.get_or_insert_with(|| RecordWriter::new(payload)), payload))
    }

    fn write(&mut self, key: Hashed<'_>, content: Option<(u8, &[u8])>, expiry: Expiry) {
        if self.run.behind.is_of(key) {
            self.run.catch_up(self.core, self.engine);
        }
        self.run.write(self.core, self.engine, (self.stamp, self.log_time), key, content, expiry);
    }

    /// Whether it has written anything.
    pub(crate) fn is_untouched(&self) -> bool {
        self.writes == 0
    }

    /// The commit is whole; its outcome, and the bytes of its record.
    pub(crate) fn finish(mut self) -> (Submitted, usize) {
        if self.writes == 0 {
            let versionstamp = Versionstamp::from_raw(self.run.applied(self.engine));
            let placed = Placed { versionstamp, log_time: self.log_time, repeated: false };
            return (Submitted { outcome: Ok(placed), depends_on: versionstamp }, 0);
        }
        if self.run.tally.has_headers() {
            for id in self.run.tally.take_orphans() {
                let (flat, content) = apply::orphan_entry(id);
                let flat = flat.as_slice();
                self.write(self.hashed(flat), Some(content), Expiry::Never);
            }
        }
        let Direct { engine, core, run, stamp, log_time, record, .. } = self;
        let mut size_bytes = 0;
        if let Some(open) = &mut core.open {
            open.count += 1;
            if let Some(record) = record {
                size_bytes = record.finish(&mut open.payload);
            }
        }
        run.settle(engine);
        let effects = &mut run.tally.effects;
        debug_assert!(effects.orphans.is_empty() && effects.moved.is_empty(), "it deletes no ranges");
        run.commits += 1;
        run.last = Some((stamp, log_time));
        if engine.keeps_log() {
            effects.deleted.clear();
        } else {
            let deleted = std::mem::take(&mut effects.deleted);
            engine.end_group_in_memory(core, stamp);
            run.flush(core, engine);
            engine.finish_in_memory(core, deleted, stamp, log_time);
        }
        let placed = Placed { versionstamp: stamp, log_time, repeated: false };
        (Submitted { outcome: Ok(placed), depends_on: stamp }, size_bytes)
    }
}
