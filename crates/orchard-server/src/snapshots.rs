//! Snapshots that wait for the next request of a list, found by the view that its cursor carries.
//!
//! Bounded in number and idle time: a snapshot holds old versions in memory, and clients leave lists unfinished.

use orchard_wire::cursor::View;
use orcharddb::Snapshot;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::time::Duration;
use tokio::time::Instant;

/// Most snapshots kept; the one that waited longest goes first.
const SNAPSHOTS_MAX: usize = 1_000;

/// The snapshots that lists may go on with.
pub(crate) struct Snapshots {
    idle_timeout: Duration,
    kept: Mutex<HashMap<View, (Snapshot, Instant)>>,
}

/// The view that a snapshot shows.
pub(crate) fn view(snapshot: &Snapshot) -> View {
    View { versionstamp: snapshot.versionstamp(), time: snapshot.time() }
}

impl Snapshots {
    pub(crate) fn new(idle_timeout: Duration) -> Snapshots {
        Snapshots { idle_timeout, kept: Mutex::new(HashMap::new()) }
    }

    /// The snapshot of this view, if it is still kept.
    pub(crate) fn find(&self, view: View) -> Option<Snapshot> {
        self.kept.lock().get(&view).map(|(snapshot, _)| snapshot.clone())
    }

    /// Keeps a snapshot for the idle time from now.
    pub(crate) fn keep(&self, snapshot: Snapshot) {
        let now = Instant::now();
        let mut kept = self.kept.lock();
        kept.insert(view(&snapshot), (snapshot, now));
        if kept.len() > SNAPSHOTS_MAX
            && let Some(oldest) = kept.iter().min_by_key(|(_, (_, used))| *used).map(|(view, _)| *view)
        {
            kept.remove(&oldest);
        }
    }

    /// Lets go of what waited too long.
    pub(crate) fn sweep(&self) {
        let now = Instant::now();
        self.kept.lock().retain(|_, (_, used)| now.saturating_duration_since(*used) < self.idle_timeout);
    }

    pub(crate) fn clear(&self) {
        self.kept.lock().clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.lock().len()
    }
}
