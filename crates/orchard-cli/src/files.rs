//! The files that a command reads and writes for its user: configuration, tokens, imports and exports.
//!
//! Nothing here belongs to a data directory; those files are the engine's, behind `orchard_env::Disk`.

#![expect(
    clippy::disallowed_methods,
    reason = "files of the user, named on the command line; no promise of the database rests on them"
)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The text of a small file, `None` if there is none.
///
/// # Errors
/// What the operating system says.
pub fn read_text(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "the file is not UTF-8 text")),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a small file whole: a reader sees the old text or the new one.
///
/// # Errors
/// What the operating system says.
pub fn replace_text(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

/// Removes a file; fine if there is none.
///
/// # Errors
/// What the operating system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Everything that standard input gives, if it is not more than `limit` bytes: it may have no end.
///
/// # Errors
/// It is more, or what the operating system says.
pub fn read_stdin(limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let detail = format!("value_size_bytes is {} or more, over the limit of {limit}", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, detail));
    }
    Ok(bytes)
}

/// Reads a line with its end into `line` and tells how long it is; 0 at the end of the input. A line over `limit` is read to its
/// end, and no more than that many bytes of it are kept.
///
/// # Errors
/// What the operating system says.
pub fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    line.clear();
    let mut length = 0_usize;
    loop {
        let available = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            available => available?,
        };
        let end = available.iter().position(|byte| *byte == b'\n').map(|position| position + 1);
        let taken = available.get(..end.unwrap_or(available.len())).unwrap_or_default();
        let kept = taken.len().min(limit.saturating_sub(line.len()));
        line.extend_from_slice(taken.get(..kept).unwrap_or_default());
        let taken = taken.len();
        length = length.saturating_add(taken);
        reader.consume(taken);
        if end.is_some() || taken == 0 {
            return Ok(length);
        }
    }
}

/// A file opened for reading, and its length.
pub struct Input {
    /// The bytes.
    pub reader: Box<dyn BufRead>,
    /// Length of the file; `None` for standard input.
    pub length_bytes: Option<u64>,
}

/// Opens `path` (`-`: standard input).
///
/// # Errors
/// What the operating system says.
pub fn open_input(path: &Path) -> io::Result<Input> {
    const BUFFER_SIZE_BYTES: usize = 256 * 1024;
    if path == Path::new("-") {
        return Ok(Input {
            reader: Box::new(BufReader::with_capacity(BUFFER_SIZE_BYTES, io::stdin())),
            length_bytes: None,
        });
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let length_bytes = metadata.is_file().then_some(metadata.len());
    Ok(Input { reader: Box::new(BufReader::with_capacity(BUFFER_SIZE_BYTES, file)), length_bytes })
}

/// A file being written: its name appears when it is whole.
pub struct Output {
    writer: BufWriter<Box<dyn Write>>,
    rename: Option<(File, PathBuf, PathBuf)>,
}

/// Opens `path` for writing (`-`: standard output). A file is written beside it and takes its name at the end.
///
/// # Errors
/// What the operating system says.
pub fn create_output(path: &Path) -> io::Result<Output> {
    const BUFFER_SIZE_BYTES: usize = 256 * 1024;
    if path == Path::new("-") {
        let stdout: Box<dyn Write> = Box::new(io::stdout());
        return Ok(Output { writer: BufWriter::with_capacity(BUFFER_SIZE_BYTES, stdout), rename: None });
    }
    let is_file = fs::metadata(path).map_or(true, |metadata| metadata.is_file());
    let mut beside = path.as_os_str().to_owned();
    if is_file {
        beside.push(".partial");
    }
    let beside = PathBuf::from(beside);
    let file = File::create(&beside)?;
    let rename = if is_file { Some((file.try_clone()?, beside, path.to_owned())) } else { None };
    Ok(Output { writer: BufWriter::with_capacity(BUFFER_SIZE_BYTES, Box::new(file)), rename })
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

impl Output {
    /// Writes what is buffered, makes the file durable and gives it its name.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn finish(mut self) -> io::Result<()> {
        self.writer.flush()?;
        if let Some((file, beside, path)) = self.rename {
            file.sync_all()?;
            fs::rename(beside, path)?;
        }
        Ok(())
    }
}

/// Whether nothing is there, or a directory with nothing in it.
pub fn is_empty_directory(path: &Path) -> bool {
    match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_is_read_to_its_end_and_not_kept() {
        let mut input = BufReader::with_capacity(4, &b"abc\nlonger than ten\nd"[..]);
        let mut line = Vec::new();
        let mut read = Vec::new();
        while let length @ 1.. = read_line(&mut input, &mut line, 10).expect("memory") {
            read.push((length, String::from_utf8(line.clone()).expect("text")));
        }
        let expected = [(4, "abc\n"), (16, "longer tha"), (1, "d")];
        assert_eq!(read, expected.map(|(length, line)| (length, line.to_owned())));
    }
}
