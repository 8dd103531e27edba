//! What a URL names: key paths, query strings, first bytes of a connection.
#![no_main]

use orchard_wire::{key_path, protocol, query};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = protocol::detect(bytes);
    let _ = query::pairs(bytes);
    let _ = key_path::parse_parameter(bytes);
    if let Ok(key) = key_path::parse_key(bytes) {
        let _ = key_path::render(&key);
    }
});
