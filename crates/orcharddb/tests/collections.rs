//! Collections against the standard library's, across the boundary between one value and many, and across restarts.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use orcharddb::collection::{Added, JsonLimits, ZRange, to_json};
use orcharddb::{
    CollectionError, Db, Durability, DurationMs, Error, Expiry, KeyRange, Options, ScanOptions, SpaceId,
    Value, ValueType,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, RangeBounds};
use std::path::Path;

fn open(path: &Path) -> Db {
    Options { durability: Durability::None, ..Options::default() }.open(path).expect("it opens")
}

/// Runs steps on a database that is closed and opened again now and then, and looks at the end whether elements are there
/// that no header holds.
fn run<S>(steps: &[(S, u8)], mut step: impl FnMut(&Db, &S)) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut db = open(dir.path());
    for (what, fate) in steps {
        step(&db, what);
        match fate {
            0 => db.checkpoint().expect("a checkpoint"),
            1 => {
                drop(db);
                db = open(dir.path());
            }
            _ => {}
        }
    }
    erase(&db);
    assert_eq!(counted(&db), elements(&db), "every element belongs to a header that counts it");
}

fn erase(db: &Db) {
    while db.engine().erase_orphans(7).is_some() {}
}

fn elements(db: &Db) -> u64 {
    db.snapshot().scan_in(SpaceId::ELEMENTS, KeyRange::all(), ScanOptions::default()).count() as u64
}

/// The elements that headers say there are.
fn counted(db: &Db) -> u64 {
    let headers = db
        .iter()
        .map(|entry| entry.expect("it reads").value)
        .filter(|value| orcharddb::CollectionId::of_value(value.value_type, &value.data).is_some());
    let counts = headers.map(|value| {
        let twice = 1 + u64::from(value.value_type == ValueType::ZSet);
        twice * orcharddb::collection::count(value.value_type, &value.data).expect("a collection")
    });
    counts.sum()
}

#[derive(Clone, Debug)]
enum ListStep {
    Extend(usize, usize, bool),
    Pop(u64, bool),
    Set(i64, i64),
    Insert(i64, i64, bool),
    Remove(i64, u64, bool),
    Trim(i64, i64),
    Range(i64, i64),
}

fn list_step() -> impl Strategy<Value = ListStep> {
    let at = || prop_oneof![-5..5i64, -300..300i64];
    prop_oneof![
        4 => (0..20usize, prop_oneof![Just(1usize), 1..90usize], any::<bool>())
            .prop_map(|(size, number, front)| ListStep::Extend(size, number, front)),
        2 => (prop_oneof![0..4u64, 0..100u64], any::<bool>()).prop_map(|(n, back)| ListStep::Pop(n, back)),
        1 => (at(), 0..9i64).prop_map(|(index, value)| ListStep::Set(index, value)),
        3 => (0..400i64, 0..9i64, any::<bool>()).prop_map(|(p, v, after)| ListStep::Insert(p, v, after)),
        1 => (0..9i64, 0..4u64, any::<bool>()).prop_map(|(v, n, reverse)| ListStep::Remove(v, n, reverse)),
        1 => (at(), at()).prop_map(|(a, b)| ListStep::Trim(a, b)),
        2 => (at(), at()).prop_map(|(a, b)| ListStep::Range(a, b)),
    ]
}

fn clamp(start: i64, stop: i64, length: usize) -> std::ops::Range<usize> {
    let length = length as i64;
    let from_end = |at: i64| if at < 0 { at + length } else { at };
    let (first, behind) = (from_end(start).max(0), from_end(stop).min(length - 1) + 1);
    if first >= behind { 0..0 } else { first as usize..behind as usize }
}

