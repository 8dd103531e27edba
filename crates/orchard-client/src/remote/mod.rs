//! A server, asked over HTTP: each verb in the shapes of `orchard-wire`.

pub(crate) mod events;
pub(crate) mod http;
pub(crate) mod lines;

use crate::error::ClientError;
use crate::{BatchResult, CommitOptions, Count, Window};
use bytes::Bytes;
use http::Http;
use hyper::{Method, StatusCode};
use lines::Lines;
use orchard_wire::batch_json::{self, BatchOperation};
use orchard_wire::commit_json::{self, CommitRequest};
use orchard_wire::commit_steps;
use orchard_wire::element_json;
use orchard_wire::moment::Moment;
use orchard_wire::{Kind, Problem, entry_json, media, percent, rfc3339, value_json};
use orcharddb::collection::Stepped;
use orcharddb::{
    CheckFailure, Commit, Committed, Entry, Expiry, Key, KeyRange, ScanOptions, Versionstamp, tuple,
};
use serde_json::Value as Json;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A database of a server.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(crate) http: Arc<Http>,
    /// As a parameter, encoded.
    db: Option<String>,
}

/// A longer parameter that names a key is its bytes in base64: of two keys of the largest size and what else a list says the
/// request line has room.
const KEY_PARAMETER_BYTES_MAX: usize = 2_048;

/// Parameters of a request.
pub(crate) struct Query(Vec<String>);

impl Query {
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        self.0.push(format!("{name}={}", percent::encode(value.as_bytes())));
    }

    /// A pair `name=value` that is encoded already.
    pub(crate) fn add_encoded(&mut self, pair: String) {
        self.0.push(pair);
    }

    /// A key. One that JSON and percents would make too long for a request line goes as its bytes.
    pub(crate) fn add_key(&mut self, name: &str, key: &[u8]) {
        let json = percent::encode(tuple::key_to_json(key).to_string().as_bytes());
        if json.len() <= KEY_PARAMETER_BYTES_MAX {
            self.0.push(format!("{name}={json}"));
        } else {
            let raw = percent::encode(tuple::raw_key_to_json(key).to_string().as_bytes());
            // A slash may stand in a query as it is.
            self.0.push(format!("{name}={}", raw.replace("%2F", "/")));
        }
    }

    fn add_range(&mut self, range: &KeyRange) {
        if !range.start.is_empty() {
            self.add_key("start", &range.start);
        }
        if let Some(end) = &range.end {
            self.add_key("end", end);
        }
    }

    pub(crate) fn path(self, route: &str) -> String {
        if self.0.is_empty() { route.to_owned() } else { format!("{route}?{}", self.0.join("&")) }
    }
}

impl Remote {
    pub(crate) fn new(url: &str, token: Option<&str>) -> Result<Remote, ClientError> {
        Ok(Remote { http: Arc::new(Http::new(url, token)?), db: None })
    }

    pub(crate) fn with_database(&self, name: &str) -> Remote {
        Remote { http: self.http.clone(), db: Some(percent::encode(name.as_bytes())) }
    }

    pub(crate) fn query(&self) -> Query {
        Query(self.db.iter().map(|db| format!("db={db}")).collect())
    }

