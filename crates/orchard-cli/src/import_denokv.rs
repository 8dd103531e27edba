//! `orchard import --from denokv`: the SQLite file of Deno's local KV, or of the server `denokv`.
//!
//! - Entries come in the order of their versions. What shared a version there is one commit here, so what was written
//!   together has one versionstamp, and later is later. The versionstamps themselves are new.
//! - Values keep their bytes, entries their expiry, waiting messages their time, pauses and keys.
//! - It works on a directory: the order of commits on their way to a server is not promised.

use crate::args::ImportArgs;
use crate::error::{CliError, Result};
use crate::target::open_directory;
use crate::units;
use orcharddb::queue::{self, EnqueueOptions, Ready};
use orcharddb::{
    Commit, Db, Durability, DurationMs, Expiry, Key, Mutation, Operation, Pending, SpaceId, UnixMillis,
    Value, ValueType, limits,
};
use rusqlite::{Connection, OpenFlags, Row};
use std::collections::VecDeque;
use std::io::{self, Write as _};

/// Commits on their way to the disk at a time.
const IN_FLIGHT_COMMITS_MAX: usize = 256;
/// Messages of one commit.
const MESSAGES_MAX: usize = 1_000;
/// Key and value bytes of one commit; a version of that size never was, but a file may be made.
const COMMIT_SIZE_BYTES_MAX: usize = limits::COMMIT_SIZE_BYTES_MAX / 2 - limits::VALUE_SIZE_BYTES_MAX / 2;

const ENTRIES: &str = "select k, v, v_encoding, version, expiration_ms from kv order by version, k";
const MESSAGES: &str = "select ts, data, backoff_schedule, keys_if_undelivered from queue \
    union all select deadline, data, backoff_schedule, keys_if_undelivered from queue_running order by 1";

/// Commits in the order in which they are given.
struct Writer {
    db: Db,
    commit: Commit,
    in_flight: VecDeque<Pending>,
}

impl Writer {
    fn send(&mut self) -> Result<()> {
        let commit = std::mem::take(&mut self.commit);
        if commit.mutations.is_empty() {
            return Ok(());
        }
        if self.in_flight.len() >= IN_FLIGHT_COMMITS_MAX {
            self.wait_for_oldest()?;
        }
        self.in_flight.push_back(self.db.submit(&commit, Some(Durability::Fsync)));
        Ok(())
    }

