//! The commands, one file per family.

mod bitmaps;
pub(super) mod common;
mod connection;
mod field_lifetimes;
mod hashes;
mod introspection;
mod keys;
mod lcs;
mod lifetimes;
mod lists;
mod numbers;
mod pubsub;
mod server;
mod sets;
mod sorted_combine;
mod sorted_ranges;
mod sorted_sets;
mod strings;
mod tracking;
mod transactions;
mod walk;

use super::command::Family;
pub(super) use introspection::{key_places, names};
pub(super) use lists::{end as list_end, texts_reply};
pub(super) use sorted_sets::members_reply as scored_reply;

/// Every family.
pub(super) static ALL: &[&Family] = &[
    &bitmaps::FAMILY,
    &connection::FAMILY,
    &keys::DATABASES_FAMILY,
    &keys::FAMILY,
    &pubsub::FAMILY,
    &server::FAMILY,
    &hashes::FAMILY,
    &field_lifetimes::FAMILY,
    &lists::FAMILY,
    &sets::FAMILY,
    &sorted_sets::FAMILY,
    &strings::FAMILY,
    &transactions::FAMILY,
];
