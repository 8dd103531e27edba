use super::*;
use crate::error::StorageError;
use crate::segment::tests::{DATABASE, Row, collect, disk, ordered, rows_of, write};
use crate::segment::{DIRECTORY, EntryVersion, MergeIter, Segment, SegmentMeta, SegmentWriter};
use orchard_env::Disk;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use proptest::prelude::*;
use std::sync::Arc;

/// Segments of this many stamps each follow one another in age.
const STAMPS: u64 = 40;

fn open(disk: &Arc<dyn Disk>, metas: &[SegmentMeta]) -> Vec<Arc<Segment>> {
    metas.iter().map(|meta| Segment::open(disk, DATABASE, meta).expect("opens")).collect()
}

fn run(merge: &mut Merge, budget: usize) -> Result<MergeOutcome, StorageError> {
    loop {
        if let Progress::Done(outcome) = merge.step(budget)? {
            return Ok(outcome);
        }
    }
}

/// What a reader of all segments sees at `at`; a deleted key is an absent one.
fn visible(segments: &[Arc<Segment>], key: &[u8], at: u64) -> Option<EntryVersion> {
    let found = segments.iter().filter_map(|segment| segment.get(key, at).expect("reads"));
    found
        .max_by_key(|version| version.stamp)
        .filter(|version| version.kind == crate::segment::EntryKind::Value)
}

/// The rule, written down the slow way.
fn kept(rows: &[Row], horizon: u64, drop_tombstones: bool) -> Vec<Row> {
    let settled = |row: &Row| {
        row.stamp <= horizon
            && rows
                .iter()
                .all(|other| other.key != row.key || other.stamp <= row.stamp || other.stamp > horizon)
    };
    let keep = |row: &&Row| row.stamp > horizon || settled(row) && !(drop_tombstones && row.value.is_none());
    rows.iter().filter(keep).cloned().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_merge_keeps_what_any_snapshot_at_or_above_the_horizon_sees(
        lists in prop::collection::vec(rows_of(0..STAMPS, 50), 1..6),
        ends in any::<[prop::sample::Index; 2]>(),
        horizon in any::<prop::sample::Index>(),
        tombstones_too in any::<bool>(),
        budget in prop_oneof![Just(1_usize), Just(7), Just(1_000)],
        block_size in prop_oneof![Just(1_usize), Just(200), Just(8 * 1024)],
    ) {
        let (fault, disk) = disk();
        let mut all = Vec::new();
        let mut metas = Vec::new();
        for (age, mut rows) in lists.into_iter().enumerate() {
            rows.iter_mut().for_each(|row| row.stamp += 1 + age as u64 * STAMPS);
            metas.push(write(&disk, age as u64, &rows, block_size).expect("no faults"));
            all.push(rows);
        }
        let segments = open(&disk, &metas);
        let end = ends[0].index(segments.len()) + 1;
        let start = ends[1].index(end);
        let stamp_max = segments.len() as u64 * STAMPS + 1;
        let horizon = horizon.index(stamp_max as usize + 1) as u64;
        let drop_tombstones = tombstones_too && start == 0;

        let writer = SegmentWriter::create(&disk, DATABASE, 99, 10).expect("creates").with_block_size(block_size);
        let mut merge = Merge::new(&segments[start..end], horizon, drop_tombstones, writer);
        let outcome = run(&mut merge, budget).expect("no faults");
        prop_assert_eq!(&run(&mut merge, budget).expect("done stays done"), &outcome);

        let inputs = ordered(all[start..end].concat());
        let wanted = kept(&inputs, horizon, drop_tombstones);
        let dropped_tombstones =
            kept(&inputs, horizon, false).into_iter().filter(|row| !wanted.contains(row)).map(|row| row.stamp);
        prop_assert_eq!(outcome.dropped_tombstone_stamp_max, dropped_tombstones.max());
        prop_assert_eq!(outcome.read_entries, inputs.len() as u64);
        prop_assert_eq!(outcome.kept_entries, wanted.len() as u64);
        prop_assert_eq!(outcome.segment.is_some(), !wanted.is_empty());
        prop_assert_eq!(fault.read_file(&crate::segment::path(99)).is_some(), !wanted.is_empty());

        let merged = open(&disk, outcome.segment.as_slice());
        if let [merged] = merged.as_slice() {
            merged.verify().expect("whole");
            prop_assert_eq!(collect(merged.iter_all()).expect("reads"), wanted);
        }
        let after: Vec<_> = segments[..start].iter().chain(&merged).chain(&segments[end..]).cloned().collect();
        for row in ordered(all.concat()) {
            for at in [horizon, row.stamp, row.stamp - 1, stamp_max].into_iter().filter(|at| *at >= horizon) {
                prop_assert_eq!(visible(&after, &row.key, at), visible(&segments, &row.key, at));
            }
        }
    }

    /// Checkpoints and merges in any order: the bounds hold after every settling, and it takes few merges.
    #[test]
    fn planning_keeps_the_bounds(
        checkpoints in prop::collection::vec((prop_oneof![1_u64..10, 1_u64..2_000, Just(100)], 0_u64..100), 1..120),
        small_size_bytes in prop_oneof![Just(1_u64), Just(50)],
        horizon_lag in 0_u64..20,
    ) {
        let options = PlanOptions { small_size_bytes, ..PlanOptions::SETTLED };
        let mut segments: Vec<SegmentMeta> = Vec::new();
        let mut live = 0_u64;
        for (time, (size, replaced)) in checkpoints.into_iter().enumerate() {
            let stamp = time as u64 + 1;
            // Of the new versions some replace old ones.
            live += size - size * replaced / 100;
            segments.push(SegmentMeta {
                number: stamp,
                file_size_bytes: size,
                key_bytes: size,
                entries: size,
                keys: size,
                min_stamp: stamp,
                max_stamp: stamp,
                ..SegmentMeta::default()
            });
            let horizon = stamp.saturating_sub(horizon_lag);
            let mut merges = 0;
            while let Some(merge) = plan(&segments, live, horizon, &options) {
                merges += 1;
                prop_assert!(merges <= 8, "no end of merging: {:?}", segments);
                prop_assert!(merge.range.start < merge.range.end && merge.range.end <= segments.len());
                prop_assert_eq!(merge.drop_tombstones, merge.range.start == 0);
                let whole = merge.range.len() == segments.len();
                let inputs: Vec<SegmentMeta> = segments.drain(merge.range.clone()).collect();
                prop_assert!(inputs.len() > 1, "one segment without dead versions is left alone");
                let sum: u64 = inputs.iter().map(|input| input.key_bytes).sum();
                // A merge of everything drops all that is dead; others nothing, at worst.
                let size = if whole { live } else { sum };
                let merged = SegmentMeta {
                    file_size_bytes: size,
                    key_bytes: size,
                    min_stamp: inputs[0].min_stamp,
                    max_stamp: inputs[inputs.len() - 1].max_stamp,
                    ..inputs[0].clone()
                };
                segments.insert(merge.range.start, merged);
            }
            let total: u64 = segments.iter().map(|segment| segment.key_bytes).sum();
            prop_assert!(segments.len() <= options.segments_max);
            let one = segments.len() == 1;
            let nothing_to_drop = segments.iter().all(|segment| segment.min_stamp > horizon);
            prop_assert!(total * 100 <= live * options.space_percent_max || one || nothing_to_drop);
        }
    }
}

