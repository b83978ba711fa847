//! The laws of the HTTP/1 codec: round trips, fragmentation, and hyper's reading of what it accepts.
#![expect(
    clippy::unwrap_used,
    reason = "what fails to be built here fails the test"
)]

use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use lb_l7::BodyLength;
use lb_l7::h1::{
    BodyDecoder, Coding, HeadLimits, Piece, Rejection, Request, RequestKind, Response, Scan,
    emit_chunk_end, emit_chunk_head, emit_last_chunk, emit_request, emit_response, parse_request,
    parse_response,
};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn request(buffer: &mut BytesMut) -> Result<Option<Request>, Rejection> {
    let limits = HeadLimits::default();
    parse_request(buffer, &mut Scan::default(), &limits, &mut HeaderMap::new())
}

fn response(buffer: &mut BytesMut, to: RequestKind) -> Result<Option<Response>, Rejection> {
    let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
    parse_response(buffer, &mut Scan::default(), &limits, &mut fields, to)
}

/// All that a decoder finds: the content, the trailers, and whether it ended.
#[derive(Debug, Default, PartialEq)]
struct Decoded {
    content: Vec<u8>,
    trailers: Option<HeaderMap>,
    rest: Vec<u8>,
    done: bool,
}

fn decode<'a>(
    length: BodyLength,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> Result<Decoded, Rejection> {
    let (mut decoder, mut buffer) = (BodyDecoder::new(length), BytesMut::new());
    let mut decoded = Decoded::default();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !decoder.is_done()
            && let Some(piece) = decoder.decode(&mut buffer)?
        {
            match piece {
                Piece::Data(data) => {
                    assert!(!data.is_empty());
                    decoded.content.extend_from_slice(&data);
                }
                Piece::Trailers(fields) => {
                    assert!(decoder.is_done());
                    decoded.trailers = Some(fields);
                }
                Piece::End => {}
            }
        }
    }
    decoded.done = decoder.is_done();
    decoded.rest = buffer.to_vec();
    Ok(decoded)
}

/// Bytes in pieces of up to `size`, for every size in turn.
fn pieces<'a>(bytes: &'a [u8], sizes: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = bytes;
    let mut sizes = sizes.iter().cycle();
    std::iter::from_fn(move || {
        let (piece, behind) = rest.split_at(rest.len().min(*sizes.next()?));
        rest = behind;
        (!piece.is_empty()).then_some(piece)
    })
}

fn name() -> impl Strategy<Value = HeaderName> {
    prop_oneof![
        Just(header::ACCEPT),
        Just(header::COOKIE),
        Just(header::USER_AGENT),
        "x-[a-z0-9!#$%&'*+.^_`|~-]{1,40}".prop_map(|name| name.parse().unwrap()),
    ]
}

fn value() -> impl Strategy<Value = HeaderValue> {
    let bytes = "([!-~\u{80}-\u{24f}]([ \t!-~]{0,80}[!-~])?)?";
    bytes.prop_map(|value| HeaderValue::from_bytes(value.as_bytes()).unwrap())
}

fn fields() -> impl Strategy<Value = HeaderMap> {
    vec((name(), value()), 0..20).prop_map(|fields| {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(name, value);
        }
        map
    })
}

fn length() -> impl Strategy<Value = BodyLength> {
    prop_oneof![
        Just(BodyLength::Empty),
        (0..=i64::MAX.cast_unsigned()).prop_map(BodyLength::Exact),
        Just(BodyLength::Streamed),
    ]
}

