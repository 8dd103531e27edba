//! Strings over the Redis protocol, reply by reply as Redis 7.0 gives them.

use crate::common::TestServer;
use orcharddb::{Value, ValueType};

const NOT_INTEGER: &str = "-ERR value is not an integer or out of range";

#[test]
fn set_and_its_options() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("SET k v", "+OK"),
        ("SET k w NX", "nil"),
        ("SET k w XX GET", "\"v\""),
        ("SET absent w XX", "nil"),
        ("SET absent w XX GET", "nil"),
        ("EXISTS absent", ":0"),
        ("SET new w NX GET", "nil"),
        ("GET new", "\"w\""),
        ("SET k x EX 100", "+OK"),
        ("TTL k", ":100"),
        ("SET k y KEEPTTL", "+OK"),
        ("TTL k", ":100"),
        ("SET k y", "+OK"),
        ("TTL k", ":-1"),
        ("SET k y PX 100000 PX 200000", "+OK"),
        ("TTL k", ":200"),
        ("SET k y PXAT 99999999999999", "+OK"),
        ("EXPIRETIME k", ":100000000000"),
        ("SET k y EXAT 1", "+OK"),
        ("GET k", "nil"),
        ("SET k y EX 0", "-ERR invalid expire time in 'set' command"),
        ("SET k y EX x", NOT_INTEGER),
        ("SET k y EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
        ("SET k y EX", "-ERR syntax error"),
        ("SET k y EX 1 PX 1", "-ERR syntax error"),
        ("SET k y EX 1 KEEPTTL", "-ERR syntax error"),
        ("SET k y NX XX", "-ERR syntax error"),
        ("SET k y what", "-ERR syntax error"),
    ]);
}

#[test]
fn other_ways_to_set_and_get() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("SETNX k v", ":1"),
        ("SETNX k w", ":0"),
        ("GETSET k w", "\"v\""),
        ("GETDEL k", "\"w\""),
        ("GETDEL k", "nil"),
        ("SETEX k 10 v", "+OK"),
        ("PSETEX k 20000 v", "+OK"),
        ("TTL k", ":20"),
        ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
        ("PSETEX k -1 v", "-ERR invalid expire time in 'psetex' command"),
        ("GETEX k EX 30", "\"v\""),
        ("TTL k", ":30"),
        ("GETEX k PERSIST", "\"v\""),
        ("TTL k", ":-1"),
        ("GETEX k PERSIST EX 1", "-ERR syntax error"),
        ("GETEX k EX 0", "-ERR invalid expire time in 'getex' command"),
        ("GETEX absent EX 0", "nil"),
        ("GETEX k PXAT 1", "\"v\""),
        ("EXISTS k", ":0"),
        ("MSET a 1 b 2 a 3", "+OK"),
        ("MGET a b c", "[\"3\", \"2\", nil]"),
        ("MSET a", "-ERR wrong number of arguments for 'mset' command"),
        ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
        ("MSETNX c 1 b 2", ":0"),
        ("EXISTS c", ":0"),
        ("MSETNX c 1 d 2", ":1"),
    ]);
}

#[test]
fn pieces_of_strings() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("APPEND k Hello", ":5"),
        ("EXPIRE k 100", ":1"),
        ("APPEND k World", ":10"),
        ("TTL k", ":100"),
        ("STRLEN k", ":10"),
        ("STRLEN absent", ":0"),
        ("GETRANGE k 0 4", "\"Hello\""),
        ("GETRANGE k -5 -1", "\"World\""),
        ("GETRANGE k -1 -5", "\"\""),
        ("GETRANGE k 0 -100", "\"H\""),
        ("GETRANGE k 5 1000", "\"World\""),
        ("GETRANGE k -100 0", "\"H\""),
        ("SUBSTR k 9223372036854775807 0", "\"\""),
        ("GETRANGE k a 0", NOT_INTEGER),
        ("SETRANGE k 5 Redis", ":10"),
        ("GET k", "\"HelloRedis\""),
        ("SETRANGE k 12 !", ":13"),
        ("GET k", "\"HelloRedis\\x00\\x00!\""),
        ("SETRANGE k -1 x", "-ERR offset is out of range"),
        ("SETRANGE k 999999999 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("TTL k", ":100"),
    ]);
    assert_eq!(client.send(&["SETRANGE", "absent", "5", ""]), ":0");
    assert_eq!(client.run("EXISTS absent"), ":0");
    assert_eq!(client.send(&["APPEND", "absent", ""]), ":0");
    assert_eq!(client.run("EXISTS absent"), ":1");
}

