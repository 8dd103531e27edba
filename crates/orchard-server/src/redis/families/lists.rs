//! Lists.

use super::common::{integer, positive};
use crate::redis::blocking::{self, Operation, PopKind};
use crate::redis::command::{BLOCKING, DENYOOM, FAST, Family, MOVABLEKEYS, NONE, NOSCRIPT, read, write};
use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value::{string, text_of};
use orchard_wire::resp::{Args, Reply};
use orcharddb::collection::List;
use orcharddb::{Transaction, Value};

const ONE: (i32, i32, i32) = (1, 1, 1);
const TWO: (i32, i32, i32) = (1, 2, 1);
const NOWHERE: (i32, i32, i32) = (0, 0, 0);
const BUT_LAST: (i32, i32, i32) = (1, -2, 1);

pub(super) static FAMILY: Family = Family {
    group: "list",
    commands: &[
        write("lpush", -3, DENYOOM.and(FAST), ONE, lpush),
        write("rpush", -3, DENYOOM.and(FAST), ONE, rpush),
        write("lpushx", -3, DENYOOM.and(FAST), ONE, lpushx),
        write("rpushx", -3, DENYOOM.and(FAST), ONE, rpushx),
        write("lpop", -2, FAST, ONE, lpop),
        write("rpop", -2, FAST, ONE, rpop),
        read("llen", 2, FAST, ONE, llen),
        read("lrange", 4, NONE, ONE, lrange),
        read("lindex", 3, NONE, ONE, lindex),
        write("lset", 4, DENYOOM, ONE, lset),
        write("linsert", 5, DENYOOM, ONE, linsert),
        write("lrem", 4, NONE, ONE, lrem),
        write("ltrim", 4, NONE, ONE, ltrim),
        read("lpos", -3, NONE, ONE, lpos),
        write("rpoplpush", 3, DENYOOM, TWO, rpoplpush),
        write("lmove", 5, DENYOOM, TWO, lmove),
        write("lmpop", -4, MOVABLEKEYS, NOWHERE, lmpop),
        write("blpop", -3, BLOCKING.and(NOSCRIPT), BUT_LAST, blpop),
        write("brpop", -3, BLOCKING.and(NOSCRIPT), BUT_LAST, brpop),
        write("brpoplpush", 4, DENYOOM.and(BLOCKING).and(NOSCRIPT), TWO, brpoplpush),
        write("blmove", 6, DENYOOM.and(BLOCKING).and(NOSCRIPT), TWO, blmove),
        write("blmpop", -5, BLOCKING.and(MOVABLEKEYS), NOWHERE, blmpop),
    ],
};

fn list<'c, 't>(
    cx: &'c mut Context<'_, 't>,
    args: Args<'_>,
) -> Result<List<&'c mut Transaction<'t>>, RedisError> {
    let key = cx.key(args.at(1))?;
    cx.list(key)
}

fn text_reply(value: &Value) -> Result<Reply, RedisError> {
    Ok(Reply::Bulk(text_of(value)?))
}

pub(crate) fn texts_reply(values: &[Value]) -> Result<Reply, RedisError> {
    Ok(Reply::Array(values.iter().map(text_reply).collect::<Result<_, _>>()?))
}

/// Whether an element reads as `text`.
fn reads_as(value: &Value, text: &[u8]) -> bool {
    text_of(value).is_ok_and(|found| found == text)
}

fn push(cx: &mut Context<'_, '_>, args: Args<'_>, front: bool, to_absent: bool) -> Result<Reply, RedisError> {
    let mut list = list(cx, args)?;
    if !to_absent && list.is_empty() {
        return Ok(Reply::Integer(0));
    }
    list.extend((2..args.len()).map(|at| string(args.shared(at))), front)?;
    Ok(Reply::Integer(list.len() as i64))
}

fn lpush(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    push(cx, args, true, true)
}

fn rpush(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    push(cx, args, false, true)
}

fn lpushx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    push(cx, args, true, false)
}

fn rpushx(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    push(cx, args, false, false)
}

fn pop(cx: &mut Context<'_, '_>, args: Args<'_>, back: bool, name: &str) -> Result<Reply, RedisError> {
    if args.len() > 3 {
        return Err(RedisError::wrong_arity(name));
    }
    let count = args.get(2).map(positive).transpose()?;
    let mut list = list(cx, args)?;
    match count {
        None => list.pop(1, back)?.first().map_or(Ok(Reply::Null), text_reply),
        Some(_) if list.is_empty() => Ok(Reply::NullArray),
        Some(count) => texts_reply(&list.pop(count as u64, back)?),
    }
}

fn lpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    pop(cx, args, false, "lpop")
}

fn rpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    pop(cx, args, true, "rpop")
}

fn llen(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    Ok(Reply::Integer(list(cx, args)?.len() as i64))
}

fn lrange(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    texts_reply(&list(cx, args)?.range(start, stop)?)
}

fn lindex(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut list = list(cx, args)?;
    if list.is_empty() {
        return Ok(Reply::Null);
    }
    list.get(integer(args.at(2))?)?.as_ref().map_or(Ok(Reply::Null), text_reply)
}

