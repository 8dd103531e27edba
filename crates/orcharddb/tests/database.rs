//! The database as a program uses it.

#![allow(clippy::expect_used, clippy::panic, reason = "threads of tests")]

use orcharddb::{
    Commit, CommitError, Db, Durability, DurationMs, Error, Expiry, Key, KeyRange, Operation, Options,
    ScanOptions, SpaceId, Value, tuple,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[test]
fn what_was_written_is_there_after_reopening() -> Outcome {
    let dir = tempfile::tempdir()?;
    for round in 0..3_i64 {
        let db = Db::open(dir.path())?;
        if round > 0 {
            assert_eq!(db.get("round")?.map(|entry| entry.value), Some(Value::from(round - 1)));
            assert_eq!(db.iter().count(), 101);
        }
        for number in 0..100 {
            db.put(format!("key {number:03}"), format!("value {number} of round {round}"))?;
        }
        db.put("round", round)?;
        if round == 1 {
            db.checkpoint()?;
        }
    }
    let db = Db::open(dir.path())?;
    db.compact()?;
    db.verify()?;
    let entry = db.get("key 042")?.ok_or("missing")?;
    assert_eq!(entry.value, Value::from("value 42 of round 2"));
    Ok(())
}

#[test]
fn a_compaction_leaves_little_more_on_disk_than_what_lives() -> Outcome {
    const KEYS: u32 = 400;
    const VALUE_BYTES: usize = 10_000;
    let dir = tempfile::tempdir()?;
    let db = Db::open(dir.path())?;
    for round in 0..4_u8 {
        for number in 0..KEYS {
            db.put(format!("{number:04}"), Value::bytes(vec![round; VALUE_BYTES]))?;
        }
        db.checkpoint()?;
    }
    db.compact()?;
    db.close()?;
    drop(db);
    let mut bytes = 0;
    for folder in ["", "wal", "segments"] {
        for file in std::fs::read_dir(dir.path().join(folder))? {
            bytes += file?.metadata()?.len();
        }
    }
    let live = u64::from(KEYS) * VALUE_BYTES as u64;
    assert!(bytes * 10 <= live * 13, "{bytes} bytes on disk of {live} live ones");
    assert_eq!(Db::open(dir.path())?.iter().count(), KEYS as usize);
    Ok(())
}

#[test]
fn scans_go_both_ways_from_one_snapshot() -> Outcome {
    let db = Db::memory()?;
    for number in 0..1_000 {
        db.put(format!("{number:04}"), i64::from(number))?;
    }
    let snapshot = db.snapshot();
    for number in 0..1_000 {
        db.delete(format!("{number:04}"))?;
    }
    assert_eq!(db.iter().count(), 0);
    let forward: Vec<_> = snapshot.scan(KeyRange::all(), ScanOptions::default()).collect::<Result<_, _>>()?;
    let options = ScanOptions { reverse: true, ..ScanOptions::default() };
    let mut backward: Vec<_> = snapshot.scan(KeyRange::all(), options).collect::<Result<_, _>>()?;
    backward.reverse();
    assert_eq!(forward.len(), 1_000);
    assert_eq!(forward, backward);
    let range = KeyRange::new(tuple::name(b"0100")?.into_bytes(), Some(tuple::name(b"0110")?.into_bytes()))?;
    let some = snapshot.scan(range, ScanOptions { limit: Some(5), ..ScanOptions::default() });
    assert_eq!(some.count(), 5);
    Ok(())
}

#[test]
fn commits_are_all_or_nothing() -> Outcome {
    let db = Db::memory()?;
    let (apple, pear) = (Key::new("apple")?, Key::new("pear")?);
    let space = SpaceId::DEFAULT;
    db.commit(&Commit::new().set(space, apple.clone(), "red"))?;
    let sum = Operation::Number {
        op: orcharddb::NumberOp::Sum,
        operand: Value::from(1_i64),
        at_least: None,
        at_most: None,
        clamp: false,
        expiry: Expiry::Never,
    };
    let wrong = Commit::new().set(space, pear.clone(), "green").mutate(space, apple.clone(), sum);
    assert!(matches!(db.commit(&wrong), Err(CommitError::Mutation { index: 1, .. })));
    assert_eq!(db.get(&pear)?, None);
    let both = Commit::new().check_absent(space, apple.clone()).check_absent(space, pear.clone()).check(
        space,
        pear.clone(),
        Some(db.visible()),
    );
    match db.commit(&both) {
        Err(CommitError::CheckFailed(failures)) => {
            assert_eq!(failures.iter().map(|failure| failure.index).collect::<Vec<_>>(), [0, 2]);
        }
        other => panic!("expected failed checks, got {other:?}"),
    }
    Ok(())
}

#[test]
fn expired_entries_are_absent_and_leave_memory() -> Outcome {
    let db = Db::memory()?;
    let set = |key: &str, ms| {
        let operation = Operation::Set { value: "soon gone".into(), expiry: Expiry::After(DurationMs(ms)) };
        tuple::name(key.as_bytes()).map(|key| Commit::new().mutate(SpaceId::DEFAULT, key, operation))
    };
    db.commit(&set("never seen", 0)?)?;
    assert_eq!(db.get("never seen")?, None);
    db.commit(&set("seen", 3_600_000)?)?;
    assert!(db.get("seen")?.is_some_and(|entry| entry.expires_at.is_some()));
    Ok(())
}

#[test]
fn transactions_lose_no_increment() -> Outcome {
    let dir = tempfile::tempdir()?;
    let db = Options { durability: Durability::Os, ..Options::default() }.open(dir.path())?;
    let tries = Arc::new(AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let (db, tries) = (db.clone(), tries.clone());
            scope.spawn(move || {
                for _ in 0..250 {
                    let added = db.transact(|tx| {
                        tries.fetch_add(1, Ordering::Relaxed);
                        let count = tx.get("count")?.and_then(|value| value.as_int()).unwrap_or(0);
                        tx.put("count", count + 1)
                    });
                    assert!(added.is_ok(), "{added:?}");
                }
            });
        }
    });
    assert_eq!(db.get("count")?.and_then(|entry| entry.value.as_int()), Some(1_000));
    assert!(tries.load(Ordering::Relaxed) >= 1_000);
    let aborted = db.transact(|tx| -> Result<(), Error> { Err(tx.abort("changed my mind")) });
    assert!(matches!(aborted, Err(Error::Commit(CommitError::Aborted(_)))));
    Ok(())
}

