//! The Redis protocol: framing, access, pipelines, and the commands about the connection itself.

use crate::common::redis::request;
use crate::common::{TestServer, options};
use orchard_server::{Secret, ServerOptions};
use orcharddb::Db;
use std::net::Shutdown;

fn with_token() -> TestServer {
    let access_token = Some(Secret::new("orchard").expect("a token")).into();
    TestServer::start(Db::memory().expect("it opens"), ServerOptions { access_token, ..options() })
}

#[test]
fn inline_and_framed_commands_mix() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.write(b"PING\r\n\r\n*0\r\n*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\nset k \"a\\x00b\"\nGET k\r\nping 'hi there'\r\n");
    assert_eq!(client.read(), "+PONG");
    assert_eq!(client.read(), "\"\\r\\n\"");
    assert_eq!(client.read(), "+OK");
    assert_eq!(client.read(), "\"a\\x00b\"");
    assert_eq!(client.read(), "\"hi there\"");
    client.write(b"GET \"k\r\nPING\r\n");
    assert_eq!(client.read(), "-ERR Protocol error: unbalanced quotes in request");
    assert_eq!(client.rest(), "", "nothing runs behind a broken request");
}

#[test]
fn a_request_may_arrive_byte_by_byte() {
    let server = TestServer::memory();
    let mut client = server.redis();
    for byte in request(&["SET", "k", "v"]).into_iter().chain(request(&["GET", "k"])) {
        client.write(&[byte]);
    }
    assert_eq!((client.read().as_str(), client.read().as_str()), ("+OK", "\"v\""));
}

#[test]
fn pipelines_are_answered_in_order() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let mut bytes = Vec::new();
    for number in 0..2_000 {
        let number = number.to_string();
        bytes.extend(request(&["SET", "k", &number]));
        bytes.extend(request(&["GET", "k"]));
        bytes.extend(request(&["NONSENSE"]));
    }
    let mut writer = client.stream.get_ref().try_clone().expect("a second handle");
    let sender =
        std::thread::spawn(move || std::io::Write::write_all(&mut writer, &bytes).expect("it takes all"));
    for number in 0..2_000 {
        assert_eq!(client.read(), "+OK");
        assert_eq!(client.read(), format!("\"{number}\""), "a connection reads its own writes");
        assert_eq!(client.read(), "-ERR unknown command 'NONSENSE', with args beginning with: ");
    }
    sender.join().expect("it sent all");
}

#[test]
fn a_durable_database_answers_pipelines_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = TestServer::start(Db::open(directory.path()).expect("it opens"), options());
    let mut client = server.redis();
    let mut bytes = Vec::new();
    for number in 0..300 {
        bytes.extend(request(&["SET", "k", &number.to_string()]));
        bytes.extend(request(&["GET", "k"]));
        bytes.extend(request(&["PING"]));
    }
    client.write(&bytes);
    for number in 0..300 {
        assert_eq!(client.read(), "+OK");
        assert_eq!(client.read(), format!("\"{number}\""));
        assert_eq!(client.read(), "+PONG");
    }
    assert_eq!(server.get("/get/k").text(), "[INFO] (GET) KEY: k VALUE: 299\n");
}

#[test]
fn a_client_that_ends_its_side_gets_its_replies() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.write(b"SET k v\r\nGET k\r\n");
    client.stream.get_ref().shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(client.rest(), "+OK\\r\\n$1\\r\\nv\\r\\n");
}

#[test]
fn a_slow_reader_stops_being_read_and_loses_nothing() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let value = "v".repeat(1_000_000);
    assert_eq!(client.send(&["SET", "k", &value]), "+OK");
    client.write(&request(&["GET", "k"]).repeat(50));
    client.write(&request(&["ECHO", "end"]));
    for _ in 0..50 {
        assert_eq!(client.read().len(), value.len() + 2);
    }
    assert_eq!(client.read(), "\"end\"");
}

#[test]
fn who_leaves_too_much_lying_is_cut_at_the_limits_that_were_set() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let name = "client-output-buffer-limit";
    let shown = |normal: &str, pubsub: &str| {
        format!("[\"{name}\", \"normal {normal} slave 268435456 67108864 60 pubsub {pubsub}\"]")
    };
    assert_eq!(client.send(&["CONFIG", "GET", name]), shown("0 0 0", "33554432 8388608 60"));
    assert_eq!(client.send(&["CONFIG", "SET", name, "pubsub 100kb 0 0"]), "+OK");
    assert_eq!(client.send(&["CONFIG", "GET", name]), shown("0 0 0", "102400 0 0"));
    assert_eq!(
        client.send(&["CONFIG", "SET", name, "everybody 1 1 1"]),
        format!(
            "-ERR CONFIG SET failed (possibly related to argument '{name}') - Invalid client class specified in buffer limit configuration."
        )
    );
    // What lies in the sockets' buffers is not counted, so it takes some megabytes; the limit that is built in is 32.
    let mut listener = server.redis();
    assert_eq!(listener.run("SUBSCRIBE news"), "[\"subscribe\", \"news\", :1]");
    let message = "m".repeat(64 * 1024);
    let published = (0..).take_while(|_| client.send(&["PUBLISH", "news", &message]) == ":1").count();
    assert!(published * message.len() < 24 << 20, "cut after {published} messages");
    // Replies have no limit until one is set.
    let value = "v".repeat(1_000_000);
    assert_eq!(client.send(&["SET", "k", &value]), "+OK");
    assert_eq!(client.send(&["GET", "k"]).len(), value.len() + 2);
    assert_eq!(client.send(&["CONFIG", "SET", name, "normal 100000 0 0"]), "+OK");
    client.write(&request(&["GET", "k"]));
    assert!(client.rest().len() < value.len(), "the connection is closed before the reply's end");
}

