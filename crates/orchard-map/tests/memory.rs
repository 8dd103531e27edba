//! The published number: what an entry costs over its key and value bytes.
#![cfg(not(any(loom, orchard_plain_alloc)))]

use orchard_map::{Content, MapStats, MapWriter, NewVersion};

/// Published in the crate's documentation.
const OVERHEAD_BYTES_MAX: f64 = 48.0;
const ENTRIES: u64 = 1_000_000;

/// A 24-byte key; a permutation of the numbers decides the order.
fn key(n: u64) -> [u8; 24] {
    let mut key = *b"user:0000000000000000000";
    let mut rest = n;
    for digit in key[5..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

fn scrambled(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn overhead(stats: MapStats) -> f64 {
    assert_eq!((stats.entries, stats.versions), (ENTRIES, ENTRIES));
    assert_eq!((stats.key_bytes, stats.value_bytes), (24 * ENTRIES, 100 * ENTRIES));
    let bytes = stats.held_bytes - stats.key_bytes - stats.value_bytes;
    bytes as f64 / ENTRIES as f64
}

fn put(writer: &mut MapWriter, stamp: u64, key: &[u8]) {
    let content = Content::Value(&[7; 100]);
    writer.upsert(key, NewVersion { stamp, type_tag: 0, expires_at_ms: None, content });
}

#[test]
fn a_million_entries_put_in_random_order_cost_little() {
    let (mut writer, _) = orchard_map::create();
    for n in 0..ENTRIES {
        put(&mut writer, n + 1, &key(scrambled(n)));
    }
    let random = overhead(writer.stats());
    println!("random order: {random:.1} bytes, {:?}", writer.stats());
    assert!(random <= OVERHEAD_BYTES_MAX, "an entry costs {random:.1} bytes");

    // Overwriting everything and pruning gives the memory back, but for the link of each record.
    for n in 0..ENTRIES {
        put(&mut writer, ENTRIES + n + 1, &key(scrambled(n)));
        writer.reclaim(ENTRIES + n + 1, 16);
    }
    while writer.reclaim(2 * ENTRIES, 10_000).freed_bytes > 0 {}
    let overwritten = overhead(writer.stats());
    println!("overwritten: {overwritten:.1} bytes");
    assert!(overwritten <= OVERHEAD_BYTES_MAX + 10.0, "an overwritten entry costs {overwritten:.1} bytes");
}

#[test]
fn a_million_entries_in_key_order_cost_little() {
    let (mut writer, _) = orchard_map::create();
    let mut loader = writer.bulk_loader();
    for n in 0..ENTRIES {
        let content = Content::Value(&[7; 100]);
        loader.push(&key(n), NewVersion { stamp: n, type_tag: 0, expires_at_ms: None, content });
    }
    loader.finish();
    let loaded = overhead(writer.stats());
    println!("bulk loaded: {loaded:.1} bytes");
    assert!(loaded <= OVERHEAD_BYTES_MAX, "an entry costs {loaded:.1} bytes");

    let (mut writer, _) = orchard_map::create();
    for n in 0..ENTRIES {
        put(&mut writer, n + 1, &key(n));
    }
    let ascending = overhead(writer.stats());
    println!("ascending: {ascending:.1} bytes");
    assert!(ascending <= OVERHEAD_BYTES_MAX, "an entry costs {ascending:.1} bytes");
}
