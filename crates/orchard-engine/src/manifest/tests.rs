use super::*;
use crate::format::HEADER_SIZE_BYTES;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use orchard_env::{Disk, OpenMode};
use proptest::prelude::*;

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![any::<u64>(), 0_u64..3]
}

fn segments() -> impl Strategy<Value = SegmentMeta> {
    (prop::array::uniform12(numbers()), 0_u64..1_000).prop_map(|(n, number)| SegmentMeta {
        number,
        file_size_bytes: n[0],
        entries: n[1],
        tombstones: n[2],
        keys: n[3],
        key_bytes: n[4],
        value_bytes: n[5],
        min_stamp: n[6],
        max_stamp: n[7],
        expiring: n[8],
        min_expires_at_ms: n[9],
        max_expires_at_ms: n[10],
        footer_checksum: n[11],
    })
}

fn manifests() -> impl Strategy<Value = Manifest> {
    let clean_end = prop::option::of(prop::array::uniform4(numbers()).prop_map(|n| CleanEnd {
        log_number: n[0],
        offset_bytes: n[1],
        frame_checksum: n[2],
        log_time_ms: n[3],
    }));
    let spaces = prop::collection::btree_map(".{0,6}", any::<u32>().prop_map(SpaceId), 0..5);
    (
        any::<[u8; 16]>(),
        prop::array::uniform9(numbers()),
        prop::collection::vec(segments(), 0..4),
        clean_end,
        spaces,
        any::<[u32; 2]>(),
        prop::collection::vec((numbers(), numbers()), 0..4),
        prop::collection::vec(any::<[u64; 5]>(), 0..3),
    )
        .prop_map(|(database, n, segments, clean_end, spaces, small, times, retained)| Manifest {
            database: DatabaseId(database),
            sequence: n[0],
            segments,
            first_log: n[1],
            clean_end,
            reserved_index: n[2],
            checkpoint_stamp: n[3],
            tombstone_floor: n[4],
            history_floor: n[5],
            next_segment: n[6].max(1_000),
            next_log: n[7],
            checkpoint_log_time_ms: n[8],
            apply_version: small[0],
            spaces,
            next_space: small[1],
            times,
            retained: retained.iter().map(|n| old_log_file(n)).collect(),
            feed_floor: old_log_file(&n[..5]).end,
        })
}

fn old_log_file(n: &[u64]) -> OldLogFile {
    let end = LogFileEnd { last_commit: n[2], last_stamp: n[3], last_time_ms: n[4] };
    OldLogFile { number: n[0], size_bytes: n[1], end }
}

/// The manifest, of which nothing is damaged.
fn whole(disk: &FaultDisk) -> Manifest {
    let loaded = Manifest::load(disk).expect("never torn").expect("never gone");
    assert!(loaded.damage.is_none(), "{:?}", loaded.damage);
    loaded.manifest
}

fn assert_corrupt(result: Result<Manifest, StorageError>, what: &str) {
    match result {
        Err(StorageError::Corrupt(corruption)) => assert_eq!(corruption.file, PATH),
        other => panic!("{what}: {other:?}"),
    }
}

/// Seals a changed body again, as a newer version might write it.
fn resealed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let database = DatabaseId(bytes[16..32].try_into().expect("16 bytes"));
    bytes.truncate(bytes.len() - 8);
    change(&mut bytes);
    let length = (bytes.len() - HEADER_SIZE_BYTES - 8) as u64;
    bytes[HEADER_SIZE_BYTES..HEADER_SIZE_BYTES + 8].copy_from_slice(&length.to_le_bytes());
    let sum = crate::format::checksum(database, 0, HEADER_SIZE_BYTES as u64, &bytes[HEADER_SIZE_BYTES..]);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

