//! The commands that most requests are, without a transaction between them and the engine. They do exactly what their
//! handlers do (in `families/`), which run them inside `MULTI` and whenever anything is unusual.

use super::error::RedisError;
use super::families::common::exact_double;
use super::value;
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::reply::{bulk, integer};
use orchard_wire::resp::{Args, Batch, Reply, RespVersion};
use orcharddb::collection::{ElementsAhead, MadeAhead, Place, Room};
use orcharddb::{
    Applied, Db, Expiry, Hashed, KeyHash, Seen, SpaceId, Value, ValueType, View, WarmKeys, push_flat_key,
    tuple,
};
use std::ops::Range;

/// Names up to this length become keys on the stack.
pub(super) const STACK_NAME_SIZE_BYTES: usize = 200;
const BYTES_PART: u8 = 0x01;
const STRING_PART: u8 = 0x02;

/// Runs `look` with the key of a name, if that is short and plain.
fn with_key<T>(name: &[u8], look: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let mut key = [0; STACK_NAME_SIZE_BYTES + 2];
    let end = name.len() + 1;
    if end > STACK_NAME_SIZE_BYTES || name.contains(&0) {
        return None;
    }
    let is_text = ValueType::of_string(name) == ValueType::Text;
    let [first, ..] = &mut key;
    *first = if is_text { STRING_PART } else { BYTES_PART };
    key.get_mut(1..end)?.copy_from_slice(name);
    Some(look(key.get(..=end)?))
}

/// Notes the key of a name for [`orcharddb::WarmKeys`].
pub(super) fn warm(keys: &mut WarmKeys, space: SpaceId, name: &[u8]) {
    if name.len() <= STACK_NAME_SIZE_BYTES {
        keys.push_with(space, |flat| tuple::push_name(flat, name));
    }
}

/// Elements that are made ahead together, about.
const ELEMENTS_MAX: usize = 256;

/// Makes and fetches the elements that the requests from one on will write, whose own keys are `keys`; all requests are
/// taken for such that `write` is.
pub(super) fn fetch_elements(
    elements: &mut ElementsAhead,
    db: &Db,
    write: Option<Write>,
    keys: &WarmKeys,
    batch: &Batch,
    from: usize,
) {
    elements.clear();
    let Some(write) = write.filter(|write| write.has_elements()) else { return };
    for number in 0..keys.requests() {
        let own = keys.of_request(number);
        let key = keys.get(own.start).filter(|_| !own.is_empty());
        elements.begin_request(db, key.map_or(b"", |key| key.key()));
        let args = batch.request(from + number);
        match write {
            Write::Push { front } => (2..args.len()).for_each(|_| elements.push_end(front)),
            Write::AddMembers => args.from(2).iter().for_each(|name| elements.push_name(name)),
            Write::AddScored => {
                args.pairs(2).into_iter().flatten().for_each(|(_, name)| elements.push_name(name));
            }
            _ => args.pairs(2).into_iter().flatten().for_each(|(name, _)| elements.push_name(name)),
        }
        if elements.len() >= ELEMENTS_MAX {
            break;
        }
    }
    let are_spread = !matches!(write, Write::Push { .. });
    elements.fetch(db, are_spread);
}

/// Appends the reply to `GET`, and says whether the key was found; `None` if its handler has to run.
pub(super) fn get(
    view: &View,
    space: SpaceId,
    name: &[u8],
    version: RespVersion,
    out: &mut Vec<u8>,
) -> Option<bool> {
    let before = out.len();
    let mut is_found = true;
    let show = |found: Option<(ValueType, &[u8])>| match found {
        None => {
            is_found = false;
            Reply::Null.encode(version, out);
        }
        Some((ValueType::Text | ValueType::Bytes | ValueType::Json, data)) => bulk(data, out),
        Some((value_type, data)) => {
            match value::text_of(&Value::new(value_type, Bytes::copy_from_slice(data))) {
                Ok(text) => bulk(&text, out),
                Err(error) => Reply::from(error).encode(version, out),
            }
        }
    };
    match with_key(name, |key| view.look(space, key, show)) {
        None => None,
        Some(Ok(())) => Some(is_found),
        Some(Err(error)) => {
            out.truncate(before);
            Reply::from(RedisError::from(orcharddb::Error::from(error))).encode(version, out);
            Some(true)
        }
    }
}

