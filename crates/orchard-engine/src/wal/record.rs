//! One accepted commit as bytes: its token and its mutations. Checks have been decided and are not kept.
//!
//! Layout: length u32 of what follows, flags u8 (bit 0: a token follows), [token: id length u8, id, deadline u64 (ms),
//! hash u64], number of mutations varint, then each mutation: operation u8, space varint, key length varint, key, and
//! what the operation needs. Varints are LEB128.

use bytes::Bytes;
use orchard_types::{
    DurationMs, Expiry, Key, Mutation, NumberOp, Operation, SpaceId, Token, UnixMillis, Value, ValueType,
    Versionstamp, limits,
};
use std::fmt;
use xxhash_rust::xxh3::xxh3_64;

/// A decoded record.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// The token and the hash of the commit it belongs to.
    pub token: Option<(Token, u64)>,
    /// The mutations, in order.
    pub mutations: Vec<Mutation>,
}

/// The bytes are not a record of this version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordError(pub String);

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const FLAG_TOKEN: u8 = 1;

const SET: u8 = 1;
const DELETE: u8 = 2;
const DELETE_IF_STAMP: u8 = 3;
const DELETE_RANGE: u8 = 4;
const NUMBER: u8 = 5;
const SET_WITH_VERSIONSTAMP_SUFFIX: u8 = 6;
const TOUCH: u8 = 7;

const EXPIRY_NEVER: u8 = 0;
const EXPIRY_AT: u8 = 1;
const EXPIRY_AFTER: u8 = 2;
const EXPIRY_KEEP: u8 = 3;
const EXPIRY_KEEP_OR: u8 = 4;

/// Appends `number` as LEB128.
pub fn push_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn push_value(out: &mut Vec<u8>, value: &Value) {
    out.push(value.value_type as u8);
    push_bytes(out, &value.data);
}

fn push_expiry(out: &mut Vec<u8>, expiry: Expiry) {
    match expiry {
        Expiry::Never => out.push(EXPIRY_NEVER),
        Expiry::At(time) => {
            out.push(EXPIRY_AT);
            out.extend_from_slice(&time.0.to_le_bytes());
        }
        Expiry::After(duration) => {
            out.push(EXPIRY_AFTER);
            out.extend_from_slice(&duration.0.to_le_bytes());
        }
        Expiry::Keep => out.push(EXPIRY_KEEP),
        Expiry::KeepOr(duration) => {
            out.push(EXPIRY_KEEP_OR);
            out.extend_from_slice(&duration.0.to_le_bytes());
        }
    }
}

fn push_mutation(out: &mut Vec<u8>, mutation: &Mutation) {
    let code = match &mutation.operation {
        Operation::Set { .. } => SET,
        Operation::Delete => DELETE,
        Operation::DeleteIfStamp(_) => DELETE_IF_STAMP,
        Operation::DeleteRange { .. } => DELETE_RANGE,
        Operation::Number { .. } => NUMBER,
        Operation::SetWithVersionstampSuffix { .. } => SET_WITH_VERSIONSTAMP_SUFFIX,
        Operation::Touch { .. } => TOUCH,
    };
    out.push(code);
    push_varint(out, u64::from(mutation.space.0));
    push_bytes(out, &mutation.key);
    match &mutation.operation {
        Operation::Set { value, expiry } | Operation::SetWithVersionstampSuffix { value, expiry } => {
            push_expiry(out, *expiry);
            push_value(out, value);
        }
        Operation::Delete => {}
        Operation::DeleteIfStamp(stamp) => out.extend_from_slice(&stamp.raw().to_le_bytes()),
        Operation::DeleteRange { end } => match end {
            None => out.push(0),
            Some(end) => {
                out.push(1);
                push_bytes(out, end);
            }
        },
        Operation::Number { op, operand, at_least, at_most, clamp, expiry } => {
            out.push(*op as u8);
            out.push(u8::from(at_least.is_some()) | u8::from(at_most.is_some()) << 1 | u8::from(*clamp) << 2);
            push_expiry(out, *expiry);
            push_value(out, operand);
            for bound in [at_least, at_most].into_iter().flatten() {
                push_value(out, bound);
            }
        }
        Operation::Touch { expiry } => push_expiry(out, *expiry),
    }
}

/// Length, flags, token, and the number of mutations, at most.
const RECORD_OVERHEAD_BYTES: usize = 32 + limits::TOKEN_SIZE_BYTES_MAX;

