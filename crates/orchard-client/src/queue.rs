//! Queues, wherever the database is.

use crate::error::ClientError;
use crate::{Backend, Client, CommitOptions};
use bytes::Bytes;
use hyper::Method;
use orchard_wire::queue_json::{Enqueue, LEASE_WAIT_MS_MAX};
use orchard_wire::{Problem, duration, entry_json, percent, rfc3339, value_json};
use orcharddb::queue::{DeadLetter, Delivery, MessageId, QueueStats};
use orcharddb::{Commit, Committed, DurationMs, UnixMillis, Value};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::Duration;

/// One queue.
#[derive(Clone, Debug)]
pub struct ClientQueue {
    client: Client,
    name: String,
}

/// One message of a reply, its members as they came.
type Members = BTreeMap<String, Box<RawValue>>;

fn text(members: &Members, name: &str) -> Option<String> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

fn payload(members: &Members) -> Option<Value> {
    let value_type = entry_json::value_type(&text(members, "type")?).ok()?;
    value_json::parse_as(members.get("payload")?.get().as_bytes(), Some(value_type)).ok()
}

fn time(members: &Members, name: &str) -> Option<UnixMillis> {
    rfc3339::parse(&text(members, name)?).ok()
}

fn count(members: &Members, name: &str) -> Option<u16> {
    serde_json::from_str(members.get(name)?.get()).ok()
}

fn delivery(members: &Members) -> Option<Delivery> {
    Some(Delivery {
        id: text(members, "id")?.parse().ok()?,
        payload: payload(members)?,
        attempt: count(members, "attempt")?,
        until: time(members, "leased_until").or_else(|| time(members, "ready_at"))?,
    })
}

fn letter(members: &Members) -> Option<DeadLetter> {
    Some(DeadLetter {
        id: text(members, "id")?.parse().ok()?,
        payload: payload(members)?,
        attempts: count(members, "attempts")?,
        died_at: time(members, "died_at")?,
    })
}

impl Client {
    /// The queue of this name.
    ///
    /// # Errors
    /// [`ClientError::Database`] if the text is no name.
    pub fn queue(&self, name: &str) -> Result<ClientQueue, ClientError> {
        orcharddb::queue::check_queue_name(name).map_err(orcharddb::Error::from)?;
        Ok(ClientQueue { client: self.clone(), name: name.to_owned() })
    }

    /// The names of queues that hold something, behind `after`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn queues(&self, after: Option<&str>, limit: usize) -> Result<Vec<String>, ClientError> {
        match &self.backend {
            Backend::Local(db) => Ok(db.queues(after, limit)?),
            Backend::Remote(remote) => {
                let mut path = format!("/v1/queues?limit={limit}");
                if let Some(after) = after {
                    path.push_str(&format!("&after={}", percent::encode(after.as_bytes())));
                }
                let json = remote.http.ask_json(Method::GET, &path, Bytes::new()).await?;
                let names = json.get("queues").and_then(Json::as_array).into_iter().flatten();
                Ok(names.filter_map(|name| name.as_str().map(str::to_owned)).collect())
            }
        }
    }
}

impl ClientQueue {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Puts a message into the queue, in a commit of its own; for one with other changes see
    /// [`CommitOptions::enqueues`].
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn enqueue(&self, mut message: Enqueue) -> Result<Committed, ClientError> {
        message.queue.clone_from(&self.name);
        let options = CommitOptions { enqueues: vec![message], ..CommitOptions::default() };
        self.client.commit_with(&Commit::new(), &options).await
    }

