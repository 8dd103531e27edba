//! The last way out of a damaged directory: `orchard repair`.
//!
//! - The damaged directory is only read. What verifies goes into a new one: a database with an id of its own, the same
//!   versionstamps, and no history.
//! - With one readable copy of the manifest the segments and log files that it names are read, without one all that are there.
//! - Everything that could not be read is told. What follows from a loss is not guessed: an older version of a key may take
//!   the place of a lost one, a key whose delete was lost may be back, and a sum that was added to a lost number counts from
//!   nothing.
//! - The whole database must fit in memory.

use crate::engine::EngineOptions;
use crate::error::{Corruption, OpenError, StorageError};
use crate::format::{DatabaseId, FileHeader, FileKind, HEADER_SIZE_BYTES};
use crate::manifest::{self, Manifest};
use crate::rebuild::{self, Loading};
use crate::recovery::{self, LOCK};
use crate::segment::{self, EntryKind, EntryVersion, Segment, SegmentEntry, SegmentMeta, SegmentWriter};
use crate::verify::FilePlace;
use crate::wal::log::{FileLog, LOG_DIR, LogFileEnd, LogPosition, log_path};
use crate::wal::salvage::{SalvageEnd, SalvageFrom};
use crate::wal::{APPLY_VERSION, record, replay, salvage};
use orchard_env::{Disk, Env, OpenMode};
use orchard_map::{Content, NewVersion};
use orchard_types::{SpaceId, Versionstamp};
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, ControlFlow};

/// What a repair found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RepairReport {
    /// Entries in the new database, of all spaces.
    pub entries: u64,
    /// What could not be read: file, offset, and why.
    pub lost: Vec<Corruption>,
    /// Where the log ends in a write that a crash cut off.
    pub torn_tail: Option<FilePlace>,
}

