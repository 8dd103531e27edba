//! Telling a listener what the background has taken away because its time had come.

use crate::db::Db;
use orchard_types::{Commit, Key, SpaceId, Versionstamp};
use parking_lot::RwLock;
use std::sync::Arc;

/// Something that has expired and was taken away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Where.
    pub space: SpaceId,
    /// Its key.
    pub key: Key,
    /// The entry itself has expired, rather than elements of the collection that it is.
    pub is_whole: bool,
    /// The key is absent now.
    pub is_gone: bool,
}

type Listener = Arc<dyn Fn(&[Expired], Versionstamp) + Send + Sync>;

/// Who wants to know.
#[derive(Default)]
pub(crate) struct ExpiryListener(RwLock<Option<Listener>>);

impl ExpiryListener {
    /// Tells of what a commit did that deletes what has expired.
    pub(crate) fn tell_swept(&self, commit: &Commit, stamp: Versionstamp) {
        let listener = self.0.read().clone();
        if let Some(listener) = listener {
            let swept = commit.mutations.iter().filter(|mutation| mutation.space.is_database());
            let swept = swept.map(|mutation| Expired {
                space: mutation.space,
                key: mutation.key.clone(),
                is_whole: true,
                is_gone: true,
            });
            listener(&swept.collect::<Vec<_>>(), stamp);
        }
    }

    pub(crate) fn tell(&self, expired: &[Expired], stamp: Versionstamp) {
        let listener = self.0.read().clone();
        if let Some(listener) = listener.filter(|_| !expired.is_empty()) {
            listener(expired, stamp);
        }
    }
}

impl Db {
    /// Has `listener` told of entries and elements that have expired, within about a second, when the commit that takes
    /// them away has its place; that may be told to others once its versionstamp is visible. It takes the place of the
    /// listener before it. It runs on the thread of the upkeep, so it must not take long, and what it holds of the database
    /// keeps it open.
    pub fn on_expiry(&self, listener: impl Fn(&[Expired], Versionstamp) + Send + Sync + 'static) {
        *self.shared.expiry_listener().0.write() = Some(Arc::new(listener));
    }
}
