//! `?db=`: the same keys in databases by name.

use crate::common::TestServer;
use serde_json::json;

#[test]
fn each_database_has_keys_of_its_own() {
    let server = TestServer::memory();
    assert_eq!(server.get("/put?k=zero").status, 200);
    assert_eq!(server.get("/put?k=one&db=1").text(), "[INFO] (PUT) KEY: k VALUE: one\n");
    assert_eq!(server.put("/v1/kv/k?db=plums", "text/plain", b"plums").status, 200);
    let commit = json!({ "mutations": [{ "op": "set", "key": ["c"], "value": "committed" }] }).to_string();
    let headers = [("content-type", "application/json")];
    assert_eq!(server.send("POST", "/v1/commit?db=plums", &headers, commit.as_bytes()).status, 200);

    for (query, value) in [("", "zero"), ("?db=0", "zero"), ("?db=1", "one"), ("?db=plums", "plums")] {
        assert_eq!(server.get(&format!("/v1/kv/k{query}")).text(), value);
        assert_eq!(
            server.get(&format!("/get/k{query}")).text(),
            format!("[INFO] (GET) KEY: k VALUE: {value}\n")
        );
    }
    let listed = |db: &str| server.get(&format!("/v1/kv?db={db}")).json()["entries"].as_array().map(Vec::len);
    assert_eq!((listed("0"), listed("1"), listed("plums")), (Some(1), Some(1), Some(2)));
    assert_eq!(server.send("DELETE", "/v1/kv/k?db=plums", &[], b"").status, 200);
    assert_eq!(server.get("/delete/k?db=1").status, 200);
    assert_eq!((listed("0"), listed("1"), listed("plums")), (Some(1), Some(0), Some(1)));
}

#[test]
fn a_read_of_an_unknown_database_finds_nothing_and_creates_none() {
    let server = TestServer::memory();
    assert_eq!(server.get("/v1/kv/k?db=plums").status, 404);
    assert_eq!(server.get("/get/k?db=plums").status, 404);
    assert_eq!(server.get("/delete/k?db=plums").status, 404);
    assert_eq!(server.send("DELETE", "/v1/kv/k?db=plums", &[], b"").status, 404);
    assert_eq!(server.get("/v1/kv?db=plums").json()["entries"], json!([]));
    assert_eq!(server.db.databases().expect("readable").len(), 1);
    assert_eq!(server.put("/v1/kv/k?db=plums", "text/plain", b"x").status, 200);
    assert_eq!(server.db.databases().expect("readable").len(), 2);
}

#[test]
fn a_name_that_is_none_is_refused() {
    let server = TestServer::memory();
    for db in ["", "a%0Ab", "%ff"] {
        assert_eq!(server.get(&format!("/v1/kv?db={db}")).problem().0, 400, "{db}");
        assert_eq!(server.get(&format!("/put?k=v&db={db}")).status, 400, "{db}");
    }
    let long = "x".repeat(257);
    let reply = server.get(&format!("/v1/kv/k?db={long}"));
    assert_eq!((&reply.json()["limit"], &reply.json()["actual"]), (&json!(256), &json!(257)));
    assert_eq!(server.get("/put?db=1").status, 400);
    assert_eq!(server.get("/put?k=v&db=1&db=2").status, 400);
}

#[test]
fn databases_are_created_listed_swapped_and_dropped() {
    let server = TestServer::memory();
    let send = |method: &str, target: &str, body: &str| {
        server.send(method, target, &[("content-type", "application/json")], body.as_bytes())
    };
    let names = || server.get("/v1/databases").json()["databases"].clone();
    assert_eq!(names(), json!(["0"]));
    assert_eq!(send("PUT", "/v1/databases/plums", "").json(), json!({"database": "plums"}));
    assert_eq!(send("PUT", "/v1/databases/plums", "").status, 200, "it may be there");
    assert_eq!(send("PUT", "/v1/databases/a%2Fb%20%C3%A9", "").json(), json!({"database": "a/b é"}));
    assert_eq!(send("PUT", "/v1/databases/swap", "").status, 200, "a name as any other");
    assert_eq!(names(), json!(["0", "a/b é", "plums", "swap"]));
    server.put("/v1/kv/k?db=plums", "text/plain", b"damson");
    server.put("/v1/kv/k", "text/plain", b"default");
    let swap = send("POST", "/v1/databases/swap", r#"{"databases": ["0", "plums"]}"#);
    assert_eq!((swap.status, server.get("/v1/kv/k").text().to_owned()), (200, "damson".to_owned()));
    assert_eq!(server.get("/v1/kv/k?db=plums").text(), "default");
    assert_eq!(send("DELETE", "/v1/databases/plums", "").status, 200);
    assert_eq!(server.get("/v1/kv/k?db=plums").status, 404);
    assert_eq!(send("DELETE", "/v1/databases/plums", "").problem(), (404, "database_not_found".into()));
    assert_eq!(send("DELETE", "/v1/databases/0", "").status, 200, "it is emptied and stays");
    assert_eq!(server.get("/v1/kv/k").status, 404);
    assert_eq!(names(), json!(["0", "a/b é", "swap"]));
    for (method, target, body, code) in [
        ("PUT", "/v1/databases/%0A", "", "bad_query"),
        ("PUT", "/v1/databases/%FF", "", "bad_request"),
        ("PUT", "/v1/databases/", "", "bad_query"),
        ("POST", "/v1/databases/swap", r#"{"databases": ["a"]}"#, "bad_json"),
        ("POST", "/v1/databases/swap", r#"{"databases": ["a", "b"], "c": 1}"#, "bad_json"),
        ("POST", "/v1/databases/swap", r#"{"databases": ["a", ""]}"#, "bad_query"),
        ("GET", "/v1/databases?db=0", "", "unknown_parameter"),
    ] {
        assert_eq!(send(method, target, body).problem(), (400, code.into()), "{method} {target} {body}");
    }
    let long = format!("/v1/databases/{}", "x".repeat(257));
    assert_eq!(send("PUT", &long, "").problem(), (413, "limit_exceeded".into()));
}
