//! Transactions against a `BTreeMap`: what they read of their own writes, and what is there afterwards.

#![allow(clippy::expect_used, reason = "tests")]

use orcharddb::{
    CommitError, Db, Entry, Error, Expiry, Key, KeyRange, ScanOptions, SpaceId, Transaction, UnixMillis,
    Value, Versionstamp,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

const FAR: UnixMillis = UnixMillis(1 << 45);
const PAST: UnixMillis = UnixMillis(1);
const SPACES: [SpaceId; 3] = [SpaceId(0), SpaceId(7), SpaceId(0xffff_fff0)];

type Model = BTreeMap<(SpaceId, Vec<u8>), (i64, Option<UnixMillis>)>;

#[derive(Clone, Debug)]
enum Step {
    Put(SpaceId, Vec<u8>, i64, Expiry),
    Touch(SpaceId, Vec<u8>, Expiry),
    Delete(SpaceId, Vec<u8>),
    DeleteRange(SpaceId, Vec<u8>, Option<Vec<u8>>),
    Get(SpaceId, Vec<u8>),
    Scan(SpaceId, Vec<u8>, Option<Vec<u8>>, bool, Option<usize>, bool),
    Clear,
}

#[derive(Clone, Debug)]
struct Script {
    steps: Vec<Step>,
    is_exclusive: bool,
    aborts: bool,
}

fn space() -> impl Strategy<Value = SpaceId> {
    prop::sample::select(SPACES.to_vec())
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..3)
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        4 => Just(Expiry::Never),
        1 => Just(Expiry::At(FAR)),
        1 => Just(Expiry::At(PAST)),
        1 => Just(Expiry::Keep),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (space(), key(), 0..100i64, expiry()).prop_map(|(s, k, v, e)| Step::Put(s, k, v, e)),
        3 => (space(), key(), expiry()).prop_map(|(s, k, e)| Step::Touch(s, k, e)),
        2 => (space(), key()).prop_map(|(s, k)| Step::Delete(s, k)),
        1 => (space(), key(), prop::option::of(key())).prop_map(|(s, a, b)| Step::DeleteRange(s, a, b)),
        3 => (space(), key()).prop_map(|(s, k)| Step::Get(s, k)),
        4 => (space(), key(), prop::option::of(key()), any::<bool>(), prop::option::of(0..5usize), any::<bool>())
            .prop_map(|(s, a, b, r, l, k)| Step::Scan(s, a, b, r, l, k)),
        1 => Just(Step::Clear),
    ]
}

fn script() -> impl Strategy<Value = Script> {
    (prop::collection::vec(step(), 1..20), any::<bool>(), prop::bool::weighted(0.1))
        .prop_map(|(steps, is_exclusive, aborts)| Script { steps, is_exclusive, aborts })
}

fn range(start: &[u8], end: Option<&Vec<u8>>) -> KeyRange {
    KeyRange { start: start.to_vec().into(), end: end.map(|end| end.clone().into()) }
}

fn model_scan(model: &Model, space: SpaceId, range: &KeyRange) -> Vec<(Vec<u8>, i64, Option<UnixMillis>)> {
    let inside = model.iter().filter(|((in_space, key), (_, expires))| {
        *in_space == space && range.contains(key) && expires.is_none_or(|expires| expires > PAST)
    });
    inside.map(|((_, key), (value, expires))| (key.clone(), *value, *expires)).collect()
}

fn shape(entry: &Entry) -> (Vec<u8>, i64, Option<UnixMillis>) {
    (entry.key.to_vec(), entry.value.as_int().unwrap_or(-1), entry.expires_at)
}