    pub(crate) async fn get(
        &self,
        key: &Key,
        at: Option<Versionstamp>,
    ) -> Result<Option<Entry>, ClientError> {
        let mut query = self.query();
        query.add_key("key", key);
        if let Some(at) = at {
            query.add("at", &at.to_string());
        }
        match self.http.ask(Method::GET, &query.path("/v1/kv"), Bytes::new()).await {
            Ok(body) => parse_entry(&body).map(Some).map_err(|error| self.http.foreign(error)),
            Err(ClientError::Refused(problem)) if problem.kind == Kind::KeyNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn commit(
        &self,
        commit: &Commit,
        options: &CommitOptions,
    ) -> Result<Committed, ClientError> {
        let request = CommitRequest {
            commit: commit.clone(),
            enqueues: options.enqueues.clone(),
            durability: options.durability,
            ..CommitRequest::default()
        };
        Ok(self.commit_stepped(&request).await?.0)
    }

    pub(crate) async fn commit_stepped(
        &self,
        request: &CommitRequest,
    ) -> Result<(Committed, Vec<Stepped>), ClientError> {
        let body = Bytes::from(commit_json::render(request));
        match self.http.ask(Method::POST, &self.query().path("/v1/commit"), body).await {
            Ok(body) => {
                let json = serde_json::from_slice(&body).map_err(|error| self.http.foreign(error))?;
                let committed = parse_committed(&json);
                let committed = committed.ok_or_else(|| self.http.foreign("the commit has no place"))?;
                let stepped = commit_steps::parse_results(&body).map_err(|error| self.http.foreign(error))?;
                Ok((committed, stepped))
            }
            Err(ClientError::Refused(problem)) if problem.kind == Kind::CheckFailed => {
                Err(ClientError::CheckFailed(failures(&problem)))
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn scan(
        &self,
        range: &KeyRange,
        options: &ScanOptions,
        window: &Window,
        at: Option<Moment>,
    ) -> Result<(Lines, Versionstamp), ClientError> {
        self.lines_of(self.query(), range, options, window, at).await
    }

    /// As [`Remote::scan`], with further parameters.
    pub(crate) async fn lines_of(
        &self,
        mut query: Query,
        range: &KeyRange,
        options: &ScanOptions,
        window: &Window,
        at: Option<Moment>,
    ) -> Result<(Lines, Versionstamp), ClientError> {
        query.add_range(range);
        if let Some(limit) = options.limit {
            query.add("limit", &limit.to_string());
        }
        if options.reverse {
            query.add("reverse", "true");
        }
        if options.keys_only {
            query.add("keys_only", "true");
        }
        let moment = |moment: Moment| match moment {
            Moment::Version(version) => version.to_string(),
            Moment::Time(time) => rfc3339::render(time),
            Moment::Ago(age) => format!("{}ms", age.0),
        };
        if let Some(since) = window.since.or(options.since.map(Moment::Version)) {
            query.add("since", &moment(since));
        }
        if let Some(until) = window.until.or(options.until.map(Moment::Version)) {
            query.add("until", &moment(until));
        }
        if let Some(at) = at {
            query.add("at", &moment(at));
        }
        let reply =
            self.http.send(Method::GET, &query.path("/v1/kv"), media::NDJSON_V8_BYTES, Bytes::new()).await?;
        if reply.response.status() != StatusCode::OK {
            let (status, body) = self.http.read(reply).await?;
            return Err(self.http.refused(status, &body));
        }
        let version = reply.response.headers().get("orchard-versionstamp");
        let version = version.and_then(|version| version.to_str().ok()?.parse().ok());
        let version = version.ok_or_else(|| self.http.foreign("a list has no versionstamp"))?;
        Ok((Lines::new(self.http.clone(), reply), version))
    }

    pub(crate) async fn count(&self, range: &KeyRange) -> Result<Count, ClientError> {
        let mut query = self.query();
        query.add_range(range);
        query.add("count", "true");
        let json = self.http.ask_json(Method::GET, &query.path("/v1/kv"), Bytes::new()).await?;
        let count = json.get("count").and_then(Json::as_u64).zip(stamp(&json));
        let (entries, versionstamp) = count.ok_or_else(|| self.http.foreign("there is no count"))?;
        Ok(Count { entries, versionstamp })
    }

    pub(crate) async fn batch(
        &self,
        operations: &[BatchOperation],
    ) -> Result<Vec<Result<BatchResult, Problem>>, ClientError> {
        let body = Bytes::from(batch_json::render(operations));
        let body = self.http.ask(Method::POST, &self.query().path("/v1/batch"), body).await?;
        let foreign = |error: serde_json::Error| self.http.foreign(error);
        let mut reply: BTreeMap<String, Vec<Box<RawValue>>> =
            serde_json::from_slice(&body).map_err(foreign)?;
        let results = reply.remove("results").unwrap_or_default();
        if results.len() != operations.len() {
            return Err(self.http.foreign("a batch has not as many results as operations"));
        }
        let parsed = operations.iter().zip(&results).map(|(operation, result)| {
            parse_result(operation, result).ok_or_else(|| self.http.foreign("a result is none"))
        });
        parsed.collect()
    }

    /// The server's own metrics, without their labels and prefixes.
    pub(crate) async fn stats(&self) -> Result<Json, ClientError> {
        let body = self.http.ask(Method::GET, "/metrics", Bytes::new()).await?;
        Ok(parse_metrics(&String::from_utf8_lossy(&body)))
    }
}

pub(crate) fn stamp(json: &Json) -> Option<Versionstamp> {
    json.get("versionstamp")?.as_str()?.parse().ok()
}

fn parse_committed(json: &Json) -> Option<Committed> {
    Some(Committed {
        versionstamp: stamp(json)?,
        log_time: rfc3339::parse(json.get("log_time")?.as_str()?).ok()?,
        durability: commit_json::parse_durability(json.get("durability")?.as_str()?).ok()?,
        repeated: json.get("repeated").and_then(Json::as_bool).unwrap_or_default(),
    })
}

fn failures(problem: &Problem) -> Vec<CheckFailure> {
    let listed = problem.extra.get("failed_checks").and_then(Json::as_array);
    let failure = |json: &Json| {
        Some(CheckFailure {
            index: usize::try_from(json.get("index")?.as_u64()?).ok()?,
            found: json.get("found").and_then(Json::as_str).and_then(|found| found.parse().ok()),
        })
    };
    listed.into_iter().flatten().filter_map(failure).collect()
}

/// One entry as `orchard-wire` writes it.
pub(crate) fn parse_entry(text: &[u8]) -> Result<Entry, String> {
    record_to_entry(entry_json::parse_shown(text).map_err(|problem| problem.to_string())?)
}

/// The entry that a server told of.
pub(crate) fn record_to_entry(record: entry_json::Record) -> Result<Entry, String> {
    Ok(Entry {
        key: record.key,
        value: record.value.unwrap_or_default(),
        versionstamp: record.versionstamp.ok_or("an entry has no versionstamp")?,
        expires_at: match record.expiry {
            Expiry::At(moment) => Some(moment),
            _ => None,
        },
    })
}

fn parse_result(operation: &BatchOperation, result: &RawValue) -> Option<Result<BatchResult, Problem>> {
    let whole = result.get().as_bytes();
    let result: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(whole).ok()?;
    let text = |name: &str| serde_json::from_str::<String>(result.get(name)?.get()).ok();
    if let Some(code) = text("code") {
        let kind = Kind::from_code(&code)?;
        if kind == Kind::KeyNotFound && matches!(operation, BatchOperation::Get(_)) {
            return Some(Ok(BatchResult::Absent));
        }
        return Some(Err(Problem::new(kind, text("detail").unwrap_or_default())));
    }
    let versionstamp = text("versionstamp")?.parse().ok()?;
    let key = match operation {
        BatchOperation::Get(key) => key,
        BatchOperation::Write(..) => return Some(Ok(BatchResult::Written(versionstamp))),
        BatchOperation::Step(..) => {
            return Some(Ok(BatchResult::Stepped(versionstamp, element_json::parse_stepped(whole).ok()?)));
        }
    };
    let value_type = entry_json::value_type(&text("type")?).ok()?;
    let value = value_json::parse_shown(result.get("value")?.get().as_bytes(), value_type).ok()?;
    let expires_at = match text("expires_at") {
        Some(time) => Some(rfc3339::parse(&time).ok()?),
        None => None,
    };
    let key = Key::new(key.clone()).ok()?;
    Some(Ok(BatchResult::Found(Entry { key, value, versionstamp, expires_at })))
}

/// The samples without labels of a page in the Prometheus text format.
fn parse_metrics(page: &str) -> Json {
    let samples = page.lines().filter_map(|line| {
        let (name, number) = line.strip_prefix("orchard_")?.split_once(' ')?;
        let name = name.strip_suffix("_total").unwrap_or(name);
        (!name.contains('{')).then_some((name.to_owned(), serde_json::from_str(number).ok()?))
    });
    Json::Object(samples.collect())
}
