//! `POST /v1/batch`, `POST /v1/read`, bulk puts and deletes of ranges.

use crate::common::{Reply, TestServer};
use orcharddb::{KeyPart, Value};
use serde_json::{Value as Json, json};

const JSON: (&str, &str) = ("content-type", "application/json");
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn post(server: &TestServer, target: &str, body: &Json) -> Reply {
    server.send("POST", target, &[JSON], body.to_string().as_bytes())
}

fn user(name: &str) -> [KeyPart; 2] {
    ["users", name].map(|part| KeyPart::String(part.to_owned()))
}

fn lines(reply: &Reply) -> Vec<Json> {
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"), "{reply:?}");
    reply.text().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_batch_has_a_result_each_in_order() {
    let server = TestServer::memory();
    let stamp = server.db.put("a", "old").expect("written").versionstamp;
    let reply = post(
        &server,
        "/v1/batch",
        &json!({"operations": [
            {"op": "get", "key": ["a"]},
            {"op": "put", "key": ["a"], "value": {"n": 1}, "ttl": "1h"},
            {"op": "get", "key": ["a"]},
            {"op": "put", "key": ["b"], "value": 5, "type": "float"},
            {"op": "frob", "key": ["b"]},
            {"op": "delete", "key": ["a"]},
            {"op": "get", "key": ["a"]},
            {"op": "get", "key": ["b"]},
        ]}),
    );
    assert_eq!(reply.status, 200, "{reply:?}");
    let json = reply.json();
    let results = json["results"].as_array().expect("results");
    let statuses: Vec<u64> =
        results.iter().map(|result| result["status"].as_u64().expect("a status")).collect();
    assert_eq!(statuses, [200, 200, 200, 200, 400, 200, 404, 200]);
    assert_eq!(
        results[0],
        json!({"status": 200, "versionstamp": stamp.to_string(), "value": "old", "type": "text"})
    );
    assert_eq!(results[2]["versionstamp"], results[1]["versionstamp"]);
    assert_eq!((&results[2]["value"], &results[2]["type"]), (&json!({"n": 1}), &json!("json")));
    assert!(results[2]["expires_at"].is_string());
    assert_eq!(results[4]["code"], "bad_json");
    assert_eq!(results[6]["code"], "key_not_found");
    assert_eq!((&results[7]["value"], &results[7]["type"]), (&json!(5.0), &json!("float")));
    let stamps: Vec<&str> =
        [1, 3, 5].iter().map(|index| results[*index]["versionstamp"].as_str().expect("a stamp")).collect();
    assert!(stamps.is_sorted(), "{stamps:?}");
}

#[test]
fn a_batch_of_lines_answers_in_lines_while_it_is_sent() {
    let server = TestServer::memory();
    let mut client = server.client();
    let head = "POST /v1/batch HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n\
                transfer-encoding: chunked\r\n\r\n";
    client.write(head.as_bytes());
    let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
    client.write(chunk("{\"op\":\"put\",\"key\":[\"a\"],\"value\":1}\n{\"op\":\"get\",").as_bytes());
    // The result of the first comes although the body goes on.
    let mut seen = String::new();
    while !seen.contains("\"versionstamp\"") {
        seen.push_str(&client.next_line());
    }
    client.write(chunk("\"key\":[\"a\"]}\n\nnonsense\n{\"op\":\"get\",\"key\":[\"b\"]}").as_bytes());
    client.write(b"0\r\n\r\n");
    let mut statuses = Vec::new();
    while statuses.len() < 3 {
        let line = client.next_line();
        if let Ok(json) = serde_json::from_str::<Json>(&line)
            && json.is_object()
        {
            statuses.push(json["status"].as_u64().expect("a status"));
        }
    }
    assert_eq!(statuses, [200, 400, 404]);
}

#[test]
fn many_lines_are_as_many_results() {
    let server = TestServer::memory();
    let puts: String = (0..5_000)
        .map(|number| format!("{{\"op\":\"put\",\"key\":[\"n\",{number}],\"value\":{number}}}\n"))
        .collect();
    let reply = server.send("POST", "/v1/batch?durability=none", &[NDJSON], puts.as_bytes());
    let results = lines(&reply);
    assert_eq!(results.len(), 5_000);
    assert!(results.iter().all(|result| result["status"] == 200), "{:?}", results.first());
    let stamps: Vec<&str> =
        results.iter().map(|result| result["versionstamp"].as_str().expect("a stamp")).collect();
    assert!(stamps.is_sorted_by(|a, b| a < b));
    let gets: String =
        (0..5_000).map(|number| format!("{{\"op\":\"get\",\"key\":[\"n\",{number}]}}\n")).collect();
    let reply = server.send("POST", "/v1/batch", &[NDJSON, ("accept", "application/json")], gets.as_bytes());
    let json = reply.json();
    let values: Vec<u64> = json["results"]
        .as_array()
        .expect("results")
        .iter()
        .map(|result| result["value"].as_u64().expect("a number"))
        .collect();
    assert!(values.into_iter().eq(0..5_000));
}

#[test]
fn what_is_no_batch_is_refused() {
    let server = TestServer::memory();
    assert_eq!(post(&server, "/v1/batch", &json!({})).problem(), (400, "bad_json".into()));
    assert_eq!(post(&server, "/v1/batch?x=1", &json!({})).problem(), (400, "unknown_parameter".into()));
    let reply = server.send("POST", "/v1/batch", &[("content-type", "text/plain")], b"x");
    assert_eq!(reply.problem(), (415, "unsupported_media_type".into()));
    let many = vec!["1"; 10_001].join(",");
    let reply = server.send("POST", "/v1/batch", &[JSON], format!("{{\"operations\":[{many}]}}").as_bytes());
    assert_eq!(reply.problem(), (413, "limit_exceeded".into()));
    assert_eq!(post(&server, "/v1/batch", &json!({"operations": []})).json(), json!({"results": []}));
    let reply = server.send("POST", "/v1/batch", &[NDJSON], b"\n\n");
    assert_eq!((reply.status, reply.text()), (200, ""));
}

#[test]
fn a_read_shows_one_version() {
    let server = TestServer::memory();
    for name in ["ada", "bob", "cid"] {
        server.db.put(user(name), name).expect("written");
    }
    let before = server.db.put("x", 1_i64).expect("written").versionstamp.to_string();
    let keep = server.db.snapshot();
    server.db.delete("x").expect("deleted");
    let ranges = json!([
        {"prefix": ["users"], "limit": 2},
        {"key": ["x"]},
        {"prefix": ["users"], "reverse": true, "keys_only": true},
        {"start": ["users"], "count": true},
    ]);
    let now = post(&server, "/v1/read", &json!({"ranges": ranges, "consistency": "eventual"})).json();
    assert_eq!(now["ranges"][1], json!({"entries": []}));
    assert_eq!(now["ranges"][3], json!({"count": 3}));
    let then = post(&server, "/v1/read", &json!({"ranges": ranges, "at": before})).json();
    assert_eq!(then["versionstamp"], before);
    assert_eq!(then["ranges"][1]["entries"][0]["value"], 1);
    assert_eq!(then["ranges"][3], json!({"count": 4}));
    let names = |range: &Json| -> Vec<String> {
        let entries = range["entries"].as_array().expect("entries");
        entries.iter().map(|entry| entry["key"][1].as_str().expect("text").to_owned()).collect()
    };
    assert_eq!(names(&then["ranges"][0]), ["ada", "bob"]);
    assert_eq!(names(&then["ranges"][2]), ["cid", "bob", "ada"]);
    assert!(then["ranges"][2]["entries"][0].get("value").is_none());
    // The cursor goes on, in a read and in a list.
    let cursor = then["ranges"][0]["cursor"].as_str().expect("there is more");
    let rest =
        post(&server, "/v1/read", &json!({"ranges": [{"prefix": ["users"], "cursor": cursor}]})).json();
    assert_eq!(names(&rest["ranges"][0]), ["cid"]);
    let list = server.get(&format!("/v1/kv?prefix=users&cursor={cursor}")).json();
    assert_eq!((names(&list), &list["versionstamp"]), (vec!["cid".to_owned()], &json!(before)));
    drop(keep);
    let ahead = json!({"ranges": [], "at": "0000ffffffff00000000"});
    assert_eq!(post(&server, "/v1/read", &ahead).problem(), (400, "bad_query".into()));
}

#[test]
fn a_long_read_is_streamed() {
    let server = TestServer::memory();
    let text = "x".repeat(100_000);
    for number in 0..20_i64 {
        server.db.put(user(&format!("{number:02}")), text.as_str()).expect("written");
    }
    let ranges = vec![json!({"prefix": ["users"]}); 10];
    let reply = post(&server, "/v1/read", &json!({ "ranges": ranges }));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let json = reply.json();
    let ranges = json["ranges"].as_array().expect("ranges");
    assert_eq!(ranges.len(), 10);
    assert!(
        ranges.iter().all(|range| range["entries"].as_array().is_some_and(|entries| entries.len() == 20))
    );
}

#[test]
fn entries_are_put_a_line_each() {
    let server = TestServer::memory();
    let body: String = (0..2_500)
        .map(|number| {
            format!("{{\"key\":[\"users\",\"{number:04}\"],\"value\":{number},\"type\":\"float\"}}\n")
        })
        .collect();
    let reply = server.send("PUT", "/v1/kv", &[NDJSON], body.as_bytes());
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["written"], 2_500);
    assert_eq!(reply.json()["versionstamp"], server.db.visible().to_string());
    let entry = server.db.get(user("2499")).expect("readable").expect("there");
    assert_eq!(entry.value, Value::from(2_499.0_f64));
    // What a list gives is what a bulk put takes.
    let export = server.send("GET", "/v1/kv?prefix=users", &[("accept", "application/x-ndjson")], b"");
    let copy = TestServer::memory();
    assert_eq!(copy.send("PUT", "/v1/kv", &[NDJSON], &export.body).json()["written"], 2_500);
    assert_eq!(copy.db.iter().count(), 2_500);
    // Lines before a bad one are written, and counted.
    let bad = "{\"key\":[\"p\"],\"value\":1}\n\n{\"key\":[\"q\"],\"value\":2}\n{\"key\":[null]}\n{\"key\":[\"r\"],\"value\":3}\n";
    let reply = server.send("PUT", "/v1/kv", &[NDJSON], bad.as_bytes());
    assert_eq!(reply.problem(), (400, "bad_key".into()));
    assert_eq!((&reply.json()["written"], &reply.json()["line"]), (&json!(2), &json!(4)));
    assert!(server.db.get("q").expect("readable").is_some());
    assert!(server.db.get("r").expect("readable").is_none());
    assert_eq!(server.send("PUT", "/v1/kv", &[NDJSON], b"").json(), json!({"written": 0}));
}

