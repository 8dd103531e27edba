//! The bytes of a manifest.
//!
//! ```text
//! header 64 | body length 8 | body | checksum 8 of body length and body
//! ```
//!
//! All numbers of the body are little-endian and of fixed width; its fields stand in the order in which [`encode`]
//! writes them. Bytes behind the last field are fields of a newer version.

use super::{CleanEnd, Manifest, PATH};
use crate::error::StorageError;
use crate::format::{self, FileHeader, FileKind, HEADER_SIZE_BYTES, read_u64};
use crate::segment::SegmentMeta;
use crate::wal::log::{LogFileEnd, OldLogFile};
use orchard_types::SpaceId;

/// Numbers of 8 bytes that a segment takes.
const SEGMENT_NUMBERS: usize = 13;

/// The manifest's file.
pub fn encode(manifest: &Manifest) -> Vec<u8> {
    let header = FileHeader { kind: FileKind::Manifest, database: manifest.database, number: 0, link: 0 };
    let mut out = header.encode().to_vec();
    out.extend_from_slice(&[0; 8]);

    let u64s = |out: &mut Vec<u8>, numbers: &[u64]| {
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
    };
    u64s(
        &mut out,
        &[
            manifest.sequence,
            manifest.first_log,
            manifest.reserved_index,
            manifest.checkpoint_stamp,
            manifest.tombstone_floor,
            manifest.history_floor,
            manifest.next_segment,
            manifest.next_log,
            manifest.checkpoint_log_time_ms,
        ],
    );
    out.extend_from_slice(&manifest.apply_version.to_le_bytes());
    match &manifest.clean_end {
        None => out.push(0),
        Some(end) => {
            out.push(1);
            u64s(&mut out, &[end.log_number, end.offset_bytes, end.frame_checksum, end.log_time_ms]);
        }
    }
    u64s(&mut out, &[manifest.segments.len() as u64]);
    for segment in &manifest.segments {
        u64s(&mut out, &segment_numbers(segment));
    }
    out.extend_from_slice(&manifest.next_space.to_le_bytes());
    u64s(&mut out, &[manifest.spaces.len() as u64]);
    for (name, space) in &manifest.spaces {
        u64s(&mut out, &[name.len() as u64]);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&space.0.to_le_bytes());
    }
    let has_feed = !manifest.retained.is_empty() || manifest.feed_floor != manifest.checkpoint_end();
    if !manifest.times.is_empty() || has_feed {
        u64s(&mut out, &[manifest.times.len() as u64]);
        for (time, stamp) in &manifest.times {
            u64s(&mut out, &[*time, *stamp]);
        }
    }
    if has_feed {
        u64s(&mut out, &end_numbers(&manifest.feed_floor));
        u64s(&mut out, &[manifest.retained.len() as u64]);
        for file in &manifest.retained {
            u64s(&mut out, &[file.number, file.size_bytes]);
            u64s(&mut out, &end_numbers(&file.end));
        }
    }

    let length = (out.len() - HEADER_SIZE_BYTES - 8) as u64;
    if let Some(place) = out.get_mut(HEADER_SIZE_BYTES..HEADER_SIZE_BYTES + 8) {
        place.copy_from_slice(&length.to_le_bytes());
    }
    let body = out.get(HEADER_SIZE_BYTES..).unwrap_or_default();
    let sum = format::checksum(manifest.database, 0, HEADER_SIZE_BYTES as u64, body);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

fn end_numbers(end: &LogFileEnd) -> [u64; 3] {
    [end.last_commit, end.last_stamp, end.last_time_ms]
}

fn segment_numbers(segment: &SegmentMeta) -> [u64; SEGMENT_NUMBERS] {
    [
        segment.number,
        segment.file_size_bytes,
        segment.entries,
        segment.tombstones,
        segment.keys,
        segment.key_bytes,
        segment.value_bytes,
        segment.min_stamp,
        segment.max_stamp,
        segment.expiring,
        segment.min_expires_at_ms,
        segment.max_expires_at_ms,
        segment.footer_checksum,
    ]
}

/// Reads the bytes of a manifest file: pure, for any bytes; allocates no more than a few times their length.
///
/// # Errors
/// Damage, or a newer format.
pub fn decode(bytes: &[u8]) -> Result<Manifest, StorageError> {
    decode_at(PATH, bytes)
}

