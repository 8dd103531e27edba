#![no_main]
//! Requests of the Redis protocol: any bytes are safe, and how they are cut into pieces does not matter.

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use orchard_wire::resp::{RequestDecoder, RequestLimits};

type Decoded = (Vec<Vec<Vec<u8>>>, bool);

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Decoded {
    let limits = RequestLimits { request_size_bytes_max: 4_096, args_max: 64, ..RequestLimits::default() };
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::new();
    let mut requests = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        let batch = decoder.decode(&mut buffer, &limits);
        requests.extend(batch.iter().map(|args| args.iter().map(<[u8]>::to_vec).collect()));
        if batch.error.is_some() {
            return (requests, true);
        }
        decoder.recycle(batch);
    }
    (requests, false)
}

fuzz_target!(|input: (usize, &[u8])| {
    let (size, bytes) = input;
    let whole = decode(std::iter::once(bytes));
    assert_eq!(decode(bytes.chunks(size % 16 + 1)), whole);
});
