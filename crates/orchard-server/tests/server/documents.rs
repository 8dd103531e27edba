//! Parts of JSON documents, merge patches, numbers and expiry, and entries as they were.

use crate::common::{Reply, TestServer};
use orcharddb::{IntoKey, UnixMillis, Value, ValueType};
use serde_json::json;

const JSON: (&str, &str) = ("content-type", "application/json");
const PATCH: (&str, &str) = ("content-type", "application/merge-patch+json");

fn stored(server: &TestServer, key: impl IntoKey) -> Value {
    server.db.get(key).expect("readable").expect("there").value
}

fn send(server: &TestServer, method: &str, target: &str, body: &str) -> Reply {
    server.send(method, target, &[JSON], body.as_bytes())
}

#[test]
fn a_pointer_reads_and_writes_a_part() {
    let server = TestServer::memory();
    let document = "{ \"name\": \"Ada\", \"visits\": [1.50, 2],\n \"a/b\": {} }";
    let etag = server
        .put("/v1/kv/doc?ttl=1h", "application/json", document.as_bytes())
        .header("etag")
        .map(str::to_owned);
    let part = server.get("/v1/kv/doc?pointer=/visits/0");
    assert_eq!((part.status, part.text()), (200, "1.50"));
    assert_eq!(
        (part.header("content-type"), part.header("etag")),
        (Some("application/json"), etag.as_deref())
    );
    assert_eq!(server.get("/v1/kv/doc?pointer=/a~1b").text(), "{}");
    assert_eq!(server.get("/v1/kv/doc?pointer=").text(), document);
    assert_eq!(server.get("/v1/kv/doc?pointer=/no").problem(), (404, "pointer_not_found".into()));
    assert_eq!(server.get("/v1/kv/doc?pointer=no").problem(), (400, "bad_query".into()));
    assert_eq!(server.get("/v1/kv/none?pointer=/no").problem(), (404, "key_not_found".into()));

    assert_eq!(send(&server, "PUT", "/v1/kv/doc?pointer=/visits/-", "{\"n\": 3}").status, 200);
    assert_eq!(send(&server, "PUT", "/v1/kv/doc?pointer=/name", "\"Bob\"").status, 200);
    let expected = "{ \"name\": \"Bob\", \"visits\": [1.50, 2,{\"n\": 3}],\n \"a/b\": {} }";
    assert_eq!(stored(&server, "doc"), Value::json(expected));
    assert!(server.db.get("doc").expect("readable").expect("there").expires_at.is_some(), "the expiry stays");
    assert_eq!(
        send(&server, "PUT", "/v1/kv/doc?pointer=/x/y", "1").problem(),
        (404, "pointer_not_found".into())
    );
    let stale = [JSON, ("if-match", etag.as_deref().expect("an ETag"))];
    let reply = server.send("PUT", "/v1/kv/doc?pointer=/name", &stale, b"1");
    assert_eq!(reply.problem(), (412, "precondition_failed".into()));
    assert_eq!(send(&server, "DELETE", "/v1/kv/doc?pointer=/visits/0", "").status, 200);
    assert_eq!(server.get("/v1/kv/doc?pointer=/visits").text(), "[2,{\"n\": 3}]");
    server.db.put("bytes", vec![1, 2]).expect("written");
    assert_eq!(server.get("/v1/kv/bytes?pointer=/a").problem(), (409, "wrong_type".into()));
}

