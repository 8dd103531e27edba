//! The most common writes to collections whose elements are entries of their own, without a transaction or a commit that is
//! built: header and elements are looked at where they lie, and written one by one.
//!
//! - They write exactly what the methods of [`List`](super::List), [`Hash`](super::Hash), [`Set`](super::Set) and
//!   [`ZSet`](super::ZSet) write. Whatever is unusual is left to those: a collection that is absent, packed or has elements
//!   that expire, a long name, a name that stands twice, much at once. Then the answer is `None`, and nothing is written.

use super::ahead::MadeAhead;
use super::layout::{self, BY_NAME, BY_SCORE};
use super::list::STRIDE;
use crate::transaction::Applied;
use orchard_engine::direct::{Hashed, KeyHash, Seen};
use orchard_engine::format::push_flat_key;
use orchard_types::collection::{COLLECTION_ID_SIZE_BYTES, HEADER_SIZE_BYTES_MAX};
use orchard_types::{CollectionId, Expiry, SpaceId, ValueType, limits};

/// Where the count stands in a header, and what lies behind it.
const COUNT_AT: usize = 1 + COLLECTION_ID_SIZE_BYTES;
const PLAIN_SIZE_BYTES: usize = COUNT_AT + 8;
/// A list's header goes on with the positions of its first and its last element, and whether it is even.
pub(super) const HEAD_AT: usize = PLAIN_SIZE_BYTES;
pub(super) const TAIL_AT: usize = HEAD_AT + 8;
const LIST_SIZE_BYTES: usize = TAIL_AT + 8 + 1;
/// More elements than this of one command go through a transaction: whether a name stands twice is looked up there.
const NAMES_MAX: usize = 16;

/// Room for the keys of the elements of one write; for the next one it is used again.
#[derive(Default)]
pub struct Room {
    /// By name, unless they were made ahead.
    names: Made,
    /// The one that is written next.
    next: Made,
}

/// Keys that were made here.
#[derive(Default)]
struct Made {
    bytes: Vec<u8>,
    /// Where each key ends, and its hash.
    keys: Vec<(usize, KeyHash)>,
}

impl Made {
    fn clear(&mut self) {
        self.bytes.clear();
        self.keys.clear();
    }

    /// Adds the flat key of an element; the place of it.
    fn push(&mut self, applied: &Applied<'_, '_>, id: CollectionId, parts: &[&[u8]]) -> usize {
        let start = self.bytes.len();
        push_flat_key(&mut self.bytes, SpaceId::ELEMENTS, id.as_ref());
        parts.iter().for_each(|part| self.bytes.extend_from_slice(part));
        let flat = self.bytes.get(start..).unwrap_or_default();
        self.keys.push((self.bytes.len(), applied.hash_of(flat)));
        self.keys.len() - 1
    }

    /// Makes the flat key of one element.
    fn one(&mut self, applied: &Applied<'_, '_>, id: CollectionId, parts: &[&[u8]]) -> Hashed<'_> {
        self.clear();
        let place = self.push(applied, id, parts);
        self.at(place)
    }

    fn at(&self, place: usize) -> Hashed<'_> {
        let start = place.checked_sub(1).and_then(|before| self.keys.get(before)).map_or(0, |(end, _)| *end);
        let (end, hash) = self.keys.get(place).copied().unwrap_or_default();
        Hashed::new(self.bytes.get(start..end).unwrap_or_default(), hash)
    }
}

/// The keys of the elements that one write names, in its order.
struct Names<'r> {
    ahead: Option<MadeAhead<'r>>,
    made: &'r Made,
}

impl<'r> Names<'r> {
    /// `None` if a name is long.
    fn of<'v>(
        applied: &Applied<'_, '_>,
        made: &'r mut Made,
        ahead: MadeAhead<'r>,
        id: CollectionId,
        names: impl Iterator<Item = &'v [u8]> + Clone,
    ) -> Option<Names<'r>> {
        if names.clone().enumerate().all(|(place, name)| ahead.named(place, id, name).is_some()) {
            return Some(Names { ahead: Some(ahead), made });
        }
        made.clear();
        for name in names {
            if layout::is_long(name) {
                return None;
            }
            made.push(applied, id, &[&[BY_NAME], name]);
        }
        Some(Names { ahead: None, made })
    }

    #[inline]
    fn at(&self, place: usize) -> Hashed<'_> {
        match &self.ahead {
            Some(ahead) => ahead.at(place).unwrap_or(Hashed::new(b"", KeyHash::default())),
            None => self.made.at(place),
        }
    }

    /// The key at a place stands before it, too.
    fn has_twice(&self, place: usize) -> bool {
        (0..place).any(|before| self.at(before).key() == self.at(place).key())
    }
}

