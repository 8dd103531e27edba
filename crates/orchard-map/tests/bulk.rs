//! Runs made on several threads: their memory is the map's, and goes with it.
#![cfg(not(loom))]

use orchard_map::{Content, NewVersion};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KEYS: u64 = 8_000;
const RUNS: u64 = 4;

fn value_len(number: u64) -> usize {
    // One in many has a block of its own.
    if number.is_multiple_of(500) { 40_000 } else { number as usize * 31 % 1_500 }
}

/// Loads in runs, one of which is dropped if the map is to be given up.
fn load(is_given_up: bool) {
    let (mut writer, reader) = orchard_map::create();
    let mut loader = writer.bulk_loader();
    let value = vec![7; 40_000];
    let runs: Vec<_> = std::thread::scope(|scope| {
        let (loader, value) = (&loader, &value);
        let threads: Vec<_> = (0..RUNS)
            .map(|run| {
                scope.spawn(move || {
                    let mut made = loader.run();
                    for number in run * KEYS / RUNS..(run + 1) * KEYS / RUNS {
                        let content = Content::Value(&value[..value_len(number)]);
                        let version = NewVersion { stamp: number, type_tag: 0, expires_at_ms: None, content };
                        made.push(&number.to_be_bytes(), version);
                    }
                    made
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for run in runs.into_iter().skip(usize::from(is_given_up)) {
        loader.append(run);
    }
    if is_given_up {
        drop(loader);
        assert_eq!(writer.stats().entries, 0);
        return;
    }
    loader.finish();
    assert_eq!((writer.stats().entries, writer.stats().live), (KEYS, KEYS));
    // Blocks of all runs are freed as the map's own.
    for number in (0..KEYS).step_by(2) {
        assert_eq!(
            reader.pin().get(&number.to_be_bytes(), u64::MAX).unwrap().value().unwrap().len(),
            value_len(number)
        );
        writer.remove(&number.to_be_bytes(), number);
    }
    while writer.reclaim(u64::MAX, 10_000).freed_bytes > 0 {}
    let left: usize = (0..KEYS).filter(|number| number % 2 == 1).map(value_len).sum();
    assert_eq!(writer.stats().value_bytes, left as u64);
}

#[test]
fn the_memory_of_runs_goes_with_the_map() {
    load(false);
    load(true);
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    for round in 0..10 {
        load(round % 2 == 0);
    }
    // What the runtime keeps for a thread may come and go.
    let after = LIVE_BYTES.load(Ordering::Relaxed);
    assert!(after < before + (64 << 10), "{} bytes more", after - before);
}
