//! `orchard repl`: one command a line, from a person or a pipe.
//!
//! A line is parsed by the same definitions as the command line, so `orchard get apple --json` and `GET apple --json`
//! cannot drift apart. A failed line does not end the repl; from a pipe it makes the exit code 1.

use crate::args::{Line, LineCommand, TargetFlags};
use crate::commands::{self, Screen};
use crate::complete;
use crate::error::{CliError, Exit, Result};
use crate::files;
use crate::target::Target;
use crate::words;
use clap::{CommandFactory as _, Parser as _};
use orcharddb::limits;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::{FileHistory, History as _};
use rustyline::validate::Validator;
use rustyline::{Config, Context, Editor, Helper};
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

/// Longest line from a pipe: the largest value, every byte of it escaped, and its key.
const LINE_SIZE_BYTES_MAX: usize = 6 * limits::VALUE_SIZE_BYTES_MAX + 64 * 1024;
/// Lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1_000;
/// The variable that names the history file; empty: none is kept.
const HISTORY_VARIABLE: &str = "ORCHARD_HISTORY";
/// The history file in the home directory.
const HISTORY_FILE: &str = ".orchard_history";

/// What a line left behind.
enum Outcome {
    Done,
    Failed,
    Exit,
}

/// Runs lines until there are no more. `false`: a line from a pipe failed.
///
/// # Errors
/// The database cannot be opened, or the terminal failed.
pub fn run(flags: &TargetFlags) -> Result<bool> {
    let mut target = Target::open(flags, true)?;
    let fine = if io::stdin().is_terminal() {
        from_terminal(&mut target)?;
        true
    } else {
        from_pipe(&mut target)?
    };
    target.close()?;
    Ok(fine)
}

fn from_pipe(target: &mut Target) -> Result<bool> {
    let mut fine = true;
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    loop {
        let read = files::read_line(&mut input, &mut line, LINE_SIZE_BYTES_MAX);
        let outcome = match read.map_err(CliError::io("standard input"))? {
            0 => break,
            length if length > LINE_SIZE_BYTES_MAX => {
                complain(&format!("the line is {length} bytes long, over the limit of {LINE_SIZE_BYTES_MAX}"))
            }
            _ => match std::str::from_utf8(&line) {
                Ok(text) => run_line(target, text)?,
                Err(error) => complain(&format!("the line is not UTF-8 from byte {}", error.valid_up_to())),
            },
        };
        match outcome {
            Outcome::Done => {}
            Outcome::Failed => fine = false,
            Outcome::Exit => break,
        }
    }
    Ok(fine)
}

