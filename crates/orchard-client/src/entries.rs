//! Entries of a range, as they are asked for.

use crate::error::ClientError;
use crate::remote::lines::Lines;
use crate::remote::parse_entry;
use orcharddb::{Entry, Scan, Versionstamp};

/// Entries in key order from one snapshot, in constant memory.
pub struct Entries {
    versionstamp: Versionstamp,
    source: Source,
}

enum Source {
    Local(Box<Scan>),
    Remote(Box<Lines>),
}

impl Entries {
    pub(crate) fn local(scan: Scan) -> Entries {
        Entries { versionstamp: scan.versionstamp(), source: Source::Local(Box::new(scan)) }
    }

    pub(crate) fn remote(lines: Lines, versionstamp: Versionstamp) -> Entries {
        Entries { versionstamp, source: Source::Remote(Box::new(lines)) }
    }

    /// The version that is read.
    pub fn versionstamp(&self) -> Versionstamp {
        self.versionstamp
    }

    /// The next entry; `None` behind the last.
    ///
    /// # Errors
    /// [`ClientError`]; the entries end there.
    pub async fn next(&mut self) -> Result<Option<Entry>, ClientError> {
        match &mut self.source {
            Source::Local(scan) => Ok(scan.next().transpose()?),
            Source::Remote(lines) => loop {
                let Some(line) = lines.next().await? else { return Ok(None) };
                if !line.is_empty() {
                    return parse_entry(&line).map(Some).map_err(|error| lines.http().foreign(error));
                }
            },
        }
    }

    /// All that are left.
    ///
    /// # Errors
    /// [`ClientError`]
    pub async fn collect(mut self) -> Result<Vec<Entry>, ClientError> {
        let mut entries = Vec::new();
        while let Some(entry) = self.next().await? {
            entries.push(entry);
        }
        Ok(entries)
    }
}