#[test]
fn counting() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("INCR n", ":1"),
        ("INCRBY n 10", ":11"),
        ("DECR n", ":10"),
        ("DECRBY n 20", ":-10"),
        ("GET n", "\"-10\""),
        ("SET n 9223372036854775807", "+OK"),
        ("INCR n", "-ERR increment or decrement would overflow"),
        ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
        ("INCRBY n x", NOT_INTEGER),
        ("SET n 007", "+OK"),
        ("INCR n", NOT_INTEGER),
        ("SET n 10.50", "+OK"),
        ("INCR n", NOT_INTEGER),
        ("INCRBYFLOAT n 0.1", "\"10.6\""),
        ("INCRBYFLOAT n -10.6", "\"0\""),
        ("SET n 5.0e3", "+OK"),
        ("INCRBYFLOAT n 2.0e2", "\"5200\""),
        ("INCRBYFLOAT n x", "-ERR value is not a valid float"),
        ("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity"),
        ("SET n inf", "+OK"),
        ("INCRBYFLOAT n x", "-ERR value is not a valid float"),
        ("INCRBYFLOAT n 1", "-ERR increment would produce NaN or Infinity"),
        ("SETEX n 100 5", "+OK"),
        ("INCR n", ":6"),
        ("TTL n", ":100"),
    ]);
}

#[test]
fn the_longest_common_subsequence() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("MSET a ohmytext b mynewtext", "+OK"),
        ("LCS a b", "\"mytext\""),
        ("LCS a b LEN", ":6"),
        ("LCS a b IDX", "[\"matches\", [[[:4, :7], [:5, :8]], [[:2, :3], [:0, :1]]], \"len\", :6]"),
        ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", "[\"matches\", [[[:4, :7], [:5, :8], :4]], \"len\", :6]"),
        ("LCS a absent", "\"\""),
        ("LCS a b LEN IDX", "-ERR If you want both the length and indexes, please just use IDX."),
        ("LCS a b WHAT", "-ERR syntax error"),
        ("HELLO 3 WHAT", "-ERR Syntax error in HELLO option 'WHAT'"),
    ]);
    client.run("HELLO 3");
    assert_eq!(client.run("LCS a b IDX MINMATCHLEN 9"), "{\"matches\": [], \"len\": :6}");
}

#[test]
fn every_type_of_value_reads_as_a_string() {
    let server = TestServer::memory();
    let mut client = server.redis();
    for (value, text) in [
        (Value::from("plain"), "plain"),
        (Value::from(42_i64), "42"),
        (Value::from(1.5_f64), "1.5"),
        (Value::from(1e300_f64), "1e300"),
        (Value::u64(7), "7"),
        (Value::from(true), "true"),
        (Value::null(), "null"),
        (Value::json(r#"{"a":1}"#), r#"{\"a\":1}"#),
        (Value::new(ValueType::V8, &b"\xff\x0fo\"\x01aI\x02{\x01"[..]), r#"{\"a\":1}"#),
    ] {
        server.db.put("k", value).expect("it commits");
        assert_eq!(client.run("GET k"), format!("\"{text}\""));
        assert_eq!(client.run("TYPE k"), "+string");
    }
    // Counters keep their types, so that every protocol can go on counting.
    server.db.put("u", Value::u64(7)).expect("it commits");
    client.check(&[("INCR u", ":8"), ("DECRBY u 9", ":-1")]);
    server.db.put("f", 1.5).expect("it commits");
    client.check(&[("INCRBYFLOAT f 1", "\"2.5\""), ("INCR n", ":1"), ("SET t text", "+OK")]);
    client.send(&[&b"SET"[..], b"raw", b"\xff"]);
    let value_type = |key: &str| server.db.get(key).expect("a read").expect("an entry").value.value_type;
    assert_eq!(value_type("f"), ValueType::Float);
    assert_eq!(value_type("n"), ValueType::Int);
    assert_eq!(value_type("t"), ValueType::Text);
    assert_eq!(value_type("raw"), ValueType::Bytes);
}

#[test]
fn limits_are_told() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let half = "v".repeat(9 * 1024 * 1024);
    assert_eq!(client.send(&["SET", "k", &half]), "+OK");
    assert_eq!(
        client.send(&["APPEND", "k", &half]),
        "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    );
    assert_eq!(client.run("STRLEN k"), format!(":{}", half.len()));
    assert_eq!(
        client.run(&format!("SET {} v", "k".repeat(3_000))),
        "-ERR key_size_bytes is 3002, over the limit of 2048"
    );
    let many: Vec<_> =
        std::iter::once("MSET".to_owned()).chain((0..20_002).map(|word| word.to_string())).collect();
    assert_eq!(client.send(&many), "-ERR commit_operations is 10001, over the limit of 10000");
}
