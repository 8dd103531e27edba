//! What is to happen at a time without anybody asking: elements that have expired are taken away, collection by collection
//! as their alarms are due, and messages whose last lease has ended become dead letters.

use super::expiring::{Alarm, due_alarms, has_lifetimes};
use super::{Hash, Set, ZSet, layout};
use crate::error::Error;
use crate::expired::Expired;
use crate::queue::{AllHints, LastLease};
use crate::scan::ScanOptions;
use crate::transaction::{Transaction, exclusive};
use orchard_engine::commit::Submitted;
use orchard_engine::engine::Engine;
use orchard_types::{CollectionId, SpaceId, ValueType};

/// Submits what is due, about `limit` elements and messages, and tells of which collections elements were taken away. `None`
/// if nothing is due.
pub(crate) fn clean_expired(
    engine: &Engine,
    hints: &AllHints,
    limit: usize,
) -> Option<(Submitted, Vec<Expired>)> {
    let is_due = {
        let snapshot = engine.snapshot();
        let mut tx = Transaction::new(engine, &snapshot, true);
        let first = ScanOptions { limit: Some(1), keys_only: true, ..ScanOptions::default() };
        let due = tx.scan_in(SpaceId::ALARMS, due_alarms(snapshot.time()), first);
        due.is_ok_and(|due| !due.is_empty())
    };
    if !is_due {
        return None;
    }
    let mut cleaned = Vec::new();
    let submitted = exclusive(engine, |tx| clean(engine, hints, tx, limit, &mut cleaned));
    submitted.ok().map(|submitted| (submitted, cleaned))
}

fn clean(
    engine: &Engine,
    hints: &AllHints,
    tx: &mut Transaction<'_>,
    limit: usize,
    cleaned: &mut Vec<Expired>,
) -> Result<(), Error> {
    cleaned.clear();
    let mut buried_size_bytes = 0;
    let mut room = u64::try_from(limit).unwrap_or(u64::MAX);
    let some = ScanOptions { limit: Some(limit), ..ScanOptions::default() };
    for entry in tx.scan_in(SpaceId::ALARMS, due_alarms(tx.now()), some)? {
        if let Some(last) = LastLease::of(&entry) {
            if room == 0 || !last.bury(tx, engine, hints, &mut buried_size_bytes)? {
                break;
            }
            tx.delete_in(SpaceId::ALARMS, entry.key.clone());
            room -= 1;
            continue;
        }
        // The next one is set with the header, if there is to be one.
        tx.delete_in(SpaceId::ALARMS, entry.key.clone());
        let Some(alarm) = Alarm::of(&entry) else { continue };
        let Some(value_type) = held_type(tx, &alarm)? else { continue };
        let Alarm { space, place: key, .. } = alarm;
        let at_most = usize::try_from(room).unwrap_or(0);
        let removed = match value_type {
            ValueType::Set => Set::open(&mut *tx, space, key.clone())?.remove_expired(at_most)?,
            ValueType::ZSet => ZSet::open(&mut *tx, space, key.clone())?.remove_expired(at_most)?,
            _ => Hash::open(&mut *tx, space, key.clone())?.remove_expired(at_most)?,
        };
        room = room.saturating_sub(removed.max(1));
        if removed > 0 {
            let is_gone = tx.entry_in(space, &key)?.is_none();
            cleaned.push(Expired { space, key, is_whole: false, is_gone });
        }
        if room == 0 {
            break;
        }
    }
    Ok(())
}

/// The type of the collection of an alarm, if it is still at its place.
fn held_type(tx: &mut Transaction<'_>, alarm: &Alarm) -> Result<Option<ValueType>, Error> {
    let Some(entry) = tx.entry_in(alarm.space, &alarm.place)? else { return Ok(None) };
    let value_type = entry.value.value_type;
    let is_held = CollectionId::of_value(value_type, &entry.value.data) == Some(alarm.id)
        && has_lifetimes(value_type)
        && layout::open(&entry, value_type).is_ok();
    Ok(is_held.then_some(value_type))
}
