//! Entries where they lie are those that a read copies.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "helpers of tests")]

use orcharddb::{
    Commit, Db, Entry, Expiry, Key, KeyRange, Mutation, Operation, ScanOptions, SpaceId, UnixMillis, Value,
};
use proptest::prelude::*;
use std::ops::ControlFlow;

const SPACES: [SpaceId; 2] = [SpaceId::DEFAULT, SpaceId(3)];

#[derive(Clone, Debug)]
enum Step {
    Set(usize, u8, u8, bool),
    Delete(usize, u8),
    DeleteRange(usize, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, any::<u8>(), any::<u8>(), prop::bool::weighted(0.1))
            .prop_map(|(space, key, value, expired)| Step::Set(space, key, value, expired)),
        2 => (0..2_usize, any::<u8>()).prop_map(|(space, key)| Step::Delete(space, key)),
        1 => (0..2_usize, any::<u8>(), any::<u8>()).prop_map(|(space, a, b)| Step::DeleteRange(space, a, b)),
    ]
}

fn key(byte: u8) -> Key {
    Key::new(vec![byte; 3]).expect("short")
}

fn apply(db: &Db, step: &Step) {
    let (space, key, operation) = match *step {
        Step::Set(space, byte, value, is_expired) => {
            let expiry = if is_expired { Expiry::At(UnixMillis(1)) } else { Expiry::Never };
            let value = Value::bytes(vec![value; value.into()]);
            (space, key(byte), Operation::Set { value, expiry })
        }
        Step::Delete(space, byte) => (space, key(byte), Operation::Delete),
        Step::DeleteRange(space, a, b) => {
            (space, key(a.min(b)), Operation::DeleteRange { end: Some(key(a.max(b)).into_bytes()) })
        }
    };
    let mutations = vec![Mutation { space: SPACES[space], key, operation }];
    let commit = Commit { mutations, ..Commit::new() };
    db.commit(&commit).expect("it commits");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_visit_shows_what_a_scan_copies(
        steps in prop::collection::vec(step(), 1..200),
        reverse in any::<bool>(),
        from in any::<u8>(),
        to in any::<u8>(),
        stop_after in 1..60_usize,
    ) {
        let db = Db::memory().expect("opens");
        let (early, late) = steps.split_at(steps.len() / 2);
        early.iter().for_each(|step| apply(&db, step));
        let snapshot = db.snapshot();
        late.iter().for_each(|step| apply(&db, step));
        for space in SPACES {
            for view in [&snapshot, &db.snapshot()] {
                let range = KeyRange { start: key(from).into_bytes(), end: Some(key(to).into_bytes()) };
                for range in [range, KeyRange::all()] {
                    let options = ScanOptions { reverse, limit: Some(stop_after), ..ScanOptions::default() };
                    let copied: Vec<Entry> = view.scan_in(space, range.clone(), options).map(Result::unwrap).collect();
                    let mut shown = Vec::new();
                    view.for_each_in(space, &range, reverse, |entry| {
                        shown.push(entry.to_entry());
                        if shown.len() == stop_after { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
                    }).expect("reads");
                    prop_assert_eq!(&shown, &copied);
                }
                for byte in 0..=u8::MAX {
                    let copied = view.get_in(space, &key(byte)).expect("reads");
                    let shown = view
                        .get_with_in(space, &key(byte), |entry| entry.map(|entry| entry.to_entry()))
                        .expect("reads");
                    let listed = view
                        .scan_in(space, KeyRange { start: key(byte).into_bytes(), end: None }, ScanOptions { limit: Some(1), ..ScanOptions::default() })
                        .next()
                        .map(Result::unwrap)
                        .filter(|entry| entry.key == key(byte));
                    prop_assert_eq!(&shown, &copied);
                    prop_assert_eq!(&shown, &listed);
                }
            }
        }
    }
}
