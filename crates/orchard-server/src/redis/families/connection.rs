//! Commands about the connection itself.

use super::tracking;
use crate::redis::clients::Client;
use crate::redis::command::{
    ADMIN, ALLOW_BUSY, Command, FAST, Family, Flags, LOADING, NO_AUTH, NOSCRIPT, NOT_QUEUED, STALE,
    container, session, shown,
};
use crate::redis::context::SessionContext;
use crate::redis::error::RedisError;
use crate::redis::session::ReplyMode;
use crate::redis::{REDIS_VERSION, databases};
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply, RespVersion};
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

const ALWAYS: Flags = NOSCRIPT.and(LOADING).and(STALE).and(FAST).and(ALLOW_BUSY);
const CLIENT: Flags = NOSCRIPT.and(LOADING).and(STALE);

pub(super) static FAMILY: Family = Family {
    group: "connection",
    commands: &[
        session("auth", -2, ALWAYS.and(NO_AUTH), auth),
        container("client", CLIENT_COMMANDS),
        session("echo", 2, LOADING.and(STALE).and(FAST), echo),
        session("hello", -1, ALWAYS.and(NO_AUTH), hello),
        session("ping", -1, FAST, ping),
        session("quit", -1, ALWAYS.and(NO_AUTH).and(NOT_QUEUED), quit),
        session("reset", 1, ALWAYS.and(NO_AUTH).and(NOT_QUEUED), reset),
        session("select", 2, LOADING.and(STALE).and(FAST), select),
    ],
};

static CLIENT_COMMANDS: &[Command] = &[
    session("client|caching", 3, CLIENT, tracking::caching),
    session("client|getname", 2, CLIENT, client_getname),
    session("client|getredir", 2, CLIENT, tracking::getredir),
    session("client|help", 2, LOADING.and(STALE), client_help),
    session("client|id", 2, CLIENT, client_id),
    session("client|info", 2, CLIENT, client_info),
    session("client|kill", -3, CLIENT.and(ADMIN), client_kill),
    session("client|list", -2, CLIENT.and(ADMIN), client_list),
    session("client|no-evict", 3, CLIENT.and(ADMIN), client_no_evict),
    session("client|pause", -3, CLIENT.and(ADMIN), client_pause),
    session("client|reply", 3, CLIENT, client_reply),
    session("client|setinfo", 4, CLIENT, client_setinfo),
    session("client|setname", 3, CLIENT, client_setname),
    session("client|tracking", -3, CLIENT, tracking::tracking),
    session("client|trackinginfo", 2, CLIENT, tracking::trackinginfo),
    session("client|unblock", -3, CLIENT.and(ADMIN), client_unblock),
    session("client|unpause", 2, CLIENT.and(ADMIN), client_unpause),
];

fn ping(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if cx.session.only_listens() && args.len() <= 2 {
        return Ok(Reply::Array(vec![Reply::Static("pong"), Reply::bulk(args.at(1))]));
    }
    match args.len() {
        1 => Ok(Reply::Simple("PONG".into())),
        2 => Ok(Reply::Bulk(args.shared(1))),
        _ => Err(RedisError::wrong_arity("ping")),
    }
}

fn echo(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Bulk(args.shared(1)))
}

fn quit(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    cx.session.is_closing = true;
    Ok(Reply::Ok)
}

fn reset(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let session = &mut *cx.session;
    session.discard();
    cx.server.redis.pubsub.unsubscribe_all(&session.client, &mut session.subscriptions);
    cx.server.redis.monitors.remove(session.client.id);
    session.is_monitor = false;
    tracking::end(cx);
    let session = &mut *cx.session;
    session.database = 0;
    session.version = RespVersion::Two;
    session.reply_mode = ReplyMode::On;
    session.name = Bytes::new();
    session.is_authenticated = cx.server.options.access_token.current().is_none();
    note_name(cx);
    Ok(Reply::Simple("RESET".into()))
}

fn select(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    cx.session.database = databases::named(args.at(1))?;
    Ok(Reply::Ok)
}

/// Whether this is who may use the server. Without an access token whatever a client sends is accepted.
fn is_known(cx: &SessionContext<'_>, user: &[u8], password: &[u8]) -> bool {
    match cx.server.options.access_token.current() {
        Some(token) => token.matches(password) && user == b"default",
        None => true,
    }
}

const WRONG_PASS: RedisError =
    RedisError(std::borrow::Cow::Borrowed("WRONGPASS invalid username-password pair or user is disabled."));

