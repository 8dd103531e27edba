//! Room for what a batch needs while it runs: one for each thread, so that connections that wait hold none.

use super::command::Command;
use super::direct;
use orcharddb::WarmKeys;
use orcharddb::collection::ElementsAhead;
use std::cell::Cell;
use std::ops::{Deref, DerefMut};

/// More requests or keys than this give their room back, so that one long pipeline is not remembered for ever.
const KEPT_MAX: usize = 4_096;

thread_local! {
    static SPARE: Cell<Option<Box<BatchRoom>>> = const { Cell::new(None) };
}

#[derive(Default)]
pub(super) struct BatchRoom {
    /// The keys of its requests.
    pub(super) warm: WarmKeys,
    /// The elements that they write.
    pub(super) elements: ElementsAhead,
    /// The commands of a run of writes.
    pub(super) commands: Vec<&'static Command>,
    pub(super) direct: direct::Writes,
}

impl BatchRoom {
    fn is_kept(&self) -> bool {
        let keys = self.warm.len().max(self.elements.len()).max(self.direct.keys_made());
        keys.max(self.commands.len()) <= KEPT_MAX
    }
}

/// The thread's room, until it is dropped.
pub(super) struct Borrowed(Option<Box<BatchRoom>>);

impl Borrowed {
    pub(super) fn new() -> Borrowed {
        Borrowed(Some(SPARE.take().unwrap_or_default()))
    }
}

impl Deref for Borrowed {
    type Target = BatchRoom;

    fn deref(&self) -> &BatchRoom {
        self.0.as_deref().unwrap_or_else(|| unreachable!("it is taken when it is dropped"))
    }
}

impl DerefMut for Borrowed {
    fn deref_mut(&mut self) -> &mut BatchRoom {
        self.0.as_deref_mut().unwrap_or_else(|| unreachable!("it is taken when it is dropped"))
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        SPARE.set(self.0.take().filter(|room| room.is_kept()));
    }
}