#[test]
fn a_merge_patch_changes_what_it_names() {
    let server = TestServer::memory();
    let patch = |target: &str, headers: &[(&str, &str)], body: &str| {
        server.send("PATCH", target, headers, body.as_bytes())
    };
    let created = patch("/v1/kv/doc?ttl=1h", &[PATCH], r#"{"a": 1.50, "b": {"c": 2, "gone": null}}"#);
    assert_eq!(created.status, 200, "{created:?}");
    assert_eq!(stored(&server, "doc"), Value::json(r#"{"a":1.50,"b":{"c":2}}"#));
    assert_eq!(patch("/v1/kv/doc", &[PATCH], r#"{"b": {"c": null, "d": [1]}, "e": "x"}"#).status, 200);
    assert_eq!(stored(&server, "doc"), Value::json(r#"{"a":1.50,"b":{"d":[1]},"e":"x"}"#));
    assert!(server.db.get("doc").expect("readable").expect("there").expires_at.is_some(), "the expiry stays");
    let reply = patch("/v1/kv/doc", &[PATCH, ("if-none-match", "*")], "{}");
    assert_eq!(reply.problem(), (412, "precondition_failed".into()));
    assert_eq!(patch("/v1/kv/doc", &[JSON], "{}").problem(), (415, "unsupported_media_type".into()));
    assert_eq!(patch("/v1/kv/doc", &[PATCH], "{").problem(), (400, "bad_json".into()));
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    assert_eq!(patch("/v1/kv/doc", &[PATCH], &long).problem(), (413, "limit_exceeded".into()));
    assert_eq!(patch("/v1/kv", &[PATCH], "{}").problem(), (400, "bad_key".into()));
}

#[test]
fn patches_of_many_clients_all_count() {
    let server = TestServer::memory();
    server.db.put("doc", Value::json("{}")).expect("written");
    std::thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.client();
                for number in 0..10 {
                    let body = format!("{{\"{client}.{number}\": 1}}");
                    let reply = connection.send("PATCH", "/v1/kv/doc", &[PATCH], body.as_bytes());
                    assert_eq!(reply.status, 200, "{reply:?}");
                }
            });
        }
    });
    let document: serde_json::Value =
        serde_json::from_slice(&stored(&server, "doc").data).expect("a document");
    assert_eq!(document.as_object().map(serde_json::Map::len), Some(80));
}

#[test]
fn numbers_change_and_tell_what_they_came_to() {
    let server = TestServer::memory();
    let post = |target: &str, body: &str| send(&server, "POST", target, body);
    assert_eq!(post("/v1/kv/n?op=sum&ttl=1h", "").json()["value"], 1);
    assert_eq!(post("/v1/kv/d?op=sum&durability=none", "").json()["durability"], "none");
    assert_eq!(post("/v1/kv/d?op=sum&durability=fsync", "").json()["durability"], "fsync");
    assert_eq!(post("/v1/kv/d?op=sum&durability=disk", "").status, 400);
    let reply = post("/v1/kv/n?op=sum", "41");
    assert_eq!((&reply.json()["value"], &reply.json()["type"]), (&json!(42), &json!("int")));
    assert_eq!(reply.json()["versionstamp"], server.db.visible().to_string());
    assert!(server.db.get("n").expect("readable").expect("there").expires_at.is_some(), "the expiry stays");
    assert_eq!(post("/v1/kv/n?op=min", "7").json()["value"], 7);
    assert_eq!(post("/v1/kv/n?op=max", "9").json()["value"], 9);
    assert_eq!(post("/v1/kv/n?op=sum&at_most=10", "5").problem(), (409, "out_of_bounds".into()));
    assert_eq!(post("/v1/kv/n?op=sum&at_most=10&clamp=true", "5").json()["value"], 10);
    assert_eq!(post("/v1/kv/n?op=sum", "1.5").problem(), (409, "wrong_type".into()));
    assert_eq!(post("/v1/kv/f?op=sum", "1.5").json()["value"], 1.5);
    assert_eq!(post("/v1/kv/u?op=sum", "{\"$u64\": \"5\"}").json()["value"], json!({"$u64": "5"}));
    assert_eq!(stored(&server, "u").value_type, ValueType::U64);
    assert_eq!(server.send("POST", "/v1/kv/n?op=sum", &[("if-none-match", "*")], b"1").status, 412);
    assert_eq!(post("/v1/kv/n?op=frob", "1").problem(), (400, "bad_query".into()));
    assert_eq!(post("/v1/kv/n", "1").problem(), (400, "bad_query".into()));
    assert_eq!(post("/v1/kv/n?op=min", "").problem(), (400, "bad_value".into()));
    assert_eq!(stored(&server, "n"), Value::from(10_i64));
}

#[test]
fn an_expiry_is_read_and_touched() {
    let server = TestServer::memory();
    server.put("/v1/kv/k?ttl=1h", "text/plain", b"v");
    let left = |reply: &Reply| {
        reply
            .header("orchard-expires-in")
            .map(|left| orchard_wire::duration::parse(left).expect("a duration").0)
    };
    let reply = server.get("/v1/kv/k");
    assert!(left(&reply).is_some_and(|left| (3_000_000..=3_600_000).contains(&left)), "{reply:?}");
    assert_eq!(send(&server, "POST", "/v1/kv/k?op=touch&ttl=2h", "").json()["value"], "v");
    assert!(left(&server.get("/v1/kv/k")).is_some_and(|left| left > 3_600_000));
    assert_eq!(server.put("/v1/kv/k?ttl=keep", "text/plain", b"w").status, 200);
    assert!(left(&server.get("/v1/kv/k")).is_some_and(|left| left > 3_600_000));
    assert_eq!(send(&server, "POST", "/v1/kv/k?op=touch", "").status, 200);
    assert_eq!(left(&server.get("/v1/kv/k")), None);
    assert_eq!(send(&server, "POST", "/v1/kv/none?op=touch", "").problem(), (404, "key_not_found".into()));
    assert_eq!(send(&server, "POST", "/v1/kv/k?op=touch", "1").problem(), (400, "bad_query".into()));
}

#[test]
fn an_entry_is_read_as_it_was() {
    let server = TestServer::memory();
    let first = server.db.put("k", "old").expect("written").versionstamp;
    let _kept = server.db.snapshot();
    server.db.put("k", "new").expect("written");
    assert_eq!(server.get("/v1/kv/k").text(), "new");
    assert_eq!(server.get(&format!("/v1/kv/k?at={first}")).text(), "old");
    assert_eq!(server.get("/v1/kv/k?at=soon").problem(), (400, "bad_query".into()));
    assert_eq!(server.get("/v1/kv/k?at=0000ffffffff00000000").problem(), (400, "bad_query".into()));
    let long_ago = orchard_wire::rfc3339::render(UnixMillis(1_000));
    assert_eq!(server.get(&format!("/v1/kv/k?at={long_ago}")).problem(), (410, "snapshot_too_old".into()));
}
