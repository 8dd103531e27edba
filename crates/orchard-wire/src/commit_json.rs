//! `POST /v1/commit`: `{"checks", "mutations", "enqueues", "token"?, "deadline"?, "durability"?}` and its replies.

use crate::commit_steps::StepAt;
use crate::element_json::{self, Parts, Verb};
use crate::json_text::Object;
use crate::problem::{Kind, Problem};
use crate::queue_json::{Enqueue, EnqueueJson};
use crate::{duration, entry_json, range, rfc3339, value_json};
use bytes::Bytes;
use orcharddb::collection::Step;
use orcharddb::{
    Check, Commit, Durability, Expiry, Key, KeyRange, LimitError, Mutation, NumberOp, Operation, SpaceId,
    Token, Value, ValueType, Versionstamp, limits,
};
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::marker::PhantomData;

mod render;

pub(crate) use render::write_expiry;
pub use render::{check_failed, render, render_reply};

/// What a client wants to be committed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CommitRequest {
    /// The change, in the default space, without its enqueues.
    pub commit: Commit,
    /// Changes of collections between the mutations, in order.
    pub steps: Vec<StepAt>,
    /// Messages that are enqueued if the commit happens.
    pub enqueues: Vec<Enqueue>,
    /// What the reply waits for; the database's own level if not said.
    pub durability: Option<Durability>,
    /// Whether a refusal shows the values of the keys whose checks did not hold.
    pub return_values: bool,
}

impl CommitRequest {
    /// The whole change, for a database.
    ///
    /// # Errors
    /// Each names the enqueue that it is about.
    pub fn in_database(self, database: SpaceId) -> Result<Commit, Problem> {
        let mut commit = self.commit.in_database(database);
        for (n, enqueue) in self.enqueues.iter().enumerate() {
            let mutations = enqueue.mutations(database, n);
            commit.mutations.extend(mutations.map_err(|problem| problem.at(format_args!("enqueues[{n}]")))?);
        }
        commit.validate()?;
        Ok(commit)
    }
}

/// At most [`limits::COMMIT_OPERATIONS_MAX`] items; more are counted but not kept, so that a small body of many tiny
/// items cannot fill the memory.
pub(crate) struct Items<T> {
    pub(crate) items: Vec<T>,
    pub(crate) count: usize,
}

impl<T> Default for Items<T> {
    fn default() -> Items<T> {
        Items { items: Vec::new(), count: 0 }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Items<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Items<T>, D::Error> {
        struct ItemsVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ItemsVisitor<T> {
            type Value = Items<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Items<T>, A::Error> {
                let mut items = Vec::new();
                while items.len() < limits::COMMIT_OPERATIONS_MAX {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Items { count: items.len(), items }),
                    }
                }
                let mut count = items.len();
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(Items { items, count })
            }
        }
        deserializer.deserialize_seq(ItemsVisitor(PhantomData))
    }
}

/// Tells `null` (`Some(None)`) from an absent member (`None`).
pub(crate) fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CommitJson<'a> {
    #[serde(borrow, default)]
    checks: Items<Object<CheckJson<'a>>>,
    #[serde(borrow, default)]
    mutations: Items<Object<MutationJson<'a>>>,
    #[serde(borrow, default)]
    enqueues: Items<Object<EnqueueJson<'a>>>,
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    deadline: Option<String>,
    #[serde(default)]
    durability: Option<String>,
    #[serde(default)]
    return_values: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckJson<'a> {
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "present")]
    versionstamp: Option<Option<String>>,
    #[serde(borrow)]
    range: Option<Object<RangeJson<'a>>>,
    #[serde(default)]
    unchanged_since: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RangeJson<'a> {
    #[serde(borrow)]
    pub(crate) prefix: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) start: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) end: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MutationJson<'a> {
    op: String,
    #[serde(borrow)]
    key: Option<&'a RawValue>,
    #[serde(borrow)]
    range: Option<Object<RangeJson<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(rename = "type", default)]
    value_type: Option<String>,
    #[serde(default)]
    ttl: Option<String>,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(borrow)]
    at_least: Option<&'a RawValue>,
    #[serde(borrow)]
    at_most: Option<&'a RawValue>,
    #[serde(default)]
    clamp: bool,
    #[serde(borrow)]
    fields: Option<&'a RawValue>,
    #[serde(borrow)]
    members: Option<&'a RawValue>,
    #[serde(borrow)]
    field: Option<&'a RawValue>,
    #[serde(borrow)]
    member: Option<&'a RawValue>,
    #[serde(borrow)]
    by: Option<&'a RawValue>,
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::BadJson, detail)
}

