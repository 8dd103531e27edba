use super::block::{self, BlockBuilder};
use super::footer::{FOOTER_SIZE_BYTES, Footer};
use super::index::Index;
use super::*;
use crate::format::{DatabaseId, HEADER_SIZE_BYTES, checksum, read_u64};
use orchard_env::Disk;
use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

pub(crate) const DATABASE: DatabaseId = DatabaseId([0xda; 16]);

/// A version as a test writes it down.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row {
    pub key: Vec<u8>,
    pub stamp: u64,
    pub value: Option<Vec<u8>>,
    pub type_tag: u8,
    pub expires_at_ms: Option<u64>,
}

impl Row {
    pub fn entry(&self) -> SegmentEntry<'_> {
        SegmentEntry {
            key: &self.key,
            stamp: self.stamp,
            kind: if self.value.is_some() { EntryKind::Value } else { EntryKind::Tombstone },
            type_tag: if self.value.is_some() { self.type_tag } else { 0 },
            expires_at_ms: self.expires_at_ms,
            value: self.value.as_deref().unwrap_or_default(),
        }
    }

    pub fn from_entry(entry: &SegmentEntry<'_>) -> Row {
        Row {
            key: entry.key.to_vec(),
            stamp: entry.stamp,
            value: (entry.kind == EntryKind::Value).then(|| entry.value.to_vec()),
            type_tag: entry.type_tag,
            expires_at_ms: entry.expires_at_ms,
        }
    }
}

/// Puts rows into segment order and keeps one of each (key, stamp).
pub(crate) fn ordered(rows: Vec<Row>) -> Vec<Row> {
    let by_place: BTreeMap<_, _> =
        rows.into_iter().map(|row| ((row.key.clone(), std::cmp::Reverse(row.stamp)), row)).collect();
    let mut rows: Vec<Row> = by_place.into_values().collect();
    for row in &mut rows {
        if row.value.is_none() {
            row.type_tag = 0;
        }
    }
    rows
}

pub(crate) fn keys() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(0xff)], 0..5),
        2 => prop::collection::vec(prop_oneof![Just(b'a'), Just(b'b')], 0..12),
        1 => (prop::collection::vec(any::<u8>(), 0..3), 100_usize..1_500).prop_map(|(tail, length)| {
            let mut key = vec![b'k'; length];
            key.extend(tail);
            key
        }),
    ]
}

pub(crate) fn rows_of(stamps: std::ops::Range<u64>, count: usize) -> impl Strategy<Value = Vec<Row>> {
    let value = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (any::<u8>(), 300_usize..9_000).prop_map(|(byte, length)| vec![byte; length]),
    ];
    let row = (
        keys(),
        stamps,
        prop::option::weighted(0.8, value),
        0_u8..14,
        prop::option::weighted(0.2, any::<u64>()),
    );
    prop::collection::vec(row, 0..count).prop_map(|rows| {
        ordered(
            rows.into_iter()
                .map(|(key, stamp, value, type_tag, expires_at_ms)| Row {
                    key,
                    stamp,
                    value,
                    type_tag,
                    expires_at_ms,
                })
                .collect(),
        )
    })
}

/// Stamps as groups of one commit, as groups of many, and at the ends of what fits.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop_oneof![
        rows_of(1..200, 120),
        rows_of((5 << 16)..(9 << 16), 120),
        rows_of(0..u64::MAX, 60),
        (0_u64..100, rows_of(1..100, 200)).prop_map(|(shift, mut rows)| {
            // Few keys with long chains.
            for row in &mut rows {
                row.key.truncate(1);
                row.stamp = (row.stamp + shift) << 16;
            }
            ordered(rows)
        }),
    ]
}

pub(crate) fn disk() -> (FaultDisk, Arc<dyn Disk>) {
    let disk = FaultDisk::new(1);
    disk.create_dir(DIRECTORY).expect("no faults");
    (disk.clone(), Arc::new(disk))
}

pub(crate) fn write(
    disk: &Arc<dyn Disk>,
    number: u64,
    rows: &[Row],
    block_size: usize,
) -> Result<SegmentMeta, StorageError> {
    let mut writer =
        SegmentWriter::create(disk, DATABASE, number, rows.len() as u64)?.with_block_size(block_size);
    for row in rows {
        writer.push(&row.entry())?;
    }
    writer.finish()
}

