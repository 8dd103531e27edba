//! What the listener makes of a connection's bytes: protocols, halves, pipelines, floods.

use crate::common::{Client, TestServer, options};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use orchard_server::ServerOptions;
use orcharddb::{Db, Value};
use std::time::Duration;

/// What the server answers to these bytes before it closes.
fn answer(server: &TestServer, bytes: &[u8]) -> String {
    let mut client = server.client();
    client.write(bytes);
    String::from_utf8_lossy(&client.rest()).into_owned()
}

#[test]
fn other_protocols_are_told_or_closed() {
    let server = TestServer::memory();
    assert_eq!(answer(&server, b"*1\r\n$4\r\nQUIT\r\n"), "+OK\r\n");
    assert_eq!(answer(&server, b"\x16\x03\x01\x02\x00\x01"), "", "TLS is closed");
    for line in ["PING", "\r\nPING", "hello", "GET /"] {
        let said = answer(&server, format!("{line}\r\nQUIT\r\n").as_bytes());
        assert!(said.ends_with("+OK\r\n"), "{line:?} is an inline command: {said:?}");
    }
    assert_eq!(answer(&server, b"GET / HTTP/2.0\r\nSET k v\r\n"), "", "HTTP in disguise");
    let long = "x".repeat(9_000);
    assert_eq!(answer(&server, long.as_bytes()), "-ERR Protocol error: too big inline request\r\n");
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn a_long_request_line_is_414() {
    let server = TestServer::memory();
    let mut client = server.client();
    client.write(format!("GET /put?k={} HTTP/1.1\r\nhost: localhost\r\n\r\n", "v".repeat(20_000)).as_bytes());
    assert_eq!(client.read(false).problem(), (414, "uri_too_long".into()));
    assert_eq!(client.rest(), b"");
}

#[test]
fn malformed_http_is_refused() {
    let server = TestServer::memory();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nbad header\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", "400"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nhost: localhost\r\nx: a\0b\r\n\r\n", "400"),
        ("GET \u{1} HTTP/1.1\r\nhost: localhost\r\n\r\n", "400"),
        ("GET / HTTP/1.9\r\nhost: localhost\r\n\r\n", "400"),
    ] {
        let said = answer(&server, request.as_bytes());
        assert_eq!(said.split(' ').nth(1), Some(status), "{request:?}: {said:?}");
    }
    let mut many = "GET /livez HTTP/1.1\r\nhost: localhost\r\n".to_owned();
    many.push_str(&"x: y\r\n".repeat(200));
    assert!(answer(&server, format!("{many}\r\n").as_bytes()).contains(" 431 "));
    let large = format!("GET /livez HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "y".repeat(64 * 1024));
    assert!(answer(&server, large.as_bytes()).contains(" 431 "));
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn http_1_0_and_a_closed_writing_side_get_their_reply() {
    let server = TestServer::memory();
    let mut client = server.client();
    client.write(b"GET /livez HTTP/1.0\r\n\r\n");
    client.end_writing();
    let said = String::from_utf8(client.rest()).expect("UTF-8");
    assert!(said.starts_with("HTTP/1.0 200 ") && said.ends_with("ok\n"), "{said}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::memory();
    let mut client = server.client();
    let mut requests = String::new();
    for number in 0..50 {
        requests.push_str(&format!("GET /put?k={number} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
        requests.push_str("GET /get/k HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    client.write(requests.as_bytes());
    for number in 0..50 {
        assert_eq!(client.read(false).text(), format!("[INFO] (PUT) KEY: k VALUE: {number}\n"));
        assert_eq!(client.read(false).text(), format!("[INFO] (GET) KEY: k VALUE: {number}\n"));
    }
}

#[test]
fn requests_may_arrive_byte_by_byte() {
    let server = TestServer::memory();
    let mut client = server.client();
    for byte in b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\nhi" {
        client.write(&[*byte]);
    }
    assert_eq!(client.read(false).status, 200);
    assert_eq!(client.send("GET", "/v1/kv/k", &[], b"").text(), "hi");
}

/// A server that loses its patience at once.
fn hasty() -> TestServer {
    let options = ServerOptions {
        first_line_timeout: Duration::from_millis(50),
        header_timeout: Duration::from_millis(50),
        stall_timeout: Duration::from_millis(50),
        ..options()
    };
    TestServer::start(Db::memory().expect("it opens"), options)
}

/// Pools connect before there is anything to say.
#[test]
fn a_silent_client_is_waited_for_unless_idle_ones_are_closed() {
    let server = hasty();
    let (mut silent, mut half) = (server.redis(), server.redis());
    half.write(b"PIN");
    assert_eq!(half.rest(), "");
    assert_eq!(silent.run("PING"), "+PONG");
    let mut early = server.redis();
    assert_eq!(silent.run("CONFIG SET timeout 1"), "+OK");
    let mut late = server.redis();
    assert_eq!((early.rest().as_str(), late.rest().as_str()), ("", ""));
}

#[test]
fn half_a_request_is_closed_in_the_end() {
    let server = hasty();
    for half in
        ["GET", "GET /livez HTTP/1.1", "GET /livez HTTP/1.1\r\n", "GET /livez HTTP/1.1\r\nhost: local"]
    {
        let said = answer(&server, half.as_bytes());
        assert!(!said.contains(" 200 "), "{half:?}: {said:?}");
    }
    let said = answer(&server, b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf");
    assert!(said.starts_with("HTTP/1.1 408 ") && said.contains("request_timeout"), "{said:?}");
    let mut client = server.client();
    client.write(b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\nhalf");
    client.end_writing();
    let said = String::from_utf8_lossy(&client.rest()).into_owned();
    assert!(!said.contains(" 200 "), "{said:?}");
    assert_eq!(server.db.iter().count(), 0, "half a body is no value");
}

#[test]
fn a_client_that_reads_nothing_is_closed_in_the_end() {
    let server = hasty();
    server.db.put("k", vec![b'x'; 16 << 20]).expect("written");
    let mut deaf = server.client();
    deaf.write(b"GET /v1/kv/k HTTP/1.1\r\nhost: localhost\r\n\r\n");
    // In the end only the connection that asks is open.
    while !server.get("/metrics").text().lines().any(|line| line == "orchard_connections_open 1") {}
    drop(deaf);
}

#[test]
fn connections_over_the_bound_are_told_so_in_their_own_language() {
    let options = ServerOptions { connections_max: 1, ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), options);
    let mut first = server.client();
    assert_eq!(first.send("GET", "/livez", &[], b"").status, 200);
    let refused = server.get("/livez");
    assert_eq!(refused.problem(), (503, "too_many_connections".to_owned()));
    assert_eq!((refused.header("connection"), refused.json()["limit"].as_u64()), (Some("close"), Some(1)));
    let full = "-ERR max number of clients reached\\r\\n";
    for said in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI", b""] {
        let mut client = server.redis();
        client.write(said);
        assert_eq!(client.rest(), full, "{}", said.escape_ascii());
    }
    let mut two = server.client();
    two.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(two.rest(), b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0b");
    let metrics = first.send("GET", "/metrics", &[], b"");
    for line in ["orchard_connections_total 1", "orchard_connections_refused_total 5"] {
        assert!(metrics.text().lines().any(|found| found == line), "{}", metrics.text());
    }
    drop(first);
    // There is room once the server has seen that the first has gone.
    while server.redis().run("PING") != "+PONG" {}
}

#[test]
fn a_flood_over_the_bound_is_dropped_and_harms_nobody() {
    let options = ServerOptions { connections_max: 2, ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), options);
    let mut first = server.redis();
    assert_eq!(first.run("PING"), "+PONG");
    // Silent ones, so that each is waited for as long as may be.
    let mut flood = Vec::new();
    let refused = "rejected_connections:";
    let count = |info: String| {
        let (_, behind) = info.split_once(refused).expect("it is there");
        behind.split('\\').next().and_then(|number| number.parse().ok()).unwrap_or(0)
    };
    while count(first.run("INFO stats")) < 300 {
        flood.push(server.redis());
    }
    assert_eq!(first.run("CONFIG GET maxclients"), "[\"maxclients\", \"2\"]");
    assert_eq!(first.run("CONFIG SET maxclients 1000"), "+OK");
    assert_eq!(first.run("CONFIG GET maxclients"), "[\"maxclients\", \"1000\"]");
    assert_eq!(server.redis().run("PING"), "+PONG", "there is room now");
    let failed = "-ERR CONFIG SET failed (possibly related to argument 'maxclients') -";
    for wrong in ["0", "4294967296"] {
        let said = first.run(&format!("CONFIG SET maxclients {wrong}"));
        assert_eq!(said, format!("{failed} argument must be between 1 and 4294967295 inclusive"));
    }
    let said = first.run("CONFIG SET maxclients 4294967295");
    let impossible = format!(
        "{failed} The operating system is not able to handle the specified number of clients, try with "
    );
    assert!(said.starts_with(&impossible), "{said}");
}

#[test]
fn clients_that_vanish_leave_the_server_well() {
    let server = TestServer::memory();
    for cut in [1, 10, 30, 60, 90] {
        let mut client: Client = server.client();
        let request = b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 64\r\n\r\n0123456789012345678901234567890123456789";
        client.write(&request[..cut]);
    }
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.db.iter().count(), 0);
}

#[test]
fn http_2_with_prior_knowledge() {
    let server = TestServer::memory();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let uri = |path: &str| format!("http://localhost{path}");
        let put = hyper::Request::put(uri("/v1/kv/k"))
            .body(Full::new(Bytes::from_static(b"two")))
            .expect("a request");
        let reply = sender.send_request(put).await.expect("a reply");
        assert_eq!((reply.status().as_u16(), reply.version()), (200, hyper::Version::HTTP_2));
        let gets = (0..20).map(|_| {
            let get = hyper::Request::get(uri("/v1/kv/k")).body(Full::new(Bytes::new())).expect("a request");
            sender.send_request(get)
        });
        for reply in gets.collect::<Vec<_>>() {
            let body = reply.await.expect("a reply").into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), Bytes::from_static(b"two"));
        }
        let head = hyper::Request::head(uri("/v1/kv/k")).body(Full::default()).expect("a request");
        let reply = sender.send_request(head).await.expect("a reply");
        assert_eq!(reply.headers().get("content-length").map(|length| length.as_bytes()), Some(&b"3"[..]));
        let foreign =
            hyper::Request::get("http://example.com/put?k=v").body(Full::default()).expect("a request");
        assert_eq!(sender.send_request(foreign).await.expect("a reply").status().as_u16(), 403);
        let large =
            hyper::Request::put(uri("/v1/kv/k")).body(Full::new(Bytes::from(vec![0; (16 << 20) + 1])));
        let refused = sender.send_request(large.expect("a request")).await;
        assert!(refused.is_err() || refused.is_ok_and(|reply| reply.status().as_u16() == 413));
        drop(sender);
        let _ = connection.await;
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let _connection = tokio::spawn(connection);
        let stream = hyper::Request::get(uri("/v1/kv")).header("accept", "application/x-ndjson");
        let reply = sender
            .send_request(stream.body(Empty::<Bytes>::new()).expect("a request"))
            .await
            .expect("a reply");
        let body = reply.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body.iter().filter(|byte| **byte == b'\n').count(), 1);
    });
    assert_eq!(server.db.get("k").expect("readable").expect("there").value, Value::from("two"));
}

