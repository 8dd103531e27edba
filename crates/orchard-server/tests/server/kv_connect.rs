//! KV Connect over real sockets: the exchange, the endpoints, and what is refused how.

use crate::common::{Reply, TestServer, options};
use denokv_proto::datapath as pb;
use orchard_server::{Secret, ServerOptions};
use orcharddb::{Db, Value};
use prost::Message as _;
use std::io::{BufRead as _, Read as _};

/// A client that has fetched the metadata of a database.
struct Kv<'s> {
    server: &'s TestServer,
    endpoint: String,
    id: String,
    token: String,
}

fn exchange(server: &TestServer, path: &str, body: &str, headers: &[(&str, &str)]) -> Reply {
    server.send("POST", path, headers, body.as_bytes())
}

impl Kv<'_> {
    fn open<'s>(server: &'s TestServer, database: &str) -> Kv<'s> {
        let path = format!("/kv-connect/{database}");
        let json = exchange(server, &path, r#"{"supportedVersions":[1,2,3]}"#, &[]).json();
        let id = json["databaseId"].as_str().expect("an id").to_owned();
        Kv { server, endpoint: path, id, token: json["token"].as_str().expect("a token").to_owned() }
    }

    fn post(&self, action: &str, body: &[u8]) -> Reply {
        let authorization = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", authorization.as_str()),
            ("x-denokv-version", "3"),
            ("x-denokv-database-id", &self.id),
        ];
        self.server.send("POST", &format!("{}/{action}", self.endpoint), &headers, body)
    }

    fn read(&self, ranges: Vec<pb::ReadRange>) -> Vec<Vec<pb::KvEntry>> {
        let reply = self.post("snapshot_read", &pb::SnapshotRead { ranges }.encode_to_vec());
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (200, Some("application/x-protobuf")),
            "{reply:?}"
        );
        let output = pb::SnapshotReadOutput::decode(reply.body.as_slice()).expect("a message");
        assert!(output.read_is_strongly_consistent && !output.read_disabled);
        assert_eq!(output.status, pb::SnapshotReadStatus::SrSuccess as i32);
        output.ranges.into_iter().map(|range| range.values).collect()
    }

    fn get(&self, key: &[u8]) -> Option<pb::KvEntry> {
        let end = [key, &[0]].concat();
        self.read(vec![pb::ReadRange { start: key.to_vec(), end, limit: 1, reverse: false }]).remove(0).pop()
    }

    fn write(&self, write: &pb::AtomicWrite) -> Result<pb::AtomicWriteOutput, (u16, String)> {
        let reply = self.post("atomic_write", &write.encode_to_vec());
        if reply.status != 200 {
            assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"));
            return Err((reply.status, reply.text().to_owned()));
        }
        assert_eq!(reply.header("content-type"), Some("application/x-protobuf"));
        Ok(pb::AtomicWriteOutput::decode(reply.body.as_slice()).expect("a message"))
    }

    fn set(&self, key: &[u8], data: &[u8], encoding: i32) -> Vec<u8> {
        let write =
            pb::AtomicWrite { mutations: vec![set(key, data, encoding)], ..pb::AtomicWrite::default() };
        let output = self.write(&write).expect("it commits");
        assert_eq!(output.status, pb::AtomicWriteStatus::AwSuccess as i32);
        output.versionstamp
    }
}

fn set(key: &[u8], data: &[u8], encoding: i32) -> pb::Mutation {
    pb::Mutation {
        key: key.to_vec(),
        value: Some(pb::KvValue { data: data.to_vec(), encoding }),
        mutation_type: pb::MutationType::MSet as i32,
        ..pb::Mutation::default()
    }
}

fn range(start: &[u8], end: &[u8], limit: i32) -> pb::ReadRange {
    pb::ReadRange { start: start.to_vec(), end: end.to_vec(), limit, reverse: false }
}

