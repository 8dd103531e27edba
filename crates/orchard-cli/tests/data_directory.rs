//! Damaged and foreign directories: the exit code says which, the message names the file.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, run};
use orchard_engine::format::{FORMAT_VERSION, checksum};
use orcharddb::Db;
use std::fs;
use std::path::{Path, PathBuf};

fn with_segment(data: &Path) -> PathBuf {
    let db = Db::open(data).expect("opens");
    for number in 0..1_000 {
        db.submit(
            &orcharddb::Commit::new().set(
                orcharddb::SpaceId::DEFAULT,
                Db::key(format!("k{number}")).expect("short"),
                "v".repeat(100),
            ),
            None,
        );
    }
    db.put("last", "v").expect("written");
    db.checkpoint().expect("written");
    db.close().expect("closed");
    drop(db);
    let mut segments =
        fs::read_dir(data.join("segments")).expect("there").map(|entry| entry.expect("readable").path());
    segments.next().expect("a segment")
}

#[test]
fn damage_in_a_segment_is_exit_code_5_and_named() {
    let scratch = Scratch::new();
    let segment = with_segment(&scratch.path("data"));
    let whole = fs::read(&segment).expect("readable");
    assert!(run(["check", "--data", &scratch.at("data")]).fine().contains("1001 entries"));
    let name = segment.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    for position in [whole.len() / 3, whole.len() / 2, whole.len() - 40] {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x10;
        fs::write(&segment, &damaged).expect("writable");
        let stderr = run(["check", "--data", &scratch.at("data")]).failed(5);
        assert!(stderr.contains(&name), "position {position}: {stderr}");
    }
    fs::write(&segment, &whole).expect("writable");
    run(["check", "--data", &scratch.at("data")]).fine();
}

#[test]
fn damage_in_the_manifest_is_exit_code_5_for_every_command() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    for copy in ["MANIFEST", "MANIFEST.copy"] {
        flip_in_the_middle(&scratch.path("data").join(copy));
    }
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"], &["get", "k1"], &["export", "-"]] {
        let data = scratch.at("data");
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(5);
        assert!(stderr.contains("MANIFEST"), "{command:?}: {stderr}");
    }
}

fn flip_in_the_middle(path: &Path) {
    let mut bytes = fs::read(path).expect("readable");
    let position = bytes.len() / 2;
    bytes[position] ^= 0x01;
    fs::write(path, bytes).expect("writable");
}

#[test]
fn damage_in_one_copy_of_the_manifest_is_told_and_mended() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    let data = scratch.at("data");
    for copy in ["MANIFEST", "MANIFEST.copy"] {
        flip_in_the_middle(&scratch.path("data").join(copy));
        let stderr = run(["check", "--data", &data]).failed(5);
        assert!(stderr.contains(&format!("{copy} is damaged at byte ")), "{stderr}");
        assert_eq!(run(["get", "k7", "--data", &data]).fine(), "v".repeat(100));
        assert!(run(["check", "--data", &data]).fine().contains("1001 entries"));
    }
}

#[test]
fn a_lost_manifest_is_damage_and_not_a_new_database() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    for copy in ["MANIFEST", "MANIFEST.copy"] {
        fs::remove_file(scratch.path("data").join(copy)).expect("removable");
    }
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"], &["put", "k", "v"]] {
        let data = scratch.at("data");
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(5);
        assert!(stderr.contains("MANIFEST"), "{command:?}: {stderr}");
    }
}

#[test]
fn a_newer_format_is_exit_code_6() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    let manifest = scratch.path("data").join("MANIFEST");
    let mut bytes = fs::read(&manifest).expect("readable");
    bytes[8..10].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
    let database = orchard_engine::format::DatabaseId(bytes[16..32].try_into().expect("16 bytes"));
    let sum = checksum(database, 0, 0, &bytes[..48]);
    bytes[48..56].copy_from_slice(&sum.to_le_bytes());
    fs::write(&manifest, bytes).expect("writable");
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["check"], &["stats"]] {
        let data = scratch.at("data");
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(6);
        assert!(stderr.contains("newer"), "{command:?}: {stderr}");
    }
}

#[test]
fn a_mistyped_directory_is_not_a_new_database() {
    let scratch = Scratch::new();
    for command in [&["get", "k"][..], &["delete", "k"], &["scan"], &["stats"], &["check"], &["export", "-"]]
    {
        let data = scratch.at("typo");
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(1);
        assert!(stderr.contains("holds no database"), "{command:?}: {stderr}");
        assert!(!scratch.path("typo").exists(), "{command:?}");
    }
    run(["put", "k", "v", "--data", &scratch.at("new")]).fine();
    assert_eq!(run(["get", "k", "--data", &scratch.at("new")]).fine(), "v");
}

