//! A concurrent hash map of versioned byte-string entries, and an ordered index over the same
//! entries.
//!
//! An *entry* is one key with its chain of *versions*, newest first; each version has a stamp (the
//! caller's u64 MVCC version), strictly increasing within the key. A reader pins, chooses a stamp
//! `at`, and sees of each key the newest version up to it, by hash or in key order, while the one
//! writer goes on.
//!
//! ```
//! use orchard_map::{Content, NewVersion};
//!
//! let (mut writer, reader) = orchard_map::create();
//! let new = |stamp, value| NewVersion { stamp, type_tag: 0, expires_at_ms: None, content: Content::Value(value) };
//! writer.upsert(b"apple", new(1, b"green"));
//! writer.upsert(b"apple", new(2, b"red"));
//!
//! let guard = reader.pin();
//! assert_eq!(guard.get(b"apple", 1).and_then(|version| version.value()), Some(&b"green"[..]));
//! assert_eq!(guard.get(b"apple", 2).and_then(|version| version.value()), Some(&b"red"[..]));
//! ```
//!
//! # What holds
//! - One writer at a time ([`MapWriter`] is not `Clone`), any number of readers. A reader never waits
//!   for the writer nor for another reader, and the writer never waits for a reader.
//! - A reader sees at `at` everything that was applied up to `at` before it chose `at`. What it sees
//!   stays readable, unchanged, as long as its [`Guard`] lives.
//! - A version that some reader may still need is not pruned ([`MapWriter::reclaim`] says how the
//!   caller and the map agree on that), and memory that some guard may still see is not freed.
//! - The hash part and the ordered index lead to the same records: a value is stored once.
//! - Dropping the last handle frees everything.
//!
//! # What is absent
//! No I/O, no clock, no thread, no lock: time, durability and the order of changes are the caller's.
//! No iterator outlives a guard; to go on later, resume by key or by [`HashPosition`].
//!
//! # What it costs
//! An entry costs at most 48 bytes over its key and value, hash slot, ordered index and the gaps of
//! the allocator included: with 1 M entries of 24 + 100 bytes 46.3 put in random order, 45.7 in key
//! order, 40.3 loaded in bulk. An entry that was overwritten keeps room for the link to its older
//! version: 54.4. `tests/memory.rs` asserts it. An empty map has some 100 KiB of fixed tables.
//!
//! # How it is tested
//! - `tests/model.rs`: random operations, a `BTreeMap` of versions as the truth.
//! - `tests/stress.rs` and `tests/pins.rs`: snapshots under a busy writer.
//! - `cargo run -p xtask -- sanitize`: all of these with AddressSanitizer and ThreadSanitizer, each block an allocation of
//!   its own (`--cfg orchard_plain_alloc`).
//! - `tests/loom.rs`: `RUSTFLAGS="--cfg loom" cargo test --release --test loom`.
//!
//! # Where to look
//! `record` (a version in memory), `slab`, `magazine` and `store` (where memory comes from and how it goes),
//! `epoch` (when), `fences` and `threads` (why a pin costs next to nothing), `table` (the hash part), `leaf`, `inner`, `tree`
//! (the ordered index), `way` and `reshape` (how it changes), `history` (pruning), `hint` (where a key is, looked for ahead),
//! `writer`, `reader`, `bulk`, `clock` (the operations).

#![warn(missing_docs)]

mod bulk;
mod clock;
mod epoch;
mod fences;
mod hash;
mod hashed;
mod heads;
mod hint;
mod history;
mod inner;
mod leaf;
mod magazine;
mod reader;
mod record;
mod reshape;
mod shared;
mod slab;
mod stats;
mod store;
mod sync;
mod table;
mod threads;
mod tree;
mod way;
mod writer;

pub use bulk::{BulkLoader, BulkRun};
pub use clock::{CLOCK_PARTITIONS, SweepLimits, Swept};
pub use hashed::{Hashed, KeyHash};
pub use hint::Hint;
pub use reader::{Guard, HashPosition, MapReader};
pub use record::{Content, NewVersion, TYPE_TAGS, Version};
pub use stats::MapStats;
pub use writer::{MapWriter, Reclaimed, create, create_seeded};