/// What a mutation takes, about: operation, space, lengths and expiry beside its key and value.
fn encoded_bytes(mutation: &Mutation) -> usize {
    let value = match &mutation.operation {
        Operation::Set { value, .. } | Operation::SetWithVersionstampSuffix { value, .. } => value.data.len(),
        Operation::DeleteRange { end: Some(end) } => end.len(),
        _ => 0,
    };
    mutation.key.len() + value + 32
}

/// Appends the record of a commit.
pub fn encode(token: Option<&Token>, mutations: &[Mutation], out: &mut Vec<u8>) {
    encode_hashed(token.map(|token| (token, None)), mutations, out);
}

/// As [`encode`], with the hash that the token remembers: that of all mutations of the commit, when some are left out.
pub fn encode_hashed(token: Option<(&Token, Option<u64>)>, mutations: &[Mutation], out: &mut Vec<u8>) {
    let start = out.len();
    if out.capacity() == 0 {
        // Enough for everything but numbers with bounds, so that the bytes are moved once. What is used again has grown.
        out.reserve(RECORD_OVERHEAD_BYTES + mutations.iter().map(encoded_bytes).sum::<usize>());
    }
    if let ([mutation], None) = (mutations, token)
        && let Operation::Set { value, expiry: Expiry::Never } = &mutation.operation
    {
        push_one_set(out, mutation, value);
    } else {
        push_all(out, token, mutations);
    }
    let length = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// The record of the most frequent commit: one value, without expiry.
fn push_one_set(out: &mut Vec<u8>, mutation: &Mutation, value: &Value) {
    // Room for the length, no flags, one mutation.
    out.extend_from_slice(&[0, 0, 0, 0, 0, 1]);
    push_set(out, (mutation.space, &mutation.key), Expiry::Never, (value.value_type, &value.data));
}

/// What a set takes beside its key, its value and an expiry's number, at most.
const SET_OVERHEAD_BYTES: usize = 32;

/// A set. What stands around key and value is mostly a few bytes of known number, which cost next to nothing to append.
#[inline]
fn push_set(
    out: &mut Vec<u8>,
    (space, key): (SpaceId, &[u8]),
    expiry: Expiry,
    (value_type, data): (ValueType, &[u8]),
) {
    const ONE: usize = 0x7f;
    const TWO: usize = 0x3fff;
    out.reserve(SET_OVERHEAD_BYTES + key.len() + data.len());
    let (space, length) = (space.0 as usize, key.len());
    if space <= ONE && length <= ONE {
        out.extend_from_slice(&[SET, space as u8, length as u8]);
    } else if space <= TWO && length <= ONE {
        // As that of elements.
        out.extend_from_slice(&[SET, space as u8 | 0x80, (space >> 7) as u8, length as u8]);
    } else {
        out.push(SET);
        push_varint(out, space as u64);
        push_varint(out, length as u64);
    }
    out.extend_from_slice(key);
    let (expiry_code, value_type, length) = match expiry {
        Expiry::Never => (EXPIRY_NEVER, value_type as u8, data.len()),
        Expiry::Keep => (EXPIRY_KEEP, value_type as u8, data.len()),
        other => {
            push_expiry(out, other);
            out.push(value_type as u8);
            return push_bytes(out, data);
        }
    };
    if length <= ONE {
        out.extend_from_slice(&[expiry_code, value_type, length as u8]);
    } else if length <= TWO {
        out.extend_from_slice(&[expiry_code, value_type, length as u8 | 0x80, (length >> 7) as u8]);
    } else {
        out.extend_from_slice(&[expiry_code, value_type]);
        push_varint(out, length as u64);
    }
    out.extend_from_slice(data);
}

/// Writes a record without a token, mutation by mutation.
pub(crate) struct RecordWriter {
    start: usize,
    mutations: usize,
}

/// Length and flags; the number of mutations follows.
const COUNT_AT: usize = 5;

impl RecordWriter {
    /// Begins a record at the end of `out`.
    #[inline]
    pub(crate) fn new(out: &mut Vec<u8>) -> RecordWriter {
        let start = out.len();
        // The number takes one byte, as long as it turns out to.
        out.extend_from_slice(&[0; COUNT_AT + 1]);
        RecordWriter { start, mutations: 0 }
    }

    /// The longest that a record of so many sets and deletes can be, with keys and values of `size_bytes` together.
    pub(crate) fn size_bytes_max(mutations: usize, size_bytes: usize) -> usize {
        size_bytes.saturating_add(mutations.saturating_mul(32)).saturating_add(32)
    }

    #[inline]
    pub(crate) fn set(
        &mut self,
        out: &mut Vec<u8>,
        key: (SpaceId, &[u8]),
        expiry: Expiry,
        value: (ValueType, &[u8]),
    ) {
        self.mutations += 1;
        push_set(out, key, expiry, value);
    }

    pub(crate) fn delete(&mut self, out: &mut Vec<u8>, (space, key): (SpaceId, &[u8])) {
        self.mutations += 1;
        out.push(DELETE);
        push_varint(out, u64::from(space.0));
        push_bytes(out, key);
    }

    /// Ends it; returns its size in bytes.
    #[inline]
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> usize {
        let count_at = self.start + COUNT_AT;
        match u8::try_from(self.mutations) {
            Ok(count) if count < 0x80 => out[count_at] = count,
            _ => {
                let mut count = Vec::new();
                push_varint(&mut count, self.mutations as u64);
                out.splice(count_at..=count_at, count);
            }
        }
        let length = (out.len() - self.start - 4) as u32;
        out[self.start..self.start + 4].copy_from_slice(&length.to_le_bytes());
        out.len() - self.start
    }
}

fn push_all(out: &mut Vec<u8>, token: Option<(&Token, Option<u64>)>, mutations: &[Mutation]) {
    out.extend_from_slice(&[0; 4]);
    out.push(if token.is_some() { FLAG_TOKEN } else { 0 });
    let token_at = out.len();
    if let Some((token, _)) = token {
        out.push(token.id.len() as u8);
        out.extend_from_slice(&token.id);
        out.extend_from_slice(&token.deadline.0.to_le_bytes());
        out.extend_from_slice(&[0; 8]);
    }
    let body_at = out.len();
    push_varint(out, mutations.len() as u64);
    for mutation in mutations {
        push_mutation(out, mutation);
    }
    if let Some((_, known)) = token {
        let hash = known.unwrap_or_else(|| xxh3_64(&out[body_at..]));
        out[body_at - 8..body_at].copy_from_slice(&hash.to_le_bytes());
        debug_assert!(token_at < body_at);
    }
}

/// Reads bytes from the front; every method fails instead of reading past the end.
struct Reader<'a> {
    rest: &'a [u8],
    /// What `rest` is a part of: byte strings share it instead of being copied.
    shared: Option<&'a Bytes>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| RecordError(format!("{count} bytes wanted, {} left", self.rest.len())))?;
        self.rest = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, RecordError> {
        self.take(1).map(|bytes| bytes.first().copied().unwrap_or_default())
    }

    fn u64(&mut self) -> Result<u64, RecordError> {
        let mut word = [0; 8];
        word.copy_from_slice(self.take(8)?);
        Ok(u64::from_le_bytes(word))
    }

    fn varint(&mut self) -> Result<u64, RecordError> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(RecordError("a varint longer than 64 bits".into()))
    }

    fn bytes(&mut self, limit: usize) -> Result<Bytes, RecordError> {
        let length = usize::try_from(self.varint()?).unwrap_or(usize::MAX);
        if length > limit {
            return Err(RecordError(format!("{length} bytes where at most {limit} are allowed")));
        }
        let shared = self.shared;
        let taken = self.take(length)?;
        Ok(shared.map_or_else(|| Bytes::copy_from_slice(taken), |shared| shared.slice_ref(taken)))
    }

    fn value(&mut self) -> Result<Value, RecordError> {
        let number = self.u8()?;
        let value_type =
            ValueType::from_number(number).ok_or_else(|| RecordError(format!("value type {number}")))?;
        Ok(Value { value_type, data: self.bytes(limits::VALUE_SIZE_BYTES_MAX)? })
    }

    fn expiry(&mut self) -> Result<Expiry, RecordError> {
        match self.u8()? {
            EXPIRY_NEVER => Ok(Expiry::Never),
            EXPIRY_AT => Ok(Expiry::At(UnixMillis(self.u64()?))),
            EXPIRY_AFTER => Ok(Expiry::After(DurationMs(self.u64()?))),
            EXPIRY_KEEP => Ok(Expiry::Keep),
            EXPIRY_KEEP_OR => Ok(Expiry::KeepOr(DurationMs(self.u64()?))),
            other => Err(RecordError(format!("expiry kind {other}"))),
        }
    }

    fn operation(&mut self, code: u8) -> Result<Operation, RecordError> {
        Ok(match code {
            SET => {
                let expiry = self.expiry()?;
                Operation::Set { value: self.value()?, expiry }
            }
            DELETE => Operation::Delete,
            DELETE_IF_STAMP => Operation::DeleteIfStamp(Versionstamp::from_raw(self.u64()?)),
            DELETE_RANGE => match self.u8()? {
                0 => Operation::DeleteRange { end: None },
                1 => Operation::DeleteRange { end: Some(self.bytes(limits::READ_KEY_SIZE_BYTES_MAX)?) },
                other => return Err(RecordError(format!("range end {other}"))),
            },
            NUMBER => {
                let op = match self.u8()? {
                    0 => NumberOp::Sum,
                    1 => NumberOp::Min,
                    2 => NumberOp::Max,
                    other => return Err(RecordError(format!("number operation {other}"))),
                };
                let flags = self.u8()?;
                if flags > 7 {
                    return Err(RecordError(format!("number flags {flags}")));
                }
                let expiry = self.expiry()?;
                let operand = self.value()?;
                let at_least = if flags & 1 != 0 { Some(self.value()?) } else { None };
                let at_most = if flags & 2 != 0 { Some(self.value()?) } else { None };
                Operation::Number { op, operand, at_least, at_most, clamp: flags & 4 != 0, expiry }
            }
            SET_WITH_VERSIONSTAMP_SUFFIX => {
                let expiry = self.expiry()?;
                Operation::SetWithVersionstampSuffix { value: self.value()?, expiry }
            }
            TOUCH => Operation::Touch { expiry: self.expiry()? },
            other => return Err(RecordError(format!("operation {other}"))),
        })
    }
}

