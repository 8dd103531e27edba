//! `orchard queue`, `orchard databases` and `orchard watch`, against a server and against a directory.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, Server, orchard, run};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

#[test]
fn messages_go_in_and_out() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("served"));
    let url = server.url();
    for target in [["--url", url.as_str()], ["--data", &scratch.at("local")]] {
        let queue = |arguments: &[&str]| run(["queue"].iter().chain(arguments).chain(&target).copied());
        assert_eq!(queue(&["lease", "mail"]).code, Some(1), "there is none");
        queue(&["enqueue", "mail", "hello", "--backoff", "", "--key-if-undelivered", "failed"]).fine();
        queue(&["enqueue", "mail", "{\"a\": 1}", "--type", "json", "--delay", "1h"]).fine();
        assert_eq!(queue(&["list"]).fine(), "mail\n");
        assert_eq!(queue(&["stats", "mail"]).fine(), "{\"ready\":1,\"delayed\":1,\"leased\":0,\"dead\":0}\n");
        assert_eq!(queue(&["peek", "mail"]).fine().lines().count(), 2);
        let leased = queue(&["lease", "mail", "--max", "5", "--wait", "10s"]).fine();
        assert!(leased.contains("\"payload\":\"hello\"") && leased.contains("\"leased_until\""), "{leased}");
        let id = leased.split('"').nth(3).expect("an id").to_owned();
        assert_eq!(queue(&["nack", "mail", &id]).fine(), "done\n");
        assert!(queue(&["dead", "mail"]).fine().contains("\"attempts\":1"));
        assert_eq!(run(["get", "failed"].iter().chain(&target).copied()).fine(), "hello");
        assert_eq!(queue(&["requeue", "mail", &id]).fine(), "done\n");
        assert_eq!(queue(&["purge", "mail", &id]).code, Some(1));
        queue(&["lease", "mail"]).fine();
        assert_eq!(queue(&["ack", "mail", &id]).fine(), "done\n");
        queue(&["ack", "mail", "x"]).failed(2);
        queue(&["clear", "mail"]).fine();
        assert_eq!(queue(&["list"]).fine(), "");
    }
}

#[test]
fn commits_are_watched_and_watching_goes_on_where_it_ended() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("served"));
    let url = server.url();
    let watch = |arguments: &[&str]| {
        let mut command = orchard();
        command.args(["watch", "--url", &url]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
        let mut ready = String::new();
        BufReader::new(child.stderr.take().expect("piped")).read_line(&mut ready).expect("it says so");
        assert!(ready.starts_with("watching http://"), "{ready}");
        child
    };
    let output = |child: std::process::Child| {
        let output = child.wait_with_output().expect("it ends");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    let put = |key: &str, value: &str| run(["put", key, value, "--url", &url]).fine().trim_end().to_owned();
    let users = watch(&["--prefix", "users", "other", "--limit", "2"]);
    put("ignored", "x");
    let first = put("[\"users\",\"ada\"]", "one");
    let second = put("other", "two");
    let seen = output(users);
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[0].contains(&first) && lines[0].contains("\"value\":\"one\""), "{seen}");
    assert!(lines[1].contains(&second) && lines[1].contains("[\"other\"]"), "{seen}");
    let rest = output(watch(&["--from", &first, "--limit", "1", "--keys-only"]));
    assert!(rest.contains(&second) && !rest.contains("\"value\""), "{rest}");
    assert_eq!(output(watch(&["--from", "oldest", "--limit", "3"])).lines().count(), 3);
    assert!(run(["watch", "--from", "x", "--url", &url]).failed(2).contains("--from"));
}

#[test]
fn watching_goes_on_when_the_server_comes_back() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("served"));
    let (url, address) = (server.url(), server.address.clone());
    let put = |key: &str| run(["put", key, "x", "--url", &url]).fine().trim_end().to_owned();
    let first = put("first");
    let mut command = orchard();
    command.args(["watch", "--url", &url, "--from", "oldest", "--limit", "2"]);
    let mut watch = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
    let mut told = BufReader::new(watch.stderr.take().expect("piped")).lines();
    let mut line = || lines.next().expect("a line").expect("readable");
    assert!(line().contains(&first));
    assert_eq!(server.stop(), Some(0));
    assert!(told.next().expect("a line").expect("readable").starts_with("watching "));
    assert!(told.next().expect("a line").expect("readable").ends_with("trying again"));
    let data = scratch.at("served");
    let _server = Server::start_with(orchard().args(["serve", "--data", &data, "--listen", &address]));
    let second = put("second");
    assert!(line().contains(&second), "and nothing is told twice");
    assert!(watch.wait().expect("it ends").success());
}

#[test]
fn databases_come_and_go() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("served"));
    let url = server.url();
    for target in [["--url", url.as_str()], ["--data", &scratch.at("local")]] {
        let on = |arguments: &[&str]| run(arguments.iter().chain(&target).copied());
        on(&["put", "k", "default"]).fine();
        on(&["databases", "create", "plums"]).fine();
        on(&["databases", "create", "plums"]).fine();
        assert_eq!(on(&["databases", "list"]).fine(), "0\nplums\n");
        on(&["put", "k", "damson", "--db", "plums"]).fine();
        on(&["databases", "swap", "0", "plums"]).fine();
        assert_eq!(on(&["get", "k"]).fine(), "damson");
        assert!(on(&["databases", "drop", "plums"]).failed(2).contains("--yes"), "nobody is there to ask");
        assert_eq!(on(&["get", "k", "--db", "plums"]).fine(), "default");
        on(&["databases", "drop", "plums", "--yes"]).fine();
        assert_eq!(on(&["get", "k", "--db", "plums"]).code, Some(1));
        assert!(
            on(&["databases", "drop", "plums", "--yes"]).failed(1).contains("there is no database plums")
        );
        assert_eq!(on(&["databases", "list"]).fine(), "0\n");
    }
}