#[test]
fn a_range_is_deleted_but_not_everything_by_mistake() {
    let server = TestServer::memory();
    for name in ["ada", "bob", "cid"] {
        server.db.put(user(name), name).expect("written");
    }
    server.db.put("users", "itself").expect("written");
    let delete = |target: &str| server.send("DELETE", target, &[], b"");
    for target in ["/v1/kv", "/v1/kv?prefix=", "/v1/kv?all=false", "/v1/kv?prefix=users&all=true"] {
        assert_eq!(delete(target).problem(), (400, "bad_query".into()), "{target}");
    }
    assert_eq!(delete("/v1/kv?prefix=users&dry_run=true").json()["count"], 3);
    assert_eq!(delete("/v1/kv?dry_run=true").json()["count"], 4);
    assert_eq!(server.db.iter().count(), 4);
    let reply = delete("/v1/kv?prefix=users&end=users/c");
    assert_eq!(reply.status, 200, "{reply:?}");
    assert_eq!(reply.json()["versionstamp"], server.db.visible().to_string());
    assert_eq!(server.db.iter().count(), 2);
    assert_eq!(delete("/v1/kv?all=true").status, 200);
    assert_eq!(server.db.iter().count(), 0);
}

#[test]
fn a_refusal_shows_values_if_asked() {
    let server = TestServer::memory();
    let stamp = server.db.put("a", Value::json("{\"n\": 1.50}")).expect("written").versionstamp.to_string();
    let commit = json!({
        "checks": [{"key": ["a"], "versionstamp": null}, {"key": ["b"], "versionstamp": stamp}],
        "return_values": true,
    });
    let reply = post(&server, "/v1/commit", &commit);
    assert_eq!(reply.problem(), (409, "check_failed".into()));
    assert!(reply.text().contains("{\"n\": 1.50}"), "the document as it is stored: {}", reply.text());
    assert_eq!(
        reply.json()["failed_checks"],
        json!([
            {"index": 0, "key": ["a"], "expected": null, "found": stamp, "value": {"n": 1.5}, "type": "json"},
            {"index": 1, "key": ["b"], "expected": stamp, "found": null},
        ])
    );
}

#[test]
fn collections_are_shown_in_batches_and_refusals() {
    let server = TestServer::memory();
    server.db.hash("h").set("name", "Ada").expect("written");
    let many: Vec<Value> = (0..2_000_i64).map(Value::from).collect();
    server.db.list("long").update(|list| list.extend(many.clone(), false)).expect("written");
    let reply = post(
        &server,
        "/v1/batch",
        &json!({"operations": [{"op": "get", "key": ["h"]}, {"op": "get", "key": ["long"]}]}),
    );
    let results = &reply.json()["results"];
    assert_eq!(results[0]["value"], json!({"name": "Ada"}), "{reply:?}");
    assert_eq!(results[1]["value"], json!({"$count": 2_000}), "{reply:?}");
    let commit = json!({ "checks": [{"key": ["h"], "versionstamp": null}], "return_values": true });
    let reply = post(&server, "/v1/commit", &commit);
    assert_eq!(reply.problem(), (409, "check_failed".into()));
    assert_eq!(reply.json()["failed_checks"][0]["value"], json!({"name": "Ada"}));
}
