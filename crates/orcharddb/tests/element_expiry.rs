//! Fields that expire, against a map, with time moved by hand, across checkpoints and restarts.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use orchard_env::{Clock, Env, ManualClock, RealDisk, SystemRandom};
use orcharddb::{
    Db, Durability, DurationMs, Error, Expired, Expiry, IntoKey, KeyRange, Options, ScanOptions, SpaceId,
    UnixMillis, Value, WatchTarget,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

fn open(path: &Path, clock: &Arc<ManualClock>) -> Db {
    let disk = Arc::new(RealDisk::open(path).expect("a directory"));
    let env = Env { disk, clock: clock.clone(), random: Arc::new(SystemRandom) };
    Options { durability: Durability::None, ..Options::default() }.open_env(env).expect("it opens")
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(UnixMillis(1_000_000)))
}

/// Every tenth name is too long to be a key as it is.
fn name(number: u8) -> Bytes {
    let rest = if number.is_multiple_of(10) { "x".repeat(2_100) } else { String::new() };
    Bytes::from(format!("{number}{rest}"))
}

#[derive(Clone, Debug)]
enum Step {
    Set(u8, u8, u8),
    SetExpiring(u8, u8, u8, Option<u64>),
    Expire(u8, u8, Option<u64>),
    Remove(u8, u8),
    Rename,
    Copy,
    Advance(u64),
    Query(usize),
    Checkpoint,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let many = || prop_oneof![3 => 1..4u8, 1 => 1..150u8];
    let ttl = || prop_oneof![1..40u64, 1..4_000u64];
    prop_oneof![
        3 => (any::<u8>(), many(), any::<u8>()).prop_map(|(first, number, value)| Step::Set(first, number, value)),
        3 => (any::<u8>(), many(), any::<u8>(), prop::option::of(ttl()))
            .prop_map(|(first, number, value, ttl)| Step::SetExpiring(first, number, value, ttl)),
        3 => (any::<u8>(), many(), prop::option::weighted(0.8, prop_oneof![4 => ttl(), 1 => Just(0)]))
            .prop_map(|(first, number, ttl)| Step::Expire(first, number, ttl)),
        2 => (any::<u8>(), many()).prop_map(|(first, number)| Step::Remove(first, number)),
        1 => Just(Step::Rename),
        1 => Just(Step::Copy),
        4 => ttl().prop_map(Step::Advance),
        4 => (1..300usize).prop_map(Step::Query),
        1 => Just(Step::Checkpoint),
        1 => Just(Step::Reopen),
    ]
}

#[derive(Default, Clone)]
struct Model(BTreeMap<Bytes, (Value, Option<UnixMillis>)>);

impl Model {
    fn at(&mut self, now: UnixMillis) -> &mut BTreeMap<Bytes, (Value, Option<UnixMillis>)> {
        self.0.retain(|_, (_, at)| at.is_none_or(|at| at > now));
        &mut self.0
    }
}

fn expiry(ttl: Option<u64>, otherwise: Expiry) -> Expiry {
    ttl.map_or(otherwise, |ttl| Expiry::After(DurationMs(ttl)))
}

const NAMES: [&str; 2] = ["hash", "moved"];