fn lset(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut list = list(cx, args)?;
    if list.is_empty() {
        return Err(RedisError::NO_SUCH_KEY);
    }
    if !list.set(integer(args.at(2))?, string(args.shared(3)))? {
        return Err(RedisError::OUT_OF_RANGE);
    }
    Ok(Reply::Ok)
}

fn linsert(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let after = match args.at(2).to_ascii_lowercase().as_slice() {
        b"before" => false,
        b"after" => true,
        _ => return Err(RedisError::SYNTAX),
    };
    let mut list = list(cx, args)?;
    if list.is_empty() {
        return Ok(Reply::Integer(0));
    }
    let pivot = args.at(3);
    let inserted = list.insert_at(after, string(args.shared(4)), |value| reads_as(value, pivot))?;
    Ok(Reply::Integer(if inserted { list.len() as i64 } else { -1 }))
}

fn lrem(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let count = integer(args.at(2))?;
    let wanted = args.at(3);
    let removed = list(cx, args)?.remove(count.unsigned_abs(), count < 0, |value| reads_as(value, wanted))?;
    Ok(Reply::Integer(removed as i64))
}

fn ltrim(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (start, stop) = (integer(args.at(2))?, integer(args.at(3))?);
    let mut list = list(cx, args)?;
    let before = list.len();
    list.trim(start, stop)?;
    if before > 0 && list.len() == before {
        // Redis tells of one that removes nothing, too.
        let key = cx.key(args.at(1))?;
        cx.tx.note(cx.space, &key, true);
    }
    Ok(Reply::Ok)
}

fn lpos(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let (mut rank, mut count, mut length_max) = (1, None, 0);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let Some(value) = args.get(at + 1) else { return Err(RedisError::SYNTAX) };
        match option.to_ascii_lowercase().as_slice() {
            b"rank" => {
                rank = integer(value)?;
                if rank == 0 {
                    return Err(RedisError::err(
                        "RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                         negative to start from the end of the list",
                    ));
                }
            }
            b"count" => {
                count = Some(positive(value).map_err(|_| RedisError::err("COUNT can't be negative"))?);
            }
            b"maxlen" => {
                length_max = positive(value).map_err(|_| RedisError::err("MAXLEN can't be negative"))?;
            }
            _ => return Err(RedisError::SYNTAX),
        }
        at += 2;
    }
    let wanted = args.at(2);
    let most = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let (mut looked_at, mut matches, mut found) = (0, 0, Vec::new());
    list(cx, args)?.visit(rank < 0, |index, value| {
        if length_max != 0 && looked_at >= length_max {
            return false;
        }
        looked_at += 1;
        if reads_as(value, wanted) {
            matches += 1;
            if matches >= rank.unsigned_abs() {
                found.push(Reply::Integer(index as i64));
            }
        }
        found.len() < most
    })?;
    match count {
        None => Ok(found.pop().unwrap_or(Reply::Null)),
        Some(_) => Ok(Reply::Array(found)),
    }
}

/// `LEFT` is the front: whether a word means the back.
pub(crate) fn end(word: &[u8]) -> Result<bool, RedisError> {
    match word.to_ascii_lowercase().as_slice() {
        b"left" => Ok(false),
        b"right" => Ok(true),
        _ => Err(RedisError::SYNTAX),
    }
}

fn move_operation(args: Args<'_>, from_back: bool, to_back: bool) -> Operation {
    Operation::Move { from: args.at(1).to_vec(), to: args.at(2).to_vec(), from_back, to_back }
}

fn rpoplpush(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    blocking::attempt_now(cx, &move_operation(args, true, false))
}

fn lmove(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = move_operation(args, end(args.at(3))?, end(args.at(4))?);
    blocking::attempt_now(cx, &operation)
}

fn lmpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = blocking::parse_many(args, 1, PopKind::List)?;
    blocking::attempt_now(cx, &operation)
}

fn bpop(cx: &mut Context<'_, '_>, args: Args<'_>, back: bool) -> Result<Reply, RedisError> {
    let timeout = blocking::timeout(args.at(args.len() - 1))?;
    let keys = args.iter().skip(1).take(args.len() - 2).map(<[u8]>::to_vec).collect();
    blocking::run(cx, Operation::Pop { kind: PopKind::List, keys, last: back }, timeout)
}

fn blpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    bpop(cx, args, false)
}

fn brpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    bpop(cx, args, true)
}

fn brpoplpush(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let timeout = blocking::timeout(args.at(3))?;
    blocking::run(cx, move_operation(args, true, false), timeout)
}

fn blmove(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = move_operation(args, end(args.at(3))?, end(args.at(4))?);
    let timeout = blocking::timeout(args.at(5))?;
    blocking::run(cx, operation, timeout)
}

fn blmpop(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let operation = blocking::parse_many(args, 2, PopKind::List)?;
    let timeout = blocking::timeout(args.at(1))?;
    blocking::run(cx, operation, timeout)
}
