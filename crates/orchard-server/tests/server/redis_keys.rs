//! Keys, databases and transactions over the Redis protocol.

use crate::common::TestServer;
use crate::common::redis::RedisClient;
use orcharddb::{Db, KeyPart};
use std::collections::BTreeMap;

const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";

#[test]
fn existence_and_names() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("MSET a 1 b 2 c 3", "+OK"),
        ("EXISTS a a x", ":2"),
        ("TOUCH a b x", ":2"),
        ("DEL a a x", ":1"),
        ("UNLINK b", ":1"),
        ("TYPE c", "+string"),
        ("TYPE x", "+none"),
        ("RENAME x y", "-ERR no such key"),
        ("EXPIRE c 100", ":1"),
        ("RENAME c d", "+OK"),
        ("TTL d", ":100"),
        ("EXISTS c", ":0"),
        ("RENAME d d", "+OK"),
        ("RENAMENX d d", ":0"),
        ("SET e 5", "+OK"),
        ("RENAMENX d e", ":0"),
        ("RENAMENX d f", ":1"),
        ("COPY f g", ":1"),
        ("TTL g", ":100"),
        ("COPY f e", ":0"),
        ("COPY f e REPLACE", ":1"),
        ("GET e", "\"3\""),
        ("COPY f f", "-ERR source and destination objects are the same"),
        ("COPY f f DB 1", ":1"),
        ("COPY f f DB 99", "-ERR DB index is out of range"),
        ("COPY x y", ":0"),
        ("OBJECT ENCODING f", "\"int\""),
        ("OBJECT REFCOUNT f", ":2147483647"),
        ("OBJECT IDLETIME f", ":0"),
        ("OBJECT ENCODING x", "nil"),
        ("OBJECT NOPE f", "-ERR unknown subcommand 'NOPE'. Try OBJECT HELP."),
        ("WAIT 0 0", ":0"),
        ("WAIT 0 -1", "-ERR timeout is negative"),
    ]);
}

#[test]
fn lifetimes() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("SET k v", "+OK"),
        ("TTL k", ":-1"),
        ("TTL x", ":-2"),
        ("PTTL x", ":-2"),
        ("EXPIRE x 10", ":0"),
        ("EXPIRE k 100 XX", ":0"),
        ("EXPIRE k 100 GT", ":0"),
        ("EXPIRE k 100 LT", ":1"),
        ("EXPIRE k 50 GT", ":0"),
        ("EXPIRE k 200 GT", ":1"),
        ("EXPIRE k 300 LT", ":0"),
        ("EXPIRE k 300 NX", ":0"),
        ("EXPIRE k 300 XX", ":1"),
        ("TTL k", ":300"),
        ("PERSIST k", ":1"),
        ("PERSIST k", ":0"),
        ("EXPIREAT k 99999999999", ":1"),
        ("EXPIRETIME k", ":99999999999"),
        ("PEXPIREAT k 99999999999999", ":1"),
        ("PEXPIRETIME k", ":99999999999999"),
        ("PEXPIRE k 100000", ":1"),
        ("TTL k", ":100"),
        ("EXPIRE k 1 NX XX", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
        ("EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible"),
        ("EXPIRE k 1 what", "-ERR Unsupported option what"),
        ("EXPIRE k x", NOT_INTEGER),
        ("EXPIRE k 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
        ("PEXPIRE k 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
        ("EXPIRE k -1", ":1"),
        ("EXISTS k", ":0"),
    ]);
}

