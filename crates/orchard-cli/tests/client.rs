//! The client commands, against a server and against a directory.

#![expect(clippy::disallowed_methods, reason = "the test looks at files from outside")]
#![allow(clippy::expect_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod common;

use common::{Scratch, Server, orchard, run, run_with_input};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

/// Runs a test against a served directory and against a directory itself.
fn on_both(test: impl Fn(&dyn Fn(&[&str]) -> common::Outcome, &[&str])) {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("served"));
    let url = server.url();
    for target in [["--url", url.as_str()], ["--data", &scratch.at("local")]] {
        test(&|arguments| run(arguments.iter().copied().chain(target)), &target);
    }
}

#[test]
fn values_are_written_and_read_with_their_types() {
    on_both(|run, target| {
        for (key, value, value_type, entry) in [
            ("text", "a b", "text", r#""value":"a b","type":"text""#),
            ("int", "-5", "int", r#""value":-5,"type":"int""#),
            ("float", "5", "float", r#""value":5.0,"type":"float""#),
            ("bool", "true", "bool", r#""value":true,"type":"bool""#),
            ("u64", "18446744073709551615", "u64", r#""value":{"$u64":"18446744073709551615"},"type":"u64""#),
            (
                r#"["users","ada",42]"#,
                r#"{"b": 1.0, "a":[]}"#,
                "json",
                r#""value":{"b": 1.0, "a":[]},"type":"json""#,
            ),
        ] {
            let stamp = run(&["put", key, value, "--type", value_type]).fine();
            assert_eq!(stamp.trim_end().len(), 20, "a versionstamp");
            let raw = if value_type == "float" { "5.0" } else { value };
            assert_eq!(run(&["get", key]).fine(), raw);
            let json = run(&["get", key, "--json"]).fine();
            assert!(json.contains(entry) && json.contains(stamp.trim_end()), "{json}");
        }
        let input = ["put", "from-stdin", "-", "--type", "bytes"].into_iter().chain(target.iter().copied());
        run_with_input(input, b"\xff\n").fine();
        assert!(run(&["get", "from-stdin", "--json"]).fine().contains(r#"{"$bytes":"/wo="}"#));
        run(&["delete", "int"]).fine();
        let stderr = run(&["get", "int"]).failed(1);
        assert!(stderr.contains("there is no key int"), "{stderr}");
        run(&["delete", "int"]).fine();
    });
}

#[test]
fn a_database_is_chosen_by_its_name() {
    on_both(|run, _| {
        run(&["put", "k", "zero"]).fine();
        assert!(run(&["get", "k", "--db", "plums"]).failed(1).contains("there is no key k"));
        run(&["put", "k", "plum", "--db", "plums"]).fine();
        assert_eq!(run(&["get", "k", "--db", "plums"]).fine(), "plum");
        assert_eq!(run(&["scan", "--db", "0"]).fine(), "k\t\"zero\"\n");
        assert_eq!(run(&["incr", "n", "2", "--db", "plums"]).fine(), "2\n");
        assert_eq!(run(&["scan", "--db", "plums", "--keys-only"]).fine(), "k\nn\n");
        assert_eq!(run(&["scan", "--db", "plums", "--count"]).fine(), "2\n");
        run(&["delete", "k", "--db", "plums"]).fine();
        assert_eq!(run(&["scan", "--db", "plums", "--keys-only"]).fine(), "n\n");
        assert!(run(&["get", "k", "--db", ""]).failed(2).contains("empty"));
    });
}

#[test]
fn null_is_a_value() {
    on_both(|run, target| {
        run(&["put", "null", "--type", "null"]).fine();
        assert_eq!(run(&["get", "null"]).fine(), "null");
        let line = "{\"key\":[\"null\"],\"value\":null,\"type\":\"null\"}\n";
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), line);
        let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
        run_with_input(arguments, line.as_bytes()).fine();
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), line);
    });
}

#[test]
fn mistakes_are_exit_code_2() {
    on_both(|run, _| {
        for arguments in [
            &["put", "k", "x", "--type", "int"][..],
            &["put", "k"],
            &["put", "k", "{", "--type", "json"],
            &["put", "k", "v", "--ttl", "soon"],
            &["get", "[1,"],
            &["get", "[null]"],
            &["incr", "k", "x"],
            &["scan", "--limit", "x"],
            &["get"],
        ] {
            run(arguments).failed(2);
        }
    });
    run(["get", "k", "--url", "https://127.0.0.1"]).failed(2);
    run(["get", "k", "--url", "u", "--data", "d"]).failed(2);
    let stderr = run(["get", "k", "--url", "http://127.0.0.1:1"]).failed(1);
    assert!(stderr.contains("http://127.0.0.1:1"), "{stderr}");
}

#[test]
fn numbers_are_counted() {
    on_both(|run, _| {
        assert_eq!(run(&["incr", "n"]).fine(), "1\n");
        assert_eq!(run(&["incr", "n", "41"]).fine(), "42\n");
        assert_eq!(run(&["incr", "n", "-50"]).fine(), "-8\n");
        assert_eq!(run(&["incr", "f", "0.5", "--type", "float"]).fine(), "0.5\n");
        assert_eq!(run(&["incr", "u", "2", "--type", "u64"]).fine(), "2\n");
        run(&["put", "max", "9223372036854775807", "--type", "int"]).fine();
        assert!(run(&["incr", "max"]).failed(1).contains("fit"));
        run(&["put", "text", "a"]).fine();
        assert!(run(&["incr", "text"]).failed(1).contains("int"));
    });
}

#[test]
fn concurrent_increments_are_each_told_their_own_number() {
    let server = Server::start_with(orchard().args(["serve", "--memory"]));
    let url = server.url();
    let one = || run(["incr", "n", "--url", &url]).fine().trim_end().parse().expect("a number");
    let mut told: Vec<u64> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| [one(), one()])).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it ran")).collect()
    });
    told.sort_unstable();
    assert_eq!(told, (1..=12).collect::<Vec<_>>());
}

