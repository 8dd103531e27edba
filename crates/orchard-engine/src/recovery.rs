//! Opening: from the files of any crash to exactly the acknowledged commits, plus possibly some that were whole in the
//! log but not acknowledged, in order. `rebuild` reads the files; here is what an open writes, and the engine it makes.

use crate::collections::CollectionIds;
use crate::commit::Core;
use crate::company::Company;
use crate::engine::{Engine, EngineOptions};
use crate::error::{OpenError, StorageError};
use crate::format::DatabaseId;
use crate::log_clock::LogClock;
use crate::manifest::{self, CleanEnd, Loaded, Manifest};
use crate::memory::CheckpointEnds;
use crate::mutants::{self, Mutant};
use crate::progress::Progress;
use crate::rebuild::{Loading, Rebuilt, new_map, rebuild};
use crate::segment;
use crate::snapshot::Snapshots;
use crate::stats::Stats;
use crate::tail::Tail;
use crate::totals::SharedCounts;
use crate::wal::log::{FileLog, LOG_DIR, LogFileEnd, LogPosition, OldLogFile, log_path};
use crate::wal::{APPLY_VERSION, replay};
use orchard_env::{Disk, DiskLock, Env, LockError};
use orchard_types::{SpaceId, UnixMillis, Versionstamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

/// The feed's tail takes at most this share (1/n) of the memory limit.
const TAIL_SHARE: u64 = 32;

/// Name of the lock file.
pub(crate) const LOCK: &str = "LOCK";

impl From<LogPosition> for CleanEnd {
    fn from(position: LogPosition) -> CleanEnd {
        CleanEnd {
            log_number: position.number,
            offset_bytes: position.offset_bytes,
            frame_checksum: position.previous_checksum,
            log_time_ms: 0,
        }
    }
}

impl From<CleanEnd> for LogPosition {
    fn from(end: CleanEnd) -> LogPosition {
        LogPosition {
            number: end.log_number,
            offset_bytes: end.offset_bytes,
            previous_checksum: end.frame_checksum,
        }
    }
}

pub(crate) fn new_id(env: &Env) -> Result<DatabaseId, StorageError> {
    let mut id = [0; 16];
    env.random.fill(&mut id).map_err(StorageError::io("random"))?;
    Ok(DatabaseId(id))
}

/// A database without a directory.
pub(crate) fn memory(env: Env, options: EngineOptions) -> Result<Engine, OpenError> {
    let manifest = Manifest { database: new_id(&env)?, ..Manifest::default() };
    let loading = Loading::empty(new_map(&env)?, &options);
    Ok(assemble(env, options, manifest, loading, None, None, (1, 0, UnixMillis(0))))
}

pub(crate) fn lock_error(disk: &dyn Disk, error: LockError) -> OpenError {
    match error {
        LockError::Held { pid } => OpenError::Locked { location: disk.location(), pid },
        LockError::Io(source) => OpenError::Storage(StorageError::Io { file: LOCK.into(), source }),
    }
}

pub(crate) fn open(env: Env, options: EngineOptions) -> Result<Engine, OpenError> {
    let disk = env.disk.as_ref();
    disk.create_dir(LOG_DIR).map_err(StorageError::io(LOG_DIR))?;
    disk.create_dir(segment::DIRECTORY).map_err(StorageError::io(segment::DIRECTORY))?;
    let lock = disk.lock(LOCK).map_err(|error| lock_error(disk, error))?;
    match Manifest::load(disk)? {
        Some(Loaded { manifest, damage }) => {
            let mut engine = open_existing(env, options, manifest, lock)?;
            engine.manifest_damage = damage.map(|error| error.to_string());
            Ok(engine)
        }
        None => create(env, options, lock),
    }
}

/// The log files that a crash left while a database was made: without a frame.
///
/// # Errors
/// There is more: the directory had a manifest once.
pub(crate) fn unfinished_creation(disk: &dyn Disk) -> Result<Vec<u64>, StorageError> {
    let files = replay::list_files(disk)?;
    for (number, size_bytes) in &files {
        if replay::may_hold_frames(disk, *number, *size_bytes)? {
            return Err(StorageError::corrupt(manifest::PATH, 0, "missing, but there is a log"));
        }
    }
    if let Some(name) = replay::list_names(disk, segment::DIRECTORY)?.first() {
        let detail = format!("missing, but there is a segment {name}");
        return Err(StorageError::corrupt(manifest::PATH, 0, detail));
    }
    Ok(files.into_keys().collect())
}

fn create(env: Env, options: EngineOptions, lock: Box<dyn DiskLock>) -> Result<Engine, OpenError> {
    let disk = env.disk.as_ref();
    for number in unfinished_creation(disk)? {
        disk.remove(&log_path(number)).map_err(StorageError::io(LOG_DIR))?;
    }
    disk.sync_dir("").map_err(StorageError::io(""))?;
    let database = new_id(&env)?;
    let log = FileLog::begin(
        env.disk.clone(),
        database,
        options.log_options(),
        1,
        (0, 0),
        VecDeque::new(),
        Vec::new(),
    )?;
    let manifest = Manifest {
        database,
        sequence: 1,
        first_log: 1,
        reserved_index: 1 + options.reserve_indexes.max(2),
        next_segment: 1,
        next_log: 2,
        apply_version: u32::from(APPLY_VERSION),
        spaces: BTreeMap::from([("0".to_owned(), SpaceId::DEFAULT)]),
        next_space: 1,
        ..Manifest::default()
    };
    manifest.store(disk)?;
    let loading = Loading::empty(new_map(&env)?, &options);
    Ok(assemble(env, options, manifest, loading, Some(log), Some(lock), (1, 0, UnixMillis(0))))
}

fn open_existing(
    env: Env,
    options: EngineOptions,
    manifest: Manifest,
    lock: Box<dyn DiskLock>,
) -> Result<Engine, OpenError> {
    let disk = env.disk.clone();
    let Rebuilt { loading, mut end, last } = rebuild(&env, &options, &manifest)?;
    remove_strays(&env, &manifest)?;
    let checkpoint = Versionstamp::from_raw(manifest.checkpoint_stamp);
    let checkpoint_time = UnixMillis(manifest.checkpoint_log_time_ms);
    let clean_end = manifest.clean_end.map(LogPosition::from);
    let before = manifest.retained.last().map_or(manifest.feed_floor, |file| file.end);
    let whole = |end: LogFileEnd| match end {
        LogFileEnd { last_stamp: 0, .. } => before,
        LogFileEnd { last_commit: 0, .. } => LogFileEnd { last_commit: before.last_commit, ..end },
        end => end,
    };
    let file_end = whole(end.file_end);
    end.old.iter_mut().for_each(|file| file.end = whole(file.end));
    let is_retained = |file: &OldLogFile| manifest.retained.iter().any(|other| other.number == file.number);
    let spares: Vec<OldLogFile> = end.spares.iter().copied().filter(|file| !is_retained(file)).collect();
    let last_index = end.last_index.unwrap_or(checkpoint.index());
    let is_clean = clean_end == Some(end.position) && end.unfinished.is_none();
    let last_time = UnixMillis(
        end.last_log_time
            .0
            .max(checkpoint_time.0)
            .max(manifest.clean_end.map_or(0, |clean| clean.log_time_ms)),
    );
    let (mut log, next_index) = if is_clean {
        let log = FileLog::resume(
            disk.clone(),
            manifest.database,
            options.log_options(),
            end.position,
            last_index,
            end.old,
            spares,
        )?;
        (log, manifest.reserved_index.max(last_index + 1))
    } else {
        let mut old = end.old;
        let size_bytes = disk
            .open(&log_path(end.position.number), orchard_env::OpenMode::Read)
            .and_then(|file| file.len_bytes())
            .map_err(StorageError::io(log_path(end.position.number)))?;
        old.push_back(OldLogFile { number: end.position.number, size_bytes, end: file_end });
        // What is in the log may be only in the kernel so far: it becomes state now, so it must become durable. Written
        // again first: if an fsync failed before, the kernel holds the bytes as clean and another fsync does nothing.
        write_again(
            disk.as_ref(),
            &log_path(end.position.number),
            end.proven_bytes,
            end.position.offset_bytes,
        )?;
        for file in &old {
            let path = log_path(file.number);
            disk.open(&path, orchard_env::OpenMode::ReadWrite)
                .and_then(|file| file.sync_data())
                .map_err(StorageError::io(&path))?;
        }
        let log = FileLog::begin(
            disk.clone(),
            manifest.database,
            options.log_options(),
            end.position.number + 1,
            (end.position.previous_checksum, last_index),
            old,
            spares,
        )?;
        let next_index = if mutants::enabled(Mutant::IndexReused) {
            last_index + 1
        } else {
            manifest.reserved_index.max(last_index + 1)
        };
        (log, next_index)
    };
    let mut next = manifest.clone();
    next.sequence += 1;
    next.clean_end = None;
    next.next_log = log.position().number + 1;
    next.reserved_index = next_index + options.reserve_indexes.max(2);
    if end.last_index.is_none() {
        // Segments hold everything: a database that is opened again and again must not keep a file of each time.
        next.first_log = log.position().number;
    }
    next.store(disk.as_ref())?;
    log.set_end(file_end);
    // A file that is missing is found missing by the feed that wants it.
    let found = |file: &&OldLogFile| end.spares.iter().any(|other| other.number == file.number);
    log.retain_for_feed(next.retained.iter().filter(found).copied());
    log.retire_before(next.first_log, &next.retained);
    Ok(assemble(env, options, next, loading, Some(log), Some(lock), (next_index, last, last_time)))
}

/// Writes the bytes of a file from `from_bytes` to `to_bytes` over themselves.
fn write_again(disk: &dyn Disk, path: &str, from_bytes: u64, to_bytes: u64) -> Result<(), StorageError> {
    let file = disk.open(path, orchard_env::OpenMode::ReadWrite).map_err(StorageError::io(path))?;
    let mut buffer = vec![0; 1 << 20];
    let mut at_bytes = from_bytes;
    while at_bytes < to_bytes {
        let count = usize::try_from(to_bytes - at_bytes).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..count).unwrap_or_default();
        file.read_exact_at(at_bytes, part).map_err(StorageError::io(path))?;
        file.write_all_at(at_bytes, part).map_err(StorageError::io(path))?;
        at_bytes += count as u64;
    }
    Ok(())
}