fn auth(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (user, password) = match args.len() {
        2 => (&b"default"[..], args.at(1)),
        3 => (args.at(1), args.at(2)),
        _ => return Err(RedisError::SYNTAX),
    };
    if !is_known(cx, user, password) {
        return Err(WRONG_PASS);
    }
    cx.session.is_authenticated = true;
    Ok(Reply::Ok)
}

fn hello(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut version = None;
    if let Some(text) = args.get(1) {
        version = Some(match parse_integer(text) {
            Some(2) => RespVersion::Two,
            Some(3) => RespVersion::Three,
            Some(_) => return Err(RedisError("NOPROTO unsupported protocol version".into())),
            None => return Err(RedisError::err("Protocol version is not an integer or out of range")),
        });
    }
    let mut at = 2;
    while let Some(option) = args.get(at) {
        let more = args.len() - at - 1;
        if option.eq_ignore_ascii_case(b"auth") && more >= 2 {
            if !is_known(cx, args.at(at + 1), args.at(at + 2)) {
                return Err(WRONG_PASS);
            }
            cx.session.is_authenticated = true;
            at += 3;
        } else if option.eq_ignore_ascii_case(b"setname") && more >= 1 {
            // At once, whatever comes behind it.
            set_name(cx, args.at(at + 1))?;
            at += 2;
        } else {
            return Err(RedisError::err(format_args!(
                "Syntax error in HELLO option '{}'",
                shown(option, 128)
            )));
        }
    }
    if !cx.session.is_authenticated {
        return Err(RedisError(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO AUTH <user> \
             <pass> option can be used to authenticate the client and select the RESP protocol version at the same \
             time"
                .into(),
        ));
    }
    if let Some(version) = version {
        cx.session.version = version;
    }
    let number = if cx.session.version == RespVersion::Three { 3 } else { 2 };
    cx.session.client.seen.lock().version = number;
    let id = i64::try_from(cx.session.client.id).unwrap_or(i64::MAX);
    Ok(Reply::Map(vec![
        (Reply::Static("server"), Reply::Static("redis")),
        (Reply::Static("version"), Reply::Static(REDIS_VERSION)),
        (Reply::Static("proto"), Reply::Integer(i64::from(number))),
        (Reply::Static("id"), Reply::Integer(id)),
        (Reply::Static("mode"), Reply::Static("standalone")),
        (Reply::Static("role"), Reply::Static("master")),
        (Reply::Static("modules"), Reply::Array(Vec::new())),
    ]))
}

/// Whether a name can stand in a line of `CLIENT LIST`.
fn is_clean(name: &[u8]) -> bool {
    name.iter().all(|byte| (b'!'..=b'~').contains(byte))
}

fn note_name(cx: &mut SessionContext<'_>) {
    let mut seen = cx.session.client.seen.lock();
    seen.name = cx.session.name.clone();
    seen.library_name = cx.session.library_name.clone();
    seen.library_version = cx.session.library_version.clone();
}

fn set_name(cx: &mut SessionContext<'_>, name: &[u8]) -> Result<(), RedisError> {
    if !is_clean(name) {
        return Err(RedisError::err("Client names cannot contain spaces, newlines or special characters."));
    }
    cx.session.name = Bytes::copy_from_slice(name);
    note_name(cx);
    Ok(())
}

fn client_setname(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    set_name(cx, args.at(2))?;
    Ok(Reply::Ok)
}

fn client_getname(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let name = cx.session.name.clone();
    Ok(if name.is_empty() { Reply::Null } else { Reply::Bulk(name) })
}

/// Of a later version of Redis: client libraries send it on connect.
fn client_setinfo(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (option, value) = (args.at(2), args.at(3));
    let is_name = option.eq_ignore_ascii_case(b"lib-name");
    if !is_name && !option.eq_ignore_ascii_case(b"lib-ver") {
        return Err(RedisError::err(format_args!("Unrecognized option '{}'", shown(option, 128))));
    }
    if !is_clean(value) {
        let text = "cannot contain spaces, newlines or special characters.";
        let option = if is_name { "lib-name" } else { "lib-ver" };
        return Err(RedisError::err(format_args!("{option} {text}")));
    }
    let value = Bytes::copy_from_slice(value);
    if is_name {
        cx.session.library_name = value;
    } else {
        cx.session.library_version = value;
    }
    note_name(cx);
    Ok(Reply::Ok)
}

fn client_id(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(i64::try_from(cx.session.client.id).unwrap_or(i64::MAX)))
}

fn client_info(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let line = describe(&cx.session.client);
    Ok(Reply::Verbatim(*b"txt", Bytes::from(line)))
}