/// Damage goes into `lost`; everything else is an error.
fn or_lost<T>(
    result: Result<T, StorageError>,
    lost: &mut Vec<Corruption>,
) -> Result<Option<T>, StorageError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StorageError::Corrupt(corruption)) => {
            lost.push(corruption);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn segment_numbers(disk: &dyn Disk) -> Result<Vec<u64>, StorageError> {
    let names = replay::list_names(disk, segment::DIRECTORY)?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::parse_file_name(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// The id that most files carry.
fn database_of_files(disk: &dyn Disk) -> Result<Option<DatabaseId>, StorageError> {
    let segments = segment_numbers(disk)?.into_iter();
    let segments = segments.map(|number| (segment::path(number), FileKind::Segment, number));
    let logs = replay::list_files(disk)?.into_keys().map(|number| (log_path(number), FileKind::Log, number));
    let mut found: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for (path, kind, number) in segments.chain(logs) {
        let file = disk.open(&path, OpenMode::Read).map_err(StorageError::io(&path))?;
        let mut head = [0; HEADER_SIZE_BYTES];
        if file.read_exact_at(0, &mut head).is_ok()
            && let Ok(header) = FileHeader::decode(&path, &head, kind, None, number)
        {
            *found.entry(header.database.0).or_default() += 1;
        }
    }
    Ok(found.into_iter().max_by_key(|(_, count)| *count).map(|(id, _)| DatabaseId(id)))
}

/// Writes what can be read of the database `from` into the empty directory `into`.
///
/// # Errors
/// One of them is open elsewhere; the disk; a newer format; no file tells which database it is.
pub fn repair(from: &Env, into: &Env, options: &EngineOptions) -> Result<RepairReport, OpenError> {
    let disk = from.disk.as_ref();
    let _lock = disk.lock_existing(LOCK).map_err(|error| recovery::lock_error(disk, error))?;
    let mut lost = Vec::new();
    // With one of its two copies nothing is lost.
    let known = or_lost(Manifest::load(disk), &mut lost)?.flatten().map(|loaded| loaded.manifest);
    let mut next = match &known {
        Some(manifest) => manifest.clone(),
        None => {
            if lost.is_empty() {
                lost.push(Corruption {
                    file: manifest::PATH.into(),
                    offset_bytes: 0,
                    detail: "missing".into(),
                });
            }
            let database = database_of_files(disk)?.ok_or_else(|| {
                StorageError::corrupt(manifest::PATH, 0, "damaged or missing, and no other file can be read")
            })?;
            Manifest {
                database,
                spaces: BTreeMap::from([("0".to_owned(), SpaceId::DEFAULT)]),
                next_space: 1,
                ..Manifest::default()
            }
        }
    };
    if known.is_none() {
        for number in segment_numbers(disk)? {
            next.segments.extend(or_lost(SegmentMeta::read(disk, next.database, number), &mut lost)?);
        }
        next.checkpoint_stamp = next.segments.iter().map(|meta| meta.max_stamp).max().unwrap_or(0);
    }
    let checkpoint = Versionstamp::from_raw(next.checkpoint_stamp);
    let mut loading = load(from, options, &next, &mut lost)?;
    let end = salvage::salvage(
        disk,
        next.database,
        SalvageFrom {
            first_log: known.as_ref().map(|manifest| manifest.first_log),
            after_index: checkpoint.index(),
            clean_end: next.clean_end.map(LogPosition::from),
        },
        &mut lost,
        |group, file, offset_bytes, lost| {
            let mut rest = group.payload.as_slice();
            for place in 0..u16::try_from(group.count).unwrap_or(u16::MAX) {
                let decoded = record::decode(rest)
                    .map_err(|error| StorageError::corrupt(file, offset_bytes, error.to_string()));
                let Some((record, behind)) = or_lost(decoded, lost)? else { break };
                rest = behind;
                let replayed =
                    rebuild::replay_record(&mut loading, &record, (group, place), (file, offset_bytes));
                or_lost(replayed, lost)?;
            }
            loading.forget_replaced(group);
            Ok(())
        },
    )?;
    loading.erase_ranges();
    let entries = write(into, options, next, &loading, &end)?;
    let torn_tail = end.torn.map(|(file, offset_bytes)| FilePlace { file, offset_bytes });
    Ok(RepairReport { entries, lost, torn_tail })
}

/// The newest readable version of every key of the segments.
fn load(
    from: &Env,
    options: &EngineOptions,
    manifest: &Manifest,
    lost: &mut Vec<Corruption>,
) -> Result<Loading, StorageError> {
    let mut newest: BTreeMap<Vec<u8>, EntryVersion> = BTreeMap::new();
    for meta in &manifest.segments {
        let segment = match Segment::open_damaged(&from.disk, manifest.database, meta, lost) {
            Ok(segment) => segment,
            Err(StorageError::Corrupt(mut damage)) => {
                damage.detail.push_str(&format!("; all {} versions of the segment lost", meta.entries));
                lost.push(damage);
                continue;
            }
            Err(error) => return Err(error),
        };
        segment.salvage(lost, |entry| match newest.get_mut(entry.key) {
            Some(version) if version.stamp >= entry.stamp => {}
            Some(version) => *version = entry.to_version(),
            None => drop(newest.insert(entry.key.to_vec(), entry.to_version())),
        })?;
    }
    let mut map = rebuild::new_map(from)?;
    let mut loader = map.bulk_loader();
    for (key, version) in newest.into_iter().filter(|(_, version)| version.kind == EntryKind::Value) {
        loader.push(
            &key,
            NewVersion {
                stamp: version.stamp,
                type_tag: version.type_tag,
                expires_at_ms: version.expires_at_ms,
                content: Content::Value(&version.value),
            },
        );
    }
    loader.finish();
    Ok(Loading::empty(map, options))
}

/// Makes a database of what was read; its number of entries.
fn write(
    into: &Env,
    options: &EngineOptions,
    old: Manifest,
    loading: &Loading,
    end: &SalvageEnd,
) -> Result<u64, OpenError> {
    let disk = into.disk.as_ref();
    let _lock = disk.lock(LOCK).map_err(|error| recovery::lock_error(disk, error))?;
    if Manifest::load(disk)?.is_some() {
        return Err(StorageError::corrupt(manifest::PATH, 0, "the new directory holds a database").into());
    }
    for directory in [LOG_DIR, segment::DIRECTORY] {
        disk.create_dir(directory).map_err(StorageError::io(directory))?;
    }
    disk.sync_dir("").map_err(StorageError::io(""))?;
    let database = recovery::new_id(into)?;
    let mut writer = SegmentWriter::create(&into.disk, database, 1, loading.map.reader().stats().entries)?;
    let mut written = Ok(());
    loading.map.scan(Bound::Unbounded, Bound::Unbounded, false, |version| {
        if let Some(value) = version.value() {
            written = writer.push(&SegmentEntry {
                key: version.key(),
                stamp: version.stamp(),
                kind: EntryKind::Value,
                type_tag: version.type_tag(),
                expires_at_ms: version.expires_at_ms(),
                value,
            });
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    written?;
    let entries = writer.entries();
    let mut segments = Vec::new();
    if entries == 0 {
        writer.abandon()?;
    } else {
        let meta = writer.finish()?;
        Segment::open(&into.disk, database, &meta)?.verify()?;
        segments.push(meta);
    }
    let last_index = Versionstamp::from_raw(old.checkpoint_stamp).index().max(end.last_index);
    let stamp = Versionstamp::new(last_index, u16::MAX).raw();
    let time_ms = old.checkpoint_log_time_ms.max(end.last_log_time.0);
    let log =
        FileLog::begin(into.disk.clone(), database, options.log, 1, (0, 0), VecDeque::new(), Vec::new())?;
    drop(log);
    Manifest {
        database,
        sequence: 1,
        segments,
        first_log: 1,
        // Whatever was given out and lost is not given out again.
        reserved_index: old.reserved_index.max(last_index + 2 * options.reserve_indexes.max(2)),
        checkpoint_stamp: stamp,
        tombstone_floor: stamp,
        history_floor: stamp,
        next_segment: 2,
        next_log: 2,
        checkpoint_log_time_ms: time_ms,
        apply_version: u32::from(APPLY_VERSION),
        spaces: old.spaces,
        next_space: old.next_space,
        feed_floor: LogFileEnd { last_commit: stamp, last_stamp: stamp, last_time_ms: time_ms },
        ..Manifest::default()
    }
    .store(disk)?;
    Ok(entries)
}
