//! JavaScript values: shown as JSON, and read back.
#![no_main]

use orchard_wire::v8;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut json = Vec::new();
    v8::to_json(&mut json, bytes);
    let again = v8::from_json(&json).expect("a rendering is one");
    let mut twice = Vec::new();
    v8::to_json(&mut twice, &again);
    assert_eq!(twice, json);
    let _ = v8::from_json(bytes);
});
