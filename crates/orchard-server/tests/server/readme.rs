//! The README's curl session, command by command, against a server: what stands behind a `$` is run, and the lines below it
//! are what must come out, `…` for anything.

use crate::common::TestServer;
use std::process::Command;

/// The commands of the README's `console` block and their output.
fn session(readme: &str) -> Vec<(String, String)> {
    let block = readme.split("```console\n").nth(1).and_then(|rest| rest.split("```").next());
    let block = block.expect("the README has a console session");
    let mut steps: Vec<(String, String)> = Vec::new();
    let mut continues = false;
    for line in block.lines() {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push((command.to_owned(), String::new())),
            (None, Some((command, _))) if continues => {
                command.push('\n');
                command.push_str(line);
            }
            (None, Some((_, output))) => {
                output.push_str(line);
                output.push('\n');
            }
            (None, None) => panic!("output without a command: {line}"),
        }
        // A command goes on while a quote of it is open.
        continues = steps.last().is_some_and(|(command, output)| {
            output.is_empty() && !command.matches('\'').count().is_multiple_of(2)
        });
    }
    steps
}

/// Whether `text` is `pattern`, with anything in place of each `…`.
fn is_like(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('…');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else { return false };
    let mut last = None;
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
        last = Some(piece);
    }
    // The last piece must stand at the end, not just somewhere.
    last.map_or(rest.is_empty(), |piece| text.ends_with(piece))
}

#[test]
fn the_readme_session_is_what_happens() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("no curl here: left out");
        return;
    }
    let readme = include_str!("../../../../README.md");
    let steps = session(readme);
    assert!(steps.len() >= 10, "{} commands", steps.len());
    let server = TestServer::memory();
    for (command, expected) in steps {
        let command = command.replace("127.0.0.1:4206", &server.address.to_string());
        let ran = Command::new("sh").arg("-c").arg(&command).output().expect("sh runs");
        let output = String::from_utf8(ran.stdout).expect("UTF-8");
        assert!(
            is_like(expected.trim_end(), output.trim_end()),
            "{command}\nexpected: {expected}\nactual:   {output}"
        );
    }
}

#[test]
fn an_ellipsis_is_anything() {
    assert!(is_like("a…c", "abc") && is_like("a…", "a") && is_like("a", "a") && is_like("…b…d", "abcd"));
    assert!(!is_like("a…c", "abcd") && !is_like("a", "ab") && !is_like("a…b", "ac"));
}
