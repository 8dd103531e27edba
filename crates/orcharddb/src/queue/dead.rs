//! Dead letters: messages whose attempts are used up. They stay until somebody requeues or purges them.

use super::layout::{self, Id, Message, State};
use super::{Gated, MessageId, Queue, check_count, steps};
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use orchard_types::{KeyRange, SpaceId, UnixMillis, Value, limits};

/// A message that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeadLetter {
    /// For requeue and purge.
    pub id: MessageId,
    /// As it was given.
    pub payload: Value,
    /// How often it was leased.
    pub attempts: u16,
    /// When it was given up.
    pub died_at: UnixMillis,
}

impl Queue {
    /// Dead letters behind `after` in the order of their enqueueing, up to `limit`.
    ///
    /// # Errors
    /// [`Error::Queue`], [`Error::Read`] or [`Error::Commit`]
    pub fn dead(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<DeadLetter>, Error> {
        check_count(limit)?;
        // A message whose last lease has ended is one, even if the background has not got to it.
        let (_, pending) =
            self.db.exclusive(|tx| self.steps().ended(tx, limits::QUEUE_MESSAGES_MAX).map(drop))?;
        pending.wait()?;
        let snapshot = self.db.snapshot();
        let mut range = self.layout.area(layout::DEAD);
        if let Some(MessageId { id: Id { stamp, n }, .. }) = after {
            let next = match n.checked_add(1) {
                Some(n) => Id { stamp, n },
                None => {
                    Id { stamp: orchard_types::Versionstamp::from_raw(stamp.raw().saturating_add(1)), n: 0 }
                }
            };
            range = KeyRange { start: self.layout.by_id(layout::DEAD, next).into_bytes(), end: range.end };
        }
        let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
        let mut letters = Vec::new();
        for entry in snapshot.scan_in(SpaceId::QUEUES, range, options) {
            let entry = entry?;
            let Some(id) = self.layout.dead_id(&entry.key) else { continue };
            let message = snapshot.get_in(SpaceId::QUEUES, &self.layout.message(id))?;
            let attempt = message.and_then(|entry| Message::read(&entry.value)).map_or(0, |it| it.attempt);
            let payload = snapshot.get_in(SpaceId::QUEUES, &self.layout.stamped(layout::PAYLOAD, id))?;
            letters.push(DeadLetter {
                id: MessageId { id, attempt },
                payload: payload.map(|entry| entry.value).unwrap_or_default(),
                attempts: attempt,
                died_at: UnixMillis(
                    entry.value.data.as_ref().try_into().map(u64::from_be_bytes).unwrap_or_default(),
                ),
            });
        }
        Ok(letters)
    }

    /// Puts dead letters back into the queue, ready now, with all their attempts. `false` for those that are none.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn requeue(&self, ids: &[MessageId]) -> Result<Gated<Vec<bool>>, Error> {
        self.each_dead(ids, |steps, tx, id, message| {
            let state = State::Scheduled(tx.now());
            steps.put(tx, id, Message { state, attempt: 0, ..message });
        })
    }

    /// Removes dead letters for good. `false` for those that are none.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Commit`]
    pub fn purge(&self, ids: &[MessageId]) -> Result<Gated<Vec<bool>>, Error> {
        self.each_dead(ids, |steps, tx, id, _| steps.forget(tx, id))
    }

    fn each_dead(
        &self,
        ids: &[MessageId],
        step: impl Fn(&steps::Steps<'_>, &mut Transaction<'_>, Id, Message),
    ) -> Result<Gated<Vec<bool>>, Error> {
        check_count(ids.len())?;
        let steps = self.steps();
        let done = self.db.exclusive(|tx| {
            let mut found = Vec::with_capacity(ids.len());
            for MessageId { id, .. } in ids {
                let message = steps.message(tx, *id)?.filter(|message| message.state == State::Dead);
                found.push(message.is_some());
                if let Some(message) = message {
                    steps.take(tx, *id, message);
                    step(&steps, tx, *id, message);
                }
            }
            Ok::<_, Error>(found)
        })?;
        Ok(Gated::new(done))
    }
}
