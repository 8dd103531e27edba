//! `orchard repair`: what can be read of a damaged directory, in a new one.

use crate::args::RepairArgs;
use crate::error::{CliError, Exit, Result, stdout};
use crate::target::check_directory;
use crate::{files, units};
use orcharddb::FilePlace;
use std::io::{self, Write as _};

/// Repairs and tells what was lost.
///
/// # Errors
/// Exit code 5 if something was lost; 2 if the new directory is not empty; else as for `orchard check`.
pub fn run(args: &RepairArgs) -> Result<()> {
    check_directory(&args.directory, false)?;
    if !files::is_empty_directory(&args.into) {
        return Err(CliError::usage(format!("{} is not an empty directory", args.into.display())));
    }
    let report = orcharddb::repair_directory(&args.directory, &args.into)?;
    let mut out = io::stdout().lock();
    for lost in &report.lost {
        writeln!(out, "lost: {}, byte {}: {}", lost.file, lost.offset_bytes, lost.detail).map_err(stdout)?;
    }
    if let Some(FilePlace { file, offset_bytes }) = report.torn_tail {
        let line = format!("note: {file} ends at byte {offset_bytes} in a write that a crash cut off");
        writeln!(out, "{line}").map_err(stdout)?;
    }
    let (into, entries) = (args.into.display(), units::format_entries(report.entries));
    writeln!(out, "{into}: {entries} saved").map_err(stdout)?;
    match report.lost.len() {
        0 => Ok(()),
        1 => Err(CliError::new(Exit::Corruption, "1 place could not be read")),
        count => Err(CliError::new(Exit::Corruption, format!("{count} places could not be read"))),
    }
}
