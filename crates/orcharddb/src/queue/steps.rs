//! What happens to messages, each step inside of one commit and under the commit lock.
//!
//! An area is read before anything of it is deleted in the same transaction: what its hint says must hold even if the
//! commit is refused.

use super::alarm;
use super::hints::AllHints;
use super::layout::{self, Id, Layout, Message, State, Wishes};
use super::{BACKOFF_DEFAULT, MessageId};
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_engine::engine::Engine;
use orchard_types::{DurationMs, Entry, Expiry, KeyRange, SpaceId, limits};

/// Incoming messages that a lease sorts, beyond those it takes.
const SORTED_AT_ONCE: usize = 1_000;
/// Lanes of incoming messages that a lease looks at when it has found enough.
const LANES_AT_ONCE: u32 = 256;
/// Messages whose attempts are used up that a lease buries.
const BURIED_AT_ONCE: usize = 64;
/// Bytes written by burying in one commit; one larger message is buried alone.
const BURIED_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// What the steps need to know of their queue.
pub(super) struct Steps<'a> {
    pub(super) layout: &'a Layout,
    pub(super) hints: &'a AllHints,
    pub(super) engine: &'a Engine,
}

fn scan(tx: &mut Transaction<'_>, range: KeyRange, limit: usize, reverse: bool) -> Result<Vec<Entry>, Error> {
    tx.scan_in(SpaceId::QUEUES, range, ScanOptions { limit: Some(limit), reverse, ..ScanOptions::default() })
}

