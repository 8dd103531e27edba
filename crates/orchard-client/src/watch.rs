//! Watching keys: what they hold now, and whenever that changes. Changes in between may be left out; a feed tells all.

use crate::error::ClientError;
use crate::feed::parse_gap;
use crate::remote::events::RawEvent;
use crate::remote::lines::Lines;
use crate::remote::{parse_entry, stamp};
use crate::{Backend, Client, FeedKeys, shown};
use orchard_wire::{Kind, Problem, commit_json};
use orcharddb::{
    ChangesStream, Db, Entry, FeedEvent, FeedFilter, FeedStart, Key, KeyRange, Operation, Snapshot, SpaceId,
    Versionstamp,
};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::task::Poll;

/// Keys that are read anew at once.
const NEWS_MAX: usize = 1_000;

/// What became of a key, or of many.
#[derive(Clone, PartialEq, Debug)]
pub enum Watched {
    /// It holds this.
    Holds(Entry),
    /// It is absent.
    Absent(Key),
    /// A range was deleted.
    DeletedRange(KeyRange),
}

/// What a watch tells.
#[derive(Clone, PartialEq, Debug)]
pub enum WatchEvent {
    /// The state at a version of keys that changed.
    Changed {
        /// The version that was read.
        versionstamp: Versionstamp,
        /// What the keys hold; the same may be told twice.
        keys: Vec<Watched>,
    },
    /// What changed before this version is not known any more. The state of the keys that are watched by name follows.
    Gap {
        /// From here on nothing is missed.
        restart_at: Versionstamp,
    },
}

/// Keys that are watched.
pub struct Watch {
    position: Versionstamp,
    pending: Vec<WatchEvent>,
    source: Source,
}

enum Source {
    Local(Box<Local>),
    Remote(Box<Lines>),
}

struct Local {
    db: Db,
    space: SpaceId,
    keys: Vec<Key>,
    stream: ChangesStream,
}

impl Client {
    /// Watches keys and prefixes: first the state of each key that is named, then of whatever changes. With `after`, the
    /// [`Watch::position`] of one that broke off, it begins with what changed since.
    ///
    /// # Errors
    /// [`ClientError`]; of kind [`BadQuery`](Kind::BadQuery) without any key.
    pub async fn watch(&self, after: Option<Versionstamp>, keys: &FeedKeys) -> Result<Watch, ClientError> {
        if keys.keys.is_empty() && keys.prefixes.is_empty() {
            let problem = Problem::new(Kind::BadQuery, "a watch needs a key or a prefix");
            return Err(ClientError::Refused(problem));
        }
        match &self.backend {
            Backend::Local(db) => {
                let space = self.space_for_read(db)?;
                let start = after.map_or(FeedStart::Now, FeedStart::After);
                let stream = db.changes(start, FeedFilter { space, ranges: keys.ranges()? });
                let local = Local { db: db.clone(), space, keys: keys.keys.clone(), stream };
                let position = local.stream.position();
                let pending = match after {
                    None if !local.keys.is_empty() => vec![local.state()?],
                    _ => Vec::new(),
                };
                Ok(Watch { position, pending, source: Source::Local(Box::new(local)) })
            }
            Backend::Remote(remote) => {
                let mut query = remote.query();
                keys.add_to(&mut query);
                if let Some(after) = after {
                    query.add("from", &after.to_string());
                }
                let lines = remote.events(&query.path("/v1/watch")).await?;
                let position = after.unwrap_or(Versionstamp::ZERO);
                let mut watch =
                    Watch { position, pending: Vec::new(), source: Source::Remote(Box::new(lines)) };
                if after.is_none() {
                    // It says at once what the keys hold, so whatever changes from here on will be told.
                    let first = watch.read_event().await?;
                    watch.pending.extend(first.flatten());
                }
                Ok(watch)
            }
        }
    }
}

impl Watch {
    /// Everything up to here was told.
    pub fn position(&self) -> Versionstamp {
        self.position
    }

    /// What comes next; `None` if the server ended the watch.
    ///
    /// # Errors
    /// [`ClientError`]; the watch ends there.
    pub async fn next(&mut self) -> Result<Option<WatchEvent>, ClientError> {
        loop {
            if !self.pending.is_empty() {
                return Ok(Some(self.pending.remove(0)));
            }
            if let Source::Local(local) = &mut self.source {
                let Some(events) = local.events().await? else { return Ok(None) };
                self.position = local.stream.position();
                self.pending = events;
                continue;
            }
            match self.read_event().await? {
                None => return Ok(None),
                Some(Some(event)) => return Ok(Some(event)),
                Some(None) => {}
            }
        }
    }

