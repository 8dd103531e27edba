//! What writers notice when many entries expire in the same second, and when half of them are deleted as a range.
//! `cargo run --release -p orcharddb --example expiry_storm [KEYS] [fsync|os|none]`

#![allow(clippy::expect_used, clippy::disallowed_types, clippy::disallowed_methods, reason = "a measurement")]

use orcharddb::{
    Commit, Db, Durability, DurationMs, Expiry, Key, KeyRange, Operation, Options, SpaceId, Value,
};
use std::time::{Duration, Instant};

const SPACE: SpaceId = SpaceId::DEFAULT;

fn key(prefix: &str, number: u64) -> Key {
    Key::new(format!("{prefix}{number:012}")).expect("short")
}

/// Single durable puts until `done`: how many, and how long the median, the 99th percentile and the longest took.
fn write_until(db: &Db, what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    let mut took: Vec<Duration> = Vec::new();
    while !done() {
        let began = Instant::now();
        db.commit(&Commit::new().set(SPACE, key("w", took.len() as u64), "value")).expect("commits");
        took.push(began.elapsed());
    }
    took.sort_unstable();
    let at = |share: f64| took.get((took.len() as f64 * share) as usize).copied().unwrap_or_default();
    println!(
        "{what:<44} {:>6.2} s, {:>7} puts, median {:?}, 99% {:?}, longest {:?}",
        started.elapsed().as_secs_f64(),
        took.len(),
        at(0.5),
        at(0.99),
        took.last().copied().unwrap_or_default()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let keys: u64 = arguments.next().map_or(1_000_000, |keys| keys.parse().expect("a number"));
    let durability = match arguments.next().as_deref() {
        Some("os") => Durability::Os,
        Some("none") => Durability::None,
        _ => Durability::Fsync,
    };
    let directory = std::env::temp_dir().join(format!("orchard-expiry-storm-{}", std::process::id()));
    let db = Options { durability, ..Options::default() }.open(&directory).expect("opens");
    println!("{keys} keys, {durability:?}");
    let expires = db.snapshot().time().saturating_add(DurationMs(1_000 + keys / 50));
    let fill = |prefix: &str, expiry: Expiry| {
        for first in (0..keys).step_by(1_000) {
            let mut commit = Commit::new();
            for number in first..(first + 1_000).min(keys) {
                let value = Value::from(vec![7; 100]);
                let set = Operation::Set { value, expiry };
                commit = commit.mutate(SPACE, key(prefix, number), set);
            }
            db.submit(&commit, Some(Durability::None)).wait().expect("commits");
        }
    };
    fill("e", Expiry::At(expires));
    let started = Instant::now();
    write_until(&db, "nothing else goes on", || started.elapsed() > Duration::from_secs(2));
    let range = KeyRange { start: key("e", 0).into_bytes(), end: Some(key("f", 0).into_bytes()) };
    while db.snapshot().time() < expires {
        std::thread::sleep(Duration::from_millis(20));
    }
    let memory = |when: &str| println!("{when:<44} {:>6} MiB in use", db.stats().memory_bytes >> 20);
    memory("all of them there");
    write_until(&db, "all of them expire", || db.stats().expiring == 0);
    memory("all of them swept");
    let started = Instant::now();
    write_until(&db, "nothing else goes on", || started.elapsed() > Duration::from_secs(12));
    memory("12 s later");
    fill("e", Expiry::Never);
    let delete = Operation::DeleteRange { end: range.end.clone() };
    let began = Instant::now();
    db.commit(&Commit::new().mutate(SPACE, key("e", 0), delete)).expect("commits");
    println!("deleting {keys} as a range took {:?}", began.elapsed());
    write_until(&db, "they are erased behind it", || db.stats().deleted_ranges == 0);
    drop(db);
    let _ = std::fs::remove_dir_all(&directory);
}
