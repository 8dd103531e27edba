//! Databases by name.

#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use orchard_env::fault::{CrashStyle, FaultDisk, FaultPlan};
use orchard_env::{Env, ManualClock, SeededRandom};
use orcharddb::{Commit, DatabaseError, Db, Error, Options, ScanOptions, SpaceId, UnixMillis, limits};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Barrier};

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn put(db: &Db, space: SpaceId, key: &str, value: i64) -> Result<(), Error> {
    db.commit(&Commit::new().set(space, Db::key(key)?, value))?;
    Ok(())
}

fn get(db: &Db, space: SpaceId, key: &str) -> Result<Option<i64>, Error> {
    Ok(db.get_in(space, &Db::key(key)?)?.and_then(|entry| entry.value.as_int()))
}

#[test]
fn names_are_checked() -> Outcome {
    let db = Db::memory()?;
    let longest = "x".repeat(limits::DATABASE_NAME_SIZE_BYTES_MAX);
    db.create_database(&longest)?;
    for name in ["plums", "1", "a b", "é", "\"quoted\""] {
        db.create_database(name)?;
    }
    let refused = |name: &str| match db.create_database(name) {
        Err(Error::Database(error)) => error,
        other => panic!("{name:?}: {other:?}"),
    };
    assert_eq!(refused(""), DatabaseError::Empty);
    assert_eq!(refused("a\nb"), DatabaseError::ControlCharacter);
    assert_eq!(refused("\u{85}"), DatabaseError::ControlCharacter);
    assert!(matches!(refused(&format!("{longest}x")), DatabaseError::Limit(limit) if limit.actual == 257));
    for error in [db.database("").err(), db.drop_database("").err(), db.swap_databases("a", "").err()] {
        assert!(matches!(error, Some(Error::Database(DatabaseError::Empty))));
    }
    Ok(())
}

#[test]
fn racing_creators_get_the_same_space_and_others_another() -> Outcome {
    const THREADS: usize = 4;
    const NAMES: usize = 50;
    let db = Db::memory()?;
    let barrier = Arc::new(Barrier::new(THREADS));
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (db, barrier) = (db.clone(), barrier.clone());
            std::thread::spawn(move || {
                barrier.wait();
                (0..NAMES).map(|name| db.create_database(&name.to_string())).collect::<Result<Vec<_>, _>>()
            })
        })
        .collect();
    let mut seen = HashSet::new();
    for thread in threads {
        seen.insert(thread.join().expect("no panic")?);
    }
    assert_eq!(seen.len(), 1, "all threads got the same spaces");
    let spaces: HashSet<_> = seen.into_iter().flatten().collect();
    assert_eq!(spaces.len(), NAMES, "no two names share a space");
    assert!(spaces.iter().all(|space| space.is_database()));
    Ok(())
}

#[test]
fn no_database_gets_the_space_of_the_elements() -> Outcome {
    let db = Db::memory()?;
    let spaces: Vec<_> =
        (1..=300).map(|name| db.create_database(&name.to_string())).collect::<Result<_, _>>()?;
    assert!(!spaces.contains(&SpaceId::ELEMENTS));
    assert_eq!(spaces.iter().collect::<HashSet<_>>().len(), 300);
    let far = *spaces.last().ok_or("none")?;
    put(&db, far, "k", 1)?;
    put(&db, SpaceId(far.0 - 1), "k", 2)?;
    assert_eq!(db.snapshot().scan_in(far, orcharddb::KeyRange::all(), ScanOptions::default()).count(), 1);
    Ok(())
}

#[test]
fn a_dropped_database_is_gone_whole_and_its_space_is_never_given_out_again() -> Outcome {
    let dir = tempfile::tempdir()?;
    let plums = {
        let db = Db::open(dir.path())?;
        let plums = db.create_database("plums")?;
        let pears = db.create_database("pears")?;
        for number in 0..100 {
            put(&db, plums, &number.to_string(), number)?;
        }
        put(&db, pears, "k", 1)?;
        put(&db, SpaceId::DEFAULT, "k", 2)?;
        assert!(db.drop_database("plums")?);
        assert!(!db.drop_database("plums")?);
        assert_eq!(db.database("plums")?, None);
        assert_eq!(get(&db, plums, "7")?, None);
        assert_eq!((get(&db, pears, "k")?, get(&db, SpaceId::DEFAULT, "k")?), (Some(1), Some(2)));
        plums
    };
    let db = Db::open(dir.path())?;
    assert_eq!(get(&db, plums, "7")?, None);
    let again = db.create_database("plums")?;
    assert_ne!(again, plums);
    let names: Vec<_> = db.databases()?.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0", "pears", "plums"]);
    Ok(())
}

#[test]
fn what_is_not_acknowledged_yet_counts_for_the_next_creator() -> Outcome {
    let db = Db::memory()?;
    let space = db.database_for_write("plums")?;
    assert_eq!(db.create_database("plums")?, space);
    put(&db, space, "k", 1)?;
    assert_eq!(db.database("plums")?, Some(space));
    Ok(())
}

