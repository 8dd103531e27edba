//! Live range tombstones: deletes of whole ranges whose entries are still in the map.
//!
//! - A range tombstone of stamp `s` covers the versions of its range with stamps below `s`. It means exactly what a point
//!   tombstone of `s` over each of its live entries would mean; which of the two a state holds is invisible.
//! - The eraser turns it into those point tombstones and takes it out of the list. This is not logged: it changes nothing
//!   that anybody can see, so states that have erased more or less give the same answers.
//! - Whoever writes over a covered version puts the point tombstone there first, so that a snapshot between the two finds
//!   it after the range tombstone is gone.
//! - A reader chooses its stamp first, loads the list then and looks into the map last: what is no longer in the list is
//!   in the map.
//! - A checkpoint erases everything at or below its stamp before it reads the map, so that no file holds one.

use crate::collections::OrphansDue;
use crate::expiry::ExpiryIndex;
use crate::state::collection_of;
use crate::totals::Counts;
use orchard_map::{Content, Guard, MapWriter, NewVersion, Version};
use orchard_types::CollectionId;
use parking_lot::RwLock;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Live range tombstones, unless the options say fewer.
pub const RANGE_TOMBSTONES_MAX: usize = 64;
/// A range with at most so many entries is deleted entry by entry, unless the options say otherwise.
pub const SMALL_RANGE_ENTRIES_MAX: usize = 64;
/// Keys, deleted ones included, that are looked at to find out whether a range is small.
const SMALL_RANGE_LOOKED_AT_MAX: usize = 512;

/// One delete of a range.
#[derive(Debug, Clone)]
struct RangeTombstone {
    lower: Arc<[u8]>,
    /// The first key behind the range.
    upper: Option<Arc<[u8]>>,
    stamp: u64,
}

impl RangeTombstone {
    fn contains(&self, key: &[u8]) -> bool {
        *self.lower <= *key && self.upper.as_deref().is_none_or(|upper| key < upper)
    }

    fn overlaps(&self, lower: &[u8], upper: Option<&[u8]>) -> bool {
        upper.is_none_or(|upper| *self.lower < *upper) && self.upper.as_deref().is_none_or(|end| lower < end)
    }
}

/// A part of a range in which the same range tombstones hold.
pub(crate) struct Piece<'a> {
    pub(crate) lower: &'a [u8],
    pub(crate) upper: Option<&'a [u8]>,
    /// The newest of them; 0: none.
    pub(crate) stamp: u64,
}

impl Piece<'_> {
    fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (Bound::Included(self.lower), self.upper.map_or(Bound::Unbounded, Bound::Excluded))
    }
}

/// Cuts a range at the ends of the range tombstones with stamps below `below`.
fn pieces<'a>(
    list: &'a [RangeTombstone],
    lower: &'a [u8],
    upper: Option<&'a [u8]>,
    below: u64,
) -> Vec<Piece<'a>> {
    let held: Vec<&RangeTombstone> =
        list.iter().filter(|range| range.stamp < below && range.overlaps(lower, upper)).collect();
    let ends = held.iter().flat_map(|range| std::iter::once(&range.lower).chain(&range.upper));
    let inside = |cut: &&[u8]| lower < *cut && upper.is_none_or(|upper| *cut < upper);
    let mut cuts: Vec<&[u8]> = ends.map(|end| &**end).filter(inside).collect();
    cuts.push(lower);
    cuts.sort_unstable();
    cuts.dedup();
    let uppers: Vec<Option<&[u8]>> = cuts.iter().skip(1).map(|cut| Some(*cut)).chain([upper]).collect();
    let newest = |key: &[u8]| held.iter().filter(|range| range.contains(key)).map(|range| range.stamp).max();
    let pieces = cuts.into_iter().zip(uppers);
    pieces.map(|(lower, upper)| Piece { lower, upper, stamp: newest(lower).unwrap_or(0) }).collect()
}

/// A range with its first key, and the first key behind it.
fn half_open(lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    let behind = |key: &[u8]| [key, &[0]].concat();
    let lower = match lower {
        Bound::Unbounded => Vec::new(),
        Bound::Included(key) => key.to_vec(),
        Bound::Excluded(key) => behind(key),
    };
    let upper = match upper {
        Bound::Unbounded => None,
        Bound::Included(key) => Some(behind(key)),
        Bound::Excluded(key) => Some(key.to_vec()),
    };
    (lower, upper)
}

/// The list as readers find it.
#[derive(Default)]
pub(crate) struct SharedRanges {
    /// Its length: without a live range tombstone a read pays this one load.
    count: AtomicUsize,
    list: RwLock<Arc<Vec<RangeTombstone>>>,
}

impl SharedRanges {
    /// Number of live range tombstones.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// The list now. Choose the stamp to read at before, look into the map behind it.
    #[inline]
    pub(crate) fn load(&self) -> Covers {
        if self.count.load(Ordering::Acquire) == 0 {
            return Covers(None);
        }
        Covers(Some(self.list.read().clone()))
    }
}

