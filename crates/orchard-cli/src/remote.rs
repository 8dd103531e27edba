//! A server, asked over HTTP/1.1.
//!
//! - A request that was not sent whole because its kept connection had closed is sent again on a new one; any other
//!   failure is told, because what became of a commit is unknown then.
//! - A range is read as it arrives, from one snapshot; memory does not grow with it.

use crate::error::{CliError, Result};
use crate::target::{Entries, ScanRequest};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use orchard_wire::commit_json::{self, CommitRequest};
use orchard_wire::{Kind, entry_json, media, percent};
use orcharddb::{Commit, Durability, Entry, Expiry, Key, KeyRange, Versionstamp, tuple};
use serde_json::Value as Json;
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Pieces of a list that are read ahead.
const PIECES_AHEAD_MAX: usize = 2;

/// A server.
pub struct Remote {
    runtime: Arc<Runtime>,
    client: Arc<Client>,
}

struct Client {
    authority: String,
    /// What stands before the routes, without a slash at its end.
    base_path: String,
    token: Option<HeaderValue>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// A commit on a connection.
pub struct Ticket {
    runtime: Arc<Runtime>,
    reply: JoinHandle<Result<Versionstamp>>,
}

impl Ticket {
    /// Waits for the acknowledgement.
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub fn wait(self) -> Result<Versionstamp> {
        self.runtime
            .block_on(self.reply)
            .unwrap_or_else(|_| Err(CliError::failure("the request was given up")))
    }
}

impl Remote {
    /// Nothing is sent yet.
    ///
    /// # Errors
    /// Exit code 2 if the URL is none that can be asked.
    pub fn new(url: &str, token: Option<String>) -> Result<Remote> {
        let wrong = |what: &str| CliError::usage(format!("{url}: {what}"));
        let uri: Uri = url.parse().map_err(|_| wrong("not a URL such as http://127.0.0.1:4206"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("TLS is not spoken yet; use http://")),
            _ => return Err(wrong("the URL begins with http://")),
        }
        if uri.query().is_some() {
            return Err(wrong("the URL of a server has no query"));
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("there is no host"))?;
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(orchard_server::PORT_DEFAULT));
        let token = match token {
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut value =
                    value.map_err(|_| CliError::config("the access token cannot be sent in a header"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        let base_path = uri.path().trim_end_matches('/').to_owned();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_io().build();
        let runtime = Arc::new(runtime.map_err(CliError::io("the async runtime"))?);
        Ok(Remote {
            runtime,
            client: Arc::new(Client { authority, base_path, token, idle: Mutex::default() }),
        })
    }

    /// The newest entry of a key.
    ///
    /// # Errors
    /// The server could not be asked, or refused.
    pub fn get(&self, key: &Key) -> Result<Option<Entry>> {
        self.runtime.block_on(self.client.get(key))
    }

    /// Commits and waits; `None`: its checks did not hold.
    ///
    /// # Errors
    /// The server refused, or did not answer.
    pub fn commit(&self, commit: &Commit) -> Result<Option<Versionstamp>> {
        let body = commit_json::render(&CommitRequest { commit: commit.clone(), ..CommitRequest::default() });
        self.runtime.block_on(self.client.commit(body))
    }

    /// Commits without waiting.
    pub fn submit(&self, commit: &Commit) -> Ticket {
        let body = commit_json::render(&CommitRequest {
            commit: commit.clone(),
            durability: Some(Durability::Fsync),
            ..CommitRequest::default()
        });
        let client = Arc::clone(&self.client);
        let reply = self.runtime.spawn(async move {
            client.commit(body).await?.ok_or_else(|| CliError::failure("a check failed"))
        });
        Ticket { runtime: Arc::clone(&self.runtime), reply }
    }

    /// Entries of a range.
    ///
    /// # Errors
    /// Never; reads fail at the entry.
    pub fn scan(&self, request: &ScanRequest) -> Result<Entries> {
        let (pieces, receiver) = mpsc::channel(PIECES_AHEAD_MAX);
        let (client, request) = (Arc::clone(&self.client), request.clone());
        self.runtime.spawn(async move {
            if let Err(error) = client.read_list(&request, &pieces).await {
                // Nobody waits for it any more if this fails.
                let _ = pieces.send(Err(error)).await;
            }
        });
        Ok(Box::new(Pieces { receiver, piece: Vec::new().into_iter(), _runtime: Arc::clone(&self.runtime) }))
    }

    /// Numbers about the database.
    ///
    /// # Errors
    /// The server could not be asked, or refused.
    pub fn stats(&self) -> Result<Json> {
        self.runtime.block_on(self.client.stats())
    }
}

struct Pieces {
    receiver: mpsc::Receiver<Result<Vec<Entry>>>,
    piece: std::vec::IntoIter<Entry>,
    _runtime: Arc<Runtime>,
}

impl Iterator for Pieces {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        loop {
            if let Some(entry) = self.piece.next() {
                return Some(Ok(entry));
            }
            match self.receiver.blocking_recv()? {
                Ok(piece) => self.piece = piece.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Client {
    fn unreachable(&self, error: impl fmt::Display) -> CliError {
        CliError::failure(format!("http://{}: {error}", self.authority))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Its end shows at the next request.
        tokio::spawn(connection);
        Ok(sender)
    }

    fn take_idle(&self) -> Option<SendRequest<Full<Bytes>>> {
        self.idle.lock().ok()?.pop()
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        if let Ok(mut idle) = self.idle.lock()
            && !sender.is_closed()
        {
            idle.push(sender);
        }
    }

    fn request(&self, method: Method, path: &str, accept: &str, body: Bytes) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base_path));
        request = request.header(HOST, &self.authority).header(ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, media::JSON);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Full::new(body)).map_err(|error| CliError::usage(error.to_string()))
    }

    /// Sends a request and gives the beginning of the reply, and its connection.
    async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, SendRequest<Full<Bytes>>)> {
        let mut request = self.request(method, path, accept, body)?;
        loop {
            let (mut sender, kept) = match self.take_idle() {
                Some(sender) => (sender, true),
                None => (self.connect().await?, false),
            };
            if let Err(error) = sender.ready().await {
                if kept {
                    continue;
                }
                return Err(self.unreachable(error));
            }
            match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, sender)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if kept => request = unsent,
                    _ => return Err(self.unreachable(format_args!("no answer: {}", error.into_error()))),
                },
            }
        }
    }

    /// Sends a request and gives the whole reply.
    async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        let (response, sender) = self.send(method, path, media::JSON, body).await?;
        let reply = self.read(response).await?;
        self.keep(sender);
        Ok(reply)
    }

    async fn read(&self, response: Response<Incoming>) -> Result<(StatusCode, Bytes)> {
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| self.unreachable(format_args!("the answer broke off: {error}")))?;
        Ok((status, body.to_bytes()))
    }

    /// What a refusal says.
    fn refused(&self, status: StatusCode, body: &[u8]) -> CliError {
        let problem: Option<Json> = serde_json::from_slice(body).ok();
        let text = |name: &str| problem.as_ref()?.get(name)?.as_str().map(str::to_owned);
        match (text("detail"), text("code")) {
            (Some(detail), Some(code)) => CliError::failure(format!("{detail} ({code})")),
            _ => self.unreachable(format_args!("the answer is {status}")),
        }
    }

    fn foreign(&self, error: impl fmt::Display) -> CliError {
        self.unreachable(format_args!("the answer is not what OrchardDB says: {error}"))
    }

    async fn commit(&self, body: Vec<u8>) -> Result<Option<Versionstamp>> {
        let (status, body) = self.ask(Method::POST, "/v1/commit", Bytes::from(body)).await?;
        if status == StatusCode::CONFLICT && code(&body).as_deref() == Some(Kind::CheckFailed.code()) {
            return Ok(None);
        }
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        let json: Json = serde_json::from_slice(&body).map_err(|error| self.foreign(error))?;
        let stamp = json.get("versionstamp").and_then(Json::as_str).and_then(|stamp| stamp.parse().ok());
        stamp.map(Some).ok_or_else(|| self.foreign("there is no versionstamp"))
    }

    /// The server's own metrics, without their labels and prefixes.
    async fn stats(&self) -> Result<Json> {
        let (status, body) = self.ask(Method::GET, "/metrics", Bytes::new()).await?;
        if !status.is_success() {
            return Err(self.refused(status, &body));
        }
        Ok(parse_metrics(&String::from_utf8_lossy(&body)))
    }

    async fn get(&self, key: &Key) -> Result<Option<Entry>> {
        let behind = Bytes::from([key.as_ref(), &[0]].concat());
        let range = KeyRange { start: Bytes::copy_from_slice(key), end: Some(behind) };
        let mut list = self.list(&ScanRequest { range, limit: Some(1), ..ScanRequest::default() }).await?;
        Ok(list.next(self).await?.into_iter().next())
    }

    async fn read_list(
        &self,
        request: &ScanRequest,
        pieces: &mpsc::Sender<Result<Vec<Entry>>>,
    ) -> Result<()> {
        let mut list = self.list(request).await?;
        loop {
            let entries = list.next(self).await?;
            // Without a receiver whoever read them has seen enough.
            if entries.is_empty() || pieces.send(Ok(entries)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// Asks for a range as lines, one snapshot from its first to its last.
    async fn list(&self, request: &ScanRequest) -> Result<List> {
        let mut query = Vec::new();
        let mut bound = |name: &str, key: &[u8]| {
            query.push(format!("{name}={}", percent::encode(tuple::key_to_json(key).to_string().as_bytes())));
        };
        if !request.range.start.is_empty() {
            bound("start", &request.range.start);
        }
        if let Some(end) = &request.range.end {
            bound("end", end);
        }
        query.extend(request.limit.map(|limit| format!("limit={limit}")));
        query.extend(request.reverse.then(|| "reverse=true".to_owned()));
        query.extend(request.keys_only.then(|| "keys_only=true".to_owned()));
        let path = format!("/v1/kv?{}", query.join("&"));
        let (response, _) = self.send(Method::GET, &path, media::NDJSON, Bytes::new()).await?;
        if !response.status().is_success() {
            let (status, body) = self.read(response).await?;
            return Err(self.refused(status, &body));
        }
        Ok(List { body: response.into_body(), rest: Vec::new() })
    }
}

/// Lines of entries as they arrive. Its connection is not used again.
struct List {
    body: Incoming,
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl List {
    /// The entries that are whole, at least one; none at the end.
    async fn next(&mut self, client: &Client) -> Result<Vec<Entry>> {
        loop {
            let Some(frame) = self.body.frame().await else {
                if self.rest.is_empty() {
                    return Ok(Vec::new());
                }
                return Err(client.unreachable("the answer broke off in the middle of an entry"));
            };
            let frame =
                frame.map_err(|error| client.unreachable(format_args!("the answer broke off: {error}")))?;
            let Ok(bytes) = frame.into_data() else { continue };
            let Some(last) = bytes.iter().rposition(|byte| *byte == b'\n') else {
                self.rest.extend_from_slice(&bytes);
                continue;
            };
            let (whole, rest) = bytes.split_at_checked(last + 1).unwrap_or_default();
            self.rest.extend_from_slice(whole);
            let lines = self.rest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
            let entries = lines.map(parse_entry).collect::<std::result::Result<_, _>>();
            let entries = entries.map_err(|error| client.foreign(error))?;
            self.rest.clear();
            self.rest.extend_from_slice(rest);
            return Ok(entries);
        }
    }
}

fn parse_entry(text: &[u8]) -> std::result::Result<Entry, String> {
    let record = entry_json::parse(text).map_err(|problem| problem.to_string())?;
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

fn code(problem: &[u8]) -> Option<String> {
    let problem: Json = serde_json::from_slice(problem).ok()?;
    problem.get("code")?.as_str().map(str::to_owned)
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

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.client.authority, self.client.base_path)
    }
}