fn stamp(text: &str) -> Result<Versionstamp, Problem> {
    text.parse()
        .map_err(|error| bad(format!("{} is no versionstamp: {error}", crate::query::shown(text.as_bytes()))))
}

/// `fsync`, `os` or `none`.
///
/// # Errors
/// A text for people.
pub fn parse_durability(text: &str) -> Result<Durability, String> {
    match text {
        "fsync" => Ok(Durability::Fsync),
        "os" => Ok(Durability::Os),
        "none" => Ok(Durability::None),
        other => Err(format!("{} is none of fsync, os, none", crate::query::shown(other.as_bytes()))),
    }
}

/// The name of a durability.
pub const fn durability_name(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::Os => "os",
        Durability::None => "none",
    }
}

/// Begins the `ttl` that an entry gets if it has none to keep because it is absent.
const KEEP_OR: &str = "keep or ";

/// The expiry that `ttl` (a duration, `keep`, or `keep or` a duration) or `expires_at` (an RFC 3339 time) says.
///
/// # Errors
/// [`Kind::BadValue`]
pub fn parse_expiry(ttl: Option<&str>, expires_at: Option<&str>) -> Result<Expiry, Problem> {
    let bad = |why: String| Problem::new(Kind::BadValue, why);
    match (ttl, expires_at) {
        (None, None) => Ok(Expiry::Never),
        (Some("keep"), None) => Ok(Expiry::Keep),
        (Some(ttl), None) if ttl.starts_with(KEEP_OR) => parse_expiry(ttl.strip_prefix(KEEP_OR), None)
            .and_then(|expiry| match expiry {
                Expiry::After(duration) => Ok(Expiry::KeepOr(duration)),
                _ => Err(bad("ttl: keep or a duration".to_owned())),
            }),
        (Some(ttl), None) => match duration::parse(ttl) {
            Ok(duration) if duration.0 > 0 => Ok(Expiry::After(duration)),
            Ok(_) => Err(bad("ttl: at least 1ms".to_owned())),
            Err(why) => Err(bad(format!("ttl: {why}"))),
        },
        (None, Some(time)) => {
            rfc3339::parse(time).map(Expiry::At).map_err(|why| bad(format!("expires_at: {why}")))
        }
        (Some(_), Some(_)) => Err(bad("ttl and expires_at exclude each other".to_owned())),
    }
}

impl RangeJson<'_> {
    pub(crate) fn parse(&self) -> Result<KeyRange, Problem> {
        let bound = |raw: Option<&RawValue>| raw.map(entry_json::parse_bound).transpose();
        range::build(bound(self.prefix)?, bound(self.start)?, bound(self.end)?)
    }
}

impl CheckJson<'_> {
    fn parse(self) -> Result<Check, Problem> {
        let space = SpaceId::DEFAULT;
        match (self.key, self.range) {
            (Some(key), None) => match (self.versionstamp, self.unchanged_since) {
                (Some(expected), None) => {
                    let expected = expected.as_deref().map(stamp).transpose()?;
                    let key = entry_json::parse_bound(key)?;
                    LimitError::check("read_key_size_bytes", limits::READ_KEY_SIZE_BYTES_MAX, key.len())?;
                    Ok(Check::Key { space, key, expected })
                }
                _ => Err(bad("a check of a key needs its versionstamp, or null for absence")),
            },
            (None, Some(Object(range))) => match (self.versionstamp, self.unchanged_since) {
                (None, Some(since)) => {
                    Ok(Check::Range { space, range: range.parse()?, unchanged_since: stamp(&since)? })
                }
                _ => Err(bad("a check of a range needs unchanged_since")),
            },
            _ => Err(bad("a check needs a key or a range")),
        }
    }
}

