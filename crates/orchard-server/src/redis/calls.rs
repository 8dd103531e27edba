//! How often each command has run, how long it took and how often it failed, for `INFO commandstats`, `latencystats`
//! and `errorstats`, and for `LATENCY HISTOGRAM`.
//!
//! - A pipeline is timed by its laps: the clock is read when it begins, when commands of another name follow, and at its
//!   end. So a command's time is that of its neighbours of the same name, divided by their number.
//! - Time is that of running: the wait for the log, which a pipeline does together, is not in it.

use super::command::{self, Command, NameHasher};
use super::histogram::Histogram;
use orchard_wire::resp::{Args, Reply};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// Different prefixes of errors that are counted apart; they are ours, not a client's.
const PREFIXES_MAX: usize = 128;

#[derive(Default)]
struct Counters {
    calls: AtomicU64,
    nanos: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
    times: Histogram,
}

/// What is known of one command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct CallStats {
    /// How often it has run.
    pub(crate) calls: u64,
    /// How long all runs took.
    pub(crate) nanos: u64,
    /// How often it was refused before it ran.
    pub(crate) rejected: u64,
    /// How often it ran and answered with an error.
    pub(crate) failed: u64,
}

/// Counters by name, subcommands apart.
pub(crate) struct Calls {
    commands: HashMap<&'static str, Counters, BuildHasherDefault<NameHasher>>,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Default for Calls {
    fn default() -> Calls {
        let names = command::all().flat_map(|(_, command)| {
            let subcommands = match command.handler {
                command::Handler::Container(subcommands) => subcommands,
                _ => std::slice::from_ref(command),
            };
            subcommands.iter().map(|command| (command.name, Counters::default()))
        });
        Calls { commands: names.collect(), errors: Mutex::default() }
    }
}

impl Calls {
    /// All that have run or were refused, by name.
    pub(crate) fn all(&self) -> Vec<(&'static str, CallStats)> {
        let shown = |(name, counters): (&&'static str, &Counters)| {
            let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let (calls, nanos) = (of(&counters.calls), of(&counters.nanos));
            (
                *name,
                CallStats { calls, nanos, rejected: of(&counters.rejected), failed: of(&counters.failed) },
            )
        };
        let mut all: Vec<_> = self.commands.iter().map(shown).collect();
        all.retain(|(_, stats)| stats.calls + stats.rejected > 0);
        all.sort_unstable_by_key(|(name, _)| *name);
        all
    }

    /// How long the runs of each command took that has run, by name.
    pub(crate) fn times(&self) -> Vec<(&'static str, &Histogram)> {
        let ran = |counters: &Counters| counters.calls.load(Ordering::Relaxed) > 0;
        let ran = self.commands.iter().filter(|(_, counters)| ran(counters));
        let mut times: Vec<_> = ran.map(|(name, counters)| (*name, &counters.times)).collect();
        times.sort_unstable_by_key(|(name, _)| *name);
        times
    }

    /// Errors by prefix.
    pub(crate) fn errors(&self) -> Vec<(String, u64)> {
        self.errors.lock().iter().map(|(prefix, count)| (prefix.clone(), *count)).collect()
    }

    /// Counts from nothing again.
    pub(crate) fn reset(&self) {
        for counters in self.commands.values() {
            for counter in [&counters.calls, &counters.nanos, &counters.rejected, &counters.failed] {
                counter.store(0, Ordering::Relaxed);
            }
            counters.times.reset();
        }
        self.errors.lock().clear();
    }

    /// Notes a reply, if it is an error.
    pub(crate) fn note_reply(&self, command: &Command, reply: &Reply) {
        if let Reply::Error(text) = reply {
            if let Some(counters) = self.commands.get(command.name) {
                counters.failed.fetch_add(1, Ordering::Relaxed);
            }
            self.note_error(text);
        }
    }