pub(crate) fn collect(mut iter: SegmentIter) -> Result<Vec<Row>, StorageError> {
    let mut rows = Vec::new();
    while let Some(entry) = iter.next()? {
        rows.push(Row::from_entry(&entry));
    }
    assert!(!iter.advance()?, "a walk that has ended stays there");
    Ok(rows)
}

/// What a walk should give.
fn expected(rows: &[Row], lower: Bound<&[u8]>, upper: Bound<&[u8]>, options: ScanOptions) -> Vec<Row> {
    use std::ops::RangeBounds;
    let bounds: (Bound<&[u8]>, Bound<&[u8]>) = (lower, upper);
    let mut wanted: Vec<Row> = rows
        .iter()
        .filter(|row| RangeBounds::<&[u8]>::contains(&bounds, &row.key.as_slice()))
        .filter(|row| options.newer_than.is_none_or(|stamp| row.stamp > stamp))
        .cloned()
        .collect();
    if options.reverse {
        wanted.sort_by(|a, b| b.key.cmp(&a.key).then(b.stamp.cmp(&a.stamp)));
    }
    wanted
}

fn bound(kind: u8, key: &[u8]) -> Bound<&[u8]> {
    match kind % 3 {
        0 => Bound::Included(key),
        1 => Bound::Excluded(key),
        _ => Bound::Unbounded,
    }
}

fn unit_start(bytes: &[u8], segment: &Segment, position: u64) -> u64 {
    let footer = (bytes.len() - FOOTER_SIZE_BYTES) as u64;
    let number = |at: usize| read_u64(&bytes[footer as usize + 8 + 8 * at..]).expect("in the footer");
    let blocks = segment.index().blocks().iter().map(|block| block.offset_bytes);
    let starts = blocks.chain([0, number(2), number(5), footer]);
    starts.filter(|start| *start <= position).max().expect("0 is a start")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_segment_answers_like_the_list_it_was_written_from(
        rows in rows(),
        block_size in prop_oneof![Just(1_usize), Just(64), Just(400), Just(16 * 1024)],
        probes in prop::collection::vec((keys(), keys(), 0_u8..9, any::<prop::sample::Index>(), any::<bool>()), 12),
        short_reads in prop::bool::weighted(0.1),
    ) {
        let (fault, disk) = disk();
        if short_reads {
            fault.set_plan(FaultPlan { short_read_per_million: 300_000, ..FaultPlan::default() });
        }
        let meta = write(&disk, 3, &rows, block_size).expect("no faults");
        prop_assert_eq!(meta.entries, rows.len() as u64);
        prop_assert_eq!(fault.read_file(&path(3)).map(|bytes| bytes.len() as u64), Some(meta.file_size_bytes));
        let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
        segment.verify().expect("verifies");
        prop_assert_eq!(collect(segment.iter_all()).expect("reads"), rows.clone());
        let ends = segment.key_bounds().map(|(first, last)| (first.to_vec(), last.to_vec()));
        prop_assert_eq!(ends, rows.first().map(|first| (first.key.clone(), rows.last().expect("same").key.clone())));

        for (a, b, kinds, pick, reverse) in &probes {
            // Bounds and keys that are there as well as foreign ones.
            let known = if rows.is_empty() { None } else { Some(pick.get(&rows)) };
            let stamp = known.map_or(50, |row| row.stamp);
            for key in [Some(a), known.map(|row| &row.key)].into_iter().flatten() {
                for at in [stamp, stamp.saturating_sub(1), 0, u64::MAX] {
                    let found = segment.get(key, at).expect("reads");
                    let wanted = rows.iter().find(|row| row.key == *key && row.stamp <= at);
                    prop_assert_eq!(found, wanted.map(|row| row.entry().to_version()));
                }
                for newer_than in [None, Some(stamp)] {
                    let options = ScanOptions { reverse: *reverse, newer_than };
                    let (lower, upper) = (bound(*kinds, key), bound(kinds / 3, b));
                    let found = collect(segment.iter(lower, upper, options)).expect("reads");
                    prop_assert_eq!(found, expected(&rows, lower, upper, options));
                    let (lower, upper) = (bound(*kinds, b), bound(kinds / 3, key));
                    let found = collect(segment.iter(lower, upper, options)).expect("reads");
                    prop_assert_eq!(found, expected(&rows, lower, upper, options));
                }
            }
        }
        for row in &rows {
            prop_assert!(segment.may_contain(&row.key));
        }
    }

    #[test]
    fn walks_over_several_segments_come_in_one_order(
        lists in prop::collection::vec(rows_of(0..(3 << 16), 60), 0..5),
        block_size in prop_oneof![Just(1_usize), Just(300)],
        reverse in any::<bool>(),
        parts in 1_usize..6,
    ) {
        let (_, disk) = disk();
        let mut segments = Vec::new();
        let mut all = Vec::new();
        for (position, mut rows) in lists.into_iter().enumerate() {
            for row in &mut rows {
                row.stamp += (position as u64) << 20;
            }
            let meta = write(&disk, position as u64, &rows, block_size).expect("no faults");
            segments.push(Segment::open(&disk, DATABASE, &meta).expect("opens"));
            all.extend(rows);
        }
        let all = ordered(all);
        let options = ScanOptions { reverse, newer_than: None };
        let merged = |lower: Bound<&[u8]>, upper: Bound<&[u8]>| {
            let inputs = segments.iter().map(|segment| segment.iter(lower, upper, options)).collect();
            let mut iter = MergeIter::new(inputs);
            let mut rows = Vec::new();
            while let Some(entry) = iter.next().expect("reads") {
                rows.push(Row::from_entry(&entry));
            }
            rows
        };
        let found = merged(Bound::Unbounded, Bound::Unbounded);
        prop_assert_eq!(&found, &expected(&all, Bound::Unbounded, Bound::Unbounded, options));

        let keys = split_keys(&segments, parts);
        prop_assert!(keys.len() < parts);
        let mut pieces = Vec::new();
        for part in 0..=keys.len() {
            let lower = part.checked_sub(1).map_or(Bound::Unbounded, |before| Bound::Included(keys[before].as_slice()));
            let upper = keys.get(part).map_or(Bound::Unbounded, |key| Bound::Excluded(key.as_slice()));
            pieces.push(merged(lower, upper));
        }
        if reverse {
            pieces.reverse();
        }
        prop_assert_eq!(pieces.concat(), found);
    }

    #[test]
    fn decoders_take_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300), blocks in 0_u64..5) {
        let _ = block::decode(&bytes);
        let mut with_head = vec![0; 4];
        with_head.extend(&bytes);
        let _ = block::decode(&with_head);
        let _ = Index::decode(&bytes, blocks, 0, 10_000);
        let _ = Footer::decode(&bytes, DATABASE, &SegmentMeta::default());
    }

    #[test]
    fn a_changed_block_never_panics(
        rows in rows_of(0..500, 30),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut builder = BlockBuilder::default();
        for row in &rows {
            if builder.fits(&row.entry()) {
                builder.push(&row.entry());
            }
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        let _ = block::decode(&bytes);
    }
}

