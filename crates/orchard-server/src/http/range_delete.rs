//! `DELETE /v1/kv?prefix=|start=|end=`: everything in a range, at once.

use crate::http::list::count;
use crate::http::{Body, Session, reply};
use hyper::Response;
use hyper::http::request::Parts;
use orchard_wire::{Kind, Problem, commit_json, range};
use orcharddb::{Commit, Key, Mutation, Operation, ScanOptions};

pub(super) async fn handle(session: &Session, parts: &Parts) -> Result<Response<Body>, Problem> {
    let mut parameters = reply::parameters(parts)?;
    let is_bounded = ["prefix", "start", "end"].into_iter().any(|name| parameters.is_given(name));
    let range = range::take(&mut parameters)?;
    let db = reply::take_db(&mut parameters)?;
    let all = parameters.take_flag("all")?;
    let dry_run = parameters.take_flag("dry_run")?;
    let durability = reply::take_durability(&mut parameters)?;
    parameters.finish()?;
    let space = session.space_for_read(db.as_deref())?;
    if dry_run {
        session.settle().await?;
        return count(session.server().db.snapshot(), space, range, ScanOptions::default()).await;
    }
    match (is_bounded, all) {
        (false, false) => {
            let detail = "this deletes every key: say prefix, start or end, or all=true";
            return Err(Problem::new(Kind::BadQuery, detail));
        }
        (true, true) => {
            let detail = "all=true and prefix, start or end exclude each other";
            return Err(Problem::new(Kind::BadQuery, detail));
        }
        _ => {}
    }
    let operation = Operation::DeleteRange { end: range.end };
    let mutation = Mutation { space, key: Key::new(range.start)?, operation };
    let commit = Commit { mutations: vec![mutation], ..Commit::new() };
    let committed = session.commit(&commit, durability).await?;
    Ok(reply::json(commit_json::render_reply(&committed)))
}