fn run(db: &Db, clock: &ManualClock, model: &mut Model, at: &mut usize, step: &Step) -> Result<(), Error> {
    let key = NAMES[*at].into_key()?;
    let fields = |first: u8, number: u8| (0..number).map(move |add| name(first.wrapping_add(add)));
    let (_, pending) = db.exclusive(|tx| {
        let now = tx.now();
        let mut changed = model.clone();
        let changes = changed.at(now);
        match step.clone() {
            Step::Set(first, number, value) => {
                let value = Value::from(i64::from(value));
                let new = fields(first, number).filter(|name| !changes.contains_key(name)).count();
                let mut hash = tx.hash_in(SpaceId::DEFAULT, key.clone())?;
                let added = hash.extend(fields(first, number).map(|name| (name, value.clone())))?;
                assert_eq!(added, new as u64);
                changes.extend(fields(first, number).map(|name| (name, (value.clone(), None))));
            }
            Step::SetExpiring(first, number, value, ttl) => {
                let value = Value::from(i64::from(value));
                let mut hash = tx.hash_in(SpaceId::DEFAULT, key.clone())?;
                for name in fields(first, number) {
                    let before = changes.get(&name).cloned();
                    let is_new = hash.set_expiring(name.clone(), value.clone(), expiry(ttl, Expiry::Keep))?;
                    assert_eq!(is_new, before.is_none());
                    let kept = before.and_then(|(_, at)| at);
                    let at = ttl.map_or(kept, |ttl| Some(UnixMillis(now.0 + ttl)));
                    changes.insert(name, (value.clone(), at));
                }
            }
            Step::Expire(first, number, ttl) => {
                let mut hash = tx.hash_in(SpaceId::DEFAULT, key.clone())?;
                for name in fields(first, number) {
                    let is_there = hash.expire(name.clone(), expiry(ttl, Expiry::Never))?;
                    assert_eq!(is_there, changes.contains_key(&name));
                    if let Some((_, at)) = changes.get_mut(&name) {
                        *at = ttl.map(|ttl| UnixMillis(now.0 + ttl));
                    }
                    changes.retain(|_, (_, at)| at.is_none_or(|at| at > now));
                }
            }
            Step::Remove(first, number) => {
                let mut hash = tx.hash_in(SpaceId::DEFAULT, key.clone())?;
                for name in fields(first, number) {
                    assert_eq!(hash.remove(&name)?, changes.remove(&name).map(|(value, _)| value));
                }
            }
            Step::Rename | Step::Copy => {
                let other = NAMES[1 - *at].into_key()?;
                if matches!(step, Step::Copy) {
                    tx.copy_in((SpaceId::DEFAULT, &key), (SpaceId::DEFAULT, other), None)?;
                    tx.delete_in(SpaceId::DEFAULT, key.clone());
                } else {
                    tx.move_in((SpaceId::DEFAULT, key.clone()), (SpaceId::DEFAULT, other))?;
                }
            }
            Step::Advance(_) | Step::Query(_) | Step::Checkpoint | Step::Reopen => {}
        }
        if !tx.is_read_only() {
            // Others read at an earlier time until something is written.
            *model = changed;
        }
        Ok::<_, Error>(())
    })?;
    pending.wait()?;
    match step {
        Step::Rename | Step::Copy => *at = 1 - *at,
        Step::Advance(ms) => clock.advance_ms(*ms),
        Step::Checkpoint => drop(db.checkpoint()),
        _ => {}
    }
    let page = if let Step::Query(page) = step { *page } else { 50 };
    let snapshot = db.snapshot();
    let mut model = model.clone();
    let model = model.at(snapshot.time());
    let mut hash = snapshot.hash(NAMES[*at])?;
    assert_eq!(hash.len()?, model.len() as u64);
    assert_eq!(hash.is_empty()?, model.is_empty());
    let (mut all, mut after) = (BTreeMap::new(), None::<Bytes>);
    loop {
        let fields = hash.page(after.as_deref(), page)?;
        assert!(fields.len() <= page || hash.is_packed());
        after = fields.last().map(|(name, _)| name.clone());
        for (name, value) in fields {
            assert!(all.insert(name, value).is_none(), "each once");
        }
        if after.is_none() {
            break;
        }
    }
    assert!(all.iter().eq(model.iter().map(|(name, (value, _))| (name, value))));
    for number in 0..20 {
        assert_eq!(hash.get_expiring(name(number))?, model.get(&name(number)).cloned());
    }
    let chosen = hash.random(|below| below / 2)?;
    assert_eq!(chosen.is_none(), model.is_empty());
    assert!(chosen.is_none_or(|(name, _)| model.contains_key(&name)));
    Ok(())
}

