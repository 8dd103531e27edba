//! Values: three encodings on the wire, all types of the database behind them.

use super::{Refused, VALUE_SIZE_BYTES_MAX, VALUE_TOO_LONG, limit};
use crate::v8;
use denokv_proto::datapath as pb;
use orcharddb::{Entry, Value, ValueType};

/// The value that a message carries.
///
/// # Errors
/// [`Refused`]
pub fn from_wire(value: pb::KvValue) -> Result<Value, Refused> {
    limit(VALUE_TOO_LONG, VALUE_SIZE_BYTES_MAX, value.data.len())?;
    match value.encoding() {
        pb::ValueEncoding::VeV8 => Ok(Value::new(ValueType::V8, value.data)),
        pb::ValueEncoding::VeBytes => Ok(Value::bytes(value.data)),
        pb::ValueEncoding::VeLe64 if value.data.len() == 8 => Ok(Value::new(ValueType::U64, value.data)),
        pb::ValueEncoding::VeLe64 => Err(Refused::Invalid("A KvU64 value has 8 bytes.")),
        pb::ValueEncoding::VeUnspecified => Err(Refused::UnknownEncoding(value.encoding)),
    }
}

/// An entry as a client of the protocol gets it: `u64` as KvU64, `bytes` as Uint8Array, everything else as the JavaScript
/// value that it is.
pub fn to_wire(entry: &Entry) -> pb::KvEntry {
    let value = &entry.value;
    let (data, encoding) = match value.value_type {
        ValueType::V8 => (readable_by_all(&value.data), pb::ValueEncoding::VeV8),
        ValueType::U64 if value.data.len() == 8 => (value.data.to_vec(), pb::ValueEncoding::VeLe64),
        _ => match v8::of_value(value) {
            Some(data) => (data, pb::ValueEncoding::VeV8),
            None => (value.data.to_vec(), pb::ValueEncoding::VeBytes),
        },
    };
    pb::KvEntry {
        key: entry.key.to_vec(),
        value: data,
        encoding: encoding as i32,
        versionstamp: entry.versionstamp.to_bytes().to_vec(),
    }
}

/// V8 values of format version 16 (Deno since 2.9) as version 15, which Node and Python read, too. The versions differ in
/// the width of lengths over 4 GiB and in nothing else; every reader of 16 reads 15.
fn readable_by_all(v8: &[u8]) -> Vec<u8> {
    let mut v8 = v8.to_vec();
    if let [0xff, version @ 16, ..] = v8.as_mut_slice() {
        *version = 15;
    }
    v8
}

/// About what an entry takes in an answer.
pub fn entry_size_bytes(entry: &Entry) -> usize {
    entry.key.len() + entry.value.data.len() + 32
}
