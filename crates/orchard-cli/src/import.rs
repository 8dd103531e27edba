//! `orchard import`: NDJSON lines become entries.
//!
//! - Lines become commits of [`BATCH_ENTRIES_MAX`] entries or [`BATCH_SIZE_BYTES_MAX`] bytes; a few are on their way
//!   at a time, and memory does not grow with the file.
//! - `committed` is a prefix of the lines: everything up to it is on disk. Lines behind it may be, too; importing a
//!   line twice does no harm.
//! - Two commits that write the same key are never on their way together, so the later line wins.
//! - A bad line stops the import with its number, everything before it imported.

use crate::args::{ImportArgs, ImportFormat};
use crate::error::{CliError, Result};
use crate::files;
use crate::progress::Progress;
use crate::target::{Target, Ticket};
use crate::units;
use orchard_wire::Problem;
use orchard_wire::entry_json::{self, ExportLine, Piece, Record};
use orcharddb::{Commit, Key, LimitError, limits};
use std::collections::{HashSet, VecDeque};
use std::io::{self, BufRead, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::Xxh3Default;

/// Entries of one commit.
const BATCH_ENTRIES_MAX: usize = 1_000;
/// Key and value bytes of one commit; one larger entry is a commit alone.
const BATCH_SIZE_BYTES_MAX: usize = 1024 * 1024;
/// Commits on their way at a time.
const IN_FLIGHT_COMMITS_MAX: usize = 8;
/// Key and value bytes on their way at a time.
const IN_FLIGHT_SIZE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest line: the largest value, every byte of it escaped, and its key.
const LINE_SIZE_BYTES_MAX: usize = 6 * limits::VALUE_SIZE_BYTES_MAX + 64 * 1024;

const _: () = assert!(BATCH_ENTRIES_MAX <= limits::COMMIT_OPERATIONS_MAX);
const _: () = assert!(
    BATCH_SIZE_BYTES_MAX + limits::VALUE_SIZE_BYTES_MAX + limits::KEY_SIZE_BYTES_MAX
        <= limits::COMMIT_SIZE_BYTES_MAX
);

/// A place between two lines.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Position {
    lines: u64,
    bytes: u64,
    entries: u64,
    /// Checksum of all bytes before it.
    checksum: u64,
}

/// Reads lines and knows where it is.
struct Lines {
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    hasher: Xxh3Default,
    /// Behind the line that was read last.
    lines: u64,
    bytes: u64,
}

impl Lines {
    fn new(reader: Box<dyn BufRead>) -> Lines {
        Lines { reader, line: Vec::new(), hasher: Xxh3Default::new(), lines: 0, bytes: 0 }
    }

    /// Reads the next line into `line`; false at the end.
    fn next(&mut self) -> io::Result<bool> {
        self.line.clear();
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let end = available.iter().position(|byte| *byte == b'\n').map(|position| position + 1);
            let taken = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
            if self.line.len() + taken.len() > LINE_SIZE_BYTES_MAX {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {} is longer than {LINE_SIZE_BYTES_MAX} bytes", self.lines + 1),
                ));
            }
            self.line.extend_from_slice(taken);
            let taken_bytes = taken.len();
            self.reader.consume(taken_bytes);
            if end.is_some() || taken_bytes == 0 {
                break;
            }
        }
        self.hasher.update(&self.line);
        self.bytes += self.line.len() as u64;
        self.lines += u64::from(!self.line.is_empty());
        Ok(!self.line.is_empty())
    }

    fn position(&self, entries: u64) -> Position {
        Position { lines: self.lines, bytes: self.bytes, entries, checksum: self.hasher.digest() }
    }

    /// Reads over `count` lines.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        while self.lines < count && self.next()? {}
        Ok(())
    }
}

/// The decoder sees one line alone; which one it is stands before the message.
fn place(problem: Problem) -> String {
    problem.to_string().replace(" at line 1 column ", ", column ")
}

#[derive(Default)]
struct Batch {
    commit: Commit,
    keys: HashSet<Key>,
    size_bytes: usize,
}

struct InFlight {
    ticket: Ticket,
    keys: HashSet<Key>,
    size_bytes: usize,
    end: Position,
}

struct Import<'a> {
    target: &'a Target,
    batch: Batch,
    in_flight: VecDeque<InFlight>,
    /// Everything before it is on disk.
    committed: Position,
    resume: Option<Resume>,
    progress: Progress,
    stop: Arc<AtomicBool>,
}

