//! The Redis protocol: bitmaps, publish and subscribe, keyspace notifications, and the server about itself.

use crate::common::TestServer;
use crate::common::redis::request;

#[test]
fn keys_and_what_becomes_of_them_are_told() {
    let server = TestServer::memory();
    server.redis().check(&[
        (
            "COMMAND GETKEYSANDFLAGS LMOVE a b LEFT LEFT",
            "[[\"a\", [+RW, +access, +delete]], [\"b\", [+RW, +insert]]]",
        ),
        ("COMMAND GETKEYSANDFLAGS SET a 1", "[[\"a\", [+OW, +update]]]"),
        ("COMMAND GETKEYSANDFLAGS SET a 1 GET", "[[\"a\", [+RW, +access, +update]]]"),
        (
            "COMMAND GETKEYSANDFLAGS ZUNIONSTORE d 2 a b",
            "[[\"d\", [+OW, +update]], [\"a\", [+RO, +access]], [\"b\", [+RO, +access]]]",
        ),
        ("COMMAND GETKEYSANDFLAGS MGET a b", "[[\"a\", [+RO, +access]], [\"b\", [+RO, +access]]]"),
        ("COMMAND GETKEYSANDFLAGS LMPOP 1 a LEFT", "[[\"a\", [+RW, +access, +delete]]]"),
        ("COMMAND GETKEYSANDFLAGS PING x", "-ERR The command has no key arguments"),
    ]);
}

#[test]
fn numbers_about_the_server_are_true() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("SADD numbers 1 2 300", ":3"),
        ("OBJECT ENCODING numbers", "\"intset\""),
        ("SADD numbers x", ":1"),
        ("OBJECT ENCODING numbers", "\"hashtable\""),
        ("OBJECT IDLETIME numbers", ":0"),
        ("CONFIG RESETSTAT", "+OK"),
        ("SET a 1 EX 100", "+OK"),
        ("SET b 1", "+OK"),
        ("GET a", "\"1\""),
        ("MULTI", "+OK"),
        ("GET a", "+QUEUED"),
        ("EXEC", "[\"1\"]"),
    ]);
    let stats = client.run("INFO commandstats");
    assert!(stats.contains("cmdstat_get:calls=2,") && stats.contains("cmdstat_set:calls=2,"), "{stats}");
    assert!(stats.contains("cmdstat_exec:calls=1,"), "{stats}");
    // A pipeline of two names, with errors of every kind.
    let requests = [
        request(&["INCR", "numbers"]),
        request(&["LLEN", "numbers"]),
        request(&["LLEN", "a", "b"]),
        request(&["INCR", "b"]),
        request(&["NOSUCH"]),
        request(&["MULTI"]),
        request(&["LLEN", "numbers"]),
        request(&["EXEC"]),
    ];
    client.write(&requests.concat());
    requests.iter().for_each(|_| drop(client.read()));
    let stats = client.run("INFO commandstats");
    let of = |name: &str, field: &str| {
        let line =
            stats.split(&format!("cmdstat_{name}:")).nth(1).expect("it has run").split("\\r\\n").next();
        let value = line.and_then(|line| line.split(&format!("{field}=")).nth(1)?.split(',').next());
        value.and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert_eq!((of("incr", "calls"), of("incr", "failed_calls")), (2.0, 1.0));
    assert_eq!(
        (of("llen", "calls"), of("llen", "rejected_calls"), of("llen", "failed_calls")),
        (2.0, 1.0, 2.0)
    );
    assert!(of("set", "usec_per_call") > 0.0, "{stats}");
    let stats = client.run("INFO errorstats");
    assert!(stats.contains("errorstat_ERR:count=2\\r\\n"), "{stats}");
    assert!(stats.contains("errorstat_WRONGTYPE:count=3\\r\\n"), "{stats}");
    let keys = client.run("INFO keyspace");
    assert!(keys.contains("db0:keys=3,expires=1,avg_ttl="), "{keys}");
    assert!(!keys.contains("avg_ttl=0"), "{keys}");
    client.check(&[("PERSIST a", ":1")]);
    assert!(client.run("INFO keyspace").contains("db0:keys=3,expires=0,avg_ttl=0"));
    assert!(client.run("INFO cpu").contains("used_cpu_user:"));
    assert!(client.run("INFO memory").contains("used_memory_rss:"));
}