fn run_list(db: &Db, model: &mut VecDeque<Value>, step: &ListStep, number: &mut i64) {
    let list = db.list("list");
    match step {
        ListStep::Extend(size, count, front) => {
            let values: Vec<Value> = (0..*count)
                .map(|_| {
                    *number += 1;
                    if *size == 0 { Value::from(*number % 9) } else { Value::from("x".repeat(size * size)) }
                })
                .collect();
            list.update(|list| list.extend(values.clone(), *front)).expect("it extends");
            values
                .into_iter()
                .for_each(|value| if *front { model.push_front(value) } else { model.push_back(value) });
        }
        ListStep::Pop(count, back) => {
            let popped = list.update(|list| list.pop(*count, *back)).expect("it pops");
            let expected: Vec<Value> =
                (0..*count).map_while(|_| if *back { model.pop_back() } else { model.pop_front() }).collect();
            assert_eq!(popped, expected);
        }
        ListStep::Set(index, value) => {
            let set = list.update(|list| list.set(*index, *value)).expect("it sets");
            let at = if *index < 0 { index + model.len() as i64 } else { *index };
            let place = usize::try_from(at).ok().and_then(|at| model.get_mut(at));
            assert_eq!(set, place.is_some());
            if let Some(place) = place {
                *place = Value::from(*value);
            }
        }
        ListStep::Insert(pivot, value, after) => {
            // The pivot is the n-th element, whatever it is.
            let mut left = *pivot;
            let inserted = list
                .update(|list| {
                    left = *pivot;
                    list.insert_at(*after, *value, |_| {
                        left -= 1;
                        left < 0
                    })
                })
                .expect("it inserts");
            assert_eq!(inserted, (*pivot as usize) < model.len());
            if inserted {
                model.insert(*pivot as usize + usize::from(*after), Value::from(*value));
            }
        }
        ListStep::Remove(value, limit, reverse) => {
            let wanted = Value::from(*value);
            let removed = list
                .update(|list| list.remove(*limit, *reverse, |found| *found == wanted))
                .expect("it removes");
            let mut at: Vec<usize> = (0..model.len()).filter(|at| model[*at] == wanted).collect();
            if *reverse {
                at.reverse();
            }
            at.truncate(if *limit == 0 { usize::MAX } else { *limit as usize });
            assert_eq!(removed, at.len() as u64);
            at.sort_unstable();
            at.iter().rev().for_each(|at| drop(model.remove(*at)));
        }
        ListStep::Trim(start, stop) => {
            list.update(|list| list.trim(*start, *stop)).expect("it trims");
            let kept = clamp(*start, *stop, model.len());
            model.truncate(kept.end);
            model.drain(..kept.start);
        }
        ListStep::Range(start, stop) => {
            let found = list.range(*start, *stop).expect("it reads");
            let kept = clamp(*start, *stop, model.len());
            let expected: Vec<Value> = model.range(kept).cloned().collect();
            assert_eq!(found, expected, "{start}..={stop}");
            let one = if *start < 0 { start + model.len() as i64 } else { *start };
            let expected = usize::try_from(one).ok().and_then(|at| model.get(at));
            assert_eq!(list.get(*start).expect("it reads").as_ref(), expected);
        }
    }
    assert_eq!(list.len().expect("it reads"), model.len() as u64);
    assert_eq!(db.get("list").expect("it reads").is_none(), model.is_empty(), "absent exactly if empty");
    let mut walked = VecDeque::new();
    let reverse = model.len().is_multiple_of(2);
    let mut index = if reverse { model.len() as u64 } else { 0 };
    let walk = list.snapshot().expect("a list").visit(reverse, |at, value| {
        if reverse {
            index -= 1;
            walked.push_front(value.clone());
        } else {
            walked.push_back(value.clone());
        }
        assert_eq!(at, index);
        index += u64::from(!reverse);
        true
    });
    walk.expect("it reads");
    assert_eq!(&walked, model);
}

fn name(number: u16) -> Bytes {
    match number {
        n if n % 50 == 7 => Bytes::from(vec![n as u8; 2_000 + n as usize]),
        8 => Bytes::new(),
        n => Bytes::from(format!("name {n}")),
    }
}

#[derive(Clone, Debug)]
enum NameStep {
    Insert(u16, u16, i8),
    Remove(u16, u16),
    Pop(u8, bool),
    Query(u16, i8, i8),
}

fn name_step() -> impl Strategy<Value = NameStep> {
    prop_oneof![
        4 => (0..400u16, prop_oneof![Just(1u16), 1..60u16], any::<i8>()).prop_map(|(a, n, s)| NameStep::Insert(a, n, s)),
        2 => (0..400u16, prop_oneof![Just(1u16), 1..90u16]).prop_map(|(a, n)| NameStep::Remove(a, n)),
        1 => (0..5u8, any::<bool>()).prop_map(|(n, last)| NameStep::Pop(n, last)),
        3 => (0..400u16, any::<i8>(), any::<i8>()).prop_map(|(a, x, y)| NameStep::Query(a, x, y)),
    ]
}

fn names(first: u16, number: u16) -> impl Iterator<Item = Bytes> + Clone {
    (first..first + number).map(name)
}

