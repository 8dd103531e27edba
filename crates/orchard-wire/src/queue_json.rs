//! Messages of queues: what enqueues, leases, acks and nacks say, and their replies.

use crate::commit_json::Items;
use crate::json_text::Object;
use crate::problem::{Kind, Problem};
use crate::{duration, entry_json, json_text, rfc3339, value_json};
use orcharddb::queue::{self, DeadLetter, Delivery, EnqueueOptions, MessageId, QueueStats, Ready};
use orcharddb::{DurationMs, Key, LimitError, Mutation, SpaceId, Value, limits};
use serde::Deserialize;
use serde_json::value::RawValue;

/// One message to be put into a queue.
#[derive(Debug, Clone, PartialEq)]
pub struct Enqueue {
    /// The queue.
    pub queue: String,
    /// What its consumers get.
    pub payload: Value,
    /// When it is ready.
    pub ready: Ready,
    /// Waits between attempts; the default schedule if not said.
    pub backoff: Option<Vec<DurationMs>>,
    /// Where the payload is written when all attempts are used up.
    pub keys_if_undelivered: Vec<Key>,
}

impl Enqueue {
    /// The mutations that do it as the `n`-th message of a commit, for a database.
    ///
    /// # Errors
    /// [`Kind::LimitExceeded`], [`Kind::BadValue`]
    pub fn mutations(&self, database: SpaceId, n: usize) -> Result<Vec<Mutation>, Problem> {
        let keys = self.keys_if_undelivered.iter().map(|key| (database, key.clone()));
        let options = EnqueueOptions {
            ready: self.ready,
            backoff: self.backoff.clone(),
            keys_if_undelivered: keys.collect(),
        };
        Ok(queue::enqueue(&self.queue, self.payload.clone(), &options, n)?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EnqueueJson<'a> {
    #[serde(default)]
    queue: Option<String>,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    delay: Option<String>,
    #[serde(default)]
    ready_at: Option<String>,
    #[serde(default)]
    backoff: Option<Items<String>>,
    #[serde(borrow, default)]
    keys_if_undelivered: Items<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LeaseJson {
    #[serde(default)]
    max: Option<u64>,
    #[serde(default)]
    visibility: Option<String>,
    #[serde(default)]
    wait: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdsJson {
    ids: Items<String>,
    #[serde(default)]
    delay: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadJson {
    #[serde(default)]
    requeue: Option<Items<String>>,
    #[serde(default)]
    purge: Option<Items<String>>,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadJson, detail)
}

fn time(name: &str, text: &str) -> Result<DurationMs, Problem> {
    duration::parse(text).map_err(|why| Problem::new(Kind::BadValue, format!("{name}: {why}")))
}

impl EnqueueJson<'_> {
    /// `queue`: the one of the path, if the message names none.
    pub(crate) fn parse(self, queue: Option<&str>) -> Result<Enqueue, Problem> {
        let queue = match (self.queue, queue) {
            (Some(_), Some(_)) => return Err(bad("the path names the queue")),
            (Some(queue), None) => queue,
            (None, Some(queue)) => queue.to_owned(),
            (None, None) => return Err(bad("an enqueue needs a queue")),
        };
        let value_type = self.value_type.as_deref().map(entry_json::value_type).transpose()?;
        let payload = value_json::parse_as(self.payload.get().as_bytes(), value_type)?;
        let ready = match (self.delay, self.ready_at) {
            (None, None) => Ready::Now,
            (Some(delay), None) => Ready::After(time("delay", &delay)?),
            (None, Some(moment)) => Ready::At(
                rfc3339::parse(&moment)
                    .map_err(|why| Problem::new(Kind::BadValue, format!("ready_at: {why}")))?,
            ),
            (Some(_), Some(_)) => return Err(bad("delay and ready_at exclude each other")),
        };
        let backoff = self.backoff.map(|steps| {
            LimitError::check("queue_backoff_steps", limits::QUEUE_BACKOFF_STEPS_MAX, steps.count)?;
            steps.items.iter().map(|step| time("backoff", step)).collect::<Result<Vec<_>, Problem>>()
        });
        let keys = self.keys_if_undelivered;
        LimitError::check("queue_undelivered_keys", limits::QUEUE_UNDELIVERED_KEYS_MAX, keys.count)?;
        let keys_if_undelivered =
            keys.items.into_iter().map(entry_json::parse_key).collect::<Result<Vec<_>, _>>()?;
        Ok(Enqueue { queue, payload, ready, backoff: backoff.transpose()?, keys_if_undelivered })
    }
}

/// Reads the body of `POST /v1/queues/{name}`.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`], [`Kind::BadKey`], [`Kind::LimitExceeded`]
///
/// ```
/// use orchard_wire::queue_json;
/// let message = queue_json::parse_enqueue(br#"{"payload": {"to": "ada"}, "delay": "5s"}"#, "mail")?;
/// assert_eq!(message.queue, "mail");
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse_enqueue(body: &[u8], queue: &str) -> Result<Enqueue, Problem> {
    let Object(json): Object<EnqueueJson<'_>> =
        serde_json::from_slice(body).map_err(|error| bad(format!("not a message: {error}")))?;
    json.parse(Some(queue))
}

/// Appends an enqueue of a commit, as clients send it.
pub(crate) fn write_enqueue(out: &mut Vec<u8>, enqueue: &Enqueue) {
    out.extend_from_slice(b"{\"queue\":");
    json_text::write_string(out, &enqueue.queue);
    out.extend_from_slice(b",\"payload\":");
    value_json::write(out, &enqueue.payload);
    out.extend_from_slice(b",\"type\":");
    json_text::write_string(out, enqueue.payload.value_type.name());
    match enqueue.ready {
        Ready::Now => {}
        Ready::After(delay) => {
            out.extend_from_slice(format!(",\"delay\":\"{}\"", duration::render(delay)).as_bytes());
        }
        Ready::At(moment) => {
            out.extend_from_slice(format!(",\"ready_at\":\"{}\"", rfc3339::render(moment)).as_bytes());
        }
    }
    if let Some(backoff) = &enqueue.backoff {
        let steps: Vec<String> =
            backoff.iter().map(|step| format!("\"{}\"", duration::render(*step))).collect();
        out.extend_from_slice(format!(",\"backoff\":[{}]", steps.join(",")).as_bytes());
    }
    out.extend_from_slice(b",\"keys_if_undelivered\":[");
    for (index, key) in enqueue.keys_if_undelivered.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        entry_json::write_key(out, key);
    }
    out.extend_from_slice(b"]}");
}

/// What a consumer wants to lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Most messages.
    pub max: usize,
    /// For how long.
    pub visibility: DurationMs,
    /// How long to wait for the first message.
    pub wait: DurationMs,
}

/// Longest time that a lease waits for a message: proxies and clients give up on longer silence.
pub const LEASE_WAIT_MS_MAX: u64 = 60_000;
/// How long a consumer has a message if it does not say.
const VISIBILITY_DEFAULT: DurationMs = DurationMs(30_000);

/// Reads the body of `POST .../lease`; an empty one leases one message for 30 s.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`], [`Kind::LimitExceeded`]
pub fn parse_lease(body: &[u8]) -> Result<LeaseRequest, Problem> {
    let json = if body.trim_ascii().is_empty() { b"{}" } else { body };
    let Object(json): Object<LeaseJson> =
        serde_json::from_slice(json).map_err(|error| bad(format!("not a lease: {error}")))?;
    let visibility = json.visibility.as_deref().map(|text| time("visibility", text)).transpose()?;
    let wait = json.wait.as_deref().map(|text| time("wait", text)).transpose()?.unwrap_or(DurationMs(0));
    if wait.0 > LEASE_WAIT_MS_MAX {
        return Err(LimitError { name: "lease_wait_ms", limit: LEASE_WAIT_MS_MAX, actual: wait.0 }.into());
    }
    Ok(LeaseRequest {
        max: json.max.map_or(1, |max| usize::try_from(max).unwrap_or(usize::MAX)),
        visibility: visibility.unwrap_or(VISIBILITY_DEFAULT),
        wait,
    })
}

fn ids(texts: Items<String>) -> Result<Vec<MessageId>, Problem> {
    LimitError::check("queue_messages", limits::QUEUE_MESSAGES_MAX, texts.count)?;
    let parse = |text: &String| {
        let shown = crate::query::shown(text.as_bytes());
        text.parse().map_err(|error| Problem::new(Kind::BadValue, format!("{shown}: {error}")))
    };
    texts.items.iter().map(parse).collect()
}

/// The id that a query parameter names.
///
/// # Errors
/// A text for people.
pub fn parse_id(text: &str) -> Result<MessageId, String> {
    text.parse().map_err(|error: queue::ParseMessageIdError| error.to_string())
}

/// Reads the body of `POST .../ack` or, with a `delay`, of `.../nack`.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`], [`Kind::LimitExceeded`]
pub fn parse_ids(body: &[u8]) -> Result<(Vec<MessageId>, Option<DurationMs>), Problem> {
    let Object(json): Object<IdsJson> =
        serde_json::from_slice(body).map_err(|error| bad(format!("not a list of ids: {error}")))?;
    let delay = json.delay.as_deref().map(|text| time("delay", text)).transpose()?;
    Ok((ids(json.ids)?, delay))
}

/// What to do with dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadRequest {
    /// Put them back.
    Requeue(Vec<MessageId>),
    /// Remove them for good.
    Purge(Vec<MessageId>),
}

