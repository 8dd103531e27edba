//! The mutation gate: with each known bug back in the engine, the simulator finds something within a few hundred runs.
//! `cargo test -p orchard-sim --features mutants --test mutants`

#![cfg(feature = "mutants")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use orchard_engine::mutants::{Mutant, enable};
use orchard_sim::sim::Simulation;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

const SEEDS_MAX: u64 = 2_000;
const STEPS: u64 = 300;

/// The first seed that shows the bug, and how.
fn first_seed() -> Option<(u64, String)> {
    (1..=SEEDS_MAX).find_map(|seed| {
        let run = catch_unwind(AssertUnwindSafe(|| Simulation::new(seed).run(STEPS)));
        match run {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some((seed, failure.what)),
            Err(_) => Some((seed, "the engine stopped itself".to_owned())),
        }
    })
}

#[test]
fn every_known_bug_is_caught() {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let mut missed = Vec::new();
    for mutant in Mutant::ALL {
        enable(Some(mutant));
        match first_seed() {
            Some((seed, what)) => {
                let what: String = what.lines().next().unwrap_or_default().chars().take(110).collect();
                println!("{mutant:?}: seed {seed}: {what}");
            }
            None => missed.push(mutant),
        }
        enable(None);
    }
    set_hook(hook);
    assert!(missed.is_empty(), "not caught within {SEEDS_MAX} seeds: {missed:?}");
}
