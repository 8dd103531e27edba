//! Watches, histories and views of the past: the same in memory, in a directory and on a server.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

mod common;

use common::everywhere;
use orchard_client::collection::{Elements, Look, Member};
use orchard_client::{Client, ClientError, FeedKeys, Moment, Watch, WatchEvent, Watched};
use orchard_wire::Kind;
use orcharddb::{
    Commit, Db, DurationMs, Expiry, KeyPart, KeyRange, Operation, ScanOptions, SpaceId, Value, ValueType,
    Versionstamp, tuple,
};

async fn next(watch: &mut Watch) -> Result<Vec<Watched>, ClientError> {
    match watch.next().await? {
        Some(WatchEvent::Changed { keys, .. }) => Ok(keys),
        other => panic!("no change: {other:?}"),
    }
}

fn value(watched: &Watched) -> Option<&Value> {
    if let Watched::Holds(entry) = watched { Some(&entry.value) } else { None }
}

fn user(name: &str) -> [KeyPart; 2] {
    [KeyPart::String("users".into()), KeyPart::String(name.into())]
}

#[tokio::test]
async fn a_watch_tells_what_keys_hold_when_that_changes() {
    everywhere(async |db| {
        let (apple, pear) = (Db::key("apple")?, Db::key("pear")?);
        db.put("apple", "red").await?;
        let keys = FeedKeys { keys: vec![apple.clone(), pear.clone()], prefixes: vec![Db::key("users")?] };
        let mut watch = db.watch(None, &keys).await?;
        let first = next(&mut watch).await?;
        let [Watched::Holds(entry), Watched::Absent(absent)] = first.as_slice() else { panic!("{first:?}") };
        assert_eq!((&entry.key, &entry.value, absent), (&apple, &"red".into(), &pear));
        // Nobody asked for this one.
        db.put("other", "x").await?;
        db.put_expiring("pear", "green", Expiry::After(DurationMs(3_600_000))).await?;
        let second = next(&mut watch).await?;
        let [Watched::Holds(entry)] = second.as_slice() else { panic!("{second:?}") };
        assert!(entry.key == pear && entry.expires_at.is_some());
        let position = watch.position();
        db.hash(user("ada"))?.set("born", 1815_i64).await?;
        let third = next(&mut watch).await?;
        assert_eq!(third.first().and_then(value), Some(&Value::new(ValueType::Hash, "{\"born\":1815}")));
        db.delete("apple").await?;
        assert_eq!(next(&mut watch).await?, [Watched::Absent(apple.clone())]);
        // One that broke off goes on where it was.
        let mut again = db.watch(Some(position), &keys).await?;
        let mut seen = Vec::new();
        while seen.len() < 2 {
            seen.extend(next(&mut again).await?);
        }
        assert!(
            seen.contains(&Watched::Absent(apple)) && seen.iter().any(|watched| value(watched).is_some())
        );
        let range = KeyRange::prefix(&tuple::name(b"users")?);
        let delete = Operation::DeleteRange { end: range.end.clone() };
        let start = orcharddb::Key::new(range.start.clone())?;
        db.commit(&Commit::new().mutate(SpaceId::DEFAULT, start, delete)).await?;
        assert_eq!(next(&mut watch).await?, [Watched::DeletedRange(range)]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_a_watch_cannot_tell_begins_with_a_gap() {
    everywhere(async |db| {
        let keys = FeedKeys { keys: vec![Db::key("k")?], ..FeedKeys::default() };
        let written = db.put("k", "v").await?;
        let ahead = Versionstamp::new(written.versionstamp.index() + 1_000_000, 0);
        let mut watch = db.watch(Some(ahead), &keys).await?;
        assert!(matches!(watch.next().await?, Some(WatchEvent::Gap { .. })));
        assert_eq!(next(&mut watch).await?.first().and_then(value), Some(&"v".into()));
        let nothing = db.watch(None, &FeedKeys::default()).await.err().expect("no key");
        assert_eq!(nothing.kind(), Some(Kind::BadQuery));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_history_has_the_versions_that_are_kept() {
    everywhere(async |db: Client| {
        let first = db.put("k", 1_i64).await?.versionstamp;
        db.put_expiring("k", Value::json("5"), Expiry::After(DurationMs(3_600_000))).await?;
        let history = db.history("k", 10).await?;
        let newest = history.versions.first().ok_or("no version")?;
        let (value, expires_at) = newest.value.clone().ok_or("no value")?;
        assert!(value == Value::json("5") && expires_at.is_some() && newest.versionstamp > first);
        assert!(history.floor <= newest.versionstamp);
        db.set("s")?.insert(["a".into()]).await?;
        let shown = db.history("s", 1).await?.versions.into_iter().next().and_then(|version| version.value);
        assert_eq!(shown.map(|(value, _)| value), Some(Value::new(ValueType::Set, "[\"a\"]")));
        assert_eq!(db.history("never", 10).await?.versions, []);
        assert_eq!(db.history("k", 10_001).await.expect_err("many").kind(), Some(Kind::LimitExceeded));
        Ok(())
    })
    .await;
}

/// A version that nothing overwrites meanwhile can be seen without any history.
#[tokio::test]
async fn a_view_shows_one_version() {
    everywhere(async |db| {
        db.put("apple", "red").await?;
        db.set("s")?.insert(["a".into(), "b".into()]).await?;
        let before = db.put("pear", "green").await?.versionstamp;
        let view = db.view(Moment::Version(before)).await?;
        assert_eq!(view.versionstamp(), before);
        assert_eq!(view.get("apple").await?.map(|entry| entry.value), Some("red".into()));
        assert_eq!(view.get("never").await?, None);
        let entries = view.scan(KeyRange::all(), ScanOptions::default()).await?.collect().await?;
        assert_eq!(entries.len(), 3);
        let found = view.look("s", &Look::MembersAfter(None, 10)).await?;
        assert_eq!(
            found.elements,
            Elements::Members(["a", "b"].map(|name| Member { name: name.into(), expires_at: None }).to_vec())
        );
        let ahead = Moment::Version(Versionstamp::new(before.index() + 1_000, 0));
        assert_eq!(db.view(ahead).await.err().expect("ahead").kind(), Some(Kind::BadQuery));
        Ok(())
    })
    .await;
}
