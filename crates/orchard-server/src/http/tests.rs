//! Requests while a commit waits for memory.

use super::*;
use crate::{Server, ServerOptions};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use orchard_wire::media;
use orcharddb::Db;
use std::sync::mpsc;
use std::thread::JoinHandle;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::{spawn_blocking, yield_now};

const PIPE_BYTES: usize = 64 * 1024;

/// One thread for all tasks, one for all that blocks: see [`turns`].
fn runtime() -> Runtime {
    Builder::new_current_thread().max_blocking_threads(1).enable_all().build().expect("a runtime")
}

/// Until everything has happened that can.
async fn turns() {
    for _ in 0..32 {
        for _ in 0..32 {
            yield_now().await;
        }
        spawn_blocking(|| ()).await.expect("no panic");
    }
}

fn server() -> Arc<Server> {
    let db = Db::memory().expect("it opens");
    db.put("there", 1_i64).expect("written");
    Arc::new(Server::new(db, ServerOptions::default()))
}

fn commits(server: &Server) -> u64 {
    server.db.stats().commits
}

/// A client on a connection of its own.
fn client(server: &Arc<Server>) -> DuplexStream {
    let (ours, theirs) = duplex(PIPE_BYTES);
    let (sender, stopped) = watch::channel(false);
    let session = Arc::new(Session::new(server.clone(), stopped));
    tokio::spawn(async move {
        let service = service_fn(|request| handle(&session, request));
        // A client that goes away is none of the test's business.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(theirs), service).await;
        drop(sender);
    });
    ours
}

fn head(line: &str, content_type: &str, length: usize) -> String {
    format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {content_type}\r\n\
         content-length: {length}\r\n\r\n"
    )
}

async fn send(client: &mut DuplexStream, line: &str, content_type: &str, body: &str) {
    let request = head(line, content_type, body.len()) + body;
    client.write_all(request.as_bytes()).await.expect("the server takes it");
}

async fn reply(client: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut reply = String::new();
    client.read_to_string(&mut reply).await.expect("text");
    reply
}