/// A write that has a way of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Write {
    Set,
    SetMany,
    Add(i64),
    AddBy(i64),
    Push { front: bool },
    SetFields,
    AddMembers,
    AddScored,
}

impl Write {
    /// Whether it writes elements of a collection.
    fn has_elements(self) -> bool {
        matches!(self, Write::Push { .. } | Write::SetFields | Write::AddMembers | Write::AddScored)
    }

    /// The one that a command is.
    pub(super) fn of(name: &str) -> Option<Write> {
        Some(match name {
            "set" => Write::Set,
            "mset" => Write::SetMany,
            "incr" => Write::Add(1),
            "decr" => Write::Add(-1),
            "incrby" => Write::AddBy(1),
            "decrby" => Write::AddBy(-1),
            "lpush" => Write::Push { front: true },
            "rpush" => Write::Push { front: false },
            "hset" => Write::SetFields,
            "sadd" => Write::AddMembers,
            "zadd" => Write::AddScored,
            _ => return None,
        })
    }
}

/// What such a write answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Ok,
    Integer(i64),
}

impl Told {
    /// Appends it; both versions of the protocol say the same.
    #[inline]
    pub(super) fn encode(self, out: &mut Vec<u8>) {
        match self {
            Told::Ok => out.extend_from_slice(b"+OK\r\n"),
            Told::Integer(number) => integer(b':', number, out),
        }
    }
}

impl From<Told> for Reply {
    fn from(told: Told) -> Reply {
        match told {
            Told::Ok => Reply::Ok,
            Told::Integer(number) => Reply::Integer(number),
        }
    }
}

/// A run of writes, and what they share.
#[derive(Default)]
pub(super) struct Writes {
    room: Room,
    /// A key that was not made ahead.
    flat: Vec<u8>,
    /// The scores that one command gives.
    scores: Vec<f64>,
    /// Keys of one command that were not made ahead.
    made: WarmKeys,
}

/// The keys of a request that were made ahead: all keys, and the numbers of its own.
pub(super) type Ahead<'k> = Option<(&'k WarmKeys, Range<usize>)>;

impl Writes {
    /// Number of keys that the last command had of its own.
    pub(super) fn keys_made(&self) -> usize {
        self.made.len()
    }

    /// Does what a command does; `None`, and nothing is written, if its handler has to run.
    pub(super) fn run(
        &mut self,
        applied: &mut Applied<'_, '_>,
        write: Write,
        space: SpaceId,
        ahead: Ahead<'_>,
        elements: MadeAhead<'_>,
        args: Args<'_>,
    ) -> Option<Told> {
        if write == Write::SetMany {
            return set_many(applied, space, ahead, &mut self.made, args);
        }
        let Writes { room, flat, scores, .. } = self;
        let key = match ahead.and_then(|(keys, own)| keys.get(own.start).filter(|_| !own.is_empty())) {
            Some(key) => key,
            None => {
                flat.clear();
                push_key(flat, space, args.at(1))?;
                applied.hashed(flat)
            }
        };
        let count = match write {
            Write::Set | Write::SetMany => {
                let value = args.at(2);
                if args.len() != 3 || !applied.begin(1, key.key().len() + value.len()) {
                    return None;
                }
                applied.set(key, ValueType::of_string(value), value, Expiry::Never);
                return Some(Told::Ok);
            }
            Write::Add(change) => return add(applied, key, change),
            Write::AddBy(sign) => return add(applied, key, parse_integer(args.at(2))?.checked_mul(sign)?),
            Write::Push { front } => {
                let values = args.from(2).iter();
                applied.push(Place { key, room, ahead: elements }, values, front)
            }
            Write::SetFields => applied.set_fields(Place { key, room, ahead: elements }, args.pairs(2)?),
            Write::AddMembers => {
                let names = args.from(2).iter();
                applied.add_members(Place { key, room, ahead: elements }, names)
            }
            Write::AddScored => {
                // An option is no number, and is left to the handler as a wrong one is.
                scores.clear();
                for (score, _) in args.pairs(2)? {
                    scores.push(exact_double(score)?);
                }
                let members = args.pairs(2)?.zip(&*scores).map(|((_, name), score)| (name, *score));
                applied.add_scored(Place { key, room, ahead: elements }, members)
            }
        };
        count.and_then(|count| Some(Told::Integer(i64::try_from(count).ok()?)))
    }
}

