//! What readers and the writer share: the structures, and the memory behind them.

use std::cell::UnsafeCell;
use std::ops::{Bound, ControlFlow, Range};

use crate::epoch::Epochs;
use crate::leaf::Leaf;
use crate::record::Version;
use crate::stats::Counters;
use crate::table::Directory;
use crate::tree::{Node, Tree, Window};
use crate::writer::WriterState;

/// One map. It goes, with all its memory, when its last handle does.
pub(crate) struct Shared {
    pub(crate) epochs: Epochs,
    pub(crate) directory: Directory,
    pub(crate) tree: Tree,
    pub(crate) counters: Counters,
    /// The one `MapWriter`'s, through `&mut` of it. It lies here because readers may outlive the
    /// writer, and it owns the memory that they read.
    pub(crate) state: UnsafeCell<WriterState>,
}

// SAFETY: everything but `state` is made of atomics that are safe to share; `state` is touched by
// the one writer only, and by the drop, when no handle is left.
unsafe impl Sync for Shared {}

const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Shared>();
};

impl Shared {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            epochs: Epochs::new(),
            directory: Directory::new(seed),
            tree: Tree::new(),
            counters: Counters::default(),
            state: UnsafeCell::new(WriterState::new()),
        }
    }

    /// The scans of guards and of the writer.
    ///
    /// # Safety
    /// For `'a` the caller is pinned, or is the writer and does not retire.
    pub(crate) unsafe fn scan<'a>(
        &self,
        lower: Bound<&[u8]>,
        upper: Bound<&[u8]>,
        reverse: bool,
        window: Window,
        mut visit: impl FnMut(Version<'a>) -> ControlFlow<()>,
    ) {
        // SAFETY: the caller's promise.
        let root: Option<Node<'a>> = unsafe { self.tree.root() };
        let Some(root) = root else { return };
        let mut visit_slot = |leaf: Leaf<'a>, index: usize| match leaf.version(index).at(window.at) {
            Some(version) if window.since.is_none_or(|since| version.stamp() > since) => visit(version),
            _ => ControlFlow::Continue(()),
        };
        let mut visit_leaf = |leaf: Leaf<'a>, range: Range<usize>| {
            const AHEAD: usize = 6;
            if reverse {
                (0..AHEAD).for_each(|step| leaf.prefetch((range.end - 1).wrapping_sub(step)));
                for index in range.rev() {
                    leaf.prefetch(index.wrapping_sub(AHEAD));
                    visit_slot(leaf, index)?;
                }
            } else {
                (0..AHEAD).for_each(|step| leaf.prefetch(range.start + step));
                for index in range {
                    leaf.prefetch(index + AHEAD);
                    visit_slot(leaf, index)?;
                }
            }
            ControlFlow::Continue(())
        };
        // Broken off or not: there is nothing to report.
        let _ = root.walk(lower, upper, reverse, window, &mut visit_leaf);
    }
}