/// A commit that waits for memory until the test says that there is some.
struct Full {
    end: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Full {
    fn begin(server: &Server) -> Full {
        let (end, ended) = mpsc::channel();
        let (begin, begun) = mpsc::channel();
        let aside = server.aside.clone();
        let thread = std::thread::spawn(move || {
            aside.wait(&mut || {
                begin.send(()).expect("the test waits");
                // A test that is over ends it, too.
                let _ = ended.recv();
            });
        });
        begun.recv().expect("it waits");
        Full { end, thread }
    }

    fn end(self) {
        drop(self.end);
        self.thread.join().expect("no panic");
    }
}

#[test]
fn whoever_writes_waits_until_there_is_memory() {
    let many: Vec<String> = (0..200).map(|number: u32| number.to_string()).collect();
    let many = format!(r#"{{"op":"set_add","key":["s"],"members":{many:?}}}"#);
    let push = r#"{"op":"list_append","key":["l"],"value":1}"#;
    let put = r#"{"op":"put","key":["k"],"value":1}"#;
    let cases = [
        ("PUT /v1/kv/k", media::JSON, "1".to_owned()),
        ("POST /v1/kv/k?op=sum", media::JSON, "1".to_owned()),
        ("POST /v1/commit", media::JSON, format!(r#"{{"mutations":[{push}]}}"#)),
        ("POST /v1/lists/l/append", media::JSON, "1".to_owned()),
        ("POST /v1/batch", media::JSON, format!(r#"{{"operations":[{put}]}}"#)),
        ("POST /v1/batch", media::JSON, format!(r#"{{"operations":[{push}]}}"#)),
        ("POST /v1/batch", media::JSON, format!(r#"{{"operations":[{many}]}}"#)),
        ("POST /v1/batch", media::NDJSON, put.to_owned()),
        ("PUT /v1/kv", media::NDJSON, r#"{"key":["k"],"value":1}"#.to_owned()),
        (
            "PUT /v1/kv",
            media::NDJSON,
            r#"{"key":["l"],"type":"list","offset":0,"elements":[{"value":"x","type":"text"}]}"#.to_owned(),
        ),
        ("POST /v1/queues/q", media::JSON, r#"{"payload":1}"#.to_owned()),
    ];
    runtime().block_on(async {
        for (line, content_type, body) in cases {
            let server = server();
            let before = commits(&server);
            let full = Full::begin(&server);
            let mut client = client(&server);
            send(&mut client, line, content_type, &body).await;
            turns().await;
            assert_eq!(commits(&server), before, "{line} {body}");
            full.end();
            let reply = reply(&mut client).await;
            assert!(reply.starts_with("HTTP/1.1 20") && !reply.contains("code"), "{line} {body}: {reply}");
            assert!(commits(&server) > before, "{line} {body}: {reply}");
        }
    });
}

#[test]
fn reads_and_deletes_go_on_meanwhile() {
    runtime().block_on(async {
        let server = server();
        let full = Full::begin(&server);
        let operations = r#"{"operations":[{"op":"get","key":["there"]},{"op":"delete","key":["there"]}]}"#;
        for (line, body) in [("GET /livez", ""), ("GET /v1/kv/there", ""), ("POST /v1/batch", operations)] {
            let mut client = client(&server);
            send(&mut client, line, media::JSON, body).await;
            let reply = reply(&mut client).await;
            assert!(reply.starts_with("HTTP/1.1 200 ") && !reply.contains("code"), "{line}: {reply}");
        }
        full.end();
    });
}

#[test]
fn results_before_a_write_that_waits_are_sent() {
    runtime().block_on(async {
        let server = server();
        let before = commits(&server);
        let full = Full::begin(&server);
        let mut client = client(&server);
        let lines = "{\"op\":\"get\",\"key\":[\"none\"]}\n{\"op\":\"put\",\"key\":[\"k\"],\"value\":1}\n";
        send(&mut client, "POST /v1/batch", media::NDJSON, lines).await;
        let mut first = Vec::new();
        while !String::from_utf8_lossy(&first).contains("key_not_found") {
            assert_ne!(client.read_buf(&mut first).await.expect("a reply"), 0, "it ended");
        }
        assert_eq!(commits(&server), before);
        full.end();
        assert!(reply(&mut client).await.contains("versionstamp"));
    });
}

/// The lines of a body that is sent while a commit waits stay with the client.
#[test]
fn a_body_is_not_read_on_meanwhile() {
    const LINES: usize = 8_192;
    let value = "v".repeat(1_000);
    let put = format!("{{\"op\":\"put\",\"key\":[\"k\"],\"value\":\"{value}\"}}\n");
    let entry = format!("{{\"key\":[\"k\"],\"value\":\"{value}\"}}\n");
    runtime().block_on(async {
        for (line, text) in [("POST /v1/batch", put), ("PUT /v1/kv", entry)] {
            let server = server();
            let full = Full::begin(&server);
            let (mut reads, mut writes) = tokio::io::split(client(&server));
            let body = text.repeat(LINES);
            let head = head(line, media::NDJSON, body.len());
            writes.write_all(head.as_bytes()).await.expect("the server takes it");
            let mut left = body.as_bytes();
            loop {
                tokio::select! {
                    biased;
                    written = writes.write_buf(&mut left) => {
                        written.expect("the server takes it");
                    }
                    () = turns() => break,
                }
            }
            let taken = body.len() - left.len();
            // A commit that is being put together, and what is under way.
            assert!(taken < 2 << 20, "{line}: {taken} bytes");
            full.end();
            let (sent, reply) = tokio::join!(writes.write_all(left), reply(&mut reads));
            sent.expect("the server takes it");
            assert!(reply.starts_with("HTTP/1.1 200 ") && !reply.contains("code"), "{line}: {reply}");
            let written = reply.matches("\"versionstamp\"").count();
            assert!(written == LINES || reply.contains(&format!("\"written\":{LINES}")), "{line}: {written}");
        }
    });
}
