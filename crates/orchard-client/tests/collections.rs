//! Lists, hashes, sets and sorted sets: the same in memory, in a directory and on a server.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

mod common;

use bytes::Bytes;
use common::everywhere;
use orchard_client::collection::{Field, Step, ZPage};
use orchard_client::{BatchOperation, BatchResult, Client, ClientError, CommitOptions, FeedKeys, StepAt};
use orchard_wire::Kind;
use orcharddb::{
    Commit, DurationMs, Expiry, FeedEvent, FeedStart, IntoKey, KeyRange, Operation, ScanOptions, SpaceId,
    UnixMillis, Value, ValueType,
};
use std::ops::Bound;

fn shown((name, value): &(Bytes, Value)) -> Field {
    Field { name: name.clone(), value: value.clone(), expires_at: None }
}

fn values() -> Vec<Value> {
    vec![
        "text".into(),
        42_i64.into(),
        Value::from(42.0_f64),
        true.into(),
        Value::null(),
        Value::u64(7),
        Value::json("5"),
        Value::json("{\"$bytes\": \"\"}"),
        vec![0, 255].into(),
    ]
}

#[tokio::test]
async fn a_list_has_two_ends() {
    everywhere(async |db| {
        let list = db.list("l")?;
        assert_eq!((list.len().await?, list.pop_first().await?, list.get(0).await?), (0, None, None));
        for (n, value) in values().into_iter().enumerate() {
            assert_eq!(list.append(value).await?, n as u64 + 1);
        }
        assert_eq!(list.range(0, -1).await?, values());
        assert_eq!(list.prepend("first").await?, values().len() as u64 + 1);
        assert_eq!(list.get(0).await?, Some("first".into()));
        assert_eq!(list.get(-1).await?, values().pop());
        assert_eq!((list.get(100).await?, list.get(-100).await?), (None, None));
        assert_eq!(list.pop_first().await?, Some("first".into()));
        assert_eq!(list.pop_last().await?, values().pop());
        assert_eq!(list.range(1, 1).await?, [Value::from(42_i64)]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_hash_has_fields() {
    everywhere(async |db| {
        let hash = db.hash("h")?;
        assert_eq!(hash.get("a").await?, None);
        let fields: Vec<(Bytes, Value)> =
            values().into_iter().enumerate().map(|(n, value)| (format!("f{n}").into(), value)).collect();
        assert_eq!(hash.extend(fields.clone()).await?, fields.len() as u64);
        assert!(!hash.set("f0", "other").await?);
        assert!(hash.set(vec![0xff, 0], "bytes").await?);
        assert_eq!(hash.get("f0").await?, Some("other".into()));
        assert_eq!(hash.get(vec![0xff, 0]).await?, Some("bytes".into()));
        assert_eq!(
            hash.get_many(["f8".into(), "no".into(), "f1".into()]).await?,
            [shown(&fields[8]), shown(&fields[1])]
        );
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = hash.page(after, 3).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.name.clone());
            all.extend(page);
        }
        assert_eq!(all.len() as u64, hash.len().await?);
        let wanted: Vec<Field> = fields.iter().map(shown).collect();
        assert_eq!(all[1..fields.len()], wanted[1..]);
        let hour = Expiry::After(DurationMs(3_600_000));
        assert!(hash.set_expiring("soon", 1_i64, hour).await?);
        assert_eq!(hash.sum("soon", 1_i64).await?, Value::from(2_i64));
        let soon = hash.get_many(["soon".into()]).await?;
        assert!(soon[0].expires_at.is_some(), "a sum leaves it as it is");
        assert!(!hash.set("soon", 3_i64).await?);
        assert_eq!(hash.get_many(["soon".into()]).await?[0].expires_at, None);
        assert!(hash.set_expiring("gone", 1_i64, Expiry::At(UnixMillis(1))).await?);
        assert_eq!(hash.get("gone").await?, None);
        assert_eq!(hash.expire(["soon".into(), "no".into()], hour).await?, 1);
        assert!(hash.get_many(["soon".into()]).await?[0].expires_at.is_some());
        assert_eq!(hash.sum("f1", -2_i64).await?, Value::from(40_i64));
        assert_eq!(hash.sum("new", 0.5).await?, Value::from(0.5));
        assert_eq!(hash.sum("f2", 1_i64).await.expect_err("a float").kind(), Some(Kind::WrongType));
        assert_eq!(hash.sum("f1", i64::MAX).await.expect_err("too much").kind(), Some(Kind::Overflow));
        assert_eq!(hash.remove(["f0".into(), "no".into()]).await?, 1);
        let nested = Value::new(ValueType::List, "[]");
        assert_eq!(hash.set("x", nested).await.expect_err("nested").kind(), Some(Kind::BadValue));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn sets_have_members_and_sorted_sets_scores() {
    everywhere(async |db| {
        let set = db.set("s")?;
        assert_eq!(set.insert(["b".into(), "a".into(), "b".into()]).await?, 2);
        assert!(set.contains("a").await? && !set.contains("c").await?);
        assert_eq!(set.which(["c".into(), "b".into()]).await?, ["b"]);
        assert_eq!(set.page(None, 1).await?, ["a"]);
        assert_eq!(set.page(Some("a".into()), 5).await?, ["b"]);
        assert_eq!((set.remove(["a".into(), "c".into()]).await?, set.len().await?), (1, 1));

        let hour = Expiry::After(DurationMs(3_600_000));
        assert!(set.insert_expiring("soon", hour).await?);
        assert!(set.lifetimes(["soon".into()]).await?[0].expires_at.is_some());
        assert_eq!(set.expire(["soon".into(), "no".into()], Expiry::At(UnixMillis(1))).await?, 1);
        assert!(!set.contains("soon").await?);

        let zset = db.zset("z")?;
        assert!(zset.insert_expiring("soon", 5.0, hour).await?);
        assert_eq!(zset.sum("soon", 1.0).await?, 6.0);
        assert!(zset.lifetimes(["soon".into()]).await?[0].expires_at.is_some());
        assert_eq!(zset.expire(["soon".into(), "no".into()], Expiry::At(UnixMillis(1))).await?, 1);
        assert_eq!(zset.score("soon").await?, None);
        let scored = |name: &str, score: f64| (Bytes::from(name.to_owned()), score);
        let members = [scored("a", 1.0), scored("b", 2.5), scored("c", 2.5), scored("d", f64::INFINITY)];
        assert_eq!(zset.insert(members.clone()).await?, 4);
        assert_eq!(zset.range(0, -1).await?, members);
        assert_eq!(zset.range(-1, -1).await?, members[3..]);
        assert_eq!((zset.score("b").await?, zset.score("no").await?), (Some(2.5), None));
        let page = |min, max, reverse, after| ZPage { min, max, reverse, after, limit: 2 };
        let above = page(Bound::Excluded(1.0), Bound::Unbounded, false, None);
        assert_eq!(zset.by_score(above.clone()).await?, members[1..3]);
        let rest = ZPage { after: Some(members[2].clone()), ..above };
        assert_eq!(zset.by_score(rest).await?, members[3..]);
        let down = page(Bound::Unbounded, Bound::Included(2.5), true, Some(members[2].clone()));
        assert_eq!(zset.by_score(down).await?, [members[1].clone(), members[0].clone()]);
        assert_eq!(zset.sum("a", 0.25).await?, 1.25);
        assert_eq!(
            zset.sum("d", f64::NEG_INFINITY).await.expect_err("no number").kind(),
            Some(Kind::BadValue)
        );
        assert_eq!(zset.pop_lowest().await?, Some(scored("a", 1.25)));
        assert_eq!(zset.pop_highest().await?, Some(members[3].clone()));
        assert_eq!((zset.remove(["b".into(), "c".into()]).await?, zset.len().await?), (2, 0));
        assert_eq!(zset.pop_lowest().await?, None);
        let names = db.zset("names")?;
        names.insert([scored("a", 0.0), scored("b", 0.0), scored("c", 0.0)]).await?;
        let all =
            ZPage { min: Bound::Unbounded, max: Bound::Unbounded, reverse: true, after: None, limit: 9 };
        assert_eq!(names.by_name(all).await?.len(), 3);
        let some = ZPage {
            min: Bound::Excluded("a".into()),
            max: Bound::Included("b".into()),
            reverse: false,
            after: None,
            limit: 9,
        };
        assert_eq!(names.by_name(some).await?, [scored("b", 0.0)]);
        assert_eq!(db.set("z2")?.len().await?, 0);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn commits_and_batches_change_collections() {
    everywhere(async |db: Client| {
        let key = |name: &str| name.into_key().expect("short");
        let at = |before, name: &str, step| StepAt { before, key: key(name), step };
        let commit = Commit::new()
            .check_absent(SpaceId::DEFAULT, key("a"))
            .set(SpaceId::DEFAULT, key("a"), 1_i64)
            .delete(SpaceId::DEFAULT, key("l"));
        let steps = [
            at(0, "l", Step::Append(vec!["gone".into()])),
            at(1, "l", Step::PopFirst(1)),
            at(2, "l", Step::Append(vec!["stays".into()])),
            at(2, "s", Step::AddMembers(vec![("x".into(), Expiry::Never)])),
        ];
        let (_, stepped) = db.commit_stepped(&commit, &steps, &CommitOptions::default()).await?;
        assert_eq!(stepped.iter().map(|stepped| stepped.length).collect::<Vec<_>>(), [1, 0, 1, 1]);
        assert_eq!(stepped[1].values, ["gone".into()]);
        assert_eq!(db.list("l")?.range(0, -1).await?, ["stays".into()]);
        let again = db.commit_stepped(&commit, &steps, &CommitOptions::default()).await;
        assert!(matches!(again, Err(ClientError::CheckFailed(failures)) if failures.len() == 1));
        let wrong = [at(0, "a", Step::PopLowest(1))];
        let wrong = db.commit_stepped(&Commit::new(), &wrong, &CommitOptions::default()).await;
        assert_eq!(wrong.expect_err("a number").kind(), Some(Kind::WrongType));
        let two = [at(0, "l", Step::Append(vec!["a".into(), "b".into()]))];
        let two = db.commit_stepped(&Commit::new(), &two, &CommitOptions::default()).await;
        assert_eq!(two.expect_err("two at once").kind(), Some(Kind::LimitExceeded));

        let operations = [
            BatchOperation::Step(key("s"), Step::AddMembers(vec![("y".into(), Expiry::Never)])),
            BatchOperation::Step(key("a"), Step::PopFirst(1)),
            BatchOperation::Step(key("none"), Step::PopFirst(1)),
            BatchOperation::Get(key("l").into_bytes()),
        ];
        let mut results = db.batch(&operations).await?.into_iter();
        let added = results.next().expect("a result");
        assert!(matches!(added, Ok(BatchResult::Stepped(_, stepped)) if (stepped.changed, stepped.length) == (1, 2)));
        let kind = |result: Option<Result<_, orchard_wire::Problem>>| result.expect("a result").err().map(|it| it.kind);
        assert_eq!(kind(results.next()), Some(Kind::WrongType));
        assert_eq!(kind(results.next()), Some(Kind::KeyNotFound));
        assert_eq!(kind(results.next()), None);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn collections_are_shown_as_json_wherever_entries_are() {
    everywhere(async |db: Client| {
        let mut feed = db.changes(FeedStart::Now, &FeedKeys::default()).await?;
        db.hash("h")?.set("a", 1_i64).await?;
        let shown = Value::new(ValueType::Hash, "{\"a\":1}");
        assert_eq!(db.get("h").await?.map(|entry| entry.value), Some(shown.clone()));
        let entries = db.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?;
        assert_eq!(entries.first().map(|entry| &entry.value), Some(&shown));
        let Some(FeedEvent::Commit(commit)) = feed.next().await? else { return Err("no commit".into()) };
        let set = commit.changes.iter().find_map(|change| match &change.operation {
            Operation::Set { value, .. } => Some(value.clone()),
            _ => None,
        });
        assert_eq!(set, Some(shown.clone()));
        // What is shown is not to be written.
        let error: ClientError = db.put("copy", shown).await.expect_err("it is no hash");
        assert_eq!(error.kind(), Some(Kind::BadValue));
        assert_eq!(db.get("copy").await?, None);
        let members: Vec<Bytes> = (0..1_500).map(|n| format!("m{n}").into()).collect();
        db.set("many")?.insert(members).await?;
        let entries = db.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?;
        let many = entries.last().map(|entry| entry.value.data.clone());
        assert_eq!(many.as_deref(), Some(&b"{\"$count\":1500}"[..]));
        assert!(db.get("many").await?.is_some_and(|entry| entry.value.data.len() > 5_000));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_no_such_collection_is_refused() {
    everywhere(async |db| {
        db.put("text", "x").await?;
        for kind in [
            db.list("text")?.append(1_i64).await.expect_err("text").kind(),
            db.hash("text")?.get("a").await.expect_err("text").kind(),
            db.set("text")?.insert(["a".into()]).await.expect_err("text").kind(),
            db.zset("text")?.pop_lowest().await.expect_err("text").kind(),
            db.zset("text")?.len().await.expect_err("text").kind(),
        ] {
            assert_eq!(kind, Some(Kind::WrongType));
        }
        let many = vec![Bytes::from("a"); 10_001];
        assert_eq!(db.set("s")?.insert(many).await.expect_err("many").kind(), Some(Kind::LimitExceeded));
        let plums = db.database("plums")?;
        plums.set("s")?.insert(["a".into()]).await?;
        assert_eq!((db.set("s")?.len().await?, plums.set("s")?.len().await?), (0, 1));
        Ok(())
    })
    .await;
}
