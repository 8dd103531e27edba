//! From requests to replies: each request of a batch runs as its command says, if it may (`admit`).
//!
//! - Requests of a batch run in their order. A run of writes shares one hold of the commit lock (`writes`); a run of reads
//!   shares one view, which every write ends.
//! - What a reply rests on goes with it to the gate: for a write its outcome's stamp, for a read the view's.

use super::admit::{Admitted, admit};
use super::calls::Tally;
use super::command::{self, Command, Handler, READONLY};
use super::context::{Context, SessionContext};
use super::databases;
use super::direct;
use super::effects::Effects;
use super::error::RedisError;
use super::exec::Exec;
use super::families;
use super::looked::Looked;
use super::misses::Misses;
use super::observers::Observers;
use super::output::Output;
use super::room::{self, BatchRoom};
use super::session::{ReplyMode, Session};
use crate::Server;
use orchard_wire::resp::{Args, Batch, Reply};
use orcharddb::{SpaceId, Submitted, Versionstamp, View};
use std::sync::atomic::Ordering;

/// A pipeline of at least so many requests, and so many of them, have the places of their keys fetched ahead.
const WARM_MIN: usize = 4;
const WARM_MAX: usize = 128;
/// Replies over this many bytes leave before more commands run.
pub(super) const OUTPUT_PAUSE_BYTES: usize = 1024 * 1024;

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
    pub(super) server: &'a Server,
    pub(super) session: &'a mut Session,
    pub(super) output: &'a mut Output,
    view: Option<View>,
    /// The database that the view was last read of, and its space.
    view_space: Option<(u32, SpaceId)>,
    pub(super) observers: Observers,
    pub(super) tally: Tally,
    /// Keys that were looked for and found, and those that were not.
    pub(super) looked: (u64, u64),
    pub(super) room: room::Borrowed,
    /// The request of the batch whose keys were made ahead first; none, if those of direct writes were not.
    pub(super) ahead_from: Option<usize>,
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
            let admitted = admit(self.server, self.session, args);
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

    pub(super) fn end_view(&mut self) {
        self.view = None;
        self.view_space = None;
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

/// Appends a reply, unless the client wants none.
pub(super) fn answer(session: &mut Session, output: &mut Output, reply: &Reply, depends_on: Versionstamp) {
    match session.reply_mode {
        ReplyMode::On => output.push(reply, session.version, depends_on),
        ReplyMode::Off => {}
        ReplyMode::SkipNext => session.reply_mode = ReplyMode::Skip,
        ReplyMode::Skip => session.reply_mode = ReplyMode::On,
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
