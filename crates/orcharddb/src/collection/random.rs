//! A random element of a large collection, without reading it.
//!
//! The keys of the elements are walked down as a trie: of what is left, the beginning that all share, then one of the
//! bytes that follow it. Each step costs three searches. Where the names are numbered evenly the choice is even; in
//! general elements with few neighbours are chosen more often.

use super::layout;
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use orchard_types::key::prefix_end;
use orchard_types::{CollectionId, Entry, KeyRange, SpaceId};

/// Elements among which one is chosen by number.
const FEW: usize = 32;

/// A random element of a family; `below(n)` gives a random number below n.
pub(super) fn element<V: View>(
    view: &mut V,
    id: CollectionId,
    family: u8,
    mut below: impl FnMut(usize) -> usize,
) -> Result<Option<Entry>, Error> {
    let mut range = layout::family(id, family);
    loop {
        let few = ScanOptions { limit: Some(FEW), ..ScanOptions::default() };
        let first = view.entries(SpaceId::ELEMENTS, range.clone(), few)?;
        if first.len() < FEW {
            let chosen = below(first.len().max(1));
            return Ok(first.into_iter().nth(chosen));
        }
        let last = ScanOptions { limit: Some(1), reverse: true, keys_only: true, ..ScanOptions::default() };
        let last = view.entries(SpaceId::ELEMENTS, range.clone(), last)?;
        let (Some(low), Some(high)) = (first.first(), last.first()) else { return Ok(None) };
        let shared = low.key.iter().zip(high.key.iter()).take_while(|(a, b)| a == b).count();
        let byte = |key: &[u8]| key.get(shared).copied();
        // The first may end where they part; then it stands for a byte of its own.
        let least = byte(&low.key).map_or(0, |byte| usize::from(byte) + 1);
        let most = byte(&high.key).map_or(0, |byte| usize::from(byte) + 1);
        let chosen = least + below(most - least + 1);
        let Some(byte) = chosen.checked_sub(1) else { return Ok(first.into_iter().next()) };
        let beginning = low.key.get(..shared).unwrap_or_default();
        let start = [beginning, &[byte as u8]].concat();
        let next = KeyRange { start: start.into(), end: range.end.clone() };
        let one = ScanOptions { limit: Some(1), keys_only: true, ..ScanOptions::default() };
        let found = view.entries(SpaceId::ELEMENTS, next, one)?;
        let Some(found) = found.first() else { return Ok(first.into_iter().next()) };
        let beginning = found.key.get(..=shared).unwrap_or_default();
        range = KeyRange { start: beginning.to_vec().into(), end: prefix_end(beginning) };
    }
}
