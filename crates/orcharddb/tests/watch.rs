//! Watchers and feeds: told of what concerns them, once, in order, and never of what has not happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

use orcharddb::{
    ChangesStream, Commit, Db, Durability, DurationMs, Expiry, FeedCommit, FeedEvent, FeedFilter, FeedStart,
    Key, KeyRange, Mutation, Operation, Options, Pipeline, SpaceId, Submitted, Transaction, Value,
    Versionstamp, WatchTarget,
};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Long enough for any machine; reached only by a test that fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(name: &str) -> Key {
    Db::key(name).expect("a short key")
}

fn raw(bytes: &[u8]) -> Key {
    Key::new(bytes.to_vec()).expect("a short key")
}

fn target(name: &str) -> WatchTarget {
    WatchTarget::key(SpaceId::DEFAULT, &key(name))
}

fn next(feed: &mut ChangesStream) -> FeedEvent {
    feed.next_for(PATIENCE).expect("in time").expect("the feed goes on").expect("a log that can be read")
}

fn next_commit(feed: &mut ChangesStream) -> FeedCommit {
    match next(feed) {
        FeedEvent::Commit(commit) => commit,
        gap => panic!("{gap:?}"),
    }
}

fn numbered(number: u64) -> Key {
    raw(format!("key{:05}", number).as_bytes())
}

fn set_commit(key: Key, value: impl Into<Value>) -> Commit {
    Commit::new().set(SpaceId::DEFAULT, key, value)
}

/// Sets of one key, each a commit of its own.
struct Sets(u64);

impl Pipeline for Sets {
    fn run(&mut self, number: usize, tx: &mut Transaction<'_>) {
        tx.put_in(SpaceId::DEFAULT, key("piped"), i64::try_from(number).unwrap(), Expiry::Never);
    }

    fn done(&mut self, _: usize, submitted: Submitted) -> ControlFlow<()> {
        self.0 += u64::from(submitted.outcome.is_ok());
        ControlFlow::Continue(())
    }
}

/// Pipelines in memory alone spare what only followers read. From the first one on, nothing is left out.
#[test]
fn what_a_pipeline_commits_in_memory_is_told() {
    let db = Db::memory().unwrap();
    let before = db.put("first", 1_i64).unwrap().versionstamp;
    let mut sets = Sets(0);
    db.pipeline(3, &mut sets);
    let here = db.snapshot().versionstamp();
    let mut from_before = db.changes(before, FeedFilter::default());
    assert_eq!(next(&mut from_before), FeedEvent::Gap { restart_at: here }, "a gap, no damage");
    let mut watcher = db.watch(vec![target("piped")]);
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    db.pipeline(3, &mut sets);
    assert_eq!(sets.0, 6);
    // Nothing else is committed that could wake it.
    assert!(watcher.wait_for(PATIENCE).is_some());
    for number in 0..3_i64 {
        for feed in [&mut feed, &mut from_before] {
            let commit = next_commit(feed);
            let set = Operation::Set { value: number.into(), expiry: Expiry::Never };
            assert_eq!(commit.changes.first().map(|change| &change.operation), Some(&set));
        }
    }
    assert_eq!(next_commit(&mut db.changes(here, FeedFilter::default())).changes.len(), 1);
}

#[test]
fn a_watcher_is_told_of_its_targets_alone() {
    let db = Db::memory().unwrap();
    let prefix = WatchTarget { space: SpaceId::DEFAULT, range: KeyRange::prefix(b"ab") };
    let mut keys = db.watch(vec![target("apple"), target("pear")]);
    let mut range = db.watch(vec![prefix, target("pear")]);
    let mut elsewhere = db.watch(vec![WatchTarget::space(SpaceId(7))]);
    db.put("plum", "blue").unwrap();
    let apple = db.put("apple", "red").unwrap().versionstamp;
    assert_eq!(keys.wait(), apple);
    let ab = db.commit(&set_commit(raw(b"abc"), 1)).unwrap().versionstamp;
    assert_eq!(range.wait(), ab);
    let pear = db.put("pear", "green").unwrap().versionstamp;
    assert_eq!((keys.wait(), range.wait()), (pear, pear));
    let all = Operation::DeleteRange { end: None };
    let gone = db.commit(&Commit::new().mutate(SpaceId::DEFAULT, raw(b"abb"), all)).unwrap().versionstamp;
    assert_eq!(range.wait(), gone, "a range that is deleted takes the prefix with it");
    assert_eq!(elsewhere.try_changed(), None);
    let other = db.commit(&Commit::new().set(SpaceId(7), raw(b"x"), 1)).unwrap().versionstamp;
    assert_eq!(elsewhere.wait(), other);
}

