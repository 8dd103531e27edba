//! Log files that are kept only to be written again: compaction gives their space back.

#![allow(clippy::expect_used, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::wal::log::LogOptions;
use orchard_env::fault::FaultDisk;
use orchard_env::{Disk, Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Durability, Key, SpaceId, UnixMillis};
use std::sync::Arc;

fn log_files(disk: &FaultDisk) -> usize {
    disk.list("wal").expect("lists").iter().filter(|name| name.ends_with(".log")).count()
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
            file_size_bytes_max: 8 << 10,
            prefill_bytes_min: 4 << 10,
            prefill_bytes_max: 4 << 10,
            reserve_bytes: 4 << 10,
            spare_files_max: 2,
        },
        log_retention_bytes: 0,
        ..EngineOptions::default()
    };
    let engine = Engine::open(env, options).expect("opens");
    for number in 0..40 {
        let key = Key::new(format!("{number}")).expect("short");
        let submitted = engine.submit(&Commit::new().set(SpaceId::DEFAULT, key, vec![7; 1_000]));
        let stamp = submitted.outcome.expect("applies").versionstamp;
        engine.wait(stamp, Durability::Fsync).expect("durable");
    }
    engine.checkpoint().expect("written");
    assert_eq!(log_files(&disk), 3, "the one that is written and two spares");
    engine.release_spare_logs();
    assert_eq!(log_files(&disk), 1);
}
