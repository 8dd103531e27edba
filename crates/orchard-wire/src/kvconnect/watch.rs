//! Watches: keys in, frames of a stream out.

use super::{KEY_TOO_LONG, Refused, WATCHED_KEYS_MAX, WRITE_KEY_SIZE_BYTES_MAX};
use super::{count_fields, decode, limit, to_wire};
use bytes::Bytes;
use denokv_proto::datapath as pb;
use orcharddb::Entry;
use prost::Message as _;

/// A frame without content: the server is still there.
pub const PING: [u8; 4] = [0; 4];

/// What a frame says of one key.
#[derive(Clone, PartialEq, Debug)]
pub enum Watched {
    /// The same as in the frame before.
    Unchanged,
    /// This is it now; `None`: absent.
    Changed(Option<Entry>),
}

/// Decodes a `Watch`: the keys, in their order.
///
/// # Errors
/// [`Refused`]
pub fn decode_watch(message: &[u8]) -> Result<Vec<Bytes>, Refused> {
    let [keys, ..] = count_fields(message)?;
    limit("Too many keys watched in a single watch request.", WATCHED_KEYS_MAX, keys)?;
    let watch: pb::Watch = decode(message)?;
    for key in &watch.keys {
        limit(KEY_TOO_LONG, WRITE_KEY_SIZE_BYTES_MAX, key.key.len())?;
    }
    Ok(watch.keys.into_iter().map(|key| Bytes::from(key.key)).collect())
}

/// Encodes one frame: 4 bytes of length, little-endian, and a `WatchOutput` with the keys in their order.
pub fn encode_watch(keys: &[Watched]) -> Vec<u8> {
    let keys = keys.iter().map(|watched| match watched {
        Watched::Unchanged => pb::WatchKeyOutput { changed: false, entry_if_changed: None },
        Watched::Changed(entry) => {
            pb::WatchKeyOutput { changed: true, entry_if_changed: entry.as_ref().map(to_wire) }
        }
    });
    let output = pb::WatchOutput { status: pb::SnapshotReadStatus::SrSuccess as i32, keys: keys.collect() };
    let length = u32::try_from(output.encoded_len()).unwrap_or(u32::MAX);
    let mut frame = Vec::with_capacity(length as usize + PING.len());
    frame.extend_from_slice(&length.to_le_bytes());
    frame.extend_from_slice(&output.encode_to_vec());
    frame
}
