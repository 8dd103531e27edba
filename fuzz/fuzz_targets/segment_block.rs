//! A block of a segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(block) = orchard_engine::segment::block::decode(bytes) {
        for position in 0..block.len() {
            let _ = block.entry(position, bytes);
        }
    }
});
