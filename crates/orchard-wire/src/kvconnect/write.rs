//! Atomic writes.

use super::{
    CHECKS_MAX, KEY_TOO_LONG, MUTATIONS_MAX, QUEUE_BACKOFF_INTERVALS_MAX, QUEUE_BACKOFF_MS_MAX,
    QUEUE_DELAY_MS_MAX, QUEUE_UNDELIVERED_KEYS_MAX, READ_KEY_SIZE_BYTES_MAX, Refused, VALUE_SIZE_BYTES_MAX,
    VALUE_TOO_LONG, WRITE_KEY_SIZE_BYTES_MAX, WRITE_SIZE_BYTES_MAX, count_fields, decode, from_wire, limit,
};
use denokv_proto::datapath as pb;
use orcharddb::v8_number::V8Number;
use orcharddb::{
    Check, CheckFailure, Commit, Expiry, Key, Mutation, MutationError, NumberOp, Operation, SpaceId,
    UnixMillis, Value, ValueType, Versionstamp,
};
use prost::Message as _;

/// What `M_SET_SUFFIX_VERSIONSTAMPED_KEY` appends: a string part of 20 hex digits.
const SUFFIX_BYTES: usize = 22;
const INVALID_KIND: Refused = Refused::Invalid("Invalid mutation kind or arguments.");
const INVALID_DEADLINE: Refused = Refused::Invalid("Invalid mutation enqueue deadline.");

/// A message to enqueue.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enqueue {
    /// What it says.
    pub payload: Value,
    /// Not to be delivered before.
    pub ready_at: UnixMillis,
    /// Pauses between attempts in milliseconds; `None`: the usual ones.
    pub backoff_ms: Option<Vec<u32>>,
    /// The keys that get it if nobody takes it.
    pub keys_if_undelivered: Vec<Key>,
}

/// A decoded `AtomicWrite`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AtomicWrite {
    /// Checks and mutations; its mutations are those of the message, in their order.
    pub commit: Commit,
    /// Messages to enqueue in the same commit.
    pub enqueues: Vec<Enqueue>,
}

fn key(bytes: Vec<u8>) -> Result<Key, Refused> {
    limit(KEY_TOO_LONG, WRITE_KEY_SIZE_BYTES_MAX, bytes.len())?;
    Key::new(bytes).map_err(|error| Refused::Limit {
        text: KEY_TOO_LONG,
        limit: error.limit,
        actual: error.actual,
    })
}

fn check(check: pb::Check, space: SpaceId) -> Result<Check, Refused> {
    limit(KEY_TOO_LONG, READ_KEY_SIZE_BYTES_MAX, check.key.len())?;
    let expected = match <[u8; 10]>::try_from(check.versionstamp.as_slice()) {
        _ if check.versionstamp.is_empty() => None,
        // A stamp that we would never give out is one that no key has.
        Ok(bytes) => Some(Versionstamp::from_bytes(bytes).unwrap_or(Versionstamp::MAX)),
        Err(_) => return Err(Refused::Invalid("Invalid versionstamp.")),
    };
    Ok(Check::Key { space, key: check.key.into(), expected })
}

fn number_text(text: impl Into<String>) -> Refused {
    Refused::Number(text.into())
}

/// The bounds and the operand of a sum.
fn sum(
    operand: Value,
    min: Vec<u8>,
    max: Vec<u8>,
    clamp: bool,
    expiry: Expiry,
) -> Result<Operation, Refused> {
    let op = NumberOp::Sum;
    if operand.value_type == ValueType::U64 {
        if !min.is_empty() || !max.is_empty() || clamp {
            return Err(number_text("Cannot use min/max parameters with KvU64 operands"));
        }
        return Ok(Operation::Number { op, operand, at_least: None, at_most: None, clamp: false, expiry });
    }
    let invalid = || number_text("Some of the parameters are not valid V8 values");
    let decoded = match operand.value_type {
        ValueType::V8 => V8Number::decode(&operand.data).map_err(|_| invalid())?,
        _ => return Err(invalid()),
    };
    let bound = |bytes: Vec<u8>| {
        if bytes.is_empty() {
            return Ok(None);
        }
        limit(VALUE_TOO_LONG, VALUE_SIZE_BYTES_MAX, bytes.len())?;
        let bound = V8Number::decode(&bytes).map_err(|_| invalid())?;
        if std::mem::discriminant(&bound) != std::mem::discriminant(&decoded) {
            return Err(number_text("Min/max parameters have different types than the operand"));
        }
        Ok(Some(Value::new(ValueType::V8, bytes)))
    };
    Ok(Operation::Number { op, at_least: bound(min)?, at_most: bound(max)?, operand, clamp, expiry })
}