#[test]
fn what_does_not_open_is_named_with_its_directory() {
    let scratch = Scratch::new();
    let data = scratch.at("data");
    fs::write(scratch.path("data"), "a file").expect("writable");
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["put", "k", "v"], &["check"]] {
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(1);
        assert_eq!(stderr, format!("orchard: {data} is not a directory\n"), "{command:?}");
    }
    fs::remove_file(scratch.path("data")).expect("there");
    with_segment(&scratch.path("data"));
    for copy in ["MANIFEST", "MANIFEST.copy"] {
        flip_in_the_middle(&scratch.path("data").join(copy));
    }
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["get", "k1"]] {
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(5);
        assert!(stderr.contains(&format!("{data}: MANIFEST")), "{command:?}: {stderr}");
    }
}

/// Every file below `directory` with its content.
fn files_of(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("readable") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            files.extend(files_of(&path));
        } else {
            files.push((path.clone(), fs::read(path).expect("readable")));
        }
    }
    files.sort();
    files
}

#[test]
fn check_changes_no_byte_and_names_a_torn_tail() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    let db = Db::open(scratch.path("data")).expect("opens");
    db.put("in-the-log", "v").expect("written");
    // Copied while it is open, as a crash would leave it.
    let copy = scratch.path("copy");
    for (path, bytes) in files_of(&scratch.path("data")) {
        let target = copy.join(path.strip_prefix(scratch.path("data")).expect("below"));
        fs::create_dir_all(target.parent().expect("a directory")).expect("made");
        fs::write(target, bytes).expect("writable");
    }
    let stderr = run(["check", "--data", &scratch.at("data")]).failed(4);
    assert!(stderr.contains(&std::process::id().to_string()), "{stderr}");
    drop(db);
    fs::write(copy.join("segments/99999999.seg"), "left by a crash").expect("writable");
    let before = files_of(&copy);
    let stdout = run(["check", "--data", &scratch.at("copy")]).fine();
    assert!(stdout.contains("1002 entries") && !stdout.contains("torn"), "{stdout}");
    assert_eq!(files_of(&copy), before);
    // The last byte that is not padding: of the last group, or, if that came meanwhile, of the idle one behind it.
    let (log, bytes) = before
        .iter()
        .rfind(|(path, bytes)| {
            path.extension().is_some_and(|name| name == "log") && bytes[64..68] == *b"OGrp"
        })
        .expect("a log file with a group");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a byte");
    let mut torn = bytes.clone();
    torn[last] ^= 1;
    fs::write(log, torn).expect("writable");
    let before = files_of(&copy);
    let stdout = run(["check", "--data", &scratch.at("copy")]).fine();
    assert!(stdout.contains("torn tail") && stdout.contains(".log"), "{stdout}");
    assert_eq!(files_of(&copy), before);
    run(["get", "k1", "--data", &scratch.at("copy")]).fine();
    assert!(!run(["check", "--data", &scratch.at("copy")]).fine().contains("torn"));
}

#[test]
fn repair_saves_what_can_be_read_and_names_what_cannot() {
    let scratch = Scratch::new();
    let segment = with_segment(&scratch.path("data"));
    let data = scratch.at("data");
    let stdout = run(["repair", &data, "--into", &scratch.at("whole")]).fine();
    assert!(stdout.contains("1001 entries saved") && !stdout.contains("lost"), "{stdout}");
    assert_eq!(run(["get", "k7", "--data", &scratch.at("whole")]).fine(), "v".repeat(100));
    let (kept, saved) = (["export", "-", "--data"], scratch.at("whole"));
    assert_eq!(
        run([kept[0], kept[1], kept[2], &saved]).fine(),
        run([kept[0], kept[1], kept[2], &data]).fine()
    );
    // A directory that holds something is not written over.
    let stderr = run(["repair", &data, "--into", &scratch.at("whole")]).failed(2);
    assert!(stderr.contains("not an empty directory"), "{stderr}");

    let mut bytes = fs::read(&segment).expect("readable");
    let middle = bytes.len() / 3;
    bytes[middle] ^= 0x10;
    fs::write(&segment, bytes).expect("writable");
    for copy in ["MANIFEST", "MANIFEST.copy"] {
        fs::remove_file(scratch.path("data").join(copy)).expect("removable");
    }
    let before = files_of(&scratch.path("data"));
    let outcome = run(["repair", &data, "--into", &scratch.at("part")]);
    let stdout = outcome.stdout.clone();
    let stderr = outcome.failed(5);
    assert!(stderr.contains("2 places could not be read"), "{stderr}");
    let name = segment.file_name().expect("a name").to_str().expect("UTF-8");
    assert!(stdout.contains("lost: MANIFEST, byte 0: missing"), "{stdout}");
    assert!(stdout.contains(&format!("lost: segments/{name}, byte ")), "{stdout}");
    assert_eq!(files_of(&scratch.path("data")), before);
    run(["check", "--data", &scratch.at("part")]).fine();
    assert_eq!(run(["get", "last", "--data", &scratch.at("part")]).fine(), "v");
}

#[test]
fn repair_refuses_a_directory_in_use() {
    let scratch = Scratch::new();
    with_segment(&scratch.path("data"));
    let db = Db::open(scratch.path("data")).expect("opens");
    run(["repair", &scratch.at("data"), "--into", &scratch.at("new")]).failed(4);
    drop(db);
}
