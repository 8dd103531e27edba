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
