//! Counts of a real database while everything goes on at once: they are what the same snapshot lists.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orcharddb::{
    Commit, Db, Durability, DurationMs, Error, Expiry, Key, KeyPart, KeyRange, Mutation, Operation, Options,
    ScanOptions, SpaceId, Value, tuple,
};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const SPACE: SpaceId = SpaceId::DEFAULT;

fn key(number: u64) -> Key {
    Key::new(format!("k{number:04}")).expect("short")
}

#[test]
fn counts_are_exact_while_writers_sweeps_erasers_and_checkpoints_work() {
    let directory = tempfile::tempdir().expect("a directory");
    for durability in [Durability::Fsync, Durability::None] {
        let db = Options { durability, ..Options::default() }.open(directory.path()).expect("opens");
        let (is_over, written) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let writer = |seed: u64| {
                let (db, is_over, written) = (&db, &is_over, &written);
                move || {
                    let mut state = seed;
                    let mut below = |most: u64| {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        (state >> 33) % most
                    };
                    while !is_over.load(Ordering::SeqCst) {
                        let first = below(1_900);
                        let mut commit = Commit::new();
                        match below(12) {
                            0 => {
                                let end = Some(key(first + 100).into_bytes());
                                commit = commit.mutate(SPACE, key(first), Operation::DeleteRange { end });
                            }
                            1 => commit = commit.delete(SPACE, key(first)),
                            kind => {
                                for number in 0..1 + below(20) {
                                    let expiry = match kind {
                                        2..=4 => Expiry::After(DurationMs(1 + below(50))),
                                        _ => Expiry::Never,
                                    };
                                    let operation = Operation::Set { value: Value::from("value"), expiry };
                                    let key = key((first + number * 97) % 2_000);
                                    commit.mutations.push(Mutation { space: SPACE, key, operation });
                                }
                            }
                        }
                        db.commit(&commit).expect("commits");
                        written.fetch_add(1, Ordering::SeqCst);
                    }
                }
            };
            scope.spawn(writer(1));
            scope.spawn(writer(2));
            let mut checks = 0;
            while written.load(Ordering::SeqCst) < 600 || checks < 300 {
                checks += 1;
                if checks % 100 == 0 {
                    db.checkpoint().expect("writes");
                }
                let first = checks * 37 % 1_500;
                let some = KeyRange {
                    start: key(first).into_bytes(),
                    end: Some(key(first + checks % 700).into_bytes()),
                };
                let snapshot = db.snapshot();
                for range in [KeyRange::all(), some] {
                    let options = ScanOptions { keys_only: true, ..ScanOptions::default() };
                    let counted = snapshot.count(&range).expect("counts");
                    let listed = snapshot.scan(range.clone(), options).count() as u64;
                    assert_eq!(counted, listed, "{range:?}");
                    assert_eq!(snapshot.count(&range).expect("counts"), listed, "{range:?}, later");
                }
                assert!(db.count(&KeyRange::all()) <= 2_000);
            }
            is_over.store(true, Ordering::SeqCst);
        });
    }
}

#[test]
fn a_transaction_counts_its_own_writes_and_conflicts_with_others() {
    let db = Db::memory().expect("opens");
    db.put("apple", "red").expect("writes");
    let mut tries = 0;
    let counted = db.transact(|tx| {
        tries += 1;
        let before = tx.count_in(SPACE, &KeyRange::all())?;
        if tries == 1 {
            db.put("pear", "green")?;
        }
        tx.put("plum", "blue")?;
        tx.delete("apple")?;
        Ok((before, tx.count_in(SPACE, &KeyRange::all())?))
    });
    assert_eq!((counted.expect("commits"), tries), ((2, 2), 2));
    let (counted, _) = db.exclusive(|tx| tx.count_in(SPACE, &KeyRange::all())).expect("runs");
    assert_eq!(counted, 2);
    let written: Result<u64, Error> = db.transact(|tx| {
        for number in 0..3_000 {
            tx.put_in(SPACE, key(number), Value::from("more"), Expiry::Never);
        }
        tx.count_in(SPACE, &KeyRange::all())
    });
    assert_eq!(written.expect("commits"), 3_002);
}

#[test]
fn a_space_of_names_is_known_for_one_until_another_key_comes_and_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let plums = {
        let db = Db::open(directory.path()).expect("opens");
        let plums = db.create_database("plums").expect("creates");
        db.put("apple", "red").expect("writes");
        assert!(db.holds_names_only(SPACE) && db.holds_names_only(plums));
        let parts = tuple::encode(&[KeyPart::String("damson".into()), KeyPart::True]).expect("a key");
        db.commit(&Commit::new().set(plums, parts, "blue")).expect("commits");
        assert!(db.holds_names_only(SPACE) && !db.holds_names_only(plums));
        db.checkpoint().expect("writes");
        plums
    };
    let db = Db::open(directory.path()).expect("opens");
    assert!(db.holds_names_only(SPACE) && !db.holds_names_only(plums));
}
