//! Queues: at least once, never after an ack, and each step whole or not done.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use bytes::Bytes;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use orchard_env::{Env, ManualClock, SeededRandom};
use orcharddb::queue::{self, Delivery, EnqueueOptions, MessageId, Queue, QueueError, QueueStats, Ready};
use orcharddb::{
    Commit, Db, DurationMs, Error, KeyRange, Options, ScanOptions, SpaceId, UnixMillis, Value, WatchTarget,
    limits,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

type Outcome = Result<(), Box<dyn std::error::Error>>;

const START: UnixMillis = UnixMillis(1_700_000_000_000);
const LEASE: DurationMs = DurationMs(1_000);

fn open(disk: &FaultDisk, clock: &Arc<ManualClock>) -> Result<Db, orcharddb::OpenError> {
    Options::default().open_env(Env {
        disk: Arc::new(disk.clone()),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(3)),
    })
}

fn at_start() -> Result<(Db, Arc<ManualClock>), orcharddb::OpenError> {
    let clock = Arc::new(ManualClock::at(START));
    Ok((open(&FaultDisk::new(1), &clock)?, clock))
}

fn lease(queue: &Queue, max: usize) -> Result<Vec<Delivery>, Error> {
    queue.lease(max, LEASE)?.wait()
}

fn payloads(deliveries: &[Delivery]) -> Vec<&str> {
    deliveries.iter().map(|delivery| delivery.payload.as_text().expect("text")).collect()
}

/// Waits until no last lease that has ended is left to the background.
fn until_buried(db: &Db) {
    let target = WatchTarget { space: SpaceId::ALARMS, range: KeyRange::all() };
    let mut watcher = db.watch(vec![target]);
    loop {
        let snapshot = db.snapshot();
        let end = snapshot.time().0.saturating_add(1).to_be_bytes().to_vec();
        let due = KeyRange { start: Bytes::new(), end: Some(end.into()) };
        if snapshot.scan_in(SpaceId::ALARMS, due, ScanOptions::default()).next().is_none() {
            return;
        }
        watcher.wait_for(Duration::from_secs(60)).expect("the background does it");
    }
}

/// Nobody leases again, nor asks for the dead letters: the numbers and the key tell it all the same.
#[test]
fn the_end_of_the_last_lease_buries_a_message() -> Outcome {
    let (db, clock) = at_start()?;
    let queue = db.queue("mail")?;
    let options = |key: &str, waits: usize| {
        Ok::<_, Error>(EnqueueOptions {
            backoff: Some(vec![DurationMs(0); waits]),
            keys_if_undelivered: vec![(SpaceId::DEFAULT, Db::key(key)?)],
            ..EnqueueOptions::default()
        })
    };
    queue.enqueue("lost", &options("lost", 0)?)?;
    queue.enqueue("done", &options("done", 0)?)?;
    queue.enqueue("again", &options("again", 1)?)?;
    let leased = lease(&queue, 10)?;
    assert_eq!(payloads(&leased), ["lost", "done", "again"]);
    queue.ack(&[leased[1].id])?.wait()?;
    clock.advance_ms(LEASE.0 - 1);
    assert_eq!(queue.stats()?, QueueStats { leased: 2, ..QueueStats::default() });
    let mut watcher = db.watch(vec![WatchTarget { space: SpaceId::DEFAULT, range: KeyRange::all() }]);
    clock.advance_ms(1);
    let expected = QueueStats { ready: 1, dead: 1, ..QueueStats::default() };
    assert_eq!(queue.stats()?, expected, "at once");
    watcher.wait_for(Duration::from_secs(60)).expect("the payload is written");
    assert_eq!(db.get("lost")?.map(|entry| entry.value), Some("lost".into()));
    assert_eq!((queue.stats()?, db.iter().count()), (expected, 1), "the others are not given up");
    until_buried(&db);
    assert_eq!(queue.ack(&[leased[0].id])?.wait()?, [false], "it is dead");
    // The background does so for a database that was closed meanwhile, too, and more than one commit holds.
    let large = Value::from(vec![1_u8; 512 * 1024]);
    for _ in 0..5 {
        queue.enqueue(
            large.clone(),
            &EnqueueOptions { backoff: Some(Vec::new()), ..EnqueueOptions::default() },
        )?;
    }
    assert_eq!(lease(&queue, 10)?.len(), 6);
    clock.advance_ms(LEASE.0);
    until_buried(&db);
    let dead = db.snapshot().count_in(SpaceId::QUEUES, &KeyRange::all())?;
    assert_eq!(queue.dead(None, 10)?.len(), 7);
    assert_eq!(
        db.snapshot().count_in(SpaceId::QUEUES, &KeyRange::all())?,
        dead,
        "there was nothing left to do"
    );
    Ok(())
}

