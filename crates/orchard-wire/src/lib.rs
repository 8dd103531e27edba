//! The codecs of OrchardDB's protocols: bytes in, plain data or a typed error out, and back.
//!
//! Invariants:
//! - Nothing here does I/O, reads a clock or knows of threads.
//! - No decoder panics on any bytes, and none allocates more than a small multiple of what it was given.
//! - Whatever an encoder wrote its decoder reads back to the same thing; the property tests hold both together.
//! - [`problem`] is the one table from a kind of error to its HTTP status, stable code and RESP prefix.
//!
//! What HTTP needs is here, [`kvconnect`] and [`v8`] what Deno needs, [`resp`] what Redis clients need.

pub mod batch_json;
pub mod commit_json;
pub mod commit_steps;
pub mod cursor;
pub mod duration;
pub mod element_json;
pub mod entry_json;
pub mod etag;
pub mod feed_json;
pub mod glob;
pub mod json_pointer;
pub mod json_text;
pub mod key_path;
pub mod kvconnect;
pub mod media;
pub mod merge_patch;
pub mod moment;
pub mod percent;
pub mod problem;
pub mod protocol;
pub mod query;
pub mod queue_json;
pub mod range;
pub mod read_json;
pub mod resp;
pub mod rfc3339;
pub mod v8;
pub mod value_json;

pub use problem::{Kind, Problem};
