//! `/v1/lists`: elements of lists over HTTP.

use crate::common::{Reply, TestServer};
use serde_json::json;

fn post(server: &TestServer, target: &str, body: &str) -> Reply {
    server.send("POST", target, &[("content-type", "application/json")], body.as_bytes())
}

#[test]
fn a_list_grows_and_shrinks_at_both_ends() {
    let server = TestServer::memory();
    let change = |step: &str, body: &str| post(&server, &format!("/v1/lists/fruit/{step}"), body).json();
    assert_eq!(change("append", "\"pear\"")["length"], 1);
    assert_eq!(change("append", "3")["length"], 2);
    assert_eq!(change("prepend", "{\"name\": \"apple\"}")["length"], 3);
    let all = json!([{"name": "apple"}, "pear", 3]);
    let list = server.get("/v1/lists/fruit").json();
    assert_eq!((&list["values"], &list["length"]), (&all, &json!(3)));
    assert_eq!(server.get("/v1/lists/fruit?start=-2&stop=-2").json()["values"], json!(["pear"]));
    assert_eq!(server.get("/v1/lists/fruit?start=7").json()["values"], json!([]));
    assert_eq!(server.get("/v1/lists?key=%5B%22fruit%22%5D").json()["values"], all);
    // The entry of a list shows its elements, wherever entries are shown.
    assert_eq!(server.get("/v1/kv/fruit").json(), all);
    let entry = server.send("GET", "/v1/kv/fruit", &[("accept", "application/json")], b"").json();
    assert_eq!((&entry["value"], &entry["type"]), (&all, &json!("list")));
    assert_eq!(server.get("/v1/kv").json()["entries"][0]["value"], all);
    let first = change("pop_first", "");
    assert_eq!(
        (&first["value"], &first["type"], &first["length"]),
        (&json!({"name": "apple"}), &json!("json"), &json!(2))
    );
    assert_eq!(post(&server, "/v1/lists/pop_last?key=fruit", "").json()["value"], 3);
    assert_eq!(change("pop_last", "")["value"], "pear");
    assert_eq!(post(&server, "/v1/lists/fruit/pop_last", "").problem(), (404, "key_not_found".into()));
    assert_eq!(server.get("/v1/lists/fruit").json()["length"], 0);
    assert_eq!(server.get("/v1/kv/fruit").status, 404, "a list without elements is no entry");
}

#[test]
fn a_step_is_as_durable_as_it_asks_for() {
    let server = TestServer::memory();
    let step = |step: &str| post(&server, &format!("/v1/lists/fruit/{step}"), "1");
    assert_eq!(step("append?durability=none").json()["durability"], "none");
    assert_eq!(step("prepend?durability=os").json()["durability"], "os");
    assert_eq!(step("pop_first?durability=fsync").json()["durability"], "fsync");
    assert_eq!(step("append?durability=disk").problem(), (400, "bad_query".into()));
    assert_eq!(server.get("/v1/lists/fruit").json()["length"], 1);
}

#[test]
fn what_is_no_list_is_refused() {
    let server = TestServer::memory();
    server.db.put("text", "x").expect("written");
    assert_eq!(post(&server, "/v1/lists/text/append", "1").problem(), (409, "wrong_type".into()));
    assert_eq!(server.get("/v1/lists/text").problem(), (409, "wrong_type".into()));
    assert_eq!(post(&server, "/v1/lists/l/append", "{").problem(), (400, "bad_json".into()));
    assert_eq!(server.get("/v1/lists").problem(), (400, "bad_key".into()));
    assert_eq!(server.get("/v1/lists/l?start=x").problem(), (400, "bad_query".into()));
}

#[test]
fn a_long_list_is_read_in_parts() {
    let server = TestServer::memory();
    let elements = (0..20_000_i64).map(orcharddb::Value::from);
    server.db.list("l").update(|list| list.extend(elements.clone(), false)).expect("written");
    assert_eq!(server.get("/v1/lists/l").problem(), (413, "limit_exceeded".into()));
    assert_eq!(server.get("/v1/lists/l?start=19998").json()["values"], json!([19_998, 19_999]));
    assert_eq!(
        server.get("/v1/lists/l?start=-10000").json()["values"].as_array().map(Vec::len),
        Some(10_000)
    );
    assert_eq!(post(&server, "/v1/lists/l/prepend", "-1").json()["length"], 20_001);
}
