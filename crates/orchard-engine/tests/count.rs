//! Counting: exact at every snapshot, whatever is in flight, expired, deleted as a range, or too much to be corrected in
//! one go. The simulator compares counts with its oracle, too.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::snapshot::SnapshotPin;
use orchard_env::fault::FaultDisk;
use orchard_env::{Clock, Env, ManualClock, SeededRandom};
use orchard_types::{
    Commit, DurationMs, Expiry, Key, KeyRange, Mutation, Operation, SpaceId, UnixMillis, Value,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;
const NEXT: SpaceId = SpaceId(1);

fn key(number: u64) -> Key {
    Key::new(format!("k{number:06}")).expect("short")
}

fn set(space: SpaceId, number: u64, expiry: Expiry) -> Mutation {
    let operation = Operation::Set { value: Value::from(number as i64), expiry };
    Mutation { space, key: key(number), operation }
}

fn delete(space: SpaceId, from: u64, to: u64) -> Mutation {
    let end = Some(key(to).into_bytes());
    Mutation { space, key: key(from), operation: Operation::DeleteRange { end } }
}

fn submit(engine: &Engine, mutations: Vec<Mutation>) {
    engine.submit(&Commit { mutations, ..Commit::new() }).outcome.expect("applies");
}

/// Every key with its expiry.
type Model = BTreeMap<(SpaceId, u64), Option<u64>>;

fn expected(model: &Model, space: SpaceId, range: std::ops::Range<u64>, time: UnixMillis) -> u64 {
    let inside = model.range((space, range.start)..(space, range.end));
    inside.filter(|(_, expires)| expires.is_none_or(|expires| expires > time.0)).count() as u64
}

fn counted(engine: &Engine, pin: &SnapshotPin, space: SpaceId, range: std::ops::Range<u64>) -> u64 {
    engine.count_at(pin, space, &key(range.start), Some(&key(range.end))).expect("not too old")
}

#[test]
fn every_snapshot_counts_what_it_shows() {
    for seed in 0..30 {
        let (disk, random) = (FaultDisk::new(seed), SeededRandom::new(seed));
        let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
        let open = || {
            let random = Arc::new(SeededRandom::new(seed));
            let env = Env { disk: Arc::new(disk.clone()), clock: clock.clone(), random };
            Engine::open(env, EngineOptions { small_range_entries_max: 3, ..EngineOptions::default() })
        };
        let mut engine = open().expect("opens");
        // What is applied, and what was at the last moment when everything was durable.
        let (mut model, mut durable) = (Model::new(), Model::new());
        let mut held: Vec<(SnapshotPin, Model)> = Vec::new();
        for step in 0..400 {
            let space = if random.below(4) == 0 { NEXT } else { SPACE };
            let number = random.below(300);
            match random.below(20) {
                0..=8 => {
                    let mutations = (0..1 + random.below(30)).map(|more| {
                        let number = (number + more * 7) % 300;
                        let expiry = match random.below(3) {
                            0 => Expiry::At(clock.now().saturating_add(DurationMs(random.below(400)))),
                            _ => Expiry::Never,
                        };
                        let expires = if let Expiry::At(at) = expiry { Some(at.0) } else { None };
                        model.insert((space, number), expires);
                        set(space, number, expiry)
                    });
                    submit(&engine, mutations.collect());
                }
                9 | 10 => {
                    let operation = Operation::Delete;
                    submit(&engine, vec![Mutation { space, key: key(number), operation }]);
                    model.remove(&(space, number));
                }
                11 => {
                    let to = number + random.below(200);
                    submit(&engine, vec![delete(space, number, to)]);
                    model.retain(|(of, number_of), _| *of != space || !(number..to).contains(number_of));
                }
                12 => clock.advance_ms(random.below(100)),
                13 => drop(engine.sweep_expired(1 + random.below(20) as usize)),
                14 => drop(engine.erase_step(1 + random.below(50) as usize)),
                15 | 16 => {
                    engine.drain_log().expect("writes");
                    durable = model.clone();
                    held.push((engine.snapshot(), model.clone()));
                    if held.len() > 3 {
                        held.swap_remove(random.below(4) as usize);
                    }
                }
                17 => {
                    engine.checkpoint().expect("writes");
                    // It wrote what was applied.
                    durable = model.clone();
                }
                18 => {
                    engine.drain_log().expect("writes");
                    held.clear();
                    drop(engine);
                    engine = open().expect("opens");
                    durable = model.clone();
                }
                _ => {
                    let from = random.below(300);
                    let range = from..from + random.below(300);
                    let now = engine.snapshot();
                    let wanted = expected(&durable, space, range.clone(), now.time());
                    assert_eq!(
                        counted(&engine, &now, space, range.clone()),
                        wanted,
                        "seed {seed}, step {step}"
                    );
                    let bounds = KeyRange {
                        start: key(range.start).into_bytes(),
                        end: Some(key(range.end).into_bytes()),
                    };
                    let visible = engine.count_visible(space, &bounds.start, bounds.end.as_deref());
                    assert_eq!(visible.0, wanted, "seed {seed}, step {step}");
                    for (pin, then) in &held {
                        let wanted = expected(then, space, range.clone(), pin.time());
                        assert_eq!(
                            counted(&engine, pin, space, range.clone()),
                            wanted,
                            "seed {seed}, step {step}"
                        );
                    }
                    // Under the commit lock everything applied is seen.
                    let submitted = engine.submit_exclusive(|pin| {
                        let found = engine.count_exclusive(pin, space, &bounds.start, bounds.end.as_deref());
                        let wanted = expected(&model, space, range.clone(), pin.time());
                        assert_eq!(found, wanted, "seed {seed}, step {step}");
                        Ok::<_, ()>(Commit::new())
                    });
                    assert!(submitted.is_ok());
                }
            }
        }
    }
}

#[test]
fn more_than_one_hold_of_the_lock_can_correct_is_counted_in_pieces() {
    const KEYS: u64 = 20_000;
    let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
    let env = Env {
        disk: Arc::new(FaultDisk::new(1)),
        clock: clock.clone(),
        random: Arc::new(SeededRandom::new(1)),
    };
    let engine = Engine::open(env, EngineOptions::default()).expect("opens");
    let put_all = |from: u64, to: u64, expiry: Expiry| {
        for first in (from..to).step_by(5_000) {
            submit(
                &engine,
                (first..to.min(first + 5_000)).map(|number| set(SPACE, number, expiry)).collect(),
            );
        }
    };
    put_all(0, KEYS, Expiry::Never);
    engine.drain_log().expect("writes");
    let before = engine.snapshot();
    // Half is deleted, the rest written again, and as much is new; nothing of it is durable.
    submit(&engine, vec![delete(SPACE, 0, KEYS / 2)]);
    put_all(KEYS / 2, 2 * KEYS, Expiry::After(DurationMs(1_000)));
    while engine.erase_step(1_000) {}
    assert_eq!(engine.count_visible(SPACE, b"", None).0, KEYS);
    assert_eq!(counted(&engine, &before, SPACE, 0..KEYS), KEYS);
    engine.drain_log().expect("writes");
    assert_eq!(engine.count_visible(SPACE, b"", None).0, KEYS * 3 / 2);
    assert_eq!(counted(&engine, &before, SPACE, 100..2 * KEYS), KEYS - 100);
    let while_they_live = engine.snapshot();
    // More have expired than a lock is held for.
    clock.advance_ms(2_000);
    submit(&engine, vec![set(SPACE, 0, Expiry::Never)]);
    engine.drain_log().expect("writes");
    assert_eq!(engine.count_visible(SPACE, b"", None).0, 1);
    assert_eq!(counted(&engine, &while_they_live, SPACE, 0..2 * KEYS), KEYS * 3 / 2);
    while engine.sweep_expired(2_000).is_some() {
        engine.drain_log().expect("writes");
        assert_eq!(engine.count_visible(SPACE, b"", None).0, 1);
    }
    assert_eq!(counted(&engine, &while_they_live, SPACE, 0..2 * KEYS), KEYS * 3 / 2);
}