/// A word of a header.
pub(super) fn word_at(header: &[u8], at: usize) -> u64 {
    let word = header.get(at..at + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
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
        word_at(&self.bytes, at)
    }

    fn set_word(&mut self, at: usize, word: u64) {
        if let Some(place) = self.bytes.get_mut(at..at + 8) {
            place.copy_from_slice(&word.to_le_bytes());
        }
    }

    /// Writes it.
    fn put(&self, applied: &mut Applied<'_, '_>, key: Hashed<'_>, value_type: ValueType) {
        applied.set_behind(key, value_type, self.bytes.get(..self.size_bytes).unwrap_or_default());
    }
}

/// A collection, and room to write to it.
pub struct Place<'r> {
    /// Its flat key.
    pub key: Hashed<'r>,
    /// Where keys are made.
    pub room: &'r mut Room,
    /// Those that were made ahead.
    pub ahead: MadeAhead<'r>,
}

/// Whether an element can be this.
fn is_element(data: &[u8]) -> bool {
    data.len() <= limits::VALUE_SIZE_BYTES_MAX
}

impl Applied<'_, '_> {
    fn header(&self, place: &Place<'_>, expected: ValueType, size_bytes: usize) -> Option<Header> {
        match self.look(place.key) {
            Seen::Here(value_type, data) if value_type == expected => {
                Header::of(data, value_type, size_bytes)
            }
            _ => None,
        }
    }

