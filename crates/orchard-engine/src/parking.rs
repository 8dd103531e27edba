//! Threads that block until their commits are durable, parked by the group that they wait for.
//!
//! - Whoever has held the log calls [`Parking::wake`] once the log is free again. All threads whose group is done wake at
//!   once, by one system call; of those behind, one wakes, to lead the next group.
//! - A thread parks only while it sees the log held, and it looks under its slot's lock: so the holder, who takes that
//!   lock after it has let the log go, finds everybody who may have counted on it.
//! - Who parks says so before it looks, and the holder looks for such threads after it has let the log go; a fence between
//!   makes one of the two see the other. So where nobody parks, waking costs one load.
//!
//! The condition variable is the standard library's: waking all who wait is one system call, and they need not pass the
//! lock on from one to the next, as those of `parking_lot` do, each waking the one behind it.

use orchard_types::Versionstamp;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Groups that have a slot of their own: one is written, one is open, and some may wait between them.
const SLOTS: u64 = 8;

#[derive(Default)]
struct Seats {
    /// Grows when all who are parked here wake.
    generation: u64,
    /// Threads that are parked and not called.
    parked: usize,
    /// Threads of this generation that are called one by one.
    calls: usize,
}

#[derive(Default)]
struct Slot {
    seats: Mutex<Seats>,
    moved: Condvar,
}

/// The parked threads of one engine.
#[derive(Default)]
pub(crate) struct Parking {
    /// Threads in [`Parking::park`].
    inside: AtomicUsize,
    slots: [Slot; SLOTS as usize],
    /// Log indexes of what was written and what was synced when threads were last woken.
    woken: [AtomicU64; 2],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here can panic between two changes that belong together.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn index_of(stamp: u64) -> u64 {
    Versionstamp::from_raw(stamp).index()
}

impl Parking {
    /// Everything up to `stamp` is written and synced.
    pub(crate) fn new(stamp: u64) -> Parking {
        Parking {
            inside: AtomicUsize::new(0),
            slots: Default::default(),
            woken: [stamp; 2].map(|stamp| AtomicU64::new(index_of(stamp))),
        }
    }

    fn slot(&self, index: u64) -> &Slot {
        let place = usize::try_from(index % SLOTS).unwrap_or_default();
        // The remainder is below the number of slots.
        self.slots.get(place).unwrap_or(&self.slots[0])
    }

    /// Blocks, if `must_wait` still says so, until the group of `stamp` may be done or wants a leader.
    pub(crate) fn park(&self, stamp: u64, must_wait: impl FnOnce() -> bool) {
        self.inside.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.sit(stamp, must_wait);
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }

    fn sit(&self, stamp: u64, must_wait: impl FnOnce() -> bool) {
        let slot = self.slot(index_of(stamp));
        let mut seats = lock(&slot.seats);
        if !must_wait() {
            return;
        }
        let generation = seats.generation;
        seats.parked += 1;
        while seats.generation == generation {
            if seats.calls > 0 {
                seats.calls -= 1;
                return;
            }
            seats = slot.moved.wait(seats).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Wakes those whose groups are done, now that the log is `written` and `synced` so far, and one of those behind.
    pub(crate) fn wake(&self, written: u64, synced: u64) {
        let now = [index_of(written), index_of(synced)];
        let before = [0, 1].map(|level| self.woken[level].fetch_max(now[level], Ordering::SeqCst));
        fence(Ordering::SeqCst);
        if self.inside.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut is_woken = [false; SLOTS as usize];
        for (before, now) in before.into_iter().zip(now) {
            for index in (before + 1..=now).rev().take(SLOTS as usize) {
                if let Some(is_woken) = is_woken.get_mut((index % SLOTS) as usize) {
                    *is_woken = true;
                }
            }
        }
        for (slot, is_woken) in self.slots.iter().zip(is_woken) {
            if is_woken {
                slot.wake_all();
            }
        }
        (now[0] + 1..=now[0] + SLOTS).any(|index| self.slot(index).call_one());
    }

    /// Threads that are parked and not called.
    #[cfg(test)]
    pub(crate) fn parked(&self) -> usize {
        self.slots.iter().map(|slot| lock(&slot.seats).parked).sum()
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.slots.iter().for_each(Slot::wake_all);
    }
}

impl Slot {
    fn wake_all(&self) {
        let mut seats = lock(&self.seats);
        if seats.parked == 0 && seats.calls == 0 {
            return;
        }
        seats.generation += 1;
        (seats.parked, seats.calls) = (0, 0);
        drop(seats);
        self.moved.notify_all();
    }

    /// Calls one thread, if one is parked here.
    fn call_one(&self) -> bool {
        let mut seats = lock(&self.seats);
        if seats.parked == 0 {
            return false;
        }
        seats.parked -= 1;
        seats.calls += 1;
        drop(seats);
        self.moved.notify_one();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    fn stamp(index: u64) -> u64 {
        Versionstamp::new(index, 0).raw()
    }

    /// Writers that hand a "log" on between them as the engine does: nobody may be left behind.
    #[test]
    fn every_thread_is_woken_and_every_group_finds_a_leader() {
        const THREADS: u64 = 8;
        const ROUNDS: u64 = 500;
        let parking = Arc::new(Parking::new(0));
        let (open, done) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(0)));
        let log = Arc::new(AtomicBool::new(false));
        let writer = || {
            let (parking, open, done, log) = (parking.clone(), open.clone(), done.clone(), log.clone());
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    let mine = open.load(Ordering::SeqCst);
                    while done.load(Ordering::SeqCst) < mine {
                        if !log.swap(true, Ordering::SeqCst) {
                            if done.load(Ordering::SeqCst) < mine {
                                let group = open.fetch_add(1, Ordering::SeqCst);
                                std::thread::yield_now();
                                done.store(group, Ordering::SeqCst);
                            }
                            log.store(false, Ordering::SeqCst);
                            let done = stamp(done.load(Ordering::SeqCst));
                            parking.wake(done, done);
                        } else {
                            parking.park(stamp(mine), || {
                                done.load(Ordering::SeqCst) < mine && log.load(Ordering::SeqCst)
                            });
                        }
                    }
                }
            })
        };
        let writers: Vec<_> = (0..THREADS).map(|_| writer()).collect();
        for writer in writers {
            writer.join().unwrap();
        }
        assert!(done.load(Ordering::SeqCst) >= ROUNDS);
    }

    #[test]
    fn nobody_parks_for_what_is_done() {
        let parking = Parking::new(0);
        parking.park(stamp(1), || false);
        parking.wake(stamp(1), stamp(1));
        assert_eq!(lock(&parking.slot(1).seats).parked, 0);
    }

    #[test]
    fn a_wake_that_finds_nobody_leaves_no_call_behind() {
        let parking = Parking::new(0);
        parking.wake(stamp(3), stamp(2));
        parking.wake_all();
        assert!(parking.slots.iter().all(|slot| {
            let seats = lock(&slot.seats);
            (seats.parked, seats.calls) == (0, 0)
        }));
    }
}
