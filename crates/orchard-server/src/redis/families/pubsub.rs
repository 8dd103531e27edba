//! Publish and subscribe.

use crate::redis::command::{
    Command, FAST, Family, Flags, LOADING, NOSCRIPT, PUBSUB, STALE, container, session, shown,
};
use crate::redis::context::SessionContext;
use crate::redis::error::RedisError;
use crate::redis::pubsub::{Kind, SUBSCRIPTIONS_MAX};
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::Versionstamp;

const LISTENING: Flags = PUBSUB.and(NOSCRIPT).and(LOADING).and(STALE);
const SPEAKING: Flags = PUBSUB.and(LOADING).and(STALE);

pub(super) static FAMILY: Family = Family {
    group: "pubsub",
    commands: &[
        session("psubscribe", -2, LISTENING, psubscribe),
        session("publish", 3, SPEAKING.and(FAST), publish),
        container("pubsub", PUBSUB_COMMANDS),
        session("punsubscribe", -1, LISTENING, punsubscribe),
        session("spublish", 3, SPEAKING.and(FAST), spublish),
        session("ssubscribe", -2, LISTENING, ssubscribe),
        session("subscribe", -2, LISTENING, subscribe),
        session("sunsubscribe", -1, LISTENING, sunsubscribe),
        session("unsubscribe", -1, LISTENING, unsubscribe),
    ],
};

static PUBSUB_COMMANDS: &[Command] = &[
    session("pubsub|channels", -2, SPEAKING, channels),
    session("pubsub|help", 2, LOADING.and(STALE), help),
    session("pubsub|numpat", 2, SPEAKING, numpat),
    session("pubsub|numsub", -2, SPEAKING, numsub),
    session("pubsub|shardchannels", -2, SPEAKING, shardchannels),
    session("pubsub|shardnumsub", -2, SPEAKING, shardnumsub),
];

fn subscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    listen(cx, args, Kind::Channel)
}

fn psubscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    listen(cx, args, Kind::Pattern)
}

fn ssubscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    listen(cx, args, Kind::Shard)
}

/// One confirmation for each name.
fn listen(cx: &mut SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Reply, RedisError> {
    let own = &mut cx.session.subscriptions;
    if own.len() + args.len() > SUBSCRIPTIONS_MAX {
        let text = format_args!("a connection listens to at most {SUBSCRIPTIONS_MAX} channels and patterns");
        return Err(RedisError::err(text));
    }
    let [word, ..] = kind.words();
    let mut replies = Vec::with_capacity(args.len() - 1);
    for name in args.iter().skip(1) {
        let name = Bytes::copy_from_slice(name);
        cx.server.redis.pubsub.subscribe(&cx.session.client, own, kind, name.clone());
        replies.push(confirmation(word, Reply::Bulk(name), own.count(kind)));
    }
    Ok(Reply::Several(replies))
}

fn confirmation(word: &'static str, name: Reply, count: usize) -> Reply {
    Reply::Push(vec![Reply::Static(word), name, Reply::count(count)])
}

fn unsubscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    leave(cx, args, Kind::Channel)
}

fn punsubscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    leave(cx, args, Kind::Pattern)
}

fn sunsubscribe(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    leave(cx, args, Kind::Shard)
}

/// One confirmation for each name; without names, for each that was listened to, or one that tells of none.
fn leave(cx: &mut SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Reply, RedisError> {
    let own = &mut cx.session.subscriptions;
    let [_, word, _] = kind.words();
    let names: Vec<Bytes> = match args.len() {
        1 => own.of(kind).iter().cloned().collect(),
        _ => args.iter().skip(1).map(Bytes::copy_from_slice).collect(),
    };
    if names.is_empty() {
        return Ok(confirmation(word, Reply::Null, own.count(kind)));
    }
    let mut replies = Vec::with_capacity(names.len());
    for name in names {
        cx.server.redis.pubsub.unsubscribe(&cx.session.client, own, kind, &name);
        replies.push(confirmation(word, Reply::Bulk(name), own.count(kind)));
    }
    Ok(Reply::Several(replies))
}

fn publish(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    send(cx, args, Kind::Channel)
}

fn spublish(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    send(cx, args, Kind::Shard)
}

fn send(cx: &mut SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Reply, RedisError> {
    let channel = Bytes::copy_from_slice(args.at(1));
    let payload = Bytes::copy_from_slice(args.at(2));
    let pubsub = &cx.server.redis.pubsub;
    if let Some(effects) = &mut cx.session.effects {
        // Inside of EXEC: when it is known that the transaction happens.
        let count = pubsub.receivers(kind, &channel);
        effects.publish(kind, channel, payload);
        return Ok(Reply::count(count));
    }
    let own = Some(cx.session.client.id);
    let (count, messages) = pubsub.publish(kind, &channel, &payload, own, Versionstamp::ZERO);
    if messages.is_empty() {
        return Ok(Reply::count(count));
    }
    // Who listens to its own channel gets the message first.
    let replies = messages.into_iter().chain([Reply::count(count)]);
    Ok(Reply::Several(replies.collect()))
}

fn channels(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    list(cx, args, Kind::Channel)
}

fn shardchannels(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    list(cx, args, Kind::Shard)
}

fn list(cx: &SessionContext<'_>, args: Args<'_>, kind: Kind) -> Result<Reply, RedisError> {
    if args.len() > 3 {
        return Err(bad_subcommand(args));
    }
    let names = cx.server.redis.pubsub.channels(kind, args.get(2));
    Ok(Reply::Array(names.into_iter().map(Reply::Bulk).collect()))
}

/// What Redis says where a subcommand's own arity check fails late.
fn bad_subcommand(args: Args<'_>) -> RedisError {
    let word = shown(args.at(1), 128);
    RedisError::err(format_args!(
        "unknown subcommand or wrong number of arguments for '{word}'. Try PUBSUB HELP."
    ))
}

fn numsub(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(count(cx, args, Kind::Channel))
}

fn shardnumsub(cx: &mut SessionContext<'_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(count(cx, args, Kind::Shard))
}

fn count(cx: &SessionContext<'_>, args: Args<'_>, kind: Kind) -> Reply {
    let pairs = args
        .iter()
        .skip(2)
        .flat_map(|name| [Reply::bulk(name), Reply::count(cx.server.redis.pubsub.listeners(kind, name))]);
    Reply::Array(pairs.collect())
}

fn numpat(cx: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    let [_, patterns, _] = cx.server.redis.pubsub.counts();
    Ok(Reply::count(patterns))
}

const HELP: &[&str] = &[
    "PUBSUB <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
    "HELP",
    "    Prints this help.",
];

fn help(_: &mut SessionContext<'_>, _: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Array(HELP.iter().map(|line| Reply::Simple((*line).into())).collect()))
}
