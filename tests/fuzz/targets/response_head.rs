//! A response head is judged alike however its bytes arrive, whatever it answers; what is sent on
//! for it is read as the same response.
#![no_main]

use bytes::BytesMut;
use http::{HeaderMap, Version, header};
use lb_l7::BodyLength;
use lb_l7::h1::{
    HeadLimits, Rejection, RequestKind, Response, Scan, emit_response, parse_response,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for to in [RequestKind::Connect, RequestKind::Head, RequestKind::Other] {
        let whole = parse(bytes, bytes.len().max(1), to);
        let by_bytes = parse(bytes, 1, to);
        assert_eq!(
            whole.as_ref().map(shown),
            by_bytes.as_ref().map(shown),
            "at once and byte by byte"
        );
        if let Ok(Some((response, _))) = whole {
            check(&response, to);
        }
    }
});

/// What holds of every response.
fn check(response: &Response, to: RequestKind) {
    let (parts, length) = (&response.parts, response.length);
    assert!(!parts.headers.contains_key(header::TRANSFER_ENCODING));
    assert!(!(response.keep_alive && (response.tunnel || length == BodyLength::UntilClose)));
    if to == RequestKind::Head || parts.status.is_informational() {
        assert_eq!(length, BodyLength::Empty);
    }

    let mut out = BytesMut::new();
    emit_response(&mut out, Version::HTTP_11, parts, length, None);
    let (again, used) = parse(&out, out.len(), to)
        .expect("what is emitted is not refused")
        .expect("what is emitted is whole");
    assert_eq!(used, out.len());
    assert_eq!(again.parts.status, parts.status);
    assert_eq!(again.length, length);
    assert_eq!(again.tunnel, response.tunnel);
}

/// The response in these bytes when they come `size` at a time, and how many it took.
fn parse(
    bytes: &[u8],
    size: usize,
    to: RequestKind,
) -> Result<Option<(Response, usize)>, Rejection> {
    let (limits, mut fields) = (HeadLimits::default(), HeaderMap::new());
    let (mut buffer, mut scan, mut fed) = (BytesMut::new(), Scan::default(), 0);
    for piece in bytes.chunks(size) {
        buffer.extend_from_slice(piece);
        fed += piece.len();
        if let Some(response) = parse_response(&mut buffer, &mut scan, &limits, &mut fields, to)? {
            return Ok(Some((response, fed - buffer.len())));
        }
    }
    Ok(None)
}

fn shown(response: &Option<(Response, usize)>) -> String {
    format!("{response:?}")
}
