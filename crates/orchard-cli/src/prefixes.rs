//! `orchard stats --by-prefix`: what kinds of keys there are. Reads every key, and no value.

use crate::error::Result;
use crate::keys;
use crate::target::{ScanRequest, Target};
use crate::units;
use orcharddb::tuple::{self, KeyPart};
use serde_json::json;
use std::collections::HashMap;

/// Kinds told apart; what is of further ones is counted together.
const KINDS_MAX: usize = 10_000;
const OTHERS: &str = "(others)";

/// What is counted of a kind.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Kind {
    entries: u64,
    key_bytes: u64,
}

/// The kind of a key: its first part if it has more; a name up to its first `:` or `/`.
fn kind(key: &[u8]) -> String {
    let Some(parts) = tuple::decode(key) else { return "(no tuple)".to_owned() };
    match parts.as_slice() {
        [] => "(empty)".to_owned(),
        [KeyPart::String(name)] => match name.find([':', '/']) {
            Some(end) => format!("{}*", name.get(..=end).unwrap_or_default()),
            None => "(names)".to_owned(),
        },
        [_] => "(single parts)".to_owned(),
        [first, ..] => match tuple::encode(std::slice::from_ref(first)) {
            Ok(first) => format!("{}/", keys::show(&first)),
            Err(_) => OTHERS.to_owned(),
        },
    }
}

/// Counts all kinds, the largest first.
///
/// # Errors
/// The keys cannot be read.
pub fn count(target: &Target) -> Result<Vec<(String, Kind)>> {
    let mut kinds: HashMap<String, Kind> = HashMap::new();
    for entry in target.scan(&ScanRequest { keys_only: true, ..ScanRequest::default() })? {
        let key = entry?.key;
        let name = kind(&key);
        let name =
            if kinds.len() < KINDS_MAX || kinds.contains_key(&name) { name } else { OTHERS.to_owned() };
        let counted = kinds.entry(name).or_default();
        counted.entries += 1;
        counted.key_bytes += key.len() as u64;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|(a, one), (b, other)| other.entries.cmp(&one.entries).then_with(|| a.cmp(b)));
    Ok(kinds)
}

/// A line a kind, for people or as JSON.
pub fn show(kinds: &[(String, Kind)], as_json: bool) -> String {
    let width = kinds.iter().map(|(name, _)| name.chars().count()).max().unwrap_or_default();
    let lines = kinds.iter().map(|(name, Kind { entries, key_bytes })| match as_json {
        true => json!({ "prefix": name, "entries": entries, "key_bytes": key_bytes }).to_string(),
        false => format!("{name:width$}  {entries:>10}  {}", units::format_size(*key_bytes)),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_of_the_kind_of_its_beginning() {
        for (key, expected) in [
            ("[\"users\", 1, 2]", "users/"),
            ("[\"users\"]", "(names)"),
            ("user:1:name", "user:*"),
            ("a/b", "a/*"),
            ("[1, 2]", "[1]/"),
            ("[1]", "(single parts)"),
            ("[]", "(empty)"),
        ] {
            assert_eq!(kind(&keys::parse(key).expect("a key")), expected, "{key}");
        }
        assert_eq!(kind(b"\xfe"), "(no tuple)");
    }
}
