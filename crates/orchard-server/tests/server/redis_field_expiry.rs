//! The Redis protocol: fields of hashes that expire.

use crate::common::TestServer;

#[test]
fn fields_get_and_lose_their_time() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("HSET h a 1 b 2 c 3", ":3"),
        ("HEXPIRE h 100 FIELDS 2 a none", "[:1, :-2]"),
        ("HTTL h FIELDS 3 a b none", "[:100, :-1, :-2]"),
        ("HEXPIRE h 50 NX FIELDS 2 a b", "[:0, :1]"),
        ("HEXPIRE h 200 GT FIELDS 3 a b c", "[:1, :1, :0]"),
        ("HEXPIRE h 300 LT FIELDS 3 a b c", "[:0, :0, :1]"),
        ("HEXPIRE h 10 XX FIELDS 1 c", "[:1]"),
        ("HPEXPIREAT h 99999999999999 FIELDS 1 a", "-ERR invalid expire time in 'hpexpireat' command"),
        ("HPEXPIREAT h 9999999999999 FIELDS 1 a", "[:1]"),
        ("HPEXPIRETIME h FIELDS 1 a", "[:9999999999999]"),
        ("HEXPIREAT h 9999999998 FIELDS 1 a", "[:1]"),
        ("HEXPIRETIME h FIELDS 2 a none", "[:9999999998, :-2]"),
        ("HINCRBY h a 5", ":6"),
        ("HINCRBYFLOAT h a 0.5", "\"6.5\""),
        ("HEXPIRETIME h FIELDS 1 a", "[:9999999998]"),
        ("HSET h a 1", ":0"),
        ("HTTL h FIELDS 1 a", "[:-1]"),
        ("HPERSIST h FIELDS 3 a b none", "[:-1, :1, :-2]"),
        ("HLEN h", ":3"),
        ("HEXPIRE h 0 FIELDS 2 a none", "[:2, :-2]"),
        ("HGETALL h", "[\"b\", \"2\", \"c\", \"3\"]"),
        ("HEXPIREAT h 1 FIELDS 2 b c", "[:2, :2]"),
        ("EXISTS h", ":0"),
        ("HTTL h FIELDS 1 b", "[:-2]"),
        ("HEXPIRE h 1 FIELDS 1 b", "[:-2]"),
    ]);
}

#[test]
fn fields_are_written_and_taken_with_their_time() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("HSETEX h EX 100 FIELDS 2 a 1 b 2", ":1"),
        ("HSETEX h FNX FIELDS 2 c 3 a 9", ":0"),
        ("HSETEX h FXX KEEPTTL FIELDS 1 a 9", ":1"),
        ("HTTL h FIELDS 2 a b", "[:100, :100]"),
        ("HSETEX h FXX FIELDS 1 a 8", ":1"),
        ("HGETEX h FIELDS 2 a none", "[\"8\", nil]"),
        ("HGETEX h PXAT 9999999999999 FIELDS 1 a", "[\"8\"]"),
        ("HPEXPIRETIME h FIELDS 1 a", "[:9999999999999]"),
        ("HGETEX h PERSIST FIELDS 1 a", "[\"8\"]"),
        ("HTTL h FIELDS 1 a", "[:-1]"),
        ("HGETDEL h FIELDS 3 a b none", "[\"8\", \"2\", nil]"),
        ("EXISTS h", ":0"),
        (
            "HGETEX h EX 1 PX 1 FIELDS 1 a",
            "-ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
        ),
    ]);
}

