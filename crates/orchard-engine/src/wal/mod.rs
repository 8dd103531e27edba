//! Write-ahead log: groups of commits in versionstamp order, many commits to one fsync.
//!
//! - A group is written only after the group before it is durable (or, below `fsync`, handed to the kernel), so a bad
//!   frame with nothing valid behind it is a torn tail and ends the log; anywhere else it is corruption.
//! - Every frame names the checksum of the frame before it, over file boundaries too (the header's `link`).
//! - Checksums are seeded with database, file number and offset: the stale bytes of a recycled file never verify.
//! - An index is never given out twice: MANIFEST reserves indexes ahead, and an unclean open starts above them.
//!
//! `docs/file-format.md` shows the bytes.

pub mod follow;
pub mod frame;
pub mod log;
pub mod record;
pub mod replay;
pub mod salvage;

use orchard_types::UnixMillis;

/// The version of `apply` that new groups are decided with. A newer program replays older ones exactly.
pub const APPLY_VERSION: u16 = 1;

/// Some commits that share one log entry and one fsync.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The log index; the commits' versionstamps are (index, 0), (index, 1), ...
    pub index: u64,
    /// The one time of all its commits.
    pub log_time: UnixMillis,
    /// How many commits.
    pub count: u32,
    /// Their records, one behind the other.
    pub payload: Vec<u8>,
}
