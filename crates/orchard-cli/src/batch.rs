//! `orchard batch`: an operation a line in, a result a line out, in order; in pieces, so that memory does not grow with
//! the file. A line that is no operation has a result, too, and the rest goes on.

use crate::args::BatchArgs;
use crate::error::{CliError, Result, stdout};
use crate::files;
use crate::target::Target;
use orchard_client::{BatchOperation, BatchResult};
use orchard_wire::batch_json;
use orchard_wire::element_json::Verb;
use orchard_wire::value_json::Form;
use orchard_wire::{Kind, Problem};
use orcharddb::{LimitError, limits};
use std::io::{self, Write as _};

/// Operations sent at once.
const PIECE_OPERATIONS_MAX: usize = 1_000;
/// A piece is sent when its lines have this many bytes.
const PIECE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest line: the largest value, every byte of it escaped, and its key.
const LINE_SIZE_BYTES_MAX: usize = 6 * limits::VALUE_SIZE_BYTES_MAX + 64 * 1024;

/// Runs the operations of a file. `false`: one of them failed.
///
/// # Errors
/// The file cannot be read, or the database not be reached: what became of the lines without a result is unknown.
pub fn run(args: &BatchArgs) -> Result<bool> {
    let target = Target::open(&args.target, true)?;
    let name = args.file.display().to_string();
    let mut input = files::open_input(&args.file).map_err(CliError::io(&name))?.reader;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut fine = true;
    let mut line = Vec::new();
    let mut piece = Vec::new();
    let mut piece_bytes = 0;
    loop {
        let length =
            files::read_line(&mut input, &mut line, LINE_SIZE_BYTES_MAX).map_err(CliError::io(&name))?;
        let is_end = length == 0;
        if let Err(error) = LimitError::check("line_size_bytes", LINE_SIZE_BYTES_MAX, length) {
            piece.push(Err(error.into()));
        } else if !line.trim_ascii().is_empty() {
            piece_bytes += line.len();
            piece.push(batch_json::parse_operation(line.trim_ascii()));
        }
        if is_end || piece.len() >= PIECE_OPERATIONS_MAX || piece_bytes >= PIECE_BYTES_MAX {
            fine &= send(&target, std::mem::take(&mut piece), &mut out)?;
            piece_bytes = 0;
        }
        if is_end {
            break;
        }
    }
    out.flush().map_err(stdout)?;
    drop(out);
    target.close()?;
    Ok(fine)
}

fn send(
    target: &Target,
    piece: Vec<Result<BatchOperation, Problem>>,
    out: &mut impl io::Write,
) -> Result<bool> {
    let operations: Vec<_> = piece.iter().filter_map(|operation| operation.as_ref().ok().cloned()).collect();
    if piece.is_empty() {
        return Ok(true);
    }
    let mut results = target.wait(target.client().batch(&operations))?.into_iter();
    let mut fine = true;
    let mut lines = Vec::new();
    for operation in piece {
        let verb = match &operation {
            Ok(BatchOperation::Step(_, step)) => Some(Verb::of(step)),
            _ => None,
        };
        let result = match operation {
            Err(problem) => Err(problem),
            Ok(_) => {
                results.next().unwrap_or_else(|| Err(Problem::new(Kind::Internal, "there is no result")))
            }
        };
        match result {
            Ok(BatchResult::Found(entry)) => batch_json::write_found(&mut lines, Some(&entry), Form::Shown),
            Ok(BatchResult::Absent) => batch_json::write_found(&mut lines, None, Form::Shown),
            Ok(BatchResult::Written(versionstamp)) => batch_json::write_written(&mut lines, versionstamp),
            Ok(BatchResult::Stepped(versionstamp, stepped)) => match verb {
                Some(verb) => {
                    batch_json::write_stepped(&mut lines, versionstamp, verb, &stepped, Form::Shown)
                }
                None => batch_json::write_written(&mut lines, versionstamp),
            },
            Err(problem) => {
                fine = false;
                batch_json::write_problem(&mut lines, &problem);
            }
        }
        lines.push(b'\n');
    }
    out.write_all(&lines).map_err(stdout)?;
    Ok(fine)
}
