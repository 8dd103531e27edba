//! Lists, hashes, sets and sorted sets of the Redis protocol, small and large, and who waits for their elements.

use crate::common::TestServer;
use crate::common::redis::{RedisClient, request};

/// Until `count` clients wait.
fn await_blocked(client: &mut RedisClient, count: usize) {
    let wanted = format!("blocked_clients:{count}\\r\\n");
    while !client.run("INFO clients").contains(&wanted) {
        std::thread::yield_now();
    }
}

fn server() -> TestServer {
    TestServer::memory()
}

#[test]
fn every_type_answers_as_redis_does() {
    let server = server();
    let mut client = server.redis();
    client.check(&[
        ("RPUSH l a b c", ":3"),
        ("LPUSH l z", ":4"),
        ("LRANGE l 0 -1", r#"["z", "a", "b", "c"]"#),
        ("LINSERT l AFTER a a2", ":5"),
        ("LPOS l c", ":4"),
        ("LMOVE l m LEFT RIGHT", r#""z""#),
        ("BLPOP absent 1e-400", "nil-array"),
        ("BLPOP absent -inf", "-ERR timeout is negative"),
        ("BLPOP absent inf", "-ERR timeout is out of range"),
        ("BLPOP absent nan", "-ERR timeout is not a float or out of range"),
        ("INCRBYFLOAT tiny 1e-5000", "-ERR value is not a valid float"),
        ("INCRBYFLOAT tiny 0e-5000", r#""0""#),
        ("DEL tiny", ":1"),
        ("RPUSH one x", ":1"),
        ("EXPIREAT one 9999999999", ":1"),
        ("LMOVE one one LEFT RIGHT", r#""x""#),
        ("RPOPLPUSH one one", r#""x""#),
        ("EXPIRETIME one", ":9999999999"),
        ("RPUSH one y z", ":3"),
        ("LMOVE one one LEFT LEFT", r#""x""#),
        ("LMOVE one one RIGHT LEFT", r#""z""#),
        ("LRANGE one 0 -1", r#"["z", "x", "y"]"#),
        ("DEL one", ":1"),
        ("LPOP l 2", r#"["a", "a2"]"#),
        ("LPOP absent 2", "nil-array"),
        ("LMPOP 2 absent l RIGHT COUNT 5", r#"["l", ["c", "b"]]"#),
        ("LLEN l", ":0"),
        ("HSET h a 1 b 2", ":2"),
        ("HINCRBY h a 41", ":42"),
        ("HGETALL h", r#"["a", "42", "b", "2"]"#),
        ("HGET l a", "nil"),
        ("SADD s a b c", ":3"),
        ("SADD t b c d", ":3"),
        ("SINTER s t", r#"["b", "c"]"#),
        ("SINTERCARD 2 s t LIMIT 1", ":1"),
        ("SDIFFSTORE u s t", ":1"),
        ("ZADD z 1 a 2 b 3 c", ":3"),
        ("ZADD z GT CH 0 a 5 b", ":1"),
        ("ZRANGE z 0 -1 WITHSCORES", r#"["a", "1", "c", "3", "b", "5"]"#),
        ("ZRANGE z (1 +inf BYSCORE REV LIMIT 0 1", r#"[]"#),
        ("ZRANGE z +inf (1 BYSCORE REV LIMIT 0 1", r#"["b"]"#),
        ("ZUNIONSTORE v 2 z s WEIGHTS 2 1 AGGREGATE MAX", ":3"),
        ("ZSCORE v b", r#""10""#),
        ("ZPOPMIN v", r#"["a", "2"]"#),
        ("GET z", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LPUSH z a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
}

/// Past 128 elements and 4 KiB, with scans that return each element once.
#[test]
fn large_collections_are_scanned_once_over() {
    let server = server();
    let mut client = server.redis();
    let words = |head: &[&str], each: &dyn Fn(usize) -> Vec<String>| -> Vec<String> {
        let head = head.iter().map(|word| (*word).to_owned());
        head.chain((0..1_000).flat_map(each)).collect()
    };
    let name = |number: usize| format!("name{number:04}");
    assert_eq!(client.send(&words(&["RPUSH", "l"], &|n| vec![name(n)])), ":1000");
    assert_eq!(client.send(&words(&["SADD", "s"], &|n| vec![name(n)])), ":1000");
    assert_eq!(client.send(&words(&["HSET", "h"], &|n| vec![name(n), n.to_string()])), ":1000");
    assert_eq!(client.send(&words(&["ZADD", "z"], &|n| vec![n.to_string(), name(n)])), ":1000");
    client.check(&[
        ("LINDEX l 500", "\"name0500\""),
        ("LTRIM l 10 -11", "+OK"),
        ("LLEN l", ":980"),
        ("ZRANK z name0700", ":700"),
        ("ZREMRANGEBYSCORE z 100 (200", ":100"),
        ("ZRANGE z 99 100", r#"["name0099", "name0200"]"#),
        ("HDEL h name0001 absent", ":1"),
        ("HLEN h", ":999"),
        ("SREM s name0001", ":1"),
    ]);
    for (command, width, expected) in [("SSCAN s", 1, 999), ("HSCAN h", 2, 999), ("ZSCAN z", 2, 900)] {
        let (mut cursor, mut found, mut pages) = ("0".to_owned(), Vec::new(), 0);
        loop {
            let page = client.run(&format!("{command} {cursor} COUNT 100"));
            let (next, items) = page.split_once(", [").expect("a page");
            cursor = next.trim_start_matches('[').trim_matches('"').to_owned();
            let items = items.trim_end_matches(']').split(", ").filter(|item| !item.is_empty());
            found.extend(items.step_by(width).map(str::to_owned));
            pages += 1;
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(found.len(), expected, "{command}");
        found.sort_unstable();
        found.dedup();
        assert_eq!((found.len(), pages > 5), (expected, true), "{command}");
    }
    let popped = client.run("SPOP s 300");
    assert_eq!(popped.matches("name").count(), 300);
    assert_eq!(client.run("SCARD s"), ":699");
    assert!(client.run("SRANDMEMBER s").starts_with("\"name"));
}

/// Whoever waited first is served first, whatever protocol the element comes by.
/// Redis serves the keys in the order in which an `EXEC` fills them, not in that of the command that waits.
#[test]
fn keys_are_served_in_the_order_of_their_filling() {
    let server = TestServer::memory();
    let (mut client, mut waiter) = (server.redis(), server.redis());
    for keys in [["second", "first"], ["first", "second"]] {
        waiter.write(&request(&["BRPOP", "empty", keys[0], keys[1], "0"]));
        await_blocked(&mut client, 1);
        client.check(&[
            ("MULTI", "+OK"),
            ("LPUSH first 1", "+QUEUED"),
            ("LPUSH second 2", "+QUEUED"),
            ("EXEC", "[:1, :1]"),
        ]);
        assert_eq!(waiter.read(), "[\"first\", \"1\"]");
        client.check(&[("DEL first second", ":1")]);
    }
}

#[test]
fn those_who_wait_are_served_in_their_order() {
    let server = server();
    let mut waiting: Vec<RedisClient> = (0..3).map(|_| server.redis()).collect();
    let mut client = server.redis();
    for (number, waiter) in waiting.iter_mut().enumerate() {
        waiter.write(&request(&["BLPOP", "other", "l", "0"]));
        await_blocked(&mut client, number + 1);
    }
    assert_eq!(client.run("RPUSH l a b"), ":2");
    assert_eq!(waiting[0].read(), r#"["l", "a"]"#);
    assert_eq!(waiting[1].read(), r#"["l", "b"]"#);
    await_blocked(&mut client, 1);
    client.check(&[("MULTI", "+OK"), ("RPUSH other c", "+QUEUED"), ("EXEC", "[:1]")]);
    assert_eq!(waiting[2].read(), r#"["other", "c"]"#);
    // What is sent behind a waiting command runs behind it.
    waiting[0].write(&request(&["BLMOVE", "from", "to", "LEFT", "RIGHT", "0"]));
    waiting[0].write(&request(&["LLEN", "to"]));
    waiting[1].write(&request(&["BZPOPMAX", "z", "0"]));
    await_blocked(&mut client, 2);
    assert_eq!(client.run("RPUSH from x"), ":1");
    assert_eq!((waiting[0].read(), waiting[0].read()), ("\"x\"".into(), ":1".into()));
    assert_eq!(client.run("ZADD z 1 low 2 high"), ":2");
    assert_eq!(waiting[1].read(), r#"["z", "high", "2"]"#);
    // Who waits for a list does not stand in the way of who waits for a sorted set.
    waiting[0].write(&request(&["BLPOP", "both", "0"]));
    await_blocked(&mut client, 1);
    waiting[1].write(&request(&["BZMPOP", "0", "1", "both", "MIN"]));
    await_blocked(&mut client, 2);
    assert_eq!(client.run("ZADD both 1 a"), ":1");
    assert_eq!(waiting[1].read(), r#"["both", [["a", "1"]]]"#);
    assert_eq!(client.run("RPUSH both b"), ":1");
    assert_eq!(waiting[0].read(), r#"["both", "b"]"#);
    // In vain, unblocked, and inside MULTI.
    assert_eq!(client.run("BLPOP nothing 0.01"), "nil-array");
    let id = waiting[0].run("CLIENT ID");
    waiting[0].write(&request(&["BRPOP", "nothing", "0"]));
    await_blocked(&mut client, 1);
    assert_eq!(client.run(&format!("CLIENT UNBLOCK {} ERROR", &id[1..])), ":1");
    assert_eq!(waiting[0].read(), "-UNBLOCKED client unblocked via CLIENT UNBLOCK");
    client.check(&[("MULTI", "+OK"), ("BLPOP nothing 0", "+QUEUED"), ("EXEC", "[nil-array]")]);
    // Who goes away waits no longer.
    waiting[2].write(&request(&["BLPOP", "l", "0"]));
    await_blocked(&mut client, 1);
    drop(waiting.pop());
    await_blocked(&mut client, 0);
    assert_eq!(client.run("RPUSH l kept"), ":1");
    assert_eq!(client.run("LLEN l"), ":1");
}

/// What Redis clients write, curl reads as JSON.
#[test]
fn collections_are_json_over_http() {
    let server = server();
    let mut client = server.redis();
    client.check(&[
        ("HSET h name Ada born 1815", ":2"),
        ("HINCRBY h born 1", ":1816"),
        ("RPUSH l a b", ":2"),
        ("ZADD z 1.5 a", ":1"),
        ("SADD s a", ":1"),
    ]);
    let reply = server.get("/v1/kv/h");
    assert_eq!(reply.text(), r#"{"born":1816,"name":"Ada"}"#);
    assert_eq!(reply.header("orchard-type"), Some("hash"));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(server.get("/v1/kv/l").text(), r#"["a","b"]"#);
    assert_eq!(server.get("/v1/kv/z").text(), r#"[["a",1.5]]"#);
    let entries = server.get("/v1/kv?prefix=[]").json();
    let entries = entries["entries"].as_array().expect("entries").clone();
    let shown: Vec<String> =
        entries.iter().map(|entry| format!("{} {}", entry["type"], entry["value"])).collect();
    let expected = [
        r#""hash" {"born":1816,"name":"Ada"}"#,
        r#""list" ["a","b"]"#,
        r#""set" ["a"]"#,
        r#""zset" [["a",1.5]]"#,
    ];
    assert_eq!(shown, expected);
    // The versionstamp of the key moves with its elements.
    let before = reply.header("etag").expect("a version").to_owned();
    client.run("HSET h name Augusta");
    assert_ne!(server.get("/v1/kv/h").header("etag"), Some(before.as_str()));
    let many: Vec<String> = (0..2_000).map(|number| format!("m{number}")).collect();
    let words: Vec<&str> = ["SADD", "large"].into_iter().chain(many.iter().map(String::as_str)).collect();
    assert_eq!(client.send(&words), ":2000");
    assert_eq!(server.get("/v1/kv/large").json().as_array().map(Vec::len), Some(2_000));
    let listed = server.get("/v1/kv?start=large&limit=1").json();
    assert_eq!(listed["entries"][0]["value"]["$count"], 2_000);
}

#[test]
fn scores_are_scanned_as_redis_stores_them() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("ZADD z 1e17 a -5e18 b 0.5 c 3 d", ":4"),
        ("ZSCORE z a", "\"1e+17\""),
        (
            "ZSCAN z 0",
            "[\"0\", [\"b\", \"-5e+18\", \"c\", \"0.5\", \"d\", \"3\", \"a\", \"100000000000000000\"]]",
        ),
    ]);
    let long = "m".repeat(65);
    client.check(&[(&format!("ZADD big 1e17 {long}"), ":1")]);
    assert!(client.run("ZSCAN big 0").contains("\"1e+17\""));
}
