#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by it")]

use super::*;
use denokv_proto::datapath as pb;
use orcharddb::v8_number::V8Number;
use orcharddb::{
    Check, Entry, Expiry, Key, Mutation, MutationError, NumberOp, Operation, SpaceId, UnixMillis, Value,
    ValueType, Versionstamp,
};
use proptest::prelude::*;
use prost::Message as _;

const SPACE: SpaceId = SpaceId(3);
const NOW: UnixMillis = UnixMillis(1_000_000);

fn v8(data: Vec<u8>) -> pb::KvValue {
    pb::KvValue { data, encoding: pb::ValueEncoding::VeV8 as i32 }
}

fn le64(number: u64) -> pb::KvValue {
    pb::KvValue { data: number.to_le_bytes().to_vec(), encoding: pb::ValueEncoding::VeLe64 as i32 }
}

fn mutation(kind: pb::MutationType, value: Option<pb::KvValue>) -> pb::Mutation {
    pb::Mutation { key: b"k".to_vec(), value, mutation_type: kind as i32, ..pb::Mutation::default() }
}

fn set(key: usize, value: usize) -> pb::Mutation {
    pb::Mutation { key: vec![1; key], ..mutation(pb::MutationType::MSet, Some(v8(vec![7; value]))) }
}

fn write_of(mutations: Vec<pb::Mutation>) -> pb::AtomicWrite {
    pb::AtomicWrite { mutations, ..pb::AtomicWrite::default() }
}

fn decoded(write: &pb::AtomicWrite) -> Result<AtomicWrite, String> {
    decode_write(&write.encode_to_vec(), SPACE, || NOW).map_err(|refused| refused.to_string())
}

fn range(start: &[u8], end: &[u8], limit: i32) -> pb::ReadRange {
    pb::ReadRange { start: start.to_vec(), end: end.to_vec(), limit, reverse: false }
}

fn read(ranges: Vec<pb::ReadRange>) -> Result<Vec<ReadRequest>, String> {
    decode_read(&pb::SnapshotRead { ranges }.encode_to_vec()).map_err(|refused| refused.to_string())
}