#[test]
fn keys_of_one_part_are_those_of_redis() {
    let server = TestServer::memory();
    let parts = [KeyPart::String("user".into()), KeyPart::String("1".into())];
    server.db.put(parts, "two parts").expect("it commits");
    let mut client = server.redis();
    client.check(&[
        ("KEYS *", "[]"),
        ("DBSIZE", ":0"),
        ("RANDOMKEY", "nil"),
        ("MSET user 1 user:1 2 user:2 3 apple 4", "+OK"),
        ("KEYS user:*", "[\"user:1\", \"user:2\"]"),
        ("KEYS u?er", "[\"user\"]"),
        ("KEYS [^u]*", "[\"apple\"]"),
        ("KEYS *", "[\"apple\", \"user\", \"user:1\", \"user:2\"]"),
        ("DBSIZE", ":4"),
        ("SCAN x", "-ERR invalid cursor"),
        ("SCAN 0 COUNT 0", "-ERR syntax error"),
        ("SCAN 0 COUNT x", NOT_INTEGER),
        ("SCAN 0 WHAT 1", "-ERR syntax error"),
        ("SCAN 0 COUNT 100 MATCH appl*", "[\"0\", [\"apple\"]]"),
        ("SCAN 0 COUNT 100 TYPE hash", "[\"0\", []]"),
        ("SCAN 0 COUNT 100 MATCH app* TYPE string", "[\"0\", [\"apple\"]]"),
        ("DEL user user:1 user:2", ":3"),
        ("RANDOMKEY", "\"apple\""),
    ]);
    client.send(&[&b"SET"[..], b"a\0b\xff", b"v"]);
    assert_eq!(client.send(&[&b"KEYS"[..], b"a\0*"]), "[\"a\\x00b\\xff\"]");
}

/// Names that a whole `SCAN` returns, and how often each.
fn scan_all(
    client: &mut RedisClient,
    count: usize,
    mut between: impl FnMut(usize),
) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    let mut cursor = "0".to_owned();
    for step in 0.. {
        let reply = client.run(&format!("SCAN {cursor} COUNT {count}"));
        let (next, page) = reply.trim_start_matches("[\"").split_once("\", [").expect("a cursor and names");
        for name in page.trim_end_matches("]]").split(", ").filter(|name| !name.is_empty()) {
            *names.entry(name.trim_matches('"').to_owned()).or_insert(0) += 1;
        }
        cursor = next.to_owned();
        if cursor == "0" {
            break;
        }
        between(step);
    }
    names
}

#[test]
fn a_scan_returns_what_stays_exactly_once() {
    let server = TestServer::memory();
    let (mut client, mut other) = (server.redis(), server.redis());
    for number in 0..1_000 {
        other.run(&format!("SET stays:{number} v"));
        other.run(&format!("SET goes:{number} v"));
    }
    other.run("SELECT 1");
    other.run("SET elsewhere v");
    other.run("SELECT 0");
    let names = scan_all(&mut client, 7, |step| {
        other.run(&format!("DEL goes:{step}"));
        for number in 0..10 {
            other.run(&format!("SET new:{step}:{number} v"));
        }
    });
    for number in 0..1_000 {
        assert_eq!(names.get(&format!("stays:{number}")), Some(&1));
    }
    assert!(!names.contains_key("elsewhere") && names.values().all(|times| *times == 1));
}

#[test]
fn databases_are_apart_and_can_be_swapped() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("SET k zero", "+OK"),
        ("SELECT 1", "+OK"),
        ("DBSIZE", ":0"),
        ("MOVE k 0", ":0"),
        ("SET k one", "+OK"),
        ("SET m one", "+OK"),
        ("MOVE k 0", ":0"),
        ("EXPIRE m 100", ":1"),
        ("MOVE m 0", ":1"),
        ("MOVE k 1", "-ERR source and destination objects are the same"),
        ("MOVE k 16", "-ERR DB index is out of range"),
        ("MOVE k x", NOT_INTEGER),
        ("SELECT 0", "+OK"),
        ("TTL m", ":100"),
        ("SWAPDB 0 1", "+OK"),
        ("GET k", "\"one\""),
        ("SELECT 1", "+OK"),
        ("MGET k m", "[\"zero\", \"one\"]"),
        ("SWAPDB 1 9", "+OK"),
        ("DBSIZE", ":0"),
        ("SWAPDB x 1", "-ERR invalid first DB index"),
        ("SWAPDB 1 x", "-ERR invalid second DB index"),
        ("SWAPDB 1 99", "-ERR DB index is out of range"),
        ("FLUSHDB WHAT", "-ERR syntax error"),
        ("SET k v", "+OK"),
        ("FLUSHDB ASYNC", "+OK"),
        ("DBSIZE", ":0"),
        ("SELECT 9", "+OK"),
        ("DBSIZE", ":2"),
        ("FLUSHALL", "+OK"),
        ("DBSIZE", ":0"),
        ("SELECT 0", "+OK"),
        ("KEYS *", "[]"),
    ]);
}