/// As in Redis: what is looked for to be read counts, each key once, whatever the handler does.
#[test]
fn hits_and_misses_are_counted() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("MSET a 1 b 2", "+OK"),
        ("RPUSH list x", ":1"),
        ("SADD set x y", ":2"),
        ("HSET hash f 1", ":1"),
        ("ZADD zset 1 x", ":1"),
    ]);
    let mut counted = |lines: &[&str], hits: u32, misses: u32| {
        assert_eq!(client.run("CONFIG RESETSTAT"), "+OK");
        client.write(
            &lines.iter().flat_map(|line| request(&line.split(' ').collect::<Vec<_>>())).collect::<Vec<_>>(),
        );
        lines.iter().for_each(|_| drop(client.read()));
        let stats = client.run("INFO stats");
        let expected = format!("keyspace_hits:{hits}\\r\\nkeyspace_misses:{misses}\\r\\n");
        assert!(stats.contains(&expected), "{lines:?}: {stats}");
    };
    counted(&["GET a", "GET none", "GET list", "STRLEN a", "GETRANGE none 0 1"], 3, 2);
    counted(
        &["MGET a b none", "EXISTS a a none", "TOUCH none", "TTL a", "TYPE none", "OBJECT ENCODING a"],
        6,
        4,
    );
    counted(
        &["SET a 1", "SETNX none2 1", "INCR a", "APPEND a 1", "DEL none", "EXPIRE a 1000", "RENAME a a"],
        0,
        0,
    );
    counted(
        &["SET a 1 GET", "GETSET none3 1", "GETEX a", "GETDEL none", "COPY a c", "BITFIELD a GET u8 0"],
        4,
        2,
    );
    counted(
        &["SRANDMEMBER set", "HRANDFIELD hash 2 WITHVALUES", "ZRANDMEMBER none", "ZRANGE zset 0 -1"],
        3,
        1,
    );
    counted(
        &["LRANGE list 0 -1", "LLEN none", "LPUSH list y", "LPOP none", "HGETALL hash", "HGET list f"],
        3,
        1,
    );
    counted(
        &["SINTERSTORE to set none", "SUNION set set", "ZUNIONSTORE to 2 zset none", "ZINTER 2 zset set"],
        6,
        2,
    );
    counted(&["LCS list set", "WATCH a none", "UNWATCH"], 2, 0);
    counted(&["MULTI", "GET a", "GET none", "SET d 1", "EXEC"], 1, 1);
    counted(&["MULTI", "GET a", "GET none", "EXEC"], 1, 1);
}

#[test]
fn latencies_are_told() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[("LATENCY HISTOGRAM get nosuch", "[]"), ("SET a 1", "+OK"), ("GET a", "\"1\"")]);
    assert!(client.run("INFO latencystats").contains("latency_percentiles_usec_get:p50="));
    let told = client.run("LATENCY HISTOGRAM get");
    assert!(told.starts_with("[\"get\", [\"calls\", :1, \"histogram_usec\", [:"), "{told}");
    assert!(told.ends_with(", :1]]]"), "{told}");
    client.check(&[("CONFIG RESETSTAT", "+OK"), ("LATENCY HISTOGRAM get", "[]")]);
    let memory = client.run("INFO memory");
    for field in ["used_memory_peak:", "used_memory_peak_human:", "total_system_memory:"] {
        assert!(memory.contains(field), "{field} {memory}");
    }
}

