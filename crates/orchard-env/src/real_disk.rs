//! A directory of the machine.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the one place that opens the machine's files"
)]

use crate::direct::{DIRECT_SIZE_BYTES_MAX, DirectFile};
use crate::disk::{Disk, DiskFile, DiskLock, LockError, OpenMode, never_full};
use parking_lot::Mutex;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A directory of the machine. Files are created for their owner alone (mode 0600, directories 0700).
#[derive(Debug)]
pub struct RealDisk {
    root: PathBuf,
}

impl RealDisk {
    /// Opens `root`, creating it if it does not exist.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = root.into();
        let existed = root.is_dir();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        if !existed && let Some(parent) = root.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            File::open(parent)?.sync_all()?;
        }
        Ok(RealDisk { root })
    }

    /// Opens `root`, which must exist; creates nothing.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or what the operating system says.
    pub fn existing(root: impl Into<PathBuf>) -> io::Result<RealDisk> {
        let root = root.into();
        if !fs::metadata(&root)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(RealDisk { root })
    }

    fn path(&self, path: &str) -> PathBuf {
        if path.is_empty() { self.root.clone() } else { self.root.join(Path::new(path)) }
    }
}

struct RealFile {
    file: File,
    /// Something was written that no sync has made durable.
    is_dirty: AtomicBool,
    direct: Mutex<DirectState>,
}

/// Whether durable writes go past the page cache.
enum DirectState {
    Untried,
    On(DirectFile),
    /// This file system cannot, or not in this way.
    Off,
}

impl RealFile {
    fn sync_written(&self) -> io::Result<()> {
        // Before the sync: what is written meanwhile is for the next one.
        self.is_dirty.store(false, Ordering::SeqCst);
        self.file.sync_data()
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(buffer, offset_bytes)
    }

    fn write_all_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all_at(bytes, offset_bytes);
        // Behind the write: a sync that began before may not have seen it.
        self.is_dirty.store(true, Ordering::SeqCst);
        written
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync_written()
    }

    fn write_durably_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        let mut direct = self.direct.lock();
        if matches!(*direct, DirectState::Untried) {
            *direct = DirectFile::open(&self.file).map_or(DirectState::Off, DirectState::On);
        }
        if let DirectState::On(file) = &mut *direct
            && bytes.len() <= DIRECT_SIZE_BYTES_MAX
        {
            if self.is_dirty.load(Ordering::SeqCst) {
                file.forget();
                self.sync_written().map_err(never_full)?;
            }
            if file.write(&self.file, offset_bytes, bytes)? {
                return Ok(());
            }
            *direct = DirectState::Off;
        }
        drop(direct);
        self.write_all_at(offset_bytes, bytes)?;
        self.sync_written().map_err(never_full)
    }

    fn len_bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len_bytes(&self, length_bytes: u64) -> io::Result<()> {
        let set = self.file.set_len(length_bytes);
        self.is_dirty.store(true, Ordering::SeqCst);
        set
    }
}

struct RealLock {
    file: File,
}

impl DiskLock for RealLock {}

impl Drop for RealLock {
    /// Closing the file would not do: a process that was just forked off has it open too, until it becomes another
    /// program.
    fn drop(&mut self) {
        // What fails here lets go when the last process has closed the file.
        let _ = self.file.unlock();
    }
}

fn try_lock(file: &File) -> Result<(), LockError> {
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            Err(LockError::Held { pid: text.trim().parse().ok() })
        }
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
            OpenMode::Create => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(RealFile {
            file: options.open(self.path(path))?,
            is_dirty: AtomicBool::new(true),
            direct: Mutex::new(DirectState::Untried),
        }))
    }

    fn create_dir(&self, path: &str) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(path))? {
            let entry = entry?;
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.path(path))
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        File::open(self.path(path))?.sync_all()
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, LockError> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path(path))
            .map_err(LockError::Io)?;
        try_lock(&file)?;
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(LockError::Io)?;
        Ok(Box::new(RealLock { file }))
    }

    fn lock_existing(&self, path: &str) -> Result<Option<Box<dyn DiskLock>>, LockError> {
        let file = match File::open(self.path(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LockError::Io(error)),
        };
        try_lock(&file)?;
        Ok(Some(Box::new(RealLock { file })))
    }

    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn machine_memory_bytes(&self) -> u64 {
        machine_memory_bytes()
    }
}

