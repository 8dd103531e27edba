//! One directory tree as a trait.

use std::fmt;
use std::io;
use std::sync::Arc;

/// How a file is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpenMode {
    /// The file exists and is only read.
    Read,
    /// The file exists and is read and written.
    ReadWrite,
    /// The file must not exist; it is created, read and written.
    CreateNew,
    /// The file is created, or emptied if it exists; read and written.
    Create,
}

/// See [`DiskFile::write_durably_at`].
pub const DURABLE_BLOCK_BYTES: usize = 4_096;

/// An error of a sync: whatever its kind, it does not say that nothing was written.
pub(crate) fn never_full(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => io::Error::other(error),
        _ => error,
    }
}

/// One open file. Written bytes may vanish in a crash until [`DiskFile::sync_data`] returns `Ok`.
pub trait DiskFile: Send + Sync {
    /// Reads at most `buffer.len()` bytes from `offset_bytes`; 0 at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn read_at(&self, offset_bytes: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset_bytes`, growing the file if needed.
    ///
    /// # Errors
    /// What the operating system says; any part of `bytes` may have been written.
    fn write_all_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all written bytes and the file's length durable (fdatasync).
    ///
    /// # Errors
    /// After an error nothing is known about what is durable; it must not be retried.
    fn sync_data(&self) -> io::Result<()>;

    /// Writes all of `bytes` at `offset_bytes` and makes them durable, with all that was written before, and the file's length.
    /// For a file that is only added to: what lies behind `bytes` up to the next multiple of [`DURABLE_BLOCK_BYTES`] may
    /// become zeros.
    ///
    /// # Errors
    /// As for [`DiskFile::write_all_at`] where the disk is full; after any other error nothing is known about what is
    /// durable, and it must not be retried.
    fn write_durably_at(&self, offset_bytes: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(offset_bytes, bytes)?;
        self.sync_data().map_err(never_full)
    }

    /// Length in bytes.
    ///
    /// # Errors
    /// What the operating system says.
    fn len_bytes(&self) -> io::Result<u64>;

    /// Cuts or extends (with zeros) the file.
    ///
    /// # Errors
    /// What the operating system says.
    fn set_len_bytes(&self, length_bytes: u64) -> io::Result<()>;

    /// Reads exactly `buffer.len()` bytes from `offset_bytes`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends earlier, else what the operating system says.
    fn read_exact_at(&self, mut offset_bytes: u64, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            match self.read_at(offset_bytes, buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    offset_bytes += count as u64;
                    buffer = buffer.get_mut(count..).unwrap_or_default();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Held as long as the value lives; then released.
pub trait DiskLock: Send + Sync {}

/// Why the directory could not be locked.
#[derive(Debug)]
pub enum LockError {
    /// Another process holds the lock; its pid if the lock file tells.
    Held {
        /// The other process.
        pid: Option<u32>,
    },
    /// The lock file could not be opened or written.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { pid: Some(pid) } => write!(f, "locked by process {pid}"),
            LockError::Held { pid: None } => f.write_str("locked by another process"),
            LockError::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LockError {}

/// One directory tree. Paths are relative, with `/` between parts; the root is `""`.
pub trait Disk: Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` (for [`OpenMode::CreateNew`]), or what the operating system says.
    fn open(&self, path: &str, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and those above it; fine if it exists.
    ///
    /// # Errors
    /// What the operating system says.
    fn create_dir(&self, path: &str) -> io::Result<()>;

    /// Names of the files in a directory, unordered. Directories are left out.
    ///
    /// # Errors
    /// `NotFound`, or what the operating system says.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Gives a file another name, replacing a file of that name atomically.
    ///
    /// # Errors
    /// What the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Open handles stay readable.
    ///
    /// # Errors
    /// What the operating system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As for [`DiskFile::sync_data`].
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// Bytes that can still be written to the file system.
    ///
    /// # Errors
    /// What the operating system says.
    fn available_bytes(&self) -> io::Result<u64>;

    /// Takes the exclusive lock on `path` for this process.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if another process (or handle) has it.
    fn lock(&self, path: &str) -> Result<Box<dyn DiskLock>, LockError>;

    /// Takes the exclusive lock on `path` without a change to any byte; `None` if there is no such file, and so nobody
    /// who could hold it.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if another process (or handle) has it.
    fn lock_existing(&self, path: &str) -> Result<Option<Box<dyn DiskLock>>, LockError>;

    /// Where the tree is, for people to read.
    fn location(&self) -> String;

    /// Memory that the process may use: the machine's, or less if a cgroup says so.
    fn machine_memory_bytes(&self) -> u64 {
        1 << 30
    }
}

/// A disk that has nothing and takes nothing; for databases in memory alone.
#[derive(Debug, Default)]
pub struct NoDisk;

impl Disk for NoDisk {
    fn open(&self, _path: &str, _mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn create_dir(&self, _path: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn list(&self, _path: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn rename(&self, _from: &str, _to: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _path: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync_dir(&self, _path: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(0)
    }

    fn lock(&self, _path: &str) -> Result<Box<dyn DiskLock>, LockError> {
        Err(LockError::Io(io::ErrorKind::Unsupported.into()))
    }

    fn lock_existing(&self, _path: &str) -> Result<Option<Box<dyn DiskLock>>, LockError> {
        Ok(None)
    }

    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn machine_memory_bytes(&self) -> u64 {
        crate::real_disk::machine_memory_bytes()
    }
}
