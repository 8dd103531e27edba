//! From requests to replies: which command, whether it may run, and how it runs.
//!
//! - Requests of a batch run in their order. A run of writes shares one hold of the commit lock; a run of reads shares one
//!   view, which every write ends.
//! - What a reply rests on goes with it to the gate: for a write its outcome's stamp, for a read the view's.

use super::calls::Tally;
use super::command::{self, BLOCKING, Command, DENYOOM, Handler, NO_AUTH, NO_MULTI, NOT_QUEUED, READONLY};
use super::context::{Context, SessionContext};
use super::databases;
use super::direct::{self, Told};
use super::effects::Effects;
use super::error::RedisError;
use super::exec::Exec;
use super::families;
use super::looked::Looked;
use super::misses::Misses;
use super::notify;
use super::observers::Observers;
use super::output::Output;
use super::room::{self, BatchRoom};
use super::session::{QUEUE_SIZE_BYTES_MAX, ReplyMode, Session};
use crate::Server;
use orchard_wire::resp::{Args, Batch, OwnedArgs, Reply};
use orcharddb::collection::MadeAhead;
use orcharddb::{Applied, Durability, Pipeline, SpaceId, Submitted, Transaction, Versionstamp, View, tuple};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;
use tokio::time::Instant;
use tracing::warn;

/// A pipeline of at least so many requests, and so many of them, have the places of their keys fetched ahead.
const WARM_MIN: usize = 4;
const WARM_MAX: usize = 128;
/// Replies over this many bytes leave before more commands run.
const OUTPUT_PAUSE_BYTES: usize = 1024 * 1024;

const NO_AUTHENTICATION: RedisError =
    RedisError(std::borrow::Cow::Borrowed("NOAUTH Authentication required."));

/// How far a batch came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Every request has run.
    Done,
    /// The replies have to leave first; go on with this request.
    Full(usize),
    /// `CLIENT PAUSE` holds this request, or others wait for memory.
    Paused(usize),
    /// The last command waits for an element (the session says for which); then go on with this request.
    Blocked(usize),
    /// The connection ends.
    Closing,
}

/// Runs the requests of one connection.
pub(crate) struct Dispatcher<'a> {
    server: &'a Server,
    session: &'a mut Session,
    output: &'a mut Output,
    view: Option<View>,
    /// The database that the view was last read of, and its space.
    view_space: Option<(u32, SpaceId)>,
    observers: Observers,
    tally: Tally,
    /// Keys that were looked for and found, and those that were not.
    looked: (u64, u64),
    room: room::Borrowed,
    /// The request of the batch whose keys were made ahead first; none, if those of direct writes were not.
    ahead_from: Option<usize>,
}

/// What is to be done with a request.
enum Admitted {
    Answer(Reply),
    Run(&'static Command),
    /// Not even an answer.
    Close,
    /// Not now.
    Wait,
}

impl<'a> Dispatcher<'a> {
    pub(crate) fn new(
        server: &'a Server,
        session: &'a mut Session,
        output: &'a mut Output,
    ) -> Dispatcher<'a> {
        output.note_visible(server.db.visible());
        let observers = Observers::of(server);
        Dispatcher {
            server,
            session,
            output,
            view: None,
            view_space: None,
            observers,
            tally: Tally::new(),
            looked: (0, 0),
            room: room::Borrowed::new(),
            ahead_from: None,
        }
    }

    /// Runs a batch from one of its requests on.
    pub(crate) fn run(&mut self, batch: &Batch, from: usize) -> Stopped {
        self.warm(batch, from);
        let stopped = self.run_requests(batch, from);
        self.session.ran_at = self.tally.lap(&self.server.redis.calls).0;
        let next = if let Stopped::Full(next) | Stopped::Paused(next) = stopped { next } else { batch.len() };
        let ran = u64::try_from(next.saturating_sub(from)).unwrap_or(0);
        self.server.redis.commands_run.fetch_add(ran, Ordering::Relaxed);
        self.server.redis.traffic.looked(self.looked.0, self.looked.1);
        stopped
    }

