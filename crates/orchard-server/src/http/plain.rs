//! The original plain routes: `GET /put?key2=baz`, `/get/key2`, `/delete/key2`. Replies are lines of text for people with
//! curl; the log has the same lines with the size of a value in place of the value, unless `log_values`.

use crate::http::{Body, Session, entries, reply};
use hyper::header::{CACHE_CONTROL, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use orchard_wire::{Kind, Problem, media, percent, query, value_json};
use orcharddb::{Commit, Key, Value, tuple};
use tracing::{error, info};

fn text(status: StatusCode, lines: Vec<u8>) -> Response<Body> {
    let mut response = reply::new(status, media::TEXT, lines);
    // The routes write by GET: no cache may answer, or fetch again, on its own.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// `[INFO] (PUT) KEY: key2 VALUE: baz`
fn line(method: &str, name: &[u8], value: Option<&[u8]>) -> Vec<u8> {
    let mut line = format!("[INFO] ({method}) KEY: ").into_bytes();
    line.extend_from_slice(name);
    if let Some(value) = value {
        line.extend_from_slice(b" VALUE: ");
        line.extend_from_slice(value);
    }
    line.push(b'\n');
    line
}

/// The key and value of a log line: control characters escaped, the value only if the operator asked for values.
fn log(session: &Session, method: &str, name: &[u8], value: Option<&[u8]>) {
    let name = printable(name);
    match value {
        None => info!("({method}) KEY: {name}"),
        Some(value) if session.server().options.log_values => {
            info!("({method}) KEY: {name} VALUE: {}", printable(value));
        }
        Some(value) => info!("({method}) KEY: {name} VALUE: {} bytes", value.len()),
    }
}

/// Text for a log line: bytes that are no text and control characters are escaped.
fn printable(bytes: &[u8]) -> String {
    let escape = |character: char| {
        let keep = !character.is_control() && character != '\u{2028}' && character != '\u{2029}';
        if keep { character.to_string() } else { character.escape_default().to_string() }
    };
    String::from_utf8_lossy(bytes).chars().map(escape).collect()
}

fn refused(method: &str, name: Option<&[u8]>, problem: &Problem) -> Response<Body> {
    reply::log(problem);
    let what = match problem.kind {
        Kind::KeyNotFound => "NOT FOUND".to_owned(),
        kind if kind.status() == 400 => format!("MALFORMED: {}", problem.detail),
        _ => problem.detail.clone(),
    };
    let mut line = format!("[ERROR] ({method}) ").into_bytes();
    if let Some(name) = name {
        line.extend_from_slice(b"KEY: ");
        line.extend_from_slice(name);
        line.push(b' ');
    }
    line.extend_from_slice(what.as_bytes());
    error!("{}", printable(line.strip_prefix(b"[ERROR] ").unwrap_or(&line)));
    line.push(b'\n');
    let status = StatusCode::from_u16(problem.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    text(status, line)
}

/// The database of `/get` and `/delete`, which know no other parameter.
fn database(parts: &Parts) -> Result<Option<String>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let db = reply::take_db(&mut parameters)?;
    parameters.finish()?;
    Ok(db)
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadRequest, detail)
}

/// The name that the rest of a path is: a `/` is part of it.
fn name(path: &str) -> Result<Vec<u8>, Problem> {
    let name = percent::decode(path.as_bytes()).map_err(|error| malformed(error.to_string()))?;
    if name.is_empty() { Err(malformed("the name of a key is missing")) } else { Ok(name) }
}

/// One `name=value` of `/put`.
struct Put {
    name: Vec<u8>,
    key: Key,
    value: Vec<u8>,
}

/// What `/put` writes, and to which database: `db` names that, so a key named `db` is written by `/v1/kv/db`.
fn puts(parts: &Parts) -> Result<(Option<String>, Vec<Put>), Problem> {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let (named, pairs): (Vec<_>, Vec<_>) =
        query::pairs(query)?.into_iter().partition(|pair| pair.name == b"db");
    let db = match named.as_slice() {
        [] => None,
        [query::Pair { value: Some(name), .. }] => {
            let name = String::from_utf8(name.clone());
            let name = name.map_err(|_| malformed("the name of a database is UTF-8"))?;
            orcharddb::check_database_name(&name)?;
            Some(name)
        }
        _ => return Err(malformed("write db=name once")),
    };
    if pairs.is_empty() {
        return Err(malformed("write /put?key=value"));
    }
    let pair = |pair: query::Pair| match pair.value {
        _ if pair.name.is_empty() => Err(malformed("the name of a key is missing")),
        None => Err(malformed(format!("\"{}\" has no value: write /put?key=value", printable(&pair.name)))),
        Some(value) => {
            let key = tuple::name(&pair.name)?;
            Ok(Put { name: pair.name, key, value })
        }
    };
    Ok((db, pairs.into_iter().map(pair).collect::<Result<_, _>>()?))
}

/// `GET /put?key2=baz&k3=v3`: one atomic commit, one line for each pair.
pub(super) async fn put(session: &Session, parts: &Parts) -> Response<Body> {
    let read = puts(parts).and_then(|(db, puts)| Ok((session.space_for_write(db.as_deref())?, puts)));
    let (space, puts) = match read {
        Ok(read) => read,
        Err(problem) => return refused("PUT", None, &problem),
    };
    let mut commit = Commit::new();
    for Put { key, value, .. } in &puts {
        let value = match std::str::from_utf8(value) {
            Ok(text) => Value::from(text),
            Err(_) => Value::bytes(value.clone()),
        };
        commit = commit.set(space, key.clone(), value);
    }
    match session.commit(&commit, None).await {
        Ok(_) => {
            let mut lines = Vec::new();
            for Put { name, value, .. } in &puts {
                log(session, "PUT", name, Some(value));
                lines.extend(line("PUT", name, Some(value)));
            }
            text(StatusCode::OK, lines)
        }
        Err(error) => {
            let only = match puts.as_slice() {
                [put] => Some(put.name.as_slice()),
                _ => None,
            };
            refused("PUT", only, &error.into())
        }
    }
}

/// `GET /get/key2`
pub(super) async fn get(session: &Session, parts: &Parts, path: &str) -> Response<Body> {
    let (space, name) =
        match database(parts).and_then(|db| Ok((session.space_for_read(db.as_deref())?, name(path)?))) {
            Ok(read) => read,
            Err(problem) => return refused("GET", None, &problem),
        };
    let found = async {
        session.settle().await?;
        let entry = session.server().db.get_in(space, &tuple::name(&name)?)?;
        entry.ok_or_else(|| Problem::new(Kind::KeyNotFound, "there is no such key"))
    };
    match found.await {
        Ok(entry) => {
            let value = value_json::raw(&entry.value);
            log(session, "GET", &name, Some(&value));
            text(StatusCode::OK, line("GET", &name, Some(&value)))
        }
        Err(problem) => refused("GET", Some(&name), &problem),
    }
}

/// `GET /delete/key2`
pub(super) async fn delete(session: &Session, parts: &Parts, path: &str) -> Response<Body> {
    let (space, name) =
        match database(parts).and_then(|db| Ok((session.space_for_read(db.as_deref())?, name(path)?))) {
            Ok(read) => read,
            Err(problem) => return refused("DELETE", None, &problem),
        };
    let deleted = async {
        let key = tuple::name(&name)?;
        entries::delete_existing(session, space, &key, &entries::Conditions::default(), None).await
    };
    match deleted.await {
        Ok(_) => {
            log(session, "DELETE", &name, None);
            text(StatusCode::OK, line("DELETE", &name, None))
        }
        Err(problem) => refused("DELETE", Some(&name), &problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_exactly_these() {
        assert_eq!(line("PUT", b"key2", Some(b"baz")), b"[INFO] (PUT) KEY: key2 VALUE: baz\n");
        assert_eq!(line("DELETE", b"key2", None), b"[INFO] (DELETE) KEY: key2\n");
    }

    #[test]
    fn log_lines_hold_no_control_characters() {
        assert_eq!(printable("a\n\u{1b}[31m\u{2028}é\"".as_bytes()), "a\\n\\u{1b}[31m\\u{2028}é\"");
    }
}
