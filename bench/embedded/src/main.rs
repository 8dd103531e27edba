//! OrchardDB beside other embedded databases. See `bench/README.md`.
//!
//! - Each (store, row) runs in a child process of its own on a fresh directory.
//! - Runs are interleaved: all stores of a row, one after another, then the next row, then the next run.
//! - A wrong answer ends the benchmark.

mod data;
mod machine;
mod measure;
mod report;
mod rows;
mod store;
mod stores;
mod verify;
mod ycsb;

use measure::{Bench, Size};
use rows::{DISK, ROWS, Row};
use serde_json::json;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use store::{Level, Result, Store};
use verify::{WRONG_ANSWER, WrongAnswer};

const USAGE: &str = "\
usage: orchard-bench-embedded [options]           measure, print a markdown table
       orchard-bench-embedded --report FILE...    print the table of measured files again
       orchard-bench-embedded --list              names of stores and rows

  --stores a,b      only these stores (disk is one of them)
  --rows x,y        only these rows; a name ending in * means all that begin so
  --runs N          runs of each, medians are shown (3)
  --scale F         1 is a million records (1)
  --seconds S       length of the rows that run for a time (3)
  --dir DIR         where the databases are made and removed (this program's directory)
  --json FILE       append one line of JSON for each measurement
  --only STORE,ROW  one measurement in this process; prints one line of JSON
";

/// Longest that one child process may take.
const CHILD_TIME_MAX: Duration = Duration::from_secs(1_200);

struct Arguments {
    stores: Vec<&'static str>,
    rows: Vec<&'static Row>,
    runs: usize,
    size: Size,
    dir: PathBuf,
    json: Option<PathBuf>,
    only: Option<(&'static str, &'static Row)>,
    /// With `only`: write the data for it into this directory, and no more.
    prepare: Option<PathBuf>,
    reports: Vec<PathBuf>,
    list: bool,
}

/// Calls `$run::<S>` with the store's type.
macro_rules! with_store {
    ($name:expr, $run:ident ( $($argument:expr),* )) => {
        match $name {
            stores::orcharddb::OrchardDb::NAME => $run::<stores::orcharddb::OrchardDb>($($argument),*),
            stores::redb::Redb::NAME => $run::<stores::redb::Redb>($($argument),*),
            stores::lmdb::Lmdb::NAME => $run::<stores::lmdb::Lmdb>($($argument),*),
            stores::fjall::Fjall::NAME => $run::<stores::fjall::Fjall>($($argument),*),
            stores::sled::Sled::NAME => $run::<stores::sled::Sled>($($argument),*),
            #[cfg(feature = "rocksdb")]
            stores::rocksdb::RocksDb::NAME => $run::<stores::rocksdb::RocksDb>($($argument),*),
            #[cfg(feature = "surrealkv")]
            stores::surrealkv::SurrealKv::NAME => $run::<stores::surrealkv::SurrealKv>($($argument),*),
            other => Err(format!("no store {other}").into()),
        }
    };
}

/// Every store, in the order of the table's columns.
const STORES: &[&str] = &[
    stores::orcharddb::OrchardDb::NAME,
    stores::redb::Redb::NAME,
    stores::lmdb::Lmdb::NAME,
    stores::fjall::Fjall::NAME,
    stores::sled::Sled::NAME,
    #[cfg(feature = "rocksdb")]
    stores::rocksdb::RocksDb::NAME,
    #[cfg(feature = "surrealkv")]
    stores::surrealkv::SurrealKv::NAME,
];

fn level_of<S: Store>(level: Level) -> Result<Option<&'static str>> {
    Ok(S::level(level))
}

/// How a store reaches a level.
fn level(store: &str, level: Level) -> Option<&'static str> {
    with_store!(store, level_of(level)).ok().flatten()
}

fn runs_on(store: &str, row: &Row) -> bool {
    // YCSB falls back to a lower level and says so; the other rows compare the same level only.
    (store == DISK) == (row.id == DISK)
        && (store == DISK || row.id.starts_with("ycsb") || level(store, row.level).is_some())
}