#[test]
fn who_is_idle_for_too_long_is_closed() {
    let server = TestServer::memory();
    let mut client = server.redis();
    assert_eq!(client.run("CONFIG GET t*e*out*"), "[\"timeout\", \"0\"]");
    let mut half = server.redis();
    half.write(b"*2\r\n$3\r\nGET\r\n$1");
    let mut listener = server.redis();
    assert_eq!(listener.run("SUBSCRIBE news"), "[\"subscribe\", \"news\", :1]");
    let mut waiting = server.redis();
    waiting.write(&request(&["BLPOP", "queue", "0"]));
    let failed = "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument";
    assert_eq!(
        client.run("CONFIG SET timeout -1"),
        format!("{failed} must be between 0 and 2147483647 inclusive")
    );
    assert_eq!(client.run("CONFIG SET timeout soon"), format!("{failed} couldn't be parsed into an integer"));
    assert_eq!(client.run("CONFIG SET timeout 1"), "+OK");
    assert_eq!(client.run("CONFIG GET timeout"), "[\"timeout\", \"1\"]");
    assert_eq!(half.rest(), "", "half a request does not hold a connection");
    let mut client = server.redis();
    assert_eq!(client.run("CONFIG SET timeout 0"), "+OK");
    assert_eq!(client.run("RPUSH queue apple"), ":1");
    assert_eq!(waiting.read(), "[\"queue\", \"apple\"]");
    assert_eq!(client.run("PUBLISH news hello"), ":1");
    assert_eq!(listener.read(), "[\"message\", \"news\", \"hello\"]");
}

#[test]
fn what_breaks_the_protocol_is_told_and_closed() {
    let server = TestServer::memory();
    for (bytes, error) in [
        (&b"*x\r\n"[..], "invalid multibulk length"),
        (b"*2\r\n$3\r\nGET\r\n$536870912\r\n", "invalid bulk length"),
        (b"*2\r\n$3\r\nGET\r\n+x\r\n", "expected '$', got '+'"),
    ] {
        let mut client = server.redis();
        client.write(bytes);
        assert_eq!(client.read(), format!("-ERR Protocol error: {error}"));
        assert_eq!(client.rest(), "");
    }
    let mut client = server.redis();
    client.write(&[b'*'; 70_000]);
    assert_eq!(client.read(), "-ERR Protocol error: too big mbulk count string");
}

#[test]
fn http_never_runs_a_command() {
    let server = TestServer::memory();
    for bytes in [
        &b"SET k before\r\nPOST / HTTP/1.1\r\nSET k after\r\n"[..],
        b"SET k before\r\nHost: localhost:4206\r\nSET k after\r\n",
        b"SET k before\r\nGET / HTTP/1.1\r\nSET k after\r\n",
    ] {
        let mut client = server.redis();
        client.write(bytes);
        assert_eq!(client.rest(), "+OK\\r\\n", "{}", bytes.escape_ascii());
        assert_eq!(server.redis().run("GET k"), "\"before\"");
    }
}

#[test]
fn names_arity_and_subcommands_are_checked() {
    let server = TestServer::memory();
    server.redis().check(&[
        ("get", "-ERR wrong number of arguments for 'get' command"),
        ("GET a b", "-ERR wrong number of arguments for 'get' command"),
        ("foo bar baz", "-ERR unknown command 'foo', with args beginning with: 'bar' 'baz' "),
        ("client", "-ERR wrong number of arguments for 'client' command"),
        ("client nope", "-ERR unknown subcommand 'nope'. Try CLIENT HELP."),
        ("client setname", "-ERR wrong number of arguments for 'client|setname' command"),
        ("ping a b", "-ERR wrong number of arguments for 'ping' command"),
        ("PiNg", "+PONG"),
    ]);
    let mut client = server.redis();
    client.write(b"*1\r\n$8\r\nfoo\r\nbar\r\n");
    assert_eq!(client.read(), "-ERR unknown command 'foo  bar', with args beginning with: ");
}

