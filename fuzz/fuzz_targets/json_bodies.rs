//! JSON values, the bodies of requests, and pointers and merge patches.
#![no_main]

use orchard_wire::json_pointer::Pointer;
use orchard_wire::{batch_json, commit_json, json_text, merge_patch, queue_json, read_json, value_json};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = commit_json::parse(bytes);
    let _ = (batch_json::parse(bytes), batch_json::parse_operation(bytes), read_json::parse(bytes));
    let _ = (queue_json::parse_enqueue(bytes, "q"), queue_json::parse_lease(bytes));
    let _ = (queue_json::parse_ids(bytes), queue_json::parse_dead(bytes));
    // One half is a pointer or a patch, the other a document; what comes of a document is one.
    let half = bytes.len() / 2;
    if let (Ok(text), Ok(document)) = (std::str::from_utf8(&bytes[..half]), std::str::from_utf8(&bytes[half..])) {
        let is_document = json_text::check(document.as_bytes()).is_ok();
        let is_sound = |made: &str| json_text::check(made.as_bytes()).is_ok() || !is_document;
        if let Ok(pointer) = Pointer::parse(text) {
            let _ = pointer.find(document);
            assert!(pointer.set(document, "1").map_or(true, |made| is_sound(&made)));
            assert!(pointer.remove(document).map_or(true, |made| is_sound(&made)));
        }
        if json_text::check(text.as_bytes()).is_ok() {
            assert!(merge_patch::apply(Some(document), text).map_or(true, |made| is_sound(&made)));
        }
    }
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
