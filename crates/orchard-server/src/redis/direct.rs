//! The commands that most requests are, without a transaction between them and the engine. They do exactly what their
//! handlers do (in `families/`), which run them inside `MULTI` and whenever anything is unusual.

use super::error::RedisError;
use super::families::common::exact_double;
use super::value;
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::reply::bulk;
use orchard_wire::resp::{Args, Reply, RespVersion};
use orcharddb::collection::{Place, Room};
use orcharddb::{
    Applied, Commit, Expiry, Key, Mutation, Operation, SpaceId, Value, ValueType, View, WarmKeys, tuple,
};

/// Names up to this length become keys on the stack.
const STACK_NAME_SIZE_BYTES: usize = 200;
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

/// Appends the reply to `GET`; `false` if its handler has to run.
pub(super) fn get(view: &View, space: SpaceId, name: &[u8], version: RespVersion, out: &mut Vec<u8>) -> bool {
    let before = out.len();
    let show = |found: Option<(ValueType, &[u8])>| match found {
        None => Reply::Null.encode(version, out),
        Some((ValueType::Text | ValueType::Bytes | ValueType::Json, data)) => bulk(data, out),
        Some((value_type, data)) => {
            match value::text_of(&Value::new(value_type, Bytes::copy_from_slice(data))) {
                Ok(text) => bulk(&text, out),
                Err(error) => Reply::from(error).encode(version, out),
            }
        }
    };
    match with_key(name, |key| view.look(space, key, show)) {
        None => false,
        Some(Ok(())) => true,
        Some(Err(error)) => {
            out.truncate(before);
            Reply::from(RedisError::from(orcharddb::Error::from(error))).encode(version, out);
            true
        }
    }
}

/// Keys made together: one piece of memory for all of them.
#[derive(Default)]
struct Keys {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Keys {
    /// The keys of names; of a name that may be too long there is none.
    fn new<'n>(names: impl ExactSizeIterator<Item = &'n [u8]>) -> Keys {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(names.len());
        for name in names {
            if name.len() <= STACK_NAME_SIZE_BYTES {
                tuple::push_name(&mut bytes, name);
            }
            ends.push(bytes.len());
        }
        Keys { bytes: bytes.into(), ends }
    }

    fn at(&self, number: usize) -> Option<Key> {
        let start = number.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before));
        let (start, end) = (*start?, *self.ends.get(number)?);
        (start < end).then(|| Key::new(self.bytes.slice(start..end)).ok()).flatten()
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

/// A run of writes, and what they share.
#[derive(Default)]
pub(super) struct Writes {
    /// The keys of the run, by number.
    keys: Keys,
    room: Room,
}

