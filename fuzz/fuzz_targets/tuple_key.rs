//! Keys as tuples and as JSON.
#![no_main]

use orcharddb::tuple;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = tuple::decode_name(bytes);
    let json = tuple::key_to_json(bytes);
    assert_eq!(tuple::bound_from_json(&json).expect("its own JSON is a key"), bytes);
});
