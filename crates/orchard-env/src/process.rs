//! What the operating system says of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fs;

/// Time and memory that a process has used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Processor time in its own code, in milliseconds.
    pub user_ms: u64,
    /// Processor time in the kernel, in milliseconds.
    pub system_ms: u64,
    /// Memory that is in the machine's.
    pub resident_bytes: u64,
}

/// Clock ticks of `/proc` in a second; the kernel shows everybody this many.
const TICKS_PER_SECOND: u64 = 100;

impl ProcessUsage {
    /// Of this process; `None` where it cannot be told.
    pub fn now() -> Option<ProcessUsage> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        ProcessUsage::parse(&fs::read_to_string("/proc/self/stat").ok()?, &status)
    }

    fn parse(stat: &str, status: &str) -> Option<ProcessUsage> {
        // The name, in parentheses, may hold anything.
        let (_, behind_name) = stat.rsplit_once(')')?;
        let mut fields = behind_name.split_whitespace().skip(11);
        let mut ticks_ms = || Some(fields.next()?.parse::<u64>().ok()? * (1_000 / TICKS_PER_SECOND));
        let (user_ms, system_ms) = (ticks_ms()?, ticks_ms()?);
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(ProcessUsage { user_ms, system_ms, resident_bytes: resident_kib << 10 })
    }
}

/// Raises the limit of open files of this process, if it is lower and may be raised; returns the limit that holds then.
pub fn allow_open_files(wanted: u64) -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let (current, maximum) = (limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX));
    let raised = wanted.min(maximum);
    if raised <= current {
        return current;
    }
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum: limit.maximum }) {
        Ok(()) => raised,
        Err(_) => current,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_raised_as_far_as_it_may_be() {
        let before = allow_open_files(0);
        assert!(before > 0);
        let most = allow_open_files(u64::MAX);
        assert!(most >= before);
        assert_eq!(allow_open_files(1), most, "it is never lowered");
    }

    #[test]
    fn the_kernel_s_text_is_read() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 1 0 1 1 1";
        let usage = ProcessUsage::parse(stat, "Name:\ta\nVmRSS:\t    2048 kB\n");
        assert_eq!(usage, Some(ProcessUsage { user_ms: 120, system_ms: 340, resident_bytes: 2 << 20 }));
        assert_eq!(ProcessUsage::parse("7 (a", ""), None);
    }
}
