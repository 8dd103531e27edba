//! Watches: a stream of frames, one at once and one after each change.
//!
//! - The first frame tells every key, later ones those whose version is another one than in the frame before. Each is one
//!   snapshot; changes that come faster than the client reads are told as one.
//! - A key that expires changes at that time, not at a sweep.
//! - A frame without content every few seconds tells the client that the server is there, and the server that the client
//!   is not.

use super::collections::shown;
use super::refused;
use crate::http::body::Incoming;
use crate::http::{Body, Produced, Session, reply};
use bytes::Bytes;
use hyper::{Response, StatusCode};
use orchard_wire::kvconnect::{PING, READ_BODY_SIZE_BYTES_MAX, Watched, decode_watch, encode_watch};
use orchard_wire::{Problem, media};
use orcharddb::{SpaceId, UnixMillis, Versionstamp, WatchTarget};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Longest silence.
const PING_INTERVAL: Duration = Duration::from_secs(5);

pub(super) async fn handle(
    session: &Arc<Session>,
    database: &str,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let body = body.read(session, "body_size_bytes", READ_BODY_SIZE_BYTES_MAX).await?;
    let keys = decode_watch(&body.bytes).map_err(|error| refused(&error))?;
    session.settle().await?;
    // A database that is to be seen coming into being needs a space to watch.
    let space = session.space_for_write(Some(database))?;
    let mut watched = Keys { session: session.clone(), space, told: vec![None; keys.len()], keys };
    let targets = watched.keys.iter().map(|key| WatchTarget::key(space, key)).collect();
    let mut watcher = session.server().db.watch(targets);
    let produced = Produced::new(move |sender| async move {
        let mut silent_until = Instant::now() + PING_INTERVAL;
        loop {
            let (frame, until) = watched.look()?;
            let now = Instant::now();
            if let Some(frame) = frame {
                sender.send(frame).await?;
                silent_until = now + PING_INTERVAL;
            } else if now >= silent_until {
                sender.send(PING.to_vec()).await?;
                silent_until = now + PING_INTERVAL;
            }
            let wake = until.map_or(silent_until, |until| silent_until.min(now + until));
            tokio::select! {
                biased;
                () = watched.session.stopping() => return Ok(()),
                _ = watcher.changed() => {}
                () = sleep_until(wake) => {}
            }
        }
    });
    let mut response = reply::new(StatusCode::OK, media::OCTET_STREAM, Bytes::new());
    *response.body_mut() = produced.into_body();
    Ok(response)
}

/// The watched keys and what was told of them.
struct Keys {
    session: Arc<Session>,
    space: SpaceId,
    keys: Vec<Bytes>,
    /// The version of each, `None` inside: absent; `None` outside: nothing was told yet.
    told: Vec<Option<Option<Versionstamp>>>,
}

impl Keys {
    /// The frame that tells what is not told yet, if there is any, and how long until the next key expires.
    fn look(&mut self) -> Result<(Option<Vec<u8>>, Option<Duration>), Problem> {
        let snapshot = self.session.server().db.snapshot();
        let mut frame = Vec::with_capacity(self.keys.len());
        let mut expires_at: Option<UnixMillis> = None;
        let mut has_news = false;
        for (key, told) in self.keys.iter().zip(&mut self.told) {
            let entry = snapshot.get_in(self.space, key)?;
            if let Some(time) = entry.as_ref().and_then(|entry| entry.expires_at) {
                expires_at = Some(expires_at.map_or(time, |earlier| earlier.min(time)));
            }
            let version = entry.as_ref().map(|entry| entry.versionstamp);
            if told.replace(version) == Some(version) {
                frame.push(Watched::Unchanged);
                continue;
            }
            has_news = true;
            let entry = entry.map(|entry| shown(&snapshot, self.space, entry)).transpose()?;
            frame.push(Watched::Changed(entry));
        }
        // A millisecond more: an entry is there until its time, not at it.
        let until =
            expires_at.map(|time| Duration::from_millis(time.0.saturating_sub(snapshot.time().0) + 1));
        Ok((has_news.then(|| encode_watch(&frame)), until))
    }
}