/// Reads the changes of a feed, which have the form of mutations: any number of them, and collections as they are shown
/// (see [`value_json::parse_shown`]).
///
/// # Errors
/// [`Kind::BadJson`], [`Kind::BadKey`], [`Kind::BadValue`]
pub fn parse_changes(text: &[u8]) -> Result<Vec<Mutation>, Problem> {
    let changes: Vec<Object<MutationJson<'_>>> =
        serde_json::from_slice(text).map_err(|error| bad(format!("not changes: {error}")))?;
    let shown = |text: &[u8], value_type: Option<ValueType>| match value_type {
        Some(value_type) => value_json::parse_shown(text, value_type),
        None => value_json::parse(text),
    };
    changes.into_iter().map(|Object(change)| change.parse_with(shown)).collect()
}

impl MutationJson<'_> {
    fn parse(self) -> Result<Mutation, Problem> {
        self.parse_with(value_json::parse_as)
    }

    /// The change of a collection that a verb makes it.
    fn step(self, verb: Verb) -> Result<(Key, Step), Problem> {
        for (given, name) in [
            (self.range.is_some(), "range"),
            (self.at_least.is_some() || self.at_most.is_some() || self.clamp, "at_least, at_most or clamp"),
        ] {
            if given {
                return Err(bad(format!("op {} has no {name}", self.op)));
            }
        }
        let key = self.key.ok_or_else(|| bad(format!("op {} needs a key", self.op)))?;
        let parts = Parts {
            fields: self.fields,
            members: self.members,
            field: self.field,
            member: self.member,
            by: self.by,
            value: self.value,
            value_type: self.value_type,
            ttl: self.ttl,
            expires_at: self.expires_at,
        };
        Ok((entry_json::parse_key(key)?, element_json::parse_parts(verb, &parts)?))
    }

    fn parse_with(
        self,
        parse_value: impl Fn(&[u8], Option<ValueType>) -> Result<Value, Problem>,
    ) -> Result<Mutation, Problem> {
        let expiry = parse_expiry(self.ttl.as_deref(), self.expires_at.as_deref())?;
        let value_type = self.value_type.as_deref().map(entry_json::value_type).transpose()?;
        let value = |raw: &RawValue| parse_value(raw.get().as_bytes(), value_type);
        let needed = |what: &str| bad(format!("op {} needs {what}", self.op));
        let of_steps = [self.fields, self.members, self.field, self.member, self.by];
        let numeric = self.at_least.is_some() || self.at_most.is_some() || self.clamp;
        let expires = expiry != Expiry::Never;
        let (numbers, values, ranges, expiries) = match self.op.as_str() {
            "set" | "set_suffix_versionstamp" => (false, true, false, true),
            "sum" | "min" | "max" => (true, true, false, true),
            "delete" => (false, false, false, false),
            "delete_range" => (false, false, true, false),
            "touch" => (false, false, false, true),
            other => {
                return Err(bad(format!(
                    "{} is no op; the ops are set, delete, delete_range, sum, min, max, set_suffix_versionstamp, \
                     touch, and those of collections as hash_set",
                    crate::query::shown(other.as_bytes())
                )));
            }
        };
        for (given, allowed, name) in [
            (numeric, numbers, "at_least, at_most or clamp"),
            (self.value.is_some() || value_type.is_some(), values, "value or type"),
            (self.range.is_some(), ranges, "range"),
            (self.key.is_some(), !ranges, "key"),
            (expires, expiries, "ttl or expires_at"),
            (of_steps.iter().any(Option::is_some), false, "fields, members, field, member or by"),
        ] {
            if given && !allowed {
                return Err(bad(format!("op {} has no {name}", self.op)));
            }
        }
        if ranges {
            let range = self.range.ok_or_else(|| needed("a range"))?.0.parse()?;
            let operation = Operation::DeleteRange { end: range.end };
            let key = orcharddb::Key::new(range.start)?;
            return Ok(Mutation { space: SpaceId::DEFAULT, key, operation });
        }
        let key = entry_json::parse_key(self.key.ok_or_else(|| needed("a key"))?)?;
        let given = || value(self.value.ok_or_else(|| needed("a value"))?);
        let operation = match self.op.as_str() {
            "set" => Operation::Set { value: given()?, expiry },
            "set_suffix_versionstamp" => Operation::SetWithVersionstampSuffix { value: given()?, expiry },
            "delete" => Operation::Delete,
            "touch" => Operation::Touch { expiry },
            op => Operation::Number {
                op: match op {
                    "min" => NumberOp::Min,
                    "max" => NumberOp::Max,
                    _ => NumberOp::Sum,
                },
                operand: given()?,
                at_least: self.at_least.map(value).transpose()?,
                at_most: self.at_most.map(value).transpose()?,
                clamp: self.clamp,
                expiry,
            },
        };
        Ok(Mutation { space: SpaceId::DEFAULT, key, operation })
    }
}

