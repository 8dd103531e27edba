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
}

/// Whether the writer's look at the pins makes every thread pass a fence. It never changes.
pub(crate) fn pins_need_no_fence() -> bool {
    kernel::pins_need_no_fence()
}

/// Makes every running thread of the process pass a full fence, the caller too. `false` if it could not be done now:
/// then nothing is known.
pub(crate) fn fence_every_thread() -> bool {
    crate::sync::fence(crate::sync::Ordering::SeqCst);
    !pins_need_no_fence() || kernel::fence_every_thread()
}
