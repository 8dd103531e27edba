//! `orchard check`: reads a data directory and writes nothing.

use crate::args::CheckArgs;
use crate::error::{CliError, Exit, Result, opening, stdout};
use crate::settings::process_environment;
use crate::target::check_directory;
use crate::units;
use orcharddb::FilePlace;
use std::io::{self, Write as _};
use std::path::PathBuf;

/// Verifies the directory and says what it holds.
///
/// # Errors
/// Exit code 5 and the file and offset of the damage, 6 for a newer format, 4 for a locked directory.
pub fn run(args: &CheckArgs) -> Result<()> {
    let data = match &args.data {
        Some(data) => Some(data.clone()),
        None => process_environment("ORCHARD_DATA")?.map(PathBuf::from),
    };
    let data = data.unwrap_or_else(|| PathBuf::from("./orchard-data"));
    check_directory(&data, false)?;
    let report = orcharddb::verify_directory(&data).map_err(opening(&data))?;
    let damage = if report.manifest_damage.is_some() { "it opens" } else { "no damage" };
    let mut lines = format!(
        "{}: {damage}; {}, {} of keys and values\n",
        data.display(),
        units::format_entries(report.entries),
        units::format_size(report.key_bytes + report.value_bytes)
    );
    if let Some(FilePlace { file, offset_bytes }) = report.torn_tail {
        lines.push_str(&format!(
            "note: {file} has a torn tail at byte {offset_bytes}: a write that a crash cut off before it was \
             acknowledged. The next open leaves it out.\n"
        ));
    }
    io::stdout().write_all(lines.as_bytes()).map_err(stdout)?;
    match report.manifest_damage {
        None => Ok(()),
        Some(damage) => {
            let message = format!("{damage}. Its other copy is whole: the next open writes both anew.");
            Err(CliError::new(Exit::Corruption, message))
        }
    }
}