    /// The places of a pipeline's keys are fetched from memory together, rather than one after another. Most commands
    /// have their key behind their name; where not, or in another database, nothing is lost but the look.
    fn warm(&mut self, batch: &Batch, from: usize) {
        let first = batch.request(from);
        let requests = batch.len() - from.min(batch.len());
        if self.session.database != 0 || (requests < WARM_MIN && first.len() < 2 * WARM_MIN) {
            return;
        }
        let Ok(command) = command::resolve(first) else { return };
        let BatchRoom { warm, elements, .. } = &mut *self.room;
        warm.clear();
        let has_many = command.keys.0 != command.keys.1;
        // The name whose key was added last.
        let mut last = None;
        for number in from..batch.len().min(from + WARM_MAX) {
            let args = batch.request(number);
            warm.begin_request();
            if has_many {
                command.key_names(args).for_each(|name| direct::warm(warm, SpaceId::DEFAULT, name));
            } else if let Some(name) = args.get(1) {
                // Often all of them are about one collection.
                if last == Some(name) {
                    warm.push_again();
                } else {
                    direct::warm(warm, SpaceId::DEFAULT, name);
                    last = (name.len() <= direct::STACK_NAME_SIZE_BYTES).then_some(name);
                }
            }
            if warm.len() >= WARM_MAX {
                break;
            }
        }
        let to_write = matches!(command.handler, Handler::Write(_));
        self.server.db.engine().warm(warm, to_write);
        let write = direct::Write::of(command.name);
        self.ahead_from = write.map(|_| from);
        direct::fetch_elements(elements, &self.server.db, write, warm, batch, from);
    }

    fn run_requests(&mut self, batch: &Batch, from: usize) -> Stopped {
        let mut next = from;
        while next < batch.len() {
            let args = batch.request(next);
            let admitted = self.admit(args);
            if let Admitted::Run(command) = &admitted
                && !matches!(command.handler, Handler::Write(_))
            {
                self.tally.turn_to(command, &self.server.redis.calls);
                self.tally.count();
            }
            match admitted {
                Admitted::Wait => return Stopped::Paused(next),
                Admitted::Close => {
                    self.session.is_closing = true;
                    return Stopped::Closing;
                }
                Admitted::Answer(reply) => self.answer(&reply, Versionstamp::ZERO),
                Admitted::Run(command) => match command.handler {
                    Handler::Write(_) => {
                        next = self.run_writes(batch, next, command);
                        self.end_exception(args);
                        if self.session.wait.is_some() {
                            return Stopped::Blocked(next);
                        }
                        if self.output.waiting_bytes() > OUTPUT_PAUSE_BYTES && next < batch.len() {
                            return Stopped::Full(next);
                        }
                        continue;
                    }
                    Handler::Read(handler) => {
                        let started = self.observers.start(command);
                        self.run_read(handler, command, args);
                        self.observers.note(self.server, self.session, command, args, started);
                    }
                    Handler::Session(handler) => {
                        let started = self.observers.start(command);
                        let mut cx = SessionContext { server: self.server, session: self.session };
                        let reply = handler(&mut cx, args).unwrap_or_else(Reply::from);
                        self.observers.note(self.server, self.session, command, args, started);
                        self.server.redis.calls.note_reply(command, &reply);
                        self.answer(&reply, Versionstamp::ZERO);
                    }
                    Handler::Exec => {
                        self.exec();
                        self.observers.note(self.server, self.session, command, args, None);
                    }
                    Handler::Container(_) => {}
                },
            }
            next += 1;
            self.end_exception(args);
            if self.session.is_closing {
                return Stopped::Closing;
            }
            if self.output.waiting_bytes() > OUTPUT_PAUSE_BYTES && next < batch.len() {
                return Stopped::Full(next);
            }
        }
        Stopped::Done
    }

