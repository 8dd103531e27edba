//! `orchard databases ..`: list, create, drop and swap databases.

use crate::args::{Client, DatabasesAction};
use crate::error::{CliError, Result, stdout};
use crate::target::Target;
use crate::units;
use orcharddb::KeyRange;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

/// Runs the action. `false`: there is no such database, or it was not to be dropped after all.
///
/// # Errors
/// What went wrong.
pub fn run(action: DatabasesAction) -> Result<bool> {
    match action {
        DatabasesAction::List(Client { target, .. }) => {
            let target = Target::open(&target, false)?;
            for name in target.wait(target.client().databases())? {
                writeln!(io::stdout(), "{name}").map_err(stdout)?;
            }
            target.close()?;
            Ok(true)
        }
        DatabasesAction::Create(Client { target, args }) => {
            let target = Target::open(&target, true)?;
            target.wait(target.client().create_database(&args.name))?;
            target.close()?;
            Ok(true)
        }
        DatabasesAction::Swap(Client { target, args }) => {
            let target = Target::open(&target, false)?;
            target.wait(target.client().swap_databases(&args.one, &args.other))?;
            target.close()?;
            Ok(true)
        }
        DatabasesAction::Drop(Client { target, args }) => {
            let target = Target::open(&target, false)?;
            if !target.wait(target.client().databases())?.contains(&args.name) {
                let _ = writeln!(io::stderr(), "orchard: there is no database {}", args.name);
                return Ok(false);
            }
            let dropped = (args.yes || confirmed(&target, &args.name)?)
                && target.wait(target.client().drop_database(&args.name))?;
            target.close()?;
            Ok(dropped)
        }
    }
}

/// Whether the person at the terminal means it.
fn confirmed(target: &Target, name: &str) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!("dropping the database {name} needs --yes")));
    }
    let count = target.wait(async { target.client().database(name)?.count(&KeyRange::all()).await })?;
    let entries = units::format_entries(count.entries);
    let _ = write!(io::stderr(), "Drop the database {name} with {entries}? [y/N] ");
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CliError::io("standard input"))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