    /// [`List::extend`](super::List::extend): strings behind the last element, or before the first. Their number afterwards.
    pub fn push<'v>(
        &mut self,
        place: Place<'_>,
        values: impl ExactSizeIterator<Item = &'v [u8]> + Clone,
        front: bool,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::List, LIST_SIZE_BYTES)?;
        let (end_at, stride) = if front { (HEAD_AT, -STRIDE) } else { (TAIL_AT, STRIDE) };
        let mut position = header.word(end_at) as i64;
        let length = i64::try_from(values.len()).ok()?;
        let last = position.checked_add(stride.checked_mul(length)?)?;
        let count = header.word(COUNT_AT).checked_add(values.len() as u64)?;
        if !values.clone().all(is_element) {
            return None;
        }
        const KEY_SIZE_BYTES: usize = COLLECTION_ID_SIZE_BYTES + 8;
        let size_bytes: usize = values.clone().map(|data| data.len() + KEY_SIZE_BYTES).sum();
        self.begin_with(place.key, values.len(), size_bytes)?;
        for (number, data) in values.enumerate() {
            position += stride;
            let bytes = layout::position_bytes(position);
            let key = match place.ahead.positioned(number, header.id, bytes) {
                Some(key) => key,
                None => place.room.next.one(self, header.id, &[&bytes]),
            };
            self.set(key, ValueType::of_string(data), data, Expiry::Never);
        }
        header.set_word(COUNT_AT, count);
        header.set_word(end_at, last as u64);
        header.put(self, place.key, ValueType::List);
        Some(count)
    }

    /// [`Hash::extend`](super::Hash::extend): fields that are strings. How many are new.
    pub fn set_fields<'v>(
        &mut self,
        place: Place<'_>,
        fields: impl ExactSizeIterator<Item = (&'v [u8], &'v [u8])> + Clone,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::Hash, PLAIN_SIZE_BYTES)?;
        if fields.len() > NAMES_MAX {
            return None;
        }
        let names = fields.clone().map(|(name, _)| name);
        let keys = Names::of(self, &mut place.room.names, place.ahead, header.id, names)?;
        let (mut added, mut size_bytes) = (0, 0);
        for (number, (_, data)) in fields.clone().enumerate() {
            let key = keys.at(number);
            if keys.has_twice(number) || !is_element(data) {
                return None;
            }
            added += u64::from(self.look(key) == Seen::Absent);
            size_bytes += key.key().len() + data.len();
        }
        if fields.len() == 0 {
            return Some(0);
        }
        self.begin_with(place.key, fields.len(), size_bytes)?;
        for (number, (_, data)) in fields.enumerate() {
            self.set(keys.at(number), ValueType::of_string(data), data, Expiry::Never);
        }
        header.set_word(COUNT_AT, header.word(COUNT_AT) + added);
        header.put(self, place.key, ValueType::Hash);
        Some(added)
    }

    /// [`Set::extend`](super::Set::extend): members. How many are new.
    pub fn add_members<'v>(
        &mut self,
        place: Place<'_>,
        names: impl ExactSizeIterator<Item = &'v [u8]> + Clone,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::Set, PLAIN_SIZE_BYTES)?;
        let count = names.len();
        if count > NAMES_MAX {
            return None;
        }
        let keys = Names::of(self, &mut place.room.names, place.ahead, header.id, names)?;
        let (mut added, mut size_bytes) = (0, 0);
        let mut is_new = [false; NAMES_MAX];
        for (number, is_new) in is_new.iter_mut().enumerate().take(count) {
            if keys.has_twice(number) {
                return None;
            }
            *is_new = self.look(keys.at(number)) == Seen::Absent;
            if *is_new {
                added += 1;
                size_bytes += keys.at(number).key().len();
            }
        }
        if added == 0 {
            return Some(0);
        }
        self.begin_with(place.key, added, size_bytes)?;
        for (number, _) in is_new.iter().enumerate().filter(|(_, is_new)| **is_new) {
            self.set(keys.at(number), ValueType::Null, b"", Expiry::Never);
        }
        header.set_word(COUNT_AT, header.word(COUNT_AT) + added as u64);
        header.put(self, place.key, ValueType::Set);
        Some(added as u64)
    }

    /// [`ZSet::extend`](super::ZSet::extend): members with their scores, of which nothing is written if all are there
    /// already. How many are new.
    pub fn add_scored<'v>(
        &mut self,
        place: Place<'_>,
        members: impl ExactSizeIterator<Item = (&'v [u8], f64)> + Clone,
    ) -> Option<u64> {
        let mut header = self.header(&place, ValueType::ZSet, PLAIN_SIZE_BYTES)?;
        if members.len() > NAMES_MAX {
            return None;
        }
        let names = members.clone().map(|(name, _)| name);
        let keys = Names::of(self, &mut place.room.names, place.ahead, header.id, names)?;
        let (mut added, mut changed, mut size_bytes) = (0, 0, 0);
        // What each member's score was: nothing, or a number.
        let mut before = [None; NAMES_MAX];
        for ((number, (_, score)), before) in members.clone().enumerate().zip(&mut before) {
            if score.is_nan() || keys.has_twice(number) {
                return None;
            }
            *before = match self.look(keys.at(number)) {
                Seen::Absent => None,
                Seen::Here(_, data) => Some(f64::from_le_bytes(data.try_into().ok()?)),
                Seen::Elsewhere => return None,
            };
            added += u64::from(before.is_none());
            // Both zeros are one.
            changed += usize::from(*before != Some(score + 0.0));
            size_bytes += 3 * (keys.at(number).key().len() + 8);
        }
        if changed == 0 {
            return Some(0);
        }
        self.begin_with(place.key, 3 * changed, size_bytes)?;
        let by_score = &mut place.room.next;
        for ((number, (name, score)), before) in members.enumerate().zip(before) {
            let score = score + 0.0;
            if before == Some(score) {
                continue;
            }
            if let Some(before) = before {
                let parts: [&[u8]; 3] = [&[BY_SCORE], &layout::score_bytes(before), name];
                let gone = by_score.one(self, header.id, &parts);
                self.delete(gone);
            }
            self.set(keys.at(number), ValueType::Float, &score.to_le_bytes(), Expiry::Never);
            let parts: [&[u8]; 3] = [&[BY_SCORE], &layout::score_bytes(score), name];
            let by_score = by_score.one(self, header.id, &parts);
            self.set(by_score, ValueType::Null, b"", Expiry::Never);
        }
        header.set_word(COUNT_AT, header.word(COUNT_AT) + added);
        header.put(self, place.key, ValueType::ZSet);
        Some(added)
    }

    /// Whether so many writes of elements can be made, and that of the header behind them.
    fn begin_with(&mut self, key: Hashed<'_>, writes: usize, size_bytes: usize) -> Option<()> {
        let size_bytes = size_bytes.saturating_add(key.key().len() + HEADER_SIZE_BYTES_MAX);
        self.begin(writes + 1, size_bytes).then_some(())
    }
}