/// Appends the flat key of a name, unless it is long.
fn push_key(flat: &mut Vec<u8>, space: SpaceId, name: &[u8]) -> Option<()> {
    if name.len() > STACK_NAME_SIZE_BYTES {
        return None;
    }
    push_flat_key(flat, space, b"");
    tuple::push_name(flat, name);
    Some(())
}

/// Adds to a number that is stored as one, or as its text.
fn add(applied: &mut Applied<'_, '_>, key: Hashed<'_>, change: i64) -> Option<Told> {
    let stored = match applied.look(key) {
        Seen::Absent => 0,
        Seen::Here(ValueType::Int, data) => i64::from_le_bytes(data.try_into().ok()?),
        Seen::Here(ValueType::Text | ValueType::Bytes, data) => parse_integer(data)?,
        Seen::Here(..) | Seen::Elsewhere => return None,
    };
    let result = stored.checked_add(change)?;
    if !applied.begin(1, key.key().len() + size_of::<i64>()) {
        return None;
    }
    applied.set(key, ValueType::Int, &result.to_le_bytes(), Expiry::Keep);
    Some(Told::Integer(result))
}

/// `MSET`: each key once, with the last value that it is given.
fn set_many(
    applied: &mut Applied<'_, '_>,
    space: SpaceId,
    ahead: Ahead<'_>,
    made: &mut WarmKeys,
    args: Args<'_>,
) -> Option<Told> {
    let pairs = args.pairs(1)?;
    let (keys, first) = match ahead.filter(|(_, own)| own.len() == pairs.len()) {
        Some((keys, own)) => (keys, own.start),
        None => {
            made.clear();
            for (name, _) in pairs.clone() {
                if name.len() > STACK_NAME_SIZE_BYTES {
                    return None;
                }
                made.push_with(space, |flat| tuple::push_name(flat, name));
            }
            applied.note_hashes(made);
            (&*made, 0)
        }
    };
    let keys = || (first..first + pairs.len()).map_while(|number| keys.get(number));
    if pairs.len() > FEW_PAIRS {
        return set_very_many(applied, keys().zip(pairs.map(|(_, value)| value)));
    }
    let mut size_bytes = 0;
    // Other keys hardly ever have the same hash.
    let mut hashes = [KeyHash::default(); FEW_PAIRS];
    for (number, (key, (_, value))) in keys().zip(pairs.clone()).enumerate() {
        let (before, own) = hashes.split_at_mut_checked(number)?;
        if before.contains(&key.hash()) {
            return set_very_many(applied, keys().zip(pairs.map(|(_, value)| value)));
        }
        *own.first_mut()? = key.hash();
        size_bytes += key.key().len() + value.len();
    }
    if pairs.len() == 0 || !applied.begin(pairs.len(), size_bytes) {
        return None;
    }
    for (key, (_, value)) in keys().zip(pairs) {
        applied.set(key, ValueType::of_string(value), value, Expiry::Never);
    }
    Some(Told::Ok)
}

/// So many pairs are compared with one another, more are sorted.
const FEW_PAIRS: usize = 16;

