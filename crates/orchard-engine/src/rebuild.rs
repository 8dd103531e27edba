//! Building the state that the files of a database hold: segments first, then the log behind them. It writes nothing, so that
//! checking a directory is opening it without what opening changes.

use crate::apply::{self, Place, Refusal};
use crate::collections::OrphansDue;
use crate::count::Apart;
use crate::engine::EngineOptions;
use crate::error::StorageError;
use crate::expiry::ExpiryIndex;
use crate::load;
use crate::manifest::{self, Manifest};
use crate::ranges::Ranges;
use crate::segment::Segment;
use crate::state::Entries;
use crate::times::TimeIndex;
use crate::totals::Counts;
use crate::wal::log::LogPosition;
use crate::wal::replay::LogEnd;
use crate::wal::{APPLY_VERSION, Group, record, replay};
use orchard_env::Env;
use orchard_map::MapWriter;
use orchard_types::{UnixMillis, Versionstamp};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The state as it is rebuilt.
pub(crate) struct Loading {
    pub(crate) map: MapWriter,
    pub(crate) ranges: Ranges,
    pub(crate) counts: Counts,
    pub(crate) orphans: OrphansDue,
    pub(crate) expiry: Mutex<ExpiryIndex>,
    pub(crate) apart: Apart,
    pub(crate) times: TimeIndex,
    pub(crate) floor: Versionstamp,
    pub(crate) segments: Arc<Vec<Arc<Segment>>>,
    /// Versions above this are kept, and the newest at or below it; `u64::MAX`: the newest alone.
    pub(crate) history_floor: u64,
    /// Tombstones to leave memory.
    pub(crate) purge: VecDeque<(Vec<u8>, u64)>,
}

impl Loading {
    pub(crate) fn empty(map: MapWriter, options: &EngineOptions) -> Loading {
        Loading {
            map,
            ranges: Ranges::new(options.range_tombstones_max, options.small_range_entries_max),
            counts: Counts::default(),
            orphans: OrphansDue::default(),
            expiry: Mutex::default(),
            apart: Apart::new(options.tells_apart),
            times: TimeIndex::default(),
            floor: Versionstamp::ZERO,
            segments: Arc::default(),
            history_floor: u64::MAX,
            purge: VecDeque::new(),
        }
    }

    /// Turns the oldest deleted range into point tombstones.
    fn erase_some(&mut self) {
        for erased in self.ranges.erase(&mut self.map, usize::MAX) {
            erased.settle(&mut self.counts, self.expiry.get_mut(), &mut self.orphans);
        }
    }

    /// No reader is here yet: what groups replaced can go, but for history.
    pub(crate) fn forget_replaced(&mut self, group: &Group) {
        let last = Versionstamp::new(group.index, u16::MAX).raw();
        self.map.reclaim_lazily(last.min(self.history_floor), 2 * group.count as usize + 64);
    }

    pub(crate) fn erase_ranges(&mut self) {
        while !self.ranges.is_empty() {
            self.erase_some();
        }
    }
}

/// An empty map whose hashes nobody can foresee.
pub(crate) fn new_map(env: &Env) -> Result<MapWriter, StorageError> {
    let mut seed = [0; 8];
    env.random.fill(&mut seed).map_err(StorageError::io("random"))?;
    Ok(orchard_map::create_seeded(u64::from_le_bytes(seed)).0)
}

/// What the files of a database say, without a change to any of them.
pub(crate) struct Rebuilt {
    pub(crate) loading: Loading,
    pub(crate) end: LogEnd,
    /// The last stamp.
    pub(crate) last: u64,
}

impl Rebuilt {
    /// Entries, and their key and value bytes, once deleted ranges are erased; and where the log ends.
    pub(crate) fn finish(mut self) -> (Counts, LogEnd) {
        self.loading.erase_ranges();
        (self.loading.counts, self.end)
    }
}

