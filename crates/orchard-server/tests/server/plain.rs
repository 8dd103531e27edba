//! The original plain routes, as people use them with curl.

use crate::common::{TestServer, options};
use orcharddb::{Db, Value};

#[test]
fn the_session_of_the_readme() {
    let server = TestServer::memory();
    for (target, reply) in [
        ("/put?key2=baz", "[INFO] (PUT) KEY: key2 VALUE: baz\n"),
        ("/get/key2", "[INFO] (GET) KEY: key2 VALUE: baz\n"),
        ("/delete/key2", "[INFO] (DELETE) KEY: key2\n"),
    ] {
        let got = server.get(target);
        assert_eq!((got.status, got.text()), (200, reply));
        assert_eq!(got.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(got.header("cache-control"), Some("no-store"));
        assert_eq!(got.header("server"), None);
    }
}

#[test]
fn several_pairs_are_one_commit_and_a_line_each() {
    let server = TestServer::memory();
    let reply = server.get("/put?a=1&b=x+y%2Bz&a=2&gr%C3%BCn=%F0%9F%8D%8E&empty=");
    let lines = "[INFO] (PUT) KEY: a VALUE: 1\n[INFO] (PUT) KEY: b VALUE: x y+z\n[INFO] (PUT) KEY: a VALUE: 2\n\
                 [INFO] (PUT) KEY: grün VALUE: 🍎\n[INFO] (PUT) KEY: empty VALUE: \n";
    assert_eq!((reply.status, reply.text()), (200, lines));
    let entry = |name: &str| server.db.get(name).expect("readable").expect("there");
    assert_eq!(entry("a").versionstamp, entry("b").versionstamp);
    assert_eq!(entry("a").value, Value::from("2"), "pairs are resolved in order");
    assert_eq!(server.get("/get/gr%C3%BCn").text(), "[INFO] (GET) KEY: grün VALUE: 🍎\n");
    assert_eq!(server.get("/get/empty").text(), "[INFO] (GET) KEY: empty VALUE: \n");
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    let server = TestServer::memory();
    assert_eq!(server.get("/put?%FE=%FF%00").body, b"[INFO] (PUT) KEY: \xfe VALUE: \xff\0\n");
    assert_eq!(server.get("/get/%FE").body, b"[INFO] (GET) KEY: \xfe VALUE: \xff\0\n");
    let entry = server.db.get(&b"\xfe"[..]).expect("readable").expect("there");
    assert_eq!(entry.value, Value::bytes(&b"\xff\0"[..]));
}

#[test]
fn a_slash_is_part_of_a_name() {
    let server = TestServer::memory();
    server.get("/put?a/b=1");
    assert_eq!(server.get("/get/a/b").text(), "[INFO] (GET) KEY: a/b VALUE: 1\n");
    assert_eq!(server.get("/get/a%2Fb").text(), "[INFO] (GET) KEY: a/b VALUE: 1\n");
}

#[test]
fn other_types_are_shown_as_text() {
    let server = TestServer::memory();
    for (value, shown) in [
        (Value::from(42_i64), "42"),
        (Value::from(1.5_f64), "1.5"),
        (Value::from(true), "true"),
        (Value::null(), "null"),
        (Value::json("{\"a\": 1}"), "{\"a\": 1}"),
        (Value::u64(7), "7"),
    ] {
        server.db.put("k", value).expect("written");
        assert_eq!(server.get("/get/k").text(), format!("[INFO] (GET) KEY: k VALUE: {shown}\n"));
    }
}

#[test]
fn missing_keys_are_404() {
    let server = TestServer::memory();
    let reply = server.get("/get/nope");
    assert_eq!((reply.status, reply.text()), (404, "[ERROR] (GET) KEY: nope NOT FOUND\n"));
    let reply = server.get("/delete/nope");
    assert_eq!((reply.status, reply.text()), (404, "[ERROR] (DELETE) KEY: nope NOT FOUND\n"));
}

#[test]
fn malformed_requests_are_400_and_write_nothing() {
    let server = TestServer::memory();
    for target in [
        "/put",
        "/put?",
        "/put?a",
        "/put?=1",
        "/put?a=1&b",
        "/put?a=%",
        "/put?a=%zz",
        "/get/",
        "/delete/",
        "/get/%f",
        "/get/a?b=1",
        "/delete/a?b=1",
    ] {
        let reply = server.get(target);
        assert_eq!(reply.status, 400, "{target}");
        assert!(reply.text().starts_with("[ERROR] ("), "{target}: {}", reply.text());
        assert!(reply.text().contains("MALFORMED"), "{target}: {}", reply.text());
    }
    assert_eq!(server.db.iter().count(), 0);
    let long = "k".repeat(2_100);
    assert_eq!(server.get(&format!("/put?{long}=1")).status, 413);
}

#[test]
fn they_are_for_get_alone() {
    let server = TestServer::memory();
    server.db.put("k", "v").expect("written");
    for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"] {
        for target in ["/put?k=w", "/get/k", "/delete/k"] {
            let reply = server.send(method, target, &[], b"");
            assert_eq!((reply.status, reply.header("allow")), (405, Some("GET")), "{method} {target}");
        }
    }
    assert_eq!(server.db.get("k").expect("readable").expect("there").value, Value::from("v"));
}

#[test]
fn what_was_put_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    assert_eq!(server.get("/put?key2=baz").status, 200);
    let db = server.db.clone();
    server.join();
    db.close().expect("it closes");
    drop(db);
    let server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    assert_eq!(server.get("/get/key2").text(), "[INFO] (GET) KEY: key2 VALUE: baz\n");
}
