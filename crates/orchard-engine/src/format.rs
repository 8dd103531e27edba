//! What all files of a data directory share: the header, checksums, the flat form of keys.

use crate::error::StorageError;
use orchard_types::SpaceId;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Random id of one database; every file carries it and every checksum is seeded with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct DatabaseId(pub [u8; 16]);

/// What kind of file a header announces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FileKind {
    /// `MANIFEST`.
    Manifest = 1,
    /// `wal/NNNN.log`.
    Log = 2,
    /// `segments/NNNN.seg`.
    Segment = 3,
}

/// First bytes of every file.
pub const MAGIC: [u8; 8] = *b"ORCHARD\n";
/// Version of the file formats that this program writes.
pub const FORMAT_VERSION: u16 = 1;
/// Length of a file's header: magic 8, version 2, kind 1, reserved 5, database id 16, file number 8,
/// kind-specific word 8, checksum 8; zeros up to here.
pub const HEADER_SIZE_BYTES: usize = 64;

/// The header of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileHeader {
    /// What the file is.
    pub kind: FileKind,
    /// Which database it belongs to.
    pub database: DatabaseId,
    /// Number of the file; 0 for the manifest.
    pub number: u64,
    /// For a log file: checksum of the last frame before it. Otherwise 0.
    pub link: u64,
}

/// Checksum of `bytes` that stand at `offset_bytes` of file `number`: bytes that were moved, or are left over from
/// another file, do not verify. XXH3-64 (Collet) with a seed.
pub fn checksum(database: DatabaseId, number: u64, offset_bytes: u64, bytes: &[u8]) -> u64 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(&database.0);
    place[16..24].copy_from_slice(&number.to_le_bytes());
    place[24..].copy_from_slice(&offset_bytes.to_le_bytes());
    xxh3_64_with_seed(bytes, xxh3_64_with_seed(&place, 0))
}

impl FileHeader {
    /// The header's bytes.
    pub fn encode(&self) -> [u8; HEADER_SIZE_BYTES] {
        let mut bytes = [0; HEADER_SIZE_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[10] = self.kind as u8;
        bytes[16..32].copy_from_slice(&self.database.0);
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.link.to_le_bytes());
        let sum = checksum(self.database, self.number, 0, &bytes[..48]);
        bytes[48..56].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header. `database`: the id expected, `None` to accept any (the manifest's own).
    ///
    /// # Errors
    /// Damage, a foreign database's file, or a newer format.
    pub fn decode(
        file: &str,
        bytes: &[u8],
        kind: FileKind,
        database: Option<DatabaseId>,
        number: u64,
    ) -> Result<FileHeader, StorageError> {
        let corrupt = |detail: &str| StorageError::corrupt(file, 0, detail);
        let bytes: &[u8; HEADER_SIZE_BYTES] = bytes
            .get(..HEADER_SIZE_BYTES)
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| corrupt("the file is shorter than its header"))?;
        if bytes[..8] != MAGIC {
            return Err(corrupt("the file does not begin as a file of OrchardDB"));
        }
        let mut id = [0; 16];
        id.copy_from_slice(&bytes[16..32]);
        let header = FileHeader {
            kind,
            database: DatabaseId(id),
            number: read_u64(&bytes[32..]).unwrap_or_default(),
            link: read_u64(&bytes[40..]).unwrap_or_default(),
        };
        let sum = read_u64(&bytes[48..]).unwrap_or_default();
        let computed = checksum(header.database, header.number, 0, &bytes[..48]);
        if sum != computed {
            return Err(corrupt(&format!("header checksum {sum:016x}, computed {computed:016x}")));
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version > FORMAT_VERSION {
            return Err(StorageError::newer(file, format!("format version {version}")));
        }
        if bytes[10] != kind as u8 || version == 0 {
            return Err(corrupt("the header announces another kind of file"));
        }
        if bytes[11..16] != [0; 5] {
            return Err(StorageError::newer(file, "unknown header flags"));
        }
        if bytes[56..] != [0; 8] {
            return Err(corrupt("bytes behind the header are not zero"));
        }
        if database.is_some_and(|database| database != header.database) {
            return Err(corrupt("the file belongs to another database"));
        }
        if header.number != number {
            return Err(corrupt(&format!("the header says file number {}", header.number)));
        }
        Ok(header)
    }
}

/// The little-endian number at the start of `bytes`.
pub fn read_u64(bytes: &[u8]) -> Option<u64> {
    bytes.get(..8)?.try_into().ok().map(u64::from_le_bytes)
}

/// The little-endian number at the start of `bytes`.
pub fn read_u32(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.try_into().ok().map(u32::from_le_bytes)
}

/// Spaces below this take one byte in a flat key.
const SHORT_SPACES: u32 = 0xf0;

/// Longest prefix that a space takes in a flat key.
pub const SPACE_PREFIX_SIZE_BYTES_MAX: usize = 5;

/// Appends the order-preserving form of (space, key): one byte for spaces below 240, else 0xf0 and four big-endian
/// bytes; then the key as it is.
pub fn push_flat_key(flat: &mut Vec<u8>, space: SpaceId, key: &[u8]) {
    // Once for all parts: three small pushes into a new vector are three allocations.
    flat.reserve(SPACE_PREFIX_SIZE_BYTES_MAX + key.len());
    match u8::try_from(space.0) {
        Ok(short) if space.0 < SHORT_SPACES => flat.push(short),
        _ => {
            flat.push(SHORT_SPACES as u8);
            flat.extend_from_slice(&space.0.to_be_bytes());
        }
    }
    flat.extend_from_slice(key);
}

/// Takes a flat key apart. `None` if it is too short or its first byte is not in use.
pub fn split_flat_key(flat: &[u8]) -> Option<(SpaceId, &[u8])> {
    let (first, rest) = flat.split_first()?;
    if u32::from(*first) < SHORT_SPACES {
        return Some((SpaceId(u32::from(*first)), rest));
    }
    let space = rest.get(..4)?.try_into().ok().map(u32::from_be_bytes)?;
    (u32::from(*first) == SHORT_SPACES && space >= SHORT_SPACES).then_some((SpaceId(space), rest.get(4..)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn flat_keys_keep_the_order(
            a in (prop_oneof![0u32..300, any::<u32>()], prop::collection::vec(any::<u8>(), 0..4)),
            b in (prop_oneof![0u32..300, any::<u32>()], prop::collection::vec(any::<u8>(), 0..4)),
        ) {
            let (mut flat_a, mut flat_b) = (Vec::new(), Vec::new());
            push_flat_key(&mut flat_a, SpaceId(a.0), &a.1);
            push_flat_key(&mut flat_b, SpaceId(b.0), &b.1);
            prop_assert_eq!(flat_a.cmp(&flat_b), a.cmp(&b));
            prop_assert_eq!(split_flat_key(&flat_a), Some((SpaceId(a.0), a.1.as_slice())));
        }
    }

    #[test]
    fn headers_reject_every_flipped_bit() -> Result<(), StorageError> {
        let header = FileHeader { kind: FileKind::Log, database: DatabaseId([7; 16]), number: 3, link: 9 };
        let bytes = header.encode();
        let id = Some(header.database);
        assert_eq!(FileHeader::decode("wal/3", &bytes, FileKind::Log, id, 3)?, header);
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(FileHeader::decode("wal/3", &damaged, FileKind::Log, id, 3).is_err(), "bit {bit}");
        }
        Ok(())
    }
}
