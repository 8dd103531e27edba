//! Elements that expire before their collection does.
//!
//! ```text
//! element   id, 4, name                -> when it expires (8 bytes LE), then what the element is
//! by time   id, 2, when (8 bytes BE), name -> nothing
//! header    behind id and count: number of elements that expire, none of them before (8 bytes LE each); left out if none do
//! alarm     not before (8 bytes BE), id -> space (4 bytes LE), key        in SpaceId::ALARMS
//! ```
//!
//! - An element stands in the family of those that expire or in that of those that stay, never in both. What expires is
//!   judged by the time of the view, so nobody reads it too late; the background takes it away when the alarm of its
//!   collection is due.
//! - The counts of the header include what has expired until it is taken away. Whoever needs the number of those that are
//!   there subtracts what stands in the family by time before now.
//! - Of a member of a sorted set the element by score is an entry that expires then: ranges and ranks never see it late,
//!   and the sweep of entries takes it away.
//! - An alarm is a hint: one that comes early, or for a collection that is gone, is forgotten.

use super::layout::{self, Reader};
use super::view::View;
use crate::error::Error;
use crate::scan::ScanOptions;
use crate::transaction::Transaction;
use bytes::Bytes;
use orchard_types::collection::COLLECTION_ID_SIZE_BYTES;
use orchard_types::{CollectionId, Entry, Expiry, Key, KeyRange, SpaceId, UnixMillis, Value, ValueType};

/// The family of elements that expire, by name.
pub(super) const BY_NAME_EXPIRING: u8 = 4;
/// The family that orders them by time.
const BY_TIME: u8 = 2;
/// Length of a moment.
const TIME_SIZE_BYTES: usize = 8;

/// What a header says of its elements that expire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Expiring {
    /// Their number.
    pub(super) count: u64,
    /// None expires before.
    not_before: UnixMillis,
    /// The alarm that is set.
    alarm: Option<UnixMillis>,
}

/// An element that expires.
pub(super) struct Element {
    pub(super) at: UnixMillis,
    /// What a family of those that stay would hold.
    pub(super) value: Value,
}

impl Element {
    pub(super) fn of(value: Value) -> Result<Element, Error> {
        let mut reader = Reader::new(value.data);
        let at = UnixMillis(u64::from_le_bytes(reader.word()?));
        Ok(Element { at, value: Value { value_type: value.value_type, data: reader.rest() } })
    }

    pub(super) fn is_there(&self, now: UnixMillis) -> bool {
        self.at > now
    }
}

fn element_key(id: CollectionId, name_in_key: &[u8]) -> Key {
    layout::key(id, &[&[BY_NAME_EXPIRING], name_in_key])
}

fn time_key(id: CollectionId, at: UnixMillis, name_in_key: &[u8]) -> Key {
    layout::key(id, &[&[BY_TIME], &at.0.to_be_bytes(), name_in_key])
}

/// What expires at or before `now` of a collection, by time.
fn due(id: CollectionId, now: UnixMillis) -> KeyRange {
    let family = layout::family(id, BY_TIME);
    KeyRange { end: Some(behind(id, now)), ..family }
}

/// The first key by time behind `now`.
fn behind(id: CollectionId, now: UnixMillis) -> Bytes {
    time_key(id, UnixMillis(now.0.saturating_add(1)), b"").into_bytes()
}

const KEYS: ScanOptions =
    ScanOptions { limit: None, reverse: false, keys_only: true, since: None, until: None };

impl Expiring {
    /// Reads the rest of a header.
    pub(super) fn read(reader: &mut Reader) -> Result<Expiring, Error> {
        if reader.is_empty() {
            return Ok(Expiring::default());
        }
        let count = u64::from_le_bytes(reader.word()?);
        let not_before = UnixMillis(u64::from_le_bytes(reader.word()?));
        Ok(Expiring { count, not_before, alarm: Some(not_before) })
    }

    pub(super) fn push(&self, header: &mut Vec<u8>) {
        if self.count > 0 {
            header.extend_from_slice(&self.count.to_le_bytes());
            header.extend_from_slice(&self.not_before.0.to_le_bytes());
        }
    }

    /// The element of a name, though it may have expired.
    pub(super) fn get(
        self,
        view: &mut impl View,
        id: CollectionId,
        name: &[u8],
    ) -> Result<Option<Element>, Error> {
        if self.count == 0 {
            return Ok(None);
        }
        let found = view.entry(SpaceId::ELEMENTS, &element_key(id, &layout::name_in_key(name)))?;
        let Some(mut element) = found.map(|entry| Element::of(entry.value)).transpose()? else {
            return Ok(None);
        };
        element.value = layout::found(name, element.value)?;
        Ok(Some(element))
    }

