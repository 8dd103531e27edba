//! `/v1/changes` and `/v1/watch`: server-sent events.

use crate::common::{Client, TestServer, options};
use orcharddb::{Db, KeyPart, Value};
use serde_json::{Value as Json, json};

/// A client of server-sent events over chunks.
struct Events {
    client: Client,
    buffer: String,
}

#[derive(Debug)]
struct Event {
    id: Option<String>,
    event: String,
    data: Json,
}

impl Events {
    fn open(server: &TestServer, target: &str, headers: &[(&str, &str)]) -> Events {
        let mut client = server.client();
        let mut request = format!("GET {target} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        client.write(format!("{request}\r\n").as_bytes());
        assert_eq!(client.next_line(), "HTTP/1.1 200 OK");
        let mut content_type = None;
        loop {
            let line = client.next_line();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-type: ") {
                content_type = Some(value.to_owned());
            }
        }
        assert_eq!(content_type.as_deref(), Some("text/event-stream"));
        Events { client, buffer: String::new() }
    }

    /// The next block of lines; `None` at the end of the stream.
    fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let block = block.to_owned();
                self.buffer = rest.to_owned();
                return Some(block);
            }
            self.buffer.push_str(&self.client.chunk()?);
        }
    }

    /// The next event, signs of life passed over.
    fn next(&mut self) -> Option<Event> {
        loop {
            let block = self.block()?;
            let field = |name: &str| {
                block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).map(str::to_owned)
            };
            if let (Some(event), Some(data)) = (field("event"), field("data")) {
                let data = serde_json::from_str(&data).expect("JSON");
                return Some(Event { id: field("id"), event, data });
            }
        }
    }
}

fn user(name: &str) -> [KeyPart; 2] {
    ["users", name].map(|part| KeyPart::String(part.to_owned()))
}

#[test]
fn a_feed_tells_every_commit_in_order() {
    let server = TestServer::memory();
    let before = server.db.visible().to_string();
    let mut live = Events::open(&server, "/v1/changes", &[]);
    // The first sign of life says that the feed has begun.
    live.block().expect("a sign of life");
    let stamp = server.db.put("a", "x").expect("written").versionstamp.to_string();
    server.db.delete("a").expect("deleted");
    let mut feeds = vec![live];
    feeds.push(Events::open(&server, &format!("/v1/changes?from={before}"), &[]));
    feeds.push(Events::open(&server, "/v1/changes?from=now", &[("last-event-id", &before)]));
    for mut feed in feeds {
        let first = feed.next().expect("an event");
        assert_eq!(
            (first.event.as_str(), first.id.as_deref()),
            ("commit", Some(stamp.as_str())),
            "{first:?}"
        );
        assert_eq!(first.data["versionstamp"], stamp);
        assert_eq!(first.data["changes"], json!([{"op": "set", "key": ["a"], "value": "x", "type": "text"}]));
        let second = feed.next().expect("an event");
        assert_eq!(second.data["changes"], json!([{"op": "delete", "key": ["a"]}]));
    }
}

#[test]
fn a_feed_shows_what_was_asked_for() {
    let server = TestServer::memory();
    let before = server.db.visible();
    server.db.put("other", 1_i64).expect("written");
    server.db.put(user("ada"), Value::json("{\n}")).expect("written");
    server.db.put("k", 2_i64).expect("written");
    server.put("/v1/kv/elsewhere?db=2", "text/plain", b"v");
    server.db.put(user("bob"), 3_i64).expect("written");
    let target = format!("/v1/changes?from={before}&prefix=users&key=k&values=false");
    let mut feed = Events::open(&server, &target, &[]);
    let keys: Vec<Json> = (0..3).map(|_| feed.next().expect("an event").data["changes"][0].clone()).collect();
    assert_eq!(
        keys,
        [
            json!({"op": "set", "key": ["users", "ada"], "type": "json"}),
            json!({"op": "set", "key": ["k"], "type": "int"}),
            json!({"op": "set", "key": ["users", "bob"], "type": "int"}),
        ]
    );
    let mut feed = Events::open(&server, &format!("/v1/changes?from={before}&db=2"), &[]);
    assert_eq!(feed.next().expect("an event").data["changes"][0]["key"], json!(["elsewhere"]));
}

