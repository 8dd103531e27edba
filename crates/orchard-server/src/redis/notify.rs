//! Keyspace notifications: which events a command that wrote something gives.
//!
//! - Events are messages on `__keyspace@N__:key` and `__keyevent@N__:event`. They are sent when the commit has its place, and
//!   leave for the listeners when it is durable.
//! - They follow from the command and from the keys that it touched ([`Touched`]), so no handler has to think of them. A
//!   command that changed nothing gives none.

use super::pubsub::Kind;
use bytes::Bytes;
use orchard_wire::resp::Args;
use orchard_wire::resp::number::parse_integer;
use orcharddb::{Expired, Key, UnixMillis, tuple};

/// Which events are sent: the letters of `notify-keyspace-events`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Classes(u32);

const LETTERS: [(char, u32); 14] = [
    ('g', 1),
    ('$', 1 << 1),
    ('l', 1 << 2),
    ('s', 1 << 3),
    ('h', 1 << 4),
    ('z', 1 << 5),
    ('x', 1 << 6),
    ('e', 1 << 7),
    ('t', 1 << 8),
    ('d', 1 << 9),
    ('n', 1 << 13),
    ('K', 1 << 10),
    ('E', 1 << 11),
    ('m', 1 << 12),
];
/// `A` stands for these.
const ALL: Classes = Classes(0x3ff);
const KEYSPACE: Classes = Classes(1 << 10);
const KEYEVENT: Classes = Classes(1 << 11);
const GENERIC: Classes = Classes(1);
const STRING: Classes = Classes(1 << 1);
const LIST: Classes = Classes(1 << 2);
const SET: Classes = Classes(1 << 3);
const HASH: Classes = Classes(1 << 4);
const ZSET: Classes = Classes(1 << 5);
const EXPIRED: Classes = Classes(1 << 6);
const MISS: Classes = Classes(1 << 12);
const NEW: Classes = Classes(1 << 13);

impl Classes {
    /// The classes that letters name; `None` if one names nothing.
    pub(crate) fn parse(text: &[u8]) -> Option<Classes> {
        let mut classes = 0;
        for byte in text {
            let letter = char::from(*byte);
            classes |= match letter {
                'A' => ALL.0,
                _ => LETTERS.iter().find(|(known, _)| *known == letter)?.1,
            };
        }
        Some(Classes(classes))
    }

    /// As Redis writes them.
    pub(crate) fn text(self) -> String {
        let mut text = String::new();
        if self.0 & ALL.0 == ALL.0 {
            text.push('A');
        }
        for (letter, bit) in LETTERS {
            // Redis does not show `n` next to `A`, though it is not in it.
            let is_hidden = (ALL.0 & bit != 0 || letter == 'n') && self.0 & ALL.0 == ALL.0;
            if self.0 & bit != 0 && !is_hidden {
                text.push(letter);
            }
        }
        text
    }

    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    pub(crate) fn from_bits(bits: u32) -> Classes {
        Classes(bits)
    }

    fn has(self, other: Classes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether keys that are looked for and absent are told of.
    pub(crate) fn tells_misses(self) -> bool {
        self.has(MISS) && self.is_any()
    }

    /// Whether anything is ever sent.
    pub(crate) fn is_any(self) -> bool {
        self.has(KEYSPACE) || self.has(KEYEVENT)
    }
}

/// A key that a command wrote: its database, and whether it is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Touched {
    pub(crate) database: u32,
    pub(crate) key: Key,
    /// It was not there before.
    pub(crate) is_new: bool,
    pub(crate) is_there: bool,
    /// It was given a time to live that is over.
    pub(crate) is_expired: bool,
    /// The time of the command.
    pub(crate) now: UnixMillis,
}

/// Something that happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Event {
    class: Classes,
    name: &'static str,
}

const fn event(class: Classes, name: &'static str) -> Event {
    Event { class, name }
}

const DEL: Event = event(GENERIC, "del");

/// What a command says of a key that it wrote.
enum Rule {
    /// This; then `del` if it was removed.
    Changed(Event),
    /// This, or `del` if it was removed.
    Stored(Event),
}

