use super::*;
use crate::clock::Clock;
use orchard_types::UnixMillis;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn write(disk: &FaultDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = disk.open(path, OpenMode::Create).expect("opens");
    file.write_all_at(0, bytes).expect("writes");
    file
}

fn durable(disk: &FaultDisk, path: &str, bytes: &[u8]) -> Arc<dyn DiskFile> {
    let file = write(disk, path, bytes);
    file.sync_data().expect("syncs");
    disk.sync_dir(names::parent(path)).expect("syncs");
    file
}

/// What a file holds in 200 random crashes of this moment.
fn random_contents(disk: &FaultDisk, path: &str) -> BTreeSet<Option<Vec<u8>>> {
    (0..200).map(|seed| disk.image(CrashStyle::Random, seed).read_file(path)).collect()
}

#[test]
fn unsynced_bytes_are_kept_lost_and_torn() {
    let disk = FaultDisk::new(1);
    let file = durable(&disk, "a", &[b'-'; 4096]);
    file.write_all_at(0, &[b'x'; 4096]).expect("writes");
    let contents = random_contents(&disk, "a");
    assert!(contents.contains(&Some(vec![b'-'; 4096])), "lost in one");
    assert!(contents.contains(&Some(vec![b'x'; 4096])), "kept in one");
    let torn = contents.iter().flatten().filter(|bytes| bytes.contains(&b'-') && bytes.contains(&b'x'));
    let torn: Vec<_> = torn.collect();
    assert!(torn.len() > 20, "torn in many");
    assert!(
        torn.iter().any(|bytes| bytes.ends_with(b"x") && bytes.starts_with(b"-")),
        "the tail alone in one"
    );
    assert!(
        torn.iter().any(|bytes| bytes.chunks(512).any(|sector| sector[0] != sector[511])),
        "within a sector"
    );
}

#[test]
fn unsynced_writes_are_reordered() {
    let disk = FaultDisk::new(2);
    let file = durable(&disk, "a", b"--");
    file.write_all_at(0, b"1").expect("writes");
    file.write_all_at(1, b"2").expect("writes");
    let contents = random_contents(&disk, "a");
    for expected in [b"--", b"1-", b"-2", b"12"] {
        assert!(contents.contains(&Some(expected.to_vec())), "{}", expected.escape_ascii());
    }
    assert_eq!(contents.len(), 4);
}

#[test]
fn a_length_survives_with_or_without_its_bytes() {
    let disk = FaultDisk::new(3);
    let file = durable(&disk, "a", b"");
    file.write_all_at(0, &[7; 10]).expect("writes");
    let contents = random_contents(&disk, "a");
    assert!(contents.contains(&Some(vec![])) && contents.contains(&Some(vec![0; 10])));
    file.sync_data().expect("syncs");
    file.set_len_bytes(3).expect("cuts");
    assert_eq!(random_contents(&disk, "a"), [Some(vec![7; 3]), Some(vec![7; 10])].into());
}

#[test]
fn a_rename_is_old_or_new() {
    let disk = FaultDisk::new(4);
    durable(&disk, "MANIFEST", b"old");
    let file = write(&disk, "MANIFEST.new", b"new");
    file.sync_data().expect("syncs");
    disk.rename("MANIFEST.new", "MANIFEST").expect("renames");
    let seen = random_contents(&disk, "MANIFEST");
    assert_eq!(seen, [Some(b"old".to_vec()), Some(b"new".to_vec())].into());
    for seed in 0..200 {
        let after = disk.image(CrashStyle::Random, seed);
        let renamed = after.read_file("MANIFEST").expect("never neither") == b"new";
        assert!(!(renamed && after.read_file("MANIFEST.new").is_some()), "never both");
    }
    disk.sync_dir("").expect("syncs");
    assert_eq!(random_contents(&disk, "MANIFEST"), [Some(b"new".to_vec())].into());
}

#[test]
fn created_and_removed_names_may_be_undone() {
    let disk = FaultDisk::new(5);
    durable(&disk, "old", b"old");
    disk.create_dir("a/b").expect("creates");
    write(&disk, "a/b/new", b"new").sync_data().expect("syncs");
    disk.sync_dir("a/b").expect("syncs");
    disk.remove("old").expect("removes");
    assert_eq!(random_contents(&disk, "old"), [None, Some(b"old".to_vec())].into());
    assert_eq!(
        random_contents(&disk, "a/b/new"),
        [None, Some(b"new".to_vec())].into(),
        "its directory may go"
    );
    disk.sync_dir("").expect("syncs");
    assert!(random_contents(&disk, "a/b/new").contains(&None), "a/b is not yet in a");
    disk.sync_dir("a").expect("syncs");
    assert_eq!(random_contents(&disk, "a/b/new"), [Some(b"new".to_vec())].into());
    assert_eq!(random_contents(&disk, "old"), [None].into());
}