#[test]
fn feeds_show_collections() {
    let server = TestServer::memory();
    let before = server.db.visible();
    server.db.hash("h").set("name", "Ada").expect("written");
    let many: Vec<Value> = (0..200_i64).map(Value::from).collect();
    server.db.list("long").update(|list| list.extend(many.clone(), false)).expect("written");
    let mut feed = Events::open(&server, &format!("/v1/changes?from={before}"), &[]);
    let hash = json!([{"op": "set", "key": ["h"], "value": {"name": "Ada"}, "type": "hash", "ttl": "keep"}]);
    assert_eq!(feed.next().expect("an event").data["changes"], hash);
    let long =
        json!([{"op": "set", "key": ["long"], "value": {"$count": 200}, "type": "list", "ttl": "keep"}]);
    assert_eq!(
        feed.next().expect("an event").data["changes"],
        long,
        "its elements are no changes of their own"
    );
    let mut watch = Events::open(&server, "/v1/watch?key=h&key=long", &[]);
    let changes = watch.next().expect("an event").data["changes"].clone();
    assert_eq!(changes[0]["value"], json!({"name": "Ada"}), "{changes}");
    assert_eq!(changes[1]["value"].as_array().map(Vec::len), Some(200), "{changes}");
}

#[test]
fn a_feed_goes_on_over_a_restart_or_tells_a_gap() {
    let directory = tempfile::tempdir().expect("a directory");
    let db = Db::open(directory.path()).expect("it opens");
    let server = TestServer::start(db, options());
    let first = server.db.put("a", 1_i64).expect("written").versionstamp.to_string();
    server.db.put("a", 2_i64).expect("written");
    let db = server.db.clone();
    server.join();
    db.close().expect("closed");
    drop(db);
    let server = TestServer::start(Db::open(directory.path()).expect("it opens again"), options());
    let mut feed = Events::open(&server, "/v1/changes", &[("last-event-id", &first)]);
    assert_eq!(feed.next().expect("an event").data["changes"][0]["value"], 2);
    // A version that was never given out: its reader cannot have seen all before it.
    let ahead = "0000ffffffff00000000";
    let mut feed = Events::open(&server, "/v1/changes", &[("last-event-id", ahead)]);
    let gap = feed.next().expect("an event");
    assert_eq!(gap.event, "gap");
    assert_eq!(gap.data["restart_at"].as_str(), gap.id.as_deref());
}

#[test]
fn a_watch_tells_what_the_keys_hold() {
    let server = TestServer::memory();
    server.db.put("a", 1_i64).expect("written");
    let mut watch = Events::open(&server, "/v1/watch?key=a&key=b&prefix=users", &[]);
    let first = watch.next().expect("the state");
    assert_eq!(first.event, "change");
    assert_eq!(
        (&first.data["changes"][0]["value"], &first.data["changes"][0]["key"]),
        (&json!(1), &json!(["a"]))
    );
    assert_eq!(first.data["changes"][1], json!({"op": "delete", "key": ["b"]}));
    server.db.put("other", 1_i64).expect("written");
    let stamp = server.db.put(user("ada"), 5_i64).expect("written").versionstamp.to_string();
    let next = watch.next().expect("a change");
    assert_eq!(
        next.data["changes"],
        json!([{"op": "set", "key": ["users", "ada"], "value": 5, "type": "int", "versionstamp": stamp}])
    );
    let seen = next.id.expect("an id");
    server.db.delete("a").expect("deleted");
    let next = watch.next().expect("a change");
    assert_eq!(
        (&next.data["changes"][0]["op"], &next.data["changes"][0]["key"]),
        (&json!("delete"), &json!(["a"]))
    );
    // Who comes back is told what changed meanwhile, once.
    server.db.put("b", 1_i64).expect("written");
    server.db.put("b", 2_i64).expect("written");
    let mut again = Events::open(&server, "/v1/watch?key=a&key=b", &[("last-event-id", &seen)]);
    let missed = again.next().expect("what was missed");
    let changes = missed.data["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert_eq!((&changes[0]["op"], &changes[1]["value"]), (&json!("delete"), &json!(2)));
}

#[test]
fn feeds_end_when_the_server_stops() {
    let mut server = TestServer::memory();
    let mut changes = Events::open(&server, "/v1/changes", &[]);
    let mut watch = Events::open(&server, "/v1/watch?key=a", &[]);
    changes.block().expect("it has begun");
    watch.block().expect("it has begun");
    server.begin_stop();
    assert!(changes.next().is_none() && watch.next().is_none());
    server.join();
}

#[test]
fn what_is_no_feed_is_refused() {
    let server = TestServer::memory();
    for (target, expected) in [
        ("/v1/watch", (400, "bad_query")),
        ("/v1/changes?from=yesterday", (400, "bad_query")),
        ("/v1/changes?prefix=%5Bnull%5D", (400, "bad_key")),
        ("/v1/changes?values=maybe", (400, "bad_query")),
        ("/v1/changes?x=1", (400, "unknown_parameter")),
    ] {
        let (status, code) = expected;
        assert_eq!(server.get(target).problem(), (status, code.into()), "{target}");
    }
    let reply = server.send("GET", "/v1/changes", &[("last-event-id", "7")], b"");
    assert_eq!(reply.problem(), (400, "bad_request".into()));
}
