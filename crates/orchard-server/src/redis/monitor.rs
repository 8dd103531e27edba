//! `MONITOR`: every command that runs, told to those who watch.

use super::clients::Client;
use super::command::{ADMIN, Command, SKIP_MONITOR};
use super::secrets::{REDACTED, is_secret};
use orchard_wire::resp::{Args, Reply};
use orcharddb::{UnixMillis, Versionstamp};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Those who watch.
#[derive(Default)]
pub(crate) struct Monitors {
    /// Asked before every command, so it is no lock.
    count: AtomicUsize,
    watching: Mutex<BTreeMap<u64, Arc<Client>>>,
}

impl Monitors {
    /// Whether anybody watches.
    pub(crate) fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn add(&self, client: &Arc<Client>) {
        let mut watching = self.watching.lock();
        watching.insert(client.id, client.clone());
        self.count.store(watching.len(), Ordering::Relaxed);
    }

    pub(crate) fn remove(&self, id: u64) {
        if self.is_any() {
            let mut watching = self.watching.lock();
            watching.remove(&id);
            self.count.store(watching.len(), Ordering::Relaxed);
        }
    }

    /// Tells of a command that is about to run.
    pub(crate) fn tell(
        &self,
        command: &Command,
        now: UnixMillis,
        database: u32,
        client: &Client,
        args: Args<'_>,
    ) {
        // `EXEC` comes behind what it ran.
        let skips = command.flags.has(SKIP_MONITOR) && command.name != "exec";
        if skips || command.flags.has(ADMIN) {
            return;
        }
        let line = line(command, now, database, client, args);
        let size_bytes = line.len();
        let message = Reply::Simple(line.into());
        for watcher in self.watching.lock().values() {
            watcher.push(message.clone(), size_bytes, Versionstamp::ZERO);
        }
    }
}

fn line(command: &Command, now: UnixMillis, database: u32, client: &Client, args: Args<'_>) -> String {
    let address = client.address.map_or(String::new(), |address| address.to_string());
    let mut line = format!("{}.{:06} [{database} {address}]", now.0 / 1_000, now.0 % 1_000 * 1_000);
    for (place, word) in args.iter().enumerate() {
        if is_secret(command, args, place) {
            // Writing to a `String` cannot fail.
            let _ = write!(line, " \"{REDACTED}\"");
            continue;
        }
        line.push_str(" \"");
        for byte in word {
            let _ = match byte {
                b'\\' | b'"' => write!(line, "\\{}", char::from(*byte)),
                b'\n' => write!(line, "\\n"),
                b'\r' => write!(line, "\\r"),
                b'\t' => write!(line, "\\t"),
                0x07 => write!(line, "\\a"),
                0x08 => write!(line, "\\b"),
                b' '..=b'~' => write!(line, "{}", char::from(*byte)),
                _ => write!(line, "\\x{byte:02x}"),
            };
        }
        line.push('"');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::clients::Clients;
    use crate::redis::command;
    use orchard_wire::resp::OwnedArgs;

    #[test]
    fn a_line_shows_every_byte_but_no_secret() {
        let client = Clients::default().open(None, None);
        let shown = |words: &[&[u8]]| {
            let args = OwnedArgs::new(words.iter().copied());
            let command = command::find(words[0]).expect("a command");
            line(command, UnixMillis(1_500), 3, &client, args.args())
        };
        assert_eq!(shown(&[b"set", b"a \"b\"", b"\x00\n"]), r#"1.500000 [3 ] "set" "a \"b\"" "\x00\n""#);
        assert_eq!(shown(&[b"AUTH", b"hunter2"]), r#"1.500000 [3 ] "AUTH" "(redacted)""#);
    }
}
