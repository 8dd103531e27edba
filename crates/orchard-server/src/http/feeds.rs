//! `GET /v1/changes` and `GET /v1/watch`: server-sent events, until the client goes or the server stops.
//!
//! - A feed tells every commit; a watch tells what the keys hold now, changes in between left out.
//! - Both go on behind `Last-Event-ID`; what cannot be told whole begins with a gap.
//! - An event is made when the client has taken the ones before it.

use crate::http::stream::{PieceSender, Produced};
use crate::http::{Body, Session, collections, reply};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use orchard_wire::moment::Moment;
use orchard_wire::query::Parameters;
use orchard_wire::{Kind, Problem, feed_json, key_path, range};
use orcharddb::{
    ChangesStream, FeedCommit, FeedEvent, FeedFilter, FeedStart, Key, KeyRange, Operation, ReadError,
    Snapshot, SpaceId, UnixMillis, Versionstamp,
};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// How long a feed is silent at most.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Keys that a watch reads anew at once.
const NEWS_MAX: usize = 1_000;
/// An event of a watch ends when it has this many bytes; another follows.
const EVENT_BYTES: usize = 256 * 1024;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What both routes read from a request.
struct Query {
    space: SpaceId,
    keys: Vec<Key>,
    ranges: Vec<KeyRange>,
    values: bool,
    from: From,
}

#[derive(Clone, Copy)]
enum From {
    Now,
    Oldest,
    Moment(Moment),
}

impl Query {
    fn read(session: &Session, parts: &Parts) -> Result<Query, Problem> {
        let query = parts.uri.query().unwrap_or_default().as_bytes();
        let mut parameters = Parameters::parse_repeating(query, &["prefix", "key"])?;
        let prefixes = parameters.take_all("prefix")?;
        let keys = parameters.take_all("key")?;
        let values = parameters.take_with("values", |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("neither true nor false".to_owned()),
        })?;
        let from = parameters.take_with("from", |text| match text {
            "now" => Ok(From::Now),
            "oldest" => Ok(From::Oldest),
            other => orchard_wire::moment::parse(other).map(From::Moment),
        })?;
        let db = reply::take_db(&mut parameters)?;
        parameters.finish()?;
        let keys = keys.iter().map(|text| Ok(Key::new(key_path::parse_parameter(text)?.encode()?)?));
        let keys = keys.collect::<Result<Vec<Key>, Problem>>()?;
        let mut ranges = prefixes.iter().map(|text| range::of_prefix(text)).collect::<Result<Vec<_>, _>>()?;
        ranges.extend(keys.iter().map(|key| range::one(key)));
        let resumed = match reply::header(parts, LAST_EVENT_ID)? {
            None | Some("") => None,
            Some(id) => Some(id.parse().map(|id| From::Moment(Moment::Version(id))).map_err(|_| {
                Problem::new(Kind::BadRequest, "Last-Event-ID: not an id of an event of ours, a versionstamp")
            })?),
        };
        Ok(Query {
            space: session.space_for_read(db.as_deref())?,
            keys,
            ranges,
            values: values.unwrap_or(true),
            from: resumed.or(from).unwrap_or(From::Now),
        })
    }
}

fn events<F>(work: impl FnOnce(PieceSender) -> F) -> Response<Body>
where
    F: Future<Output = Result<(), Problem>> + Send + 'static,
{
    let mut response = Response::new(Produced::new(work).into_body());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(feed_json::EVENT_STREAM));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that buffer would keep events back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

fn start(session: &Session, from: From) -> FeedStart {
    match from {
        From::Now => FeedStart::Now,
        From::Oldest => FeedStart::Oldest,
        From::Moment(Moment::Version(version)) => FeedStart::After(version),
        From::Moment(Moment::Time(time)) => FeedStart::Since(time),
        From::Moment(Moment::Ago(age)) => {
            let now = session.server().db.snapshot().time();
            FeedStart::Since(UnixMillis(now.0.saturating_sub(age.0)))
        }
    }
}

fn show_collections(commit: &mut FeedCommit) -> Result<(), Problem> {
    for change in &mut commit.changes {
        if let Operation::Set { value, .. } = &mut change.operation {
            *value = collections::shown_written(std::mem::take(value))?;
        }
    }
    Ok(())
}

/// `GET /v1/changes`
pub(super) async fn changes(session: &Arc<Session>, parts: &Parts) -> Result<Response<Body>, Problem> {
    let query = Query::read(session, parts)?;
    session.settle().await?;
    let values = query.values;
    let start = start(session, query.from);
    let mut feed =
        session.server().db.changes(start, FeedFilter { space: query.space, ranges: query.ranges });
    let session = session.clone();
    Ok(events(move |sender| async move {
        let mut out = Vec::new();
        feed_json::write_heartbeat(&mut out, feed.position());
        sender.send(out).await?;
        let mut silent_until = Instant::now() + HEARTBEAT;
        loop {
            let mut out = Vec::new();
            tokio::select! {
                biased;
                () = session.stopping() => return Ok(()),
                event = feed.next() => match event {
                    None => return Ok(()),
                    Some(Ok(FeedEvent::Commit(mut commit))) => {
                        if values {
                            show_collections(&mut commit)?;
                        }
                        feed_json::write_commit(&mut out, &commit, values);
                    }
                    Some(Ok(FeedEvent::Gap { restart_at })) => feed_json::write_gap(&mut out, restart_at),
                    Some(Err(error)) => return Err(error.into()),
                },
                () = sleep_until(silent_until) => feed_json::write_heartbeat(&mut out, feed.position()),
            }
            sender.send(out).await?;
            silent_until = Instant::now() + HEARTBEAT;
        }
    }))
}

