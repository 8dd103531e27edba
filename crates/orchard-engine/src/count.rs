//! Exact counts at one version and time, without a look at each entry.
//!
//! - The ordered index knows how many entries below each of its nodes are live at the newest applied state. What a
//!   snapshot shows is that number, corrected for what was changed behind the snapshot, for what has expired and is not
//!   swept yet, and for ranges that are deleted and not erased yet.
//! - Number and corrections belong together, so they are taken under one hold of the commit lock. A long range is counted
//!   in pieces, a short hold for each: what a snapshot shows of a piece never changes, however late it is counted.

use crate::apply::{flat_bounds, upper_bound};
use crate::engine::Engine;
use crate::error::ReadError;
use crate::format::split_flat_key;
use crate::ranges::Covers;
use crate::read::is_visible;
use crate::snapshot::SnapshotPin;
use orchard_map::{Guard, Version};
use orchard_types::{SpaceId, UnixMillis, Versionstamp};
use parking_lot::RwLock;
use std::ops::{Bound, ControlFlow};
use std::sync::atomic::{AtomicU32, Ordering};

/// Entries looked at under one hold of the commit lock.
const LOOKED_AT_MAX: usize = 4_096;
/// With more entries than this that have expired and are not swept, entries are counted one by one instead.
const EXPIRED_MAX: usize = 4_096;
/// So many of them before the next attempt.
const SCANNED_AT_ONCE: usize = 65_536;

/// Version and time at which entries are counted.
#[derive(Clone, Copy)]
struct View {
    stamp: u64,
    time: UnixMillis,
}

impl View {
    fn shows(self, newest: Version<'_>, covers: &Covers) -> bool {
        std::iter::successors(Some(newest), |version| version.older())
            .find(|version| version.stamp() <= self.stamp)
            .is_some_and(|version| is_visible(&version, self.time) && !covers.hides(&version, self.stamp))
    }
}

/// The first part of a range, and where the rest begins.
struct Counted {
    entries: u64,
    rest: Option<Vec<u8>>,
}

impl Engine {
    /// Number of entries of a range as a snapshot shows them. It costs a walk down the index, a look at each key of the
    /// range that was changed behind the snapshot and at each entry that has expired and is not swept; while more than
    /// 4,096 of these wait, and behind a read of a version long ago, up to a look at each entry of the range.
    ///
    /// # Errors
    /// [`ReadError::SnapshotTooOld`]
    pub fn count_at(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> Result<u64, ReadError> {
        let entries = self.count_pieces(snapshot, space, (start, end), |view, lower, upper| {
            let core = self.core.lock();
            let counted = (self.expired(view, EXPIRED_MAX) <= EXPIRED_MAX)
                .then(|| self.count_piece(view, lower, upper, LOOKED_AT_MAX));
            drop(core);
            counted.unwrap_or_else(|| self.scan_piece(view, lower, upper))
        });
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(entries) }
    }

