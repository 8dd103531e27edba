use super::*;
use proptest::prelude::*;

type Requests = Vec<Vec<Vec<u8>>>;

/// What a decoder makes of bytes that arrive in these pieces.
fn decode(pieces: &[&[u8]], limits: &RequestLimits) -> (Requests, Option<ProtocolError>) {
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::new();
    let mut requests = Requests::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            let batch = decoder.decode(&mut buffer, limits);
            requests.extend(batch.iter().map(|args| args.iter().map(<[u8]>::to_vec).collect()));
            let (is_empty, error) = (batch.is_empty(), batch.error);
            decoder.recycle(batch);
            if error.is_some() {
                return (requests, error);
            }
            if is_empty {
                break;
            }
        }
    }
    (requests, None)
}

fn whole(bytes: &[u8]) -> (Requests, Option<ProtocolError>) {
    decode(&[bytes], &RequestLimits::default())
}

fn words(words: &[&str]) -> Vec<Vec<u8>> {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

#[test]
fn errors_are_those_of_redis() {
    let long = |start: &str| format!("{start}{}", "1".repeat(70_000));
    for (bytes, error) in [
        ("*x\r\n".to_owned(), ProtocolError::InvalidMultibulkLength),
        ("*1048577\r\n".to_owned(), ProtocolError::InvalidMultibulkLength),
        ("*99999999999999999999\r\n".to_owned(), ProtocolError::InvalidMultibulkLength),
        (long("*"), ProtocolError::TooBigCountString),
        ("*1\r\n:1\r\n".to_owned(), ProtocolError::ExpectedBulk(b':')),
        ("*1\r\n$-1\r\n".to_owned(), ProtocolError::InvalidBulkLength),
        ("*1\r\n$x\r\n".to_owned(), ProtocolError::InvalidBulkLength),
        ("*1\r\n$16777217\r\n".to_owned(), ProtocolError::InvalidBulkLength),
        ("*1\r\n$536870912\r\n".to_owned(), ProtocolError::InvalidBulkLength),
        (long("*1\r\n$"), ProtocolError::TooBigBulkCountString),
        (long("GET "), ProtocolError::TooBigInline),
        ("GET \"a\r\n".to_owned(), ProtocolError::UnbalancedQuotes),
    ] {
        assert_eq!(whole(bytes.as_bytes()), (vec![], Some(error)), "{:.20}", bytes);
        // What came before is still given.
        let (requests, found) = whole(format!("PING\r\n{bytes}").as_bytes());
        assert_eq!((requests, found), (vec![words(&["PING"])], Some(error)));
    }
    assert_eq!(ProtocolError::ExpectedBulk(b'+').to_string(), "Protocol error: expected '$', got '+'");
}

#[test]
fn strangers_may_send_little() {
    let limits = RequestLimits { is_stranger: true, ..RequestLimits::default() };
    for (bytes, error) in [
        ("*11\r\n", ProtocolError::UnauthenticatedMultibulkLength),
        ("*1\r\n$16385\r\n", ProtocolError::UnauthenticatedBulkLength),
    ] {
        assert_eq!(decode(&[bytes.as_bytes()], &limits), (vec![], Some(error)));
        assert_eq!(whole(bytes.as_bytes()), (vec![], None));
    }
}

#[test]
fn whole_requests_are_bounded() {
    let limits = RequestLimits { request_size_bytes_max: 100, ..RequestLimits::default() };
    let request = |count: usize| {
        let mut bytes = format!("*{count}\r\n").into_bytes();
        bytes.extend(b"$1\r\na\r\n".repeat(count));
        bytes
    };
    assert_eq!(decode(&[&request(10)], &limits).1, None);
    assert_eq!(decode(&[&request(10).repeat(5)], &limits).0.len(), 5, "a pipeline is no request");
    assert_eq!(decode(&[&request(20)], &limits), (vec![], Some(ProtocolError::TooBigRequest)));
    assert_eq!(decode(&[b"*1\r\n$200\r\n"], &limits), (vec![], Some(ProtocolError::TooBigRequest)));
}

#[test]
fn nothing_is_no_request() {
    let bytes = b"\r\n\n  \r\n*0\r\n*-1\r\n*-5\r\nPING\n*1\r\n$0\r\n\r\n";
    assert_eq!(whole(bytes), (vec![words(&["PING"]), words(&[""])], None));
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::from(&b"\r\n*0\r\n"[..]);
    assert!(decoder.decode(&mut buffer, &RequestLimits::default()).is_empty());
    assert!(buffer.is_empty(), "they are taken off");
}

#[test]
fn one_request_at_a_time() {
    let limits = RequestLimits { requests_max: 1, ..RequestLimits::default() };
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::from(&b"PING\r\nECHO a\r\n*1\r\n$4\r\nQUIT\r\n"[..]);
    for name in [&b"PING"[..], b"ECHO", b"QUIT"] {
        let batch = decoder.decode(&mut buffer, &limits);
        assert_eq!((batch.len(), batch.request(0).at(0)), (1, name));
    }
    assert!(buffer.is_empty());
}

#[test]
fn a_large_argument_tells_what_it_needs() {
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::from(&b"*1\r\n$1000\r\nab"[..]);
    assert!(decoder.decode(&mut buffer, &RequestLimits::default()).is_empty());
    assert_eq!(decoder.wanted_bytes(buffer.len()), 1_000);
}

#[test]
fn arguments_are_shared_or_copied() {
    let mut decoder = RequestDecoder::default();
    let mut buffer = BytesMut::from(&b"SET k v\r\n"[..]);
    let batch = decoder.decode(&mut buffer, &RequestLimits::default());
    let args = batch.request(0);
    assert_eq!((args.len(), args.get(3), args.at(3)), (3, None, &b""[..]));
    assert_eq!((args.shared(2).as_ref(), args.shared(9).as_ref()), (&b"v"[..], &b""[..]));
    let owned = args.from(1).to_owned();
    assert_eq!(owned.args().iter().collect::<Vec<_>>(), [b"k", b"v"]);
    assert_eq!(format!("{args:?}"), r#"["SET", "k", "v"]"#);
}

/// Requests as bytes, some inline.
fn encoded() -> impl Strategy<Value = (Vec<u8>, Requests)> {
    let word = prop::collection::vec(any::<u8>(), 0..12);
    let request =
        (prop::collection::vec(word, 1..5), any::<bool>(), 0..4_u8).prop_map(|(words, inline, filler)| {
            let mut bytes = match filler {
                0 => b"\r\n".to_vec(),
                1 => b"*0\r\n".to_vec(),
                _ => Vec::new(),
            };
            if inline {
                for word in &words {
                    bytes.push(b'"');
                    word.iter().for_each(|byte| bytes.extend(format!("\\x{byte:02x}").bytes()));
                    bytes.extend_from_slice(b"\" ");
                }
                bytes.extend_from_slice(b"\r\n");
            } else {
                bytes.extend(format!("*{}\r\n", words.len()).bytes());
                for word in &words {
                    bytes.extend(format!("${}\r\n", word.len()).bytes());
                    bytes.extend_from_slice(word);
                    bytes.extend_from_slice(b"\r\n");
                }
            }
            (bytes, words)
        });
    prop::collection::vec(request, 1..6).prop_map(|requests| {
        let bytes = requests.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
        (bytes, requests.into_iter().map(|(_, words)| words).collect())
    })
}

fn pieces<'a>(bytes: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut start = 0;
    cuts.into_iter().map(|cut| &bytes[std::mem::replace(&mut start, cut)..cut]).collect()
}

proptest! {
    #[test]
    fn how_bytes_are_cut_does_not_matter((bytes, requests) in encoded(), cuts in prop::collection::vec(any::<usize>(), 0..20), one in any::<bool>()) {
        let requests_max = if one { 1 } else { usize::MAX };
        let limits = RequestLimits { requests_max, ..RequestLimits::default() };
        prop_assert_eq!(decode(&pieces(&bytes, &cuts), &limits), (requests, None));
    }

    #[test]
    fn any_bytes_are_safe_in_any_pieces(
        bytes in prop::collection::vec(prop_oneof![
            Just(b'*'), Just(b'$'), Just(b'\r'), Just(b'\n'), Just(b'1'), Just(b'2'), Just(b'"'), Just(b'a'), any::<u8>(),
        ], 0..60),
        cuts in prop::collection::vec(any::<usize>(), 0..10),
    ) {
        let limits = RequestLimits { request_size_bytes_max: 40, args_max: 5, ..RequestLimits::default() };
        let all = whole(&bytes);
        prop_assert_eq!(&decode(&pieces(&bytes, &cuts), &RequestLimits::default()), &all);
        let _ = decode(&pieces(&bytes, &cuts), &limits);
    }
}
