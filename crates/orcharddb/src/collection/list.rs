//! Lists: values in an order of their own, reachable from both ends and by position.
//!
//! - Elements stand at positions [`STRIDE`] apart, so both ends grow without touching what is there. As long as nothing
//!   was put into or taken from the middle, the n-th element is found by its position; after that it is walked to from
//!   the nearer end.
//! - An insert between two neighbours takes the middle of the gap. When a gap is used up, the elements around it are spread
//!   again: the smallest neighbourhood that has room, of at most [`SPREAD_ELEMENTS_MAX`].

mod pages;

pub use pages::ListPages;

use super::layout::{self, Layout};
use super::view::View;
use crate::error::{CollectionError, Error};
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use orchard_types::{CollectionId, Expiry, Key, KeyRange, SpaceId, Value, ValueType};

/// Distance of neighbours.
pub(super) const STRIDE: i64 = 1 << 16;
/// Most elements that one insert moves on each side.
const SPREAD_ELEMENTS_MAX: usize = 16_384;
/// Elements looked at at once by a search.
const PAGE: usize = 256;
/// Elements up to which a pop deletes one by one rather than a range.
const SINGLE_DELETES_MAX: usize = 64;

#[derive(Debug, Clone)]
enum State {
    Packed(Vec<Value>),
    Elements(Spread),
}

/// A header: where the elements stand.
#[derive(Debug, Clone, Copy)]
struct Spread {
    id: CollectionId,
    count: u64,
    head: i64,
    tail: i64,
    is_even: bool,
}

/// A list, read through a snapshot or a transaction. It is absent exactly if it is empty.
///
/// ```
/// use orcharddb::Db;
/// let db = Db::memory()?;
/// db.transact(|tx| {
///     let mut list = tx.list("todo")?;
///     list.push_back("water the trees")?;
///     list.push_back("pick apples")?;
///     list.push_front("get up")?;
///     assert_eq!(list.pop_front()?, Some("get up".into()));
///     Ok(())
/// })?;
/// assert_eq!(db.list("todo").range(0, -1)?, ["water the trees".into(), "pick apples".into()]);
/// # Ok::<(), orcharddb::Error>(())
/// ```
pub struct List<V> {
    view: V,
    space: SpaceId,
    key: Key,
    state: State,
}

/// Positions `start..=stop`, negative ones from the end, as (first, number) within `length`.
pub(super) fn clamp(start: i64, stop: i64, length: u64) -> (u64, u64) {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let from_end = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let first = from_end(start).max(0);
    let last = from_end(stop).min(length - 1);
    if first > last { (0, 0) } else { (first as u64, (last - first + 1) as u64) }
}

impl<V: View> List<V> {
    pub(super) fn open(mut view: V, space: SpaceId, key: Key) -> Result<List<V>, Error> {
        let state = match view.entry(space, &key)? {
            None => State::Packed(Vec::new()),
            Some(entry) => match layout::open(&entry, ValueType::List)? {
                Layout::Packed(mut reader) => {
                    let mut values = Vec::new();
                    while !reader.is_empty() {
                        values.push(reader.value()?);
                    }
                    State::Packed(values)
                }
                Layout::Elements(id, count, mut reader) => State::Elements(Spread {
                    id,
                    count,
                    head: i64::from_le_bytes(reader.word()?),
                    tail: i64::from_le_bytes(reader.word()?),
                    is_even: reader.byte()? == 1,
                }),
            },
        };
        Ok(List { view, space, key, state })
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        match &self.state {
            State::Packed(values) => values.len() as u64,
            State::Elements(spread) => spread.count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether nothing is at its key; a list that has lost its last element is not there either.
    pub fn is_absent(&self) -> bool {
        self.is_empty()
    }

    /// Whether the list is one value.
    pub fn is_packed(&self) -> bool {
        matches!(self.state, State::Packed(_))
    }

    /// The element at `index`; negative ones count from the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn get(&mut self, index: i64) -> Result<Option<Value>, Error> {
        Ok(self.range(index, index)?.pop())
    }

    /// The elements `start..=stop`; negative positions count from the end. Costs what it returns, and where the middle was
    /// changed also the way from the nearer end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn range(&mut self, start: i64, stop: i64) -> Result<Vec<Value>, Error> {
        if start == stop
            && (start >= i64::try_from(self.len()).unwrap_or(i64::MAX)
                || start < 0 && start.unsigned_abs() > self.len())
        {
            return Ok(Vec::new());
        }
        let (first, number) = clamp(start, stop, self.len());
        Ok(self.run(first, number)?.into_iter().map(|(_, value)| value).collect())
    }

