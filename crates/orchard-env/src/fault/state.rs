//! What the disk holds, and what becomes of each call.

use super::inode::Inode;
use super::names::{NameOp, Names};
use super::plan::{Call, CallKind, Failure, FaultPlan, Latency};
use crate::clock::ManualClock;
use crate::random::SeededRandom;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

pub(super) struct State {
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) inode_next: u64,
    pub(super) names: Names,
    pub(super) locks: BTreeSet<String>,
    pub(super) random: SeededRandom,
    pub(super) plan: FaultPlan,
    pub(super) latency: Latency,
    pub(super) clock: Option<Arc<ManualClock>>,
    pub(super) calls: u64,
    pub(super) changes: u64,
    pub(super) syncs: u64,
    pub(super) hash: u64,
    pub(super) trace: Option<Vec<Call>>,
    pub(super) dead: bool,
}

/// What becomes of a call.
pub(super) enum Fate {
    /// It does its work.
    Work,
    /// It fails, having done a part.
    Fail(Failure),
    /// The power goes while it works.
    Crash,
}

pub(super) fn dead() -> io::Error {
    io::Error::other("the machine has lost its power")
}

impl State {
    pub(super) fn new(seed: u64) -> State {
        State {
            inodes: BTreeMap::new(),
            inode_next: 1,
            names: Names::default(),
            locks: BTreeSet::new(),
            random: SeededRandom::new(seed),
            plan: FaultPlan::default(),
            latency: Latency::default(),
            clock: None,
            calls: 0,
            changes: 0,
            syncs: 0,
            hash: 0,
            trace: None,
            dead: false,
        }
    }

    /// The next life of this disk, with these files and names.
    pub(super) fn successor(&self, seed: u64, inodes: BTreeMap<u64, Inode>, names: Names) -> State {
        State {
            inodes,
            inode_next: self.inode_next,
            names,
            plan: FaultPlan { capacity_bytes: self.plan.capacity_bytes, ..FaultPlan::default() },
            latency: self.latency,
            clock: self.clock.clone(),
            hash: mix(self.hash, seed),
            trace: self.trace.is_some().then(Vec::new),
            ..State::new(seed)
        }
    }

    /// Counts and traces a call, lets its time pass and decides what becomes of it.
    pub(super) fn begin(
        &mut self,
        kind: CallKind,
        path: &str,
        offset_bytes: u64,
        bytes: &[u8],
    ) -> io::Result<Fate> {
        if self.dead {
            return Err(dead());
        }
        let length_bytes = bytes.len() as u64;
        self.calls += 1;
        self.hash = mix(self.hash, kind as u64);
        self.hash = mix_bytes(self.hash, path.as_bytes());
        self.hash = mix(self.hash, offset_bytes);
        self.hash =
            if kind == CallKind::Read { mix(self.hash, length_bytes) } else { mix_bytes(self.hash, bytes) };
        if let Some(trace) = &mut self.trace {
            trace.push(Call { kind, path: path.to_owned(), offset_bytes, length_bytes });
        }
        if let Some(clock) = &self.clock {
            clock.advance_ns(self.latency.of(kind, length_bytes));
        }
        if kind.is_sync() {
            self.syncs += 1;
        }
        if kind.is_change() {
            self.changes += 1;
            if self.plan.crash_at_change == Some(self.changes) {
                self.dead = true;
                return Ok(Fate::Crash);
            }
        }
        let plan = &self.plan;
        if let Some((call, failure)) = plan.fail_call
            && call == self.calls
        {
            return Ok(Fate::Fail(failure));
        }
        if kind.is_sync() && plan.fail_sync == Some(self.syncs) {
            return Ok(Fate::Fail(Failure::Io));
        }
        // A draw only where there is a chance: a plan without chances leaves the random stream alone.
        let drawn = |chance: u32| chance > 0 && self.random.chance(chance);
        if drawn(plan.io_error_per_million) || (kind.is_sync() && drawn(plan.sync_error_per_million)) {
            return Ok(Fate::Fail(Failure::Io));
        }
        if kind.takes_space() && drawn(plan.full_per_million) {
            return Ok(Fate::Fail(Failure::Full));
        }
        Ok(Fate::Work)
    }

    pub(super) fn used_bytes(&self) -> u64 {
        let linked: BTreeSet<u64> = self.names.volatile.values().copied().collect();
        let in_use = self.inodes.iter().filter(|(id, inode)| inode.handles > 0 || linked.contains(id));
        in_use.map(|(_, inode)| inode.used_bytes()).sum()
    }

