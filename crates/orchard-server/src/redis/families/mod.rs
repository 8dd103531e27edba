//! The commands, one file per family.

mod bitmaps;
mod connection;
mod introspection;
mod keys;
mod lcs;
mod lifetimes;
mod numbers;
mod pubsub;
mod server;
mod strings;
mod transactions;
mod walk;

use super::command::Family;

/// Every family.
pub(super) static ALL: &[&Family] = &[
    &bitmaps::FAMILY,
    &connection::FAMILY,
    &keys::DATABASES_FAMILY,
    &keys::FAMILY,
    &pubsub::FAMILY,
    &server::FAMILY,
    &strings::FAMILY,
    &transactions::FAMILY,
];
