//! A quick look at the speed of one machine: `cargo run --release -p orcharddb --example speed -- DIR`.
//! The comparisons that count are in `bench/`.
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "a program for looking, not a part")]

use orcharddb::{Commit, Db, Durability, Options, SpaceId, tuple};
use std::time::Instant;

fn rate(name: &str, count: u64, run: impl FnOnce()) {
    let start = Instant::now();
    run();
    let seconds = start.elapsed().as_secs_f64();
    println!("{name:40} {:>12.0} /s", count as f64 / seconds);
}

fn key(number: u64) -> String {
    format!("{:022}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn main() {
    let dir = std::env::args().nth(1).unwrap_or_else(|| "target/speed".into());
    let value = vec![7u8; 100];
    {
        let db = Db::open(format!("{dir}/fsync")).unwrap();
        rate("fsync, 1 thread, single puts", 3_000, || {
            for number in 0..3_000 {
                db.put(key(number), value.clone()).unwrap();
            }
        });
        for threads in [16, 64] {
            rate(&format!("fsync, {threads} threads, single puts"), 200_000, || {
                std::thread::scope(|scope| {
                    for thread in 0..threads {
                        let (db, value) = (&db, &value);
                        scope.spawn(move || {
                            for number in 0..200_000 / threads {
                                db.put(key(thread << 32 | number), value.clone()).unwrap();
                            }
                        });
                    }
                });
            });
        }
        let stats = db.stats();
        println!("commits {} groups {} sync {} us", stats.commits, stats.groups, stats.recent_sync_ns / 1000);
        rate("fsync, batches of 1000", 500_000, || {
            for batch in 0..500 {
                let mut commit = Commit::new();
                for number in 0..1000 {
                    let key = tuple::name(key(batch * 1000 + number).as_bytes()).unwrap();
                    commit = commit.set(SpaceId::DEFAULT, key, value.clone());
                }
                db.commit(&commit).unwrap();
            }
        });
    }
    let db =
        Options { durability: Durability::None, ..Options::default() }.open(format!("{dir}/none")).unwrap();
    rate("none, single puts", 1_000_000, || {
        for number in 0..1_000_000 {
            db.put(key(number), value.clone()).unwrap();
        }
    });
    rate("gets", 1_000_000, || {
        for number in 0..1_000_000 {
            assert!(db.get(key(number)).unwrap().is_some());
        }
    });
    rate("scan all", 1_000_000, || assert_eq!(db.iter().count(), 1_000_000));
    rate("overwrites", 1_000_000, || {
        for number in 0..1_000_000 {
            db.put(key(number), value.clone()).unwrap();
        }
    });
    let stats = db.stats();
    let data = stats.key_bytes + stats.value_bytes;
    println!(
        "memory beyond keys and values: {} B/entry",
        (stats.memory_bytes - data) as f64 / stats.entries as f64
    );
    rate("checkpoint", 1_000_000, || db.checkpoint().unwrap());
    drop(db);
    let mut open = None;
    rate("open, from segments", 1_000_000, || open = Some(Db::open(format!("{dir}/none")).unwrap()));
    println!("{:?}", open.unwrap().stats());
}
