//! Numbers for the threads that read: each running thread has one of its own, as long as there are enough.
//!
//! - A number belongs to one running thread at a time; it is given back when the thread ends.
//! - A thread gets one only where pins need no fence (see `fences`).
//! - A thread that ends may have left a guard behind, so whoever gets its number next may find the slot taken.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::fences::pins_need_no_fence;

/// Numbers there are.
pub(crate) const THREADS_MAX: usize = 128;
const WORD_BITS: usize = u64::BITS as usize;

/// What stands for a number: not asked for one yet.
const UNKNOWN: usize = usize::MAX;
/// There was none to get, or the thread is ending.
const NONE: usize = usize::MAX - 1;

static TAKEN: [AtomicU64; THREADS_MAX / WORD_BITS] = [const { AtomicU64::new(0) }; THREADS_MAX / WORD_BITS];
static EVER_TAKEN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Needs no destructor, so that it can be read until the thread's very end, and without a look at whether it is
    /// there.
    static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    static HELD: Held = const { Held(Cell::new(NONE)) };
}

/// Gives the number back at the end of the thread.
struct Held(Cell<usize>);

impl Drop for Held {
    fn drop(&mut self) {
        NUMBER.set(NONE);
        let number = self.0.get();
        if let Some(word) = TAKEN.get(number / WORD_BITS) {
            word.fetch_and(!(1 << (number % WORD_BITS)), Ordering::Release);
        }
    }
}

/// The calling thread's number; at or above [`THREADS_MAX`] if it has none (yet).
#[inline(always)]
pub(crate) fn number() -> usize {
    NUMBER.get()
}

/// Gets the calling thread a number, if it never asked for one; whether it has one now that it had not before.
#[cold]
pub(crate) fn ask_for_number() -> bool {
    if NUMBER.get() != UNKNOWN {
        return false;
    }
    NUMBER.set(NONE);
    if !pins_need_no_fence() {
        return false;
    }
    // Fails only while the thread ends; then it goes without.
    let number = HELD.try_with(|held| take().inspect(|&number| held.0.set(number)));
    if let Ok(Some(number)) = number {
        NUMBER.set(number);
    }
    NUMBER.get() != NONE
}

fn take() -> Option<usize> {
    for (place, word) in TAKEN.iter().enumerate() {
        let mut taken = word.load(Ordering::Relaxed);
        while taken != u64::MAX {
            let bit = taken.trailing_ones() as usize;
            match word.compare_exchange_weak(taken, taken | 1 << bit, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => {
                    let number = place * WORD_BITS + bit;
                    // Before the thread's first pin: a scan that misses the pin by reading an old value comes
                    // before this pin.
                    EVER_TAKEN.fetch_max(number + 1, Ordering::SeqCst);
                    return Some(number);
                }
                Err(now) => taken = now,
            }
        }
    }
    None
}

/// Numbers from here on were never given out.
pub(crate) fn ever_taken() -> usize {
    EVER_TAKEN.load(Ordering::SeqCst)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier};
    use std::thread;

    #[test]
    fn running_threads_have_numbers_of_their_own_and_give_them_back() {
        for _ in 0..3 {
            let barrier = Arc::new(Barrier::new(THREADS_MAX + 20));
            let threads: Vec<_> = (0..THREADS_MAX + 20)
                .map(|_| {
                    let barrier = barrier.clone();
                    thread::spawn(move || {
                        ask_for_number();
                        barrier.wait();
                        number()
                    })
                })
                .collect();
            let mut numbers: Vec<usize> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            numbers.retain(|&number| number < THREADS_MAX);
            numbers.sort_unstable();
            let count = numbers.len();
            numbers.dedup();
            assert_eq!(numbers.len(), count, "two threads had the same number");
            if pins_need_no_fence() {
                // Other tests' threads may have a few; those of the round before have given theirs back.
                assert!(count >= THREADS_MAX / 2, "only {count} threads got a number");
            }
        }
    }
}
