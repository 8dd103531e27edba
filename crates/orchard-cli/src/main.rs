//! The binary `orchard`: the server, the client commands and the repl. Glue and nothing else.
//!
//! Invariants:
//! - Every client command is written once, against [`target::Target`]: a server (`--url`) or a directory (`--data`), which
//!   `orchard-client` makes one.
//! - Results go to standard output, everything else to standard error.
//! - Only `main` ends the process; the exit codes are [`error::Exit`]'s. Two exceptions say so where they are: a second
//!   stop signal, and a second interrupt of an import.
//! - `files` is the one module that opens files of the user; data directories belong to the engine.

mod args;
mod batch;
mod check;
mod commands;
mod complete;
mod databases;
mod error;
mod export;
mod files;
mod import;
#[cfg(feature = "denokv-import")]
mod import_denokv;
mod interrupt;
mod keys;
mod logging;
mod prefixes;
mod progress;
mod queues;
mod repair;
mod repl;
mod serve;
mod settings;
mod stats;
mod target;
mod units;
mod watch;
mod words;

use args::{Cli, Client, ClientCommand, Command, ConfigAction};
use clap::Parser as _;
use commands::Screen;
use error::Result;
use settings::{Settings, process_environment};
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use target::Target;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).and_then(|found| flush().map(|()| found)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => error::Exit::Failure.into(),
        Err(error) => {
            if !error.message.is_empty() {
                let _ = writeln!(io::stderr(), "orchard: {error}");
            }
            error.exit_code()
        }
    }
}

fn flush() -> Result<()> {
    io::stdout().flush().map_err(error::stdout)
}

/// Runs the command; `false`: the key was not there.
fn run(cli: Cli) -> Result<bool> {
    let (target, command) = match cli.command {
        Command::Get(Client { target, args }) => (target, ClientCommand::Get(args)),
        Command::Put(Client { target, args }) => (target, ClientCommand::Put(args)),
        Command::Delete(Client { target, args }) => (target, ClientCommand::Delete(args)),
        Command::Scan(Client { target, args }) => (target, ClientCommand::Scan(args)),
        Command::Incr(Client { target, args }) => (target, ClientCommand::Incr(args)),
        Command::Touch(Client { target, args }) => (target, ClientCommand::Touch(args)),
        Command::Stats(Client { target, args }) => (target, ClientCommand::Stats(args)),
        Command::Repl(target) => return repl::run(&target),
        Command::Serve(flags) => return serve::run(&flags).map(|()| true),
        Command::Config { action } => return config(action).map(|()| true),
        Command::Watch(args) => return watch::run(&args).map(|()| true),
        Command::Databases { action } => return databases::run(action),
        Command::Queue { action } => return queues::run(action),
        Command::Batch(args) => return batch::run(&args),
        Command::Import(args) => return import::run(&args).map(|()| true),
        Command::Export(args) => return export::run(&args).map(|()| true),
        Command::Repair(args) => return repair::run(&args).map(|()| true),
        Command::Check(args) => return check::run(&args).map(|()| true),
    };
    let mut target = Target::open(&target, command.creates())?;
    let terminal = io::stdout().is_terminal();
    let mut screen = Screen { out: Box::new(io::stdout()), terminal, repl: false };
    commands::run(&mut target, &command, &mut screen)
}

fn config(action: ConfigAction) -> Result<()> {
    let text = match action {
        ConfigAction::Show(flags) => Settings::resolve(&flags, &process_environment)?.show(),
        ConfigAction::Default => settings::default_file(),
        ConfigAction::Check(flags) => {
            let settings = Settings::resolve(&flags, &process_environment)?;
            serve::check(&settings)?;
            "The configuration is fine.\n".to_owned()
        }
    };
    io::stdout().write_all(text.as_bytes()).map_err(error::stdout)
}
