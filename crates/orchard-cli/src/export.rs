//! `orchard export`: entries become NDJSON lines, from one snapshot, in constant memory.

use crate::args::ExportArgs;
use crate::commands::scan_request;
use crate::error::{CliError, Result, stdout};
use crate::files;
use crate::progress::Progress;
use crate::target::Target;
use crate::units;
use orchard_wire::{entry_json, rfc3339, value_json};
use orcharddb::{Entry, Value, ValueType};
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
    for entry in target.scan(&request)? {
        let entry = entry?;
        line.clear();
        write_line(&mut line, &entry, args);
        output.write_all(&line).map_err(failed)?;
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

/// Appends the line of an entry: as [`entry_json::write`], but a JavaScript value in its own bytes, which a rendering as
/// JSON may not give back, and without what changes with each copy if that is not wanted.
fn write_line(line: &mut Vec<u8>, entry: &Entry, args: &ExportArgs) {
    line.extend_from_slice(b"{\"key\":");
    entry_json::write_key(line, &entry.key);
    if !args.range.keys_only {
        line.extend_from_slice(b",\"value\":");
        match entry.value.value_type {
            ValueType::V8 => value_json::write(line, &Value::bytes(entry.value.data.clone())),
            _ => value_json::write(line, &entry.value),
        }
    }
    line.extend_from_slice(format!(",\"type\":\"{}\"", entry.value.value_type).as_bytes());
    if !args.no_versionstamps {
        line.extend_from_slice(format!(",\"versionstamp\":\"{}\"", entry.versionstamp).as_bytes());
    }
    if let Some(expires_at) = entry.expires_at {
        line.extend_from_slice(format!(",\"expires_at\":\"{}\"", rfc3339::render(expires_at)).as_bytes());
    }
    line.extend_from_slice(b"}\n");
}
