//! The most common writes to collections whose elements are entries of their own, without a transaction: header and
//! elements are looked at where they lie, and the mutations are built in place.
//!
//! - They write exactly what the methods of [`List`](super::List), [`Hash`](super::Hash), [`Set`](super::Set) and
//!   [`ZSet`](super::ZSet) write. Whatever is unusual is left to those: a collection that is absent, packed or has elements
//!   that expire, a long name, a name that stands twice. Then the answer is `None`, and the commit is empty.

use super::Scored;
use super::layout::{self, BY_NAME, BY_SCORE};
use super::list::STRIDE;
use crate::transaction::Applied;
use bytes::{BufMut, Bytes, BytesMut};
use orchard_types::collection::{COLLECTION_ID_SIZE_BYTES, HEADER_SIZE_BYTES_MAX};
use orchard_types::{
    CollectionId, Commit, Expiry, Key, Mutation, Operation, SpaceId, Value, ValueType, limits,
};

/// Where the count stands in a header, and what lies behind it.
const COUNT_AT: usize = 1 + COLLECTION_ID_SIZE_BYTES;
const PLAIN_SIZE_BYTES: usize = COUNT_AT + 8;
/// A list's header goes on with the positions of its first and its last element, and whether it is even.
const HEAD_AT: usize = PLAIN_SIZE_BYTES;
const TAIL_AT: usize = HEAD_AT + 8;
const LIST_SIZE_BYTES: usize = TAIL_AT + 8 + 1;
/// More elements than this of one command go through a transaction: whether a name stands twice is looked up there.
const NAMES_MAX: usize = 16;
/// Memory is taken in pieces of at most this size.
const PIECE_SIZE_BYTES_MAX: usize = 16 * 1024;
/// What a write to a collection mostly takes.
const WRITE_SIZE_BYTES: usize = 128;

/// Memory for the keys and headers of many writes, taken in few pieces.
#[derive(Default)]
pub struct Room(BytesMut);

impl Room {
    /// Room for about so many writes.
    pub fn for_writes(count: usize) -> Room {
        Room(BytesMut::with_capacity(count.saturating_mul(WRITE_SIZE_BYTES).min(PIECE_SIZE_BYTES_MAX)))
    }

    /// The bytes that `parts` are together.
    pub fn bytes(&mut self, parts: &[&[u8]]) -> Bytes {
        self.0.reserve(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| self.0.put_slice(part));
        self.0.split().freeze()
    }

    fn key(&mut self, parts: &[&[u8]]) -> Option<Key> {
        Key::new(self.bytes(parts)).ok()
    }
}

/// A header of the elements layout, to be changed in place.
struct Header {
    bytes: [u8; HEADER_SIZE_BYTES_MAX],
    size_bytes: usize,
    id: CollectionId,
}

impl Header {
    fn of(data: &[u8], value_type: ValueType, size_bytes: usize) -> Option<Header> {
        let id = CollectionId::of_value(value_type, data)?;
        let mut bytes = [0; HEADER_SIZE_BYTES_MAX];
        // One that goes on behind what is known here has elements that expire.
        if data.len() != size_bytes {
            return None;
        }
        bytes.get_mut(..size_bytes)?.copy_from_slice(data);
        Some(Header { bytes, size_bytes, id })
    }

    fn word(&self, at: usize) -> u64 {
        let word = self.bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
        u64::from_le_bytes(word.unwrap_or_default())
    }

    fn set_word(&mut self, at: usize, word: u64) {
        if let Some(place) = self.bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// The mutation that writes it.
    fn put(&self, place: Place<'_>, value_type: ValueType) -> Mutation {
        let data = place.room.bytes(&[self.bytes.get(..self.size_bytes).unwrap_or_default()]);
        let value = Value { value_type, data };
        let operation = Operation::Set { value, expiry: Expiry::Keep };
        Mutation { space: place.space, key: place.key, operation }
    }
}

/// A collection, and room to write to it.
pub struct Place<'r> {
    /// Its database.
    pub space: SpaceId,
    /// Its key.
    pub key: Key,
    /// Where keys and headers are made.
    pub room: &'r mut Room,
}

/// The mutation that writes an element.
fn element(key: Key, value: Value) -> Mutation {
    Mutation { space: SpaceId::ELEMENTS, key, operation: Operation::Set { value, expiry: Expiry::Never } }
}

