//! What `COMMAND DOCS` tells of commands: `command_docs.txt`, one command in two lines: name, version of Redis that it came
//! with, cost and arguments; then what it does.
//!
//! Arguments are written so: `name:type` (no type: a string), `TOKEN` alone or `TOKEN=` before an argument,
//! `name{this|that}` for one of several, `name(this that)` for several together, `[..]` for what may be left out, `...`
//! behind what may come several times, `...+` if with its token each time. `TOKEN@name` is a token with a name of its own.

use orchard_wire::resp::Reply;
use std::collections::HashMap;
use std::sync::LazyLock;

/// What is told of a command.
#[derive(Clone, Copy)]
pub(crate) struct Docs {
    pub(crate) summary: &'static str,
    pub(crate) since: &'static str,
    /// `depends`: on its arguments.
    complexity: &'static str,
    arguments: &'static str,
}

static DOCS: LazyLock<HashMap<&'static str, Docs>> = LazyLock::new(|| lines().collect());

fn lines() -> impl Iterator<Item = (&'static str, Docs)> {
    let mut lines = include_str!("command_docs.txt").lines();
    std::iter::from_fn(move || {
        let (facts, summary) = (lines.next()?, lines.next()?.trim());
        let mut words = facts.splitn(4, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (name, since, complexity, arguments) = (word(), word(), word(), word());
        Some((name, Docs { summary, since, complexity, arguments }))
    })
}

/// What is told of the command of this name.
pub(crate) fn find(name: &str) -> Option<Docs> {
    DOCS.get(name).copied()
}

impl Docs {
    pub(crate) fn complexity(self) -> &'static str {
        if self.complexity == "depends" { "Depends on its arguments." } else { self.complexity }
    }

    /// As `COMMAND DOCS` shows them.
    pub(crate) fn arguments(self) -> Vec<Reply> {
        several(&mut Words(self.arguments), "").into_iter().map(Argument::into_reply).collect()
    }
}

#[derive(Default)]
struct Argument {
    name: &'static str,
    kind: &'static str,
    token: Option<&'static str>,
    is_optional: bool,
    is_multiple: bool,
    /// Each time with its token.
    repeats_token: bool,
    parts: Vec<Argument>,
}

impl Argument {
    fn into_reply(self) -> Reply {
        let text = |text: &'static str| Reply::Static(text);
        // A token has no case of its own, a name is in lower case.
        let name = Reply::bulk(self.name.to_ascii_lowercase());
        let mut facts = vec![(text("name"), name), (text("type"), text(self.kind))];
        facts.extend(self.token.map(|token| (text("token"), text(token))));
        let flags = [
            (self.is_optional, "optional"),
            (self.is_multiple, "multiple"),
            (self.repeats_token, "multiple_token"),
        ];
        let flags: Vec<_> =
            flags.into_iter().filter(|(is, _)| *is).map(|(_, flag)| Reply::Simple(flag.into())).collect();
        if !flags.is_empty() {
            facts.push((text("flags"), Reply::Set(flags)));
        }
        if !self.parts.is_empty() {
            let parts = self.parts.into_iter().map(Argument::into_reply).collect();
            facts.push((text("arguments"), Reply::Array(parts)));
        }
        Reply::Map(facts)
    }
}

/// What is left to read.
struct Words(&'static str);

impl Words {
    fn take(&mut self, text: &str) -> bool {
        self.0.strip_prefix(text).map(|rest| self.0 = rest).is_some()
    }

    fn word(&mut self) -> &'static str {
        // Three dots are no part of a name, one is none either.
        let end =
            self.0.find([' ', '|', '{', '}', '(', ')', '[', ']', '=', '@', '+', '.']).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at_checked(end).unwrap_or((self.0, ""));
        self.0 = rest;
        word
    }
}

/// Arguments up to `end`, with spaces or bars between them.
fn several(words: &mut Words, end: &str) -> Vec<Argument> {
    let mut arguments = Vec::new();
    while !words.0.is_empty() {
        if !end.is_empty() && words.take(end) {
            break;
        }
        let before = words.0.len();
        if !words.take(" ") && !words.take("|") {
            arguments.push(one(words));
        }
        if words.0.len() == before {
            break;
        }
    }
    arguments
}

