//! Bitmaps: strings as rows of bits.

use crate::redis::bits::{self, BitRange, FieldType, Operation, Overflow};
use crate::redis::command::{DENYOOM, FAST, Family, NONE, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value;
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};
use orcharddb::limits::VALUE_SIZE_BYTES_MAX;
use orcharddb::{Expiry, Key};

const ONE: (i32, i32, i32) = (1, 1, 1);
/// Where Redis's strings end, in bytes: bits behind it are no bits. Ours end earlier, with an error of its own.
const REDIS_STRING_SIZE_BYTES_MAX: i64 = 512 * 1024 * 1024;

pub(super) static FAMILY: Family = Family {
    group: "bitmap",
    commands: &[
        read("bitcount", -2, NONE, ONE, bitcount),
        write("bitfield", -2, DENYOOM, ONE, bitfield),
        read("bitfield_ro", -2, FAST, ONE, bitfield_ro),
        write("bitop", -4, DENYOOM, (2, -1, 1), bitop),
        read("bitpos", -3, NONE, ONE, bitpos),
        read("getbit", 3, FAST, ONE, getbit),
        write("setbit", 4, DENYOOM, ONE, setbit),
    ],
};

const BAD_OFFSET: RedisError =
    RedisError(std::borrow::Cow::Borrowed("ERR bit offset is not an integer or out of range"));

/// The string of a key; empty if there is none.
fn string(cx: &mut Context<'_, '_>, key: &Key) -> Result<Option<Bytes>, RedisError> {
    cx.entry(key)?.map(|entry| value::text_of(&entry.value)).transpose()
}

/// A copy of a string that reaches `length` bytes.
fn grown(text: Option<&Bytes>, length: u64) -> Result<Vec<u8>, RedisError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > VALUE_SIZE_BYTES_MAX {
        return Err(RedisError::STRING_TOO_LONG);
    }
    let mut bytes = text.map_or_else(Vec::new, |text| text.to_vec());
    bytes.resize(length.max(bytes.len()), 0);
    Ok(bytes)
}

/// A bit's place; `#n` is the n-th number of `bits` bits.
fn offset(text: &[u8], bits: Option<u32>) -> Result<u64, RedisError> {
    let (text, scale) = match (text, bits) {
        ([b'#', rest @ ..], Some(bits)) => (rest, i64::from(bits)),
        _ => (text, 1),
    };
    let place = parse_integer(text).and_then(|place| place.checked_mul(scale)).ok_or(BAD_OFFSET)?;
    if place >> 3 >= REDIS_STRING_SIZE_BYTES_MAX {
        return Err(BAD_OFFSET);
    }
    u64::try_from(place).map_err(|_| BAD_OFFSET)
}

fn setbit(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let at = offset(args.at(2), None)?;
    let bit = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(RedisError::err("bit is not an integer or out of range")),
    };
    let key = cx.key(args.at(1))?;
    let text = string(cx, &key)?;
    let mut bytes = grown(text.as_ref(), (at >> 3) + 1)?;
    let was = bits::get(&bytes, at);
    if was != bit || text.is_none_or(|text| text.len() < bytes.len()) {
        bits::set(&mut bytes, at, bit);
        cx.put(key, value::string(bytes.into()), Expiry::Keep);
    }
    Ok(Reply::truth(was))
}

fn getbit(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let at = offset(args.at(2), None)?;
    let key = cx.key(args.at(1))?;
    let text = string(cx, &key)?.unwrap_or_default();
    Ok(Reply::truth(bits::get(&text, at)))
}

/// Whether a range counts bits.
fn counts_bits(unit: &[u8]) -> Result<bool, RedisError> {
    match unit.to_ascii_lowercase().as_slice() {
        b"bit" => Ok(true),
        b"byte" => Ok(false),
        _ => Err(RedisError::SYNTAX),
    }
}

/// The range of a string of `length` bytes between two places, counted from its end if they are negative.
fn range(start: i64, end: i64, length: usize, counts_bits: bool) -> Option<BitRange> {
    let length = i64::try_from(length).ok()?;
    let total = if counts_bits { length.checked_mul(8)? } else { length };
    let from_start = |place: i64| if place < 0 { place.saturating_add(total).max(0) } else { place };
    let (start, end) = (from_start(start), from_start(end).min(total - 1));
    if start > end {
        return None;
    }
    let (start, end) = (u64::try_from(start).ok()?, u64::try_from(end).ok()?);
    Some(if counts_bits {
        BitRange { from: start, to: end }
    } else {
        BitRange { from: start * 8, to: end * 8 + 7 }
    })
}

fn integer(text: &[u8]) -> Result<i64, RedisError> {
    parse_integer(text).ok_or(RedisError::NOT_INTEGER)
}

fn number(number: u64) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

fn bitcount(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let key = cx.key(args.at(1))?;
    let Some(text) = string(cx, &key)? else { return Ok(Reply::Integer(0)) };
    let (start, end, unit) = match args.len() {
        2 => (0, -1, false),
        4 => (integer(args.at(2))?, integer(args.at(3))?, false),
        5 => (integer(args.at(2))?, integer(args.at(3))?, counts_bits(args.at(4))?),
        _ => return Err(RedisError::SYNTAX),
    };
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::Integer(0));
    }
    Ok(number(range(start, end, text.len(), unit).map_or(0, |range| bits::count(&text, range))))
}