#[test]
fn ranges_are_scanned() {
    on_both(|run, _| {
        for key in [
            "apple",
            r#"["users"]"#,
            r#"["users","ada"]"#,
            r#"["users","bob"]"#,
            r#"["users","cem",1]"#,
            "zebra",
        ] {
            run(&["put", key, "v"]).fine();
        }
        let keys = |arguments: &[&str]| {
            let lines = run(&[&["scan", "--keys-only"], arguments].concat()).fine();
            lines.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let (ada, bob, cem) = (r#"["users","ada"]"#, r#"["users","bob"]"#, r#"["users","cem",1]"#);
        assert_eq!(keys(&[]), ["apple", "users", ada, bob, cem, "zebra"]);
        assert_eq!(keys(&["--prefix", "users"]), [ada, bob, cem]);
        assert_eq!(keys(&["--prefix", "users", "--reverse", "--limit", "2"]), [cem, bob]);
        assert_eq!(keys(&["--start", bob, "--end", "zebra"]), [bob, cem]);
        assert_eq!(keys(&["--prefix", "users", "--start", bob, "--end", cem]), [bob]);
        assert_eq!(keys(&["--prefix", "nobody"]), Vec::<String>::new());
        assert_eq!(run(&["scan", "--limit", "1"]).fine(), "apple\t\"v\"\n");
        assert!(
            run(&["scan", "--limit", "1", "--json"])
                .fine()
                .starts_with(r#"{"key":["apple"],"value":"v","type":"text","#)
        );
        assert!(run(&["stats", "--json"]).fine().contains(r#""entries":6"#));
        assert!(run(&["stats"]).fine().contains("memory limit"));
    });
}

#[test]
fn an_expiry_goes_with_the_entry() {
    on_both(|run, _| {
        run(&["put", "k", "v", "--ttl", "7d"]).fine();
        assert!(run(&["get", "k", "--json"]).fine().contains(r#""expires_at":"20"#));
        let exported = run(&["export", "-", "--no-versionstamps"]).fine();
        assert!(exported.contains(r#""expires_at":"20"#), "{exported}");
        run(&["put", "k", "v"]).fine();
        assert!(!run(&["get", "k", "--json"]).fine().contains("expires_at"));
    });
}

/// One line of each kind that an export can have, in key order.
const EVERY_TYPE: &str = r#"{"key":["bool"],"value":false,"type":"bool"}
{"key":["bytes"],"value":{"$bytes":"AP/+"},"type":"bytes"}
{"key":["float",1],"value":0.1,"type":"float"}
{"key":["float",2],"value":-0.0,"type":"float"}
{"key":["float",3],"value":1e300,"type":"float"}
{"key":["float",4],"value":5e-324,"type":"float"}
{"key":["float",5],"value":42.0,"type":"float"}
{"key":["float",6],"value":{"$number":"-Infinity"},"type":"float"}
{"key":["float",7],"value":{"$number":"NaN"},"type":"float"}
{"key":["int"],"value":-9223372036854775808,"type":"int"}
{"key":["json",1],"value":{"z": 1.50, "a": [1e2, "\u00e9", {}]},"type":"json"}
{"key":["json",2],"value":{"$bytes":"AA=="},"type":"json"}
{"key":["json",3],"value":"text","type":"json"}
{"key":["json",4],"value":12345678901234567890123,"type":"json"}
{"key":["keys",{"$bytes":"/w=="},"a\u0000\"b",{"$int":"-340282366920938463463374607431768211456"},-1.5,false,true],"value":1,"type":"int"}
{"key":["text"],"value":"line\nend \" \\ é \u0000","type":"text"}
{"key":["u64"],"value":{"$u64":"18446744073709551615"},"type":"u64"}
{"key":["v8"],"value":{"$bytes":"/w8iAmhp"},"type":"v8","expires_at":"2999-12-31T23:59:59.000Z"}
{"key":{"$raw":"/v8="},"value":"not a tuple","type":"text"}
"#;

#[test]
fn an_export_is_imported_to_the_same_export() {
    on_both(|run, target| {
        let import = |input: &str| {
            let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
            run_with_input(arguments, input.as_bytes()).fine();
        };
        import(EVERY_TYPE);
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), EVERY_TYPE);
        // With versionstamps, which an import reads over.
        let stamped = run(&["export", "-"]).fine();
        assert_ne!(stamped, EVERY_TYPE);
        import(&stamped);
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), EVERY_TYPE);
        let bytes =
            run(&["export", "-", "--no-versionstamps", "--prefix", "float", "--limit", "1", "--reverse"])
                .fine();
        assert_eq!(bytes, "{\"key\":[\"float\",7],\"value\":{\"$number\":\"NaN\"},\"type\":\"float\"}\n");
    });
}

#[test]
fn lines_may_leave_out_what_can_be_guessed() {
    on_both(|run, target| {
        let input = "{\"key\":\"name\",\"value\":1}\n\n  {\"key\": [\"a\", 1], \"value\": {\"b\": null}, \"ttl\": \"7d\"}\r\n{\"key\":\"name\",\"value\":2}";
        let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
        let outcome = run_with_input(arguments, input.as_bytes());
        assert!(outcome.stderr.contains("imported 3 entries (4 lines)"), "{outcome:?}");
        assert_eq!(run(&["get", "name"]).fine(), "2", "the later line wins");
        assert_eq!(run(&["get", "[\"a\",1]"]).fine(), "{\"b\": null}");
    });
}

fn line(number: usize) -> String {
    format!("{{\"key\":[\"n\",{number}],\"value\":\"{number}\",\"type\":\"text\"}}\n")
}

fn lines(numbers: impl IntoIterator<Item = usize>) -> String {
    numbers.into_iter().map(line).collect()
}

#[test]
fn a_bad_line_stops_the_import_and_is_named() {
    on_both(|run, target| {
        let scratch = Scratch::new();
        for (bad, what) in [
            ("{\"key\":[\"n\"],\"value\":}\n", "expected value, column 22"),
            ("{\"key\":[\"n\"]}\n", "no value"),
            ("{\"key\":[null],\"value\":1}\n", "null"),
            ("{\"key\":[\"n\"],\"value\":1,\"type\":\"text\"}\n", "text"),
            ("{\"key\":[\"n\"],\"value\":{\"$bytes\":\"?\"}}\n", "base64"),
            ("{\"key\":[\"n\"],\"vaule\":1}\n", "vaule"),
            ("not JSON\n", "expected ident, column 2"),
        ] {
            let good = lines(0..2_500);
            let file = scratch.write("bad.ndjson", &(good.clone() + bad + &line(9_999)));
            let stderr = run(&["import", &file]).failed(1);
            let place = format!("bad.ndjson, line 2501 (from byte {}): ", good.len());
            assert!(stderr.contains(&place) && stderr.contains(what), "{stderr}");
            assert!(stderr.contains("everything up to line 2500 is on disk; --skip-lines 2500"), "{stderr}");
            assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), good);
        }
        let input = ["import", "-", "--skip-lines", "1"].into_iter().chain(target.iter().copied());
        run_with_input(input, ("not JSON\n".to_owned() + &line(2_500)).as_bytes()).fine();
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), lines(0..=2_500));
    });
}

#[test]
fn an_import_resumes_behind_what_is_on_disk() {
    on_both(|run, _| {
        let scratch = Scratch::new();
        let file = scratch.write("in.ndjson", &(lines(0..3_300) + "bad\n" + &lines(3_301..4_000)));
        let stderr = run(&["import", "--resume", &file]).failed(1);
        assert!(stderr.contains("line 3301") && stderr.contains("--resume goes on behind it"), "{stderr}");
        assert!(scratch.read("in.ndjson.progress").contains("\"lines\":3300"));
        // Another file under the same name is not gone on with.
        scratch.write("in.ndjson", &lines(1..4_000));
        assert!(run(&["import", "--resume", &file]).failed(1).contains("are not those that were imported"));
        scratch.write("in.ndjson", &lines(0..4_000));
        // What was imported already is not written again.
        run(&["delete", "[\"n\",0]"]).fine();
        run(&["import", "--resume", &file]).fine();
        assert_eq!(run(&["export", "-", "--no-versionstamps"]).fine(), lines(1..4_000));
        assert!(!scratch.path("in.ndjson.progress").exists());
    });
}

#[test]
fn an_import_that_lost_its_server_says_where_to_go_on() {
    let scratch = Scratch::new();
    let server = Server::start(&scratch.path("data"));
    let mut import = orchard();
    import.args(["import", "-", "--url", &server.url()]);
    let mut import = import.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut stdin = import.stdin.take().expect("piped");
    stdin.write_all(lines(0..5_000).as_bytes()).expect("it reads");
    // Wait for a commit in the middle; the import goes on meanwhile.
    while server.get("/v1/kv?key=%5B%22n%22%2C1999%5D").status != 200 {}
    server.kill();
    // It may end before it has read all of this.
    let feed = std::thread::spawn(move || drop(stdin.write_all(lines(5_000..60_000).as_bytes())));
    let stderr: Vec<String> = BufReader::new(import.stderr.take().expect("piped"))
        .lines()
        .map(|line| line.expect("readable"))
        .collect();
    assert_eq!(import.wait().expect("it ends").code(), Some(1));
    feed.join().expect("fed");
    let report = stderr.last().expect("a report");
    let committed =
        report.split("up to line ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a line");
    let committed: usize = committed.parse().expect("a number");
    assert!(committed < 60_000 && committed.is_multiple_of(1_000), "{report}");

    let server = Server::start(&scratch.path("data"));
    let export = |url: &str| run(["export", "-", "--no-versionstamps", "--url", url]).fine();
    let before = export(&server.url());
    assert!(before.starts_with(&lines(0..committed)), "all that was reported is there");
    let file = scratch.write("all.ndjson", &lines(0..60_000));
    run(["import", &file, "--skip-lines", &committed.to_string(), "--url", &server.url()]).fine();
    assert!(export(&server.url()) == lines(0..60_000), "the export differs from the import");
}

#[test]
fn a_later_line_of_the_same_key_wins_over_concurrent_commits() {
    on_both(|run, target| {
        let input: String = (0..20_000)
            .map(|number| format!("{{\"key\":[\"k\",{}],\"value\":{number}}}\n", number % 1_500))
            .collect();
        let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
        run_with_input(arguments, input.as_bytes()).fine();
        for line in run(&["export", "-"]).fine().lines() {
            let entry: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let key = entry["key"][1].as_u64().expect("a number");
            let newest = (0..20_000).rev().find(|number| number % 1_500 == key);
            assert_eq!(entry["value"].as_u64(), newest, "{line}");
        }
    });
}

#[test]
fn large_values_travel_both_ways() {
    on_both(|run, target| {
        let value = "é".repeat(1 << 20);
        let input: String = (0..5)
            .map(|number| {
                format!("{{\"key\":[\"large\",{number}],\"value\":\"{value}\",\"type\":\"text\"}}\n")
            })
            .collect();
        let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
        run_with_input(arguments, input.as_bytes()).fine();
        assert!(
            run(&["export", "-", "--no-versionstamps"]).fine() == input,
            "the export differs from the import"
        );
        let arguments = ["put", "too-large", "-"].into_iter().chain(target.iter().copied());
        let stderr = run_with_input(arguments, &vec![b'a'; 64 << 20]).failed(1);
        let told = "value_size_bytes is 16777217 or more, over the limit of 16777216";
        assert!(stderr.contains(told), "it may have no end: {stderr}");
    });
}

#[test]
fn the_largest_value_travels_both_ways_whatever_is_in_it() {
    on_both(|run, target| {
        let value = vec![0; 16 << 20];
        let with = |arguments: &[&'static str], input: &[u8]| {
            let arguments = arguments.iter().copied().chain(target.iter().copied());
            run_with_input(arguments, input).fine()
        };
        with(&["put", "zeros", "-"], &value);
        let exported = run(&["export", "-", "--no-versionstamps"]).fine();
        run(&["delete", "zeros"]).fine();
        with(&["import", "-"], exported.as_bytes());
        assert!(run(&["get", "zeros"]).fine().as_bytes() == value, "another value came back");
        assert!(run(&["export", "-", "--no-versionstamps"]).fine() == exported, "the exports differ");
        assert!(exported.contains("\"type\":\"text\""), "it stays a text");
    });
}

#[test]
fn a_port_that_is_none_is_not_another_one() {
    let stderr = run(["get", "a", "--url", "http://127.0.0.1:70000"]).failed(2);
    assert!(stderr.contains("the port is 70000, over the limit of 65535"), "{stderr}");
}

#[test]
fn an_export_to_a_file_has_its_name_when_it_is_whole() {
    on_both(|run, _| {
        run(&["put", "k", "v"]).fine();
        let scratch = Scratch::new();
        run(&["export", &scratch.at("out.ndjson")]).fine();
        assert!(scratch.read("out.ndjson").starts_with("{\"key\":[\"k\"],\"value\":\"v\""));
        assert!(!scratch.path("out.ndjson.partial").exists());
        run(&["export", "/dev/null"]).fine();
    });
}

#[test]
fn the_repl_reads_from_a_pipe() {
    on_both(|_, target| {
        let repl = |input: &str| {
            run_with_input(["repl"].into_iter().chain(target.iter().copied()), input.as_bytes())
        };
        let outcome = repl(
            "put apple \"red and green\"\nGet apple\n# a comment\n\nincr N 5\nSCAN --keys-only\nget pear\nDELETE apple\nget apple\nexit\nget apple\n",
        );
        let stdout = outcome.fine();
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines.get(1..5), Some(&["red and green", "5", "N", "apple"][..]), "{stdout}");
        assert_eq!(
            (lines.get(5), lines.get(7), lines.len()),
            (Some(&"(not found)"), Some(&"(not found)"), 8),
            "{stdout}"
        );
        let outcome = repl("fly\nput a 'open\nput t text\nincr t\nput b 2 --type int\nget b\n");
        let last = outcome.stdout.lines().last().map(str::to_owned);
        assert_eq!(
            (outcome.code, last.as_deref()),
            (Some(1), Some("2")),
            "the lines behind a bad one are run: {outcome:?}"
        );
        assert!(repl("help\nhelp put\n").fine().contains("scan"));
        let arguments = ["repl"].into_iter().chain(target.iter().copied());
        let outcome = run_with_input(arguments, b"put c 3\nget \xff\nget c");
        assert_eq!(
            outcome.stdout.lines().last(),
            Some("3"),
            "a line that is no text is one that fails: {outcome:?}"
        );
        assert!(outcome.failed(1).contains("not UTF-8 from byte 4"));
    });
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    on_both(|_, target| {
        let arguments = ["import", "-"].into_iter().chain(target.iter().copied());
        run_with_input(arguments, lines(0..20_000).as_bytes()).fine();
        for command in [&["scan"][..], &["export", "-"]] {
            let mut child = orchard();
            child.args(command).args(target).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = child.spawn().expect("it starts");
            let mut first = String::new();
            BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("readable");
            let outcome = common::Outcome::from(child.wait_with_output().expect("it ends"));
            assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""), "{command:?}");
        }
    });
}