#[test]
fn the_exchange_says_where_and_how() {
    let server = TestServer::memory();
    let all = r#"{"supportedVersions":[1,2,3]}"#;
    let reply = exchange(&server, "/", all, &[("authorization", "Bearer mine")]);
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/json")));
    let json = reply.json();
    assert_eq!(json["version"], 3);
    assert_eq!(json["endpoints"], serde_json::json!([{"url": "./kv-connect/0", "consistency": "strong"}]));
    assert_eq!(json["token"], "mine", "the one that was shown");
    assert!(json["expiresAt"].as_str().is_some_and(|time| time.ends_with('Z')));
    assert_eq!(exchange(&server, "/", all, &[]).json()["token"], "none");
    let other = exchange(&server, "/kv-connect/a%20b", all, &[]).json();
    assert_eq!(other["endpoints"][0]["url"], "./a%20b");
    assert_ne!(other["databaseId"], json["databaseId"]);
    assert_eq!(exchange(&server, "/kv-connect/0", all, &[]).json()["databaseId"], json["databaseId"]);
    let old = exchange(&server, "/", "", &[("host", "localhost:99")]).json();
    assert_eq!(
        (old["version"].as_u64(), old["endpoints"][0]["url"].as_str()),
        (Some(1), Some("http://localhost:99/kv-connect/0"))
    );
    let secure = exchange(&server, "/", "", &[("x-forwarded-proto", "https")]).json();
    assert_eq!(secure["endpoints"][0]["url"], "https://localhost/kv-connect/0");
    for body in [r#"{"supportedVersions":[9]}"#, "{}", "x"] {
        let reply = exchange(&server, "/", body, &[]);
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (400, Some("text/plain; charset=utf-8")),
            "{body}"
        );
    }
    for path in ["/kv-connect/", "/kv-connect/%00", "/kv-connect/a/b"] {
        assert!((400..500).contains(&exchange(&server, path, all, &[]).status), "{path}");
    }
    assert_eq!(server.get("/kv-connect/a").status, 405);
}

#[test]
fn foreign_requests_are_refused_as_text() {
    let token = Secret::new("t0ken").expect("printable");
    let options = ServerOptions { access_token: Some(token).into(), ..options() };
    let server = TestServer::start(Db::memory().expect("memory opens"), options);
    let body = r#"{"supportedVersions":[3]}"#;
    for (headers, status) in [
        (vec![], 401),
        (vec![("authorization", "Bearer other")], 401),
        (vec![("authorization", "Bearer t0ken"), ("origin", "https://example.com")], 403),
        (vec![("authorization", "Bearer t0ken")], 200),
        (vec![("authorization", "Bearer t0ken"), ("host", "db.example.com")], 200),
    ] {
        let reply = exchange(&server, "/", body, &headers);
        let plain = reply.header("content-type") == Some("text/plain; charset=utf-8");
        assert_eq!((reply.status, plain), (status, status != 200), "{headers:?}");
    }
    let reply = server.send("POST", "/kv-connect/0/snapshot_read", &[], b"");
    assert_eq!(reply.status, 401);
    let open = TestServer::memory();
    assert_eq!(exchange(&open, "/", body, &[("host", "db.example.com")]).status, 403, "DNS rebinding");
}

#[test]
fn the_database_and_the_version_must_be_named() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let id = kv.id.clone();
    let read =
        |headers: &[(&str, &str)]| server.send("POST", "/kv-connect/0/snapshot_read", headers, b"").status;
    assert_eq!(read(&[("x-denokv-version", "3"), ("x-denokv-database-id", &id)]), 200);
    assert_eq!(read(&[("x-denokv-version", "2"), ("x-denokv-database-id", &id)]), 200);
    assert_eq!(read(&[("x-transaction-domain-id", &id)]), 200, "version 1");
    assert_eq!(read(&[]), 400);
    assert_eq!(read(&[("x-denokv-version", "4"), ("x-denokv-database-id", &id)]), 400);
    assert_eq!(
        read(&[("x-denokv-version", "3"), ("x-denokv-database-id", "00000000-0000-0000-0000-000000000000")]),
        400
    );
}