#[test]
fn a_transaction_is_one_commit() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("EXEC", "-ERR EXEC without MULTI"),
        ("DISCARD", "-ERR DISCARD without MULTI"),
        ("MULTI", "+OK"),
        ("MULTI", "-ERR MULTI calls can not be nested"),
        ("WATCH k", "-ERR WATCH inside MULTI is not allowed"),
        ("SET k v", "+QUEUED"),
        ("GET k", "+QUEUED"),
        ("APPEND k w", "+QUEUED"),
        ("INCR k", "+QUEUED"),
        ("EXPIRE k 100", "+QUEUED"),
        ("TTL k", "+QUEUED"),
        ("SELECT 3", "+QUEUED"),
        ("SET k three", "+QUEUED"),
        ("PING", "+QUEUED"),
        ("EXEC", &format!("[+OK, \"v\", :2, {NOT_INTEGER}, :1, :100, +OK, +OK, +PONG]")),
        ("GET k", "\"three\""),
        ("SELECT 0", "+OK"),
        ("GET k", "\"vw\""),
        ("MULTI", "+OK"),
        ("SET k x", "+QUEUED"),
        ("GET", "-ERR wrong number of arguments for 'get' command"),
        ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
        ("GET k", "\"vw\""),
        ("MULTI", "+OK"),
        ("SET k x", "+QUEUED"),
        ("DISCARD", "+OK"),
        ("MULTI", "+OK"),
        ("EXEC", "[]"),
        ("MULTI", "+OK"),
        ("GET k", "+QUEUED"),
        ("EXEC", "[\"vw\"]"),
    ]);
    let stamp = |key: &str| server.db.get(key).expect("a read").expect("an entry").versionstamp;
    client.check(&[("MULTI", "+OK"), ("SET a 1", "+QUEUED"), ("SET b 2", "+QUEUED"), ("EXEC", "[+OK, +OK]")]);
    assert_eq!(stamp("a"), stamp("b"));
}

#[test]
fn watched_keys_guard_a_transaction() {
    let server = TestServer::memory();
    let (mut client, mut other) = (server.redis(), server.redis());
    let attempt = |client: &mut RedisClient| {
        assert_eq!(client.run("MULTI"), "+OK");
        assert_eq!(client.run("SET out done"), "+QUEUED");
        client.run("EXEC")
    };
    client.run("SET k 1");
    client.run("WATCH k absent");
    assert_eq!(attempt(&mut client), "[+OK]");
    client.run("WATCH k");
    other.run("SET k 1");
    assert_eq!(attempt(&mut client), "nil-array", "the same value is a change, too");
    assert_eq!(attempt(&mut client), "[+OK]", "an EXEC ends the watch");
    client.run("WATCH absent");
    other.run("SET absent 1");
    assert_eq!(attempt(&mut client), "nil-array");
    for clear in ["DEL fleeting", "FLUSHDB", "GETEX fleeting PXAT 1"] {
        client.run("WATCH first fleeting");
        other.run("SET fleeting 1");
        other.run(clear);
        for _ in 0..50 {
            // Deletes are forgotten in small steps with other commits.
            other.check(&[("SET other 1", "+OK"), ("DEL other", ":1")]);
        }
        assert_eq!(attempt(&mut client), "nil-array", "{clear}: it is absent again, but was there");
        client.run("WATCH fleeting");
        assert_eq!(attempt(&mut client), "[+OK]", "{clear}: it was gone before");
    }
    client.run("SET k 1");
    client.run("WATCH k");
    other.run("DEL k");
    client.run("UNWATCH");
    assert_eq!(attempt(&mut client), "[+OK]");
    client.run("WATCH out");
    client.run("SET out own");
    assert_eq!(attempt(&mut client), "nil-array", "own writes count");
    client.run("WATCH out");
    other.run("SWAPDB 0 5");
    assert_eq!(attempt(&mut client), "nil-array", "another database stands there now");
}

