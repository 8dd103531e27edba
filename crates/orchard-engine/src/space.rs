//! Before and while the disk is full: what is kept free, and what is given back.
//!
//! - A checkpoint is what lets the log go, so the log never takes the room that one needs: it stops growing when it would
//!   leave less free than it holds, and commits are refused. Deletes may take that room, too.
//! - Checkpoints come early where little is free, and files that only the feed needs, or that are kept to be written again,
//!   go with them.
//! - A merge that would not fit is not begun.

use crate::engine::Engine;
use crate::segment::Segment;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Free space below which it counts as scarce, beyond twice what is kept free.
const SCARCE_BYTES: u64 = 1 << 20;
/// A log shorter than this is not worth a checkpoint, as long as commits are taken.
const WORTHWHILE_LOG_BYTES: u64 = 256 << 10;
/// What a checkpoint may need beside the data: a new log file, a manifest.
const BESIDES_BYTES: u64 = 128 << 10;
/// Of the bytes in segments one part in so many stays free, up to a maximum: a merge that drops what was deleted needs room
/// for what is left.
const MERGE_ROOM_PARTS: u64 = 16;
const MERGE_ROOM_BYTES_MAX: u64 = 1 << 30;
/// Time between two checkpoints that are made for disk space.
const BETWEEN_NS: u64 = 1_000_000_000;

/// Bytes of files that so many bytes of keys and values may take, with all that goes with them.
pub(crate) fn files_for(data_bytes: u64) -> u64 {
    data_bytes.saturating_add(data_bytes / 8).saturating_add(BESIDES_BYTES)
}

impl Engine {
    fn available_bytes(&self) -> u64 {
        // A disk that does not tell is taken to have space until it says otherwise.
        self.env.disk.available_bytes().unwrap_or(u64::MAX)
    }

    /// Whether the log could soon take room that is kept free.
    pub(crate) fn is_space_scarce(&self) -> bool {
        let used = self.stats.log_used_bytes.load(Ordering::Relaxed);
        let kept = files_for(used).saturating_add(self.merge_room());
        self.is_disk_full() || self.available_bytes() < kept.saturating_mul(2).saturating_add(SCARCE_BYTES)
    }

    /// Whether a checkpoint should make room on a disk that is nearly full.
    pub(crate) fn wants_checkpoint_for_room(&self, log_used_bytes: u64) -> bool {
        let tried_at_ns = self.stats.checkpoint_tried_at_ns.load(Ordering::Relaxed);
        let is_worthwhile = self.is_disk_full() || log_used_bytes >= WORTHWHILE_LOG_BYTES;
        is_worthwhile
            && self.stats.checkpointed_commits.load(Ordering::Relaxed) < self.commits()
            && self.env.clock.monotonic_ns().saturating_sub(tried_at_ns) > BETWEEN_NS
            && self.is_space_scarce()
    }

    /// Whether a checkpoint of what the log holds fits.
    pub(crate) fn has_checkpoint_room(&self) -> bool {
        self.available_bytes() >= files_for(self.stats.log_used_bytes.load(Ordering::Relaxed))
    }

    fn merge_room(&self) -> u64 {
        let segments = self.live_segments();
        let bytes: u64 = segments.iter().map(|segment| segment.meta().file_size_bytes).sum();
        (bytes / MERGE_ROOM_PARTS).min(MERGE_ROOM_BYTES_MAX)
    }

    /// Fits the room that is kept for merges to the segments that there are.
    pub(crate) fn keep_merge_room(&self) {
        let room = self.merge_room();
        self.with_log(|log| {
            if let Some(log) = log {
                log.keep_free(room);
            }
        });
    }

    /// Whether a merge of these segments leaves a checkpoint its room. One of all segments writes no more than what is live.
    pub(crate) fn may_merge(&self, segments: &[Arc<Segment>], are_all: bool, live_bytes: u64) -> bool {
        let read: u64 = segments.iter().map(|segment| segment.meta().file_size_bytes).sum();
        let written = if are_all { read.min(files_for(live_bytes)) } else { read };
        let used = self.stats.log_used_bytes.load(Ordering::Relaxed);
        self.available_bytes() >= written.saturating_add(files_for(used))
    }
}
