//! `CLIENT TRACKING`: caches that clients keep are told of every change, whoever made it.

use crate::common::TestServer;
use crate::common::redis::{RedisClient, request};
use orcharddb::{Expiry, KeyRange, SpaceId};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

fn tracking(server: &TestServer, options: &str) -> RedisClient {
    let mut client = server.redis();
    assert!(client.run("HELLO 3").contains("\"proto\": :3"));
    assert_eq!(client.run(format!("CLIENT TRACKING ON{options}").as_str()), "+OK");
    client
}

fn gone(key: &str) -> String {
    format!(">[\"invalidate\", [\"{key}\"]]")
}

const ALL_GONE: &str = ">[\"invalidate\", _]";

#[test]
fn what_was_read_is_told_once_whoever_changes_it() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut client = tracking(&server, "");
    client.check(&[("MGET a b", "[_, _]"), ("HGETALL h", "{}")]);
    other.check(&[("SET a 1", "+OK"), ("SET a 2", "+OK"), ("SET never-read 1", "+OK"), ("HSET h f 1", ":1")]);
    assert_eq!((client.read(), client.read()), (gone("a"), gone("h")), "once, until it is read again");
    // From HTTP and from the crate.
    assert_eq!(server.put("/v1/kv/b", "text/plain", b"red").status, 200);
    assert_eq!(client.read(), gone("b"));
    client.check(&[("GET a", "\"2\""), ("GET b", "\"red\""), ("HGET h f", "\"1\"")]);
    server.db.delete("a").expect("it commits");
    assert_eq!(client.read(), gone("a"));
    // Elements of a collection are its key's.
    other.run(&format!("HSET h {}", (0..300).map(|n| format!("f{n} v ")).collect::<String>().trim()));
    assert_eq!(client.read(), gone("h"));
    client.check(&[("HLEN h", ":301")]);
    other.check(&[("HSET h f299 other", ":0")]);
    assert_eq!(client.read(), gone("h"));
    // By the client itself, too, behind its own reply.
    client.check(&[("SET b blue", "+OK")]);
    assert_eq!(client.read(), gone("b"));
    // A command that writes reads nothing that is kept.
    client.check(&[
        ("INCR n", ":1"),
        ("INCR n", ":2"),
        ("CLIENT TRACKING OFF", "+OK"),
        ("GET b", "\"blue\""),
    ]);
    other.check(&[("SET b 1", "+OK")]);
    client.check(&[("PING", "+PONG"), ("CLIENT TRACKING ON", "+OK"), ("GET b", "\"1\"")]);
    other.check(&[("SET b 2", "+OK")]);
    assert_eq!(client.read(), gone("b"));
}

#[test]
fn expiry_and_deletes_of_ranges_are_changes() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut client = tracking(&server, "");
    other.check(&[("SET brief 1 PX 1000", "+OK"), ("MSET a1 1 a2 2 b1 3", "+OK"), ("HSET h f 1 g 2", ":2")]);
    client.check(&[("STRLEN brief", ":1")]);
    assert_eq!(client.read(), gone("brief"));
    client.check(&[("HGET h f", "\"1\"")]);
    other.check(&[("HPEXPIRE h 30 FIELDS 1 f", "[:1]")]);
    assert_eq!(client.read(), gone("h"));
    client.check(&[("HGET h g", "\"2\"")]);
    assert_eq!(client.read(), gone("h"), "a field has expired");
    client.check(&[("MGET a1 a2 b1", "[\"1\", \"2\", \"3\"]")]);
    let names = |name: &str| orcharddb::tuple::name(name.as_bytes()).expect("a name").into_bytes();
    let range = KeyRange { start: names("a"), end: Some(names("b")) };
    server
        .db
        .transact(|tx| {
            tx.delete_range_in(SpaceId::DEFAULT, range.clone());
            Ok::<_, orcharddb::Error>(())
        })
        .expect("it commits");
    assert_eq!((client.read(), client.read()), (gone("a1"), gone("a2")));
    other.check(&[("FLUSHDB", "+OK")]);
    assert_eq!(client.read(), ALL_GONE);
    client.check(&[("GET b1", "_"), ("SELECT 2", "+OK"), ("GET b1", "_"), ("SELECT 0", "+OK")]);
    other.check(&[("SELECT 2", "+OK"), ("SET b1 2", "+OK")]);
    assert_eq!(client.read(), gone("b1"), "by name, whatever the database");
    other.check(&[("SWAPDB 0 2", "+OK")]);
    assert_eq!(client.read(), ALL_GONE);
    client.check(&[("GET b1", "\"2\"")]);
}

