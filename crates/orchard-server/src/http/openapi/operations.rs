//! What each method of each route takes and answers.

use super::Operation;
use super::schemas::{listed, named};
use crate::http::elements::Step;
use crate::http::routes::{Name, Route};
use orchard_wire::{feed_json, media};
use orcharddb::limits;
use serde_json::{Value as Json, json};

fn text() -> Json {
    json!({ "type": "string" })
}

fn flag() -> Json {
    json!({ "type": "boolean" })
}

fn one_of(names: &[&str]) -> Json {
    json!({ "type": "string", "enum": names })
}

fn count(most: usize) -> Json {
    json!({ "type": "integer", "minimum": 1, "maximum": most })
}

fn db(operation: Operation) -> Operation {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": 256 });
    operation.parameter("db", schema, "the database; 0 if not said")
}

fn durability(operation: Operation) -> Operation {
    let schema = one_of(&["fsync", "os", "none"]);
    operation.parameter(
        "durability",
        schema,
        "what the reply waits for; the database's own level if not said",
    )
}

fn consistency(operation: Operation) -> Operation {
    operation.parameter("consistency", one_of(&["strong", "eventual"]), "the same on one machine")
}

fn expiry(operation: Operation) -> Operation {
    operation.parameter("ttl", text(), "when it expires: a duration such as 30s, or keep").parameter(
        "expires_at",
        text(),
        "when it expires: an RFC 3339 time",
    )
}

fn key(operation: Operation) -> Operation {
    operation.parameter("key", text(), "a key as JSON or a bare path, in place of the path's")
}

fn at(operation: Operation) -> Operation {
    operation.parameter("at", named("Moment"), "the version, time or age to read at")
}

fn pointer(operation: Operation) -> Operation {
    operation.parameter(
        "pointer",
        text(),
        "an RFC 6901 pointer to the part of the JSON document that is meant",
    )
}

fn range(operation: Operation) -> Operation {
    operation
        .parameter("prefix", text(), "keys with these parts and more")
        .parameter("start", text(), "the first key")
        .parameter("end", text(), "the first key behind the last")
}

fn limit(operation: Operation) -> Operation {
    operation.parameter("limit", count(limits::RANGE_LIMIT_MAX), "most entries")
}

fn messages(operation: Operation) -> Operation {
    operation.parameter("limit", count(limits::QUEUE_MESSAGES_MAX), "most of them")
}

fn conditions(operation: Operation) -> Operation {
    operation
        .header("if-match", "the versions that the entry may have, or *")
        .header("if-none-match", "the versions that the entry may not have, or * for absence")
        .errors(&[412])
}

fn feed(operation: Operation) -> Operation {
    let repeated = json!({ "type": "array", "items": text() });
    operation
        .parameter("from", text(), "a version, time or age, now or oldest; behind it the feed begins")
        .parameter("prefix", repeated.clone(), "keys with these parts and more; may repeat")
        .parameter("key", repeated, "a key; may repeat")
        .parameter("values", flag(), "whether values are shown")
        .header("last-event-id", "the last event that was seen: the feed goes on behind it")
        .reply(200, "events until the client goes", &[(feed_json::EVENT_STREAM, text())])
}

fn committed(operation: Operation) -> Operation {
    operation.reply(200, "it is done", &[(media::JSON, named("Committed"))])
}

fn plain(summary: &'static str) -> Operation {
    let operation = Operation::new(summary).reply(200, "lines of text", &[(media::TEXT, text())]);
    Operation { plain_errors: true, ..operation }.errors(&[404])
}

fn raw() -> Vec<(&'static str, Json)> {
    vec![(media::JSON, json!({})), (media::TEXT, text()), (media::OCTET_STREAM, text())]
}

