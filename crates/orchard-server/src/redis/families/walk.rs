//! Going through all keys of a database: `KEYS`, `SCAN`, `RANDOMKEY`, `DBSIZE`. They show keys of one part, which are
//! those that Redis can name.
//!
//! `SCAN` goes in the order of the keys' hashes, which never changes: its cursor is a hash, holds nothing on the server,
//! and each key that stays from first call to last is returned exactly once.

use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value;
use bytes::Bytes;
use orchard_wire::glob;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{KeyRange, ScanOptions, ValueType};
use std::hash::{BuildHasher, Hasher, RandomState};

/// Entries, of other databases too, that one call of `SCAN` looks at for each key that it was asked for, and at most.
const LOOKED_AT_PER_KEY: usize = 16;
const LOOKED_AT_MAX: usize = 65_536;
/// Keys read at once.
const PAGE: usize = 1_024;

const BYTES_PART: u8 = 0x01;
const STRING_PART: u8 = 0x02;

/// The name of a key of one string or bytes part; `None` for any other key.
pub(super) fn name(key: &[u8]) -> Option<Bytes> {
    let [BYTES_PART | STRING_PART, inside @ .., 0] = key else { return None };
    if !inside.contains(&0) {
        return Some(Bytes::copy_from_slice(inside));
    }
    // A zero inside is followed by 0xff; any other ends the part.
    let mut name = Vec::with_capacity(inside.len());
    let mut rest = inside.iter().copied();
    while let Some(byte) = rest.next() {
        if byte == 0 && rest.next() != Some(0xff) {
            return None;
        }
        name.push(byte);
    }
    Some(Bytes::from(name))
}

/// `*` is no pattern at all: it matches the empty name, too.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    pattern == b"*" || glob::matches(pattern, name)
}

/// Visits every name of the database in key order, own writes included, until `visit` says no more.
fn each_name(
    cx: &mut Context<'_, '_>,
    prefix: &[u8],
    mut visit: impl FnMut(Bytes),
) -> Result<(), RedisError> {
    for part in [BYTES_PART, STRING_PART] {
        let mut start = vec![part];
        start.extend_from_slice(prefix);
        let mut range = KeyRange::prefix(&start);
        loop {
            let options = ScanOptions { keys_only: true, limit: Some(PAGE), ..ScanOptions::default() };
            let page = cx.tx.scan_in(cx.space, range.clone(), options)?;
            let Some(last) = page.last().filter(|_| page.len() == PAGE) else {
                page.iter().filter_map(|entry| name(&entry.key)).for_each(&mut visit);
                break;
            };
            let mut behind = last.key.to_vec();
            behind.push(0);
            range.start = Bytes::from(behind);
            page.iter().filter_map(|entry| name(&entry.key)).for_each(&mut visit);
        }
    }
    Ok(())
}

pub(super) fn keys(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let pattern = args.at(1);
    // What every name begins with. A zero is written in another way inside keys.
    let mut plain = pattern.split(|byte| matches!(byte, b'*' | b'?' | b'[' | b'\\' | 0));
    let prefix = plain.next().unwrap_or_default();
    let mut names = Vec::new();
    each_name(cx, prefix, |name| {
        if is_match(pattern, &name) {
            names.push(Reply::Bulk(name));
        }
    })?;
    Ok(Reply::Array(names))
}

pub(super) fn dbsize(cx: &mut Context<'_, '_>, _: Args<'_>) -> Result<Reply, RedisError> {
    if cx.tx.is_read_only() && cx.tx.holds_names_only(cx.space) {
        let count = cx.tx.count_in(cx.space, &KeyRange::all())?;
        return Ok(Reply::Integer(i64::try_from(count).unwrap_or(i64::MAX)));
    }
    // Keys of several parts lie among the names, and own writes are not counted.
    let mut exact = 0;
    each_name(cx, b"", |_| exact += 1)?;
    Ok(Reply::count(exact))
}