    /// At most `limit` elements behind `after` that are there, in the order of their names in keys.
    pub(super) fn page(
        self,
        view: &mut impl View,
        id: CollectionId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Element)>, Error> {
        const AT_ONCE: usize = 256;
        let (mut found, now) = (Vec::new(), view.time());
        let mut range = match after {
            None => layout::family(id, BY_NAME_EXPIRING),
            Some(name_in_key) => layout::family_behind(id, BY_NAME_EXPIRING, name_in_key),
        };
        while self.count > 0 && found.len() < limit {
            let at_once = (limit - found.len()).max(AT_ONCE);
            let options = ScanOptions { limit: Some(at_once), ..ScanOptions::default() };
            let entries = view.entries(SpaceId::ELEMENTS, range, options)?;
            let is_last = entries.len() < at_once;
            let last = entries.last().map(|entry| layout::behind_family(&entry.key)).unwrap_or_default();
            for entry in entries {
                let element = Element::of(entry.value)?;
                if element.is_there(now) && found.len() < limit {
                    found.push((layout::behind_family(&entry.key), element));
                }
            }
            if is_last {
                break;
            }
            range = layout::family_behind(id, BY_NAME_EXPIRING, &last);
        }
        Ok(found)
    }

    /// How many have expired and are not taken away. Costs their number.
    pub(super) fn expired(self, view: &mut impl View, id: CollectionId) -> Result<u64, Error> {
        let now = view.time();
        if self.count == 0 || self.not_before > now {
            return Ok(0);
        }
        Ok(view.entries(SpaceId::ELEMENTS, due(id, now), KEYS)?.len() as u64)
    }

    /// Whether any has not expired.
    pub(super) fn is_any_there(self, view: &mut impl View, id: CollectionId) -> Result<bool, Error> {
        let now = view.time();
        if self.count == 0 || self.not_before > now {
            return Ok(self.count > 0);
        }
        let range = KeyRange { start: behind(id, now), ..layout::family(id, BY_TIME) };
        let first = ScanOptions { limit: Some(1), ..KEYS };
        Ok(!view.entries(SpaceId::ELEMENTS, range, first)?.is_empty())
    }

    /// Writes an element that is not there.
    pub(super) fn put(
        &mut self,
        tx: &mut Transaction<'_>,
        id: CollectionId,
        name: &[u8],
        value: &Value,
        at: UnixMillis,
    ) {
        let name_in_key = layout::name_in_key(name);
        let mut data = at.0.to_le_bytes().to_vec();
        if layout::is_long(&name_in_key) {
            layout::push_name(&mut data, name);
        }
        data.extend_from_slice(&value.data);
        let value = Value::new(value.value_type, data);
        tx.put_in(SpaceId::ELEMENTS, element_key(id, &name_in_key), value, Expiry::Never);
        tx.put_in(SpaceId::ELEMENTS, time_key(id, at, &name_in_key), Value::null(), Expiry::Never);
        self.not_before = if self.count == 0 { at } else { self.not_before.min(at) };
        self.count += 1;
    }

    /// Removes an element that is there, or has expired.
    pub(super) fn remove(&mut self, tx: &mut Transaction<'_>, id: CollectionId, name: &[u8], at: UnixMillis) {
        self.remove_key(tx, id, &layout::name_in_key(name), at);
    }

    fn remove_key(&mut self, tx: &mut Transaction<'_>, id: CollectionId, name_in_key: &[u8], at: UnixMillis) {
        tx.delete_in(SpaceId::ELEMENTS, element_key(id, name_in_key));
        tx.delete_in(SpaceId::ELEMENTS, time_key(id, at, name_in_key));
        self.count = self.count.saturating_sub(1);
    }

    /// Removes at most `limit` elements that have expired; how many. The alarm that was set is none any more.
    pub(super) fn remove_expired(
        &mut self,
        tx: &mut Transaction<'_>,
        id: CollectionId,
        limit: usize,
    ) -> Result<u64, Error> {
        let now = tx.now();
        self.forget_alarm(tx, id);
        let options = ScanOptions { limit: Some(limit), ..KEYS };
        let keys = tx.scan_in(SpaceId::ELEMENTS, due(id, now), options)?;
        for Entry { key, .. } in &keys {
            if let Some((at, name_in_key)) = time_and_name(key) {
                self.remove_key(tx, id, &name_in_key, at);
            }
        }
        let first = ScanOptions { limit: Some(1), ..KEYS };
        let next = tx.scan_in(SpaceId::ELEMENTS, layout::family(id, BY_TIME), first)?;
        if let Some((at, _)) = next.first().and_then(|entry| time_and_name(&entry.key)) {
            self.not_before = at;
        }
        Ok(keys.len() as u64)
    }

