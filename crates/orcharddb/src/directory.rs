//! Data directories that are not opened but looked at, or repaired.

use crate::db::Options;
use orchard_engine::error::{OpenError, StorageError};
use orchard_engine::{repair, verify};
use orchard_env::{Env, RealDisk, SystemClock, SystemRandom};
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use orchard_engine::repair::RepairReport;
pub use orchard_engine::verify::{FilePlace, Report};

fn env(path: &Path, open: impl FnOnce(&Path) -> io::Result<RealDisk>) -> Result<Env, OpenError> {
    let disk = open(path).map_err(StorageError::io(path.display().to_string()))?;
    Ok(Env { disk: Arc::new(disk), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) })
}

/// Verifies every file that opening `path` reads, and every byte of its segments. Writes nothing. The directory must exist
/// and must not be open elsewhere.
///
/// # Errors
/// [`OpenError`]: the first damage with file and offset.
pub fn verify_directory(path: impl AsRef<Path>) -> Result<Report, OpenError> {
    let env = env(path.as_ref(), |path| RealDisk::existing(path))?;
    verify::verify_directory(&env, &Options::default().engine_options(&env))
}

/// Writes everything that can be read of the database in `path` into a new database in `into`, which must not hold one.
/// `path` is only read, and must not be open elsewhere. What was lost is in the report.
///
/// # Errors
/// [`OpenError`]: one of the directories cannot be used, or nothing can be read.
pub fn repair_directory(path: impl AsRef<Path>, into: impl AsRef<Path>) -> Result<RepairReport, OpenError> {
    let from = env(path.as_ref(), |path| RealDisk::existing(path))?;
    let into = env(into.as_ref(), |path| RealDisk::open(path))?;
    repair::repair(&from, &into, &Options::default().engine_options(&from))
}