fn run_set(db: &Db, model: &mut BTreeSet<Bytes>, step: &NameStep) {
    let set = db.set("set");
    match step {
        NameStep::Insert(first, number, _) => {
            let added = set.update(|set| set.extend(names(*first, *number))).expect("it adds");
            let before = model.len();
            model.extend(names(*first, *number));
            assert_eq!(added, (model.len() - before) as u64);
        }
        NameStep::Remove(first, number) => {
            for name in names(*first, *number) {
                assert_eq!(set.remove(&name).expect("it removes"), model.remove(&name));
            }
        }
        NameStep::Pop(..) => {}
        NameStep::Query(at, x, _) => {
            assert_eq!(set.contains(name(*at)).expect("it reads"), model.contains(&name(*at)));
            // In pages.
            let mut set = set.snapshot().expect("a set");
            let (mut all, mut after) = (Vec::new(), None::<Bytes>);
            loop {
                let page = set.page(after.as_deref(), x.unsigned_abs() as usize + 1).expect("it reads");
                after = page.last().cloned();
                all.extend(page);
                if after.is_none() {
                    break;
                }
            }
            all.sort_unstable();
            assert!(all.iter().eq(model.iter()), "every member once");
        }
    }
    assert_eq!(set.len().expect("it reads"), model.len() as u64);
}

fn run_hash(db: &Db, model: &mut BTreeMap<Bytes, Value>, step: &NameStep) {
    let hash = db.hash("hash");
    match step {
        NameStep::Insert(first, number, value) => {
            let fields = names(*first, *number).map(|name| (name, Value::from(i64::from(*value))));
            let added = hash.update(|hash| hash.extend(fields.clone())).expect("it writes");
            let before = model.len();
            model.extend(fields);
            assert_eq!(added, (model.len() - before) as u64);
        }
        NameStep::Remove(first, number) => {
            for name in names(*first, *number) {
                assert_eq!(hash.remove(&name).expect("it removes"), model.remove(&name));
            }
        }
        NameStep::Pop(..) => {}
        NameStep::Query(at, x, _) => {
            assert_eq!(hash.get(name(*at)).expect("it reads").as_ref(), model.get(&name(*at)));
            let mut hash = hash.snapshot().expect("a hash");
            let (mut all, mut after) = (Vec::new(), None::<Bytes>);
            loop {
                let page = hash.page(after.as_deref(), x.unsigned_abs() as usize + 1).expect("it reads");
                after = page.last().map(|(name, _)| name.clone());
                all.extend(page);
                if after.is_none() {
                    break;
                }
            }
            all.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            assert!(all.iter().map(|(name, value)| (name, value)).eq(model.iter()), "every field once");
        }
    }
    assert_eq!(hash.len().expect("it reads"), model.len() as u64);
}

/// In order of (score, name).
fn sorted(model: &BTreeMap<Bytes, i32>) -> Vec<(Bytes, f64)> {
    let mut all: Vec<_> = model.iter().map(|(name, score)| (*score, name.clone())).collect();
    all.sort_unstable();
    all.into_iter().map(|(score, name)| (name, f64::from(score) / 4.0)).collect()
}

