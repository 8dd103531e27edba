//! The one table of commands: name, arity, flags, where keys stand, and what runs. It feeds the dispatcher, arity checks
//! and `COMMAND`.

use super::context::{Context, SessionContext};
use super::error::RedisError;
use super::families;
use orchard_wire::resp::{Args, Reply};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::LazyLock;

/// What a command is, as `COMMAND INFO` names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Flags(u32);

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

impl Flags {
    pub(crate) const fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 == flag.0
    }

    /// Both, where `|` cannot be used.
    pub(crate) const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Names of the flags that are set, as Redis writes them.
    pub(crate) fn names(self) -> impl Iterator<Item = &'static str> {
        FLAG_NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

pub(crate) const NONE: Flags = Flags(0);
pub(crate) const WRITE: Flags = Flags(1);
pub(crate) const READONLY: Flags = Flags(1 << 1);
pub(crate) const DENYOOM: Flags = Flags(1 << 2);
pub(crate) const ADMIN: Flags = Flags(1 << 3);
pub(crate) const PUBSUB: Flags = Flags(1 << 4);
pub(crate) const NOSCRIPT: Flags = Flags(1 << 5);
pub(crate) const BLOCKING: Flags = Flags(1 << 6);
pub(crate) const LOADING: Flags = Flags(1 << 7);
pub(crate) const STALE: Flags = Flags(1 << 8);
pub(crate) const SKIP_MONITOR: Flags = Flags(1 << 9);
pub(crate) const SKIP_SLOWLOG: Flags = Flags(1 << 10);
pub(crate) const FAST: Flags = Flags(1 << 11);
pub(crate) const NO_AUTH: Flags = Flags(1 << 12);
pub(crate) const NO_MULTI: Flags = Flags(1 << 13);
pub(crate) const MOVABLEKEYS: Flags = Flags(1 << 14);
pub(crate) const ALLOW_BUSY: Flags = Flags(1 << 15);
/// Runs at once inside `MULTI`, too. Not shown.
pub(crate) const NOT_QUEUED: Flags = Flags(1 << 16);

const FLAG_NAMES: [(Flags, &str); 16] = [
    (WRITE, "write"),
    (READONLY, "readonly"),
    (DENYOOM, "denyoom"),
    (ADMIN, "admin"),
    (PUBSUB, "pubsub"),
    (NOSCRIPT, "noscript"),
    (BLOCKING, "blocking"),
    (LOADING, "loading"),
    (STALE, "stale"),
    (SKIP_MONITOR, "skip_monitor"),
    (SKIP_SLOWLOG, "skip_slowlog"),
    (FAST, "fast"),
    (NO_AUTH, "no_auth"),
    (NO_MULTI, "no_multi"),
    (MOVABLEKEYS, "movablekeys"),
    (ALLOW_BUSY, "allow_busy"),
];

/// Runs on the connection alone.
pub(crate) type SessionHandler = fn(&mut SessionContext<'_>, Args<'_>) -> Result<Reply, RedisError>;
/// Runs on keys.
pub(crate) type KeysHandler = fn(&mut Context<'_, '_>, Args<'_>) -> Result<Reply, RedisError>;

/// What runs.
#[derive(Clone, Copy)]
pub(crate) enum Handler {
    /// On the connection alone.
    Session(SessionHandler),
    /// On a view.
    Read(KeysHandler),
    /// In a transaction.
    Write(KeysHandler),
    /// What has been queued.
    Exec,
    /// One of these, by the second word.
    Container(&'static [Command]),
}

/// Where keys stand among the arguments: first, last (negative: from the end) and step; zeros: nowhere.
pub(crate) type KeyPositions = (i32, i32, i32);

/// One line of the table.
pub(crate) struct Command {
    /// Lower case; of a subcommand `container|sub`.
    pub(crate) name: &'static str,
    /// Number of arguments with the name; negative: at least so many.
    pub(crate) arity: i32,
    pub(crate) flags: Flags,
    pub(crate) keys: KeyPositions,
    pub(crate) handler: Handler,
}

impl Command {
    /// Whether so many arguments are right.
    pub(crate) fn takes(&self, count: usize) -> bool {
        let arity = self.arity.unsigned_abs() as usize;
        if self.arity < 0 { count >= arity } else { count == arity }
    }

    /// The keys among its arguments, as far as they stand at fixed places.
    pub(crate) fn key_names<'a>(&self, args: Args<'a>) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (first, last, step) = self.keys;
        let count = i32::try_from(args.len()).unwrap_or(i32::MAX);
        let last = if last < 0 { count + last } else { last };
        let places = (first..=last).step_by(usize::try_from(step).unwrap_or(1).max(1));
        places.filter(move |_| first > 0).filter_map(move |at| args.get(usize::try_from(at).ok()?))
    }

    /// The last word of the name.
    pub(crate) fn last_name(&self) -> &'static str {
        self.name.rsplit('|').next().unwrap_or(self.name)
    }
}

/// A command that needs no keys.
pub(crate) const fn session(
    name: &'static str,
    arity: i32,
    flags: Flags,
    handler: SessionHandler,
) -> Command {
    Command { name, arity, flags, keys: (0, 0, 0), handler: Handler::Session(handler) }
}

