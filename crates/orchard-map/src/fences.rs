//! Fences of which the writer pays both halves.
//!
//! A pin is a store (of the epoch) that has to be seen before what the reader loads next. On every processor that takes a
//! full fence, a third of a short look-up's own work. Where the kernel can make every running thread of this process pass
//! a fence (`membarrier` on Linux), the writer asks for that when it looks at the pins, and a pin needs none: either its
//! store came before the thread's fence, and the writer sees it, or what the reader loads comes after the fence, and the
//! reader sees what the writer had unlinked.
//!
//! Whether it is so is decided once for the process, before the first reader gets a slot of its own. Elsewhere, and under
//! loom and Miri, every pin has its own fence.
//!
//! That the fence is needed, and there, is seen on two processors only: the test below has a reader pin and look while the
//! writer unlinks and scans, over and over. Without the fence it finds within thousands of rounds that the reader was missed.

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(loom, miri, orchard_strict_pins))
))]
mod kernel {
    use std::ffi::{c_int, c_long, c_uint};
    use std::sync::atomic::{AtomicU8, Ordering};

    const MEMBARRIER: c_long = if cfg!(target_arch = "x86_64") { 324 } else { 283 };
    const PRIVATE_EXPEDITED: c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: c_int = 1 << 4;

    unsafe extern "C" {
        fn syscall(number: c_long, ...) -> c_long;
    }

    fn membarrier(command: c_int) -> bool {
        let (flags, processor): (c_uint, c_int) = (0, 0);
        // SAFETY: the call takes three numbers and touches no memory of ours; an old kernel, or a filter of calls,
        // answers with an error.
        unsafe { syscall(MEMBARRIER, command, flags, processor) == 0 }
    }

    const UNKNOWN: u8 = 0;
    const NO: u8 = 1;
    const YES: u8 = 2;

    pub(crate) fn pins_need_no_fence() -> bool {
        static ANSWER: AtomicU8 = AtomicU8::new(UNKNOWN);
        let answer = ANSWER.load(Ordering::Acquire);
        if answer != UNKNOWN {
            return answer == YES;
        }
        let works = membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED);
        let found = if works { YES } else { NO };
        // Of two threads that ask at the same time the first one's answer is everybody's.
        match ANSWER.compare_exchange(UNKNOWN, found, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => works,
            Err(first) => first == YES,
        }
    }

    pub(crate) fn fence_every_thread() -> bool {
        membarrier(PRIVATE_EXPEDITED)
    }

    /// Keeps the calling thread on one processor, if that is allowed.
    #[cfg(test)]
    pub(crate) fn stay_on(processor: u32) {
        const SET_AFFINITY: c_long = if cfg!(target_arch = "x86_64") { 203 } else { 122 };
        let (thread, mask): (c_int, u64) = (0, 1 << processor);
        // SAFETY: the call reads the eight bytes of the mask, which lives until it returns.
        unsafe { syscall(SET_AFFINITY, thread, size_of_val(&mask), &raw const mask) };
    }
}

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64"),
    not(any(loom, miri, orchard_strict_pins))
)))]
mod kernel {
    pub(crate) fn pins_need_no_fence() -> bool {
        false
    }

    pub(crate) fn fence_every_thread() -> bool {
        true
    }

    #[cfg(all(test, not(loom)))]
    pub(crate) fn stay_on(_: u32) {}
}

/// Whether the writer's look at the pins makes every thread pass a fence. It never changes.
pub(crate) fn pins_need_no_fence() -> bool {
    kernel::pins_need_no_fence()
}