/// The range tombstones of one read.
#[derive(Default)]
pub(crate) struct Covers(Option<Arc<Vec<RangeTombstone>>>);

impl Covers {
    fn list(&self) -> &[RangeTombstone] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list().is_empty()
    }

    /// When a version was deleted by its range, if that was at or before `at`.
    #[inline]
    pub(crate) fn deleted_at(&self, version: &Version<'_>, at: u64) -> Option<u64> {
        let list = self.0.as_deref()?;
        first_above(list, version.key(), version.stamp()).filter(|stamp| *stamp <= at)
    }

    /// Whether a version is deleted at `at` by its range.
    #[inline]
    pub(crate) fn hides(&self, version: &Version<'_>, at: u64) -> bool {
        self.deleted_at(version, at).is_some()
    }

    /// A range, cut at the ends of what was deleted at or before `at`.
    pub(crate) fn pieces_at<'a>(
        &'a self,
        lower: &'a [u8],
        upper: Option<&'a [u8]>,
        at: u64,
    ) -> Vec<Piece<'a>> {
        pieces(self.list(), lower, upper, at.saturating_add(1))
    }

    /// Whether a key lies in a range that was deleted at or before `at`.
    pub(crate) fn covers(&self, key: &[u8], at: u64) -> bool {
        self.list().iter().any(|range| range.stamp <= at && range.contains(key))
    }

    /// Whether some range was deleted behind `since` and not behind `at`.
    pub(crate) fn any_within(&self, since: u64, at: u64) -> bool {
        self.list().iter().any(|range| range.stamp > since && range.stamp <= at)
    }

    /// Number of live entries in a range at the newest applied state. Without a range tombstone in it nothing is visited;
    /// under one only what has been written since.
    pub(crate) fn count(&self, guard: &Guard<'_>, lower: &[u8], upper: Option<&[u8]>) -> u64 {
        let count = |piece: Piece<'_>| {
            let (lower, upper) = piece.bounds();
            let Some(since) = piece.stamp.checked_sub(1) else { return guard.count(lower, upper) };
            let mut live = 0;
            guard.scan_changed(lower, upper, since, u64::MAX, |version| {
                live += u64::from(!version.is_tombstone());
                ControlFlow::Continue(())
            });
            live
        };
        pieces(self.list(), lower, upper, u64::MAX).into_iter().map(count).sum()
    }
}

/// The list is in the order of stamps, so the first that fits is the oldest.
fn first_above(list: &[RangeTombstone], key: &[u8], stamp: u64) -> Option<u64> {
    list.iter().find(|range| range.stamp > stamp && range.contains(key)).map(|range| range.stamp)
}

/// An entry that became a point tombstone, for those who count.
#[derive(Debug)]
pub(crate) struct Erased {
    pub(crate) key: Vec<u8>,
    /// The point tombstone's stamp.
    pub(crate) stamp: u64,
    /// The collection whose header it was.
    pub(crate) collection: Option<CollectionId>,
    value_len: u64,
    expires_at_ms: Option<u64>,
}

impl Erased {
    /// Takes it out of counts and expiry index; a header leaves its elements behind.
    pub(crate) fn settle(&self, counts: &mut Counts, expiry: &mut ExpiryIndex, orphans: &mut OrphansDue) {
        if let Some(id) = self.collection {
            orphans.found(id, self.stamp);
        }
        counts.entries -= 1;
        counts.key_bytes -= self.key.len() as i64;
        counts.value_bytes -= self.value_len as i64;
        if self.expires_at_ms.is_some() {
            expiry.change(self.key.clone(), self.expires_at_ms, None);
        }
    }
}

/// The list as the one writer changes it, under the commit lock.
pub(crate) struct Ranges {
    shared: Arc<SharedRanges>,
    /// What `shared` has; in the order of stamps.
    list: Arc<Vec<RangeTombstone>>,
    /// Up to here the oldest one is erased.
    erased_to: Option<Vec<u8>>,
    ranges_max: usize,
    small_range_entries_max: usize,
}

impl Ranges {
    pub(crate) fn new(ranges_max: usize, small_range_entries_max: usize) -> Ranges {
        Ranges {
            shared: Arc::default(),
            list: Arc::default(),
            erased_to: None,
            ranges_max,
            small_range_entries_max,
        }
    }

    pub(crate) fn shared(&self) -> Arc<SharedRanges> {
        self.shared.clone()
    }

