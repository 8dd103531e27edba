//! `GET /v1/kv`: ranges, pages, cursors, streams.

use crate::common::{TestServer, options};
use orcharddb::{Commit, Db, IntoKey, KeyPart, SpaceId};
use serde_json::{Value as Json, json};

fn key(parts: &[&str]) -> Vec<KeyPart> {
    parts.iter().map(|part| KeyPart::String((*part).to_owned())).collect()
}

/// `users/00` to `users/19`, and neighbours that are none of them.
fn server() -> TestServer {
    let server = TestServer::memory();
    fill(&server.db);
    server
}

fn fill(db: &Db) {
    for number in 0..20 {
        db.put(key(&["users", &format!("{number:02}")]), i64::from(number)).expect("written");
    }
    for neighbour in [&["user"][..], &["users"], &["users2", "00"]] {
        db.put(key(neighbour), "neighbour").expect("written");
    }
}

fn names(page: &Json) -> Vec<String> {
    let entries = page["entries"].as_array().expect("entries").iter();
    entries
        .map(|entry| {
            entry["key"].as_array().expect("parts").last().expect("one").as_str().expect("text").to_owned()
        })
        .collect()
}

fn numbers(range: impl Iterator<Item = u32>) -> Vec<String> {
    range.map(|number| format!("{number:02}")).collect()
}

#[test]
fn ranges_are_by_prefix_and_bounds() {
    let server = server();
    for (query, expected) in [
        ("prefix=users", numbers(0..20)),
        ("prefix=users/", numbers(0..20)),
        ("prefix=%5B%22users%22%5D", numbers(0..20)),
        ("prefix=users&reverse=true&limit=3", numbers((17..20).rev())),
        ("start=users/03&end=users/06", numbers(3..6)),
        ("prefix=users&start=users/18", numbers(18..20)),
        ("start=%5B%22users%22,%2219%22%5D&end=%5B%22users2%22%5D", numbers(19..20)),
        ("prefix=nobody", vec![]),
        ("start=z&end=a", vec![]),
    ] {
        let reply = server.get(&format!("/v1/kv?{query}"));
        assert_eq!(reply.status, 200, "{query}: {reply:?}");
        assert_eq!(names(&reply.json()), expected, "{query}");
        assert_eq!(reply.json()["versionstamp"].as_str(), reply.header("orchard-versionstamp"), "{query}");
    }
    assert_eq!(names(&server.get("/v1/kv").json()).len(), 23);
    let keys = server.get("/v1/kv?prefix=users&keys_only=true&limit=1").json();
    assert_eq!(keys["entries"][0]["key"], json!(["users", "00"]));
    assert_eq!((&keys["entries"][0]["type"], keys["entries"][0].get("value")), (&json!("int"), None));
}