/// The rule of a command, by its name and arguments.
fn rule(name: &str, args: Args<'_>, now: UnixMillis) -> Option<Rule> {
    let has = |word: &[u8]| args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(word));
    Some(match name {
        "set" | "setnx" | "getset" | "setex" | "psetex" => Rule::Stored(event(STRING, "set")),
        "append" => Rule::Changed(event(STRING, "append")),
        "setrange" => Rule::Changed(event(STRING, "setrange")),
        "incr" | "incrby" | "decr" | "decrby" => Rule::Changed(event(STRING, "incrby")),
        "incrbyfloat" => Rule::Changed(event(STRING, "incrbyfloat")),
        "setbit" | "bitfield" => Rule::Changed(event(STRING, "setbit")),
        "bitop" => Rule::Stored(event(STRING, "set")),
        "getex" if has(b"persist") => Rule::Stored(event(GENERIC, "persist")),
        "getex" | "expire" | "pexpire" | "expireat" | "pexpireat" => Rule::Stored(event(GENERIC, "expire")),
        "persist" => Rule::Stored(event(GENERIC, "persist")),
        "copy" => Rule::Stored(event(GENERIC, "copy_to")),
        "del" | "unlink" | "getdel" => Rule::Stored(DEL),
        "lpush" | "lpushx" => Rule::Changed(event(LIST, "lpush")),
        "rpush" | "rpushx" => Rule::Changed(event(LIST, "rpush")),
        "lpop" | "blpop" => Rule::Changed(event(LIST, "lpop")),
        "rpop" | "brpop" => Rule::Changed(event(LIST, "rpop")),
        "lmpop" | "blmpop" => {
            let is_left = args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(b"left"));
            Rule::Changed(event(LIST, if is_left { "lpop" } else { "rpop" }))
        }
        "lset" => Rule::Changed(event(LIST, "lset")),
        "linsert" => Rule::Changed(event(LIST, "linsert")),
        "lrem" => Rule::Changed(event(LIST, "lrem")),
        "ltrim" => Rule::Changed(event(LIST, "ltrim")),
        "hset" | "hmset" | "hsetnx" => Rule::Changed(event(HASH, "hset")),
        "hexpire" | "hpexpire" | "hexpireat" | "hpexpireat" if is_past(name, args.at(2), now) => {
            Rule::Changed(event(HASH, "hdel"))
        }
        "hgetex" if has_time_that_is_past(args, now) => Rule::Changed(event(HASH, "hdel")),
        "hexpire" | "hpexpire" | "hexpireat" | "hpexpireat" => Rule::Changed(event(HASH, "hexpire")),
        "hgetex" if has(b"persist") => Rule::Changed(event(HASH, "hpersist")),
        "hgetex" => Rule::Changed(event(HASH, "hexpire")),
        "hpersist" => Rule::Changed(event(HASH, "hpersist")),
        "hsetex" => Rule::Changed(event(HASH, "hset")),
        "hgetdel" => Rule::Changed(event(HASH, "hdel")),
        "hdel" => Rule::Changed(event(HASH, "hdel")),
        "hincrby" => Rule::Changed(event(HASH, "hincrby")),
        "hincrbyfloat" => Rule::Changed(event(HASH, "hincrbyfloat")),
        "sadd" => Rule::Changed(event(SET, "sadd")),
        "srem" => Rule::Changed(event(SET, "srem")),
        "spop" => Rule::Changed(event(SET, "spop")),
        "sinterstore" => Rule::Stored(event(SET, "sinterstore")),
        "sunionstore" => Rule::Stored(event(SET, "sunionstore")),
        "sdiffstore" => Rule::Stored(event(SET, "sdiffstore")),
        "zadd" if zadd_increments(args) => Rule::Changed(event(ZSET, "zincr")),
        "zadd" => Rule::Changed(event(ZSET, "zadd")),
        "zincrby" => Rule::Changed(event(ZSET, "zincr")),
        "zrem" => Rule::Changed(event(ZSET, "zrem")),
        "zremrangebyrank" => Rule::Changed(event(ZSET, "zremrangebyrank")),
        "zremrangebyscore" => Rule::Changed(event(ZSET, "zremrangebyscore")),
        "zremrangebylex" => Rule::Changed(event(ZSET, "zremrangebylex")),
        "zpopmin" | "bzpopmin" => Rule::Changed(event(ZSET, "zpopmin")),
        "zpopmax" | "bzpopmax" => Rule::Changed(event(ZSET, "zpopmax")),
        "zmpop" | "bzmpop" => {
            let is_min = args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(b"min"));
            Rule::Changed(event(ZSET, if is_min { "zpopmin" } else { "zpopmax" }))
        }
        "zunionstore" => Rule::Stored(event(ZSET, "zunionstore")),
        "zinterstore" => Rule::Stored(event(ZSET, "zinterstore")),
        "zdiffstore" => Rule::Stored(event(ZSET, "zdiffstore")),
        "zrangestore" => Rule::Stored(event(ZSET, "zrangestore")),
        _ => return None,
    })
}