/// [`set_many`], in the order of keys.
fn set_very_many<'k>(
    applied: &mut Applied<'_, '_>,
    pairs: impl Iterator<Item = (Hashed<'k>, &'k [u8])>,
) -> Option<Told> {
    let mut writes: Vec<_> = pairs.enumerate().collect();
    // Of the same keys the last one comes first, and stays.
    writes.sort_unstable_by(|(at, (one, _)), (behind, (other, _))| {
        one.key().cmp(other.key()).then_with(|| behind.cmp(at))
    });
    writes.dedup_by(|(_, (later, _)), (_, (first, _))| later.key() == first.key());
    let size_bytes = writes.iter().map(|(_, (key, value))| key.key().len() + value.len()).sum();
    if writes.is_empty() || !applied.begin(writes.len(), size_bytes) {
        return None;
    }
    for (_, (key, value)) in writes {
        applied.set(key, ValueType::of_string(value), value, Expiry::Never);
    }
    Some(Told::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use orchard_wire::resp::{Batch, RequestDecoder, RequestLimits};
    use orcharddb::{Db, Pipeline, Submitted, Transaction, UnixMillis, Versionstamp};
    use std::ops::ControlFlow;

    #[test]
    fn keys_on_the_stack_are_those_of_names() {
        for name in [&b""[..], b"apple", b"\xff\xfe", &[b'a'; STACK_NAME_SIZE_BYTES - 1]] {
            let key = with_key(name, <[u8]>::to_vec).expect("plain");
            assert_eq!(key, tuple::name(name).expect("short").to_vec());
        }
        for name in [&b"a\0b"[..], &[b'a'; STACK_NAME_SIZE_BYTES], &[b'a'; 5_000]] {
            assert_eq!(with_key(name, |_| ()), None);
        }
    }

    /// Runs a batch directly.
    struct Direct {
        batch: Batch,
        ahead: WarmKeys,
        elements: ElementsAhead,
        writes: Writes,
        replies: Vec<Told>,
    }

    impl Pipeline for Direct {
        fn run(&mut self, number: usize, _: &mut Transaction<'_>) {
            panic!("{number} is not run directly");
        }

        fn direct(&mut self, number: usize, mut applied: Applied<'_, '_>) -> bool {
            let args = self.batch.request(number);
            let name = String::from_utf8_lossy(args.at(0)).to_lowercase();
            let write = Write::of(&name).expect("a write");
            let ahead = Some((&self.ahead, self.ahead.of_request(number)));
            let elements = self.elements.of_request(number);
            let reply = self.writes.run(&mut applied, write, SpaceId::DEFAULT, ahead, elements, args);
            self.replies.extend(reply);
            reply.is_some()
        }

        fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
            submitted.outcome.expect("it commits");
            ControlFlow::Continue(())
        }
    }

    fn run(db: &Db, requests: &str, are_ahead: bool) -> Vec<Told> {
        let mut decoder = RequestDecoder::default();
        let mut input = BytesMut::from(requests);
        let batch = decoder.decode(&mut input, &RequestLimits::default());
        let mut ahead = WarmKeys::default();
        for args in batch.iter().filter(|_| are_ahead) {
            ahead.begin_request();
            let step = if args.at(0) == b"MSET" { 2 } else { args.len() };
            args.iter().skip(1).step_by(step).for_each(|name| warm(&mut ahead, SpaceId::DEFAULT, name));
        }
        db.engine().warm(&mut ahead, true);
        let mut elements = ElementsAhead::default();
        if are_ahead {
            let name = String::from_utf8_lossy(batch.request(0).at(0)).to_lowercase();
            fetch_elements(&mut elements, db, Write::of(&name), &ahead, &batch, 0);
        }
        let count = batch.len();
        let (writes, replies) = (Writes::default(), Vec::new());
        let mut direct = Direct { batch, ahead, elements, writes, replies };
        db.pipeline(count, &mut direct);
        direct.replies
    }

    #[test]
    fn many_keys_are_set_in_order_and_once() {
        for are_ahead in [false, true] {
            let db = Db::memory().expect("it opens");
            let replies = run(&db, "SET b 0\r\nMSET b 1 a 2 b 3 c 4\r\nINCR c\r\n", are_ahead);
            assert_eq!(replies, [Told::Ok, Told::Ok, Told::Integer(5)]);
            for (name, value) in [("a", Value::from("2")), ("b", "3".into()), ("c", 5_i64.into())] {
                let entry = db.get(name).expect("it reads").expect("it is there");
                assert_eq!(entry.value, value, "{name}");
            }
        }
    }

    #[test]
    fn a_get_shows_what_the_view_has() {
        let db = Db::memory().expect("it opens");
        db.put("text", "red").expect("it commits");
        db.put("int", 42_i64).expect("it commits");
        let view = db.view_not_before(Versionstamp::ZERO, UnixMillis(0));
        db.put("text", "later").expect("it commits");
        let mut out = Vec::new();
        for name in ["text", "int", "none"] {
            let is_found = get(&view, SpaceId::DEFAULT, name.as_bytes(), RespVersion::Two, &mut out);
            assert_eq!(is_found, Some(name != "none"));
        }
        assert_eq!(out, b"$3\r\nred\r\n$2\r\n42\r\n$-1\r\n");
    }
}