fn parse(arguments: impl Iterator<Item = String>) -> Result<Arguments> {
    let beside = std::env::current_exe()?.parent().map(Path::to_path_buf).unwrap_or_default();
    let mut parsed = Arguments {
        stores: STORES.iter().copied().chain([DISK]).collect(),
        rows: ROWS.iter().collect(),
        runs: 3,
        size: Size { scale: 1.0, seconds: 3.0 },
        dir: beside,
        json: None,
        only: None,
        prepare: None,
        reports: Vec::new(),
        list: false,
    };
    let find_store = |name: &str| {
        let mut known = STORES.iter().copied().chain([DISK]);
        known.find(|known| *known == name).ok_or(format!("no store {name}"))
    };
    let find_rows = |name: &str| -> Result<Vec<&'static Row>> {
        let matches = |row: &&Row| match name.strip_suffix('*') {
            Some(prefix) => row.id.starts_with(prefix),
            None => row.id == name,
        };
        let found: Vec<_> = ROWS.iter().filter(matches).collect();
        if found.is_empty() { Err(format!("no row {name}").into()) } else { Ok(found) }
    };
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--stores" => {
                parsed.stores = value()?.split(',').map(find_store).collect::<std::result::Result<_, _>>()?
            }
            "--rows" => {
                let named = value()?.split(',').map(find_rows).collect::<Result<Vec<_>>>()?.concat();
                parsed.rows.retain(|row| named.iter().any(|named| named.id == row.id));
            }
            "--runs" => parsed.runs = value()?.parse()?,
            "--scale" => parsed.size.scale = value()?.parse()?,
            "--seconds" => parsed.size.seconds = value()?.parse()?,
            "--dir" => parsed.dir = value()?.into(),
            "--json" => parsed.json = Some(value()?.into()),
            "--only" => {
                let value = value()?;
                let (store, row) = value.split_once(',').ok_or("--only needs STORE,ROW")?;
                parsed.only = Some((find_store(store)?, rows::row(row).ok_or(format!("no row {row}"))?));
            }
            "--prepare" => parsed.prepare = Some(value()?.into()),
            "--report" => parsed.reports = arguments.by_ref().map(PathBuf::from).collect(),
            "--list" => parsed.list = true,
            _ => return Err(format!("unknown argument {argument}\n{USAGE}").into()),
        }
    }
    Ok(parsed)
}

fn main() -> ExitCode {
    let outcome = parse(std::env::args().skip(1)).and_then(run);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(if error.is::<WrongAnswer>() { WRONG_ANSWER as u8 } else { 1 })
        }
    }
}

fn run(arguments: Arguments) -> Result {
    if arguments.list {
        println!("stores: {}, {DISK}", STORES.join(", "));
        for row in ROWS {
            println!(
                "{:18} {}",
                row.id,
                row.metrics.iter().map(|metric| metric.title).collect::<Vec<_>>().join("; ")
            );
        }
        return Ok(());
    }
    if !arguments.reports.is_empty() {
        let mut lines = String::new();
        for file in &arguments.reports {
            std::fs::File::open(file)?.read_to_string(&mut lines)?;
        }
        print!("{}", report::markdown(&lines, STORES)?);
        return Ok(());
    }
    match arguments.only {
        Some((store, row)) => measure_here(&arguments, store, row),
        None => measure_all(&arguments),
    }
}