/// `keymiss` tells of what a command looked for in vain, also one that writes, and not of what it never came to look for.
#[test]
fn misses_are_told_as_redis_looks() {
    let server = TestServer::memory();
    let (mut client, mut listener) = (server.redis(), server.redis());
    client.check(&[
        ("CONFIG SET notify-keyspace-events KEAn", "+OK"),
        ("CONFIG GET notify-keyspace-events", r#"["notify-keyspace-events", "AKE"]"#),
        ("CONFIG SET notify-keyspace-events nmE", "+OK"),
        ("CONFIG GET notify-keyspace-events", r#"["notify-keyspace-events", "nEm"]"#),
        ("RPUSH list x", ":1"),
        ("SADD set x", ":1"),
    ]);
    listener.check(&[("SUBSCRIBE __keyevent@0__:keymiss", r#"["subscribe", "__keyevent@0__:keymiss", :1]"#)]);
    let mut told = |line: &str, missed: &[&str]| {
        client.run(line);
        for key in missed {
            let expected = format!(r#"["message", "__keyevent@0__:keymiss", "{key}"]"#);
            assert_eq!(listener.read(), expected, "{line}");
        }
    };
    told("GET a", &["a"]);
    told("GETSET g 1", &["g"]);
    told("SET s 1 GET", &["s"]);
    told("SET s2 1", &[]);
    told("SINTERSTORE to a set b", &["a", "b"]);
    told("SUNION a list b", &["a"]);
    told("BITOP AND to s a", &["a"]);
    told("BITFIELD bits GET u8 0", &["bits"]);
    told("BITFIELD bits SET u8 0 1", &[]);
    told("ZRANGEBYLEX c x y", &[]);
    told("ZUNION 1 c NONSENSE", &["c"]);
    told("COPY d e", &["d"]);
    told("WATCH d e", &[]);
    told("MULTI", &[]);
    told("GETDEL f", &[]);
    told("LLEN h", &[]);
    told("EXEC", &["f", "h"]);
    told("GET last", &["last"]);
}

/// While clients are paused their requests wait where they are, and go on when the pause is over.
#[test]
fn a_pause_holds_commands() {
    let server = TestServer::memory();
    let (mut client, mut other, mut reader) = (server.redis(), server.redis(), server.redis());
    client.check(&[
        ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "-ERR timeout is negative"),
        ("CLIENT PAUSE 1 SOME", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT PAUSE 600000 WRITE", "+OK"),
    ]);
    other.write(&[request(&["GET", "k"]), request(&["SET", "k", "1"]), request(&["GET", "k"])].concat());
    assert_eq!(other.read(), "nil", "reads go on");
    // The other connection has come to its write, which waits.
    reader.check(&[("GET k", "nil"), ("MULTI", "+OK"), ("SET m 1", "+QUEUED")]);
    reader.write(&request(&["EXEC"]));
    client.check(&[("EXISTS k m", ":0"), ("CLIENT UNPAUSE", "+OK")]);
    assert_eq!((other.read(), other.read()), ("+OK".to_owned(), "\"1\"".to_owned()));
    assert_eq!(reader.read(), "[+OK]");
    // One that ends by itself; it holds whoever asked for it, too.
    client.check(&[("CLIENT PAUSE 20 ALL", "+OK"), ("GET k", "\"1\"")]);
}

#[test]
fn bitmaps_are_strings() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.check(&[
        ("SETBIT k 7 1", ":0"),
        ("GETBIT k 7", ":1"),
        ("GETBIT k 100", ":0"),
        ("GET k", "\"\\x01\""),
        ("SETBIT k 4294967296 1", "-ERR bit offset is not an integer or out of range"),
        ("SETBIT k 200000000 1", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
        ("SETBIT k 0 2", "-ERR bit is not an integer or out of range"),
        ("SET k foobar", "+OK"),
        ("BITCOUNT k", ":26"),
        ("BITCOUNT k 1 1", ":6"),
        ("BITCOUNT k 5 30 BIT", ":17"),
        ("BITCOUNT k -1 -2", ":0"),
        ("BITPOS k 0", ":0"),
        ("BITPOS k 1 2", ":17"),
        ("BITPOS nothing 1", ":-1"),
        ("BITOP NOT all k", ":6"),
        ("BITOP AND none k all", ":6"),
        ("BITCOUNT none", ":0"),
        ("BITOP NOT none k all", "-ERR BITOP NOT must be called with a single source key."),
        ("BITOP OR none nothing", ":0"),
        ("GET none", "nil"),
        ("BITFIELD f INCRBY u2 100 1 OVERFLOW SAT INCRBY u2 102 1", "[:1, :1]"),
        ("BITFIELD f INCRBY u2 100 3 OVERFLOW FAIL INCRBY u2 102 3", "[:0, nil]"),
        ("BITFIELD f SET i8 #1 -100 GET i8 #1 GET u4 8", "[:0, :-100, :9]"),
        ("BITFIELD f GET u64 0", "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is."),
        ("BITFIELD_RO f GET u8 8", "[:156]"),
        ("BITFIELD_RO f SET u8 8 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
    ]);
}

#[test]
fn messages_reach_those_who_listen() {
    let server = TestServer::memory();
    let (mut old, mut new, mut speaker) = (server.redis(), server.redis(), server.redis());
    old.write(&request(&["SUBSCRIBE", "news", "sport"]));
    assert_eq!(old.read(), "[\"subscribe\", \"news\", :1]");
    assert_eq!(old.read(), "[\"subscribe\", \"sport\", :2]");
    new.run("HELLO 3");
    assert_eq!(new.run("PSUBSCRIBE n*"), ">[\"psubscribe\", \"n*\", :1]");
    speaker.check(&[
        ("PUBLISH news hi", ":2"),
        ("PUBLISH nobody hi", ":1"),
        ("PUBSUB NUMSUB news weather", "[\"news\", :1, \"weather\", :0]"),
        ("PUBSUB NUMPAT", ":1"),
        ("PUBSUB CHANNELS s*", "[\"sport\"]"),
    ]);
    assert_eq!(old.read(), "[\"message\", \"news\", \"hi\"]");
    assert_eq!(new.read(), ">[\"pmessage\", \"n*\", \"news\", \"hi\"]");
    assert_eq!(new.read(), ">[\"pmessage\", \"n*\", \"nobody\", \"hi\"]");
    assert_eq!(new.run("GET nothing"), "_", "version 3 may do other things, too");
    new.write(&request(&["PUBLISH", "n", "own"]));
    assert_eq!(new.read(), ">[\"pmessage\", \"n*\", \"n\", \"own\"]");
    assert_eq!(new.read(), ":1");
    old.check(&[
        (
            "GET k",
            "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
             context",
        ),
        ("PING", "[\"pong\", \"\"]"),
        ("UNSUBSCRIBE news", "[\"unsubscribe\", \"news\", :1]"),
        ("UNSUBSCRIBE", "[\"unsubscribe\", \"sport\", :0]"),
        ("UNSUBSCRIBE", "[\"unsubscribe\", nil, :0]"),
        ("GET k", "nil"),
    ]);
    // Inside of a transaction a message is sent if that happens, and then only.
    assert_eq!(new.run("PSUBSCRIBE tx"), ">[\"psubscribe\", \"tx\", :2]");
    for line in ["MULTI", "PUBLISH tx no", "DISCARD", "MULTI", "SET k v", "PUBLISH tx yes"] {
        speaker.run(line);
    }
    assert_eq!(speaker.run("EXEC"), "[+OK, :1]");
    assert_eq!(new.read(), ">[\"pmessage\", \"tx\", \"tx\", \"yes\"]");
    assert_eq!(new.run("RESET"), "+RESET");
    assert_eq!(speaker.run("PUBLISH tx late"), ":0");
    drop(new);
}

#[test]
fn a_listener_that_takes_nothing_is_disconnected() {
    let server = TestServer::memory();
    let (mut deaf, mut speaker) = (server.redis(), server.redis());
    assert_eq!(deaf.run("SUBSCRIBE c"), "[\"subscribe\", \"c\", :1]");
    let message = "x".repeat(1 << 20);
    // What the kernel takes and what one connection may hold is less than this.
    let mut receivers = 1;
    for _ in 0..2_000 {
        if receivers == 0 {
            break;
        }
        receivers = speaker.send(&["PUBLISH", "c", &message])[1..].parse().expect("a count");
    }
    assert_eq!(receivers, 0, "it is gone");
    assert_eq!(speaker.run("PING"), "+PONG");
}

#[test]
fn changes_of_keys_are_told_after_the_commit() {
    let server = TestServer::memory();
    let (mut listener, mut client) = (server.redis(), server.redis());
    assert_eq!(listener.run("PSUBSCRIBE __key*__:*"), "[\"psubscribe\", \"__key*__:*\", :1]");
    client.check(&[
        ("SET quiet 1", "+OK"),
        ("CONFIG SET notify-keyspace-events KE$x", "+OK"),
        ("CONFIG GET notify-*", "[\"notify-keyspace-events\", \"$xKE\"]"),
        ("CONFIG SET notify-keyspace-events KEA", "+OK"),
        ("SELECT 3", "+OK"),
        ("SET k v EX 100", "+OK"),
        ("SETBIT k 1 9", "-ERR bit is not an integer or out of range"),
    ]);
    let mut heard = |event: &str, key: &str| {
        let by_key = format!("[\"pmessage\", \"__key*__:*\", \"__keyspace@3__:{key}\", \"{event}\"]");
        let by_event = format!("[\"pmessage\", \"__key*__:*\", \"__keyevent@3__:{event}\", \"{key}\"]");
        assert_eq!((listener.read(), listener.read()), (by_key, by_event));
    };
    heard("set", "k");
    heard("expire", "k");
    client.check(&[
        ("MULTI", "+OK"),
        ("SETBIT b 1 1", "+QUEUED"),
        ("SET k w", "+QUEUED"),
        ("EXEC", "[:0, +OK]"),
    ]);
    heard("setbit", "b");
    heard("set", "k");
    client.check(&[
        ("GETEX k PERSIST", "\"w\""),
        ("BITFIELD longer OVERFLOW FAIL INCRBY u2 100 7", "[nil]"),
        ("STRLEN longer", ":13"),
        ("EXPIRE k 100", ":1"),
        ("GETEX k PERSIST", "\"w\""),
        ("ZADD z 1 incr", ":1"),
        ("ZADD z INCR 2 m", "\"2\""),
        ("ZADD z CH INCR 2 m", "\"4\""),
    ]);
    for (event, key) in [("expire", "k"), ("persist", "k"), ("zadd", "z"), ("zincr", "z"), ("zincr", "z")] {
        heard(event, key);
    }
}

#[test]
fn a_monitor_sees_commands_and_the_slow_log_keeps_them() {
    let server = TestServer::memory();
    let (mut watcher, mut client) = (server.redis(), server.redis());
    assert_eq!(watcher.run("MONITOR"), "+OK");
    client.check(&[
        ("CONFIG SET slowlog-log-slower-than 0", "+OK"),
        ("SET k secret", "+OK"),
        ("AUTH hunter2", "+OK"),
        ("GET k", "\"secret\""),
        ("MULTI", "+OK"),
        ("GET k", "+QUEUED"),
        ("EXEC", "[\"secret\"]"),
        ("HELLO 2 AUTH default hunter3 SETNAME", "-ERR Syntax error in HELLO option 'SETNAME'"),
    ]);
    let slow = client.run("SLOWLOG GET 10");
    assert!(slow.contains("[\"AUTH\", \"(redacted)\"]") && !slow.contains("hunter"), "{slow}");
    client.check(&[
        ("SLOWLOG RESET", "+OK"),
        ("SET k v", "+OK"),
        ("CONFIG SET slowlog-log-slower-than -1", "+OK"),
        ("SLOWLOG GET junk", "-ERR count should be greater than or equal to -1"),
    ]);
    let seen: Vec<_> = (0..7).map(|_| watcher.read()).collect();
    let words = |line: &str| line.split_once("] ").expect("a line").1.to_owned();
    assert_eq!(words(&seen[0]), r#""SET" "k" "secret""#);
    assert_eq!(words(&seen[1]), r#""AUTH" "(redacted)""#);
    assert_eq!(words(&seen[2]), r#""GET" "k""#);
    let transaction: Vec<_> = seen[3..6].iter().map(|line| words(line)).collect();
    assert_eq!(transaction, [r#""MULTI""#, r#""GET" "k""#, r#""EXEC""#]);
    assert_eq!(words(&seen[6]), r#""HELLO" "2" "AUTH" "(redacted)" "(redacted)" "SETNAME""#);
    assert!(client.run("SLOWLOG GET").contains("[\"SET\", \"k\", \"v\"]"));
    assert!(client.run("CLIENT LIST").contains(" flags=O "));
}

#[test]
fn the_server_tells_of_itself() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let info = client.run("INFO");
    for field in
        ["redis_version:7.", "redis_mode:standalone", "connected_clients:1", "role:master", "loading:0"]
    {
        assert!(info.contains(field), "{field} in {info}");
    }
    client.run("SET k v");
    assert_eq!(client.run("INFO keyspace"), "\"# Keyspace\\r\\ndb0:keys=1,expires=0,avg_ttl=0\\r\\n\"");
    assert!(client.run("INFO nonsense") == "\"\"");
    client.check(&[
        ("CONFIG GET databases", "[\"databases\", \"16\"]"),
        ("CONFIG GET nonsense", "[]"),
        (
            "CONFIG SET port 1",
            "-ERR CONFIG SET failed (possibly related to argument 'port') - can't set immutable config",
        ),
        ("CONFIG SET nonsense 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'"),
        ("CONFIG NONSENSE", "-ERR unknown subcommand 'NONSENSE'. Try CONFIG HELP."),
        (
            "COMMAND INFO GET",
            "[[\"get\", :2, [+readonly, +fast], :1, :1, :1, [+@string, +@read, +@fast], [], [], []]]",
        ),
        ("COMMAND INFO nonsense", "[nil-array]"),
        ("COMMAND GETKEYS SET k v", "[\"k\"]"),
        ("COMMAND GETKEYS PING", "-ERR wrong number of arguments for 'command|getkeys' command"),
        ("COMMAND GETKEYS PING x", "-ERR The command has no key arguments"),
        ("COMMAND GETKEYS NONSENSE x", "-ERR Invalid command specified"),
        ("COMMAND LIST FILTERBY PATTERN bitf*", "[\"bitfield\", \"bitfield_ro\"]"),
        ("MEMORY USAGE nothing", "nil"),
        ("SAVE", "+OK"),
        ("BGSAVE", "+Background saving started"),
        ("ROLE", "[\"master\", :0, []]"),
        (
            "SHUTDOWN NOSAVE",
            "-ERR SHUTDOWN is not available: stop the server with SIGTERM, which flushes everything first",
        ),
        ("LATENCY LATEST", "[]"),
    ]);
    let count: usize = client.run("COMMAND COUNT")[1..].parse().expect("a count");
    client.write(&request(&["COMMAND"]));
    assert!(count > 20 && client.read().matches("[\"").count() > count);
    let time = client.run("TIME");
    assert!(time.starts_with("[\"1") || time.starts_with("[\"2"), "{time}");
    assert!(client.run("LASTSAVE")[1..].parse::<u64>().expect("seconds") > 1_600_000_000);
}

#[test]
fn a_swap_of_databases_counts_at_once_in_a_pipeline() {
    let server = TestServer::memory();
    let mut client = server.redis();
    let mut bytes = Vec::new();
    for line in ["SET k v", "SWAPDB 0 2", "DEL k", "SET other w", "SELECT 2", "GET k"] {
        bytes.extend(request(&line.split(' ').collect::<Vec<_>>()));
    }
    client.write(&bytes);
    let replies: Vec<_> = (0..6).map(|_| client.read()).collect();
    assert_eq!(replies, ["+OK", "+OK", ":0", "+OK", "+OK", "\"v\""]);
    assert_eq!(
        client.run("SELECT 99999999999"),
        "-ERR value is out of range, value must between -2147483648 and 2147483647"
    );
}

#[test]
fn commands_are_explained() {
    let server = TestServer::memory();
    let mut client = server.redis();
    client.run("HELLO 3");
    client.check(&[
        (
            "COMMAND DOCS EXPIRE",
            "{\"expire\": {\"summary\": \"Has a key expire after seconds.\", \"since\": \"1.0.0\", \"group\": \"generic\", \
             \"complexity\": \"O(1)\", \"arguments\": [{\"name\": \"key\", \"type\": \"key\"}, {\"name\": \"seconds\", \
             \"type\": \"integer\"}, {\"name\": \"condition\", \"type\": \"oneof\", \"flags\": ~[+optional], \"arguments\": \
             [{\"name\": \"nx\", \"type\": \"pure-token\", \"token\": \"NX\"}, {\"name\": \"xx\", \"type\": \"pure-token\", \
             \"token\": \"XX\"}, {\"name\": \"gt\", \"type\": \"pure-token\", \"token\": \"GT\"}, {\"name\": \"lt\", \
             \"type\": \"pure-token\", \"token\": \"LT\"}]}]}}",
        ),
        (
            "COMMAND DOCS PUBSUB|NUMPAT nothing",
            "{\"pubsub|numpat\": {\"summary\": \"Counts the patterns that somebody listens to.\", \"since\": \"2.8.0\", \
             \"group\": \"pubsub\", \"complexity\": \"O(1)\"}}",
        ),
        (
            "COMMAND INFO BLPOP",
            "[[\"blpop\", :-3, ~[+write, +noscript, +blocking], :1, :-2, :1, ~[+@list, +@write, +@blocking, +@slow], \
             ~[], ~[], ~[]]]",
        ),
    ]);
    assert!(client.run("COMMAND DOCS").len() > 50_000, "all of them");
}
