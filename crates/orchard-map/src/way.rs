//! A way down the ordered index: what a change of one key has to touch.

use crate::inner::Inner;
use crate::leaf::Leaf;
use crate::tree::{Node, prefetch_node};

/// Levels of inner nodes that a way has room for. Two neighbours have half as many children together as fit in one, at the
/// least, so that so many levels would have more than 16^12 keys.
const LEVELS_MAX: usize = 12;

/// The way from the root down to the leaf whose range holds a key, as it was when it was gone.
#[derive(Clone, Copy)]
pub(crate) struct Way<'a> {
    inners: [Option<Inner<'a>>; LEVELS_MAX],
    /// The child taken at each of them.
    indexes: [u8; LEVELS_MAX],
    leaf: Option<Leaf<'a>>,
}

impl<'a> Way<'a> {
    /// A way to nowhere: that of every key in an empty tree.
    pub(crate) const NONE: Self = Self { inners: [None; LEVELS_MAX], indexes: [0; LEVELS_MAX], leaf: None };

    /// Goes down to the leaf whose range holds `key`, and begins to bring it in. The way was none before.
    #[inline(always)]
    pub(crate) fn go_down(&mut self, root: Node<'a>, key: &[u8]) {
        let (mut node, mut level) = (root, 0);
        loop {
            let inner = match node {
                Node::Leaf(leaf) => {
                    self.leaf = Some(leaf);
                    return;
                }
                Node::Inner(inner) => inner,
            };
            let index = inner.find(key);
            self.inners[level] = Some(inner);
            self.indexes[level] = index as u8;
            level += 1;
            let child = inner.child_word(index);
            prefetch_node(child);
            // SAFETY: an inner node's children live as it does.
            node = unsafe { Node::from_word(child) };
        }
    }

    /// The leaf, if the tree has one.
    #[inline(always)]
    pub(crate) fn leaf(&self) -> Option<Leaf<'a>> {
        self.leaf
    }

    /// The inner nodes with the child taken at each, from the root down.
    #[inline(always)]
    pub(crate) fn steps(&self) -> impl Iterator<Item = (Inner<'a>, usize)> {
        self.inners
            .iter()
            .zip(&self.indexes)
            .map_while(|(inner, index)| Some(((*inner)?, usize::from(*index))))
    }

    /// Number of inner nodes.
    pub(crate) fn depth(&self) -> usize {
        self.inners.iter().take_while(|inner| inner.is_some()).count()
    }

    /// The inner node at `level` from the root, which is 0, with the child taken.
    pub(crate) fn step(&self, level: usize) -> Option<(Inner<'a>, usize)> {
        Some(((*self.inners.get(level)?)?, usize::from(*self.indexes.get(level)?)))
    }

    /// The leaf's parent, with the leaf's number.
    pub(crate) fn parent(&self) -> Option<(Inner<'a>, usize)> {
        self.step(self.depth().checked_sub(1)?)
    }

    /// Whether it is the way still: each node of it has its place in the tree. (A way in an empty tree tells nothing.) Writer
    /// only.
    #[inline(always)]
    pub(crate) fn is_current(&self) -> bool {
        self.leaf.is_some_and(|leaf| !leaf.is_replaced())
            && self.steps().all(|(inner, _)| !inner.is_replaced())
    }
}
