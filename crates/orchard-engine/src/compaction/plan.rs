//! Which segments to merge next.

use crate::segment::SegmentMeta;
use std::ops::Range;

/// The bounds that merging keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlanOptions {
    /// So many neighbours of like size are merged into one.
    pub fan_out: usize,
    /// More segments than this are never left.
    pub segments_max: usize,
    /// Segments up to this size count as equally small.
    pub small_size_bytes: u64,
    /// Key and value bytes of all segments over those of live versions, in percent: beyond it everything is merged.
    /// A lower bound reclaims disk sooner and writes more: `100 / (percent - 100)` bytes for each byte of new data.
    pub space_percent_max: u64,
}

impl PlanOptions {
    /// While writes come in: at most 1.8 times the live bytes.
    pub const BUSY: PlanOptions =
        PlanOptions { fan_out: 4, segments_max: 8, small_size_bytes: 1024 * 1024, space_percent_max: 180 };
    /// Once writes have stopped: at most 1.25 times the live bytes.
    pub const SETTLED: PlanOptions = PlanOptions { space_percent_max: 125, ..PlanOptions::BUSY };
}

/// Why segments are merged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MergeReason {
    /// Too many dead bytes in all of them.
    DeadBytes,
    /// Enough neighbours of like size.
    LikeSizes,
    /// Too many segments.
    TooMany,
}

/// What to merge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MergePlan {
    /// Positions in the list of segments.
    pub range: Range<usize>,
    /// Whether tombstones at or below the horizon may go: nothing that they hide is in another segment.
    pub drop_tombstones: bool,
    /// Why.
    pub reason: MergeReason,
}

/// The next merge, or `None` if all bounds are kept.
///
/// `segments` are in age order, the oldest first. `live_data_bytes` is an estimate of the key and value bytes of the
/// versions that a merge of everything would keep, those that snapshots and history still need included; one that is
/// too low costs useless merges (at most one after each new segment), one that is too high leaves dead bytes.
/// `horizon` is the stamp that the merge would run with: without dead versions at or below it nothing would be won.
pub fn plan(
    segments: &[SegmentMeta],
    live_data_bytes: u64,
    horizon: u64,
    options: &PlanOptions,
) -> Option<MergePlan> {
    let (range, reason) = dead_bytes(segments, live_data_bytes, horizon, options)
        .or_else(|| like_sizes(segments, options))
        .or_else(|| too_many(segments, options))?;
    Some(MergePlan { drop_tombstones: may_drop_tombstones(segments, &range), range, reason })
}

/// Whether every version outside `range` is newer than every one inside: a tombstone inside hides nothing outside.
fn may_drop_tombstones(segments: &[SegmentMeta], range: &Range<usize>) -> bool {
    let inside =
        segments.get(range.clone()).unwrap_or_default().iter().map(|segment| segment.max_stamp).max();
    let outside = segments.get(range.end..).unwrap_or_default().iter().map(|segment| segment.min_stamp).min();
    range.start == 0 && outside.is_none_or(|outside| inside.is_some_and(|inside| inside < outside))
}

type Choice = Option<(Range<usize>, MergeReason)>;

fn dead_bytes(segments: &[SegmentMeta], live_data_bytes: u64, horizon: u64, options: &PlanOptions) -> Choice {
    let total: u128 = segments.iter().map(|segment| u128::from(segment.data_bytes())).sum();
    let allowed = u128::from(live_data_bytes) * u128::from(options.space_percent_max) / 100;
    let droppable = match segments {
        [] => false,
        // Merging one segment alone drops what is surely droppable, so that it does not happen again and again.
        [one] => (one.entries > one.keys || one.tombstones > 0) && one.max_stamp <= horizon,
        _ => segments.iter().any(|segment| segment.min_stamp <= horizon),
    };
    (total > allowed && droppable).then_some((0..segments.len(), MergeReason::DeadBytes))
}

/// From the newest segment on, as long as the next older one is not larger than all before it together: merging
/// these doubles what it reads at least, so every byte is rewritten a number of times that grows with the logarithm
/// of the data (as in RocksDB's universal compaction, <https://github.com/facebook/rocksdb/wiki/Universal-Compaction>).
fn like_sizes(segments: &[SegmentMeta], options: &PlanOptions) -> Choice {
    let size = |segment: &SegmentMeta| segment.file_size_bytes.max(options.small_size_bytes);
    let mut end = segments.len();
    while let Some(newest) = end.checked_sub(1).and_then(|last| segments.get(last)) {
        let mut start = end - 1;
        let mut sum = size(newest);
        while let Some(older) = start.checked_sub(1).and_then(|older| segments.get(older)) {
            if size(older) > sum {
                break;
            }
            sum = sum.saturating_add(size(older));
            start -= 1;
        }
        if end - start >= options.fan_out.max(2) {
            return Some((start..end, MergeReason::LikeSizes));
        }
        end -= 1;
    }
    None
}

/// The cheapest run of neighbours that brings the number down to the bound.
fn too_many(segments: &[SegmentMeta], options: &PlanOptions) -> Choice {
    let length = segments.len().checked_sub(options.segments_max.max(1)).filter(|excess| *excess > 0)? + 1;
    let cost =
        |run: &[SegmentMeta]| run.iter().map(|segment| u128::from(segment.file_size_bytes)).sum::<u128>();
    let (start, _) = segments.windows(length).enumerate().min_by_key(|(start, run)| (cost(run), *start))?;
    Some((start..start + length, MergeReason::TooMany))
}