impl Steps<'_> {
    /// The first entries of what begins at `start`, up to `end`; what lies before them is never walked over again.
    fn front(
        &self,
        tx: &mut Transaction<'_>,
        area: Bytes,
        end: Bytes,
        limit: usize,
        none_before: Bytes,
    ) -> Result<Vec<Entry>, Error> {
        let start = self.hints.start(&area, self.engine.rollbacks());
        let found = scan(tx, KeyRange { start, end: Some(end) }, limit, false)?;
        let first = found.first().map_or(none_before, |entry| entry.key.clone().into_bytes());
        self.hints.set(area, first);
        Ok(found)
    }

    /// What of a timed area is due, the oldest first.
    fn due(&self, tx: &mut Transaction<'_>, area: u8, limit: usize) -> Result<Vec<Entry>, Error> {
        let end = self.layout.behind(area, tx.now());
        self.front(tx, self.layout.area(area).start, end.clone(), limit, end)
    }

    /// How many lanes of incoming messages there are.
    fn lanes(&self, tx: &mut Transaction<'_>) -> Result<u32, Error> {
        let all = self.layout.all().start;
        let known = self.hints.lanes(&all, self.engine.rollbacks());
        let Ok(first) = u16::try_from(known) else { return Ok(known) };
        let last = scan(tx, self.layout.lanes(first, None), 1, true)?;
        let lanes = last.first().and_then(|entry| self.layout.stamped_id(&entry.key));
        let lanes = lanes.map_or(known, |id| u32::from(id.n) + 1);
        self.hints.set_lanes(all, lanes);
        Ok(lanes)
    }

    /// Puts incoming messages in the order of their ready times. `wanted` of them at least, if there are as many.
    pub(super) fn sort(&self, tx: &mut Transaction<'_>, wanted: usize) -> Result<(), Error> {
        let lanes = self.lanes(tx)?;
        if lanes == 0 {
            return Ok(());
        }
        // Another lane first each time, so that a busy one does not keep the others waiting.
        let first = (tx.now().0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u32 % lanes;
        let budget = wanted + SORTED_AT_ONCE;
        let mut sorted = 0;
        for looked_at in 0..lanes {
            let left = budget - sorted;
            if left == 0 || (looked_at >= LANES_AT_ONCE && sorted >= wanted) {
                break;
            }
            let share = left.div_ceil((lanes - looked_at).min(8) as usize);
            let lane = ((first + looked_at) % lanes) as u16;
            let range = self.layout.lanes(lane, lane.checked_add(1));
            // Whatever comes into the lane later has a later stamp.
            let next = self.layout.stamped(layout::INCOMING, Id { stamp: tx.read_version(), n: lane });
            let end = range.end.unwrap_or_default();
            for entry in self.front(tx, range.start, end, share, next.into_bytes())? {
                sorted += 1;
                tx.delete_in(SpaceId::QUEUES, entry.key.clone());
                let message = layout::read_incoming(&entry);
                let Some((id, message)) = self.layout.stamped_id(&entry.key).zip(message) else { continue };
                self.put(tx, id, message);
            }
        }
        Ok(())
    }

    pub(super) fn message(&self, tx: &mut Transaction<'_>, id: Id) -> Result<Option<Message>, Error> {
        let entry = tx.entry_in(SpaceId::QUEUES, &self.layout.message(id))?;
        Ok(entry.and_then(|entry| Message::read(&entry.value)))
    }

    fn place(&self, id: Id, state: State) -> (u8, orchard_types::Key) {
        match state {
            State::Scheduled(time) => (layout::SCHEDULED, self.layout.timed(layout::SCHEDULED, time, id)),
            State::Leased(time) => (layout::LEASED, self.layout.timed(layout::LEASED, time, id)),
            State::Dead => (layout::DEAD, self.layout.by_id(layout::DEAD, id)),
        }
    }

    /// Writes a message, and where its state puts it.
    pub(super) fn put(&self, tx: &mut Transaction<'_>, id: Id, message: Message) {
        let (area, place) = self.place(id, message.state);
        self.hints.lower(&self.layout.area(area).start, &place);
        let value = match message.state {
            State::Dead => orchard_types::Value::bytes(tx.now().0.to_be_bytes().to_vec()),
            _ => layout::empty(),
        };
        tx.put_in(SpaceId::QUEUES, place, value, Expiry::Never);
        tx.put_in(SpaceId::QUEUES, self.layout.message(id), message.to_value(), Expiry::Never);
        alarm::set(tx, self.layout, id, message);
    }

    /// Takes a message from where its state had put it.
    pub(super) fn take(&self, tx: &mut Transaction<'_>, id: Id, message: Message) {
        tx.delete_in(SpaceId::QUEUES, self.place(id, message.state).1);
        alarm::forget(tx, self.layout, id, message);
    }

    /// Removes all that is left of a message that was taken.
    pub(super) fn forget(&self, tx: &mut Transaction<'_>, id: Id) {
        tx.delete_in(SpaceId::QUEUES, self.layout.message(id));
        tx.delete_in(SpaceId::QUEUES, self.layout.stamped(layout::PAYLOAD, id));
        tx.delete_in(SpaceId::QUEUES, self.layout.stamped(layout::OPTIONS, id));
    }

    fn wishes(&self, tx: &mut Transaction<'_>, id: Id) -> Result<Wishes, Error> {
        let entry = tx.entry_in(SpaceId::QUEUES, &self.layout.stamped(layout::OPTIONS, id))?;
        Ok(entry.and_then(|entry| Wishes::read(&entry.value)).unwrap_or_default())
    }

    /// Makes a dead letter of a message that was taken, and writes its payload where it is wanted then.
    fn bury(&self, tx: &mut Transaction<'_>, id: Id, mut message: Message) -> Result<(), Error> {
        let keys = self.wishes(tx, id)?.keys_if_undelivered;
        if !keys.is_empty()
            && let Some(payload) = tx.entry_in(SpaceId::QUEUES, &self.layout.stamped(layout::PAYLOAD, id))?
        {
            for (space, key) in keys {
                tx.put_in(space, key, payload.value.clone(), Expiry::Never);
            }
        }
        message.state = State::Dead;
        self.put(tx, id, message);
        Ok(())
    }

    /// The same for one that was not taken yet; `false` if that is too much for one commit, whose burials write
    /// `size_bytes` already.
    pub(super) fn bury_within(
        &self,
        tx: &mut Transaction<'_>,
        id: Id,
        message: Message,
        size_bytes: &mut usize,
    ) -> Result<bool, Error> {
        let size = Steps::burial_size_bytes(message);
        if *size_bytes > 0 && *size_bytes + size > BURIED_SIZE_BYTES_MAX {
            return Ok(false);
        }
        *size_bytes += size;
        self.take(tx, id, message);
        self.bury(tx, id, message)?;
        Ok(true)
    }

    /// The wait behind an attempt that ended in a nack.
    fn wait_after(&self, tx: &mut Transaction<'_>, id: Id, attempt: u16) -> Result<DurationMs, Error> {
        let backoff = self.wishes(tx, id)?.backoff;
        let backoff = backoff.as_deref().unwrap_or(&BACKOFF_DEFAULT);
        Ok(backoff.get(usize::from(attempt).saturating_sub(1)).copied().unwrap_or_default())
    }

    /// What burying a message writes, at most.
    fn burial_size_bytes(message: Message) -> usize {
        message.payload_size_bytes as usize * limits::QUEUE_UNDELIVERED_KEYS_MAX
    }

    /// Makes dead letters of messages whose last lease has ended; gives the others whose lease has ended, up to `max`.
    pub(super) fn ended(&self, tx: &mut Transaction<'_>, max: usize) -> Result<Vec<(Id, Message)>, Error> {
        let mut again = Vec::new();
        let (mut buried, mut size_bytes) = (0, 0);
        for entry in self.due(tx, layout::LEASED, max + BURIED_AT_ONCE)? {
            let Some((_, id)) = self.layout.time_and_id(&entry.key) else { continue };
            let Some(message) = self.message(tx, id)? else {
                tx.delete_in(SpaceId::QUEUES, entry.key);
                continue;
            };
            if message.attempt < message.attempts_max {
                if again.len() < max {
                    again.push((id, message));
                }
                continue;
            }
            if buried < BURIED_AT_ONCE && self.bury_within(tx, id, message, &mut size_bytes)? {
                buried += 1;
            }
        }
        Ok(again)
    }
}

