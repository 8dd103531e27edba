//! The messages of KV Connect: reads, writes, watches and the metadata exchange.
#![no_main]

use orchard_wire::kvconnect;
use orcharddb::{SpaceId, UnixMillis};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = kvconnect::negotiate(bytes);
    let _ = kvconnect::decode_read(bytes);
    let _ = kvconnect::decode_watch(bytes);
    if let Ok(write) = kvconnect::decode_write(bytes, SpaceId::DEFAULT, || UnixMillis(0)) {
        write.commit.validate().expect("the protocol's limits are below ours");
    }
});
