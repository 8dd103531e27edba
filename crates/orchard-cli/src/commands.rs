//! The commands on one database. The command line and the repl share them.

use crate::args::{
    ClientCommand, DeleteArgs, GetArgs, IncrArgs, NumberArg, PutArgs, RangeArgs, ScanArgs, StatsArgs,
    TouchArgs, TypeArg,
};
use crate::error::{CliError, Result, stdout};
use crate::target::{ScanRequest, Target};
use crate::{files, keys, prefixes, stats};
use orchard_client::{Moment, Window};
use orchard_types::arithmetic::{self, Bounds};
use orchard_wire::{commit_json, entry_json, value_json};
use orcharddb::{Commit, Entry, Expiry, NumberOp, Operation, SpaceId, limits};
use std::io::{self, Write};

/// Entries that SCAN shows in the repl when it is not told how many.
const REPL_SCAN_LIMIT: usize = 100;

/// Tries of INCR when others write the same key.
const INCR_TRIES_MAX: usize = 100;

/// Where results go.
pub struct Screen<'a> {
    /// Results.
    pub out: Box<dyn Write + 'a>,
    /// Whether a person reads them.
    pub terminal: bool,
    /// Whether they answer a line of the repl.
    pub repl: bool,
}

impl Screen<'_> {
    fn line(&mut self, line: &str) -> Result<()> {
        writeln!(self.out, "{line}").map_err(stdout)
    }
}

/// Runs one command; `false`: the key was not there.
///
/// # Errors
/// What went wrong.
pub fn run(target: &mut Target, command: &ClientCommand, screen: &mut Screen<'_>) -> Result<bool> {
    let found = match command {
        ClientCommand::Get(args) => get(target, args, screen)?,
        ClientCommand::Put(args) => put(target, args, screen)?,
        ClientCommand::Delete(args) => delete(target, args, screen)?,
        ClientCommand::Scan(args) => scan(target, args, screen)?,
        ClientCommand::Incr(args) => incr(target, args, screen)?,
        ClientCommand::Touch(args) => touch(target, args, screen)?,
        ClientCommand::Stats(args) => show_stats(target, args, screen)?,
    };
    screen.out.flush().map_err(stdout)?;
    Ok(found)
}

fn get(target: &mut Target, args: &GetArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let key = keys::parse(&args.key)?;
    let Some(entry) = target.get(&key)? else {
        return absent(&key, screen);
    };
    if args.json {
        screen.line(&entry_line(&entry, false))?;
        return Ok(true);
    }
    let raw = value_json::raw(&entry.value);
    screen.out.write_all(&raw).map_err(stdout)?;
    if (screen.terminal || screen.repl) && !raw.ends_with(b"\n") {
        screen.line("")?;
    }
    Ok(true)
}

fn absent(key: &[u8], screen: &mut Screen<'_>) -> Result<bool> {
    if screen.repl {
        screen.line("(not found)")?;
    } else {
        let _ = writeln!(io::stderr(), "orchard: there is no key {}", keys::show(key));
    }
    Ok(false)
}

fn entry_line(entry: &Entry, keys_only: bool) -> String {
    let mut line = Vec::new();
    entry_json::write(&mut line, entry, keys_only);
    String::from_utf8_lossy(&line).into_owned()
}

fn put(target: &mut Target, args: &PutArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let key = keys::parse(&args.key)?;
    let bytes = match &args.value {
        Some(text) if text == "-" && !screen.repl => {
            files::read_stdin(limits::VALUE_SIZE_BYTES_MAX).map_err(CliError::io("standard input"))?
        }
        Some(text) => text.clone().into_bytes(),
        None if args.value_type == TypeArg::Null => Vec::new(),
        None => return Err(CliError::usage("a value is missing")),
    };
    let value = keys::value(&bytes, args.value_type)?;
    let expiry = expiry(args.ttl.as_deref(), args.expires_at.as_deref())?;
    let commit = Commit::new().mutate(SpaceId::DEFAULT, key, Operation::Set { value, expiry });
    commit_one(target, &commit, screen)
}

/// What the flags say; never, if they say nothing.
fn expiry(ttl: Option<&str>, expires_at: Option<&str>) -> Result<Expiry> {
    commit_json::parse_expiry(ttl, expires_at).map_err(|problem| CliError::usage(format!("--{problem}")))
}

fn touch(target: &mut Target, args: &TouchArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let key = keys::parse(&args.key)?;
    let expiry = expiry(args.ttl.as_deref(), args.expires_at.as_deref())?;
    let Some(entry) = target.get(&key)? else { return absent(&key, screen) };
    // Gone or changed meanwhile: then it is not this entry that was to expire.
    let commit = Commit::new().check(SpaceId::DEFAULT, key.clone(), Some(entry.versionstamp)).mutate(
        SpaceId::DEFAULT,
        key,
        Operation::Touch { expiry },
    );
    commit_one(target, &commit, screen)
}

