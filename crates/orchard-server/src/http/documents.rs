//! Parts of JSON documents: `?pointer=` on GET, PUT and DELETE, and PATCH with a JSON merge patch. A change is made of
//! the document as it was read and written only if it is still that, else made anew.

use crate::http::body::{Incoming, work};
use crate::http::entries::{Conditions, TRIES, commit_of, not_found};
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::http::request::Parts;
use orchard_wire::json_pointer::Pointer;
use orchard_wire::query::Parameters;
use orchard_wire::{Kind, Problem, commit_json, etag, media, merge_patch, value_json};
use orcharddb::{CommitError, Durability, Entry, Expiry, Key, Operation, SpaceId, Value, ValueType, limits};

/// Largest merge patch.
pub(super) const PATCH_SIZE_BYTES_MAX: usize = 1024 * 1024;

/// What a change of a document is told, next to the change itself.
pub(super) struct Target<'a> {
    pub(super) session: &'a Session,
    pub(super) space: SpaceId,
    pub(super) key: &'a Key,
    pub(super) conditions: Conditions,
    pub(super) durability: Option<Durability>,
    /// [`Expiry::Keep`] unless the request says something else.
    pub(super) expiry: Expiry,
}

/// Takes `pointer`. One that names the whole document is none.
pub(super) fn take_pointer(parameters: &mut Parameters) -> Result<Option<Pointer>, Problem> {
    Ok(parameters.take_with("pointer", Pointer::parse)?.filter(|pointer| !pointer.is_whole()))
}

/// The text of a value that is a JSON document, or a scalar that JSON has.
fn json_text(value: &Value) -> Result<Vec<u8>, Problem> {
    match value.value_type {
        ValueType::Json
        | ValueType::Text
        | ValueType::Int
        | ValueType::Float
        | ValueType::Bool
        | ValueType::Null => {
            let mut text = Vec::new();
            match value.value_type {
                ValueType::Json => text.extend_from_slice(&value.data),
                _ => value_json::write(&mut text, value),
            }
            Ok(text)
        }
        other => Err(Problem::new(Kind::WrongType, format!("the entry is {other}, not a JSON document"))),
    }
}

fn utf8(text: Vec<u8>) -> Result<String, Problem> {
    String::from_utf8(text).map_err(|_| Problem::new(Kind::BadValue, "the document is not UTF-8"))
}

/// The part of an entry's document that a pointer names.
pub(super) fn part(entry: &Entry, pointer: &Pointer) -> Result<Vec<u8>, Problem> {
    let document = utf8(json_text(&entry.value)?)?;
    Ok(pointer.find(&document)?.as_bytes().to_vec())
}

/// `PUT ?pointer=`
pub(super) async fn put_part(
    target: Target<'_>,
    parts: &Parts,
    pointer: Pointer,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let content_type = reply::header(parts, CONTENT_TYPE)?.map(str::to_owned);
    let body = body.read(target.session, "body_size_bytes", 2 * limits::VALUE_SIZE_BYTES_MAX).await?;
    let bytes = body.bytes.clone();
    let part =
        work(bytes.len(), move || utf8(json_text(&media::value(content_type.as_deref(), bytes)?)?)).await?;
    change(target, move |entry| {
        let document = utf8(json_text(&entry.ok_or_else(not_found)?.value)?)?;
        Ok(pointer.set(&document, &part)?)
    })
    .await
}

/// `DELETE ?pointer=`
pub(super) async fn delete_part(target: Target<'_>, pointer: Pointer) -> Result<Response<Body>, Problem> {
    change(target, move |entry| {
        let document = utf8(json_text(&entry.ok_or_else(not_found)?.value)?)?;
        Ok(pointer.remove(&document)?)
    })
    .await
}

/// `PATCH` with `application/merge-patch+json`; an entry that is absent is created.
pub(super) async fn patch(
    target: Target<'_>,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    if !reply::header(parts, CONTENT_TYPE)?
        .is_some_and(|content_type| media::is(content_type, media::MERGE_PATCH))
    {
        let detail = "PATCH is Content-Type: application/merge-patch+json (RFC 7396)";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    let body = body.read(target.session, "patch_size_bytes", PATCH_SIZE_BYTES_MAX).await?;
    let patch = utf8(body.bytes.to_vec())?;
    orchard_wire::json_text::check(patch.as_bytes())
        .map_err(|why| Problem::new(Kind::BadJson, format!("the patch is not JSON: {why}")))?;
    change(target, move |entry| {
        let document = entry.map(|entry| json_text(&entry.value).and_then(utf8)).transpose()?;
        Ok(merge_patch::apply(document.as_deref(), &patch)?)
    })
    .await
}

/// Reads the entry, makes the new document, and writes it if the entry is still the same; again if it is not.
async fn change(
    target: Target<'_>,
    make: impl Fn(Option<&Entry>) -> Result<String, Problem> + Clone + Send + 'static,
) -> Result<Response<Body>, Problem> {
    let Target { session, space, key, conditions, durability, expiry } = target;
    session.settle().await?;
    for _ in 0..TRIES {
        let entry = session.server().db.get_in(space, key)?;
        let version = entry.as_ref().map(|entry| entry.versionstamp);
        conditions.check(version)?;
        let bytes = entry.as_ref().map_or(0, |entry| entry.value.data.len());
        let make = make.clone();
        let value = work(bytes, move || value_json::parse(make(entry.as_ref())?.as_bytes())).await?;
        let commit = commit_of(space, key, Operation::Set { value, expiry }, Some(version));
        match session.commit(&commit, durability).await {
            Err(CommitError::CheckFailed(_)) => {}
            Err(error) => return Err(error.into()),
            Ok(committed) => {
                let mut response = reply::json(commit_json::render_reply(&committed));
                reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
                return Ok(response);
            }
        }
    }
    Err(Problem::new(Kind::Aborted, "others kept changing the entry; try again"))
}
