//! Merging segments, step by step.

use crate::error::StorageError;
use crate::segment::{EntryKind, MergeIter, Segment, SegmentMeta, SegmentWriter};
use std::sync::Arc;

/// What a step came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is more to do.
    Running,
    /// The merged segment is durable; the manifest may name it.
    Done(MergeOutcome),
}

/// What a merge came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct MergeOutcome {
    /// The merged segment; `None` if no version was kept.
    pub segment: Option<SegmentMeta>,
    /// Versions read.
    pub read_entries: u64,
    /// Versions kept.
    pub kept_entries: u64,
    /// Largest stamp of a tombstone that was dropped. The tombstone floor must not be below it once the manifest
    /// names the merged segment: a check below it could no longer see the deletion.
    pub dropped_tombstone_stamp_max: Option<u64>,
}

/// One merge under way. Dropped before it is done, it removes what it has written.
pub struct Merge {
    input: MergeIter,
    writer: Option<SegmentWriter>,
    horizon: u64,
    drop_tombstones: bool,
    /// The key of the versions that are read now.
    key: Vec<u8>,
    /// Whether the newest version of that key at or below the horizon was read.
    settled: bool,
    last_stamp: Option<u64>,
    outcome: MergeOutcome,
}

impl Merge {
    /// Begins to merge `inputs`, neighbours in age, into `writer`. `horizon` is the stamp of the oldest snapshot that
    /// anyone may still read; `drop_tombstones` as the plan says.
    pub fn new(inputs: &[Arc<Segment>], horizon: u64, drop_tombstones: bool, writer: SegmentWriter) -> Merge {
        Merge {
            input: MergeIter::new(inputs.iter().map(Segment::iter_all).collect()),
            writer: Some(writer),
            horizon,
            drop_tombstones,
            key: Vec::new(),
            settled: false,
            last_stamp: None,
            outcome: MergeOutcome::default(),
        }
    }

    /// Reads at most `entries` versions. After [`Progress::Done`] every step returns it again.
    ///
    /// # Errors
    /// What the disk says, or damage; the merge is over then and what it has written is removed.
    pub fn step(&mut self, entries: usize) -> Result<Progress, StorageError> {
        let stepped = self.try_step(entries);
        if stepped.is_err() {
            self.writer = None;
        }
        stepped
    }

    fn try_step(&mut self, entries: usize) -> Result<Progress, StorageError> {
        let Some(writer) = &mut self.writer else { return Ok(Progress::Done(self.outcome.clone())) };
        for _ in 0..entries {
            let Some(entry) = self.input.next()? else {
                return self.finish();
            };
            self.outcome.read_entries += 1;
            let same_key = self.last_stamp.is_some() && entry.key == self.key;
            if same_key && self.last_stamp == Some(entry.stamp) {
                // One version in two inputs says the same in both.
                continue;
            }
            if !same_key {
                self.key.clear();
                self.key.extend_from_slice(entry.key);
                self.settled = false;
            }
            self.last_stamp = Some(entry.stamp);
            if entry.stamp <= self.horizon {
                if self.settled {
                    continue;
                }
                self.settled = true;
                if self.drop_tombstones && entry.kind == EntryKind::Tombstone {
                    let dropped = &mut self.outcome.dropped_tombstone_stamp_max;
                    *dropped = (*dropped).max(Some(entry.stamp));
                    continue;
                }
            }
            writer.push(&entry)?;
            self.outcome.kept_entries += 1;
        }
        Ok(Progress::Running)
    }

    fn finish(&mut self) -> Result<Progress, StorageError> {
        if let Some(writer) = self.writer.take() {
            if self.outcome.kept_entries == 0 {
                writer.abandon()?;
            } else {
                self.outcome.segment = Some(writer.finish()?);
            }
        }
        Ok(Progress::Done(self.outcome.clone()))
    }
}
