//! The shapes that requests and replies share.

use orchard_wire::Kind;
use orchard_wire::element_json::Verb;
use orcharddb::{ValueType, limits};
use serde_json::{Value as Json, json};

/// A reference to a shape of [`all`].
pub(super) fn named(name: &str) -> Json {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list_of(items: Json) -> Json {
    json!({ "type": "array", "items": items })
}

/// An object with these members, and no others if `closed`.
fn object(required: &[&str], properties: Json, closed: bool) -> Json {
    let mut object = json!({ "type": "object", "required": required, "properties": properties });
    if closed {
        object["additionalProperties"] = Json::Bool(false);
    }
    object
}

/// A list that is the only member of an object.
pub(super) fn listed(name: &str, items: Json) -> Json {
    object(&[name], json!({ name: list_of(items) }), false)
}

pub(super) fn all() -> Json {
    let versionstamp =
        json!({ "type": "string", "pattern": "^[0-9a-f]{20}$", "description": "20 hex digits" });
    let time = json!({ "type": "string", "format": "date-time" });
    let duration = json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$", "examples": ["30s"] });
    let ttl =
        json!({ "type": "string", "pattern": "^([0-9]+(ms|s|m|h|d)|keep)$", "examples": ["30s", "keep"] });
    let types: Vec<&str> = ValueType::ALL.iter().map(|value_type| value_type.name()).collect();
    let codes: Vec<&str> = Kind::ALL.into_iter().map(Kind::code).collect();
    let string = json!({ "type": "string" });
    let stamp_or_null = json!({ "anyOf": [named("Versionstamp"), { "type": "null" }] });
    let range =
        object(&[], json!({ "prefix": named("Key"), "start": named("Key"), "end": named("Key") }), true);
    let mut all = json!({
        "Versionstamp": versionstamp,
        "Moment": { "type": "string", "description": "a versionstamp, an RFC 3339 time or an age such as 10m" },
        "Type": { "type": "string", "enum": types },
        "KeyPart": {
            "anyOf": [
                string, { "type": "number" }, { "type": "boolean" },
                object(&["$int"], json!({ "$int": string }), true),
                object(&["$bytes"], json!({ "$bytes": string }), true),
                object(&["$number"], json!({ "$number": string }), true),
            ],
        },
        "Key": {
            "anyOf": [string, list_of(named("KeyPart")), object(&["$raw"], json!({ "$raw": string }), true)],
            "description": "parts, or the name of the key with one string part",
        },
        "Value": { "description": "text, a number, a bool, null, a document, or {\"$bytes\"}, {\"$u64\"}, {\"$number\"}, {\"$v8\"}" },
        "Range": range,
        "Entry": object(&["key", "type", "versionstamp"], json!({
            "key": named("Key"), "value": named("Value"), "type": named("Type"), "versionstamp": named("Versionstamp"),
            "expires_at": time,
        }), false),
        "Line": object(&["key", "value"], json!({
            "key": named("Key"), "value": named("Value"), "type": named("Type"), "versionstamp": named("Versionstamp"),
            "log_time": time, "expires_at": time, "ttl": duration,
        }), true),
        "Entries": object(&["entries", "versionstamp"], json!({
            "entries": list_of(named("Entry")), "cursor": string, "versionstamp": named("Versionstamp"),
        }), false),
        "Count": object(&["count", "versionstamp"], json!({
            "count": { "type": "integer", "minimum": 0 }, "versionstamp": named("Versionstamp"),
        }), false),
        "Committed": object(&["versionstamp", "log_time", "durability"], json!({
            "versionstamp": named("Versionstamp"), "log_time": time, "durability": named("Durability"),
            "repeated": { "type": "boolean" }, "value": named("Value"), "type": named("Type"),
            "results": list_of(named("StepResult")),
        }), false),
        "Written": object(&["written"], json!({
            "written": { "type": "integer", "minimum": 0 }, "versionstamp": named("Versionstamp"), "log_time": time,
            "durability": named("Durability"),
        }), false),
        "Durability": { "type": "string", "enum": ["fsync", "os", "none"] },
        "Check": {
            "anyOf": [
                object(&["key", "versionstamp"], json!({ "key": named("Key"), "versionstamp": stamp_or_null }), true),
                object(&["range", "unchanged_since"], json!({
                    "range": named("Range"), "unchanged_since": named("Versionstamp"),
                }), true),
            ],
        },
        "Mutation": object(&["op"], json!({
            "op": { "type": "string", "enum": with_steps(&[
                "set", "delete", "delete_range", "sum", "min", "max", "set_suffix_versionstamp", "touch",
            ]) },
            "key": named("Key"), "range": named("Range"), "value": named("Value"), "type": named("Type"), "ttl": ttl,
            "expires_at": time, "at_least": named("Value"), "at_most": named("Value"), "clamp": { "type": "boolean" },
            "fields": {}, "members": {}, "field": named("Name"), "member": named("Name"), "by": {},
        }), true),
        "Enqueue": object(&["queue", "payload"], json!({
            "queue": string, "payload": named("Value"), "type": named("Type"), "delay": duration, "ready_at": time,
            "backoff": list_of(duration.clone()), "keys_if_undelivered": list_of(named("Key")),
        }), true),
        "Message": object(&["payload"], json!({
            "payload": named("Value"), "type": named("Type"), "delay": duration, "ready_at": time,
            "backoff": list_of(duration.clone()), "keys_if_undelivered": list_of(named("Key")),
        }), true),
        "Commit": object(&[], json!({
            "checks": list_of(named("Check")), "mutations": list_of(named("Mutation")), "enqueues": list_of(named("Enqueue")),
            "token": { "type": "string", "maxLength": limits::TOKEN_SIZE_BYTES_MAX }, "deadline": time,
            "durability": named("Durability"), "return_values": { "type": "boolean" },
        }), true),
    });
    // In two pieces: the macro cannot take all of it at once.
    let rest = json!({
        "Operation": object(&["op", "key"], json!({
            "op": { "type": "string", "enum": with_steps(&["get", "put", "delete"]) }, "key": named("Key"),
            "value": named("Value"), "type": named("Type"), "ttl": ttl, "expires_at": time,
            "fields": {}, "members": {}, "field": named("Name"), "member": named("Name"), "by": {},
        }), true),
        "Batch": object(&["operations"], json!({ "operations": {
            "type": "array", "items": named("Operation"), "maxItems": limits::BATCH_OPERATIONS_MAX,
        } }), true),
        "Result": object(&["status"], json!({
            "status": { "type": "integer" }, "versionstamp": named("Versionstamp"), "value": named("Value"),
            "type": named("Type"), "expires_at": time, "code": { "type": "string", "enum": codes }, "detail": string,
        }), false),
        "Read": object(&["ranges"], json!({
            "ranges": { "type": "array", "maxItems": limits::READ_RANGES_MAX, "items": object(&[], json!({
                "key": named("Key"), "prefix": named("Key"), "start": named("Key"), "end": named("Key"),
                "limit": { "type": "integer", "minimum": 1, "maximum": limits::RANGE_LIMIT_MAX },
                "reverse": { "type": "boolean" }, "keys_only": { "type": "boolean" }, "count": { "type": "boolean" },
                "since": named("Moment"), "until": named("Moment"), "cursor": string,
            }), true) },
            "at": named("Moment"), "consistency": { "type": "string", "enum": ["strong", "eventual"] },
        }), true),
        "Answers": object(&["versionstamp", "ranges"], json!({
            "versionstamp": named("Versionstamp"),
            "ranges": list_of(json!({ "anyOf": [
                object(&["entries"], json!({ "entries": list_of(named("Entry")), "cursor": string }), false),
                object(&["count"], json!({ "count": { "type": "integer", "minimum": 0 } }), false),
            ] })),
        }), false),
        "History": object(&["versions", "floor"], json!({
            "versions": list_of(object(&["versionstamp", "log_time"], json!({
                "versionstamp": named("Versionstamp"), "log_time": time, "value": named("Value"), "type": named("Type"),
                "expires_at": time, "deleted": { "type": "boolean" },
            }), false)),
            "floor": named("Versionstamp"),
        }), false),
        "Lease": object(&[], json!({
            "max": { "type": "integer", "minimum": 1, "maximum": limits::QUEUE_MESSAGES_MAX }, "visibility": duration,
            "wait": duration,
        }), true),
        "Ids": object(&["ids"], json!({ "ids": list_of(string.clone()) }), true),
        "IdsLater": object(&["ids"], json!({ "ids": list_of(string.clone()), "delay": duration }), true),
        "Bury": object(&[], json!({ "requeue": list_of(string.clone()), "purge": list_of(string.clone()) }), true),
        "Messages": listed("messages", object(&["id", "payload", "type", "attempt"], json!({
            "id": string, "payload": named("Value"), "type": named("Type"), "attempt": { "type": "integer", "minimum": 0 },
            "leased_until": time, "ready_at": time,
        }), false)),
        "Letters": listed("messages", object(&["id", "payload", "type", "attempts", "died_at"], json!({
            "id": string, "payload": named("Value"), "type": named("Type"), "attempts": { "type": "integer", "minimum": 0 },
            "died_at": time,
        }), false)),
        "QueueStats": object(&["ready", "delayed", "leased", "dead"], json!({
            "ready": { "type": "integer", "minimum": 0 }, "delayed": { "type": "integer", "minimum": 0 },
            "leased": { "type": "integer", "minimum": 0 }, "dead": { "type": "integer", "minimum": 0 },
        }), false),
        "Done": listed("done", json!({ "type": "boolean" })),
        "Problem": object(&["code", "status", "detail"], json!({
            "code": { "type": "string", "enum": codes }, "status": { "type": "integer" }, "detail": string,
            "limit": { "type": "integer" }, "actual": { "type": "integer" }, "limit_name": string,
        }), false),
    });
    for part in [rest, elements()] {
        if let (Json::Object(all), Json::Object(part)) = (&mut all, part) {
            all.extend(part);
        }
    }
    all
}

/// Names of operations, and those of collections.
fn with_steps(ops: &[&str]) -> Vec<String> {
    let steps = Verb::ALL.into_iter().map(Verb::op);
    ops.iter().map(|op| (*op).to_owned()).chain(steps).collect()
}

/// The shapes of databases and of collections' elements.
fn elements() -> Json {
    let count = json!({ "type": "integer", "minimum": 0 });
    let string = json!({ "type": "string" });
    let time = json!({ "type": "string", "format": "date-time" });
    let page = |name: &str, items: Json| {
        object(
            &[name, "length", "versionstamp"],
            json!({
                name: list_of(items), "length": count, "cursor": string, "versionstamp": named("Versionstamp"),
                "types": list_of(named("Type")),
            }),
            false,
        )
    };
    let field = |required: &[&str]| {
        object(
            required,
            json!({
                "field": named("Name"), "value": named("Value"), "type": named("Type"), "expires_at": time,
                "ttl": { "type": "string" },
            }),
            true,
        )
    };
    let expiry = |mut members: Json| {
        members["ttl"] = string.clone();
        members["expires_at"] = time.clone();
        members
    };
    let member = |required: &[&str]| {
        let lasting = object(required, expiry(json!({ "member": named("Name") })), true);
        json!({ "anyOf": [named("Name"), lasting] })
    };
    let scored = object(
        &["member", "score"],
        expiry(json!({ "member": named("Name"), "score": named("Score") })),
        true,
    );
    let scores = json!({ "type": "object", "additionalProperties": named("Score") });
    let changed = json!({
        "versionstamp": named("Versionstamp"), "log_time": time, "durability": named("Durability"), "length": count,
        "added": count, "removed": count, "found": count, "value": named("Value"), "type": named("Type"), "member": named("Name"),
        "score": named("Score"),
    });
    json!({
        "StepResult": object(&["index", "length"], json!({
            "index": count, "length": count, "added": count, "removed": count, "found": count, "value": named("Value"),
            "type": named("Type"), "member": named("Name"), "score": named("Score"),
        }), false),
        "Database": object(&["database"], json!({ "database": string }), true),
        "Databases": object(&["databases"], json!({ "databases": {
            "type": "array", "items": string, "minItems": 2, "maxItems": 2,
        } }), true),
        "Name": { "anyOf": [string, object(&["$bytes"], json!({ "$bytes": string }), true)] },
        "Score": { "anyOf": [{ "type": "number" }, { "type": "string", "enum": ["inf", "-inf"] }] },
        "List": page("values", named("Value")),
        "Fields": page("fields", field(&["field", "value", "type"])),
        "Members": page("members", member(&["member", "expires_at"])),
        "Scored": page("members", scored.clone()),
        "SetFields": object(&["fields"], json!({ "fields": { "anyOf": [
            { "type": "object", "additionalProperties": named("Value") }, list_of(field(&["field", "value"])),
        ] } }), true),
        "Names": object(&["fields"], json!({ "fields": list_of(named("Name")) }), true),
        "SumField": object(&["field"], json!({
            "field": named("Name"), "by": named("Value"), "type": named("Type"),
        }), true),
        "MemberNames": object(&["members"], json!({ "members": list_of(named("Name")) }), true),
        "AddMembers": object(&["members"], json!({ "members": list_of(member(&["member"])) }), true),
        "ExpireFields": object(&["fields"], expiry(json!({ "fields": list_of(named("Name")) })), true),
        "ExpireMembers": object(&["members"], expiry(json!({ "members": list_of(named("Name")) })), true),
        "AddScored": object(&["members"], json!({ "members": { "anyOf": [scores, list_of(scored)] } }), true),
        "SumScore": object(&["member"], json!({ "member": named("Name"), "by": named("Score") }), true),
        "Changed": object(&["versionstamp", "log_time", "durability", "length"], changed, false),
    })
}
