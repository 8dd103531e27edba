//! The commands that took long.

use super::clients::Client;
use super::command::Command;
use super::secrets::{REDACTED, is_secret};
use bytes::Bytes;
use orchard_wire::resp::{Args, Reply};
use orcharddb::UnixMillis;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

/// Arguments of a command that are kept, and bytes of each.
const ARGS_MAX: usize = 32;
const ARG_SIZE_BYTES_MAX: usize = 128;
/// Longest log, whatever `CONFIG SET` says.
const ENTRIES_MAX: usize = 100_000;

struct Entry {
    id: i64,
    at: UnixMillis,
    took_us: i64,
    args: Vec<Bytes>,
    address: String,
    name: Bytes,
}

#[derive(Default)]
struct Entries {
    next_id: i64,
    /// Newest first.
    newest: VecDeque<Entry>,
}

/// The newest slow commands.
pub(crate) struct SlowLog {
    /// Microseconds from which on a command is slow; negative: none is.
    threshold_us: AtomicI64,
    length_max: AtomicUsize,
    entries: Mutex<Entries>,
}

impl Default for SlowLog {
    fn default() -> SlowLog {
        SlowLog {
            threshold_us: AtomicI64::new(10_000),
            length_max: AtomicUsize::new(128),
            entries: Mutex::default(),
        }
    }
}

impl SlowLog {
    pub(crate) fn threshold_us(&self) -> i64 {
        self.threshold_us.load(Ordering::Relaxed)
    }

    pub(crate) fn set_threshold_us(&self, threshold_us: i64) {
        self.threshold_us.store(threshold_us, Ordering::Relaxed);
    }

    pub(crate) fn length_max(&self) -> usize {
        self.length_max.load(Ordering::Relaxed)
    }

    pub(crate) fn set_length_max(&self, length: usize) {
        self.length_max.store(length, Ordering::Relaxed);
        self.entries.lock().newest.truncate(length.min(ENTRIES_MAX));
    }

    /// Keeps a command that took so long, if that is long.
    pub(crate) fn note(
        &self,
        took: Duration,
        at: impl FnOnce() -> UnixMillis,
        client: &Client,
        (command, args): (&Command, Args<'_>),
    ) {
        let took_us = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        let threshold_us = self.threshold_us();
        if threshold_us < 0 || took_us < threshold_us {
            return;
        }
        let length_max = self.length_max().min(ENTRIES_MAX);
        let mut entries = self.entries.lock();
        let id = entries.next_id;
        entries.next_id += 1;
        entries.newest.push_front(Entry {
            id,
            at: at(),
            took_us,
            args: kept(command, args),
            address: client.address.map_or(String::new(), |address| address.to_string()),
            name: client.seen.lock().name.clone(),
        });
        entries.newest.truncate(length_max);
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.lock().newest.len()
    }

    pub(crate) fn reset(&self) {
        self.entries.lock().newest.clear();
    }

    /// The newest entries, as `SLOWLOG GET` shows them.
    pub(crate) fn newest(&self, count: usize) -> Reply {
        let entries = self.entries.lock();
        let shown = entries.newest.iter().take(count).map(|entry| {
            Reply::Array(vec![
                Reply::Integer(entry.id),
                Reply::Integer(i64::try_from(entry.at.0 / 1_000).unwrap_or(i64::MAX)),
                Reply::Integer(entry.took_us),
                Reply::Array(entry.args.iter().cloned().map(Reply::Bulk).collect()),
                Reply::bulk(&entry.address),
                Reply::Bulk(entry.name.clone()),
            ])
        });
        Reply::Array(shown.collect())
    }
}

/// What is kept of the arguments, with a note of what is not; never a secret.
fn kept(command: &Command, args: Args<'_>) -> Vec<Bytes> {
    let shown = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
    let word = |(place, word)| match is_secret(command, args, place) {
        true => Bytes::from_static(REDACTED.as_bytes()),
        false => cut(word),
    };
    let mut words: Vec<_> = args.iter().take(shown).enumerate().map(word).collect();
    if shown < args.len() {
        words.push(Bytes::from(format!("... ({} more arguments)", args.len() - shown)));
    }
    words
}

fn cut(word: &[u8]) -> Bytes {
    match word.get(..ARG_SIZE_BYTES_MAX) {
        Some(beginning) if word.len() > ARG_SIZE_BYTES_MAX => {
            let more = format!("... ({} more bytes)", word.len() - ARG_SIZE_BYTES_MAX);
            Bytes::from([beginning, more.as_bytes()].concat())
        }
        _ => Bytes::copy_from_slice(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::clients::Clients;
    use crate::redis::command;
    use orchard_wire::resp::OwnedArgs;

    #[test]
    fn only_what_is_slow_is_kept_and_only_in_part() {
        let log = SlowLog::default();
        let client = Clients::default().open(None, None);
        let long = [b'x'; 200];
        let words: Vec<&[u8]> =
            std::iter::once(&b"MGET"[..]).chain(std::iter::repeat_n(&long[..], 40)).collect();
        let args = OwnedArgs::new(words.into_iter());
        let note = |took_us| {
            let mget = command::find(b"mget").expect("a command");
            log.note(Duration::from_micros(took_us), || UnixMillis(5_000), &client, (mget, args.args()));
        };
        note(9_999);
        assert_eq!(log.len(), 0);
        note(10_000);
        let Reply::Array(entries) = log.newest(10) else { panic!("an array") };
        let [Reply::Array(entry)] = entries.as_slice() else { panic!("one entry") };
        assert_eq!(entry[..3], [Reply::Integer(0), Reply::Integer(5), Reply::Integer(10_000)]);
        let Reply::Array(words) = &entry[3] else { panic!("arguments") };
        assert_eq!(words.len(), 32);
        assert_eq!(words[31], Reply::bulk("... (10 more arguments)"));
        assert_eq!(words[1], Reply::bulk(format!("{}... (72 more bytes)", "x".repeat(128))));
        log.set_length_max(2);
        (0..5).for_each(|_| note(20_000));
        assert_eq!(log.len(), 2);
        log.set_threshold_us(-1);
        log.reset();
        note(1 << 40);
        assert_eq!(log.len(), 0);
    }
}
