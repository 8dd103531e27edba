//! `/v1/lists|hashes|sets|zsets/{key}..`: elements of collections, changed and read. Each change is one commit.

use crate::http::body::{Incoming, work};
use crate::http::commit::{BODY_SIZE_BYTES_MAX, must_be_json};
use crate::http::stream::Pieces;
use crate::http::{Body, Session, at, entries, reply};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, HeaderValue, VARY};
use hyper::http::request::Parts;
use hyper::{Method, Response};
use orchard_wire::element_json::{self, Shape, Verb};
use orchard_wire::query::Parameters;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem, batch_json, commit_json, entry_json, etag, media, value_json};
use orcharddb::collection::{Chunks, Elements, Look, Step};
use orcharddb::{Expiry, Key, Snapshot, SpaceId, Value, ValueType, limits};

/// The version that a page shows.
const ORCHARD_VERSIONSTAMP: HeaderName = HeaderName::from_static("orchard-versionstamp");

/// `POST /v1/{lists|hashes|sets|zsets}/{key}/{verb}`
pub(super) async fn change(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
    verb: Verb,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let key = reply::key(key, &mut parameters)?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    let step = step(session, parts, &mut parameters, verb, body).await?;
    parameters.finish()?;
    let space = session.space_for_write(db.as_deref())?;
    session.settle().await?;
    session.room().await;
    let database = session.server().db.clone();
    let run = move || {
        let (outcome, pending) = database.exclusive(|tx| {
            let outcome = tx.step_in(space, key.clone(), &step);
            if outcome.is_err() {
                tx.clear();
            }
            // A refusal, too, waits until what it rests on may be told.
            Ok::<_, orcharddb::Error>((outcome, tx.is_read_only()))
        })?;
        Ok((outcome, pending))
    };
    let ((outcome, is_read_only), pending) =
        work(if verb.is_pop() { 0 } else { body_bytes(parts) }, run).await?;
    // What has changed nothing rests on what others wrote.
    let pending = if is_read_only { pending } else { pending.with_durability(durability) };
    let committed = session.acknowledged(pending).await?;
    let stepped = outcome?;
    if verb.is_pop() && stepped.changed == 0 {
        return Err(batch_json::nothing_to_pop());
    }
    let mut out = commit_json::render_reply(&committed);
    out.pop();
    element_json::write_stepped(&mut out, verb, &stepped, reply::form(parts));
    out.push(b'}');
    let mut response = reply::json(out);
    reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
    Ok(response)
}

/// What the body is said to have; what is large is worked on where blocking is allowed.
fn body_bytes(parts: &Parts) -> usize {
    let length = parts.headers.get(hyper::header::CONTENT_LENGTH);
    length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(usize::MAX)
}

/// The change that the request asks for. A body is a value if it is for a list, or for the one field that a parameter
/// names; else JSON that says everything.
async fn step(
    session: &Session,
    parts: &Parts,
    parameters: &mut Parameters,
    verb: Verb,
    body: Incoming,
) -> Result<Step, Problem> {
    let field = if verb == Verb::SetFields { parameters.take("field")? } else { None };
    let is_value = field.is_some() || matches!(verb, Verb::Append | Verb::Prepend);
    if verb.is_pop() {
        return element_json::parse_step(verb, b"");
    }
    if !is_value {
        must_be_json(parts, "a change of this collection")?;
        let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
        let bytes = body.bytes.clone();
        return work(bytes.len(), move || element_json::parse_step(verb, &bytes)).await;
    }
    let expiry = match field {
        Some(_) => entries::take_expiry(parameters)?.unwrap_or(Expiry::Never),
        None => Expiry::Never,
    };
    let value_type = parameters.take_text("type")?.as_deref().map(entry_json::value_type).transpose()?;
    let value = value(session, parts, value_type, body).await?;
    Ok(match (field, verb) {
        (Some(field), _) => Step::SetFields(vec![(field.into(), value, expiry)]),
        (None, verb) => element_json::step_of_value(verb == Verb::Append, value),
    })
}