#[test]
fn an_expiry_is_set_kept_and_taken_away() {
    on_both(|run, _| {
        let expires = |key: &str| run(&["get", key, "--json"]).fine().contains("expires_at");
        run(&["put", "k", "v", "--ttl", "1h"]).fine();
        run(&["put", "k", "w", "--ttl", "keep"]).fine();
        assert!(expires("k"));
        run(&["touch", "k", "--never"]).fine();
        assert!(!expires("k"));
        run(&["touch", "k", "--expires-at", "2999-01-01T00:00:00Z"]).fine();
        assert!(run(&["get", "k", "--json"]).fine().contains("\"expires_at\":\"2999-01-01T00:00:00.000Z\""));
        assert_eq!(run(&["get", "k"]).fine(), "w");
        run(&["put", "k", "x"]).fine();
        assert!(!expires("k"));
        assert_eq!(run(&["incr", "n", "--ttl", "1h"]).fine(), "1\n");
        assert!(expires("n"));
        assert!(run(&["touch", "none", "--ttl", "1h"]).failed(1).contains("there is no key none"));
        run(&["touch", "k"]).failed(2);
        run(&["put", "k", "v", "--ttl", "1h", "--expires-at", "2999-01-01T00:00:00Z"]).failed(2);
        assert!(run(&["put", "k", "v", "--ttl", "soon"]).failed(2).contains("ttl"));
    });
}