#[test]
fn pages_show_one_snapshot_in_both_directions() {
    for (reverse, expected) in [(false, numbers(0..20)), (true, numbers((0..20).rev()))] {
        let server = server();
        let query = format!("prefix=users&limit=7&reverse={reverse}");
        let first = server.get(&format!("/v1/kv?{query}")).json();
        // What happens meanwhile is not seen.
        server.db.put(key(&["users", "10a"]), "new").expect("written");
        server.db.delete(key(&["users", "11"])).expect("deleted");
        let mut seen = names(&first);
        let mut page = first.clone();
        while let Some(cursor) = page["cursor"].as_str() {
            page = server.get(&format!("/v1/kv?{query}&cursor={cursor}")).json();
            assert_eq!(page["versionstamp"], first["versionstamp"]);
            seen.extend(names(&page));
        }
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_page_that_ends_the_range_has_no_cursor() {
    let server = server();
    assert_eq!(server.get("/v1/kv?prefix=users&limit=20").json().get("cursor"), None);
    assert!(server.get("/v1/kv?prefix=users&limit=19").json()["cursor"].is_string());
}

#[test]
fn a_cursor_belongs_to_its_range() {
    let server = server();
    let cursor =
        server.get("/v1/kv?prefix=users&limit=7").json()["cursor"].as_str().expect("more").to_owned();
    for query in [
        format!("cursor={cursor}"),
        format!("prefix=users2&cursor={cursor}"),
        format!("prefix=users&reverse=true&cursor={cursor}"),
        format!("prefix=users&cursor={}", &cursor[..cursor.len() - 2]),
        "prefix=users&cursor=!!".to_owned(),
        "prefix=users&cursor=".to_owned(),
    ] {
        assert_eq!(server.get(&format!("/v1/kv?{query}")).problem(), (400, "bad_cursor".into()), "{query}");
    }
}

#[test]
fn a_list_without_its_snapshot_says_so() {
    let db = Db::memory().expect("it opens");
    fill(&db);
    let first = TestServer::start(db.clone(), options());
    let page = first.get("/v1/kv?prefix=users&limit=7").json();
    let target = format!("/v1/kv?prefix=users&limit=7&cursor={}", page["cursor"].as_str().expect("more"));
    first.join();
    // Another server knows no snapshots of the first one, but as long as nothing changed there is no difference.
    let second = TestServer::start(db.clone(), options());
    assert_eq!(names(&second.get(&target).json()), numbers(7..14));
    second.join();
    db.put(key(&["users", "07a"]), "new").expect("written");
    let third = TestServer::start(db, options());
    let gone = third.get(&target);
    assert_eq!(gone.problem(), (410, "snapshot_too_old".into()));
    let cursor = gone.json()["cursor"].as_str().expect("a way on").to_owned();
    let on = third.get(&format!("/v1/kv?prefix=users&limit=3&cursor={cursor}")).json();
    assert_eq!(names(&on), ["07", "07a", "08"]);
}

#[test]
fn parameters_are_checked() {
    let server = server();
    for (query, code) in [
        ("limit=0", "bad_query"),
        ("limit=-1", "bad_query"),
        ("limit=x", "bad_query"),
        ("limit=10001", "bad_query"),
        ("reverse=yes", "bad_query"),
        ("prefix=a&prefix=b", "bad_query"),
        ("limit", "bad_query"),
        ("consistency=weak", "bad_query"),
        ("prefix=%5Bnull%5D", "bad_key"),
        ("perfix=users", "unknown_parameter"),
        ("since=soon", "bad_query"),
    ] {
        assert_eq!(server.get(&format!("/v1/kv?{query}")).problem(), (400, code.into()), "{query}");
    }
    assert_eq!(server.get("/v1/kv?consistency=eventual&limit=10000").status, 200);
    let long = "k".repeat(2_100);
    assert_eq!(server.get(&format!("/v1/kv?start={long}")).problem(), (413, "limit_exceeded".into()));
}

#[test]
fn entries_are_chosen_by_their_last_change_and_counted() {
    let server = server();
    let seen = server.db.visible();
    server.db.put(key(&["users", "07"]), "changed").expect("written");
    let get = |query: &str| server.get(&format!("/v1/kv?prefix=users&{query}")).json();
    assert_eq!(names(&get(&format!("since={seen}"))), ["07"]);
    assert_eq!(names(&get(&format!("until={seen}"))).len(), 19);
    assert_eq!(get(&format!("since={seen}&count=true"))["count"], 1);
    assert_eq!(get("count=true")["count"], 20);
    assert_eq!(get(&format!("count=true&at={}", server.db.visible()))["count"], 20);
    assert_eq!(names(&get("since=1970-01-01T00:00:00Z")).len(), 20);
    let body = json!({"ranges": [{"prefix": ["users"], "since": seen.to_string()}]}).to_string();
    let read = server.send("POST", "/v1/read", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(names(&read.json()["ranges"][0]), ["07"]);
}

#[test]
fn a_history_has_the_versions_that_are_kept() {
    let server = TestServer::memory();
    let _kept = server.db.snapshot();
    for value in ["one", "two"] {
        server.db.put("k", value).expect("written");
    }
    let history = server.get("/v1/history/k").json();
    assert_eq!(history["versions"][0]["value"], "two");
    assert_eq!(history["versions"][0]["versionstamp"], server.db.visible().to_string());
    assert_eq!(
        server.get("/v1/history?key=%5B%22k%22%5D&limit=1").json()["versions"].as_array().map(Vec::len),
        Some(1)
    );
    server.db.delete("k").expect("deleted");
    assert_eq!(server.get("/v1/history/k").json()["versions"][0]["deleted"], true);
    assert_eq!(server.get("/v1/history/none").json()["versions"], json!([]));
    assert_eq!(server.get("/v1/history").problem(), (400, "bad_key".into()));
    assert_eq!(server.get("/v1/history/k?limit=10001").problem(), (413, "limit_exceeded".into()));
}

#[test]
fn a_stream_has_every_entry_of_one_snapshot() {
    let server = TestServer::memory();
    let count: usize = 20_000;
    for first in (0..count).step_by(1_000) {
        let commit = (first..first + 1_000).fold(Commit::new(), |commit, number| {
            let key = format!("{number:06}").into_key().expect("short");
            commit.set(SpaceId::DEFAULT, key, "x".repeat(100))
        });
        server.db.commit(&commit).expect("written");
    }
    let mut client = server.client();
    let reply = client.send("GET", "/v1/kv", &[("accept", "application/x-ndjson")], b"");
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("application/x-ndjson")));
    assert_eq!(reply.header("transfer-encoding"), Some("chunked"));
    let lines: Vec<&str> = reply.text().lines().collect();
    assert_eq!(lines.len(), count);
    for (number, line) in lines.iter().enumerate() {
        let entry: Json = serde_json::from_str(line).expect("JSON");
        assert_eq!(entry["key"], json!([format!("{number:06}")]));
    }
    let few = client.send(
        "GET",
        "/v1/kv?limit=2&keys_only=true&reverse=true",
        &[("accept", "application/x-ndjson")],
        b"",
    );
    let keys: Vec<Json> = few
        .text()
        .lines()
        .map(|line| serde_json::from_str::<Json>(line).expect("JSON")["key"].clone())
        .collect();
    assert_eq!(keys, [json!(["019999"]), json!(["019998"])]);
    let head = client.send("HEAD", "/v1/kv", &[("accept", "application/x-ndjson")], b"");
    assert_eq!(head.status, 200);
    assert_eq!(
        client.send("GET", "/v1/kv?prefix=none", &[("accept", "application/x-ndjson")], b"").text(),
        ""
    );
}

#[test]
fn large_entries_end_a_page_early() {
    let server = TestServer::memory();
    for name in ["a", "b", "c"] {
        server.db.put(name, "x".repeat(5 << 20)).expect("written");
    }
    let page = server.get("/v1/kv").json();
    assert_eq!(names(&page), ["a", "b"]);
    let target = format!("/v1/kv?cursor={}", page["cursor"].as_str().expect("more"));
    assert_eq!(names(&server.get(&target).json()), ["c"]);
}