proptest! {
    #[test]
    fn what_is_stored_is_loaded(manifest in manifests()) {
        let disk = FaultDisk::new(1);
        prop_assert!(Manifest::load(&disk).expect("reads").is_none());
        manifest.store(&disk).expect("no faults");
        prop_assert_eq!(whole(&disk), manifest);
        prop_assert_eq!(disk.files().len(), 2);
    }

    #[test]
    fn every_flipped_byte_and_every_cut_is_found(manifest in manifests(), mask in 1_u8..=255) {
        let bytes = codec::encode(&manifest);
        prop_assert_eq!(&decode(&bytes).expect("whole"), &manifest);
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= mask;
            assert_corrupt(decode(&damaged), "flipped");
            assert_corrupt(decode(&bytes[..position]), "cut");
        }
        assert_corrupt(decode(&[bytes.as_slice(), &[0]].concat()), "longer");
    }

    #[test]
    fn any_bytes_are_refused_or_taken(
        manifest in manifests(),
        at in any::<prop::sample::Index>(),
        junk in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let _ = decode(&junk);
        // A body of junk under a right checksum.
        let _ = decode(&resealed(codec::encode(&manifest), |bytes| {
            let at = HEADER_SIZE_BYTES + 8 + at.index(bytes.len() - HEADER_SIZE_BYTES - 8);
            bytes.truncate(at);
            bytes.extend_from_slice(&junk);
        }));
    }
}

fn sample() -> Manifest {
    Manifest {
        database: DatabaseId([0xda; 16]),
        sequence: 3,
        segments: vec![SegmentMeta { number: 4, entries: 9, footer_checksum: 5, ..SegmentMeta::default() }],
        first_log: 2,
        clean_end: Some(CleanEnd { log_number: 2, offset_bytes: 64, frame_checksum: 8, log_time_ms: 9 }),
        reserved_index: 1_000,
        checkpoint_stamp: 7 << 16,
        tombstone_floor: 1,
        history_floor: 2,
        next_segment: 5,
        next_log: 3,
        checkpoint_log_time_ms: 1_700_000_000_000,
        apply_version: 1,
        spaces: [("default".to_owned(), SpaceId(0)), ("täst".to_owned(), SpaceId(16))].into(),
        next_space: 17,
        times: Vec::new(),
        retained: Vec::new(),
        feed_floor: LogFileEnd { last_commit: 7 << 16, last_stamp: 7 << 16, last_time_ms: 1_700_000_000_000 },
    }
}

#[test]
fn fields_of_a_newer_version_are_named() {
    let sample = || Manifest { retained: vec![old_log_file(&[1, 2, 3, 4, 5])], ..sample() };
    let newer = |change: fn(&mut Vec<u8>)| match decode(&resealed(codec::encode(&sample()), change)) {
        Err(StorageError::NewerFormat { file, .. }) => assert_eq!(file, PATH),
        other => panic!("{other:?}"),
    };
    newer(|bytes| bytes.push(0));
    newer(|bytes| bytes[HEADER_SIZE_BYTES + 8 + 9 * 8 + 4] = 2);
}

#[test]
fn a_segment_number_that_was_not_given_out_is_refused() {
    let manifest = Manifest { next_segment: 4, ..sample() };
    assert_corrupt(decode(&codec::encode(&manifest)), "number");
}

/// After a crash at any call, under any fate of what was not synced, there is the old manifest or the new one, and a
/// stored one stays.
#[test]
fn a_crash_at_every_call_leaves_the_old_one_or_the_new_one() {
    let old = sample();
    let new = Manifest { sequence: 4, clean_end: None, ..sample() };
    for crash_at in 1.. {
        let fault = FaultDisk::new(crash_at);
        old.store(&fault).expect("no faults");
        let before = fault.changes();
        fault.set_plan(FaultPlan { crash_at_change: Some(before + crash_at), ..FaultPlan::default() });
        let stored = new.store(&fault);
        let is_done = !fault.is_dead();
        for style in [CrashStyle::LoseAll, CrashStyle::KeepAll, CrashStyle::Random] {
            for seed in 0..30 {
                let image = fault.image(style, seed);
                let found = whole(&image);
                if stored.is_ok() {
                    assert_eq!(found, new);
                } else {
                    assert!(found == old || found == new, "call {crash_at}");
                }
                // And the same if the first copy is damaged, or cannot be read.
                assert!(image.flip(PATH, 70, 1));
                let loaded = Manifest::load(&image).expect("the second serves").expect("there");
                let second = Manifest { reserved_index: sample().reserved_index, ..loaded.manifest };
                assert!(loaded.damage.is_some());
                assert!(second == new || (second == old && stored.is_err()), "call {crash_at}");
                // The next one is not in the way of what the crash left.
                Manifest { sequence: 9, ..new.clone() }.store(&image).expect("no faults");
                assert_eq!(whole(&image).sequence, 9);
            }
        }
        assert_eq!(stored.is_ok(), is_done);
        if is_done {
            assert!(crash_at > 5, "the workload has more calls than that");
            break;
        }
    }
}

