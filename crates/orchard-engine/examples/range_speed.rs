//! What ranges cost: counting, deleting and reading by version, with many keys in memory.
//! `cargo run --release -p orchard-engine --example range_speed [KEYS]`

#![allow(clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::read::{BatchRequest, Window};
use orchard_env::{Env, NoDisk, SystemClock, SystemRandom};
use orchard_types::{
    Check, Commit, DurationMs, Expiry, Key, KeyRange, Operation, SpaceId, Value, Versionstamp,
};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Instant;

const SPACE: SpaceId = SpaceId::DEFAULT;

fn key(number: u64) -> Key {
    Key::new(format!("key{number:012}")).expect("short")
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    println!("{what:<64} {:>12.1} us", started.elapsed().as_secs_f64() * 1e6);
    result
}

fn put(engine: &Engine, numbers: impl Iterator<Item = u64>, expiry: Expiry) -> Versionstamp {
    let value = Value::from(&[7u8; 16][..]);
    let mut commit = Commit::new();
    for number in numbers {
        let operation = Operation::Set { value: value.clone(), expiry };
        commit = commit.mutate(SPACE, key(number), operation);
    }
    engine.commit(&commit, None).expect("commits").versionstamp
}

fn changed(engine: &Engine, since: Versionstamp) -> usize {
    let snapshot = engine.snapshot();
    let request = BatchRequest {
        lower: Bound::Unbounded,
        upper: Bound::Unbounded,
        reverse: false,
        keys_only: true,
        entries_max: 1_000_000,
        bytes_max: usize::MAX,
    };
    let window = Window { since: Some(since), until: None, include_deleted: false };
    engine.batch_in(&snapshot, request, window).expect("reads").entries.len()
}

fn main() {
    let keys: u64 = std::env::args().nth(1).map_or(1_000_000, |keys| keys.parse().expect("a number"));
    let env =
        Env { disk: Arc::new(NoDisk), clock: Arc::new(SystemClock::new()), random: Arc::new(SystemRandom) };
    let options = EngineOptions { memory_limit_bytes: 1 << 36, ..EngineOptions::default() };
    let engine = Engine::memory(env, options).expect("opens");
    println!("{keys} keys of 15 bytes, values of 16");
    for first in (0..keys).step_by(1_000) {
        put(&engine, first..(first + 1_000).min(keys), Expiry::Never);
    }
    let (middle, end) = (keys / 2, key(keys));
    let all = || engine.count_visible(SPACE, b"", None).0;
    for _ in 0..2 {
        timed("count everything", all);
        timed("count half of it", || engine.count_visible(SPACE, &key(keys / 4), Some(&key(keys / 4 * 3))));
    }
    let since = engine.visible();
    let before = engine.snapshot();
    put(&engine, (0..keys).step_by((keys / 1_000) as usize), Expiry::Never);
    let count_before = || engine.count_at(&before, SPACE, b"", None).expect("not too old");
    timed("count everything at a snapshot, 1,000 keys changed since", count_before);
    let found = timed("1,000 keys changed since, all over", || changed(&engine, since));
    println!("  {found} entries");
    let since = engine.visible();
    put(&engine, middle..middle + 1_000, Expiry::Never);
    let found = timed("1,000 neighbours changed since", || changed(&engine, since));
    println!("  {found} entries");
    let since = engine.visible();
    for first in (0..keys / 10).step_by(1_000) {
        put(&engine, first..first + 1_000, Expiry::Never);
    }
    timed("count everything at a snapshot, a tenth changed since", count_before);
    drop(before);
    let delete = Operation::DeleteRange { end: Some(end.into_bytes()) };
    let half = Commit::new().mutate(SPACE, key(middle), delete);
    timed("delete half of them", || engine.commit(&half, None).expect("commits"));
    println!("  {} left", timed("count everything, nothing erased yet", all));
    let range = KeyRange { start: key(middle + 10).into_bytes(), end: Some(key(keys).into_bytes()) };
    let check = Check::Range { space: SPACE, range, unchanged_since: since };
    let check = Commit { checks: vec![check], ..Commit::new() };
    let refused = timed("check a range deleted since", || engine.submit(&check).outcome.is_err());
    assert!(refused, "it was changed");
    let (mut steps, mut longest) = (0, 0.0f64);
    timed("erase them", || {
        loop {
            let started = Instant::now();
            let more = engine.erase_step(1_024);
            longest = longest.max(started.elapsed().as_secs_f64() * 1e6);
            steps += 1;
            if !more {
                break;
            }
        }
    });
    println!("  {steps} steps, the longest {longest:.0} us");
    println!("  {} left", timed("count everything", all));
    for first in (middle..keys).step_by(1_000) {
        put(&engine, first..(first + 1_000).min(keys), Expiry::After(DurationMs(1)));
    }
    std::thread::sleep(std::time::Duration::from_millis(2));
    println!("  {} left", timed("count everything, half of it expired and not swept", all));
    let (mut swept, mut longest) = (0, 0.0f64);
    timed("sweep half of them, all expired at once", || {
        loop {
            let started = Instant::now();
            let more = engine.sweep_expired(500).is_some();
            longest = longest.max(started.elapsed().as_secs_f64() * 1e6);
            swept += 1;
            if !more {
                break;
            }
        }
    });
    println!("  {swept} commits of 500, the longest {longest:.0} us");
    println!("  {} left", timed("count everything", all));
}
