//! Housekeeping of the repository. `cargo run -p xtask -- help` lists what it does.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const HELP: &str = "\
cargo run -p xtask -- TASK

  fuzz [--seconds N] [TARGET ...]   run each fuzz target for N seconds (10), on the stable toolchain
  mutants                           show that the tests catch each known bug
  loom                              explore the map's concurrency with loom
  sanitize                          run the map's tests under AddressSanitizer and ThreadSanitizer (nightly with
                                    rust-src; four minutes of work), and Miri where there is one
";

/// Coverage instrumentation for libFuzzer; these flags are stable.
const COVERAGE_FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Ccodegen-units=1 --cfg fuzzing";

const TARGETS: [&str; 10] = [
    "log_record",
    "log_frame",
    "segment_block",
    "manifest",
    "tuple_key",
    "key_path",
    "json_bodies",
    "v8",
    "kv_connect",
    "resp_request",
];

const HOST: &str = "x86_64-unknown-linux-gnu";

fn main() -> ExitCode {
    let mut arguments = env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    let done = match task.as_str() {
        "fuzz" => fuzz(&rest),
        "mutants" => mutants(),
        "loom" => loom(),
        "sanitize" => sanitize(),
        _ => {
            print!("{HELP}");
            return if matches!(task.as_str(), "help" | "") { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask {task}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.current_dir(root()).status().map_err(|error| format!("{command:?}: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}")) }
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn fuzz(arguments: &[String]) -> Result<(), String> {
    let mut seconds = 10u64;
    let mut chosen: Vec<&str> = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if argument == "--seconds" {
            let value = arguments.next().ok_or("--seconds takes a number")?;
            seconds = value.parse().map_err(|_| format!("--seconds {value} is no number"))?;
        } else {
            let known = TARGETS.iter().find(|target| *target == argument);
            chosen.push(known.ok_or_else(|| format!("{argument} is none of {TARGETS:?}"))?);
        }
    }
    if chosen.is_empty() {
        chosen.extend(TARGETS);
    }
    let built = target_dir().join("fuzz");
    let mut build = cargo();
    build.args(["build", "--release", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
    // With a target named, build scripts and macros are not instrumented.
    build.args(["--target", HOST]).env("RUSTFLAGS", COVERAGE_FLAGS).env("CARGO_TARGET_DIR", &built);
    run(&mut build)?;
    for target in chosen {
        println!("fuzz {target}: {seconds} s");
        let corpus = built.join("corpus").join(target);
        make_dir(&corpus)?;
        let mut fuzzer = Command::new(built.join(HOST).join("release").join(target));
        fuzzer.arg(&corpus);
        fuzzer.arg(format!("-artifact_prefix={}/", built.display()));
        fuzzer.args(["-seed=1", "-max_len=4096", "-rss_limit_mb=1024", "-timeout=10", "-verbosity=0"]);
        fuzzer.arg(format!("-max_total_time={seconds}"));
        run(&mut fuzzer)?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "housekeeping, no part of the database")]
fn make_dir(path: &Path) -> Result<(), String> {
    std::fs::create_dir_all(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn mutants() -> Result<(), String> {
    // The feature lives in a build of its own, so that no other build can carry a known bug.
    run(cargo()
        .args(["test", "--locked", "-p", "orchard-engine", "--features", "mutants", "--test", "crash"])
        .args(["--", "--exact", "each_known_bug_is_caught", "--nocapture"])
        .env("CARGO_TARGET_DIR", target_dir().join("mutants")))?;
    run(cargo().args(["test", "--locked", "-p", "orchard-map", "--lib"]).args([
        "--",
        "--ignored",
        "without_the_fence_readers_are_missed",
        "--nocapture",
    ]))
}

fn loom() -> Result<(), String> {
    run(cargo()
        .args(["test", "--release", "-p", "orchard-map", "--test", "loom"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", target_dir().join("loom")))
}

/// The map's blocks are allocations of their own here, so that a sanitizer knows when one is gone.
const PLAIN_ALLOC: &str = "--cfg orchard_plain_alloc";

fn sanitize() -> Result<(), String> {
    if !has_std_source() {
        // Without it ThreadSanitizer takes what it cannot see of std (scopes, channels, the last `Arc`) for races.
        let advice = "rustup component add rust-src --toolchain nightly";
        return Err(format!("ThreadSanitizer needs the source of std: {advice}"));
    }
    for (name, flags, of_cargo) in [
        ("address", "-Zsanitizer=address", &[][..]),
        ("thread", "-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer", &["-Zbuild-std"]),
    ] {
        println!("sanitizer: {name}");
        let mut test = Command::new("cargo");
        test.args(["+nightly", "test", "-p", "orchard-map", "--target", HOST, "--tests"]).args(of_cargo);
        test.env("RUSTFLAGS", format!("{flags} {PLAIN_ALLOC}"));
        test.env("CARGO_TARGET_DIR", target_dir().join(name));
        run(&mut test)?;
    }
    let has_miri = Command::new("cargo").args(["+nightly", "miri", "--version"]).output();
    if has_miri.is_ok_and(|output| output.status.success()) {
        run(Command::new("cargo").args(["+nightly", "miri", "test", "-p", "orchard-map", "--lib"]))
    } else {
        println!("Miri is not installed here: left out");
        Ok(())
    }
}

fn has_std_source() -> bool {
    let sysroot = Command::new("rustc").args(["+nightly", "--print", "sysroot"]).output();
    sysroot.is_ok_and(|output| {
        let sysroot = String::from_utf8_lossy(&output.stdout);
        Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/std").exists()
    })
}