fn one(words: &mut Words) -> Argument {
    const TYPES: [&str; 6] = ["key", "integer", "double", "pattern", "unix-time", "string"];
    if words.take("[") {
        let mut argument = one(words);
        argument.is_optional = true;
        words.take("]");
        return argument;
    }
    let mut argument = Argument { kind: "string", ..Argument::default() };
    let mut word = words.word();
    if words.take("=") {
        argument.token = Some(word);
        word = words.word();
    }
    argument.name = word;
    if words.take("{") {
        argument.kind = "oneof";
        argument.parts = several(words, "}");
    } else if words.take("(") {
        argument.kind = "block";
        argument.parts = several(words, ")");
    } else if words.take("@") {
        argument = Argument { name: words.word(), kind: "pure-token", token: Some(word), ..argument };
    } else if let Some((name, kind)) = word.rsplit_once(':').filter(|(_, kind)| TYPES.contains(kind)) {
        (argument.name, argument.kind) = (name, kind);
    } else if argument.token.is_none() && !word.bytes().any(|byte| byte.is_ascii_lowercase()) {
        (argument.kind, argument.token) = ("pure-token", Some(word));
    }
    argument.is_multiple = words.take("...");
    argument.repeats_token = words.take("+");
    argument
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::command::{self, Command, Handler};

    fn every() -> impl Iterator<Item = &'static Command> {
        command::all().flat_map(|(_, command)| {
            let subcommands = match command.handler {
                Handler::Container(subcommands) => subcommands,
                _ => &[],
            };
            std::iter::once(command).chain(subcommands)
        })
    }

    /// Fewest and, if there is a bound, most words that an argument takes.
    fn words(argument: &Argument) -> (usize, Option<usize>) {
        let parts: Vec<_> = argument.parts.iter().map(words).collect();
        let most = |parts: &[(usize, Option<usize>)]| {
            parts.iter().try_fold(0, |sum, (_, most)| most.map(|most| sum + most))
        };
        let (least, most) = match argument.kind {
            "oneof" => {
                let all: Option<Vec<_>> = parts.iter().map(|(_, most)| *most).collect();
                (parts.iter().map(|(least, _)| *least).min(), all.and_then(|all| all.into_iter().max()))
            }
            "block" => (Some(parts.iter().map(|(least, _)| *least).sum()), most(&parts)),
            "pure-token" => (Some(0), Some(0)),
            _ => (Some(1), Some(1)),
        };
        let token = usize::from(argument.token.is_some());
        let least = if argument.is_optional { 0 } else { least.unwrap_or(0) + token };
        (least, most.map(|most| most + token).filter(|_| !argument.is_multiple))
    }

    #[test]
    fn every_command_is_explained_and_nothing_else() {
        let mut names: Vec<_> = every().map(|command| command.name).collect();
        names.sort_unstable();
        let mut explained: Vec<_> = lines().map(|(name, _)| name).collect();
        explained.sort_unstable();
        assert_eq!(explained, names);
        for (name, docs) in lines() {
            assert!(docs.summary.ends_with('.') && docs.since.split('.').count() == 3, "{name}");
            assert!(docs.complexity.starts_with("O(") || docs.complexity == "depends", "{name}");
        }
    }

    /// The arguments that are told of are those that the table takes.
    #[test]
    fn arguments_have_the_arity_of_the_command() {
        let mut wrong = Vec::new();
        for command in every() {
            let docs = find(command.name).expect("explained");
            let mut rest = Words(docs.arguments);
            let arguments = several(&mut rest, "");
            assert_eq!(rest.0, "", "{}: not understood", command.name);
            let name_words = command.name.split('|').count();
            let parts: Vec<_> = arguments.iter().map(words).collect();
            let least = name_words + parts.iter().map(|(least, _)| *least).sum::<usize>();
            let most = parts.iter().try_fold(name_words, |sum, (_, most)| most.map(|most| sum + most));
            let fits = |count: usize| match command.handler {
                Handler::Container(_) => true,
                _ => command.takes(count),
            };
            let is_fixed = command.arity > 0 && !matches!(command.handler, Handler::Container(_));
            if !fits(least) || (is_fixed && most != Some(least)) {
                wrong.push((command.name, least, most));
            }
        }
        assert_eq!(wrong, [], "words that are told of, least and most");
    }
}
