//! Observers: told of every change of every database, each with its key, in the order of the commits.

use super::hub::Hub;
use crate::db::{Db, Shared};
use orchard_types::{Mutation, Versionstamp};
use std::fmt;
use std::sync::Arc;

/// Who is told. The calls come from one thread, one after another, and everybody who watches anything waits for them: an
/// observer only notes what it is told. It must not make or end watchers, feeds or observations.
pub trait Observer: Send + Sync {
    /// A commit can be seen: what it asked for, which may have changed nothing. Versionstamps only grow. Changes of an
    /// element have the key of its collection.
    fn committed(&self, versionstamp: Versionstamp, mutations: &[Mutation]);

    /// Anything may have changed up to this version: commits were not read in time to tell of them.
    fn lost(&self, up_to: Versionstamp);
}

/// As long as this lives, the observer is told.
pub struct Observation {
    shared: Arc<Shared>,
    id: u64,
}

impl fmt::Debug for Observation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Observation").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        let hub: &Hub = &self.shared.hub;
        hub.end_observation(self.id);
    }
}

impl Db {
    /// Has `observer` told of every commit that becomes visible from now on.
    ///
    /// ```
    /// use orcharddb::{Db, Mutation, Observer, Versionstamp};
    /// use std::sync::{Arc, mpsc};
    /// struct Keys(mpsc::Sender<Vec<u8>>);
    /// impl Observer for Keys {
    ///     fn committed(&self, _: Versionstamp, mutations: &[Mutation]) {
    ///         mutations.iter().for_each(|mutation| drop(self.0.send(mutation.key.to_vec())));
    ///     }
    ///     fn lost(&self, _: Versionstamp) {}
    /// }
    /// let db = Db::memory()?;
    /// let (keys, told) = mpsc::channel();
    /// let observation = db.observe(Arc::new(Keys(keys)));
    /// db.put("apple", "red")?;
    /// assert_eq!(told.recv().ok(), Some(Db::key("apple")?.to_vec()));
    /// drop(observation);
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    pub fn observe(&self, observer: Arc<dyn Observer>) -> Observation {
        let id = self.shared.hub.observe(observer);
        Observation { shared: self.shared.clone(), id }
    }
}
