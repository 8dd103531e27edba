//! `POST /v1/commit`.

use crate::common::{Reply, TestServer};
use orcharddb::{KeyPart, Value};
use serde_json::{Value as Json, json};

fn commit(server: &TestServer, body: &Json) -> Reply {
    server.send("POST", "/v1/commit", &[("content-type", "application/json")], body.to_string().as_bytes())
}

fn value(server: &TestServer, name: &str) -> Option<Value> {
    server.db.get(name).expect("readable").map(|entry| entry.value)
}

#[test]
fn mutations_take_effect_together() {
    let server = TestServer::memory();
    let reply = commit(
        &server,
        &json!({
            "checks": [{"key": ["a"], "versionstamp": null}],
            "mutations": [
                {"op": "set", "key": ["a"], "value": {"b": [1, 2]}},
                {"op": "set", "key": ["t"], "value": "x", "ttl": "1h"},
                {"op": "sum", "key": ["n"], "value": 5},
                {"op": "sum", "key": ["n"], "value": 2},
                {"op": "max", "key": ["m"], "value": {"$u64": "9"}},
                {"op": "set", "key": ["d"], "value": {"$bytes": "AP8="}},
                {"op": "delete", "key": ["d"]},
            ],
        }),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    assert_eq!(json["durability"], "fsync");
    assert!(json["log_time"].as_str().expect("a time").ends_with('Z'));
    assert_eq!(value(&server, "a"), Some(Value::json("{\"b\":[1,2]}")));
    assert_eq!(value(&server, "n"), Some(Value::from(7_i64)));
    assert_eq!(value(&server, "m"), Some(Value::u64(9)));
    assert_eq!(value(&server, "d"), None);
    assert!(server.db.get("t").expect("readable").expect("there").expires_at.is_some());
    for name in ["a", "n", "m"] {
        let stamp = server.db.get(name).expect("readable").expect("there").versionstamp;
        assert_eq!(json["versionstamp"], stamp.to_string());
    }
}

#[test]
fn every_failed_check_is_listed_and_nothing_written() {
    let server = TestServer::memory();
    let stamp = server.db.put("a", "1").expect("written").versionstamp.to_string();
    let reply = commit(
        &server,
        &json!({
            "checks": [
                {"key": ["a"], "versionstamp": null},
                {"key": ["a"], "versionstamp": stamp},
                {"key": ["b"], "versionstamp": stamp},
            ],
            "mutations": [{"op": "set", "key": ["c"], "value": 1}],
        }),
    );
    assert_eq!(reply.problem(), (409, "check_failed".into()));
    let failed = &reply.json()["failed_checks"];
    assert_eq!(
        failed,
        &json!([
            {"index": 0, "key": ["a"], "expected": null, "found": stamp},
            {"index": 2, "key": ["b"], "expected": stamp, "found": null},
        ])
    );
    assert_eq!(value(&server, "c"), None);
}

#[test]
fn a_range_is_checked_and_deleted() {
    let server = TestServer::memory();
    let user = |name: &str| vec![KeyPart::String("users".into()), KeyPart::String(name.into())];
    server.db.put(user("ada"), "1").expect("written");
    let seen = server.get("/v1/kv?prefix=users").json()["versionstamp"].clone();
    let delete = json!({
        "checks": [{"range": {"prefix": ["users"]}, "unchanged_since": seen}],
        "mutations": [{"op": "delete_range", "range": {"prefix": ["users"]}}],
    });
    server.db.put(user("bob"), "2").expect("written");
    assert_eq!(commit(&server, &delete).problem(), (409, "check_failed".into()));
    let seen = server.get("/v1/kv?prefix=users").json()["versionstamp"].clone();
    let mut delete = delete;
    delete["checks"][0]["unchanged_since"] = seen;
    let reply = commit(&server, &delete);
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(server.db.iter().count(), 0);
}

#[test]
fn numbers_refuse_what_does_not_fit() {
    let server = TestServer::memory();
    server.db.put("text", "x").expect("written");
    server.db.put("n", i64::MAX).expect("written");
    for (mutation, code) in [
        (json!({"op": "sum", "key": ["text"], "value": 1}), "wrong_type"),
        (json!({"op": "sum", "key": ["n"], "value": 1}), "overflow"),
        (json!({"op": "sum", "key": ["n"], "value": -1, "at_most": 5}), "out_of_bounds"),
    ] {
        let reply = commit(&server, &json!({"mutations": [{"op": "delete", "key": ["zz"]}, mutation]}));
        assert_eq!(reply.problem(), (409, code.into()), "{reply:?}");
        assert_eq!(reply.json()["mutation"], 1);
    }
    let clamped = json!({"mutations": [{"op": "sum", "key": ["n"], "value": 1, "clamp": true}]});
    assert_eq!(commit(&server, &clamped).status, 200);
}

#[test]
fn a_token_makes_a_retry_harmless() {
    let server = TestServer::memory();
    // An hour ahead of the server's own clock, which every reply tells.
    let now = commit(&server, &json!({"mutations": [{"op": "set", "key": ["x"], "value": 1}]}));
    let now = orchard_wire::rfc3339::parse(now.json()["log_time"].as_str().expect("a time")).expect("a time");
    let deadline = orchard_wire::rfc3339::render(orcharddb::UnixMillis(now.0 + 3_600_000));
    let sum =
        json!({"mutations": [{"op": "sum", "key": ["n"], "value": 1}], "token": "t1", "deadline": deadline});
    let (first, again) = (commit(&server, &sum), commit(&server, &sum));
    assert_eq!((first.status, again.status), (200, 200), "{again:?}");
    assert_eq!(first.json()["versionstamp"], again.json()["versionstamp"]);
    assert_eq!(again.json()["repeated"], true);
    assert_eq!(value(&server, "n"), Some(Value::from(1_i64)));
    let mut other = sum;
    other["mutations"][0]["value"] = json!(2);
    assert_eq!(commit(&server, &other).problem(), (409, "bad_token".into()));
}

#[test]
fn what_is_no_commit_is_refused() {
    let server = TestServer::memory();
    let post =
        |headers: &[(&str, &str)], body: &str| server.send("POST", "/v1/commit", headers, body.as_bytes());
    let json_type = ("content-type", "application/json");
    assert_eq!(post(&[json_type], "{").problem(), (400, "bad_json".into()));
    assert_eq!(post(&[json_type], "[]").problem(), (400, "bad_json".into()));
    assert_eq!(
        post(&[json_type], r#"{"mutations": [{"op": "set", "key": [null], "value": 1}]}"#).problem(),
        (400, "bad_key".into())
    );
    assert_eq!(
        post(&[("content-type", "text/plain")], "{}").problem(),
        (415, "unsupported_media_type".into())
    );
    assert_eq!(post(&[], "{}").status, 200, "an empty commit is one");
    let many = vec![r#"{"op":"delete","key":"a"}"#; 10_001].join(",");
    let reply = post(&[json_type], &format!("{{\"mutations\":[{many}]}}"));
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!(reply.json()["actual"], 10_001);
    let large = "x".repeat(17 << 20);
    let reply =
        post(&[json_type], &format!(r#"{{"mutations":[{{"op":"set","key":"a","value":"{large}"}}]}}"#));
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!(reply.json()["limit_name"], "value_size_bytes");
    assert_eq!(server.get("/v1/commit").header("allow"), Some("POST"));
    assert_eq!(server.db.iter().count(), 0);
}
