//! HTTP/1.1 to one server, over connections that are kept.
//!
//! A request that was not sent whole because its kept connection had closed is sent again on a new one; any other failure
//! is told, because what became of a commit is unknown then.

use crate::error::ClientError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use orchard_wire::{Kind, Problem, media};
use parking_lot::Mutex;
use serde_json::Value as Json;
use std::fmt;
use tokio::net::TcpStream;

/// The port of a server whose URL names none.
pub(crate) const PORT_DEFAULT: u16 = 4206;
/// Connections that are kept.
const IDLE_MAX: usize = 64;

/// One server.
pub(crate) struct Http {
    authority: String,
    /// What stands before the routes, without a slash at its end.
    base_path: String,
    token: Option<HeaderValue>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// The beginning of a reply, and its connection.
pub(crate) struct Reply {
    pub(crate) response: Response<Incoming>,
    pub(crate) connection: SendRequest<Full<Bytes>>,
}

impl Http {
    /// Nothing is sent yet.
    pub(crate) fn new(url: &str, token: Option<&str>) -> Result<Http, ClientError> {
        let wrong = |what: &str| ClientError::Address(format!("{url}: {what}"));
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
        let port = match port_of(&uri, host) {
            "" => PORT_DEFAULT,
            // Another port than the one that was meant may have a server, too.
            text => text
                .parse()
                .map_err(|_| wrong(&format!("the port is {text}, over the limit of {}", u16::MAX)))?,
        };
        let token = match token {
            Some(token) => {
                let value = HeaderValue::from_str(&format!("Bearer {token}"));
                let mut value = value.map_err(|_| wrong("the access token cannot be sent in a header"))?;
                value.set_sensitive(true);
                Some(value)
            }
            None => None,
        };
        Ok(Http {
            authority: format!("{host}:{port}"),
            base_path: uri.path().trim_end_matches('/').to_owned(),
            token,
            idle: Mutex::default(),
        })
    }

    pub(crate) fn unreachable(&self, error: impl fmt::Display) -> ClientError {
        ClientError::Unreachable(format!("http://{}: {error}", self.authority))
    }

    pub(crate) fn foreign(&self, error: impl fmt::Display) -> ClientError {
        self.unreachable(format_args!("the answer is not what OrchardDB says: {error}"))
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, ClientError> {
        let stream = TcpStream::connect(&self.authority).await.map_err(|error| self.unreachable(error))?;
        stream.set_nodelay(true).map_err(|error| self.unreachable(error))?;
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.map_err(|error| self.unreachable(error))?;
        // Its end shows at the next request.
        tokio::spawn(connection);
        Ok(sender)
    }

    /// Keeps a connection whose reply was read to its end.
    pub(crate) fn keep(&self, connection: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock();
        if !connection.is_closed() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        (accept, content_type): (&str, &str),
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base_path));
        request = request.header(HOST, &self.authority).header(ACCEPT, accept);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token);
        }
        request.body(Full::new(body.clone())).map_err(|error| ClientError::Address(error.to_string()))
    }

    /// Sends a request and gives the beginning of the reply.
    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        self.send_with(method, path, (accept, media::JSON), body).await
    }

    /// As [`Http::send`], for an Accept and a Content-Type.
    async fn send_with(
        &self,
        method: Method,
        path: &str,
        types: (&str, &str),
        body: Bytes,
    ) -> Result<Reply, ClientError> {
        let mut request = self.request(&method, path, types, &body)?;
        loop {
            let kept = self.idle.lock().pop();
            let is_kept = kept.is_some();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            if let Err(error) = connection.ready().await {
                if is_kept {
                    continue;
                }
                return Err(self.unreachable(error));
            }
            match connection.try_send_request(request).await {
                Ok(response) => return Ok(Reply { response, connection }),
                Err(mut error) => match error.take_message() {
                    Some(unsent) if is_kept => request = unsent,
                    _ => return Err(self.unreachable(format_args!("no answer: {}", error.into_error()))),
                },
            }
        }
    }

    /// Reads a reply to its end.
    pub(crate) async fn read(&self, reply: Reply) -> Result<(StatusCode, Bytes), ClientError> {
        let status = reply.response.status();
        let body = reply.response.into_body().collect().await;
        let body = body.map_err(|error| self.unreachable(format_args!("the answer broke off: {error}")))?;
        self.keep(reply.connection);
        Ok((status, body.to_bytes()))
    }

    /// Sends a request and gives the body of the reply, if it is no refusal.
    pub(crate) async fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let reply = self.send(method, path, media::JSON_V8_BYTES, body).await?;
        let (status, body) = self.read(reply).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// As [`Http::ask`], for a body that is not JSON.
    pub(crate) async fn ask_with(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Bytes,
    ) -> Result<Bytes, ClientError> {
        let reply = self.send_with(method, path, (media::JSON_V8_BYTES, content_type), body).await?;
        let (status, body) = self.read(reply).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// As [`Http::ask`], for a reply of JSON.
    pub(crate) async fn ask_json(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Json, ClientError> {
        let body = self.ask(method, path, body).await?;
        serde_json::from_slice(&body).map_err(|error| self.foreign(error))
    }

    /// What a refusal says.
    pub(crate) fn refused(&self, status: StatusCode, body: &[u8]) -> ClientError {
        let Ok(Json::Object(mut members)) = serde_json::from_slice(body) else {
            return self.unreachable(format_args!("the answer is {status}"));
        };
        let code = members.remove("code");
        let kind = code.as_ref().and_then(Json::as_str).and_then(Kind::from_code);
        match (kind, members.remove("detail")) {
            (Some(kind), Some(Json::String(detail))) => {
                members.remove("status");
                let mut problem = Problem::new(kind, detail);
                problem.extra = members;
                ClientError::Refused(problem)
            }
            _ => self.unreachable(format_args!("the answer is {status}")),
        }
    }
}

/// What stands behind the colon that follows the host.
fn port_of<'a>(uri: &'a Uri, host: &str) -> &'a str {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    place.strip_prefix(host).and_then(|rest| rest.strip_prefix(':')).unwrap_or_default()
}

impl fmt::Display for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.base_path)
    }
}
