//! A thread that waits for a waker: for those who use futures without a runtime.

use parking_lot::{Condvar, Mutex};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// Wakes the thread that parks on it; a wake that comes first is not lost.
#[derive(Default)]
pub(crate) struct Parker {
    is_woken: Mutex<bool>,
    woken: Condvar,
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.is_woken.lock() = true;
        self.woken.notify_one();
    }
}

impl Parker {
    pub(crate) fn park(&self) {
        let mut is_woken = self.is_woken.lock();
        self.woken.wait_while(&mut is_woken, |is_woken| !*is_woken);
        *is_woken = false;
    }

    /// `false`: nobody woke it for so long.
    pub(crate) fn park_for(&self, timeout: Duration) -> bool {
        let mut is_woken = self.is_woken.lock();
        self.woken.wait_while_for(&mut is_woken, |is_woken| !*is_woken, timeout);
        std::mem::take(&mut is_woken)
    }
}

/// Runs a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => parker.park(),
        }
    }
}

/// Runs a future on this thread, until it is done or nothing has woken it for `quiet_max`.
pub(crate) fn block_on_for<T>(future: impl Future<Output = T>, quiet_max: Duration) -> Option<T> {
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(parker.clone());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(value);
        }
        if !parker.park_for(quiet_max) {
            return None;
        }
    }
}
