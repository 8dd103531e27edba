//! `/v1/kv/{part}/..`: types, ETags, conditions, limits.

use crate::common::{Reply, TestServer, options};
use orcharddb::{Db, IntoKey, KeyPart, Options, Value, ValueType, limits};

fn stored(server: &TestServer, key: impl IntoKey) -> Value {
    server.db.get(key).expect("readable").expect("there").value
}

fn etag(reply: &Reply) -> String {
    reply.header("etag").expect("an ETag").to_owned()
}

#[test]
fn a_content_type_chooses_the_type_and_get_gives_it_back() {
    let server = TestServer::memory();
    for (content_type, body, value, back) in [
        ("text/plain", "hi", Value::from("hi"), "text/plain; charset=utf-8"),
        ("application/octet-stream", "hi", Value::bytes(&b"hi"[..]), "application/octet-stream"),
        ("application/json", "{\"a\": 1.50}", Value::json("{\"a\": 1.50}"), "application/json"),
        ("application/json", "42", Value::from(42_i64), "application/json"),
        ("application/json", "-1.5", Value::from(-1.5_f64), "application/json"),
        ("application/json", "true", Value::from(true), "application/json"),
        ("application/json", "null", Value::null(), "application/json"),
        ("application/x-www-form-urlencoded", "hi", Value::from("hi"), "text/plain; charset=utf-8"),
    ] {
        let put = server.put("/v1/kv/users/ada", content_type, body.as_bytes());
        assert_eq!(put.status, 200, "{put:?}");
        let parts = ["users", "ada"].map(|part| KeyPart::String(part.to_owned()));
        assert_eq!(stored(&server, parts), value, "{content_type} {body}");
        let get = server.get("/v1/kv/users/ada");
        assert_eq!((get.status, get.text()), (200, body));
        assert_eq!(get.header("content-type"), Some(back));
        assert_eq!(get.header("orchard-type"), Some(value.value_type.name()));
        assert_eq!(etag(&get), format!("\"{}\"", put.json()["versionstamp"].as_str().expect("a stamp")));
        assert_eq!(get.header("x-content-type-options"), Some("nosniff"));
    }
    let quoted = server.put("/v1/kv/k", "application/json", b"\"hi\"");
    assert_eq!((quoted.status, stored(&server, "k")), (200, Value::from("hi")));
    server.put("/v1/kv/k", "application/json", b"{\"$bytes\": \"AP8=\"}");
    assert_eq!(stored(&server, "k"), Value::bytes(vec![0, 255]));
    server.put("/v1/kv/k", "application/json", b"{\"$u64\": \"5\"}");
    assert_eq!(stored(&server, "k"), Value::u64(5));
    assert_eq!(server.send("PUT", "/v1/kv/k", &[], b"\xff").status, 200);
    assert_eq!(stored(&server, "k"), Value::bytes(vec![255]));
    assert_eq!(server.send("PUT", "/v1/kv/k", &[], b"").status, 200);
    assert_eq!(stored(&server, "k"), Value::from(""));
}

#[test]
fn accept_chooses_the_rendering() {
    let server = TestServer::memory();
    server.put("/v1/kv/n?ttl=1h", "application/json", b"42");
    let entry = server.send("GET", "/v1/kv/n", &[("accept", "application/json")], b"");
    let json = entry.json();
    assert_eq!(
        (&json["key"], &json["value"], &json["type"]),
        (&"[\"n\"]".parse().expect("JSON"), &42.into(), &"int".into())
    );
    assert!(json["expires_at"].is_string() && json["versionstamp"].is_string(), "{json}");
    let text = server.send("GET", "/v1/kv/n", &[("accept", "text/plain")], b"");
    assert_eq!((text.header("content-type"), text.text()), (Some("text/plain; charset=utf-8"), "42"));
    assert!(text.header("orchard-expires-at").is_some());
    server.db.put("n", f64::NAN).expect("written");
    let nan = server.get("/v1/kv/n");
    assert_eq!((nan.header("content-type"), nan.text()), (Some("text/plain; charset=utf-8"), "NaN"));
}

