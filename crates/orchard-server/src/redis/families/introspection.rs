//! `COMMAND`: the table of commands, as clients ask for it.

use crate::redis::command::{
    self, ADMIN, BLOCKING, Command, FAST, Flags, Handler, LOADING, MOVABLEKEYS, PUBSUB, READONLY, STALE,
    WRITE, session,
};
use crate::redis::command_docs;
use crate::redis::context::SessionContext;
use crate::redis::error::RedisError;
use orchard_wire::glob;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};

const ALWAYS: Flags = LOADING.and(STALE);

pub(super) static COMMAND_COMMANDS: &[Command] = &[
    // `COMMAND` alone is this one.
    session("command|info", -2, ALWAYS, info),
    session("command|count", 2, ALWAYS, count),
    session("command|docs", -2, ALWAYS, docs),
    session("command|getkeys", -4, ALWAYS, getkeys),
    session("command|getkeysandflags", -4, ALWAYS, getkeysandflags),
    session("command|help", 2, ALWAYS, help),
    session("command|list", -2, ALWAYS, list),
];

fn simple(text: impl Into<std::borrow::Cow<'static, str>>) -> Reply {
    Reply::Simple(text.into())
}

/// The groups of `ACL`, without their `@`.
fn categories(group: &str, command: &Command) -> Vec<&'static str> {
    let (name, flags) = (command.name, command.flags);
    let mut categories = Vec::new();
    let mut add = |is: bool, name| {
        if is {
            categories.push(name);
        }
    };
    for (known, name) in [
        ("string", "string"),
        ("bitmap", "bitmap"),
        ("list", "list"),
        ("hash", "hash"),
        ("set", "set"),
        ("sorted-set", "sortedset"),
        ("transactions", "transaction"),
        ("connection", "connection"),
    ] {
        add(group == known, name);
    }
    let is_about_keys = match name {
        "dbsize" | "flushall" | "flushdb" | "swapdb" => true,
        "object" | "wait" => false,
        _ => group == "generic",
    };
    add(is_about_keys, "keyspace");
    add(matches!(name, "wait" | "command") || name.starts_with("command|"), "connection");
    let is_admin = flags.has(ADMIN) || matches!(name, "lastsave" | "role");
    add(flags.has(WRITE), "write");
    add(flags.has(READONLY), "read");
    add(is_admin, "admin");
    add(is_admin || matches!(name, "flushall" | "flushdb" | "swapdb" | "keys" | "info"), "dangerous");
    add(flags.has(PUBSUB), "pubsub");
    add(flags.has(BLOCKING), "blocking");
    add(flags.has(FAST), "fast");
    add(!flags.has(FAST), "slow");
    categories
}

/// One command, as `COMMAND INFO` shows it. Hints and key specifications are left empty.
fn describe(group: &str, command: &Command) -> Reply {
    let (first, last, step) = command.keys;
    let subcommands = match command.handler {
        Handler::Container(subcommands) => subcommands,
        _ => &[],
    };
    let categories = categories(group, command).into_iter().map(|name| simple(format!("@{name}")));
    Reply::Array(vec![
        Reply::Static(command.name),
        Reply::Integer(i64::from(command.arity)),
        Reply::Set(command.flags.names().map(simple).collect()),
        Reply::Integer(i64::from(first)),
        Reply::Integer(i64::from(last)),
        Reply::Integer(i64::from(step)),
        Reply::Set(categories.collect()),
        Reply::Set(Vec::new()),
        Reply::Set(Vec::new()),
        match subcommands {
            [] => Reply::Set(Vec::new()),
            _ => Reply::Array(subcommands.iter().map(|subcommand| describe(group, subcommand)).collect()),
        },
    ])
}

/// A command or, as `container|sub`, a subcommand.
fn lookup(name: &[u8]) -> Option<(&'static str, &'static Command)> {
    let (group, command) = command::all().find(|(_, command)| {
        let end = name.iter().position(|byte| *byte == b'|').unwrap_or(name.len());
        name.get(..end).is_some_and(|name| command.name.as_bytes().eq_ignore_ascii_case(name))
    })?;
    if !name.contains(&b'|') {
        return Some((group, command));
    }
    let Handler::Container(subcommands) = command.handler else { return None };
    let subcommand = subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))?;
    Some((group, subcommand))
}

fn count(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::count(command::all().count()))
}

fn info(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if args.len() <= 2 {
        return Ok(Reply::Array(command::all().map(|(group, command)| describe(group, command)).collect()));
    }
    let found = args.iter().skip(2).map(|name| match lookup(name) {
        Some((group, command)) => describe(group, command),
        None => Reply::NullArray,
    });
    Ok(Reply::Array(found.collect()))
}