/// Reads the record at the start of `bytes`; returns it and what follows it.
///
/// # Errors
/// [`RecordError`]; any bytes are safe to give.
pub fn decode(bytes: &[u8]) -> Result<(Record, &[u8]), RecordError> {
    decode_part(bytes, None)
}

/// As [`decode`], but the record's byte strings share `bytes`.
///
/// # Errors
/// [`RecordError`]
pub fn decode_shared(bytes: &Bytes) -> Result<(Record, Bytes), RecordError> {
    let (record, behind) = decode_part(bytes, Some(bytes))?;
    Ok((record, bytes.slice_ref(behind)))
}

fn decode_part<'a>(bytes: &'a [u8], shared: Option<&'a Bytes>) -> Result<(Record, &'a [u8]), RecordError> {
    let mut reader = Reader { rest: bytes, shared };
    let mut length = [0; 4];
    length.copy_from_slice(reader.take(4)?);
    let body = reader.take(u32::from_le_bytes(length) as usize)?;
    let behind = reader.rest;
    let mut reader = Reader { rest: body, shared };
    let flags = reader.u8()?;
    if flags & !FLAG_TOKEN != 0 {
        return Err(RecordError(format!("record flags {flags:#04x}")));
    }
    let token = if flags & FLAG_TOKEN != 0 {
        let length = usize::from(reader.u8()?);
        let id = Bytes::copy_from_slice(reader.take(length)?);
        let deadline = UnixMillis(reader.u64()?);
        Some((Token { id, deadline }, reader.u64()?))
    } else {
        None
    };
    let count = reader.varint()?;
    const RESERVED_MAX: u64 = 1_024; // a foreign count may not allocate more than its bytes could fill
    let mut mutations = Vec::with_capacity(count.min(RESERVED_MAX) as usize);
    for _ in 0..count {
        let code = reader.u8()?;
        let space = u32::try_from(reader.varint()?).map_err(|_| RecordError("space over 32 bits".into()))?;
        let key = Key::new(reader.bytes(limits::KEY_SIZE_BYTES_MAX)?)
            .map_err(|error| RecordError(error.to_string()))?;
        mutations.push(Mutation { space: SpaceId(space), key, operation: reader.operation(code)? });
    }
    if !reader.rest.is_empty() {
        return Err(RecordError(format!("{} bytes left over in a record", reader.rest.len())));
    }
    Ok((Record { token, mutations }, behind))
}

