//! JSON values and the body of a commit.
#![no_main]

use orchard_wire::{commit_json, value_json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = commit_json::parse(bytes);
    if let Ok(value) = value_json::parse(bytes) {
        let mut text = Vec::new();
        value_json::write(&mut text, &value);
        // A document's line breaks are not kept where a line is an entry; all else is.
        let again = value_json::parse_as(&text, Some(value.value_type)).expect("what was written parses");
        let mut twice = Vec::new();
        value_json::write(&mut twice, &again);
        assert_eq!(twice, text);
    }
});
