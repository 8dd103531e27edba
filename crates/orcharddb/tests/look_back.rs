//! What changed since when, and what was there before.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orcharddb::{
    Changed, Commit, Db, EngineOptions, Error, Key, KeyRange, Operation, Options, ReadError, ScanOptions,
    SpaceId, Versionstamp,
};

fn with_history() -> Db {
    let engine = EngineOptions { history_retention_ms: 3_600_000, ..EngineOptions::default() };
    Options { engine, ..Options::default() }.memory().expect("opens")
}

fn names(db: &Db, options: ScanOptions) -> Vec<String> {
    let entries = db.scan(KeyRange::all(), options).map(|entry| entry.expect("reads"));
    entries.map(|entry| entry.value.as_text().expect("text").to_owned()).collect()
}

#[test]
fn a_scan_shows_what_was_last_changed_in_a_window() -> Result<(), Error> {
    let db = Db::memory()?;
    let mut stamps = Vec::new();
    for name in ["a", "b", "c", "d"] {
        stamps.push(db.put(name, name)?.versionstamp);
    }
    stamps.push(db.put("b", "b again")?.versionstamp);
    let window = |since: Option<Versionstamp>, until: Option<Versionstamp>| ScanOptions {
        since,
        until,
        ..ScanOptions::default()
    };
    assert_eq!(names(&db, window(Some(stamps[0]), None)), ["b again", "c", "d"]);
    assert_eq!(names(&db, window(Some(stamps[0]), Some(stamps[2]))), ["c"]);
    assert_eq!(names(&db, window(None, Some(stamps[2]))), ["a", "c"]);
    assert_eq!(names(&db, window(Some(stamps[4]), None)), [""; 0]);
    let reverse = ScanOptions { reverse: true, limit: Some(2), ..window(Some(stamps[1]), None) };
    assert_eq!(names(&db, reverse), ["d", "c"]);
    Ok(())
}

#[test]
fn deleted_keys_are_among_the_changes_until_they_are_forgotten() -> Result<(), Error> {
    let db = with_history();
    for number in 0..1_000 {
        db.put(format!("k{number:03}"), number)?;
    }
    let since = db.visible();
    let whole = Key::new(Db::key("k300")?.to_vec())?;
    let end = Some(Db::key("k700")?.into_bytes());
    let deleted =
        db.commit(&Commit::new().mutate(SpaceId::DEFAULT, whole, Operation::DeleteRange { end }))?;
    db.put("k500", "again")?;
    db.delete("k900")?;
    for _ in 0..2 {
        let changed: Vec<_> = db.snapshot().changed(KeyRange::all(), since).collect::<Result<_, _>>()?;
        assert_eq!(changed.len(), 401);
        assert!(changed.is_sorted_by_key(Changed::key));
        let written: Vec<_> = changed.iter().filter(|it| matches!(it, Changed::Written(_))).collect();
        assert_eq!(written.len(), 1);
        assert_eq!(changed[0].versionstamp(), deleted.versionstamp);
        while db.engine().erase_step(100) {}
    }
    let db = Db::memory()?;
    let since = db.put("a", "a")?.versionstamp;
    db.delete("a")?;
    db.engine().expire_snapshots();
    db.put("b", "b")?;
    let changed: Result<Vec<_>, _> = db.snapshot().changed(KeyRange::all(), since).collect();
    assert!(matches!(changed, Err(ReadError::SnapshotTooOld)), "{changed:?}");
    Ok(())
}

#[test]
fn history_is_kept_for_a_while() -> Result<(), Error> {
    let db = with_history();
    let mut stamps = Vec::new();
    for round in 0..10 {
        stamps.push(db.put("key", round)?.versionstamp);
    }
    db.delete("key")?;
    let history = db.history("key", 100)?;
    assert_eq!(history.len(), 11);
    assert_eq!(history[0].value, None);
    for (kept, (round, stamp)) in history.iter().rev().zip((0..).zip(&stamps)) {
        assert_eq!(kept.versionstamp, *stamp);
        assert_eq!(kept.value, Some((round.into(), None)));
        let then = db.snapshot_at(*stamp)?;
        assert_eq!(then.get("key")?.map(|entry| entry.value), Some(round.into()));
    }
    assert_eq!(db.history("key", 3)?.len(), 3);
    assert_eq!(db.history("absent", 3)?, []);
    assert!(db.history_floor() <= stamps[0]);
    let none = Db::memory()?;
    let first = none.put("key", 1)?.versionstamp;
    none.put("key", 2)?;
    none.put("key", 3)?;
    assert!(matches!(none.snapshot_at(first), Err(ReadError::SnapshotTooOld)));
    assert_eq!(none.history("key", 3)?.len(), 1);
    Ok(())
}
