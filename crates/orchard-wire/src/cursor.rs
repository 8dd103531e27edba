//! Where a list goes on: opaque text that carries the next key, the direction and the snapshot, sealed against other
//! ranges and damage by a checksum (not against forgery: a forged cursor reads what its sender may read anyway).

use crate::problem::{Kind, Problem};
use crate::range;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use bytes::Bytes;
use orcharddb::{KeyRange, UnixMillis, Versionstamp, limits};

const FORMAT: u8 = 1;
const REVERSE: u8 = 0b01;
const PINNED: u8 = 0b10;
const HEADER_BYTES: usize = 2 + 4 + 8 + 8;

/// The view that a list reads: its version, and the time that expiry is judged at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct View {
    /// The version.
    pub versionstamp: Versionstamp,
    /// The time.
    pub time: UnixMillis,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// Forward: the first key to come. Reverse: the first key behind the ones to come.
    pub next: Bytes,
    /// From the last key down.
    pub reverse: bool,
    /// The view to go on with, `None`: the newest.
    pub view: Option<View>,
}

impl Cursor {
    /// Goes on behind `last`, in the direction of the list.
    pub fn behind(last: &[u8], reverse: bool, view: Option<View>) -> Cursor {
        let mut next = last.to_vec();
        if !reverse {
            next.push(0);
        }
        Cursor { next: Bytes::from(next), reverse, view }
    }

    /// The text for a list over `range`.
    pub fn encode(&self, range: &KeyRange) -> String {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + self.next.len());
        let flags = if self.reverse { REVERSE } else { 0 } | if self.view.is_some() { PINNED } else { 0 };
        let view = self.view.unwrap_or(View { versionstamp: Versionstamp::ZERO, time: UnixMillis(0) });
        bytes.extend_from_slice(&[FORMAT, flags, 0, 0, 0, 0]);
        bytes.extend_from_slice(&view.versionstamp.raw().to_be_bytes());
        bytes.extend_from_slice(&view.time.0.to_be_bytes());
        bytes.extend_from_slice(&self.next);
        let checksum = checksum(range, &bytes).to_be_bytes();
        for (to, from) in bytes.iter_mut().skip(2).zip(checksum) {
            *to = from;
        }
        BASE64URL.encode(bytes)
    }

    /// Reads a cursor of a list over `range`.
    ///
    /// # Errors
    /// [`Kind::BadCursor`] if it is damaged or belongs to another range or direction.
    pub fn decode(text: &[u8], range: &KeyRange, reverse: bool) -> Result<Cursor, Problem> {
        let bad = || {
            let detail = "the cursor is damaged or belongs to another list: repeat prefix, start, end and reverse of the \
                          request that gave it";
            Problem::new(Kind::BadCursor, detail)
        };
        let mut bytes = BASE64URL.decode(text).map_err(|_| bad())?;
        let mut sealed = [0; 4];
        for (to, from) in sealed.iter_mut().zip(bytes.iter_mut().skip(2)) {
            *to = std::mem::take(from);
        }
        let (header, next) = bytes.split_at_checked(HEADER_BYTES).ok_or_else(bad)?;
        let [FORMAT, flags, _, _, _, _, rest @ ..] = header else { return Err(bad()) };
        let (stamp, time) = rest.split_at_checked(8).ok_or_else(bad)?;
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| bad());
        let view =
            View { versionstamp: Versionstamp::from_raw(number(stamp)?), time: UnixMillis(number(time)?) };
        let sound = u32::from_be_bytes(sealed) == checksum(range, &bytes)
            && flags & !(REVERSE | PINNED) == 0
            && (flags & REVERSE != 0) == reverse
            && next.len() <= limits::READ_KEY_SIZE_BYTES_MAX;
        if !sound {
            return Err(bad());
        }
        let view = (flags & PINNED != 0).then_some(view);
        Ok(Cursor { next: Bytes::copy_from_slice(next), reverse, view })
    }

    /// What is left of `range`.
    pub fn rest(&self, range: &KeyRange) -> KeyRange {
        let rest = if self.reverse {
            KeyRange { start: Bytes::new(), end: Some(self.next.clone()) }
        } else {
            KeyRange { start: self.next.clone(), end: None }
        };
        range::intersect(range, &rest)
    }
}

/// FNV-1a (Fowler, Noll, Vo 1991) over the range and the cursor's other bytes.
fn checksum(range: &KeyRange, bytes: &[u8]) -> u32 {
    let end: &[u8] = range.end.as_deref().unwrap_or_default();
    let mut hash: u32 = 0x811c_9dc5;
    let mut add = |byte: u8| hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for part in [range.start.as_ref(), &[u8::from(range.end.is_some())], end, bytes] {
        part.len().to_be_bytes().into_iter().for_each(&mut add);
        part.iter().copied().for_each(&mut add);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cursor_belongs_to_its_list() {
        let range = KeyRange::prefix(b"a");
        let view = View { versionstamp: Versionstamp::new(7, 2), time: UnixMillis(9) };
        let cursor = Cursor::behind(b"ab", false, Some(view));
        let text = cursor.encode(&range);
        assert_eq!(Cursor::decode(text.as_bytes(), &range, false), Ok(cursor.clone()));
        assert!(Cursor::decode(text.as_bytes(), &range, true).is_err());
        assert!(Cursor::decode(text.as_bytes(), &KeyRange::prefix(b"b"), false).is_err());
        for position in 0..text.len() {
            let mut damaged = text.clone().into_bytes();
            damaged[position] = if damaged[position] == b'A' { b'B' } else { b'A' };
            assert!(Cursor::decode(&damaged, &range, false).is_err(), "position {position}");
        }
        assert_eq!(
            cursor.rest(&range),
            KeyRange { start: Bytes::from_static(b"ab\0"), end: range.end.clone() }
        );
        let back = Cursor::behind(b"ab", true, None);
        assert_eq!(back.rest(&range), KeyRange { start: range.start, end: Some(Bytes::from_static(b"ab")) });
    }

    proptest! {
        #[test]
        fn cursors_come_back(last in prop::collection::vec(any::<u8>(), 0..50), reverse in any::<bool>(), raw in any::<Option<u64>>()) {
            let view = raw.map(|raw| View { versionstamp: Versionstamp::from_raw(raw), time: UnixMillis(raw / 2) });
            let cursor = Cursor::behind(&last, reverse, view);
            let range = KeyRange::all();
            prop_assert_eq!(Cursor::decode(cursor.encode(&range).as_bytes(), &range, reverse), Ok(cursor));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Cursor::decode(&bytes, &KeyRange::all(), false);
            let _ = Cursor::decode(BASE64URL.encode(&bytes).as_bytes(), &KeyRange::all(), false);
        }
    }
}
