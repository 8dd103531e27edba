//! How often each command has run, for `INFO commandstats`.

use super::command::{self, Command, NameHasher};
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters by name, subcommands apart.
pub(crate) struct Calls(HashMap<&'static str, AtomicU64, BuildHasherDefault<NameHasher>>);

impl Default for Calls {
    fn default() -> Calls {
        let names = command::all().flat_map(|(_, command)| {
            let subcommands = match command.handler {
                command::Handler::Container(subcommands) => subcommands,
                _ => std::slice::from_ref(command),
            };
            subcommands.iter().map(|command| (command.name, AtomicU64::new(0)))
        });
        Calls(names.collect())
    }
}

impl Calls {
    /// All that have run, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let count = |(name, count): (&&'static str, &AtomicU64)| (*name, count.load(Ordering::Relaxed));
        let mut all: Vec<_> = self.0.iter().map(count).filter(|(_, count)| *count > 0).collect();
        all.sort_unstable();
        all
    }

    /// Counts from nothing again.
    pub(crate) fn reset(&self) {
        self.0.values().for_each(|count| count.store(0, Ordering::Relaxed));
    }
}

/// Runs of one command, counted together.
#[derive(Default)]
pub(crate) struct Tally(Option<(&'static str, u64)>);

impl Tally {
    /// One more; the runs of another command go to `calls`.
    pub(crate) fn add(&mut self, command: &Command, calls: &Calls) {
        match &mut self.0 {
            Some((name, count)) if std::ptr::eq(*name, command.name) => *count += 1,
            _ => {
                self.flush(calls);
                self.0 = Some((command.name, 1));
            }
        }
    }

    /// What is counted goes to `calls`.
    pub(crate) fn flush(&mut self, calls: &Calls) {
        if let Some((name, count)) = self.0.take()
            && let Some(all) = calls.0.get(name)
        {
            all.fetch_add(count, Ordering::Relaxed);
        }
    }
}
