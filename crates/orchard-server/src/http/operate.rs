//! `POST /v1/kv/{key}?op=sum|min|max|touch`: a number changed, or an expiry, and the outcome told.

use crate::http::body::Incoming;
use crate::http::entries::{Conditions, not_found};
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{CONTENT_TYPE, ETAG};
use hyper::http::request::Parts;
use orchard_wire::query::Parameters;
use orchard_wire::{Kind, Problem, commit_json, etag, media, value_json};
use orcharddb::{Expiry, Key, MutationError, NumberOp, Value, arithmetic};

/// Longest number, bounds included.
pub(super) const NUMBER_SIZE_BYTES_MAX: usize = 1024;

enum Change {
    Number { op: NumberOp, operand: Value, at_least: Option<Value>, at_most: Option<Value>, clamp: bool },
    Touch,
}

pub(super) async fn handle(
    session: &Session,
    parts: &Parts,
    mut parameters: Parameters,
    key: &Key,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    let op = parameters.take_text("op")?;
    let ttl = parameters.take_text("ttl")?;
    let expires_at = parameters.take_text("expires_at")?;
    let bound = |parameters: &mut Parameters, name| parameters.take(name);
    let (least, most) = (bound(&mut parameters, "at_least")?, bound(&mut parameters, "at_most")?);
    let clamp = parameters.take_flag("clamp")?;
    let db = reply::take_db(&mut parameters)?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    let expiry = commit_json::parse_expiry(ttl.as_deref(), expires_at.as_deref())
        .map_err(|problem| Problem::new(Kind::BadQuery, problem.detail))?;
    let conditions = Conditions::read(parts)?;
    let number_op = match op.as_deref() {
        Some("sum") => Some(NumberOp::Sum),
        Some("min") => Some(NumberOp::Min),
        Some("max") => Some(NumberOp::Max),
        Some("touch") => None,
        _ => return Err(Problem::new(Kind::BadQuery, "op: one of sum, min, max, touch")),
    };
    let body = body.read(session, "number_size_bytes", NUMBER_SIZE_BYTES_MAX).await?;
    let change = match number_op {
        None if !body.bytes.is_empty() || least.is_some() || most.is_some() || clamp => {
            return Err(Problem::new(Kind::BadQuery, "op touch has no number and no bounds"));
        }
        None => Change::Touch,
        Some(op) => {
            let operand = operand(parts, op, &body.bytes)?;
            let bound = |text: Option<Vec<u8>>| {
                text.map(|text| value_json::parse_as(&text, Some(operand.value_type))).transpose()
            };
            let (at_least, at_most) = (bound(least)?, bound(most)?);
            Change::Number { op, operand, at_least, at_most, clamp }
        }
    };
    // A number keeps its expiry unless the request says something else; to touch is to say something else.
    let expiry = match (&change, expiry) {
        (Change::Number { .. }, Expiry::Never) => Expiry::Keep,
        (_, expiry) => expiry,
    };
    let space = session.space_for_write(db.as_deref())?;
    session.settle().await?;
    session.room().await;
    let (outcome, pending) = session.server().db.exclusive(|tx| {
        let outcome = (|| {
            let entry = tx.entry_in(space, key).map_err(Problem::from)?;
            conditions.check(entry.as_ref().map(|entry| entry.versionstamp))?;
            let stored = entry.map(|entry| entry.value);
            match &change {
                Change::Touch => stored.ok_or_else(not_found),
                Change::Number { op, operand, at_least, at_most, clamp } => {
                    let (at_least, at_most) = (at_least.as_ref(), at_most.as_ref());
                    let bounds = arithmetic::Bounds { at_least, at_most, clamp: *clamp };
                    arithmetic::apply(*op, stored.as_ref(), operand, bounds).map_err(refused)
                }
            }
        })();
        if let Ok(value) = &outcome {
            tx.put_in(space, key.clone(), value.clone(), expiry);
        }
        // A refusal, too, waits until what it rests on may be told.
        Ok::<_, orcharddb::Error>(outcome)
    })?;
    let pending = if outcome.is_ok() { pending.with_durability(durability) } else { pending };
    let committed = session.acknowledged(pending).await?;
    let value = outcome?;
    let mut reply = commit_json::render_reply(&committed);
    reply.pop();
    reply.extend_from_slice(b",\"value\":");
    value_json::write(&mut reply, &value);
    reply.extend_from_slice(format!(",\"type\":\"{}\"}}", value.value_type.name()).as_bytes());
    let mut response = reply::json(reply);
    reply::set(&mut response, ETAG, &etag::render(committed.versionstamp));
    Ok(response)
}

/// The number of the body; one to add if there is none.
fn operand(parts: &Parts, op: NumberOp, body: &[u8]) -> Result<Value, Problem> {
    if let Some(content_type) = reply::header(parts, CONTENT_TYPE)?
        && !media::is_json(content_type)
        && !media::is(content_type, media::FORM)
    {
        let detail = "the number is Content-Type: application/json";
        return Err(Problem::new(Kind::UnsupportedMediaType, detail));
    }
    match (body.is_empty(), op) {
        (true, NumberOp::Sum) => Ok(Value::from(1_i64)),
        (true, _) => Err(Problem::new(Kind::BadValue, "the body has no number")),
        (false, _) => value_json::parse(body),
    }
}

fn refused(error: MutationError) -> Problem {
    let kind = match error {
        MutationError::Overflow => Kind::Overflow,
        MutationError::OutOfBounds => Kind::OutOfBounds,
        _ => Kind::WrongType,
    };
    Problem::new(kind, error.to_string())
}