impl Writes {
    /// For a run of requests that begins with `first`, which name keys as their first arguments.
    pub(super) fn new<'n>(first: Option<Write>, names: impl ExactSizeIterator<Item = &'n [u8]>) -> Writes {
        let count = names.len();
        match first {
            Some(Write::SetMany) | None => Writes::default(),
            Some(Write::Set) if count == 1 => Writes::default(),
            Some(Write::Set) => Writes { keys: Keys::new(names), room: Room::default() },
            Some(_) if count == 1 => Writes { keys: Keys::default(), room: Room::for_writes(1) },
            Some(_) => Writes { keys: Keys::new(names), room: Room::for_writes(count) },
        }
    }

    /// Fills the commit that a command is, the `number`th of the run; `None`, and no commit, if its handler has to run.
    pub(super) fn fill(
        &mut self,
        commit: &mut Commit,
        applied: Applied<'_>,
        (number, write): (usize, Write),
        space: SpaceId,
        args: Args<'_>,
    ) -> Option<Reply> {
        if write == Write::SetMany {
            return set_many(commit, space, args).then_some(Reply::Ok);
        }
        let key = self.keys.at(number).or_else(|| tuple::name(args.at(1)).ok())?;
        let count = match write {
            Write::Set | Write::SetMany => {
                if args.len() != 3 {
                    return None;
                }
                commit.mutations.push(put(space, key, value::string(args.shared(2)), Expiry::Never));
                return Some(Reply::Ok);
            }
            Write::Add(change) => return self.add(commit, applied, (space, key), change),
            Write::AddBy(sign) => {
                let change = parse_integer(args.at(2))?.checked_mul(sign)?;
                return self.add(commit, applied, (space, key), change);
            }
            Write::Push { front } => {
                let values = (2..args.len()).map(|at| value::string(args.shared(at)));
                applied.push(commit, self.place(space, key), values, front)
            }
            Write::SetFields => {
                let pairs = pairs(args, 2)?;
                let fields = pairs.map(|at| (args.shared(at), value::string(args.shared(at + 1))));
                applied.set_fields(commit, self.place(space, key), fields)
            }
            Write::AddMembers => {
                let names = (2..args.len()).map(|at| args.shared(at));
                applied.add_members(commit, self.place(space, key), names)
            }
            Write::AddScored => {
                // An option is no number, and is left to the handler as a wrong one is.
                let pairs = pairs(args, 2)?;
                if !pairs.clone().all(|at| exact_double(args.at(at)).is_some()) {
                    return None;
                }
                let members = pairs.map(|at| {
                    let score = exact_double(args.at(at)).unwrap_or(f64::NAN);
                    (args.shared(at + 1), score)
                });
                applied.add_scored(commit, self.place(space, key), members)
            }
        };
        count.and_then(|count| Some(Reply::Integer(i64::try_from(count).ok()?)))
    }

    fn place(&mut self, space: SpaceId, key: Key) -> Place<'_> {
        Place { space, key, room: &mut self.room }
    }

    /// Adds to a number that is stored as one, or as its text.
    fn add(
        &mut self,
        commit: &mut Commit,
        applied: Applied<'_>,
        (space, key): (SpaceId, Key),
        change: i64,
    ) -> Option<Reply> {
        let mut stored = None;
        let look = applied.look(space, &key, |found| {
            stored = match found {
                None => Some(0),
                Some((ValueType::Int, data)) => data.try_into().ok().map(i64::from_le_bytes),
                Some((ValueType::Text | ValueType::Bytes, data)) => parse_integer(data),
                Some(_) => None,
            };
        });
        look.ok()?;
        let result = stored?.checked_add(change)?;
        let data = self.room.bytes(&[&result.to_le_bytes()]);
        let value = Value { value_type: ValueType::Int, data };
        commit.mutations.push(put(space, key, value, Expiry::Keep));
        Some(Reply::Integer(result))
    }
}

fn put(space: SpaceId, key: Key, value: Value, expiry: Expiry) -> Mutation {
    Mutation { space, key, operation: Operation::Set { value, expiry } }
}

/// Where the pairs of a command begin, if its last arguments are pairs.
fn pairs(
    args: Args<'_>,
    first: usize,
) -> Option<impl DoubleEndedIterator<Item = usize> + ExactSizeIterator + Clone + use<>> {
    let is_even = (args.len() - first.min(args.len())).is_multiple_of(2);
    is_even.then(|| (first..args.len()).step_by(2))
}

/// `MSET`: each key once, with the last value that it is given, in the order of keys.
fn set_many(commit: &mut Commit, space: SpaceId, args: Args<'_>) -> bool {
    let Some(pairs) = pairs(args, 1) else { return false };
    let keys = Keys::new(pairs.clone().map(|at| args.at(at)));
    // The last ones first, so that of the same keys the last stays.
    for (number, at) in pairs.enumerate().rev() {
        let Some(key) = keys.at(number) else {
            commit.clear();
            return false;
        };
        commit.mutations.push(put(space, key, value::string(args.shared(at + 1)), Expiry::Never));
    }
    commit.mutations.sort_by(|one, other| one.key.cmp(&other.key));
    commit.mutations.dedup_by(|later, first| later.key == first.key);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::BytesMut;
    use orchard_wire::resp::{RequestDecoder, RequestLimits};
    use orcharddb::{Db, UnixMillis, Versionstamp};

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

    #[test]
    fn many_keys_are_set_in_order_and_once() {
        let mut decoder = RequestDecoder::default();
        let mut input = BytesMut::from("MSET b 1 a 2 b 3 c 4\r\n");
        let batch = decoder.decode(&mut input, &RequestLimits::default());
        let mut commit = Commit::new();
        assert!(set_many(&mut commit, SpaceId::DEFAULT, batch.request(0)));
        let key = |name: &str| tuple::name(name.as_bytes()).expect("short");
        let expected = [("a", "2"), ("b", "3"), ("c", "4")];
        let expected =
            expected.map(|(name, text)| put(SpaceId::DEFAULT, key(name), text.into(), Expiry::Never));
        assert_eq!(commit.mutations, expected);
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
            assert!(get(&view, SpaceId::DEFAULT, name.as_bytes(), RespVersion::Two, &mut out));
        }
        assert_eq!(out, b"$3\r\nred\r\n$2\r\n42\r\n$-1\r\n");
    }
}