fn min_or_max(op: NumberOp, operand: Value, expiry: Expiry) -> Result<Operation, Refused> {
    if operand.value_type != ValueType::U64 {
        return Err(number_text(format!("Failed to perform '{}' mutation on a non-U64 operand", name(op))));
    }
    Ok(Operation::Number { op, operand, at_least: None, at_most: None, clamp: false, expiry })
}

const fn name(op: NumberOp) -> &'static str {
    match op {
        NumberOp::Sum => "sum",
        NumberOp::Min => "min",
        NumberOp::Max => "max",
    }
}

fn mutation(mutation: pb::Mutation, space: SpaceId) -> Result<Mutation, Refused> {
    let mutation_type = mutation.mutation_type();
    let expiry = match u64::try_from(mutation.expire_at_ms) {
        Ok(0) => Expiry::Never,
        Ok(time) => Expiry::At(UnixMillis(time)),
        Err(_) if mutation.expire_at_ms == -1 => Expiry::Never,
        Err(_) => return Err(Refused::Invalid("Invalid mutation expire at.")),
    };
    let key = key(mutation.key)?;
    let given = match mutation.value {
        // Deno sends deletes with an empty value of no encoding.
        _ if mutation_type == pb::MutationType::MDelete => None,
        Some(value) => Some(from_wire(value)?),
        None => None,
    };
    let operation = match (mutation_type, given) {
        (pb::MutationType::MDelete, _) => Operation::Delete,
        (pb::MutationType::MSet, Some(value)) => Operation::Set { value, expiry },
        (pb::MutationType::MSum, Some(value)) => {
            sum(value, mutation.sum_min, mutation.sum_max, mutation.sum_clamp, expiry)?
        }
        (pb::MutationType::MMin, Some(value)) => min_or_max(NumberOp::Min, value, expiry)?,
        (pb::MutationType::MMax, Some(value)) => min_or_max(NumberOp::Max, value, expiry)?,
        (pb::MutationType::MSetSuffixVersionstampedKey, Some(value)) => {
            limit(KEY_TOO_LONG, WRITE_KEY_SIZE_BYTES_MAX, key.len() + SUFFIX_BYTES)?;
            Operation::SetWithVersionstampSuffix { value, expiry }
        }
        _ => return Err(INVALID_KIND),
    };
    Ok(Mutation { space, key, operation })
}

fn enqueue(enqueue: pb::Enqueue, now: UnixMillis) -> Result<Enqueue, Refused> {
    limit(VALUE_TOO_LONG, VALUE_SIZE_BYTES_MAX, enqueue.payload.len())?;
    limit(
        "Too many dead letter keys for a single queue message.",
        QUEUE_UNDELIVERED_KEYS_MAX,
        enqueue.keys_if_undelivered.len(),
    )?;
    limit(
        "Too many backoff intervals for a single queue message.",
        QUEUE_BACKOFF_INTERVALS_MAX,
        enqueue.backoff_schedule.len(),
    )?;
    for interval in &enqueue.backoff_schedule {
        limit(
            "A backoff interval exceeds the maximum allowed backoff interval.",
            QUEUE_BACKOFF_MS_MAX as usize,
            *interval as usize,
        )?;
    }
    let ready_at = u64::try_from(enqueue.deadline_ms).map_err(|_| INVALID_DEADLINE)?;
    if ready_at.saturating_sub(now.0) > QUEUE_DELAY_MS_MAX {
        return Err(INVALID_DEADLINE);
    }
    Ok(Enqueue {
        payload: Value::new(ValueType::V8, enqueue.payload),
        ready_at: UnixMillis(ready_at),
        backoff_ms: (!enqueue.backoff_schedule.is_empty()).then_some(enqueue.backoff_schedule),
        keys_if_undelivered: enqueue.keys_if_undelivered.into_iter().map(key).collect::<Result<_, _>>()?,
    })
}

