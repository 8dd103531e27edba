//! `CLIENT TRACKING` and what belongs to it: caches that clients keep.

use crate::redis::command::shown;
use crate::redis::context::SessionContext;
use crate::redis::error::RedisError;
use crate::redis::session::{TrackingSession, Tracks};
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use std::collections::BTreeSet;

/// Prefixes that one client names at most.
const PREFIXES_MAX: usize = 1_000;

/// What stands behind `ON` and `OFF`.
#[derive(Default)]
struct Options {
    how: Tracks,
    prefixes: Vec<Bytes>,
}

fn parse(cx: &SessionContext<'_>, args: Args<'_>) -> Result<Options, RedisError> {
    let mut options = Options::default();
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        match option.to_ascii_lowercase().as_slice() {
            b"bcast" => options.how.is_broadcast = true,
            b"optin" => options.how.is_opt_in = true,
            b"optout" => options.how.is_opt_out = true,
            b"noloop" => options.how.no_loop = true,
            b"redirect" if at < args.len() => {
                if options.how.redirect != 0 {
                    return Err(RedisError::err("A client can only redirect to a single other client"));
                }
                let id = parse_integer(args.at(at)).ok_or(RedisError::NOT_INTEGER)?;
                let found = u64::try_from(id).ok().and_then(|id| cx.server.redis.clients.get(id));
                options.how.redirect = found
                    .map(|client| client.id)
                    .ok_or_else(|| RedisError::err("The client ID you want redirect to does not exist"))?;
                at += 1;
            }
            b"prefix" if at < args.len() => {
                options.prefixes.push(Bytes::copy_from_slice(args.at(at)));
                at += 1;
            }
            _ => return Err(RedisError::SYNTAX),
        }
    }
    Ok(options)
}

pub(super) fn tracking(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let Options { how, prefixes } = parse(cx, args)?;
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"on" => {}
        b"off" => {
            end(cx);
            return Ok(Reply::Ok);
        }
        _ => return Err(RedisError::SYNTAX),
    }
    if !how.is_broadcast && !prefixes.is_empty() {
        return Err(RedisError::err("PREFIX option requires BCAST mode to be enabled"));
    }
    let before = cx.session.tracking.as_ref();
    if before.is_some_and(|before| before.how.is_broadcast != how.is_broadcast) {
        return Err(RedisError::err(
            "You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    if how.is_broadcast && (how.is_opt_in || how.is_opt_out) {
        return Err(RedisError::err("OPTIN and OPTOUT are not compatible with BCAST"));
    }
    if how.is_opt_in && how.is_opt_out {
        return Err(RedisError::err("You can't specify both OPTIN mode and OPTOUT mode"));
    }
    if before.is_some_and(|before| {
        (how.is_opt_in && before.how.is_opt_out) || (how.is_opt_out && before.how.is_opt_in)
    }) {
        return Err(RedisError::err(
            "You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ));
    }
    let mut all = before.map(|before| before.prefixes.clone()).unwrap_or_default();
    if how.is_broadcast {
        check_prefixes(&all, &prefixes)?;
        match prefixes.is_empty() {
            true => drop(all.insert(Bytes::new())),
            false => all.extend(prefixes),
        }
        if all.len() > PREFIXES_MAX {
            return Err(RedisError::err(format_args!("more than {PREFIXES_MAX} prefixes")));
        }
    }
    let redis = &cx.server.redis;
    redis.tracking.enable(&cx.server.db, &cx.session.client, how.is_broadcast.then_some(&all));
    let is_exception = before.is_some_and(|before| before.how.is_exception);
    cx.session.tracking = Some(Box::new(TrackingSession::new(Tracks { is_exception, ..how }, all)));
    Ok(Reply::Ok)
}

/// Prefixes of one client do not overlap.
fn check_prefixes(known: &BTreeSet<Bytes>, new: &[Bytes]) -> Result<(), RedisError> {
    let overlap = |one: &Bytes, other: &Bytes| one.starts_with(other) || other.starts_with(one);
    let refuse = |prefix: &Bytes, kind: &str, other: &Bytes| {
        RedisError::err(format_args!(
            "Prefix '{}' overlaps with {kind} prefix '{}'. Prefixes for a single client must not overlap.",
            shown(prefix, 4_096),
            shown(other, 4_096)
        ))
    };
    let mut behind = new;
    while let Some((prefix, rest)) = behind.split_first() {
        if let Some(other) = known.iter().find(|other| overlap(prefix, other)) {
            return Err(refuse(prefix, "an existing", other));
        }
        if let Some(other) = rest.iter().find(|other| overlap(prefix, other)) {
            return Err(refuse(prefix, "another provided", other));
        }
        behind = rest;
    }
    Ok(())
}

/// The client tracks no more.
pub(super) fn end(cx: &mut SessionContext<'_>) {
    if cx.session.tracking.take().is_some() {
        cx.server.redis.tracking.disable(cx.session.client.id);
    }
}

pub(super) fn caching(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let Some(tracking) = &mut cx.session.tracking else {
        return Err(RedisError::err(
            "CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    let how = &mut tracking.how;
    match args.at(2).to_ascii_lowercase().as_slice() {
        b"yes" if how.is_opt_in => how.is_exception = true,
        b"no" if how.is_opt_out => how.is_exception = true,
        b"yes" => {
            let text = "CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.";
            return Err(RedisError::err(text));
        }
        b"no" => {
            let text = "CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.";
            return Err(RedisError::err(text));
        }
        _ => return Err(RedisError::SYNTAX),
    }
    Ok(Reply::Ok)
}

/// Where invalidations go: 0 to itself, -1 if it does not track.
fn redirect(tracking: Option<&Tracks>) -> i64 {
    tracking.map_or(-1, |how| i64::try_from(how.redirect).unwrap_or(i64::MAX))
}

pub(super) fn getredir(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(redirect(cx.session.tracking.as_ref().map(|tracking| &tracking.how))))
}

pub(super) fn trackinginfo(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let tracking = cx.session.tracking.as_ref();
    let how = tracking.map(|tracking| tracking.how);
    let is = |what: fn(&Tracks) -> bool| how.as_ref().is_some_and(what);
    let flags = [
        (how.is_none(), "off"),
        (how.is_some(), "on"),
        (is(|how| how.is_broadcast), "bcast"),
        (is(|how| how.is_opt_in), "optin"),
        (is(|how| how.is_opt_in && how.is_exception), "caching-yes"),
        (is(|how| how.is_opt_out), "optout"),
        (is(|how| how.is_opt_out && how.is_exception), "caching-no"),
        (is(|how| how.no_loop), "noloop"),
        (is(|how| how.is_broken), "broken_redirect"),
    ];
    let flags = flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| Reply::Static(flag));
    let prefixes =
        tracking.into_iter().flat_map(|tracking| tracking.prefixes.iter().cloned().map(Reply::Bulk));
    Ok(Reply::Map(vec![
        (Reply::Static("flags"), Reply::Set(flags.collect())),
        (Reply::Static("redirect"), Reply::Integer(redirect(how.as_ref()))),
        (Reply::Static("prefixes"), Reply::Array(prefixes.collect())),
    ]))
}

/// The letters and the redirection that `CLIENT LIST` shows.
pub(super) fn in_list(how: Option<&Tracks>) -> (String, i64) {
    let letters = [
        (how.is_some(), 't'),
        (how.is_some_and(|how| how.is_broken), 'R'),
        (how.is_some_and(|how| how.is_broadcast), 'B'),
    ];
    (letters.into_iter().filter(|(is, _)| *is).map(|(_, letter)| letter).collect(), redirect(how))
}
