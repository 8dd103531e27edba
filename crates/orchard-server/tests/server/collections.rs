//! `/v1/hashes`, `/v1/sets` and `/v1/zsets`: elements of collections over HTTP.

use crate::common::{Reply, TestServer};
use orcharddb::Value;
use serde_json::{Value as Json, json};

fn post(server: &TestServer, target: &str, body: &str) -> Reply {
    server.send("POST", target, &[("content-type", "application/json")], body.as_bytes())
}

/// Follows the cursors of a target and gives the elements of every page.
fn pages(server: &TestServer, target: &str, name: &str) -> Vec<Json> {
    let (mut all, mut cursor) = (Vec::new(), None);
    for _ in 0..1_000 {
        let rest = cursor.map(|cursor: String| format!("&cursor={cursor}")).unwrap_or_default();
        let page = server.get(&format!("{target}{rest}")).json();
        all.extend(page[name].as_array().expect("elements").iter().cloned());
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => return all,
        }
    }
    panic!("a cursor leads nowhere");
}

#[test]
fn fields_are_written_read_counted_and_removed() {
    let server = TestServer::memory();
    let set = post(&server, "/v1/hashes/ada/set", r#"{"fields": {"name": "Ada", "born": 1815}}"#);
    assert_eq!((set.status, &set.json()["added"], &set.json()["length"]), (200, &json!(2), &json!(2)));
    let typed = r#"{"fields": [{"field": {"$bytes": "/w=="}, "value": 5, "type": "json"}, {"field": "born", "value": 1816}]}"#;
    assert_eq!(post(&server, "/v1/hashes/ada/set", typed).json()["added"], 1);
    let one =
        server.send("POST", "/v1/hashes/ada/set?field=note", &[("content-type", "text/plain")], b"\xc3\xa9");
    assert_eq!(one.json()["length"], 4);
    let all = server.get("/v1/hashes/ada").json();
    let fields = json!([
        {"field": "born", "value": 1816, "type": "int"}, {"field": "name", "value": "Ada", "type": "text"},
        {"field": "note", "value": "é", "type": "text"}, {"field": {"$bytes": "/w=="}, "value": 5, "type": "json"},
    ]);
    assert_eq!((&all["fields"], &all["length"]), (&fields, &json!(4)));
    assert!(all["cursor"].is_null());
    let some = server.get("/v1/hashes/ada?field=name&field=nope&field=%FF").json();
    assert_eq!(some["fields"], json!([fields[1], fields[3]]));
    // One field, raw.
    let raw = server.send("GET", "/v1/hashes/ada?field=note", &[("accept", "text/plain")], b"");
    assert_eq!((raw.status, raw.body.as_slice()), (200, "é".as_bytes()));
    let none = server.send("GET", "/v1/hashes/ada?field=nope", &[("accept", "text/plain")], b"");
    assert_eq!(none.problem(), (404, "key_not_found".into()));
    let lines = server.send("GET", "/v1/hashes/ada", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(String::from_utf8(lines.body).expect("UTF-8").lines().count(), 4);
    // Numbers.
    let sum = post(&server, "/v1/hashes/ada/sum", r#"{"field": "born", "by": -1}"#).json();
    assert_eq!((&sum["value"], &sum["type"]), (&json!(1815), &json!("int")));
    assert_eq!(post(&server, "/v1/hashes/ada/sum", r#"{"field": "visits"}"#).json()["value"], 1);
    let text = post(&server, "/v1/hashes/ada/sum", r#"{"field": "name"}"#);
    assert_eq!(text.problem(), (409, "wrong_type".into()));
    // The hash is an entry as any other.
    let etag = server.get("/v1/kv/ada").header("etag").map(str::to_owned);
    let removed = post(&server, "/v1/hashes/ada/delete", r#"{"fields": ["born", "nope", "visits"]}"#);
    assert_eq!((&removed.json()["removed"], &removed.json()["length"]), (&json!(2), &json!(3)));
    assert_ne!(server.get("/v1/kv/ada").header("etag").map(str::to_owned), etag);
    let by_key =
        post(&server, "/v1/hashes/delete?key=ada", r#"{"fields": ["name", "note", {"$bytes": "/w=="}]}"#);
    assert_eq!(by_key.json()["length"], 0);
    assert_eq!(server.get("/v1/kv/ada").status, 404, "a hash without fields is no entry");
    assert_eq!(server.get("/v1/hashes/ada").json()["fields"], json!([]));
}

#[test]
fn fields_expire_one_by_one() {
    let server = TestServer::memory();
    let body = r#"{"fields": [{"field": "a", "value": 1, "ttl": "1h"}, {"field": "b", "value": 2, "expires_at": "2100-01-01T00:00:00Z"}]}"#;
    assert_eq!(post(&server, "/v1/hashes/h/set", body).json()["added"], 2);
    assert_eq!(post(&server, "/v1/hashes/h/set?field=c&ttl=1h", "3").json()["length"], 3);
    assert_eq!(post(&server, "/v1/hashes/h/set", r#"{"fields": {"a": 4}}"#).json()["added"], 0);
    let fields = server.get("/v1/hashes/h").json()["fields"].clone();
    assert_eq!(fields[0], json!({"field": "a", "value": 4, "type": "int"}), "written anew it stays");
    assert_eq!(fields[1]["expires_at"], "2100-01-01T00:00:00.000Z");
    assert!(fields[2]["expires_at"].is_string());
    let past = r#"{"fields": [{"field": "b", "value": 2, "expires_at": "2000-01-01T00:00:00Z"}]}"#;
    assert_eq!(post(&server, "/v1/hashes/h/set", past).json()["length"], 2);
    let both =
        r#"{"fields": [{"field": "b", "value": 2, "ttl": "1h", "expires_at": "2100-01-01T00:00:00Z"}]}"#;
    assert_eq!(post(&server, "/v1/hashes/h/set", both).problem(), (400, "bad_value".into()));
    assert_eq!(post(&server, "/v1/hashes/h/set?field=c&ttl=x", "3").problem(), (400, "bad_query".into()));
}

#[test]
fn members_expire_one_by_one() {
    let server = TestServer::memory();
    let body = r#"{"members": ["a", {"member": "b", "expires_at": "2100-01-01T00:00:00Z"}, {"member": "c", "ttl": "1h"}]}"#;
    assert_eq!(post(&server, "/v1/sets/s/add", body).json()["added"], 3);
    let all = server.get("/v1/sets/s").json();
    assert_eq!(all["members"][0], "a");
    assert_eq!(all["members"][1], json!({"member": "b", "expires_at": "2100-01-01T00:00:00.000Z"}));
    assert_eq!(server.get("/v1/kv/s").json(), json!(["a", "b", "c"]), "as a value it is its members");
    let gone = r#"{"members": ["c", "no"], "expires_at": "2000-01-01T00:00:00Z"}"#;
    let expired = post(&server, "/v1/sets/s/expire", gone).json();
    assert_eq!((&expired["found"], &expired["length"]), (&json!(1), &json!(2)));
    assert_eq!(post(&server, "/v1/sets/s/expire", r#"{"members": ["b"]}"#).json()["found"], 1);
    assert_eq!(server.get("/v1/sets/s").json()["members"], json!(["a", "b"]), "neither expires of its own");

    let body = r#"{"members": [{"member": "a", "score": 2}, {"member": "b", "score": 1, "ttl": "1h"}]}"#;
    assert_eq!(post(&server, "/v1/zsets/z/add", body).json()["added"], 2);
    let sum = post(&server, "/v1/zsets/z/sum", r#"{"member": "b", "by": 2}"#).json();
    assert_eq!(sum["score"], 3);
    let all = server.get("/v1/zsets/z").json()["members"].clone();
    assert_eq!(all[0], json!({"member": "a", "score": 2}));
    assert!(all[1]["expires_at"].is_string(), "a sum leaves it as it is");
    assert_eq!(server.get("/v1/zsets/z?member=b").json()["members"][0], all[1]);
    assert_eq!(server.get("/v1/zsets/z?start=-1").json()["members"][0], all[1]);
    let both = r#"{"members": ["a", "b"], "expires_at": "2000-01-01T00:00:00Z"}"#;
    assert_eq!(post(&server, "/v1/zsets/z/expire", both).json()["length"], 0);
    assert_eq!(server.get("/v1/kv/z").status, 404, "all have expired");

    assert_eq!(post(&server, "/v1/hashes/h/set", r#"{"fields": {"a": 1, "b": 2}}"#).status, 200);
    assert_eq!(
        post(&server, "/v1/hashes/h/expire", r#"{"fields": ["a", "c"], "ttl": "1h"}"#).json()["found"],
        1
    );
    let fields = server.get("/v1/hashes/h").json()["fields"].clone();
    assert!(fields[0]["expires_at"].is_string() && fields[1]["expires_at"].is_null());
    let wrong = post(&server, "/v1/hashes/h/expire", r#"{"members": ["a"]}"#);
    assert_eq!(wrong.problem(), (400, "bad_json".into()));
}

#[test]
fn members_come_and_go() {
    let server = TestServer::memory();
    let add = |body: &str| post(&server, "/v1/sets/colours/add", body).json();
    assert_eq!(add(r#"{"members": ["red", "blue", "red", {"$bytes": "/w=="}]}"#)["added"], 3);
    assert_eq!(add(r#"{"members": ["red"]}"#)["added"], 0);
    let all = server.get("/v1/sets/colours").json();
    assert_eq!((&all["members"], &all["length"]), (&json!(["blue", "red", {"$bytes": "/w=="}]), &json!(3)));
    assert_eq!(server.get("/v1/sets/colours?member=red&member=green").json()["members"], json!(["red"]));
    let removed = post(&server, "/v1/sets/colours/remove", r#"{"members": ["red", "green"]}"#).json();
    assert_eq!((&removed["removed"], &removed["length"]), (&json!(1), &json!(2)));
    let there = server.get("/v1/sets?key=%5B%22colours%22%5D&limit=1").json();
    assert_eq!(there["members"], json!(["blue"]));
    assert!(there["cursor"].is_string());
}

#[test]
fn scores_put_members_in_order() {
    let server = TestServer::memory();
    let add = post(
        &server,
        "/v1/zsets/game/add",
        r#"{"members": {"ada": 12, "bob": 7.5, "cy": 7.5, "dee": "inf"}}"#,
    );
    assert_eq!(add.json()["added"], 4);
    let members = |query: &str| {
        let page = server.get(&format!("/v1/zsets/game?{query}")).json();
        let members = page["members"].as_array().unwrap_or_else(|| panic!("{query}: {page}")).clone();
        members.iter().map(|member| member["member"].as_str().expect("a name").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(members(""), ["bob", "cy", "ada", "dee"]);
    assert_eq!(members("reverse=true&limit=2"), ["dee", "ada"]);
    assert_eq!(members("start=1&stop=-2"), ["cy", "ada"]);
    assert_eq!(members("min_score=7.5&below_score=12"), ["bob", "cy"]);
    assert_eq!(members("above_score=7.5"), ["ada", "dee"]);
    assert_eq!(members("max_score=-inf"), Vec::<String>::new());
    assert_eq!(members("member=ada&member=nope"), ["ada"]);
    assert_eq!(
        server.get("/v1/zsets/game?member=dee").json()["members"],
        json!([{"member": "dee", "score": "inf"}])
    );
    let sum = post(&server, "/v1/zsets/game/sum", r#"{"member": "bob", "by": 10}"#).json();
    assert_eq!((&sum["member"], &sum["score"]), (&json!("bob"), &json!(17.5)));
    let lowest = post(&server, "/v1/zsets/game/pop_lowest", "").json();
    assert_eq!(
        (&lowest["member"], &lowest["score"], &lowest["length"]),
        (&json!("cy"), &json!(7.5), &json!(3))
    );
    assert_eq!(post(&server, "/v1/zsets/game/pop_highest", "").json()["member"], "dee");
    assert_eq!(post(&server, "/v1/zsets/game/remove", r#"{"members": ["ada"]}"#).json()["removed"], 1);
    let not = post(&server, "/v1/zsets/game/add", r#"{"members": [{"member": "x", "score": "x"}]}"#);
    assert_eq!(not.problem(), (400, "bad_value".into()));
    let infinite = r#"{"members": {"up": "inf"}}"#;
    post(&server, "/v1/zsets/game/add", infinite);
    let undefined = post(&server, "/v1/zsets/game/sum", r#"{"member": "up", "by": "-inf"}"#);
    assert_eq!(undefined.problem(), (400, "bad_value".into()));
    // By name.
    post(&server, "/v1/zsets/names/add", r#"{"members": {"a": 0, "b": 0, "c": 0, "d": 0}}"#);
    let named = |query: &str| pages(&server, &format!("/v1/zsets/names?{query}"), "members").len();
    assert_eq!(
        (named("min_member=b"), named("above_member=b&max_member=c"), named("below_member=c&limit=1")),
        (3, 1, 2)
    );
}

/// Small and large ones are paged the same way: every element once, in order, whatever the limit.
#[test]
fn pages_show_every_element_once() {
    let server = TestServer::memory();
    for number in [3_usize, 100, 1_000] {
        let name = |n: usize| format!("m{n:05}");
        let (hash, set, zset) = (format!("h{number}"), format!("s{number}"), format!("z{number}"));
        let fields = (0..number).rev().map(|n| (name(n).into(), Value::from(n as i64)));
        server.db.hash(hash.as_str()).update(|hash| hash.extend(fields.clone())).expect("written");
        let names = (0..number).map(|n| name(n).into());
        server.db.set(set.as_str()).update(|set| set.extend(names.clone())).expect("written");
        // Many have one score.
        let members = (0..number).map(|n| (name(n).into(), (n / 40) as f64));
        server.db.zset(zset.as_str()).update(|zset| zset.extend(members.clone())).expect("written");
        let wanted: Vec<String> = (0..number).map(name).collect();
        for limit in [1, 7, 39, 1_000, 10_000].into_iter().filter(|limit| number / limit < 200) {
            let fields = pages(&server, &format!("/v1/hashes/{hash}?limit={limit}"), "fields");
            let fields: Vec<&str> = fields.iter().filter_map(|field| field["field"].as_str()).collect();
            assert_eq!(fields, wanted, "{hash}, {limit}");
            let members = pages(&server, &format!("/v1/sets/{set}?limit={limit}"), "members");
            assert_eq!(members, wanted, "{set}, {limit}");
            for reverse in [false, true] {
                let target = format!("/v1/zsets/{zset}?limit={limit}&reverse={reverse}");
                let members = pages(&server, &target, "members");
                let mut members: Vec<&str> =
                    members.iter().filter_map(|member| member["member"].as_str()).collect();
                if reverse {
                    members.reverse();
                }
                assert_eq!(members, wanted, "{target}");
            }
        }
        for (target, count) in [("hashes/h", number), ("sets/s", number), ("zsets/z", number)] {
            let target = format!("/v1/{target}{number}");
            let lines = server.send("GET", &target, &[("accept", "application/x-ndjson")], b"");
            assert_eq!(String::from_utf8(lines.body).expect("UTF-8").lines().count(), count, "{target}");
            let page =
                server.send("GET", &format!("{target}?limit=2"), &[("accept", "application/x-ndjson")], b"");
            assert_eq!(String::from_utf8(page.body).expect("UTF-8").lines().count(), 2);
        }
    }
}

#[test]
fn what_is_no_such_collection_is_refused() {
    let server = TestServer::memory();
    server.db.put("text", "x").expect("written");
    for (target, body) in [
        ("/v1/hashes/text/set", r#"{"fields": {"a": 1}}"#),
        ("/v1/sets/text/add", r#"{"members": ["a"]}"#),
        ("/v1/zsets/text/pop_lowest", ""),
    ] {
        assert_eq!(post(&server, target, body).problem(), (409, "wrong_type".into()), "{target}");
    }
    assert_eq!(server.get("/v1/hashes/text").problem(), (409, "wrong_type".into()));
    assert_eq!(server.get("/v1/hashes").problem(), (400, "bad_key".into()));
    assert_eq!(server.get("/v1/zsets/z?limit=20000").problem(), (413, "limit_exceeded".into()));
    assert_eq!(server.get("/v1/zsets/z?min_score=x").problem(), (400, "bad_query".into()));
    assert_eq!(server.get("/v1/sets/s?cursor=x").problem(), (400, "bad_cursor".into()));
    assert_eq!(server.get("/v1/sets/s?field=x").problem(), (400, "unknown_parameter".into()));
    assert_eq!(post(&server, "/v1/sets/s/add", "").problem(), (400, "bad_json".into()));
    assert_eq!(post(&server, "/v1/zsets/z/pop_highest", "").problem(), (404, "key_not_found".into()));
    let nested = r#"{"fields": [{"field": "a", "value": [], "type": "list"}]}"#;
    assert_eq!(post(&server, "/v1/hashes/h/set", nested).problem(), (400, "bad_value".into()));
    let text = server.send("POST", "/v1/sets/s/add", &[("content-type", "text/plain")], b"a");
    assert_eq!(text.problem(), (415, "unsupported_media_type".into()));
}

#[test]
fn elements_are_of_a_database_at_a_version_as_durable_as_asked() {
    let server = TestServer::memory();
    let first = post(&server, "/v1/sets/s/add?db=plums&durability=none", r#"{"members": ["a"]}"#).json();
    assert_eq!(first["durability"], "none");
    assert_eq!(server.get("/v1/sets/s?db=plums").json()["length"], 1);
    assert_eq!(server.get("/v1/sets/s").json()["length"], 0);
    let list = post(&server, "/v1/lists/l/append?type=json", "5").json();
    assert_eq!(list["length"], 1);
    let elements = server.get("/v1/lists/l").json();
    assert_eq!((&elements["values"], &elements["types"]), (&json!([5]), &json!(["json"])));
    let head = server.send("HEAD", "/v1/lists/l", &[], b"");
    assert_eq!(
        head.header("orchard-versionstamp").map(str::to_owned),
        elements["versionstamp"].as_str().map(str::to_owned)
    );
    let ahead = server.get("/v1/sets/s?at=00ffffffffffffff0000");
    assert_eq!(ahead.problem(), (400, "bad_query".into()));
}