fn run_zset(db: &Db, model: &mut BTreeMap<Bytes, i32>, step: &NameStep) {
    let zset = db.zset("zset");
    match step {
        NameStep::Insert(first, number, score) => {
            for (place, name) in names(*first, *number).enumerate() {
                // Few scores, so that many members share one.
                let score = i32::from(*score) + place as i32 % 3;
                let added = zset.insert(name.clone(), f64::from(score) / 4.0).expect("it adds");
                let expected = match model.insert(name, score) {
                    None => Added::New,
                    Some(before) if before == score => Added::Same,
                    Some(_) => Added::Moved,
                };
                assert_eq!(added, expected);
            }
        }
        NameStep::Remove(first, number) => {
            for name in names(*first, *number) {
                let expected = model.remove(&name).map(|score| f64::from(score) / 4.0);
                assert_eq!(zset.remove(&name).expect("it removes"), expected);
            }
        }
        NameStep::Pop(number, last) => {
            let popped = zset.update(|zset| zset.pop(u64::from(*number), *last)).expect("it pops");
            let mut all = sorted(model);
            if *last {
                all.reverse();
            }
            all.truncate(usize::from(*number));
            model.retain(|name, _| !all.iter().any(|(gone, _)| gone == name));
            assert_eq!(popped, all);
        }
        NameStep::Query(at, x, y) => {
            let all = sorted(model);
            let mut zset = zset.snapshot().expect("a sorted set");
            let (x, y) = (*x, *y);
            let kept = clamp(i64::from(x), i64::from(y), all.len());
            assert_eq!(zset.range(i64::from(x), i64::from(y)).expect("it reads"), &all[kept]);
            let rank = all.iter().position(|(member, _)| *member == name(*at)).map(|rank| rank as u64);
            assert_eq!(zset.rank(name(*at)).expect("it reads"), rank);
            let (low, high) = (f64::from(x.min(y)) / 4.0, f64::from(x.max(y)) / 4.0);
            let bounds = |excluded| {
                if excluded {
                    (Bound::Excluded(low), Bound::Excluded(high))
                } else {
                    (Bound::Included(low), Bound::Included(high))
                }
            };
            for excluded in [false, true] {
                let (min, max) = bounds(excluded);
                let inside: Vec<_> =
                    all.iter().filter(|(_, score)| (min, max).contains(score)).cloned().collect();
                assert_eq!(zset.count_by_score(min, max).expect("it reads"), inside.len() as u64);
                let which = ZRange { reverse: excluded, skip: 2, limit: Some(30) };
                let found = zset.range_by_score(min, max, &which).expect("it reads");
                let mut expected = inside.clone();
                if excluded {
                    expected.reverse();
                }
                assert_eq!(found, expected.into_iter().skip(2).take(30).collect::<Vec<_>>());
            }
            let mut paged = zset.page(None, usize::MAX).expect("it reads");
            paged.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            let by_name: Vec<_> =
                model.iter().map(|(name, score)| (name.clone(), f64::from(*score) / 4.0)).collect();
            assert_eq!(paged, by_name);
        }
    }
    assert_eq!(zset.len().expect("it reads"), model.len() as u64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn lists_are_deques(steps in prop::collection::vec((list_step(), 0..12u8), 1..60)) {
        let (mut model, mut number) = (VecDeque::new(), 0);
        run(&steps, |db, step| run_list(db, &mut model, step, &mut number));
    }

    #[test]
    fn sets_are_sets(steps in prop::collection::vec((name_step(), 0..12u8), 1..40)) {
        let mut model = BTreeSet::new();
        run(&steps, |db, step| run_set(db, &mut model, step));
    }

    #[test]
    fn hashes_are_maps(steps in prop::collection::vec((name_step(), 0..12u8), 1..40)) {
        let mut model = BTreeMap::new();
        run(&steps, |db, step| run_hash(db, &mut model, step));
    }

    #[test]
    fn sorted_sets_are_sorted(steps in prop::collection::vec((name_step(), 0..12u8), 1..40)) {
        let mut model = BTreeMap::new();
        run(&steps, |db, step| run_zset(db, &mut model, step));
    }
}

/// A thousand inserts between the same two neighbours, and elsewhere a gap that is used up from both sides.
#[test]
fn the_middle_of_a_list_never_gets_too_narrow() -> Result<(), Error> {
    let db = Db::memory()?;
    let mut model: Vec<Value> = (0..300_i64).map(Value::from).collect();
    db.list("list").update(|list| list.extend(model.clone(), false))?;
    for number in 0..1_000_i64 {
        let pivot = Value::from(150_i64);
        let (after, value) = (number % 3 == 0, Value::from(1_000 + number));
        db.list("list").update(|list| list.insert_at(after, value.clone(), |found| *found == pivot))?;
        let at = model.iter().position(|found| *found == pivot).unwrap_or_default();
        model.insert(at + usize::from(after), value);
    }
    assert_eq!(db.list("list").range(0, -1)?, model);
    assert_eq!(elements(&db), model.len() as u64);
    Ok(())
}

#[test]
fn a_key_of_another_type_is_refused() -> Result<(), Error> {
    let db = Db::memory()?;
    db.put("text", "value")?;
    db.list("list").push_back("value")?;
    for refused in [db.list("text").push_back("x").err(), db.hash("list").set("x", "y").err()] {
        let is_wrong_type = matches!(refused, Some(Error::Collection(CollectionError::WrongType { .. })));
        assert!(is_wrong_type, "{refused:?}");
    }
    let nested = db.list("list").push_back(Value::new(ValueType::List, vec![0]));
    assert!(matches!(nested, Err(Error::Collection(CollectionError::Nested(ValueType::List)))));
    assert_eq!(db.list("list").len()?, 1);
    Ok(())
}

/// Renaming moves the header alone; replacing, deleting, expiring and deleting by range leave orphans that are erased.
#[test]
fn elements_live_as_long_as_their_header() -> Result<(), Error> {
    let db = Db::memory()?;
    let fill = |key: &str| db.set(key).update(|set| set.extend(names(0, 300)));
    let key = |name: &str| Db::key(name);
    fill("renamed")?;
    let header = db.get("renamed")?.expect("it is there").value;
    db.transact(|tx| {
        tx.delete("renamed")?;
        tx.put("a new name", header.clone())
    })?;
    erase(&db);
    assert_eq!(db.set("a new name").members()?.len(), 300);
    // Two headers change places.
    fill("z")?;
    let other = db.get("z")?.expect("it is there").value;
    db.transact(|tx| {
        tx.put("z", header.clone())?;
        tx.put("a new name", other.clone())
    })?;
    erase(&db);
    assert_eq!(elements(&db), 600);
    // A copy has elements of its own.
    db.transact(|tx| {
        tx.copy_in((SpaceId::DEFAULT, &key("z")?), (SpaceId::DEFAULT, key("copy")?), None)?;
        tx.delete("z")
    })?;
    erase(&db);
    assert_eq!(db.set("copy").members()?.len(), 300);
    assert_eq!(elements(&db), 600);
    db.put("copy", "replaced")?;
    db.transact(|tx| {
        tx.delete_range_in(SpaceId::DEFAULT, KeyRange::all());
        Ok(())
    })?;
    erase(&db);
    assert_eq!(elements(&db), 0);
    // Written and deleted by one commit.
    db.transact(|tx| {
        tx.set("short")?.extend(names(0, 300))?;
        tx.delete("short")
    })?;
    erase(&db);
    // An expired one that is written anew before it is swept, and one that is swept.
    for name in ["again", "swept"] {
        fill(name)?;
        let value = db.get(name)?.expect("it is there").value;
        let expiry = Expiry::After(DurationMs(0));
        db.transact(|tx| tx.put_expiring(name, value.clone(), expiry))?;
    }
    db.set("again").insert("one")?;
    while db.engine().sweep_expired(100).is_some() {}
    erase(&db);
    assert_eq!(db.set("again").members()?, ["one"]);
    assert_eq!(elements(&db), 0);
    let orphans = db.snapshot().scan_in(SpaceId::ORPHANS, KeyRange::all(), ScanOptions::default());
    assert_eq!(orphans.count(), 0);
    Ok(())
}

/// Element changes keep the expiry and move the versionstamp of the key.
#[test]
fn the_header_speaks_for_its_elements() -> Result<(), Error> {
    let db = Db::memory()?;
    for number in [1_u16, 300] {
        db.transact(|tx| {
            tx.hash("hash")?.extend(names(0, number).map(|name| (name, Value::from(1_i64))))?;
            let value = tx.get("hash")?.expect("just written");
            tx.put_expiring("hash", value, Expiry::After(DurationMs(1_000_000)))
        })?;
        let before = db.get("hash")?.expect("it is there");
        let (value, pending) = db.exclusive(|tx| {
            let mut hash = tx.hash("hash")?;
            hash.set("name 1", 2_i64)?;
            hash.get("name 1")
        })?;
        pending.wait()?;
        assert_eq!(value, Some(Value::from(2_i64)));
        let after = db.get("hash")?.expect("it is there");
        assert!(after.versionstamp > before.versionstamp);
        assert_eq!(after.expires_at, before.expires_at);
        assert!(after.expires_at.is_some());
    }
    Ok(())
}

#[test]
fn collections_are_json() -> Result<(), Error> {
    let db = Db::memory()?;
    db.list("list").update(|list| list.extend(["a".into(), Value::from(2_i64), vec![0xff].into()], false))?;
    db.hash("hash").update(|hash| {
        hash.set("name", "Ada")?;
        hash.set(vec![0xff], "?")
    })?;
    db.zset("zset").update(|zset| zset.extend([("a".into(), 1.0), ("b".into(), f64::INFINITY)]))?;
    db.set("set").update(|set| set.extend(["a".into(), "b".into()]))?;
    let render = |value: &Value| match value.as_int() {
        Some(int) => int.into(),
        None => String::from_utf8_lossy(&value.data).into(),
    };
    let snapshot = db.snapshot();
    let json = |name: &str| -> Result<String, Error> {
        let entry = snapshot.get(name)?.expect("it is there");
        Ok(to_json(snapshot.clone(), SpaceId::DEFAULT, &entry, JsonLimits::default(), render)?.to_string())
    };
    assert_eq!(json("list")?, "[\"a\",2,\"\u{fffd}\"]");
    assert_eq!(json("hash")?, r#"{"$bytes:/w==":"?","name":"Ada"}"#);
    assert_eq!(json("zset")?, r#"[["a",1],["b","inf"]]"#);
    assert_eq!(json("set")?, r#"["a","b"]"#);
    let entry = snapshot.get("list")?.expect("it is there");
    let limits = JsonLimits { elements_max: 2, ..JsonLimits::default() };
    assert!(to_json(snapshot.clone(), SpaceId::DEFAULT, &entry, limits, render).is_err(), "over the limit");
    Ok(())
}