#[test]
fn an_access_token_is_demanded() {
    let server = with_token();
    let mut client = server.redis();
    client.check(&[
        ("PING", "-NOAUTH Authentication required."),
        ("GET k", "-NOAUTH Authentication required."),
        ("AUTH wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH ada orchard", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH a b c", "-ERR syntax error"),
        ("HELLO 3 AUTH default wrong", "-WRONGPASS invalid username-password pair or user is disabled."),
        ("AUTH default orchard", "+OK"),
        ("PING", "+PONG"),
        ("RESET", "+RESET"),
        ("PING", "-NOAUTH Authentication required."),
        ("AUTH orchard", "+OK"),
        ("SET k v", "+OK"),
    ]);
    assert!(
        server.redis().run("HELLO 3").starts_with("-NOAUTH HELLO must be called with the client already")
    );
    assert!(server.redis().run("HELLO 3 AUTH default orchard").starts_with("{\"server\": \"redis\""));
    // The limits of strangers end within a pipeline.
    let mut client = server.redis();
    let many: Vec<String> =
        std::iter::once("ECHO".to_owned()).chain((0..20).map(|word| word.to_string())).collect();
    client.write(&[request(&["AUTH", "orchard"]), request(&many), request(&["PING"])].concat());
    assert_eq!(client.read(), "+OK");
    assert_eq!(client.read(), "-ERR wrong number of arguments for 'echo' command");
    assert_eq!(client.read(), "+PONG");
    let mut client = server.redis();
    client.write(&request(&many));
    assert_eq!(client.read(), "-ERR Protocol error: unauthenticated multibulk length");
}

#[test]
fn versions_databases_and_names() {
    let server = TestServer::memory();
    let mut client = server.redis();
    assert_eq!(
        client.run("HELLO 3 SETNAME plum"),
        "{\"server\": \"redis\", \"version\": \"7.0.15\", \"proto\": :3, \"id\": :1, \"mode\": \"standalone\", \
         \"role\": \"master\", \"modules\": []}"
    );
    client.check(&[
        ("GET nothing", "_"),
        ("CLIENT GETNAME", "\"plum\""),
        ("HELLO 4", "-NOPROTO unsupported protocol version"),
        ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
        ("HELLO 3 what", "-ERR Syntax error in HELLO option 'what'"),
        ("CLIENT ID", ":1"),
        ("CLIENT TRACKINGINFO", "{\"flags\": ~[\"off\"], \"redirect\": :-1, \"prefixes\": []}"),
        ("RESET", "+RESET"),
        ("GET nothing", "nil"),
        ("CLIENT GETNAME", "nil"),
        ("SET k zero", "+OK"),
        ("SELECT 15", "+OK"),
        ("GET k", "nil"),
        ("SET k fifteen", "+OK"),
        ("SELECT 0", "+OK"),
        ("GET k", "\"zero\""),
        ("SELECT 16", "-ERR DB index is out of range"),
        ("SELECT -1", "-ERR DB index is out of range"),
        ("SELECT x", "-ERR value is not an integer or out of range"),
        ("CLIENT SETINFO LIB-NAME redis-py", "+OK"),
        ("CLIENT NO-EVICT on", "+OK"),
    ]);
    assert_eq!(
        server.send("GET", "/v1/kv/k?db=15", &[], b"").text(),
        "fifteen",
        "databases are the same by name"
    );
    let list = client.run("CLIENT LIST");
    assert!(list.contains("id=1 ") && list.contains(" lib-name=redis-py "), "{list}");
    assert_eq!(client.run("QUIT"), "+OK");
    assert_eq!(client.rest(), "");
}

#[test]
fn clients_end_each_other_and_may_want_no_replies() {
    let server = TestServer::memory();
    let (mut one, mut other) = (server.redis(), server.redis());
    let id = other.run("CLIENT ID");
    assert_eq!(one.run(&format!("CLIENT KILL ID {}", &id[1..])), ":1");
    assert_eq!(other.rest(), "");
    assert_eq!(one.run("CLIENT KILL 1.2.3.4:5"), "-ERR No such client");
    one.write(b"CLIENT REPLY OFF\r\nSET k v\r\nCLIENT REPLY ON\r\nCLIENT REPLY SKIP\r\nPING\r\nGET k\r\n");
    assert_eq!((one.read().as_str(), one.read().as_str()), ("+OK", "\"v\""));
    let own = one.run("CLIENT ID");
    assert_eq!(one.run(&format!("CLIENT KILL ID {} SKIPME no", &own[1..])), ":1", "the reply comes first");
    assert_eq!(one.rest(), "");
}

#[test]
fn a_stop_ends_idle_connections() {
    let mut server = TestServer::memory();
    let mut client = server.redis();
    assert_eq!(client.run("PING"), "+PONG");
    server.begin_stop();
    assert_eq!(client.rest(), "");
    server.join();
}
