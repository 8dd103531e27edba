//! A run of writes: requests that stand together share one hold of the commit lock.
//!
//! - Each is a commit of its own: made straight in the map and the group where that is possible, else a transaction.
//! - A reply goes to the gate with the stamp of its outcome; effects are sent once there is one.

use super::calls::Tally;
use super::command::{self, BLOCKING, Command, Handler};
use super::context::Context;
use super::databases;
use super::direct::{self, Told};
use super::dispatch::{Dispatcher, OUTPUT_PAUSE_BYTES, answer, conclude};
use super::effects::Effects;
use super::looked::Looked;
use super::misses::Misses;
use super::notify;
use super::observers::Observers;
use super::output::Output;
use super::room::BatchRoom;
use super::session::{ReplyMode, Session};
use crate::Server;
use orchard_wire::resp::{Args, Batch, Reply};
use orcharddb::collection::MadeAhead;
use orcharddb::{Applied, Durability, Pipeline, SpaceId, Submitted, Transaction, Versionstamp, tuple};
use std::ops::ControlFlow;
use tokio::time::Instant;

impl Dispatcher<'_> {
    /// Runs the writes that stand together, `first` at `from`; returns the place of the next request.
    pub(super) fn run_writes(&mut self, batch: &Batch, from: usize, first: &'static Command) -> usize {
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
