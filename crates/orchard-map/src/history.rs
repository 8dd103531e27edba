//! Which versions have older ones chained to them, and when those may go.
//!
//! - Each record that was put over another one is queued once, in the order of the puts, until its
//!   older versions were pruned or it was rolled back. So a queued record is always linked.
//! - A horizon candidate becomes the horizon once every reader that was pinned when it was given is
//!   gone: such a reader may yet choose an older `at`. Later ones may not (the caller's contract).
//! - At the horizon `h`, of the versions of a key with stamps up to `h` only the newest is needed.

use std::collections::VecDeque;

use crate::record::Version;
use crate::store::Waiting;

/// The queue of overwrites and the two-step horizon.
#[derive(Default)]
pub(crate) struct History {
    /// Stamp and record word; a rolled back one has word 0.
    overwrites: VecDeque<(u64, u64)>,
    horizon: u64,
    /// The candidate, and the epoch at which its grace period began.
    candidate: Option<(u64, u64)>,
    /// What was overwritten since the last candidate.
    waiting: Waiting,
}

impl History {
    /// `record` was put over `old`.
    pub(crate) fn push(&mut self, record: Version<'_>, old: Version<'_>) {
        self.waiting.note(old.block_bytes());
        self.overwrites.push_back((record.stamp(), record.word()));
    }

    /// Forgets a record that is being popped. Its put is mostly among the last.
    pub(crate) fn forget(&mut self, record: Version<'_>) {
        let queued = self.overwrites.iter_mut().rev().find(|(_, word)| *word == record.word());
        if let Some((_, word)) = queued {
            *word = 0;
        }
        while self.overwrites.pop_back_if(|(_, word)| *word == 0).is_some() {}
    }

    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    pub(crate) fn len(&self) -> usize {
        self.overwrites.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.overwrites.is_empty()
    }

    /// Takes a horizon candidate that was given at the epoch before a scan, and raises the horizon to what readers allow:
    /// the scan found nobody pinned at an epoch below `oldest`.
    pub(crate) fn advance(&mut self, candidate: u64, given_at: u64, oldest: u64) {
        self.waiting = Waiting::default();
        if oldest > given_at {
            // Nobody is left who pinned before: the candidate has had its grace period at once, and so has an older one.
            let pending = self.candidate.take().map_or(0, |(pending, _)| pending);
            self.horizon = self.horizon.max(candidate).max(pending);
            return;
        }
        if let Some((pending, epoch)) = self.candidate
            && oldest > epoch
        {
            self.horizon = self.horizon.max(pending);
            self.candidate = None;
        }
        if self.candidate.is_none() && candidate > self.horizon {
            self.candidate = Some((candidate, given_at));
        }
    }

    /// The next record whose older versions nobody needs any more.
    pub(crate) fn next_prunable(&mut self) -> Option<u64> {
        loop {
            let horizon = self.horizon;
            let (_, word) = self.overwrites.pop_front_if(|(stamp, _)| *stamp <= horizon)?;
            if word != 0 {
                return Some(word);
            }
        }
    }
}