/// The machine's memory, or the limit of the process's cgroup (v2, else v1) if that is less.
pub fn machine_memory_bytes() -> u64 {
    let total = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| {
            let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        })
        .map_or(1 << 30, |kib| kib << 10);
    let own_group = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own_path = own_group.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let limits = [
        format!("/sys/fs/cgroup{}/memory.max", own_path.trim_end_matches('/')),
        "/sys/fs/cgroup/memory.max".to_owned(),
        "/sys/fs/cgroup/memory/memory.limit_in_bytes".to_owned(),
    ];
    limits
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok())
        .fold(total, u64::min)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::SeededRandom;

    #[test]
    fn files_and_names_behave() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let disk = RealDisk::open(dir.path().join("deep/er"))?;
        disk.create_dir("wal")?;
        let file = disk.open("wal/1", OpenMode::CreateNew)?;
        file.write_all_at(3, b"abc")?;
        file.sync_data()?;
        disk.sync_dir("wal")?;
        let mut buffer = [9; 6];
        file.read_exact_at(0, &mut buffer)?;
        assert_eq!(&buffer, b"\0\0\0abc");
        assert_eq!(
            disk.open("wal/1", OpenMode::CreateNew).map(drop).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        disk.rename("wal/1", "wal/2")?;
        assert_eq!(disk.list("wal")?, ["2"]);
        disk.remove("wal/2")?;
        assert!(disk.list("wal")?.is_empty());
        assert!(disk.available_bytes()? > 0);
        Ok(())
    }

    /// As between `fork` and `exec` of a child.
    #[test]
    fn a_lock_is_free_again_though_its_file_is_open_elsewhere() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let disk = RealDisk::open(dir.path())?;
        disk.open("LOCK", OpenMode::Create)?;
        let file = File::options().read(true).write(true).open(dir.path().join("LOCK"))?;
        assert!(try_lock(&file).is_ok());
        let elsewhere = file.try_clone()?;
        let lock = RealLock { file };
        assert!(disk.lock_existing("LOCK").is_err());
        drop(lock);
        assert!(matches!(disk.lock_existing("LOCK"), Ok(Some(_))));
        drop(elsewhere);
        Ok(())
    }

    /// A log: frames of all sizes one behind the other, over what was written ahead or lay there before, under a name that
    /// changes.
    #[test]
    fn durable_writes_are_what_was_written() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let disk = RealDisk::open(dir.path())?;
        let random = SeededRandom::new(7);
        let file = disk.open("0", OpenMode::CreateNew)?;
        file.write_all_at(0, &vec![0xee; 300_000])?;
        let mut model = Vec::new();
        for number in 0..200_u64 {
            let size = match random.below(8) {
                0 => random.below(20_000),
                1 => 4_096,
                2 => 0,
                _ => random.below(600),
            };
            let bytes = vec![number as u8 + 1; size as usize];
            match random.below(6) {
                // In between written as any other, and more behind it.
                0 => {
                    file.write_all_at(model.len() as u64, &bytes)?;
                    file.write_all_at((model.len() + bytes.len()) as u64, &[0xdd; 9])?;
                }
                _ => file.write_durably_at(model.len() as u64, &bytes)?,
            }
            if random.below(20) == 0 {
                disk.rename(&disk.list("")?[0], &number.to_string())?;
                disk.open("other", OpenMode::Create)?.write_all_at(0, b"another file")?;
                disk.remove("other")?;
            }
            model.extend_from_slice(&bytes);
            let mut read = vec![0; model.len()];
            file.read_exact_at(0, &mut read)?;
            assert!(read == model, "after write {number} of {size} bytes");
        }
        let large = vec![5; DIRECT_SIZE_BYTES_MAX + 1];
        file.write_durably_at(model.len() as u64, &large)?;
        file.write_durably_at((model.len() + large.len()) as u64, b"end")?;
        let mut read = vec![0; model.len() + large.len() + 3];
        file.read_exact_at(0, &mut read)?;
        assert!(read == [model.as_slice(), &large, b"end"].concat());
        Ok(())
    }

    #[test]
    fn a_second_lock_names_the_holder() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let disk = RealDisk::open(dir.path())?;
        let held = disk.lock("LOCK").expect("free");
        match disk.lock("LOCK") {
            Err(LockError::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("expected held, got {:?}", other.map(drop)),
        }
        assert!(matches!(disk.lock_existing("LOCK"), Err(LockError::Held { .. })));
        drop(held);
        let content = fs::read(dir.path().join("LOCK"))?;
        let looked = disk.lock_existing("LOCK").expect("free again").expect("it exists");
        assert_eq!(fs::read(dir.path().join("LOCK"))?, content);
        assert!(matches!(disk.lock("LOCK"), Err(LockError::Held { .. })));
        drop(looked);
        drop(disk.lock("LOCK").expect("free again"));
        assert!(disk.lock_existing("OTHER").expect("nobody holds it").is_none());
        assert!(!dir.path().join("OTHER").exists());
        Ok(())
    }
}
