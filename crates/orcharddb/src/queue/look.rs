//! Looking at a queue without changing it.

use super::alarm;
use super::layout::{self, Id, Message, State};
use super::{Delivery, Queue, QueueStats, check_count};
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::snapshot::Snapshot;
use orchard_engine::error::ReadError;
use orchard_types::{Entry, KeyRange, SpaceId, UnixMillis};

/// Incoming messages whose times are looked at for the numbers of a queue.
const INCOMING_COUNTED: usize = 1_000;

impl Queue {
    /// The first entries of an area, from where it begins.
    fn front_of(&self, snapshot: &Snapshot, area: KeyRange, limit: usize) -> Result<Vec<Entry>, ReadError> {
        let start = self.db.shared.queue_hints.start(&area.start, self.db.engine().rollbacks());
        let options = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
        snapshot.scan_in(SpaceId::QUEUES, KeyRange { start, end: area.end }, options).collect()
    }

    /// The messages that come next, and those that come later, up to `limit`; nobody is kept from leasing them.
    ///
    /// # Errors
    /// [`Error::Queue`] or [`Error::Read`]
    pub fn peek(&self, limit: usize) -> Result<Vec<Delivery>, Error> {
        check_count(limit)?;
        let snapshot = self.db.snapshot();
        let mut found: Vec<(Id, Message)> = Vec::new();
        for entry in self.front_of(&snapshot, self.layout.area(layout::SCHEDULED), limit)? {
            let Some((_, id)) = self.layout.time_and_id(&entry.key) else { continue };
            let message = snapshot.get_in(SpaceId::QUEUES, &self.layout.message(id))?;
            let message = message.and_then(|entry| Message::read(&entry.value));
            found.extend(message.map(|message| (id, message)));
        }
        for entry in self.front_of(&snapshot, self.layout.area(layout::INCOMING), limit)? {
            found.extend(self.layout.stamped_id(&entry.key).zip(layout::read_incoming(&entry)));
        }
        found.sort_by_key(|(id, message)| match message.state {
            State::Scheduled(time) | State::Leased(time) => (time, *id),
            State::Dead => (UnixMillis(0), *id),
        });
        found.truncate(limit);
        Ok(self.deliveries(found)?)
    }

    /// How many messages are where. Summed, not counted one by one; of the messages that no lease has looked at the first
    /// 1,000 are told apart by their times, the rest is taken for ready. Ready are also those whose lease has ended, but
    /// for those that it was the last attempt of: they are dead.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn stats(&self) -> Result<QueueStats, Error> {
        let snapshot = self.db.snapshot();
        let now = snapshot.time();
        let count = |range: &KeyRange| snapshot.count_in(SpaceId::QUEUES, range);
        let parted = |area| {
            let all = self.layout.area(area);
            let behind = self.layout.behind(area, now);
            let due = KeyRange { start: all.start, end: Some(behind.clone()) };
            Ok::<_, Error>((count(&due)?, count(&KeyRange { start: behind, end: all.end })?))
        };
        let (scheduled_ready, scheduled_later) = parted(layout::SCHEDULED)?;
        let (ended, leased) = parted(layout::LEASED)?;
        let incoming = count(&self.layout.area(layout::INCOMING))?;
        let looked_at = self.front_of(&snapshot, self.layout.area(layout::INCOMING), INCOMING_COUNTED)?;
        let later = looked_at.iter().filter_map(layout::read_incoming);
        let later =
            later.filter(|it| matches!(it.state, State::Scheduled(time) if time > now)).count() as u64;
        // Their last lease has ended: the background is about to bury them.
        let dying = alarm::count_due(&snapshot, &self.layout)?.min(ended);
        Ok(QueueStats {
            ready: scheduled_ready + (ended - dying) + incoming.saturating_sub(later),
            delayed: scheduled_later + later,
            leased,
            dead: count(&self.layout.area(layout::DEAD))? + dying,
        })
    }

    /// When the next message is ready, if nobody enqueues one meanwhile: a consumer that found none may sleep until
    /// then. At once if something may be ready now.
    ///
    /// # Errors
    /// [`Error::Read`]
    pub fn next_due(&self) -> Result<Option<UnixMillis>, Error> {
        let snapshot = self.db.snapshot();
        if !self.front_of(&snapshot, self.layout.area(layout::INCOMING), 1)?.is_empty() {
            return Ok(Some(snapshot.time()));
        }
        let mut next = None;
        for area in [layout::SCHEDULED, layout::LEASED] {
            let first = self.front_of(&snapshot, self.layout.area(area), 1)?;
            let time =
                first.first().and_then(|entry| self.layout.time_and_id(&entry.key)).map(|(time, _)| time);
            next = [next, time].into_iter().flatten().min();
        }
        Ok(next)
    }
}
