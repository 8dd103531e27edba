//! `docs/redis-commands.md`: every command of Redis 7.0, and what became of it here. The test fails when the page is stale;
//! with `UPDATE_DOCS=1` it writes it.

use super::command::{self, Handler};
use std::collections::BTreeSet;
use std::fmt::Write;

/// The commands of Redis 7.0, by the groups of its documentation.
const REDIS_7_0: &[(&str, &str)] = &[
    ("Connection", "auth client echo hello ping quit reset select"),
    (
        "Keys",
        "copy del dump exists expire expireat expiretime keys migrate move object persist pexpire pexpireat pexpiretime pttl \
         randomkey rename renamenx restore scan sort sort_ro touch ttl type unlink wait",
    ),
    (
        "Strings",
        "append decr decrby get getdel getex getrange getset incr incrby incrbyfloat lcs mget mset msetnx psetex set setex \
         setnx setrange strlen substr",
    ),
    ("Bitmaps", "bitcount bitfield bitfield_ro bitop bitpos getbit setbit"),
    (
        "Lists",
        "blmove blmpop blpop brpop brpoplpush lindex linsert llen lmove lmpop lpop lpos lpush lpushx lrange lrem lset ltrim \
         rpop rpoplpush rpush rpushx",
    ),
    (
        "Hashes",
        "hdel hexists hget hgetall hincrby hincrbyfloat hkeys hlen hmget hmset hrandfield hscan hset hsetnx hstrlen hvals",
    ),
    (
        "Sets",
        "sadd scard sdiff sdiffstore sinter sintercard sinterstore sismember smembers smismember smove spop srandmember srem \
         sscan sunion sunionstore",
    ),
    (
        "Sorted sets",
        "bzmpop bzpopmax bzpopmin zadd zcard zcount zdiff zdiffstore zincrby zinter zintercard zinterstore zlexcount zmpop \
         zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem zremrangebylex \
         zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore zunion zunionstore",
    ),
    ("Transactions", "discard exec multi unwatch watch"),
    (
        "Publish and subscribe",
        "psubscribe publish pubsub punsubscribe spublish ssubscribe subscribe sunsubscribe unsubscribe",
    ),
    (
        "Server",
        "acl bgrewriteaof bgsave command config dbsize debug failover flushall flushdb info lastsave latency lolwut memory \
         module monitor psync replconf replicaof restore-asking role save shutdown slaveof slowlog swapdb sync time",
    ),
    (
        "Streams",
        "xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim",
    ),
    (
        "Geo",
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch \
         geosearchstore",
    ),
    ("HyperLogLog", "pfadd pfcount pfdebug pfmerge pfselftest"),
    ("Scripts", "eval eval_ro evalsha evalsha_ro fcall fcall_ro function script"),
    ("Cluster", "asking cluster readonly readwrite"),
];

/// What is not there, whether it will be, and why.
const NOT_HERE: &[(&str, &str, &str)] = &[
    ("dump restore", "later", "a stable binary form of values is promised with streams"),
    ("sort sort_ro", "later", "the second part of the Redis protocol"),
    (
        "acl",
        "later",
        "users and roles come for all protocols at once; until then one access token, by `AUTH`",
    ),
    (
        "xack xadd xautoclaim xclaim xdel xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim",
        "later",
        "the second part of the Redis protocol; queues over HTTP exist",
    ),
    (
        "geoadd geodist geohash geopos georadius georadius_ro georadiusbymember georadiusbymember_ro geosearch geosearchstore",
        "later",
        "the second part of the Redis protocol",
    ),
    ("pfadd pfcount pfmerge", "later", "the second part of the Redis protocol"),
    (
        "eval eval_ro evalsha evalsha_ro script",
        "later",
        "Lua comes with the second part; `MULTI` with `WATCH`, or a commit over HTTP with checks, does most of it",
    ),
    ("fcall fcall_ro function", "later", "after Lua"),
    ("pfdebug pfselftest debug", "never", "for developers of Redis itself"),
    ("module", "never", "modules are Redis's own binary interface"),
    (
        "psync replconf replicaof slaveof sync failover restore-asking",
        "never",
        "Redis's own replication; a cluster here is a replicated log",
    ),
    ("asking cluster readonly readwrite", "never", "Redis Cluster's own protocol between nodes and clients"),
    ("migrate", "never", "moves keys between nodes of Redis; `orchard export` and `import` do it here"),
];

