//! Fields and members that expire, against a map, with time moved by hand, across checkpoints and restarts.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use bytes::Bytes;
use orchard_env::{Clock, Env, ManualClock, RealDisk, SystemRandom};
use orcharddb::collection::{Added, ZPage};
use orcharddb::{
    Db, Durability, DurationMs, Error, Expired, Expiry, IntoKey, Key, KeyRange, Options, ScanOptions,
    Snapshot, SpaceId, Transaction, UnixMillis, Value, WatchTarget,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;
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

/// What the map stands for. The values of a set's members are all 0.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Hash,
    Set,
    ZSet,
}

/// An element of any kind.
type One = (Bytes, (i64, Option<UnixMillis>));

impl Kind {
    fn value(self, value: u8) -> i64 {
        if self == Kind::Set { 0 } else { i64::from(value) }
    }

    fn extend(self, tx: &mut Transaction<'_>, key: Key, all: Vec<(Bytes, i64)>) -> Result<u64, Error> {
        let space = SpaceId::DEFAULT;
        match self {
            Kind::Hash => tx.hash_in(space, key)?.extend(all.into_iter().map(|(name, n)| (name, n.into()))),
            Kind::Set => tx.set_in(space, key)?.extend(all.into_iter().map(|(name, _)| name)),
            Kind::ZSet => tx.zset_in(space, key)?.extend(all.into_iter().map(|(name, n)| (name, n as f64))),
        }
    }

    fn set(self, tx: &mut Transaction<'_>, key: &Key, one: (Bytes, i64), how: Expiry) -> Result<bool, Error> {
        let (space, key, (name, n)) = (SpaceId::DEFAULT, key.clone(), one);
        match self {
            Kind::Hash => tx.hash_in(space, key)?.set_expiring(name, n, how),
            Kind::Set => tx.set_in(space, key)?.insert_expiring(name, how),
            Kind::ZSet => Ok(tx.zset_in(space, key)?.insert_expiring(name, n as f64, how)? == Added::New),
        }
    }

    fn expire(self, tx: &mut Transaction<'_>, key: &Key, name: Bytes, how: Expiry) -> Result<bool, Error> {
        let (space, key) = (SpaceId::DEFAULT, key.clone());
        match self {
            Kind::Hash => tx.hash_in(space, key)?.expire(name, how),
            Kind::Set => tx.set_in(space, key)?.expire(name, how),
            Kind::ZSet => tx.zset_in(space, key)?.expire(name, how),
        }
    }

    fn remove(self, tx: &mut Transaction<'_>, key: &Key, name: &Bytes) -> Result<Option<i64>, Error> {
        let (space, key) = (SpaceId::DEFAULT, key.clone());
        Ok(match self {
            Kind::Hash => tx.hash_in(space, key)?.remove(name)?.map(int),
            Kind::Set => tx.set_in(space, key)?.remove(name)?.then_some(0),
            Kind::ZSet => tx.zset_in(space, key)?.remove(name)?.map(|score| score as i64),
        })
    }

    /// At most so many elements behind one.
    fn page(self, view: &Snapshot, key: &str, after: Option<&[u8]>, limit: usize) -> Result<Vec<One>, Error> {
        Ok(match self {
            Kind::Hash => {
                let page = view.hash(key)?.page_expiring(after, limit)?.into_iter();
                page.map(|field| (field.name, (int(field.value), field.expires_at))).collect()
            }
            Kind::Set => {
                let page = view.set(key)?.page_expiring(after, limit)?.into_iter();
                page.map(|member| (member.name, (0, member.expires_at))).collect()
            }
            Kind::ZSet => {
                let mut zset = view.zset(key)?;
                let names = zset.page(after, limit)?.into_iter().map(|(name, _)| name);
                let members = names.filter_map(|name| zset.get_expiring(name).transpose());
                let members = members.collect::<Result<Vec<_>, _>>()?.into_iter();
                members.map(|found| (found.name, (found.score as i64, found.expires_at))).collect()
            }
        })
    }

