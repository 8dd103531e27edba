//! Changes of collections within `POST /v1/commit` and `POST /v1/batch`.

use crate::common::{Reply, TestServer};
use serde_json::{Value as Json, json};

fn post(server: &TestServer, target: &str, body: &Json) -> Reply {
    server.send("POST", target, &[("content-type", "application/json")], body.to_string().as_bytes())
}

fn commit(server: &TestServer, mutations: &Json) -> Reply {
    post(server, "/v1/commit", &json!({ "mutations": mutations }))
}

#[test]
fn steps_are_done_in_order_with_the_mutations() {
    let server = TestServer::memory();
    let reply = commit(
        &server,
        &json!([
            {"op": "set", "key": ["user"], "value": "ada"},
            {"op": "list_append", "key": ["log"], "value": {"n": 1}},
            {"op": "list_prepend", "key": ["log"], "value": 5, "type": "json"},
            {"op": "list_pop_last", "key": ["log"]},
            {"op": "hash_set", "key": ["h"], "fields": [{"field": "a", "value": 1, "ttl": "1h"}, {"field": "b", "value": 2}]},
            {"op": "sum", "key": ["n"], "value": 5},
            {"op": "hash_sum", "key": ["h"], "field": "a", "by": 2},
            {"op": "hash_delete", "key": ["h"], "fields": ["b", "c"]},
            {"op": "set_add", "key": ["s"], "members": ["x", {"member": "y", "ttl": "1h"}]},
            {"op": "set_remove", "key": ["s"], "members": ["x"]},
            {"op": "zset_add", "key": ["z"], "members": {"m": 1.5, "n": 3}},
            {"op": "zset_sum", "key": ["z"], "member": "m", "by": 2},
            {"op": "zset_pop_lowest", "key": ["z"]},
            {"op": "zset_remove", "key": ["z"], "members": ["none"]},
            {"op": "delete", "key": ["user"]},
            {"op": "set_add", "key": ["user"], "members": ["now a set"]},
        ]),
    );
    let json = reply.json();
    assert_eq!(reply.status, 200, "{json}");
    let results = json!([
        {"index": 1, "length": 1},
        {"index": 2, "length": 2},
        {"index": 3, "value": {"n": 1}, "type": "json", "length": 1},
        {"index": 4, "added": 2, "length": 2},
        {"index": 6, "value": 3, "type": "int", "length": 2},
        {"index": 7, "removed": 1, "length": 1},
        {"index": 8, "added": 2, "length": 2},
        {"index": 9, "removed": 1, "length": 1},
        {"index": 10, "added": 2, "length": 2},
        {"index": 11, "member": "m", "score": 3.5, "length": 2},
        {"index": 12, "member": "n", "score": 3, "length": 1},
        {"index": 13, "removed": 0, "length": 1},
        {"index": 15, "added": 1, "length": 1},
    ]);
    assert_eq!(json["results"], results);
    assert_eq!(server.get("/v1/kv/log").json(), json!([5]));
    assert_eq!(server.get("/v1/kv/n").body, b"5");
    assert_eq!(server.get("/v1/kv/user").json(), json!(["now a set"]));
    let fields = server.get("/v1/hashes/h").json()["fields"].clone();
    assert!(fields[0]["expires_at"].is_string(), "a sum leaves it as it is");
    for name in ["log", "h", "s", "z", "n", "user"] {
        let etag = server.get(&format!("/v1/kv/{name}")).header("etag").map(str::to_owned);
        assert_eq!(etag, reply.header("etag").map(str::to_owned), "{name} is of that commit");
    }
    let empty = commit(&server, &json!([{"op": "list_pop_first", "key": ["nothing"]}])).json();
    assert_eq!(empty["results"], json!([{"index": 0, "length": 0}]));
}

