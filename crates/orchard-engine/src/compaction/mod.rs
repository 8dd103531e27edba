//! Compaction: merging neighbouring segments so that their number and the dead bytes in them stay bounded.
//!
//! Invariants:
//! - Only segments that are neighbours in age are merged, and the merged one takes their place: the list of segments
//!   stays in age order.
//! - For every snapshot at or above the horizon the merged segment answers as its inputs did: per key it keeps every
//!   version above the horizon and the newest one at or below it.
//! - A tombstone is dropped only if nothing that it hides can be in another segment ([`MergePlan::drop_tombstones`]).
//! - [`plan()`] is pure; [`Merge`] knows no clock and does a bounded piece of work at each step.

mod merge;
mod plan;

#[cfg(test)]
mod tests;

pub use merge::{Merge, MergeOutcome, Progress};
pub use plan::{MergePlan, MergeReason, PlanOptions, plan};
