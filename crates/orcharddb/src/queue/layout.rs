//! Where the entries of a queue stand in [`SpaceId::QUEUES`], and what they hold.
//!
//! Every key begins with the queue's name as a string part and the letter of an area:
//!
//! | area | rest of the key | value |
//! |---|---|---|
//! | `i` incoming | n (u16), stamp as text | attempts allowed (u16), payload size (u32); its expiry is the ready time and [`FAR`] |
//! | `p` payload | n, stamp as text | the payload as it was given |
//! | `o` options | n, stamp as text | backoff schedule and keys, if not the default |
//! | `m` message | id | state u8, time u64, attempt u16, attempts allowed u16, payload size u32 |
//! | `s` scheduled | ready time (u64), id | empty |
//! | `l` leased | end of the lease (u64), id | empty |
//! | `d` dead | id | when it died (u64) |
//!
//! Numbers are big-endian; an id is the stamp's 64 bits and n. The first three are written by the enqueuing commit, which
//! does not know its stamp or time: the stamp is appended, and the time is what an expiry resolves to. Everything
//! else is written by whoever leases.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use orchard_types::{DurationMs, Entry, Key, KeyRange, SpaceId, UnixMillis, Value, ValueType, Versionstamp};

/// How far an incoming message's expiry lies behind its ready time: a hundred years. So no sweep takes it.
pub(super) const FAR: DurationMs = DurationMs(100 * 365 * 24 * 60 * 60 * 1_000);

pub(super) const INCOMING: u8 = b'i';
pub(super) const PAYLOAD: u8 = b'p';
pub(super) const OPTIONS: u8 = b'o';
const MESSAGE: u8 = b'm';
pub(super) const SCHEDULED: u8 = b's';
pub(super) const LEASED: u8 = b'l';
pub(super) const DEAD: u8 = b'd';

/// Bytes of an id.
pub(super) const ID_SIZE_BYTES: usize = 10;
/// Bytes of a stamp as a string part.
const SUFFIX_SIZE_BYTES: usize = 22;

/// Which message: the place of its commit, and which of that commit's messages.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Id {
    pub(super) stamp: Versionstamp,
    pub(super) n: u16,
}

/// A message between its enqueue and its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// Ready at a time.
    Scheduled(UnixMillis),
    /// With a consumer until a time.
    Leased(UnixMillis),
    /// Given up.
    Dead,
}

/// What is known of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Message {
    pub(super) state: State,
    /// How often it was leased.
    pub(super) attempt: u16,
    pub(super) attempts_max: u16,
    pub(super) payload_size_bytes: u32,
}

/// The keys of one queue.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    prefix: Bytes,
}

fn key(bytes: BytesMut) -> Key {
    // A name is at most 256 bytes, so with every byte of it escaped this is far from the limit.
    Key::new(bytes.freeze()).unwrap_or_default()
}

impl Layout {
    /// `prefix`: the name as a string part.
    pub(super) fn new(prefix: Bytes) -> Layout {
        Layout { prefix }
    }

