//! What a connection remembers between two commands.

use super::blocking::Wait;
use super::clients::Client;
use super::command::Command;
use super::effects::Effects;
use super::pubsub::Subscriptions;
use bytes::Bytes;
use orchard_wire::resp::{OwnedArgs, RespVersion};
use orcharddb::{Kept, Key, UnixMillis, Versionstamp};
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes that one `MULTI` may queue.
pub(crate) const QUEUE_SIZE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Commands between `MULTI` and `EXEC`.
#[derive(Default)]
pub(crate) struct Multi {
    pub(crate) queue: Vec<(&'static Command, OwnedArgs)>,
    pub(crate) size_bytes: usize,
    /// A command could not be queued: `EXEC` will refuse.
    pub(crate) is_broken: bool,
}

/// A key that `WATCH` named.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    pub(crate) database: u32,
    pub(crate) key: Key,
    pub(crate) versionstamp: Option<Versionstamp>,
    /// What was seen of it was seen at this version.
    pub(crate) seen_at: Versionstamp,
}

/// Which replies a client wants, by `CLIENT REPLY`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum ReplyMode {
    #[default]
    On,
    Off,
    /// Not the next one.
    SkipNext,
    /// Not this one.
    Skip,
}

/// How a client tracks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tracks {
    /// The client that is told in its place; 0: it is told itself.
    pub(crate) redirect: u64,
    pub(crate) is_broadcast: bool,
    pub(crate) is_opt_in: bool,
    pub(crate) is_opt_out: bool,
    pub(crate) no_loop: bool,
    /// `CLIENT CACHING` has made an exception of the next command.
    pub(crate) is_exception: bool,
    /// The client that should be told is gone.
    pub(crate) is_broken: bool,
}

impl Tracks {
    /// Whether the keys of the next command that reads are remembered.
    pub(crate) fn remembers(&self) -> bool {
        let is_out = if self.is_opt_in { !self.is_exception } else { self.is_opt_out && self.is_exception };
        !self.is_broadcast && !is_out
    }
}

/// Of its own changes, a client with `NOLOOP` is not told; it knows the versions of at most so many that are still to come.
const OWN_CHANGES_MAX: usize = 100_000;

/// What a connection that tracks remembers.
#[derive(Default)]
pub(crate) struct TrackingSession {
    pub(crate) how: Tracks,
    pub(crate) prefixes: BTreeSet<Bytes>,
    /// Versions of its own commits, in order, with `NOLOOP`.
    own: VecDeque<Versionstamp>,
}

impl TrackingSession {
    pub(crate) fn new(how: Tracks, prefixes: BTreeSet<Bytes>) -> TrackingSession {
        TrackingSession { how, prefixes, own: VecDeque::new() }
    }

    fn note_own(&mut self, stamp: Versionstamp) {
        if self.how.no_loop && self.own.back() != Some(&stamp) {
            if self.own.len() >= OWN_CHANGES_MAX {
                self.own.pop_front();
            }
            self.own.push_back(stamp);
        }
    }

    /// Takes its own changes out of the news, which come in order.
    pub(crate) fn without_own(&mut self, keys: &mut Vec<(Bytes, Versionstamp)>) {
        // The last version stands for a key that had to go, whatever changed.
        let stamps = keys.iter().map(|(_, stamp)| *stamp).filter(|stamp| *stamp != Versionstamp::MAX);
        let oldest = stamps.min().unwrap_or(Versionstamp::ZERO);
        while self.own.front().is_some_and(|own| *own < oldest) {
            self.own.pop_front();
        }
        keys.retain(|(_, stamp)| self.own.binary_search(stamp).is_err());
    }
}

/// One connection's state.
pub(crate) struct Session {
    /// As others see it.
    pub(crate) client: Arc<Client>,
    pub(crate) database: u32,
    pub(crate) version: RespVersion,
    pub(crate) is_authenticated: bool,
    pub(crate) name: Bytes,
    pub(crate) library_name: Bytes,
    pub(crate) library_version: Bytes,
    pub(crate) multi: Option<Multi>,
    pub(crate) watched: Vec<Watched>,
    /// While absent keys are watched: what happens to them is kept.
    pub(crate) kept: Option<Kept>,
    pub(crate) reply_mode: ReplyMode,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) is_monitor: bool,
    /// While it tracks.
    pub(crate) tracking: Option<Box<TrackingSession>>,
    /// While `EXEC` runs: what is to be done when it is known that it happened.
    pub(crate) effects: Option<Effects>,
    /// The newest versionstamp that this connection was told of, and its time: what it reads is no older.
    pub(crate) own: (Versionstamp, UnixMillis),
    /// Commands may wait for an element; not so inside `EXEC`.
    pub(crate) may_wait: bool,
    /// What the last command waits for.
    pub(crate) wait: Option<Wait>,
    /// When the last batch had run, or a part of a request had come.
    pub(crate) ran_at: Instant,
    /// The connection ends after the replies so far.
    pub(crate) is_closing: bool,
}

impl Session {
    pub(crate) fn new(client: Arc<Client>, is_authenticated: bool) -> Session {
        Session {
            client,
            database: 0,
            version: RespVersion::Two,
            is_authenticated,
            name: Bytes::new(),
            library_name: Bytes::new(),
            library_version: Bytes::new(),
            multi: None,
            watched: Vec::new(),
            kept: None,
            reply_mode: ReplyMode::On,
            subscriptions: Subscriptions::default(),
            is_monitor: false,
            tracking: None,
            effects: None,
            own: (Versionstamp::ZERO, UnixMillis(0)),
            may_wait: true,
            wait: None,
            ran_at: Instant::now(),
            is_closing: false,
        }
    }

    /// A commit of this connection's was placed.
    pub(crate) fn note_own(&mut self, stamp: Versionstamp, time: UnixMillis) {
        self.own = (self.own.0.max(stamp), self.own.1.max(time));
        if let Some(tracking) = &mut self.tracking {
            tracking.note_own(stamp);
        }
    }

    /// Whether the keys of the next command that reads are remembered.
    pub(crate) fn remembers(&self) -> bool {
        self.tracking.as_ref().is_some_and(|tracking| tracking.how.remembers())
    }

    /// Whether only commands about subscriptions may run: messages could not be told from replies.
    pub(crate) fn only_listens(&self) -> bool {
        self.subscriptions.is_any() && self.version == RespVersion::Two
    }

    /// Ends `MULTI` and `WATCH`.
    pub(crate) fn discard(&mut self) {
        self.multi = None;
        self.unwatch();
    }

    pub(crate) fn unwatch(&mut self) {
        self.watched.clear();
        self.kept = None;
    }
}
