//! SIGKILL in the middle of concurrent writers: everything acknowledged is there afterwards.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, Server, run};
use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc;

const WRITERS: usize = 8;
const ROUNDS: usize = 6;

/// Writes over one kept connection until it breaks, and tells of each acknowledgement.
fn write_until_cut(
    address: &str,
    round: usize,
    writer: usize,
    acknowledged: &mpsc::Sender<(String, String)>,
) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    let Ok(reading) = stream.try_clone() else { return };
    let mut reading = BufReader::new(reading);
    for number in 0.. {
        // Some keys are written once, some in every round by the same writer.
        let key = if number % 4 == 0 {
            format!("w{writer}-{number}")
        } else {
            format!("r{round}-w{writer}-{number}")
        };
        let value = format!("{round}.{number}");
        let request = format!("GET /put?{key}={value} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        if stream.write_all(request.as_bytes()).is_err() || !is_acknowledged(&mut reading) {
            return;
        }
        if acknowledged.send((key, value)).is_err() {
            return;
        }
    }
}

/// Reads one reply; false if it did not arrive whole.
fn is_acknowledged(reading: &mut BufReader<TcpStream>) -> bool {
    let (mut is_ok, mut length, mut line) = (false, 0, String::new());
    loop {
        line.clear();
        match reading.read_line(&mut line) {
            Ok(count) if count > 0 && line.ends_with("\r\n") => {}
            _ => return false,
        }
        let lower = line.trim_end().to_ascii_lowercase();
        if lower.is_empty() {
            let mut body = vec![0; length];
            return reading.read_exact(&mut body).is_ok() && is_ok;
        }
        is_ok |= lower.starts_with("http/1.1 200");
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().expect("a number");
        }
    }
}

/// The number of the round and of the write within it.
fn order(value: &str) -> (usize, usize) {
    let (round, number) = value.split_once('.').expect("as written");
    (round.parse().expect("a number"), number.parse().expect("a number"))
}

#[test]
fn every_acknowledged_write_survives_sigkill() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut expected: HashMap<String, String> = HashMap::new();
    for round in 0..ROUNDS {
        let server = Server::start(&data);
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let (address, sender) = (server.address.clone(), sender.clone());
                scope.spawn(move || write_until_cut(&address, round, writer, &sender));
            }
            drop(sender);
            let mut left = 50 + 97 * round;
            let mut server = Some(server);
            // Goes on until the last writer's connection broke.
            for (key, value) in &receiver {
                expected.insert(key, value);
                left = left.saturating_sub(1);
                if left == 0
                    && let Some(server) = server.take()
                {
                    server.kill();
                }
            }
        });
        let exported = run(["export", "-", "--data", data.to_str().expect("UTF-8")]).fine();
        let mut found = HashMap::new();
        for line in exported.lines() {
            let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let text = |json: &serde_json::Value| json.as_str().expect("a text").to_owned();
            found.insert(text(&entry["key"][0]), text(&entry["value"]));
        }
        for (key, value) in &mut expected {
            let stored =
                found.get(key).unwrap_or_else(|| panic!("round {round}: {key} was acknowledged and is lost"));
            // Behind the last acknowledged write of a key one more may have been on its way.
            assert!(
                order(stored) >= order(value),
                "round {round}: {key} is {stored}, {value} was acknowledged"
            );
            value.clone_from(stored);
        }
    }
    let checked = run(["check", "--data", data.to_str().expect("UTF-8")]).fine();
    assert!(checked.contains("no damage"), "{checked}");
}

/// `ulimit -f`: a file that may not grow is an error of the disk, not the end of the process.
#[test]
fn a_limit_on_file_sizes_leaves_what_was_acknowledged_readable() {
    let scratch = Scratch::new();
    let data = scratch.path("data");
    let mut command = Command::new("sh");
    command.args([
        "-c",
        r#"ulimit -f 4096; exec "$0" "$@""#,
        env!("CARGO_BIN_EXE_orchard"),
        "serve",
        "--data",
    ]);
    let server = Server::start_with(command.arg(&data));
    let value = "x".repeat(1 << 20);
    let put = |number: usize| {
        let length = value.len();
        let head = format!("PUT /v1/kv/big/{number} HTTP/1.1\r\nHost: {}", server.address);
        server.ask(&format!("{head}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{value}"))
    };
    // 4 MiB at most in one file, in the larger unit that shells have.
    let refused = (0..20).find(|&number| put(number).is_ok_and(|reply| reply.status >= 500));
    let refused = refused.expect("a file cannot hold so much");
    for number in 0..refused {
        assert!(server.get(&format!("/v1/kv/big/{number}")).is(200, &value), "{number} of {refused}");
    }
    server.kill();
    let server = Server::start(&data);
    for number in 0..refused {
        assert!(server.get(&format!("/v1/kv/big/{number}")).is(200, &value), "{number} of {refused}");
    }
}
