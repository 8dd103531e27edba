//! Many clients at once: no increment is lost, and no reader sees half of a transfer.

use crate::common::{Client, TestServer};
use orcharddb::{Commit, KeyPart, SpaceId, Value, tuple};
use serde_json::{Value as Json, json};
use std::sync::atomic::{AtomicUsize, Ordering};

const JSON: (&str, &str) = ("content-type", "application/json");
const ENTRY: (&str, &str) = ("accept", "application/json");

fn commit(client: &mut Client, body: &Json) -> u16 {
    client.send("POST", "/v1/commit", &[JSON], body.to_string().as_bytes()).status
}

#[test]
fn fifty_clients_lose_no_increment_by_check_and_retry() {
    const CLIENTS: usize = 50;
    const INCREMENTS: usize = 5;
    let server = TestServer::memory();
    server.db.put("counter", 0_i64).expect("written");
    let conflicts = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = server.client();
                let mut done = 0;
                while done < INCREMENTS {
                    let entry = client.send("GET", "/v1/kv/counter", &[ENTRY], b"").json();
                    let next = entry["value"].as_i64().expect("an int") + 1;
                    let body = json!({
                        "checks": [{"key": ["counter"], "versionstamp": entry["versionstamp"]}],
                        "mutations": [{"op": "set", "key": ["counter"], "value": next}],
                    });
                    match commit(&mut client, &body) {
                        200 => done += 1,
                        409 => {
                            conflicts.fetch_add(1, Ordering::Relaxed);
                        }
                        other => panic!("status {other}"),
                    }
                }
            });
        }
    });
    let total = server.db.get("counter").expect("readable").expect("there").value.as_int();
    assert_eq!(total, Some((CLIENTS * INCREMENTS) as i64), "{conflicts:?} conflicts");
}

#[test]
fn fifty_clients_lose_no_increment_by_sum() {
    const CLIENTS: usize = 50;
    const INCREMENTS: usize = 20;
    let server = TestServer::memory();
    let tells = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut told = Vec::new();
                    for _ in 0..INCREMENTS {
                        // Half of them by commits, half by the route that tells what it came to.
                        if number % 2 == 0 {
                            let sum = json!({"mutations": [{"op": "sum", "key": ["counter"], "value": 1}]});
                            assert_eq!(commit(&mut client, &sum), 200);
                        } else {
                            let reply = client.send("POST", "/v1/kv/counter?op=sum", &[], b"");
                            told.push(reply.json()["value"].as_i64().expect("an int"));
                        }
                    }
                    told
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("no panic")).collect::<Vec<i64>>()
    });
    let total = server.db.get("counter").expect("readable").expect("there").value.as_int();
    assert_eq!(total, Some((CLIENTS * INCREMENTS) as i64));
    let mut distinct = tells.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), tells.len(), "two clients were told the same number");
}

const ACCOUNTS: usize = 1_000;
const BALANCE: i64 = 100;

fn account(number: usize) -> [KeyPart; 2] {
    [KeyPart::String("accounts".into()), KeyPart::String(format!("{number:04}"))]
}

fn json_account(number: usize) -> Json {
    json!(["accounts", format!("{number:04}")])
}

/// A small generator of its own, so that a seed says all.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

#[test]
fn the_sum_of_all_accounts_never_changes() {
    const WRITERS: u64 = 4;
    const TRANSFERS: usize = 100;
    let server = TestServer::memory();
    let opening = (0..ACCOUNTS).fold(Commit::new(), |commit, number| {
        commit.set(SpaceId::DEFAULT, tuple::encode(&account(number)).expect("short"), BALANCE)
    });
    server.db.commit(&opening).expect("opened");
    let (writing, reads) = (AtomicUsize::new(2 * WRITERS as usize), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (server, writing) = (&server, &writing);
            // Over HTTP: read two accounts, write both if neither changed, else again.
            scope.spawn(move || {
                let (mut client, mut seed) = (server.client(), writer);
                let mut done = 0;
                while done < TRANSFERS {
                    let (from, to) = (next(&mut seed) % ACCOUNTS, next(&mut seed) % ACCOUNTS);
                    let amount = (next(&mut seed) % 50) as i64;
                    if from == to {
                        continue;
                    }
                    let read = json!({"ranges": [{"key": json_account(from)}, {"key": json_account(to)}]});
                    let read = client.send("POST", "/v1/read", &[JSON], read.to_string().as_bytes()).json();
                    let entry = |range: usize| &read["ranges"][range]["entries"][0];
                    let balance = |range: usize| entry(range)["value"].as_i64().expect("an int");
                    let body = json!({
                        "checks": [
                            {"key": json_account(from), "versionstamp": entry(0)["versionstamp"]},
                            {"key": json_account(to), "versionstamp": entry(1)["versionstamp"]},
                        ],
                        "mutations": [
                            {"op": "set", "key": json_account(from), "value": balance(0) - amount},
                            {"op": "set", "key": json_account(to), "value": balance(1) + amount},
                        ],
                    });
                    match commit(&mut client, &body) {
                        200 => done += 1,
                        409 => {}
                        other => panic!("status {other}"),
                    }
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
            // And in the same process, by transactions.
            scope.spawn(move || {
                let mut seed = writer + 1_000;
                for _ in 0..TRANSFERS {
                    let (from, to) = (next(&mut seed) % ACCOUNTS, next(&mut seed) % ACCOUNTS);
                    let amount = (next(&mut seed) % 50) as i64;
                    let moved = server.db.transact(|tx| {
                        let mut add = |number: usize, amount: i64| {
                            let balance = tx.get(account(number))?.and_then(|value| value.as_int());
                            tx.put(account(number), balance.expect("an account") + amount)
                        };
                        add(from, -amount)?;
                        add(to, amount)
                    });
                    moved.expect("moved");
                }
                writing.fetch_sub(1, Ordering::SeqCst);
            });
        }
        for reader in 0..2 {
            let (server, writing, reads) = (&server, &writing, &reads);
            scope.spawn(move || {
                let mut client = server.client();
                while writing.load(Ordering::SeqCst) > 0 {
                    // Whole, and in pages that all show the snapshot of the first.
                    let limit = if reader == 0 { ACCOUNTS } else { ACCOUNTS / 4 };
                    let (mut sum, mut count, mut cursor) = (0, 0, String::new());
                    loop {
                        let target = format!("/v1/kv?prefix=accounts&limit={limit}{cursor}");
                        let page = client.send("GET", &target, &[], b"").json();
                        let entries = page["entries"].as_array().unwrap_or_else(|| panic!("{page}"));
                        count += entries.len();
                        sum +=
                            entries.iter().map(|entry| entry["value"].as_i64().expect("an int")).sum::<i64>();
                        match page["cursor"].as_str() {
                            Some(next) => cursor = format!("&cursor={next}"),
                            None => break,
                        }
                    }
                    assert_eq!((count, sum), (ACCOUNTS, ACCOUNTS as i64 * BALANCE));
                    reads.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert!(reads.load(Ordering::SeqCst) > 0, "nobody read");
    let sum: i64 = server
        .db
        .iter()
        .map(|entry| entry.expect("readable").value)
        .map(|value: Value| value.as_int().expect("an int"))
        .sum();
    assert_eq!(sum, ACCOUNTS as i64 * BALANCE);
}