    fn get(
        self,
        view: &Snapshot,
        key: &str,
        name: &[u8],
    ) -> Result<Option<(i64, Option<UnixMillis>)>, Error> {
        Ok(match self {
            Kind::Hash => view.hash(key)?.get_expiring(name)?.map(|(value, at)| (int(value), at)),
            Kind::Set => view.set(key)?.get_expiring(name)?.map(|member| (0, member.expires_at)),
            Kind::ZSet => {
                let found = view.zset(key)?.get_expiring(name)?;
                found.map(|member| (member.score as i64, member.expires_at))
            }
        })
    }

    /// Length, whether there are none, whether it is one value, and a random element.
    fn look(self, view: &Snapshot, key: &str) -> Result<(u64, bool, bool, Option<Bytes>), Error> {
        let below = |below| below / 2;
        Ok(match self {
            Kind::Hash => {
                let mut hash = view.hash(key)?;
                let chosen = hash.random(below)?.map(|(name, _)| name);
                (hash.len()?, hash.is_empty()?, hash.is_packed(), chosen)
            }
            Kind::Set => {
                let mut set = view.set(key)?;
                let chosen = set.random(below)?;
                (set.len()?, set.is_empty()?, set.is_packed(), chosen)
            }
            Kind::ZSet => {
                let mut zset = view.zset(key)?;
                let chosen = zset.random(below)?.map(|(name, _)| name);
                (zset.len()?, zset.is_empty()?, zset.is_packed(), chosen)
            }
        })
    }

    /// Entries that each element which stays is.
    fn entries(self) -> usize {
        if self == Kind::ZSet { 2 } else { 1 }
    }
}

fn int(value: Value) -> i64 {
    (0..256).find(|n| Value::from(*n) == value).expect("a number")
}

/// What a sorted set shows in the order of its scores.
fn check_order(
    view: &Snapshot,
    key: &str,
    model: &BTreeMap<Bytes, (i64, Option<UnixMillis>)>,
) -> Result<(), Error> {
    let mut zset = view.zset(key)?;
    let mut expected: Vec<_> = model.iter().map(|(name, (score, at))| (*score, name.clone(), *at)).collect();
    expected.sort();
    let found = zset.range_expiring(0, -1)?.into_iter();
    let found: Vec<_> = found.map(|one| (one.score as i64, one.name, one.expires_at)).collect();
    assert_eq!(found, expected);
    let most = Bound::Excluded(100.0);
    let below = expected.iter().filter(|(score, ..)| *score < 100).count();
    assert_eq!(zset.count_by_score(Bound::Unbounded, most)?, below as u64);
    let page = ZPage { min: Bound::Unbounded, max: most, reverse: true, after: None, limit: 3 };
    let page: Vec<_> = zset.page_by_score(&page)?.into_iter().map(|one| one.name).collect();
    let last = expected[..below].iter().rev().take(4).map(|(_, name, _)| name);
    assert!(page.iter().eq(last), "{page:?}");
    for number in 0..5 {
        let rank = expected.iter().position(|(_, one, _)| *one == name(number));
        assert_eq!(zset.rank(name(number))?, rank.map(|rank| rank as u64));
    }
    Ok(())
}

#[derive(Default, Clone)]
struct Model(BTreeMap<Bytes, (i64, Option<UnixMillis>)>);

impl Model {
    fn at(&mut self, now: UnixMillis) -> &mut BTreeMap<Bytes, (i64, Option<UnixMillis>)> {
        self.0.retain(|_, (_, at)| at.is_none_or(|at| at > now));
        &mut self.0
    }
}

fn expiry(ttl: Option<u64>, otherwise: Expiry) -> Expiry {
    ttl.map_or(otherwise, |ttl| Expiry::After(DurationMs(ttl)))
}

const NAMES: [&str; 2] = ["hash", "moved"];