/// One measurement in this process.
fn measure_here(arguments: &Arguments, store: &'static str, row: &'static Row) -> Result {
    fn run<S: Store>(bench: &Bench, row: &'static Row) -> Result<Vec<(&'static str, f64)>> {
        bench.run::<S>(row)
    }
    fn prepare<S: Store>(bench: &Bench, row: &'static Row) -> Result<()> {
        bench.prepare::<S>(row)
    }
    let size = arguments.size.clone();
    if let Some(dir) = &arguments.prepare {
        let no_more = Box::new(|| Err("already preparing".into()));
        let bench = Bench { dir: dir.clone(), size, prepare: no_more };
        return with_store!(store, prepare(&bench, row));
    }
    let dir = measure::fresh_dir(&arguments.dir)?;
    let prepare_in = {
        let (dir, size) = (dir.clone(), size.clone());
        Box::new(move || {
            let mut child = child(store, row, &size)?;
            let status = child.arg("--prepare").arg(&dir).status()?;
            let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
            if status.success() || killed {
                Ok(())
            } else {
                Err(format!("preparing ended with {status}").into())
            }
        })
    };
    let bench = Bench { dir: dir.clone(), size, prepare: prepare_in };
    let measures = if store == DISK { bench.disk() } else { with_store!(store, run(&bench, row)) };
    std::fs::remove_dir_all(&dir)?;
    let measures: serde_json::Map<_, _> =
        measures?.into_iter().map(|(metric, value)| (metric.to_string(), json!(value))).collect();
    println!("{}", json!({ "store": store, "row": row.id, "metrics": measures }));
    Ok(())
}

fn child(store: &str, row: &Row, size: &Size) -> Result<Command> {
    let mut child = Command::new(std::env::current_exe()?);
    child.arg("--only").arg(format!("{store},{}", row.id));
    child.args(["--scale", &size.scale.to_string(), "--seconds", &size.seconds.to_string()]);
    Ok(child)
}

/// All measurements, each in a child process.
fn measure_all(arguments: &Arguments) -> Result {
    if machine::filesystem(&arguments.dir) == "tmpfs" {
        eprintln!(
            "warning: {} is in memory, so fsync is free; name a disk with --dir",
            arguments.dir.display()
        );
    }
    let mut lines = String::new();
    let mut keep = |line: serde_json::Value| -> Result {
        let line = format!("{line}\n");
        if let Some(path) = &arguments.json {
            std::fs::File::options().create(true).append(true).open(path)?.write_all(line.as_bytes())?;
        }
        lines.push_str(&line);
        Ok(())
    };
    keep(json!({
        "machine": machine::describe(&arguments.dir),
        "scale": arguments.size.scale,
        "seconds": arguments.size.seconds,
        "runs": arguments.runs,
    }))?;
    for run in 0..arguments.runs {
        for row in &arguments.rows {
            // Another store goes first in each run.
            let mut stores = arguments.stores.clone();
            stores.retain(|store| runs_on(store, row));
            let first = run % stores.len().max(1);
            stores.rotate_left(first);
            for store in stores {
                let start = Instant::now();
                let mut line = measure_in_child(arguments, store, row)?;
                line["run"] = json!(run);
                eprintln!(
                    "{run} {:16} {:9} {:6.1} s  {}",
                    row.id,
                    store,
                    start.elapsed().as_secs_f64(),
                    line["metrics"]
                );
                keep(line)?;
            }
        }
    }
    print!("{}", report::markdown(&lines, STORES)?);
    Ok(())
}

fn measure_in_child(arguments: &Arguments, store: &str, row: &Row) -> Result<serde_json::Value> {
    machine::sync_disks();
    let mut command = child(store, row, &arguments.size)?;
    let mut child = command.arg("--dir").arg(&arguments.dir).stdout(Stdio::piped()).spawn()?;
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > CHILD_TIME_MAX => {
                child.kill()?;
                child.wait()?;
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let mut output = String::new();
    child.stdout.take().ok_or("no output")?.read_to_string(&mut output)?;
    match status {
        Some(status) if status.success() => Ok(serde_json::from_str(output.trim())?),
        Some(status) if status.code() == Some(WRONG_ANSWER) => {
            Err(Box::new(WrongAnswer::of(format!("{store} in row {}", row.id))))
        }
        status => {
            let why = status.map_or("took too long".to_string(), |status| status.to_string());
            Ok(json!({ "store": store, "row": row.id, "metrics": {}, "failed": why }))
        }
    }
}