/// See [`super::Queue::lease`].
pub(super) fn lease(
    steps: &Steps<'_>,
    tx: &mut Transaction<'_>,
    max: usize,
    visibility: DurationMs,
) -> Result<Vec<(Id, Message)>, Error> {
    let mut ready = steps.ended(tx, max)?;
    steps.sort(tx, max)?;
    if ready.len() < max {
        for entry in steps.due(tx, layout::SCHEDULED, max - ready.len())? {
            let Some((_, id)) = steps.layout.time_and_id(&entry.key) else { continue };
            match steps.message(tx, id)? {
                Some(message) => ready.push((id, message)),
                None => tx.delete_in(SpaceId::QUEUES, entry.key),
            }
        }
    }
    let mut leased: Vec<(Id, Message)> = Vec::with_capacity(ready.len());
    let mut size_bytes = 0;
    for (id, mut message) in ready {
        size_bytes += message.payload_size_bytes as usize;
        if !leased.is_empty() && size_bytes > limits::QUEUE_LEASE_SIZE_BYTES_MAX {
            break;
        }
        steps.take(tx, id, message);
        message.attempt += 1;
        message.state = State::Leased(tx.now().saturating_add(visibility));
        steps.put(tx, id, message);
        leased.push((id, message));
    }
    Ok(leased)
}

/// See [`super::Queue::ack`].
pub(super) fn ack(
    steps: &Steps<'_>,
    tx: &mut Transaction<'_>,
    ids: &[MessageId],
) -> Result<Vec<bool>, Error> {
    let mut acked = Vec::with_capacity(ids.len());
    for id in ids {
        acked.push(match steps.message(tx, id.id)? {
            None | Some(Message { state: State::Dead, .. }) => false,
            Some(message) => {
                steps.take(tx, id.id, message);
                steps.forget(tx, id.id);
                true
            }
        });
    }
    Ok(acked)
}

/// See [`super::Queue::nack`].
pub(super) fn nack(
    steps: &Steps<'_>,
    tx: &mut Transaction<'_>,
    ids: &[MessageId],
    delay: Option<DurationMs>,
) -> Result<Vec<bool>, Error> {
    let mut nacked = Vec::with_capacity(ids.len());
    let mut size_bytes = 0;
    for MessageId { id, attempt } in ids {
        let message = steps
            .message(tx, *id)?
            .filter(|message| matches!(message.state, State::Leased(_)) && message.attempt == *attempt);
        nacked.push(message.is_some());
        let Some(mut message) = message else { continue };
        steps.take(tx, *id, message);
        if message.attempt < message.attempts_max {
            let delay = match delay {
                Some(delay) => delay,
                None => steps.wait_after(tx, *id, message.attempt)?,
            };
            message.state = State::Scheduled(tx.now().saturating_add(delay));
            steps.put(tx, *id, message);
            continue;
        }
        let size = Steps::burial_size_bytes(message);
        if size_bytes == 0 || size_bytes + size <= BURIED_SIZE_BYTES_MAX {
            size_bytes += size;
            steps.bury(tx, *id, message)?;
        } else {
            // Too much for one commit: its lease ends now, and another buries it.
            message.state = State::Leased(tx.now());
            steps.put(tx, *id, message);
        }
    }
    Ok(nacked)
}