const _: () =
    assert!(LIST_SIZE_BYTES < HEADER_SIZE_BYTES_MAX && NAMES_MAX * 3 < limits::COMMIT_OPERATIONS_MAX);

#[cfg(test)]
mod tests {
    use super::super::{ElementsAhead, Scored};
    use super::*;
    use crate::{Db, Error, Pipeline, Submitted, Transaction};
    use bytes::Bytes;
    use orchard_types::{Key, Value};
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

    impl Write {
        fn name(&self) -> &'static str {
            match self {
                Write::Push(..) => "list",
                Write::Fields(_) | Write::Expire(_) => "hash",
                Write::Members(_) => "set",
                Write::Scored(_) => "zset",
            }
        }
    }

    struct Run<'w> {
        writes: &'w [Write],
        is_direct: bool,
        /// Elements made when nothing was written yet.
        ahead: Option<ElementsAhead>,
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

        fn direct(&mut self, number: usize, mut applied: Applied<'_, '_>) -> bool {
            if !self.is_direct {
                return false;
            }
            let mut room = Room::default();
            let write = &self.writes[number];
            let mut flat = Vec::new();
            push_flat_key(&mut flat, SpaceId::DEFAULT, &key(write.name()));
            let ahead = self.ahead.as_ref().map_or_else(MadeAhead::default, |ahead| ahead.of_request(number));
            let place = Place { key: applied.hashed(&flat), room: &mut room, ahead };
            let answer = match write {
                Write::Push(values, front) => {
                    let values: Vec<Value> = values.iter().map(|byte| value(*byte)).collect();
                    applied.push(place, values.iter().map(|value| &value.data[..]), *front)
                }
                Write::Fields(fields) => {
                    let fields = pairs(fields);
                    applied.set_fields(place, fields.iter().map(|(name, value)| (&name[..], &value.data[..])))
                }
                Write::Members(names) => {
                    let names: Vec<Bytes> = names.iter().map(|byte| name_of(*byte)).collect();
                    applied.add_members(place, names.iter().map(|name| &name[..]))
                }
                Write::Scored(members) => {
                    let members = scored(members);
                    applied.add_scored(place, members.iter().map(|(name, score)| (&name[..], *score)))
                }
                Write::Expire(_) => None,
            };
            self.answers.extend(answer);
            self.direct += usize::from(answer.is_some());
            answer.is_some()
        }

        fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
            submitted.outcome.expect("it commits");
            ControlFlow::Continue(())
        }
    }

    fn ahead(db: &Db, writes: &[Write]) -> ElementsAhead {
        let mut ahead = ElementsAhead::default();
        for write in writes {
            let mut flat = Vec::new();
            push_flat_key(&mut flat, SpaceId::DEFAULT, &key(write.name()));
            ahead.begin_request(db, &flat);
            match write {
                Write::Push(values, front) => values.iter().for_each(|_| ahead.push_end(*front)),
                Write::Fields(fields) => fields.iter().for_each(|(name, _)| ahead.push_name(&name_of(*name))),
                Write::Members(names) => names.iter().for_each(|name| ahead.push_name(&name_of(*name))),
                Write::Scored(members) => {
                    members.iter().for_each(|(name, _)| ahead.push_name(&name_of(*name)));
                }
                Write::Expire(_) => {}
            }
        }
        ahead.fetch(db, true);
        ahead
    }

    type Entries = Vec<(SpaceId, Vec<u8>, Value)>;

    /// Answers, and all entries; and how many writes were direct.
    fn outcome(writes: &[Write], is_direct: bool, is_ahead: bool) -> (Vec<u64>, Entries, usize) {
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
        let ahead = is_ahead.then(|| ahead(&db, writes));
        let mut run = Run { writes, is_direct, ahead, answers: Vec::new(), direct: 0 };
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
            let (expected_answers, expected, none) = outcome(&writes, false, false);
            prop_assert_eq!(none, 0);
            let usual = writes.iter().filter(|write| matches!(write, Write::Push(..))).count();
            for is_ahead in [false, true] {
                let (answers, entries, direct) = outcome(&writes, true, is_ahead);
                prop_assert_eq!(&answers, &expected_answers);
                prop_assert!(entries == expected, "other entries");
                prop_assert!(direct >= usual, "pushes are never unusual here");
            }
        }
    }
}