/// Reads the body of `POST /v1/commit`.
///
/// # Errors
/// Each names the check or mutation that it is about.
///
/// ```
/// use orchard_wire::commit_json;
/// let body = br#"{"checks": [{"key": ["a"], "versionstamp": null}], "mutations": [{"op": "set", "key": ["a"], "value": 1}]}"#;
/// assert_eq!(commit_json::parse(body)?.commit.mutations.len(), 1);
/// # Ok::<(), orchard_wire::Problem>(())
/// ```
pub fn parse(body: &[u8]) -> Result<CommitRequest, Problem> {
    let Object(json): Object<CommitJson<'_>> =
        serde_json::from_slice(body).map_err(|error| bad(format!("not a commit: {error}")))?;
    let operations = json.checks.count + json.mutations.count + json.enqueues.count;
    LimitError::check("commit_operations", limits::COMMIT_OPERATIONS_MAX, operations)?;
    let checks = json.checks.items.into_iter().enumerate();
    let checks = checks.map(|(index, Object(check))| {
        check.parse().map_err(|problem| problem.at(format_args!("checks[{index}]")))
    });
    let (mut mutations, mut steps) = (Vec::with_capacity(json.mutations.count), Vec::new());
    let mut elements = operations;
    for (index, Object(mutation)) in json.mutations.items.into_iter().enumerate() {
        let at = |problem: Problem| problem.at(format_args!("mutations[{index}]"));
        match Verb::of_op(&mutation.op) {
            None => mutations.push(mutation.parse().map_err(at)?),
            Some(verb) => {
                let (key, step) = mutation.step(verb).map_err(at)?;
                elements += step.elements() - 1;
                LimitError::check("commit_operations", limits::COMMIT_OPERATIONS_MAX, elements)?;
                steps.push(StepAt { before: mutations.len(), key, step });
            }
        }
    }
    let enqueues = json.enqueues.items.into_iter().enumerate();
    let enqueues = enqueues.map(|(index, Object(enqueue))| {
        enqueue.parse(None).map_err(|problem| problem.at(format_args!("enqueues[{index}]")))
    });
    let enqueues = enqueues.collect::<Result<Vec<_>, _>>()?;
    let token = match (json.token, json.deadline) {
        (Some(id), Some(deadline)) => Some(Token {
            id: Bytes::from(id),
            deadline: rfc3339::parse(&deadline).map_err(|why| bad(format!("deadline: {why}")))?,
        }),
        (None, None) => None,
        _ => return Err(bad("token and deadline need each other")),
    };
    let durability = json.durability.as_deref().map(parse_durability).transpose();
    let commit = Commit { checks: checks.collect::<Result<_, _>>()?, mutations, token };
    commit.validate()?;
    let durability = durability.map_err(|why| bad(format!("durability: {why}")))?;
    Ok(CommitRequest { commit, steps, enqueues, durability, return_values: json.return_values })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::element_json::tests::step;
    use orcharddb::{CheckFailure, DurationMs, IntoKey, Key, UnixMillis};
    use proptest::prelude::*;

    fn kind(body: &str) -> Kind {
        parse(body.as_bytes()).expect_err(body).kind
    }

    #[test]
    fn a_commit_is_read() {
        let body = r#"{
            "checks": [{"key": ["a"], "versionstamp": null},
                       {"range": {"prefix": ["users"]}, "unchanged_since": "00000000000000070002"}],
            "mutations": [{"op": "set", "key": ["a"], "value": {"b": 1}, "ttl": "30s"},
                          {"op": "sum", "key": "n", "value": 1, "at_most": 9, "clamp": true},
                          {"op": "delete_range", "range": {"start": ["x"], "end": ["y"]}}],
            "token": "t1", "deadline": "1970-01-01T00:00:01Z", "durability": "os"}"#;
        let request = parse(body.as_bytes()).expect("a commit");
        let key = |name: &str| name.into_key().expect("short");
        let users = KeyRange::new(&b"\x02users\0\0"[..], Some(Bytes::from_static(b"\x02users\0\xff")))
            .expect("short");
        let number = Operation::Number {
            op: NumberOp::Sum,
            operand: Value::from(1_i64),
            at_least: None,
            at_most: Some(Value::from(9_i64)),
            clamp: true,
            expiry: Expiry::Never,
        };
        let space = SpaceId::DEFAULT;
        let mut commit = Commit::new().check_absent(space, key("a"));
        commit.checks.push(Check::Range { space, range: users, unchanged_since: Versionstamp::new(7, 2) });
        let set =
            Operation::Set { value: Value::json(r#"{"b": 1}"#), expiry: Expiry::After(DurationMs(30_000)) };
        commit = commit.mutate(space, key("a"), set).mutate(space, key("n"), number);
        commit = commit.mutate(space, key("x"), Operation::DeleteRange { end: Some(key("y").into_bytes()) });
        commit.token = Some(Token { id: Bytes::from_static(b"t1"), deadline: UnixMillis(1_000) });
        assert_eq!(
            request,
            CommitRequest { commit, durability: Some(Durability::Os), ..CommitRequest::default() }
        );
        assert_eq!(parse(b"{}").expect("an empty commit"), CommitRequest::default());
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(kind("[]"), Kind::BadJson);
        assert_eq!(kind(r#"{"mutations": [["delete", ["a"]]]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"enqueues": [{"payload": 1}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"checks": [{"key": ["a"]}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"checks": [{"key": ["a"], "versionstamp": "1"}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"checks": [{"range": {}, "versionstamp": null}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"mutations": [{"op": "set", "key": ["a"]}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"mutations": [{"op": "sett", "key": ["a"], "value": 1}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"mutations": [{"op": "delete", "key": ["a"], "value": 1}]}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"mutations": [{"op": "delete", "key": ["a"], "ttl": "1s"}]}"#), Kind::BadJson);
        assert_eq!(
            kind(r#"{"mutations": [{"op": "set", "key": ["a"], "value": 1, "clamp": true}]}"#),
            Kind::BadJson
        );
        assert_eq!(
            kind(r#"{"mutations": [{"op": "set", "key": ["a"], "value": 1, "ttl": "0s"}]}"#),
            Kind::BadValue
        );
        assert_eq!(kind(r#"{"token": "t"}"#), Kind::BadJson);
        assert_eq!(kind(r#"{"durability": "disk"}"#), Kind::BadJson);
        let problem =
            parse(br#"{"mutations": [{"op": "delete", "key": "a"}, {"op": "delete", "key": [null]}]}"#);
        let problem = problem.expect_err("null is no part");
        assert_eq!(problem.kind, Kind::BadKey);
        assert!(problem.detail.starts_with("mutations[1]: "), "{}", problem.detail);
    }

    #[test]
    fn too_many_operations_are_counted() {
        let many = vec![r#"{"op":"delete","key":"a"}"#; limits::COMMIT_OPERATIONS_MAX + 5].join(",");
        let problem = parse(format!("{{\"mutations\":[{many}]}}").as_bytes()).expect_err("too many");
        assert_eq!(problem.kind, Kind::LimitExceeded);
        assert_eq!(problem.extra["actual"], limits::COMMIT_OPERATIONS_MAX + 5);
    }

    #[test]
    fn all_failed_checks_are_listed() {
        let space = SpaceId::DEFAULT;
        let commit = Commit::new().check_absent(space, "a".into_key().expect("short"));
        let found = Some(Versionstamp::new(7, 2));
        let json = check_failed(&commit, &[CheckFailure { index: 0, found }], &[]).to_json();
        assert!(json.contains(
            r#""failed_checks":[{"index":0,"key":["a"],"expected":null,"found":"00000000000000070002"}]"#
        ));
    }

    fn expiry() -> impl Strategy<Value = Expiry> {
        prop_oneof![
            Just(Expiry::Never),
            Just(Expiry::Keep),
            (1_u64..1 << 40).prop_map(|ms| Expiry::KeepOr(DurationMs(ms))),
            (1..u64::MAX).prop_map(|after| Expiry::After(DurationMs(after))),
            (0..253_402_300_799_999_u64).prop_map(|at| Expiry::At(UnixMillis(at))),
        ]
    }

    fn operation() -> impl Strategy<Value = Operation> {
        let value =
            prop_oneof![Just(Value::json("[1]")), Just(Value::json("5")), any::<f64>().prop_map(Value::from)]
                .prop_filter("one NaN", |value| value.as_float().is_none_or(|number| !number.is_nan()));
        let number = prop_oneof![any::<i64>().prop_map(Value::from), any::<u64>().prop_map(Value::u64)];
        prop_oneof![
            (value, expiry()).prop_map(|(value, expiry)| Operation::Set { value, expiry }),
            Just(Operation::Delete),
            prop::option::of(prop::collection::vec(any::<u8>(), 0..9))
                .prop_map(|end| Operation::DeleteRange { end: end.map(Bytes::from) }),
            (number.clone(), prop::option::of(number), any::<bool>(), expiry()).prop_map(
                |(operand, at_least, clamp, expiry)| Operation::Number {
                    op: NumberOp::Max,
                    operand,
                    at_least,
                    at_most: None,
                    clamp,
                    expiry
                }
            ),
            expiry().prop_map(|expiry| Operation::Touch { expiry }),
        ]
    }

    proptest! {
        #[test]
        fn commits_come_back(
            mutations in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), operation()), 0..5),
            checks in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..9), any::<Option<u64>>()), 0..3),
            steps in prop::collection::vec((0..6_usize, prop::collection::vec(any::<u8>(), 0..9), step()), 0..4),
        ) {
            let space = SpaceId::DEFAULT;
            let mut commit = Commit::new();
            for (key, expected) in checks {
                commit = commit.check(space, Key::new(key).expect("short"), expected.map(Versionstamp::from_raw));
            }
            for (key, operation) in mutations {
                commit = commit.mutate(space, Key::new(key).expect("short"), operation);
            }
            let at = |(before, key, step): (usize, Vec<u8>, Step)| {
                StepAt { before: before.min(commit.mutations.len()), key: Key::new(key).expect("short"), step }
            };
            let mut steps: Vec<_> = steps.into_iter().map(at).collect();
            steps.sort_by_key(|step| step.before);
            let request = CommitRequest {
                commit, steps, enqueues: Vec::new(), durability: Some(Durability::None), return_values: true,
            };
            let body = render(&request);
            prop_assert_eq!(parse(&body).expect("a commit"), request, "{}", String::from_utf8_lossy(&body));
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse(&bytes);
        }
    }
}
