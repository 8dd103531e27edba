//! JavaScript values in V8's structured-clone format, as JSON and back.
//!
//! A `v8` value is kept as it was sent. This module shows it to those who do not speak V8 and lets them write one:
//! [`to_json`] renders, [`from_json`] reads a rendering back, [`of_value`] is what Deno gets of an entry of another type.
//!
//! | JavaScript | JSON |
//! |---|---|
//! | string, boolean, null | the same; a string with lone surrogates `{"$utf16": "base64 of UTF-16LE"}` |
//! | number | `42`, `1.5`, `-0.0`; `{"$number": "NaN" \| "Infinity" \| "-Infinity"}` |
//! | bigint | `{"$bigint": "42"}`, above 1,024 bytes in hexadecimal: `{"$bigint": "-0x1f.."}` |
//! | undefined | `{"$undefined": true}`; a hole of an array `{"$hole": true}` |
//! | object | the same; a key that begins with `$` gets one more, a key with lone surrogates is `$utf16:base64` |
//! | array | the same; with further properties `{"$array": [..], "entries": {..}}`, sparse `{"$sparse": length, "entries": {..}}` |
//! | Map, Set | `{"$map": [[key, value], ..]}`, `{"$set": [..]}` |
//! | Date | `{"$date": "2024-01-31T00:00:00.000Z"}`; outside of the years 1970 to 9999 `{"$date": milliseconds}` |
//! | RegExp | `{"$regexp": "pattern", "flags": "gi"}` |
//! | Error | `{"$error": {"name", "message"?, "stack"?, "cause"?}}` |
//! | Boolean, Number, BigInt, String objects | `{"$boxed": value}` |
//! | Uint8Array | `{"$bytes": "base64"}` |
//! | ArrayBuffer | `{"$buffer": "base64"}`, a resizable one with `"max_byte_length"` |
//! | other typed arrays, DataView | `{"$typed": "Float64Array", "bytes": "base64 of its little-endian elements"}` |
//! | an object met before (cycles, too) | `{"$ref": n}`: the n-th object of the rendering, counted from 0 where each begins |
//! | what cannot be shown | `{"$raw": "base64"}`, the whole value |
//!
//! Invariants:
//! - [`to_json`] has an answer for any bytes: what is damaged, deeper than [`DEPTH_MAX`], or longer than
//!   [`RENDERING_SIZE_FACTOR_MAX`] times its bytes becomes `$raw`. Work and memory are in proportion to what it writes.
//! - What [`to_json`] wrote [`from_json`] reads back to a value that renders the same.
//!
//! The codec is our own and not `v8_valueserializer`: that one refuses format version 13 (which Python clients write),
//! reserves memory that the sender names at every level of nesting, and frees an empty buffer that it never allocated.

mod read;
mod render;
mod write;

pub use write::{NotV8Json, from_json, of_value};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Deepest nesting of the JSON that is rendered; below the 128 of common JSON readers.
pub const DEPTH_MAX: usize = 100;
/// How many times the size of its bytes a rendering may have, beside [`RENDERING_SIZE_BYTES_FREE`]. Only views that share
/// one buffer go beyond.
pub const RENDERING_SIZE_FACTOR_MAX: usize = 24;
/// Bytes of rendering that every value may have.
pub const RENDERING_SIZE_BYTES_FREE: usize = 4_096;

/// Appends the JSON rendering of a V8 value, on one line.
///
/// ```
/// let mut json = Vec::new();
/// orchard_wire::v8::to_json(&mut json, b"\xff\x0fo\"\x01aI\x02{\x01");
/// assert_eq!(json, br#"{"a":1}"#);
/// ```
pub fn to_json(out: &mut Vec<u8>, v8: &[u8]) {
    let start = out.len();
    if render::render(out, v8).is_none() {
        out.truncate(start);
        out.extend_from_slice(b"{\"$raw\":\"");
        out.extend_from_slice(BASE64.encode(v8).as_bytes());
        out.extend_from_slice(b"\"}");
    }
}

#[cfg(test)]
mod tests;