fn run(tx: &mut Transaction<'_>, script: &Script, model: &mut Model) -> Result<(), Error> {
    let before = model.clone();
    for step in &script.steps {
        match step {
            Step::Put(space, key, value, expiry) => {
                tx.put_in(*space, Key::new(key.clone())?, *value, *expiry);
                let live = |(_, expires): &(i64, Option<UnixMillis>)| expires.is_none_or(|at| at > PAST);
                let old = model.get(&(*space, key.clone())).filter(|old| live(old)).copied();
                let expires = match expiry {
                    Expiry::At(at) => Some(*at),
                    Expiry::Keep => old.and_then(|(_, at)| at),
                    _ => None,
                };
                model.insert((*space, key.clone()), (*value, expires));
            }
            Step::Touch(space, key, expiry) => {
                let is_there = tx.touch_in(*space, Key::new(key.clone())?, *expiry)?;
                let live = |(_, expires): &(i64, Option<UnixMillis>)| expires.is_none_or(|at| at > PAST);
                assert_eq!(is_there, model.get(&(*space, key.clone())).is_some_and(live));
                if let Some((_, expires)) = model.get_mut(&(*space, key.clone()))
                    && expires.is_none_or(|at| at > PAST)
                {
                    *expires = match expiry {
                        Expiry::At(at) => Some(*at),
                        Expiry::Keep => *expires,
                        _ => None,
                    };
                }
            }
            Step::Delete(space, key) => {
                tx.delete_in(*space, Key::new(key.clone())?);
                model.remove(&(*space, key.clone()));
            }
            Step::DeleteRange(space, start, end) => {
                let range = range(start, end.as_ref());
                tx.delete_range_in(*space, range.clone());
                model.retain(|(in_space, key), _| *in_space != *space || !range.contains(key));
            }
            Step::Get(space, key) => {
                let found = tx.entry_in(*space, &Key::new(key.clone())?)?;
                let exactly =
                    KeyRange { start: key.clone().into(), end: Some([key, &[0][..]].concat().into()) };
                let expected = model_scan(model, *space, &exactly).pop();
                assert_eq!(found.as_ref().map(shape), expected);
                let is_own = found.is_some_and(|entry| entry.versionstamp == Versionstamp::MAX);
                let stored = before.get(&(*space, key.clone()));
                assert!(
                    is_own || expected.is_none_or(|(_, value, _)| stored.is_some_and(|(v, _)| *v == value))
                );
            }
            Step::Scan(space, start, end, reverse, limit, keys_only) => {
                let range = range(start, end.as_ref());
                let mut expected = model_scan(model, *space, &range);
                if *reverse {
                    expected.reverse();
                }
                expected.truncate(limit.unwrap_or(usize::MAX));
                if *keys_only {
                    expected.iter_mut().for_each(|(_, value, _)| *value = -1);
                }
                let mut options = ScanOptions { reverse: *reverse, limit: *limit, ..Default::default() };
                options.keys_only = *keys_only;
                let found = tx.scan_in(*space, range, options)?;
                assert_eq!(found.iter().map(shape).collect::<Vec<_>>(), expected);
            }
            Step::Clear => {
                tx.clear();
                *model = before.clone();
            }
        }
    }
    if script.aborts { Err(tx.abort("as the script says")) } else { Ok(()) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn scripts_read_and_write_as_a_map_does(scripts in prop::collection::vec(script(), 1..6)) {
        let db = Db::memory().expect("memory");
        let mut model = Model::new();
        for script in &scripts {
            let mut after = model.clone();
            let outcome = if script.is_exclusive {
                db.exclusive(|tx| {
                    after = model.clone();
                    run(tx, script, &mut after)
                })
                .and_then(|((), pending)| Ok(pending.wait().map(|_| ())?))
            } else {
                db.transact(|tx| {
                    after = model.clone();
                    run(tx, script, &mut after)
                })
            };
            match outcome {
                Ok(()) => model = after,
                Err(Error::Commit(CommitError::Aborted(_))) => prop_assert!(script.aborts),
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            }
            for space in SPACES {
                let stored = db.snapshot().scan_in(space, KeyRange::all(), ScanOptions::default());
                let stored: Vec<_> = stored.map(|entry| shape(&entry.expect("memory"))).collect();
                prop_assert_eq!(stored, model_scan(&model, space, &KeyRange::all()));
            }
        }
    }
}

/// A scan with a limit checks only what it has read.
#[test]
fn what_lies_behind_a_limit_may_change() -> Result<(), Error> {
    let db = Db::memory()?;
    for name in ["b", "d", "f"] {
        db.put(name, name)?;
    }
    for (reverse, elsewhere, inside) in [(false, "e", "a"), (true, "a2", "g")] {
        let mut tries = 0;
        let options = ScanOptions { reverse, limit: Some(2), ..Default::default() };
        db.transact(|tx| {
            tries += 1;
            tx.scan_in(SpaceId::DEFAULT, KeyRange::all(), options)?;
            if tries == 1 {
                db.put(elsewhere, "new")?;
            }
            tx.put("result", "done")
        })?;
        assert_eq!(tries, 1, "{elsewhere} was not read");
        db.transact(|tx| {
            tries += 1;
            tx.scan_in(SpaceId::DEFAULT, KeyRange::all(), options)?;
            if tries == 2 {
                db.put(inside, "new")?;
            }
            tx.put("a0", "done")
        })?;
        assert_eq!(tries, 3, "{inside} changes what was read");
        db.delete("result")?;
    }
    Ok(())
}

/// A key is at most 2,048 bytes long, a bound one more.
#[test]
fn ranges_end_and_begin_behind_the_longest_key() -> Result<(), Error> {
    let db = Db::memory()?;
    let longest = Key::new(vec![7; 2_048])?;
    let just_behind = bytes::Bytes::from([&longest[..], &[0]].concat());
    let (up_to, from) = (
        KeyRange { start: Default::default(), end: Some(just_behind.clone()) },
        KeyRange { start: just_behind, end: None },
    );
    for is_stored in [false, true] {
        db.transact(|tx| {
            if !is_stored {
                tx.put_in(SpaceId::DEFAULT, longest.clone(), Value::from(1_i64), Expiry::Never);
            }
            assert_eq!(tx.scan(up_to.clone())?.len(), 1);
            assert_eq!(tx.scan(from.clone())?.len(), 0);
            tx.delete_range_in(SpaceId::DEFAULT, from.clone());
            assert_eq!(tx.scan(up_to.clone())?.len(), 1);
            Ok(())
        })?;
    }
    db.transact(|tx| {
        tx.delete_range_in(SpaceId::DEFAULT, up_to.clone());
        Ok(())
    })?;
    assert_eq!(db.iter().count(), 0);
    Ok(())
}

/// A closure that only reads under the lock writes nothing to the log.
#[test]
fn reading_alone_is_no_commit() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(dir.path())?;
    let before = db.put("apple", "red")?.versionstamp;
    let (value, pending) = db.exclusive(|tx| tx.get("apple"))?;
    assert_eq!(value, Some("red".into()));
    assert_eq!(pending.versionstamp(), before);
    pending.wait()?;
    assert_eq!(db.visible(), before);
    Ok(())
}