    /// [`Engine::count_at`] for who builds a commit under the commit lock, of the snapshot that it was given.
    pub fn count_exclusive(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> u64 {
        self.count_pieces(snapshot, space, (start, end), |view, lower, upper| {
            self.count_piece(view, lower, upper, usize::MAX)
        })
    }

    /// Number of entries of a range at the newest visible version, and that version.
    pub fn count_visible(&self, space: SpaceId, start: &[u8], end: Option<&[u8]>) -> (u64, Versionstamp) {
        // It lives as long as the call, and age does not end it.
        let pin = self.snapshots.register(self.env.clock.monotonic_ns(), false, || self.read_point());
        let entries = self.count_at(&pin, space, start, end).unwrap_or_default();
        (entries, Versionstamp::from_raw(pin.stamp()))
    }

    /// Whether [`EngineOptions::tells_apart`](crate::engine::EngineOptions) may hold for some key of a space: it did for
    /// one since the database was opened.
    pub fn may_hold_apart(&self, space: SpaceId) -> bool {
        self.apart.may_hold(space)
    }

    fn count_pieces(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        (start, end): (&[u8], Option<&[u8]>),
        mut count: impl FnMut(View, &[u8], Option<&[u8]>) -> Counted,
    ) -> u64 {
        let view = View { stamp: snapshot.stamp(), time: snapshot.time() };
        let (mut lower, upper) = flat_bounds(space, start, end);
        let mut entries = 0;
        while upper.as_ref().is_none_or(|upper| lower < *upper) {
            let counted = count(view, &lower, upper.as_deref());
            entries += counted.entries;
            let Some(rest) = counted.rest else { break };
            lower = rest;
        }
        entries
    }

    /// Number of entries in memory that have expired, `most + 1` at most.
    fn expired(&self, view: View, most: usize) -> usize {
        self.expiry.lock().due(view.time.0).take(most.saturating_add(1)).count()
    }

    /// Counts from `lower` on, until about `look_at` entries were looked at. The caller holds the commit lock.
    fn count_piece(&self, view: View, lower: &[u8], upper: Option<&[u8]>, look_at: usize) -> Counted {
        let guard = self.reader.pin();
        let covers = self.ranges.load();
        let (mut entries, mut looked_at) = (0_i64, 0);
        let mut rest = None;
        for piece in covers.pieces_at(lower, upper, view.stamp) {
            // Under a deleted range that the snapshot sees: what is newer than the delete, nothing else.
            let since = piece.stamp.checked_sub(1).unwrap_or(view.stamp);
            let is_covered = piece.stamp > 0;
            guard.scan_changed(
                Bound::Included(piece.lower),
                upper_bound(piece.upper),
                since,
                u64::MAX,
                |newest| {
                    looked_at += 1;
                    entries += i64::from(view.shows(newest, &covers));
                    entries -= i64::from(!is_covered && !newest.is_tombstone());
                    if looked_at < look_at {
                        return ControlFlow::Continue(());
                    }
                    rest = Some([newest.key(), &[0]].concat());
                    ControlFlow::Break(())
                },
            );
            let end = rest.as_deref().or(piece.upper);
            if !is_covered {
                let live = guard.count(Bound::Included(piece.lower), upper_bound(end));
                entries += i64::try_from(live).unwrap_or(i64::MAX);
            }
            if rest.is_some() {
                break;
            }
        }
        entries -= self.expired_in(&guard, &covers, view, lower, rest.as_deref().or(upper));
        Counted { entries: u64::try_from(entries).unwrap_or(0), rest }
    }

    /// Entries that the index counts as live and the snapshot shows as expired. Those changed behind the snapshot and those
    /// in a range deleted before it were looked at one by one.
    fn expired_in(
        &self,
        guard: &Guard<'_>,
        covers: &Covers,
        view: View,
        lower: &[u8],
        upper: Option<&[u8]>,
    ) -> i64 {
        let is_expired = |flat: &[u8]| {
            guard.get(flat, u64::MAX).is_some_and(|newest| {
                newest.stamp() <= view.stamp && !newest.is_tombstone() && !is_visible(&newest, view.time)
            })
        };
        let expiry = self.expiry.lock();
        let due = expiry.due(view.time.0).map(|(_, flat)| flat);
        let inside = due.filter(|flat| lower <= *flat && upper.is_none_or(|upper| *flat < upper));
        inside.filter(|flat| !covers.covers(flat, view.stamp) && is_expired(flat)).count() as i64
    }

    /// Counts one by one, without the commit lock.
    fn scan_piece(&self, view: View, lower: &[u8], upper: Option<&[u8]>) -> Counted {
        let (mut entries, mut looked_at) = (0, 0);
        let mut rest: Option<Vec<u8>> = None;
        loop {
            let from = rest.take();
            let guard = self.reader.pin();
            let covers = self.ranges.load();
            let mut in_batch = 0;
            let lower = Bound::Included(from.as_deref().unwrap_or(lower));
            guard.scan(lower, upper_bound(upper), false, view.stamp, |version| {
                in_batch += 1;
                entries += u64::from(is_visible(&version, view.time) && !covers.hides(&version, view.stamp));
                if in_batch < LOOKED_AT_MAX {
                    return ControlFlow::Continue(());
                }
                rest = Some([version.key(), &[0]].concat());
                ControlFlow::Break(())
            });
            looked_at += in_batch;
            if rest.is_none() || looked_at >= SCANNED_AT_ONCE {
                return Counted { entries, rest };
            }
        }
    }
}

/// The spaces that have held a key which the options tell apart.
pub(crate) struct Apart {
    tells: fn(&[u8]) -> bool,
    /// In order.
    spaces: RwLock<Vec<u32>>,
    /// One of them; `u32::MAX`: there is none.
    last: AtomicU32,
}

impl Apart {
    pub(crate) fn new(tells: fn(&[u8]) -> bool) -> Apart {
        Apart { tells, spaces: RwLock::default(), last: AtomicU32::new(u32::MAX) }
    }

    /// A key is new in the map.
    pub(crate) fn note(&self, flat: &[u8]) {
        let Some((space, key)) = split_flat_key(flat) else { return };
        if space.0 == self.last.load(Ordering::Relaxed) || !space.is_database() || !(self.tells)(key) {
            return;
        }
        if !self.may_hold(space) {
            let mut spaces = self.spaces.write();
            if let Err(place) = spaces.binary_search(&space.0) {
                spaces.insert(place, space.0);
            }
        }
        self.last.store(space.0, Ordering::Relaxed);
    }

    fn may_hold(&self, space: SpaceId) -> bool {
        self.spaces.read().binary_search(&space.0).is_ok()
    }
}