fn json_body(name: &str) -> [(&'static str, Json); 1] {
    [(media::JSON, named(name))]
}

/// The operation of a method of a route.
pub(super) fn describe(route: &Route, method: &str) -> Operation {
    match route.name {
        Name::PlainPut => plain("Put every name=value of the query string, in one commit")
            .parameters(&[db])
            .parameter("name", text(), "each parameter is a key and its value"),
        Name::PlainGet => plain("The value of a key as a line of text").parameters(&[db]),
        Name::PlainDelete => plain("Delete a key").parameters(&[db]).errors(&[409]),
        Name::Ranges => ranges(method),
        Name::Entry => entry(method),
        Name::Commit => committed(Operation::new("Checks, mutations and enqueues: all of it or none"))
            .parameters(&[db])
            .body(true, &json_body("Commit"))
            .errors(&[409, 410]),
        Name::Batch => Operation::new("Many independent operations, a result each")
            .parameters(&[db, durability])
            .body(true, &[(media::JSON, named("Batch")), (media::NDJSON, text())])
            .reply(
                200,
                "the results in order",
                &[(media::JSON, listed("results", named("Result"))), (media::NDJSON, text())],
            ),
        Name::Read => Operation::new("Many ranges as one version shows them")
            .parameters(&[db])
            .body(true, &json_body("Read"))
            .reply(200, "the ranges in order", &json_body("Answers"))
            .errors(&[410]),
        Name::KvConnect => {
            let operation =
                Operation::new("Deno's KV Connect: the metadata exchange, and the endpoints below it")
                    .body(
                        true,
                        &[(media::JSON, json!({ "type": "object" })), ("application/x-protobuf", text())],
                    )
                    .reply(
                        200,
                        "metadata, or a message",
                        &[(media::JSON, json!({ "type": "object" })), ("application/x-protobuf", text())],
                    )
                    .errors(&[404, 409, 412, 422]);
            Operation { plain_errors: true, ..operation }
        }
        Name::Changes => feed(Operation::new("Every commit in order").parameters(&[db])),
        Name::Watch => {
            feed(Operation::new("What keys hold, when it changes").parameters(&[db])).errors(&[410])
        }
        Name::History => Operation::new("The versions of a key that are kept")
            .parameters(&[db, key, limit])
            .reply(200, "the newest first", &json_body("History")),
        Name::List => Operation::new("Elements of a list")
            .parameters(&[db, key])
            .parameter("start", json!({ "type": "integer" }), "the first; negative ones count from the end")
            .parameter("stop", json!({ "type": "integer" }), "the last; negative ones count from the end")
            .reply(200, "the elements", &json_body("List"))
            .errors(&[409]),
        Name::ListStep(step) => {
            let changed = Operation::new(match step {
                Step::Append => "Append an element to a list",
                Step::Prepend => "Put an element before a list",
                Step::PopFirst => "Take the first element out of a list",
                Step::PopLast => "Take the last element out of a list",
            });
            let changed = changed.parameters(&[db, durability, key]).reply(
                200,
                "it is done",
                &json_body("ListChanged"),
            );
            match step {
                Step::Append | Step::Prepend => changed.body(true, &raw()).errors(&[409]),
                Step::PopFirst | Step::PopLast => changed.errors(&[404, 409]),
            }
        }
        Name::Queues => Operation::new("The queues that hold something")
            .parameters(&[messages])
            .parameter("after", text(), "the name behind which the list goes on")
            .reply(200, "names in order", &[(media::JSON, listed("queues", text()))]),
        Name::Queue if method == "DELETE" => Operation::new("Remove everything from a queue").reply(
            200,
            "it is empty",
            &[(media::JSON, json!({ "type": "object" }))],
        ),
        Name::Queue => committed(Operation::new("Put a message into a queue"))
            .parameters(&[db, durability])
            .body(true, &json_body("Message")),
        Name::Lease => Operation::new("Take messages for a while").body(false, &json_body("Lease")).reply(
            200,
            "messages that nobody else gets meanwhile",
            &json_body("Messages"),
        ),
        Name::Ack => Operation::new("End messages for good").body(true, &json_body("Ids")).reply(
            200,
            "whether it was done, for each id",
            &json_body("Done"),
        ),
        Name::Nack => Operation::new("Give messages back").body(true, &json_body("IdsLater")).reply(
            200,
            "whether it was done, for each id",
            &json_body("Done"),
        ),
        Name::QueueStats => {
            Operation::new("How many messages are where").reply(200, "numbers", &json_body("QueueStats"))
        }
        Name::Peek => Operation::new("The messages that come next").parameters(&[messages]).reply(
            200,
            "messages, not leased",
            &json_body("Messages"),
        ),
        Name::Dead if method == "POST" => Operation::new("Put dead letters back, or remove them for good")
            .body(true, &json_body("Bury"))
            .reply(200, "whether it was done, for each id", &json_body("Done")),
        Name::Dead => Operation::new("Messages that were given up")
            .parameters(&[messages])
            .parameter("after", text(), "the id behind which the list goes on")
            .reply(200, "dead letters", &json_body("Letters")),
        Name::Livez => {
            Operation::new("Whether the process answers").reply(200, "it does", &[(media::TEXT, text())])
        }
        Name::Readyz => {
            Operation::new("Whether commits are taken").reply(200, "they are", &[(media::TEXT, text())])
        }
        Name::Version => object("What is running"),
        Name::Limits => object("Every limit by its name"),
        Name::Openapi => object("This document"),
        Name::Metrics => {
            Operation::new("Numbers for Prometheus").reply(200, "numbers", &[(media::TEXT, text())])
        }
    }
}

fn object(summary: &'static str) -> Operation {
    Operation::new(summary).reply(200, "an object", &[(media::JSON, json!({ "type": "object" }))])
}

fn ranges(method: &str) -> Operation {
    let deleted = json!({ "anyOf": [named("Committed"), named("Count")] });
    match method {
        "GET" | "HEAD" => {
            let entries = json!({ "anyOf": [named("Entries"), named("Count"), named("Entry"), {}] });
            Operation::new("The entries of a range, or their number; with key, one entry")
                .parameters(&[range, limit, db, at, consistency, key, pointer, conditions])
                .parameter("reverse", flag(), "from the last key down")
                .parameter("keys_only", flag(), "without values")
                .parameter("count", flag(), "their number instead of the entries")
                .parameter("since", named("Moment"), "only entries last changed behind it")
                .parameter("until", named("Moment"), "only entries last changed at or before it")
                .parameter("cursor", text(), "where the page before ended")
                .reply(
                    200,
                    "a page of entries, a count, or one entry",
                    &[
                        (media::JSON, entries),
                        (media::NDJSON, text()),
                        (media::TEXT, text()),
                        (media::OCTET_STREAM, text()),
                    ],
                )
                .reply(304, "the entry is the one that If-None-Match names", &[])
                .errors(&[404, 409, 410])
        }
        "DELETE" => Operation::new("Delete a range, or count what that would delete; with key, one entry")
            .parameters(&[range, db, durability, key, pointer, conditions])
            .parameter("dry_run", flag(), "count instead of deleting")
            .parameter("all", flag(), "everything is meant")
            .reply(200, "it is deleted, or counted", &[(media::JSON, deleted)])
            .errors(&[404, 409]),
        "PUT" => {
            let written = json!({ "anyOf": [named("Committed"), named("Written")] });
            let mut content = vec![(media::NDJSON, text())];
            content.extend(raw());
            Operation::new("Write an entry a line; with key, one entry")
                .parameters(&[db, durability, expiry, key, pointer, conditions])
                .body(false, &content)
                .reply(200, "it is written", &[(media::JSON, written)])
                .reply(201, "it is created", &[(media::JSON, named("Committed"))])
                .errors(&[404, 409])
        }
        _ => entry(method).parameters(&[key]),
    }
}

fn entry(method: &str) -> Operation {
    match method {
        "GET" | "HEAD" => Operation::new("One entry: its value, or with Accept: application/json all of it")
            .parameters(&[db, at, consistency, pointer, conditions])
            .reply(200, "the value in its own media type, or the entry", &raw())
            .reply(304, "the entry is the one that If-None-Match names", &[])
            .errors(&[404, 409, 410]),
        "PUT" => committed(Operation::new("Write an entry, or a part of its document"))
            .parameters(&[db, durability, expiry, pointer, conditions])
            .body(false, &raw())
            .reply(201, "it is created", &json_body("Committed"))
            .errors(&[404, 409]),
        "DELETE" => committed(Operation::new("Delete an entry, or a part of its document"))
            .parameters(&[db, durability, pointer, conditions])
            .errors(&[404, 409]),
        "PATCH" => committed(Operation::new("Merge into a JSON document"))
            .parameters(&[db, durability, expiry, conditions])
            .body(true, &[(media::MERGE_PATCH, json!({}))])
            .errors(&[409]),
        _ => committed(Operation::new("Change a number or an expiry"))
            .parameters(&[db, durability, expiry, conditions])
            .parameter("op", one_of(&["sum", "min", "max", "touch"]), "what to do")
            .parameter("at_least", text(), "lower bound of the result")
            .parameter("at_most", text(), "upper bound of the result")
            .parameter("clamp", flag(), "take the bound instead of refusing")
            .body(false, &[(media::JSON, json!({}))])
            .errors(&[404, 409]),
    }
}