/// Builds the state that the files hold; writes nothing.
pub(crate) fn rebuild(
    env: &Env,
    options: &EngineOptions,
    manifest: &Manifest,
) -> Result<Rebuilt, StorageError> {
    let disk = &env.disk;
    if manifest.apply_version > u32::from(APPLY_VERSION) {
        let detail = format!("apply version {}", manifest.apply_version);
        return Err(StorageError::newer(manifest::PATH, detail));
    }
    let segments = manifest
        .segments
        .iter()
        .map(|meta| Segment::open(disk, manifest.database, meta))
        .collect::<Result<Vec<_>, _>>()?;
    let checkpoint = Versionstamp::from_raw(manifest.checkpoint_stamp);
    let history_floor = match (options.history_retention_ms, manifest.history_floor) {
        (0, _) => u64::MAX,
        // Written by a version that did not say.
        (_, 0) => checkpoint.raw(),
        (_, floor) => floor.min(checkpoint.raw()),
    };
    let mut map = new_map(env)?;
    let apart = Apart::new(options.tells_apart);
    let loaded = load::load(&mut map, options, &segments, history_floor, &apart)?;
    let mut loading = Loading {
        counts: loaded.counts,
        expiry: Mutex::new(loaded.expiry),
        apart,
        purge: loaded.purge,
        segments: Arc::new(segments),
        history_floor,
        ..Loading::empty(map, options)
    };
    loading.floor = checkpoint.max(Versionstamp::from_raw(manifest.tombstone_floor));
    for (time, stamp) in &manifest.times {
        loading.times.note(UnixMillis(*time), Versionstamp::from_raw(*stamp));
    }
    if checkpoint > Versionstamp::ZERO {
        loading.times.note(UnixMillis(manifest.checkpoint_log_time_ms), checkpoint);
    }
    let mut last = checkpoint.raw();
    let end = replay::replay(
        disk.as_ref(),
        manifest.database,
        manifest.first_log,
        checkpoint.index(),
        manifest.clean_end.map(LogPosition::from),
        |group, file, offset_bytes| {
            if group.index >= manifest.reserved_index {
                let detail = format!("log index {} was never reserved", group.index);
                return Err(StorageError::corrupt(file, offset_bytes, detail));
            }
            last = Versionstamp::new(group.index, group.count.saturating_sub(1) as u16).raw();
            replay_group(&mut loading, group, file, offset_bytes)
        },
    )?;
    Ok(Rebuilt { loading, end, last })
}

fn replay_group(
    loading: &mut Loading,
    group: &Group,
    file: &str,
    offset_bytes: u64,
) -> Result<(), StorageError> {
    let corrupt = |detail: String| StorageError::corrupt(file, offset_bytes, detail);
    loading.times.note(group.log_time, Versionstamp::new(group.index, 0));
    let mut rest = group.payload.as_slice();
    for place_in_group in 0..group.count {
        let (record, behind) = record::decode(rest).map_err(|error| corrupt(error.to_string()))?;
        rest = behind;
        let place_in_group = u16::try_from(place_in_group)
            .map_err(|_| corrupt("more commits than a group may have".into()))?;
        replay_record(loading, &record, (group, place_in_group), (file, offset_bytes))?;
    }
    if !rest.is_empty() {
        return Err(corrupt(format!("{} bytes behind the last commit of a group", rest.len())));
    }
    loading.forget_replaced(group);
    Ok(())
}

pub(crate) fn replay_record(
    loading: &mut Loading,
    record: &record::Record,
    (group, place_in_group): (&Group, u16),
    (file, offset_bytes): (&str, u64),
) -> Result<(), StorageError> {
    let corrupt = |detail: String| StorageError::corrupt(file, offset_bytes, detail);
    let place = Place {
        stamp: Versionstamp::new(group.index, place_in_group),
        log_time: group.log_time,
        floor: Versionstamp::ZERO,
        time_of: &|_| UnixMillis(0),
    };
    let token = record.token.as_ref().map(|(token, hash)| (token, *hash));
    loop {
        while !loading.ranges.has_room_for(1) {
            loading.erase_some();
        }
        let (expiry, apart) = (&loading.expiry, &loading.apart);
        let mut entries = Entries::new(&mut loading.map, &mut loading.ranges, expiry, apart);
        let applied = apply::apply(&mut entries, token, &[], &record.mutations, place);
        for erased in entries.into_erased() {
            erased.settle(&mut loading.counts, loading.expiry.get_mut(), &mut loading.orphans);
        }
        match applied {
            Ok(effects) if effects.repeated.is_some() => {
                return Err(corrupt("a commit repeats a token".into()));
            }
            Ok(effects) => {
                loading.counts.add(Counts::of(&effects));
                loading.orphans.add(&effects, place.stamp.raw());
                for (key, before, after) in effects.expiries {
                    loading.expiry.get_mut().change(key, before, after);
                }
                return Ok(());
            }
            Err(Refusal::Error(error)) => {
                return Err(corrupt(format!("a commit that was accepted is refused: {error}")));
            }
            Err(Refusal::NotResident { key, stamp }) => {
                let value = loading
                    .segments
                    .iter()
                    .rev()
                    .find_map(|segment| match segment.get(&key, stamp) {
                        Ok(Some(version)) if version.stamp == stamp => Some(Ok(version.value)),
                        Ok(_) => None,
                        Err(error) => Some(Err(error)),
                    })
                    .ok_or_else(|| corrupt("a value is in no segment".into()))??;
                loading.map.make_resident(&key, stamp, &value);
            }
        }
    }
}
