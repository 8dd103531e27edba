//! What wakes a consumer that waits.

use super::layout;
use super::{Delivery, Queue};
use crate::error::Error;
use crate::watch::WatchTarget;
use orchard_types::{DurationMs, SpaceId};
use std::future::Future;

impl Queue {
    /// What changes when a message may have become ready, or will be sooner than [`Queue::next_due`] said; for
    /// [`Db::watch`](crate::Db::watch).
    pub fn watch_targets(&self) -> Vec<WatchTarget> {
        [layout::INCOMING, layout::SCHEDULED, layout::LEASED]
            .map(|area| WatchTarget { space: SpaceId::QUEUES, range: self.layout.area(area) })
            .into()
    }

    /// As [`Queue::lease`], and waits until there is a message, or `give_up` is ready: then the answer is none. `sleep`
    /// waits so long: the database has no timer of its own.
    ///
    /// # Errors
    /// As [`Queue::lease`].
    pub async fn lease_or_wait<S: Future<Output = ()>>(
        &self,
        max: usize,
        visibility: DurationMs,
        give_up: impl Future<Output = ()>,
        sleep: impl Fn(DurationMs) -> S,
    ) -> Result<Vec<Delivery>, Error> {
        let mut give_up = std::pin::pin!(give_up);
        // Before the first look, so that nothing comes between.
        let mut watcher = self.db.watch(self.watch_targets());
        loop {
            let messages = self.lease(max, visibility)?.await?;
            if !messages.is_empty() {
                return Ok(messages);
            }
            let until_due = self.next_due()?.map(|due| due.0.saturating_sub(self.db.snapshot().time().0));
            // At the very least a moment: what is due may be with another consumer's commit still.
            let mut due = std::pin::pin!(until_due.map(|ms| sleep(DurationMs(ms.max(1)))));
            let given_up = std::future::poll_fn(|context| {
                if give_up.as_mut().poll(context).is_ready() {
                    return std::task::Poll::Ready(true);
                }
                let changed = watcher.poll_changed(context).is_ready();
                let is_due = due.as_mut().as_pin_mut().is_some_and(|due| due.poll(context).is_ready());
                if changed || is_due { std::task::Poll::Ready(false) } else { std::task::Poll::Pending }
            });
            if given_up.await {
                return Ok(Vec::new());
            }
        }
    }
}
