//! Reads that show entries where they lie, without a copy.
//!
//! - What is shown stays where it is while the visitor runs, because the map is pinned; nothing that is replaced meanwhile
//!   can be freed. So a visitor is short, and does not use the database itself.
//! - What was shown counts only if the read says `Ok` at its end: a snapshot that ends meanwhile is told of then.

use crate::engine::Engine;
use crate::error::ReadError;
use crate::read::{is_visible, with_flat_key};
use crate::snapshot::SnapshotPin;
use bytes::Bytes;
use orchard_map::Version;
use orchard_types::{Entry, Key, SpaceId, UnixMillis, Value, ValueType, Versionstamp};
use std::ops::{Bound, ControlFlow};

/// Keys that are looked at before the map is let go of for a moment.
const LOOKED_AT_MAX: usize = 1_024;

/// An entry where it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What the value is.
    pub value_type: ValueType,
    /// Its bytes.
    pub value: &'a [u8],
    /// The commit that wrote it.
    pub versionstamp: Versionstamp,
    /// When it expires.
    pub expires_at: Option<UnixMillis>,
}

impl EntryRef<'_> {
    /// A copy of the entry.
    pub fn to_entry(&self) -> Entry {
        Entry {
            key: Key::new(Bytes::copy_from_slice(self.key)).unwrap_or_default(),
            value: Value { value_type: self.value_type, data: Bytes::copy_from_slice(self.value) },
            versionstamp: self.versionstamp,
            expires_at: self.expires_at,
        }
    }
}

/// What the map knows of an entry beside its bytes, which may be on disk.
struct Facts {
    value_type: ValueType,
    stamp: u64,
    expires_at: Option<UnixMillis>,
}

impl Facts {
    fn of(version: &Version<'_>) -> Facts {
        Facts {
            value_type: ValueType::from_number(version.type_tag()).unwrap_or_default(),
            stamp: version.stamp(),
            expires_at: version.expires_at_ms().map(UnixMillis),
        }
    }

    fn with<'a>(&self, key: &'a [u8], value: &'a [u8]) -> EntryRef<'a> {
        EntryRef {
            key,
            value_type: self.value_type,
            value,
            versionstamp: Versionstamp::from_raw(self.stamp),
            expires_at: self.expires_at,
        }
    }
}

/// Where a visit of a range stands after one hold of the map.
enum Held {
    /// The visitor has seen enough, or there is no more.
    Over,
    /// Behind this flat key there may be more.
    Pause(Vec<u8>),
    /// The entry of this flat key comes from the disk, then go on behind it.
    Load(Vec<u8>, Facts),
}

impl Engine {
    /// Shows the newest visible entry of a key.
    ///
    /// # Errors
    /// [`ReadError::Storage`] if its value is on disk and cannot be read.
    pub fn get_newest_with<T>(
        &self,
        space: SpaceId,
        key: &[u8],
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, ReadError> {
        self.get_with_where(space, key, None, visit)
    }

    /// Shows the entry of a key as a snapshot has it.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn get_with<T>(
        &self,
        snapshot: &SnapshotPin,
        space: SpaceId,
        key: &[u8],
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, ReadError> {
        let seen = self.get_with_where(space, key, Some((snapshot.stamp(), snapshot.time())), visit)?;
        if snapshot.is_expired() { Err(ReadError::SnapshotTooOld) } else { Ok(seen) }
    }

    fn get_with_where<T>(
        &self,
        space: SpaceId,
        key: &[u8],
        at: Option<(u64, UnixMillis)>,
        visit: impl FnOnce(Option<EntryRef<'_>>) -> T,
    ) -> Result<T, ReadError> {
        with_flat_key(space, key, |flat| {
            let on_disk = {
                let guard = self.reader.pin();
                // Most entries never expire, and then nobody needs to know what time it is. If this one does, version
                // and time are chosen together: a time behind the version would show what a later commit has extended
                // as expired.
                let (mut stamp, mut time) = at.unwrap_or_else(|| (self.progress.visible(), UnixMillis(0)));
                let mut newest = guard.get(flat, stamp);
                if at.is_none() && newest.is_some_and(|version| version.expires_at_ms().is_some()) {
                    (stamp, time) = self.read_point();
                    newest = guard.get(flat, stamp);
                }
                let ranges = self.ranges.load();
                let found =
                    newest.filter(|version| is_visible(version, time) && !ranges.hides(version, stamp));
                let Some(version) = found else { return Ok(visit(None)) };
                version.touch();
                match version.value() {
                    Some(value) => return Ok(visit(Some(Facts::of(&version).with(key, value)))),
                    None => Facts::of(&version),
                }
            };
            let value = self.load(flat, on_disk.stamp)?;
            self.promote(flat, on_disk.stamp, &value);
            Ok(visit(Some(on_disk.with(key, &value))))
        })
    }

    /// Shows the entries of a range of flat keys, in key order or its reverse, as a snapshot has them, until the visitor
    /// breaks off.
    ///
    /// # Errors
    /// [`ReadError`]
    pub fn visit(
        &self,
        snapshot: &SnapshotPin,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        mut visit: impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut held = self.visit_held(snapshot, lower, upper, reverse, &mut visit);
        loop {
            if snapshot.is_expired() {
                return Err(ReadError::SnapshotTooOld);
            }
            let last = match held {
                Held::Over => return Ok(()),
                Held::Pause(last) => last,
                Held::Load(flat, on_disk) => {
                    let value = self.load(&flat, on_disk.stamp)?;
                    let entry = on_disk.with(key_of(&flat), &value);
                    if visit(entry).is_break() {
                        return Ok(());
                    }
                    flat
                }
            };
            let behind = Bound::Excluded(last.as_slice());
            let (lower, upper) = if reverse { (lower, behind) } else { (behind, upper) };
            held = self.visit_held(snapshot, lower, upper, reverse, &mut visit);
        }
    }

    fn visit_held(
        &self,
        snapshot: &SnapshotPin,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        visit: &mut impl FnMut(EntryRef<'_>) -> ControlFlow<()>,
    ) -> Held {
        let (at, time) = (snapshot.stamp(), snapshot.time());
        let mut held = Held::Over;
        let mut looked_at = 0;
        let guard = self.reader.pin();
        let ranges = self.ranges.load();
        guard.scan(lower, upper, reverse, at, |version| {
            let flat = version.key();
            if is_visible(&version, time) && !ranges.hides(&version, at) {
                let Some(value) = version.value() else {
                    held = Held::Load(flat.to_vec(), Facts::of(&version));
                    return ControlFlow::Break(());
                };
                visit(Facts::of(&version).with(key_of(flat), value))?;
            }
            looked_at += 1;
            if looked_at < LOOKED_AT_MAX {
                return ControlFlow::Continue(());
            }
            held = Held::Pause(flat.to_vec());
            ControlFlow::Break(())
        });
        held
    }
}

fn key_of(flat: &[u8]) -> &[u8] {
    crate::format::split_flat_key(flat).map_or(flat, |(_, key)| key)
}
