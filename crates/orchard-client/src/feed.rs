//! Feeds: every commit that concerns some keys, in order, or an explicit gap.

use crate::error::ClientError;
use crate::remote::events::RawEvent;
use crate::remote::lines::Lines;
use crate::remote::{Query, Remote, stamp};
use crate::shown;
use crate::{Backend, Client};
use bytes::Bytes;
use hyper::{Method, StatusCode};
use orchard_wire::{commit_json, range, rfc3339};
use orcharddb::{
    ChangesStream, FeedCommit, FeedEvent, FeedFilter, FeedStart, Key, KeyRange, Operation, Versionstamp,
};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::future::poll_fn;

/// Which keys a feed is about; without any all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FeedKeys {
    /// These keys.
    pub keys: Vec<Key>,
    /// The keys that begin with the parts of these and have more.
    pub prefixes: Vec<Key>,
}

impl FeedKeys {
    /// The same as ranges.
    pub(crate) fn ranges(&self) -> Result<Vec<KeyRange>, ClientError> {
        let one = |key: &Key| KeyRange {
            start: key.clone().into_bytes(),
            end: Some(Bytes::from([key.as_ref(), &[0]].concat())),
        };
        let mut ranges: Vec<_> = self.keys.iter().map(one).collect();
        for prefix in &self.prefixes {
            let range = range::build(Some(prefix.clone().into_bytes()), None, None);
            ranges.push(range.map_err(ClientError::Refused)?);
        }
        Ok(ranges)
    }

    /// The same as parameters.
    pub(crate) fn add_to(&self, query: &mut Query) {
        for key in &self.keys {
            query.add_key("key", key);
        }
        for prefix in &self.prefixes {
            query.add_key("prefix", prefix);
        }
    }
}

impl Remote {
    /// The events of a route.
    pub(crate) async fn events(&self, path: &str) -> Result<Lines, ClientError> {
        let reply = self.http.send(Method::GET, path, "text/event-stream", Bytes::new()).await?;
        if reply.response.status() != StatusCode::OK {
            let (status, body) = self.http.read(reply).await?;
            return Err(self.http.refused(status, &body));
        }
        Ok(Lines::new(self.http.clone(), reply))
    }
}

/// Commits as they happen.
pub struct Feed {
    position: Versionstamp,
    source: Source,
}

enum Source {
    Local(Box<ChangesStream>),
    Remote(Box<Lines>),
}

impl Client {
    /// The commits of this database from `start` on. A feed that broke off goes on at
    /// [`FeedStart::After`] its [`Feed::position`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn changes(&self, start: FeedStart, keys: &FeedKeys) -> Result<Feed, ClientError> {
        match &self.backend {
            Backend::Local(db) => {
                let ranges = keys.ranges()?;
                let filter = FeedFilter { space: self.space_for_read(db)?, ranges };
                let stream = db.changes(start, filter);
                Ok(Feed { position: stream.position(), source: Source::Local(Box::new(stream)) })
            }
            Backend::Remote(remote) => {
                let mut query = remote.query();
                keys.add_to(&mut query);
                query.add(
                    "from",
                    &match start {
                        FeedStart::Now => "now".to_owned(),
                        FeedStart::Oldest => "oldest".to_owned(),
                        FeedStart::After(version) => version.to_string(),
                        FeedStart::Since(time) => rfc3339::render(time),
                    },
                );
                let lines = remote.events(&query.path("/v1/changes")).await?;
                let position = match start {
                    FeedStart::After(version) => version,
                    _ => Versionstamp::ZERO,
                };
                let mut feed = Feed { position, source: Source::Remote(Box::new(lines)) };
                // It says at once where it stands, so what is committed from here on will be told.
                feed.read_event().await?;
                Ok(feed)
            }
        }
    }
}

impl Feed {
    /// Everything up to here was told.
    pub fn position(&self) -> Versionstamp {
        self.position
    }

    /// The next commit or gap; `None` if the server ended the feed.
    ///
    /// # Errors
    /// [`ClientError`]; the feed ends there.
    pub async fn next(&mut self) -> Result<Option<FeedEvent>, ClientError> {
        if let Source::Local(stream) = &mut self.source {
            let event = poll_fn(|context| stream.poll_next(context)).await;
            self.position = stream.position();
            return Ok(event.transpose()?.map(show).transpose()?);
        }
        loop {
            match self.read_event().await? {
                Event::None => {}
                Event::Told(event) => return Ok(Some(event)),
                Event::End => return Ok(None),
            }
        }
    }

    /// Reads a server-sent event.
    async fn read_event(&mut self) -> Result<Event, ClientError> {
        let Source::Remote(lines) = &mut self.source else { return Ok(Event::End) };
        let Some(RawEvent { name, data, id }) = lines.next_event().await? else { return Ok(Event::End) };
        if let Some(id) = id {
            self.position = id;
        }
        let event = match name.as_str() {
            "" => return Ok(Event::None),
            "commit" => parse_commit(&data).map(FeedEvent::Commit),
            "gap" => parse_gap(&data).map(|restart_at| FeedEvent::Gap { restart_at }),
            _ => return Ok(Event::None),
        };
        event.map(Event::Told).ok_or_else(|| lines.http().foreign("an event is none"))
    }
}

/// The event with values as a server shows them.
fn show(mut event: FeedEvent) -> Result<FeedEvent, orcharddb::Error> {
    if let FeedEvent::Commit(commit) = &mut event {
        for change in &mut commit.changes {
            if let Operation::Set { value, .. } = &mut change.operation {
                *value = shown::written(std::mem::take(value))?;
            }
        }
    }
    Ok(event)
}

enum Event {
    /// A sign of life, or something of a newer server.
    None,
    Told(FeedEvent),
    End,
}

pub(crate) fn parse_gap(data: &[u8]) -> Option<Versionstamp> {
    let json: Json = serde_json::from_slice(data).ok()?;
    json.get("restart_at")?.as_str()?.parse().ok()
}

fn parse_commit(data: &[u8]) -> Option<FeedCommit> {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(data).ok()?;
    let json: Json = serde_json::from_slice(data).ok()?;
    Some(FeedCommit {
        versionstamp: stamp(&json)?,
        log_time: rfc3339::parse(json.get("log_time")?.as_str()?).ok()?,
        changes: commit_json::parse_changes(members.get("changes")?.get().as_bytes()).ok()?,
    })
}