/// A command that reads keys.
pub(crate) const fn read(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: KeyPositions,
    handler: KeysHandler,
) -> Command {
    Command { name, arity, flags: flags.and(READONLY), keys, handler: Handler::Read(handler) }
}

/// A command that writes keys.
pub(crate) const fn write(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: KeyPositions,
    handler: KeysHandler,
) -> Command {
    Command { name, arity, flags: flags.and(WRITE), keys, handler: Handler::Write(handler) }
}

/// A command whose second word chooses.
pub(crate) const fn container(name: &'static str, commands: &'static [Command]) -> Command {
    Command { name, arity: -2, flags: NONE, keys: (0, 0, 0), handler: Handler::Container(commands) }
}

/// Commands that belong together.
pub(crate) struct Family {
    /// As `COMMAND DOCS` names the group.
    pub(crate) group: &'static str,
    pub(crate) commands: &'static [Command],
}

/// Every command.
pub(crate) fn all() -> impl Iterator<Item = (&'static str, &'static Command)> {
    families::ALL.iter().flat_map(|family| family.commands.iter().map(|command| (family.group, command)))
}

/// Longest name of a command.
const NAME_SIZE_BYTES_MAX: usize = 32;

/// FNV-1a: names are short, and they are ours.
#[derive(Clone, Copy)]
pub(crate) struct NameHasher(u64);

impl Default for NameHasher {
    fn default() -> NameHasher {
        NameHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for NameHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        // The table takes its tag from the top bits.
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }
}

type Table = HashMap<&'static [u8], &'static Command, BuildHasherDefault<NameHasher>>;

static TABLE: LazyLock<Table> =
    LazyLock::new(|| all().map(|(_, command)| (command.name.as_bytes(), command)).collect());

/// The command of this name, in any case.
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    let mut lower = [0; NAME_SIZE_BYTES_MAX];
    let lower = lower.get_mut(..name.len())?;
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    TABLE.get(&*lower).copied()
}

/// The command that a request names, whether or not its arguments are right.
pub(crate) fn named(args: Args<'_>) -> Option<&'static Command> {
    let command = find(args.at(0))?;
    let Handler::Container(subcommands) = command.handler else { return Some(command) };
    subcommands.iter().find(|subcommand| subcommand.last_name().as_bytes().eq_ignore_ascii_case(args.at(1)))
}

/// Why a request names no command that can run.
pub(crate) fn resolve(args: Args<'_>) -> Result<&'static Command, RedisError> {
    let Some(command) = find(args.at(0)) else { return Err(unknown(args)) };
    let command = match (command.handler, args.get(1)) {
        // Alone, the container is its first subcommand, if it may stand alone at all.
        (Handler::Container([first, ..]), None) if command.takes(1) => return Ok(first),
        (Handler::Container(subcommands), Some(word)) => subcommands
            .iter()
            .find(|subcommand| subcommand.last_name().as_bytes().eq_ignore_ascii_case(word))
            .ok_or_else(|| unknown_subcommand(command, word))?,
        _ => command,
    };
    if !command.takes(args.len()) {
        return Err(RedisError::wrong_arity(command.name));
    }
    Ok(command)
}

/// At most `limit` bytes of foreign text, for an error; a NUL ends it, as in Redis.
pub(crate) fn shown(text: &[u8], limit: usize) -> String {
    let text = text.get(..limit).unwrap_or(text);
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(text.len());
    String::from_utf8_lossy(text.get(..end).unwrap_or(text)).into_owned()
}

fn unknown(args: Args<'_>) -> RedisError {
    const SHOWN_BYTES: usize = 128;
    let mut beginning = String::new();
    for arg in args.iter().skip(1) {
        if beginning.len() >= SHOWN_BYTES {
            break;
        }
        beginning.push_str(&format!("'{}' ", shown(arg, SHOWN_BYTES - beginning.len())));
    }
    let name = shown(args.at(0), SHOWN_BYTES);
    RedisError::err(format_args!("unknown command '{name}', with args beginning with: {beginning}"))
}

fn unknown_subcommand(command: &Command, word: &[u8]) -> RedisError {
    let upper = command.name.to_ascii_uppercase();
    RedisError::err(format_args!("unknown subcommand '{}'. Try {upper} HELP.", shown(word, 128)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let mut names = std::collections::BTreeSet::new();
        for (_, command) in all() {
            assert!(names.insert(command.name), "{} stands twice", command.name);
            assert!(command.name.len() <= NAME_SIZE_BYTES_MAX);
            assert_eq!(command.name, command.name.to_ascii_lowercase());
            assert_ne!(command.arity, 0, "{}", command.name);
            assert!(find(command.name.to_ascii_uppercase().as_bytes()).is_some());
            if let Handler::Container(subcommands) = command.handler {
                for subcommand in subcommands {
                    assert_eq!(subcommand.name, format!("{}|{}", command.name, subcommand.last_name()));
                }
            }
        }
        assert!(find(b"").is_none() && find(&[b'a'; 100]).is_none());
    }
}
