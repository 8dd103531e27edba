//! The server over real sockets. One program for all of it, since each one more is linked with the whole server; `logs.rs` has
//! its own, because a process has one log.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by it"
)]

mod common;

mod batches;
mod collections;
mod commit_steps;
mod commits;
mod databases;
mod documents;
mod elements;
mod entries;
mod feeds;
mod guard;
mod kv_connect;
mod lifecycle;
mod lists;
mod plain;
mod protocols;
mod queues;
mod readme;
mod redis_collections;
mod redis_connection;
mod redis_field_expiry;
mod redis_keys;
mod redis_server;
mod redis_strings;
mod redis_tracking;
mod refusals;
mod trust;
