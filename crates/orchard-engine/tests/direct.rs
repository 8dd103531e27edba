//! Commits that are not built first leave what the same commits leave that are: stamps, log, entries, counts, orphans.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "helpers of tests")]

use orchard_engine::changes::Change;
use orchard_engine::commit::Submitted;
use orchard_engine::direct::{Direct, Seen};
use orchard_engine::engine::{Engine, EngineOptions};
use orchard_engine::format::push_flat_key;
use orchard_engine::pipeline::Pipeline;
use orchard_engine::snapshot::SnapshotPin;
use orchard_env::fault::FaultDisk;
use orchard_env::{Env, ManualClock, SeededRandom};
use orchard_types::{
    CollectionId, Commit, DurationMs, Expiry, Key, Mutation, Operation, SpaceId, UnixMillis, Value,
    ValueType, Versionstamp,
};
use proptest::prelude::*;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

const NOW: UnixMillis = UnixMillis(1_700_000_000_000);

/// What one transaction does; one that deletes a range has to be built.
#[derive(Debug, Clone)]
struct Row {
    mutations: Vec<Mutation>,
    is_built: bool,
}

struct Rows<'r> {
    rows: &'r [Row],
    may_be_direct: bool,
    outcomes: Vec<(Versionstamp, Versionstamp)>,
}

impl Pipeline for Rows<'_> {
    fn build(&mut self, number: usize, _: &SnapshotPin, commit: &mut Commit) {
        commit.mutations.extend_from_slice(&self.rows[number].mutations);
    }

    fn direct(&mut self, number: usize, direct: &mut Direct<'_>) -> bool {
        let row = &self.rows[number];
        if !self.may_be_direct || row.is_built {
            return false;
        }
        assert!(direct.begin(row.mutations.len(), 10_000), "there is room");
        for (place, mutation) in row.mutations.iter().enumerate() {
            let is_last = place + 1 == row.mutations.len();
            let mut flat = Vec::new();
            push_flat_key(&mut flat, mutation.space, &mutation.key);
            let key = direct.hashed(&flat);
            match &mutation.operation {
                Operation::Set { value, expiry: Expiry::Keep }
                    if is_last && is_same_header(direct.look(key), value) =>
                {
                    direct.set_behind(key, value.value_type, &value.data);
                }
                Operation::Set { value, expiry } => direct.set(key, value.value_type, &value.data, *expiry),
                _ => direct.delete(key),
            }
        }
        true
    }

    fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
        let placed = submitted.outcome.expect("it commits");
        self.outcomes.push((placed.versionstamp, submitted.depends_on));
        ControlFlow::Continue(())
    }
}

fn is_same_header(seen: Seen<'_>, value: &Value) -> bool {
    let Seen::Here(value_type, data) = seen else { return false };
    let id = CollectionId::of_value(value_type, data);
    id.is_some() && id == CollectionId::of_value(value.value_type, &value.data)
}

/// Everything that can be seen of an engine.
#[derive(Debug, PartialEq)]
struct All {
    outcomes: Vec<(Versionstamp, Versionstamp)>,
    changes: Vec<Change>,
    entries: Entries,
    reopened: Entries,
    counts: (u64, u64),
}

type Entries = Vec<(Vec<u8>, ValueType, Vec<u8>, Versionstamp, Option<UnixMillis>)>;

fn entries(engine: &Engine) -> Entries {
    let mut entries = Vec::new();
    let visited = engine.visit(&engine.snapshot(), Bound::Unbounded, Bound::Unbounded, false, |entry| {
        let key = entry.key.to_vec();
        entries.push((key, entry.value_type, entry.value.to_vec(), entry.versionstamp, entry.expires_at));
        ControlFlow::Continue(())
    });
    visited.expect("it is read");
    entries
}