fn small_rows() -> Vec<Row> {
    let row = |key: &str, stamp: u64, value: Option<&str>, expires_at_ms| Row {
        key: key.into(),
        stamp,
        value: value.map(|value| value.into()),
        type_tag: u8::from(value.is_some()),
        expires_at_ms,
    };
    ordered(vec![
        row("apple", 3 << 16, Some("red"), None),
        row("apple", 2 << 16 | 7, None, None),
        row("apple", 1 << 16, Some("green"), Some(1_700_000_000_000)),
        row("apricot", 2 << 16, Some("orange"), None),
        row("banana", 4 << 16, Some("yellow"), Some(1_800_000_000_000)),
        row("cherry", 4 << 16 | 1, None, None),
    ])
}

#[test]
fn every_flipped_byte_is_found() {
    let (fault, disk) = disk();
    let meta = write(&disk, 7, &small_rows(), 40).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    assert!(segment.index().blocks().len() >= 3);
    let bytes = fault.read_file(&path(7)).expect("there");
    for position in 0..meta.file_size_bytes {
        for mask in [1, 0x80, 0xff] {
            assert!(fault.flip(&path(7), position, mask));
            let error = match Segment::open(&disk, DATABASE, &meta) {
                Err(error) => error,
                Ok(segment) => collect(segment.iter_all()).expect_err("found while walking"),
            };
            match &error {
                StorageError::Corrupt(corruption) => {
                    assert_eq!(corruption.file, path(7));
                    let start = unit_start(&bytes, &segment, position);
                    assert_eq!(corruption.offset_bytes, start, "byte {position}: {corruption}");
                }
                other => panic!("byte {position}: {other}"),
            }
            assert!(segment.verify().is_err(), "byte {position}");
            // The open segment answers rightly or not at all.
            for row in small_rows() {
                match segment.get(&row.key, row.stamp) {
                    Ok(found) => assert_eq!(found, Some(row.entry().to_version())),
                    Err(StorageError::Corrupt(_)) => {}
                    Err(other) => panic!("byte {position}: {other}"),
                }
            }
            assert!(fault.flip(&path(7), position, mask));
        }
    }
    segment.verify().expect("all is well again");
}