#[test]
fn versions_are_negotiated() {
    for (body, version) in [
        (r#"{"supportedVersions":[1]}"#, Some(1)),
        (r#"{"supportedVersions":[1,2]}"#, Some(2)),
        (r#"{"supportedVersions":[3,2,9]}"#, Some(3)),
        (r#" "#, Some(1)),
        (r#"{"supportedVersions":[]}"#, None),
        (r#"{"supportedVersions":[4]}"#, None),
        (r#"{"supportedVersions":["3"]}"#, None),
        (r#"{"supportedVersions":3}"#, None),
        (r#"{}"#, None),
        (r#"{"supportedVersions":[3],"more":1}"#, None),
        (r#"[3]"#, None),
        (r#"{"#, None),
    ] {
        assert_eq!(negotiate(body.as_bytes()).ok(), version, "{body}");
    }
}

#[test]
fn metadata_has_the_members_that_clients_take() {
    let id = database_uuid(&[7; 16], "0");
    let metadata = Metadata {
        version: 3,
        database_id: &id,
        endpoint: "./kv-connect/0",
        token: "t\"",
        expires_at: UnixMillis(1_000),
    };
    let json: serde_json::Value = serde_json::from_slice(&metadata.to_json()).expect("JSON");
    let members: Vec<&String> = json.as_object().expect("an object").keys().collect();
    assert_eq!(members, ["databaseId", "endpoints", "expiresAt", "token", "version"]);
    assert_eq!(json["endpoints"], serde_json::json!([{"url": "./kv-connect/0", "consistency": "strong"}]));
    assert_eq!(
        (json["token"].as_str(), json["expiresAt"].as_str()),
        (Some("t\""), Some("1970-01-01T00:00:01.000Z"))
    );
}

#[test]
fn database_ids_are_uuids_of_their_own() {
    let id = database_uuid(&[7; 16], "0");
    let lengths: Vec<usize> = id.split('-').map(str::len).collect();
    assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
    assert!(id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-')), "{id}");
    assert_eq!((&id[14..15], "89ab".contains(&id[19..20])), ("8", true), "{id}");
    assert_eq!(id, database_uuid(&[7; 16], "0"));
    assert_ne!(id, database_uuid(&[7; 16], "1"));
    assert_ne!(id, database_uuid(&[8; 16], "0"));
}

#[test]
fn limits_of_reads_are_the_protocol_s() {
    let longest = vec![1; READ_KEY_SIZE_BYTES_MAX];
    assert!(read(vec![range(&longest, &longest, 1)]).is_ok());
    assert!(read(vec![range(b"a", b"b", 100); 10]).is_ok());
    let too_long = vec![1; READ_KEY_SIZE_BYTES_MAX + 1];
    for (ranges, text) in [
        (vec![range(&too_long, b"", 1)], "key size limit"),
        (vec![range(b"", &too_long, 1)], "key size limit"),
        (vec![range(b"a", b"b", 1); 11], "Too many read ranges"),
        (vec![range(b"a", b"b", 0)], "read range limit of the snapshot read request is invalid"),
        (vec![range(b"a", b"b", -1)], "read range limit of the snapshot read request is invalid"),
        (vec![range(b"a", b"b", 1_001)], "too large"),
        (vec![range(b"a", b"b", 101); 10], "too large"),
    ] {
        let refused = read(ranges).expect_err(text);
        assert!(refused.contains(text), "{refused}");
    }
}

#[test]
fn gets_are_seen() {
    let requests = read(vec![
        range(b"a", b"a\0", 1),
        range(b"a", b"\xff", 1),
        range(b"a", b"a\0", 2),
        range(b"a", b"a", 1),
        pb::ReadRange { reverse: true, ..range(b"a", b"b", 1) },
    ])
    .expect("fine");
    let first: Vec<bool> = requests.iter().map(|request| request.first_key().is_some()).collect();
    assert_eq!(first, [true, true, false, false, false]);
    let single: Vec<bool> = requests.iter().map(ReadRequest::is_single_key).collect();
    assert_eq!(single, [true, false, true, false, false]);
}

#[test]
fn limits_of_writes_are_the_protocol_s() {
    let checks = |count: usize, length: usize| pb::AtomicWrite {
        checks: vec![pb::Check { key: vec![1; length], versionstamp: Vec::new() }; count],
        ..pb::AtomicWrite::default()
    };
    assert!(decoded(&checks(10, 2_049)).is_ok());
    assert!(decoded(&write_of(vec![set(2_048, 65_536)])).is_ok());
    assert!(decoded(&write_of(vec![set(1, 1); 1_000])).is_ok());
    assert!(decoded(&write_of(vec![set(1, 65_535); 12])).is_ok());
    for (write, text) in [
        (checks(11, 1), "Too many checks"),
        (checks(1, 2_050), "key size limit"),
        (write_of(vec![set(2_049, 1)]), "key size limit"),
        (write_of(vec![set(1, 65_537)]), "value size limit"),
        (write_of(vec![set(1, 1); 1_001]), "Too many mutations"),
        (write_of(vec![set(1, 65_536); 13]), "too large"),
    ] {
        let refused = decoded(&write).expect_err(text);
        assert!(refused.contains(text), "{refused}");
    }
    let enqueues = |count: usize, enqueue: pb::Enqueue| pb::AtomicWrite {
        enqueues: vec![enqueue; count],
        ..pb::AtomicWrite::default()
    };
    let enqueue = pb::Enqueue { payload: b"\xff\x0f0".to_vec(), ..pb::Enqueue::default() };
    assert!(decoded(&enqueues(1_000, enqueue.clone())).is_ok());
    for (write, text) in [
        (enqueues(1_001, enqueue.clone()), "Too many mutations"),
        (enqueues(1, pb::Enqueue { payload: vec![0; 65_537], ..enqueue.clone() }), "value size limit"),
        (enqueues(1, pb::Enqueue { deadline_ms: -1, ..enqueue.clone() }), "deadline"),
        (enqueues(1, pb::Enqueue { deadline_ms: 2_593_000_001, ..enqueue.clone() }), "deadline"),
        (enqueues(1, pb::Enqueue { backoff_schedule: vec![1; 11], ..enqueue.clone() }), "Too many backoff"),
        (
            enqueues(1, pb::Enqueue { backoff_schedule: vec![3_600_001], ..enqueue.clone() }),
            "backoff interval",
        ),
        (
            enqueues(1, pb::Enqueue { keys_if_undelivered: vec![vec![1]; 11], ..enqueue.clone() }),
            "dead letter",
        ),
        (enqueues(1, pb::Enqueue { keys_if_undelivered: vec![vec![1; 2_049]], ..enqueue }), "key size limit"),
    ] {
        let refused = decoded(&write).expect_err(text);
        assert!(refused.contains(text), "{refused}");
    }
    let watch = |count: usize, length: usize| {
        let keys = vec![pb::WatchKey { key: vec![1; length] }; count];
        decode_watch(&pb::Watch { keys }.encode_to_vec()).map_err(|refused| refused.to_string())
    };
    assert_eq!(watch(10, 2_048).map(|keys| keys.len()), Ok(10));
    assert!(watch(11, 1).expect_err("many").contains("Too many keys watched"));
    assert!(watch(1, 2_049).expect_err("long").contains("key size limit"));
}

#[test]
fn many_parts_are_counted_before_they_are_decoded() {
    // Half a million empty mutations of two bytes each.
    let message = [0x12, 0].repeat(500_000);
    let refused = decode_write(&message, SPACE, || NOW).expect_err("too many");
    assert!(refused.to_string().starts_with("Too many mutations"), "{refused}");
    assert!(matches!(decode_read(&[0x0a]), Err(Refused::Malformed(_))));
    assert!(matches!(decode_read(&[0x0a, 5, 1]), Err(Refused::Malformed(_))));
    assert!(matches!(decode_read(&[0x0b]), Err(Refused::Malformed(_))));
}

#[test]
fn a_write_becomes_a_commit() {
    let write = pb::AtomicWrite {
        checks: vec![
            pb::Check { key: b"a".to_vec(), versionstamp: Vec::new() },
            pb::Check { key: b"b".to_vec(), versionstamp: Versionstamp::new(7, 2).to_bytes().to_vec() },
            pb::Check { key: b"c".to_vec(), versionstamp: vec![0xff; 10] },
        ],
        mutations: vec![
            pb::Mutation { expire_at_ms: 5, ..mutation(pb::MutationType::MSet, Some(v8(vec![1]))) },
            pb::Mutation { expire_at_ms: -1, ..mutation(pb::MutationType::MSet, Some(le64(9))) },
            mutation(pb::MutationType::MDelete, Some(pb::KvValue::default())),
            mutation(pb::MutationType::MSetSuffixVersionstampedKey, Some(v8(vec![2]))),
        ],
        enqueues: vec![pb::Enqueue { payload: vec![3], deadline_ms: 8, ..pb::Enqueue::default() }],
    };
    let AtomicWrite { commit, enqueues } = decoded(&write).expect("fine");
    let check = |key: &'static [u8], expected| Check::Key { space: SPACE, key: key.into(), expected };
    assert_eq!(
        commit.checks,
        [check(b"a", None), check(b"b", Some(Versionstamp::new(7, 2))), check(b"c", Some(Versionstamp::MAX))]
    );
    let one = |operation| Mutation { space: SPACE, key: Key::new("k").expect("short"), operation };
    assert_eq!(
        commit.mutations,
        [
            one(Operation::Set {
                value: Value::new(ValueType::V8, vec![1]),
                expiry: Expiry::At(UnixMillis(5))
            }),
            one(Operation::Set { value: Value::u64(9), expiry: Expiry::Never }),
            one(Operation::Delete),
            one(Operation::SetWithVersionstampSuffix {
                value: Value::new(ValueType::V8, vec![2]),
                expiry: Expiry::Never
            }),
        ]
    );
    assert_eq!((enqueues[0].ready_at, enqueues[0].backoff_ms.clone()), (UnixMillis(8), None));
}

#[test]
fn bad_parts_are_refused() {
    let number = |number: f64| V8Number::Number(number).encode();
    let bigint = V8Number::BigInt(5.into()).encode();
    let sum = |value: pb::KvValue, min: &[u8], max: &[u8], clamp| pb::Mutation {
        sum_min: min.to_vec(),
        sum_max: max.to_vec(),
        sum_clamp: clamp,
        ..mutation(pb::MutationType::MSum, Some(value))
    };
    let encoding = |encoding| Some(pb::KvValue { data: vec![0; 8], encoding });
    for (mutation, text) in [
        (mutation(pb::MutationType::MSet, None), "Invalid mutation kind"),
        (mutation(pb::MutationType::MUnspecified, Some(v8(vec![]))), "Invalid mutation kind"),
        (pb::Mutation { mutation_type: 77, ..set(1, 1) }, "Invalid mutation kind"),
        (mutation(pb::MutationType::MSet, encoding(0)), "value encoding 0 is unknown"),
        (mutation(pb::MutationType::MSet, encoding(9)), "value encoding 9 is unknown"),
        (mutation(pb::MutationType::MSet, Some(pb::KvValue { data: vec![0; 7], encoding: 2 })), "8 bytes"),
        (pb::Mutation { expire_at_ms: -2, ..set(1, 1) }, "Invalid mutation expire at"),
        (mutation(pb::MutationType::MMin, Some(v8(bigint.clone()))), "'min' mutation on a non-U64 operand"),
        (mutation(pb::MutationType::MMax, Some(v8(bigint.clone()))), "'max' mutation on a non-U64 operand"),
        (sum(v8(b"\xff\x0fT".to_vec()), b"", b"", false), "not valid V8 values"),
        (sum(v8(number(1.0)), b"x", b"", false), "not valid V8 values"),
        (sum(pb::KvValue { data: vec![], encoding: 3 }, b"", b"", false), "not valid V8 values"),
        (sum(v8(number(1.0)), b"", &bigint, false), "different types than the operand"),
        (sum(le64(1), &number(1.0), b"", false), "min/max parameters with KvU64"),
        (sum(le64(1), b"", b"", true), "min/max parameters with KvU64"),
        (
            pb::Mutation {
                key: vec![1; 2_030],
                ..mutation(pb::MutationType::MSetSuffixVersionstampedKey, Some(v8(vec![])))
            },
            "key size limit",
        ),
    ] {
        let refused = decoded(&write_of(vec![mutation])).expect_err(text);
        assert!(refused.contains(text), "{refused}");
    }
    let check = pb::Check { key: vec![], versionstamp: vec![1; 9] };
    let write = pb::AtomicWrite { checks: vec![check], ..pb::AtomicWrite::default() };
    assert_eq!(decoded(&write), Err("Invalid versionstamp.".to_owned()));
    assert!(decoded(&write_of(vec![sum(v8(number(1.0)), &number(0.0), &number(9.0), true)])).is_ok());
}

#[test]
fn refusals_have_the_texts_that_clients_match() {
    let number = |op, operand| Mutation {
        space: SPACE,
        key: Key::default(),
        operation: Operation::Number {
            op,
            operand,
            at_least: None,
            at_most: None,
            clamp: false,
            expiry: Expiry::Never,
        },
    };
    let text = |mutation: &Mutation, error| refusal(Some(mutation), &error).to_string();
    let wrong = MutationError::WrongType { expected: "u64", found: "text" };
    for (op, name) in [(NumberOp::Sum, "sum"), (NumberOp::Min, "min"), (NumberOp::Max, "max")] {
        assert_eq!(
            text(&number(op, Value::u64(1)), wrong.clone()),
            format!("Failed to perform '{name}' mutation on a non-U64 value in the database")
        );
    }
    let sum = number(NumberOp::Sum, Value::new(ValueType::V8, V8Number::Number(1.0).encode()));
    assert_eq!(
        text(&sum, MutationError::CannotSum { stored: "BigInt", operand: "Number" }),
        "Cannot sum BigInt with Number"
    );
    let range = "The result of a Sum operation would exceed its range limit";
    assert_eq!(text(&sum, MutationError::OutOfBounds), range);
    assert_eq!(text(&sum, MutationError::Overflow), range);
    assert!(text(&sum, wrong).starts_with("unsupported value type"));
}

#[test]
fn entries_of_every_type_have_a_form() {
    let wire = |value: Value| {
        let entry = Entry {
            key: Key::new("k").expect("short"),
            value,
            versionstamp: Versionstamp::new(7, 2),
            expires_at: None,
        };
        let wire = to_wire(&entry);
        assert_eq!(wire.versionstamp, Versionstamp::new(7, 2).to_bytes());
        (wire.encoding, wire.value)
    };
    assert_eq!(wire(Value::new(ValueType::V8, vec![9])), (1, vec![9]), "as it was sent");
    assert_eq!(
        wire(Value::new(ValueType::V8, b"\xff\x10T".to_vec())),
        (1, b"\xff\x0fT".to_vec()),
        "for Node"
    );
    assert_eq!(wire(Value::u64(5)), (2, vec![5, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(wire(Value::bytes(vec![1, 2])), (3, vec![1, 2]));
    assert_eq!(wire(Value::from("hi")), (1, b"\xff\x0f\"\x02hi".to_vec()));
    assert_eq!(wire(Value::from(1_i64)), (1, b"\xff\x0fZ\x10\x01\0\0\0\0\0\0\0".to_vec()));
    assert_eq!(wire(Value::from(1.0_f64)), (1, b"\xff\x0fI\x02".to_vec()));
    assert_eq!(wire(Value::json("{\"a\":1}")), (1, b"\xff\x0fo\"\x01aI\x02{\x01".to_vec()));
    assert_eq!(wire(Value::new(ValueType::U64, vec![1])), (3, vec![1]), "damaged values still travel");
}

#[test]
fn frames_are_as_long_as_they_say() {
    let entry = Entry {
        key: Key::new("k").expect("short"),
        value: Value::from("v"),
        versionstamp: Versionstamp::new(1, 0),
        expires_at: None,
    };
    let frame =
        encode_watch(&[Watched::Unchanged, Watched::Changed(None), Watched::Changed(Some(entry.clone()))]);
    let (length, message) = frame.split_at(4);
    assert_eq!(u32::from_le_bytes(length.try_into().expect("four")), message.len() as u32);
    let output = pb::WatchOutput::decode(message).expect("a message");
    assert_eq!(output.status, pb::SnapshotReadStatus::SrSuccess as i32);
    assert_eq!(
        output.keys,
        [
            pb::WatchKeyOutput { changed: false, entry_if_changed: None },
            pb::WatchKeyOutput { changed: true, entry_if_changed: None },
            pb::WatchKeyOutput { changed: true, entry_if_changed: Some(to_wire(&entry)) },
        ]
    );
}

fn wire_mutation() -> impl Strategy<Value = pb::Mutation> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..12);
    (bytes(), prop::option::of((bytes(), 0..5i32)), 0..11i32, any::<i64>(), bytes(), bytes(), any::<bool>())
        .prop_map(|(key, value, mutation_type, expire_at_ms, sum_min, sum_max, sum_clamp)| pb::Mutation {
            key,
            value: value.map(|(data, encoding)| pb::KvValue { data, encoding }),
            mutation_type,
            expire_at_ms,
            sum_min,
            sum_max,
            sum_clamp,
        })
}

proptest! {
    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = decode_read(&bytes);
        let _ = decode_watch(&bytes);
        let _ = negotiate(&bytes);
        if let Ok(write) = decode_write(&bytes, SPACE, || NOW) {
            prop_assert!(write.commit.validate().is_ok());
        }
    }

    #[test]
    fn a_commit_is_as_long_as_its_message(mutations in prop::collection::vec(wire_mutation(), 0..4)) {
        let write = write_of(mutations.clone());
        if let Ok(decoded) = decoded(&write) {
            prop_assert_eq!(decoded.commit.mutations.len(), mutations.len());
            for (one, wire) in decoded.commit.mutations.iter().zip(&mutations) {
                prop_assert_eq!(one.key.as_ref(), wire.key.as_slice());
            }
        }
    }

    #[test]
    fn counting_agrees_with_decoding(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let (Ok([ranges, ..]), Ok(read)) = (count_fields(&bytes), pb::SnapshotRead::decode(bytes.as_slice())) {
            prop_assert_eq!(ranges, read.ranges.len());
        }
    }

    #[test]
    fn what_is_set_is_read(data in prop::collection::vec(any::<u8>(), 0..40), encoding in 1..4i32) {
        let wire = pb::KvValue { data: data.clone(), encoding };
        if let Ok(value) = from_wire(wire) {
            let entry = Entry { key: Key::default(), value, versionstamp: Versionstamp::ZERO, expires_at: None };
            prop_assert_eq!((to_wire(&entry).value, to_wire(&entry).encoding), (data, encoding));
        }
    }
}
