//! The outside world as traits: disk, clock and randomness, so that a simulation can own them.
//!
//! Invariants:
//! - Nothing else in the workspace opens a file, reads a clock or draws a random number; `clippy.toml` at the
//!   root bans the raw calls and CI denies warnings.
//! - A [`Disk`] is one directory tree. Paths are relative to its root, with `/` between parts.
//! - Written bytes may vanish in a crash until the file's `sync_data` has returned `Ok`; a created, renamed or
//!   removed name may be undone until `sync_dir` of its directory has returned `Ok`.

mod clock;
mod direct;
pub mod disk;
pub mod fault;
mod process;
mod random;
mod real_disk;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock, LockError, NoDisk, OpenMode};
pub use process::{ProcessUsage, allow_open_files};
pub use random::{Random, SeededRandom, SystemRandom};
pub use real_disk::{RealDisk, machine_memory_bytes};

use std::sync::Arc;

/// Everything that an engine needs of the outside world.
#[derive(Clone)]
pub struct Env {
    /// The data directory.
    pub disk: Arc<dyn Disk>,
    /// Wall and monotonic time.
    pub clock: Arc<dyn Clock>,
    /// Randomness, for ids.
    pub random: Arc<dyn Random>,
}
