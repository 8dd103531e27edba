//! `POST /v1/read`: many ranges, all as one version shows them. The answer is written while it is read.

use crate::http::body::{Incoming, work};
use crate::http::commit::{BODY_SIZE_BYTES_MAX, must_be_json};
use crate::http::stream::Pieces;
use crate::http::{Body, Session, at, collections, reply};
use crate::snapshots::view;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use orchard_wire::cursor::Cursor;
use orchard_wire::read_json::{self, RangeRequest};
use orchard_wire::{Problem, entry_json, media};
use orcharddb::{Key, Scan, ScanOptions, Snapshot, SpaceId, Versionstamp};

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    must_be_json(parts, "a read")?;
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let request = work(bytes.len(), move || read_json::parse(&bytes)).await?;
    session.settle().await?;
    let space = session.space_for_read(db.as_deref())?;
    let snapshot = at::snapshot(session, request.at)?;
    // An answer that ends before its range does goes on with a cursor.
    session.server().snapshots.keep(snapshot.clone());
    let window = |range: RangeRequest| {
        let window = at::window(session, range.since, range.until)?;
        Ok((range, window))
    };
    let ranges = request.ranges.into_iter().map(window).collect::<Result<Vec<_>, Problem>>()?;
    let mut answer = Answer::new(snapshot, space, ranges);
    let mut response = Response::new(Pieces::body(move |out| answer.fill(out)).await?);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::JSON));
    Ok(response)
}

/// `since` and `until`.
type Window = (Option<Versionstamp>, Option<Versionstamp>);

/// What is left to write.
struct Answer {
    snapshot: Snapshot,
    space: SpaceId,
    ranges: std::vec::IntoIter<(RangeRequest, Window)>,
    current: Option<Current>,
    has_begun: bool,
    is_first: bool,
}

/// The range that is being written.
struct Current {
    request: RangeRequest,
    scan: Scan,
    written: usize,
    last: Option<Key>,
}

impl Answer {
    fn new(snapshot: Snapshot, space: SpaceId, ranges: Vec<(RangeRequest, Window)>) -> Answer {
        let ranges = ranges.into_iter();
        Answer { snapshot, space, ranges, current: None, has_begun: false, is_first: true }
    }

    /// Writes some more; false at the end.
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<bool, Problem> {
        if !std::mem::replace(&mut self.has_begun, true) {
            let versionstamp = self.snapshot.versionstamp();
            out.extend_from_slice(format!("{{\"versionstamp\":\"{versionstamp}\",\"ranges\":[").as_bytes());
        }
        while out.len() < Pieces::SIZE_BYTES {
            match self.current.take() {
                Some(mut current) => {
                    if current.write(&self.snapshot, self.space, out)? {
                        self.current = Some(current);
                    }
                }
                None => match self.ranges.next() {
                    Some((request, window)) => self.begin(request, window, out),
                    None => {
                        out.extend_from_slice(b"]}");
                        return Ok(false);
                    }
                },
            }
        }
        Ok(true)
    }

    fn begin(&mut self, request: RangeRequest, (since, until): Window, out: &mut Vec<u8>) {
        if !std::mem::take(&mut self.is_first) {
            out.push(b',');
        }
        let range =
            request.cursor.as_ref().map_or_else(|| request.range.clone(), |at| at.rest(&request.range));
        // One more than wanted tells whether there is more.
        let limit = (!request.count).then(|| request.limit.saturating_add(1));
        let options = ScanOptions {
            reverse: request.reverse,
            keys_only: request.keys_only || request.count,
            limit,
            since,
            until,
        };
        out.extend_from_slice(if request.count { b"{\"count\":" } else { b"{\"entries\":[" });
        let scan = self.snapshot.scan_in(self.space, range, options);
        self.current = Some(Current { request, scan, written: 0, last: None });
    }
}

impl Current {
    /// Writes until the piece is full (true) or the range ends.
    fn write(&mut self, snapshot: &Snapshot, space: SpaceId, out: &mut Vec<u8>) -> Result<bool, Problem> {
        while out.len() < Pieces::SIZE_BYTES {
            let Some(entry) = self.scan.next() else {
                let end = if self.request.count { format!("{}}}", self.written) } else { "]}".to_owned() };
                out.extend_from_slice(end.as_bytes());
                return Ok(false);
            };
            let entry = entry?;
            if self.request.count {
                self.written += 1;
                continue;
            }
            if self.written == self.request.limit {
                let last = self.last.take().unwrap_or_default();
                let cursor = Cursor::behind(&last, self.request.reverse, Some(view(snapshot)));
                let cursor = cursor.encode(&self.request.range);
                out.extend_from_slice(format!("],\"cursor\":\"{cursor}\"}}").as_bytes());
                return Ok(false);
            }
            if self.written > 0 {
                out.push(b',');
            }
            let entry = collections::shown_in_list(snapshot, space, entry)?;
            entry_json::write(out, &entry, self.request.keys_only);
            self.written += 1;
            self.last = Some(entry.key);
        }
        Ok(true)
    }
}