/// The hash that a token remembers of its commit.
pub fn token_hash(record: &[u8]) -> u64 {
    decode(record).ok().and_then(|(record, _)| record.token).map_or(0, |(_, hash)| hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        (0usize..14, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(value_type, data)| Value::new(ValueType::ALL[value_type], data))
    }

    fn expiry() -> impl Strategy<Value = Expiry> {
        prop_oneof![
            Just(Expiry::Never),
            Just(Expiry::Keep),
            any::<u64>().prop_map(|ms| Expiry::KeepOr(DurationMs(ms))),
            any::<u64>().prop_map(|time| Expiry::At(UnixMillis(time))),
            any::<u64>().prop_map(|time| Expiry::After(DurationMs(time))),
        ]
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            (value(), expiry()).prop_map(|(value, expiry)| Operation::Set { value, expiry }),
            (value(), expiry())
                .prop_map(|(value, expiry)| Operation::SetWithVersionstampSuffix { value, expiry }),
            Just(Operation::Delete),
            any::<u64>().prop_map(|raw| Operation::DeleteIfStamp(Versionstamp::from_raw(raw))),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..9))
                .prop_map(|end| Operation::DeleteRange { end: end.map(Bytes::from) }),
            expiry().prop_map(|expiry| Operation::Touch { expiry }),
            (value(), prop::option::of(value()), prop::option::of(value()), any::<bool>(), expiry())
                .prop_map(|(operand, at_least, at_most, clamp, expiry)| Operation::Number {
                    op: NumberOp::Max,
                    operand,
                    at_least,
                    at_most,
                    clamp,
                    expiry
                }),
        ]
    }

    #[test]
    fn one_set_is_encoded_as_all_are() {
        for (space, key, data) in [
            (0, 1, 0),
            (0xef, 2_048, 200),
            (u32::MAX, 300, 70_000),
            (0x7f, 0x7f, 0x7f),
            (0x80, 0x80, 0x80),
            (0xef, 30, 100),
            (0x3fff, 30, 100),
            (0x4000, 30, 100),
            (0, 1, 0x3fff),
            (0, 1, 0x4000),
        ] {
            let key = Key::new(vec![7; key]).expect("short");
            let operation = Operation::Set { value: Value::from(vec![9; data]), expiry: Expiry::Never };
            let mutation = Mutation { space: SpaceId(space), key, operation };
            let Operation::Set { value, .. } = &mutation.operation else { unreachable!() };
            let (mut one, mut all) = (Vec::new(), Vec::new());
            push_one_set(&mut one, &mutation, value);
            push_all(&mut all, None, std::slice::from_ref(&mutation));
            assert_eq!(one, all);
        }
    }

    proptest! {
        #[test]
        fn a_record_written_in_steps_is_the_one_of_its_mutations(
            sets in prop::collection::vec((0_u32..0xf0, 0..300_usize, prop::option::of((value(), expiry()))), 1..200),
        ) {
            let mut mutations = Vec::new();
            let mut written = vec![9];
            let mut writer = RecordWriter::new(&mut written);
            let mut size_bytes = 0;
            for (space, length, set) in sets {
                let (space, key) = (SpaceId(space), Key::new(vec![7; length]).expect("short"));
                size_bytes += length;
                let operation = match set {
                    Some((value, expiry)) => {
                        size_bytes += value.data.len();
                        writer.set(&mut written, (space, &key), expiry, (value.value_type, &value.data));
                        Operation::Set { value, expiry }
                    }
                    None => {
                        writer.delete(&mut written, (space, &key));
                        Operation::Delete
                    }
                };
                mutations.push(Mutation { space, key, operation });
            }
            let length = writer.finish(&mut written);
            let mut encoded = vec![9];
            encode(None, &mutations, &mut encoded);
            prop_assert!(encoded == written && length == written.len() - 1);
            prop_assert!(length <= RecordWriter::size_bytes_max(mutations.len(), size_bytes));
        }

        #[test]
        fn records_round_trip(
            token in prop::option::of((prop::collection::vec(any::<u8>(), 0..64), any::<u64>())),
            mutations in prop::collection::vec(
                (any::<u32>(), prop::collection::vec(any::<u8>(), 0..9), operation()), 0..5),
        ) {
            let token = token.map(|(id, deadline)| Token { id: id.into(), deadline: UnixMillis(deadline) });
            let mutations: Vec<_> = mutations
                .into_iter()
                .map(|(space, key, operation)| Mutation {
                    space: SpaceId(space), key: Key::new(key).expect("short"), operation })
                .collect();
            let mut bytes = Vec::new();
            encode(token.as_ref(), &mutations, &mut bytes);
            bytes.push(9);
            let (record, behind) = decode(&bytes).expect("it was just written");
            prop_assert_eq!(behind, &[9]);
            prop_assert_eq!(record.token.map(|(token, _)| token), token);
            prop_assert_eq!(record.mutations, mutations);
        }

        #[test]
        fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Ok((record, behind)) = decode(&bytes) {
                let mut again = Vec::new();
                encode(record.token.as_ref().map(|(token, _)| token), &record.mutations, &mut again);
                prop_assert!(again.len() + behind.len() <= bytes.len() + 9);
            }
        }
    }
}
