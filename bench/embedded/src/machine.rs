//! The machine: disk, memory, page cache, and what to print about it.

use crate::store::Result;
use rustix::fs::Advice;
use std::fs::{File, read_dir, read_to_string};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Writes out what the kernel still holds, so that one measurement does not pay for the one before.
pub fn sync_disks() {
    rustix::fs::sync();
}

fn files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Bytes of disk that the files of `dir` occupy (blocks, not lengths).
pub fn allocated_bytes(dir: &Path) -> Result<u64> {
    sync_disks();
    files(dir)?.iter().try_fold(0, |sum, file| Ok(sum + file.metadata()?.blocks() * 512))
}

/// Makes the kernel forget the contents of the files of `dir`.
pub fn drop_page_cache(dir: &Path) -> Result {
    for file in files(dir)? {
        let file = File::open(file)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed)?;
    }
    Ok(())
}

/// Ends this process as `kill -9` does.
pub fn kill_this_process() -> ! {
    let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    std::process::abort()
}

/// Memory of this process.
pub struct Memory {
    /// Everything mapped and present, files too.
    pub rss_bytes: u64,
    /// Private memory alone.
    pub anon_bytes: u64,
}

impl Memory {
    pub fn of_this_process() -> Result<Memory> {
        let status = read_to_string("/proc/self/status")?;
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find(|line| line.starts_with(name)).ok_or("no such field in status")?;
            let kib: u64 = line.split_whitespace().nth(1).ok_or("no number in status")?.parse()?;
            Ok(kib * 1_024)
        };
        Ok(Memory { rss_bytes: field("VmRSS:")?, anon_bytes: field("RssAnon:")? })
    }
}

/// Writes of so many bytes and an fdatasync after each, per second: appended to a growing file, or into space that was
/// written (and synced) before.
pub fn sync_rate(dir: &Path, written: bool, bytes: usize, time: Duration) -> Result<f64> {
    const SPACE_BYTES: u64 = 256 * 1024 * 1024;
    let path = dir.join("raw");
    let mut file = File::options().create_new(true).read(true).write(true).open(&path)?;
    if written {
        let zeros = vec![0; 1024 * 1024];
        for _ in 0..SPACE_BYTES / zeros.len() as u64 {
            file.write_all(&zeros)?;
        }
    }
    file.sync_all()?;
    sync_disks();
    let record = vec![0x5a; bytes];
    let (mut offset, mut count) = (0, 0);
    let start = Instant::now();
    while start.elapsed() < time {
        file.write_all_at(&record, offset)?;
        file.sync_data()?;
        offset = if written { (offset + bytes as u64) % SPACE_BYTES } else { offset + bytes as u64 };
        count += 1;
    }
    let rate = f64::from(count) / start.elapsed().as_secs_f64();
    std::fs::remove_file(path)?;
    Ok(rate)
}

/// One line about where this ran.
pub fn describe(dir: &Path) -> String {
    let first = |path: &str, key: &str| {
        let text = read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
        line.split_once(':').map_or(line, |(_, value)| value).trim().to_string()
    };
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    let kernel = read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = first("/proc/meminfo", "MemTotal");
    let load = read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split(' ').take(2).collect();
    format!(
        "{} ({cores} cores), {memory} memory, Linux {}, {}; load average before the run {}",
        first("/proc/cpuinfo", "model name"),
        kernel.trim(),
        filesystem(dir),
        load.join(" "),
    )
}

/// Name of the file system that holds `dir`.
pub fn filesystem(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let mounts = read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.len() > 2 && dir.starts_with(fields[1]));
    holding.max_by_key(|fields| fields[1].len()).map_or_else(|| "?".into(), |fields| fields[2].to_string())
}
