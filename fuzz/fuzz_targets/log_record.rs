//! One commit's record in the log.
#![no_main]

use orchard_engine::wal::record;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((decoded, _)) = record::decode(bytes) {
        let mut again = Vec::new();
        record::encode(decoded.token.as_ref().map(|(token, _)| token), &decoded.mutations, &mut again);
        let (twice, behind) = record::decode(&again).expect("what was encoded decodes");
        assert!(behind.is_empty());
        assert_eq!(twice.mutations, decoded.mutations);
    }
});
