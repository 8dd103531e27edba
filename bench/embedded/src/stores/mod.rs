//! One adapter for each database.

pub mod fjall;
pub mod lmdb;
pub mod orcharddb;
pub mod redb;
#[cfg(feature = "rocksdb")]
pub mod rocksdb;
pub mod sled;
#[cfg(feature = "surrealkv")]
pub mod surrealkv;
