#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by it")]

use super::*;
use orcharddb::Value;
use proptest::prelude::*;

fn hex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

fn json(v8: &[u8]) -> String {
    let mut out = Vec::new();
    to_json(&mut out, v8);
    String::from_utf8(out).expect("UTF-8")
}

/// What Node 20 and Deno 2.9 wrote, and its rendering.
const WRITTEN_BY_V8: [(&str, &str); 37] = [
    ("ff0f4900", "0"),
    ("ff0f4901", "-1"),
    ("ff0f4e0000000000000080", "-0.0"),
    ("ff0f4e000000000000f041", "4294967296"),
    ("ff104e000000000000f83f", "1.5"),
    ("ff0f4e000000000000f87f", r#"{"$number":"NaN"}"#),
    ("ff0f4e000000000000f07f", r#"{"$number":"Infinity"}"#),
    ("ff0f5a00", r#"{"$bigint":"0"}"#),
    ("ff0f5a2100000000000000000100000000000000", r#"{"$bigint":"-18446744073709551616"}"#),
    ("ff0f5f", r#"{"$undefined":true}"#),
    ("ff0f30", "null"),
    ("ff0f54", "true"),
    ("ff0f22026869", r#""hi""#),
    ("ff0f2201e9", r#""é""#),
    ("ff106304e5652c67", r#""日本""#),
    ("ff0f630400d86100", r#"{"$utf16":"ANhhAA=="}"#),
    ("ff0f6f22016149022201622201787b02", r#"{"a":1,"b":"x"}"#),
    ("ff0f61034900490249044906400203", r#"{"$sparse":3,"entries":{"0":1,"2":3}}"#),
    ("ff0f616549c8014902400165", r#"{"$sparse":101,"entries":{"100":1}}"#),
    ("ff0f440000000000000000", r#"{"$date":"1970-01-01T00:00:00.000Z"}"#),
    ("ff0f44000000000000f87f", r#"{"$date":{"$number":"NaN"}}"#),
    ("ff0f522202612b03", r#"{"$regexp":"a+","flags":"gi"}"#),
    ("ff0f3b490222016122016b6f22017a49027b013a04", r#"{"$map":[[1,"a"],["k",{"z":1}]]}"#),
    ("ff0f2749022201622c02", r#"{"$set":[1,"b"]}"#),
    ("ff0f72546d2204626f6f6d63220163732202617473652e", r#"{"$raw":"/w9yVG0iBGJvb21jIgFjcyICYXRzZS4="}"#),
    ("ff0f6e0000000000000840", r#"{"$boxed":3}"#),
    ("ff0f73220171", r#"{"$boxed":"q"}"#),
    ("ff0f79", r#"{"$boxed":true}"#),
    ("ff0f7a100500000000000000", r#"{"$boxed":{"$bigint":"5"}}"#),
    ("ff0f6f22016e4902220473656c665e007b02", r#"{"n":1,"self":{"$ref":0}}"#),
    ("ff0f6f490a490222022d31490422017849067b03", r#"{"5":1,"-1":2,"x":3}"#),
    ("ff1042030102035642000300", r#"{"$bytes":"AQID"}"#),
    ("ff104208000000000000f83f5646000800", r#"{"$typed":"Float64Array","bytes":"AAAAAAAA+D8="}"#),
    ("ff1042020000563f000200", r#"{"$typed":"DataView","bytes":"AAA="}"#),
    ("ff10420109", r#"{"$buffer":"CQ=="}"#),
    ("ff0f5c0103010203", r#"{"$bytes":"AQID"}"#),
    ("ff0f5c0a026869", r#"{"$bytes":"aGk="}"#),
];

#[test]
fn what_v8_wrote_is_shown() {
    for (bytes, expected) in WRITTEN_BY_V8 {
        assert_eq!(json(&hex(bytes)), expected, "{bytes}");
    }
    let error = hex("ff0f72546d2204626f6f6d6322016373220261742e");
    assert_eq!(json(&error), r#"{"$error":{"name":"TypeError","message":"boom","cause":"c","stack":"at"}}"#);
}

#[test]
fn renderings_come_back() {
    for text in [
        r#"{"a":1,"b":[1,{"$hole":true},{"$undefined":true}],"$$x":{"$date":"2024-01-31T00:00:00.000Z"}}"#,
        r#"{"$array":[1,2],"entries":{"foo":"bar"}}"#,
        r#"{"$sparse":101,"entries":{"100":{"$ref":0}}}"#,
        r#"[{"$bytes":"AQID"},{"$ref":1},{"$typed":"BigInt64Array","bytes":"AQAAAAAAAAA="},{"a":{"$ref":2}}]"#,
        r#"{"$map":[[{"$map":[]},{"$set":[1,"x",null]}]]}"#,
        r#"{"$error":{"name":"RangeError","message":"m","stack":"s","cause":{"$error":{"message":"x","name":"Error"}}}}"#,
        r#"{"$error":{"name":"Error"}}"#,
        r#"{"$boxed":{"$number":"-Infinity"}}"#,
        r#"{"$buffer":"AA==","max_byte_length":9}"#,
        r#"{"$regexp":"日","flags":"gimyusd"}"#,
        r#"{"$utf16:ANg=":1}"#,
        r#"{"$regexp":{"$utf16":"ANg="},"flags":""}"#,
        r#"{"$boxed":{"$utf16":"ANg="}}"#,
        r#"{"$error":{"name":"Error","message":{"$utf16":"ANg="}}}"#,
        r#"{"5":1,"x":2,"日":3}"#,
        "1e300",
        "-0.0",
        "\"日本é\"",
    ] {
        let bytes = from_json(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = json(&bytes);
        if !text.contains("Error") {
            assert_eq!(shown, text);
        }
        assert_eq!(from_json(shown.as_bytes()), Ok(bytes), "{text}");
    }
    assert_eq!(from_json(br#"{"$raw":"AAEC"}"#), Ok(vec![0, 1, 2]));
}

#[test]
fn bad_forms_are_refused() {
    for text in [
        "",
        "{",
        "1 2",
        r#"{"$nothing":1}"#,
        r#"{"a":1,"$set":[]}"#,
        r#"{"$set":[],"a":1}"#,
        r#"{"$set":{}}"#,
        r#"{"$map":[[1]]}"#,
        r#"{"$map":[1]}"#,
        r#"{"$ref":0}"#,
        r#"[{"$ref":1}]"#,
        r#"{"a":{"$hole":true}}"#,
        r#"[{"$raw":"AA=="}]"#,
        r#"{"$bigint":"1.5"}"#,
        r#"{"$bigint":"--1"}"#,
        r#"{"$bigint":"+1"}"#,
        r#"{"$typed":"Float64Array","bytes":"AA=="}"#,
        r#"{"$typed":"Nothing","bytes":""}"#,
        r#"{"$typed":"Int8Array"}"#,
        r#"{"$bytes":"?"}"#,
        r#"{"$utf16":"AA=="}"#,
        r#"{"$date":"yesterday"}"#,
        r#"{"$regexp":"a","flags":"q"}"#,
        r#"{"$error":{"name":"MyError"}}"#,
        r#"{"$boxed":[]}"#,
        r#"{"$undefined":false}"#,
        r#"{"$buffer":"AAAA","max_byte_length":1}"#,
        r#"{"a":1,"a":2}"#,
        "\"\\ud800\"",
    ] {
        assert!(from_json(text.as_bytes()).is_err(), "{text}");
    }
}

#[test]
fn other_types_are_what_javascript_has_for_them() {
    let shown = |value: Value| of_value(&value).map(|bytes| json(&bytes));
    assert_eq!(shown(Value::from("hi")).as_deref(), Some("\"hi\""));
    assert_eq!(of_value(&Value::from("日本")), Some(hex("ff0f6304e5652c67")), "as V8 itself writes it");
    assert_eq!(shown(Value::from(5_i64)).as_deref(), Some(r#"{"$bigint":"5"}"#));
    assert_eq!(shown(Value::from(5.0_f64)).as_deref(), Some("5"));
    assert_eq!(shown(Value::from(true)).as_deref(), Some("true"));
    assert_eq!(shown(Value::null()).as_deref(), Some("null"));
    let document = r#"{"z":1,"a":[{"$set":[1.50]},null],"5":"x"}"#;
    assert_eq!(
        shown(Value::json(document)).as_deref(),
        Some(r#"{"z":1,"a":[{"$$set":[1.5]},null],"5":"x"}"#)
    );
    assert_eq!(shown(Value::json(r#"{"a":1,"a":2}"#)).as_deref(), Some(r#"{"a":2}"#), "the last one counts");
    assert_eq!(of_value(&Value::bytes(vec![1])), None);
    assert_eq!(of_value(&Value::u64(1)), None);
    assert_eq!(of_value(&Value::new(orcharddb::ValueType::Int, vec![1])), None, "damaged");
}

#[test]
fn hostile_values_are_raw_and_small() {
    // Nested arrays that each claim as many elements as there are bytes left.
    let mut nested = vec![0xff, 15];
    nested.resize(60_000, b'A');
    let shown = json(&nested);
    assert!(shown.starts_with(r#"{"$raw":"#));
    // Deep but whole.
    let deep = |levels: usize| {
        [&b"\xff\x0f"[..], &b"A\x01".repeat(levels), b"0", &b"$\x00\x01".repeat(levels)].concat()
    };
    assert!(json(&deep(100)).starts_with('['));
    assert!(json(&deep(102)).starts_with(r#"{"$raw""#));
    // Many views of one buffer.
    let mut views = b"\xff\x0fA\xa0\x1fB\xff\x7f".to_vec();
    views.resize(views.len() + 0x3fff, 7);
    views.extend_from_slice(b"VB\x00\xff\x7f\x00");
    for _ in 1..4_000 {
        views.extend_from_slice(b"^\x01VB\x00\xff\x7f\x00");
    }
    views.extend_from_slice(b"$\x00\xa0\x1f");
    let shown = json(&views);
    assert!(shown.starts_with(r#"{"$raw""#) && shown.len() < 2 * views.len(), "{}", shown.len());
    // A bigint of a megabyte.
    let mut large = b"\xff\x0fZ\x80\x80\x80\x01".to_vec();
    large.resize(large.len() + (1 << 20), 0xff);
    assert!(json(&large).starts_with(r#"{"$bigint":"0xfff"#));
    assert_eq!(from_json(json(&large).as_bytes()), Ok(large));
    // A property twice.
    let twice = hex("ff0f6f220161490222016149047b02");
    assert!(json(&twice).starts_with(r#"{"$raw""#), "{}", json(&twice));
    for bytes in ["", "ff", "ff0f", "00", "ff0b30", "ff0f3030", "ff0f5e00", "ff0f41ffffffff0f", "ff0f2d"] {
        assert!(json(&hex(bytes)).starts_with(r#"{"$raw""#), "{bytes}");
    }
}

/// Bytes that look like V8 more often than chance would have it.
fn v8ish() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(b"_0TF-IUNZ\"Scoa;'DyxnzsRrB~\\^V{$@:,.?mETb".to_vec())
            .prop_map(|tag| vec![tag]),
        (0u8..6).prop_map(|number| vec![number]),
        prop::sample::select(WRITTEN_BY_V8.to_vec()).prop_map(|(bytes, _)| hex(bytes)[2..].to_vec()),
        prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| [vec![0xff, 15], pieces.concat()].concat())
}

proptest! {
    #[test]
    fn a_rendering_comes_back_to_itself(bytes in v8ish()) {
        let shown = json(&bytes);
        let again = from_json(shown.as_bytes()).unwrap_or_else(|error| panic!("{shown}: {error}"));
        prop_assert_eq!(json(&again), shown);
    }

    #[test]
    fn any_json_is_safe(text in r#"[\[\]{}:,"$a-z0-9]{0,40}"#) {
        let _ = from_json(text.as_bytes());
    }

    #[test]
    fn any_bytes_are_safe(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        serde_json::from_str::<serde_json::Value>(&json(&bytes)).expect("JSON");
    }
}