#[test]
fn what_expired_is_gone_for_watchers_and_readers() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.run("PSETEX k 1 v");
    client.run("WATCH k");
    // Time passes by itself; the test goes on when it has.
    while client.run("EXISTS k") == ":1" {}
    client.check(&[("GET k", "nil"), ("KEYS *", "[]"), ("DBSIZE", ":0"), ("TTL k", ":-2")]);
}

#[test]
fn everything_survives_in_a_directory() {
    let directory = tempfile::tempdir().expect("a directory");
    let start = || TestServer::start(Db::open(directory.path()).expect("it opens"), crate::common::options());
    let server = start();
    server.redis().check(&[
        ("SET k v", "+OK"),
        ("SELECT 4", "+OK"),
        ("SET k four", "+OK"),
        ("SWAPDB 4 0", "+OK"),
    ]);
    server.db.close().expect("it closes");
    server.join();
    let server = start();
    server.redis().check(&[("GET k", "\"four\""), ("SELECT 4", "+OK"), ("GET k", "\"v\"")]);
}

#[test]
fn a_database_that_is_no_int_is_out_of_range() {
    let server = TestServer::memory();
    let out_of_range = "-ERR value is out of range, value must between -2147483648 and 2147483647";
    server.redis().check(&[
        ("SET s 1", "+OK"),
        ("MOVE s 9223372036854775806", out_of_range),
        ("COPY s t DB 2147483648", out_of_range),
        ("SELECT -2147483649", out_of_range),
        ("MOVE s 16", "-ERR DB index is out of range"),
        ("MOVE s x", "-ERR value is not an integer or out of range"),
    ]);
}

/// `EXEC` runs under the commit lock: nothing that a command asks may take it once more.
#[test]
fn what_looks_at_the_server_answers_within_a_transaction() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("SET k v", "+OK"),
        ("MULTI", "+OK"),
        // A write: without one it would run on a view, under no lock.
        ("SET own v", "+QUEUED"),
        ("OBJECT IDLETIME k", "+QUEUED"),
        ("DBSIZE", "+QUEUED"),
        ("INFO keyspace", "+QUEUED"),
        ("INFO everything", "+QUEUED"),
        ("MEMORY USAGE k", "+QUEUED"),
        ("OBJECT ENCODING k", "+QUEUED"),
        ("RANDOMKEY", "+QUEUED"),
        ("LASTSAVE", "+QUEUED"),
        ("CONFIG GET save", "+QUEUED"),
        ("COMMAND COUNT", "+QUEUED"),
        ("CLIENT LIST", "+QUEUED"),
        ("SLOWLOG LEN", "+QUEUED"),
        ("MEMORY STATS", "+QUEUED"),
        ("MEMORY DOCTOR", "+QUEUED"),
        ("CONFIG GET maxmemory", "+QUEUED"),
        ("CLIENT INFO", "+QUEUED"),
        ("PUBSUB CHANNELS", "+QUEUED"),
        ("LATENCY DOCTOR", "+QUEUED"),
        ("SCAN 0", "+QUEUED"),
        ("KEYS *", "+QUEUED"),
        ("WAIT 0 0", "+QUEUED"),
        ("ROLE", "+QUEUED"),
        ("BGSAVE", "+QUEUED"),
        ("BGREWRITEAOF", "+QUEUED"),
        ("SWAPDB 0 1", "+QUEUED"),
        ("FLUSHALL", "+QUEUED"),
        ("DBSIZE", "+QUEUED"),
    ]);
    let reply = client.run("EXEC");
    assert!(reply.starts_with("[+OK, :0, :2, "), "{reply}");
    assert!(reply.contains("db0:keys=2,expires=0"), "its own write is counted: {reply}");
}