#[test]
fn transactions_remember_what_they_read_and_tell_what_they_write() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut client = tracking(&server, "");
    client.check(&[("MULTI", "+OK"), ("GET a", "+QUEUED"), ("SET a 1", "+QUEUED"), ("EXEC", "[_, +OK]")]);
    assert_eq!(client.read(), gone("a"), "it read what was before its own write");
    client.check(&[("MULTI", "+OK"), ("GET a", "+QUEUED"), ("EXEC", "[\"1\"]")]);
    other.check(&[("SET a 2", "+OK")]);
    assert_eq!(client.read(), gone("a"));
    let mut client = tracking(&server, " NOLOOP");
    client.check(&[("MULTI", "+OK"), ("SET a 3", "+QUEUED"), ("GET a", "+QUEUED"), ("EXEC", "[+OK, \"3\"]")]);
    other.check(&[("SET a 4", "+OK")]);
    assert_eq!(client.read(), gone("a"), "not of its own change, but of the next");
    client.check(&[("GET a", "\"4\""), ("GET b", "_"), ("SET a 5", "+OK"), ("GET a", "\"5\"")]);
    other.check(&[("SET b 1", "+OK")]);
    assert_eq!(client.read(), gone("b"));
    other.check(&[("SET a 6", "+OK")]);
    assert_eq!(client.read(), gone("a"), "what was read behind its own change is told of");
}

#[test]
fn opting_in_and_out_goes_by_command_or_transaction() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut client = tracking(&server, " OPTIN");
    client.check(&[("GET a", "_"), ("CLIENT CACHING YES", "+OK"), ("GET b", "_"), ("GET c", "_")]);
    client.check(&[
        ("CLIENT CACHING YES", "+OK"),
        ("MULTI", "+OK"),
        ("GET d", "+QUEUED"),
        ("GET e", "+QUEUED"),
    ]);
    client.check(&[("EXEC", "[_, _]"), ("GET f", "_")]);
    other.check(&[("MSET a 1 b 1 c 1 d 1 e 1 f 1", "+OK")]);
    assert_eq!([client.read(), client.read(), client.read()], [gone("b"), gone("d"), gone("e")]);
    client.check(&[("PING", "+PONG")]);
    let mut client = tracking(&server, " OPTOUT");
    client.check(&[("CLIENT CACHING NO", "+OK"), ("GET a", "\"1\""), ("GET b", "\"1\"")]);
    other.check(&[("MSET a 2 b 2", "+OK")]);
    assert_eq!(client.read(), gone("b"));
    client.check(&[("PING", "+PONG")]);
}

#[test]
fn prefixes_are_told_of_all_that_changes() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut client = tracking(&server, " BCAST PREFIX user: PREFIX img: NOLOOP");
    client.check(&[("SET user:own 1", "+OK")]);
    other.check(&[("MSET user:1 1 x 2 img:7 3", "+OK")]);
    // In one message or, if the first key is on its way before the other is noted, in two.
    let mut told = client.read();
    if !told.contains("user:1") || !told.contains("img:7") {
        told += &client.read();
    }
    assert!(told.contains("user:1") && told.contains("img:7") && !told.contains("own"), "{told}");
    // What a range held is not known.
    other.check(&[("FLUSHALL", "+OK")]);
    assert_eq!(client.read(), ALL_GONE);
    client.check(&[
        (
            "CLIENT TRACKINGINFO",
            "{\"flags\": ~[\"on\", \"bcast\", \"noloop\"], \"redirect\": :0, \"prefixes\": [\"img:\", \"user:\"]}",
        ),
        (
            "CLIENT TRACKING ON BCAST PREFIX use",
            "-ERR Prefix 'use' overlaps with an existing prefix 'user:'. Prefixes for a single client must not overlap.",
        ),
        (
            "CLIENT TRACKING ON BCAST PREFIX a PREFIX ab",
            "-ERR Prefix 'a' overlaps with another provided prefix 'ab'. Prefixes for a single client must not overlap.",
        ),
    ]);
    assert!(client.run("INFO stats").contains("tracking_total_prefixes:2"));
    let mut all = tracking(&server, " BCAST");
    other.check(&[("SET anything 1", "+OK")]);
    assert_eq!(all.read(), gone("anything"));
}