/// The events of one command, each with the key that it tells of.
fn events(name: &str, args: Args<'_>, touched: &[Touched]) -> Vec<(Event, Touched)> {
    let find = |at: usize| {
        let key = tuple::name(args.at(at)).ok();
        key.and_then(|key| touched.iter().find(|touched| touched.key == key).cloned())
    };
    let mut found = Vec::new();
    let mut add = |event: Event, touched: &Touched| found.push((event, touched.clone()));
    let gone = |touched: &Touched| !touched.is_there;
    match name {
        // Twice the same key: twice the event.
        "mset" | "msetnx" if !touched.is_empty() => {
            for touched in (1..args.len()).step_by(2).filter_map(find) {
                add(event(STRING, "set"), &touched);
            }
        }
        "getex" if touched.iter().any(|touched| touched.is_expired) => {
            touched.iter().for_each(|touched| add(DEL, touched));
        }
        "rename" | "renamenx" => {
            if let (Some(from), Some(to)) = (find(1), find(2)) {
                add(event(GENERIC, "rename_from"), &from);
                add(event(GENERIC, "rename_to"), &to);
            }
        }
        "move" => {
            for touched in touched {
                let name = if touched.is_there { "move_to" } else { "move_from" };
                add(event(GENERIC, name), touched);
            }
        }
        "smove" => {
            if let Some(from) = find(1) {
                add(event(SET, "srem"), &from);
                if gone(&from) {
                    add(DEL, &from);
                }
            }
            if let Some(to) = find(2) {
                add(event(SET, "sadd"), &to);
            }
        }
        "rpoplpush" | "brpoplpush" | "lmove" | "blmove" => {
            let is_move = name.ends_with("lmove");
            let is_left = |at: usize| is_move && args.at(at).eq_ignore_ascii_case(b"left");
            if let (Some(from), Some(to)) = (find(1), find(2)) {
                let pushed = if !is_move || is_left(4) { "lpush" } else { "rpush" };
                add(event(LIST, pushed), &to);
                add(event(LIST, if is_left(3) { "lpop" } else { "rpop" }), &from);
                if gone(&from) {
                    add(DEL, &from);
                }
            }
        }
        _ => {
            for touched in touched {
                let Some(rule) = rule(name, args, touched.now) else { return found };
                match (&rule, touched.is_there) {
                    (Rule::Changed(event), is_there) => {
                        add(*event, touched);
                        if name == "hsetex" && is_there && sets_expiry(name, args) {
                            add(super::notify::event(HASH, "hexpire"), touched);
                        }
                        if !is_there {
                            add(DEL, touched);
                        }
                    }
                    (Rule::Stored(event), true) => {
                        add(*event, touched);
                        if sets_expiry(name, args) {
                            add(super::notify::event(GENERIC, "expire"), touched);
                        }
                    }
                    (Rule::Stored(_), false) => add(DEL, touched),
                }
            }
        }
    }
    found
}

/// Whether `ZADD` has the option `INCR`: options stand before the first score, and a member may be called like one.
fn zadd_increments(args: Args<'_>) -> bool {
    const OTHERS: [&[u8]; 5] = [b"nx", b"xx", b"gt", b"lt", b"ch"];
    let mut rest =
        args.iter().skip(2).skip_while(|arg| OTHERS.iter().any(|option| arg.eq_ignore_ascii_case(option)));
    rest.next().is_some_and(|arg| arg.eq_ignore_ascii_case(b"incr"))
}

