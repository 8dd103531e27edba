//! The storage engine: it turns a `Commit` into durable, ordered state. Start at [`engine`].
//!
//! Invariants:
//! - Synchronous; it starts no thread but to load segments within an open, knows no protocol and no cluster.
//! - It touches disk, clock and randomness only through `orchard_env`.
//! - State is a pure function of the log: [`apply`] is the only place that decides what a commit does.
//! - No reply may leave before `visible` has passed what it rests on; [`commit::Submitted`] says what that is.

pub mod apply;
pub mod changes;
pub mod checkpoint;
pub mod collections;
pub mod commit;
pub mod compaction;
mod company;
mod count;
pub mod default_expiry;
pub mod direct;
pub mod engine;
pub mod error;
pub mod expiry;
pub mod format;
pub mod hash_scan;
pub mod history;
pub mod lead;
mod load;
pub mod log_clock;
pub mod look;
pub mod manifest;
mod memory;
pub mod mutants;
mod parking;
pub mod pipeline;
pub mod progress;
mod ranges;
pub mod read;
mod rebuild;
mod recovery;
pub mod repair;
pub mod retention;
pub mod segment;
pub mod snapshot;
mod space;
mod state;
pub mod stats;
mod steps;
mod tail;
pub mod times;
pub mod totals;
pub mod verify;
pub mod visit;
pub mod wal;