#[test]
fn another_connection_may_be_told_in_its_place() {
    let server = TestServer::memory();
    let mut other = server.redis();
    let mut listener = server.redis();
    let id = listener.run("CLIENT ID").trim_start_matches(':').to_owned();
    assert_eq!(
        listener.run("SUBSCRIBE __redis__:invalidate"),
        "[\"subscribe\", \"__redis__:invalidate\", :1]"
    );
    let mut client = server.redis();
    client.check(&[
        (&format!("CLIENT TRACKING ON REDIRECT {id}"), "+OK"),
        ("CLIENT GETREDIR", &format!(":{id}")),
        ("GET a", "nil"),
    ]);
    other.check(&[("SET a 1", "+OK")]);
    assert_eq!(listener.read(), "[\"message\", \"__redis__:invalidate\", [\"a\"]]");
    other.check(&[("FLUSHALL", "+OK")]);
    assert_eq!(listener.read(), "[\"message\", \"__redis__:invalidate\", nil]");
    let mut three = tracking(&server, &format!(" REDIRECT {id}"));
    three.check(&[("GET a", "_"), ("GET b", "_")]);
    assert!(
        other
            .run(&format!("CLIENT LIST ID {}", three.run("CLIENT ID").trim_start_matches(':')))
            .contains("flags=t")
    );
    other.check(&[("SET a 1", "+OK")]);
    assert_eq!(listener.read(), "[\"message\", \"__redis__:invalidate\", [\"a\"]]");
    assert_eq!(other.run(&format!("CLIENT KILL ID {id}")), ":1");
    assert_eq!(listener.rest(), "");
    // The connection goes a moment after it was killed.
    while other.run(&format!("CLIENT LIST ID {id}")) != "\"\"" {}
    other.check(&[("SET b 1", "+OK")]);
    assert_eq!(three.read(), format!(">[\"tracking-redir-broken\", :{id}]"));
    assert_eq!(
        three.run("CLIENT TRACKINGINFO"),
        format!("{{\"flags\": ~[\"on\", \"broken_redirect\"], \"redirect\": :{id}, \"prefixes\": []}}")
    );
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let caching = "-ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
                   enabled";
    client.check(&[
        ("CLIENT TRACKINGINFO", "[\"flags\", [\"off\"], \"redirect\", :-1, \"prefixes\", []]"),
        ("CLIENT GETREDIR", ":-1"),
        ("CLIENT CACHING YES", caching),
        ("CLIENT TRACKING ON PREFIX a", "-ERR PREFIX option requires BCAST mode to be enabled"),
        ("CLIENT TRACKING ON BCAST OPTIN", "-ERR OPTIN and OPTOUT are not compatible with BCAST"),
        ("CLIENT TRACKING ON OPTIN OPTOUT", "-ERR You can't specify both OPTIN mode and OPTOUT mode"),
        ("CLIENT TRACKING ON REDIRECT 999999", "-ERR The client ID you want redirect to does not exist"),
        ("CLIENT TRACKING ON REDIRECT x", "-ERR value is not an integer or out of range"),
        ("CLIENT TRACKING ON NONSENSE", "-ERR syntax error"),
        ("CLIENT TRACKING MAYBE", "-ERR syntax error"),
        ("CLIENT TRACKING OFF", "+OK"),
        ("CLIENT TRACKING ON OPTIN", "+OK"),
        (
            "CLIENT TRACKING ON BCAST",
            "-ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ),
        (
            "CLIENT TRACKING ON OPTOUT",
            "-ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it \
             with a different mode.",
        ),
        ("CLIENT CACHING NO", "-ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode."),
        ("CLIENT CACHING YES", "+OK"),
        ("CLIENT GETREDIR", ":0"),
        ("RESET", "+RESET"),
        ("CLIENT GETREDIR", ":-1"),
    ]);
}

#[test]
fn the_table_is_bounded() {
    let server = TestServer::memory();
    let mut client = tracking(&server, "");
    client.check(&[
        ("CONFIG SET tracking-table-max-keys 2", "+OK"),
        ("CONFIG GET tracking-table-max-keys", "{\"tracking-table-max-keys\": \"2\"}"),
        ("GET a", "_"),
        ("GET b", "_"),
        ("GET c", "_"),
    ]);
    assert_eq!(client.read(), gone("a"), "it had to go, and so is told as changed");
    let info = client.run("INFO");
    for field in ["tracking_clients:1", "tracking_total_keys:2", "tracking_total_items:2"] {
        assert!(info.contains(field), "{field} in {info}");
    }
    drop(client);
    let mut other = server.redis();
    while !other.run("INFO clients").contains("tracking_clients:0") {}
    assert!(other.run("INFO stats").contains("tracking_total_keys:0"));
}

/// A client with a cache of its own.
struct Cache {
    client: RedisClient,
    known: HashMap<String, String>,
}

impl Cache {
    /// The next reply; what comes before it takes keys out of the cache.
    fn reply(&mut self) -> String {
        loop {
            let line = self.client.read();
            if line == ALL_GONE {
                self.known.clear();
                continue;
            }
            match line.strip_prefix(">[\"invalidate\", [\"") {
                None => return line,
                Some(keys) => {
                    for key in keys.trim_end_matches("\"]]").split("\", \"") {
                        self.known.remove(key);
                    }
                }
            }
        }
    }

    fn get(&mut self, key: String) {
        if !self.known.contains_key(&key) {
            self.client.write(&request(&["GET", &key]));
            let value = self.reply();
            self.known.insert(key, value);
        }
    }
}

/// However reads and writes mix, a cache that has been told everything holds what the database holds.
#[test]
fn a_cache_that_is_told_is_never_stale() {
    const KEYS: u32 = 20;
    let server = TestServer::memory();
    let key = |number: u32| format!("k{}", number % KEYS);
    for options in ["", " NOLOOP", " OPTOUT"] {
        let mut cache = Cache { client: tracking(&server, options), known: HashMap::new() };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let pipelines = || {
                let mut writer = server.redis();
                for round in 0..200_u32 {
                    let commands = (0..16).map(|n| (round * 7 + n * n, round * 100 + n));
                    let bytes: Vec<u8> = commands
                        .flat_map(|(number, value)| match value % 5 {
                            0 => request(&["DEL".to_owned(), key(number)]),
                            1 => request(&["INCR".to_owned(), key(number)]),
                            _ => request(&["SET".to_owned(), key(number), value.to_string()]),
                        })
                        .collect();
                    writer.write(&bytes);
                    (0..16).for_each(|_| drop(writer.read()));
                }
                is_over.store(true, Ordering::SeqCst);
            };
            let direct = || {
                let mut number = 0;
                while !is_over.load(Ordering::SeqCst) {
                    number += 3;
                    server.db.put(key(number).as_str(), i64::from(number)).expect("it commits");
                    if number % 50 == 0 {
                        let key = key(number + 1);
                        let expiry = Expiry::After(orcharddb::DurationMs(1));
                        server.db.put_expiring(key.as_str(), 1_i64, expiry).expect("it commits");
                    }
                }
            };
            scope.spawn(pipelines);
            scope.spawn(direct);
            let mut number = 0_u32;
            while !is_over.load(Ordering::SeqCst) {
                number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                cache.get(key(number >> 7));
                if number.is_multiple_of(11) {
                    // A change of its own: what it knows of the key ends with it.
                    let key = key(number >> 9);
                    cache.client.write(&request(&["APPEND", &key, "1"]));
                    cache.reply();
                    cache.known.remove(&key);
                }
            }
        });
        // Everything is told in order: behind this, nothing is on its way.
        cache.get("last".to_owned());
        server.db.put("last", options).expect("it commits");
        while cache.known.contains_key("last") {
            cache.client.write(&request(&["PING"]));
            assert_eq!(cache.reply(), "+PONG");
        }
        let mut other = server.redis();
        other.run("HELLO 3");
        let keys: Vec<String> = cache.known.keys().cloned().collect();
        for key in keys {
            while let Some(value) = cache.known.get(&key).cloned() {
                let is = other.run(&format!("GET {key}"));
                if is == value {
                    break;
                }
                assert_eq!(
                    is, "_",
                    "{key}: the cache has {value}; only what has expired is told of a moment later"
                );
                cache.client.write(&request(&["PING"]));
                assert_eq!(cache.reply(), "+PONG");
            }
        }
        server.db.delete("last").expect("it commits");
    }
}