#[test]
fn a_torn_new_manifest_is_ignored() {
    let disk = FaultDisk::new(1);
    let torn = disk.open(PATH_NEW, OpenMode::Create).expect("creates");
    torn.write_all_at(0, &codec::encode(&sample())[..70]).expect("writes");
    assert!(Manifest::load(&disk).expect("reads").is_none());
    sample().store(&disk).expect("no faults");
    assert_eq!(whole(&disk), sample());
}

#[test]
fn one_copy_is_enough_and_without_any_the_first_is_named() {
    let stored = || {
        let disk = FaultDisk::new(1);
        sample().store(&disk).expect("no faults");
        disk
    };
    let damage = |disk: &FaultDisk| {
        let loaded = Manifest::load(disk).expect("reads").expect("there");
        // Who cannot read the newest reservation stays far from it.
        assert_eq!(loaded.manifest.reserved_index, sample().reserved_index + RESERVED_AHEAD);
        loaded.damage.expect("the first copy is damaged").to_string()
    };

    let disk = stored();
    assert!(disk.flip(PATH, 80, 1));
    assert!(damage(&disk).contains("MANIFEST is damaged at byte 64"));
    assert!(disk.flip(PATH_COPY, 80, 1));
    match Manifest::load(&disk) {
        Err(StorageError::Corrupt(found)) => {
            assert_eq!((found.file.as_str(), found.offset_bytes), (PATH, 64));
            assert!(found.detail.contains("MANIFEST.copy is damaged at byte 64"), "{found}");
        }
        other => panic!("{other:?}"),
    }

    let disk = stored();
    disk.remove(PATH).expect("removable");
    assert!(damage(&disk).contains("missing"));
    assert!(disk.flip(PATH_COPY, 80, 1));
    assert!(matches!(Manifest::load(&disk), Err(StorageError::Corrupt(found)) if found.file == PATH_COPY));

    let disk = stored();
    let failure = orchard_env::fault::Failure::Io;
    disk.set_plan(FaultPlan { fail_call: Some((disk.calls() + 2, failure)), ..FaultPlan::default() });
    assert!(damage(&disk).contains(PATH), "a sector that cannot be read");

    let disk = stored();
    assert!(disk.flip(PATH_COPY, 80, 1));
    assert_eq!(whole(&disk), sample(), "nobody looks at the second while the first is whole");
    assert!(damage_of_copy(&disk).expect("reads").is_some());
}

/// What is not on the disk as it was written does not take the place of what is.
#[test]
fn a_manifest_that_reads_otherwise_than_it_was_written_is_not_taken() {
    let disk = FaultDisk::new(1);
    sample().store(&disk).expect("no faults");
    let calls = disk.calls();
    Manifest { sequence: 4, ..sample() }.store(&disk).expect("no faults");
    for call in calls + 1..=disk.calls() {
        let disk = FaultDisk::new(1);
        sample().store(&disk).expect("no faults");
        disk.set_plan(FaultPlan { spoil_write: Some(call), ..FaultPlan::default() });
        match (Manifest { sequence: 4, ..sample() }).store(&disk) {
            Ok(()) => assert_eq!(whole(&disk).sequence, 4, "call {call}"),
            Err(StorageError::Corrupt(found)) => {
                assert!(found.file.ends_with(".new"), "{found}");
                assert_eq!(whole(&disk), sample(), "call {call}");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The bytes of format version 1 never change, and this file of it is read for ever.
#[test]
fn the_golden_file_is_read_and_written_as_ever() {
    let golden = include_bytes!("golden/v1.manifest");
    assert_eq!(codec::encode(&sample()), golden);
    assert_eq!(decode(golden).expect("reads"), sample());
}
