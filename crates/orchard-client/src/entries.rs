//! Entries of a range, as they are asked for.

use crate::error::ClientError;
use crate::remote::lines::Lines;
use crate::remote::parse_entry;
use crate::shown;
use orcharddb::{Entry, KeyRange, Scan, ScanOptions, Snapshot, SpaceId, Versionstamp};

/// Entries in key order from one snapshot, in constant memory.
pub struct Entries {
    versionstamp: Versionstamp,
    source: Source,
}

enum Source {
    Local(Box<Local>),
    Remote(Box<Lines>),
}

struct Local {
    scan: Scan,
    snapshot: Snapshot,
    space: SpaceId,
}

impl Entries {
    pub(crate) fn local(
        snapshot: &Snapshot,
        space: SpaceId,
        range: KeyRange,
        options: ScanOptions,
    ) -> Entries {
        let scan = snapshot.scan_in(space, range, options);
        let local = Local { scan, snapshot: snapshot.clone(), space };
        Entries { versionstamp: snapshot.versionstamp(), source: Source::Local(Box::new(local)) }
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
            Source::Local(local) => {
                let Some(entry) = local.scan.next().transpose()? else { return Ok(None) };
                Ok(Some(shown::in_list(&local.snapshot, local.space, entry)?))
            }
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