proptest! {
    /// What is emitted for a request is that request when it is parsed, and nothing is left.
    #[test]
    fn a_request_that_is_emitted_is_parsed_alike(
        method in "[A-Z!#$%&'*+.^_`|~-]{1,20}",
        path in "/[a-zA-Z0-9/._~!$&'()*+,;=:@%-]{0,60}",
        query in proptest::option::of("[a-zA-Z0-9/?&=%._-]{0,40}"),
        host in "[a-z0-9.-]{1,40}(:[1-9][0-9]{0,3})?",
        fields in fields(),
        length in length(),
    ) {
        prop_assume!(!["CONNECT", "TRACE"].contains(&&*method));
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.method = Method::from_bytes(method.as_bytes()).unwrap();
        parts.uri = query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")).parse().unwrap();
        parts.headers = fields;
        parts.headers.insert(header::HOST, host.parse().unwrap());

        let mut out = BytesMut::new();
        let coding = emit_request(&mut out, &parts, length, None);
        let again = request(&mut out).unwrap().unwrap();

        prop_assert!(out.is_empty());
        prop_assert_eq!(&again.parts.method, &parts.method);
        prop_assert_eq!(&again.parts.uri, &parts.uri);
        prop_assert_eq!(&again.parts.headers, &parts.headers);
        prop_assert_eq!(again.length.exact(), length.exact());
        prop_assert_eq!(coding == Coding::Chunked, length == BodyLength::Streamed);
        prop_assert!(again.keep_alive);
    }

    /// What is emitted for a response is that response when it is parsed, and nothing is left.
    #[test]
    fn a_response_that_is_emitted_is_parsed_alike(
        status in 200_u16..1000,
        fields in fields(),
        length in prop_oneof![length(), Just(BodyLength::UntilClose)],
        version in prop_oneof![Just(Version::HTTP_10), Just(Version::HTTP_11)],
    ) {
        prop_assume!(![204, 304].contains(&status) && length != BodyLength::Empty);
        let (mut parts, ()) = http::Response::new(()).into_parts();
        parts.status = StatusCode::from_u16(status).unwrap();
        parts.headers = fields;

        let mut out = BytesMut::new();
        let coding = emit_response(&mut out, version, &parts, length, None);
        let mut again = response(&mut out, RequestKind::Other).unwrap().unwrap();

        prop_assert!(out.is_empty());
        prop_assert_eq!(again.parts.status, parts.status);
        let unknown = length == BodyLength::Streamed && version == Version::HTTP_10;
        let sent = if unknown { BodyLength::UntilClose } else { length };
        prop_assert_eq!(again.length, sent);
        prop_assert_eq!(coding == Coding::UntilClose, sent == BodyLength::UntilClose);
        prop_assert_eq!(again.keep_alive, sent != BodyLength::UntilClose);
        let closes = again.parts.headers.remove(header::CONNECTION);
        prop_assert_eq!(closes.is_some(), sent == BodyLength::UntilClose);
        prop_assert_eq!(&again.parts.headers, &parts.headers);
    }

    /// Content is the same however it is cut into chunks, and those into reads.
    #[test]
    fn chunks_are_decoded_to_what_was_encoded(
        chunks in vec(vec(any::<u8>(), 1..300), 0..12),
        trailers in fields(),
        sizes in vec(1_usize..200, 1..8),
        behind in vec(any::<u8>(), 0..20),
    ) {
        let mut out = BytesMut::new();
        for chunk in &chunks {
            emit_chunk_head(&mut out, NonZeroUsize::new(chunk.len()).unwrap());
            out.extend_from_slice(chunk);
            emit_chunk_end(&mut out);
        }
        emit_last_chunk(&mut out, Some(&trailers));
        out.extend_from_slice(&behind);

        let mut kept = trailers;
        kept.remove(header::ACCEPT);
        kept.remove(header::COOKIE);
        let decoded = decode(BodyLength::Streamed, pieces(&out, &sizes)).unwrap();
        prop_assert_eq!(decoded.content, chunks.concat());
        prop_assert_eq!(decoded.trailers.unwrap_or_default(), kept);
        prop_assert!(decoded.done);
        let whole = decode(BodyLength::Streamed, [&*out]).unwrap();
        prop_assert_eq!(whole.rest, behind);
    }

    /// Bytes that may be chunks are refused or decoded alike however they are cut into reads.
    #[test]
    fn chunks_are_judged_alike_in_any_fragments(
        bytes in "([0-9a-f]{1,2}|[;=\"x \r\n]|\r\n|\r\n|0\r\n|5;a=b\r\nhello\r\n){0,30}",
        sizes in vec(1_usize..5, 1..5),
    ) {
        let whole = decode(BodyLength::Streamed, [bytes.as_bytes()]);
        let mut cut = decode(BodyLength::Streamed, pieces(bytes.as_bytes(), &sizes));
        if let (Ok(whole), Ok(cut)) = (&whole, &mut cut) {
            // Bytes behind the end are the caller's; he reads no more of them here.
            prop_assert_eq!(whole.done, cut.done);
            cut.rest.clone_from(&whole.rest);
        }
        prop_assert_eq!(whole, cut);
    }

    /// A counted body is its count of bytes, and what is behind stays.
    #[test]
    fn a_counted_body_ends_at_its_count(
        content in vec(any::<u8>(), 0..500),
        behind in vec(any::<u8>(), 0..20),
        sizes in vec(1_usize..100, 1..5),
    ) {
        let bytes = [&*content, &*behind].concat();
        let length = BodyLength::Exact(content.len() as u64);
        let decoded = decode(length, pieces(&bytes, &sizes)).unwrap();
        prop_assert_eq!(&decoded.content, &content);
        prop_assert!(decoded.done);
        prop_assert_eq!(decode(length, [&*bytes]).unwrap().rest, behind);
    }

    /// Whatever is fed, a head is refused or parsed alike however it is cut into reads.
    #[test]
    fn heads_are_judged_alike_in_any_fragments(
        head in head(),
        sizes in vec(1_usize..40, 1..5),
    ) {
        let whole = request(&mut BytesMut::from(&*head)).map(shown);
        let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
        let (mut buffer, mut scan) = (BytesMut::new(), Scan::default());
        let mut cut = Ok(None);
        for piece in pieces(&head, &sizes) {
            buffer.extend_from_slice(piece);
            cut = parse_request(&mut buffer, &mut scan, &limits, &mut fields);
            if !matches!(cut, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(whole, cut.map(shown));
    }

    /// A head that is accepted is read by hyper's server as the same request with the same body.
    #[test]
    fn hyper_reads_what_is_accepted_alike(head in head(), tail in tail()) {
        let bytes = [head, tail].concat();
        let mut buffer = BytesMut::from(&*bytes);
        if let Ok(Some(ours)) = request(&mut buffer)
            && let Ok(body) = decode(ours.length, [&*buffer])
            && body.done
            && ours.parts.method != Method::CONNECT
        {
            let seen = hyper_sees(&bytes);
            let Some(theirs) = seen.first() else {
                return Err(TestCaseError::fail("hyper refuses it"));
            };
            prop_assert_eq!(&theirs.method, &ours.parts.method);
            // hyper keeps the absolute form; what it names beyond the path was checked by us.
            prop_assert!(theirs.target.ends_with(&ours.parts.uri.to_string()) || ours.scheme.is_some());
            prop_assert_eq!(&theirs.body, &body.content);
            for (name, value) in &ours.parts.headers {
                // Host was made of the target, where HTTP/1.0 did not name it.
                if *name == header::HOST && ours.scheme.is_some() {
                    continue;
                }
                let alike = theirs.fields.get_all(name).iter().any(|theirs| theirs == value);
                prop_assert!(alike || value.is_empty(), "{}: {:?}", name, value);
            }
        }
    }
}

/// What can be compared of an answer.
fn shown(request: Option<Request>) -> Option<String> {
    request.map(|request| format!("{request:?}"))
}

/// Heads of which about half are well-formed: a choice of right and wrong parts.
fn head() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        Just("GET"),
        Just("POST"),
        Just("OPTIONS"),
        Just("G T"),
        Just("x")
    ];
    let target = prop_oneof![
        6 => Just("/"), 2 => Just("/a?b"), 1 => Just("*"), 1 => Just("http://a/b"),
        1 => Just("a"), 1 => Just("/\u{1}"), 1 => Just("/a#b"),
    ];
    let version = prop_oneof![8 => Just("HTTP/1.1"), 2 => Just("HTTP/1.0"), 1 => Just("HTTP/2.0")];
    let field = prop_oneof![
        4 => Just("X: y".to_owned()),
        1 => Just("Transfer-Encoding: chunked".to_owned()),
        1 => "Content-Length: [+0-9]{1,3}",
        1 => "Transfer-Encoding: (gzip, )?chunked(, x)?",
        1 => "[Hh]ost: ?[ab](:80)?",
        1 => "[!-~]{1,10}:[ -~\t]{0,10}",
        1 => "[ -~]{0,10}",
        1 => Just("Expect: 100-continue".to_owned()),
        1 => "Connection: (close|keep-alive|upgrade)",
    ];
    let end =
        || prop_oneof![30 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r"), 1 => Just("\r\n ")];
    let lines = vec((field, end()), 0..5);
    let host = prop_oneof![5 => Just("Host: a\r\n"), 1 => Just("")];
    (method, target, version, end(), host, lines).prop_map(
        |(method, target, version, end, host, lines)| {
            let lines: String = lines
                .iter()
                .flat_map(|(line, end)| [&**line, *end])
                .collect();
            format!("{method} {target} {version}{end}{host}{lines}\r\n").into_bytes()
        },
    )
}

/// Bodies: chunks, or so many bytes.
fn tail() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(b"5\r\nhello\r\n0\r\n\r\n".to_vec()),
        Just(b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n".to_vec()),
        vec(any::<u8>(), 0..1000),
    ]
}

#[derive(Debug)]
struct Seen {
    method: Method,
    target: String,
    fields: HeaderMap,
    body: Vec<u8>,
}

/// The requests that hyper's server finds in these bytes, with their whole bodies.
fn hyper_sees(bytes: &[u8]) -> Vec<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let sink = Arc::clone(&seen);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let sink = Arc::clone(&sink);
            async move {
                let (parts, body) = request.into_parts();
                if let Ok(body) = body.collect().await {
                    sink.lock().unwrap().push(Seen {
                        method: parts.method,
                        target: parts.uri.to_string(),
                        fields: parts.headers,
                        body: body.to_bytes().to_vec(),
                    });
                }
                Ok::<_, Infallible>(http::Response::new(Empty::<Bytes>::new()))
            }
        });
        let (mut read, mut write) = tokio::io::split(ours);
        let serve = hyper::server::conn::http1::Builder::new()
            .half_close(true)
            .serve_connection(TokioIo::new(theirs), service);
        let client = async {
            let _ = write.write_all(bytes).await;
            let _ = write.shutdown().await;
            let _ = read.read_to_end(&mut Vec::new()).await;
        };
        let _ = tokio::join!(serve, client);
    });
    Arc::into_inner(seen).unwrap().into_inner().unwrap()
}