#[test]
fn what_is_malformed_is_refused() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let mandatory = "-ERR Mandatory argument FIELDS is missing or not at the right position";
    client.check(&[
        ("SET s 1", "+OK"),
        ("HEXPIRE s 1 FIELDS 1 a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("HEXPIRE h 1 FIELDS 1", "-ERR wrong number of arguments for 'hexpire' command"),
        ("HEXPIRE h x FIELDS 1 a", "-ERR value is not an integer or out of range"),
        ("HEXPIRE h -1 FIELDS 1 a", "-ERR invalid expire time, must be >= 0"),
        ("HEXPIRE h 99999999999 FIELDS 1 a", "-ERR invalid expire time in 'hexpire' command"),
        ("HEXPIRE h 1 XXX FIELDS 1 a", mandatory),
        ("HEXPIRE h 1 FIELDS 0 a", "-ERR Parameter `numFields` should be greater than 0"),
        ("HEXPIRE h 1 FIELDS 2 a", "-ERR The `numfields` parameter must match the number of arguments"),
        ("HTTL h FIELD 1 a", mandatory),
        ("HPERSIST h FIELDS x a", "-ERR Number of fields must be a positive integer"),
        ("HTTL h FIELDS 2 a", "-ERR The `numfields` parameter must match the number of arguments"),
    ]);
}

/// Fields, a whole hash and a string go by themselves: nobody reads them afterwards, and whoever listens is told.
#[test]
fn what_expires_is_told() {
    let server = TestServer::memory();
    let (mut client, mut listener) = (server.redis(), server.redis());
    client.check(&[("CONFIG SET notify-keyspace-events KEA", "+OK"), ("SELECT 2", "+OK")]);
    listener.check(&[("PSUBSCRIBE __keyevent@2__:*", "[\"psubscribe\", \"__keyevent@2__:*\", :1]")]);
    let mut heard = move |event: &str, key: &str| {
        let message = format!("[\"pmessage\", \"__keyevent@2__:*\", \"__keyevent@2__:{event}\", \"{key}\"]");
        assert_eq!(listener.read(), message);
    };
    client.check(&[
        ("HSET some a 1 b 2", ":2"),
        ("HEXPIRE some 100 FIELDS 1 a", "[:1]"),
        ("HPERSIST some FIELDS 1 a", "[:1]"),
        ("HEXPIRE some 0 FIELDS 1 a", "[:2]"),
        ("HSETEX all EX 100 FIELDS 1 a 1", ":1"),
    ]);
    for (event, key) in [
        ("hset", "some"),
        ("hexpire", "some"),
        ("hpersist", "some"),
        ("hdel", "some"),
        ("hset", "all"),
        ("hexpire", "all"),
    ] {
        heard(event, key);
    }
    client.check(&[("HSET some c 3", ":1"), ("HPEXPIRE some 5 FIELDS 1 c", "[:1]")]);
    heard("hset", "some");
    heard("hexpire", "some");
    heard("hexpired", "some");
    client.check(&[("HGETALL some", "[\"b\", \"2\"]"), ("RENAME all renamed", "+OK")]);
    heard("rename_from", "all");
    heard("rename_to", "renamed");
    client.check(&[("HPEXPIRE renamed 5 FIELDS 1 a", "[:1]")]);
    heard("hexpire", "renamed");
    heard("hexpired", "renamed");
    heard("del", "renamed");
    client.check(&[("EXISTS renamed", ":0"), ("KEYS *", "[\"some\"]"), ("SET s 1 PX 5", "+OK")]);
    heard("set", "s");
    heard("expire", "s");
    heard("expired", "s");
    client.check(&[("GET s", "nil"), ("CONFIG SET notify-keyspace-events Enm$", "+OK"), ("GET s", "nil")]);
    heard("keymiss", "s");
    client.check(&[("SET s 1", "+OK"), ("SET s 1", "+OK")]);
    heard("new", "s");
    heard("set", "s");
    heard("set", "s");
}

#[test]
fn a_list_that_is_not_trimmed_is_told_of() {
    let server = TestServer::memory();
    let (mut client, mut listener) = (server.redis(), server.redis());
    client.check(&[("CONFIG SET notify-keyspace-events El", "+OK"), ("RPUSH l a b", ":2")]);
    listener.run("PSUBSCRIBE *");
    client.check(&[("LTRIM none 0 -1", "+OK"), ("LTRIM l 0 -1", "+OK")]);
    assert_eq!(listener.read(), "[\"pmessage\", \"*\", \"__keyevent@0__:ltrim\", \"l\"]");
}
