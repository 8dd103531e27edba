//! The Rust client fred, in both protocol versions: what its users do on a day, and the same keys over HTTP.
//!
//!     cargo run -- 127.0.0.1:4206
//!
//! It empties the database.

use fred::clients::SubscriberClient;
use fred::prelude::*;
use fred::types::sorted_sets::Ordering;
use fred::types::{ClientUnblockFlag, RespVersion};
use std::collections::{BTreeSet, HashMap};
use std::io::{Read, Write};
use std::time::Duration;

struct Session {
    address: String,
    checks: usize,
}

impl Session {
    fn is<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, wanted: T, found: T) {
        self.checks += 1;
        assert_eq!(found, wanted, "{what}");
    }

    fn builder(&self, version: RespVersion) -> Result<Builder, Error> {
        let mut config = Config::from_url(&format!("redis://{}", self.address))?;
        config.version = version;
        let mut builder = Builder::from_config(config);
        builder.set_policy(ReconnectPolicy::new_constant(20, 50));
        Ok(builder)
    }

    /// What curl would see.
    fn http(&self, path: &str) -> std::io::Result<String> {
        let mut stream = std::net::TcpStream::connect(&self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).ok_or("the server's address?")?;
    let mut session = Session { address, checks: 0 };
    for version in [RespVersion::RESP2, RespVersion::RESP3] {
        let client = session.builder(version.clone())?.build()?;
        client.init().await?;
        let _: () = client.flushall(false).await?;
        strings(&mut session, &client).await?;
        collections(&mut session, &client).await?;
        transactions(&mut session, &client).await?;
        waiting(&mut session, &client, version.clone()).await?;
        messages(&mut session, version.clone()).await?;
        reconnecting(&mut session, &client).await?;
        client.quit().await?;
    }
    println!("{} checks", session.checks);
    Ok(())
}

async fn strings(session: &mut Session, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let none: Option<String> = client.get("apple").await?;
    session.is("absent", None, none);
    let _: () = client.set("apple", "red", Some(Expiration::EX(100)), Some(SetOptions::NX), false).await?;
    let refused: Option<String> = client.set("apple", "blue", None, Some(SetOptions::NX), false).await?;
    session.is("SET NX", None, refused);
    session.is("GET", "red".to_owned(), client.get::<String, _>("apple").await?);
    session.is("over HTTP", "red".to_owned(), session.http("/v1/kv/apple")?);
    let left: i64 = client.ttl("apple").await?;
    session.is("TTL", true, (90..=100).contains(&left));
    let _: () = client.mset(HashMap::from([("a", 1), ("b", 2)])).await?;
    session.is(
        "MGET",
        vec![Some(1), None, Some(2)],
        client.mget::<Vec<Option<i64>>, _>(vec!["a", "none", "b"]).await?,
    );
    session.is("INCRBY", 11, client.incr_by::<i64, _>("a", 10).await?);
    session.is("INCRBYFLOAT", 11.5, client.incr_by_float::<f64, _>("a", 0.5).await?);
    session.is("GETDEL", Some("red".to_owned()), client.getdel("apple").await?);
    let bytes = Value::Bytes(vec![0, 255, 13, 10].into());
    let _: () = client.set("bytes", bytes.clone(), None, None, false).await?;
    session.is("any bytes", bytes, client.get("bytes").await?);
    let pipeline = client.pipeline();
    for _ in 0..100 {
        let _: () = pipeline.incr("count").await?;
    }
    let counted: Vec<i64> = pipeline.all().await?;
    session.is("a pipeline", (1..=100).collect::<Vec<_>>(), counted);
    let wrong = client.lpush::<i64, _, _>("a", "x").await.map_err(|error| error.details().to_owned());
    let text = "WRONGTYPE Operation against a key holding the wrong kind of value".to_owned();
    session.is("a wrong type", Err(text), wrong);
    Ok(())
}

