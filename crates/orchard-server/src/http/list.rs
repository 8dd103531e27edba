//! Ranges: `GET /v1/kv?prefix=|start=|end=&limit=&reverse=&keys_only=&count=&at=&since=&until=&cursor=`, as JSON pages or as NDJSON streamed whole.
//!
//! A list is read at one snapshot. A page that is not the last carries a cursor, and its snapshot is kept for a while;
//! when it is gone the list does not silently go on elsewhere: 410, with a cursor for the same place at the newest version.

use crate::http::stream::Pieces;
use crate::http::{Body, Session, at, collections, reply};
use crate::snapshots::view;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use orchard_wire::cursor::{Cursor, View};
use orchard_wire::moment::Moment;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem, entry_json, media, range};
use orcharddb::{KeyRange, ReadError, ScanOptions, Snapshot, SpaceId, Versionstamp, limits};

/// A page ends early when it has this many bytes.
const PAGE_SIZE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The version that a list shows.
const ORCHARD_VERSIONSTAMP: HeaderName = HeaderName::from_static("orchard-versionstamp");

/// What a request asks for.
struct Query {
    range: KeyRange,
    reverse: bool,
    keys_only: bool,
    limit: Option<usize>,
    count: bool,
    export: bool,
    form: Form,
    at: Option<Moment>,
    since: Option<Moment>,
    until: Option<Moment>,
    cursor: Option<Cursor>,
    db: Option<String>,
}

impl Query {
    fn read(parts: &Parts) -> Result<Query, Problem> {
        let mut parameters = reply::parameters(parts)?;
        let range = range::take(&mut parameters)?;
        let limit = reply::take_limit(&mut parameters)?;
        let reverse = parameters.take_flag("reverse")?;
        let keys_only = parameters.take_flag("keys_only")?;
        let count = parameters.take_flag("count")?;
        let export = parameters.take_flag("export")?;
        if export && !reply::accepts(parts, media::NDJSON) {
            let detail = "an export is lines: send Accept: application/x-ndjson";
            return Err(Problem::new(Kind::BadQuery, detail));
        }
        let at = at::take(&mut parameters, "at")?;
        let since = at::take(&mut parameters, "since")?;
        let until = at::take(&mut parameters, "until")?;
        let cursor = parameters.take("cursor")?;
        let db = reply::take_db(&mut parameters)?;
        reply::take_consistency(&mut parameters)?;
        parameters.finish()?;
        let cursor = cursor.map(|text| Cursor::decode(&text, &range, reverse)).transpose()?;
        Ok(Query {
            range,
            reverse,
            keys_only,
            limit,
            count,
            export,
            form: reply::form(parts),
            at,
            since,
            until,
            cursor,
            db,
        })
    }

    fn rest(&self) -> KeyRange {
        self.cursor.as_ref().map_or_else(|| self.range.clone(), |cursor| cursor.rest(&self.range))
    }
}

pub(super) async fn handle(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    let query = Query::read(parts)?;
    session.settle().await?;
    let snapshot = snapshot(session, &query)?;
    let space = session.space_for_read(query.db.as_deref())?;
    let versionstamp = snapshot.versionstamp();
    let (since, until) = at::window(session, query.since, query.until)?;
    let options =
        ScanOptions { reverse: query.reverse, keys_only: query.keys_only, limit: None, since, until };
    if query.count {
        return count(snapshot, space, query.rest(), options).await;
    }
    let mut response = if reply::accepts(parts, media::NDJSON) {
        // A HEAD needs no entries.
        let limit = if parts.method == Method::HEAD { Some(0) } else { query.limit };
        let options = ScanOptions { limit, ..options };
        let lines = if query.export {
            let mut export = snapshot.export_in(space, query.rest(), options);
            Pieces::body(move |out| {
                while out.len() < Pieces::SIZE_BYTES {
                    let Some(exported) = export.next() else { return Ok(false) };
                    entry_json::write_exported(out, &exported?, options.keys_only, true);
                }
                Ok(true)
            })
            .await?
        } else {
            let mut scan = snapshot.scan_in(space, query.rest(), options);
            let (reading, form) = (snapshot.clone(), query.form);
            Pieces::body(move |out| {
                while out.len() < Pieces::SIZE_BYTES {
                    let Some(entry) = scan.next() else { return Ok(false) };
                    let entry = collections::shown_in_list(&reading, space, entry?)?;
                    entry_json::write_as(out, &entry, options.keys_only, form);
                    out.push(b'\n');
                }
                Ok(true)
            })
            .await?
        };
        let mut response = Response::new(lines);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::NDJSON));
        response
    } else {
        let limit = query.limit.unwrap_or(limits::RANGE_LIMIT_DEFAULT);
        if limit > limits::RANGE_LIMIT_MAX {
            let detail =
                format!("limit: at most {}; take the next page by its cursor", limits::RANGE_LIMIT_MAX);
            return Err(Problem::new(Kind::BadQuery, detail)
                .with("limit", limits::RANGE_LIMIT_MAX)
                .with("actual", limit));
        }
        let reading = snapshot.clone();
        let page = tokio::task::spawn_blocking(move || page(&reading, space, &query, options, limit)).await;
        let page = page.map_err(|_| Problem::new(Kind::Internal, "reading the range failed"))??;
        if page.has_more {
            session.server().snapshots.keep(snapshot);
        }
        reply::json(page.body)
    };
    reply::set(&mut response, ORCHARD_VERSIONSTAMP, &versionstamp.to_string());
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The number of entries in a range, as a snapshot shows it.
pub(super) async fn count(
    snapshot: Snapshot,
    space: SpaceId,
    range: KeyRange,
    options: ScanOptions,
) -> Result<Response<Body>, Problem> {
    let versionstamp = snapshot.versionstamp();
    let count = tokio::task::spawn_blocking(move || {
        if options.since.is_none() && options.until.is_none() {
            return snapshot.count_in(space, &range);
        }
        let options = ScanOptions { keys_only: true, ..options };
        snapshot.scan_in(space, range, options).try_fold(0_u64, |count, entry| entry.map(|_| count + 1))
    });
    let count = count.await.map_err(|_| Problem::new(Kind::Internal, "counting the range failed"))??;
    Ok(counted(count, versionstamp))
}