#[test]
fn a_message_is_delivered_again_until_it_is_acked() -> Outcome {
    let (db, clock) = at_start()?;
    let queue = db.queue("mail")?;
    queue.enqueue("hello", &EnqueueOptions::default())?;
    let first = lease(&queue, 10)?;
    assert_eq!((payloads(&first), first[0].attempt), (vec!["hello"], 1));
    assert_eq!(lease(&queue, 10)?, [], "somebody has it");
    assert_eq!(queue.next_due()?, Some(first[0].until));
    clock.advance_ms(LEASE.0);
    let second = lease(&queue, 10)?;
    assert_eq!((payloads(&second), second[0].attempt), (vec!["hello"], 2));
    assert_eq!(queue.nack(&[first[0].id], None)?.wait()?, [false], "the first lease is over");
    assert_eq!(queue.ack(&[first[0].id])?.wait()?, [true], "but its work was done");
    assert_eq!(queue.ack(&[second[0].id])?.wait()?, [false]);
    clock.advance_ms(LEASE.0);
    assert_eq!((lease(&queue, 10)?, queue.next_due()?), (vec![], None));
    let left = db.snapshot().scan_in(SpaceId::QUEUES, KeyRange::all(), ScanOptions::default()).count();
    assert_eq!(left, 0, "nothing is left of it");
    Ok(())
}

#[test]
fn an_enqueue_is_a_part_of_its_commit() -> Outcome {
    let db = Db::memory()?;
    let key = Db::key("order")?;
    let mut commit =
        Commit::new().check_absent(SpaceId::DEFAULT, key.clone()).set(SpaceId::DEFAULT, key, 1_i64);
    for n in 0..3 {
        let payload = Value::from(format!("{n}"));
        commit.mutations.extend(queue::enqueue("mail", payload, &EnqueueOptions::default(), n)?);
    }
    db.commit(&commit)?;
    db.commit(&commit).expect_err("the order is there");
    let queue = db.queue("mail")?;
    assert_eq!(queue.stats()?, QueueStats { ready: 3, ..QueueStats::default() });
    assert_eq!(payloads(&queue.peek(2)?), ["0", "1"]);
    assert_eq!(payloads(&lease(&queue, 10)?), ["0", "1", "2"]);
    assert_eq!(db.iter().count(), 1, "nothing of it shows in the database");
    assert_eq!(db.queues(None, 10)?, ["mail"]);
    db.queue("post")?.enqueue("x", &EnqueueOptions::default())?;
    assert_eq!(db.queues(None, 10)?, ["mail", "post"]);
    assert_eq!(db.queues(Some("mail"), 10)?, ["post"]);
    queue.clear()?;
    assert_eq!((db.queues(None, 10)?, queue.stats()?), (vec!["post".to_owned()], QueueStats::default()));
    Ok(())
}

#[test]
fn a_delay_counts_from_the_commit() -> Outcome {
    let (db, clock) = at_start()?;
    let queue = db.queue("mail")?;
    let after = |ms| EnqueueOptions { ready: Ready::After(DurationMs(ms)), ..EnqueueOptions::default() };
    queue.enqueue("late", &after(5_000))?;
    let at = Ready::At(UnixMillis(START.0 + 3_000));
    queue.enqueue("soon", &EnqueueOptions { ready: at, ..EnqueueOptions::default() })?;
    assert_eq!(queue.stats()?, QueueStats { delayed: 2, ..QueueStats::default() });
    assert_eq!(lease(&queue, 10)?, []);
    assert_eq!(queue.next_due()?, Some(UnixMillis(START.0 + 3_000)));
    assert_eq!(queue.stats()?, QueueStats { delayed: 2, ..QueueStats::default() });
    clock.advance_ms(2_999);
    assert_eq!(lease(&queue, 10)?, []);
    clock.advance_ms(1);
    assert_eq!(payloads(&lease(&queue, 10)?), ["soon"]);
    clock.advance_ms(2_000);
    assert_eq!(queue.stats()?, QueueStats { ready: 2, ..QueueStats::default() });
    assert_eq!(payloads(&lease(&queue, 10)?), ["soon", "late"], "its lease is over, too");
    Ok(())
}

