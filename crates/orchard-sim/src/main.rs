//! `orchard-sim --seed S [--seeds N] [--steps K] [--quiet] [--tell]`, see [`USAGE`].

#![allow(clippy::expect_used, reason = "this program is a test")]

use orchard_sim::sim::{Simulation, Summary};
use std::process::ExitCode;

const USAGE: &str = "orchard-sim [--seed S] [--seeds N] [--steps K] [--quiet] [--tell]
Runs seeds S to S + N - 1 of K steps each and tells the hash of each trace: the same seed, the same trace.
--quiet: only what failed, and the sums; --tell: every step.";

struct Arguments {
    seed: u64,
    seeds: u64,
    steps: u64,
    quiet: bool,
    tell: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut arguments = Arguments { seed: 1, seeds: 1, steps: 1_000, quiet: false, tell: false };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--quiet" {
            arguments.quiet = true;
            continue;
        }
        if name == "--tell" {
            arguments.tell = true;
            continue;
        }
        if !matches!(name.as_str(), "--seed" | "--seeds" | "--steps") {
            return Err(match name.as_str() {
                "--help" | "-h" => USAGE.to_owned(),
                _ => format!("{name} is not known\n{USAGE}"),
            });
        }
        let value = given.next().ok_or_else(|| format!("{name} needs a number"))?;
        let number = value.parse().map_err(|_| format!("{name} needs a number, not {value}"))?;
        match name.as_str() {
            "--seed" => arguments.seed = number,
            "--seeds" => arguments.seeds = number,
            _ => arguments.steps = number,
        }
    }
    Ok(arguments)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut all = Summary::default();
    let mut failed = 0;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.seeds) {
        let run = std::panic::catch_unwind(|| {
            let mut simulation = Simulation::new(seed);
            simulation.tells = arguments.tell;
            simulation.run(arguments.steps)
        });
        match run {
            Ok(Ok(summary)) => {
                if !arguments.quiet {
                    println!("seed {seed}: trace {:016x}", summary.trace_hash);
                }
                all += &summary;
            }
            Ok(Err(failure)) => {
                failed += 1;
                println!("{failure}");
            }
            Err(_) => {
                failed += 1;
                println!("seed {seed}: panicked");
            }
        }
    }
    println!("{} seeds of {} steps, {failed} failed: {all:?}", arguments.seeds, arguments.steps);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
