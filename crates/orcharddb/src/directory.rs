//! Data directories that are not opened but looked at.

use crate::db::Options;
use orchard_engine::error::{OpenError, StorageError};
use orchard_engine::verify;
use orchard_env::{Env, RealDisk, SystemClock, SystemRandom};
use std::path::Path;
use std::sync::Arc;

pub use orchard_engine::verify::{FilePlace, Report};

/// Verifies every file that opening `path` reads, and every byte of its segments. Writes nothing. The directory must exist
/// and must not be open elsewhere.
///
/// # Errors
/// [`OpenError`]: the first damage with file and offset.
pub fn verify_directory(path: impl AsRef<Path>) -> Result<Report, OpenError> {
    let path = path.as_ref();
    let disk = RealDisk::existing(path).map_err(StorageError::io(path.display().to_string()))?;
    let env =
        Env { disk: Arc::new(disk), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
    let options = Options::default().engine_options(&env);
    verify::verify_directory(&env, &options)
}