fn run(
    kind: Kind,
    db: &Db,
    clock: &ManualClock,
    model: &mut Model,
    at: &mut usize,
    step: &Step,
) -> Result<(), Error> {
    let key = NAMES[*at].into_key()?;
    let fields = |first: u8, number: u8| (0..number).map(move |add| name(first.wrapping_add(add)));
    let (_, pending) = db.exclusive(|tx| {
        let now = tx.now();
        let mut changed = model.clone();
        let changes = changed.at(now);
        match step.clone() {
            Step::Set(first, number, value) => {
                let value = kind.value(value);
                let new = fields(first, number).filter(|name| !changes.contains_key(name)).count();
                let all = fields(first, number).map(|name| (name, value)).collect();
                assert_eq!(kind.extend(tx, key.clone(), all)?, new as u64);
                changes.extend(fields(first, number).map(|name| (name, (value, None))));
            }
            Step::SetExpiring(first, number, value, ttl) => {
                let value = kind.value(value);
                for name in fields(first, number) {
                    let before = changes.get(&name).copied();
                    let is_new = kind.set(tx, &key, (name.clone(), value), expiry(ttl, Expiry::Keep))?;
                    assert_eq!(is_new, before.is_none());
                    let kept = before.and_then(|(_, at)| at);
                    let at = ttl.map_or(kept, |ttl| Some(UnixMillis(now.0 + ttl)));
                    changes.insert(name, (value, at));
                }
            }
            Step::Expire(first, number, ttl) => {
                for name in fields(first, number) {
                    let is_there = kind.expire(tx, &key, name.clone(), expiry(ttl, Expiry::Never))?;
                    assert_eq!(is_there, changes.contains_key(&name));
                    if let Some((_, at)) = changes.get_mut(&name) {
                        *at = ttl.map(|ttl| UnixMillis(now.0 + ttl));
                    }
                    changes.retain(|_, (_, at)| at.is_none_or(|at| at > now));
                }
            }
            Step::Remove(first, number) => {
                for name in fields(first, number) {
                    assert_eq!(kind.remove(tx, &key, &name)?, changes.remove(&name).map(|(value, _)| value));
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
    let (length, is_empty, is_packed, chosen) = kind.look(&snapshot, NAMES[*at])?;
    assert_eq!(length, model.len() as u64);
    assert_eq!(is_empty, model.is_empty());
    let (mut all, mut after) = (BTreeMap::new(), None::<Bytes>);
    loop {
        let elements = kind.page(&snapshot, NAMES[*at], after.as_deref(), page)?;
        assert!(elements.len() <= page || is_packed);
        after = elements.last().map(|(name, _)| name.clone());
        for (name, value) in elements {
            assert!(all.insert(name, value).is_none(), "each once");
        }
        if after.is_none() {
            break;
        }
    }
    assert_eq!(&all, model);
    for number in 0..20 {
        assert_eq!(kind.get(&snapshot, NAMES[*at], &name(number))?, model.get(&name(number)).copied());
    }
    assert_eq!(chosen.is_none(), model.is_empty());
    assert!(chosen.is_none_or(|name| model.contains_key(&name)));
    if kind == Kind::ZSet {
        check_order(&snapshot, NAMES[*at], model)?;
    }
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
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn elements_expire_as_those_of_a_map(
        kind in prop_oneof![Just(Kind::Hash), Just(Kind::Set), Just(Kind::ZSet)],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = clock();
        let mut db = open(dir.path(), &clock);
        let (mut model, mut at) = (Model::default(), 0);
        for step in &steps {
            if matches!(step, Step::Reopen) {
                drop(db);
                db = open(dir.path(), &clock);
            }
            run(kind, &db, &clock, &mut model, &mut at, step).expect("it works");
        }
        // When all that expires has, what is left is what stays, and nobody waits for anything.
        clock.advance_ms(10_000);
        let stays = model.at(clock.now()).len();
        until(&db, |db| count(db, SpaceId::ALARMS) == 0);
        while db.engine().erase_orphans(7).is_some() {}
        let (_, _, is_packed, _) = kind.look(&db.snapshot(), NAMES[at]).expect("a collection");
        let entries = if is_packed { 0 } else { stays * kind.entries() };
        prop_assert_eq!(count(&db, SpaceId::ELEMENTS), entries);
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
