//! The task that writes the log for the connections' tasks, as long as the disk is quick.

use orcharddb::{Db, LogLead};
use std::time::Duration;
use tokio::task::yield_now;

/// After this long it is looked again whether the disk has become quick.
const RECONSIDER: Duration = Duration::from_millis(100);
/// Rounds in which others may join the group at most. Every one lets all run who can, and takes what clients have sent.
const ROUNDS_MAX: usize = 32;

/// Leads the log until it is dropped. In a task of its own, so that those it wakes are in the same thread's queue.
pub(crate) async fn run(db: Db) {
    let Some(lead) = db.lead_log() else { return };
    loop {
        lead.due().await;
        if lead.is_quick() {
            gather(&lead).await;
            if lead.step() {
                continue;
            }
        }
        lead.step_aside();
        tokio::time::sleep(RECONSIDER).await;
    }
}

/// Lets others commit, until a round brings nothing new.
async fn gather(lead: &LogLead) {
    let mut commits = lead.commits();
    for _ in 0..ROUNDS_MAX {
        yield_now().await;
        let before = std::mem::replace(&mut commits, lead.commits());
        if commits == before {
            return;
        }
    }
}
