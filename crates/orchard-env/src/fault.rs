//! A disk in memory that fails, tears, loses and reorders as a seed tells it.
//!
//! Invariants:
//! - What [`DiskFile::sync_data`] or [`Disk::sync_dir`] has confirmed survives every crash; what they have not
//!   confirmed may survive whole, in part (torn at any byte) or not at all, each write for itself.
//! - A rename that was not confirmed leaves the old name or the new one, never neither and never both.
//! - A crash or a kill ends the disk: every handle and lock of it is dead, and life goes on with the disk returned.
//! - The same seed and the same calls give the same bytes, the same failures and the same [`FaultDisk::trace_hash`].

mod inode;
mod names;
mod plan;
mod state;
#[cfg(test)]
mod tests;

pub use plan::{Call, CallKind, CrashStyle, Failure, FaultPlan, Latency};

use crate::clock::ManualClock;
use crate::disk::{Disk, DiskFile, DiskLock, LockError, OpenMode};
use crate::random::SeededRandom;
use names::NameOp;
use parking_lot::{Mutex, MutexGuard};
use state::{Fate, State, dead};
use std::io;
use std::sync::Arc;

/// Space is handed out in blocks of this many bytes.
pub const BLOCK_SIZE_BYTES: u64 = 4096;

/// A disk in memory whose failures are decided by a seed. Cloning gives another handle to the same disk.
///
/// ```
/// use orchard_env::fault::{CrashStyle, FaultDisk};
/// use orchard_env::{Disk, OpenMode};
/// let disk = FaultDisk::new(7);
/// let file = disk.open("a", OpenMode::CreateNew)?;
/// file.write_all_at(0, b"kept")?;
/// file.sync_data()?;
/// disk.sync_dir("")?;
/// file.write_all_at(4, b"lost")?;
/// let after = disk.crash(CrashStyle::LoseAll);
/// assert_eq!(after.read_file("a"), Some(b"kept".to_vec()));
/// assert!(file.write_all_at(8, b"dead").is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct FaultDisk {
    shared: Arc<Mutex<State>>,
}

impl FaultDisk {
    /// An empty disk that has no faults until [`FaultDisk::set_plan`] gives it some.
    pub fn new(seed: u64) -> FaultDisk {
        FaultDisk::of(State::new(seed))
    }