/// Makes every running thread of the process pass a full fence, the caller too. `false` if it could not be done now:
/// then nothing is known.
pub(crate) fn fence_every_thread() -> bool {
    crate::sync::fence(crate::sync::Ordering::SeqCst);
    #[cfg(all(test, not(loom)))]
    if tests::is_left_out() {
        return true;
    }
    !pins_need_no_fence() || kernel::fence_every_thread()
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::kernel::stay_on;
    use crate::epoch::Epochs;
    use crate::sync::Padded;
    use std::cell::Cell;
    use std::hint::{black_box, spin_loop};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    const ROUNDS: u64 = if cfg!(miri) { 20 } else { 8_000 };

    thread_local!(static IS_LEFT_OUT: Cell<bool> = const { Cell::new(false) });

    /// Whether the calling thread's fences reach no other thread: the bug that the test looks for.
    pub(super) fn is_left_out() -> bool {
        IS_LEFT_OUT.get()
    }

    fn wait_until(mut is_so: impl FnMut() -> bool) {
        for tries in 1_u32.. {
            if is_so() {
                return;
            }
            if tries.is_multiple_of(500) { thread::yield_now() } else { spin_loop() }
        }
    }

    /// In how many of the rounds a reader saw a block that the writer had unlinked and held to be out of reach. Each round
    /// the reader pins and loads the link, while the writer takes the link away and scans.
    fn missed_readers(rounds: u64, is_left_out: bool) -> u64 {
        const LINKED: u64 = 1;
        const GONE: u64 = 2;
        let epochs = Epochs::new();
        let (link, round) = (Padded(AtomicU64::new(LINKED)), Padded(AtomicU64::new(0)));
        // What the reader saw in this round, 0 before; and the round in which it may let go.
        let (seen, over) = (Padded(AtomicU64::new(0)), Padded(AtomicU64::new(0)));
        let missed = AtomicU64::new(0);
        thread::scope(|scope| {
            scope.spawn(|| {
                stay_on(1);
                for number in 1..=rounds {
                    wait_until(|| round.0.load(Ordering::Acquire) == number);
                    let slot = epochs.pin();
                    let found = link.0.load(Ordering::Relaxed);
                    seen.0.store(found, Ordering::Release);
                    wait_until(|| over.0.load(Ordering::Acquire) == number);
                    Epochs::unpin(slot);
                    seen.0.store(0, Ordering::Release);
                }
            });
            scope.spawn(|| {
                IS_LEFT_OUT.set(is_left_out);
                stay_on(0);
                let mut random = 88_172_645_463_325_252_u64;
                for number in 1..=rounds {
                    wait_until(|| seen.0.load(Ordering::Acquire) == 0);
                    link.0.store(LINKED, Ordering::Relaxed);
                    round.0.store(number, Ordering::Release);
                    // The reader needs a moment to hear of the round; the two have to meet within nanoseconds.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    (0..(random >> 8) % (1 << (random % 10))).for_each(|n| {
                        black_box(n);
                    });
                    link.0.store(GONE, Ordering::Relaxed);
                    let retired = epochs.current();
                    let may_free = epochs.scan() > retired;
                    let mut found = 0;
                    wait_until(|| {
                        found = seen.0.load(Ordering::Acquire);
                        found != 0
                    });
                    missed.fetch_add(u64::from(found == LINKED && may_free), Ordering::Relaxed);
                    over.0.store(number, Ordering::Release);
                }
            });
        });
        missed.load(Ordering::Relaxed)
    }

    #[test]
    fn no_reader_is_missed() {
        assert_eq!(missed_readers(ROUNDS, false), 0);
    }

    /// That the test above can fail. It needs two processors at the same time, so it is no test for a busy machine.
    #[test]
    #[ignore = "shows that a test can fail; `cargo run -p xtask -- mutants` runs it"]
    fn without_the_fence_readers_are_missed() {
        if !super::pins_need_no_fence() {
            return;
        }
        let found = (0..200).map(|_| missed_readers(ROUNDS, true)).find(|missed| *missed > 0);
        println!("{found:?} of {ROUNDS} rounds missed the reader");
        assert!(found.is_some(), "no reader was missed although no fence reached it");
    }
}
