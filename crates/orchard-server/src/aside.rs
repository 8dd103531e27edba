//! Commits that wait for memory, out of everybody else's way.
//!
//! - Commits run where their request is read, and mostly block for nothing longer than a look at memory. One that finds memory
//!   full waits for a checkpoint: its thread's other tasks go on elsewhere meanwhile, probes and reads among them.
//! - Whoever writes next waits for that as a task. A thread for each of them would keep memory of its own, which is what there
//!   is too little of.

use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::Notify;
use tokio::task::block_in_place;

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Aside {
    waiting: AtomicUsize,
    ended: Notify,
}

impl Aside {
    /// Runs `wait`, which blocks.
    pub(crate) fn wait(&self, wait: &mut dyn FnMut()) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        // On a runtime of one thread there is nowhere else to go.
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => block_in_place(wait),
            _ => wait(),
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.ended.notify_waiters();
    }

    /// Whether anybody waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) != 0
    }

    /// Ready once nobody waits.
    pub(crate) async fn over(&self) {
        while self.is_waiting() {
            let ended = self.ended.notified();
            // Once more: who ends after this tells.
            if self.is_waiting() {
                ended.await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, mpsc};
    use std::time::Duration;
    use tokio::runtime::Builder;

    #[test]
    fn on_a_runtime_of_one_thread_it_just_waits() {
        let runtime = Builder::new_current_thread().build().expect("a runtime");
        let aside = Aside::default();
        let mut has_waited = false;
        runtime.block_on(async {
            aside.wait(&mut || has_waited = aside.is_waiting());
            aside.over().await;
        });
        assert!(has_waited && !aside.is_waiting());
    }

    #[test]
    fn another_task_of_the_only_worker_goes_on_meanwhile_and_whoever_comes_next_waits_as_a_task() {
        let runtime = Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let aside = Arc::new(Aside::default());
        let (sender, receiver) = mpsc::channel();
        let (begun_sender, begun) = mpsc::channel();
        let first = aside.clone();
        let first = runtime.spawn(async move {
            let mut is_told = false;
            first.wait(&mut || {
                let _ = begun_sender.send(());
                is_told = receiver.recv_timeout(Duration::from_secs(20)).is_ok();
            });
            is_told
        });
        begun.recv().expect("it runs");
        let second = aside.clone();
        let second = runtime.spawn(async move {
            let comes_before = second.is_waiting();
            let mut over = std::pin::pin!(second.over());
            let polled = std::future::poll_fn(|cx| std::task::Poll::Ready(over.as_mut().poll(cx))).await;
            // It has its turn, and only then the first one is told.
            let _ = sender.send(());
            over.await;
            comes_before && polled.is_pending()
        });
        runtime.block_on(async {
            assert!(first.await.expect("no panic"), "nobody else had a turn");
            assert!(second.await.expect("no panic"), "it did not wait");
        });
    }
}