#[test]
fn a_message_that_fails_waits_longer_each_time_and_dies() -> Outcome {
    let (db, clock) = at_start()?;
    let queue = db.queue("mail")?;
    let failed = Db::key("failed")?;
    let options = EnqueueOptions {
        backoff: Some(vec![DurationMs(10), DurationMs(200)]),
        keys_if_undelivered: vec![(SpaceId::DEFAULT, failed.clone())],
        ..EnqueueOptions::default()
    };
    queue.enqueue("hello", &options)?;
    for wait in [10, 200] {
        let delivery = lease(&queue, 1)?;
        assert_eq!(queue.nack(&[delivery[0].id], None)?.wait()?, [true]);
        clock.advance_ms(wait - 1);
        assert_eq!(lease(&queue, 1)?, []);
        clock.advance_ms(1);
    }
    let last = lease(&queue, 1)?;
    assert_eq!((last[0].attempt, db.get("failed")?), (3, None));
    assert_eq!(queue.nack(&[last[0].id], Some(DurationMs(1)))?.wait()?, [true]);
    assert_eq!(queue.stats()?, QueueStats { dead: 1, ..QueueStats::default() });
    assert_eq!(db.get("failed")?.map(|entry| entry.value), Some("hello".into()));
    let dead = queue.dead(None, 10)?;
    assert_eq!((dead.len(), &dead[0].payload, dead[0].attempts), (1, &"hello".into(), 3));
    assert_eq!(queue.ack(&[last[0].id])?.wait()?, [false], "it is dead");
    assert_eq!(queue.dead(Some(dead[0].id), 10)?, []);
    assert_eq!(queue.requeue(&[dead[0].id])?.wait()?, [true]);
    assert_eq!(queue.requeue(&[dead[0].id])?.wait()?, [false]);
    // The second time nobody gives it back: the leases end by themselves.
    for attempt in 1..=3 {
        assert_eq!(lease(&queue, 1)?[0].attempt, attempt);
        clock.advance_ms(LEASE.0);
    }
    let dead = queue.dead(None, 10)?;
    assert_eq!(dead.len(), 1);
    assert_eq!(queue.purge(&[dead[0].id])?.wait()?, [true]);
    assert_eq!((queue.dead(None, 10)?, db.queues(None, 10)?), (vec![], vec![]));
    Ok(())
}

