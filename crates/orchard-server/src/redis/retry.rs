//! What a connection waits for, tried once more or given up.

use super::blocking::{self, Blocked, Operation};
use super::context::Context;
use super::databases;
use super::dispatch::{answer, conclude};
use super::effects::Effects;
use super::error::RedisError;
use super::looked::Looked;
use super::notify::{self, Classes};
use super::observers::Observers;
use super::output::Output;
use super::session::Session;
use crate::Server;
use orchard_wire::resp::Reply;
use orcharddb::{Key, Pipeline, Submitted, Transaction, Versionstamp, tuple};
use std::ops::ControlFlow;

/// Tries once more what a connection waits for; `true` if that is over.
pub(crate) fn try_again(
    server: &Server,
    session: &mut Session,
    output: &mut Output,
    blocked: &Blocked<'_>,
) -> bool {
    let is_first = |key| server.redis.waiting.is_first(&blocked.waiter, key);
    if !blocked.wait.keys.iter().any(is_first) {
        return false;
    }
    let notify = Observers::of(server).notify;
    let effects = Effects::default();
    let written = Vec::new();
    let mut again =
        Again { server, session, output, blocked, written, notify, effects, reply: Ok(None), is_over: false };
    server.db.pipeline(1, &mut again);
    let is_over = again.is_over;
    if is_over && let Operation::Move { to, .. } = &blocked.wait.operation {
        // Others may wait for what was moved.
        if let Ok(key) = tuple::name(to) {
            server.redis.waiting.wake(blocked.wait.space, &key);
        }
    }
    is_over
}

/// Tells a connection that it waited in vain.
pub(crate) fn give_up(session: &mut Session, output: &mut Output, with_error: bool) {
    let reply = match with_error {
        false => Reply::NullArray,
        true => Reply::error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    };
    answer(session, output, &reply, Versionstamp::ZERO);
}

struct Again<'a, 'b> {
    server: &'a Server,
    session: &'a mut Session,
    output: &'a mut Output,
    blocked: &'a Blocked<'b>,
    /// Keys that were written, which are looked at first.
    written: Vec<Key>,
    notify: Classes,
    effects: Effects,
    reply: Result<Option<Reply>, RedisError>,
    is_over: bool,
}

impl Pipeline for Again<'_, '_> {
    fn run(&mut self, _number: usize, tx: &mut Transaction<'_>) {
        let (server, wait) = (self.server, &self.blocked.wait);
        let waiter = &self.blocked.waiter;
        let database = self.session.database;
        if self.notify.is_any() {
            tx.start_journal();
        }
        let mut cx =
            Context { server, session: self.session, tx, space: wait.space, looked: Looked::default() };
        let is_first =
            |at: usize| wait.keys.get(at).is_some_and(|key| server.redis.waiting.is_first(waiter, key));
        // Redis serves the keys in the order in which they are filled.
        self.written.extend(waiter.take_written());
        self.reply = Ok(None);
        for key in &self.written {
            if matches!(self.reply, Ok(None)) {
                let is_this = |at: usize| wait.keys.get(at) == Some(key) && is_first(at);
                self.reply = blocking::attempt(&mut cx, &wait.operation, true, is_this);
            }
        }
        if matches!(self.reply, Ok(None)) {
            self.reply = blocking::attempt(&mut cx, &wait.operation, true, is_first);
        }
        if self.notify.is_any() {
            self.effects.clear();
            let journal = tx.take_journal();
            if let (Ok(Some(_)), Some((command, args))) = (&self.reply, &wait.command) {
                let touched = databases::touched(tx, database, journal);
                self.effects.extend(notify::messages(self.notify, command.name, args.args(), &touched));
            }
        }
        if self.reply.is_err() {
            tx.clear();
        }
    }

    fn done(&mut self, _number: usize, submitted: Submitted) -> ControlFlow<()> {
        let reply = match std::mem::replace(&mut self.reply, Ok(None)) {
            Ok(None) if submitted.outcome.is_ok() => return ControlFlow::Continue(()),
            Ok(reply) => reply,
            Err(error) => Some(error.into()),
        };
        self.is_over = true;
        if submitted.outcome.is_ok() {
            self.effects.send(&self.server.redis.pubsub, submitted.depends_on);
        }
        let reply = conclude(self.session, &submitted, reply);
        answer(self.session, self.output, &reply, submitted.depends_on);
        ControlFlow::Continue(())
    }
}