    fn of(state: State) -> FaultDisk {
        FaultDisk { shared: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }

    /// The faults in force.
    pub fn plan(&self) -> FaultPlan {
        self.state().plan.clone()
    }

    /// Replaces the faults in force. Counts in the plan are of this disk's life: it begins with
    /// [`FaultDisk::new`] or with the crash that made it. A crash ends all faults but the size of the disk.
    pub fn set_plan(&self, plan: FaultPlan) {
        self.state().plan = plan;
    }

    /// Makes every call take time on `clock`. Kept over a crash.
    pub fn set_latency(&self, latency: Latency, clock: Arc<ManualClock>) {
        let mut state = self.state();
        state.latency = latency;
        state.clock = Some(clock);
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Calls so far that change something: all but reads.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// Calls so far that sync a file or a directory.
    pub fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// A hash of every call so far, written bytes included, those of earlier lives too.
    pub fn trace_hash(&self) -> u64 {
        self.state().hash
    }

    /// Begins to remember calls.
    pub fn trace_calls(&self) {
        self.state().trace = Some(Vec::new());
    }

    /// The calls since [`FaultDisk::trace_calls`], or since the crash that made this disk.
    pub fn traced_calls(&self) -> Vec<Call> {
        self.state().trace.clone().unwrap_or_default()
    }

    /// Whether the disk has come to its end: it crashed, or reached `crash_at_change`.
    pub fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// What a power failure now would leave, leaving this disk as it is. The image depends on `seed` alone, so
    /// that many images of one moment can be looked at.
    pub fn image(&self, style: CrashStyle, seed: u64) -> FaultDisk {
        let state = self.state();
        let random = SeededRandom::new(seed);
        let names = state.names.after_crash(style, &random);
        let survivors = state.inodes.iter().filter(|(id, _)| names.mentions(**id));
        let inodes = survivors.map(|(id, inode)| (*id, inode.after_crash(style, &random))).collect();
        FaultDisk::of(state.successor(random.next_u64(), inodes, names))
    }

    /// The power fails: this disk is dead, and what it left is returned.
    pub fn crash(&self, style: CrashStyle) -> FaultDisk {
        let seed = {
            let mut state = self.state();
            state.dead = true;
            state.random.next_u64()
        };
        self.image(style, seed)
    }

    /// The process dies: its handles and locks are gone, but everything it wrote is with the kernel, un-synced
    /// parts still un-synced.
    pub fn kill(&self) -> FaultDisk {
        let mut state = self.state();
        state.dead = true;
        let names = state.names.clone();
        let survivors = state.inodes.iter().filter(|(id, _)| names.mentions(**id));
        let inodes = survivors.map(|(id, inode)| (*id, inode.after_kill())).collect();
        let seed = state.random.next_u64();
        FaultDisk::of(state.successor(seed, inodes, names))
    }

    /// Every file's path and length, in order.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.state();
        let names = state.names.volatile.iter();
        let length = |id: &u64| state.inodes.get(id).map_or(0, |inode| inode.volatile.len() as u64);
        names.map(|(path, id)| (path.clone(), length(id))).collect()
    }

    /// The bytes of a file as a reader sees them. Not a call.
    pub fn read_file(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let id = state.names.volatile.get(path)?;
        state.inodes.get(id).map(|inode| inode.volatile.clone())
    }

    /// Replaces the bytes of a file, on the medium itself, or creates it. Not a call.
    pub fn write_file(&self, path: &str, bytes: &[u8]) {
        let mut state = self.state();
        let found = state.names.volatile.get(path).copied();
        let id = found.unwrap_or_else(|| state.create_inode());
        state.names.place(path, id);
        if let Some(inode) = state.inodes.get_mut(&id) {
            inode.replace(bytes);
        }
    }

    /// Flips the bits of `mask` in one byte, on the medium itself. False if the file does not reach there.
    pub fn flip(&self, path: &str, offset_bytes: u64, mask: u8) -> bool {
        let mut state = self.state();
        let Ok(id) = state.find(path) else { return false };
        state.inodes.get_mut(&id).is_some_and(|inode| inode.flip(offset_bytes, mask))
    }

    /// Bytes in use, in whole blocks.
    pub fn used_bytes(&self) -> u64 {
        self.state().used_bytes()
    }
}

struct FaultFile {
    shared: Arc<Mutex<State>>,
    inode: u64,
    path: String,
    writable: bool,
}

impl FaultFile {
    fn writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl Drop for FaultFile {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(inode) = state.inodes.get_mut(&self.inode) {
            inode.handles = inode.handles.saturating_sub(1);
        }
        if !state.dead {
            state.forget_unreachable();
        }
    }
}

impl DiskFile for FaultFile {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        if let Fate::Fail(failure) = state.begin(CallKind::Read, &self.path, offset_bytes, buffer)? {
            return Err(failure.error());
        }
        let short = state.plan.short_read_per_million;
        let length = if buffer.len() > 1 && short > 0 && state.random.chance(short) {
            1 + state.random.below(buffer.len() as u64 - 1) as usize
        } else {
            buffer.len()
        };
        let inode = state.inode(self.inode)?;
        let rest = inode.volatile.get(offset_bytes as usize..).unwrap_or_default();
        let count = rest.len().min(length);
        for (to, from) in buffer.chunks_mut(count.max(1)).zip(rest.chunks(count.max(1))).take(1) {
            to.copy_from_slice(from.get(..to.len()).unwrap_or(from));
        }
        Ok(count)
    }

    fn write_all_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.shared.lock().write(self.inode, &self.path, offset_bytes, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.shared.lock().sync_data(self.inode, &self.path)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        let mut state = self.shared.lock();
        match state.begin(CallKind::Length, &self.path, 0, &[])? {
            Fate::Fail(failure) => Err(failure.error()),
            _ => Ok(state.inode(self.inode)?.volatile.len() as u64),
        }
    }

    fn set_len_bytes(&self, length_bytes: u64) -> io::Result<()> {
        self.writable()?;
        let mut state = self.shared.lock();
        match state.begin(CallKind::SetLength, &self.path, length_bytes, &[])? {
            Fate::Fail(failure) => Err(failure.error()),
            Fate::Work => {
                state.inode(self.inode)?.set_len(length_bytes);
                Ok(())
            }
            Fate::Crash => {
                state.inode(self.inode)?.set_len(length_bytes);
                Err(dead())
            }
        }
    }
}

