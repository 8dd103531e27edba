//! What the log says, and what it keeps to itself. One process, one log: the tests of this file share it.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

#[path = "server/common/mod.rs"]
mod common;

use common::{TestServer, options};
use orchard_server::{Secret, ServerOptions};
use orcharddb::Db;
use std::fmt;
use std::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("orchard")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        struct Line(String);
        impl Visit for Line {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                let name =
                    if field.name() == "message" { String::new() } else { format!("{}=", field.name()) };
                self.0.push_str(&format!(" {name}{value:?}"));
            }
        }
        let mut line = Line(format!("[{}]", event.metadata().level()));
        event.record(&mut line);
        LINES.lock().expect("no panic").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

fn lines() -> Vec<String> {
    LINES.lock().expect("no panic").drain(..).collect()
}

#[test]
fn lines_hold_sizes_instead_of_values_and_never_secrets() {
    tracing::subscriber::set_global_default(Log).expect("the first");
    let token = "t0ps3cret";
    let with_token =
        ServerOptions { access_token: Some(Secret::new(token).expect("printable")).into(), ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), with_token.clone());
    let bearer = format!("Bearer {token}");
    let send = |method: &str, target: &str, body: &str| {
        server.send(method, target, &[("authorization", &bearer)], body.as_bytes()).status
    };
    assert_eq!(send("GET", "/put?key2=topvalue&b=%0a%1b", ""), 200);
    assert_eq!(send("GET", "/get/key2", ""), 200);
    assert_eq!(send("GET", "/delete/key2", ""), 200);
    assert_eq!(send("GET", "/get/no%0ape", ""), 404);
    let said: Vec<String> = lines().into_iter().filter(|line| line.contains("KEY")).collect();
    assert_eq!(
        said,
        [
            "[INFO] (PUT) KEY: key2 VALUE: 8 bytes",
            "[INFO] (PUT) KEY: b VALUE: 2 bytes",
            "[INFO] (GET) KEY: key2 VALUE: 8 bytes",
            "[INFO] (DELETE) KEY: key2",
            "[ERROR] (GET) KEY: no\\npe NOT FOUND",
        ]
    );
    assert_eq!(send("PUT", "/v1/kv/k", "topvalue"), 200);
    assert_eq!(send("PUT", "/v1/kv/k?topvalue=topvalue", "topvalue"), 400);
    assert_eq!(send("PUT", "/v1/kv/k?ttl=topvalue", "topvalue"), 400);
    assert_eq!(send("GET", "/put?topvalue", ""), 400);
    let wrong = server.send("GET", "/version", &[("authorization", "Bearer topvalue")], b"");
    assert_eq!(wrong.status, 401);
    server.join();
    for line in lines() {
        assert!(!line.contains("topvalue") || line.contains("\"topvalue\" has no value"), "{line}");
        assert!(!line.contains(token), "{line}");
    }
    let with_values = ServerOptions { log_values: true, ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), with_values);
    assert_eq!(server.get("/put?k=a%0ab").status, 200);
    let said: Vec<String> = lines().into_iter().filter(|line| line.contains("KEY")).collect();
    assert_eq!(said, ["[INFO] (PUT) KEY: k VALUE: a\\nb"]);
}