    /// Visits elements and their indexes, from the front or the back, until `visit` says stop (`false`).
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn visit(&mut self, reverse: bool, mut visit: impl FnMut(u64, &Value) -> bool) -> Result<(), Error> {
        self.walk(reverse, |index, _, value| visit(index, value))
    }

    /// As `visit`, with each element's position.
    fn walk(&mut self, reverse: bool, mut visit: impl FnMut(u64, i64, &Value) -> bool) -> Result<(), Error> {
        let spread = match &self.state {
            State::Packed(values) => {
                let mut all = values.iter().enumerate();
                let mut visit = |(index, value): (usize, &Value)| visit(index as u64, index as i64, value);
                let _ = if reverse { all.rev().all(visit) } else { all.all(&mut visit) };
                return Ok(());
            }
            State::Elements(spread) => *spread,
        };
        let mut number = 0;
        let (mut from, mut to) = (spread.head, spread.tail);
        loop {
            let page = self.page(spread.id, from, to, reverse, PAGE)?;
            let is_last = page.len() < PAGE;
            for (position, value) in page {
                let index = if reverse { spread.count.saturating_sub(number + 1) } else { number };
                if !visit(index, position, &value) {
                    return Ok(());
                }
                number += 1;
                (from, to) = if reverse { (from, position - 1) } else { (position + 1, to) };
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// At most `limit` elements at positions `from..=to`.
    fn page(
        &mut self,
        id: CollectionId,
        from: i64,
        to: i64,
        reverse: bool,
        limit: usize,
    ) -> Result<Vec<(i64, Value)>, Error> {
        self.entries(id, from, to, ScanOptions { reverse, limit: Some(limit), ..ScanOptions::default() })
    }

    fn entries(
        &mut self,
        id: CollectionId,
        from: i64,
        to: i64,
        options: ScanOptions,
    ) -> Result<Vec<(i64, Value)>, Error> {
        if from > to {
            return Ok(Vec::new());
        }
        let entries = self.view.entries(SpaceId::ELEMENTS, positions(id, from, to), options)?;
        entries.into_iter().map(|entry| Ok((layout::position_of(&entry.key)?, entry.value))).collect()
    }

    /// The position of the element at `index`, which is there.
    fn position(&mut self, spread: Spread, index: u64) -> Result<i64, Error> {
        if spread.is_even {
            return Ok(spread.head + i64::try_from(index).unwrap_or(i64::MAX).saturating_mul(STRIDE));
        }
        let from_back = spread.count - 1 - index;
        let reverse = from_back < index;
        let steps = if reverse { from_back } else { index };
        let limit = usize::try_from(steps).unwrap_or(usize::MAX).saturating_add(1);
        let options = ScanOptions { reverse, limit: Some(limit), keys_only: true, ..ScanOptions::default() };
        let way = self.entries(spread.id, spread.head, spread.tail, options)?;
        way.last()
            .map(|(position, _)| *position)
            .ok_or_else(|| damaged("it has fewer elements than it counts"))
    }

    /// `number` elements from index `first`, with their positions.
    fn run(&mut self, first: u64, number: u64) -> Result<Vec<(i64, Value)>, Error> {
        if number == 0 {
            return Ok(Vec::new());
        }
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        match &self.state {
            State::Packed(values) => {
                let all = values.iter().cloned().enumerate().skip(first as usize).take(count);
                Ok(all.map(|(index, value)| (index as i64, value)).collect())
            }
            State::Elements(spread) => {
                let spread = *spread;
                let from = self.position(spread, first)?;
                self.page(spread.id, from, spread.tail, false, count)
            }
        }
    }
}

fn damaged(detail: &str) -> Error {
    CollectionError::Damaged(detail.to_owned()).into()
}

fn positions(id: CollectionId, from: i64, to: i64) -> KeyRange {
    let start = layout::key(id, &[&layout::position_bytes(from)]).into_bytes();
    let end = match to.checked_add(1) {
        Some(behind) => Some(layout::key(id, &[&layout::position_bytes(behind)]).into_bytes()),
        None => KeyRange::prefix(id.as_ref()).end,
    };
    KeyRange { start, end }
}

fn element_key(id: CollectionId, position: i64) -> Key {
    layout::key(id, &[&layout::position_bytes(position)])
}

impl List<&mut Transaction<'_>> {
    /// Appends an element.
    ///
    /// # Errors
    /// [`Error::Collection`] if it is a collection itself, [`Error::Read`]
    pub fn push_back(&mut self, value: impl Into<Value>) -> Result<(), Error> {
        self.extend([value.into()], false)
    }

    /// Prepends an element.
    ///
    /// # Errors
    /// As [`List::push_back`].
    pub fn push_front(&mut self, value: impl Into<Value>) -> Result<(), Error> {
        self.extend([value.into()], true)
    }

    /// Appends (or, with `front`, prepends) one element after the other.
    ///
    /// # Errors
    /// As [`List::push_back`].
    pub fn extend(&mut self, values: impl IntoIterator<Item = Value>, front: bool) -> Result<(), Error> {
        let mut left = Vec::new();
        for value in values {
            layout::check_value(&value)?;
            match &mut self.state {
                State::Packed(values) if front => values.insert(0, value),
                State::Packed(values) => values.push(value),
                State::Elements(_) => left.push(value),
            }
        }
        for value in left {
            let State::Elements(spread) = &mut self.state else { break };
            let full = || Error::from(CollectionError::ListFull);
            let position = if front {
                spread.head = spread.head.checked_sub(STRIDE).ok_or_else(full)?;
                spread.head
            } else {
                spread.tail = spread.tail.checked_add(STRIDE).ok_or_else(full)?;
                spread.tail
            };
            spread.count += 1;
            let key = element_key(spread.id, position);
            self.view.put_in(SpaceId::ELEMENTS, key, value, Expiry::Never);
        }
        self.save()
    }

    /// Takes the first element out.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pop_front(&mut self) -> Result<Option<Value>, Error> {
        Ok(self.pop(1, false)?.pop())
    }

    /// Takes the last element out.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pop_back(&mut self) -> Result<Option<Value>, Error> {
        Ok(self.pop(1, true)?.pop())
    }