/// Imports the file.
///
/// # Errors
/// The bad line, or what else stopped it; the message says how far it came.
pub fn run(args: &ImportArgs) -> Result<()> {
    if args.from == ImportFormat::Denokv {
        return from_denokv(args);
    }
    let name = args.file.display().to_string();
    let input = files::open_input(&args.file).map_err(CliError::io(&name))?;
    let mut lines = Lines::new(input.reader);
    let target = Target::open(&args.target, true)?;
    let resume = if args.resume { Some(Resume::new(&args.file, &target)?) } else { None };
    let start = match &resume {
        Some(resume) => resume.start(&mut lines, &name)?,
        None => {
            lines.skip(args.skip_lines).map_err(CliError::io(&name))?;
            lines.position(0)
        }
    };
    let mut import = Import {
        target: &target,
        batch: Batch::default(),
        in_flight: VecDeque::new(),
        committed: start,
        resume,
        progress: Progress::new(input.length_bytes),
        stop: crate::interrupt::watch(),
    };
    let outcome = import.read(&mut lines, &name);
    // What was read before it stopped is imported, whatever stopped it.
    let outcome = import.settle().and(outcome);
    let committed = import.committed;
    import.progress.clear();
    let resumes = import.resume.is_some();
    match outcome {
        Ok(()) => {
            if let Some(resume) = &import.resume {
                files::remove(&resume.path).map_err(CliError::io(resume.path.display()))?;
            }
            drop(import);
            target.close()?;
            let _ = writeln!(
                io::stderr(),
                "imported {} ({} lines)",
                units::format_entries(committed.entries),
                committed.lines
            );
            Ok(())
        }
        Err(error) => {
            let go_on =
                if resumes { "--resume".to_owned() } else { format!("--skip-lines {}", committed.lines) };
            let message = format!(
                "{error}\n{} imported, everything up to line {} is on disk; {go_on} goes on behind it",
                units::format_entries(committed.entries),
                committed.lines
            );
            Err(CliError::new(error.exit, message))
        }
    }
}

#[cfg(feature = "denokv-import")]
fn from_denokv(args: &ImportArgs) -> Result<()> {
    crate::import_denokv::run(args)
}

#[cfg(not(feature = "denokv-import"))]
fn from_denokv(_: &ImportArgs) -> Result<()> {
    Err(CliError::failure("this orchard was built without SQLite: cargo build --features denokv-import"))
}

impl Import<'_> {
    fn read(&mut self, lines: &mut Lines, name: &str) -> Result<()> {
        let mut entries = self.committed.entries;
        loop {
            let before = lines.position(entries);
            if self.stop.load(Ordering::Relaxed) {
                self.send(before)?;
                return Err(CliError::failure("interrupted"));
            }
            let read = lines.next().map_err(CliError::io(name));
            if !matches!(read, Ok(true)) {
                self.send(before)?;
                return read.map(|_| ());
            }
            if lines.line.trim_ascii().is_empty() {
                continue;
            }
            let added = self.parse(&lines.line).and_then(|line| match line {
                ExportLine::Entry(record) => self.add(record).map(|()| None),
                ExportLine::Piece(piece) => Ok(Some(piece)),
            });
            if let Ok(Some(piece)) = added {
                self.send(before)?;
                // The pieces of a collection are one entry.
                entries += u64::from(piece.offset == 0);
                self.send_piece(piece, lines.line.len(), lines.position(entries))?;
                continue;
            }
            if let Err(what) = added {
                self.send(before)?;
                let (line, offset) = (before.lines + 1, before.bytes);
                return Err(CliError::failure(format!("{name}, line {line} (from byte {offset}): {what}")));
            }
            entries += 1;
            let commit = &self.batch.commit;
            if commit.mutations.len() >= BATCH_ENTRIES_MAX || self.batch.size_bytes >= BATCH_SIZE_BYTES_MAX {
                self.send(lines.position(entries))?;
            }
        }
    }

    fn parse(&self, line: &[u8]) -> Result<ExportLine, String> {
        entry_json::parse_exported(line).map_err(place)
    }

    /// Adds an entry to the batch.
    fn add(&mut self, record: Record) -> Result<(), String> {
        let value_bytes = record.value.as_ref().map_or(0, |value| value.data.len());
        let limit = LimitError::check("value_size_bytes", limits::VALUE_SIZE_BYTES_MAX, value_bytes);
        limit.map_err(|error| error.to_string())?;
        let mutation = record.into_mutation().map_err(place)?;
        self.batch.size_bytes += mutation.key.len() + value_bytes;
        self.batch.keys.insert(mutation.key.clone());
        self.batch.commit.mutations.push(mutation);
        Ok(())
    }

    /// Sends the batch, which ends at `end`.
    fn send(&mut self, end: Position) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        if batch.commit.mutations.is_empty() {
            return Ok(());
        }
        while !self.fits(&batch) {
            self.wait_for_oldest()?;
        }
        let ticket = self.target.submit(batch.commit);
        self.in_flight.push_back(InFlight { ticket, keys: batch.keys, size_bytes: batch.size_bytes, end });
        Ok(())
    }

    /// Sends a piece of a collection, which ends at `end`. The piece before it is on disk then.
    fn send_piece(&mut self, piece: Piece, size_bytes: usize, end: Position) -> Result<()> {
        let batch = Batch { keys: HashSet::from([piece.key.clone()]), size_bytes, ..Batch::default() };
        while !self.fits(&batch) {
            self.wait_for_oldest()?;
        }
        let ticket = self.target.submit_piece(piece);
        self.in_flight.push_back(InFlight { ticket, keys: batch.keys, size_bytes, end });
        Ok(())
    }

    fn fits(&self, batch: &Batch) -> bool {
        let size_bytes: usize = self.in_flight.iter().map(|sent| sent.size_bytes).sum();
        self.in_flight.is_empty()
            || self.in_flight.len() < IN_FLIGHT_COMMITS_MAX
                && size_bytes + batch.size_bytes <= IN_FLIGHT_SIZE_BYTES_MAX
                && self.in_flight.iter().all(|sent| sent.keys.is_disjoint(&batch.keys))
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        let Some(oldest) = self.in_flight.pop_front() else { return Ok(()) };
        if let Err(error) = oldest.ticket.wait() {
            // What was sent behind it may be on disk or not: it is not counted.
            self.in_flight.clear();
            self.batch = Batch::default();
            return Err(error);
        }
        self.committed = oldest.end;
        self.progress.set(self.committed.bytes, self.committed.entries);
        match &self.resume {
            Some(resume) => resume.save(self.committed),
            None => Ok(()),
        }
    }

    /// Waits for everything that was sent.
    fn settle(&mut self) -> Result<()> {
        while !self.in_flight.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }
}