#[test]
fn all_of_it_or_nothing() {
    let server = TestServer::memory();
    let stamp = server.db.put("a", "1").expect("written").versionstamp.to_string();
    let step = json!({"op": "hash_set", "key": ["h"], "fields": {"f": 1}});
    let refused = post(
        &server,
        "/v1/commit",
        &json!({
            "checks": [{"key": ["a"], "versionstamp": null}],
            // What cannot be done is told after what does not hold.
            "mutations": [step, {"op": "set_add", "key": ["a"], "members": ["x"]}],
        }),
    );
    assert_eq!(refused.problem(), (409, "check_failed".into()));
    assert_eq!(refused.json()["failed_checks"][0]["found"], stamp);
    let wrong = commit(&server, &json!([step, {"op": "set_add", "key": ["a"], "members": ["x"]}]));
    assert_eq!(wrong.problem(), (409, "wrong_type".into()));
    assert!(wrong.json()["detail"].as_str().expect("text").contains("mutations[1]"), "{}", wrong.json());
    let overflow = commit(&server, &json!([step, {"op": "sum", "key": ["a"], "value": 1}]));
    assert_eq!(overflow.status, 409);
    assert_eq!(server.get("/v1/kv/h").status, 404, "nothing of them happened");
    let held = post(
        &server,
        "/v1/commit",
        &json!({"checks": [{"key": ["a"], "versionstamp": stamp}], "mutations": [step],
                "enqueues": [{"queue": "mail", "payload": "x"}], "durability": "none"}),
    );
    assert_eq!((held.status, &held.json()["results"][0]["added"]), (200, &json!(1)));
    assert_eq!(server.get("/v1/queues/mail/stats").json()["ready"], 1);
    for (mutation, code) in [
        (json!({"op": "hash_set", "key": ["h"]}), "bad_json"),
        (json!({"op": "hash_set", "key": ["h"], "fields": {}, "members": []}), "bad_json"),
        (json!({"op": "hash_set", "fields": {}}), "bad_json"),
        (json!({"op": "hash_pop", "key": ["h"]}), "bad_json"),
        (json!({"op": "set", "key": ["h"], "value": 1, "fields": {}}), "bad_json"),
        (json!({"op": "set_add", "key": ["h"], "members": [1]}), "bad_value"),
        (json!({"op": "set_add", "key": ["h"], "members": vec!["m"; 10_001]}), "limit_exceeded"),
    ] {
        let problem = commit(&server, &json!([mutation])).problem();
        assert_eq!(problem.1, code, "{mutation}");
    }
}

#[test]
fn a_token_makes_steps_happen_once() {
    let server = TestServer::memory();
    let with_token = |by: i64| {
        let deadline = in_an_hour(&server);
        let body = json!({
            "mutations": [{"op": "zset_sum", "key": ["z"], "member": "m", "by": by}],
            "token": "t", "deadline": deadline,
        });
        post(&server, "/v1/commit", &body)
    };
    let first = with_token(2);
    assert_eq!(first.json()["results"][0]["score"], 2);
    server.send("POST", "/v1/zsets/z/sum", &[], br#"{"member": "m", "by": 5}"#);
    let again = with_token(2).json();
    assert_eq!((&again["repeated"], &again["results"]), (&json!(true), &Json::Null));
    assert_eq!(again["versionstamp"], first.json()["versionstamp"]);
    assert_eq!(server.get("/v1/zsets/z").json()["members"][0]["score"], 7);
    assert_eq!(with_token(3).status, 409, "it is another commit");
}

fn in_an_hour(server: &TestServer) -> String {
    let now = server.db.snapshot().time();
    orchard_wire::rfc3339::render(orcharddb::UnixMillis(now.0 + 3_600_000))
}

#[test]
fn a_batch_changes_collections() {
    let server = TestServer::memory();
    let body = json!({"operations": [
        {"op": "list_append", "key": ["l"], "value": "a"},
        {"op": "list_append", "key": ["l"], "value": "b"},
        {"op": "get", "key": ["l"]},
        {"op": "list_pop_first", "key": ["l"]},
        {"op": "put", "key": ["text"], "value": "x"},
        {"op": "hash_set", "key": ["text"], "fields": {"a": 1}},
        {"op": "hash_set", "key": ["h"], "fields": {"a": 1}},
        {"op": "zset_pop_highest", "key": ["none"]},
        {"op": "hash_set", "key": ["h"], "members": []},
    ]});
    let results = post(&server, "/v1/batch", &body).json()["results"].clone();
    let short = |n: usize| {
        let result = &results[n];
        (
            result["status"].as_u64(),
            result["length"].as_u64(),
            result["value"].clone(),
            result["code"].clone(),
        )
    };
    let none = Json::Null;
    assert_eq!(short(0), (Some(200), Some(1), none.clone(), none.clone()));
    assert_eq!(short(1), (Some(200), Some(2), none.clone(), none.clone()));
    assert_eq!(results[2]["value"], json!(["a", "b"]));
    assert_eq!(short(3), (Some(200), Some(1), json!("a"), none.clone()));
    assert_eq!(short(5), (Some(409), None, none.clone(), json!("wrong_type")));
    assert_eq!((short(6).0, &results[6]["added"]), (Some(200), &json!(1)));
    assert_eq!(short(7), (Some(404), None, none.clone(), json!("key_not_found")));
    assert_eq!(short(8), (Some(400), None, none, json!("bad_json")));
}