    /// The name as a string part.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    fn start(&self, area: u8) -> BytesMut {
        let mut bytes = BytesMut::with_capacity(self.prefix.len() + 32);
        bytes.put_slice(&self.prefix);
        bytes.put_u8(area);
        bytes
    }

    /// Everything of the queue.
    pub(super) fn all(&self) -> KeyRange {
        KeyRange::prefix(&self.prefix)
    }

    pub(super) fn area(&self, area: u8) -> KeyRange {
        KeyRange::prefix(&self.start(area))
    }

    /// What the enqueuing commit writes under, before its stamp is appended.
    pub(super) fn unstamped(&self, area: u8, n: u16) -> Key {
        let mut bytes = self.start(area);
        bytes.put_u16(n);
        key(bytes)
    }

    pub(super) fn stamped(&self, area: u8, id: Id) -> Key {
        let mut bytes = self.start(area);
        bytes.put_u16(id.n);
        bytes.put_u8(0x02);
        bytes.put_slice(id.stamp.to_string().as_bytes());
        bytes.put_u8(0);
        key(bytes)
    }

    pub(super) fn message(&self, id: Id) -> Key {
        self.by_id(MESSAGE, id)
    }

    pub(super) fn by_id(&self, area: u8, id: Id) -> Key {
        let mut bytes = self.start(area);
        put_id(&mut bytes, id);
        key(bytes)
    }

    pub(super) fn timed(&self, area: u8, time: UnixMillis, id: Id) -> Key {
        let mut bytes = self.start(area);
        bytes.put_u64(time.0);
        put_id(&mut bytes, id);
        key(bytes)
    }

    /// The first key of a timed area behind everything up to `time`.
    pub(super) fn behind(&self, area: u8, time: UnixMillis) -> Bytes {
        let mut bytes = self.start(area);
        match time.0.checked_add(1) {
            Some(next) => bytes.put_u64(next),
            None => bytes.put_bytes(0xff, 19),
        }
        bytes.freeze()
    }

    /// Incoming messages with these n.
    pub(super) fn lanes(&self, first: u16, behind: Option<u16>) -> KeyRange {
        let area = self.area(INCOMING);
        let bound = |n| self.unstamped(INCOMING, n).into_bytes();
        KeyRange { start: bound(first), end: behind.map(bound).or(area.end) }
    }

    /// The id of a key of the areas written at the enqueue.
    pub(super) fn stamped_id(&self, key: &[u8]) -> Option<Id> {
        let mut rest = key.get(self.prefix.len() + 1..)?;
        if rest.len() != 2 + SUFFIX_SIZE_BYTES {
            return None;
        }
        let n = rest.get_u16();
        let stamp = std::str::from_utf8(rest.get(1..SUFFIX_SIZE_BYTES - 1)?).ok()?.parse().ok()?;
        Some(Id { stamp, n })
    }

    /// Time and id of a key of a timed area.
    pub(super) fn time_and_id(&self, key: &[u8]) -> Option<(UnixMillis, Id)> {
        let mut rest = key.get(self.prefix.len() + 1..)?;
        let time = UnixMillis(rest.try_get_u64().ok()?);
        Some((time, read_id(&mut rest)?))
    }

    /// The id of a dead letter's key.
    pub(super) fn dead_id(&self, key: &[u8]) -> Option<Id> {
        read_id(&mut key.get(self.prefix.len() + 1..)?)
    }
}

pub(super) fn put_id(bytes: &mut BytesMut, id: Id) {
    bytes.put_u64(id.stamp.raw());
    bytes.put_u16(id.n);
}

pub(super) fn read_id(rest: &mut &[u8]) -> Option<Id> {
    let stamp = Versionstamp::from_raw(rest.try_get_u64().ok()?);
    Some(Id { stamp, n: rest.try_get_u16().ok()? })
}

pub(super) fn incoming_value(attempts_max: u16, payload_size_bytes: u32) -> Value {
    let mut bytes = BytesMut::with_capacity(6);
    bytes.put_u16(attempts_max);
    bytes.put_u32(payload_size_bytes);
    Value::bytes(bytes.freeze())
}

/// An incoming entry as the message that it becomes.
pub(super) fn read_incoming(entry: &Entry) -> Option<Message> {
    let mut rest = entry.value.data.as_ref();
    let attempts_max = rest.try_get_u16().ok()?;
    let payload_size_bytes = rest.try_get_u32().ok()?;
    let ready_at = UnixMillis(entry.expires_at?.0.saturating_sub(FAR.0));
    Some(Message { state: State::Scheduled(ready_at), attempt: 0, attempts_max, payload_size_bytes })
}

impl Message {
    pub(super) fn to_value(self) -> Value {
        let (state, time) = match self.state {
            State::Scheduled(time) => (1, time),
            State::Leased(time) => (2, time),
            State::Dead => (3, UnixMillis(0)),
        };
        let mut bytes = BytesMut::with_capacity(17);
        bytes.put_u8(state);
        bytes.put_u64(time.0);
        bytes.put_u16(self.attempt);
        bytes.put_u16(self.attempts_max);
        bytes.put_u32(self.payload_size_bytes);
        Value::bytes(bytes.freeze())
    }