#[test]
fn a_file_of_another_length_place_or_database_is_refused() {
    let (fault, disk) = disk();
    let meta = write(&disk, 7, &small_rows(), 40).expect("no faults");
    let bytes = fault.read_file(&path(7)).expect("there");
    let refused = |meta: &SegmentMeta, database| match Segment::open(&disk, database, meta) {
        Err(StorageError::Corrupt(corruption)) => assert_eq!(corruption.file, path(meta.number)),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    };
    for length in 0..bytes.len() {
        fault.write_file(&path(7), &bytes[..length]);
        refused(&meta, DATABASE);
    }
    fault.write_file(&path(7), &[bytes.as_slice(), &[0]].concat());
    refused(&meta, DATABASE);
    fault.write_file(&path(7), &bytes);
    Segment::open(&disk, DATABASE, &meta).expect("whole again");
    refused(&meta, DatabaseId([1; 16]));
    fault.write_file(&path(8), &bytes);
    refused(&SegmentMeta { number: 8, ..meta.clone() }, DATABASE);
    refused(&SegmentMeta { number: 9, ..meta.clone() }, DATABASE);
    refused(&SegmentMeta { footer_checksum: 0, ..meta.clone() }, DATABASE);
    refused(&SegmentMeta { entries: 1, ..meta }, DATABASE);
}

#[test]
fn a_truncation_under_an_open_segment_is_an_error() {
    let (fault, disk) = disk();
    let meta = write(&disk, 7, &small_rows(), 40).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    let bytes = fault.read_file(&path(7)).expect("there");
    fault.write_file(&path(7), &bytes[..HEADER_SIZE_BYTES + 10]);
    assert!(matches!(segment.get(b"banana", u64::MAX), Err(StorageError::Corrupt(_))));
    assert!(matches!(collect(segment.iter_all()), Err(StorageError::Corrupt(_))));
}

/// Changes one byte of the first block and seals it again, as a newer version might write it.
fn with_first_block_changed(change: impl FnOnce(&mut [u8])) -> StorageError {
    let (fault, disk) = disk();
    let meta = write(&disk, 7, &small_rows(), 4_000).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    let mut bytes = fault.read_file(&path(7)).expect("there");
    let end = segment.index().blocks()[0].end_bytes() as usize;
    change(&mut bytes[HEADER_SIZE_BYTES..end - 8]);
    let sum = checksum(DATABASE, 7, HEADER_SIZE_BYTES as u64, &bytes[HEADER_SIZE_BYTES..end - 8]);
    bytes[end - 8..end].copy_from_slice(&sum.to_le_bytes());
    fault.write_file(&path(7), &bytes);
    let by_walk = collect(segment.iter_all()).expect_err("unknown");
    let backward = ScanOptions { reverse: true, newer_than: None };
    for error in [
        collect(segment.iter(Bound::Unbounded, Bound::Unbounded, backward)).expect_err("unknown"),
        segment.get(b"apple", u64::MAX).expect_err("unknown"),
        segment.verify().expect_err("unknown"),
    ] {
        assert_eq!(error.to_string(), by_walk.to_string());
    }
    by_walk
}

#[test]
fn what_only_a_newer_version_knows_is_named() {
    let first_entry = block::HEADER_SIZE_BYTES;
    for (place, byte, named) in [
        (0, 1, "codec 1"),
        (1, 1, "flags 0x1"),
        (2, 1, "key id 1"),
        (first_entry, 2, "packed collection"),
        (first_entry, 3, "blob reference"),
        (first_entry, 5, "range tombstone"),
        (first_entry, 6, "collection header"),
        (first_entry, 7, "entry kind 7"),
        (first_entry, 0x21, "entry flags 0x21"),
    ] {
        match with_first_block_changed(|block| block[place] = byte) {
            StorageError::NewerFormat { file, detail } => {
                assert_eq!(file, path(7));
                assert!(detail.contains(named), "{detail}");
            }
            other => panic!("{named}: {other}"),
        }
    }
}

#[test]
fn a_block_that_the_index_does_not_describe_is_refused() {
    let error = with_first_block_changed(|block| block[20..28].copy_from_slice(&u64::MAX.to_le_bytes()));
    assert!(matches!(error, StorageError::Corrupt(_)), "{error}");
}

