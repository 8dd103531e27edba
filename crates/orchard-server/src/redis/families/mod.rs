//! The commands, one file per family.

mod bitmaps;
mod connection;
mod introspection;
mod pubsub;
mod server;
mod strings;
mod transactions;

use super::command::Family;

/// Every family.
pub(super) static ALL: &[&Family] = &[
    &bitmaps::FAMILY,
    &connection::FAMILY,
    &pubsub::FAMILY,
    &server::FAMILY,
    &strings::FAMILY,
    &transactions::FAMILY,
];