/// Files that a crash left behind and no manifest names.
fn remove_strays(env: &Env, manifest: &Manifest) -> Result<(), StorageError> {
    let named: Vec<String> = manifest.segments.iter().map(|meta| segment::file_name(meta.number)).collect();
    for name in env.disk.list(segment::DIRECTORY).map_err(StorageError::io(segment::DIRECTORY))? {
        if !named.contains(&name) {
            let path = format!("{}/{name}", segment::DIRECTORY);
            env.disk.remove(&path).map_err(StorageError::io(path))?;
        }
    }
    for path in [manifest::PATH_NEW, manifest::PATH_COPY_NEW] {
        match env.disk.remove(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(StorageError::io(path))?,
        }
    }
    Ok(())
}

fn assemble(
    env: Env,
    options: EngineOptions,
    manifest: Manifest,
    loading: Loading,
    mut log: Option<FileLog>,
    lock: Option<Box<dyn DiskLock>>,
    (next_index, last, last_time): (u64, u64, UnixMillis),
) -> Engine {
    let reader = loading.map.reader();
    let ranges = loading.ranges.shared();
    if let Some(log) = &mut log {
        // Without it the database works, but deletes do not once the disk is full.
        log.restore_reserve();
    }
    let reserved_index = if log.is_some() { manifest.reserved_index } else { u64::MAX >> 17 };
    let core = Core {
        map: loading.map,
        ranges: loading.ranges,
        next_index,
        reserved_index,
        open: None,
        sealed: VecDeque::new(),
        orphans: loading.orphans,
        floor: loading.floor,
        purge: loading.purge,
        is_closed: false,
        spare_buffers: Vec::new(),
        has_called_log: false,
    };
    let log_clock = LogClock::new(env.clock.clone(), last_time);
    let durability = options.durability;
    let stats = Stats::default();
    let history_from = if options.history_retention_ms == 0 { last } else { loading.history_floor.min(last) };
    stats.pruned_to.store(history_from, std::sync::atomic::Ordering::SeqCst);
    stats.idle_group_index.store(next_index.saturating_sub(1), std::sync::atomic::Ordering::SeqCst);
    Engine {
        reader,
        expiry: loading.expiry,
        apart: loading.apart,
        ranges,
        log_clock,
        progress: Progress::new(durability, last, last_time.0),
        tail: Tail::new(
            Versionstamp::from_raw(last),
            options.feed_tail_bytes.min(options.memory_limit_bytes / TAIL_SHARE),
        ),
        snapshots: Arc::new(Snapshots::default()),
        segments: RwLock::new(loading.segments),
        database: manifest.database,
        manifest: Mutex::new(manifest),
        has_log: log.is_some(),
        log: Mutex::new(log),
        core: Mutex::new(core),
        stats,
        company: Company::default(),
        times: loading.times,
        counts: SharedCounts::new(loading.counts),
        is_disk_full: AtomicBool::new(false),
        has_lead: AtomicBool::new(false),
        spare_room: Mutex::default(),
        history_from: AtomicU64::new(match options.history_retention_ms {
            0 => u64::MAX,
            _ => history_from,
        }),
        written_time_ms: AtomicU64::new(last_time.0),
        memory_used: AtomicU64::new(0),
        evicting: Mutex::new(()),
        merging: Mutex::new(None),
        checkpointing: Mutex::new(()),
        checkpoint_ends: CheckpointEnds::default(),
        env,
        options,
        collection_ids: Mutex::new(CollectionIds::starting_at(next_index)),
        erase_resume: Mutex::new(None),
        manifest_damage: None,
        _lock: lock,
    }
}