fn client_list(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut wanted_ids = None;
    let mut wants_none = false;
    let mut listens = None;
    match (args.get(2), args.len()) {
        (None, _) => {}
        (Some(option), 4) if option.eq_ignore_ascii_case(b"type") => {
            match args.at(3).to_ascii_lowercase().as_slice() {
                b"normal" => listens = Some(false),
                b"pubsub" => listens = Some(true),
                b"master" | b"replica" | b"slave" => wants_none = true,
                _ => {
                    let word = shown(args.at(3), 4_096);
                    return Err(RedisError::err(format_args!("Unknown client type '{word}'")));
                }
            }
        }
        (Some(option), 4..) if option.eq_ignore_ascii_case(b"id") => {
            let ids: Option<Vec<_>> = args.iter().skip(3).map(parse_integer).collect();
            wanted_ids = Some(ids.ok_or_else(|| RedisError::err("Invalid client ID"))?);
        }
        _ => return Err(RedisError::SYNTAX),
    }
    let mut text = String::new();
    for client in cx.server.redis.clients.all() {
        let is_wanted =
            wanted_ids.as_ref().is_none_or(|ids| ids.iter().any(|id| u64::try_from(*id) == Ok(client.id)));
        if is_wanted && !wants_none && listens.is_none_or(|listens| listens == client.listens()) {
            text.push_str(&describe(&client));
        }
    }
    Ok(Reply::Verbatim(*b"txt", Bytes::from(text)))
}

/// One line of `CLIENT LIST`.
fn describe(client: &Client) -> String {
    let seen = client.seen.lock().clone();
    let address =
        |address: Option<std::net::SocketAddr>| address.map_or(String::new(), |address| address.to_string());
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let idle = seen.active_at.unwrap_or(client.connected_at).elapsed().as_secs();
    let mut flags = String::new();
    for (is, flag) in [
        (seen.is_monitor, 'O'),
        (seen.subscriptions != [0, 0, 0], 'P'),
        (seen.queued.is_some(), 'x'),
        (seen.is_blocked, 'b'),
    ] {
        if is {
            flags.push(flag);
        }
    }
    let (letters, redirect) = tracking::in_list(seen.tracking.as_ref());
    flags.push_str(&letters);
    if flags.is_empty() {
        flags.push('N');
    }
    let [channels, patterns, shards] = seen.subscriptions;
    let mut line = String::new();
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        line,
        "id={} addr={} laddr={} fd=-1 name={} age={} idle={idle} flags={flags} db={} sub={channels} psub={patterns} ssub={shards} multi={} \
         qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem={} tot-mem={} events=r cmd={} \
         user=default redir={redirect} resp={} lib-name={} lib-ver={} watch={}",
        client.id,
        address(client.address),
        address(client.local_address),
        text(&seen.name),
        client.connected_at.elapsed().as_secs(),
        seen.database,
        seen.queued.map_or(-1, |queued| i64::try_from(queued).unwrap_or(i64::MAX)),
        seen.input_bytes,
        seen.output_bytes,
        seen.input_bytes + seen.output_bytes,
        if seen.command.is_empty() { "NULL" } else { seen.command },
        seen.version,
        text(&seen.library_name),
        text(&seen.library_version),
        seen.watched,
    );
    line
}

/// Which clients `CLIENT KILL` ends.
#[derive(Default)]
struct Victims {
    id: Option<i64>,
    address: Option<String>,
    local_address: Option<String>,
    is_type_absent: bool,
    /// Only those that listen to channels, or only those that do not.
    listens: Option<bool>,
    keeps_self: bool,
}

impl Victims {
    fn parse(args: Args<'_>) -> Result<Victims, RedisError> {
        let mut victims = Victims { keeps_self: true, ..Victims::default() };
        let mut at = 2;
        while let Some(option) = args.get(at) {
            let Some(value) = args.get(at + 1) else { return Err(RedisError::SYNTAX) };
            let text = || shown(value, 4_096);
            match option.to_ascii_lowercase().as_slice() {
                b"id" => {
                    let id = parse_integer(value).filter(|id| *id >= 1);
                    victims.id =
                        Some(id.ok_or_else(|| RedisError::err("client-id should be greater than 0"))?);
                }
                b"addr" => victims.address = Some(text()),
                b"laddr" => victims.local_address = Some(text()),
                b"type" => match value.to_ascii_lowercase().as_slice() {
                    b"normal" => victims.listens = Some(false),
                    b"pubsub" => victims.listens = Some(true),
                    b"master" | b"replica" | b"slave" => victims.is_type_absent = true,
                    _ => return Err(RedisError::err(format_args!("Unknown client type '{}'", text()))),
                },
                b"user" if value == b"default" => {}
                b"user" => return Err(RedisError::err(format_args!("No such user '{}'", text()))),
                b"skipme" => match value.to_ascii_lowercase().as_slice() {
                    b"yes" => victims.keeps_self = true,
                    b"no" => victims.keeps_self = false,
                    _ => return Err(RedisError::SYNTAX),
                },
                _ => return Err(RedisError::SYNTAX),
            }
            at += 2;
        }
        Ok(victims)
    }

