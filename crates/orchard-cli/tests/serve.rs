//! The server as a process: how it starts, what it says, how it stops.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, Server, orchard, run};
use rustix::process::Signal;
use std::io::{BufRead as _, BufReader};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

#[test]
fn the_plain_routes_answer_literally() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("data"));
    for (path, status, body) in [
        ("/put?key2=baz", 200, "[INFO] (PUT) KEY: key2 VALUE: baz"),
        ("/get/key2", 200, "[INFO] (GET) KEY: key2 VALUE: baz"),
        ("/delete/key2", 200, "[INFO] (DELETE) KEY: key2"),
    ] {
        let reply = server.get(path);
        assert!(reply.is(status, body), "{path}: {reply:?}");
    }
    assert_eq!(server.get("/get/key2").status, 404);
    assert_eq!(server.get("/put").status, 400);
    assert_eq!(server.get("/livez").status, 200);
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn what_was_written_is_there_after_each_kind_of_end() {
    let scratch = Scratch::new();
    for (round, signal) in [Signal::TERM, Signal::INT, Signal::KILL, Signal::TERM].into_iter().enumerate() {
        let mut server = Server::start(&scratch.path("data"));
        for earlier in 0..round {
            let reply = server.get(&format!("/get/round{earlier}"));
            assert!(
                reply.is(200, &format!("[INFO] (GET) KEY: round{earlier} VALUE: {earlier}")),
                "{reply:?}"
            );
        }
        assert_eq!(server.get(&format!("/put?round{round}={round}")).status, 200);
        server.signal(signal);
        let code = server.child.wait().expect("it ends").code();
        assert_eq!(code, if signal == Signal::KILL { None } else { Some(0) }, "{signal:?}");
    }
}

#[test]
fn memory_leaves_nothing_behind() {
    let scratch = Scratch::new();
    let server = Server::start_with(orchard().args(["serve", "--memory"]).current_dir(scratch.path("")));
    assert_eq!(server.get("/put?k=v").status, 200);
    assert_eq!(server.stop(), Some(0));
    assert!(!scratch.path("orchard-data").exists());
}

#[test]
fn a_locked_directory_is_exit_code_4() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("data"));
    let pid = server.child.id().to_string();
    for command in [&["serve"][..], &["check"], &["get", "k"], &["put", "k", "v"], &["repl"], &["stats"]] {
        let data = scratch.at("data");
        let stderr = run(command.iter().copied().chain(["--data", &data])).failed(4);
        assert!(stderr.contains("in use by process") && stderr.contains(&pid), "{command:?}: {stderr}");
    }
    assert_eq!(server.get("/livez").status, 200);
}

#[test]
fn a_wrong_configuration_is_exit_code_3_and_names_the_line() {
    let scratch = Scratch::new();
    let file = scratch.write("o.toml", "# a comment\nlisten = \"127.0.0.1:0\"\nmemroy = true\n");
    for command in [&["serve"][..], &["config", "check"], &["config", "show"]] {
        let stderr = run(command.iter().copied().chain(["--config", &file])).failed(3);
        assert!(stderr.contains("o.toml:3: unknown key `memroy`, did you mean `memory`?"), "{stderr}");
    }
    let missing = scratch.at("missing.toml");
    assert!(run(["serve", "--config", &missing]).failed(3).contains("there is no such file"));
    let stderr = run(["serve", "--memory", "--listen", "0.0.0.0:0"]).failed(3);
    assert!(stderr.contains("access token"), "{stderr}");
    run(["serve", "--listen", "nowhere"]).failed(2);
    run(["serve", "--tls-cert", "f"]).failed(2);
    run(["fly"]).failed(2);
}

#[test]
fn the_configuration_comes_from_file_environment_and_flags() {
    let scratch = Scratch::new();
    scratch.write("orchard.toml", "durability = \"os\"\nlog_level = \"error\"\n");
    let mut command = orchard();
    command.args(["config", "show", "--log-level", "debug"]).current_dir(scratch.path(""));
    let shown =
        common::Outcome::from(command.env("ORCHARD_MEMORY_LIMIT", "1GiB").output().expect("it runs")).fine();
    for line in [
        "data = \"./orchard-data\"  # default",
        "durability = \"os\"  # orchard.toml:1",
        "memory_limit = \"1GiB\"  # ORCHARD_MEMORY_LIMIT",
        "log_level = \"debug\"  # --log-level",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line} is not in {shown}");
    }
    let default = run(["config", "default"]).fine();
    let file = scratch.write("default.toml", &default);
    run(["config", "check", "--config", &file]).fine();
}

