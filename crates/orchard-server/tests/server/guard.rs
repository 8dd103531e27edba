//! Who is refused: web pages of other origins, foreign hosts, clients without the token.

use crate::common::{TestServer, options};
use orchard_server::{Secret, ServeError, ServerOptions, serve};
use orcharddb::Db;
use std::net::SocketAddr;

#[test]
fn no_web_page_of_another_origin_gets_through() {
    let server = TestServer::memory();
    server.db.put("k", "v").expect("written");
    let own = server.address.to_string();
    for headers in [
        &[("origin", "https://example.com")][..],
        &[("origin", "null")],
        &[("origin", "http://localhost:1")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
    ] {
        for target in ["/put?k=w", "/get/k", "/delete/k", "/v1/kv/k", "/v1/kv", "/livez", "/metrics"] {
            let headers = [&[("host", own.as_str())], headers].concat();
            let reply = server.send("GET", target, &headers, b"");
            assert_eq!(reply.problem(), (403, "origin_refused".into()), "{target} {headers:?}");
        }
    }
    let origin = format!("http://{own}");
    let same = [("host", own.as_str()), ("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
    assert_eq!(server.send("GET", "/get/k", &same, b"").text(), "[INFO] (GET) KEY: k VALUE: v\n");
    assert_eq!(server.send("GET", "/get/k", &[("sec-fetch-site", "none")], b"").status, 200);
    // A preflight is answered without any permission.
    let preflight =
        [("host", own.as_str()), ("origin", origin.as_str()), ("access-control-request-method", "PUT")];
    let reply = server.send("OPTIONS", "/v1/kv/k", &preflight, b"");
    assert_eq!(reply.status, 405);
    assert!(!reply.headers.iter().any(|(name, _)| name.starts_with("access-control")));
}

#[test]
fn without_a_token_only_loopback_names_are_served() {
    let server = TestServer::memory();
    for host in ["localhost", "LocalHost:4206", "db.localhost", "127.0.0.1:9", "127.9.9.9", "[::1]:4206"] {
        assert_eq!(server.send("GET", "/livez", &[("host", host)], b"").status, 200, "{host}");
    }
    for host in ["example.com", "127.0.0.1.example.com", "0.0.0.0", "10.0.0.1:4206", "localhost.example.com"]
    {
        let reply = server.send("GET", "/put?k=v", &[("host", host)], b"");
        assert_eq!(reply.problem(), (403, "host_refused".into()), "{host}");
    }
    let mut client = server.client();
    client.write(b"GET http://example.com/put?k=v HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(client.read(false).problem(), (403, "host_refused".into()));
    client.write(b"GET /put?k=v HTTP/1.1\r\n\r\n");
    assert_eq!(client.read(false).problem(), (400, "bad_request".into()));
    client.write(b"GET /put?k=v HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n");
    assert_eq!(client.read(false).problem(), (400, "bad_request".into()));
    assert_eq!(server.db.iter().count(), 0);
}

#[test]
fn with_a_token_everything_but_the_probes_needs_it() {
    let token = Secret::new("s3cret").expect("printable");
    let options = ServerOptions { access_token: Some(token).into(), ..options() };
    let server = TestServer::start(Db::memory().expect("it opens"), options);
    for target in ["/put?k=v", "/get/k", "/v1/kv/k", "/v1/kv", "/version", "/limits", "/metrics", "/nonsense"]
    {
        let reply = server.get(target);
        assert_eq!(reply.problem(), (401, "unauthorized".into()), "{target}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
        let wrong = server.send("GET", target, &[("authorization", "Bearer s3cre")], b"");
        assert_eq!(wrong.status, 401, "{target}");
    }
    for probe in ["/livez", "/readyz"] {
        assert_eq!(server.get(probe).status, 200);
    }
    let bearer = ("authorization", "Bearer s3cret");
    let reply = server.send("GET", "/put?k=v", &[bearer, ("host", "db.example.com")], b"");
    assert_eq!(reply.status, 200, "with a token any host will do");
    let page = [bearer, ("host", "db.example.com"), ("origin", "https://example.com")];
    assert_eq!(server.send("GET", "/put?k=w", &page, b"").problem(), (403, "origin_refused".into()));
}

#[test]
fn without_a_token_nothing_sent_is_held_against_a_client() {
    let server = TestServer::memory();
    assert_eq!(server.send("GET", "/livez", &[("authorization", "Bearer whatever")], b"").status, 200);
    assert_eq!(server.send("GET", "/version", &[("authorization", "Basic x")], b"").status, 200);
}

#[test]
fn an_address_that_others_reach_needs_a_token() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let db = Db::memory().expect("it opens");
    for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
        let address: SocketAddr = address.parse().expect("an address");
        let options = ServerOptions { listen: address, ..ServerOptions::default() };
        let refused =
            runtime.block_on(serve(db.clone(), options, async {}, |_| panic!("it must not listen")));
        assert!(matches!(refused, Err(ServeError::TokenRequired { address: named }) if named == address));
    }
    let server = TestServer::start(db.clone(), options());
    let options = ServerOptions { listen: server.address, ..ServerOptions::default() };
    let refused = runtime.block_on(serve(db, options, async {}, |_| panic!("it is taken")));
    assert!(matches!(refused, Err(ServeError::Bind { .. })));
}