    fn wait_for_oldest(&mut self) -> Result<()> {
        match self.in_flight.pop_front() {
            Some(oldest) => Ok(oldest.wait().map(|_| ()).map_err(orcharddb::Error::from)?),
            None => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.send()?;
        while !self.in_flight.is_empty() {
            self.wait_for_oldest()?;
        }
        Ok(())
    }
}

/// Imports the file.
///
/// # Errors
/// What is wrong with the file, or with the directory. What was imported before stays.
pub fn run(args: &ImportArgs) -> Result<()> {
    let Some(data) = &args.target.data else {
        return Err(CliError::usage("--from denokv needs --data DIR: it keeps the order of versions"));
    };
    let name = args.file.display().to_string();
    let broken = |error: rusqlite::Error| CliError::failure(format!("{name}: {error}"));
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut source = Connection::open_with_flags(&args.file, flags).map_err(broken)?;
    // One view of entries and messages, whoever else has the file open.
    let source = source.transaction().map_err(broken)?;
    let mut entries = source.prepare(ENTRIES).map_err(broken)?;
    let mut messages = source.prepare(MESSAGES).map_err(broken)?;

    let db = open_directory(data, true)?;
    let space = db.create_database(args.target.db.as_deref().unwrap_or("0"))?;
    let mut writer = Writer { db: db.clone(), commit: Commit::new(), in_flight: VecDeque::new() };
    let (mut entry_count, mut message_count) = (0u64, 0u64);

    let mut rows = entries.query([]).map_err(broken)?;
    let mut version = None;
    let mut size_bytes = 0;
    while let Some(row) = rows.next().map_err(broken)? {
        let of_row: i64 = row.get(3).map_err(broken)?;
        let mutation = entry(row, space).map_err(|what| CliError::failure(format!("{name}: {what}")))?;
        let is_full = size_bytes >= COMMIT_SIZE_BYTES_MAX
            || writer.commit.mutations.len() >= limits::COMMIT_OPERATIONS_MAX;
        if version.replace(of_row).is_some_and(|before| before != of_row) || is_full {
            writer.send()?;
            size_bytes = 0;
        }
        if let Operation::Set { value, .. } = &mutation.operation {
            size_bytes += mutation.key.len() + value.data.len();
        }
        writer.commit.mutations.push(mutation);
        entry_count += 1;
    }
    writer.send()?;

    let mut rows = messages.query([]).map_err(broken)?;
    let mut n = 0;
    while let Some(row) = rows.next().map_err(broken)? {
        let of_message =
            message(row, space, n).map_err(|what| CliError::failure(format!("{name}: {what}")))?;
        writer.commit.mutations.extend(of_message);
        message_count += 1;
        n += 1;
        if n == MESSAGES_MAX {
            writer.send()?;
            n = 0;
        }
    }
    writer.finish()?;
    db.close().map_err(orcharddb::Error::from)?;
    let _ = writeln!(
        io::stderr(),
        "imported {} and {message_count} queued messages",
        units::format_entries(entry_count)
    );
    Ok(())
}

fn column<T: rusqlite::types::FromSql>(row: &Row<'_>, at: usize) -> std::result::Result<T, String> {
    row.get(at).map_err(|error| error.to_string())
}

/// The write of one row of `kv`.
fn entry(row: &Row<'_>, space: SpaceId) -> std::result::Result<Mutation, String> {
    let key: Vec<u8> = column(row, 0)?;
    let data: Vec<u8> = column(row, 1)?;
    let encoding: i64 = column(row, 2)?;
    let expires_at: i64 = column(row, 4)?;
    let shown = key.escape_ascii().to_string();
    let value = match encoding {
        1 => Value::new(ValueType::V8, data),
        2 if data.len() == 8 => Value::new(ValueType::U64, data),
        3 => Value::bytes(data),
        _ => {
            return Err(format!(
                "the value of the key {shown} has an encoding that is not known, {encoding}"
            ));
        }
    };
    let key = Key::new(key).map_err(|error| format!("the key {shown}: {error}"))?;
    let expiry = u64::try_from(expires_at).map_or(Expiry::Never, |time| Expiry::At(UnixMillis(time)));
    Ok(Mutation { space, key, operation: Operation::Set { value, expiry } })
}

/// The writes of one row of a queue table.
fn message(row: &Row<'_>, space: SpaceId, n: usize) -> std::result::Result<Vec<Mutation>, String> {
    let ready_at: i64 = column(row, 0)?;
    let data: Vec<u8> = column(row, 1)?;
    // Deno declares one of the two as text and the other as blob, and writes text into both.
    let json = |at: usize| -> std::result::Result<Vec<u8>, String> {
        let bytes = row.get_ref(at).map_err(|error| error.to_string())?;
        bytes
            .as_bytes_or_null()
            .map(|bytes| bytes.unwrap_or(b"null").to_vec())
            .map_err(|error| error.to_string())
    };
    let parsed = |error: serde_json::Error| format!("a queued message: {error}");
    let backoff: Option<Vec<u64>> = serde_json::from_slice(&json(2)?).map_err(parsed)?;
    let keys: Option<Vec<Vec<u8>>> = serde_json::from_slice(&json(3)?).map_err(parsed)?;
    let keys = keys.unwrap_or_default().into_iter();
    let options = EnqueueOptions {
        ready: Ready::At(UnixMillis(u64::try_from(ready_at).unwrap_or(0))),
        backoff: backoff.map(|backoff| backoff.into_iter().map(DurationMs).collect()),
        keys_if_undelivered: keys
            .map(|key| Key::new(key).map(|key| (space, key)).map_err(|error| error.to_string()))
            .collect::<std::result::Result<_, _>>()?,
    };
    queue::enqueue(queue::KV_CONNECT, Value::new(ValueType::V8, data), &options, n)
        .map_err(|error| error.to_string())
}
