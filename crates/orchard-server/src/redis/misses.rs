//! Keys that a command looks for in vain, for the notification `keymiss`.
//!
//! Redis tells of them as it looks: before it writes, in the order of the arguments, up to a key of a wrong type, and not at
//! all if the arguments were wrong before it looked. Only commands that read a key look; those that change it in place do
//! not.

use super::command::{Command, Handler};
use super::families;
use super::notify::{self, Classes};
use super::pubsub::Kind;
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::{Key, SpaceId, Transaction, ValueType, tuple};

/// What a command found nothing at, before it ran.
#[derive(Default)]
pub(super) struct Misses {
    keys: Vec<Key>,
    /// So many of them stand before the first key of a wrong type.
    before_wrong_type: usize,
    /// Redis looks before it has read all arguments.
    looks_first: bool,
}

impl Misses {
    /// Looks for the keys of a command that is about to run.
    pub(super) fn of(
        classes: Classes,
        tx: &mut Transaction<'_>,
        space: SpaceId,
        command: &Command,
        args: Args<'_>,
    ) -> Misses {
        if !classes.tells_misses() {
            return Misses::default();
        }
        let mut misses = Misses { looks_first: looks_first(command.name), ..Misses::default() };
        let mut has_wrong_type = false;
        // `OBJECT` looks and tells nobody.
        let told = if command.name.starts_with("object|") { Vec::new() } else { places(command, args) };
        for place in told {
            let Ok(key) = tuple::name(args.at(place)) else { continue };
            let Ok(found) = tx.entry_in(space, &key) else { continue };
            match found {
                None => misses.keys.push(key),
                Some(entry) => has_wrong_type |= is_wrong(command.name, entry.value.value_type),
            }
            if !has_wrong_type {
                misses.before_wrong_type = misses.keys.len();
            }
        }
        misses
    }

    /// The messages, now that the command has answered.
    pub(super) fn messages(
        &self,
        classes: Classes,
        database: u32,
        reply: &Reply,
    ) -> Vec<(Kind, Bytes, Bytes)> {
        let told = match reply {
            Reply::Error(text) if text.starts_with("WRONGTYPE") => self.before_wrong_type,
            Reply::Error(_) if !self.looks_first => 0,
            _ => self.keys.len(),
        };
        notify::misses(classes, database, self.keys.get(..told).unwrap_or_default())
    }
}

/// Where the keys stand that a command looks for to read them.
pub(super) fn places(command: &Command, args: Args<'_>) -> Vec<usize> {
    let has = |word: &[u8], from| args.iter().skip(from).any(|arg| arg.eq_ignore_ascii_case(word));
    let all = || families::key_places(command, args).unwrap_or_default();
    match command.name {
        name if name == "watch" || name.starts_with("memory|") => Vec::new(),
        "getdel" | "getex" | "getset" => vec![1],
        "set" if has(b"get", 3) => vec![1],
        "bitfield" if !has(b"set", 2) && !has(b"incrby", 2) => vec![1],
        "copy" => vec![1],
        "zrangestore" => vec![2],
        "bitop" | "sinterstore" | "sunionstore" | "sdiffstore" | "zinterstore" | "zunionstore"
        | "zdiffstore" => {
            let mut places = all();
            // Where the result goes.
            if !places.is_empty() {
                places.remove(0);
            }
            places
        }
        _ if matches!(command.handler, Handler::Read(_)) => all(),
        _ => Vec::new(),
    }
}

fn looks_first(name: &str) -> bool {
    matches!(
        name,
        "lcs" | "zunion" | "zinter" | "zdiff" | "zintercard" | "zunionstore" | "zinterstore" | "zdiffstore"
    )
}

/// Whether a command of several keys stops at a value of this type.
fn is_wrong(name: &str, value_type: ValueType) -> bool {
    match name {
        "zunion" | "zinter" | "zdiff" | "zintercard" | "zunionstore" | "zinterstore" | "zdiffstore" => {
            !matches!(value_type, ValueType::ZSet | ValueType::Set)
        }
        "sinter" | "sunion" | "sdiff" | "sintercard" | "sinterstore" | "sunionstore" | "sdiffstore" => {
            value_type != ValueType::Set
        }
        "bitop" => matches!(
            value_type,
            ValueType::List | ValueType::Hash | ValueType::Set | ValueType::ZSet | ValueType::Stream
        ),
        _ => false,
    }
}
