//! Last leases: what makes a message whose attempts are used up a dead letter when its lease ends, though nobody leases.
//!
//! ```text
//! alarm   end of the lease (8 bytes BE), id (10 bytes), name of the queue as a string part -> empty        in SpaceId::ALARMS
//! ```
//!
//! - A message has an alarm exactly while it is with a consumer for the last time; the same commits write both.
//! - What is due is done by the background, as the removal of elements that have expired: by the same commits.

use super::hints::AllHints;
use super::layout::{self, Id, Layout, Message, State};
use super::steps::Steps;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::snapshot::Snapshot;
use crate::transaction::Transaction;
use bytes::{BufMut, BytesMut};
use orchard_engine::engine::Engine;
use orchard_types::{Entry, Expiry, Key, KeyRange, SpaceId, UnixMillis};

/// Length of what stands before a queue's name.
const BEFORE_NAME: usize = 8 + layout::ID_SIZE_BYTES;

/// When the alarm of a message goes off, if it has one.
fn time(message: Message) -> Option<UnixMillis> {
    match message.state {
        State::Leased(until) if message.attempt >= message.attempts_max => Some(until),
        _ => None,
    }
}

fn key(layout: &Layout, until: UnixMillis, id: Id) -> Key {
    let mut bytes = BytesMut::with_capacity(BEFORE_NAME + layout.prefix().len());
    bytes.put_u64(until.0);
    layout::put_id(&mut bytes, id);
    bytes.put_slice(layout.prefix());
    // A name is far shorter than a key may be.
    Key::new(bytes.freeze()).unwrap_or_default()
}

/// A message was put where its state says.
pub(super) fn set(tx: &mut Transaction<'_>, layout: &Layout, id: Id, message: Message) {
    if let Some(until) = time(message) {
        tx.put_in(SpaceId::ALARMS, key(layout, until, id), layout::empty(), Expiry::Never);
    }
}

/// A message was taken from where its state had put it.
pub(super) fn forget(tx: &mut Transaction<'_>, layout: &Layout, id: Id, message: Message) {
    if let Some(until) = time(message) {
        tx.delete_in(SpaceId::ALARMS, key(layout, until, id));
    }
}

/// The alarms up to a time.
fn due(now: UnixMillis) -> KeyRange {
    let end = now.0.saturating_add(1).to_be_bytes().to_vec();
    KeyRange { start: bytes::Bytes::new(), end: Some(end.into()) }
}

/// How many messages of a queue the background is about to bury.
pub(super) fn count_due(snapshot: &Snapshot, layout: &Layout) -> Result<u64, Error> {
    let options = ScanOptions { keys_only: true, ..ScanOptions::default() };
    let mut count = 0;
    for entry in snapshot.scan_in(SpaceId::ALARMS, due(snapshot.time()), options) {
        count += u64::from(entry?.key.get(BEFORE_NAME..) == Some(layout.prefix()));
    }
    Ok(count)
}

/// The last lease of a message has ended.
pub(crate) struct LastLease {
    layout: Layout,
    id: Id,
}

impl LastLease {
    /// Reads an alarm; `None` if it is of something else.
    pub(crate) fn of(entry: &Entry) -> Option<LastLease> {
        let name = entry.key.get(BEFORE_NAME..).filter(|name| !name.is_empty())?;
        let id = layout::read_id(&mut entry.key.get(8..BEFORE_NAME)?)?;
        Some(LastLease { layout: Layout::new(bytes::Bytes::copy_from_slice(name)), id })
    }

    /// Makes a dead letter of the message, if it is still so; `false` if that is too much beside the `size_bytes` that the
    /// commit has already.
    pub(crate) fn bury(
        &self,
        tx: &mut Transaction<'_>,
        engine: &Engine,
        hints: &AllHints,
        size_bytes: &mut usize,
    ) -> Result<bool, Error> {
        let steps = Steps { layout: &self.layout, hints, engine };
        match steps.message(tx, self.id)? {
            Some(message) if time(message).is_some_and(|until| until <= tx.now()) => {
                steps.bury_within(tx, self.id, message, size_bytes)
            }
            _ => Ok(true),
        }
    }
}