/// In memory alone deletes leave at once: not what was written again at the same stamp.
#[test]
fn what_a_commit_deletes_and_writes_again_stays() -> Result<(), Error> {
    let db = Db::memory()?;
    db.put("apple", "red")?;
    for color in ["green", "yellow"] {
        db.transact(|tx| {
            tx.delete_range_in(SpaceId::DEFAULT, KeyRange::all());
            tx.put("apple", color)
        })?;
        db.put("pear", "green")?;
        assert_eq!(db.get("apple")?.map(|entry| entry.value), Some(color.into()));
    }
    Ok(())
}

/// A commit with steps is done once for its token, over a restart too, whatever it would come to by now.
#[test]
fn a_token_of_steps_is_remembered() -> Result<(), Error> {
    use orcharddb::collection::Step;
    use orcharddb::{Change, Commit, SteppedCommit, Token, TokenError};
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = Db::open(dir.path()).expect("opens");
    let key = Db::key("list")?;
    let deadline = UnixMillis(db.snapshot().time().0 + 3_600_000);
    let commit = |number: i64, step: Step| SteppedCommit {
        checks: Vec::new(),
        changes: vec![
            Change::Mutation(
                Commit::new().set(SpaceId::DEFAULT, Db::key("n").expect("short"), number).mutations.remove(0),
            ),
            Change::Step(SpaceId::DEFAULT, key.clone(), step),
        ],
        token: Some(Token { id: "token".into(), deadline }),
    };
    let (_, pending) = db.commit_stepped(&commit(1, Step::Append(vec!["a".into()])))?;
    let first = pending.wait()?;
    db.put("list", "no list any more")?;
    db.close()?;
    drop(db);
    let db = Db::open(dir.path()).expect("opens again");
    let (outcome, pending) = db.commit_stepped(&commit(1, Step::Append(vec!["a".into()])))?;
    let again = pending.wait()?;
    assert!(again.repeated && outcome.is_ok_and(|stepped| stepped.is_empty()));
    assert_eq!(again.versionstamp, first.versionstamp);
    assert_eq!(db.get("list")?.map(|entry| entry.value), Some("no list any more".into()));
    for other in [commit(2, Step::Append(vec!["a".into()])), commit(1, Step::Append(vec!["b".into()]))] {
        let (_, pending) = db.commit_stepped(&other)?;
        assert!(matches!(pending.wait(), Err(CommitError::Token(TokenError::OtherContent))));
    }
    Ok(())
}
