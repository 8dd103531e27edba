//! A frame of the log. The checksum is made right, so that what is behind it is reached.
#![no_main]

use orchard_engine::format::{DatabaseId, checksum};
use orchard_engine::wal::frame::{self, FramePlace};

const PLACE: FramePlace = FramePlace { database: DatabaseId([1; 16]), file_number: 1, offset_bytes: 64 };

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = frame::decode(bytes, PLACE);
    let mut framed = bytes.to_vec();
    framed.resize(framed.len().max(frame::FRAME_OVERHEAD_BYTES), 0);
    framed[..4].copy_from_slice(&frame::FRAME_MAGIC.to_le_bytes());
    let length = framed.len();
    framed[4..8].copy_from_slice(&(length as u32).to_le_bytes());
    let sum = checksum(PLACE.database, PLACE.file_number, PLACE.offset_bytes, &framed[..length - 8]);
    framed[length - 8..].copy_from_slice(&sum.to_le_bytes());
    if let Ok(decoded) = frame::decode(&framed, PLACE) {
        let mut again = Vec::new();
        frame::encode(&decoded.group, PLACE, decoded.previous_checksum, decoded.synced_through, &mut again);
        assert_eq!(again[..length], framed[..]);
    }
});