#[test]
fn a_kill_keeps_what_the_kernel_has() {
    let disk = FaultDisk::new(6);
    let file = durable(&disk, "a", b"synced");
    let lock = disk.lock("LOCK").expect("free");
    assert!(matches!(disk.lock("LOCK"), Err(LockError::Held { .. })));
    file.write_all_at(6, b"+").expect("writes");
    let next = disk.kill();
    assert!(file.sync_data().is_err() && disk.open("a", OpenMode::Read).is_err() && disk.is_dead());
    assert_eq!(next.read_file("a"), Some(b"synced+".to_vec()));
    drop(next.lock("LOCK").expect("the kill released it"));
    drop(lock);
    let last = next.crash(CrashStyle::LoseAll);
    assert_eq!(last.read_file("a"), Some(b"synced".to_vec()), "the kill made nothing durable");
}

#[test]
fn a_failed_sync_loses_data_for_good() {
    let mut lost = 0;
    for seed in 0..100 {
        let disk = FaultDisk::new(seed);
        let file = durable(&disk, "a", b"--");
        disk.set_plan(FaultPlan { fail_sync: Some(disk.syncs() + 1), ..FaultPlan::default() });
        file.write_all_at(0, b"xx").expect("writes");
        assert_eq!(file.sync_data().expect_err("planned").raw_os_error(), Some(5));
        file.sync_data().expect("the next one claims success");
        if disk.crash(CrashStyle::KeepAll).read_file("a") != Some(b"xx".to_vec()) {
            lost += 1;
        }
    }
    assert!((20..100).contains(&lost), "{lost}");
}

#[test]
fn calls_fail_as_planned() {
    let disk = FaultDisk::new(7);
    let file = write(&disk, "a", b"abc");
    disk.set_plan(FaultPlan { fail_call: Some((disk.calls() + 2, Failure::Full)), ..FaultPlan::default() });
    file.len_bytes().expect("not yet");
    assert_eq!(file.write_all_at(0, b"x").expect_err("planned").raw_os_error(), Some(28));
    file.write_all_at(0, b"x").expect("once only");
    disk.set_plan(FaultPlan { io_error_per_million: 500_000, ..FaultPlan::default() });
    let failed = (0..1_000).filter(|_| file.len_bytes().is_err()).count();
    assert!((400..600).contains(&failed), "{failed}");
    disk.set_plan(FaultPlan { short_read_per_million: 500_000, ..FaultPlan::default() });
    let mut buffer = [0; 3];
    let short = (0..100).filter(|_| file.read_at(0, &mut buffer).expect("reads") < 3).count();
    assert!((20..80).contains(&short), "{short}");
    file.read_exact_at(0, &mut buffer).expect("reads on");
    assert_eq!(&buffer, b"xbc");
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_space_back() {
    let disk = FaultDisk::new(8);
    disk.set_plan(FaultPlan { capacity_bytes: Some(3 * BLOCK_SIZE_BYTES), ..FaultPlan::default() });
    let file = disk.open("a", OpenMode::CreateNew).expect("creates");
    file.set_len_bytes(1 << 20).expect("a hole takes nothing");
    assert_eq!(disk.available_bytes().expect("known"), 3 * BLOCK_SIZE_BYTES);
    assert_eq!(file.write_all_at(10, &[1; 20_000]).expect_err("full").raw_os_error(), Some(28));
    assert_eq!(disk.available_bytes().expect("known"), 0);
    file.write_all_at(10, &[2; 3 * 4096 - 10]).expect("overwriting takes nothing");
    disk.remove("a").expect("removes");
    assert_eq!(disk.used_bytes(), 3 * BLOCK_SIZE_BYTES, "an open handle keeps the space");
    drop(file);
    assert_eq!(disk.used_bytes(), 0);
}

#[test]
fn flips_reach_the_medium() {
    let disk = FaultDisk::new(9);
    drop(durable(&disk, "a", b"abc"));
    assert!(disk.flip("a", 1, 0x03) && !disk.flip("a", 3, 1) && !disk.flip("b", 0, 1));
    assert_eq!(disk.crash(CrashStyle::LoseAll).read_file("a"), Some(b"aac".to_vec()));
    let other = FaultDisk::new(9);
    other.write_file("x/y", b"put");
    assert_eq!(other.crash(CrashStyle::LoseAll).files(), [("x/y".to_owned(), 3)]);
}

#[test]
fn calls_take_virtual_time() {
    let disk = FaultDisk::new(10);
    let clock = Arc::new(ManualClock::at(UnixMillis(1)));
    let latency = Latency { sync_ns: 12_000_000, kibibyte_ns: 1_000, write_ns: 50, ..Latency::default() };
    disk.set_latency(latency, Arc::clone(&clock));
    durable(&disk, "a", &[0; 2048]);
    assert_eq!(clock.monotonic_ns(), 2 * 12_000_000 + 2_050);
    assert_eq!(clock.now(), UnixMillis(25));
}

#[test]
fn a_crash_can_come_at_every_change() {
    let work = |disk: &FaultDisk| -> io::Result<()> {
        disk.create_dir("d")?;
        disk.sync_dir("")?;
        let file = disk.open("d/a", OpenMode::CreateNew)?;
        file.write_all_at(0, b"hello")?;
        file.sync_data()?;
        disk.rename("d/a", "d/b")?;
        disk.sync_dir("d")
    };
    let whole = FaultDisk::new(11);
    whole.trace_calls();
    work(&whole).expect("no faults");
    assert_eq!(whole.changes(), 7);
    let kinds: Vec<CallKind> = whole.traced_calls().iter().map(|call| call.kind).collect();
    assert_eq!(kinds[3], CallKind::Write);
    for change in 1..=7 {
        let disk = FaultDisk::new(change);
        disk.set_plan(FaultPlan { crash_at_change: Some(change), ..FaultPlan::default() });
        assert!(work(&disk).is_err() && disk.is_dead());
        assert_eq!(disk.changes(), change);
        disk.crash(CrashStyle::Random);
    }
}

/// A random call, over few files so that they meet.
#[derive(Clone, Debug)]
enum Act {
    Create(u8),
    Write(u8, u16, u8, u8),
    SetLength(u8, u16),
    Sync(u8),
    Rename(u8, u8),
    Remove(u8),
    SyncDir,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        (0..4u8).prop_map(Act::Create),
        (0..4u8, 0..2000u16, 1..200u8, any::<u8>())
            .prop_map(|(file, at, len, byte)| Act::Write(file, at, len, byte)),
        (0..4u8, 0..2000u16).prop_map(|(file, length)| Act::SetLength(file, length)),
        (0..4u8).prop_map(Act::Sync),
        (0..4u8, 0..4u8).prop_map(|(from, to)| Act::Rename(from, to)),
        (0..4u8).prop_map(Act::Remove),
        Just(Act::SyncDir),
    ]
}