/// The value that the body is: its type by Content-Type as for an entry, unless the JSON is to be read as one.
async fn value(
    session: &Session,
    parts: &Parts,
    value_type: Option<ValueType>,
    body: Incoming,
) -> Result<Value, Problem> {
    let content_type = reply::header(parts, CONTENT_TYPE)?.map(str::to_owned);
    if value_type.is_some() {
        must_be_json(parts, "a value with a type")?;
    }
    let body = body.read(session, "body_size_bytes", 2 * limits::VALUE_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let value = work(bytes.len(), move || match value_type {
        Some(value_type) => value_json::parse_as(&bytes, Some(value_type)),
        None => media::value(content_type.as_deref(), bytes),
    });
    let value = value.await?;
    orcharddb::LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value.data.len())?;
    Ok(value)
}

/// `GET /v1/{lists|hashes|sets|zsets}/{key}?..`
pub(super) async fn get(
    session: &Session,
    parts: &Parts,
    key: Option<Key>,
    shape: Shape,
) -> Result<Response<Body>, Problem> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let mut parameters = Parameters::parse_repeating(query, &["field", "member"])?;
    let key = reply::key(key, &mut parameters)?;
    let is_paged = parameters.has("limit") || parameters.has("cursor");
    let look = element_json::take_look(shape, &mut parameters)?;
    let at = at::take(&mut parameters, "at")?;
    let db = reply::take_db(&mut parameters)?;
    reply::take_consistency(&mut parameters)?;
    parameters.finish()?;
    session.settle().await?;
    let space = session.space_for_read(db.as_deref())?;
    let snapshot = at::snapshot(session, at)?;
    let versionstamp = snapshot.versionstamp();
    let form = reply::form(parts);
    let raw = wants_raw(parts) && matches!(&look, Look::Fields(names) if names.len() == 1);
    let mut response = if reply::accepts(parts, media::NDJSON) {
        // A HEAD needs no elements.
        let whole = !is_paged && is_whole(&look) && parts.method != Method::HEAD;
        let body = lines(snapshot, (space, key), shape, look, whole, form).await?;
        let mut response = Response::new(body);
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media::NDJSON));
        response
    } else {
        let found = tokio::task::spawn_blocking(move || snapshot.look_in(space, key, &look)).await;
        let found = found.map_err(|_| Problem::new(Kind::Internal, "reading the collection failed"))??;
        match &found.elements {
            Elements::Fields(fields) if raw => {
                let no_field = || Problem::new(Kind::KeyNotFound, "there is no such field");
                let field = fields.first().ok_or_else(no_field)?;
                entries::raw(&field.value, reply::accepts(parts, "text/plain"))
            }
            _ => reply::json(element_json::write_page(&found, versionstamp, form)),
        }
    };
    reply::set(&mut response, ORCHARD_VERSIONSTAMP, &versionstamp.to_string());
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn wants_raw(parts: &Parts) -> bool {
    !reply::accepts(parts, media::JSON)
        && (reply::accepts(parts, "text/plain") || reply::accepts(parts, media::OCTET_STREAM))
}

/// Whether no element is left out but for the size of a page.
fn is_whole(look: &Look) -> bool {
    match look {
        Look::Indexes(start, stop) => (*start, *stop) == (0, -1),
        Look::FieldsAfter(..) | Look::MembersAfter(..) => true,
        Look::ByScore(page) => {
            use std::ops::Bound::Unbounded;
            matches!((page.min, page.max, page.reverse), (Unbounded, Unbounded, false))
        }
        Look::Fields(_) | Look::Members(_) | Look::Scores(_) | Look::Ranks(..) | Look::ByName(_) => false,
    }
}

/// An element a line: the whole collection, streamed from one snapshot in constant memory, or what a look finds.
async fn lines(
    snapshot: Snapshot,
    (space, key): (SpaceId, Key),
    shape: Shape,
    look: Look,
    whole: bool,
    form: Form,
) -> Result<Body, Problem> {
    let mut chunks: Option<Chunks> = None;
    Pieces::body(move |out| {
        let write = |out: &mut Vec<u8>, elements: &Elements| {
            let before = out.len();
            element_json::write_elements(out, elements, b"\n", form);
            if out.len() > before {
                out.push(b'\n');
            }
        };
        if !whole {
            write(out, &snapshot.look_in(space, key.clone(), &look)?.elements);
            return Ok(false);
        }
        let chunks = match &mut chunks {
            Some(chunks) => chunks,
            None => chunks.insert(snapshot.chunks_in(space, key.clone(), shape.value_type())?),
        };
        while out.len() < Pieces::SIZE_BYTES {
            let Some(elements) = chunks.next()? else { return Ok(false) };
            write(out, &elements);
        }
        Ok(true)
    })
    .await
}
