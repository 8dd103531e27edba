//! Entries as an export has them: scalars as they are stored, collections in pieces with all of their elements. From one
//! snapshot, in bounded memory.

use super::{Chunks, Elements, is_collection};
use crate::error::Error;
use crate::scan::{Scan, ScanOptions};
use crate::snapshot::Snapshot;
use orchard_types::{Entry, KeyRange, SpaceId, Value};

/// One part of an export.
#[derive(Debug, Clone, PartialEq)]
pub enum Exported {
    /// An entry that is no collection, or any if only keys were asked for.
    Entry(Entry),
    /// A piece of a collection.
    Piece {
        /// The entry, its value without data.
        entry: Entry,
        /// How many elements came before.
        offset: u64,
        /// The elements.
        elements: Elements,
    },
}

/// The parts of an export in key order; see [`Snapshot::export_in`].
pub struct Export {
    snapshot: Snapshot,
    space: SpaceId,
    scan: Scan,
    keys_only: bool,
    current: Option<(Entry, Chunks)>,
}

impl Snapshot {
    /// Entries of a range with all that belongs to them.
    ///
    /// ```
    /// use orcharddb::collection::Exported;
    /// use orcharddb::{Db, KeyRange, ScanOptions, SpaceId};
    /// let db = Db::memory()?;
    /// db.put("apple", "red")?;
    /// db.set("colours").insert("red")?;
    /// let export = db.snapshot().export_in(SpaceId::DEFAULT, KeyRange::all(), ScanOptions::default());
    /// let parts = export.collect::<Result<Vec<_>, _>>()?;
    /// assert!(matches!(parts.as_slice(), [Exported::Entry(_), Exported::Piece { .. }]));
    /// # Ok::<(), orcharddb::Error>(())
    /// ```
    pub fn export_in(&self, space: SpaceId, range: KeyRange, options: ScanOptions) -> Export {
        let scan = self.scan_in(space, range, options);
        Export { snapshot: self.clone(), space, scan, keys_only: options.keys_only, current: None }
    }
}

impl Export {
    fn read(&mut self) -> Result<Option<Exported>, Error> {
        loop {
            if let Some((entry, chunks)) = &mut self.current {
                let offset = chunks.read();
                if let Some(elements) = chunks.next()? {
                    return Ok(Some(Exported::Piece { entry: entry.clone(), offset, elements }));
                }
                self.current = None;
            }
            let Some(entry) = self.scan.next().transpose()? else { return Ok(None) };
            if self.keys_only || !is_collection(&entry.value) {
                return Ok(Some(Exported::Entry(entry)));
            }
            let value_type = entry.value.value_type;
            let chunks = self.snapshot.chunks_in(self.space, entry.key.clone(), value_type)?;
            self.current = Some((Entry { value: Value::new(value_type, Vec::new()), ..entry }, chunks));
        }
    }
}

impl Iterator for Export {
    type Item = Result<Exported, Error>;

    fn next(&mut self) -> Option<Result<Exported, Error>> {
        self.read().transpose()
    }
}