    pub(super) fn available_bytes(&self) -> u64 {
        self.plan.capacity_bytes.map_or(1 << 40, |capacity| capacity.saturating_sub(self.used_bytes()))
    }

    /// A handle's inode. It is there as long as the handle lives.
    pub(super) fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&id).ok_or_else(dead)
    }

    pub(super) fn create_inode(&mut self) -> u64 {
        let id = self.inode_next;
        self.inode_next += 1;
        self.inodes.insert(id, Inode::default());
        id
    }

    /// Forgets files that no name, no handle and no crash can bring back.
    pub(super) fn forget_unreachable(&mut self) {
        let names = &self.names;
        self.inodes.retain(|id, inode| inode.handles > 0 || names.mentions(*id));
    }

    /// Changes the names as `op` says, or fails doing so, or is cut off.
    pub(super) fn change_names(&mut self, kind: CallKind, op: NameOp) -> io::Result<()> {
        let (first, second) = op.paths();
        let (first, second) = (first.to_owned(), second.unwrap_or_default().to_owned());
        match self.begin(kind, &first, 0, second.as_bytes())? {
            Fate::Work => {
                self.names.change(op);
                self.forget_unreachable();
                Ok(())
            }
            Fate::Fail(failure) => Err(failure.error()),
            Fate::Crash => {
                self.names.change(op);
                Err(dead())
            }
        }
    }

    pub(super) fn write(&mut self, id: u64, path: &str, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let fate = self.begin(CallKind::Write, path, offset_bytes, bytes)?;
        let available_bytes = self.available_bytes();
        let mut spoilt = Vec::new();
        let mut bytes = bytes;
        if self.plan.spoil_write == Some(self.calls) {
            spoilt.extend_from_slice(bytes);
            let middle = spoilt.len() / 2;
            spoilt.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
            bytes = &spoilt;
        }
        let part = match fate {
            Fate::Work => bytes.len(),
            Fate::Crash if self.random.below(2) == 0 => bytes.len(),
            Fate::Fail(_) | Fate::Crash => self.random.below(bytes.len() as u64 + 1) as usize,
        };
        let inode = self.inode(id)?;
        let fitting = inode.fitting(offset_bytes, part, available_bytes);
        inode.write(offset_bytes, bytes.get(..fitting).unwrap_or(bytes));
        match fate {
            Fate::Work if fitting < bytes.len() => Err(Failure::Full.error()),
            Fate::Work => Ok(()),
            Fate::Fail(failure) => Err(failure.error()),
            Fate::Crash => Err(dead()),
        }
    }

    pub(super) fn sync_data(&mut self, id: u64, path: &str) -> io::Result<()> {
        let fate = self.begin(CallKind::SyncData, path, 0, &[])?;
        let State { inodes, random, .. } = self;
        let inode = inodes.get_mut(&id).ok_or_else(dead)?;
        match fate {
            Fate::Work => {
                inode.sync();
                Ok(())
            }
            Fate::Fail(failure) => {
                inode.fail_sync(random);
                Err(failure.error())
            }
            Fate::Crash => {
                if random.below(3) == 0 {
                    inode.sync();
                }
                Err(dead())
            }
        }
    }

    pub(super) fn sync_dir(&mut self, path: &str) -> io::Result<()> {
        let fate = self.begin(CallKind::SyncDir, path, 0, &[])?;
        self.directory(path)?;
        match fate {
            Fate::Work => {
                self.names.sync(path);
                self.forget_unreachable();
                Ok(())
            }
            Fate::Fail(failure) => {
                self.names.fail_sync(path, &self.random);
                Err(failure.error())
            }
            Fate::Crash => {
                if self.random.below(3) == 0 {
                    self.names.sync(path);
                }
                Err(dead())
            }
        }
    }

    pub(super) fn directory(&self, path: &str) -> io::Result<()> {
        if path.is_empty() || self.names.volatile_dirs.contains(path) {
            return Ok(());
        }
        Err(io::ErrorKind::NotFound.into())
    }

    pub(super) fn find(&self, path: &str) -> io::Result<u64> {
        self.names.volatile.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// One step of a hash that is good enough to tell two traces apart (SplitMix64's finalizer).
fn mix(hash: u64, word: u64) -> u64 {
    let mut word = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word ^ (word >> 27)
}

fn mix_bytes(hash: u64, bytes: &[u8]) -> u64 {
    let start = mix(hash, bytes.len() as u64);
    bytes.chunks(8).fold(start, |hash, chunk| {
        let mut word = [0; 8];
        for (to, from) in word.iter_mut().zip(chunk) {
            *to = *from;
        }
        mix(hash, u64::from_le_bytes(word))
    })
}