fn seen(runs: &[Vec<Row>], may_be_direct: bool, in_memory: bool) -> All {
    let disk = FaultDisk::new(1);
    let env = || Env {
        disk: Arc::new(disk.clone()),
        clock: Arc::new(ManualClock::at(NOW)),
        random: Arc::new(SeededRandom::new(1)),
    };
    let open = || match in_memory {
        true => Engine::memory(env(), EngineOptions::default()),
        false => Engine::open(env(), EngineOptions::default()),
    };
    let engine = open().expect("it opens");
    engine.follow_feed();
    let start = engine.visible();
    let mut outcomes = Vec::new();
    for rows in runs {
        let mut run = Rows { rows, may_be_direct, outcomes: Vec::new() };
        engine.submit_pipeline(rows.len(), &mut run);
        outcomes.append(&mut run.outcomes);
        while engine.log_step().expect("it writes") {}
    }
    let changes = engine.changes(start, usize::MAX).expect("the log is whole");
    let entries_now = entries(&engine);
    let stats = engine.stats();
    let counts = (stats.entries, stats.commits);
    drop(engine);
    let reopened = if in_memory { Vec::new() } else { entries(&open().expect("it opens again")) };
    All { outcomes, changes, entries: entries_now, reopened, counts }
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        // Headers of collections, of few ids.
        4 => (0..3_u8, any::<u8>()).prop_map(|(id, count)| {
            let data = [&[1][..], &[id; 10], &[count; 8]].concat();
            Value { value_type: ValueType::Hash, data: data.into() }
        }),
    ]
}

fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        3 => Just(Expiry::Never),
        2 => Just(Expiry::Keep),
        1 => (1..9_u64).prop_map(|ms| Expiry::At(UnixMillis(NOW.0 + ms * 1_000))),
        1 => (1..9_u64).prop_map(|ms| Expiry::After(DurationMs(ms * 1_000))),
    ]
}

fn row() -> impl Strategy<Value = Row> {
    let place = || (prop_oneof![Just(SpaceId::DEFAULT), Just(SpaceId::ELEMENTS)], 0..12_u8);
    let operation = prop_oneof![
        4 => (value(), expiry()).prop_map(|(value, expiry)| Operation::Set { value, expiry }),
        1 => Just(Operation::Delete),
    ];
    let mutation = (place(), operation).prop_map(|((space, key), operation)| Mutation {
        space,
        key: Key::new(vec![key; 3]).expect("short"),
        operation,
    });
    let range = (0..12_u8, 1..12_u8).prop_map(|(from, to)| Mutation {
        space: SpaceId::DEFAULT,
        key: Key::new(vec![from; 3]).expect("short"),
        operation: Operation::DeleteRange { end: Some(vec![to; 3].into()) },
    });
    prop_oneof![
        6 => (prop::collection::vec(mutation, 1..4), prop::bool::weighted(0.2))
            .prop_map(|(mutations, is_built)| Row { mutations, is_built }),
        1 => range.prop_map(|range| Row { mutations: vec![range], is_built: true }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn direct_commits_are_those_that_are_built(
        runs in prop::collection::vec(prop::collection::vec(row(), 1..12), 1..6),
        in_memory in prop::bool::weighted(0.3),
    ) {
        let (direct, built) = (seen(&runs, true, in_memory), seen(&runs, false, in_memory));
        prop_assert_eq!(direct, built);
    }
}

#[test]
fn what_does_not_fit_into_a_group_is_in_the_next() {
    struct Large(Vec<bool>);
    impl Pipeline for Large {
        fn build(&mut self, number: usize, _: &SnapshotPin, commit: &mut Commit) {
            let key = Key::new(format!("{number}")).expect("short");
            *commit = std::mem::take(commit).set(SpaceId::DEFAULT, key, vec![7; 400_000]);
        }

        fn direct(&mut self, number: usize, direct: &mut Direct<'_>) -> bool {
            let has_room = direct.begin(1, 400_010);
            self.0.push(has_room);
            if has_room {
                let mut flat = Vec::new();
                push_flat_key(&mut flat, SpaceId::DEFAULT, format!("{number}").as_bytes());
                direct.set(direct.hashed(&flat), ValueType::Bytes, &[7; 400_000], Expiry::Never);
            }
            has_room
        }

        fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
            submitted.outcome.expect("it commits");
            ControlFlow::Continue(())
        }
    }
    let disk = FaultDisk::new(1);
    let random = Arc::new(SeededRandom::new(1));
    let env = Env { disk: Arc::new(disk), clock: Arc::new(ManualClock::at(NOW)), random };
    let engine = Engine::open(env, EngineOptions::default()).expect("it opens");
    let mut large = Large(Vec::new());
    engine.submit_pipeline(6, &mut large);
    assert_eq!(
        large.0,
        [true, true, false, true, true, false, true, true],
        "two to a group, then the next group"
    );
    engine.drain_log().expect("it writes");
    assert_eq!(entries(&engine).len(), 6);
}