#[test]
fn a_large_value_stands_alone_and_reads_back() {
    let (_, disk) = disk();
    let large = |byte: u8| Some(vec![byte; 3 * 1024 * 1024 + usize::from(byte)]);
    let rows = ordered(
        [(b"a", None), (b"b", large(1)), (b"c", Some(vec![1])), (b"d", large(2)), (b"e", Some(vec![]))]
            .into_iter()
            .map(|(key, value)| Row { key: key.to_vec(), stamp: 9, value, type_tag: 0, expires_at_ms: None })
            .collect(),
    );
    let meta = write(&disk, 1, &rows, 16 * 1024).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    assert_eq!(segment.index().blocks().len(), 5);
    for row in &rows {
        assert_eq!(segment.get(&row.key, 9).expect("reads"), Some(row.entry().to_version()));
    }
    assert_eq!(collect(segment.iter_all()).expect("reads"), rows);
    let backward = ScanOptions { reverse: true, newer_than: None };
    let mut reversed = collect(segment.iter(Bound::Unbounded, Bound::Unbounded, backward)).expect("reads");
    reversed.reverse();
    assert_eq!(reversed, rows);
}

#[test]
fn blocks_without_a_newer_version_are_not_read() {
    let (fault, disk) = disk();
    let rows: Vec<Row> = (0..100_u64)
        .map(|number| Row {
            key: format!("{number:03}").into_bytes(),
            stamp: if number == 50 { 2 << 16 } else { 1 << 16 },
            value: Some(vec![0; 100]),
            type_tag: 0,
            expires_at_ms: None,
        })
        .collect();
    let meta = write(&disk, 1, &rows, 100).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    for reverse in [false, true] {
        let before = fault.calls();
        let options = ScanOptions { reverse, newer_than: Some(1 << 16) };
        let found = collect(segment.iter(Bound::Unbounded, Bound::Unbounded, options)).expect("reads");
        assert_eq!(found, [rows[50].clone()]);
        assert_eq!(fault.calls() - before, 1);
    }
}

#[test]
fn a_point_read_costs_one_read_and_an_absent_key_mostly_none() {
    let (fault, disk) = disk();
    let row = |number: u32| Row {
        key: format!("key {number:05}").into_bytes(),
        stamp: 1 << 16,
        value: Some(vec![7; 50]),
        type_tag: 0,
        expires_at_ms: None,
    };
    let rows: Vec<Row> = (0..10_000).map(row).collect();
    let meta = write(&disk, 1, &rows, 4_096).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    let before = fault.calls();
    for row in rows.iter().step_by(10) {
        assert!(segment.get(&row.key, u64::MAX).expect("reads").is_some());
    }
    assert_eq!(fault.calls() - before, 1_000);
    let before = fault.calls();
    for number in 10_000..11_000 {
        assert!(segment.get(&row(number).key, u64::MAX).expect("reads").is_none());
    }
    assert!(fault.calls() - before < 40, "{} reads for 1,000 absent keys", fault.calls() - before);
}

#[test]
fn an_obsolete_segment_is_read_on() {
    let (fault, disk) = disk();
    let meta = write(&disk, 1, &small_rows(), 40).expect("no faults");
    let segment = Segment::open(&disk, DATABASE, &meta).expect("opens");
    let mut iter = segment.iter_all();
    assert!(iter.advance().expect("reads"));
    segment.mark_obsolete().expect("removes");
    segment.mark_obsolete().expect("again is fine");
    assert!(fault.read_file(&path(1)).is_none());
    assert!(segment.get(b"banana", u64::MAX).expect("reads").is_some());
    assert_eq!(1 + collect(iter).expect("reads").len(), small_rows().len());
}

/// What `finish` promised survives; what it did not finish leaves no trace that anyone would read.
#[test]
fn a_crash_at_every_call_keeps_what_was_finished() {
    let rows = small_rows();
    let workload = |disk: &Arc<dyn Disk>| -> Result<SegmentMeta, StorageError> {
        disk.create_dir(DIRECTORY).map_err(StorageError::io(DIRECTORY))?;
        disk.sync_dir("").map_err(StorageError::io(""))?;
        write(disk, 1, &rows, 40)
    };
    for crash_at in 1.. {
        let fault = FaultDisk::new(crash_at);
        fault.set_plan(FaultPlan { crash_at_change: Some(crash_at), ..FaultPlan::default() });
        let finished = workload(&(Arc::new(fault.clone()) as Arc<dyn Disk>));
        let whole = !fault.is_dead();
        assert_eq!(finished.is_ok(), whole, "call {crash_at}");
        if let Ok(meta) = finished {
            for seed in 0..20 {
                let image: Arc<dyn Disk> = Arc::new(fault.image(CrashStyle::LoseAll, seed));
                let segment = Segment::open(&image, DATABASE, &meta).expect("durable");
                segment.verify().expect("durable");
            }
            assert!(crash_at > 4, "the workload has more calls than that");
            break;
        }
    }
}