fn counted(count: u64, versionstamp: Versionstamp) -> Response<Body> {
    let mut response = reply::json(format!("{{\"count\":{count},\"versionstamp\":\"{versionstamp}\"}}"));
    reply::set(&mut response, ORCHARD_VERSIONSTAMP, &versionstamp.to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// The snapshot that the list began with, or a new one.
fn snapshot(session: &Session, query: &Query) -> Result<Snapshot, Problem> {
    let server = session.server();
    let Some(wanted) = query.cursor.as_ref().and_then(|cursor| cursor.view) else {
        return at::snapshot(session, query.at);
    };
    if let Some(snapshot) = server.snapshots.find(wanted) {
        return Ok(snapshot);
    }
    let newest = server.db.snapshot();
    if newest.versionstamp() == wanted.versionstamp {
        return Ok(newest);
    }
    Err(too_old(query, wanted))
}

fn too_old(query: &Query, wanted: View) -> Problem {
    let problem = Problem::new(
        Kind::SnapshotTooOld,
        "the snapshot of this list is no longer kept; begin again, or go on at the newest version with the cursor given here",
    );
    let problem = problem.with("versionstamp", wanted.versionstamp.to_string());
    match &query.cursor {
        Some(cursor) => problem.with("cursor", Cursor { view: None, ..cursor.clone() }.encode(&query.range)),
        None => problem,
    }
}

struct Page {
    body: Vec<u8>,
    has_more: bool,
}

/// Reads one page. Runs where blocking is allowed.
fn page(
    snapshot: &Snapshot,
    space: SpaceId,
    query: &Query,
    options: ScanOptions,
    limit: usize,
) -> Result<Page, Problem> {
    // One more than wanted tells whether there is more.
    let options = ScanOptions { limit: Some(limit.saturating_add(1)), ..options };
    let mut body = b"{\"entries\":[".to_vec();
    let mut last = None;
    let mut has_more = false;
    for (count, entry) in snapshot.scan_in(space, query.rest(), options).enumerate() {
        let entry = match entry {
            Err(ReadError::SnapshotTooOld) => return Err(too_old(query, view(snapshot))),
            other => other?,
        };
        if count == limit || body.len() >= PAGE_SIZE_BYTES_MAX {
            has_more = true;
            break;
        }
        if count > 0 {
            body.push(b',');
        }
        let entry = collections::shown_in_list(snapshot, space, entry)?;
        entry_json::write_as(&mut body, &entry, query.keys_only, query.form);
        last = Some(entry.key);
    }
    body.push(b']');
    if let Some(last) = last.filter(|_| has_more) {
        let cursor = Cursor::behind(&last, query.reverse, Some(view(snapshot)));
        body.extend_from_slice(format!(",\"cursor\":\"{}\"", cursor.encode(&query.range)).as_bytes());
    }
    body.extend_from_slice(format!(",\"versionstamp\":\"{}\"}}", snapshot.versionstamp()).as_bytes());
    Ok(Page { body, has_more })
}
