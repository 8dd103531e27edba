//! Keys that commands look for, for `keyspace_hits` and `keyspace_misses` of `INFO`.
//!
//! As in Redis a key counts when a command looks for it to read it; a key that is looked for to be changed does not. A handler
//! may look at its keys again: only the first looks, one for each key that it reads, count.

use super::command::{Command, Handler};
use super::misses;
use orchard_wire::resp::Args;

/// Looks of one command.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(crate) struct Looked {
    /// Keys that the command reads.
    keys: u32,
    hits: u32,
    misses: u32,
}

impl Looked {
    /// Of a command that is about to run.
    pub(super) fn of(command: &Command, args: Args<'_>) -> Looked {
        let keys = match (command.handler, command.keys) {
            (Handler::Read(_), (first, last, _)) if first == last && first > 0 => 1,
            _ => u32::try_from(misses::places(command, args).len()).unwrap_or(u32::MAX),
        };
        Looked { keys, ..Looked::default() }
    }

    /// It has looked for a key, perhaps again.
    pub(crate) fn note(&mut self, is_found: bool) {
        if self.hits + self.misses >= self.keys {
            return;
        }
        match is_found {
            true => self.hits += 1,
            false => self.misses += 1,
        }
    }

    /// Adds to the hits and misses of several commands.
    pub(super) fn add_to(self, sum: &mut (u64, u64)) {
        sum.0 += u64::from(self.hits);
        sum.1 += u64::from(self.misses);
    }

    /// It has opened a collection, perhaps again: one of another type was found, too.
    pub(crate) fn note_opened<T>(
        &mut self,
        opened: &Result<T, orcharddb::Error>,
        is_absent: impl FnOnce(&T) -> bool,
    ) {
        self.note(!opened.as_ref().is_ok_and(is_absent));
    }
}