#[test]
fn a_token_is_asked_for_and_shown_by_the_client() {
    let scratch = Scratch::new();
    let token = scratch.write("token", "s3cret\n");
    let server = Server::start_with(orchard().args(["serve", "--memory", "--access-token-file", &token]));
    assert_eq!(server.get("/get/k").status, 401);
    assert_eq!(server.get("/livez").status, 200);
    let url = server.url();
    assert!(run(["put", "k", "v", "--url", &url]).failed(1).contains("unauthorized"));
    run(["put", "k", "v", "--url", &url, "--access-token-file", &token]).fine();
    let mut with_variable = orchard();
    with_variable.args(["get", "k", "--url", &url]).env("ORCHARD_ACCESS_TOKEN", "s3cret");
    assert_eq!(common::Outcome::from(with_variable.output().expect("it runs")).fine(), "v");
}

#[test]
fn the_log_has_sizes_in_place_of_values_and_its_level_can_be_reloaded() {
    let scratch = Scratch::new();
    let file = scratch.write("o.toml", "memory = true\nlisten = \"127.0.0.1:0\"\nlog_level = \"error\"\n");
    let mut server = Server::spawn(orchard().args(["serve", "--config", &file]).stderr(Stdio::piped()));
    let mut log = BufReader::new(server.child.stderr.take().expect("piped")).lines();
    assert_eq!(server.get("/put?quiet=1").status, 200);
    scratch.write("o.toml", "memory = true\nlisten = \"127.0.0.1:0\"\nlog_level = \"info\"\n");
    server.signal(Signal::HUP);
    let mut next = || log.next().expect("a line").expect("readable");
    assert!(next().contains("[INFO] reloaded"), "the first line at the new level");
    assert_eq!(server.get("/put?key2=s3cret%0Aforged").status, 200);
    let line = next();
    assert!(line.ends_with("[INFO] (PUT) KEY: key2 VALUE: 13 bytes"), "{line}");
    // A wrong file changes nothing.
    scratch.write("o.toml", "memroy = true\n");
    server.signal(Signal::HUP);
    let line = next();
    assert!(line.contains("[ERROR]") && line.contains("o.toml:1"), "{line}");
    assert_eq!(server.get("/get/key2").status, 200);
    assert!(next().contains("(GET) KEY: key2 VALUE: 13 bytes"));
    assert_eq!(server.stop(), Some(0));
}

#[test]
fn json_log_lines_are_json() {
    let mut command = orchard();
    command.args(["serve", "--memory", "--listen", "127.0.0.1:0", "--log-format", "json", "--log-values"]);
    let mut server = Server::spawn(command.stderr(Stdio::piped()));
    let log = BufReader::new(server.child.stderr.take().expect("piped")).lines();
    assert_eq!(server.get("/put?k=v").status, 200);
    assert_eq!(server.stop(), Some(0));
    let lines: Vec<serde_json::Value> =
        log.map(|line| serde_json::from_str(&line.expect("readable")).expect("JSON")).collect();
    assert!(lines.iter().any(|line| line["message"] == "(PUT) KEY: k VALUE: v"), "{lines:?}");
}

#[test]
fn a_variable_that_cannot_be_read_is_not_unset() {
    let not_text = || std::ffi::OsStr::from_bytes(b"secret\xff");
    for (variable, arguments) in [
        ("ORCHARD_ACCESS_TOKEN", &["config", "check"][..]),
        ("ORCHARD_DATA", &["config", "check"]),
        ("ORCHARD_CONFIG", &["config", "check"]),
        ("ORCHARD_DATA", &["check"]),
        ("ORCHARD_URL", &["get", "a"]),
        ("ORCHARD_ACCESS_TOKEN", &["get", "a"]),
    ] {
        let output = orchard().args(arguments).env(variable, not_text()).output().expect("it runs");
        let stderr = common::Outcome::from(output).failed(3);
        assert!(stderr.contains(&format!("{variable}: its value is not UTF-8 text")), "{stderr}");
    }
}
