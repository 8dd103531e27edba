//! `/v1/queues`: messages over HTTP.

use crate::common::{Reply, TestServer};
use serde_json::{Value as Json, json};

const JSON: (&str, &str) = ("content-type", "application/json");

fn post(server: &TestServer, target: &str, body: &Json) -> Reply {
    server.send("POST", target, &[JSON], body.to_string().as_bytes())
}

fn ids(reply: &Reply) -> Vec<String> {
    let json = reply.json();
    let messages = json["messages"].as_array().unwrap_or_else(|| panic!("messages: {json}")).iter();
    messages.map(|message| message["id"].as_str().expect("an id").to_owned()).collect()
}

fn stats(server: &TestServer, queue: &str) -> [u64; 4] {
    let json = server.get(&format!("/v1/queues/{queue}/stats")).json();
    ["ready", "delayed", "leased", "dead"].map(|name| json[name].as_u64().expect("a number"))
}

#[test]
fn a_message_is_leased_and_acked() {
    let server = TestServer::memory();
    let reply = post(&server, "/v1/queues/mail", &json!({"payload": {"to": "ada"}}));
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.json()["versionstamp"].is_string());
    post(&server, "/v1/queues/mail", &json!({"payload": "later", "delay": "1h"}));
    assert_eq!(stats(&server, "mail"), [1, 1, 0, 0]);
    assert_eq!(server.get("/v1/queues").json(), json!({"queues": ["mail"]}));
    let peeked = server.get("/v1/queues/mail/peek").json();
    assert_eq!(peeked["messages"][0]["payload"], json!({"to": "ada"}));
    let leased = post(&server, "/v1/queues/mail/lease", &json!({"max": 10, "visibility": "1m"}));
    let messages = leased.json();
    assert_eq!(messages["messages"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (&messages["messages"][0]["attempt"], &messages["messages"][0]["type"]),
        (&json!(1), &json!("json"))
    );
    assert_eq!(stats(&server, "mail"), [0, 1, 1, 0]);
    assert_eq!(ids(&post(&server, "/v1/queues/mail/lease", &json!({}))), Vec::<String>::new());
    let ids = ids(&leased);
    assert_eq!(post(&server, "/v1/queues/mail/ack", &json!({"ids": ids})).json(), json!({"done": [true]}));
    assert_eq!(post(&server, "/v1/queues/mail/ack", &json!({"ids": ids})).json(), json!({"done": [false]}));
    assert_eq!(stats(&server, "mail"), [0, 1, 0, 0]);
    assert_eq!(server.send("DELETE", "/v1/queues/mail", &[], b"").status, 200);
    assert_eq!(stats(&server, "mail"), [0, 0, 0, 0]);
}

#[test]
fn what_is_given_up_is_a_dead_letter() {
    let server = TestServer::memory();
    let message = json!({"payload": 7, "backoff": [], "keys_if_undelivered": [["failed"]]});
    post(&server, "/v1/queues/q", &message);
    let lease = || ids(&post(&server, "/v1/queues/q/lease", &json!({})));
    let nack = |ids: &[String]| post(&server, "/v1/queues/q/nack", &json!({"ids": ids})).json();
    assert_eq!(nack(&lease()), json!({"done": [true]}));
    assert_eq!(stats(&server, "q"), [0, 0, 0, 1]);
    assert_eq!(server.get("/v1/kv/failed").text(), "7");
    let dead = server.get("/v1/queues/q/dead");
    assert_eq!(
        (&dead.json()["messages"][0]["payload"], &dead.json()["messages"][0]["attempts"]),
        (&json!(7), &json!(1))
    );
    let letters = ids(&dead);
    assert_eq!(
        post(&server, "/v1/queues/q/dead", &json!({"requeue": letters})).json(),
        json!({"done": [true]})
    );
    assert_eq!(stats(&server, "q"), [1, 0, 0, 0]);
    nack(&lease());
    let letters = ids(&server.get("/v1/queues/q/dead"));
    assert_eq!(
        post(&server, "/v1/queues/q/dead", &json!({"purge": letters})).json(),
        json!({"done": [true]})
    );
    assert_eq!(stats(&server, "q"), [0, 0, 0, 0]);
}

