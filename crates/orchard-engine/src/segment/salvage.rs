//! Reading what is left of a damaged segment, for `orchard repair`.

use super::block::BlockCursor;
use super::footer::{FOOTER_SIZE_BYTES, Footer};
use super::{Segment, SegmentEntry, SegmentMeta, path};
use crate::error::{Corruption, StorageError};
use crate::format::DatabaseId;
use orchard_env::{Disk, OpenMode};
use std::sync::Arc;

impl SegmentMeta {
    /// What the footer of segment `number` says, where no manifest does.
    ///
    /// # Errors
    /// What the disk says, a damaged footer, or a newer format.
    pub fn read(disk: &dyn Disk, database: DatabaseId, number: u64) -> Result<SegmentMeta, StorageError> {
        let path = path(number);
        let file = disk.open(&path, OpenMode::Read).map_err(StorageError::io(&path))?;
        let size_bytes = file.len_bytes().map_err(StorageError::io(&path))?;
        let Some(offset_bytes) = size_bytes.checked_sub(FOOTER_SIZE_BYTES as u64) else {
            return Err(StorageError::corrupt(path, 0, "the file is shorter than a footer"));
        };
        let mut bytes = vec![0; FOOTER_SIZE_BYTES];
        file.read_exact_at(offset_bytes, &mut bytes).map_err(StorageError::io(&path))?;
        Footer::decode_unknown(&bytes, database, number, size_bytes)
            .map(|footer| footer.meta)
            .map_err(|damage| damage.in_file(&path, offset_bytes))
    }
}

impl Segment {
    /// Opens a segment for [`Segment::salvage`]: a damaged filter is told, and does not matter.
    ///
    /// # Errors
    /// As [`Segment::open`].
    pub fn open_damaged(
        disk: &Arc<dyn Disk>,
        database: DatabaseId,
        meta: &SegmentMeta,
        lost: &mut Vec<Corruption>,
    ) -> Result<Arc<Segment>, StorageError> {
        Segment::open_with(disk, database, meta, Some(lost))
    }

    /// Hands every entry of every block that verifies to `visit`, and tells `lost` of the others.
    ///
    /// # Errors
    /// What the disk says, or a newer format.
    pub fn salvage(
        &self,
        lost: &mut Vec<Corruption>,
        mut visit: impl FnMut(&SegmentEntry<'_>),
    ) -> Result<(), StorageError> {
        let (mut buffer, mut cursor) = (Vec::new(), BlockCursor::default());
        for (number, handle) in self.index().blocks().iter().enumerate() {
            buffer.resize(handle.length_bytes as usize, 0);
            let read = self.read(handle.offset_bytes, &mut buffer).and_then(|()| {
                let block = self.checked(number, &buffer)?;
                self.enter(number, block, &mut cursor)?;
                while cursor.advance(block).map_err(|damage| self.damage(number, damage))? {
                    visit(&cursor.entry(block));
                }
                Ok(())
            });
            match read {
                Ok(()) => {}
                Err(StorageError::Corrupt(mut corruption)) => {
                    corruption.detail.push_str(&format!("; {} versions lost", handle.entries));
                    lost.push(corruption);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