/// The commit, to be filled; what is in it when that fails goes.
fn fill<T>(commit: &mut Commit, fill: impl FnOnce(&mut Vec<Mutation>) -> Option<T>) -> Option<T> {
    debug_assert!(commit.is_empty());
    let filled = fill(&mut commit.mutations);
    if filled.is_none() {
        commit.clear();
    }
    filled
}

impl Applied<'_> {
    fn header(self, place: &Place<'_>, expected: ValueType, size_bytes: usize) -> Option<Header> {
        let mut header = None;
        let look = self.look(place.space, &place.key, |found| {
            header = found
                .filter(|(value_type, _)| *value_type == expected)
                .and_then(|(value_type, data)| Header::of(data, value_type, size_bytes));
        });
        header.filter(|_| look.is_ok())
    }

    /// [`List::extend`](super::List::extend): elements behind the last one, or before the first. Their number afterwards.
    pub fn push(
        self,
        commit: &mut Commit,
        place: Place<'_>,
        values: impl ExactSizeIterator<Item = Value>,
        front: bool,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::List, LIST_SIZE_BYTES)?;
        let (end_at, stride) = if front { (HEAD_AT, -STRIDE) } else { (TAIL_AT, STRIDE) };
        let mut position = header.word(end_at) as i64;
        let count = header.word(COUNT_AT).checked_add(values.len() as u64)?;
        fill(commit, |mutations| {
            for value in values {
                layout::check_value(&value).ok()?;
                position = position.checked_add(stride)?;
                let key = place.room.key(&[header.id.as_ref(), &layout::position_bytes(position)])?;
                mutations.push(element(key, value));
            }
            header.set_word(COUNT_AT, count);
            header.set_word(end_at, position as u64);
            mutations.push(header.put(place, ValueType::List));
            Some(count)
        })
    }

    /// [`Hash::extend`](super::Hash::extend): fields. How many are new.
    pub fn set_fields(
        self,
        commit: &mut Commit,
        place: Place<'_>,
        fields: impl ExactSizeIterator<Item = (Bytes, Value)>,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::Hash, PLAIN_SIZE_BYTES)?;
        if fields.len() > NAMES_MAX {
            return None;
        }
        fill(commit, |mutations| {
            let mut added = 0;
            for (name, value) in fields {
                layout::check_value(&value).ok()?;
                let key = self.key_of_name(place.room, header.id, &name, mutations)?;
                added += u64::from(!self.has(SpaceId::ELEMENTS, &key)?);
                mutations.push(element(key, value));
            }
            if !mutations.is_empty() {
                header.set_word(COUNT_AT, header.word(COUNT_AT) + added);
                mutations.push(header.put(place, ValueType::Hash));
            }
            Some(added)
        })
    }

    /// [`Set::extend`](super::Set::extend): members. How many are new.
    pub fn add_members(
        self,
        commit: &mut Commit,
        place: Place<'_>,
        names: impl ExactSizeIterator<Item = Bytes>,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::Set, PLAIN_SIZE_BYTES)?;
        if names.len() > NAMES_MAX {
            return None;
        }
        fill(commit, |mutations| {
            for name in names {
                let key = self.key_of_name(place.room, header.id, &name, mutations)?;
                if !self.has(SpaceId::ELEMENTS, &key)? {
                    mutations.push(element(key, Value { value_type: ValueType::Null, data: Bytes::new() }));
                }
            }
            let added = mutations.len() as u64;
            if added > 0 {
                header.set_word(COUNT_AT, header.word(COUNT_AT) + added);
                mutations.push(header.put(place, ValueType::Set));
            }
            Some(added)
        })
    }

    /// [`ZSet::extend`](super::ZSet::extend): members with their scores, of which nothing is written if all are there
    /// already. How many are new.
    pub fn add_scored(
        self,
        commit: &mut Commit,
        place: Place<'_>,
        members: impl ExactSizeIterator<Item = Scored>,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::ZSet, PLAIN_SIZE_BYTES)?;
        if members.len() > NAMES_MAX {
            return None;
        }
        fill(commit, |mutations| {
            let mut added = 0;
            for (name, score) in members {
                if score.is_nan() {
                    return None;
                }
                // Both zeros are one.
                let score = score + 0.0;
                let (room, id) = (&mut *place.room, header.id);
                let by_name = self.key_of_name(room, id, &name, mutations)?;
                let before = self.score(&by_name)?;
                if before == Some(score) {
                    continue;
                }
                let mut by_score =
                    |score| room.key(&[id.as_ref(), &[BY_SCORE], &layout::score_bytes(score), &name]);
                if let Some(before) = before {
                    let key = by_score(before)?;
                    mutations.push(Mutation { space: SpaceId::ELEMENTS, key, operation: Operation::Delete });
                }
                added += u64::from(before.is_none());
                let key = by_score(score)?;
                let data = room.bytes(&[&score.to_le_bytes()]);
                mutations.push(element(by_name, Value { value_type: ValueType::Float, data }));
                mutations.push(element(key, Value { value_type: ValueType::Null, data: Bytes::new() }));
            }
            if !mutations.is_empty() {
                header.set_word(COUNT_AT, header.word(COUNT_AT) + added);
                mutations.push(header.put(place, ValueType::ZSet));
            }
            Some(added)
        })
    }

    /// The key of an element by its name, unless that is long or stands in the commit already.
    fn key_of_name(
        self,
        room: &mut Room,
        id: CollectionId,
        name: &[u8],
        mutations: &[Mutation],
    ) -> Option<Key> {
        if layout::is_long(name) {
            return None;
        }
        let key = room.key(&[id.as_ref(), &[BY_NAME], name])?;
        (!mutations.iter().any(|mutation| mutation.key == key)).then_some(key)
    }

    fn has(self, space: SpaceId, key: &Key) -> Option<bool> {
        self.has_in(space, key).ok()
    }

    /// The score that is stored under a member's key, which may have none.
    fn score(self, by_name: &Key) -> Option<Option<f64>> {
        let mut score = Some(None);
        let look = self.look(SpaceId::ELEMENTS, by_name, |found| {
            if let Some((_, data)) = found {
                score = data.try_into().ok().map(|bytes| Some(f64::from_le_bytes(bytes)));
            }
        });
        score.filter(|_| look.is_ok())
    }
}

