//! The plain data of OrchardDB: keys, values, versionstamps, commits, reads and limits.
//!
//! Invariants:
//! - Nothing here does I/O, reads a clock or knows of threads; every type is plain data.
//! - [`limits`] is the one file of limits; every other crate takes its bounds from there.
//! - [`arithmetic`] is frozen: replaying a log runs it again, so a result may never change
//!   (`arithmetic::tests` pins it).

pub mod arithmetic;
pub mod collection;
pub mod commit;
pub mod error;
pub mod key;
pub mod limits;
pub mod read;
pub mod time;
pub mod v8_number;
pub mod value;
pub mod versionstamp;

pub use collection::CollectionId;
pub use commit::{Check, Commit, Durability, Expiry, Mutation, NumberOp, Operation, Token};
pub use error::{CheckFailure, LimitError, MutationError};
pub use key::{Key, KeyRange, SpaceId};
pub use read::{Entry, RangeRead};
pub use time::{DurationMs, UnixMillis};
pub use value::{Value, ValueType};
pub use versionstamp::Versionstamp;
