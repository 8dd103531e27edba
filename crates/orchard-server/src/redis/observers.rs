//! Who wants to know of commands that run: `MONITOR`, the slow log, keyspace notifications.

use super::command::{Command, FAST, SKIP_SLOWLOG};
use super::notify::Classes;
use super::session::Session;
use crate::Server;
use orchard_wire::resp::Args;
use tokio::time::Instant;

/// A command that takes longer than this may be one of those that Redis calls fast, too.
const TIMED_ALL_BELOW_US: i64 = 1_000;

/// Who wants to know of the commands of a batch.
#[derive(Clone, Copy)]
pub(super) struct Observers {
    pub(super) is_monitored: bool,
    /// Microseconds from which on a command is slow.
    slow_from_us: Option<i64>,
    pub(super) notify: Classes,
}

impl Observers {
    pub(super) fn of(server: &Server) -> Observers {
        let slow_from_us = server.redis.slowlog.threshold_us();
        Observers {
            is_monitored: server.redis.monitors.is_any(),
            slow_from_us: (slow_from_us >= 0).then_some(slow_from_us),
            notify: server.redis.config.notify(),
        }
    }

    /// When a command begins, if its time is wanted: what is never slow is not worth two looks at the clock.
    pub(super) fn start(self, command: &Command) -> Option<Instant> {
        let threshold_us = self.slow_from_us?;
        let is_fast = command.flags.has(FAST) || command.name == "set";
        (threshold_us < TIMED_ALL_BELOW_US || !is_fast).then(Instant::now)
    }

    /// Tells of a command that has run.
    pub(super) fn note(
        self,
        server: &Server,
        session: &Session,
        command: &Command,
        args: Args<'_>,
        started: Option<Instant>,
    ) {
        if self.is_monitored {
            let now = server.db.clock_now();
            server.redis.monitors.tell(command, now, session.database, &session.client, args);
        }
        if let Some(started) = started
            && !command.flags.has(SKIP_SLOWLOG)
        {
            let now = || server.db.clock_now();
            server.redis.slowlog.note(started.elapsed(), now, &session.client, (command, args));
        }
    }
}