fn meta(size: u64, stamp: u64) -> SegmentMeta {
    SegmentMeta {
        number: stamp,
        file_size_bytes: size,
        key_bytes: size,
        entries: size,
        keys: size,
        min_stamp: stamp,
        max_stamp: stamp,
        ..SegmentMeta::default()
    }
}

#[test]
fn a_steady_stream_of_checkpoints_rewrites_each_byte_a_few_times() {
    let options = PlanOptions { small_size_bytes: 1, ..PlanOptions::BUSY };
    let (mut segments, mut written, mut most) = (Vec::new(), 0, 0);
    let rounds = 1_000;
    for round in 1..=rounds {
        segments.push(meta(100, round));
        while let Some(merge) = plan(&segments, 100 * round, round, &options) {
            let inputs: Vec<SegmentMeta> = segments.drain(merge.range.clone()).collect();
            let size = inputs.iter().map(|input| input.file_size_bytes).sum();
            written += size;
            segments.insert(
                merge.range.start,
                SegmentMeta {
                    max_stamp: inputs[inputs.len() - 1].max_stamp,
                    ..meta(size, inputs[0].min_stamp)
                },
            );
        }
        most = most.max(segments.len());
    }
    let times = written as f64 / (100 * rounds) as f64;
    assert!(times < 6.0, "every byte was written {times} times more");
    assert!(most <= 8);
}

#[test]
fn one_segment_is_rewritten_only_for_what_is_surely_dead() {
    let dead = SegmentMeta { entries: 10, keys: 5, ..meta(100, 9) };
    let options = PlanOptions::SETTLED;
    let reason = |plan: Option<MergePlan>| plan.map(|plan| (plan.reason, plan.drop_tombstones));
    assert_eq!(
        reason(plan(std::slice::from_ref(&dead), 50, 9, &options)),
        Some((MergeReason::DeadBytes, true))
    );
    assert_eq!(plan(std::slice::from_ref(&dead), 50, 8, &options), None, "a snapshot may need it");
    assert_eq!(plan(&[meta(100, 9)], 50, 9, &options), None, "nothing would be dropped");
    assert_eq!(plan(&[dead], 90, 9, &options), None, "not worth it");
    assert_eq!(plan(&[], 0, 9, &options), None);
}

