//! Repairing damaged directories: everything that verifies is saved, every loss is told, and no value is made up.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::error::{OpenError, StorageError};
use orchard_engine::read::BatchRequest;
use orchard_engine::repair::{RepairReport, repair};
use orchard_engine::wal::log::LogOptions;
use orchard_env::fault::{CrashStyle, FaultDisk};
use orchard_env::{Disk, Env, ManualClock, SeededRandom};
use orchard_types::{Commit, Key, Operation, SpaceId, UnixMillis, Versionstamp};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

const SPACE: SpaceId = SpaceId::DEFAULT;
const KEYS: u64 = 300;

/// Key -> versionstamp and value.
type State = BTreeMap<String, (Versionstamp, String)>;

fn env(disk: &FaultDisk) -> Env {
    Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(1)),
    }
}

fn options() -> EngineOptions {
    EngineOptions {
        log: LogOptions {
            file_size_bytes_max: 4 << 10,
            prefill_bytes_min: 4 << 10,
            prefill_bytes_max: 4 << 10,
            prefills: true,
            ..LogOptions::default()
        },
        group_delay_ns_max: 0,
        ..EngineOptions::default()
    }
}

fn open(disk: &FaultDisk) -> Result<Engine, OpenError> {
    Engine::open(env(disk), options())
}

fn key(number: u64) -> Key {
    Key::new(format!("k{number:04}")).expect("short")
}

fn state_of(engine: &Engine) -> State {
    let (lower, upper) = orchard_engine::apply::flat_bounds(SPACE, b"", None);
    let upper = upper.expect("a space has a next one");
    let request = BatchRequest {
        lower: Bound::Included(&lower),
        upper: Bound::Excluded(&upper),
        reverse: false,
        keys_only: false,
        entries_max: 10_000,
        bytes_max: 1 << 24,
    };
    let batch = engine.batch(&engine.snapshot(), request).expect("readable");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    let entries = batch.entries.into_iter();
    entries.map(|entry| (text(&entry.key), (entry.versionstamp, text(&entry.value.data)))).collect()
}

/// A segment of several blocks, then a log of several files that overwrites, deletes, and deletes a range.
fn directory(clean: bool) -> (FaultDisk, State) {
    let disk = FaultDisk::new(1);
    let engine = open(&disk).expect("an empty disk opens");
    let run = |commit: Commit| engine.commit(&commit, None).expect("commits").versionstamp;
    let mut filling = Commit::new();
    for number in 0..KEYS {
        filling = filling.set(SPACE, key(number), format!("old{number:0100}"));
    }
    run(filling);
    engine.checkpoint().expect("written");
    for number in 0..40 {
        run(Commit::new().set(SPACE, key(number), format!("new{number:0300}")));
    }
    run(Commit::new().delete(SPACE, key(50)));
    let end = Some(key(70).into_bytes());
    run(Commit::new().mutate(SPACE, key(60), Operation::DeleteRange { end }));
    for number in KEYS..KEYS + 20 {
        run(Commit::new().set(SPACE, key(number), format!("new{number:0100}")));
    }
    let state = state_of(&engine);
    if !clean {
        return (disk.image(CrashStyle::KeepAll, 0), state);
    }
    engine.close().expect("closes");
    drop(engine);
    (disk.image(CrashStyle::KeepAll, 0), state)
}

fn content(disk: &FaultDisk) -> Vec<(String, Option<Vec<u8>>)> {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.read_file(&path))).collect()
}

/// Repairs a directory into a new one, which must open, take a commit and be whole.
fn repaired(disk: &FaultDisk) -> (RepairReport, State) {
    let before = content(disk);
    let new = FaultDisk::new(2);
    let report = repair(&env(disk), &env(&new), &options()).expect("repairs");
    assert_eq!(content(disk), before, "the damaged directory was changed");
    let engine = open(&new.crash(CrashStyle::LoseAll)).expect("the new directory is whole and durable");
    let state = state_of(&engine);
    assert_eq!(report.entries, state.len() as u64);
    let newest = state.values().map(|(stamp, _)| *stamp).max().unwrap_or_default();
    let placed = engine.commit(&Commit::new().set(SPACE, key(9_999), "v"), None).expect("takes commits");
    assert!(placed.versionstamp > newest);
    (report, state)
}

fn first(disk: &FaultDisk, ending: &str) -> String {
    disk.files().into_iter().map(|(path, _)| path).find(|path| path.ends_with(ending)).expect("there")
}

#[test]
fn a_whole_directory_loses_nothing() {
    for clean in [true, false] {
        let (disk, expected) = directory(clean);
        let (report, state) = repaired(&disk);
        assert_eq!((report.lost, report.torn_tail), (Vec::new(), None));
        assert_eq!(state, expected);
    }
}

#[test]
fn without_a_manifest_all_files_are_read() {
    for clean in [true, false] {
        let (disk, expected) = directory(clean);
        disk.remove("MANIFEST").expect("removable");
        disk.remove("MANIFEST.copy").expect("removable");
        let (report, state) = repaired(&disk);
        let lost: Vec<&str> = report.lost.iter().map(|lost| lost.file.as_str()).collect();
        assert_eq!(lost, ["MANIFEST"], "{report:?}");
        assert_eq!(state, expected);
    }
}

