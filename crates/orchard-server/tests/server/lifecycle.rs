//! Probes, numbers, graceful stop, and a disk that fails.

use crate::common::{TestServer, options};
use orchard_env::fault::{FaultDisk, FaultPlan};
use orchard_env::{Env, SystemClock, SystemRandom};
use orchard_server::ServerOptions;
use orcharddb::{Db, Options, Value, limits};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn the_server_tells_about_itself() {
    let server = TestServer::memory();
    assert_eq!(server.get("/livez").text(), "ok\n");
    assert_eq!(server.get("/readyz").text(), "ok\n");
    let version = server.get("/version").json();
    assert_eq!(
        (&version["name"], &version["version"]),
        (&"orcharddb".into(), &env!("CARGO_PKG_VERSION").into())
    );
    let shown = server.get("/limits").json();
    assert_eq!(shown["value_size_bytes"], limits::VALUE_SIZE_BYTES_MAX);
    assert_eq!(shown["database_name_size_bytes"], limits::DATABASE_NAME_SIZE_BYTES_MAX);
    assert_eq!(shown["queue_payload_size_bytes"], limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX);
    assert_eq!(shown["queue_messages"], limits::QUEUE_MESSAGES_MAX);
    assert!(shown.as_object().is_some_and(|shown| shown.values().all(serde_json::Value::is_u64)), "{shown}");
    server.db.put("k", "v").expect("written");
    let metrics = server.get("/metrics");
    assert!(metrics.header("content-type").expect("a type").starts_with("text/plain; version=0.0.4"));
    for line in ["orchard_entries 1", "orchard_poisoned 0", "orchard_http_responses_total{class=\"2xx\"} 4"] {
        assert!(metrics.text().lines().any(|other| other == line), "{line} in {}", metrics.text());
    }
    for line in metrics.text().lines() {
        assert!(line.starts_with("# ") || line.split(' ').count() == 2, "{line}");
    }
    assert_eq!(server.send("HEAD", "/livez", &[], b"").header("content-length"), Some("3"));
    assert_eq!(server.send("POST", "/livez", &[], b"").header("allow"), Some("GET, HEAD"));
    assert_eq!(server.get("/livez?x=1").problem(), (400, "unknown_parameter".into()));
    assert_eq!(server.get("/").problem(), (405, "method_not_allowed".into()), "Deno posts there");
    assert_eq!(server.get("/v1").problem(), (404, "no_such_route".into()));
    assert_eq!(server.get("/console").problem(), (501, "not_available".into()));
    let document = server.get("/openapi.json");
    assert_eq!((document.status, &document.json()["openapi"]), (200, &serde_json::json!("3.1.0")));
}

#[test]
fn a_stop_lets_requests_in_flight_finish() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    let mut idle = server.client();
    assert_eq!(idle.send("GET", "/livez", &[], b"").status, 200);
    let mut undecided = server.client();
    undecided.write(b"GET /li");
    let mut busy = server.client();
    busy.write(
        b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n",
    );
    assert_eq!(busy.read(false).status, 100, "the request is being handled now");
    busy.write(b"half");
    server.begin_stop();
    // The others are closed, which shows that the stop has begun.
    assert_eq!(idle.rest(), b"");
    assert_eq!(undecided.rest(), b"");
    assert!(TcpStream::connect(server.address).is_err(), "nobody new is accepted");
    busy.write(b"half");
    let reply = busy.read(false);
    assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
    assert_eq!(busy.rest(), b"");
    let db = server.db.clone();
    server.join();
    db.close().expect("it closes");
    drop(db);
    let db = Db::open(directory.path()).expect("it opens");
    assert_eq!(db.get("k").expect("readable").expect("there").value, Value::from("halfhalf"));
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let options = ServerOptions { drain_timeout: Duration::from_millis(50), ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), options);
    let mut busy = server.client();
    busy.write(
        b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 8\r\n\r\n",
    );
    assert_eq!(busy.read(false).status, 100);
    server.join();
    assert_eq!(busy.rest(), b"");
}

fn fault_db(disk: &FaultDisk) -> Db {
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    };
    Options { memory_limit_bytes: Some(64 << 20), ..Options::default() }.open_env(env).expect("it opens")
}

#[test]
fn after_a_failed_sync_reads_go_on_and_commits_are_refused_with_the_reason() {
    let disk = FaultDisk::new(1);
    let server = TestServer::start(fault_db(&disk), options());
    assert_eq!(server.put("/v1/kv/k", "text/plain", b"v").status, 200);
    disk.set_plan(FaultPlan { sync_error_per_million: 1_000_000, ..FaultPlan::default() });
    assert_eq!(server.put("/v1/kv/k", "text/plain", b"w").problem(), (503, "poisoned".into()));
    disk.set_plan(FaultPlan::default());
    assert_eq!(server.put("/v1/kv/k", "text/plain", b"w").problem(), (503, "poisoned".into()), "for good");
    let plain = server.get("/put?k=w");
    assert_eq!(plain.status, 503);
    assert!(plain.text().starts_with("[ERROR] (PUT) KEY: k "), "{}", plain.text());
    assert_eq!(server.get("/v1/kv/k").text(), "v");
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.get("/readyz").problem(), (503, "poisoned".into()));
    assert!(server.get("/metrics").text().contains("\norchard_poisoned 1\n"));
}

#[test]
fn a_closed_database_refuses_commits() {
    let server = TestServer::memory();
    server.db.close().expect("it closes");
    assert_eq!(server.put("/v1/kv/k", "text/plain", b"v").problem(), (503, "closed".into()));
}