#[test]
fn many_threads_share_groups_and_nothing_is_lost() -> Outcome {
    let dir = tempfile::tempdir()?;
    {
        let db = Db::open(dir.path())?;
        std::thread::scope(|scope| {
            for thread in 0..16 {
                let db = db.clone();
                scope.spawn(move || {
                    for number in 0..50 {
                        db.put(format!("{thread}/{number}"), i64::from(number)).expect("durable");
                    }
                });
            }
        });
        let stats = db.stats();
        assert_eq!(stats.entries, 800);
        assert!(stats.groups < stats.commits, "{} groups for {} commits", stats.groups, stats.commits);
    }
    assert_eq!(Db::open(dir.path())?.iter().count(), 800);
    Ok(())
}

#[test]
fn a_directory_has_one_owner() -> Outcome {
    let dir = tempfile::tempdir()?;
    let _db = Db::open(dir.path())?;
    assert!(matches!(Db::open(dir.path()), Err(orcharddb::OpenError::Locked { pid: Some(_), .. })));
    Ok(())
}

#[test]
fn values_leave_memory_at_the_limit_and_come_back() -> Outcome {
    let dir = tempfile::tempdir()?;
    let limit = 4 << 20;
    let options =
        Options { memory_limit_bytes: Some(limit), durability: Durability::None, ..Options::default() };
    let value = |number: u32| number.to_le_bytes().repeat(250);
    let db = options.open(dir.path())?;
    for number in 0..10_000_u32 {
        // Faster than values can leave, but whoever writes waits for that.
        db.put(format!("{number:05}"), value(number))?;
    }
    assert!(db.stats().memory_bytes < 2 * limit, "{:?}", db.stats());
    assert!(db.stats().evictions > 0);
    drop(db);
    let db = options.open(dir.path())?;
    for number in 0..10_000_u32 {
        let entry = db.get(format!("{number:05}"))?.ok_or("missing")?;
        assert_eq!(entry.value, Value::from(value(number)), "{number}");
    }
    Ok(())
}
