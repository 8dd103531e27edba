//! Looking at a data directory without a change to a byte of it: `orchard check`.
//!
//! It does what opening does (so what it finds fine opens), reads every segment whole besides, and stops at the first
//! damage, but for that of one of the manifest's two copies. Log files that stay for the feed alone are not read. The directory is locked meanwhile.

use crate::engine::EngineOptions;
use crate::error::OpenError;
use crate::manifest::{self, Loaded, Manifest};
use crate::rebuild::rebuild;
use crate::recovery::{self, LOCK};
use crate::segment::Segment;
use crate::wal::log::{LogPosition, log_path};
use orchard_env::Env;

/// A place in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePlace {
    /// Path inside the data directory.
    pub file: String,
    /// Where in it.
    pub offset_bytes: u64,
}

/// What a directory that opens holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Entries of all spaces, those of the system included.
    pub entries: u64,
    /// Their key bytes, flat.
    pub key_bytes: u64,
    /// Their value bytes.
    pub value_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Log files that the next open reads.
    pub log_files: u64,
    /// Where bytes begin that were written but are no whole group, and that no later group proves to have been durable:
    /// the next open leaves them out. They were never acknowledged.
    pub torn_tail: Option<FilePlace>,
    /// What is wrong with one copy of the manifest. The other one serves, and the next open writes both anew.
    pub manifest_damage: Option<String>,
}

/// Verifies manifest, segments and log of a directory; writes nothing, not even into the lock file.
///
/// # Errors
/// [`OpenError`]: it is open elsewhere, or the first damage with file and offset.
pub fn verify_directory(env: &Env, options: &EngineOptions) -> Result<Report, OpenError> {
    let disk = env.disk.as_ref();
    let _lock = disk.lock_existing(LOCK).map_err(|error| recovery::lock_error(disk, error))?;
    let Some(Loaded { manifest, damage }) = Manifest::load(disk)? else {
        // Fine if it is what a crash leaves of a database that was about to be made.
        recovery::unfinished_creation(disk)?;
        return Ok(Report::default());
    };
    let damage = match damage {
        None => manifest::damage_of_copy(disk)?,
        damage => damage,
    };
    for meta in &manifest.segments {
        Segment::open(&env.disk, manifest.database, meta)?.verify()?;
    }
    let (counts, end) = rebuild(env, options, &manifest)?.finish();
    // Behind a clean end lies what a file that is written again held before.
    let is_clean = manifest.clean_end.map(LogPosition::from) == Some(end.position);
    let torn_tail = match end.unfinished {
        Some(number) => Some(FilePlace { file: log_path(number), offset_bytes: 0 }),
        None => (end.torn && !is_clean).then(|| FilePlace {
            file: log_path(end.position.number),
            offset_bytes: end.position.offset_bytes,
        }),
    };
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(Report {
        entries: count(counts.entries),
        key_bytes: count(counts.key_bytes),
        value_bytes: count(counts.value_bytes),
        segments: manifest.segments.len() as u64,
        log_files: end.old.len() as u64 + 1,
        torn_tail,
        manifest_damage: damage.map(|error| error.to_string()),
    })
}