    /// Reads a server-sent event: nothing at the end, and no event of ours if it is a sign of life.
    async fn read_event(&mut self) -> Result<Option<Option<WatchEvent>>, ClientError> {
        let Source::Remote(lines) = &mut self.source else { return Ok(None) };
        let Some(RawEvent { name, data, id }) = lines.next_event().await? else { return Ok(None) };
        if let Some(id) = id {
            self.position = id;
        }
        let event = match name.as_str() {
            "change" => parse_change(&data),
            "gap" => parse_gap(&data).map(|restart_at| WatchEvent::Gap { restart_at }),
            _ => return Ok(Some(None)),
        };
        event.map(|event| Some(Some(event))).ok_or_else(|| lines.http().foreign("an event is none"))
    }
}

impl Local {
    fn state_of(
        &self,
        snapshot: &Snapshot,
        keys: impl IntoIterator<Item = Key>,
    ) -> Result<Vec<Watched>, ClientError> {
        let state = keys.into_iter().map(|key| {
            Ok(match snapshot.get_in(self.space, &key)? {
                Some(entry) => Watched::Holds(shown::in_list(snapshot, self.space, entry)?),
                None => Watched::Absent(key),
            })
        });
        state.collect()
    }

    /// What the keys hold that are watched by name.
    fn state(&self) -> Result<WatchEvent, ClientError> {
        let snapshot = self.db.snapshot();
        let keys = self.state_of(&snapshot, self.keys.iter().cloned())?;
        Ok(WatchEvent::Changed { versionstamp: snapshot.versionstamp(), keys })
    }

    /// Waits for changes, and tells of those that are there already with them.
    async fn events(&mut self) -> Result<Option<Vec<WatchEvent>>, ClientError> {
        let (mut keys, mut deleted, mut gap) = (BTreeSet::new(), Vec::new(), None);
        let mut next = match self.stream.next().await {
            None => return Ok(None),
            first => first,
        };
        while let Some(event) = next {
            match event? {
                FeedEvent::Gap { restart_at } => {
                    gap = Some(restart_at);
                    break;
                }
                FeedEvent::Commit(commit) => {
                    for change in commit.changes {
                        match change.operation {
                            Operation::DeleteRange { end } => {
                                let range = KeyRange { start: change.key.into_bytes(), end };
                                deleted.push(Watched::DeletedRange(range));
                            }
                            _ => {
                                keys.insert(change.key);
                            }
                        }
                    }
                }
            }
            if keys.len() + deleted.len() >= NEWS_MAX {
                break;
            }
            let ready = poll_fn(|context| {
                Poll::Ready(match self.stream.poll_next(context) {
                    Poll::Ready(event) => event,
                    Poll::Pending => None,
                })
            });
            next = ready.await;
        }
        let mut events = Vec::new();
        if !keys.is_empty() || !deleted.is_empty() {
            let snapshot = self.db.snapshot();
            deleted.extend(self.state_of(&snapshot, keys)?);
            events.push(WatchEvent::Changed { versionstamp: snapshot.versionstamp(), keys: deleted });
        }
        if let Some(restart_at) = gap {
            events.push(WatchEvent::Gap { restart_at });
            if !self.keys.is_empty() {
                events.push(self.state()?);
            }
        }
        Ok(Some(events))
    }
}

fn parse_change(data: &[u8]) -> Option<WatchEvent> {
    let json: Json = serde_json::from_slice(data).ok()?;
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data).ok()?;
    let changes: Vec<BTreeMap<String, Box<RawValue>>> =
        serde_json::from_str(members.get("changes")?.get()).ok()?;
    let keys = changes.into_iter().map(parse_watched).collect::<Option<Vec<_>>>()?;
    Some(WatchEvent::Changed { versionstamp: stamp(&json)?, keys })
}

fn parse_watched(mut members: BTreeMap<String, Box<RawValue>>) -> Option<Watched> {
    let op: String = serde_json::from_str(members.get("op")?.get()).ok()?;
    if op == "set" {
        // Beside its op it is an entry.
        members.remove("op");
        let entry = serde_json::to_vec(&members).ok()?;
        return parse_entry(&entry).ok().map(Watched::Holds);
    }
    let change = serde_json::to_string(&members).ok()?;
    let change = commit_json::parse_changes(format!("[{change}]").as_bytes()).ok()?.pop()?;
    match change.operation {
        Operation::DeleteRange { end } => {
            Some(Watched::DeletedRange(KeyRange { start: change.key.into_bytes(), end }))
        }
        _ => Some(Watched::Absent(change.key)),
    }
}