#[test]
fn several_changes_are_told_as_one() {
    let db = Db::memory().unwrap();
    let mut watcher = db.watch(vec![target("n")]);
    let mut follower = db.watch(vec![target("n"), target("end")]);
    for n in 0..100 {
        db.put("n", n).unwrap();
    }
    let end = db.put("end", 0).unwrap().versionstamp;
    while follower.wait() < end {}
    let last = watcher.wait();
    assert_eq!(db.get("n").unwrap().unwrap().versionstamp, last);
    assert_eq!(watcher.try_changed(), None);
    assert_eq!(watcher.wait_for(Duration::from_millis(1)), None);
}

#[test]
fn keys_that_end_in_their_versionstamp_are_routed_by_it() {
    let db = Db::memory().unwrap();
    let prefix = raw(b"log");
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let mut watcher =
        db.watch(vec![WatchTarget { space: SpaceId::DEFAULT, range: KeyRange::prefix(b"log\x02") }]);
    let operation = Operation::SetWithVersionstampSuffix { value: 1.into(), expiry: Expiry::Never };
    let stamp = db.commit(&Commit::new().mutate(SpaceId::DEFAULT, prefix, operation)).unwrap().versionstamp;
    assert_eq!(watcher.wait(), stamp);
    let entry = db.iter().next().unwrap().unwrap();
    let shown = next_commit(&mut feed).changes.remove(0);
    assert_eq!(shown.key, entry.key);
    assert!(matches!(shown.operation, Operation::Set { .. }));
}

#[test]
fn a_feed_shows_what_it_was_asked_for_and_no_other_space() {
    let db = Db::memory().unwrap();
    let ranges = vec![KeyRange::prefix(b"a"), KeyRange::prefix(b"ab"), KeyRange::prefix(b"c")];
    let mut some = db.changes(FeedStart::Now, FeedFilter { ranges, ..FeedFilter::default() });
    let mut all = db.changes(FeedStart::Now, FeedFilter::default());
    let commit = Commit::new()
        .set(SpaceId::DEFAULT, raw(b"abc"), 1)
        .set(SpaceId::ELEMENTS, raw(b"abc"), 2)
        .set(SpaceId(5), raw(b"abc"), 3)
        .set(SpaceId::DEFAULT, raw(b"b"), 4)
        .delete(SpaceId::DEFAULT, raw(b"c"));
    let stamp = db.commit(&commit).unwrap().versionstamp;
    db.commit(&Commit::new().set(SpaceId(5), raw(b"a"), 1)).unwrap();
    let end = db.commit(&set_commit(raw(b"cc"), 5)).unwrap().versionstamp;
    let keys = |commit: &FeedCommit| -> Vec<Vec<u8>> {
        commit.changes.iter().map(|change| change.key.to_vec()).collect()
    };
    let first = next_commit(&mut some);
    assert_eq!((first.versionstamp, keys(&first)), (stamp, vec![b"abc".to_vec(), b"c".to_vec()]));
    assert_eq!(next_commit(&mut some).versionstamp, end);
    assert_eq!(keys(&next_commit(&mut all)), [b"abc".to_vec(), b"b".to_vec(), b"c".to_vec()]);
    assert_eq!(next_commit(&mut all).versionstamp, end);
    assert!(all.position() >= end);
}

#[test]
fn what_expires_is_shown_as_deleted_and_durations_as_moments() {
    let db = Db::memory().unwrap();
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let mut watcher = db.watch(vec![target("soon")]);
    let set = Operation::Set { value: 1.into(), expiry: Expiry::After(DurationMs(20)) };
    db.commit(&Commit::new().mutate(SpaceId::DEFAULT, key("soon"), set)).unwrap();
    let commit = next_commit(&mut feed);
    let Operation::Set { expiry: Expiry::At(expires), .. } = commit.changes[0].operation else {
        panic!("{commit:?}");
    };
    assert_eq!(expires.0, commit.log_time.0 + 20);
    let swept = next_commit(&mut feed);
    assert_eq!(
        swept.changes,
        [Mutation { space: SpaceId::DEFAULT, key: key("soon"), operation: Operation::Delete }]
    );
    assert!(swept.log_time >= expires);
    while watcher.wait() < swept.versionstamp {}
}

#[test]
fn a_conditional_delete_that_came_too_late_is_not_shown() {
    let db = Db::memory().unwrap();
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let old = db.put("k", 1).unwrap().versionstamp;
    db.put("k", 2).unwrap();
    let late = Commit::new().mutate(SpaceId::DEFAULT, key("k"), Operation::DeleteIfStamp(old)).set(
        SpaceId::DEFAULT,
        key("other"),
        1,
    );
    db.commit(&late).unwrap();
    let changes: Vec<usize> = (0..3).map(|_| next_commit(&mut feed).changes.len()).collect();
    assert_eq!(changes, [1, 1, 1]);
}