/// One command, as `COMMAND DOCS` explains it.
fn explain(group: &'static str, command: &'static Command) -> (Reply, Reply) {
    let mut facts = Vec::new();
    let mut add = |name, fact| facts.push((Reply::Static(name), fact));
    let docs = command_docs::find(command.name);
    if let Some(docs) = docs {
        add("summary", Reply::Static(docs.summary));
        add("since", Reply::Static(docs.since));
    }
    add("group", Reply::Static(group));
    if let Some(docs) = docs {
        add("complexity", Reply::Static(docs.complexity()));
        let arguments = docs.arguments();
        if !arguments.is_empty() {
            add("arguments", Reply::Array(arguments));
        }
    }
    if let Handler::Container(subcommands) = command.handler {
        let pairs = subcommands.iter().map(|subcommand| explain(group, subcommand));
        add("subcommands", Reply::Map(pairs.collect()));
    }
    (Reply::Static(command.name), Reply::Map(facts))
}

fn docs(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let found: Vec<_> = match args.len() {
        2 => command::all().collect(),
        _ => args.iter().skip(2).filter_map(lookup).collect(),
    };
    let pairs = found.into_iter().map(|(group, command)| explain(group, command));
    Ok(Reply::Map(pairs.collect()))
}

fn list(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let word = args.get(3).map(<[u8]>::to_ascii_lowercase);
    let is_filtered = match args.len() {
        2 => false,
        5 if args.at(2).eq_ignore_ascii_case(b"filterby") => true,
        _ => return Err(RedisError::SYNTAX),
    };
    let by = args.at(4);
    let mut names = Vec::new();
    let mut add = |group: &str, command: &'static Command| {
        let is_wanted = match word.as_deref() {
            _ if !is_filtered => true,
            Some(b"module") => false,
            Some(b"aclcat") => {
                categories(group, command).iter().any(|name| name.as_bytes().eq_ignore_ascii_case(by))
            }
            _ => glob::matches(&by.to_ascii_lowercase(), command.name.as_bytes()),
        };
        if is_wanted {
            names.push(Reply::Static(command.name));
        }
    };
    if is_filtered && !matches!(word.as_deref(), Some(b"module" | b"aclcat" | b"pattern")) {
        return Err(RedisError::SYNTAX);
    }
    for (group, command) in command::all() {
        add(group, command);
        if let Handler::Container(subcommands) = command.handler {
            subcommands.iter().for_each(|subcommand| add(group, subcommand));
        }
    }
    Ok(Reply::Array(names))
}

/// Where the number of keys stands, for commands that tell it.
fn counted_keys(name: &str) -> Option<usize> {
    Some(match name {
        "lmpop" | "sintercard" | "zdiff" | "zinter" | "zintercard" | "zmpop" | "zunion" => 1,
        "blmpop" | "bzmpop" | "zdiffstore" | "zinterstore" | "zunionstore" => 2,
        _ => return None,
    })
}

/// Places of the keys in a request.
pub(in crate::redis) fn key_places(command: &Command, args: Args<'_>) -> Option<Vec<usize>> {
    let length = i64::try_from(args.len()).ok()?;
    let (first, last, step) = command.keys;
    let mut places = Vec::new();
    if first > 0 {
        let last = if last < 0 { length + i64::from(last) } else { i64::from(last) };
        let mut at = i64::from(first);
        while at <= last && step > 0 {
            places.push(usize::try_from(at).ok().filter(|at| *at < args.len())?);
            at += i64::from(step);
        }
    }
    if let Some(at) = counted_keys(command.name) {
        let count = parse_integer(args.at(at))
            .and_then(|count| usize::try_from(count).ok())
            .filter(|count| *count > 0)?;
        let end = at.checked_add(count)?;
        if end >= args.len() {
            return None;
        }
        places.extend(at + 1..=end);
    }
    Some(places)
}

/// The names of the keys in a request.
pub(in crate::redis) fn names<'a>(command: &Command, args: Args<'a>) -> Vec<&'a [u8]> {
    key_places(command, args).unwrap_or_default().into_iter().map(|at| args.at(at)).collect()
}

fn getkeys(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (_, places) = places_of_inner(args)?;
    Ok(Reply::Array(places.into_iter().map(|at| Reply::bulk(args.at(at + 2))).collect()))
}

fn getkeysandflags(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (command, places) = places_of_inner(args)?;
    let (first, _, _) = command.keys;
    let counted = counted_keys(command.name).unwrap_or(usize::MAX);
    let keys = places.into_iter().map(|at| {
        // Of those that count their keys, the ones in front of the count are of the first kind.
        let is_first = i32::try_from(at).is_ok_and(|at| at == first) && at < counted;
        let flags = key_flags(command, args.from(2), is_first);
        let flags = flags.iter().map(|flag| simple(*flag)).collect();
        Reply::Array(vec![Reply::bulk(args.at(at + 2)), Reply::Set(flags)])
    });
    Ok(Reply::Array(keys.collect()))
}

