//! The longest common subsequence of two strings.

use crate::redis::context::Context;
use crate::redis::error::RedisError;
use crate::redis::value;
use bytes::Bytes;
use orchard_wire::resp::number::parse_integer;
use orchard_wire::resp::{Args, Reply};

/// Cells of the table, four bytes each, that one command may use.
const CELLS_MAX: usize = 16 * 1024 * 1024;

/// Lengths of the longest common subsequences of all beginnings of two strings.
struct Table {
    cells: Vec<u32>,
    width: usize,
}

impl Table {
    fn new(one: &[u8], two: &[u8]) -> Option<Table> {
        let width = two.len() + 1;
        let size = width.checked_mul(one.len() + 1).filter(|size| *size <= CELLS_MAX)?;
        let mut table = Table { cells: vec![0; size], width };
        for (row, a) in one.iter().enumerate() {
            for (column, b) in two.iter().enumerate() {
                let length = if a == b {
                    table.get(row, column) + 1
                } else {
                    table.get(row, column + 1).max(table.get(row + 1, column))
                };
                let place = (row + 1) * width + column + 1;
                if let Some(cell) = table.cells.get_mut(place) {
                    *cell = length;
                }
            }
        }
        Some(table)
    }

    fn get(&self, row: usize, column: usize) -> u32 {
        self.cells.get(row * self.width + column).copied().unwrap_or(0)
    }
}

/// A stretch that both strings have: where it starts in each, and its length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    one: usize,
    two: usize,
    length: usize,
}

/// The subsequence, and the stretches that it is made of, last first.
fn trace(table: &Table, one: &[u8], two: &[u8]) -> (Vec<u8>, Vec<Match>) {
    let (mut row, mut column) = (one.len(), two.len());
    let mut common = Vec::new();
    let mut matches: Vec<Match> = Vec::new();
    let mut is_in_match = false;
    while let (Some(a), Some(b)) = (
        row.checked_sub(1).and_then(|row| one.get(row)),
        column.checked_sub(1).and_then(|column| two.get(column)),
    ) {
        if a == b {
            common.push(*a);
            (row, column) = (row - 1, column - 1);
            match matches.last_mut() {
                Some(last) if is_in_match => {
                    *last = Match { one: row, two: column, length: last.length + 1 };
                }
                _ => matches.push(Match { one: row, two: column, length: 1 }),
            }
            is_in_match = true;
        } else {
            is_in_match = false;
            if table.get(row - 1, column) > table.get(row, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
    }
    common.reverse();
    (common, matches)
}

pub(super) fn lcs(cx: &mut Context<'_, '_>, args: Args<'_>) -> Result<Reply, RedisError> {
    let mut entries = [None, None];
    for (entry, name) in entries.iter_mut().zip([args.at(1), args.at(2)]) {
        let key = cx.key(name)?;
        *entry = cx.entry(&key)?;
    }
    let mut strings = [Bytes::new(), Bytes::new()];
    for (string, entry) in strings.iter_mut().zip(entries) {
        if let Some(entry) = entry {
            let text = value::text_of(&entry.value);
            *string = text.map_err(|_| RedisError::err("The specified keys must contain string values"))?;
        }
    }
    let (mut wants_length, mut wants_matches, mut wants_lengths, mut length_min) = (false, false, false, 0);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        at += 1;
        match (option.to_ascii_lowercase().as_slice(), args.get(at)) {
            (b"idx", _) => wants_matches = true,
            (b"len", _) => wants_length = true,
            (b"withmatchlen", _) => wants_lengths = true,
            (b"minmatchlen", Some(text)) => {
                length_min = parse_integer(text).ok_or(RedisError::NOT_INTEGER)?.max(0);
                at += 1;
            }
            _ => return Err(RedisError::SYNTAX),
        }
    }
    if wants_length && wants_matches {
        return Err(RedisError::err("If you want both the length and indexes, please just use IDX."));
    }
    let [one, two] = &strings;
    let table = Table::new(one, two).ok_or_else(|| {
        RedisError::err("Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len")
    })?;
    let length = Reply::Integer(i64::from(table.get(one.len(), two.len())));
    if wants_length {
        return Ok(length);
    }
    let (common, matches) = trace(&table, one, two);
    if !wants_matches {
        return Ok(Reply::Bulk(Bytes::from(common)));
    }
    let length_min = usize::try_from(length_min).unwrap_or(usize::MAX);
    let range = |start: usize, length: usize| {
        Reply::Array(vec![Reply::count(start), Reply::count(start + length - 1)])
    };
    let matches = matches.into_iter().filter(|found| found.length >= length_min).map(|found| {
        let mut parts = vec![range(found.one, found.length), range(found.two, found.length)];
        if wants_lengths {
            parts.push(Reply::count(found.length));
        }
        Reply::Array(parts)
    });
    Ok(Reply::Map(vec![
        (Reply::Static("matches"), Reply::Array(matches.collect())),
        (Reply::Static("len"), length),
    ]))
}