#[test]
fn an_enqueue_is_part_of_a_commit() {
    let server = TestServer::memory();
    let commit = |checks: Json| {
        post(
            &server,
            "/v1/commit?db=shop",
            &json!({
                "checks": checks,
                "mutations": [{"op": "set", "key": ["order"], "value": 1}],
                "enqueues": [
                    {"queue": "mail", "payload": "confirm", "backoff": [], "keys_if_undelivered": [["lost"]]},
                    {"queue": "mail", "payload": "bill"},
                ],
            }),
        )
    };
    assert_eq!(commit(json!([{"key": ["order"], "versionstamp": null}])).status, 200);
    assert_eq!(
        commit(json!([{"key": ["order"], "versionstamp": null}])).problem(),
        (409, "check_failed".into())
    );
    assert_eq!(stats(&server, "mail"), [2, 0, 0, 0]);
    let leased = post(&server, "/v1/queues/mail/lease", &json!({"max": 2}));
    let payloads: Vec<Json> = leased.json()["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|it| it["payload"].clone())
        .collect();
    assert_eq!(payloads, [json!("confirm"), json!("bill")]);
    post(&server, "/v1/queues/mail/nack", &json!({"ids": ids(&leased)}));
    assert_eq!(server.get("/v1/kv/lost?db=shop").text(), "confirm");
    let bad = json!({"enqueues": [{"queue": "mail", "payload": 1}, {"queue": "", "payload": 1}]});
    let reply = post(&server, "/v1/commit", &bad);
    assert_eq!(reply.problem(), (400, "bad_value".into()));
    assert!(
        reply.json()["detail"].as_str().is_some_and(|detail| detail.starts_with("enqueues[1]: ")),
        "{reply:?}"
    );
}

#[test]
fn a_lease_waits_for_a_message() {
    let server = TestServer::memory();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| post(&server, "/v1/queues/q/lease", &json!({"wait": "30s"})));
        post(&server, "/v1/queues/q", &json!({"payload": 1}));
        assert_eq!(ids(&waiting.join().expect("no panic")).len(), 1);
    });
    // One that becomes ready while somebody waits, too.
    post(&server, "/v1/queues/later", &json!({"payload": 1, "delay": "50ms"}));
    assert_eq!(ids(&post(&server, "/v1/queues/later/lease", &json!({"wait": "30s"}))).len(), 1);
    assert_eq!(ids(&post(&server, "/v1/queues/none/lease", &json!({"wait": "1ms"}))).len(), 0);
}

#[test]
fn what_is_no_request_is_refused() {
    let server = TestServer::memory();
    for (target, body, expected) in [
        ("/v1/queues/q", json!({}), (400, "bad_json")),
        ("/v1/queues/q", json!({"payload": 1, "delay": "40d"}), (413, "limit_exceeded")),
        ("/v1/queues/q", json!({"payload": "x".repeat(1 << 20 | 1)}), (413, "limit_exceeded")),
        ("/v1/queues/a%0Ab", json!({"payload": 1}), (400, "bad_value")),
        ("/v1/queues/%ff", json!({"payload": 1}), (400, "bad_request")),
        ("/v1/queues/q/lease", json!({"max": 0}), (400, "bad_value")),
        ("/v1/queues/q/lease", json!({"max": 1_001}), (413, "limit_exceeded")),
        ("/v1/queues/q/lease", json!({"wait": "2m"}), (413, "limit_exceeded")),
        ("/v1/queues/q/ack", json!({"ids": ["x"]}), (400, "bad_value")),
        ("/v1/queues/q/ack", json!({"ids": [], "delay": "1s"}), (400, "bad_json")),
        ("/v1/queues/q/dead", json!({}), (400, "bad_json")),
    ] {
        let (status, code) = expected;
        assert_eq!(post(&server, target, &body).problem(), (status, code.into()), "{target} {body}");
    }
    assert_eq!(server.get("/v1/queues/q/peek?limit=1001").problem(), (413, "limit_exceeded".into()));
    assert_eq!(server.get("/v1/queues/q/dead?after=x").problem(), (400, "bad_query".into()));
}
