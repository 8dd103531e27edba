use super::*;

const SPACE: SpaceId = SpaceId::DEFAULT;

fn stamp(index: u64) -> Versionstamp {
    Versionstamp::new(index, 0)
}

fn apply(oracle: &mut Oracle, index: u64, commit: Commit) -> Outcome {
    oracle.apply(&commit, stamp(index), UnixMillis(index))
}

fn text(oracle: &Oracle, name: &str, at: u64) -> Option<String> {
    let found = oracle.get(&(SPACE, Bytes::from(name.to_owned())), stamp(at), UnixMillis(at))?;
    found.live.value.as_text().map(str::to_owned)
}

#[test]
fn mutations_resolve_in_order_and_versions_stay() {
    let mut oracle = Oracle::default();
    let commit = Commit::new()
        .set(SPACE, key(b"a"), "1")
        .set(SPACE, key(b"b"), "1")
        .mutate(SPACE, key(b"a"), Operation::DeleteRange { end: None })
        .set(SPACE, key(b"b"), "2");
    assert_eq!(apply(&mut oracle, 1, commit), Outcome::Committed);
    assert_eq!((text(&oracle, "a", 1), text(&oracle, "b", 1)), (None, Some("2".into())));
    apply(&mut oracle, 2, Commit::new().set(SPACE, key(b"b"), "3"));
    assert_eq!((text(&oracle, "b", 1), text(&oracle, "b", 2)), (Some("2".into()), Some("3".into())));
    oracle.truncate(stamp(1));
    assert_eq!(text(&oracle, "b", 9), Some("2".into()));
    assert_eq!(oracle.log().len(), 1);
}

#[test]
fn an_expired_entry_is_absent_and_a_change_of_its_range() {
    let mut oracle = Oracle::default();
    let set = Operation::Set { value: "v".into(), expiry: Expiry::After(DurationMs(3)) };
    apply(&mut oracle, 1, Commit::new().mutate(SPACE, key(b"a"), set));
    assert_eq!((text(&oracle, "a", 3), text(&oracle, "a", 4)), (Some("v".into()), None));
    let unchanged = |since| Commit {
        checks: vec![Check::Range { space: SPACE, range: KeyRange::all(), unchanged_since: stamp(since) }],
        ..Commit::new()
    };
    assert_eq!(apply(&mut oracle, 3, unchanged(1)), Outcome::Committed);
    let failures = vec![CheckFailure { index: 0, found: Some(stamp(1)) }];
    let failed = Outcome::CheckFailed(failures.clone());
    assert_eq!(apply(&mut oracle, 4, unchanged(2)), failed, "it expired behind the group at 3");
    assert!(oracle.may_fail(&unchanged(3), &failures, UnixMillis(5)), "it is not known when 3 was read");
    assert_eq!(apply(&mut oracle, 6, unchanged(4)), Outcome::Committed, "it had expired before");
    let absent = Commit::new().check_absent(SPACE, key(b"a"));
    assert_eq!(apply(&mut oracle, 7, absent), Outcome::Committed);
}

#[test]
fn every_failed_check_is_listed_and_nothing_is_written() {
    let mut oracle = Oracle::default();
    apply(&mut oracle, 1, Commit::new().set(SPACE, key(b"a"), "1"));
    let commit = Commit::new()
        .check_absent(SPACE, key(b"a"))
        .check(SPACE, key(b"a"), Some(stamp(1)))
        .check(SPACE, key(b"b"), Some(stamp(1)))
        .set(SPACE, key(b"c"), "1");
    let failures =
        vec![CheckFailure { index: 0, found: Some(stamp(1)) }, CheckFailure { index: 2, found: None }];
    assert_eq!(apply(&mut oracle, 2, commit), Outcome::CheckFailed(failures));
    assert_eq!(text(&oracle, "c", 9), None);
}

#[test]
fn a_token_gives_the_first_outcome_until_its_deadline() {
    let mut oracle = Oracle::default();
    let token = orchard_types::Token { id: Bytes::from_static(b"t"), deadline: UnixMillis(10) };
    let commit = Commit { token: Some(token.clone()), ..Commit::new().set(SPACE, key(b"a"), "1") };
    assert_eq!(apply(&mut oracle, 1, commit.clone()), Outcome::Committed);
    assert_eq!(apply(&mut oracle, 5, commit.clone()), Outcome::Repeated(stamp(1), UnixMillis(1)));
    let other = Commit { token: Some(token), ..Commit::new().set(SPACE, key(b"a"), "2") };
    assert_eq!(apply(&mut oracle, 5, other), Outcome::OtherContent);
    assert_eq!(apply(&mut oracle, 10, commit), Outcome::DeadlinePassed);
}