#[test]
fn what_is_written_is_read() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let stamp = kv.set(b"\x02a\0", b"\xff\x0fT", 1);
    assert_eq!(stamp.len(), 10);
    let entry = kv.get(b"\x02a\0").expect("it is there");
    assert_eq!(
        (entry.value.as_slice(), entry.encoding, entry.versionstamp),
        (&b"\xff\x0fT"[..], 1, stamp.clone())
    );
    assert_eq!(server.get("/get/a").status, 200, "the same key for curl");
    assert_eq!(server.get("/v1/kv/a").text(), "true");
    kv.set(b"\x02b\0", &[1, 2], 3);
    kv.set(b"no tuple", &[7, 0, 0, 0, 0, 0, 0, 0], 2);
    assert_eq!(server.get("/v1/kv/b").body, [1, 2]);
    let ranges = kv.read(vec![
        range(b"", b"\xff", 100),
        pb::ReadRange { reverse: true, ..range(b"", b"\xff", 2) },
        range(b"\x02a\0", b"\xff", 1),
        range(b"\x02aa", b"\xff", 1),
        range(b"z", b"a", 5),
    ]);
    let keys: Vec<Vec<&[u8]>> =
        ranges.iter().map(|entries| entries.iter().map(|entry| entry.key.as_slice()).collect()).collect();
    let (a, b, c) = (&b"\x02a\0"[..], &b"\x02b\0"[..], &b"no tuple"[..]);
    assert_eq!(keys, [vec![a, b, c], vec![c, b], vec![a], vec![b], vec![]]);
    server.put("/v1/kv/doc", "application/json", br#"{"z":1,"a":[true]}"#);
    let entry = kv.get(b"\x02doc\0").expect("it is there");
    assert_eq!(
        (entry.value.as_slice(), entry.encoding),
        (&b"\xff\x0fo\"\x01zI\x02\"\x01aA\x01T$\0\x01{\x02"[..], 1)
    );
    let empty = kv.write(&pb::AtomicWrite::default()).expect("it commits");
    assert!(empty.versionstamp > stamp, "an empty commit has a stamp, too");
}

#[test]
fn failed_checks_are_listed_and_refused_mutations_leave_nothing() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let stamp = kv.set(b"a", b"\xff\x0fT", 1);
    let check = |key: &[u8], versionstamp: &[u8]| pb::Check {
        key: key.to_vec(),
        versionstamp: versionstamp.to_vec(),
    };
    let write = pb::AtomicWrite {
        checks: vec![check(b"a", &stamp), check(b"a", b""), check(b"b", b""), check(b"b", &stamp)],
        mutations: vec![set(b"c", b"\xff\x0fT", 1)],
        enqueues: vec![],
    };
    let output = kv.write(&write).expect("an answer");
    assert_eq!(
        (output.status, output.failed_checks),
        (pb::AtomicWriteStatus::AwCheckFailure as i32, vec![1, 3])
    );
    let sum = pb::Mutation {
        mutation_type: pb::MutationType::MSum as i32,
        ..set(b"a", &[1, 0, 0, 0, 0, 0, 0, 0], 2)
    };
    let write = pb::AtomicWrite { mutations: vec![set(b"c", b"x", 3), sum], ..pb::AtomicWrite::default() };
    let (status, text) = kv.write(&write).expect_err("no number");
    assert_eq!(
        (status, text.as_str()),
        (400, "Failed to perform 'sum' mutation on a non-U64 value in the database")
    );
    assert_eq!(kv.get(b"c"), None);
}