/// [`decode`] of the file `path`, which errors name.
pub(super) fn decode_at(path: &str, bytes: &[u8]) -> Result<Manifest, StorageError> {
    let header = FileHeader::decode(path, bytes, FileKind::Manifest, None, 0)?;
    let body_start = HEADER_SIZE_BYTES + 8;
    let corrupt = |offset: usize, detail: &str| StorageError::corrupt(path, offset as u64, detail);
    let tail = bytes.get(HEADER_SIZE_BYTES..).unwrap_or_default();
    let length = read_u64(tail).ok_or_else(|| corrupt(HEADER_SIZE_BYTES, "the file ends before its body"))?;
    let (sealed, sum) = usize::try_from(length)
        .ok()
        .and_then(|length| tail.split_at_checked(length.checked_add(8)?))
        .ok_or_else(|| corrupt(HEADER_SIZE_BYTES, "the file ends within its body"))?;
    let computed = format::checksum(header.database, 0, HEADER_SIZE_BYTES as u64, sealed);
    match read_u64(sum) {
        Some(sum) if sum == computed => {}
        Some(sum) => {
            let detail = format!("checksum {sum:016x}, computed {computed:016x}");
            return Err(corrupt(HEADER_SIZE_BYTES, &detail));
        }
        None => return Err(corrupt(bytes.len(), "the file ends within its checksum")),
    }
    if sum.len() != 8 {
        return Err(corrupt(body_start + sealed.len(), "bytes behind the checksum"));
    }
    let body = sealed.get(8..).unwrap_or_default();
    let mut fields = Fields { rest: body };
    let parsed = fields.manifest();
    let at = body_start + (body.len() - fields.rest.len());
    match parsed {
        Ok(manifest) if fields.rest.is_empty() => Ok(Manifest { database: header.database, ..manifest }),
        Ok(_) => Err(StorageError::newer(path, format!("unknown fields, at byte {at}"))),
        Err(Bad::Corrupt(detail)) => Err(corrupt(at, detail)),
        Err(Bad::Newer(detail)) => Err(StorageError::newer(path, format!("{detail}, at byte {at}"))),
    }
}

enum Bad {
    Corrupt(&'static str),
    Newer(&'static str),
}

struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], Bad> {
        let taken = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let (taken, rest) = taken.ok_or(Bad::Corrupt("the body ends within a field"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u64(&mut self) -> Result<u64, Bad> {
        Ok(read_u64(self.take(8)?).unwrap_or_default())
    }

    fn u32(&mut self) -> Result<u32, Bad> {
        Ok(format::read_u32(self.take(4)?).unwrap_or_default())
    }

    fn clean_end(&mut self) -> Result<Option<CleanEnd>, Bad> {
        match self.take(1)? {
            [0] => Ok(None),
            [1] => Ok(Some(CleanEnd {
                log_number: self.u64()?,
                offset_bytes: self.u64()?,
                frame_checksum: self.u64()?,
                log_time_ms: self.u64()?,
            })),
            _ => Err(Bad::Newer("unknown kind of clean end")),
        }
    }

    fn log_file_end(&mut self) -> Result<LogFileEnd, Bad> {
        Ok(LogFileEnd { last_commit: self.u64()?, last_stamp: self.u64()?, last_time_ms: self.u64()? })
    }

    fn segment(&mut self) -> Result<SegmentMeta, Bad> {
        Ok(SegmentMeta {
            number: self.u64()?,
            file_size_bytes: self.u64()?,
            entries: self.u64()?,
            tombstones: self.u64()?,
            keys: self.u64()?,
            key_bytes: self.u64()?,
            value_bytes: self.u64()?,
            min_stamp: self.u64()?,
            max_stamp: self.u64()?,
            expiring: self.u64()?,
            min_expires_at_ms: self.u64()?,
            max_expires_at_ms: self.u64()?,
            footer_checksum: self.u64()?,
        })
    }

    fn manifest(&mut self) -> Result<Manifest, Bad> {
        let mut manifest = Manifest {
            sequence: self.u64()?,
            first_log: self.u64()?,
            reserved_index: self.u64()?,
            checkpoint_stamp: self.u64()?,
            tombstone_floor: self.u64()?,
            history_floor: self.u64()?,
            next_segment: self.u64()?,
            next_log: self.u64()?,
            checkpoint_log_time_ms: self.u64()?,
            apply_version: self.u32()?,
            clean_end: self.clean_end()?,
            ..Manifest::default()
        };
        for _ in 0..self.u64()? {
            let segment = self.segment()?;
            if segment.number >= manifest.next_segment {
                return Err(Bad::Corrupt("a segment has a number that was not given out"));
            }
            manifest.segments.push(segment);
        }
        manifest.next_space = self.u32()?;
        for _ in 0..self.u64()? {
            let length = self.u64()?;
            let name =
                std::str::from_utf8(self.take(length)?).map_err(|_| Bad::Corrupt("a name is not UTF-8"))?;
            let space = SpaceId(self.u32()?);
            if manifest.spaces.insert(name.to_owned(), space).is_some() {
                return Err(Bad::Corrupt("two databases of one name"));
            }
        }
        if self.rest.len() >= 8 {
            for _ in 0..self.u64()? {
                manifest.times.push((self.u64()?, self.u64()?));
            }
        }
        // Absent: nothing stays for the feed.
        manifest.feed_floor = manifest.checkpoint_end();
        if self.rest.len() >= 8 {
            manifest.feed_floor = self.log_file_end()?;
            for _ in 0..self.u64()? {
                let (number, size_bytes) = (self.u64()?, self.u64()?);
                manifest.retained.push(OldLogFile { number, size_bytes, end: self.log_file_end()? });
            }
        }
        Ok(manifest)
    }
}
