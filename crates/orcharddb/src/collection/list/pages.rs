//! A list from an index on, page by page, each going on where the one before ended.

use super::{List, State};
use crate::collection::View;
use crate::error::Error;
use orchard_types::Value;

/// Elements of a list in order; see [`List::pages`].
pub struct ListPages<V> {
    list: List<V>,
    next: Option<i64>,
    left: u64,
}

impl<V: View> List<V> {
    /// The elements from an index on, in pages. Costs what it returns, and where the middle was changed also the way to the
    /// first, once.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pages(mut self, first: u64) -> Result<ListPages<V>, Error> {
        let left = self.len().saturating_sub(first);
        let next = match &self.state {
            _ if left == 0 => None,
            State::Packed(_) => i64::try_from(first).ok(),
            State::Elements(spread) => {
                let spread = *spread;
                Some(self.position(spread, first)?)
            }
        };
        Ok(ListPages { list: self, next, left })
    }
}

impl<V: View> ListPages<V> {
    /// Number of elements of the list.
    pub fn length(&self) -> u64 {
        self.list.len()
    }

    /// The next elements, at most `limit`; none at the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn next(&mut self, limit: usize) -> Result<Vec<Value>, Error> {
        let Some(from) = self.next else { return Ok(Vec::new()) };
        let page = match &self.list.state {
            State::Packed(values) => {
                let all = values.iter().enumerate().map(|(index, value)| (index as i64, value.clone()));
                all.filter(|(index, _)| *index >= from).take(limit).collect()
            }
            State::Elements(spread) => {
                let spread = *spread;
                self.list.page(spread.id, from, spread.tail, false, limit)?
            }
        };
        self.left = self.left.saturating_sub(page.len() as u64);
        self.next = page.last().filter(|_| self.left > 0).map(|(position, _)| position + 1);
        Ok(page.into_iter().map(|(_, value)| value).collect())
    }
}