#[test]
fn malformed_and_oversized_messages_are_4xx() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    for action in ["snapshot_read", "atomic_write"] {
        let reply = kv.post(action, b"\xff\xff\xff");
        assert_eq!(
            (reply.status, reply.header("content-type")),
            (400, Some("text/plain; charset=utf-8")),
            "{action}"
        );
    }
    assert_eq!(kv.post("atomic_read", b"").status, 404);
    let reply = kv.post("atomic_write", &vec![0; 3 << 20]);
    assert_eq!((reply.status, reply.text().contains("too large")), (413, true), "{}", reply.text());
    let write = |mutation: pb::Mutation| {
        kv.write(&pb::AtomicWrite { mutations: vec![mutation], ..pb::AtomicWrite::default() })
    };
    assert_eq!(write(set(b"a", &[1], 2)).expect_err("7 bytes are missing").0, 400);
    assert_eq!(write(set(b"a", &[1], 9)).expect_err("no encoding").0, 400);
    assert_eq!(write(set(&[1; 2_049], &[1], 1)).expect_err("too long").0, 413);
    assert_eq!(write(set(b"a", &vec![1; 65_537], 1)).expect_err("too long").0, 413);
    // What others wrote is read, however large.
    server.db.put("large", Value::bytes(vec![1; 100_000])).expect("it commits");
    assert_eq!(kv.get(b"\x02large\0").map(|entry| entry.value.len()), Some(100_000));
}

#[test]
fn databases_are_apart_and_made_by_their_first_write() {
    let server = TestServer::memory();
    let (fruit, default) = (Kv::open(&server, "fruit"), Kv::open(&server, "0"));
    assert_eq!(fruit.get(b"\x02a\0"), None);
    assert!(server.db.database("fruit").expect("readable").is_none(), "looking makes none");
    fruit.set(b"\x02a\0", b"\xff\x0fT", 1);
    assert!(fruit.get(b"\x02a\0").is_some());
    assert_eq!(default.get(b"\x02a\0"), None);
    assert_eq!(server.get("/v1/kv/a?db=fruit").text(), "true");
}

#[test]
fn expiry_is_at_its_time() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let write = |expire_at_ms| {
        let mutation = pb::Mutation { expire_at_ms, ..set(b"a", b"\xff\x0fT", 1) };
        kv.write(&pb::AtomicWrite { mutations: vec![mutation], ..pb::AtomicWrite::default() })
            .expect("it commits");
        kv.get(b"a").is_some()
    };
    assert!(write(-1) && write(0));
    assert!(!write(1), "1970 is over");
    assert!(write(i64::MAX));
}

