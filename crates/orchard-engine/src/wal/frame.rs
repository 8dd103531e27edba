//! One group as bytes.
//!
//! Layout, little-endian: magic u32, length u32 (of the whole frame), index u64, log_time u64 (ms), apply_version u16,
//! flags u16, count u32, checksum of the previous frame u64, synced_through u64 (index
//! of the last group known durable when this one was written), payload, checksum u64 over all before it; then zeros up
//! to a multiple of 8.

use crate::format::{DatabaseId, checksum, read_u32, read_u64};
use crate::mutants::{self, Mutant};
use crate::wal::{APPLY_VERSION, Group};
use orchard_types::versionstamp::INDEX_MAX;
use orchard_types::{UnixMillis, limits};

/// First bytes of a frame.
pub const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"OGrp");
/// Bytes before the payload.
pub const FRAME_HEAD_SIZE_BYTES: usize = 48;
/// Bytes of head and checksum.
pub const FRAME_OVERHEAD_BYTES: usize = FRAME_HEAD_SIZE_BYTES + 8;
/// Largest frame: one largest commit, or one group.
pub const FRAME_SIZE_BYTES_MAX: usize = FRAME_OVERHEAD_BYTES + 2 * limits::COMMIT_SIZE_BYTES_MAX;

/// The number that a frame's checksum is seeded with.
fn seeded_number(place: FramePlace) -> u64 {
    if mutants::enabled(Mutant::StaleFrameAccepted) { 0 } else { place.file_number }
}

/// Where a frame stands; its checksum depends on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FramePlace {
    /// The database.
    pub database: DatabaseId,
    /// Number of the log file.
    pub file_number: u64,
    /// Where in the file the frame begins.
    pub offset_bytes: u64,
}

/// Why bytes are not a frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FrameError {
    /// No frame begins here.
    NoMagic,
    /// A frame begins here, but its bytes do not verify.
    Damaged(String),
    /// It verifies, but uses something that only a newer program knows.
    Newer(String),
}

/// A decoded frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The group.
    pub group: Group,
    /// Checksum of the frame before it.
    pub previous_checksum: u64,
    /// Index of the last group that was known durable when this one was written: damage at or before it is corruption,
    /// behind it a torn tail.
    pub synced_through: u64,
    /// Its own checksum.
    pub checksum: u64,
    /// Its length, padding included.
    pub padded_size_bytes: usize,
}

/// `length` rounded up to the frames' alignment.
pub const fn padded(length: usize) -> usize {
    length.next_multiple_of(8)
}

/// Appends the frame of `group`; returns its checksum.
pub fn encode(
    group: &Group,
    place: FramePlace,
    previous_checksum: u64,
    synced_through: u64,
    out: &mut Vec<u8>,
) -> u64 {
    let start = out.len();
    let length = FRAME_OVERHEAD_BYTES + group.payload.len();
    assert!(length <= FRAME_SIZE_BYTES_MAX, "a group seals before it is too large");
    out.extend_from_slice(&FRAME_MAGIC.to_le_bytes());
    out.extend_from_slice(&(length as u32).to_le_bytes());
    out.extend_from_slice(&group.index.to_le_bytes());
    out.extend_from_slice(&group.log_time.0.to_le_bytes());
    out.extend_from_slice(&APPLY_VERSION.to_le_bytes());
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&group.count.to_le_bytes());
    out.extend_from_slice(&previous_checksum.to_le_bytes());
    out.extend_from_slice(&synced_through.to_le_bytes());
    out.extend_from_slice(&group.payload);
    let sum = checksum(place.database, seeded_number(place), place.offset_bytes, &out[start..]);
    out.extend_from_slice(&sum.to_le_bytes());
    out.resize(start + padded(length), 0);
    sum
}

/// The length that the frame at the start of `bytes` claims, before anything is verified.
///
/// # Errors
/// [`FrameError`] if no frame begins here or the length is impossible.
pub fn claimed_length(bytes: &[u8]) -> Result<usize, FrameError> {
    match read_u32(bytes) {
        Some(FRAME_MAGIC) => {}
        _ => return Err(FrameError::NoMagic),
    }
    let length = bytes.get(4..).and_then(read_u32).unwrap_or_default() as usize;
    if !(FRAME_OVERHEAD_BYTES..=FRAME_SIZE_BYTES_MAX).contains(&length) {
        return Err(FrameError::Damaged(format!("a frame of {length} bytes is impossible")));
    }
    Ok(length)
}

/// Reads the frame at the start of `bytes`.
///
/// # Errors
/// [`FrameError`]; any bytes are safe to give.
pub fn decode(bytes: &[u8], place: FramePlace) -> Result<Frame, FrameError> {
    let length = claimed_length(bytes)?;
    let (Some(body), Some(sum)) = (bytes.get(..length - 8), bytes.get(length - 8..length).and_then(read_u64))
    else {
        return Err(FrameError::Damaged(format!(
            "a frame of {length} bytes has only {} bytes left",
            bytes.len()
        )));
    };
    let computed = checksum(place.database, seeded_number(place), place.offset_bytes, body);
    if sum != computed {
        return Err(FrameError::Damaged(format!("frame checksum {sum:016x}, computed {computed:016x}")));
    }
    let word = |at: usize| body.get(at..).and_then(read_u64).unwrap_or_default();
    let index = word(8);
    let versions = body.get(24..).and_then(read_u32).unwrap_or_default();
    let (apply_version, flags) = (versions & 0xffff, versions >> 16);
    if apply_version != u32::from(APPLY_VERSION) {
        return Err(FrameError::Newer(format!("apply version {apply_version}")));
    }
    if flags != 0 {
        return Err(FrameError::Newer(format!("frame flags {flags:#06x}")));
    }
    if index > INDEX_MAX {
        return Err(FrameError::Damaged(format!("log index {index}")));
    }
    let count = body.get(28..).and_then(read_u32).unwrap_or_default();
    Ok(Frame {
        group: Group {
            index,
            log_time: UnixMillis(word(16)),
            count,
            payload: body.get(FRAME_HEAD_SIZE_BYTES..).unwrap_or_default().to_vec(),
        },
        previous_checksum: word(32),
        synced_through: word(40),
        checksum: sum,
        padded_size_bytes: padded(length),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLACE: FramePlace = FramePlace { database: DatabaseId([3; 16]), file_number: 2, offset_bytes: 64 };

    fn group(payload: Vec<u8>) -> Group {
        Group { index: 7, log_time: UnixMillis(1_000), count: 1, payload }
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes, PLACE);
        }

        #[test]
        fn a_frame_verifies_only_in_its_place(payload in prop::collection::vec(any::<u8>(), 0..100), bit in any::<usize>()) {
            let group = group(payload);
            let mut bytes = Vec::new();
            let sum = encode(&group, PLACE, 5, 6, &mut bytes);
            let frame = decode(&bytes, PLACE).expect("it was just written");
            prop_assert_eq!(frame.padded_size_bytes, bytes.len());
            prop_assert_eq!((frame.group, frame.previous_checksum, frame.checksum), (group, 5, sum));
            for place in [
                FramePlace { database: DatabaseId([4; 16]), ..PLACE },
                FramePlace { file_number: 1, ..PLACE },
                FramePlace { offset_bytes: 72, ..PLACE },
            ] {
                prop_assert!(matches!(decode(&bytes, place), Err(FrameError::Damaged(_))));
            }
            let length = claimed_length(&bytes).expect("a length");
            let bit = bit % (length * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode(&bytes, PLACE).is_err());
        }
    }
}
