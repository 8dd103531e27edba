//! `/v1/databases`: databases by name, listed, created, dropped and swapped.

use crate::http::body::Incoming;
use crate::http::commit::must_be_json;
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, percent};
use serde_json::{Value as Json, json};

/// Longest body of a swap: two names, every byte of them escaped, and room for the JSON.
const BODY_SIZE_BYTES_MAX: usize = 16 * 1024;

fn name(encoded: &str) -> Result<String, Problem> {
    let bad = |why: String| Problem::new(Kind::BadRequest, format!("bad name of a database: {why}"));
    let name = percent::decode(encoded.as_bytes()).map_err(|error| bad(error.to_string()))?;
    let name = String::from_utf8(name).map_err(|_| bad("not UTF-8".to_owned()))?;
    orcharddb::check_database_name(&name)?;
    Ok(name)
}

/// Runs what waits for the disk, where blocking is allowed.
async fn run<T: Send + 'static>(
    session: &Session,
    work: impl FnOnce(&orcharddb::Db) -> Result<T, orcharddb::Error> + Send + 'static,
) -> Result<T, Problem> {
    let db = session.server().db.clone();
    let done = tokio::task::spawn_blocking(move || work(&db)).await;
    Ok(done.map_err(|_| Problem::new(Kind::Internal, "the work on the databases failed"))??)
}

/// `GET /v1/databases`
pub(super) async fn list(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    session.settle().await?;
    let databases = run(session, orcharddb::Db::databases).await?;
    let names: Vec<String> = databases.into_iter().map(|(name, _)| name).collect();
    let mut response = reply::json(json!({ "databases": names }).to_string());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// `PUT /v1/databases/{database}`
pub(super) async fn create(
    session: &Session,
    parts: &Parts,
    encoded: &str,
) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let name = name(encoded)?;
    let reply = json!({ "database": name });
    run(session, move |db| db.create_database(&name)).await?;
    Ok(reply::json(reply.to_string()))
}

/// `DELETE /v1/databases/{database}`
pub(super) async fn drop(session: &Session, parts: &Parts, encoded: &str) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    let name = name(encoded)?;
    let reply = json!({ "database": name });
    session.settle().await?;
    if run(session, move |db| db.drop_database(&name)).await? {
        Ok(reply::json(reply.to_string()))
    } else {
        Err(Problem::new(Kind::DatabaseNotFound, "there is no database of this name"))
    }
}

/// `POST /v1/databases/swap`
pub(super) async fn swap(
    session: &Session,
    parts: &Parts,
    body: Incoming,
) -> Result<Response<Body>, Problem> {
    reply::parameters(parts)?.finish()?;
    must_be_json(parts, "a swap")?;
    let body = body.read(session, "body_size_bytes", BODY_SIZE_BYTES_MAX).await?;
    let bad = || Problem::new(Kind::BadJson, "a swap is {\"databases\": [one, other]}");
    let json: Json = serde_json::from_slice(&body.bytes).map_err(|_| bad())?;
    let members = json.as_object().filter(|members| members.len() == 1).ok_or_else(bad)?;
    let names = members.get("databases").and_then(Json::as_array).ok_or_else(bad)?;
    let [Json::String(one), Json::String(other)] = names.as_slice() else { return Err(bad()) };
    let (one, other) = (one.clone(), other.clone());
    orcharddb::check_database_name(&one)?;
    orcharddb::check_database_name(&other)?;
    let reply = json!({ "databases": [one, other] });
    session.settle().await?;
    run(session, move |db| db.swap_databases(&one, &other)).await?;
    Ok(reply::json(reply.to_string()))
}
