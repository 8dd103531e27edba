//! `orchard export` and `orchard import`: whatever a database holds comes back as it was.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, Server, run};
use orcharddb::{
    Commit, Db, DurationMs, Error, Expiry, KeyPart, Operation, SpaceId, UnixMillis, Value, ValueType,
};
use std::fs;
use std::path::Path;

/// Scalars of every type, and what is hard about each.
fn scalars() -> Vec<Value> {
    vec![
        "text \u{2028} \"\\\n".into(),
        "".into(),
        i64::MIN.into(),
        42_i64.into(),
        Value::from(42.0_f64),
        Value::from(-0.0_f64),
        Value::from(5e-324_f64),
        Value::from(f64::INFINITY),
        true.into(),
        Value::null(),
        Value::u64(u64::MAX),
        Value::json("5"),
        Value::json("{\"$bytes\":  \"\"}"),
        Value::json("[1, 2.0, \"a\"]"),
        vec![0, 255, 10].into(),
        // JavaScript's 42, in a form that no serializer of today writes.
        Value::new(ValueType::V8, vec![0xff, 0x0d, 0x49, 0x54]),
    ]
}

/// A name that is not text, and one that is too long for a key.
fn names() -> [Vec<u8>; 3] {
    [b"plain".to_vec(), vec![0xff, 0, 10], vec![b'x'; 5_000]]
}

fn fill(path: &Path) -> Result<(), Error> {
    let db = Db::open(path)?;
    for (n, value) in scalars().into_iter().enumerate() {
        let key = [KeyPart::String("scalars".into()), KeyPart::Float(n as f64)];
        db.commit(&Commit::new().set(SpaceId::DEFAULT, Db::key(key)?, value))?;
    }
    let expires = Operation::Set { value: "x".into(), expiry: Expiry::After(DurationMs(86_400_000)) };
    db.commit(&Commit::new().mutate(SpaceId::DEFAULT, Db::key("expires")?, expires))?;
    for (size, number) in [("small", 3), ("large", 5_000_usize)] {
        let key = |name: &str| [KeyPart::String(name.into()), KeyPart::String(size.into())];
        let many = |n: usize| scalars().into_iter().cycle().take(n);
        db.list(key("list")).update(|list| {
            list.extend(many(number), false)?;
            // Positions are no longer even.
            list.insert_at(false, "in the middle", |value| *value == Value::json("5"))?;
            list.push_front("first")
        })?;
        // Names that go down: a small hash is in the order in which its fields came.
        db.hash(key("hash")).update(|hash| {
            hash.extend(
                (0..number).rev().zip(many(number)).map(|(n, value)| (format!("f{n:05}").into(), value)),
            )?;
            if number > 10 {
                hash.set_expiring("expires", 1_i64, Expiry::At(UnixMillis(4_102_444_800_000)))?;
            }
            hash.extend(
                names()
                    .into_iter()
                    .take(if number < 10 { 2 } else { 3 })
                    .map(|name| (name.into(), "n".into())),
            )
        })?;
        db.set(key("set")).update(|set| {
            set.extend((0..number).map(|n| format!("m{n}").into()))?;
            if number > 10 {
                set.insert_expiring("expires", Expiry::At(UnixMillis(4_102_444_800_000)))?;
            }
            set.extend(names().into_iter().map(Into::into))
        })?;
        db.zset(key("zset")).update(|zset| {
            zset.extend((0..number).map(|n| (format!("m{n}").into(), (n / 7) as f64 / 3.0)))?;
            if number > 10 {
                zset.insert_expiring("expires", 1.0, Expiry::At(UnixMillis(4_102_444_800_000)))?;
            }
            zset.extend(
                names()
                    .into_iter()
                    .zip([f64::NEG_INFINITY, f64::INFINITY, 1e300])
                    .map(|(n, s)| (n.into(), s)),
            )
        })?;
        let touch = Operation::Touch { expiry: Expiry::After(DurationMs(86_400_000)) };
        for name in ["list", "zset"] {
            db.commit(&Commit::new().mutate(SpaceId::DEFAULT, Db::key(key(name))?, touch.clone()))?;
        }
    }
    // Values that together are far over what one line, or one commit, holds.
    let values = (0..40_u8).map(|n| Value::from(vec![n; 1024 * 1024]));
    for value in values {
        db.list("heavy").push_back(value)?;
    }
    db.close()?;
    Ok(())
}