/// What a command does to its keys, the first one or the others, in Redis's words.
fn key_flags(command: &Command, args: Args<'_>, is_first: bool) -> &'static [&'static str] {
    const READ: &[&str] = &["RO", "access"];
    const STORE: &[&str] = &["OW", "update"];
    const TAKE: &[&str] = &["RW", "access", "delete"];
    const ADD: &[&str] = &["RW", "insert"];
    const CHANGE: &[&str] = &["RW", "access", "update"];
    match (command.name, is_first) {
        (
            "bitop" | "sdiffstore" | "sunionstore" | "zdiffstore" | "zinterstore" | "zrangestore"
            | "zunionstore",
            true,
        ) => STORE,
        ("sinterstore", true) => &["RW", "update"],
        ("copy" | "rename", false) => STORE,
        ("renamenx", false) => &["OW", "insert"],
        ("blmove" | "brpoplpush" | "lmove" | "rpoplpush" | "smove", false) => ADD,
        ("copy", true) => READ,
        ("set", _) if !args.iter().skip(3).any(|arg| arg.eq_ignore_ascii_case(b"get")) => STORE,
        ("bitfield", _) if !bitfield_writes(args) => READ,
        (
            "set" | "bitfield" | "decr" | "decrby" | "getex" | "getset" | "hincrby" | "hincrbyfloat" | "incr"
            | "incrby" | "incrbyfloat" | "move" | "setbit" | "zincrby" | "hgetex",
            _,
        ) => CHANGE,
        ("append" | "hsetnx" | "linsert" | "lpush" | "lpushx" | "rpush" | "rpushx" | "sadd", _) => ADD,
        ("del" | "unlink", _) => &["RM", "delete"],
        (
            "expire" | "expireat" | "hmset" | "hset" | "lset" | "persist" | "pexpire" | "pexpireat"
            | "setrange" | "zadd" | "hexpire" | "hpexpire" | "hexpireat" | "hpexpireat" | "hpersist"
            | "hsetex",
            _,
        ) => &["RW", "update"],
        (
            "hdel" | "lrem" | "ltrim" | "srem" | "zrem" | "zremrangebylex" | "zremrangebyrank"
            | "zremrangebyscore",
            _,
        ) => &["RW", "delete"],
        ("mset" | "psetex" | "setex", _) => STORE,
        ("msetnx" | "setnx", _) => &["OW", "insert"],
        (
            "exists" | "hexists" | "hlen" | "hstrlen" | "llen" | "memory|usage" | "object|encoding"
            | "object|freq" | "object|idletime" | "object|refcount" | "scard" | "sismember" | "strlen"
            | "touch" | "type" | "watch" | "zcard",
            _,
        ) => &["RO"],
        ("spublish" | "ssubscribe" | "sunsubscribe", _) => &["not_key"],
        _ if !command.flags.has(WRITE) => READ,
        (
            "bitop" | "sdiffstore" | "sunionstore" | "sinterstore" | "zdiffstore" | "zinterstore"
            | "zrangestore" | "zunionstore",
            false,
        ) => READ,
        _ => TAKE,
    }
}

/// Whether a `BITFIELD` does more than `GET`.
fn bitfield_writes(args: Args<'_>) -> bool {
    args.iter().skip(2).any(|arg| arg.eq_ignore_ascii_case(b"set") || arg.eq_ignore_ascii_case(b"incrby"))
}

/// The command that a request for its keys names, and their places.
fn places_of_inner(args: Args<'_>) -> Result<(&'static Command, Vec<usize>), RedisError> {
    let inner = args.from(2);
    let Ok(command) = command::resolve(inner) else {
        return Err(match command::find(inner.at(0)) {
            Some(_) => RedisError::err("Invalid number of arguments specified for command"),
            None => RedisError::err("Invalid command specified"),
        });
    };
    if command.keys == (0, 0, 0) && !command.flags.has(MOVABLEKEYS) {
        return Err(RedisError::err("The command has no key arguments"));
    }
    let places = key_places(command, inner).filter(|places| !places.is_empty());
    let places = places.ok_or_else(|| RedisError::err("Invalid arguments specified for command"))?;
    Ok((command, places))
}

const HELP: &[&str] = &[
    "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "(no subcommand)",
    "    Return details about all Redis commands.",
    "COUNT",
    "    Return the total number of commands in this Redis server.",
    "LIST",
    "    Return a list of all commands in this Redis server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple Redis commands.",
    "    If no command names are given, documentation details for all",
    "    commands are returned.",
    "GETKEYS <full-command>",
    "    Return the keys from a full Redis command.",
    "GETKEYSANDFLAGS <full-command>",
    "    Return the keys and the access flags from a full Redis command.",
    "HELP",
    "    Print this help.",
];

fn help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(HELP.iter().map(|line| simple(*line)).collect()))
}