#[test]
fn what_is_too_large_is_refused_with_its_limit() -> Outcome {
    let db = Db::memory()?;
    let queue = db.queue("mail")?;
    let refused = |error: Option<Error>| match error {
        Some(Error::Queue(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(db.queue("").err()), QueueError::EmptyName);
    assert_eq!(refused(db.queue("a\tb").err()), QueueError::ControlCharacter);
    assert!(
        matches!(refused(db.queue(&"x".repeat(257)).err()), QueueError::Limit(limit) if limit.limit == 256)
    );
    assert_eq!(refused(queue.lease(0, LEASE).err()), QueueError::Nothing);
    assert_eq!(refused(queue.lease(1, DurationMs(0)).err()), QueueError::Nothing);
    assert!(
        matches!(refused(queue.lease(1_001, LEASE).err()), QueueError::Limit(limit) if limit.actual == 1_001)
    );
    let long = vec![0_u8; limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX + 1];
    let error = refused(queue.enqueue(long, &EnqueueOptions::default()).err());
    assert!(matches!(error, QueueError::Limit(limit) if limit.name == "queue_payload_size_bytes"));
    let options = EnqueueOptions { backoff: Some(vec![DurationMs(1); 65]), ..EnqueueOptions::default() };
    assert!(
        matches!(refused(queue.enqueue("x", &options).err()), QueueError::Limit(limit) if limit.actual == 65)
    );
    let id: MessageId = "00000000000000070002000a-3".parse()?;
    assert_eq!(id.to_string(), "00000000000000070002000a-3");
    for text in
        ["", "0-1", "00000000000000070002000a", "00000000000000070002000a-", "00000000000000070002+00a-1"]
    {
        assert!(text.parse::<MessageId>().is_err(), "{text}");
    }
    Ok(())
}

#[test]
fn a_lease_ends_before_it_is_too_large_and_one_large_message_is_a_lease_alone() -> Outcome {
    let db = Db::memory()?;
    let queue = db.queue("mail")?;
    for _ in 0..20 {
        queue.enqueue(vec![7; limits::QUEUE_PAYLOAD_SIZE_BYTES_MAX], &EnqueueOptions::default())?;
    }
    assert_eq!(lease(&queue, 20)?.len(), 16);
    assert_eq!(lease(&queue, 20)?.len(), 4);
    Ok(())
}

#[test]
fn consumers_side_by_side_get_each_message_once() -> Outcome {
    const MESSAGES: usize = 2_000;
    let dir = tempfile::tempdir()?;
    let db = Options { durability: orcharddb::Durability::Os, ..Options::default() }.open(dir.path())?;
    let done = Arc::new(AtomicUsize::new(0));
    let producer = {
        let db = db.clone();
        std::thread::spawn(move || {
            for chunk in 0..MESSAGES / 50 {
                let mut commit = Commit::new();
                for n in 0..50 {
                    let payload = Value::from((chunk * 50 + n) as i64);
                    let message = queue::enqueue("work", payload, &EnqueueOptions::default(), n);
                    commit.mutations.extend(message.expect("small"));
                }
                db.commit(&commit).expect("enqueued");
            }
        })
    };
    let consumers: Vec<_> = (0..4)
        .map(|_| {
            let (db, done) = (db.clone(), done.clone());
            std::thread::spawn(move || {
                let queue = db.queue("work").expect("a name");
                let mut seen = Vec::new();
                while done.load(Ordering::SeqCst) < MESSAGES {
                    let leased =
                        queue.lease(17, DurationMs(60_000)).and_then(|lease| lease.wait()).expect("leased");
                    let ids: Vec<_> = leased.iter().map(|delivery| delivery.id).collect();
                    let acked = queue.ack(&ids).expect("decided").wait().expect("acked");
                    assert!(acked.iter().all(|acked| *acked));
                    done.fetch_add(ids.len(), Ordering::SeqCst);
                    seen.extend(leased.iter().map(|delivery| delivery.payload.as_int().expect("int")));
                }
                seen
            })
        })
        .collect();
    producer.join().expect("no panic");
    let mut seen = Vec::new();
    for consumer in consumers {
        seen.extend(consumer.join().expect("no panic"));
    }
    assert_eq!(seen.len(), MESSAGES);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), MESSAGES);
    assert_eq!(db.queue("work")?.stats()?, QueueStats::default());
    Ok(())
}

