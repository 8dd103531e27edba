//! The names of files and directories: as users see them, as the medium holds them, and the changes between.

use super::inode::kept_per_million;
use super::plan::CrashStyle;
use crate::random::SeededRandom;
use std::collections::{BTreeMap, BTreeSet};

/// The directory that holds `path`; the root is `""`.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// A change of names that the medium may not have yet.
#[derive(Clone)]
pub(super) enum NameOp {
    MakeDir { path: String },
    Link { path: String, inode: u64 },
    Unlink { path: String, inode: u64 },
    Rename { from: String, to: String, inode: u64 },
}

impl NameOp {
    pub(super) fn paths(&self) -> (&str, Option<&str>) {
        match self {
            NameOp::MakeDir { path } | NameOp::Link { path, .. } | NameOp::Unlink { path, .. } => {
                (path, None)
            }
            NameOp::Rename { from, to, .. } => (from, Some(to)),
        }
    }

    fn inode(&self) -> Option<u64> {
        match self {
            NameOp::MakeDir { .. } => None,
            NameOp::Link { inode, .. } | NameOp::Unlink { inode, .. } | NameOp::Rename { inode, .. } => {
                Some(*inode)
            }
        }
    }

    fn touches(&self, dir: &str) -> bool {
        let (first, second) = self.paths();
        parent(first) == dir || second.is_some_and(|path| parent(path) == dir)
    }

    /// There are no hard links: a file that gets a name loses the one it had, even if the change that gave it that
    /// name was itself lost.
    fn apply(&self, files: &mut BTreeMap<String, u64>, dirs: &mut BTreeSet<String>) {
        if let Some(inode) = self.inode() {
            files.retain(|_, other| *other != inode);
        }
        match self {
            NameOp::MakeDir { path } => {
                dirs.insert(path.clone());
            }
            NameOp::Link { path, inode } | NameOp::Rename { to: path, inode, .. } => {
                files.insert(path.clone(), *inode);
            }
            NameOp::Unlink { .. } => {}
        }
    }
}

/// All names of a disk.
#[derive(Clone, Default)]
pub(super) struct Names {
    /// What users see.
    pub(super) volatile: BTreeMap<String, u64>,
    /// What users see of directories; the root is not among them.
    pub(super) volatile_dirs: BTreeSet<String>,
    durable: BTreeMap<String, u64>,
    durable_dirs: BTreeSet<String>,
    /// Changes since the last sync of their directories, in order.
    pending: Vec<NameOp>,
}

impl Names {
    pub(super) fn change(&mut self, op: NameOp) {
        op.apply(&mut self.volatile, &mut self.volatile_dirs);
        self.pending.push(op);
    }

    /// Whether any name leads to the file, or could after a crash.
    pub(super) fn mentions(&self, inode: u64) -> bool {
        self.volatile.values().chain(self.durable.values()).any(|id| *id == inode)
            || self.pending.iter().any(|op| op.inode() == Some(inode))
    }

    pub(super) fn sync(&mut self, dir: &str) {
        let Names { durable, durable_dirs, pending, .. } = self;
        pending.retain(|op| {
            let touches = op.touches(dir);
            if touches {
                op.apply(durable, durable_dirs);
            }
            !touches
        });
    }

    /// A sync that failed: some changes are on the medium; the others stay open, to be lost or kept by a crash.
    pub(super) fn fail_sync(&mut self, dir: &str, random: &SeededRandom) {
        let Names { durable, durable_dirs, pending, .. } = self;
        let mut keeps = true;
        pending.retain(|op| {
            keeps &= !op.touches(dir) || random.below(2) == 0;
            if keeps && op.touches(dir) {
                op.apply(durable, durable_dirs);
                return false;
            }
            true
        });
    }

    /// What a power failure leaves. Half of the random ones keep the order, as a journal does.
    pub(super) fn after_crash(&self, style: CrashStyle, random: &SeededRandom) -> Names {
        let (mut files, mut dirs) = (self.durable.clone(), self.durable_dirs.clone());
        let kept = kept_per_million(style, random);
        let journal = style == CrashStyle::Random && random.below(2) == 0;
        for op in &self.pending {
            if random.chance(kept) {
                op.apply(&mut files, &mut dirs);
            } else if journal {
                break;
            }
        }
        files.retain(|path, _| exists(&dirs, parent(path)));
        let whole = dirs.clone();
        dirs.retain(|dir| exists(&whole, parent(dir)));
        Names {
            volatile: files.clone(),
            volatile_dirs: dirs.clone(),
            durable: files,
            durable_dirs: dirs,
            pending: Vec::new(),
        }
    }

    /// Puts a name on the medium, and the directories above it.
    pub(super) fn place(&mut self, path: &str, inode: u64) {
        let mut dir = parent(path);
        while !dir.is_empty() {
            self.volatile_dirs.insert(dir.to_owned());
            self.durable_dirs.insert(dir.to_owned());
            dir = parent(dir);
        }
        self.volatile.insert(path.to_owned(), inode);
        self.durable.insert(path.to_owned(), inode);
    }
}

/// Whether a directory and all those above it are there.
fn exists(dirs: &BTreeSet<String>, dir: &str) -> bool {
    dir.is_empty() || (dirs.contains(dir) && exists(dirs, parent(dir)))
}
