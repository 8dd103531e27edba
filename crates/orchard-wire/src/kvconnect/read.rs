//! Snapshot reads.

use super::{KEY_TOO_LONG, READ_ENTRIES_MAX, READ_KEY_SIZE_BYTES_MAX, READ_RANGES_MAX, Refused};
use super::{count_fields, decode, limit, to_wire};
use bytes::Bytes;
use denokv_proto::datapath as pb;
use orcharddb::{Entry, KeyRange};
use prost::Message as _;

/// One range of a read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadRequest {
    /// The range.
    pub range: KeyRange,
    /// Most entries, at least one.
    pub limit: usize,
    /// From the last key down.
    pub reverse: bool,
}

impl ReadRequest {
    /// The key, if the range has room for the first entry alone and begins with it: the entry under its start, if there is
    /// one, is the answer. `get` of every client is such a range.
    pub fn first_key(&self) -> Option<&Bytes> {
        (self.limit == 1 && !self.reverse && !self.range.is_empty()).then_some(&self.range.start)
    }

    /// Whether the range can hold the key of its start and no other.
    pub fn is_single_key(&self) -> bool {
        let end = self.range.end.as_deref().unwrap_or_default();
        end.split_last().is_some_and(|(last, before)| *last == 0 && before == self.range.start)
    }
}

/// Decodes a `SnapshotRead`.
///
/// # Errors
/// [`Refused`]
pub fn decode_read(message: &[u8]) -> Result<Vec<ReadRequest>, Refused> {
    let [ranges, ..] = count_fields(message)?;
    limit("Too many read ranges requested in one read request.", READ_RANGES_MAX, ranges)?;
    let read: pb::SnapshotRead = decode(message)?;
    let mut entries = 0usize;
    let mut requests = Vec::with_capacity(read.ranges.len());
    for range in read.ranges {
        let wanted = usize::try_from(range.limit)
            .ok()
            .filter(|limit| *limit > 0)
            .ok_or(Refused::Invalid("The read range limit of the snapshot read request is invalid."))?;
        limit(KEY_TOO_LONG, READ_KEY_SIZE_BYTES_MAX, range.start.len())?;
        limit(KEY_TOO_LONG, READ_KEY_SIZE_BYTES_MAX, range.end.len())?;
        entries = entries.saturating_add(wanted);
        let range_of_keys = KeyRange { start: range.start.into(), end: Some(range.end.into()) };
        requests.push(ReadRequest { range: range_of_keys, limit: wanted, reverse: range.reverse });
    }
    limit(
        "The total number of entries requested across read ranges in the read request is too large.",
        READ_ENTRIES_MAX,
        entries,
    )?;
    Ok(requests)
}

/// Encodes the answer: the entries of each range in its order.
pub fn encode_read(ranges: &[Vec<Entry>]) -> Vec<u8> {
    let ranges =
        ranges.iter().map(|entries| pb::ReadRangeOutput { values: entries.iter().map(to_wire).collect() });
    let output = pb::SnapshotReadOutput {
        ranges: ranges.collect(),
        read_disabled: false,
        read_is_strongly_consistent: true,
        status: pb::SnapshotReadStatus::SrSuccess as i32,
    };
    output.encode_to_vec()
}