#[test]
fn a_feed_goes_on_over_a_restart_and_from_any_version() {
    let dir = tempfile::tempdir().unwrap();
    let mut written = Vec::new();
    for round in 0..3 {
        let db = Db::open(dir.path()).unwrap();
        for n in 0..20 {
            written.push(db.put(format!("{round}-{n}").as_str(), n).unwrap().versionstamp);
        }
        // Of the last run, of an earlier one, from the beginning.
        for from in (0..written.len()).step_by(7) {
            let mut feed = db.changes(written[from], FeedFilter::default());
            for expected in &written[from + 1..] {
                assert_eq!(next_commit(&mut feed).versionstamp, *expected, "behind {:?}", written[from]);
            }
        }
        let mut feed = db.changes(FeedStart::Oldest, FeedFilter::default());
        let stamps: Vec<Versionstamp> = written.iter().map(|_| next_commit(&mut feed).versionstamp).collect();
        assert_eq!(stamps, written);
    }
}

#[test]
fn a_feed_reaches_back_over_checkpoints_and_restarts_as_far_as_retention_says() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.engine.feed_tail_bytes = 0;
    let mut written = Vec::new();
    for round in 0..3 {
        let db = options.open(dir.path()).unwrap();
        for n in 0..20 {
            written.push(db.put(format!("{round}-{n}").as_str(), n).unwrap().versionstamp);
        }
        db.checkpoint().unwrap();
        for from in (0..written.len()).step_by(7) {
            let mut feed = db.changes(written[from], FeedFilter::default());
            for expected in &written[from + 1..] {
                assert_eq!(next_commit(&mut feed).versionstamp, *expected, "behind {:?}", written[from]);
            }
        }
    }
    // Nothing stays: the end of what went is still a place to go on from, however often it is opened.
    options.engine.log_retention_ms = 0;
    let last = *written.last().unwrap();
    for _ in 0..2 {
        let db = options.open(dir.path()).unwrap();
        while db.engine().retain_step().unwrap() {}
        let mut feed = db.changes(last, FeedFilter::default());
        let mut gap = db.changes(written[0], FeedFilter::default());
        let visible = db.visible();
        assert_eq!(next(&mut gap), FeedEvent::Gap { restart_at: visible });
        let stamp = db.put("more", 1).unwrap().versionstamp;
        let told: Vec<Versionstamp> = std::iter::from_fn(|| Some(next_commit(&mut feed).versionstamp))
            .take_while(|told| *told < stamp)
            .collect();
        assert!(told.iter().all(|told| *told > last));
    }
    let logs = std::fs::read_dir(dir.path().join("wal")).unwrap();
    let logs = logs.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().ends_with(".log"));
    assert!(logs.count() <= 2, "the files are gone");
}

#[test]
fn what_the_log_does_not_hold_is_a_gap_and_the_feed_goes_on() {
    let mut options = Options::default();
    options.engine.feed_tail_bytes = 1_000;
    let db = options.memory().unwrap();
    let first = db.put("a", 1).unwrap().versionstamp;
    for n in 0..100 {
        db.put("a", n).unwrap();
    }
    for from in [first, Versionstamp::new(1 << 40, 0)] {
        let mut feed = db.changes(from, FeedFilter::default());
        let visible = db.visible();
        assert_eq!(next(&mut feed), FeedEvent::Gap { restart_at: visible });
        let later = db.put("a", 1).unwrap().versionstamp;
        assert_eq!(next_commit(&mut feed).versionstamp, later);
    }
}

#[test]
fn a_slow_feed_misses_nothing_and_reads_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { durability: Durability::Os, ..Options::default() };
    options.engine.feed_tail_bytes = 10_000;
    let db = options.open(dir.path()).unwrap();
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let mut odd = db.changes(
        FeedStart::Now,
        FeedFilter { ranges: vec![KeyRange::prefix(b"key00001")], ..FeedFilter::default() },
    );
    let first = db.commit(&set_commit(numbered(0), 0)).unwrap().versionstamp;
    assert_eq!(next_commit(&mut feed).versionstamp, first, "it is live");
    let mut expected = Vec::new();
    for n in 1..=3_000u64 {
        expected.push(db.commit(&set_commit(numbered(n), vec![1; 500])).unwrap().versionstamp);
    }
    for (n, stamp) in (1..).zip(&expected) {
        let commit = next_commit(&mut feed);
        assert_eq!((commit.versionstamp, &commit.changes[0].key), (*stamp, &numbered(n)));
    }
    assert_eq!(next_commit(&mut odd).versionstamp, expected[0]);
    let last = db.commit(&set_commit(numbered(1), 0)).unwrap().versionstamp;
    assert_eq!(next_commit(&mut odd).versionstamp, last);
    assert_eq!(next_commit(&mut feed).versionstamp, last, "it is live again");
}

