//! What a connection remembers between two commands.

use super::blocking::Wait;
use super::clients::Client;
use super::command::Command;
use super::effects::Effects;
use super::pubsub::Subscriptions;
use bytes::Bytes;
use orchard_wire::resp::{OwnedArgs, RespVersion};
use orcharddb::{Kept, Key, UnixMillis, Versionstamp, WarmKeys};
use std::sync::Arc;

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
    /// While `EXEC` runs: what is to be done when it is known that it happened.
    pub(crate) effects: Option<Effects>,
    /// The newest versionstamp that this connection was told of, and its time: what it reads is no older.
    pub(crate) own: (Versionstamp, UnixMillis),
    /// Commands may wait for an element; not so inside `EXEC`.
    pub(crate) may_wait: bool,
    /// What the last command waits for.
    pub(crate) wait: Option<Wait>,
    /// Room for the keys of a batch.
    pub(crate) warm: WarmKeys,
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
            effects: None,
            own: (Versionstamp::ZERO, UnixMillis(0)),
            may_wait: true,
            wait: None,
            warm: WarmKeys::default(),
            is_closing: false,
        }
    }

    /// A commit of this connection's was placed.
    pub(crate) fn note_own(&mut self, stamp: Versionstamp, time: UnixMillis) {
        self.own = (self.own.0.max(stamp), self.own.1.max(time));
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
