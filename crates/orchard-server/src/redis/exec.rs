//! `EXEC`: the queue of a transaction, run as one commit under one hold of the commit lock.
//!
//! - Nothing that a queued command asks may take that lock once more: it reads through the transaction.

use super::command::{Command, Handler, READONLY};
use super::context::{Context, SessionContext};
use super::databases;
use super::dispatch::{answer, conclude};
use super::effects::Effects;
use super::error::RedisError;
use super::families;
use super::looked::Looked;
use super::misses::Misses;
use super::notify::{self, Classes};
use super::output::Output;
use super::session::{Multi, Session};
use crate::Server;
use orchard_wire::resp::{OwnedArgs, Reply};
use orcharddb::{Pipeline, Submitted, Transaction, Versionstamp, tuple};
use std::ops::ControlFlow;

/// A queued transaction on its way through the log.
pub(super) struct Exec<'a> {
    pub(super) server: &'a Server,
    pub(super) session: &'a mut Session,
    pub(super) output: &'a mut Output,
    pub(super) multi: Multi,
    pub(super) reply: Reply,
    /// Selected when it began.
    pub(super) database: u32,
    pub(super) notify: Classes,
    /// Keys that its commands looked for and found, and those that they did not.
    pub(super) looked: (u64, u64),
}

impl Exec<'_> {
    pub(super) fn run_all(&mut self, tx: &mut Transaction<'_>) {
        self.session.database = self.database;
        self.session.effects = Some(Effects::default());
        self.session.may_wait = false;
        self.looked = (0, 0);
        self.reply = match self.watched_is_unchanged(tx) {
            Err(error) => error.into(),
            Ok(false) => Reply::NullArray,
            Ok(true) => {
                let mut replies = Vec::with_capacity(self.multi.queue.len());
                for (command, owned) in &self.multi.queue {
                    let mut looked = Looked::of(command, owned.args());
                    let (server, notify) = (self.server, self.notify);
                    replies.push(run_queued(server, self.session, tx, (command, owned), notify, &mut looked));
                    looked.add_to(&mut self.looked);
                }
                Reply::Array(replies)
            }
        };
        self.session.may_wait = true;
        self.note_written(tx);
    }

    /// Those who wait look first at what was written first.
    fn note_written(&self, tx: &mut Transaction<'_>) {
        let waiting = &self.server.redis.waiting;
        if waiting.is_empty() {
            return;
        }
        let Ok(space) = databases::space_in(tx, self.database) else { return };
        let wrote =
            self.multi.queue.iter().filter(|(command, _)| matches!(command.handler, Handler::Write(_)));
        for name in wrote.flat_map(|(command, owned)| command.key_names(owned.args())) {
            if let Ok(key) = tuple::name(name) {
                waiting.note(space, &key);
            }
        }
    }

    fn watched_is_unchanged(&self, tx: &mut Transaction<'_>) -> Result<bool, RedisError> {
        for watched in &self.session.watched {
            let space = databases::space_in(tx, watched.database)?;
            let found = tx.entry_in(space, &watched.key)?.map(|entry| entry.versionstamp);
            if found != watched.versionstamp {
                return Ok(false);
            }
            // Absent, as it was; it may have been there in between.
            let kept = self.session.kept.as_ref().filter(|_| found.is_none());
            if let Some(kept) = kept
                && tx.is_changed_since(space, &watched.key, watched.seen_at, kept)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A client that tracks knows what it has read, as of before the transaction's own changes, for it may have read
    /// first and written then. With `NOLOOP` it answers for its own changes itself.
    pub(super) fn remember(&self, at: Versionstamp) {
        let Some(tracking) = self.session.tracking.as_ref().filter(|tracking| tracking.how.remembers())
        else {
            return;
        };
        let at = if tracking.how.no_loop { at } else { Versionstamp::from_raw(at.raw().saturating_sub(1)) };
        for (command, owned) in self.multi.queue.iter().filter(|(command, _)| command.flags.has(READONLY)) {
            let names = families::names(command, owned.args());
            self.server.redis.tracking.remember(&self.session.client, &names, at);
        }
    }

    pub(super) fn tell(&mut self, depends_on: Versionstamp) {
        let reply = std::mem::replace(&mut self.reply, Reply::None);
        if let Reply::Array(replies) = &reply {
            let commands = self.multi.queue.iter().map(|(command, _)| command);
            commands
                .zip(replies)
                .for_each(|(command, reply)| self.server.redis.calls.note_reply(command, reply));
        }
        answer(self.session, self.output, &reply, depends_on);
    }
}

fn run_queued(
    server: &Server,
    session: &mut Session,
    tx: &mut Transaction<'_>,
    (command, owned): (&Command, &OwnedArgs),
    notify: Classes,
    looked: &mut Looked,
) -> Reply {
    let args = owned.args();
    let database = session.database;
    if notify.is_any() {
        tx.start_journal();
    }
    let missed = match databases::space_in(tx, database) {
        Ok(space) if notify.tells_misses() => Misses::of(notify, tx, space, command, args),
        _ => Misses::default(),
    };
    let result = match command.handler {
        Handler::Session(handler) => handler(&mut SessionContext { server, session }, args),
        Handler::Read(handler) | Handler::Write(handler) => {
            let space = match command.handler {
                Handler::Write(_) => databases::create_in(tx, database),
                _ => databases::space_in(tx, database),
            };
            space.and_then(|space| {
                let mut cx = Context { server, session, tx, space, looked: *looked };
                let reply = handler(&mut cx, args);
                *looked = cx.looked;
                reply
            })
        }
        Handler::Exec | Handler::Container(_) => Ok(Reply::None),
    };
    let reply = result.unwrap_or_else(Reply::from);
    if notify.is_any() {
        let journal = tx.take_journal();
        let touched = databases::touched(tx, database, journal);
        if let Some(effects) = &mut session.effects {
            effects.extend(missed.messages(notify, database, &reply));
            effects.extend(notify::messages(notify, command.name, args, &touched));
        }
    }
    reply
}

impl Pipeline for Exec<'_> {
    fn run(&mut self, _number: usize, tx: &mut Transaction<'_>) {
        self.run_all(tx);
    }

    fn done(&mut self, _number: usize, submitted: Submitted) -> ControlFlow<()> {
        let reply = std::mem::replace(&mut self.reply, Reply::None);
        let effects = self.session.effects.take();
        if submitted.outcome.is_ok() {
            effects.unwrap_or_default().send(&self.server.redis.pubsub, submitted.depends_on);
        }
        self.reply = conclude(self.session, &submitted, Some(reply));
        self.remember(submitted.depends_on);
        self.tell(submitted.depends_on);
        ControlFlow::Continue(())
    }
}