fn count(db: &Db, space: SpaceId) -> usize {
    db.snapshot().scan_in(space, KeyRange::all(), ScanOptions::default()).count()
}

/// Waits until the background has done it.
fn until(db: &Db, what: impl Fn(&Db) -> bool) {
    let spaces = [SpaceId::DEFAULT, SpaceId::ALARMS];
    let targets = spaces.map(|space| WatchTarget { space, range: KeyRange::all() });
    let mut watcher = db.watch(targets.to_vec());
    while !what(db) {
        watcher.wait_for(Duration::from_secs(60)).expect("it happens");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn fields_expire_as_those_of_a_map(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = clock();
        let mut db = open(dir.path(), &clock);
        let (mut model, mut at) = (Model::default(), 0);
        for step in &steps {
            if matches!(step, Step::Reopen) {
                drop(db);
                db = open(dir.path(), &clock);
            }
            run(&db, &clock, &mut model, &mut at, step).expect("it works");
        }
        // When all that expires has, what is left is what stays, and nobody waits for anything.
        clock.advance_ms(10_000);
        let stays = model.at(clock.now()).len();
        until(&db, |db| count(db, SpaceId::ALARMS) == 0);
        while db.engine().erase_orphans(7).is_some() {}
        let hash = db.hash(NAMES[at]).snapshot().expect("a hash");
        prop_assert_eq!(count(&db, SpaceId::ELEMENTS), if hash.is_packed() { 0 } else { stays });
        prop_assert_eq!(db.get(NAMES[at]).expect("it reads").is_none(), stays == 0);
    }
}

#[test]
fn the_listener_is_told_once_of_each() -> Result<(), Error> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = clock();
    let db = open(dir.path(), &clock);
    let (tell, told) = mpsc::channel();
    db.on_expiry(move |expired, _| drop(tell.send(expired.to_vec())));
    db.put_expiring("entry", 1_i64, Expiry::After(DurationMs(5)))?;
    for (name, ttls) in [("some", [Some(5), None]), ("all", [Some(3), Some(7)])] {
        db.hash(name).update(|hash| {
            for (number, ttl) in ttls.into_iter().enumerate() {
                hash.set_expiring(number.to_string(), 1_i64, expiry(ttl, Expiry::Never))?;
            }
            Ok(())
        })?;
    }
    clock.advance_ms(100);
    let mut all: Vec<Expired> = Vec::new();
    while all.len() < 3 {
        all.extend(told.recv_timeout(Duration::from_secs(60)).expect("it is told"));
    }
    let mut all: Vec<_> = all.into_iter().map(|one| (one.key, one.is_whole, one.is_gone)).collect();
    all.sort();
    let mut expected = vec![
        ("entry".into_key()?, true, true),
        ("some".into_key()?, false, false),
        ("all".into_key()?, false, true),
    ];
    expected.sort();
    assert_eq!(all, expected);
    until(&db, |db| db.iter().count() == 1);
    Ok(())
}

/// More fields than one commit takes away, and a feed that shows the key change.
#[test]
fn many_fields_of_one_moment_go() -> Result<(), Error> {
    let clock = clock();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = open(dir.path(), &clock);
    db.hash("many").update(|hash| {
        hash.set("stays", 1_i64)?;
        for number in 0..2_000 {
            hash.set_expiring(number.to_string(), 1_i64, Expiry::After(DurationMs(50)))?;
        }
        Ok(())
    })?;
    let before = db.get("many")?.expect("it is there").versionstamp;
    assert_eq!(db.hash("many").len()?, 2_001);
    clock.advance_ms(60);
    assert_eq!(db.hash("many").len()?, 1, "nobody waits for the background");
    until(&db, |db| count(db, SpaceId::ELEMENTS) == 1);
    assert!(db.get("many")?.expect("it is there").versionstamp > before);
    assert_eq!(count(&db, SpaceId::ALARMS), 0);
    Ok(())
}
