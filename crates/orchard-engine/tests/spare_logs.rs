//! Log files that are kept only to be written again, and what one of them is longer than its frames: compaction gives their
//! space back.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::wal::log::LogOptions;
use orchard_env::fault::FaultDisk;
use orchard_env::{Disk, Env, ManualClock, OpenMode, SeededRandom};
use orchard_types::{Commit, Durability, Key, SpaceId, UnixMillis};
use std::sync::Arc;

/// Lengths of the log files, oldest first.
fn log_files(disk: &FaultDisk) -> Vec<u64> {
    let mut names = disk.list("wal").expect("lists");
    names.sort_unstable();
    let open = |name: &String| disk.open(&format!("wal/{name}"), OpenMode::Read);
    let length = |name: &String| open(name).and_then(|file| file.len_bytes()).expect("is there");
    names.iter().filter(|name| name.ends_with(".log")).map(length).collect()
}

#[test]
fn files_kept_to_be_written_again_are_given_back() {
    let disk = FaultDisk::new(1);
    let env = Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(1)),
    };
    let options = EngineOptions {
        log: LogOptions {
            file_size_bytes_max: 32 << 10,
            prefill_bytes_min: 4 << 10,
            prefill_bytes_max: 4 << 10,
            prefills: true,
            reserve_bytes: 4 << 10,
            spare_files_max: 2,
        },
        log_retention_bytes: 0,
        ..EngineOptions::default()
    };
    let engine = Engine::open(env.clone(), options.clone()).expect("opens");
    let write = |engine: &Engine, count: u32, round: u8| {
        for number in 0..count {
            let key = Key::new(format!("{number}")).expect("short");
            let submitted = engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, vec![round; 3_000]));
            let stamp = submitted.outcome.expect("applies").versionstamp;
            engine.wait(stamp, Durability::Fsync).expect("durable");
        }
    };
    write(&engine, 40, 0);
    engine.checkpoint().expect("written");
    assert_eq!(log_files(&disk), [32 << 10, 32 << 10, 4 << 10], "two spares and the one that is written");
    write(&engine, 2, 1);
    engine.release_spare_logs();
    assert_eq!(log_files(&disk).len(), 1);
    write(&engine, 40, 2);
    engine.checkpoint().expect("written");
    write(&engine, 12, 3);
    assert_eq!(log_files(&disk).last(), Some(&(32 << 10)), "written again");
    engine.release_spare_logs();
    let used = log_files(&disk).last().copied();
    assert!(used.is_some_and(|bytes| bytes <= 12 << 10), "as long as a new one: {used:?}");
    write(&engine, 40, 4);
    drop(engine);
    let engine = Engine::open(env, options).expect("opens again");
    for number in 0..40 {
        let entry = engine.get(SpaceId::DEFAULT, &Key::new(format!("{number}")).expect("short"));
        assert_eq!(entry.expect("reads").expect("is there").value.data, vec![4; 3_000]);
    }
}