fn size_bytes(write: &pb::AtomicWrite) -> usize {
    let checks = write.checks.iter().map(|check| check.key.len());
    let mutations = write.mutations.iter().map(|mutation| {
        let value = mutation.value.as_ref().map_or(0, |value| value.data.len());
        mutation.key.len() + value + mutation.sum_min.len() + mutation.sum_max.len()
    });
    let enqueues = write.enqueues.iter().map(|enqueue| {
        let keys: usize = enqueue.keys_if_undelivered.iter().map(Vec::len).sum();
        enqueue.payload.len() + keys + 4 * enqueue.backoff_schedule.len()
    });
    checks.chain(mutations).chain(enqueues).sum()
}

/// Decodes an `AtomicWrite` on a database. `now` is what an enqueued message's delay is held against, asked if there is one.
///
/// # Errors
/// [`Refused`]
pub fn decode_write(
    message: &[u8],
    space: SpaceId,
    now: impl Fn() -> UnixMillis,
) -> Result<AtomicWrite, Refused> {
    let [checks, mutations, enqueues] = count_fields(message)?;
    limit("Too many checks included in atomic write.", CHECKS_MAX, checks)?;
    limit("Too many mutations / enqueues included in atomic write.", MUTATIONS_MAX, mutations + enqueues)?;
    let write: pb::AtomicWrite = decode(message)?;
    let size = size_bytes(&write);
    let commit = Commit {
        checks: write.checks.into_iter().map(|one| check(one, space)).collect::<Result<_, _>>()?,
        mutations: write.mutations.into_iter().map(|one| mutation(one, space)).collect::<Result<_, _>>()?,
        token: None,
    };
    let enqueues = write.enqueues.into_iter().map(|one| enqueue(one, now())).collect::<Result<_, _>>()?;
    limit("The total size of the atomic write is too large.", WRITE_SIZE_BYTES_MAX, size)?;
    Ok(AtomicWrite { commit, enqueues })
}

/// The answer to a write that happened.
pub fn encode_success(versionstamp: Versionstamp) -> Vec<u8> {
    let output = pb::AtomicWriteOutput {
        status: pb::AtomicWriteStatus::AwSuccess as i32,
        versionstamp: versionstamp.to_bytes().to_vec(),
        failed_checks: Vec::new(),
    };
    output.encode_to_vec()
}

/// The answer to a write whose checks did not all hold.
pub fn encode_check_failure(failures: &[CheckFailure]) -> Vec<u8> {
    let output = pb::AtomicWriteOutput {
        status: pb::AtomicWriteStatus::AwCheckFailure as i32,
        versionstamp: Vec::new(),
        failed_checks: failures.iter().map(|failure| failure.index as u32).collect(),
    };
    output.encode_to_vec()
}

/// Why a mutation could not be applied to what is stored, in words that clients know.
pub fn refusal(mutation: Option<&Mutation>, error: &MutationError) -> Refused {
    let operation = mutation.map(|mutation| &mutation.operation);
    match (error, operation) {
        (MutationError::KeyTooLong(error), _) => {
            Refused::Limit { text: KEY_TOO_LONG, limit: error.limit, actual: error.actual }
        }
        (MutationError::OutOfBounds | MutationError::Overflow, _) => {
            number_text("The result of a Sum operation would exceed its range limit")
        }
        (MutationError::WrongType { .. }, Some(Operation::Number { op, operand, .. }))
            if operand.value_type == ValueType::U64 =>
        {
            number_text(format!(
                "Failed to perform '{}' mutation on a non-U64 value in the database",
                name(*op)
            ))
        }
        (MutationError::WrongType { found, .. }, _) => {
            number_text(format!("unsupported value type: the stored value is {found}, and no number"))
        }
        (other, _) => number_text(other.to_string()),
    }
}
