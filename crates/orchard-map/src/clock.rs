//! The clock sweep: which values leave memory.

use crate::record::Content;
use crate::table::PARTITIONS;
use crate::writer::MapWriter;

/// How far one call of [`MapWriter::sweep_clock`] goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SweepLimits {
    /// It ends when so many value bytes are gone.
    pub bytes: u64,
    /// It ends when it has looked at so many entries.
    pub entries: usize,
    /// Only versions with a stamp of at most this leave: they are on disk.
    pub clean_up_to_stamp: u64,
}

/// What a call of [`MapWriter::sweep_clock`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Value bytes that left memory.
    pub bytes: u64,
    /// Partitions that the hand passed, of [`CLOCK_PARTITIONS`] in a round.
    pub partitions: usize,
}

/// Partitions in one round of the hand.
pub const CLOCK_PARTITIONS: usize = PARTITIONS;

impl MapWriter {
    /// Makes values non-resident from where the hand is, until one of the limits is reached or the hand went round once.
    /// A value goes if it is its entry's only version, `may_leave` says so, and it was not touched since the hand last
    /// passed it. `evicted` is told of each.
    ///
    /// Each partition that the hand reaches is looked at whole, so a little more may go and be looked at.
    pub fn sweep_clock(
        &mut self,
        limits: SweepLimits,
        may_leave: impl Fn(crate::Version<'_>) -> bool,
        mut evicted: impl FnMut(&[u8], u64),
    ) -> Swept {
        let mut swept = Swept::default();
        let mut seen = 0;
        let mut leaving: Vec<(Vec<u8>, u64)> = Vec::new();
        while swept.bytes < limits.bytes && seen < limits.entries && swept.partitions < PARTITIONS {
            let (shared, state) = self.parts();
            let partition = state.clock_hand;
            state.clock_hand = (partition + 1) % PARTITIONS;
            swept.partitions += 1;
            let look = |newest: crate::Version<'_>| {
                seen += 1;
                let leaves = newest.is_resident()
                    && !newest.is_tombstone()
                    && newest.stamp() <= limits.clean_up_to_stamp
                    && may_leave(newest)
                    && newest.older().is_none();
                if leaves && !newest.clear_referenced() {
                    leaving.push((newest.key().to_vec(), newest.stamp()));
                }
            };
            // SAFETY: this is the writer, and it retires nothing while it looks.
            unsafe { shared.directory.each_in_partition(partition, look) };
            for (key, stamp) in leaving.drain(..) {
                let gone = self.replace(&key, stamp, |old| {
                    swept.bytes += u64::from(old.value_len());
                    Some(Content::NonResident { value_len: old.value_len() })
                });
                debug_assert!(gone, "nothing changed since the hand looked");
                evicted(&key, stamp);
            }
        }
        swept
    }
}
