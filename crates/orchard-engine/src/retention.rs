//! How long log files stay for the feed after a checkpoint has made them unnecessary for recovery.
//!
//! - The manifest names the files that stay. One goes only after a manifest that does not name it is durable.
//! - Opening does not read them: recovery starts at the manifest's `first_log`.
//! - Where little of the disk is free they go first; an explicit compaction leaves an eighth of the segments' bytes.

use crate::engine::{Engine, EngineOptions};
use crate::error::CommitError;
use crate::manifest::Manifest;

/// Files that stay at most, however small: a process that is killed again and again makes a new one each time.
const RETAINED_FILES_MAX: usize = 64;

/// Takes files out of the manifest that need not stay; whether there were any.
pub(crate) fn trim(manifest: &mut Manifest, options: &EngineOptions, now_ms: u64) -> bool {
    let mut bytes: u64 = manifest.retained.iter().map(|file| file.size_bytes).sum();
    let mut count = manifest.retained.len();
    let goes = manifest.retained.iter().take_while(|file| {
        let is_old = file.end.last_time_ms.saturating_add(options.log_retention_ms) <= now_ms;
        let goes = is_old || bytes > options.log_retention_bytes || count > RETAINED_FILES_MAX;
        if goes {
            bytes -= file.size_bytes;
            count -= 1;
        }
        goes
    });
    let goes = goes.count();
    if let Some(last) = manifest.retained.drain(..goes).next_back() {
        manifest.feed_floor = last.end;
    }
    goes > 0
}

impl Engine {
    /// Lets log files go that have stayed long enough. Called now and then.
    ///
    /// # Errors
    /// What the disk says; they stay.
    pub fn retain_step(&self) -> Result<bool, CommitError> {
        self.retain(&self.retention())
    }

    /// What stays: nothing where little of the disk is free.
    pub(crate) fn retention(&self) -> EngineOptions {
        let options = self.options.clone();
        if self.is_space_scarce() { EngineOptions { log_retention_bytes: 0, ..options } } else { options }
    }

    /// As [`Engine::retain_step`], for whoever wants the disk's space back: what stays is at most an eighth of what the segments
    /// take.
    ///
    /// # Errors
    /// What the disk says; they stay.
    pub fn retain_less(&self) -> Result<bool, CommitError> {
        let mut options = self.retention();
        let segments: u64 = self.manifest.lock().segments.iter().map(|segment| segment.file_size_bytes).sum();
        options.log_retention_bytes = options.log_retention_bytes.min(segments / 8);
        self.retain(&options)
    }

    fn retain(&self, options: &EngineOptions) -> Result<bool, CommitError> {
        let mut manifest = self.manifest.lock();
        if manifest.retained.is_empty() {
            return Ok(false);
        }
        let mut next = manifest.clone();
        if !trim(&mut next, options, self.read_point().1.0) {
            return Ok(false);
        }
        self.store_manifest(&mut manifest, next)?;
        let (first_log, retained) = (manifest.first_log, manifest.retained.clone());
        drop(manifest);
        self.retire_log(first_log, &retained);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::log::{LogFileEnd, OldLogFile};

    fn manifest(count: u64) -> Manifest {
        let file = |number: u64| OldLogFile {
            number,
            size_bytes: 100,
            end: LogFileEnd {
                last_commit: number * 10,
                last_stamp: number * 10 + 1,
                last_time_ms: number * 1_000,
            },
        };
        Manifest { retained: (1..=count).map(file).collect(), ..Manifest::default() }
    }

    fn left(count: u64, ms: u64, bytes: u64) -> (Vec<u64>, u64) {
        let options =
            EngineOptions { log_retention_ms: ms, log_retention_bytes: bytes, ..EngineOptions::default() };
        let mut manifest = manifest(count);
        let trimmed = trim(&mut manifest, &options, 5_000);
        assert_eq!(trimmed, manifest.retained.len() < count as usize);
        (manifest.retained.iter().map(|file| file.number).collect(), manifest.feed_floor.last_commit)
    }

    #[test]
    fn files_go_by_age_bytes_and_number_the_oldest_first() {
        assert_eq!(left(4, 2_500, u64::MAX), (vec![3, 4], 20));
        assert_eq!(left(4, 10_000, 250), (vec![3, 4], 20));
        assert_eq!(left(4, 10_000, 400), (vec![1, 2, 3, 4], 0));
        assert_eq!(left(4, 0, u64::MAX), (vec![], 40));
        assert_eq!(left(4, u64::MAX, 0), (vec![], 40));
        assert_eq!(left(70, u64::MAX, u64::MAX).0.len(), RETAINED_FILES_MAX);
    }
}