async fn collections(session: &mut Session, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    session.is(
        "HSET",
        2,
        client.hset::<i64, _, _>("ada", HashMap::from([("name", "Ada"), ("born", "1815")])).await?,
    );
    let all: HashMap<String, String> = client.hgetall("ada").await?;
    session.is("HGETALL", Some(&"1815".to_owned()), all.get("born"));
    session.is("a hash is JSON", true, session.http("/v1/kv/ada")?.contains("\"name\":\"Ada\""));
    session.is("RPUSH", 3, client.rpush::<i64, _, _>("list", vec!["x", "y", "z"]).await?);
    session.is(
        "LRANGE",
        vec!["x".to_owned(), "y".to_owned()],
        client.lrange::<Vec<String>, _>("list", 0, 1).await?,
    );
    session.is("LPOP", Some("x".to_owned()), client.lpop("list", None).await?);
    session.is("SADD", 2, client.sadd::<i64, _, _>("set", vec!["p", "q"]).await?);
    let members: BTreeSet<String> = client.smembers("set").await?;
    session.is("SMEMBERS", BTreeSet::from(["p".to_owned(), "q".to_owned()]), members);
    let scored = vec![(1.5, "one"), (2.0, "two")];
    session.is("ZADD", 2, client.zadd::<i64, _, _>("zset", None, None, false, false, scored).await?);
    let higher = Some(Ordering::GreaterThan);
    session.is(
        "ZADD GT CH",
        1,
        client.zadd::<i64, _, _>("zset", None, higher, true, false, (3.0, "one")).await?,
    );
    let ranked: Vec<(String, f64)> = client.zrange("zset", 0, -1, None, false, None, true).await?;
    session.is("ZRANGE", vec![("two".to_owned(), 2.0), ("one".to_owned(), 3.0)], ranked);
    let mut found = BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let (next, page): (String, Vec<String>) = client.scan_page(cursor, "*", Some(2), None).await?;
        found.extend(page);
        if next == "0" {
            break;
        }
        cursor = next;
    }
    session.is("a whole scan", client.dbsize::<usize>().await?, found.len());
    Ok(())
}

async fn transactions(session: &mut Session, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let transaction = client.multi();
    let _: () = transaction.set("t", 1, None, None, false).await?;
    let _: () = transaction.incr("t").await?;
    session.is("EXEC", ("OK".to_owned(), 2), transaction.exec(true).await?);
    Ok(())
}

async fn waiting(
    session: &mut Session,
    client: &Client,
    version: RespVersion,
) -> Result<(), Box<dyn std::error::Error>> {
    let other = session.builder(version)?.build()?;
    other.init().await?;
    let waiter = other.clone();
    let waits = tokio::spawn(async move { waiter.blpop::<(String, String), _>("queue", 30.0).await });
    let _: () = client.rpush("queue", "job").await?;
    session.is("BLPOP", ("queue".to_owned(), "job".to_owned()), waits.await??);
    let id = other.client_id::<i64>().await?;
    let nobody: i64 = client.client_unblock(id, Some(ClientUnblockFlag::Timeout)).await?;
    session.is("CLIENT UNBLOCK of who does not wait", 0, nobody);
    other.quit().await?;
    Ok(())
}

async fn messages(session: &mut Session, version: RespVersion) -> Result<(), Box<dyn std::error::Error>> {
    let subscriber: SubscriberClient = session.builder(version.clone())?.build_subscriber_client()?;
    let publisher = session.builder(version)?.build()?;
    subscriber.init().await?;
    publisher.init().await?;
    let mut received = subscriber.message_rx();
    subscriber.subscribe("news").await?;
    // fred goes on before the server has heard of it.
    let listeners = || publisher.pubsub_numsub::<HashMap<String, i64>, _>("news");
    while listeners().await?.get("news") != Some(&1) {}
    session.is("PUBLISH", 1, publisher.publish::<i64, _, _>("news", "hello").await?);
    let message = tokio::time::timeout(Duration::from_secs(10), received.recv()).await??;
    session.is(
        "a message",
        ("news".to_owned(), Some("hello".to_owned())),
        (message.channel.to_string(), message.value.as_string()),
    );
    subscriber.quit().await?;
    publisher.quit().await?;
    Ok(())
}

/// The server ends the connection; fred comes back by itself.
async fn reconnecting(session: &mut Session, client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    let mut returned = client.reconnect_rx();
    let id = client.client_id::<i64>().await?;
    let killer = session.builder(RespVersion::RESP2)?.build()?;
    killer.init().await?;
    let killed: i64 =
        killer.custom(fred::cmd!("CLIENT"), vec!["KILL".to_owned(), "ID".to_owned(), id.to_string()]).await?;
    session.is("CLIENT KILL", 1, killed);
    tokio::time::timeout(Duration::from_secs(10), returned.recv()).await??;
    session.is("after it came back", 100, client.get::<i64, _>("count").await?);
    killer.quit().await?;
    Ok(())
}