fn bitpos(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let bit = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(RedisError::err("The bit argument must be 1 or 0.")),
    };
    let key = cx.key(args.at(1))?;
    let Some(text) = string(cx, &key)? else { return Ok(Reply::Integer(if bit { -1 } else { 0 })) };
    if args.len() > 6 {
        return Err(RedisError::SYNTAX);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let unit = args.get(5).map_or(Ok(false), counts_bits)?;
    let end = args.get(4).map_or(Ok(-1), integer)?;
    let Some(range) = range(start, end, text.len(), unit) else { return Ok(Reply::Integer(-1)) };
    Ok(match bits::position(&text, range, bit) {
        Some(place) => number(place),
        // Without an end, zeros follow the string.
        None if !bit && args.len() < 5 => number(range.to + 1),
        None => Reply::Integer(-1),
    })
}

fn bitop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = match args.at(1).to_ascii_lowercase().as_slice() {
        b"and" => Operation::And,
        b"or" => Operation::Or,
        b"xor" => Operation::Xor,
        b"not" => Operation::Not,
        _ => return Err(RedisError::SYNTAX),
    };
    if operation == Operation::Not && args.len() != 4 {
        return Err(RedisError::err("BITOP NOT must be called with a single source key."));
    }
    let target = cx.key(args.at(2))?;
    let mut sources = Vec::with_capacity(args.len() - 3);
    for name in args.iter().skip(3) {
        let key = cx.key(name)?;
        sources.push(string(cx, &key)?.unwrap_or_default());
    }
    let result = bits::combine(operation, &sources);
    let length = result.len();
    if !result.is_empty() {
        cx.put(target, value::string(result.into()), Expiry::Never);
    } else if cx.entry(&target)?.is_some() {
        cx.delete(target);
    }
    Ok(Reply::count(length))
}

/// One step of `BITFIELD`.
struct Step {
    field: FieldType,
    at: u64,
    change: Option<Change>,
}

struct Change {
    number: i64,
    is_increment: bool,
    overflow: Overflow,
}

fn field_type(text: &[u8]) -> Option<FieldType> {
    let (is_signed, digits) = match text {
        [b'i', digits @ ..] => (true, digits),
        [b'u', digits @ ..] => (false, digits),
        _ => return None,
    };
    let bits = parse_integer(digits).and_then(|bits| u32::try_from(bits).ok())?;
    let bits_max = if is_signed { 64 } else { 63 };
    (1..=bits_max).contains(&bits).then_some(FieldType { is_signed, bits })
}

fn parse_steps(args: Args<'_>) -> Result<Vec<Step>, RedisError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let more = args.len() - at - 1;
        let word = word.to_ascii_lowercase();
        let is_increment = match word.as_slice() {
            b"get" if more >= 2 => None,
            b"set" if more >= 3 => Some(false),
            b"incrby" if more >= 3 => Some(true),
            b"overflow" if more >= 1 => {
                overflow = match args.at(at + 1).to_ascii_lowercase().as_slice() {
                    b"wrap" => Overflow::Wrap,
                    b"sat" => Overflow::Saturate,
                    b"fail" => Overflow::Fail,
                    _ => return Err(RedisError::err("Invalid OVERFLOW type specified")),
                };
                at += 2;
                continue;
            }
            _ => return Err(RedisError::SYNTAX),
        };
        let field = field_type(args.at(at + 1)).ok_or_else(|| {
            RedisError::err(
                "Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            )
        })?;
        let place = offset(args.at(at + 2), Some(field.bits))?;
        let change = match is_increment {
            None => None,
            Some(is_increment) => Some(Change { number: integer(args.at(at + 3))?, is_increment, overflow }),
        };
        at += if change.is_some() { 4 } else { 3 };
        steps.push(Step { field, at: place, change });
    }
    Ok(steps)
}

fn bitfield(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let steps = parse_steps(args)?;
    let key = cx.key(args.at(1))?;
    let text = string(cx, &key)?;
    let writes = steps.iter().filter(|step| step.change.is_some());
    let Some(end) = writes.map(|step| (step.at + u64::from(step.field.bits) - 1) / 8 + 1).max() else {
        let text = text.unwrap_or_default();
        return Ok(Reply::Array(
            steps.iter().map(|step| Reply::Integer(step.field.get(&text, step.at))).collect(),
        ));
    };
    let mut bytes = grown(text.as_ref(), end)?;
    let mut replies = Vec::with_capacity(steps.len());
    let mut is_written = false;
    for Step { field, at, change } in &steps {
        let was = field.get(&bytes, *at);
        let Some(change) = change else {
            replies.push(Reply::Integer(was));
            continue;
        };
        let becomes = match change.is_increment {
            true => field.add(was, change.number, change.overflow),
            false => field.put(change.number, change.overflow),
        };
        replies.push(match becomes {
            Some(becomes) => {
                is_written = true;
                field.set(&mut bytes, *at, becomes);
                Reply::Integer(if change.is_increment { becomes } else { was })
            }
            None => Reply::Null,
        });
    }
    if text.is_none_or(|text| text != bytes) {
        cx.put(key, value::string(bytes.into()), Expiry::Keep);
    }
    if !is_written {
        // The string may be longer now, but as in Redis nobody is told.
        cx.tx.take_journal();
    }
    Ok(Reply::Array(replies))
}

fn bitfield_ro(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let steps = parse_steps(args)?;
    if steps.iter().any(|step| step.change.is_some()) {
        return Err(RedisError::err("BITFIELD_RO only supports the GET subcommand"));
    }
    let key = cx.key(args.at(1))?;
    let text = string(cx, &key)?.unwrap_or_default();
    Ok(Reply::Array(steps.iter().map(|step| Reply::Integer(step.field.get(&text, step.at))).collect()))
}