#[derive(Clone, Debug)]
enum Step {
    /// Ready times, relative.
    Enqueue(Vec<u64>),
    Lease(usize),
    /// Of all deliveries so far, one.
    Ack(usize),
    Nack(usize, Option<u64>),
    Advance(u64),
    Checkpoint,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![3 => Just(0), 1 => 1..3_000_u64];
    prop_oneof![
        4 => prop::collection::vec(delay, 1..5).prop_map(Step::Enqueue),
        4 => (1..6_usize).prop_map(Step::Lease),
        4 => any::<prop::sample::Index>().prop_map(|index| Step::Ack(index.index(1_000))),
        2 => (any::<prop::sample::Index>(), prop::option::of(0..500_u64))
            .prop_map(|(index, delay)| Step::Nack(index.index(1_000), delay)),
        3 => (1..1_500_u64).prop_map(Step::Advance),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

/// One message of the model: ready from a time on, and how often it was leased; its lease is over at that time.
#[derive(Clone, Debug)]
struct Modelled {
    ready_at: u64,
    leased: bool,
    attempt: u16,
}

const ATTEMPTS: u16 = 3;
const WAIT: u64 = 50;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_queue_does_what_a_map_of_messages_does(steps in prop::collection::vec(step(), 1..60)) {
        // An ack or nack that races with the background may come before it or behind it: not here.
        let is_settled = steps.iter().any(|step| matches!(step, Step::Ack(_) | Step::Nack(..)));
        let disk = FaultDisk::new(1);
        let clock = Arc::new(ManualClock::at(START));
        let mut db = open(&disk, &clock).expect("opens");
        let mut now = START.0;
        let mut next = 0_i64;
        let mut model: BTreeMap<i64, Modelled> = BTreeMap::new();
        let mut dead: BTreeSet<i64> = BTreeSet::new();
        let mut delivered: Vec<(MessageId, i64)> = Vec::new();
        for step in steps {
            let queue = db.queue("mail").expect("a name");
            match step {
                Step::Enqueue(delays) => {
                    let mut commit = Commit::new();
                    for (n, delay) in delays.into_iter().enumerate() {
                        let options = EnqueueOptions {
                            ready: Ready::After(DurationMs(delay)),
                            backoff: Some(vec![DurationMs(WAIT); usize::from(ATTEMPTS) - 1]),
                            ..EnqueueOptions::default()
                        };
                        commit.mutations.extend(
                            queue::enqueue("mail", Value::from(next), &options, n).expect("small"));
                        model.insert(next, Modelled { ready_at: now + delay, leased: false, attempt: 0 });
                        next += 1;
                    }
                    db.commit(&commit).expect("enqueued");
                }
                Step::Lease(max) => {
                    // Ended leases come first, each kind in the order of time.
                    let mut ready: Vec<_> = model.iter().filter(|(_, it)| it.ready_at <= now)
                        .map(|(message, it)| (!it.leased, it.ready_at, *message)).collect();
                    ready.sort_unstable();
                    ready.truncate(max);
                    let leased = lease(&queue, max).expect("leased");
                    let got: Vec<_> = leased.iter().map(|it| it.payload.as_int().expect("int")).collect();
                    let wanted: Vec<_> = ready.iter().map(|(_, _, message)| *message).collect();
                    prop_assert_eq!(&got, &wanted);
                    for (delivery, message) in leased.iter().zip(got) {
                        let it = model.get_mut(&message).expect("there");
                        it.attempt += 1;
                        it.leased = true;
                        it.ready_at = now + LEASE.0;
                        prop_assert_eq!((delivery.attempt, delivery.until), (it.attempt, UnixMillis(it.ready_at)));
                        delivered.push((delivery.id, message));
                    }
                }
                Step::Ack(which) if !delivered.is_empty() => {
                    let (id, message) = delivered[which % delivered.len()];
                    let acked = queue.ack(&[id]).expect("decided").wait().expect("acked");
                    prop_assert_eq!(acked, [model.remove(&message).is_some()]);
                }
                Step::Nack(which, delay) if !delivered.is_empty() => {
                    let (id, message) = delivered[which % delivered.len()];
                    let attempt: u16 = id.to_string().split_once('-').expect("a dash").1.parse().expect("digits");
                    let current = model.get(&message).is_some_and(|it| it.leased && it.attempt == attempt);
                    let nacked = queue.nack(&[id], delay.map(DurationMs)).expect("decided").wait().expect("nacked");
                    prop_assert_eq!(nacked, [current]);
                    if current && attempt == ATTEMPTS {
                        model.remove(&message);
                        dead.insert(message);
                    } else if current {
                        let it = model.get_mut(&message).expect("there");
                        it.leased = false;
                        it.ready_at = now + delay.unwrap_or(WAIT);
                    }
                }
                Step::Ack(_) | Step::Nack(..) => {}
                Step::Advance(ms) => {
                    clock.advance_ms(ms);
                    now += ms;
                    let over: Vec<_> = model.iter()
                        .filter(|(_, it)| it.leased && it.ready_at <= now && it.attempt == ATTEMPTS)
                        .map(|(message, _)| *message).collect();
                    for message in over {
                        model.remove(&message);
                        dead.insert(message);
                    }
                    if is_settled {
                        until_buried(&db);
                    }
                }
                Step::Checkpoint => db.checkpoint().expect("written"),
                Step::Reopen => {
                    db.close().expect("closes");
                    drop(queue);
                    drop(db);
                    db = open(&disk, &clock).expect("opens again");
                }
            }
            let stats = db.queue("mail").expect("a name").stats().expect("readable");
            let count = |of: &dyn Fn(&Modelled) -> bool| model.values().filter(|it| of(it)).count() as u64;
            prop_assert_eq!(stats, QueueStats {
                ready: count(&|it| it.ready_at <= now),
                delayed: count(&|it| it.ready_at > now && !it.leased),
                leased: count(&|it| it.ready_at > now && it.leased),
                dead: dead.len() as u64,
            });
        }
    }
}

/// What a consumer and a producer know for sure.
#[derive(Default)]
struct Known {
    enqueued: BTreeSet<i64>,
    /// An ack was asked for; it may have happened.
    asked: BTreeSet<i64>,
    acked: BTreeSet<i64>,
}

fn work(db: &Db, clock: &ManualClock, known: &mut Known, first: i64) -> Result<(), Error> {
    let queue = db.queue("mail")?;
    for round in 0..4 {
        for n in 0..3 {
            let number = first + round * 3 + n;
            queue.enqueue(number, &EnqueueOptions::default())?;
            known.enqueued.insert(number);
        }
        let leased = lease(&queue, 2)?;
        for delivery in &leased {
            let number = delivery.payload.as_int().expect("int");
            assert!(!known.acked.contains(&number), "{number} was delivered after its ack");
        }
        if let [first, rest @ ..] = leased.as_slice() {
            known.asked.insert(first.payload.as_int().expect("int"));
            queue.ack(&[first.id])?.wait()?;
            known.acked.insert(first.payload.as_int().expect("int"));
            for delivery in rest {
                queue.nack(&[delivery.id], Some(DurationMs(0)))?.wait()?;
            }
        }
        clock.advance_ms(LEASE.0 / 2);
        if round == 2 {
            db.checkpoint()?;
        }
    }
    Ok(())
}

#[test]
fn after_a_power_failure_every_message_comes_and_no_acked_one() -> Outcome {
    const STYLES: [CrashStyle; 3] = [CrashStyle::Random, CrashStyle::LoseAll, CrashStyle::KeepAll];
    let run = |crash_at: Option<u64>| -> Result<(FaultDisk, Known, Arc<ManualClock>), orcharddb::OpenError> {
        let disk = FaultDisk::new(crash_at.unwrap_or_default());
        let clock = Arc::new(ManualClock::at(START));
        disk.set_plan(FaultPlan { crash_at_change: crash_at, ..FaultPlan::default() });
        let mut known = Known::default();
        if let Ok(db) = open(&disk, &clock) {
            let _ = work(&db, &clock, &mut known, 0);
        }
        Ok((disk, known, clock))
    };
    let changes = run(None)?.0.changes();
    for crash_at in 1..=changes {
        let (disk, mut known, clock) = run(Some(crash_at))?;
        let db = open(&disk.crash(STYLES[crash_at as usize % STYLES.len()]), &clock)?;
        // It goes on as if nothing had happened, and then all that is left comes.
        work(&db, &clock, &mut known, 1_000)?;
        let queue = db.queue("mail")?;
        let mut came = BTreeSet::new();
        loop {
            clock.advance_ms(LEASE.0);
            let leased = lease(&queue, 5)?;
            if leased.is_empty() {
                break;
            }
            let ids: Vec<_> = leased.iter().map(|delivery| delivery.id).collect();
            came.extend(leased.iter().map(|delivery| delivery.payload.as_int().expect("int")));
            queue.ack(&ids)?.wait()?;
        }
        came.extend(queue.dead(None, 1_000)?.iter().map(|letter| letter.payload.as_int().expect("int")));
        assert!(came.is_disjoint(&known.acked), "change {crash_at}: delivered after the ack");
        let missing: Vec<_> =
            known.enqueued.iter().filter(|it| !came.contains(it) && !known.asked.contains(it)).collect();
        assert_eq!(missing, Vec::<&i64>::new(), "change {crash_at}: never delivered");
    }
    Ok(())
}