    /// Notes a request that did not get as far as to run.
    pub(crate) fn note_rejected(&self, args: Args<'_>, text: &str) {
        if let Some(counters) = command::named(args).and_then(|command| self.commands.get(command.name)) {
            counters.rejected.fetch_add(1, Ordering::Relaxed);
        }
        self.note_error(text);
    }

    fn note_error(&self, text: &str) {
        let prefix = text.split(' ').next().unwrap_or("ERR");
        let mut errors = self.errors.lock();
        if let Some(count) = errors.get_mut(prefix) {
            *count += 1;
        } else if errors.len() < PREFIXES_MAX {
            errors.insert(prefix.to_owned(), 1);
        }
    }

    /// Adds runs of one command.
    pub(crate) fn add(&self, command: &Command, calls: u64, took: Duration) {
        if let Some(counters) = self.commands.get(command.name) {
            let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            counters.calls.fetch_add(calls, Ordering::Relaxed);
            counters.nanos.fetch_add(nanos, Ordering::Relaxed);
            if let Some(each) = nanos.checked_div(calls) {
                counters.times.add(each, calls);
            }
        }
    }
}

/// Runs of one command after another, counted and timed together.
pub(crate) struct Tally {
    command: Option<&'static Command>,
    calls: u64,
    since: Instant,
}

impl Tally {
    /// Begins now.
    pub(crate) fn new() -> Tally {
        Tally { command: None, calls: 0, since: Instant::now() }
    }

    /// What runs from now on is this command.
    pub(crate) fn turn_to(&mut self, command: &'static Command, calls: &Calls) {
        if !self.command.is_some_and(|last| std::ptr::eq(last, command)) {
            if self.calls > 0 {
                self.lap(calls);
            }
            self.command = Some(command);
        }
    }

    /// It has run, or is about to, once more.
    pub(crate) fn count(&mut self) {
        self.calls += 1;
    }

    /// What is counted goes to `calls`; returns the time and how long that took.
    pub(crate) fn lap(&mut self, calls: &Calls) -> (Instant, Duration) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.since);
        self.since = now;
        if let Some(command) = self.command.take() {
            calls.add(command, std::mem::take(&mut self.calls), took);
        }
        (now, took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_name_are_one_lap() {
        let calls = Calls::default();
        let (get, set) = (command::find(b"get").expect("there"), command::find(b"set").expect("there"));
        let mut tally = Tally::new();
        for command in [get, get, get, set, get] {
            tally.turn_to(command, &calls);
            tally.count();
        }
        tally.turn_to(set, &calls);
        tally.lap(&calls);
        let counted: Vec<_> = calls.all().into_iter().map(|(name, stats)| (name, stats.calls)).collect();
        assert_eq!(counted, [("get", 4), ("set", 1)], "one that was turned to and did not run is no call");
    }

    #[test]
    fn errors_are_counted_by_prefix_and_by_command() {
        let calls = Calls::default();
        let get = command::find(b"get").expect("there");
        calls.note_reply(get, &Reply::Ok);
        calls.note_reply(get, &Reply::error("WRONGTYPE of value"));
        let request = orchard_wire::resp::OwnedArgs::new([&b"GeT"[..]].into_iter());
        calls.note_rejected(request.args(), "ERR wrong number");
        let unknown = orchard_wire::resp::OwnedArgs::new([&b"nosuch"[..]].into_iter());
        calls.note_rejected(unknown.args(), "ERR unknown command");
        assert_eq!(calls.errors(), [("ERR".to_owned(), 2), ("WRONGTYPE".to_owned(), 1)]);
        assert_eq!(calls.all(), [("get", CallStats { calls: 0, nanos: 0, rejected: 1, failed: 1 })]);
        (0..1_000).for_each(|number| calls.note_error(&format!("E{number} x")));
        assert_eq!(calls.errors().len(), PREFIXES_MAX);
        calls.reset();
        assert!(calls.all().is_empty() && calls.errors().is_empty());
    }
}
