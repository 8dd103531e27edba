//! The two commands that most requests are, `GET k` and `SET k v`, without a transaction between them and the engine. They
//! do exactly what their handlers do (`families/strings.rs`), which run them inside `MULTI` and whenever anything is
//! unusual.

use super::error::RedisError;
use super::value;
use bytes::Bytes;
use orchard_wire::resp::reply::bulk;
use orchard_wire::resp::{Args, Reply, RespVersion};
use orcharddb::{Commit, Expiry, Mutation, Operation, SpaceId, Value, ValueType, View, WarmKeys, tuple};

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
    let [first, ..] = &mut key;
    *first = if std::str::from_utf8(name).is_ok() { STRING_PART } else { BYTES_PART };
    key.get_mut(1..end)?.copy_from_slice(name);
    Some(look(key.get(..=end)?))
}

/// Notes the key of a name, if that is short and plain, for [`orcharddb::WarmKeys`].
pub(super) fn warm(keys: &mut WarmKeys, space: SpaceId, name: &[u8]) {
    with_key(name, |key| keys.push(space, key));
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

/// The commit that `SET k v` is; `None` if its handler has to run.
pub(super) fn set(space: SpaceId, args: Args<'_>) -> Option<Commit> {
    if args.len() != 3 {
        return None;
    }
    let key = tuple::name(args.at(1)).ok()?;
    let operation = Operation::Set { value: value::string(args.shared(2)), expiry: Expiry::Never };
    Some(Commit { mutations: vec![Mutation { space, key, operation }], ..Commit::default() })
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
