//! Every interleaving of small cases, by loom:
//! `RUSTFLAGS="--cfg loom" cargo test -p orchard-map --release --test loom`.
//!
//! Under loom the map has two partitions, lines of two slots, leaves of two keys and two reader
//! slots, frees at once what it may, and overwrites what it frees: a reader that still looks at it
//! fails the test. Loom runs plain reads and writes in program order; records tell it of theirs (`sync::Access`), so that
//! it fails, too, where an ordering is missing between them.
#![cfg(loom)]

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use orchard_map::{Content, HashPosition, MapReader, MapWriter, NewVersion};

fn put(writer: &mut MapWriter, key: &[u8], stamp: u64) {
    let value = [stamp as u8; 8];
    let content = Content::Value(&value);
    writer.upsert(key, NewVersion { stamp, type_tag: 0, expires_at_ms: None, content });
}

fn model(preemptions: usize, case: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(case);
}

fn get(reader: &MapReader, visible: &AtomicU64, key: &[u8]) -> (u64, Option<u64>) {
    let guard = reader.pin();
    let at = visible.load(Ordering::Acquire);
    let found = guard.get(key, at).map(|version| {
        let stamp = version.stamp();
        assert!(stamp <= at);
        assert_eq!(version.value(), Some(&[stamp as u8; 8][..]));
        stamp
    });
    (at, found)
}

fn scan(reader: &MapReader, visible: &AtomicU64) -> (u64, Vec<(Vec<u8>, u64)>) {
    let guard = reader.pin();
    let at = visible.load(Ordering::Acquire);
    let mut found = Vec::new();
    guard.scan(Bound::Unbounded, Bound::Unbounded, false, at, |version| {
        assert_eq!(version.value(), Some(&[version.stamp() as u8; 8][..]));
        found.push((version.key().to_vec(), version.stamp()));
        ControlFlow::Continue(())
    });
    (at, found)
}

#[test]
fn an_overwritten_version_stays_for_whoever_is_pinned() {
    model(3, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"k", 1);
        let visible = Arc::new(AtomicU64::new(1));
        let other = {
            let visible = visible.clone();
            thread::spawn(move || {
                let (at, found) = get(&reader, &visible, b"k");
                assert_eq!(found, Some(at));
            })
        };
        put(&mut writer, b"k", 2);
        visible.store(2, Ordering::Release);
        writer.reclaim(2, 10);
        writer.reclaim(2, 10);
        other.join().unwrap();
        writer.reclaim(2, 10);
        assert_eq!((writer.stats().versions, writer.stats().retired_bytes), (1, 0));
    });
}

#[test]
fn two_readers_share_the_slots() {
    model(3, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"k", 1);
        let visible = Arc::new(AtomicU64::new(1));
        let readers = [(); 2].map(|()| {
            let (reader, visible) = (reader.clone(), visible.clone());
            thread::spawn(move || {
                let (at, found) = get(&reader, &visible, b"k");
                assert_eq!(found, Some(at));
            })
        });
        put(&mut writer, b"k", 2);
        visible.store(2, Ordering::Release);
        writer.reclaim(2, 10);
        for reader in readers {
            reader.join().unwrap();
        }
    });
}

#[test]
fn leaves_are_swapped_and_split_under_a_scan() {
    model(3, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"b", 1);
        put(&mut writer, b"d", 2);
        let visible = Arc::new(AtomicU64::new(2));
        let other = {
            let visible = visible.clone();
            thread::spawn(move || {
                let (at, found) = scan(&reader, &visible);
                let mut expected = vec![(b"b".to_vec(), 1), (b"d".to_vec(), 2)];
                if at >= 3 {
                    expected.insert(1, (b"c".to_vec(), 3));
                }
                if at >= 4 {
                    expected[0].1 = 4;
                }
                assert_eq!(found, expected, "at {at}");
            })
        };
        put(&mut writer, b"c", 3);
        visible.store(3, Ordering::Release);
        put(&mut writer, b"b", 4);
        visible.store(4, Ordering::Release);
        writer.reclaim(4, 10);
        other.join().unwrap();
    });
}

#[test]
fn a_key_stays_found_while_its_table_grows_and_loses_others() {
    model(3, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"stays", 1);
        put(&mut writer, b"goes", 2);
        let visible = Arc::new(AtomicU64::new(2));
        let other = {
            let visible = visible.clone();
            thread::spawn(move || {
                assert_eq!(get(&reader, &visible, b"stays").1, Some(1));
                let guard = reader.pin();
                let (mut position, mut seen) = (HashPosition::default(), 0);
                while guard.scan_hash(&mut position, 1, 2, |version| {
                    seen += u64::from(version.key() == b"stays");
                }) {}
                assert_eq!(seen, 1);
            })
        };
        for (place, key) in [b"new0", b"new1", b"new2"].into_iter().enumerate() {
            put(&mut writer, key, 3 + place as u64);
        }
        assert!(writer.remove(b"goes", 2));
        writer.reclaim(5, 10);
        other.join().unwrap();
    });
}

#[test]
fn a_rolled_back_version_was_never_visible() {
    model(3, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"k", 1);
        let visible = Arc::new(AtomicU64::new(1));
        let other = {
            let visible = visible.clone();
            thread::spawn(move || {
                assert_eq!(get(&reader, &visible, b"k").1, Some(1));
                assert_eq!(scan(&reader, &visible).1, [(b"k".to_vec(), 1)]);
            })
        };
        put(&mut writer, b"k", 2);
        writer.rollback(b"k", 1);
        writer.reclaim(1, 10);
        other.join().unwrap();
    });
}

#[test]
fn a_hint_holds_or_is_not_followed() {
    model(2, || {
        let (mut writer, reader) = orchard_map::create();
        put(&mut writer, b"b", 1);
        put(&mut writer, b"d", 2);
        let writer = Arc::new(Mutex::new((writer, 2)));
        let other = {
            let (writer, reader) = (writer.clone(), reader.clone());
            thread::spawn(move || {
                let hint = reader.hint(b"b");
                let (writer, stamp) = &mut *writer.lock().unwrap();
                *stamp += 1;
                let value = [*stamp as u8; 8];
                let content = Content::Value(&value);
                let new = NewVersion { stamp: *stamp, type_tag: 0, expires_at_ms: None, content };
                assert!(writer.upsert_hinted(hint, |_| Some(new)));
                *stamp
            })
        };
        let last_of_b = {
            // The leaf is split, the table grows, and the record that was seen is not the newest any more; some of it is freed.
            let (writer, stamp) = &mut *writer.lock().unwrap();
            put(writer, b"c", *stamp + 1);
            put(writer, b"b", *stamp + 2);
            *stamp += 2;
            writer.reclaim(*stamp, 10);
            *stamp
        };
        let hinted = other.join().unwrap();
        let visible = AtomicU64::new(u64::MAX);
        let (_, found) = scan(&reader, &visible);
        let keys: Vec<_> = found.iter().map(|(key, _)| key.as_slice()).collect();
        assert_eq!(keys, [b"b", b"c", b"d"]);
        assert_eq!(found.first().map(|(_, stamp)| *stamp), Some(hinted.max(last_of_b)));
        assert_eq!(get(&reader, &visible, b"b").1, Some(hinted.max(last_of_b)));
    });
}
