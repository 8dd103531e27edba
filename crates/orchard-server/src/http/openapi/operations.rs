//! What each method of each route takes and answers.

use super::Operation;
use super::schemas::{listed, named};
use crate::http::routes::{Name, Route};
use orchard_wire::element_json::{Shape, Verb};
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
        Name::Elements(shape) => elements(shape),
        Name::Change(verb) => change(verb),
        Name::Databases => Operation::new("The databases").reply(
            200,
            "their names in the order of their bytes",
            &[(media::JSON, listed("databases", text()))],
        ),
        Name::Database if method == "DELETE" => Operation::new("Drop a database with everything in it")
            .reply(200, "it is gone", &json_body("Database"))
            .errors(&[404]),
        Name::Database => {
            Operation::new("Create a database").reply(200, "it is there", &json_body("Database"))
        }
        Name::SwapDatabases => Operation::new("Let two names mean each other's database")
            .body(true, &json_body("Databases"))
            .reply(200, "they are swapped", &json_body("Databases")),
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

/// Reads of elements.
fn elements(shape: Shape) -> Operation {
    let (summary, name) = match shape {
        Shape::List => ("Elements of a list", "List"),
        Shape::Hash => ("Fields of a hash", "Fields"),
        Shape::Set => ("Members of a set", "Members"),
        Shape::ZSet => ("Members of a sorted set", "Scored"),
    };
    let integer = || json!({ "type": "integer" });
    let operation = Operation::new(summary).parameters(&[db, key, at, consistency]);
    let positions = |operation: Operation| {
        operation.parameter("start", integer(), "the first; negative ones count from the end").parameter(
            "stop",
            integer(),
            "the last; negative ones count from the end",
        )
    };
    let pages = |operation: Operation| {
        operation.parameters(&[limit]).parameter("cursor", text(), "where the page before ended")
    };
    let names = || json!({ "type": "array", "items": text() });
    let operation = match shape {
        Shape::List => positions(operation),
        Shape::Hash => pages(operation).parameter("field", names(), "only this field; may repeat"),
        Shape::Set => pages(operation).parameter("member", names(), "only this member; may repeat"),
        Shape::ZSet => {
            let mut operation = positions(pages(operation))
                .parameter("member", names(), "only this member; may repeat")
                .parameter("reverse", flag(), "from the last one down");
            for (name, description) in [
                ("min_score", "scores from this on"),
                ("above_score", "scores above this"),
                ("max_score", "scores up to this"),
                ("below_score", "scores below this"),
                ("min_member", "names from this on, all having one score"),
                ("above_member", "names behind this, all having one score"),
                ("max_member", "names up to this, all having one score"),
                ("below_member", "names before this, all having one score"),
            ] {
                operation = operation.parameter(name, text(), description);
            }
            operation
        }
    };
    let mut content = vec![(media::JSON, named(name)), (media::NDJSON, text())];
    if shape == Shape::Hash {
        content.extend([(media::TEXT, text()), (media::OCTET_STREAM, text())]);
    }
    let operation = operation.reply(200, "the elements", &content).errors(&[409, 410]);
    if shape == Shape::Hash { operation.errors(&[404]) } else { operation }
}

/// Changes of elements.
fn change(verb: Verb) -> Operation {
    let (summary, body) = match verb {
        Verb::Append => ("Append an element to a list", None),
        Verb::Prepend => ("Put an element before a list", None),
        Verb::PopFirst => ("Take the first element out of a list", None),
        Verb::PopLast => ("Take the last element out of a list", None),
        Verb::SetFields => ("Write fields of a hash", Some("SetFields")),
        Verb::DeleteFields => ("Remove fields from a hash", Some("Names")),
        Verb::SumField => ("Add to the number in a field", Some("SumField")),
        Verb::ExpireFields => ("Change when fields expire of their own", Some("ExpireFields")),
        Verb::ExpireMembers => ("Change when members of a set expire of their own", Some("ExpireMembers")),
        Verb::ExpireScored => {
            ("Change when members of a sorted set expire of their own", Some("ExpireMembers"))
        }
        Verb::AddMembers => ("Add members to a set", Some("AddMembers")),
        Verb::RemoveMembers => ("Remove members from a set", Some("MemberNames")),
        Verb::AddScored => ("Add members to a sorted set, or change their scores", Some("AddScored")),
        Verb::RemoveScored => ("Remove members from a sorted set", Some("MemberNames")),
        Verb::SumScore => ("Add to the score of a member", Some("SumScore")),
        Verb::PopLowest => ("Take out the member with the lowest score", None),
        Verb::PopHighest => ("Take out the member with the highest score", None),
    };
    let changed = Operation::new(summary).parameters(&[db, key, durability]);
    let changed = changed.reply(200, "it is done", &json_body("Changed")).errors(&[409]);
    let value_type = |operation: Operation| {
        operation.parameter("type", named("Type"), "what the JSON of the body is to be read as")
    };
    match (verb, body) {
        (Verb::SetFields, Some(body)) => {
            let mut content = raw();
            content[0] = (media::JSON, json!({ "anyOf": [named(body), {}] }));
            let field = "the one field whose value the body is";
            changed.parameter("field", text(), field).parameters(&[value_type, expiry]).body(true, &content)
        }
        (_, Some(body)) => changed.body(true, &json_body(body)),
        (Verb::Append | Verb::Prepend, None) => changed.parameters(&[value_type]).body(true, &raw()),
        (_, None) => changed.errors(&[404]),
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
                .parameter(
                    "export",
                    flag(),
                    "with NDJSON: collections with all of their elements, for PUT to read",
                )
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
