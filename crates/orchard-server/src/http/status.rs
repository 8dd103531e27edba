//! What the server says about itself: `/livez`, `/readyz`, `/version`, `/limits`, `/metrics`.

use crate::http::body::LINE_SIZE_BYTES_MAX;
use crate::http::commit::BODY_SIZE_BYTES_MAX;
use crate::http::documents::PATCH_SIZE_BYTES_MAX;
use crate::http::operate::NUMBER_SIZE_BYTES_MAX;
use crate::http::{Body, Session, reply};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use orchard_wire::{Kind, Problem, commit_json, entry_json, media, queue_json};
use orcharddb::collection::JsonLimits;
use orcharddb::limits;
use serde_json::json;

/// The process answers.
pub(super) fn livez(parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    Ok(reply::new(StatusCode::OK, media::TEXT, "ok\n"))
}

/// The database takes commits.
pub(super) fn readyz(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    match session.server().db.stats().poisoned {
        None => Ok(reply::new(StatusCode::OK, media::TEXT, "ok\n")),
        Some(why) => Err(Problem::new(Kind::Poisoned, format!("commits are refused: {why}"))),
    }
}

pub(super) fn version(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let body = json!({
        "name": "orcharddb",
        "version": env!("CARGO_PKG_VERSION"),
        "durability": commit_json::durability_name(session.server().db.durability()),
    });
    Ok(reply::json(body.to_string()))
}

pub(super) fn limits(parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let body = json!({
        "key_size_bytes": limits::KEY_SIZE_BYTES_MAX,
        "read_key_size_bytes": limits::READ_KEY_SIZE_BYTES_MAX,
        "value_size_bytes": limits::VALUE_SIZE_BYTES_MAX,
        "commit_operations": limits::COMMIT_OPERATIONS_MAX,
        "commit_size_bytes": limits::COMMIT_SIZE_BYTES_MAX,
        "batch_operations": limits::BATCH_OPERATIONS_MAX,
        "read_ranges": limits::READ_RANGES_MAX,
        "line_size_bytes": LINE_SIZE_BYTES_MAX,
        "body_size_bytes": BODY_SIZE_BYTES_MAX,
        "patch_size_bytes": PATCH_SIZE_BYTES_MAX,
        "token_size_bytes": limits::TOKEN_SIZE_BYTES_MAX,
        "token_deadline_ahead_ms": limits::TOKEN_DEADLINE_AHEAD_MS_MAX,
        "range_limit": limits::RANGE_LIMIT_MAX,
        "range_limit_default": limits::RANGE_LIMIT_DEFAULT,
        "database_name_size_bytes": limits::DATABASE_NAME_SIZE_BYTES_MAX,
        "databases": limits::DATABASES_MAX,
        "default_expiry_rules": limits::DEFAULT_EXPIRY_RULES_MAX,
        "key_json_size_bytes": entry_json::KEY_JSON_SIZE_BYTES_MAX,
        "number_size_bytes": NUMBER_SIZE_BYTES_MAX,
        "queue_name_size_bytes": limits::QUEUE_NAME_SIZE_BYTES_MAX,
        "queue_payload_size_bytes": limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX,
        "queue_delay_ms": limits::QUEUE_DELAY_MS_MAX,
        "queue_backoff_steps": limits::QUEUE_BACKOFF_STEPS_MAX,
        "queue_undelivered_keys": limits::QUEUE_UNDELIVERED_KEYS_MAX,
        "queue_messages": limits::QUEUE_MESSAGES_MAX,
        "queue_lease_size_bytes": limits::QUEUE_LEASE_SIZE_BYTES_MAX,
        "queue_visibility_ms": limits::QUEUE_VISIBILITY_MS_MAX,
        "lease_wait_ms": queue_json::LEASE_WAIT_MS_MAX,
        "collection_json_elements": JsonLimits::default().elements_max,
        "collection_json_size_bytes": JsonLimits::default().bytes_max,
    });
    Ok(reply::json(body.to_string()))
}

pub(super) fn metrics(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let server = session.server();
    let body = server.metrics.render(&server.db.stats(), server.snapshots.len());
    Ok(reply::new(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", body))
}