/// The file beside the input that remembers how far the import came.
struct Resume {
    path: PathBuf,
    target: String,
    saved: Option<Position>,
}

impl Resume {
    fn new(input: &Path, target: &Target) -> Result<Resume> {
        if input == Path::new("-") {
            return Err(CliError::usage("--resume needs a file; for standard input there is --skip-lines"));
        }
        let mut path = input.as_os_str().to_owned();
        path.push(".progress");
        let path = PathBuf::from(path);
        let text = files::read_text(&path).map_err(CliError::io(path.display()))?;
        let target = target.to_string();
        let saved = match text {
            None => None,
            Some(text) => {
                let (saved, saved_target) = parse_progress(&text)
                    .ok_or_else(|| CliError::failure(format!("{} is no progress file", path.display())))?;
                if saved_target != target {
                    let message = format!(
                        "{} tells of an import into {saved_target}; remove it to start anew",
                        path.display()
                    );
                    return Err(CliError::failure(message));
                }
                Some(saved)
            }
        };
        Ok(Resume { path, target, saved })
    }

    /// Reads over what is imported already, and verifies that it is the same.
    fn start(&self, lines: &mut Lines, name: &str) -> Result<Position> {
        let Some(saved) = self.saved else { return Ok(Position::default()) };
        lines.skip(saved.lines).map_err(CliError::io(name))?;
        if lines.position(saved.entries) != saved {
            let message = format!(
                "the first {} lines of {name} are not those that were imported; remove {} to start anew",
                saved.lines,
                self.path.display()
            );
            return Err(CliError::failure(message));
        }
        Ok(saved)
    }

    fn save(&self, position: Position) -> Result<()> {
        let text = serde_json::json!({
            "target": self.target,
            "lines": position.lines,
            "bytes": position.bytes,
            "entries": position.entries,
            "checksum": format!("{:016x}", position.checksum),
        });
        files::replace_text(&self.path, &format!("{text}\n")).map_err(CliError::io(self.path.display()))
    }
}

fn parse_progress(text: &str) -> Option<(Position, String)> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let number = |name: &str| json.get(name)?.as_u64();
    let position = Position {
        lines: number("lines")?,
        bytes: number("bytes")?,
        entries: number("entries")?,
        checksum: u64::from_str_radix(json.get("checksum")?.as_str()?, 16).ok()?,
    };
    Some((position, json.get("target")?.as_str()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_know_where_they_are() {
        let mut lines = Lines::new(Box::new(&b"a\n\nccc"[..]));
        let mut read = Vec::new();
        while lines.next().expect("memory") {
            read.push((lines.line.clone(), lines.lines, lines.bytes));
        }
        assert_eq!(read, [(b"a\n".to_vec(), 1, 2), (b"\n".to_vec(), 2, 3), (b"ccc".to_vec(), 3, 6)]);
    }

    #[test]
    fn a_skipped_beginning_has_the_checksum_of_a_read_one() {
        let mut read = Lines::new(Box::new(&b"a\nb\nc\n"[..]));
        while read.lines < 2 && read.next().expect("memory") {}
        let mut skipped = Lines::new(Box::new(&b"a\nb\nd\n"[..]));
        skipped.skip(2).expect("memory");
        assert_eq!(read.position(0), skipped.position(0));
        let mut other = Lines::new(Box::new(&b"a\nx\nc\n"[..]));
        other.skip(2).expect("memory");
        assert_ne!(read.position(0), other.position(0));
    }
}