    /// Sets the alarm as the header, which is about to be written under `place`, needs it.
    pub(super) fn set_alarm(&mut self, tx: &mut Transaction<'_>, id: CollectionId, place: (SpaceId, &Key)) {
        let wanted = (self.count > 0).then_some(self.not_before);
        if wanted == self.alarm {
            return;
        }
        if let Some(alarm) = self.alarm {
            tx.delete_in(SpaceId::ALARMS, alarm_key(alarm, id));
        }
        if let Some(wanted) = wanted {
            put_alarm(tx, id, wanted, place);
        }
        self.alarm = wanted;
    }

    /// The collection is deleted.
    pub(super) fn forget_alarm(&mut self, tx: &mut Transaction<'_>, id: CollectionId) {
        if let Some(alarm) = self.alarm.take() {
            tx.delete_in(SpaceId::ALARMS, alarm_key(alarm, id));
        }
    }
}

fn time_and_name(key: &Key) -> Option<(UnixMillis, Bytes)> {
    let behind = layout::behind_family(key);
    let time = behind.first_chunk::<TIME_SIZE_BYTES>()?;
    Some((UnixMillis(u64::from_be_bytes(*time)), behind.slice(TIME_SIZE_BYTES..)))
}

fn alarm_key(at: UnixMillis, id: CollectionId) -> Key {
    Key::new([&at.0.to_be_bytes(), id.as_ref()].concat()).unwrap_or_default()
}

fn put_alarm(tx: &mut Transaction<'_>, id: CollectionId, at: UnixMillis, place: (SpaceId, &Key)) {
    let data = [&place.0.0.to_le_bytes(), place.1.as_ref()].concat();
    tx.put_in(SpaceId::ALARMS, alarm_key(at, id), Value::new(ValueType::Bytes, data), Expiry::Never);
}

/// A collection whose elements may have expired.
pub(super) struct Alarm {
    pub(super) id: CollectionId,
    pub(super) space: SpaceId,
    pub(super) place: Key,
}

impl Alarm {
    /// Reads an alarm; `None` if it is none.
    pub(super) fn of(entry: &Entry) -> Option<Alarm> {
        let id = CollectionId::from_slice(entry.key.get(TIME_SIZE_BYTES..)?)?;
        let (space, key) = entry.value.data.split_first_chunk()?;
        let place = Key::new(Bytes::copy_from_slice(key)).ok()?;
        Some(Alarm { id, space: SpaceId(u32::from_le_bytes(*space)), place })
    }
}

/// The alarms that are due.
pub(super) fn due_alarms(now: UnixMillis) -> KeyRange {
    let end = now.0.saturating_add(1).to_be_bytes().to_vec();
    KeyRange { start: Bytes::new(), end: Some(end.into()) }
}

/// Whether elements of such a collection may expire of their own.
pub(super) const fn has_lifetimes(value_type: ValueType) -> bool {
    matches!(value_type, ValueType::Hash | ValueType::Set | ValueType::ZSet)
}

/// Whether a value is the header of a collection of which elements expire.
pub(super) fn may_be_expired(value: &Value) -> bool {
    const LENGTH: usize = 1 + COLLECTION_ID_SIZE_BYTES + 8 + 8 + TIME_SIZE_BYTES;
    has_lifetimes(value.value_type)
        && value.data.len() == LENGTH
        && CollectionId::of_value(value.value_type, &value.data).is_some()
}

/// The header of a collection was written under another key, or under another id: its alarm has to know.
pub(super) fn header_moved(
    tx: &mut Transaction<'_>,
    value: &Value,
    place: (SpaceId, &Key),
) -> Result<(), Error> {
    if !has_lifetimes(value.value_type) {
        return Ok(());
    }
    let entry = Entry {
        key: Key::default(),
        value: value.clone(),
        versionstamp: Default::default(),
        expires_at: None,
    };
    if let layout::Layout::Elements(id, _, mut rest) = layout::open(&entry, value.value_type)? {
        let expiring = Expiring::read(&mut rest)?;
        if let Some(alarm) = expiring.alarm {
            put_alarm(tx, id, alarm, place);
        }
    }
    Ok(())
}