    pub(super) fn read(value: &Value) -> Option<Message> {
        let mut rest = value.data.as_ref();
        let state = rest.try_get_u8().ok()?;
        let time = UnixMillis(rest.try_get_u64().ok()?);
        Some(Message {
            state: match state {
                1 => State::Scheduled(time),
                2 => State::Leased(time),
                3 => State::Dead,
                _ => return None,
            },
            attempt: rest.try_get_u16().ok()?,
            attempts_max: rest.try_get_u16().ok()?,
            payload_size_bytes: rest.try_get_u32().ok()?,
        })
    }
}

/// What a message asks for beside its time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Wishes {
    pub(super) backoff: Option<Vec<DurationMs>>,
    pub(super) keys_if_undelivered: Vec<(SpaceId, Key)>,
}

impl Wishes {
    pub(super) fn to_value(&self) -> Value {
        let mut bytes = BytesMut::new();
        match &self.backoff {
            None => bytes.put_u8(0),
            Some(steps) => {
                bytes.put_u8(1);
                bytes.put_u16(steps.len() as u16);
                steps.iter().for_each(|step| bytes.put_u64(step.0));
            }
        }
        bytes.put_u16(self.keys_if_undelivered.len() as u16);
        for (space, key) in &self.keys_if_undelivered {
            bytes.put_u32(space.0);
            bytes.put_u16(key.len() as u16);
            bytes.put_slice(key);
        }
        Value::bytes(bytes.freeze())
    }

    pub(super) fn read(value: &Value) -> Option<Wishes> {
        let mut rest = value.data.clone();
        let backoff = match rest.try_get_u8().ok()? {
            0 => None,
            _ => {
                let steps = rest.try_get_u16().ok()?;
                Some((0..steps).map(|_| rest.try_get_u64().ok().map(DurationMs)).collect::<Option<_>>()?)
            }
        };
        let count = rest.try_get_u16().ok()?;
        let mut keys_if_undelivered = Vec::new();
        for _ in 0..count {
            let space = SpaceId(rest.try_get_u32().ok()?);
            let length = usize::from(rest.try_get_u16().ok()?);
            if rest.len() < length {
                return None;
            }
            keys_if_undelivered.push((space, Key::new(rest.split_to(length)).ok()?));
        }
        Some(Wishes { backoff, keys_if_undelivered })
    }
}

/// The value of the timed areas.
pub(super) fn empty() -> Value {
    Value::new(ValueType::Bytes, Bytes::new())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn layout() -> Layout {
        Layout::new(crate::tuple::name(b"mail").expect("short").into_bytes())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(raw in 0..u64::MAX, n: u16, time: u64, attempt: u16, size: u32, state in 1..4u8) {
            let layout = layout();
            let id = Id { stamp: Versionstamp::from_raw(raw), n };
            let time = UnixMillis(time);
            prop_assert_eq!(layout.stamped_id(&layout.stamped(PAYLOAD, id)), Some(id));
            prop_assert_eq!(layout.time_and_id(&layout.timed(LEASED, time, id)), Some((time, id)));
            prop_assert_eq!(layout.dead_id(&layout.by_id(DEAD, id)), Some(id));
            prop_assert!(layout.timed(LEASED, time, id).as_ref() < layout.behind(LEASED, time).as_ref());
            let state = match state {
                1 => State::Scheduled(time),
                2 => State::Leased(time),
                _ => State::Dead,
            };
            let message = Message { state, attempt, attempts_max: 7, payload_size_bytes: size };
            prop_assert_eq!(Message::read(&message.to_value()), Some(message));
        }

        #[test]
        fn wishes_are_read_and_any_bytes_are_safe(
            steps in prop::option::of(prop::collection::vec(any::<u64>().prop_map(DurationMs), 0..5)),
            keys in prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..20)), 0..4),
            noise in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let keys = keys.into_iter().map(|(space, key)| (SpaceId(space), Key::new(key).expect("short")));
            let wishes = Wishes { backoff: steps, keys_if_undelivered: keys.collect() };
            prop_assert_eq!(Wishes::read(&wishes.to_value()), Some(wishes));
            let _ = Wishes::read(&Value::from(noise.clone()));
            let _ = Message::read(&Value::from(noise.clone()));
            let _ = (layout().stamped_id(&noise), layout().time_and_id(&noise), layout().dead_id(&noise));
        }
    }
}
