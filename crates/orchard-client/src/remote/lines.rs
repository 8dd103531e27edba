//! A reply that comes line by line, in constant memory.

use super::http::{Http, Reply};
use crate::error::ClientError;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use std::sync::Arc;

/// Longest line: the largest value, every byte of it escaped, and its key.
const LINE_SIZE_BYTES_MAX: usize = 6 * orcharddb::limits::VALUE_SIZE_BYTES_MAX + 64 * 1024;

/// Lines as they arrive. A connection whose reply was read to its end is kept.
pub(crate) struct Lines {
    http: Arc<Http>,
    body: Incoming,
    connection: Option<SendRequest<Full<Bytes>>>,
    buffer: Vec<u8>,
    /// Where in the buffer the next line begins.
    start: usize,
    /// Up to where the buffer holds no line end.
    searched: usize,
}

impl Lines {
    pub(crate) fn new(http: Arc<Http>, reply: Reply) -> Lines {
        Lines {
            http,
            body: reply.response.into_body(),
            connection: Some(reply.connection),
            buffer: Vec::new(),
            start: 0,
            searched: 0,
        }
    }

    pub(crate) fn http(&self) -> &Http {
        &self.http
    }

    /// The next line without its end; `None` at the end of the reply.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            let rest = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                let end = self.searched + length;
                let line = self.buffer.get(self.start..end).unwrap_or_default().to_vec();
                self.start = end + 1;
                self.searched = self.start;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.start);
            self.start = 0;
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_SIZE_BYTES_MAX {
                return Err(self.http.foreign(format_args!("a line is over {LINE_SIZE_BYTES_MAX} bytes")));
            }
            match self.body.frame().await {
                None if self.buffer.is_empty() => {
                    if let Some(connection) = self.connection.take() {
                        self.http.keep(connection);
                    }
                    return Ok(None);
                }
                None => return Err(self.http.unreachable("the answer broke off in the middle of a line")),
                Some(Err(error)) => {
                    return Err(self.http.unreachable(format_args!("the answer broke off: {error}")));
                }
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.buffer.extend_from_slice(&bytes);
                    }
                }
            }
        }
    }
}