    fn replace(&mut self, list: Vec<RangeTombstone>) {
        self.list = Arc::new(list);
        let count = self.list.len();
        *self.shared.list.write() = self.list.clone();
        self.shared.count.store(count, Ordering::Release);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether `more` of them, or at least half of all that there may be, still fit.
    pub(crate) fn has_room_for(&self, more: usize) -> bool {
        self.list.len() + more.min(self.ranges_max.div_ceil(2)) <= self.ranges_max
    }

    /// Whether there is one at or below `stamp`.
    pub(crate) fn any_through(&self, stamp: u64) -> bool {
        self.list.first().is_some_and(|oldest| oldest.stamp <= stamp)
    }

    /// The stamp at which a version of `stamp` was deleted by its range.
    pub(crate) fn first_above(&self, key: &[u8], stamp: u64) -> Option<u64> {
        first_above(&self.list, key, stamp)
    }

    /// Adds one; `false` if the list is full.
    pub(crate) fn add(&mut self, lower: &[u8], upper: Option<&[u8]>, stamp: u64) -> bool {
        if self.list.len() >= self.ranges_max {
            return false;
        }
        let mut list = self.list.as_ref().clone();
        list.push(RangeTombstone { lower: lower.into(), upper: upper.map(Arc::from), stamp });
        self.replace(list);
        true
    }

    /// Takes back those above `stamp`.
    pub(crate) fn take_back(&mut self, stamp: u64) {
        if self.list.last().is_some_and(|newest| newest.stamp > stamp) {
            if !self.any_through(stamp) {
                self.erased_to = None;
            }
            let list = self.list.iter().filter(|range| range.stamp <= stamp).cloned().collect();
            self.replace(list);
        }
    }

    /// The live entries of a range, if they are few and soon found.
    pub(crate) fn small_range(
        &self,
        map: &MapWriter,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
    ) -> Option<Vec<Vec<u8>>> {
        let (mut keys, mut looked_at, mut is_small) = (Vec::new(), 0, true);
        map.scan(lower, upper, false, |version| {
            looked_at += 1;
            if !version.is_tombstone() && self.first_above(version.key(), version.stamp()).is_none() {
                keys.push(version.key().to_vec());
            }
            is_small = keys.len() <= self.small_range_entries_max && looked_at <= SMALL_RANGE_LOOKED_AT_MAX;
            if is_small { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        is_small.then_some(keys)
    }

    /// The newest stamp in a range, that of point tombstones which the eraser has yet to write included.
    pub(crate) fn newest_stamp_in(&self, map: &MapWriter, lower: Bound<&[u8]>, upper: Bound<&[u8]>) -> u64 {
        let newest = map.range_max_stamp(lower, upper);
        if self.list.last().is_none_or(|range| range.stamp <= newest) {
            return newest;
        }
        let (lower, upper) = half_open(lower, upper);
        let (lower, upper) = (lower.as_slice(), upper.as_deref());
        for range in self.list.iter().rev().take_while(|range| range.stamp > newest) {
            if !range.overlaps(lower, upper) {
                continue;
            }
            let from = lower.max(&range.lower);
            let to = match (upper, range.upper.as_deref()) {
                (Some(upper), Some(end)) => Some(upper.min(end)),
                (upper, end) => upper.or(end),
            };
            // Everything in there is older than `range`. What an older one covers was deleted by that one already.
            let deletes = |piece: &Piece<'_>| {
                let (lower, upper) = piece.bounds();
                let Some(since) = piece.stamp.checked_sub(1) else { return map.count(lower, upper) > 0 };
                let mut found = false;
                map.scan_changed(lower, upper, since, |version| {
                    found = !version.is_tombstone();
                    if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                });
                found
            };
            if pieces(&self.list, from, to, range.stamp).iter().any(deletes) {
                return range.stamp;
            }
        }
        newest
    }

    /// Puts the point tombstone of its range over a version that is about to be written over.
    pub(crate) fn erase_one(map: &mut MapWriter, key: &[u8], stamp: u64) -> Option<Erased> {
        let version = map.newest(key).filter(|version| !version.is_tombstone())?;
        let erased = Erased {
            key: key.to_vec(),
            stamp,
            collection: collection_of(&version),
            value_len: u64::from(version.value_len()),
            expires_at_ms: version.expires_at_ms(),
        };
        let tombstone = NewVersion { stamp, type_tag: 0, expires_at_ms: None, content: Content::Tombstone };
        map.upsert(key, tombstone);
        Some(erased)
    }

    /// Looks at up to `limit` keys of the oldest range and puts point tombstones over its live entries; takes it out of the
    /// list behind the last one.
    pub(crate) fn erase(&mut self, map: &mut MapWriter, limit: usize) -> Vec<Erased> {
        let Some(oldest) = self.list.first() else { return Vec::new() };
        let (mut keys, mut looked_at, mut last) = (Vec::new(), 0, None);
        let lower = self.erased_to.as_deref().map_or(Bound::Included(&*oldest.lower), Bound::Excluded);
        let upper = oldest.upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        map.scan(lower, upper, false, |version| {
            looked_at += 1;
            if !version.is_tombstone() && version.stamp() < oldest.stamp {
                keys.push(version.key().to_vec());
            }
            if looked_at >= limit.max(1) {
                last = Some(version.key().to_vec());
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        let stamp = oldest.stamp;
        let erased = keys.iter().filter_map(|key| Ranges::erase_one(map, key, stamp)).collect();
        self.erased_to = last;
        if self.erased_to.is_none() {
            self.replace(self.list.iter().skip(1).cloned().collect());
        }
        erased
    }
}