pub(super) fn randomkey(cx: &mut Context<'_, '_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let start = RandomState::new().build_hasher().finish();
    let mut found = None;
    // From a random place to the end, then from the beginning.
    for mut position in [start, 0] {
        loop {
            position = cx.tx.keys_by_hash(cx.space, position, LOOKED_AT_PER_KEY, |key, _| {
                found = found.take().or_else(|| name(key));
            })?;
            if found.is_some() {
                return Ok(found.map_or(Reply::Null, Reply::Bulk));
            }
            if position == 0 {
                break;
            }
        }
    }
    Ok(Reply::Null)
}

/// What `SCAN` is asked for.
struct Wanted<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    type_name: Option<String>,
}

impl<'a> Wanted<'a> {
    fn parse(args: Args<'a>) -> Result<Wanted<'a>, RedisError> {
        let mut wanted = Wanted { pattern: None, count: 10, type_name: None };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(text) = args.get(at + 1) else { return Err(RedisError::SYNTAX) };
            match option.to_ascii_lowercase().as_slice() {
                b"match" => wanted.pattern = Some(text),
                b"count" => {
                    let count = parse_integer(text).ok_or(RedisError::NOT_INTEGER)?;
                    wanted.count =
                        usize::try_from(count).ok().filter(|count| *count > 0).ok_or(RedisError::SYNTAX)?;
                }
                b"type" => wanted.type_name = Some(String::from_utf8_lossy(text).to_ascii_lowercase()),
                _ => return Err(RedisError::SYNTAX),
            }
            at += 2;
        }
        Ok(wanted)
    }

    fn includes(&self, name: &[u8], value_type: ValueType) -> bool {
        self.pattern.is_none_or(|pattern| is_match(pattern, name))
            && self.type_name.as_ref().is_none_or(|wanted| wanted == value::type_name(value_type))
    }
}

/// A cursor as a client sends it back.
pub(super) fn cursor(text: &[u8]) -> Result<u64, RedisError> {
    if text.is_empty() {
        // As Redis takes it.
        return Ok(0);
    }
    let text = std::str::from_utf8(text).ok().filter(|text| !text.starts_with('+'));
    text.and_then(|text| text.parse().ok()).ok_or_else(|| RedisError::err("invalid cursor"))
}

pub(super) fn scan(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut position = cursor(args.at(1))?;
    let wanted = Wanted::parse(args)?;
    let mut names = Vec::new();
    let mut seen = 0;
    let mut left = wanted.count.saturating_mul(LOOKED_AT_PER_KEY).min(LOOKED_AT_MAX);
    loop {
        // Few at a time: of a database alone on its server each is one of its keys.
        let look_at = (wanted.count - seen).clamp(1, left.max(1));
        position = cx.tx.keys_by_hash(cx.space, position, look_at, |key, value_type| {
            let Some(name) = name(key) else { return };
            seen += 1;
            if wanted.includes(&name, value_type) {
                names.push(Reply::Bulk(name));
            }
        })?;
        left = left.saturating_sub(look_at);
        if position == 0 || seen >= wanted.count || left == 0 {
            break;
        }
    }
    Ok(Reply::Array(vec![Reply::bulk(position.to_string()), Reply::Array(names)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::{KeyPart, tuple};

    #[test]
    fn names_are_those_of_one_part() {
        for text in [&b""[..], b"apple", b"a\0b", b"\0", b"\0\xff", b"\xff\xfe", b"\xff\0"] {
            let key = tuple::name(text).expect("short");
            assert_eq!(name(&key).as_deref(), Some(text), "{}", text.escape_ascii());
            assert_eq!(tuple::decode_name(&key).as_deref(), Some(text));
        }
        let parts = |parts: &[KeyPart]| name(&tuple::encode(parts).expect("short"));
        let text = || KeyPart::String("a".to_owned());
        assert_eq!(parts(&[text(), text()]), None);
        assert_eq!(parts(&[text(), KeyPart::True]), None);
        assert_eq!(parts(&[KeyPart::False]), None);
        assert_eq!(parts(&[]), None);
        assert_eq!(name(b"\x02raw"), None);
    }
}