#[test]
fn head_has_the_headers_of_get() {
    let server = TestServer::memory();
    server.put("/v1/kv/k", "text/plain", b"four");
    let (get, head) = (server.get("/v1/kv/k"), server.send("HEAD", "/v1/kv/k", &[], b""));
    assert_eq!((head.status, head.header("content-length")), (200, Some("4")));
    for name in ["etag", "content-type", "orchard-type", "x-content-type-options"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
    assert_eq!(server.send("HEAD", "/v1/kv/nope", &[], b"").status, 404);
}

#[test]
fn any_key_can_be_named_by_a_parameter() {
    let server = TestServer::memory();
    let target = "/v1/kv?key=%5B%22users%22,42,true,%7B%22$bytes%22:%22AP8=%22%7D%5D";
    assert_eq!(server.put(target, "text/plain", b"v").status, 200);
    let key = vec![
        KeyPart::String("users".into()),
        KeyPart::Float(42.0),
        KeyPart::True,
        KeyPart::Bytes(vec![0, 255]),
    ];
    assert_eq!(stored(&server, key), Value::from("v"));
    assert_eq!(server.get(target).text(), "v");
    assert_eq!(server.send("DELETE", target, &[], b"").status, 200);
    assert_eq!(server.get(target).problem(), (404, "key_not_found".into()));
    server.put("/v1/kv/a%2Fb/%FF", "text/plain", b"v");
    assert_eq!(
        stored(&server, vec![KeyPart::String("a/b".into()), KeyPart::Bytes(vec![255])]),
        Value::from("v")
    );
    assert_eq!(server.get("/v1/kv?key=%5B%5D").status, 404);
    for target in ["/v1/kv?key=%5Bnull%5D", "/v1/kv?key=%5B1", "/v1/kv/a%zz"] {
        assert_eq!(server.get(target).problem(), (400, "bad_key".into()), "{target}");
    }
    assert_eq!(server.put("/v1/kv", "text/plain", b"v").problem(), (400, "bad_key".into()));
    assert_eq!(server.send("DELETE", "/v1/kv?prefix=a", &[], b"").status, 200);
}

#[test]
fn conditions_hold_or_nothing_is_written() {
    let server = TestServer::memory();
    let put = |headers: &[(&str, &str)], body: &str| server.send("PUT", "/v1/kv/k", headers, body.as_bytes());
    assert_eq!(put(&[("if-match", "*")], "0").problem(), (412, "precondition_failed".into()));
    let created = put(&[("if-none-match", "*")], "1");
    assert_eq!((created.status, created.header("location")), (201, Some("/v1/kv/k")));
    let refused = put(&[("if-none-match", "*")], "2");
    assert_eq!(refused.problem(), (412, "precondition_failed".into()));
    assert_eq!(format!("\"{}\"", refused.json()["found"].as_str().expect("found")), etag(&created));
    let second = put(&[("if-match", &etag(&created))], "2");
    assert_eq!(second.status, 200);
    assert_eq!(put(&[("if-match", &etag(&created))], "3").status, 412);
    let list = format!("\"other\", {}", etag(&second));
    let third = put(&[("if-match", &list)], "3");
    assert_eq!(third.status, 200);
    assert_eq!(put(&[("if-match", "*")], "4").status, 200);
    assert_eq!(
        put(&[("if-match", &format!("W/{}", etag(&third)))], "5").status,
        412,
        "weak tags never match"
    );
    let fourth = etag(&server.get("/v1/kv/k"));
    assert_eq!(put(&[("if-none-match", &fourth)], "5").status, 412);
    assert_eq!(put(&[("if-none-match", &etag(&third))], "5").status, 200);
    assert_eq!(put(&[("if-match", "nonsense")], "6").problem(), (400, "bad_request".into()));
    let delete = |headers: &[(&str, &str)]| server.send("DELETE", "/v1/kv/k", headers, b"").status;
    assert_eq!(delete(&[("if-match", &etag(&third))]), 412);
    assert_eq!(delete(&[("if-match", &etag(&server.get("/v1/kv/k")))]), 200);
    assert_eq!(delete(&[("if-match", "*")]), 412);
    assert_eq!(delete(&[]), 404);
}

#[test]
fn a_client_that_has_it_gets_304() {
    let server = TestServer::memory();
    server.put("/v1/kv/k", "text/plain", b"v");
    let tag = etag(&server.get("/v1/kv/k"));
    for value in [tag.clone(), format!("W/{tag}"), "*".to_owned(), format!("\"x\", {tag}")] {
        let reply = server.send("GET", "/v1/kv/k", &[("if-none-match", &value)], b"");
        assert_eq!((reply.status, reply.header("etag")), (304, Some(tag.as_str())), "{value}");
    }
    assert_eq!(server.send("GET", "/v1/kv/k", &[("if-none-match", "\"x\"")], b"").status, 200);
    assert_eq!(server.send("GET", "/v1/kv/k", &[("if-match", "\"x\"")], b"").status, 412);
    assert_eq!(server.send("GET", "/v1/kv/nope", &[("if-none-match", "*")], b"").status, 404);
}

#[test]
fn a_delete_says_whether_there_was_something() {
    let server = TestServer::memory();
    server.put("/v1/kv/k", "text/plain", b"v");
    let deleted = server.send("DELETE", "/v1/kv/k", &[], b"");
    assert_eq!(deleted.status, 200);
    assert!(deleted.json()["versionstamp"].is_string());
    assert_eq!(server.send("DELETE", "/v1/kv/k", &[], b"").problem(), (404, "key_not_found".into()));
}

#[test]
fn expiry_and_durability_are_parameters() {
    let server = TestServer::memory();
    let kept = server.put("/v1/kv/k?ttl=1h&durability=none", "text/plain", b"v");
    assert_eq!((kept.status, kept.json()["durability"].as_str()), (200, Some("none")));
    assert!(server.db.get("k").expect("readable").expect("there").expires_at.is_some());
    assert_eq!(server.put("/v1/kv/k?expires_at=1970-01-01T00:00:01Z", "text/plain", b"v").status, 200);
    assert_eq!(server.get("/v1/kv/k").status, 404, "it expired before it was written");
    for query in
        ["ttl=1", "ttl=0s", "ttl=1h&expires_at=2030-01-01T00:00:00Z", "durability=disk", "expires_at=never"]
    {
        assert_eq!(
            server.put(&format!("/v1/kv/k?{query}"), "text/plain", b"v").problem(),
            (400, "bad_query".into())
        );
    }
    for query in ["tll=1h", "a=b", "database=x"] {
        let reply = server.put(&format!("/v1/kv/k?{query}"), "text/plain", b"v");
        assert_eq!(reply.problem(), (400, "unknown_parameter".into()), "{query}");
    }
}

#[test]
fn a_connection_reads_what_it_wrote_early() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    let mut client = server.client();
    for round in 0..20 {
        let body = round.to_string();
        assert_eq!(client.send("PUT", "/v1/kv/k?durability=none", &[], body.as_bytes()).status, 200);
        assert_eq!(client.send("GET", "/v1/kv/k", &[], b"").text(), body);
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let server = TestServer::memory();
    assert_eq!(server.put("/v1/kv/k", "image/png", b"v").problem(), (415, "unsupported_media_type".into()));
    assert_eq!(server.put("/v1/kv/k", "text/plain; charset=latin1", b"v").status, 415);
    assert_eq!(server.put("/v1/kv/k", "text/plain", b"\xff").problem(), (400, "bad_value".into()));
    assert_eq!(server.put("/v1/kv/k", "application/json", b"{").problem(), (400, "bad_json".into()));
    let long = format!("/v1/kv/{}", "k".repeat(2_047));
    let reply = server.put(&long, "text/plain", b"v");
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!((reply.json()["limit"].as_u64(), reply.json()["actual"].as_u64()), (Some(2_048), Some(2_049)));
    assert_eq!(server.put(&format!("/v1/kv/{}", "k".repeat(2_046)), "text/plain", b"v").status, 200);
    let other = server.send("OPTIONS", "/v1/kv/k", &[], b"");
    assert_eq!(other.header("allow"), Some("GET, HEAD, PUT, DELETE, PATCH, POST"));
    assert_eq!(server.db.iter().count(), 1);
}

#[test]
fn the_largest_value_fits_and_one_byte_more_does_not() {
    let options = Options { durability: orcharddb::Durability::None, ..Options::default() };
    let server = TestServer::start(options.memory().expect("it opens"), crate::common::options());
    let mut body = vec![b'v'; limits::VALUE_SIZE_BYTES_MAX];
    assert_eq!(server.put("/v1/kv/k", "application/octet-stream", &body).status, 200);
    assert_eq!(server.get("/v1/kv/k").body, body);
    body.push(b'v');
    let mut client = server.client();
    let reply = client.send("PUT", "/v1/kv/k", &[], &body);
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!(reply.json()["limit"], limits::VALUE_SIZE_BYTES_MAX);
    assert_eq!(reply.json()["actual"], limits::VALUE_SIZE_BYTES_MAX + 1);
    assert_eq!(client.send("GET", "/livez", &[], b"").status, 200, "the connection goes on");
    // The same without a length, in chunks.
    let mut client = server.client();
    client.write(b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
    for chunk in body.chunks(1 << 20) {
        client.write(format!("{:x}\r\n", chunk.len()).as_bytes());
        client.write(chunk);
        client.write(b"\r\n");
    }
    client.write(b"0\r\n\r\n");
    assert_eq!(client.read(false).problem(), (413, "limit_exceeded".into()));
    // A client that asks first is told before it sends.
    let mut client = server.client();
    let head = format!(
        "PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        u64::MAX / 2
    );
    client.write(head.as_bytes());
    assert_eq!(client.read(false).status, 413);
    let mut client = server.client();
    client.write(
        b"PUT /v1/kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n",
    );
    assert_eq!(client.read(false).status, 100);
    client.write(b"ok");
    assert_eq!(client.read(false).status, 200);
    assert_eq!(stored(&server, "k").value_type, ValueType::Text);
}