/// The element of each kind, as text that tells all of it.
fn contents(path: &Path) -> Result<String, Error> {
    let db = Db::open(path)?;
    let mut all = String::new();
    for size in ["small", "large"] {
        let key = |name: &str| [KeyPart::String(name.into()), KeyPart::String(size.into())];
        all += &format!("{:?}\n", db.list(key("list")).range(0, -1)?);
        all += &format!("{:?}\n", db.hash(key("hash")).snapshot()?.page_expiring(None, usize::MAX)?);
        all += &format!("{:?}\n", db.set(key("set")).snapshot()?.page_expiring(None, usize::MAX)?);
        all += &format!("{:?}\n", db.zset(key("zset")).snapshot()?.range_expiring(0, -1)?);
        let entry = db.get(key("list"))?.expect("it is there");
        all += &format!("{:?}\n", entry.expires_at);
    }
    db.close()?;
    Ok(all)
}

#[test]
fn everything_comes_back_as_it_was() {
    let scratch = Scratch::new();
    fill(&scratch.path("one")).expect("written");
    let export = |target: [&str; 2], name: &str| {
        let file = scratch.at(name);
        run(["export", &file, "--no-versionstamps", target[0], target[1]]).fine();
        fs::read(file).expect("an export")
    };
    let one = export(["--data", &scratch.at("one")], "one.ndjson");
    let longest = one.split(|byte| *byte == b'\n').map(<[u8]>::len).max();
    assert!(longest < Some(3 * 1024 * 1024), "a line is a piece: {longest:?}");
    run(["import", &scratch.at("one.ndjson"), "--data", &scratch.at("two")]).fine();
    // Once more over what is there: nothing is there twice.
    run(["import", &scratch.at("one.ndjson"), "--data", &scratch.at("two")]).fine();
    assert!(export(["--data", &scratch.at("two")], "two.ndjson") == one, "a copy of a directory");
    let (before, after) = (contents(&scratch.path("one")), contents(&scratch.path("two")));
    assert!(before.expect("one") == after.expect("two"), "the elements, read by the crate");
    // The same through servers.
    let (from, to) = (Server::start(&scratch.path("one")), Server::start(&scratch.path("three")));
    assert!(export(["--url", &from.url()], "served.ndjson") == one, "an export from a server");
    run(["import", &scratch.at("served.ndjson"), "--url", &to.url()]).fine();
    assert!(export(["--url", &to.url()], "three.ndjson") == one, "a copy by a server");
    // As a person looks at it.
    assert!(run(["get", "[\"set\",\"small\"]", "--url", &to.url()]).fine().starts_with("[\"m0\","));
}

#[test]
fn pieces_out_of_order_are_refused() {
    let scratch = Scratch::new();
    let file = scratch.at("pieces.ndjson");
    let line = |offset: u64| {
        let elements = r#"[{"value":"a","type":"text"},{"value":"b","type":"text"}]"#;
        format!("{{\"key\":[\"s\"],\"type\":\"list\",\"offset\":{offset},\"elements\":{elements}}}\n")
    };
    fs::write(&file, format!("{{\"key\":[\"k\"],\"value\":1}}\n{}{}", line(0), line(5))).expect("written");
    let failed = run(["import", &file, "--data", &scratch.at("data")]).failed(1);
    assert!(failed.contains("not whole") && failed.contains("everything up to line 2"), "{failed}");
    assert_eq!(run(["get", "s", "--data", &scratch.at("data")]).fine(), "[\"a\",\"b\"]");
    for (text, expected) in [
        ("{\"key\":[\"s\"],\"type\":\"text\",\"elements\":[]}", "type"),
        ("{\"key\":[\"s\"],\"type\":\"set\",\"elements\":[1]}", "elements[0]"),
        ("{\"key\":[\"s\"],\"type\":\"set\",\"value\":1,\"elements\":[]}", "value"),
        ("{\"key\":[\"s\"],\"type\":\"set\",\"value\":{\"$bytes\":\"AA==\"}}", "type"),
    ] {
        fs::write(&file, text).expect("written");
        let failed = run(["import", &file, "--data", &scratch.at("data")]).failed(1);
        assert!(failed.contains(expected), "{failed}");
    }
}
