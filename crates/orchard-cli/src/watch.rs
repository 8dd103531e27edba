//! `orchard watch`: commits as they happen, a line each. A feed from a server that breaks off is taken up again where it
//! ended; what was missed then is told, or a gap.

use crate::args::WatchArgs;
use crate::error::{CliError, Result, stdout};
use crate::keys;
use crate::target::Target;
use orchard_client::{ClientError, FeedKeys, Moment};
use orchard_wire::{feed_json, moment};
use orcharddb::{FeedEvent, FeedStart, UnixMillis, Versionstamp};
use std::io::{self, Write as _};
use std::time::Duration;

/// Between two tries to reach a server.
const RETRY: Duration = Duration::from_secs(1);

/// Prints commits until it is stopped, or `--limit` is reached.
///
/// # Errors
/// The database cannot be opened, or never answered.
pub fn run(args: &WatchArgs) -> Result<()> {
    let target = Target::open(&args.target, false)?;
    let parse = |texts: &[String]| texts.iter().map(|text| keys::parse(text)).collect::<Result<Vec<_>>>();
    let keys = FeedKeys { keys: parse(&args.keys)?, prefixes: parse(&args.prefix)? };
    let mut start = start(&args.from)?;
    let mut left = args.limit.unwrap_or(u64::MAX);
    let mut reached = false;
    while left > 0 {
        let ended = target.runtime().block_on(async {
            let mut feed = target.client().changes(start, &keys).await?;
            if !reached {
                let _ = writeln!(io::stderr(), "watching {target}");
            }
            reached = true;
            while left > 0 {
                let event = feed.next().await;
                if feed.position() > Versionstamp::ZERO {
                    start = FeedStart::After(feed.position());
                }
                match event? {
                    Some(event) => print(&event, args.keys_only).map_err(Stop::Output)?,
                    None => return Err(Stop::Broken("the server ended the feed".to_owned())),
                }
                left -= 1;
            }
            Ok(())
        });
        match ended {
            Ok(()) => {}
            Err(Stop::Broken(why)) if reached => {
                let _ = writeln!(io::stderr(), "orchard: {why}; trying again");
                // A sleep begins within the runtime.
                target.runtime().block_on(async { tokio::time::sleep(RETRY).await });
            }
            Err(Stop::Broken(why)) => return Err(CliError::failure(why)),
            Err(Stop::Output(error) | Stop::Failed(error)) => return Err(error),
        }
    }
    target.close()
}

/// Why a feed is not read on.
enum Stop {
    /// The server went away; it may come back.
    Broken(String),
    /// Nobody reads the output.
    Output(CliError),
    Failed(CliError),
}

impl From<ClientError> for Stop {
    fn from(error: ClientError) -> Stop {
        match error {
            ClientError::Unreachable(why) => Stop::Broken(why),
            other => Stop::Failed(other.into()),
        }
    }
}

fn start(text: &str) -> Result<FeedStart> {
    Ok(match text {
        "now" => FeedStart::Now,
        "oldest" => FeedStart::Oldest,
        text => match moment::parse(text).map_err(|error| CliError::usage(format!("--from: {error}")))? {
            Moment::Version(version) => FeedStart::After(version),
            Moment::Time(time) => FeedStart::Since(time),
            Moment::Ago(age) => {
                let now = orchard_env::Clock::now(&orchard_env::SystemClock::new());
                FeedStart::Since(UnixMillis(now.0.saturating_sub(age.0)))
            }
        },
    })
}

fn print(event: &FeedEvent, keys_only: bool) -> Result<()> {
    let mut sent = Vec::new();
    match event {
        FeedEvent::Commit(commit) => feed_json::write_commit(&mut sent, commit, !keys_only),
        FeedEvent::Gap { restart_at } => feed_json::write_gap(&mut sent, *restart_at),
    }
    // The data of the server-sent event is one line of JSON.
    let data = sent.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"data: "));
    let line = String::from_utf8_lossy(data.unwrap_or_default());
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(stdout)
}
