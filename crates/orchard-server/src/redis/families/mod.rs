//! The commands, one file per family.

mod connection;
mod strings;
mod transactions;

use super::command::Family;

/// Every family.
pub(super) static ALL: &[&Family] = &[&connection::FAMILY, &strings::FAMILY, &transactions::FAMILY];
