//! The messages of Deno's KV Connect, versions 1 to 3: bytes in, reads and commits out, and the answers.
//!
//! Invariants:
//! - The limits and the texts of their errors are the protocol's own; clients match on the texts. They hold for what comes
//!   over this protocol and for nothing else.
//! - Keys are bytes here, tuples or not.
//! - Nothing is decoded before its number of parts is known to be allowed: a small message cannot become a large one.

mod metadata;
mod read;
mod value;
mod watch;
mod write;

pub use metadata::{Metadata, VERSIONS, database_uuid, negotiate};
pub use read::{ReadRequest, decode_read, encode_read};
pub use value::{entry_size_bytes, from_wire, to_wire};
pub use watch::{PING, Watched, decode_watch, encode_watch};
pub use write::{AtomicWrite, Enqueue, decode_write, encode_check_failure, encode_success, refusal};

use std::fmt;

/// Longest key of a write and of a watch.
pub const WRITE_KEY_SIZE_BYTES_MAX: usize = 2_048;
/// Longest bound of a range and longest key of a check.
pub const READ_KEY_SIZE_BYTES_MAX: usize = WRITE_KEY_SIZE_BYTES_MAX + 1;
/// Longest value.
pub const VALUE_SIZE_BYTES_MAX: usize = 65_536;
/// Most ranges of a read.
pub const READ_RANGES_MAX: usize = 10;
/// Most entries of a read, all its ranges together.
pub const READ_ENTRIES_MAX: usize = 1_000;
/// Most checks of a write.
pub const CHECKS_MAX: usize = 10;
/// Most mutations and messages of a write together.
pub const MUTATIONS_MAX: usize = 1_000;
/// Most key and value bytes of a write.
pub const WRITE_SIZE_BYTES_MAX: usize = 819_200;
/// Most keys of a watch.
pub const WATCHED_KEYS_MAX: usize = 10;
/// Furthest that a message may be put off.
pub const QUEUE_DELAY_MS_MAX: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Most keys that get a message which nobody took.
pub const QUEUE_UNDELIVERED_KEYS_MAX: usize = 10;
/// Most pauses between attempts.
pub const QUEUE_BACKOFF_INTERVALS_MAX: usize = 10;
/// Longest pause between attempts.
pub const QUEUE_BACKOFF_MS_MAX: u32 = 3_600_000;
/// Longest body of a read or a watch: more than its limits allow, so that the right limit is named.
pub const READ_BODY_SIZE_BYTES_MAX: usize = 256 * 1024;
/// Longest body of a write.
pub const WRITE_BODY_SIZE_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Why a message is refused, in words that clients know. Sending it again is of no use.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Refused {
    /// The body is no message of this kind.
    Malformed(String),
    /// Something is over its limit.
    Limit {
        /// The protocol's sentence.
        text: &'static str,
        /// The limit.
        limit: u64,
        /// What the message has.
        actual: u64,
    },
    /// A part of the message is none.
    Invalid(&'static str),
    /// The value has an encoding that nobody knows.
    UnknownEncoding(i32),
    /// A number does not fit the operation.
    Number(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Malformed(why) => write!(f, "Request protobuf is invalid: {why}."),
            Refused::Limit { text, limit, actual } => write!(f, "{text} (limit {limit}, got {actual})"),
            Refused::Invalid(text) => f.write_str(text),
            Refused::UnknownEncoding(encoding) => write!(f, "The value encoding {encoding} is unknown."),
            Refused::Number(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Refused {}

const KEY_TOO_LONG: &str = "A key exceeds the key size limit.";
const VALUE_TOO_LONG: &str = "A value exceeds the value size limit.";

fn limit(text: &'static str, limit: usize, actual: usize) -> Result<(), Refused> {
    if actual > limit {
        return Err(Refused::Limit { text, limit: limit as u64, actual: actual as u64 });
    }
    Ok(())
}

/// How often each of the fields 1, 2 and 3 stands at the top of a message, without decoding them.
fn count_fields(message: &[u8]) -> Result<[usize; 3], Refused> {
    let malformed = || Refused::Malformed("it ends early".to_owned());
    let mut rest = message;
    let varint = |rest: &mut &[u8]| -> Result<u64, Refused> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, behind) = rest.split_first().ok_or_else(malformed)?;
            *rest = behind;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Refused::Malformed("a number is too long".to_owned()))
    };
    let mut counts = [0; 3];
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            other => return Err(Refused::Malformed(format!("there is no wire type {other}"))),
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
        rest = length.and_then(|length| rest.get(length..)).ok_or_else(malformed)?;
        let field = usize::try_from(tag >> 3).ok().and_then(|field| field.checked_sub(1));
        if let Some(count) = field.and_then(|field| counts.get_mut(field)) {
            *count += 1;
        }
    }
    Ok(counts)
}

fn decode<M: prost::Message + Default>(message: &[u8]) -> Result<M, Refused> {
    M::decode(message).map_err(|error| Refused::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests;