#[test]
fn a_batch_has_a_result_for_each_line() {
    on_both(|run, target| {
        run(&["put", "a", "1", "--type", "int"]).fine();
        let lines = concat!(
            "{\"op\": \"get\", \"key\": [\"a\"]}\n",
            "\n",
            "{\"op\": \"put\", \"key\": [\"b\"], \"value\": {\"$u64\": \"7\"}, \"ttl\": \"1h\"}\n",
            "{\"op\": \"get\", \"key\": [\"b\"]}\n",
            "{\"op\": \"delete\", \"key\": [\"a\"]}\n",
            "{\"op\": \"get\", \"key\": [\"a\"]}",
        );
        let arguments = ["batch"].into_iter().chain(target.iter().copied());
        let results = run_with_input(arguments, lines.as_bytes()).fine();
        let results: Vec<&str> = results.lines().collect();
        assert_eq!(results.len(), 5, "{results:?}");
        assert!(results[0].contains("\"value\":1,\"type\":\"int\""), "{results:?}");
        assert!(results[2].contains("{\"$u64\":\"7\"}") && results[2].contains("expires_at"), "{results:?}");
        assert!(results[4].contains("\"status\":404"), "{results:?}");
        let many: String = (0..2_500)
            .map(|number| format!("{{\"op\":\"put\",\"key\":[\"n\",{number}],\"value\":{number}}}\n"))
            .chain(["{\"op\":\"fly\",\"key\":[\"a\"]}\n".to_owned()])
            .collect();
        let arguments = ["batch", "-"].into_iter().chain(target.iter().copied());
        let outcome = run_with_input(arguments, many.as_bytes());
        assert_eq!(outcome.code, Some(1));
        let results = outcome.stdout;
        assert_eq!(results.lines().count(), 2_501);
        assert!(results.lines().last().is_some_and(|line| line.contains("bad_json")), "{results}");
        assert_eq!(run(&["scan", "--prefix", "n", "--keys-only"]).fine().lines().count(), 2_500);
    });
}

#[test]
fn keys_are_counted_by_their_beginnings() {
    on_both(|run, _| {
        for key in ["[\"users\",1]", "[\"users\",2]", "[\"logs\",1]", "user:1", "plain"] {
            run(&["put", key, "v"]).fine();
        }
        let shown = run(&["stats", "--by-prefix"]).fine();
        let lines: Vec<Vec<&str>> =
            shown.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
        assert_eq!(lines, [["users/", "2"], ["(names)", "1"], ["logs/", "1"], ["user:*", "1"]]);
        let json = run(&["stats", "--by-prefix", "--json"]).fine();
        assert!(json.contains("\"entries\":2") && json.contains("\"prefix\":\"users/\""), "{json}");
    });
}
