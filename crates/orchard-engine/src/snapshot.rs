//! Which versions readers still need.
//!
//! - A version may go only when a newer one of its key is at or below [`Snapshots::horizon`].
//! - The horizon is never above `visible`, nor above a registered snapshot.

use orchard_types::UnixMillis;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The registered snapshots of one engine.
#[derive(Default)]
pub struct Snapshots {
    registered: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    next_id: u64,
    /// (stamp, id) -> the snapshot, so that the first is the oldest.
    by_stamp: BTreeMap<(u64, u64), Arc<Pin>>,
}

/// One registered stamp.
#[derive(Debug)]
struct Pin {
    taken_at_ns: u64,
    expires: bool,
    expired: AtomicBool,
}

/// Keeps the versions of one stamp in memory until it is dropped, or expired by age.
pub struct SnapshotPin {
    /// `None`: whoever made it holds the commit lock, and nothing is pruned meanwhile.
    registered: Option<(Arc<Snapshots>, Arc<Pin>)>,
    key: (u64, u64),
    time: UnixMillis,
}

impl Snapshots {
    /// Registers the stamp and time that `choose` returns; it runs under the registry's lock, so that no horizon can pass
    /// the stamp in between. `expires`: whether age may end it.
    pub fn register(
        self: &Arc<Self>,
        taken_at_ns: u64,
        expires: bool,
        choose: impl FnOnce() -> (u64, UnixMillis),
    ) -> SnapshotPin {
        let mut registered = self.registered.lock();
        let (stamp, time) = choose();
        let pin = Arc::new(Pin { taken_at_ns, expires, expired: AtomicBool::new(false) });
        let key = (stamp, registered.next_id);
        registered.next_id += 1;
        registered.by_stamp.insert(key, pin.clone());
        SnapshotPin { registered: Some((self.clone(), pin)), key, time }
    }

    /// The newest stamp at which every reader still finds what it needs if only the newest version at or below it is
    /// kept. `visible` is read under the registry's lock.
    pub fn horizon(&self, visible: impl FnOnce() -> u64) -> u64 {
        let registered = self.registered.lock();
        let visible = visible();
        registered.by_stamp.first_key_value().map_or(visible, |((stamp, _), _)| (*stamp).min(visible))
    }

    /// Ends the snapshots taken before `taken_before_ns`; their reads fail from now on.
    pub fn expire(&self, taken_before_ns: u64) {
        self.registered.lock().by_stamp.retain(|_, pin| {
            let ends = pin.expires && pin.taken_at_ns < taken_before_ns;
            if ends {
                pin.expired.store(true, Ordering::SeqCst);
            }
            !ends
        });
    }

    /// Ends the oldest snapshot that may be ended.
    pub fn expire_oldest(&self) {
        let mut registered = self.registered.lock();
        let oldest = registered.by_stamp.iter().find(|(_, pin)| pin.expires);
        if let Some((key, pin)) = oldest {
            pin.expired.store(true, Ordering::SeqCst);
            let key = *key;
            registered.by_stamp.remove(&key);
        }
    }

    /// Number of registered snapshots.
    pub fn count(&self) -> usize {
        self.registered.lock().by_stamp.len()
    }
}

impl SnapshotPin {
    /// A view that keeps nothing: it must not outlive the caller's hold of the commit lock, without which nothing is
    /// pruned.
    pub(crate) fn under_lock(stamp: u64, time: UnixMillis) -> SnapshotPin {
        SnapshotPin { registered: None, key: (stamp, 0), time }
    }

    /// The stamp it keeps.
    pub fn stamp(&self) -> u64 {
        self.key.0
    }

    /// Its time.
    pub fn time(&self) -> UnixMillis {
        self.time
    }

    /// Whether age ended it. What was read before this answered `false` is right.
    pub fn is_expired(&self) -> bool {
        self.registered.as_ref().is_some_and(|(_, pin)| pin.expired.load(Ordering::SeqCst))
    }
}

impl Drop for SnapshotPin {
    fn drop(&mut self) {
        if let Some((snapshots, _)) = &self.registered {
            snapshots.registered.lock().by_stamp.remove(&self.key);
        }
    }
}
