//! The same script on queues in memory, in a directory and on a server.

#![allow(clippy::expect_used, clippy::panic, reason = "a test fails by it")]

mod common;

use common::everywhere;
use orchard_client::{ClientError, CommitOptions, Enqueue};
use orchard_wire::Kind;
use orcharddb::queue::{QueueStats, Ready};
use orcharddb::{Commit, Db, DurationMs, SpaceId, Value};

const VISIBILITY: DurationMs = DurationMs(60_000);
const NO_WAIT: DurationMs = DurationMs(0);

fn message(queue: &str, payload: impl Into<Value>) -> Enqueue {
    Enqueue {
        queue: queue.to_owned(),
        payload: payload.into(),
        ready: Ready::Now,
        backoff: None,
        keys_if_undelivered: Vec::new(),
    }
}

#[tokio::test]
async fn a_message_goes_its_way() {
    everywhere(async |db| {
        let mail = db.queue("mail")?;
        assert_eq!(mail.lease(10, VISIBILITY, NO_WAIT).await?, []);
        for payload in [Value::from("one"), Value::from(vec![0, 255]), Value::json("{\"three\": 3.0}")] {
            mail.enqueue(message("", payload)).await?;
        }
        mail.enqueue(Enqueue { ready: Ready::After(DurationMs(3_600_000)), ..message("", "later") }).await?;
        assert_eq!(mail.stats().await?, QueueStats { ready: 3, delayed: 1, ..QueueStats::default() });
        let peeked = mail.peek(10).await?;
        assert_eq!((peeked.len(), &peeked[0].payload, peeked[0].attempt), (4, &"one".into(), 0));
        let leased = mail.lease(2, VISIBILITY, NO_WAIT).await?;
        assert_eq!((leased.len(), &leased[1].payload, leased[1].attempt), (2, &Value::from(vec![0, 255]), 1));
        assert_eq!(mail.ack(&[leased[0].id]).await?, [true]);
        assert_eq!(mail.ack(&[leased[0].id]).await?, [false]);
        assert_eq!(mail.nack(&[leased[1].id], Some(DurationMs(3_600_000))).await?, [true]);
        assert_eq!(mail.stats().await?, QueueStats { ready: 1, delayed: 2, ..QueueStats::default() });
        assert_eq!(db.queues(None, 10).await?, ["mail"]);
        assert_eq!(db.queues(Some("mail"), 10).await?, Vec::<String>::new());
        mail.clear().await?;
        assert_eq!((mail.stats().await?, db.queues(None, 10).await?), (QueueStats::default(), vec![]));
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn messages_are_enqueued_if_their_commit_happens() {
    everywhere(async |db| {
        let order = Db::key("order")?;
        let commit = Commit::new().check_absent(SpaceId::DEFAULT, order.clone()).set(
            SpaceId::DEFAULT,
            order,
            "apples",
        );
        let enqueues = vec![message("mail", "confirm"), message("pack", 1_i64), message("mail", "thank")];
        let options = CommitOptions { enqueues, ..CommitOptions::default() };
        db.commit_with(&commit, &options).await?;
        assert!(matches!(db.commit_with(&commit, &options).await, Err(ClientError::CheckFailed(_))));
        assert_eq!(db.queue("mail")?.stats().await?.ready, 2);
        assert_eq!(db.queue("pack")?.stats().await?.ready, 1);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_is_never_acked_dies_and_can_be_buried_or_revived() {
    everywhere(async |db| {
        let mail = db.queue("mail")?;
        let failed = Db::key("failed")?;
        let once =
            Enqueue { backoff: Some(Vec::new()), keys_if_undelivered: vec![failed], ..message("", "hello") };
        mail.enqueue(once).await?;
        for _ in 0..2 {
            let leased = mail.lease(1, VISIBILITY, NO_WAIT).await?;
            assert_eq!(mail.nack(&[leased[0].id], None).await?, [true]);
            assert_eq!(db.get("failed").await?.map(|entry| entry.value), Some("hello".into()));
            let dead = mail.dead(None, 10).await?;
            assert_eq!((dead.len(), &dead[0].payload, dead[0].attempts), (1, &"hello".into(), 1));
            assert_eq!(mail.dead(Some(dead[0].id), 10).await?, []);
            assert_eq!(mail.requeue(&[dead[0].id]).await?, [true]);
        }
        let leased = mail.lease(1, VISIBILITY, NO_WAIT).await?;
        mail.nack(&[leased[0].id], None).await?;
        assert_eq!(mail.purge(&[leased[0].id]).await?, [true]);
        assert_eq!(mail.stats().await?, QueueStats::default());
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn a_consumer_waits_for_a_message_and_for_its_time() {
    everywhere(async |db| {
        let mail = db.queue("mail")?;
        let waiting = mail.lease(1, VISIBILITY, DurationMs(30_000));
        let sending = async {
            tokio::task::yield_now().await;
            mail.enqueue(message("", "now")).await
        };
        let (leased, sent) = tokio::join!(waiting, sending);
        sent?;
        assert_eq!(leased?[0].payload, "now".into());
        mail.enqueue(Enqueue { ready: Ready::After(DurationMs(50)), ..message("", "soon") }).await?;
        let leased = mail.lease(1, VISIBILITY, DurationMs(30_000)).await?;
        assert_eq!(leased.iter().map(|delivery| &delivery.payload).collect::<Vec<_>>(), [&"soon".into()]);
        assert_eq!(mail.lease(1, VISIBILITY, DurationMs(1)).await?, [], "it gives up");
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_alike() {
    everywhere(async |db| {
        assert!(db.queue("").is_err() && db.queue("a\nb").is_err());
        let mail = db.queue("mail")?;
        let large = mail.enqueue(message("", vec![0; 1024 * 1024 + 1])).await.expect_err("too large");
        assert_eq!(large.kind(), Some(Kind::LimitExceeded));
        let many = mail.lease(1_001, VISIBILITY, NO_WAIT).await.expect_err("too many");
        assert_eq!(many.kind(), Some(Kind::LimitExceeded));
        Ok(())
    })
    .await;
}
