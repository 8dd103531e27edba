//! OrchardDB in your own process: an ordered, transactional key-value database in one directory, or in memory.
//!
//! ```no_run
//! use orcharddb::Db;
//! let db = Db::open("orchard-data")?;
//! db.put("apple", "red")?;
//! assert_eq!(db.get("apple")?.map(|entry| entry.value), Some("red".into()));
//! # Ok::<(), orcharddb::Error>(())
//! ```

pub mod collection;
mod count;
mod databases;
mod db;
mod directory;
mod drive;
mod error;
mod expired;
mod expiry;
mod feed;
mod look_back;
pub mod queue;
mod scan;
mod snapshot;
mod transaction;
pub mod tuple;
mod visit;
mod watch;

pub use databases::{DatabaseError, check_database_name};
pub use db::{Db, Options, Pending, Stats};
pub use directory::{FilePlace, RepairReport, Report, repair_directory, verify_directory};
pub use error::{CollectionError, Error};
pub use expired::Expired;
pub use expiry::default_expiry;
pub use feed::{ChangesStream, FeedCommit, FeedEvent, FeedFilter, FeedStart, FeedTimeout};
pub use look_back::{Changed, ChangedScan, KeptVersion};
pub use orchard_engine::commit::{Placed, Submitted};
pub use orchard_engine::default_expiry::DefaultExpiry;
pub use orchard_engine::direct::{Direct, Hashed, KeyHash, Seen};
pub use orchard_engine::engine::{Committed, EngineOptions};
pub use orchard_engine::error::{CommitError, Corruption, OpenError, ReadError, StorageError, TokenError};
pub use orchard_engine::format::push_flat_key;
pub use orchard_engine::lead::LogLead;
pub use orchard_engine::look::WarmKeys;
pub use orchard_engine::visit::EntryRef;
pub use orchard_types::{
    Check, CheckFailure, CollectionId, Commit, Durability, DurationMs, Entry, Expiry, Key, KeyRange,
    LimitError, Mutation, MutationError, NumberOp, Operation, SpaceId, Token, UnixMillis, Value, ValueType,
    Versionstamp, arithmetic, limits, v8_number,
};
pub use scan::{Scan, ScanOptions};
pub use snapshot::Snapshot;
pub use transaction::{Applied, Change, Kept, Noted, Outcomes, Pipeline, SteppedCommit, Transaction, View};
pub use tuple::{IntoKey, KeyError, KeyPart};
pub use watch::{Observation, Observer, WatchTarget, Watcher};
