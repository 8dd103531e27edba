//! A disk that the database itself has filled: deletes make room, and writes come back without help from outside.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::compaction::PlanOptions;
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::CommitError;
use orchard_env::fault::{FaultDisk, FaultPlan};
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Durability, Key, SpaceId, UnixMillis, Versionstamp};
use std::sync::Arc;

const DISK_BYTES: u64 = 32 << 20;
const VALUE_BYTES: usize = 80_000;

struct Full {
    engine: Engine,
    clock: Arc<ManualClock>,
}

impl Full {
    fn open(durability: Durability) -> Full {
        let disk = FaultDisk::new(1);
        disk.set_plan(FaultPlan { capacity_bytes: Some(DISK_BYTES), ..FaultPlan::default() });
        let clock = Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000)));
        let env = Env { disk: Arc::new(disk), clock: clock.clone(), random: Arc::new(SeededRandom::new(3)) };
        let options = EngineOptions { durability, group_delay_ns_max: 0, ..EngineOptions::default() };
        Full { engine: Engine::open(env, options).expect("an empty disk opens"), clock }
    }

    fn commit(&self, commit: &Commit) -> Result<(), CommitError> {
        self.engine.submit(commit).outcome?;
        while self.engine.log_step()? {}
        Ok(())
    }

    fn put(&self, number: usize) -> Result<(), CommitError> {
        self.commit(&Commit::new().set(SpaceId::DEFAULT, key(number), vec![7; VALUE_BYTES]))
    }

    /// Puts until the disk is full; what is stored then.
    fn fill(&self, upkeep: bool) -> usize {
        for number in 0.. {
            match self.put(number) {
                Ok(()) => {}
                Err(CommitError::DiskFull) => return number,
                Err(other) => panic!("{other}"),
            }
            if upkeep && number % 10 == 9 {
                self.upkeep();
            }
        }
        unreachable!("the disk is finite");
    }

    /// What goes on in the background, some seconds later.
    fn upkeep(&self) {
        self.clock.advance_ms(6_000);
        if self.engine.wants_checkpoint() {
            let _ = self.engine.checkpoint();
        }
        while self.engine.merge_step(1_000, &PlanOptions::SETTLED).is_ok_and(|more| more) {}
        let _ = self.engine.retain_step();
        let _ = self.engine.idle_step();
    }
}

fn key(number: usize) -> Key {
    Key::new(format!("{number:08}")).expect("short")
}

#[test]
fn a_log_that_fills_the_disk_leaves_room_for_the_checkpoint_that_lets_it_go() {
    for durability in [Durability::Fsync, Durability::Os] {
        let full = Full::open(durability);
        let stored = full.fill(false);
        assert!(stored * VALUE_BYTES > DISK_BYTES as usize / 3, "much is stored: {stored}");
        assert!(full.engine.is_disk_full());
        assert!(matches!(full.put(stored), Err(CommitError::DiskFull)));
        full.upkeep();
        assert!(!full.engine.is_disk_full(), "the log is gone: {:?}", full.engine.stats());
        full.put(stored).expect("there is room");
        for number in 0..=stored {
            let entry = full.engine.get(SpaceId::DEFAULT, &key(number)).expect("reads");
            assert_eq!(entry.expect("is there").value.data.len(), VALUE_BYTES, "{number}");
        }
    }
}

#[test]
fn early_checkpoints_let_data_take_most_of_the_disk_and_deletes_bring_it_back() {
    let full = Full::open(Durability::Fsync);
    let stored = full.fill(true);
    assert!(
        stored * VALUE_BYTES > DISK_BYTES as usize * 6 / 10,
        "most of the disk is used: {stored} {:?}",
        full.engine.stats()
    );
    full.upkeep();
    for number in 0..stored * 24 / 25 {
        full.commit(&Commit::new().delete(SpaceId::DEFAULT, key(number))).expect("deletes go on");
    }
    (0..5).for_each(|_| full.upkeep());
    assert!(!full.engine.is_disk_full(), "{:?}", full.engine.stats());
    for number in 0..stored / 2 {
        full.put(number)
            .unwrap_or_else(|error| panic!("{number} of {stored}: {error}, {:?}", full.engine.stats()));
        if number % 10 == 9 {
            full.upkeep();
        }
    }
}

/// A client that reads what it has written itself, on a disk that did not take it.
#[test]
fn a_commit_that_was_taken_back_holds_up_no_reads() {
    let full = Full::open(Durability::Fsync);
    let own = loop {
        let commit = Commit::new().set(SpaceId::DEFAULT, key(0), vec![7; VALUE_BYTES]);
        let placed = full.engine.submit(&commit).outcome.expect("applies");
        let pin = full.engine.snapshot_not_before(placed.versionstamp, placed.log_time);
        assert_eq!(pin.stamp(), placed.versionstamp.raw(), "what is on its way is seen by its writer");
        match full.engine.log_step() {
            Ok(_) => {}
            Err(CommitError::DiskFull) => break placed,
            Err(other) => panic!("{other}"),
        }
    };
    let visible = full.engine.visible();
    assert!(visible < own.versionstamp, "it was the newest");
    let pin = full.engine.snapshot_not_before(own.versionstamp, own.log_time);
    assert_eq!(pin.stamp(), visible.raw(), "what was taken back is not waited for");
    let outcome = full.engine.outcome(Versionstamp::from_raw(pin.stamp()), Durability::Fsync);
    assert!(matches!(outcome, Some(Ok(()))));
}