fn perform(disk: &FaultDisk, act: &Act) -> io::Result<()> {
    let open = |file: &u8| disk.open(&file.to_string(), OpenMode::ReadWrite);
    match act {
        Act::Create(file) => disk.open(&file.to_string(), OpenMode::CreateNew).map(drop),
        Act::Write(file, at, length, byte) => {
            open(file)?.write_all_at(u64::from(*at), &vec![*byte; usize::from(*length)])
        }
        Act::SetLength(file, length) => open(file)?.set_len_bytes(u64::from(*length)),
        Act::Sync(file) => open(file)?.sync_data(),
        Act::Rename(from, to) => disk.rename(&from.to_string(), &to.to_string()),
        Act::Remove(file) => disk.remove(&file.to_string()),
        Act::SyncDir => disk.sync_dir(""),
    }
}

fn contents(disk: &FaultDisk) -> Vec<(String, Option<Vec<u8>>)> {
    disk.files().into_iter().map(|(path, _)| (path.clone(), disk.read_file(&path))).collect()
}

proptest! {
    #[test]
    fn synced_bytes_and_names_survive_every_crash(
        acts in prop::collection::vec(act(), 0..40),
        seed in any::<u64>(),
        style in prop_oneof![Just(CrashStyle::Random), Just(CrashStyle::LoseAll), Just(CrashStyle::KeepAll)],
    ) {
        let disk = FaultDisk::new(seed);
        for act in &acts {
            let _ = perform(&disk, act);
        }
        let seen = contents(&disk);
        prop_assert_eq!(contents(&disk.image(CrashStyle::KeepAll, seed)), seen.clone());
        prop_assert_eq!(contents(&disk.kill().kill()), seen.clone());
        let disk = disk.kill();
        for (path, _) in &seen {
            disk.open(path, OpenMode::Read).expect("is there").sync_data().expect("syncs");
        }
        disk.sync_dir("").expect("syncs");
        prop_assert_eq!(contents(&disk.crash(style)), seen);
    }

    #[test]
    fn a_seed_decides_everything(acts in prop::collection::vec(act(), 0..40), seed in any::<u64>()) {
        let run = || {
            let disk = FaultDisk::new(seed);
            disk.set_plan(FaultPlan { io_error_per_million: 100_000, ..FaultPlan::default() });
            let outcomes: Vec<bool> = acts.iter().map(|act| perform(&disk, act).is_ok()).collect();
            let after = disk.crash(CrashStyle::Random);
            (outcomes, contents(&after), after.trace_hash())
        };
        prop_assert_eq!(run(), run());
    }
}

#[test]
fn a_spoilt_write_has_one_wrong_bit_and_says_nothing() {
    let disk = FaultDisk::new(1);
    let file = write(&disk, "a", b"right");
    disk.set_plan(FaultPlan { spoil_write: Some(disk.calls() + 1), ..FaultPlan::default() });
    file.write_all_at(0, b"wrong").expect("it says nothing");
    file.write_all_at(5, b"right").expect("writes");
    let bytes = disk.read_file("a").expect("there");
    let bits: u32 = bytes.iter().zip(b"wrongright").map(|(found, given)| (found ^ given).count_ones()).sum();
    assert_eq!((bytes.len(), bits), (10, 1));
}
