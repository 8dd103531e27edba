//! Whether a request may run: which command it is, who asks, and what state the connection is in.

use super::command::{self, Command, DENYOOM, Handler, NO_AUTH, NO_MULTI, NOT_QUEUED};
use super::error::RedisError;
use super::session::{QUEUE_SIZE_BYTES_MAX, Session};
use crate::Server;
use orchard_wire::resp::{Args, OwnedArgs, Reply};
use tracing::warn;

const NO_AUTHENTICATION: RedisError =
    RedisError(std::borrow::Cow::Borrowed("NOAUTH Authentication required."));

/// What is to be done with a request.
pub(super) enum Admitted {
    Answer(Reply),
    Run(&'static Command),
    /// Not even an answer.
    Close,
    /// Not now.
    Wait,
}

/// Whether a request may run now; what is to be said if not.
pub(super) fn admit(server: &Server, session: &mut Session, args: Args<'_>) -> Admitted {
    let command = match command::resolve(args) {
        Ok(command) => command,
        Err(error) if is_http(args) => {
            warn!(
                peer = ?session.client.address,
                "possible attack: a client sends HTTP where it began with Redis commands; closed"
            );
            drop(error);
            return Admitted::Close;
        }
        Err(RedisError(text)) if args.at(0).eq_ignore_ascii_case(b"exec") => {
            session.discard();
            let reason = text.strip_prefix("ERR ").unwrap_or(&text);
            let text = format!("EXECABORT Transaction discarded because of: {reason}");
            return Admitted::Answer(Reply::error(text));
        }
        Err(error) => return reject(server, session, args, error),
    };
    if !session.is_authenticated && !command.flags.has(NO_AUTH) {
        return reject(server, session, args, NO_AUTHENTICATION);
    }
    if session.only_listens() && !may_listener_run(command) {
        return reject(
            server,
            session,
            args,
            RedisError::err(format_args!(
                "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )),
        );
    }
    let queued = session.multi.as_ref().filter(|_| matches!(command.handler, Handler::Exec));
    let is_write = |(command, _): &(&Command, OwnedArgs)| matches!(command.handler, Handler::Write(_));
    let runs_now = session.multi.is_none() || queued.is_some();
    let writes = queued.is_some_and(|multi| multi.queue.iter().any(is_write));
    if runs_now
        && (server.redis.pause.holds(command, writes)
            || (server.aside.is_waiting() && (writes || command.flags.has(DENYOOM))))
    {
        return Admitted::Wait;
    }
    let Some(multi) = &mut session.multi else { return Admitted::Run(command) };
    if command.flags.has(NO_MULTI) {
        return reject(server, session, args, RedisError::err("Command not allowed inside a transaction"));
    }
    if command.flags.has(NOT_QUEUED) || matches!(command.handler, Handler::Exec) {
        return Admitted::Run(command);
    }
    let owned = args.to_owned();
    multi.size_bytes += owned.size_bytes();
    if multi.size_bytes > QUEUE_SIZE_BYTES_MAX {
        multi.queue.clear();
        return reject(
            server,
            session,
            args,
            RedisError::err(format_args!("the transaction is over {QUEUE_SIZE_BYTES_MAX} bytes")),
        );
    }
    multi.queue.push((command, owned));
    Admitted::Answer(Reply::Simple("QUEUED".into()))
}

/// A transaction that it belongs to is broken.
fn reject(server: &Server, session: &mut Session, args: Args<'_>, error: RedisError) -> Admitted {
    server.redis.calls.note_rejected(args, &error.0);
    if let Some(multi) = &mut session.multi {
        multi.is_broken = true;
    }
    Admitted::Answer(error.into())
}

/// Whether a client that listens to channels may run a command.
fn may_listener_run(command: &Command) -> bool {
    matches!(
        command.name,
        "ping"
            | "quit"
            | "reset"
            | "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
    )
}

/// Whether an unknown command is a request of HTTP.
fn is_http(args: Args<'_>) -> bool {
    const VERBS: [&[u8]; 9] =
        [b"post", b"put", b"delete", b"head", b"options", b"patch", b"connect", b"trace", b"host:"];
    let name = args.at(0);
    VERBS.iter().any(|verb| name.eq_ignore_ascii_case(verb))
        || (name.eq_ignore_ascii_case(b"get") && args.at(2).starts_with(b"HTTP/"))
}