fn from_terminal(target: &mut Target) -> Result<()> {
    let failed = |error: ReadlineError| CliError::failure(format!("the terminal: {error}"));
    let config =
        Config::builder().history_ignore_space(true).max_history_size(HISTORY_LINES_MAX).map_err(failed)?;
    let mut editor: Editor<Commands, FileHistory> = Editor::with_config(config.build()).map_err(failed)?;
    editor.set_helper(Some(Commands { target: Some(target.clone()), ..Commands::new() }));
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    let _ = writeln!(io::stderr(), "{target}; `help` lists the commands");
    let outcome = loop {
        match editor.readline("orchard> ") {
            Ok(line) => {
                // A line that could not be remembered can still be run.
                let _ = editor.add_history_entry(&line);
                match run_line(target, &line) {
                    Ok(Outcome::Exit) => break Ok(()),
                    Ok(Outcome::Done | Outcome::Failed) => {}
                    Err(error) => break Err(error),
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break Ok(()),
            Err(error) => break Err(failed(error)),
        }
    };
    if let Some(path) = history.filter(|_| !editor.history().is_empty())
        && let Err(error) = editor.save_history(&path)
    {
        let _ =
            writeln!(io::stderr(), "orchard: the history could not be kept in {}: {error}", path.display());
    }
    outcome
}

fn history_file() -> Option<PathBuf> {
    match std::env::var_os(HISTORY_VARIABLE) {
        Some(path) if path.is_empty() => None,
        Some(path) => Some(PathBuf::from(path)),
        None => std::env::var_os("HOME")
            .filter(|home| !home.is_empty())
            .map(|home| PathBuf::from(home).join(HISTORY_FILE)),
    }
}

fn complain(message: &str) -> Outcome {
    let _ = writeln!(io::stderr(), "{}", message.trim_end());
    Outcome::Failed
}

/// # Errors
/// Only if standard output is gone.
fn run_line(target: &mut Target, line: &str) -> Result<Outcome> {
    if line.trim_start().starts_with('#') {
        return Ok(Outcome::Done);
    }
    let mut words = match words::split(line) {
        Ok(words) => words,
        Err(error) => return Ok(complain(error)),
    };
    let Some(first) = words.first_mut() else { return Ok(Outcome::Done) };
    *first = first.to_ascii_lowercase();
    let command = match Line::try_parse_from(&words) {
        Ok(line) => line.command,
        Err(error) if !error.use_stderr() => {
            let mut stdout = io::stdout().lock();
            writeln!(stdout, "{}", error.to_string().trim_end()).map_err(crate::error::stdout)?;
            return Ok(Outcome::Done);
        }
        Err(error) => return Ok(complain(&error.to_string())),
    };
    let LineCommand::Client(command) = command else { return Ok(Outcome::Exit) };
    let terminal = io::stdout().is_terminal();
    let mut screen = Screen { out: Box::new(io::stdout()), terminal, repl: true };
    match commands::run(target, &command, &mut screen) {
        Ok(_) => Ok(Outcome::Done),
        Err(error) if error.message.is_empty() => Err(error),
        // Nothing works on a damaged directory; go on reading what can be read.
        Err(error) if error.exit == Exit::Corruption => Ok(complain(&format!("damage: {error}"))),
        Err(error) => Ok(complain(&error.message)),
    }
}

/// The commands whose first argument is a key.
const KEY_COMMANDS: [&str; 5] = ["get", "put", "delete", "incr", "touch"];
/// The flags that a key follows.
const KEY_FLAGS: [&str; 3] = ["--prefix", "--start", "--end"];

/// Completes the first word of a line, flags, and keys.
struct Commands {
    /// Where the keys are.
    target: Option<Target>,
    /// Each command with its flags.
    commands: Vec<(String, Vec<String>)>,
}

impl Commands {
    fn new() -> Commands {
        let mut line = Line::command();
        line.build();
        let flags = |command: &clap::Command| {
            let long = command.get_arguments().filter_map(|argument| argument.get_long());
            long.filter(|name| *name != "help").map(|name| format!("--{name}")).collect()
        };
        let commands =
            line.get_subcommands().map(|command| (command.get_name().to_uppercase(), flags(command)));
        Commands { target: None, commands: commands.collect() }
    }

    /// What can stand in place of the word that ends the line, and where that word begins.
    fn candidates(&self, line: &str) -> (usize, Vec<String>) {
        let start = line.rfind(char::is_whitespace).map_or(0, |position| position + 1);
        let word = line.get(start..).unwrap_or_default();
        let mut before = line.get(..start).unwrap_or_default().split_whitespace();
        let first = before.next();
        let wants_command = match first {
            None => true,
            Some(first) => first.eq_ignore_ascii_case("help") && before.next().is_none(),
        };
        if wants_command {
            let upper = word.to_ascii_uppercase();
            let names = self.commands.iter().map(|(name, _)| name).filter(|name| name.starts_with(&upper));
            return (start, names.map(|name| format!("{name} ")).collect());
        }
        let before = line.get(..start).unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        if is_key(&before) && !word.starts_with('-') {
            let keys = self.target.as_ref().map(|target| complete::keys(target, word));
            return (start, keys.unwrap_or_default().into_iter().map(|key| format!("{key} ")).collect());
        }
        let flags = self
            .commands
            .iter()
            .filter(|(name, _)| first.is_some_and(|first| first.eq_ignore_ascii_case(name)));
        let flags =
            flags.flat_map(|(_, flags)| flags).filter(|flag| word.starts_with('-') && flag.starts_with(word));
        (start, flags.map(|flag| format!("{flag} ")).collect())
    }
}

/// Whether a key is what comes behind these words.
fn is_key(before: &[&str]) -> bool {
    match before {
        [command] => KEY_COMMANDS.iter().any(|known| known.eq_ignore_ascii_case(command)),
        [.., flag] => KEY_FLAGS.contains(flag),
        [] => false,
    }
}

impl Completer for Commands {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, candidates) = self.candidates(line.get(..position).unwrap_or(line));
        let pair = |text: String| Pair { display: text.trim_end().to_owned(), replacement: text };
        Ok((start, candidates.into_iter().map(pair).collect()))
    }
}

impl Hinter for Commands {
    type Hint = String;
}
impl Highlighter for Commands {}
impl Validator for Commands {}
impl Helper for Commands {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_and_flags_are_completed() {
        let commands = Commands::new();
        let check = |line: &str, start: usize, candidates: &[&str]| {
            let (found_start, found) = commands.candidates(line);
            assert_eq!(
                (found_start, found),
                (start, candidates.iter().map(|&text| text.to_owned()).collect()),
                "{line}"
            );
        };
        check("g", 0, &["GET "]);
        check("HELP sc", 5, &["SCAN "]);
        check("scan --pre", 5, &["--prefix "]);
        check("get apple --j", 10, &["--json "]);
        check("get ap", 4, &[]);
    }

    #[test]
    fn a_key_comes_behind_some_words() {
        for (before, expected) in [
            (&["get"][..], true),
            (&["PUT"], true),
            (&["put", "a"], false),
            (&["scan"], false),
            (&["scan", "--prefix"], true),
            (&["stats"], false),
            (&[], false),
        ] {
            assert_eq!(is_key(before), expected, "{before:?}");
        }
    }

    #[test]
    fn every_command_can_be_typed() {
        for line in [
            "get a",
            "put a b --ttl 30s",
            "put a --type null",
            "delete a",
            "scan --prefix a",
            "incr a -5",
            "touch a --never",
            "stats",
            "exit",
            "quit",
        ] {
            let words = words::split(line).expect("words");
            assert!(Line::try_parse_from(&words).is_ok(), "{line}");
        }
        for line in ["put a two words", "put", "fly", "get"] {
            let words = words::split(line).expect("words");
            assert!(Line::try_parse_from(&words).is_err_and(|error| error.use_stderr()), "{line}");
        }
    }
}