#[test]
fn without_durability_changes_are_told_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = Options { durability: Durability::None, ..Options::default() }.open(dir.path()).unwrap();
    let mut watcher = db.watch(vec![target("a")]);
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    for n in 0..50 {
        let stamp = db.put("a", n).unwrap().versionstamp;
        assert_eq!(watcher.wait(), stamp);
        assert_eq!(next_commit(&mut feed).versionstamp, stamp);
    }
}

#[test]
fn a_closed_database_ends_its_feeds() {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(dir.path()).unwrap();
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let stamp = db.put("a", 1).unwrap().versionstamp;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let told = next_commit(&mut feed).versionstamp;
            (told, feed.next_blocking().is_none())
        });
        db.close().unwrap();
        assert_eq!(reader.join().unwrap(), (stamp, true));
    });
}

#[test]
fn visible_can_be_waited_for() {
    let db = Db::memory().unwrap();
    let before = db.visible();
    std::thread::scope(|scope| {
        let mut watcher = db.watch(vec![target("a")]);
        let writer = scope.spawn(|| db.put("a", 1).unwrap().versionstamp);
        let told = watcher.wait();
        assert_eq!(told, writer.join().unwrap());
        let mut future = std::pin::pin!(db.wait_visible_after(before));
        let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
        assert_eq!(future.as_mut().poll(context), std::task::Poll::Ready(told));
        let mut later = std::pin::pin!(db.wait_visible_after(told));
        assert!(later.as_mut().poll(context).is_pending());
        db.put("a", 2).unwrap();
        assert!(later.as_mut().poll(context).is_ready());
    });
}

/// Thousands of watchers, writers on all sides, feeds fast and slow, and some who come and go.
#[test]
fn many_watchers_are_each_told_their_last_change() {
    const KEYS: u64 = 500;
    const WRITES: u64 = 6_000;
    // With a log, so that whoever is slow reads it there and misses nothing.
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { durability: Durability::Os, ..Options::default() };
    options.engine.feed_tail_bytes = 50_000;
    let db = options.open(dir.path()).unwrap();
    let mut watchers: Vec<(u64, u64, orcharddb::Watcher)> = Vec::new();
    for n in 0..3_000u64 {
        let first = n % KEYS;
        let count = [1, 1, 1, 7, 100][n as usize % 5];
        let range = KeyRange::new(numbered(first).into_bytes(), Some(numbered(first + count).into_bytes()))
            .expect("short keys");
        let watched = if count == 1 {
            WatchTarget::key(SpaceId::DEFAULT, &numbered(first))
        } else {
            WatchTarget { space: SpaceId::DEFAULT, range }
        };
        watchers.push((first, count, db.watch(vec![watched])));
    }
    let mut feed = db.changes(FeedStart::Now, FeedFilter::default());
    let done = AtomicBool::new(false);
    let last: BTreeMap<u64, Versionstamp> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                let db = &db;
                scope.spawn(move || {
                    let mut last = BTreeMap::new();
                    for n in 0..WRITES / 4 {
                        let number = (n * 7 + writer * 131) % KEYS;
                        let commit = set_commit(numbered(number), n as i64);
                        last.insert(number, db.commit(&commit).unwrap().versionstamp);
                    }
                    last
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for n in 0..50 {
                    let passing = db.watch(vec![WatchTarget::key(SpaceId::DEFAULT, &numbered(n))]);
                    drop((passing, db.changes(FeedStart::Oldest, FeedFilter::default())));
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut told = Vec::new();
            while told.len() < WRITES as usize {
                told.push(next_commit(&mut feed).versionstamp);
            }
            told
        });
        let mut last: BTreeMap<u64, Versionstamp> = BTreeMap::new();
        for writer in writers {
            for (number, stamp) in writer.join().unwrap() {
                let newest = last.entry(number).or_default();
                *newest = stamp.max(*newest);
            }
        }
        done.store(true, Ordering::SeqCst);
        let told = reader.join().unwrap();
        assert!(told.is_sorted_by(|one, next| one < next), "each once, in order");
        last
    });
    for (first, count, watcher) in &mut watchers {
        let expected = last.range(*first..*first + *count).map(|(_, stamp)| *stamp).max().unwrap();
        let mut told = Versionstamp::ZERO;
        while told < expected {
            told = watcher.wait_for(PATIENCE).expect("told of the last change");
        }
        assert_eq!((told, watcher.try_changed()), (expected, None), "{first} and {count}");
    }
}
