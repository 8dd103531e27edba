//! Known bugs that a build with the feature `mutants` can bring back one at a time, to prove that the simulator catches
//! each of them. Without the feature every question is answered `false` at compile time.

/// A bug that we know how to make.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Mutant {
    /// The log is not fsynced before commits are acknowledged.
    LogNotSynced = 1,
    /// The log's directory is not fsynced after a file was added.
    LogDirectoryNotSynced = 2,
    /// A frame of a recycled file, or of another chain, is taken for the log's next one.
    StaleFrameAccepted = 3,
    /// A checkpoint takes versions above `visible`.
    CheckpointAboveVisible = 4,
    /// A conflict is answered before what it saw is durable.
    ConflictBeforeDurable = 5,
    /// After a crash the next index is the last one found plus one.
    IndexReused = 6,
    /// The manifest names a segment that was not fsynced.
    SegmentNotSynced = 7,
    /// A check sees an expired entry.
    ExpiredSeenByCheck = 8,
    /// Commits of a refused commit's earlier mutations stay.
    PartialCommitKept = 9,
    /// A merge that leaves older segments out drops tombstones.
    TombstoneDroppedEarly = 10,
    /// Log files go before the manifest that no longer needs them is durable.
    LogRetiredEarly = 11,
    /// A checkpoint does not erase the ranges deleted before it, and lets the log go that tells of them.
    RangeTombstoneNotPersisted = 12,
    /// The second copy of the manifest stays what it was when the database was made.
    ManifestCopyStale = 13,
    /// A new segment is not read back before the log goes that it stands for.
    SegmentNotReadBack = 14,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Mutant; 14] = [
        Mutant::LogNotSynced,
        Mutant::LogDirectoryNotSynced,
        Mutant::StaleFrameAccepted,
        Mutant::CheckpointAboveVisible,
        Mutant::ConflictBeforeDurable,
        Mutant::IndexReused,
        Mutant::SegmentNotSynced,
        Mutant::ExpiredSeenByCheck,
        Mutant::PartialCommitKept,
        Mutant::TombstoneDroppedEarly,
        Mutant::LogRetiredEarly,
        Mutant::RangeTombstoneNotPersisted,
        Mutant::ManifestCopyStale,
        Mutant::SegmentNotReadBack,
    ];
}

#[cfg(feature = "mutants")]
mod switch {
    use super::Mutant;
    use std::sync::atomic::{AtomicU8, Ordering};

    static ENABLED: AtomicU8 = AtomicU8::new(0);

    /// Brings one bug back, or none.
    pub fn enable(mutant: Option<Mutant>) {
        ENABLED.store(mutant.map_or(0, |mutant| mutant as u8), Ordering::SeqCst);
    }

    /// Whether the bug is there.
    pub fn enabled(mutant: Mutant) -> bool {
        ENABLED.load(Ordering::Relaxed) == mutant as u8
    }
}

#[cfg(feature = "mutants")]
pub use switch::{enable, enabled};

/// Whether the bug is there.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub const fn enabled(_mutant: Mutant) -> bool {
    false
}