/// Reads the body of `POST .../dead`.
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadValue`], [`Kind::LimitExceeded`]
pub fn parse_dead(body: &[u8]) -> Result<DeadRequest, Problem> {
    let Object(json): Object<DeadJson> =
        serde_json::from_slice(body).map_err(|error| bad(format!("neither requeue nor purge: {error}")))?;
    match (json.requeue, json.purge) {
        (Some(requeue), None) => Ok(DeadRequest::Requeue(ids(requeue)?)),
        (None, Some(purge)) => Ok(DeadRequest::Purge(ids(purge)?)),
        _ => Err(bad("either requeue or purge")),
    }
}

fn array<T>(name: &str, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) -> Vec<u8> {
    let mut out = format!("{{\"{name}\":[").into_bytes();
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(&mut out, item);
    }
    out.extend_from_slice(b"]}");
    out
}

fn write_payload(out: &mut Vec<u8>, payload: &Value) {
    value_json::write(out, payload);
    out.extend_from_slice(format!(",\"type\":\"{}\"", payload.value_type.name()).as_bytes());
}

/// The reply to a lease or peek: `{"messages": [{"id", "payload", "type", "attempt", "until"}]}`. `until` is the lease's
/// end, or when a peeked message is ready.
pub fn render_messages(messages: &[Delivery], until: &str) -> Vec<u8> {
    array("messages", messages, |out, message| {
        out.extend_from_slice(format!("{{\"id\":\"{}\",\"payload\":", message.id).as_bytes());
        write_payload(out, &message.payload);
        let time = rfc3339::render(message.until);
        out.extend_from_slice(
            format!(",\"attempt\":{},\"{until}\":\"{time}\"}}", message.attempt).as_bytes(),
        );
    })
}

/// The reply to a list of dead letters: `{"messages": [{"id", "payload", "type", "attempts", "died_at"}]}`.
pub fn render_dead(letters: &[DeadLetter]) -> Vec<u8> {
    array("messages", letters, |out, letter| {
        out.extend_from_slice(format!("{{\"id\":\"{}\",\"payload\":", letter.id).as_bytes());
        write_payload(out, &letter.payload);
        let time = rfc3339::render(letter.died_at);
        out.extend_from_slice(
            format!(",\"attempts\":{},\"died_at\":\"{time}\"}}", letter.attempts).as_bytes(),
        );
    })
}

/// The reply to an ack, nack, requeue or purge: whether it was done, for each id in order.
pub fn render_done(done: &[bool]) -> Vec<u8> {
    array("done", done, |out, done| out.extend_from_slice(if *done { b"true" } else { b"false" }))
}

/// The reply to stats.
pub fn render_stats(stats: QueueStats) -> Vec<u8> {
    let QueueStats { ready, delayed, leased, dead } = stats;
    format!("{{\"ready\":{ready},\"delayed\":{delayed},\"leased\":{leased},\"dead\":{dead}}}").into_bytes()
}

/// The reply to a list of queues.
pub fn render_names(names: &[String]) -> Vec<u8> {
    array("queues", names, |out, name| json_text::write_string(out, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use orcharddb::UnixMillis;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_fit_is_refused() {
        let enqueue =
            |body: &str| parse_enqueue(body.as_bytes(), "q").map(|_| ()).map_err(|problem| problem.kind);
        for (body, kind) in [
            ("{}", Kind::BadJson),
            (r#"{"payload": 1, "queue": "q"}"#, Kind::BadJson),
            (r#"{"payload": 1, "delay": "1s", "ready_at": "1970-01-01T00:00:00Z"}"#, Kind::BadJson),
            (r#"{"payload": 1, "delay": "soon"}"#, Kind::BadValue),
            (r#"{"payload": 1, "backoff": ["x"]}"#, Kind::BadValue),
            (r#"{"payload": 1, "keys_if_undelivered": [[null]]}"#, Kind::BadKey),
        ] {
            assert_eq!(enqueue(body), Err(kind), "{body}");
        }
        let steps = vec!["\"1s\""; limits::QUEUE_BACKOFF_STEPS_MAX + 1].join(",");
        assert_eq!(enqueue(&format!("{{\"payload\": 1, \"backoff\": [{steps}]}}")), Err(Kind::LimitExceeded));
        let lease = |body: &str| parse_lease(body.as_bytes()).map_err(|problem| problem.kind);
        let one = LeaseRequest { max: 1, visibility: DurationMs(30_000), wait: DurationMs(0) };
        assert_eq!((lease(""), lease("{}")), (Ok(one), Ok(one)));
        assert_eq!(lease(r#"{"wait": "61s"}"#), Err(Kind::LimitExceeded));
        assert_eq!(lease(r#"{"max": -1}"#), Err(Kind::BadJson));
        let dead = |body: &str| parse_dead(body.as_bytes()).map_err(|problem| problem.kind);
        assert_eq!(dead("{}"), Err(Kind::BadJson));
        assert_eq!(dead(r#"{"purge": [], "requeue": []}"#), Err(Kind::BadJson));
        assert_eq!(dead(r#"{"purge": ["x"]}"#), Err(Kind::BadValue));
        assert_eq!(dead(r#"{"purge": []}"#), Ok(DeadRequest::Purge(Vec::new())));
        let (ids, delay) =
            parse_ids(br#"{"ids": ["000000000000000700020000-1"], "delay": "1s"}"#).expect("ids");
        assert_eq!((ids.len(), delay), (1, Some(DurationMs(1_000))));
    }

    fn enqueue() -> impl Strategy<Value = Enqueue> {
        let ready = prop_oneof![
            Just(Ready::Now),
            (0..1_u64 << 40).prop_map(|delay| Ready::After(DurationMs(delay))),
            (0..1_u64 << 40).prop_map(|moment| Ready::At(UnixMillis(moment))),
        ];
        let backoff = prop::option::of(prop::collection::vec((0..100_000_u64).prop_map(DurationMs), 0..4));
        let key = prop::collection::vec(any::<u8>(), 0..9).prop_map(|key| Key::new(key).expect("short"));
        ("[a-z]{1,4}", ".{0,6}", ready, backoff, prop::collection::vec(key, 0..3)).prop_map(
            |(queue, payload, ready, backoff, keys_if_undelivered)| Enqueue {
                queue,
                payload: Value::from(payload),
                ready,
                backoff,
                keys_if_undelivered,
            },
        )
    }

    proptest! {
        #[test]
        fn enqueues_come_back(enqueue in enqueue()) {
            let mut out = Vec::new();
            write_enqueue(&mut out, &enqueue);
            let Object(json): Object<EnqueueJson<'_>> = serde_json::from_slice(&out).expect("JSON");
            prop_assert_eq!(json.parse(None).expect("a message"), enqueue);
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = (parse_enqueue(&bytes, "q"), parse_lease(&bytes), parse_ids(&bytes), parse_dead(&bytes));
        }
    }
}
