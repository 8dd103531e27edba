//! `orchard export`: entries become NDJSON lines, from one snapshot, in constant memory; a collection one for each thousand
//! elements or MiB.

use crate::args::ExportArgs;
use crate::commands::scan_request;
use crate::error::{CliError, Result, stdout};
use crate::files;
use crate::progress::Progress;
use crate::target::Target;
use crate::units;
use orchard_wire::entry_json;
use orcharddb::collection::Exported;
use std::io::{self, Write as _};
use std::path::Path;

/// Entries between two steps of the progress bar.
const PROGRESS_STEP_ENTRIES: u64 = 1_000;

/// Exports the range.
///
/// # Errors
/// Reading or writing failed.
pub fn run(args: &ExportArgs) -> Result<()> {
    let request = scan_request(&args.range)?;
    let target = Target::open(&args.target, false)?;
    let to_stdout = args.file == Path::new("-");
    let name = args.file.display().to_string();
    let failed = |error: io::Error| if to_stdout { stdout(error) } else { CliError::io(&name)(error) };
    let mut output = files::create_output(&args.file).map_err(failed)?;
    let progress = Progress::new(None);
    let mut line = Vec::new();
    let mut entries = 0_u64;
    for exported in target.export(&request)? {
        let exported = exported?;
        line.clear();
        entry_json::write_exported(&mut line, &exported, request.keys_only, !args.no_versionstamps);
        output.write_all(&line).map_err(failed)?;
        // The pieces of a collection are one entry.
        if matches!(exported, Exported::Piece { offset: 1.., .. }) {
            continue;
        }
        entries += 1;
        if entries.is_multiple_of(PROGRESS_STEP_ENTRIES) {
            progress.set(0, entries);
        }
    }
    output.finish().map_err(failed)?;
    progress.clear();
    target.close()?;
    let _ = writeln!(io::stderr(), "exported {}", units::format_entries(entries));
    Ok(())
}
