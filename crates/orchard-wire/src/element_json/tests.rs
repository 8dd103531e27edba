use super::*;
use crate::entry_json::{self, ExportLine, Piece};
use crate::query::Parameters;
use crate::value_json::Form;
use orcharddb::collection::{
    Elements, Exported, Field, Found, Look, Member, ScoredMember, Step, Stepped, ZPage,
};
use orcharddb::{DurationMs, Entry, Expiry, Key, UnixMillis, Versionstamp};
use proptest::prelude::*;
use std::ops::Bound;

fn kind<T: std::fmt::Debug>(result: Result<T, Problem>) -> Kind {
    result.expect_err("it is none").kind
}

#[test]
fn changes_are_read_in_their_short_forms() {
    let fields = parse_step(Verb::SetFields, br#"{"fields": {"b": "x", "a": 1, "b2": {"$bytes": "AP8="}}}"#);
    let fields = fields.expect("fields");
    let expected = Step::SetFields(vec![
        ("b".into(), "x".into(), Expiry::Never),
        ("a".into(), 1_i64.into(), Expiry::Never),
        ("b2".into(), vec![0, 255].into(), Expiry::Never),
    ]);
    assert_eq!(fields, expected, "in the order in which they were written");
    let sum = parse_step(Verb::SumField, br#"{"field": "n"}"#).expect("a sum");
    assert_eq!(sum, Step::SumField("n".into(), 1_i64.into()));
    let scored = parse_step(Verb::AddScored, br#"{"members": {"a": -1.5, "b": "inf"}}"#).expect("members");
    assert_eq!(
        scored,
        Step::AddScored(vec![("a".into(), -1.5, Expiry::Never), ("b".into(), f64::INFINITY, Expiry::Never),])
    );
    for (verb, body, expected) in [
        (Verb::SetFields, r#"{"fields": 1}"#, Kind::BadJson),
        (Verb::SetFields, r#"{"field": {}}"#, Kind::BadJson),
        (Verb::SetFields, r#"{"fields": [{"field": "a"}]}"#, Kind::BadJson),
        (Verb::SetFields, r#"{"fields": [{"field": 1, "value": 1}]}"#, Kind::BadValue),
        (Verb::SetFields, r#"{"fields": [{"field": "a", "value": 1, "type": "text"}]}"#, Kind::BadValue),
        (Verb::DeleteFields, r#"{"fields": {}}"#, Kind::BadJson),
        (Verb::AddMembers, r#"{"members": ["a", {"$bytes": "?"}]}"#, Kind::BadValue),
        (Verb::AddScored, r#"{"members": {"a": "x"}}"#, Kind::BadValue),
        (Verb::AddScored, r#"{"members": {"a": "nan"}}"#, Kind::BadValue),
        (Verb::SumScore, r#"{"by": 1}"#, Kind::BadJson),
        (Verb::AddMembers, "", Kind::BadJson),
        (Verb::AddMembers, r#"{"members": [{"member": "a", "ttl": "?"}]}"#, Kind::BadValue),
        (Verb::AddMembers, r#"{"members": [{"member": "a", "score": 1}]}"#, Kind::BadValue),
        (Verb::ExpireFields, r#"{"members": ["a"], "ttl": "1s"}"#, Kind::BadJson),
        (Verb::ExpireMembers, r#"{"ttl": "1s"}"#, Kind::BadJson),
    ] {
        assert_eq!(kind(parse_step(verb, body.as_bytes())), expected, "{body}");
    }
    let many = vec!["\"a\""; orcharddb::limits::COMMIT_OPERATIONS_MAX + 1].join(",");
    let many = format!("{{\"members\": [{many}]}}");
    assert_eq!(kind(parse_step(Verb::AddMembers, many.as_bytes())), Kind::LimitExceeded);
}

fn take(shape: Shape, query: &str) -> Result<Look, Problem> {
    let mut parameters = Parameters::parse_repeating(query.as_bytes(), &["field", "member"])?;
    let look = take_look(shape, &mut parameters)?;
    parameters.finish()?;
    Ok(look)
}

#[test]
fn choices_of_elements_exclude_each_other() {
    assert_eq!(take(Shape::List, "start=-3").expect("a look"), Look::Indexes(-3, -1));
    assert_eq!(
        take(Shape::Hash, "field=a&field=b").expect("a look"),
        Look::Fields(vec!["a".into(), "b".into()])
    );
    let page =
        ZPage { min: Bound::Excluded(1.0), max: Bound::Unbounded, reverse: true, after: None, limit: 7 };
    assert_eq!(take(Shape::ZSet, "above_score=1&reverse=true&limit=7").expect("a look"), Look::ByScore(page));
    for query in [
        "member=a&limit=1",
        "member=a&start=0",
        "start=0&min_score=1",
        "min_score=1&min_member=a",
        "min_score=1&above_score=1",
        "min_score=x",
        "start=0&reverse=true",
        "start=1.5",
        "limit=0",
    ] {
        assert_eq!(kind(take(Shape::ZSet, query)), Kind::BadQuery, "{query}");
    }
    assert_eq!(kind(take(Shape::Set, "limit=10001")), Kind::LimitExceeded);
    assert_eq!(kind(take(Shape::Set, "cursor=%3F")), Kind::BadCursor);
    assert_eq!(kind(take(Shape::Set, "field=a")), Kind::UnknownParameter);
    let of_a_set = found::name_cursor(b"a");
    assert_eq!(kind(take(Shape::ZSet, &format!("cursor={of_a_set}"))), Kind::BadCursor);
}

fn name() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        ".{0,5}".prop_map(Bytes::from),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Bytes::from)
    ]
}

fn any_score() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<f64>().prop_filter("a number", |score| !score.is_nan()).prop_map(|score| score + 0.0),
        any::<i32>().prop_map(f64::from),
        Just(f64::INFINITY),
        Just(f64::NEG_INFINITY),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,5}".prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::u64),
        any::<f64>().prop_filter("one NaN", |number| !number.is_nan()).prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Value::from),
        Just(Value::json("5")),
        Just(Value::json("{\"$bytes\": \"\"}")),
        Just(Value::null()),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(|data| Value::new(ValueType::V8, data)),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        Just(Expiry::Never),
        Just(Expiry::Keep),
        (1..u64::MAX).prop_map(|after| Expiry::After(DurationMs(after))),
        (0..253_402_300_799_999_u64).prop_map(|at| Expiry::At(UnixMillis(at))),
    ]
}

fn at() -> impl Strategy<Value = Option<UnixMillis>> {
    prop::option::of((0..253_402_300_799_999_u64).prop_map(UnixMillis))
}

fn field() -> impl Strategy<Value = Field> {
    (name(), value(), at()).prop_map(|(name, value, expires_at)| Field { name, value, expires_at })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let names = || prop::collection::vec(name(), 0..4);
    let members = prop::collection::vec((name(), expiry()), 0..4);
    let scored = prop::collection::vec((name(), any_score(), expiry()), 0..4);
    prop_oneof![
        Just(Step::PopFirst(1)),
        Just(Step::PopHighest(1)),
        value().prop_map(|value| Step::Append(vec![value])),
        value().prop_map(|value| Step::Prepend(vec![value])),
        prop::collection::vec((name(), value(), expiry()), 0..4).prop_map(Step::SetFields),
        names().prop_map(Step::DeleteFields),
        (name(), any::<i64>()).prop_map(|(name, by)| Step::SumField(name, by.into())),
        (name(), any::<u64>()).prop_map(|(name, by)| Step::SumField(name, Value::u64(by))),
        members.prop_map(Step::AddMembers),
        (names(), expiry()).prop_map(|(names, expiry)| Step::ExpireFields(names, expiry)),
        (names(), expiry()).prop_map(|(names, expiry)| Step::ExpireMembers(names, expiry)),
        (names(), expiry()).prop_map(|(names, expiry)| Step::ExpireScored(names, expiry)),
        names().prop_map(Step::RemoveMembers),
        scored.prop_map(Step::AddScored),
        names().prop_map(Step::RemoveScored),
        (name(), any_score()).prop_map(|(name, by)| Step::SumScore(name, by)),
    ]
}

fn bound<T: std::fmt::Debug + Clone>(of: impl Strategy<Value = T>) -> impl Strategy<Value = Bound<T>> {
    (of, 0..3_u8).prop_map(|(bound, which)| match which {
        0 => Bound::Included(bound),
        1 => Bound::Excluded(bound),
        _ => Bound::Unbounded,
    })
}

fn look() -> impl Strategy<Value = (Shape, Look)> {
    let names = || prop::collection::vec(name(), 1..4);
    let after = || prop::option::of((name(), any_score()));
    let scores = (bound(any_score()), bound(any_score()), any::<bool>(), after(), 1..100_usize);
    // Without a bound it is shown as one with a bound that all names keep.
    let members = (name().prop_map(Bound::Included), bound(name()), any::<bool>(), after(), 1..100_usize);
    prop_oneof![
        (any::<i64>(), any::<i64>()).prop_map(|(start, stop)| (Shape::List, Look::Indexes(start, stop))),
        names().prop_map(|names| (Shape::Hash, Look::Fields(names))),
        (prop::option::of(name()), 1..100_usize)
            .prop_map(|(after, limit)| (Shape::Hash, Look::FieldsAfter(after, limit))),
        names().prop_map(|names| (Shape::Set, Look::Members(names))),
        names().prop_map(|names| (Shape::ZSet, Look::Scores(names))),
        (any::<i64>(), any::<i64>()).prop_map(|(start, stop)| (Shape::ZSet, Look::Ranks(start, stop))),
        scores.prop_map(|(min, max, reverse, after, limit)| {
            (Shape::ZSet, Look::ByScore(ZPage { min, max, reverse, after, limit }))
        }),
        members.prop_map(|(min, max, reverse, after, limit)| {
            (Shape::ZSet, Look::ByName(ZPage { min, max, reverse, after, limit }))
        }),
    ]
}

fn elements() -> impl Strategy<Value = (Shape, Elements)> {
    prop_oneof![
        prop::collection::vec(value(), 0..4).prop_map(|values| (Shape::List, Elements::Values(values))),
        prop::collection::vec(field(), 0..4).prop_map(|fields| (Shape::Hash, Elements::Fields(fields))),
        prop::collection::vec(
            (name(), at()).prop_map(|(name, expires_at)| Member { name, expires_at }),
            0..4
        )
        .prop_map(|members| (Shape::Set, Elements::Members(members))),
        prop::collection::vec(
            (name(), any_score(), at()).prop_map(|(name, score, expires_at)| ScoredMember {
                name,
                score,
                expires_at
            }),
            0..4,
        )
        .prop_map(|members| (Shape::ZSet, Elements::Scored(members))),
    ]
}

proptest! {
    #[test]
    fn changes_come_back(step in step()) {
        let (verb, body) = render_step(&step);
        prop_assert_eq!(Verb::of_op(&verb.op()), Some(verb));
        // The type of a list's element is said beside the body.
        prop_assume!(verb.shape() != Shape::List);
        prop_assert_eq!(parse_step(verb, &body).expect("a change"), step, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn looks_come_back((shape, look) in look()) {
        let query = render_look(&look).join("&");
        prop_assert_eq!(take(shape, &query).expect("a look"), look, "{}", query);
    }

    #[test]
    fn pages_come_back((shape, elements) in elements(), length in any::<u64>(), raw in any::<u64>()) {
        let versionstamp = Versionstamp::from_raw(raw);
        let page = Page { found: Found { elements, length, has_more: false }, versionstamp };
        let body = write_page(&page.found, versionstamp, Form::Own);
        prop_assert_eq!(parse_page(shape, &body).expect("a page"), page, "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn pieces_of_exports_come_back(
        (_, elements) in elements(), offset in any::<u64>(), key in prop::collection::vec(any::<u8>(), 0..9),
        raw in any::<u64>(), at in prop::option::of(0..253_402_300_799_999_u64), is_shown in any::<bool>(),
    ) {
        let (key, expires_at) = (Key::new(key).expect("short"), at.map(UnixMillis));
        let versionstamp = Versionstamp::from_raw(raw);
        let expiry = expires_at.map_or(Expiry::Never, Expiry::At);
        let mut piece =
            Piece { key: key.clone(), offset, elements: elements.clone(), versionstamp: None, expiry };
        let mut line = Vec::new();
        if is_shown {
            piece.versionstamp = Some(versionstamp);
            let value_type = match &elements {
                Elements::Values(_) => ValueType::List,
                Elements::Fields(_) => ValueType::Hash,
                Elements::Members(_) => ValueType::Set,
                Elements::Scored(_) => ValueType::ZSet,
            };
            let entry = Entry { key, value: Value::new(value_type, Vec::new()), versionstamp, expires_at };
            let exported = Exported::Piece { entry, offset, elements };
            entry_json::write_exported(&mut line, &exported, false, true);
        } else {
            entry_json::write_piece(&mut line, &piece);
        }
        let parsed = entry_json::parse_exported(&line).expect("a line");
        prop_assert_eq!(parsed, ExportLine::Piece(piece), "{}", String::from_utf8_lossy(&line));
    }

    #[test]
    fn javascript_values_keep_their_bytes(data in prop::collection::vec(any::<u8>(), 0..20)) {
        let value = Value::new(ValueType::V8, data);
        let entry = Entry {
            key: Key::default(), value: value.clone(), versionstamp: Versionstamp::ZERO, expires_at: None,
        };
        let mut line = Vec::new();
        entry_json::write_exported(&mut line, &Exported::Entry(entry), false, true);
        let Ok(ExportLine::Entry(record)) = entry_json::parse_exported(&line) else { panic!("no entry") };
        prop_assert_eq!(record.value, Some(value));
    }

    #[test]
    fn what_changes_did_comes_back(
        changed in any::<u64>(), length in any::<u64>(), value in prop::option::of(value()),
        member in prop::option::of((name(), any_score())),
    ) {
        let stepped = Stepped {
            changed, length, values: value.into_iter().collect(), members: member.into_iter().collect(),
        };
        let mut body = b"{\"versionstamp\":\"\"".to_vec();
        write_stepped(&mut body, Verb::SetFields, &stepped, Form::Own);
        body.push(b'}');
        prop_assert_eq!(parse_stepped(&body).expect("a reply"), stepped);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        for verb in [Verb::SetFields, Verb::AddMembers, Verb::AddScored, Verb::SumField, Verb::SumScore] {
            let _ = parse_step(verb, &bytes);
        }
        let _ = parse_page(Shape::Hash, &bytes);
        let _ = parse_stepped(&bytes);
        let _ = entry_json::parse_exported(&bytes);
        if let Ok(mut parameters) = Parameters::parse(&bytes) {
            let _ = take_look(Shape::ZSet, &mut parameters);
        }
    }
}