    /// Takes at most `number` elements out, the first ones in their order, or the last ones from the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn pop(&mut self, number: u64, back: bool) -> Result<Vec<Value>, Error> {
        let number = number.min(self.len());
        if number == 0 {
            return Ok(Vec::new());
        }
        let count = usize::try_from(number).unwrap_or(usize::MAX);
        let popped = match &mut self.state {
            State::Packed(values) => {
                if back {
                    let mut popped = values.split_off(values.len() - count);
                    popped.reverse();
                    popped
                } else {
                    values.drain(..count).collect()
                }
            }
            State::Elements(spread) => {
                let spread = *spread;
                // One more: the next end, unless its position is known.
                let limit = count.saturating_add(usize::from(!spread.is_even));
                let mut popped = self.page(spread.id, spread.head, spread.tail, back, limit)?;
                let next = if spread.is_even { None } else { popped.get(count).map(|(at, _)| *at) };
                popped.truncate(count);
                let last = popped.last().map_or(spread.head, |(position, _)| *position);
                let (from, to) = if back { (last, spread.tail) } else { (spread.head, last) };
                let positions: Vec<i64> = popped.iter().map(|(position, _)| *position).collect();
                self.delete_run(spread.id, from, to, &positions);
                if let State::Elements(spread) = &mut self.state {
                    spread.count -= number;
                    if back {
                        spread.tail = next.unwrap_or(last.saturating_sub(STRIDE));
                    } else {
                        spread.head = next.unwrap_or(last.saturating_add(STRIDE));
                    }
                }
                popped.into_iter().map(|(_, value)| value).collect()
            }
        };
        self.save()?;
        Ok(popped)
    }

    /// Deletes elements that stand next to each other, at `from..=to`.
    fn delete_run(&mut self, id: CollectionId, from: i64, to: i64, known: &[i64]) {
        if !known.is_empty() && known.len() <= SINGLE_DELETES_MAX {
            for position in known {
                self.view.delete_in(SpaceId::ELEMENTS, element_key(id, *position));
            }
        } else if from <= to {
            self.view.delete_range_in(SpaceId::ELEMENTS, positions(id, from, to));
        }
    }

    /// Replaces the element at `index`; negative ones count from the end. `false` if there is none.
    ///
    /// # Errors
    /// As [`List::push_back`].
    pub fn set(&mut self, index: i64, value: impl Into<Value>) -> Result<bool, Error> {
        let value = value.into();
        layout::check_value(&value)?;
        let length = i64::try_from(self.len()).unwrap_or(i64::MAX);
        let index = if index < 0 { index.saturating_add(length) } else { index };
        if !(0..length).contains(&index) {
            return Ok(false);
        }
        match &mut self.state {
            State::Packed(values) => {
                if let Some(place) = values.get_mut(index as usize) {
                    *place = value;
                }
            }
            State::Elements(spread) => {
                let spread = *spread;
                let position = self.position(spread, index as u64)?;
                self.view.put_in(SpaceId::ELEMENTS, element_key(spread.id, position), value, Expiry::Never);
            }
        }
        self.save()?;
        Ok(true)
    }

    /// Puts an element in front of the first one that `is_pivot` accepts, or with `after` behind it. `false` if there is
    /// none. Costs the way to it.
    ///
    /// # Errors
    /// As [`List::push_back`].
    pub fn insert_at(
        &mut self,
        after: bool,
        value: impl Into<Value>,
        mut is_pivot: impl FnMut(&Value) -> bool,
    ) -> Result<bool, Error> {
        let value = value.into();
        layout::check_value(&value)?;
        let mut found = None;
        self.walk(false, |index, position, value| {
            if is_pivot(value) {
                found = Some((index, position));
            }
            found.is_none()
        })?;
        let Some((index, position)) = found else { return Ok(false) };
        match &mut self.state {
            State::Packed(values) => values.insert(index as usize + usize::from(after), value),
            State::Elements(spread) => {
                let spread = *spread;
                let at_end = if after { index + 1 == spread.count } else { index == 0 };
                if at_end {
                    self.extend([value], !after)?;
                    return Ok(true);
                }
                let neighbour = if after {
                    self.page(spread.id, position + 1, spread.tail, false, 1)?
                } else {
                    self.page(spread.id, spread.head, position - 1, true, 1)?
                };
                let (neighbour, _) =
                    neighbour.first().ok_or_else(|| damaged("it has fewer elements than it counts"))?;
                let (before, behind) = (position.min(*neighbour), position.max(*neighbour));
                if let State::Elements(spread) = &mut self.state {
                    spread.count += 1;
                    spread.is_even = false;
                }
                let between = before + (behind - before) / 2;
                if between > before {
                    let key = element_key(spread.id, between);
                    self.view.put_in(SpaceId::ELEMENTS, key, value, Expiry::Never);
                } else {
                    self.spread_again(spread, before, behind, value)?;
                }
            }
        }
        self.save()?;
        Ok(true)
    }

    /// Puts `value` between two neighbours without a gap: moves those around.
    fn spread_again(&mut self, spread: Spread, before: i64, behind: i64, value: Value) -> Result<(), Error> {
        let mut reach = 16;
        loop {
            // One more on each side, that stays where it is.
            let mut front = self.page(spread.id, spread.head, before, true, reach + 1)?;
            let mut back = self.page(spread.id, behind, spread.tail, false, reach + 1)?;
            let stays = |run: &mut Vec<(i64, Value)>| if run.len() > reach { run.pop() } else { None };
            let (front_stays, back_stays) = (stays(&mut front), stays(&mut back));
            let (moves_head, moves_tail) = (front_stays.is_none(), back_stays.is_none());
            let moved = front.len() + back.len() + 1;
            let room = |run: &[(i64, Value)]| STRIDE.saturating_mul(run.len() as i64 + 1);
            let low = front_stays.map_or(before.saturating_sub(room(&front)), |(at, _)| at);
            let high = back_stays.map_or(behind.saturating_add(room(&back)), |(at, _)| at);
            let step = (high - low) / (moved as i64 + 1);
            if step < 2 {
                if reach >= SPREAD_ELEMENTS_MAX {
                    return Err(CollectionError::ListFull.into());
                }
                reach *= 4;
                continue;
            }
            for (position, _) in front.iter().chain(&back) {
                self.view.delete_in(SpaceId::ELEMENTS, element_key(spread.id, *position));
            }
            let front_values = front.into_iter().rev().map(|(_, value)| value);
            let values = front_values.chain([value]).chain(back.into_iter().map(|(_, value)| value));
            let mut position = low;
            let mut first = None;
            for value in values {
                position += step;
                first.get_or_insert(position);
                let key = element_key(spread.id, position);
                self.view.put_in(SpaceId::ELEMENTS, key, value, Expiry::Never);
            }
            if let State::Elements(spread) = &mut self.state {
                if moves_head {
                    spread.head = first.unwrap_or(spread.head);
                }
                if moves_tail {
                    spread.tail = position;
                }
            }
            return Ok(());
        }
    }

    /// Takes out the elements that `is_wanted` accepts: the first `limit` of them, with `reverse` the last, 0: all. Returns
    /// how many. Costs the way to them.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn remove(
        &mut self,
        limit: u64,
        reverse: bool,
        mut is_wanted: impl FnMut(&Value) -> bool,
    ) -> Result<u64, Error> {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let mut found = Vec::new();
        self.walk(reverse, |_, position, value| {
            if is_wanted(value) {
                found.push(position);
            }
            (found.len() as u64) < limit
        })?;
        if found.is_empty() {
            return Ok(0);
        }
        match &mut self.state {
            State::Packed(values) => {
                let mut index = 0;
                values.retain(|_| {
                    index += 1;
                    !found.contains(&(index - 1))
                });
            }
            State::Elements(spread) => {
                let spread = *spread;
                for position in &found {
                    self.view.delete_in(SpaceId::ELEMENTS, element_key(spread.id, *position));
                }
                let count = spread.count - found.len() as u64;
                if count > 0 {
                    let end = |list: &mut Self, reverse| {
                        let end = list.page(spread.id, spread.head, spread.tail, reverse, 1)?;
                        end.first()
                            .map(|(at, _)| *at)
                            .ok_or_else(|| damaged("it has fewer elements than it counts"))
                    };
                    let (head, tail) = (end(self, false)?, end(self, true)?);
                    let is_even = spread.is_even && (tail - head) / STRIDE == count as i64 - 1;
                    self.state = State::Elements(Spread { head, tail, count, is_even, ..spread });
                } else {
                    self.state = State::Packed(Vec::new());
                }
            }
        }
        self.save()?;
        Ok(found.len() as u64)
    }

    /// Keeps the elements `start..=stop` only; negative positions count from the end.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn trim(&mut self, start: i64, stop: i64) -> Result<(), Error> {
        let (first, number) = clamp(start, stop, self.len());
        if number == self.len() {
            return Ok(());
        }
        match &mut self.state {
            State::Packed(values) => {
                values.truncate((first + number) as usize);
                values.drain(..(first as usize).min(values.len()));
            }
            State::Elements(_) if number == 0 => self.state = State::Packed(Vec::new()),
            State::Elements(spread) => {
                let spread = *spread;
                let head = self.position(spread, first)?;
                let tail = self.position(spread, first + number - 1)?;
                self.delete_run(spread.id, spread.head, head - 1, &[]);
                self.delete_run(spread.id, tail + 1, spread.tail, &[]);
                self.state = State::Elements(Spread { head, tail, count: number, ..spread });
            }
        }
        self.save()
    }

    /// Writes value or header; the expiry stays.
    fn save(&mut self) -> Result<(), Error> {
        if self.is_empty() {
            self.state = State::Packed(Vec::new());
            self.view.delete_in(self.space, self.key.clone());
            return Ok(());
        }
        if let State::Packed(values) = &self.state {
            let mut bytes = layout::packed();
            values.iter().for_each(|value| layout::push_value(&mut bytes, value));
            if layout::fits(values.len(), &bytes) {
                self.put(bytes);
                return Ok(());
            }
            let id = self.view.new_collection_id();
            let count = values.len() as u64;
            for (index, value) in values.iter().enumerate() {
                let key = element_key(id, index as i64 * STRIDE);
                self.view.put_in(SpaceId::ELEMENTS, key, value.clone(), Expiry::Never);
            }
            let tail = (count as i64 - 1) * STRIDE;
            self.state = State::Elements(Spread { id, count, head: 0, tail, is_even: true });
        }
        if let State::Elements(spread) = &self.state {
            let mut header = layout::header(spread.id, spread.count);
            header.extend_from_slice(&spread.head.to_le_bytes());
            header.extend_from_slice(&spread.tail.to_le_bytes());
            header.push(u8::from(spread.is_even));
            self.put(header);
        }
        Ok(())
    }

    fn put(&mut self, data: Vec<u8>) {
        let value = Value::new(ValueType::List, data);
        self.view.put_in(self.space, self.key.clone(), value, Expiry::Keep);
    }
}