#[test]
fn tombstones_stay_if_an_older_version_is_in_a_newer_file() {
    // The second file holds a version with a stamp below the first one's.
    let mut segments: Vec<SegmentMeta> =
        (0..9).map(|n| meta(if n < 2 { 1 } else { 1 << 20 << n }, 10 * (n + 1))).collect();
    let options = PlanOptions { small_size_bytes: 1, fan_out: 100, ..PlanOptions::BUSY };
    let merge = plan(&segments, u64::MAX / 1_000, 1_000, &options).expect("too many");
    assert_eq!((merge.range.clone(), merge.drop_tombstones), (0..2, true));
    segments[4].min_stamp = 15;
    let merge = plan(&segments, u64::MAX / 1_000, 1_000, &options).expect("too many");
    assert_eq!((merge.range, merge.drop_tombstones), (0..2, false));
}

fn two_inputs(disk: &Arc<dyn Disk>) -> Vec<Arc<Segment>> {
    let rows = |stamp: u64, keys: &[&str], value: Option<&str>| -> Vec<Row> {
        let row = |key: &&str| Row {
            key: key.as_bytes().to_vec(),
            stamp,
            value: value.map(|value| value.as_bytes().to_vec()),
            type_tag: 0,
            expires_at_ms: None,
        };
        keys.iter().map(row).collect()
    };
    let old = write(disk, 1, &rows(1, &["a", "b", "c"], Some("old")), 1).expect("no faults");
    let new = write(disk, 2, &rows(2, &["b", "d"], None), 1).expect("no faults");
    open(disk, &[old, new])
}

#[test]
fn a_merge_that_keeps_nothing_leaves_no_file() {
    let (fault, disk) = disk();
    let segments = two_inputs(&disk);
    let writer = SegmentWriter::create(&disk, DATABASE, 3, 5).expect("creates");
    let outcome = run(&mut Merge::new(&segments[1..], 9, true, writer), 1).expect("no faults");
    assert_eq!(outcome.segment, None);
    assert_eq!(outcome.dropped_tombstone_stamp_max, Some(2));
    assert_eq!(fault.files().len(), 2);
}

#[test]
fn a_crash_at_every_call_of_a_merge_keeps_the_inputs_or_the_output() {
    for crash_at in 1.. {
        let fault = FaultDisk::new(crash_at);
        fault.create_dir(DIRECTORY).expect("no faults");
        fault.sync_dir("").expect("no faults");
        let disk: Arc<dyn Disk> = Arc::new(fault.clone());
        let segments = two_inputs(&disk);
        let before: Vec<SegmentMeta> = segments.iter().map(|segment| segment.meta().clone()).collect();
        fault.set_plan(FaultPlan {
            crash_at_change: Some(fault.changes() + crash_at),
            ..FaultPlan::default()
        });
        let merged = SegmentWriter::create(&disk, DATABASE, 3, 5)
            .and_then(|writer| run(&mut Merge::new(&segments, 9, true, writer), 1));
        assert_eq!(merged.is_ok(), !fault.is_dead());
        for seed in 0..20 {
            let image: Arc<dyn Disk> = Arc::new(fault.image(CrashStyle::Random, seed));
            for segment in open(&image, &before) {
                segment.verify().expect("inputs stay until the engine removes them");
            }
            if let Ok(outcome) = &merged {
                let segment = &open(&image, outcome.segment.as_slice())[0];
                let keys: Vec<_> =
                    collect(segment.iter_all()).expect("durable").into_iter().map(|row| row.key).collect();
                assert_eq!(keys, [b"a", b"c"]);
            }
        }
        if merged.is_ok() {
            assert!(crash_at > 3);
            break;
        }
    }
}

#[test]
fn damage_in_an_input_ends_the_merge_and_removes_its_output() {
    let (fault, disk) = disk();
    let segments = two_inputs(&disk);
    assert!(fault.flip(&crate::segment::path(2), 80, 1));
    let writer = SegmentWriter::create(&disk, DATABASE, 3, 5).expect("creates");
    let mut merge = Merge::new(&segments, 9, true, writer);
    assert!(matches!(run(&mut merge, 1), Err(StorageError::Corrupt(_))));
    drop(merge);
    assert_eq!(fault.files().len(), 2);
}

#[test]
fn an_empty_walk_merges() {
    assert!(!MergeIter::new(Vec::new()).advance().expect("nothing to read"));
}