struct FaultLock {
    shared: Arc<Mutex<State>>,
    path: String,
}

impl DiskLock for FaultLock {}

impl Drop for FaultLock {
    fn drop(&mut self) {
        self.shared.lock().locks.remove(&self.path);
    }
}

impl Disk for FaultDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        if state.dead {
            return Err(dead());
        }
        let found = state.find(path);
        let creates = match mode {
            OpenMode::Read | OpenMode::ReadWrite => false,
            OpenMode::CreateNew => true,
            OpenMode::Create => found.is_err(),
        };
        let id = if creates {
            let id = state.create_inode();
            let outcome = match (&found, state.directory(names::parent(path))) {
                (Ok(_), _) => Err(io::ErrorKind::AlreadyExists.into()),
                (Err(_), Err(error)) => Err(error),
                (Err(_), Ok(())) => {
                    state.change_names(CallKind::Create, NameOp::Link { path: path.to_owned(), inode: id })
                }
            };
            if let Err(error) = outcome {
                state.forget_unreachable();
                return Err(error);
            }
            id
        } else {
            let empties = mode == OpenMode::Create;
            let kind = if empties { CallKind::SetLength } else { CallKind::Open };
            let fate = state.begin(kind, path, 0, &[])?;
            if let Fate::Fail(failure) = fate {
                return Err(failure.error());
            }
            let id = found?;
            if empties {
                state.inode(id)?.set_len(0);
            }
            if let Fate::Crash = fate {
                return Err(dead());
            }
            id
        };
        state.inode(id)?.handles += 1;
        Ok(Arc::new(FaultFile {
            shared: Arc::clone(&self.shared),
            inode: id,
            path: path.to_owned(),
            writable: mode != OpenMode::Read,
        }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        for (at, _) in path.match_indices('/').chain([(path.len(), "")]) {
            let dir = path.get(..at).unwrap_or(path);
            if state.directory(dir).is_err() {
                state.change_names(CallKind::CreateDir, NameOp::MakeDir { path: dir.to_owned() })?;
            }
        }
        if state.dead { Err(dead()) } else { Ok(()) }
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut state = self.state();
        if let Fate::Fail(failure) = state.begin(CallKind::List, path, 0, &[])? {
            return Err(failure.error());
        }
        state.directory(path)?;
        let mut found: Vec<String> = state.names.volatile.keys().cloned().collect();
        found.retain(|name| names::parent(name) == path);
        for name in &mut found {
            *name = name.rsplit('/').next().unwrap_or_default().to_owned();
        }
        // A directory has no order: whoever needs one must sort.
        for last in (1..found.len()).rev() {
            let other = state.random.below(last as u64 + 1) as usize;
            found.swap(last, other);
        }
        Ok(found)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.dead {
            return Err(dead());
        }
        let inode = state.find(from)?;
        state.directory(names::parent(to))?;
        state.change_names(
            CallKind::Rename,
            NameOp::Rename { from: from.to_owned(), to: to.to_owned(), inode },
        )
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut state = self.state();
        if state.dead {
            return Err(dead());
        }
        let inode = state.find(path)?;
        state.change_names(CallKind::Remove, NameOp::Unlink { path: path.to_owned(), inode })
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.state().sync_dir(path)
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let state = self.state();
        if state.dead { Err(dead()) } else { Ok(state.available_bytes()) }
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let mut state = self.state();
        if state.find(path).is_err() {
            let id = state.create_inode();
            let op = NameOp::Link { path: path.to_owned(), inode: id };
            let created = state.change_names(CallKind::Create, op);
            state.forget_unreachable();
            created.map_err(LockError::Io)?;
        } else if state.dead {
            return Err(LockError::Io(dead()));
        }
        if !state.locks.insert(path.to_owned()) {
            return Err(LockError::Held { pid: None });
        }
        Ok(Box::new(FaultLock { shared: Arc::clone(&self.shared), path: path.to_owned() }))
    }

    fn lock_existing(&self, path: &str) -> Result<Option<Box<dyn DiskLock>>, LockError> {
        let exists = self.state().find(path).is_ok();
        if exists { self.lock(path).map(Some) } else { Ok(None) }
    }

    fn location(&self) -> String {
        "a disk in memory".to_owned()
    }
}
