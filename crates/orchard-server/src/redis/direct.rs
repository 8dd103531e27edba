//! The two commands that most requests are, `GET k` and `SET k v`, without a transaction between them and the engine. They
//! do exactly what their handlers do (`families/strings.rs`), which run them inside `MULTI` and whenever anything is
//! unusual.

use super::error::RedisError;
use super::value;
use bytes::Bytes;
use orchard_wire::resp::reply::bulk;
use orchard_wire::resp::{Args, Reply, RespVersion};
use orcharddb::{Commit, Expiry, Key, Mutation, Operation, SpaceId, Value, ValueType, View, WarmKeys, tuple};

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

/// The keys of a run of `SET`s, made together: one piece of memory for all of them.
#[derive(Default)]
pub(super) struct Keys {
    bytes: Bytes,
    ends: Vec<usize>,
}

impl Keys {
    /// The keys of names; of a name that may be too long there is none.
    pub(super) fn new<'n>(names: impl ExactSizeIterator<Item = &'n [u8]>) -> Keys {
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

/// Fills the commit that `SET k v` is, the `number`th of a run with these keys; `false` if its handler has to run.
pub(super) fn set(
    commit: &mut Commit,
    space: SpaceId,
    args: Args<'_>,
    (keys, number): (&Keys, usize),
) -> bool {
    if args.len() != 3 {
        return false;
    }
    let Some(key) = keys.at(number).or_else(|| tuple::name(args.at(1)).ok()) else { return false };
    let operation = Operation::Set { value: value::string(args.shared(2)), expiry: Expiry::Never };
    commit.mutations.push(Mutation { space, key, operation });
    true
}

#[cfg(test)]
mod tests {
    use super::*;
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
