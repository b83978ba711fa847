//! A request head is judged alike however its bytes arrive; what is accepted has one host and no
//! framing field, and what is sent on for it is read as the same request.
#![no_main]

use bytes::BytesMut;
use http::{HeaderMap, Version, header};
use lb_l7::BodyLength;
use lb_l7::h1::{HeadLimits, Rejection, Request, Scan, emit_request, parse_request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes, bytes.len().max(1));
    let by_bytes = parse(bytes, 1);
    assert_eq!(
        whole.as_ref().map(shown),
        by_bytes.as_ref().map(shown),
        "at once and byte by byte"
    );
    let Ok(Some((request, _))) = whole else {
        return;
    };
    check(&request);
    if request.parts.headers[header::HOST].is_empty() {
        return;
    }
    let mut out = BytesMut::new();
    emit_request(&mut out, &request.parts, request.length, None);
    let (again, used) = parse(&out, out.len())
        .expect("what is emitted is not refused")
        .expect("what is emitted is whole");
    assert_eq!(used, out.len());
    assert_eq!(again.parts.method, request.parts.method);
    assert_eq!(again.parts.uri, request.parts.uri);
    assert_eq!(again.length.exact(), request.length.exact());
});

/// What holds of every request.
fn check(request: &Request) {
    let fields = &request.parts.headers;
    assert_eq!(fields.get_all(header::HOST).iter().count(), 1);
    assert!(!fields.contains_key(header::CONTENT_LENGTH));
    assert!(!fields.contains_key(header::TRANSFER_ENCODING));
    assert_eq!(
        fields.contains_key(header::EXPECT),
        request.expects_continue
    );
    assert_ne!(request.length, BodyLength::UntilClose);
    let limits = HeadLimits::default();
    assert!(fields.len() <= limits.fields + 1);
    if request.parts.version == Version::HTTP_10 {
        assert!(request.upgrade.is_none() && request.length != BodyLength::Streamed);
    }
}

/// The request in these bytes when they come `size` at a time, and how many it took.
fn parse(bytes: &[u8], size: usize) -> Result<Option<(Request, usize)>, Rejection> {
    let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
    let (mut buffer, mut scan, mut fed) = (BytesMut::new(), Scan::default(), 0);
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        fed += piece.len();
        if let Some(request) = parse_request(&mut buffer, &mut scan, &limits, &mut fields)? {
            return Ok(Some((request, fed - buffer.len())));
        }
    }
    Ok(None)
}

fn shown(request: &Option<(Request, usize)>) -> String {
    format!("{request:?}")
}