const _: () =
    assert!(LIST_SIZE_BYTES < HEADER_SIZE_BYTES_MAX && NAMES_MAX * 3 < limits::COMMIT_OPERATIONS_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Db, Error, Pipeline, Submitted, Transaction};
    use proptest::prelude::*;
    use std::ops::ControlFlow;

    /// One write, and whether a direct one may be tried.
    #[derive(Debug, Clone)]
    enum Write {
        Push(Vec<u8>, bool),
        Fields(Vec<(u8, u8)>),
        Members(Vec<u8>),
        Scored(Vec<(u8, i8)>),
        Expire(u8),
    }

    struct Run<'w> {
        writes: &'w [Write],
        is_direct: bool,
        answers: Vec<u64>,
        direct: usize,
    }

    fn key(name: &str) -> Key {
        Db::key(name).expect("short")
    }

    fn name_of(byte: u8) -> Bytes {
        // Some names are too long to stand in a key.
        let length = if byte == 7 { 2_500 } else { 3 };
        vec![b'a' + byte; length].into()
    }

    fn value(byte: u8) -> Value {
        Value::from(format!("value {byte}"))
    }

    fn pairs(fields: &[(u8, u8)]) -> Vec<(Bytes, Value)> {
        fields.iter().map(|(field, content)| (name_of(*field), value(*content))).collect()
    }

    fn scored(members: &[(u8, i8)]) -> Vec<Scored> {
        members.iter().map(|(member, score)| (name_of(*member), f64::from(*score) / 2.0)).collect()
    }

    impl Run<'_> {
        fn run_in(&mut self, number: usize, tx: &mut Transaction<'_>) -> Result<u64, Error> {
            let space = SpaceId::DEFAULT;
            match &self.writes[number] {
                Write::Push(values, front) => {
                    let mut list = tx.list_in(space, key("list"))?;
                    list.extend(values.iter().map(|byte| value(*byte)), *front)?;
                    Ok(list.len())
                }
                Write::Fields(fields) => tx.hash_in(space, key("hash"))?.extend(pairs(fields)),
                Write::Members(names) => {
                    tx.set_in(space, key("set"))?.extend(names.iter().map(|byte| name_of(*byte)))
                }
                Write::Scored(members) => tx.zset_in(space, key("zset"))?.extend(scored(members)),
                Write::Expire(field) => {
                    let at = Expiry::At(orchard_types::UnixMillis(1 << 50));
                    Ok(u64::from(tx.hash_in(space, key("hash"))?.expire(name_of(*field), at)?))
                }
            }
        }
    }

    impl Pipeline for Run<'_> {
        fn run(&mut self, number: usize, tx: &mut Transaction<'_>) {
            let answer = self.run_in(number, tx).expect("it runs");
            self.answers.push(answer);
        }

        fn direct(&mut self, number: usize, applied: Applied<'_>, commit: &mut Commit) -> bool {
            if !self.is_direct {
                return false;
            }
            let mut room = Room::default();
            let write = &self.writes[number];
            let name = match write {
                Write::Push(..) => "list",
                Write::Fields(_) | Write::Expire(_) => "hash",
                Write::Members(_) => "set",
                Write::Scored(_) => "zset",
            };
            let place = Place { space: SpaceId::DEFAULT, key: key(name), room: &mut room };
            let answer = match write {
                Write::Push(values, front) => {
                    applied.push(commit, place, values.iter().map(|byte| value(*byte)), *front)
                }
                Write::Fields(fields) => applied.set_fields(commit, place, pairs(fields).into_iter()),
                Write::Members(names) => {
                    applied.add_members(commit, place, names.iter().map(|byte| name_of(*byte)))
                }
                Write::Scored(members) => applied.add_scored(commit, place, scored(members).into_iter()),
                Write::Expire(_) => None,
            };
            self.answers.extend(answer);
            self.direct += usize::from(answer.is_some());
            assert!(answer.is_some() || commit.is_empty());
            answer.is_some()
        }

        fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
            submitted.outcome.expect("it commits");
            ControlFlow::Continue(())
        }
    }

    type Entries = Vec<(SpaceId, Vec<u8>, Value)>;

    /// Answers, and all entries; and how many writes were direct.
    fn outcome(writes: &[Write], is_direct: bool) -> (Vec<u64>, Entries, usize) {
        let db = Db::memory().expect("it opens");
        // Large enough to have elements of their own.
        let begin = |tx: &mut Transaction<'_>| {
            let many = || (0..200_u32).map(|number| Bytes::from(format!("first {number}")));
            tx.list("list")?.extend((0..200_i64).map(Value::from), false)?;
            tx.hash("hash")?.extend(many().map(|name| (name, Value::from(1_i64))))?;
            tx.set("set")?.extend(many())?;
            tx.zset("zset")?.extend(many().map(|name| (name, 1.0)))?;
            Ok::<_, Error>(())
        };
        db.exclusive(begin).expect("it begins").1.wait().expect("it commits");
        let mut run = Run { writes, is_direct, answers: Vec::new(), direct: 0 };
        db.pipeline(writes.len(), &mut run);
        let snapshot = db.snapshot();
        let mut entries = Vec::new();
        for space in [SpaceId::DEFAULT, SpaceId::ELEMENTS] {
            let all = snapshot.scan_in(space, orchard_types::KeyRange::all(), Default::default());
            for entry in all {
                let entry = entry.expect("it is read");
                entries.push((space, entry.key.to_vec(), entry.value));
            }
        }
        (run.answers, entries, run.direct)
    }

    fn write() -> impl Strategy<Value = Write> {
        let several = || 0..5_usize;
        prop_oneof![
            3 => (prop::collection::vec(any::<u8>(), several()), any::<bool>())
                .prop_map(|(values, front)| Write::Push(values, front)),
            3 => prop::collection::vec((0..9_u8, any::<u8>()), several()).prop_map(Write::Fields),
            3 => prop::collection::vec(0..9_u8, several()).prop_map(Write::Members),
            3 => prop::collection::vec((0..9_u8, any::<i8>()), several()).prop_map(Write::Scored),
            1 => (0..9_u8).prop_map(Write::Expire),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn direct_writes_write_what_transactions_write(writes in prop::collection::vec(write(), 1..30)) {
            let (answers, entries, direct) = outcome(&writes, true);
            let (expected_answers, expected, none) = outcome(&writes, false);
            prop_assert_eq!(answers, expected_answers);
            prop_assert!(entries == expected, "other entries");
            prop_assert_eq!(none, 0);
            let usual = writes.iter().filter(|write| matches!(write, Write::Push(..))).count();
            prop_assert!(direct >= usual, "pushes are never unusual here");
        }
    }
}