#[test]
fn one_copy_of_the_manifest_is_enough() {
    let (disk, expected) = directory(false);
    assert!(disk.flip("MANIFEST", 80, 1));
    let (report, state) = repaired(&disk);
    assert_eq!((report.lost, state), (Vec::new(), expected));
}

#[test]
fn a_damaged_block_costs_its_own_entries() {
    let (disk, expected) = directory(true);
    let path = first(&disk, ".seg");
    // The first block holds the smallest keys, and those have newer versions in the log.
    let size_bytes = disk.read_file(&path).expect("there").len() as u64;
    assert!(disk.flip(&path, size_bytes / 2, 4));
    let (report, state) = repaired(&disk);
    let [lost] = report.lost.as_slice() else { panic!("{report:?}") };
    assert!(lost.file == path && lost.offset_bytes > 64 && lost.detail.contains("versions lost"), "{lost:?}");
    assert!(state.len() < expected.len() && state.len() > expected.len() / 3, "{}", state.len());
    assert!(state.iter().all(|(key, value)| expected.get(key) == Some(value)));
    assert!((0..40).all(|number| state.contains_key(&format!("k{number:04}"))), "the log was read");
}

#[test]
fn a_damaged_filter_costs_nothing_but_is_told() {
    let (disk, expected) = directory(true);
    let path = first(&disk, ".seg");
    let size_bytes = disk.read_file(&path).expect("there").len() as u64;
    assert!(disk.flip(&path, size_bytes - 200, 4));
    let (report, state) = repaired(&disk);
    let [lost] = report.lost.as_slice() else { panic!("{report:?}") };
    assert!(lost.file == path && lost.detail.contains("filter"), "{lost:?}");
    assert_eq!(state, expected);
}

#[test]
fn damage_in_the_middle_of_the_log_costs_one_group() {
    let (disk, expected) = directory(true);
    let needle = format!("new{:0300}", 5);
    let at = |path: &str| {
        let bytes = disk.read_file(path).expect("there");
        bytes.windows(needle.len()).position(|window| window == needle.as_bytes())
    };
    let (path, offset) = disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.ends_with(".log"))
        .find_map(|(path, _)| at(&path).map(|offset| (path, offset as u64)))
        .expect("key 5 is in the log");
    assert!(disk.flip(&path, offset, 1));
    let (report, state) = repaired(&disk);
    let [lost] = report.lost.as_slice() else { panic!("{report:?}") };
    assert!(lost.file == path && lost.offset_bytes < offset && offset - lost.offset_bytes < 200, "{lost:?}");
    let differs: Vec<&String> = expected.keys().filter(|key| state.get(*key) != expected.get(*key)).collect();
    assert_eq!(differs, ["k0005"]);
    assert_eq!(state.get("k0005").map(|(_, value)| value.as_str()), Some(format!("old{:0100}", 5).as_str()));
}

#[test]
fn a_missing_log_file_is_told() {
    let (disk, expected) = directory(true);
    let logs: Vec<String> = disk.files().into_iter().map(|(path, _)| path).collect();
    let logs: Vec<&String> = logs.iter().filter(|path| path.ends_with(".log")).collect();
    let missing = logs.get(logs.len() / 2).expect("several");
    disk.remove(missing).expect("removable");
    let (report, state) = repaired(&disk);
    assert!(report.lost.iter().any(|lost| lost.file == **missing), "{report:?}");
    assert_ne!(state, expected);
}

/// Wherever a byte flips: what does not open has losses to tell, and every value is one that its key had.
#[test]
fn a_flipped_byte_anywhere_makes_up_no_value() {
    for clean in [true, false] {
        let (disk, expected) = directory(clean);
        let (mut told, mut silent) = (0, 0);
        for (path, length) in disk.files() {
            let step = if path.starts_with("MANIFEST") { 5 } else { 131 };
            for offset in (0..length).step_by(step) {
                let image = disk.image(CrashStyle::KeepAll, 0);
                assert!(image.flip(&path, offset, 1 << (offset % 8)));
                let opened = open(&image.image(CrashStyle::KeepAll, 0));
                if let Err(OpenError::Storage(StorageError::NewerFormat { .. })) = opened {
                    continue;
                }
                let (report, state) = repaired(&image);
                match opened {
                    Ok(engine) => assert_eq!(state, state_of(&engine), "{path} byte {offset}: {report:?}"),
                    Err(_) => assert!(!report.lost.is_empty(), "{path} byte {offset}"),
                }
                for (key, (stamp, value)) in &state {
                    let number: u64 = key.get(1..).and_then(|digits| digits.parse().ok()).expect("a number");
                    let had = expected.get(key) == Some(&(*stamp, value.clone()))
                        || *value == format!("old{number:0100}");
                    assert!(had, "{path} byte {offset}: {key} is {value}");
                }
                if report.lost.is_empty() { silent += 1 } else { told += 1 }
            }
        }
        assert!(told > 50 && silent > 50, "{told} {silent}");
    }
}