/// Remarks on commands that are there.
const REMARKS: &[(&str, &str)] = &[
    ("auth", "takes the access token as password, user `default`; with none set, any"),
    ("bgrewriteaof", "writes a checkpoint"),
    ("bgsave", "writes a checkpoint; what was acknowledged is durable without it"),
    (
        "client",
        "`TRACKING` tells of changes by every protocol and of expiry; an invalidation may come for nothing, none is missed",
    ),
    ("command", "hints and key specifications are left out"),
    (
        "config",
        "`SET` changes `client-output-buffer-limit`, `notify-keyspace-events`, `slowlog-log-slower-than`, \
         `slowlog-max-len` and `tracking-table-max-keys`; parameters that tune what does not exist here show Redis's default",
    ),
    (
        "info",
        "the times of `commandstats` are those of whole pipelines, divided among neighbours of one name",
    ),
    ("latency", "nothing is recorded; `SLOWLOG` and `/metrics` tell more"),
    ("memory", "`USAGE` is an estimate"),
    ("object", "`ENCODING` is what Redis would plausibly answer"),
    ("role", "always master"),
    ("save", "writes a checkpoint; what was acknowledged is durable without it"),
    ("shutdown", "refused: the operator stops the server with SIGTERM"),
    ("spublish", "one machine is one shard"),
    ("wait", "there are no replicas: 0 at once"),
];

fn page() -> String {
    let present: BTreeSet<&str> = command::all().map(|(_, command)| command.name).collect();
    let mut page = String::from(
        "# Redis commands\n\n\
         Generated from the command table; `UPDATE_DOCS=1 cargo test -p orchard-server redis_commands` writes it again. Every\n\
         command of Redis 7.0 stands here. What is not there answers Redis's own error, `ERR unknown command`. Replies, errors\n\
         and arities are held against a real Redis 7.0 by `e2e/redis`; what may differ stands in\n\
         `e2e/redis/differential/differences.py`.\n",
    );
    let mut named = BTreeSet::new();
    let mut later = 0;
    for (group, names) in REDIS_7_0 {
        let _ = write!(page, "\n## {group}\n\n| command | state | remark |\n|---|---|---|\n");
        for name in names.split_whitespace() {
            assert!(named.insert(name), "{name} stands twice");
            let absent =
                NOT_HERE.iter().find(|(names, ..)| names.split_whitespace().any(|other| other == name));
            let (state, remark) = match (present.contains(name), absent) {
                (true, None) => {
                    ("yes", REMARKS.iter().find(|(other, _)| *other == name).map_or("", |(_, remark)| remark))
                }
                (false, Some((_, state, reason))) => (*state, *reason),
                (true, Some(_)) => panic!("{name} is in the table and said to be missing"),
                // A command that is to come: the page says so rather than being wrong.
                (false, None) => ("later", "not yet"),
            };
            later += usize::from(state != "yes");
            let _ = writeln!(page, "| `{}` | {state} | {remark} |", name.to_uppercase());
            let handler = command::find(name.as_bytes()).map(|command| command.handler);
            if let Some(Handler::Container(subcommands)) = handler {
                for subcommand in subcommands {
                    let words = subcommand.name.replace('|', " ").to_uppercase();
                    let _ = writeln!(page, "| `{words}` | yes | |");
                }
            }
        }
    }
    let extra: Vec<_> = present.iter().filter(|name| !named.contains(*name)).collect();
    if !extra.is_empty() {
        page.push_str("\n## From later versions of Redis\n\n| command | state | remark |\n|---|---|---|\n");
        for name in extra {
            let _ = writeln!(page, "| `{}` | yes | |", name.to_uppercase());
        }
    }
    let total = named.len();
    let _ = write!(page, "\n{} of Redis 7.0's {total} commands are here.\n", total - later);
    page
}

#[test]
fn redis_commands_are_documented() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-commands.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        write_page(path, &page);
    }
    let written = include_str!("../../../../docs/redis-commands.md");
    assert!(
        written == page || std::env::var_os("UPDATE_DOCS").is_some(),
        "docs/redis-commands.md is stale: UPDATE_DOCS=1 cargo test -p orchard-server redis_commands"
    );
}

#[expect(clippy::disallowed_methods, reason = "a test that writes a page of the documentation")]
fn write_page(path: &str, page: &str) {
    std::fs::write(path, page).expect("the page is written");
}
