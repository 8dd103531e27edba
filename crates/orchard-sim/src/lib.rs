//! Seeded simulation of OrchardDB: virtual clients, a faulty disk, and an oracle that knows the truth.
//!
//! Invariants:
//! - One thread, one seed: the seed decides who does what when, what the disk loses and when the clock jumps, so the
//!   same seed gives the same trace ([`sim::Summary::trace_hash`]).
//! - The oracle shares no code with the engine but the plain data of `orchard-types`.
//!
//! Start at [`sim`]; [`oracle`] is the truth, [`workload`] what clients ask, [`subject`] the engine's names.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "this crate is a test: a broken invariant of its own stops it"
)]

pub mod oracle;
pub mod sim;
pub mod subject;
pub mod workload;
