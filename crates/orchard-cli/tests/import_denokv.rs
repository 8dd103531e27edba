//! `orchard import --from denokv` on a file as Deno writes it.

#![cfg(feature = "denokv-import")]
#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by it")]

mod common;

use orcharddb::{Db, DurationMs, Entry, UnixMillis, ValueType};
use rusqlite::{Connection, params};
use std::path::Path;

/// The tables of Deno 2.9.
const SCHEMA: &str = "
    create table kv (k blob primary key, v blob not null, v_encoding integer not null, version integer not null,
        seq integer not null default 0, expiration_ms integer not null default -1) without rowid;
    create table queue (ts integer not null, id text not null, data blob not null, backoff_schedule text not null,
        keys_if_undelivered blob not null, primary key (ts, id));
    create table queue_running (deadline integer not null, id text not null, data blob not null,
        backoff_schedule text not null, keys_if_undelivered blob not null, primary key (deadline, id));";

fn denokv(path: &Path) -> Connection {
    let file = Connection::open(path).expect("it opens");
    file.execute_batch(SCHEMA).expect("tables");
    let mut put = file
        .prepare("insert into kv (k, v, v_encoding, version, expiration_ms) values (?, ?, ?, ?, ?)")
        .expect("a statement");
    for (key, value, encoding, version, expires_at) in [
        ("a", &b"\xff\x10I\x02"[..], 1, 8, -1_i64),
        ("b", b"\xff\x10;\"\x01kI\x02:\x02", 1, 2, -1),
        ("c", b"\x01\x02", 3, 9, -1),
        ("d", &[7, 0, 0, 0, 0, 0, 0, 0], 2, 9, -1),
        ("later", b"\xff\x10T", 1, 11, 4_000_000_000_000),
        ("past", b"\xff\x10T", 1, 12, 1_000),
    ] {
        let key = [b"\x02", key.as_bytes(), b"\0"].concat();
        put.execute(params![key, value, encoding, version, expires_at]).expect("a row");
    }
    drop(put);
    let queue = "insert into queue values (?, ?, ?, ?, ?)";
    let rows = [
        (1_000_i64, &b"\xff\x10\"\x03now"[..], "[100,1000]", "[]"),
        (4_000_000_000_000, b"\xff\x10\"\x05later", "null", "[[2,108,0]]"),
    ];
    for (at, data, backoff, keys) in rows {
        file.execute(queue, params![at, format!("id{at}"), data, backoff, keys]).expect("a row");
    }
    let running = "insert into queue_running values (2000, 'x', ?, '[]', '[]')";
    file.execute(running, params![&b"\xff\x10\"\x07running"[..]]).expect("a row");
    file
}

#[test]
fn values_order_expiry_and_messages_come_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, data) = (directory.path().join("kv.sqlite"), directory.path().join("data"));
    // Deno may have it open.
    let _open = denokv(&file);
    let arguments = ["import", "--from", "denokv", "--data"];
    let outcome =
        common::run(arguments.iter().map(AsRef::as_ref).chain([data.as_os_str(), file.as_os_str()]));
    assert!(outcome.stderr.contains("imported 6 entries and 3 queued messages"), "{outcome:?}");
    outcome.fine();

    let db = Db::open(&data).expect("it opens");
    let get = |key: &str| -> Entry { db.get(key).expect("readable").expect("it is there") };
    assert_eq!(get("a").value.data.as_ref(), b"\xff\x10I\x02", "as it was");
    let types = ["a", "b", "c", "d"].map(|key| get(key).value.value_type);
    assert_eq!(types, [ValueType::V8, ValueType::V8, ValueType::Bytes, ValueType::U64]);
    let stamps = ["b", "a", "c", "d", "later"].map(|key| get(key).versionstamp);
    assert!(stamps[0] < stamps[1] && stamps[1] < stamps[2] && stamps[3] < stamps[4], "{stamps:?}");
    assert_eq!(stamps[2], stamps[3], "one version, one commit");
    assert_eq!(get("later").expires_at, Some(UnixMillis(4_000_000_000_000)));
    assert_eq!(db.get("past").expect("readable"), None);
    let queue = db.queue("kv-connect").expect("a name");
    let messages = queue.lease(10, DurationMs(60_000)).expect("it leases").wait().expect("durable");
    let payloads: Vec<&[u8]> = messages.iter().map(|message| message.payload.data.as_ref()).collect();
    assert_eq!(payloads, [&b"\xff\x10\"\x03now"[..], b"\xff\x10\"\x07running"]);
    assert_eq!(queue.stats().expect("stats").delayed, 1);
}

#[test]
fn other_files_and_servers_are_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, data) = (directory.path().join("no.sqlite"), directory.path().join("data"));
    let paths = [data.as_os_str(), file.as_os_str()];
    let arguments = ["import", "--from", "denokv", "--data"];
    common::run(arguments.iter().map(AsRef::as_ref).chain(paths)).failed(1);
    drop(Connection::open(&file).expect("it opens").execute_batch("create table other (k)"));
    let said = common::run(arguments.iter().map(AsRef::as_ref).chain(paths)).failed(1);
    assert!(said.contains("no such table: kv"), "{said}");
    let said = common::run(["import", "--from", "denokv", "x.sqlite"]).failed(2);
    assert!(said.contains("--data"), "{said}");
}