/// `GET /v1/watch`
pub(super) async fn watch(session: &Arc<Session>, parts: &Parts) -> Result<Response<Body>, Problem> {
    let query = Query::read(session, parts)?;
    if query.ranges.is_empty() {
        return Err(Problem::new(Kind::BadQuery, "a watch needs a key or a prefix"));
    }
    session.settle().await?;
    let filter = FeedFilter { space: query.space, ranges: query.ranges.clone() };
    let tells_state = matches!(query.from, From::Now);
    let feed = session.server().db.changes(start(session, query.from), filter);
    let mut watch = Watch { session: session.clone(), query, feed };
    Ok(events(move |sender| async move {
        if tells_state {
            watch.tell_state(&sender).await?;
        }
        let mut silent_until = Instant::now() + HEARTBEAT;
        loop {
            tokio::select! {
                biased;
                () = watch.session.stopping() => return Ok(()),
                event = watch.feed.next() => match event {
                    None => return Ok(()),
                    Some(event) => watch.tell(event, &sender).await?,
                },
                () = sleep_until(silent_until) => {
                    let mut out = Vec::new();
                    feed_json::write_heartbeat(&mut out, watch.feed.position());
                    sender.send(out).await?;
                }
            }
            silent_until = Instant::now() + HEARTBEAT;
        }
    }))
}

/// A feed of which only the keys are told, with what they hold by now.
struct Watch {
    session: Arc<Session>,
    query: Query,
    feed: ChangesStream,
}

/// What a watch has to tell.
#[derive(Default)]
struct News {
    keys: BTreeSet<Key>,
    deleted: Vec<KeyRange>,
    gap: Option<Versionstamp>,
}

impl News {
    fn take(&mut self, event: FeedEvent) {
        let commit = match event {
            FeedEvent::Gap { restart_at } => {
                self.gap = Some(restart_at);
                return;
            }
            FeedEvent::Commit(commit) => commit,
        };
        for change in commit.changes {
            match change.operation {
                Operation::DeleteRange { end } => {
                    self.deleted.push(KeyRange { start: change.key.into_bytes(), end });
                }
                _ => {
                    self.keys.insert(change.key);
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.gap.is_some() || self.keys.len() + self.deleted.len() >= NEWS_MAX
    }
}

impl Watch {
    /// Tells what the keys hold that are watched by name.
    async fn tell_state(&mut self, sender: &PieceSender) -> Result<(), Problem> {
        let snapshot = self.session.server().db.snapshot();
        if self.query.keys.is_empty() {
            let mut out = Vec::new();
            feed_json::write_heartbeat(&mut out, snapshot.versionstamp());
            return sender.send(out).await;
        }
        let keys = self.query.keys.clone();
        self.tell_keys(&snapshot, keys, Vec::new(), snapshot.versionstamp(), sender).await
    }

    /// Tells of an event, and of those that are there already.
    async fn tell(
        &mut self,
        event: Result<FeedEvent, ReadError>,
        sender: &PieceSender,
    ) -> Result<(), Problem> {
        let mut news = News::default();
        news.take(event?);
        while !news.is_full() {
            let ready = poll_fn(|context| {
                Poll::Ready(match self.feed.poll_next(context) {
                    Poll::Ready(event) => event,
                    Poll::Pending => None,
                })
            });
            match ready.await {
                Some(event) => news.take(event?),
                None => break,
            }
        }
        // What is read now may be newer than the feed's position; then it will be told once more.
        let position = self.feed.position();
        let snapshot = self.session.server().db.snapshot();
        if !news.keys.is_empty() || !news.deleted.is_empty() {
            let keys = news.keys.into_iter().collect();
            self.tell_keys(&snapshot, keys, news.deleted, position, sender).await?;
        }
        if let Some(restart_at) = news.gap {
            let mut out = Vec::new();
            feed_json::write_gap(&mut out, restart_at);
            sender.send(out).await?;
            self.tell_state(sender).await?;
        }
        Ok(())
    }

    async fn tell_keys(
        &self,
        snapshot: &Snapshot,
        keys: Vec<Key>,
        deleted: Vec<KeyRange>,
        position: Versionstamp,
        sender: &PieceSender,
    ) -> Result<(), Problem> {
        let begin =
            || format!("{{\"versionstamp\":\"{}\",\"changes\":[", snapshot.versionstamp()).into_bytes();
        let mut data = begin();
        let mut is_first = true;
        for range in &deleted {
            if !std::mem::take(&mut is_first) {
                data.push(b',');
            }
            feed_json::write_deleted_range(&mut data, range);
        }
        for key in keys {
            if data.len() >= EVENT_BYTES {
                data.extend_from_slice(b"]}");
                let mut out = Vec::new();
                feed_json::write_event(&mut out, None, "change", &data);
                sender.send(out).await?;
                data = begin();
                is_first = true;
            }
            let mut entry = snapshot.get_in(self.query.space, &key)?;
            if self.query.values {
                let shown = |entry| collections::shown_in_list(snapshot, self.query.space, entry);
                entry = entry.map(shown).transpose()?;
            }
            if !std::mem::take(&mut is_first) {
                data.push(b',');
            }
            feed_json::write_state(&mut data, &key, entry.as_ref(), self.query.values);
        }
        data.extend_from_slice(b"]}");
        let mut out = Vec::new();
        feed_json::write_event(&mut out, Some(position), "change", &data);
        sender.send(out).await
    }
}
