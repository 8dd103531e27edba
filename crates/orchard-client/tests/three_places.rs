//! The same script in memory, in a directory and on a server: the same results and the same errors.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

mod common;

use common::{everywhere, server};
use orchard_client::{BatchOperation, BatchResult, Client, ClientError, connect};
use orchard_wire::Kind;
use orcharddb::{
    Check, Commit, Db, DurationMs, Expiry, IntoKey, KeyPart, KeyRange, Operation, ScanOptions, SpaceId,
    Value, ValueType, tuple,
};

fn key(parts: &[&str]) -> Vec<KeyPart> {
    parts.iter().map(|part| KeyPart::String((*part).to_owned())).collect()
}

fn users() -> KeyRange {
    KeyRange::prefix(&tuple::name(b"users").expect("short"))
}

async fn fill(db: &Client) -> Result<(), ClientError> {
    for number in 0..5_i64 {
        db.put(key(&["users", &number.to_string()]), number).await?;
    }
    Ok(())
}

#[tokio::test]
async fn the_longest_keys_are_written_read_and_listed() {
    everywhere(async |db| {
        for part in [
            KeyPart::String("\u{1}".repeat(2_000)),
            KeyPart::String("é".repeat(1_000)),
            KeyPart::Bytes(vec![255; 2_000]),
        ] {
            let key = [part].into_key()?;
            let end = [key.as_ref(), b"\0"].concat();
            db.put(key.clone(), 1_i64).await?;
            assert_eq!(db.get(key.clone()).await?.map(|entry| entry.key), Some(key.clone()));
            let range = KeyRange { start: key.clone().into_bytes(), end: Some(end.into()) };
            assert_eq!(db.count(&range).await?.entries, 1);
            let mut entries = db.scan(range, ScanOptions::default()).await?;
            assert_eq!(entries.next().await?.map(|entry| entry.key), Some(key));
        }
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn entries_are_written_read_and_deleted() {
    everywhere(async |db| {
        assert_eq!(db.get("apple").await?, None);
        let written = db.put("apple", "red").await?;
        let entry = db.get("apple").await?.ok_or("missing")?;
        assert_eq!((entry.value, entry.versionstamp), ("red".into(), written.versionstamp));
        for value in [
            Value::from(42_i64),
            Value::from(1.0_f64),
            Value::from(true),
            Value::null(),
            Value::u64(7),
            Value::json("{\"a\": [1, 2.0]}"),
            Value::from(vec![0, 255]),
            Value::from("{\"$bytes\": 1}"),
        ] {
            db.put("typed", value.clone()).await?;
            assert_eq!(db.get("typed").await?.map(|entry| entry.value), Some(value));
        }
        let parts = [KeyPart::Float(1.5), KeyPart::True, KeyPart::Bytes(vec![1, 0])];
        db.put(parts.clone(), "x").await?;
        assert_eq!(db.get(parts.clone()).await?.map(|entry| entry.key), Some(parts.into_key()?));
        db.put_expiring("soon", "x", Expiry::After(DurationMs(3_600_000))).await?;
        let soon = db.get("soon").await?.and_then(|entry| entry.expires_at).ok_or("it expires")?;
        db.touch("soon", Expiry::After(DurationMs(7_200_000))).await?;
        assert!(db.get("soon").await?.and_then(|entry| entry.expires_at).is_some_and(|later| later > soon));
        db.put_expiring("soon", "y", Expiry::Keep).await?;
        assert!(db.get("soon").await?.is_some_and(|entry| entry.expires_at.is_some()));
        db.delete("apple").await?;
        assert_eq!(db.get("apple").await?, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn ranges_are_read_both_ways_from_one_version() {
    everywhere(async |db| {
        fill(&db).await?;
        db.put("zebra", 1_i64).await?;
        let numbers = async |options| -> Result<Vec<i64>, ClientError> {
            let entries = db.scan(users(), options).await?.collect().await?;
            Ok(entries.into_iter().map(|entry| entry.value.as_int().unwrap_or(-1)).collect())
        };
        assert_eq!(numbers(ScanOptions::default()).await?, [0, 1, 2, 3, 4]);
        let reverse = ScanOptions { reverse: true, limit: Some(2), ..ScanOptions::default() };
        assert_eq!(numbers(reverse).await?, [4, 3]);
        let keys = ScanOptions { keys_only: true, limit: Some(1), ..ScanOptions::default() };
        assert_eq!(db.scan(users(), keys).await?.collect().await?[0].key, key(&["users", "0"]).into_key()?);
        assert_eq!(db.count(&users()).await?.entries, 5);
        let mut entries = db.scan(users(), ScanOptions::default()).await?;
        let version = entries.versionstamp();
        db.delete(key(&["users", "4"])).await?;
        let mut seen = 0;
        while let Some(entry) = entries.next().await? {
            assert!(entry.versionstamp <= version);
            seen += 1;
        }
        assert_eq!(seen, 5, "it reads what was there when it began");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_commit_happens_whole_or_tells_what_did_not_hold() {
    everywhere(async |db| {
        let apple = Db::key("apple")?;
        let create = Commit::new()
            .check_absent(SpaceId::DEFAULT, apple.clone())
            .set(SpaceId::DEFAULT, apple.clone(), "red")
            .set(SpaceId::DEFAULT, Db::key("pear")?, "green");
        let created = db.commit(&create).await?;
        let Err(ClientError::CheckFailed(failures)) = db.commit(&create).await else {
            return Err("it is there".into());
        };
        assert_eq!((failures.len(), failures[0].index), (1, 0));
        assert_eq!(failures[0].found, Some(created.versionstamp));
        let range = Check::Range {
            space: SpaceId::DEFAULT,
            range: KeyRange::all(),
            unchanged_since: created.versionstamp,
        };
        let guarded = Commit { checks: vec![range], ..Commit::new().delete(SpaceId::DEFAULT, apple.clone()) };
        db.commit(&guarded).await?;
        // In memory a delete is forgotten at once, and what may have been deleted since is too old to be known.
        let kind = db.commit(&guarded).await.expect_err("it changed").kind();
        assert!(matches!(kind, Some(Kind::CheckFailed | Kind::SnapshotTooOld)), "{kind:?}");
        let long = Db::key("x".repeat(3_000).as_str()).expect_err("too long");
        assert!(matches!(long, orcharddb::Error::Key(_)));
        let error = db.put("k", vec![0; 17 * 1024 * 1024]).await.expect_err("too large");
        assert_eq!(error.kind(), Some(Kind::LimitExceeded));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_operation() {
    everywhere(async |db| {
        let (a, b) = (Db::key("a")?, Db::key("b")?);
        let set = |value: i64| Operation::Set { value: value.into(), expiry: Expiry::Never };
        let get = |key: &orcharddb::Key| BatchOperation::Get(key.clone().into_bytes());
        let results = db
            .batch(&[
                get(&a),
                BatchOperation::Write(a.clone(), set(1)),
                get(&a),
                BatchOperation::Write(a.clone(), Operation::Delete),
                get(&a),
                BatchOperation::Write(b.clone(), set(2)),
            ])
            .await?;
        let results = results.into_iter().collect::<Result<Vec<_>, _>>().map_err(|problem| problem.detail)?;
        let [
            BatchResult::Absent,
            BatchResult::Written(first),
            BatchResult::Found(entry),
            BatchResult::Written(second),
            BatchResult::Absent,
            BatchResult::Written(third),
        ] = results.as_slice()
        else {
            return Err(format!("{results:?}").into());
        };
        assert!(first < second && second < third);
        assert_eq!((entry.versionstamp, entry.value.as_int()), (*first, Some(1)));
        assert_eq!(db.get(b).await?.map(|entry| entry.versionstamp), Some(*third));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn databases_are_apart() {
    everywhere(async |db| {
        let plums = db.database("plums")?;
        assert_eq!(plums.get("k").await?, None);
        plums.put("k", "plum").await?;
        assert_eq!(db.get("k").await?, None);
        assert_eq!(plums.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?.len(), 1);
        assert_eq!(db.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?.len(), 0);
        assert_eq!(plums.count(&KeyRange::all()).await?.entries, 1);
        let same = db.database("plums")?;
        same.transact(async |tx| {
            let value = tx.get("k").await?;
            tx.put("copy", value.unwrap_or_default())
        })
        .await?;
        assert_eq!(plums.get("copy").await?.map(|entry| entry.value), Some("plum".into()));
        assert!(db.database("").is_err() && db.database("a\nb").is_err());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn databases_are_listed_created_swapped_and_dropped() {
    everywhere(async |db| {
        assert_eq!(db.databases().await?, ["0"]);
        db.create_database("plums").await?;
        db.create_database("plums").await?;
        db.put("k", "default").await?;
        db.database("plums")?.put("k", "damson").await?;
        db.swap_databases("0", "plums").await?;
        assert_eq!(db.get("k").await?.map(|entry| entry.value), Some("damson".into()));
        assert_eq!(db.databases().await?, ["0", "plums"]);
        assert!(db.drop_database("plums").await? && !db.drop_database("plums").await?);
        assert_eq!(db.database("plums")?.get("k").await?, None);
        assert!(db.drop_database("0").await?, "it is emptied and stays");
        assert_eq!((db.get("k").await?, db.databases().await?), (None, vec!["0".to_owned()]));
        let long = "x".repeat(257);
        assert_eq!(db.create_database(&long).await.expect_err("long").kind(), Some(Kind::LimitExceeded));
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counting_together_loses_nothing() {
    const TASKS: i64 = 4;
    const ROUNDS: i64 = 10;
    everywhere(async |db| {
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let db = db.clone();
                tokio::spawn(async move {
                    for _ in 0..ROUNDS {
                        let counted = db.transact(async |tx| {
                            let count =
                                tx.get("count").await?.and_then(|value| value.as_int()).unwrap_or(0) + 1;
                            tx.put("count", count)?;
                            tx.put(key(&["log", &count.to_string()]), count)?;
                            Ok(count)
                        });
                        counted.await.expect("counted");
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await?;
        }
        let total = db.get("count").await?.and_then(|entry| entry.value.as_int());
        assert_eq!(total, Some(TASKS * ROUNDS));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_sum_over_a_range_never_changes_while_money_moves() {
    everywhere(async |db| {
        fill(&db).await?;
        let is_done = std::cell::Cell::new(false);
        let move_money = async {
            for round in 0..20_u32 {
                let from = key(&["users", &(round % 5).to_string()]);
                let to = key(&["users", &((round * 3 + 1) % 5).to_string()]);
                let moved = db.transact(async |tx| {
                    let taken = tx.get(from.clone()).await?.and_then(|value| value.as_int()).unwrap_or(0);
                    tx.put(from.clone(), taken - 1)?;
                    let given = tx.get(to.clone()).await?.and_then(|value| value.as_int()).unwrap_or(0);
                    tx.put(to.clone(), given + 1)
                });
                moved.await.expect("moved");
            }
            is_done.set(true);
        };
        let add_up = async {
            while !is_done.get() {
                let sum = db.transact(async |tx| {
                    let accounts = tx.scan(users()).await?;
                    Ok(accounts.iter().filter_map(|(_, value)| value.as_int()).sum::<i64>())
                });
                assert_eq!(sum.await.expect("read"), 10);
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(move_money, add_up);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_given_up_writes_nothing() {
    everywhere(async |db| {
        let outcome: Result<(), _> = db
            .transact(async |tx| {
                tx.put("k", 1_i64)?;
                assert_eq!(
                    tx.get("k").await?.and_then(|value| value.as_int()),
                    Some(1),
                    "it sees its own write"
                );
                Err(tx.abort("no"))
            })
            .await;
        assert_eq!(outcome.expect_err("aborted").kind(), Some(Kind::Aborted));
        assert_eq!(db.get("k").await?, None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_reached_is_told() {
    for address in ["http://", "https://localhost", "http://localhost?x=1"] {
        assert!(matches!(connect(address).await, Err(ClientError::Address(_))), "{address}");
    }
    let (address, stop, served) = server(Db::memory().expect("memory"), Some("secret")).await;
    let stranger = connect(&format!("http://{address}")).await.expect("an address");
    assert_eq!(stranger.get("k").await.expect_err("no token").kind(), Some(Kind::Unauthorized));
    drop(stop);
    served.await.expect("it served");
    assert!(matches!(stranger.get("k").await, Err(ClientError::Unreachable(_))));
    let file = tempfile::NamedTempFile::new().expect("a file");
    assert!(matches!(connect(&file.path().display().to_string()).await, Err(ClientError::Open(_))));
}

/// A rendering as JSON would not give them back: of another version of the format, and none at all.
#[tokio::test]
async fn javascript_values_keep_their_bytes() {
    everywhere(async |db| {
        for bytes in [&b"\xff\x0eI\x02"[..], b"\x01"] {
            let value = Value::new(ValueType::V8, bytes);
            db.put("a", value.clone()).await?;
            assert_eq!(db.get("a").await?.map(|entry| entry.value), Some(value.clone()));
            let scanned = db.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?;
            let scanned: Vec<_> = scanned.into_iter().map(|entry| entry.value).collect();
            assert_eq!(scanned, std::slice::from_ref(&value));
            let mut results = db.batch(&[BatchOperation::Get(Db::key("a")?.into_bytes())]).await?;
            let Some(Ok(BatchResult::Found(found))) = results.pop() else { return Err("not found".into()) };
            assert_eq!(found.value, value);
            let (list, hash) = (db.list("list")?, db.hash("hash")?);
            list.append(value.clone()).await?;
            assert_eq!(list.get(0).await?, Some(value.clone()));
            assert_eq!(list.pop_last().await?, Some(value.clone()));
            hash.set("field", value.clone()).await?;
            assert_eq!(hash.get("field").await?, Some(value));
            hash.remove(["field".into()]).await?;
            db.delete("a").await?;
        }
        Ok(())
    })
    .await;
}