#[test]
fn a_failed_write_is_an_error_and_the_file_goes() {
    let rows = small_rows();
    for fail_at in 1.. {
        let (fault, disk) = disk();
        let plan = |failure| FaultPlan {
            fail_call: Some((fault.calls() + fail_at, failure)),
            ..FaultPlan::default()
        };
        fault.set_plan(plan(orchard_env::fault::Failure::Full));
        let calls = fault.calls();
        match write(&disk, 1, &rows, 40) {
            Ok(meta) => {
                assert!(fault.calls() - calls < fail_at);
                fault.set_plan(FaultPlan::default());
                Segment::open(&disk, DATABASE, &meta).expect("opens").verify().expect("whole");
                assert!(fail_at > 3);
                break;
            }
            Err(StorageError::Io { .. }) => assert_eq!(fault.read_file(&path(1)), None),
            Err(other) => panic!("call {fail_at}: {other}"),
        }
    }
}

#[test]
fn dropping_or_abandoning_a_writer_removes_the_file() {
    let (fault, disk) = disk();
    let mut writer = SegmentWriter::create(&disk, DATABASE, 1, 1).expect("creates");
    assert!(fault.read_file(&path(1)).is_some());
    assert!(SegmentWriter::create(&disk, DATABASE, 1, 1).is_err(), "no file is overwritten");
    assert!(fault.read_file(&path(1)).is_some());
    writer.push(&small_rows()[0].entry()).expect("no faults");
    drop(writer);
    assert!(fault.files().is_empty());
    SegmentWriter::create(&disk, DATABASE, 1, 1).expect("creates").abandon().expect("removes");
    assert!(fault.files().is_empty());
}

#[test]
#[should_panic(expected = "out of order")]
fn a_key_out_of_order_stops_the_writer() {
    let (_, disk) = disk();
    let mut rows = small_rows();
    rows.reverse();
    let _ = write(&disk, 1, &rows, 40);
}

#[test]
#[should_panic(expected = "out of order")]
fn a_version_twice_stops_the_writer() {
    let (_, disk) = disk();
    let row = small_rows()[0].clone();
    let _ = write(&disk, 1, &[row.clone(), row], 40);
}

#[test]
fn file_names_are_taken_back_exactly() {
    assert_eq!(path(12), "segments/00000012.seg");
    for number in [0, 12, 99_999_999, 100_000_000, u64::MAX] {
        assert_eq!(parse_file_name(&file_name(number)), Some(number));
    }
    for name in ["12.seg", "+0000012.seg", "00000012", "00000012.seg.new", "x0000012.seg", ".seg"] {
        assert_eq!(parse_file_name(name), None, "{name}");
    }
}

/// The bytes of format version 1 never change, and this file of it is read for ever.
#[test]
fn the_golden_file_is_read_and_written_as_ever() {
    let golden = include_bytes!("golden/v1.seg");
    let (fault, disk) = disk();
    let meta = write(&disk, 7, &small_rows(), 40).expect("no faults");
    assert_eq!(fault.read_file(&path(7)).as_deref(), Some(golden.as_slice()));
    let known = SegmentMeta {
        number: 7,
        file_size_bytes: golden.len() as u64,
        entries: 6,
        tombstones: 2,
        keys: 4,
        key_bytes: 34,
        value_bytes: 20,
        min_stamp: 1 << 16,
        max_stamp: 4 << 16 | 1,
        expiring: 2,
        min_expires_at_ms: 1_700_000_000_000,
        max_expires_at_ms: 1_800_000_000_000,
        footer_checksum: read_u64(&golden[golden.len() - 8..]).expect("8 bytes"),
    };
    assert_eq!(meta, known);
    fault.write_file(&path(7), golden);
    assert_eq!(
        collect(Segment::open(&disk, DATABASE, &known).expect("opens").iter_all()).expect("reads"),
        small_rows()
    );
}