#[derive(Debug, Clone)]
enum Step {
    Create(usize),
    Put(usize, i64),
    Swap(usize, usize),
    Drop(usize),
    Reopen,
}

const NAMES: [&str; 4] = ["0", "1", "2", "plums"];

fn step() -> impl Strategy<Value = Step> {
    let name = || 0..NAMES.len();
    prop_oneof![
        2 => name().prop_map(Step::Create),
        4 => (name(), 0..1_000_i64).prop_map(|(name, value)| Step::Put(name, value)),
        2 => (name(), name()).prop_map(|(one, other)| Step::Swap(one, other)),
        1 => name().prop_map(Step::Drop),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn names_mean_what_a_table_of_maps_says(steps in prop::collection::vec(step(), 1..40)) {
        let disk = FaultDisk::new(1);
        let mut db = open(&disk).expect("opens");
        // The value of one key in each database.
        let mut model: BTreeMap<&str, Option<i64>> = BTreeMap::from([("0", None)]);
        for step in steps {
            match step {
                Step::Create(name) => {
                    db.create_database(NAMES[name]).expect("creates");
                    model.entry(NAMES[name]).or_default();
                }
                Step::Put(name, value) => {
                    let space = db.create_database(NAMES[name]).expect("creates");
                    put(&db, space, "k", value).expect("puts");
                    model.insert(NAMES[name], Some(value));
                }
                Step::Swap(one, other) => {
                    db.swap_databases(NAMES[one], NAMES[other]).expect("swaps");
                    if one != other {
                        let (a, b) = (model.remove(NAMES[one]), model.remove(NAMES[other]));
                        model.insert(NAMES[one], b.unwrap_or_default());
                        model.insert(NAMES[other], a.unwrap_or_default());
                    }
                }
                Step::Drop(name) => {
                    let was_there = model.remove(NAMES[name]).is_some();
                    assert_eq!(db.drop_database(NAMES[name]).expect("drops"), was_there);
                    model.entry("0").or_default();
                }
                Step::Reopen => {
                    db.close().expect("closes");
                    drop(db);
                    db = open(&disk).expect("opens again");
                }
            }
            let names: Vec<_> = db.databases().expect("lists");
            assert!(names.iter().map(|(name, _)| name.as_str()).eq(model.keys().copied()));
            for (name, space) in names {
                assert_eq!(db.database(&name).expect("reads"), Some(space));
                assert_eq!(get(&db, space, "k").expect("reads"), model[name.as_str()]);
            }
        }
    }
}

fn open(disk: &FaultDisk) -> Result<Db, orcharddb::OpenError> {
    Options::default().open_env(Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(UnixMillis(1_700_000_000_000))),
        random: Arc::new(SeededRandom::new(3)),
    })
}

/// Creates, fills, swaps and drops; tells how many steps were acknowledged.
fn work(db: &Db, acknowledged: &mut usize) -> Result<(), Error> {
    for round in 0..4_i64 {
        let space = db.create_database("plums")?;
        *acknowledged += 1;
        put(db, space, "k", round)?;
        *acknowledged += 1;
        db.swap_databases("plums", "0")?;
        *acknowledged += 1;
        db.drop_database("plums")?;
        *acknowledged += 1;
    }
    Ok(())
}

/// What the databases hold after so many steps of [`work`].
fn expected(steps: usize) -> BTreeMap<String, Option<i64>> {
    let mut state = BTreeMap::from([("0".to_owned(), None)]);
    for step in 0..steps {
        let round = (step / 4) as i64;
        match step % 4 {
            0 => drop(state.entry("plums".to_owned()).or_default()),
            1 => drop(state.insert("plums".to_owned(), Some(round))),
            2 => {
                let (zero, plums) = (state["0"], state["plums"]);
                state.insert("0".to_owned(), plums);
                state.insert("plums".to_owned(), zero);
            }
            _ => drop(state.remove("plums")),
        }
    }
    state
}

#[test]
fn after_a_power_failure_each_change_is_there_whole_or_not_at_all() -> Outcome {
    let changes = {
        let disk = FaultDisk::new(1);
        let db = open(&disk)?;
        work(&db, &mut 0)?;
        disk.changes()
    };
    const STYLES: [CrashStyle; 3] = [CrashStyle::Random, CrashStyle::LoseAll, CrashStyle::KeepAll];
    for crash_at in 1..=changes {
        let disk = FaultDisk::new(crash_at);
        disk.set_plan(FaultPlan { crash_at_change: Some(crash_at), ..FaultPlan::default() });
        let mut acknowledged = 0;
        if let Ok(db) = open(&disk) {
            let _ = work(&db, &mut acknowledged);
        }
        let db = open(&disk.crash(STYLES[crash_at as usize % STYLES.len()]))?;
        let mut state = BTreeMap::new();
        for (name, space) in db.databases()? {
            state.insert(name, get(&db, space, "k")?);
        }
        let fits = [acknowledged, acknowledged + 1].into_iter().any(|steps| state == expected(steps));
        assert!(fits, "call {crash_at}: {acknowledged} acknowledged, found {state:?}");
    }
    Ok(())
}