    /// Takes up to `max` ready messages for `visibility`, and waits up to `wait` for the first.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn lease(
        &self,
        max: usize,
        visibility: DurationMs,
        wait: DurationMs,
    ) -> Result<Vec<Delivery>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => {
                let queue = db.queue(&self.name)?;
                if wait.0 == 0 {
                    return Ok(queue.lease(max, visibility)?.await?);
                }
                let sleep = |duration: DurationMs| tokio::time::sleep(Duration::from_millis(duration.0));
                Ok(queue.lease_or_wait(max, visibility, sleep(wait), sleep).await?)
            }
            Backend::Remote(_) => {
                let body = |wait: u64| {
                    let (visibility, wait) =
                        (duration::render(visibility), duration::render(DurationMs(wait)));
                    serde_json::json!({ "max": max, "visibility": visibility, "wait": wait }).to_string()
                };
                // A server waits for a minute at most; then it is asked again.
                let mut left = wait.0;
                loop {
                    let messages =
                        self.messages(Method::POST, "/lease", body(left.min(LEASE_WAIT_MS_MAX)), delivery);
                    let messages = messages.await?;
                    left = left.saturating_sub(LEASE_WAIT_MS_MAX);
                    if !messages.is_empty() || left == 0 {
                        return Ok(messages);
                    }
                }
            }
        }
    }

    /// Ends messages for good. `false` for those that are gone.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn ack(&self, ids: &[MessageId]) -> Result<Vec<bool>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.ack(ids)?.await?),
            Backend::Remote(_) => self.done("/ack", "ids", ids, None).await,
        }
    }

    /// Gives messages back; `delay` instead of what their backoff schedule says. `false` for those that are not leased as
    /// `ids` say.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn nack(&self, ids: &[MessageId], delay: Option<DurationMs>) -> Result<Vec<bool>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.nack(ids, delay)?.await?),
            Backend::Remote(_) => self.done("/nack", "ids", ids, delay).await,
        }
    }

    /// The messages that come next, without leasing them.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn peek(&self, limit: usize) -> Result<Vec<Delivery>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.peek(limit)?),
            Backend::Remote(_) => {
                self.messages(Method::GET, &format!("/peek?limit={limit}"), String::new(), delivery).await
            }
        }
    }

    /// How many messages are where.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn stats(&self) -> Result<QueueStats, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.stats()?),
            Backend::Remote(remote) => {
                let json = remote.http.ask_json(Method::GET, &self.path("/stats"), Bytes::new()).await?;
                let number = |name: &str| json.get(name).and_then(Json::as_u64);
                let stats = || {
                    Some(QueueStats {
                        ready: number("ready")?,
                        delayed: number("delayed")?,
                        leased: number("leased")?,
                        dead: number("dead")?,
                    })
                };
                stats().ok_or_else(|| remote.http.foreign("there are no numbers"))
            }
        }
    }

    /// Dead letters behind `after`.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn dead(&self, after: Option<MessageId>, limit: usize) -> Result<Vec<DeadLetter>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => {
                let queue = db.queue(&self.name)?;
                let letters = tokio::task::spawn_blocking(move || queue.dead(after, limit)).await;
                Ok(letters.map_err(|error| ClientError::Unreachable(error.to_string()))??)
            }
            Backend::Remote(_) => {
                let after = after.map(|after| format!("&after={after}")).unwrap_or_default();
                let path = format!("/dead?limit={limit}{after}");
                self.messages(Method::GET, &path, String::new(), letter).await
            }
        }
    }

    /// Puts dead letters back into the queue. `false` for those that are none.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn requeue(&self, ids: &[MessageId]) -> Result<Vec<bool>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.requeue(ids)?.await?),
            Backend::Remote(_) => self.done("/dead", "requeue", ids, None).await,
        }
    }

    /// Removes dead letters for good. `false` for those that are none.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn purge(&self, ids: &[MessageId]) -> Result<Vec<bool>, ClientError> {
        match &self.client.backend {
            Backend::Local(db) => Ok(db.queue(&self.name)?.purge(ids)?.await?),
            Backend::Remote(_) => self.done("/dead", "purge", ids, None).await,
        }
    }

    /// Removes everything from the queue, dead letters included.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn clear(&self) -> Result<(), ClientError> {
        match &self.client.backend {
            Backend::Local(db) => {
                let queue = db.queue(&self.name)?;
                let cleared = tokio::task::spawn_blocking(move || queue.clear()).await;
                Ok(cleared.map_err(|error| ClientError::Unreachable(error.to_string()))??)
            }
            Backend::Remote(remote) => {
                remote.http.ask(Method::DELETE, &self.path(""), Bytes::new()).await.map(drop)
            }
        }
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/queues/{}{rest}", percent::encode(self.name.as_bytes()))
    }

    /// Asks the server for messages.
    async fn messages<T>(
        &self,
        method: Method,
        rest: &str,
        body: String,
        read: impl Fn(&Members) -> Option<T>,
    ) -> Result<Vec<T>, ClientError> {
        let Backend::Remote(remote) = &self.client.backend else { return Ok(Vec::new()) };
        let body = remote.http.ask(method, &self.path(rest), Bytes::from(body)).await?;
        let reply: Result<BTreeMap<String, Vec<Members>>, _> = serde_json::from_slice(&body);
        let messages = reply.map_err(|error| remote.http.foreign(error))?.remove("messages");
        let messages = messages.unwrap_or_default();
        messages
            .iter()
            .map(|members| read(members).ok_or_else(|| remote.http.foreign("a message is none")))
            .collect()
    }

    /// Asks the server to do something to messages.
    async fn done(
        &self,
        rest: &str,
        what: &str,
        ids: &[MessageId],
        delay: Option<DurationMs>,
    ) -> Result<Vec<bool>, ClientError> {
        let Backend::Remote(remote) = &self.client.backend else { return Ok(Vec::new()) };
        let ids: Vec<String> = ids.iter().map(MessageId::to_string).collect();
        let mut body = serde_json::Map::from_iter([(what.to_owned(), Json::from(ids))]);
        if let Some(delay) = delay {
            body.insert("delay".to_owned(), Json::from(duration::render(delay)));
        }
        let body = Bytes::from(Json::Object(body).to_string());
        let json = remote.http.ask_json(Method::POST, &self.path(rest), body).await?;
        let done = json.get("done").and_then(Json::as_array).into_iter().flatten();
        done.map(|done| done.as_bool().ok_or_else(|| remote.http.foreign("neither done nor not"))).collect()
    }
}

/// The mutations of the messages of a commit.
pub(crate) fn mutations(
    messages: &[Enqueue],
    database: orcharddb::SpaceId,
) -> Result<Vec<orcharddb::Mutation>, Problem> {
    let mut mutations = Vec::new();
    for (n, message) in messages.iter().enumerate() {
        mutations.extend(message.mutations(database, n)?);
    }
    Ok(mutations)
}