/// A feed, large and small requests on one connection: none waits for the others to end, and a stop ends them all.
#[test]
fn http_2_streams_do_not_hold_each_other_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let stream = tokio::net::TcpStream::connect(server.address).await.expect("it listens");
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = |method: &str, path: &str, body: Bytes| {
            let request = hyper::Request::builder().method(method).uri(format!("http://localhost{path}"));
            request.body(Full::new(body)).expect("a request")
        };
        let feed = sender.send_request(request("GET", "/v1/changes", Bytes::new()));
        let mut feed = feed.await.expect("a feed").into_body();
        let large = format!(
            "{{\"operations\": [{}]}}",
            vec![r#"{"op": "put", "key": ["large"], "value": "x"}"#; 5_000].join(",")
        );
        let batch = sender.send_request(request("POST", "/v1/batch", large.into()));
        let puts: Vec<_> = (0..64)
            .map(|n| sender.send_request(request("PUT", &format!("/v1/kv/k{n}"), Bytes::from("v"))))
            .collect();
        for put in puts {
            assert_eq!(put.await.expect("a reply").status().as_u16(), 200);
        }
        assert_eq!(batch.await.expect("a reply").status().as_u16(), 200);
        let mut seen = String::new();
        while !seen.contains("k63") {
            let frame = feed.frame().await.expect("the feed goes on").expect("a frame");
            seen.push_str(&String::from_utf8_lossy(&frame.into_data().expect("data")));
        }
        server.begin_stop();
        // What is left of the feed, to its end.
        feed.collect().await.expect("it ends well");
        drop(sender);
        let _ = connection.await;
    });
    assert_eq!(server.db.iter().count(), 65);
    server.join();
}
