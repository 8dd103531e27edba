//! Completing keys in the repl: the keys of the database that begin as the word does.

use crate::keys;
use crate::target::{ScanRequest, Target};
use orcharddb::KeyRange;
use orcharddb::tuple::{self, KeyPart};
use serde_json::Value as Json;

/// Keys that are offered at a time.
const KEYS_MAX: u64 = 100;

/// The keys whose typed form can begin with `word`.
fn range(word: &str) -> Option<KeyRange> {
    let (parts, partial) = match word.strip_prefix('[') {
        None => (Vec::new(), word),
        Some("") => return Some(KeyRange::all()),
        Some(_) => {
            // `["users","ad`: whole parts, and the beginning of a string.
            let quote = word.rfind('"')?;
            let (before, partial) = (word.get(..quote)?, word.get(quote + 1..)?);
            let before = format!("{}]", before.trim_end().trim_end_matches(','));
            let json: Json = serde_json::from_str(&before).ok()?;
            (tuple::parts_from_json(&json).ok()?, partial)
        }
    };
    let mut whole = parts;
    whole.push(KeyPart::String(partial.to_owned()));
    let start = tuple::encode_bound(&whole).ok()?;
    // Without the end of the string part.
    Some(KeyRange::prefix(start.get(..start.len().checked_sub(1)?)?))
}

/// What can stand in place of `word`, in the order of the keys. Nothing if the database does not answer: completing is a
/// help, not a command.
pub fn keys(target: &Target, word: &str) -> Vec<String> {
    let Some(range) = range(word) else { return Vec::new() };
    let request = ScanRequest { range, limit: Some(KEYS_MAX), keys_only: true, ..ScanRequest::default() };
    let Ok(entries) = target.scan(&request) else { return Vec::new() };
    let shown = entries.map_while(Result::ok).map(|entry| keys::show(&entry.key));
    shown.filter(|shown| shown.starts_with(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::TargetFlags;
    use orcharddb::{Commit, SpaceId};

    #[test]
    fn a_word_is_the_beginning_of_keys() {
        let key = |text: &str| keys::parse(text).expect("a key");
        let names = range("us").expect("a range");
        assert!(names.contains(&key("users")) && names.contains(&key("[\"users\",1]")));
        assert!(!names.contains(&key("u")) && !names.contains(&key("ut")));
        let below = range("[\"users\",\"a").expect("a range");
        assert!(
            below.contains(&key("[\"users\",\"ada\",1]")) && !below.contains(&key("[\"users\",\"bob\"]"))
        );
        assert!(range("[").expect("all").contains(&key("[1]")));
        assert!(range("[1").is_none() && range("[x\"").is_none());
    }

    #[test]
    fn the_keys_of_the_database_are_offered_as_they_are_typed() {
        let directory = tempfile::tempdir().expect("a directory");
        let data = Some(directory.path().join("data"));
        let target = Target::open(&TargetFlags { data, ..TargetFlags::default() }, true).expect("it opens");
        for key in ["users", "[\"users\",\"ada\"]", "[\"users\",\"bob\"]", "user", "other"] {
            let commit = Commit::new().set(SpaceId::DEFAULT, keys::parse(key).expect("a key"), 1_i64);
            target.commit(&commit).expect("written");
        }
        assert_eq!(keys(&target, "us"), ["user", "users"]);
        assert_eq!(keys(&target, "[\"users\",\"a"), ["[\"users\",\"ada\"]"]);
        assert_eq!(keys(&target, "[").len(), 2);
        assert_eq!(keys(&target, "x"), Vec::<String>::new());
    }
}