#[test]
fn enqueued_messages_are_delivered() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "fruit");
    let enqueue = |payload: &[u8], deadline_ms: i64, keys: Vec<Vec<u8>>| pb::Enqueue {
        payload: payload.to_vec(),
        deadline_ms,
        keys_if_undelivered: keys,
        backoff_schedule: vec![1],
    };
    let now = server.db.snapshot().time().0 as i64;
    let write = pb::AtomicWrite {
        mutations: vec![set(b"a", b"\xff\x0fT", 1)],
        enqueues: vec![
            enqueue(b"\xff\x0f\"\x03one", 0, vec![b"\x02lost\0".to_vec()]),
            enqueue(b"\xff\x0f\"\x03two", now, vec![]),
            enqueue(b"\xff\x0f\"\x05later", now + 3_600_000, vec![]),
        ],
        ..pb::AtomicWrite::default()
    };
    let refused = pb::AtomicWrite {
        checks: vec![pb::Check { key: b"none".to_vec(), versionstamp: vec![0; 10] }],
        ..write.clone()
    };
    assert_eq!(kv.write(&refused).expect("an answer").failed_checks, [0]);
    assert_eq!(kv.write(&write).expect("it commits").status, pb::AtomicWriteStatus::AwSuccess as i32);
    assert!(kv.get(b"a").is_some());
    let queue = server.db.queue("kv-connect").expect("a name");
    let messages =
        queue.lease(10, orcharddb::DurationMs(60_000)).expect("it leases").wait().expect("durable");
    let shown: Vec<String> = messages
        .iter()
        .map(|message| {
            let mut json = Vec::new();
            orchard_wire::value_json::write(&mut json, &message.payload);
            String::from_utf8(json).expect("UTF-8")
        })
        .collect();
    assert_eq!(shown, [r#"{"$v8":"one"}"#, r#"{"$v8":"two"}"#]);
    assert_eq!(queue.stats().expect("stats").delayed, 1, "the third is for later");
}

#[test]
fn collections_are_arrays_and_objects() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let db = &server.db;
    for number in 0..300 {
        db.list("list").push_back(format!("e{number}")).expect("it commits");
    }
    db.hash("hash").set("name", "Ada").expect("it commits");
    db.hash("hash").set("$set", "x").expect("it commits");
    db.hash("hash").set("raw", Value::bytes(vec![255])).expect("it commits");
    db.set("set").insert("member").expect("it commits");
    db.zset("zset").insert("member", 1.5).expect("it commits");
    let shown = |name: &str| {
        let entry = kv.get(format!("\x02{name}\0").as_bytes()).expect("it is there");
        assert_eq!(entry.encoding, 1);
        let mut json = Vec::new();
        orchard_wire::v8::to_json(&mut json, &entry.value);
        String::from_utf8(json).expect("UTF-8")
    };
    let list: Vec<String> = serde_json::from_str(&shown("list")).expect("an array");
    assert_eq!((list.len(), list[299].as_str()), (300, "e299"));
    assert_eq!(shown("hash"), r#"{"$$set":"x","name":"Ada","raw":{"$bytes":"/w=="}}"#);
    assert_eq!(shown("set"), r#"["member"]"#);
    assert_eq!(shown("zset"), r#"[["member",1.5]]"#);
    assert_eq!(kv.read(vec![range(b"", b"\xff", 100)])[0].len(), 4, "in lists, too");
}

/// A watch on a connection of its own.
struct Watching {
    client: crate::common::Client,
    buffer: Vec<u8>,
}

impl Watching {
    fn open(kv: &Kv<'_>, keys: &[&[u8]]) -> Watching {
        let keys = keys.iter().map(|key| pb::WatchKey { key: key.to_vec() }).collect();
        let body = pb::Watch { keys }.encode_to_vec();
        let mut client = kv.server.client();
        let head = format!(
            "POST {}/watch HTTP/1.1\r\nhost: localhost\r\nx-denokv-version: 3\r\nx-denokv-database-id: {}\r\ncontent-length: {}\r\n\r\n",
            kv.endpoint,
            kv.id,
            body.len()
        );
        client.write(&[head.as_bytes(), &body].concat());
        let mut line = String::new();
        while client.stream.read_line(&mut line).expect("a line") > 2 {}
        assert!(
            line.starts_with("HTTP/1.1 200") && line.contains("content-type: application/octet-stream"),
            "{line}"
        );
        Watching { client, buffer: Vec::new() }
    }

    /// Reads a chunk; false at the end.
    fn more(&mut self) -> bool {
        let mut size = String::new();
        self.client.stream.read_line(&mut size).expect("a size");
        let size = usize::from_str_radix(size.trim(), 16).expect("hex");
        let mut chunk = vec![0; size + 2];
        self.client.stream.read_exact(&mut chunk).expect("a chunk");
        self.buffer.extend_from_slice(&chunk[..size]);
        size > 0
    }

    /// The next frame that tells something, pings passed over.
    fn next(&mut self) -> Vec<pb::WatchKeyOutput> {
        loop {
            while self.buffer.len() < 4 {
                assert!(self.more(), "it ended");
            }
            let length = u32::from_le_bytes(self.buffer[..4].try_into().expect("four")) as usize;
            while self.buffer.len() < 4 + length {
                assert!(self.more(), "it ended");
            }
            let frame: Vec<u8> = self.buffer.drain(..4 + length).collect();
            if length > 0 {
                let output = pb::WatchOutput::decode(&frame[4..]).expect("a message");
                assert_eq!(output.status, pb::SnapshotReadStatus::SrSuccess as i32);
                return output.keys;
            }
        }
    }
}

fn told(keys: &[pb::WatchKeyOutput]) -> Vec<Option<Option<&[u8]>>> {
    keys.iter()
        .map(|key| key.changed.then(|| key.entry_if_changed.as_ref().map(|entry| entry.value.as_slice())))
        .collect()
}

#[test]
fn a_watch_tells_what_changed() {
    let mut server = TestServer::memory();
    {
        let kv = Kv::open(&server, "fruit");
        let mut watching = Watching::open(&kv, &[b"a", b"b"]);
        assert_eq!(told(&watching.next()), [Some(None), Some(None)], "the first tells all");
        kv.set(b"b", b"\xff\x0f1", 1);
        assert_eq!(told(&watching.next()), [None, Some(Some(&b"\xff\x0f1"[..]))]);
        kv.set(b"c", b"\xff\x0f2", 1);
        kv.set(b"a", b"\xff\x0f3", 1);
        assert_eq!(told(&watching.next()), [Some(Some(&b"\xff\x0f3"[..])), None], "c is not watched");
        let delete = pb::Mutation {
            key: b"b".to_vec(),
            mutation_type: pb::MutationType::MDelete as i32,
            ..pb::Mutation::default()
        };
        kv.write(&pb::AtomicWrite { mutations: vec![delete], ..pb::AtomicWrite::default() })
            .expect("it commits");
        assert_eq!(told(&watching.next()), [None, Some(None)]);
        let soon = server.db.snapshot().time().0 as i64 + 30;
        let expires = pb::Mutation { expire_at_ms: soon, ..set(b"b", b"\xff\x0f4", 1) };
        kv.write(&pb::AtomicWrite { mutations: vec![expires], ..pb::AtomicWrite::default() })
            .expect("it commits");
        let mut last = watching.next();
        if told(&last) != [None, Some(None)] {
            assert_eq!(told(&last), [None, Some(Some(&b"\xff\x0f4"[..]))]);
            last = watching.next();
        }
        assert_eq!(told(&last), [None, Some(None)], "expired at its time");
        let too_many = pb::Watch { keys: vec![pb::WatchKey { key: vec![1] }; 11] }.encode_to_vec();
        let reply = kv.post("watch", &too_many);
        assert_eq!((reply.status, reply.text().contains("Too many keys watched")), (413, true));
        // A stop ends the stream; nobody waits for the client.
        let mut other = Watching::open(&kv, &[b"a"]);
        other.next();
        server.begin_stop();
        while watching.more() {}
        while other.more() {}
    }
    server.join();
}

/// What a message says of itself: on HTTP/2 its type only, since its reader pays for each header; on HTTP/1.1 its length
/// too, and errors say all on both.
#[test]
fn headers_of_messages() {
    let server = TestServer::memory();
    let kv = Kv::open(&server, "0");
    let read = pb::SnapshotRead::default().encode_to_vec();
    let reply = kv.post("snapshot_read", &read);
    let length = reply.body.len().to_string();
    assert_eq!(reply.header("content-length"), Some(length.as_str()));
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let replies = runtime.expect("a runtime").block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let (mut sender, connection) = hyper::client::conn::http2::handshake(
            hyper_util::rt::TokioExecutor::new(),
            hyper_util::rt::TokioIo::new(stream),
        )
        .await
        .expect("HTTP/2");
        let _connection = tokio::spawn(connection);
        let mut headers = Vec::new();
        for body in [read, b"nonsense".to_vec()] {
            let request = hyper::Request::post(format!("http://localhost{}/snapshot_read", kv.endpoint))
                .header("authorization", format!("Bearer {}", kv.token))
                .header("x-denokv-version", "3")
                .header("x-denokv-database-id", &kv.id)
                .body(http_body_util::Full::new(bytes::Bytes::from(body)));
            let reply = sender.send_request(request.expect("a request")).await.expect("a reply");
            let mut names: Vec<String> = reply.headers().keys().map(ToString::to_string).collect();
            names.sort();
            headers.push((reply.status().as_u16(), names.join(" ")));
        }
        headers
    });
    let all = "content-length content-type date x-content-type-options";
    assert_eq!(replies, [(200, "content-type date".to_owned()), (400, all.to_owned())]);
}