fn commit_one(target: &mut Target, commit: &Commit, screen: &mut Screen<'_>) -> Result<bool> {
    let versionstamp = target.commit(commit)?.ok_or_else(|| CliError::failure("a check failed"))?;
    screen.line(&versionstamp.to_string())?;
    Ok(true)
}

fn delete(target: &mut Target, args: &DeleteArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let commit = Commit::new().delete(SpaceId::DEFAULT, keys::parse(&args.key)?);
    commit_one(target, &commit, screen)
}

fn incr(target: &mut Target, args: &IncrArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let key = keys::parse(&args.key)?;
    let operand = keys::number(&args.by, args.number_type)?;
    if args.number_type == NumberArg::Float && !operand.as_float().is_some_and(f64::is_finite) {
        return Err(CliError::usage(format!("{} is not a finite number", args.by)));
    }
    let sum = Operation::Number {
        op: NumberOp::Sum,
        operand: operand.clone(),
        at_least: None,
        at_most: None,
        clamp: false,
        expiry: match &args.ttl {
            Some(ttl) => expiry(Some(ttl), None)?,
            None => Expiry::Keep,
        },
    };
    for _ in 0..INCR_TRIES_MAX {
        // The check makes the sum that is printed the one that was written: no two callers are told the same.
        let entry = target.get(&key)?;
        let stored = entry.as_ref().map(|entry| &entry.value);
        let result = arithmetic::apply(NumberOp::Sum, stored, &operand, Bounds::default());
        let result = result.map_err(|error| CliError::failure(format!("{}: {error}", keys::show(&key))))?;
        let commit = Commit::new()
            .check(SpaceId::DEFAULT, key.clone(), entry.map(|entry| entry.versionstamp))
            .mutate(SpaceId::DEFAULT, key.clone(), sum.clone());
        if target.commit(&commit)?.is_some() {
            screen.line(&String::from_utf8_lossy(&value_json::raw(&result)))?;
            return Ok(true);
        }
    }
    Err(CliError::failure(format!("{}: others changed it {INCR_TRIES_MAX} times in a row", keys::show(&key))))
}

fn moment(flag: &str, text: &Option<String>) -> Result<Option<Moment>> {
    let parse = |text: &str| orchard_wire::moment::parse(text);
    text.as_deref().map(parse).transpose().map_err(|error| CliError::usage(format!("{flag}: {error}")))
}

/// What a range's flags ask for.
///
/// # Errors
/// Exit code 2.
pub fn scan_request(args: &RangeArgs) -> Result<ScanRequest> {
    Ok(ScanRequest {
        range: keys::range(args)?,
        limit: args.limit,
        reverse: args.reverse,
        keys_only: args.keys_only,
        window: Window { since: moment("--since", &args.since)?, until: moment("--until", &args.until)? },
    })
}

fn scan(target: &mut Target, args: &ScanArgs, screen: &mut Screen<'_>) -> Result<bool> {
    let mut request = scan_request(&args.range)?;
    if args.count {
        screen.line(&target.count(&request.range)?.to_string())?;
        return Ok(true);
    }
    let shown_max = match request.limit {
        None if screen.repl => {
            // One more tells whether more follow.
            request.limit = Some(REPL_SCAN_LIMIT as u64 + 1);
            REPL_SCAN_LIMIT
        }
        _ => usize::MAX,
    };
    for (shown, entry) in target.scan(&request)?.enumerate() {
        let entry = entry?;
        if shown == shown_max {
            let _ = writeln!(io::stderr(), "more follow; SCAN --limit COUNT shows them");
            break;
        }
        if args.json {
            screen.line(&entry_line(&entry, args.range.keys_only))?;
        } else if args.range.keys_only {
            screen.line(&keys::show(&entry.key))?;
        } else {
            let mut line = format!("{}\t", keys::show(&entry.key)).into_bytes();
            value_json::write(&mut line, &entry.value);
            screen.line(&String::from_utf8_lossy(&line))?;
        }
    }
    Ok(true)
}

fn show_stats(target: &mut Target, args: &StatsArgs, screen: &mut Screen<'_>) -> Result<bool> {
    if args.by_prefix {
        screen.line(&prefixes::show(&prefixes::count(target)?, args.json))?;
        return Ok(true);
    }
    let stats = target.stats()?;
    screen.line(if args.json { stats.to_string() } else { stats::table(&stats) }.trim_end())?;
    Ok(true)
}
