//! The manifest.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = orchard_engine::manifest::decode(bytes);
});
