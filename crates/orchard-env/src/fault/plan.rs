//! What goes wrong, and when.

use std::io;

/// The faults of a [`super::FaultDisk`]. The default has none.
///
/// Counts begin at 1 with the disk's life.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FaultPlan {
    /// This call fails.
    pub fail_call: Option<(u64, Failure)>,
    /// This sync, of a file or a directory, fails with EIO.
    pub fail_sync: Option<u64>,
    /// This call, if it writes, puts one wrong bit on the medium and says nothing.
    pub spoil_write: Option<u64>,
    /// The power fails in the middle of this call, counting only calls that change something (a crash at a read
    /// leaves the same image as one at the change before it). That call and all later ones fail.
    pub crash_at_change: Option<u64>,
    /// Of a million calls so many fail with EIO.
    pub io_error_per_million: u32,
    /// Of a million syncs so many fail with EIO.
    pub sync_error_per_million: u32,
    /// Of a million calls that take space so many fail with ENOSPC.
    pub full_per_million: u32,
    /// Of a million reads so many return fewer bytes than asked for and present.
    pub short_read_per_million: u32,
    /// Size of the disk; writes beyond it fail with ENOSPC.
    pub capacity_bytes: Option<u64>,
}

/// How a call fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// EIO. Of a failed write any part may have happened. After a failed sync a part of what was un-synced is on
    /// the medium, the rest will never be, and a later sync says nothing about it, as on Linux.
    Io,
    /// ENOSPC.
    Full,
}

impl Failure {
    /// What the operating system would say.
    pub(super) fn error(self) -> io::Error {
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        io::Error::from_raw_os_error(match self {
            Failure::Io => EIO,
            Failure::Full => ENOSPC,
        })
    }
}

/// What becomes of un-synced data in a crash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrashStyle {
    /// Chance decides for each write and each name.
    Random,
    /// Nothing of it survives.
    LoseAll,
    /// All of it survives.
    KeepAll,
}

/// How long calls take, in nanoseconds of virtual time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Latency {
    /// Each read.
    pub read_ns: u64,
    /// Each write.
    pub write_ns: u64,
    /// Each 1,024 bytes read or written.
    pub kibibyte_ns: u64,
    /// Each sync of a file or a directory.
    pub sync_ns: u64,
}

impl Latency {
    pub(super) fn of(&self, kind: CallKind, length_bytes: u64) -> u64 {
        let transfer_ns = self.kibibyte_ns * length_bytes.div_ceil(1024);
        match kind {
            CallKind::Read => self.read_ns + transfer_ns,
            CallKind::Write => self.write_ns + transfer_ns,
            CallKind::SyncData | CallKind::SyncDir => self.sync_ns,
            _ => 0,
        }
    }
}

/// What a call does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each is named like the method of Disk or DiskFile that it is")]
pub enum CallKind {
    Open,
    Create,
    Read,
    Write,
    SyncData,
    Length,
    SetLength,
    CreateDir,
    List,
    Rename,
    Remove,
    SyncDir,
}

impl CallKind {
    /// Whether it syncs a file or a directory.
    pub fn is_sync(self) -> bool {
        matches!(self, CallKind::SyncData | CallKind::SyncDir)
    }

    /// Whether it may change what a crash leaves.
    pub fn is_change(self) -> bool {
        !matches!(self, CallKind::Open | CallKind::Read | CallKind::Length | CallKind::List)
    }

    pub(super) fn takes_space(self) -> bool {
        matches!(self, CallKind::Create | CallKind::Write | CallKind::SetLength | CallKind::CreateDir)
    }
}

/// One call of a trace.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// What it does.
    pub kind: CallKind,
    /// On which file or directory.
    pub path: String,
    /// Where in the file; the new length of a set-length.
    pub offset_bytes: u64,
    /// How many bytes.
    pub length_bytes: u64,
}
