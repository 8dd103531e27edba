//! A few hundred short runs; `orchard-sim --seed S --seeds N --steps K` makes as many and as long ones as there is time.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use orchard_sim::sim::{Simulation, Summary};

#[test]
fn hundreds_of_seeds_keep_every_promise() {
    let mut all = Summary::default();
    for seed in 1..=400 {
        match Simulation::new(seed).run(300) {
            Ok(summary) => all += &summary,
            Err(failure) => panic!("{failure}"),
        }
    }
    // A run in which nothing happens keeps every promise, too.
    let much = all.acknowledged > 10_000 && all.refused > 5_000 && all.reads > 10_000;
    assert!(much && all.crashes > 500 && all.kills > 200 && all.restarts > 200, "{all:?}");
    assert!(all.poisoned > 20 && all.full > 3, "{all:?}");
    assert!(all.direct > 10_000 && all.rotten_manifests > 200, "{all:?}");
}

#[test]
fn a_seed_decides_a_run() {
    for seed in [5, 9, 1_000_003] {
        let run = || Simulation::new(seed).run(500).expect("keeps every promise");
        assert_eq!(run(), run());
    }
}