/// Whether a command that stores a string gives it an expiry.
fn sets_expiry(name: &str, args: Args<'_>) -> bool {
    const OPTIONS: [&[u8]; 4] = [b"ex", b"px", b"exat", b"pxat"];
    match name {
        "setex" | "psetex" => true,
        "hsetex" => {
            let mut options = args.iter().skip(2).take_while(|arg| !arg.eq_ignore_ascii_case(b"fields"));
            options.any(|arg| OPTIONS.iter().any(|option| arg.eq_ignore_ascii_case(option)))
        }
        "set" => args.iter().skip(3).any(|arg| OPTIONS.iter().any(|option| arg.eq_ignore_ascii_case(option))),
        _ => false,
    }
}

/// The messages that tell of what a command did.
pub(crate) fn messages(classes: Classes, name: &str, args: Args<'_>, touched: &[Touched]) -> Vec<Message> {
    let mut messages = Vec::new();
    let mut told: Vec<&Touched> = Vec::new();
    let events = events(name, args, touched);
    for (event, about) in &events {
        // A key is new before anything else is said of it.
        let is_new = about.is_there && (about.is_new || matches!(event.name, "rename_to" | "copy_to"));
        if is_new && !told.contains(&about) {
            told.push(about);
            push(&mut messages, classes, EVENT_NEW, about.database, &about.key);
        }
        push(&mut messages, classes, *event, about.database, &about.key);
    }
    messages
}

const EVENT_NEW: Event = event(NEW, "new");

type Message = (Kind, Bytes, Bytes);

fn push(messages: &mut Vec<Message>, classes: Classes, event: Event, database: u32, key: &Key) {
    if !classes.has(event.class) {
        return;
    }
    // Keys that are no single name are not seen here.
    let Some(key) = tuple::decode_name(key) else { return };
    let key = Bytes::from(key);
    let event = Bytes::from_static(event.name.as_bytes());
    if classes.has(KEYSPACE) {
        let channel = [format!("__keyspace@{database}__:").as_bytes(), &key].concat();
        messages.push((Kind::Channel, Bytes::from(channel), event.clone()));
    }
    if classes.has(KEYEVENT) {
        let channel = [format!("__keyevent@{database}__:").as_bytes(), &event].concat();
        messages.push((Kind::Channel, Bytes::from(channel), key));
    }
}

/// The messages that tell of keys that were looked for and are absent.
pub(crate) fn misses(classes: Classes, database: u32, keys: &[Key]) -> Vec<Message> {
    let mut messages = Vec::new();
    for key in keys {
        push(&mut messages, classes, event(MISS, "keymiss"), database, key);
    }
    messages
}

/// The messages that tell of what the background has taken away because its time had come.
pub(crate) fn expired(classes: Classes, database: u32, expired: &Expired) -> Vec<Message> {
    let mut messages = Vec::new();
    let events: &[Event] = match (expired.is_whole, expired.is_gone) {
        (true, _) => &[event(EXPIRED, "expired")],
        (false, false) => &[event(HASH, "hexpired")],
        (false, true) => &[event(HASH, "hexpired"), DEL],
    };
    for event in events {
        push(&mut messages, classes, *event, database, &expired.key);
    }
    messages
}

/// Whether the time that `HEXPIRE` and its like name has come.
fn is_past(name: &str, time: &[u8], now: UnixMillis) -> bool {
    let Some(time) = parse_integer(time) else { return false };
    let time_ms = if name.starts_with("hp") { time } else { time.saturating_mul(1_000) };
    if name.ends_with("at") { u64::try_from(time_ms).is_ok_and(|at| at <= now.0) } else { time_ms == 0 }
}

/// Whether `HGETEX` names a moment that has come.
fn has_time_that_is_past(args: Args<'_>, now: UnixMillis) -> bool {
    let Some(option) = args.get(2) else { return false };
    let name = if option.eq_ignore_ascii_case(b"pxat") {
        "hpexpireat"
    } else if option.eq_ignore_ascii_case(b"exat") {
        "hexpireat"
    } else {
        return false;
    };
    is_past(name, args.get(3).unwrap_or_default(), now)
}
