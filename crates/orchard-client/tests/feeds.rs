//! The same feed in memory, in a directory and on a server.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

mod common;

use common::everywhere;
use orchard_client::{Client, ClientError, Feed, FeedKeys};
use orcharddb::{
    Commit, Db, FeedCommit, FeedEvent, FeedStart, KeyPart, KeyRange, Operation, SpaceId, Versionstamp, tuple,
};

async fn next(feed: &mut Feed) -> Result<FeedCommit, ClientError> {
    match feed.next().await? {
        Some(FeedEvent::Commit(commit)) => Ok(commit),
        other => panic!("no commit: {other:?}"),
    }
}

async fn fill(db: &Client) -> Result<Vec<Versionstamp>, ClientError> {
    let user = |name: &str| [KeyPart::String("users".into()), KeyPart::String(name.into())];
    let mut stamps = vec![db.put(user("ada"), "one").await?.versionstamp];
    stamps.push(db.put("other", "two").await?.versionstamp);
    let range = KeyRange::prefix(&tuple::name(b"users").map_err(ClientError::from)?);
    let three = Commit::new()
        .set(SpaceId::DEFAULT, Db::key(user("bob"))?, 3_i64)
        .delete(SpaceId::DEFAULT, Db::key(user("ada"))?)
        .mutate(
            SpaceId::DEFAULT,
            orcharddb::Key::new(range.start).expect("short"),
            Operation::DeleteRange { end: range.end },
        );
    stamps.push(db.commit(&three).await?.versionstamp);
    Ok(stamps)
}

#[tokio::test]
async fn commits_come_in_order_and_a_feed_goes_on_where_another_ended() {
    everywhere(async |db| {
        let mut feed = db.changes(FeedStart::Now, &FeedKeys::default()).await?;
        let stamps = fill(&db).await?;
        let mut commits = Vec::new();
        for stamp in &stamps {
            let commit = next(&mut feed).await?;
            assert_eq!((commit.versionstamp, feed.position()), (*stamp, *stamp));
            commits.push(commit);
        }
        assert_eq!(commits[0].changes.len(), 1);
        let [set, delete, range] = commits[2].changes.as_slice() else { panic!("{commits:?}") };
        let (mut sets, mut deletes, mut ranges) = (0, 0, 0);
        for change in [set, delete, range] {
            match &change.operation {
                Operation::Set { value, .. } => sets += usize::from(value.as_int() == Some(3)),
                Operation::Delete => deletes += 1,
                Operation::DeleteRange { end } => ranges += usize::from(end.is_some()),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((sets, deletes, ranges), (1, 1, 1));
        let mut again = db.changes(FeedStart::After(stamps[0]), &FeedKeys::default()).await?;
        assert_eq!(next(&mut again).await?, commits[1]);
        let mut all = db.changes(FeedStart::Oldest, &FeedKeys::default()).await?;
        assert_eq!(next(&mut all).await?, commits[0]);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_feed_is_about_its_keys_alone() {
    everywhere(async |db| {
        let users = FeedKeys { prefixes: vec![Db::key("users")?], ..FeedKeys::default() };
        let one = FeedKeys { keys: vec![Db::key("other")?], ..FeedKeys::default() };
        let mut users = db.changes(FeedStart::Now, &users).await?;
        let mut one = db.changes(FeedStart::Now, &one).await?;
        let stamps = fill(&db).await?;
        assert_eq!(next(&mut users).await?.versionstamp, stamps[0]);
        assert_eq!(next(&mut users).await?.versionstamp, stamps[2]);
        assert_eq!(next(&mut one).await?.versionstamp, stamps[1]);
        let plums = db.database("plums")?;
        plums.put("k", "v").await?;
        let mut feed = plums.changes(FeedStart::Now, &FeedKeys::default()).await?;
        db.put("not there", "v").await?;
        let there = plums.put("k", "w").await?;
        assert_eq!(next(&mut feed).await?.versionstamp, there.versionstamp);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_told_whole_begins_with_a_gap() {
    everywhere(async |db| {
        let written = db.put("k", "v").await?;
        let ahead = Versionstamp::new(written.versionstamp.index() + 1_000_000, 0);
        let mut feed = db.changes(FeedStart::After(ahead), &FeedKeys::default()).await?;
        assert!(matches!(feed.next().await?, Some(FeedEvent::Gap { .. })));
        Ok(())
    })
    .await;
}
