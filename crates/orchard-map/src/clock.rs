//! The clock sweep: which values leave memory.

use crate::record::Content;
use crate::table::PARTITIONS;
use crate::writer::MapWriter;

impl MapWriter {
    /// Makes values non-resident until at least `bytes_wanted` value bytes are gone or the hand
    /// went round twice; returns the bytes. A value goes if it is its entry's only version, its
    /// stamp is at most `clean_up_to_stamp` (it is on disk), it has at least `min_value_len` bytes,
    /// and it was not touched since the hand last passed it.
    ///
    /// Each partition that the hand reaches is looked at whole, so a little more may go.
    pub fn sweep_clock(
        &mut self,
        bytes_wanted: u64,
        clean_up_to_stamp: u64,
        may_leave: impl Fn(crate::Version<'_>) -> bool,
        mut evicted: impl FnMut(&[u8], u64),
    ) -> u64 {
        let mut bytes_gone = 0;
        let mut leaving: Vec<(Vec<u8>, u64)> = Vec::new();
        for _ in 0..2 * PARTITIONS {
            if bytes_gone >= bytes_wanted {
                break;
            }
            let (shared, state) = self.parts();
            let partition = state.clock_hand;
            state.clock_hand = (partition + 1) % PARTITIONS;
            let look = |newest: crate::Version<'_>| {
                let leaves = newest.is_resident()
                    && !newest.is_tombstone()
                    && newest.stamp() <= clean_up_to_stamp
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
                    bytes_gone += u64::from(old.value_len());
                    Some(Content::NonResident { value_len: old.value_len() })
                });
                debug_assert!(gone, "nothing changed since the hand looked");
                evicted(&key, stamp);
            }
        }
        bytes_gone
    }
}
