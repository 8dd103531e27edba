//! Writes that name no expiry get the one of their prefix, on every way into the log.

use orcharddb::{
    Commit, Db, DurationMs, EngineOptions, Error, Expiry, KeyPart, Mutation, NumberOp, Operation, Options,
    SpaceId, Value, default_expiry, limits,
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const SHORT: DurationMs = DurationMs(60_000);
const LONG: DurationMs = DurationMs(3_600_000);

fn db() -> Result<Db, Error> {
    let rules = [("sessions/", SHORT), ("sessions/admin/", LONG), ("tmp:", SHORT), (r#"["log", 1]"#, SHORT)];
    let engine = EngineOptions { default_expiry: default_expiry(&rules)?, ..EngineOptions::default() };
    Ok(Options { engine, ..Options::default() }.memory()?)
}

fn parts(parts: &[&str]) -> Vec<KeyPart> {
    parts.iter().map(|part| KeyPart::String((*part).to_owned())).collect()
}

/// How long an entry lives from its commit on, about.
fn lives(db: &Db, key: impl orcharddb::IntoKey) -> Result<Option<DurationMs>, Error> {
    let entry = db.get(key)?;
    let expires = entry.and_then(|entry| Some(entry.expires_at?.0 - db.time_of(entry.versionstamp).0));
    Ok(expires.map(|ms| if ms > SHORT.0 * 2 { LONG } else { SHORT }))
}

#[test]
fn the_longest_prefix_counts() -> Outcome {
    let db = db()?;
    for (key, lived) in [
        (parts(&["sessions", "ada"]), Some(SHORT)),
        (parts(&["sessions/ada"]), Some(SHORT)),
        (parts(&["sessions", "admin", "ada"]), Some(LONG)),
        (parts(&["sessions/admin/ada"]), Some(LONG)),
        (parts(&["tmp:1"]), Some(SHORT)),
        (parts(&["tmp:1", "x"]), Some(SHORT)),
        (parts(&["sessions"]), None),
        (parts(&["session", "ada"]), None),
        (parts(&["tmp", "x"]), None),
    ] {
        db.put(key.clone(), 1_i64)?;
        assert_eq!(lives(&db, key.clone())?, lived, "{key:?}");
    }
    let log = |number| [KeyPart::String("log".into()), KeyPart::Float(number), KeyPart::True];
    db.put(log(1.0), 1_i64)?;
    db.put(log(2.0), 1_i64)?;
    assert_eq!((lives(&db, log(1.0))?, lives(&db, log(2.0))?), (Some(SHORT), None));
    Ok(())
}

#[test]
fn every_way_into_the_log_knows_the_rules() -> Outcome {
    let db = db()?;
    db.transact(|tx| tx.put("tmp:transact", 1_i64))?;
    let (_, pending) = db.exclusive(|tx| tx.put("tmp:exclusive", 1_i64))?;
    pending.wait()?;
    let number = Operation::Number {
        op: NumberOp::Sum,
        operand: Value::from(1_i64),
        at_least: None,
        at_most: None,
        clamp: false,
        expiry: Expiry::Never,
    };
    db.submit(&Commit::new().mutate(SpaceId::DEFAULT, Db::key("tmp:number")?, number), None).wait()?;
    let plums = db.create_database("plums")?;
    db.commit(&Commit::new().set(plums, Db::key("tmp:plums")?, 1_i64))?;
    for key in ["tmp:transact", "tmp:exclusive", "tmp:number"] {
        assert_eq!(lives(&db, key)?, Some(SHORT), "{key}");
    }
    assert!(db.get_in(plums, &Db::key("tmp:plums")?)?.is_some_and(|entry| entry.expires_at.is_some()));
    Ok(())
}

#[test]
fn keeping_means_the_rules_where_there_is_nothing_to_keep() -> Outcome {
    let db = db()?;
    let number = || Operation::Number {
        op: NumberOp::Sum,
        operand: Value::from(1_i64),
        at_least: None,
        at_most: None,
        clamp: false,
        expiry: Expiry::Keep,
    };
    let sum = |key: &str| {
        db.commit(&Commit::new().mutate(SpaceId::DEFAULT, Db::key(key)?, number())).map_err(Error::from)
    };
    db.put_expiring("tmp:set", "x", Expiry::Keep)?;
    sum("tmp:number")?;
    db.list("tmp:list").push_back("x")?;
    db.transact(|tx| tx.put_expiring("tmp:transact", "x", Expiry::Keep))?;
    for key in ["tmp:set", "tmp:number", "tmp:list", "tmp:transact"] {
        assert_eq!(lives(&db, key)?, Some(SHORT), "{key}");
    }
    // What is there keeps what it has, and be it none.
    db.put_expiring("tmp:long", 1_i64, Expiry::After(LONG))?;
    db.put("tmp:ever", 1_i64)?;
    db.touch("tmp:ever", Expiry::Never)?;
    for key in ["tmp:long", "tmp:ever"] {
        sum(key)?;
    }
    assert_eq!((lives(&db, "tmp:long")?, lives(&db, "tmp:ever")?), (Some(LONG), None));
    // Deleted within the transaction is absent, too.
    db.transact(|tx| {
        tx.delete("tmp:long")?;
        tx.put_expiring("tmp:long", "x", Expiry::Keep)
    })?;
    assert_eq!(lives(&db, "tmp:long")?, Some(SHORT));
    sum("other")?;
    assert_eq!(lives(&db, "other")?, None);
    Ok(())
}

#[test]
fn what_a_write_says_itself_stands() -> Outcome {
    let db = db()?;
    db.put_expiring("tmp:own", 1_i64, Expiry::After(LONG))?;
    assert_eq!(lives(&db, "tmp:own")?, Some(LONG));
    db.put_expiring("tmp:own", 2_i64, Expiry::Keep)?;
    assert_eq!(lives(&db, "tmp:own")?, Some(LONG));
    db.put("tmp:own", 3_i64)?;
    assert_eq!(lives(&db, "tmp:own")?, Some(SHORT));
    db.touch("tmp:own", Expiry::Never)?;
    assert_eq!(lives(&db, "tmp:own")?, None, "a touch can make it stay");
    let mutation = Mutation {
        space: SpaceId::USERS,
        key: Db::key("tmp:system")?,
        operation: Operation::Set { value: Value::null(), expiry: Expiry::Never },
    };
    db.commit(&Commit { mutations: vec![mutation], ..Commit::new() })?;
    let system = db.get_in(SpaceId::USERS, &Db::key("tmp:system")?)?;
    assert!(system.is_some_and(|entry| entry.expires_at.is_none()), "the system's own entries stay");
    Ok(())
}

#[test]
fn rules_that_are_none_are_refused() {
    for rules in [vec![("a", DurationMs(0))], vec![("[1", SHORT)], vec![("[null]", SHORT)]] {
        assert!(matches!(default_expiry(&rules), Err(Error::Key(_))), "{rules:?}");
    }
    let long = "x".repeat(limits::KEY_SIZE_BYTES_MAX + 1);
    assert!(default_expiry(&[(long.as_str(), SHORT)]).is_err());
    assert!(default_expiry(&vec![("a", SHORT); limits::DEFAULT_EXPIRY_RULES_MAX + 1]).is_err());
}
