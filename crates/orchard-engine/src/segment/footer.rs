//! The end of a segment file: where index and filter stand, and what the segment holds.

use super::Damage;
use crate::format::{self, DatabaseId, read_u64};

/// Length of a footer: magic 8, flags 8, eighteen numbers of 8 bytes, checksum 8.
pub const FOOTER_SIZE_BYTES: usize = 16 + 8 * NUMBERS + 8;
const NUMBERS: usize = 18;
const MAGIC: [u8; 8] = *b"ORCHSEG\n";
/// The one set of flags in use: a split-block Bloom filter (1) over XXH3-64 hashes of flat keys.
const FLAGS: u64 = 1;

/// What the manifest knows of a segment, and what its footer says again.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SegmentMeta {
    /// Number of the file.
    pub number: u64,
    /// Length of the file.
    pub file_size_bytes: u64,
    /// Versions, tombstones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Distinct keys.
    pub keys: u64,
    /// Bytes of the keys, once for every version.
    pub key_bytes: u64,
    /// Bytes of the values.
    pub value_bytes: u64,
    /// Smallest stamp, tombstones included.
    pub min_stamp: u64,
    /// Largest stamp, tombstones included.
    pub max_stamp: u64,
    /// Versions with an expiry.
    pub expiring: u64,
    /// Earliest expiry; 0 if there is none.
    pub min_expires_at_ms: u64,
    /// Latest expiry; 0 if there is none.
    pub max_expires_at_ms: u64,
    /// Checksum of the footer, which holds those of index and filter.
    pub footer_checksum: u64,
}

impl SegmentMeta {
    /// Key and value bytes of all versions.
    pub fn data_bytes(&self) -> u64 {
        self.key_bytes.saturating_add(self.value_bytes)
    }
}

/// A part of the file with a checksum of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Part {
    /// Where it begins.
    pub offset_bytes: u64,
    /// Its length.
    pub length_bytes: u64,
    /// Its checksum.
    pub checksum: u64,
}

/// The footer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Footer {
    /// Number of blocks.
    pub blocks: u64,
    /// Where the index stands: behind the last block.
    pub index: Part,
    /// Where the filter stands: behind the index.
    pub filter: Part,
    /// What the segment holds.
    pub meta: SegmentMeta,
}

impl Footer {
    /// The footer's bytes, and the checksum in them as it belongs into [`SegmentMeta::footer_checksum`].
    pub fn encode(&self, database: DatabaseId) -> (Vec<u8>, u64) {
        let meta = &self.meta;
        let numbers: [u64; NUMBERS] = [
            self.blocks,
            self.index.offset_bytes,
            self.index.length_bytes,
            self.index.checksum,
            self.filter.offset_bytes,
            self.filter.length_bytes,
            self.filter.checksum,
            meta.entries,
            meta.tombstones,
            meta.keys,
            meta.key_bytes,
            meta.value_bytes,
            meta.min_stamp,
            meta.max_stamp,
            meta.expiring,
            meta.min_expires_at_ms,
            meta.max_expires_at_ms,
            meta.file_size_bytes,
        ];
        let mut bytes = Vec::with_capacity(FOOTER_SIZE_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FLAGS.to_le_bytes());
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let offset_bytes = meta.file_size_bytes.saturating_sub(FOOTER_SIZE_BYTES as u64);
        let sum = format::checksum(database, meta.number, offset_bytes, &bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        (bytes, sum)
    }

    /// Reads the footer of the segment that the manifest describes as `meta`. Pure, for any bytes.
    pub fn decode(bytes: &[u8], database: DatabaseId, meta: &SegmentMeta) -> Result<Footer, Damage> {
        let footer = Footer::decode_unknown(bytes, database, meta.number, meta.file_size_bytes)?;
        if footer.meta != *meta {
            return Err(Damage::corrupt(0, "the footer disagrees with the manifest"));
        }
        Ok(footer)
    }

    /// Reads the footer of a segment of which only number and length are known.
    pub fn decode_unknown(
        bytes: &[u8],
        database: DatabaseId,
        file_number: u64,
        file_size_bytes: u64,
    ) -> Result<Footer, Damage> {
        let Some((head, sum)) =
            bytes.split_at_checked(FOOTER_SIZE_BYTES - 8).filter(|(_, sum)| sum.len() == 8)
        else {
            return Err(Damage::corrupt(0, "the footer is cut off"));
        };
        let offset_bytes = file_size_bytes.saturating_sub(FOOTER_SIZE_BYTES as u64);
        if read_u64(sum) != Some(format::checksum(database, file_number, offset_bytes, head)) {
            return Err(Damage::corrupt(0, "the footer's checksum is wrong"));
        }
        if head.get(..8) != Some(MAGIC.as_slice()) {
            return Err(Damage::corrupt(0, "the footer does not begin as one"));
        }
        let number = |position: usize| head.get(8 + 8 * position..).and_then(read_u64).unwrap_or_default();
        if number(0) != FLAGS {
            return Err(Damage::Newer(format!("segment flags {:#x}", number(0))));
        }
        let part = |first| Part {
            offset_bytes: number(first),
            length_bytes: number(first + 1),
            checksum: number(first + 2),
        };
        let footer = Footer {
            blocks: number(1),
            index: part(2),
            filter: part(5),
            meta: SegmentMeta {
                number: file_number,
                entries: number(8),
                tombstones: number(9),
                keys: number(10),
                key_bytes: number(11),
                value_bytes: number(12),
                min_stamp: number(13),
                max_stamp: number(14),
                expiring: number(15),
                min_expires_at_ms: number(16),
                max_expires_at_ms: number(17),
                file_size_bytes: number(18),
                footer_checksum: read_u64(sum).unwrap_or_default(),
            },
        };
        if footer.meta.file_size_bytes != file_size_bytes {
            return Err(Damage::corrupt(0, "the footer disagrees with the file's length"));
        }
        let index_end = footer.index.offset_bytes.checked_add(footer.index.length_bytes);
        let filter_end = footer.filter.offset_bytes.checked_add(footer.filter.length_bytes);
        if footer.index.offset_bytes < format::HEADER_SIZE_BYTES as u64
            || index_end != Some(footer.filter.offset_bytes)
            || filter_end != Some(offset_bytes)
        {
            return Err(Damage::corrupt(16, "index and filter do not stand before the footer"));
        }
        Ok(footer)
    }
}