    /// Whether a request may run now; what is to be said if not.
    fn admit(&mut self, args: Args<'_>) -> Admitted {
        let command = match command::resolve(args) {
            Ok(command) => command,
            Err(error) if is_http(args) => {
                warn!(
                    peer = ?self.session.client.address,
                    "possible attack: a client sends HTTP where it began with Redis commands; closed"
                );
                drop(error);
                return Admitted::Close;
            }
            Err(RedisError(text)) if args.at(0).eq_ignore_ascii_case(b"exec") => {
                self.session.discard();
                let reason = text.strip_prefix("ERR ").unwrap_or(&text);
                let text = format!("EXECABORT Transaction discarded because of: {reason}");
                return Admitted::Answer(Reply::error(text));
            }
            Err(error) => return self.reject(args, error),
        };
        if !self.session.is_authenticated && !command.flags.has(NO_AUTH) {
            return self.reject(args, NO_AUTHENTICATION);
        }
        if self.session.only_listens() && !may_listener_run(command) {
            return self.reject(args, RedisError::err(format_args!(
                "Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )));
        }
        let queued = self.session.multi.as_ref().filter(|_| matches!(command.handler, Handler::Exec));
        let is_write = |(command, _): &(&Command, OwnedArgs)| matches!(command.handler, Handler::Write(_));
        let runs_now = self.session.multi.is_none() || queued.is_some();
        let writes = queued.is_some_and(|multi| multi.queue.iter().any(is_write));
        if runs_now
            && (self.server.redis.pause.holds(command, writes)
                || (self.server.aside.is_waiting() && (writes || command.flags.has(DENYOOM))))
        {
            return Admitted::Wait;
        }
        let Some(multi) = &mut self.session.multi else { return Admitted::Run(command) };
        if command.flags.has(NO_MULTI) {
            return self.reject(args, RedisError::err("Command not allowed inside a transaction"));
        }
        if command.flags.has(NOT_QUEUED) || matches!(command.handler, Handler::Exec) {
            return Admitted::Run(command);
        }
        let owned = args.to_owned();
        multi.size_bytes += owned.size_bytes();
        if multi.size_bytes > QUEUE_SIZE_BYTES_MAX {
            multi.queue.clear();
            return self.reject(
                args,
                RedisError::err(format_args!("the transaction is over {QUEUE_SIZE_BYTES_MAX} bytes")),
            );
        }
        multi.queue.push((command, owned));
        Admitted::Answer(Reply::Simple("QUEUED".into()))
    }

    fn reject(&mut self, args: Args<'_>, error: RedisError) -> Admitted {
        self.server.redis.calls.note_rejected(args, &error.0);
        if let Some(multi) = &mut self.session.multi {
            multi.is_broken = true;
        }
        Admitted::Answer(error.into())
    }

    fn answer(&mut self, reply: &Reply, depends_on: Versionstamp) {
        answer(self.session, self.output, reply, depends_on);
    }

    /// `CLIENT CACHING` holds for one command, or one transaction.
    fn end_exception(&mut self, args: Args<'_>) {
        if let Some(tracking) = &mut self.session.tracking
            && tracking.how.is_exception
            && self.session.multi.is_none()
            && !args.at(0).eq_ignore_ascii_case(b"client")
        {
            tracking.how.is_exception = false;
        }
    }

    /// Runs a read on the view, which is newer than every commit of this connection.
    fn run_read(&mut self, handler: command::KeysHandler, command: &'static Command, args: Args<'_>) {
        let (server, database) = (self.server, self.session.database);
        let (stamp, time) = self.session.own;
        let remembers = command.flags.has(READONLY) && self.session.remembers();
        if remembers {
            // What a client knows is to be as new as can be.
            self.end_view();
        }
        let view = self.view.get_or_insert_with(|| server.db.view_not_before(stamp, time));
        let depends_on = view.versionstamp();
        if remembers {
            server.redis.tracking.remember(&self.session.client, &families::names(command, args), depends_on);
        }
        let mut tx = view.transaction();
        let space = match self.view_space {
            Some((known, space)) if known == database => Ok(space),
            _ => databases::space_in(&mut tx, database),
        };
        let mut missed = Misses::default();
        if let Ok(space) = space {
            self.view_space = Some((database, space));
            missed = Misses::of(self.observers.notify, &mut tx, space, command, args);
            if command.name == "get"
                && self.session.reply_mode == ReplyMode::On
                && !self.observers.notify.tells_misses()
            {
                let version = self.session.version;
                let mut is_found = None;
                self.output.push_with(depends_on, |out| {
                    let before = out.len();
                    is_found = direct::get(view, space, args.at(1), version, out);
                    if let Some([b'-', text @ ..]) = out.get(before..) {
                        let reply = Reply::error(String::from_utf8_lossy(text).trim_end().to_owned());
                        server.redis.calls.note_reply(command, &reply);
                    }
                });
                if let Some(is_found) = is_found {
                    *(if is_found { &mut self.looked.0 } else { &mut self.looked.1 }) += 1;
                    return;
                }
            }
        }
        let reply = space.and_then(|space| {
            let looked = Looked::of(command, args);
            let mut cx = Context { server, session: self.session, tx: &mut tx, space, looked };
            let reply = handler(&mut cx, args);
            cx.looked.add_to(&mut self.looked);
            reply
        });
        drop(tx);
        let reply = reply.unwrap_or_else(Reply::from);
        server.redis.calls.note_reply(command, &reply);
        if self.observers.notify.tells_misses() {
            let mut effects = Effects::default();
            effects.extend(missed.messages(self.observers.notify, database, &reply));
            effects.send(&server.redis.pubsub, depends_on);
        }
        self.answer(&reply, depends_on);
    }

    fn end_view(&mut self) {
        self.view = None;
        self.view_space = None;
    }

    /// Runs the writes that stand together, `first` at `from`; returns the place of the next request.
    fn run_writes(&mut self, batch: &Batch, from: usize, first: &'static Command) -> usize {
        self.end_view();
        let room = &mut *self.room;
        let commands = &mut room.commands;
        commands.clear();
        commands.push(first);
        let mut last = (first, batch.request(from).at(0));
        // Behind the last request there is an empty one, which is no command. A command that may wait is the last of a run.
        while !last.0.flags.has(BLOCKING)
            && !self.server.redis.pause.holds(first, true)
            && let args = batch.request(from + commands.len())
            && let Some(command) = resolve_next(last, args)
            && matches!(command.handler, Handler::Write(_))
        {
            commands.push(command);
            last = (command, args.at(0));
        }
        let count = commands.len();
        let mut writes = Writes {
            server: self.server,
            session: self.session,
            output: self.output,
            batch,
            from,
            room,
            direct_write: (first, direct::Write::of(first.name)),
            ahead_from: self.ahead_from,
            is_visible_at_once: self.server.db.durability() == Durability::None,
            space: None,
            told: None,
            reply: None,
            ran: 0,
            looked: Looked::default(),
            looked_all: &mut self.looked,
            observers: self.observers,
            started: None,
            effects: Effects::default(),
            tally: &mut self.tally,
        };
        writes.tally.turn_to(first, &self.server.redis.calls);
        self.server.db.pipeline(count, &mut writes);
        let ran = writes.ran;
        writes.wake_waiting();
        self.output.note_visible(self.server.db.visible());
        from + ran
    }

    /// `EXEC`: what was queued, in one transaction.
    fn exec(&mut self) {
        let Some(multi) = self.session.multi.take() else {
            return self.answer(&RedisError::err("EXEC without MULTI").into(), Versionstamp::ZERO);
        };
        self.end_view();
        if multi.is_broken {
            self.session.discard();
            let text = "EXECABORT Transaction discarded because of previous errors.";
            return self.answer(&Reply::error(text), Versionstamp::ZERO);
        }
        let writes = multi.queue.iter().any(|(command, _)| matches!(command.handler, Handler::Write(_)));
        let mut exec = Exec {
            server: self.server,
            session: self.session,
            output: self.output,
            multi,
            reply: Reply::NullArray,
            database: 0,
            notify: self.observers.notify,
            looked: (0, 0),
        };
        exec.database = exec.session.database;
        if writes {
            self.server.db.pipeline(1, &mut exec);
        } else {
            let (stamp, time) = exec.session.own;
            let view = self.server.db.view_not_before(stamp, time);
            exec.run_all(&mut view.transaction());
            let effects = exec.session.effects.take();
            effects.unwrap_or_default().send(&self.server.redis.pubsub, view.versionstamp());
            exec.remember(view.versionstamp());
            exec.tell(view.versionstamp());
        }
        self.looked = (self.looked.0 + exec.looked.0, self.looked.1 + exec.looked.1);
        // What was queued shares the time of the whole.
        let calls = &exec.server.redis.calls;
        let took = self.tally.lap(calls).1 / u32::try_from(exec.multi.queue.len().max(1)).unwrap_or(u32::MAX);
        exec.multi.queue.iter().for_each(|(command, _)| calls.add(command, 1, took));
        if self.observers.is_monitored {
            let (server, multi) = (exec.server, std::mem::take(&mut exec.multi));
            for (command, owned) in &multi.queue {
                self.observers.note(server, exec.session, command, owned.args(), None);
            }
        }
        if writes && !self.server.redis.waiting.is_empty() {
            self.server.redis.waiting.wake_all();
        }
        self.session.discard();
        self.output.note_visible(self.server.db.visible());
    }
}

/// The command of the next request, mostly the same as the last one's.
fn resolve_next(last: (&'static Command, &[u8]), args: Args<'_>) -> Option<&'static Command> {
    let (command, name) = last;
    if args.is_empty() {
        return None;
    }
    if args.at(0) == name && command.takes(args.len()) && !command.name.contains('|') {
        return Some(command);
    }
    command::resolve(args).ok()
}

/// Appends a reply, unless the client wants none.
pub(super) fn answer(session: &mut Session, output: &mut Output, reply: &Reply, depends_on: Versionstamp) {
    match session.reply_mode {
        ReplyMode::On => output.push(reply, session.version, depends_on),
        ReplyMode::Off => {}
        ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
        ReplyMode::Skip => session.reply_mode = ReplyMode::On,
    }
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

/// A run of writes on its way through the log.
struct Writes<'a> {
    server: &'a Server,
    session: &'a mut Session,
    output: &'a mut Output,
    batch: &'a Batch,
    from: usize,
    room: &'a mut BatchRoom,
    /// The last command, and what it is as a direct write.
    direct_write: (&'static Command, Option<direct::Write>),
    /// The request whose keys are the first of those made ahead.
    ahead_from: Option<usize>,
    /// What is applied is visible.
    is_visible_at_once: bool,
    /// The space of the database selected, once looked up.
    space: Option<SpaceId>,
    /// What a direct write answers.
    told: Option<Told>,
    reply: Option<Reply>,
    ran: usize,
    /// What the last command looked for, and what all did.
    looked: Looked,
    looked_all: &'a mut (u64, u64),
    observers: Observers,
    started: Option<Instant>,
    effects: Effects,
    tally: &'a mut Tally,
}

impl Pipeline for Writes<'_> {
    fn run(&mut self, number: usize, tx: &mut Transaction<'_>) {
        let Some(command) = self.room.commands.get(number).copied() else { return };
        let Handler::Write(handler) = command.handler else { return };
        let args = self.batch.request(self.from + number);
        let server = self.server;
        self.started = self.observers.start(command);
        let notify = self.observers.notify;
        if notify.is_any() {
            tx.start_journal();
        }
        let space = match self.space {
            Some(space) => Ok(space),
            None => databases::create_in(tx, self.session.database),
        };
        self.session.wait = None;
        let missed = match &space {
            Ok(space) => Misses::of(notify, tx, *space, command, args),
            Err(_) => Misses::default(),
        };
        let result = space.and_then(|space| {
            // One that this transaction creates is none yet.
            self.space = tx.is_read_only().then_some(space);
            let looked = Looked::of(command, args);
            let mut cx = Context { server, session: self.session, tx, space, looked };
            let reply = handler(&mut cx, args);
            self.looked = cx.looked;
            reply
        });
        if let Some(wait) = &mut self.session.wait {
            wait.command = Some((command, args.to_owned()));
        }
        if command.name == "swapdb" {
            // The number of the database selected may mean another space now.
            self.space = None;
        }
        if notify.is_any() {
            self.effects.clear();
            let journal = tx.take_journal();
            if result.is_ok() {
                let touched = databases::touched(tx, self.session.database, journal);
                self.effects.extend(notify::messages(notify, command.name, args, &touched));
            }
        }
        let reply = result.unwrap_or_else(|error| {
            tx.clear();
            error.into()
        });
        if notify.tells_misses() {
            self.effects.extend_before(missed.messages(notify, self.session.database, &reply));
        }
        self.reply = Some(reply);
    }

    fn direct(&mut self, number: usize, mut applied: Applied<'_, '_>) -> bool {
        let Some(command) = self.room.commands.get(number).copied() else { return false };
        if !std::ptr::eq(command, self.direct_write.0) {
            self.direct_write = (command, direct::Write::of(command.name));
        }
        let Some(write) = self.direct_write.1.filter(|_| !self.observers.notify.is_any()) else {
            return false;
        };
        if self.space.is_none() {
            self.space = databases::find(&applied, self.session.database);
        }
        let Some(space) = self.space else { return false };
        let request = self.from + number;
        let (mut ahead, mut elements) = (None, MadeAhead::default());
        if let Some(first) = self.ahead_from
            && space == SpaceId::DEFAULT
            && self.session.database == 0
        {
            ahead = Some((&self.room.warm, self.room.warm.of_request(request - first)));
            elements = self.room.elements.of_request(request - first);
        }
        let started = self.observers.start(command);
        self.told =
            self.room.direct.run(&mut applied, write, space, ahead, elements, self.batch.request(request));
        self.started = started;
        self.told.is_some()
    }

    fn done(&mut self, number: usize, submitted: Submitted) -> ControlFlow<()> {
        let depends_on = submitted.depends_on;
        match (self.told.take(), &submitted.outcome) {
            (Some(told), Ok(placed)) if self.session.reply_mode == ReplyMode::On => {
                self.session.note_own(placed.versionstamp, placed.log_time);
                self.note_placed(number, depends_on);
                self.note_ran(number);
                self.output.push_with(depends_on, |out| told.encode(out));
            }
            (told, _) => {
                let reply = told.map(Reply::from).or_else(|| self.reply.take());
                let reply = conclude(self.session, &submitted, reply);
                if submitted.outcome.is_ok() {
                    self.effects.send(&self.server.redis.pubsub, depends_on);
                }
                self.note_placed(number, depends_on);
                std::mem::take(&mut self.looked).add_to(self.looked_all);
                self.note_ran(number);
                if let Some(command) = self.room.commands.get(number) {
                    self.server.redis.calls.note_reply(command, &reply);
                }
                answer(self.session, self.output, &reply, depends_on);
            }
        }
        if self.output.waiting_bytes() > OUTPUT_PAUSE_BYTES {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

impl Writes<'_> {
    /// A command has its place.
    fn note_placed(&mut self, number: usize, depends_on: Versionstamp) {
        if self.is_visible_at_once {
            self.output.note_visible(depends_on);
        }
        if (self.observers.is_monitored || self.started.is_some())
            && let Some(command) = self.room.commands.get(number)
        {
            let args = self.batch.request(self.from + number);
            self.observers.note(self.server, self.session, command, args, self.started.take());
        }
    }

    fn note_ran(&mut self, number: usize) {
        self.ran = number + 1;
        self.tally.count();
        if let Some(next) = self.room.commands.get(self.ran) {
            self.tally.turn_to(next, &self.server.redis.calls);
        }
    }

    /// Whoever waits for a key that was written tries again.
    fn wake_waiting(&self) {
        let waiting = &self.server.redis.waiting;
        let Some(space) = self.space.filter(|_| !waiting.is_empty()) else { return };
        for (number, command) in self.room.commands.iter().enumerate().take(self.ran) {
            let args = self.batch.request(self.from + number);
            for key in command.key_names(args).filter_map(|name| tuple::name(name).ok()) {
                waiting.wake(space, &key);
            }
        }
    }
}

/// The reply of a transaction, now that its outcome is known.
pub(super) fn conclude(session: &mut Session, submitted: &Submitted, reply: Option<Reply>) -> Reply {
    match &submitted.outcome {
        Ok(placed) => {
            session.note_own(placed.versionstamp, placed.log_time);
            reply.unwrap_or(Reply::None)
        }
        Err(error) => RedisError::from(error.clone()).into(),
    }
}
