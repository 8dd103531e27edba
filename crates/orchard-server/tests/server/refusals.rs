//! Replies that come before the body has: at once, whatever the client still has to send.

use crate::common::{Client, TestServer, options};
use orchard_server::ServerOptions;
use orcharddb::{Db, limits};
use std::io::Write;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// A server that would wait for a body, and for a stop, until the test is given up.
fn patient() -> TestServer {
    let options = ServerOptions { stall_timeout: HOUR, body_timeout: HOUR, drain_timeout: HOUR, ..options() };
    TestServer::start(Db::memory().expect("it opens"), options)
}

/// A client that has announced a body of so many bytes and sent the first ones.
fn half(server: &TestServer, request: &str, length: u64, begin: &[u8]) -> Client {
    let mut client = server.client();
    // So that a reply that does not come is a failure, not a wait.
    client.stream.get_ref().set_read_timeout(Some(Duration::from_secs(20))).expect("a socket");
    client.write(format!("{request}\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n").as_bytes());
    client.write(begin);
    client
}

fn too_large(server: &TestServer) -> (Client, Vec<u8>) {
    let mut body = vec![b'v'; limits::VALUE_SIZE_BYTES_MAX + 1];
    let client = half(server, "PUT /v1/kv/k HTTP/1.1", body.len() as u64, b"half");
    body.drain(..4);
    (client, body)
}

#[test]
fn a_body_that_is_announced_over_the_limit_is_refused_before_it_is_sent() {
    let server = patient();
    let (mut client, rest) = too_large(&server);
    let reply = client.read(false);
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!(reply.json()["actual"], limits::VALUE_SIZE_BYTES_MAX + 1);
    client.write(&rest);
    assert_eq!(client.send("GET", "/livez", &[], b"").status, 200, "what came behind was passed over");
}

#[test]
fn a_body_that_grows_over_the_limit_is_refused_before_its_end() {
    let server = patient();
    let mut client = half(&server, "PUT /v1/kv/k HTTP/1.1", 1, b"1");
    assert_eq!(client.read(false).status, 200);
    client.write(b"POST /v1/kv/k?op=sum HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    client.write(format!("7d0\r\n{}\r\n", "1".repeat(2_000)).as_bytes());
    assert_eq!(client.read(false).problem(), (413, "limit_exceeded".into()));
    client.write(b"0\r\n\r\n");
    assert_eq!(client.send("GET", "/livez", &[], b"").status, 200);
}

#[test]
fn a_line_that_cannot_be_written_is_told_before_the_others_come() {
    let server = patient();
    let lines = b"{\"key\":[\"a\"],\"value\":1}\nno line\n";
    let request = "PUT /v1/kv HTTP/1.1\r\ncontent-type: application/x-ndjson";
    let mut client = half(&server, request, 1_000, lines);
    let reply = client.read(false);
    assert_eq!(reply.problem(), (400, "bad_json".into()));
    assert_eq!((&reply.json()["written"], &reply.json()["line"]), (&1.into(), &2.into()));
    client.write(&vec![b'\n'; 1_000 - lines.len()]);
    assert_eq!(client.send("GET", "/livez", &[], b"").status, 200);
}

#[test]
fn who_sends_nothing_behind_a_refusal_is_closed_in_the_end() {
    let options = ServerOptions { stall_timeout: Duration::from_millis(50), ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), options);
    let (mut client, _) = too_large(&server);
    assert_eq!(client.read(false).status, 413);
    assert_eq!(client.rest(), b"");
}

#[test]
fn what_comes_behind_a_refusal_is_passed_over_for_so_long_only() {
    let server = patient();
    let mut client = half(&server, "PUT /v1/kv/k HTTP/1.1", u64::MAX / 2, b"");
    assert_eq!(client.read(false).status, 413);
    let piece = vec![b'v'; 1 << 20];
    let taken = (0..1_024).take_while(|_| client.stream.get_mut().write_all(&piece).is_ok()).count();
    assert!((64..1_024).contains(&taken), "{taken} MiB");
}

#[test]
fn a_stop_does_not_wait_for_what_comes_behind_a_refusal() {
    let server = patient();
    let (mut client, _) = too_large(&server);
    assert_eq!(client.read(false).status, 413);
    server.join();
    assert_eq!(client.rest(), b"");
}