    fn include(&self, client: &Client, own: u64) -> bool {
        let is = |address: Option<std::net::SocketAddr>, wanted: &Option<String>| {
            wanted.as_ref().is_none_or(|wanted| address.is_some_and(|address| address.to_string() == *wanted))
        };
        if self.is_type_absent || (self.keeps_self && client.id == own) {
            return false;
        }
        if self.listens.is_some_and(|listens| listens != client.listens()) {
            return false;
        }
        self.id.is_none_or(|id| u64::try_from(id) == Ok(client.id))
            && is(client.address, &self.address)
            && is(client.local_address, &self.local_address)
    }
}

fn client_kill(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let own = cx.session.client.id;
    let is_old_form = args.len() == 3;
    let victims = if is_old_form {
        Victims { address: Some(String::from_utf8_lossy(args.at(2)).into_owned()), ..Victims::default() }
    } else {
        Victims::parse(args)?
    };
    let found: Vec<Arc<Client>> =
        cx.server.redis.clients.all().into_iter().filter(|client| victims.include(client, own)).collect();
    for client in &found {
        if client.id == own {
            // After this reply.
            cx.session.is_closing = true;
        } else {
            client.kill();
        }
    }
    match (is_old_form, found.len()) {
        (true, 0) => Err(RedisError::err("No such client")),
        (true, _) => Ok(Reply::Ok),
        (false, count) => Ok(Reply::count(count)),
    }
}

fn client_no_evict(_: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    match args.at(2).to_ascii_lowercase().as_slice() {
        // Nobody is disconnected for want of memory.
        b"on" | b"off" => Ok(Reply::Ok),
        _ => Err(RedisError::SYNTAX),
    }
}

fn client_reply(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {
            cx.session.reply_mode = ReplyMode::On;
            Ok(Reply::Ok)
        }
        b"off" => {
            cx.session.reply_mode = ReplyMode::Off;
            Ok(Reply::None)
        }
        b"skip" => {
            if cx.session.reply_mode != ReplyMode::Off {
                cx.session.reply_mode = ReplyMode::SkipNext;
            }
            Ok(Reply::None)
        }
        _ => Err(RedisError::SYNTAX),
    }
}

fn client_pause(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    if args.len() > 4 {
        let word = shown(args.at(1), 128);
        return Err(RedisError::err(format_args!(
            "unknown subcommand or wrong number of arguments for '{word}'. Try CLIENT HELP."
        )));
    }
    let only_writes = match args.get(3) {
        None => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => false,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => true,
        Some(_) => return Err(RedisError::err("CLIENT PAUSE mode must be WRITE or ALL")),
    };
    let time = parse_integer(args.at(2));
    let time = time.ok_or_else(|| RedisError::err("timeout is not an integer or out of range"))?;
    let time = u64::try_from(time).map_err(|_| RedisError::err("timeout is negative"))?;
    cx.server.redis.pause.begin(Duration::from_millis(time), only_writes);
    Ok(Reply::Ok)
}

fn client_unpause(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    cx.server.redis.pause.end();
    Ok(Reply::Ok)
}

fn client_unblock(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let with_error = match args.get(3) {
        None => false,
        Some(_) if args.len() > 4 => return Err(RedisError::wrong_arity("client|unblock")),
        Some(option) if option.eq_ignore_ascii_case(b"timeout") => false,
        Some(option) if option.eq_ignore_ascii_case(b"error") => true,
        Some(_) => {
            return Err(RedisError::err("CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
        }
    };
    let id = parse_integer(args.at(2)).ok_or(RedisError::NOT_INTEGER)?;
    let clients = cx.server.redis.clients.all();
    let found = clients.iter().find(|client| i64::try_from(client.id) == Ok(id));
    Ok(Reply::truth(found.is_some_and(|client| client.unblock(with_error))))
}

const CLIENT_HELP: &[&str] = &[
    "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * ID <client-id>",
    "      Kill connections by client id.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "HELP",
    "    Print this help.",
];

fn client_help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(CLIENT_HELP.iter().map(|line| Reply::Simple((*line).into())).collect()))
}
